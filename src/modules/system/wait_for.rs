//! `wait_for`: a port, a file or a text in one of them, awaited with one look an interval.

use std::time::Duration;

use async_trait::async_trait;
use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{absolute, bytes_of};
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::regex;
use crate::transport::command::quote;
use crate::transport::{Command, Links, Node, Want};

use super::network;

pub const WAIT_FOR: Entry = Entry {
    name: "wait_for",
    summary: "Waits for a port, a file or a text, or for a time",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: SMTP answers
  wait_for:
    port: 25
    search_regex: ^220
    timeout: 60
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("host", Kind::Text, "The name or address to connect to from the host. The default is `127.0.0.1`."),
    Argument::new("port", Kind::Int, "The TCP port."),
    Argument::new("path", Kind::Path, "A file, instead of a port."),
    Argument::new(
        "search_regex",
        Kind::Text,
        "A Python regular expression to be found in the file or in what the port says first.",
    ),
    Argument::new(
        "state",
        Kind::Text,
        "`started` or `present`: it is there; `stopped` or `absent`: it is not; `drained`: no connection is left.",
    )
    .choices(&["started", "present", "stopped", "absent", "drained"]),
    Argument::new(
        "timeout",
        Kind::Int,
        "Seconds to wait at most; the time to wait where nothing is named. The default is 300.",
    ),
    Argument::new("delay", Kind::Int, "Seconds before the first look. The default is 0."),
    Argument::new("sleep", Kind::Int, "Seconds between looks. The default is 1."),
    Argument::new("connect_timeout", Kind::Int, "Seconds for one connection. The default is 5."),
    Argument::new("active_connection_states", Kind::List, "What `drained` counts, in the names of `netstat`."),
    Argument::new("exclude_hosts", Kind::List, "Addresses whose connections `drained` does not count."),
    Argument::new("msg", Kind::Text, "What to say when the time is over."),
];

#[derive(Deserialize)]
struct Fields {
    host: Option<String>,
    port: Option<u16>,
    path: Option<String>,
    search_regex: Option<String>,
    state: Option<String>,
    timeout: Option<u64>,
    delay: Option<u64>,
    sleep: Option<u64>,
    connect_timeout: Option<u64>,
    active_connection_states: Option<Vec<String>>,
    #[serde(default)]
    exclude_hosts: Vec<String>,
    msg: Option<String>,
}

/// What is waited for.
enum Target {
    Port {
        host: String,
        port: u16,
    },
    Path(String),
    /// No connection of a state in `states` on this port, but those from `exclude`.
    Drained {
        host: String,
        port: u16,
        states: Vec<String>,
        exclude: Vec<String>,
    },
    /// Nothing: only the time.
    Time,
}

struct WaitFor {
    target: Target,
    wanted: Wanted,
    regex: Option<Regex>,
    fields: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    There,
    Gone,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let state = fields.state.as_deref().unwrap_or("started");
    let host = fields.host.clone().unwrap_or_else(|| "127.0.0.1".into());
    let target = match (fields.port, &fields.path) {
        (Some(_), Some(_)) => {
            let error = Diagnostic::new("`wait_for` takes one of `port` and `path`");
            return Err(error.msg("port and path parameter can not both be passed to wait_for"));
        }
        (None, Some(_)) if matches!(state, "stopped" | "drained") => {
            let error = Diagnostic::new(format!("`state: {state}` of `wait_for` is for a `port`"));
            let told = format!("state={state} should only be used for checking a port in the wait_for module");
            return Err(error.msg(told));
        }
        _ if !fields.exclude_hosts.is_empty() && state != "drained" => {
            let error = Diagnostic::new("`exclude_hosts` of `wait_for` is for `state: drained`");
            return Err(error.msg("exclude_hosts should only be with state=drained"));
        }
        (None, None) if state == "drained" => {
            return Err(Diagnostic::new("`state: drained` of `wait_for` needs a `port`"));
        }
        (Some(port), None) if state == "drained" => {
            let usual = ["ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "SYN_RECV", "SYN_SENT", "TIME_WAIT"];
            let states = fields.active_connection_states.clone().unwrap_or(usual.map(String::from).to_vec());
            if let Some(name) = states.iter().find(|name| !network::TCP_STATES.contains(&name.as_str())) {
                let error = Diagnostic::new(format!("unknown state of a connection `{name}`"));
                let error = error.msg(format!("unknown active_connection_state ({name}) defined"));
                return Err(error.suggest(name, network::TCP_STATES.iter().copied()));
            }
            Target::Drained { host, port, states, exclude: fields.exclude_hosts.clone() }
        }
        (Some(port), None) => Target::Port { host, port },
        (None, Some(path)) => Target::Path(path.clone()),
        (None, None) => Target::Time,
    };
    let wanted = if matches!(state, "stopped" | "absent") { Wanted::Gone } else { Wanted::There };
    let regex = fields.search_regex.as_deref().map(|text| {
        let wrong = |error| Diagnostic::new(format!("`search_regex` of `wait_for` cannot be read: {error}"));
        regex::compiled(text, true).map_err(wrong)
    });
    // What is to be gone is to be gone whatever it says.
    let regex = regex.filter(|_| wanted == Wanted::There);
    Ok(Box::new(WaitFor { target, wanted, regex: regex.transpose()?, fields }))
}

#[async_trait]
impl Module for WaitFor {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let start = Instant::now();
        let mut result = Results::new();
        result.insert("state".into(), json!(self.fields.state.as_deref().unwrap_or("started")));
        result.insert("port".into(), json!(self.fields.port));
        result.insert("path".into(), json!(self.fields.path.as_deref().map(|path| absolute(host, path))));
        result.insert("search_regex".into(), json!(self.fields.search_regex));
        result.insert("match_groups".into(), json!([]));
        result.insert("match_groupdict".into(), json!({}));
        let seconds = |given: Option<u64>, usual| Duration::from_secs(given.unwrap_or(usual));
        if host.plans_ahead() {
            // What is awaited may come from a change that a check does not make: to wait would be in vain.
            let missing = match self.target {
                Target::Time => None,
                _ => self.look(host, &mut result).await?,
            };
            if let Some(missing) = missing {
                return Err(ModuleError::Unknown(format!("the changes before it: {missing} yet").into()));
            }
            result.insert("elapsed".into(), 0.into());
            return Ok(Planned::new(Vec::new(), result));
        }
        let timeout = seconds(self.fields.timeout, 300);
        tokio::time::sleep(seconds(self.fields.delay, 0)).await;
        while self.look(host, &mut result).await?.is_some() {
            if start.elapsed() >= timeout {
                let message = self.fields.msg.clone().unwrap_or_else(|| self.in_vain());
                result.insert("elapsed".into(), start.elapsed().as_secs().into());
                return Err(ModuleError::Failed { message, result });
            }
            let left = timeout.saturating_sub(start.elapsed());
            tokio::time::sleep(seconds(self.fields.sleep, 1).min(left)).await;
        }
        result.insert("elapsed".into(), start.elapsed().as_secs().into());
        Ok(Planned::new(Vec::new(), result))
    }
}

impl WaitFor {
    /// Says what was waited for in vain.
    fn in_vain(&self) -> String {
        let text = self.regex.as_ref().and(self.fields.search_regex.as_ref());
        let text = text.map(|regex| format!("search string {regex} in ")).unwrap_or_default();
        let what = match (&self.target, self.wanted) {
            (Target::Port { host, port }, Wanted::Gone) => format!("{host}:{port} to stop."),
            (Target::Path(path), Wanted::Gone) => format!("{path} to be absent."),
            (Target::Port { host, port }, Wanted::There) => format!("{text}{host}:{port}"),
            (Target::Path(path), Wanted::There) if text.is_empty() => format!("file {path}"),
            (Target::Path(path), Wanted::There) => format!("{text}{path}"),
            (Target::Drained { host, port, .. }, _) => format!("{host}:{port} to drain"),
            (Target::Time, _) => "the time".into(),
        };
        format!("Timeout when waiting for {what}")
    }

    /// Looks once. Returns what is still in the way, or nothing.
    async fn look(&self, host: &View, result: &mut Results) -> Result<Option<String>, ModuleError> {
        let (what, text) = match &self.target {
            Target::Time => {
                let timeout = Duration::from_secs(self.fields.timeout.unwrap_or(300));
                tokio::time::sleep(timeout).await;
                return Ok(None);
            }
            Target::Drained { port, states, exclude, .. } => {
                let table = host.probe(&Command::shell(network::CONNECTIONS)).await?.text();
                let counts = |connection: &network::Connection| {
                    connection.port == *port
                        && states.iter().any(|state| state == connection.state)
                        && !exclude.contains(&connection.peer.to_string())
                };
                let count = network::connections(&table).into_iter().filter(counts).count();
                return Ok((count > 0).then(|| format!("port {port} still has {count} connections")));
            }
            Target::Path(path) => {
                let full = absolute(host, path);
                let want = if self.regex.is_some() { Want::Content } else { Want::Attributes };
                let nodes = host.look_all(&[(full.clone(), Links::Follow)], want).await?;
                let text = match (nodes.first().filter(|node| node.exists()), &self.regex) {
                    (Some(Node::File { content, .. }), Some(_)) => {
                        let bytes = bytes_of(host, &full, content).await?;
                        Some(String::from_utf8_lossy(&bytes).into_owned())
                    }
                    (node, _) => node.map(|_| String::new()),
                };
                (format!("`{path}`"), text)
            }
            Target::Port { host: name, port } => (format!("{name}:{port}"), self.connect(host, (name, *port)).await?),
        };
        let found = match (&self.regex, &text) {
            (Some(regex), Some(text)) => match regex.captures(text).ok().flatten() {
                Some(captures) => {
                    let group = |at| captures.get(at).map(|found: fancy_regex::Match<'_>| found.as_str());
                    let groups: Vec<Value> = (1..captures.len()).map(|at| json!(group(at))).collect();
                    let names = regex.capture_names().flatten();
                    let named =
                        names.map(|name| (name.to_string(), json!(captures.name(name).map(|found| found.as_str()))));
                    result.insert("match_groupdict".into(), Value::Object(named.collect()));
                    result.insert("match_groups".into(), groups.into());
                    true
                }
                None => false,
            },
            (_, text) => text.is_some(),
        };
        let pattern = self.fields.search_regex.as_deref().map(|regex| format!(" with `{regex}`")).unwrap_or_default();
        Ok(match (self.wanted, found) {
            (Wanted::There, false) => Some(format!("{what}{pattern} is not there")),
            (Wanted::Gone, true) => Some(format!("{what}{pattern} is still there")),
            _ => None,
        })
    }

    /// Connects from the host; returns what the port says first, where a text is looked for. `None`: no connection.
    async fn connect(&self, host: &View, (name, port): (&str, u16)) -> Result<Option<String>, ModuleError> {
        let seconds = self.fields.connect_timeout.unwrap_or(5);
        let mut command = Command::shell(connect_script((name, port), seconds, self.regex.is_some()));
        command.timeout = Some(Duration::from_secs(seconds + 5));
        let output = host.probe(&command).await?;
        match output.status {
            0 => Ok(Some(output.text())),
            NO_TOOL if self.regex.is_none() && matches!(name, "127.0.0.1" | "localhost" | "::1" | "0.0.0.0") => {
                let table = host.probe(&Command::shell(network::CONNECTIONS)).await?.text();
                let sockets = network::connections(&table);
                let listening = sockets.iter().any(|socket| socket.port == port && socket.state == "LISTEN");
                Ok(listening.then(String::new))
            }
            NO_TOOL => Err(ModuleError::failed(format!(
                "`{}` has neither `nc` nor `bash` to connect to {name}:{port}\nhint: wait from another host with `delegate_to`",
                host.name
            ))),
            _ => Ok(None),
        }
    }
}

const NO_TOOL: i32 = 97;

/// Succeeds if the port can be connected to, and prints what it says within a second where that is of interest.
fn connect_script((host, port): (&str, u16), seconds: u64, listen: bool) -> String {
    let host = quote(host);
    // A server that says nothing keeps the connection open: the reader is ended after a second.
    let read = "read=$!; (sleep 1; kill $read) >/dev/null 2>&1 & wait $read 2>/dev/null";
    let (nc, bash) = match listen {
        false => (format!("try {host} {port}"), format!("exec 3<>/dev/tcp/{host}/{port}")),
        true => (
            format!("try {host} {port} || exit 1; sleep 2 | nc -w {seconds} {host} {port} & {read}; true"),
            format!("exec 3<>/dev/tcp/{host}/{port} || exit 1; cat <&3 & {read}; true"),
        ),
    };
    let bash = quote(&bash);
    format!(
        // busybox's `nc` has no `-z`; it runs a program on the connection.
        "exec </dev/null 2>/dev/null\n\
         try() {{ case $(nc -h 2>&1) in *BusyBox*) nc -w {seconds} \"$@\" -e true ;; *) nc -z -w {seconds} \"$@\" ;; esac; }}\n\
         if command -v nc >/dev/null; then {nc}; exit; fi\n\
         command -v bash >/dev/null || exit {NO_TOOL}\nbash -c {bash} & job=$!\n\
         (sleep {}; kill $job) >/dev/null 2>&1 & limit=$!\nwait $job; code=$?\nkill $limit\nexit $code\n",
        seconds + 1
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::modules::files::bench::results;
    use crate::modules::system::bench::Here;

    #[tokio::test]
    async fn a_port_is_awaited_and_its_greeting_read() {
        let here = Here::new().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(b"220 mail.example ESMTP\r\n");
            }
        });
        here.plan("wait_for", json!({"port": port, "timeout": 20})).await.unwrap();
        let task = json!({"port": port, "search_regex": "^220 (\\S+)", "timeout": 20});
        let result = results(here.plan("wait_for", task).await.unwrap());
        assert_eq!(result["match_groups"], json!(["mail.example"]));
        let gone = here.plan("wait_for", json!({"port": port, "state": "stopped", "timeout": 0})).await;
        assert!(gone.err().unwrap().to_string().contains(" to stop."));
    }

    #[tokio::test]
    async fn a_port_that_nobody_serves_is_told_after_the_time() {
        let here = Here::new().await;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = here.plan("wait_for", json!({"port": port, "timeout": 0})).await.err().unwrap().to_string();
        assert_eq!(error, format!("Timeout when waiting for 127.0.0.1:{port}"));
        here.plan("wait_for", json!({"port": port, "state": "absent", "timeout": 5})).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_keeps_a_port_from_being_drained() {
        let here = Here::new().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        here.plan("wait_for", json!({"port": port, "state": "drained", "timeout": 0})).await.unwrap();
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let task = json!({"port": port, "state": "drained", "timeout": 0});
        assert!(here.plan("wait_for", task.clone()).await.err().unwrap().to_string().contains(" to drain"));
        let mut spared = task;
        spared["exclude_hosts"] = json!(["127.0.0.1"]);
        here.plan("wait_for", spared).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_and_a_text_in_it_are_awaited() {
        let here = Here::new().await;
        let path = here.write("log", "start\ndone 7\n", 0o644);
        let task = json!({"path": path, "search_regex": "^done (\\d)", "timeout": 0});
        assert_eq!(results(here.plan("wait_for", task).await.unwrap())["match_groups"], json!(["7"]));
        let task = json!({"path": path, "search_regex": "^never", "timeout": 0, "msg": "too late"});
        assert_eq!(here.plan("wait_for", task).await.err().unwrap().to_string(), "too late");
        let gone = json!({"path": here.path("gone"), "state": "absent", "timeout": 0});
        here.plan("wait_for", gone).await.unwrap();
    }
}
