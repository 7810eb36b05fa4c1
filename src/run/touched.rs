//! What a command of the user's, or a task that only a run can decide, may change: nothing of it is known to later tasks.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::change::{Change, Transfer};
use crate::modules::{self, Kind};
use crate::transport::Transport as _;
use crate::vars::Var;

use super::doing::Doing;
use super::making::Machine;

impl Doing<'_> {
    /// Notes in a check that what the task's commands and transfers name is something else behind them.
    pub(super) fn forget_what_runs(&self, machine: &Machine, changes: &[Change], given: &Map<String, Value>) {
        let identity = machine.transport.identity();
        let (home, here) = (&identity.home, &identity.base);
        // A checkout and a database are states, and more than they say is below them.
        let is_more = |what: &str| ["git /", "subversion /", "database "].iter().any(|start| what.starts_with(start));
        let more = |change: &Change| matches!(change, Change::State(state) if is_more(state.what()));
        let commands = changes.iter().any(|change| matches!(change, Change::Run { .. }) || more(change));
        let named = if commands { touched(&self.task.action, given, (home, here)) } else { Vec::new() };
        named.iter().for_each(|what| self.forget(&machine.host, what));
        let states =
            changes.iter().filter_map(|change| if let Change::State(state) = change { Some(state) } else { None });
        states.flat_map(|state| state.paths()).for_each(|path| self.forget(&machine.host, path));
        for Transfer { from, mailboxes, .. } in changes.iter().filter_map(transfer) {
            for mailbox in mailboxes {
                self.forget(&machine.host, &mailbox.dest);
                self.forget(from, &mailbox.source);
            }
        }
    }

    /// Notes in a check that what the task names may be something else behind it: it is not known what it does.
    pub(super) fn forget_what_is_named(&self, needs: &Arc<str>) {
        let Ok(delegate) = self.delegate() else { return };
        let host = delegate.unwrap_or_else(|| self.host.to_string());
        let render = |node| self.templates().render(node, &self.scope).ok();
        let arguments = self.task.arguments.iter().filter_map(|(name, node)| Some((name.key(), render(node)?)));
        let free = self.task.free_form.iter().filter_map(|node| Some(("_raw_params".to_string(), render(node)?)));
        let given: Map<String, Value> = arguments.chain(free).collect();
        touched(&self.task.action, &given, ("/", "/")).iter().for_each(|what| self.forget(&host, what));
        if self.task.action == "set_fact" {
            let names = self.task.arguments.iter().map(|(name, _)| name.key());
            for (name, host) in names.flat_map(|name| self.facts_for.iter().map(move |host| (name.clone(), host))) {
                self.batch.run.fleet.set_fact(host, &name, Var::Unknown(needs.clone()));
            }
        }
    }

    /// Notes that something is known after a run only: it needs what this task does to it.
    fn forget(&self, host: &str, what: &str) {
        let needs = format!("what {} does to `{what}`", self.named()).into();
        self.batch.run.progress.pendings.with(host, |pending| pending.forget(what, &needs));
    }
}

fn transfer(change: &Change) -> Option<&Transfer> {
    if let Change::Transfer(transfer) = change { Some(transfer) } else { None }
}

/// Returns the absolute paths and the states that a task with these arguments may change. A command may change all that
/// it names, unless its program is known to read only.
fn touched(action: &str, given: &Map<String, Value>, (home, here): (&str, &str)) -> Vec<String> {
    let text = |names: &[&str]| names.iter().find_map(|name| given.get(*name)?.as_str().map(str::to_string));
    match modules::find(action).map_or(action, |entry| entry.name) {
        "command" | "shell" | "raw" | "script" => {
            let base = text(&["chdir"]).map_or_else(|| here.to_string(), |path| absolute(&path, here, home));
            let line = match given.get("argv").and_then(Value::as_array) {
                Some(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
                None => text(&["_raw_params", "cmd"]).unwrap_or_default(),
            };
            let declared = [text(&["creates"]), text(&["removes"])].into_iter().flatten();
            let named = if only_reads(&line) { Vec::new() } else { words(&line).skip(1).collect() };
            let named = declared.chain(named.into_iter().map(str::to_string)).collect::<Vec<_>>();
            named.iter().flat_map(|word| what_it_names(word, &base, home)).collect()
        }
        "copy" | "template" => {
            let file = |dest: String| match (dest.ends_with('/'), text(&["src"])) {
                (true, Some(src)) => format!("{dest}{}", src.rsplit('/').next().unwrap_or_default()),
                _ => dest,
            };
            text(&["dest"]).map(file).iter().map(|path| absolute(path, here, home)).collect()
        }
        "mysql_query" if !modules::database::may_write(given) => Vec::new(),
        "mysql_db" | "mysql_query" => vec![modules::database::DATABASES.into()],
        "service" | "systemd" => text(&["name"]).iter().map(|name| format!("service {name}")).collect(),
        name if LOOKING.contains(&name) => Vec::new(),
        name => {
            let argument = |name: &str| modules::find(action).and_then(|entry| entry.argument(name));
            let path = |name: &str| argument(name).is_some_and(|argument| matches!(argument.kind, Kind::Path));
            let named = given.iter().filter(|(name, _)| path(name)).filter_map(|(_, value)| value.as_str());
            let unsaid = (name == "mount" && !given.contains_key("fstab")).then_some("/etc/fstab");
            named.chain(unsaid).map(|path| absolute(path, here, home)).collect()
        }
    }
}

/// Modules that change nothing of their host.
const LOOKING: &[&str] = &[
    "fetch",
    "find",
    "gather_facts",
    "mail_logins",
    "mail_probe",
    "mount_facts",
    "ping",
    "plesk_facts",
    "qmail_activity",
    "qmail_facts",
    "setup",
    "slurp",
    "stat",
    "wait_for",
    "wait_for_connection",
];

/// Programs that change nothing of what they are given.
const READERS: &[&str] = &[
    "[",
    "cat",
    "cmp",
    "cut",
    "date",
    "df",
    "diff",
    "du",
    "echo",
    "egrep",
    "false",
    "fgrep",
    "file",
    "find",
    "getent",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "md5sum",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "sha1sum",
    "sha256sum",
    "stat",
    "tail",
    "test",
    "tr",
    "true",
    "uname",
    "uptime",
    "wc",
    "which",
    "whoami",
];

/// Says whether a command line changes nothing, as far as that is sure.
fn only_reads(line: &str) -> bool {
    let reads = |command: &str| {
        let program = command.split_whitespace().next().unwrap_or("true");
        READERS.contains(&program.rsplit('/').next().unwrap_or_default())
    };
    let writes = [">", "`", "$(", " -delete", " -exec", " -ok", " -fprint", " -fls"];
    !writes.iter().any(|sign| line.contains(sign)) && line.split(['|', ';', '&', '\n']).all(reads)
}

/// Returns the words of a command line, whatever a shell makes of them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| letter.is_whitespace() || ";|&<>()\"'`=,".contains(letter))
        .filter(|word| !word.is_empty())
}

/// Returns what a word of a command may name: a path, and a service.
fn what_it_names(word: &str, base: &str, home: &str) -> Vec<String> {
    let programs = ["/dev/", "/proc/", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"];
    if word.starts_with('-') || programs.iter().any(|directory| word.starts_with(directory)) {
        return Vec::new();
    }
    // Of a pattern the directory is known.
    let fixed = word.find(['*', '?', '[', '$', '{']).map_or(word, |at| &word[..word[..at].rfind('/').unwrap_or(0)]);
    let service = format!("service {}", word.rsplit('/').next().unwrap_or(word));
    let path = absolute(fixed, base, home);
    let path = path.trim_end_matches('/');
    if fixed.is_empty() || path.is_empty() { vec![service] } else { vec![path.to_string(), service] }
}

fn absolute(path: &str, base: &str, home: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ if path.starts_with('/') => path.into(),
        _ => format!("{}/{path}", base.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(action: &str, given: Value) -> Vec<String> {
        let all = touched(action, given.as_object().unwrap(), ("/root", "/root"));
        all.into_iter().filter(|what| what.starts_with('/')).collect()
    }

    #[test]
    fn a_command_touches_what_it_names_and_not_its_program() {
        let given = json!({"_raw_params": "/opt/run --to=/srv/a '/srv/b c' -x"});
        assert_eq!(paths("command", given), ["/srv/a", "/srv/b", "/root/c"]);
        let given = json!({"argv": ["mv", "one", "/srv/two"], "chdir": "/srv", "creates": "two"});
        assert_eq!(paths("command", given), ["/srv/two", "/srv/one", "/srv/two"]);
        assert_eq!(
            paths("shell", json!({"cmd": "echo x >/srv/log; rm /srv/*.old"})),
            ["/root/x", "/srv/log", "/root/rm", "/srv"]
        );
        let all =
            touched("ansible.builtin.command", json!({"cmd": "systemctl stop mail"}).as_object().unwrap(), ("/", "/"));
        assert!(all.contains(&"service mail".to_string()));
    }

    #[test]
    fn what_only_reads_touches_nothing() {
        for line in ["cat /etc/passwd", "ls /etc | wc -l", "/usr/bin/find /srv -name x", "test -e /a && stat /a"] {
            assert!(paths("shell", json!({"cmd": line})).is_empty(), "{line}");
        }
        for line in ["cat /a >/b", "find /srv -delete", "ls /a | xargs rm /b", "echo $(rm /b)"] {
            assert!(!paths("shell", json!({"cmd": line})).is_empty(), "{line}");
        }
        assert_eq!(paths("shell", json!({"cmd": "cat /x", "creates": "/y"})), ["/y"]);
    }

    #[test]
    fn an_undecided_task_touches_its_path() {
        assert_eq!(paths("copy", json!({"src": "a/b", "dest": "/etc/"})), ["/etc/b"]);
        assert_eq!(paths("file", json!({"path": "~/x"})), ["/root/x"]);
        assert!(paths("stat", json!({"path": "/x"})).is_empty());
    }
}
