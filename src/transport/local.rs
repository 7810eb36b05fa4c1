//! This machine as a host: its own `sh`, no network.

use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::name::to_local;
use super::posix::{Carrier, Channel, Posix};
use super::{Become, Transport, TransportError};

/// Starts programs on this machine, below a shell of the caller's choice.
#[derive(Clone, Debug)]
pub struct Local {
    /// The shell and its first words; the line to run is the last argument.
    shell: Vec<String>,
}

impl Local {
    /// Uses `/bin/sh`.
    pub fn new() -> Local {
        Local::with_shell(["/bin/sh", "-c"])
    }

    /// Uses another shell in the place of the login shell, such as `busybox sh -c`.
    pub fn with_shell<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Local {
        Local { shell: words.into_iter().map(Into::into).collect() }
    }
}

impl Default for Local {
    fn default() -> Local {
        Local::new()
    }
}

/// Returns this machine as a host, as the user that runs Cutover or as the one to become.
pub async fn local(user: Option<&Become>) -> Result<Arc<dyn Transport>, TransportError> {
    Ok(Arc::new(Posix::start(Arc::new(Local::new()), user).await?))
}

#[async_trait]
impl Carrier for Local {
    async fn start(&self, line: &str) -> Result<Channel, TransportError> {
        let mut command = Command::new(&self.shell[0]);
        command.args(&self.shell[1..]).arg(to_local(line)).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let refused = |why: String| TransportError::Unreachable(format!("cannot start `{}`: {why}", self.shell[0]));
        let mut child = command.spawn().map_err(|error| refused(error.to_string()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(refused("it has no standard streams".into()));
        };
        let mut group = Group { child };
        let status = async move {
            let ended = group.child.wait().await.map_err(|error| TransportError::Unreachable(error.to_string()))?;
            use std::os::unix::process::ExitStatusExt as _;
            Ok(ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or_default()))
        };
        Ok(Channel {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            status: status.boxed(),
        })
    }
}

/// A process that leads a group of its own; the group is killed if this is dropped before the process has ended.
struct Group {
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is nothing once the child has been waited for, so a number used anew is never hit.
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(pid) = pid {
            // The group may have ended by itself just now.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
