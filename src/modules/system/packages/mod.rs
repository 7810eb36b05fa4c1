//! Packages of the host's own archive: `apt`, `package` and `package_facts`.

mod apt;
mod database;
mod deb822;
mod facts;
mod foreseen;
mod package;
mod repository;
mod request;
mod simulation;
mod transaction;

pub use apt::APT;
pub use deb822::DEB822_REPOSITORY;
pub use facts::PACKAGE_FACTS;
pub use package::PACKAGE;
pub use repository::APT_REPOSITORY;
