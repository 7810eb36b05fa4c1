//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

pub mod maildir_move;

pub const MODULES: &[&Entry] = &[&maildir_move::ENTRY];
