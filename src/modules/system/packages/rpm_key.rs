//! `rpm_key`: a key that rpm takes signatures of packages from.

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{Place, bytes_of};
use crate::modules::net::web::body;
use crate::modules::system::SCRATCH;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::secret;
use crate::transport::{Command, Links, Want};
use crate::web::Request;

use super::moves::{self, Move, Ways};
use super::openpgp::{Certificate, certificates, is_armored};

pub const RPM_KEY: Entry = Entry {
    name: "rpm_key",
    summary: "Keeps a key that rpm trusts: each key that comes or goes is shown by its fingerprint",
    arguments: &[&[
        Argument::new(
            "key",
            Kind::Text,
            "A file of the host with the key, an URL, or the identifier of one that is there.",
        )
        .required(),
        Argument::new("state", Kind::Text, "Whether it is trusted. The default is `present`.")
            .choices(&["present", "absent"]),
        Argument::new("fingerprint", Kind::List, "Fingerprints that have to be in what is imported."),
        Argument::new("validate_certs", Kind::Bool, "`false` takes any certificate of the server that has the key."),
    ]],
    free_form: None,
    example: "\
- name: Packages of the archive are trusted
  rpm_key:
    key: /var/qmail/archive.asc
    fingerprint: 069A 72BA A922 7AEB 8DFD  A39F B946 1B71 583F B986
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    key: String,
    #[serde(default)]
    state: State,
    #[serde(default)]
    fingerprint: Vec<String>,
    validate_certs: Option<bool>,
}

/// What a task names.
enum Given {
    /// The end of a fingerprint.
    Id(String),
    Keys {
        bytes: Vec<u8>,
        keys: Vec<Certificate>,
    },
}

const KIND: &str = "rpm key";
const ABSENT: &str = "absent";
const TRUSTED: &str = "trusted";
const BEGIN: &str = "-----BEGIN ";

/// Prints the keys that rpm has, armored. Busybox's rpm has none.
const LOOK: &str = r#"export LC_ALL=C
case $(rpm --version 2>/dev/null) in
'RPM version '*) ;;
*) echo 'Failed to find required executable "rpm"' >&2; exit 127 ;;
esac
rpm -q gpg-pubkey --queryformat '%{DESCRIPTION}\n' || :
"#;

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if fields.key.contains("://") {
        Request::to(&fields.key).secrets().iter().for_each(|text| secret::note(text));
    }
    Ok(Box::new(fields))
}

#[async_trait]
impl Module for Fields {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let output = host.probe(&Command::shell(LOOK)).await?;
        if !output.success() {
            return Err(ModuleError::failed(output.error_text().trim_end()));
        }
        let given = self.given(host).await?;
        let there = keys(&output.text());
        let planned = host.planned_accounts(KIND);
        let state = |fingerprint: &str| match planned.iter().find(|(name, _)| name == fingerprint) {
            Some((_, state)) => state.clone(),
            None if there.iter().any(|(key, _)| key.fingerprint() == fingerprint) => TRUSTED.into(),
            None => ABSENT.into(),
        };
        let asked: Vec<String> = match &given {
            Given::Keys { keys, .. } => keys.iter().map(|key| key.fingerprint().to_string()).collect(),
            Given::Id(id) => {
                let there = there.iter().filter(|(key, _)| key.is_called(id));
                let there = there.map(|(key, _)| key.fingerprint().to_string());
                let planned = planned.iter().map(|(name, _)| name).filter(|name| name.ends_with(id)).cloned();
                let mut all: Vec<String> = there.chain(planned).collect();
                all.dedup();
                all
            }
        };
        let after = if self.state == State::Present { TRUSTED } else { ABSENT };
        let moves = asked.iter().map(|name| Move { name: name.clone(), before: state(name), after: after.into() });
        let moves: Vec<Move> = moves.filter(|one| one.before != one.after).collect();
        let is_trusted = |name: &String| state(name) == TRUSTED;
        let names: Vec<&str> = moves.iter().map(|one| one.name.as_str()).collect();
        let changes = match (self.state, &given) {
            (State::Present, Given::Id(_)) if !asked.iter().any(is_trusted) => {
                return Err(ModuleError::failed("When importing a key, a valid file must be given"));
            }
            _ if moves.is_empty() => Vec::new(),
            (State::Present, Given::Keys { bytes, keys }) => {
                self.check(keys)?;
                changes(&moves, (vec![import(&String::from_utf8_lossy(bytes))], vec![erase(&names)]))
            }
            (State::Present, Given::Id(_)) => Vec::new(),
            (State::Absent, _) => {
                let gone = there.iter().filter(|(key, _)| names.contains(&key.fingerprint()));
                let text: String = gone.clone().map(|(_, text)| text.as_str()).collect();
                if gone.count() < names.len() {
                    return Err(ModuleError::Unknown("the key that an earlier task imports, for the way back".into()));
                }
                changes(&moves, (vec![erase(&names)], vec![import(&text)]))
            }
        };
        Ok(Planned::new(changes, Results::new()))
    }
}

impl Fields {
    async fn given(&self, host: &View) -> Result<Given, ModuleError> {
        let bytes = if self.key.contains("://") {
            self.fetched(host).await?
        } else if let Some(id) = identifier(&self.key) {
            return Ok(Given::Id(id));
        } else {
            let place = Place::look(host, &self.key, Links::Follow, Want::Content).await?;
            match place.node.content() {
                Some(content) => bytes_of(host, &place.path, content).await?,
                None => return Err(ModuleError::failed(format!("Not a valid key {}", self.key))),
            }
        };
        let keys = certificates(&bytes)
            .map_err(|why| ModuleError::failed(format!("`{}` holds no key: {why}", self.shown())))?;
        match (keys.is_empty(), is_armored(&bytes)) {
            (true, _) => Err(ModuleError::failed(format!("`{}` holds no key", self.shown()))),
            (false, false) if self.state == State::Present => {
                let message = format!("`{}` is not armored, and rpm takes no other key", self.shown());
                Err(ModuleError::failed(message))
            }
            (false, _) => Ok(Given::Keys { bytes, keys }),
        }
    }

    /// Returns what is asked for without a login in it.
    fn shown(&self) -> String {
        if self.key.contains("://") { Request::to(&self.key).url } else { self.key.clone() }
    }

    async fn fetched(&self, host: &View) -> Result<Vec<u8>, ModuleError> {
        let bytes = body(host, &self.key, self.validate_certs != Some(false)).await?;
        match is_armored(&bytes) {
            true => Ok(bytes),
            false => Err(ModuleError::failed(format!("Not a public key: {}", Request::to(&self.key).url))),
        }
    }

    /// Says whether the fingerprints that were given are in what is imported.
    fn check(&self, keys: &[Certificate]) -> Result<(), ModuleError> {
        let mut given: Vec<String> = self.fingerprint.iter().map(|one| one.replace(' ', "").to_uppercase()).collect();
        given.sort();
        let there: Vec<String> = keys.iter().flat_map(|key| key.fingerprints.iter().cloned()).collect();
        if given.iter().all(|one| there.contains(one)) {
            return Ok(());
        }
        let set = |all: &[String]| format!("{{'{}'}}", all.join("', '"));
        Err(ModuleError::failed(format!(
            "The specified fingerprint, '{}', does not match any key fingerprints in '{}'",
            set(&given),
            set(&there)
        )))
    }
}

/// Reads the keys that rpm has, each with its text. One that cannot be read has another version than those that are asked for.
fn keys(text: &str) -> Vec<(Certificate, String)> {
    let blocks = text.split(BEGIN).skip(1).map(|block| format!("{BEGIN}{block}"));
    let read = |block: String| Some((certificates(block.as_bytes()).ok()?.into_iter().next()?, block));
    blocks.filter_map(read).collect()
}

/// Reads the identifier of a key: the end of its fingerprint, or all of it.
fn identifier(text: &str) -> Option<String> {
    let digits = text.trim().to_uppercase();
    let digits = digits.strip_prefix("0X").unwrap_or(&digits);
    let is_one = digits.len() >= 8 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    is_one.then(|| digits.to_string())
}

fn changes(moves: &[Move], (by, back): (Vec<Command>, Vec<Command>)) -> Vec<Change> {
    moves::changes(moves, |name| (format!("{KIND} {name}"), probe(name)), Ways { by, back, can: &|_| true })
}

/// Returns the end of a fingerprint by which rpm names a key.
fn short(fingerprint: &str) -> String {
    fingerprint[fingerprint.len().saturating_sub(8)..].to_lowercase()
}

/// Returns the lines that print which packages of rpm's a key is.
fn packages(fingerprint: &str) -> String {
    format!(
        "rpm -q gpg-pubkey --queryformat '%{{VERSION}}-%{{RELEASE}}\\n' 2>/dev/null | grep '^[0-9a-f]*{}-'",
        short(fingerprint)
    )
}

fn probe(fingerprint: &str) -> Command {
    Command::shell(format!("if {} >/dev/null; then echo {TRUSTED}; else echo {ABSENT}; fi", packages(fingerprint)))
}

fn import(text: &str) -> Command {
    let script = format!("{SCRATCH}cat >\"$new/key\" && rpm --import \"$new/key\"");
    // Nothing may stand before its lines.
    let lines: String = text.lines().map(|line| format!("{}\n", line.trim())).collect();
    Command { stdin: lines.into_bytes(), ..Command::shell(script) }
}

fn erase(fingerprints: &[&str]) -> Command {
    let one = |fingerprint: &&str| {
        format!(
            "{} | while IFS= read -r one; do rpm --erase --allmatches \"gpg-pubkey-$one\" || exit; done",
            packages(fingerprint)
        )
    };
    Command::shell(fingerprints.iter().map(one).collect::<Vec<_>>().join(" &&\n"))
}
