//! A directory tree to load playbooks from, and an outline of what was loaded.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use crate::vars::{Layer, Var};
use crate::yaml::Yaml;

use super::{Keywords, Loader, Playbook, Step, Task, load};

pub const ACTIONS: &[&str] = &[
    "copy",
    "file",
    "template",
    "command",
    "shell",
    "script",
    "raw",
    "debug",
    "meta",
    "service",
    "set_fact",
    "ping",
    "include_tasks",
    "include_role",
    "include_vars",
    "add_host",
    "fail",
];

/// Files below a directory that is gone when this is.
pub struct Tree {
    root: TempDir,
    pub loader: Loader,
}

impl Tree {
    pub fn new(files: &[(&str, &str)]) -> Tree {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut loader = Loader::new(ACTIONS.to_vec());
        loader.lookups = vec!["items", "dict", "fileglob"];
        Tree { root, loader }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Loads `site.yml`; the error is drawn, with paths from the root.
    pub fn load(&self) -> Result<Playbook, String> {
        load(&self.path("site.yml"), &self.loader).map_err(|errors| self.relative(&errors.to_string()))
    }

    /// Takes the root out of every path.
    pub fn relative(&self, text: &str) -> String {
        let root = self.root.path().display().to_string();
        text.replace(&format!("{root}/"), "").replace(&root, ".")
    }

    pub fn outline(&self) -> String {
        let playbook = self.load().unwrap_or_else(|errors| panic!("{errors}"));
        self.relative(&outline(&playbook))
    }
}

/// The errors of a playbook, drawn.
pub fn errors_of(playbook: &str) -> String {
    Tree::new(&[("site.yml", playbook)]).load().map(|playbook| outline(&playbook)).unwrap_err()
}

/// The one play's tasks, outlined.
pub fn tasks_of(tasks: &str) -> String {
    let indented: String = tasks.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("- hosts: all\n  tasks:\n{indented}");
    Tree::new(&[("site.yml", &text)]).outline().replace("play all\n", "")
}

fn outline(playbook: &Playbook) -> String {
    let mut out = String::new();
    for play in &playbook.plays {
        let _ = writeln!(out, "play {}{}", play.name, of_keywords(&play.keywords));
        let sections =
            [("pre", &play.pre_tasks), ("roles", &play.roles), ("tasks", &play.tasks), ("post", &play.post_tasks)];
        for (name, steps) in sections {
            if name != "tasks" && !steps.is_empty() {
                let _ = writeln!(out, " {name}");
            }
            outline_steps(steps, 1, &mut out);
        }
        for handler in &play.handlers {
            let _ = writeln!(out, " handler {}", of_task(handler));
        }
    }
    out
}

pub fn outline_of(steps: &[Step]) -> String {
    let mut out = String::new();
    outline_steps(steps, 0, &mut out);
    out
}

fn outline_steps(steps: &[Step], depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    for step in steps {
        match step {
            Step::Task(task) => {
                let _ = writeln!(out, "{indent}{}", of_task(task));
            }
            Step::Block(block) => {
                let role = block.keywords.role.as_ref().map(|role| format!(" of {}", role.name)).unwrap_or_default();
                let _ = writeln!(out, "{indent}block{role}");
                for (name, part) in [("", &block.block), ("rescue", &block.rescue), ("always", &block.always)] {
                    if !name.is_empty() && !part.is_empty() {
                        let _ = writeln!(out, "{indent}{name}");
                    }
                    outline_steps(part, depth + 1, out);
                }
            }
        }
    }
}

fn of_task(task: &Arc<Task>) -> String {
    let mut out = task.action.clone();
    for (key, value) in &task.arguments {
        let _ = write!(out, " {}={}", key.key(), value.to_value());
    }
    let text = |name: &str, value: &Option<Yaml>| {
        value.as_ref().map(|value| format!(" {name}:{}", value.to_value())).unwrap_or_default()
    };
    out += &task.free_form.as_ref().map(|text| format!(" <{}>", text.key())).unwrap_or_default();
    if let Some(over) = &task.loop_over {
        let _ = write!(out, " loop:{}({})", over.lookup.as_deref().unwrap_or(""), over.items.to_value());
        out += &over.control.loop_var.as_ref().map(|name| format!("->{name}")).unwrap_or_default();
    }
    out += &task.register.as_ref().map(|name| format!(" register:{name}")).unwrap_or_default();
    out += &text("delegate_to", &task.delegate_to);
    out += &text("run_once", &task.run_once);
    out += &text("timeout", &task.timeout);
    let notify: Vec<String> = task.notify.iter().map(Yaml::key).collect();
    if !notify.is_empty() {
        let _ = write!(out, " notify:{notify:?}");
    }
    out + &of_keywords(&task.keywords)
}

fn of_keywords(keywords: &Keywords) -> String {
    let mut out = String::new();
    let list = |name: &str, items: Vec<String>| {
        if items.is_empty() { String::new() } else { format!(" {name}:{}", items.join("&")) }
    };
    out += &list("when", keywords.when.iter().map(Yaml::key).collect());
    out += &list("tags", keywords.tags.clone());
    out += &list("vars", of_layer(&keywords.vars));
    out += &list("params", of_layer(&keywords.include_params));
    out += &list("env", keywords.environment.iter().map(|node| node.to_value().to_string()).collect());
    out += &list("become", keywords.become_on.iter().map(Yaml::key).collect());
    out += &list("user", keywords.become_user.iter().map(Yaml::key).collect());
    out
}

pub fn of_layer(layer: &Layer) -> Vec<String> {
    let value = |var: &Var| match var {
        Var::Written(node) => node.to_value().to_string(),
        other => format!("{other:?}"),
    };
    layer.iter().map(|(name, var)| format!("{name}={}", value(var))).collect()
}
