//! Every variable that anything defines which is read for a run, whatever its order and its hosts.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::inventory::LOCALHOST;
use crate::playbook::keywords::is_template;
use crate::playbook::{Role, Task};
use crate::template::Syntax;
use crate::vars::{Layer, Var, files};
use crate::yaml::{self, Yaml};

use super::walk::Walked;
use super::{Around, files as places};

pub(super) struct Known<'a> {
    pub around: &'a Around<'a>,
    names: HashSet<String>,
    /// Of variables with one written value: that value.
    sole: HashMap<String, Option<Yaml>>,
    /// Names that some text spares: they may be undefined.
    pub spared: HashSet<String>,
    /// Why there may be more: a file that only a run can name.
    pub open: Option<String>,
    /// Roles and layers that were read: many tasks share them.
    read: HashSet<usize>,
}

/// What the runner itself defines beside names that begin as those of facts do.
const MAGIC: &[&str] = &[
    "environment",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "packages",
    "play_hosts",
    "playbook_dir",
    "role_name",
    "role_names",
    "role_path",
    "role_uuid",
    "services",
    "template_destpath",
    "template_fullpath",
    "template_host",
    "template_mtime",
    "template_path",
    "template_run_date",
    "template_uid",
    "undef",
    "vars",
];

/// How names of facts, of connections and of the runner's own variables begin.
const PREFIXES: &[&str] = &["ansible_", "facter_", "getent_", "ohai_", "discovered_"];

impl<'a> Known<'a> {
    pub fn new(walked: &[Walked], around: &'a Around<'a>) -> Known<'a> {
        let (names, sole, spared, read) = Default::default();
        let mut known = Known { around, names, sole, spared, open: None, read };
        for name in around.fleet.hosts().iter().map(String::as_str).chain(LOCALHOST) {
            known.layer(&around.fleet.inventory_vars(name));
        }
        for play in walked {
            known.play(play);
        }
        known
    }

    /// Says whether anything defines a variable.
    pub fn defines(&self, name: &str) -> bool {
        let is_magic = MAGIC.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        is_magic || self.names.contains(name)
    }

    /// Says whether a variable is defined, or may be undefined.
    pub fn has(&self, name: &str) -> bool {
        self.defines(name) || self.spared.contains(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Returns the value of a variable that is written once.
    pub fn value(&self, name: &str) -> Option<&Yaml> {
        self.sole.get(name)?.as_ref()
    }

    fn name(&mut self, name: &str) {
        self.names.insert(name.into());
        self.sole.insert(name.into(), None);
    }

    fn layer(&mut self, layer: &Layer) {
        for (name, var) in layer {
            self.names.insert(name.clone());
            let written = if let Var::Written(node) = var { Some(node) } else { None };
            if let Some(node) = written {
                self.spared.extend(self.around.templates.uses(node, Syntax::Template).spared);
            }
            match self.sole.get(name) {
                None => drop(self.sole.insert(name.clone(), written.cloned())),
                Some(Some(first)) if written.is_some_and(|node| node.place == first.place) => {}
                Some(_) => drop(self.sole.insert(name.clone(), None)),
            }
        }
    }

    /// Adds a layer that lives as long as the plays, once.
    fn shared(&mut self, layer: &Arc<Layer>) {
        if self.read.insert(Arc::as_ptr(layer) as usize) {
            self.layer(layer);
        }
    }

    fn play(&mut self, walked: &Walked) {
        let play = walked.play;
        self.shared(&play.vars);
        for entry in &play.vars_files {
            for node in entry.as_list().unwrap_or(std::slice::from_ref(entry)) {
                self.file(node, std::slice::from_ref(&play.directory));
            }
        }
        for role in &walked.roles {
            self.role(role);
        }
        for task in walked.all() {
            self.task(task, &places::search(task, play));
        }
        if let (None, Some(why)) = (&self.open, &walked.open) {
            self.open = Some(why.clone());
        }
    }

    fn role(&mut self, role: &Arc<Role>) {
        if !self.read.insert(Arc::as_ptr(role) as usize) {
            return;
        }
        for layer in [&role.defaults, &role.vars, &role.params] {
            self.shared(layer);
        }
        role.parents.iter().for_each(|parent| self.role(parent));
        // What a role says that it is given.
        for file in ["meta/argument_specs.yml", "meta/argument_specs.yaml", "meta/main.yml"] {
            let specs = files::source(&role.path.join(file)).ok().and_then(|source| yaml::load(&source).ok()?.pop());
            let points = specs.as_ref().and_then(|specs| specs.get("argument_specs")?.as_map());
            for (_, point) in points.unwrap_or_default() {
                let options = point.get("options").and_then(Yaml::as_map).unwrap_or_default();
                options.iter().for_each(|(option, _)| self.name(&option.key()));
            }
        }
    }

    fn task(&mut self, task: &Task, search: &[PathBuf]) {
        self.shared(&task.keywords.vars);
        self.shared(&task.keywords.include_params);
        if let Some(role) = &task.keywords.role {
            self.role(role);
        }
        task.register.iter().for_each(|name| self.name(name));
        if let Some(over) = &task.loop_over {
            self.name(over.control.loop_var.as_deref().unwrap_or("item"));
            over.control.index_var.iter().for_each(|name| self.name(name));
        }
        match task.action.as_str() {
            "set_fact" | "add_host" => {
                for (key, _) in &task.arguments {
                    match key.key() {
                        name if is_template(&name) => self.opened(task),
                        name => self.name(&name),
                    }
                }
                if task.free_form.is_some() {
                    self.opened(task);
                }
            }
            "include_vars" => self.include_vars(task, search),
            _ => {}
        }
    }

    fn opened(&mut self, task: &Task) {
        let why = || format!("`{}` at {} may bring any", task.action, task.action_place);
        self.open.get_or_insert_with(why);
    }

    fn include_vars(&mut self, task: &Task, search: &[PathBuf]) {
        let argument =
            |name: &str| task.arguments.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
        if let Some(name) = argument("name").and_then(Yaml::as_str).filter(|name| !is_template(name)) {
            return self.name(name);
        }
        match task.free_form.as_ref().or(argument("file")) {
            Some(file) => self.file(file, search),
            None => self.opened(task),
        }
    }

    /// Adds what a file of variables says.
    fn file(&mut self, node: &Yaml, search: &[PathBuf]) {
        let name = node.as_str().filter(|name| !is_template(name));
        match name.map(|name| self.around.loader.vars_file(name, search, &node.place)) {
            Some(Ok(layer)) => self.layer(&layer),
            // A file that is not there is the business of whoever says so.
            Some(Err(_)) | None => {
                let why = || format!("the file of variables at {} is known only to a run", node.place);
                self.open.get_or_insert_with(why);
            }
        }
    }
}
