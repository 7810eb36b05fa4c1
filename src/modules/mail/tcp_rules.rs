//! `tcp_rules`: who may connect to a port of tcpserver's, in a rules file and the `cdb` that tcprules makes of it.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::system::SCRATCH;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Want};

use super::qmail::encode;
use super::text;

pub const ENTRY: Entry = Entry {
    name: "tcp_rules",
    summary: "Says who may connect to a port of tcpserver's: a rules file and its cdb, kept equal",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the old host alone may use its own door
  tcp_rules:
    file: /var/qmail/control/door.rules
    rules: ['10.77.0.9:allow', ':deny']
    state: only
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("file", Kind::Path, "The file with the rules (tcprules.1), one a line.").required(),
    Argument::new("cdb", Kind::Path, "What tcpserver reads with `-x`. The default is `file` with `.cdb` behind it."),
    Argument::new(
        "rules",
        Kind::Any,
        "A list of rules, `ADDRESS:allow` or `ADDRESS:deny`, each with `,VARIABLE=\"value\"` behind it if need be. With \
         `state: absent` addresses are enough. `RELAYCLIENT` is refused: it lets its address send mail anywhere.",
    )
    .required(),
    Argument::new(
        "state",
        Kind::Text,
        "`present` puts each rule in place of all for its address and keeps the rest, `only` keeps nothing else. The default is `present`.",
    )
    .choices(&["present", "absent", "only"]),
];

#[derive(Deserialize)]
struct Fields {
    file: String,
    cdb: Option<String>,
    rules: Vec<String>,
    #[serde(default)]
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Present,
    Absent,
    Only,
}

struct TcpRules {
    file: String,
    cdb: String,
    rules: Vec<String>,
    state: State,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let Fields { file, cdb, rules, state } = fields;
    for rule in &rules {
        check(rule, state).map_err(|why| Diagnostic::new(format!("the rule `{rule}` {why}")))?;
    }
    if rules.is_empty() {
        return Err(Diagnostic::new("`tcp_rules` needs `rules`").hint("`:deny` alone lets nobody in"));
    }
    let cdb = cdb.unwrap_or_else(|| format!("{file}.cdb"));
    if !file.starts_with('/') || !cdb.starts_with('/') {
        return Err(Diagnostic::new("`file` and `cdb` of `tcp_rules` have to be absolute paths"));
    }
    Ok(Box::new(TcpRules { file, cdb, rules, state }))
}

/// Returns the address of a rule: what stands before its first colon.
fn address(rule: &str) -> &str {
    rule.split(':').next().unwrap_or(rule)
}

/// Says why tcprules would not take a rule, or why nobody wants it (tcprules.1, tcpserver.1).
fn check(rule: &str, state: State) -> Result<(), &'static str> {
    if rule.contains(['\n', '\r', '\0']) || rule.starts_with('#') || rule.ends_with([' ', '\t']) || !rule.is_ascii() {
        return Err("is no line of rules");
    }
    let address = address(rule);
    let numeric = !address.is_empty() && address.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
    if numeric && !address.ends_with('.') && address.matches('.').count() != 3 {
        return Err("matches no address: a part of one ends with a dot, as `10.77.`");
    }
    if address.contains('/') {
        return Err("has a network with a mask, which tcpserver does not know: write `10.77.` or `10.77.0.8-15`");
    }
    if rule == address {
        return if state == State::Absent { Ok(()) } else { Err("says neither `allow` nor `deny`") };
    }
    let rest = &rule[address.len() + 1..];
    let (verdict, variables) = rest.split_once(',').unwrap_or((rest, ""));
    if !["allow", "deny"].contains(&verdict) {
        return Err("says neither `allow` nor `deny`");
    }
    if variables.split(',').any(|one| one.starts_with("RELAYCLIENT=")) {
        return Err("sets RELAYCLIENT, which lets its address send mail anywhere: rcpthosts is not asked then");
    }
    Ok(())
}

/// Returns the file's text as asked. Comments, order and other lines stay, but with `only`.
fn edited(old: &str, rules: &[String], state: State) -> String {
    if state == State::Only {
        return rules.iter().map(|rule| format!("{rule}\n")).collect();
    }
    let mut open: Vec<&String> = rules.iter().collect();
    let mut lines = Vec::new();
    for line in old.lines() {
        let is_rule = !line.is_empty() && !line.starts_with('#');
        match rules.iter().find(|rule| is_rule && address(rule) == address(line)) {
            None => lines.push(line),
            Some(rule) if state == State::Present && open.contains(&rule) => {
                lines.push(rule);
                open.retain(|other| *other != rule);
            }
            Some(_) => {}
        }
    }
    if state == State::Present {
        lines.extend(open.iter().map(|rule| rule.as_str()));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // Without an end of its last line it is the same file.
    if text.trim_end() == old.trim_end() { old.to_string() } else { text }
}

/// Says whether strangers are let in without being named: tcpserver lets in whom no rule names.
fn open_to_all(text: &str) -> bool {
    !text.lines().any(|line| line.starts_with(":allow") || line.starts_with(":deny"))
}

const MISSING: &str = "missing";
const OTHER: &str = "made from other rules";
const SAME: &str = "made from the rules as they are";

#[async_trait]
impl Module for TcpRules {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let node = host.look(&self.file, Want::Content).await?;
        let old = text::read(&self.file, &node)?;
        let new = edited(&old, &self.rules, self.state);
        let exists = node.exists();
        let edit = text::change(host, (&self.file, node, 0o644), (&old, &new));
        let edited = edit.is_some();
        let mut changes: Vec<Change> = edit.into_iter().collect();
        if edited || exists {
            changes.extend(self.compiled(host, edited.then_some(&new)).await?);
        }
        let mut warnings = Vec::new();
        if !new.is_empty() && open_to_all(&new) {
            warnings.push(format!("`{}` lets in whom no rule names: a rule `:deny` keeps them out", self.file));
        }
        let mut result = Results::new();
        result.insert("file".into(), json!(self.file));
        result.insert("cdb".into(), json!(self.cdb));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

impl TcpRules {
    /// Returns the change that makes the cdb from the rules, which are about to become `new` or stay.
    async fn compiled(&self, host: &View, new: Option<&String>) -> Result<Option<Change>, ModuleError> {
        let what = format!("{} of {}", self.cdb, self.file);
        let probe = self.probe("<\"$rules\"");
        let found = host.state(&what, &probe).await?;
        if ![MISSING, OTHER, SAME].contains(&found.as_str()) {
            return Err(ModuleError::failed(match found.is_empty() {
                true => format!("`{}` has no `tcprules`\nhint: it is in the package ucspi-tcp", host.name),
                false => format!("tcprules does not take `{}`: {found}", self.file),
            }));
        }
        let before = match new {
            None => found,
            Some(_) if found == MISSING => found,
            // It may have been made from the new rules before.
            Some(text) if !host.plans_ahead() => {
                let mut given = self.probe("");
                given.stdin = encode(text);
                host.probe(&given).await?.text().trim_end().to_string()
            }
            Some(_) => OTHER.into(),
        };
        let back = match before.as_str() {
            MISSING => Back::By(vec![Command::argv(["rm", "-f", &self.cdb])]),
            _ => Back::Again,
        };
        let by = format!(
            "{PATH}tcprules {} {} <{}",
            quote(&self.cdb),
            quote(&format!("{}.tmp", self.cdb)),
            quote(&self.file)
        );
        let change = Change::state(what, probe, (before, SAME.into()), vec![Command::shell(by)]);
        Ok(change.map(|change| change.taken_back(back)))
    }

    /// Makes the cdb anew in a directory that goes, and compares: the same rules give the same bytes.
    fn probe(&self, rules: &str) -> Command {
        Command::shell(format!(
            "{PATH}command -v tcprules >/dev/null || exit 0\n\
             cdb={} rules={}\n\
             [ -e \"$cdb\" ] || {{ echo {MISSING}; exit; }}\n\
             {SCRATCH}\
             if ! tcprules \"$new/cdb\" \"$new/tmp\" {rules} 2>&1; then :\n\
             elif cmp -s \"$new/cdb\" \"$cdb\"; then echo '{SAME}'\nelse echo '{OTHER}'\nfi",
            quote(&self.cdb),
            quote(&self.file)
        ))
    }
}

/// Where ucspi-tcp is installed by hand.
const PATH: &str = "PATH=$PATH:/usr/local/bin:/command; ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_takes_the_place_of_all_for_its_address_and_nothing_else_moves() {
        let old = "# doors\n10.77.0.9:deny\n127.:allow,RELAYCLIENT=\"\"\n10.77.0.9:allow\n:allow";
        let rules = ["10.77.0.9:allow".to_string(), ":deny".into()];
        let new = edited(old, &rules, State::Present);
        assert_eq!(new, "# doors\n10.77.0.9:allow\n127.:allow,RELAYCLIENT=\"\"\n:deny\n");
        assert_eq!(edited(&new, &rules, State::Present), new);
        assert_eq!(edited("", &rules, State::Present), "10.77.0.9:allow\n:deny\n");
        assert_eq!(edited(old, &rules, State::Only), "10.77.0.9:allow\n:deny\n");
        assert_eq!(
            edited(&new, &["10.77.0.9".into(), "".into()], State::Absent),
            "# doors\n127.:allow,RELAYCLIENT=\"\"\n"
        );
        assert_eq!(edited("10.77.0.9:allow\n", &["10.77.0.9".into()], State::Absent), "");
    }

    #[test]
    fn rules_that_relay_match_nothing_or_say_nothing_are_refused() {
        for (rule, says) in [
            ("10.77.0.9:allow,RELAYCLIENT=\"\"", "send mail anywhere"),
            ("10.77.0.9:allow,X=\"1\",RELAYCLIENT=\"@x\"", "send mail anywhere"),
            ("10.77.0:allow", "ends with a dot"),
            ("10.77.0.0/24:allow", "a mask"),
            ("10.77.0.9", "neither"),
            ("10.77.0.9:alow", "neither"),
            ("#10.77.0.9:allow", "no line"),
            ("a:allow\n:allow", "no line"),
        ] {
            assert!(check(rule, State::Present).is_err_and(|why| why.contains(says)), "{rule}");
        }
        for rule in [
            "10.77.0.9:allow",
            "10.77.:deny",
            "10.77.0.8-15:allow,DATABYTES=\"0\"",
            "=old.example.com:allow",
            ":deny",
            "joe@1.2.3.4:deny",
        ] {
            assert_eq!(check(rule, State::Present), Ok(()), "{rule}");
        }
        assert!(open_to_all("10.77.0.9:allow\n") && !open_to_all("10.77.0.9:allow\n:deny\n"));
    }
}
