//! `package_facts`: which packages a host has, at which versions.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};

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
    Argument::new("manager", Kind::List, "`auto` or `apt`. A host without apt is refused by what it has."),
    Argument::new("strategy", Kind::Text, "There is one manager to ask.").choices(&["first", "all"]),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    manager: Vec<String>,
}

struct Facts;

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let usable = |name: &String| name == "auto" || name == "apt";
    match fields.manager.is_empty() || fields.manager.iter().any(usable) {
        true => Ok(Box::new(Facts)),
        false => {
            let message = format!("packages of {} are not read", fields.manager.join(", "));
            Err(Diagnostic::new(message).hint("`manager: apt`, or `command: rpm -qa` with `register`"))
        }
    }
}

#[async_trait]
impl Module for Facts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let database = Database::of(host).await?;
        let mut result = Results::new();
        result.insert("ansible_facts".into(), json!({ "packages": packages(&database) }));
        Ok(Planned::new(Vec::new(), result))
    }
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
