//! `until` and `retries`: a task that is done again until it is well.

use super::Event;
use super::doing::{Doing, Done, duration};
use super::trouble::{Trouble, failure};

impl Doing<'_> {
    /// Does the task as often as `until` and `retries` ask for.
    pub(super) async fn attempt(&self) -> Result<Done, Trouble> {
        self.may_go_on()?;
        if let Some(done) = self.left_out()?.filter(|_| !self.was_at_work()) {
            self.approve_none()?;
            return Ok(done);
        }
        let Some(until) = &self.task.until else {
            let retries = match &self.task.retries {
                // Without `until`, `retries` alone repeats a task that fails.
                Some(node) => self.number(node)? as u64,
                None => 0,
            };
            let attempts = |number: u64| (retries > 0).then_some(number);
            let mut attempt = self.bounded(attempts(1)).await;
            for done in 0..retries {
                if !matches!(&attempt, Err(Trouble::Failed { .. })) {
                    break;
                }
                self.retry(retries - done).await?;
                attempt = self.bounded(attempts(done + 2)).await;
            }
            return attempt.map_err(|trouble| match trouble {
                Trouble::Failed { message, mut result } if retries > 0 => {
                    result.insert("attempts".into(), retries.into());
                    Trouble::Failed { message, result }
                }
                other => other,
            });
        };
        let retries =
            self.task.retries.as_ref().map(|node| self.number(node)).transpose()?.unwrap_or(3.0).max(1.0) as u64;
        let mut tries = 1;
        loop {
            let attempt = self.bounded(Some(tries)).await;
            let mut result = match &attempt {
                Ok(done) if done.unknown || done.skipped => return attempt,
                Ok(done) => done.result.clone(),
                Err(Trouble::Failed { message, result }) => failure(message, result.clone()),
                Err(_) => return attempt,
            };
            if let Ok(done) = &attempt {
                result.insert("changed".into(), done.changed.into());
            }
            let reached = self.templates().condition(until, &self.scope_with(&result))?;
            if reached || tries > retries {
                return match (reached, attempt) {
                    (true, Ok(mut done)) => {
                        done.result.insert("attempts".into(), tries.into());
                        Ok(done)
                    }
                    // What `failed_when` says is stronger than that the tries are over, as in Ansible.
                    (false, Ok(mut done)) if self.task.failed_when.is_some() => {
                        done.result.insert("attempts".into(), (tries - 1).into());
                        done.result.insert("failed".into(), true.into());
                        Ok(done)
                    }
                    (false, Ok(mut done)) => {
                        done.result.insert("attempts".into(), (tries - 1).into());
                        let message = format!("`until` did not hold after {} retries", tries - 1);
                        Err(Trouble::Failed { message, result: done.result })
                    }
                    (_, Err(Trouble::Failed { message, mut result })) => {
                        result.insert("attempts".into(), if reached { tries } else { tries - 1 }.into());
                        Err(Trouble::Failed { message, result })
                    }
                    (_, attempt) => attempt,
                };
            }
            self.retry(retries + 1 - tries).await?;
            tries += 1;
        }
    }

    /// Says that the task is tried again, and waits until it is time.
    async fn retry(&self, left: u64) -> Result<(), Trouble> {
        let name = self.batch.name_of(self.task, self.host);
        self.batch.send(Event::Retrying { subject: self.subject.clone(), name, left });
        let seconds = self.task.delay.as_ref().map(|node| self.number(node)).transpose()?.unwrap_or(5.0);
        self.batch.run.connections.clock().tick();
        tokio::time::sleep(duration(seconds)).await;
        self.batch.run.connections.clock().tick();
        Ok(())
    }
}
