//! `qmail_facts`: what a qmail/Plesk host holds, and what another one must be given to hold the same. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::nearest;
use crate::host::View;
use crate::modules::{Argument, Entry, HIDDEN, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Command, Links, Node, TransportError, Want};

use super::activity::MOVED;
use super::qmail;

pub const ENTRY: Entry = Entry {
    name: "qmail_facts",
    summary: "Reads the domains, accounts and mailboxes of a qmail/Plesk host, and what a host that takes them over needs",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: What is to move\n  qmail_facts:\n    from: old\n    domains: example.com\n    owner: popuser\n  register: mail\n  no_log: true\n",
    build: |arguments| Ok(Box::new(QmailFacts { given: arguments.read()? })),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("domains", Kind::List, "The domains to look at; `all`, the default, means all that the host has."),
    Argument::new("directory", Kind::Path, "The installation's directory; `/var/qmail` unless given."),
    Argument::new("mailnames", Kind::Path, "Where the mailboxes lie; `mailnames` in `directory` unless given."),
    Argument::new("from", Kind::Text, "A host of the inventory whose accounts and mailboxes this one is to take over."),
    Argument::new("from_directory", Kind::Path, "The installation's directory on `from`; `directory` unless given."),
    Argument::new("from_mailnames", Kind::Path, "Where the mailboxes lie on `from`."),
    Argument::new("owner", Kind::Text, "The user of the mailboxes here; the one that `from` names unless given."),
    Argument::new(
        "group",
        Kind::Text,
        "The group of the mailboxes here; that of the same name as the user unless given.",
    ),
];

#[derive(Deserialize)]
struct Given {
    domains: Option<Vec<String>>,
    directory: Option<String>,
    mailnames: Option<String>,
    from: Option<String>,
    from_directory: Option<String>,
    from_mailnames: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

struct QmailFacts {
    given: Given,
}

/// One host's installation, as read.
#[derive(Debug, Default)]
struct Installation {
    mailnames: String,
    locals: BTreeSet<String>,
    /// `None`: there is no such file, so that mail for every domain is taken.
    rcpthosts: Option<String>,
    morercpthosts: String,
    virtualdomains: BTreeMap<String, String>,
    smtproutes: BTreeMap<String, String>,
    assign: Vec<Assignment>,
    /// The second field by the first.
    hashes: BTreeMap<String, String>,
    /// `DOMAIN/USER` of every mailbox on disk, and whether it has `@attachments`.
    mailboxes: BTreeMap<String, bool>,
    /// `DOMAIN/.qmail-EXT` of every address with a file of its own (`dot-qmail.5`).
    dot_qmails: Vec<String>,
    /// Domains with a `.qmail-default` that does not refuse: mail for whatever address is taken.
    catch_all: BTreeSet<String>,
    /// The largest message that qmail-smtpd takes, in bytes; 0 is any.
    databytes: u64,
    /// Domains that were retired here.
    moved: BTreeSet<String>,
}

/// A line of `users/assign` (`qmail-users.5`): how it matches, for which prefix and rest, whose, where.
#[derive(Debug, PartialEq, Eq)]
struct Assignment {
    kind: char,
    /// The number of the domain, such as `7`, in front of the first `-`.
    prefix: String,
    /// What stands behind the prefix and its `-`.
    local: String,
    user: String,
    home: String,
    dash: String,
    ext: String,
}

#[async_trait]
impl Module for QmailFacts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let given = &self.given;
        let directory = given.directory.as_deref().unwrap_or("/var/qmail");
        let here = Installation::read(host, directory, given.mailnames.as_deref());
        let Some(from) = &given.from else {
            let here = here.await?;
            let domains = here.select(given.domains.as_deref(), &host.name)?;
            return Ok(Planned::new(Vec::new(), here.facts(&domains)));
        };
        let peer = host.peer(from).await?;
        let there = given.from_directory.as_deref().unwrap_or(directory);
        let there = Installation::read(&peer, there, given.from_mailnames.as_deref());
        let (here, there) = tokio::try_join!(here, there)?;
        let domains = there.select(given.domains.as_deref(), from)?;
        let mut facts = here.facts(&domains);
        facts.extend(there.handed_to(&here, &domains, given));
        Ok(Planned::new(Vec::new(), facts))
    }
}

impl Installation {
    /// Reads everything; the files and the list of mailboxes at the same time.
    async fn read(host: &View, directory: &str, mailnames: Option<&str>) -> Result<Installation, TransportError> {
        const FILES: [&str; 9] = [
            "locals",
            "rcpthosts",
            "virtualdomains",
            "smtproutes",
            "assign",
            "poppasswd",
            "databytes",
            "morercpthosts",
            MOVED,
        ];
        let directory = directory.trim_end_matches('/');
        let mailnames = mailnames.map_or(format!("{directory}/mailnames"), |path| path.trim_end_matches('/').into());
        let paths = FILES.map(|name| {
            let part = match name {
                "assign" | "poppasswd" => "users/",
                MOVED => "",
                _ => "control/",
            };
            (format!("{directory}/{part}{name}"), Links::Follow)
        });
        let script = "cd -- \"$1\" || exit 0; for path in */*/Maildir; do [ ! -d \"$path\" ] || { \
                      path=${path%/Maildir}; [ -d \"$path/@attachments\" ] && mark=+ || mark=-; \
                      printf '%s%s\\n' \"$mark\" \"$path\"; }; done; \
                      for path in */.qmail-*; do [ ! -f \"$path\" ] || printf '.%s\\n' \"$path\"; done; \
                      for path in */.qmail-default; do [ ! -f \"$path\" ] || grep -q bouncesaying \"$path\" || \
                      printf '*%s\\n' \"${path%/*}\"; done";
        let list = Command::argv(["/bin/sh", "-c", script, "sh", &mailnames]);
        let (nodes, listed) = tokio::try_join!(host.look_all(&paths, Want::Content), host.probe(&list))?;
        let text = |index: usize| -> String {
            let bytes = nodes.get(index).and_then(Node::content).and_then(|content| content.bytes());
            qmail::decode(bytes.unwrap_or_default())
        };
        if !nodes[2].exists() && !nodes[0].exists() {
            let why = format!("`{}` has no qmail: there is no `{}`", host.name, paths[2].0);
            return Err(TransportError::Refused(why));
        }
        if let Some((_, (path, _))) = nodes
            .iter()
            .zip(&paths)
            .find(|(node, _)| node.content().is_some_and(|content| content.size > 0 && content.bytes().is_none()))
        {
            return Err(TransportError::Refused(format!("`{path}` on `{}` is too large to be read", host.name)));
        }
        let listed = listed.text();
        Ok(Installation {
            locals: qmail::entries(&text(0)).map(str::to_lowercase).collect(),
            rcpthosts: nodes[1].exists().then(|| text(1)),
            morercpthosts: text(7),
            virtualdomains: pairs(&text(2)),
            smtproutes: pairs(&text(3)),
            assign: assignments(&text(4)),
            hashes: pairs(&text(5)).into_iter().map(|(key, rest)| (key, first_field(&rest))).collect(),
            mailboxes: listed
                .lines()
                .filter(|line| line.starts_with(['+', '-']))
                .map(|line| (line[1..].to_string(), line.starts_with('+')))
                .collect(),
            catch_all: listed.lines().filter_map(|line| line.strip_prefix('*')).map(String::from).collect(),
            dot_qmails: listed.lines().filter_map(|line| line.strip_prefix('.')).map(String::from).collect(),
            databytes: qmail::number(&text(6)).unwrap_or_default(),
            moved: text(8).lines().filter_map(|line| line.split(' ').next()).map(str::to_lowercase).collect(),
            mailnames,
        })
    }

    /// Returns every domain that has mail here: those of `virtualdomains`, and those with mailboxes.
    fn domains(&self) -> BTreeSet<&str> {
        let named = self.virtualdomains.iter().filter(|(name, prefix)| qmail::is_domain(name) && !prefix.is_empty());
        let on_disk = self.mailboxes.keys().filter_map(|path| path.split('/').next());
        named.map(|(name, _)| name.as_str()).chain(on_disk).collect()
    }

    /// `asked`: `None` means all domains. An empty list does not: it is a variable that nothing was put into.
    fn select(&self, asked: Option<&[String]>, host: &str) -> Result<Vec<String>, ModuleError> {
        let known = self.domains();
        let named = |asked: &'_ [String]| -> Vec<String> {
            asked.iter().map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect()
        };
        let asked = asked.map_or_else(|| vec!["all".to_string()], named);
        if asked == ["all"] {
            return Ok(known.into_iter().map(String::from).collect());
        }
        if asked.is_empty() {
            return Err(ModuleError::failed("`domains` names none; `all` means all of them"));
        }
        let asked: BTreeSet<String> = asked.iter().map(|name| name.to_lowercase()).collect();
        match asked.iter().find(|name| !known.contains(name.as_str())) {
            Some(name) => {
                let near = nearest(name, known.iter().copied());
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                Err(ModuleError::failed(format!("`{host}` has no domain `{name}`{hint}")))
            }
            None => Ok(asked.into_iter().collect()),
        }
    }

    /// Returns the assignments whose homes are a directory or below it, each with the rest of its path.
    fn assigned_below<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a Assignment, &'a str)> {
        self.assign.iter().filter_map(move |line| {
            let rest = line.home.strip_prefix(directory)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((line, rest))
        })
    }

    /// Returns every address that is known of a domain: its accounts, mailboxes and `.qmail-EXT` files.
    fn addresses<'a>(&'a self, domain: &'a str) -> BTreeSet<String> {
        let home = format!("{}/{domain}", self.mailnames);
        let below = format!("{domain}/");
        let assigned = self.assigned_below(&home).map(|(line, _)| line).filter(|line| line.kind == '=');
        let mailboxes = self.mailboxes.keys().filter_map(|path| path.strip_prefix(&below));
        let files = self.dot_qmails.iter().filter_map(|path| path.strip_prefix(&below)?.strip_prefix(".qmail-"));
        // qmail-local writes a dot of the address as a colon; `-default` is of no one address.
        let files =
            files.filter(|name| *name != "default" && !name.ends_with("-default")).map(|name| name.replace(':', "."));
        let names = assigned.map(|line| line.local.clone()).chain(mailboxes.map(String::from)).chain(files);
        names.filter(|name| !name.is_empty()).map(|name| format!("{name}@{domain}")).collect()
    }

    fn facts(&self, domains: &[String]) -> Results {
        let mut facts = Results::new();
        let addresses: BTreeSet<String> = domains.iter().flat_map(|domain| self.addresses(domain)).collect();
        facts.insert("addresses".into(), json!(addresses));
        facts.insert("domains".into(), json!(domains));
        facts.insert("locals".into(), json!(self.locals));
        let rcpthosts: BTreeSet<String> =
            self.rcpthosts.iter().flat_map(|text| qmail::entries(text)).map(str::to_lowercase).collect();
        facts.insert("rcpthosts".into(), json!(rcpthosts));
        facts.insert("virtualdomains".into(), json!(self.virtualdomains));
        facts.insert("smtproutes".into(), json!(self.smtproutes));
        let local = domains.iter().filter(|name| self.locals.contains(*name)).collect::<Vec<_>>();
        facts.insert("local_domains".into(), json!(local));
        let is_virtual = |name: &&String| self.virtualdomains.get(*name).is_some_and(|prepend| !prepend.is_empty());
        facts.insert("virtual_domains".into(), json!(domains.iter().filter(is_virtual).collect::<Vec<_>>()));
        let caught = domains.iter().filter(|name| self.is_caught(name)).collect::<Vec<_>>();
        facts.insert("caught_domains".into(), json!(caught));
        facts.insert("catch_all".into(), self.catch_all(domains));
        let numbers: BTreeMap<_, _> =
            domains.iter().filter_map(|domain| Some((domain.as_str(), self.number(domain)?))).collect();
        facts.insert("numbers".into(), json!(numbers));
        let retired = domains.iter().filter(|name| self.moved.contains(*name)).collect::<Vec<_>>();
        facts.insert("retired_domains".into(), json!(retired));
        facts
    }

    /// Returns the number of a domain, by the lines of `users/assign` for its mailboxes; it stays there while mail goes elsewhere.
    fn number(&self, domain: &str) -> Option<&str> {
        let home = format!("{}/{domain}", self.mailnames);
        let mut lines = self.assigned_below(&home).map(|(line, _)| line);
        let prefix = lines.next()?.prefix.as_str();
        lines.all(|line| line.prefix == prefix).then_some(prefix)
    }

    fn catch_all(&self, domains: &[String]) -> Value {
        json!(domains.iter().filter(|name| self.catch_all.contains(*name)).collect::<Vec<_>>())
    }

    /// Says whether a wider entry of `virtualdomains` keeps a domain here that has none of its own (`qmail-send.8`).
    fn is_caught(&self, domain: &str) -> bool {
        let dots = domain.match_indices('.').map(|(at, _)| &domain[at..]).filter(|suffix| suffix.len() < domain.len());
        let found = dots.chain([""]).find_map(|key| self.virtualdomains.get(key));
        found.is_some_and(|prepend| !prepend.is_empty())
    }

    /// Returns what `here` must be given, made with its own numbers of domains.
    fn handed_to(&self, here: &Installation, domains: &[String], given: &Given) -> Results {
        let (mut assign, mut mailboxes, mut attachments) = (Vec::new(), Vec::new(), Vec::new());
        let mut homes = Vec::new();
        let mut problems = Vec::new();
        if here.databytes > 0 && (self.databytes == 0 || here.databytes < self.databytes) {
            let old = if self.databytes == 0 { "any size".into() } else { format!("{} bytes", self.databytes) };
            problems.push(format!(
                "the new host takes messages of at most {} bytes (`databytes`), and the old one of {old}: larger ones \
                 would bounce",
                here.databytes
            ));
        }
        for domain in domains {
            let Some(prefix) = here.virtualdomains.get(domain).filter(|prefix| !prefix.is_empty()) else {
                problems
                    .push(format!("`{domain}` is not in virtualdomains of the new host: make the domain there first"));
                continue;
            };
            if !qmail::accepts(here.rcpthosts.as_deref(), &here.morercpthosts, domain) {
                problems.push(format!("`{domain}` is not in rcpthosts of the new host: it would refuse the mail"));
            }
            if let Some(route) = here.smtproutes.get(domain) {
                problems
                    .push(format!("the new host has a route for `{domain}` to `{route}`: mail would go in a circle"));
            }
            let home = format!("{}/{domain}", self.mailnames);
            homes.push(json!({"source": home, "dest": format!("{}/{domain}", here.mailnames)}));
            for (line, rest) in self.assigned_below(&home) {
                let user = given.owner.as_deref().unwrap_or(&line.user);
                assign.push(json!({
                    "key": format!("{}{prefix}-{}", line.kind, line.local),
                    "user": user, "group": given.group.as_deref().unwrap_or(user),
                    "home": format!("{}/{domain}{rest}", here.mailnames), "dash": line.dash, "ext": line.ext,
                }));
            }
            let below = format!("{domain}/");
            for (path, attached) in self.mailboxes.iter().filter(|(path, _)| path.starts_with(&below)) {
                let pair = |name: &str| {
                    json!({
                        "source": format!("{}/{path}/{name}", self.mailnames),
                        "dest": format!("{}/{path}/{name}", here.mailnames),
                    })
                };
                mailboxes.push(pair("Maildir"));
                attachments.extend(attached.then(|| pair("@attachments")));
            }
        }
        let wanted =
            |address: &str| address.rsplit_once('@').is_some_and(|(_, domain)| domains.iter().any(|d| d == domain));
        let hashes: BTreeMap<_, _> = self.hashes.iter().filter(|(address, _)| wanted(address)).collect();
        let mut facts = Results::new();
        for (name, value) in [
            ("assign", Value::from(assign)),
            ("poppasswd", json!(hashes)),
            (HIDDEN, json!(["poppasswd"])),
            (
                "addresses",
                json!(domains.iter().flat_map(|domain| self.addresses(domain)).collect::<BTreeSet<String>>()),
            ),
            ("catch_all", self.catch_all(domains)),
            ("homes", homes.into()),
            ("mailboxes", mailboxes.into()),
            ("attachments", attachments.into()),
            ("problems", problems.into()),
        ] {
            facts.insert(name.into(), value);
        }
        facts
    }
}

impl Assignment {
    fn parse(line: &str) -> Option<Assignment> {
        let mut fields = line.get(1..)?.split(':');
        let (address, user, _, _, home) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (prefix, local) = address.split_once('-')?;
        Some(Assignment {
            kind: line.chars().next().filter(|kind| "=+".contains(*kind))?,
            prefix: prefix.into(),
            local: local.into(),
            user: user.into(),
            home: home.into(),
            dash: fields.next()?.into(),
            ext: fields.next()?.into(),
        })
    }
}

/// The assignments of a text up to its last line, the first of each key (`qmail-users.5`).
fn assignments(text: &str) -> Vec<Assignment> {
    let mut seen = BTreeSet::new();
    let lines = text.split('\n').take_while(|line| !line.starts_with('.'));
    let first = lines.filter(|line| seen.insert(line.split(':').next().unwrap_or_default().to_lowercase()));
    first.filter_map(Assignment::parse).collect()
}

/// The entries of a `key:value` file; of several with one key the last is what qmail uses.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let entries = qmail::entries(text).filter_map(|line| line.split_once(':'));
    entries.map(|(key, value)| (key.to_lowercase(), value.into())).collect()
}

fn first_field(rest: &str) -> String {
    rest.split(':').next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Installation {
        Installation {
            mailnames: "/m".into(),
            virtualdomains: pairs("# x\nExample.com:7\nbob@example.com:\n"),
            assign: assignments(
                "=7-ann:popuser:110:31:/m/example.com/ann:::\n=7-Ann:popuser:110:31:/m/example.com/zoe:::\n\
                 +7-:popuser:110:31:/m/example.com:-::\n.\n=7-late:popuser:110:31:/m/example.com/late:::\n",
            ),
            hashes: pairs("ann@example.com:$1$a$b:x\nzoe@other.example:$1$c$d\n")
                .into_iter()
                .map(|(key, rest)| (key, first_field(&rest)))
                .collect(),
            mailboxes: [("example.com/ann".to_string(), true)].into(),
            dot_qmails: ["example.com/.qmail-sales:team", "example.com/.qmail-default", "other.org/.qmail-x"]
                .map(String::from)
                .into(),
            ..Installation::default()
        }
    }

    #[test]
    fn accounts_are_made_with_the_numbers_of_the_new_host() {
        let here = Installation {
            mailnames: "/n".into(),
            virtualdomains: pairs("example.com:31\n"),
            rcpthosts: Some("other.org\n".into()),
            morercpthosts: ".COM\n".into(),
            ..Installation::default()
        };
        let given = Given {
            domains: None,
            directory: None,
            mailnames: None,
            from: None,
            from_directory: None,
            from_mailnames: None,
            owner: Some("mail".into()),
            group: None,
        };
        let facts = old().handed_to(&here, &["example.com".into()], &given);
        assert_eq!(facts["problems"], json!([]));
        assert_eq!(
            facts["assign"][0],
            json!({"key": "=31-ann", "user": "mail", "group": "mail", "home": "/n/example.com/ann", "dash": "", "ext": ""})
        );
        assert_eq!((&facts["assign"][1]["key"], &facts["assign"][1]["dash"]), (&json!("+31-"), &json!("-")));
        assert_eq!(facts["poppasswd"], json!({"ann@example.com": "$1$a$b"}));
        assert_eq!(facts["addresses"], json!(["ann@example.com", "sales.team@example.com"]));
        assert_eq!(facts["homes"], json!([{"source": "/m/example.com", "dest": "/n/example.com"}]));
        assert_eq!(facts["mailboxes"][0]["dest"], "/n/example.com/ann/Maildir");
        let small = Installation { databytes: 1000, ..here };
        let facts = old().handed_to(&small, &["example.com".into()], &given);
        assert!(facts["problems"][0].as_str().unwrap().contains("at most 1000 bytes (`databytes`)"), "{facts:?}");
        let facts = old().handed_to(&Installation::default(), &["example.com".into()], &given);
        assert!(facts["problems"][0].as_str().unwrap().contains("virtualdomains of the new host"));
    }

    #[test]
    fn a_wider_entry_keeps_a_domain_here_and_a_carriage_return_is_part_of_an_entry() {
        for (text, caught) in [
            ("example.com:7\n", false),
            ("example.com:7\n:all\n", true),
            ("example.com:\n.com:all\n", true),
            (".com:\n:all\n", false),
            ("com:all\n", false),
        ] {
            let host = Installation { virtualdomains: pairs(text), ..Installation::default() };
            assert_eq!(host.is_caught("example.com"), caught, "{text}");
        }
        assert_eq!(pairs("example.com:7\r\n")["example.com"], "7\r");
        assert_eq!((qmail::number("10M\n"), qmail::number("many")), (Some(10), None));
    }

    #[test]
    fn a_domain_that_was_forwarded_already_is_still_known_by_its_mailboxes() {
        let forwarded = Installation { virtualdomains: BTreeMap::new(), ..old() };
        assert_eq!(forwarded.select(Some(&["all".into()]), "old").unwrap(), ["example.com"]);
        assert_eq!(forwarded.number("example.com"), Some("7"));
        // A variable that nothing was put into does not mean all.
        assert!(
            forwarded.select(Some(&["".into(), " ".into()]), "old").unwrap_err().to_string().contains("names none")
        );
        let error = forwarded.select(Some(&["exmaple.com".into()]), "old").unwrap_err().to_string();
        assert!(error.contains("did you mean `example.com`?"), "{error}");
    }
}
