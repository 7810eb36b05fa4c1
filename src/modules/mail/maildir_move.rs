//! `maildir_move`: stored mail goes over from another host, each message exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;

use crate::change::Change;
use crate::change::transfer::decide::decide;
use crate::change::transfer::maildir::{self, Directory, Ids, Scan};
use crate::change::transfer::verbs::{self, NOTHING, Verbs};
use crate::change::transfer::{Drain, List, Mailbox, Transfer, look};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::{Links, Node, TransportError, Want};

use super::folders;
use super::imap::{self, Server};
use super::quota::{Limits, Stored};
use super::text::read;

pub const ENTRY: Entry = Entry {
    name: "maildir_move",
    summary: "Moves the messages of Maildirs from another host to this one, each exactly once",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: Stored mail\n  maildir_move:\n    from: old\n    mailboxes:\n      - source: /var/qmail/mailnames/example.com/ann/Maildir\n        dest: /var/qmail/mailnames/example.com/ann/Maildir\n    owner: popuser\n    group: popuser\n    drain: touch /etc/nologin-pop3\n",
    build: |arguments| Ok(Box::new(MaildirMove::new(arguments)?)),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host in the inventory that the messages leave.").required(),
    Argument::new(
        "mailboxes",
        Kind::List,
        "Mappings with `source` and `dest`, and `owner` and `group` where they differ.",
    ),
    Argument::new("source", Kind::Path, "The Maildir on the host `from`, for a single mailbox."),
    Argument::new("dest", Kind::Path, "The Maildir on this host, for a single mailbox; `source` unless given."),
    Argument::new(
        "owner",
        Kind::Text,
        "The user the messages belong to here; that of `dest`, or of its account, unless given.",
    ),
    Argument::new(
        "group",
        Kind::Text,
        "The group the messages belong to here; that of `dest`, or of its account, unless given.",
    ),
    Argument::new(
        "drain",
        Kind::Text,
        "A shell command for the host `from` that stops new logins before the hand-over.",
    ),
    Argument::new(
        "panels",
        Kind::Any,
        "What `plesk_facts` says of the domains on `from`, and of those on this host, as a list of both: their quotas are \
         compared with what is stored, as those of `maildirsize` are.",
    ),
    Argument::new(
        "server",
        Kind::Text,
        "The POP3 server here: what courier on `from` numbers messages by goes into its list, so that nobody downloads mail again. \
         Unless given, what mailboxes here have in them says it, or its program.",
    )
    .choices(&["courier", "dovecot"]),
    Argument::new("drain_timeout", Kind::Int, "How many seconds to wait for open sessions to end; 1200 unless given."),
];

#[derive(Deserialize)]
struct Given {
    from: String,
    #[serde(default)]
    mailboxes: Vec<Pair>,
    source: Option<String>,
    dest: Option<String>,
    owner: Option<String>,
    group: Option<String>,
    drain: Option<String>,
    drain_timeout: Option<u64>,
    #[serde(default)]
    panels: Vec<Value>,
    server: Option<Server>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    source: String,
    dest: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

impl Pair {
    fn dest(&self) -> &str {
        self.dest.as_deref().unwrap_or(&self.source)
    }
}

struct MaildirMove {
    from: String,
    pairs: Vec<Pair>,
    drain: Drain,
    /// Of the other host and of this one.
    panels: [Value; 2],
    server: Option<Server>,
}

impl MaildirMove {
    fn new(arguments: &Arguments) -> Result<MaildirMove, Diagnostic> {
        let given: Given = arguments.read()?;
        let Given { from, mailboxes, source, dest, owner, group, drain, drain_timeout, panels, server } = given;
        let mut pairs = mailboxes;
        match (source, dest) {
            (Some(source), dest) => pairs.push(Pair { source, dest, owner: None, group: None }),
            (None, Some(_)) => return Err(Diagnostic::new("`dest` of `maildir_move` needs `source`")),
            (None, None) => {}
        }
        let mut seen = std::collections::BTreeSet::new();
        for pair in &mut pairs {
            for path in [&mut pair.source].into_iter().chain(pair.dest.as_mut()) {
                *path = path.trim_end_matches('/').into();
                if !path.starts_with('/') || path.contains(|letter: char| letter.is_ascii_control()) {
                    let message =
                        format!("`maildir_move` needs absolute paths without tabs and line feeds, not `{path}`");
                    return Err(Diagnostic::new(message));
                }
            }
            if !seen.insert(pair.dest().to_string()) {
                return Err(Diagnostic::new(format!("`maildir_move` is given `{}` twice", pair.dest()))
                    .hint("two mailboxes that become one would mix their messages"));
            }
            pair.owner = pair.owner.take().or(owner.clone());
            pair.group = pair.group.take().or(group.clone());
        }
        let drain = Drain { command: drain, timeout: drain_timeout.unwrap_or(1200) };
        let mut panels = panels.into_iter();
        let panels = [(); 2].map(|()| panels.next().unwrap_or_default());
        Ok(MaildirMove { from, pairs, drain, panels, server })
    }

    /// Says where a quota is smaller than it was, or than what is stored.
    fn quotas(&self, pair: &Pair, (old, new): (&Scan, &Scan)) -> Vec<String> {
        let (stored, here) = (old.usage(), new.usage());
        let stored = Stored {
            mailbox: pair.dest(),
            from: &self.from,
            bytes: stored.0 + here.0,
            messages: stored.1 + here.1,
            old: Limits::new(&old.quota, (&self.panels[0], &pair.source)),
            here: Limits::new(&new.quota, (&self.panels[1], pair.dest())),
        };
        stored.warnings()
    }

    /// Returns the folders of each mailbox whose keywords mean here what they mean there, or are planned to.
    async fn named(
        &self,
        host: &View,
        (pairs, scans): (&[&Pair], &[Scan]),
    ) -> Result<Vec<BTreeSet<String>>, ModuleError> {
        let folders = |scan: &Scan| -> BTreeSet<String> {
            scan.live
                .values()
                .filter(|message| look::has_keywords(message))
                .map(|message| message.spot.folder.clone())
                .collect()
        };
        let mut named: Vec<_> = scans.iter().map(folders).collect();
        let file =
            |maildir: &str, folder: &str| (maildir::directory(&at(maildir, folder), "dovecot-keywords"), Links::Keep);
        let each =
            || pairs.iter().zip(&named).flat_map(|(pair, folders)| folders.iter().map(move |folder| (pair, folder)));
        let there: Vec<_> = each().map(|(pair, folder)| file(&pair.source, folder)).collect();
        let here: Vec<_> = each().map(|(pair, folder)| file(pair.dest(), folder)).collect();
        if there.is_empty() {
            return Ok(named);
        }
        let peer = host.peer(&self.from).await?;
        let (theirs, ours) =
            tokio::try_join!(peer.look_all(&there, Want::Content), host.look_all(&here, Want::Content))?;
        let mut pairs = theirs.iter().zip(&ours).map(|(theirs, ours)| {
            let text = |node: &Node| read("dovecot-keywords", node).unwrap_or_default();
            theirs.exists() && imap::has_keywords(&text(ours), &text(theirs))
        });
        named.iter_mut().for_each(|folders| folders.retain(|_| pairs.next().unwrap_or(false)));
        Ok(named)
    }

    /// Returns `USER:GROUP` for a mailbox, by name.
    fn owner(pair: &Pair, new: &Scan) -> Result<String, ModuleError> {
        let there = new.owner().and_then(|owner| owner.split_once(':'));
        let (user, group) = (there.map(|pair| pair.0), there.map(|pair| pair.1));
        let (Some(user), Some(group)) = (pair.owner.as_deref().or(user), pair.group.as_deref().or(group)) else {
            let why = format!("there is no account for `{}` on the new host: make it first", pair.dest());
            return Err(ModuleError::failed(why));
        };
        if user == "UNKNOWN" || group == "UNKNOWN" {
            let why = format!("`{}` belongs to a user or group without a name; say `owner` and `group`", pair.dest());
            return Err(ModuleError::failed(why));
        }
        Ok(format!("{user}:{group}"))
    }
}

#[async_trait]
impl Module for MaildirMove {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if self.from == host.name {
            return Err(Diagnostic::new(format!("`from` is `{}` itself", host.name)).into());
        }
        if self.pairs.is_empty() {
            return Ok(Planned::new(Vec::new(), counts(&[], (0, 0))));
        }
        let peer = host.peer(&self.from).await?;
        let (mut found, mut settled, mut open) = (Found::default(), Vec::new(), Vec::new());
        for pairs in self.pairs.chunks(MARKED) {
            let marked = Looked::marks(host, &peer, pairs.iter().collect()).await?;
            let [done, rest] = marked.split();
            if !done.pairs.is_empty() {
                self.add(host, &done, &mut found).await?;
            }
            settled.extend(done.pairs);
            open.extend(rest.pairs);
        }
        let lists: Vec<_> = open.chunks(TOGETHER).map(|pairs| Looked::lists(host, &peer, pairs.to_vec())).collect();
        let mut lists = stream::iter(lists).buffered(AT_ONCE);
        while let Some(list) = lists.next().await {
            self.add(host, &list?, &mut found).await?;
        }
        let Found { mailboxes, mut problems, warnings, needs, places, .. } = found;
        problems.splice(0..0, places.iter().filter_map(|places| look::same(places)));
        if problems.is_empty() && needs.iter().any(|(_, messages)| *messages > 0) {
            let dests = settled.into_iter().chain(open).map(Pair::dest);
            let [space] = ask(host, Verbs::new("space", dests)).await?;
            problems.extend(look::check_space(&space, &needs).err());
        }
        if !problems.is_empty() {
            return Err(ModuleError::failed(problems.join("\n")));
        }
        let result = counts(&mailboxes, needs.iter().fold((0, 0), |sum, need| (sum.0 + need.0, sum.1 + need.1)));
        let transfer = Transfer::new(&self.from, mailboxes, self.drain.clone());
        let changes: Vec<Change> = transfer.into_iter().map(Change::Transfer).collect();
        let result = if changes.is_empty() { Outcome::Known(result) } else { Outcome::Applied(result) };
        Ok(Planned { changes, result, warnings })
    }
}

/// Mailboxes of which marks are looked at together.
const MARKED: usize = 256;

/// Mailboxes that are listed together, and lists that are asked for at once. What one finds fills memory until it is summed up.
const TOGETHER: usize = 8;
const AT_ONCE: usize = 8;

/// What the looks at all mailboxes have come to.
#[derive(Default)]
struct Found {
    mailboxes: Vec<Mailbox>,
    problems: Vec<String>,
    warnings: Vec<String>,
    /// Bytes and messages of each mailbox that are to come.
    needs: Vec<(u64, u64)>,
    /// Of the old host and of the new one: where each path of a mailbox leads, and the path.
    places: [Vec<(String, String)>; 2],
    /// The server whose program is there, once it was asked for.
    installed: Option<Option<Server>>,
}

impl MaildirMove {
    async fn add(
        &self,
        host: &View,
        Looked { pairs, old: old_side, new: new_side }: &Looked<'_>,
        found: &mut Found,
    ) -> Result<(), ModuleError> {
        if found.needs.is_empty() {
            found.warnings.extend(clock_warning(old_side, new_side));
        }
        if found.installed.is_none() && self.server.is_none() && old_side.scans.iter().any(|scan| scan.is_numbered) {
            found.installed = Some(folders::installed(host).await?);
        }
        let named = self.named(host, (pairs, &old_side.scans)).await?;
        let scans = old_side.scans.iter().zip(&new_side.scans);
        for ((pair, (old, new)), named) in pairs.iter().zip(scans).zip(&named) {
            let ends = [(old, pair.source.as_str()), (new, pair.dest())];
            for (places, (scan, path)) in found.places.iter_mut().zip(ends) {
                places.extend(scan.path.clone().map(|real| (real, path.to_string())));
            }
            if let Err(problem) = look::check((&pair.source, pair.dest()), old, new) {
                found.problems.push(problem);
                found.needs.push((0, 0));
                continue;
            }
            found.warnings.extend(look::twice(&pair.source, &decide(old, new)));
            found.warnings.extend(self.quotas(pair, (old, new)));
            found.warnings.extend(look::readers(&pair.source, old, (new_side.now, named)));
            let owner = Self::owner(pair, new)?;
            let mut mailbox = look::preview((&pair.source, pair.dest(), &owner), old, new);
            let server = self.server.or(seen_server(new)).or(found.installed.flatten());
            if let Some(mailbox) = mailbox.as_mut().filter(|_| old.is_numbered && server == Some(Server::Dovecot)) {
                mailbox.numbers = List::Dovecot;
            }
            let folders = mailbox.iter().flat_map(|mailbox| &mailbox.folders);
            found
                .needs
                .push(folders.fold((0, 0), |(bytes, count), folder| (bytes + folder.bytes, count + folder.messages)));
            found.mailboxes.extend(mailbox);
        }
        Ok(())
    }
}

/// What both hosts answered about mailboxes.
struct Looked<'p> {
    pairs: Vec<&'p Pair>,
    old: Side,
    new: Side,
}

impl<'p> Looked<'p> {
    /// Looks at what each mailbox is, and whether it was moved whole and nothing has happened since.
    async fn marks(host: &View, peer: &View, pairs: Vec<&'p Pair>) -> Result<Looked<'p>, TransportError> {
        Looked::by(["look-source", "look-dest"], (host, peer), pairs).await
    }

    /// Looks at all that is in each mailbox.
    async fn lists(host: &View, peer: &View, pairs: Vec<&'p Pair>) -> Result<Looked<'p>, TransportError> {
        let mut looked = Looked::by(["scan"; 2], (host, peer), pairs).await?;
        let sources: Vec<&str> = looked.pairs.iter().map(|pair| pair.source.as_str()).collect();
        looked.old.name_owners(peer, &sources).await?;
        Ok(looked)
    }

    async fn by(
        [old, new]: [&str; 2],
        (host, peer): (&View, &View),
        pairs: Vec<&'p Pair>,
    ) -> Result<Looked<'p>, TransportError> {
        let sources: Vec<&str> = pairs.iter().map(|pair| pair.source.as_str()).collect();
        let dests: Vec<&str> = pairs.iter().map(|pair| pair.dest()).collect();
        let (old, mut new) = tokio::try_join!(Side::look(peer, old, &sources), Side::look(host, new, &dests))?;
        with_planned(host, &dests, (&old.scans, &mut new.scans)).await?;
        Ok(Looked { pairs, old, new })
    }

    /// Splits off those that are settled; a mark that the other side does not have says nothing.
    fn split(self) -> [Looked<'p>; 2] {
        let parts = [(); 2].map(|()| Looked { pairs: Vec::new(), old: self.old.empty(), new: self.new.empty() });
        let mut parts = parts;
        for ((pair, old), new) in self.pairs.into_iter().zip(self.old.scans).zip(self.new.scans) {
            let part = &mut parts[usize::from(old.settled.is_none() || old.settled != new.settled)];
            part.pairs.push(pair);
            part.old.scans.push(old);
            part.new.scans.push(new);
        }
        parts
    }
}

/// Adds the directories that an earlier task of a check would have made to what the new host has.
async fn with_planned(host: &View, dests: &[&str], (old, new): (&[Scan], &mut [Scan])) -> Result<(), TransportError> {
    let missing: Vec<Vec<String>> =
        old.iter().zip(new.iter()).map(|(old, new)| look::directories(old, new, "").0).collect();
    let each = dests.iter().zip(&missing);
    let paths: Vec<_> =
        each.flat_map(|(dest, paths)| paths.iter().map(move |path| (at(dest, path), Links::Keep))).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let mut nodes = host.look_all(&paths, Want::Attributes).await?.into_iter();
    for (paths, new) in missing.into_iter().zip(new) {
        for (path, node) in paths.into_iter().zip(nodes.by_ref()) {
            if let Some(rights) = node.permissions() {
                let device = new.directories.get(".").map(|top| top.device.clone()).unwrap_or_default();
                let owner = format!("{}:{}", rights.owner.name, rights.group.name);
                new.directories.insert(path, Directory { device, owner, letters: "drwx------".into() });
            }
        }
    }
    Ok(())
}

/// A path in a Maildir.
fn at(maildir: &str, path: &str) -> String {
    if path.is_empty() || path == "." { maildir.into() } else { format!("{maildir}/{path}") }
}

/// Asks a host's mover outside of a session, and returns its answers.
async fn ask<const N: usize>(host: &View, verbs: Verbs) -> Result<[Vec<String>; N], TransportError> {
    verbs::answers(&host.probe(&verbs::command(verbs)?).await?.stdout)
}

/// What one host answered.
struct Side {
    scans: Vec<Scan>,
    /// How many seconds its clock is ahead of this machine's.
    ahead: Option<i64>,
    /// Its time, in seconds since 1970.
    now: u64,
}

impl Side {
    /// Looks at Maildirs of one host in one exchange.
    async fn look(host: &View, verb: &str, maildirs: &[&str]) -> Result<Side, TransportError> {
        let mut verbs = Verbs::new(verb, maildirs);
        verbs.add("clock", NOTHING);
        let start = Instant::now();
        let [scan, clock] = ask(host, verbs).await?;
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let scans = maildir::parse(&scan);
        if scans.len() != maildirs.len() {
            return Err(TransportError::Refused("the mail scan ended early".into()));
        }
        let now: Option<i64> = clock.first().and_then(|line| line.parse().ok());
        // The clock is read at the end of the exchange; only a slow answer blurs it.
        let ahead = now.map(|now| now - here as i64).filter(|_| start.elapsed().as_secs() < 600);
        Ok(Side { scans, ahead, now: now.unwrap_or(here as i64) as u64 })
    }

    /// Asks whose the messages are, of one message for each of the numbers.
    async fn name_owners(&mut self, host: &View, maildirs: &[&str]) -> Result<(), TransportError> {
        let mut samples = BTreeMap::new();
        for (scan, maildir) in self.scans.iter().zip(maildirs) {
            let paths = scan.live.values().map(|message| (message.ids, &message.spot));
            for (ids, spot) in paths {
                samples.entry(ids).or_insert_with(|| format!("{maildir}/{}", spot.path()));
            }
        }
        if samples.is_empty() {
            return Ok(());
        }
        let [lines] = ask(host, Verbs::new("whose", samples.values())).await?;
        let names: BTreeMap<Ids, String> = lines.iter().filter_map(|line| owner_named(line)).collect();
        for scan in &mut self.scans {
            scan.owners.clone_from(&names);
        }
        Ok(())
    }

    fn empty(&self) -> Side {
        Side { scans: Vec::new(), ..*self }
    }
}

/// Returns the POP3 server that has read a mailbox, where it was one of them alone.
fn seen_server(scan: &Scan) -> Option<Server> {
    match (scan.is_numbered, scan.is_dovecots) {
        (true, false) => Some(Server::Courier),
        (false, true) => Some(Server::Dovecot),
        _ => None,
    }
}

/// Reads a line with the numbers and the names of a user and a group.
fn owner_named(line: &str) -> Option<(Ids, String)> {
    let mut words = line.split(' ');
    let ids = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((ids, format!("{}:{}", words.next()?, words.next()?)))
}

/// `qmail-pop3d` does not show messages whose time is in its host's future.
fn clock_warning(old: &Side, new: &Side) -> Option<String> {
    let ahead = old.ahead? - new.ahead?;
    (ahead.abs() > 1).then(|| {
        let (first, second) = if ahead > 0 { ("old", "new") } else { ("new", "old") };
        format!("the clock of the {first} host is {} s ahead of the {second} one's; set both", ahead.abs())
    })
}

fn counts(mailboxes: &[Mailbox], (bytes, messages): (u64, u64)) -> Results {
    let mut results = Results::new();
    results.insert("to_move".into(), Value::from(messages));
    results.insert("to_move_bytes".into(), Value::from(bytes));
    results.insert("mailboxes_to_move".into(), Value::from(mailboxes.len()));
    for name in ["moved", "bytes", "late", "gone", "collisions"] {
        results.insert(name.into(), Value::from(0));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build(arguments: Value) -> Result<MaildirMove, Diagnostic> {
        let Value::Object(map) = arguments else { panic!("a mapping") };
        MaildirMove::new(&ENTRY.arguments(map)?)
    }

    #[test]
    fn clocks_that_differ_by_more_than_a_second_are_told() {
        let side = |ahead| Side { scans: Vec::new(), ahead, now: 0 };
        let told = |old, new| clock_warning(&side(old), &side(new));
        assert!(told(Some(5), Some(-3)).unwrap().contains("the old host is 8 s ahead of the new one's"));
        assert!(told(Some(0), Some(30)).unwrap().contains("the new host is 30 s ahead of the old one's"));
        assert_eq!((told(Some(1), Some(2)), told(None, Some(9))), (None, None));
    }

    #[test]
    fn owners_come_from_the_mailbox_then_the_task() {
        let given = json!({"from": "old", "owner": "u", "mailboxes": [
            {"source": "/a/", "owner": "v"}, {"source": "/b", "dest": "/c", "group": "g"}]});
        let made = build(given).unwrap();
        assert_eq!((made.pairs[0].source.as_str(), made.pairs[0].owner.as_deref()), ("/a", Some("v")));
        assert_eq!((made.pairs[1].dest(), made.pairs[1].owner.as_deref()), ("/c", Some("u")));
    }

    #[test]
    fn two_mailboxes_for_one_dest_are_refused() {
        let given = json!({"from": "old", "mailboxes": [{"source": "/a", "dest": "/c"}, {"source": "/c"}]});
        assert!(build(given).err().unwrap().message.contains("`/c` twice"));
        assert!(build(json!({"from": "old", "source": "a"})).err().unwrap().message.contains("absolute"));
    }
}
