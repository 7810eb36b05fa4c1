//! A list of tasks and blocks, and what a block holds.

use std::sync::Arc;

use crate::error::Diagnostic;
use crate::yaml::Yaml;

use super::keywords::Kind;
use super::reader::Reader;
use super::{Block, Keywords, Section, Step, Task};

const NO_LIST: &str = "tasks should be a list, not ";

/// Says whether an error is that a file holds no list of tasks.
pub(super) fn is_no_list(error: &Diagnostic) -> bool {
    error.message.starts_with(NO_LIST)
}

impl Reader<'_> {
    /// Reads a list of tasks; nothing at all is an empty list.
    pub fn steps(&mut self, list: Option<&Yaml>, parent: &Arc<Keywords>) -> Vec<Step> {
        let Some(list) = list.filter(|list| !list.is_null()) else { return Vec::new() };
        let Some(items) = list.as_list() else {
            let wrong = Diagnostic::new(format!("{NO_LIST}{}", list.kind())).at(&list.place);
            self.errors.push(wrong.hint("put `- ` before the first key of each task"));
            return Vec::new();
        };
        items.iter().flat_map(|item| self.step(item, parent)).collect()
    }

    fn step(&mut self, node: &Yaml, parent: &Arc<Keywords>) -> Vec<Step> {
        let Some(map) = node.as_map() else {
            let message = format!("a task should be a mapping, not {}", node.kind());
            let hint = match node.as_str() {
                Some(text) => format!("a module without arguments needs a colon: `- {text}:`"),
                None => "a task is a module and its keywords: `- name: ...`".into(),
            };
            self.errors.push(Diagnostic::new(message).at(&node.place).hint(hint));
            return Vec::new();
        };
        if !self.count(&node.place) {
            return Vec::new();
        }
        let has = |name: &str| node.get(name).is_some();
        if has("hosts") && (has("tasks") || has("roles") || !map.iter().any(|(key, _)| self.is_action(&key.key()))) {
            let message = "this is a play, and here stands a list of tasks";
            let hint = "take the plays of another file over with `import_playbook`, at the top level of a playbook";
            self.errors.push(Diagnostic::new(message).at(&node.place).hint(hint));
            return Vec::new();
        }
        if has("block") {
            return self.deeper(&node.place, |reader| reader.block(node, parent)).unwrap_or_default();
        }
        if let Some((key, _)) = map.iter().find(|(key, _)| matches!(key.as_str(), Some("rescue" | "always"))) {
            let message = format!("`{}` needs a `block` beside it", key.key());
            self.errors.push(Diagnostic::new(message).at(&key.place));
            return Vec::new();
        }
        self.task(node, parent)
    }

    fn block(&mut self, node: &Yaml, parent: &Arc<Keywords>) -> Vec<Step> {
        for (key, _) in node.as_map().unwrap_or(&[]) {
            if self.is_action(&key.key()) {
                let message = format!("a block has no action of its own, and this one has `{}`", key.key());
                let hint = "make it a task of the block";
                self.errors.push(Diagnostic::new(message).at(&key.place).hint(hint));
                return Vec::new();
            }
        }
        if self.section == Section::Handlers {
            let error = Diagnostic::new("Using a block as a handler is not supported.").at(&node.place);
            self.errors.push(error.hint("include a file of its tasks"));
            return Vec::new();
        }
        self.check_keys(node, Kind::Block);
        let keywords = Arc::new(self.keywords(node, Kind::Block, parent));
        let block = Block {
            block: self.part(node, "block", &keywords),
            rescue: self.part(node, "rescue", &keywords),
            always: self.part(node, "always", &keywords),
            keywords,
        };
        vec![Step::Block(Arc::new(block))]
    }

    fn part(&mut self, node: &Yaml, name: &str, keywords: &Arc<Keywords>) -> Vec<Step> {
        // A list of the wrong shape was noted with the keywords.
        let list = node.get(name).filter(|list| list.as_list().is_some());
        self.steps(list, keywords)
    }

    /// Reads a list of handlers.
    pub fn handlers(&mut self, list: Option<&Yaml>, parent: &Arc<Keywords>) -> Vec<Arc<Task>> {
        let section = std::mem::replace(&mut self.section, Section::Handlers);
        let steps = self.steps(list, parent);
        self.section = section;
        let task = |step| match step {
            Step::Task(task) => Some(task),
            Step::Block(_) => None,
        };
        let handlers: Vec<_> = steps.into_iter().filter_map(task).collect();
        self.notices.open |= handlers.iter().any(|handler| handler.include.is_some());
        self.notices.handlers.extend(handlers.iter().cloned());
        handlers
    }
}
