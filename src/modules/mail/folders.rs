//! `maildir_folders`: what IMAP servers keep beside messages, brought over before these: subscriptions, keywords, UIDs.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Command, Content, Links, Node, Permissions, Want};

use super::attachments_copy::Pair;
use super::imap::{self, Server};
use super::qmail::encode;
use super::text::read;

pub const ENTRY: Entry = Entry {
    name: "maildir_folders",
    summary: "Brings subscriptions, keywords and UIDs of IMAP over from another host, before the first messages of a mailbox",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: What IMAP knows of folders
  maildir_folders:
    from: old
    server: dovecot
    owner: popuser
    group: popuser
    mailboxes:
      - source: /var/qmail/mailnames/example.com/ann/Maildir
        dest: /var/qmail/mailnames/example.com/ann/Maildir
",
    build: |arguments| Ok(Box::new(arguments.read::<MaildirFolders>()?)),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host in the inventory that has the mailboxes.").required(),
    Argument::new(
        "mailboxes",
        Kind::List,
        "Maildirs, as mappings with `source` and `dest`. Those into which messages have been moved already are left alone: they \
         are their users' since.",
    )
    .required(),
    Argument::new(
        "server",
        Kind::Text,
        "The IMAP server here. Unless given, what mailboxes here have in them says it, or its program.",
    )
    .choices(&["courier", "dovecot"]),
    Argument::new("owner", Kind::Text, "The user of the mailboxes here, by name; the connection's unless given."),
    Argument::new("group", Kind::Text, "The group of the mailboxes here, by name; the connection's unless given."),
];

#[derive(Deserialize)]
struct MaildirFolders {
    from: String,
    mailboxes: Vec<Pair>,
    server: Option<Server>,
    owner: Option<String>,
    group: Option<String>,
}

/// What a Maildir has beside messages; all paths are relative to it.
#[derive(Debug, Default)]
struct Beside {
    is_there: bool,
    files: BTreeSet<String>,
    /// Folders with messages; `.` is the inbox.
    full: BTreeSet<String>,
    folders: BTreeSet<String>,
    is_moved: bool,
}

const SCRIPT: &str = r#"for maildir; do
printf 'm %s\n' "$maildir"
cd -- "$maildir" 2>/dev/null || continue
echo there
[ ! -f x/ledger ] || echo ledger
for folder in . .[!.]*; do
    [ -d "$folder/cur" ] || [ -d "$folder/new" ] || continue
    printf 'd %s\n' "$folder"
    [ -z "$(ls "$folder/new" "$folder/cur" 2>/dev/null | grep -v -e ':$' -e '^$' | head -n 1)" ] || printf 'h %s\n' "$folder"
    for name in subscriptions courierimapsubscribed dovecot-keywords dovecot-uidlist courierimapuiddb; do
        [ ! -f "$folder/$name" ] || printf 'f %s\n' "$folder/$name"
    done
    for file in "$folder"/courierimapkeywords/*; do [ ! -f "$file" ] || printf 'f %s\n' "$file"; done
done
done
"#;

#[async_trait]
impl Module for MaildirFolders {
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
        let (theirs, ours) = tokio::try_join!(
            look(&peer, self.mailboxes.iter().map(|pair| pair.source.as_str())),
            look(host, self.mailboxes.iter().map(|pair| pair.dest.as_str()))
        )?;
        let boxes = self.mailboxes.iter().zip(theirs.iter().zip(&ours));
        let boxes: Vec<_> = boxes.filter(|(_, (old, here))| !old.files.is_empty() && !here.is_moved).collect();
        let mut result = Results::new();
        result.insert("mailboxes".into(), json!(boxes.iter().map(|(pair, _)| &pair.dest).collect::<Vec<_>>()));
        if boxes.is_empty() {
            return Ok(Planned::new(Vec::new(), result));
        }
        let known = ours.iter().flat_map(|here| &here.files).find_map(|file| Server::of(file));
        let Some(server) = (match self.server.or(known) {
            Some(server) => Some(server),
            None => installed(host).await?,
        }) else {
            let warning = format!(
                "nobody knows which IMAP server reads mailboxes on `{}`: subscriptions, keywords and UIDs stay behind\nhint: say \
                 `server` (`imap_server` for the stage)",
                host.name
            );
            return Ok(Planned { warnings: vec![warning], ..Planned::new(Vec::new(), result) });
        };
        let (mut wanted, mut warnings) = (Vec::new(), Vec::new());
        for (pair, (old, here)) in &boxes {
            let (made, told) = self.files((&peer, host), pair, (old, here, server)).await?;
            wanted.extend(made);
            warnings.extend(told);
        }
        let permissions = |mode| Permissions { mode, owner: owner.clone(), group: group.clone() };
        let directories: BTreeSet<String> = wanted.iter().flat_map(|(path, top, _)| parents(path, top)).collect();
        let paths = directories.iter().chain(wanted.iter().map(|(path, ..)| path));
        let paths: Vec<_> = paths.map(|path| (path.clone(), Links::Keep)).collect();
        let nodes = host.look_all(&paths, Want::Content).await?;
        let (made, files) = nodes.split_at(directories.len());
        let mut changes = Vec::new();
        for (path, node) in directories.iter().zip(made).filter(|(_, node)| !node.exists()) {
            changes.extend(Change::path(
                path,
                node.clone(),
                Node::Directory { permissions: permissions(0o700), modified: None },
            ));
        }
        for ((path, _, text), node) in wanted.iter().zip(files) {
            let rights = node.permissions().cloned().unwrap_or_else(|| permissions(0o600));
            let file = Node::File { content: Content::here(encode(text)), permissions: rights, modified: None };
            changes.extend(Change::path(path, node.clone(), file));
        }
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

/// A file here: its path, the Maildir that it is in, and its text.
type Wanted = (String, String, String);

impl MaildirFolders {
    async fn files(
        &self,
        (peer, host): (&View, &View),
        pair: &Pair,
        (old, here, server): (&Beside, &Beside, Server),
    ) -> Result<(Vec<Wanted>, Vec<String>), ModuleError> {
        let (from, to) = (pair.source.trim_end_matches('/'), pair.dest.trim_end_matches('/'));
        let theirs = texts(peer, from, &old.files).await?;
        let ours = texts(host, to, &here.files).await?;
        let (mut wanted, mut warnings) = (Vec::new(), Vec::new());
        let mut want = |name: &str, text: String| {
            if ours.get(name) != Some(&text) {
                wanted.push((format!("{to}/{}", name.trim_start_matches("./")), to.to_string(), text));
            }
        };
        let subscribed = ["./subscriptions", "./courierimapsubscribed"];
        let names: BTreeSet<String> =
            subscribed.iter().filter_map(|name| theirs.get(*name)).flat_map(|text| imap::subscribed(text)).collect();
        if !names.is_empty() {
            let name = if server == Server::Dovecot { subscribed[0] } else { subscribed[1] };
            want(name, imap::with_subscriptions(ours.get(name).map_or("", String::as_str), &names, server));
        }
        let mut foreign = BTreeSet::new();
        for (name, text) in &theirs {
            let Some((folder, file)) = name.split_once('/') else { continue };
            let is_empty = !here.full.contains(folder);
            let is_ours = Server::of(name) == Some(server);
            match file {
                "dovecot-keywords" if is_ours => {
                    match imap::with_keywords(ours.get(name).map_or("", String::as_str), text) {
                        Some(text) => want(name, text),
                        None => warnings.push(format!(
                            "`{to}/{name}` has other keywords for letters than `{}` has: those of messages would get other names\n\
                             hint: rename the keywords on one of the two hosts before the mail moves",
                            self.from
                        )),
                    }
                }
                // UIDs only come with a folder that nobody has had here; else clients read it anew.
                "dovecot-uidlist" | "courierimapuiddb" if is_ours && is_empty && !ours.contains_key(name) => {
                    want(name, text.clone());
                }
                _ if file.starts_with("courierimapkeywords/") && is_ours && !ours.contains_key(name) => {
                    want(name, text.clone());
                }
                _ if !is_ours && !text.trim().is_empty() && file.contains("keywords") => drop(foreign.insert(folder)),
                _ => {}
            }
        }
        if !foreign.is_empty() {
            warnings.push(format!(
                "keywords of {} folders of `{from}` on `{}` stay behind: another IMAP server has put them there; flags come over",
                foreign.len(),
                self.from
            ));
        }
        Ok((wanted, warnings))
    }
}

async fn texts(host: &View, at: &str, files: &BTreeSet<String>) -> Result<BTreeMap<String, String>, ModuleError> {
    let paths: Vec<_> =
        files.iter().map(|name| (format!("{at}/{}", name.trim_start_matches("./")), Links::Keep)).collect();
    let nodes = host.look_all(&paths, Want::Content).await?;
    // What is too large to be a list of names is a database, which is not worth a failure: clients read the folder anew.
    let named = files.iter().zip(paths.iter().zip(&nodes));
    Ok(named.filter_map(|(name, ((path, _), node))| Some((name.clone(), read(path, node).ok()?))).collect())
}

async fn look(host: &View, maildirs: impl Iterator<Item = &str>) -> Result<Vec<Beside>, ModuleError> {
    let words = ["/bin/sh", "-c", SCRIPT, "sh"].into_iter().chain(maildirs);
    let text = host.probe(&Command::argv(words)).await?.text();
    let mut found: Vec<Beside> = Vec::new();
    for line in text.lines() {
        if line.starts_with("m ") {
            found.push(Beside::default());
        }
        let Some(last) = found.last_mut() else { continue };
        match line.split_once(' ') {
            Some(("f", name)) => drop(last.files.insert(name.into())),
            Some(("h", name)) => drop(last.full.insert(name.into())),
            Some(("d", name)) => drop(last.folders.insert(name.into())),
            None if line == "there" => last.is_there = true,
            None if line == "ledger" => last.is_moved = true,
            _ => {}
        }
    }
    Ok(found)
}

/// Returns the server whose program the host has, if it is one of the two.
async fn installed(host: &View) -> Result<Option<Server>, ModuleError> {
    let programs = [
        ("/usr/sbin/dovecot", Server::Dovecot),
        ("/usr/sbin/couriertcpd", Server::Courier),
        ("/usr/lib/courier-imap", Server::Courier),
    ];
    let paths = programs.map(|(path, _)| (path.to_string(), Links::Follow));
    let nodes = host.look_all(&paths, Want::Attributes).await?;
    let found: BTreeSet<Server> =
        programs.iter().zip(nodes).filter(|(_, node)| node.exists()).map(|((_, server), _)| *server).collect();
    Ok(found.first().copied().filter(|_| found.len() == 1))
}

/// Returns the directories between a Maildir and a file in it.
fn parents(path: &str, top: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = path;
    while let Some((directory, _)) = rest.rsplit_once('/').filter(|(directory, _)| directory.len() > top.len()) {
        found.push(directory.to_string());
        rest = directory;
    }
    found
}
