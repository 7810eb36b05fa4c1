//! What a check has planned on a host so far: later tasks see it as if it had been done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::change::{Change, On};
use crate::transport::{Body, Content, Entry, Links, Node, Owner};

/// How many links a path may lead through (`ELOOP`).
const MAX_LINKS: usize = 40;

/// Planned `after`s by path and by state, and what is known to be open.
#[derive(Debug, Default)]
pub struct Pending {
    paths: BTreeMap<String, Node>,
    states: BTreeMap<String, String>,
    /// Paths that tasks which only a run can decide would change, and what those tasks need.
    open: BTreeMap<String, Arc<str>>,
    /// The tasks whose commands were not run: what those make is not known.
    commands: Vec<Arc<str>>,
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

    /// Takes over what is known of a change that only a run can decide: what the path is, and not its content.
    pub fn foresee(&mut self, change: &Change, needs: &Arc<str>) {
        let Change::Path { on: On::Host, change } = change else { return };
        self.open.insert(change.path().to_string(), needs.clone());
        let mut after = change.after().clone();
        if let Node::File { content, .. } = &mut after {
            *content = Content::unknown(needs.clone());
        }
        self.paths.insert(change.path().to_string(), after);
    }

    /// Says what a change waits for: an earlier task that only a run can decide is about the same path, or makes a
    /// directory above it.
    pub fn waits_for(&self, change: &Change) -> Option<Arc<str>> {
        let Change::Path { on: On::Host, change } = change else { return None };
        let mut above = std::iter::successors(Some(change.path()), |path| (*path != "/").then(|| parent(path)));
        above.find_map(|path| self.open.get(path).cloned())
    }

    /// Notes a task whose command was not run.
    pub fn not_run(&mut self, task: Arc<str>) {
        self.commands.push(task);
    }

    /// Returns an account of `/etc/passwd` or `/etc/group`, by its name or number, where its file is planned; or what is
    /// needed to know.
    pub fn account(&self, file: &str, name: &str) -> Result<Option<Owner>, Arc<str>> {
        let Some(Node::File { content, .. }) = self.paths.get(file) else { return Ok(None) };
        if let Body::Unknown { needs } = &content.body {
            return Err(needs.clone());
        }
        let text = String::from_utf8_lossy(content.bytes().unwrap_or_default());
        let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let owners =
            fields.filter_map(|fields| Some(Owner { id: fields.get(2)?.parse().ok()?, name: fields[0].into() }));
        let owners: Vec<Owner> = owners.collect();
        let found = owners.iter().find(|owner| owner.name == name);
        Ok(found.or(owners.iter().find(|owner| name.parse() == Ok(owner.id))).cloned())
    }

    /// Says which task may make something that is not there, as far as nobody knows what its command does.
    pub fn may_make(&self, what: &str) -> Option<Arc<str>> {
        let (last, others) = self.commands.split_last()?;
        let others = match others.len() {
            0 => String::new(),
            1 => " or an earlier command".into(),
            count => format!(" or one of {count} earlier commands"),
        };
        Some(format!("{what}, which {last}{others} may make").into())
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.states.is_empty()
    }

    /// Returns what `path` would be, where a planned change decides it.
    pub fn look(&self, path: &str, links: Links) -> Option<Node> {
        let path = self.resolve(path, links);
        match self.paths.get(&path) {
            Some(Node::Link { .. }) if links == Links::Follow => Some(Node::Absent),
            Some(node) => Some(node.clone()),
            None => self.below_something_new(&path).then_some(Node::Absent),
        }
    }

    /// Returns where a path leads through planned links: to what the host has to be asked about in its place.
    pub fn resolve(&self, path: &str, links: Links) -> String {
        let parts = |path: &str| clean(path).split('/').skip(1).map(str::to_string).collect::<VecDeque<_>>();
        let (mut rest, mut done, mut followed) = (parts(path), String::new(), 0);
        while let Some(name) = rest.pop_front() {
            // Before a planned link, links of the host decide what `..` is.
            if name == ".." && followed > 0 {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{done}/{name}");
            match self.paths.get(&next) {
                Some(Node::Link { target, .. })
                    if followed < MAX_LINKS && (links == Links::Follow || !rest.is_empty()) =>
                {
                    followed += 1;
                    if target.starts_with('/') {
                        done.clear();
                    }
                    let mut target = parts(target);
                    target.append(&mut rest);
                    rest = target;
                }
                _ => done = next,
            }
        }
        if done.is_empty() { "/".into() } else { done }
    }

    /// Returns what the host is to be asked about for `path`: itself, unless a planned link is on the way.
    pub fn at_host(&self, path: &str, links: Links) -> String {
        let resolved = self.resolve(path, links);
        if resolved == clean(path) { path.to_string() } else { resolved }
    }

    pub fn state(&self, what: &str) -> Option<String> {
        self.states.get(what).cloned()
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
    fn a_planned_file_is_seen_and_its_removed_parent_hides_the_rest() {
        let mut pending = Pending::default();
        pending.record(&Change::path("/etc/a", Node::Absent, file("x")).unwrap());
        pending.record(&Change::path("/srv", file("y"), Node::Absent).unwrap());
        assert_eq!(pending.look("/etc//a", Links::Follow), Some(file("x")));
        assert_eq!(pending.look("/srv/deep/file", Links::Keep), Some(Node::Absent));
        assert_eq!(pending.look("/etc/b", Links::Keep), None);
    }

    #[test]
    fn what_is_behind_a_planned_link_is_seen_wherever_the_link_stands() {
        let mut pending = Pending::default();
        let root = Owner { id: 0, name: "root".into() };
        let permissions = Permissions { mode: 0o777, owner: root.clone(), group: root };
        let link = |target: &str| Node::Link { target: target.into(), permissions: permissions.clone() };
        for (path, node) in
            [("/srv/now", link("v2/../v3")), ("/srv/v3/conf", file("x")), ("/a", link("/b")), ("/b", link("a"))]
        {
            pending.record(&Change::path(path, Node::Absent, node).unwrap());
        }
        assert_eq!(pending.look("/srv/now/conf", Links::Keep), Some(file("x")));
        assert_eq!(pending.resolve("/srv/now/there", Links::Keep), "/srv/v3/there");
        assert_eq!(pending.resolve("/srv/now", Links::Keep), "/srv/now");
        assert_eq!(pending.look("/a", Links::Follow), Some(Node::Absent));
    }

    #[test]
    fn an_account_is_read_from_the_planned_file() {
        let mut pending = Pending::default();
        let passwd = file("root:x:0:0::/:/bin/sh\nmx:x:77:12::/:\nodd\n");
        pending.record(&Change::path("/etc/passwd", Node::Absent, passwd).unwrap());
        let mx = Some(Owner { id: 77, name: "mx".into() });
        assert_eq!(pending.account("/etc/passwd", "mx"), Ok(mx.clone()));
        assert_eq!(pending.account("/etc/passwd", "77"), Ok(mx));
        assert_eq!(pending.account("/etc/passwd", "odd"), Ok(None));
        assert_eq!(pending.account("/etc/group", "mx"), Ok(None));
    }
}
