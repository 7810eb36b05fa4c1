//! `file`: a path is a directory, a link, an empty file, or gone, and belongs to whom it should.

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Body, Content, Links, Node, TransportError, Want};

use super::hard::HardLink;
use super::place::{Place, join, make_directories, parent, results_of};
use super::rights::{New, RIGHTS, Rights};
use super::times::Time;

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
            Argument::new("follow", Kind::Bool, "Mean what a link at `path` leads to; on unless set."),
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
            Argument::new("access_time", Kind::Text, "`preserve`, or `now`; other times of access are not kept.")
                .choices(&["preserve", "now"]),
            Argument::new("access_time_format", Kind::Text, "How the time of access is written.")
                .refused("times of access are not part of what is compared"),
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
    state: Option<String>,
    src: Option<String>,
    #[serde(default)]
    recurse: bool,
    follow: Option<bool>,
    #[serde(default)]
    force: bool,
    modification_time: Option<String>,
    modification_time_format: Option<String>,
    #[serde(flatten)]
    rights: Rights,
}

struct File {
    path: String,
    state: Option<State>,
    links: Links,
    /// What a link may take the place of, or lead to.
    force: bool,
    time: Time,
    rights: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Directory {
        recurse: bool,
    },
    File,
    /// `None`: the link that is there.
    Link {
        target: Option<String>,
    },
    Touch,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    written.rights.check()?;
    let state = match written.state.as_deref() {
        Some("absent") => Some(State::Absent),
        Some("directory") => Some(State::Directory { recurse: written.recurse }),
        Some("file") => Some(State::File),
        Some("link") => Some(State::Link { target: written.src.clone() }),
        Some("touch") => Some(State::Touch),
        Some("hard") => {
            let Some(src) = written.src else { return Err(Diagnostic::new("`state: hard` needs the argument `src`")) };
            return Ok(Box::new(HardLink { path: written.path, src, force: written.force }));
        }
        _ if written.recurse => Some(State::Directory { recurse: true }),
        _ => None,
    };
    let directory = matches!(state, Some(State::Directory { .. }));
    if written.recurse && !directory {
        return Err(Diagnostic::new("`recurse` needs `state: directory`"));
    }
    if written.src.is_some() && !matches!(state, Some(State::Link { .. })) {
        return Err(Diagnostic::new("`src` needs `state: link` or `state: hard`"));
    }
    let default = if state == Some(State::Touch) { Time::Now } else { Time::Preserve };
    let time = match &written.modification_time {
        Some(text) => Time::parse(text, written.modification_time_format.as_deref())?,
        None => default,
    };
    let links = if written.follow.unwrap_or(true) { Links::Follow } else { Links::Keep };
    Ok(Box::new(File { path: written.path, state, links, force: written.force, time, rights: written.rights }))
}

#[async_trait]
impl Module for File {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let links = match self.state {
            // A link itself is removed or made, whatever it leads to.
            Some(State::Absent | State::Link { .. }) => Links::Keep,
            _ => self.links,
        };
        let want = if self.state == Some(State::Absent) { Want::Content } else { Want::Attributes };
        let place = match Place::look(host, &self.path, links, want).await {
            // What is removed is gone, whatever was in it.
            Err(ModuleError::Host(TransportError::Unknown(_))) => {
                Place::look(host, &self.path, links, Want::Attributes).await?
            }
            place => place?,
        };
        let state = match (&self.state, &place.node) {
            (Some(state), _) => state.clone(),
            (None, Node::Directory { .. }) => State::Directory { recurse: false },
            (None, Node::Link { .. }) => State::Link { target: None },
            (None, _) => State::File,
        };
        let path = place.path.clone();
        let flagged = matches!(state, State::Directory { .. } | State::File | State::Touch);
        let mut planned = match state {
            State::Absent => self.absent(host, place).await,
            State::Directory { recurse } => self.directory(host, place, recurse).await,
            State::File => self.file(host, place).await,
            State::Link { target } => self.link(host, place, target.as_deref()).await,
            State::Touch => self.touch(host, place).await,
        }?;
        if flagged {
            planned.changes.extend(self.rights.flags(host, &path).await?);
        }
        Ok(planned)
    }
}

impl File {
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
                Ok(planned(Vec::from_iter(place.change(after.clone())), &place.path, &after))
            }
            Node::Absent => {
                let message = format!("`{}` is absent; `state: touch` would make it", place.path);
                Err(ModuleError::Failed { message, result: state_of(&place.path, &place.node) })
            }
            _ => {
                let message = format!("`{}` is no file but a {}", place.path, place.node.kind());
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
        Ok(planned(Vec::from_iter(place.change(after.clone())), &place.path, &after))
    }

    async fn directory(&self, host: &View, place: Place, recurse: bool) -> Result<Planned, ModuleError> {
        let mut warnings = Vec::new();
        let (mut changes, after) = match &place.node {
            Node::Absent => {
                let (changes, after) = make_directories(host, &place.path, &self.rights).await?;
                (changes, after)
            }
            Node::Directory { .. } => {
                let after = self.kept(host, &place.node).await?;
                (Vec::from_iter(place.change(after.clone())), after)
            }
            other => {
                return Err(ModuleError::failed(format!("`{}` already exists as a {}", place.path, other.kind())));
            }
        };
        if recurse && place.node.exists() {
            let mut followed = 0;
            for entry in host.list(&place.path, None).await? {
                followed += usize::from(matches!(entry.node, Node::Link { .. }));
                let permissions = self.rights.kept(host, &entry.node).await?;
                let after = permissions.map_or(Node::Absent, |new| entry.node.clone().with_permissions(new));
                changes.extend(Change::path(entry.path, entry.node, after));
            }
            if followed > 0 && self.links == Links::Follow {
                warnings.push(format!("`recurse` does not look through the {followed} links below `{}`", place.path));
            }
        }
        Ok(Planned { warnings, ..planned(changes, &place.path, &after) })
    }

    async fn link(&self, host: &View, place: Place, target: Option<&str>) -> Result<Planned, ModuleError> {
        let target = match (target, &place.node) {
            (Some(target), _) => target.to_string(),
            (None, Node::Link { target, .. }) => target.clone(),
            (None, _) => return Err(ModuleError::failed(format!("`{}` is no link yet; it needs `src`", place.path))),
        };
        let target = match target.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", host.identity().home),
            _ => target,
        };
        let end = join(parent(&place.path), &target);
        let led = host.look_all(&[(end.clone(), Links::Follow)], Want::Attributes).await?.remove(0);
        if !led.exists() && !self.force {
            let message = format!("`{end}` does not exist; `force: true` makes the link nevertheless");
            return Err(ModuleError::failed(message));
        }
        self.may_replace(host, &place).await?;
        let place = match &place.node {
            // What is replaced is shown, and can be brought back.
            Node::File { .. } => Place::look(host, &place.path, Links::Keep, Want::Content).await?,
            _ => place,
        };
        // Who owns the target is meant, unless links are not to be followed.
        let through = self.links == Links::Follow && led.exists();
        let rights = if through { Rights::default() } else { self.rights.clone() };
        let permissions = match &place.node {
            Node::Link { .. } => rights.kept(host, &place.node).await?,
            _ => None,
        };
        let permissions = match permissions {
            Some(permissions) => permissions,
            None => {
                place.needs_parent()?;
                rights.fresh(host, New::Link, &place.parent).await?
            }
        };
        let after = Node::Link { target: target.clone(), permissions };
        let mut changes = Vec::from_iter(place.change(after.clone()));
        if through && !self.rights.is_empty() {
            let end = Place::look(host, &end, Links::Follow, Want::Attributes).await?;
            changes.extend(end.change(self.kept(host, &end.node).await?));
        }
        let mut planned = planned(changes, &place.path, &after);
        if let crate::modules::Outcome::Known(results) = &mut planned.result {
            results.insert("src".into(), target.into());
        }
        Ok(planned)
    }

    /// Fails where something stands that a link may not take the place of.
    async fn may_replace(&self, host: &View, place: &Place) -> Result<(), ModuleError> {
        let refused = |why: &str| Err(ModuleError::failed(format!("`{}` is not made a link: {why}", place.path)));
        match &place.node {
            Node::Absent | Node::Link { .. } => Ok(()),
            Node::Directory { .. } if !host.list(&place.path, Some(1)).await?.is_empty() => {
                refused("it is a directory and not empty")
            }
            _ if self.force => Ok(()),
            other => refused(&format!("it is a {}; `force: true` replaces it", other.kind())),
        }
    }

    /// Returns the node with the rights and the time that were asked for, its content left where it is.
    async fn kept(&self, host: &View, node: &Node) -> Result<Node, ModuleError> {
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
}

/// Returns the plan with what `register:` sees: the path and what it is.
fn planned(changes: Vec<Change>, path: &str, after: &Node) -> Planned {
    let mut results = state_of(path, after);
    results.extend(results_of(after));
    Planned::new(changes, results)
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
            assert!(error.contains("is not made a link"), "{error}");
        }
        let error = bench.fails("file", json!({"path": "/etc/l", "src": "/none", "state": "link"})).await;
        assert!(error.contains("`/none` does not exist"), "{error}");
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
    async fn a_missing_file_is_not_made_by_state_file() {
        let bench = Bench::new();
        assert!(bench.fails("file", json!({"path": "/etc/none", "mode": "0600"})).await.contains("is absent"));
        assert!(
            bench.fails("file", json!({"path": "/etc", "state": "file"})).await.contains("no file but a directory")
        );
        assert!(
            bench.fails("file", json!({"path": "/etc/x", "state": "hard"})).await.contains("needs the argument `src`")
        );
        bench.host.file("/etc/f", "x", 0o644);
        assert!(bench.fails("file", json!({"path": "/etc/f", "state": "directory"})).await.contains("already exists"));
        assert!(bench.fails("file", json!({"path": "/etc/f", "mode": "rw"})).await.contains("no file mode"));
        assert!(bench.fails("file", json!({"path": "//", "state": "absent"})).await.contains("not removed"));
        assert!(bench.fails("file", json!({"path": "", "state": "absent"})).await.contains("empty path"));
    }
}
