//! All tasks of a play in their order, with what dynamic includes bring where their names say it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Diagnostics;
use crate::playbook::keywords::is_template;
use crate::playbook::{Included, Play, Role, RoleFiles, Step, Task};
use crate::run;
use crate::vars::Layer;
use crate::yaml::{Data, Yaml};

use super::Around;

/// A play with everything that it is known to include.
pub(super) struct Walked<'p> {
    pub play: &'p Play,
    pub tasks: Vec<Visit>,
    /// Those of roles and of includes, then the play's own.
    pub handlers: Vec<Arc<Task>>,
    pub roles: Vec<Arc<Role>>,
    /// What may bring tasks and variables that nobody knows before a run: where it stands.
    pub open: Option<String>,
}

/// One task, as it is come to.
#[derive(Clone)]
pub(super) struct Visit {
    pub task: Arc<Task>,
    /// Its failure ends nothing: errors are ignored, or rescued.
    pub forgiven: bool,
    /// It runs only after a failure.
    pub is_rescue: bool,
}

#[derive(Clone, Copy, Default)]
struct State {
    forgiven: bool,
    is_rescue: bool,
}

struct Walk<'w, 'a> {
    around: &'w Around<'a>,
    walked: Walked<'w>,
    errors: Diagnostics,
    /// Includes that were followed, by where they stand and what they name.
    followed: HashSet<String>,
}

impl<'p> Walked<'p> {
    /// Walks through a play; returns what was wrong with the files it includes, too.
    pub fn new(play: &'p Play, around: &'p Around<'_>) -> (Walked<'p>, Diagnostics) {
        let (handlers, roles) = (play.handlers.clone(), play.exports.clone());
        let walked = Walked { play, tasks: Vec::new(), handlers, roles, open: None };
        let mut walk = Walk { around, walked, errors: Diagnostics::default(), followed: HashSet::new() };
        for section in play.sections() {
            walk.steps(section, State::default());
        }
        for handler in &play.handlers {
            walk.open_by(handler);
            walk.follow(handler, State::default());
        }
        (walk.walked, walk.errors)
    }

    /// Returns the tasks and the handlers.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.iter().map(|visit| &visit.task).chain(&self.handlers)
    }
}

impl Walk<'_, '_> {
    fn steps(&mut self, steps: &[Step], state: State) {
        for step in steps {
            match step {
                Step::Task(task) => self.task(task, state),
                Step::Block(block) => {
                    let forgiven = state.forgiven || !block.rescue.is_empty();
                    self.steps(&block.block, State { forgiven, ..state });
                    self.steps(&block.rescue, State { is_rescue: true, ..state });
                    self.steps(&block.always, state);
                }
            }
        }
    }

    fn task(&mut self, task: &Arc<Task>, state: State) {
        let forgiven = state.forgiven || task.keywords.ignore_errors.is_some() || task.failed_when.is_some();
        self.walked.tasks.push(Visit { task: task.clone(), forgiven, is_rescue: state.is_rescue });
        self.open_by(task);
        self.follow(task, state);
    }

    /// Notes a task that may define anything: a module of the user's, or one that is not here.
    fn open_by(&mut self, task: &Task) {
        let known = run::verify::is_known(&task.action);
        if task.custom.is_some() || !known || task.action == "group_by" || !task.args.is_empty() {
            self.opened(task);
        }
    }

    fn opened(&mut self, task: &Task) {
        let why = || format!("`{}` at {} may bring any", task.action, task.action_place);
        self.walked.open.get_or_insert_with(why);
    }

    /// Goes on with what a task includes.
    fn follow(&mut self, task: &Arc<Task>, state: State) {
        if task.include.is_none() {
            return;
        }
        let Some(included) = self.included(task) else { return };
        match included {
            Ok(included) => {
                let wrong = run::verify::steps(&included.steps, self.around.templates);
                self.errors.extend(wrong.err().unwrap_or_default());
                self.walked.handlers.extend(included.handlers);
                self.walked.roles.extend(included.roles);
                self.steps(&included.steps, state);
            }
            // What is wrong with the file was found with the playbook.
            Err(_) => self.opened(task),
        }
    }

    /// Reads what a task includes; nothing where that was done, or where it is not known.
    fn included(&mut self, task: &Task) -> Option<Result<Included, Diagnostics>> {
        let loader = self.around.loader;
        let argument =
            |name: &str| task.arguments.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
        let name = if task.action == "include_role" { argument("name") } else { task.free_form.as_ref() }?;
        let from = ["tasks_from", "vars_from", "defaults_from", "handlers_from"].map(argument);
        let Some(name) = fixed(Some(name)).filter(|_| from.iter().all(|file| file.is_none() || fixed(*file).is_some()))
        else {
            self.opened(task);
            return None;
        };
        let [tasks, vars, defaults, handlers] = from.map(fixed);
        if !self.followed.insert(format!("{} {name} {tasks:?}", task.action_place)) {
            return None;
        }
        Some(match task.action == "include_role" {
            true => loader.include_role(
                task,
                &name,
                RoleFiles { tasks, vars, defaults, handlers, ..RoleFiles::default() },
                &Layer::new(),
            ),
            false => loader.include_tasks(task, &name, &Layer::new()),
        })
    }
}

/// Returns a text that is no template.
fn fixed(node: Option<&Yaml>) -> Option<String> {
    match &*node?.data {
        Data::Text(text) if !is_template(text) => Some(text.clone()),
        _ => None,
    }
}
