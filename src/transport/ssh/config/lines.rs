//! What one line of a file, or one option of a command line, says.

use std::sync::Arc;

use crate::error::Diagnostic;

use super::conditions::{Criterion, HostPatterns, criteria};
use super::files::File;
use super::keywords;
use super::settings::{Origin, Setting};
use super::values::Shape;
use super::words::{self, Word};

#[derive(Clone, Debug)]
pub enum Line {
    Host(HostPatterns),
    Match(Vec<Criterion>),
    /// The files that an `Include` found.
    Include(Vec<Arc<File>>),
    Set(Setting),
    /// A keyword that nobody knows: an error unless `IgnoreUnknown` names it.
    Unknown {
        keyword: String,
        error: Diagnostic,
    },
}

/// A line before the files that it includes are read.
pub enum Read {
    Done(Line),
    Include(Vec<Include>),
}

/// A pattern of an `Include` line.
pub struct Include {
    pub pattern: String,
    pub origin: Origin,
}

/// Reads one line without its newline. `None`: it says nothing. `origin` makes a place of a byte of it.
pub fn read(line: &str, origin: &dyn Fn(usize) -> Origin) -> Result<Option<Read>, Diagnostic> {
    let line = line.trim_end_matches([' ', '\t', '\r', '\n', '\u{c}']);
    let unended = || origin(0).wrong("a quote does not end");
    let start = words::after_blanks(line, 0);
    let (word, rest) = words::next(line, start).ok_or_else(unended)?;
    if word.text.is_empty() || word.text.starts_with('#') {
        return Ok(None);
    }
    if line.contains('\u{fffd}') {
        return Err(origin(start).wrong("this line is not UTF-8"));
    }
    let here = origin(word.at);
    let rest = words::after_blanks(line, rest);
    if rest == line.len() {
        return Err(here.wrong(format!("`{}` has no argument", word.text)));
    }
    let arguments = words::all(line, rest).ok_or_else(|| origin(rest).wrong("a quote does not end"))?;
    let Some(keyword) = keywords::find(&word.text) else {
        let error = here.wrong(format!("unknown keyword `{}`", word.text)).suggest(&word.text, keywords::names());
        return Ok(Some(Read::Done(Line::Unknown { keyword: word.text.to_ascii_lowercase(), error })));
    };
    let checked = keyword.shape.check(keyword.name, &arguments, rest);
    checked.map_err(|wrong| origin(wrong.at).wrong(wrong.message))?;
    let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect::<Vec<_>>();
    Ok(Some(match keyword.name {
        "Host" => Read::Done(Line::Host(HostPatterns::new(texts(arguments)))),
        "Match" => Read::Done(Line::Match(criteria(line, rest, origin)?)),
        "Include" => Read::Include(arguments.into_iter().map(|word| include(word, origin)).collect::<Result<_, _>>()?),
        _ => {
            let words = match keyword.shape {
                Shape::Command | Shape::Jump => {
                    let text = line[rest..].trim_start_matches([' ', '\t', '\r', '\n', '=']);
                    // A comment after jump hosts is one; in a command a shell may see it.
                    let end = text.find('#').filter(|_| keyword.shape == Shape::Jump).unwrap_or(text.len());
                    vec![text[..end].trim_end().to_string()]
                }
                _ => texts(arguments),
            };
            let setting = Setting { keyword, words, origin: here };
            if keyword.shape == Shape::Jump {
                super::jump::check(&setting)?;
            }
            Read::Done(Line::Set(setting))
        }
    }))
}

fn include(word: Word, origin: &dyn Fn(usize) -> Origin) -> Result<Include, Diagnostic> {
    let origin = origin(word.at);
    match word.text.is_empty() {
        true => Err(origin.wrong("`Include` has an empty argument")),
        false => Ok(Include { pattern: word.text, origin }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::ssh::config::{Given, Local, SshConfig};

    /// Texts that are often almost a line.
    fn almost() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            "[ -~\u{e9}\t\"'\\\\=#%,!*?$]{0,8}",
            proptest::sample::select(vec![
                "Host",
                "Match",
                "Include",
                "HostName",
                "Port",
                "ProxyJump",
                "ProxyCommand",
                "IdentityFile",
                "User",
                "all",
                "exec",
                "host",
                "final",
                "none",
                "=",
                "\"",
                "'",
                "\\",
                "#",
                "%h",
                "%",
                "${HOME}",
                "${",
                "~",
                "[::1]:22",
                "ssh://a@b",
                "@",
                "1h30m",
                "*",
                "\u{fffd}",
            ])
            .prop_map(str::to_owned),
        ];
        proptest::collection::vec(word, 0..8).prop_map(|words| words.join(" "))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn no_line_makes_the_reader_panic(line in almost()) {
            // Every byte that an error is about is a place in the line.
            let origin = |at: usize| { assert!(line.is_char_boundary(at), "{line:?} {at}"); Origin::default() };
            let _ = read(&line, &origin);
        }

        #[test]
        fn no_arguments_make_the_reader_panic(text in almost()) {
            let mut given = Given::default();
            let _ = given.arguments(&text, &Origin::default());
            let _ = given.arguments(&format!("-F none -o {text} -J {text}"), &Origin::default());
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_file_makes_the_walk_panic(lines in proptest::collection::vec(almost(), 0..6)) {
            // A file's commands would run.
            let lines: Vec<String> = lines.into_iter().filter(|line| !line.to_ascii_lowercase().contains("exec")).collect();
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join(".ssh")).unwrap();
            std::fs::write(directory.path().join(".ssh/config"), lines.join("\n")).unwrap();
            let mut local = Local { home: directory.path().into(), system: directory.path().into(), ..Local::current() };
            local.environment.insert("SHELL".into(), "/bin/false".into());
            if let Err(errors) = SshConfig::new(local).target("mx", "mx", &Given::default()) {
                let _ = errors.to_string();
            }
        }
    }
}
