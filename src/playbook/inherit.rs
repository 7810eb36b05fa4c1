//! How keywords come down from a play to its tasks: what is written here, merged over what stands above.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::Diagnostic;
use crate::vars::{Layer, layer_of};
use crate::yaml::Yaml;

use super::Keywords;
use super::keywords::{Kind, check_variable};
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
                "environment" => keywords.environment.extend(items(value)),
                "notify" => keywords.notify = items(value),
                // Tags may be rendered with the vars beside them, which can stand below.
                "tags" => {}
                name => {
                    if let Some(slot) = slot(&mut keywords, name) {
                        *slot = Some(value.clone());
                    }
                }
            }
        }
        if let Some(tags) = node.get("tags") {
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
