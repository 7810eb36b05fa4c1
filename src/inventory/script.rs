//! An inventory that is a program: run with `--list`, and with `--host NAME` where it does not tell of hosts at once.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Diagnostic, Diagnostics, Place, Source};
use crate::vars::layer_of;
use crate::yaml::Yaml;

use super::{Inventory, groups};

/// Says whether a file of an inventory is run rather than read: it begins as a script does, or is a binary that may be
/// run.
pub(super) fn is_script(path: &Path) -> bool {
    let start = std::fs::read(path).unwrap_or_default();
    start.starts_with(b"#!") || (is_executable(path) && std::str::from_utf8(&start).is_err())
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// Runs the program at `path` and adds what it tells to the inventory.
pub(super) fn read(inventory: &mut Inventory, path: &Path, errors: &mut Diagnostics) {
    let source = Arc::new(Source { path: path.into(), text: "".into() });
    let script = Script { path, place: Place::new(&source, 1, 1) };
    if !is_executable(path) {
        let error = script.wrong("is a program and may not be run");
        return errors.push(error.hint(format!("`chmod +x {}`", path.display())));
    }
    let added = script.add(inventory);
    errors.catch(added);
}

struct Script<'p> {
    path: &'p Path,
    place: Place,
}

impl Script<'_> {
    fn wrong(&self, what: &str) -> Diagnostic {
        Diagnostic::new(format!("inventory `{}` {what}", self.path.display()))
    }

    fn add(&self, inventory: &mut Inventory) -> Result<(), Diagnostic> {
        let told = self.run(&["--list"])?;
        let told_hosts = match told.get("_meta") {
            None => None,
            Some(meta) => Some(self.mapping(meta.get("hostvars").unwrap_or(&Value::Null), "`_meta.hostvars`")?),
        };
        let mut hosts = indexmap::IndexSet::new();
        for (name, group) in told.iter().filter(|(name, _)| *name != "_meta") {
            hosts.extend(self.group(inventory, name, group)?);
        }
        for name in hosts {
            let asked;
            let vars = match told_hosts {
                Some(told) => match told.get(&name) {
                    Some(vars) => self.mapping(vars, &format!("what is told of host `{name}`"))?,
                    None => continue,
                },
                None => {
                    asked = self.run(&["--host", &name])?;
                    &asked
                }
            };
            let vars = layer_of(&Yaml::written(&Value::Object(vars.clone()), &self.place));
            inventory.hosts.entry(name).or_default().vars.extend(vars);
        }
        Ok(())
    }

    /// Adds a group: a list of hosts, or `hosts`, `vars` and `children`; any other mapping is one host's variables.
    fn group(&self, inventory: &mut Inventory, name: &str, group: &Value) -> Result<Vec<String>, Diagnostic> {
        inventory.add_group(name);
        let whole = Map::from_iter([("hosts".to_string(), group.clone())]);
        let sole;
        let group = match group {
            Value::Object(group) if ["hosts", "vars", "children"].iter().any(|key| group.contains_key(*key)) => group,
            Value::Object(vars) => {
                sole = Map::from_iter([
                    ("hosts".to_string(), Value::from(vec![name])),
                    ("vars".to_string(), Value::Object(vars.clone())),
                ]);
                &sole
            }
            _ => &whole,
        };
        let names = |key: &str| {
            let Some(list) = group.get(key) else { return Ok(Vec::new()) };
            let texts =
                list.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_string)).collect());
            texts
                .and_then(|names: Option<Vec<String>>| names)
                .ok_or_else(|| self.wrong(&format!("has as `{key}` of group `{name}` no list of names, but {list}")))
        };
        let hosts = names("hosts")?;
        let source = std::path::absolute(self.path).ok();
        for host in &hosts {
            let (known, new) = inventory.add_host(host, name);
            if new {
                known.source = source.clone();
            }
        }
        if let Some(vars) = group.get("vars") {
            let vars = self.mapping(vars, &format!("`vars` of group `{name}`"))?;
            let vars = layer_of(&Yaml::written(&Value::Object(vars.clone()), &self.place));
            groups::set_group_vars(inventory, name, vars)?;
        }
        for child in names("children")? {
            inventory.add_child(name, &child)?;
        }
        Ok(hosts)
    }

    fn mapping<'v>(&self, value: &'v Value, title: &str) -> Result<&'v Map<String, Value>, Diagnostic> {
        value.as_object().ok_or_else(|| self.wrong(&format!("tells as {title} no mapping, but {value}")))
    }

    fn run(&self, arguments: &[&str]) -> Result<Map<String, Value>, Diagnostic> {
        let program = std::path::absolute(self.path).unwrap_or_else(|_| self.path.into());
        // The user's own program on the controller is what this kind of inventory is.
        #[allow(clippy::disallowed_methods)]
        let output = std::process::Command::new(&program).args(arguments).output();
        let with = arguments.join(" ");
        let output = output.map_err(|error| self.wrong(&format!("cannot be run with `{with}`: {error}")))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        let hint = |error: Diagnostic| if said.is_empty() { error } else { error.hint(format!("it said: {said}")) };
        if !output.status.success() {
            return Err(hint(self.wrong(&format!("run with `{with}` failed ({})", output.status))));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() && arguments[0] == "--host" {
            return Ok(Map::new());
        }
        serde_json::from_str(&text)
            .map_err(|error| hint(self.wrong(&format!("run with `{with}` did not print a JSON object: {error}"))))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::vars::Var;

    use super::*;

    fn load(text: &str, mode: u32) -> Result<Inventory, String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hosts.sh");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Inventory::load(&[path.display().to_string()]).map_err(|errors| errors.to_string())
    }

    fn value(inventory: &Inventory, host: &str, name: &str) -> Value {
        match &inventory.hosts[host].vars[name] {
            Var::Written(node) => node.to_value(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_tells_of_groups_and_of_all_hosts_at_once() {
        let script = r#"#!/bin/sh
test "$1" = --list || exit 9
echo '{"mail": {"hosts": ["mx1", "mx2"], "vars": {"port": 25}, "children": ["old"]}, "old": ["mx3"],
  "lone": {"colour": "red"}, "_meta": {"hostvars": {"mx1": {"x": "{{ port }}", "emoji": "\ud83d\ude00"}}}}'
"#;
        let inventory = load(script, 0o755).unwrap();
        assert_eq!(inventory.members("mail").into_iter().collect::<Vec<_>>(), ["mx1", "mx2", "mx3"]);
        assert_eq!(inventory.members("lone").into_iter().collect::<Vec<_>>(), ["lone"]);
        assert_eq!(value(&inventory, "mx1", "x"), "{{ port }}");
        assert_eq!(value(&inventory, "mx1", "emoji"), "\u{1f600}");
        assert!(inventory.groups["mail"].vars.contains_key("port"));
    }

    #[test]
    fn a_program_without_meta_is_asked_for_each_host() {
        let script = "#!/bin/sh\nif [ \"$1\" = --list ]; then echo '{\"g\": [\"a\", \"b\"]}'; elif [ \"$2\" = a ]; then echo '{\"n\": 1}'; fi\n";
        let inventory = load(script, 0o755).unwrap();
        assert_eq!(value(&inventory, "a", "n"), 1);
        assert!(inventory.hosts["b"].vars.is_empty());
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let error = load("#!/bin/sh\necho no cloud >&2; exit 3\n", 0o755).unwrap_err();
        assert!(
            error.contains("run with `--list` failed (exit status: 3)") && error.contains("it said: no cloud"),
            "{error}"
        );
        let error = load("#!/bin/sh\necho nonsense\n", 0o755).unwrap_err();
        assert!(error.contains("did not print a JSON object"), "{error}");
        let error = load("#!/bin/sh\necho '{\"g\": {\"hosts\": 5}}'\n", 0o755).unwrap_err();
        assert!(error.contains("has as `hosts` of group `g` no list of names, but 5"), "{error}");
        let error = load("#!/bin/sh\n", 0o644).unwrap_err();
        assert!(error.contains("is a program and may not be run") && error.contains("chmod +x"), "{error}");
    }
}
