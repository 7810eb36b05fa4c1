//! Modules for files: what they contain, who owns them, who may read them.

use super::Entry;

mod blockinfile;
mod edit;
mod lineinfile;
mod mode;
mod pattern;
mod place;
mod replace;
mod rights;

#[cfg(test)]
pub mod bench;

pub const MODULES: &[&Entry] = &[&blockinfile::BLOCKINFILE, &lineinfile::LINEINFILE, &replace::REPLACE];
