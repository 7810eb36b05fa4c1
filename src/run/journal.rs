//! The record of a run on the controller: each change before it is made, with what is needed to undo it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::change::{Applied, Change, Secrecy};
use crate::secret::{self, Secret};
use crate::transport::{INLINE_LIMIT, Output};
use crate::vault;

use super::Subject;
use super::earlier::{Decision, Work};
use super::plan::{Read, Route};

/// One JSON object a line: first `{"run": ...}`, then for each change `{"change": ...}` before it is made and
/// `{"done": N}`, `{"failed": N}`, `{"refused": N}` (nothing was begun: another run has the host) or, where nobody saw the end,
/// `{"uncertain": N}` after; `{"stolen": HOST}` where the lock of another run is removed; `{"route": ...}` where a way to
/// a machine is new; `{"gave_up": ...}` where a task fails on a host, and `{"rescued": HOST}` where that goes on all the same;
/// `{"decision": ...}` of what an earlier run leaves open, and `{"ended": CODE}` last. The file is readable by its owner only.
pub struct Journal {
    directory: PathBuf,
    /// The file's name without its ending.
    id: String,
    started: jiff::Zoned,
    head: Head,
    /// What hidden content is kept with.
    vault: Option<Secret>,
    /// Nothing before the first change of a run that may make none.
    writer: Mutex<Option<Writer>>,
}

/// What a run is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Playbooks, or the plan that is applied.
    pub playbooks: Vec<String>,
    /// The `-i` arguments, with which an undo finds passwords.
    #[serde(default)]
    pub inventory: Vec<String>,
    /// The plan that is applied, from which a resume goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Read>,
    /// How playbooks are run, so that a resume can run them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<Recipe>,
    /// The plan that the run of playbooks keeps to (`--open run`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarded: Option<Read>,
    /// The run that this one goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
}

/// What `play` was told, as far as a resume needs it and it is no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The directory that relative paths start from.
    pub directory: String,
    /// The playbooks as they were, with what they import and the roles that they have.
    pub read: Vec<Read>,
    /// The command line's own; it knows how to read them.
    pub arguments: Value,
    /// The files of variables that were given with `-e`, as `@FILE`.
    pub files: Vec<String>,
    /// The variables that were given on the command line itself, by name: their values may be secrets.
    pub given: Vec<String>,
}

/// What a change belongs to.
pub struct About<'a> {
    /// The machine.
    pub host: &'a str,
    pub task: &'a str,
    /// `FILE:LINE`.
    pub place: &'a str,
    /// How often the task came to its host with its item before.
    pub nth: usize,
    pub subject: &'a Subject,
    pub route: &'a Route,
    /// Which step of a plan it is, and which change of that step, both from 0.
    pub step: Option<(usize, usize)>,
    /// The number of the shell's process on the machine: where this run is killed, it may go on for a while.
    pub shell: u32,
}

struct Writer {
    file: File,
    count: u64,
    routes: Vec<Route>,
    /// An entry could be written in part only: what came after it could not be read.
    broken: bool,
}

impl Journal {
    /// Starts a journal in `directory`, which is made if it is not there.
    pub fn start(directory: &Path, head: Head) -> std::io::Result<Journal> {
        let journal = Journal::when_needed(directory, head);
        journal.with(|_| Ok(()))?;
        Ok(journal)
    }

    /// Returns a journal that is started by the first change: a check makes none but those of tasks that ask for it
    /// with `check_mode: false`.
    pub fn when_needed(directory: &Path, head: Head) -> Journal {
        let started = jiff::Zoned::now();
        let newest = journals(directory).pop();
        let newest = newest.as_deref().and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned();
        let id = format!("{}-{}", after(&newest, started.timestamp()), std::process::id());
        Journal { directory: directory.into(), id, started, head, vault: None, writer: Mutex::default() }
    }

    /// The run's name: when it started, and its process.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Keeps hidden content encrypted with this password; without one it is not kept.
    pub fn sealed_with(self, vault: Option<Secret>) -> Journal {
        Journal { vault, ..self }
    }

    /// Notes a change that is about to be made; the number names it in what is noted after.
    pub fn about_to(&self, about: &About<'_>, (change, asked): (&Change, Secrecy)) -> std::io::Result<u64> {
        let value = match change.secrecy(asked) {
            Secrecy::Open => serde_json::to_value(change).unwrap_or(Value::Null),
            // Hidden content that is not encrypted is in no journal: such a change can be seen and not undone.
            Secrecy::Hidden => {
                let sealed = self.vault.as_ref().map(|password| vault::seal(change, password)).transpose()?;
                let command = matches!(change, Change::Run { .. });
                json!({ "hidden": change.diff(asked).texts(), "sealed": sealed, "command": command })
            }
        };
        self.with(|writer| {
            let route = writer.route(about.route)?;
            writer.count += 1;
            let number = writer.count;
            writer.write(&json!({
                "number": number, "host": about.host, "task": about.task, "for": about.subject.host,
                "place": about.place, "item": about.subject.item, "nth": about.nth, "route": route, "step": about.step, "shell": about.shell,
                "change": value,
            }))?;
            Ok(number)
        })
    }

    pub fn done(&self, number: u64) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "done": number })))
    }

    /// Notes that a command has run, and what it gave, so that a resume can go on with it; output over 1 MiB is not kept.
    pub fn ran(&self, number: u64, applied: &Applied) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "done": number, "ran": ran(applied) })))
    }

    pub fn failed(&self, number: u64, why: &str) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "failed": number, "why": why })))
    }

    /// Notes that a change was not begun, because another run has the host.
    pub fn refused(&self, number: u64, why: &str) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "refused": number, "why": why })))
    }

    /// Notes that the lock of another run is about to be removed from a host.
    pub fn stolen(&self, host: &str, from: &str) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "stolen": host, "from": from })))
    }

    /// Notes that it is unknown whether a change was applied, and as what the host was found later, if it was looked at.
    pub fn uncertain(&self, number: u64, why: &str, found: Option<&str>) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "uncertain": number, "why": why, "found": found })))
    }

    /// Notes that a task has failed on a host: its work there, but for the machine.
    pub fn gave_up(&self, work: &Work) -> std::io::Result<()> {
        let Work { subject, item, nth, task, place, .. } = work;
        self.note(&json!({ "gave_up": { "for": subject, "item": item, "nth": nth, "task": task, "place": place } }))
    }

    /// Notes that a host goes on after the task that has failed there.
    pub fn rescued(&self, host: &str) -> std::io::Result<()> {
        self.note(&json!({ "rescued": host }))
    }

    /// Notes what becomes of a command that an earlier run leaves open.
    pub fn decided(&self, Decision { run, number, done }: &Decision) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "decision": { "run": run, "number": number, "done": done } })))
    }

    /// Notes that an earlier run was found to have made a change of the plan: its step, and its place in that.
    pub fn made(&self, change: (usize, usize)) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "made": change })))
    }

    /// Notes that the run came to its end, and with which exit code.
    pub fn ended(&self, code: u8) -> std::io::Result<()> {
        self.note(&json!({ "ended": code }))
    }

    /// Writes what matters to a journal only that has begun.
    fn note(&self, value: &Value) -> std::io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        writer.as_mut().map_or(Ok(()), |writer| writer.write(value))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Writer) -> std::io::Result<T>) -> std::io::Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &mut *writer {
            Some(writer) => work(writer),
            none => work(none.insert(Writer::open(self)?)),
        }
    }
}

impl Writer {
    fn open(Journal { directory, id, started, head, .. }: &Journal) -> std::io::Result<Writer> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = directory.join(format!("{id}.jsonl"));
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
        let mut writer = Writer { file, count: 0, routes: Vec::new(), broken: false };
        writer.write(&json!({ "run": {
            "format": 1, "version": env!("CARGO_PKG_VERSION"), "started": started.timestamp().to_string(),
            "playbooks": head.playbooks, "inventory": head.inventory, "plan": head.plan, "guarded": head.guarded,
            "resumes": head.resumes, "play": head.play,
        } }))?;
        Ok(writer)
    }

    /// Returns the number of a way to a machine, from 0; one that is new is noted.
    fn route(&mut self, route: &Route) -> std::io::Result<usize> {
        if let Some(known) = self.routes.iter().position(|known| known == route) {
            return Ok(known);
        }
        self.write(&json!({ "route": route }))?;
        self.routes.push(route.clone());
        Ok(self.routes.len() - 1)
    }

    fn write(&mut self, value: &Value) -> std::io::Result<()> {
        if self.broken {
            return Err(std::io::Error::other("an entry before this could not be written"));
        }
        let written = self.file.write_all(format!("{value}\n").as_bytes()).and_then(|()| self.file.sync_data());
        self.broken = written.is_err();
        written
    }
}

/// Returns the journals of a directory, the oldest first: their names begin with the time.
pub fn journals(directory: &Path) -> Vec<PathBuf> {
    // No directory: no run yet.
    let paths = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    paths.sort();
    paths
}

/// Returns the time that a run's name begins with: now, in UTC, and where the clock was set back a moment after the newest
/// run, so that the names tell in which order runs began.
fn after(newest: &str, now: jiff::Timestamp) -> String {
    const FORMAT: &str = "%Y%m%dT%H%M%S%.6f";
    let stamp = now.strftime(FORMAT).to_string();
    let newest = newest.split('-').next().unwrap_or_default();
    if newest < stamp.as_str() {
        return stamp;
    }
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%.f", newest);
    let next = time.ok().and_then(|time| time.checked_add(jiff::Span::new().microseconds(1)).ok());
    next.map_or(stamp, |next| next.strftime(FORMAT).to_string())
}

/// Returns what a command gave, as it is kept; nothing where that is too long.
fn ran(Applied { output, times, .. }: &Applied) -> Value {
    let Some(Output { status, stdout, stderr, dropped }) = output else { return Value::Null };
    if (stdout.len() + stderr.len()) as u64 > INLINE_LIMIT || *dropped != (0, 0) {
        return Value::Null;
    }
    if secret::holds(stdout) || secret::holds(stderr) {
        return Value::Null;
    }
    let times = times.as_ref().map(|(start, end)| [start.to_string(), end.to_string()]);
    json!({ "status": status, "stdout": STANDARD.encode(stdout), "stderr": STANDARD.encode(stderr), "times": times })
}

/// Reads it back.
pub fn applied(value: &Value) -> Option<Applied> {
    let bytes = |name: &str| STANDARD.decode(value.get(name)?.as_str()?).ok();
    let status = i32::try_from(value.get("status")?.as_i64()?).ok()?;
    let output = Output { status, stdout: bytes("stdout")?, stderr: bytes("stderr")?, ..Output::default() };
    let time = |index: usize| value.get("times")?.get(index)?.as_str()?.parse::<jiff::Zoned>().ok();
    Some(Applied { output: Some(output), times: time(0).zip(time(1)), ..Applied::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Content, Node, Owner, Permissions};

    #[test]
    fn runs_are_named_in_the_order_in_which_they_begin_whatever_the_clock_says() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(after("", at("2026-11-26T17:00:00Z")), "20261126T170000.000000");
        assert_eq!(after("20261126T165959.999999-1", at("2026-11-26T17:00:00Z")), "20261126T170000.000000");
        assert_eq!(after("20261126T170000.000000-1", at("2026-11-26T17:00:00Z")), "20261126T170000.000001");
        assert_eq!(after("20301231T235959.999999-1", at("2026-11-26T17:00:00Z")), "20310101T000000.000000");
        assert_eq!(after("no-time", at("2026-11-26T17:00:00Z")), "20261126T170000.000000");
        let directory = tempfile::tempdir().unwrap();
        let ids = [(); 3].map(|()| Journal::start(directory.path(), Head::default()).unwrap().id().to_string());
        assert!(ids.is_sorted(), "{ids:?}");
    }

    #[test]
    fn hidden_content_is_not_in_the_journal_and_open_content_can_be_restored() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::start(directory.path(), Head::default()).unwrap();
        let subject = Subject { host: "h".into(), delegate: None, item: None };
        let route = Route { host: "h".into(), variables: Default::default(), key: None };
        let about = About {
            host: "h",
            task: "t",
            place: "p:1",
            nth: 0,
            subject: &subject,
            route: &route,
            step: None,
            shell: 1,
        };
        let root = Owner { id: 0, name: "root".into() };
        let permissions = Permissions { mode: 0o600, owner: root.clone(), group: root };
        let content = |text: &str| Content::here(text.as_bytes());
        let before = Node::File { content: content("geheim1"), permissions: permissions.clone(), modified: None };
        let after = Node::File { content: content("geheim2"), permissions, modified: None };
        let change = Change::path("/x", before, after).unwrap();
        journal.about_to(&about, (&change, Secrecy::Hidden)).unwrap();
        let path = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let hidden = std::fs::read_to_string(&path).unwrap();
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode("geheim1");
        assert!(!hidden.contains("geheim") && !hidden.contains(&encoded), "{hidden}");
        journal.about_to(&about, (&change, Secrecy::Open)).unwrap();
        let open = std::fs::read_to_string(&path).unwrap();
        let last: Value = serde_json::from_str(open.lines().last().unwrap()).unwrap();
        let restored: Change = serde_json::from_value(last["change"].clone()).unwrap();
        assert_eq!(restored, change);
    }
}
