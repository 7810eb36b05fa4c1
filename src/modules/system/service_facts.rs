//! `service_facts`: which services a host has, whether they run and whether they start at boot.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Arguments, Entry, Module, ModuleError, Planned, Results};
use crate::transport::Command;

pub const SERVICE_FACTS: Entry = Entry {
    name: "service_facts",
    summary: "Tells a host's services as the variable `ansible_facts.services`",
    arguments: &[],
    free_form: None,
    example: "- name: Which services does the old host have?\n  service_facts:\n",
    build,
};

struct Facts;

fn build(_: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(Facts))
}

/// Prints what each manager that is there says, each part after a line `== NAME`.
const LIST: &str = r#"PATH=$PATH:/sbin:/usr/sbin:/usr/local/bin:/command
export LC_ALL=C
has() { command -v "$1" >/dev/null 2>&1; }
if has systemctl && [ -d /run/systemd/system ]; then
  echo == units; systemctl list-units --no-pager --no-legend --type service --all 2>/dev/null
  echo == files; systemctl list-unit-files --no-pager --no-legend --type service 2>/dev/null
fi
if has initctl && initctl version 2>/dev/null | grep -q upstart; then echo == upstart; initctl list 2>/dev/null; fi
if has rc-status; then echo == openrc; rc-status --all --servicelist 2>/dev/null; echo == runlevels; rc-update show 2>/dev/null
elif has chkconfig; then echo == chkconfig
  chkconfig --list 2>/dev/null | while read -r name levels; do
    case $name in *:) continue ;; esac
    if service "$name" status >/dev/null 2>&1 </dev/null; then echo "$name running $levels"; else echo "$name stopped $levels"; fi
  done
elif has service; then echo == sysv; service --status-all 2>/dev/null </dev/null; fi
if has svstat && [ -d /service ]; then echo == daemontools; svstat /service/*; fi
exit 0
"#;

#[async_trait]
impl Module for Facts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let output = host.probe(&Command::shell(LIST)).await?;
        let mut services = services(&output.text());
        for (name, state) in host.planned_accounts("service") {
            plan_over(&mut services, &name, &state);
        }
        let facts = json!({ "services": services });
        Ok(Planned::new(Vec::new(), Results::from_iter([("ansible_facts".to_string(), facts)])))
    }
}

/// One service, in Ansible's words.
fn service(name: &str, state: &str, status: &str, source: &str) -> Value {
    json!({"name": name, "state": state, "status": status, "source": source})
}

/// What of systemd's states says more than whether a unit starts at boot.
const BAD: [&str; 3] = ["not-found", "masked", "failed"];

fn services(text: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut part = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            part = name;
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "●" && *word != "*").collect();
        let [first, rest @ ..] = words.as_slice() else { continue };
        match part {
            "units" => unit(&mut found, (first, rest)),
            "files" => unit_file(&mut found, (first, rest.first().copied().unwrap_or("unknown"))),
            "upstart" => {
                let running = rest.iter().any(|word| word.starts_with("start/running"));
                put(&mut found, service(first, state(running), "unknown", "upstart"));
            }
            "openrc" => {
                let running = line.contains(" started");
                put(&mut found, service(first, state(running), "disabled", "openrc"));
            }
            "runlevels" => set(&mut found, (first, "status"), if rest.len() > 1 { "enabled" } else { "disabled" }),
            "chkconfig" => {
                let enabled = rest.contains(&"3:on");
                let status = if enabled { "enabled" } else { "disabled" };
                put(&mut found, service(first, rest.first().copied().unwrap_or("stopped"), status, "sysv"));
            }
            "sysv" => {
                // ` [ + ]  cron`; of one with `?` it says nothing.
                let [sign, _, name] = rest else { continue };
                if *sign != "?" && !found.contains_key(&format!("{name}.service")) {
                    put(&mut found, service(name, state(*sign == "+"), "unknown", "sysv"));
                }
            }
            "daemontools" => {
                let name = first.trim_end_matches(':').rsplit('/').next().unwrap_or(first);
                put(&mut found, service(name, state(line.contains(": up ")), "enabled", "daemontools"));
            }
            _ => {}
        }
    }
    found
}

fn state(running: bool) -> &'static str {
    if running { "running" } else { "stopped" }
}

fn put(found: &mut BTreeMap<String, Value>, service: Value) {
    found.insert(service["name"].as_str().unwrap_or_default().to_string(), service);
}

fn set(found: &mut BTreeMap<String, Value>, (name, field): (&str, &str), value: &str) {
    if let Some(service) = found.get_mut(name) {
        service[field] = value.into();
    }
}

/// A line of `systemctl list-units`: the unit, whether it is loaded, active, and how.
fn unit(found: &mut BTreeMap<String, Value>, (name, rest): (&str, &[&str])) {
    let [load, active, sub, ..] = rest else { return };
    let status = [load, active].into_iter().find(|word| BAD.contains(word)).unwrap_or(active);
    put(found, service(name, state(*sub == "running"), status, "systemd"));
}

/// A line of `systemctl list-unit-files`: the unit, and whether it starts at boot.
fn unit_file(found: &mut BTreeMap<String, Value>, (name, status): (&str, &str)) {
    let bad = found.get(name).map(|service| service["status"].as_str().is_some_and(|status| BAD.contains(&status)));
    match bad {
        Some(true) => {}
        Some(false) => set(found, (name, "status"), status),
        None => {
            let state = if name.ends_with("@.service") { "unknown" } else { "inactive" };
            put(found, service(name, state, status, "systemd"));
        }
    }
}

/// Puts a state that a check has planned over what was found: `running, enabled (systemd)`.
fn plan_over(found: &mut BTreeMap<String, Value>, name: &str, planned: &str) {
    let full = format!("{name}.service");
    let known = [name, &full].into_iter().find(|name| found.contains_key(*name)).map(str::to_string);
    let Some((running, rest)) = planned.split_once(", ") else { return };
    let Some((boot, manager)) = rest.split_once(" (") else { return };
    let manager = manager.trim_end_matches(')');
    // With run levels it says of each whether it is on.
    let boot = match boot.split_once(' ') {
        Some(_) if boot.contains(" on") => "enabled",
        Some(_) => "disabled",
        None => boot,
    };
    let unit = if manager == "systemd" && !name.contains('.') { full } else { name.to_string() };
    let name = known.unwrap_or(unit);
    match found.get_mut(&name) {
        Some(service) => {
            service["state"] = running.into();
            if service["status"] != "unknown" {
                service["status"] = boot.into();
            }
        }
        None => put(found, service(&name, running, boot, manager)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEMD: &str = "== units
  cron.service       loaded    active   running Regular background program processing daemon
* nfs.service        not-found inactive dead    nfs.service
● broken.service     loaded    failed   failed  A broken one
  once.service       loaded    active   exited  Runs once
== files
cron.service enabled enabled
getty@.service enabled enabled
once.service static -
rsync.service disabled enabled
== sysv
 [ + ]  cron
 [ - ]  procps
 [ ? ]  hwclock.sh
";

    #[test]
    fn each_manager_is_read_in_ansibles_words() {
        let found = services(SYSTEMD);
        assert_eq!(found["cron.service"], service("cron.service", "running", "enabled", "systemd"));
        assert_eq!(found["nfs.service"]["status"], "not-found");
        assert_eq!(found["broken.service"], service("broken.service", "stopped", "failed", "systemd"));
        assert_eq!(found["once.service"], service("once.service", "stopped", "static", "systemd"));
        assert_eq!(found["getty@.service"]["state"], "unknown");
        assert_eq!(found["rsync.service"], service("rsync.service", "inactive", "disabled", "systemd"));
        assert_eq!(found["procps"], service("procps", "stopped", "unknown", "sysv"));
        assert!(!found.contains_key("hwclock.sh") && !found.contains_key("cron"));
        let text = "== chkconfig\nxinetd running 0:off 1:off 2:off 3:on 4:on 5:on 6:off\n== upstart\nrc stop/waiting\n\
                    tty1 start/running, process 900\n== daemontools\n/service/pop3d: up (pid 12) 99 seconds\n";
        let found = services(text);
        assert_eq!(found["xinetd"], service("xinetd", "running", "enabled", "sysv"));
        assert_eq!((&found["rc"]["state"], &found["tty1"]["state"]), (&json!("stopped"), &json!("running")));
        assert_eq!(found["pop3d"], service("pop3d", "running", "enabled", "daemontools"));
        let text = "== openrc\n sshd   [  started  ]\n ntpd   [  stopped  ]\n== runlevels\n sshd | default\n ntpd |\n";
        let found = services(text);
        assert_eq!(found["sshd"], service("sshd", "running", "enabled", "openrc"));
        assert_eq!(found["ntpd"], service("ntpd", "stopped", "disabled", "openrc"));
    }

    #[test]
    fn what_a_check_has_planned_is_told() {
        let mut found = services(SYSTEMD);
        plan_over(&mut found, "cron", "stopped, disabled (systemd)");
        plan_over(&mut found, "new", "running, enabled (systemd)");
        assert_eq!(found["cron.service"], service("cron.service", "stopped", "disabled", "systemd"));
        assert_eq!(found["new.service"], service("new.service", "running", "enabled", "systemd"));
    }
}
