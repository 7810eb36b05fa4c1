//! A run: playbooks against an inventory, in Ansible's order, each change planned, shown, journalled and applied.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::UnboundedSender;

use crate::error::{Diagnostic, Diagnostics};
use crate::host::Pendings;
use crate::modules::arguments::boolean;
use crate::playbook::tags::Selection;
use crate::playbook::{Loader, Playbook};
use crate::template::{Failure, Templates};
use crate::vars::{Fleet, Scope};
use crate::yaml::Yaml;

pub mod action;
mod ahead;
mod away;
mod background;
mod becoming;
mod check;
pub mod connections;
mod custom;
mod doing;
pub mod earlier;
pub mod event;
mod fights;
mod handlers;
mod include;
mod include_vars;
pub mod journal;
mod lanes;
pub mod left;
pub mod locks;
pub mod login;
mod looped;
mod making;
mod meta;
mod module;
mod neighbours;
mod open;
pub mod plan;
pub mod play;
mod prompts;
pub mod record;
mod reserved;
mod resolved;
mod result;
mod retold;
mod retries;
mod said;
mod spec;
mod task;
mod touched;
mod trouble;
mod underway;
mod validate;
pub mod verify;
mod weakened;

pub use connections::{Connections, Login};
pub use event::{Event, Interrupted, Subject, TaskKind, Uncertain, Verdict};
pub use journal::Journal;
pub use locks::Locks;
pub use reserved::is_reserved;

/// Whether changes are made or only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Check,
    Apply,
}

/// What the command line decides about a run.
#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    /// `--limit`.
    pub limit: Option<String>,
    pub tags: Selection,
    /// `--start-at-task`: a name or a glob.
    pub start_at: Option<String>,
    /// How many hosts work on one task at once.
    pub forks: usize,
    pub verbosity: u8,
    /// Notified handlers run even on hosts that failed, in plays that do not say otherwise.
    pub force_handlers: bool,
    /// The playbooks' paths, in order, as given; empty where there are none to name.
    pub playbooks: Vec<String>,
    /// What decides the names that `tempfile` takes: each run has another, and one that keeps to a plan or goes on with another
    /// run has that one's.
    pub seed: Arc<str>,
}

/// Everything one run shares.
pub struct Run {
    pub options: Options,
    pub fleet: Arc<Fleet>,
    pub templates: Arc<Templates>,
    pub connections: Arc<Connections>,
    pub loader: Loader,
    pub journal: Arc<Journal>,
    pub locks: Locks,
    pub events: UnboundedSender<Event>,
    pub progress: Progressing,
    /// Where a check is to be saved: what it finds to be done.
    pub plan: Option<Arc<plan::Recorder>>,
    /// What runs that this one goes on with have done.
    pub earlier: Option<earlier::Earlier>,
    /// The plan that the run keeps to.
    pub guard: Option<Arc<plan::Guard>>,
}

/// What a run has learnt so far, beside variables.
#[derive(Default)]
pub struct Progressing {
    pendings: Arc<Pendings>,
    /// Hosts that failed or could not be reached: no later play touches them.
    out: Mutex<BTreeSet<String>>,
    /// Set once `--start-at-task` has matched.
    started: Mutex<bool>,
    /// How many commands of lookups are known to have run.
    lookups: AtomicU64,
    left: left::Left,
    /// What the tasks of a check have set.
    fights: Mutex<fights::Fights>,
    /// How often each task has come to each host.
    seen: plan::Seen,
    jobs: Mutex<background::Jobs>,
    /// Per machine that tasks are delegated to, whose turn it is.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Run {
    /// Plays all playbooks, in order.
    ///
    /// Errors are the user's and were found before any host was touched by the play they belong to;
    /// what hosts answer becomes events.
    pub async fn play(self: &Arc<Run>, playbooks: &[Playbook]) -> Result<(), Diagnostics> {
        *lock(&self.progress.started) = self.options.start_at.is_none();
        let mut grown = false;
        let plays = playbooks.iter().flat_map(|playbook| &playbook.plays);
        let hosts = |play| play::hosts(play, self.options.limit.as_deref(), (&self.fleet, &self.templates));
        let expected = plays.clone().map(|play| hosts(play).map_or_else(|_| Default::default(), |found| found.hosts));
        self.progress.left.expect(expected.map(|hosts| hosts.into_iter().collect()).collect());
        let unanswered = plays.clone().flat_map(|play| &play.unanswered);
        let unanswered =
            unanswered.map(|error| handlers::warning(error, "the run ends where this task would change something"));
        let absent = plays.clone().flat_map(|play| play.absent.iter().cloned().chain(verify::doubts(play)));
        let absent = absent.map(|error| handlers::warning(&error, "the task fails where the run comes to it"));
        for text in unanswered.chain(absent) {
            self.send(Event::Warning(text));
        }
        let mut starts = Vec::new();
        for (path, playbook) in self.options.playbooks.iter().zip(playbooks) {
            starts.extend(playbook.plays.first().map(|first| (std::ptr::from_ref(first), path, playbook.plays.len())));
        }
        for play in plays {
            if let Some((_, path, plays)) = starts.iter().find(|(first, ..)| std::ptr::eq(*first, play)) {
                self.send(Event::PlaybookStarted { path: path.to_string(), plays: *plays });
            }
            if self.one_play(play, grown).await? == play::Flow::Stop {
                self.tell_fights();
                return Ok(());
            }
            self.progress.left.leave();
            grown |= play.may_grow_inventory();
        }
        self.tell_fights();
        match (&self.options.start_at, *lock(&self.progress.started)) {
            (Some(name), false) => {
                let hint = "`cutover play --list-tasks` prints every task's name";
                Err(Diagnostic::new(format!("no task is named `{name}`")).hint(hint).into())
            }
            _ => Ok(()),
        }
    }

    /// Ends what the hosts still do, after the play was given up, and says what the run leaves.
    pub async fn interrupt(&self) {
        let living = self.connections.stop().await;
        let out = lock(&self.progress.out).clone();
        let (unfinished, not_begun) = self.progress.left.hosts(&out);
        self.send(Event::Interrupted(Interrupted { unfinished, not_begun, living }));
    }

    /// Reads a switch such as `no_log` as Ansible does: text like `yes`, which `-e` gives, is a boolean too.
    fn switch(&self, node: &Yaml, scope: &Scope) -> Result<bool, Failure> {
        let value = self.templates.render(node, scope)?;
        boolean(&value).ok_or_else(|| {
            Failure::Wrong(Diagnostic::new(format!("this should be true or false, not {value}")).at(&node.place))
        })
    }

    fn send(&self, mut event: Event) {
        event.hide_secrets();
        // A reporter that is gone has said so; the run goes on.
        let _ = self.events.send(event);
    }

    fn turn(&self, host: &str) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.progress.turns).entry(host.to_string()).or_default().clone()
    }
}

/// Locks a mutex whose holders never panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
