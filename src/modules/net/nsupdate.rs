//! `nsupdate`: records of one zone, by one update that its name server makes wholly or not at all (RFC 2136).

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{self, Asked, Wanted, wanted};
use super::server;
use crate::change::Change;
use crate::change::records::DIAL;
use crate::dns::{Client, Key, Question, Rrset, absolute};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Address;

pub const ENTRY: Entry = Entry {
    name: "nsupdate",
    summary: "Sets or removes records of a zone by a signed dynamic update (RFC 2136)",
    arguments: &[server::ARGUMENTS, server::KEY, ARGUMENTS, asked::ARGUMENTS],
    free_form: None,
    example: "\
- name: mail.example.com is the new host, if it is still the old one
  nsupdate:
    server: 127.0.0.1
    zone: example.com
    record: mail
    value: 10.77.0.20
    expect: 10.77.0.10
    ttl: 900
",
    build,
};

const ARGUMENTS: &[Argument] = &[Argument::new(
    "zone",
    Kind::Text,
    "The zone; the server is asked for it unless given, and then `record` ends with a dot.",
)];

#[derive(Deserialize)]
struct Given {
    #[serde(flatten)]
    server: server::Given,
    #[serde(flatten)]
    key: server::GivenKey,
    zone: Option<String>,
    #[serde(flatten)]
    records: asked::Given,
}

struct NsUpdate {
    server: Address,
    key: Option<Key>,
    zone: Option<String>,
    asked: Vec<Asked>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let zone = given.zone.map(|zone| absolute(&zone, ".")).transpose().map_err(Diagnostic::new)?;
    let module = NsUpdate {
        server: given.server.address(),
        key: given.key.key()?,
        zone,
        asked: given.records.asked("nsupdate")?,
    };
    // What is wrong in itself is said before any host is touched.
    wanted(&module.asked, module.zone.as_deref().unwrap_or("."))?;
    Ok(Box::new(module))
}

impl NsUpdate {
    /// Asks the server which of its zones the first name is in.
    async fn find_zone(&self, host: &View, name: &str) -> Result<String, ModuleError> {
        let stream = host.dial(&self.server, DIAL).await?;
        let mut client = Client::new(stream, &self.server, self.key.as_ref());
        let answers = client.ask(&[Question::new(name, "SOA")]).await?;
        let soa = answers.iter().filter(|answer| answer.authoritative);
        let mut soa = soa.flat_map(|answer| answer.records.iter().chain(&answer.authority));
        match soa.find(|record| record.kind == "SOA") {
            Some(record) => Ok(record.name.clone()),
            None => Err(ModuleError::failed(format!("the name server at {} has no zone for `{name}`", self.server))),
        }
    }
}

/// Ansible's.
const TTL: u32 = 3600;

fn after(wanted: &Wanted, before: &Rrset) -> Rrset {
    let values = wanted.values.clone().unwrap_or_else(|| before.values.clone());
    let ttl = if values.is_empty() { 0 } else { wanted.ttl.unwrap_or(TTL) };
    Rrset { values, ttl, ..Rrset::absent(&wanted.name, &wanted.kind) }
}

#[async_trait]
impl Module for NsUpdate {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let (zone, wanted) = match &self.zone {
            Some(zone) => (zone.clone(), wanted(&self.asked, zone)?),
            None => {
                let wanted = wanted(&self.asked, ".")?;
                let first = wanted.first().map_or(".", |one| one.name.as_str());
                (self.find_zone(host, first).await?, wanted)
            }
        };
        let names: Vec<_> = wanted.iter().map(|one| (one.name.clone(), one.kind.clone())).collect();
        let found = host.records((&self.server, self.key.as_ref()), &names).await?;
        let surprises: Vec<String> =
            wanted.iter().zip(&found).filter_map(|(one, before)| one.surprise(before)).collect();
        if !surprises.is_empty() {
            return Err(ModuleError::failed(format!(
                "the records of {zone} are not those expected: {}",
                surprises.join("; ")
            )));
        }
        let pairs: Vec<(Rrset, Rrset)> =
            wanted.iter().zip(found).map(|(one, before)| (before.clone(), after(one, &before))).collect();
        let result = results(&zone, &pairs);
        let change = Change::records((&self.server, &zone), pairs, self.key.as_ref());
        Ok(Planned::new(change.into_iter().collect(), result))
    }
}

/// What is registered: Ansible's fields for a single record, and all of them as `records`.
fn results(zone: &str, pairs: &[(Rrset, Rrset)]) -> Results {
    let record = |(before, after): &(Rrset, Rrset)| -> Results {
        let fields = [
            ("record", json!(after.name)),
            ("type", json!(after.kind)),
            ("ttl", json!(after.ttl)),
            ("value", json!(after.values)),
            ("ttl_before", if before.exists() { json!(before.ttl) } else { Value::Null }),
            ("value_before", json!(before.values)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    };
    let records: Vec<Results> = pairs.iter().map(record).collect();
    let mut result = match records.as_slice() {
        [one] => one.clone(),
        _ => Results::new(),
    };
    let longest = pairs.iter().filter(|(before, after)| before != after).map(|(before, _)| before.ttl).max();
    result.insert("zone".into(), json!(zone));
    result.insert("dns_rc".into(), json!(0));
    result.insert("dns_rc_str".into(), json!("NOERROR"));
    result.insert("ttl_before".into(), json!(longest.unwrap_or(0)));
    result.insert("records".into(), json!(records));
    result
}
