//! One file a subcommand.

pub mod adhoc;
pub mod apply;
pub mod completion;
mod conduct;
pub mod config;
pub mod doc;
pub mod hostkeys;
pub mod inventory;
mod keys;
pub mod lab;
pub mod lint;
pub mod names;
mod passwords;
pub mod plan;
pub mod play;
mod printing;
mod replay;
pub mod resume;
mod retry;
pub mod runs;
pub mod show;
pub mod sign;
mod signals;
mod state;
mod terminal;
pub mod vault;
pub mod window;
