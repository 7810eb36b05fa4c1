//! Two tasks that set one thing of one host to different values: each run would change it back and forth.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Diagnostic, Place};
use crate::playbook::Task;
use crate::playbook::keywords::is_template;
use crate::yaml::{Data, Yaml};

use super::walk::{Visit, Walked};
use super::{Found, rules};

/// What one task sets: of which thing, what, to which value.
struct Setting {
    /// Plays, conditions and the thing itself, as text.
    of: String,
    what: &'static str,
    value: String,
    /// As errors name the thing.
    shown: String,
    place: Place,
}

/// It may be long, or a secret, and is not quoted.
const CONTENT: &str = "the content";

/// What some modules set for good, by the argument that names the thing.
const STANDING: &[(&[&str], &str, &[&str])] = &[
    (&["service", "systemd", "sysvinit"], "name", &["enabled", "masked"]),
    (&["sysctl"], "name", &["value"]),
    (&["user"], "name", &["uid", "group", "home", "shell", "comment"]),
    (&["group"], "name", &["gid"]),
    (&["hostname"], "use", &["name"]),
    (&["timezone"], "hwclock", &["name"]),
];

pub(super) fn look(walked: &[Walked], found: &mut Found) {
    let changing = changing(walked);
    let mut settings: Vec<Setting> = Vec::new();
    for play in walked {
        for visit in &play.tasks {
            for setting in of_task(visit, play, &changing) {
                let earlier = settings.iter().find(|earlier| {
                    earlier.of == setting.of && earlier.what == setting.what && earlier.value != setting.value
                });
                if let Some(earlier) = earlier {
                    let Setting { what, shown, value, .. } = &setting;
                    let message = match *what {
                        CONTENT => format!("{what} of {shown} is another one than before"),
                        _ => format!("{what} of {shown} is set to {value} here, and to {} before", earlier.value),
                    };
                    let hint = format!("each run changes it twice; the other task is at {}", earlier.place);
                    found.push(&rules::FIGHTING_TASKS, Diagnostic::new(message).at(&setting.place).hint(hint));
                }
                settings.push(setting);
            }
        }
    }
}

/// Returns the variables that may differ from one task to the next.
fn changing(walked: &[Walked]) -> HashSet<String> {
    let mut names = HashSet::from(["item".to_string()]);
    for task in walked.iter().flat_map(Walked::all) {
        names.extend(task.register.clone());
        if task.action == "set_fact" {
            names.extend(task.arguments.iter().map(|(key, _)| key.key()));
        }
    }
    names
}

fn of_task(visit: &Visit, walked: &Walked, changing: &HashSet<String>) -> Vec<Setting> {
    let task = &visit.task;
    let conditions: Vec<String> = task.keywords.when.iter().map(Yaml::key).collect();
    let steady = conditions.iter().all(|text| !words(text).any(|word| changing.contains(word)));
    let elsewhere = task.delegate_to.is_some() || task.keywords.check_mode.is_some() || task.run_once.is_some();
    let never = task.keywords.tags.iter().any(|tag| tag == "never");
    if visit.is_rescue || task.loop_over.is_some() || elsewhere || never || !steady || task.custom.is_some() {
        return Vec::new();
    }
    let within = format!("{} {conditions:?}", walked.play.hosts.to_value());
    let mut settings = of_file(task, &within);
    settings.extend(of_line(task, &within));
    settings.extend(standing(task, &within));
    settings
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Returns an argument that is plainly written.
fn literal<'t>(task: &'t Task, name: &str) -> Option<&'t Yaml> {
    let (_, value) = task.arguments.iter().find(|(key, _)| key.as_str() == Some(name))?;
    let plain = value.as_list().is_none() && value.as_map().is_none() && !value.is_null();
    (plain && !is_template(&value.key())).then_some(value)
}

fn has(task: &Task, name: &str) -> bool {
    task.arguments.iter().any(|(key, _)| key.as_str() == Some(name))
}

/// Returns the absolute path that a task of files is about.
fn path(task: &Task) -> Option<String> {
    let path = ["path", "dest", "name"].iter().find_map(|name| literal(task, name))?.key();
    (Path::new(&path).is_absolute() && !path.ends_with('/')).then_some(path)
}

fn of_file(task: &Task, within: &str) -> Vec<Setting> {
    let whole = matches!(task.action.as_str(), "copy" | "template");
    if !(whole || task.action == "file") {
        return Vec::new();
    }
    let Some(path) = path(task) else { return Vec::new() };
    let gone = literal(task, "state").is_some_and(|state| state.as_str() == Some("absent"));
    // A recursive task is about what is below, too, which others may set apart.
    if gone || has(task, "recurse") {
        return Vec::new();
    }
    let mut settings = Vec::new();
    let mut push = |what: &'static str, value: String, place: &Place| {
        let (of, shown) = (format!("{within} file {path}"), format!("`{path}`"));
        settings.push(Setting { of, what, value, shown, place: place.clone() });
    };
    if let Some(mode) = literal(task, "mode").and_then(|node| Some((octal(node)?, &node.place))) {
        push("the mode", format!("{:04o}", mode.0), mode.1);
    }
    for (name, what) in [("owner", "the owner"), ("group", "the group")] {
        if let Some(node) = literal(task, name) {
            push(what, format!("`{}`", node.key()), &node.place);
        }
    }
    if let Some(node) = literal(task, "content").filter(|_| task.action == "copy" && !has(task, "force")) {
        push(CONTENT, node.key(), &node.place);
    }
    settings
}

/// Reads a mode that is a number in octal.
fn octal(node: &Yaml) -> Option<u32> {
    match &*node.data {
        Data::Int(number) => u32::try_from(*number).ok(),
        Data::Text(text) => u32::from_str_radix(text.trim(), 8).ok(),
        _ => None,
    }
}

/// Returns what `lineinfile` makes of the lines that an expression finds, and whether it wants a line there.
fn of_line(task: &Task, within: &str) -> Vec<Setting> {
    if task.action != "lineinfile" {
        return Vec::new();
    }
    let (Some(path), Some(line)) = (path(task), literal(task, "line")) else { return Vec::new() };
    let absent = literal(task, "state").is_some_and(|state| state.as_str() == Some("absent"));
    let setting = |of: String, what, value: String| Setting {
        of: format!("{within} {of}"),
        what,
        value,
        shown: format!("`{path}`"),
        place: line.place.clone(),
    };
    let presence = if absent { "absent" } else { "present" }.to_string();
    let mut settings = vec![setting(format!("line {path} {}", line.key()), "this line", presence)];
    if let Some(regexp) = literal(task, "regexp").filter(|_| !absent && !has(task, "backrefs")) {
        let of = format!("lines {path} {}", regexp.key());
        settings.push(setting(of, "the line of this `regexp`", format!("`{}`", line.key())));
    }
    settings
}

fn standing(task: &Task, within: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (modules, by, what) in STANDING {
        if !modules.contains(&task.action.as_str()) {
            continue;
        }
        let gone = literal(task, "state").is_some_and(|state| state.as_str() == Some("absent"));
        let name = literal(task, by).map(Yaml::key);
        let named = *by == "name";
        if gone || named && name.is_none() {
            continue;
        }
        let name = name.unwrap_or_default();
        for what in what.iter() {
            if let Some(node) = literal(task, what) {
                let value = match &*node.data {
                    Data::Bool(value) => value.to_string(),
                    _ => node.key(),
                };
                let shown = if named { format!("`{name}`") } else { "the host".into() };
                let of = format!("{within} {} {name}", modules[0]);
                settings.push(Setting { of, what, value: format!("`{value}`"), shown, place: node.place.clone() });
            }
        }
    }
    settings
}
