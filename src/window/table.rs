//! The fleet, one line a domain: where it is, and what it waits for.

use super::gates::{self, Rules, Shut, day_of};
use super::{Domain, State, Window};

/// What there is to say of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub domain: String,
    /// `OLD -> NEW`.
    pub pair: String,
    pub state: State,
    /// When it came to its state: `YYYY-MM-DD HH:MM`, in UTC.
    pub since: String,
    /// Recipients in the old host's queue, and what it passed on on the last day that it was looked at; `-` where nobody has looked.
    pub queued: String,
    pub relayed: String,
    pub next: String,
    /// What somebody has to look at.
    pub trouble: Vec<String>,
}

/// Returns a row for each domain.
pub fn rows(window: &Window, rules: &Rules, now: i64) -> Vec<Row> {
    window.domains.iter().map(|domain| row(domain, rules, now)).collect()
}

fn row(domain: &Domain, rules: &Rules, now: i64) -> Row {
    let since = domain.since.get(&domain.state).map_or(String::new(), |time| gates::at(*time, "%Y-%m-%d %H:%M"));
    let last = domain.known.relayed.range(..=day_of(now)).next_back().map(|(_, count)| *count);
    let number = |number: Option<i64>| number.map_or("-".into(), |number| number.to_string());
    let drift = domain.known.drift.iter().map(|text| format!("drift: {text}"));
    let led_back = domain.known.led_back.iter().map(|name| format!("drift: `{name}` leads to the old host"));
    let failed = domain.error.iter().map(|why| format!("failed: {why}"));
    Row {
        domain: domain.name.clone(),
        pair: format!("{} -> {}", domain.pair.old, domain.pair.new),
        state: domain.state,
        since,
        queued: number(domain.known.queued),
        relayed: number(last),
        next: next(domain, rules, now),
        trouble: failed.chain(drift).chain(led_back).chain(still_there(domain)).collect(),
    }
}

/// How many users of a domain a line names.
const NAMED: usize = 5;

/// Says who has come to the old host since its names lead to the new one.
fn still_there(domain: &Domain) -> Option<String> {
    let switched = domain.since.get(&State::Switched).filter(|_| domain.state != State::Retired)?;
    let users = domain.on_old(*switched);
    let named = users.iter().take(NAMED).map(|(user, last)| format!("{user} ({})", gates::at(*last, "%Y-%m-%d %H:%M")));
    let mut named: Vec<String> = named.collect();
    if users.len() > NAMED {
        named.push(format!("and {} more", users.len() - NAMED));
    }
    (!named.is_empty()).then(|| format!("still on the old host: {}", named.join(", ")))
}

/// Says what comes next, and why not yet.
pub fn next(domain: &Domain, rules: &Rules, now: i64) -> String {
    let Some(next) = domain.state.next() else { return "-".into() };
    if domain.held {
        return domain.held_for.as_ref().map_or("held".into(), |why| format!("held: {why}"));
    }
    match gates::open(domain, rules, now) {
        Ok(()) if next == State::Retired => "may be retired".into(),
        Ok(()) => format!("{} is due", next.name()),
        Err(Shut { why, until: Some(until) }) => {
            format!("{} not before {}: {why}", next.name(), gates::at(until, "%Y-%m-%d %H:%M"))
        }
        Err(Shut { why, until: None }) => format!("{} not yet: {why}", next.name()),
    }
}

/// Returns the lines for a terminal: a heading, one line a domain with its troubles below it, and a sum.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let cells = |row: &Row| {
        let state = row.state.name().to_string();
        [row.domain.clone(), row.pair.clone(), state, row.since.clone(), row.queued.clone(), row.relayed.clone()]
    };
    let heading = ["DOMAIN", "OLD -> NEW", "STATE", "SINCE (UTC)", "QUEUE", "RELAYED"].map(String::from);
    let width = |column: usize| {
        let widths = rows.iter().map(|row| cells(row)[column].chars().count());
        widths.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: &[String], last: &str| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
        format!("{}  {last}", padded.join("  "))
    };
    let mut lines = vec![line(&heading, "NEXT")];
    for row in rows {
        lines.push(line(&cells(row), &row.next));
        lines.extend(row.trouble.iter().map(|text| format!("  {text}")));
    }
    lines.push(sum(rows));
    lines
}

/// Says in one line how far the fleet is.
pub fn sum(rows: &[Row]) -> String {
    let states = State::ALL.into_iter().filter_map(|state| {
        let count = rows.iter().filter(|row| row.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    let count = |holds: fn(&Row) -> bool, what: &str| {
        let count = rows.iter().filter(|row| holds(row)).count();
        (count > 0).then(|| format!("{count} {what}"))
    };
    let rest = [
        count(|row| row.trouble.iter().any(|text| text.starts_with("failed")), "failed"),
        count(|row| row.trouble.iter().any(|text| text.starts_with("drift")), "with drift"),
        count(|row| row.trouble.iter().any(|text| text.starts_with("still")), "with users on the old host"),
        count(|row| row.next == "may be retired", "may be retired"),
    ];
    let parts: Vec<String> = states.chain(rest.into_iter().flatten()).collect();
    let domains = if rows.len() == 1 { "domain" } else { "domains" };
    format!("{} {domains}{}{}", rows.len(), if parts.is_empty() { "" } else { ": " }, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::Pair;
    use super::*;

    #[test]
    fn a_domain_has_one_line_and_what_is_wrong_with_it_stands_below() {
        let mut window = Window::default();
        let pair = Pair { old: "old".into(), new: "new".into() };
        window.take_in(&pair, &["a.example".into(), "longer.example".into()], 1_800_000_000).unwrap();
        let domain = &mut window.domains[1];
        domain.reach(State::Forwarding, 1_800_000_000);
        domain.known.queued = Some(3);
        domain.known.relayed.insert("2027-01-14".into(), 12);
        domain.known.drift = vec!["`virtualdomains` has `longer.example:7`".into()];
        let lines = lines(&rows(&window, &Rules::default(), 1_800_000_100));
        assert_eq!(
            lines,
            [
                "DOMAIN          OLD -> NEW  STATE       SINCE (UTC)       QUEUE  RELAYED  NEXT",
                "a.example       old -> new  planned     2027-01-15 08:00  -      -        prepared is due",
                "longer.example  old -> new  forwarding  2027-01-15 08:00  3      12       switched not yet: nothing is known of its \
                 TTL: switch its DNS by hand, then `cutover window set`",
                "  drift: `virtualdomains` has `longer.example:7`",
                "2 domains: 1 planned, 1 forwarding, 1 with drift",
            ]
        );
    }

    #[test]
    fn who_still_comes_to_the_old_host_after_the_switch_is_named() {
        let mut window = Window::default();
        let pair = Pair { old: "old".into(), new: "new".into() };
        window.take_in(&pair, &["a.example".into()], 1_800_000_000).unwrap();
        let domain = &mut window.domains[0];
        let users = ["ann", "bob", "kim", "tom", "uwe", "zoe"].into_iter().zip(1_800_000_000 - 60..);
        domain.known.logins = Some(users.map(|(user, last)| (format!("{user}@a.example"), last)).collect());
        domain.reach(State::Forwarding, 1_799_000_000);
        assert_eq!(still_there(domain), None);
        domain.reach(State::Switched, 1_800_000_000 - 59);
        let said = still_there(domain).unwrap();
        assert!(said.starts_with("still on the old host: zoe@a.example (2027-01-15 07:59), uwe@a.example"), "{said}");
        assert!(!said.contains("ann@") && !said.contains("bob@") && !said.contains("more"), "{said}");
        domain.reach(State::Moved, 1_800_000_000);
        domain.since.insert(State::Switched, 0);
        assert!(still_there(domain).unwrap().ends_with(", and 1 more"));
        assert!(sum(&rows(&window, &Rules::default(), 1_800_000_000)).contains("1 with users on the old host"));
    }
}
