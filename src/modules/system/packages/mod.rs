//! Packages of the host's own archive: `apt`, `package` and `package_facts`.

mod apt;
mod database;
mod facts;
mod foreseen;
mod package;
mod request;
mod simulation;
mod transaction;

pub use apt::APT;
pub use facts::PACKAGE_FACTS;
pub use package::PACKAGE;
