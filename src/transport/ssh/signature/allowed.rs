//! Who may sign: a file as in `ssh-keygen.1`, ALLOWED SIGNERS.

use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use russh::keys::PublicKey;

use super::Signature;
use crate::error::Diagnostic;
use crate::transport::ssh::config::patterns;

/// The lines of such a file.
#[derive(Debug)]
pub struct AllowedSigners {
    name: String,
    lines: Vec<Line>,
}

/// What a signature is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    pub namespace: &'a str,
    /// Whose it has to be; anybody's of the file where nobody is named.
    pub principal: Option<&'a str>,
    pub now: Timestamp,
}

#[derive(Debug)]
struct Line {
    number: usize,
    /// A list of patterns.
    principals: String,
    key: PublicKey,
    options: Options,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// The key signs certificates, not files.
    authority: bool,
    /// A list of patterns.
    namespaces: Option<String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl AllowedSigners {
    /// Reads a file. A line that is not understood is an error: it may be the one that takes a right away.
    pub fn read(path: &Path) -> Result<AllowedSigners, Diagnostic> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Diagnostic::new(format!("the allowed signers `{name}` cannot be read: {error}")))?;
        AllowedSigners::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<AllowedSigners, Diagnostic> {
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = Line::read(index + 1, line).map_err(|why| {
                let error = Diagnostic::new(format!("`{name}`, line {}: {why}", index + 1));
                error.hint("a line is `PRINCIPALS [OPTIONS] KEYTYPE KEY`, as in ssh-keygen(1), ALLOWED SIGNERS")
            })?;
            lines.push(read);
        }
        Ok(AllowedSigners { name: name.into(), lines })
    }

    /// Returns whose the signature is, as the file names them, or why it is nobody's who may.
    pub fn whose(&self, signature: &Signature, demand: Demand<'_>) -> Result<String, String> {
        let mut why = format!("its key is not in `{}`", self.name);
        for line in self.lines.iter().filter(|line| line.key.key_data() == signature.0.public_key()) {
            match line.allows(demand) {
                Ok(()) => return Ok(demand.principal.unwrap_or(&line.principals).into()),
                Err(reason) => why = format!("{reason} (`{}`, line {})", self.name, line.number),
            }
        }
        Err(why)
    }
}

impl Line {
    fn read(number: usize, line: &str) -> Result<Line, String> {
        let (principals, rest) = word(line).ok_or("it names nobody")?;
        let principals = principals.replace('"', "");
        // What is no key is options, and the key follows.
        let (options, key) = match PublicKey::from_openssh(rest) {
            Ok(key) => (Options::default(), key),
            Err(first) => {
                let (options, rest) = word(rest).ok_or("there is no key")?;
                let key = PublicKey::from_openssh(rest).map_err(|_| format!("there is no key: {first}"))?;
                (Options::read(options)?, key)
            }
        };
        Ok(Line { number, principals, key, options })
    }

    fn allows(&self, Demand { namespace, principal, now }: Demand<'_>) -> Result<(), String> {
        let Options { authority, namespaces, after, before } = &self.options;
        if *authority {
            return Err("its key is for certificates, which plans are not signed with".into());
        }
        if let Some(name) = principal.filter(|name| !patterns::list(name, &self.principals)) {
            return Err(format!("it is of `{}`, not of `{name}`", self.principals));
        }
        if let Some(namespaces) = namespaces.as_ref().filter(|namespaces| !patterns::list(namespace, namespaces)) {
            return Err(format!("its key may sign for `{namespaces}`, not for `{namespace}`"));
        }
        if let Some(after) = after.filter(|after| now < *after) {
            return Err(format!("its key is valid only from {after}"));
        }
        if let Some(before) = before.filter(|before| now > *before) {
            return Err(format!("its key was valid only until {before}"));
        }
        Ok(())
    }
}

impl Options {
    fn read(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for option in split(text, ',') {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "cert-authority" => options.authority = true,
                "namespaces" => options.namespaces = Some(value.into()),
                "valid-after" => options.after = Some(time(value)?),
                "valid-before" => options.before = Some(time(value)?),
                _ => return Err(format!("unknown option `{name}`")),
            }
        }
        Ok(options)
    }
}

/// Reads `YYYYMMDD[HHMM[SS]][Z]`: in the time zone of this machine, or in UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no time: `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with `Z` in UTC");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.into(),
        _ => return Err(wrong()),
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", full).map_err(|_| wrong())?;
    let zoned: Zoned = civil.to_zoned(zone).map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

/// Returns the first word and what follows it; white space in quotes is in the word.
fn word(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.find(|character: char| {
        quoted ^= character == '"';
        character.is_ascii_whitespace() && !quoted
    })?;
    Some((&text[..end], text[end..].trim_start()))
}

fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character| {
        quoted ^= character == '"';
        character == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1cEXkYkBEBhhLhAhyVBDDbEBqCJdZbRsfCpzQoqNeH a comment";

    fn only(line: &str) -> Line {
        AllowedSigners::parse("f", line).unwrap().lines.remove(0)
    }

    fn allows(line: &str, principal: Option<&str>, now: &str) -> Result<(), String> {
        only(line).allows(Demand { namespace: "cutover-plan", principal, now: now.parse().unwrap() })
    }

    #[test]
    fn options_take_rights_away() {
        let now = "2026-06-01T00:00:00Z";
        allows(&format!("ann,bob {KEY}"), Some("bob"), now).unwrap();
        allows(&format!("*@example.com,!eve@example.com {KEY}"), Some("eve@example.com"), now).unwrap_err();
        allows(&format!("\"*@example.com\" namespaces=\"git,cutover-*\" {KEY}"), Some("a@example.com"), now).unwrap();
        let error = allows(&format!("ann namespaces=\"git\" {KEY}"), None, now).unwrap_err();
        assert_eq!(error, "its key may sign for `git`, not for `cutover-plan`");
        allows(&format!("ann cert-authority {KEY}"), None, now).unwrap_err();
    }

    #[test]
    fn a_key_is_valid_from_the_first_moment_to_the_last() {
        let line = format!("ann valid-after=\"20260101Z\",valid-before=\"20260301120000Z\" {KEY}");
        let error = allows(&line, None, "2025-12-31T23:59:59Z").unwrap_err();
        assert_eq!(error, "its key is valid only from 2026-01-01T00:00:00Z");
        allows(&line, None, "2026-01-01T00:00:00Z").unwrap();
        allows(&line, None, "2026-03-01T12:00:00Z").unwrap();
        let error = allows(&line, None, "2026-03-01T12:00:01Z").unwrap_err();
        assert_eq!(error, "its key was valid only until 2026-03-01T12:00:00Z");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in
            ["ann", "ann ssh-ed25519", &format!("ann no-touch {KEY}"), &format!("ann valid-before=\"tomorrow\" {KEY}")]
        {
            AllowedSigners::parse("f", &format!("# none\n\n{line}\n")).unwrap_err();
        }
    }
}
