//! `debconf`: an answer to a question that a package of Debian's asks when it is configured.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;
use crate::transport::command::quote;

pub const DEBCONF: Entry = Entry {
    name: "debconf",
    summary: "Answers a question of a Debian package before it is asked",
    arguments: &[&[
        Argument::new("name", Kind::Text, "The package.").required().alias(&["pkg"]),
        Argument::new("question", Kind::Text, "The question. Without one the answers that there are are told.")
            .alias(&["selection", "setting"]),
        Argument::new("value", Kind::Any, "The answer; a list for `multiselect`.").alias(&["answer"]),
        Argument::new(
            "vtype",
            Kind::Text,
            "The question's type; `seen` sets whether it counts as asked. Of a `password` only a fingerprint is shown.",
        )
        .choices(&[
            "boolean",
            "error",
            "multiselect",
            "note",
            "password",
            "seen",
            "select",
            "string",
            "text",
            "title",
        ]),
        Argument::new("unseen", Kind::Bool, "The question is still asked. The default is false."),
    ]],
    free_form: None,
    example: "\
- name: The mail's name is known before it is asked for
  debconf:
    name: postfix
    question: postfix/mailname
    vtype: string
    value: mail.example.com
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    name: String,
    question: Option<String>,
    value: Option<Value>,
    vtype: Option<String>,
    #[serde(default)]
    unseen: bool,
}

struct Debconf {
    package: String,
    answer: Option<Answer>,
}

struct Answer {
    question: String,
    kind: String,
    value: String,
    unseen: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let plain = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains([' ', '\t', '\n']);
    if let Some(wrong) = [Some(&fields.name), fields.question.as_ref()].into_iter().flatten().find(|text| !plain(text))
    {
        return Err(Diagnostic::new(format!("`{wrong}` is no name of a package or of a question")));
    }
    let answer = match (fields.question, fields.vtype, fields.value) {
        (None, None, None) => None,
        (Some(question), Some(kind), Some(value)) => {
            let value = text(&kind, &value);
            if value.contains('\n') {
                return Err(Diagnostic::new("an answer is one line"));
            }
            Some(Answer { question, kind, value, unseen: fields.unseen })
        }
        _ => return Err(Diagnostic::new("`question`, `vtype` and `value` of `debconf` belong together")),
    };
    Ok(Box::new(Debconf { package: fields.name, answer }))
}

/// Returns a value as debconf keeps it (debconf-devel(7)).
fn text(kind: &str, value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => items.iter().map(|item| text("", item)).collect::<Vec<_>>().join(", "),
        Value::String(text) if ["boolean", "seen"].contains(&kind) => text.to_lowercase(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Defines `ask`, which gives commands to debconf and prints its answers: a number, and the text.
const ASK: &str = r#"export LC_ALL=C DEBIAN_FRONTEND=noninteractive
command -v debconf-communicate >/dev/null 2>&1 || { echo 'no debconf'; exit; }
ask() { printf '%s %s%s\n' "$1" "$question" "$2" | debconf-communicate "$package" 2>/dev/null; }
"#;

/// Prints `= VALUE, seen`, `= VALUE, not seen` or `unset`.
const PROBE: &str = r#"value=$(ask GET) || { echo unset; exit; }
case $value in 0*) value=${value#0} ;; *) echo unset; exit ;; esac
value=${value# }
[ -z "$secret" ] || value=$(printf %s "$value" | fingerprint)
case $(ask FGET ' seen') in '0 true') seen=seen ;; *) seen='not seen' ;; esac
echo "= $value, $seen"
"#;

/// Tells a secret by a sum with what the host keeps to itself; where it has nothing of that kind by so little that it is that of many.
const FINGERPRINT: &str = r#"fingerprint() {
  salt=$(cat /etc/ssh/ssh_host_*_key 2>/dev/null)
  sum=$({ printf '%s\n' "$salt"; cat; } | { sha256sum 2>/dev/null || cksum; })
  sum=${sum%% *}
  if [ -n "$salt" ]; then length=12; else length=3; fi
  printf 'hidden:'; printf %s "$sum" | dd bs=1 count=$length 2>/dev/null
}
"#;

#[async_trait]
impl Module for Debconf {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let shown = format!("LC_ALL=C debconf-show {} 2>/dev/null", quote(&self.package));
        let all = answers(&host.probe(&Command::shell(shown)).await?.text());
        let Some(answer) = &self.answer else {
            return Ok(Planned::new(Vec::new(), Results::from_iter([("current".to_string(), json!(all))])));
        };
        let what = format!("debconf {} {}", self.package, answer.question);
        let probe = self.command(answer, PROBE);
        let found = host.state(&what, &probe).await?;
        if found == "no debconf" {
            return Err(ModuleError::failed(format!("`{}` has no debconf", host.name)));
        }
        let (old, seen) = match found.strip_prefix('=').and_then(|rest| rest.trim_start().rsplit_once(", ")) {
            Some((old, seen)) => (Some(old), seen == "seen"),
            None => (None, false),
        };
        let value = self.told(host, answer).await?;
        let after = match answer.kind.as_str() {
            "seen" => format!("= {}, {}", old.unwrap_or(""), said(answer.value == "true")),
            _ if old == Some(&value) => found.clone(),
            _ => format!("= {value}, {}", said(seen || !answer.unseen)),
        };
        if answer.kind == "seen" && old.is_none() {
            let message = format!("nobody has asked `{}` of `{}` yet", answer.question, self.package);
            return Err(ModuleError::failed(format!("{message}\nhint: answer it first")));
        }
        let mut result = Results::new();
        let changed = found != after;
        let told = |value: &str| json!({ answer.question.clone(): value });
        let before = old.map_or_else(|| json!(all), told);
        result.insert("current".into(), if changed { told(&value) } else { before.clone() });
        if changed {
            result.insert("previous".into(), before);
        }
        let by = vec![self.set(answer, (&answer.value, answer.unseen))];
        let back = match changed {
            true => self.back(host, answer, (old, seen)).await?,
            false => Vec::new(),
        };
        let change = Change::state(what, probe, (found, after), by).map(|change| change.taken_back(Back::By(back)));
        let change = change.map(|change| match answer.is_secret() {
            true => change.with_secret_commands(),
            false => change,
        });
        Ok(Planned::new(change.into_iter().collect(), result))
    }
}

fn said(seen: bool) -> &'static str {
    if seen { "seen" } else { "not seen" }
}

/// Reads what debconf-show prints: `* question: answer`.
fn answers(text: &str) -> Results {
    let lines = text.lines().filter_map(|line| {
        let (question, answer) = line.get(2..)?.split_once(':')?;
        Some((question.to_string(), Value::from(answer.trim())))
    });
    lines.collect()
}

impl Answer {
    fn is_secret(&self) -> bool {
        self.kind == "password"
    }
}

impl Debconf {
    fn command(&self, answer: &Answer, body: &str) -> Command {
        Command::shell(format!(
            "package={} question={} secret={}\n{FINGERPRINT}{ASK}{body}",
            quote(&self.package),
            quote(&answer.question),
            if answer.is_secret() { "yes" } else { "" }
        ))
    }

    /// Returns the value that is asked for as the probe tells it.
    async fn told(&self, host: &View, answer: &Answer) -> Result<String, ModuleError> {
        if !answer.is_secret() {
            return Ok(answer.value.trim_end().to_string());
        }
        let stdin = answer.value.clone().into_bytes();
        let command = Command { stdin, ..self.command(answer, "fingerprint\n") };
        Ok(host.probe(&command).await?.text().trim_end().to_string())
    }

    /// Returns the command that gives a value, on stdin.
    fn set(&self, answer: &Answer, (value, unseen): (&str, bool)) -> Command {
        let line = format!("{} {} {} {value}\n", self.package, answer.question, answer.kind);
        let words = ["debconf-set-selections", "--unseen"];
        Command { stdin: line.into_bytes(), ..Command::argv(words.into_iter().take(if unseen { 2 } else { 1 })) }
    }

    /// Returns what brings the answer back that is there now.
    async fn back(
        &self,
        host: &View,
        answer: &Answer,
        (old, seen): (Option<&str>, bool),
    ) -> Result<Vec<Command>, ModuleError> {
        let flag = self.command(answer, &format!("ask FSET ' seen {seen}' >/dev/null\n"));
        let Some(old) = old else { return Ok(vec![self.command(answer, "ask UNREGISTER >/dev/null\n")]) };
        if answer.kind == "seen" {
            return Ok(vec![flag]);
        }
        let mut old = old.to_string();
        if answer.is_secret() {
            let script = "value=$(ask GET) && value=${value#0} && printf '%s\\n' \"${value# }\"\n";
            old = host.probe(&self.command(answer, script)).await?.text().trim_end_matches('\n').to_string();
        }
        Ok(vec![self.set(answer, (&old, true)), flag])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_debconf_keeps_them() {
        assert_eq!(text("boolean", &json!("True")), "true");
        assert_eq!(text("multiselect", &json!(["de_DE", 1])), "de_DE, 1");
        assert_eq!(text("string", &json!("A b")), "A b");
        let all = answers("* postfix/mailname: mail.example.com\n  postfix/x: a: b\n  postfix/none:\n");
        assert_eq!(
            json!(all),
            json!({"postfix/mailname": "mail.example.com", "postfix/x": "a: b", "postfix/none": ""})
        );
        let built = |value: Value| {
            let arguments = DEBCONF.arguments(value.as_object().unwrap().clone())?;
            build(&arguments).map(drop)
        };
        assert!(built(json!({"name": "postfix"})).is_ok());
        assert!(
            built(json!({"name": "postfix", "question": "a"})).unwrap_err().to_string().contains("belong together")
        );
        let lines = json!({"name": "p", "question": "p/q", "vtype": "text", "value": "a\nb"});
        assert!(built(lines).unwrap_err().to_string().contains("one line"));
    }
}
