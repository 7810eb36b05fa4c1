//! `timezone`: the time zone of a host, and whether its hardware's clock shows UTC.

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Edited, Target, bare, lines_of};
use crate::modules::files::place::Writing;
use crate::modules::files::rights::{New, Rights};
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Links, Node, Want};

pub const TIMEZONE: Entry = Entry {
    name: "timezone",
    summary: "Keeps the time zone of a host, and what its hardware's clock shows",
    arguments: &[&[
        Argument::new("name", Kind::Text, "The zone's name, such as `Europe/Berlin` or `Etc/UTC`."),
        Argument::new("hwclock", Kind::Text, "What the hardware's clock shows, as `/etc/adjtime` has it.")
            .alias(&["rtc"])
            .choices(&["UTC", "local"]),
    ]],
    free_form: None,
    example: "- name: Logs of both hosts have the same clock\n  timezone:\n    name: Europe/Berlin\n",
    build,
};

#[derive(Deserialize)]
struct Timezone {
    name: Option<String>,
    hwclock: Option<String>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let timezone: Timezone = arguments.read()?;
    if timezone.name.is_none() && timezone.hwclock.is_none() {
        return Err(Diagnostic::new("`timezone` needs `name` or `hwclock`"));
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/_+-".contains(letter);
    match &timezone.name {
        Some(name) if name.is_empty() || name.starts_with('/') || !name.chars().all(plain) => {
            Err(Diagnostic::new(format!("`{name}` is no name of a time zone")).hint("one such as `Europe/Berlin`"))
        }
        _ => Ok(Box::new(timezone)),
    }
}

/// Where the zones are, and the link to one of them (tzfile(5), localtime(5)).
const ZONES: &str = "/usr/share/zoneinfo";
const LOCALTIME: &str = "/etc/localtime";

#[async_trait]
impl Module for Timezone {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut changes = Vec::new();
        if let Some(name) = &self.name {
            changes.extend(self.zone(host, name).await?);
        }
        if let Some(clock) = &self.hwclock {
            let clock = if clock == "UTC" { "UTC" } else { "LOCAL" };
            changes.extend(edited(host, "/etc/adjtime", |text| adjusted(text, clock)).await?);
        }
        Ok(Planned::new(changes, Results::new()))
    }
}

impl Timezone {
    async fn zone(&self, host: &View, name: &str) -> Result<Vec<Change>, ModuleError> {
        let zone = format!("{ZONES}/{name}");
        let asked = [
            (zone.clone(), Links::Follow),
            (LOCALTIME.into(), Links::Keep),
            ("/etc/timezone".into(), Links::Keep),
            ("/etc/sysconfig/clock".into(), Links::Keep),
        ];
        let nodes = host.look_all(&asked, Want::Digest).await?;
        let [zone_node, localtime, debian, redhat] = nodes.as_slice() else {
            return Err(ModuleError::failed("a path was not looked at"));
        };
        if !matches!(zone_node, Node::File { .. }) {
            return Err(ModuleError::failed(format!("`{}` has no time zone `{name}`: no file `{zone}`", host.name)));
        }
        let mut changes = Vec::new();
        // However the link is written: by how far it goes up, or from the root.
        let is_it = match localtime {
            Node::Link { target, .. } => target.trim_start_matches("../").trim_start_matches('/') == &zone[1..],
            // Older systems have a copy.
            Node::File { content, .. } => zone_node.content() == Some(content),
            _ => false,
        };
        if !is_it {
            let before = host.look(LOCALTIME, Want::Content).await?;
            let permissions = Rights::default().fresh(host, New::Link, &Node::Absent).await?;
            changes.extend(Change::path(LOCALTIME, before, Node::Link { target: zone, permissions }));
        }
        if debian.exists() {
            changes.extend(edited(host, "/etc/timezone", |_| format!("{name}\n")).await?);
        }
        if redhat.exists() {
            changes.extend(edited(host, "/etc/sysconfig/clock", |text| named(text, name)).await?);
        }
        Ok(changes)
    }
}

/// Returns the changes of a file whose text is to be another one.
async fn edited(host: &View, path: &str, edit: impl FnOnce(&str) -> String) -> Result<Vec<Change>, ModuleError> {
    let target = Target::look(host, path).await?;
    let old = target.text.clone().unwrap_or_default();
    let text = edit(&old);
    if text == old {
        return Ok(Vec::new());
    }
    let rights = Rights::default().with_mode(target.text.is_none().then(|| "0644".into()));
    let writing = Writing { rights, ..Writing::default() };
    Ok(target.plan(host, Edited { text, message: String::new() }, &writing).await?.changes)
}

/// Returns `/etc/adjtime` with its third line as asked (hwclock(8)).
fn adjusted(text: &str, clock: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    // Without the file the clock is taken to show UTC.
    if lines.is_empty() && clock == "UTC" {
        return String::new();
    }
    for missing in ["0.0 0 0.0", "0"].into_iter().skip(lines.len()) {
        lines.push(missing);
    }
    lines.truncate(2);
    format!("{}\n{clock}\n", lines.join("\n"))
}

/// Returns the settings of a Red Hat's or SUSE's clock with this zone.
fn named(text: &str, name: &str) -> String {
    let mut lines = lines_of(text);
    for line in &mut lines {
        let key = bare(line).split('=').next().unwrap_or_default().trim().to_string();
        if ["ZONE", "TIMEZONE"].contains(&key.as_str()) && bare(line) != format!("{key}={name}") {
            *line = format!("{key}=\"{name}\"\n");
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn the_link_and_the_files_beside_it_name_one_zone() {
        let bench = Bench::new();
        let zones = |name: &str| format!("/usr/share/zoneinfo/{name}");
        bench.host.file(&zones("Europe/Berlin"), "TZ b", 0o644).file(&zones("Etc/UTC"), "TZ u", 0o644);
        bench.host.link("/etc/localtime", "../usr/share/zoneinfo/Etc/UTC").file("/etc/timezone", "Etc/UTC\n", 0o644);
        let same = bench.plan("timezone", json!({"name": "Etc/UTC"})).await.unwrap();
        assert!(same.changes.is_empty());
        bench.twice("timezone", json!({"name": "Europe/Berlin", "hwclock": "local"})).await;
        assert_eq!(bench.host.read("/etc/localtime").unwrap(), "TZ b");
        assert_eq!(bench.host.read("/etc/timezone").unwrap(), "Europe/Berlin\n");
        assert_eq!(bench.host.read("/etc/adjtime").unwrap(), "0.0 0 0.0\n0\nLOCAL\n");
        assert!(!bench.exists("/etc/sysconfig/clock"));
        assert!(bench.fails("timezone", json!({"name": "Europe/Atlantis"})).await.contains("no time zone"));
        assert!(bench.fails("timezone", json!({"name": "../../etc/passwd"})).await.contains("is no name"));
        assert!(bench.fails("timezone", json!({})).await.contains("needs `name`"));
    }

    #[tokio::test]
    async fn a_copy_of_the_zone_is_as_good_as_a_link() {
        let bench = Bench::new();
        bench.host.file("/usr/share/zoneinfo/Etc/UTC", "TZ u", 0o644).file("/etc/localtime", "TZ u", 0o644);
        bench.host.file("/etc/sysconfig/clock", "UTC=true\nZONE=\"Europe/Rome\"\n", 0o644);
        bench.twice("timezone", json!({"name": "Etc/UTC", "hwclock": "UTC"})).await;
        assert_eq!(bench.host.read("/etc/sysconfig/clock").unwrap(), "UTC=true\nZONE=\"Etc/UTC\"\n");
        assert!(!bench.exists("/etc/adjtime"));
        assert_eq!(adjusted("-1.5 7 0\n7\nLOCAL\n", "UTC"), "-1.5 7 0\n7\nUTC\n");
    }
}
