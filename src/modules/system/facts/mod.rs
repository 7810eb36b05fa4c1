//! The facts of a host, read by `sh` alone in one exchange, under Ansible's names.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::Diagnostic;

mod devices;
mod distribution;
mod guard;
mod hardware;
mod initiators;
mod interfaces;
pub mod local;
pub mod mounts;
mod other;
mod platform;
mod seen;
mod services;
mod system;
mod user;
mod virtualization;

use seen::{Asks, Seen};

/// Some facts that are gathered together: a name of `gather_subset`.
pub struct Collector {
    pub name: &'static str,
    /// Names of single facts that mean this collector too.
    ids: &'static [&'static str],
    /// Collectors whose facts it needs; they are gathered with it.
    needs: &'static [&'static str],
    asks: Asks,
    read: fn(&Seen<'_>, &mut Map<String, Value>),
}

/// Each after those that it needs.
const COLLECTORS: &[&Collector] = &[
    &platform::PLATFORM,
    &distribution::DISTRIBUTION,
    &system::LSB,
    &guard::SELINUX,
    &guard::APPARMOR,
    &guard::CHROOT,
    &guard::FIPS,
    &platform::PYTHON,
    &guard::CAPS,
    &services::PKG_MGR,
    &services::SERVICE_MGR,
    &system::CMDLINE,
    &system::DATE_TIME,
    &user::ENV,
    &system::LOADAVG,
    &guard::SSH_PUB_KEYS,
    &user::USER,
    &services::SYSTEMD,
    &virtualization::VIRTUAL,
    &hardware::HARDWARE,
    &system::DNS,
    &initiators::FIBRE_CHANNEL_WWN,
    &initiators::ISCSI,
    &initiators::NVME,
    &interfaces::NETWORK,
    &local::LOCAL,
    &other::FACTER,
    &other::OHAI,
];

/// What is gathered unless `!min` says otherwise.
const MINIMAL: &[&str] = &[
    "apparmor",
    "caps",
    "cmdline",
    "date_time",
    "distribution",
    "dns",
    "env",
    "fips",
    "local",
    "lsb",
    "pkg_mgr",
    "platform",
    "python",
    "selinux",
    "service_mgr",
    "ssh_pub_keys",
    "user",
];

/// Programs with facts of their own that take seconds: they are only asked by their name.
const SLOW: &[&str] = &["facter", "ohai"];

/// Returns the collectors that `gather_subset` means: the minimum and what is named, without what is named after `!` unless it
/// is also named without.
pub fn select(subsets: &[String]) -> Result<Vec<&'static Collector>, Diagnostic> {
    let all = || COLLECTORS.iter().flat_map(|collector| std::iter::once(&collector.name).chain(collector.ids)).copied();
    let valid: BTreeSet<&str> = all().collect();
    let minimal: BTreeSet<&str> = MINIMAL.iter().copied().collect();
    let (mut added, mut excluded, mut explicit) = (minimal.clone(), BTreeSet::new(), BTreeSet::new());
    let names = subsets.iter().map(String::as_str);
    for name in names.chain(subsets.is_empty().then_some("all")) {
        match (name, name.strip_prefix('!')) {
            ("min", _) => added.extend(&minimal),
            ("all", _) => added.extend(valid.iter().filter(|name| !SLOW.contains(name))),
            (_, Some("min")) => excluded.extend(&minimal),
            (_, Some("all")) => excluded.extend(valid.difference(&minimal)),
            // What is unknown can be left out.
            (_, Some(name)) => {
                excluded.insert(name);
                let named = COLLECTORS.iter().filter(|collector| collector.name == name);
                excluded.extend(named.flat_map(|collector| collector.ids));
            }
            (_, None) if valid.contains(name) => drop((added.insert(name), explicit.insert(name))),
            (_, None) => {
                let known = valid.iter().copied().collect::<Vec<_>>().join(", ");
                let text = format!("Bad subset '{name}' given to Ansible. gather_subset options allowed: all, {known}");
                let unknown = Diagnostic::new(format!("unknown subset of facts `{name}`"));
                return Err(unknown.suggest(name, valid.iter().copied().chain(["all", "min"])).msg(text));
            }
        }
    }
    added.retain(|name| !excluded.contains(name) || explicit.contains(name));
    // From the last on, for those that are needed come earlier.
    let mut chosen = Vec::new();
    for collector in COLLECTORS.iter().rev() {
        if added.contains(collector.name) || collector.ids.iter().any(|id| added.contains(id)) {
            added.extend(collector.needs);
            chosen.push(*collector);
        }
    }
    chosen.reverse();
    Ok(chosen)
}

/// Returns the script that prints what the collectors need.
pub fn script(collectors: &[&Collector]) -> String {
    seen::script(collectors)
}

/// Reads what the script printed.
pub fn read(collectors: &[&Collector], output: &str) -> Map<String, Value> {
    let seen = Seen::new(output);
    let mut facts = Map::new();
    for collector in collectors {
        (collector.read)(&seen, &mut facts);
    }
    let named = |name: String| match SLOW.iter().any(|program| name.starts_with(&format!("{program}_"))) {
        true => name,
        false => format!("ansible_{}", name.replace('-', "_")),
    };
    facts.into_iter().map(|(name, value)| (named(name), value)).collect()
}

#[cfg(test)]
mod tests;
