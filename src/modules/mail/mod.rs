//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

mod control;
mod dangers;
pub mod qmail;
mod send;

pub const MODULES: &[&Entry] = &[&control::ENTRY];
