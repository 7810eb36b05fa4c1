//! `fetch`: a file of the host is on the controller too.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::{Change, On};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::name::from_local;
use crate::transport::{Body, Content, Digest, INLINE_LIMIT, Links, Node, PathChange, Permissions, Want};

use super::checksum::Algorithm;
use super::place::{Place, base_name, bytes_of, join, unreadable};
use super::source::sha1_of;

pub const FETCH: Entry = Entry {
    name: "fetch",
    summary: "Brings a file of the host to the controller",
    arguments: &[&[
        Argument::new("src", Kind::Any, "The file on the host; required."),
        Argument::new(
            "dest",
            Kind::Path,
            "Directory on the controller, for `HOST/SRC` below it; relative to the playbook; required.",
        ),
        Argument::new("flat", Kind::Bool, "`dest` is the file itself or, with a slash at its end, its directory."),
        Argument::new("fail_on_missing", Kind::Bool, "A missing file is a failure; on unless set."),
        Argument::new("validate_checksum", Kind::Bool, "What came is compared with what is there; it always is."),
    ]],
    free_form: None,
    example: "- name: Keep the old host's routes\n  fetch:\n    src: /var/qmail/control/smtproutes\n    dest: saved/\n",
    build,
};

#[derive(Deserialize)]
struct Written {
    src: Option<Value>,
    dest: Option<String>,
    #[serde(default)]
    flat: bool,
    fail_on_missing: Option<bool>,
}

struct Fetch {
    src: String,
    dest: String,
    flat: bool,
    fail_on_missing: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let Written { src, dest, flat, fail_on_missing } = arguments.read()?;
    let (Some(src), Some(dest)) = (src, dest) else {
        return Err(Diagnostic::new("`fetch` needs `src` and `dest`").msg("src and dest are required"));
    };
    let Value::String(src) = src else {
        let error = Diagnostic::new(format!("`src` of `fetch` should be text, not {src}"));
        return Err(error.msg("Invalid type supplied for source option, it must be a string"));
    };
    Ok(Box::new(Fetch { src, dest, flat, fail_on_missing: fail_on_missing.unwrap_or(true) }))
}

#[async_trait]
impl Module for Fetch {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let place = Place::look(host, &self.src, Links::Follow, Want::Content).await;
        let place = match place.map_err(|error| unreadable(error, &self.src)) {
            Err(ModuleError::Failed { message, .. }) if !self.fail_on_missing => {
                return Ok(planned(Vec::new(), json!({"file": self.src, "msg": format!("{message}, ignored")})));
            }
            place => place?,
        };
        let Node::File { content, .. } = &place.node else {
            let message = match &place.node {
                Node::Absent => "the remote file does not exist".to_string(),
                Node::Directory { .. } => "remote file is a directory, fetch cannot work on directories".to_string(),
                other => format!("`{}` is no file but a {}", self.src, other.kind()),
            };
            if self.fail_on_missing {
                return Err(ModuleError::failed(message));
            }
            return Ok(planned(Vec::new(), json!({"file": self.src, "msg": format!("{message}, ignored")})));
        };
        let (content, checksum) = match content {
            // Too big to be held here: it streams when the change is made.
            Content { digest: Some(_), body: Body::There, size } if *size > INLINE_LIMIT => {
                let checksum = Algorithm::named(None).checksum(host, &place.path, content).await.ok();
                (Content { body: Body::Own { path: place.path.clone() }, ..content.clone() }, checksum)
            }
            content => {
                let bytes = bytes_of(host, &place.path, content).await;
                let bytes = bytes.map_err(|error| unreadable(error, &self.src))?;
                if content.digest.as_ref().is_some_and(|digest| *digest != Digest::of(&bytes)) {
                    return Err(ModuleError::failed(format!("`{}` changed while it was fetched", self.src)));
                }
                let content = Content::here(bytes);
                let checksum = sha1_of(&content);
                (content, checksum)
            }
        };
        let dest = self.destination(host);
        let named = self.flat && !self.dest.ends_with('/');
        let changes = bring(host, (&dest, named), content).await?;
        let results = json!({"file": self.src, "dest": dest, "checksum": checksum, "remote_checksum": checksum});
        Ok(planned(changes, results))
    }
}

fn planned(changes: Vec<Change>, results: Value) -> Planned {
    Planned::new(changes, results.as_object().cloned().map_or_else(Results::new, Results::from_iter))
}

impl Fetch {
    /// Returns the absolute path on the controller; relative ones start at the playbook's directory.
    fn destination(&self, host: &View) -> String {
        let controller = host.controller();
        let home = &controller.transport.identity().home;
        let start = controller.search.last().map_or_else(|| home.clone(), from_local);
        let dest = match self.dest.strip_prefix("~/") {
            Some(rest) => join(home, rest),
            None => join(&start, &self.dest),
        };
        match (self.flat, self.dest.ends_with('/')) {
            (true, false) => dest,
            (true, true) => join(&dest, base_name(&self.src)),
            (false, _) => join(&dest, &format!("{}/{}", host.name, self.src)),
        }
    }
}

/// Returns the changes of the controller that make `dest` this file: its missing directories first. `named`: it was written so.
async fn bring(host: &View, (dest, named): (&str, bool), content: Content) -> Result<Vec<Change>, ModuleError> {
    let controller = &host.controller().transport;
    let identity = controller.identity();
    let permissions = |mode: u32| Permissions {
        mode: mode & !identity.umask,
        owner: identity.user.clone(),
        group: identity.group.clone(),
    };
    let ends = dest.match_indices('/').map(|(at, _)| at).skip(1).chain([dest.len()]);
    let steps: Vec<(String, Links)> = ends.map(|end| (dest[..end].to_string(), Links::Follow)).collect();
    let nodes = host.here().look_all(&steps, Want::Digest).await?;
    let mut changes = Vec::new();
    for ((step, _), node) in steps.into_iter().zip(nodes) {
        let after = match (&node, step == dest) {
            (Node::Absent, false) => Node::Directory { permissions: permissions(0o777), modified: None },
            (Node::Directory { .. }, false) => continue,
            (Node::Absent, true) => {
                Node::File { content: content.clone(), permissions: permissions(0o666), modified: None }
            }
            // The bytes are there already.
            (Node::File { content: old, .. }, true) if *old == content => continue,
            (Node::File { permissions, .. }, true) => {
                Node::File { content: content.clone(), permissions: permissions.clone(), modified: None }
            }
            (Node::Directory { .. }, true) => {
                return Err(ModuleError::failed(match named {
                    true => "dest is an existing directory, use a trailing slash if you want to fetch src into that directory"
                        .to_string(),
                    false => format!("calculated dest '{dest}' is an existing directory, use another path that does not point to an existing directory"),
                }));
            }
            (other, _) => {
                let message = format!("`{step}` on the controller is in the way: it is a {}", other.kind());
                return Err(ModuleError::failed(message));
            }
        };
        let change = PathChange::new(step, node, after);
        changes.extend(change.map(|change| Change::Path { on: On::Controller, change }));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_file_comes_below_its_hosts_name() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "x\n", 0o600);
        let results = bench.twice("fetch", json!({"src": "/etc/me", "dest": "/saved"})).await;
        assert_eq!(bench.controller.read("/saved/new/etc/me").unwrap(), "x\n");
        assert_eq!(
            (&results["dest"], &results["checksum"]),
            (&json!("/saved/new/etc/me"), &json!("6fcf9dfbd479ed82697fee719b9f8c610a11ff2a"))
        );
        bench.host.file("/etc/me", "changed\n", 0o600);
        bench.twice("fetch", json!({"src": "/etc/me", "dest": "/saved"})).await;
        assert_eq!(bench.controller.read("/saved/new/etc/me").unwrap(), "changed\n");
    }

    #[tokio::test]
    async fn flat_means_the_file_itself_or_its_directory() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "x\n", 0o600);
        bench.twice("fetch", json!({"src": "/etc/me", "dest": "/tmp/mine", "flat": true})).await;
        bench.twice("fetch", json!({"src": "/etc/me", "dest": "/tmp/d/", "flat": true})).await;
        assert_eq!(bench.controller.read("/tmp/mine"), bench.controller.read("/tmp/d/me"));
    }

    #[tokio::test]
    async fn hosts_that_make_the_same_directory_do_not_disturb_each_other() {
        let bench = Bench::new();
        bench.host.file("/etc/a", "a", 0o600).file("/etc/b", "b", 0o600);
        let first = bench.plan("fetch", json!({"src": "/etc/a", "dest": "/saved"})).await.unwrap();
        let second = bench.plan("fetch", json!({"src": "/etc/b", "dest": "/saved"})).await.unwrap();
        bench.apply(&first.changes).await;
        bench.apply(&second.changes).await;
        assert_eq!(bench.controller.read("/saved/new/etc/b").unwrap(), "b");
    }

    #[tokio::test]
    async fn a_missing_file_fails_unless_it_may_be_missing() {
        let bench = Bench::new();
        let error = bench.fails("fetch", json!({"src": "/etc/none", "dest": "/saved"})).await;
        assert_eq!(error, "the remote file does not exist");
        bench.twice("fetch", json!({"src": "/etc/none", "dest": "/saved", "fail_on_missing": false})).await;
    }
}
