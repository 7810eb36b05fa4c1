//! A plan applied: its changes in its order, each compared with its `before`; no module and no template runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt as _};
use indexmap::IndexMap;

use crate::change::{self, Applied, Change};
use crate::error::{Diagnostic, Diagnostics};
use crate::modules::Results;
use crate::playbook::{Keywords, Playbook};
use crate::run::making::{Machine, Making, Unapplied};
use crate::run::play::Flow;
use crate::run::trouble::Trouble;
use crate::run::{Event, Mode, Run, Subject, TaskKind, Verdict, lock, result};
use crate::template::Failure;
use crate::transport::TransportError;
use crate::vars::{Layer, Var};

use super::drift::{Drift, Expected};
use super::reach::{Peers, Way};
use super::resume::was_made;
use super::{Batch, Before, Guard, Plan, Step};

/// A step of which an earlier run may have made a part.
struct Left<'a> {
    /// Its number in the plan, from 0.
    index: usize,
    step: &'a Step,
    /// How many of its changes were made.
    made: usize,
}

impl Left<'_> {
    fn changes(&self) -> &[Change] {
        &self.step.changes[self.made..]
    }
}

/// A plan on its way.
struct Replaying<'a> {
    plan: &'a Plan,
    ways: &'a [Way],
    /// The numbers of the steps that it has come to.
    begun: &'a Mutex<BTreeSet<usize>>,
}

/// What the items of a loop came to on one host: the recap counts tasks, not items.
#[derive(Default)]
struct Sum {
    items: bool,
    changed: bool,
    failed: bool,
    ignored: bool,
    unreachable: bool,
    fatal: bool,
}

impl Sum {
    fn add(&mut self, verdict: Verdict, step: &Step) {
        self.items |= step.item.is_some();
        self.changed |= verdict == Verdict::Changed;
        self.failed |= matches!(verdict, Verdict::Failed | Verdict::Ignored);
        self.ignored |= verdict == Verdict::Ignored;
        self.unreachable |= verdict == Verdict::Unreachable;
        self.fatal |= step.fatal && matches!(verdict, Verdict::Failed | Verdict::Unreachable);
    }

    /// Returns the end of the loop, if there was one.
    fn events(&self, step: &Step) -> impl Iterator<Item = Event> + use<> {
        let Sum { changed, failed, ignored, .. } = *self;
        let verdict = match self.unreachable {
            true => Verdict::Unreachable,
            false => Verdict::Summed { changed, failed, ignored, skipped: false },
        };
        let subject = Subject { item: None, ..step.subject() };
        self.items.then_some(Event::Finished { subject, verdict, result: Results::new() }).into_iter()
    }
}

impl Run {
    /// Verifies every machine, and applies the plan to those that are as it takes them to be; what was made `before` is
    /// not made again.
    ///
    /// Errors are about how hosts are reached, before any is touched; what hosts answer becomes events.
    pub async fn replay(self: &Arc<Run>, plan: &Plan, before: Before) -> Result<(), Diagnostics> {
        self.check_limit(plan)?;
        let ways = self.ways(plan)?;
        self.send(Event::PlayStarted { name: plan.head.title() });
        let before = self.settle(plan, (before, &ways)).await;
        for change in before.found() {
            let noted = self.journal.made(*change);
            noted.map_err(|error| Diagnostic::new(format!("the journal cannot be written: {error}")))?;
        }
        let left = |(index, step)| Left { index, step, made: before.made(index) };
        let steps = plan.steps.iter().enumerate().filter(|(_, step)| self.is_meant(step)).map(left);
        let steps: Vec<Left> = steps.filter(|left| left.step.open.is_some() || !left.changes().is_empty()).collect();
        self.verify(&steps, (plan, &ways)).await;
        let mut tasks: IndexMap<usize, Vec<&Left>> = IndexMap::new();
        steps.iter().for_each(|left| tasks.entry(left.step.task).or_default().push(left));
        let begun = Mutex::default();
        let mut batch = steps.first().map_or(0, |left| left.step.batch);
        for steps in tasks.values() {
            // As in a run: what comes after a batch counts on it, so where all its hosts are lost nothing does.
            let next = steps.first().map_or(batch, |left| left.step.batch);
            if next != batch && plan.batches[batch..next].iter().any(|batch| self.is_lost(batch)) {
                self.send(Event::Warning("all hosts of a play are lost: nothing after it is applied".into()));
                break;
            }
            batch = next;
            if self.replay_task(steps, &Replaying { plan, ways: &ways, begun: &begun }).await == Flow::Stop {
                self.send(Event::Warning("`any_errors_fatal`: nothing more is applied".into()));
                break;
            }
        }
        let begun = lock(&begun);
        let mut not_begun: IndexMap<&str, usize> = IndexMap::new();
        for left in steps.iter().filter(|left| !begun.contains(&left.index)) {
            *not_begun.entry(left.step.machine()).or_default() += 1;
        }
        for (machine, count) in not_begun {
            let steps = if count == 1 { "step" } else { "steps" };
            self.send(Event::Warning(format!("not applied: {count} {steps} on `{machine}`")));
        }
        Ok(())
    }

    /// Plays playbooks with the plan that was made of them as the guard: hosts that have moved on are left alone, what was
    /// approved is made as it was, and what was open is decided.
    ///
    /// Errors are the user's, as those of [`Run::play`] and [`Run::replay`].
    pub async fn guarded(self: &Arc<Run>, playbooks: &[Playbook], guard: &Guard) -> Result<(), Diagnostics> {
        let plan = guard.plan();
        self.check_limit(plan)?;
        let ways = self.ways(plan)?;
        self.send(Event::PlayStarted { name: plan.head.title() });
        let all = plan.steps.iter().enumerate().filter(|(_, step)| self.is_meant(step));
        let steps: Vec<Left> = all.map(|(index, step)| Left { index, step, made: 0 }).collect();
        self.verify(&steps, (plan, &ways)).await;
        lock(&self.progress.out).iter().for_each(|host| guard.refuse(host));
        self.play(playbooks).await?;
        let mut left: IndexMap<&str, Vec<&Step>> = IndexMap::new();
        for step in guard.left().into_iter().filter(|step| self.is_meant(step)) {
            left.entry(step.host.as_str()).or_default().push(step);
        }
        for (host, steps) in left {
            let names: Vec<String> = steps.iter().map(|step| format!("`{}` ({})", step.name, step.place)).collect();
            let text = format!("approved and not made: {}", few(&names));
            match lock(&self.progress.out).contains(host) {
                true => self.send(Event::Warning(format!("`{host}`: {text}"))),
                false => {
                    let subject = Subject { host: host.into(), delegate: None, item: None };
                    self.send(Event::Finished { subject, verdict: Verdict::Failed, result: message(&text) });
                }
            }
        }
        Ok(())
    }

    fn is_lost(&self, batch: &Batch) -> bool {
        let out = lock(&self.progress.out);
        !batch.hosts.is_empty() && batch.hosts.iter().all(|host| out.contains(host))
    }

    /// Looks at what an earlier run may or may not have made. A machine that cannot be looked at is found out about by
    /// the comparison.
    async fn settle(self: &Arc<Run>, plan: &Plan, (mut before, ways): (Before, &[Way])) -> Before {
        for (index, step) in plan.steps.iter().enumerate() {
            let (Some(doubtful), Some(route)) = (before.doubtful(index, step), step.route) else { continue };
            let made = match ways[route].machine(&self.connections).await {
                Ok(machine) => was_made(doubtful, &*machine).await.ok().flatten(),
                Err(_) => None,
            };
            before.settle(index, made.unwrap_or(false));
        }
        before
    }

    /// The hosts that the `--limit` of an apply names.
    fn limit(&self) -> Option<impl Iterator<Item = &str>> {
        let limit = match &self.guard {
            Some(guard) => guard.limit(),
            None => self.options.limit.as_deref(),
        };
        Some(limit?.split([',', ':']).map(str::trim).filter(|name| !name.is_empty()))
    }

    /// Says whether `--limit` lets a step be applied.
    fn is_meant(&self, step: &Step) -> bool {
        self.limit().is_none_or(|mut names| names.any(|name| name == step.host))
    }

    fn check_limit(&self, plan: &Plan) -> Result<(), Diagnostics> {
        let mut errors = Diagnostics::default();
        for name in self.limit().into_iter().flatten() {
            if !plan.steps.iter().any(|step| step.host == name) {
                let error = Diagnostic::new(format!("the plan has nothing for a host `{name}`"));
                errors.push(error.suggest(name, plan.steps.iter().map(|step| step.host.as_str())));
            }
        }
        errors.or(())
    }

    fn ways(&self, plan: &Plan) -> Result<Vec<Way>, Diagnostics> {
        let mut errors = Diagnostics::default();
        let mut ways = Vec::new();
        for route in &plan.routes {
            let said = |(name, text): (&String, &Option<String>)| (name.clone(), Var::Known(text.clone().into()));
            let layer: Layer = route.variables.iter().map(said).collect();
            // What the plan says is stronger than all that the inventory says by now; passwords are only there.
            let scope = self.fleet.host_scope(&route.host).with(layer);
            match self.connections.login(&route.host, &Keywords::default(), &scope) {
                Ok((login, user)) => ways.push(Way { login, user, key: route.key.clone() }),
                Err(Failure::Wrong(error)) => errors.push(error),
                Err(Failure::Unknown(what)) => {
                    errors.push(Diagnostic::new(format!("the login of host `{}` needs {what}", route.host)));
                }
            }
        }
        errors.or(ways)
    }

    /// Compares every machine with what the plan takes for granted of it.
    async fn verify(self: &Arc<Run>, steps: &[Left<'_>], (plan, ways): (&Plan, &[Way])) {
        let mut expected: IndexMap<&str, Expected> = IndexMap::new();
        let mut hosts: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for Left { step, made, .. } in steps.iter().filter(|left| left.step.open.is_none()) {
            let Some(route) = step.route else { continue };
            expected.entry(step.machine()).or_default().add(step, (route, *made));
            hosts.entry(step.machine()).or_default().insert(&step.host);
        }
        self.send(Event::TaskStarted {
            hosts: hosts.len(),
            kind: TaskKind::Task,
            name: "compare every host with the plan".into(),
            place: "plan".into(),
            speaks: false,
            written: None,
        });
        let looks = expected.iter().map(|(machine, expected)| async move {
            let mut drift = Vec::new();
            for (route, looks) in expected.looks() {
                let found = match ways[route].machine(&self.connections).await {
                    Ok(transport) => looks.drift(&*transport).await,
                    Err(error) => Err(error),
                };
                match found {
                    Ok(found) => drift.extend(found),
                    Err(error) => return (*machine, Err(error)),
                }
            }
            (*machine, Ok(drift))
        });
        let found: Vec<(&str, Result<Vec<Drift>, TransportError>)> =
            stream::iter(looks).buffered(self.options.forks.max(1)).collect().await;
        for (machine, found) in found {
            let subject = Subject { host: machine.into(), delegate: None, item: None };
            let (verdict, result) = match found {
                Ok(drift) if drift.is_empty() => (Verdict::Ok, Results::new()),
                Ok(drift) => {
                    let all: Vec<String> = drift.iter().map(Drift::to_string).collect();
                    let (since, hint) = match &plan.head.undo {
                        None => ("it was when the plan was made".into(), "plan again".into()),
                        Some(run) => {
                            (format!("run {run} has left it"), format!("`cutover log {run}` shows what it has done"))
                        }
                    };
                    let all = all.join("\n");
                    let text = format!("the host is no longer as {since}; it is left alone\n{all}\nhint: {hint}");
                    (Verdict::Failed, message(&text))
                }
                Err(error) => told(error.into()),
            };
            if verdict != Verdict::Ok {
                lock(&self.progress.out).extend(hosts[machine].iter().map(|host| host.to_string()));
                lock(&self.progress.out).insert(machine.into());
            }
            self.send(Event::Finished { subject, verdict, result });
        }
    }

    /// Applies the steps of one task, machine by machine side by side.
    async fn replay_task(self: &Arc<Run>, steps: &[&Left<'_>], replaying: &Replaying<'_>) -> Flow {
        let Some(Left { step: first, .. }) = steps.first() else { return Flow::Go };
        let mut hosts: IndexMap<&str, Vec<&Left>> = IndexMap::new();
        for left in steps {
            let out = lock(&self.progress.out);
            if !out.contains(&left.step.host) && !out.contains(left.step.machine()) {
                hosts.entry(&left.step.host).or_default().push(left);
            }
        }
        if hosts.is_empty() {
            return Flow::Go;
        }
        self.send(Event::TaskStarted {
            hosts: hosts.len(),
            kind: TaskKind::Task,
            name: first.name.clone(),
            place: first.place.clone(),
            speaks: false,
            written: None,
        });
        let work = hosts.values().map(|steps| async move {
            let mut sum = Sum::default();
            for left in steps {
                let step = left.step;
                lock(replaying.begun).insert(left.index);
                let refused = step.peers.keys().find(|peer| lock(&self.progress.out).contains(*peer));
                let (verdict, result) = match &step.open {
                    _ if refused.is_some() => {
                        let peer = refused.map_or("", String::as_str);
                        (Verdict::Failed, message(&format!("not applied: it reads from `{peer}`, which is left alone")))
                    }
                    Some(why) => (Verdict::Unknown, message(&format!("left open: {why}"))),
                    None => match self.replay_step(left, replaying).await {
                        Ok(result) => (Verdict::Changed, result),
                        Err(trouble) => told(trouble),
                    },
                };
                let verdict = if verdict == Verdict::Failed && step.forgiven { Verdict::Ignored } else { verdict };
                let stop = matches!(verdict, Verdict::Failed | Verdict::Unreachable);
                if stop {
                    lock(&self.progress.out).insert(step.host.clone());
                }
                let result = if step.hidden { result::censored(&result) } else { result };
                self.send(Event::Finished { subject: step.subject(), verdict, result });
                sum.add(verdict, step);
                if stop {
                    break;
                }
            }
            sum.events(steps[0].step).for_each(|event| self.send(event));
            sum.fatal
        });
        let fatal = stream::iter(work).buffer_unordered(self.options.forks.max(1)).collect::<Vec<bool>>().await;
        if fatal.contains(&true) { Flow::Stop } else { Flow::Go }
    }

    async fn replay_step(
        self: &Arc<Run>,
        left: &Left<'_>,
        Replaying { plan, ways, .. }: &Replaying<'_>,
    ) -> Result<Results, Trouble> {
        let step = left.step;
        let Some(route) = step.route else { return Err(Trouble::failed("the plan does not say where")) };
        let way = &ways[route];
        let diffs = left.changes().iter().map(|change| change.diff(step.secrecy())).collect();
        self.send(Event::Planned { subject: step.subject(), diffs });
        if self.options.mode == Mode::Check {
            return Ok(Results::new());
        }
        let transport = way.machine(&self.connections).await?;
        let (login, user) = (way.login.clone(), way.user.clone());
        let peers = step.peers.iter().map(|(host, route)| (host.clone(), ways[*route].clone())).collect();
        let peers = Arc::new(Peers { connections: self.connections.clone(), ways: peers });
        let (host, delegate) = (step.machine().to_string(), step.delegate.clone());
        let machine = Machine { host, delegate, login, user, transport, peers };
        let controller = self.connections.controller().await?;
        let subject = step.subject();
        let making = Making {
            run: self,
            machine: &machine,
            task: &step.name,
            place: &step.place,
            nth: step.nth,
            secrecy: step.secrecy(),
            subject: &subject,
            route: plan.routes[route].clone(),
            step: Some(left.index),
        };
        making.lock(&step.changes).await?;
        let progress = making.progress();
        let reach = making.reach(&*controller, &progress);
        let mut results = Results::new();
        for (index, change) in step.changes.iter().enumerate().skip(left.made) {
            let applied =
                making.make((index, change), change::apply(change, reach)).await.map_err(|error| match error {
                    Unapplied::Stale(message) => Trouble::failed(message),
                    Unapplied::Other(trouble) => trouble,
                })?;
            results = judged(change, applied)?;
        }
        Ok(results)
    }
}

/// Names steps, all of them where they are few.
fn few(names: &[String]) -> String {
    const FEW: usize = 5;
    match names.len() {
        count if count > FEW => format!("{} and {} more", names[..FEW].join(", "), count - FEW),
        _ => names.join(", "),
    }
}

/// Returns what a change that was made says, or that its command failed.
fn judged(change: &Change, applied: Applied) -> Result<Results, Trouble> {
    let status = applied.output.as_ref().map_or(0, |output| output.status);
    let result = result::merged(Results::new(), applied);
    match (change, status) {
        (Change::Run { .. }, 0) => Ok(result),
        (Change::Run { .. }, _) => Err(Trouble::Failed { message: format!("non-zero return code {status}"), result }),
        _ => Ok(result),
    }
}

fn told(trouble: Trouble) -> (Verdict, Results) {
    match trouble {
        Trouble::Unreachable(why) => (Verdict::Unreachable, message(&why)),
        Trouble::Refused(why) => (Verdict::Failed, message(&why)),
        Trouble::Wrong(error) => (Verdict::Failed, message(&error.told())),
        Trouble::Unknown(what) | Trouble::Open { needs: what, .. } => {
            (Verdict::Failed, message(&format!("it needs {what}")))
        }
        Trouble::Failed { message: why, mut result } => {
            result.entry("msg").or_insert(why.into());
            (Verdict::Failed, result)
        }
    }
}

fn message(text: &str) -> Results {
    Results::from_iter([("msg".to_string(), text.into())])
}
