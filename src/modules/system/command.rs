//! `command`: a program and its arguments, with no shell between.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};
use crate::transport::Command;

use super::run::{self, CONDITIONS, Conditions, STREAMS, Streams};

pub const COMMAND: Entry = Entry {
    name: "command",
    summary: "Runs a program with arguments; no shell reads them",
    arguments: &[ARGUMENTS, CONDITIONS, STREAMS],
    free_form: Some("_raw_params"),
    example: "\
- name: the queue is shown
  command: /var/qmail/bin/qmail-qstat
  register: queue
  changed_when: false
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("_raw_params", Kind::Text, "The command line, as the task's bare text."),
    Argument::new("cmd", Kind::Text, "The command line."),
    Argument::new("argv", Kind::List, "The program and its arguments as a list."),
    Argument::new(
        "expand_argument_vars",
        Kind::Bool,
        "Puts the values of the host's environment variables for `$NAME` and `${NAME}`. The default is true.",
    ),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "_raw_params")]
    raw: Option<String>,
    cmd: Option<String>,
    argv: Option<Vec<serde_json::Value>>,
    expand_argument_vars: Option<bool>,
    #[serde(flatten)]
    conditions: Conditions,
    #[serde(flatten)]
    streams: Streams,
}

struct CommandModule {
    command: Command,
    conditions: Conditions,
    streams: Streams,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = run::with_options("command", arguments)?.read()?;
    let words = match (fields.raw, fields.cmd, fields.argv) {
        (Some(line), None, None) | (None, Some(line), None) => run::words(&line)?,
        (None, None, Some(argv)) => argv.iter().map(run::word).collect(),
        (None, None, None) => Vec::new(),
        _ => return Err(Diagnostic::new("`command` takes one of bare text, `cmd` and `argv`")),
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(Diagnostic::new("`command` has no command to run").hint("`command: /bin/true`"));
    }
    let expand = fields.expand_argument_vars.unwrap_or(true);
    let mut command = match expand && words.iter().any(|word| word.contains('$') || word.starts_with('~')) {
        true => Command::shell(words.iter().map(|word| expanded(word)).collect::<Vec<_>>().join(" ")),
        false => Command::argv(words),
    };
    command.stdin = fields.streams.stdin();
    Ok(Box::new(CommandModule { command, conditions: fields.conditions, streams: fields.streams }))
}

#[async_trait]
impl Module for CommandModule {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        self.conditions.plan(host, self.command.clone(), self.streams.results()).await
    }
}

/// Returns a word of a shell that stands for `word` with the environment's variables in it; a variable that is not set
/// stays as written, like a leading `~` of a user that is not there (`os.path.expandvars`, `expanduser`).
fn expanded(word: &str) -> String {
    // The shell knows the homes of others, where nothing of it is quoted.
    let others = word.strip_prefix('~').and_then(|tail| tail.split('/').next()).filter(|name| is_name(name));
    let open = others.map_or(0, |name| (name.len() + "~/".len()).min(word.len()));
    let (open, mut rest) = word.split_at(open);
    if rest.is_empty() && !open.is_empty() {
        return open.into();
    }
    let mut quoted = format!("{open}\"");
    if let Some(tail) = rest.strip_prefix('~').filter(|tail| tail.is_empty() || tail.starts_with('/')) {
        quoted += "${HOME}";
        rest = tail;
    }
    while let Some(letter) = rest.chars().next() {
        if let Some((name, whole)) = variable(rest) {
            let literal = whole.replace('$', "\\$").replace('}', "\\}");
            quoted += &format!("${{{name}-{literal}}}");
            rest = &rest[whole.len()..];
            continue;
        }
        if "\"\\$`".contains(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    quoted + "\""
}

/// Says whether a text is a user's name.
fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_') && text.chars().all(plain)
}

/// Returns the variable at the start of a text: its name, and how it is written there.
fn variable(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('$')?;
    let (rest, braces) = rest.strip_prefix('{').map_or((rest, 0), |rest| (rest, 2));
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
    let name = &rest[..end];
    let closed = braces == 0 || rest[end..].starts_with('}');
    let valid = closed && name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    valid.then(|| (name, &text[..1 + braces + end]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::Change;
    use crate::modules::Outcome;
    use crate::modules::files::bench::{Bench, results};
    use crate::modules::system::bench::Here;
    use crate::transport::Program;

    #[tokio::test]
    async fn a_command_is_a_run_of_its_words() {
        let bench = Bench::new();
        let planned = bench.plan("command", json!({"_raw_params": "echo 'a b' c=d chdir=/srv"})).await.unwrap();
        let [Change::Run { command }] = planned.changes.as_slice() else { panic!() };
        assert_eq!(command.program, Program::Argv(["echo", "a b", "c=d"].map(String::from).to_vec()));
        assert_eq!(command.directory.as_deref(), Some("/srv"));
        assert!(matches!(planned.result, Outcome::Applied(_)));
    }

    #[tokio::test]
    async fn creates_and_removes_say_when_it_need_not_run() {
        let bench = Bench::new();
        bench.host.file("/srv/done", "", 0o644);
        let made = json!({"cmd": "touch done", "chdir": "/srv", "creates": "done"});
        let planned = bench.plan("command", made).await.unwrap();
        assert!(planned.changes.is_empty());
        assert_eq!(results(planned)["msg"], "Did not run command since 'done' exists");
        let gone = json!({"argv": ["rm", "/srv/x"], "removes": "/srv/x"});
        assert!(bench.plan("command", gone).await.unwrap().changes.is_empty());
        let there = json!({"argv": ["rm", 7], "removes": "/srv/done"});
        assert_eq!(bench.plan("command", there).await.unwrap().changes.len(), 1);
    }

    #[test]
    fn variables_are_put_in_by_the_host_and_all_else_is_literal() {
        assert_eq!(expanded("a$HOME/${X_1}"), r#""a${HOME-\$HOME}/${X_1-\${X_1\}}""#);
        assert_eq!(expanded("$(id) `id` \"$\" ${a-b}"), r#""\$(id) \`id\` \"\$\" \${a-b}""#);
        assert_eq!(expanded("~/x"), r#""${HOME}/x""#);
        assert_eq!((expanded("~root"), expanded("~root/a b")), ("~root".into(), r#"~root/"a b""#.into()));
        assert_eq!(expanded("~$(id)/x"), r#""~\$(id)/x""#);
    }

    #[tokio::test]
    async fn nothing_to_run_and_an_open_quote_are_the_users_errors() {
        let bench = Bench::new();
        for arguments in [json!({}), json!({"cmd": "echo 'a"}), json!({"cmd": "a", "argv": ["b"]})] {
            assert!(matches!(bench.plan("command", arguments).await, Err(ModuleError::Wrong(_))));
        }
    }

    #[tokio::test]
    async fn words_reach_the_program_as_they_are_and_variables_as_the_host_has_them() {
        let here = Here::new().await;
        let arguments = json!({"_raw_params": "printf '%s|' '$HOME' 'a  b' '$nope' '`id`' '*'"});
        let home = &here.transport.identity().home;
        assert_eq!(here.run("command", arguments).await.text(), format!("{home}|a  b|$nope|`id`|*|"));
        let arguments = json!({"argv": ["printf", "%s", "$HOME"], "expand_argument_vars": false});
        assert_eq!(here.run("command", arguments).await.text(), "$HOME");
        let arguments = json!({"cmd": "cat", "stdin": "x", "stdin_add_newline": false, "chdir": here.path("")});
        assert_eq!(here.run("command", arguments).await.text(), "x");
        assert_eq!(here.run("command", json!({"argv": ["sh", "-c", "exit 7"]})).await.status, 7);
    }

    #[tokio::test]
    async fn a_pattern_is_matched_on_the_host() {
        let here = Here::new().await;
        here.write("a b/x.pid", "", 0o644);
        let pattern = |pattern: &str| json!({"cmd": "true", "chdir": here.path("a b"), "creates": pattern});
        assert!(here.plan("command", pattern("*.p[i]d")).await.unwrap().changes.is_empty());
        assert_eq!(here.plan("command", pattern("*.log")).await.unwrap().changes.len(), 1);
    }
}
