//! Commands: in the long-lived shell, or on a channel of their own with a time limit and open streams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

use super::launch::{Session, Started, Task, nonce};
use super::stop::{self, Counted, Doomed};
use super::tools::Tools;
use super::{Channel, detach};
use crate::transport::command::{KEPT, Kept, quote};
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
    let home = if command.detached.is_some() { detach::HOME } else { "" };
    let mut script = home.to_string();
    script += &match &command.directory {
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
    script += &match command.detached {
        Some(limit) => detach::script(limit, &words.join(" ")),
        None => format!("exec {}", words.join(" ")),
    };
    if script.contains('\0') {
        return Err(TransportError::Refused("a command, its directory and environment cannot hold a NUL".into()));
    }
    Ok(script)
}

/// A program on a channel of its own: its streams, and the task that waits for its end.
struct Apart {
    stdin: DuplexStream,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    pid: Option<u32>,
    end: Running<Result<(i32, Kept), TransportError>>,
}

impl Apart {
    fn into_process(self) -> Process {
        let end = async move {
            let ended = self.end.join().await.unwrap_or_else(|why| Err(TransportError::Unreachable(why)));
            ended.map(|(status, errors)| (status, errors.bytes))
        };
        Process { stdin: Box::new(self.stdin), stdout: self.stdout, end: end.boxed() }
    }
}

/// Starts a command on a channel of its own. The command's `stdin` is left to the caller.
pub async fn open(session: &Arc<Session>, command: &Command) -> Result<Process, TransportError> {
    let apart = match raw(session, command).await? {
        Some(apart) => apart,
        None => launch(session, Way::Stream, body(command, None)?).await?,
    };
    Ok(apart.into_process())
}

/// Starts what the login shell is to read by itself, and nothing else.
async fn raw(session: &Arc<Session>, command: &Command) -> Result<Option<Apart>, TransportError> {
    match &command.program {
        Program::Raw(line) if session.is_login() && command.detached.is_none() => {
            let counted = session.programs.add();
            let channel = session.raw(line).await?;
            Ok(Some(apart(session, (channel, None), counted)))
        }
        _ => Ok(None),
    }
}

/// Starts a script of ours on a channel of its own; what is written to the process is the script's stdin.
pub async fn receive(session: &Arc<Session>, script: String) -> Result<Process, TransportError> {
    Ok(launch(session, Way::Script, script).await?.into_process())
}

#[derive(Clone, Copy)]
enum Way {
    Script,
    Stream,
}

async fn launch(session: &Arc<Session>, way: Way, script: String) -> Result<Apart, TransportError> {
    let session = session.clone();
    let counted = session.programs.add();
    // A task of its own: what was sent runs, and has to be ended, even if nobody waits for its start any more.
    let starting = tokio::spawn(async move {
        let task = match way {
            Way::Script => Task::Script(&script),
            Way::Stream => Task::Stream(&script),
        };
        let Started { channel, pid } = session.launch(task).await?;
        Ok(apart(&session, (channel, Some(pid)), counted))
    });
    starting.await.unwrap_or_else(|why| Err(TransportError::Unreachable(why.to_string())))
}

/// Runs a command on a channel of its own, to its end or its time limit; `keep` bytes of its output are kept.
pub async fn run_apart(session: &Arc<Session>, command: &Command, keep: usize) -> Result<Output, TransportError> {
    let refusal = nonce();
    let started = match raw(session, command).await? {
        Some(started) => started,
        None => launch(session, Way::Script, body(command, Some(&refusal))?).await?,
    };
    let Apart { mut stdin, stdout, pid, end } = started;
    let input = command.stdin.clone();
    // The command may end without having read it all.
    let feeder = Running::new(async move {
        if stdin.write_all(&input).await.is_ok() {
            let _ = stdin.shutdown().await;
        }
    });
    let drain = Drain::new(stdout, keep);
    let mut end = std::pin::pin!(end.join());
    let ended = match command.timeout {
        None => end.await,
        Some(limit) => match tokio::time::timeout(limit, end.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => return Err(out_of_time(session, pid, limit).await),
        },
    };
    drop(feeder);
    let ended = ended.unwrap_or_else(|why| Err(TransportError::Unreachable(why)));
    let (status, stderr) = ended?;
    let stdout = drain.finish().await;
    match stdout.bytes == refusal.as_bytes() {
        true => Err(refused(command)),
        false => Ok(Output::new(status, stdout, stderr)),
    }
}

/// Ends a command that has passed its limit; returns what is to be said of it.
async fn out_of_time(session: &Session, pid: Option<u32>, limit: Duration) -> TransportError {
    let Some(pid) = pid else {
        // What runs it is the login shell's affair.
        let message = format!("no end after {limit:?}; `raw` cannot be stopped and may still run on the host");
        return TransportError::Refused(message);
    };
    match session.stop(Doomed::Group(pid)).await {
        Ok(left) if left.is_empty() => TransportError::TimedOut(limit),
        Ok(left) => {
            TransportError::Refused(format!("no end after {limit:?}; {} cannot be stopped", super::processes(&left)))
        }
        Err(error) => error,
    }
}

fn apart(session: &Arc<Session>, (channel, pid): (Channel, Option<u32>), counted: Counted) -> Apart {
    let Channel { stdin: mut remote, stdout, stderr, status } = channel;
    let mut program = stop::Program::new(session.clone(), pid, (status, counted));
    let (stdin, mut pipe) = tokio::io::duplex(SMALL);
    let pump = Running::new(async move {
        if tokio::io::copy(&mut pipe, &mut remote).await.is_ok() {
            let _ = remote.shutdown().await;
        }
    });
    let errors = Drain::new(stderr, KEPT);
    let end = Running::new(async move {
        let status = program.wait().await;
        // A program that has ended reads no more, and its channel may never say so to a writer.
        drop(pump);
        let errors = errors.finish().await;
        Ok((status?, errors))
    });
    Apart { stdin, stdout, pid, end }
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
    seen: Arc<Mutex<Kept>>,
    reader: Running<()>,
}

impl Drain {
    /// Keeps the first `keep` bytes.
    fn new(mut stream: Box<dyn AsyncRead + Send + Unpin>, keep: usize) -> Drain {
        let seen = Arc::<Mutex<Kept>>::default();
        let sink = seen.clone();
        let reader = Running::new(async move {
            let mut chunk = vec![0; SMALL];
            while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                locked(&sink).add(&chunk[..length], keep);
            }
        });
        Drain { seen, reader }
    }

    /// Returns what it was, once the program has ended. A service that it left running may hold the stream open for
    /// ever: a stream that says nothing for a while has ended too.
    async fn finish(mut self) -> Kept {
        let length = |seen: &Mutex<Kept>| locked(seen).length();
        let mut before = None;
        while before != Some(length(&self.seen)) {
            before = Some(length(&self.seen));
            if tokio::time::timeout(IDLE, &mut self.reader.0).await.is_ok() {
                break;
            }
        }
        std::mem::take(&mut *locked(&self.seen))
    }
}

fn locked(seen: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
