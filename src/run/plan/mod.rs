//! A plan: all that a check found to be done, in order. What is saved, shown to a reviewer and applied is this one value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::{Change, Diff, Secrecy};
use crate::error::Diagnostic;
use crate::modules::arguments::boolean;
use crate::provenance::Source;

use super::Subject;

pub mod drift;
pub mod file;
pub mod guard;
mod reach;
pub mod recorder;
pub mod replay;
pub mod resume;

pub use file::Sealed;
pub use guard::Guard;
pub(super) use guard::Seen;
pub use recorder::Recorder;
pub use resume::Before;

/// Everything that `cutover apply` needs, but for passwords.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub head: Head,
    /// All files that were read for it, the playbooks too.
    pub sources: Vec<Source>,
    /// How the steps' machines are reached; steps name them by their index.
    pub routes: Vec<Route>,
    /// The plays' batches (`serial`), in order; steps name them by their index.
    pub batches: Vec<Batch>,
    /// In the order in which they are applied: by task, and within a task by host.
    pub steps: Vec<Step>,
}

/// What a plan was made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    /// Cutover's.
    pub version: String,
    /// RFC 3339.
    pub made: String,
    /// The run that the plan takes back, where it is one of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    pub playbooks: Vec<Read>,
    /// The `-i` arguments.
    pub inventory: Vec<String>,
    /// `-e` was given; its values are in what the steps hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extra_vars: bool,
    #[serde(default)]
    pub told: Told,
    /// What the check has found that is no change: tasks that set one path to different things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What else the command line has said of the run: a run with the plan as its guard is told the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// Where the plan was made: the places of tasks are relative to it.
    pub directory: String,
    pub limit: Option<String>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub start_at_task: Option<String>,
    pub seed: String,
    pub user: Option<String>,
    pub private_key: Option<String>,
    pub connection: Option<String>,
    pub timeout: Option<u64>,
    pub ssh_common_args: Option<String>,
    pub ssh_extra_args: Option<String>,
    pub r#become: bool,
    pub become_method: Option<String>,
    pub become_user: Option<String>,
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub path: String,
    /// In lower-case hexadecimal.
    pub sha256: String,
}

/// How one machine is reached, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub host: String,
    /// Variables that give the same login again, those that nobody has set too; passwords are not among them.
    pub variables: BTreeMap<String, Option<String>>,
    /// The fingerprint of the key that the machine answered with, `SHA256:...`; nothing where it is not over SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Route {
    /// Says whether this leads to the same machine as another, in the same way, as far as its key was seen.
    pub fn is_as(&self, other: &Route) -> bool {
        let keys = self.key.as_ref().zip(other.key.as_ref());
        (&self.host, &self.variables) == (&other.host, &other.variables) && keys.is_none_or(|(one, other)| one == other)
    }

    /// Names who one becomes there, and how.
    pub fn becomes(&self) -> Option<String> {
        let said = |name: &str| self.variables.get(name).and_then(Option::as_deref);
        let on = said("ansible_become").map(|text| boolean(&text.into()));
        let method = said("ansible_become_method").unwrap_or("sudo");
        let user = said(&format!("ansible_{method}_user")).or_else(|| said("ansible_become_user")).unwrap_or("root");
        (on == Some(Some(true))).then(|| format!("{user} by {method}"))
    }
}

/// The hosts that a play, or a batch of it, is for. Where all of them are lost, nothing after it is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub hosts: Vec<String>,
}

/// The changes of one task on one machine, or of one item of its loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which task of the run, from 1: steps of one task are applied side by side.
    pub task: usize,
    /// The index of the batch that it is in.
    pub batch: usize,
    /// As shown.
    pub name: String,
    /// `FILE:LINE`.
    pub place: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// How often the task has come to the host before, with that item: an included file may be included twice.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nth: usize,
    /// The index of the route to the machine that is changed; nothing where it is not known what would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// The routes to the other hosts that the changes read from, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, usize>,
    /// `no_log`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// `ignore_errors`: where it fails, the host's later steps are applied all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgiven: bool,
    /// `any_errors_fatal`: where it fails, nothing after its task is applied on any host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fatal: bool,
    /// Why only a run can say what this step does: `needs ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What is known of an open step's changes, to be read: nothing that could be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreseen: Vec<Diff>,
    /// They, where they may not be shown and the vault password was not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Head {
    /// Says what the plan is.
    pub fn title(&self) -> String {
        match &self.undo {
            Some(run) => format!("undo of {run}"),
            None => format!("plan of {}", self.made),
        }
    }
}

impl Plan {
    /// Says in a sentence what it was made from, and when.
    pub fn origin(&self) -> String {
        let Head { playbooks, undo, made, version, .. } = &self.head;
        let names: Vec<&str> = playbooks.iter().map(|read| read.path.as_str()).collect();
        let others = match self.sources.len().saturating_sub(playbooks.len()) {
            0 => String::new(),
            1 => " and 1 other file".into(),
            count => format!(" and {count} other files"),
        };
        let from = match undo {
            Some(run) => format!("takes back run {run}"),
            None => format!("from {}{others}", names.join(", ")),
        };
        format!("made {made} by Cutover {version}, {from}")
    }

    /// Steps that only a run can decide.
    pub fn open(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.open.is_some())
    }

    /// How many changes there are.
    pub fn count(&self) -> usize {
        self.steps.iter().map(|step| step.diffs().len() - step.foreseen.len()).sum()
    }

    /// The machines that are changed, each once, in the order in which they come.
    pub fn machines(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for step in &self.steps {
            let name = step.machine();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Step {
    /// The name of the machine that is changed.
    pub fn machine(&self) -> &str {
        self.delegate.as_deref().unwrap_or(&self.host)
    }

    pub fn subject(&self) -> Subject {
        Subject { host: self.host.clone(), delegate: self.delegate.clone(), item: self.item.clone() }
    }

    pub fn secrecy(&self) -> Secrecy {
        if self.hidden { Secrecy::Hidden } else { Secrecy::Open }
    }

    /// The error for a step that cannot be applied without the vault password.
    pub fn encrypted(&self) -> Diagnostic {
        let message = format!("the changes of `{}` ({}) are encrypted", self.name, self.place);
        Diagnostic::new(message).hint("`--vault-password-file FILE` or `--ask-vault-pass`")
    }

    pub fn diffs(&self) -> Vec<Diff> {
        if let Some(sealed) = &self.sealed {
            return sealed.diffs.clone();
        }
        let known = self.changes.iter().map(|change| change.diff(self.secrecy()));
        known.chain(self.foreseen.iter().cloned()).collect()
    }
}
