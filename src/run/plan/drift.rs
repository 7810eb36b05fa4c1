//! What a plan takes for granted of a machine, against what is there: a machine that has moved on is not touched.

use std::collections::HashMap;
use std::fmt;

use crate::change::diff::describe_apart;
use crate::change::{Change, On};
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

/// What the changes of a plan find before the first of them is made: what an earlier one makes is not asked for.
#[derive(Default)]
pub struct Expected<'a> {
    /// In the plan's order.
    paths: Vec<&'a PathChange>,
    states: Vec<&'a crate::change::StateChange>,
    /// What each path has become so far.
    made: HashMap<&'a str, &'a Node>,
}

impl<'a> Expected<'a> {
    pub fn add(&mut self, step: &'a Step) {
        for change in &step.changes {
            match change {
                Change::Path { on: On::Host, change } => {
                    let path = change.path();
                    if !self.made.contains_key(path) && !self.below_something_removed(path) {
                        self.paths.push(change);
                    }
                    self.made.insert(path, change.after());
                }
                // What is made from other things has become old by the changes before it.
                Change::State(state) if state.is_made_again() => {}
                Change::State(state) if !self.states.iter().any(|known| known.what() == state.what()) => {
                    self.states.push(state);
                }
                _ => {}
            }
        }
    }

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
        Ok(drift)
    }

    fn below_something_removed(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.filter_map(|above| self.made.get(above)).any(|node| !matches!(node, Node::Directory { .. }))
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
        expected.add(&step);
        let paths: Vec<_> = expected.paths.iter().map(|change| (change.path(), change.before())).collect();
        assert_eq!(paths, [("/etc/a", &Node::Absent), ("/srv/old", &a), ("/srv/older", &b)]);
    }
}
