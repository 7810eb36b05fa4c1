//! What becomes of mail to each address of a host: its class, and the Maildirs in which it arrives (`qmail-users.5`, `dot-qmail.5`).

use std::collections::{BTreeMap, BTreeSet};

use super::dangers::ANYBODY;
use super::qmail;

/// How many forwards are followed from one to the next.
const FORWARDS: u8 = 8;

/// A line of `users/assign`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assigned {
    exact: bool,
    key: String,
    home: String,
    dash: String,
    ext: String,
}

/// A host's files, as read.
#[derive(Debug, Default)]
pub struct Files {
    pub virtualdomains: String,
    assigned: Vec<Assigned>,
    /// The texts of `.qmail` files and of `maildirsize`, by path.
    pub texts: BTreeMap<String, String>,
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Mailbox,
    Alias,
    Forward,
    Group,
    Autoresponder,
    List,
    CatchAll,
    Postmaster,
    /// A program that is not known here gets the mail.
    Program,
    /// Nobody gets it.
    Nobody,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Mailbox => "mailbox",
            Class::Alias => "alias",
            Class::Forward => "forward",
            Class::Group => "group",
            Class::Autoresponder => "autoresponder",
            Class::List => "list",
            Class::CatchAll => "catch-all",
            Class::Postmaster => "postmaster",
            Class::Program => "program",
            Class::Nobody => "nobody",
        }
    }
}

/// Where mail to an address goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    pub maildirs: BTreeSet<String>,
    /// Addresses that are not this host's.
    pub outside: BTreeSet<String>,
    /// Those of its own that it is passed on to.
    pub inside: BTreeSet<String>,
    answers: bool,
    list: bool,
    program: bool,
    refused: bool,
}

/// An address with its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub address: String,
    pub class: Class,
    pub ways: Ways,
}

impl Address {
    /// Says why no test message may go there; nothing where it arrives here and nowhere else.
    pub fn is_not_tried(&self) -> Option<String> {
        let Ways { maildirs, outside, program, list, .. } = &self.ways;
        match () {
            () if *list => Some("a test message would go to its subscribers".into()),
            () if !outside.is_empty() => {
                Some(format!("it leads to {}", outside.iter().map(String::as_str).collect::<Vec<_>>().join(", ")))
            }
            () if *program => Some("a program that is not known here gets its mail".into()),
            () if maildirs.is_empty() => Some("its mail arrives in no mailbox".into()),
            () => None,
        }
    }
}

impl Files {
    pub fn new(virtualdomains: String, assign: &str) -> Files {
        let assigned = assign.lines().filter_map(|line| {
            let fields: Vec<&str> = line.get(1..)?.split(':').collect();
            let [key, _, _, _, home, dash, ext] = *fields.get(..7)?.first_chunk()?;
            let exact = match line.as_bytes()[0] {
                b'=' => true,
                b'+' => false,
                _ => return None,
            };
            let text = |text: &str| text.to_string();
            Some(Assigned { exact, key: key.to_lowercase(), home: text(home), dash: text(dash), ext: text(ext) })
        });
        Files { virtualdomains, assigned: assigned.collect(), texts: BTreeMap::new() }
    }

    /// Returns the addresses of a domain that are known, each with its class: those assigned, those with a file of their own,
    /// the postmaster, and one that nobody has where that is taken.
    pub fn addresses(&self, domain: &str) -> Vec<Address> {
        let Some(prepend) = self.prepend(domain) else { return Vec::new() };
        let prefix = format!("{}-", prepend.to_lowercase());
        let assigned = self.assigned.iter().filter(|line| line.exact);
        let assigned = assigned.filter_map(|line| line.key.strip_prefix(&prefix)).map(str::to_string);
        // Where all of the domain is assigned, its files are of addresses.
        let whole = self.assigned.iter().find(|line| !line.exact && line.key == prefix);
        let files = whole.into_iter().flat_map(|line| {
            let start = format!("{}/.qmail{}{}", line.home, line.dash, line.ext);
            self.texts.keys().filter_map(move |path| path.strip_prefix(&start).map(|ext| ext.replace(':', ".")))
        });
        let files = files.filter(|ext| *ext != "default" && !ext.ends_with("-default") && !ext.contains('/'));
        let mut locals: BTreeSet<String> = assigned.chain(files).filter(|local| !local.is_empty()).collect();
        locals.extend(["postmaster".to_string(), ANYBODY.to_string()]);
        let class = |local: String| {
            let address = format!("{local}@{domain}");
            let mut ways = Ways::default();
            self.follow(&address, &mut ways, FORWARDS);
            Address { class: self.class(&local, &prefix, &ways), address, ways }
        };
        let found = locals.into_iter().map(class);
        found.filter(|found| !(found.class == Class::Nobody && found.address.starts_with(ANYBODY))).collect()
    }

    fn prepend(&self, domain: &str) -> Option<&str> {
        qmail::value(&self.virtualdomains, domain).filter(|prepend| !prepend.is_empty())
    }

    fn class(&self, local: &str, prefix: &str, ways: &Ways) -> Class {
        let nobody =
            ways.maildirs.is_empty() && ways.outside.is_empty() && !ways.program && !ways.list && !ways.answers;
        let passed_on = ways.inside.len() + ways.outside.len();
        let key = format!("{prefix}{local}");
        let exact = self.assigned.iter().find(|line| line.exact && line.key == key);
        let of_another =
            exact.is_some_and(|line| line.dash.is_empty() && !line.home.to_lowercase().ends_with(&format!("/{local}")));
        match () {
            () if nobody => Class::Nobody,
            () if local == ANYBODY => Class::CatchAll,
            () if local == "postmaster" => Class::Postmaster,
            () if ways.list => Class::List,
            () if ways.answers => Class::Autoresponder,
            () if passed_on > 1 => Class::Group,
            () if passed_on == 1 => Class::Forward,
            () if ways.program => Class::Program,
            () if of_another => Class::Alias,
            () => Class::Mailbox,
        }
    }

    /// Adds where mail to an address goes.
    fn follow(&self, address: &str, ways: &mut Ways, left: u8) {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        let Some(prepend) = self.prepend(domain) else {
            ways.outside.insert(address.into());
            return;
        };
        let local = format!("{prepend}-{local}").to_lowercase();
        let exact = self.assigned.iter().find(|line| line.exact && line.key == local);
        let prefixes = self.assigned.iter().filter(|line| !line.exact && local.starts_with(&line.key));
        let Some(line) = exact.or_else(|| prefixes.max_by_key(|line| line.key.len())) else {
            ways.refused = true;
            return;
        };
        let rest = if line.exact { "" } else { &local[line.key.len()..] };
        let ext = format!("{}{rest}", line.ext);
        let Some(text) = self.dot_qmail(line, &ext) else {
            match line.dash.is_empty() {
                true => drop(ways.maildirs.insert(format!("{}/Maildir", line.home))),
                false => ways.refused = true,
            }
            return;
        };
        // An empty file, too, is the host's own delivery.
        let text = if text.trim().is_empty() { "./Maildir/" } else { text };
        for line_of in text.lines() {
            self.instruction(line_of.trim_end(), &line.home, (ways, left));
        }
    }

    fn instruction(&self, line: &str, home: &str, (ways, left): (&mut Ways, u8)) {
        let path = |name: &str| match name.strip_prefix("./") {
            Some(below) => format!("{home}/{}", below.trim_end_matches('/')),
            None if name.starts_with('/') => name.trim_end_matches('/').to_string(),
            None => format!("{home}/{}", name.trim_end_matches('/')),
        };
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'.' | b'/') if line.ends_with('/') => drop(ways.maildirs.insert(path(line))),
            // An mbox: nothing here looks into one.
            Some(b'.' | b'/') => ways.program = true,
            Some(b'|') => {
                let mut words = line[1..].split_whitespace();
                let program = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_string();
                match program.as_str() {
                    "true" => {}
                    "bouncesaying" => ways.refused = true,
                    "deliverquota" => drop(ways.maildirs.insert(path(words.next().unwrap_or("./Maildir")))),
                    name if name.contains("autorespon") || name == "vacation" => ways.answers = true,
                    name if name.starts_with("ezmlm-") || name == "mailman" || name == "majordomo" => ways.list = true,
                    _ => ways.program = true,
                }
            }
            Some(_) => {
                let address = line.trim_start_matches('&').trim().to_lowercase();
                let (own, domain) = (address.contains('@'), address.rsplit_once('@').map_or("", |(_, domain)| domain));
                if own && self.prepend(domain).is_some() {
                    if ways.inside.insert(address.clone()) && left > 0 {
                        self.follow(&address, ways, left - 1);
                    }
                } else {
                    ways.outside.insert(address);
                }
            }
        }
    }

    /// Returns the text of the file that qmail-local takes: the address's own, then the defaults from the longest on.
    fn dot_qmail(&self, line: &Assigned, ext: &str) -> Option<&str> {
        let ext = ext.replace('.', ":");
        let at = |name: &str| self.texts.get(&format!("{}/.qmail{}{name}", line.home, line.dash)).map(String::as_str);
        let dashes = ext.match_indices('-').map(|(at, _)| format!("{}default", &ext[..=at]));
        let mut names: Vec<String> = dashes.collect();
        names.reverse();
        let default = (!line.dash.is_empty()).then(|| "default".to_string());
        std::iter::once(ext.clone()).chain(names).chain(default).find_map(|name| at(&name))
    }

    /// Says what becomes of mail for a mailbox that is full, by what its `.qmail` gives it to.
    pub fn when_full(&self, home: &str) -> &'static str {
        let text = self.texts.get(&format!("{home}/.qmail")).map_or("", String::as_str);
        let has = |sign: &dyn Fn(&str) -> bool| text.lines().any(|line| sign(line.trim()));
        match () {
            () if has(&|line| line.starts_with('|') && line.contains("deliverquota")) => "bounces",
            () if text.trim().is_empty() || has(&|line| line.starts_with(['.', '/'])) => "is delivered",
            () => "unknown",
        }
    }

    /// Returns the Maildirs that have no room left, by the sums of their `maildirsize`.
    pub fn full(&self) -> Vec<&str> {
        let is_full = |text: &str| {
            let mut lines = text.lines();
            let quota = lines.next().unwrap_or_default();
            let limit = |letter: char| {
                let found = quota.split(',').find_map(|part| part.trim().strip_suffix(letter)?.parse::<i64>().ok());
                found.filter(|limit| *limit > 0)
            };
            let sum = |field: usize, lines: std::str::Lines<'_>| -> i64 {
                lines.filter_map(|line| line.split_whitespace().nth(field)?.parse::<i64>().ok()).sum()
            };
            limit('S').is_some_and(|limit| sum(0, lines.clone()) >= limit)
                || limit('C').is_some_and(|limit| sum(1, lines.clone()) >= limit)
        };
        let sizes = self.texts.iter().filter_map(|(path, text)| Some((path.strip_suffix("/maildirsize")?, text)));
        sizes.filter(|(_, text)| is_full(text)).map(|(path, _)| path).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let assign = "=7-ann:u:1:1:/m/a.example/ann:::\n=7-anna:u:1:1:/m/a.example/ann:::\n=7-bob:u:1:1:/m/a.example/bob:::\n\
                      =7-away:u:1:1:/m/a.example/away:::\n+7-:u:1:1:/m/a.example:-::\n=8-zoe:u:1:1:/m/b.example/zoe:::\n.\n";
        let mut files = Files::new("a.example:7\nb.example:8\n".into(), assign);
        for (path, text) in [
            ("a.example/ann/.qmail", "| true\n| /usr/bin/deliverquota ./Maildir\n"),
            ("a.example/ann/Maildir/maildirsize", "100S\n60 1\n40 1\n"),
            ("a.example/bob/Maildir/maildirsize", "100S,5C\n60 1\n-10 -1\n"),
            ("a.example/away/.qmail", "|/usr/bin/autoresponder x\n./Maildir/\n"),
            ("a.example/.qmail-all", "&ann@a.example\n&bob@a.example\n"),
            ("a.example/.qmail-sales:team", "&zoe@b.example\n"),
            ("a.example/.qmail-out", "&x@elsewhere.example\n"),
            ("a.example/.qmail-news", "|/usr/bin/ezmlm-send '/l'\n"),
            ("a.example/.qmail-loop", "&loop@a.example\n"),
            ("a.example/.qmail-default", "&ann@a.example\n"),
        ] {
            files.texts.insert(format!("/m/{path}"), text.into());
        }
        files
    }

    #[test]
    fn every_address_has_its_class_and_the_maildirs_where_it_arrives() {
        let files = files();
        let told: Vec<(String, &str, String)> = files
            .addresses("a.example")
            .iter()
            .map(|found| {
                let why = found.is_not_tried().unwrap_or_else(|| {
                    found.ways.maildirs.iter().map(String::as_str).collect::<Vec<_>>().join(" ").replace("/Maildir", "")
                });
                (found.address.replace("@a.example", ""), found.class.name(), why)
            })
            .collect();
        let told: Vec<String> = told.iter().map(|(local, class, why)| format!("{local}: {class}: {why}")).collect();
        assert_eq!(
            told,
            [
                "all: group: /m/a.example/ann /m/a.example/bob",
                "ann: mailbox: /m/a.example/ann",
                "anna: alias: /m/a.example/ann",
                "away: autoresponder: /m/a.example/away",
                "bob: mailbox: /m/a.example/bob",
                "loop: nobody: its mail arrives in no mailbox",
                "news: list: a test message would go to its subscribers",
                "no-such-user-here: catch-all: /m/a.example/ann",
                "out: forward: it leads to x@elsewhere.example",
                "postmaster: postmaster: /m/a.example/ann",
                "sales.team: forward: /m/b.example/zoe",
            ]
        );
    }

    #[test]
    fn an_address_that_nobody_has_is_none_where_it_is_refused() {
        let mut files = files();
        files.texts.insert("/m/a.example/.qmail-default".into(), "|bouncesaying 'no'\n".into());
        let found = files.addresses("a.example");
        let class = |local: &str| found.iter().find(|found| found.address.starts_with(local)).map(|found| found.class);
        assert_eq!((class("no-such"), class("postmaster")), (None, Some(Class::Nobody)));
        assert!(files.addresses("c.example").is_empty());
    }

    #[test]
    fn a_full_mailbox_is_one_whose_counts_reach_its_quota_and_deliverquota_bounces() {
        let files = files();
        assert_eq!(files.full(), ["/m/a.example/ann/Maildir"]);
        assert_eq!(files.when_full("/m/a.example/ann"), "bounces");
        assert_eq!(files.when_full("/m/a.example/away"), "is delivered");
        assert_eq!(files.when_full("/m/a.example/nothing"), "is delivered");
    }
}
