//! What a check has planned on a host so far: later tasks see it as if it had been done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::change::records::state_name;
use crate::change::{Change, On};
use crate::dns::Rrset;
use crate::transport::{Address, Body, Content, Entry, Links, Node, Owner};

use super::packages::Packages;

/// What is planned on all machines of a run, by host.
#[derive(Debug, Default)]
pub struct Pendings(Mutex<HashMap<String, Arc<Mutex<Pending>>>>);

/// The machine Cutover runs on, as tasks that are delegated to it name it.
pub const HERE: &str = "localhost";

/// A name server is the same one for all hosts, unless it is their own. No host has this name.
pub fn where_records_are<'a>(host: &'a str, server: &Address) -> &'a str {
    let own = server.host == "localhost" || server.host == "::1" || server.host.starts_with("127.");
    if own { host } else { "" }
}

impl Pendings {
    fn of(&self, host: &str) -> Arc<Mutex<Pending>> {
        let mut hosts = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        hosts.entry(host.to_string()).or_default().clone()
    }

    /// Works on what is planned for a host.
    pub fn with<T>(&self, host: &str, work: impl FnOnce(&mut Pending) -> T) -> T {
        work(&mut self.of(host).lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Takes over what a change that is planned for a host would make true.
    pub fn record(&self, host: &str, change: &Change) {
        let host = match change {
            Change::Path { on: On::Controller, .. } => HERE,
            Change::Records(records) => where_records_are(host, records.server()),
            _ => host,
        };
        self.with(host, |pending| pending.record(change));
    }
}

/// Planned `after`s by path and by state, and what only a run can know of paths and states.
#[derive(Debug, Default)]
pub struct Pending {
    /// By the path that has no link on its way.
    paths: BTreeMap<String, Node>,
    states: BTreeMap<String, String>,
    /// By the name that their change has for them.
    records: BTreeMap<String, Rrset>,
    /// What is planned of states that are moved together with others, by name, in order.
    parts: BTreeMap<String, Vec<String>>,
    /// Paths, with all below them, and states that are known after a run only, with what makes them so.
    unknown: BTreeMap<String, Arc<str>>,
    /// What was noted of paths on whose way nobody has looked for links yet, in order.
    noted: Vec<(String, Noted)>,
    /// Paths that tasks which only a run can decide would change, and what those tasks need.
    open: BTreeMap<String, Arc<str>>,
    /// The tasks whose commands were not run: what those make is not known.
    commands: Vec<Arc<str>>,
    packages: Packages,
    /// What is at the host's own paths that lead somewhere: where a link leads, or nothing.
    ways: BTreeMap<String, Option<String>>,
}

#[derive(Debug)]
enum Noted {
    Node(Node),
    /// What is known of it, and what the rest needs.
    Foreseen(Node, Arc<str>),
    Unknown(Arc<str>),
}

/// Why it is not known where a path leads.
enum Unresolved {
    /// This has to be looked at first.
    Ask(String),
    Circle,
}

/// What is planned at a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    Node(Node),
    /// As the host has it, at this path.
    Host(String),
    /// Known after a run only.
    Unknown(Arc<str>),
}

impl Pending {
    /// Takes over what a change would make true.
    pub fn record(&mut self, change: &Change) {
        match change {
            Change::Path { change, .. } => {
                self.noted.push((change.path().to_string(), Noted::Node(change.after().clone())));
            }
            Change::State(state) => {
                self.packages.record(state);
                self.states.insert(state.what().to_string(), state.after().to_string());
                for (name, _, after) in state.parts() {
                    self.parts.entry(name.to_string()).or_default().push(after.to_string());
                }
            }
            Change::Records(records) => {
                for (_, after) in records.sets() {
                    let what = state_name(records.server(), &after.name, &after.kind);
                    self.records.insert(what, after.clone());
                }
            }
            // What a command or a transfer changes is not known.
            Change::Run { .. } | Change::Transfer(_) => {}
        }
    }

    /// Notes that a path (with all below it) or a state is known after a run only, because of what `why` says.
    pub fn forget(&mut self, what: &str, why: &Arc<str>) {
        match what.starts_with('/') {
            true => self.noted.push((what.to_string(), Noted::Unknown(why.clone()))),
            false => drop(self.unknown.insert(what.to_string(), why.clone())),
        }
    }

    /// Takes over what is known of a change that only a run can decide: what the path is, and not its content.
    pub fn foresee(&mut self, change: &Change, needs: &Arc<str>) {
        let Change::Path { on: On::Host, change } = change else { return };
        let mut after = change.after().clone();
        if let Node::File { content, .. } = &mut after {
            *content = Content::unknown(needs.clone());
        }
        self.noted.push((change.path().to_string(), Noted::Foreseen(after, needs.clone())));
    }

    /// Says what a change waits for: an earlier task that only a run can decide is about the same path, or makes a
    /// directory above it.
    pub fn waits_for(&self, change: &Change) -> Option<Arc<str>> {
        let Change::Path { on: On::Host, change } = change else { return None };
        let path = self.real(change.path());
        std::iter::once(path.as_str()).chain(above(&path)).find_map(|path| self.open.get(path).cloned())
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

    pub fn packages(&self) -> &Packages {
        &self.packages
    }

    /// Says what may make something that is not there: a package that would come, or a task of whose command nobody knows
    /// what it does.
    pub fn may_make(&self, what: &str) -> Option<Arc<str>> {
        if let Some(needs) = self.packages.may_bring(what) {
            return Some(needs);
        }
        let (last, others) = self.commands.split_last()?;
        let others = match others.len() {
            0 => String::new(),
            1 => " or an earlier command".into(),
            count => format!(" or one of {count} earlier commands"),
        };
        Some(format!("{what}, which {last}{others} may make").into())
    }

    /// Says whether nothing is planned of any path.
    pub fn is_without_paths(&self) -> bool {
        self.paths.is_empty() && self.unknown.is_empty() && self.noted.is_empty()
    }

    /// Says whether anything is planned of a path, or of one below it.
    pub fn plans_below(&self, path: &str) -> bool {
        let real = self.directory(path);
        let below = |planned: &String| {
            planned.strip_prefix(&real).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || real == "/")
        };
        let noted = self.noted.iter().map(|(path, _)| path);
        self.paths.keys().chain(self.unknown.keys()).chain(noted).any(below)
    }

    /// Says whether what the host has may be something else by then: changes are planned, or commands were not run.
    pub fn plans_ahead(&self) -> bool {
        !(self.is_without_paths() && self.states.is_empty() && self.records.is_empty() && self.commands.is_empty())
    }

    /// Returns the host's own paths that have to be looked at, links kept, before `look` can tell what is planned at `paths`.
    pub fn ways(&mut self, paths: &[(String, Links)]) -> Vec<String> {
        let noted = self.settle();
        let mut open = BTreeSet::new();
        for (path, links) in
            noted.iter().map(|path| (path, Links::Keep)).chain(paths.iter().map(|(path, links)| (path, *links)))
        {
            if let Err(Unresolved::Ask(way)) = self.resolve(path, links) {
                // Most of them are directories: they are all asked for at once.
                let whole = clean(path);
                let above = whole.match_indices('/').skip(1).map(|(at, _)| whole[..at].to_string());
                open.extend(above.filter(|above| !self.ways.contains_key(above)));
                open.insert(way);
            }
        }
        open.into_iter().collect()
    }

    /// Takes in what is at a path that `ways` has asked for.
    pub fn learn(&mut self, path: String, node: &Node) {
        let leads = if let Node::Link { target, .. } = node { Some(target.clone()) } else { None };
        self.ways.insert(path, leads);
    }

    /// Returns what is planned of each `user` or `group`, as `kind` says: its name and its state.
    pub fn planned_accounts(&self, kind: &str) -> Vec<(String, String)> {
        let of_kind = |(what, state): (&String, &String)| {
            let name = what.strip_prefix(kind)?.strip_prefix(' ')?;
            Some((name.to_string(), state.clone()))
        };
        self.states.iter().filter_map(of_kind).collect()
    }

    /// Returns a `user` or `group`, found by its name or number, where a planned change decides it: nothing for one that
    /// would be removed. The states of both begin with `name:number`, or are `absent`.
    pub fn planned_account(&self, kind: &str, wanted: &str) -> Option<Option<Owner>> {
        self.planned_accounts(kind).into_iter().find_map(|(name, state)| {
            let number = state.split(':').nth(1);
            match number.and_then(|number| number.parse().ok()) {
                Some(id) if name == wanted || number == Some(wanted) => Some(Some(Owner { id, name })),
                None if name == wanted => Some(None),
                _ => None,
            }
        })
    }

    /// Puts what was noted to the paths that it is about; returns the first one whose way is not known.
    fn settle(&mut self) -> Option<String> {
        for (path, noted) in std::mem::take(&mut self.noted) {
            let real = match self.resolve(&path, Links::Keep) {
                Ok(real) if self.noted.is_empty() => real,
                // It may depend on the ones before it.
                _ => {
                    self.noted.push((path, noted));
                    continue;
                }
            };
            match noted {
                Noted::Unknown(why) => drop(self.unknown.insert(real, why)),
                Noted::Foreseen(after, needs) => {
                    self.open.insert(real.clone(), needs);
                    self.paths.insert(real, after);
                }
                Noted::Node(mut after) => {
                    // What stays as it is may itself be only planned.
                    if let (Node::File { content, .. }, Some(Node::File { content: planned, .. })) =
                        (&mut after, self.paths.get(&real))
                        && matches!(content.body, Body::There)
                        && content == planned
                    {
                        *content = planned.clone();
                    }
                    self.paths.insert(real, after);
                }
            }
        }
        self.noted.first().map(|(path, _)| path.clone())
    }

    /// Returns what `path` would be. What `ways` asks for has to be known.
    pub fn look(&self, path: &str, links: Links) -> Planned {
        // Links that lead in a circle are the host's to tell of.
        let Ok(path) = self.resolve(path, links) else { return Planned::Host(clean(path)) };
        match (self.why_unknown(&path), self.paths.get(&path)) {
            (Some(why), _) => Planned::Unknown(why),
            (None, Some(node)) => Planned::Node(node.clone()),
            (None, None) if self.below_something_new(&path) => Planned::Node(Node::Absent),
            (None, None) => Planned::Host(path),
        }
    }

    /// Returns where a directory is without links on its way and at its end, as far as that is known.
    pub fn directory(&self, path: &str) -> String {
        self.resolve(path, Links::Follow).unwrap_or_else(|_| clean(path))
    }

    /// Returns a path without links on its way, as far as that is known.
    fn real(&self, path: &str) -> String {
        self.resolve(path, Links::Keep).unwrap_or_else(|_| clean(path))
    }

    /// Returns a state as planned; an error is why it is known after a run only.
    pub fn state(&self, what: &str) -> Result<Option<String>, Arc<str>> {
        match self.unknown.get(what) {
            Some(why) => Err(why.clone()),
            None => Ok(self.states.get(what).cloned()),
        }
    }

    /// Returns a set of records as planned.
    pub fn records(&self, what: &str) -> Option<Rrset> {
        self.records.get(what).cloned()
    }

    /// Returns all that is planned of a state that is moved together with others, in order: each tells a part of it.
    pub fn parts(&self, name: &str) -> Vec<String> {
        self.parts.get(name).cloned().unwrap_or_default()
    }

    /// Returns the names of such states that begin with `prefix`.
    pub fn parts_of(&self, prefix: &str) -> Vec<String> {
        self.parts.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Puts what is planned over what a listing of `directory` found, all of it below `real`, where the directory is
    /// without links on its way. An error is why some of it is known after a run only.
    pub fn overlay(
        &self,
        (directory, real): (&str, &str),
        depth: Option<u32>,
        found: Vec<Entry>,
    ) -> Result<Vec<Entry>, Arc<str>> {
        let prefix = format!("{}/", real.trim_end_matches('/'));
        let below = |path: &str| path.starts_with(&prefix);
        if let Some((_, why)) = self.unknown.iter().find(|(path, _)| below(path)) {
            return Err(why.clone());
        }
        let mut entries: BTreeMap<String, Node> = found
            .into_iter()
            .filter(|entry| !self.below_something_new(&entry.path))
            .map(|entry| (entry.path, entry.node))
            .collect();
        for (path, node) in self.paths.range(prefix.clone()..).take_while(|(path, _)| below(path)) {
            let level = path[prefix.len()..].matches('/').count() as u32 + 1;
            match node {
                Node::Absent => drop(entries.remove(path)),
                _ if depth.is_none_or(|depth| level <= depth) => drop(entries.insert(path.clone(), node.clone())),
                _ => {}
            }
        }
        let name = |path: String| {
            let below = path.strip_prefix(&prefix).unwrap_or(&path);
            format!("{}/{below}", directory.trim_end_matches('/'))
        };
        Ok(entries.into_iter().map(|(path, node)| Entry { path: name(path), node }).collect())
    }

    /// Returns the path without links on its way, and with `Follow` at its end.
    fn resolve(&self, path: &str, last: Links) -> Result<String, Unresolved> {
        let mut rest: Vec<String> = parts(path).rev().collect();
        let mut at = String::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let here = format!("{at}/{part}");
            if rest.is_empty() && last == Links::Keep {
                return Ok(here);
            }
            let leads = match self.paths.get(&here) {
                Some(Node::Link { target, .. }) => Some(target),
                Some(_) => None,
                None if self.below_something_new(&here) => None,
                None if self.why_unknown(&here).is_some() => None,
                None => self.ways.get(&here).ok_or_else(|| Unresolved::Ask(here.clone()))?.as_ref(),
            };
            match leads {
                None => at = here,
                Some(_) if links == MOST_LINKS => return Err(Unresolved::Circle),
                Some(target) => {
                    links += 1;
                    rest.extend(parts(target).rev());
                    if target.starts_with('/') {
                        at.clear();
                    }
                }
            }
        }
        Ok(if at.is_empty() { "/".into() } else { at })
    }

    /// Says whether an ancestor of `path` would be removed or newly made by a planned change, so that
    /// nothing but planned changes can be below it.
    fn below_something_new(&self, path: &str) -> bool {
        above(path).any(|ancestor| matches!(self.paths.get(ancestor), Some(Node::Absent)))
    }

    fn why_unknown(&self, path: &str) -> Option<Arc<str>> {
        std::iter::once(path).chain(above(path)).find_map(|path| self.unknown.get(path).cloned())
    }
}

/// As `path_resolution.7`.
const MOST_LINKS: usize = 40;

/// Returns the directories above an absolute path, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(parent(path)), |path| (*path != "/").then(|| parent(path)))
}

/// Returns the directory of an absolute path; `/` for the root itself.
fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Returns an absolute path without double slashes, `.` and trailing slashes. `..` stays: links decide it.
pub fn clean(path: &str) -> String {
    format!("/{}", parts(path).collect::<Vec<_>>().join("/"))
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + use<'_> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Command, Content, Permissions};

    fn permissions() -> Permissions {
        let root = Owner { id: 0, name: "root".into() };
        Permissions { mode: 0o644, owner: root.clone(), group: root }
    }

    fn file(text: &str) -> Node {
        Node::File { content: Content::here(text.as_bytes()), permissions: permissions(), modified: None }
    }

    fn link(target: &str) -> Node {
        Node::Link { target: target.into(), permissions: permissions() }
    }

    /// Looks at a path of a host whose links are given.
    fn look(pending: &mut Pending, path: &str, host: &[(&str, &str)]) -> Planned {
        loop {
            let ways = pending.ways(&[(path.into(), Links::Follow)]);
            if ways.is_empty() {
                return pending.look(path, Links::Follow);
            }
            for way in ways {
                let found = host.iter().find(|(path, _)| *path == way);
                pending.learn(way.clone(), &found.map_or(Node::Absent, |(_, target)| link(target)));
            }
        }
    }

    #[test]
    fn a_planned_file_is_seen_and_its_removed_parent_hides_the_rest() {
        let mut pending = Pending::default();
        pending.record(&Change::path("/etc/a", Node::Absent, file("x")).unwrap());
        pending.record(&Change::path("/srv", file("y"), Node::Absent).unwrap());
        assert_eq!(look(&mut pending, "/etc//a", &[]), Planned::Node(file("x")));
        assert_eq!(look(&mut pending, "/srv/deep/file", &[]), Planned::Node(Node::Absent));
        assert_eq!(look(&mut pending, "/etc/b", &[]), Planned::Host("/etc/b".into()));
    }

    #[test]
    fn a_path_is_the_same_by_all_its_names() {
        let host = [("/srv/current", "v1"), ("/a", "b"), ("/b", "/a")];
        let mut pending = Pending::default();
        pending.record(&Change::path("/srv/current/new", Node::Absent, file("x")).unwrap());
        for name in ["/srv/v1/new", "/srv/current/new", "/srv/current/../v1/./new"] {
            assert_eq!(look(&mut pending, name, &host), Planned::Node(file("x")), "{name}");
        }
        pending.record(&Change::path("/srv/current", link("v1"), link("/opt/v2")).unwrap());
        assert_eq!(look(&mut pending, "/srv/current/new", &host), Planned::Host("/opt/v2/new".into()));
        assert_eq!(look(&mut pending, "/srv/v1/new", &host), Planned::Node(file("x")));
        assert_eq!(look(&mut pending, "/a/x", &host[..1]), Planned::Host("/a/x".into()));
    }

    #[test]
    fn what_is_unknown_hides_what_is_below_it_and_nothing_else() {
        let mut pending = Pending::default();
        pending.record(&Change::path("/etc/a", Node::Absent, file("x")).unwrap());
        pending.forget("/etc/a", &"`mv`".into());
        pending.forget("service mail", &"`mv`".into());
        assert_eq!(look(&mut pending, "/etc/a/b", &[]), Planned::Unknown("`mv`".into()));
        assert_eq!(look(&mut pending, "/etc/b", &[]), Planned::Host("/etc/b".into()));
        assert!(pending.state("service mail").is_err() && pending.state("service web").is_ok());
        assert!(pending.overlay(("/etc", "/etc"), None, Vec::new()).is_err());
        assert!(pending.overlay(("/srv", "/srv"), None, Vec::new()).is_ok());
    }

    #[test]
    fn an_account_is_read_from_the_planned_file() {
        let mut pending = Pending::default();
        let passwd = file("root:x:0:0::/:/bin/sh\nmx:x:77:12::/:\nodd\n");
        pending.record(&Change::path("/etc/passwd", Node::Absent, passwd).unwrap());
        let mx = Some(Owner { id: 77, name: "mx".into() });
        look(&mut pending, "/etc/passwd", &[]);
        assert_eq!(pending.account("/etc/passwd", "mx"), Ok(mx.clone()));
        assert_eq!(pending.account("/etc/passwd", "77"), Ok(mx));
        assert_eq!(pending.account("/etc/passwd", "odd"), Ok(None));
        assert_eq!(pending.account("/etc/group", "mx"), Ok(None));
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
        assert_eq!(
            (pending.planned_account("user", "ann"), pending.planned_account("user", "1001")),
            (ann(1001), ann(1001))
        );
        assert_eq!(
            (pending.planned_account("group", "ann"), pending.planned_account("group", "1001")),
            (ann(1002), None)
        );
        assert_eq!(
            (pending.planned_account("user", "bob"), pending.planned_account("user", "eve")),
            (Some(None), None)
        );
    }
}
