//! `stat`: what a path is.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Command, Links, Node, Want};

use super::checksum::{ALGORITHMS, Algorithm};
use super::details;
use super::place::{Place, absolute};
use super::status::{access, status_of};

pub const STAT: Entry = Entry {
    name: "stat",
    summary: "Looks at a path: what it is, whose, how large, its checksum",
    arguments: &[&[
        Argument::new("path", Kind::Path, "The path.").required().alias(&["dest", "name"]),
        Argument::new("follow", Kind::Bool, "Look at what a link leads to."),
        Argument::new("get_checksum", Kind::Bool, "Give the checksum of a file; on unless set."),
        Argument::new("checksum_algorithm", Kind::Text, "Of what kind; `sha1` unless given.")
            .alias(&["checksum", "checksum_algo"])
            .choices(ALGORITHMS),
        Argument::new("get_mime", Kind::Bool, "Give the type of the content, if the host has `file`; on unless set.")
            .alias(&["mime", "mime_type", "mime-type"]),
        Argument::new("get_attributes", Kind::Bool, "Give the flags of the file system; on unless set.")
            .alias(&["attr", "attributes"]),
    ]],
    free_form: None,
    example: "- name: Is the domain's mail here?\n  stat:\n    path: /var/qmail/mailnames/example.com\n  register: mailnames\n",
    build,
};

#[derive(Deserialize)]
struct Stat {
    path: String,
    #[serde(default)]
    follow: bool,
    get_checksum: Option<bool>,
    checksum_algorithm: Option<String>,
    get_mime: Option<bool>,
    get_attributes: Option<bool>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(arguments.read::<Stat>()?))
}

#[async_trait]
impl Module for Stat {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let algorithm = self.get_checksum.unwrap_or(true).then(|| Algorithm::named(self.checksum_algorithm.as_deref()));
        let links = if self.follow { Links::Follow } else { Links::Keep };
        let want = algorithm.map_or(Want::Attributes, Algorithm::wants);
        let (content, flags) = (self.get_mime.unwrap_or(true), self.get_attributes.unwrap_or(true));
        let path = absolute(host, &self.path);
        let told = details::of(host, (&path, links), (content, flags));
        let (place, told) = futures::future::join(Place::look(host, &self.path, links, want), told).await;
        let (place, told) = (place?, told?);
        let mut status = Map::from_iter([("exists".to_string(), Value::from(place.node.exists()))]);
        if let Some(permissions) = place.node.permissions() {
            status.extend(status_of(&self.path, &place.node));
            let planned = host.is_planned(&place.path);
            status.extend(if planned { details::untold((content, flags)) } else { told });
            let directory = matches!(place.node, Node::Directory { .. });
            let bits = match access(host.identity(), permissions, directory) {
                Some(bits) => bits,
                None if groups(host).await?.contains(&permissions.group.id) => permissions.mode >> 3 & 7,
                None => permissions.mode & 7,
            };
            for (name, bit) in [("readable", 4), ("writeable", 2), ("executable", 1)] {
                status.insert(name.into(), (bits & bit != 0).into());
            }
        }
        match &place.node {
            Node::Link { target, .. } => {
                let end = Place::look(host, &self.path, Links::Follow, Want::Attributes).await?;
                status.insert("lnk_target".into(), target.as_str().into());
                status.insert("lnk_source".into(), collapsed(&end.path).into());
            }
            Node::File { content, .. } => {
                if let Some(needs) = content.needs() {
                    return Err(ModuleError::Unknown(needs.clone()));
                }
                if let Some(algorithm) = algorithm {
                    status.insert("checksum".into(), algorithm.checksum(host, &place.path, content).await?.into());
                }
            }
            _ => {}
        }
        Ok(Planned::new(Vec::new(), Results::from_iter([("stat".to_string(), json!(status))])))
    }
}

/// Asks for the numbers of all groups of the session's user (`id.1`).
async fn groups(host: &View) -> Result<Vec<u32>, ModuleError> {
    let output = host.probe(&Command::argv(["id", "-G"])).await?;
    Ok(output.text().split_whitespace().filter_map(|number| number.parse().ok()).collect())
}

/// Returns the path without `..`, as it is where no directory on the way is a link.
fn collapsed(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_file_is_told_in_ansibles_words() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "abc", 0o4750);
        let stat = bench.twice("stat", json!({"path": "/etc/me"})).await["stat"].clone();
        let names =
            ["exists", "mode", "size", "isreg", "isdir", "isuid", "xoth", "pw_name", "mtime", "readable", "checksum"];
        let values: Vec<_> = names.iter().map(|name| stat[*name].to_string()).collect();
        let checksum = "\"a9993e364706816aba3e25717850c26c9cd0d89d\"";
        assert_eq!(
            values,
            ["true", "\"4750\"", "3", "true", "false", "true", "false", "\"root\"", "1700000000.0", "true", checksum]
        );
    }

    #[tokio::test]
    async fn a_link_is_itself_unless_followed() {
        let bench = Bench::new();
        bench.host.file("/opt/a", "", 0o644).link("/etc/l", "../opt/a");
        let stat = bench.twice("stat", json!({"path": "/etc/l"})).await["stat"].clone();
        assert_eq!(
            (&stat["islnk"], &stat["lnk_target"], &stat["lnk_source"]),
            (&json!(true), &json!("../opt/a"), &json!("/opt/a"))
        );
        let stat = bench.twice("stat", json!({"path": "/etc/l", "follow": true})).await["stat"].clone();
        assert_eq!((&stat["isreg"], &stat["size"]), (&json!(true), &json!(0)));
    }

    #[tokio::test]
    async fn other_groups_are_asked_for_only_where_they_decide() {
        let bench = Bench::login("alice");
        bench.host.file("/etc/a", "", 0o640).on("id -G", 0, "1000 0\n");
        let stat = bench.twice("stat", json!({"path": "/etc/a"})).await["stat"].clone();
        assert_eq!((&stat["readable"], &stat["writeable"]), (&json!(true), &json!(false)));
        bench.twice("stat", json!({"path": "/etc"})).await;
        let asked = bench.host.commands().into_iter().filter(|command| *command == Command::argv(["id", "-G"]));
        assert_eq!(asked.count(), 2);
    }

    #[tokio::test]
    async fn a_large_file_is_digested_by_the_host() {
        let bench = Bench::new();
        bench.host.file("/big", "x".repeat(1 << 21), 0o644);
        let asked = format!("{}\n$sum </big", Algorithm::named(Some("md5")).program());
        bench.host.on(&asked, 0, "d41d  -\n");
        let stat = bench.twice("stat", json!({"path": "/big", "checksum_algorithm": "md5"})).await["stat"].clone();
        assert_eq!(stat["checksum"], "d41d");
        let absent = bench.twice("stat", json!({"path": "/none"})).await;
        assert_eq!(json!(absent), json!({"stat": {"exists": false}}));
    }
}
