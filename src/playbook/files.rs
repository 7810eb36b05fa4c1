//! The files of a playbook: each read and parsed once; the only place of the loader that touches the disk.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Diagnostic, Place, Source};
use crate::provenance;
use crate::vars;
use crate::yaml::{self, Yaml};

/// What was read so far, by path as asked for.
#[derive(Default)]
pub(super) struct Files {
    read: Mutex<HashMap<PathBuf, Result<Option<Yaml>, Diagnostic>>>,
}

impl Files {
    /// Returns the one document of a file, or nothing where it has none.
    pub fn document(&self, path: &Path) -> Result<Option<Yaml>, Diagnostic> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.entry(path.into()).or_insert_with(|| read_document(path)).clone()
    }

    /// Takes `text` for what stands in the file at `path`.
    pub fn give(&self, path: &Path, text: &str) -> Result<(), Diagnostic> {
        let document = parse(&Arc::new(Source { path: path.into(), text: text.into() }))?;
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into(), Ok(document));
        Ok(())
    }

    /// Returns the paths of the files that were read so far, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut paths: Vec<PathBuf> =
            read.iter().filter(|(_, file)| file.is_ok()).map(|(path, _)| path.clone()).collect();
        paths.sort();
        paths
    }
}

fn read_document(path: &Path) -> Result<Option<Yaml>, Diagnostic> {
    let cannot = |why: &str| Diagnostic::new(format!("cannot read `{}`: {why}", path.display()));
    let bytes = provenance::definition(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => cannot("there is no such file"),
        ErrorKind::IsADirectory => cannot("it is a directory"),
        ErrorKind::PermissionDenied => cannot("permission denied"),
        _ => cannot(&error.to_string()),
    })?;
    let bytes = vars::files::unsealed(path, bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8 text"))?;
    parse(&Arc::new(Source { path: path.into(), text }))
}

/// Returns the one document of a text.
pub(super) fn parse(source: &Arc<Source>) -> Result<Option<Yaml>, Diagnostic> {
    let mut documents = yaml::load(source)?;
    if let Some(second) = documents.get(1) {
        let message = "a second document starts here, and one file holds one";
        return Err(Diagnostic::new(message).at(&second.place).hint("remove the `---` before it"));
    }
    Ok(documents.pop().filter(|root| !root.is_null()))
}

/// Returns the first of these that is a file.
pub(super) fn first_file(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates.into_iter().find(|path| path.is_file())
}

/// Returns the files below a directory, sorted by name, those of its own directories in their place.
pub(super) fn all_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

/// Says that `what` was not found, and where it was looked for.
pub(super) fn not_found(what: &str, candidates: &[PathBuf], place: &Place) -> Diagnostic {
    let mut shown: Vec<String> = Vec::new();
    for path in candidates.iter().map(|path| path.display().to_string()) {
        if !shown.contains(&path) {
            shown.push(path);
        }
    }
    let looked = format!("looked for {}", shown.join(", "));
    Diagnostic::new(format!("{what}{MISSING}")).at(place).hint(looked)
}

const MISSING: &str = " is not there";

/// Says whether an error is that something was not found.
pub fn is_missing(error: &Diagnostic) -> bool {
    error.message.ends_with(MISSING)
}
