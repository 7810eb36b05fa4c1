//! The tree of groups: who is in whom, in which order, and whose variables win.

use std::collections::{HashMap, HashSet, VecDeque};

use indexmap::IndexSet;

use crate::error::{Diagnostic, Place};
use crate::vars::{Layer, Var};
use crate::yaml::Data;

use super::{Group, Host, Inventory};

impl Inventory {
    /// Adds the host to the group, which is made if need be. Returns the host and whether it is new.
    pub(crate) fn add_host(&mut self, name: &str, group: &str) -> (&mut Host, bool) {
        self.add_group(group).hosts.insert(name.into());
        let new = !self.hosts.contains_key(name);
        (self.hosts.entry(name.into()).or_default(), new)
    }

    pub(crate) fn add_group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.into()).or_default()
    }

    /// Puts a group into another; both are made if need be. Refuses a loop.
    pub(crate) fn add_child(&mut self, parent: &str, child: &str) -> Result<(), Diagnostic> {
        self.add_group(child);
        if child == "all" || self.descendants(child).contains(parent) {
            let message = if parent == child {
                format!("group `{child}` cannot be its own child")
            } else {
                format!("group `{child}` cannot be a child of `{parent}`, which is already below `{child}`")
            };
            return Err(Diagnostic::new(message).hint("remove one of the two, so that the groups form no loop"));
        }
        self.add_group(parent).children.insert(child.into());
        Ok(())
    }

    /// Sets a group's variable; `ansible_group_priority` is not one.
    pub(crate) fn set_group_var(&mut self, group: &str, name: String, value: Var) -> Result<(), Diagnostic> {
        if name == "ansible_group_priority" {
            self.add_group(group).priority = priority(&value)?;
        } else {
            self.add_group(group).vars.insert(name, value);
        }
        Ok(())
    }

    /// Makes every group without a parent a child of `all`, and `ungrouped` what is in no other group.
    pub(crate) fn settle(&mut self) {
        let with_parent: HashSet<&String> = self.groups.values().flat_map(|group| &group.children).collect();
        let orphans: Vec<String> =
            self.groups.keys().filter(|name| *name != "all" && !with_parent.contains(name)).cloned().collect();
        self.add_group("all").children.extend(orphans);
        let own = |name: &&String| *name != "all" && *name != "ungrouped";
        let grouped: HashSet<&String> =
            self.groups.keys().filter(own).flat_map(|name| &self.groups[name].hosts).collect();
        let ungrouped = self.hosts.keys().filter(|host| !grouped.contains(host)).cloned().collect();
        self.add_group("ungrouped").hosts = ungrouped;
        for name in self.hosts.keys().filter(|name| self.groups.contains_key(*name)) {
            let warning = format!("`{name}` is the name of a host and of a group; a pattern means the host");
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Returns the group and all groups below it, level by level.
    pub(crate) fn descendants<'i>(&'i self, group: &'i str) -> IndexSet<&'i str> {
        let mut found = IndexSet::from([group]);
        let mut next = 0;
        while let Some(&name) = found.get_index(next) {
            found.extend(self.groups.get(name).into_iter().flat_map(|group| &group.children).map(String::as_str));
            next += 1;
        }
        found
    }

    /// Returns the hosts of a group and of all groups below it, in inventory order.
    pub fn members<'i>(&'i self, group: &'i str) -> IndexSet<&'i str> {
        let groups = self.descendants(group).into_iter().filter_map(|name| self.groups.get(name));
        groups.flat_map(|group| &group.hosts).map(String::as_str).collect()
    }

    /// Does for one host what [`Inventory::settle`] does for all.
    pub(crate) fn settle_host(&mut self, host: &str) {
        let own = |(name, group): (&String, &Group)| name != "all" && name != "ungrouped" && group.hosts.contains(host);
        let grouped = self.groups.iter().any(own);
        let ungrouped = &mut self.add_group("ungrouped").hosts;
        if grouped {
            ungrouped.shift_remove(host);
        } else {
            ungrouped.insert(host.into());
        }
    }

    /// Returns for every host the groups that it is in, the weakest first: by depth, then priority, then name.
    pub(crate) fn memberships(&self) -> HashMap<&str, Vec<&str>> {
        let mut groups: HashMap<&str, Vec<&str>> = HashMap::new();
        for name in self.group_order() {
            for host in self.members(name) {
                groups.entry(host).or_default().push(name);
            }
        }
        groups
    }

    /// Returns what [`Inventory::memberships`] does, for one host.
    pub(crate) fn groups_of(&self, host: &str) -> Vec<&str> {
        let direct = self.groups.iter().filter(|(_, group)| group.hosts.contains(host));
        let mut found: HashSet<&str> = direct.map(|(name, _)| name.as_str()).collect();
        loop {
            let below = |group: &Group| group.children.iter().any(|child| found.contains(child.as_str()));
            let parents: Vec<&str> = self
                .groups
                .iter()
                .filter(|(name, group)| !found.contains(name.as_str()) && below(group))
                .map(|(name, _)| name.as_str())
                .collect();
            if parents.is_empty() {
                break;
            }
            found.extend(parents);
        }
        self.group_order().into_iter().filter(|name| found.contains(name)).collect()
    }

    /// Returns the number of groups and of their ties; it grows whenever the tree of groups does.
    pub(crate) fn tree_size(&self) -> usize {
        self.groups.values().map(|group| 1 + group.children.len()).sum()
    }

    /// Returns all groups, the weakest first.
    fn group_order(&self) -> Vec<&str> {
        let depths = self.depths();
        let depth = |name: &str| depths.get(name).copied().unwrap_or(0);
        let mut order: Vec<(usize, i64, &str)> =
            self.groups.iter().map(|(name, group)| (depth(name), group.priority, name.as_str())).collect();
        order.sort();
        order.into_iter().map(|(_, _, name)| name).collect()
    }

    /// Returns the length of the longest way from `all` to each group.
    fn depths(&self) -> HashMap<&str, usize> {
        let mut parents: HashMap<&str, usize> = HashMap::new();
        for child in self.groups.values().flat_map(|group| &group.children) {
            *parents.entry(child).or_default() += 1;
        }
        let mut depths: HashMap<&str, usize> = HashMap::new();
        let mut ready: VecDeque<&str> = self.groups.keys().map(String::as_str).collect();
        ready.retain(|name| !parents.contains_key(name));
        while let Some(name) = ready.pop_front() {
            let below = depths.get(name).map_or(1, |depth| depth + 1);
            for child in &self.groups[name].children {
                let depth = depths.entry(child).or_default();
                *depth = below.max(*depth);
                let left = parents.entry(child).or_default();
                *left -= 1;
                if *left == 0 {
                    ready.push_back(child);
                }
            }
        }
        depths
    }
}

/// Sets every variable of a group that was read as a whole.
pub(super) fn set_group_vars(inventory: &mut Inventory, group: &str, vars: Layer) -> Result<(), Diagnostic> {
    vars.into_iter().try_for_each(|(name, value)| inventory.set_group_var(group, name, value))
}

fn priority(value: &Var) -> Result<i64, Diagnostic> {
    let wrong = |place: Option<&Place>| {
        let error = Diagnostic::new("`ansible_group_priority` is a whole number");
        place.map_or(error.clone(), |place| error.at(place))
    };
    match value {
        Var::Written(node) => match &*node.data {
            Data::Int(number) => Ok(*number),
            Data::Text(text) => text.trim().parse().map_err(|_| wrong(Some(&node.place))),
            _ => Err(wrong(Some(&node.place))),
        },
        Var::Known(value) => value.as_i64().ok_or_else(|| wrong(None)),
        Var::Unknown(_) => Err(wrong(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_refused() {
        let mut inventory = Inventory::default();
        inventory.add_child("a", "b").unwrap();
        inventory.add_child("b", "c").unwrap();
        let error = inventory.add_child("c", "a").unwrap_err();
        assert_eq!(error.message, "group `a` cannot be a child of `c`, which is already below `a`");
        assert_eq!(inventory.add_child("a", "a").unwrap_err().message, "group `a` cannot be its own child");
        assert!(inventory.add_child("a", "all").is_err());
    }

    #[test]
    fn a_child_is_stronger_than_its_parents_then_priority_then_name() {
        let mut inventory = Inventory::default();
        for group in ["z", "b", "a"] {
            inventory.add_host("h", group);
        }
        inventory.add_child("z", "deep").unwrap();
        inventory.add_host("h", "deep");
        inventory.settle();
        assert_eq!(inventory.memberships()["h"], ["all", "a", "b", "z", "deep"]);
        inventory.set_group_var("a", "ansible_group_priority".into(), Var::Known(10.into())).unwrap();
        assert_eq!(inventory.memberships()["h"], ["all", "b", "z", "a", "deep"]);
    }

    #[test]
    fn one_hosts_groups_are_those_of_all_memberships() {
        let mut inventory = Inventory::default();
        for (host, group) in [("a", "x"), ("b", "y"), ("c", "ungrouped"), ("a", "z")] {
            inventory.add_host(host, group);
        }
        inventory.add_child("top", "x").unwrap();
        inventory.add_child("x", "y").unwrap();
        inventory.settle();
        let all = inventory.memberships();
        assert_eq!(all["b"], ["all", "top", "x", "y"]);
        for host in ["a", "b", "c"] {
            assert_eq!(inventory.groups_of(host), all[host]);
        }
    }

    #[test]
    fn a_host_leaves_ungrouped_when_it_joins_a_group() {
        let mut inventory = Inventory::default();
        inventory.add_host("h", "ungrouped");
        inventory.settle();
        assert_eq!(inventory.memberships()["h"], ["all", "ungrouped"]);
        inventory.add_host("h", "web");
        inventory.settle();
        inventory.settle_host("h");
        assert_eq!(inventory.memberships()["h"], ["all", "web"]);
    }
}
