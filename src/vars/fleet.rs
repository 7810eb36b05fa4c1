//! Every host's variables, kept by source, so that any task's scope can be put together in Ansible's order.

use std::sync::{Arc, RwLock};

use indexmap::IndexMap;
use serde_json::Value;

use crate::inventory::Inventory;

use super::{Layer, Scope, Var};

/// The variables of all hosts of a run. Shared by all hosts' tasks; `hostvars` reads it.
pub struct Fleet {
    inner: RwLock<Inner>,
    /// `-e`: stronger than everything.
    extra: Arc<Layer>,
}

struct Inner {
    inventory: Inventory,
    hosts: IndexMap<String, HostVars>,
}

/// What a run has learnt about one host.
#[derive(Clone, Default)]
struct HostVars {
    facts: Layer,
    /// `set_fact` and `register`, and what `include_vars` brought.
    set: Layer,
    included: Layer,
}

/// The layers that a task brings itself, beside those of its host (Ansible's precedence list, weakest first).
#[derive(Clone, Default)]
pub struct TaskLayers {
    pub role_defaults: Vec<Arc<Layer>>,
    pub play_vars: Arc<Layer>,
    pub vars_files: Arc<Layer>,
    pub role_vars: Vec<Arc<Layer>>,
    /// Block vars and task vars, merged by the loader, the inner ones winning.
    pub task_vars: Arc<Layer>,
    pub role_params: Arc<Layer>,
    pub include_params: Arc<Layer>,
    /// `item`, `ansible_loop`, and the like; stronger than all but extra vars.
    pub loop_vars: Arc<Layer>,
    /// What the runner itself says: `ansible_check_mode`, `play_hosts`, `role_path`, ...
    pub magic: Arc<Layer>,
}

impl Fleet {
    pub fn new(inventory: Inventory, extra: Layer) -> Fleet {
        Fleet { inner: RwLock::new(Inner { inventory, hosts: IndexMap::new() }), extra: Arc::new(extra) }
    }

    /// Returns what a task on `host` sees.
    pub fn scope(self: &Arc<Fleet>, host: &str, task: &TaskLayers) -> Scope {
        let _ = (host, task, &self.inner, &self.extra);
        todo!("H3")
    }

    pub fn set_fact(&self, host: &str, name: &str, value: Var) {
        let _ = (host, name, value);
        todo!("H3")
    }

    /// Takes over what `setup` found: each fact as `ansible_NAME` and below `ansible_facts`.
    pub fn add_facts(&self, host: &str, facts: serde_json::Map<String, Value>) {
        let _ = (host, facts);
        todo!("H3")
    }
}
