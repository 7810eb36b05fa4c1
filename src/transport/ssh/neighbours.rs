//! The other hosts of a run, so that a wrong host key can be told to be the key of one of them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One host of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The inventory's name.
    pub name: String,
    pub address: String,
    pub port: u16,
    pub half: Option<Half>,
}

/// Which side of a move a host is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Old,
    New,
}

/// All hosts of the run, asked for when a key is refused: most runs never need them.
///
/// No part of what makes two targets the same: any two are equal.
#[derive(Clone)]
pub struct Neighbours(Arc<dyn Fn() -> Vec<Neighbour> + Send + Sync>);

impl Neighbours {
    pub fn new(list: impl Fn() -> Vec<Neighbour> + Send + Sync + 'static) -> Neighbours {
        Neighbours(Arc::new(list))
    }

    pub fn list(&self) -> Vec<Neighbour> {
        (self.0)()
    }
}

impl Default for Neighbours {
    fn default() -> Neighbours {
        Neighbours::new(Vec::new)
    }
}

impl PartialEq for Neighbours {
    fn eq(&self, _: &Neighbours) -> bool {
        true
    }
}

impl Eq for Neighbours {}

impl Hash for Neighbours {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Neighbours")
    }
}
