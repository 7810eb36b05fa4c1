//! What `command`, `shell`, `raw` and `script` share: where a command runs, and when it need not run at all.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Kind, ModuleError, Outcome, Planned, Results, find};
use crate::transport::command::quote;
use crate::transport::{Command, Links, Program, TransportError, Want};

/// Arguments of every command that has a place and a reason to run.
pub const CONDITIONS: &[Argument] = &[
    Argument::new(
        "chdir",
        Kind::Path,
        "The directory to run in. The default is the home directory, and on this machine the one that Cutover was started in.",
    ),
    Argument::new(
        "creates",
        Kind::Path,
        "A path or pattern: where something is there already, the command does not run.",
    ),
    Argument::new("removes", Kind::Path, "A path or pattern: where nothing is there, the command does not run."),
];

/// Arguments about what goes in and comes out.
pub const STREAMS: &[Argument] = &[
    Argument::new("stdin", Kind::Text, "Text for the standard input. Without it that is empty."),
    Argument::new("stdin_add_newline", Kind::Bool, "Ends `stdin` with a newline. The default is true."),
    Argument::new(
        "strip_empty_ends",
        Kind::Bool,
        "Strips line ends from the end of stdout and stderr. The default is true.",
    ),
];

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Conditions {
    pub chdir: Option<String>,
    pub creates: Option<String>,
    pub removes: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Streams {
    stdin: Option<String>,
    stdin_add_newline: Option<bool>,
    strip_empty_ends: Option<bool>,
}

impl Streams {
    /// Returns the bytes for the standard input.
    pub fn stdin(&self) -> Vec<u8> {
        let Some(text) = &self.stdin else { return Vec::new() };
        let end = if self.stdin_add_newline.unwrap_or(true) { "\n" } else { "" };
        format!("{text}{end}").into_bytes()
    }

    /// Returns what a reader of the output has to know of it.
    pub fn results(&self) -> Results {
        let mut results = Results::new();
        if self.strip_empty_ends == Some(false) {
            results.insert("strip_empty_ends".into(), false.into());
        }
        results
    }
}

impl Conditions {
    /// Returns the plan that runs `command`, or does not where `creates` or `removes` says that it need not.
    pub async fn plan(&self, host: &View, command: Command, mut results: Results) -> Result<Planned, ModuleError> {
        let Some((path, is_there)) = self.unneeded(host).await? else { return Ok(self.run(host, command, results)) };
        let reason = format!("since '{path}' {}", if is_there { "exists" } else { "does not exist" });
        results.remove("strip_empty_ends");
        results.insert("cmd".into(), shown(&command));
        results.insert("rc".into(), 0.into());
        results.insert("msg".into(), format!("Did not run command {reason}").into());
        let text = format!("skipped, {reason}");
        results.insert("stdout_lines".into(), json!([text]));
        results.insert("stdout".into(), text.into());
        results.insert("stderr".into(), "".into());
        results.insert("stderr_lines".into(), json!([]));
        Ok(Planned::new(Vec::new(), results))
    }

    /// Returns the path for which nothing need be run, and whether it is there.
    pub async fn unneeded(&self, host: &View) -> Result<Option<(&str, bool)>, ModuleError> {
        let home = &host.identity().home;
        let directory = self.directory(host);
        let base = directory.as_deref().unwrap_or(home);
        for (path, is_there) in [(&self.creates, true), (&self.removes, false)] {
            if let Some(path) = path
                && exists(host, &absolute(path, base, home)).await? == is_there
            {
                return Ok(Some((path, is_there)));
            }
        }
        Ok(None)
    }

    /// Returns the plan that runs `command`.
    pub fn run(&self, host: &View, mut command: Command, mut results: Results) -> Planned {
        results.insert("cmd".into(), shown(&command));
        command.directory = self.directory(host);
        let changes = vec![Change::Run { command }];
        Planned { changes, result: Outcome::Applied(results), warnings: Vec::new() }
    }

    /// Returns where the command runs, if that is not at home.
    fn directory(&self, host: &View) -> Option<String> {
        let (home, here) = (&host.identity().home, &host.identity().base);
        let directory = self.chdir.as_deref().map(|path| absolute(path, here, home));
        directory.or_else(|| (here != home).then(|| here.clone()))
    }
}

/// Returns a command as results have it.
fn shown(command: &Command) -> Value {
    match &command.program {
        Program::Argv(words) => json!(words),
        _ => json!(command.line()),
    }
}

/// Returns `path` as an absolute one: `~` is the home directory, anything else is below `base`.
fn absolute(path: &str, base: &str, home: &str) -> String {
    match path {
        "~" => home.into(),
        _ if path.starts_with("~/") => format!("{home}{}", &path[1..]),
        _ if path.starts_with('/') => path.into(),
        _ => format!("{base}/{path}"),
    }
}

/// Says whether a path, or anything that a pattern means, is there.
async fn exists(host: &View, path: &str) -> Result<bool, TransportError> {
    if !path.contains(['*', '?', '[']) {
        let nodes = host.look_all(&[(path.into(), Links::Follow)], Want::Attributes).await?;
        return Ok(nodes.iter().any(|node| node.exists()));
    }
    if host.plans_ahead() {
        return matches(host, path).await;
    }
    // Only the letters with a meaning in patterns stay unquoted.
    let pattern: Vec<String> =
        split_keep(path).into_iter().map(|(word, open)| if open { word } else { quote(&word) }).collect();
    let script = format!("for path in {}; do [ -e \"$path\" ] && exit 0; done; exit 1", pattern.concat());
    Ok(host.probe(&Command::shell(script)).await?.success())
}

/// Says the same of what a check has planned: a listing has that in it.
async fn matches(host: &View, pattern: &str) -> Result<bool, TransportError> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let fixed = parts.iter().take_while(|part| !part.contains(['*', '?', '['])).count();
    let (directory, rest) = parts.split_at(fixed);
    let globs: Option<Vec<_>> =
        rest.iter().map(|part| Some(globset::Glob::new(part).ok()?.compile_matcher())).collect();
    let directory = format!("/{}", directory.join("/"));
    let entries = host.list(&directory, u32::try_from(rest.len()).ok()).await?;
    Ok(entries.iter().any(|entry| {
        let names: Vec<&str> = entry.path[directory.len()..].split('/').filter(|name| !name.is_empty()).collect();
        // A leading dot is only matched by one that is written.
        let fits = |((name, glob), part): ((&&str, &globset::GlobMatcher), &&str)| {
            glob.is_match(name) && (!name.starts_with('.') || part.starts_with('.'))
        };
        names.len() == rest.len() && globs.as_ref().is_some_and(|globs| names.iter().zip(globs).zip(rest).all(fits))
    }))
}

/// Splits a pattern into literal text and letters with a meaning, marked true.
fn split_keep(pattern: &str) -> Vec<(String, bool)> {
    let mut parts: Vec<(String, bool)> = Vec::new();
    for letter in pattern.chars() {
        let open = "*?[]!-".contains(letter);
        match parts.last_mut() {
            Some((text, kind)) if *kind == open => text.push(letter),
            _ => parts.push((letter.into(), open)),
        }
    }
    parts
}

/// Splits a command line into words as a POSIX shell would, without running any of it.
pub fn words(line: &str) -> Result<Vec<String>, Diagnostic> {
    shlex::split(line).ok_or_else(|| {
        Diagnostic::new(format!("the command `{line}` has an open quote")).hint("close it, or give `argv` as a list")
    })
}

/// Returns an argument's value as a word of a command.
pub fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Moves options such as `creates=/x` from a task's bare text to the arguments, where the module knows them.
pub fn with_options(module: &str, arguments: &Arguments) -> Result<Arguments, Diagnostic> {
    let (Some(entry), Some(line)) = (find(module), arguments.get("_raw_params").and_then(Value::as_str)) else {
        return Ok(arguments.clone());
    };
    let mut all: Map<String, Value> = arguments.read()?;
    let known = |name: &str| OPTIONS.contains(&name) && entry.argument(name).is_some();
    let (line, options) = take_options(line, known);
    all.extend(options.into_iter().map(|(name, value)| (name, Value::from(value))));
    all.insert("_raw_params".into(), line.into());
    entry.arguments(all)
}

/// What Ansible takes for an option in a bare command line; any other `name=value` belongs to the command.
const OPTIONS: [&str; 7] =
    ["chdir", "creates", "removes", "executable", "stdin", "stdin_add_newline", "strip_empty_ends"];

/// Splits a command line into what runs, as written, and its options.
fn take_options(line: &str, known: impl Fn(&str) -> bool) -> (String, Vec<(String, String)>) {
    let (mut kept, mut options) = (String::new(), Vec::new());
    let mut rest = line;
    while !rest.is_empty() {
        let space = rest.len() - rest.trim_start_matches([' ', '\t', '\n']).len();
        let word = &rest[space..][..word_length(&rest[space..])];
        match word.split_once('=').filter(|(name, _)| known(name)) {
            Some((name, value)) => {
                let value = shlex::split(value).map(|words| words.concat()).unwrap_or_else(|| value.into());
                options.push((name.into(), value));
            }
            None => kept += &rest[..space + word.len()],
        }
        rest = &rest[space + word.len()..];
    }
    (kept.trim().into(), options)
}

/// Returns the length of the first word, with its quoted parts and escapes.
fn word_length(text: &str) -> usize {
    let (mut quoted, mut escaped) = (None, false);
    for (index, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted != Some('\'') => escaped = true,
            '\'' | '"' if quoted.is_none() => quoted = Some(letter),
            _ if quoted == Some(letter) => quoted = None,
            ' ' | '\t' | '\n' if quoted.is_none() => return index,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_options_leave_the_line_and_the_rest_is_untouched() {
        let line = "echo  'a  creates=x' FOO=1 creates='/tmp/a b' chdir=/srv \"q";
        let (kept, options) = take_options(line, |name| OPTIONS.contains(&name));
        assert_eq!(kept, "echo  'a  creates=x' FOO=1 \"q");
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(options, [pair("creates", "/tmp/a b"), pair("chdir", "/srv")]);
    }

    #[test]
    fn a_relative_path_is_below_chdir() {
        assert_eq!(absolute("a", "/srv", "/root"), "/srv/a");
        assert_eq!(absolute("~/a", "/srv", "/root"), "/root/a");
    }
}
