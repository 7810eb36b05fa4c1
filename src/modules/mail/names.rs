//! Relays by name: qmail-remote asks DNS for their addresses, and never `/etc/hosts`.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use crate::change::records::DIAL;
use crate::dns::{Answer, Client, Question};
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::{Address, Content, Want};

use super::qmail::{self, Relay};

/// What a host's name servers say of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dns {
    HasAddress,
    /// There is no such name, or no A record: mail bounces at once (#5.1.2).
    HasNone,
    /// None of them has said.
    Unknown,
}

/// A line of `smtproutes` whose relay is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub number: usize,
    pub line: String,
    pub key: String,
    /// In lower case.
    pub host: String,
}

/// Returns the lines of `smtproutes` that count and lead to names.
pub fn named(smtproutes: &str) -> Vec<Named> {
    let lines = qmail::numbered(smtproutes).filter_map(|(number, line)| {
        let (key, value) = line.split_once(':')?;
        let relay = Relay::read(value).ok().filter(|relay| relay.address().is_none())?;
        let counts = qmail::value(smtproutes, key) == Some(value);
        let host = relay.host.to_ascii_lowercase();
        counts.then(|| Named { number, line: line.into(), key: key.to_ascii_lowercase(), host })
    });
    lines.collect()
}

/// Asks the name servers of the host's `/etc/resolv.conf`, as qmail-remote does, each until one has an answer.
pub async fn ask(host: &View, names: &BTreeSet<String>) -> Result<BTreeMap<String, Dns>, ModuleError> {
    let mut found: BTreeMap<String, Dns> = names.iter().map(|name| (name.clone(), Dns::Unknown)).collect();
    if names.is_empty() {
        return Ok(found);
    }
    let node = host.look("/etc/resolv.conf", Want::Content).await?;
    let text = node.content().and_then(Content::bytes).map(qmail::decode).unwrap_or_default();
    let questions: Vec<Question> =
        names.iter().map(|name| Question { recursive: true, ..Question::new(&absolute(name), "A") }).collect();
    let all = join_all(servers(&text).into_iter().map(|server| {
        let questions = &questions;
        async move {
            let stream = host.dial(&server, DIAL).await.ok()?;
            Client::new(stream, &server, None).ask(questions).await.ok()
        }
    }));
    for answers in all.await.into_iter().flatten() {
        for (name, said) in names.iter().zip(answers.iter().map(judge)) {
            if let Some(known) = found.get_mut(name).filter(|known| **known == Dns::Unknown) {
                *known = said;
            }
        }
    }
    Ok(found)
}

fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.into() } else { format!("{name}.") }
}

/// The servers that `resolv.conf` names, three at most; the host itself where it names none (`resolv.conf.5`).
fn servers(text: &str) -> Vec<Address> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let named: Vec<Address> =
        lines.filter_map(|rest| Some(Address::new(rest.split_whitespace().next()?, 53))).take(3).collect();
    if named.is_empty() { vec![Address::new("127.0.0.1", 53)] } else { named }
}

fn judge(answer: &Answer) -> Dns {
    match answer.code.as_str() {
        "NOERROR" if answer.records.iter().any(|record| record.kind == "A") => Dns::HasAddress,
        // A server that does not ask others knows nothing of an alias's target.
        "NOERROR" if answer.records.is_empty() => Dns::HasNone,
        "NXDOMAIN" => Dns::HasNone,
        _ => Dns::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_count_and_lead_to_names_are_read_with_their_numbers() {
        let text = "# all\na.example:10.0.0.1\nB.example:Relay.example:2525\n\n:smart.example\na.example:\nb.c:x y\n";
        let found = named(text);
        let short: Vec<_> = found.iter().map(|named| (named.number, named.key.as_str(), named.host.as_str())).collect();
        assert_eq!(short, [(3, "b.example", "relay.example"), (5, "", "smart.example")]);
        assert_eq!(named("a.example:old.example\na.example:10.0.0.1\n"), []);
    }

    #[test]
    fn the_first_three_name_servers_are_asked_or_the_host_itself() {
        let text = "search a.example\nnameserver 10.0.0.1\nnameserver\t10.0.0.2 # second\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let named: Vec<String> = servers(text).iter().map(|server| server.host.clone()).collect();
        assert_eq!(named, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(servers("options edns0\n"), [Address::new("127.0.0.1", 53)]);
    }
}
