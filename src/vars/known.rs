//! What the inventory and the variables files say of each host; it does not change from task to task.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::inventory::{Host, Inventory, LOCALHOST};

use super::{Layer, Var, VarsDirectory};

/// Every host's layers, put together once and shared by its tasks.
#[derive(Clone)]
pub(super) struct Known {
    /// Per host, the strongest first: levels 10 to 3.
    pub hosts: HashMap<String, Vec<Arc<Layer>>>,
    /// The same for a host outside of the inventory.
    pub all: Vec<Arc<Layer>>,
    /// `inventory_hostname`, `group_names`, ... of each host.
    pub magic: HashMap<String, Arc<Layer>>,
    /// `groups`, once it is asked for: many hosts may join groups between two scopes.
    groups: OnceLock<Arc<Layer>>,
    /// The variables of each group in the inventory file; its hosts share them.
    written: HashMap<String, Arc<Layer>>,
}

/// Where the variables of hosts come from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'o> {
    pub inventory: &'o Inventory,
    /// The variables files beside the playbook.
    pub play: &'o [VarsDirectory],
}

impl Known {
    pub fn new(origin: Origin<'_>) -> Known {
        let inventory = origin.inventory;
        let written =
            inventory.groups.iter().map(|(name, group)| (name.clone(), Arc::new(group.vars.clone()))).collect();
        let (hosts, magic) = (HashMap::new(), HashMap::new());
        let mut known = Known { hosts, all: Vec::new(), magic, groups: OnceLock::new(), written };
        known.all = known.group_layers(origin, &[]);
        let memberships = inventory.memberships();
        for (name, host) in &inventory.hosts {
            known.add(origin, (name, host), memberships.get(name.as_str()).map_or(&[], Vec::as_slice));
        }
        for name in LOCALHOST.iter().filter(|name| !inventory.hosts.contains_key(**name)) {
            let mut layers = host_files(origin, name);
            layers.push(Arc::new(local_connection()));
            layers.extend(known.all.iter().cloned());
            known.hosts.insert((*name).into(), layers);
        }
        known
    }

    /// Takes over a host that is new or has joined a group, where no group is new.
    pub fn update(&mut self, origin: Origin<'_>, name: &str) {
        if let Some((name, host)) = origin.inventory.hosts.get_key_value(name) {
            self.add(origin, (name, host), &origin.inventory.groups_of(name));
            self.groups = OnceLock::new();
        }
    }

    /// Returns the layer of `groups`: the hosts of every group.
    pub fn groups(&self, inventory: &Inventory) -> Arc<Layer> {
        let hosts = |name: &str| inventory.members(name).into_iter().map(Value::from).collect();
        let lists = || inventory.groups.keys().map(|name| (name.clone(), hosts(name))).collect::<Map<String, Value>>();
        let layer = || Arc::new(Layer::from([("groups".into(), Var::Known(Value::Object(lists())))]));
        self.groups.get_or_init(layer).clone()
    }

    fn add(&mut self, origin: Origin<'_>, (name, host): (&String, &Host), groups: &[&str]) {
        let mut layers = host_files(origin, name);
        layers.push(Arc::new(host.vars.clone()));
        layers.extend(self.group_layers(origin, groups));
        self.hosts.insert(name.clone(), layers);
        self.magic.insert(name.clone(), Arc::new(magic_vars(name, groups, host.source.as_deref())));
    }

    /// Returns levels 7 to 3 for a host in `groups`, which stand weakest first. Every host is in `all`.
    fn group_layers(&self, origin: Origin<'_>, groups: &[&str]) -> Vec<Arc<Layer>> {
        let own: Vec<&str> = groups.iter().rev().copied().filter(|group| *group != "all").collect();
        let (all, play, inventory) = (["all"], origin.play, &origin.inventory.directories[..]);
        let mut layers = Vec::new();
        for (names, directories) in [(&own[..], play), (&own, inventory), (&all, play), (&all, inventory)] {
            for directory in directories.iter().rev() {
                layers.extend(names.iter().filter_map(|name| directory.group(name).cloned()));
            }
        }
        layers.extend(own.iter().chain(&all).filter_map(|name| self.written.get(*name).cloned()));
        layers
    }
}

/// Returns levels 10 and 9 of a host.
fn host_files(origin: Origin<'_>, host: &str) -> Vec<Arc<Layer>> {
    let directories = origin.play.iter().rev().chain(origin.inventory.directories.iter().rev());
    directories.filter_map(|directory| directory.host(host).cloned()).collect()
}

/// The implied `localhost` is reached without SSH.
pub(super) fn local_connection() -> Layer {
    Layer::from([("ansible_connection".into(), Var::Known("local".into()))])
}

/// Returns what is always known of a host. One outside of the inventory, such as the implied `localhost`, has neither
/// groups nor source.
pub(super) fn magic_vars(host: &str, groups: &[&str], source: Option<&Path>) -> Layer {
    // One that was named on the command line has none, and Ansible says so.
    let nowhere = source.is_none() && !groups.is_empty();
    let mut groups: Vec<&str> = groups.iter().copied().filter(|group| *group != "all").collect();
    groups.sort();
    let short = host.split('.').next().unwrap_or(host);
    let mut vars = Layer::from([
        ("inventory_hostname".into(), Var::Known(host.into())),
        ("inventory_hostname_short".into(), Var::Known(short.into())),
        ("group_names".into(), Var::Known(groups.into())),
        // Roles give it to `ansible_python_interpreter`. No Python is run.
        ("ansible_playbook_python".into(), Var::Known("/usr/bin/python3".into())),
    ]);
    if nowhere {
        vars.extend(["inventory_file", "inventory_dir"].map(|name| (name.into(), Var::Known(Value::Null))));
    }
    let text = |path: &Path| Var::Known(path.to_string_lossy().into());
    vars.extend(source.map(|path| ("inventory_file".into(), text(path))));
    vars.extend(source.and_then(Path::parent).map(|path| ("inventory_dir".into(), text(path))));
    vars
}
