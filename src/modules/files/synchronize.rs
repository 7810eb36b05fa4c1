//! `synchronize`: a tree is as another one, on the host or on the controller. No rsync is needed, and none is used: what differs is
//! shown and made like every other change.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Change, On};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::name::from_local;
use crate::transport::{Body, Content, Links, Node, Owner, PathChange, Permissions, TransportError, Want};

use super::copy::where_content_differs;
use super::mode::Current;
use super::place::{Place, absolute, base_name, join, parent};
use super::rsync::Options;

const OF_RSYNC: &str = "This is of rsync's own way to the host, which Cutover does not need.";

pub const SYNCHRONIZE: Entry = Entry {
    name: "synchronize",
    summary: "Makes a tree on the host as one of the controller or of another host, or the other way round, without rsync",
    arguments: &[&[
        Argument::new("src", Kind::Path, "File or directory; with a slash at its end only what is in the directory.")
            .required(),
        Argument::new("dest", Kind::Path, "Where it goes.").required(),
        Argument::new(
            "mode",
            Kind::Text,
            "`push` goes from the controller to the host, `pull` the other way; `push` unless set.",
        )
        .choices(&["pull", "push"]),
        Argument::new(
            "from",
            Kind::Text,
            "The host in the inventory that has `src`; `delegate_to` of the task says the same.",
        ),
        Argument::new("archive", Kind::Bool, "Whole trees with links, modes, times, owners and groups; on unless set."),
        Argument::new("recursive", Kind::Bool, "Directories with what is below them; as `archive` unless set."),
        Argument::new("links", Kind::Bool, "Links as links; as `archive` unless set."),
        Argument::new("copy_links", Kind::Bool, "What links lead to, instead of links."),
        Argument::new("perms", Kind::Bool, "Modes; as `archive` unless set."),
        Argument::new("times", Kind::Bool, "Times of files; as `archive` unless set. Directories keep their own."),
        Argument::new("owner", Kind::Bool, "Owners by name, as root alone; as `archive` unless set."),
        Argument::new("group", Kind::Bool, "Groups by name, as root alone; as `archive` unless set."),
        Argument::new("delete", Kind::Bool, "Remove what is only at `dest`; needs `recursive`."),
        Argument::new("existing_only", Kind::Bool, "Make nothing new."),
        Argument::new("dirs", Kind::Bool, "Directories without what is below them."),
        Argument::new(
            "rsync_opts",
            Kind::List,
            "Of rsync's options those that say what goes where: `--exclude`, `--include`, `--chown`, `--chmod`, and some that change nothing here.",
        ),
        Argument::new("checksum", Kind::Bool, "Contents are always compared, whatever this says."),
        Argument::new("compress", Kind::Bool, OF_RSYNC),
        Argument::new("partial", Kind::Bool, OF_RSYNC),
        Argument::new("delay_updates", Kind::Bool, OF_RSYNC),
        Argument::new("dest_port", Kind::Any, OF_RSYNC),
        Argument::new("private_key", Kind::Path, OF_RSYNC),
        Argument::new("rsync_path", Kind::Text, OF_RSYNC),
        Argument::new("rsync_timeout", Kind::Int, OF_RSYNC),
        Argument::new("set_remote_user", Kind::Bool, OF_RSYNC),
        Argument::new("ssh_connection_multiplexing", Kind::Bool, OF_RSYNC),
        Argument::new("use_ssh_args", Kind::Bool, OF_RSYNC),
        Argument::new("verify_host", Kind::Bool, OF_RSYNC),
        Argument::new("link_dest", Kind::List, "Hard links to files of another tree.")
            .refused("a file is never made by a hard link to another one that a later change would reach"),
    ]],
    free_form: None,
    example: "- name: The old host's control files, to look at\n  synchronize:\n    src: /var/qmail/control/\n    dest: /var/qmail/control-of-old\n    from: old\n    delete: true\n    rsync_opts:\n      - \"--exclude=*.lock\"\n",
    build,
};

#[derive(Deserialize)]
struct Given {
    src: String,
    dest: String,
    mode: Option<String>,
    from: Option<String>,
    archive: Option<bool>,
    recursive: Option<bool>,
    links: Option<bool>,
    #[serde(default)]
    copy_links: bool,
    perms: Option<bool>,
    times: Option<bool>,
    owner: Option<bool>,
    group: Option<bool>,
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    existing_only: bool,
    #[serde(default)]
    dirs: bool,
    #[serde(default)]
    rsync_opts: Vec<String>,
}

struct Synchronize {
    given: Given,
    options: Options,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut given: Given = arguments.read()?;
    given.from = given.from.filter(|from| from != "localhost");
    if let Some(path) =
        [&given.src, &given.dest].into_iter().find(|path| path.starts_with("rsync://") || path.contains("::"))
    {
        return Err(Diagnostic::new(format!(
            "`{path}` is of a server of rsync, which `synchronize` does not speak to"
        )));
    }
    if given.from.is_some() && given.mode.as_deref() == Some("pull") {
        let error = Diagnostic::new("`mode: pull` goes from the host to the controller, so nothing can be delegated");
        return Err(
            error.hint("write the task for the host that the files go to, with `from` for the one that has them")
        );
    }
    let options = Options::read(&given.rsync_opts)?;
    let module = Synchronize { given, options };
    if module.given.delete && !module.is_on(module.given.recursive) {
        return Err(Diagnostic::new("`delete` needs `recursive` or `archive`"));
    }
    Ok(Box::new(module))
}

/// Where the files are, and where they go.
struct Ways {
    source: View,
    root: String,
    dest: View,
    base: String,
    on: On,
}

/// What is to be at a path, and what there is.
struct Wanted {
    /// Relative to what is transferred, for the rules.
    name: String,
    path: String,
    node: Node,
}

#[async_trait]
impl Module for Synchronize {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let ways = self.ways(host).await?;
        let (wanted, mut warnings) = self.wanted(&ways).await?;
        let paths: Vec<(String, Links)> = wanted.iter().map(|wanted| (wanted.path.clone(), Links::Keep)).collect();
        let contents: Vec<_> = wanted.iter().map(|wanted| wanted.node.content()).collect();
        let found = where_content_differs(&ways.dest, &contents, &paths).await?;
        let place = Place::look(&ways.dest, &ways.base, Links::Keep, Want::Attributes).await?;
        if !place.node.exists() {
            place.needs_parent()?;
        }
        let mut changes = self.deletions(&ways, &wanted).await?;
        let mut owners = Owners { dest: &ways.dest, known: HashMap::new() };
        let mut made: BTreeMap<&str, Node> = BTreeMap::from([(parent(&ways.base), place.parent)]);
        let mut left: BTreeSet<&str> = BTreeSet::new();
        for (wanted, mut found) in wanted.iter().zip(found) {
            let above = parent(&wanted.path);
            if (self.given.existing_only && !found.exists()) || left.contains(above) {
                left.insert(&wanted.path);
                continue;
            }
            let after = self.after(&wanted.node, (&found, made.get(above)), &mut owners).await?;
            if let Node::Directory { .. } = after {
                made.insert(&wanted.path, after.clone());
            }
            if found.exists() && found.is_directory() != after.is_directory() {
                if found.is_directory() && !self.given.delete {
                    let message = format!("`{}` is a directory and is to be a {}", wanted.path, after.kind());
                    return Err(ModuleError::failed(message));
                }
                changes.extend(PathChange::new(&wanted.path, found, Node::Absent));
                found = Node::Absent;
            }
            changes.extend(PathChange::new(&wanted.path, found, after));
        }
        let names: Vec<String> = changes.iter().map(|change| change.path().to_string()).collect();
        let results = json!({"rc": 0, "msg": names.join("\n"), "stdout_lines": names, "dest": ways.base});
        let changes = changes.into_iter().map(|change| Change::Path { on: ways.on, change }).collect();
        warnings.sort();
        Ok(Planned { warnings, ..Planned::new(changes, results.as_object().cloned().unwrap_or_else(Results::new)) })
    }
}

impl Synchronize {
    /// What is not set is as `archive` says.
    fn is_on(&self, set: Option<bool>) -> bool {
        set.unwrap_or(self.given.archive.unwrap_or(true))
    }

    async fn ways(&self, host: &View) -> Result<Ways, ModuleError> {
        let here = host.here();
        let local = |path: &str| {
            let start = host.controller().search.last().map_or_else(|| here.identity().home.clone(), from_local);
            if path.starts_with('~') { absolute(&here, path) } else { join(&start, path) }
        };
        let src = self.given.src.as_str();
        let (source, root, dest, on) = match (&self.given.from, self.given.mode.as_deref()) {
            (Some(from), _) => {
                let peer = host.peer(from).await?;
                let root = absolute(&peer, src);
                (peer, root, host.clone(), On::Host)
            }
            (None, Some("pull")) => (host.clone(), absolute(host, src), here.clone(), On::Controller),
            (None, _) if src.starts_with('/') => (here.clone(), join("/", src), host.clone(), On::Host),
            (None, _) => {
                let found = host.controller().find("files", src.trim_end_matches('/'))?;
                (here.clone(), from_local(found), host.clone(), On::Host)
            }
        };
        let base = if on == On::Controller { local(&self.given.dest) } else { absolute(&dest, &self.given.dest) };
        Ok(Ways { source, root, dest, base, on })
    }

    /// Returns what is to be there, directories before what is in them, and what is left out for being neither file, directory nor link.
    async fn wanted(&self, ways: &Ways) -> Result<(Vec<Wanted>, Vec<String>), ModuleError> {
        let links = if self.given.copy_links { Links::Follow } else { Links::Keep };
        let whole = self.given.src.ends_with('/');
        // A link that is the root itself is followed where what is in it is meant, as a slash says.
        let at_root = if whole { Links::Follow } else { links };
        let Place { path: root, node, .. } = Place::look(&ways.source, &ways.root, at_root, Want::Content).await?;
        let (mut items, mut warnings) = (Vec::new(), Vec::new());
        let (mut name, mut base) = (String::new(), ways.base.clone());
        match &node {
            Node::Absent => {
                return Err(ModuleError::failed(format!("`{root}` is not there on `{}`", ways.source.name)));
            }
            Node::Directory { .. } if whole => {}
            Node::Directory { .. } => {
                name = base_name(&ways.root).to_string();
                base = join(&base, &name);
            }
            _ => {
                name = base_name(&ways.root).to_string();
                let into = self.given.dest.ends_with('/')
                    || Place::look(&ways.dest, &base, Links::Follow, Want::Attributes).await?.node.is_directory();
                base = if into { join(&base, &name) } else { base };
            }
        }
        let is_tree = node.is_directory();
        items.push((name.clone(), root.clone(), node));
        if is_tree && self.is_on(self.given.recursive) {
            let entries = ways.source.list(&root, None).await?;
            let mut left_out: Vec<String> = Vec::new();
            let mut kept = Vec::new();
            for entry in entries {
                let below = entry.path[root.len()..].trim_start_matches('/');
                let relative = if name.is_empty() { below.to_string() } else { format!("{name}/{below}") };
                if left_out.iter().any(|out| is_below(&relative, out)) {
                    continue;
                }
                match self.options.filter.leaves_out(&relative, entry.node.is_directory()) {
                    true => left_out.push(relative),
                    false => kept.push((relative, entry.path)),
                }
            }
            let paths: Vec<_> = kept.iter().map(|(_, path)| (path.clone(), links)).collect();
            let nodes = ways.source.look_all(&paths, Want::Content).await?;
            items.extend(kept.into_iter().zip(nodes).map(|((relative, path), node)| (relative, path, node)));
        } else if is_tree && !self.given.dirs {
            return Err(ModuleError::failed(format!(
                "`{root}` is a directory: `recursive` copies it, `dirs` makes it alone"
            )));
        }
        let mut wanted = Vec::new();
        for (relative, path, mut node) in items {
            match &mut node {
                Node::File { content, .. } if content.bytes().is_none() => content.body = self.body(ways, &path),
                Node::File { .. } | Node::Directory { .. } => {}
                Node::Link { .. } if self.is_on(self.given.links) => {}
                other => {
                    warnings.push(format!("`{path}` is left out: it is a {}", other.kind()));
                    continue;
                }
            }
            let below = relative[name.len()..].trim_start_matches('/');
            wanted.push(Wanted { path: join(&base, below), name: relative, node });
        }
        Ok((wanted, warnings))
    }

    /// Where the bytes of a file are that is too large to be held.
    fn body(&self, ways: &Ways, path: &str) -> Body {
        match (&self.given.from, ways.on) {
            (Some(from), _) => Body::Peer { host: from.clone(), path: path.into() },
            (None, On::Controller) => Body::Own { path: path.into() },
            (None, On::Host) => Body::File(crate::transport::name::to_local(path)),
        }
    }

    /// Returns what goes from `dest`, what is in a directory before it: all that is neither wanted nor left alone.
    async fn deletions(&self, ways: &Ways, wanted: &[Wanted]) -> Result<Vec<PathChange>, ModuleError> {
        let Some(root) = wanted.first().filter(|root| self.given.delete && root.node.is_directory()) else {
            return Ok(Vec::new());
        };
        let keeps: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.path.as_str()).collect();
        let (mut gone, mut protected): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for entry in ways.dest.list(&root.path, None).await? {
            let below = entry.path[root.path.len()..].trim_start_matches('/');
            let relative = if root.name.is_empty() { below.to_string() } else { format!("{}/{below}", root.name) };
            if protected.iter().any(|kept| is_below(&entry.path, kept)) {
                continue;
            }
            if self.options.filter.leaves_out(&relative, entry.node.is_directory()) {
                protected.push(entry.path);
                continue;
            }
            if !keeps.contains(entry.path.as_str()) {
                gone.push(entry.path);
            }
        }
        // What is left alone keeps the directories that it is in.
        gone.retain(|path| !protected.iter().any(|kept| is_below(kept, path)));
        gone.reverse();
        let paths: Vec<_> = gone.into_iter().map(|path| (path, Links::Keep)).collect();
        let nodes = ways.dest.look_all(&paths, Want::Content).await?;
        Ok(paths
            .into_iter()
            .zip(nodes)
            .filter_map(|((path, _), node)| PathChange::new(path, node, Node::Absent))
            .collect())
    }

    /// Returns what a source's node becomes, where `found` is now, in a directory that is `above` by then.
    async fn after(
        &self,
        node: &Node,
        (found, above): (&Node, Option<&Node>),
        owners: &mut Owners<'_>,
    ) -> Result<Node, ModuleError> {
        let Some(theirs) = node.permissions() else { return Ok(node.clone()) };
        let identity = owners.dest.identity();
        let is_root = identity.user.id == 0;
        let same_kind = found.is_directory() == node.is_directory();
        let old = found.permissions().filter(|_| same_kind);
        let mut permissions = Permissions {
            mode: match (self.is_on(self.given.perms), old) {
                (true, _) => theirs.mode,
                (false, Some(old)) => old.mode,
                (false, None) => theirs.mode & !identity.umask,
            },
            owner: old.map_or_else(|| identity.user.clone(), |old| old.owner.clone()),
            group: old.map_or_else(|| identity.group.clone(), |old| old.group.clone()),
        };
        if let Some(above) = above.and_then(Node::permissions).filter(|above| old.is_none() && above.mode & 0o2000 != 0)
        {
            permissions.group = above.group.clone();
        }
        if is_root && self.is_on(self.given.owner) {
            permissions.owner = owners.owner(("user", &theirs.owner.name), Some(&theirs.owner)).await?;
        }
        if is_root && self.is_on(self.given.group) {
            permissions.group = owners.owner(("group", &theirs.group.name), Some(&theirs.group)).await?;
        }
        if let Some(name) = &self.options.owner {
            permissions.owner = owners.owner(("user", name), None).await?;
        }
        if let Some(name) = &self.options.group {
            permissions.group = owners.owner(("group", name), None).await?;
        }
        let directory = node.is_directory();
        for mode in self.options.modes(directory) {
            permissions.mode = mode.apply(Current { mode: permissions.mode, directory, umask: identity.umask });
        }
        Ok(match node {
            Node::File { content, modified, .. } => {
                let same = found.content().is_some_and(|old| old == content && old.digest.is_some());
                // The bytes are there already.
                let content = if same { Content { body: Body::There, ..content.clone() } } else { content.clone() };
                Node::File { content, permissions, modified: modified.filter(|_| self.is_on(self.given.times)) }
            }
            Node::Directory { .. } => Node::Directory { permissions, modified: None },
            Node::Link { target, .. } => Node::Link { target: target.clone(), permissions },
            other => other.clone(),
        })
    }
}

/// Says whether a path is below a directory.
fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// The owners where the files go, each name asked for once.
struct Owners<'a> {
    dest: &'a View,
    known: HashMap<(&'static str, String), Owner>,
}

impl Owners<'_> {
    /// Finds a name; one that is not known there stands for the number that it has where the files are from.
    async fn owner(
        &mut self,
        (kind, name): (&'static str, &str),
        theirs: Option<&Owner>,
    ) -> Result<Owner, ModuleError> {
        if let Some(known) = self.known.get(&(kind, name.to_string())) {
            return Ok(known.clone());
        }
        let found = if kind == "user" { self.dest.user(name).await } else { self.dest.group(name).await };
        let owner = match (found, theirs) {
            (Ok(owner), _) => owner,
            (Err(TransportError::Refused(_)), Some(theirs)) => Owner { id: theirs.id, name: theirs.id.to_string() },
            (Err(error), _) => return Err(error.into()),
        };
        self.known.insert((kind, name.to_string()), owner.clone());
        Ok(owner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;
    use crate::transport::Links;

    #[tokio::test]
    async fn a_tree_is_pushed_with_modes_and_links_and_what_is_more_there_goes() {
        let bench = Bench::new();
        bench
            .controller
            .file("/srv/site/a", "A\n", 0o640)
            .file("/srv/site/sub/b", "B\n", 0o600)
            .link("/srv/site/l", "a");
        bench.controller.file("/srv/site/.git/config", "x", 0o600).file("/srv/site/no.log", "x", 0o600);
        bench.host.file("/var/www/old/x", "X\n", 0o644).file("/var/www/keep.log", "K\n", 0o644).file(
            "/var/www/a",
            "A\n",
            0o600,
        );
        let task = json!({"src": "/srv/site/", "dest": "/var/www", "delete": true,
            "rsync_opts": ["--exclude=.git", "--exclude", "*.log"]});
        bench.twice("synchronize", task).await;
        assert_eq!((bench.host.read("/var/www/sub/b").unwrap(), bench.mode("/var/www/a")), ("B\n".into(), 0o640));
        assert_eq!(bench.host.node("/var/www/l", Links::Keep).kind(), "link");
        assert!(!bench.exists("/var/www/old") && !bench.exists("/var/www/.git") && !bench.exists("/var/www/no.log"));
        assert_eq!(bench.host.read("/var/www/keep.log").unwrap(), "K\n", "what is left out is left alone there, too");
    }

    #[tokio::test]
    async fn a_tree_is_pulled_with_its_name() {
        let bench = Bench::new();
        bench.host.file("/etc/site/a", "A\n", 0o640).file("/etc/site/b", "B\n", 0o600);
        bench.controller.dir("/saved", 0o755);
        let task = json!({"src": "/etc/site", "dest": "/saved", "mode": "pull", "rsync_opts": ["--exclude=/site/b"]});
        bench.twice("synchronize", task).await;
        assert_eq!(bench.controller.read("/saved/site/a").unwrap(), "A\n");
        assert!(!bench.controller.node("/saved/site/b", Links::Keep).exists());
    }

    #[tokio::test]
    async fn what_archive_brings_can_be_left_out_and_said_otherwise() {
        let bench = Bench::new();
        bench.controller.file("/srv/d/a", "A\n", 0o666).link("/srv/d/l", "a");
        bench.host.dir("/srv", 0o755);
        let task = json!({"src": "/srv/d", "dest": "/srv", "links": false, "rsync_opts": ["--chown=mail:mail", "--chmod=D0750,Fu=rw,Fgo="]});
        bench.twice("synchronize", task).await;
        let permissions = bench.host.node("/srv/d/a", Links::Keep).permissions().unwrap().clone();
        assert_eq!((permissions.mode, permissions.owner.id, bench.mode("/srv/d")), (0o600, 8, 0o750));
        assert!(!bench.exists("/srv/d/l"));
        bench.controller.file("/srv/d/new", "N\n", 0o600).file("/srv/d/a", "AA\n", 0o666);
        let task =
            json!({"src": "/srv/d/", "dest": "/srv/d", "existing_only": true, "archive": false, "recursive": true});
        bench.twice("synchronize", task).await;
        assert!(!bench.exists("/srv/d/new") && bench.host.read("/srv/d/a").unwrap() == "AA\n");
        assert_eq!(bench.mode("/srv/d/a"), 0o600, "the mode stays");
    }

    #[tokio::test]
    async fn a_file_goes_into_a_directory_or_over_a_file() {
        let bench = Bench::new();
        bench.controller.file("/srv/f", "F\n", 0o600);
        bench.host.dir("/srv", 0o755);
        bench.twice("synchronize", json!({"src": "/srv/f", "dest": "/srv"})).await;
        bench.twice("synchronize", json!({"src": "/srv/f", "dest": "/srv/g"})).await;
        assert_eq!((bench.host.read("/srv/f"), bench.host.read("/srv/g")), (Some("F\n".into()), Some("F\n".into())));
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_said() {
        let bench = Bench::new();
        bench.controller.file("/srv/d/a", "A\n", 0o666);
        let fails = async |task| bench.fails("synchronize", task).await;
        assert!(
            fails(json!({"src": "/srv/d", "dest": "/srv", "rsync_opts": ["--bwlimit=1"]}))
                .await
                .contains("`--bwlimit=1`")
        );
        assert!(fails(json!({"src": "/srv/d", "dest": "h::m"})).await.contains("server of rsync"));
        assert!(fails(json!({"src": "/none", "dest": "/srv"})).await.contains("is not there on"));
        assert!(
            fails(json!({"src": "/srv/d/", "dest": "/no/where"}))
                .await
                .contains("destination directory `/no` does not exist")
        );
        let alone = json!({"src": "/srv/d", "dest": "/srv", "archive": false});
        assert!(fails(alone).await.contains("`recursive` copies it"));
        let deletes = json!({"src": "/srv/d", "dest": "/srv", "archive": false, "delete": true});
        assert!(fails(deletes).await.contains("needs `recursive`"));
    }
}
