//! `async`: commands that go on behind the connection, the wait for them, and `async_status`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Map, Value};

use crate::change::{self, Applied, ApplyError, Change, Reach};
use crate::error::Diagnostic;
use crate::modules::Results;
use crate::transport::detach::{self, Job};
use crate::transport::{Command, Output, Transport as _, TransportError};

use super::action::{text_of, with};
use super::doing::{Doing, Done, duration};
use super::making::Machine;
use super::trouble::Trouble;
use super::{lock, result};

/// How an `async` task goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Background {
    /// The most time it may take.
    pub limit: Duration,
    /// The time between two looks at it; `None`: nobody waits for it.
    pub poll: Option<Duration>,
}

/// What a run knows of the jobs that it has started, by their numbers.
#[derive(Default)]
pub(super) struct Jobs(HashMap<String, Known>);

enum Known {
    /// A module of the user's, whose output is its result.
    Custom,
    /// It was done when it was started.
    Done(Results),
}

/// Seconds between two looks where the task does not say (`DEFAULT_POLL_INTERVAL`).
const POLL: f64 = 15.0;

/// How much later than a job's limit its watcher on the host may be.
const GRACE: Duration = Duration::from_secs(15);

/// What Ansible does on the controller, and not in the background.
const NOT_ASYNC: &[&str] =
    &["assemble", "copy", "fetch", "raw", "reboot", "script", "template", "unarchive", "wait_for_connection"];

impl Doing<'_> {
    /// Returns how the task goes on by itself, if it is to.
    pub(super) fn background(&self) -> Result<Option<Background>, Trouble> {
        let Some(node) = &self.task.asynchronous else { return Ok(None) };
        let seconds = self.number(node)?;
        if seconds <= 0.0 {
            return Ok(None);
        }
        let name = self.task.action.as_str();
        if NOT_ASYNC.contains(&name) || super::action::find(name).is_some() {
            return Err(Trouble::failed(format!("This action ({name}) does not support async.")));
        }
        let poll = self.task.poll.as_ref().map(|node| self.number(node)).transpose()?.unwrap_or(POLL);
        Ok(Some(Background { limit: duration(seconds), poll: (poll > 0.0).then(|| duration(poll)) }))
    }

    /// Says whether what the task runs can be left to itself on the host.
    pub(super) fn can_go_on(&self) -> bool {
        self.task.custom.is_some() || matches!(self.task.action.as_str(), "command" | "shell")
    }

    /// Starts a command that goes on by itself, and waits for its end as `async` and `poll` say.
    pub(super) async fn watched(
        &self,
        machine: &Machine,
        (command, background): (&Command, Background),
        reach: Reach<'_>,
    ) -> Result<Applied, ApplyError> {
        let command = Command { detached: Some(background.limit), timeout: None, ..command.clone() };
        let environment = command.environment.clone();
        let begun = Instant::now();
        let started = change::apply(&Change::Run { command }, reach).await?;
        let Some(job) = started.report.get("ansible_job_id").and_then(Value::as_str) else { return Ok(started) };
        let over = background.limit + GRACE;
        let mut again = None;
        loop {
            tokio::time::sleep(background.poll.unwrap_or_default().min(background.limit)).await;
            let transport = again.as_ref().map_or(&machine.transport, |machine: &Machine| &machine.transport);
            let look = Command { environment: environment.clone(), ..detach::look(job) };
            match transport.machine().probe(&look).await.map(|output| detach::read(&output).1) {
                Ok(Job::Ended { output, late: false, times }) => {
                    let remove = Command { environment: environment.clone(), ..detach::remove(job) };
                    transport.machine().run(&remove).await?;
                    return Ok(ended(output, times, finished(started.report.clone())));
                }
                Ok(Job::Running) => {}
                Ok(Job::Missing | Job::Gone) => {
                    return Err(ApplyError::Failed(format!("the job `{job}` is gone and has not said how it ended")));
                }
                Ok(Job::Ended { .. }) => return Err(late(background.limit)),
                // The job goes on; the connection is made anew.
                Err(TransportError::Unreachable(why)) => match self.machine().await {
                    _ if begun.elapsed() > over => return Err(TransportError::Unreachable(why).into()),
                    Ok(machine) => again = Some(machine),
                    Err(_) => {}
                },
                Err(other) => return Err(other.into()),
            }
            if begun.elapsed() > over {
                return Err(late(background.limit));
            }
        }
    }

    /// Adds to the result of a task that was done in the foreground what one in the background has.
    pub(super) fn as_if_behind(&self, done: &mut Done) {
        let mut jobs = lock(&self.batch.run.progress.jobs);
        let number = format!("j{:012}.0", jobs.0.len());
        let mut report = Map::new();
        report.insert("ansible_job_id".into(), number.as_str().into());
        report.insert("started".into(), true.into());
        report.insert("results_file".into(), "".into());
        done.result.extend(finished(report));
        let mut result = done.result.clone();
        result.insert("changed".into(), done.changed.into());
        jobs.0.insert(number, Known::Done(result));
    }

    /// Remembers a job whose output is a module's result.
    pub(super) fn note_job(&self, applied: &Applied) {
        let job = applied.report.get("ansible_job_id").and_then(Value::as_str);
        if let Some(job) = job.filter(|_| self.task.custom.is_some()) {
            lock(&self.batch.run.progress.jobs).0.insert(job.into(), Known::Custom);
        }
    }

    /// `async_status`: how far a job is, or the end of what is kept of it.
    pub(super) async fn async_status(&self, arguments: &Map<String, Value>) -> Result<Done, Trouble> {
        let place = &self.task.action_place;
        let Some(job) = arguments.get("jid").map(text_of) else {
            return Err(Diagnostic::new("`async_status` needs the argument `jid`").at(place).into());
        };
        let cleanup = match arguments.get("mode").map(text_of).as_deref() {
            None | Some("status") => false,
            Some("cleanup") => true,
            Some(other) => {
                let message = format!("`mode` of `async_status` is `status` or `cleanup`, not `{other}`");
                return Err(Diagnostic::new(message).at(place).into());
            }
        };
        self.batch.run.connections.clock().tick();
        let custom = match lock(&self.batch.run.progress.jobs).0.get(&job) {
            Some(Known::Done(_)) if cleanup => return Ok(with("erased", "".into())),
            Some(Known::Done(result)) => {
                let changed = result.get("changed").and_then(Value::as_bool).unwrap_or(false);
                let changed = changed && self.mode == super::Mode::Apply;
                return Ok(Done { changed, result: result.clone(), ..Done::default() });
            }
            Some(Known::Custom) => true,
            None => false,
        };
        let machine = self.machine().await?;
        // In a check nothing is removed, either: it is only looked at.
        let is_run = self.mode == super::Mode::Apply;
        let removes = cleanup && is_run;
        let environment = self.environment()?;
        let look = Command { environment: environment.clone(), ..detach::look(&job) };
        let (file, found) = detach::read(&machine.transport.machine().probe(&look).await?);
        let mut report = Map::new();
        report.insert("ansible_job_id".into(), job.as_str().into());
        report.insert("started".into(), true.into());
        report.insert("results_file".into(), file.as_str().into());
        match found {
            Job::Missing => Err(Trouble::Failed { message: "could not find job".into(), result: finished(report) }),
            _ if cleanup => {
                if removes {
                    machine.transport.machine().run(&Command { environment, ..detach::remove(&job) }).await?;
                }
                report.insert("erased".into(), file.into());
                Ok(Done { result: report, ..Done::default() })
            }
            Job::Running => {
                report.insert("finished".into(), false.into());
                Ok(Done { result: report, ..Done::default() })
            }
            Job::Gone => {
                let message = "the job is gone and has not said how it ended".into();
                Err(Trouble::Failed { message, result: finished(report) })
            }
            Job::Ended { late: true, .. } => {
                let message = "the job was ended because its time (`async`) was over".into();
                Err(Trouble::Failed { message, result: finished(report) })
            }
            Job::Ended { output, times, .. } => {
                let applied = ended(output, times, finished(report));
                if custom {
                    let done = super::custom::done(applied)?;
                    return Ok(Done { changed: done.changed && is_run, ..done });
                }
                let mut result = result::merged(Results::new(), applied);
                result.insert("changed".into(), true.into());
                match result.get("rc").and_then(Value::as_i64).unwrap_or(0) {
                    0 => Ok(Done { changed: is_run, result, ..Done::default() }),
                    status if self.task.failed_when.is_none() => {
                        Err(Trouble::Failed { message: format!("non-zero return code {status}"), result })
                    }
                    _ => Ok(Done { changed: is_run, result, ..Done::default() }),
                }
            }
        }
    }
}

fn finished(mut report: Map<String, Value>) -> Map<String, Value> {
    report.insert("finished".into(), true.into());
    report
}

fn late(limit: Duration) -> ApplyError {
    ApplyError::Failed(format!("async task did not complete within the requested time - {}s", limit.as_secs()))
}

fn ended(output: Output, times: Option<(i64, i64)>, report: Map<String, Value>) -> Applied {
    let time = |seconds: i64| Some(Zoned::new(Timestamp::from_second(seconds).ok()?, TimeZone::system()));
    let times = times.and_then(|(begun, ended)| time(begun).zip(time(ended)));
    Applied { output: Some(output), times, report, ..Applied::default() }
}
