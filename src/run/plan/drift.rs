//! What a plan takes for granted of a machine, against what is there: a machine that has moved on is not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::change::diff::describe_apart;
use crate::change::records::said;
use crate::change::{Change, On, RecordsChange, Secrecy, StateChange};
use crate::transport::name::shown;
use crate::transport::{Address, Links, Node, PathChange, Transport, TransportError, Want};

use super::Step;

/// As much of a difference is told.
const LINES: usize = 20;

/// Something that is not as it was when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub what: String,
    pub expected: String,
    pub found: String,
    /// The difference of the contents, where it is known and may be shown.
    pub lines: Vec<String>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  planned from: {}\n  found: {}", self.what, self.expected, self.found)?;
        self.lines.iter().take(LINES).try_for_each(|line| write!(f, "\n    {line}"))?;
        match self.lines.len().saturating_sub(LINES) {
            0 => Ok(()),
            more => write!(f, "\n    ... and {more} more lines"),
        }
    }
}

/// What the changes of a plan find on one machine before the first of them is made: what an earlier one makes is not asked
/// for.
#[derive(Default)]
pub struct Expected<'a> {
    /// By the route of the step that asks: another user may see what one must not.
    looks: BTreeMap<usize, Looks<'a>>,
    states: HashSet<&'a str>,
    /// By server, name and type.
    records: HashSet<(&'a Address, &'a str, &'a str)>,
    /// The states that are moved together with others, as far as earlier changes move them.
    parts: HashSet<&'a str>,
    /// Paths that states have made or taken away so far.
    moved: HashSet<&'a str>,
    /// What each path has become so far.
    made: HashMap<&'a str, &'a Node>,
}

/// What one user has to look at.
#[derive(Default)]
pub struct Looks<'a> {
    /// In the plan's order.
    paths: Vec<(&'a PathChange, Secrecy)>,
    records: Vec<RecordsChange>,
    /// With the numbers of the lines that earlier changes of the plan move.
    states: Vec<(&'a StateChange, HashSet<usize>)>,
    /// Directories that go, and what goes of them.
    emptied: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Expected<'a> {
    /// Adds the changes of a step behind the first `made`, which are not to be made any more.
    pub fn add(&mut self, step: &'a Step, (route, made): (usize, usize)) {
        for change in step.changes.iter().skip(made) {
            if let Change::State(state) = change {
                self.moved.extend(state.paths().iter().map(String::as_str));
            }
            match change {
                Change::Path { on: On::Host, change } => {
                    let path = change.path();
                    if !self.made.contains_key(path) && !self.below_something_removed(path) {
                        let looks = self.looks.entry(route).or_default();
                        looks.paths.push((change, step.secrecy()));
                        if change.before().is_directory() && !change.after().is_directory() {
                            looks.emptied.insert(path, self.made.keys().chain(&self.moved).copied().collect());
                        }
                    }
                    self.made.insert(path, change.after());
                }
                // What is made from other things has become old by the changes before it.
                Change::State(state)
                    if !state.is_made_again()
                        && (state.parts().next().is_some() || self.states.insert(state.what())) =>
                {
                    let parts = state.parts().map(|(name, ..)| name).enumerate();
                    let moved = parts.filter_map(|(line, name)| (!self.parts.insert(name)).then_some(line)).collect();
                    self.looks.entry(route).or_default().states.push((state, moved));
                }
                Change::Records(records) => {
                    let mut sets = Vec::new();
                    for set in records.sets() {
                        if self.records.insert((records.server(), set.0.name.as_str(), set.0.kind.as_str())) {
                            sets.push(set.clone());
                        }
                    }
                    if let Some(asked) = records.only(sets) {
                        self.looks.entry(route).or_default().records.push(asked);
                    }
                }
                _ => {}
            }
        }
    }

    pub fn looks(&self) -> impl Iterator<Item = (usize, &Looks<'a>)> {
        self.looks.iter().map(|(route, looks)| (*route, looks))
    }

    fn below_something_removed(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.filter_map(|above| self.made.get(above)).any(|node| !matches!(node, Node::Directory { .. }))
    }
}

impl Looks<'_> {
    /// Returns what of it is not so.
    pub async fn drift(&self, machine: &dyn Transport) -> Result<Vec<Drift>, TransportError> {
        let found = look(&self.paths, machine, Want::Digest).await?;
        let differing = self.paths.iter().zip(&found).filter(|((change, _), found)| !change.is_before(found));
        let differing: Vec<_> = differing.map(|(asked, _)| *asked).collect();
        let found = look(&differing, machine, Want::Content).await?;
        let drift = differing.iter().zip(&found).map(|((change, secrecy), found)| {
            let hidden = *secrecy == Secrecy::Hidden || change.secret_field().is_some();
            let difference = Change::path(change.path(), change.before().without_time(), found.without_time());
            let lines = difference.filter(|_| !hidden).map(|difference| difference.diff(*secrecy).lines);
            // Behind the two lines that say what it is before and after.
            let lines = lines.into_iter().flatten().skip(2).map(|line| line.text()).collect();
            let (expected, found) = describe_apart(change.before(), found);
            Drift { what: format!("`{}`", shown(change.path())), expected, found, lines }
        });
        let mut drift: Vec<Drift> = drift.collect();
        for (state, moved) in &self.states {
            let found = machine.probe(state.probe()).await?.text().trim_end().to_string();
            let stay = |text: &str| -> String {
                let lines = text.lines().enumerate().filter(|(line, _)| !moved.contains(line));
                lines.map(|(_, line)| line).collect::<Vec<_>>().join("\n")
            };
            let (expected, found) = (stay(state.before()), stay(&found));
            if found != expected {
                let what = state.what().into();
                drift.push(Drift { what, expected, found, lines: Vec::new() });
            }
        }
        for records in &self.records {
            let found = records.read(machine).await?;
            if !records.is_before(&found) {
                let before: Vec<_> = records.sets().iter().map(|(before, _)| before).collect();
                let (expected, found) = (said(before.into_iter()), said(found.iter()));
                drift.push(Drift { what: records.what(), expected, found, lines: Vec::new() });
            }
        }
        for (directory, known) in &self.emptied {
            let entries = machine.list(directory, None).await.unwrap_or_default();
            if let Some(entry) = entries.iter().find(|entry| !known.contains(entry.path.as_str())) {
                drift.push(Drift {
                    what: format!("`{}`, which is to be removed", shown(directory)),
                    expected: "nothing in it but what the plan removes".into(),
                    found: format!("`{}`", shown(&entry.path)),
                    lines: Vec::new(),
                });
            }
        }
        Ok(drift)
    }
}

async fn look(
    asked: &[(&PathChange, Secrecy)],
    machine: &dyn Transport,
    want: Want,
) -> Result<Vec<Node>, TransportError> {
    let paths: Vec<_> = asked.iter().map(|(change, _)| (change.path().to_string(), Links::Keep)).collect();
    if paths.is_empty() { Ok(Vec::new()) } else { machine.look(&paths, want).await }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Content, Owner, Permissions};

    fn file(text: &str) -> Node {
        let root = Owner { id: 0, name: "root".into() };
        let permissions = Permissions { mode: 0o644, owner: root.clone(), group: root };
        Node::File { content: Content::here(text.as_bytes()), permissions, modified: None }
    }

    #[test]
    fn what_the_plan_itself_makes_is_not_expected() {
        let (a, b) = (file("a"), file("b"));
        let changes = [
            Change::path("/etc/a", Node::Absent, a.clone()),
            Change::path("/etc/a", a.clone(), b.clone()),
            Change::path("/srv/old", a.clone(), Node::Absent),
            Change::path("/srv/old/new", Node::Absent, b.clone()),
            Change::path("/srv/older", b.clone(), a.clone()),
        ];
        let step = Step { changes: changes.into_iter().flatten().collect(), ..Step::default() };
        let mut expected = Expected::default();
        expected.add(&step, (0, 0));
        let paths: Vec<_> =
            expected.looks[&0].paths.iter().map(|(change, _)| (change.path(), change.before())).collect();
        assert_eq!(paths, [("/etc/a", &Node::Absent), ("/srv/old", &a), ("/srv/older", &b)]);
    }
}
