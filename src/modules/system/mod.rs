//! Modules for everything a host runs: commands, services, facts.

use super::Entry;

pub const MODULES: &[&Entry] = &[];
