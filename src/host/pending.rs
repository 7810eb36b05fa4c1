//! What a check has planned on a host so far: later tasks see it as if it had been done.

use std::collections::BTreeMap;

use crate::change::{Change, On};
use crate::transport::{Body, Entry, Links, Node, Owner};

/// Planned `after`s by path and by state.
#[derive(Debug, Default)]
pub struct Pending {
    paths: BTreeMap<String, Node>,
    states: BTreeMap<String, String>,
}

impl Pending {
    /// Takes over what a change would make true.
    pub fn record(&mut self, change: &Change) {
        match change {
            Change::Path { on: On::Host, change } => {
                let mut after = change.after().clone();
                // What stays as it is may itself be only planned.
                if let (Node::File { content, .. }, Some(Node::File { content: planned, .. })) =
                    (&mut after, self.paths.get(change.path()))
                    && matches!(content.body, Body::There)
                    && content == planned
                {
                    *content = planned.clone();
                }
                self.paths.insert(change.path().to_string(), after);
            }
            Change::State(state) => {
                self.states.insert(state.what().to_string(), state.after().to_string());
            }
            // A file on the controller is no part of this host; what a command or a transfer changes is not known.
            Change::Path { on: On::Controller, .. } | Change::Run { .. } | Change::Transfer(_) => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.states.is_empty()
    }

    /// Returns what `path` would be, where a planned change decides it.
    pub fn look(&self, path: &str, links: Links) -> Option<Node> {
        let mut path = clean(path);
        for _ in 0..40 {
            match self.paths.get(&path) {
                Some(Node::Link { target, .. }) if links == Links::Follow => path = join(parent(&path), target),
                Some(node) => return Some(node.clone()),
                None => return self.below_something_new(&path).then_some(Node::Absent),
            }
        }
        Some(Node::Absent)
    }

    pub fn state(&self, what: &str) -> Option<String> {
        self.states.get(what).cloned()
    }

    /// Returns what is planned of each `user` or `group`, as `kind` says: its name and its state.
    pub fn accounts(&self, kind: &str) -> Vec<(String, String)> {
        let of_kind = |(what, state): (&String, &String)| {
            let name = what.strip_prefix(kind)?.strip_prefix(' ')?;
            Some((name.to_string(), state.clone()))
        };
        self.states.iter().filter_map(of_kind).collect()
    }

    /// Returns a `user` or `group`, found by its name or number, where a planned change decides it: nothing for one that
    /// would be removed. The states of both begin with `name:number`, or are `absent`.
    pub fn account(&self, kind: &str, wanted: &str) -> Option<Option<Owner>> {
        self.accounts(kind).into_iter().find_map(|(name, state)| {
            let number = state.split(':').nth(1);
            match number.and_then(|number| number.parse().ok()) {
                Some(id) if name == wanted || number == Some(wanted) => Some(Some(Owner { id, name })),
                None if name == wanted => Some(None),
                _ => None,
            }
        })
    }

    /// Puts what is planned over what a listing of `directory` found.
    pub fn overlay(&self, directory: &str, depth: Option<u32>, found: Vec<Entry>) -> Vec<Entry> {
        let prefix = format!("{}/", clean(directory).trim_end_matches('/'));
        let mut entries: BTreeMap<String, Node> = found
            .into_iter()
            .filter(|entry| !self.below_something_new(&entry.path))
            .map(|entry| (entry.path, entry.node))
            .collect();
        for (path, node) in self.paths.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)) {
            let level = path[prefix.len()..].matches('/').count() as u32 + 1;
            match node {
                Node::Absent => drop(entries.remove(path)),
                _ if depth.is_none_or(|depth| level <= depth) => drop(entries.insert(path.clone(), node.clone())),
                _ => {}
            }
        }
        entries.into_iter().map(|(path, node)| Entry { path, node }).collect()
    }

    /// Says whether an ancestor of `path` would be removed or newly made by a planned change, so that
    /// nothing but planned changes can be below it.
    fn below_something_new(&self, path: &str) -> bool {
        std::iter::successors(Some(parent(path)), |path| (*path != "/").then(|| parent(path)))
            .any(|ancestor| matches!(self.paths.get(ancestor), Some(Node::Absent)))
    }
}

/// Returns the directory of an absolute path; `/` for the root itself.
pub fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Returns an absolute path without double slashes, `.` and trailing slashes. `..` stays: links decide it.
pub fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn join(directory: &str, target: &str) -> String {
    if target.starts_with('/') { clean(target) } else { clean(&format!("{directory}/{target}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Command, Content, Permissions};

    fn file(text: &str) -> Node {
        let root = Owner { id: 0, name: "root".into() };
        let permissions = Permissions { mode: 0o644, owner: root.clone(), group: root };
        Node::File { content: Content::here(text.as_bytes()), permissions, modified: None }
    }

    #[test]
    fn a_planned_file_is_seen_and_its_removed_parent_hides_the_rest() {
        let mut pending = Pending::default();
        pending.record(&Change::path("/etc/a", Node::Absent, file("x")).unwrap());
        pending.record(&Change::path("/srv", file("y"), Node::Absent).unwrap());
        assert_eq!(pending.look("/etc//a", Links::Follow), Some(file("x")));
        assert_eq!(pending.look("/srv/deep/file", Links::Keep), Some(Node::Absent));
        assert_eq!(pending.look("/etc/b", Links::Keep), None);
    }

    #[test]
    fn a_planned_account_is_found_by_name_and_number_and_a_removed_one_is_not_there() {
        let mut pending = Pending::default();
        let mut state = |what: &str, before: &str, after: &str| {
            let texts = (before.to_string(), after.to_string());
            pending.record(&Change::state(what, Command::shell("true"), texts, Vec::new()).unwrap());
        };
        state("user ann", "absent", "ann:1001:1002:Ann:/home/ann:/bin/sh, groups mail");
        state("group ann", "absent", "ann:1002");
        state("user bob", "bob:1003:1003::/home/bob:/bin/sh", "absent");
        let ann = |id| Some(Some(Owner { id, name: "ann".into() }));
        assert_eq!((pending.account("user", "ann"), pending.account("user", "1001")), (ann(1001), ann(1001)));
        assert_eq!((pending.account("group", "ann"), pending.account("group", "1001")), (ann(1002), None));
        assert_eq!((pending.account("user", "bob"), pending.account("user", "eve")), (Some(None), None));
    }
}
