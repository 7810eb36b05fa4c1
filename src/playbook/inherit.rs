//! How keywords come down from a play to its tasks: what is written here, merged over what stands above.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::Diagnostic;
use crate::vars::{Layer, layer_of};
use crate::yaml::Yaml;

use super::Keywords;
use super::keywords::{Kind, check_variable, is_template};
use super::reader::Reader;

impl Reader<'_> {
    /// Merges the keywords of `node` over those of `parent`, noting the wrong ones. Keys of other tables are left alone.
    pub fn keywords(&mut self, node: &Yaml, kind: Kind, parent: &Keywords) -> Keywords {
        let mut keywords = Keywords { name: None, place: Some(node.place.clone()), ..parent.clone() };
        for (key, value) in node.as_map().unwrap_or(&[]) {
            let Some(keyword) = key.as_str().and_then(|name| kind.find(name)) else { continue };
            if self.errors.catch(keyword.check(key, value)).is_none() || value.is_null() {
                continue;
            }
            match keyword.name {
                "when" => keywords.when.extend(items(value)),
                "vars" => keywords.vars = Arc::new(over(&keywords.vars, self.own_vars(value))),
                "module_defaults" => {
                    let defaults = self.module_defaults(value);
                    keywords.module_defaults.extend(self.errors.catch(defaults).unwrap_or_default());
                }
                "environment" => keywords.environment.extend(items(value)),
                "notify" => keywords.notify = items(value),
                // Tags may be rendered with the vars beside them, which can stand below.
                "tags" => {}
                name => {
                    let outer = slot(&mut keywords, name).and_then(|slot| slot.replace(value.clone()));
                    keywords.omissible.retain(|(known, _)| known != name);
                    if value.as_str().is_some_and(is_template) {
                        keywords.omissible.push((name.into(), outer));
                    }
                }
            }
        }
        if let Some(tags) = node.get("tags").filter(|tags| !tags.is_null()) {
            self.add_tags(tags, &mut keywords);
        }
        keywords
    }

    /// Notes every key of `node` that is no keyword of its kind.
    pub fn check_keys(&mut self, node: &Yaml, kind: Kind) {
        for (key, _) in node.as_map().unwrap_or(&[]) {
            let name = key.key();
            if kind.find(&name).is_none() {
                let message = format!("`{name}` is not a keyword of {}", kind.noun());
                self.errors.push(Diagnostic::new(message).at(&key.place).suggest(&name, kind.names()));
            }
        }
    }

    /// Reads the value of `vars:`, noting names that no template could use.
    pub fn own_vars(&mut self, value: &Yaml) -> Layer {
        let mut layer = Layer::new();
        for map in items(value) {
            for (name, _) in map.as_map().unwrap_or(&[]) {
                self.errors.catch(check_variable(name));
            }
            layer.extend(layer_of(&map));
        }
        layer
    }

    fn add_tags(&mut self, tags: &Yaml, keywords: &mut Keywords) {
        for item in items(tags) {
            if item.as_map().is_some() || item.as_list().is_some() || item.is_null() {
                let message = format!("a tag should be text, not {}", item.kind());
                self.errors.push(Diagnostic::new(message).at(&item.place));
                continue;
            }
            let instead = "tags are chosen before anything runs: set the variable with `-e` or in the play's `vars`";
            let Some(text) = self.fixed(&item, keywords, instead) else { continue };
            for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                if !keywords.tags.iter().any(|known| known == tag) {
                    keywords.tags.push(tag.into());
                }
            }
        }
    }
}

impl Keywords {
    /// Returns what a keyword is set to, if it is one that the innermost setting decides.
    pub(crate) fn value(&self, name: &str) -> Option<Yaml> {
        slot(&mut self.clone(), name)?.clone()
    }

    /// Puts another value, or none, in the place of a keyword's.
    pub(crate) fn put(&mut self, name: &str, value: Option<Yaml>) {
        if let Some(slot) = slot(self, name) {
            *slot = value;
        }
    }
}

/// Returns the items of a list, or the one value.
pub(super) fn items(value: &Yaml) -> Vec<Yaml> {
    value.as_list().map_or_else(|| vec![value.clone()], <[Yaml]>::to_vec)
}

/// Returns the variables of both, the inner ones winning.
pub(super) fn over(outer: &Layer, inner: Layer) -> Layer {
    let mut layer: IndexMap<_, _> = outer.clone();
    layer.extend(inner);
    layer
}

/// Returns where a keyword that the innermost setting decides is kept.
fn slot<'k>(keywords: &'k mut Keywords, name: &str) -> Option<&'k mut Option<Yaml>> {
    Some(match name {
        "name" => &mut keywords.name,
        "become" => &mut keywords.become_on,
        "become_user" => &mut keywords.become_user,
        "become_method" => &mut keywords.become_method,
        "become_flags" => &mut keywords.become_flags,
        "become_exe" => &mut keywords.become_exe,
        "remote_user" | "user" => &mut keywords.remote_user,
        "port" => &mut keywords.port,
        "connection" => &mut keywords.connection,
        "no_log" => &mut keywords.no_log,
        "check_mode" => &mut keywords.check_mode,
        "diff" => &mut keywords.diff,
        "ignore_errors" => &mut keywords.ignore_errors,
        "ignore_unreachable" => &mut keywords.ignore_unreachable,
        "any_errors_fatal" => &mut keywords.any_errors_fatal,
        "throttle" => &mut keywords.throttle,
        "run_once" => &mut keywords.run_once,
        "timeout" => &mut keywords.timeout,
        "delegate_to" => &mut keywords.delegate_to,
        "delegate_facts" => &mut keywords.delegate_facts,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tree, tasks_of};

    #[test]
    fn keywords_come_down_from_block_to_task() {
        let tasks = "\
- block:
    - block:
        - command: ls
          when: c
          tags: [y, z]
          vars: {v: 3}
          environment: {E: 2}
          become_user: inner
      when: [b1, b2]
      vars: {w: 2, v: 2}
      run_once: yes
    - command: id
      delegate_to: there
      timeout: 5
  rescue:
    - command: fix
  when: a
  tags: x, y
  vars: {v: 1}
  environment: {E: 1}
  become: yes
  become_user: outer
  delegate_to: here
  timeout: 9
";
        let outer = "tags:x&y vars:v=1 env:{\"E\":1} become:True user:outer";
        assert_eq!(
            tasks_of(tasks),
            format!(
                "  block
    block
      command <ls> delegate_to:\"here\" run_once:true timeout:9 when:a&b1&b2&c tags:x&y&z vars:v=3&w=2 env:{{\"E\":1}}&{{\"E\":2}} become:True user:inner
    command <id> delegate_to:\"there\" timeout:5 when:a {outer}
  rescue
    command <fix> delegate_to:\"here\" timeout:9 when:a {outer}
"
            )
        );
    }

    #[test]
    fn a_play_gives_all_but_its_vars() {
        let play = "- hosts: all\n  become: yes\n  tags: p\n  environment: {A: 1}\n  vars: {x: 1}\n  tasks:\n    - ping:\n  handlers:\n    - name: h\n      ping:\n";
        let tree = Tree::new(&[("site.yml", play)]);
        let inherited = "tags:p env:{\"A\":1} become:True";
        assert_eq!(tree.outline(), format!("play all {inherited}\n  ping {inherited}\n handler ping {inherited}\n"));
    }

    #[test]
    fn a_tag_is_rendered_with_what_is_known() {
        let mut tree =
            Tree::new(&[("site.yml", "- hosts: all\n  vars: {t: mail}\n  tags: ['{{ t }}']\n  tasks: []\n")]);
        assert!(tree.load().unwrap_err().contains("`{{ t }}` is not known before the run"));
        tree = Tree::new(&[("site.yml", "- hosts: all\n  vars: {t: mail}\n  tags: ['{{ t }}']\n  tasks: []\n")]);
        tree.loader.render = Some(Box::new(|node, known| {
            let name = node.key().replace(['{', '}', ' '], "");
            match known.get(&name) {
                Some(crate::vars::Var::Written(value)) => Ok(value.key()),
                _ => Err(crate::error::Diagnostic::new(format!("`{name}` is undefined"))),
            }
        }));
        assert_eq!(tree.outline(), "play all tags:mail\n");
    }
}
