//! `qmail_control`: entries of a qmail control file, made effective.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::rights::own;
use crate::modules::system::network;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results, State};
use crate::transport::{Command, Content, Links, Node, Want};

use super::dangers::{EditOf, Texts};
use super::names::{self, Dns};
use super::qmail::{self, ControlFile, Relay, Shape, Wanted};
use super::routes;
use super::send::{Edit, QmailSend};

pub const ENTRY: Entry = Entry {
    name: "qmail_control",
    summary: "Puts entries into a qmail control file or takes them out, and makes qmail use them",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: relay example.com to the new host
  qmail_control:
    file: smtproutes
    entries:
      example.com: 192.0.2.20
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("file", Kind::Text, "The control file's name, such as `locals`, `virtualdomains`, `smtproutes`.").required(),
    Argument::new(
        "entries",
        Kind::Any,
        "What the file shall have: a list of entries, `key:value` texts or a mapping; for a file of one value, that value. \
         With `state: absent` keys are enough, and without any entry the file itself is removed.",
    )
    .alias(&["entry"]),
    Argument::new("state", Kind::Text, "Whether the entries shall be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("directory", Kind::Path, "The control directory. The default is `/var/qmail/control`."),
    Argument::new(
        "effect",
        Kind::Text,
        "`auto` makes the edit effective: HUP or restart of qmail-send, or qmail-newmrh, as the file needs. `none` leaves \
         that to a later task. The default is `auto`.",
    )
    .choices(&["auto", "none"]),
    Argument::new("qmail_send", Kind::Text, "A shell command that prints the id of qmail-send. By default `ps` is searched."),
    Argument::new("service", Kind::Text, "The service that restarts qmail-send. The default is `qmail`."),
    Argument::new(
        "addresses",
        Kind::List,
        "Addresses whose way before and after the edit is shown with it, where it changes; for each of their domains one \
         that nobody has is added.",
    ),
    Argument::new(
        "allow_unrouted",
        Kind::Bool,
        "Lets a domain become remote although no entry of `smtproutes` takes it anywhere. Its mail bounces at once (#5.4.6) \
         while its MX is this host.",
    ),
    Argument::new(
        "allow_self",
        Kind::Bool,
        "Lets a route lead to an address of this host: only right while the domain is local, to bring queued mail back.",
    ),
];

#[derive(Deserialize)]
struct Fields {
    file: String,
    #[serde(default)]
    entries: Value,
    #[serde(default)]
    state: State,
    directory: Option<String>,
    #[serde(default)]
    effect: Effective,
    qmail_send: Option<String>,
    service: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    allow_unrouted: bool,
    #[serde(default)]
    allow_self: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Effective {
    #[default]
    Auto,
    None,
}

struct QmailControl {
    fields: Fields,
    file: &'static ControlFile,
    wanted: Vec<Wanted>,
    directory: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let file = qmail::control_file(&fields.file).ok_or_else(|| {
        Diagnostic::new(format!("qmail has no control file `{}`", fields.file))
            .suggest(&fields.file, qmail::FILES.iter().map(|file| file.name))
    })?;
    let wanted = read_entries(&fields, file)?;
    let directory = fields.directory.as_deref().unwrap_or("/var/qmail/control").trim_end_matches('/').to_string();
    Ok(Box::new(QmailControl { fields, file, wanted, directory }))
}

/// Reads what the task asks for: texts, mappings, one value.
fn read_entries(fields: &Fields, file: &ControlFile) -> Result<Vec<Wanted>, Diagnostic> {
    let mut pairs: Vec<(String, Option<String>)> = Vec::new();
    let items = match &fields.entries {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    for item in items {
        match item {
            Value::Object(map) if file.shape == Shape::Keyed => {
                pairs.extend(map.iter().map(|(key, value)| (key.clone(), (!value.is_null()).then(|| text(value)))));
            }
            Value::Object(_) | Value::Array(_) | Value::Null => {
                return Err(Diagnostic::new(format!("an entry of `{}` is text, not {item}", file.name)));
            }
            scalar if file.shape == Shape::Single => pairs.push((String::new(), Some(text(scalar)))),
            scalar => {
                let line = text(scalar);
                pairs.push(match line.split_once(':').filter(|_| file.shape == Shape::Keyed) {
                    Some((key, value)) => (key.into(), Some(value.into())),
                    None => (line, None),
                });
            }
        }
    }
    if fields.state == State::Present {
        let name = file.name;
        let wrong = match (file.shape, pairs.as_slice()) {
            (_, []) => Some(format!("`qmail_control` needs `entries` to put into `{name}`")),
            (Shape::Single, [_, _, ..]) => Some(format!("`{name}` has one value, not {}", pairs.len())),
            (Shape::Keyed, pairs) => pairs
                .iter()
                .find(|(_, value)| value.is_none())
                .map(|(key, _)| format!("the entry `{key}` of `{name}` has no `:`, so qmail would ignore it")),
            _ => None,
        };
        if let Some(message) = wrong {
            return Err(Diagnostic::new(message));
        }
    }
    for (key, value) in &pairs {
        check_text(key, value.as_deref(), file)?;
    }
    Ok(pairs.into_iter().map(|(key, value)| Wanted { key, value }).collect())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Refuses what qmail would read as something else than it looks like.
fn check_text(key: &str, value: Option<&str>, file: &ControlFile) -> Result<(), Diagnostic> {
    let whole = [Some(key), value].into_iter().flatten().collect::<Vec<_>>().join(":");
    let refuse = |why: &str| Err(Diagnostic::new(format!("the entry {whole:?} of `{}` {why}", file.name)));
    for part in [Some(key), value].into_iter().flatten() {
        if part.contains(['\r', '\n', '\0']) {
            return refuse("has a line end or NUL in it; qmail does not strip CR");
        }
        if part.starts_with([' ', '\t']) || part.ends_with([' ', '\t']) {
            return refuse("has a space at an end; qmail does not strip leading ones");
        }
        if !part.is_ascii() {
            return refuse("is not ASCII; write an international domain as `xn--...`");
        }
    }
    match file.shape {
        Shape::List if key.is_empty() => refuse("is empty"),
        Shape::List if file.name == "locals" && key.starts_with('.') => {
            refuse("is a suffix, and `locals` matches whole names only")
        }
        _ if key.starts_with('#') => refuse("would be a comment"),
        Shape::Keyed if file.name == "smtproutes" && value.is_some_and(|value| !value.is_empty()) => {
            match Relay::read(value.unwrap_or("")) {
                Ok(_) => Ok(()),
                Err(why) => refuse(&format!("leads nowhere: {why}")),
            }
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Module for QmailControl {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let (node, before) = self.look(host).await?;
        let name = self.file.name;
        let old = before.get(name);
        let edit = self.edit(old);
        let mut after = before.clone();
        let planned = match &edit {
            None => node.clone(),
            Some(None) => {
                after.remove(name);
                Node::Absent
            }
            Some(Some(new)) => {
                after.insert(name, new.clone());
                // It is read by several unprivileged users of qmail.
                let permissions = node.permissions().cloned().unwrap_or_else(|| own(host, 0o644));
                Node::File { content: Content::here(qmail::encode(new)), permissions, modified: None }
            }
        };
        let verdict = EditOf { file: self.file, wanted: &self.wanted, before: &before, after: &after }
            .judge(self.fields.allow_unrouted)
            .map_err(ModuleError::failed)?;
        let mut warnings = verdict.warnings;
        let mut routes = verdict.routed;
        if name == "smtproutes" && edit.is_some() && self.fields.state == State::Present {
            let asked = self.wanted.iter().map(|want| (want.key.clone(), want.value.clone().unwrap_or_default()));
            routes.extend(asked.filter(|(_, relay)| !relay.is_empty()));
        }
        warnings
            .extend(self.check_relays(host, (&routes, before.get("me").map_or("", |me| qmail::first_line(me)))).await?);
        let path = self.path(name);
        let mut changes: Vec<Change> = Change::path(&path, node, planned).into_iter().collect();
        if let Some(edit) = changes.pop() {
            changes.push(edit.meaning_that(routes::changed(&self.fields.addresses, &before, &after)));
        }
        if self.fields.effect == Effective::Auto {
            let edit = match edit {
                None => Edit::Keep,
                Some(None) => Edit::Remove,
                Some(Some(_)) => Edit::Write,
            };
            let (effect, warning) = self.qmail_send().make_effective(host, self.file, edit).await?;
            changes.extend(effect);
            warnings.extend(warning);
        }
        let mut result = Results::new();
        result.insert("path".into(), json!(path));
        // A restart of which no state tells has only its own status to say that it failed.
        let opaque = changes.iter().any(|change| matches!(change, Change::Run { .. }));
        let result = if opaque { Outcome::Applied(result) } else { Outcome::Known(result) };
        Ok(Planned { changes, result, warnings })
    }
}

impl QmailControl {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn qmail_send(&self) -> QmailSend<'_> {
        QmailSend {
            home: self.directory.rsplit_once('/').map_or("", |(home, _)| home),
            control: &self.directory,
            pid: self.fields.qmail_send.as_deref(),
            service: self.fields.service.as_deref().unwrap_or("qmail"),
        }
    }

    /// Reads the file itself and those that decide what an edit of it means, in one exchange.
    async fn look(&self, host: &View) -> Result<(Node, Texts), ModuleError> {
        let mut names = vec![self.file.name];
        names.extend(
            ["me", "locals", "virtualdomains", "smtproutes"].into_iter().filter(|name| *name != self.file.name),
        );
        let paths: Vec<_> = names.iter().map(|name| (self.path(name), Links::Keep)).collect();
        let nodes = host.look_all(&paths, Want::Content).await?;
        let mut texts = Texts::new();
        for (name, node) in names.iter().zip(&nodes) {
            match node {
                Node::Absent => {}
                Node::File { content, .. } => {
                    let bytes = content.bytes().ok_or_else(|| {
                        ModuleError::failed(format!(
                            "`{}` cannot be read\nhint: run as a user that may: `become: true`",
                            self.path(name)
                        ))
                    })?;
                    texts.insert(name, qmail::decode(bytes));
                }
                other => {
                    let message = format!("`{}` is no regular file but a {}", self.path(name), other.kind());
                    return Err(ModuleError::failed(message));
                }
            }
        }
        Ok((nodes.into_iter().next().unwrap_or(Node::Absent), texts))
    }

    /// Returns the text that the file shall have; `Some(None)`: it shall go; `None`: it is as asked.
    fn edit(&self, old: Option<&String>) -> Option<Option<String>> {
        let text = old.map_or("", String::as_str);
        let new = match self.fields.state {
            State::Absent if self.wanted.is_empty() => return old.map(|_| None),
            State::Absent => qmail::without_entries(text, self.file.shape, &self.wanted),
            State::Present => qmail::with_entries(text, self.file.shape, &self.wanted),
        };
        (new != text).then(|| Some(new.into_owned()))
    }

    /// Refuses a relay that is this host itself: with a route, nothing breaks the loop before 100 hops.
    async fn check_relays(
        &self,
        host: &View,
        (routes, me): (&[(String, String)], &str),
    ) -> Result<Vec<String>, ModuleError> {
        if routes.is_empty() {
            return Ok(Vec::new());
        }
        let own = network::ipv4(&host.probe(&Command::shell(network::ADDRESSES)).await?.text());
        let hosts = host.look("/etc/hosts", Want::Content).await?;
        let hosts = hosts.content().and_then(Content::bytes).map(qmail::decode).unwrap_or_default();
        let relays = routes.iter().filter_map(|(_, value)| Relay::read(value).ok());
        let names =
            relays.filter(|relay| relay.address().is_none()).map(|relay| relay.host.to_ascii_lowercase()).collect();
        let dns = names::ask(host, &names).await?;
        let mut warnings = Vec::new();
        for (domain, value) in routes {
            let relay = Relay::read(value)
                .map_err(|why| ModuleError::failed(format!("the route `{domain}:{value}` leads nowhere: {why}")))?;
            let here = match relay.address() {
                Some(address) => address.is_loopback() || address.is_unspecified() || own.contains(&address),
                None => relay.host.eq_ignore_ascii_case(me) || relay.host.eq_ignore_ascii_case("localhost"),
            };
            if here && !self.fields.allow_self {
                return Err(ModuleError::failed(format!(
                    "the route `{domain}:{value}` leads to `{}` itself: its mail would go round in a loop\nhint: name the \
                     new host, or set `allow_self: true` to bring queued mail back while `{domain}` is local",
                    host.name
                )));
            }
            if relay.address().is_none() && !here {
                let name = &relay.host;
                match dns.get(&name.to_ascii_lowercase()) {
                    Some(Dns::HasAddress) => continue,
                    Some(Dns::HasNone) => {
                        return Err(ModuleError::failed(format!(
                            "the route `{domain}:{value}` leads to a name for which DNS has no address: its mail would bounce at once \
                             (#5.1.2)\nhint: write the IPv4 address; qmail-remote never reads /etc/hosts"
                        )));
                    }
                    _ => {}
                }
                warnings.push(match named_in(&hosts, name) {
                    true => format!("`{name}` is in /etc/hosts, which qmail-remote never reads: it asks DNS"),
                    false => format!(
                        "`{name}` is a name: where DNS has no address for it, mail bounces at once and for good (#5.1.2); write \
                         its IPv4 address"
                    ),
                });
            }
        }
        Ok(warnings)
    }
}

fn named_in(hosts: &str, name: &str) -> bool {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or(""));
    lines.flat_map(|line| line.split_whitespace().skip(1)).any(|word| word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::modules::files::bench::Bench;
    use crate::modules::system::bench::Here;

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.host.file("/var/qmail/control/me", "old.example\n", 0o644);
        bench.host.file("/var/qmail/control/locals", "old.example\n", 0o644);
        bench.host.file("/var/qmail/control/virtualdomains", "# Plesk\na.example:1\nb.example:2\n", 0o640);
        bench.host.on(network::ADDRESSES, 0, "2: eth0    inet 10.77.0.10/24 brd 10.77.0.255 scope global eth0\n");
        bench
    }

    fn task(file: &str, entries: Value, state: &str) -> Value {
        json!({"file": file, "entries": entries, "state": state, "effect": "none"})
    }

    #[tokio::test]
    async fn forwarding_is_planned_whole_in_a_check() {
        let bench = bench();
        let pending = Arc::default();
        let out = task("virtualdomains", json!(["a.example"]), "absent");
        let early = bench.plan_after(&pending, "qmail_control", out.clone()).await.err().unwrap().to_string();
        assert!(early.contains("#5.4.6"), "{early}");
        let route = task("smtproutes", json!({"a.example": "10.77.0.20"}), "present");
        bench.plan_after(&pending, "qmail_control", route).await.unwrap();
        let planned = bench.plan_after(&pending, "qmail_control", out).await.unwrap();
        bench.apply(&planned.changes).await;
        let text = bench.host.read("/var/qmail/control/virtualdomains").unwrap();
        assert_eq!(text, "# Plesk\nb.example:2\n");
        assert_eq!(bench.mode("/var/qmail/control/virtualdomains"), 0o640);
    }

    #[tokio::test]
    async fn the_way_of_each_address_is_shown_with_the_edit_that_changes_it() {
        let bench = bench();
        let pending = Arc::default();
        let shown = async |file: &str, entries: Value, state: &str| {
            let mut task = task(file, entries, state);
            task["addresses"] = json!(["bob@a.example", "ann@b.example"]);
            let planned = bench.plan_after(&pending, "qmail_control", task).await.unwrap();
            let diff = planned.changes[0].diff(crate::change::Secrecy::Open).texts();
            diff.into_iter().filter(|line| line.contains("->")).collect::<Vec<_>>()
        };
        assert_eq!(shown("smtproutes", json!({"a.example": "10.77.0.20"}), "present").await, Vec::<String>::new());
        assert_eq!(
            shown("virtualdomains", json!(["a.example"]), "absent").await,
            [
                "    bob@a.example: local 1-bob -> remote via 10.77.0.20:25",
                "    no-such-user-here@a.example: local 1-no-such-user-here -> remote via 10.77.0.20:25"
            ]
        );
    }

    #[tokio::test]
    async fn an_entry_is_put_in_once() {
        let bench = bench();
        bench.twice("qmail_control", task("rcpthosts", json!(["a.example", "b.example"]), "present")).await;
        assert_eq!(bench.host.read("/var/qmail/control/rcpthosts").unwrap(), "a.example\nb.example\n");
        bench.twice("qmail_control", task("concurrencyremote", json!(40), "present")).await;
        bench.twice("qmail_control", task("concurrencyremote", Value::Null, "absent")).await;
        assert!(!bench.exists("/var/qmail/control/concurrencyremote"));
    }

    #[tokio::test]
    async fn a_route_back_to_the_host_itself_is_refused() {
        let bench = bench();
        for relay in ["10.77.0.10", "127.0.0.1:2525", "[10.77.0.10]", "OLD.example"] {
            let error = bench.fails("qmail_control", task("smtproutes", json!({"a.example": relay}), "present")).await;
            assert!(error.contains("loop"), "{error}");
        }
        let mut back = task("smtproutes", json!({"a.example": "10.77.0.10"}), "present");
        back["allow_self"] = true.into();
        assert_eq!(bench.plan("qmail_control", back).await.unwrap().changes.len(), 1);
        bench.host.file("/var/qmail/control/smtproutes", ":10.77.0.10\n", 0o644);
        let error = bench.fails("qmail_control", task("virtualdomains", json!(["a.example"]), "absent")).await;
        assert!(error.contains("loop"), "{error}");
    }

    #[tokio::test]
    async fn a_relay_known_to_etc_hosts_alone_and_one_by_a_name_are_warned_of() {
        let bench = bench();
        bench.host.file("/etc/hosts", "10.77.0.20 new.example new # lab\n", 0o644);
        let planned =
            bench.plan("qmail_control", task("smtproutes", json!(["a.example:new.example"]), "present")).await;
        assert!(planned.unwrap().warnings[0].contains("asks DNS"));
        let typo = bench.plan("qmail_control", task("smtproutes", json!(["a.example:nwe.example"]), "present")).await;
        assert!(typo.unwrap().warnings[0].contains("#5.1.2"));
    }

    #[tokio::test]
    async fn entries_that_qmail_reads_otherwise_are_refused_before_any_host_is_asked() {
        let bench = bench();
        for (file, entries) in [
            ("smtproutes", json!(["a.example:[::1]"])),
            ("smtproutes", json!(["a.example: 10.77.0.20"])),
            ("smtproutes", json!(["a.example:10.77.0.20\r"])),
            ("smtproutes", json!([" a.example:10.77.0.20"])),
            ("virtualdomains", json!(["a.example"])),
            ("locals", json!([".example"])),
            ("locals", json!(["b\u{fc}ro.example"])),
            ("local", json!(["a.example"])),
            ("me", json!(["a", "b"])),
        ] {
            let planned = bench.plan("qmail_control", task(file, entries, "present")).await;
            assert!(matches!(planned, Err(ModuleError::Wrong(_))), "{file}");
        }
        assert_eq!(bench.host.exchanges(), 0);
    }

    #[tokio::test]
    async fn a_locals_file_is_not_removed() {
        let error = bench().fails("qmail_control", json!({"file": "locals", "state": "absent"})).await;
        assert!(error.contains("`old.example`"), "{error}");
    }

    /// A stand-in for qmail-send: it copies its tables when it starts and when it gets a HUP.
    const SEND: &str = "#!/bin/sh\ncd \"$1\" || exit\nreread() { cat control/locals control/virtualdomains >active 2>/dev/null; }\n\
                        trap 'reread' HUP\ntrap 'exit 0' TERM\nreread\necho $$ >pid\nwhile :; do sleep 0.05; done\n";

    /// Waits until the stand-in has read what it should; the test's own limit ends a wait that never does.
    async fn until_active(here: &Here, text: &str) {
        while std::fs::read_to_string(here.path("active")).unwrap_or_default() != text {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn qmail_send_uses_the_edit_and_a_lost_hup_is_made_up_for() {
        let here = Here::new().await;
        here.write("control/me", "old.example\n", 0o644);
        here.write("control/locals", "old.example\n", 0o644);
        here.write("control/virtualdomains", "a.example:1\n", 0o644);
        here.write("control/smtproutes", ":192.0.2.1\n", 0o644);
        here.write("queue/lock/sendmutex", "", 0o644);
        let send = here.write("bin/qmail-send", SEND, 0o755);
        let start = Command::argv(["/bin/sh", &send, &here.path("")]);
        let process = here.transport.open(&start).await.unwrap();
        until_active(&here, "old.example\na.example:1\n").await;
        let task = |entries: Value, state: &str| {
            json!({
                "file": "virtualdomains", "entries": entries, "state": state, "directory": here.path("control"),
                "qmail_send": format!("cat '{}'", here.path("pid")),
            })
        };
        assert_eq!(here.twice("qmail_control", task(json!(["b.example:2"]), "present")).await, 2);
        until_active(&here, "old.example\na.example:1\nb.example:2\n").await;
        // Written, and killed before the HUP.
        std::fs::write(here.path("control/virtualdomains"), "b.example:2\n").unwrap();
        assert_eq!(here.twice("qmail_control", task(json!(["a.example"]), "absent")).await, 1);
        until_active(&here, "old.example\nb.example:2\n").await;
        drop(process);
    }

    #[tokio::test]
    async fn a_control_directory_that_no_qmail_send_uses_is_an_error() {
        let here = Here::new().await;
        here.write("control/me", "old.example\n", 0o644);
        let task = json!({
            "file": "virtualdomains", "entries": ["a.example:1"], "directory": here.path("control"), "qmail_send": "echo 1",
        });
        let error = here.plan("qmail_control", task).await.err().unwrap().to_string();
        assert!(error.contains("sendmutex"), "{error}");
        let idle = json!({
            "file": "virtualdomains", "entries": ["a.example:1"], "directory": here.path("control"), "qmail_send": "true",
        });
        let planned = here.plan("qmail_control", idle).await.unwrap();
        assert!(planned.changes.len() == 1 && planned.warnings[0].contains("not running"));
    }
}
