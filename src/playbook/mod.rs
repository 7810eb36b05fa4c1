//! What was written: plays, blocks and tasks with their places, imports resolved, nothing rendered.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Diagnostic, Place};
use crate::vars::Layer;
use crate::yaml::Yaml;

mod arguments;
mod block;
mod defaults;
mod files;
mod import;
mod include;
mod inherit;
pub mod keywords;
pub mod library;
mod load;
mod looping;
mod play;
mod prompt;
mod reader;
mod role;
mod spec;
pub mod tags;
mod task;
#[cfg(test)]
mod testing;

pub use defaults::{Defaults, hands_on};
pub use files::is_missing;
pub use include::{Included, RoleFiles};
pub use load::{Loader, RenderName, load, load_all};
pub use prompt::Prompt;
pub use task::merge;

#[derive(Clone, Debug, Default)]
pub struct Playbook {
    pub plays: Vec<Play>,
}

/// One play. Roles of `roles:` and static imports already stand in its steps.
#[derive(Clone, Debug)]
pub struct Play {
    /// `name`, or the hosts pattern as written.
    pub name: String,
    pub place: Place,
    /// Text or a list of texts; may be templated with extra vars.
    pub hosts: Yaml,
    /// `None`: as the configuration says (on).
    pub gather_facts: Option<Yaml>,
    pub vars: Arc<Layer>,
    pub vars_files: Vec<Yaml>,
    pub pre_tasks: Vec<Step>,
    /// Then `roles`, each as a block of its tasks.
    pub roles: Vec<Step>,
    pub tasks: Vec<Step>,
    pub post_tasks: Vec<Step>,
    /// The roles' in the order of the roles, then the play's own. Of several with one name the last one is meant.
    pub handlers: Vec<Arc<Task>>,
    /// What its tasks notify and no handler answers to: the run ends where such a task would change something.
    pub unanswered: Vec<Diagnostic>,
    /// Tasks behind conditions, and handlers, whose modules are not here: they fail where the run comes to them.
    pub absent: Vec<Diagnostic>,
    /// The roles of `roles:` and `import_role`, with their dependencies: every task of the play sees their defaults and vars.
    pub exports: Vec<Arc<Role>>,
    /// Batches, each a number or a percentage; empty: all hosts at once.
    pub serial: Vec<Yaml>,
    pub any_errors_fatal: Option<Yaml>,
    /// A number, text such as `30%`, or a template.
    pub max_fail_percentage: Option<Yaml>,
    pub force_handlers: Option<Yaml>,
    /// One of `inventory`, `reverse_inventory`, `sorted`, `reverse_sorted`, `shuffle`, or a template.
    pub order: Option<Yaml>,
    /// One of `linear`, `free`, `host_pinned`, or a template; `None`: as the configuration says (`linear`).
    pub strategy: Option<Yaml>,
    /// What is asked for before it begins.
    pub prompts: Vec<Prompt>,
    /// `gather_subset` and its like, as arguments of `setup`.
    pub gather: Vec<(Yaml, Yaml)>,
    /// What the play's tasks inherit, already merged into them; the implicit fact gathering needs it too.
    pub keywords: Arc<Keywords>,
    /// The playbook's directory: `files/`, `templates/` and relative names are looked up here after the role's.
    pub directory: PathBuf,
}

#[derive(Clone, Debug)]
pub enum Step {
    Task(Arc<Task>),
    Block(Arc<Block>),
}

#[derive(Clone, Debug)]
pub struct Block {
    pub keywords: Arc<Keywords>,
    pub block: Vec<Step>,
    pub rescue: Vec<Step>,
    pub always: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Task {
    pub keywords: Arc<Keywords>,
    /// The module or runner action, by its short name if it is a builtin: `copy`, `include_tasks`.
    pub action: String,
    /// Where the action's name stands.
    pub action_place: Place,
    /// Arguments by name, `key=value` text and `args:` already merged in.
    pub arguments: Vec<(Yaml, Yaml)>,
    /// Further mappings of arguments and templates of such, the stronger first: `args:`, and what `module_defaults` has beside it.
    /// What stands in `arguments` is stronger.
    pub args: Vec<Yaml>,
    /// The file of a module of the user's, from a `library/`.
    pub custom: Option<Arc<library::Custom>>,
    /// The module is not here, and the task stands behind a condition: it fails with this where a run comes to it.
    pub absent: Option<Diagnostic>,
    /// Bare text: `command: uptime`. For `include_tasks` the file, however it was written.
    pub free_form: Option<Yaml>,
    pub loop_over: Option<Loop>,
    pub register: Option<String>,
    pub changed_when: Option<Yaml>,
    pub failed_when: Option<Yaml>,
    pub until: Option<Yaml>,
    /// A command that only reads.
    pub probe: Option<Yaml>,
    pub retries: Option<Yaml>,
    /// Seconds.
    pub delay: Option<Yaml>,
    pub notify: Vec<Yaml>,
    pub listen: Vec<String>,
    pub delegate_to: Option<Yaml>,
    pub delegate_facts: Option<Yaml>,
    pub run_once: Option<Yaml>,
    /// Seconds; 0 means no limit.
    pub timeout: Option<Yaml>,
    /// Seconds that a command may go on behind the connection.
    pub asynchronous: Option<Yaml>,
    /// Seconds.
    pub poll: Option<Yaml>,
    /// What `include_tasks` and `include_role` hand on; `None` for every other action.
    pub include: Option<Arc<Include>>,
    /// What the list is for in which it stands.
    pub(crate) section: Section,
}

/// What the tasks of a dynamic include inherit: that of the include's surroundings and its `apply:`, not its own keywords.
#[derive(Clone, Debug)]
pub struct Include {
    pub(crate) enclosing: Arc<Keywords>,
    /// The include's own `vars:`.
    pub(crate) vars: Layer,
    pub(crate) apply: Option<Yaml>,
    /// The playbook's directory.
    pub(crate) directory: PathBuf,
    pub(crate) section: Section,
}

/// What a list of tasks is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Tasks,
    Handlers,
}

impl Play {
    /// Returns the tasks in the order in which they run.
    pub fn sections(&self) -> [&[Step]; 4] {
        [&self.pre_tasks, &self.roles, &self.tasks, &self.post_tasks]
    }

    /// Says whether hosts and groups that the inventory does not have may exist after this play.
    pub fn may_grow_inventory(&self) -> bool {
        // What is included while running may contain anything.
        let grows =
            |task: &Task| matches!(task.action.as_str(), "add_host" | "group_by" | "include_tasks" | "include_role");
        self.sections().into_iter().flatten().any(|step| step.any(&grows))
            || self.handlers.iter().any(|task| grows(task))
    }
}

impl Step {
    /// Returns every task in here, in the order of the text.
    pub fn tasks(&self) -> Vec<&Arc<Task>> {
        match self {
            Step::Task(task) => vec![task],
            Step::Block(block) => {
                [&block.block, &block.rescue, &block.always].into_iter().flatten().flat_map(Step::tasks).collect()
            }
        }
    }

    /// Says whether `wanted` holds for a task in here.
    pub fn any(&self, wanted: &dyn Fn(&Task) -> bool) -> bool {
        self.tasks().into_iter().any(|task| wanted(task))
    }
}

impl Task {
    /// Returns a task that nobody wrote.
    pub(crate) fn implied(action: &str, place: &Place, keywords: Keywords) -> Task {
        Task {
            keywords: Arc::new(Keywords { place: Some(place.clone()), ..keywords }),
            action: action.into(),
            action_place: place.clone(),
            arguments: Vec::new(),
            args: Vec::new(),
            custom: None,
            absent: None,
            free_form: None,
            loop_over: None,
            register: None,
            changed_when: None,
            failed_when: None,
            until: None,
            probe: None,
            retries: None,
            delay: None,
            notify: Vec::new(),
            listen: Vec::new(),
            delegate_to: None,
            delegate_facts: None,
            run_once: None,
            timeout: None,
            asynchronous: None,
            poll: None,
            include: None,
            section: Section::Tasks,
        }
    }

    /// Says whether notifying `topic` means this handler, whose name was rendered to `name`: by its name, as
    /// `role : name`, or by what it listens to.
    pub fn answers_to(&self, topic: &str, name: &str) -> bool {
        (!name.is_empty() && self.is_called(topic, name)) || self.listens_to(topic)
    }

    /// Says whether the handler listens to a topic, which may have the role in front.
    pub fn listens_to(&self, topic: &str) -> bool {
        self.listen.iter().any(|listened| self.is_called(topic, listened))
    }

    /// Says whether a topic is a name of this handler's: `name`, or `role : name`.
    fn is_called(&self, topic: &str, name: &str) -> bool {
        let of_role = |role: &Arc<Role>| {
            let short = role.name.rsplit('.').next().unwrap_or(&role.name);
            [role.name.as_str(), short]
                .iter()
                .any(|role| topic.strip_prefix(role).and_then(|rest| rest.strip_prefix(" : ")) == Some(name))
        };
        topic == name || self.keywords.role.as_ref().is_some_and(of_role)
    }
}

impl Role {
    /// Says whether this is the other role, or one that it includes.
    pub fn is_part_of(self: &Arc<Role>, other: &Arc<Role>) -> bool {
        Arc::ptr_eq(self, other) || self.parents.iter().any(|parent| Arc::ptr_eq(parent, other))
    }
}

#[derive(Clone, Debug)]
pub struct Loop {
    /// A list, or text that renders to one.
    pub items: Yaml,
    /// `items` for `loop`; `with_X` runs its value through lookup `X` (`with_items` flattens one level).
    pub lookup: Option<String>,
    pub control: LoopControl,
}

#[derive(Clone, Debug, Default)]
pub struct LoopControl {
    /// `item` unless set.
    pub loop_var: Option<String>,
    pub index_var: Option<String>,
    pub label: Option<Yaml>,
    /// Seconds between items.
    pub pause: Option<Yaml>,
    pub extended: Option<Yaml>,
    pub extended_allitems: Option<Yaml>,
    pub break_when: Option<Yaml>,
}

/// What a play, role, block or task may say, and those below inherit: the loader merges it downwards, so a task's
/// own `Keywords` are complete.
#[derive(Clone, Debug, Default)]
pub struct Keywords {
    pub name: Option<Yaml>,
    pub place: Option<Place>,
    /// All must hold: those of the enclosing blocks, includes and roles first.
    pub when: Vec<Yaml>,
    /// The union of one's own and all inherited tags.
    pub tags: Vec<String>,
    /// Vars of blocks, imports, listed roles and tasks; the inner ones win.
    pub vars: Arc<Layer>,
    /// Innermost last: later entries win.
    pub environment: Vec<Yaml>,
    /// Keywords whose values may come to `omit`, and what stands above them then, the innermost last.
    pub omissible: Vec<(String, Option<Yaml>)>,
    /// Arguments of modules, the innermost last.
    pub module_defaults: Vec<Defaults>,
    pub become_on: Option<Yaml>,
    pub become_user: Option<Yaml>,
    pub become_method: Option<Yaml>,
    pub become_flags: Option<Yaml>,
    pub become_exe: Option<Yaml>,
    pub remote_user: Option<Yaml>,
    pub port: Option<Yaml>,
    pub connection: Option<Yaml>,
    pub no_log: Option<Yaml>,
    pub check_mode: Option<Yaml>,
    pub diff: Option<Yaml>,
    pub ignore_errors: Option<Yaml>,
    pub ignore_unreachable: Option<Yaml>,
    pub any_errors_fatal: Option<Yaml>,
    pub throttle: Option<Yaml>,
    /// These five stand here for blocks and roles; a task's are in [`Task`].
    pub run_once: Option<Yaml>,
    pub timeout: Option<Yaml>,
    pub delegate_to: Option<Yaml>,
    pub delegate_facts: Option<Yaml>,
    pub notify: Vec<Yaml>,
    /// The role that these tasks belong to.
    pub role: Option<Arc<Role>>,
    /// Variables given to `include_tasks` or `include_role`; those given to an import are ordinary `vars`.
    pub include_params: Arc<Layer>,
    /// The directory of the file in which this was written.
    pub directory: PathBuf,
}

/// A role as found on disk, with what its tasks see.
#[derive(Debug)]
pub struct Role {
    pub name: String,
    /// Absolute: `role_path`.
    pub path: PathBuf,
    pub defaults: Arc<Layer>,
    pub vars: Arc<Layer>,
    /// Given where the role is listed, beside its keywords: `- {role: web, listen_on: 80}`.
    pub params: Arc<Layer>,
    /// The roles through which this one was pulled in, outermost first; their defaults and vars are seen too.
    pub parents: Vec<Arc<Role>>,
    /// Roles of a play with the same text here are one role listed again: on a host where a task of an earlier one ran,
    /// the later ones are left out unless they run again.
    pub listing: Arc<str>,
    pub again: bool,
}
