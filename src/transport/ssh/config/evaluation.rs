//! What the files say of one host: a walk over their lines that keeps the settings of the blocks that apply.

use crate::error::Diagnostics;

use super::commands::Commands;
use super::conditions::{Criterion, Kind};
use super::lines::Line;
use super::local::Local;
use super::patterns;
use super::settings::Settings;
use super::tokens::Tokens;

/// The walk over the files for one host.
pub struct Evaluation<'a> {
    pub local: &'a Local,
    pub commands: &'a Commands,
    /// The host as it was asked for.
    pub original: &'a str,
    /// What `Host` is compared with: the original, in the second pass the name that is connected to.
    pub host: String,
    pub pass: Pass,
    pub settings: Settings,
    pub errors: Diagnostics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    First,
    /// The first pass, and some file asks for a second one (`Match final`).
    FirstOfTwo,
    Final,
}

/// Whether a file's lines can apply at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Applied,
    /// A file included in a block that does not apply: it is read for its errors only.
    Unapplied,
}

impl Evaluation<'_> {
    /// Goes through the lines of a file, or of a command line.
    pub fn walk(&mut self, lines: &[Line]) {
        self.walk_file(lines, Reading::Applied);
    }

    fn walk_file(&mut self, lines: &[Line], reading: Reading) {
        let mut applies = reading == Reading::Applied;
        for line in lines {
            match line {
                Line::Host(patterns) => applies = reading == Reading::Applied && patterns.matches(&self.host),
                Line::Match(criteria) => applies = self.holds(criteria, reading) && reading == Reading::Applied,
                Line::Include(files) => {
                    let reading = if applies { Reading::Applied } else { Reading::Unapplied };
                    files.iter().for_each(|file| self.walk_file(&file.lines, reading));
                }
                Line::Set(setting) if applies => self.settings.add(setting),
                Line::Set(_) => {}
                Line::Unknown { keyword, error } => {
                    let ignored = self.settings.text("IgnoreUnknown");
                    if !ignored.is_some_and(|ignored| patterns::list(keyword, &ignored.to_ascii_lowercase())) {
                        self.errors.push(error.clone());
                    }
                }
            }
        }
    }

    fn holds(&mut self, criteria: &[Criterion], reading: Reading) -> bool {
        let mut holds = true;
        for criterion in criteria {
            if criterion.kind == (Kind::Final { asks: true }) && self.pass == Pass::First {
                self.pass = Pass::FirstOfTwo;
            }
            // What cannot matter any more is not asked: a command is not run.
            if holds && reading == Reading::Applied {
                holds = self.fits(criterion) != criterion.negated;
            }
        }
        holds
    }

    fn fits(&mut self, criterion: &Criterion) -> bool {
        match &criterion.kind {
            Kind::All => true,
            Kind::Final { .. } => self.pass == Pass::Final,
            Kind::Host(list) => {
                let host = self.connected();
                patterns::host_list(&host, list)
            }
            Kind::OriginalHost(list) => patterns::host_list(self.original, list),
            Kind::User(list) => patterns::list(self.user(), list),
            Kind::LocalUser(list) => patterns::list(&self.local.user, list),
            Kind::Tagged(list) => patterns::list(self.settings.text("Tag").unwrap_or_default(), list),
            Kind::Exec(command) => {
                let answer = self.expand_command(command).and_then(|text| self.commands.succeeds(&text, self.local));
                answer.unwrap_or_else(|why| {
                    self.errors.push(criterion.origin.wrong(why));
                    criterion.negated
                })
            }
            Kind::Unsupported(name) => {
                let error = criterion.origin.wrong(format!("`Match {name}` is not supported"));
                self.errors.push(error.hint("`host`, `originalhost`, `user`, `localuser`, `tagged` and `exec` are"));
                criterion.negated
            }
        }
    }

    fn user(&self) -> &str {
        self.settings.text("User").unwrap_or(&self.local.user)
    }

    /// Returns the name that is connected to as far as it is known: what `HostName` says, or the host itself.
    pub fn connected(&mut self) -> String {
        let Some(setting) = self.settings.get("HostName") else { return self.host.clone() };
        let (text, origin) = (setting.words.first().cloned().unwrap_or_default(), setting.origin.clone());
        if self.pass == Pass::Final {
            return text;
        }
        let expanded = self.tokens(&self.host).host_name(&text);
        expanded.unwrap_or_else(|why| {
            self.errors.push(origin.wrong(why));
            text
        })
    }

    fn expand_command(&mut self, command: &str) -> Result<String, String> {
        let host = self.connected();
        self.tokens(&host).command(command)
    }

    fn tokens<'t>(&'t self, host: &'t str) -> Tokens<'t> {
        Tokens {
            local: self.local,
            original: self.original,
            host,
            port: self.settings.port(),
            user: self.user(),
            key_alias: self.settings.text("HostKeyAlias").unwrap_or(host),
            jump: self.settings.command("ProxyJump").and_then(|jump| jump.words.first()).map_or("", String::as_str),
        }
    }
}
