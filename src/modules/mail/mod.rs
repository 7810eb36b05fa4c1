//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

pub mod attachments_copy;
pub mod facts;
pub mod maildir_move;

pub const MODULES: &[&Entry] = &[&attachments_copy::ENTRY, &facts::ENTRY, &maildir_move::ENTRY];
