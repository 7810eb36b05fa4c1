//! `~/.ssh/config` and `/etc/ssh/ssh_config`, read as OpenSSH reads them, and what they say of each host.
//!
//! [`SshConfig`] reads and parses each file once ([`files`], [`lines`]); for a host it walks over the lines of the blocks
//! that apply, the first value of a keyword winning ([`evaluation`]), and makes a [`Target`] of them ([`resolve`]).
//! A keyword is a row of [`keywords`]. What stands on a command line of `ssh` comes first ([`Given`]).

use std::path::PathBuf;

use crate::error::{Diagnostic, Diagnostics};

use super::target::Target;

mod arguments;
mod commands;
mod conditions;
mod evaluation;
mod files;
mod glob;
mod jump;
mod keywords;
mod lines;
mod local;
pub(in crate::transport::ssh) mod patterns;
mod resolve;
mod settings;
mod tokens;
mod values;
mod words;

pub use arguments::Given;
pub use local::Local;
pub use settings::Origin;

use commands::Commands;
use files::{File, Files, Owner, Trust};
use resolve::Resolution;

/// The configuration of one run's connections.
#[derive(Debug)]
pub struct SshConfig {
    local: Local,
    files: Files,
    commands: Commands,
}

impl SshConfig {
    pub fn new(local: Local) -> SshConfig {
        SshConfig { local, files: Files::default(), commands: Commands::default() }
    }

    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Returns how `ssh`, given this command line, would reach `host`; errors call it `name`.
    ///
    /// Errors are the user's: in the files, or in what was given.
    pub fn target(&self, name: &str, host: &str, given: &Given) -> Result<Target, Diagnostics> {
        Resolution { config: self, chain: Vec::new() }.target(name, host, given)
    }

    /// Returns the files that count, the stronger first: the one of `-F` alone, or the user's and the system's.
    fn files(&self, given: &Given) -> Result<Vec<std::sync::Arc<File>>, Diagnostics> {
        let local = &self.local;
        if let Some((file, origin)) = &given.file {
            if file.eq_ignore_ascii_case("none") {
                return Ok(Vec::new());
            }
            let path = local.with_home(file).map_or_else(|| PathBuf::from(file), PathBuf::from);
            let found = self.files.load(&path, Owner::User, (local, Trust::Assumed))?;
            let absent = || Diagnostics::from(origin.wrong(format!("there is no file `{}`", path.display())));
            return Ok(vec![found.ok_or_else(absent)?]);
        }
        let of_user = (local.home.join(".ssh/config"), Owner::User, Trust::Checked);
        let of_system = (local.system.join("ssh_config"), Owner::System, Trust::Assumed);
        let mut errors = Diagnostics::default();
        let mut found = Vec::new();
        for (path, owner, trust) in [of_user, of_system] {
            match self.files.load(&path, owner, (local, trust)) {
                Ok(file) => found.extend(file),
                Err(wrong) => errors.extend(wrong),
            }
        }
        errors.or(found)
    }
}

/// Refuses a text that could become more than one word of a shell, or an option, once it is a token of a command.
fn check_host(host: &str, origin: &Origin) -> Result<(), Diagnostic> {
    let bad = |c: char| "'`\"$\\;&<>|(){}".contains(c) || c.is_whitespace() || c.is_control();
    match host.is_empty() || host.starts_with('-') || host.contains(bad) {
        true => Err(origin.wrong(format!("`{}` is no host name", host.escape_debug()))),
        false => Ok(()),
    }
}

/// The same for a user's name.
fn check_user(user: &str, origin: &Origin) -> Result<(), Diagnostic> {
    let bad = |c: char| "'`\";&<>|(){}$".contains(c) || c.is_control();
    match user.is_empty() || user.starts_with('-') || user.contains(bad) || user.contains(" -") || user.ends_with('\\')
    {
        true => Err(origin.wrong(format!("`{}` is no user name", user.escape_debug()))),
        false => Ok(()),
    }
}
