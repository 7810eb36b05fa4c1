//! Who the hosts are, how they are grouped, and what the inventory says about them.

use std::path::PathBuf;

use indexmap::{IndexMap, IndexSet};

use crate::error::{Diagnostic, Diagnostics};
use crate::vars::{Layer, VarsDirectory};

mod groups;
mod ini;
mod literal;
mod pattern;
mod range;
mod sources;
mod tree;

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
        let mut inventory = Inventory::default();
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
    /// A glob or a group may match nothing. A plain name that is neither host nor group is an error.
    pub fn select(&self, pattern: &str) -> Result<Vec<String>, Diagnostic> {
        pattern::select(self, &pattern::split(self, pattern))
    }

    /// Returns the hosts of a `--limit`: as [`Inventory::select`], and `@FILE` stands for the patterns in its lines.
    pub fn limit(&self, limit: &str) -> Result<Vec<String>, Diagnostic> {
        pattern::select(self, &pattern::split_limit(self, limit)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_inventory_has_all_and_ungrouped() {
        let inventory = Inventory::load(&[]).unwrap();
        assert_eq!(inventory.groups.keys().collect::<Vec<_>>(), ["all", "ungrouped"]);
        assert!(inventory.select("all").unwrap().is_empty());
    }
}
