//! Variables files: one YAML or JSON mapping each, as `vars_files`, `include_vars` and `group_vars/` read them.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Diagnostic, Place, Source};
use crate::provenance;
use crate::secret;
use crate::vault::{self, VaultError};
use crate::yaml::{self, Yaml};

use super::{Layer, layer_of};

/// Reads one variables file. An empty file sets nothing.
pub fn read(path: &Path) -> Result<Layer, Diagnostic> {
    layer(&text(path, provenance::content)?)
}

/// Reads a text file of the user's that says what is to be done, so that errors can quote it; one that is encrypted with
/// ansible-vault is decrypted, and quoted by no error.
pub fn source(path: &Path) -> Result<Arc<Source>, Diagnostic> {
    text(path, provenance::definition)
}

fn text(path: &Path, read: impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> Result<Arc<Source>, Diagnostic> {
    let cannot = |why: &dyn std::fmt::Display| Diagnostic::new(format!("cannot read `{}`: {why}", path.display()));
    let bytes = read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Diagnostic::new(format!("`{}` does not exist", path.display())),
        _ => cannot(&error),
    })?;
    let bytes = unsealed(path, bytes)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        cannot(&format!("line {} is not UTF-8", line + 1)).hint("save the file as UTF-8")
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.into(),
        None => text,
    };
    Ok(Arc::new(Source { path: path.into(), text }))
}

/// Reads the one mapping that `source` holds.
pub fn layer(source: &Arc<Source>) -> Result<Layer, Diagnostic> {
    match document(source)? {
        Some(root) if root.as_map().is_some() => Ok(layer_of(&root)),
        Some(root) if !root.is_null() => {
            let message = format!("variables are a mapping, and `{}` holds {}", source.path.display(), root.kind());
            Err(Diagnostic::new(message).at(&root.place).hint("write each variable as `name: value`"))
        }
        _ => Ok(Layer::new()),
    }
}

/// Reads a file of `vars_files`, which may be a list of mappings, too; the later ones win.
pub fn read_all(path: &Path) -> Result<Layer, Diagnostic> {
    let source = text(path, provenance::content)?;
    match document(&source)? {
        Some(root) if is_mappings(&root) => Ok(root.as_list().into_iter().flatten().flat_map(layer_of).collect()),
        _ => layer(&source),
    }
}

/// Says whether a document is a list of nothing but mappings.
pub fn is_mappings(root: &Yaml) -> bool {
    root.as_list().is_some_and(|list| list.iter().all(|item| item.as_map().is_some()))
}

/// Returns the content of a file of the controller, decrypted where it is encrypted with ansible-vault.
pub fn unsealed(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, Diagnostic> {
    if !vault::is_sealed(&bytes) {
        return Ok(bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let opened = vault::open(&text).map_err(|error| {
        let source = Arc::new(Source { path: path.into(), text: text.to_string() });
        wrong(&error, &Place::new(&source, 1, 1))
    })?;
    secret::note_file(path);
    Ok(opened.to_vec())
}

/// Returns the error for a vault text at `place`.
pub fn wrong(error: &VaultError, place: &Place) -> Diagnostic {
    Diagnostic::new(error.to_string()).at(place).hint(error.hint())
}

/// Reads the single YAML document of `source`; `None` where it holds nothing. The values of a file that was decrypted are
/// secrets.
pub fn document(source: &Arc<Source>) -> Result<Option<Yaml>, Diagnostic> {
    let mut documents = yaml::load(source)?.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        let message = format!("`{}` holds more than one YAML document", source.path.display());
        return Err(Diagnostic::new(message).at(&second.place).hint("remove the `---` between them"));
    }
    if let Some(root) = &first {
        hide_values(&source.path, root);
    }
    Ok(first)
}

/// Notes the values of a file as secrets where it was decrypted.
pub fn hide_values(path: &Path, root: &Yaml) {
    if secret::is_noted_file(path) {
        note_values(&root.to_value());
    }
}

/// Notes the texts and long numbers of a decrypted file. A short text is rather a name or a switch, and stands everywhere.
fn note_values(value: &serde_json::Value) {
    match value {
        serde_json::Value::Array(list) => list.iter().for_each(note_values),
        serde_json::Value::Object(map) => map.values().for_each(note_values),
        serde_json::Value::String(text) if text.len() >= SHORTEST && !text.contains("{{") => secret::note(text),
        serde_json::Value::Number(number) if number.to_string().len() >= SHORTEST => secret::note(&number.to_string()),
        _ => {}
    }
}

/// In bytes.
const SHORTEST: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Layer, String> {
        let source = Arc::new(Source { path: "vars.yml".into(), text: text.into() });
        layer(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_without_variables_sets_nothing() {
        assert!(read_text("").unwrap().is_empty());
        assert!(read_text("---\n# nothing yet\n").unwrap().is_empty());
    }

    #[test]
    fn a_file_that_is_no_mapping_is_refused() {
        assert_eq!(
            read_text("- a: 1\n").unwrap_err(),
            "error: variables are a mapping, and `vars.yml` holds a list\n --> vars.yml:1:1\n  |\n1 | - a: 1\n  | ^\n  |\n  = hint: write each variable as `name: value`"
        );
    }

    #[test]
    fn a_list_of_mappings_is_read_for_vars_files_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "- a: 1\n  b: 1\n- b: 2\n").unwrap();
        let mut names: Vec<String> = read_all(file.path()).unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert!(read(file.path()).is_err());
    }

    #[test]
    fn a_vault_file_without_a_password_is_refused_with_its_place() {
        let text = "$ANSIBLE_VAULT;1.2;AES256;nobodys\n6162\n".as_bytes().to_vec();
        let error = unsealed(Path::new("vars.yml"), text).unwrap_err().to_string();
        assert!(error.contains("under the id `nobodys`") && error.contains("vars.yml:1:1"), "{error}");
        assert!(error.contains("--vault-id"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        assert_eq!(read(Path::new("/nowhere/x.yml")).unwrap_err().message, "`/nowhere/x.yml` does not exist");
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_with_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"a: 1\nb: \xff\n").unwrap();
        let error = read(file.path()).unwrap_err();
        assert!(error.message.ends_with("line 2 is not UTF-8"), "{}", error.message);
    }
}
