//! Variables that nothing defines: told only where every source of variables is known.

use std::collections::{HashMap, HashSet};

use crate::error::{Diagnostic, Place};
use crate::playbook::Task;
use crate::template::{Syntax, Uses};
use crate::yaml::Yaml;

use super::known::Known;
use super::walk::Walked;
use super::{Around, Found, files, is_here, rules};

/// What a name is needed by, by name.
type Needed = HashMap<String, Place>;

pub(super) fn look(walked: &[Walked], known: &mut Known, found: &mut Found) {
    let mut plays = Vec::new();
    for play in walked {
        let uses = of_play(play, known);
        known.spared.extend(uses.spared);
        plays.push((play, uses.needed));
    }
    for (walked, needed) in plays {
        if !known.around.has_inventory && !is_here(walked.play) {
            let name = &walked.play.name;
            let note =
                format!("undefined variables of play `{name}` are not looked for: no inventory was given (`-i`)");
            found.note(note);
            continue;
        }
        if let Some(why) = &known.open {
            return found.note(format!("undefined variables are not looked for: {why}"));
        }
        for (name, place) in followed(needed, known) {
            if !known.has(&name) {
                found.push(&rules::UNDEFINED_VARIABLE, undefined(&name, known).at(&place));
            }
        }
    }
}

fn undefined(name: &str, known: &Known) -> Diagnostic {
    let missing = Diagnostic::new(format!("`{name}` is defined nowhere"));
    let near = missing.clone().suggest(name, known.names());
    let given = format!("where a run is given it, give it here as well: `-e {name}=...`");
    if near.hint.is_some() { near } else { missing.hint(given) }
}

/// Returns what the tasks of a play read; of those whose failure ends nothing, only what they spare.
fn of_play(walked: &Walked, known: &Known) -> Uses {
    let mut uses = Uses::default();
    let handlers = walked.handlers.iter().map(|task| (task, task.keywords.ignore_errors.is_some()));
    for (task, forgiven) in walked.tasks.iter().map(|visit| (&visit.task, visit.forgiven)).chain(handlers) {
        let read = of_task(task, walked, known.around);
        uses.spared.extend(read.spared);
        if !forgiven && !is_passed_over(task, known) {
            uses.needed.extend(read.needed);
        }
    }
    uses
}

/// Says whether a task waits for a variable that nothing defines: `when: x is defined`.
fn is_passed_over(task: &Task, known: &Known) -> bool {
    let texts = task.keywords.when.iter().flat_map(|node| node.as_list().unwrap_or(std::slice::from_ref(node)));
    let plain = texts.filter_map(Yaml::as_str).filter(|text| !text.contains(" or ") && !text.contains(" if "));
    let mut waited =
        plain.flat_map(|text| text.split(" and ")).filter_map(|part| part.trim().strip_suffix(" is defined"));
    waited.any(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_') && !known.defines(name))
}

/// Adds what the values of needed variables need in turn, where a variable has one value that can be meant.
fn followed(needed: Vec<(String, Place)>, known: &Known) -> Vec<(String, Place)> {
    let mut all = Needed::new();
    let mut order = Vec::new();
    let mut open = needed;
    open.reverse();
    let mut seen = HashSet::new();
    while let Some((name, place)) = open.pop() {
        if all.insert(name.clone(), place.clone()).is_none() {
            order.push((name.clone(), place));
        }
        if let Some(value) = known.value(&name).filter(|_| seen.insert(name)) {
            let uses = known.around.templates.uses(value, Syntax::Template);
            open.extend(uses.needed.into_iter().filter(|(name, _)| !uses.spared.contains(name)));
        }
    }
    order
}

/// Returns what a task reads: its keywords, its arguments, its template.
fn of_task(task: &Task, walked: &Walked, around: &Around) -> Uses {
    let mut uses = Uses::default();
    let mut add = |node: &Yaml, syntax: Syntax| {
        let read = around.templates.uses(node, syntax);
        uses.spared.extend(read.spared);
        // Names of which one is found may be made of what is undefined.
        if !read_lookup(node) {
            uses.needed.extend(read.needed);
        }
    };
    let conditions = [&task.changed_when, &task.failed_when, &task.until];
    for node in task.keywords.when.iter().chain(conditions.into_iter().flatten()) {
        add(node, Syntax::Expression);
    }
    let keywords = [&task.keywords.become_user, &task.delegate_to, &task.free_form];
    for node in keywords.into_iter().flatten().chain(&task.keywords.environment) {
        add(node, Syntax::Template);
    }
    for (name, value) in &task.arguments {
        match (task.action.as_str(), name.as_str()) {
            ("assert", Some("that")) => add(value, Syntax::Expression),
            // An undefined one is printed as such.
            ("debug", Some("var")) => {}
            _ => add(value, Syntax::Template),
        }
    }
    if let Some(over) = task.loop_over.as_ref().filter(|over| over.lookup.as_deref() != Some("first_found")) {
        add(&over.items, Syntax::Template);
    }
    if let Some(source) = files::template(task, walked.play) {
        let read = around.templates.uses_of_file(&source);
        uses.spared.extend(read.spared);
        uses.needed.extend(read.needed);
    }
    uses
}

fn read_lookup(node: &Yaml) -> bool {
    node.as_str().is_some_and(|text| text.contains("first_found") || text.contains("extends"))
}
