//! Modules for files: what they contain, who owns them, who may read them.

use super::Entry;

pub const MODULES: &[&Entry] = &[];
