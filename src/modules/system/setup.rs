//! `setup` and `gather_facts`: what a host is, as variables.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::absolute;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;

use super::facts::{self, Subset};
use super::local_facts;

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
        &[Argument::new("parallel", Kind::Bool, "").refused("all facts come in one exchange; take the argument out")],
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
        "Which facts: `all`, `min`, `hardware`, `network`, and `!` before one to leave it out. The default is all.",
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
    subsets: Vec<Subset>,
    filter: Option<GlobSet>,
    timeout: Duration,
    /// Where the host's own facts are.
    directory: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    Ok(Box::new(Setup {
        subsets: subsets(&fields.gather_subset)?,
        filter: filter(&fields.filter)?,
        timeout: Duration::from_secs(fields.gather_timeout.unwrap_or(10)),
        directory: fields.fact_path.unwrap_or_else(|| local_facts::DIRECTORY.into()),
    }))
}

/// Reads `gather_subset`: nothing means all, only exclusions mean all but those, `!all` leaves the minimum.
fn subsets(names: &[String]) -> Result<Vec<Subset>, Diagnostic> {
    let all = [Subset::Minimal, Subset::Hardware, Subset::Network];
    let mut chosen = BTreeSet::from([Subset::Minimal]);
    if names.iter().all(|name| name.starts_with('!')) {
        chosen.extend(all);
    }
    for (exclude, name) in names.iter().map(|name| (name.starts_with('!'), name.trim_start_matches('!'))) {
        let meant: &[Subset] = match name {
            "all" if exclude => &all[1..],
            "all" => &all,
            "min" => &all[..1],
            "hardware" | "mounts" | "processor" | "devices" => &all[1..2],
            "network" | "interfaces" | "default_ipv4" | "all_ipv4_addresses" => &all[2..],
            // Groups of Ansible's that the minimum has here, or that no `sh` can tell.
            "date_time" | "distribution" | "dns" | "env" | "platform" | "pkg_mgr" | "service_mgr" | "user"
            | "system" | "virtual" | "facter" | "ohai" | "local" | "lsb" | "selinux" | "apparmor" | "caps"
            | "cmdline" | "fips" | "python" | "ssh_pub_keys" | "hostname" | "kernel" | "machine" | "architecture" => {
                &[]
            }
            _ => {
                let known = ["all", "min", "hardware", "network"];
                return Err(Diagnostic::new(format!("unknown subset of facts `{name}`")).suggest(name, known));
            }
        };
        match exclude {
            true => chosen.retain(|subset| !meant.contains(subset)),
            false => chosen.extend(meant),
        }
    }
    Ok(chosen.into_iter().collect())
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
        if !self.subsets.is_empty() {
            let own = local_facts::script(&absolute(host, &self.directory));
            let mut command = Command::shell(facts::script(&self.subsets) + &format!("mark local\n{own}"));
            command.timeout = Some(self.timeout);
            let text = host.probe(&command).await?.text();
            let (text, own) = text.rsplit_once("\u{1e}local\n").unwrap_or((&text, ""));
            found = facts::read(text);
            found.insert("ansible_local".into(), Value::Object(local_facts::read(own)));
        }
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
    use serde_json::json;

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
    async fn a_filter_and_a_subset_leave_the_rest_out() {
        let here = Here::new().await;
        let task = json!({"gather_subset": "!all", "filter": ["user_*", "ansible_kern?l"]});
        let planned = here.plan("gather_facts", task).await.unwrap();
        let facts = results(planned)["ansible_facts"].as_object().unwrap().clone();
        assert!(facts.contains_key("ansible_user_id") && facts.contains_key("ansible_kernel"));
        assert_eq!(facts.keys().filter(|name| !name.starts_with("ansible_user_")).count(), 1);
    }

    #[test]
    fn subsets_are_chosen_as_ansible_chooses() {
        let of = |names: &[&str]| subsets(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap().len(), 3);
        assert_eq!(of(&["!hardware"]).unwrap(), [Subset::Minimal, Subset::Network]);
        assert_eq!(of(&["!all"]).unwrap(), [Subset::Minimal]);
        assert_eq!(of(&["!all", "!min"]).unwrap(), []);
        assert_eq!(of(&["!all", "network"]).unwrap(), [Subset::Minimal, Subset::Network]);
        assert!(of(&["netwrok"]).unwrap_err().to_string().contains("`network`"));
    }
}
