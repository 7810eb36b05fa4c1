//! `mail_probe`: what an SMTP, POP3 or IMAP server answers, asked from a host, with nothing sent. Reads only.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Address, TransportError};

use line::Conversation;
use smtp::{Heard, Reply};

mod boxes;
mod line;
mod smtp;

pub const ENTRY: Entry = Entry {
    name: "mail_probe",
    summary: "Asks a mail server from a host which addresses it takes, whether it relays, and whether a login works",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: What the new host would take\n  mail_probe:\n    host: 127.0.0.1\n    port: 25\n    accepted: ann@example.com\n    unknown: nobody-has-this@example.com\n    foreign: somebody@foreign.example\n  register: answers\n",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("host", Kind::Text, "The name or address to connect to from the host. The default is `127.0.0.1`."),
    Argument::new("port", Kind::Int, "The TCP port. The default is 25, 110 or 143, as `protocol` says."),
    Argument::new("protocol", Kind::Text, "What is spoken there, without TLS. The default is `smtp`.")
        .choices(&["smtp", "pop3", "imap"]),
    Argument::new(
        "server",
        Kind::Text,
        "The host of the inventory that answers there: a check does not judge what is planned for it.",
    ),
    Argument::new("accepted", Kind::List, "Addresses that must be taken."),
    Argument::new(
        "unknown",
        Kind::List,
        "Addresses of its domains that nobody has: to take them is to bounce them later, to forged senders.",
    ),
    Argument::new("foreign", Kind::List, "Addresses of other domains: to take them is to relay for whoever asks."),
    Argument::new("sender", Kind::Text, "The envelope's sender. The default is the empty one, of bounces."),
    Argument::new("helo", Kind::Text, "The name to greet with. The default is `localhost`."),
    Argument::new("size", Kind::Int, "The size in bytes that a message may have at least."),
    Argument::new(
        "user",
        Kind::Text,
        "The account of a login by POP3 or IMAP: the server may move its messages from `new` to `cur`.",
    ),
    Argument::new("password", Kind::Text, "Its password; give the task `no_log: true`."),
    Argument::new("timeout", Kind::Int, "Seconds to wait for each answer. The default is 30."),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Smtp,
    Pop3,
    Imap,
}

#[derive(Deserialize)]
struct Given {
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    protocol: Protocol,
    server: Option<String>,
    #[serde(default)]
    accepted: Vec<String>,
    #[serde(default)]
    unknown: Vec<String>,
    #[serde(default)]
    foreign: Vec<String>,
    #[serde(default)]
    sender: String,
    helo: Option<String>,
    size: Option<u64>,
    user: Option<String>,
    password: Option<String>,
    timeout: Option<u64>,
}

struct MailProbe {
    given: Given,
    address: Address,
    limit: Duration,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let smtp = given.protocol == Protocol::Smtp;
    let addresses = [&given.accepted, &given.unknown, &given.foreign];
    if !smtp && (addresses.iter().any(|list| !list.is_empty()) || given.size.is_some()) {
        return Err(Diagnostic::new("`mail_probe` asks for addresses and `size` by `protocol: smtp` alone"));
    }
    if smtp && given.user.is_some() {
        return Err(Diagnostic::new("`user` of `mail_probe` needs `protocol: pop3` or `imap`"));
    }
    if given.user.is_some() != given.password.is_some() {
        return Err(Diagnostic::new("`mail_probe` takes `user` and `password` together"));
    }
    let words = [&given.helo, &given.user, &given.password].into_iter().flatten();
    if words.into_iter().any(|word| word.contains(['\r', '\n', '\0'])) {
        return Err(Diagnostic::new("a word of `mail_probe` has a line end in it"));
    }
    let odd = |address: &&String| {
        !address.is_ascii() || address.bytes().any(|byte| byte <= b' ' || b"<>".contains(&byte) || byte == 127)
    };
    if let Some(address) = addresses.into_iter().flatten().chain([&given.sender]).find(odd) {
        return Err(Diagnostic::new(format!("{address:?} is no address for `mail_probe`")));
    }
    if let Some(address) = addresses.into_iter().flatten().find(|address| !address.contains('@')) {
        return Err(Diagnostic::new(format!("the address `{address}` has no domain")));
    }
    let usual = match given.protocol {
        Protocol::Smtp => 25,
        Protocol::Pop3 => 110,
        Protocol::Imap => 143,
    };
    let address = Address::new(given.host.as_deref().unwrap_or("127.0.0.1"), given.port.unwrap_or(usual));
    let limit = Duration::from_secs(given.timeout.unwrap_or(30));
    Ok(Box::new(MailProbe { given, address, limit }))
}

#[async_trait]
impl Module for MailProbe {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let (mut results, mut problems) = (Results::new(), Vec::new());
        match host.dial(&self.address, self.limit).await {
            Ok(stream) => {
                let mut conversation = Conversation::new(stream, self.limit);
                match self.given.protocol {
                    Protocol::Smtp => self.ask_smtp(&mut conversation, &mut results, &mut problems).await,
                    _ => self.log_in(&mut conversation, &mut results, &mut problems).await,
                }
            }
            Err(TransportError::Refused(why)) => problems.push(why),
            Err(other) => return Err(other.into()),
        }
        if let Some(problem) = problems.first()
            && self.is_about_to_change(host).await?
        {
            return Err(ModuleError::Unknown(format!("the changes before it: {problem}").into()));
        }
        results.insert("problems".into(), problems.into());
        Ok(Planned::new(Vec::new(), results))
    }
}

impl MailProbe {
    /// Says whether a check has planned changes for the host that answers, or that asks.
    async fn is_about_to_change(&self, host: &View) -> Result<bool, ModuleError> {
        Ok(host.plans_ahead()
            || match &self.given.server {
                Some(server) => host.peer(server).await?.plans_ahead(),
                None => false,
            })
    }

    async fn ask_smtp(&self, conversation: &mut Conversation, results: &mut Results, problems: &mut Vec<String>) {
        let given = &self.given;
        // Those that must be refused come last: a server may end the session for too many of them.
        let lists = [&given.accepted, &given.unknown, &given.foreign];
        let addresses: Vec<&str> = lists.into_iter().flatten().map(String::as_str).collect();
        let mut heard = Heard::default();
        let helo = given.helo.as_deref().unwrap_or("localhost");
        let ended = smtp::ask(conversation, (helo, &given.sender), &addresses, &mut heard).await;
        problems.extend(ended.err().map(|why| format!("{}: {why}", self.address)));
        problems.extend(self.judge(&heard));
        let verdict = |(address, reply): (&String, &Reply)| {
            (address.clone(), json!({"code": reply.code, "text": reply.text, "accepted": reply.is_positive()}))
        };
        let verdicts: serde_json::Map<String, Value> = heard.verdicts.iter().map(verdict).collect();
        results.insert("banner".into(), json!(heard.banner));
        results.insert("extensions".into(), json!(heard.extensions));
        results.insert("size".into(), json!(heard.size()));
        results.insert("starttls".into(), json!(heard.offers("STARTTLS")));
        results.insert("addresses".into(), verdicts.into());
    }

    /// Returns what is otherwise than asked, a text for each address.
    fn judge(&self, heard: &Heard) -> Vec<String> {
        let given = &self.given;
        let place = &self.address;
        let replies = |list: &'_ [String]| -> Vec<(String, Reply)> {
            list.iter().filter_map(|address| Some((address.clone(), heard.verdicts.get(address)?.clone()))).collect()
        };
        let mut problems = Vec::new();
        for (address, reply) in replies(&given.accepted) {
            if !reply.is_positive() {
                let verb = if reply.is_for_good() { "refuses" } else { "defers" };
                problems.push(format!("{place} {verb} `{address}`: {reply}"));
            }
        }
        for (address, reply) in replies(&given.unknown) {
            if reply.is_positive() {
                problems.push(format!("{place} takes `{address}`, which nobody has: it will bounce to forged senders"));
            } else if !reply.is_for_good() {
                problems.push(format!("{place} defers `{address}`, which nobody has, and does not refuse it: {reply}"));
            }
        }
        for (address, _) in replies(&given.foreign).iter().filter(|(_, reply)| reply.is_positive()) {
            problems.push(format!("{place} takes `{address}` from here: it is an open relay for this host"));
        }
        if let Some(least) = given.size
            && let Some(size) = heard.size().filter(|size| *size > 0 && *size < least)
        {
            problems.push(format!("{place} takes messages of at most {size} bytes, and not of {least}"));
        }
        problems
    }

    async fn log_in(&self, conversation: &mut Conversation, results: &mut Results, problems: &mut Vec<String>) {
        let login = self.given.user.as_deref().zip(self.given.password.as_deref());
        let answered = match self.given.protocol {
            Protocol::Imap => boxes::imap(conversation, login).await,
            _ => boxes::pop3(conversation, login).await,
        };
        match answered {
            Ok(found) => results.extend(BTreeMap::from(found).into_iter().map(|(name, value)| (name.into(), value))),
            Err(why) => problems.push(format!("{}: {why}", self.address)),
        }
    }
}

#[cfg(test)]
mod tests;
