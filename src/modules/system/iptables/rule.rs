//! A rule of iptables(8), from a task's arguments to the words of its command line.

use serde::Deserialize;

use crate::error::Diagnostic;
use crate::modules::{Argument, Kind};

pub const ARGUMENTS: &[Argument] = &[
    Argument::new("chain", Kind::Text, "The chain. Only `flush` of a whole table needs none."),
    Argument::new("table", Kind::Text, "The table. The default is `filter`.")
        .choices(&["filter", "nat", "mangle", "raw", "security"]),
    Argument::new("state", Kind::Text, "Whether the rule is there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new(
        "action",
        Kind::Text,
        "Where a new rule goes, and one whose removal is undone: to the end, or to the front. The default is `append`.",
    )
    .choices(&["append", "insert"]),
    Argument::new("rule_num", Kind::Text, "The number that an inserted rule gets."),
    Argument::new("ip_version", Kind::Text, "Whose packets. The default is `ipv4`.").choices(&["ipv4", "ipv6", "both"]),
    Argument::new("protocol", Kind::Text, "The protocol; a `!` before it inverts the test."),
    Argument::new("source", Kind::Text, "The sender's address or network; a `!` before it inverts the test."),
    Argument::new("destination", Kind::Text, "The receiver's address or network; a `!` before it inverts the test."),
    Argument::new(
        "tcp_flags",
        Kind::Map,
        "`flags`, a list of those to look at, and `flags_set`, those of them that are set.",
    ),
    Argument::new("match", Kind::List, "Extensions to load for tests."),
    Argument::new("jump", Kind::Text, "What happens to a packet that fits: `ACCEPT`, `DROP`, a chain."),
    Argument::new("goto", Kind::Text, "A chain to go on in, without a way back."),
    Argument::new("gateway", Kind::Text, "Where `jump: TEE` sends its copy."),
    Argument::new("log_prefix", Kind::Text, "What `jump: LOG` writes before each line."),
    Argument::new("log_level", Kind::Text, "The level of `jump: LOG`, by number or by name."),
    Argument::new("in_interface", Kind::Text, "The interface it came in by; a `!` before it inverts the test."),
    Argument::new("out_interface", Kind::Text, "The interface it goes out by; a `!` before it inverts the test."),
    Argument::new(
        "fragment",
        Kind::Text,
        "`!` for packets that are whole or a first fragment, any other text for further fragments.",
    ),
    Argument::new("set_counters", Kind::Text, "What the rule's counters start at: `PACKETS BYTES`."),
    Argument::new("source_port", Kind::Text, "The sender's port, or `FIRST:LAST`."),
    Argument::new("destination_port", Kind::Text, "The receiver's port, or `FIRST:LAST`."),
    Argument::new("destination_ports", Kind::List, "Several ports of the receiver's."),
    Argument::new("to_ports", Kind::Text, "The ports that `jump: REDIRECT` leads to."),
    Argument::new("to_destination", Kind::Text, "The address that `jump: DNAT` leads to."),
    Argument::new("to_source", Kind::Text, "The address that `jump: SNAT` puts in."),
    Argument::new("syn", Kind::Text, "Whether it opens a connection. The default is `ignore`.")
        .choices(&["ignore", "match", "negate"]),
    Argument::new("set_dscp_mark", Kind::Text, "The mark that `jump: DSCP` puts in, a number."),
    Argument::new("set_dscp_mark_class", Kind::Text, "The class of that mark."),
    Argument::new("comment", Kind::Text, "A remark that the rule carries."),
    Argument::new("ctstate", Kind::List, "States of its connection: `NEW`, `ESTABLISHED`, `RELATED`, `INVALID`."),
    Argument::new("src_range", Kind::Text, "Addresses of senders, `FIRST-LAST`."),
    Argument::new("dst_range", Kind::Text, "Addresses of receivers, `FIRST-LAST`."),
    Argument::new("match_set", Kind::Text, "A set of ipset(8); a `!` before it inverts the test."),
    Argument::new("match_set_flags", Kind::Text, "Which addresses are looked for in it.")
        .choices(&["src", "dst", "src,dst", "dst,src", "dst,dst", "src,src"]),
    Argument::new("limit", Kind::Text, "How often it fits at most: `5/second`."),
    Argument::new("limit_burst", Kind::Text, "How often before that counts."),
    Argument::new("uid_owner", Kind::Text, "The user whose packet it is; a `!` before it inverts the test."),
    Argument::new("gid_owner", Kind::Text, "The group whose packet it is; a `!` before it inverts the test."),
    Argument::new("reject_with", Kind::Text, "What is answered to a packet that is rejected; `jump` is `REJECT` then."),
    Argument::new("icmp_type", Kind::Text, "A type of ICMP, by number or by name."),
    Argument::new("flush", Kind::Bool, "Removes all rules of the chain, or of the table."),
    Argument::new("policy", Kind::Text, "What happens to a packet that no rule of the chain fits.")
        .choices(&["ACCEPT", "DROP", "QUEUE", "RETURN"]),
    Argument::new("wait", Kind::Text, "Seconds to wait for who has the filter's lock."),
    Argument::new(
        "chain_management",
        Kind::Bool,
        "Makes a missing chain; with `state: absent` and no rule it removes it.",
    ),
    Argument::new("numeric", Kind::Bool, "Names are never looked up for what is listed here; without effect."),
];

/// The part of the arguments that makes a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    protocol: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    tcp_flags: Option<TcpFlags>,
    #[serde(rename = "match")]
    matches: Vec<String>,
    jump: Option<String>,
    goto: Option<String>,
    gateway: Option<String>,
    log_prefix: Option<String>,
    log_level: Option<String>,
    in_interface: Option<String>,
    out_interface: Option<String>,
    fragment: Option<String>,
    set_counters: Option<String>,
    source_port: Option<String>,
    destination_port: Option<String>,
    destination_ports: Vec<serde_json::Value>,
    to_ports: Option<String>,
    to_destination: Option<String>,
    to_source: Option<String>,
    syn: Option<String>,
    set_dscp_mark: Option<String>,
    set_dscp_mark_class: Option<String>,
    comment: Option<String>,
    ctstate: Vec<String>,
    src_range: Option<String>,
    dst_range: Option<String>,
    match_set: Option<String>,
    match_set_flags: Option<String>,
    limit: Option<String>,
    limit_burst: Option<String>,
    uid_owner: Option<String>,
    gid_owner: Option<String>,
    reject_with: Option<String>,
    icmp_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TcpFlags {
    flags: Vec<String>,
    flags_set: Vec<String>,
}

impl Rule {
    /// Says what does not go together.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let logs = self.log_prefix.is_some() || self.log_level.is_some();
        if logs && self.jump.as_deref().is_some_and(|jump| jump != "LOG") {
            return Err(Diagnostic::new("`log_prefix` and `log_level` are for `jump: LOG`"));
        }
        for (left, right, both) in [
            (
                "set_dscp_mark",
                "set_dscp_mark_class",
                self.set_dscp_mark.is_some() && self.set_dscp_mark_class.is_some(),
            ),
            ("jump", "goto", self.jump.is_some() && self.goto.is_some()),
        ] {
            if both {
                return Err(Diagnostic::new(format!("`{left}` and `{right}` cannot both be given")));
            }
        }
        match self.match_set.is_some() == self.match_set_flags.is_some() {
            true => Ok(()),
            false => Err(Diagnostic::new("`match_set` and `match_set_flags` belong together")),
        }
    }

    /// Returns its words; `icmp` is what the filter calls that protocol.
    pub fn words(&self, icmp: &str) -> Vec<String> {
        let mut line = Line::default();
        let jump = self.jump.as_deref().or_else(|| self.implied());
        line.given("-p", self.protocol.as_deref());
        line.given("-s", self.source.as_deref());
        line.given("-d", self.destination.as_deref());
        for name in &self.matches {
            line.given("-m", Some(name));
        }
        if let Some(TcpFlags { flags, flags_set }) = &self.tcp_flags {
            line.put(&["--tcp-flags", &flags.join(","), &flags_set.join(",")]);
        }
        line.given("-j", jump);
        line.given("--gateway", self.gateway.as_deref());
        line.given("--log-prefix", self.log_prefix.as_deref());
        line.given("--log-level", self.log_level.as_deref());
        line.given("--to-destination", self.to_destination.as_deref());
        line.needs("multiport", !self.destination_ports.is_empty(), &self.matches);
        let ports: Vec<String> = self.destination_ports.iter().map(word).collect();
        line.listed("--dports", &ports);
        line.given("--to-source", self.to_source.as_deref());
        line.given("-g", self.goto.as_deref());
        line.given("-i", self.in_interface.as_deref());
        line.given("-o", self.out_interface.as_deref());
        line.flag("-f", self.fragment.as_deref().map(|text| text != "!"));
        if let Some((packets, bytes)) = self.set_counters.as_deref().and_then(|text| text.split_once([' ', ','])) {
            line.put(&["-c", packets, bytes]);
        }
        line.given("--source-port", self.source_port.as_deref());
        line.given("--destination-port", self.destination_port.as_deref());
        line.given("--to-ports", self.to_ports.as_deref());
        line.given("--set-dscp", self.set_dscp_mark.as_deref());
        line.given("--set-dscp-class", self.set_dscp_mark_class.as_deref());
        line.flag("--syn", self.syn.as_deref().filter(|text| *text != "ignore").map(|text| text == "match"));
        let old = self.matches.iter().any(|name| name == "state");
        line.needs("conntrack", !self.ctstate.is_empty() && !old, &self.matches);
        line.listed(if old { "--state" } else { "--ctstate" }, &self.ctstate);
        line.needs("iprange", self.src_range.is_some() || self.dst_range.is_some(), &self.matches);
        line.given("--src-range", self.src_range.as_deref());
        line.given("--dst-range", self.dst_range.as_deref());
        if let (Some(set), Some(flags)) = (&self.match_set, &self.match_set_flags) {
            line.needs("set", true, &self.matches);
            line.given("--match-set", Some(set));
            line.put(&[flags]);
        }
        line.needs("limit", self.limit.is_some() || self.limit_burst.is_some(), &self.matches);
        line.given("--limit", self.limit.as_deref());
        line.given("--limit-burst", self.limit_burst.as_deref());
        line.needs("owner", self.uid_owner.is_some() || self.gid_owner.is_some(), &self.matches);
        line.given("--uid-owner", self.uid_owner.as_deref());
        line.given("--gid-owner", self.gid_owner.as_deref());
        line.given("--reject-with", self.reject_with.as_deref());
        line.given(if icmp == "icmp" { "--icmp-type" } else { "--icmpv6-type" }, self.icmp_type.as_deref());
        line.needs("comment", self.comment.is_some(), &self.matches);
        if let Some(comment) = &self.comment {
            line.put(&["--comment", comment]);
        }
        line.0
    }

    /// Returns the target that other arguments mean.
    fn implied(&self) -> Option<&'static str> {
        if self.log_prefix.is_some() || self.log_level.is_some() {
            return Some("LOG");
        }
        if self.set_dscp_mark.is_some() || self.set_dscp_mark_class.is_some() {
            return Some("DSCP");
        }
        self.reject_with.as_ref().map(|_| "REJECT")
    }
}

fn word(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// The words of a rule as they come together.
#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn put(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| word.to_string()));
    }

    /// Adds an option with its value; one that begins with `!` is inverted.
    fn given(&mut self, option: &str, value: Option<&str>) {
        match value.map(|value| (value, value.strip_prefix('!'))) {
            Some((_, Some(rest))) => self.put(&["!", option, rest.trim_start()]),
            Some((value, None)) => self.put(&[option, value]),
            None => {}
        }
    }

    fn listed(&mut self, option: &str, values: &[String]) {
        if !values.is_empty() {
            self.put(&[option, &values.join(",")]);
        }
    }

    fn flag(&mut self, option: &str, set: Option<bool>) {
        match set {
            Some(true) => self.put(&[option]),
            Some(false) => self.put(&["!", option]),
            None => {}
        }
    }

    /// Loads an extension that is needed, unless the task does.
    fn needs(&mut self, extension: &str, needed: bool, given: &[String]) {
        if needed && !given.iter().any(|name| name == extension) {
            self.put(&["-m", extension]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(value: serde_json::Value) -> String {
        serde_json::from_value::<Rule>(value).unwrap().words("icmp").join(" ")
    }

    #[test]
    fn a_rule_is_what_the_program_takes() {
        for (rule, expected) in [
            (
                json!({"protocol": "tcp", "destination_port": "25", "ctstate": ["NEW", "RELATED"], "jump": "ACCEPT", "comment": "my mail"}),
                "-p tcp -j ACCEPT --destination-port 25 -m conntrack --ctstate NEW,RELATED -m comment --comment my mail",
            ),
            (json!({"source": "!10.0.0.0/8", "in_interface": "! eth0"}), "! -s 10.0.0.0/8 ! -i eth0"),
            (
                json!({"protocol": "tcp", "tcp_flags": {"flags": ["ALL"], "flags_set": ["ACK", "RST"]}, "syn": "negate"}),
                "-p tcp --tcp-flags ALL ACK,RST ! --syn",
            ),
            (json!({"log_prefix": "no: ", "log_level": "info"}), "-j LOG --log-prefix no:  --log-level info"),
            (json!({"reject_with": "tcp-reset"}), "-j REJECT --reject-with tcp-reset"),
            (json!({"set_dscp_mark_class": "CS1"}), "-j DSCP --set-dscp-class CS1"),
            (
                json!({"protocol": "tcp", "match": ["multiport"], "destination_ports": [25, "465:587"], "jump": "ACCEPT"}),
                "-p tcp -m multiport -j ACCEPT --dports 25,465:587",
            ),
            (json!({"match": ["state"], "ctstate": ["NEW"]}), "-m state --state NEW"),
            (
                json!({"match_set": "!bad", "match_set_flags": "src", "limit": "5/s", "limit_burst": "9"}),
                "-m set ! --match-set bad src -m limit --limit 5/s --limit-burst 9",
            ),
            (json!({"uid_owner": "!mail", "fragment": "!"}), "! -f -m owner ! --uid-owner mail"),
        ] {
            assert_eq!(words(rule), expected);
        }
        let six: Rule = serde_json::from_value(json!({"icmp_type": "echo-request"})).unwrap();
        assert_eq!(six.words("ipv6-icmp"), ["--icmpv6-type", "echo-request"]);
    }
}
