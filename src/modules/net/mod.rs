//! Modules for what names lead to: records of zones, in servers and in master files.

use super::Entry;

mod asked;
mod edit;
mod facts;
mod master;
mod named_conf;
mod named_zone;
mod nsupdate;
mod problems;
mod sending;
mod server;
mod zone_file;

pub const MODULES: &[&Entry] = &[&facts::ENTRY, &named_zone::ENTRY, &nsupdate::ENTRY, &zone_file::ENTRY];
