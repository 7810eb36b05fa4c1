//! Modules for everything a host runs: commands, services, facts.

use super::Entry;

pub mod network;

pub const MODULES: &[&Entry] = &[];
