//! A plan applied: its changes in its order, each compared with its `before`; no module and no template runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use indexmap::IndexMap;

use crate::change::{self, Applied, Change};
use crate::error::{Diagnostic, Diagnostics};
use crate::modules::Results;
use crate::playbook::Keywords;
use crate::run::connections::{Connections, Login};
use crate::run::doing::Trouble;
use crate::run::making::{Machine, Making, Unapplied};
use crate::run::{Event, Run, Subject, TaskKind, Verdict, lock, result};
use crate::template::Failure;
use crate::transport::{Become, Machines, Transport, TransportError};
use crate::vars::{Layer, Var};

use super::drift::{Drift, Expected};
use super::{Plan, Step};

/// A way to a machine.
type Way = (Login, Option<Become>);

/// The other hosts that a step reads from.
struct Peers {
    connections: Arc<Connections>,
    ways: BTreeMap<String, Way>,
}

#[async_trait]
impl Machines for Peers {
    async fn machine(&self, host: &str) -> Result<Arc<dyn Transport>, TransportError> {
        let Some((login, user)) = self.ways.get(host) else {
            return Err(TransportError::Refused(format!("the plan does not say how to reach `{host}`")));
        };
        Ok(self.connections.transport(login, user.clone()).await?)
    }
}

impl Run {
    /// Verifies every machine, and applies the plan to those that are as it takes them to be.
    ///
    /// Errors are about how hosts are reached, before any is touched; what hosts answer becomes events.
    pub async fn replay(self: &Arc<Run>, plan: &Plan) -> Result<(), Diagnostics> {
        self.check_limit(plan)?;
        let ways = self.ways(plan)?;
        let steps: Vec<&Step> = plan.steps.iter().filter(|step| self.is_meant(step)).collect();
        self.send(Event::PlayStarted { name: format!("plan of {}", plan.head.made) });
        self.verify(&steps, &ways).await;
        let mut tasks: IndexMap<usize, Vec<&Step>> = IndexMap::new();
        steps.iter().for_each(|step| tasks.entry(step.task).or_default().push(step));
        for steps in tasks.values() {
            self.replay_task(steps, (plan, &ways)).await;
        }
        Ok(())
    }

    /// The hosts that `--limit` names.
    fn limit(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.options.limit.as_deref()?.split([',', ':']).map(str::trim).filter(|name| !name.is_empty()))
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
                Ok(way) => ways.push(way),
                Err(Failure::Wrong(error)) => errors.push(error),
                Err(Failure::Unknown(what)) => {
                    errors.push(Diagnostic::new(format!("the login of host `{}` needs {what}", route.host)));
                }
            }
        }
        errors.or(ways)
    }

    /// Compares every machine with what the plan takes for granted of it.
    async fn verify(self: &Arc<Run>, steps: &[&Step], ways: &[Way]) {
        // By machine and way: another user may see what this one must not.
        let mut expected: IndexMap<(&str, &Way), Expected> = IndexMap::new();
        let mut hosts: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for step in steps.iter().filter(|step| step.open.is_none()) {
            let Some(way) = step.route.map(|route| &ways[route]) else { continue };
            expected.entry((step.machine(), way)).or_default().add(step);
            hosts.entry(step.machine()).or_default().insert(&step.host);
        }
        self.send(Event::TaskStarted {
            hosts: hosts.len(),
            kind: TaskKind::Task,
            name: "compare every host with the plan".into(),
            place: "plan".into(),
            speaks: false,
        });
        let looks = expected.iter().map(|((machine, way), expected)| async move {
            let found = match self.connections.transport(&way.0, way.1.clone()).await {
                Ok(transport) => expected.drift(&*transport).await,
                Err(error) => Err(error),
            };
            (*machine, found)
        });
        let found: Vec<_> = stream::iter(looks).buffered(self.options.forks.max(1)).collect().await;
        let mut drifts: IndexMap<&str, Result<Vec<Drift>, TransportError>> = IndexMap::new();
        for (machine, found) in found {
            let entry = drifts.entry(machine).or_insert(Ok(Vec::new()));
            match (entry, found) {
                (Ok(all), Ok(more)) => all.extend(more),
                (entry @ Ok(_), Err(error)) => *entry = Err(error),
                (Err(_), _) => {}
            }
        }
        for (machine, found) in drifts {
            let subject = Subject { host: machine.into(), delegate: None, item: None };
            let (verdict, result) = match found {
                Ok(drift) if drift.is_empty() => (Verdict::Ok, Results::new()),
                Ok(drift) => {
                    let all: Vec<String> = drift.iter().map(Drift::to_string).collect();
                    let text = format!(
                        "the host is no longer as it was when the plan was made; it is left alone\n{}\nhint: plan again",
                        all.join("\n")
                    );
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
    async fn replay_task(self: &Arc<Run>, steps: &[&Step], (plan, ways): (&Plan, &[Way])) {
        let Some(first) = steps.first() else { return };
        let mut hosts: IndexMap<&str, Vec<&Step>> = IndexMap::new();
        for step in steps {
            let out = lock(&self.progress.out);
            if !out.contains(&step.host) && !out.contains(step.machine()) {
                hosts.entry(&step.host).or_default().push(step);
            }
        }
        if hosts.is_empty() {
            return;
        }
        self.send(Event::TaskStarted {
            hosts: hosts.len(),
            kind: TaskKind::Task,
            name: first.name.clone(),
            place: first.place.clone(),
            speaks: false,
        });
        let work = hosts.values().map(|steps| async move {
            for step in steps {
                let (verdict, result) = match &step.open {
                    Some(why) => (Verdict::Unknown, message(&format!("left open: {why}"))),
                    None => match self.replay_step(step, (plan, ways)).await {
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
                // Items are counted one by one: nobody knows any more which of them made one loop.
                self.send(Event::Finished { subject: step.subject(), verdict, result });
                if stop {
                    return;
                }
            }
        });
        stream::iter(work).buffer_unordered(self.options.forks.max(1)).collect::<Vec<()>>().await;
    }

    async fn replay_step(self: &Arc<Run>, step: &Step, (plan, ways): (&Plan, &[Way])) -> Result<Results, Trouble> {
        let Some(route) = step.route else { return Err(Trouble::failed("the plan does not say where")) };
        let (login, user) = ways[route].clone();
        self.send(Event::Planned { subject: step.subject(), diffs: step.diffs() });
        let transport = self.connections.transport(&login, user.clone()).await?;
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
            secrecy: step.secrecy(),
            subject: &subject,
            route: plan.routes[route].clone(),
        };
        making.lock(&step.changes)?;
        let progress = making.progress();
        let reach = making.reach(&*controller, &progress);
        let mut results = Results::new();
        for change in &step.changes {
            let applied = making.make(change, change::apply(change, reach)).await.map_err(|error| match error {
                Unapplied::Stale(message) => Trouble::failed(message),
                Unapplied::Other(trouble) => trouble,
            })?;
            results = judged(change, applied)?;
        }
        Ok(results)
    }
}

/// Returns what a change that was made says, or that its command failed.
fn judged(change: &Change, applied: Applied) -> Result<Results, Trouble> {
    let status = applied.output.as_ref().map_or(0, |output| output.status);
    let result = result::merged(Results::new(), applied);
    match (change, status) {
        (Change::Run { .. }, 1..) => Err(Trouble::Failed { message: format!("non-zero return code {status}"), result }),
        _ => Ok(result),
    }
}

fn told(trouble: Trouble) -> (Verdict, Results) {
    match trouble {
        Trouble::Unreachable(why) => (Verdict::Unreachable, message(&why)),
        Trouble::Unknown(what) => (Verdict::Failed, message(&format!("it needs {what}"))),
        Trouble::Failed { message: why, mut result } => {
            result.entry("msg").or_insert(why.into());
            (Verdict::Failed, result)
        }
    }
}

fn message(text: &str) -> Results {
    Results::from_iter([("msg".to_string(), text.into())])
}
