//! What a run adds to its inventory, and the inventory read again.

use std::sync::Arc;

use crate::error::Diagnostics;
use crate::inventory::{Inventory, LOCALHOST};

use super::super::known::local_connection;
use super::super::{Layer, Var};
use super::{Fleet, Inner};

/// What a task has added to the inventory.
#[derive(Clone)]
pub(super) enum Added {
    Host(String, Vec<String>, Layer),
    /// A host, its group, and the group's parents.
    Group(String, String, Vec<String>),
}

impl Fleet {
    /// Reads the inventory again (`meta: refresh_inventory`), and adds to it what tasks have added. Returns warnings about
    /// what was read.
    pub fn refresh(&self) -> Result<Vec<String>, Diagnostics> {
        let mut inner = self.write();
        let mut inventory = Inventory::load(&inner.inventory.sources)?;
        let warnings = std::mem::take(&mut inventory.warnings);
        for directory in &mut inner.play {
            inventory.load_vars(directory)?;
        }
        (inner.inventory, inner.known) = (inventory, None);
        for added in inner.added.clone() {
            match added {
                // Who is no longer there is in no group either.
                Added::Group(host, ..)
                    if !inner.inventory.hosts.contains_key(&host) && !LOCALHOST.contains(&host.as_str()) =>
                {
                    false
                }
                Added::Host(host, groups, vars) => inner.add_host(&host, &groups, vars)?,
                Added::Group(host, group, parents) => inner.group_by(&host, &group, &parents)?,
            };
        }
        Ok(warnings)
    }

    /// Adds a host to the inventory, or groups and variables to one it has. Returns whether that made a difference.
    pub fn add_host(&self, host: &str, groups: &[String], vars: Layer) -> Result<bool, Diagnostics> {
        let mut inner = self.write();
        inner.added.push(Added::Host(host.into(), groups.to_vec(), vars.clone()));
        inner.add_host(host, groups, vars)
    }

    /// Puts a host into a group, and the group below `parents`. Returns whether that made a difference.
    pub fn group_by(&self, host: &str, group: &str, parents: &[String]) -> Result<bool, Diagnostics> {
        let mut inner = self.write();
        inner.added.push(Added::Group(host.into(), group.into(), parents.to_vec()));
        inner.group_by(host, group, parents)
    }
}

impl Inner {
    fn add_host(&mut self, host: &str, groups: &[String], vars: Layer) -> Result<bool, Diagnostics> {
        let mut changed = !self.inventory.hosts.contains_key(host);
        if changed {
            self.inventory.add_host(host, "all");
        }
        let known = self.inventory.hosts.entry(host.into()).or_default();
        for (name, value) in vars {
            changed |= !known.vars.get(&name).is_some_and(|old| same(old, &value));
            known.vars.insert(name, value);
        }
        changed |= self.join(host, groups, &[])?;
        Ok(changed)
    }

    fn group_by(&mut self, host: &str, group: &str, parents: &[String]) -> Result<bool, Diagnostics> {
        // The implied `localhost` stays local when it joins a group.
        if LOCALHOST.contains(&host) && !self.inventory.hosts.contains_key(host) {
            self.inventory.hosts.entry(host.into()).or_default().vars = local_connection();
        }
        self.join(host, &[group.into()], parents)
    }

    /// Puts a host into groups and these below `parents`, and reads the variables files of what is new. Returns whether
    /// that made a difference.
    fn join(&mut self, host: &str, groups: &[String], parents: &[String]) -> Result<bool, Diagnostics> {
        let known = self.known.take();
        let inventory = &mut self.inventory;
        let size = inventory.tree_size();
        let mut errors = Diagnostics::default();
        let mut changed = false;
        for group in groups {
            changed |= !inventory.groups.get(group).is_some_and(|group| group.hosts.contains(host));
            inventory.add_host(host, group);
            for parent in parents.iter().filter(|parent| *parent != "all") {
                errors.catch(inventory.add_child(parent, group));
            }
        }
        let grown = inventory.tree_size() != size;
        if grown {
            inventory.settle();
        } else {
            inventory.settle_host(host);
        }
        for directory in inventory.directories.iter_mut().chain(&mut self.play) {
            let names = groups.iter().chain(parents).map(String::as_str);
            errors.extend(directory.load(names, [host]).err().unwrap_or_default());
        }
        // What is known of all other hosts still holds, unless the order of the groups may be another.
        if let Some(mut known) = known.filter(|_| !grown) {
            Arc::make_mut(&mut known).update(self.origin(), host);
            self.known = Some(known);
        }
        errors.or(changed || grown)
    }
}

fn same(left: &Var, right: &Var) -> bool {
    match (left, right) {
        (Var::Known(left), Var::Known(right)) => left == right,
        (Var::Written(left), Var::Written(right)) => left.to_value() == right.to_value(),
        _ => false,
    }
}
