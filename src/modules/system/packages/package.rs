//! `package`: packages with whatever manages them on a host.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};

use super::apt::{Apt, Wanted};

pub const PACKAGE: Entry = Entry {
    name: "package",
    summary: "Installs, upgrades and removes packages with the host's own manager, which has to be apt",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd is there
  package:
    name: xinetd
    state: present
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::List, "Packages, as `apt` takes them.").required(),
    Argument::new("state", Kind::Text, "`latest` upgrades what is there.")
        .required()
        .choices(&["present", "absent", "latest"]),
    Argument::new("use", Kind::Text, "What manages them. A host with none of these is refused by what it has.")
        .choices(&["auto", "apt"]),
];

#[derive(Deserialize)]
struct Fields {
    name: Vec<String>,
    state: Wanted,
}

struct Package(Apt);

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    Ok(Box::new(Package(Apt::of(fields.name, fields.state)?)))
}

#[async_trait]
impl Module for Package {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        self.0.plan(host).await
    }
}
