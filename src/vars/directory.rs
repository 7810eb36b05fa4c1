//! `group_vars/` and `host_vars/` of one directory: that of an inventory, or that of a playbook.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics};

use super::{Layer, files};

/// What the variables files of one directory say about the groups and hosts that were asked for.
#[derive(Clone, Debug, Default)]
pub struct VarsDirectory {
    pub path: PathBuf,
    groups: Entries,
    hosts: Entries,
    pub warnings: Vec<String>,
}

/// One of the two directories: its entries' names, and what was read of them.
#[derive(Clone, Debug, Default)]
struct Entries {
    path: PathBuf,
    names: Vec<String>,
    layers: HashMap<String, Option<Arc<Layer>>>,
}

impl VarsDirectory {
    /// Lists the files below `path`; nothing is read yet. A directory without them is an empty one.
    pub fn open(path: &Path) -> Result<VarsDirectory, Diagnostic> {
        let groups = Entries::list(path.join("group_vars"))?;
        let hosts = Entries::list(path.join("host_vars"))?;
        Ok(VarsDirectory { path: path.into(), groups, hosts, warnings: Vec::new() })
    }

    /// Reads the files of these groups and hosts, each once.
    pub fn load<'n>(
        &mut self,
        groups: impl IntoIterator<Item = &'n str>,
        hosts: impl IntoIterator<Item = &'n str>,
    ) -> Result<(), Diagnostics> {
        let mut errors = Diagnostics::default();
        for group in groups {
            self.groups.load(group, &mut errors, &mut self.warnings);
        }
        for host in hosts {
            self.hosts.load(host, &mut errors, &mut self.warnings);
        }
        errors.or(())
    }

    pub fn group(&self, name: &str) -> Option<&Arc<Layer>> {
        self.groups.layers.get(name)?.as_ref()
    }

    pub fn host(&self, name: &str) -> Option<&Arc<Layer>> {
        self.hosts.layers.get(name)?.as_ref()
    }
}

impl Entries {
    fn list(path: PathBuf) -> Result<Entries, Diagnostic> {
        let names = if path.is_dir() { sorted_names(&path)? } else { Vec::new() };
        Ok(Entries { path, names, layers: HashMap::new() })
    }

    fn load(&mut self, name: &str, errors: &mut Diagnostics, warnings: &mut Vec<String>) {
        if self.layers.contains_key(name) {
            return;
        }
        let candidates = EXTENSIONS.iter().map(|extension| format!("{name}{extension}"));
        let mut found = candidates.filter(|candidate| self.names.binary_search(candidate).is_ok());
        let layer = found.next().and_then(|first| {
            for ignored in found {
                let (ignored, first) = (self.path.join(ignored), self.path.join(&first));
                warnings.push(format!("`{}` is not read, because `{}` exists", ignored.display(), first.display()));
            }
            read_all(&self.path.join(first), errors)
        });
        self.layers.insert(name.into(), layer.map(Arc::new));
    }
}

/// In the order in which Ansible looks: the first that exists is the only one read.
const EXTENSIONS: [&str; 4] = ["", ".yml", ".yaml", ".json"];

/// Reads a file, or every variables file below a directory, later names winning.
fn read_all(path: &Path, errors: &mut Diagnostics) -> Option<Layer> {
    if !path.is_dir() {
        return errors.catch(files::read(path));
    }
    let mut layer = Layer::new();
    for name in errors.catch(sorted_names(path))? {
        let inner = path.join(&name);
        let extension = inner.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        let hidden = name.starts_with('.') || name.ends_with('~');
        let wanted = match &extension {
            None => true,
            Some(extension) => !inner.is_dir() && EXTENSIONS.contains(&extension.as_str()),
        };
        if !hidden && wanted {
            layer.extend(read_all(&inner, errors).unwrap_or_default());
        }
    }
    Some(layer)
}

/// Returns the names in a directory, sorted by byte value.
pub fn sorted_names(path: &Path) -> Result<Vec<String>, Diagnostic> {
    let cannot = |error| Diagnostic::new(format!("cannot list `{}`: {error}", path.display()));
    let entries = std::fs::read_dir(path).map_err(cannot)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn value(layer: Option<&Arc<Layer>>, name: &str) -> String {
        match layer.and_then(|layer| layer.get(name)) {
            Some(super::super::Var::Written(node)) => node.to_value().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_directory_is_read_recursively_in_sorted_order() {
        let root = directory(&[
            ("group_vars/web/b.yml", "x: b\n"),
            ("group_vars/web/a.yml", "x: a\ny: a\n"),
            ("group_vars/web/c/d", "z: d\n"),
            ("group_vars/web/old.d/e.yml", "z: old\n"),
            ("group_vars/web/notes.txt", "not: read"),
            ("group_vars/web/.hidden.yml", "x: hidden\n"),
            ("group_vars/web/z.yml~", "x: backup\n"),
        ]);
        let mut vars = VarsDirectory::open(root.path()).unwrap();
        vars.load(["web"], []).unwrap();
        let web = vars.group("web");
        assert_eq!([value(web, "x"), value(web, "y"), value(web, "z")], [r#""b""#, r#""a""#, r#""d""#]);
        assert_eq!(web.unwrap().len(), 3);
    }

    #[test]
    fn dots_in_a_host_name_are_no_extension() {
        let root = directory(&[("host_vars/mx1.example.com.yaml", "x: 1\n"), ("host_vars/mx2.example.com", "x: 2\n")]);
        let mut vars = VarsDirectory::open(root.path()).unwrap();
        vars.load([], ["mx1.example.com", "mx2.example.com", "mx3.example.com"]).unwrap();
        assert_eq!(value(vars.host("mx1.example.com"), "x"), "1");
        assert_eq!(value(vars.host("mx2.example.com"), "x"), "2");
        assert!(vars.host("mx3.example.com").is_none());
    }

    #[test]
    fn only_the_first_of_two_files_is_read_and_the_other_is_named() {
        let root = directory(&[("group_vars/all/x.yml", "x: 1\n"), ("group_vars/all.yml", "x: 2\n")]);
        let mut vars = VarsDirectory::open(root.path()).unwrap();
        vars.load(["all"], []).unwrap();
        assert_eq!(value(vars.group("all"), "x"), "1");
        let (ignored, first) = (root.path().join("group_vars/all.yml"), root.path().join("group_vars/all"));
        let warning = format!("`{}` is not read, because `{}` exists", ignored.display(), first.display());
        assert_eq!(vars.warnings, [warning]);
    }

    #[test]
    fn every_bad_file_is_reported() {
        let root = directory(&[("group_vars/all.yml", "- 1\n"), ("host_vars/a.yml", "x: [\n")]);
        let mut vars = VarsDirectory::open(root.path()).unwrap();
        assert_eq!(vars.load(["all"], ["a"]).unwrap_err().0.len(), 2);
    }
}
