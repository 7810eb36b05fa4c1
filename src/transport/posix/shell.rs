//! One long-lived `sh`: scripts go in without waiting, answers come out in the same order.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::launch::{Session, Task, find, nonce};
use super::{Channel, uncertain};
use crate::transport::{Output, TransportError};

pub struct Shell {
    requests: mpsc::UnboundedSender<Request>,
    marker: String,
    state: Arc<State>,
    pub pid: u32,
}

struct Request {
    script: String,
    answer: oneshot::Sender<Output>,
}

/// What is not known when a shell ends during a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Reads,
    /// The host may have been changed.
    Changes,
}

/// What the shell's task and its owner both know.
#[derive(Default)]
struct State {
    /// Requests without an answer.
    waiting: AtomicUsize,
    /// How many scripts were handed in.
    asked: AtomicU64,
    /// That number when the last script that may change the host was.
    changed: watch::Sender<u64>,
    /// Why the shell is gone.
    end: Mutex<Option<String>>,
}

/// The most bytes of scripts that are written at once.
const BURST: usize = 64 * 1024;

impl Shell {
    /// Starts the shell and runs `definitions` in it, in the same exchange; they stay defined.
    pub async fn start(session: &Session, definitions: &str) -> Result<(Shell, Output), TransportError> {
        let marker = nonce();
        let script = format!("cd /\n{definitions}\n{}", end_of_answer(&marker));
        let started = session.launch(Task::Shell(&script)).await?;
        let (requests, queue) = mpsc::unbounded_channel();
        let state = Arc::new(State { waiting: AtomicUsize::new(1), ..State::default() });
        let (answer, first) = oneshot::channel();
        tokio::spawn(serve(started.channel, (queue, answer), format!("\x1e{marker} ").into_bytes(), state.clone()));
        let shell = Shell { requests, marker, state, pid: started.pid };
        let output = first.await.map_err(|_| shell.lost())?;
        Ok((shell, output))
    }

    /// Runs a script in a subshell, with nothing on its stdin. The script must be well-formed.
    pub async fn ask(&self, script: &str, effect: Effect) -> Result<Output, TransportError> {
        let (answer, output) = oneshot::channel();
        // Subshell: nothing that a script does changes the next one. Its stdin: not ours, or it would eat the next one.
        let script = format!("(\n{script}\n) </dev/null\n{}", end_of_answer(&self.marker));
        self.state.waiting.fetch_add(1, Ordering::SeqCst);
        let number = self.state.asked.fetch_add(1, Ordering::SeqCst) + 1;
        if self.requests.send(Request { script, answer }).is_err() {
            return Err(self.lost());
        }
        if effect == Effect::Changes {
            self.state.changed.send_replace(number);
        }
        output.await.map_err(|_| match effect {
            Effect::Reads => self.lost(),
            Effect::Changes => uncertain(self.lost()),
        })
    }

    /// How many scripts have been handed in; they run in this order.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// What [`asked`](Shell::asked) was when the last script that may change the host was handed in. An answer to a
    /// script that came later is true until this number grows.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.state.changed.subscribe()
    }

    /// Notes that the host may have been changed by other ways than this shell.
    pub fn note_change(&self) {
        self.state.changed.send_replace(self.asked());
    }

    /// Says whether a script runs whose answer nobody took.
    pub fn is_busy(&self) -> bool {
        self.state.waiting.load(Ordering::SeqCst) > 0 && !self.requests.is_closed()
    }

    fn lost(&self) -> TransportError {
        let end = self.state.end.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        TransportError::Unreachable(end.unwrap_or_else(|| "the connection ended".into()))
    }
}

/// Both streams say where an answer ends: a record separator, the nonce, the status.
fn end_of_answer(marker: &str) -> String {
    format!(r#"printf '\036%s %s\n' {marker} $?; printf '\036%s 0\n' {marker} >&2"#) + "\n"
}

/// Carries requests and answers until the owner lets go or the shell ends.
async fn serve(
    channel: Channel,
    (mut queue, first): (mpsc::UnboundedReceiver<Request>, oneshot::Sender<Output>),
    marker: Vec<u8>,
    state: Arc<State>,
) {
    let Channel { mut stdin, stdout, stderr, status } = channel;
    let mut status = Ending { status: Some(status), state: state.clone() };
    // Each stream has a task that always reads: one that is not read stops the shell, and over SSH the whole connection.
    let (answers, mut outputs) = mpsc::unbounded_channel();
    tokio::spawn(frames(stdout, marker.clone(), answers));
    let (answers, mut errors) = mpsc::unbounded_channel();
    let leftover = tokio::spawn(frames(stderr, marker, answers));
    let (sent, mut waiting) = mpsc::unbounded_channel();
    let _ = sent.send(first);
    let writer = tokio::spawn(async move {
        let mut burst = Vec::new();
        while let Some(request) = queue.recv().await {
            burst.clear();
            let mut next = Some(request);
            while let Some(request) = next {
                // Before the write, which hangs when the shell dies: the answer's end is what tells.
                let _ = sent.send(request.answer);
                burst.extend_from_slice(request.script.as_bytes());
                next = if burst.len() < BURST { queue.try_recv().ok() } else { None };
            }
            if stdin.write_all(&burst).await.is_err() || stdin.flush().await.is_err() {
                break;
            }
        }
    });
    let mut alive = true;
    let mut unanswered = Vec::new();
    while let Some(answer) = waiting.recv().await {
        let (Some((stdout, status)), Some((stderr, _))) = tokio::join!(outputs.recv(), errors.recv()) else {
            unanswered.push(answer);
            alive = false;
            break;
        };
        state.waiting.fetch_sub(1, Ordering::SeqCst);
        let _ = answer.send(Output { status, stdout, stderr });
    }
    let ended = tokio::time::timeout(Duration::from_secs(2), status.wait()).await;
    if alive {
        return;
    }
    let said = tokio::time::timeout(Duration::from_secs(2), leftover).await;
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    let mut reason = match ended {
        Ok(Ok(status)) => format!("the shell on the host ended with status {status}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the shell on the host ended".into(),
    };
    if !said.is_empty() {
        reason += &format!(": {}", String::from_utf8_lossy(&said).trim());
    }
    *state.end.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(reason);
    // Only now do those who wait learn of it, with the reason. The writer holds the queue: later ones are refused.
    writer.abort();
    drop(unanswered);
}

/// Cuts a stream into answers; returns what came after the last one.
async fn frames(
    mut stream: Box<dyn AsyncRead + Send + Unpin>,
    marker: Vec<u8>,
    answers: mpsc::UnboundedSender<(Vec<u8>, i32)>,
) -> Vec<u8> {
    let mut seen: Vec<u8> = Vec::new();
    let mut searched = 0;
    loop {
        while let Some(at) = find(&seen[searched..], &marker).map(|at| searched + at) {
            let number = at + marker.len();
            let Some(length) = seen[number..].iter().position(|byte| *byte == b'\n') else { break };
            let status = String::from_utf8_lossy(&seen[number..number + length]).parse().unwrap_or(-1);
            let rest = seen.split_off(number + length + 1);
            seen.truncate(at);
            let _ = answers.send((std::mem::replace(&mut seen, rest), status));
            searched = 0;
        }
        // A marker may have come in part.
        searched = searched.max(seen.len().saturating_sub(marker.len() + 16));
        seen.reserve(64 * 1024);
        match stream.read_buf(&mut seen).await {
            Ok(length) if length > 0 => {}
            _ => return seen,
        }
    }
}

/// The shell's end. An idle shell is left to end by itself when its stdin closes, even if the runtime goes first:
/// to drop its status would kill its process group, and with it the services that commands have started there.
struct Ending {
    status: Option<BoxFuture<'static, Result<i32, TransportError>>>,
    state: Arc<State>,
}

impl Ending {
    async fn wait(&mut self) -> Result<i32, TransportError> {
        let Some(status) = &mut self.status else { return Ok(0) };
        let ended = status.await;
        self.status = None;
        ended
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.state.waiting.load(Ordering::SeqCst) == 0 {
            std::mem::forget(self.status.take());
        }
    }
}
