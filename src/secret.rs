//! Texts that must not be shown: passwords, and what was decrypted; and the masking of texts that hold them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use zeroize::Zeroizing;

/// What stands where a secret would be shown.
pub const MASK: &str = "********";

/// Shorter texts, in bytes, are not masked: they stand in half of all other texts, and keep nothing.
const SHORTEST: usize = 4;

/// Printed as `********`, wiped when dropped, never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// Returns the text itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl std::hash::Hash for Secret {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

/// What this process has decrypted. The longest come first, so that a part of one does not leave the rest of it.
#[derive(Default)]
struct Noted {
    texts: BTreeSet<(std::cmp::Reverse<usize>, String)>,
    files: HashSet<PathBuf>,
}

static NOTED: RwLock<Option<Noted>> = RwLock::new(None);

/// Notes a text that must not be shown from now on: as a whole, each of its lines, and as a shell or JSON quotes it.
pub fn note(text: &str) {
    let lines = text.lines().map(str::trim);
    let forms = lines.flat_map(|line| [line.to_string(), line.replace('\'', "'\\''"), escaped(line)]);
    let forms: Vec<String> = forms.filter(|form| form.len() >= SHORTEST).collect();
    let known = |noted: &Noted| forms.iter().all(|form| noted.texts.contains(&key(form)));
    if NOTED.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(known) {
        return;
    }
    let mut noted = NOTED.write().unwrap_or_else(PoisonError::into_inner);
    noted.get_or_insert_default().texts.extend(forms.iter().map(|form| key(form)));
}

/// Notes a file that was decrypted, so that no error quotes it.
pub fn note_file(path: &Path) {
    let mut noted = NOTED.write().unwrap_or_else(PoisonError::into_inner);
    noted.get_or_insert_default().files.insert(path.into());
}

pub fn is_noted_file(path: &Path) -> bool {
    NOTED.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|noted| noted.files.contains(path))
}

/// Returns all texts that must not be shown.
pub fn noted() -> Vec<String> {
    let noted = NOTED.read().unwrap_or_else(PoisonError::into_inner);
    noted.iter().flat_map(|noted| noted.texts.iter().map(|(_, text)| text.clone())).collect()
}

/// Says whether one of them is in `bytes`.
pub fn holds(bytes: &[u8]) -> bool {
    let noted = NOTED.read().unwrap_or_else(PoisonError::into_inner);
    let mut texts = noted.iter().flat_map(|noted| noted.texts.iter());
    texts.any(|(_, text)| memchr::memmem::find(bytes, text.as_bytes()).is_some())
}

/// Returns a text with [`MASK`] in place of each of them.
pub fn mask(text: &str) -> Cow<'_, str> {
    let noted = NOTED.read().unwrap_or_else(PoisonError::into_inner);
    let mut masked = Cow::Borrowed(text);
    for (_, secret) in noted.iter().flat_map(|noted| noted.texts.iter()) {
        if masked.contains(secret.as_str()) {
            masked = masked.replace(secret.as_str(), MASK).into();
        }
    }
    masked
}

/// Masks every text of a JSON value.
pub fn mask_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(masked) = mask(text) {
                *text = masked;
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(mask_json),
        serde_json::Value::Object(map) => map.values_mut().for_each(mask_json),
        _ => {}
    }
}

fn key(text: &str) -> (std::cmp::Reverse<usize>, String) {
    (std::cmp::Reverse(text.len()), text.into())
}

fn escaped(line: &str) -> String {
    let quoted = serde_json::Value::from(line).to_string();
    quoted[1..quoted.len() - 1].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_text_is_masked_in_every_form_that_it_is_shown_in() {
        note("it's-a-\"secret\"\nand-its-second-line\nx");
        assert_eq!(mask("p='it'\\''s-a-\"secret\"'"), "p='********'");
        assert_eq!(mask("{\"p\":\"it's-a-\\\"secret\\\"\"}"), "{\"p\":\"********\"}");
        assert_eq!(mask("1 and-its-second-line x"), "1 ******** x");
        assert!(holds(b"..and-its-second-line..") && !holds(b"x"));
    }
}
