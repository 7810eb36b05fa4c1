//! Modules for what names lead to: records of zones, in servers and in master files.

use super::Entry;

mod asked;
mod edit;
mod facts;
mod master;
mod nsupdate;
mod problems;
mod server;
mod zone_file;

pub const MODULES: &[&Entry] = &[&facts::ENTRY, &nsupdate::ENTRY, &zone_file::ENTRY];
