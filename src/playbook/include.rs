//! `include_tasks` and `include_role`: read when a run reaches them, with what their surroundings hand on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostics, Place};
use crate::vars::Layer;
use crate::yaml::Yaml;

use super::files;
use super::inherit::over;
use super::keywords::{Kind, is_template};
use super::load::Loader;
use super::reader::Reader;
use super::role::{Wanted, vars_candidates};
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

/// Which files of a role are read in place of `main`, `tasks_from` and the like, and whether its arguments are validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleFiles {
    pub tasks: Option<String>,
    pub vars: Option<String>,
    pub defaults: Option<String>,
    pub handlers: Option<String>,
    /// `allow_duplicates: false`: it is left out where it has run already.
    pub once: bool,
    /// `rolespec_validate: false`: the role's arguments are not compared with its `argument_specs`.
    pub unvalidated: bool,
}

impl RoleFiles {
    /// Returns what says that the role is the same as one that has run.
    pub(super) fn listing(&self) -> String {
        let tasks = self.tasks.as_deref().map(|tasks| format!(" {tasks}")).unwrap_or_default();
        format!("{{}}{tasks}")
    }
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
            let (listing, again) = (from.listing(), Some(!from.once));
            reader.role(Wanted { name, place, from, params: Layer::new(), listing, again }, keywords)
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

    /// Reads the file that an `include_vars` names, where it is known and there already, for the sake of its errors.
    pub fn read_vars_ahead(&mut self, task: &Task) {
        let file = task.arguments.iter().find(|(key, _)| key.key() == "file").map(|(_, value)| value);
        let Some(file) = file.or(task.free_form.as_ref()).filter(|file| !is_template(&file.key())) else { return };
        let role = task.keywords.role.as_ref().map(|role| role.path.clone());
        let directories: Vec<PathBuf> =
            role.into_iter().chain([task.keywords.directory.clone(), self.directory.clone()]).collect();
        if let Some(path) = files::first_file(vars_candidates(&file.key(), &directories)) {
            self.vars_of(&path, &file.place);
        }
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
        let mut aside = self.aside(&include);
        aside.conditional |= !task.keywords.when.is_empty();
        if task.action == "include_tasks" {
            aside.included_tasks(&include, &named.key(), &Layer::new(), &named.place);
        } else {
            let text = |index: usize| froms[index].map(Yaml::key);
            let from = RoleFiles {
                tasks: text(0),
                vars: text(1),
                defaults: text(2),
                handlers: text(3),
                ..RoleFiles::default()
            };
            let keywords = aside.handed_on(&include, &Layer::new());
            let (name, place) = (named.key(), named.place.clone());
            let (listing, again) = (from.listing(), Some(true));
            aside.role(Wanted { name, place, from, params: Layer::new(), listing, again }, keywords);
        }
        // The run may make such a file before it comes there, or never come there.
        if self.behind || aside.conditional {
            aside.errors.0.retain(|error| !files::is_missing(error) && !super::block::is_no_list(error));
        }
        self.rejoin(aside);
    }
}

#[cfg(test)]
mod tests {
    use crate::vars::{Layer, Var};
    use crate::yaml::Yaml;

    use super::super::testing::{Tree, outline_of};
    use super::*;

    fn first_task(tree: &Tree) -> Arc<Task> {
        let play = tree.load().unwrap_or_else(|errors| panic!("{errors}")).plays.remove(0);
        let mut step = play.tasks[0].clone();
        loop {
            step = match step {
                Step::Task(task) => return task,
                Step::Block(block) => block.block[0].clone(),
            }
        }
    }

    const BLOCK: &str = "\
- hosts: all
  tasks:
    - block:
        - include_tasks:
            file: '{{ which }}.yml'
            apply: {tags: applied, become: yes}
          when: own
          tags: own
          vars: {v: 1}
      when: around
      vars: {w: 1}
";

    #[test]
    fn an_include_hands_on_its_surroundings_and_what_it_applies() {
        let tree =
            Tree::new(&[("site.yml", BLOCK), ("a.yml", "- ping:\n- include_tasks: b.yml\n"), ("b.yml", "- ping:\n")]);
        let task = first_task(&tree);
        assert_eq!(task.free_form.as_ref().map(Yaml::key).as_deref(), Some("{{ which }}.yml"));
        let item = Layer::from_iter([("item".to_string(), Var::Written(task.free_form.clone().unwrap()))]);
        let included = tree.loader.include_tasks(&task, "a.yml", &item).unwrap();
        let inherited = "when:around tags:applied vars:w=1 params:v=1&item=\"{{ which }}.yml\" become:True";
        assert_eq!(outline_of(&included.steps), format!("ping {inherited}\ninclude_tasks <b.yml> {inherited}\n"));
    }

    #[test]
    fn an_include_of_a_missing_file_says_where_it_looked() {
        let tree = Tree::new(&[("site.yml", BLOCK)]);
        let error = tree.loader.include_tasks(&first_task(&tree), "gone.yml", &Layer::new()).unwrap_err();
        let drawn = tree.relative(&error.to_string());
        assert!(drawn.contains("`gone.yml` is not there\n --> site.yml:4:11"), "{drawn}");
        assert!(drawn.ends_with("= hint: looked for gone.yml, tasks/gone.yml"), "{drawn}");
    }

    #[test]
    fn a_wrong_apply_shows_before_the_run() {
        let apply =
            "- hosts: all\n  tasks:\n    - include_tasks: {file: '{{ f }}', apply: {becom: yes, diff: maybe}}\n";
        let error = Tree::new(&[("site.yml", apply)]).load().unwrap_err();
        assert!(
            error.contains("`becom` is not a keyword of `apply`") && error.contains("did you mean `become`?"),
            "{error}"
        );
        assert!(error.contains("`diff` should be a boolean, not `maybe`"), "{error}");
    }

    #[test]
    fn an_included_role_brings_its_handlers() {
        let tree = Tree::new(&[
            ("site.yml", "- hosts: all\n  tasks:\n    - include_role: {name: '{{ r }}', tasks_from: '{{ f }}'}\n"),
            ("roles/a/tasks/other.yml", "- command: other\n"),
            ("roles/a/handlers/main.yml", "- name: h\n  ping:\n"),
        ]);
        let from = RoleFiles { tasks: Some("other".into()), ..RoleFiles::default() };
        let included = tree.loader.include_role(&first_task(&tree), "a", from, &Layer::new()).unwrap();
        assert_eq!(outline_of(&included.steps), "block of a\n  command <other>\n");
        assert!(included.handlers[0].answers_to("a : h", "h") && included.handlers[0].answers_to("h", "h"));
        assert!(!included.handlers[0].answers_to("b : h", "h"));
        assert_eq!(included.roles[0].name, "a");
    }

    #[test]
    fn errors_of_a_known_include_show_before_the_run() {
        let tree = Tree::new(&[
            (
                "site.yml",
                "- hosts: all\n  tasks:\n    - include_tasks: a.yml\n    - include_role: {name: r}\n    - ping:\n      notify: h\n",
            ),
            (
                "a.yml",
                "- include_tasks: a.yml\n  when: again\n- copyy: x\n- include_vars: gone.yml\n- include_vars: v.yml\n",
            ),
            ("vars/v.yml", "- 1\n"),
            ("roles/r/tasks/main.yml", "- ping:\n  wehn: x\n"),
            ("roles/r/handlers/main.yml", "- name: h\n  ping:\n"),
        ]);
        assert_eq!(
            tree.load().unwrap_err(),
            "error: unknown module or keyword `copyy`\n --> a.yml:3:3\n  |\n3 | - copyy: x\n  |   ^^^^^\n  |\n  = hint: did you mean `copy`?\n\nerror: a file of variables should be a mapping, not a list\n --> vars/v.yml:1:1\n  |\n1 | - 1\n  | ^\n  |\n  = hint: write `name: value`, without `- `\n\nerror: `wehn` is not a keyword of a task\n --> roles/r/tasks/main.yml:2:3\n  |\n2 |   wehn: x\n  |   ^^^^\n  |\n  = hint: did you mean `when`?"
        );
    }
}
