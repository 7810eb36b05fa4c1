//! One file a subcommand.

pub mod doc;
pub mod hostkeys;
pub mod lab;
pub mod play;
mod signals;
mod terminal;
