//! `package`: packages with whatever manages them on a host.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};

use super::apt::{self, Apt};

pub const PACKAGE: Entry = Entry {
    name: "package",
    summary: "Installs, upgrades and removes packages with the host's own manager, which has to be apt",
    arguments: &[ARGUMENTS, apt::ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd is there
  package:
    name: xinetd
    state: present
",
    build,
};

/// Beside those of the manager itself, which `package` hands on.
const ARGUMENTS: &[Argument] = &[Argument::new(
    "use",
    Kind::Text,
    "What manages them: `auto` or `apt`; where the task does not say, the variable `ansible_package_use` does. A host without is refused by what it has. All else is handed on to it.",
)];

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "use")]
    manager: Option<String>,
}

struct Package {
    apt: Apt,
    /// The manager that is asked for by name.
    manager: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let manager = fields
        .manager
        .map(|name| name.trim_start_matches("ansible.builtin.").trim_start_matches("ansible.legacy.").to_string());
    Ok(Box::new(Package { apt: Apt::read(arguments)?, manager: manager.unwrap_or("auto".into()) }))
}

#[async_trait]
impl Module for Package {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        match self.manager.as_str() {
            "auto" | "apt" => self.apt.plan(host).await,
            other => {
                let message = format!("Could not find a matching action for the \"{other}\" package manager.");
                Err(ModuleError::failed(format!("{message}\nhint: `use: apt` is the one there is")))
            }
        }
    }
}
