//! The window: how far each domain is on its way from an old host to a new one, since when, and what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub mod gates;
pub mod standing;
pub mod store;
pub mod table;

pub use gates::Rules;
pub use standing::Standing;
pub use store::Store;

/// How far a domain is. Each state but the first is what its stages, playbooks below `stages/`, make true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is in the inventory, and nothing was done.
    #[default]
    Planned,
    /// Names for users, a short TTL, accounts on the new host, a door for the old one.
    Prepared,
    /// The old host forwards the domain's mail, and that was tried.
    Forwarding,
    /// DNS names the new host, and the old one passes users' sessions on.
    Switched,
    /// The stored mail is on the new host.
    Moved,
    /// Nothing is left to do but to wait until nobody uses the old host any more.
    Draining,
    /// The old host has nothing to do with the domain.
    Retired,
}

impl State {
    pub const ALL: [State; 7] = [
        State::Planned,
        State::Prepared,
        State::Forwarding,
        State::Switched,
        State::Moved,
        State::Draining,
        State::Retired,
    ];

    pub fn name(self) -> &'static str {
        match self {
            State::Planned => "planned",
            State::Prepared => "prepared",
            State::Forwarding => "forwarding",
            State::Switched => "switched",
            State::Moved => "moved",
            State::Draining => "draining",
            State::Retired => "retired",
        }
    }

    pub fn named(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Returns the state that comes next.
    pub fn next(self) -> Option<State> {
        State::ALL.into_iter().find(|state| *state > self)
    }

    /// The playbooks that bring a domain to this state, in order, by their names in `playbooks/stages`.
    pub fn stages(self) -> &'static [&'static str] {
        match self {
            State::Planned => &[],
            State::Prepared => &["name", "ttl", "preflight", "accounts", "door"],
            // What was made on the old host since is taken over, and asked for, before mail goes to the new one.
            State::Forwarding => &["preflight", "accounts", "forwarding", "proof"],
            State::Switched => &["switch"],
            // Sessions are passed on when there is something to read.
            State::Moved => &["stored-mail", "proxies", "verification"],
            State::Draining => &["watch"],
            State::Retired => &["retirement"],
        }
    }

    /// The playbooks that are run again each time while a domain is in this state: a panel may have written the control
    /// files anew, and mail may have come late. Before them the old host is looked at (`watch`).
    pub fn upkeep(self) -> &'static [&'static str] {
        match self {
            State::Planned | State::Prepared | State::Retired => &[],
            State::Forwarding | State::Switched => &["forwarding"],
            // The last domain of a host that moves is not always the last that is looked at.
            State::Moved | State::Draining => &["forwarding", "stored-mail", "proxies", "verification"],
        }
    }
}

/// The stage that says how domains stand on both hosts and in DNS: before a night does anything.
pub const LOOK: &[&str] = &["state"];

/// The stage that reads what the old host has done.
pub const WATCH: &[&str] = &["watch"];

/// A pair of hosts, as the inventory has it: a host of the group `old`, and the one that its `new_host` names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    pub old: String,
    pub new: String,
}

/// One domain on its way. Times are seconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    pub name: String,
    pub pair: Pair,
    pub state: State,
    /// When each state was reached.
    pub since: BTreeMap<State, i64>,
    #[serde(default)]
    pub known: Known,
    /// Nothing is done for it until it is let go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Why it is held, where the window has found that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_for: Option<String>,
    /// It was let go after somebody had taken it back: it may be forwarded again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Why the last run did not bring it further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What playbooks have told of a domain, with `set_stats`, as `window: {OLD: {DOMAIN: {...}}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// The longest TTL, in seconds, of the records that the switch changes, before it was lowered, and when that was done.
    pub ttl_before: Option<i64>,
    pub ttl_lowered: Option<i64>,
    /// Recipients of the domain in the old host's queue.
    pub queued: Option<i64>,
    /// When the old host has last delivered a message of the domain to a mailbox of its own.
    pub last_local: Option<i64>,
    /// Who logged in at the old host, or through it, and when last; nothing where no log tells.
    pub logins: Option<BTreeMap<String, i64>>,
    /// Messages that the old host has passed on, by day (`YYYY-MM-DD`).
    pub relayed: BTreeMap<String, i64>,
    /// When the old host was looked at.
    pub looked: Option<i64>,
    /// In what the old host differs from what forwarding needs, when it was looked at.
    pub drift: Vec<String>,
    /// Names that lead to the old host again, though they were switched.
    pub led_back: Vec<String>,
    /// How it stands, as this night has found it.
    #[serde(skip)]
    pub standing: Option<Standing>,
}

/// All domains, in the order of pairs and names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub domains: Vec<Domain>,
}

/// Domains of one pair that are in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub pair: Pair,
    pub state: State,
    pub domains: Vec<String>,
}

impl Domain {
    pub fn new(name: &str, pair: &Pair, now: i64) -> Domain {
        Domain {
            name: name.into(),
            pair: pair.clone(),
            state: State::Planned,
            since: BTreeMap::from([(State::Planned, now)]),
            known: Known::default(),
            held: false,
            held_for: None,
            again: false,
            error: None,
        }
    }

    /// Returns who has logged in at the old host after `time`, the one that came last first.
    pub fn on_old(&self, time: i64) -> Vec<(&str, i64)> {
        let users = self.known.logins.iter().flatten().map(|(user, last)| (user.as_str(), *last));
        let mut users: Vec<(&str, i64)> = users.filter(|(_, last)| *last > time).collect();
        users.sort_by_key(|(user, last)| (-last, *user));
        users
    }

    /// Notes that it is in another state now.
    pub fn reach(&mut self, state: State, now: i64) {
        if state < self.state {
            self.since.retain(|reached, _| *reached <= state);
        }
        self.since.insert(state, now);
        self.state = state;
        self.error = None;
        self.again &= state < State::Forwarding;
    }

    /// Holds it, or lets it go.
    pub fn hold(&mut self, held: bool) {
        self.again = !held && (self.again || self.held_for.is_some());
        (self.held, self.held_for) = (held, None);
    }
}

impl Known {
    /// Takes in how it stands on its hosts.
    fn stands(&mut self, told: &Value, name: &str) {
        let of = |list: &str| told.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let Some(there) = told.get("domains").and_then(|domains| domains.get(name)) else { return };
        let Ok(there) = serde_json::from_value::<Standing>(there.clone()) else { return };
        let below = format!(".{name}");
        let led_back = of("led_back").filter(|led| led.trim_end_matches('.').ends_with(&below));
        self.standing = Some(Standing {
            at_new: of("at_new").any(|known| known == name),
            led_back: led_back.map(str::to_string).collect(),
            ..there
        });
    }

    /// Takes in what a run has told. A TTL that was lowered before stays known as it was.
    fn learn(&mut self, told: &Map<String, Value>, now: i64) {
        let number = |name: &str| told.get(name).and_then(Value::as_i64);
        if let Some(before) = number("ttl_before")
            && self.ttl_before.is_none_or(|known| before > known)
        {
            (self.ttl_before, self.ttl_lowered) = (Some(before), Some(number("ttl_lowered").unwrap_or(now)));
        }
        if let Some(queued) = number("queued") {
            (self.queued, self.looked) = (Some(queued), Some(now));
            self.last_local = number("last_local").max(self.last_local);
            let days = told.get("relayed").and_then(Value::as_object);
            // A log that was rotated away takes no day back.
            for (day, count) in days.into_iter().flatten().filter_map(|(day, count)| Some((day, count.as_i64()?))) {
                let known = self.relayed.entry(day.clone()).or_default();
                *known = (*known).max(count);
            }
            let users = told.get("logins").and_then(Value::as_object);
            let users = users.map(|users| users.iter().filter_map(|(user, last)| Some((user.clone(), last.as_i64()?))));
            self.logins = users.map(Iterator::collect);
            let texts = told.get("drift").and_then(Value::as_array);
            self.drift = texts.into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect();
        }
    }
}

impl Window {
    /// Takes in the domains that the inventory has for a pair; those that it has no longer stay as they are.
    pub fn take_in(&mut self, pair: &Pair, names: &[String], now: i64) -> Result<(), String> {
        for name in names {
            match self.domains.iter_mut().find(|domain| domain.name == *name && domain.pair.old == pair.old) {
                None => self.domains.push(Domain::new(name, pair, now)),
                Some(known) if known.pair == *pair => {}
                Some(known) if known.state == State::Planned => known.pair = pair.clone(),
                Some(known) => {
                    let (was, state) = (&known.pair.new, known.state.name());
                    return Err(format!(
                        "`{name}` is {state} from `{}` to `{was}`, and the inventory has `{}` for it now",
                        pair.old, pair.new
                    ));
                }
            }
        }
        self.domains.sort_by(|left, right| (&left.pair, &left.name).cmp(&(&right.pair, &right.name)));
        Ok(())
    }

    /// Takes in what a run has told of domains: `{OLD: {DOMAIN: {...}}}`.
    pub fn learn(&mut self, told: &Value, now: i64) {
        for domain in &mut self.domains {
            if let Some(told) = told.get(&domain.pair.old).and_then(|host| host.get(&domain.name)?.as_object()) {
                domain.known.learn(told, now);
            }
        }
    }

    /// Takes in how domains stand: `{OLD: {domains: {DOMAIN: {...}}, at_new: [...], led_back: [...]}}`.
    pub fn find(&mut self, told: &Value) {
        for domain in &mut self.domains {
            if let Some(told) = told.get(&domain.pair.old) {
                domain.known.stands(told, &domain.name);
            }
        }
    }

    /// Returns the domains that are wanted, by pair.
    pub fn pairs(&self, wanted: impl Fn(&Domain) -> bool) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for batch in self.batches(wanted) {
            match batches.iter_mut().find(|known| known.pair == batch.pair) {
                Some(known) => known.domains.extend(batch.domains),
                None => batches.push(batch),
            }
        }
        batches
    }

    /// Returns the domains that are in these states, by pair and state; the furthest first.
    pub fn batches(&self, wanted: impl Fn(&Domain) -> bool) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for domain in self.domains.iter().filter(|domain| wanted(domain)) {
            match batches.iter_mut().find(|batch| batch.pair == domain.pair && batch.state == domain.state) {
                Some(batch) => batch.domains.push(domain.name.clone()),
                None => batches.push(Batch {
                    pair: domain.pair.clone(),
                    state: domain.state,
                    domains: vec![domain.name.clone()],
                }),
            }
        }
        batches.sort_by(|left, right| right.state.cmp(&left.state).then(left.pair.cmp(&right.pair)));
        batches
    }

    /// Returns the other domains of a batch's old host whose users still read there.
    pub fn not_moved(&self, batch: &Batch) -> Vec<&str> {
        let reads = |domain: &&Domain| domain.pair.old == batch.pair.old && domain.state < State::Moved;
        let others = self.domains.iter().filter(reads).map(|domain| domain.name.as_str());
        others.filter(|name| !batch.domains.iter().any(|own| own == name)).collect()
    }

    /// Returns the domains of a batch.
    pub fn of(&mut self, batch: &Batch) -> impl Iterator<Item = &mut Domain> {
        let names: BTreeSet<String> = batch.domains.iter().cloned().collect();
        let pair = batch.pair.clone();
        self.domains.iter_mut().filter(move |domain| domain.pair == pair && names.contains(&domain.name))
    }
}

impl Batch {
    /// Splits a batch of which something has failed, to find out what; nothing where it is one domain.
    pub fn halves(&self) -> Option<[Batch; 2]> {
        let middle = self.domains.len() / 2;
        (middle > 0).then(|| {
            let (left, right) = self.domains.split_at(middle);
            [left, right].map(|domains| Batch { domains: domains.to_vec(), ..self.clone() })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pair(old: &str) -> Pair {
        Pair { old: old.into(), new: "new".into() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_domain_is_taken_in_once_and_not_given_to_another_host_on_its_way() {
        let mut window = Window::default();
        window.take_in(&pair("old"), &names(&["b.example", "a.example"]), 1).unwrap();
        window.take_in(&pair("old"), &names(&["a.example"]), 2).unwrap();
        assert_eq!(window.domains.iter().map(|domain| &*domain.name).collect::<Vec<_>>(), ["a.example", "b.example"]);
        let other = Pair { new: "newer".into(), ..pair("old") };
        window.take_in(&other, &names(&["a.example"]), 3).unwrap();
        window.domains.iter_mut().for_each(|domain| domain.reach(State::Forwarding, 4));
        assert!(window.take_in(&pair("old"), &names(&["a.example"]), 5).unwrap_err().contains("`newer`"));
    }

    #[test]
    fn what_runs_tell_is_kept_and_an_old_ttl_is_not_forgotten() {
        let mut window = Window::default();
        window.take_in(&pair("old"), &names(&["a.example"]), 1).unwrap();
        window.learn(&json!({"old": {"a.example": {"ttl_before": 86400, "ttl_lowered": 100}}}), 120);
        window.learn(&json!({"old": {"a.example": {"ttl_before": 900, "ttl_lowered": 500}}}), 520);
        let told = json!({"queued": 2, "last_local": 90, "relayed": {"2026-01-02": 5}, "drift": ["x"],
            "logins": {"ann@a.example": 50, "bob@a.example": 70, "zoe@a.example": 70}});
        window.learn(&json!({"old": {"a.example": told}, "else": {"a.example": {"queued": 9}}}), 600);
        assert_eq!(window.domains[0].on_old(50), [("bob@a.example", 70), ("zoe@a.example", 70)]);
        window.learn(&json!({"old": {"a.example": {"queued": 0, "relayed": {"2026-01-02": 3}}}}), 700);
        let known = &window.domains[0].known;
        assert_eq!((known.ttl_before, known.ttl_lowered), (Some(86400), Some(100)));
        assert_eq!((known.queued, known.last_local, known.looked), (Some(0), Some(90), Some(700)));
        assert_eq!((known.relayed["2026-01-02"], known.drift.len(), &known.logins), (5, 0, &None));
    }

    #[test]
    fn batches_are_of_one_pair_and_state_and_can_be_split_down_to_one_domain() {
        let mut window = Window::default();
        window.take_in(&pair("old"), &names(&["a.example", "b.example", "c.example"]), 1).unwrap();
        window.take_in(&pair("older"), &names(&["d.example"]), 1).unwrap();
        window.domains[2].reach(State::Moved, 2);
        let batches = window.batches(|_| true);
        let told: Vec<_> =
            batches.iter().map(|batch| (&*batch.pair.old, batch.state.name(), batch.domains.len())).collect();
        assert_eq!(told, [("old", "moved", 1), ("old", "planned", 2), ("older", "planned", 1)]);
        let [left, right] = batches[1].halves().unwrap();
        assert_eq!((left.domains, right.domains), (names(&["a.example"]), names(&["b.example"])));
        assert!(batches[0].halves().is_none());
    }

    #[test]
    fn every_state_but_the_first_has_stages_and_a_name() {
        for state in State::ALL {
            assert_eq!(State::named(state.name()), Some(state));
            assert_eq!(state.stages().is_empty(), state == State::Planned);
        }
        assert_eq!(State::Draining.next(), Some(State::Retired));
        assert_eq!(State::Retired.next(), None);
    }
}
