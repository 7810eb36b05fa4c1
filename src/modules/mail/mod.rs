//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

mod activity;
mod addresses;
pub mod assign;
mod attachments_copy;
mod classes;
mod control;
mod daemon;
mod dangers;
mod delivery;
mod drift;
mod facts;
mod folders;
mod homes;
mod imap;
mod lists;
mod logins;
mod logs;
mod maildir_move;
mod names;
mod preflight;
mod probe;
pub mod qmail;
mod qpsmtpd_whitelist;
mod quota;
mod routes;
mod send;
mod tcp_rules;
mod text;
mod token;
mod traps;
mod users;

pub const MODULES: &[&Entry] = &[
    &activity::ENTRY,
    &addresses::ENTRY,
    &attachments_copy::ENTRY,
    &control::ENTRY,
    &daemon::ENTRY,
    &facts::ENTRY,
    &folders::ENTRY,
    &homes::ENTRY,
    &lists::ENTRY,
    &logins::ENTRY,
    &maildir_move::ENTRY,
    &preflight::ENTRY,
    &probe::ENTRY,
    &qpsmtpd_whitelist::ENTRY,
    &tcp_rules::ENTRY,
    &token::ENTRY,
    &users::ENTRY,
];
