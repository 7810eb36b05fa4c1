//! `mail_logins`: who fetches and submits mail at a host, by which of its addresses and names, when last. Reads its logs only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::logs::{self, Fields};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;

pub const ENTRY: Entry = Entry {
    name: "mail_logins",
    summary: "Reads from a mail host's logs who logs in by POP3, IMAP or submission, to which address, when last, and from where",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: Who still reads mail here\n  mail_logins:\n    domains: example.com\n    logs: /var/log/mail.log\n  register: here\n",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("domains", Kind::List, "The domains of the users. A user without a domain is told with all of them.")
        .required(),
    Argument::new(
        "clients",
        Kind::List,
        "Sessions from these addresses alone: at the new host those of the old one, which passes its users' sessions on.",
    ),
    Argument::new(
        "logs",
        Kind::List,
        "The logs, as paths or patterns of them: syslog's of courier, dovecot, Plesk's smtp_auth and vpopmail, dovecot's own, \
         multilog's of tcpserver. By default all of the usual places.",
    ),
    Argument::new("days", Kind::Int, "How many days of the logs are read, at most 366. The default is 31."),
    Argument::new(
        "megabytes",
        Kind::Int,
        "How much of the logs is read, the newest first; a warning names what was left out. Packed ones count ten times. The \
         default is 4000.",
    ),
    Argument::new("timeout", Kind::Int, "Seconds that reading the logs may take. The default is 600."),
    Argument::new("shown", Kind::Int, "How many users `lines` has, those that came last first. The default is 20."),
];

/// Where servers log who comes: Plesk's, syslog's, dovecot's own, multilog's by the usual names of their directories.
const PLACES: &[&str] = &[
    "/usr/local/psa/var/log/maillog",
    "/usr/local/psa/var/log/maillog.*",
    "/var/log/maillog",
    "/var/log/maillog[.-]*",
    "/var/log/mail.log",
    "/var/log/mail.log.*",
    "/var/log/mail",
    "/var/log/mail-*",
    "/var/log/dovecot*.log",
    "/var/log/dovecot*.log[.-]*",
    "/var/log/*pop3*/current",
    "/var/log/*pop3*/@*.[su]",
    "/var/log/qmail/*pop3*/current",
    "/var/log/qmail/*pop3*/@*.[su]",
    "/var/log/qmail/*imap*/current",
    "/var/log/qmail/*imap*/@*.[su]",
    "/var/log/qmail/*submission*/current",
    "/var/log/qmail/*submission*/@*.[su]",
];

#[derive(Deserialize)]
struct Given {
    domains: Vec<String>,
    #[serde(default)]
    clients: Vec<String>,
    #[serde(default)]
    logs: Vec<String>,
    days: Option<u32>,
    megabytes: Option<u32>,
    timeout: Option<u64>,
    shown: Option<usize>,
}

struct MailLogins {
    given: Given,
    domains: Vec<String>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let domains = given.domains.iter().map(|name| name.trim().to_ascii_lowercase());
    let domains: Vec<String> = domains.filter(|name| !name.is_empty()).collect();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if let Some(name) = domains.iter().find(|name| !name.bytes().all(letter)) {
        return Err(Diagnostic::new(format!("`{name}` is no domain")));
    }
    if let Some(wrong) = given.clients.iter().find(|client| client.parse::<std::net::IpAddr>().is_err()) {
        return Err(Diagnostic::new(format!("`{wrong}` among `clients` is no address")));
    }
    Ok(Box::new(MailLogins { given, domains }))
}

#[async_trait]
impl Module for MailLogins {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let printed = host.probe(&self.question()).await?;
        let found = Found::read(&printed.text()).map_err(ModuleError::failed)?;
        if !printed.success() {
            let said = printed.error_text();
            let message = format!("the logs cannot be read: {}", said.lines().next().unwrap_or("nothing was said"));
            return Err(ModuleError::failed(message));
        }
        let mut planned = Planned::new(Vec::new(), found.results(&self.domains, self.given.shown.unwrap_or(20)));
        planned.warnings = found.warnings(host);
        Ok(planned)
    }
}

const READ: &str = include_str!("logins/read.sh");

impl MailLogins {
    /// Returns the one question; domains and clients are its stdin.
    fn question(&self) -> Command {
        let days = self.given.days.unwrap_or(31).min(366);
        let budget = u64::from(self.given.megabytes.unwrap_or(4000)) * 1_000_000;
        let script = format!("wanted=$(cat) days=$1 budget=$2\nshift 2\n{}{READ}\n", logs::FIND);
        let places = match self.given.logs.is_empty() {
            true => PLACES.join("\n"),
            false => self.given.logs.join("\n"),
        };
        let domains = self.domains.iter().map(|name| format!("d {name}\n"));
        let clients = self.given.clients.iter().map(|client| format!("c {client}\n"));
        Command {
            stdin: domains.chain(clients).collect::<String>().into(),
            timeout: Some(Duration::from_secs(self.given.timeout.unwrap_or(600))),
            environment: vec![("LC_ALL".into(), "C".into())],
            ..Command::argv(["/bin/sh", "-c", &script, "sh", &days.to_string(), &budget.to_string(), &places])
        }
    }
}

/// Sessions of one user by one way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Logins {
    /// Nothing where the log names nobody.
    user: String,
    service: String,
    tls: bool,
    /// The host's own address and name, as far as the log tells them.
    address: String,
    name: String,
    sessions: u64,
    /// Seconds since 1970.
    first: i64,
    last: i64,
    /// Where the last one came from, and from how many addresses all of them.
    from: String,
    clients: u64,
}

/// What the logs say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    now: i64,
    /// Entries before this time were left out, in seconds since 1970.
    from: i64,
    /// The first entry that was read.
    since: Option<i64>,
    /// The one that came last first.
    logins: Vec<Logins>,
    logs: Vec<String>,
    unreadable: Vec<String>,
    /// Logs of which the newest so many bytes were read.
    cut: Vec<(String, u64)>,
    unread: u64,
}

impl Found {
    fn read(text: &str) -> Result<Found, String> {
        let mut found = Found::default();
        for line in text.lines() {
            let fields = Fields::of(line);
            let (number, text) = (|at| fields.number(at), |at| fields.text(at));
            match fields.kind() {
                "n" => (found.now, found.from) = (number(1)?, number(2)?),
                "f" => found.logs.push(text(1)),
                "z" => found.unreadable.push(text(1)),
                "t" => found.cut.push((text(1), number(2)?.unsigned_abs())),
                "s" => found.since = Some(number(1)?),
                "b" => found.unread = number(1)?.unsigned_abs(),
                "l" => found.logins.push(Logins {
                    user: text(1),
                    service: text(2),
                    tls: number(3)? == 1,
                    address: text(4),
                    name: text(5),
                    sessions: number(6)?.unsigned_abs(),
                    first: number(7)?,
                    last: number(8)?,
                    from: text(9),
                    clients: number(10)?.unsigned_abs(),
                }),
                _ => return Err(format!("the host printed {line:?}")),
            }
        }
        found.logs.retain(|path| !path.is_empty());
        found.logins.sort_by(|left, right| (-left.last, &left.user).cmp(&(-right.last, &right.user)));
        Ok(found)
    }

    fn results(&self, domains: &[String], shown: usize) -> Results {
        let domain = |name: &String| {
            let own = |logins: &&Logins| logins.user.rsplit_once('@').is_some_and(|(_, domain)| domain == name);
            let mut users: BTreeMap<&str, i64> = BTreeMap::new();
            for logins in self.logins.iter().filter(own) {
                let last = users.entry(&logins.user).or_insert(logins.last);
                *last = logins.last.max(*last);
            }
            // Where there was nothing to read, nobody knows.
            (name.clone(), if self.logs.is_empty() { json!({}) } else { json!({"logins": users}) })
        };
        let domains: serde_json::Map<String, Value> = domains.iter().map(domain).collect();
        let fields = [
            ("logins", json!(self.logins)),
            ("users", json!(self.users().len())),
            ("domains", domains.into()),
            ("lines", json!(self.lines(shown))),
            ("now", json!(self.now)),
            ("log_since", json!(self.since)),
            ("logs", json!(self.logs)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    /// Returns who is named, the one that came last first.
    fn users(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let named = self.logins.iter().map(|logins| logins.user.as_str()).filter(|user| !user.is_empty());
        named.filter(|user| seen.insert(*user)).collect()
    }

    /// Says it for people: how many, by which ways in, and who came last.
    fn lines(&self, shown: usize) -> Vec<String> {
        if self.logs.is_empty() {
            return vec!["there is no log, so that nothing tells who comes: say where it is".into()];
        }
        let users = self.users();
        let sessions: u64 = self.logins.iter().map(|logins| logins.sessions).sum();
        let since = self.since.map_or(self.from, |since| since.max(self.from));
        let mut lines = vec![format!(
            "{}, {} since {}",
            counted(users.len() as u64, "user"),
            counted(sessions, "session"),
            time(since)
        )];
        let mut ways: BTreeMap<String, Vec<&Logins>> = BTreeMap::new();
        self.logins.iter().for_each(|logins| ways.entry(logins.way()).or_default().push(logins));
        for (way, logins) in ways {
            let named: BTreeSet<&str> = logins.iter().map(|logins| logins.user.as_str()).collect();
            let who = if named.contains("") { "nobody named".into() } else { counted(named.len() as u64, "user") };
            lines.push(format!("  {way}: {who}, {}", summed(&logins)));
        }
        for user in users.iter().take(shown) {
            let own: Vec<&Logins> = self.logins.iter().filter(|logins| logins.user == *user).collect();
            let ways: BTreeSet<String> = own.iter().map(|logins| logins.way()).collect();
            lines.push(format!("{user}: {}; {}", summed(&own), ways.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if users.len() > shown {
            lines.push(format!(
                "and {} more: `shown` says how many stand here",
                counted((users.len() - shown) as u64, "user")
            ));
        }
        lines
    }

    fn warnings(&self, host: &View) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.logs.is_empty() {
            warnings.push(format!("`{}` has no log that tells who comes: say where it is with `logs`", host.name));
        }
        warnings
            .extend(self.unreadable.iter().map(|path| format!("`{path}` cannot be read: who it names is not counted")));
        warnings.extend(self.cut.iter().map(|(path, bytes)| match bytes {
            0 => format!("`{path}` is beyond `megabytes`, and was not read"),
            bytes => format!("of `{path}` the last {bytes} bytes were read: the rest is beyond `megabytes`"),
        }));
        if self.unread > 0 {
            warnings.push(format!("{} sessions have no time that can be read, and are not counted", self.unread));
        }
        warnings
    }
}

impl Logins {
    /// Returns the way in: `pop3 with TLS to 10.77.0.10 (pop.example.com)`.
    fn way(&self) -> String {
        let tls = if self.tls { " with TLS" } else { "" };
        let to = match (self.address.as_str(), self.name.as_str()) {
            ("", "") => String::new(),
            ("", name) => format!(" to {name}"),
            (address, "") => format!(" to {address}"),
            (address, name) => format!(" to {address} ({name})"),
        };
        format!("{}{tls}{to}", self.service)
    }
}

/// Says how many sessions there were, and which was the last; there is at least one.
fn summed(logins: &[&Logins]) -> String {
    let sessions: u64 = logins.iter().map(|logins| logins.sessions).sum();
    let last = logins.iter().max_by_key(|logins| logins.last);
    let last = last.map_or(String::new(), |last| format!(", the last {} from {}", time(last.last), last.from));
    format!("{}{last}", counted(sessions, "session"))
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns a time as `2026-11-26 09:00 UTC`.
fn time(seconds: i64) -> String {
    let stamp = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    stamp.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests;
