//! How far a plan has been applied before, as the journal of that run tells.

use std::collections::BTreeMap;

use crate::change::{Change, On};
use crate::run::record::{End, Record};
use crate::run::underway::settled;
use crate::transport::{Links, Node, Transport, TransportError, Want};

use super::{Plan, Step};

/// What an earlier run has made of a plan's steps; nothing of those that are not named.
#[derive(Clone, Debug, Default)]
pub struct Before {
    steps: BTreeMap<usize, Made>,
    /// Changes, by step and place in it, that were found to have been made. The journal has to know: later changes hide
    /// what tells it.
    found: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    /// So many changes of the step, from its first.
    changes: usize,
    /// It is not known whether the next one was made, too: the shell that was to make it.
    doubtful: Option<u32>,
}

impl Before {
    /// Reads what a run has made of `plan`.
    pub fn of(record: &Record, plan: &Plan) -> Before {
        let made = |(index, step): (usize, &Step)| {
            let done = |change: &usize| {
                let found = record.found.contains(&(index, *change));
                found || record.entry(index, *change).is_some_and(|entry| entry.end == End::Done)
            };
            let changes = (0..step.changes.len()).take_while(done).count();
            let next = record.entry(index, changes);
            let next = next.filter(|entry| matches!(entry.end, End::Unknown | End::Uncertain(_)));
            let doubtful = next.map(|entry| entry.shell.unwrap_or_default());
            (changes > 0 || doubtful.is_some()).then_some((index, Made { changes, doubtful }))
        };
        Before { steps: plan.steps.iter().enumerate().filter_map(made).collect(), found: Vec::new() }
    }

    /// Returns how many changes of a step were made.
    pub fn made(&self, index: usize) -> usize {
        self.steps.get(&index).map_or(0, |made| made.changes)
    }

    /// Returns the change of a step that may or may not have been made, and the process of the shell that was to make it.
    pub fn doubtful<'a>(&self, index: usize, step: &'a Step) -> Option<(&'a Change, u32)> {
        let made = self.steps.get(&index)?;
        Some((step.changes.get(made.changes)?, made.doubtful?))
    }

    /// Takes the doubtful change of a step for made, or for not made.
    pub fn settle(&mut self, index: usize, made: bool) {
        if let Some(step) = self.steps.get_mut(&index) {
            if made {
                self.found.push((index, step.changes));
                step.changes += 1;
            }
            step.doubtful = None;
        }
    }
}

impl Before {
    /// Changes that were taken for made ([`settle`](Before::settle)).
    pub fn found(&self) -> &[(usize, usize)] {
        &self.found
    }
}

/// Looks whether a change was made, once the shell that was to make it has ended or had its time; nothing where there is
/// nothing to look at.
pub async fn was_made(
    (change, shell): (&Change, u32),
    machine: &dyn Transport,
) -> Result<Option<bool>, TransportError> {
    if shell > 1 {
        let path = match change {
            Change::Path { on: On::Host, change } => Some(change.path()),
            _ => None,
        };
        machine.probe(&settled(shell, path)).await?;
    }
    match change {
        Change::Path { on: On::Host, change } => {
            let asked = [(change.path().to_string(), Links::Keep)];
            let found = machine.look(&asked, Want::Digest).await?.into_iter().next().unwrap_or(Node::Absent);
            Ok(Some(found == *change.after()))
        }
        Change::State(state) => {
            let found = machine.probe(state.probe()).await?;
            Ok(Some(found.text().trim_end() == state.after()))
        }
        Change::Records(records) => Ok(Some(records.is_after(&records.read(machine).await?))),
        // It goes on where it stopped.
        Change::Transfer(_) | Change::Path { on: On::Controller, .. } => Ok(Some(false)),
        Change::Run { .. } => Ok(None),
    }
}
