//! A user's error: what is wrong, where it was written, and what to do next.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::secret;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A text that was read from a file, kept so that an error can quote it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user would write it, or a name such as `--extra-vars`.
    pub path: PathBuf,
    pub text: String,
}

/// A place in a source. `line` and `column` start at 1; the column counts characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<Source>,
    pub line: u32,
    pub column: u32,
}

impl Place {
    pub fn new(source: &Arc<Source>, line: u32, column: u32) -> Place {
        Place { source: source.clone(), line, column }
    }

    /// Returns the byte offset of this place in its source, at most the length of the text.
    pub(crate) fn offset(&self) -> usize {
        let text = &self.source.text;
        let start: usize = text.split_inclusive('\n').take(self.line.saturating_sub(1) as usize).map(str::len).sum();
        let line = text[start..].split('\n').next().unwrap_or("");
        let column = self.column.saturating_sub(1) as usize;
        start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
    }
}

/// `FILE:LINE:COLUMN`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.path.display(), self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One error of the user's: drawn with the source line where the place is known.
///
/// The message is a lower-case fragment with names in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub message: String,
    pub place: Option<Place>,
    pub hint: Option<String>,
    /// What the result of a task says instead, where Ansible has words that playbooks compare.
    pub msg: Option<String>,
    /// What the result of a task says in `details`, where Ansible's does.
    pub details: Option<String>,
}

impl Diagnostic {
    pub fn new(message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), place: None, hint: None, msg: None, details: None }
    }

    /// Sets what `msg` of a task's result says.
    pub fn msg(mut self, text: impl Into<String>) -> Diagnostic {
        self.msg = Some(text.into());
        self
    }

    /// Sets what `details` of a task's result says.
    pub fn details(mut self, text: impl Into<String>) -> Diagnostic {
        self.details = Some(text.into());
        self
    }

    /// Says in `msg` what was going on: `Error while evaluating conditional: `.
    pub fn during(self, what: &str) -> Diagnostic {
        let msg = format!("{what}{}", self.told());
        self.msg(msg)
    }

    /// Returns `msg` of a task's result: one line, its names in quotes as Python has them.
    pub fn told(&self) -> String {
        self.msg.clone().unwrap_or_else(|| self.message.replace('`', "'"))
    }

    pub fn at(mut self, place: &Place) -> Diagnostic {
        self.place = Some(place.clone());
        self
    }

    /// Sets the place only where none is known yet.
    pub fn or_at(mut self, place: &Place) -> Diagnostic {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// Adds `did you mean ...?` where one of `known` is close to `word`.
    pub fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        match nearest(word, known) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

impl Diagnostic {
    /// Returns the drawn form under the name of a rule: `error[RULE]: ...` or `warning[RULE]: ...`.
    pub fn drawn_as(&self, rule: &str, is_warning: bool) -> String {
        self.draw(if is_warning { Level::WARNING } else { Level::ERROR }, Some(rule))
    }

    fn draw(&self, level: Level<'static>, rule: Option<&str>) -> String {
        let (message, hint) = (secret::mask(&self.message), self.hint.as_deref().map(secret::mask));
        let title = level.primary_title(&*message);
        let title = match rule {
            Some(rule) => title.id(rule),
            None => title,
        };
        let path;
        let mut group = match &self.place {
            // A decrypted file is quoted by nobody.
            Some(place) if secret::is_noted_file(&place.source.path) => {
                path = place.source.path.display().to_string();
                let origin = annotate_snippets::Origin::path(path.as_str());
                title.element(origin.line(place.line as usize).char_column(place.column as usize))
            }
            Some(place) => {
                let start = place.offset();
                let word = place.source.text[start..]
                    .find(|c: char| c.is_whitespace() || c == ':')
                    .map_or(place.source.text.len(), |length| start + length);
                path = place.source.path.display().to_string();
                title.element(
                    Snippet::source(place.source.text.as_str())
                        .path(path.as_str())
                        .annotation(AnnotationKind::Primary.span(start..word.max(start))),
                )
            }
            None => annotate_snippets::Group::with_title(title),
        };
        if let Some(hint) = &hint {
            group = group.element(Level::HELP.with_name("hint").message(&**hint));
        }
        Renderer::plain().render(&[group]).to_string()
    }
}

/// The drawn form: `error: ...`, the excerpt with a caret, `hint: ...`; no colour, no final newline.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.draw(Level::ERROR, None))
    }
}

impl std::error::Error for Diagnostic {}

/// Every user error of one run; shown together, before any host is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    pub fn extend(&mut self, other: Diagnostics) {
        other.0.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Sorts the errors of each file by line; the files stay in the order in which they were read.
    pub fn in_order(mut self) -> Diagnostics {
        let path = |error: &Diagnostic| error.place.as_ref().map(|place| place.source.path.clone());
        let mut files: Vec<Option<PathBuf>> = Vec::new();
        for error in &self.0 {
            if !files.contains(&path(error)) {
                files.push(path(error));
            }
        }
        self.0.sort_by_key(|error| {
            let place = error.place.as_ref().map(|place| (place.line, place.column));
            (files.iter().position(|file| *file == path(error)), place)
        });
        self
    }

    /// Keeps the value, or notes the error and returns nothing.
    pub fn catch<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.push(diagnostic)).ok()
    }

    /// Returns `value` if nothing was noted.
    pub fn or<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            write!(f, "{}{diagnostic}", if index > 0 { "\n\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Returns the word of `known` that a typist most likely meant by `word`.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let scored = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(score, _)| *score <= limit).min_by_key(|(score, _)| *score).map(|(_, candidate)| candidate)
}

/// Returns the edit distance between two words, a swap of neighbours counting once.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<_>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let same = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_drawn_with_its_line_and_hint() {
        let source = Arc::new(Source { path: "play.yml".into(), text: "- copy:\n    dst: /x\n".into() });
        let error = Diagnostic::new("unknown argument `dst` for `copy`")
            .at(&Place::new(&source, 2, 5))
            .suggest("dst", ["src", "dest", "mode"]);
        assert_eq!(
            error.to_string(),
            "error: unknown argument `dst` for `copy`\n --> play.yml:2:5\n  |\n2 |     dst: /x\n  |     ^^^\n  |\n  = hint: did you mean `dest`?"
        );
    }

    #[test]
    fn a_far_word_is_not_suggested() {
        assert_eq!(nearest("frobnicate", ["copy", "file"]), None);
        assert_eq!(nearest("tempalte", ["template", "file"]), Some("template"));
    }
}
