//! Where Cutover keeps what outlives a run: journals and locks, below the state directory (XDG base directories).

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Diagnostic;
use crate::run::journal::Head;
use crate::run::locks::Rules;
use crate::run::{Journal, Locks, Mode};
use crate::secret::Secret;

/// Starts the journal of a run that changes things; a check has one only if a task of it does.
/// Hidden content is in it only with a vault password.
pub fn journal(head: Head, mode: Mode, vault: Option<Secret>) -> Result<Journal, Diagnostic> {
    let directory = runs();
    if mode == Mode::Check {
        return Ok(Journal::when_needed(&directory, head).sealed_with(vault));
    }
    Journal::start(&directory, head).map(|journal| journal.sealed_with(vault)).map_err(|error| {
        Diagnostic::new(format!("the journal cannot be written in `{}`: {error}", directory.display()))
            .hint("set `CUTOVER_STATE_DIR` to a directory that you can write")
    })
}

/// Returns the error for a journal that has begun and cannot be gone on with.
pub fn unwritable(error: std::io::Error) -> Diagnostic {
    Diagnostic::new(format!("the journal cannot be written: {error}"))
}

/// Where the journals are.
pub fn runs() -> PathBuf {
    directory().join("runs")
}

/// Returns a path, or a list of hosts with a comma in it, so that it means the same in another directory.
pub fn absolute(source: &str) -> String {
    match source.contains(',') {
        true => source.into(),
        false => std::path::absolute(source).map_or(source.into(), |path| path.display().to_string()),
    }
}

/// Returns the locks of a run; those of hosts are where `CUTOVER_LOCK_DIR` says, on hosts that have this directory.
pub fn locks(run: &Journal, rules: Rules) -> Locks {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("user {}", rustix::process::getuid().as_raw()));
    let there = std::env::var("CUTOVER_LOCK_DIR").unwrap_or_default();
    Locks::new((directory().join("locks"), &there), &format!("run {} of {user} on {node}", run.id()), rules)
}

/// What to do where another run is changing a host.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Locking {
    /// Wait so long for another run that is changing a host
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait_lock: u64,
    /// Change hosts that another run has locked; it stops before its next change
    #[arg(long)]
    pub steal_lock: bool,
}

impl Locking {
    pub fn rules(self) -> Rules {
        Rules { wait: Duration::from_secs(self.wait_lock.min(1_000_000_000)), steal: self.steal_lock }
    }
}

/// Returns the state directory.
pub fn directory() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("CUTOVER_STATE_DIR")
        .or_else(|| from("XDG_STATE_HOME").map(|state| state.join("cutover")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/cutover")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/cutover"))
}
