//! How a domain really stands on its hosts, and what that means for where the window has it: drift, or a step back on purpose.

use serde::{Deserialize, Serialize};

use super::{Domain, State};

/// What both hosts and DNS say of a domain, as the stage `state` has found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// The old host keeps its mail.
    pub own: bool,
    /// Where the old host's `smtproutes` lead, and whether that is the new one.
    pub route: Option<String>,
    pub routed: bool,
    /// The old host takes mail for it.
    pub accepted: bool,
    /// The stage `rollback` has been here, and `forwarding` not since.
    pub taken_back: bool,
    /// The stage `retirement` has been here.
    pub retired: bool,
    /// The new host has it in `virtualdomains`.
    pub at_new: bool,
    /// Names of it that lead to the old host.
    pub led_back: Vec<String>,
}

/// The newest runs of `cutover undo` of this controller that took back what the domain's states stand for, if there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    pub forwarding: Option<Undo>,
    pub names: Option<Undo>,
}

/// A run, and when it began, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    pub run: String,
    pub at: i64,
}

/// What a standing means for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as the window has it, or differs in a way that its upkeep puts right: a panel writes `virtualdomains`, `locals`
    /// and `rcpthosts` anew, and never `smtproutes`.
    Known,
    /// Somebody has taken it back on purpose: it is in this state, and nothing is done until it is let go.
    Back { to: State, why: String },
    /// Somebody has retired it.
    Retired,
    /// Nothing must be done for it in this night.
    Stop(String),
}

/// Says what a standing means for a domain where the window has it.
pub fn judge(domain: &Domain, found: &Standing, undone: &Undone) -> Verdict {
    let forwards = domain.state >= State::Forwarding;
    if let Some(why) = taken_back(domain, found, undone) {
        let to = if found.own { domain.state.min(State::Prepared) } else { domain.state };
        return Verdict::Back { to, why };
    }
    if found.retired && !found.own && found.route.is_none() && !found.accepted {
        return Verdict::Retired;
    }
    if forwards && !found.at_new {
        return Verdict::Stop("the new host has it no more in `virtualdomains`: what is sent there bounces".into());
    }
    match &undone.names {
        Some(undo) if !found.led_back.is_empty() && domain.state >= State::Switched => {
            match undo.at >= domain.reached(State::Switched) {
                true => Verdict::Back {
                    to: State::Forwarding,
                    why: format!(
                        "`cutover undo` has led {} to the old host again (run {})",
                        found.led_back.join(", "),
                        undo.run
                    ),
                },
                false => Verdict::Known,
            }
        }
        _ => Verdict::Known,
    }
}

/// Says who has taken forwarding back, by what cannot be a panel's work.
fn taken_back(domain: &Domain, found: &Standing, undone: &Undone) -> Option<String> {
    let forwards = domain.state >= State::Forwarding;
    // Who has let it go has seen that.
    if !forwards && (domain.again || !found.own) {
        return None;
    }
    match (found.taken_back, found.own) {
        (true, true) => return Some("the stage `rollback` has taken it back".into()),
        (true, false) => return Some("the stage `rollback` was begun, and has not come to its end".into()),
        (false, false) => return None,
        (false, true) => {}
    }
    let since = if forwards { domain.reached(State::Forwarding) } else { domain.since.values().copied().max()? };
    if let Some(undo) = undone.forwarding.as_ref().filter(|undo| undo.at >= since) {
        return Some(format!("`cutover undo` has taken it back (run {})", undo.run));
    }
    match &found.route {
        _ if !forwards || found.routed => None,
        None => Some("the old host has it as its own again, and no route: somebody has taken it back by hand".into()),
        Some(route) => Some(format!(
            "the old host has it as its own again, and its route leads to `{route}`: somebody has taken it back by hand"
        )),
    }
}

impl Domain {
    /// Returns when it came to a state, or first beyond it.
    fn reached(&self, state: State) -> i64 {
        self.since.range(state..).map(|(_, at)| *at).min().unwrap_or(0)
    }

    /// Notes that somebody has taken it back: nothing is done for it until it is let go.
    pub fn take_back(&mut self, to: State, why: String, now: i64) {
        if to != self.state {
            self.reach(to, now);
        }
        self.known.drift.clear();
        (self.held, self.held_for) = (true, Some(why));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pair;
    use super::*;

    fn domain(state: State) -> Domain {
        let mut domain = Domain::new("a.example", &Pair { old: "old".into(), new: "new".into() }, 100);
        State::ALL.into_iter().filter(|reached| (State::Prepared..=state).contains(reached)).for_each(|reached| {
            domain.reach(reached, 200 + 10 * i64::from(reached as u8));
        });
        domain
    }

    /// As a domain is that is forwarded.
    fn forwarded() -> Standing {
        Standing { route: Some("10.77.0.20".into()), routed: true, accepted: true, at_new: true, ..Standing::default() }
    }

    fn back(domain: &Domain, found: &Standing, undone: &Undone) -> (State, String) {
        match judge(domain, found, undone) {
            Verdict::Back { to, why } => (to, why),
            other => panic!("{other:?}"),
        }
    }

    fn at(at: i64) -> Option<Undo> {
        Some(Undo { run: "R".into(), at })
    }

    #[test]
    fn a_panel_leaves_the_route_and_a_person_does_not() {
        let domain = domain(State::Draining);
        let none = Undone::default();
        assert_eq!(judge(&domain, &forwarded(), &none), Verdict::Known);
        let panel = Standing { own: true, ..forwarded() };
        assert_eq!(judge(&domain, &panel, &none), Verdict::Known);
        let refused = Standing { accepted: false, ..panel.clone() };
        assert_eq!(judge(&domain, &refused, &none), Verdict::Known);
        // Without route and without being local mail bounces: that is nobody's wish.
        let bounces = Standing { route: None, routed: false, ..forwarded() };
        assert_eq!(judge(&domain, &bounces, &none), Verdict::Known);
        let by_hand = Standing { own: true, ..bounces };
        assert!(back(&domain, &by_hand, &none).1.contains("no route: somebody"));
        let home = Standing { route: Some("127.0.0.1".into()), ..by_hand };
        assert!(back(&domain, &home, &none).1.contains("leads to `127.0.0.1`"));
        assert_eq!(back(&domain, &home, &none).0, State::Prepared);
    }

    #[test]
    fn a_rollback_is_known_by_its_mark_and_an_undo_by_its_journal() {
        let domain = domain(State::Moved);
        let marked = Standing { own: true, taken_back: true, ..forwarded() };
        let (to, why) = back(&domain, &marked, &Undone::default());
        assert!(to == State::Prepared && why.contains("`rollback` has taken it back"), "{why}");
        let begun = Standing { own: false, ..marked };
        let (to, why) = back(&domain, &begun, &Undone::default());
        assert!(to == State::Moved && why.contains("not come to its end"), "{why}");
        // Forwarding was reached at 220.
        let panel = Standing { own: true, ..forwarded() };
        let undone = |time: i64| Undone { forwarding: at(time), ..Undone::default() };
        assert_eq!(judge(&domain, &panel, &undone(219)), Verdict::Known);
        assert!(back(&domain, &panel, &undone(220)).1.contains("run R"));
        // Somebody has put it right since.
        assert_eq!(judge(&domain, &forwarded(), &undone(300)), Verdict::Known);
    }

    #[test]
    fn what_was_taken_back_before_the_window_knew_is_not_brought_further_until_it_is_let_go() {
        let mut planned = domain(State::Planned);
        let own = Standing { own: true, at_new: true, accepted: true, ..Standing::default() };
        assert_eq!(judge(&planned, &own, &Undone::default()), Verdict::Known);
        let marked = Standing { taken_back: true, ..own.clone() };
        assert_eq!(back(&planned, &marked, &Undone::default()).0, State::Planned);
        let undone = Undone { forwarding: at(150), ..Undone::default() };
        assert_eq!(back(&planned, &own, &undone).0, State::Planned);
        planned.again = true;
        assert_eq!(judge(&planned, &marked, &undone), Verdict::Known);
        // Once it forwards again, the next rollback counts.
        planned.reach(State::Forwarding, 400);
        assert!(!planned.again);
        assert_eq!(back(&planned, &marked, &undone).0, State::Prepared);
    }

    #[test]
    fn names_that_an_undo_led_back_put_the_domain_back_and_others_are_told() {
        let domain = domain(State::Draining);
        let led = Standing { led_back: vec!["mail.a.example.".into()], ..forwarded() };
        assert_eq!(judge(&domain, &led, &Undone::default()), Verdict::Known);
        let undone = Undone { names: at(500), ..Undone::default() };
        let (to, why) = back(&domain, &led, &undone);
        assert!(to == State::Forwarding && why.contains("mail.a.example."), "{why}");
        assert_eq!(judge(&domain, &forwarded(), &undone), Verdict::Known);
    }

    #[test]
    fn a_retirement_by_hand_is_known_and_a_domain_that_the_new_host_lost_is_left_alone() {
        let domain = domain(State::Draining);
        let retired = Standing { retired: true, at_new: true, ..Standing::default() };
        assert_eq!(judge(&domain, &retired, &Undone::default()), Verdict::Retired);
        let recorded = Standing { retired: true, ..forwarded() };
        assert_eq!(judge(&domain, &recorded, &Undone::default()), Verdict::Known);
        let lost = Standing { at_new: false, ..forwarded() };
        assert!(matches!(judge(&domain, &lost, &Undone::default()), Verdict::Stop(why) if why.contains("bounces")));
    }
}
