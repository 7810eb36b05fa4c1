//! Modules for what names lead to: records of zones, in servers and in master files.

use super::Entry;

mod asked;
mod edit;
mod facts;
mod form;
mod get_url;
mod master;
mod named_conf;
mod named_zone;
mod nsupdate;
mod problems;
mod sending;
mod server;
mod uri;
pub(super) mod web;
mod zone_file;

pub const MODULES: &[&Entry] =
    &[&facts::ENTRY, &get_url::ENTRY, &named_zone::ENTRY, &nsupdate::ENTRY, &uri::ENTRY, &zone_file::ENTRY];
