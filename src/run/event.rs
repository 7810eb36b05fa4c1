//! What just happened, as data without formatting; reporters, statistics and the exit code are folds over it.

use std::borrow::Cow;

use crate::change::Diff;
use crate::change::transfer::Progress;
use crate::error::Place;
use crate::modules::Results;
use crate::secret;

#[derive(Clone, Debug)]
pub enum Event {
    /// The plays of a playbook come next; so many.
    PlaybookStarted {
        path: String,
        plays: usize,
    },
    PlayStarted {
        name: String,
    },
    /// What a `meta` task did, or why it did nothing, as Ansible says it.
    Meta {
        /// The host that it passes over, if it does.
        skipped: Option<String>,
        word: String,
        text: String,
        /// How many `-v` it takes to be told.
        verbosity: u8,
    },
    /// A variable has the name of something of the language.
    ReservedName {
        name: String,
        /// `FILE:LINE:COLUMN`.
        place: String,
    },
    /// No host of the inventory is in the play's pattern.
    PlayWithoutHosts,
    TaskStarted {
        /// How many hosts it is for.
        hosts: usize,
        kind: TaskKind,
        /// With the role's name in front: `role : name`.
        name: String,
        /// `FILE:LINE`.
        place: String,
        /// The result is what the task is for (`debug`): it is printed without `-v`.
        speaks: bool,
        /// Where it begins, if the lines there may be shown.
        written: Option<Place>,
    },
    /// A task's changes on one host, before any of them is made.
    Planned {
        subject: Subject,
        diffs: Vec<Diff>,
    },
    /// A step that a plan has left open is decided now, and why it was open; its changes have been planned.
    Decided {
        subject: Subject,
        why: String,
    },
    /// How far a long change is.
    Progress {
        subject: Subject,
        progress: Progress,
    },
    Finished {
        subject: Subject,
        verdict: Verdict,
        result: Results,
    },
    /// A task failed, or its `until` does not hold yet, and it is tried again after its delay.
    Retrying {
        subject: Subject,
        /// The task's, as shown.
        name: String,
        /// How many tries are left.
        left: u64,
    },
    /// A task file or role was included for these hosts.
    Included {
        what: String,
        /// The loop item's label.
        item: Option<String>,
        hosts: Vec<String>,
    },
    /// A rescue section took over on this host.
    Rescued {
        host: String,
    },
    /// Nobody saw the end of a change: the connection was lost, or the run was told to end.
    Uncertain(Uncertain),
    /// The run was told to end; what was under way is `Uncertain`.
    Interrupted(Interrupted),
    Warning(String),
    /// Hosts that are reached over SSH that is weaker than others', and why; before the first play.
    Weakened {
        why: String,
        hosts: Vec<String>,
    },
}

impl Event {
    /// Masks what was decrypted in all that is told; diffs have done so themselves. Hosts keep their names.
    pub(super) fn hide_secrets(&mut self) {
        let hide = |text: &mut String| {
            if let Cow::Owned(masked) = secret::mask(text) {
                *text = masked;
            }
        };
        match self {
            Event::PlayStarted { name } => hide(name),
            Event::TaskStarted { name, .. } => hide(name),
            Event::Finished { subject, result, .. } => {
                subject.item.iter_mut().for_each(hide);
                result.values_mut().for_each(secret::mask_json);
            }
            Event::Retrying { subject, name, .. } => {
                subject.item.iter_mut().for_each(hide);
                hide(name);
            }
            Event::Planned { subject, .. } | Event::Progress { subject, .. } => subject.item.iter_mut().for_each(hide),
            Event::Decided { subject, why } => {
                subject.item.iter_mut().for_each(hide);
                hide(why);
            }
            Event::Included { what, item, .. } => {
                item.iter_mut().for_each(hide);
                hide(what);
            }
            Event::Uncertain(uncertain) => {
                [&mut uncertain.task, &mut uncertain.change, &mut uncertain.why].into_iter().for_each(hide);
            }
            Event::Warning(text) => hide(text),
            Event::PlaybookStarted { .. }
            | Event::Meta { .. }
            | Event::ReservedName { .. }
            | Event::PlayWithoutHosts
            | Event::Rescued { .. }
            | Event::Interrupted(_)
            | Event::Weakened { .. } => {}
        }
    }
}

/// A change of which it is unknown whether it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncertain {
    /// The machine that was being changed.
    pub host: String,
    pub task: String,
    /// In one line: the path with its states, or the command.
    pub change: String,
    pub why: String,
    /// As what the host was found over a new connection.
    pub found: Option<String>,
}

/// What a run that was told to end leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Hosts with tasks behind them and before them.
    pub unfinished: Vec<String>,
    /// Hosts that no task was begun on.
    pub not_begun: Vec<String>,
    /// What of the hosts' processes could not be ended, or why nobody knows.
    pub living: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    Task,
    Handler,
}

/// Where something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub host: String,
    /// The host that did it instead, with `delegate_to`.
    pub delegate: Option<String>,
    /// The loop item's label.
    pub item: Option<String>,
}

/// A task's end on one host, or that of one item of its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// In a check: would change.
    Changed,
    Skipped,
    Failed,
    /// Failed, and `ignore_errors` says to go on.
    Ignored,
    Unreachable,
    /// It depends on a result that a check cannot know.
    Unknown,
    /// The sum of a loop's items, which have been reported one by one.
    Summed {
        changed: bool,
        failed: bool,
        ignored: bool,
        skipped: bool,
    },
}
