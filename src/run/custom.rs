//! Modules of the user's: run on the host with their arguments, their JSON taken for the result.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::change::{Applied, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Arguments, Entry, Module, ModuleError, Outcome, Planned, Results};
use crate::playbook::library::{Custom, JSON_ARGS, Protocol};
use crate::transport::Command;
use crate::transport::command::quote;

use super::doing::Done;
use super::result;
use super::trouble::Trouble;

/// What stands for a module of the user's where a row of the table is asked for.
pub(super) const ENTRY: Entry = Entry {
    name: "custom",
    summary: "A module from a `library/`",
    arguments: &[],
    free_form: None,
    example: "",
    build: nothing,
};

fn nothing(_: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Err(Diagnostic::new("a module of the user's is built from its file"))
}

/// Runs on the host: keeps the module, which comes on stdin behind the lines of its arguments, in a directory of its own
/// for as long as it takes.
const RUN: &str = include_str!("custom.sh");

/// A module of the user's with its arguments.
pub(super) struct Called {
    pub name: String,
    pub file: Arc<Custom>,
    pub arguments: Map<String, Value>,
    /// It runs in a check.
    pub check: bool,
    /// `no_log`, and `-v`.
    pub quiet: (bool, u8),
}

#[async_trait]
impl Module for Called {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let command = self.command();
        if !(self.check && self.file.check_safe) {
            let changes = vec![Change::Run { command }];
            return Ok(Planned { changes, result: Outcome::Applied(Results::new()), warnings: Vec::new() });
        }
        let result = read(Applied { output: Some(host.probe(&command).await?), ..Applied::default() });
        if is(&result, "failed") {
            return Err(ModuleError::Failed { message: message(&result), result });
        }
        let run = Called {
            check: false,
            file: self.file.clone(),
            name: self.name.clone(),
            arguments: self.arguments.clone(),
            ..*self
        };
        let changes = if is(&result, "changed") { vec![Change::Run { command: run.command() }] } else { Vec::new() };
        Ok(Planned::new(changes, result))
    }
}

impl Called {
    fn command(&self) -> Command {
        let mut arguments = self.arguments.clone();
        let (no_log, verbosity) = self.quiet;
        let about = json!({
            "_ansible_check_mode": self.check, "_ansible_no_log": no_log, "_ansible_debug": false, "_ansible_diff": true,
            "_ansible_verbosity": verbosity, "_ansible_version": "2.19.0", "_ansible_module_name": self.name,
        });
        arguments.extend(about.as_object().cloned().unwrap_or_default());
        let given = match self.file.protocol {
            Protocol::Json => Value::Object(arguments.clone()).to_string(),
            Protocol::Within => String::new(),
            Protocol::Words => {
                arguments.iter().map(|(name, value)| format!("{name}={} ", quote(&python(value)))).collect()
            }
        };
        let module = match self.file.protocol {
            Protocol::Within => replaced(&self.file.content, &Value::Object(arguments).to_string()),
            _ => self.file.content.clone(),
        };
        let lines = given.matches('\n').count() + 1;
        let words: Vec<String> = self.file.interpreter.iter().map(|word| quote(word)).collect();
        let name = quote(&self.name);
        let mut command = Command::shell(format!(
            "# the module {name}\nc_name={name} c_lines={lines}\nset -- {}\n{RUN}",
            words.join(" ")
        ));
        command.stdin = [given.as_bytes(), b"\n", &module].concat();
        command
    }
}

/// Returns a value as Python's `str` would: what modules of the old protocol get.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn replaced(content: &[u8], with: &str) -> Vec<u8> {
    let (mut made, mut copied) = (Vec::with_capacity(content.len() + with.len()), 0);
    for at in memchr::memmem::find_iter(content, JSON_ARGS) {
        made.extend_from_slice(&content[copied..at]);
        made.extend_from_slice(with.as_bytes());
        copied = at + JSON_ARGS.len();
    }
    made.extend_from_slice(&content[copied..]);
    made
}

/// Returns the end of a task from what its module printed.
pub(super) fn done(applied: Applied) -> Result<Done, Trouble> {
    let mut result = read(applied);
    if is(&result, "failed") {
        return Err(Trouble::Failed { message: message(&result), result });
    }
    let (changed, skipped) = (is(&result, "changed"), is(&result, "skipped"));
    result.insert("changed".into(), changed.into());
    Ok(Done { changed, skipped, result, ..Done::default() })
}

/// Reads the one JSON object in a module's output; whatever is printed around it is left out, as Ansible does.
fn read(applied: Applied) -> Results {
    let output = applied.output.clone().unwrap_or_default();
    let text = output.text();
    match object(&text) {
        Some(mut result) => {
            result.extend(applied.report);
            // A status alone decides nothing: modules say `failed`.
            if !result.contains_key("failed") && result.get("rc").and_then(Value::as_i64).unwrap_or(0) != 0 {
                result.insert("failed".into(), true.into());
            }
            result
        }
        None => {
            let mut result = Results::new();
            let known = result::merged(Results::new(), applied);
            for (name, theirs) in [("rc", "rc"), ("stdout", "module_stdout"), ("stderr", "module_stderr")] {
                result.insert(theirs.into(), known.get(name).cloned().unwrap_or_default());
            }
            result.insert("failed".into(), true.into());
            let message = "MODULE FAILURE: no JSON object was found in what the module printed";
            result.insert("msg".into(), message.into());
            result
        }
    }
}

fn object(text: &str) -> Option<Results> {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| line.trim_start().starts_with('{'))?;
    let last = lines.iter().rposition(|line| line.trim_end().ends_with('}')).filter(|last| *last >= first)?;
    serde_json::from_str(&lines[first..=last].join("\n")).ok()
}

fn is(result: &Results, name: &str) -> bool {
    match result.get(name) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => ["yes", "true", "on", "1"].contains(&text.to_lowercase().as_str()),
        Some(Value::Number(number)) => number.as_i64() != Some(0),
        _ => false,
    }
}

fn message(result: &Results) -> String {
    result.get("msg").and_then(Value::as_str).unwrap_or("the module has failed").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_found_among_other_lines() {
        let found = object("noise\n[1]\n{\"a\": 1,\n \"b\": 2}\nmore noise\n").unwrap();
        assert_eq!(Value::Object(found), json!({"a": 1, "b": 2}));
        assert!(object("nothing").is_none() && object("} {").is_none());
    }

    #[test]
    fn arguments_stand_where_the_module_wants_them() {
        assert_eq!(replaced(b"a<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>b", "{}"), b"a{}b");
        assert_eq!([python(&json!(true)), python(&json!(null)), python(&json!("x"))], ["True", "None", "x"]);
    }
}
