//! `cutover vault`: files and texts encrypted as `ansible-vault` does it, with its flags.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keys::{self, Asked, VaultPassword};
use super::passwords::ask;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::settings;
use crate::vault::{self, Key, Keyring};

mod edit;
mod place;

/// Encrypt and decrypt files and texts, as `ansible-vault` does and for it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cutover vault create group_vars/all/secrets.yml --vault-password-file ~/.vault\n  \
    cutover vault encrypt-string --vault-id prod@prompt --name db_password --prompt\n  \
    cutover vault rekey secrets.yml --vault-id old@prompt --new-vault-id new@prompt\n\n\
    A text under an id that is not `default` is of format 1.2. ANSIBLE_VAULT_ENCRYPT_IDENTITY is what --encrypt-vault-id is\n\
    where it is not given. Exit codes: 0 ok, 1 an error; a file is written whole or not at all."
)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Accepted for Ansible's sake: all there is is printed
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write a new encrypted file in $EDITOR
    ///
    /// What is written is kept in memory (a private directory of a tmpfs) where there is one, and is wiped after.
    Create(Create),
    /// Encrypt files in place, or standard input to standard output
    Encrypt(Encrypt),
    /// Decrypt files in place, or standard input to standard output
    Decrypt(Decrypt),
    /// Print encrypted files, decrypted
    View(View),
    /// Change an encrypted file in $EDITOR; it stays under its id unless --encrypt-vault-id says another
    Edit(Edit),
    /// Encrypt files with another password
    Rekey(Rekey),
    /// Encrypt texts as values for YAML: `name: !vault |`
    #[command(alias = "encrypt_string")]
    EncryptString(EncryptString),
}

/// Which password encrypts.
#[derive(clap::Args, Clone)]
struct With {
    #[command(flatten)]
    passwords: VaultPassword,
    /// Encrypt with the password of this id; needed where there are several
    #[arg(long, value_name = "ID")]
    encrypt_vault_id: Option<String>,
}

#[derive(clap::Args)]
struct Create {
    file: PathBuf,
    #[command(flatten)]
    with: With,
    /// Open the editor where no terminal is
    #[arg(long)]
    skip_tty_check: bool,
}

#[derive(clap::Args)]
struct Encrypt {
    /// The files; `-` or none is standard input
    files: Vec<PathBuf>,
    #[command(flatten)]
    with: With,
    /// Write here instead; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Decrypt {
    /// The files; `-` or none is standard input
    files: Vec<PathBuf>,
    #[command(flatten)]
    passwords: VaultPassword,
    /// Write here instead; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct View {
    /// The files; `-` or none is standard input
    files: Vec<PathBuf>,
    #[command(flatten)]
    passwords: VaultPassword,
}

#[derive(clap::Args)]
struct Edit {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    with: With,
}

#[derive(clap::Args)]
struct Rekey {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    with: With,
    /// The new password, under its id
    #[arg(long, value_name = "[ID@]SOURCE", conflicts_with = "new_vault_password_file")]
    new_vault_id: Option<String>,
    /// A file that holds the new password, or a program that prints it
    #[arg(long, value_name = "FILE")]
    new_vault_password_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct EncryptString {
    /// The texts; `-` is standard input
    texts: Vec<String>,
    #[command(flatten)]
    with: With,
    /// Ask for the text
    #[arg(short, long)]
    prompt: bool,
    /// Show what is typed
    #[arg(long)]
    show_input: bool,
    /// The variable's name; may be repeated, in the order of the texts
    #[arg(short, long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// The name of the variable that standard input is for
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<String>,
    /// Write here instead; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    match &arguments.what {
        What::Create(create) => edit::create(create).await?,
        What::Encrypt(encrypt) => each(&encrypt.files, encrypt.output.as_deref(), |plain, name| {
            if vault::is_sealed(plain) {
                return Err(Diagnostic::new(format!("{name} is encrypted already"))
                    .hint("`cutover vault rekey` encrypts it with another password"));
            }
            seal(plain, &encrypt.with.key(&encrypt.with.keyring(Asked::New)?)?)
        })?,
        What::Decrypt(decrypt) => {
            let keyring = keyring(&decrypt.passwords, Asked::Once)?;
            each(&decrypt.files, decrypt.output.as_deref(), |text, name| Ok(open(&keyring, text, name)?.1))?;
        }
        What::View(view) => {
            let keyring = keyring(&view.passwords, Asked::Once)?;
            for path in or_standard_input(&view.files) {
                let (_, plain) = open(&keyring, &read(&path)?, &name_of(&path))?;
                std::io::stdout().write_all(&plain).map_err(Stop::Output)?;
            }
        }
        What::Edit(edit) => edit::edit(edit).await?,
        What::Rekey(rekey) => rekey.run()?,
        What::EncryptString(strings) => strings.run()?,
    }
    Ok(0)
}

type Plain = Zeroizing<Vec<u8>>;

/// Returns the passwords, and asks for one where none is given.
fn keyring(passwords: &VaultPassword, asked: Asked) -> Result<Keyring, Diagnostic> {
    let mut keyring = passwords.keyring(asked)?;
    if keyring.keys.is_empty() {
        let password = keys::question(("", false), asked)?;
        keyring.keys.push(Key { id: vault::DEFAULT_ID.into(), password });
    }
    Ok(keyring)
}

impl With {
    fn keyring(&self, asked: Asked) -> Result<Keyring, Diagnostic> {
        keyring(&self.passwords, asked)
    }

    /// Returns the id to encrypt with, where one is named.
    fn id(&self) -> Option<String> {
        let set = || settings::value("ANSIBLE_VAULT_ENCRYPT_IDENTITY");
        self.encrypt_vault_id.clone().or_else(set)
    }

    /// Returns the password that encrypts.
    fn key(&self, keyring: &Keyring) -> Result<Key, Diagnostic> {
        let mut ids: Vec<&str> = keyring.keys.iter().map(|key| key.id.as_str()).collect();
        ids.dedup();
        let found = match self.id() {
            Some(id) => keyring.keys.iter().find(|key| key.id == id).ok_or_else(|| {
                Diagnostic::new(format!("no vault password has the id `{id}`"))
                    .hint(format!("passwords were given under: {}", ids.join(", ")))
            }),
            None if ids.len() > 1 => {
                Err(Diagnostic::new(format!("several vault passwords can encrypt: {}", ids.join(", ")))
                    .hint("say which: `--encrypt-vault-id ID`"))
            }
            None => keyring.keys.first().ok_or_else(|| Diagnostic::new("no vault password was given")),
        };
        found.cloned()
    }
}

fn seal(plain: &[u8], key: &Key) -> Result<Plain, Diagnostic> {
    let salt = vault::new_salt().map_err(|error| Diagnostic::new(format!("no salt could be made: {error}")))?;
    Ok(Zeroizing::new(vault::encrypt(plain, &key.password, &key.id, &salt).into_bytes()))
}

fn open<'k>(keyring: &'k Keyring, text: &[u8], name: &str) -> Result<(&'k Key, Plain), Diagnostic> {
    let text = String::from_utf8_lossy(text);
    keyring.open(&text).map_err(|error| Diagnostic::new(format!("{name}: {error}")).hint(error.hint()))
}

/// Replaces each file by what `made` makes of it, or writes that to `output`.
fn each(
    files: &[PathBuf],
    output: Option<&Path>,
    made: impl Fn(&[u8], &str) -> Result<Plain, Diagnostic>,
) -> Result<(), Stop> {
    if output.is_some() && files.len() > 1 {
        return Err(Diagnostic::new("`--output` is for one file").hint("without it, each file is replaced").into());
    }
    for path in or_standard_input(files) {
        let made = made(&read(&path)?, &name_of(&path))?;
        let to = output.unwrap_or(&path);
        if is_standard(to) {
            std::io::stdout().write_all(&made).map_err(Stop::Output)?;
        } else {
            place::write(to, &made, None)?;
        }
    }
    Ok(())
}

fn or_standard_input(files: &[PathBuf]) -> Vec<PathBuf> {
    if files.is_empty() { vec!["-".into()] } else { files.to_vec() }
}

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name_of(path: &Path) -> String {
    if is_standard(path) { "standard input".into() } else { format!("`{}`", path.display()) }
}

fn read(path: &Path) -> Result<Plain, Diagnostic> {
    let mut bytes = Plain::default();
    let read = match is_standard(path) {
        true => {
            if std::io::stdin().is_terminal() {
                let _ = writeln!(anstream::stderr(), "reading standard input; end it with Ctrl-D");
            }
            std::io::stdin().lock().read_to_end(&mut bytes)
        }
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| Diagnostic::new(format!("cannot read {}: {error}", name_of(path))))?;
    Ok(bytes)
}

impl Rekey {
    fn run(&self) -> Result<(), Diagnostic> {
        let keyring = self.with.keyring(Asked::Once)?;
        let plains = self.files.iter().map(|path| Ok(open(&keyring, &read(path)?, &name_of(path))?.1));
        // All of them are opened before the first is written.
        let plains: Vec<Plain> = plains.collect::<Result<_, Diagnostic>>()?;
        let mut new = match (&self.new_vault_id, &self.new_vault_password_file) {
            (Some(id), _) => keys::key_of(id, Asked::New)?,
            (None, Some(file)) => keys::key_of(&format!("{}@{}", vault::DEFAULT_ID, file.display()), Asked::New)?,
            (None, None) => Key { id: vault::DEFAULT_ID.into(), password: keys::question(("", false), Asked::New)? },
        };
        new.id = self.with.id().unwrap_or(new.id);
        for (path, plain) in self.files.iter().zip(&plains) {
            place::write(path, &seal(plain, &new)?, place::mode_of(path))?;
        }
        let _ = writeln!(anstream::stderr(), "Rekey successful");
        Ok(())
    }
}

impl EncryptString {
    fn run(&self) -> Result<(), Stop> {
        let keyring = self.with.keyring(Asked::New)?;
        let key = self.with.key(&keyring)?;
        let mut names = self.names.iter().cloned();
        let mut made: Vec<String> = Vec::new();
        if self.prompt {
            let name = names.next().or_else(|| asked_name().ok().flatten());
            let text = match self.show_input {
                true => asked_line("String to encrypt: ")?,
                false => {
                    ask(true, "String to encrypt (hidden)")?.map(|given| given.reveal().to_string()).unwrap_or_default()
                }
            };
            made.push(value(name.as_deref(), text.as_bytes(), &key)?);
        }
        for text in self.texts.iter().filter(|text| *text != "-") {
            if text.is_empty() {
                return Err(Diagnostic::new("an empty text cannot be encrypted")
                    .hint("write the value as `\"\"`")
                    .into());
            }
            made.push(value(names.next().as_deref(), text.as_bytes(), &key)?);
        }
        let standard = self.texts.iter().any(|text| text == "-") || self.stdin_name.is_some();
        if standard || (self.texts.is_empty() && !self.prompt) {
            let text = read(Path::new("-"))?;
            if text.is_empty() {
                return Err(Diagnostic::new("standard input is empty: there is nothing to encrypt").into());
            }
            let name = self.stdin_name.clone().or_else(|| names.next());
            made.push(value(name.as_deref(), &text, &key)?);
        }
        let text = made.concat();
        match self.output.as_deref().filter(|path| !is_standard(path)) {
            Some(path) => place::write(path, text.as_bytes(), None)?,
            None => std::io::stdout().write_all(text.as_bytes()).map_err(Stop::Output)?,
        }
        Ok(())
    }
}

/// Returns a `!vault` value as it stands in YAML, below its name where it has one.
fn value(name: Option<&str>, plain: &[u8], key: &Key) -> Result<String, Diagnostic> {
    let sealed = seal(plain, key)?;
    let mut text = name.map_or_else(String::new, |name| format!("{name}: "));
    text.push_str("!vault |\n");
    for line in String::from_utf8_lossy(&sealed).lines() {
        text.push_str(&format!("          {line}\n"));
    }
    Ok(text)
}

fn asked_line(prompt: &str) -> Result<String, Diagnostic> {
    let wrong = |error: std::io::Error| Diagnostic::new(format!("nothing could be read: {error}"));
    let mut err = anstream::stderr();
    write!(err, "{prompt}").and_then(|()| err.flush()).map_err(wrong)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(wrong)?;
    Ok(line.trim_end_matches(['\n', '\r']).into())
}

fn asked_name() -> Result<Option<String>, Diagnostic> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some(asked_line("Variable name (enter for no name): ")?).filter(|name| !name.is_empty()))
}
