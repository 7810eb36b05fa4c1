//! The files that this process has taken its work from, with their digests: what a plan says that it was made from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest of a password is as good as the password to who can guess it: files that may hold nothing else, and are
/// shorter than this, in bytes, are told by their size.
const SHORT: usize = 64;

static READ: Mutex<BTreeMap<String, Source>> = Mutex::new(BTreeMap::new());

/// A file as it was read first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Absolute.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// SHA-256, in lower-case hexadecimal; not of what is too short to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Source {
    fn of(path: &Path, bytes: &[u8]) -> Source {
        Source { path: absolute(path), size: bytes.len() as u64, sha256: Some(digest(bytes)) }
    }

    /// Says whether the file is no longer as it was read; nothing where it is not there to be read.
    pub fn has_changed(&self) -> Option<bool> {
        let bytes = std::fs::read(&self.path).ok()?;
        let other = self.sha256.as_ref().is_some_and(|sha256| *sha256 != digest(&bytes));
        Some(other || bytes.len() as u64 != self.size)
    }
}

/// Reads a file that says what is to be done: a playbook, tasks, an inventory.
pub fn definition(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    note(Source::of(path, &bytes));
    Ok(bytes)
}

/// Reads a file that says what with: variables, contents, templates.
pub fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    content_as(path, &bytes);
    Ok(bytes)
}

/// Notes such a file, which somebody else has read.
pub fn content_as(path: &Path, bytes: &[u8]) {
    let source = Source::of(path, bytes);
    note(Source { sha256: source.sha256.filter(|_| bytes.len() >= SHORT), ..source });
}

/// Notes such a file, which is too large to be read at once.
pub fn large_content(path: &Path, size: u64, sha256: &str) {
    note(Source { path: absolute(path), size, sha256: Some(sha256.into()) });
}

/// Returns all that was read so far, by path.
pub fn sources() -> Vec<Source> {
    READ.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

fn note(source: Source) {
    READ.lock().unwrap_or_else(PoisonError::into_inner).entry(source.path.clone()).or_insert(source);
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_has_no_digest_and_what_it_belongs_to_has() {
        let directory = tempfile::tempdir().unwrap();
        let (password, playbook) = (directory.path().join("password"), directory.path().join("site.yml"));
        std::fs::write(&password, "geheim\n").unwrap();
        std::fs::write(&playbook, "- hosts: all\n").unwrap();
        content(&password).unwrap();
        definition(&playbook).unwrap();
        let of = |path: &Path| sources().into_iter().find(|source| source.path == absolute(path)).unwrap();
        assert_eq!((of(&password).sha256, of(&password).size), (None, 7));
        assert_eq!(of(&playbook).sha256, Some(digest(b"- hosts: all\n")));
        assert_eq!(of(&playbook).has_changed(), Some(false));
        std::fs::write(&password, "another\n").unwrap();
        assert_eq!(of(&password).has_changed(), Some(true));
        std::fs::remove_file(&playbook).unwrap();
        assert_eq!(of(&playbook).has_changed(), None);
    }
}
