//! The integration tests, one binary.

mod maildir_kill;
