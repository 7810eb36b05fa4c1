//! One long-lived `sh`: scripts go in without waiting, answers come out in the same order.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::launch::{Session, Task, nonce};
use super::lock::{Guard, Others};
use super::{Channel, Ending, uncertain};
use crate::transport::command::{KEPT, Kept};
use crate::transport::name::to_bytes;
use crate::transport::{Output, TransportError};

pub struct Shell {
    requests: mpsc::UnboundedSender<Request>,
    marker: String,
    state: Arc<State>,
    pub pid: u32,
    /// The shell reads nothing but UTF-8.
    pub only_utf8: bool,
    /// What keeps changes from being made without the host's lock.
    pub guard: OnceLock<Guard>,
}

struct Request {
    script: String,
    /// How many bytes of each stream are kept.
    keep: usize,
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
    /// Nobody waits for the answers any more.
    abandoned: AtomicBool,
    /// The shell has ended.
    gone: AtomicBool,
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
        let shell = Shell { requests, marker, state, pid: started.pid, only_utf8: false, guard: OnceLock::new() };
        let output = first.await.map_err(|_| shell.lost())?;
        Ok((shell, output))
    }

    /// Runs a script in a subshell, with nothing on its stdin. The script must be well-formed.
    pub async fn ask(&self, script: &str, effect: Effect) -> Result<Output, TransportError> {
        self.ask_for(script, effect, usize::MAX).await
    }

    /// The same, and of each stream `keep` bytes are kept.
    pub async fn ask_for(&self, script: &str, effect: Effect, keep: usize) -> Result<Output, TransportError> {
        if self.only_utf8 && matches!(to_bytes(script), Cow::Owned(_)) {
            let why = "the host's `sh` reads only UTF-8, and a name here is not: another shell as `/bin/sh` can do it";
            return Err(TransportError::Refused(why.into()));
        }
        // Subshell: nothing that a script does changes the next one. Its stdin: not ours, or it would eat the next one.
        let script = format!("(\n{script}\n) </dev/null");
        match self.guard.get().filter(|_| effect == Effect::Changes) {
            Some(guard) => guard.judge(self.tell(&guard.before(&script, Others::Respect), effect, keep).await?),
            None => self.tell(&script, effect, keep).await,
        }
    }

    /// Takes the host's lock, where there is a guard.
    pub async fn hold(&self, others: Others) -> Result<(), TransportError> {
        let Some(guard) = self.guard.get() else { return Ok(()) };
        guard.judge(self.tell(&guard.before(":", others), Effect::Reads, KEPT).await?).map(drop)
    }

    /// Returns a script that does what this shell does at its end.
    pub fn removal(&self) -> String {
        self.guard.get().map(Guard::removal).unwrap_or_default()
    }

    /// Runs a script in the shell itself, which it must leave as it was.
    async fn tell(&self, script: &str, effect: Effect, keep: usize) -> Result<Output, TransportError> {
        if self.is_lost() {
            return Err(self.lost());
        }
        let (answer, output) = oneshot::channel();
        let script = format!("{script}\n{}", end_of_answer(&self.marker));
        self.state.waiting.fetch_add(1, Ordering::SeqCst);
        let number = self.state.asked.fetch_add(1, Ordering::SeqCst) + 1;
        if self.requests.send(Request { script, keep, answer }).is_err() {
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
        // It counts by itself: what was asked on other ways before it is older too.
        let number = self.state.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.state.changed.send_replace(number);
    }

    /// Says whether a script runs.
    pub fn is_busy(&self) -> bool {
        self.state.waiting.load(Ordering::SeqCst) > 0 && !self.is_lost()
    }

    /// Says whether the shell has ended.
    pub fn is_lost(&self) -> bool {
        self.state.gone.load(Ordering::SeqCst)
    }

    /// Says, once, whether a script runs that has to be ended because nobody waits for its answer any more.
    pub fn abandon(&self) -> bool {
        self.is_busy() && !self.state.abandoned.swap(true, Ordering::SeqCst)
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
    let mut status = End { status: Some(status), state: state.clone() };
    // Each stream has a task that always reads: one that is not read stops the shell, and over SSH the whole connection.
    let (answers, mut outputs) = mpsc::unbounded_channel();
    let (keep_output, keeps) = mpsc::unbounded_channel();
    tokio::spawn(Frames::new(marker.clone(), keeps).cut(stdout, answers));
    let (answers, mut errors) = mpsc::unbounded_channel();
    let (keep_errors, keeps) = mpsc::unbounded_channel();
    let leftover = tokio::spawn(Frames::new(marker, keeps).cut(stderr, answers));
    let (sent, mut waiting) = mpsc::unbounded_channel();
    let expect = move |answer, keep| {
        let _ = (keep_output.send(keep), keep_errors.send(keep));
        let _ = sent.send(answer);
    };
    expect(first, usize::MAX);
    let writer = tokio::spawn(async move {
        let mut burst = Vec::new();
        while let Some(request) = queue.recv().await {
            burst.clear();
            let mut next = Some(request);
            while let Some(request) = next {
                // Before the write, which hangs when the shell dies: the answer's end is what tells.
                expect(request.answer, request.keep);
                burst.extend_from_slice(&to_bytes(&request.script));
                next = if burst.len() < BURST { queue.try_recv().ok() } else { None };
            }
            if stdin.write_all(&burst).await.is_err() || stdin.flush().await.is_err() {
                break;
            }
        }
    });
    let mut alive = true;
    let mut unanswered = Vec::new();
    loop {
        let answer = tokio::select! {
            biased;
            answer = waiting.recv() => match answer {
                Some(answer) => answer,
                None => break,
            },
            // Nothing was asked: it has ended by itself.
            _ = outputs.recv() => {
                alive = false;
                break;
            }
        };
        let (Some((stdout, status)), Some((stderr, _))) = tokio::join!(outputs.recv(), errors.recv()) else {
            unanswered.push(answer);
            alive = false;
            break;
        };
        state.waiting.fetch_sub(1, Ordering::SeqCst);
        let _ = answer.send(Output::new(status, stdout, stderr));
    }
    if !alive {
        state.gone.store(true, Ordering::SeqCst);
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

/// Cuts a stream into answers.
struct Frames {
    marker: Vec<u8>,
    /// How much is kept of each answer to come.
    keeps: mpsc::UnboundedReceiver<usize>,
    /// What has come of the answer at hand, and how many bytes were taken out of it.
    seen: Vec<u8>,
    dropped: u64,
    searched: usize,
}

impl Frames {
    fn new(marker: Vec<u8>, keeps: mpsc::UnboundedReceiver<usize>) -> Frames {
        Frames { marker, keeps, seen: Vec::new(), dropped: 0, searched: 0 }
    }

    /// Reads to the stream's end; returns what came after the last answer.
    async fn cut(
        mut self,
        mut stream: Box<dyn AsyncRead + Send + Unpin>,
        answers: mpsc::UnboundedSender<(Kept, i32)>,
    ) -> Vec<u8> {
        // How much is kept of the answer at hand, once that is known: it is told before the script is sent.
        let mut keep = None;
        loop {
            while let Some((mut answer, status)) = self.next() {
                let most = keep.take().or_else(|| self.keeps.try_recv().ok()).unwrap_or(KEPT);
                let more = answer.bytes.len().saturating_sub(most);
                answer.bytes.truncate(most);
                answer.dropped += more as u64;
                let _ = answers.send((answer, status));
            }
            if self.seen.len() > KEPT {
                keep = keep.or_else(|| self.keeps.try_recv().ok());
                self.thin_out(keep.unwrap_or(KEPT));
            }
            self.searched = self.seen.len().saturating_sub(self.marker.len() + 16).max(self.searched);
            self.seen.reserve(64 * 1024);
            match stream.read_buf(&mut self.seen).await {
                Ok(length) if length > 0 => {}
                _ => return self.seen,
            }
        }
    }

    /// Takes out an answer that is whole.
    fn next(&mut self) -> Option<(Kept, i32)> {
        let at = self.searched + memchr::memmem::find(&self.seen[self.searched..], &self.marker)?;
        let number = at + self.marker.len();
        let length = self.seen[number..].iter().position(|byte| *byte == b'\n')?;
        let status = status_of(&String::from_utf8_lossy(&self.seen[number..number + length]));
        let rest = self.seen.split_off(number + length + 1);
        self.seen.truncate(at);
        self.searched = 0;
        let bytes = std::mem::replace(&mut self.seen, rest);
        Some((Kept { bytes, dropped: std::mem::take(&mut self.dropped) }, status))
    }

    /// Takes out what is not kept of a long answer, up to what may be a part of its end.
    fn thin_out(&mut self, keep: usize) {
        let tail = self.seen.len().saturating_sub(self.marker.len() + 16);
        if tail > keep {
            self.seen.drain(keep..tail);
            self.dropped += (tail - keep) as u64;
            self.searched = 0;
        }
    }
}

/// Reads a `$?`. For a killed program ksh93 has 256 + the signal, and yash 384 + it.
fn status_of(text: &str) -> i32 {
    match text.parse() {
        Ok(status @ 256..) => 128 + (status & 127),
        Ok(status) => status,
        Err(_) => -1,
    }
}

/// The shell's end. An idle shell is left to end by itself when its stdin closes, even if the runtime goes first:
/// to drop its status would kill its process group, and with it the services that commands have started there.
struct End {
    status: Option<Ending>,
    state: Arc<State>,
}

impl End {
    async fn wait(&mut self) -> Result<i32, TransportError> {
        let Some(status) = &mut self.status else { return Ok(0) };
        let ended = status.await;
        self.status = None;
        ended
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.state.waiting.load(Ordering::SeqCst) == 0 {
            std::mem::forget(self.status.take());
        }
    }
}
