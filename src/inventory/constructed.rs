//! `plugin: constructed`: variables and groups that are made of what is known of each host.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Diagnostic, Diagnostics};
use crate::settings;
use crate::template::{Failure, Templates, text};
use crate::vars::{Layer, Scope, Var, VarsDirectory};
use crate::yaml::{Data, Yaml};

use super::Inventory;

const OPTIONS: [&str; 8] = [
    "plugin",
    "strict",
    "compose",
    "groups",
    "keyed_groups",
    "leading_separator",
    "use_vars_plugins",
    "use_extra_vars",
];

/// The options of an entry of `keyed_groups`.
const KEYED: [&str; 6] = ["key", "prefix", "separator", "parent_group", "default_value", "trailing_separator"];

/// Says whether the name of a plugin means this one.
pub(super) fn is_meant(name: &str) -> bool {
    matches!(name, "constructed" | "ansible.builtin.constructed")
}

/// Adds what `root`, a file in `directory`, makes of the hosts that are known by now.
pub(super) fn read(inventory: &mut Inventory, (root, directory): (&Yaml, Option<&Path>), errors: &mut Diagnostics) {
    inventory.settle();
    let plugin = Constructed { root, templates: Templates::new() };
    let added = plugin.check().and_then(|()| plugin.add(inventory, directory));
    errors.extend(added.err().unwrap_or_default());
}

struct Constructed<'r> {
    root: &'r Yaml,
    templates: Templates,
}

impl Constructed<'_> {
    fn check(&self) -> Result<(), Diagnostics> {
        let mut errors = Diagnostics::default();
        check_names(self.root, "the plugin `constructed`", (&OPTIONS, &mut errors));
        for name in ["compose", "groups"] {
            if let Some(wrong) = self.option(name).filter(|node| node.as_map().is_none()) {
                errors.push(Diagnostic::new(format!("`{name}` is a mapping, not {}", wrong.kind())).at(&wrong.place));
            }
        }
        for entry in self.keyed() {
            check_names(entry, "an entry of `keyed_groups`", (&KEYED, &mut errors));
            if entry.get("default_value").is_some() && entry.get("trailing_separator").is_some() {
                let message = "parameters are mutually exclusive for keyed groups: default_value|trailing_separator";
                errors.push(Diagnostic::new(message).at(&entry.place));
            }
            if entry.get("key").is_none() {
                errors.push(Diagnostic::new("an entry of `keyed_groups` needs a `key`").at(&entry.place));
            }
        }
        if let Some(wrong) = self.option("keyed_groups").filter(|node| node.as_list().is_none()) {
            errors.push(Diagnostic::new(format!("`keyed_groups` is a list, not {}", wrong.kind())).at(&wrong.place));
        }
        errors.or(())
    }

    fn option(&self, name: &str) -> Option<&Yaml> {
        self.root.get(name).filter(|node| !node.is_null())
    }

    fn keyed(&self) -> &[Yaml] {
        self.option("keyed_groups").and_then(Yaml::as_list).unwrap_or(&[])
    }

    fn pairs(&self, name: &str) -> &[(Yaml, Yaml)] {
        self.option(name).and_then(Yaml::as_map).unwrap_or(&[])
    }

    fn is_on(&self, name: &str) -> bool {
        self.option(name).is_some_and(|node| settings::is_true(&node.key()))
    }

    /// Returns a value unless it cannot be had, which is an error only with `strict`.
    fn had<T>(&self, value: Result<T, Failure>, what: impl FnOnce() -> String) -> Result<Option<T>, Diagnostic> {
        match value {
            Ok(value) => Ok(Some(value)),
            Err(_) if !self.is_on("strict") => Ok(None),
            Err(Failure::Wrong(error)) => {
                Err(Diagnostic { message: format!("{}: {}", what(), error.message), ..error })
            }
            Err(Failure::Unknown(needs)) => Err(Diagnostic::new(format!("{}: {needs} is not known", what()))),
        }
    }

    fn add(&self, inventory: &mut Inventory, directory: Option<&Path>) -> Result<(), Diagnostics> {
        let mut directories = inventory.directories.clone();
        if let Some(directory) = directory.filter(|path| directories.iter().all(|known| known.path != *path)) {
            directories.push(VarsDirectory::open(directory)?);
        }
        match self.is_on("use_vars_plugins") {
            true => directories.iter_mut().try_for_each(|directory| inventory.load_vars(directory))?,
            false => directories.clear(),
        }
        let mut errors = Diagnostics::default();
        let names: Vec<String> = inventory.hosts.keys().cloned().collect();
        for host in names {
            let added = self.add_host(inventory, &host, layers(inventory, &host, &directories));
            errors.catch(added);
        }
        errors.or(())
    }

    /// Adds the variables and groups of one host, of which `layers` are known, the strongest first.
    fn add_host(&self, inventory: &mut Inventory, host: &str, mut layers: Vec<Arc<Layer>>) -> Result<(), Diagnostic> {
        let scope = Scope::new(layers.clone());
        let mut composed = Layer::new();
        for (name, expression) in self.pairs("compose") {
            let value = self.had(self.value(expression, &scope), || format!("`{}` of host `{host}`", name.key()))?;
            composed.extend(value.map(|value| (name.key(), Var::Known(value))));
        }
        inventory.hosts.entry(host.into()).or_default().vars.extend(composed.clone());
        layers.insert(0, Arc::new(composed));
        let scope = Scope::new(layers);
        for (name, condition) in self.pairs("groups") {
            let what = || format!("whether host `{host}` is in group `{}`", name.key());
            let expression = Yaml::text_at(format!("({}) | bool", condition.key()), &condition.place);
            if self.had(self.value(&expression, &scope), what)? == Some(Value::Bool(true)) {
                inventory.add_host(host, &group_name(&name.key()));
            }
        }
        self.keyed().iter().try_for_each(|entry| self.add_keyed(inventory, (host, &scope), entry))
    }

    fn add_keyed(
        &self,
        inventory: &mut Inventory,
        (host, scope): (&str, &Scope),
        entry: &Yaml,
    ) -> Result<(), Diagnostic> {
        let option = |name: &str| entry.get(name).filter(|node| !node.is_null());
        let Some(key) = option("key") else { return Ok(()) };
        let what = || format!("the group of host `{host}` by `{}`", key.key());
        let Some(value) = self.had(self.value(key, scope), what)? else { return Ok(()) };
        let separator = option("separator").map_or("_".into(), Yaml::key);
        let parts = Parts {
            separator: &separator,
            default: option("default_value").map(Yaml::key),
            trailing: option("trailing_separator").is_none_or(|node| settings::is_true(&node.key())),
        };
        let names = match parts.names(&value) {
            Ok(names) => names,
            Err(why) if self.is_on("strict") => {
                return Err(Diagnostic::new(format!("{}: {why}", what())).at(&key.place));
            }
            Err(_) => return Ok(()),
        };
        let prefix = match option("prefix") {
            Some(prefix) => self.had(self.templates.render(prefix, scope), what)?.map(|prefix| text(&prefix)),
            None => None,
        };
        let prefix = prefix.unwrap_or_default();
        let bare =
            prefix.is_empty() && self.option("leading_separator").is_some_and(|node| !settings::is_true(&node.key()));
        let lead = if bare { "" } else { &separator };
        for name in names {
            let group = group_name(&format!("{prefix}{lead}{name}"));
            inventory.add_host(host, &group);
            if let Some(parent) = option("parent_group") {
                let parent = self.had(self.templates.render(parent, scope), what)?;
                if let Some(parent) = parent {
                    inventory
                        .add_child(&group_name(&text(&parent)), &group)
                        .map_err(|error| error.or_at(&key.place))?;
                }
            }
        }
        Ok(())
    }

    /// Evaluates an expression, which has no braces around it.
    fn value(&self, expression: &Yaml, scope: &Scope) -> Result<Value, Failure> {
        let node = match &*expression.data {
            Data::Text(text) => Yaml { data: Data::Text(format!("{{{{ {text} }}}}")).into(), ..expression.clone() },
            _ => expression.clone(),
        };
        self.templates.render(&node, scope)
    }
}

/// How the names of keyed groups are put together.
struct Parts<'p> {
    separator: &'p str,
    /// What stands for an empty value.
    default: Option<String>,
    /// A name without a value still has the separator.
    trailing: bool,
}

impl Parts<'_> {
    fn names(&self, value: &Value) -> Result<Vec<String>, String> {
        let or_default = |name: String| if name.is_empty() { self.default.clone() } else { Some(name) };
        let named = |name: &str, value: &Value| match (text(value).as_str(), &self.default) {
            ("", Some(default)) => format!("{name}{}{default}", self.separator),
            ("", None) if !self.trailing => name.to_string(),
            (value, _) => format!("{name}{}{value}", self.separator),
        };
        let names: Vec<String> = match value {
            Value::String(name) => or_default(name.clone()).into_iter().collect(),
            Value::Array(names) => names.iter().filter_map(|name| or_default(text(name))).collect(),
            Value::Object(pairs) => pairs.iter().map(|(name, value)| named(name, value)).collect(),
            Value::Null | Value::Bool(false) => Vec::new(),
            other => return Err(format!("a group's name is text, a list or a mapping, not {other}")),
        };
        match (names.is_empty(), value) {
            (true, Value::String(_) | Value::Null | Value::Bool(_)) => Err("it is empty".into()),
            _ => Ok(names),
        }
    }
}

fn check_names(node: &Yaml, title: &str, (known, errors): (&[&str], &mut Diagnostics)) {
    let Some(map) = node.as_map() else {
        let message = format!("{title} is a mapping, not {}", node.kind());
        return errors.push(Diagnostic::new(message).at(&node.place));
    };
    for (name, _) in map.iter().filter(|(name, _)| !known.contains(&name.key().as_str())) {
        let error = Diagnostic::new(format!("{title} has no option `{}`", name.key())).at(&name.place);
        errors.push(error.suggest(&name.key(), known.iter().copied()));
    }
}

/// Returns what is known of a host so far, the strongest first.
fn layers(inventory: &Inventory, host: &str, directories: &[VarsDirectory]) -> Vec<Arc<Layer>> {
    let groups = inventory.groups_of(host);
    let mut layers: Vec<Arc<Layer>> = directories.iter().rev().filter_map(|found| found.host(host).cloned()).collect();
    layers.extend(inventory.hosts.get(host).map(|host| Arc::new(host.vars.clone())));
    for directory in directories.iter().rev() {
        layers.extend(groups.iter().rev().filter_map(|group| directory.group(group).cloned()));
    }
    let written = groups.iter().rev().filter_map(|group| inventory.groups.get(*group));
    layers.extend(written.map(|group| Arc::new(group.vars.clone())));
    let mut own: Vec<&str> = groups.into_iter().filter(|group| *group != "all").collect();
    own.sort();
    let short = host.split('.').next().unwrap_or(host);
    let magic = [
        ("inventory_hostname", Value::from(host)),
        ("inventory_hostname_short", short.into()),
        ("group_names", own.into()),
    ];
    layers.insert(0, Arc::new(magic.map(|(name, value)| (name.to_string(), Var::Known(value))).into_iter().collect()));
    layers
}

/// Returns a name of a group in which everything but letters, digits and `_` is `_`; the first is no digit.
fn group_name(name: &str) -> String {
    let safe = |letter: char| if letter.is_alphanumeric() || letter == '_' { letter } else { '_' };
    let name: String = name.chars().map(safe).collect();
    match name.strip_prefix(|first: char| first.is_ascii_digit()) {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str =
        "[mail]\nmx1 kind=old size=10 tags='[\"a\", \"b\"]'\nmx2 kind= size=20\n[mail:vars]\nsite=berlin\n";

    fn load(plugin: &str) -> Result<Inventory, String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("group_vars")).unwrap();
        let files = [("10-hosts", HOSTS), ("20-made.yml", plugin), ("group_vars/mail.yml", "from_file: yes\n")];
        files.iter().for_each(|(name, text)| std::fs::write(root.path().join(name), text).unwrap());
        Inventory::load(&[root.path().display().to_string()])
            .map_err(|errors| errors.to_string().replace(&format!("{}/", root.path().display()), ""))
    }

    fn members<'i>(inventory: &'i Inventory, group: &'i str) -> Vec<&'i str> {
        inventory.members(group).into_iter().collect()
    }

    #[test]
    fn variables_and_groups_are_made_of_what_is_known() {
        let plugin = "plugin: constructed\ncompose:\n  double: size * 2\n  gone: nowhere + 1\ngroups:\n  big: double > 25\n  filed: from_file is defined\n\
                      keyed_groups:\n  - {key: kind, prefix: is, default_value: new}\n  - {key: tags, separator: '-'}\n  - {key: \"{'site': site}\", parent_group: sites, prefix: at}\n";
        let inventory = load(plugin).unwrap();
        let Var::Known(double) = &inventory.hosts["mx1"].vars["double"] else { panic!() };
        assert_eq!((double, inventory.hosts["mx1"].vars.contains_key("gone")), (&Value::from(20), false));
        assert_eq!((members(&inventory, "big"), members(&inventory, "filed")), (vec!["mx2"], vec![]));
        assert_eq!((members(&inventory, "is_old"), members(&inventory, "is_new")), (vec!["mx1"], vec!["mx2"]));
        assert_eq!((members(&inventory, "_a"), members(&inventory, "_b")), (vec!["mx1"], vec!["mx1"]));
        assert_eq!(members(&inventory, "sites"), ["mx1", "mx2"]);
        assert!(inventory.groups["sites"].children.contains("at_site_berlin"));
    }

    #[test]
    fn files_of_variables_are_known_where_that_is_asked_for() {
        let inventory = load("plugin: ansible.builtin.constructed\nuse_vars_plugins: yes\nleading_separator: no\ngroups: {filed: from_file}\nkeyed_groups: [{key: site}]\n").unwrap();
        assert_eq!(
            (members(&inventory, "filed"), members(&inventory, "berlin")),
            (vec!["mx1", "mx2"], vec!["mx1", "mx2"])
        );
    }

    #[test]
    fn what_is_wrong_is_told_and_with_strict_what_cannot_be_made_too() {
        let error = load("plugin: constructed\nstrict: yes\ncompose:\n  x: nowhere + 1\n").unwrap_err();
        assert!(error.contains("`x` of host `mx1`: tried to use"), "{error}");
        let error = load("plugin: constructed\ngroup: {}\nkeyed_groups: [{prefix: a}]\n").unwrap_err();
        assert!(
            error.contains("the plugin `constructed` has no option `group`")
                && error.contains("did you mean `groups`?"),
            "{error}"
        );
        assert!(error.contains("an entry of `keyed_groups` needs a `key`"), "{error}");
    }
}
