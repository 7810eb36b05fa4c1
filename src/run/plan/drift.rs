//! What a plan takes for granted of a machine, against what is there: a machine that has moved on is not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::change::diff::describe_apart;
use crate::change::{Change, On, StateChange};
use crate::transport::name::shown;
use crate::transport::{Links, Node, PathChange, Transport, TransportError, Want};

use super::Step;

/// Something that is not as it was when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  planned from: {}\n  found: {}", self.what, self.expected, self.found)
    }
}

/// What the changes of a plan find on one machine before the first of them is made: what an earlier one makes is not asked
/// for.
#[derive(Default)]
pub struct Expected<'a> {
    /// By the route of the step that asks: another user may see what one must not.
    looks: BTreeMap<usize, Looks<'a>>,
    states: HashSet<&'a str>,
    /// What each path has become so far.
    made: HashMap<&'a str, &'a Node>,
}

/// What one user has to look at.
#[derive(Default)]
pub struct Looks<'a> {
    /// In the plan's order.
    paths: Vec<&'a PathChange>,
    states: Vec<&'a StateChange>,
    /// Directories that go, and what goes of them.
    emptied: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Expected<'a> {
    /// Adds the changes of a step behind the first `made`, which are not to be made any more.
    pub fn add(&mut self, step: &'a Step, (route, made): (usize, usize)) {
        for change in step.changes.iter().skip(made) {
            match change {
                Change::Path { on: On::Host, change } => {
                    let path = change.path();
                    if !self.made.contains_key(path) && !self.below_something_removed(path) {
                        let looks = self.looks.entry(route).or_default();
                        looks.paths.push(change);
                        if change.before().is_directory() && !change.after().is_directory() {
                            looks.emptied.insert(path, self.made.keys().copied().collect());
                        }
                    }
                    self.made.insert(path, change.after());
                }
                // What is made from other things has become old by the changes before it.
                Change::State(state) if !state.is_made_again() && self.states.insert(state.what()) => {
                    self.looks.entry(route).or_default().states.push(state);
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
        let asked: Vec<_> = self.paths.iter().map(|change| (change.path().to_string(), Links::Keep)).collect();
        let found = if asked.is_empty() { Vec::new() } else { machine.look(&asked, Want::Digest).await? };
        let paths = self.paths.iter().zip(&found).filter(|(change, found)| !change.is_before(found));
        let paths = paths.map(|(change, found)| {
            let (expected, found) = describe_apart(change.before(), found);
            Drift { what: format!("`{}`", shown(change.path())), expected, found }
        });
        let mut drift: Vec<Drift> = paths.collect();
        for state in &self.states {
            let found = machine.probe(state.probe()).await?.text().trim_end().to_string();
            if found != state.before() {
                drift.push(Drift { what: state.what().into(), expected: state.before().into(), found });
            }
        }
        for (directory, known) in &self.emptied {
            let entries = machine.list(directory, None).await.unwrap_or_default();
            if let Some(entry) = entries.iter().find(|entry| !known.contains(entry.path.as_str())) {
                drift.push(Drift {
                    what: format!("`{}`, which is to be removed", shown(directory)),
                    expected: "nothing in it but what the plan removes".into(),
                    found: format!("`{}`", shown(&entry.path)),
                });
            }
        }
        Ok(drift)
    }
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
        let paths: Vec<_> = expected.looks[&0].paths.iter().map(|change| (change.path(), change.before())).collect();
        assert_eq!(paths, [("/etc/a", &Node::Absent), ("/srv/old", &a), ("/srv/older", &b)]);
    }
}
