//! Plan files: JSON Lines with a digest at the end; what may not be shown is encrypted with the vault password.
//!
//! The lines, in this order: one `{"plan": ...}` ([`Head`]), `{"source": ...}`
//! ([`Source`]) for each file that was read for it, `{"route": ...}` ([`Route`]) for each way to reach a
//! machine, `{"batch": ...}` ([`Batch`]) for each batch of a play, `{"step": ...}` ([`Step`]) for each step, one `{"end": ...}` with the number of steps and the SHA-256 of
//! all bytes before it. `format` grows when an older Cutover would misread a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::change::{Diff, Secrecy};
use crate::error::Diagnostic;
use crate::provenance::Source;
use crate::secret::Secret;
use crate::transport::node::hex;
use crate::vault;

use super::{Batch, Head, Plan, Read, Route, Step};

/// What this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Plan(Box<Head>),
    Source(Source),
    Route(Route),
    Batch(Batch),
    Step(Box<Step>),
    End(End),
}

#[derive(Serialize, Deserialize)]
struct End {
    steps: usize,
    sha256: String,
}

/// The changes of a step that may not be shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// They, as JSON in a vault text.
    changes: String,
    /// What may be shown of them.
    pub diffs: Vec<Diff>,
}

impl Plan {
    /// Writes the plan, for its owner only; a file of that name is replaced when all is written. Returns whether a part of
    /// it is encrypted.
    pub fn save(&self, path: &Path, password: Option<&Secret>) -> Result<bool, Diagnostic> {
        let (mut text, mut any) = (String::new(), false);
        line(&mut text, &Line::Plan(Box::new(self.head.clone())))?;
        for source in &self.sources {
            line(&mut text, &Line::Source(source.clone()))?;
        }
        for route in &self.routes {
            line(&mut text, &Line::Route(route.clone()))?;
        }
        for batch in &self.batches {
            line(&mut text, &Line::Batch(batch.clone()))?;
        }
        for step in &self.steps {
            let step = sealed(step, password)?;
            any |= step.sealed.is_some();
            line(&mut text, &Line::Step(Box::new(step)))?;
        }
        let end = End { steps: self.steps.len(), sha256: digest(text.as_bytes()) };
        line(&mut text, &Line::End(end))?;
        write(path, &text)
            .map_err(|error| Diagnostic::new(format!("the plan `{}` cannot be written: {error}", path.display())))?;
        Ok(any)
    }

    /// Reads a plan. Without the password, steps that may not be shown stay sealed.
    pub fn load(path: &Path, password: Option<&Secret>) -> Result<Plan, Diagnostic> {
        Plan::parse(path, &Plan::read(path)?, password)
    }

    /// Returns the text of a plan's file.
    pub fn read(path: &Path) -> Result<String, Diagnostic> {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| Diagnostic::new(format!("the plan `{}` cannot be read: {error}", path.display())))
    }

    /// Returns the plan of a text that was read from `path`.
    pub fn parse(path: &Path, text: &str, password: Option<&Secret>) -> Result<Plan, Diagnostic> {
        let name = path.display();
        let wrong = |number: usize, why: &str| {
            Diagnostic::new(format!("`{name}`, line {number}: {why}")).hint("`cutover plan` makes such a file")
        };
        let mut plan = Plan::default();
        let (mut before, mut end) = (0, None);
        for (index, whole) in text.split_inclusive('\n').enumerate() {
            let number = index + 1;
            if end.is_some() {
                return Err(wrong(number, "something stands after the plan's end"));
            }
            // Before the rest is understood: a newer format may have lines that are not known here.
            if index == 0 {
                plan.head = head(whole).map_err(|why| wrong(number, &why))?;
            } else {
                let read = serde_json::from_str(whole);
                let read = read.map_err(|error| wrong(number, &format!("the line is cut or damaged: {error}")))?;
                match read {
                    Line::Plan(_) => return Err(wrong(number, "a second head")),
                    Line::Source(source) => plan.sources.push(source),
                    Line::Route(route) => plan.routes.push(route),
                    Line::Batch(batch) => plan.batches.push(batch),
                    Line::Step(step) => plan.steps.push(*step),
                    Line::End(found) => {
                        let found_digest = digest(&text.as_bytes()[..before]);
                        if found.sha256 != found_digest || found.steps != plan.steps.len() {
                            let why = "the plan is not as it was written: its digest does not fit";
                            return Err(wrong(number, why).hint("make it anew; a plan is not edited by hand"));
                        }
                        end = Some(());
                    }
                }
            }
            before += whole.len();
        }
        if end.is_none() {
            let count = text.lines().count();
            return Err(wrong(count, "the plan ends early: a part of the file is missing"));
        }
        let routes = plan.routes.len();
        let strays = |step: &&Step| {
            let stray = step.route.iter().chain(step.peers.values()).any(|route| *route >= routes);
            stray || step.batch >= plan.batches.len()
        };
        if let Some(step) = plan.steps.iter().find(strays) {
            return Err(Diagnostic::new(format!(
                "`{name}`: the step at {} names a route or a batch that is not there",
                step.place
            )));
        }
        if let Some(password) = password {
            for step in &mut plan.steps {
                unseal(step, password).map_err(|why| {
                    Diagnostic::new(format!("`{name}`: the step `{}` ({}): {why}", step.name, step.place))
                })?;
            }
        }
        Ok(plan)
    }
}

impl Read {
    /// Reads a file.
    pub fn of(path: &Path) -> Result<Read, Diagnostic> {
        let bytes = std::fs::read(path);
        let bytes = bytes.map_err(|error| Diagnostic::new(format!("`{}`: {error}", path.display())))?;
        Ok(Read::from(path, &bytes))
    }

    /// A file that these bytes were read from.
    pub fn from(path: &Path, bytes: &[u8]) -> Read {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        Read { path: path.display().to_string(), sha256: digest(bytes) }
    }
}

fn line(text: &mut String, line: &Line) -> Result<(), Diagnostic> {
    let json = serde_json::to_string(line);
    *text += &json.map_err(|error| Diagnostic::new(format!("a step cannot be saved: {error}")))?;
    text.push('\n');
    Ok(())
}

fn head(line: &str) -> Result<Head, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|_| "this is no plan".to_string())?;
    match value.pointer("/plan/format").and_then(serde_json::Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => {
            let version = value.pointer("/plan/version").and_then(serde_json::Value::as_str).unwrap_or("newer");
            return Err(format!("the plan has format {format}, of Cutover {version}; this one reads up to {FORMAT}"));
        }
        Some(_) => {}
        None => return Err("this is no plan".into()),
    }
    match serde_json::from_value(value) {
        Ok(Line::Plan(head)) => Ok(*head),
        Ok(_) => Err("this is no plan".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the step as it is saved.
fn sealed(step: &Step, password: Option<&Secret>) -> Result<Step, Diagnostic> {
    let hidden = step.changes.iter().any(|change| change.secrecy(step.secrecy()) == Secrecy::Hidden);
    if !hidden || step.sealed.is_some() {
        return Ok(step.clone());
    }
    let Some(password) = password else {
        let message = format!("task `{}` ({}) changes what may not be shown", step.name, step.place);
        let hint = "a plan keeps it encrypted: `--vault-password-file FILE` or `--ask-vault-pass`";
        return Err(Diagnostic::new(message).hint(hint));
    };
    let changes = vault::seal(&step.changes, password);
    let changes = changes.map_err(|error| Diagnostic::new(format!("a step cannot be saved: {error}")))?;
    let sealed = Sealed { changes, diffs: step.diffs() };
    Ok(Step { changes: Vec::new(), sealed: Some(sealed), ..step.clone() })
}

/// Decrypts the changes of a step, and refuses those that are not what was shown of them.
fn unseal(step: &mut Step, password: &Secret) -> Result<(), String> {
    let Some(sealed) = step.sealed.take() else { return Ok(()) };
    step.changes = vault::unseal(&sealed.changes, password)?;
    match step.diffs() == sealed.diffs {
        true => Ok(()),
        false => Err("what is shown of it is not what it would change".into()),
    }
}

/// Returns a SHA-256 in lower-case hexadecimal.
fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Says where a plan of this name is written: a link is followed, and what is no file stays what it is.
pub fn destination(path: &Path) -> std::io::Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() => std::fs::canonicalize(path),
        Ok(_) => Err(std::io::Error::other("it is there, and is no file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path.into()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = &destination(path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Its mode is 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(directory)?.sync_all()
}
