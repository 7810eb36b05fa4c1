//! `qmail_preflight`: what the files of two mail hosts say that would lose, bounce or misdirect mail of domains. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::host::View;
use crate::modules::system::network;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::name::shown;
use crate::transport::{Command, Content, Links, Node, Owner, TransportError, Want};

use super::drift::Reread;
use super::names::{self, Dns, Named};
use super::qmail::{FILES, decode};
use super::send::QmailSend;
use super::traps::homes::Domain;
use super::traps::moved::Move;
use super::traps::{Found, Role, Side, inside, lines, moved, relays, users};

pub const ENTRY: Entry = Entry {
    name: "qmail_preflight",
    summary: "Finds what would lose, bounce or misdirect mail of domains that move from another host to this one",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: What would go wrong\n  qmail_preflight:\n    from: old\n    domains: example.com\n    owner: popuser\n  register: found\n",
    build: |arguments| Ok(Box::new(QmailPreflight { given: arguments.read()? })),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host of the inventory that the domains leave.").required(),
    Argument::new("domains", Kind::List, "The domains that move; `qmail_facts` has them.").required(),
    Argument::new("addresses", Kind::List, "Their addresses; `qmail_facts` has them."),
    Argument::new(
        "catch_all",
        Kind::List,
        "Those of the domains of which `from` takes mail for every address; `qmail_facts` has them.",
    ),
    Argument::new("directory", Kind::Path, "The installation's directory here; `/var/qmail` unless given."),
    Argument::new("mailnames", Kind::Path, "Where the mailboxes lie here; `mailnames` in `directory` unless given."),
    Argument::new("from_directory", Kind::Path, "The installation's directory on `from`; `directory` unless given."),
    Argument::new("from_mailnames", Kind::Path, "Where the mailboxes lie on `from`."),
    Argument::new(
        "qmail_send",
        Kind::Text,
        "A shell command that prints the id of qmail-send on `from`. By default `ps` is searched.",
    ),
    Argument::new("owner", Kind::Text, "The user of the mailboxes here, by name; nobody's in particular unless given."),
    Argument::new(
        "group",
        Kind::Text,
        "The group of the mailboxes here, by name; that of the same name as the user unless given.",
    ),
];

#[derive(Deserialize)]
struct Given {
    from: String,
    domains: Vec<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    catch_all: Vec<String>,
    directory: Option<String>,
    mailnames: Option<String>,
    from_directory: Option<String>,
    from_mailnames: Option<String>,
    qmail_send: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

struct QmailPreflight {
    given: Given,
}

#[async_trait]
impl Module for QmailPreflight {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let given = &self.given;
        let domains: Vec<String> = given.domains.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        let addresses: BTreeSet<String> = given.addresses.iter().map(|address| address.to_ascii_lowercase()).collect();
        let peer = host.peer(&given.from).await?;
        let directory = given.directory.as_deref().unwrap_or("/var/qmail");
        let there = given.from_directory.as_deref().unwrap_or(directory);
        let mut found = Found::default();
        let (home, pid) = (there.trim_end_matches('/'), given.qmail_send.as_deref());
        let control = format!("{home}/control");
        let send = QmailSend { home, control: &control, pid, service: "qmail" };
        let (owner, reread, old, new, own) = tokio::try_join!(
            self.owner(host),
            send.has_reread(&peer),
            Looked::at(&peer, Role::Old, (there, given.from_mailnames.as_deref()), &domains),
            Looked::at(host, Role::New, (directory, given.mailnames.as_deref()), &domains),
            async { Ok(network::ipv4(&peer.probe(&Command::shell(network::ADDRESSES)).await?.text())) },
        )?;
        let owner = owner
            .map_err(|why| found.problem(format!("{why}; make it, or name another with `mail_owner` and `mail_group`")))
            .ok()
            .flatten();
        let (there_named, here_named) = tokio::try_join!(old.relays(&peer), new.relays(host))?;
        running((&peer.name, home), reread, &mut found);
        for (looked, (named, dns)) in [&old, &new].into_iter().zip([there_named, here_named]) {
            looked.unfit.iter().for_each(|text| found.problem(text.clone()));
            lines::check(&looked.side, &domains, &mut found);
            relays::check(&looked.side, (&named, &dns), &mut found);
            looked.homes(&domains, owner.as_ref().filter(|_| looked.side.role == Role::New), &mut found);
        }
        Move { old: &old.side, new: &new.side, domains: &domains, addresses: &addresses, own: &own }.check(&mut found);
        users::check((&old.side, &new.side), &domains, &mut found);
        for domain in &given.catch_all {
            moved::refused_catch_all(&new.side, domain, &mut found);
        }
        inside::check(&old.side, (&old.inside, &domains), &mut found);
        let mut result = Results::new();
        result.insert("problems".into(), json!(found.problems));
        Ok(Planned { warnings: found.warnings, ..Planned::new(Vec::new(), result) })
    }
}

impl QmailPreflight {
    /// Returns whom the mailboxes will belong to, or why nobody.
    async fn owner(&self, host: &View) -> Result<Result<Option<Owner>, String>, TransportError> {
        let Some(name) = &self.given.owner else { return Ok(Ok(None)) };
        let group = self.given.group.as_ref().unwrap_or(name);
        // Both are waited for, so that it is the user who is named where neither is there.
        let (owner, group) = tokio::join!(host.user(name), host.group(group));
        match owner.and_then(|owner| group.map(|_| owner)) {
            Ok(owner) => Ok(Ok(Some(owner))),
            Err(TransportError::Refused(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }
}

/// What forwarding asks of the old host's qmail-send.
fn running((host, home): (&str, &str), reread: Reread, found: &mut Found) {
    match reread {
        Reread::Yes => {}
        Reread::No => found.warning(format!(
            "`{host}`: qmail-send has not read `{home}/control/locals` and `virtualdomains` as they are now; send it a HUP, and \
             see whether that is what they should be"
        )),
        Reread::Idle => found.warning(format!("`{host}`: qmail-send is not running, so that no mail leaves its queue; start it")),
        Reread::Nowhere => found.problem(format!(
            "`{host}`: there is no `{home}/queue/lock/sendmutex`, so that no qmail-send uses `{home}`; say where it is with `qmail_dir`"
        )),
    }
}

/// One host as it was looked at.
struct Looked {
    side: Side,
    /// What hinders any move, whatever the files say.
    unfit: Vec<String>,
    /// For each domain: its directory, what is below it, and the content of its `.qmail` files.
    domains: Vec<(Node, Vec<crate::transport::Entry>)>,
    files: Vec<(String, Vec<u8>)>,
    /// Lines of `.qmail` files that name one of the domains' directories, as `grep -n` prints them.
    inside: Vec<String>,
}

/// Prints the directories that exist and may not be written in, and the files that are older than what they are made from.
const LOOK: &str = r#"cd -- "$1" || exit 0
[ ! -e users/cdb ] || [ -z "$(find users/assign -newer users/cdb 2>/dev/null)" ] || echo 'stale cdb'
if [ -s control/morercpthosts ]; then
  [ -e control/morercpthosts.cdb ] && [ -z "$(find control/morercpthosts -newer control/morercpthosts.cdb)" ] || echo 'stale morercpthosts.cdb'
fi
shift
for directory; do
  for path in "$directory" "$directory"/*/Maildir; do
    [ ! -d "$path" ] || [ -w "$path" ] || printf 'unfit %s\n' "$path"
  done
done"#;

/// Prints the lines of `.qmail` files that name one of these domains' directories.
const INSIDE: &str = r#"home=$1 mailnames=$2; shift 2
for domain; do printf '%s/%s/\n' "$mailnames" "$domain"; done |
{ patterns=$(cat)
find "$mailnames"/. "$home"/alias/. -name Maildir -prune -o -name '.qmail*' -type f -exec grep -nF -e "$patterns" /dev/null {} + 2>/dev/null; } | sed 's/^/inside /'"#;

impl Looked {
    async fn at(
        host: &View,
        role: Role,
        (directory, mailnames): (&str, Option<&str>),
        domains: &[String],
    ) -> Result<Looked, TransportError> {
        let directory = directory.trim_end_matches('/').to_string();
        let mailnames = mailnames.map_or(format!("{directory}/mailnames"), |path| path.trim_end_matches('/').into());
        let mut paths: Vec<(String, Links)> =
            FILES.iter().map(|file| (format!("{directory}/control/{}", file.name), Links::Follow)).collect();
        // These are written on the new host, by a rename that would take a link's place.
        let links = if role == Role::Old { Links::Follow } else { Links::Keep };
        paths.extend(["assign", "poppasswd"].map(|name| (format!("{directory}/users/{name}"), links)));
        let homes: Vec<(String, Links)> =
            domains.iter().map(|name| (format!("{mailnames}/{name}"), Links::Follow)).collect();
        let mut words = vec!["/bin/sh".to_string(), "-c".into(), LOOK.into(), "sh".into(), directory.clone()];
        let written = if role == Role::Old { "control" } else { "users" };
        words.push(format!("{directory}/{written}"));
        words.extend(homes.iter().map(|(path, _)| path.clone()));
        let command = Command::argv(words);
        let words = ["/bin/sh", "-c", INSIDE, "sh", &directory, &mailnames]
            .into_iter()
            .chain(domains.iter().map(String::as_str));
        let inside = Command::argv(words);
        let search = async {
            match role {
                Role::Old => Ok(host.probe(&inside).await?.text()),
                Role::New => Ok(String::new()),
            }
        };
        let lists = futures::future::try_join_all(homes.iter().map(|(path, _)| host.list(path, Some(2))));
        let (nodes, directories, lists, names, printed, lines) = tokio::try_join!(
            host.look_all(&paths, Want::Content),
            host.look_all(&homes, Want::Attributes),
            lists,
            host.list(&mailnames, Some(1)),
            host.probe(&command),
            search
        )?;
        let mut looked = Looked {
            side: Side { role, host: host.name.clone(), directory, mailnames, ..Side::default() },
            unfit: Vec::new(),
            domains: directories.into_iter().zip(lists).collect(),
            files: Vec::new(),
            inside: Vec::new(),
        };
        looked.keep(&paths, &nodes)?;
        looked.hear(&printed.text(), &host.identity().user.name);
        looked.hear(&lines, "");
        for path in names.iter().map(|entry| &entry.path) {
            let name = path.rsplit('/').next().unwrap_or_default();
            let low = name.to_lowercase();
            if low != name && domains.contains(&low) {
                let why = format!("is not written as the domain is (`{low}`), and would not be looked into; rename it");
                looked.unfit.push(format!("`{}`: `{}` {why}", host.name, shown(path)));
            }
        }
        looked.read_instructions(host).await?;
        Ok(looked)
    }

    /// The relays by name of its routes, and what its name servers say of them.
    async fn relays(&self, host: &View) -> Result<(Vec<Named>, BTreeMap<String, Dns>), ModuleError> {
        let named = names::named(self.side.text("smtproutes"));
        let asked = named.iter().map(|named| named.host.clone()).collect();
        let dns = names::ask(host, &asked).await?;
        Ok((named, dns))
    }

    /// Keeps the texts, and says what is no text.
    fn keep(&mut self, paths: &[(String, Links)], nodes: &[Node]) -> Result<(), TransportError> {
        for (index, ((path, _), node)) in paths.iter().zip(nodes).enumerate() {
            let text = match (node, node.content().and_then(Content::bytes)) {
                (Node::Absent, _) => continue,
                (Node::File { .. }, Some(bytes)) => decode(bytes),
                (Node::File { .. }, None) => {
                    return Err(TransportError::Refused(format!(
                        "`{path}` on `{}` cannot be read, or is too large",
                        self.side.host
                    )));
                }
                (other, _) => {
                    let why = format!(
                        "is no regular file but a {}, and cannot be edited; put the file itself there",
                        other.kind()
                    );
                    self.unfit.push(format!("`{}`: `{path}` {why}", self.side.host));
                    continue;
                }
            };
            match FILES.get(index) {
                Some(file) => drop(self.side.control.insert(file.name, text)),
                None if path.ends_with("/assign") => self.side.assign = Some(text),
                None => self.side.poppasswd = Some(text),
            }
        }
        Ok(())
    }

    fn hear(&mut self, printed: &str, user: &str) {
        for line in printed.lines() {
            match line.split_once(' ') {
                Some(("stale", "cdb")) => self.side.stale.push("cdb"),
                Some(("stale", _)) => self.side.stale.push("morercpthosts.cdb"),
                Some(("inside", rest)) => self.inside.push(rest.into()),
                Some(("unfit", path)) => self.unfit.push(format!(
                    "`{}`: `{}` cannot be written by `{user}`: its rights, or a file system that is mounted read-only; mend that, or \
                     run with `become: true`",
                    self.side.host,
                    shown(path)
                )),
                _ => {}
            }
        }
    }

    async fn read_instructions(&mut self, host: &View) -> Result<(), TransportError> {
        let entries = self.domains.iter().flat_map(|(_, entries)| entries);
        let is_file = |entry: &&crate::transport::Entry| {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            matches!(entry.node, Node::File { .. }) && (name == ".qmail" || name.starts_with(".qmail-"))
        };
        let paths: Vec<(String, Links)> =
            entries.filter(is_file).map(|entry| (entry.path.clone(), Links::Keep)).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let nodes = host.look_all(&paths, Want::Content).await?;
        let read = paths
            .into_iter()
            .zip(&nodes)
            .filter_map(|((path, _), node)| Some((path, node.content()?.bytes()?.to_vec())));
        self.files = read.collect();
        Ok(())
    }

    fn homes(&self, domains: &[String], owner: Option<&Owner>, found: &mut Found) {
        for (name, (directory, entries)) in domains.iter().zip(&self.domains) {
            let home = format!("{}/{name}/", self.side.mailnames);
            let files = self.files.iter().filter(|(path, _)| path.starts_with(&home));
            let files = files.map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
            Domain { side: &self.side, name, directory, entries, files, owner }.check(found);
        }
    }
}
