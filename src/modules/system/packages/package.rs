//! `package`: packages with whatever manages them on a host.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};

use super::apk::{self, Apk};
use super::apt::{self, Apt};
use super::database::Database;
use super::pkgng::{self, Pkg};
use super::rpm::{self, Dnf};

pub const PACKAGE: Entry = Entry {
    name: "package",
    summary: "Installs, upgrades and removes packages with the host's own manager: apt, dnf or yum, apk, or FreeBSD's pkg",
    arguments: &[ARGUMENTS, apt::ARGUMENTS, rpm::OWN, apk::OWN, pkgng::OWN],
    free_form: None,
    example: "\
- name: xinetd is there
  package:
    name: xinetd
    state: present
",
    build,
};

/// Beside those of the managers themselves, which `package` hands on.
const ARGUMENTS: &[Argument] = &[Argument::new(
    "use",
    Kind::Text,
    "What manages them: `auto`, `apt`, `dnf`, `dnf5`, `yum`, `apk` or `pkgng`; where the task does not say, the variable \
     `ansible_package_use` does. A host without is refused by what it has. All else is handed on to it.",
)];

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "use")]
    manager: Option<String>,
}

/// What each manager would be asked for. Which of them it is, the host says.
struct Package {
    apt: Result<Apt, Diagnostic>,
    dnf: Result<Dnf, Diagnostic>,
    apk: Result<Apk, Diagnostic>,
    pkg: Result<Pkg, Diagnostic>,
    /// The manager that is asked for by name.
    manager: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let manager = fields.manager.map_or("auto".into(), |name| {
        let short =
            ["ansible.builtin.", "ansible.legacy.", "community.general."].iter().find_map(|all| name.strip_prefix(all));
        short.unwrap_or(&name).to_string()
    });
    let package = Package {
        apt: Apt::read(arguments),
        dnf: Dnf::read(arguments),
        apk: Apk::read(arguments),
        pkg: Pkg::read(arguments),
        manager,
    };
    // What none of them takes is wrong on every host.
    match (&package.apt, &package.dnf, &package.apk, &package.pkg) {
        (Err(error), Err(_), Err(_), Err(_)) => Err(error.clone()),
        (Err(error), ..) if package.manager == "apt" => Err(error.clone()),
        _ => Ok(Box::new(package)),
    }
}

#[async_trait]
impl Module for Package {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let found = match self.manager.as_str() {
            "auto" => match Database::look(host).await? {
                Ok(database) => return read(&self.apt)?.plan_with(host, database).await,
                Err(without) => match without.0.iter().find(|tool| module(tool).is_some()) {
                    Some(tool) => tool.clone(),
                    None => return Err(without.error(host)),
                },
            },
            named => named.to_string(),
        };
        match module(&found) {
            Some("apt") => read(&self.apt)?.plan(host).await,
            Some("dnf") => read(&self.dnf)?.plan(host).await,
            Some("apk") => read(&self.apk)?.plan(host).await,
            Some("pkgng") => read(&self.pkg)?.plan(host).await,
            _ => {
                let message = format!("Could not find a matching action for the \"{found}\" package manager.");
                Err(ModuleError::failed(format!("{message}\nhint: there are `apt`, `dnf`, `apk` and `pkgng`")))
            }
        }
    }
}

/// Returns the module that drives a tool.
fn module(tool: &str) -> Option<&'static str> {
    match tool {
        "apt" => Some("apt"),
        "dnf" | "dnf5" | "yum" | "tdnf" | "microdnf" => Some("dnf"),
        "apk" => Some("apk"),
        "pkg" | "pkgng" => Some("pkgng"),
        _ => None,
    }
}

fn read<T>(module: &Result<T, Diagnostic>) -> Result<&T, ModuleError> {
    module.as_ref().map_err(|error| error.clone().into())
}
