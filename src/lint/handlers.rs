//! Handlers that nothing notifies, that another one hides, and notifications that never come.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Diagnostic, Place};
use crate::playbook::Task;
use crate::playbook::keywords::is_template;
use crate::yaml::{Data, Yaml};

use super::walk::Walked;
use super::{Found, rules};

pub(super) fn look(walked: &Walked, found: &mut Found) {
    idle(walked, found);
    duplicates(walked, found);
    unused(walked, found);
}

/// Finds `notify` beside `changed_when: false`.
fn idle(walked: &Walked, found: &mut Found) {
    for task in walked.all() {
        let never = task.changed_when.as_ref().filter(|node| matches!(&*node.data, Data::Bool(false)));
        if let (Some(never), Some(topic)) = (never, task.notify.first()) {
            let message = format!("`{}` is never notified by this task, which never changes anything", topic.key());
            let hint = format!("take `notify` away, or `changed_when: false` in line {}", never.place.line);
            found.push(&rules::IDLE_NOTIFY, Diagnostic::new(message).at(&topic.place).hint(hint));
        }
    }
}

/// Finds handlers of one name in one file.
fn duplicates(walked: &Walked, found: &mut Found) {
    let mut first: HashMap<(String, String), Place> = HashMap::new();
    for handler in &walked.handlers {
        let Some(name) = handler.keywords.name.as_ref().filter(|name| !is_template(&name.key())) else { continue };
        let list = name.place.source.path.display().to_string();
        match first.get(&(list.clone(), name.key())) {
            None => drop(first.insert((list, name.key()), name.place.clone())),
            // A role that is listed twice brings its handlers twice.
            Some(earlier) if *earlier == name.place => {}
            Some(earlier) => {
                let message = format!("another handler is called `{}` as well", name.key());
                let hint = format!("only the last one runs; the other is in line {}", earlier.line);
                found.push(&rules::DUPLICATE_HANDLER, Diagnostic::new(message).at(&name.place).hint(hint));
            }
        }
    }
}

/// Finds the play's own handlers that no task of the play notifies. A role's are for whoever uses the role.
fn unused(walked: &Walked, found: &mut Found) {
    let topics: Vec<String> = walked.all().flat_map(|task| &task.notify).map(Yaml::key).collect();
    if walked.open.is_some() || topics.iter().any(|topic| is_template(topic)) {
        return;
    }
    let is_own = |handler: &&Arc<Task>| handler.keywords.role.is_none();
    for handler in walked.play.handlers.iter().filter(is_own) {
        let name = handler.keywords.name.as_ref().map(Yaml::key).unwrap_or_default();
        let open = is_template(&name) || handler.listen.iter().any(|topic| is_template(topic));
        if open || topics.iter().any(|topic| handler.answers_to(topic, &name)) {
            continue;
        }
        let place = handler.keywords.name.as_ref().map_or(&handler.action_place, |name| &name.place);
        let shown = if name.is_empty() { handler.action.clone() } else { name };
        let unused = Diagnostic::new(format!("nothing notifies the handler `{shown}`")).at(place);
        found.push(&rules::UNUSED_HANDLER, unused.hint("notify it from a task, or take it away"));
    }
}
