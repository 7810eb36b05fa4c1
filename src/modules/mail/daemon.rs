//! `qmail_daemon`: whether a host's qmail-send runs, has read its files, and lets mail out. Reads only.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::host::View;
use crate::modules::system::network::LISTENING;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;
use crate::transport::command::quote;

use super::drift::{Reread, UNREAD};
use super::qmail::{Effect, FILES};
use super::send::{QmailSend, TIMES};

pub const ENTRY: Entry = Entry {
    name: "qmail_daemon",
    summary: "Says whether qmail-send runs, since when, whether it has read its control files, and who listens",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: The daemons of the old host\n  qmail_daemon:\n    ports: [25]\n  register: daemon\n",
    build: |arguments| Ok(Box::new(QmailDaemon { given: arguments.read()? })),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("directory", Kind::Path, "The installation's directory. The default is `/var/qmail`."),
    Argument::new("ports", Kind::Any, "TCP ports of the host that somebody must listen at, as a list."),
    Argument::new(
        "qmail_send",
        Kind::Text,
        "A shell command that prints the id of qmail-send. By default `ps` is searched.",
    ),
];

#[derive(Deserialize)]
struct Given {
    directory: Option<String>,
    #[serde(default)]
    ports: Vec<u16>,
    qmail_send: Option<String>,
}

struct QmailDaemon {
    given: Given,
}

/// Prints `p PID START` of each qmail-send, `r FILE` of what changed since and is read at a start only, `l N` and `m N`, the
/// limits of local and remote deliveries.
const LOOK: &str = r#"for pid in $pids; do echo "p $pid $(started "$pid")"; done
for file in $files; do [ -z "$pids" ] || [ ! -e "$file" ] || ! unread "$file" || echo "r $file"; done
limit() { [ -e "$2" ] && read -r number <"$2" && echo "$1 $number"; }
limit l concurrencylocal
limit m concurrencyremote"#;

#[async_trait]
impl Module for QmailDaemon {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let directory = self.given.directory.as_deref().unwrap_or("/var/qmail").trim_end_matches('/');
        let control = format!("{directory}/control");
        let send =
            QmailSend { home: directory, control: &control, pid: self.given.qmail_send.as_deref(), service: "qmail" };
        let restart = FILES.iter().filter(|file| file.effect == Effect::Restart).map(|file| file.name);
        let script = format!(
            "cd {} || exit\npids=$({})\nfiles='{}'\n{TIMES}\n{{ {LOOK}\n{LISTENING}\n}} 2>/dev/null",
            quote(&control),
            send.find(),
            restart.collect::<Vec<_>>().join(" ")
        );
        let look = Command::shell(script);
        let (printed, reread) = tokio::try_join!(host.probe(&look), send.has_reread(host))?;
        if !printed.success() {
            return Err(ModuleError::failed(format!("`{}` has no qmail: there is no `{control}`", host.name)));
        }
        let found = Found::read(&printed.text());
        let problems = found.problems(reread, &self.given.ports);
        if host.plans_ahead() && !problems.is_empty() {
            return Err(ModuleError::Unknown(format!("the changes before it: {}", problems[0]).into()));
        }
        let mut results = Results::new();
        for (name, value) in [
            ("running", json!(!found.processes.is_empty())),
            ("since", json!(found.processes.iter().filter_map(|(_, since)| *since).min())),
            ("tables_read", json!(reread == Reread::Yes)),
            ("restart_needed", json!(found.restart)),
            ("concurrency", json!({"local": found.local, "remote": found.remote})),
            ("problems", json!(problems)),
        ] {
            results.insert(name.into(), value);
        }
        Ok(Planned { warnings: found.warnings(), ..Planned::new(Vec::new(), results) })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Each with the time of its start, in seconds since 1970.
    processes: Vec<(u32, Option<i64>)>,
    restart: Vec<String>,
    local: Option<u32>,
    remote: Option<u32>,
    listening: Vec<u16>,
}

impl Found {
    fn read(text: &str) -> Found {
        let mut found = Found::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (kind, word) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match kind {
                "p" => {
                    let since = words.next().and_then(|word| word.parse().ok());
                    found.processes.extend(word.parse().ok().map(|pid| (pid, since)));
                }
                "r" => found.restart.push(word.into()),
                "l" => found.local = word.parse().ok(),
                "m" => found.remote = word.parse().ok(),
                "port" => found.listening.extend(u16::from_str_radix(word, 16).ok()),
                _ => {}
            }
        }
        found
    }

    /// What waits for a restart holds no mail up: it is told and no more.
    fn warnings(&self) -> Vec<String> {
        let names = self.restart.join("`, `");
        let text = format!("`{names}` changed since qmail-send started, which reads that at its start only");
        (!self.restart.is_empty()).then_some(text).into_iter().collect()
    }

    fn problems(&self, reread: Reread, ports: &[u16]) -> Vec<String> {
        let mut problems = Vec::new();
        match (self.processes.len(), reread) {
            (0, _) => problems.push("qmail-send is not running".to_string()),
            (_, Reread::No) => {
                problems.push(UNREAD.into());
            }
            (_, Reread::Nowhere) => {
                problems.push("no qmail-send uses this installation: it has no `queue/lock/sendmutex`".into());
            }
            _ => {}
        }
        if self.processes.len() > 1 {
            problems.push(format!("{} processes are called qmail-send", self.processes.len()));
        }
        let held = [("concurrencylocal", self.local, "delivered"), ("concurrencyremote", self.remote, "sent")];
        let held = held.into_iter().filter(|(_, limit, _)| *limit == Some(0));
        problems.extend(held.map(|(name, _, what)| format!("`{name}` is 0: nothing is {what}")));
        let silent = ports.iter().filter(|port| !self.listening.contains(port));
        problems.extend(silent.map(|port| format!("nobody listens at port {port}")));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::results;
    use crate::modules::system::bench::Here;

    #[test]
    fn what_holds_mail_up_is_a_problem() {
        let found = Found::read("p 7 1700000000\nr queuelifetime\nm 0\nl 10\nport 0019\nport 006E\n");
        assert_eq!((found.processes[0], found.listening.clone()), ((7, Some(1_700_000_000)), vec![25, 110]));
        let problems = found.problems(Reread::No, &[25, 143]);
        for (problem, words) in problems.iter().zip(["has not read", "`concurrencyremote` is 0", "port 143"]) {
            assert!(problem.contains(words), "{problem}");
        }
        assert_eq!(problems.len(), 3);
        assert!(found.warnings()[0].contains("`queuelifetime` changed"));
        assert_eq!(Found::default().problems(Reread::Idle, &[]), ["qmail-send is not running"]);
        let two = Found::read("p 7 1\np 8 1\n").problems(Reread::Yes, &[]);
        assert_eq!(two, ["2 processes are called qmail-send"]);
    }

    #[tokio::test]
    async fn a_host_is_asked_for_what_runs_there() {
        let here = Here::new().await;
        here.write("control/me", "old.example\n", 0o644);
        here.write("control/concurrencyremote", "0\n", 0o644);
        here.write("queue/lock/sendmutex", "", 0o644);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = json!({"directory": here.path(""), "qmail_send": "echo $$", "ports": [port, 1]});
        let found = results(here.plan("qmail_daemon", task).await.unwrap());
        assert_eq!((&found["running"], &found["concurrency"]), (&json!(true), &json!({"local": null, "remote": 0})));
        let problems = found["problems"].to_string();
        assert!(problems.contains("`concurrencyremote` is 0") && problems.contains("nobody listens at port 1\""));
        assert!(found["since"].as_i64().unwrap() > 1_600_000_000 && !problems.contains(&format!("port {port}")));
        let idle = json!({"directory": here.path(""), "qmail_send": "true"});
        let found = results(here.plan("qmail_daemon", idle).await.unwrap());
        assert!(found["problems"][0] == "qmail-send is not running", "{found:?}");
    }
}
