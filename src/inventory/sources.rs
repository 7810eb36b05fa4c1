//! What `-i` may name: a file, a directory, or a list of hosts; and how the kind of a file is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fancy_regex::Regex;

use crate::error::{Diagnostic, Diagnostics, Place, Source};
use crate::regex;
use crate::settings;
use crate::vars::{Layer, Var, VarsDirectory, files, sorted_names};
use crate::yaml::{self, Data, Style, Yaml};

use super::{Inventory, ini, range, script, toml, tree};

/// What is skipped in an inventory directory unless a setting says otherwise (`INVENTORY_IGNORE_EXTS`): backups, documents,
/// and what is no inventory.
const IGNORED: [&str; 12] =
    [".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry"];

/// What is skipped in inventory directories, beside hidden files.
struct Ignored {
    endings: Vec<String>,
    patterns: Vec<Regex>,
}

impl Ignored {
    fn from_settings() -> Result<Ignored, Diagnostic> {
        let words = |variable: &str| {
            let text = settings::value(variable).filter(|text| !text.trim().is_empty())?;
            Some(
                text.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect::<Vec<_>>(),
            )
        };
        let endings = words("ANSIBLE_INVENTORY_IGNORE").unwrap_or_else(|| IGNORED.map(str::to_string).to_vec());
        let patterns = words("ANSIBLE_INVENTORY_IGNORE_REGEX").unwrap_or_default();
        let pattern = |pattern: &String| {
            let wrong = |error| Diagnostic::new(format!("`ANSIBLE_INVENTORY_IGNORE_REGEX`: `{pattern}`: {error}"));
            regex::compiled(pattern, false).map_err(wrong)
        };
        Ok(Ignored { endings, patterns: patterns.iter().map(pattern).collect::<Result<_, _>>()? })
    }

    fn covers(&self, name: &str) -> bool {
        let other = name.starts_with('.') || matches!(name, "group_vars" | "host_vars" | "vars_plugins");
        other
            || self.endings.iter().any(|ending| name.ends_with(ending))
            || self.patterns.iter().any(|pattern| pattern.is_match(name).unwrap_or(false))
    }
}

impl Inventory {
    /// Adds one `-i` to the inventory.
    pub(super) fn add_source(&mut self, source: &str, errors: &mut Diagnostics) {
        let path = Path::new(source);
        if !path.exists() && source.contains(',') {
            return self.add_list(source, errors);
        }
        if !path.exists() {
            let error = Diagnostic::new(format!("inventory `{source}` does not exist"));
            return errors
                .push(error.hint(format!("a file, a directory, or a list of hosts with a comma: `-i {source},`")));
        }
        let directory = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        self.add_path(path, errors);
        if self.directories.iter().all(|known| known.path != directory) {
            self.directories.extend(errors.catch(VarsDirectory::open(directory)));
        }
    }

    fn add_list(&mut self, list: &str, errors: &mut Diagnostics) {
        let source = Arc::new(Source { path: "--inventory".into(), text: list.into() });
        let mut column = 1;
        for entry in list.split(',') {
            let indent = entry.len() - entry.trim_start().len();
            let place = Place::new(&source, 1, column + indent as u32);
            column += entry.chars().count() as u32 + 1;
            if entry.trim().is_empty() {
                continue;
            }
            let expanded = range::expand(entry.trim()).map_err(|error| Diagnostic::new(error).at(&place));
            if let Some((names, port)) = errors.catch(expanded) {
                let vars = Layer::new();
                Definition { group: "ungrouped", port, path: None, vars: &vars }.add(self, names, &place);
            }
        }
    }

    fn add_path(&mut self, path: &Path, errors: &mut Diagnostics) {
        if !path.is_dir() {
            return self.add_file(path, errors);
        }
        let Some(ignored) = errors.catch(Ignored::from_settings()) else { return };
        for name in errors.catch(sorted_names(path)).unwrap_or_default() {
            if !ignored.covers(&name) {
                self.add_path(&path.join(name), errors);
            }
        }
    }

    fn add_file(&mut self, path: &Path, errors: &mut Diagnostics) {
        if script::is_script(path) {
            return script::read(self, path, errors);
        }
        let Some(source) = errors.catch(files::source(path)) else { return };
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
        match extension.as_deref() {
            Some("yml" | "yaml" | "json") => tree::read(self, &source, errors),
            Some("toml") => toml::read(self, &source, errors),
            None if looks_like_yaml(&source) => tree::read(self, &source, errors),
            _ => ini::read(self, &source, errors),
        }
    }
}

/// Tells a YAML inventory without an extension from an INI one.
fn looks_like_yaml(source: &Arc<Source>) -> bool {
    let mut lines = source.text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        None => false,
        Some(first) if first.starts_with("---") || first.starts_with("$ANSIBLE_VAULT") => true,
        Some(first) if first.ends_with(':') => true,
        _ => yaml::load(source).is_ok_and(|documents| documents.first().is_some_and(|root| root.as_map().is_some())),
    }
}

/// What one entry of an inventory says about its hosts.
pub(super) struct Definition<'d> {
    pub group: &'d str,
    pub port: Option<u16>,
    pub path: Option<&'d Path>,
    pub vars: &'d Layer,
}

impl Definition<'_> {
    /// Adds the hosts. A host keeps the port and the file of the entry that named it first.
    pub fn add(&self, inventory: &mut Inventory, names: Vec<String>, place: &Place) {
        let path: Option<PathBuf> = self.path.and_then(|path| std::path::absolute(path).ok());
        for name in names {
            let (host, new) = inventory.add_host(&name, self.group);
            if new {
                host.source = path.clone();
                host.vars.extend(self.port.map(|port| ("ansible_port".into(), port_var(port, place))));
            }
            host.vars.extend(self.vars.clone());
        }
    }
}

fn port_var(port: u16, place: &Place) -> Var {
    let data = Arc::new(Data::Int(port.into()));
    Var::Written(Yaml { data, place: place.clone(), tag: None, style: Style::Plain })
}
