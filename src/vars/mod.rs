//! The variables one task sees on one host: layers in one fixed order, first hit wins, rendered when read.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use crate::yaml::Yaml;

pub mod cache;
mod directory;
mod extra;
pub mod files;
pub mod fleet;
mod known;
mod merge;

pub use directory::{VarsDirectory, sorted_names};
pub use extra::extra;
pub use fleet::{Fleet, TaskLayers};

/// A variable as it is stored.
#[derive(Clone, Debug)]
pub enum Var {
    /// As written in a file; its templates are rendered each time it is read.
    Written(Yaml),
    /// Already a value: facts, registered results, `set_fact`. Never rendered again, because hosts have a say in it.
    Known(Value),
    /// Not known before the run: the result of a command that a check has not run. The text says whose result.
    Unknown(Arc<str>),
}

/// Variables from one source, in the order written.
pub type Layer = IndexMap<String, Var>;

/// The layers one task sees on one host, the strongest first.
#[derive(Clone, Default)]
pub struct Scope {
    layers: Vec<Arc<Layer>>,
    /// The whole fleet, for `hostvars`; `None` where there is no inventory (loading, tests).
    pub fleet: Option<Arc<Fleet>>,
    /// Where lookups find relative file names: the role's directories, then the playbook's.
    pub search: Arc<[PathBuf]>,
    /// Whether what is rendered only serves to ask a host early: nothing may be done for it.
    pub only_asks: bool,
    /// Whether what is rendered names a file of tasks.
    pub for_tasks: bool,
    /// In a check: what is needed to know whether a name that is in no layer is set, because variables may have been
    /// included that only a run can name.
    pub more: Option<Arc<str>>,
}

impl Scope {
    pub fn new(layers: Vec<Arc<Layer>>) -> Scope {
        Scope { layers, ..Scope::default() }
    }

    /// Returns a scope in which `layer` is stronger than all others.
    pub fn with(&self, layer: Layer) -> Scope {
        let mut scope = self.clone();
        scope.layers.insert(0, Arc::new(layer));
        scope
    }

    /// Returns a scope in which `layer` is weaker than all others.
    pub fn over(&self, layer: Arc<Layer>) -> Scope {
        let mut scope = self.clone();
        scope.layers.push(layer);
        scope
    }

    pub fn get(&self, name: &str) -> Option<&Var> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }

    /// Returns every name that is set, each once.
    pub fn names(&self) -> Vec<&str> {
        let names: indexmap::IndexSet<&str> =
            self.layers.iter().flat_map(|layer| layer.keys()).map(String::as_str).collect();
        names.into_iter().collect()
    }
}

/// Returns the layer of a YAML mapping, or of nothing.
pub fn layer_of(map: &Yaml) -> Layer {
    let pairs = map.as_map().unwrap_or(&[]);
    pairs.iter().map(|(name, value)| (name.key(), Var::Written(value.clone()))).collect()
}
