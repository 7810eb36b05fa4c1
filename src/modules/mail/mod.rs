//! Modules for mail: control files, accounts, stored messages.

use super::Entry;

pub mod assign;
mod attachments_copy;
mod control;
mod dangers;
mod facts;
mod maildir_move;
pub mod qmail;
mod qpsmtpd_whitelist;
mod send;
mod tcp_rules;
mod users;

pub const MODULES: &[&Entry] = &[
    &attachments_copy::ENTRY,
    &control::ENTRY,
    &facts::ENTRY,
    &maildir_move::ENTRY,
    &qpsmtpd_whitelist::ENTRY,
    &tcp_rules::ENTRY,
    &users::ENTRY,
];
