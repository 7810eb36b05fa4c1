//! The lock of a host, kept on it by the shells that change it: `lock.sh` has the rules.

use std::sync::Arc;

use super::launch::nonce;
use crate::transport::command::quote;
use crate::transport::name::shown;
use crate::transport::{Output, TransportError};

/// The shell functions that take the lock.
pub const FUNCTIONS: &str = include_str!("lock.sh");

/// A run, as its locks name it.
#[derive(Clone, Debug)]
pub struct Lock {
    /// The same on all shells of the run, and of no other.
    token: String,
    /// For people: which run of whom, and since when.
    text: String,
    /// Where to keep it on hosts that have this directory.
    directory: String,
}

/// What to do with the locks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Respect,
    Remove,
}

impl Lock {
    /// `text` is one line that says whose it is; `directory` is empty where none is preferred.
    pub fn new(text: &str, directory: &str) -> Lock {
        Lock { token: nonce(), text: text.replace(['\n', '\0'], " "), directory: directory.into() }
    }
}

/// The lock of one shell.
pub struct Guard {
    lock: Arc<Lock>,
    name: String,
    /// What is printed instead of running a script, where another has the host.
    refusal: String,
}

impl Guard {
    pub fn new(lock: Arc<Lock>) -> Guard {
        Guard { lock, name: nonce(), refusal: nonce() }
    }

    /// Returns a script of a long-lived shell that runs `script`, a compound command, with the lock only.
    pub fn before(&self, script: &str, others: Others) -> String {
        let Lock { token, text, directory } = &*self.lock;
        let steal = if others == Others::Remove { "1" } else { "" };
        let words = [&self.refusal, directory, &self.name, token, text, steal].map(quote);
        // A shell whose reader is gone would end without its last trap.
        format!(
            "if k_hold {} </dev/null; then\ntrap 'rm -f \"$k_mine\"' 0; trap 'exit 1' PIPE\n{script}\nelse (exit 1); fi",
            words.join(" ")
        )
    }

    /// Returns the answer of such a script, or who has the host.
    pub fn judge(&self, output: Output) -> Result<Output, TransportError> {
        let Some(said) = output.stdout.strip_prefix(self.refusal.as_bytes()) else {
            return Ok(output);
        };
        let said = String::from_utf8_lossy(said);
        Err(match said.trim() {
            "lost" => TransportError::Held("the lock of this host was taken from this run".into()),
            "nowhere" => TransportError::Refused(
                "the host cannot be locked: no directory there is open to everyone\nhint: name one in `CUTOVER_LOCK_DIR`"
                    .into(),
            ),
            said => TransportError::Held(said.lines().map(holder).collect::<Vec<_>>().join("\n")),
        })
    }

    /// Returns what removes the lock of a shell that was killed.
    pub fn removal(&self) -> String {
        let directories = [&self.lock.directory, "/run/lock", "/var/lock", "/tmp"];
        let links = directories.map(|directory| quote(&format!("{directory}/.cutover.lock.{}", self.name)));
        format!("rm -f {}", links.join(" "))
    }
}

/// Reads one line of who has the host: the link's owner, the token, the process, when it began, and the run's own text.
fn holder(line: &str) -> String {
    let mut words = line.splitn(5, ' ');
    let (owner, _, process, _, text) = (words.next(), words.next(), words.next(), words.next(), words.next());
    let [owner, process, text] = [owner, process, text].map(|word| shown(word.unwrap_or("?")).into_owned());
    format!("{text}; its shell there is process {process} of `{owner}`")
}
