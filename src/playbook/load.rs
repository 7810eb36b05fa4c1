//! From the path of a playbook to its plays: what the loader must know of the program, and the one call that loads.

use std::path::{Path, PathBuf};

use crate::error::{Diagnostic, Diagnostics};
use crate::vars::Layer;
use crate::yaml::Yaml;

use super::Playbook;
use super::files::Files;
use super::play::Imported;
use super::reader::{Reader, normal};

/// Renders a text that must be known before the run with the variables that are the same for all hosts (extra vars are the closure's own).
pub type RenderName = Box<dyn Fn(&Yaml, Layer) -> Result<String, Diagnostic> + Send + Sync>;

/// What loading needs to know; kept for the run, whose includes it reads.
#[derive(Default)]
pub struct Loader {
    /// The short names of all modules and of the runner's own actions.
    pub actions: Vec<&'static str>,
    /// The names that `with_X` may have; empty: not checked here.
    pub lookups: Vec<&'static str>,
    /// Where roles are looked for after the playbook's own `roles/`.
    pub roles_path: Vec<PathBuf>,
    /// `None`: such texts cannot be templates.
    pub render: Option<RenderName>,
    pub(super) files: Files,
}

impl Loader {
    pub fn new(actions: Vec<&'static str>) -> Loader {
        Loader { actions, ..Loader::default() }
    }

    /// Returns the places of Ansible's default `roles_path`.
    pub fn default_roles_path(home: Option<&Path>) -> Vec<PathBuf> {
        let own = home.map(|home| home.join(".ansible/roles"));
        own.into_iter().chain(["/usr/share/ansible/roles".into(), "/etc/ansible/roles".into()]).collect()
    }
}

/// Loads a playbook with everything it imports; returns every error that can be found before anything runs.
pub fn load(path: &Path, loader: &Loader) -> Result<Playbook, Diagnostics> {
    let path = normal(path);
    let document = loader.files.document(&path)?;
    let mut reader = Reader::start(loader, &path);
    let plays = reader.plays(&path, document, &Imported::default());
    in_order(reader.errors).or(Playbook { plays })
}

/// Sorts the errors of each file by line; the files stay in the order in which they were read.
fn in_order(mut errors: Diagnostics) -> Diagnostics {
    let path = |error: &Diagnostic| error.place.as_ref().map(|place| place.source.path.clone());
    let mut files: Vec<Option<PathBuf>> = Vec::new();
    for error in &errors.0 {
        if !files.contains(&path(error)) {
            files.push(path(error));
        }
    }
    errors.0.sort_by_key(|error| {
        let place = error.place.as_ref().map(|place| (place.line, place.column));
        (files.iter().position(|file| *file == path(error)), place)
    });
    errors
}

#[cfg(test)]
mod tests {
    use super::super::testing::errors_of;

    /// Cases of a playbook and the errors drawn for it.
    const ERRORS: &str = include_str!("errors.txt");

    #[test]
    fn every_error_is_drawn_as_shown() {
        for case in ERRORS.split("=====\n").skip(1) {
            let (playbook, drawn) = case.split_once("-----\n").unwrap();
            assert_eq!(format!("{}\n", errors_of(playbook)), drawn, "{playbook}");
        }
    }
}
