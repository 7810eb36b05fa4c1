//! A machine whose answers may be asked for before they are needed: the questions of tasks to come travel together.
//!
//! An answer that came early is given to whoever asks for the same, as long as it is as good as one asked for now:
//! nothing that this run does on any machine may have changed since (a change may show on another machine too, through
//! shared storage). The one exception: questions that were handed to a host's shell *after* a change was, for that
//! shell answers in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _, Shared, join_all};
use tokio::sync::{mpsc, oneshot, watch};

use super::posix::Posix;
use super::{
    Address, Body, Command, Entry, Identity, Links, Lock, Node, Others, Output, Owner, PathChange, Process, Stream,
    Transport, TransportError, Want, WriteError,
};

/// How long an early answer is good: other hands work on the host too.
const FRESH: Duration = Duration::from_secs(30);

/// The most bytes of an early answer that are kept: a thousand hosts may have a hundred of them each.
const KEPT: usize = 32 * 1024;

/// The changes of a run, counted: one clock for all its machines.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// Notes a change that no machine here made by itself, or time that passed on purpose.
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One user's shell on one machine, and what was asked of it early.
pub struct ReadAhead {
    machine: Posix,
    clock: Arc<Clock>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How often this machine itself has moved the clock.
    ticks: u64,
    answers: HashMap<Question, Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    Look(String, Links, Want),
    User(String),
    Group(String),
    Probe(Box<Command>),
}

#[derive(Clone, Debug)]
enum Reply {
    Node(Box<Node>),
    Account(Option<Owner>),
    Output(Output),
}

/// A reply that is there or under way; no reply at all: the question was not sent.
type Pending = Shared<BoxFuture<'static, Option<Result<Reply, TransportError>>>>;

struct Answer {
    /// When the question was handed to the shell; `None`: it was not yet.
    moment: Option<Moment>,
    /// How many plans have asked and are still to come.
    awaited: usize,
    reply: Pending,
}

/// A point in the order of questions and changes.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// What the clock showed, this machine's own ticks left out.
    elsewhere: u64,
    /// How many scripts the shell had been handed.
    asked: u64,
    time: Instant,
}

impl Moment {
    /// `changed` is how many scripts the shell had been handed at its last change.
    fn holds(&self, now: &Moment, changed: u64) -> bool {
        self.elsewhere == now.elsewhere && self.asked >= changed && now.time.duration_since(self.time) < FRESH
    }
}

/// A question of a plan that is only made ahead, and where its reply goes.
pub struct Wanted {
    of: Arc<ReadAhead>,
    question: Question,
    reply: oneshot::Sender<Result<Reply, TransportError>>,
}

impl ReadAhead {
    pub fn new(machine: Posix, clock: Arc<Clock>) -> ReadAhead {
        ReadAhead { machine, clock, known: Mutex::default() }
    }

    /// The machine itself, for what is neither a question nor a change.
    pub fn machine(&self) -> &Posix {
        &self.machine
    }

    /// Returns the machine for plans that are made ahead: it hands their questions to `wanted` and cannot be changed.
    pub fn ahead(self: &Arc<ReadAhead>, (wanted, when): (mpsc::UnboundedSender<Wanted>, When)) -> Arc<dyn Transport> {
        let mut known = self.known();
        let now = self.now(&known);
        let changed = *self.machine.changed().borrow();
        known.answers.retain(|_, answer| answer.moment.is_none_or(|moment| moment.holds(&now, changed)));
        Arc::new(Ahead { of: self.clone(), wanted, when })
    }

    /// Resolves when the shell has been handed the next change.
    pub fn next_change(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changed: watch::Receiver<u64> = self.machine.changed();
        changed.mark_unchanged();
        async move {
            let _ = changed.changed().await;
        }
    }

    /// What other machines have changed so far, in ticks of the clock.
    pub fn elsewhere(&self) -> u64 {
        self.now(&self.known()).elsewhere
    }

    fn now(&self, known: &Known) -> Moment {
        let elsewhere = self.clock.0.load(Ordering::SeqCst) - known.ticks;
        Moment { elsewhere, asked: self.machine.asked(), time: Instant::now() }
    }

    /// Says whether an answer to a question of `moment` is as good as one asked for now.
    fn holds(&self, moment: &Moment, known: &Known) -> bool {
        moment.holds(&self.now(known), *self.machine.changed().borrow())
    }

    /// Returns an early reply, if there is a good one. Each plan that asked ahead may take it once.
    fn take(&self, question: &Question) -> Option<Pending> {
        let mut known = self.known();
        let moment = known.answers.get(question)?.moment?;
        if !self.holds(&moment, &known) {
            known.answers.remove(question);
            return None;
        }
        let answer = known.answers.get_mut(question)?;
        let reply = answer.reply.clone();
        answer.awaited -= 1;
        if answer.awaited == 0 {
            known.answers.remove(question);
        }
        Some(reply)
    }

    /// Returns an early reply, or asks now.
    async fn reply(&self, question: Question) -> Result<Reply, TransportError> {
        // Why an early question had no answer is no reason for this one to have none.
        if let Some(early) = self.take(&question)
            && let Some(Ok(reply)) = early.await
        {
            return Ok(reply);
        }
        self.ask(&question).await
    }

    async fn ask(&self, question: &Question) -> Result<Reply, TransportError> {
        Ok(match question {
            Question::Look(path, links, want) => {
                let nodes = self.machine.look(&[(path.clone(), *links)], *want).await?;
                Reply::Node(Box::new(nodes.into_iter().next().unwrap_or(Node::Absent)))
            }
            Question::User(name) => Reply::Account(self.machine.user(name).await?),
            Question::Group(name) => Reply::Account(self.machine.group(name).await?),
            Question::Probe(command) => Reply::Output(self.machine.probe(command).await?),
        })
    }

    /// Asks what plans ahead want to know of this machine: paths that are looked at alike in one exchange.
    async fn ask_all(&self, wanted: Vec<Wanted>) {
        {
            let mut known = self.known();
            let now = self.now(&known);
            for Wanted { question, .. } in &wanted {
                if let Some(answer) = known.answers.get_mut(question) {
                    answer.moment = Some(now);
                }
            }
        }
        let mut looks = Vec::new();
        let mut others = Vec::new();
        for Wanted { question, reply, .. } in wanted {
            match question {
                Question::Look(path, links, want) => looks.push(((path, links, want), reply)),
                question => others.push((question, reply)),
            }
        }
        let looks = async {
            let asked: Vec<_> = looks.iter().map(|(asked, _)| asked.clone()).collect();
            let mut nodes = self.machine.look_all(&asked).await.map(Vec::into_iter);
            let replies = looks.into_iter().map(|((path, links, want), reply)| {
                let node =
                    nodes.as_mut().map(|nodes| nodes.next().unwrap_or(Node::Absent)).map_err(|error| error.clone());
                async move {
                    let node = match node {
                        Ok(node) => Ok(Reply::Node(Box::new(node))),
                        // One path that cannot be looked at must not fail the others' tasks: each is asked for by itself.
                        Err(TransportError::Refused(_)) => self.ask(&Question::Look(path, links, want)).await,
                        Err(error) => Err(error),
                    };
                    send(reply, node);
                }
            });
            let replies: Vec<_> = replies.collect();
            join_all(replies).await;
        };
        let others = others.into_iter().map(|(question, reply)| async move {
            send(reply, self.ask(&question).await);
        });
        tokio::join!(looks, join_all(others));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a change begins; that it has ended is noted when what this returns is dropped.
    fn changing(&self) -> Changing<'_> {
        self.tick();
        Changing(self)
    }

    fn tick(&self) {
        let mut known = self.known();
        known.ticks += 1;
        self.clock.tick();
    }
}

/// Hands on a reply that may be kept; for a long one its task asks again.
fn send(to: oneshot::Sender<Result<Reply, TransportError>>, reply: Result<Reply, TransportError>) {
    let length = match &reply {
        Ok(Reply::Node(node)) => match node.content().map(|content| &content.body) {
            Some(Body::Here(bytes)) => bytes.len(),
            _ => 0,
        },
        Ok(Reply::Output(output)) => output.stdout.len() + output.stderr.len(),
        Ok(Reply::Account(_)) | Err(_) => 0,
    };
    if length <= KEPT {
        let _ = to.send(reply);
    }
}

/// Asks what is wanted so far, of each machine in one go.
pub async fn ask(wanted: Vec<Wanted>) {
    let mut machines: Vec<(Arc<ReadAhead>, Vec<Wanted>)> = Vec::new();
    for one in wanted {
        match machines.iter_mut().find(|(of, _)| Arc::ptr_eq(of, &one.of)) {
            Some((_, all)) => all.push(one),
            None => machines.push((one.of.clone(), vec![one])),
        }
    }
    join_all(machines.iter_mut().map(|(of, all)| of.ask_all(std::mem::take(all)))).await;
}

struct Changing<'a>(&'a ReadAhead);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.tick();
    }
}

#[async_trait]
impl Transport for ReadAhead {
    fn identity(&self) -> &Identity {
        self.machine.identity()
    }

    async fn look(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        let early: Vec<Option<Pending>> =
            paths.iter().map(|(path, links)| self.take(&Question::Look(path.clone(), *links, want))).collect();
        let missing = paths.iter().zip(&early).filter(|(_, early)| early.is_none()).map(|(path, _)| path.clone());
        let missing: Vec<_> = missing.collect();
        let now = async {
            match missing.is_empty() {
                true => Ok(Vec::new()),
                false => self.machine.look(&missing, want).await,
            }
        };
        let (now, early) = tokio::join!(now, join_all(early.into_iter().map(|early| async { early?.await })));
        let mut nodes: HashMap<&(String, Links), Node> = missing.iter().zip(now?).collect();
        for (path, early) in paths.iter().zip(early) {
            if let Some(Ok(Reply::Node(node))) = early {
                nodes.insert(path, *node);
            }
        }
        // Early questions that were given up, or had no answer.
        let open: Vec<_> = paths.iter().filter(|path| !nodes.contains_key(path)).cloned().collect();
        let found = match open.is_empty() {
            true => Vec::new(),
            false => self.machine.look(&open, want).await?,
        };
        nodes.extend(open.iter().zip(found));
        Ok(paths.iter().map(|path| nodes.get(path).cloned().unwrap_or(Node::Absent)).collect())
    }

    async fn list(&self, directory: &str, depth: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        self.machine.list(directory, depth).await
    }

    async fn user(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        account(self.reply(Question::User(name.into())).await)
    }

    async fn group(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        account(self.reply(Question::Group(name.into())).await)
    }

    async fn write(&self, changes: &[PathChange]) -> Result<(), WriteError> {
        let _changing = self.changing();
        self.machine.write(changes).await
    }

    async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        let _changing = self.changing();
        self.machine.run(command).await
    }

    async fn probe(&self, command: &Command) -> Result<Output, TransportError> {
        match self.reply(Question::Probe(Box::new(command.clone()))).await? {
            Reply::Output(output) => Ok(output),
            _ => Err(mixed_up()),
        }
    }

    fn guard(&self, lock: &Arc<Lock>) {
        self.machine.guard(lock);
    }

    async fn hold(&self, others: Others) -> Result<(), TransportError> {
        self.machine.hold(others).await
    }

    async fn open(&self, command: &Command) -> Result<Process, TransportError> {
        let _changing = self.changing();
        self.machine.open(command).await
    }

    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError> {
        self.machine.dial(address, limit).await
    }
}

fn account(reply: Result<Reply, TransportError>) -> Result<Option<Owner>, TransportError> {
    match reply? {
        Reply::Account(account) => Ok(account),
        _ => Err(mixed_up()),
    }
}

/// A machine as a plan ahead sees it.
struct Ahead {
    of: Arc<ReadAhead>,
    wanted: mpsc::UnboundedSender<Wanted>,
    when: When,
}

/// When the questions of plans ahead are going to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// Behind a change that is not made yet: nothing that is known serves.
    AfterChange,
}

impl Ahead {
    /// Shares the reply of a plan that has asked the same, or asks for it.
    async fn reply(&self, question: Question) -> Result<Reply, TransportError> {
        let pending = {
            let mut known = self.of.known();
            let good = known.answers.get(&question).is_some_and(|answer| match answer.moment {
                None => !matches!(answer.reply.peek(), Some(None)),
                Some(moment) => self.when == When::Now && self.of.holds(&moment, &known),
            });
            if good && let Some(answer) = known.answers.get_mut(&question) {
                answer.awaited += 1;
                answer.reply.clone()
            } else {
                let (reply, replied) = oneshot::channel();
                let pending = replied.map(Result::ok).boxed().shared();
                let answer = Answer { moment: None, awaited: 1, reply: pending.clone() };
                known.answers.insert(question.clone(), answer);
                let _ = self.wanted.send(Wanted { of: self.of.clone(), question, reply });
                pending
            }
        };
        pending.await.unwrap_or_else(|| Err(TransportError::Unreachable("it was not asked".into())))
    }
}

/// The reply is to another kind of question; nothing here makes that possible.
fn mixed_up() -> TransportError {
    TransportError::Refused("this is a bug in Cutover: an early answer belongs to another question".into())
}

/// Why a plan ahead goes no further.
fn only_asks() -> TransportError {
    TransportError::Refused("a plan that is made ahead only asks".into())
}

#[async_trait]
impl Transport for Ahead {
    fn identity(&self) -> &Identity {
        self.of.identity()
    }

    async fn look(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        let replies = paths
            .iter()
            .map(|(path, links)| self.reply(Question::Look(path.clone(), *links, want)))
            .collect::<Vec<_>>();
        let mut nodes = Vec::new();
        for reply in join_all(replies).await {
            match reply? {
                Reply::Node(node) => nodes.push(*node),
                _ => return Err(mixed_up()),
            }
        }
        Ok(nodes)
    }

    /// A tree may hold a million messages, and a change may make its list worthless.
    async fn list(&self, _: &str, _: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        Err(only_asks())
    }

    async fn user(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        account(self.reply(Question::User(name.into())).await)
    }

    async fn group(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        account(self.reply(Question::Group(name.into())).await)
    }

    async fn write(&self, changes: &[PathChange]) -> Result<(), WriteError> {
        let path = changes.first().map(|change| change.path().to_string()).unwrap_or_default();
        Err(WriteError::Failed { index: 0, path, error: only_asks() })
    }

    async fn run(&self, _: &Command) -> Result<Output, TransportError> {
        Err(only_asks())
    }

    async fn probe(&self, command: &Command) -> Result<Output, TransportError> {
        // Beside a change, and not behind it, it would be answered too early.
        if Posix::is_apart(command) {
            return Err(only_asks());
        }
        match self.reply(Question::Probe(Box::new(command.clone()))).await? {
            Reply::Output(output) => Ok(output),
            _ => Err(mixed_up()),
        }
    }

    async fn open(&self, _: &Command) -> Result<Process, TransportError> {
        Err(only_asks())
    }

    /// A conversation is not one of the questions that travel together.
    async fn dial(&self, _: &Address, _: Duration) -> Result<Stream, TransportError> {
        Err(only_asks())
    }
}
