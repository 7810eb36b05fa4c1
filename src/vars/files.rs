//! Variables files: one YAML or JSON mapping each, as `vars_files`, `include_vars` and `group_vars/` read them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Diagnostic, Place, Source};
use crate::provenance;
use crate::yaml::{self, Data, Yaml};

use super::{Layer, layer_of};

/// Reads one variables file. An empty file sets nothing.
pub fn read(path: &Path) -> Result<Layer, Diagnostic> {
    layer(&text(path, provenance::content)?)
}

/// Reads a text file of the user's that says what is to be done, so that errors can quote it.
pub fn source(path: &Path) -> Result<Arc<Source>, Diagnostic> {
    text(path, provenance::definition)
}

fn text(path: &Path, read: impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> Result<Arc<Source>, Diagnostic> {
    let cannot = |why: &dyn std::fmt::Display| Diagnostic::new(format!("cannot read `{}`: {why}", path.display()));
    let bytes = read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Diagnostic::new(format!("`{}` does not exist", path.display())),
        _ => cannot(&error),
    })?;
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

/// Reads the single YAML document of `source`; `None` where it holds nothing.
///
/// Vault content is refused wherever it stands.
pub fn document(source: &Arc<Source>) -> Result<Option<Yaml>, Diagnostic> {
    if source.text.starts_with("$ANSIBLE_VAULT") {
        let message =
            format!("`{}` is encrypted with Ansible Vault, which is not supported yet", source.path.display());
        return Err(Diagnostic::new(message).at(&Place::new(source, 1, 1)).hint(DECRYPT));
    }
    let mut documents = yaml::load(source)?.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        let message = format!("`{}` holds more than one YAML document", source.path.display());
        return Err(Diagnostic::new(message).at(&second.place).hint("remove the `---` between them"));
    }
    match first.as_ref().and_then(|root| vaulted(root, &mut HashSet::new())) {
        Some(place) => {
            Err(Diagnostic::new("`!vault` values are not supported yet").at(&place).hint("decrypt the value first"))
        }
        None => Ok(first),
    }
}

const DECRYPT: &str = "decrypt the file first: `ansible-vault decrypt`";

/// Finds the first `!vault` value. `seen` holds the collections already searched, because aliases share them.
fn vaulted(node: &Yaml, seen: &mut HashSet<*const Data>) -> Option<Place> {
    if matches!(node.tag.as_deref(), Some("!vault" | "!vault-encrypted")) {
        return Some(node.place.clone());
    }
    match &*node.data {
        Data::List(_) | Data::Map(_) if !seen.insert(Arc::as_ptr(&node.data)) => None,
        Data::List(list) => list.iter().find_map(|item| vaulted(item, seen)),
        Data::Map(map) => map.iter().find_map(|(_, value)| vaulted(value, seen)),
        _ => None,
    }
}

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
    fn vault_content_is_refused_with_its_place() {
        let file = read_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n").unwrap_err();
        assert!(file.contains("`vars.yml` is encrypted with Ansible Vault") && file.contains("vars.yml:1:1"), "{file}");
        let value = read_text("a: 1\nb:\n  - c: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      6162\n").unwrap_err();
        assert!(value.contains("`!vault` values are not supported yet") && value.contains("vars.yml:3:8"), "{value}");
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
