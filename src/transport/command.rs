//! A command to run on a machine, what it printed, and as whom it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    pub program: Program,
    /// The working directory; the home directory if `None`.
    pub directory: Option<String>,
    /// Added to the session's environment, in order.
    pub environment: Vec<(String, String)>,
    /// Empty means `/dev/null`.
    #[serde(default)]
    pub stdin: Vec<u8>,
    pub timeout: Option<Duration>,
    /// It goes on by itself, behind the connection, for at most this long. Its output is one line, the path of the file that says
    /// how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Program {
    /// Executed as it is; no shell reads it.
    Argv(Vec<String>),
    /// Read by a shell: `/bin/sh`, or the one named.
    Shell { script: String, shell: Option<String> },
    /// The whole text as the login shell gets it, nothing around it (`raw`).
    Raw(String),
}

impl Command {
    pub fn argv<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Command {
        Command::new(Program::Argv(words.into_iter().map(Into::into).collect()))
    }

    pub fn shell(script: impl Into<String>) -> Command {
        Command::new(Program::Shell { script: script.into(), shell: None })
    }

    pub fn new(program: Program) -> Command {
        Command { program, directory: None, environment: Vec::new(), stdin: Vec::new(), timeout: None, detached: None }
    }

    /// Returns the command as a person would type it.
    pub fn line(&self) -> String {
        match &self.program {
            Program::Argv(words) => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
            Program::Shell { script, .. } => script.clone(),
            Program::Raw(text) => text.clone(),
        }
    }
}

/// What a finished command left. Bytes, because a host may print anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// How many more bytes came on stdout and on stderr than were kept.
    #[serde(default)]
    pub dropped: (u64, u64),
}

/// The most bytes of each stream of a command that are kept: what is printed without end must not take all memory.
pub const KEPT: usize = 16 * 1024 * 1024;

/// The beginning of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Vec<u8>,
    /// How many bytes came after it.
    pub dropped: u64,
}

impl Kept {
    /// Takes in what comes next; of the whole stream, `keep` bytes are kept.
    pub fn add(&mut self, bytes: &[u8], keep: usize) {
        let room = keep.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.dropped += (bytes.len() - room) as u64;
    }

    /// How many bytes have come.
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64 + self.dropped
    }
}

impl Output {
    pub fn new(status: i32, stdout: Kept, stderr: Kept) -> Output {
        let dropped = (stdout.dropped, stderr.dropped);
        Output { status, stdout: stdout.bytes, stderr: stderr.bytes, dropped }
    }

    pub fn success(&self) -> bool {
        self.status == 0
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// The user that tasks run as, and how to become it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Become {
    /// `sudo`, `su` or `doas`.
    pub method: String,
    pub user: String,
    /// Sent only where it is asked for, on stdin or a terminal that does not echo.
    pub password: Option<Secret>,
    pub flags: Option<String>,
    pub exe: Option<String>,
    /// What the method asks for the password with, in the host's language; empty: what is known of it decides.
    pub prompts: Vec<String>,
}

/// Quotes a word for POSIX `sh`, in the form Python's `shlex.quote` prints.
pub fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}
