//! One file a subcommand.

pub mod doc;
pub mod play;
