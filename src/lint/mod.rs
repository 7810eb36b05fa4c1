//! What is wrong with a playbook or a role, found without a host: what a run would refuse, and what would run and is not meant.

use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::LOCALHOST;
use crate::playbook::{Loader, Play, Playbook};
use crate::run;
use crate::template::Templates;
use crate::vars::Fleet;

mod fights;
mod files;
mod handlers;
mod known;
pub mod role;
mod rules;
mod tasks;
mod undefined;
mod walk;

pub use rules::{Grade, RULES, Rule};

use known::Known;
use walk::Walked;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub rule: &'static Rule,
    pub diagnostic: Diagnostic,
}

/// What is known beside the playbook.
pub struct Around<'a> {
    pub loader: &'a Loader,
    pub templates: &'a Templates,
    pub fleet: &'a Arc<Fleet>,
    /// Whether the fleet is that of an inventory, and not only this machine.
    pub has_inventory: bool,
}

/// What was found, and what could not be looked at.
#[derive(Default)]
pub struct Found {
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
}

impl Found {
    /// Notes a finding once, however often a file is imported.
    fn push(&mut self, rule: &'static Rule, diagnostic: Diagnostic) {
        let finding = Finding { rule, diagnostic };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn extend(&mut self, rule: &'static Rule, diagnostics: Diagnostics) {
        diagnostics.0.into_iter().for_each(|diagnostic| self.push(rule, diagnostic));
    }

    /// Takes over what was found elsewhere.
    pub fn join(&mut self, other: Found) {
        other.findings.into_iter().for_each(|finding| self.push(finding.rule, finding.diagnostic));
        other.notes.into_iter().for_each(|note| self.note(note));
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Sorts the findings by file, line and column.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| {
            let place = finding.diagnostic.place.as_ref();
            place.map(|place| (place.source.path.clone(), place.line, place.column))
        });
    }
}

/// Looks at a playbook that was read, and at the `errors` of its reading.
pub fn playbook((playbook, errors): (&Playbook, Diagnostics), around: &Around) -> Found {
    let mut found = Found::default();
    found.extend(&rules::INVALID, errors);
    found.extend(&rules::INVALID, run::verify::playbook(playbook, around.templates).err().unwrap_or_default());
    let mut walked = Vec::new();
    for play in &playbook.plays {
        found.extend(&rules::INVALID, Diagnostics(play.unanswered.clone()));
        found.extend(&rules::ABSENT_MODULE, Diagnostics(play.absent.clone()));
        found.extend(&rules::ABSENT_MODULE, Diagnostics(run::verify::doubts(play)));
        found.extend(&rules::INVALID, around.fleet.add_play_directory(&play.directory).err().unwrap_or_default());
        let (play, errors) = Walked::new(play, around);
        found.extend(&rules::INVALID, errors);
        walked.push(play);
    }
    for play in &walked {
        handlers::look(play, &mut found);
        tasks::look(play, &mut found);
        files::look((play, &walked), around, &mut found);
    }
    undefined::look(&walked, &mut Known::new(&walked, around), &mut found);
    fights::look(&walked, &mut found);
    patterns(playbook, around, &mut found);
    found
}

/// Finds plays for hosts that the inventory does not have.
fn patterns(playbook: &Playbook, around: &Around, found: &mut Found) {
    if !around.has_inventory {
        return;
    }
    let mut grown = false;
    for play in &playbook.plays {
        let selected = run::play::hosts(play, None, (around.fleet, around.templates));
        let hosts = selected.and_then(|selected| if grown { Ok(selected.hosts) } else { selected.strict() });
        found.extend(&rules::UNKNOWN_HOST, hosts.err().unwrap_or_default());
        grown |= play.may_grow_inventory();
    }
}

/// Says whether a play is for this machine alone, whose variables need no inventory.
fn is_here(play: &Play) -> bool {
    play.hosts.as_str().is_some_and(|hosts| LOCALHOST.contains(&hosts))
}
