//! The module reference: `docs/modules.md`, written out of the table that checks arguments.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Argument, Entry, Kind, all};

/// Returns the whole reference: a list of the modules, then each with its arguments and an example.
pub fn markdown() -> String {
    let mut entries: Vec<&Entry> = all().collect();
    entries.sort_by_key(|entry| entry.name);
    let mut text = String::from(
        "# Modules\n\nWritten by `cutover doc` out of the table that checks arguments; `cutover doc NAME` shows one module.\n\n",
    );
    for entry in &entries {
        let _ = writeln!(text, "- [`{0}`](#{0}): {1}", entry.name, entry.summary);
    }
    for entry in entries {
        text.push('\n');
        text += &section(entry);
    }
    text
}

/// Returns one module's part of the reference.
pub fn section(entry: &Entry) -> String {
    let mut text = format!("## {}\n\n{}\n\n", entry.name, entry.summary);
    let (refused, taken): (Vec<&Argument>, Vec<&Argument>) =
        entry.all().filter(|argument| entry.free_form != Some(argument.name)).partition(|one| one.refused.is_some());
    if let Some(argument) = entry.free_form.and_then(|name| entry.argument(name)) {
        let _ = writeln!(text, "Bare text: {}\n", argument.help);
    }
    if !taken.is_empty() {
        text += "| argument | type | meaning |\n|---|---|---|\n";
        taken.iter().for_each(|argument| text += &row(argument));
        text.push('\n');
    }
    if !refused.is_empty() {
        text += "Ansible's arguments that are refused by name:\n\n";
        for argument in refused {
            let _ = writeln!(text, "- `{}`: {}", argument.name, argument.refused.unwrap_or(""));
        }
        text.push('\n');
    }
    let _ = write!(text, "```yaml\n{}```\n", entry.example);
    text
}

/// Returns what is known of one module, for programs.
pub fn json(entry: &Entry) -> Value {
    let option = |argument: &Argument| {
        let about = json!({
            "description": argument.help,
            "type": kind(argument.kind),
            "required": argument.required,
            "aliases": argument.aliases,
            "choices": argument.choices,
            "refused": argument.refused,
        });
        (argument.name.to_string(), about)
    };
    let options: Map<String, Value> = entry.all().map(option).collect();
    json!({
        "doc": { "module": entry.name, "short_description": entry.summary, "options": options },
        "examples": entry.example,
    })
}

/// Returns a task of one module with every argument that is taken, to be filled in.
pub fn snippet(entry: &Entry) -> String {
    let mut text = format!("- name: {}\n  {}:\n", entry.summary, entry.name);
    for argument in entry.all().filter(|argument| argument.refused.is_none()) {
        let must = if argument.required { "required; " } else { "" };
        let _ = writeln!(text, "      {}:  # {must}{}", argument.name, argument.help);
    }
    text
}

fn row(argument: &Argument) -> String {
    let mut name = format!("`{}`", argument.name);
    for alias in argument.aliases {
        let _ = write!(name, ", `{alias}`");
    }
    let mut help = argument.help.replace('|', "\\|");
    if argument.required {
        help.insert_str(0, "**Required.** ");
    }
    if !argument.choices.is_empty() {
        let choices: Vec<String> =
            argument.choices.iter().map(|choice| format!("`{}`", choice.escape_debug())).collect();
        let _ = write!(help, " One of {}.", choices.join(", "));
    }
    format!("| {name} | {} | {help} |\n", kind(argument.kind))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Bool => "boolean",
        Kind::Int => "whole number",
        Kind::Float => "number",
        Kind::Path => "path",
        Kind::List => "list",
        Kind::Map => "mapping",
        Kind::Mode => "mode",
        Kind::Any => "any",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_on_disk_is_that_of_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/modules.md");
        let expected = markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "docs/modules.md is old: run this test with UPDATE_DOCS=1");
    }

    #[test]
    fn every_argument_says_what_it_is_and_every_example_is_a_task_of_its_module() {
        for entry in all() {
            assert!(!entry.summary.is_empty() && entry.example.ends_with('\n'), "{}", entry.name);
            assert!(entry.example.contains(&format!("\n  {}:", entry.name)), "the example of {}", entry.name);
            for argument in entry.all() {
                let said = if argument.refused.is_some() { argument.refused } else { Some(argument.help) };
                assert!(said.is_some_and(|text| !text.is_empty()), "{} of {}", argument.name, entry.name);
            }
            if let Some(name) = entry.free_form {
                assert!(entry.argument(name).is_some(), "{name} of {}", entry.name);
            }
        }
    }

    #[test]
    fn a_name_means_one_argument_and_one_module() {
        let mut modules: Vec<&str> = all().map(|entry| entry.name).collect();
        modules.sort_unstable();
        assert!(modules.windows(2).all(|pair| pair[0] != pair[1]), "{modules:?}");
        for entry in all() {
            let mut names: Vec<&str> =
                entry.all().flat_map(|one| one.aliases.iter().copied().chain([one.name])).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", entry.name);
        }
    }
}
