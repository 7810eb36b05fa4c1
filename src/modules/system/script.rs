//! `script`: a script of the controller, run on the host, with no file left there.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::provenance;
use crate::secret;
use crate::transport::command::quote;
use crate::transport::name::{from_local, to_local};
use crate::transport::{Command, Content, INLINE_LIMIT, Links, Want};
use crate::vault;

use super::run::{self, CONDITIONS, Conditions};

pub const SCRIPT: Entry = Entry {
    name: "script",
    summary: "Runs a script of the controller on the host, which needs no copy of it",
    arguments: &[ARGUMENTS, CONDITIONS],
    free_form: Some("_raw_params"),
    example: "\
- name: the host is surveyed
  script: survey.sh --short
  changed_when: false
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("_raw_params", Kind::Text, "The script's path on the controller and its arguments, as bare text."),
    Argument::new("cmd", Kind::Text, "The script's path on the controller and its arguments."),
    Argument::new("executable", Kind::Text, "What runs the script. The default is its `#!` line, else `/bin/sh`."),
    Argument::new("decrypt", Kind::Bool, "`false` runs a file that ansible-vault has encrypted as it is."),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "_raw_params")]
    raw: Option<String>,
    cmd: Option<String>,
    executable: Option<String>,
    decrypt: Option<bool>,
    #[serde(flatten)]
    conditions: Conditions,
}

struct Script {
    name: String,
    arguments: Vec<String>,
    executable: Option<String>,
    decrypt: bool,
    conditions: Conditions,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = run::with_options("script", arguments)?.read()?;
    let line = match (fields.raw, fields.cmd) {
        (Some(line), None) | (None, Some(line)) => line,
        _ => {
            return Err(Diagnostic::new("`script` takes one of bare text and `cmd`")
                .hint("`script: survey.sh --short`")
                .msg("one of the following is required: _raw_params, cmd"));
        }
    };
    let mut words = run::words(&line)?.into_iter();
    let name = words.next().ok_or_else(|| Diagnostic::new("`script` names no script"))?;
    let (executable, decrypt, conditions) = (fields.executable, fields.decrypt.unwrap_or(true), fields.conditions);
    Ok(Box::new(Script { name, arguments: words.collect(), executable, decrypt, conditions }))
}

#[async_trait]
impl Module for Script {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let path = from_local(host.controller().find("files", &self.name)?);
        let nodes = host.controller().transport.look(&[(path.clone(), Links::Follow)], Want::Content).await?;
        let bytes = nodes.first().and_then(|node| node.content()).and_then(Content::bytes).ok_or_else(|| {
            let limit = INLINE_LIMIT / 1024;
            Diagnostic::new(format!("the script `{path}` cannot be read, or is larger than {limit} KiB"))
        })?;
        provenance::content_as(&to_local(&path), bytes);
        let opened = match self.decrypt && vault::is_sealed(bytes) {
            true => Some(vault::open(&String::from_utf8_lossy(bytes)).map_err(|error| {
                Diagnostic::new(format!("the script `{path}` cannot be decrypted: {error}")).hint(error.hint())
            })?),
            false => None,
        };
        let bytes = opened.as_ref().map_or(bytes, |opened| opened.as_slice());
        if opened.is_some() {
            secret::note(&String::from_utf8_lossy(bytes));
        }
        let interpreter = match &self.executable {
            Some(line) => run::words(line)?,
            None => interpreter(bytes),
        };
        if let Some((path, is_there)) = self.conditions.unneeded(host).await? {
            let why =
                if is_there { "exists, matching creates option" } else { "does not exist, matching removes option" };
            let results = [("skipped".to_string(), true.into()), ("msg".to_string(), format!("{path} {why}").into())];
            return Ok(Planned::new(Vec::new(), Results::from_iter(results)));
        }
        let command = command((&self.name, bytes), &interpreter, &self.arguments);
        Ok(self.conditions.run(host, command, Results::new()))
    }
}

/// Returns the program of a script's `#!` line and its one argument.
fn interpreter(script: &[u8]) -> Vec<String> {
    let line = script.split(|byte| *byte == b'\n').next().unwrap_or(b"");
    let line = String::from_utf8_lossy(line);
    let words = line.strip_prefix("#!").map(|rest| rest.trim().splitn(2, [' ', '\t']).map(|word| word.trim().into()));
    words.map(Iterator::collect).filter(|words: &Vec<String>| !words[0].is_empty()).unwrap_or(vec!["/bin/sh".into()])
}

/// Returns the command that runs a script that comes on its standard input.
fn command((name, script): (&str, &[u8]), interpreter: &[String], arguments: &[String]) -> Command {
    let quoted = |words: &[String]| words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let (program, arguments) = (quoted(interpreter), quoted(arguments));
    let name = quote(name.rsplit('/').next().unwrap_or(name));
    let text = if is_shell(interpreter) && !script.contains(&0) {
        // Read whole before its first command runs, so that no command of the script can read the rest of it.
        format!("{program} -c 'script=$(cat && echo .) && eval \"${{script%.}}\"' {name} {arguments}")
    } else {
        format!(
            "umask 077\nnew=$(mktemp -d \"${{TMPDIR:-/tmp}}/cutover.XXXXXX\") || exit\ntrap 'rm -rf \"$new\"' EXIT\n\
             trap 'exit 129' HUP\ntrap 'exit 130' INT\ntrap 'exit 143' TERM\nfile=$new/{name}\ncat >\"$file\" || exit\n\
             {program} \"$file\" {arguments} </dev/null\n"
        )
    };
    let mut command = Command::shell(text.trim_end_matches(' '));
    command.stdin = script.to_vec();
    command
}

fn is_shell(interpreter: &[String]) -> bool {
    let program = match interpreter {
        [env, shell] if env.ends_with("/env") => shell,
        [program, ..] => program,
        [] => return false,
    };
    ["sh", "ash", "dash", "bash", "ksh", "mksh", "zsh"].contains(&program.rsplit('/').next().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::change::Change;
    use crate::modules::system::bench::Here;

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(interpreter(b"#! /bin/bash -e -x\necho"), ["/bin/bash", "-e -x"]);
        assert_eq!(interpreter(b"#!/usr/bin/env perl\r"), ["/usr/bin/env", "perl"]);
        assert_eq!(interpreter(b"echo\n"), ["/bin/sh"]);
        assert_eq!(interpreter(b""), ["/bin/sh"]);
        assert!(is_shell(&["/usr/bin/env".into(), "bash".into()]) && !is_shell(&["/usr/bin/python3".into()]));
    }

    #[tokio::test]
    async fn a_script_gets_its_arguments_and_cannot_eat_itself() {
        let here = Here::new().await;
        here.write(
            "s.sh",
            "#!/bin/sh\ncat\nprintf '%s|' \"$0\" \"$@\"\nread x || echo end\nexit 3\nnot ( shell",
            0o644,
        );
        let output = here.run("script", json!({"_raw_params": "s.sh 'a b' c"})).await;
        assert_eq!((output.text().as_str(), output.status), ("s.sh|a b|c|end\n", 3));
        let output = here.run("script", json!({"_raw_params": "s.sh x", "executable": "/bin/sh -x"})).await;
        assert!(output.error_text().contains("cat"), "{output:?}");
    }

    #[tokio::test]
    async fn a_script_for_another_program_leaves_no_file() {
        let here = Here::new().await;
        // It finds itself by its own name, as many do.
        here.write(
            "s.awk",
            "#!/usr/bin/awk -f\nBEGIN { print ARGV[1]; system(\"echo $TMPDIR/*/*\"); exit 4 }\n",
            0o644,
        );
        let temp = here.path("temp");
        std::fs::create_dir(&temp).unwrap();
        let planned = here.plan("script", json!({"cmd": "s.awk one"})).await.unwrap();
        let [Change::Run { command }] = planned.changes.as_slice() else { panic!() };
        let mut command = command.clone();
        command.environment.push(("TMPDIR".into(), temp.clone()));
        let output = here.transport.run(&command).await.unwrap();
        assert_eq!(output.status, 4, "{output:?}");
        let text = output.text();
        assert!(text.starts_with(&format!("one\n{temp}/cutover.")) && text.ends_with("/s.awk\n"), "{output:?}");
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
    }
}
