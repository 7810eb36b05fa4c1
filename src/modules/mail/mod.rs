//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

pub const MODULES: &[&Entry] = &[];
