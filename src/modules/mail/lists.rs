//! `ezmlm_lists`: mailing lists of ezmlm come over whole, with the paths and the prefix of their domain that hold here.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Body, Content, Links, Node, Owner, Permissions, Want};

use super::attachments_copy::Pair;
use super::delivery::{moved, program};
use super::qmail::{decode, encode};

pub const ENTRY: Entry = Entry {
    name: "ezmlm_lists",
    summary: "Takes mailing lists of ezmlm over from another host: directories, subscribers, archives and their links",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: Mailing lists
  ezmlm_lists:
    from: old
    owner: popuser
    group: popuser
    prefixes: {example.com: 31}
    directories:
      - source: /var/qmail/mailnames/example.com
        dest: /var/qmail/mailnames/example.com
",
    build: |arguments| Ok(Box::new(arguments.read::<EzmlmLists>()?)),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host in the inventory that has the lists.").required(),
    Argument::new(
        "directories",
        Kind::List,
        "The domains' directories, as mappings with `source` and `dest`; `qmail_facts` has them as `homes`. Lists are found in \
         them, and by the links of their `.qmail` files, wherever these lead.",
    )
    .required(),
    Argument::new(
        "prefixes",
        Kind::Any,
        "A mapping from domain to what stands for it in `virtualdomains` here; `inlocal` of a list begins with it.",
    ),
    Argument::new("owner", Kind::Text, "The user of the lists here, by name; the connection's unless given."),
    Argument::new("group", Kind::Text, "The group of the lists here, by name; the connection's unless given."),
];

#[derive(Deserialize)]
struct EzmlmLists {
    from: String,
    directories: Vec<Pair>,
    #[serde(default)]
    prefixes: BTreeMap<String, serde_json::Value>,
    owner: Option<String>,
    group: Option<String>,
}

/// A list: where it is on the old host, where it is to be here, and whose domain it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    source: String,
    dest: String,
    domain: String,
}

/// Directories of addresses, of which what is not there any more has left (`ezmlm.5`).
const ADDRESSES: [&str; 4] = ["subscribers", "allow", "deny", "mod"];

/// What is made while a list works, and means nothing elsewhere.
const PASSING: [&str; 4] = ["lock", "lockbounce", "bounce", "tmp"];

/// Where programs of ezmlm are, when they are not where the old host had them.
const PROGRAMS: [&str; 5] = ["/usr/bin", "/usr/local/bin", "/usr/local/bin/ezmlm", "/usr/bin/ezmlm", "/var/qmail/bin"];

#[async_trait]
impl Module for EzmlmLists {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let peer = host.peer(&self.from).await?;
        let (owner, group) = host.owner(self.owner.as_deref(), self.group.as_deref()).await?;
        let (lists, links) = self.lists(&peer).await?;
        let (mut changes, mut warnings) = (Vec::new(), Vec::new());
        let programs = self.programs(host, &self.texts(&peer, &lists).await?).await?;
        let of = |list: &List, name: &str| (format!("{}/{name}", list.dest), Links::Keep);
        let keys: Vec<_> = lists.iter().map(|list| of(list, "key")).collect();
        let theirs: Vec<_> = lists.iter().map(|list| (format!("{}/key", list.source), Links::Keep)).collect();
        let (theirs, ours) =
            tokio::try_join!(peer.look_all(&theirs, Want::Digest), host.look_all(&keys, Want::Digest))?;
        let mut others = BTreeSet::new();
        for ((list, theirs), ours) in lists.iter().zip(theirs).zip(ours) {
            if ours.exists() && ours.content() != theirs.content() {
                others.insert(list.dest.clone());
                warnings.push(format!(
                    "`{}` is another list of that name, with a key of its own, and is left alone\nhint: move it away to have that \
                     of `{}` in its place",
                    list.dest, self.from
                ));
                continue;
            }
            let paths = Paths { owner: &owner, group: &group, programs: &programs };
            let (made, told) = self.list(host, &peer, (list, &paths)).await?;
            changes.extend(made);
            warnings.extend(told);
        }
        changes.extend(self.links(host, &links, (&owner, &group, &others)).await?);
        let mut result = Results::new();
        result.insert("lists".into(), json!(lists.iter().map(|list| &list.dest).collect::<Vec<_>>()));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

/// What the files of a list here are made with.
struct Paths<'a> {
    owner: &'a Owner,
    group: &'a Owner,
    /// The path here of a program, by that on the old host.
    programs: &'a BTreeMap<String, Option<String>>,
}

/// A link of a domain's directory that leads into a list.
struct Link {
    /// The list's directory on the old host.
    list: String,
    dest: String,
    target: String,
}

impl EzmlmLists {
    /// Finds the lists and the links that lead into them.
    async fn lists(&self, peer: &View) -> Result<(Vec<List>, Vec<Link>), ModuleError> {
        let listed = self.directories.iter().map(|pair| peer.list(pair.source.trim_end_matches('/'), Some(2)));
        let listed = futures::future::try_join_all(listed).await?;
        let (mut candidates, mut links) = (BTreeMap::new(), Vec::new());
        for (pair, entries) in self.directories.iter().zip(&listed) {
            let (from, to) = (pair.source.trim_end_matches('/'), pair.dest.trim_end_matches('/'));
            let domain = from.rsplit('/').next().unwrap_or_default().to_string();
            for entry in entries {
                let Some(name) = entry.path.get(from.len() + 1..) else { continue };
                if let Some(directory) = name.strip_suffix("/subscribers") {
                    candidates.insert(format!("{from}/{directory}"), (domain.clone(), pair));
                }
                let Node::Link { target, .. } = &entry.node else { continue };
                if !name.starts_with(".qmail-") {
                    continue;
                }
                let absolute = if target.starts_with('/') { target.clone() } else { format!("{from}/{target}") };
                let Some((list, _)) = absolute.rsplit_once('/') else { continue };
                candidates.entry(list.to_string()).or_insert((domain.clone(), pair));
                links.push(Link {
                    list: list.into(),
                    dest: format!("{to}/{name}"),
                    target: self.moved(target.clone()),
                });
            }
        }
        let marks: Vec<_> = candidates
            .keys()
            .flat_map(|path| ["subscribers", "outlocal"].map(|name| (format!("{path}/{name}"), Links::Follow)))
            .collect();
        let marks = peer.look_all(&marks, Want::Attributes).await?;
        let is_list = candidates.into_iter().zip(marks.chunks(2)).filter(|(_, marks)| marks.iter().all(Node::exists));
        let lists: Vec<List> = is_list
            .map(|((source, (domain, _)), _)| List { dest: self.moved(source.clone()), source, domain })
            .collect();
        links.retain(|link| lists.iter().any(|list| list.source == link.list));
        Ok((lists, links))
    }

    fn moved(&self, text: String) -> String {
        let ends =
            self.directories.iter().map(|pair| (pair.source.trim_end_matches('/'), pair.dest.trim_end_matches('/')));
        ends.fold(text, |text, ends| moved(&text, ends))
    }

    /// Returns the files of lists that have lines for qmail-local.
    async fn texts(&self, peer: &View, lists: &[List]) -> Result<Vec<String>, ModuleError> {
        let names = ["editor", "manager", "moderator", "bouncer", "owner", "digest/editor", "digest/bouncer"];
        let paths: Vec<_> = lists
            .iter()
            .flat_map(|list| names.map(|name| (format!("{}/{name}", list.source), Links::Follow)))
            .collect();
        let nodes = peer.look_all(&paths, Want::Content).await?;
        Ok(nodes.iter().filter_map(|node| node.content()?.bytes().map(decode)).collect())
    }

    /// Looks for the programs that lists call: where the old host has them, and elsewhere. Nothing is one that is not here.
    async fn programs(&self, host: &View, texts: &[String]) -> Result<BTreeMap<String, Option<String>>, ModuleError> {
        let called: BTreeSet<String> =
            texts.iter().flat_map(|text| text.lines()).filter_map(program).map(String::from).collect();
        let candidates = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or_default().to_string();
            std::iter::once(path.clone()).chain(PROGRAMS.map(|directory| format!("{directory}/{name}")))
        };
        let paths: Vec<_> = called.iter().flat_map(candidates).map(|path| (path, Links::Follow)).collect();
        let nodes = host.look_all(&paths, Want::Attributes).await?;
        let found = paths.chunks(PROGRAMS.len() + 1).zip(nodes.chunks(PROGRAMS.len() + 1)).map(|(paths, nodes)| {
            paths.iter().zip(nodes).find(|(_, node)| node.exists()).map(|((path, _), _)| path.clone())
        });
        Ok(called.into_iter().zip(found.collect::<Vec<_>>()).collect())
    }

    /// Returns the changes that make one list here what it is on the old host, and what is to be said of it.
    async fn list(
        &self,
        host: &View,
        peer: &View,
        (list, paths): (&List, &Paths<'_>),
    ) -> Result<(Vec<Change>, Vec<String>), ModuleError> {
        let (theirs, ours) = tokio::try_join!(peer.list(&list.source, None), host.list(&list.dest, None))?;
        let below = |path: &str| path.get(list.source.len() + 1..).unwrap_or_default().to_string();
        let names: Vec<String> =
            theirs.iter().map(|entry| below(&entry.path)).filter(|name| !is_passing(name)).collect();
        let all = || std::iter::once(String::new()).chain(names.iter().map(|name| format!("/{name}")));
        let source: Vec<_> = all().map(|name| (format!("{}{name}", list.source), Links::Keep)).collect();
        let dest: Vec<_> = all().map(|name| (format!("{}{name}", list.dest), Links::Keep)).collect();
        let (old, here) = tokio::try_join!(peer.look_all(&source, Want::Content), host.look_all(&dest, Want::Digest))?;
        let (mut changes, mut warnings) = (Vec::new(), Vec::new());
        for (((source, _), (dest, _)), (old, here)) in source.iter().zip(&dest).zip(old.into_iter().zip(here)) {
            let name = source.get(list.source.len() + 1..).unwrap_or_default();
            let Some((node, told)) = self.wanted(old, (list, name, source), paths) else { continue };
            warnings.extend(told);
            // The directories of a list that is there already keep their permissions.
            if matches!((&node, &here), (Node::Directory { .. }, Node::Directory { .. })) {
                continue;
            }
            changes.extend(Change::path(dest, here, node));
        }
        let gone = ours.iter().filter(|entry| {
            let name = entry.path.get(list.dest.len() + 1..).unwrap_or_default();
            let first = name.trim_start_matches("digest/").split('/').next().unwrap_or_default();
            let is_file = matches!(entry.node, Node::File { .. });
            is_file && ADDRESSES.contains(&first) && !names.iter().any(|known| known == name)
        });
        let gone: Vec<_> = gone.map(|entry| (entry.path.clone(), Links::Keep)).collect();
        let nodes = if gone.is_empty() { Vec::new() } else { host.look_all(&gone, Want::Content).await? };
        changes
            .extend(gone.into_iter().zip(nodes).filter_map(|((path, _), node)| Change::path(path, node, Node::Absent)));
        Ok((changes, warnings))
    }

    /// Returns a path of a list as it is to be here, and what is to be said of it.
    fn wanted(
        &self,
        old: Node,
        (list, name, source): (&List, &str, &str),
        paths: &Paths<'_>,
    ) -> Option<(Node, Vec<String>)> {
        // Who may write a `.qmail` file may read others' mail: qmail-local would defer it (dot-qmail.5).
        let ours =
            |mode: u32| Permissions { mode: mode & 0o7755, owner: paths.owner.clone(), group: paths.group.clone() };
        match old {
            Node::Directory { permissions, .. } => {
                Some((Node::Directory { permissions: ours(permissions.mode), modified: None }, Vec::new()))
            }
            Node::Link { target, .. } => {
                Some((Node::Link { target: self.moved(target), permissions: ours(0o777) }, Vec::new()))
            }
            Node::File { mut content, permissions, .. } => {
                let mut warnings = Vec::new();
                match content.bytes().map(decode) {
                    Some(text) if is_text(name) => {
                        let (text, told) = self.rewritten(text, (list, name, source), paths);
                        warnings = told;
                        content = Content::here(encode(&text));
                    }
                    Some(_) => {}
                    // What is too large to travel with the look is streamed when the change is made.
                    None => content.body = Body::Peer { host: self.from.clone(), path: source.into() },
                }
                Some((Node::File { content, permissions: ours(permissions.mode), modified: None }, warnings))
            }
            Node::Absent | Node::Special { .. } => None,
        }
    }

    /// Returns what a file of a list says here: with paths of this host, and the prefix that the domain has here.
    fn rewritten(
        &self,
        text: String,
        (list, name, source): (&List, &str, &str),
        paths: &Paths<'_>,
    ) -> (String, Vec<String>) {
        let mut warnings = Vec::new();
        if name == "inlocal" {
            let prefix = self.prefixes.get(&list.domain).map(|prefix| match prefix {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            return (prefixed(&text, prefix.as_deref()), warnings);
        }
        if name == "outhost" && !text.trim().eq_ignore_ascii_case(&list.domain) {
            warnings.push(format!(
                "`{source}` on `{}` says `{}`: the list's mail names another host than its domain `{}`",
                self.from,
                text.trim(),
                list.domain
            ));
        }
        let mut lines: Vec<String> = Vec::new();
        for (number, line) in self.moved(text).split('\n').enumerate() {
            let found = program(line).and_then(|program| Some((program, paths.programs.get(program)?)));
            lines.push(match found {
                Some((program, Some(here))) => line.replacen(program, here, 1),
                Some((program, None)) => {
                    warnings.push(format!(
                        "`{program}`, which `{source}`, line {}, calls, is not on this host: mail for the list would be \
                         deferred\nhint: install ezmlm there before mail comes",
                        number + 1
                    ));
                    line.to_string()
                }
                None => line.to_string(),
            });
        }
        (lines.join("\n"), warnings)
    }

    async fn links(
        &self,
        host: &View,
        links: &[Link],
        (owner, group, others): (&Owner, &Owner, &BTreeSet<String>),
    ) -> Result<Vec<Change>, ModuleError> {
        let links: Vec<&Link> = links.iter().filter(|link| !others.contains(&self.moved(link.list.clone()))).collect();
        let paths: Vec<_> = links.iter().map(|link| (link.dest.clone(), Links::Keep)).collect();
        let nodes = host.look_all(&paths, Want::Content).await?;
        let made = links.iter().zip(nodes).filter_map(|(link, node)| {
            let permissions = Permissions { mode: 0o777, owner: owner.clone(), group: group.clone() };
            let same = matches!(&node, Node::Link { target, .. } if *target == link.target);
            let wanted = Node::Link { target: link.target.clone(), permissions };
            (!same).then(|| Change::path(&link.dest, node, wanted)).flatten()
        });
        Ok(made.collect())
    }
}

/// Says whether a path of a list is made while it works: locks, bounces that are counted, half-written files.
fn is_passing(name: &str) -> bool {
    let name = name.strip_prefix("digest/").unwrap_or(name);
    let first = name.split('/').next().unwrap_or_default();
    PASSING.contains(&first) || name.ends_with("/lock") || name.ends_with("/subnew")
}

/// Says whether a file of a list may have paths in it: those of ezmlm's own right in its directory, but for what is counted,
/// and what is secret (`key`).
fn is_text(name: &str) -> bool {
    let name = name.strip_prefix("digest/").unwrap_or(name);
    !name.contains('/') && !["key", "num", "dignum", "digissue", "Log"].contains(&name)
}

/// Returns `inlocal` with another prefix: `7-list` becomes `31-list`. One without a number before a dash has none.
fn prefixed(text: &str, prefix: Option<&str>) -> String {
    let number = text.split_once('-').filter(|(old, _)| !old.is_empty() && old.chars().all(|c| c.is_ascii_digit()));
    match (number, prefix) {
        (Some((_, rest)), Some(prefix)) => format!("{prefix}-{rest}"),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_before_a_dash_is_a_prefix() {
        assert_eq!(prefixed("7-list\n", Some("31")), "31-list\n");
        assert_eq!(prefixed("my-list\n", Some("31")), "my-list\n");
        assert_eq!(prefixed("7-list\n", None), "7-list\n");
    }

    #[test]
    fn what_a_list_counts_or_keeps_secret_is_no_text_and_what_passes_does_not_come_over() {
        for (name, text, passing) in [
            ("editor", true, false),
            ("digest/bouncer", true, false),
            ("key", false, false),
            ("num", false, false),
            ("archive/0/01", false, false),
            ("subscribers/A", false, false),
            ("bounce/d/1", false, true),
            ("lock", true, true),
            ("subscribers/lock", false, true),
        ] {
            assert_eq!((is_text(name), is_passing(name)), (text, passing), "{name}");
        }
    }
}
