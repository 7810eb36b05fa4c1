//! A plan as the guard of a run: what was approved is made as it was approved, what was open is decided, nothing else.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::change::{Change, On, Secrecy};
use crate::playbook::{Step as Written, Task};
use crate::run::doing::Doing;
use crate::run::making::Machine;
use crate::run::task::place_of;
use crate::run::trouble::Trouble;
use crate::run::{Event, lock};
use crate::template::Failure;
use crate::transport::Node;

use super::recorder::peer;
use super::{Plan, Route, Step};

/// A task's place, its host, its loop's item if it has one, and how often they came before.
type Key = (String, String, Option<String>, usize);

/// A task's place, its host, and its loop's item.
type Visit = (String, String, Option<String>);

/// Counts how often a task has come to a host with an item.
#[derive(Default)]
pub(in crate::run) struct Seen(Mutex<HashMap<Visit, usize>>);

impl Seen {
    /// Returns how often it came before.
    pub fn count(&self, (place, host, item): (&str, &str, Option<&str>)) -> usize {
        let key = (place.to_string(), host.to_string(), item.map(str::to_string));
        let mut seen = lock(&self.0);
        let count = seen.entry(key).or_default();
        *count += 1;
        *count - 1
    }
}

/// Compares what a run is about to change with what a plan has of it.
pub struct Guard {
    plan: Plan,
    /// Where the plan was made: places are relative to it.
    directory: PathBuf,
    /// The hosts that `apply` was limited to.
    limit: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Steps of the plan that have been approved to be made.
    made: BTreeSet<usize>,
    /// Tasks that an open inclusion has brought, by their address, and hosts.
    free: HashSet<(usize, String)>,
    /// What open steps have made of paths of machines.
    decided: HashMap<(String, String), Node>,
    /// Hosts that nothing more is done on.
    refused: BTreeSet<String>,
}

/// What a task is about to change.
struct About<'a> {
    task: &'a Arc<Task>,
    host: &'a str,
    /// With its item, and without.
    keys: (Key, Key),
    machine: &'a str,
    route: Route,
    /// The ways to the hosts that are read from.
    peers: HashMap<String, Route>,
    secrecy: Secrecy,
}

impl Guard {
    pub fn new(plan: Plan, limit: Option<String>) -> Guard {
        let directory = PathBuf::from(&plan.head.told.directory);
        Guard { plan, directory, limit, state: Mutex::default() }
    }

    pub fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Leaves a host alone from here on.
    pub fn refuse(&self, host: &str) {
        lock(&self.state).refused.insert(host.into());
    }

    /// Returns the steps that were approved and are not made, in order.
    pub fn left(&self) -> Vec<&Step> {
        let state = lock(&self.state);
        let steps = self.plan.steps.iter().enumerate();
        steps.filter(|(index, step)| step.open.is_none() && !state.made.contains(index)).map(|(_, step)| step).collect()
    }

    fn step(&self, (place, host, item, nth): &Key) -> Option<(usize, &Step)> {
        let current = std::env::current_dir().unwrap_or_default();
        let place = absolute(&current, place);
        let is_it = |step: &Step| {
            (&step.host, &step.item, step.nth) == (host, item, *nth) && absolute(&self.directory, &step.place) == place
        };
        self.plan.steps.iter().enumerate().find(|(_, step)| is_it(step))
    }

    /// Lets a task be made that an open step has brought.
    fn release(&self, steps: &[Written], host: &str) {
        for step in steps {
            match step {
                Written::Task(task) => self.release_task(task, host),
                Written::Block(block) => {
                    [&block.block, &block.rescue, &block.always].into_iter().for_each(|part| self.release(part, host));
                }
            }
        }
    }

    fn release_task(&self, task: &Arc<Task>, host: &str) {
        lock(&self.state).free.insert((Arc::as_ptr(task) as usize, host.into()));
    }

    fn is_free(&self, task: &Arc<Task>, host: &str) -> bool {
        lock(&self.state).free.contains(&(Arc::as_ptr(task) as usize, host.to_string()))
    }

    /// Returns why the plan leaves a step open, if this is one.
    fn open(&self, (task, host): (&Arc<Task>, &str), keys: &(Key, Key)) -> Option<String> {
        let found = self.step(&keys.0).or_else(|| self.step(&keys.1));
        match found {
            Some((_, step)) => step.open.clone(),
            None => self.is_free(task, host).then(|| "was brought by an open step".into()),
        }
    }

    /// Refuses a host that is left alone.
    fn lets_near(&self, host: &str) -> Result<(), String> {
        match lock(&self.state).refused.contains(host) {
            true => Err(format!("`{host}` is left alone")),
            false => Ok(()),
        }
    }

    /// Says whether changes are as they were approved, or why a step that was open is decided now. An error says what is
    /// not as approved.
    fn approve(&self, about: &About<'_>, changes: &[Change]) -> Result<Option<String>, String> {
        let mut state = lock(&self.state);
        let gone = |host: &str| state.refused.contains(host);
        if let Some(host) =
            [about.host, about.machine].into_iter().chain(changes.iter().filter_map(peer)).find(|host| gone(host))
        {
            return Err(format!("`{host}` is left alone, and this is for or reads from it"));
        }
        let found = self.step(&about.keys.0).or_else(|| self.step(&about.keys.1));
        let why = match found {
            None if changes.is_empty() => return Ok(None),
            None if state.free.contains(&(Arc::as_ptr(about.task) as usize, about.host.to_string())) => {
                "was brought by an open step".to_string()
            }
            None => return Err(told(&[], changes, about.secrecy)),
            Some((index, step)) => {
                let route = step.route.and_then(|route| self.plan.routes.get(route));
                if step.machine() != about.machine || route.is_some_and(|route| !about.route.is_as(route)) {
                    return Err(format!("`{}` is reached in another way than it was approved", about.machine));
                }
                let known = |host: &String| self.plan.routes.get(*step.peers.get(host)?);
                let strange = |(host, route): &(&String, &Route)| known(host).is_some_and(|known| !route.is_as(known));
                if let Some((host, _)) = about.peers.iter().find(strange) {
                    return Err(format!("`{host}` is reached in another way than it was approved"));
                }
                let made = |path: &str| state.decided.get(&(about.machine.to_string(), path.to_string()));
                let same = |(approved, now): (&Change, &Change)| now.is_as_approved(approved, made);
                let is_run = |change: &&Change| matches!(change, Change::Run { .. });
                match &step.open {
                    None => {
                        let all = step.changes.len() == changes.len() && step.changes.iter().zip(changes).all(same);
                        if !all {
                            return Err(told(&step.changes, changes, about.secrecy));
                        }
                        state.made.insert(index);
                        return Ok(None);
                    }
                    // Its effect is open, and the command is not.
                    Some(why) => {
                        let (approved, now) = (step.changes.iter().filter(is_run), changes.iter().filter(is_run));
                        let now: Vec<_> = now.collect();
                        if !now.is_empty() && approved.clone().next().is_some() && !approved.eq(now) {
                            return Err(told(&step.changes, changes, about.secrecy));
                        }
                        why.clone()
                    }
                }
            }
        };
        for change in changes {
            if let Change::Path { on: On::Host, change } = change {
                state.decided.insert((about.machine.into(), change.path().into()), change.after().clone());
            }
        }
        Ok((!changes.is_empty()).then_some(why))
    }
}

/// Tells what was approved beside what would be made now.
fn told(approved: &[Change], now: &[Change], secrecy: Secrecy) -> String {
    let lines = |changes: &[Change]| {
        let lines: Vec<String> = changes.iter().flat_map(|change| change.diff(secrecy).texts()).collect();
        let lines = if lines.is_empty() { vec!["no change".into()] } else { lines };
        lines.iter().map(|line| format!("\n    {line}")).collect::<String>()
    };
    format!("not what was approved\n  approved:{}\n  now:{}", lines(approved), lines(now))
}

/// Returns a place `FILE:LINE` with a file that is the same wherever it is named from.
fn absolute(directory: &Path, place: &str) -> PathBuf {
    directory.join(place).components().collect()
}

impl Doing<'_> {
    /// Counts how often this task has come to its host with its item.
    pub(in crate::run) fn count(&self, item: Option<&str>) -> usize {
        self.batch.run.progress.seen.count((&place_of(self.task), self.host, item))
    }

    /// How often this task came to its host with its item before.
    pub(in crate::run) fn visit(&self) -> usize {
        if self.subject.item.is_some() { self.nth.1 } else { self.nth.0 }
    }

    fn keys(&self) -> (Key, Key) {
        let key = |item: Option<String>, nth| (place_of(self.task), self.host.to_string(), item, nth);
        (key(self.subject.item.clone(), self.visit()), key(None, self.nth.0))
    }

    /// Refuses to go on with a host where a plan that guards the run has something else than these changes.
    pub(in crate::run) fn approve(&self, machine: &Machine, changes: &[Change]) -> Result<(), Trouble> {
        let Some(guard) = &self.batch.run.guard else { return Ok(()) };
        // A check has done the same, on hosts that are not left alone.
        let reads = self.reads_only() && changes.iter().all(|change| matches!(change, Change::Run { .. }));
        if reads || self.task.keywords.check_mode.is_some() {
            return guard.lets_near(&machine.host).map_err(Trouble::Refused);
        }
        let peers = changes.iter().filter_map(peer).map(|host| Ok((host.to_string(), self.route(host)?)));
        let about = About {
            task: self.task,
            host: self.host,
            keys: self.keys(),
            machine: &machine.host,
            route: self.route(&machine.host)?,
            peers: peers.collect::<Result<_, Failure>>()?,
            secrecy: self.secrecy,
        };
        match guard.approve(&about, changes) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => {
                let subject = machine.subject(&self.subject);
                self.batch.send(Event::Decided { subject, why });
                Ok(())
            }
            Err(why) => Err(Trouble::Refused(why)),
        }
    }

    /// Refuses to go on where the task is skipped and its changes were approved, or where nothing more may be done.
    pub(in crate::run) fn approve_none(&self) -> Result<(), Trouble> {
        let Some(guard) = &self.batch.run.guard else { return Ok(()) };
        match guard.step(&self.keys().0) {
            Some((_, step)) if step.open.is_none() => {
                Err(Trouble::Refused(told(&step.changes, &[], self.secrecy) + ": the task is skipped"))
            }
            _ => Ok(()),
        }
    }

    /// Leaves the host alone: no later task, no rescue and no handler touches it.
    pub(in crate::run) fn give_up_host(&self) {
        if let Some(guard) = &self.batch.run.guard {
            guard.refuse(self.host);
        }
        lock(&self.batch.state).unreachable.insert(self.host.into());
    }

    pub(in crate::run) fn may_go_on(&self) -> Result<(), Trouble> {
        match &self.batch.run.guard {
            Some(guard) if lock(&guard.state).refused.contains(self.host) => {
                Err(Trouble::Refused("the host is left alone".into()))
            }
            _ => Ok(()),
        }
    }

    /// Says whether what the task brings is to be decided: it was open itself.
    pub(in crate::run) fn brings(&self) -> bool {
        let guard = self.batch.run.guard.as_ref();
        guard.is_some_and(|guard| guard.open((self.task, self.host), &self.keys()).is_some())
    }
}

impl Guard {
    /// Lets a handler be decided that such a task notifies.
    pub(in crate::run) fn hand_on(&self, (task, host): (&Arc<Task>, &str), handlers: &[Arc<Task>]) {
        if self.is_free(task, host) {
            handlers.iter().for_each(|handler| self.release_task(handler, host));
        }
    }

    /// Lets tasks and handlers that an open inclusion has brought be decided.
    pub(in crate::run) fn bring(&self, host: &str, (steps, handlers): (&[Written], &[Arc<Task>])) {
        self.release(steps, host);
        handlers.iter().for_each(|handler| self.release_task(handler, host));
    }
}
