//! Folds over a run's events: what people read, what is counted, how the process ends.

pub mod html;
pub mod human;
pub mod markdown;
pub mod plain;
pub mod recap;
pub mod review;

pub use human::Human;
pub use recap::Recap;
