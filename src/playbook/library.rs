//! Modules of the user's: files in a `library/` beside the playbook or in a role, and in collections on disk.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::Diagnostic;
use crate::provenance;

/// Where modules of the user's are, and where collections are looked for after those beside the playbook.
#[derive(Default)]
pub struct Library {
    /// Directories that hold modules, after `library/` beside the playbook and those of roles.
    pub path: Vec<PathBuf>,
    /// Directories that hold `ansible_collections`.
    pub collections: Vec<PathBuf>,
    known: Mutex<Known>,
}

/// What the directories that were read so far hold, by name.
#[derive(Default)]
struct Known {
    read: HashSet<PathBuf>,
    modules: HashMap<String, PathBuf>,
}

/// A module of the user's.
#[derive(Debug)]
pub struct Custom {
    pub path: PathBuf,
    pub content: Vec<u8>,
    pub protocol: Protocol,
    /// The words of its `#!` line; none: it is executed itself.
    pub interpreter: Vec<String>,
    /// It says of itself that it changes nothing where it is told that it runs in a check.
    pub check_safe: bool,
}

/// How a module is given its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A file with one JSON object, whose path is the first argument.
    Json,
    /// The JSON text stands in the module in place of [`JSON_ARGS`].
    Within,
    /// A file with `key=value` words quoted for a shell, whose path is the first argument.
    Words,
}

/// What stands in a module for its arguments.
pub const JSON_ARGS: &str = "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>";

/// Ends of names of files beside modules that are none.
const NO_MODULES: &[&str] = &["pyc", "pyo", "swp", "bak", "rpm", "md", "txt", "rst", "yml", "yaml", "ini", "json"];

impl Library {
    /// Finds a module by its name: `hello`, `ansible.legacy.hello`, or `ns.collection.hello`.
    pub fn find(&self, name: &str, playbook: &Path) -> Option<PathBuf> {
        if name.starts_with("ansible.builtin.") {
            return None;
        }
        let name = name.strip_prefix("ansible.legacy.").unwrap_or(name);
        if let [namespace, collection, module] = name.split('.').collect::<Vec<_>>()[..] {
            let mut places = self.collections(playbook).into_iter();
            return places.find_map(|place| {
                let directory = place.join(namespace).join(collection).join("plugins/modules");
                entries(&directory).into_iter().find(|(name, _)| name == module).map(|(_, path)| path)
            });
        }
        self.add(&playbook.join("library"));
        self.path.iter().for_each(|directory| self.add(directory));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.modules.get(name).cloned()
    }

    /// Adds the modules of a directory, where it is one; those that are there already stay.
    pub fn add(&self, directory: &Path) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.read.insert(directory.into()) {
            for (name, path) in entries(directory) {
                known.modules.entry(name).or_insert(path);
            }
        }
    }

    /// Returns the `ansible_collections` directories, the nearest first.
    pub fn collections(&self, playbook: &Path) -> Vec<PathBuf> {
        let near = playbook.join("collections");
        std::iter::once(&near).chain(&self.collections).map(|place| place.join("ansible_collections")).collect()
    }
}

/// Returns the modules of a directory, by name.
fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let (name, ending) = name.split_once('.').unwrap_or((name, ""));
            let is_module = !name.is_empty() && !name.ends_with('~') && !ending.ends_with('~');
            let name = name.trim_start_matches('_').to_string();
            (is_module && name != "init" && !NO_MODULES.contains(&ending) && path.is_file()).then_some((name, path))
        })
        .collect();
    found.retain(|(name, _)| !name.starts_with("init__"));
    found.sort();
    found
}

/// Reads a module; one that needs Ansible's own library in Python, or PowerShell, is refused.
pub fn read(path: &Path) -> Result<Custom, Diagnostic> {
    let cannot = |why: &dyn std::fmt::Display| Diagnostic::new(format!("cannot read `{}`: {why}", path.display()));
    let content = provenance::definition(path).map_err(|error| cannot(&error))?;
    let has = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if has("ansible.module_utils") || has("#<<INCLUDE_ANSIBLE_MODULE_COMMON>>") || has("ansible_collections.") {
        let message = format!("the module `{name}` needs Ansible's own library of Python, which is not here");
        let hint = "modules that speak JSON or `key=value` run, in any language that the host has; see docs/modules.md";
        return Err(Diagnostic::new(message).hint(hint));
    }
    if path.extension().is_some_and(|ending| ending == "ps1") || has("#Requires -Module Ansible") {
        return Err(Diagnostic::new(format!("the module `{name}` is for Windows")));
    }
    let first = content.split(|byte| *byte == b'\n').next().unwrap_or(b"");
    let line = String::from_utf8_lossy(first);
    let words = line.strip_prefix("#!").map(|rest| rest.split_whitespace().map(String::from).collect::<Vec<_>>());
    let protocol = match () {
        () if content.contains(&0) || has("WANT_JSON") => Protocol::Json,
        () if has(JSON_ARGS) => Protocol::Within,
        () => Protocol::Words,
    };
    let check_safe = ["supports_check_mode=True", "supports_check_mode = True"].iter().any(|text| has(text));
    Ok(Custom { path: path.into(), protocol, interpreter: words.unwrap_or_default(), check_safe, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_name_and_says_how_it_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("library");
        let collection = directory.path().join("collections/ansible_collections/ns/col/plugins/modules");
        for directory in [&library, &collection] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let write = |path: PathBuf, text: &str| std::fs::write(path, text).unwrap();
        write(library.join("hello.sh"), "#!/bin/sh\n. \"$1\"\n");
        write(library.join("asks.pl"), "#!/usr/bin/perl -w\n# WANT_JSON, supports_check_mode=True\n");
        write(library.join("README.md"), "x");
        write(library.join("within"), "#!/bin/sh\necho '<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>'\n");
        write(library.join("new.py"), "from ansible.module_utils.basic import AnsibleModule\n");
        write(collection.join("far.sh"), "#!/bin/sh\n");
        let known = Library::default();
        let find = |name: &str| known.find(name, directory.path());
        let protocol = |name: &str| read(&find(name).unwrap()).unwrap().protocol;
        assert_eq!(
            [protocol("hello"), protocol("asks"), protocol("within")],
            [Protocol::Words, Protocol::Json, Protocol::Within]
        );
        let asks = read(&find("asks").unwrap()).unwrap();
        assert!(asks.check_safe && asks.interpreter == ["/usr/bin/perl", "-w"]);
        assert!(find("README").is_none() && find("ansible.builtin.hello").is_none());
        assert!(find("ansible.legacy.hello").is_some() && find("ns.col.far").is_some());
        let refused = read(&find("new").unwrap()).unwrap_err().to_string();
        assert!(refused.contains("Ansible's own library of Python"), "{refused}");
    }
}
