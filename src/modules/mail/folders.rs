//! `maildir_folders`: what IMAP servers keep beside messages, brought over before these: subscriptions, keywords, UIDs.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Body, Command, Content, Links, Node, Permissions, Want};

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
    /// `.` is the inbox.
    folders: BTreeSet<String>,
    /// Those with messages.
    full: BTreeSet<String>,
    /// Files in directories of courier's keywords, which it names after messages.
    keywords: BTreeSet<String>,
    /// The files that are there, or that an earlier task of a check has planned.
    files: BTreeMap<String, Node>,
    is_moved: bool,
}

/// The files of a folder, beside those that are named after messages; the first two are the inbox's alone.
const NAMES: [&str; 6] = [
    "subscriptions",
    "courierimapsubscribed",
    "dovecot-keywords",
    "dovecot-uidlist",
    "courierimapuiddb",
    "courierimapkeywords/:list",
];

/// Asks for what has no fixed name.
const SCRIPT: &str = r#"for maildir; do
printf 'm %s\n' "$maildir"
cd -- "$maildir" 2>/dev/null || continue
[ ! -f x/ledger ] || echo ledger
for folder in . .[!.]*; do
    [ -d "$folder/cur" ] || [ -d "$folder/new" ] || continue
    printf 'd %s\n' "$folder"
    [ -z "$(ls "$folder/new" "$folder/cur" 2>/dev/null | grep -v -e ':$' -e '^$' | head -n 1)" ] || printf 'h %s\n' "$folder"
    for file in "$folder"/courierimapkeywords/*; do [ ! -f "$file" ] || printf 'k %s\n' "$file"; done
done
done
"#;

#[async_trait]
impl Module for MaildirFolders {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let peer = host.peer(&self.from).await?;
        let (owner, group) = host.owner(self.owner.as_deref(), self.group.as_deref()).await?;
        let sources: Vec<&str> = self.mailboxes.iter().map(|pair| pair.source.trim_end_matches('/')).collect();
        let dests: Vec<&str> = self.mailboxes.iter().map(|pair| pair.dest.trim_end_matches('/')).collect();
        let (mut theirs, mut ours) = tokio::try_join!(look(&peer, &sources), look(host, &dests))?;
        let names: Vec<_> = theirs.iter().zip(&ours).map(|(old, here)| names(old, here)).collect();
        tokio::try_join!(
            read_all(&peer, &sources, (&names, &mut theirs)),
            read_all(host, &dests, (&names, &mut ours))
        )?;
        let boxes = self.mailboxes.iter().zip(theirs.iter().zip(&ours));
        let boxes: Vec<_> = boxes.filter(|(_, (old, here))| !old.files.is_empty() && !here.is_moved).collect();
        let mut result = Results::new();
        result.insert("mailboxes".into(), json!(boxes.iter().map(|(pair, _)| &pair.dest).collect::<Vec<_>>()));
        if boxes.is_empty() {
            return Ok(Planned::new(Vec::new(), result));
        }
        let known: BTreeSet<Server> =
            ours.iter().flat_map(|here| here.files.keys()).filter_map(|file| Server::of(file)).collect();
        let known = known.first().copied().filter(|_| known.len() == 1);
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
            let (made, told) = self.files(pair, (old, here), server);
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
        for ((path, _, content), node) in wanted.iter().zip(files) {
            let rights = node.permissions().cloned().unwrap_or_else(|| permissions(0o600));
            let file = Node::File { content: content.clone(), permissions: rights, modified: None };
            changes.extend(Change::path(path, node.clone(), file));
        }
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

/// A file here: its path, the Maildir that it is in, and its content.
type Wanted = (String, String, Content);

impl MaildirFolders {
    fn files(&self, pair: &Pair, (old, here): (&Beside, &Beside), server: Server) -> (Vec<Wanted>, Vec<String>) {
        let (from, to) = (pair.source.trim_end_matches('/'), pair.dest.trim_end_matches('/'));
        // What is no file that can be read is left as it is.
        let ours = |name: &str| here.files.get(name).map_or(Some(String::new()), |node| read(name, node).ok());
        let (mut wanted, mut warnings) = (Vec::new(), Vec::new());
        let mut want = |name: &str, content: Option<Content>| {
            wanted.extend(content.map(|content| (at(to, name), to.to_string(), content)));
        };
        let subscribed = ["./subscriptions", "./courierimapsubscribed"];
        let lists = subscribed.iter().filter_map(|name| read(name, old.files.get(*name)?).ok());
        let names: BTreeSet<String> = lists.flat_map(|text| imap::subscribed(&text)).collect();
        if !names.is_empty() {
            let name = if server == Server::Dovecot { subscribed[0] } else { subscribed[1] };
            if let Some(ours) = ours(name) {
                let text = imap::with_subscriptions(&ours, &names, server);
                want(name, (text != ours).then(|| Content::here(encode(&text))));
            }
        }
        let mut foreign = BTreeSet::new();
        for (name, node) in &old.files {
            let (Some(content), Some((folder, file))) = (node.content(), name.split_once('/')) else { continue };
            if Server::of(name) != Some(server) {
                if file.contains("keywords") && content.size > 1 {
                    foreign.insert(folder);
                }
                continue;
            }
            if file == "dovecot-keywords"
                && let (Some(ours), Ok(theirs)) = (ours(name), read(name, node))
            {
                match imap::with_keywords(&ours, &theirs) {
                    Some(text) => want(name, (text != ours).then(|| Content::here(encode(&text)))),
                    None => warnings.push(format!(
                        "`{}` has other keywords for letters than `{}` has: those of messages would get other names\n\
                         hint: rename the keywords on one of the two hosts before the mail moves",
                        at(to, name),
                        self.from
                    )),
                }
            }
            // UIDs only come with a folder that nobody has had here; else clients read it anew.
            let is_new = ["dovecot-uidlist", "courierimapuiddb"].contains(&file) && !here.full.contains(folder);
            if (is_new || file.starts_with("courierimapkeywords/")) && !here.files.contains_key(name) {
                want(name, Some(streamed(content, (&self.from, &at(from, name)))));
            }
        }
        if !foreign.is_empty() {
            warnings.push(format!(
                "keywords of {} folders of `{from}` on `{}` stay behind: another IMAP server has put them there; flags come over",
                foreign.len(),
                self.from
            ));
        }
        (wanted, warnings)
    }
}

/// Returns a content that comes from there when the change is made, if it is too large to have travelled with the look.
fn streamed(content: &Content, (host, path): (&str, &str)) -> Content {
    match content.bytes() {
        Some(_) => content.clone(),
        None => Content { body: Body::Peer { host: host.into(), path: path.into() }, ..content.clone() },
    }
}

/// Joins a Maildir with a path in it.
fn at(maildir: &str, name: &str) -> String {
    format!("{maildir}/{}", name.trim_start_matches("./"))
}

/// Returns the files that either of two Maildirs may have: an earlier task of a check may have planned any. None where the mail
/// has been moved.
fn names(old: &Beside, here: &Beside) -> BTreeSet<String> {
    if here.is_moved {
        return BTreeSet::new();
    }
    let folders: BTreeSet<&String> = old.folders.union(&here.folders).collect();
    let fixed = folders.into_iter().flat_map(|folder| {
        let skipped = if folder.as_str() == "." { 0 } else { 2 };
        NAMES.iter().skip(skipped).map(move |name| format!("{folder}/{name}"))
    });
    let fixed: BTreeSet<String> = fixed.collect();
    fixed.into_iter().chain(old.keywords.union(&here.keywords).cloned()).collect()
}

async fn look(host: &View, maildirs: &[&str]) -> Result<Vec<Beside>, ModuleError> {
    let words = ["/bin/sh", "-c", SCRIPT, "sh"].into_iter().chain(maildirs.iter().copied());
    let text = host.probe(&Command::argv(words)).await?.text();
    let mut found: Vec<Beside> = Vec::new();
    for line in text.lines() {
        if line.starts_with("m ") {
            found.push(Beside::default());
        }
        let Some(last) = found.last_mut() else { continue };
        match line.split_once(' ') {
            Some(("d", name)) => drop(last.folders.insert(name.into())),
            Some(("h", name)) => drop(last.full.insert(name.into())),
            Some(("k", name)) => drop(last.keywords.insert(name.into())),
            None if line == "ledger" => last.is_moved = true,
            _ => {}
        }
    }
    Ok(found)
}

/// Reads the files of these names that are there, in one exchange.
async fn read_all(
    host: &View,
    maildirs: &[&str],
    (names, found): (&[BTreeSet<String>], &mut [Beside]),
) -> Result<(), ModuleError> {
    let each = maildirs.iter().zip(names);
    let paths: Vec<_> =
        each.flat_map(|(maildir, names)| names.iter().map(|name| (at(maildir, name), Links::Keep))).collect();
    let mut nodes = host.look_all(&paths, Want::Content).await?.into_iter();
    for (names, beside) in names.iter().zip(found) {
        let files = names.iter().zip(nodes.by_ref()).filter(|(_, node)| node.exists());
        beside.files = files.map(|(name, node)| (name.clone(), node)).collect();
    }
    Ok(())
}

/// Returns the server whose program the host has, if it is one of the two.
pub(super) async fn installed(host: &View) -> Result<Option<Server>, ModuleError> {
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

/// Returns the directories above a file, up to its Maildir.
fn parents(path: &str, top: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = path;
    while let Some((directory, _)) = rest.rsplit_once('/').filter(|(directory, _)| directory.len() >= top.len()) {
        found.push(directory.to_string());
        rest = directory;
    }
    found
}
