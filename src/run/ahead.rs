//! The tasks to come, planned ahead for the questions they ask, so that a host is waited for as seldom as it changes.
//!
//! Such a plan is made with the variables of now, asks, and is thrown away: the task's own plan finds the answers there
//! (`transport::read_ahead` says how long they are good) or asks itself. So planning ahead can be wrong about what
//! comes and only costs a question; it decides nothing. It is never made for what would run something on the
//! controller, walk a tree of the host, or connect.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _, join_all, poll_immediate, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};

use crate::change::{Change, On};
use crate::host::View;
use crate::modules;
use crate::playbook::{Step, Task};
use crate::template::Use;
use crate::transport::read_ahead::{self, Wanted, When};
use crate::transport::{Machines, Transport, TransportError};

use super::doing::Doing;
use super::making::Machine;
use super::play::Batch;
use super::{Mode, Run, lock};

/// How many tasks are planned ahead where nothing is known of how often the host changes.
const FEWEST: usize = 4;

/// How many are again after a task that was not foreseen.
const UNFORESEEN: usize = 16;

/// How many times more are after each that changed nothing.
const GROWTH: usize = 4;

/// How many are when a host has long been found as it should be.
const MOST: usize = 128;

/// What a batch knows of the tasks to come, and how far it has planned ahead on each host.
pub(super) struct Ahead {
    /// What is left to do, the innermost list of steps last.
    rest: Mutex<Vec<Rest>>,
    windows: Mutex<HashMap<String, Window>>,
    /// To who drives the plans ahead beside the tasks.
    plans: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
}

struct Rest {
    steps: Arc<[Step]>,
    next: usize,
}

/// The tasks whose questions one host has been asked.
#[derive(Default)]
struct Window {
    width: usize,
    asked: HashSet<Unit>,
    /// What other machines had changed by then.
    elsewhere: u64,
}

/// One task for one item of its loop, by its address and the item's number.
type Unit = (usize, usize);

/// Drives plans ahead for as long as it is polled.
pub(super) struct Driver(mpsc::UnboundedReceiver<BoxFuture<'static, ()>>);

impl Ahead {
    pub fn new() -> (Ahead, Driver) {
        let (plans, received) = mpsc::unbounded_channel();
        (Ahead { rest: Mutex::default(), windows: Mutex::default(), plans }, Driver(received))
    }

    /// Notes that these steps come before what is left otherwise.
    pub fn enter(&self, steps: Vec<Step>) {
        lock(&self.rest).push(Rest { steps: steps.into(), next: 0 });
    }

    /// Notes that the innermost list's next step begins.
    pub fn advance(&self) {
        if let Some(rest) = lock(&self.rest).last_mut() {
            rest.next += 1;
        }
    }

    pub fn leave(&self) {
        lock(&self.rest).pop();
    }

    /// Returns the next tasks as they stand in the playbook; what they may include is not known.
    fn next(&self, count: usize) -> Vec<Arc<Task>> {
        let mut found = Vec::new();
        for rest in lock(&self.rest).iter().rev() {
            collect(rest.steps.get(rest.next..).unwrap_or_default(), count, &mut found);
        }
        found
    }
}

fn collect(steps: &[Step], count: usize, found: &mut Vec<Arc<Task>>) {
    for step in steps {
        if found.len() >= count {
            return;
        }
        match step {
            Step::Task(task) => found.push(task.clone()),
            Step::Block(block) => {
                collect(&block.block, count, found);
                collect(&block.always, count, found);
            }
        }
    }
}

impl Driver {
    pub async fn drive(mut self) {
        let mut plans = FuturesUnordered::new();
        loop {
            tokio::select! {
                plan = self.0.recv() => match plan {
                    Some(plan) => plans.push(plan),
                    None => return,
                },
                Some(()) = plans.next() => {}
            }
        }
    }
}

/// Where plans ahead hand their questions, and when those are sent.
type Sender = (mpsc::UnboundedSender<Wanted>, When);

/// Plans that were begun ahead, and the questions they have so far.
struct Plans {
    plans: FuturesUnordered<BoxFuture<'static, ()>>,
    wanted: mpsc::UnboundedReceiver<Wanted>,
}

impl Plans {
    /// Asks, until every plan has all its answers.
    async fn finish(mut self) {
        let mut asking = FuturesUnordered::new();
        loop {
            tokio::select! {
                // In this order: each plan comes as far as it can before what they all want is asked in one go.
                biased;
                Some(()) = self.plans.next() => {}
                Some(first) = self.wanted.recv() => {
                    let mut wanted = vec![first];
                    wanted.extend(std::iter::from_fn(|| self.wanted.try_recv().ok()));
                    asking.push(read_ahead::ask(wanted));
                }
                Some(()) = asking.next() => {}
                else => return,
            }
        }
    }
}

impl Doing<'_> {
    /// Makes a plan, and sends the questions of the tasks to come along with its own, unless they were sent before.
    pub(super) async fn with_questions<T>(&self, machine: &Machine, plan: impl Future<Output = T>) -> T {
        self.batch.run.note_lookups();
        let plans = match self.width(machine) {
            Some(width) => self.plans(width, When::Now).await,
            None => None,
        };
        let mut plan = std::pin::pin!(plan);
        // Its own questions go first.
        let done = poll_immediate(plan.as_mut()).await;
        if let Some(plans) = plans {
            self.drive(plans.finish().boxed());
        }
        match done {
            Some(done) => done,
            None => plan.await,
        }
    }

    /// Makes a change, one of `count`, and sends the questions of the tasks to come right behind it: the host answers
    /// them in that order.
    pub(super) async fn before_questions<T>(
        &self,
        machine: &Machine,
        (change, count): (&Change, usize),
        apply: impl Future<Output = T>,
    ) -> T {
        // Whatever was planned ahead before it has to be asked anew.
        lock(&self.batch.ahead.windows).remove(self.host);
        let at_once = matches!(change, Change::Path { on: On::Host, .. } | Change::Run { .. });
        if count > 1 || !at_once {
            let result = apply.await;
            // Its last step may be one that nobody counted: an opened program's.
            self.batch.run.connections.clock().tick();
            return result;
        }
        self.note(FEWEST, machine);
        let Some(plans) = self.plans(FEWEST, When::AfterChange).await else { return apply.await };
        let (applied, ended) = oneshot::channel::<()>();
        let handed_in = machine.transport.next_change().boxed();
        self.drive(
            async move {
                select(handed_in, ended).await;
                plans.finish().await;
            }
            .boxed(),
        );
        let result = apply.await;
        drop(applied);
        result
    }

    /// Says how many tasks are to be planned ahead now; nothing if this one already was.
    fn width(&self, machine: &Machine) -> Option<usize> {
        let unit = (Arc::as_ptr(self.task) as usize, self.item.0);
        let mut windows = lock(&self.batch.ahead.windows);
        let width = match windows.get_mut(self.host) {
            None => FEWEST,
            // Delegates have a clock of their own.
            Some(window) if machine.delegate.is_none() && window.elsewhere != machine.transport.elsewhere() => FEWEST,
            Some(window) => {
                if window.asked.remove(&unit) {
                    return None;
                }
                if !window.asked.is_empty() {
                    // This one was not foreseen; what depends on it may be now.
                    window.width = window.width.min(UNFORESEEN);
                    return Some(window.width);
                }
                // All hosts of a batch look as far ahead at a time.
                let most = (MOST * 100 / self.batch.hosts.len().max(1)).clamp(FEWEST, MOST);
                (window.width * GROWTH).clamp(FEWEST, most)
            }
        };
        drop(windows);
        self.note(width, machine);
        Some(width)
    }

    fn note(&self, width: usize, machine: &Machine) {
        let window = Window { width, asked: HashSet::new(), elsewhere: machine.transport.elsewhere() };
        lock(&self.batch.ahead.windows).insert(self.host.into(), window);
    }

    fn drive(&self, plans: BoxFuture<'static, ()>) {
        // Whoever drove them is gone with the play.
        let _ = self.batch.ahead.plans.send(plans);
    }

    /// Begins the plans of the items and tasks that come next.
    async fn plans(&self, width: usize, when: When) -> Option<Plans> {
        let (sender, wanted) = mpsc::unbounded_channel();
        let begin = |task: Arc<Task>, items: std::ops::Range<usize>| {
            let (batch, host, sender) = (self.batch.clone(), self.host.to_string(), (sender.clone(), when));
            async move { batch.ask_ahead((&task, &host), items, sender).await }.boxed()
        };
        let (item, left) = self.item;
        let items = left.min(width);
        let own = (items > 0).then(|| begin(self.task.clone(), item + 1..item + 1 + items));
        let tags = &self.batch.run.options.tags;
        let started = *lock(&self.batch.run.progress.started);
        // What an inclusion brings is not known, and it may change what the tasks after it look at.
        let tasks = self.batch.ahead.next(width - items).into_iter().take_while(|task| task.include.is_none());
        let tasks = tasks.filter(|task| started && task.run_once.is_none() && tags.selects(&task.keywords.tags));
        let plans = FuturesUnordered::new();
        for mut plan in own.into_iter().chain(tasks.map(|task| begin(task, 0..width))) {
            // As far as its first question.
            match poll_immediate(&mut plan).await {
                // What it changes would make all that is asked before worthless.
                Some(Next::Changes) if self.mode == Mode::Apply => break,
                Some(_) => {}
                None => plans.push(plan.map(drop).boxed()),
            }
        }
        (!plans.is_empty()).then_some(Plans { plans, wanted })
    }
}

/// What a plan ahead has found its task to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Changes,
    /// Nothing, or nothing that is known.
    Nothing,
}

impl Run {
    /// Notes that commands of lookups have run on the controller, which may be one of the hosts.
    fn note_lookups(&self) {
        let count = crate::template::commands_run();
        if self.progress.lookups.swap(count, Ordering::SeqCst) != count {
            self.connections.clock().tick();
        }
    }
}

impl Batch {
    /// Plans a task on a host for its questions, for some items of its loop where it has one.
    async fn ask_ahead(
        self: &Arc<Batch>,
        (task, host): (&Arc<Task>, &str),
        items: std::ops::Range<usize>,
        sender: Sender,
    ) -> Next {
        let mut doing = self.doing(task, host);
        doing.scope.only_asks = true;
        let switches = doing.set_switches();
        if task.loop_over.is_none() {
            return if switches.is_ok() { doing.ask(&sender).await } else { Next::Nothing };
        }
        let Ok(all) = doing.items() else { return Next::Nothing };
        let every = all.clone();
        let some = all.into_iter().enumerate().skip(items.start).take(items.len());
        let asked = some.map(|(index, item)| {
            let (mut one, switches) = doing.with_item((index, &every), item);
            one.scope.only_asks = true;
            let sender = &sender;
            async move { if switches.is_ok() { one.ask(sender).await } else { Next::Nothing } }
        });
        let found = join_all(asked).await;
        if found.contains(&Next::Changes) { Next::Changes } else { Next::Nothing }
    }
}

impl Doing<'_> {
    /// Asks what the task's plan would. Whatever stands in the way is the task's own affair, when it is its turn.
    async fn ask(&self, sender: &Sender) -> Next {
        // What a module of the user's does is not known, and it is not run ahead.
        let entry = modules::find(&self.task.action).filter(|_| self.task.custom.is_none());
        let Some(entry) = entry else { return Next::Nothing };
        match self.holds() {
            Ok(true) => {}
            Ok(false) => {
                self.note_asked();
                return Next::Nothing;
            }
            Err(_) => return Next::Nothing,
        }
        let Ok(arguments) = self.arguments(entry.free_form) else { return Next::Nothing };
        let Ok(arguments) = entry.arguments(arguments) else { return Next::Nothing };
        let Ok(module) = (entry.build)(&arguments) else { return Next::Nothing };
        let Some(view) = self.view_ahead(sender).await else { return Next::Nothing };
        self.note_asked();
        match module.plan(&view).await {
            Ok(planned) if !planned.changes.is_empty() => Next::Changes,
            _ => Next::Nothing,
        }
    }

    fn note_asked(&self) {
        if let Some(window) = lock(&self.batch.ahead.windows).get_mut(self.host) {
            window.asked.insert((Arc::as_ptr(self.task) as usize, self.item.0));
        }
    }

    /// Returns the machine of the task as a plan ahead sees it, if its shell is open.
    async fn view_ahead(&self, sender: &Sender) -> Option<View> {
        let run = &self.batch.run;
        let delegate = self.delegate().ok()?;
        let host = delegate.clone().unwrap_or_else(|| self.host.to_string());
        let mut scope = match &delegate {
            None => self.scope.clone(),
            Some(name) => run.fleet.scope(name, &self.layers),
        };
        scope.only_asks = true;
        let (login, user) = run.connections.login(&host, &self.task.keywords, &scope).ok()?;
        let machine = run.connections.opened(&login, &user)?.ahead(sender.clone());
        let controller = Arc::new(self.controller(Use::Host).await.ok()?);
        let mut view = View::new(&host, machine, run.progress.pendings.clone(), (controller, Arc::new(NoPeers)))
            .with_environment(self.environment().ok()?);
        (view.only_asks, view.seed) = (true, run.options.seed.clone());
        Some(view)
    }
}

/// What a plan ahead does not ask: other machines.
struct NoPeers;

#[async_trait]
impl Machines for NoPeers {
    async fn machine(&self, host: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Err(TransportError::Refused(format!("`{host}` is asked when the task is done")))
    }
}
