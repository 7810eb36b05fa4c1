//! `cutover lint`: what is wrong with playbooks and roles, without a host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::keys::VaultPassword;
use super::play;
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Inventory;
use crate::lint::{self, Around, Found, Grade};
use crate::playbook::{self, Loader};
use crate::secret;
use crate::template::Templates;
use crate::vars::{self, Fleet};

/// Find what is wrong with playbooks and roles; no host is touched.
///
/// An error is what a run would refuse or fail at; a warning is what would run and is hardly meant. What is told is certain:
/// a variable is called undefined only where no file, fact, register or `-e` of this command line defines it and no text
/// asks whether it is defined - so give the inventory and the variables that a run is given. Without an inventory, undefined
/// variables are looked for only in plays of `localhost`. Each playbook is looked at by itself; a directory is a role.
///
/// The exit code is 0 where nothing was found, 2 where something was, and 1 where a file named here cannot be read.
#[derive(clap::Args)]
#[command(after_long_help = rules())]
pub struct Arguments {
    /// Playbooks, and directories of roles
    #[arg(required = true, value_name = "PLAYBOOK|ROLE")]
    paths: Vec<PathBuf>,
    /// Inventory: a file, a directory, or hosts with a comma (`web1,`); may be repeated
    #[arg(short, long, value_name = "INVENTORY", env = "ANSIBLE_INVENTORY")]
    inventory: Vec<String>,
    /// Variables that a run is given: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// How findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    vault: VaultPassword,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Each with its line and what to do
    Text,
    /// One document, for programs
    Json,
}

fn rules() -> String {
    let lines = lint::RULES.iter().map(|rule| format!("\n  {:<20} {}: {}", rule.name, rule.grade.name(), rule.summary));
    format!("Rules:{}", lines.collect::<String>())
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    arguments.vault.read()?;
    let mut errors = Diagnostics::default();
    let mut take = |result: Result<_, Diagnostics>| result.map_err(|found| errors.extend(found)).ok();
    let extra = take(vars::extra(&arguments.extra_vars)).unwrap_or_default();
    let inventory = Inventory::load(&arguments.inventory).map_err(|found| errors.extend(found)).unwrap_or_default();
    for path in &arguments.paths {
        errors.catch(readable(path));
    }
    errors.or(())?;
    let templates = Arc::new(Templates::new());
    let fleet = Arc::new(Fleet::new(inventory, extra));
    let mut found = Found::default();
    for path in &arguments.paths {
        let loader = play::loader(&fleet, &templates);
        let has_inventory = !arguments.inventory.is_empty();
        let look = Looking { loader, templates: &templates, fleet: &fleet, has_inventory };
        found.join(look.at(path)?);
    }
    found.sort();
    print(&found, arguments.format).map_err(Stop::Output)?;
    Ok(if found.findings.is_empty() { 0 } else { 2 })
}

/// Says why a file cannot be looked at at all.
fn readable(path: &Path) -> Result<(), Diagnostic> {
    let cannot = |why: &dyn std::fmt::Display| Diagnostic::new(format!("cannot read `{}`: {why}", path.display()));
    if path.is_dir() {
        return match lint::role::Alone::new(path) {
            Some(_) => Ok(()),
            None => Err(cannot(&"it is a directory and no role").hint("a role has `tasks/`, `handlers/` or `meta/`")),
        };
    }
    std::fs::File::open(path).map(drop).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => cannot(&"there is no such file"),
        std::io::ErrorKind::PermissionDenied => cannot(&"permission denied"),
        _ => cannot(&error),
    })
}

struct Looking<'a> {
    loader: Loader,
    templates: &'a Templates,
    fleet: &'a Arc<Fleet>,
    has_inventory: bool,
}

impl Looking<'_> {
    fn at(mut self, path: &Path) -> Result<Found, Diagnostic> {
        let Some(role) = Some(path).filter(|path| path.is_dir()).and_then(lint::role::Alone::new) else {
            return Ok(self.playbook(path));
        };
        self.loader.roles_path.insert(0, role.roles.clone());
        let mut found = self.given(role.playbook())?;
        for other in role.others(&self.loader.read()) {
            found.join(self.given(other)?);
        }
        Ok(found)
    }

    fn given(&self, (path, text): (PathBuf, String)) -> Result<Found, Diagnostic> {
        self.loader.give(&path, &text)?;
        Ok(self.playbook(&path))
    }

    fn playbook(&self, path: &Path) -> Found {
        let (playbook, errors) = playbook::load_all(path, &self.loader);
        let Looking { loader, templates, fleet, has_inventory } = self;
        lint::playbook((&playbook, errors), &Around { loader, templates, fleet, has_inventory: *has_inventory })
    }
}

fn print(found: &Found, format: Format) -> std::io::Result<()> {
    let mut out = anstream::stdout();
    if format == Format::Json {
        return writeln!(out, "{:#}", document(found));
    }
    for finding in &found.findings {
        let is_warning = finding.rule.grade == Grade::Warning;
        writeln!(out, "{}\n", secret::mask(&finding.diagnostic.drawn_as(finding.rule.name, is_warning)))?;
    }
    let mut err = anstream::stderr();
    for note in &found.notes {
        writeln!(err, "note: {note}")?;
    }
    let count = |grade: Grade| found.findings.iter().filter(|finding| finding.rule.grade == grade).count();
    let (errors, warnings) = (count(Grade::Error), count(Grade::Warning));
    let of = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    match errors + warnings {
        0 => writeln!(err, "nothing was found"),
        _ => writeln!(err, "{}, {}", of(errors, "error"), of(warnings, "warning")),
    }
}

fn document(found: &Found) -> serde_json::Value {
    let finding = |finding: &lint::Finding| {
        let Diagnostic { message, place, hint, .. } = &finding.diagnostic;
        json!({
            "rule": finding.rule.name,
            "grade": finding.rule.grade.name(),
            "message": secret::mask(message),
            "hint": hint.as_deref().map(secret::mask),
            "file": place.as_ref().map(|place| place.source.path.display().to_string()),
            "line": place.as_ref().map(|place| place.line),
            "column": place.as_ref().map(|place| place.column),
        })
    };
    json!({ "findings": found.findings.iter().map(finding).collect::<Vec<_>>(), "notes": found.notes })
}
