//! A template's error as the user's: what is wrong, where in the file, and what may have been meant.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use minijinja::{Error, ErrorKind};

use crate::error::{Diagnostic, Place, Source};
use crate::yaml::{Style, Yaml};

use super::context::Context;
use super::prepared::Prepared;
use super::{Failure, Syntax};

/// An error, told apart by whether `default` and `is defined` may swallow it.
pub(super) enum Fault {
    Undefined(Diagnostic),
    Other(Failure),
}

/// Where a template's text came from.
pub(super) enum Origin<'a> {
    Node(&'a Yaml),
    File(&'a Arc<Source>),
}

/// The engine's error, and where it stands in the text that the user wrote.
pub(super) struct Broken {
    error: Error,
    /// In bytes.
    offset: Option<usize>,
}

impl Broken {
    pub fn new(error: Error, prepared: &Prepared) -> Broken {
        let offset = innermost(&error).range().map(|range| prepared.original(range.start));
        Broken { error, offset }
    }

    /// An error about the template as a whole.
    pub fn whole(error: Error) -> Broken {
        Broken { error, offset: Some(0) }
    }

    /// Accounts for a header of that many bytes before the template.
    pub fn after(mut self, header: usize) -> Broken {
        self.offset = self.offset.map(|offset| offset + header);
        self
    }

    /// Returns an error of the text itself: syntax, an unknown name.
    pub fn diagnostic(&self, origin: &Origin) -> Diagnostic {
        syntax(&self.error).at(&origin.place(innermost(&self.error), self.offset))
    }
}

impl Fault {
    pub fn new(broken: &Broken, origin: &Origin, context: &Context) -> Fault {
        match source_of(&broken.error) {
            Some(Raised { failure: Failure::Wrong(diagnostic), is_undefined: true }) => {
                let place = origin.place(innermost(&broken.error), broken.offset);
                return Fault::Undefined(diagnostic.clone().at(&place));
            }
            Some(Raised { failure, .. }) => return Fault::Other(failure.clone()),
            None => {}
        }
        let error = innermost(&broken.error);
        let place = origin.place(error, broken.offset);
        let detail = error.detail().unwrap_or_default();
        if error.kind() != ErrorKind::UndefinedError {
            return Fault::Other(Failure::Wrong(syntax(error).at(&place)));
        }
        let guessed = if undefined_name(detail).is_none() { missing(origin.text(), context) } else { None };
        let Some(name) = undefined_name(detail).or(guessed.as_deref()) else {
            let message = if detail.is_empty() { "something here is undefined" } else { detail };
            return Fault::Undefined(Diagnostic::new(message).at(&place));
        };
        if let Some(note) = context.note(name) {
            return Fault::Undefined(note);
        }
        let root = name.split(['.', '[', '|', '(']).next().unwrap_or(name);
        let diagnostic = Diagnostic::new(format!("`{name}` is undefined")).at(&place);
        let diagnostic = match without(name) {
            Some(told) => diagnostic.msg(told),
            None => diagnostic,
        };
        if context.scope.get(root).is_some() {
            return Fault::Undefined(
                diagnostic.hint("say what to use instead: `| default(...)`, or test `is defined`"),
            );
        }
        let is_name = root.chars().all(|c| c.is_alphanumeric() || c == '_');
        let known = if is_name { context.scope.names() } else { Vec::new() };
        Fault::Undefined(diagnostic.suggest(root, known))
    }

    pub fn failure(self) -> Failure {
        match self {
            Fault::Undefined(diagnostic) => Failure::Wrong(diagnostic),
            Fault::Other(failure) => failure,
        }
    }
}

/// Returns an error that has nothing to do with variables: syntax, an unknown name, a filter's refusal.
fn syntax(error: &Error) -> Diagnostic {
    let detail = error.detail().unwrap_or_default();
    let described = match error.kind() {
        ErrorKind::SyntaxError => format!("template syntax: {detail}"),
        // Python's words, which people know and compare.
        _ if detail.starts_with("unable to calculate") && divides_by_zero(detail) => {
            format!("division by zero: {}", detail.trim_start_matches("unable to calculate "))
        }
        ErrorKind::InvalidOperation if !detail.is_empty() => detail.to_string(),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
            format!("{} `{}`", error.kind(), unknown_name(detail))
        }
        ErrorKind::OutOfFuel => "this template does too much work; is there an endless loop?".into(),
        kind if detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    };
    let diagnostic = match described.split_once("\nhint: ") {
        Some((message, hint)) => Diagnostic::new(message).hint(hint),
        None if described.starts_with("tried to use % operator") => {
            Diagnostic::new(described).hint("write the text itself before `%`, or use `{{ text | format(value) }}`")
        }
        None => Diagnostic::new(described),
    };
    match error.kind() {
        ErrorKind::SyntaxError => diagnostic.msg(format!("Syntax error in template: {detail}")),
        ErrorKind::UnknownFilter => {
            diagnostic.msg(format!("Syntax error in template: No filter named '{}'.", unknown_name(detail)))
        }
        ErrorKind::UnknownTest => {
            diagnostic.msg(format!("Syntax error in template: No test named '{}'.", unknown_name(detail)))
        }
        ErrorKind::UnknownFunction => diagnostic.msg(format!("'{}' is undefined", unknown_name(detail))),
        _ if detail.starts_with("unable to calculate") || detail.starts_with("tried to use") => {
            diagnostic.during("Error rendering template: ")
        }
        _ => diagnostic,
    }
}

fn unknown_name(detail: &str) -> &str {
    detail.trim_end_matches(" is unknown").rsplit(' ').next().unwrap_or(detail)
}

/// Says what a value lacks, as Ansible does: `object of type 'dict' has no attribute 'b'` of `a.b`. Of a name alone nothing.
fn without(name: &str) -> Option<String> {
    let at = name.rfind(['.', '['])?;
    let last = name[at + 1..].trim_end_matches(']').trim();
    match last.parse::<i64>() {
        Ok(index) if name[at..].starts_with('[') => Some(format!("object of type 'list' has no attribute {index}")),
        _ => Some(format!("object of type 'dict' has no attribute '{}'", last.trim_matches(['\'', '"']))),
    }
}

fn divides_by_zero(detail: &str) -> bool {
    ["/ 0", "% 0", "// 0", "/ 0.0"].iter().any(|end| detail.ends_with(end))
}

/// Carries a failure through the template engine.
#[derive(Debug)]
struct Raised {
    failure: Failure,
    /// That something is left undefined, which `default` may swallow.
    is_undefined: bool,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Unknown(what) => write!(f, "{what} is not known yet"),
            Failure::Wrong(diagnostic) => write!(f, "{}", diagnostic.message),
        }
    }
}

impl std::error::Error for Raised {}

/// Returns an engine error from which [`Fault::new`] gets `failure` back.
pub(super) fn raise(failure: Failure) -> Error {
    let raised = Raised { failure, is_undefined: false };
    Error::new(ErrorKind::InvalidOperation, raised.to_string()).with_source(raised)
}

/// Returns the same for what is left undefined.
pub(super) fn raise_undefined(why: Diagnostic) -> Error {
    let raised = Raised { failure: Failure::Wrong(why), is_undefined: true };
    Error::new(ErrorKind::UndefinedError, raised.to_string()).with_source(raised)
}

/// Says whether an error is only that something is not known yet.
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(source_of(error), Some(Raised { failure: Failure::Unknown(_), .. }))
}

fn source_of(error: &Error) -> Option<&Raised> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(raised) = cause.downcast_ref::<Raised>() {
            return Some(raised);
        }
        source = cause.source();
    }
    None
}

fn innermost(error: &Error) -> &Error {
    let mut found = error;
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(inner) = cause.downcast_ref::<Error>().filter(|inner| inner.line().is_some()) {
            found = inner;
        }
        source = cause.source();
    }
    found
}

/// Returns the first variable of a template that is not there, or counts as undefined.
fn missing(text: &str, context: &Context) -> Option<String> {
    let environment = context.shared_environment();
    let prepared = Prepared::new(text, Syntax::Template, environment.syntax());
    let names = environment.template_from_str(&prepared.text).ok()?.undeclared_variables(false);
    let function = |name: &str| environment.globals().any(|(known, _)| known == name);
    let lacks = |name: &String| !function(name) && (context.scope.get(name).is_none() || context.note(name).is_some());
    names.into_iter().filter(lacks).min_by_key(|name| text.find(name.as_str()))
}

/// Reads the name from the engine's "`name` is undefined".
fn undefined_name(detail: &str) -> Option<&str> {
    let before = detail.split("` is undefined").next()?;
    if before.len() == detail.len() {
        return None;
    }
    before.rfind('`').map(|start| &before[start + 1..])
}

impl Origin<'_> {
    /// Returns where in the file the error's first character is, as far as the engine knows.
    fn place(&self, error: &Error, offset: Option<usize>) -> Place {
        // An included file has its own text, under its own name.
        if let (Origin::File(source), Some(name), Some(line)) = (self, error.name(), error.line())
            && name != source.path.to_string_lossy()
            && let Some(text) = error.template_source()
        {
            let included = Arc::new(Source { path: name.into(), text: text.into() });
            return Place::new(&included, line as u32, 1);
        }
        match (offset, error.line()) {
            (Some(offset), _) => self.at(offset),
            (None, Some(line)) => self.line(line),
            (None, None) => self.at(0),
        }
    }

    fn line(&self, line: usize) -> Place {
        let text = self.text();
        let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
        let indent = text[start..].chars().take_while(|c| *c == ' ').count();
        self.at(start + indent)
    }

    fn text(&self) -> &str {
        match self {
            Origin::Node(yaml) => yaml.as_str().unwrap_or_default(),
            Origin::File(source) => &source.text,
        }
    }

    /// Returns the place of the byte `offset` of the template.
    pub fn at(&self, offset: usize) -> Place {
        match self {
            Origin::Node(yaml) => within(yaml, offset),
            Origin::File(source) => {
                let before = source.text.get(..offset).unwrap_or_default();
                let line = before.matches('\n').count() as u32 + 1;
                let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) as u32 + 1;
                Place::new(source, line, column)
            }
        }
    }
}

/// Finds the byte `offset` of a scalar's text in the file, by reading both side by side: folding, indentation
/// and escapes make the file's text longer, never different.
fn within(yaml: &Yaml, offset: usize) -> Place {
    let place = &yaml.place;
    let file = &place.source.text;
    let text = yaml.as_str().unwrap_or_default();
    let mut at = place.offset();
    let quote = file[at..].chars().next().filter(|c| matches!(c, '"' | '\'') && yaml.style == Style::Quoted);
    if yaml.style == Style::Block {
        at += file[at..].find('\n').map_or(0, |end| end + 1);
    } else if quote.is_some() {
        at += 1;
    }
    let mut read = 0;
    while read < offset {
        let (Some(wanted), Some(written)) = (text[read..].chars().next(), file[at..].chars().next()) else {
            return place.clone();
        };
        if written == '\\' && quote == Some('"') {
            let continued = file[at + 1..].starts_with('\n');
            at += 1 + if continued { 0 } else { file[at + 1..].chars().next().map_or(0, char::len_utf8) };
            read += if continued { 0 } else { wanted.len_utf8() };
        } else if wanted.is_whitespace() || written.is_whitespace() {
            at += run_of_space(&file[at..]);
            read += run_of_space(&text[read..]);
        } else if wanted == written {
            // In single quotes a quote is written twice.
            at += if quote == Some('\'') && wanted == '\'' { 2 } else { wanted.len_utf8() };
            read += wanted.len_utf8();
        } else {
            return place.clone();
        }
    }
    if !text[read..].starts_with(char::is_whitespace) {
        at += run_of_space(&file[at..]);
    }
    let before = &file[..at];
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) as u32 + 1;
    Place::new(&place.source, line, column)
}

fn run_of_space(text: &str) -> usize {
    text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len())
}
