//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

pub mod assign;
mod control;
mod dangers;
pub mod qmail;
mod send;
mod users;

pub const MODULES: &[&Entry] = &[&control::ENTRY, &users::ENTRY];
