//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

pub mod assign;
mod attachments_copy;
mod control;
mod dangers;
mod delivery;
mod facts;
mod homes;
mod maildir_move;
pub mod qmail;
mod send;
mod users;

pub const MODULES: &[&Entry] =
    &[&attachments_copy::ENTRY, &control::ENTRY, &facts::ENTRY, &homes::ENTRY, &maildir_move::ENTRY, &users::ENTRY];
