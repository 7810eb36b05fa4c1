//! `include_tasks` and `include_role`: read when a run reaches them, with what their surroundings hand on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostics, Place};
use crate::vars::Layer;
use crate::yaml::Yaml;

use super::inherit::over;
use super::keywords::{Kind, is_template};
use super::load::Loader;
use super::reader::Reader;
use super::role::Wanted;
use super::{Include, Keywords, Role, Step, Task};

/// What an include stands for on the hosts that reached it.
#[derive(Clone, Debug)]
pub struct Included {
    pub steps: Vec<Step>,
    /// To be added to the play's.
    pub handlers: Vec<Arc<Task>>,
    /// The roles read, dependencies first and the included one last.
    pub roles: Vec<Arc<Role>>,
}

/// Which files of a role are read in place of `main`: `tasks_from` and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleFiles {
    pub tasks: Option<String>,
    pub vars: Option<String>,
    pub defaults: Option<String>,
    pub handlers: Option<String>,
}

impl Loader {
    /// Reads the tasks that `task`, an `include_tasks`, stands for once its file name was rendered; `item` holds the loop's variables.
    pub fn include_tasks(&self, task: &Task, file: &str, item: &Layer) -> Result<Included, Diagnostics> {
        self.included(task, |reader, include, place| reader.included_tasks(include, file, item, place))
    }

    /// Reads the role that `task`, an `include_role`, stands for once its arguments were rendered.
    pub fn include_role(
        &self,
        task: &Task,
        name: &str,
        from: RoleFiles,
        item: &Layer,
    ) -> Result<Included, Diagnostics> {
        self.included(task, |reader, include, place| {
            let keywords = reader.handed_on(include, item);
            let (name, place) = (name.to_string(), place.clone());
            reader.role(Wanted { name, place, from, params: Layer::new(), once: None }, keywords)
        })
    }

    fn included(
        &self,
        task: &Task,
        read: impl FnOnce(&mut Reader<'_>, &Include, &Place) -> Vec<Step>,
    ) -> Result<Included, Diagnostics> {
        let Some(include) = &task.include else {
            return Ok(Included { steps: Vec::new(), handlers: Vec::new(), roles: Vec::new() });
        };
        let mut reader = Reader::resume(self, include);
        let steps = read(&mut reader, include, &task.action_place);
        let Reader { errors, handlers, exports, .. } = reader;
        errors.or(Included { steps, handlers, roles: exports })
    }

    /// Reads a file of variables named in `vars_files` or `include_vars`: looked for in `vars/` of each directory, then in it.
    pub fn vars_file(&self, name: &str, directories: &[PathBuf], place: &Place) -> Result<Layer, Diagnostics> {
        let mut reader = Reader::new(self, PathBuf::new());
        let layer = reader.vars_file(name, directories, place);
        reader.errors.or(layer)
    }
}

impl Reader<'_> {
    /// Returns what the tasks of an include inherit.
    fn handed_on(&mut self, include: &Include, item: &Layer) -> Keywords {
        let keywords = match &include.apply {
            Some(apply) => self.keywords(apply, Kind::Apply, &include.enclosing),
            None => Keywords::clone(&include.enclosing),
        };
        let params = over(&over(&keywords.include_params, include.vars.clone()), item.clone());
        Keywords { include_params: Arc::new(params), ..keywords }
    }

    fn included_tasks(&mut self, include: &Include, file: &str, item: &Layer, place: &Place) -> Vec<Step> {
        let keywords = self.handed_on(include, item);
        let Some(path) = self.tasks_file(file, place, &keywords) else { return Vec::new() };
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let keywords = Arc::new(Keywords { directory, ..keywords });
        self.within(&path, place, |reader, document| reader.steps(document.as_ref(), &keywords)).unwrap_or_default()
    }

    /// Reads what an include names, where that is known already, for the sake of its errors and its handlers' names.
    pub fn read_ahead(&mut self, task: &Task) {
        let (Some(include), true) = (task.include.clone(), self.ahead.is_some()) else { return };
        let argument = |name: &str| task.arguments.iter().find(|(key, _)| key.key() == name).map(|(_, value)| value);
        let named = match task.action.as_str() {
            "include_tasks" => task.free_form.as_ref(),
            _ => argument("name"),
        };
        let froms = ["tasks_from", "vars_from", "defaults_from", "handlers_from"].map(argument);
        let texts: Vec<String> = named.into_iter().chain(froms.into_iter().flatten()).map(Yaml::key).collect();
        let Some(named) = named.filter(|_| !texts.iter().any(|text| is_template(text))) else {
            self.notices.open = true;
            return;
        };
        let role = include.enclosing.role.as_ref().map(|role| &role.path);
        let once = format!("{} {texts:?} {role:?} {:?}", task.action, include.enclosing.directory);
        if !self.ahead.as_mut().is_some_and(|ahead| ahead.insert(once)) {
            return;
        }
        // An include may lead back to itself under a condition, so the chain of imports starts anew; what is found is let go.
        let mut aside = Reader::resume(self.loader, &include);
        aside.play_vars = self.play_vars.clone();
        aside.ahead = self.ahead.take();
        if task.action == "include_tasks" {
            aside.included_tasks(&include, &named.key(), &Layer::new(), &named.place);
        } else {
            let text = |index: usize| froms[index].map(Yaml::key);
            let from = RoleFiles { tasks: text(0), vars: text(1), defaults: text(2), handlers: text(3) };
            let keywords = aside.handed_on(&include, &Layer::new());
            let (name, place) = (named.key(), named.place.clone());
            aside.role(Wanted { name, place, from, params: Layer::new(), once: None }, keywords);
        }
        let Reader { errors, ahead, notices, .. } = aside;
        self.ahead = ahead;
        self.errors.extend(errors);
        self.notices.notified.extend(notices.notified);
        self.notices.handlers.extend(notices.handlers);
        self.notices.open |= notices.open;
    }
}
