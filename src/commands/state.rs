//! Where Cutover keeps what outlives a run: journals and locks, below the state directory (XDG base directories).

use std::path::PathBuf;

use crate::error::Diagnostic;
use crate::run::journal::Head;
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

pub fn locks() -> Locks {
    Locks::new(directory().join("locks"))
}

/// Returns the state directory.
pub fn directory() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("CUTOVER_STATE_DIR")
        .or_else(|| from("XDG_STATE_HOME").map(|state| state.join("cutover")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/cutover")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/cutover"))
}
