//! What a single task shows: secrets, modes, conditions, names of variables.

use crate::error::{Diagnostic, Place};
use crate::modules::{self, Argument, Kind};
use crate::playbook::Task;
use crate::playbook::keywords::is_template;
use crate::run;
use crate::secret;
use crate::vars::{Layer, Var};
use crate::yaml::Yaml;

use super::walk::Walked;
use super::{Found, rules};

pub(super) fn look(walked: &Walked, found: &mut Found) {
    names(&walked.play.vars, found);
    for task in walked.all() {
        names(&task.keywords.vars, found);
        conditions(task, found);
        arguments(task, found);
    }
}

fn names(layer: &Layer, found: &mut Found) {
    for (name, var) in layer {
        if let Var::Written(node) = var {
            name_of(name, &node.place, found);
        }
    }
}

fn name_of(name: &str, place: &Place, found: &mut Found) {
    if run::is_reserved(name) {
        let message = format!("variable `{name}` has the name of a keyword or of a function of templates");
        let hint = "call it differently: each may be taken for the other";
        found.push(&rules::RESERVED_NAME, Diagnostic::new(message).at(place).hint(hint));
    }
}

fn conditions(task: &Task, found: &mut Found) {
    let own = [&task.changed_when, &task.failed_when, &task.until].into_iter().flatten();
    for node in task.keywords.when.iter().chain(own) {
        for text in node.as_list().unwrap_or(std::slice::from_ref(node)) {
            if text.as_str().is_some_and(is_template) {
                let message = "a condition is an expression already, and this one has a template in it";
                let hint = "write names without `{{ }}`";
                found.push(&rules::TEMPLATED_CONDITION, Diagnostic::new(message).at(&text.place).hint(hint));
            }
        }
    }
}

fn arguments(task: &Task, found: &mut Found) {
    if task.action == "set_fact" {
        task.arguments.iter().for_each(|(key, _)| name_of(&key.key(), &key.place, found));
    }
    let Some(entry) = modules::find(&task.action).filter(|_| task.custom.is_none()) else { return };
    for (key, value) in &task.arguments {
        let Some(argument) = entry.argument(&key.key()) else { continue };
        if task.keywords.no_log.is_none() && is_secret(argument) && is_literal(value) {
            // What is printed of it quotes its line.
            secret::note(&value.key());
            let message = format!("`{}` stands here for everyone to read", argument.name);
            let hint = "keep it in a vault (`cutover vault encrypt-string`), and give the task `no_log: true`";
            found.push(&rules::LITERAL_SECRET, Diagnostic::new(message).at(&key.place).hint(hint));
        }
    }
}

/// Says by its name whether an argument is a secret.
fn is_secret(argument: &Argument) -> bool {
    let name = argument.name;
    let named =
        ["password", "passphrase", "secret"].iter().any(|word| name == *word || name.ends_with(&format!("_{word}")));
    named && argument.choices.is_empty() && argument.kind != Kind::Bool
}

/// Says whether a text is a password as it stands: no template, nothing encrypted or hashed, no `!` or `*`, which lock.
fn is_literal(value: &Yaml) -> bool {
    let plain = value.tag.as_deref() != Some("!vault");
    let text = |text: &str| !(text.is_empty() || is_template(text) || text.starts_with(['!', '*', '$']) || text == "x");
    plain && value.as_str().is_some_and(text)
}
