//! `qpsmtpd_whitelist`: hosts that qpsmtpd asks nothing of, with what else that lets in.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Links, Node, Want};

use super::text;

pub const ENTRY: Entry = Entry {
    name: "qpsmtpd_whitelist",
    summary: "Puts hosts into qpsmtpd's whitelisthosts, which also lets them relay: `tcp_rules` is a door that does not",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: qpsmtpd asks nothing of the old host
  qpsmtpd_whitelist:
    hosts: [10.77.0.30]
    may_relay: true
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("hosts", Kind::List, "IPv4 addresses.").required(),
    Argument::new(
        "may_relay",
        Kind::Bool,
        "Has to be true: a host in the list can send mail to any domain, for the plugin `rcpt_ok` takes all from it.",
    ),
    Argument::new(
        "may_match_more",
        Kind::Bool,
        "An address whose last number is 1 to 25 lets in all that begin with it (`10.0.0.9`: `10.0.0.90` to `.99`). It is refused without this.",
    ),
    Argument::new("directory", Kind::Path, "The configuration of qpsmtpd. The default is `/etc/qpsmtpd`."),
    Argument::new("state", Kind::Text, "Whether the hosts shall be in the list. The default is `present`.")
        .choices(&["present", "absent"]),
];

#[derive(Deserialize)]
struct Fields {
    hosts: Vec<String>,
    #[serde(default)]
    may_relay: bool,
    #[serde(default)]
    may_match_more: bool,
    directory: Option<String>,
    state: Option<String>,
}

struct Whitelist {
    hosts: Vec<String>,
    directory: String,
    absent: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let absent = fields.state.as_deref() == Some("absent");
    for host in &fields.hosts {
        let Ok(address) = host.parse::<Ipv4Addr>() else {
            return Err(Diagnostic::new(format!("`{host}` is no IPv4 address"))
                .hint("a part of one would let in all that begin with it"));
        };
        if let Some(more) = also_matched(address).filter(|_| !absent && !fields.may_match_more) {
            let message = format!("`{host}` in whitelisthosts also lets in {more}: qpsmtpd compares beginnings");
            return Err(Diagnostic::new(message)
                .hint("`tcp_rules` makes a door for one address; `may_match_more: true` lets them in"));
        }
    }
    if !absent && !fields.may_relay {
        let message =
            "a host in whitelisthosts can send mail to any domain through this one: `rcpt_ok` takes all from it";
        return Err(
            Diagnostic::new(message).hint("`tcp_rules` makes a door that does not relay; `may_relay: true` has it so")
        );
    }
    let directory = fields.directory.unwrap_or_else(|| "/etc/qpsmtpd".into());
    Ok(Box::new(Whitelist { hosts: fields.hosts, directory, absent }))
}

/// Returns the other addresses that begin with this one.
fn also_matched(address: Ipv4Addr) -> Option<String> {
    let [a, b, c, last] = address.octets();
    let longer = |digits: u32, count: u32| (u32::from(last) * digits, (u32::from(last) * digits + count).min(255));
    let ranges = [longer(10, 9), longer(100, 99)].into_iter().filter(|(from, to)| last > 0 && from <= to);
    let named: Vec<String> = ranges.map(|(from, to)| format!("{a}.{b}.{c}.{from} to .{to}")).collect();
    (!named.is_empty()).then(|| named.join(" and "))
}

fn edited(old: &str, hosts: &[String], absent: bool) -> String {
    let is_asked = |line: &str| hosts.iter().any(|host| line.trim() == host);
    let mut text: String = match absent {
        true => old.lines().filter(|line| !is_asked(line)).map(|line| format!("{line}\n")).collect(),
        false => old.lines().map(|line| format!("{line}\n")).collect(),
    };
    for host in hosts.iter().filter(|_| !absent) {
        if !text.lines().any(|line| line.trim() == host) {
            text += &format!("{host}\n");
        }
    }
    if text.trim_end() == old.trim_end() { old.into() } else { text }
}

/// Says why the list has no effect: its plugin is not loaded, or others are asked first.
fn without_effect(plugins: &str) -> Option<&'static str> {
    let names = plugins.lines().filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.filter(|name| !name.starts_with('#')).collect();
    // Those of the log and of the connection itself refuse nobody.
    let harmless = |name: &&str| name.starts_with("logging") || ["tls", "hosts_allow", "ident/geoip"].contains(name);
    match names.iter().position(|name| *name == "whitelist") {
        None => Some("does not load the plugin `whitelist`: the list has no effect"),
        Some(at) if !names[..at].iter().all(harmless) => {
            Some("loads other plugins before `whitelist`: those still refuse")
        }
        Some(_) => None,
    }
}

#[async_trait]
impl Module for Whitelist {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let path = |name: &str| format!("{}/{name}", self.directory.trim_end_matches('/'));
        let (file, plugins) = (path("whitelisthosts"), path("plugins"));
        let asked = [(file.clone(), Links::Keep), (plugins.clone(), Links::Follow)];
        let mut nodes = host.look_all(&asked, Want::Content).await?.into_iter();
        let (node, loaded) = (nodes.next().unwrap_or(Node::Absent), nodes.next().unwrap_or(Node::Absent));
        let old = text::read(&file, &node)?;
        let new = edited(&old, &self.hosts, self.absent);
        let changes = text::change(host, (&file, node, 0o644), (&old, &new)).into_iter().collect();
        let mut warnings = Vec::new();
        let loaded = text::read(&plugins, &loaded).unwrap_or_default();
        if let Some(why) = without_effect(&loaded).filter(|_| !self.absent) {
            warnings.push(format!("`{plugins}` {why}"));
        }
        let mut result = Results::new();
        result.insert("file".into(), json!(file));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_begin_like_another_one_are_named() {
        let also = |text: &str| also_matched(text.parse().unwrap());
        assert_eq!(also("10.77.0.9").unwrap(), "10.77.0.90 to .99");
        assert_eq!(also("10.77.0.2").unwrap(), "10.77.0.20 to .29 and 10.77.0.200 to .255");
        assert_eq!(also("10.77.0.1").unwrap(), "10.77.0.10 to .19 and 10.77.0.100 to .199");
        assert_eq!(also("10.77.0.25").unwrap(), "10.77.0.250 to .255");
        for alone in ["10.77.0.26", "10.77.0.99", "10.77.0.0", "10.77.0.100", "10.77.0.255"] {
            assert_eq!(also(alone), None, "{alone}");
        }
    }

    #[test]
    fn hosts_come_and_go_and_the_rest_stays() {
        let hosts = ["10.77.0.30".to_string()];
        let old = "# by hand\n10.0.0.40";
        let new = edited(old, &hosts, false);
        assert_eq!(new, "# by hand\n10.0.0.40\n10.77.0.30\n");
        assert_eq!((edited(&new, &hosts, false), edited(&new, &hosts, true)), (new, "# by hand\n10.0.0.40\n".into()));
        assert_eq!(edited(old, &hosts, true), old);
    }

    #[test]
    fn a_list_that_no_plugin_reads_is_told() {
        assert_eq!(without_effect("# all\nlogging/warn 9\nwhitelist\nrcpt_ok\n"), None);
        assert!(without_effect("dnsbl\nwhitelist\n").is_some_and(|why| why.contains("still refuse")));
        assert!(without_effect("rcpt_ok\n# whitelist\n").is_some_and(|why| why.contains("no effect")));
    }
}
