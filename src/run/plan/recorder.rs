//! A plan in the making: what the tasks of a check would change, as they come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::change::{Change, Diff, On, Secrecy};
use crate::run::doing::Doing;
use crate::run::making::Machine;
use crate::run::{Mode, lock};
use crate::template::Failure;
use crate::transport::Body;

use super::{Batch, Head, Plan, Route, Step};

/// Collects steps.
#[derive(Default)]
pub struct Recorder {
    plan: Mutex<Plan>,
    /// How many tasks were begun, and the last one's name and place.
    task: Mutex<(usize, String, String)>,
}

impl Recorder {
    /// Notes what a reviewer has to know of the plan as a whole.
    pub fn warn(&self, text: &str) {
        lock(&self.plan).head.warnings.push(text.into());
    }

    /// Notes that a play, or a batch of it, begins.
    pub fn batch(&self, hosts: &[String]) {
        lock(&self.plan).batches.push(Batch { hosts: hosts.to_vec() });
    }

    /// Notes that a task begins: what is recorded now is its.
    pub fn begin(&self, name: &str, place: &str) {
        let mut task = lock(&self.task);
        *task = (task.0 + 1, name.into(), place.into());
    }

    /// Returns the plan; the steps of one task stand in the order of `hosts`.
    pub fn finish(&self, head: Head, hosts: &[String]) -> Plan {
        let mut plan = std::mem::take(&mut *lock(&self.plan));
        let place = |host: &str| hosts.iter().position(|other| other == host);
        plan.steps.sort_by_key(|step| (step.task, place(&step.host)));
        let head = Head { warnings: std::mem::take(&mut plan.head.warnings), ..head };
        let mut plan = Plan { head, ..plan };
        plan.open_what_collides();
        plan
    }

    fn add(&self, step: Step) {
        let mut plan = lock(&self.plan);
        let batch = plan.batches.len().saturating_sub(1);
        plan.steps.push(Step { batch, ..step });
    }

    fn route(&self, route: Route) -> usize {
        let routes = &mut lock(&self.plan).routes;
        routes.iter().position(|known| *known == route).unwrap_or_else(|| {
            routes.push(route);
            routes.len() - 1
        })
    }
}

impl Doing<'_> {
    /// Records what the task would change, where a plan is made.
    /// Those that wait for an earlier step, which needs something, are open too.
    pub(in crate::run) fn record(
        &self,
        machine: &Machine,
        (changes, waits_for): (&[Change], Option<Arc<str>>),
    ) -> Result<(), Failure> {
        if let Some(needs) = waits_for {
            let diffs = changes.iter().map(|change| change.diff(self.secrecy)).collect();
            self.record_open(&needs, diffs);
            return Ok(());
        }
        // A command that is declared to change nothing has done all it is for when its result is known.
        let reads = self.reads_only() && changes.iter().all(|change| matches!(change, Change::Run { .. }));
        let Some(recorder) = self.recorder().filter(|_| !changes.is_empty() && !reads) else { return Ok(()) };
        let route = |host: &str| Ok::<_, Failure>(recorder.route(self.route(host)?));
        let peers = changes.iter().filter_map(peer).map(|host| Ok((host.to_string(), route(host)?)));
        // Replayed, its result would be judged by nobody.
        let judged = [("failed_when", &self.task.failed_when), ("until", &self.task.until)];
        let judged = judged.into_iter().find_map(|(keyword, node)| Some((keyword, node.as_ref()?)));
        let runs = changes.iter().any(|change| matches!(change, Change::Run { .. }));
        let open = judged.filter(|_| runs).map(|(keyword, node)| {
            let place = &node.place;
            format!("`{keyword}` ({}:{}) needs its result", place.source.path.display(), place.line)
        });
        let step = Step {
            route: Some(route(&machine.host)?),
            peers: peers.collect::<Result<_, Failure>>()?,
            delegate: machine.delegate.clone(),
            changes: changes.to_vec(),
            open,
            ..self.step(recorder)
        };
        recorder.add(step);
        Ok(())
    }

    /// Records that only a run can say what the task does, where a plan is made, and what is known of it.
    pub(in crate::run) fn record_open(&self, what: &str, foreseen: Vec<Diff>) {
        if let Some(recorder) = self.recorder() {
            let delegate = self.delegate().ok().flatten();
            recorder.add(Step { open: Some(format!("needs {what}")), delegate, foreseen, ..self.step(recorder) });
        }
    }

    /// Returns how this task reaches a host.
    pub(in crate::run) fn route(&self, host: &str) -> Result<Route, Failure> {
        let scope = match host == self.host {
            true => self.scope.clone(),
            false => self.batch.run.fleet.scope(host, &self.layers),
        };
        let connections = &self.batch.run.connections;
        let variables = connections.said(host, &self.task.keywords, &scope)?;
        let (login, _) = connections.login(host, &self.task.keywords, &scope)?;
        Ok(Route { host: host.into(), variables, key: connections.host_key(&login) })
    }

    fn recorder(&self) -> Option<&Recorder> {
        self.batch.run.plan.as_deref().filter(|_| self.mode == Mode::Check)
    }

    fn is_fatal(&self) -> bool {
        let own = self.task.keywords.any_errors_fatal.as_ref();
        let node = own.or(self.batch.play.any_errors_fatal.as_ref());
        node.is_some_and(|node| self.batch.run.switch(node, &self.scope).unwrap_or(false))
    }

    fn step(&self, recorder: &Recorder) -> Step {
        let (task, name, place) = lock(&recorder.task).clone();
        Step {
            task,
            name,
            place,
            host: self.host.into(),
            item: self.subject.item.clone(),
            nth: self.visit(),
            hidden: self.secrecy == Secrecy::Hidden,
            forgiven: self.forgiven.0,
            fatal: self.is_fatal(),
            ..Step::default()
        }
    }
}

impl Plan {
    /// Opens the steps that would find what another host's step of the same task has left on the same machine: the
    /// check has looked at it for both before either.
    fn open_what_collides(&mut self) {
        let mut made: BTreeMap<(usize, String, String), String> = BTreeMap::new();
        for step in &mut self.steps {
            let machine = step.machine().to_string();
            let paths = step.changes.iter().filter_map(|change| match change {
                Change::Path { on: On::Host, change } => Some(change.path().to_string()),
                _ => None,
            });
            for path in paths {
                let first = made.entry((step.task, machine.clone(), path.clone())).or_insert(step.host.clone());
                if *first != step.host {
                    step.open
                        .get_or_insert(format!("`{path}` on `{machine}` is changed for `{first}` by the same task"));
                }
            }
        }
    }
}

/// Returns the other host that a change reads from.
pub(super) fn peer(change: &Change) -> Option<&str> {
    match change {
        Change::Transfer(transfer) => Some(&transfer.from),
        Change::Path { change, .. } => match &change.after().content()?.body {
            Body::Peer { host, .. } => Some(host),
            _ => None,
        },
        Change::State(_) | Change::Records(_) | Change::Run { .. } => None,
    }
}
