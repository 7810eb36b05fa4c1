//! One play: its hosts in batches, its sections in order, handlers flushed at their points.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use indexmap::IndexMap;
use serde_json::Value;

use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Selected;
use crate::playbook::{Block, Play, Role, Step, Task};
use crate::settings;
use crate::template::{Failure, Templates};
use crate::vars::{Fleet, Layer, Scope, Var};
use crate::yaml::Yaml;

use super::ahead::{Ahead, Driver};
use super::handlers::Notice;
use super::lanes::{Lane, Strategy};
use super::task::without_meaning;
use super::{Event, Run, lock};

/// Whether the run goes on after a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Go,
    Stop,
}

/// The hosts that are lost, and what all others share.
type Magic = Option<(BTreeSet<String>, Arc<Layer>)>;

/// One batch of a play under way.
pub(super) struct Batch {
    pub run: Arc<Run>,
    pub play: Arc<Play>,
    /// The hosts of this batch, in inventory order.
    pub hosts: Arc<[String]>,
    /// The hosts of the whole play.
    pub all: Arc<[String]>,
    /// `vars_files`, read per host because their names may need its variables.
    pub vars_files: Arc<HashMap<String, Arc<Layer>>>,
    pub state: Arc<Mutex<State>>,
    /// The magic variables that all hosts share, and the lost hosts that they leave out.
    pub magic: Arc<Mutex<Magic>>,
    pub strategy: Strategy,
    pub ahead: Ahead,
    /// Where the hosts do not wait for each other: the one that this is of.
    pub lane: Option<Lane>,
}

#[derive(Default)]
pub(super) struct State {
    /// The play's handlers and those that included roles brought.
    pub handlers: Vec<Arc<Task>>,
    /// Roles whose defaults and vars every task of the play sees.
    pub exports: Vec<Arc<Role>>,
    /// Per host and role text, the first listing of the role that has run there.
    pub listed: HashMap<(String, Arc<str>), Arc<Role>>,
    /// The roles that hosts have left before their ends.
    pub left_roles: Vec<(String, Arc<Role>)>,
    /// Per host, what was notified since its handlers ran.
    pub notices: HashMap<String, Vec<Notice>>,
    /// Per host, the indices of handlers that are to run.
    pub notified: HashMap<String, BTreeSet<usize>>,
    /// The same of those that only a run can say to be notified, with what that needs.
    pub perhaps: HashMap<String, BTreeMap<usize, Arc<str>>>,
    /// Hosts that `meta: end_host` or `end_play` took out without a failure.
    pub ended: BTreeSet<String>,
    /// All hosts that failed in this batch, rescued ones not among them.
    pub failed: BTreeSet<String>,
    pub unreachable: BTreeSet<String>,
    /// The run ends with this when the task is over.
    pub wrong: Option<Diagnostic>,
    /// `any_errors_fatal` or `max_fail_percentage` has stopped the play.
    pub aborted: bool,
    /// `meta: end_play`: later batches have no part in it either.
    pub play_ended: bool,
    /// Handlers whose names could not be rendered, by their indices.
    pub unusable: BTreeSet<usize>,
    /// How often `meta: clear_host_errors` has forgotten what failed.
    pub cleared: usize,
}

/// Which hosts a sequence of steps left going, and which failed in it.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub going: Vec<String>,
    pub failed: Vec<String>,
}

/// Says whether the setting of when facts are gathered is this one.
fn gathering_is(kind: &str) -> bool {
    settings::value("ANSIBLE_GATHERING").is_some_and(|gathering| gathering.trim() == kind)
}

impl Run {
    /// Plays one play; `grown` says that an earlier one may have added hosts and groups.
    pub(super) async fn one_play(self: &Arc<Run>, play: &Play, grown: bool) -> Result<Flow, Diagnostics> {
        self.send(Event::PlayStarted { name: play.name.clone() });
        self.warn_of_reserved(play);
        let answers = self.answers(play).await?;
        let with_answers;
        let play = if answers.is_empty() {
            play
        } else {
            let vars = play.vars.iter().map(|(name, var)| (name.clone(), var.clone())).chain(answers);
            with_answers = Play { vars: Arc::new(vars.collect()), ..play.clone() };
            &with_answers
        };
        let hosts = self.play_hosts(play, grown)?;
        if hosts.is_empty() {
            self.send(Event::PlayWithoutHosts);
            return Ok(Flow::Go);
        }
        for warning in self.fleet.add_play_directory(&play.directory)? {
            self.send(Event::Warning(warning));
        }
        let batches = self.batches(play, &hosts)?;
        let strategy = self.strategy(play)?;
        let keywords =
            [("any_errors_fatal", &play.any_errors_fatal), ("max_fail_percentage", &play.max_fail_percentage)];
        for (name, _) in keywords.into_iter().filter(|(_, node)| strategy != Strategy::Linear && node.is_some()) {
            self.send(Event::Warning(without_meaning(name)));
        }
        self.progress.left.enter(&hosts);
        let shared = Arc::new(play.clone());
        for batch_hosts in batches {
            let out = lock(&self.progress.out).clone();
            let batch_hosts: Vec<String> = batch_hosts.into_iter().filter(|host| !out.contains(host)).collect();
            if batch_hosts.is_empty() {
                continue;
            }
            let vars_files = self.vars_files(play, &batch_hosts)?;
            let (batch, questions) =
                Batch::new((self, shared.clone()), (batch_hosts, hosts.clone()), (vars_files, strategy));
            if let Some(plan) = &self.plan {
                plan.batch(&batch.hosts);
            }
            tokio::select! {
                played = batch.play() => played?,
                () = questions.drive() => {}
            }
            self.progress.left.finish(&batch.hosts);
            let state = lock(&batch.state);
            let mut out = lock(&self.progress.out);
            out.extend(state.failed.iter().chain(&state.unreachable).cloned());
            let is_lost = |host: &String| state.failed.contains(host) || state.unreachable.contains(host);
            // Ansible ends the whole run when a play is aborted or all hosts of a batch are lost: what comes after
            // it counts on it.
            if state.aborted || batch.hosts.iter().all(is_lost) {
                return Ok(Flow::Stop);
            }
            if state.play_ended {
                break;
            }
        }
        Ok(Flow::Go)
    }

    /// Returns the hosts of a play that this run may still touch, in the play's order.
    fn play_hosts(&self, play: &Play, grown: bool) -> Result<Vec<String>, Diagnostics> {
        let selected = hosts(play, self.options.limit.as_deref(), (&self.fleet, &self.templates))?;
        let mut hosts = if grown {
            // A group that no host joined does not exist, and nobody could know that before.
            for error in selected.unmatched {
                self.send(Event::Warning(error.message));
            }
            selected.hosts
        } else {
            selected.strict()?
        };
        let out = lock(&self.progress.out);
        hosts.retain(|host| !out.contains(host));
        Ok(hosts)
    }

    /// Splits the hosts as `serial` says; its last entry repeats.
    fn batches(&self, play: &Play, hosts: &[String]) -> Result<Vec<Vec<String>>, Diagnostics> {
        let scope = self.fleet.play_scope(&play.vars);
        let mut sizes = Vec::new();
        for entry in &play.serial {
            let value = self.templates.render(entry, &scope).map_err(|failure| wrong(failure, entry))?;
            // A template that comes to `omit` or nothing is as if it were not written.
            if value.is_null() {
                continue;
            }
            let size = batch_size(&value, hosts.len()).ok_or_else(|| {
                let message = format!("`serial` should be a number or a percentage, not {value}");
                Diagnostic::new(message).at(&entry.place)
            })?;
            sizes.push(size);
        }
        let mut batches = Vec::new();
        let mut rest = hosts;
        let mut index = 0;
        while !rest.is_empty() {
            let size = sizes.get(index).or(sizes.last()).copied().filter(|size| *size > 0).unwrap_or(rest.len());
            let (batch, more) = rest.split_at(size.min(rest.len()));
            batches.push(batch.to_vec());
            rest = more;
            index += 1;
        }
        Ok(batches)
    }

    pub(super) fn vars_files(&self, play: &Play, hosts: &[String]) -> Result<HashMap<String, Arc<Layer>>, Diagnostics> {
        let mut read: IndexMap<PathBuf, Layer> = IndexMap::new();
        let mut layers = HashMap::new();
        for host in hosts {
            let mut layer = Layer::new();
            for entry in &play.vars_files {
                let scope = self
                    .fleet
                    .scope(host, &crate::vars::TaskLayers { play_vars: play.vars.clone(), ..Default::default() });
                let path = self.vars_file(play, entry, &scope)?;
                if !read.contains_key(&path) {
                    read.insert(path.clone(), crate::vars::files::read_all(&path).map_err(|error| at(error, entry))?);
                }
                layer.extend(read[&path].clone());
            }
            layers.insert(host.clone(), Arc::new(layer));
        }
        Ok(layers)
    }

    /// Returns the file that an entry of `vars_files` names: a name, or the first of a list that exists.
    fn vars_file(&self, play: &Play, entry: &Yaml, scope: &Scope) -> Result<PathBuf, Diagnostics> {
        let names = match self.templates.render(entry, scope).map_err(|failure| wrong(failure, entry))? {
            Value::Array(names) => names,
            name => vec![name],
        };
        let paths: Vec<PathBuf> =
            names.iter().filter_map(Value::as_str).map(|name| play.directory.join(name)).collect();
        paths.iter().find(|path| path.exists()).cloned().ok_or_else(|| {
            let looked: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            Diagnostic::new("no such vars file")
                .at(&entry.place)
                .hint(format!("looked for {}", looked.join(", ")))
                .into()
        })
    }
}

/// Returns the hosts that a play's pattern and `--limit` leave, in the play's order.
pub fn hosts(
    play: &Play,
    limit: Option<&str>,
    (fleet, templates): (&Arc<Fleet>, &Templates),
) -> Result<Selected, Diagnostics> {
    let scope = fleet.play_scope(&play.vars);
    let pattern = templates.render(&play.hosts, &scope).map_err(|failure| wrong(failure, &play.hosts))?;
    let pattern = match pattern {
        Value::String(text) => text,
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => {
            let message = format!("`hosts` should be text or a list of texts, not {other}");
            return Err(Diagnostic::new(message).at(&play.hosts.place).into());
        }
    };
    let here = |error: Diagnostic| error.or_at(&play.hosts.place);
    let Selected { mut hosts, unmatched } = fleet.select(&pattern).map_err(here)?;
    if let Some(limit) = limit {
        let allowed = fleet.limit(limit)?;
        hosts.retain(|host| allowed.contains(host));
    }
    let order = match &play.order {
        None => Value::Null,
        Some(order) => templates.render(order, &scope).map_err(|failure| wrong(failure, order))?,
    };
    match order.as_str() {
        Some("reverse_inventory") => hosts.reverse(),
        Some("sorted") => hosts.sort(),
        Some("reverse_sorted") => hosts.sort_by(|left, right| right.cmp(left)),
        _ => {}
    }
    Ok(Selected { hosts, unmatched: unmatched.into_iter().map(here).collect() })
}

impl Batch {
    /// Returns a batch of hosts of a play, `(batch, play)`, and what plans ahead for it.
    pub(super) fn new(
        (run, play): (&Arc<Run>, Arc<Play>),
        (hosts, all): (Vec<String>, Vec<String>),
        (vars_files, strategy): (HashMap<String, Arc<Layer>>, Strategy),
    ) -> (Arc<Batch>, Driver) {
        let state = State { handlers: play.handlers.clone(), exports: play.exports.clone(), ..State::default() };
        let (ahead, driver) = Ahead::new();
        let batch = Batch {
            run: run.clone(),
            play,
            hosts: hosts.into(),
            all: all.into(),
            vars_files: vars_files.into(),
            state: Mutex::new(state).into(),
            magic: Arc::default(),
            strategy,
            ahead,
            lane: None,
        };
        (Arc::new(batch), driver)
    }

    /// Plays all sections on hosts of this batch, in step.
    pub(super) async fn play_on(self: &Arc<Batch>, hosts: Vec<String>) -> Result<(), Diagnostics> {
        let mut going = hosts.clone();
        if self.gathers_facts()? {
            let smart = gathering_is("smart");
            let (known, unknown): (Vec<String>, Vec<String>) =
                going.into_iter().partition(|host| smart && self.run.fleet.has_facts(host));
            going = if unknown.is_empty() { Vec::new() } else { self.gather_facts(unknown).await?.going };
            going = self.in_order(going, known);
        }
        let play = self.play.clone();
        let sections = play.sections();
        for (index, section) in sections.iter().enumerate() {
            let later = sections[index + 1..].iter().flat_map(|section| section.iter().cloned()).collect();
            self.ahead.enter(later);
            going = self.steps(section, going).await?.going;
            self.ahead.leave();
            // Roles and tasks share one flush, after the tasks (Ansible flushes after pre_tasks, tasks, post_tasks).
            if index != ROLES {
                self.tell_flush(&going);
                going = self.flush_handlers(going).await?;
            }
        }
        if self.truth(play.force_handlers.as_ref())?.unwrap_or(self.run.options.force_handlers) {
            let failed: Vec<String> =
                lock(&self.state).failed.iter().filter(|host| hosts.contains(host)).cloned().collect();
            self.flush_handlers(failed).await?;
        }
        Ok(())
    }

    fn gathers_facts(&self) -> Result<bool, Diagnostics> {
        let wanted = self.truth(self.play.gather_facts.as_ref())?.unwrap_or_else(|| !gathering_is("explicit"));
        // Tags select the implicit task as they do one tagged `always`.
        // With `--start-at-task`, the play that it starts in gathers its facts first.
        let started = *lock(&self.run.progress.started);
        let begins = started || self.play.sections().iter().any(|section| self.starts_in(section));
        Ok(wanted && begins && self.run.options.tags.selects(&["always".to_string()]))
    }

    /// Reads a play's own switch, which its vars and the extra vars can template.
    fn truth(&self, node: Option<&Yaml>) -> Result<Option<bool>, Diagnostics> {
        let scope = self.run.fleet.play_scope(&self.play.vars);
        let read = |node| self.run.switch(node, &scope).map_err(|failure| wrong(failure, node));
        node.map(read).transpose()
    }

    /// Runs steps on hosts, all hosts together through each step.
    pub(super) fn steps<'a>(
        self: &'a Arc<Batch>,
        steps: &'a [Step],
        hosts: Vec<String>,
    ) -> BoxFuture<'a, Result<Split, Diagnostics>> {
        async move {
            let mut split = Split { going: hosts, failed: Vec::new() };
            self.ahead.enter(steps.to_vec());
            for step in steps {
                self.ahead.advance();
                self.drop_ended(&mut split.going);
                if split.going.is_empty() {
                    break;
                }
                let hosts = std::mem::take(&mut split.going);
                let after = match step {
                    Step::Task(task) => self.task_on(task, hosts).await?,
                    Step::Block(block) => self.block(block, hosts).await?,
                };
                split.going = after.going;
                split.failed.extend(after.failed);
            }
            self.ahead.leave();
            Ok(split)
        }
        .boxed()
    }

    pub(super) fn drop_ended(&self, hosts: &mut Vec<String>) {
        let state = lock(&self.state);
        hosts.retain(|host| !state.ended.contains(host) && !state.unreachable.contains(host));
    }

    async fn block(self: &Arc<Batch>, block: &Block, hosts: Vec<String>) -> Result<Split, Diagnostics> {
        let mut split = self.steps(&block.block, hosts).await?;
        if !block.rescue.is_empty() && !split.failed.is_empty() {
            let mut failed = std::mem::take(&mut split.failed);
            {
                let mut state = lock(&self.state);
                state.aborted = false;
                failed.retain(|host| !state.unreachable.contains(host));
                state.failed.retain(|host| !failed.contains(host));
            }
            for host in &failed {
                // Where the journal cannot be written the next change says so.
                let _ = self.run.journal.rescued(host);
                self.send(Event::Rescued { host: host.clone() });
            }
            let rescued = self.steps(&block.rescue, failed).await?;
            split.going.extend(rescued.going);
            split.failed = rescued.failed;
        }
        if !block.always.is_empty() {
            let mut all: Vec<String> = split.going.iter().chain(&split.failed).cloned().collect();
            all.retain(|host| !lock(&self.state).unreachable.contains(host));
            let cleared = lock(&self.state).cleared;
            let always = self.steps(&block.always, all).await?;
            if lock(&self.state).cleared != cleared {
                // What failed before is forgotten, and the hosts go on.
                split.going.extend(std::mem::take(&mut split.failed));
            }
            split
                .failed
                .extend(always.failed.into_iter().filter(|host| split.going.contains(host)).collect::<Vec<_>>());
            split.going.retain(|host| always.going.contains(host));
        }
        let aborted = lock(&self.state).aborted;
        split.going = self.in_order(split.going, Vec::new());
        split.going.retain(|host| !split.failed.contains(host) && !aborted);
        Ok(split)
    }

    /// Notes failed hosts and says whether the failure stops everyone (`any_errors_fatal`, `max_fail_percentage`).
    pub(super) fn note_failures(&self, failed: &[String], fatal_for_all: bool) -> Result<bool, Diagnostics> {
        let mut state = lock(&self.state);
        state.failed.extend(failed.iter().cloned());
        if failed.is_empty() {
            return Ok(false);
        }
        let limit = match &self.play.max_fail_percentage {
            _ if self.strategy != Strategy::Linear => None,
            None => None,
            Some(node) => {
                let scope = self.run.fleet.play_scope(&self.play.vars);
                let value = self.run.templates.render(node, &scope).map_err(|failure| wrong(failure, node))?;
                value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim_end_matches('%').parse().ok()))
            }
        };
        let lost = state.failed.len() + state.unreachable.len();
        let percentage = lost as f64 * 100.0 / self.hosts.len() as f64;
        if fatal_for_all || limit.is_some_and(|limit| percentage > limit) {
            state.aborted = true;
        }
        Ok(state.aborted)
    }

    /// The variables of a failed task that a rescue section sees.
    pub(super) fn set_failed(&self, host: &str, task: &Task, result: &Value) {
        let name = task.keywords.name.as_ref().and_then(|name| name.as_str()).unwrap_or(&task.action);
        let failed = serde_json::json!({ "name": name, "action": task.action });
        self.run.fleet.set_fact(host, "ansible_failed_task", Var::Known(failed));
        self.run.fleet.set_fact(host, "ansible_failed_result", Var::Known(result.clone()));
    }
}

/// The roles' place among the sections of a play.
const ROLES: usize = 1;

/// Returns how many hosts an entry of `serial` stands for; at least one.
fn batch_size(value: &Value, hosts: usize) -> Option<usize> {
    if let Some(number) = value.as_u64() {
        return Some(number as usize);
    }
    let text = value.as_str()?.trim();
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.parse().ok()?;
            Some(((percent / 100.0 * hosts as f64) as usize).max(1))
        }
        None => text.parse().ok(),
    }
}

/// Turns a failure to render into the user's error; nothing outside a task may depend on an unknown.
pub(super) fn wrong(failure: Failure, node: &Yaml) -> Diagnostics {
    match failure {
        Failure::Wrong(diagnostic) => diagnostic.or_at(&node.place).into(),
        Failure::Unknown(what) => Diagnostic::new(format!("{what} is not known here")).at(&node.place).into(),
    }
}

fn at(error: Diagnostic, node: &Yaml) -> Diagnostics {
    error.or_at(&node.place).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_is_a_number_or_a_percentage_of_at_least_one_host() {
        assert_eq!(batch_size(&Value::from(3), 10), Some(3));
        assert_eq!(batch_size(&Value::from("30%"), 10), Some(3));
        assert_eq!(batch_size(&Value::from("1%"), 10), Some(1));
        assert_eq!(batch_size(&Value::from("2"), 10), Some(2));
        assert_eq!(batch_size(&Value::from("many"), 10), None);
    }
}
