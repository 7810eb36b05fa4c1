//! Cutover: Ansible-style playbooks over its own SSH, every change shown before it is made.
//!
//! The parts, in reading order, and the path of one task through them:
//!
//! - [`settings`] is what `ansible.cfg` and `ANSIBLE_*` variables say; [`ini`] reads such files, [`crypt`] hashes passwords and content.
//! - [`pep440`] orders versions of Python's packages.
//! - [`regex`] reads regular expressions as Python does.
//! - [`provenance`] keeps what was read, for plans to say what they were made from.
//! - [`names`] knows which names a built-in module has.
//! - [`yaml`] reads text into a tree that knows its places; [`error`] draws the user's errors from them.
//! - [`playbook`] turns the tree into plays, blocks and tasks, imports and roles resolved, nothing rendered.
//! - [`inventory`] says who the hosts are; [`vars`] which variables a task sees on one; [`template`] renders them.
//! - [`run`] takes one task to one host: conditions, loops, and the rendered arguments for
//! - [`modules`]: one file a module. A module looks at the host through [`host::View`], which cannot write, and returns
//! - [`change::Change`]s: before, after, how. They are shown, journalled, and made by [`change::apply()`], the only
//!   function that writes to a host; in a check they go to [`host::Pending`] instead, where later tasks see them.
//! - [`transport`] is the machine at the other end: a POSIX `sh` over SSH, this machine, or one in memory for tests.
//! - [`web`] asks web servers, with the curl or wget of whoever asks.
//! - [`dns`] asks name servers and sends them updates, over connections that a transport dials.
//! - [`lint`] looks at what was written, without a host.
//! - [`report`] folds the run's events into what people read, into counts, and into the exit code.
//! - [`window`] knows how far each domain of a fleet is, and what it waits for.
//! - [`commands`] are the subcommands; [`lab`] is a pair of mail hosts to try them on, with a stand-in
//!   for qmail.
//!
//! **Where a new module goes:** one file in `src/modules/files`, `system`, `mail`, `net` or `database`, with its argument table, its
//! `plan` and its tests, and one row in that directory's `MODULES`. Nothing else changes: documentation, argument
//! checks, completion and the law tests are loops over the table.

pub mod change;
pub mod cli;
pub mod commands;
pub mod crypt;
pub mod dns;
pub mod error;
pub mod host;
pub mod ini;
pub mod inventory;
pub mod lab;
pub mod lint;
pub mod modules;
pub mod names;
pub mod pep440;
pub mod playbook;
pub mod provenance;
pub mod regex;
pub mod report;
pub mod run;
pub mod secret;
pub mod settings;
pub mod template;
pub mod transport;
pub mod vars;
pub mod vault;
pub mod web;
pub mod window;
pub mod yaml;
