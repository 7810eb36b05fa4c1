//! The `meta` tasks: what they tell the runner, and what it does.

use std::sync::Arc;

use crate::error::Diagnostics;
use crate::playbook::Task;
use crate::template::Failure;

use super::play::{Batch, Split};
use super::{Event, Mode, lock};

impl Batch {
    /// Tells what a `meta` task does and whom it passes over.
    fn tell_meta(&self, (task, word): (&Task, &str), (hosts, chosen): (&[String], &[String])) {
        let role = task.keywords.role.as_ref().map(|role| role.name.as_str()).unwrap_or_default();
        // Of these the first host decides for all.
        let once = matches!(word, "end_play" | "end_batch" | "clear_facts" | "clear_host_errors" | "refresh_inventory");
        for host in hosts.iter().take(if once { 1 } else { hosts.len() }) {
            let skipped = !chosen.contains(host);
            let text = match (word, skipped) {
                ("end_host", false) => format!("ending play for {host}"),
                ("end_play", false) => "ending play".into(),
                ("end_batch", false) => "ending batch".into(),
                ("end_role", false) => format!("ending role {role} for {host}"),
                ("clear_facts", false) => "facts cleared".into(),
                ("clear_host_errors", false) => "cleared host errors".into(),
                ("refresh_inventory", false) => "inventory successfully refreshed".into(),
                ("flush_handlers", false) => format!("triggered running handlers for {host}"),
                ("reset_connection", false) => "reset connection".into(),
                (_, false) => word.to_string(),
                (_, true) => {
                    let instead = match word {
                        "end_host" => format!(", continuing execution for {host}"),
                        "end_play" => ", continuing play".into(),
                        "end_batch" => ", continuing current batch".into(),
                        "end_role" => format!(", continuing role {role} for {host}"),
                        "clear_facts" => format!(", not clearing facts and fact cache for {host}"),
                        "clear_host_errors" => format!(", not clearing host error state for {host}"),
                        "refresh_inventory" => ", not refreshing inventory".into(),
                        "flush_handlers" => format!(", not running handlers for {host}"),
                        _ => String::new(),
                    };
                    format!("{word} conditional evaluated to False{instead}")
                }
            };
            self.send(Event::Meta { skipped: skipped.then(|| host.clone()), word: word.into(), text, verbosity: 2 });
        }
    }

    /// Performs a `meta` task, for all hosts at once.
    pub(super) async fn meta(self: &Arc<Batch>, task: &Arc<Task>, hosts: Vec<String>) -> Result<Split, Diagnostics> {
        let word = task.free_form.as_ref().and_then(|node| node.as_str()).unwrap_or_default().trim().to_string();
        let (mut chosen, mut open) = (Vec::new(), Vec::new());
        for host in &hosts {
            let scope = self.scope(host, &self.layers(&task.keywords, host), &task.keywords);
            let mut holds = true;
            for condition in &task.keywords.when {
                holds &= match self.run.templates.condition(condition, &scope) {
                    Err(Failure::Unknown(needs)) if self.run.options.mode == Mode::Check => {
                        open.push((host.clone(), needs));
                        false
                    }
                    value => value.map_err(|failure| super::play::wrong(failure, condition))?,
                };
            }
            if holds {
                chosen.push(host.clone());
            }
        }
        self.tell_meta((task, &word), (&hosts, &chosen));
        if !open.is_empty() {
            open.dedup_by(|one, other| one.0 == other.0);
            self.leave_open(task, open).await;
        }
        match word.as_str() {
            "flush_handlers" => {
                let left = self.flush_handlers(chosen.clone()).await?;
                let going: Vec<String> =
                    hosts.iter().filter(|host| !chosen.contains(host) || left.contains(host)).cloned().collect();
                let failed = hosts.iter().filter(|host| !going.contains(host)).cloned().collect();
                return Ok(Split { going, failed });
            }
            "end_host" => lock(&self.state).ended.extend(chosen),
            "end_role" => {
                let role =
                    task.keywords.role.iter().flat_map(|role| chosen.iter().map(|host| (host.clone(), role.clone())));
                lock(&self.state).left_roles.extend(role);
            }
            // The first host decides for all, as in Ansible.
            "end_play" | "end_batch" if chosen.first() == hosts.first() => {
                let mut state = lock(&self.state);
                state.ended.extend(self.hosts.iter().cloned());
                state.play_ended |= word == "end_play";
            }
            "clear_facts" => chosen.iter().for_each(|host| self.run.fleet.clear_facts(host)),
            // The first host decides for all.
            "clear_host_errors" if chosen.first() == hosts.first() => self.clear_errors(),
            "refresh_inventory" if chosen.first() == hosts.first() => {
                for warning in self.run.fleet.refresh()? {
                    self.send(Event::Warning(warning));
                }
            }
            "reset_connection" => {
                for host in &chosen {
                    let scope = self.scope(host, &self.layers(&task.keywords, host), &task.keywords);
                    if let Ok((login, _)) = self.run.connections.login(host, &task.keywords, &scope) {
                        self.run.connections.forget(&login);
                    }
                }
            }
            _ => {}
        }
        Ok(Split { going: hosts, failed: Vec::new() })
    }

    /// Forgets what failed, here and in plays before: blocks whose `always` this stands in let their hosts go on.
    fn clear_errors(&self) {
        lock(&self.run.progress.out).clear();
        let mut state = lock(&self.state);
        state.failed.clear();
        state.unreachable.clear();
        state.aborted = false;
        state.cleared += 1;
    }
}

/// The words `meta` understands.
pub const META: &[&str] = &[
    "clear_facts",
    "clear_host_errors",
    "end_batch",
    "end_host",
    "end_play",
    "end_role",
    "flush_handlers",
    "noop",
    "refresh_inventory",
    "reset_connection",
];
