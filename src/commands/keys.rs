//! Where vault passwords come from: files, programs that print them, and the terminal; under ids, as Ansible gives them.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::passwords::ask;
use crate::error::Diagnostic;
use crate::secret::Secret;
use crate::settings;
use crate::vault::{self, DEFAULT_ID, Key, Keyring};

/// The vault passwords: they open what ansible-vault has encrypted, and keep the secrets of plans and journals.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct VaultPassword {
    /// A vault password under an id: `ID@FILE`, `ID@prompt`, or the source alone; may be repeated
    ///
    /// A program whose name ends in `-client` is told the id: `--vault-id ID`. ANSIBLE_VAULT_IDENTITY_LIST has more of them,
    /// separated by commas; with ANSIBLE_VAULT_ID_MATCH only the password of a text's own id is tried.
    #[arg(long = "vault-id", value_name = "[ID@]SOURCE")]
    pub vault_ids: Vec<String>,
    /// Ask for the vault password
    #[arg(short = 'J', long, visible_alias = "ask-vault-password", conflicts_with = "vault_password_files")]
    pub ask_vault_pass: bool,
    /// A file that holds the vault password, or a program that prints it; may be repeated [env: ANSIBLE_VAULT_PASSWORD_FILE]
    #[arg(long = "vault-password-file", visible_alias = "vault-pass-file", value_name = "FILE")]
    pub vault_password_files: Vec<PathBuf>,
}

/// Which words a question is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// For a password that has been used.
    Once,
    /// For a new one, which is asked for twice.
    New,
}

impl VaultPassword {
    /// Gives this process its vault passwords, once; returns the one that plans and journals are kept with.
    pub fn read(&self) -> Result<Option<Secret>, Diagnostic> {
        if vault::given().keys.is_empty() {
            vault::give(self.keyring(Asked::Once)?);
        }
        Ok(vault::given().keys.into_iter().next().map(|key| key.password))
    }

    /// Reads all of them, in Ansible's order: the identity list, ids, password files, the question.
    pub fn keyring(&self, asked: Asked) -> Result<Keyring, Diagnostic> {
        let listed = set("ANSIBLE_VAULT_IDENTITY_LIST").unwrap_or_default();
        let listed = listed.split(',').map(str::trim).filter(|id| !id.is_empty());
        let mut keys = Vec::new();
        let mut missing = None;
        for id in listed.chain(self.vault_ids.iter().map(String::as_str)) {
            take(key_of(id, asked), &mut keys, &mut missing);
        }
        let file = set("ANSIBLE_VAULT_PASSWORD_FILE").map(PathBuf::from);
        for path in self.vault_password_files.iter().chain(&file) {
            take(
                from_file(path, ("vault password", DEFAULT_ID)).map(|password| Key { id: DEFAULT_ID.into(), password }),
                &mut keys,
                &mut missing,
            );
        }
        if self.ask_vault_pass {
            keys.push(Key { id: DEFAULT_ID.into(), password: question(("", false), asked)? });
        }
        match missing {
            Some(error) if keys.is_empty() => return Err(error),
            // Other passwords may do: an identity list names those of other machines too.
            Some(error) => drop(writeln!(anstream::stderr(), "[WARNING]: {}", error.message)),
            None => {}
        }
        let only_own_id = set("ANSIBLE_VAULT_ID_MATCH").is_some_and(|set| settings::is_true(&set));
        Ok(Keyring { keys, only_own_id })
    }
}

fn take(read: Result<Key, Diagnostic>, keys: &mut Vec<Key>, missing: &mut Option<Diagnostic>) {
    match read {
        Ok(key) => keys.push(key),
        Err(error) => *missing = Some(error),
    }
}

/// Reads one `[ID@]SOURCE`.
pub fn key_of(given: &str, asked: Asked) -> Result<Key, Diagnostic> {
    let default = set("ANSIBLE_VAULT_IDENTITY").unwrap_or_else(|| DEFAULT_ID.into());
    let (id, source) = given.split_once('@').unwrap_or((default.as_str(), given));
    let id = if id.is_empty() { default.as_str() } else { id };
    let password = match source {
        "prompt" => question((id, true), asked)?,
        "prompt_ask_vault_pass" => question((id, false), asked)?,
        file => from_file(Path::new(file), ("vault password", id))?,
    };
    Ok(Key { id: id.into(), password })
}

/// Asks for a password, for a new one twice.
pub fn question((id, named): (&str, bool), asked: Asked) -> Result<Secret, Diagnostic> {
    let about = if named { format!(" ({id})") } else { String::new() };
    let word = |first: &str| format!("{first}{about}");
    let first = match asked {
        Asked::Once => ask(true, &word("Vault password"))?,
        Asked::New => ask(true, &word("New vault password"))?,
    };
    let first = first.filter(|given| !given.reveal().is_empty());
    let password = first.ok_or_else(|| Diagnostic::new("the vault password is empty"))?;
    if asked == Asked::New && ask(true, &word("Confirm new vault password"))?.as_ref() != Some(&password) {
        return Err(Diagnostic::new("the two vault passwords differ").hint("nothing was written; ask again"));
    }
    Ok(password)
}

/// Reads the file, or what it prints if it may be executed, as Ansible does; white space around it is not part of it. A
/// client is told the `id`.
pub fn from_file(path: &Path, (noun, id): (&str, &str)) -> Result<Secret, Diagnostic> {
    let path = match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(below), Some(home)) => Path::new(&home).join(below),
        _ => path.to_path_buf(),
    };
    let wrong = |why: &dyn std::fmt::Display| Diagnostic::new(format!("no {noun} from `{}`: {why}", path.display()));
    let about = std::fs::metadata(&path).map_err(|error| wrong(&error))?;
    if about.is_dir() {
        return Err(wrong(&"it is a directory"));
    }
    let text = if about.permissions().mode() & 0o111 == 0 {
        std::fs::read_to_string(&path).map_err(|error| wrong(&error))?
    } else {
        let program = std::path::absolute(&path).map_err(|error| wrong(&error))?;
        let client = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("-client"));
        let told: &[&str] = if client { &["--vault-id", id] } else { &[] };
        // The user's own program, on the user's own machine.
        #[allow(clippy::disallowed_methods)]
        let output = std::process::Command::new(program).args(told).stderr(std::process::Stdio::inherit()).output();
        let output = output.map_err(|error| wrong(&error))?;
        match output.status.code() {
            Some(0) => {}
            Some(2) if client => return Err(wrong(&format!("it has none for the vault id `{id}`"))),
            _ => return Err(wrong(&format!("the program ended with {}", output.status))),
        }
        String::from_utf8(output.stdout).map_err(|_| wrong(&"the program printed no UTF-8"))?
    };
    match text.trim() {
        "" => Err(wrong(&"it is empty")),
        password => Ok(Secret::new(password)),
    }
}

fn set(variable: &str) -> Option<String> {
    settings::value(variable)
}
