//! `import_tasks` and `import_role`: replaced by what they name before anything runs.

use std::sync::Arc;

use crate::error::Diagnostic;
use crate::vars::Layer;
use crate::yaml::Yaml;

use super::include::RoleFiles;
use super::inherit::over;
use super::keywords::Kind;
use super::reader::Reader;
use super::role::Wanted;
use super::task::{Action, ROLE_ARGUMENTS};
use super::{Keywords, Step};

/// An import is gone when tasks run: these would have nothing to act on.
const RUN_TIME_KEYWORDS: &[&str] =
    &["loop", "loop_control", "register", "until", "retries", "delay", "changed_when", "failed_when"];

impl Reader<'_> {
    pub fn import_tasks(&mut self, node: &Yaml, action: &Action, parent: &Arc<Keywords>) -> Vec<Step> {
        let mut action = action.clone();
        if !self.is_static(node, &action) || self.check_arguments(&mut action, &["file"]).is_none() {
            return Vec::new();
        }
        let Some(name) = action.free_form else { return Vec::new() };
        let keywords = self.imported(node, parent);
        let instead = "an import is resolved before anything runs; use `include_tasks`";
        let Some(file) = self.fixed(&name, &keywords, instead) else { return Vec::new() };
        let Some(path) = self.tasks_file(&file, &name.place, &keywords) else { return Vec::new() };
        let directory = path.parent().unwrap_or(&path).to_path_buf();
        let keywords = Arc::new(Keywords { directory, ..keywords });
        let steps = self.within(&path, &name.place, |reader, document| reader.steps(document.as_ref(), &keywords));
        steps.unwrap_or_default()
    }

    pub fn import_role(&mut self, node: &Yaml, action: &Action, parent: &Arc<Keywords>) -> Vec<Step> {
        let mut action = action.clone();
        let allowed: Vec<&str> = ROLE_ARGUMENTS.iter().copied().filter(|name| *name != "apply").collect();
        if !self.is_static(node, &action) || self.check_arguments(&mut action, &allowed).is_none() {
            return Vec::new();
        }
        let keywords = self.imported(node, parent);
        let instead = "an import is resolved before anything runs; use `include_role`";
        let mut texts = Vec::new();
        for (key, value) in &action.arguments {
            let Some(text) = self.fixed(value, &keywords, instead) else { return Vec::new() };
            texts.push((key.key(), text, value.place.clone()));
        }
        let text = |name: &str| texts.iter().find(|(key, ..)| key == name);
        let Some((_, name, place)) = text("name") else { return Vec::new() };
        let from = |name: &str| text(name).map(|(_, text, _)| text.clone());
        let from = RoleFiles {
            tasks: from("tasks_from"),
            vars: from("vars_from"),
            defaults: from("defaults_from"),
            handlers: from("handlers_from"),
        };
        let wanted = Wanted { name: name.clone(), place: place.clone(), from, params: Layer::new(), once: None };
        self.role(wanted, keywords)
    }

    /// Returns what the imported tasks inherit: all of the import's keywords, its `vars` as parameters.
    fn imported(&mut self, node: &Yaml, parent: &Arc<Keywords>) -> Keywords {
        let keywords = self.keywords(node, Kind::Task, parent);
        let own = node.get("vars").map(|vars| self.own_vars(vars)).unwrap_or_default();
        let include_params = Arc::new(over(&parent.include_params, own));
        Keywords { vars: parent.vars.clone(), include_params, ..keywords }
    }

    fn is_static(&mut self, node: &Yaml, action: &Action) -> bool {
        for (key, _) in node.as_map().unwrap_or(&[]) {
            let name = key.key();
            if RUN_TIME_KEYWORDS.contains(&name.as_str()) || name.starts_with("with_") {
                let message = format!("`{name}` cannot stand beside `{}`", action.name);
                let instead = action.name.replace("import", "include");
                let hint = format!("an import is resolved before anything runs; use `{instead}`");
                self.errors.push(Diagnostic::new(message).at(&key.place).hint(hint));
                return false;
            }
        }
        true
    }
}
