//! What only a run can decide, in a check: what is known of it is shown, and nothing later takes the rest for known.

use std::sync::Arc;

use crate::change::{Change, Diff, Secrecy};
use crate::modules::{Entry, Planned, Results};
use crate::playbook::Task;
use crate::template::{Failure, Use};
use crate::vars::Var;

use super::doing::{Doing, Done};
use super::making::Machine;
use super::module::WAITING;
use super::play::Batch;
use super::trouble::Trouble;
use super::{Event, Verdict};

impl Doing<'_> {
    /// Lets later tasks of the check see what this one would change. Returns what it waits for, if it is about a path
    /// that an earlier task, which only a run can decide, is to make.
    pub(super) fn carry_on(&self, machine: &Machine, changes: &[Change]) -> Option<Arc<str>> {
        let pendings = &self.batch.run.progress.pendings;
        let waits = |change| pendings.with(&machine.host, |pending| pending.waits_for(change));
        let waits_for = changes.iter().find_map(waits);
        for change in changes {
            pendings.record(&machine.host, change);
            if matches!(change, Change::Run { .. }) && !self.reads_only() {
                pendings.with(&machine.host, |pending| pending.not_run(self.named().into()));
            }
        }
        waits_for
    }

    /// Shows what is known of what the task would change, and notes that the rest is not.
    pub(super) async fn foresee(&self, entry: &'static Entry, needs: &Arc<str>) -> Vec<Diff> {
        match self.foreseen(entry).await {
            Ok((machine, planned)) => {
                let pendings = &self.batch.run.progress.pendings;
                let foresee = |change| pendings.with(&machine.host, |pending| pending.foresee(change, needs));
                planned.changes.iter().for_each(foresee);
                let diffs: Vec<Diff> = planned.changes.iter().map(|change| change.foreseen(self.secrecy)).collect();
                if self.show_diff && !diffs.is_empty() {
                    let subject = machine.subject(&self.subject);
                    self.batch.send(Event::Planned { subject, diffs: diffs.clone() });
                }
                diffs
            }
            Err(_) => {
                if entry.runs_commands() && !self.reads_only() {
                    let delegate = self.delegate().ok().flatten();
                    let host = delegate.as_deref().unwrap_or(self.host);
                    self.batch.run.progress.pendings.with(host, |pending| pending.not_run(self.named().into()));
                }
                Vec::new()
            }
        }
    }

    /// Plans the module with texts in which the unknown is marked as such. What comes of it is shown, and never made.
    async fn foreseen(&self, entry: &'static Entry) -> Result<(Machine, Planned), Trouble> {
        let open = |name: &str| entry.argument(name).is_some_and(|argument| argument.open);
        let wanted = |name: &str| if open(name) { Use::Show } else { Use::Host };
        let arguments = entry.arguments(self.arguments_for(entry.free_form, wanted)?)?;
        let module = (entry.build)(&arguments)?;
        let machine = self.machine().await?;
        let view = self.view(&machine, Use::Show).await?;
        let planned = module.plan(&view).await?;
        Ok((machine, planned))
    }

    /// Lets nobody take the variables that the task may set for what they were, or for unset.
    fn leave_variables_open(&self, needs: &Arc<str>) {
        let fleet = &self.batch.run.fleet;
        let hosts = self.fact_hosts().unwrap_or_else(|_| self.facts_for.to_vec());
        match self.task.action.as_str() {
            "set_fact" => {
                let holds = matches!(self.holds(), Ok(true));
                for (name, node) in &self.task.arguments {
                    let var = match self.templates().render(node, &self.scope) {
                        Ok(value) if holds => Var::Known(value),
                        Err(Failure::Unknown(needs)) if holds => Var::Unknown(needs),
                        _ => Var::Unknown(needs.clone()),
                    };
                    hosts.iter().for_each(|host| fleet.set_fact(host, &name.key(), var.clone()));
                }
            }
            "include_vars" | "include_tasks" | "include_role" => {
                hosts.iter().for_each(|host| fleet.perhaps_more(host, needs));
            }
            _ => {}
        }
    }

    /// Returns the end of a task that only a run can decide.
    pub(super) fn left_open(&self, needs: &Arc<str>, foreseen: Vec<Diff>) -> (Verdict, Done) {
        if foreseen.is_empty() {
            self.forget_what_is_named(needs);
        }
        // An apply does not wait.
        if !WAITING.contains(&self.task.action.as_str()) {
            self.record_open(needs, foreseen);
        }
        self.leave_variables_open(needs);
        // A handler whose name needs something unknown, too, is found when it is run.
        let _ = self.notify(Some(needs));
        let mut result = Results::new();
        result.insert("msg".into(), format!("unknown until run: needs {needs}").into());
        (Verdict::Unknown, Done { unknown: true, result, ..Done::default() })
    }
}

impl Batch {
    /// Leaves a task open on hosts, each with what it needs to know whether it is done at all.
    pub(super) async fn leave_open(self: &Arc<Batch>, task: &Arc<Task>, hosts: Vec<(String, Arc<str>)>) {
        let names: Vec<String> = hosts.iter().map(|(host, _)| host.clone()).collect();
        self.announce(task, &names);
        for (host, needs) in hosts {
            let mut doing = self.doing(task, &host);
            doing.nth.0 = doing.count(None);
            if doing.set_switches().is_err() {
                doing.secrecy = Secrecy::Hidden;
            }
            let attempt = match doing.left_out() {
                Ok(Some(done)) if task.loop_over.is_none() => Ok(done),
                _ => Err(match super::doing::entry(task).filter(|_| task.loop_over.is_none()) {
                    Some(entry) => {
                        let foreseen = Box::pin(doing.foresee(entry, &needs)).await;
                        Trouble::Open { foreseen, needs: needs.clone() }
                    }
                    None => Trouble::Unknown(needs.clone()),
                }),
            };
            if attempt.is_err() {
                // Whether it is done at all is not known.
                doing.forget_what_is_named(&needs);
            }
            let (verdict, done) = doing.conclude(attempt);
            doing.report(verdict, &done.result);
            if let Some(name) = &task.register {
                self.run.fleet.register(&host, name, doing.registered(&done));
            }
        }
    }
}
