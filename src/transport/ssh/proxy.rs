//! A proxy command: a process of the controller whose standard streams carry a connection (`ProxyCommand`).

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

/// How much of its stderr is kept: the end.
const KEPT: usize = 4096;

/// A running proxy command. It and its children are killed when this is dropped: with the connection.
pub struct Proxy {
    child: Child,
    words: Words,
}

/// What a proxy command said on stderr, for errors.
#[derive(Clone)]
pub struct Words {
    text: Arc<Mutex<Vec<u8>>>,
    ended: watch::Receiver<bool>,
}

impl Proxy {
    /// Starts `line` with `/bin/sh`; `exec` as `ssh` does, so that no shell stays between.
    pub fn start(line: &str) -> io::Result<Proxy> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("exec {line}")).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take();
        let (over, ended) = watch::channel(false);
        let words = Words { text: Arc::default(), ended };
        let kept = words.text.clone();
        // It is read to its end, so that the command never waits for room.
        tokio::spawn(async move {
            let mut buffer = [0; KEPT];
            let mut stderr = stderr;
            while let Some(Ok(length @ 1..)) = read(&mut stderr, &mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..length]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
            let _ = over.send(true);
        });
        Ok(Proxy { child, words })
    }

    pub fn words(&self) -> Words {
        self.words.clone()
    }

    pub fn streams(&mut self) -> io::Result<(ChildStdin, ChildStdout)> {
        let streams = self.child.stdin.take().zip(self.child.stdout.take());
        streams.ok_or_else(|| io::Error::other("the proxy command has no standard streams"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // `id` is nothing once the child has been waited for, so a number used anew is never hit.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            // The group may have ended by itself just now.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Words {
    /// Returns what it said, for an error text. A command that has just ended has its last words waited for.
    pub async fn last(&mut self) -> Option<String> {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.ended.wait_for(|ended| *ended)).await;
        self.so_far()
    }

    pub fn so_far(&self) -> Option<String> {
        let kept = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept).trim().to_string();
        (!text.is_empty()).then_some(text)
    }
}

async fn read(stderr: &mut Option<tokio::process::ChildStderr>, buffer: &mut [u8]) -> Option<io::Result<usize>> {
    match stderr {
        Some(stderr) => Some(stderr.read(buffer).await),
        None => None,
    }
}
