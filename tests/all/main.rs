//! The tests that need more than one part: real servers, real files, the whole program.

// A test that cannot go on panics, and it may start the program under test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod accounts;
mod ansible;
mod architecture;
mod archive;
mod bad_input;
mod cli;
mod crontab;
mod database;
mod doors;
mod elevation;
mod etc;
mod faults;
mod fidelity;
mod guarded;
mod homes;
mod hostkeys;
mod lab;
mod language;
mod laws;
mod live;
mod logins;
mod mail_move;
mod mail_proof;
mod maildir_kill;
mod mariadb;
mod mounts;
mod packages;
mod page;
mod plan;
mod play_becoming;
mod play_over_ssh;
mod plesk;
mod program;
mod provenance;
mod proxy;
mod qmail;
mod reports;
mod resume;
mod round_trips;
mod signatures;
mod ssh;
mod sshd;
mod stuck;
mod terminal;
mod torn;
mod transport_laws;
mod unknown;
mod userland;
mod weakened;
mod window;
