//! Gates: what has to be true before a domain goes on to its next state, as far as time and the old host tell.

use super::{Domain, State};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Hours without a delivery into a mailbox of the old host, and without a login there, before it is retired.
    pub quiet_hours: u32,
    /// Days that the old host forwards at least.
    pub days: u32,
}

impl Default for Rules {
    /// Three days is longer than most senders keep an address in a cache, and two weeks is longer than most holidays.
    fn default() -> Rules {
        Rules { quiet_hours: 72, days: 14 }
    }
}

/// Why a gate is shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shut {
    pub why: String,
    /// When it will open by itself, where that is known.
    pub until: Option<i64>,
}

impl Shut {
    fn now(why: impl Into<String>) -> Result<(), Shut> {
        Err(Shut { why: why.into(), until: None })
    }

    fn until(why: impl Into<String>, until: i64) -> Result<(), Shut> {
        Err(Shut { why: why.into(), until: Some(until) })
    }
}

/// The part of the busiest day's mail that the old host may still be passing on when it is retired: one in this many.
const LEFT_OVER: i64 = 10;

/// Says whether a domain may go on, or why not.
pub fn open(domain: &Domain, rules: &Rules, now: i64) -> Result<(), Shut> {
    match domain.state {
        State::Planned | State::Prepared | State::Switched | State::Moved => Ok(()),
        State::Forwarding => ttl_has_passed(domain, now),
        State::Draining => may_retire(domain, rules, now),
        State::Retired => Shut::now("it is done"),
    }
}

/// A resolver may have the old address for as long as the old TTL said (RFC 1035 3.2.1).
fn ttl_has_passed(domain: &Domain, now: i64) -> Result<(), Shut> {
    let (Some(before), Some(lowered)) = (domain.known.ttl_before, domain.known.ttl_lowered) else {
        return Shut::now("nothing is known of its TTL: switch its DNS by hand, then `cutover window set`");
    };
    match lowered + before {
        until if until > now => Shut::until("resolvers may have the old TTL", until),
        _ => Ok(()),
    }
}

fn may_retire(domain: &Domain, rules: &Rules, now: i64) -> Result<(), Shut> {
    let known = &domain.known;
    let forwarding = domain.since.get(&State::Forwarding).copied().unwrap_or(now);
    let least = forwarding + i64::from(rules.days) * DAY;
    if least > now {
        return Shut::until(format!("the old host forwards for {} days at least", rules.days), least);
    }
    let (Some(queued), Some(looked)) = (known.queued, known.looked) else {
        return Shut::now("the old host was not looked at");
    };
    if looked + DAY < now {
        return Shut::now("the old host was not looked at for a day");
    }
    if !known.drift.is_empty() {
        return Shut::now("the old host is not as it should be");
    }
    if !known.led_back.is_empty() {
        return Shut::now("its names lead to the old host");
    }
    if queued > 0 {
        return Shut::now(format!("{queued} recipients are in the old host's queue"));
    }
    let quiet = i64::from(rules.quiet_hours) * HOUR;
    if let Some(last) = known.last_local.filter(|last| last + quiet > now) {
        return Shut::until("the old host has delivered mail to a mailbox of its own", last + quiet);
    }
    let users = domain.on_old(now - quiet);
    if let Some((user, last)) = users.first() {
        let more = if users.len() > 1 { format!(" and {} more", users.len() - 1) } else { String::new() };
        return Shut::until(format!("{user}{more} logged in on the old host"), last + quiet);
    }
    let busiest = known.relayed.values().copied().max().unwrap_or(0);
    // A whole week: a quiet Sunday proves nothing, and neither does a log that does not go back so far.
    let week: Vec<i64> = (1..=7).filter_map(|days| known.relayed.get(&day_of(now - days * DAY)).copied()).collect();
    if week.len() < 7 {
        return Shut::now(format!("of the last 7 days the old host's log tells {}", week.len()));
    }
    let most = week.iter().copied().max().unwrap_or(0);
    if most * LEFT_OVER > busiest {
        return Shut::now(format!("the old host still passes on {most} messages a day, {busiest} on its busiest"));
    }
    Ok(())
}

/// Returns the day of a time, `YYYY-MM-DD`, in UTC.
pub fn day_of(time: i64) -> String {
    at(time, "%Y-%m-%d")
}

/// Returns a time in UTC, in the form of `strftime.3`.
pub fn at(time: i64, form: &str) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |stamp| stamp.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Pair;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn domain(state: State) -> Domain {
        let mut domain = Domain::new("a.example", &Pair { old: "old".into(), new: "new".into() }, NOW - 60 * DAY);
        domain.reach(State::Forwarding, NOW - 30 * DAY);
        domain.reach(state, NOW - 20 * DAY);
        domain.known.queued = Some(0);
        domain.known.relayed = (1..=7).map(|days| (day_of(NOW - days * DAY), 0)).collect();
        domain.known.looked = Some(NOW - HOUR);
        domain
    }

    fn shut(domain: &Domain) -> String {
        open(domain, &Rules::default(), NOW).unwrap_err().why
    }

    #[test]
    fn the_switch_waits_until_the_old_ttl_has_run_out() {
        let mut domain = domain(State::Forwarding);
        assert!(shut(&domain).contains("by hand"));
        (domain.known.ttl_before, domain.known.ttl_lowered) = (Some(86_400), Some(NOW - 86_399));
        assert_eq!(open(&domain, &Rules::default(), NOW).unwrap_err().until, Some(NOW + 1));
        assert_eq!(open(&domain, &Rules::default(), NOW + 1), Ok(()));
    }

    #[test]
    fn an_old_host_is_retired_when_nobody_uses_it_any_more() {
        let quiet = domain(State::Draining);
        assert_eq!(open(&quiet, &Rules::default(), NOW), Ok(()));
        let with = |change: fn(&mut Domain)| {
            let mut domain = quiet.clone();
            change(&mut domain);
            shut(&domain)
        };
        assert!(with(|domain| domain.known.queued = None).contains("not looked at"));
        assert!(with(|domain| domain.known.looked = Some(NOW - 2 * DAY)).contains("for a day"));
        assert!(with(|domain| domain.known.queued = Some(3)).contains("3 recipients"));
        assert!(with(|domain| domain.known.drift = vec!["x".into()]).contains("not as it should be"));
        assert!(with(|domain| domain.known.led_back = vec!["x".into()]).contains("its names lead"));
        assert!(with(|domain| domain.known.last_local = Some(NOW - 71 * HOUR)).contains("mailbox of its own"));
        let users = |last: &[i64]| {
            let users = last.iter().zip(["ann@a.example", "bob@a.example"]);
            Some(users.map(|(last, user)| (user.to_string(), *last)).collect())
        };
        let mut used = quiet.clone();
        used.known.logins = users(&[NOW - HOUR, NOW - 2 * HOUR]);
        let gate = open(&used, &Rules::default(), NOW).unwrap_err();
        assert_eq!(gate.why, "ann@a.example and 1 more logged in on the old host");
        assert_eq!(gate.until, Some(NOW + 71 * HOUR));
        used.known.logins = users(&[NOW - 72 * HOUR]);
        assert_eq!(open(&used, &Rules::default(), NOW), Ok(()));
        assert!(with(|domain| domain.since.extend([(State::Forwarding, NOW - DAY)])).contains("14 days"));
    }

    #[test]
    fn relayed_mail_has_to_fall_to_a_tenth_for_a_week() {
        let mut domain = domain(State::Draining);
        let days = |counts: &[i64]| {
            let first = NOW - counts.len() as i64 * DAY;
            counts.iter().enumerate().map(|(index, n)| (day_of(first + index as i64 * DAY), *n)).collect()
        };
        domain.known.relayed = days(&[100, 40, 11, 0, 0, 0, 0, 0, 0]);
        assert!(shut(&domain).contains("11 messages a day, 100 on its busiest"));
        domain.known.relayed = days(&[100, 100, 100, 100, 100, 100, 100, 0]);
        assert!(shut(&domain).contains("100 messages a day"));
        domain.known.relayed = days(&[0, 0, 0]);
        assert!(shut(&domain).contains("the old host's log tells 3"));
        domain.known.relayed.clear();
        assert!(shut(&domain).contains("the old host's log tells 0"));
        domain.known.relayed = days(&[100, 40, 10, 0, 3, 0, 0, 10, 9]);
        assert_eq!(open(&domain, &Rules::default(), NOW), Ok(()));
        // Today is not over: it decides nothing.
        domain.known.relayed.insert(day_of(NOW), 90);
        assert_eq!(open(&domain, &Rules::default(), NOW), Ok(()));
    }
}
