//! Tasks of one check that set one path to different things: run again and again, each would change it back.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::Value;

use crate::change::{Change, On};
use crate::modules::{Arguments, Entry, Outcome, Planned, Results};
use crate::transport::name::shown;
use crate::transport::{Node, PathChange};

use super::doing::Doing;
use super::making::Machine;
use super::{Run, lock};

/// What tasks have set so far, by machine and path, and the fights among them.
#[derive(Default)]
pub(super) struct Fights {
    set: HashMap<(String, String), Vec<Setting>>,
    /// What is said of each, and the machines.
    found: IndexMap<String, Vec<String>>,
}

/// What one task makes of a path; nothing of what it leaves as it is.
#[derive(Clone, Debug, Default)]
struct Setting {
    /// `task NAME (FILE:LINE)`.
    by: String,
    exists: Option<bool>,
    target: Option<String>,
    /// As in results: `mode`, `owner`, `group`.
    rights: Vec<(&'static str, String)>,
    content: Option<Lines>,
    /// The content is the task's as a whole, and not an edit.
    whole: bool,
}

/// The lines that an edit puts in and takes out; blank ones say nothing.
#[derive(Clone, Debug, Default)]
struct Lines {
    added: HashSet<String>,
    removed: HashSet<String>,
}

impl Setting {
    /// Says what both set, where the `later` one undoes this.
    fn undone_by(&self, later: &Setting) -> Option<(String, String)> {
        let presence = |exists: bool| if exists { "there" } else { "absent" }.to_string();
        if let (Some(one), Some(other)) = (self.exists, later.exists)
            && one != other
        {
            return Some((presence(one), presence(other)));
        }
        if let (Some(one), Some(other)) = (&self.target, &later.target)
            && one != other
        {
            return Some((format!("a link to `{}`", shown(one)), format!("a link to `{}`", shown(other))));
        }
        for (name, one) in &self.rights {
            if let Some((_, other)) = later.rights.iter().find(|(other, value)| other == name && value != one) {
                return Some((format!("{name} {one}"), format!("{name} {other}")));
            }
        }
        let later_lines = later.content.as_ref()?;
        let undoes = match &self.content {
            _ if self.whole && later.whole => !later_lines.added.is_empty() || !later_lines.removed.is_empty(),
            _ if self.whole && !later_lines.removed.is_empty() => true,
            Some(lines) => {
                !lines.added.is_disjoint(&later_lines.removed) || !lines.removed.is_disjoint(&later_lines.added)
            }
            None => false,
        };
        let kind = |setting: &Setting| if setting.whole { "its content" } else { "lines of it" }.to_string();
        undoes.then(|| (kind(self), kind(later)))
    }
}

impl Lines {
    fn of(change: &PathChange) -> Option<Lines> {
        let text = |node: &Node| match node {
            Node::File { content, .. } => content.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
            _ => Some(String::new()),
        };
        if change.before().content() == change.after().content() {
            return None;
        }
        let (Some(before), Some(after)) = (text(change.before()), text(change.after())) else {
            return Some(Lines::default());
        };
        let lines = |text: &str| -> HashSet<String> {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect()
        };
        let (before, after) = (lines(&before), lines(&after));
        Some(Lines {
            added: after.difference(&before).cloned().collect(),
            removed: before.difference(&after).cloned().collect(),
        })
    }
}

impl Fights {
    fn add(&mut self, (machine, path): (&str, &str), setting: Setting) {
        let earlier = self.set.entry((machine.into(), path.into())).or_default();
        for one in earlier.iter() {
            if let Some((this, that)) = one.undone_by(&setting) {
                let text = format!(
                    "`{}` is set to different things, and each run would change it back: {this} by {}, {that} by {}",
                    shown(path),
                    one.by,
                    setting.by
                );
                let machines = self.found.entry(text).or_default();
                if !machines.iter().any(|known| known == machine) {
                    machines.push(machine.into());
                }
            }
        }
        earlier.push(setting);
    }

    fn warnings(&self) -> Vec<String> {
        self.found.iter().map(|(text, machines)| format!("{}: {text}", machines.join(", "))).collect()
    }
}

/// Returns what a module makes of each path, by path.
fn settings((entry, arguments): (&Entry, &Arguments), planned: &Planned) -> IndexMap<String, Setting> {
    let mut settings: IndexMap<String, Setting> = IndexMap::new();
    for change in &planned.changes {
        let Change::Path { on: On::Host, change } = change else { continue };
        let setting = settings.entry(change.path().to_string()).or_default();
        if change.before().exists() != change.after().exists() {
            setting.exists = Some(change.after().exists());
        }
        if let Node::Link { target, .. } = change.after() {
            setting.target = Some(target.clone());
        }
        setting.content = Lines::of(change).filter(|_| change.after().exists());
    }
    let Outcome::Known(results) = &planned.result else { return settings };
    let text = |results: &Results, name: &str| results.get(name).and_then(Value::as_str).map(str::to_string);
    let whole = ["copy", "template"].contains(&entry.name);
    let path = text(results, "path").or(text(results, "dest"));
    // What it finds as it wants it, it wants all the same.
    if let Some(path) = path.filter(|_| whole || entry.name == "file") {
        let setting = settings.entry(path).or_default();
        let asked = arguments.get("state").and_then(Value::as_str);
        setting.exists = match asked {
            Some("absent") => Some(false),
            Some("directory" | "touch" | "link" | "hard") => Some(true),
            _ if whole => Some(true),
            _ => setting.exists,
        };
        if let Some("link") = asked {
            setting.target = text(results, "src").or(setting.target.take());
        }
        setting.whole = whole && arguments.get("force") != Some(&Value::Bool(false));
        for name in ["mode", "owner", "group"] {
            let value = text(results, name).filter(|_| arguments.get(name).is_some());
            setting.rights.extend(value.map(|value| (name, value)));
        }
    }
    settings
}

impl Doing<'_> {
    /// Notes what the task makes of its paths, and whether that undoes what an earlier one has made of them.
    pub(super) fn note_settings(&self, machine: &Machine, (entry, arguments): (&Entry, &Arguments), planned: &Planned) {
        let mut fights = lock(&self.batch.run.progress.fights);
        for (path, setting) in settings((entry, arguments), planned) {
            let by = match &self.subject.item {
                Some(item) => format!("{} for item `{}`", self.named(), shown(item)),
                None => self.named(),
            };
            fights.add((&machine.host, &path), Setting { by, ..setting });
        }
    }
}

impl Run {
    /// Says which tasks fight, to whoever reads the check and in its plan.
    pub(super) fn tell_fights(&self) {
        for text in lock(&self.progress.fights).warnings() {
            if let Some(plan) = &self.plan {
                plan.warn(&text);
            }
            self.send(super::Event::Warning(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(added: &[&str], removed: &[&str]) -> Setting {
        let set = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect();
        Setting { content: Some(Lines { added: set(added), removed: set(removed) }), ..Setting::default() }
    }

    #[test]
    fn an_edit_that_builds_on_another_is_no_fight_and_one_that_undoes_it_is() {
        let whole = |setting: Setting| Setting { whole: true, exists: Some(true), ..setting };
        let fights = |one: &Setting, other: &Setting| one.undone_by(other).is_some();
        assert!(!fights(&whole(lines(&["a"], &[])), &lines(&["b"], &[])));
        assert!(fights(&whole(lines(&["a"], &[])), &lines(&["b"], &["a"])));
        assert!(fights(&whole(lines(&["a"], &[])), &whole(lines(&["b"], &[]))));
        assert!(fights(&whole(Setting::default()), &lines(&[], &["a"])));
        assert!(!fights(&whole(Setting::default()), &whole(Setting::default())));
        assert!(!fights(&lines(&["a"], &[]), &lines(&["b"], &["c"])));
        assert!(fights(&lines(&["a"], &["b"]), &lines(&["b"], &[])));
        let mode = |mode: &str| Setting { rights: vec![("mode", mode.into())], ..Setting::default() };
        let expected = ("mode 0644".to_string(), "mode 0600".to_string());
        assert_eq!(mode("0644").undone_by(&mode("0600")), Some(expected));
        assert!(!fights(&mode("0644"), &mode("0644")) && !fights(&mode("0644"), &lines(&["a"], &["b"])));
    }
}
