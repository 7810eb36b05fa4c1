//! `dns_facts`: what each name server of a zone says of names, and what of it would lose or hold up mail. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problems::{self, Seen};
use super::sending::{self, Sending};
use super::server;
use crate::change::records::DIAL;
use crate::dns::{Answer, Client, Key, Question, Record, Rrset, absolute};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Address;

pub const ENTRY: Entry = Entry {
    name: "dns_facts",
    summary: "Asks every name server of a zone for the records that mail depends on, and says what is wrong with them",
    arguments: &[ARGUMENTS, server::KEY],
    free_form: None,
    example: "\
- name: What the name servers say
  dns_facts:
    names: [example.com, mail.example.com, pop.example.com]
    servers: 127.0.0.1
    senders: [10.77.0.10, 10.77.0.20]
  register: dns
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("names", Kind::List, "The names to ask for: domains, and the names of their servers.").required(),
    Argument::new(
        "servers",
        Kind::List,
        "The name servers to ask, as the host reaches them, `ADDRESS` or `ADDRESS:PORT`; those of each name's zone unless given.",
    ),
    Argument::new(
        "resolver",
        Kind::Text,
        "A server that asks others: it knows zones, their name servers and names elsewhere. Needed without `servers`.",
    ),
    Argument::new("port", Kind::Int, "The port of them all; 53 unless given."),
    Argument::new(
        "whole",
        Kind::Bool,
        "Compare all records of each zone, too, as its servers transfer them to the host; one that does not is a problem. The \
         key signs these transfers, and nothing else.",
    ),
    Argument::new(
        "senders",
        Kind::List,
        "The addresses that send the domains' mail: a domain's SPF is to allow them, and with a `resolver` a name that leads to \
         each is to lead back from it (PTR).",
    ),
    Argument::new(
        "greetings",
        Kind::List,
        "The names that they greet with (HELO), which a `resolver` is to know as theirs.",
    ),
    Argument::new(
        "selectors",
        Kind::List,
        "The selectors of the keys that they sign with (DKIM), which each zone is to have.",
    ),
];

#[derive(Deserialize)]
struct Given {
    names: Vec<String>,
    #[serde(default)]
    servers: Vec<String>,
    resolver: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    whole: bool,
    #[serde(default)]
    senders: Vec<String>,
    #[serde(default)]
    greetings: Vec<String>,
    #[serde(default)]
    selectors: Vec<String>,
    #[serde(flatten)]
    key: server::GivenKey,
}

struct DnsFacts {
    /// Absolute.
    names: Vec<String>,
    servers: Vec<Address>,
    resolver: Option<Address>,
    port: u16,
    whole: bool,
    key: Option<Key>,
    sending: Sending,
}

/// The types that are asked for.
const KINDS: [&str; 5] = ["A", "AAAA", "MX", "CNAME", "TXT"];

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let names = given.names.iter().map(|name| absolute(name, ".")).collect::<Result<BTreeSet<_>, _>>();
    let names: Vec<String> = names.map_err(Diagnostic::new)?.into_iter().collect();
    if given.servers.is_empty() && given.resolver.is_none() {
        return Err(Diagnostic::new("`dns_facts` needs `servers` or a `resolver`"));
    }
    if let Some(wrong) = given.senders.iter().find(|sender| sender.parse::<std::net::IpAddr>().is_err()) {
        return Err(Diagnostic::new(format!("`{wrong}` among `senders` is no address")));
    }
    let greetings = given.greetings.iter().map(|name| absolute(name, ".")).collect::<Result<Vec<_>, _>>();
    let greetings = greetings.map_err(Diagnostic::new)?;
    let port = given.port.unwrap_or(53);
    let address = |server: &String| match server.split_once(':').map(|(host, own)| (host, own.parse())) {
        Some((host, Ok(own))) => Address::new(host, own),
        _ => Address::new(server, port),
    };
    let servers = given.servers.iter().map(address).collect();
    Ok(Box::new(DnsFacts {
        names,
        servers,
        resolver: given.resolver.as_ref().map(address),
        port,
        whole: given.whole,
        key: given.key.key()?,
        sending: Sending { senders: given.senders, greetings, selectors: given.selectors, known: None },
    }))
}

#[async_trait]
impl Module for DnsFacts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let zones = self.zones(host).await?;
        let mut seen = Vec::new();
        for (zone, names) in &zones {
            let servers = self.servers_of(host, zone).await?;
            let policies = self.sending.policies(zone);
            let asked = servers.iter().map(|server| see(host, server, (zone, names, &policies)));
            let mut asked = join_all(asked).await;
            if self.whole {
                let all = join_all(servers.iter().map(|server| whole((host, self.key.as_ref()), server, zone))).await;
                asked.iter_mut().zip(all).for_each(|(seen, all)| seen.whole = Some(all));
            }
            seen.extend(asked);
        }
        let elsewhere = self.exchanges(host, &seen).await;
        let sending = Sending { known: self.leading_back(host).await?, ..self.sending.clone() };
        let problems = problems::all(&seen, &elsewhere, &sending);
        Ok(Planned::new(Vec::new(), results(&zones, &seen, &problems)))
    }
}

impl DnsFacts {
    /// Returns each zone with those of the names that are in it.
    async fn zones(&self, host: &View) -> Result<BTreeMap<String, Vec<String>>, ModuleError> {
        let questions: Vec<Question> = self.names.iter().map(|name| question(name, "SOA")).collect();
        let mut why = String::new();
        for server in self.resolver.iter().chain(&self.servers) {
            let answers = match ask(host, server, &questions).await {
                Ok(answers) => answers,
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (name, answer) in self.names.iter().zip(&answers) {
                let mut soa = answer.records.iter().chain(&answer.authority).filter(|record| record.kind == "SOA");
                match soa.find(|record| *name == record.name || name.ends_with(&format!(".{}", record.name))) {
                    Some(soa) => zones.entry(soa.name.clone()).or_default().push(name.clone()),
                    None => why = format!("the name server at {server} knows no zone of `{name}` ({})", answer.code),
                }
            }
            if zones.values().map(Vec::len).sum::<usize>() == self.names.len() {
                return Ok(zones);
            }
        }
        Err(ModuleError::failed(why))
    }

    async fn servers_of(&self, host: &View, zone: &str) -> Result<Vec<Address>, ModuleError> {
        let (Some(resolver), true) = (&self.resolver, self.servers.is_empty()) else { return Ok(self.servers.clone()) };
        let answers = ask(host, resolver, &[question(zone, "NS")]).await.map_err(ModuleError::failed)?;
        let names: Vec<String> = answers.into_iter().flat_map(|answer| answer.records).map(|ns| ns.value).collect();
        let questions: Vec<Question> = names.iter().map(|name| question(name, "A")).collect();
        let answers = ask(host, resolver, &questions).await.map_err(ModuleError::failed)?;
        let addresses = answers.into_iter().flat_map(|answer| answer.records).filter(|record| record.kind == "A");
        let servers: Vec<Address> = addresses.map(|record| Address::new(record.value, self.port)).collect();
        match servers.is_empty() {
            true => Err(ModuleError::failed(format!("the resolver at {resolver} knows no name server of `{zone}`"))),
            false => Ok(servers),
        }
    }

    /// Asks what leads back from the senders' addresses, and where that and what they greet with lead.
    async fn leading_back(&self, host: &View) -> Result<Option<Vec<Record>>, ModuleError> {
        let Some(resolver) = self.resolver.as_ref().filter(|_| !self.sending.senders.is_empty()) else {
            return Ok(None);
        };
        let reverse = self.sending.senders.iter().filter_map(|sender| sending::reverse(sender));
        let questions: Vec<Question> = reverse.map(|name| question(&name, "PTR")).collect();
        let answers = ask(host, resolver, &questions).await.map_err(ModuleError::failed)?;
        let mut known: Vec<Record> = answers.into_iter().flat_map(|answer| answer.records).collect();
        let back = known.iter().filter(|record| record.kind == "PTR").map(|record| &record.value);
        let names = back.chain(&self.sending.greetings).flat_map(|name| ["A", "AAAA"].map(|kind| question(name, kind)));
        let names: Vec<Question> = names.collect();
        let answers = ask(host, resolver, &names).await.map_err(ModuleError::failed)?;
        known.extend(answers.into_iter().flat_map(|answer| answer.records));
        Ok(Some(known))
    }

    /// Asks for what mail exchangers are, where somebody knows it.
    async fn exchanges(&self, host: &View, seen: &[Seen]) -> Vec<Record> {
        let mx = seen.iter().flat_map(|seen| &seen.records).filter(|record| record.kind == "MX");
        let names: BTreeSet<&str> = mx.filter_map(|record| record.value.split(' ').nth(1)).collect();
        let questions = names.iter().flat_map(|name| ["CNAME", "A", "AAAA"].map(|kind| question(name, kind)));
        let questions: Vec<Question> = questions.collect();
        let Some(server) = self.resolver.as_ref().or(self.servers.first()) else { return Vec::new() };
        let answers = ask(host, server, &questions).await.unwrap_or_default();
        answers.into_iter().flat_map(|answer| answer.records).collect()
    }
}

fn question(name: &str, kind: &str) -> Question {
    Question { recursive: true, ..Question::new(name, kind) }
}

async fn ask(host: &View, server: &Address, questions: &[Question]) -> Result<Vec<Answer>, String> {
    let stream = host.dial(server, DIAL).await.map_err(|error| error.to_string())?;
    Client::new(stream, server, None).ask(questions).await.map_err(|error| error.to_string())
}

/// Has one server transfer a zone to the host, which signs for it.
async fn whole((host, key): (&View, Option<&Key>), server: &Address, zone: &str) -> Result<BTreeSet<String>, String> {
    let stream = host.dial(server, DIAL).await.map_err(|error| error.to_string())?;
    Client::new(stream, server, key).transfer(zone).await.map_err(|error| error.to_string())
}

/// Asks one server for all that it should know of a zone.
async fn see(host: &View, server: &Address, (zone, names, policies): (&String, &[String], &[String])) -> Seen {
    let name = if server.port == 53 { server.host.clone() } else { format!("{}:{}", server.host, server.port) };
    let mut seen = Seen { server: name, zone: zone.clone(), names: names.to_vec(), ..Seen::default() };
    let own = ["SOA", "NS"].map(|kind| Question::new(zone, kind));
    let all = names.iter().flat_map(|name| KINDS.map(|kind| Question::new(name, kind)));
    let policies = policies.iter().map(|name| Question::new(name, "TXT"));
    let questions: Vec<Question> = own.into_iter().chain(all).chain(policies).collect();
    match ask(host, server, &questions).await {
        Err(why) => seen.lame = Some(why),
        Ok(answers) => {
            if let Some(answer) = answers.first().filter(|answer| !answer.is_its_own()) {
                seen.lame = Some(format!("it does not answer for `{zone}` by itself ({})", answer.code));
            }
            let asked = questions.iter().zip(answers);
            // A name with a CNAME has its target's records in the answer, too.
            let own = asked.flat_map(|(question, answer)| {
                answer.records.into_iter().filter(|record| record.name == question.name && record.kind == question.kind)
            });
            seen.records = own.collect();
        }
    }
    seen
}

fn results(zones: &BTreeMap<String, Vec<String>>, seen: &[Seen], problems: &[String]) -> Results {
    let zone = |(zone, names): (&String, &Vec<String>)| {
        let servers =
            of(seen, zone).map(|seen| json!({"server": seen.server, "serial": seen.serial(), "problem": seen.lame}));
        let ns: BTreeSet<&String> = of(seen, zone)
            .flat_map(|seen| &seen.records)
            .filter(|record| record.kind == "NS")
            .map(|record| &record.value)
            .collect();
        json!({"zone": zone, "names": names, "ns": ns, "servers": servers.collect::<Vec<Value>>()})
    };
    let (mut records, mut answers) = (Vec::new(), Vec::new());
    for (zone, names) in zones {
        for (name, kind) in names.iter().flat_map(|name| KINDS.map(|kind| (name, kind))) {
            let sets = of(seen, zone).filter(|seen| seen.lame.is_none());
            let sets: Vec<(&str, Rrset)> =
                sets.map(|seen| (seen.server.as_str(), Rrset::among(&seen.records, name, kind))).collect();
            let there = || sets.iter().filter(|(_, set)| set.exists());
            let Some((_, first)) = there().next() else { continue };
            let ttl = there().map(|(_, set)| set.ttl).max();
            records.push(json!({"record": name, "type": kind, "value": first.values, "ttl": ttl}));
            answers.extend(sets.iter().map(|(server, set)| {
                json!({"server": server, "record": name, "type": kind, "value": set.values, "ttl": set.ttl})
            }));
        }
    }
    let zones: Vec<Value> = zones.iter().map(zone).collect();
    let fields = [
        ("zones", json!(zones)),
        ("records", json!(records)),
        ("answers", json!(answers)),
        ("problems", json!(problems)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn of<'a>(seen: &'a [Seen], zone: &'a str) -> impl Iterator<Item = &'a Seen> {
    seen.iter().filter(move |seen| seen.zone == zone)
}
