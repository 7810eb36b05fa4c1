//! Modules for everything a host runs: commands, services, facts.

use super::Entry;

mod command;
pub mod network;
mod ping;
mod run;
mod script;
mod service;
mod shell;

#[cfg(test)]
pub mod bench;

pub const MODULES: &[&Entry] =
    &[&command::COMMAND, &ping::PING, &shell::RAW, &script::SCRIPT, &service::SERVICE, &shell::SHELL];
