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
