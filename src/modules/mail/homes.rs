//! `qmail_homes`: what stands beside the mail of domains: `.qmail` files, quotas, the directories of mailboxes.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Content, Links, Node, Permissions, Want};

use super::attachments_copy::Pair;
use super::delivery::{larger_quota, merged, moved, program};
use super::qmail::{decode, encode};

pub const ENTRY: Entry = Entry {
    name: "qmail_homes",
    summary: "Takes over .qmail files, quotas and directories of mailboxes from another host; nothing is removed",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: Forwards, catch-alls and quotas
  qmail_homes:
    from: old
    owner: popuser
    group: popuser
    directories:
      - source: /var/qmail/mailnames/example.com
        dest: /var/qmail/mailnames/example.com
",
    build: |arguments| Ok(Box::new(arguments.read::<QmailHomes>()?)),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host in the inventory that has the domains.").required(),
    Argument::new(
        "directories",
        Kind::List,
        "The domains' directories, as mappings with `source` and `dest`; `qmail_facts` has them as `homes`.",
    )
    .required(),
    Argument::new("owner", Kind::Text, "The user of the mailboxes here, by name; the connection's unless given."),
    Argument::new("group", Kind::Text, "The group of the mailboxes here, by name; the connection's unless given."),
];

#[derive(Deserialize)]
struct QmailHomes {
    from: String,
    directories: Vec<Pair>,
    owner: Option<String>,
    group: Option<String>,
}

impl Pair {
    fn ends(&self) -> (&str, &str) {
        (self.source.trim_end_matches('/'), self.dest.trim_end_matches('/'))
    }
}

/// What is found below the old host's directories, by its path there and here.
#[derive(Default)]
struct Found {
    /// A mailbox and the directories of its Maildir.
    directories: Vec<String>,
    files: Vec<(String, String)>,
    /// Directories of ezmlm's lists, on the old host.
    lists: Vec<String>,
    /// `.qmail` files that are links, as those of lists are.
    links: Vec<String>,
}

#[async_trait]
impl Module for QmailHomes {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let peer = host.peer(&self.from).await?;
        let owner = match &self.owner {
            Some(name) => host.user(name).await?,
            None => host.identity().user.clone(),
        };
        let group = match &self.group {
            Some(name) => host.group(name).await?,
            None => host.identity().group.clone(),
        };
        let found = self.found(&peer).await?;
        let source: Vec<_> = found.files.iter().map(|(source, _)| (source.clone(), Links::Keep)).collect();
        let dests = found.files.iter().map(|(_, dest)| dest).chain(&found.directories);
        let dests: Vec<_> = dests.map(|path| (path.clone(), Links::Keep)).collect();
        let (theirs, ours) =
            tokio::try_join!(peer.look_all(&source, Want::Content), host.look_all(&dests, Want::Content))?;
        let (files, directories) = ours.split_at(found.files.len());
        let as_owned = |mode| Permissions { mode, owner: owner.clone(), group: group.clone() };
        let mut changes = Vec::new();
        for (path, node) in found.directories.iter().zip(directories) {
            match node {
                Node::Absent => {
                    let made = Node::Directory { permissions: as_owned(0o700), modified: None };
                    changes.extend(Change::path(path, Node::Absent, made));
                }
                Node::Directory { .. } => {}
                other => return Err(ModuleError::failed(format!("`{path}` is no directory but a {}", other.kind()))),
            }
        }
        let mut programs: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (((source, dest), theirs), ours) in found.files.iter().zip(&theirs).zip(files) {
            let (old, here) = (text(source, theirs)?, text(dest, ours)?);
            let wanted = self.wanted(dest, &old, ours.exists().then_some(here.as_str()));
            let wanted = wanted.or_else(|| is_deferred(dest, ours).then(|| here.clone()));
            let Some(wanted) = wanted else { continue };
            let change = written((dest, ours), (&here, &wanted), &as_owned(0o600));
            if change.is_some() {
                let added = wanted.lines().filter(|line| !here.lines().any(|known| known == *line));
                added.filter_map(program).for_each(|program| {
                    programs.entry(program.into()).or_default().insert(dest);
                });
            }
            changes.extend(change);
        }
        let mut warnings = missing(host, &programs).await?;
        for (kind, paths) in [("an ezmlm list", &found.lists), ("a link of a list", &found.links)] {
            warnings.extend(paths.iter().map(|path| {
                format!(
                    "`{path}` on `{}` is {kind}, with absolute paths and host names in it: make the list here anew",
                    self.from
                )
            }));
        }
        let mut result = Results::new();
        result.insert("files".into(), json!(found.files.iter().map(|(_, dest)| dest).collect::<Vec<_>>()));
        result.insert("lists".into(), json!(found.lists));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

impl QmailHomes {
    async fn found(&self, peer: &View) -> Result<Found, ModuleError> {
        let lists = self.directories.iter().map(|pair| peer.list(pair.ends().0, Some(3)));
        let lists = futures::future::try_join_all(lists).await?;
        let mut found = Found::default();
        for (pair, entries) in self.directories.iter().zip(lists) {
            let (from, to) = pair.ends();
            let below = |path: &str| path.get(from.len() + 1..).unwrap_or_default().to_string();
            let names: BTreeSet<String> = entries.iter().map(|entry| below(&entry.path)).collect();
            for entry in &entries {
                let name = below(&entry.path);
                let parts: Vec<&str> = name.split('/').collect();
                let last = parts.last().copied().unwrap_or_default();
                let is_dot_qmail = parts.len() <= 2 && (last == ".qmail" || last.starts_with(".qmail-"));
                let is_quota = parts.len() == 3 && parts[1] == "Maildir" && last == "maildirsize";
                let is_list = parts.len() == 1
                    && names.contains(&format!("{name}/subscribers"))
                    && names.contains(&format!("{name}/outlocal"));
                match &entry.node {
                    Node::Directory { .. } if is_list => found.lists.push(entry.path.clone()),
                    Node::Directory { .. } if parts.len() == 1 && names.contains(&format!("{name}/.qmail")) => {
                        found.directories.push(format!("{to}/{name}"));
                        if names.contains(&format!("{name}/Maildir")) {
                            let parts = ["", "/new", "/cur", "/tmp"];
                            found.directories.extend(parts.map(|part| format!("{to}/{name}/Maildir{part}")));
                        }
                    }
                    Node::File { .. } if is_dot_qmail || is_quota => {
                        found.files.push((entry.path.clone(), format!("{to}/{name}")));
                    }
                    Node::Link { .. } if is_dot_qmail => found.links.push(entry.path.clone()),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Returns what a file is to say here, or nothing where it says all that is needed.
    fn wanted(&self, dest: &str, old: &str, here: Option<&str>) -> Option<String> {
        if dest.ends_with("/Maildir/maildirsize") {
            return larger_quota(old, here);
        }
        let old = self.directories.iter().fold(old.to_string(), |text, pair| moved(&text, pair.ends()));
        match here {
            // What the panel here delivers with stays; a mailbox may have more forwards than it knows of.
            Some(here) if dest.ends_with("/.qmail") => merged(&old, here),
            Some(here) if here == old => None,
            _ => Some(old),
        }
    }
}

fn text(path: &str, node: &Node) -> Result<String, ModuleError> {
    match (node, node.content().and_then(Content::bytes)) {
        (Node::Absent, _) => Ok(String::new()),
        (_, Some(bytes)) => Ok(decode(bytes)),
        _ => Err(ModuleError::failed(format!("`{path}` cannot be read, or is no regular file of at most 1 MiB"))),
    }
}

/// Says whether qmail-local defers mail for a `.qmail` file's mode: programs and mailboxes of one with an x bit, everything
/// of one that others may write (`dot-qmail.5`).
fn is_deferred(path: &str, node: &Node) -> bool {
    let mode = node.permissions().map_or(0, |permissions| permissions.mode);
    mode & 0o122 != 0 && node.exists() && !path.ends_with("/maildirsize")
}

/// Returns the change of a file here. One that is there keeps its owner; with an x bit or for others to write it would be
/// deferred or forward only (`dot-qmail.5`).
fn written((path, node): (&str, &Node), (old, new): (&str, &str), fresh: &Permissions) -> Option<Change> {
    let mut permissions = node.permissions().unwrap_or(fresh).clone();
    permissions.mode = fresh.mode;
    match node.exists() && old == new && !is_deferred(path, node) {
        true => None,
        false => Change::path(
            path,
            node.clone(),
            Node::File { content: Content::here(encode(new)), permissions, modified: None },
        ),
    }
}

/// Says which programs of `.qmail` files this host has not: mail for them would be deferred.
async fn missing(host: &View, programs: &BTreeMap<String, BTreeSet<&str>>) -> Result<Vec<String>, ModuleError> {
    let paths: Vec<_> = programs.keys().map(|path| (path.clone(), Links::Follow)).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let nodes = host.look_all(&paths, Want::Attributes).await?;
    let missing = programs.iter().zip(&nodes).filter(|(_, node)| !node.exists());
    Ok(missing
        .map(|((program, files), _)| {
            let first = files.first().copied().unwrap_or_default();
            let others = if files.len() > 1 { format!(" and {} others", files.len() - 1) } else { String::new() };
            format!(
                "`{program}`, which `{first}`{others} would call, is not on `{}`: the mail would be deferred",
                host.name
            )
        })
        .collect())
}
