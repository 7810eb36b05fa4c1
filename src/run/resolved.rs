//! What of a task has to be rendered before it is known what it does: its action's name, its `args`, its delegate.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::playbook::keywords::is_template;
use crate::playbook::{Task, library};
use crate::vars::{Layer, Scope, Var};
use crate::yaml::Yaml;

use super::action::text_of;
use super::doing::Doing;
use super::trouble::Trouble;

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
        if !named && self.task.args.is_none() && self.omitted.is_empty() {
            return Ok(None);
        }
        let mut task = Task::clone(self.task);
        for (name, outer) in &self.omitted {
            Arc::make_mut(&mut task.keywords).put(name, outer.clone());
        }
        if named {
            let name = Yaml::text_at(task.action.as_str(), &task.action_place);
            let name = text_of(&self.templates().render(&name, &self.scope)?);
            task.action = crate::playbook::short(name.trim()).into();
            let custom = self.batch.run.loader.library.find(&task.action, &self.batch.play.directory);
            let custom = custom.map(|path| library::read(&path)).transpose();
            for (name, value) in task.keywords.defaults_of(&task.action) {
                if !task.arguments.iter().any(|(known, _)| known.key() == name.key()) {
                    task.arguments.push((name, value));
                }
            }
            task.custom = custom.map_err(|error| error.at(&task.action_place))?.map(Arc::new);
        }
        if let Some(node) = task.args.take() {
            let place = node.place.clone();
            match self.templates().render(&node.in_list(), &self.scope)?.get(0) {
                None => {}
                Some(Value::Object(arguments)) => {
                    for (name, value) in arguments {
                        if !task.arguments.iter().any(|(key, _)| key.as_str() == Some(name)) {
                            task.arguments.push((Yaml::text_at(name, &place), Yaml::literal(value, &place)));
                        }
                    }
                }
                Some(other) => {
                    let message = format!("Finalization of task args failed: `args` should be a mapping, not {other}");
                    return Err(Diagnostic::new(message).at(&place).into());
                }
            }
        }
        Ok(Some(Arc::new(task)))
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
