//! `module_defaults`: arguments that tasks of a module have where they do not give them.

use crate::error::Diagnostic;
use crate::yaml::Yaml;

use super::inherit::items;
use super::keywords::is_template;
use super::{Keywords, Play, Task};
use crate::names::short;

impl Keywords {
    /// Returns the default arguments of a module, each a mapping or a template of one, the stronger first: those of the innermost
    /// mapping that has it, and those of the module behind it.
    pub fn defaults_of(&self, module: &str) -> Vec<Yaml> {
        let of = |module: &str| {
            let named = |defaults: &Yaml| {
                let named = defaults.as_map()?.iter().rfind(|(name, _)| short(&name.key()) == module)?;
                Some(named.1.clone()).filter(|arguments| !arguments.is_null())
            };
            self.module_defaults.iter().rev().find_map(named)
        };
        let behind = BEHIND.iter().find(|(name, _)| *name == module).map(|(_, behind)| *behind);
        [Some(module), behind].into_iter().flatten().filter_map(of).collect()
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

/// Returns the mappings of `module_defaults`. A group of modules is one of a collection's, whose modules are not here.
pub(super) fn read(value: &Yaml) -> Result<Vec<Yaml>, Diagnostic> {
    let defaults = items(value);
    for mapping in &defaults {
        let Some(modules) = mapping.as_map() else {
            let what = match mapping.as_str().is_some_and(is_template) {
                true => "`module_defaults` cannot be a template: they are read before anything runs".to_string(),
                false => format!("`module_defaults` should be a mapping of modules, not {}", mapping.kind()),
            };
            return Err(Diagnostic::new(what).at(&mapping.place));
        };
        for (name, arguments) in modules {
            let is_template = arguments.as_str().is_some_and(is_template);
            if arguments.as_map().is_none() && !arguments.is_null() && !is_template {
                let message = format!("the defaults of `{}` should be a mapping, not {}", name.key(), arguments.kind());
                return Err(Diagnostic::new(message).at(&arguments.place));
            }
        }
    }
    Ok(defaults)
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
    group/aws: {region: here}
  tasks:
    - file: path=/a mode=0644
    - block:
        - file: {path: /b}
        - command: ls
      module_defaults: [{ansible.builtin.file: {group: mail}}, {command: {chdir: /srv}}]
";
        let tree = Tree::new(&[("site.yml", play)]);
        assert_eq!(
            tree.outline(),
            "play all\n  file path=\"/a\" mode=\"0644\" owner=\"root\"\n  block\n    file path=\"/b\" group=\"mail\"\n    command chdir=\"/srv\" <ls>\n"
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
        assert!(error("{file: yes}").contains("the defaults of `file` should be a mapping, not a boolean"));
    }
}
