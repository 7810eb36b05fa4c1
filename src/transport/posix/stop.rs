//! The end of what runs on a host when nobody waits for it any more: it may clean up, then it is killed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use super::Ending;
use super::launch::{Session, Task};
use crate::transport::TransportError;

const SCRIPT: &str = include_str!("stop.sh");

/// What is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doomed {
    /// A long-lived shell and what it runs now; services that it has started before live on. The script does what the
    /// shell would have done at its end.
    Shell(u32, String),
    /// A program and all of its process group.
    Group(u32),
}

/// The programs that run on channels of their own.
#[derive(Clone, Debug, Default)]
pub struct Programs(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// How many there are; one that is being ended still counts.
    count: watch::Sender<usize>,
    /// The numbers of those that could not be ended.
    living: Mutex<Vec<u32>>,
}

/// One of the programs; it counts for as long as this is there.
pub struct Counted(Programs);

impl Programs {
    pub fn add(&self) -> Counted {
        self.0.count.send_modify(|count| *count += 1);
        Counted(self.clone())
    }

    pub fn are_none(&self) -> bool {
        *self.0.count.borrow() == 0
    }

    /// Waits until all have ended, and returns the numbers of those that could not be ended.
    pub async fn ended(&self) -> Vec<u32> {
        // The sender is here, so there is no error.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
        std::mem::take(&mut *self.living())
    }

    fn living(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.count.send_modify(|count| *count -= 1);
    }
}

impl Session {
    /// Ends processes, from a channel of its own: first so that they can clean up, after three seconds by force.
    /// Returns the numbers of those that live on.
    pub async fn stop(&self, doomed: Doomed) -> Result<Vec<u32>, TransportError> {
        let (top, shell, end) = match doomed {
            Doomed::Shell(pid, end) => (pid, "1", end),
            Doomed::Group(pid) => (pid, "", String::new()),
        };
        if top <= 1 {
            return Err(TransportError::Refused("the number of a process to end is not known".into()));
        }
        let script = format!("exec 2>/dev/null\nc_top={top} c_shell={shell}\n{SCRIPT}{end}");
        let mut stopper = self.launch(Task::Script(&script)).await?.channel;
        let mut said = String::new();
        let read = stopper.stdout.read_to_string(&mut said).await;
        read.map_err(|error| TransportError::Unreachable(error.to_string()))?;
        stopper.status.await?;
        let left = said.trim().strip_prefix("left:");
        let left = left.ok_or_else(|| TransportError::Unreachable("nobody could say whether they ended".into()))?;
        Ok(left.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }
}

/// A program on a channel of its own. Dropped before its end, it is ended.
pub struct Program {
    session: Arc<Session>,
    /// The number of its process group, where it is known.
    pub pid: Option<u32>,
    /// Nothing once it has ended. Kept until then: to let go of it would kill a local program at once.
    status: Option<Ending>,
    counted: Option<Counted>,
}

impl Program {
    pub fn new(session: Arc<Session>, pid: Option<u32>, (status, counted): (Ending, Counted)) -> Program {
        Program { session, pid, status: Some(status), counted: Some(counted) }
    }

    /// Waits for the end; once.
    pub async fn wait(&mut self) -> Result<i32, TransportError> {
        let Some(status) = &mut self.status else {
            return Err(TransportError::Unreachable("it has ended before".into()));
        };
        let ended = status.await;
        (self.status, self.counted) = (None, None);
        ended
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some(status), Some(pid), Ok(runtime)) = (self.status.take(), self.pid, runtime) {
            let (session, counted) = (self.session.clone(), self.counted.take());
            runtime.spawn(async move {
                let left = session.stop(Doomed::Group(pid)).await.unwrap_or_else(|_| vec![pid]);
                session.programs.living().extend(left);
                drop((status, counted));
            });
        }
    }
}
