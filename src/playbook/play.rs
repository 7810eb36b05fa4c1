//! A playbook's plays, and the playbooks it imports.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Diagnostic, nearest};
use crate::vars::Layer;
use crate::vars::files::is_mappings;
use crate::yaml::{Data, Yaml};

use super::files::first_file;
use super::inherit::{items, over};
use super::keywords::{Kind, is_template};
use super::reader::{Notices, Reader, normal};
use super::role::vars_candidates;
use super::{Keywords, Play};

/// The names of the one thing.
const IMPORTS: [&str; 3] = ["import_playbook", "ansible.builtin.import_playbook", "ansible.legacy.import_playbook"];

/// What an `import_playbook` gives to the plays it stands for; its variables are stronger than theirs.
#[derive(Clone, Default)]
pub(super) struct Imported {
    keywords: Keywords,
    vars: Layer,
}

const ORDERS: &[&str] = &["inventory", "reverse_inventory", "sorted", "reverse_sorted", "shuffle"];

impl Reader<'_> {
    /// Reads the document of a playbook.
    pub fn plays(&mut self, path: &Path, document: Option<Yaml>, imported: &Imported) -> Vec<Play> {
        let example = "a playbook is a list of plays, which begin with `- hosts: ...`";
        let Some(root) = document else {
            let message = format!("playbook `{}` is empty", path.display());
            self.errors.push(Diagnostic::new(message).hint(example));
            return Vec::new();
        };
        let Some(list) = root.as_list() else {
            let message = format!("a playbook should be a list of plays, not {}", root.kind());
            let hint = match root.get("hosts").or(root.get("import_playbook")) {
                Some(_) => "put `- ` before the play's first key, and indent the others as far",
                None => example,
            };
            self.errors.push(Diagnostic::new(message).at(&root.place).hint(hint));
            return Vec::new();
        };
        if list.is_empty() {
            let message = format!("playbook `{}` has no plays", path.display());
            self.errors.push(Diagnostic::new(message).at(&root.place).hint(example));
        }
        let directory = std::mem::replace(&mut self.directory, path.parent().unwrap_or(Path::new("")).into());
        let plays = list.iter().flat_map(|node| self.entry(node, imported)).collect();
        self.directory = directory;
        plays
    }

    fn entry(&mut self, node: &Yaml, imported: &Imported) -> Vec<Play> {
        if node.as_map().is_none() {
            let message = format!("a play should be a mapping, not {}", node.kind());
            self.errors.push(Diagnostic::new(message).at(&node.place).hint("a play begins with `- hosts: ...`"));
            return Vec::new();
        }
        let import = IMPORTS.iter().find_map(|key| node.get(key));
        if let Some(file) = import {
            return self.import_playbook(node, file, imported);
        }
        if node.get("hosts").is_none() {
            self.errors.push(self.no_hosts(node));
            return Vec::new();
        }
        self.play(node, imported).into_iter().collect()
    }

    fn no_hosts(&self, node: &Yaml) -> Diagnostic {
        let map = node.as_map().unwrap_or(&[]);
        let is_play = |name: &str| matches!(name, "tasks" | "roles" | "pre_tasks" | "post_tasks" | "gather_facts");
        let action = map.iter().find(|(key, _)| self.is_action(&key.key()) || key.as_str() == Some("block"));
        match action {
            Some((key, _)) if !map.iter().any(|(key, _)| is_play(&key.key())) => {
                let message = format!("`{}` makes this a task, and a playbook is a list of plays", key.key());
                let hint =
                    "put the tasks below `tasks:` of a play with `hosts:`, or import this file with `import_tasks`";
                Diagnostic::new(message).at(&key.place).hint(hint)
            }
            _ => {
                let near = map.iter().find(|(key, _)| nearest(&key.key(), ["hosts"]).is_some());
                let missing = Diagnostic::new("this play does not say `hosts`").at(&node.place);
                match near {
                    Some((key, _)) => missing.at(&key.place).hint("did you mean `hosts`?"),
                    None => missing.hint("add `hosts: all` or the name of a host or group"),
                }
            }
        }
    }

    fn import_playbook(&mut self, node: &Yaml, file: &Yaml, imported: &Imported) -> Vec<Play> {
        for (key, _) in node.as_map().unwrap_or(&[]) {
            let name = key.key();
            let name = name.strip_prefix("ansible.builtin.").or(name.strip_prefix("ansible.legacy.")).unwrap_or(&name);
            if Kind::ImportPlaybook.find(name).is_none() {
                let message = format!("`{name}` is not a keyword of `import_playbook`");
                let wrong = Diagnostic::new(message).at(&key.place);
                self.errors.push(wrong.suggest(name, Kind::ImportPlaybook.names()));
            }
        }
        let mut keywords = self.keywords(node, Kind::ImportPlaybook, &imported.keywords);
        let own = node.get("vars").map(|vars| self.own_vars(vars)).unwrap_or_default();
        let vars = over(&own, imported.vars.clone());
        let instead = "an import is resolved before anything runs; set the variable with `-e`";
        let Some(name) = self.fixed(file, &keywords, instead) else { return Vec::new() };
        (keywords.name, keywords.vars) = (None, Arc::default());
        let path = normal(&self.directory.join(name));
        let imported = Imported { keywords, vars };
        let plays = self.within(&path, &file.place, |reader, document| reader.plays(&path, document, &imported));
        plays.unwrap_or_default()
    }

    fn play(&mut self, node: &Yaml, imported: &Imported) -> Option<Play> {
        self.check_keys(node, Kind::Play);
        self.start_play();
        let own = node.get("vars").map(|vars| self.own_vars(vars)).unwrap_or_default();
        self.play_vars = Arc::new(over(&own, imported.vars.clone()));
        let mut keywords = self.keywords(node, Kind::Play, &imported.keywords);
        // The play's variables are weaker than those of its blocks' roles: they do not come down with the keywords.
        keywords.vars = Arc::default();
        keywords.directory = self.directory.clone();
        let name = keywords.name.take();
        let keywords = Arc::new(keywords);
        let hosts = node.get("hosts")?.clone();
        let checked = check_hosts(&hosts);
        self.errors.catch(checked);
        let keyword = |name: &str| node.get(name).filter(|value| !value.is_null()).cloned();
        let list = |name: &str| node.get(name).filter(|list| list.as_list().is_some());
        let checked = [check_strategy(keyword("strategy")), check_order(keyword("order"))];
        checked.into_iter().for_each(|checked| {
            self.errors.catch(checked);
        });
        let vars_files = self.vars_files(keyword("vars_files"));
        let serial = self.serial(keyword("serial"));
        let prompts = self.prompts(list("vars_prompt"));
        let gather = ["gather_subset", "gather_timeout", "fact_path"];
        let gather =
            gather.into_iter().filter_map(|name| Some((Yaml::text_at(name, &node.place), keyword(name)?))).collect();
        let pre_tasks = self.steps(list("pre_tasks"), &keywords);
        let roles = self.roles(list("roles"), &keywords);
        let tasks = self.steps(list("tasks"), &keywords);
        let post_tasks = self.steps(list("post_tasks"), &keywords);
        let own_handlers = self.handlers(list("handlers"), &keywords);
        let mut absent = std::mem::take(&mut self.notices.absent);
        absent.dedup_by_key(|error| error.place.clone());
        let unanswered = self.unanswered();
        let mut handlers = std::mem::take(&mut self.handlers);
        handlers.extend(own_handlers);
        Some(Play {
            name: name.as_ref().map_or_else(|| pattern(&hosts), Yaml::key),
            place: node.place.clone(),
            hosts,
            gather_facts: keyword("gather_facts"),
            vars: self.play_vars.clone(),
            vars_files,
            pre_tasks,
            roles,
            tasks,
            post_tasks,
            handlers,
            unanswered,
            absent,
            exports: std::mem::take(&mut self.exports),
            serial,
            any_errors_fatal: keyword("any_errors_fatal"),
            max_fail_percentage: keyword("max_fail_percentage"),
            force_handlers: keyword("force_handlers"),
            order: keyword("order"),
            strategy: keyword("strategy"),
            prompts,
            gather,
            keywords,
            directory: self.directory.clone(),
        })
    }

    /// Forgets what belonged to the play before.
    fn start_play(&mut self) {
        self.handlers.clear();
        self.exports.clear();
        self.roles_done.clear();
        self.notices = Notices::default();
        self.ahead = Some(Default::default());
    }

    /// Returns the entries of `vars_files`, those whose names are known read once for their errors.
    fn vars_files(&mut self, value: Option<Yaml>) -> Vec<Yaml> {
        let entries: Vec<Yaml> = value.map(|value| items(&value)).unwrap_or_default();
        for entry in &entries {
            if entry.as_list().is_none() && entry.as_str().is_none() {
                let message = format!("an entry of `vars_files` should be the name of a file, not {}", entry.kind());
                self.errors.push(Diagnostic::new(message).at(&entry.place));
            }
            if let Some(name) = entry.as_str().filter(|name| !is_template(name)) {
                let directory = self.directory.clone();
                let file = first_file(vars_candidates(name, std::slice::from_ref(&directory)));
                let document = file.and_then(|file| self.loader.files.document(&file).ok().flatten());
                if !document.is_some_and(|root| is_mappings(&root)) {
                    self.vars_file(name, &[directory], &entry.place);
                }
            }
        }
        entries
    }

    fn serial(&mut self, value: Option<Yaml>) -> Vec<Yaml> {
        let batches: Vec<Yaml> = value.filter(|value| !value.is_null()).map(|value| items(&value)).unwrap_or_default();
        for batch in &batches {
            let fits = match &*batch.data {
                Data::Int(number) => *number >= 0,
                Data::Text(text) => is_template(text) || text.trim_end_matches('%').trim().parse::<u32>().is_ok(),
                _ => false,
            };
            if !fits {
                let message = format!("`serial` should be a number or a percentage, not `{}`", batch.key());
                self.errors.push(Diagnostic::new(message).at(&batch.place).hint("for example `2` or `\"30%\"`"));
            }
        }
        batches
    }
}

fn check_hosts(hosts: &Yaml) -> Result<(), Diagnostic> {
    let empty = |node: &Yaml| node.is_null() || node.key().trim().is_empty();
    match &*hosts.data {
        Data::List(list) if list.is_empty() => {}
        Data::List(list) => match list.iter().find(|item| empty(item)) {
            Some(item) => return Err(Diagnostic::new("`hosts` has an empty entry").at(&item.place)),
            None => return Ok(()),
        },
        _ if !empty(hosts) => return Ok(()),
        _ => {}
    }
    Err(Diagnostic::new("`hosts` is empty").at(&hosts.place).hint("name a host, a group, or `all`"))
}

fn check_strategy(strategy: Option<Yaml>) -> Result<(), Diagnostic> {
    let Some(strategy) = strategy else { return Ok(()) };
    let name = strategy.key();
    match name.strip_prefix("ansible.builtin.").unwrap_or(&name) {
        "linear" | "free" | "host_pinned" => Ok(()),
        text if is_template(text) => Ok(()),
        other => {
            let message = format!("strategy `{other}` is not supported");
            Err(Diagnostic::new(message).at(&strategy.place).hint("leave it out: `linear` is used"))
        }
    }
}

fn check_order(order: Option<Yaml>) -> Result<(), Diagnostic> {
    let Some(order) = order else { return Ok(()) };
    let text = order.key();
    if is_template(&text) || ORDERS.contains(&text.as_str()) {
        return Ok(());
    }
    let message = format!("`order` cannot be `{text}`");
    Err(Diagnostic::new(message).at(&order.place).hint(format!("one of: {}", ORDERS.join(", "))))
}

/// Returns the pattern as it would be written on one line.
fn pattern(hosts: &Yaml) -> String {
    items(hosts).iter().map(Yaml::key).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tree, of_layer};

    #[test]
    fn an_imported_playbook_inherits_the_import() {
        let tree = Tree::new(&[
            (
                "site.yml",
                "- import_playbook: stages/one.yml\n  when: go\n  tags: one\n  vars: {a: 1}\n- hosts: [x, y]\n  name: last\n",
            ),
            ("stages/one.yml", "- hosts: m\n  vars: {a: 2, b: 3}\n  tags: own\n  tasks:\n    - import_tasks: t.yml\n"),
            ("stages/t.yml", "- ping:\n"),
        ]);
        assert_eq!(tree.outline(), "play m when:go tags:one&own\n  ping when:go tags:one&own\nplay last\n");
        let plays = tree.load().unwrap().plays;
        assert_eq!(of_layer(&plays[0].vars), ["a=1", "b=3"]);
        assert_eq!(plays[0].directory, tree.path("stages"));
    }

    #[test]
    fn a_play_keeps_what_its_run_needs() {
        let play = "- hosts: a:b\n  gather_facts: no\n  serial: [1, '30%']\n  max_fail_percentage: 20%\n  tags:\n  any_errors_fatal: yes\n  force_handlers: yes\n  order: sorted\n  vars_files: [v.yml, ['{{ x }}.yml', v.yml]]\n  strategy: linear\n  collections: [a.b]\n";
        let tree = Tree::new(&[("site.yml", play), ("vars/v.yml", "a: 1\n")]);
        let play = tree.load().unwrap().plays.remove(0);
        assert_eq!((play.name.as_str(), play.serial.len(), play.vars_files.len()), ("a:b", 2, 2));
        let set =
            [&play.gather_facts, &play.max_fail_percentage, &play.any_errors_fatal, &play.force_handlers, &play.order];
        assert!(set.iter().all(|keyword| keyword.is_some()));
    }
}
