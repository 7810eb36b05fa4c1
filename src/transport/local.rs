//! This machine as a host: its own `sh`, no network.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::name::{from_local, to_local};
use super::posix::{Carrier, Channel, Ending, Posix};
use super::{Address, Become, Stream, Transport, TransportError, no_answer};

/// Starts programs on this machine, below a shell of the caller's choice.
#[derive(Clone, Debug)]
pub struct Local {
    /// The shell and its first words; the line to run is the last argument.
    shell: Vec<String>,
    /// Where commands start that do not say; the home directory if `None`.
    base: Option<String>,
}

impl Local {
    /// Uses `/bin/sh`.
    pub fn new() -> Local {
        Local::with_shell(["/bin/sh", "-c"])
    }

    /// Uses another shell in the place of the login shell, such as `busybox sh -c`.
    pub fn with_shell<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Local {
        Local { shell: words.into_iter().map(Into::into).collect(), base: None }
    }

    /// Starts commands in this process's directory, as Ansible does on the controller.
    pub fn from_here(self) -> Local {
        let here = std::env::current_dir().ok().map(|here| from_local(&here));
        Local { base: here, ..self }
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
    fn base(&self) -> Option<String> {
        self.base.clone()
    }

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
        let status = Group { child }.status();
        Ok(Channel { stdin: Box::new(stdin), stdout: Box::new(stdout), stderr: Box::new(stderr), status })
    }

    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError> {
        let failed =
            |why: &dyn std::fmt::Display| TransportError::Refused(format!("no connection to {address}: {why}"));
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let connected = tokio::time::timeout(limit, connecting).await.map_err(|_| failed(&no_answer(limit)))?;
        let connected = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let (read, write) = connected.map_err(|error| failed(&error))?.into_split();
        Ok(tokio::io::join(Box::new(read), Box::new(write)))
    }

    async fn terminal(&self, line: &str) -> Result<Channel, TransportError> {
        let refused = |why: &dyn std::fmt::Display| TransportError::Refused(format!("no terminal is to be had: {why}"));
        let (ours, name) = silent_terminal().map_err(|error| refused(&error))?;
        // The first terminal that the leader of a session opens becomes its own (`tty(4)`).
        let mut command = Command::new("setsid");
        command.args(["/bin/sh", "-c", r#"exec <>"$0" >&0 2>&0 "$@""#, &name]).args(&self.shell).arg(to_local(line));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| refused(&format!("`setsid`: {error}")))?;
        let status = Group { child }.status();
        let output = ours.try_clone().and_then(pipe::Receiver::from_owned_fd_unchecked);
        let input = pipe::Sender::from_owned_fd_unchecked(ours);
        let (input, output) = input.and_then(|input| Ok((input, output?))).map_err(|error| refused(&error))?;
        Ok(Channel { stdin: Box::new(input), stdout: Box::new(output), stderr: Box::new(tokio::io::empty()), status })
    }
}

/// Returns our side of a new terminal and the other side's path. It echoes nothing, and no byte of a line but its end
/// means anything.
fn silent_terminal() -> Result<(OwnedFd, String), rustix::io::Errno> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?.to_string_lossy().into_owned();
    let mut modes = termios::tcgetattr(&ours)?;
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
    for code in [SpecialCodeIndex::VERASE, SpecialCodeIndex::VKILL, SpecialCodeIndex::VEOF] {
        // `_POSIX_VDISABLE`
        modes.special_codes[code] = 0;
    }
    termios::tcsetattr(&ours, OptionalActions::Now, &modes)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, name))
}

/// A process that leads a group of its own; the group is killed if this is dropped before the process has ended.
struct Group {
    child: Child,
}

impl Group {
    fn status(mut self) -> Ending {
        let status = async move {
            let ended = self.child.wait().await.map_err(|error| TransportError::Unreachable(error.to_string()))?;
            use std::os::unix::process::ExitStatusExt as _;
            Ok(ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or_default()))
        };
        status.boxed()
    }
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
