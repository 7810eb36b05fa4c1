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
        Command { program, directory: None, environment: Vec::new(), stdin: Vec::new(), timeout: None }
    }
}

/// What a finished command left. Bytes, because a host may print anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
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

/// The user that tasks run as, and how to become it (`sudo.8`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Become {
    pub method: String,
    pub user: String,
    /// Sent on stdin only.
    pub password: Option<Secret>,
    pub flags: Option<String>,
    pub exe: Option<String>,
}

/// Quotes a word for POSIX `sh`, in the form Python's `shlex.quote` prints.
pub fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}
