//! Passwords that are asked for before a run: of SSH and of become.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use super::keys::{VaultPassword, from_file};
use super::signals::Signals;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::secret::Secret;
use crate::vault::DEFAULT_ID;

/// What hosts ask for, and what keeps secrets.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Passwords {
    /// Ask for the SSH password
    #[arg(short = 'k', long)]
    pub ask_pass: bool,
    /// Ask for the become password
    #[arg(short = 'K', long)]
    pub ask_become_pass: bool,
    /// A file that holds the SSH password, or a program that prints it
    #[arg(long, visible_alias = "conn-pass-file", value_name = "FILE", conflicts_with = "ask_pass")]
    pub connection_password_file: Option<PathBuf>,
    /// A file that holds the become password, or a program that prints it
    #[arg(long, visible_alias = "become-pass-file", value_name = "FILE", conflicts_with = "ask_become_pass")]
    pub become_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub vault: VaultPassword,
}

/// The answers.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub ssh: Option<Secret>,
    pub r#become: Option<Secret>,
    pub vault: Option<Secret>,
}

impl Passwords {
    /// Reads what is to be read, and asks for what is to be asked for.
    pub fn ask(&self) -> Result<Given, Diagnostic> {
        let vault = self.vault.read()?;
        let kept =
            |file: &Option<PathBuf>| file.as_ref().map(|file| from_file(file, ("password", DEFAULT_ID))).transpose();
        let password = ask(self.ask_pass, "SSH password")?.or(kept(&self.connection_password_file)?);
        let prompt = if self.ask_pass { "BECOME password[defaults to SSH password]" } else { "BECOME password" };
        let become_password = ask(self.ask_become_pass, prompt)?.and_then(|given| match given.reveal().is_empty() {
            true => password.clone(),
            false => Some(given),
        });
        let become_password = become_password.or(kept(&self.become_password_file)?);
        Ok(Given { ssh: password, r#become: become_password, vault })
    }
}

/// Asks whether to go on; anything but `yes` is a no. A signal is an answer too: its exit code.
pub async fn confirmed(question: &str) -> Result<Result<bool, u8>, Stop> {
    let mut err = anstream::stderr();
    write!(err, "{question} Only `yes` is a yes: ").and_then(|()| err.flush()).map_err(Stop::Output)?;
    let mut signals = Signals::listen().map_err(Stop::Output)?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line.trim() == "yes")
    });
    tokio::select! {
        answer = answer => {
            let answer = answer.map_err(std::io::Error::other).and_then(|answer| answer);
            Ok(Ok(answer.map_err(|error| Diagnostic::new(format!("no answer could be read: {error}")))?))
        }
        code = signals.next() => Ok(Err(code)),
    }
}

/// Asks for a password on the terminal, or reads a line where there is none.
pub(super) fn ask(wanted: bool, what: &str) -> Result<Option<Secret>, Diagnostic> {
    if !wanted {
        return Ok(None);
    }
    let read = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{what}: "))
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line.trim_end_matches(['\n', '\r']).to_string())
    };
    let text = read.map_err(|error| Diagnostic::new(format!("no {what} could be read: {error}")))?;
    Ok(Some(Secret::new(text)))
}
