//! Folds over a run's events: what people and programs read, what is counted, how the process ends.

use std::io::Result;

use crate::run::Event;

pub mod fleet;
pub mod html;
pub mod human;
pub mod jsonl;
pub mod junit;
pub mod markdown;
pub mod minimal;
pub mod plain;
pub mod quiet;
mod quoted;
pub mod recap;
pub mod review;
pub mod times;
pub mod tree;
pub mod whole;

pub use human::Human;
pub use jsonl::JsonLines;
pub use junit::Junit;
pub use minimal::Minimal;
pub use quiet::Quiet;
pub use recap::{RUN, Recap};
pub use times::Times;
pub use tree::Tree;
pub use whole::Whole;

/// One fold over events.
pub trait Reporter: Send {
    /// Takes in one event. An error, as of a closed pipe, ends the run.
    fn event(&mut self, event: &Event) -> Result<()>;

    /// Says what is left to say, and returns what it came to.
    fn finish(self: Box<Self>) -> Result<Recap>;
}
