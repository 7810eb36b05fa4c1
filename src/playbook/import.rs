//! `import_tasks` and `import_role`: replaced by what they name before anything runs.

use std::sync::Arc;

use crate::error::Diagnostic;
use crate::vars::Layer;
use crate::yaml::Yaml;

use super::include::RoleFiles;
use super::keywords::Kind;
use super::reader::Reader;
use super::role::Wanted;
use super::task::{Action, ROLE_ARGUMENTS};
use super::{Keywords, Step};

/// An import is gone when tasks run: these would have nothing to act on.
const RUN_TIME_KEYWORDS: &[&str] =
    &["loop", "loop_control", "register", "until", "retries", "delay", "changed_when", "failed_when", "probe"];

impl Reader<'_> {
    pub fn import_tasks(&mut self, node: &Yaml, action: &Action, parent: &Arc<Keywords>) -> Vec<Step> {
        let mut action = action.clone();
        if !self.is_static(node, &action) || self.check_arguments(&mut action, &["file"]).is_none() {
            return Vec::new();
        }
        let Some(name) = action.free_form else { return Vec::new() };
        let keywords = self.keywords(node, Kind::Task, parent);
        let instead = "an import is resolved before anything runs; use `include_tasks`";
        let Some(file) = self.fixed(&name, &keywords, instead) else { return Vec::new() };
        let Some(path) = self.tasks_file(&file, &name.place, &keywords) else { return Vec::new() };
        let directory = path.parent().unwrap_or(&path).to_path_buf();
        let keywords = Arc::new(Keywords { directory, ..keywords });
        let steps = self.within(&path, &name.place, |reader, document| reader.steps(document.as_ref(), &keywords));
        steps.unwrap_or_default()
    }

    pub fn import_role(&mut self, node: &Yaml, action: &Action, parent: &Arc<Keywords>) -> Vec<Step> {
        let mut action = action.clone();
        let allowed: Vec<&str> = ROLE_ARGUMENTS.iter().copied().filter(|name| *name != "apply").collect();
        if !self.is_static(node, &action) || self.check_arguments(&mut action, &allowed).is_none() {
            return Vec::new();
        }
        let keywords = self.keywords(node, Kind::Task, parent);
        let instead = "an import is resolved before anything runs; use `include_role`";
        let mut texts = Vec::new();
        for (key, value) in &action.arguments {
            let Some(text) = self.fixed(value, &keywords, instead) else { return Vec::new() };
            texts.push((key.key(), text, value.place.clone()));
        }
        let text = |name: &str| texts.iter().find(|(key, ..)| key == name);
        let Some((_, name, place)) = text("name") else { return Vec::new() };
        let from = |name: &str| text(name).map(|(_, text, _)| text.clone());
        let from = RoleFiles {
            tasks: from("tasks_from"),
            vars: from("vars_from"),
            defaults: from("defaults_from"),
            handlers: from("handlers_from"),
            once: from("allow_duplicates").is_some_and(|text| is_off(&text)),
            unvalidated: from("rolespec_validate").is_some_and(|text| is_off(&text)),
        };
        let (listing, again) = (from.listing(), Some(!from.once));
        let (name, place) = (name.clone(), place.clone());
        self.role(Wanted { name, place, from, params: Layer::new(), listing, again }, keywords)
    }

    fn is_static(&mut self, node: &Yaml, action: &Action) -> bool {
        for (key, _) in node.as_map().unwrap_or(&[]) {
            let name = key.key();
            if RUN_TIME_KEYWORDS.contains(&name.as_str()) || name.starts_with("with_") {
                let message = format!("`{name}` cannot stand beside `{}`", action.name);
                let instead = action.name.replace("import", "include");
                let hint = format!("an import is resolved before anything runs; use `{instead}`");
                self.errors.push(Diagnostic::new(message).at(&key.place).hint(hint));
                return false;
            }
        }
        true
    }
}

/// Says whether text is a switch that is off, as Ansible reads it.
fn is_off(text: &str) -> bool {
    matches!(text.trim().to_lowercase().as_str(), "false" | "no" | "off" | "0" | "n" | "f")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;

    #[test]
    fn imported_tasks_inherit_the_import() {
        let tree = Tree::new(&[
            (
                "site.yml",
                "- hosts: all\n  tasks:\n    - import_tasks: parts/a.yml\n      vars: {v: 1}\n      when: w\n      tags: t\n      become: yes\n    - import_tasks: empty.yml\n",
            ),
            ("parts/a.yml", "- ping:\n- import_tasks: b.yml\n  vars: {v: 2}\n"),
            ("parts/b.yml", "- command: ls\n  when: x\n"),
            ("empty.yml", "# nothing\n"),
        ]);
        assert_eq!(
            tree.outline(),
            "play all\n  ping when:w tags:t vars:v=1 become:True\n  command <ls> when:w&x tags:t vars:v=2 become:True\n"
        );
    }

    #[test]
    fn a_cycle_names_its_chain() {
        let tree = Tree::new(&[
            ("site.yml", "- hosts: all\n  tasks:\n    - import_tasks: a.yml\n"),
            ("a.yml", "- import_tasks: b.yml\n"),
            ("b.yml", "- import_tasks: ./a.yml\n"),
        ]);
        assert_eq!(
            tree.load().unwrap_err(),
            "error: `a.yml` leads back to itself\n --> b.yml:1:17\n  |\n1 | - import_tasks: ./a.yml\n  |                 ^^^^^^^\n  |\n  = hint: site.yml -> a.yml -> b.yml -> a.yml"
        );
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let parts: Vec<(String, String)> = (0..40)
            .map(|n| (format!("t{n}.yml"), format!("- block:\n    - block:\n        - import_tasks: t{}.yml\n", n + 1)))
            .collect();
        let mut files = vec![("site.yml", "- hosts: all\n  tasks:\n    - import_tasks: t0.yml\n")];
        files.extend(parts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let error = Tree::new(&files).load().unwrap_err();
        assert!(error.starts_with("error: blocks and imports are nested deeper than 64\n --> t21.yml:1:3"), "{error}");
    }

    #[test]
    fn a_playbook_is_no_tasks_file() {
        let tree = Tree::new(&[
            ("site.yml", "- hosts: all\n  tasks:\n    - import_tasks: play.yml\n    - import_tasks: map.yml\n"),
            ("play.yml", "- hosts: all\n  tasks: []\n"),
            ("map.yml", "ping:\n"),
        ]);
        assert_eq!(
            tree.load().unwrap_err(),
            "error: this is a play, and here stands a list of tasks\n --> play.yml:1:3\n  |\n1 | - hosts: all\n  |   ^^^^^\n  |\n  = hint: take the plays of another file over with `import_playbook`, at the top level of a playbook\n\nerror: tasks should be a list, not a mapping\n --> map.yml:1:1\n  |\n1 | ping:\n  | ^^^^\n  |\n  = hint: put `- ` before the first key of each task"
        );
    }
}
