//! `iptables`: a rule, a policy or a chain of the kernel's packet filter, as it is now.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Arguments, Entry, Module, ModuleError, Planned, Results, State};
use crate::transport::Command;
use crate::transport::command::quote;

use rule::{ARGUMENTS, Rule};

mod rule;

pub const IPTABLES: Entry = Entry {
    name: "iptables",
    summary: "Keeps a rule, a policy or a chain of the packet filter; what is kept over a boot is another program's",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: Mail comes in
  iptables:
    chain: INPUT
    protocol: tcp
    destination_port: smtp
    ctstate: [NEW]
    jump: ACCEPT
    comment: mail
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    table: Option<String>,
    chain: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    action: Action,
    rule_num: Option<String>,
    ip_version: Option<String>,
    #[serde(default)]
    flush: bool,
    policy: Option<String>,
    #[serde(default)]
    chain_management: bool,
    wait: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    Append,
    Insert,
}

struct Iptables {
    fields: Fields,
    /// Its words for IPv4 and for IPv6.
    rules: [Vec<String>; 2],
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let rule: Rule = arguments.read()?;
    rule.check()?;
    if fields.chain.is_none() && !fields.flush {
        return Err(Diagnostic::new("`iptables` needs `chain`").hint("`flush: true` alone empties a whole table"));
    }
    if fields.chain.as_deref().is_some_and(|chain| chain.is_empty() || chain.starts_with('-') || chain.contains(' ')) {
        return Err(Diagnostic::new("`chain` of `iptables` is no name of a chain"));
    }
    if fields.rule_num.is_some() && fields.action != Action::Insert {
        return Err(Diagnostic::new("`rule_num` is for `action: insert`"));
    }
    if fields.flush && fields.policy.is_some() {
        return Err(Diagnostic::new("`flush` and `policy` cannot both be given"));
    }
    Ok(Box::new(Iptables { fields, rules: [rule.words("icmp"), rule.words("ipv6-icmp")] }))
}

#[async_trait]
impl Module for Iptables {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let programs: &[&str] = match self.fields.ip_version.as_deref() {
            Some("ipv6") => &["ip6tables"],
            Some("both") => &["iptables", "ip6tables"],
            _ => &["iptables"],
        };
        let mut changes = Vec::new();
        for program in programs {
            let rule = &self.rules[usize::from(*program == "ip6tables")];
            let filter = Filter { host, program, fields: &self.fields };
            match (&self.fields.policy, self.fields.flush) {
                (_, true) => changes.extend(filter.flushed().await?),
                (Some(policy), _) => changes.extend(filter.policy(policy).await?),
                (None, false) => changes.extend(filter.ruled(rule).await?),
            }
        }
        let fields = &self.fields;
        let result = json!({
            "ip_version": fields.ip_version.as_deref().unwrap_or("ipv4"),
            "table": fields.table.as_deref().unwrap_or("filter"),
            "chain": fields.chain,
            "flush": fields.flush,
            "rule": self.rules[usize::from(programs[0] == "ip6tables")].join(" "),
            "state": fields.state.name(),
            "chain_management": fields.chain_management,
        });
        Ok(Planned::new(changes, result.as_object().cloned().unwrap_or_else(Results::new)))
    }
}

/// One packet filter of a host: that of IPv4 or that of IPv6.
struct Filter<'a> {
    host: &'a View,
    program: &'a str,
    fields: &'a Fields,
}

const MISSING: &str = "no such program";

impl Filter<'_> {
    fn table(&self) -> &str {
        self.fields.table.as_deref().unwrap_or("filter")
    }

    fn chain(&self) -> &str {
        self.fields.chain.as_deref().unwrap_or("")
    }

    /// Returns the command line of the program with these words.
    fn line(&self, words: &[&str]) -> String {
        let wait = self.fields.wait.as_deref().map(|seconds| ["-w", seconds]);
        let wait = wait.iter().flatten().copied();
        let words = [self.program].into_iter().chain(wait).chain(["-t", self.table()]).chain(words.iter().copied());
        words.map(quote).collect::<Vec<_>>().join(" ")
    }

    fn command(&self, words: &[&str]) -> Command {
        Command::shell(format!("{PATH}{}", self.line(words)))
    }

    fn probe(&self, body: &str) -> Command {
        Command::shell(format!(
            "{PATH}command -v {} >/dev/null 2>&1 || {{ echo {}; exit; }}\n{body}",
            self.program,
            quote(MISSING)
        ))
    }

    async fn state(&self, what: &str, probe: &Command) -> Result<String, ModuleError> {
        let found = self.host.state(what, probe).await?;
        match found == MISSING {
            true => Err(ModuleError::failed(format!("`{}` has no `{}`", self.host.name, self.program))),
            false => Ok(found),
        }
    }

    /// In a check: what is in a table behind its planned flush, or is flushed behind planned rules, is known in a run only.
    fn known(&self, kind: &str) -> Result<(), ModuleError> {
        let planned = self.host.planned_accounts(&format!("{kind} {} {}", self.program, self.table()));
        match planned.is_empty() {
            true => Ok(()),
            false => Err(ModuleError::Unknown(format!("what is in the table `{}` by then", self.table()).into())),
        }
    }

    async fn ruled(&self, rule: &[String]) -> Result<Vec<Change>, ModuleError> {
        self.known("all rules of")?;
        let chain = self.chain();
        let only_chain = self.fields.chain_management && rule.is_empty();
        let mut changes = Vec::new();
        if self.fields.chain_management && (self.fields.state == State::Present || only_chain) {
            changes.extend(self.chained().await?);
        }
        if only_chain {
            return Ok(changes);
        }
        let words: Vec<&str> = rule.iter().map(String::as_str).collect();
        let with = |verb: &[&str]| self.command(&[verb, &words].concat());
        let what = format!("rule of {} {} {chain}: {}", self.program, self.table(), rule.join(" "));
        let check = self.line(&[&["-C", chain], words.as_slice()].concat());
        let probe = self.probe(&format!("if {check} >/dev/null 2>&1; then echo there; else echo missing; fi\n"));
        let found = self.state(&what, &probe).await?;
        let number = self.fields.rule_num.as_deref();
        let add = match self.fields.action {
            Action::Append => with(&["-A", chain]),
            Action::Insert => with(&["-I", chain].into_iter().chain(number).collect::<Vec<_>>()),
        };
        let (after, by, back) = match self.fields.state {
            State::Present => ("there", add, with(&["-D", chain])),
            State::Absent => ("missing", with(&["-D", chain]), add),
        };
        let change = Change::state(what, probe, (found, after.into()), vec![by]);
        changes.extend(change.map(|change| change.taken_back(Back::By(vec![back]))));
        Ok(changes)
    }

    async fn chained(&self) -> Result<Option<Change>, ModuleError> {
        let what = format!("chain of {} {} {}", self.program, self.table(), self.chain());
        let list = self.line(&["-S", self.chain()]);
        let probe = self.probe(&format!("if {list} >/dev/null 2>&1; then echo there; else echo missing; fi\n"));
        let found = self.state(&what, &probe).await?;
        let [make, remove] = ["-N", "-X"].map(|verb| vec![self.command(&[verb, self.chain()])]);
        let (after, by, back) = match self.fields.state {
            State::Present => ("there", make, remove),
            State::Absent => ("missing", remove, make),
        };
        let change = Change::state(what, probe, (found, after.into()), by);
        Ok(change.map(|change| change.taken_back(Back::By(back))))
    }

    async fn policy(&self, policy: &str) -> Result<Option<Change>, ModuleError> {
        let what = format!("policy of {} {} {}", self.program, self.table(), self.chain());
        let list = self.line(&["-S", self.chain()]);
        let probe = self.probe(&format!("{list} 2>/dev/null | sed -n 's/^-P [^ ]* //p'\n"));
        let found = self.state(&what, &probe).await?;
        if found.is_empty() {
            let message = format!("`{}` is no chain of `{}` that has a policy", self.chain(), self.table());
            return Err(ModuleError::failed(message));
        }
        let set = |policy: &str| vec![self.command(&["-P", self.chain(), policy])];
        let (by, back) = (set(policy), set(&found));
        let change = Change::state(what, probe, (found, policy.into()), by);
        Ok(change.map(|change| change.taken_back(Back::By(back))))
    }

    async fn flushed(&self) -> Result<Option<Change>, ModuleError> {
        self.known("rule of")?;
        self.known("all rules of")?;
        let chain: Vec<&str> = self.fields.chain.iter().map(String::as_str).collect();
        let name = if chain.is_empty() { "*" } else { chain[0] };
        let what = format!("all rules of {} {} {name}", self.program, self.table());
        let list = self.line(&[&["-S"], chain.as_slice()].concat());
        let probe = self.probe(&format!("{list} 2>/dev/null\n"));
        let found = self.state(&what, &probe).await?;
        let (rules, heads): (Vec<&str>, Vec<&str>) = found.lines().partition(|line| line.starts_with("-A "));
        let after = heads.join("\n");
        let text = format!("*{}\n{}\nCOMMIT\n", self.table(), rules.join("\n"));
        let restore = Command::shell(format!("{PATH}{}-restore --noflush", self.program));
        let back = vec![Command { stdin: text.into_bytes(), ..restore }];
        let by = vec![self.command(&[&["-F"], chain.as_slice()].concat())];
        let change = Change::state(what, probe, (found.clone(), after), by);
        Ok(change.map(|change| change.taken_back(Back::By(back))))
    }
}

/// Where the programs of root's are.
const PATH: &str = "PATH=$PATH:/sbin:/usr/sbin\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    fn probe(body: &str) -> String {
        format!("{PATH}command -v iptables >/dev/null 2>&1 || {{ echo 'no such program'; exit; }}\n{body}")
    }

    #[tokio::test]
    async fn a_rule_a_chain_and_a_policy_are_states_with_a_way_back() {
        let bench = Bench::new();
        let rule =
            "if iptables -t filter -C INPUT -p tcp -j ACCEPT >/dev/null 2>&1; then echo there; else echo missing; fi\n";
        bench.host.on(&probe(rule), 0, "missing\n");
        let task = json!({"chain": "INPUT", "protocol": "tcp", "jump": "ACCEPT", "action": "insert", "rule_num": 3});
        let planned = bench.plan("iptables", task).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!() };
        let line = state.by()[0].line();
        assert!(line.ends_with("iptables -t filter -I INPUT 3 -p tcp -j ACCEPT"), "{line}");
        assert!(planned.changes[0].undone().is_ok());
        bench.host.on(&probe("iptables -t filter -S INPUT 2>/dev/null | sed -n 's/^-P [^ ]* //p'\n"), 0, "ACCEPT\n");
        let planned = bench.plan("iptables", json!({"chain": "INPUT", "policy": "DROP"})).await.unwrap();
        assert_eq!(planned.changes.len(), 1);
        let missing = json!({"chain": "INPUT", "policy": "DROP", "ip_version": "ipv6"});
        bench.host.on(
            &probe("ip6tables -t filter -S INPUT 2>/dev/null | sed -n 's/^-P [^ ]* //p'\n").replacen(
                "-v iptables",
                "-v ip6tables",
                1,
            ),
            0,
            "no such program\n",
        );
        assert!(bench.fails("iptables", missing).await.contains("has no `ip6tables`"));
        for (task, says) in [
            (json!({"protocol": "tcp"}), "needs `chain`"),
            (json!({"chain": "INPUT", "rule_num": "1"}), "for `action: insert`"),
            (json!({"chain": "INPUT", "jump": "DROP", "log_prefix": "x"}), "`jump: LOG`"),
        ] {
            assert!(bench.fails("iptables", task).await.contains(says));
        }
    }
}
