//! Modules for files: what they contain, who owns them, who may read them.

use super::Entry;

mod blockinfile;
mod checksum;
mod copy;
mod edit;
mod fetch;
mod file;
mod install;
mod json;
mod lineinfile;
mod mode;
mod pattern;
mod place;
mod replace;
mod rights;
mod slurp;
mod source;
mod stat;
mod status;
mod template;
mod times;

#[cfg(test)]
pub mod bench;

pub const MODULES: &[&Entry] = &[
    &blockinfile::BLOCKINFILE,
    &copy::COPY,
    &fetch::FETCH,
    &file::FILE,
    &lineinfile::LINEINFILE,
    &replace::REPLACE,
    &slurp::SLURP,
    &stat::STAT,
    &template::TEMPLATE,
];
