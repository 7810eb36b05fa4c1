//! Passwords that are asked for or read from a file before a run: of SSH, of become, of the vault.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::signals::Signals;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::secret::Secret;

/// What hosts ask for, and what keeps secrets.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Passwords {
    /// Ask for the SSH password
    #[arg(short = 'k', long)]
    pub ask_pass: bool,
    /// Ask for the become password
    #[arg(short = 'K', long)]
    pub ask_become_pass: bool,
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
        let password = ask(self.ask_pass, "SSH password")?;
        let prompt = if self.ask_pass { "BECOME password[defaults to SSH password]" } else { "BECOME password" };
        let become_password = ask(self.ask_become_pass, prompt)?.and_then(|given| match given.reveal().is_empty() {
            true => password.clone(),
            false => Some(given),
        });
        Ok(Given { ssh: password, r#become: become_password, vault })
    }
}

/// What plans and journals keep their secrets with.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct VaultPassword {
    /// Ask for the vault password
    #[arg(long, visible_alias = "ask-vault-password", conflicts_with = "vault_password_file")]
    pub ask_vault_pass: bool,
    /// A file that holds the vault password, or a program that prints it
    #[arg(long, visible_alias = "vault-pass-file", value_name = "FILE", env = "ANSIBLE_VAULT_PASSWORD_FILE")]
    pub vault_password_file: Option<PathBuf>,
}

impl VaultPassword {
    pub fn read(&self) -> Result<Option<Secret>, Diagnostic> {
        match &self.vault_password_file {
            _ if self.ask_vault_pass => match ask(true, "Vault password")? {
                Some(given) if given.reveal().is_empty() => Err(Diagnostic::new("the vault password is empty")),
                given => Ok(given),
            },
            Some(path) => from_file(path).map(Some),
            None => Ok(None),
        }
    }
}

/// Reads the file, or what it prints if it may be executed, as Ansible does; white space around it is not part of it.
fn from_file(path: &Path) -> Result<Secret, Diagnostic> {
    let wrong =
        |why: &dyn std::fmt::Display| Diagnostic::new(format!("no vault password from `{}`: {why}", path.display()));
    let mode = std::fs::metadata(path).map_err(|error| wrong(&error))?.permissions().mode();
    let text = if mode & 0o111 == 0 {
        std::fs::read_to_string(path).map_err(|error| wrong(&error))?
    } else {
        let program = std::path::absolute(path).map_err(|error| wrong(&error))?;
        // The user's own program, on the user's own machine.
        #[allow(clippy::disallowed_methods)]
        let output = std::process::Command::new(program).stderr(std::process::Stdio::inherit()).output();
        let output = output.map_err(|error| wrong(&error))?;
        if !output.status.success() {
            return Err(wrong(&format!("the program ended with {}", output.status)));
        }
        String::from_utf8(output.stdout).map_err(|_| wrong(&"the program printed no UTF-8"))?
    };
    match text.trim() {
        "" => Err(wrong(&"it is empty")),
        password => Ok(Secret::new(password)),
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
fn ask(wanted: bool, what: &str) -> Result<Option<Secret>, Diagnostic> {
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
