//! `blockinfile`: some lines between two marker lines are in a text file, or not.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};

use super::edit::{ENCODING, Edited, POSITION, Position, Target, bare, end_line_before, lines_of, missing};
use super::place::{WRITING, Writing};
use super::rights::RIGHTS;

pub const BLOCKINFILE: Entry = Entry {
    name: "blockinfile",
    summary: "Keeps a block of lines between two marker lines of a text file",
    arguments: &[
        &[
            Argument::new("path", Kind::Path, "The file.").required().alias(&["dest", "destfile", "name"]),
            Argument::new("block", Kind::Text, "The lines; none takes the block away.")
                .alias(&["content"])
                .may_be_open(),
            Argument::new("state", Kind::Text, "Whether the block is to be there.").choices(&["present", "absent"]),
            Argument::new("marker", Kind::Text, "The marker lines; `{mark}` is what differs between them."),
            Argument::new("marker_begin", Kind::Text, "`{mark}` of the first marker; `BEGIN` unless given."),
            Argument::new("marker_end", Kind::Text, "`{mark}` of the last marker; `END` unless given."),
            Argument::new("append_newline", Kind::Bool, "Have an empty line after the block, where a line follows."),
            Argument::new("prepend_newline", Kind::Bool, "Have an empty line before the block, where a line precedes."),
        ],
        POSITION,
        ENCODING,
        WRITING,
        RIGHTS,
    ],
    free_form: None,
    example: "- name: Plesk's own route is set aside\n  blockinfile:\n    path: /var/qmail/control/smtproutes.note\n    create: true\n    marker: \"# {mark} cutover\"\n    block: |\n      example.com:new.example.net\n      example.org:new.example.net\n",
    build,
};

#[derive(Deserialize)]
struct Written {
    path: String,
    #[serde(default)]
    block: String,
    state: Option<String>,
    marker: Option<String>,
    marker_begin: Option<String>,
    marker_end: Option<String>,
    #[serde(default)]
    append_newline: bool,
    #[serde(default)]
    prepend_newline: bool,
    insertafter: Option<String>,
    insertbefore: Option<String>,
    #[serde(default)]
    create: bool,
    #[serde(flatten)]
    writing: Writing,
}

struct BlockInFile {
    path: String,
    block: Block,
    create: bool,
    writing: Writing,
}

struct Block {
    begin: String,
    end: String,
    /// Without markers; empty: no block at all.
    lines: Vec<String>,
    position: Position,
    space_before: bool,
    space_after: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    written.writing.check()?;
    let marker = written.marker.unwrap_or_else(|| "# {mark} ANSIBLE MANAGED BLOCK".into());
    let begin = marker.replace("{mark}", written.marker_begin.as_deref().unwrap_or("BEGIN"));
    let end = marker.replace("{mark}", written.marker_end.as_deref().unwrap_or("END"));
    if begin == end || begin.contains('\n') || end.contains('\n') {
        let error = Diagnostic::new("the two markers have to be two different lines");
        return Err(error.hint("`marker` needs `{mark}`, or the block would be added again by every run"));
    }
    let absent = written.state.as_deref() == Some("absent");
    let mut lines = if absent { Vec::new() } else { lines_of(&written.block) };
    let count = lines.len();
    end_line_before(&mut lines, count);
    if let Some(line) = lines.iter().find(|line| bare(line) == begin || bare(line) == end) {
        return Err(Diagnostic::new(format!("the block contains its own marker: `{}`", bare(line))));
    }
    let block = Block {
        begin,
        end,
        lines,
        position: Position::new(written.insertafter.as_deref(), written.insertbefore.as_deref())?,
        space_before: written.prepend_newline,
        space_after: written.append_newline,
    };
    Ok(Box::new(BlockInFile { path: written.path, block, create: written.create, writing: written.writing }))
}

#[async_trait]
impl Module for BlockInFile {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look(host, &self.path).await?;
        if target.text.is_none() && !self.create {
            return Err(missing(&target.place.path));
        }
        let mut edited = self.block.edit(target.text.as_deref().unwrap_or(""))?;
        if target.text.is_none() {
            edited.message = "File created".into();
        }
        target.plan(host, edited, &self.writing).await
    }
}

impl Block {
    fn edit(&self, text: &str) -> Result<Edited, ModuleError> {
        let mut lines = lines_of(text);
        let last = |marker: &str| lines.iter().rposition(|line| bare(line) == marker);
        let place = match (last(&self.begin), last(&self.end)) {
            (Some(begin), Some(end)) => {
                // Markers the wrong way round are taken out too, with what is between them.
                let (first, last) = (begin.min(end), begin.max(end));
                lines.drain(first..=last);
                Some(first)
            }
            _ => None,
        };
        if !self.lines.is_empty() {
            let mut index = match place {
                Some(index) => index,
                None => self.position.index(&lines, false)?,
            };
            end_line_before(&mut lines, index);
            if self.space_before && index > 0 && lines[index - 1] != "\n" {
                lines.insert(index, "\n".into());
                index += 1;
            }
            if self.space_after && lines.get(index).is_some_and(|line| line != "\n") {
                lines.insert(index, "\n".into());
            }
            let markers = [format!("{}\n", self.begin), format!("{}\n", self.end)];
            let [begin, end] = markers;
            let block = std::iter::once(begin).chain(self.lines.iter().cloned()).chain([end]);
            lines.splice(index..index, block);
        }
        let new = lines.concat();
        let message = match (new == text, self.lines.is_empty()) {
            (true, _) => "",
            (false, true) => "Block removed",
            (false, false) => "Block inserted",
        };
        Ok(Edited { text: new, message: message.into() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    fn block(text: &str, position: Position) -> Block {
        let mut lines = lines_of(text);
        let count = lines.len();
        end_line_before(&mut lines, count);
        Block { begin: "#<".into(), end: "#>".into(), lines, position, space_before: false, space_after: false }
    }

    #[test]
    fn a_block_is_added_replaced_in_place_and_removed() {
        let once = block("x", Position::End).edit("a").unwrap().text;
        assert_eq!(once, "a\n#<\nx\n#>\n");
        let moved = format!("{once}b\n");
        assert_eq!(block("y\nz\n", Position::Begin).edit(&moved).unwrap().text, "a\n#<\ny\nz\n#>\nb\n");
        let removed = block("", Position::End).edit(&moved).unwrap();
        assert_eq!((removed.text.as_str(), removed.message.as_str()), ("a\nb\n", "Block removed"));
    }

    #[test]
    fn empty_lines_around_it_are_made_once() {
        let spaced =
            Block { space_before: true, space_after: true, ..block("x", Position::new(Some("^a"), None).unwrap()) };
        let once = spaced.edit("a\nb\n").unwrap().text;
        assert_eq!(once, "a\n\n#<\nx\n#>\n\nb\n");
        assert_eq!(spaced.edit(&once).unwrap().text, once);
    }

    #[tokio::test]
    async fn the_default_markers_are_ansibles() {
        let bench = Bench::new();
        bench.host.file("/etc/c", "", 0o644);
        let results = bench.twice("blockinfile", json!({"path": "/etc/c", "block": "x"})).await;
        let text = "# BEGIN ANSIBLE MANAGED BLOCK\nx\n# END ANSIBLE MANAGED BLOCK\n";
        assert_eq!((bench.host.read("/etc/c").unwrap().as_str(), &results["msg"]), (text, &json!("Block inserted")));
    }

    #[tokio::test]
    async fn a_marker_that_would_repeat_the_block_is_refused() {
        let error =
            Bench::new().fails("blockinfile", json!({"path": "/etc/c", "marker": "# mine", "block": "x"})).await;
        assert!(error.contains("two different lines"), "{error}");
    }

    proptest! {
        #[test]
        fn an_edit_done_twice_is_done_once(
            text in "((#<|#>|a|b|)\n){0,7}a?", lines in "([abc]{1,2}\n){0,2}", at in "[ab]|EOF|BOF", spaces in 0..4,
        ) {
            let position = Position::new(Some(&at), None).unwrap();
            let edit = Block { space_before: spaces & 1 > 0, space_after: spaces & 2 > 0, ..block(&lines, position) };
            // A lone marker before the block would pair with the block's own; Ansible's result is the same.
            prop_assume!(text.matches("#<").count() <= 1 && text.matches("#>").count() <= 1);
            prop_assume!(text.contains("#<") == text.contains("#>"));
            let once = edit.edit(&text).unwrap().text;
            let twice = edit.edit(&once).unwrap();
            prop_assert_eq!(&twice.text, &once);
            prop_assert_eq!(twice.message, "");
        }
    }
}
