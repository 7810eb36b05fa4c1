//! Who the hosts are, how they are grouped, and what the inventory says about them.

use std::path::Path;

use indexmap::{IndexMap, IndexSet};

use crate::error::{Diagnostic, Diagnostics};
use crate::vars::Layer;

/// Hosts and groups, in the order written. `all` and `ungrouped` always exist.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub hosts: IndexMap<String, Host>,
    pub groups: IndexMap<String, Group>,
    /// Each `-i` that was a file or a directory: where `group_vars/` and `host_vars/` are looked for.
    pub directories: IndexSet<std::path::PathBuf>,
}

#[derive(Clone, Debug, Default)]
pub struct Host {
    /// From the inventory file itself.
    pub vars: Layer,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub hosts: IndexSet<String>,
    pub children: IndexSet<String>,
    pub vars: Layer,
    /// `ansible_group_priority`; 1 unless set.
    pub priority: i64,
}

impl Inventory {
    /// Reads every `-i`: a file, a directory, or a list of hosts with a comma in it.
    pub fn load(sources: &[String]) -> Result<Inventory, Diagnostics> {
        let _ = (sources, Path::new(""));
        todo!("H3")
    }

    /// Returns the hosts of a pattern, in inventory order (`docs.ansible.com`, "Patterns: targeting hosts and groups").
    pub fn select(&self, pattern: &str) -> Result<Vec<String>, Diagnostic> {
        let _ = pattern;
        todo!("H3")
    }
}
