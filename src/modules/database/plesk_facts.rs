//! `plesk_facts`: the domains of a panel with their accounts, as far as they may be shown. Reads only.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};

use super::DATABASES;
use super::panel::{Access, PANEL, Panel};

pub const ENTRY: Entry = Entry {
    name: "plesk_facts",
    summary: "Reads the domains and mail accounts of a Plesk host out of its database; no password is in what it says",
    arguments: &[ARGUMENTS, PANEL[0], PANEL[1]],
    free_form: None,
    example: "\
- name: What the panel knows
  plesk_facts:
    domains: example.com
  register: panel
",
    build: |arguments| Ok(Box::new(arguments.read::<PleskFacts>()?)),
};

const ARGUMENTS: &[Argument] = &[Argument::new(
    "domains",
    Kind::List,
    "The domains to look at; `all`, the default, means all that the panel has.",
)];

#[derive(Deserialize)]
struct PleskFacts {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(flatten)]
    access: Access,
}

#[async_trait]
impl Module for PleskFacts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut result = Results::new();
        let there = self.access.is_there(host).await?;
        result.insert("panel".into(), there.into());
        result.insert("domains".into(), json!({}));
        if there {
            host.is_known(DATABASES)?;
            if let Some(row) = host.planned_parts_of(&format!("row {}.", self.access.database)).first() {
                return Err(ModuleError::Unknown(format!("`{row}`, which an earlier task changes").into()));
            }
            let panel = Panel::read(host, &self.access, false).await?;
            let names = panel.select(&self.domains, &host.name)?;
            let domains: Map<String, Value> =
                names.into_iter().filter_map(|name| Some((name.clone(), panel.domains.get(&name)?.facts()))).collect();
            result.insert("domains".into(), domains.into());
        }
        Ok(Planned::new(Vec::new(), result))
    }
}
