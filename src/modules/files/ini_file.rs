//! `ini_file`: an option of an INI file, in a section or before the first, and sections as a whole.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, State};
use crate::transport::Links;

use super::edit::{ENCODING, Edited, Target, bare, end_line_before, lines_of, missing};
use super::place::{WRITING, Writing};
use super::rights::RIGHTS;

pub const INI_FILE: Entry = Entry {
    name: "ini_file",
    summary: "Keeps an option or a section of an INI file; comments and other lines stay as they are",
    arguments: &[ARGUMENTS, ENCODING, WRITING, RIGHTS],
    free_form: None,
    example: "\
- name: The panel's mail is kept for a month
  ini_file:
    path: /var/qmail/control/panel.ini
    section: mail
    option: keep_days
    value: \"30\"
    mode: \"0644\"
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("path", Kind::Path, "The file; links to it are followed where `follow` says so.")
        .required()
        .alias(&["dest"]),
    Argument::new("section", Kind::Text, "The section's name. Without one the option stands before the first section."),
    Argument::new(
        "section_has_values",
        Kind::Any,
        "Of several sections with one name the first that has these: a list of mappings with `option`, and `value` or `values`.",
    ),
    Argument::new("option", Kind::Text, "The option's name. Without one the section as a whole is meant."),
    Argument::new("value", Kind::Text, "Its value."),
    Argument::new("values", Kind::List, "Its values, a line each; instead of `value`."),
    Argument::new("state", Kind::Text, "Whether it is to be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new(
        "exclusive",
        Kind::Bool,
        "Whether other lines of the option go; `false` adds or removes these values alone. The default is true.",
    ),
    Argument::new("no_extra_spaces", Kind::Bool, "Puts no spaces around the equals sign. The default is false."),
    Argument::new("ignore_spaces", Kind::Bool, "A line that differs in spaces around the equals sign alone stays."),
    Argument::new("allow_no_value", Kind::Bool, "An option may stand without a value and without an equals sign."),
    Argument::new(
        "modify_inactive_option",
        Kind::Bool,
        "A comment that holds the option gives its place to a new line. The default is true.",
    ),
    Argument::new("create", Kind::Bool, "Make the file where it is missing. The default is true."),
    Argument::new("follow", Kind::Bool, "A link stays, and what it leads to is edited. The default is false."),
];

#[derive(Deserialize)]
struct Fields {
    path: String,
    section: Option<String>,
    section_has_values: Option<Vec<Having>>,
    option: Option<String>,
    value: Option<String>,
    values: Option<Vec<Value>>,
    #[serde(default)]
    state: State,
    exclusive: Option<bool>,
    #[serde(default)]
    no_extra_spaces: bool,
    #[serde(default)]
    ignore_spaces: bool,
    #[serde(default)]
    allow_no_value: bool,
    modify_inactive_option: Option<bool>,
    create: Option<bool>,
    #[serde(default)]
    follow: bool,
    #[serde(flatten)]
    writing: Writing,
}

/// What a section has to have to be the one that is meant.
#[derive(Clone, Debug, Deserialize)]
struct Having {
    option: String,
    value: Option<Value>,
    values: Option<Vec<Value>>,
}

struct IniFile {
    path: String,
    create: bool,
    links: Links,
    wanted: Wanted,
    writing: Writing,
}

/// What is asked of a file's text.
struct Wanted {
    section: Option<String>,
    having: Vec<(String, Vec<String>)>,
    option: Option<String>,
    /// Nothing: the option alone on its line.
    values: Vec<Option<String>>,
    state: State,
    exclusive: bool,
    equals: &'static str,
    ignore_spaces: bool,
    uncomments: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    fields.writing.check()?;
    if fields.value.is_some() && fields.values.is_some() {
        return Err(Diagnostic::new("`value` and `values` cannot both be given"));
    }
    if fields.section.is_none() && fields.option.is_none() {
        return Err(Diagnostic::new("`ini_file` needs `section` or `option`"));
    }
    let lists = fields.values.iter().flatten().map(text);
    let mut values: Vec<Option<String>> = fields.value.clone().into_iter().chain(lists).map(Some).collect();
    if values.is_empty() && fields.option.is_some() && fields.state == State::Present {
        if !fields.allow_no_value {
            return Err(Diagnostic::new("an option that is to be there needs `value` or `values`")
                .hint("`allow_no_value: true` lets it stand alone"));
        }
        values.push(None);
    }
    let names = [&fields.section, &fields.option].into_iter().flatten();
    if names.chain(values.iter().flatten()).any(|text| text.contains('\n')) {
        return Err(Diagnostic::new("a name or a value of an INI file is one line"));
    }
    let having = fields.section_has_values.unwrap_or_default().into_iter().map(|having| {
        let values = having.value.into_iter().chain(having.values.into_iter().flatten());
        (having.option, values.map(|value| text(&value)).collect())
    });
    let wanted = Wanted {
        section: fields.section,
        having: having.collect(),
        option: fields.option,
        values,
        state: fields.state,
        exclusive: fields.exclusive.unwrap_or(true),
        equals: if fields.no_extra_spaces { "=" } else { " = " },
        ignore_spaces: fields.ignore_spaces,
        uncomments: fields.modify_inactive_option.unwrap_or(true),
    };
    let links = if fields.follow { Links::Follow } else { Links::Keep };
    let create = fields.create.unwrap_or(true);
    Ok(Box::new(IniFile { path: fields.path, create, links, wanted, writing: fields.writing }))
}

/// Returns a value of YAML as it is written.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "True" } else { "False" }.into(),
        other => other.to_string(),
    }
}

#[async_trait]
impl Module for IniFile {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look_at(host, &self.path, self.links).await?;
        let old = target.text.clone().unwrap_or_default();
        if target.text.is_none() && !self.create {
            return Err(missing(&target.place.path));
        }
        let edited = self.wanted.edited(&old);
        if target.text.is_none() && edited.text.is_empty() {
            return Ok(Planned::new(Vec::new(), [("msg".to_string(), "OK".into())].into_iter().collect()));
        }
        let path = target.place.path.clone();
        let mut planned = target.plan(host, edited, &self.writing).await?;
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("path".into(), path.into());
        }
        Ok(planned)
    }
}

/// A line that says something of an option.
struct Said<'a> {
    commented: bool,
    /// Nothing without an equals sign.
    value: Option<&'a str>,
}

impl Wanted {
    /// Returns the text as it is to be, and what was done.
    fn edited(&self, old: &str) -> Edited {
        let mut lines = lines_of(old);
        let section = self.find(&lines);
        let message = match (self.state, &self.option, section) {
            (State::Absent, None, Some((start, end))) => {
                lines.drain(start..end);
                "section removed"
            }
            (State::Absent, _, None) | (State::Present, None, Some(_)) => "OK",
            (State::Absent, Some(option), Some(range)) => self.remove(&mut lines, option, range),
            (State::Present, Some(option), Some(range)) => self.set(&mut lines, option, range),
            (State::Present, _, None) => self.add(&mut lines),
        };
        Edited { text: lines.concat(), message: message.into() }
    }

    /// Returns the lines of the section, with its head; before the first section there is none.
    fn find(&self, lines: &[String]) -> Option<(usize, usize)> {
        let heads: Vec<(usize, &str)> =
            lines.iter().enumerate().filter_map(|(at, line)| Some((at, head(line)?))).collect();
        let Some(name) = &self.section else {
            return Some((0, heads.first().map_or(lines.len(), |(at, _)| *at)));
        };
        let ends = heads.iter().skip(1).map(|(at, _)| *at).chain([lines.len()]);
        let ranges = heads.iter().zip(ends).filter(|((_, head), _)| *head == name.trim());
        ranges.map(|((start, _), end)| (*start, end)).find(|(start, end)| self.has(&lines[*start..*end]))
    }

    fn has(&self, section: &[String]) -> bool {
        self.having.iter().all(|(option, values)| {
            let found = section.iter().filter_map(|line| said(line, option)).filter(|said| !said.commented);
            let found: Vec<Option<&str>> = found.map(|said| said.value).collect();
            !found.is_empty() && values.iter().all(|value| found.contains(&Some(value)))
        })
    }

    fn remove(&self, lines: &mut Vec<String>, option: &str, (start, end): (usize, usize)) -> &'static str {
        let before = lines.len();
        let mut at = 0;
        lines.retain(|line| {
            let inside = (start..end).contains(&at);
            at += 1;
            let goes = said(line, option).is_some_and(|said| {
                !said.commented && (self.exclusive || self.values.iter().any(|value| value.as_deref() == said.value))
            });
            !(inside && goes)
        });
        if lines.len() == before { "OK" } else { "option changed" }
    }

    fn set(&self, lines: &mut Vec<String>, option: &str, (start, end): (usize, usize)) -> &'static str {
        let mut left: Vec<&Option<String>> = self.values.iter().collect();
        let mut others = (Vec::new(), Vec::new());
        let mut message = "OK";
        for (at, line) in lines.iter_mut().enumerate().take(end).skip(start) {
            let Some(found) = said(line, option) else { continue };
            let wanted = left.iter().position(|value| !found.commented && value.as_deref() == found.value);
            match wanted {
                Some(index) => {
                    let new = self.line(option, left.remove(index));
                    if !self.ignore_spaces && bare(line) != bare(&new) {
                        *line = new;
                        message = "option changed";
                    }
                }
                None if found.commented => others.1.push(at),
                None => others.0.push(at),
            }
        }
        let mut left = left.into_iter();
        let mut gone = Vec::new();
        let (active, comments) = others;
        for at in active.into_iter().filter(|_| self.exclusive) {
            match left.next() {
                Some(value) => lines[at] = self.line(option, value),
                None => gone.push(at),
            }
            message = "option changed";
        }
        for at in comments.into_iter().filter(|_| self.uncomments) {
            let Some(value) = left.next() else { break };
            lines[at] = self.line(option, value);
            message = "option changed";
        }
        let rest: Vec<String> = left.map(|value| self.line(option, value)).collect();
        if !rest.is_empty() {
            // Comments and empty lines at a section's end belong to what follows.
            let says = |line: &String| !matches!(line.trim_start().chars().next(), None | Some('#' | ';'));
            let at = (start..end).rev().find(|at| says(&lines[*at])).map_or(start, |at| at + 1);
            end_line_before(lines, at);
            lines.splice(at..at, rest);
            message = "option added";
        }
        for at in gone.into_iter().rev() {
            lines.remove(at);
        }
        message
    }

    /// Adds a section to the end, with what it is known by and the option.
    fn add(&self, lines: &mut Vec<String>) -> &'static str {
        let end = lines.len();
        end_line_before(lines, end);
        lines.extend(self.section.iter().map(|name| format!("[{name}]\n")));
        for (option, values) in &self.having {
            let known = |value: &&String| {
                let asked = self.values.iter().any(|wanted| wanted.as_deref() == Some(value.as_str()));
                self.option.as_ref() != Some(option) || !asked
            };
            lines.extend(values.iter().filter(known).map(|value| self.line(option, &Some(value.clone()))));
        }
        let Some(option) = &self.option else { return "section added" };
        lines.extend(self.values.iter().map(|value| self.line(option, value)));
        "section and option added"
    }

    fn line(&self, option: &str, value: &Option<String>) -> String {
        match value {
            Some(value) => format!("{option}{}{value}\n", self.equals),
            None => format!("{option}\n"),
        }
    }
}

/// Returns the name of the section that a line begins.
fn head(line: &str) -> Option<&str> {
    Some(line.strip_prefix('[')?.split_once(']')?.0.trim())
}

/// Reads a line that says something of this option, or a comment that would.
fn said<'a>(line: &'a str, option: &str) -> Option<Said<'a>> {
    let text = bare(line).trim_start_matches([' ', '\t']);
    let open = text.trim_start_matches(['#', ';']);
    let commented = open.len() < text.len();
    let rest = open.trim_start_matches([' ', '\t']).strip_prefix(option)?.trim_start_matches([' ', '\t']);
    match rest.strip_prefix('=') {
        Some(value) => Some(Said { commented, value: Some(value.trim()) }),
        None => rest.trim_end().is_empty().then_some(Said { commented, value: None }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;

    async fn edited(old: &str, mut task: serde_json::Value) -> String {
        let bench = Bench::new();
        bench.host.file("/etc/i", old, 0o640);
        task["path"] = "/etc/i".into();
        bench.twice("ini_file", task).await;
        bench.host.read("/etc/i").unwrap()
    }

    #[tokio::test]
    async fn an_option_is_set_in_its_section_and_nowhere_else() {
        let old = "a = 0\n[one]\na=1\n# note\n\n[two]\n;b = 4\na = 2";
        let task = |section: &str, option: &str| json!({"section": section, "option": option, "value": "5"});
        assert_eq!(edited(old, task("one", "a")).await, old.replace("a=1", "a = 5"));
        assert_eq!(edited(old, task("two", "b")).await, old.replace(";b = 4", "b = 5"));
        assert_eq!(edited(old, task("one", "c")).await, old.replace("a=1\n", "a=1\nc = 5\n"));
        assert_eq!(edited(old, task("two", "c")).await, format!("{old}\nc = 5\n"));
        assert_eq!(edited(old, task("new", "c")).await, format!("{old}\n[new]\nc = 5\n"));
        assert_eq!(edited(old, json!({"option": "a", "value": "9"})).await, old.replace("a = 0", "a = 9"));
        let tight = json!({"section": "two", "option": "a", "value": "2", "no_extra_spaces": true});
        assert_eq!(edited(old, tight).await, format!("{}\n", old.replace("a = 2", "a=2")));
        let same = json!({"section": "one", "option": "a", "value": "1", "ignore_spaces": true});
        assert_eq!(edited(old, same).await, old);
        let kept = json!({"section": "two", "option": "b", "value": "7", "modify_inactive_option": false});
        assert_eq!(edited(old, kept).await, format!("{old}\nb = 7\n"));
    }

    #[tokio::test]
    async fn several_values_are_several_lines_alone_or_beside_others() {
        let old = "[a]\nx = 1\nx = 2\nx = 3\ny = 0\n";
        let task = |values: serde_json::Value, exclusive: bool| json!({"section": "a", "option": "x", "values": values, "exclusive": exclusive});
        assert_eq!(edited(old, task(json!(["2", "9"]), true)).await, "[a]\nx = 9\nx = 2\ny = 0\n");
        assert_eq!(edited(old, task(json!([2, 9]), false)).await, format!("{old}x = 9\n"));
        let gone = json!({"section": "a", "option": "x", "value": "2", "exclusive": false, "state": "absent"});
        assert_eq!(edited(old, gone).await, "[a]\nx = 1\nx = 3\ny = 0\n");
        let all = json!({"section": "a", "option": "x", "state": "absent"});
        assert_eq!(edited(old, all).await, "[a]\ny = 0\n");
        assert_eq!(edited(old, json!({"section": "a", "state": "absent"})).await, "");
        let alone = json!({"section": "a", "option": "skip", "allow_no_value": true});
        assert_eq!(edited(old, alone).await, format!("{old}skip\n"));
    }

    #[tokio::test]
    async fn of_sections_with_one_name_the_one_that_has_the_values_is_meant() {
        let old = "[p]\nKey = a\nIP = 1\n[p]\nKey = b\nIP = 2\n";
        let having = json!([{"option": "Key", "value": "b"}]);
        let task = json!({"section": "p", "section_has_values": having, "option": "IP", "value": "7"});
        assert_eq!(edited(old, task).await, old.replace("IP = 2", "IP = 7"));
        let having = json!([{"option": "Key", "values": ["c"]}]);
        let task = json!({"section": "p", "section_has_values": having, "option": "IP", "value": "7"});
        assert_eq!(edited(old, task).await, format!("{old}[p]\nKey = c\nIP = 7\n"));
    }

    #[tokio::test]
    async fn a_file_is_made_and_what_says_nothing_is_refused() {
        let bench = Bench::new();
        bench.twice("ini_file", json!({"path": "/etc/n", "section": "s", "option": "o", "value": true})).await;
        assert_eq!(bench.host.read("/etc/n").unwrap(), "[s]\no = True\n");
        for (task, says) in [
            (json!({"path": "/etc/m", "section": "s", "option": "o"}), "needs `value`"),
            (json!({"path": "/etc/m"}), "needs `section` or `option`"),
            (json!({"path": "/etc/m", "section": "s", "create": false}), "does not exist"),
        ] {
            assert!(bench.fails("ini_file", task).await.contains(says));
        }
    }
}
