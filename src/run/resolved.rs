//! What of a task has to be rendered before it is known what it does: its action's name, its `args`, its delegate.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::playbook::keywords::is_template;
use crate::playbook::{Task, library, merge};
use crate::template::behind;
use crate::vars::{Layer, Scope, Var};
use crate::yaml::Yaml;

use super::action::{self, text_of};
use super::doing::{Doing, entry};
use super::trouble::Trouble;

/// Says whether an action takes text that is no mapping of its arguments.
fn takes_text(task: &Task) -> bool {
    let action = || action::find(&task.action).and_then(|action| action.free_form);
    entry(task).map_or_else(action, |entry| entry.free_form).is_some()
}

/// What a task may want to know of the machine that it is delegated to.
const ABOUT_A_DELEGATE: &[&str] =
    &["ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_python_interpreter"];

impl Doing<'_> {
    /// Returns the scope of a task that is delegated: what is known of the machine it goes to is in
    /// `ansible_delegated_vars`.
    pub(super) fn delegated_scope(&self) -> Result<Option<Scope>, Trouble> {
        let Some(name) = self.delegate()? else { return Ok(None) };
        let theirs = self.batch.run.fleet.scope(&name, &self.layers);
        let mut known = Map::new();
        for variable in ABOUT_A_DELEGATE.iter().filter(|variable| theirs.get(variable).is_some()) {
            let node = Yaml::text_at(format!("{{{{ {variable} }}}}"), &self.task.action_place);
            if let Ok(value) = self.templates().render(&node, &theirs) {
                known.insert((*variable).into(), value);
            }
        }
        known.insert("inventory_hostname".into(), name.as_str().into());
        known.entry("ansible_host").or_insert(name.as_str().into());
        let mut layer = Layer::new();
        layer.insert("ansible_delegated_vars".into(), Var::Known(json!({ name: known })));
        Ok(Some(self.scope.with(layer)))
    }

    /// Returns the task with its action's name and its `args` rendered, where they are templates.
    pub(super) fn resolved(&self) -> Result<Option<Arc<Task>>, Trouble> {
        let named = is_template(&self.task.action);
        let whole = self.task.free_form.is_some() && !takes_text(self.task);
        if !named && !whole && self.task.args.is_empty() && self.omitted.is_empty() {
            return Ok(None);
        }
        let mut task = Task::clone(self.task);
        for (name, outer) in &self.omitted {
            Arc::make_mut(&mut task.keywords).put(name, outer.clone());
        }
        if named {
            let name = Yaml::text_at(task.action.as_str(), &task.action_place);
            let name = text_of(&self.templates().render(&name, &self.scope)?);
            task.action = crate::names::short(name.trim()).into();
            let custom = self.batch.run.loader.library.find(&task.action, &self.batch.play.directory);
            let custom = custom.map(|path| library::read(&path)).transpose();
            task.args.extend(task.keywords.defaults_of(&task.action));
            task.custom = custom.map_err(|error| error.at(&task.action_place))?.map(Arc::new);
        }
        // What stands in place of the arguments is stronger than what stands beside them.
        let whole = if takes_text(&task) { None } else { task.free_form.take() };
        for node in whole.into_iter().chain(std::mem::take(&mut task.args)) {
            merge(&mut task.arguments, &self.arguments_of(&node)?);
        }
        Ok(Some(Arc::new(task)))
    }

    /// Returns the arguments that a template stands for: as they were written, where it is a variable's name and nothing else.
    fn arguments_of(&self, node: &Yaml) -> Result<Vec<(Yaml, Yaml)>, Trouble> {
        let place = &node.place;
        let written = node.as_str().and_then(|text| behind(text, &self.scope)).unwrap_or(node);
        if let Some(arguments) = written.as_map() {
            return Ok(arguments.to_vec());
        }
        match self.templates().render(&node.in_list(), &self.scope)?.get(0) {
            None => Ok(Vec::new()),
            Some(Value::Object(arguments)) => {
                let literal =
                    |(name, value): (&String, &Value)| (Yaml::text_at(name, place), Yaml::literal(value, place));
                Ok(arguments.iter().map(literal).collect())
            }
            Some(other) => {
                let message = format!("Finalization of task args failed: they should be a mapping, not {other}");
                Err(Diagnostic::new(message).at(place).hint("give them as `args: \"{{ mapping }}\"`").into())
            }
        }
    }

    /// Returns the keywords that come to `omit`, each with what stands above it. One that cannot be rendered says so where it is
    /// asked for, if it is.
    pub(super) fn comes_to_omit(&self) -> Vec<(String, Option<Yaml>)> {
        let keywords = &self.task.keywords;
        let comes_to_omit = |name: &str| {
            let rendered = keywords.value(name).map(|value| self.templates().render(&value.in_list(), &self.scope));
            matches!(rendered, Some(Ok(Value::Array(items))) if items.is_empty())
        };
        keywords.omissible.iter().filter(|(name, _)| comes_to_omit(name)).cloned().collect()
    }
}
