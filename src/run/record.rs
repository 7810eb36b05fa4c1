//! A run that has been: what its journal says.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::change::{Applied, Change, Secrecy, Undone};
use crate::error::Diagnostic;
use crate::secret::Secret;
use crate::vault;

use super::earlier::Decision;
use super::journal::{Head, applied, journals};
use super::plan::{Batch, Plan, Route, Step};

/// A journal as it is read back.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The file's name without its ending: the time of the start, and the process.
    pub id: String,
    /// RFC 3339.
    pub started: String,
    pub head: Head,
    pub routes: Vec<Route>,
    pub entries: Vec<Entry>,
    /// Changes of the plan, by step and place in it, that an earlier run was found to have made.
    pub found: Vec<(usize, usize)>,
    /// Hosts whose lock was taken from another run, and from which.
    pub stolen: Vec<(String, String)>,
    /// What became of commands that earlier runs had left open.
    pub decisions: Vec<Decision>,
    /// By host, the numbers of the changes of the tasks that it has failed at and not gone on from.
    failed: HashMap<String, Vec<u64>>,
    /// The line that is torn, which is the last: a run that was killed, or a full disk, leaves it so.
    pub torn: Option<usize>,
    /// The exit code; nothing where the run has not come to its end.
    pub ended: Option<u8>,
}

/// A change that a run was about to make.
#[derive(Clone, Debug)]
pub struct Entry {
    pub number: u64,
    /// The machine.
    pub host: String,
    pub task: String,
    /// `FILE:LINE`.
    pub place: String,
    /// The host that the task was for, where it is another.
    pub subject: String,
    pub item: Option<String>,
    /// How often the task came to that host with that item before.
    pub nth: usize,
    pub route: Option<usize>,
    /// Which step of the plan it is, and which change of that step, both from 0.
    pub step: Option<(usize, usize)>,
    /// The number of the shell's process on the machine.
    pub shell: Option<u32>,
    pub what: What,
    /// How much of it may be shown.
    pub secrecy: Secrecy,
    /// A command, of which no more may be shown.
    pub is_hidden_command: bool,
    /// What a command gave, where that was kept.
    pub ran: Option<Applied>,
    pub end: End,
}

#[derive(Clone, Debug)]
pub enum What {
    Change(Box<Change>),
    /// `no_log` and fields that are secret: what could be shown, and the change itself if the run had a vault password.
    Hidden {
        lines: Vec<String>,
        sealed: Option<String>,
    },
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Failed(String),
    /// Another run had the host, and nothing was begun.
    Refused(String),
    /// The connection was lost, or the run was given up.
    Uncertain(String),
    /// The journal says nothing: the run was killed.
    Unknown,
}

impl Record {
    /// Reads a journal. A last line that is torn is what a kill leaves, and counts as not written.
    pub fn read(path: &Path) -> Result<Record, Diagnostic> {
        let name = path.display();
        let bytes = std::fs::read(path)
            .map_err(|error| Diagnostic::new(format!("the journal `{name}` cannot be read: {error}")))?;
        // A line may be torn inside a character.
        let text = String::from_utf8_lossy(&bytes);
        let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut record = Record { id, ..Record::default() };
        let count = text.lines().count();
        for (index, line) in text.lines().enumerate() {
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                if index + 1 == count {
                    record.torn = Some(count);
                    break;
                }
                return Err(Diagnostic::new(format!("the journal `{name}` is damaged in line {}", index + 1)));
            };
            record
                .add(value)
                .map_err(|why| Diagnostic::new(format!("the journal `{name}`, line {}: {why}", index + 1)))?;
        }
        Ok(record)
    }

    /// Reads all journals of a directory, the oldest first; those that cannot be read are returned as errors.
    pub fn all(directory: &Path) -> (Vec<Record>, Vec<Diagnostic>) {
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        for path in journals(directory) {
            match Record::read(&path) {
                Ok(record) => records.push(record),
                Err(error) => errors.push(error),
            }
        }
        (records, errors)
    }

    /// Finds a run by its id, by the beginning of one, or the newest by `last`.
    pub fn find(directory: &Path, id: &str) -> Result<Record, Diagnostic> {
        let paths = journals(directory);
        let named = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with(id));
        let found: Vec<&PathBuf> = paths.iter().filter(named).collect();
        if id == "last" {
            // As `cutover runs` lists them: a run that has changed nothing is not meant.
            return Record::newest(directory, "changed anything", |record| !record.entries.is_empty());
        }
        let hint = "`cutover runs --all` lists them";
        match found.as_slice() {
            [path] => Record::read(path),
            [] => Err(Diagnostic::new(format!("no run `{id}` in `{}`", directory.display())).hint(hint)),
            many => Err(Diagnostic::new(format!("`{id}` is the beginning of {} runs", many.len())).hint(hint)),
        }
    }

    /// Returns the newest run that can be gone on with, whether it came to a change or not.
    pub fn last_to_resume(directory: &Path) -> Result<Record, Diagnostic> {
        let resumable =
            |record: &Record| record.head.plan.is_some() || record.head.play.is_some() || record.head.guarded.is_some();
        Record::newest(directory, "run playbooks or applied a plan", resumable)
    }

    /// Returns the newest run that is meant; `what` says what it has done. A journal that cannot be read may be it.
    fn newest(directory: &Path, what: &str, is_meant: impl Fn(&Record) -> bool) -> Result<Record, Diagnostic> {
        let paths = journals(directory);
        let mut newest = paths.iter().rev().map(|path| Record::read(path));
        let found = newest.find(|record| record.as_ref().map_or(true, &is_meant));
        found.unwrap_or_else(|| Err(Diagnostic::new(format!("no run in `{}` has {what}", directory.display()))))
    }

    fn add(&mut self, value: Value) -> Result<(), String> {
        if let Some(run) = value.get("run") {
            match run.get("format").and_then(Value::as_u64) {
                Some(1) => {}
                Some(format) => return Err(format!("its format is {format}, and this Cutover reads 1")),
                None => return Err("it does not say its format".into()),
            }
            self.started = run.get("started").and_then(Value::as_str).unwrap_or_default().into();
            self.head = serde_json::from_value(run.clone()).map_err(|error| error.to_string())?;
        } else if let Some(route) = value.get("route").filter(|route| route.is_object()) {
            self.routes.push(serde_json::from_value(route.clone()).map_err(|error| error.to_string())?);
        } else if let Some(change) = value.get("change") {
            let entry = entry(&value, change)?;
            if entry.route.is_some_and(|route| route >= self.routes.len()) {
                return Err("it names a route that is not there".into());
            }
            self.entries.push(entry);
        } else if let Some(work) = value.get("gave_up") {
            let of = |name: &str| work.get(name).and_then(Value::as_str);
            let is_of = |entry: &&Entry| {
                (Some(&*entry.subject), Some(&*entry.task), Some(&*entry.place), entry.item.as_deref(), entry.nth)
                    == (of("for"), of("task"), of("place"), of("item"), nth(work))
            };
            let numbers = self.entries.iter().filter(is_of).map(|entry| entry.number);
            self.failed.entry(of("for").unwrap_or_default().into()).or_default().extend(numbers);
        } else if let Some(host) = value.get("rescued").and_then(Value::as_str) {
            self.failed.remove(host);
        } else if let Some(decision) = value.get("decision") {
            self.decisions.push(serde_json::from_value(decision.clone()).map_err(|error| error.to_string())?);
        } else if let Some(host) = value.get("stolen").and_then(Value::as_str) {
            let from = value.get("from").and_then(Value::as_str).unwrap_or_default();
            self.stolen.push((host.into(), from.into()));
        } else if let Some(change) = value.get("made") {
            self.found.push(serde_json::from_value(change.clone()).map_err(|error| error.to_string())?);
        } else if let Some(code) = value.get("ended").and_then(Value::as_u64) {
            self.ended = u8::try_from(code).ok();
        } else {
            let why = value.get("why").and_then(Value::as_str).unwrap_or_default().to_string();
            let end = |name: &str, end: End| Some((value.get(name)?.as_u64()?, end));
            let found = end("done", End::Done).or_else(|| end("failed", End::Failed(why.clone())));
            let found = found.or_else(|| end("refused", End::Refused(why.clone())));
            let found = found.or_else(|| end("uncertain", End::Uncertain(why)));
            if let Some((number, end)) = found
                && let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.number == number)
            {
                entry.ran = value.get("ran").and_then(applied);
                entry.end = end;
            }
        }
        Ok(())
    }

    /// Decrypts what was hidden, so that it can be taken back.
    pub fn unseal(&mut self, password: &Secret) -> Result<(), Diagnostic> {
        for entry in &mut self.entries {
            entry.unseal(password).map_err(|why| {
                Diagnostic::new(format!("the journal of run {}, change {}: {why}", self.id, entry.number))
            })?;
        }
        Ok(())
    }

    /// Says whether a change belongs to a task that its host has failed at and not gone on from.
    pub fn gave_up(&self, entry: &Entry) -> bool {
        self.failed.get(&entry.subject).is_some_and(|numbers| numbers.contains(&entry.number))
    }

    /// Refuses a run that a later one has gone on with or has taken back.
    pub fn is_open_to_resume(&self, directory: &Path) -> Result<(), Diagnostic> {
        let (others, _) = Record::all(directory);
        let undo = format!("undo {}", self.id);
        for other in others.iter().filter(|other| !other.entries.is_empty() || other.head.resumes.is_some()) {
            if other.head.resumes.as_ref() == Some(&self.id) {
                let error = Diagnostic::new(format!("run {} has been gone on with by run {}", self.id, other.id));
                return Err(error.hint(format!("`cutover resume {}`", other.id)));
            }
            if other.head.playbooks.contains(&undo) {
                let error = Diagnostic::new(format!(
                    "run {} has been taken back, or a part of it, by run {}",
                    self.id, other.id
                ));
                return Err(error.hint("what is not there any more is not gone on with: run it anew"));
            }
        }
        Ok(())
    }

    /// Returns the numbers of its changes that other runs have taken back, and not made again since.
    pub fn taken_back(&self, others: &[Record]) -> BTreeSet<u64> {
        let undo = format!("undo {}", self.id);
        let mut numbers = BTreeSet::new();
        // An undo of an undo is the newer one.
        for other in others.iter().filter(|other| other.head.playbooks.contains(&undo)) {
            let again = other.taken_back(others);
            let made = other.entries.iter().filter(|entry| entry.end == End::Done && !again.contains(&entry.number));
            numbers.extend(made.filter_map(|entry| number_in(&entry.place, &self.id)));
        }
        numbers
    }

    /// Returns the run with those before it that it goes on with, the oldest first.
    pub fn chain(self, directory: &Path) -> Result<Vec<Record>, Diagnostic> {
        let mut chain = vec![self];
        while let Some(before) = chain[0].head.resumes.clone() {
            chain.insert(0, Record::find(directory, &before)?);
        }
        Ok(chain)
    }

    /// Refuses a run whose process is still there and has not come to its end.
    pub fn is_over(&self) -> Result<(), Diagnostic> {
        let pid = self.id.rsplit_once('-').and_then(|(_, pid)| pid.parse().ok()).and_then(Pid::from_raw);
        match self.ended.is_none() && pid.is_some_and(|pid| test_kill_process(pid).is_ok()) {
            false => Ok(()),
            true => {
                let error = Diagnostic::new(format!("run {} is still going on", self.id));
                Err(error.hint("wait for its end, or end it"))
            }
        }
    }

    /// Returns the last entry of a change of the plan that the run applied; nothing where the run has not come to it.
    pub fn entry(&self, step: usize, change: usize) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.step == Some((step, change)))
    }

    /// Returns the hosts between which mail was handed over, the one that it left first.
    pub fn handed_over(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|entry| match (&entry.what, &entry.end) {
            (_, End::Refused(_)) => None,
            (What::Change(change), _) => match &**change {
                Change::Transfer(transfer) => Some((transfer.from.as_str(), entry.host.as_str())),
                _ => None,
            },
            (What::Hidden { .. }, _) => None,
        })
    }

    /// Returns the plan that takes the run's changes back, the last one first, and what cannot be taken back with the
    /// reason.
    pub fn undone(&self, wanted: impl Fn(&Entry) -> bool) -> (Plan, Vec<Left>) {
        let mut plan = Plan { routes: self.routes.clone(), batches: vec![Batch::default()], ..Plan::default() };
        let mut left = Vec::new();
        let mut again: Vec<(&Entry, Step)> = Vec::new();
        let wanted: Vec<&Entry> = self.entries.iter().filter(|entry| wanted(entry)).collect();
        for (at, entry) in wanted.iter().enumerate().rev() {
            let step = Step {
                name: entry.task.clone(),
                place: place_of(entry.number, &self.id),
                host: entry.host.clone(),
                item: entry.item.clone(),
                route: entry.route,
                hidden: entry.secrecy == Secrecy::Hidden,
                ..Step::default()
            };
            match entry.undo() {
                Ok(Undo::First(change)) => plan.follow(Step { changes: vec![*change], ..step }),
                Ok(Undo::Last(changes)) => again.push((entry, Step { changes, ..step })),
                Ok(Undo::Nothing) => {}
                Err(why) => left.push(Left {
                    change: format!("`{}`: {}", entry.host, entry.in_short()),
                    why,
                    unsettled: entry.end != End::Done,
                }),
            }
            // What a task has made from its files is made anew as soon as they are back: what comes next counts on it.
            if !wanted[..at].iter().any(|before| entry.is_of_the_task_of(before)) && entry.is_path() {
                for (_, step) in again.extract_if(.., |(made, _)| entry.is_of_the_task_of(made)) {
                    plan.follow(step);
                }
            }
        }
        // A handler's is made anew when all is back, once.
        for (_, step) in again {
            if !plan.steps.iter().any(|known| (known.route, &known.changes) == (step.route, &step.changes)) {
                plan.follow(step);
            }
        }
        (plan, left)
    }
}

impl Plan {
    /// Adds a step that comes after all others.
    fn follow(&mut self, step: Step) {
        self.steps.push(Step { task: self.steps.len() + 1, ..step });
    }
}

/// A change that is not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub change: String,
    pub why: String,
    /// It is not known whether it was made, or whether wholly: somebody has to look. What is done and cannot be taken back
    /// by its nature is not.
    pub unsettled: bool,
}

/// How a change is taken back.
enum Undo {
    First(Box<Change>),
    /// After all others.
    Last(Vec<Change>),
    /// Nothing was changed.
    Nothing,
}

impl Entry {
    fn is_of_the_task_of(&self, other: &Entry) -> bool {
        (&self.host, &self.task, &self.item) == (&other.host, &other.task, &other.item)
    }

    fn is_path(&self) -> bool {
        matches!(&self.what, What::Change(change) if matches!(**change, Change::Path { .. }))
    }

    fn unseal(&mut self, password: &Secret) -> Result<(), String> {
        let What::Hidden { lines, sealed: Some(sealed) } = &self.what else { return Ok(()) };
        let change: Change = vault::unseal(sealed, password)?;
        let shown = |secrecy: &Secrecy| change.diff(*secrecy).texts() == *lines;
        let secrecy = [Secrecy::Open, Secrecy::Hidden].into_iter().find(shown);
        self.secrecy = secrecy.ok_or("what is kept is not what was shown")?;
        self.what = What::Change(Box::new(change));
        Ok(())
    }

    /// Says whether it takes back a change of another run, which it names (`Record::undone`), whichever way it was applied.
    pub fn takes_back(&self) -> bool {
        self.place.starts_with("change ")
    }

    /// Says whether what was changed is kept with the vault password, which has not been given.
    pub fn is_sealed(&self) -> bool {
        matches!(self.what, What::Hidden { sealed: Some(_), .. })
    }

    /// Says in one line what was changed.
    pub fn in_short(&self) -> String {
        match &self.what {
            What::Change(change) => change.in_short(change.secrecy(self.secrecy)),
            What::Hidden { lines, .. } => lines.first().map_or("a change".into(), |line| format!("{line} (hidden)")),
        }
    }

    /// Returns the lines that were shown of it.
    pub fn lines(&self) -> Vec<String> {
        match &self.what {
            What::Change(change) => change.diff(self.secrecy).texts(),
            What::Hidden { lines, .. } => lines.clone(),
        }
    }

    fn undo(&self) -> Result<Undo, String> {
        match (&self.end, &self.what) {
            (End::Refused(_), _) => Ok(Undo::Nothing),
            // A path is made wholly or not at all.
            (End::Failed(_), What::Change(change)) if matches!(**change, Change::Path { .. }) => Ok(Undo::Nothing),
            (End::Failed(_), What::Change(_)) => Err("it failed, and may have been made in part".into()),
            (_, What::Hidden { sealed: None, .. }) => {
                Err("its content was hidden, and the run had no vault password to keep it with".into())
            }
            (_, What::Hidden { sealed: Some(_), .. }) => {
                Err("its content is kept with the vault password: `--vault-password-file` or `--ask-vault-pass`".into())
            }
            (_, What::Change(_)) if self.route.is_none() => {
                Err("the journal does not say how to reach the host: an older Cutover wrote it".into())
            }
            // What an undo runs was made from what it has put back, and is so again.
            (End::Done, What::Change(change)) if self.takes_back() && matches!(**change, Change::Run { .. }) => {
                Ok(Undo::Last(vec![(**change).clone()]))
            }
            (End::Done, What::Change(change)) => match change.undone()? {
                Undone::Change(change) => Ok(Undo::First(change)),
                Undone::Again(commands) => {
                    Ok(Undo::Last(commands.into_iter().map(|command| Change::Run { command }).collect()))
                }
            },
            (End::Uncertain(_) | End::Unknown, What::Change(_)) => {
                Err("it is not known whether it was made: look at it, then undo by hand or run again".into())
            }
        }
    }
}

/// Names a change of a run, as the place of the step that takes it back.
fn place_of(number: u64, run: &str) -> String {
    format!("change {number} of {run}")
}

/// Returns the number of the change of a run that `place_of` has named.
fn number_in(place: &str, run: &str) -> Option<u64> {
    let (number, of) = place.strip_prefix("change ")?.split_once(" of ")?;
    (of == run).then(|| number.parse().ok())?
}

/// Returns how often a task came to its host before.
fn nth(value: &Value) -> usize {
    value.get("nth").and_then(Value::as_u64).and_then(|nth| usize::try_from(nth).ok()).unwrap_or(0)
}

fn entry(value: &Value, change: &Value) -> Result<Entry, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_string);
    let what = match change.get("hidden").and_then(Value::as_array) {
        Some(lines) => What::Hidden {
            lines: lines.iter().filter_map(Value::as_str).map(str::to_string).collect(),
            sealed: change.get("sealed").and_then(Value::as_str).map(str::to_string),
        },
        None => What::Change(serde_json::from_value(change.clone()).map_err(|error| error.to_string())?),
    };
    let host = text("host").ok_or("a change without a host")?;
    Ok(Entry {
        number: value.get("number").and_then(Value::as_u64).ok_or("a change without a number")?,
        subject: text("for").unwrap_or_else(|| host.clone()),
        host,
        task: text("task").unwrap_or_default(),
        item: text("item"),
        nth: nth(value),
        route: value.get("route").and_then(Value::as_u64).and_then(|route| usize::try_from(route).ok()),
        step: value.get("step").and_then(|step| serde_json::from_value(step.clone()).ok()),
        shell: value.get("shell").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok()),
        place: text("place").unwrap_or_default(),
        is_hidden_command: change.get("command").and_then(Value::as_bool).unwrap_or(false),
        ran: None,
        what,
        secrecy: Secrecy::Open,
        end: End::Unknown,
    })
}
