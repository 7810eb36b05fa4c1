//! `qmail_activity`: what an old qmail host still does for domains whose mail it hands on. Reads only.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Command, Content, Links, Want};

use super::drift::{Standing, Wanted};
use super::logs::{self, Fields};
use super::qmail::{self, Relay};
use super::send::QmailSend;

pub const ENTRY: Entry = Entry {
    name: "qmail_activity",
    summary: "Reads what a qmail host still has queued, delivers and hands on for domains, and whether its control files drifted",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: What the old host still does\n  qmail_activity:\n    domains: example.com\n    new_address: 192.0.2.20\n    logs: /var/log/qmail/current\n  register: activity\n",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("domains", Kind::List, "The domains to look at.").required(),
    Argument::new(
        "new_address",
        Kind::Text,
        "Where their mail shall go, as `smtproutes` says it: `192.0.2.20`, `192.0.2.20:2525`. Unless given, any route will do.",
    ),
    Argument::new("directory", Kind::Path, "The installation's directory. The default is `/var/qmail`."),
    Argument::new(
        "logs",
        Kind::List,
        "The logs of qmail-send, as paths or patterns of them. By default the first of the usual places that has any.",
    ),
    Argument::new(
        "days",
        Kind::Int,
        "How many days of the logs are read, at most 3660; with 0 they need not be there. The default is 31.",
    ),
    Argument::new("timeout", Kind::Int, "Seconds that reading queue and logs may take. The default is 600."),
    Argument::new(
        "qmail_send",
        Kind::Text,
        "A shell command that prints the id of qmail-send. By default `ps` is searched.",
    ),
];

/// Where qmail-send's log lies: Plesk's, multilog's by the usual names of its directory, syslog's. One line a place.
const PLACES: [&str; 5] = [
    "/usr/local/psa/var/log/maillog /usr/local/psa/var/log/maillog.*",
    "/var/log/qmail/current /var/log/qmail/@*.[su]",
    "/var/log/qmail/qmail-send/current /var/log/qmail/qmail-send/@*.[su] /var/log/qmail/send/current /var/log/qmail/send/@*.[su]",
    "/var/log/qmail-send/current /var/log/qmail-send/@*.[su]",
    "/var/log/maillog /var/log/maillog[.-]* /var/log/mail.log /var/log/mail.log.*",
];

#[derive(Deserialize)]
struct Given {
    domains: Vec<String>,
    new_address: Option<String>,
    directory: Option<String>,
    #[serde(default)]
    logs: Vec<String>,
    days: Option<u32>,
    timeout: Option<u64>,
    qmail_send: Option<String>,
}

struct QmailActivity {
    given: Given,
    domains: Vec<String>,
    relay: Option<Relay>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let domains = given.domains.iter().map(|name| name.trim().to_ascii_lowercase());
    let domains: Vec<String> = domains.filter(|name| !name.is_empty()).collect();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if let Some(name) = domains.iter().find(|name| !name.bytes().all(letter)) {
        return Err(Diagnostic::new(format!("`{name}` is no domain")));
    }
    let relay = given.new_address.as_deref().map(|text| {
        Relay::read(text)
            .map_err(|why| Diagnostic::new(format!("`new_address` of `qmail_activity` leads nowhere: {why}")))
    });
    Ok(Box::new(QmailActivity { relay: relay.transpose()?, domains, given }))
}

#[async_trait]
impl Module for QmailActivity {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let directory = self.given.directory.as_deref().unwrap_or("/var/qmail").trim_end_matches('/');
        let control = format!("{directory}/control");
        let paths = FILES.map(|name| format!("{control}/{name}")).into_iter();
        let paths = paths.chain(MARKS.map(|name| format!("{directory}/{name}")));
        let paths: Vec<(String, Links)> = paths.map(|path| (path, Links::Follow)).collect();
        let send =
            QmailSend { home: directory, control: &control, pid: self.given.qmail_send.as_deref(), service: "qmail" };
        let look = self.question(directory);
        // All three go out together.
        let (nodes, printed, reread) =
            tokio::try_join!(host.look_all(&paths, Want::Content), host.probe(&look), send.has_reread(host))?;
        let mut texts = BTreeMap::new();
        for (name, (node, (path, _))) in FILES.iter().chain(&MARKS).zip(nodes.iter().zip(&paths)) {
            if !node.exists() {
                continue;
            }
            let bytes = node.content().and_then(Content::bytes);
            let bytes = bytes.ok_or_else(|| ModuleError::failed(format!("`{path}` cannot be read")))?;
            texts.insert(*name, qmail::decode(bytes));
        }
        if !texts.contains_key("me") {
            return Err(ModuleError::failed(format!("`{}` has no qmail: there is no `{control}/me`", host.name)));
        }
        let found = Found::read(&printed.text()).map_err(|why| {
            let said = printed.error_text();
            ModuleError::failed(format!("{why}: {}", said.lines().next().unwrap_or("nothing was said")))
        })?;
        if found.logs.is_empty() && self.given.days != Some(0) {
            let places = if self.given.logs.is_empty() { "the usual places" } else { "`logs`" };
            return Err(ModuleError::failed(format!(
                "`{}` has no log of qmail-send in {places}, so that nothing tells of its deliveries\nhint: say where it \
                 is with `logs`",
                host.name
            )));
        }
        if found.since.is_none() && found.unread > 0 {
            return Err(ModuleError::failed(format!(
                "the lines of `{}` have no time that says its year, so that nothing tells when mail was delivered\n\
                 hint: qmail-send's log needs the stamps of multilog (`t`) or splogger",
                found.logs.join("`, `")
            )));
        }
        let wanted = Wanted { texts: &texts, relay: self.relay.as_ref(), reread };
        let listed = |name: &str, domain: &str| {
            let mut lines = texts.get(name).into_iter().flat_map(|text| text.lines());
            lines.any(|line| line.split(' ').next() == Some(domain))
        };
        let standing = |domain: &String| -> (String, Value) {
            let Standing { own, route, routed, accepted } = wanted.standing(domain);
            // A retired domain has no route on purpose.
            let retired = listed(MARKS[1], domain);
            let drift = if retired { Vec::new() } else { wanted.drift(domain) };
            let value = json!({
                "own": own, "route": route, "routed": routed, "accepted": accepted, "drift": drift,
                "taken_back": listed(MARKS[0], domain), "retired": retired,
            });
            (domain.clone(), value)
        };
        let mut planned = Planned::new(Vec::new(), found.results(self.domains.iter().map(standing)));
        planned.warnings = found.warnings();
        Ok(planned)
    }
}

/// The control files that decide where mail goes.
const FILES: [&str; 6] = ["me", "locals", "virtualdomains", "smtproutes", "rcpthosts", "morercpthosts"];

/// Below the installation's directory, what the stages `rollback` and `retirement` note: a line a domain, which begins with it.
const MARKS: [&str; 2] = ["taken-back", MOVED];
pub const MOVED: &str = "moved-domains";

impl QmailActivity {
    /// Returns the one question for queue and logs; the domains are its stdin.
    fn question(&self, directory: &str) -> Command {
        let days = self.given.days.unwrap_or(31).min(3660).to_string();
        let mut words = vec![
            "/bin/sh".into(),
            "-c".into(),
            format!("{LOOK}{}{READ}\n", logs::FIND),
            "sh".into(),
            directory.into(),
            days,
        ];
        match self.given.logs.is_empty() {
            true => words.extend(PLACES.map(|places| places.replace(' ', "\n"))),
            false => words.push(self.given.logs.join("\n")),
        }
        Command {
            stdin: self.domains.join("\n").into(),
            timeout: Some(Duration::from_secs(self.given.timeout.unwrap_or(600))),
            environment: vec![("LC_ALL".into(), "C".into())],
            ..Command::argv(words)
        }
    }
}

/// Prints lines of fields with tabs between: what is in the queue (`q`), and, with what follows it, what the logs say (`d`) and
/// how far that goes.
///
/// It counts there, because logs have gigabytes. `qmail-qread` needs root, and says nothing of messages that qmail-send
/// has not taken up yet. A delivery's number is its own until its end is logged (`qmail-log.5`).
const LOOK: &str = r#"domains=$(cat) home=$1 days=$2
shift 2
feed() { printf '%s\n\n' "$domains"; }
now=$(date +%s)
since=$((now - days * 86400))
printf 'n\t%s\t%s\n' "$now" "$since"
{ feed; "$home/bin/qmail-qread" || echo '!failed'; } | awk '
!body { if ($0 == "") body = 1; else wanted[$0]; next }
$1 == "!failed" { print "e\tqmail-qread"; exit }
/^\t(local|remote)\t/ {
  domain = tolower($0); sub(/.*@/, "", domain)
  if (domain in wanted) count[$1 "\t" domain]++
}
END { for (key in count) print "q\t" key "\t" count[key] }'
{ "$home/bin/qmail-qstat" || echo '!failed'; } | awk '
$1 == "!failed" { print "e\tqmail-qstat" }
/not yet preprocessed/ { print "u\t" $NF }'
"#;

/// Reads the logs that [`logs::FIND`] has found.
const READ: &str = r#"{
  feed
  for file in $readable; do
    unpack "$file"
  done
} | awk -v since="$since" '
function seconds(text,  n, at) {
  if (length(text) == 25 && text ~ /^@4[0-9a-f]*$/) {
    # TAI64N: 2^62 + 10 seconds before 1970.
    for (at = 10; at <= 17; at++) n = n * 16 + index("0123456789abcdef", substr(text, at, 1)) - 1
    return n - 10
  }
  return text ~ /^[0-9]+\.[0-9]+$/ && index(text, ".") == 11 ? int(text) : -1
}
!body { if ($0 == "") body = 1; else wanted[$0]; next }
first == "" {
  for (i = 1; i < 10 && i <= NF; i++) if ((stamp = seconds($i)) >= 0) { first = stamp; break }
}
!/delivery [0-9]/ { next }
{
  for (i = 1; i < 10 && i < NF; i++) if ($i == "delivery") break
  if ($i != "delivery") next
  number = $(i + 1)
  if ($(i - 1) == "starting") {
    delete open[number]
    channel = $(i + 5); domain = tolower($(i + 6)); sub(/.*@/, "", domain)
    if ((channel == "local" || channel == "remote") && domain in wanted) open[number] = channel "\t" domain
    next
  }
  if (!(number in open)) next
  if ($(i + 2) == "success:") {
    stamp = seconds($(i - 1))
    if (stamp < 0) unread++
    else if (stamp >= since) {
      key = open[number] "\t" int(stamp / 86400)
      count[key]++
      if (stamp > last[key]) last[key] = stamp
    }
  }
  delete open[number]
}
END {
  for (key in count) printf "d\t%s\t%d\t%.0f\n", key, count[key], last[key]
  if (first != "") printf "s\t%.0f\n", first
  if (unread) print "b\t" unread
}'"#;

/// What queue and logs say of each domain.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    now: i64,
    /// Recipients by `local` or `remote` and domain.
    queued: BTreeMap<(String, String), u64>,
    unprocessed: u64,
    /// Deliveries by channel, domain and day since 1970, and the last of them in seconds since 1970.
    delivered: BTreeMap<(String, String, i64), (u64, i64)>,
    logs: Vec<String>,
    unreadable: Vec<String>,
    /// The first entry that was read, in seconds since 1970.
    since: Option<i64>,
    /// Entries before this time were left out, in seconds since 1970.
    from: i64,
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
                "e" => return Err(format!("`{}` failed", text(1))),
                "q" => drop(found.queued.insert((text(1), text(2)), number(3)?.unsigned_abs())),
                "u" => found.unprocessed = number(1)?.unsigned_abs(),
                "f" => found.logs.push(text(1)),
                "z" => found.unreadable.push(text(1)),
                "s" => found.since = Some(number(1)?),
                "b" => found.unread = number(1)?.unsigned_abs(),
                "d" => {
                    let key = (text(1), text(2), number(3)?);
                    found.delivered.insert(key, (number(4)?.unsigned_abs(), number(5)?));
                }
                _ => return Err(format!("the host printed {line:?}")),
            }
        }
        Ok(found)
    }

    /// Returns what is told of each domain, with how it stands.
    fn results(&self, standing: impl Iterator<Item = (String, Value)>) -> Results {
        let domain = |(name, mut value): (String, Value)| -> (String, Value) {
            let queued = |channel: &str| self.queued.get(&(channel.into(), name.clone())).copied().unwrap_or_default();
            let of = |channel: &'static str| {
                self.delivered.iter().filter({
                    let name = name.clone();
                    move |((found, domain, _), _)| found == channel && *domain == name
                })
            };
            let quiet = self.days().map(|number| (day(number), 0));
            let busy = of("remote").map(|((_, _, number), (count, _))| (day(*number), *count));
            let relayed: BTreeMap<String, u64> = quiet.chain(busy).collect();
            let told = json!({
                "queued": queued("local") + queued("remote"),
                "queued_local": queued("local"),
                "queued_remote": queued("remote"),
                "last_local": of("local").map(|(_, (_, last))| last).max(),
                "relayed": relayed,
            });
            if let (Value::Object(value), Value::Object(told)) = (&mut value, told) {
                value.extend(told);
            }
            (name, value)
        };
        let domains: serde_json::Map<String, Value> = standing.map(domain).collect();
        let mut results = Results::new();
        results.insert("domains".into(), domains.into());
        results.insert("not_preprocessed".into(), self.unprocessed.into());
        results.insert("now".into(), self.now.into());
        results.insert("log_since".into(), json!(self.since));
        results.insert("logs".into(), json!(self.logs.iter().filter(|path| !path.is_empty()).collect::<Vec<_>>()));
        results
    }

    /// Returns the days that the logs tell of, counted from 1970: a day without mail is known to be one.
    fn days(&self) -> std::ops::RangeInclusive<i64> {
        let first = self.since.map_or(i64::MAX, |since| since.max(self.from));
        first / 86_400..=self.now / 86_400
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .unreadable
            .iter()
            .map(|path| format!("`{path}` cannot be read: its deliveries are not counted"))
            .collect();
        if self.unread > 0 {
            warnings.push(format!(
                "{} deliveries have no time that says its year, and are not counted: qmail-send's lines need a stamp of \
                 multilog or splogger",
                self.unread
            ));
        }
        warnings
    }
}

/// Returns a day, counted from 1970 in UTC, as `2026-11-26`.
fn day(number: i64) -> String {
    let time = jiff::Timestamp::from_second(number.saturating_mul(86_400)).unwrap_or_default();
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests;
