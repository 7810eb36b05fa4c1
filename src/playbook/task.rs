//! One task: its action, what the action is told, and the keywords beside it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Diagnostic, Place, nearest};
use crate::names::short;
use crate::yaml::{Data, Yaml};

use super::arguments;
use super::inherit::items;
use super::keywords::{Kind, is_template};
use super::library::{self, Custom};
use super::looping::with_lookup;
use super::reader::Reader;
use super::{Include, Keywords, Section, Step, Task};

/// The action as written.
#[derive(Clone)]
pub(super) struct Action {
    /// Short, if it is a builtin.
    pub name: String,
    pub place: Place,
    pub arguments: Vec<(Yaml, Yaml)>,
    pub free_form: Option<Yaml>,
    /// What only a run knows of them, the stronger first: `args:` that is a template of a mapping, and defaults.
    args: Vec<Yaml>,
    /// From `local_action`.
    is_local: bool,
    /// The module is not here, which is no error before the run comes to it.
    absent: Option<Diagnostic>,
}

/// What a dynamic include may have beside it (its other keywords would reach no task).
const INCLUDE_KEYWORDS: &[&str] = &[
    "action",
    "args",
    "collections",
    "debugger",
    "ignore_errors",
    "loop",
    "loop_control",
    "name",
    "no_log",
    "register",
    "run_once",
    "tags",
    "timeout",
    "vars",
    "when",
    "listen",
];

/// Modules of Ansible that are not here.
const OTHER_MODULES: &[&str] = &["expect", "zypper"];

impl Reader<'_> {
    pub fn is_action(&self, name: &str) -> bool {
        self.loader.actions.contains(&short(name)) || IMPORTS.contains(&short(name)) || self.custom(name).is_some()
    }

    /// Finds a module of the user's by its name.
    fn custom(&self, name: &str) -> Option<PathBuf> {
        self.loader.library.find(name, &self.directory)
    }

    /// Reads the module of the user's that a task names, where there is one.
    fn read_custom(&mut self, action: &mut Action, conditional: bool) -> Option<Arc<Custom>> {
        let path = self.custom(&action.name)?;
        match library::read(&path).map_err(|error| error.at(&action.place)) {
            Err(error) if conditional => action.absent = Some(error),
            read => return self.errors.catch(read).map(Arc::new),
        }
        None
    }

    fn kind(&self) -> Kind {
        match self.section {
            Section::Tasks => Kind::Task,
            Section::Handlers => Kind::Handler,
        }
    }

    /// Reads a task; a static import gives the steps it stands for.
    pub fn task(&mut self, node: &Yaml, parent: &Arc<Keywords>) -> Vec<Step> {
        let mut keywords = self.keywords(node, self.kind(), parent);
        // A handler waits for a notification that may never come.
        let conditional = self.conditional || self.section == Section::Handlers || !keywords.when.is_empty();
        let Some(mut action) = self.action(node, conditional) else {
            return Vec::new();
        };
        if self.errors.catch(merge_args(node, &mut action)).is_none() {
            return Vec::new();
        }
        if self.section == Section::Handlers && matches!(action.name.as_str(), "include_role" | "import_role") {
            let message = format!("Using '{}' as a handler is not supported.", action.name);
            self.errors.push(Diagnostic::new(message).at(&action.place).hint("include a file of its tasks"));
            return Vec::new();
        }
        match action.name.as_str() {
            "import_tasks" => return self.import_tasks(node, &action, parent),
            "import_role" => return self.import_role(node, &action, parent),
            _ => {}
        }
        // Whom `synchronize` is delegated to has the files; they go to the task's own host all the same.
        if action.name == "synchronize" {
            action.is_local = false;
            let from = keywords.delegate_to.take().map(|from| (Yaml::text_at("from", &action.place), from));
            merge(&mut action.arguments, from.as_slice());
        }
        add_defaults(&mut action, &keywords);
        let loop_over = self.looping(node);
        let register = node.get("register").filter(|name| !name.is_null()).and_then(|name| self.variable(name));
        let include = self.include(node, &mut action, parent);
        let listen = node.get("listen").filter(|_| self.section == Section::Handlers);
        let keyword = |name: &str| node.get(name).filter(|value| !value.is_null()).cloned();
        let local = action.is_local.then(|| Yaml::text_at("localhost", &action.place));
        let custom = self.read_custom(&mut action, conditional);
        self.notices.absent.extend(action.absent.clone());
        let task = Task {
            absent: action.absent,
            args: action.args,
            custom,
            asynchronous: keyword("async"),
            poll: keyword("poll"),
            action: action.name,
            action_place: action.place,
            arguments: action.arguments,
            free_form: action.free_form,
            loop_over,
            register,
            changed_when: keyword("changed_when"),
            failed_when: keyword("failed_when"),
            until: keyword("until"),
            probe: keyword("probe"),
            retries: keyword("retries"),
            delay: keyword("delay"),
            notify: std::mem::take(&mut keywords.notify),
            listen: listen.map(|listen| items(listen).iter().map(Yaml::key).collect()).unwrap_or_default(),
            delegate_to: local.or_else(|| keywords.delegate_to.take()),
            delegate_facts: keywords.delegate_facts.take(),
            run_once: keywords.run_once.take(),
            timeout: keywords.timeout.take(),
            include,
            section: self.section,
            keywords: Arc::new(keywords),
        };
        self.notices.notified.extend(task.notify.iter().cloned());
        match task.action.as_str() {
            "include_vars" if self.ahead.is_some() => self.read_vars_ahead(&task),
            _ if task.include.is_some() => self.read_ahead(&task),
            _ => {}
        }
        vec![Step::Task(Arc::new(task))]
    }

    /// Returns what an include hands on, having put its file and role into one form; `None` for other actions.
    fn include(&mut self, node: &Yaml, action: &mut Action, parent: &Arc<Keywords>) -> Option<Arc<Include>> {
        let allowed: &[&str] = match action.name.as_str() {
            "include_tasks" => &["file", "apply"],
            "include_role" => ROLE_ARGUMENTS,
            _ => return None,
        };
        for (key, _) in node.as_map().unwrap_or(&[]) {
            let name = key.key();
            if Kind::Handler.find(&name).is_some() && !INCLUDE_KEYWORDS.contains(&name.as_str()) {
                let message = format!("`{name}` beside `{}` would not reach the included tasks", action.name);
                let hint = format!("write it below `apply:`, an argument of `{}`, or use an import", action.name);
                self.errors.push(Diagnostic::new(message).at(&key.place).hint(hint));
            }
        }
        self.check_arguments(action, allowed)?;
        let apply = take(&mut action.arguments, "apply");
        if let Some(apply) = &apply {
            if apply.as_map().is_none() {
                let message = format!("`apply` should be a mapping, not {}", apply.kind());
                self.errors.push(Diagnostic::new(message).at(&apply.place));
                return None;
            }
            self.check_keys(apply, Kind::Apply);
            // Merged again when the include is reached; here for the errors.
            self.keywords(apply, Kind::Apply, parent);
        }
        let vars = node.get("vars").map(|vars| self.own_vars(vars)).unwrap_or_default();
        let (directory, section) = (self.directory.clone(), self.section);
        Some(Arc::new(Include { enclosing: parent.clone(), vars, apply, directory, section }))
    }

    /// Checks the arguments of an include or import, and moves a tasks file to the free form and a role's name to `name`.
    pub fn check_arguments(&mut self, action: &mut Action, allowed: &[&str]) -> Option<()> {
        for (key, _) in &action.arguments {
            if !allowed.contains(&key.key().as_str()) {
                let unknown = Diagnostic::new(format!("Invalid options for {}: {}", action.name, key.key()));
                self.errors.push(unknown.at(&key.place).suggest(&key.key(), allowed.iter().copied()));
                return None;
            }
        }
        for (key, value) in action.arguments.iter().filter(|(key, _)| key.key().ends_with("_from")) {
            if value.as_str().is_none() {
                let message = format!("Expected a string for {} but got {}", key.key(), value.kind());
                self.errors.push(Diagnostic::new(message).at(&value.place));
                return None;
            }
        }
        let missing = match allowed.contains(&"file") {
            true => {
                action.free_form = take(&mut action.arguments, "file").or(action.free_form.take());
                action.free_form.is_none().then_some("the name of a file")
            }
            false => {
                let name = take(&mut action.arguments, "name").or(take(&mut action.arguments, "role"));
                let name = name.or(action.free_form.take()).filter(|name| !name.is_null());
                let found = name.is_some();
                action.arguments.extend(name.map(|name| (Yaml::text_at("name", &action.place), name)));
                (!found).then_some("the `name` of a role")
            }
        };
        let Some(missing) = missing else { return Some(()) };
        self.errors.push(Diagnostic::new(format!("`{}` needs {missing}", action.name)).at(&action.place));
        None
    }

    /// Finds the one key that is the action. One that is for other hosts, behind a `when`, may be no module of ours.
    fn action(&mut self, node: &Yaml, conditional: bool) -> Option<Action> {
        let map = node.as_map().unwrap_or(&[]);
        let is_keyword = |name: &str| self.kind().find(name).is_some() || with_lookup(name).is_some();
        let mut named: Vec<&(Yaml, Yaml)> = Vec::new();
        let mut unknown: Vec<&Yaml> = Vec::new();
        for pair in map {
            let name = pair.0.key();
            if matches!(name.as_str(), "action" | "local_action") || (self.is_action(&name) && !is_keyword(&name)) {
                named.push(pair);
            } else if !is_keyword(&name) {
                unknown.push(&pair.0);
            }
        }
        let kind = self.kind();
        match (named.as_slice(), unknown.as_slice()) {
            ([(key, value)], []) => {
                let action = read_action(key, value);
                let action = self.errors.catch(action)?;
                match is_template(&action.name) || self.is_action(&action.name) {
                    true => Some(action),
                    false => self.unknown(action, conditional),
                }
            }
            ([(first, _), (second, _), ..], _) => {
                let message =
                    format!("a task has one action, and this one has two: `{}` and `{}`", first.key(), second.key());
                let hint = match second.place.line == first.place.line {
                    true => "make a task of each".into(),
                    false => format!("`{}` is in line {}; make a task of each", first.key(), first.place.line),
                };
                self.errors.push(Diagnostic::new(message).at(&second.place).hint(hint));
                None
            }
            ([(action, value)], unknown) => {
                for key in unknown {
                    self.errors.push(not_a_keyword(key, kind, value.is_null().then_some(action)));
                }
                None
            }
            ([], []) => {
                let message = "this task has no action";
                let hint = "add a module: `copy`, `file`, `command`, ...";
                self.errors.push(Diagnostic::new(message).at(&node.place).hint(hint));
                None
            }
            ([], [key]) if conditional && self.is_elsewhere(&key.key()) => {
                let value = map.iter().find(|(name, _)| name.place == key.place).map(|(_, value)| value)?;
                let action = read_action(key, value);
                let action = self.errors.catch(action)?;
                self.unknown(action, conditional)
            }
            ([], unknown) => {
                for key in unknown {
                    self.errors.push(self.unknown_action(&key.key(), &key.place));
                }
                None
            }
        }
    }

    /// Returns an action that is not here, where that is no error.
    fn unknown(&mut self, action: Action, conditional: bool) -> Option<Action> {
        let error = self.unknown_action(&action.name, &action.place);
        if conditional && self.is_elsewhere(&action.name) {
            return Some(Action { absent: Some(error), ..action });
        }
        self.errors.push(error);
        None
    }

    /// Says whether a name may be that of a module that is not here, rather than one of ours that is written wrongly.
    fn is_elsewhere(&self, name: &str) -> bool {
        let known = self.loader.actions.iter().copied().chain(IMPORTS.iter().copied()).chain(self.kind().names());
        is_of_ansible(name) || self.section == Section::Tasks && nearest(short(name), known).is_none()
    }

    fn unknown_action(&self, name: &str, place: &Place) -> Diagnostic {
        match short(name) {
            "include" => {
                let gone = Diagnostic::new("`include` is no longer part of Ansible").at(place);
                return gone.hint("use `import_tasks`, or `include_tasks` where the file depends on the host");
            }
            "import_playbook" | "hosts" => {
                let message = format!("`{name}` stands in a list of tasks, and belongs to the top level of a playbook");
                return Diagnostic::new(message).at(place);
            }
            _ => {}
        }
        let unknown = Diagnostic::new(format!("unknown module or keyword `{name}`")).at(place);
        let known = self.loader.actions.iter().copied().chain(IMPORTS.iter().copied()).chain(self.kind().names());
        if let Some(near) = nearest(short(name), known) {
            return unknown.hint(format!("did you mean `{near}`?"));
        }
        match name.matches('.').count() {
            2.. => unknown.hint("modules of collections are not there; only those that are built in"),
            _ => unknown,
        }
    }
}

/// Says whether Ansible has a module of that name, as far as the name tells, which is not here.
fn is_of_ansible(name: &str) -> bool {
    let short = short(name);
    short.starts_with("win_") || OTHER_MODULES.contains(&short) || name.matches('.').count() >= 2
}

/// The actions that the loader itself resolves.
const IMPORTS: &[&str] = &["import_tasks", "import_role"];

pub(super) const ROLE_ARGUMENTS: &[&str] = &[
    "name",
    "role",
    "tasks_from",
    "vars_from",
    "defaults_from",
    "handlers_from",
    "apply",
    "public",
    "allow_duplicates",
    "rolespec_validate",
];

/// Takes an argument out of the list.
pub(super) fn take(arguments: &mut Vec<(Yaml, Yaml)>, name: &str) -> Option<Yaml> {
    let at = arguments.iter().position(|(key, _)| key.as_str() == Some(name))?;
    Some(arguments.remove(at).1)
}

/// Says that a key is no keyword; `action` is the module above that got no arguments, so that this may be one.
fn not_a_keyword(key: &Yaml, kind: Kind, action: Option<&Yaml>) -> Diagnostic {
    let name = key.key();
    let unknown = Diagnostic::new(format!("`{name}` is not a keyword of {}", kind.noun())).at(&key.place);
    if Kind::Handler.find(&name).is_some() {
        return unknown.hint("it belongs to a handler");
    }
    match (nearest(&name, kind.names()), action) {
        (Some(near), _) => unknown.hint(format!("did you mean `{near}`?")),
        (None, Some(action)) => {
            unknown.hint(format!("if it is an argument of `{0}`, indent it below `{0}:`", action.key()))
        }
        (None, None) => unknown.hint("an argument of the module stands below it, indented"),
    }
}

fn read_action(key: &Yaml, value: &Yaml) -> Result<Action, Diagnostic> {
    let written = key.key();
    let is_local = written == "local_action";
    if !is_local && written != "action" {
        return with_arguments(key, value, is_local);
    }
    let module = match &*value.data {
        Data::Text(_) => {
            let (module, rest) = arguments::split_action(value);
            let rest = if rest.as_str() == Some("") { nothing(&rest) } else { rest };
            return with_arguments(&module, &rest, is_local);
        }
        Data::Map(map) => map.iter().find(|(name, _)| name.as_str() == Some("module")),
        _ => None,
    };
    let Some((_, module)) = module else {
        let message = format!("`{written}` names no module");
        let hint = format!("write `{written}: MODULE key=value`, or `module:` below it");
        return Err(Diagnostic::new(message).at(&value.place).hint(hint));
    };
    let pairs = value.as_map().unwrap_or(&[]).iter().filter(|(name, _)| name.as_str() != Some("module")).cloned();
    let mut pairs: Vec<(Yaml, Yaml)> = pairs.collect();
    // What stands under `args:` there are arguments as well.
    if let Some(at) = pairs.iter().position(|(name, args)| name.as_str() == Some("args") && args.as_map().is_some()) {
        let (_, args) = pairs.remove(at);
        pairs.extend(args.as_map().unwrap_or(&[]).iter().cloned());
    }
    with_arguments(module, &Yaml { data: Data::Map(pairs).into(), ..value.clone() }, is_local)
}

fn nothing(node: &Yaml) -> Yaml {
    Yaml { data: Data::Null.into(), ..node.clone() }
}

fn with_arguments(key: &Yaml, value: &Yaml, is_local: bool) -> Result<Action, Diagnostic> {
    let name = short(&key.key()).to_string();
    let mut action = Action {
        name,
        place: key.place.clone(),
        arguments: Vec::new(),
        free_form: None,
        args: Vec::new(),
        is_local,
        absent: None,
    };
    match &*value.data {
        Data::Null => {}
        Data::Map(map) => {
            action.arguments = map.clone();
            action.free_form = take(&mut action.arguments, "_raw_params");
        }
        Data::Text(_) => {
            let line = arguments::read(&action.name, value)?;
            (action.arguments, action.free_form) = (line.arguments, line.free_form);
        }
        _ => {
            let message = format!("the arguments of `{}` should be a mapping or text, not {}", key.key(), value.kind());
            return Err(Diagnostic::new(message).at(&value.place));
        }
    }
    Ok(action)
}

/// Adds `args:`; what the action itself says is stronger.
fn merge_args(node: &Yaml, action: &mut Action) -> Result<(), Diagnostic> {
    let args = node.get("args").filter(|args| !args.is_null());
    if let Some(wrong) = args.filter(|args| args.as_map().is_none()) {
        if !wrong.as_str().is_some_and(is_template) {
            let message = format!("`args` should be a mapping, not {}", super::keywords::shown(wrong));
            return Err(Diagnostic::new(message).at(&wrong.place));
        }
        action.args.push(wrong.clone());
    }
    merge(&mut action.arguments, args.and_then(Yaml::as_map).unwrap_or(&[]));
    match action.arguments.iter().find(|(key, _)| key.as_str().is_none()) {
        Some((key, _)) => {
            let message = format!("the name of an argument should be text, not {}", key.kind());
            Err(Diagnostic::new(message).at(&key.place))
        }
        None => Ok(()),
    }
}

/// Adds what `module_defaults` says. Where a template is stronger, it waits for that.
fn add_defaults(action: &mut Action, keywords: &Keywords) {
    let is_whole = |text: &str| text.trim_start().starts_with("{{");
    let mut waits = !action.args.is_empty() || action.free_form.as_ref().and_then(Yaml::as_str).is_some_and(is_whole);
    for defaults in keywords.defaults_of(&action.name) {
        match defaults.as_map().filter(|_| !waits) {
            Some(map) => merge(&mut action.arguments, map),
            None => {
                waits = true;
                action.args.push(defaults);
            }
        }
    }
}

/// Adds arguments to those that are stronger.
pub fn merge(arguments: &mut Vec<(Yaml, Yaml)>, weaker: &[(Yaml, Yaml)]) {
    for (name, value) in weaker {
        if !arguments.iter().any(|(known, _)| known.key() == name.key()) {
            arguments.push((name.clone(), value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::tasks_of;

    #[test]
    fn every_way_to_write_an_action_means_the_same() {
        for task in [
            "- copy: src=a dest=/b",
            "- ansible.builtin.copy: src=a dest=/b",
            "- ansible.legacy.copy: {src: a, dest: /b}",
            "- action: copy src=a dest=/b",
            "- action: {module: copy, src: a, dest: /b}",
            "- copy: src=a\n  args: {dest: /b, src: weaker}",
            "- copy:\n  args:\n    src: a\n    dest: /b",
        ] {
            assert_eq!(tasks_of(task), "  copy src=\"a\" dest=\"/b\"\n", "{task}");
        }
        assert_eq!(tasks_of("- local_action: command ls"), "  command <ls> delegate_to:\"localhost\"\n");
    }

    #[test]
    fn free_form_text_keeps_its_lines() {
        let tasks = "- shell: |\n    for x in a b; do\n      echo $x\n    done\n  args: {chdir: /tmp}\n- meta: flush_handlers\n- set_fact: a=1 b='2 3'";
        let outline = "  shell chdir=\"/tmp\" <for x in a b; do\n  echo $x\ndone>\n  meta <flush_handlers>\n  set_fact a=\"1\" b=\"2 3\"\n";
        assert_eq!(tasks_of(tasks), outline);
    }

    #[test]
    fn loops_know_their_lookup_and_variable() {
        let tasks = "- debug: msg=x\n  loop: '{{ l }}'\n  loop_control: {loop_var: user}\n  register: r\n- debug: msg=x\n  with_items: [1, 2]";
        let outline = "  debug msg=\"x\" loop:(\"{{ l }}\")->user register:r\n  debug msg=\"x\" loop:items([1,2])\n";
        assert_eq!(tasks_of(tasks), outline);
    }
}
