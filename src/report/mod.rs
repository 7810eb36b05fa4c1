//! Folds over a run's events: what people read, what is counted, how the process ends.

pub mod human;
pub mod recap;

pub use human::Human;
pub use recap::Recap;
