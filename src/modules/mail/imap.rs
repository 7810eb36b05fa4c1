//! Files of courier's and dovecot's IMAP servers: subscriptions and keywords as texts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    Courier,
    Dovecot,
}

impl Server {
    /// Returns whose a file is.
    pub fn of(path: &str) -> Option<Server> {
        let mut parts = path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        match name {
            _ if name.starts_with("dovecot-") || name == "subscriptions" => Some(Server::Dovecot),
            _ if name.starts_with("courierimap") || parts.next() == Some("courierimapkeywords") => {
                Some(Server::Courier)
            }
            _ => None,
        }
    }
}

/// The header of dovecot's second version of the file, in which tabs separate the parts of a name.
const SECOND: &str = "V\t2\n\n";

/// Reads the folders that a user is subscribed to, of either server, as Maildir++ names without their first dot.
pub fn subscribed(text: &str) -> Vec<String> {
    let (text, is_second) = text.strip_prefix(SECOND).map_or((text, false), |rest| (rest, true));
    let name = |line: &str| {
        let line = line.trim_end_matches('\r');
        let name = if is_second { line.replace('\t', ".") } else { line.to_string() };
        name.strip_prefix("INBOX.").map(String::from).unwrap_or(name)
    };
    text.lines().map(name).filter(|name| !name.is_empty()).collect()
}

/// Returns the file of a server with these folders in it, behind those that it has.
pub fn with_subscriptions(here: &str, names: &BTreeSet<String>, server: Server) -> String {
    let known = subscribed(here);
    let is_second = here.starts_with(SECOND);
    let mut text = here.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for name in names.iter().filter(|name| !known.contains(name)) {
        text += &match server {
            Server::Courier if name != "INBOX" => format!("INBOX.{name}\n"),
            Server::Dovecot if is_second => format!("{}\n", name.replace('.', "\t")),
            _ => format!("{name}\n"),
        };
    }
    text
}

/// Returns `dovecot-keywords` here with those of the other host, which are numbers and names: the letters `a` to `z` in names of
/// messages are these numbers. Nothing where a number or a name would mean two things.
pub fn with_keywords(here: &str, old: &str) -> Option<String> {
    let read = |text: &str| -> BTreeMap<u32, String> {
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(number, name)| Some((number.parse().ok()?, name.to_string()))).collect()
    };
    let mut all = read(here);
    for (number, name) in read(old) {
        let elsewhere = all.iter().any(|(other, known)| *other != number && known.eq_ignore_ascii_case(&name));
        if elsewhere || all.get(&number).is_some_and(|known| !known.eq_ignore_ascii_case(&name)) {
            return None;
        }
        all.entry(number).or_insert(name);
    }
    Some(all.iter().map(|(number, name)| format!("{number} {name}\n")).collect())
}

/// Says whether all keywords of another host's `dovecot-keywords` are in that here, with their numbers.
pub fn has_keywords(here: &str, old: &str) -> bool {
    with_keywords(here, old).is_some_and(|all| Some(all) == with_keywords(here, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_of_one_server_are_those_of_the_other() {
        let names: BTreeSet<String> = subscribed("INBOX\nINBOX.Sent\nINBOX.Work.2024\n").into_iter().collect();
        assert_eq!(with_subscriptions("Trash\nSent", &names, Server::Dovecot), "Trash\nSent\nINBOX\nWork.2024\n");
        assert_eq!(with_subscriptions("V\t2\n\n", &names, Server::Dovecot), "V\t2\n\nINBOX\nSent\nWork\t2024\n");
        let names: BTreeSet<String> = subscribed("V\t2\n\nSent\nWork\t2024\n").into_iter().collect();
        assert_eq!(with_subscriptions("", &names, Server::Courier), "INBOX.Sent\nINBOX.Work.2024\n");
        let made = with_subscriptions("", &names, Server::Courier);
        assert_eq!(with_subscriptions(&made, &names, Server::Courier), made);
    }

    #[test]
    fn letters_of_keywords_never_come_to_mean_others() {
        assert_eq!(with_keywords("", "0 $Label1\n1 Junk\n").as_deref(), Some("0 $Label1\n1 Junk\n"));
        assert_eq!(with_keywords("0 $label1\n", "0 $Label1\n2 Junk\n").as_deref(), Some("0 $label1\n2 Junk\n"));
        assert_eq!(with_keywords("0 Junk\n", "0 $Label1\n"), None);
        assert_eq!(with_keywords("1 Junk\n", "0 Junk\n"), None);
        assert!(has_keywords("1 Junk\n0 $label1\n", "0 $Label1\n") && !has_keywords("0 Junk\n", "0 Junk\n1 x\n"));
    }
}
