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
use super::delivery::{called, larger_quota, left_out, merged, moved, program};
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
    Argument::new(
        "panel",
        Kind::Bool,
        "A panel here writes mailboxes, their `.qmail` and `maildirsize`, and `.qmail-default` itself: they are compared, and what \
         they lack is told, but not written.",
    ),
];

#[derive(Deserialize)]
struct QmailHomes {
    from: String,
    directories: Vec<Pair>,
    owner: Option<String>,
    group: Option<String>,
    #[serde(default)]
    panel: bool,
}

impl Pair {
    fn ends(&self) -> (&str, &str) {
        (self.source.trim_end_matches('/'), self.dest.trim_end_matches('/'))
    }
}

/// The files of a list of ezmlm that `.qmail` links lead to.
const OF_LISTS: [&str; 6] = ["editor", "manager", "moderator", "bouncer", "owner", "confirmer"];

/// What is found below the old host's directories, by its path there and here.
#[derive(Default)]
struct Found {
    /// A mailbox and the directories of its Maildir.
    directories: Vec<String>,
    files: Vec<(String, String)>,
    /// `.qmail` files that are links, but not of lists of ezmlm, which [`super::lists`] takes over.
    links: Vec<String>,
}

#[async_trait]
impl Module for QmailHomes {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let peer = host.peer(&self.from).await?;
        let (owner, group) = host.owner(self.owner.as_deref(), self.group.as_deref()).await?;
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
                Node::Absent if self.panel => {}
                Node::Absent => {
                    let made = Node::Directory { permissions: as_owned(0o700), modified: None };
                    changes.extend(Change::path(path, Node::Absent, made));
                }
                Node::Directory { .. } => {}
                other => return Err(ModuleError::failed(format!("`{path}` is no directory but a {}", other.kind()))),
            }
        }
        let mut programs: BTreeMap<String, BTreeSet<(String, usize)>> = BTreeMap::new();
        let mut warnings = Vec::new();
        for (((source, dest), theirs), ours) in found.files.iter().zip(&theirs).zip(files) {
            let (old, here) = (text(source, theirs)?, text(dest, ours)?);
            let wanted = self.wanted(dest, &old, ours.exists().then_some(here.as_str()));
            if dest.ends_with("/.qmail") {
                let known = wanted.as_deref().unwrap_or(&here);
                warnings.extend(left_out(&old, known).map(|line| self.told(source, line)));
            }
            let wanted = wanted.or_else(|| is_deferred(dest, ours).then(|| here.clone()));
            let Some(wanted) = wanted else { continue };
            if self.panel && is_of_panel(dest) {
                // What is not there yet is made by the panel before this is looked at in a run.
                warnings.extend(ours.exists().then(|| lacking(dest, &here, &wanted)).flatten());
                continue;
            }
            let change = written((dest, ours), (&here, &wanted), &as_owned(0o600));
            if change.is_some() {
                let lines = wanted.lines().enumerate().filter(|(_, line)| !here.lines().any(|known| known == *line));
                for (program, number) in lines.filter_map(|(index, line)| Some((program(line)?, index + 1))) {
                    programs.entry(program.into()).or_default().insert((dest.clone(), number));
                }
            }
            changes.extend(change);
        }
        warnings.extend(missing(host, &programs).await?);
        warnings.extend(found.links.iter().map(|path| {
            let hint = "hint: look where it leads, and make it here by hand";
            format!(
                "`{path}` on `{}` is a link, which does not come over unless it is that of a list\n{hint}",
                self.from
            )
        }));
        let mut result = Results::new();
        result.insert("files".into(), json!(found.files.iter().map(|(_, dest)| dest).collect::<Vec<_>>()));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

impl QmailHomes {
    /// Says which line of an old file does not come over, and what to do.
    fn told(&self, source: &str, (number, line): (usize, &str)) -> String {
        let hint = match called(line).is_some_and(|name| name.contains("responder") || name.contains("vacation")) {
            true => "an automatic answer: the panel here writes its own line once it has the text; else set it up here",
            false => "what it does has to be set up here: add such a line to the file here, and it is no longer told",
        };
        format!("`{source}` on `{}`, line {number}: `{line}` does not come over\nhint: {hint}", self.from)
    }

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
                let is_of_list = |target: &str| target.rsplit('/').next().is_some_and(|file| OF_LISTS.contains(&file));
                // A mailbox needs no `.qmail` of its own: qmail-start's default delivery may be a Maildir.
                let has = |what: &str| names.contains(&format!("{name}/{what}"));
                match &entry.node {
                    Node::Directory { .. } if parts.len() == 1 && (has(".qmail") || has("Maildir")) => {
                        found.directories.push(format!("{to}/{name}"));
                        if has("Maildir") {
                            let parts = ["", "/new", "/cur", "/tmp"];
                            found.directories.extend(parts.map(|part| format!("{to}/{name}/Maildir{part}")));
                        }
                    }
                    Node::File { .. } if is_dot_qmail || is_quota => {
                        found.files.push((entry.path.clone(), format!("{to}/{name}")));
                    }
                    Node::Link { target, .. } if is_dot_qmail && !is_of_list(target) => {
                        found.links.push(entry.path.clone());
                    }
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

/// Says whether a panel writes a file itself, from what its database says.
fn is_of_panel(path: &str) -> bool {
    [".qmail", ".qmail-default", "maildirsize"].contains(&path.rsplit('/').next().unwrap_or_default())
}

/// Says what a file of the panel's lacks here.
fn lacking(dest: &str, here: &str, wanted: &str) -> Option<String> {
    let lines: Vec<&str> = wanted.lines().filter(|line| !here.lines().any(|known| known == *line)).collect();
    let hint = "hint: the panel writes that file: set it up there, and it is no longer told";
    (!lines.is_empty() && !dest.ends_with("/maildirsize"))
        .then(|| format!("`{dest}` lacks `{}` of the old host\n{hint}", lines.join("`, `")))
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

/// Says which programs of `.qmail` files this host has not, and of each file where it is called: mail for them would be
/// deferred.
async fn missing(
    host: &View,
    programs: &BTreeMap<String, BTreeSet<(String, usize)>>,
) -> Result<Vec<String>, ModuleError> {
    let paths: Vec<_> = programs.keys().map(|path| (path.clone(), Links::Follow)).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let nodes = host.look_all(&paths, Want::Attributes).await?;
    let missing = programs.iter().zip(&nodes).filter(|(_, node)| !node.exists());
    let told = missing.flat_map(|((program, places), _)| {
        places.iter().map(move |(file, number)| {
            format!(
                "`{program}`, which `{file}`, line {number}, calls, is not on `{}`: the mail would be deferred\n\
                 hint: install it there before mail comes, or take the line out on the old host",
                host.name
            )
        })
    });
    Ok(told.collect())
}
