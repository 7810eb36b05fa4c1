//! Modules for everything a host runs: commands, services, facts.

use super::Entry;

mod command;
pub mod network;
mod ping;
mod run;
mod script;
mod service;
mod shell;

pub const MODULES: &[&Entry] =
    &[&command::COMMAND, &ping::PING, &shell::RAW, &script::SCRIPT, &service::SERVICE, &shell::SHELL];
