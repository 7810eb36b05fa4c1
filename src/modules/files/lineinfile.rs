//! `lineinfile`: one line is in a text file, or no line like it is.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};

use super::edit::{ENCODING, Edited, POSITION, Position, Target, bare, end_line_before, lines_of, missing};
use super::pattern::{Lines, Pattern, expand};
use super::place::{WRITING, Writing};
use super::rights::RIGHTS;

pub const LINEINFILE: Entry = Entry {
    name: "lineinfile",
    summary: "Makes sure that a line is in a text file, or that none like it is",
    arguments: &[
        &[
            Argument::new("path", Kind::Path, "The file.").required().alias(&["dest", "destfile", "name"]),
            Argument::new("line", Kind::Text, "The line, without its end.").alias(&["value"]).may_be_open(),
            Argument::new(
                "regexp",
                Kind::Text,
                "What finds the line to replace (the last one) or the lines to remove.",
            )
            .alias(&["regex"]),
            Argument::new("search_string", Kind::Text, "As `regexp`, but plain text that is part of the line."),
            Argument::new("state", Kind::Text, "Whether the line is to be there.").choices(&["present", "absent"]),
            Argument::new(
                "backrefs",
                Kind::Bool,
                "Fill in `\\1` and `\\g<name>` of `line`; without a match nothing is done.",
            ),
            Argument::new("firstmatch", Kind::Bool, "Take the first line that matches, not the last."),
        ],
        POSITION,
        ENCODING,
        WRITING,
        RIGHTS,
    ],
    free_form: None,
    example: "- name: The host greets with its new name\n  lineinfile:\n    path: /var/qmail/control/smtpgreeting\n    regexp: '^'\n    line: mail.example.com\n    create: true\n    mode: \"0644\"\n",
    build,
};

#[derive(Deserialize)]
struct Written {
    path: String,
    line: Option<String>,
    regexp: Option<String>,
    search_string: Option<String>,
    state: Option<String>,
    #[serde(default)]
    backrefs: bool,
    #[serde(default)]
    firstmatch: bool,
    insertafter: Option<String>,
    insertbefore: Option<String>,
    #[serde(default)]
    create: bool,
    #[serde(flatten)]
    writing: Writing,
}

struct LineInFile {
    path: String,
    edit: Edit,
    create: bool,
    writing: Writing,
}

enum Edit {
    Absent(Search),
    Present(Present),
}

struct Present {
    line: String,
    search: Search,
    backrefs: bool,
    position: Position,
    first: bool,
}

enum Search {
    /// The line itself.
    Whole(String),
    Part(String),
    Pattern(Pattern),
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    written.writing.check()?;
    let search = match (&written.regexp, &written.search_string, &written.line) {
        (Some(_), Some(_), _) => return Err(Diagnostic::new("`regexp` and `search_string` cannot both be given")),
        (Some(text), None, _) => Search::Pattern(Pattern::new("regexp", text, Lines::One)?),
        (None, Some(text), _) => Search::Part(text.clone()),
        (None, None, Some(line)) => Search::Whole(line.clone()),
        (None, None, None) => return Err(Diagnostic::new("`lineinfile` needs `line`, `regexp` or `search_string`")),
    };
    if written.backrefs && written.regexp.is_none() {
        return Err(Diagnostic::new("`backrefs` needs `regexp`"));
    }
    let edit = match (written.state.as_deref(), written.line) {
        (Some("absent"), _) => Edit::Absent(search),
        (_, None) => return Err(Diagnostic::new("`lineinfile` needs `line` to be present")),
        (_, Some(line)) => Edit::Present(Present {
            line,
            search,
            backrefs: written.backrefs,
            position: Position::new(written.insertafter.as_deref(), written.insertbefore.as_deref())?,
            first: written.firstmatch,
        }),
    };
    Ok(Box::new(LineInFile { path: written.path, edit, create: written.create, writing: written.writing }))
}

#[async_trait]
impl Module for LineInFile {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look(host, &self.path).await?;
        match (&self.edit, &target.text) {
            (Edit::Absent(search), Some(text)) => {
                let (edited, found) = remove(text, search)?;
                let mut planned = target.plan(host, edited, &self.writing).await?;
                if let crate::modules::Outcome::Known(results) = &mut planned.result {
                    results.insert("found".into(), found.into());
                }
                Ok(planned)
            }
            (Edit::Absent(_), None) => {
                let results = [("msg", "file not present".into()), ("found", 0.into())];
                Ok(Planned::new(Vec::new(), Results::from_iter(results.map(|(name, value)| (name.to_string(), value)))))
            }
            (Edit::Present(_), None) if !self.create => Err(missing(&target.place.path)),
            (Edit::Present(present), text) => {
                let edited = present.edit(text.as_deref().unwrap_or(""))?;
                target.plan(host, edited, &self.writing).await
            }
        }
    }
}

impl Search {
    fn finds(&self, line: &str) -> Result<bool, ModuleError> {
        match self {
            Search::Whole(text) => Ok(bare(line).trim_end_matches('\r') == text),
            Search::Part(text) => Ok(bare(line).contains(text)),
            Search::Pattern(pattern) => pattern.is_match(bare(line)),
        }
    }
}

impl Present {
    fn edit(&self, text: &str) -> Result<Edited, ModuleError> {
        let mut lines = lines_of(text);
        let mut found = None;
        for (index, line) in lines.iter().enumerate() {
            if self.search.finds(line)? {
                found = Some(index);
                if self.first {
                    break;
                }
            }
        }
        let whole = Search::Whole(self.line.clone());
        let message = match found {
            // Without a search the line stays where it is, whatever end it has.
            Some(_) if matches!(self.search, Search::Whole(_)) => "",
            Some(index) => {
                let new = format!("{}\n", self.filled(bare(&lines[index]))?);
                if lines[index] == new {
                    ""
                } else {
                    lines[index] = new;
                    "line replaced"
                }
            }
            None if self.backrefs => "",
            None if lines.iter().map(|line| whole.finds(line)).collect::<Result<Vec<_>, _>>()?.contains(&true) => "",
            None => {
                let index = self.position.index(&lines, self.first)?;
                end_line_before(&mut lines, index);
                lines.insert(index, format!("{}\n", self.line));
                "line added"
            }
        };
        Ok(Edited { text: lines.concat(), message: message.into() })
    }

    /// Returns the line to write in place of `old`.
    fn filled(&self, old: &str) -> Result<String, ModuleError> {
        match &self.search {
            Search::Pattern(pattern) if self.backrefs => match pattern.captures(old)? {
                Some(found) => expand(&self.line, &found),
                None => Ok(self.line.clone()),
            },
            _ => Ok(self.line.clone()),
        }
    }
}

/// Removes every line that is found; returns how many.
fn remove(text: &str, search: &Search) -> Result<(Edited, usize), ModuleError> {
    let mut kept = String::new();
    let mut found = 0;
    for line in lines_of(text) {
        match search.finds(&line)? {
            true => found += 1,
            false => kept.push_str(&line),
        }
    }
    let message = if found > 0 { format!("{found} line(s) removed") } else { String::new() };
    Ok((Edited { text: kept, message }, found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    fn present(line: &str, regexp: Option<&str>, position: Position) -> Present {
        let search = match regexp {
            Some(text) => Search::Pattern(Pattern::new("regexp", text, Lines::One).unwrap()),
            None => Search::Whole(line.into()),
        };
        Present { line: line.into(), search, backrefs: false, position, first: false }
    }

    fn after(text: &str) -> Position {
        Position::new(Some(text), None).unwrap()
    }

    #[test]
    fn the_last_match_is_replaced_and_the_first_if_asked() {
        let mut edit = present("b=9", Some("^b="), Position::End);
        assert_eq!(edit.edit("b=1\nb=2\n").unwrap().text, "b=1\nb=9\n");
        edit.first = true;
        assert_eq!(edit.edit("b=1\nb=2\n").unwrap().text, "b=9\nb=2\n");
    }

    #[test]
    fn a_new_line_goes_where_it_is_told() {
        assert_eq!(present("x", None, Position::End).edit("a").unwrap().text, "a\nx\n");
        assert_eq!(present("x", None, Position::Begin).edit("a\n").unwrap().text, "x\na\n");
        assert_eq!(present("x", None, after("^a")).edit("a1\na2\nb\n").unwrap().text, "a1\na2\nx\nb\n");
        let before = Position::new(None, Some("^b")).unwrap();
        assert_eq!(present("x", Some("^x"), before).edit("a\nb\n").unwrap().text, "a\nx\nb\n");
    }

    #[test]
    fn a_line_that_is_there_is_not_added_when_its_search_finds_nothing() {
        assert_eq!(present("x", Some("^gone"), after("a")).edit("a\nb\nx\n").unwrap().text, "a\nb\nx\n");
    }

    #[test]
    fn backrefs_fill_in_and_do_nothing_without_a_match() {
        let mut edit = present(r"\1 = new", Some(r"^(\w+)\s*=.*$"), Position::End);
        edit.backrefs = true;
        assert_eq!(edit.edit("key=old\n").unwrap().text, "key = new\n");
        assert_eq!(edit.edit("# none\n").unwrap().text, "# none\n");
    }

    #[tokio::test]
    async fn a_file_keeps_its_mode_and_its_link() {
        let bench = Bench::new();
        bench.host.file("/etc/real", "a\n", 0o640).link("/etc/me", "real");
        let results = bench.twice("lineinfile", json!({"path": "/etc/me", "line": "b"})).await;
        assert_eq!((bench.host.read("/etc/real").unwrap(), bench.mode("/etc/real")), ("a\nb\n".into(), 0o640));
        assert_eq!(results["msg"], "line added");
        assert_eq!(bench.host.node("/etc/me", crate::transport::Links::Keep).kind(), "link");
    }

    #[tokio::test]
    async fn a_missing_file_fails_unless_it_may_be_created() {
        let bench = Bench::new();
        let error = bench.fails("lineinfile", json!({"path": "/etc/q/c", "line": "b"})).await;
        assert_eq!(error, "Path /etc/q/c does not exist !");
        bench.twice("lineinfile", json!({"path": "/etc/q/c", "line": "b", "create": true, "mode": "0600"})).await;
        assert_eq!((bench.host.read("/etc/q/c").unwrap(), bench.mode("/etc/q/c")), ("b\n".into(), 0o600));
    }

    #[tokio::test]
    async fn the_old_file_is_kept_beside_the_new_one() {
        let bench = Bench::new();
        bench.host.file("/etc/rcpthosts", "a\nb\na\n", 0o644);
        let arguments = json!({"path": "/etc/rcpthosts", "regexp": "^a$", "state": "absent", "backup": "yes"});
        let results = bench.twice("lineinfile", arguments).await;
        assert_eq!((results["found"].clone(), bench.host.read("/etc/rcpthosts").unwrap()), (json!(2), "b\n".into()));
        assert_eq!(bench.host.read(results["backup_file"].as_str().unwrap()).unwrap(), "a\nb\na\n");
    }

    proptest! {
        #[test]
        fn an_edit_done_twice_is_done_once(text in "([ab#=\r]{0,3}\n){0,5}[ab]{0,2}", line in "[ab#]{1,3}", at in "[ab]|EOF|BOF") {
            for edit in [present(&line, None, after(&at)), present(&line, Some(&line), after(&at))] {
                let once = edit.edit(&text).unwrap().text;
                let twice = edit.edit(&once).unwrap();
                prop_assert_eq!(&twice.text, &once);
                prop_assert_eq!(twice.message, "");
                prop_assert!(once.lines().any(|found| found.trim_end_matches('\r') == line));
            }
            let removed = remove(&text, &Search::Part(line.clone())).unwrap().0.text;
            prop_assert!(!removed.lines().any(|found| found.contains(&line)));
        }
    }
}
