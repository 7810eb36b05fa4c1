//! `package_facts`: which packages a host has, at which versions.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};

use crate::transport::Command;

use super::database::Database;

pub const PACKAGE_FACTS: Entry = Entry {
    name: "package_facts",
    summary: "Tells a host's packages as the variable `ansible_facts.packages`",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the packages are known
  package_facts:
    manager: auto
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "manager",
        Kind::List,
        "Whose packages: `auto`, `apt`, `rpm` (also `dnf`, `dnf5`, `yum`, `zypper`), `apk`, `pkg` (also `pkgng`, `pkg5`). A host \
         without is refused by what it has.",
    ),
    Argument::new(
        "strategy",
        Kind::Text,
        "Whether those of the `first` manager that has some are told, or of `all`. The default is `first`.",
    )
    .choices(&["first", "all"]),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    manager: Vec<String>,
    strategy: Option<String>,
}

/// The managers to ask, in order.
struct Facts {
    managers: Vec<&'static str>,
    all: bool,
}

/// The managers by their names, in the order in which they are looked for.
const MANAGERS: [(&str, &str); 10] = [
    ("apt", "apt"),
    ("apk", "apk"),
    ("pkg", "pkg"),
    ("rpm", "rpm"),
    ("dnf", "rpm"),
    ("dnf5", "rpm"),
    ("yum", "rpm"),
    ("zypper", "rpm"),
    ("pkgng", "pkg"),
    ("pkg5", "pkg"),
];

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let Fields { manager, strategy } = arguments.read()?;
    let mut managers = Vec::new();
    let asked = if manager.is_empty() { vec!["auto".to_string()] } else { manager };
    for name in &asked {
        let found = MANAGERS.iter().find(|(known, _)| known == &name.to_lowercase());
        match found {
            _ if name == "auto" => managers.extend(MANAGERS.map(|(_, manager)| manager)),
            Some((_, manager)) => managers.push(*manager),
            None => {
                let error = Diagnostic::new(format!("packages of {name} are not read"));
                let msg = format!("Unsupported package managers requested: {name}");
                return Err(error.hint("one of: auto, apt, rpm, apk, pkg").msg(msg));
            }
        }
    }
    let mut seen = BTreeSet::new();
    managers.retain(|manager| seen.insert(*manager));
    Ok(Box::new(Facts { managers, all: strategy.as_deref() == Some("all") }))
}

/// What lists the packages of each manager, a line each.
const LISTS: [(&str, &str); 3] = [
    ("rpm", r"rpm -qa --queryformat '%{NAME}\t%{VERSION}\t%{RELEASE}\t%{EPOCH}\t%{ARCH}\n'"),
    ("apk", "apk info -v"),
    ("pkg", r"pkg query '%n\t%v\t%R\t%t\t%a\t%q\t%o\t%p\t%V'"),
];

#[async_trait]
impl Module for Facts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let (mut listed, mut without, mut is_there) = (None, None, false);
        for manager in &self.managers {
            let packages = match *manager {
                "apt" => match Database::look(host).await? {
                    Ok(database) => {
                        is_there = true;
                        packages(&database)
                    }
                    Err(others) => {
                        without = Some(others.error(host));
                        BTreeMap::new()
                    }
                },
                manager => {
                    if listed.is_none() {
                        listed = Some(self.listed(host).await?);
                    }
                    let packages =
                        read(manager, listed.iter().find_map(|all| all.get(manager)).map_or("", String::as_str));
                    if !packages.is_empty() && !host.planned_accounts("package").is_empty() {
                        return Err(ModuleError::Unknown("the packages as they are by then".into()));
                    }
                    packages
                }
            };
            for (name, packages) in packages {
                found.entry(name).or_default().extend(packages);
            }
            if !self.all && !found.is_empty() {
                break;
            }
        }
        if found.is_empty() && !is_there {
            let names = self.managers.join(", ");
            let message = format!("Could not detect a supported package manager from the following list: {names}");
            return Err(without.unwrap_or_else(|| ModuleError::failed(message)));
        }
        let mut result = Results::new();
        result.insert("ansible_facts".into(), json!({ "packages": found }));
        Ok(Planned::new(Vec::new(), result))
    }
}

impl Facts {
    /// Lists what the managers beside apt have, in one exchange.
    async fn listed(&self, host: &View) -> Result<BTreeMap<String, String>, ModuleError> {
        let asked = LISTS.iter().filter(|(manager, _)| self.managers.contains(manager));
        let mut script = String::from("export LC_ALL=C PATH=\"$PATH:/sbin:/usr/sbin:/usr/local/sbin\"\n");
        for (manager, list) in asked {
            script += &format!(
                "if command -v {manager} >/dev/null; then printf '\\036{manager}\\n'; {list} 2>/dev/null; fi\n"
            );
        }
        let text = host.probe(&Command::shell(script + ":")).await?.text();
        let sections = text.split('\u{1e}').filter_map(|section| section.split_once('\n'));
        Ok(sections.map(|(manager, lines)| (manager.to_string(), lines.to_string())).collect())
    }
}

/// Reads the lines of a manager, as Ansible tells them.
fn read(manager: &str, lines: &str) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let package = match (manager, &fields[..]) {
            ("rpm", ["gpg-pubkey", ..]) => continue,
            ("rpm", [name, version, release, epoch, arch]) => {
                let epoch: Value = epoch.parse::<u64>().map_or(Value::Null, Value::from);
                json!({"name": name, "version": version, "release": release, "epoch": epoch, "arch": arch})
            }
            ("apk", [whole]) => {
                let mut parts = whole.rsplitn(3, '-');
                let (Some(release), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
                    continue;
                };
                json!({"name": name, "version": version, "release": release})
            }
            ("pkg", [name, version, origin, installed, automatic, arch, category, prefix, vital]) => {
                let (version, epoch) =
                    version.split_once(',').map_or((*version, json!(0)), |(version, epoch)| (version, json!(epoch)));
                let (version, revision) = version.split_once('_').unwrap_or((version, "0"));
                let arch = arch.split(':').nth(2).unwrap_or(arch);
                let category = category.split('/').next().unwrap_or(category);
                json!({
                    "name": name, "version": version, "port_epoch": epoch, "revision": revision, "origin": origin,
                    "installed": installed, "automatic": *automatic == "1", "arch": arch, "category": category, "prefix": prefix,
                    "vital": *vital == "1",
                })
            }
            _ => continue,
        };
        let mut package = package;
        package["source"] = manager.into();
        let name = package["name"].as_str().unwrap_or_default().to_string();
        found.entry(name).or_default().push(package);
    }
    found
}

/// Returns what is installed, by name: a list, for one name may be there for several architectures.
fn packages(database: &Database) -> BTreeMap<String, Vec<Value>> {
    let names: BTreeSet<&String> = database.packages.keys().chain(database.planned.keys()).collect();
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for name in names {
        let state = database.state(name);
        let Some(version) = state.version() else { continue };
        let (bare, foreign) = name.split_once(':').unwrap_or((name, &database.architecture));
        let real = database.packages.get(name);
        found.entry(bare.into()).or_default().push(json!({
            "name": bare,
            "version": version,
            "arch": real.map_or(foreign, |package| &package.architecture),
            "category": real.map_or("", |package| &package.section),
            "source": "apt",
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_other_managers_are_told_as_ansible_tells_them() {
        let rpm = read(
            "rpm",
            "bind\t9.16\t1.el9\t32\tx86_64\ngpg-pubkey\t1\t2\t(none)\t(none)\nbash\t5.1\t1\t(none)\tx86_64\n",
        );
        assert_eq!(rpm["bind"][0]["epoch"], 32);
        assert_eq!((&rpm["bash"][0]["epoch"], &rpm["bash"][0]["source"], rpm.len()), (&Value::Null, &json!("rpm"), 2));
        let apk = read("apk", "alpine-baselayout-data-3.6.5-r0\n");
        let expected = json!({"name": "alpine-baselayout-data", "version": "3.6.5", "release": "r0", "source": "apk"});
        assert_eq!(apk["alpine-baselayout-data"], [expected]);
        let pkg = read("pkg", "curl\t8.1_2,1\tFreeBSD\t1700000000\t0\tFreeBSD:14:amd64\tftp/curl\t/usr/local\t0\n");
        let curl = &pkg["curl"][0];
        assert_eq!(
            (&curl["version"], &curl["port_epoch"], &curl["revision"]),
            (&json!("8.1"), &json!("1"), &json!("2"))
        );
        assert_eq!(
            (&curl["arch"], &curl["category"], &curl["automatic"]),
            (&json!("amd64"), &json!("ftp"), &json!(false))
        );
    }
}
