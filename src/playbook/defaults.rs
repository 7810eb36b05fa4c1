//! `module_defaults`: arguments that tasks of a module have where they do not give them.

use std::path::PathBuf;

use crate::error::Diagnostic;
use crate::names::short;
use crate::yaml::Yaml;

use super::files;
use super::inherit::items;
use super::keywords::is_template;
use super::reader::Reader;
use super::{Keywords, Play, Task};

/// Arguments that `module_defaults` gives to one module, or to a group of them.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The module's short name, or the group's whole one.
    of: String,
    /// By their short names; `None`: `of` is a module.
    group: Option<Vec<String>>,
    arguments: Yaml,
}

impl Keywords {
    /// Returns the default arguments of a module, each a mapping or a template of one, the stronger first: those of the innermost
    /// mapping that has it, those of its groups, and those of the module behind it.
    pub fn defaults_of(&self, module: &str) -> Vec<Yaml> {
        let last = |of: &str, is_group: bool| {
            let mut named =
                self.module_defaults.iter().rev().filter(|one| one.of == of && one.group.is_some() == is_group);
            named.find(|one| !one.arguments.is_null()).map(|one| one.arguments.clone())
        };
        let has = |one: &&Defaults| one.group.as_ref().is_some_and(|modules| modules.iter().any(|name| name == module));
        let mut groups: Vec<&str> = Vec::new();
        for group in self.module_defaults.iter().filter(has) {
            if !groups.contains(&group.of.as_str()) {
                groups.push(&group.of);
            }
        }
        let groups = groups.into_iter().rev().filter_map(|group| last(group, true));
        let behind = BEHIND.iter().find(|(name, _)| *name == module).and_then(|(_, behind)| last(behind, false));
        last(module, false).into_iter().chain(groups).chain(behind).collect()
    }
}

/// Modules that hand their arguments on to another.
const BEHIND: &[(&str, &str)] = &[("gather_facts", "setup"), ("package", "apt")];

/// Says whether a module hands its arguments on to another.
pub fn hands_on(module: &str) -> bool {
    BEHIND.iter().any(|(name, _)| *name == module)
}

impl Play {
    /// Returns the task that gathers the facts first.
    pub(crate) fn gathering(&self, keywords: Keywords) -> Task {
        let args = self.keywords.defaults_of("gather_facts");
        Task { arguments: self.gather.clone(), args, ..Task::implied("setup", &self.place, keywords) }
    }
}

impl Reader<'_> {
    /// Reads `module_defaults`.
    pub fn module_defaults(&self, value: &Yaml) -> Result<Vec<Defaults>, Diagnostic> {
        let mut found = Vec::new();
        for mapping in &items(value) {
            let Some(modules) = mapping.as_map() else {
                let what = match mapping.as_str().is_some_and(is_template) {
                    true => "`module_defaults` cannot be a template: they are read before anything runs".to_string(),
                    false => format!("`module_defaults` should be a mapping of modules, not {}", mapping.kind()),
                };
                return Err(Diagnostic::new(what).at(&mapping.place));
            };
            for (name, arguments) in modules {
                let key = name.key();
                let is_template = arguments.as_str().is_some_and(is_template);
                if arguments.as_map().is_none() && !arguments.is_null() && !is_template {
                    let message = format!("the defaults of `{key}` should be a mapping, not {}", arguments.kind());
                    return Err(Diagnostic::new(message).at(&arguments.place));
                }
                let arguments = arguments.clone();
                found.push(match key.strip_prefix("group/") {
                    None => Defaults { of: short(&key).into(), group: None, arguments },
                    Some(group) => {
                        let group = whole(group, "ansible.builtin");
                        let mut modules = Vec::new();
                        self.add_group(&group, &mut Vec::new(), &mut modules)
                            .map_err(|error| error.or_at(&name.place))?;
                        Defaults { of: group, group: Some(modules), arguments }
                    }
                });
            }
        }
        Ok(found)
    }

    /// Adds the modules of an action group, which `meta/runtime.yml` of its collection names, and of those that it extends.
    /// One that is nowhere is an error, except where another extends it.
    fn add_group(&self, group: &str, above: &mut Vec<String>, modules: &mut Vec<String>) -> Result<(), Diagnostic> {
        if above.iter().any(|known| known == group) {
            return Ok(());
        }
        above.push(group.into());
        let mut parts = group.splitn(3, '.');
        let [namespace, collection, name] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let places = self.loader.library.collections(&self.directory);
        let places: Vec<PathBuf> =
            places.iter().map(|place| place.join(namespace).join(collection).join("meta/runtime.yml")).collect();
        let document = match files::first_file(places.iter().cloned()) {
            Some(path) => self.loader.files.document(&path)?,
            None => None,
        };
        let groups = document.as_ref().and_then(|document| document.get("action_groups"));
        let Some(actions) = groups.and_then(|groups| groups.get(name).or_else(|| groups.get(group))) else {
            let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
            let missing = Diagnostic::new(format!("there is no action group `{group}`"));
            return match above.len() {
                1 => Err(missing.hint(format!("looked for `action_groups` in {}", looked.join(", ")))),
                _ => Ok(()),
            };
        };
        let own = format!("{namespace}.{collection}");
        for action in items(actions) {
            match action.get("metadata").and_then(|metadata| metadata.get("extend_group")) {
                Some(extended) => {
                    for other in items(extended) {
                        self.add_group(&whole(&other.key(), &own), above, modules)?;
                    }
                }
                None if action.as_map().is_some() => {}
                None => modules.push(short(&whole(&action.key(), &own)).into()),
            }
        }
        Ok(())
    }
}

/// Returns a name with the collection before it, unless it has one.
fn whole(name: &str, collection: &str) -> String {
    if name.matches('.').count() >= 2 { name.into() } else { format!("{collection}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[test]
    fn a_task_has_the_defaults_of_its_module_that_it_does_not_give() {
        let play = "\
- hosts: all
  gather_subset: min
  module_defaults:
    file: {owner: root, mode: '0600'}
    ansible.builtin.setup: {gather_timeout: 3}
    group/mine.own.files: {group: mail, owner: nobody}
    group/mine.own.more: {mode: '0640'}
  tasks:
    - file: path=/a mode=0644
    - block:
        - file: {path: /b}
        - command: ls
        - copy: src=x dest=/c
      module_defaults: [{ansible.builtin.file: {group: root}}, {command: {chdir: /srv}}]
";
        let groups = "\
action_groups:
  files: [ansible.builtin.file, {metadata: {extend_group: [more, gone]}}]
  mine.own.more: [ansible.builtin.copy, own, {metadata: {extend_group: files}}]
";
        let runtime = "collections/ansible_collections/mine/own/meta/runtime.yml";
        let tree = Tree::new(&[("site.yml", play), (runtime, groups)]);
        assert_eq!(
            tree.outline(),
            "play all\n  file path=\"/a\" mode=\"0644\" owner=\"root\" group=\"mail\"\n  block\n    file path=\"/b\" group=\"root\" mode=\"0640\" owner=\"nobody\"\n    command chdir=\"/srv\" <ls>\n    copy src=\"x\" dest=\"/c\" mode=\"0640\" group=\"mail\" owner=\"nobody\"\n"
        );
        let gathering = tree.load().unwrap().plays[0].gathering(Keywords::default());
        let shown = |pairs: &[(Yaml, Yaml)]| -> Vec<String> {
            pairs.iter().map(|(name, value)| format!("{}={}", name.key(), value.key())).collect()
        };
        assert_eq!(shown(&gathering.arguments), ["gather_subset=min"]);
        assert_eq!(shown(gathering.args[0].as_map().unwrap()), ["gather_timeout=3"]);
    }

    #[test]
    fn defaults_are_mappings_of_modules() {
        let play = |defaults: &str| format!("- hosts: all\n  module_defaults: {defaults}\n  tasks: []\n");
        let error = |defaults: &str| Tree::new(&[("site.yml", &play(defaults))]).load().unwrap_err();
        assert!(error("[a]").contains("`module_defaults` should be a mapping of modules, not text"));
        let missing = error("{group/mine.own.files: {}}");
        assert!(
            missing.contains("there is no action group `mine.own.files`")
                && missing.contains("mine/own/meta/runtime.yml"),
            "{missing}"
        );
        assert!(error("{file: yes}").contains("the defaults of `file` should be a mapping, not a boolean"));
    }
}
