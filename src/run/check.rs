//! What is wrong with the hosts of a run before the first one is touched: patterns that fit nothing, bad logins.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{Diagnostic, Diagnostics, Place};
use crate::playbook::{Play, Playbook};

use super::lanes::Strategy;
use super::play::{self, Batch};
use super::weakened::Weakened;
use super::{Event, Run};

impl Run {
    /// Finds the patterns of plays and of `--limit` that are wrong, and what is wrong with how hosts are reached, all
    /// before the first host is touched; and names the hosts whose SSH is weakened.
    pub fn check_hosts(self: &Arc<Run>, playbooks: &[Playbook]) -> Result<(), Diagnostics> {
        let (mut errors, mut weakened) = (Diagnostics::default(), Weakened::default());
        let mut grown = false;
        for play in playbooks.iter().flat_map(|playbook| &playbook.plays) {
            let selected = play::hosts(play, self.options.limit.as_deref(), (&self.fleet, &self.templates));
            let hosts = selected.and_then(|selected| if grown { Ok(selected.hosts) } else { selected.strict() });
            let checked = hosts.and_then(|hosts| self.check_logins(play, hosts, &mut weakened));
            checked.unwrap_or_else(|found| errors.extend(found));
            grown |= play.may_grow_inventory();
        }
        weakened.events().for_each(|event| self.send(event));
        errors.or(())
    }

    /// Asks for the login of each host as the play's first task would. What a task's own keywords and variables
    /// change, and what needs facts or results, is found when it is their turn.
    fn check_logins(
        self: &Arc<Run>,
        play: &Play,
        hosts: Vec<String>,
        weakened: &mut Weakened,
    ) -> Result<(), Diagnostics> {
        for warning in self.fleet.add_play_directory(&play.directory)? {
            self.send(Event::Warning(warning));
        }
        let Some(first) = hosts.first().cloned() else { return Ok(()) };
        // A file that is missing, or whose name needs facts, is the run's to report.
        let vars_files = self.vars_files(play, &hosts).unwrap_or_default();
        let all = hosts.clone();
        let (batch, _) = Batch::new((self, Arc::new(play.clone())), (hosts, all), (vars_files, Strategy::Linear));
        let mut layers = batch.layers(&play.keywords, &first);
        let mut folded = Folded::default();
        for host in batch.hosts.iter() {
            layers.vars_files = batch.vars_files.get(host).cloned().unwrap_or_default();
            let scope = batch.scope(host, &layers, &play.keywords);
            if let Err(found) = self.connections.check_login(host, &play.keywords, &scope) {
                found.0.into_iter().for_each(|error| folded.add(host, error));
            }
            if let Ok((login, _)) = self.connections.login(host, &play.keywords, &scope) {
                weakened.add(host, &login);
            }
        }
        folded.errors().or(())
    }
}

/// Errors of many hosts: one that a group's variable brings to all of them is shown once.
#[derive(Default)]
struct Folded(IndexMap<(String, Option<String>), Repeated>);

/// An error, and how many more hosts have it.
type Repeated = (Diagnostic, usize);

impl Folded {
    fn add(&mut self, host: &str, error: Diagnostic) {
        let place = error.place.as_ref().map(Place::to_string);
        let key = (error.message.replace(&named(host), &named("")), place);
        self.0.entry(key).and_modify(|(_, more)| *more += 1).or_insert((error, 0));
    }

    fn errors(self) -> Diagnostics {
        let mut errors = Diagnostics::default();
        for (_, (mut error, more)) in self.0 {
            if more > 0 && error.message.contains("host `") {
                error.message += &format!(" ({more} more of this play's hosts have the same)");
            }
            errors.push(error);
        }
        errors
    }
}

fn named(host: &str) -> String {
    format!("host `{host}`")
}
