//! What earlier runs have done of the tasks of this one: their commands are not run again, and what they have changed counts
//! as changed here.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::change::{Applied, Change, Secrecy};
use crate::transport::Command;

use super::lock;
use super::record::{End, Entry, Record, What};

/// A task, or an item of its loop, at work on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Work {
    pub machine: String,
    /// The host that it is for.
    pub subject: String,
    pub item: Option<String>,
    /// How often the task came to that host with that item before: an include may bring it again.
    pub nth: usize,
    pub task: String,
    /// `FILE:LINE`.
    pub place: String,
}

/// The playbooks are run again: what is a state of a host is found as it is. What is none is here.
#[derive(Debug, Default)]
pub struct Earlier {
    changed: HashSet<Work>,
    /// Paths and states: what came after them may count on them as they were, and have changed them since.
    made: HashMap<Work, Vec<Made>>,
    /// Those of which nobody saw the end.
    perhaps: Mutex<HashMap<Work, Vec<(Decision, Made)>>>,
    commands: Mutex<HashMap<Work, Vec<Ran>>>,
}

/// A change of a path or a state.
#[derive(Debug)]
enum Made {
    Change(Box<Change>),
    /// What was shown of what it comes to: the rest was hidden.
    Hidden(Vec<String>),
}

#[derive(Debug)]
struct Ran {
    /// Nothing where it was hidden: then any command of the task is meant.
    command: Option<Command>,
    applied: Applied,
}

/// Whether a change of which nobody saw the end, or a command whose result was not kept, is taken for done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub run: String,
    /// The change's in that run.
    pub number: u64,
    pub done: bool,
}

/// What only the user can decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub run: String,
    pub number: u64,
    /// The command, where it is, and what is not known of it.
    pub text: String,
}

impl Earlier {
    /// Reads what runs have done, the oldest first, or returns what they leave open. `taken` says what becomes of that; what
    /// was decided before is in the journals.
    pub fn of(records: &[Record], taken: Option<bool>) -> Result<(Earlier, Vec<Decision>), Vec<Doubt>> {
        let (mut earlier, mut decided, mut open) = (Earlier::default(), Vec::new(), Vec::new());
        let before: Vec<&Decision> = records.iter().flat_map(|record| &record.decisions).collect();
        for record in records {
            for entry in &record.entries {
                let work = entry.work();
                let kept = entry.ran.as_ref();
                let doubt = match &entry.end {
                    End::Failed(_) | End::Refused(_) => continue,
                    _ if !entry.is_command() => None,
                    // Its host goes on with this very task.
                    End::Done if record.gave_up(entry) => continue,
                    End::Done if kept.is_some() => None,
                    End::Done => Some("it has run, and what it printed was not kept"),
                    End::Unknown | End::Uncertain(_) => Some("it is not known whether it ran"),
                };
                if let Some(doubt) = doubt {
                    let known = before.iter().find(|known| known.is_of(record, entry));
                    match known.map(|known| known.done).or(taken) {
                        None => {
                            let text = format!("`{}`: {}: {doubt}", entry.host, entry.in_short());
                            open.push(Doubt { run: record.id.clone(), number: entry.number, text });
                            continue;
                        }
                        Some(done) => {
                            if known.is_none() {
                                decided.push(Decision { run: record.id.clone(), number: entry.number, done });
                            }
                            if !done {
                                continue;
                            }
                        }
                    }
                }
                if entry.is_command() {
                    let ran = Ran { command: entry.command(), applied: kept.cloned().unwrap_or_default() };
                    lock(&earlier.commands).entry(work.clone()).or_default().push(ran);
                }
                let decided = before.iter().any(|known| known.done && known.is_of(record, entry));
                if !entry.is_command() && (entry.end == End::Done || decided) {
                    earlier.made.entry(work.clone()).or_default().push(Made::by(entry));
                } else if !entry.is_command() {
                    let found = Decision { run: record.id.clone(), number: entry.number, done: true };
                    lock(&earlier.perhaps).entry(work.clone()).or_default().push((found, Made::by(entry)));
                }
                earlier.changed.insert(work);
            }
        }
        if open.is_empty() { Ok((earlier, decided)) } else { Err(open) }
    }

    /// Says whether a task has changed something.
    pub fn has_changed(&self, work: &Work) -> bool {
        self.changed.contains(work)
    }

    /// Says whether a change of a path or a state comes to what the same task has made already.
    pub fn has_made(&self, work: &Work, change: &Change) -> bool {
        self.made.get(work).is_some_and(|all| all.iter().any(|made| made.comes_to_the_same(change)))
    }

    /// Returns, once, what a task is found to have made although nobody saw the end of it: `changes` are what its host lacks
    /// now. What came after it may have changed that when somebody goes on with this run in turn.
    pub fn found_made(&self, work: &Work, changes: &[Change]) -> Vec<Decision> {
        let all = lock(&self.perhaps).remove(work).unwrap_or_default();
        let lacks = |made: &Made| changes.iter().any(|change| made.comes_to_the_same(change));
        all.into_iter().filter(|(_, made)| !lacks(made)).map(|(found, _)| found).collect()
    }

    /// Says whether a change is a command that has run.
    pub fn has_run(&self, work: &Work, change: &Change) -> bool {
        lock(&self.commands).get(work).is_some_and(|all| all.iter().any(|ran| ran.is(change)))
    }

    /// Returns, once, what a command gave, and the command that was run if its text is another now: a time or a random
    /// number in it must not make it run again.
    pub fn take(&self, work: &Work, change: &Change) -> Option<(Applied, Option<Command>)> {
        let Change::Run { .. } = change else { return None };
        let mut commands = lock(&self.commands);
        let all = commands.get_mut(work).filter(|all| !all.is_empty())?;
        let same = all.iter().position(|ran| ran.is(change));
        let Ran { command, applied } = all.remove(same.unwrap_or(0));
        Some((applied, command.filter(|_| same.is_none())))
    }

    /// Returns, once, what the command of a task gave that finds nothing to do any more (`creates`).
    pub fn take_any(&self, work: &Work) -> Option<Applied> {
        let mut commands = lock(&self.commands);
        let all = commands.get_mut(work).filter(|all| !all.is_empty())?;
        Some(all.remove(0).applied)
    }
}

impl Decision {
    fn is_of(&self, record: &Record, entry: &Entry) -> bool {
        self.run == record.id && self.number == entry.number
    }
}

impl Made {
    fn by(entry: &Entry) -> Made {
        match &entry.what {
            What::Change(change) => Made::Change(change.clone()),
            What::Hidden { lines, .. } => Made::Hidden(comes_to(lines)),
        }
    }

    fn comes_to_the_same(&self, change: &Change) -> bool {
        match self {
            Made::Change(made) => made.comes_to_the_same(change),
            Made::Hidden(lines) => *lines == comes_to(&change.diff(change.secrecy(Secrecy::Hidden)).texts()),
        }
    }
}

/// Returns what the lines of a difference say of what is there afterwards.
fn comes_to(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| line.starts_with('+')).cloned().collect()
}

impl Ran {
    fn is(&self, change: &Change) -> bool {
        match change {
            Change::Run { command } => self.command.as_ref().is_none_or(|ran| ran == command),
            _ => false,
        }
    }
}

impl Entry {
    fn work(&self) -> Work {
        Work {
            machine: self.host.clone(),
            subject: self.subject.clone(),
            item: self.item.clone(),
            nth: self.nth,
            task: self.task.clone(),
            place: self.place.clone(),
        }
    }

    fn is_command(&self) -> bool {
        match &self.what {
            What::Change(change) => matches!(**change, Change::Run { .. }),
            What::Hidden { .. } => self.is_hidden_command,
        }
    }

    fn command(&self) -> Option<Command> {
        match &self.what {
            What::Change(change) => match &**change {
                Change::Run { command } => Some(command.clone()),
                _ => None,
            },
            What::Hidden { .. } => None,
        }
    }
}
