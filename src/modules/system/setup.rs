//! `setup` and `gather_facts`: what a host is, as variables.

use std::time::Duration;

use async_trait::async_trait;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::absolute;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;

use super::facts::{self, Collector, local};

pub const SETUP: Entry = Entry {
    name: "setup",
    summary: "Gathers facts about a host with nothing but its `sh`",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the addresses are known
  setup:
    gather_subset: [network]
    filter: ansible_all_ipv4_addresses
",
    build,
};

pub const GATHER_FACTS: Entry = Entry {
    name: "gather_facts",
    summary: "Gathers facts about a host, as a play does at its start",
    arguments: &[
        ARGUMENTS,
        &[Argument::new("parallel", Kind::Bool, "Without effect: all facts come in one exchange.")],
    ],
    free_form: None,
    example: "\
- name: the host is known
  gather_facts:
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "gather_subset",
        Kind::List,
        "Which facts besides the minimum: `all`, `hardware`, `network`, `virtual`, any other of Ansible's groups or single facts, \
         and `!` before one to leave it out. `!all` leaves the minimum, `!all` and `!min` only what is named. The default is all. \
         `facter` and `ohai`, where a host has them, are only asked by name.",
    ),
    Argument::new("filter", Kind::List, "Patterns of the names to return, with or without `ansible_`."),
    Argument::new("gather_timeout", Kind::Int, "Seconds until it is given up. The default is 10."),
    Argument::new(
        "fact_path",
        Kind::Path,
        "Where the host's own `*.fact` files are, JSON, INI or programs; `ansible_local` has what they say. The default is \
         `/etc/ansible/facts.d`.",
    ),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    gather_subset: Vec<String>,
    #[serde(default)]
    filter: Vec<String>,
    gather_timeout: Option<u64>,
    fact_path: Option<String>,
}

struct Setup {
    /// What `gather_subset` was, which is a fact too.
    subsets: Vec<String>,
    collectors: Vec<&'static Collector>,
    filter: Option<GlobSet>,
    timeout: Duration,
    /// Where the host's own facts are.
    directory: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    Ok(Box::new(Setup {
        collectors: facts::select(&fields.gather_subset)?,
        subsets: if fields.gather_subset.is_empty() { vec!["all".into()] } else { fields.gather_subset },
        filter: filter(&fields.filter)?,
        timeout: Duration::from_secs(fields.gather_timeout.unwrap_or(10)),
        directory: fields.fact_path.unwrap_or_else(|| local::DIRECTORY.into()),
    }))
}

fn filter(patterns: &[String]) -> Result<Option<GlobSet>, Diagnostic> {
    let wrong = |pattern: &str| Diagnostic::new(format!("`{pattern}` in `filter` is no pattern"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns.iter().filter(|pattern| !pattern.is_empty()) {
        set.add(Glob::new(pattern).map_err(|_| wrong(pattern))?);
    }
    let set = set.build().map_err(|error| Diagnostic::new(error.to_string()))?;
    Ok((!set.is_empty()).then_some(set))
}

#[async_trait]
impl Module for Setup {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut result = Results::new();
        let mut found = Results::new();
        if !self.collectors.is_empty() {
            let local = self.collectors.iter().any(|collector| collector.name == "local");
            let own = if local { local::script(&absolute(host, &self.directory)) } else { String::new() };
            let mut command = Command::shell(facts::script(&self.collectors) + &format!("mark local\n{own}"));
            command.timeout = Some(self.timeout);
            let text = host.probe(&command).await?.text();
            let (text, printed) = text.rsplit_once("\u{1e}local\n").unwrap_or((&text, ""));
            found = facts::read(&self.collectors, text);
            if local {
                found.insert("ansible_local".into(), Value::Object(local::read(printed)));
            }
        }
        found.insert("gather_subset".into(), json!(self.subsets));
        found.insert("module_setup".into(), true.into());
        if let Some(filter) = &self.filter {
            let bare = |name: &str| name.strip_prefix("ansible_").unwrap_or(name).to_string();
            found.retain(|name, _| filter.is_match(name) || filter.is_match(bare(name)));
        }
        result.insert("ansible_facts".into(), Value::Object(found));
        Ok(Planned::new(Vec::new(), result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::results;
    use crate::modules::system::bench::Here;

    #[tokio::test]
    async fn this_machine_is_known_by_sh_alone() {
        let here = Here::new().await;
        let facts = results(here.plan("setup", json!({})).await.unwrap())["ansible_facts"].clone();
        let identity = here.transport.identity();
        assert_eq!(facts["ansible_user_id"], json!(identity.user.name));
        assert_eq!(facts["ansible_user_uid"], json!(identity.user.id));
        assert!(facts["ansible_local"].is_object());
        assert_eq!(facts["ansible_env"]["HOME"], json!(std::env::var("HOME").unwrap()));
        let nodename = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(facts["ansible_nodename"], json!(nodename.trim()));
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
        let kilobytes: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(facts["ansible_memtotal_mb"], json!(kilobytes / 1024));
        assert_ne!(facts["ansible_distribution"], json!(""));
        assert!(facts["ansible_date_time"]["epoch"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    }

    #[tokio::test]
    async fn this_machine_is_what_its_kernel_says() {
        let here = Here::new().await;
        let facts = results(here.plan("setup", json!({})).await.unwrap())["ansible_facts"].clone();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
        assert_eq!(facts["ansible_processor_nproc"], json!(processors));
        let vcpus =
            ["count", "cores", "threads_per_core"].map(|name| facts[format!("ansible_processor_{name}")].as_u64());
        assert_eq!(facts["ansible_processor_vcpus"].as_u64(), vcpus.into_iter().product::<Option<u64>>());
        for word in read("/proc/cmdline").split_whitespace().filter(|word| !word.contains(['=', '"', '\''])) {
            assert_eq!(facts["ansible_cmdline"][word], json!(true), "{word}");
        }
        let uptime: f64 = read("/proc/uptime").split(' ').next().unwrap().parse().unwrap();
        assert!((uptime - facts["ansible_uptime_seconds"].as_f64().unwrap()).abs() < 60.0);
        let names = |path: &str| {
            let names = std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<String>>()
        };
        let devices = facts["ansible_devices"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names("/sys/block"), devices);
        for device in &devices {
            let sectors: u64 = read(&format!("/sys/block/{device}/size")).trim().parse().unwrap();
            let fact = &facts["ansible_devices"][device];
            let bytes = fact["sectorsize"].as_str().unwrap().parse::<u64>().unwrap();
            assert_eq!(fact["sectors"].as_u64().unwrap(), sectors * 512 / bytes, "{device}");
        }
        let mtu: u64 = read("/sys/class/net/lo/mtu").trim().parse().unwrap();
        assert_eq!((&facts["ansible_lo"]["mtu"], &facts["ansible_lo"]["type"]), (&json!(mtu), &json!("loopback")));
        let root = facts["ansible_mounts"].as_array().unwrap().iter().find(|fact| fact["mount"] == "/");
        assert!(root.is_none_or(|root| root["block_total"].as_u64() > Some(0)), "{root:?}");
        assert_eq!(facts["gather_subset"], json!(["all"]));
    }

    #[tokio::test]
    async fn single_facts_come_with_their_group_alone() {
        let here = Here::new().await;
        let task = json!({"gather_subset": ["!all", "!min", "os_family", "service_mgr"]});
        let facts = results(here.plan("setup", task).await.unwrap())["ansible_facts"].as_object().unwrap().clone();
        assert!(facts.contains_key("ansible_distribution_major_version") && facts.contains_key("ansible_service_mgr"));
        assert!(!facts.contains_key("ansible_local") && !facts.contains_key("ansible_env"));
        let none = here.plan("setup", json!({"gather_subset": ["!all", "!min"]})).await.unwrap();
        assert_eq!(results(none)["ansible_facts"], json!({"gather_subset": ["!all", "!min"], "module_setup": true}));
    }

    #[tokio::test]
    async fn a_filter_and_a_subset_leave_the_rest_out() {
        let here = Here::new().await;
        let task = json!({"gather_subset": "!all", "filter": ["user_*", "ansible_kern?l"]});
        let planned = here.plan("gather_facts", task).await.unwrap();
        let facts = results(planned)["ansible_facts"].as_object().unwrap().clone();
        assert!(facts.contains_key("ansible_user_id") && facts.contains_key("ansible_kernel"));
        assert_eq!(facts.keys().filter(|name| !name.starts_with("ansible_user_")).count(), 1);
    }
}
