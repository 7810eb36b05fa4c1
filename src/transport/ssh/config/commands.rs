//! The commands of `Match exec`: each is run once in a run.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use super::local::Local;

#[derive(Debug, Default)]
pub struct Commands(Mutex<HashMap<String, bool>>);

impl Commands {
    /// Tells whether a command ends with status 0. It is run by the user's shell, as `ssh` does it: without input, its
    /// output unseen.
    pub fn succeeds(&self, command: &str, local: &Local) -> Result<bool, String> {
        // Held while the command runs, so that no other task runs it too.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(command) {
            return Ok(*known);
        }
        let shell = local.environment.get("SHELL").map_or("/bin/sh", String::as_str);
        // No transport runs it: what it says decides which transport there is.
        #[allow(clippy::disallowed_methods)]
        let mut process = std::process::Command::new(shell);
        process.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let status = process.status().map_err(|error| format!("`{shell}` cannot be started: {error}"))?;
        let code = status.code().ok_or_else(|| format!("`{command}` was ended by a signal"))?;
        known.insert(command.into(), code == 0);
        Ok(code == 0)
    }
}
