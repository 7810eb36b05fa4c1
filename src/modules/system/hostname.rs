//! `hostname`: the name of a host, now and after a boot.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Edited, Target, bare, end_line_before, lines_of};
use crate::modules::files::place::Writing;
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Links, Want};

pub const HOSTNAME: Entry = Entry {
    name: "hostname",
    summary: "Keeps the name of a host, now and after a boot",
    arguments: &[&[
        Argument::new("name", Kind::Text, "The name.").required(),
        Argument::new(
            "use",
            Kind::Text,
            "The kind of system, which decides the file that keeps the name. The default is to find out.",
        )
        .choices(&["alpine", "debian", "freebsd", "generic", "openbsd", "openrc", "redhat", "sles", "systemd"]),
    ]],
    free_form: None,
    example: "- name: The host has the name that its mail says\n  hostname:\n    name: mail.example.com\n",
    build,
};

#[derive(Deserialize)]
struct Hostname {
    name: String,
    #[serde(rename = "use")]
    kind: Option<String>,
}

/// A file that keeps the name: all of it, or one variable of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Keeper {
    path: &'static str,
    variable: Option<&'static str>,
}

/// hostname(5), and what the boot scripts of older systems read.
const PLAIN: Keeper = Keeper { path: "/etc/hostname", variable: None };
const OPENRC: Keeper = Keeper { path: "/etc/conf.d/hostname", variable: Some("hostname") };
const OPENBSD: Keeper = Keeper { path: "/etc/myname", variable: None };
const REDHAT: Keeper = Keeper { path: "/etc/sysconfig/network", variable: Some("HOSTNAME") };
const SLES: Keeper = Keeper { path: "/etc/HOSTNAME", variable: None };
const FREEBSD: Keeper = Keeper { path: "/etc/rc.conf", variable: Some("hostname") };

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let hostname: Hostname = arguments.read()?;
    let name = &hostname.name;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    // HOST_NAME_MAX of Linux (gethostname(2)).
    match name.is_empty() || name.len() > 64 || name.starts_with(['-', '.']) || !name.chars().all(plain) {
        true => Err(Diagnostic::new(format!("`{name}` is no name of a host"))
            .hint("letters, digits, `-` and `.`, 64 at most (hostname(5))")),
        false => Ok(Box::new(hostname)),
    }
}

#[async_trait]
impl Module for Hostname {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut changes = Vec::new();
        if let Some(keeper) = self.keeper(host).await? {
            changes.extend(keeper.kept(host, &self.name).await?);
        }
        let probe = Command::shell("hostname 2>/dev/null || uname -n");
        let found = host.state("name of the host", &probe).await?;
        let set = |name: &str| vec![Command::shell(format!("hostname {}", quote(name)))];
        let (by, back) = (set(&self.name), set(&found));
        let change = Change::state("name of the host", probe, (found, self.name.clone()), by);
        changes.extend(change.map(|change| change.taken_back(Back::By(back))));
        let (short, domain) = self.name.split_once('.').unwrap_or((&self.name, ""));
        let facts = json!({
            "ansible_hostname": short,
            "ansible_nodename": self.name,
            "ansible_fqdn": self.name,
            "ansible_domain": domain,
        });
        let result = [("name".to_string(), json!(self.name)), ("ansible_facts".to_string(), facts)];
        Ok(Planned::new(changes, Results::from_iter(result)))
    }
}

impl Hostname {
    /// Returns the file that keeps the name; `generic` has none.
    async fn keeper(&self, host: &View) -> Result<Option<Keeper>, ModuleError> {
        Ok(match self.kind.as_deref() {
            Some("generic") => None,
            Some("freebsd") => Some(FREEBSD),
            Some("openbsd") => Some(OPENBSD),
            Some("openrc") => Some(OPENRC),
            Some("redhat") => Some(REDHAT),
            Some("sles") => Some(SLES),
            Some(_) => Some(PLAIN),
            None => {
                let all = [PLAIN, OPENRC, OPENBSD, SLES, REDHAT, FREEBSD];
                let paths = all.map(|keeper| (keeper.path.to_string(), Links::Follow));
                let nodes = host.look_all(&paths, Want::Attributes).await?;
                let found = all.into_iter().zip(nodes).find(|(_, node)| node.exists());
                Some(found.map_or(PLAIN, |(keeper, _)| keeper))
            }
        })
    }
}

impl Keeper {
    async fn kept(self, host: &View, name: &str) -> Result<Vec<Change>, ModuleError> {
        let target = Target::look(host, self.path).await?;
        let old = target.text.clone().unwrap_or_default();
        let text = self.edited(&old, name);
        if text == old {
            return Ok(Vec::new());
        }
        let rights = Rights::default().with_mode(target.text.is_none().then(|| "0644".into()));
        let writing = Writing { rights, ..Writing::default() };
        Ok(target.plan(host, Edited { text, message: String::new() }, &writing).await?.changes)
    }

    fn edited(self, text: &str, name: &str) -> String {
        let Some(variable) = self.variable else {
            let kept = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
            return if kept == Some(name) { text.into() } else { format!("{name}\n") };
        };
        let mut lines = lines_of(text);
        let value = |line: &str| {
            let (found, value) = line.trim().split_once('=')?;
            (found.trim() == variable).then(|| value.trim().trim_matches(['"', '\'']).to_string())
        };
        let at = lines.iter().rposition(|line| value(bare(line)).is_some());
        if at.and_then(|at| value(bare(&lines[at]))).as_deref() == Some(name) {
            return text.into();
        }
        let line = format!("{variable}=\"{name}\"\n");
        match at {
            Some(at) => lines[at] = line,
            None => {
                let end = lines.len();
                end_line_before(&mut lines, end);
                lines.push(line);
            }
        }
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn the_name_is_kept_where_the_system_looks_for_it() {
        let bench = Bench::new();
        bench.host.on("hostname 2>/dev/null || uname -n", 0, "mail.example.com\n");
        let task = json!({"name": "mail.example.com"});
        bench.twice("hostname", task.clone()).await;
        assert_eq!(bench.host.read("/etc/hostname").unwrap(), "mail.example.com\n");
        let bench = Bench::new();
        bench.host.on("hostname 2>/dev/null || uname -n", 0, "mail.example.com\n");
        bench.host.file("/etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=old\nGATEWAY=10.0.0.1\n", 0o644);
        bench.twice("hostname", task).await;
        let text = "NETWORKING=yes\nHOSTNAME=\"mail.example.com\"\nGATEWAY=10.0.0.1\n";
        assert_eq!(bench.host.read("/etc/sysconfig/network").unwrap(), text);
        bench.twice("hostname", json!({"name": "mail.example.com", "use": "freebsd"})).await;
        assert_eq!(bench.host.read("/etc/rc.conf").unwrap(), "hostname=\"mail.example.com\"\n");
        for wrong in ["", "-a", "a b", "a/b"] {
            assert!(bench.fails("hostname", json!({"name": wrong})).await.contains("no name of a host"));
        }
    }

    #[tokio::test]
    async fn the_name_that_the_host_has_now_is_a_state_with_a_way_back() {
        let bench = Bench::new();
        bench.host.file("/etc/hostname", "new\n", 0o644);
        bench.host.on("hostname 2>/dev/null || uname -n", 0, "old\n");
        let planned = bench.plan("hostname", json!({"name": "new"})).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!("{:?}", planned.changes) };
        assert_eq!((state.before(), state.after()), ("old", "new"));
        assert!(planned.changes[0].undone().is_ok());
    }
}
