//! Packages of the host's own archive: `apt`, `dnf`, `apk`, `pkgng`, `package`, their keys, questions and selections.

mod apk;
mod apt;
mod apt_key;
mod database;
mod deb822;
mod debconf;
mod facts;
mod fetched;
mod foreseen;
mod moves;
mod named;
mod openpgp;
mod package;
mod pkgng;
mod repository;
mod request;
mod rpm;
mod rpm_key;
mod selections;
mod simulation;
mod transaction;
mod version;
mod yum_repository;

pub use apk::APK;
pub use apt::APT;
pub use apt_key::APT_KEY;
pub use deb822::DEB822_REPOSITORY;
pub use debconf::DEBCONF;
pub use facts::PACKAGE_FACTS;
pub use package::PACKAGE;
pub use pkgng::PKGNG;
pub use repository::APT_REPOSITORY;
pub use rpm::DNF;
pub use rpm_key::RPM_KEY;
pub use selections::DPKG_SELECTIONS;
pub use yum_repository::YUM_REPOSITORY;
