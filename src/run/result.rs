//! What a task's result looks like to `register:` and to readers.

use serde_json::{Map, Value, json};

use crate::change::{Applied, Change};
use crate::modules::{DIFFERENCE, HIDDEN, Outcome, Planned, Results};
use crate::transport::{Node, PathChange};

/// Adds what applying gave to a module's own fields, under Ansible's names.
pub fn merged(mut result: Results, applied: Applied) -> Results {
    if let Some(output) = applied.output {
        let (stdout, stderr) = (output.text(), output.error_text());
        // Ansible's `strip_empty_ends`: a module that wants them kept says so.
        let keep = result.remove("strip_empty_ends") == Some(Value::Bool(false));
        let strip = |text: String| if keep { text } else { text.trim_end_matches(['\n', '\r']).to_string() };
        result.insert("rc".into(), output.status.into());
        for (name, dropped) in [("stdout_dropped", output.dropped.0), ("stderr_dropped", output.dropped.1)] {
            if dropped > 0 {
                result.insert(name.into(), dropped.into());
            }
        }
        for (name, text) in [("stdout", strip(stdout)), ("stderr", strip(stderr))] {
            result.insert(format!("{name}_lines"), text.lines().map(Value::from).collect());
            result.insert(name.into(), text.into());
        }
        result.entry("msg").or_insert("".into());
    }
    if let Some((start, end)) = applied.times {
        let (seconds, micros) =
            (start.duration_until(&end).as_secs().max(0), start.duration_until(&end).subsec_micros());
        let delta = format!("{}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        for (name, time) in [("start", start), ("end", end)] {
            result.insert(name.into(), time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string().into());
        }
        result.insert("delta".into(), delta.into());
    }
    result.extend(applied.report);
    result
}

/// Adds the warnings of a plan.
pub fn note_warnings(planned: &mut Planned) {
    if let (Outcome::Known(result) | Outcome::Applied(result), false) =
        (&mut planned.result, planned.warnings.is_empty())
    {
        result.entry("warnings").or_insert(json!(planned.warnings));
    }
}

/// Puts what a module tells of its difference into `diff`, if it is asked for.
pub fn note_told_difference(planned: &mut Planned, asked: bool) {
    let (Outcome::Known(result) | Outcome::Applied(result)) = &mut planned.result else { return };
    if let Some(difference) = result.remove(DIFFERENCE).filter(|_| asked) {
        result.insert("diff".into(), difference);
    }
}

/// Adds what differs of the path that a result names, as Ansible's `file` gives it in `diff`.
pub fn note_difference(planned: &mut Planned) {
    let Outcome::Known(result) = &mut planned.result else { return };
    let Some(path) = result.get("path").and_then(Value::as_str).map(str::to_string) else { return };
    let changes: Vec<&PathChange> = planned.changes.iter().filter_map(of_path).collect();
    let own = changes.iter().find(|change| change.path() == path);
    let (mut before, after) = own.map(|own| (told(own.before()), told(own.after()))).unwrap_or_default();
    let (mut old, mut new) = (Map::new(), Map::new());
    for (name, value) in &before {
        if after.get(name).is_some_and(|other| other != value) {
            old.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in &after {
        if before.get(name) != Some(value) && (before.contains_key(name) || name == "state" || name == "src") {
            new.insert(name.clone(), value.clone());
        }
    }
    if own.is_some_and(|own| !own.after().exists() && matches!(own.before(), Node::Directory { .. })) {
        let below = |kind: &str| -> Vec<&str> {
            let inside = changes.iter().filter(|change| change.path() != path && change.before().kind() == kind);
            inside.map(|change| change.path()).collect()
        };
        before =
            Map::from_iter([("directories".into(), json!(below("directory"))), ("files".into(), json!(below("file")))]);
        old.insert("path_content".into(), Value::Object(before));
    }
    for side in [&mut old, &mut new] {
        side.insert("path".into(), path.as_str().into());
    }
    result.insert("diff".into(), json!({"before": old, "after": new}));
}

fn of_path(change: &Change) -> Option<&PathChange> {
    match change {
        Change::Path { change, .. } => Some(change),
        _ => None,
    }
}

/// Returns what a node is, under the names that `diff` has.
fn told(node: &Node) -> Map<String, Value> {
    let mut told = Map::from_iter([("state".to_string(), Value::from(node.kind()))]);
    if let Some(permissions) = node.permissions() {
        told.insert("mode".into(), format!("{:04o}", permissions.mode).into());
        told.insert("owner".into(), permissions.owner.id.into());
        told.insert("group".into(), permissions.group.id.into());
    }
    match node {
        Node::Link { target, .. } => drop(told.insert("src".into(), target.as_str().into())),
        Node::File { modified: Some(time), .. } | Node::Directory { modified: Some(time), .. } => {
            told.insert("mtime".into(), (*time).into());
        }
        _ => {}
    }
    told
}

/// Returns a result as it may be printed: without the values of the fields that its module hides.
pub fn printable(mut result: Results) -> Results {
    let hidden = result.remove(HIDDEN);
    for name in hidden.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
        if let Some(value) = result.get_mut(name) {
            *value = "(hidden)".into();
        }
    }
    result
}

/// Replaces everything but the verdict's own words, for `no_log`.
pub fn censored(result: &Results) -> Results {
    let mut censored = Results::new();
    for name in ["changed", "failed", "skipped", "unreachable", "skip_reason"] {
        if let Some(value) = result.get(name) {
            censored.insert(name.into(), value.clone());
        }
    }
    let text = "the output has been hidden due to the fact that 'no_log: true' was specified for this result";
    censored.insert("censored".into(), text.into());
    censored
}
