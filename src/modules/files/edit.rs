//! A text file of the host, edited here by a function from text to text.

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Kind, ModuleError, Planned, Results};
use crate::transport::{Content, Links, Node, Want};

use super::pattern::{Lines, Pattern};
use super::place::{Place, Writing, bytes_of, make_directories, parent};
use super::rights::Rights;

/// Where in a file something is put that is not in it yet.
pub const POSITION: &[Argument] = &[
    Argument::new(
        "insertafter",
        Kind::Text,
        "Put it after the last line that this regular expression finds, or at `EOF`.",
    ),
    Argument::new(
        "insertbefore",
        Kind::Text,
        "Put it before the last line that this regular expression finds, or at `BOF`.",
    ),
    Argument::new("create", Kind::Bool, "Make the file, and its directories, where it is missing."),
];

pub const ENCODING: &[Argument] =
    &[Argument::new("encoding", Kind::Text, "Encoding of the file.").choices(&["utf-8", "UTF-8", "utf8"])];

pub enum Position {
    Begin,
    End,
    After(Pattern),
    Before(Pattern),
}

/// A text as a module wants it.
pub struct Edited {
    pub text: String,
    /// What was done, as `msg`; empty if nothing.
    pub message: String,
}

impl Position {
    /// Reads `insertafter` and `insertbefore`, of which only one may be given.
    pub fn new(after: Option<&str>, before: Option<&str>) -> Result<Position, Diagnostic> {
        match (after, before) {
            (Some(_), Some(_)) => Err(Diagnostic::new("`insertafter` and `insertbefore` cannot both be given")),
            (Some("BOF"), _) | (_, Some("BOF")) => Ok(Position::Begin),
            (None | Some("EOF"), None) => Ok(Position::End),
            (Some(text), None) => Ok(Position::After(Pattern::new("insertafter", text, Lines::One)?)),
            (None, Some(text)) => Ok(Position::Before(Pattern::new("insertbefore", text, Lines::One)?)),
        }
    }

    /// Returns the index in `lines` to insert at: the end where a pattern finds nothing.
    pub fn index(&self, lines: &[String], first: bool) -> Result<usize, ModuleError> {
        let (pattern, offset) = match self {
            Position::Begin => return Ok(0),
            Position::End => return Ok(lines.len()),
            Position::After(pattern) => (pattern, 1),
            Position::Before(pattern) => (pattern, 0),
        };
        let mut found = None;
        for (index, line) in lines.iter().enumerate() {
            if pattern.is_match(bare(line))? {
                found = Some(index + offset);
                if first {
                    break;
                }
            }
        }
        Ok(found.unwrap_or(lines.len()))
    }
}

/// Returns the lines with their ends.
pub fn lines_of(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_string).collect()
}

/// Returns a line without its end.
pub fn bare(line: &str) -> &str {
    line.strip_suffix('\n').unwrap_or(line)
}

/// Ends the line before `index`, so that another can follow it.
pub fn end_line_before(lines: &mut [String], index: usize) {
    if let Some(line) = index.checked_sub(1).and_then(|index| lines.get_mut(index))
        && !line.ends_with('\n')
    {
        line.push('\n');
    }
}

/// A file to be edited: there, or to be created.
pub struct Target {
    pub place: Place,
    /// `None`: the file is not there.
    pub text: Option<String>,
}

impl Target {
    /// Reads the file at `path`, through links.
    pub async fn look(host: &View, path: &str) -> Result<Target, ModuleError> {
        Target::look_at(host, path, Links::Follow).await
    }

    /// Reads the file at `path`. One that a link is to give its place to starts as what the link leads to.
    pub async fn look_at(host: &View, path: &str, links: Links) -> Result<Target, ModuleError> {
        let place = Place::look(host, path, links, Want::Content).await?;
        if let Node::Link { .. } = place.node {
            let text = Box::pin(Target::look(host, path)).await?.text;
            return Ok(Target { place, text });
        }
        let text = match &place.node {
            Node::Absent => None,
            Node::File { content, .. } => {
                let bytes = bytes_of(host, &place.path, content).await?;
                let mixed = || ModuleError::failed(format!("`{}` is neither UTF-8 nor an older text", place.path));
                Some(decode(&bytes).ok_or_else(mixed)?)
            }
            Node::Directory { .. } => {
                let result = Results::from_iter([("rc".to_string(), 256.into())]);
                let message = format!("Path {} is a directory !", place.path);
                return Err(ModuleError::Failed { message, result });
            }
            other => return Err(ModuleError::failed(format!("`{}` is no file but a {}", place.path, other.kind()))),
        };
        Ok(Target { place, text })
    }

    /// Plans another text of a file that is made where it is not there, with these rights; its directory, too, where it has some.
    pub async fn rewrite(
        mut self,
        host: &View,
        text: String,
        (file, directory): (Rights, Option<Rights>),
    ) -> Result<Planned, ModuleError> {
        if text == self.text.as_deref().unwrap_or_default() {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let (mut changes, mut writing) = (Vec::new(), Writing::default());
        if self.text.is_none() {
            writing.rights = file;
            if let (Node::Absent, Some(rights)) = (&self.place.parent, directory) {
                (changes, self.place.parent) = make_directories(host, parent(&self.place.path), &rights).await?;
            }
        }
        let mut planned = self.plan(host, Edited { text, message: String::new() }, &writing).await?;
        changes.append(&mut planned.changes);
        Ok(Planned { changes, ..planned })
    }

    /// Returns the plan that turns the file into `edited`, and a missing one into a new one.
    pub async fn plan(mut self, host: &View, edited: Edited, writing: &Writing) -> Result<Planned, ModuleError> {
        let mut changes = Vec::new();
        if self.text.is_none() && self.place.parent == Node::Absent {
            let (made, above) = make_directories(host, parent(&self.place.path), &Rights::default()).await?;
            changes.extend(made);
            self.place.parent = above;
        }
        let (made, mut results) = self.place.write(host, Content::here(encode(&edited.text)), writing).await?;
        changes.extend(made);
        results.insert("path".into(), self.place.path.as_str().into());
        results.insert("msg".into(), edited.message.into());
        Ok(Planned::new(changes, results))
    }
}

/// Where bytes that are no UTF-8 stand while a text is edited: private letters, which no pattern names.
const STRAY: u32 = 0xF700;

/// Returns the text, each byte that is no UTF-8 as a private letter; mail hosts have comments in Latin-1.
/// `None`: it has such letters of its own.
fn decode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        if chunk.valid().chars().any(|letter| (STRAY..STRAY + 0x100).contains(&u32::from(letter))) {
            return None;
        }
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(STRAY + u32::from(*byte))));
    }
    Some(text)
}

fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match u32::from(letter).checked_sub(STRAY).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// Returns the failure of a file that is not there and not to be created.
pub fn missing(path: &str) -> ModuleError {
    let result = Results::from_iter([("rc".to_string(), 257.into())]);
    ModuleError::Failed { message: format!("Path {path} does not exist !"), result }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_that_are_no_text_survive_an_edit(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assume!(decode(&bytes).is_some());
            prop_assert_eq!(encode(&decode(&bytes).unwrap()), bytes);
        }
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(decode("grün\n".as_bytes()).unwrap(), "grün\n");
        assert_eq!(encode(&decode(b"gr\xfcn").unwrap().replace('n', "ne")), b"gr\xfcne");
        assert_eq!(decode("\u{f741}".as_bytes()), None);
    }
}
