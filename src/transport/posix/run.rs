//! Commands: in the long-lived shell, or on a channel of their own with a time limit and open streams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::Channel;
use super::launch::{Session, Started, Task, nonce};
use super::tools::Tools;
use super::uncertain;
use crate::transport::command::quote;
use crate::transport::{Command, Output, Process, Program, TransportError};

/// The most bytes that go through the long-lived shell at once; more take a channel of their own.
pub const SMALL: usize = 64 * 1024;

/// How long an ended program's stream may be silent before it counts as ended too.
const IDLE: Duration = Duration::from_secs(2);

/// Returns the script of a command for the long-lived shell, and what it prints instead of running where its
/// directory cannot be entered.
pub fn script(command: &Command, tools: &Tools) -> Result<(String, String), TransportError> {
    let refusal = nonce();
    let body = body(command, Some(&refusal))?;
    let script = match command.stdin.is_empty() {
        true => body,
        false => format!("{} | (\n{body}\n)", tools.print(&command.stdin)),
    };
    Ok((script, refusal))
}

/// Returns the error for a command whose directory could not be entered.
pub fn refused(command: &Command) -> TransportError {
    TransportError::Refused(format!("cannot enter the directory `{}`", command.directory.as_deref().unwrap_or("~")))
}

/// A directory that cannot be entered ends the script with `refusal` on stdout, or else with the shell's message.
fn body(command: &Command, refusal: Option<&str>) -> Result<String, TransportError> {
    let mut script = match &command.directory {
        Some(directory) => {
            let directory = if directory.starts_with('-') { format!("./{directory}") } else { directory.clone() };
            let refusal = match refusal {
                Some(refusal) => format!("2>/dev/null || {{ printf %s {refusal}; exit 1; }}"),
                None => "|| exit 1".into(),
            };
            format!("cd \"${{HOME:-/}}\" 2>/dev/null; cd {} {refusal}\n", quote(&directory))
        }
        None => "cd \"${HOME:-/}\" 2>/dev/null\n".into(),
    };
    for (name, value) in &command.environment {
        let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !word {
            return Err(TransportError::Refused(format!("`{name}` cannot name an environment variable")));
        }
        script += &format!("{name}={}; export {name}\n", quote(value));
    }
    let words = match &command.program {
        Program::Argv(words) if words.is_empty() => return Err(TransportError::Refused("there is no command".into())),
        Program::Argv(words) => words.clone(),
        Program::Shell { script, shell } => {
            vec![shell.clone().unwrap_or_else(|| "/bin/sh".into()), "-c".into(), script.clone()]
        }
        Program::Raw(text) => vec!["/bin/sh".into(), "-c".into(), text.clone()],
    };
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    script += &format!("exec {}", words.join(" "));
    if script.contains('\0') {
        return Err(TransportError::Refused("a command, its directory and environment cannot hold a NUL".into()));
    }
    Ok(script)
}

/// A process and, where it is known, the number of its process group.
pub struct Apart {
    pub process: Process,
    pid: Option<u32>,
}

/// Starts a command on a channel of its own. The command's `stdin` is left to the caller.
pub async fn open(session: &Arc<Session>, command: &Command) -> Result<Apart, TransportError> {
    start(session, command, None).await
}

async fn start(session: &Arc<Session>, command: &Command, refusal: Option<&str>) -> Result<Apart, TransportError> {
    if let (Program::Raw(line), true) = (&command.program, session.is_login()) {
        return Ok(Apart { process: process(session.raw(line).await?, None), pid: None });
    }
    receive(session, &body(command, refusal)?).await
}

/// Starts a script of ours on a channel of its own; what is written to the process is the script's stdin.
pub async fn receive(session: &Arc<Session>, script: &str) -> Result<Apart, TransportError> {
    let Started { channel, pid } = session.launch(Task::Script(script)).await?;
    let guard = Guard { session: session.clone(), pid: Some(pid) };
    Ok(Apart { process: process(channel, Some(guard)), pid: Some(pid) })
}

/// Runs a command on a channel of its own, to its end or its time limit.
pub async fn run_apart(session: &Arc<Session>, command: &Command) -> Result<Output, TransportError> {
    let refusal = nonce();
    let Apart { process: Process { mut stdin, stdout, mut end }, pid } =
        start(session, command, Some(&refusal)).await?;
    let input = command.stdin.clone();
    // The command may end without having read it all.
    let feeder = Running::new(async move {
        if stdin.write_all(&input).await.is_ok() {
            let _ = stdin.shutdown().await;
        }
    });
    let drain = Drain::new(stdout);
    let ended = match command.timeout {
        None => end.as_mut().await,
        Some(limit) => match tokio::time::timeout(limit, end.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                if let Some(pid) = pid {
                    session.kill(pid).await?;
                    let _ = tokio::time::timeout(IDLE, end).await;
                }
                return Err(TransportError::TimedOut(limit));
            }
        },
    };
    drop(feeder);
    let (status, stderr) = ended.map_err(uncertain)?;
    let stdout = drain.finish().await;
    match stdout == refusal.as_bytes() {
        true => Err(refused(command)),
        false => Ok(Output { status, stdout, stderr }),
    }
}

fn process(channel: Channel, mut guard: Option<Guard>) -> Process {
    let Channel { stdin: mut remote, stdout, stderr, status } = channel;
    let (stdin, mut pipe) = tokio::io::duplex(SMALL);
    let pump = Running::new(async move {
        if tokio::io::copy(&mut pipe, &mut remote).await.is_ok() {
            let _ = remote.shutdown().await;
        }
    });
    let errors = Drain::new(stderr);
    let supervisor = Running::new(async move {
        let status = status.await;
        if let Some(guard) = &mut guard {
            guard.pid = None;
        }
        // A program that has ended reads no more, and its channel may never say so to a writer.
        drop(pump);
        let errors = errors.finish().await;
        Ok((status?, errors))
    });
    let end = async move { supervisor.join().await.unwrap_or_else(|why| Err(TransportError::Unreachable(why))) };
    Process { stdin: Box::new(stdin), stdout, end: end.boxed() }
}

/// Kills the process group of a program that nobody waits for any more.
struct Guard {
    session: Arc<Session>,
    /// Nothing once the program has ended.
    pid: Option<u32>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some(pid), Ok(runtime)) = (self.pid, runtime) {
            let session = self.session.clone();
            runtime.spawn(async move { session.kill(pid).await });
        }
    }
}

/// A task that ends when it is dropped.
struct Running<T>(JoinHandle<T>);

impl<T: Send + 'static> Running<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Running<T> {
        Running(tokio::spawn(future))
    }

    async fn join(mut self) -> Result<T, String> {
        (&mut self.0).await.map_err(|error| error.to_string())
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A stream that is read as it comes.
struct Drain {
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Running<()>,
}

impl Drain {
    fn new(mut stream: Box<dyn AsyncRead + Send + Unpin>) -> Drain {
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let sink = seen.clone();
        let reader = Running::new(async move {
            let mut chunk = vec![0; SMALL];
            while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                sink.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend_from_slice(&chunk[..length]);
            }
        });
        Drain { seen, reader }
    }

    /// Returns everything, once the program has ended. A service that it left running may hold the stream open for
    /// ever: a stream that says nothing for a while has ended too.
    async fn finish(mut self) -> Vec<u8> {
        let length = |seen: &Mutex<Vec<u8>>| seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len();
        let mut before = None;
        while before != Some(length(&self.seen)) {
            before = Some(length(&self.seen));
            if tokio::time::timeout(IDLE, &mut self.reader.0).await.is_ok() {
                break;
            }
        }
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
