//! Passwords: the filter `password_hash`, and the lookup `password`, which makes one and keeps it in a file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use sha1::{Digest as _, Sha1};

use super::Failure;
use super::call::{Call, list, text, whole, wrong};
use super::chance::Chance;
use super::fault::raise;
use super::lookups::{Terms, note_effect};
use crate::crypt::{Scheme, Settings, random_salt};
use crate::vars::Var;

/// Ansible's spelling of what a scheme is called.
const SCHEMES: &str = "md5, blowfish, sha256, sha512";

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// How long another process may hold a password's file, in seconds, and how often it is looked at.
const PATIENCE: [u64; 3] = [1, 2, 4];

/// Hosts of one run ask for the same file at the same moment.
static HERE: Mutex<()> = Mutex::new(());

/// `password | password_hash(hashtype, salt, salt_size, rounds, ident)`.
pub(super) fn password_hash(call: &mut Call) -> Result<Value, Error> {
    let password = call.value()?;
    if !matches!(password.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bytes) {
        let kind = super::values::python_type(&password);
        return Err(wrong(format!("`password_hash` hashes text, not {kind}")));
    }
    let name = call.next_text("hashtype")?.unwrap_or_else(|| "sha512".into());
    let salt = call.next_text("salt")?.filter(|salt| !salt.is_empty());
    let salt_size = call.next_number("salt_size")?.map(|size| size.max(0) as usize);
    let rounds = call.next_number("rounds")?.filter(|rounds| *rounds != 0);
    let rounds = rounds.map(|rounds| u32::try_from(rounds).unwrap_or(0));
    let ident = call.next_text("ident")?.filter(|ident| !ident.is_empty());
    hashed(&text(&password), &name, &Settings { salt, salt_size, rounds, ident })
}

fn hashed(password: &str, name: &str, settings: &Settings) -> Result<Value, Error> {
    let scheme = Scheme::named(name)
        .ok_or_else(|| wrong(format!("{name} is not in the list of supported passlib algorithms: {SCHEMES}")))?;
    let hash = scheme.hash(password, settings);
    hash.map(Value::from).map_err(|why| wrong(format!("Could not hash the secret: {why}")))
}

/// `lookup('password', 'FILE length=20 chars=ascii_letters,digits encrypt=sha512_crypt', seed=...)`.
pub(super) fn password(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms.texts() {
        found.push(one(&Wanted::read(&term, &terms.options)?, terms)?);
    }
    Ok(found)
}

/// A password as it is asked for.
struct Wanted {
    file: String,
    length: usize,
    chars: Vec<char>,
    seed: Option<Value>,
    encrypt: Option<String>,
    ident: Option<String>,
}

impl Wanted {
    fn read(term: &str, options: &IndexMap<String, Value>) -> Result<Wanted, Error> {
        let (mut file, rest) = term.split_once(' ').unwrap_or((term, ""));
        let mut options = options.clone();
        let rest_words = shlex::split(rest).unwrap_or_else(|| rest.split(' ').map(Into::into).collect());
        let (pairs, plain): (Vec<&String>, Vec<&String>) = rest_words.iter().partition(|word| word.contains('='));
        let spaced = plain.iter().fold(file.to_string(), |path, word| format!("{path} {word}"));
        if !term.starts_with(&spaced) {
            return Err(wrong("Unrecognized value after key=value parameters given to password lookup"));
        }
        file = &spaced;
        options.extend(
            pairs.iter().filter_map(|word| word.split_once('=')).map(|(name, value)| (name.into(), value.into())),
        );
        let mut take = |name: &str| options.shift_remove(name).filter(|value| !value.is_none());
        let wanted = Wanted {
            file: file.to_string(),
            length: take("length").map_or(Ok(20), |length| whole(&length))?.max(0) as usize,
            chars: match take("chars") {
                Some(chars) => characters(&chars)?,
                None => characters(&Value::from(vec!["ascii_letters", "digits", ".,:-_"]))?,
            },
            seed: take("seed"),
            encrypt: take("encrypt").map(|name| text(&name)),
            ident: take("ident").map(|ident| text(&ident)),
        };
        if wanted.chars.is_empty() && wanted.length > 0 {
            return Err(wrong("the password lookup has no characters to choose from"));
        }
        let left: Vec<String> = options.keys().cloned().collect();
        match left.is_empty() {
            true => Ok(wanted),
            false => Err(wrong(format!("Unrecognized parameter(s) given to password lookup: {}", left.join(", ")))),
        }
    }

    fn new_password(&self) -> String {
        let mut chance = Chance::new(self.seed.as_ref());
        (0..self.length).map(|_| self.chars[chance.below(self.chars.len() as u64) as usize]).collect()
    }

    fn returned(&self, kept: &Kept) -> Result<Value, Error> {
        match &self.encrypt {
            None => Ok(kept.password.clone().into()),
            Some(name) => {
                let (salt, ident) = (kept.salt.clone(), kept.ident.clone());
                hashed(&kept.password, name, &Settings { salt, ident, ..Settings::default() })
            }
        }
    }

    /// Completes what was kept; says whether that has to be written.
    fn completed(&self, kept: &mut Kept) -> Result<bool, Error> {
        let Some(name) = &self.encrypt else { return Ok(false) };
        let scheme = Scheme::named(name);
        let mut changed = false;
        if kept.salt.is_none() {
            let salt = random_salt(scheme.map_or(8, Scheme::salt_size));
            kept.salt = Some(salt.map_err(|error| wrong(format!("no salt could be made: {error}")))?);
            changed = true;
        }
        if let (Some(stored), Some(asked)) = (&kept.ident, &self.ident)
            && stored != asked
        {
            let message = format!("The ident parameter provided ({asked}) does not match the stored one ({stored}).");
            return Err(wrong(message));
        }
        if kept.ident.is_none() {
            kept.ident = self.ident.clone();
            if kept.ident.is_none()
                && let Some(ident) = scheme.and_then(Scheme::ident)
            {
                kept.ident = Some(ident.into());
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// The characters that a list of sets and letters, or text with commas, stands for. Quotes are never among them.
fn characters(given: &Value) -> Result<Vec<char>, Error> {
    let names: Vec<String> = match given.as_str() {
        Some(text) => {
            let comma = text.contains(",,").then(|| ",".to_string());
            let parts = text.replace(",,", ",");
            comma.into_iter().chain(parts.split(',').filter(|part| !part.is_empty()).map(Into::into)).collect()
        }
        None => list(given)?.iter().map(text).collect(),
    };
    let set = |name: &String| match name.as_str() {
        "ascii_letters" => format!("{LETTERS}{}", LETTERS.to_uppercase()),
        "ascii_lowercase" => LETTERS.into(),
        "ascii_uppercase" => LETTERS.to_uppercase(),
        "digits" => "0123456789".into(),
        "hexdigits" => "0123456789abcdefABCDEF".into(),
        "octdigits" => "01234567".into(),
        "punctuation" => PUNCTUATION.into(),
        "whitespace" => " \t\n\r\u{b}\u{c}".into(),
        "printable" => format!("0123456789{LETTERS}{}{PUNCTUATION} \t\n\r\u{b}\u{c}", LETTERS.to_uppercase()),
        other => other.to_string(),
    };
    Ok(names.iter().map(set).collect::<String>().chars().filter(|c| !matches!(c, '"' | '\'')).collect())
}

/// What the file of a password has: `PASSWORD salt=SALT ident=IDENT`.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    password: String,
    salt: Option<String>,
    ident: Option<String>,
}

impl Kept {
    fn read(content: &str) -> Kept {
        let Some((password, rest)) = content.rsplit_once(" salt=") else {
            return Kept { password: content.into(), ..Kept::default() };
        };
        let (salt, ident) = rest.rsplit_once(" ident=").map_or((rest, None), |(salt, ident)| (salt, Some(ident)));
        let salt = Some(salt.to_string()).filter(|salt| !salt.is_empty());
        Kept { password: password.into(), salt, ident: ident.map(Into::into) }
    }

    fn written(&self) -> String {
        let salt = self.salt.as_ref().map(|salt| format!(" salt={salt}"));
        let ident = self.ident.as_ref().filter(|_| salt.is_some()).map(|ident| format!(" ident={ident}"));
        format!("{}{}{}\n", self.password, salt.unwrap_or_default(), ident.unwrap_or_default())
    }
}

fn one(wanted: &Wanted, terms: &Terms) -> Result<Value, Error> {
    let path = place(&wanted.file, terms);
    if path == Path::new("/dev/null") {
        let mut kept = Kept { password: wanted.new_password(), ..Kept::default() };
        wanted.completed(&mut kept)?;
        return wanted.returned(&kept);
    }
    let _here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
    let known = content(&path)?.map(|content| Kept::read(&content));
    let mut kept = known.unwrap_or_else(|| Kept { password: wanted.new_password(), ..Kept::default() });
    let changed = wanted.completed(&mut kept)?;
    if !changed && path.exists() {
        return wanted.returned(&kept);
    }
    if matches!(terms.variable("ansible_check_mode"), Some(Var::Known(serde_json::Value::Bool(true)))) {
        let what = format!("the password in `{}`, which a run makes", path.display());
        return Err(raise(Failure::Unknown(what.into())));
    }
    if terms.only_asks() {
        return Err(wrong("the file of a password is made when its task is run"));
    }
    let _lock = Lock::take(&path)?;
    // Another process may have made it since.
    if let Some(content) = content(&path)? {
        kept = Kept::read(&content);
        if !wanted.completed(&mut kept)? {
            return wanted.returned(&kept);
        }
    }
    note_effect();
    write(&path, &kept.written()).map_err(|error| wrong(format!("cannot write `{}`: {error}", path.display())))?;
    wanted.returned(&kept)
}

/// Relative names are beside the playbook.
fn place(file: &str, terms: &Terms) -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    match (file.strip_prefix("~/"), terms.variable("playbook_dir")) {
        (Some(rest), _) => Path::new(&home).join(rest),
        (None, Some(Var::Known(directory))) => Path::new(directory.as_str().unwrap_or_default()).join(file),
        (None, _) => file.into(),
    }
}

fn content(path: &Path) -> Result<Option<String>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end().into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(format!("cannot read `{}`: {error}", path.display()))),
    }
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content.as_bytes())
}

/// The file beside a password's that says that a process is making it; it is the one Ansible looks for, too.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Lock, Error> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let failed = |error| wrong(format!("cannot make `{}`: {error}", directory.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let name: String =
            Sha1::digest(path.to_string_lossy().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let file = directory.join(format!("{name}.ansible_lockfile"));
        for seconds in PATIENCE {
            match fs::OpenOptions::new().write(true).create_new(true).open(&file) {
                Ok(_) => return Ok(Lock(file)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    std::thread::sleep(Duration::from_secs(seconds));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let hint = format!("hint: where no other run is at work, remove `{}`", file.display());
        Err(wrong(format!("Password lookup cannot get the lock in 7 seconds, abort...\n{hint}")))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::table::render;

    #[test]
    fn what_a_file_keeps_is_read_as_it_is_written() {
        let rows = [
            ("geheim", ("geheim", None, None)),
            ("a b salt=xy", ("a b", Some("xy"), None)),
            ("p salt=xy ident=2b", ("p", Some("xy"), Some("2b"))),
        ];
        for (text, (password, salt, ident)) in rows {
            let kept = Kept { password: password.into(), salt: salt.map(Into::into), ident: ident.map(Into::into) };
            assert_eq!(Kept::read(text), kept);
            assert_eq!(kept.written(), format!("{text}\n"));
        }
    }

    #[test]
    fn a_password_is_made_once_with_its_salt_and_its_file_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("new/mx 1/password");
        let ask = |more: &str| render(&format!("{{{{ lookup('password', '{} {more}') }}}}", file.display()));
        let first = ask("length=9 chars=digits,-").unwrap();
        let password = first.as_str().unwrap();
        assert!(password.len() == 9 && password.chars().all(|c| c.is_ascii_digit() || c == '-'), "{password}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask("length=3").unwrap(), first, "it stays as it is");
        let hash = ask("encrypt=sha256_crypt").unwrap();
        assert!(hash.as_str().unwrap().starts_with("$5$rounds=535000$"), "{hash}");
        assert_eq!(ask("encrypt=sha256_crypt").unwrap(), hash, "its salt is kept");
        assert!(fs::read_to_string(&file).unwrap().starts_with(&format!("{password} salt=")));
        let names: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no lock is left");
    }

    #[test]
    fn a_seed_makes_the_password_that_it_makes_with_ansible() {
        // random.Random('foo'), twenty choices.
        assert_eq!(render("{{ lookup('password', '/dev/null', seed='foo') }}").unwrap(), "6JUEsF6-,RiuGZDEWF4r");
    }

    #[test]
    fn what_is_no_parameter_is_said() {
        let rows = [
            ("lookup('password', '/dev/null lenght=3')", "Unrecognized parameter(s) given to password lookup: lenght"),
            ("lookup('password', '/dev/null length=3 x')", "Unrecognized value after key=value parameters"),
            ("'x' | password_hash('crc')", "crc is not in the list of supported passlib algorithms: md5, blowfish"),
            ("'x' | password_hash('sha512', 'a b')", "Could not hash the secret: ` ` cannot stand in a salt"),
        ];
        for (expression, expected) in rows {
            let error = render(&format!("{{{{ {expression} }}}}")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
