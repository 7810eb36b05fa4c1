//! Traps: what the files of two mail hosts say that would lose, bounce or misdirect mail of a domain that moves.

use std::fmt::Display;

use crate::transport::name::shown;

use super::dangers::Texts;

pub mod homes;
pub mod inside;
pub mod lines;
pub mod moved;
pub mod relays;
pub mod users;

/// What was found, each with its host, file and line, and what to do about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// To be mended before anything is changed.
    pub problems: Vec<String>,
    /// To be known.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Problem,
    Warning,
}

impl Found {
    pub fn say(&mut self, weight: Weight, text: String) {
        let said = if weight == Weight::Problem { &mut self.problems } else { &mut self.warnings };
        if !said.contains(&text) {
            said.push(text);
        }
    }

    pub fn problem(&mut self, text: String) {
        self.say(Weight::Problem, text);
    }

    pub fn warning(&mut self, text: String) {
        self.say(Weight::Warning, text);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Old,
    New,
}

/// One of the two hosts: the files that decide where mail goes, as texts.
#[derive(Clone, Debug, Default)]
pub struct Side {
    pub role: Role,
    /// Its name in the inventory.
    pub host: String,
    /// The installation's directory.
    pub directory: String,
    /// Where the mailboxes lie.
    pub mailnames: String,
    pub control: Texts,
    pub assign: Option<String>,
    pub poppasswd: Option<String>,
    /// Files that were made from a text and are older than it: `users/cdb`, `control/morercpthosts.cdb`.
    pub stale: Vec<&'static str>,
}

impl Side {
    pub fn text(&self, name: &str) -> &str {
        self.control.get(name).map_or("", String::as_str)
    }

    /// `` `old`: `/var/qmail/control/locals` ``.
    pub fn file(&self, name: &str) -> String {
        let part = if ["assign", "poppasswd", "cdb"].contains(&name) { "users" } else { "control" };
        format!("`{}`: `{}/{part}/{name}`", self.host, self.directory)
    }

    /// `` `old`: `/var/qmail/control/locals` line 3 has `example.com` ``.
    pub fn line(&self, name: &str, (number, text): (usize, &str)) -> String {
        format!("{} line {number} has {}", self.file(name), quoted(text))
    }
}

/// A line as it can be printed: its ends, and what is no letter, are seen.
pub fn quoted(text: &str) -> impl Display + use<> {
    let visible = text.replace('\r', "\\r").replace('\t', "\\t");
    let visible: String = visible.chars().map(|letter| if letter.is_ascii() { letter } else { '?' }).collect();
    format!("`{}`", shown(&visible))
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A host with these control files.
    pub fn side(role: Role, files: &[(&'static str, &str)]) -> Side {
        let host = if role == Role::Old { "old" } else { "new" };
        let control = files.iter().map(|(name, text)| (*name, text.to_string())).collect();
        Side { role, host: host.into(), directory: "/q".into(), mailnames: "/m".into(), control, ..Side::default() }
    }

    /// Sees that exactly one thing was found, of this weight, with all these words.
    pub fn one(found: &Found, weight: Weight, words: &[&str]) {
        let (said, other) = match weight {
            Weight::Problem => (&found.problems, &found.warnings),
            Weight::Warning => (&found.warnings, &found.problems),
        };
        let has = said.len() == 1 && other.is_empty() && words.iter().all(|word| said[0].contains(word));
        assert!(has, "{found:#?} is not one {weight:?} with {words:?}");
    }
}
