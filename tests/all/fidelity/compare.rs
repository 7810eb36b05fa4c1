//! The comparison: each predicted change with the one that was made, and the paths of the hosts with both.

use std::collections::{BTreeMap, BTreeSet};

use cutover::change::{Change, Secrecy};
use cutover::run::plan::Step;
use cutover::run::record::{Entry, What};
use cutover::transport::{Body, Content, Digest, Node};
use serde_json::Value;

use super::host::{Checked, Ran, Seen, Tree};

/// What came of one playbook.
#[derive(Default, Debug)]
pub struct Figure {
    /// Verdicts: one for each task, host and item.
    pub tasks: usize,
    /// Predicted changes that were made as predicted.
    pub changes: usize,
    /// Verdicts that the check has marked unknown.
    pub unknown: usize,
    pub wrong: Vec<String>,
}

/// What a change belongs to: the task, the host that it is for, the item.
type Key = (String, String, Option<String>);

pub fn compare(check: &Checked, run: &Ran) -> Figure {
    let mut figure = Figure::default();
    verdicts(&mut figure, check, run);
    changes(&mut figure, check, run);
    paths(&mut figure, check, run);
    figure
}

fn verdicts(figure: &mut Figure, check: &Checked, run: &Ran) {
    let mut open: BTreeSet<(&str, &str)> = BTreeSet::new();
    for ((task, subject), predicted) in &check.told {
        figure.tasks += predicted.len();
        let made = run.told.get(&(task.clone(), subject.clone())).cloned().unwrap_or_default();
        for (index, verdict) in predicted.iter().enumerate() {
            match verdict.as_str() {
                "unknown" => {
                    figure.unknown += 1;
                    open.insert((task, subject));
                }
                _ if made.get(index) != Some(verdict) => {
                    let made = made.get(index);
                    figure.wrong.push(format!("`{task}` on {subject}: {verdict} in the check, {made:?} in the run"));
                }
                _ => {}
            }
        }
    }
    for (key @ (task, subject), made) in &run.told {
        let predicted = check.told.get(key).map_or(0, Vec::len);
        // Where the items of a loop are not known it is open as a whole.
        let host = subject.split(' ').next().unwrap_or_default();
        if predicted < made.len() && !open.contains(&(task.as_str(), host)) {
            figure.wrong.push(format!("`{task}` on {subject}: {predicted} times in the check, {made:?} in the run"));
        }
    }
}

fn changes(figure: &mut Figure, check: &Checked, run: &Ran) {
    let mut open = Open::of(check);
    // They are made in a check too, and are in its journal.
    open.0.extend(check.record.entries.iter().map(entry_key));
    let mut predicted: BTreeMap<&str, Vec<(Key, String)>> = BTreeMap::new();
    for step in check.plan.steps.iter().filter(|step| step.open.is_none()) {
        for change in &step.changes {
            // Hidden changes are in a journal as they may be shown.
            let shown = match change.secrecy(step.secrecy()) {
                Secrecy::Hidden => change.diff(step.secrecy()).lines.iter().map(|line| line.text()).collect(),
                Secrecy::Open => canonical(change, check.began).to_string(),
            };
            predicted.entry(step.machine()).or_default().push((step_key(step), shown));
        }
    }
    let mut made: BTreeMap<&str, Vec<(Key, String)>> = BTreeMap::new();
    for entry in &run.record.entries {
        let key = entry_key(entry);
        if open.has(&key) || declared(entry, &key, run) {
            continue;
        }
        let shown = match &entry.what {
            What::Change(change) => canonical(change, check.began).to_string(),
            What::Hidden { lines, .. } => lines.concat(),
        };
        made.entry(&entry.host).or_default().push((key, shown));
    }
    for (host, predicted) in &predicted {
        let made = made.remove(host).unwrap_or_default();
        for index in 0..predicted.len().max(made.len()) {
            match (predicted.get(index), made.get(index)) {
                (Some(left), Some(right)) if left == right => figure.changes += 1,
                (left, right) => figure.wrong.push(format!("{host}: predicted {left:?}\n         made {right:?}")),
            }
        }
    }
    figure.wrong.extend(made.iter().map(|(host, made)| format!("{host}: not predicted: {made:?}")));
}

/// What the check has left open.
struct Open(BTreeSet<Key>);

impl Open {
    fn of(check: &Checked) -> Open {
        Open(check.plan.steps.iter().filter(|step| step.open.is_some()).map(step_key).collect())
    }

    /// Where the items of a loop are not known it is open as a whole.
    fn has(&self, key: &Key) -> bool {
        self.0.contains(key) || self.0.contains(&(key.0.clone(), key.1.clone(), None))
    }
}

fn step_key(step: &Step) -> Key {
    let name = step.name.rsplit(" : ").next().unwrap_or(&step.name);
    (name.to_string(), step.host.clone(), step.item.clone())
}

fn entry_key(entry: &Entry) -> Key {
    (entry.task.clone(), entry.subject.clone(), entry.item.clone())
}

/// Says whether a command is declared to change nothing: it is no change in a check.
fn declared(entry: &Entry, (task, host, item): &Key, run: &Ran) -> bool {
    let What::Change(change) = &entry.what else { return false };
    let subject = format!("{host} {}", item.clone().unwrap_or_default());
    let told = run
        .told
        .iter()
        .find(|((name, about), _)| name.rsplit(" : ").next() == Some(task) && about.as_str() == subject.trim());
    matches!(**change, Change::Run { .. }) && told.is_some_and(|(_, told)| told.iter().all(|word| word == "ok"))
}

/// A change as it is compared: as a plan and a journal hold it, but for the times of what was made since the test began and of
/// what is only looked at.
fn canonical(change: &Change, began: i64) -> Value {
    let mut value = serde_json::to_value(change).unwrap();
    let sets_time = matches!(change, Change::Path { change, .. } if change.sets_time());
    if let Some(change) = value.pointer_mut("/path/change").and_then(Value::as_object_mut) {
        change.remove("accessed");
    }
    for side in ["/path/change/before", "/path/change/after"] {
        let node = value.pointer_mut(side).and_then(Value::as_object_mut).and_then(|node| node.values_mut().next());
        let Some(node) = node.and_then(Value::as_object_mut) else { continue };
        if !sets_time || node.get("modified").and_then(Value::as_i64).is_none_or(|time| time >= began) {
            node.remove("modified");
        }
    }
    value
}

fn paths(figure: &mut Figure, check: &Checked, run: &Ran) {
    let mut expected: Tree = check.tree.clone();
    let mut commands = String::new();
    // What a command will print is known by its digest.
    let mut printed: BTreeMap<String, Digest> = BTreeMap::new();
    for change in check.plan.steps.iter().filter(|step| step.open.is_none()).flat_map(|step| &step.changes) {
        match change {
            Change::Path { change, .. } => {
                make(&mut expected, change.path(), change.after());
                if let Some(Content { digest: Some(digest), body: Body::Printed { .. }, .. }) = change.after().content()
                {
                    printed.insert(change.path().to_string(), digest.clone());
                }
            }
            other => commands += &serde_json::to_string(other).unwrap(),
        }
    }
    let open = Open::of(check);
    let mut loose: Vec<String> = Vec::new();
    for entry in
        check.record.entries.iter().chain(run.record.entries.iter().filter(|entry| open.has(&entry_key(entry))))
    {
        match &entry.what {
            What::Change(change) => match &**change {
                Change::Path { change, .. } => loose.push(change.path().to_string()),
                other => commands += &serde_json::to_string(other).unwrap(),
            },
            What::Hidden { .. } => {}
        }
    }
    let all: BTreeSet<&String> = expected.keys().chain(run.tree.keys()).collect();
    for path in all {
        let (left, right) = (expected.get(path), run.tree.get(path));
        let by_commands = check.commands.iter().any(|made| path.starts_with(made));
        if left == right || loose.contains(path) || named(&commands, path, &check.roots) || by_commands {
            continue;
        }
        let bare = |seen: &Seen| Seen { content: Vec::new(), ..seen.clone() };
        if let (Some(digest), Some(left), Some(right)) = (printed.get(path), left, right)
            && *digest == Digest::of(&right.content)
            && bare(left) == bare(right)
        {
            continue;
        }
        figure.wrong.push(format!("{path}: expected {left:?}\n         found {right:?}"));
    }
}

/// Says whether commands name a path, or a directory that it is in: its content is theirs.
fn named(commands: &str, path: &str, roots: &[String]) -> bool {
    let above = std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above));
    above.take_while(|path| !roots.iter().any(|root| root == path)).any(|path| commands.contains(path))
}

/// Returns the path without links in place of directories on its way.
fn real(tree: &Tree, path: &str) -> String {
    let mut at = String::new();
    let (directory, name) = path.rsplit_once('/').unwrap();
    for part in directory.split('/').skip(1) {
        let here = format!("{at}/{part}");
        at = match tree.get(&here) {
            Some(seen) if seen.kind == "link" => format!("{at}/{}", String::from_utf8(seen.content.clone()).unwrap()),
            _ => here,
        };
    }
    format!("{at}/{name}")
}

fn make(tree: &mut Tree, path: &str, node: &Node) {
    let path = &real(tree, path);
    let below = format!("{path}/");
    let seen = |kind, content| {
        let permissions = node.permissions().unwrap();
        let mode = if kind == "link" { 0 } else { permissions.mode };
        Seen { kind, mode, owner: permissions.owner.id, group: permissions.group.id, content }
    };
    let seen = match node {
        Node::Absent => {
            tree.retain(|other, _| other != path && !other.starts_with(&below));
            return;
        }
        Node::File { content, .. } => match content.bytes() {
            Some(bytes) => seen("file", bytes.to_vec()),
            None => seen("file", tree.get(path).map(|seen| seen.content.clone()).unwrap_or_default()),
        },
        Node::Directory { .. } => seen("directory", Vec::new()),
        Node::Link { target, .. } => seen("link", target.clone().into_bytes()),
        Node::Special { .. } => seen("special", Vec::new()),
    };
    tree.insert(path.to_string(), seen);
}
