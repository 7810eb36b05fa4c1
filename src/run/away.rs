//! A host that goes away by what a task does to it, and is awaited.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::change::Applied;
use crate::modules::Absence;
use crate::transport::{Command, Transport as _, TransportError};

use super::doing::Doing;
use super::login::Login;
use super::making::{Machine, Unapplied};
use super::trouble::Trouble;

/// How long to wait before a host is looked for again, and for an answer of one that may hang.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(15);

impl Doing<'_> {
    /// Returns what the host says of its boot before it goes.
    pub(super) async fn leaving(&self, machine: &Machine, absence: &Absence) -> Result<String, Trouble> {
        if machine.login == Login::Local {
            return Err(Trouble::failed("Running reboot with local connection would reboot the control node."));
        }
        Ok(self.answer(machine, &absence.boot).await?.unwrap_or_default())
    }

    /// Waits until the host is back by another boot than `before`, and well. Its connection may have been lost by the change.
    pub(super) async fn back(
        &self,
        (absence, before): (&Absence, &str),
        applied: Result<Applied, Unapplied>,
    ) -> Result<Applied, Unapplied> {
        let mut applied = match applied {
            Err(Unapplied::Other(Trouble::Unreachable(_))) => Applied::default(),
            other => other?,
        };
        if let Some(output) = applied.output.take().filter(|output| output.status != 0) {
            let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let why = format!("Reboot command failed. Error was: '{}, {}'", said.trim(), error.trim());
            return Err(Trouble::failed(why).into());
        }
        let start = Instant::now();
        tokio::time::sleep(absence.delay).await;
        for (what, command, is_back) in [
            ("last boot time check", &absence.boot, (|said, before| said != before) as fn(&str, &str) -> bool),
            ("post-reboot test command", &absence.test, |_, _| true),
        ] {
            let until = Instant::now() + absence.timeout;
            loop {
                if let Ok(machine) = self.machine().await
                    && let Ok(Some(said)) = self.answer(&machine, command).await
                    && is_back(&said, before)
                {
                    break;
                }
                if Instant::now() >= until {
                    let why = format!("Timed out waiting for {what} (timeout={})", absence.timeout.as_secs());
                    return Err(Trouble::failed(why).into());
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        }
        self.batch.run.connections.clock().tick();
        applied.report.insert("elapsed".into(), json!(start.elapsed().as_secs()));
        Ok(applied)
    }

    /// Returns what a command prints that succeeds soon.
    async fn answer(&self, machine: &Machine, command: &Command) -> Result<Option<String>, TransportError> {
        match tokio::time::timeout(ANSWER, machine.transport.machine().probe(command)).await {
            Ok(output) => Ok(Some(output?).filter(|output| output.status == 0).map(|output| output.text())),
            Err(_) => Ok(None),
        }
    }
}
