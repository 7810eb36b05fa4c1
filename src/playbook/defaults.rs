//! `module_defaults`: arguments that tasks of a module have where they do not give them.

use crate::error::Diagnostic;
use crate::yaml::Yaml;

use super::inherit::items;
use super::keywords::is_template;
use super::task::short;
use super::{Keywords, Play};

impl Keywords {
    /// Returns the default arguments of a module: those of the innermost mapping that has it.
    pub fn defaults_of(&self, module: &str) -> Vec<(Yaml, Yaml)> {
        let of_module = |defaults: &Yaml| {
            let named = defaults.as_map()?.iter().rfind(|(name, _)| short(&name.key()) == module)?;
            Some(named.1.as_map()?.to_vec())
        };
        self.module_defaults.iter().rev().find_map(of_module).unwrap_or_default()
    }
}

impl Play {
    /// Returns the arguments of the facts that are gathered first.
    pub fn gathering(&self) -> Vec<(Yaml, Yaml)> {
        let mut arguments = self.gather.clone();
        for (name, value) in self.keywords.defaults_of("setup") {
            if !arguments.iter().any(|(known, _)| known.key() == name.key()) {
                arguments.push((name, value));
            }
        }
        arguments
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
            if arguments.as_map().is_none() && !arguments.is_null() {
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
        let arguments = tree.load().unwrap().plays[0].gathering();
        let shown: Vec<String> =
            arguments.iter().map(|(name, value)| format!("{}={}", name.key(), value.key())).collect();
        assert_eq!(shown, ["gather_subset=min", "gather_timeout=3"]);
    }

    #[test]
    fn defaults_are_mappings_of_modules() {
        let play = |defaults: &str| format!("- hosts: all\n  module_defaults: {defaults}\n  tasks: []\n");
        let error = |defaults: &str| Tree::new(&[("site.yml", &play(defaults))]).load().unwrap_err();
        assert!(error("[a]").contains("`module_defaults` should be a mapping of modules, not text"));
        assert!(error("{file: yes}").contains("the defaults of `file` should be a mapping, not a boolean"));
    }
}
