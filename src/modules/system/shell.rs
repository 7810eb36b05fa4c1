//! `shell` and `raw`: a text that a shell reads.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};
use crate::transport::{Command, Program};

use super::run::{self, CONDITIONS, Conditions, STREAMS, Streams};

pub const SHELL: Entry = Entry {
    name: "shell",
    summary: "Runs a text with the host's shell: pipes, redirections, variables",
    arguments: &[SHELL_ARGUMENTS, CONDITIONS, STREAMS],
    free_form: Some("_raw_params"),
    example: "\
- name: the local part of the queue is counted
  shell: /var/qmail/bin/qmail-qread | grep -c local
  register: count
  changed_when: false
  failed_when: count.rc > 1
",
    build: build_shell,
};

pub const RAW: Entry = Entry {
    name: "raw",
    summary: "Gives a text to the login shell as it is",
    arguments: &[RAW_ARGUMENTS],
    free_form: Some("_raw_params"),
    example: "\
- name: the kernel is named
  raw: uname -a
  changed_when: false
",
    build: build_raw,
};

const SHELL_ARGUMENTS: &[Argument] = &[
    Argument::new("_raw_params", Kind::Text, "The text, as the task's bare text."),
    Argument::new("cmd", Kind::Text, "The text."),
    Argument::new("executable", Kind::Path, "The shell, absolute. The default is `/bin/sh`."),
];

const RAW_ARGUMENTS: &[Argument] = &[
    Argument::new("_raw_params", Kind::Text, "The text, as the task's bare text."),
    Argument::new("executable", Kind::Path, "A shell to read it instead of the login shell, absolute."),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "_raw_params")]
    raw: Option<String>,
    cmd: Option<String>,
    executable: Option<String>,
    #[serde(flatten)]
    conditions: Conditions,
    #[serde(flatten)]
    streams: Streams,
}

struct Text {
    command: Command,
    conditions: Conditions,
    streams: Streams,
}

fn build_shell(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = run::with_options("shell", arguments)?.read()?;
    let script = text("shell", fields.raw, fields.cmd)?;
    let mut command = Command::new(Program::Shell { script, shell: fields.executable });
    command.stdin = fields.streams.stdin();
    Ok(Box::new(Text { command, conditions: fields.conditions, streams: fields.streams }))
}

fn build_raw(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = run::with_options("raw", arguments)?.read()?;
    let script = text("raw", fields.raw, None)?;
    let program = match fields.executable {
        Some(shell) => Program::Shell { script, shell: Some(shell) },
        None => Program::Raw(script),
    };
    Ok(Box::new(Text { command: Command::new(program), conditions: fields.conditions, streams: fields.streams }))
}

fn text(module: &str, raw: Option<String>, cmd: Option<String>) -> Result<String, Diagnostic> {
    match (raw, cmd) {
        (Some(text), None) | (None, Some(text)) if !text.trim().is_empty() => Ok(text),
        (Some(_), Some(_)) => Err(Diagnostic::new(format!("`{module}` takes one of bare text and `cmd`"))),
        _ => Err(Diagnostic::new(format!("`{module}` has no command to run")).hint(format!("`{module}: uptime`"))),
    }
}

#[async_trait]
impl Module for Text {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        self.conditions.plan(host, self.command.clone(), self.streams.results()).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::Change;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_text_reaches_the_shell_as_written() {
        let bench = Bench::new();
        let arguments = json!({"_raw_params": "a | b > \"$HOME\"  executable=/bin/bash", "stdin": "x"});
        let planned = bench.plan("shell", arguments).await.unwrap();
        let [Change::Run { command }] = planned.changes.as_slice() else { panic!() };
        let script = "a | b > \"$HOME\"".to_string();
        assert_eq!(command.program, Program::Shell { script, shell: Some("/bin/bash".into()) });
        assert_eq!(command.stdin, b"x\n");
        let planned = bench.plan("raw", json!({"_raw_params": "show version"})).await.unwrap();
        let [Change::Run { command }] = planned.changes.as_slice() else { panic!() };
        assert_eq!(command.program, Program::Raw("show version".into()));
    }
}
