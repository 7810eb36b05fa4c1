//! Who the hosts are, how they are grouped, and what the inventory says about them.

use std::path::PathBuf;

use indexmap::{IndexMap, IndexSet};

use crate::error::{Diagnostic, Diagnostics};
use crate::vars::{Layer, VarsDirectory};

mod constructed;
mod groups;
mod ini;
mod literal;
mod pattern;
mod range;
mod script;
mod sources;
mod toml;
mod tree;

pub use pattern::Selected;

/// The names that mean this machine even where the inventory does not have them.
pub const LOCALHOST: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Hosts and groups, in the order written. `all` and `ungrouped` always exist.
#[derive(Clone, Debug)]
pub struct Inventory {
    pub hosts: IndexMap<String, Host>,
    pub groups: IndexMap<String, Group>,
    /// Of each `-i` that was a file or a directory: what `group_vars/` and `host_vars/` beside it say.
    pub directories: Vec<VarsDirectory>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
    /// What it was read from, as given.
    pub sources: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Host {
    /// From the inventory file itself.
    pub vars: Layer,
    /// The file in which the host was first seen, absolute; `None` for a comma list and `add_host`.
    pub source: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub hosts: IndexSet<String>,
    pub children: IndexSet<String>,
    pub vars: Layer,
    /// `ansible_group_priority`; 1 unless set.
    pub priority: i64,
}

impl Default for Group {
    fn default() -> Group {
        Group { hosts: IndexSet::new(), children: IndexSet::new(), vars: Layer::new(), priority: 1 }
    }
}

impl Default for Inventory {
    fn default() -> Inventory {
        let mut inventory = Inventory {
            hosts: IndexMap::new(),
            groups: IndexMap::new(),
            directories: Vec::new(),
            warnings: Vec::new(),
            sources: Vec::new(),
        };
        inventory.groups.insert("all".into(), Group::default());
        inventory.groups.insert("ungrouped".into(), Group::default());
        inventory.settle();
        inventory
    }
}

impl Inventory {
    /// Reads every `-i`: a file, a directory, or a list of hosts with a comma in it; and the `group_vars/` and
    /// `host_vars/` beside each.
    pub fn load(sources: &[String]) -> Result<Inventory, Diagnostics> {
        let mut inventory = Inventory { sources: sources.to_vec(), ..Inventory::default() };
        let mut errors = Diagnostics::default();
        for source in sources {
            inventory.add_source(source, &mut errors);
        }
        inventory.settle();
        for mut directory in std::mem::take(&mut inventory.directories) {
            if let Err(wrong) = inventory.load_vars(&mut directory) {
                errors.extend(wrong);
            }
            inventory.warnings.append(&mut directory.warnings);
            inventory.directories.push(directory);
        }
        errors.or(inventory)
    }

    /// Reads what `directory` says about this inventory's groups and hosts.
    pub fn load_vars(&self, directory: &mut VarsDirectory) -> Result<(), Diagnostics> {
        let hosts = self.hosts.keys().map(String::as_str).chain(LOCALHOST);
        directory.load(self.groups.keys().map(String::as_str), hosts)
    }

    /// Returns the hosts of a pattern: union first, then intersections, then exclusions, wherever they stand; in the
    /// order of the pattern's parts, and within one in inventory order (`docs.ansible.com`, "Patterns: targeting hosts
    /// and groups").
    ///
    /// A glob or a group may match nothing. A plain name that is neither host nor group selects nothing and is told.
    pub fn select(&self, pattern: &str) -> Result<Selected, Diagnostic> {
        pattern::select(self, &pattern::split(self, pattern))
    }

    /// Returns the hosts of a `--limit`: as [`Inventory::select`], and `@FILE` stands for the patterns in its lines.
    pub fn limit(&self, limit: &str) -> Result<Vec<String>, Diagnostics> {
        pattern::select(self, &pattern::split_limit(self, limit)?)?.strict()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    fn load(path: &Path) -> Result<Inventory, String> {
        Inventory::load(&[path.display().to_string()]).map_err(|errors| errors.to_string())
    }

    fn hosts(inventory: &Inventory) -> Vec<&str> {
        inventory.members("all").into_iter().collect()
    }

    #[test]
    fn an_empty_inventory_has_all_and_ungrouped() {
        let inventory = Inventory::load(&[]).unwrap();
        assert_eq!(inventory.groups.keys().collect::<Vec<_>>(), ["all", "ungrouped"]);
        assert!(inventory.select("all").unwrap().hosts.is_empty());
    }

    #[test]
    fn a_list_of_hosts_has_a_comma() {
        let inventory = Inventory::load(&["mx[1:2]:2222, db,".into()]).unwrap();
        assert_eq!(hosts(&inventory), ["mx1", "mx2", "db"]);
        assert!(inventory.hosts["mx1"].vars.contains_key("ansible_port") && inventory.directories.is_empty());
        let errors = Inventory::load(&["a,b[2:1]".into()]).unwrap_err().to_string();
        let place = "error: bad host range `[2:1]`: it begins after its end\n --> --inventory:1:3\n";
        assert!(errors.starts_with(place), "{errors}");
    }

    #[test]
    fn a_source_that_does_not_exist_is_an_error() {
        let hint = "a file, a directory, or a list of hosts with a comma: `-i nowhere,`";
        let expected = format!("error: inventory `nowhere` does not exist\n |\n = hint: {hint}");
        assert_eq!(load(Path::new("nowhere")).unwrap_err(), expected);
    }

    #[test]
    fn the_kind_of_a_file_is_told_by_its_extension_or_its_content() {
        let yaml = "web:\n  hosts:\n    y1:\n";
        let ini = "[web]\ny1\n";
        for (name, text) in [
            ("h.yml", yaml),
            ("h.json", "{\"web\": {\"hosts\": {\"y1\": null}}}"),
            ("hosts", yaml),
            ("hosts", ini),
            ("h.ini", ini),
        ] {
            let root = directory(&[(name, text)]);
            let inventory = load(&root.path().join(name)).unwrap();
            assert_eq!(inventory.members("web").into_iter().collect::<Vec<_>>(), ["y1"], "{name}");
        }
        let root = directory(&[("hosts", "y1\ny2\n"), ("broken", "all:\n  hosts: [\n")]);
        assert_eq!(hosts(&load(&root.path().join("hosts")).unwrap()), ["y1", "y2"]);
        let error = load(&root.path().join("broken")).unwrap_err();
        assert!(error.starts_with("error: bad YAML"), "{error}");
    }

    #[test]
    fn a_directory_is_read_in_sorted_order_without_backups_and_variables() {
        let root = directory(&[
            ("20-more", "[web]\nw2 x=2\nw1 x=later\n"),
            ("10-first.yml", "web: {hosts: {w1: {x: first}}}\n"),
            ("30-nested/hosts", "[web]\nw3\n"),
            ("old.bak", "[broken"),
            ("hosts~", "[broken"),
            ("README.md", "[broken"),
            (".hidden", "[broken"),
            ("group_vars/web.yml", "y: 1\n"),
        ]);
        let inventory = load(root.path()).unwrap();
        assert_eq!(hosts(&inventory), ["w1", "w2", "w3"]);
        assert!(
            matches!(&inventory.hosts["w1"].vars["x"], crate::vars::Var::Written(x) if x.as_str() == Some("later"))
        );
        assert_eq!(inventory.hosts["w1"].source.as_deref(), Some(root.path().join("10-first.yml").as_path()));
        assert!(inventory.directories[0].group("web").unwrap().contains_key("y"));
    }

    #[test]
    fn errors_of_all_sources_and_variables_files_are_shown_at_once() {
        let root = directory(&[("a.ini", "h[\n"), ("b.yml", "- x\n"), ("group_vars/all.yml", "- 1\n")]);
        let error = load(root.path()).unwrap_err();
        assert_eq!(error.matches("error: ").count(), 3, "{error}");
    }

    #[test]
    fn a_host_and_a_group_of_one_name_are_a_warning() {
        let root = directory(&[("hosts", "[mail]\nmail\n")]);
        let warning = "`mail` is the name of a host and of a group; a pattern means the host";
        assert_eq!(load(root.path()).unwrap().warnings, [warning]);
    }
}
