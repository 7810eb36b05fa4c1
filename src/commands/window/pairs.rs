//! The pairs of a fleet: its old hosts, where their domains go, and which these are.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Diagnostic, Diagnostics, Place, Source};
use crate::inventory::Inventory;
use crate::template::{Failure, Templates};
use crate::vars::{self, Fleet};
use crate::window::Pair;
use crate::yaml::Yaml;

use super::FleetOf;

/// A pair as the inventory has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub pair: Pair,
    /// Nothing: all that the old host has.
    pub domains: Option<Vec<String>>,
}

/// Returns the pairs of an inventory, or every error in them.
pub fn listed(of: &FleetOf) -> Result<Vec<Listed>, Diagnostics> {
    let inventory = Inventory::load(&of.inventory)?;
    let fleet = Arc::new(Fleet::new(inventory, vars::extra(&of.extra_vars)?));
    fleet.add_play_directory(&of.playbooks)?;
    let selected = |group: &str| fleet.select(group).map(|selected| selected.hosts);
    let (old, new) = (selected("old")?, selected("new")?);
    let mut errors = Diagnostics::default();
    if old.is_empty() {
        let error = Diagnostic::new("the inventory has no host in the group `old`");
        errors.push(error.hint("inventory/fleet.yml shows how pairs are written; `-i` names yours"));
    }
    let templates = Templates::new();
    let mut pairs = Vec::new();
    for host in old {
        match read(&host, (&fleet, &templates), &new) {
            Ok(pair) => pairs.push(pair),
            Err(error) => errors.push(error),
        }
    }
    errors.or(pairs)
}

fn read(host: &str, (fleet, templates): (&Arc<Fleet>, &Templates), new: &[String]) -> Result<Listed, Diagnostic> {
    let variable = |name: &str| -> Result<Value, Diagnostic> {
        let text = format!("{{{{ {name} | default(none) }}}}");
        let source = Arc::new(Source { path: Path::new(host).into(), text: text.clone() });
        let node = Yaml::text_at(text, &Place::new(&source, 1, 1));
        templates.render(&node, &fleet.host_scope(host)).map_err(|failure| match failure {
            Failure::Wrong(error) => error,
            Failure::Unknown(what) => Diagnostic::new(format!("{what} is not known here")),
        })
    };
    let new = match (variable("new_host")?, new) {
        (Value::String(name), _) if fleet.has_host(&name) => name,
        (Value::String(name), _) => {
            let error =
                Diagnostic::new(format!("`new_host` of `{host}` is `{name}`, which the inventory does not have"));
            return Err(error.suggest(&name, new.iter().map(String::as_str)));
        }
        (Value::Null, [one]) => one.clone(),
        (Value::Null, many) => {
            let error =
                Diagnostic::new(format!("`{host}` has no `new_host`, and the group `new` has {} hosts", many.len()));
            return Err(error.hint("write `new_host: NAME` at each old host: that is the pair"));
        }
        (other, _) => return Err(Diagnostic::new(format!("`new_host` of `{host}` is {other}, not a name"))),
    };
    let domains = match variable("domains")? {
        Value::Null => None,
        Value::String(text) if text.trim() == "all" => None,
        Value::String(text) => Some(text.split(',').map(|name| name.trim().to_lowercase()).collect()),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).map(str::to_lowercase).collect()),
        other => return Err(Diagnostic::new(format!("`domains` of `{host}` is {other}, not a list"))),
    };
    if domains.as_ref().is_some_and(|names: &Vec<String>| names.iter().all(String::is_empty)) {
        let error = Diagnostic::new(format!("`domains` of `{host}` is empty"));
        return Err(error.hint("leave it out for all that the host has"));
    }
    Ok(Listed { pair: Pair { old: host.into(), new }, domains })
}
