//! Plays whose hosts do not wait for each other: strategies `free` and `host_pinned`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Diagnostic, Diagnostics};
use crate::playbook::{Play, Task};
use crate::settings;
use crate::yaml::Yaml;

use super::ahead::Ahead;
use super::play::{Batch, wrong};
use super::task::place_of;
use super::{Event, Mode, Run, lock};

/// In which order the tasks of a play come to its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// All hosts together through each task.
    Linear,
    /// Each host as fast as it can; `forks` tasks are done at a time.
    Free,
    /// The same, and a host that has begun goes on to its end: `forks` hosts are at work at a time.
    HostPinned,
}

/// One host's way through a play, apart from the others.
pub(super) struct Lane {
    /// The task that is done, by its address, and what is told of it before its first result.
    task: Mutex<Option<(usize, Event)>>,
    /// The task that was told of last, in any lane.
    told: Arc<Mutex<Option<usize>>>,
    /// How many tasks may be done at a time, in all lanes.
    slots: Option<Arc<Semaphore>>,
    /// By their places, the turns at tasks that say how many hosts may do them at a time.
    throttled: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl Lane {
    /// Notes the task that comes next; it is told of with its first result, as other lanes are at other tasks.
    pub fn begin(&self, task: &Arc<Task>, started: Event) {
        *lock(&self.task) = Some((Arc::as_ptr(task) as usize, started));
    }

    /// Waits until one more task may be done.
    pub async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        match &self.slots {
            // It is never closed.
            Some(slots) => slots.acquire().await.ok(),
            None => None,
        }
    }

    /// Returns the turns at a task of which so many may be taken at a time.
    pub fn turns(&self, task: &Task, at_once: usize) -> Arc<Semaphore> {
        let turns = || Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)));
        lock(&self.throttled).entry(place_of(task)).or_insert_with(turns).clone()
    }

    fn tell(&self, run: &Run, event: Event) {
        // Held until the event is sent, so that nothing comes between a task and its result.
        let mut told = lock(&self.told);
        let is_of_task = !matches!(event, Event::Warning(_) | Event::Meta { .. } | Event::Rescued { .. });
        if let Some((task, started)) = lock(&self.task).as_ref().filter(|(task, _)| is_of_task && *told != Some(*task))
        {
            *told = Some(*task);
            run.send(started.clone());
        }
        run.send(event);
    }
}

impl Run {
    /// Returns the strategy of a play. A check has nothing to wait for, so there its hosts keep step, which is one of the
    /// orders that every strategy allows: what a plan has of them stands together.
    pub(super) fn strategy(&self, play: &Play) -> Result<Strategy, Diagnostics> {
        let setting = settings::value("ANSIBLE_STRATEGY").filter(|name| !name.trim().is_empty());
        let unsaid = setting.map(|name| Yaml::text_at(name.trim(), &play.place));
        let Some(node) = play.strategy.as_ref().or(unsaid.as_ref()) else { return Ok(Strategy::Linear) };
        let scope = self.fleet.play_scope(&play.vars);
        let name = self.templates.render(node, &scope).map_err(|failure| wrong(failure, node))?;
        let name = name.as_str().unwrap_or_default();
        match name.strip_prefix("ansible.builtin.").unwrap_or(name) {
            "linear" => Ok(Strategy::Linear),
            "free" => Ok(Strategy::Free),
            "host_pinned" => Ok(Strategy::HostPinned),
            other => {
                let error = Diagnostic::new(format!("strategy `{other}` is not supported")).at(&node.place);
                Err(error.hint("one of: linear, free, host_pinned").into())
            }
        }
    }
}

impl Batch {
    /// Plays all sections on this batch, its hosts in step or apart.
    pub(super) async fn play(self: &Arc<Batch>) -> Result<(), Diagnostics> {
        if self.strategy == Strategy::Linear || self.run.options.mode == Mode::Check {
            return self.play_on(self.hosts.to_vec()).await;
        }
        let forks = self.run.options.forks.max(1);
        let slots = (self.strategy == Strategy::Free).then(|| Arc::new(Semaphore::new(forks)));
        let at_once = if self.strategy == Strategy::Free { self.hosts.len() } else { forks };
        let (told, throttled) = (Arc::default(), Arc::default());
        let lanes = self.hosts.iter().map(|host| {
            let (told, throttled) = (Arc::clone(&told), Arc::clone(&throttled));
            let lane = Lane { task: Mutex::default(), told, slots: slots.clone(), throttled };
            let (ahead, questions) = Ahead::new();
            let batch = Arc::new(self.apart(lane, ahead));
            async move {
                tokio::select! {
                    played = batch.play_on(vec![host.clone()]) => played,
                    () = questions.drive() => Ok(()),
                }
            }
        });
        // A lane that ends in an error leaves the others their changes: none is given up half-way.
        let mut errors = Diagnostics::default();
        for played in stream::iter(lanes).buffer_unordered(at_once.max(1)).collect::<Vec<_>>().await {
            errors.extend(played.err().unwrap_or_default());
        }
        errors.or(())
    }

    fn apart(&self, lane: Lane, ahead: Ahead) -> Batch {
        Batch {
            run: self.run.clone(),
            play: self.play.clone(),
            hosts: self.hosts.clone(),
            all: self.all.clone(),
            vars_files: self.vars_files.clone(),
            state: self.state.clone(),
            magic: self.magic.clone(),
            strategy: self.strategy,
            ahead,
            lane: Some(lane),
        }
    }

    /// Tells of something that is this batch's.
    pub(super) fn send(&self, event: Event) {
        match &self.lane {
            Some(lane) => lane.tell(&self.run, event),
            None => self.run.send(event),
        }
    }
}
