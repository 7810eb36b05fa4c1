//! `file`: a path is a directory, a link, an empty file, or gone, and belongs to whom it should.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::{Change, On};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::{Body, Command, Content, Links, Node, TransportError, Want};

use super::hard::HardLink;
use super::link::Link;
use super::place::{Place, base_name, join, make_directories, real, results_of};
use super::rights::{New, RIGHTS, Rights};
use super::times::{self, Time};

pub const FILE: Entry = Entry {
    name: "file",
    summary: "Makes directories, links and empty files, removes paths, and sets who owns them",
    arguments: &[
        &[
            Argument::new("path", Kind::Path, "The path.").required().alias(&["dest", "name"]),
            Argument::new(
                "state",
                Kind::Text,
                "What it is to be; unless given what it is, or a file that has to be there.",
            )
            .choices(&["absent", "directory", "file", "hard", "link", "touch"]),
            Argument::new(
                "src",
                Kind::Path,
                "What a link leads to, as it is stored; the file that `hard` gives a further name.",
            ),
            Argument::new("recurse", Kind::Bool, "Set owner, group and mode of everything below a directory too."),
            Argument::new(
                "follow",
                Kind::Bool,
                "Mean what a link at `path` leads to, and with `recurse` what links below lead to; on unless set.",
            ),
            Argument::new(
                "force",
                Kind::Bool,
                "Make a link whose target is missing, or in place of a file or an empty directory.",
            ),
            Argument::new(
                "modification_time",
                Kind::Text,
                "`now`, `preserve`, or a time of the controller's time zone.",
            ),
            Argument::new(
                "modification_time_format",
                Kind::Text,
                "How that time is written; `%Y%m%d%H%M.%S` unless given.",
            ),
            Argument::new("access_time", Kind::Text, "`now`, `preserve`, or a time of the controller's time zone."),
            Argument::new("access_time_format", Kind::Text, "How that time is written; `%Y%m%d%H%M.%S` unless given."),
            Argument::new(
                "_original_basename",
                Kind::Text,
                "Ansible's own, from one part of it to another: the name in `path`, where that is a directory.",
            ),
            Argument::new("_diff_peek", Kind::Bool, "Ansible's own, from one part of it to another; without effect."),
        ],
        RIGHTS,
    ],
    free_form: None,
    example: "- name: Where mail of the moved domain will be\n  file:\n    path: /var/qmail/mailnames/example.com\n    state: directory\n    owner: popuser\n    group: popuser\n    mode: \"0755\"\n",
    build,
};

#[derive(Deserialize)]
struct Written {
    path: String,
    state: Option<State>,
    src: Option<String>,
    #[serde(default)]
    recurse: bool,
    follow: Option<bool>,
    #[serde(default)]
    force: bool,
    modification_time: Option<String>,
    modification_time_format: Option<String>,
    access_time: Option<String>,
    access_time_format: Option<String>,
    #[serde(rename = "_original_basename")]
    basename: Option<String>,
    #[serde(flatten)]
    rights: Rights,
}

/// What is asked for.
pub(super) struct File {
    path: String,
    state: Option<State>,
    src: Option<String>,
    recurse: bool,
    basename: Option<String>,
    pub links: Links,
    /// What a link may take the place of, or lead to.
    pub force: bool,
    /// Of modification.
    time: Time,
    access: Time,
    pub rights: Rights,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Absent,
    Directory,
    File,
    Hard,
    Link,
    Touch,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    written.rights.check()?;
    let needs_src = matches!(written.state, Some(State::Link | State::Hard));
    if written.src.is_some() && written.state.is_some() && !needs_src {
        let error = Diagnostic::new("`src` needs `state: link` or `state: hard`");
        return Err(error.msg(SRC));
    }
    if written.recurse && !matches!(written.state, None | Some(State::Directory)) {
        let error = Diagnostic::new("`recurse` needs `state: directory`");
        return Err(error.msg("recurse option requires state to be 'directory'"));
    }
    let default = if written.state == Some(State::Touch) { Time::Now } else { Time::Preserve };
    let time = |text: &Option<String>, format: &Option<String>| {
        text.as_deref().map_or(Ok(default), |text| Time::parse(text, format.as_deref()))
    };
    Ok(Box::new(File {
        time: time(&written.modification_time, &written.modification_time_format)?,
        access: time(&written.access_time, &written.access_time_format)?,
        path: written.path,
        state: written.state,
        src: written.src,
        recurse: written.recurse,
        basename: written.basename,
        links: if written.follow.unwrap_or(true) { Links::Follow } else { Links::Keep },
        force: written.force,
        rights: written.rights,
    }))
}

const SRC: &str = "src option requires state to be 'link' or 'hard'";

#[async_trait]
impl Module for File {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut strangers = match self.state {
            Some(State::Absent) => Vec::new(),
            _ => self.strangers(host).await?,
        };
        match self.planned(host).await {
            Ok(mut planned) => {
                planned.warnings.append(&mut strangers);
                Ok(planned)
            }
            Err(error) if strangers.is_empty() => Err(error),
            Err(error) => {
                let (message, mut result) = match error {
                    ModuleError::Failed { message, result } => (message, result),
                    ModuleError::Host(TransportError::Refused(why)) => (why, Results::new()),
                    error => return Err(error),
                };
                result.insert("warnings".into(), strangers.into());
                Err(ModuleError::Failed { message, result })
            }
        }
    }
}

impl File {
    async fn planned(&self, host: &View) -> Result<Planned, ModuleError> {
        let path = self.place(host).await?;
        let links = match self.state {
            // A link itself is removed or made, whatever it leads to.
            Some(State::Absent | State::Link | State::Hard) => Links::Keep,
            None if self.src.is_some() => Links::Keep,
            _ => self.links,
        };
        let want = if self.state == Some(State::Absent) { Want::Content } else { Want::Attributes };
        let place = match Place::look(host, &path, links, want).await {
            // What is removed is gone, whatever was in it.
            Err(ModuleError::Host(TransportError::Unknown(_))) => {
                Place::look(host, &path, links, Want::Attributes).await?
            }
            place => place?,
        };
        let state = match (self.state, &place.node) {
            (Some(state), _) => state,
            (None, Node::Directory { .. }) => State::Directory,
            (None, Node::Link { .. }) => State::Link,
            (None, Node::Absent) if self.recurse => State::Directory,
            (None, _) => State::File,
        };
        if self.src.is_some() && !matches!(state, State::Link | State::Hard) {
            return Err(ModuleError::failed(SRC));
        }
        if self.recurse && state != State::Directory {
            return Err(ModuleError::failed("recurse option requires state to be 'directory'"));
        }
        let path = place.path.clone();
        let flagged = matches!(state, State::Directory | State::File | State::Touch);
        let mut planned = match state {
            State::Absent => self.absent(host, place).await,
            State::Directory => self.directory(host, place).await,
            State::File => self.file(host, place).await,
            State::Link => Link { file: self, src: self.src.as_deref() }.plan(host, place).await,
            State::Hard => HardLink { file: self, src: self.src.as_deref() }.plan(host, place).await,
            State::Touch => self.touch(host, place).await,
        }?;
        if flagged {
            planned.changes.extend(self.rights.flags(host, &path).await?);
        }
        Ok(planned)
    }

    /// Returns the path that is meant: in a directory, the name that `src` has.
    async fn place(&self, host: &View) -> Result<String, ModuleError> {
        let name = self.basename.as_deref().or(self.src.as_deref().map(base_name)).filter(|name| !name.is_empty());
        let Some(name) = name.filter(|_| !matches!(self.state, Some(State::Link | State::Absent))) else {
            return Ok(self.path.clone());
        };
        let place = Place::look(host, &self.path, Links::Follow, Want::Attributes).await?;
        Ok(if place.node.is_directory() { join(&place.path, name) } else { self.path.clone() })
    }

    /// Says, in a check, which owners are nobody's yet.
    async fn strangers(&self, host: &View) -> Result<Vec<String>, ModuleError> {
        let mut strangers = Vec::new();
        if !host.is_check {
            return Ok(strangers);
        }
        for (kind, letter, name) in [("user", 'u', &self.rights.owner), ("group", 'g', &self.rights.group)] {
            let Some(name) = name else { continue };
            let found = if kind == "user" { host.user(name).await } else { host.group(name).await };
            let is_number = name.parse::<u32>().is_ok();
            let known = match &found {
                // One that has no name is named as it is numbered.
                Ok(owner) => !is_number || owner.name != *name,
                Err(TransportError::Refused(_)) => false,
                Err(_) => true,
            };
            if !known {
                let numbered = if is_number { format!(" with {letter}id") } else { String::new() };
                let then = if kind == "user" { "Create user" } else { "Create group" };
                strangers
                    .push(format!("failed to look up {kind}{numbered} {name}. {then} up to this point in real play"));
            }
        }
        Ok(strangers)
    }

    async fn absent(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        if place.path == "/" {
            return Err(ModuleError::failed("`/` is not removed"));
        }
        let mut changes = Vec::new();
        if let Node::Directory { .. } = place.node {
            let entries = host.list(&place.path, None).await?;
            let paths: Vec<_> = entries.into_iter().rev().map(|entry| (entry.path, Links::Keep)).collect();
            let nodes = host.look_all(&paths, Want::Content).await?;
            let gone =
                paths.into_iter().zip(nodes).filter_map(|((path, _), node)| Change::path(path, node, Node::Absent));
            changes.extend(gone);
        }
        changes.extend(place.change(Node::Absent));
        Ok(planned(changes, &place.path, &Node::Absent))
    }

    async fn file(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        match place.node {
            Node::File { .. } | Node::Special { .. } => {
                let after = self.kept(host, &place.node).await?;
                self.timed(host, &place, after).await
            }
            _ => {
                let message = format!("file ({}) is {}, cannot continue", place.path, place.node.kind());
                Err(ModuleError::Failed { message, result: state_of(&place.path, &place.node) })
            }
        }
    }

    async fn touch(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        let after = match &place.node {
            Node::Absent => {
                place.needs_parent()?;
                let permissions = self.rights.fresh(host, New::File, &place.parent).await?;
                Node::File { content: Content::here(Vec::new()), permissions, modified: self.time.seconds() }
            }
            Node::Link { .. } => {
                return Err(ModuleError::failed(format!("`{}` is a link, and `follow` is off", place.path)));
            }
            node => self.kept(host, node).await?,
        };
        let (me, now) = (host.identity().user.id, (self.time, self.access) == (Time::Now, Time::Now));
        let others = place.node.permissions().filter(|old| me != 0 && me != old.owner.id);
        if now && others.is_some_and(|old| after.permissions() == Some(old)) {
            // Who may write to a file of somebody else's may only set both of its times to the host's own.
            return Ok(touched(&[], &place));
        }
        self.timed(host, &place, after).await
    }

    async fn directory(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        match &place.node {
            Node::Absent => {
                let (changes, after) = make_directories(host, &place.path, &self.rights).await?;
                Ok(planned(changes, &place.path, &after))
            }
            Node::Directory { .. } => {
                let after = self.kept(host, &place.node).await?;
                let mut planned = self.timed(host, &place, after).await?;
                if self.recurse {
                    planned.changes.extend(self.below(host, &place.path).await?);
                }
                Ok(planned)
            }
            other => Err(ModuleError::failed(format!("{} already exists as a {}", place.path, other.kind()))),
        }
    }

    /// Returns the changes of all that is below a directory, and of what links there lead to.
    async fn below(&self, host: &View, top: &str) -> Result<Vec<Change>, ModuleError> {
        let top = real(host, top).await?;
        let (mut left, mut done, mut changes) = (vec![top.clone()], BTreeSet::from([top]), Vec::new());
        while let Some(directory) = left.pop() {
            for entry in host.list(&directory, None).await? {
                let mut found = vec![(entry.path, entry.node)];
                if let (Node::Link { .. }, Links::Follow) = (&found[0].1, self.links) {
                    match real(host, &found[0].0).await {
                        // Links in a circle lead nowhere.
                        Err(ModuleError::Failed { .. }) => {}
                        end => {
                            let end = end?;
                            let node = host.look(&end, Want::Attributes).await?;
                            found.push((end, node));
                        }
                    }
                }
                for (path, node) in found {
                    if !node.exists() || !done.insert(path.clone()) {
                        continue;
                    }
                    if node.is_directory() && !path.starts_with(&format!("{directory}/")) {
                        left.push(path.clone());
                    }
                    let permissions = self.rights.kept(host, &node).await?;
                    let after = permissions.map_or(node.clone(), |new| node.clone().with_permissions(new));
                    changes.extend(Change::path(path, node, after));
                }
            }
        }
        Ok(changes)
    }

    /// Returns the node with the rights and the time that were asked for, its content left where it is.
    pub async fn kept(&self, host: &View, node: &Node) -> Result<Node, ModuleError> {
        let Some(permissions) = self.rights.kept(host, node).await? else { return Ok(node.clone()) };
        let time = self.time.seconds();
        Ok(match node.clone().with_permissions(permissions) {
            Node::File { content, permissions, modified } => {
                let content = if content.is_unknown() { content } else { Content { body: Body::There, ..content } };
                Node::File { content, permissions, modified: time.or(modified) }
            }
            Node::Directory { permissions, modified } => Node::Directory { permissions, modified: time.or(modified) },
            other => other,
        })
    }

    /// Says whether anything is asked for but what a path is.
    pub fn sets_rights(&self) -> bool {
        !self.rights.is_empty() || [self.time, self.access] != [Time::Preserve; 2]
    }

    /// Returns the plan that makes a place what it is to be, with its times.
    pub async fn timed(&self, host: &View, place: &Place, after: Node) -> Result<Planned, ModuleError> {
        let accessed = self.access.seconds();
        let mut changes = Vec::from_iter(place.change(after.clone()).map(|change| match change {
            Change::Path { change, .. } => Change::Path { on: On::Host, change: change.accessed_at(accessed) },
            change => change,
        }));
        if changes.is_empty() && self.time != Time::Now && place.node.exists() {
            match (self.access, accessed) {
                (Time::Now, _) => return Ok(touched(&["-a"], place)),
                (_, Some(accessed)) => changes.extend(times::access(host, &place.path, accessed).await?),
                (_, None) => {}
            }
        }
        let mut planned = planned(changes, &place.path, &after);
        if let (Outcome::Known(results), Time::Now) = (&mut planned.result, self.time) {
            // The time may be the same to the second; it is touched all the same.
            results.insert("changed".into(), true.into());
        }
        Ok(planned)
    }
}

/// Returns the plan that lets the host set times of a path to its own.
fn touched(which: &[&str], place: &Place) -> Planned {
    let command = Command::argv([&["touch"], which, &["-c", "--", &place.path]].concat());
    let result = Outcome::Applied(told(&place.path, &place.node));
    Planned { changes: vec![Change::Run { command }], result, warnings: Vec::new() }
}

/// Returns the plan with what `register:` sees: the path and what it is.
pub(super) fn planned(changes: Vec<Change>, path: &str, after: &Node) -> Planned {
    Planned::new(changes, told(path, after))
}

fn told(path: &str, node: &Node) -> Results {
    let mut results = state_of(path, node);
    results.extend(results_of(node));
    results
}

fn state_of(path: &str, node: &Node) -> Results {
    let pairs = [("path", path), ("dest", path), ("state", node.kind())];
    pairs.into_iter().map(|(name, value)| (name.to_string(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::{Bench, afters};
    use crate::modules::files::times::now;
    use crate::transport::Permissions;

    fn permissions(bench: &Bench, path: &str) -> Permissions {
        bench.host.node(path, Links::Keep).permissions().unwrap().clone()
    }

    #[tokio::test]
    async fn a_directory_is_made_with_all_above_it() {
        let bench = Bench::new();
        let arguments = json!({"path": "/srv/a/b/", "state": "directory", "mode": "0750", "owner": "mail"});
        let planned = bench.plan("file", arguments.clone()).await.unwrap();
        let paths: Vec<_> = afters(&planned.changes).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/srv", "/srv/a", "/srv/a/b"]);
        let results = bench.twice("file", arguments).await;
        assert_eq!((permissions(&bench, "/srv/a/b").mode, permissions(&bench, "/srv/a").owner.id), (0o750, 8));
        assert_eq!((results["state"].clone(), results["mode"].clone()), (json!("directory"), json!("0750")));
    }

    #[tokio::test]
    async fn a_setgid_directory_hands_its_group_down() {
        let bench = Bench::new();
        let group = bench.host.node("/etc", Links::Keep).permissions().unwrap().clone();
        let mail = crate::transport::Owner { id: 8, name: "mail".into() };
        let node = Node::Directory { permissions: Permissions { mode: 0o2775, group: mail, ..group }, modified: None };
        bench.host.put("/srv", node);
        bench.twice("file", json!({"path": "/srv/d", "state": "directory"})).await;
        bench.twice("copy", json!({"content": "", "dest": "/srv/d/f"})).await;
        assert_eq!((permissions(&bench, "/srv/d").mode, permissions(&bench, "/srv/d/f").group.id), (0o2755, 8));
    }

    #[tokio::test]
    async fn recurse_lists_every_path_and_spares_what_is_right() {
        let bench = Bench::new();
        bench.host.file("/srv/d/a", "A", 0o666).file("/srv/d/b", "B", 0o640).file("/srv/d/s/x", "", 0o777);
        let arguments = json!({"path": "/srv/d", "state": "directory", "recurse": true, "mode": "u=rwX,g=rX,o="});
        let planned = bench.plan("file", arguments.clone()).await.unwrap();
        let modes: Vec<_> =
            afters(&planned.changes).into_iter().map(|(path, node)| (path, node.permissions().unwrap().mode)).collect();
        assert_eq!(modes, [("/srv/d", 0o750), ("/srv/d/a", 0o640), ("/srv/d/s", 0o750), ("/srv/d/s/x", 0o750)]);
        bench.twice("file", arguments).await;
        assert_eq!(bench.host.read("/srv/d/a").unwrap(), "A");
    }

    #[tokio::test]
    async fn absent_removes_from_below_and_keeps_what_undo_needs() {
        let bench = Bench::new();
        bench.host.file("/srv/d/s/x", "text", 0o644).link("/srv/d/l", "/etc");
        let arguments = json!({"path": "/srv/d", "state": "absent"});
        let planned = bench.plan("file", arguments.clone()).await.unwrap();
        let Change::Path { change, .. } = &planned.changes[0] else { panic!() };
        assert_eq!((change.path(), change.before().content().unwrap().bytes()), ("/srv/d/s/x", Some(&b"text"[..])));
        bench.twice("file", arguments).await;
        assert!(!bench.exists("/srv/d") && bench.exists("/srv") && bench.exists("/etc"));
    }

    #[tokio::test]
    async fn a_link_is_made_moved_and_its_target_owned() {
        let bench = Bench::new();
        bench.host.file("/etc/new", "n", 0o644).link("/etc/l", "old");
        bench.twice("file", json!({"path": "/etc/l", "src": "new", "state": "link", "mode": "0600"})).await;
        assert_eq!(bench.host.read("/etc/l").unwrap(), "n");
        assert_eq!(bench.mode("/etc/new"), 0o600);
        bench
            .twice("file", json!({"path": "/etc/l", "src": "new", "state": "link", "owner": "mail", "follow": false}))
            .await;
        assert_eq!((permissions(&bench, "/etc/l").owner.id, permissions(&bench, "/etc/new").owner.id), (8, 0));
    }

    #[tokio::test]
    async fn a_link_does_not_replace_or_dangle_without_force() {
        let bench = Bench::new();
        bench.host.file("/etc/f", "", 0o644).file("/etc/d/x", "", 0o644).dir("/etc/e", 0o755);
        for path in ["/etc/f", "/etc/d", "/etc/e"] {
            let error = bench.fails("file", json!({"path": path, "src": "/root", "state": "link"})).await;
            assert!(error.contains("refusing to convert from"), "{error}");
        }
        let error = bench.fails("file", json!({"path": "/etc/l", "src": "/none", "state": "link"})).await;
        assert!(error.starts_with("src file does not exist") && error.ends_with("/none"), "{error}");
        let full = json!({"path": "/etc/d", "src": "/root", "state": "link", "force": true});
        assert!(bench.fails("file", full).await.contains("is not empty"));
        bench.twice("file", json!({"path": "/etc/f", "src": "/none", "state": "link", "force": true})).await;
        bench.twice("file", json!({"path": "/etc/e", "src": "/none", "state": "link", "force": true})).await;
        assert_eq!(bench.host.node("/etc/e", Links::Keep).kind(), "link");
    }

    #[tokio::test]
    async fn touch_makes_an_empty_file_or_sets_its_time() {
        let bench = Bench::new();
        let preserve =
            json!({"path": "/etc/t", "state": "touch", "modification_time": "preserve", "access_time": "preserve"});
        bench.twice("file", preserve).await;
        assert_eq!(bench.host.read("/etc/t").unwrap(), "");
        bench.host.file("/etc/t", "kept", 0o600);
        bench.apply(&bench.plan("file", json!({"path": "/etc/t", "state": "touch"})).await.unwrap().changes).await;
        let Node::File { modified, .. } = bench.host.node("/etc/t", Links::Keep) else { panic!() };
        assert!(modified > Some(1_700_000_000) && modified <= Some(now()));
        assert_eq!((bench.host.read("/etc/t").unwrap(), bench.mode("/etc/t")), ("kept".into(), 0o600));
    }

    #[tokio::test]
    async fn recurse_goes_through_links_once_and_only_where_they_are_followed() {
        let bench = Bench::new();
        bench
            .host
            .file("/srv/d/a", "A", 0o600)
            .link("/srv/d/up", "../d")
            .link("/srv/d/out", "/opt/o")
            .link("/srv/d/no", "x");
        bench.host.file("/opt/o/b", "B", 0o600);
        let mut arguments = json!({"path": "/srv/d", "recurse": true, "mode": "go+r", "follow": false});
        bench.twice("file", arguments.clone()).await;
        assert_eq!([bench.mode("/srv/d/a"), bench.mode("/opt/o/b")], [0o644, 0o600]);
        arguments["follow"] = true.into();
        bench.twice("file", arguments).await;
        assert_eq!(bench.mode("/opt/o/b"), 0o644);
    }

    #[tokio::test]
    async fn a_file_of_somebody_else_is_touched_by_the_host() {
        let bench = Bench::login("alice");
        bench.host.file("/etc/f", "", 0o666);
        let planned = bench.plan("file", json!({"path": "/etc/f", "state": "touch"})).await.unwrap();
        let [Change::Run { command }] = planned.changes.as_slice() else { panic!("{:?}", planned.changes) };
        assert_eq!(*command, Command::argv(["touch", "-c", "--", "/etc/f"]));
    }

    #[tokio::test]
    async fn a_missing_file_is_not_made_by_state_file() {
        let bench = Bench::new();
        assert!(bench.fails("file", json!({"path": "/etc/none", "mode": "0600"})).await.contains("is absent"));
        assert!(
            bench
                .fails("file", json!({"path": "/etc", "state": "file"}))
                .await
                .contains("is directory, cannot continue")
        );
        assert!(bench.fails("file", json!({"path": "/etc/x", "state": "hard"})).await.contains("src is required"));
        bench.host.file("/etc/f", "x", 0o644);
        assert!(bench.fails("file", json!({"path": "/etc/f", "state": "directory"})).await.contains("already exists"));
        assert!(bench.fails("file", json!({"path": "/etc/f", "mode": "rw"})).await.contains("no file mode"));
        assert!(bench.fails("file", json!({"path": "//", "state": "absent"})).await.contains("not removed"));
        assert!(bench.fails("file", json!({"path": "", "state": "absent"})).await.contains("empty path"));
    }
}
