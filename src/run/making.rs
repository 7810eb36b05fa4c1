//! The making of changes on one machine: each in the journal before it is made, and its end after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::change::transfer::Progress;
use crate::change::{Applied, ApplyError, Change, On, Reach, Secrecy};
use crate::transport::{Become, Machines, Others, Output, ReadAhead, Transport, TransportError};

use super::event::Uncertain;
use super::journal::About;
use super::locks::Rules;
use super::plan::Route;
use super::trouble::Trouble;
use super::underway::{Underway, look_again};
use super::{Event, Login, Run, Subject};

/// A machine that changes are made on, and how it was reached.
pub(super) struct Machine {
    pub host: String,
    pub delegate: Option<String>,
    pub login: Login,
    pub user: Option<Become>,
    pub transport: Arc<ReadAhead>,
    pub peers: Arc<dyn Machines>,
}

impl Machine {
    pub fn subject(&self, subject: &Subject) -> Subject {
        Subject { delegate: self.delegate.clone(), ..subject.clone() }
    }
}

/// Why changes were not, or not all, made.
pub(super) enum Unapplied {
    /// The machine is no longer as it was when they were planned.
    Stale(String),
    Other(Trouble),
}

impl From<Trouble> for Unapplied {
    fn from(trouble: Trouble) -> Unapplied {
        Unapplied::Other(trouble)
    }
}

impl From<TransportError> for Unapplied {
    fn from(error: TransportError) -> Unapplied {
        Unapplied::Other(error.into())
    }
}

/// How often a host is connected to again to look at it.
const LOOKS_AGAIN: u32 = 2;

/// How long to wait before a lock is asked for again.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// The changes of one task on one machine.
pub(super) struct Making<'a> {
    pub run: &'a Arc<Run>,
    pub machine: &'a Machine,
    /// The task's name, and `FILE:LINE`.
    pub task: &'a str,
    pub place: &'a str,
    /// How often the task came to its host with its item before.
    pub nth: usize,
    pub secrecy: Secrecy,
    pub subject: &'a Subject,
    pub route: Route,
    /// Which step of a plan it is.
    pub step: Option<usize>,
}

impl Making<'_> {
    /// Takes the locks of all hosts that the changes are made on, or says who has one. Where nothing is known of another
    /// run, the lock on the host goes with its first change.
    pub async fn lock(&self, changes: &[Change]) -> Result<(), Trouble> {
        // What is delegated to this machine itself may go on side by side: it is everybody's controller.
        if self.machine.login != Login::Local || self.machine.delegate.is_none() {
            self.lock_host(&self.machine.host, &*self.machine.transport).await?;
        }
        for change in changes {
            if let Change::Transfer(transfer) = change {
                let peer = self.machine.peers.machine(&transfer.from).await?;
                self.lock_host(&transfer.from, &*peer).await?;
            }
        }
        Ok(())
    }

    async fn lock_host(&self, host: &str, machine: &dyn Transport) -> Result<(), Trouble> {
        let locks = &self.run.locks;
        let until = Instant::now() + locks.rules.wait;
        let mut told = false;
        while let Err(holder) = locks.hold(host) {
            if locks.rules.steal {
                let hint = "hint: end that process, or wait for it with `--wait-lock SECONDS` alone";
                let text = format!("another run of this controller is changing this host: {holder}\n{hint}");
                return Err(Trouble::failed(text));
            }
            self.wait_for((host, &holder), (&mut told, until)).await?;
        }
        machine.guard(locks.on_hosts());
        if locks.rules == Rules::default() {
            return Ok(());
        }
        while let Err(error) = machine.hold(Others::Respect).await {
            match error {
                TransportError::Held(holder) if locks.rules.steal => {
                    let noted = self.run.journal.stolen(host, &holder);
                    noted.map_err(|error| Trouble::failed(format!("the journal cannot be written: {error}")))?;
                    self.run.send(Event::Warning(format!("`{host}`: the lock was taken from {holder}")));
                    machine.hold(Others::Remove).await?;
                }
                TransportError::Held(holder) => self.wait_for((host, &holder), (&mut told, until)).await?,
                other => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Waits a moment for another run's end, unless the time for that is over.
    async fn wait_for(&self, (host, holder): (&str, &str), (told, until): (&mut bool, Instant)) -> Result<(), Trouble> {
        if Instant::now() >= until {
            return Err(TransportError::Held(holder.into()).into());
        }
        if !std::mem::replace(told, true) {
            let text = format!("`{host}`: waiting for another run that is changing it: {holder}");
            self.run.send(Event::Warning(text));
        }
        tokio::time::sleep(BETWEEN_TRIES.min(until - Instant::now())).await;
        Ok(())
    }

    /// Returns what tells how far a change is.
    pub fn progress(&self) -> impl Fn(Progress) + Send + Sync {
        let subject = self.machine.subject(self.subject);
        move |progress| self.run.send(Event::Progress { subject: subject.clone(), progress })
    }

    /// Returns where a change finds its machines.
    pub fn reach<'a>(
        &'a self,
        controller: &'a dyn Transport,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> Reach<'a> {
        Reach { host: &*self.machine.transport, controller, machines: &*self.machine.peers, progress }
    }

    /// Makes one change, which is what `applying` does, between its two entries in the journal. It comes with its place
    /// among the others of its task.
    pub async fn make(
        &self,
        (index, change): (usize, &Change),
        applying: impl Future<Output = Result<Applied, ApplyError>>,
    ) -> Result<Applied, Unapplied> {
        let unwritable = |error: std::io::Error| Trouble::failed(format!("the journal cannot be written: {error}"));
        let underway = self.begin(index, change).map_err(unwritable)?;
        let applied = match applying.await {
            Ok(applied) => {
                let noted = match (change, change.secrecy(self.secrecy)) {
                    (Change::Run { .. }, Secrecy::Open) => underway.ran(&applied),
                    _ => underway.done(),
                };
                noted.map_err(unwritable)?;
                applied
            }
            Err(ApplyError::Host(TransportError::Uncertain(why))) => {
                return Err(self.lost(change, (underway, why)).await.map_err(unwritable)?.into());
            }
            Err(ApplyError::Host(error @ TransportError::Held(_))) => {
                underway.refused(&error.to_string()).map_err(unwritable)?;
                return Err(error.into());
            }
            Err(error) => {
                // What a command said may hold what the task hides.
                let why = match change.secrecy(self.secrecy) {
                    Secrecy::Open => error.to_string(),
                    Secrecy::Hidden => "(hidden by no_log)".into(),
                };
                underway.failed(&why).map_err(unwritable)?;
                return Err(match error {
                    ApplyError::Host(error) => Unapplied::Other(error.into()),
                    ApplyError::Stale { .. } => Unapplied::Stale(error.to_string()),
                    ApplyError::Failed(message) => Unapplied::Other(Trouble::failed(message)),
                });
            }
        };
        let warnings = applied.report.get("warnings").and_then(Value::as_array).into_iter().flatten();
        warnings.filter_map(Value::as_str).for_each(|text| self.run.send(Event::Warning(text.into())));
        for warning in applied.output.iter().flat_map(too_much) {
            self.run.send(Event::Warning(format!("`{}`: {warning}", self.machine.host)));
        }
        Ok(applied)
    }

    /// Notes in the journal that a change is about to be made.
    fn begin(&self, index: usize, change: &Change) -> std::io::Result<Underway> {
        let (host, task, place) = (self.machine.host.as_str(), self.task, self.place);
        let step = self.step.map(|step| (step, index));
        let shell = self.machine.transport.machine().pid();
        let nth = self.nth;
        let about = About { host, task, place, nth, subject: self.subject, route: &self.route, step, shell };
        let number = self.run.journal.about_to(&about, (change, self.secrecy))?;
        let half = Uncertain {
            host: host.into(),
            task: task.into(),
            change: change.in_short(change.secrecy(self.secrecy)),
            why: "it was given up before its end".into(),
            found: None,
        };
        Ok(Underway::new(self.run.clone(), number, half))
    }

    /// Says of a change whose connection was lost that nobody knows whether it was applied, and as what the host is
    /// found now.
    async fn lost(&self, change: &Change, (underway, why): (Underway, String)) -> std::io::Result<Trouble> {
        let found = self.find(change).await;
        let seen = found.unwrap_or_else(|error| format!("it could not be looked at again: {error}"));
        let what = change.in_short(change.secrecy(self.secrecy));
        underway.uncertain(&why, Some(seen.clone()))?;
        Ok(Trouble::Unreachable(format!(
            "the connection ended in the middle of a change: {why}\n  unknown whether applied: {what}\n  {seen}"
        )))
    }

    /// Looks at what was being changed, over a new connection.
    async fn find(&self, change: &Change) -> Result<String, TransportError> {
        if matches!(change, Change::Path { on: On::Controller, .. } | Change::Transfer(_)) {
            return Ok("run this again: it goes on where it stopped".into());
        }
        let old = self.machine.transport.machine().pid();
        let mut tries = 0;
        loop {
            let again = self.run.connections.transport(&self.machine.login, self.machine.user.clone()).await;
            let found = match again {
                Ok(new) => look_again(new.machine(), old, change).await,
                Err(error) => Err(error),
            };
            match found {
                Err(TransportError::Unreachable(_)) if tries < LOOKS_AGAIN => tries += 1,
                found => return found,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Says what was not kept of a command's output.
fn too_much(output: &Output) -> impl Iterator<Item = String> + use<> {
    let streams =
        [("stdout", output.stdout.len(), output.dropped.0), ("stderr", output.stderr.len(), output.dropped.1)];
    streams.into_iter().filter(|(_, _, dropped)| *dropped > 0).map(|(name, kept, dropped)| {
        format!("the command printed {} bytes on {name}; the first {kept} are kept", kept as u64 + dropped)
    })
}
