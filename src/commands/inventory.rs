//! `cutover inventory`: who the hosts are, in `ansible-inventory`'s forms.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::keys::VaultPassword;
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Inventory;
use crate::settings;
use crate::vars::{self, Fleet, Layer, Var};
use crate::yaml::Yaml;

/// Show the inventory: hosts, groups and their variables.
///
/// The forms are those of `ansible-inventory`. Variables are as written: no template is rendered, and `!vault` values stay
/// encrypted.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("form").required(true).args(["list", "graph", "host"]))]
pub struct Arguments {
    /// With --graph: the group to begin at
    #[arg(default_value = "all")]
    group: String,
    /// Inventory: a file, a directory, or hosts with a comma (`web1,`); may be repeated
    #[arg(short, long, visible_alias = "inventory-file", value_name = "INVENTORY", env = "ANSIBLE_INVENTORY")]
    inventory: Vec<String>,
    /// Only these hosts, a pattern
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,
    /// Variables stronger than all others: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// All groups, and all hosts with their variables
    #[arg(long)]
    list: bool,
    /// The tree of groups
    #[arg(long)]
    graph: bool,
    /// The variables of one host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// As YAML instead of JSON
    #[arg(short, long)]
    yaml: bool,
    /// With --graph: variables too
    #[arg(long)]
    vars: bool,
    /// With --list: each variable where it was written, groups' at their groups
    #[arg(long)]
    export: bool,
    /// Write here instead of to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where `group_vars/` and `host_vars/` of a playbook would be
    #[arg(long, value_name = "DIRECTORY")]
    playbook_dir: Option<PathBuf>,
    /// Accepted for Ansible's sake: facts are kept for one run only
    #[arg(long)]
    flush_cache: bool,
    /// Accepted for Ansible's sake: all there is is printed
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    vault: VaultPassword,
}

/// What is shown of an inventory, and what is left out of it.
struct Shown<'s> {
    inventory: &'s Inventory,
    fleet: &'s Arc<Fleet>,
    hosts: Vec<String>,
    export: bool,
    vars: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    arguments.vault.read()?;
    let inventory = Inventory::load(&arguments.inventory)?;
    let merges = settings::value("ANSIBLE_HASH_BEHAVIOUR").is_some_and(|how| how.trim() == "merge");
    let fleet = Arc::new(Fleet::new(inventory.clone(), vars::extra(&arguments.extra_vars)?).merging(merges));
    let beside = arguments.playbook_dir.as_deref().unwrap_or(Path::new("."));
    let warnings = fleet.add_play_directory(beside)?;
    for warning in inventory.warnings.iter().chain(&warnings) {
        writeln!(anstream::stderr(), "[WARNING]: {warning}").map_err(Stop::Output)?;
    }
    let hosts = match &arguments.limit {
        Some(limit) => fleet.limit(limit)?,
        None => fleet.hosts(),
    };
    let (export, vars) = (arguments.export, arguments.vars);
    let shown = Shown { inventory: &inventory, fleet: &fleet, hosts, export, vars };
    let text = match &arguments.host {
        Some(host) => written(&shown.variables(host)?, arguments.yaml)?,
        None if arguments.graph => shown.graph(&arguments.group)?,
        None if arguments.yaml => written(&json!({ "all": shown.tree("all") }), true)?,
        None => written(&shown.list(), false)?,
    };
    match &arguments.output {
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Diagnostic::new(format!("cannot write `{}`: {error}", path.display())))?,
        None => anstream::stdout().write_all(text.as_bytes()).map_err(Stop::Output)?,
    }
    Ok(0)
}

impl Shown<'_> {
    /// Returns the variables of a host, as its tasks would find them.
    fn variables(&self, host: &str) -> Result<Value, Diagnostics> {
        if !self.fleet.has_host(host) {
            let error = Diagnostic::new(format!("`{host}` is no host of the inventory"));
            return Err(error.suggest(host, self.hosts.iter().map(String::as_str)).into());
        }
        Ok(object(&self.fleet.inventory_vars(host)))
    }

    fn host(&self, host: &str) -> Map<String, Value> {
        let layer = match self.export {
            true => self.fleet.written_of_host(host),
            false => self.fleet.inventory_vars(host),
        };
        match object(&layer) {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// Returns a group's hosts, of those that are shown.
    fn own(&self, group: &str) -> Vec<&String> {
        let group = self.inventory.groups.get(group);
        let hosts = group.into_iter().flat_map(|group| &group.hosts);
        let mut hosts: Vec<&String> = hosts.filter(|host| self.hosts.contains(host)).collect();
        let place = |host: &&String| self.inventory.hosts.get_index_of(host.as_str());
        hosts.sort_by_key(place);
        hosts
    }

    fn children(&self, group: &str) -> Vec<&String> {
        let group = self.inventory.groups.get(group);
        let mut children: Vec<&String> = group.into_iter().flat_map(|group| &group.children).collect();
        // The hosts without a group come first.
        children.sort_by_key(|name| *name != "ungrouped");
        children
    }

    fn group_vars(&self, group: &str) -> Option<Value> {
        let vars = self.fleet.written_of_group(group);
        (self.export && !vars.is_empty()).then(|| object(&vars))
    }

    /// Returns the form that inventory scripts have, and that `-i` reads.
    fn list(&self) -> Value {
        let mut list = Map::new();
        for name in self.inventory.groups.keys() {
            let mut group = Map::new();
            let (hosts, children) = (self.own(name), self.children(name));
            if !hosts.is_empty() && name != "all" {
                group.insert("hosts".into(), json!(hosts));
            }
            if !children.is_empty() {
                group.insert("children".into(), json!(children));
            }
            group.extend(self.group_vars(name).map(|vars| ("vars".to_string(), vars)));
            if !group.is_empty() {
                list.insert(name.clone(), group.into());
            }
        }
        let hosts = self.hosts.iter().map(|host| (host.clone(), Value::Object(self.host(host))));
        let hosts: Map<String, Value> =
            hosts.filter(|(_, vars)| vars.as_object().is_some_and(|vars| !vars.is_empty())).collect();
        list.insert("_meta".into(), json!({ "hostvars": hosts, "profile": "inventory_legacy" }));
        list.into()
    }

    /// Returns a group as a YAML inventory has it.
    fn tree(&self, name: &str) -> Value {
        let mut group = Map::new();
        let hosts: Map<String, Value> =
            self.own(name).iter().map(|host| ((*host).clone(), self.host(host).into())).collect();
        let children = self.children(name).into_iter().map(|child| (child.clone(), self.tree(child)));
        let children: Map<String, Value> =
            children.filter(|(_, child)| child.as_object().is_some_and(|child| !child.is_empty())).collect();
        for (part, found) in [("children", children), ("hosts", hosts)] {
            if !(found.is_empty() || name == "all" && part == "hosts") {
                group.insert(part.into(), found.into());
            }
        }
        group.extend(self.group_vars(name).map(|vars| ("vars".to_string(), vars)));
        group.into()
    }

    fn graph(&self, group: &str) -> Result<String, Diagnostic> {
        if !self.inventory.groups.contains_key(group) {
            let error = Diagnostic::new(format!("`{group}` is no group of the inventory"));
            return Err(error.suggest(group, self.inventory.groups.keys().map(String::as_str)));
        }
        let mut text = String::new();
        self.branch(group, 0, &mut text);
        Ok(text)
    }

    fn branch(&self, group: &str, depth: usize, text: &mut String) {
        line(text, depth, &format!("@{group}:"));
        for child in self.children(group) {
            self.branch(child, depth + 1, text);
        }
        if group != "all" {
            for host in self.own(group) {
                line(text, depth + 1, host);
                let vars = if self.vars { self.host(host) } else { Map::new() };
                lines(text, depth + 2, &vars);
            }
        }
        if let (true, Value::Object(vars)) = (self.vars, object(&self.fleet.written_of_group(group))) {
            lines(text, depth + 1, &vars);
        }
    }
}

fn line(text: &mut String, depth: usize, what: &str) {
    let indent = if depth == 0 { String::new() } else { format!("  {}|--", "|  ".repeat(depth - 1)) };
    text.push_str(&format!("{indent}{what}\n"));
}

fn lines(text: &mut String, depth: usize, vars: &Map<String, Value>) {
    let mut vars: Vec<(&String, &Value)> = vars.iter().collect();
    vars.sort_by_key(|(name, _)| *name);
    for (name, value) in vars {
        line(text, depth, &format!("{{{name} = {}}}", crate::template::text(value)));
    }
}

/// Returns a layer's variables as written.
fn object(layer: &Layer) -> Value {
    let value = |var: &Var| match var {
        Var::Written(yaml) => as_written(yaml),
        Var::Known(value) => value.clone(),
        Var::Unknown(what) => json!(format!("({what})")),
    };
    Value::Object(layer.iter().map(|(name, var)| (name.clone(), value(var))).collect())
}

/// Returns a node's value; a `!vault` text is marked as Ansible marks it in JSON.
fn as_written(yaml: &Yaml) -> Value {
    match (yaml.tag.as_deref(), yaml.as_list(), yaml.as_map()) {
        (Some("!vault" | "!vault-encrypted"), ..) => json!({ "__ansible_vault": yaml.to_value() }),
        (_, Some(list), _) => list.iter().map(as_written).collect(),
        (_, _, Some(map)) => Value::Object(map.iter().map(|(key, value)| (key.key(), as_written(value))).collect()),
        _ => yaml.to_value(),
    }
}

/// Writes a value with its keys sorted.
fn written(value: &Value, yaml: bool) -> Result<String, Diagnostic> {
    let wrong = |error: &dyn std::fmt::Display| Diagnostic::new(format!("the inventory cannot be written: {error}"));
    let value = sorted(value);
    if yaml {
        return serde_yaml::to_string(&value).map_err(|error| wrong(&error));
    }
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, form)).map_err(|error| wrong(&error))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| wrong(&error))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            Value::Object(entries.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        other => other.clone(),
    }
}
