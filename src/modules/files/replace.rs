//! `replace`: every match of a regular expression in a text file is something else.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};

use super::edit::{ENCODING, Edited, Target, missing};
use super::pattern::{Lines, Pattern, bad_escape};
use super::place::{WRITING, Writing};
use super::rights::RIGHTS;

pub const REPLACE: Entry = Entry {
    name: "replace",
    summary: "Replaces every match of a regular expression in a text file",
    arguments: &[
        &[
            Argument::new("path", Kind::Path, "The file.").required().alias(&["dest", "destfile", "name"]),
            Argument::new("regexp", Kind::Text, "What to replace; `^` and `$` match at every line.").required(),
            Argument::new(
                "replace",
                Kind::Text,
                "What to put there, with `\\1` and `\\g<name>`; nothing unless given.",
            ),
            Argument::new(
                "after",
                Kind::Text,
                "Replace only after what this regular expression finds (`.` matches line ends).",
            ),
            Argument::new(
                "before",
                Kind::Text,
                "Replace only before what this regular expression finds (`.` matches line ends).",
            ),
        ],
        ENCODING,
        WRITING,
        RIGHTS,
    ],
    free_form: None,
    example: "- name: Mail for the moved domain goes to the new host\n  replace:\n    path: /var/qmail/control/smtproutes\n    regexp: '^(example\\.com):.*$'\n    replace: '\\1:new.example.net'\n",
    build,
};

#[derive(Deserialize)]
struct Written {
    path: String,
    regexp: String,
    #[serde(default)]
    replace: String,
    after: Option<String>,
    before: Option<String>,
    #[serde(flatten)]
    writing: Writing,
}

struct Replace {
    path: String,
    substitution: Substitution,
    writing: Writing,
}

struct Substitution {
    pattern: Pattern,
    replacement: String,
    /// Its group `subsection` is the part of the text that is searched.
    section: Option<Pattern>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    written.writing.check()?;
    let section = match (&written.after, &written.before) {
        (None, None) => None,
        (Some(after), None) => Some(Pattern::new("after", &format!("{after}(?P<subsection>.*)"), Lines::Across)?),
        (None, Some(before)) => Some(Pattern::new("before", &format!("(?P<subsection>.*){before}"), Lines::Across)?),
        (Some(after), Some(before)) => {
            Some(Pattern::new("after", &format!("{after}(?P<subsection>.*?){before}"), Lines::Across)?)
        }
    };
    let pattern = Pattern::new("regexp", &written.regexp, Lines::Each)?;
    let substitution = Substitution { pattern, replacement: written.replace, section };
    Ok(Box::new(Replace { path: written.path, substitution, writing: written.writing }))
}

#[async_trait]
impl Module for Replace {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if let Some((escape, at)) = bad_escape(&self.substitution.replacement) {
            return Err(unable(&format!("bad escape \\{escape} at position {at}")));
        }
        let target = Target::look(host, &self.path).await?;
        let Some(text) = &target.text else { return Err(missing(&target.place.path)) };
        let edited = self.substitution.edit(text).map_err(|error| match error {
            ModuleError::Failed { message, .. } => unable(&message),
            other => other,
        })?;
        target.plan(host, edited, &self.writing).await
    }
}

fn unable(why: &str) -> ModuleError {
    ModuleError::failed(format!("Unable to process replace due to error: {why}"))
}

impl Substitution {
    fn edit(&self, text: &str) -> Result<Edited, ModuleError> {
        let range = match &self.section {
            None => 0..text.len(),
            Some(section) => {
                match section.captures(text)?.and_then(|found| found.name("subsection").map(|part| part.range())) {
                    Some(range) => range,
                    None => {
                        let message = "Pattern for before/after params did not match the given file".into();
                        return Ok(Edited { text: text.into(), message });
                    }
                }
            }
        };
        let (new, count) = self.pattern.replace_all(&text[range.clone()], &self.replacement)?;
        let text = format!("{}{new}{}", &text[..range.start], &text[range.end..]);
        let message = if count > 0 { format!("{count} replacements made") } else { String::new() };
        Ok(Edited { text, message })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    fn substitution(pattern: &str, replacement: &str) -> Substitution {
        let pattern = Pattern::new("regexp", pattern, Lines::Each).unwrap();
        Substitution { pattern, replacement: replacement.into(), section: None }
    }

    #[tokio::test]
    async fn lines_are_matched_one_by_one_and_groups_filled_in() {
        let bench = Bench::new();
        bench.host.file("/etc/r", "a:old\nb:old\n", 0o600);
        let arguments = json!({"path": "/etc/r", "regexp": "^(.):old$", "replace": r"\1:new"});
        let results = bench.twice("replace", arguments).await;
        assert_eq!((bench.host.read("/etc/r").unwrap(), bench.mode("/etc/r")), ("a:new\nb:new\n".into(), 0o600));
        assert_eq!(results["msg"], "2 replacements made");
    }

    #[tokio::test]
    async fn only_the_part_between_after_and_before_is_searched() {
        let bench = Bench::new();
        bench.host.file("/etc/r", "x\n[a]\nx\n[b]\nx\n", 0o600);
        let arguments = json!({"path": "/etc/r", "regexp": "x", "replace": "y", "after": r"\[a\]", "before": r"\[b\]"});
        bench.twice("replace", arguments).await;
        assert_eq!(bench.host.read("/etc/r").unwrap(), "x\n[a]\ny\n[b]\nx\n");
        bench.twice("replace", json!({"path": "/etc/r", "regexp": "x", "after": "none"})).await;
        assert_eq!(bench.host.read("/etc/r").unwrap(), "x\n[a]\ny\n[b]\nx\n");
    }

    #[tokio::test]
    async fn a_bad_pattern_is_the_users_error() {
        let error = Bench::new().fails("replace", json!({"path": "/etc/r", "regexp": "("})).await;
        assert!(error.contains("`regexp` is no regular expression: `(`"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_replaced_by_something_else_is_gone(text in "[abx\n]{0,20}", replacement in "[yz]{0,2}") {
            let edit = substitution("[ab]+", &replacement);
            let once = edit.edit(&text).unwrap().text;
            prop_assert!(!once.contains(['a', 'b']));
            prop_assert_eq!(edit.edit(&once).unwrap().text, once);
        }
    }
}
