//! `copy`: a file or a tree of the host is as one of the controller, of the host, or as written in the task.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::{Content, INLINE_LIMIT, Links, Node, Want};

use super::install::{INSTALLING, Install};
use super::json::python_json;
use super::place::{Place, WRITING, Writing, absolute, base_name, join, make_directories, parent};
use super::rights::{New, RIGHTS, Rights};
use super::source::{Item, What, is_small, local, remote, sha1_of, unsealed};

pub const COPY: Entry = Entry {
    name: "copy",
    summary: "Copies a file or a directory to the host, or writes a text into a file",
    arguments: &[
        &[
            Argument::new(
                "src",
                Kind::Path,
                "File or directory; with a slash at its end only what is in the directory.",
            ),
            Argument::new(
                "content",
                Kind::Any,
                "The file's content, instead of `src`; a mapping or a list becomes JSON.",
            )
            .may_be_open(),
            Argument::new("dest", Kind::Path, "The file, or the directory that it is put into.").required(),
            Argument::new("remote_src", Kind::Bool, "`src` is on the host."),
            Argument::new("directory_mode", Kind::Mode, "Mode of directories that have to be made."),
            Argument::new(
                "local_follow",
                Kind::Bool,
                "Copy what links in a source directory lead to, not the links; on unless set.",
            ),
            Argument::new("checksum", Kind::Text, "SHA-1 that the source has to have."),
            Argument::new("decrypt", Kind::Bool, "`false` copies a file that ansible-vault has encrypted as it is."),
        ],
        INSTALLING,
        WRITING,
        RIGHTS,
    ],
    free_form: None,
    example: "- name: The host's own name\n  copy:\n    content: \"mail.example.com\\n\"\n    dest: /var/qmail/control/me\n    owner: root\n    group: root\n    mode: \"0644\"\n",
    build,
};

#[derive(Deserialize)]
struct Copy {
    src: Option<String>,
    content: Option<Value>,
    dest: String,
    #[serde(default)]
    remote_src: bool,
    directory_mode: Option<String>,
    local_follow: Option<bool>,
    checksum: Option<String>,
    decrypt: Option<bool>,
    force: Option<bool>,
    #[serde(default)]
    follow: bool,
    #[serde(flatten)]
    writing: Writing,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let copy: Copy = arguments.read()?;
    match (&copy.src, &copy.content) {
        (Some(_), Some(_)) => return Err(Diagnostic::new("`src` and `content` cannot both be given")),
        (None, None) => return Err(Diagnostic::new("`copy` needs `src` or `content`")),
        _ => {}
    }
    match (copy.preserves(), &copy.content) {
        (true, _) => Writing { rights: Rights::default(), ..copy.writing.clone() }.check()?,
        (false, _) => copy.writing.check()?,
    }
    if copy.dest.is_empty() {
        return Err(Diagnostic::new("`dest` of `copy` is empty"));
    }
    copy.directories().check()?;
    Ok(Box::new(copy))
}

#[async_trait]
impl Module for Copy {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let Some(src) = &self.src else {
            let text = content_text(self.content.as_ref().unwrap_or(&Value::Null));
            // A text has the mode of a new file of one's own.
            return self.file(host, None, (Content::here(text.into_bytes()), 0o600)).await;
        };
        let links = if self.local_follow.unwrap_or(true) { Links::Follow } else { Links::Keep };
        let items = match self.remote_src {
            true => remote(host, src, links).await?,
            false => {
                let path = host.controller().find("files", src.trim_end_matches('/'))?;
                if host.only_asks && !is_small(&path) {
                    return Ok(Planned::new(Vec::new(), Results::new()));
                }
                let mut items = local(&path, links)?;
                if self.decrypt.unwrap_or(true) {
                    unsealed(&mut items, src)?;
                }
                items
            }
        };
        let mut planned = match items.as_slice() {
            [Item { what: What::File { content, mode }, .. }] => {
                self.accept(src, content)?;
                self.file(host, Some(base_name(src)), (content.clone(), *mode)).await?
            }
            _ => self.tree(host, src, &items).await?,
        };
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("src".into(), src.as_str().into());
        }
        Ok(planned)
    }
}

impl Copy {
    fn preserves(&self) -> bool {
        self.writing.rights.mode.as_deref() == Some("preserve")
    }

    fn links(&self) -> Links {
        if self.follow { Links::Follow } else { Links::Keep }
    }

    /// The rights of directories that have to be made.
    fn directories(&self) -> Rights {
        self.writing.rights.with_mode(self.directory_mode.clone())
    }

    /// The way to write a file whose source has `mode`.
    fn writing(&self, mode: u32) -> Writing {
        let mut writing = self.writing.clone();
        if self.preserves() {
            writing.rights.mode = Some(format!("{mode:04o}"));
        }
        writing
    }

    async fn file(
        &self,
        host: &View,
        name: Option<&str>,
        (content, mode): (Content, u32),
    ) -> Result<Planned, ModuleError> {
        let writing = self.writing(mode);
        let install = Install {
            dest: &self.dest,
            name,
            links: self.links(),
            force: self.force.unwrap_or(true),
            directories: self.directories(),
            writing: &writing,
        };
        install.plan(host, content).await
    }

    /// Refuses a source that is not the one that was meant.
    fn accept(&self, src: &str, content: &Content) -> Result<(), ModuleError> {
        match (&self.checksum, sha1_of(content)) {
            (Some(wanted), Some(found)) if !wanted.eq_ignore_ascii_case(&found) => {
                Err(ModuleError::failed(format!("`{src}` has the checksum {found}, not {wanted}")))
            }
            _ => Ok(()),
        }
    }

    async fn tree(&self, host: &View, src: &str, items: &[Item]) -> Result<Planned, ModuleError> {
        let dest = absolute(host, &self.dest);
        let base = if src.ends_with('/') { dest } else { join(&dest, base_name(src)) };
        let (mut changes, root) = make_directories(host, &base, &self.directories()).await?;
        let paths: Vec<(String, Links)> = items
            .iter()
            .map(|item| {
                let links = if matches!(item.what, What::Directory) { Links::Follow } else { Links::Keep };
                (join(&base, &item.name), links)
            })
            .collect();
        let contents: Vec<_> = items
            .iter()
            .map(|item| match &item.what {
                What::File { content, .. } => Some(content),
                _ => None,
            })
            .collect();
        let nodes = where_content_differs(host, &contents, &paths).await?;
        let mut directories = HashMap::from([(base.clone(), root)]);
        for (item, ((path, _), node)) in items.iter().zip(paths.into_iter().zip(nodes)) {
            let above = directories.get(parent(&path)).cloned().unwrap_or(Node::Absent);
            let made = directories.get(&path).cloned();
            let place = Place { node: made.unwrap_or(node), parent: above, path };
            match &item.what {
                What::Directory => {
                    let after = self.directory(host, &place).await?;
                    changes.extend(place.change(after.clone()));
                    directories.insert(place.path, after);
                }
                What::File { content, mode } => {
                    self.accept(&item.name, content)?;
                    changes.extend(self.file_of_tree(host, place, (content.clone(), *mode)).await?);
                }
                What::Link { target } => changes.extend(self.link_of_tree(host, &place, target).await?),
            }
        }
        let results = Results::from_iter([("dest".to_string(), self.dest.as_str().into())]);
        Ok(Planned::new(changes, results))
    }

    /// Returns what a directory of the tree becomes; one that is there keeps its mode.
    async fn directory(&self, host: &View, place: &Place) -> Result<Node, ModuleError> {
        let rights = self.writing.rights.with_mode(None);
        let permissions = match &place.node {
            Node::Absent => self.directories().fresh(host, New::Directory, &place.parent).await?,
            Node::Directory { permissions, .. } => {
                rights.kept(host, &place.node).await?.unwrap_or_else(|| permissions.clone())
            }
            other => {
                return Err(ModuleError::failed(format!("`{}` is no directory but a {}", place.path, other.kind())));
            }
        };
        Ok(Node::Directory { permissions, modified: None })
    }

    async fn file_of_tree(
        &self,
        host: &View,
        mut place: Place,
        (content, mode): (Content, u32),
    ) -> Result<Vec<Change>, ModuleError> {
        if place.node.exists() && !self.force.unwrap_or(true) {
            return Ok(Vec::new());
        }
        if self.follow && matches!(place.node, Node::Link { .. }) {
            place = Place::look(host, &place.path, Links::Follow, Want::Digest).await?;
        }
        Ok(place.write(host, content, &self.writing(mode)).await?.0)
    }

    async fn link_of_tree(&self, host: &View, place: &Place, target: &str) -> Result<Option<Change>, ModuleError> {
        if place.node.exists() && !self.force.unwrap_or(true) {
            return Ok(None);
        }
        if let Node::Directory { .. } = place.node {
            return Err(ModuleError::failed(format!("`{}` is a directory and is to be a link", place.path)));
        }
        let permissions = match &place.node {
            Node::Link { .. } => self.writing.rights.kept(host, &place.node).await?,
            _ => None,
        };
        let permissions = match permissions {
            Some(permissions) => permissions,
            None => self.writing.rights.fresh(host, New::Link, &place.parent).await?,
        };
        Ok(place.change(Node::Link { target: target.into(), permissions }))
    }
}

/// Looks at what is where files of these contents go: the digests in one exchange, the contents that differ in another.
pub(super) async fn where_content_differs(
    host: &View,
    contents: &[Option<&Content>],
    paths: &[(String, Links)],
) -> Result<Vec<Node>, ModuleError> {
    let mut nodes = host.look_all(paths, Want::Digest).await?;
    let differs = |content: &Option<&Content>, node: &Node| match (content, node.content()) {
        (Some(content), Some(found)) => *content != found && found.size <= INLINE_LIMIT,
        _ => false,
    };
    let open: Vec<usize> = (0..nodes.len()).filter(|index| differs(&contents[*index], &nodes[*index])).collect();
    if !open.is_empty() {
        let asked: Vec<_> = open.iter().map(|index| paths[*index].clone()).collect();
        let found = host.look_all(&asked, Want::Content).await?;
        open.into_iter().zip(found).for_each(|(index, node)| nodes[index] = node);
    }
    Ok(nodes)
}

/// Returns `content` as text: JSON for what is not a scalar.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        other => python_json(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::change::Secrecy;
    use crate::modules::files::bench::{Bench, afters};

    #[tokio::test]
    async fn a_new_file_is_as_the_umask_and_the_user_make_it() {
        let bench = Bench::login("alice");
        let results = bench.twice("copy", json!({"content": "x\n", "dest": "~/a"})).await;
        let permissions = bench.host.node("/home/alice/a", Links::Keep).permissions().unwrap().clone();
        assert_eq!((permissions.mode, permissions.owner.name.as_str()), (0o644, "alice"));
        assert_eq!(results["checksum"], "6fcf9dfbd479ed82697fee719b9f8c610a11ff2a");
        assert_eq!((results["dest"].clone(), results["size"].clone()), (json!("/home/alice/a"), json!(2)));
    }

    #[tokio::test]
    async fn a_file_that_is_there_keeps_what_was_not_asked_for() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "old\n", 0o640);
        bench.twice("copy", json!({"content": "new\n", "dest": "/etc/me", "group": "mail"})).await;
        let permissions = bench.host.node("/etc/me", Links::Keep).permissions().unwrap().clone();
        assert_eq!((permissions.mode, permissions.group.id), (0o640, 8));
        assert_eq!(bench.host.read("/etc/me").unwrap(), "new\n");
    }

    #[tokio::test]
    async fn a_mode_alone_leaves_the_content_there() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "x", 0o644);
        let planned = bench.plan("copy", json!({"content": "x", "dest": "/etc/me", "mode": "u=rw,go="})).await.unwrap();
        let [(_, Node::File { content, permissions, .. })] = afters(&planned.changes)[..] else { panic!() };
        assert!(content.bytes().is_none() && permissions.mode == 0o600);
    }

    #[tokio::test]
    async fn a_file_goes_into_a_directory_by_its_name() {
        let bench = Bench::new();
        bench.source("files/greeting", "hi\n");
        bench.twice("copy", json!({"src": "greeting", "dest": "/etc"})).await;
        bench.twice("copy", json!({"src": "greeting", "dest": "/srv/new/", "directory_mode": "0700"})).await;
        assert_eq!(bench.host.read("/etc/greeting"), bench.host.read("/srv/new/greeting"));
        assert_eq!((bench.mode("/srv/new"), bench.mode("/srv/new/greeting")), (0o700, 0o644));
    }

    #[tokio::test]
    async fn a_tree_goes_with_its_name_or_without() {
        let bench = Bench::new();
        bench.source("files/tree/a", "A").source("files/tree/sub/b", "B");
        bench.twice("copy", json!({"src": "tree", "dest": "/srv/one", "owner": "mail", "mode": "0600"})).await;
        bench.twice("copy", json!({"src": "tree/", "dest": "/srv/two"})).await;
        assert_eq!(bench.host.read("/srv/one/tree/sub/b").unwrap(), "B");
        assert_eq!(bench.host.read("/srv/two/sub/b").unwrap(), "B");
        assert_eq!((bench.mode("/srv/one/tree/sub"), bench.mode("/srv/one/tree/a")), (0o755, 0o600));
    }

    #[tokio::test]
    async fn a_tree_on_the_host_is_copied_with_its_modes() {
        let bench = Bench::new();
        bench.host.file("/srv/a/x", "X", 0o640).link("/srv/a/l", "x");
        let arguments =
            json!({"src": "/srv/a/", "dest": "/srv/b", "remote_src": true, "mode": "preserve", "local_follow": false});
        bench.twice("copy", arguments).await;
        assert_eq!((bench.host.read("/srv/b/l").unwrap(), bench.mode("/srv/b/x")), ("X".into(), 0o640));
        assert_eq!(bench.host.node("/srv/b/l", Links::Keep).kind(), "link");
    }

    #[tokio::test]
    async fn a_link_is_replaced_unless_followed() {
        let bench = Bench::new();
        bench.host.file("/etc/real", "old", 0o644).link("/etc/me", "real");
        bench.twice("copy", json!({"content": "1", "dest": "/etc/me", "follow": true})).await;
        assert_eq!(bench.host.read("/etc/real").unwrap(), "1");
        bench.twice("copy", json!({"content": "2", "dest": "/etc/me"})).await;
        assert_eq!(
            (bench.host.read("/etc/real").unwrap(), bench.host.read("/etc/me").unwrap()),
            ("1".into(), "2".into())
        );
    }

    #[tokio::test]
    async fn without_force_a_file_stays() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "old", 0o644);
        bench.twice("copy", json!({"content": "new", "dest": "/etc/me", "force": false})).await;
        assert_eq!(bench.host.read("/etc/me").unwrap(), "old");
    }

    #[tokio::test]
    async fn a_mapping_is_written_as_python_writes_json() {
        let bench = Bench::new();
        bench.twice("copy", json!({"content": {"b": [1, "ü"], "a": {}}, "dest": "/etc/j"})).await;
        assert_eq!(bench.host.read("/etc/j").unwrap(), r#"{"b": [1, "\u00fc"], "a": {}}"#);
    }

    #[tokio::test]
    async fn a_check_sees_what_earlier_tasks_would_make() {
        let bench = Bench::new();
        let pending = Arc::default();
        bench.plan_after(&pending, "file", json!({"path": "/srv/q", "state": "directory"})).await.unwrap();
        bench.plan_after(&pending, "copy", json!({"content": "a\n", "dest": "/srv/q/me"})).await.unwrap();
        let edit = json!({"path": "/srv/q/me", "line": "b"});
        let planned = bench.plan_after(&pending, "lineinfile", edit.clone()).await.unwrap();
        assert_eq!(afters(&planned.changes)[0].1.content().unwrap().bytes().unwrap(), b"a\nb\n");
        assert!(bench.plan_after(&pending, "lineinfile", edit).await.unwrap().changes.is_empty());
    }

    #[tokio::test]
    async fn a_check_and_the_run_show_the_same_lines() {
        let bench = Bench::new();
        bench.host.file("/etc/me", "old\n", 0o644);
        let tasks = [
            ("file", json!({"path": "/etc/me", "mode": "0600"})),
            ("lineinfile", json!({"path": "/etc/me", "line": "more", "backup": true})),
            ("copy", json!({"content": "new\n", "dest": "/etc/me"})),
            ("copy", json!({"content": "new\n", "dest": "/etc/me", "owner": "mail"})),
        ];
        let lines = |planned: Planned| -> Vec<_> {
            planned.changes.iter().flat_map(|change| change.diff(Secrecy::Open).lines).collect()
        };
        let (pending, mut checked, mut run) = (Arc::default(), Vec::new(), Vec::new());
        for (module, arguments) in tasks.clone() {
            checked.extend(lines(bench.plan_after(&pending, module, arguments).await.unwrap()));
        }
        for (module, arguments) in tasks {
            let planned = bench.plan(module, arguments).await.unwrap();
            bench.apply(&planned.changes).await;
            run.extend(lines(planned));
        }
        assert!(run.iter().any(|line| line.text() == "-old") && run.iter().any(|line| line.text() == "+more"));
        assert_eq!(checked, run);
    }

    #[tokio::test]
    async fn what_is_as_asked_costs_one_exchange() {
        let bench = Bench::new();
        bench.source("files/me", "x\n").source("templates/me.j2", "x\n").source("files/tree/sub/a", "A");
        for (module, arguments) in [
            ("copy", json!({"src": "me", "dest": "/etc/me", "owner": "root", "group": "0", "mode": "0644"})),
            ("copy", json!({"src": "me", "dest": "/srv/d/"})),
            ("template", json!({"src": "me.j2", "dest": "/etc/me", "backup": true})),
            ("lineinfile", json!({"path": "/etc/me", "line": "y"})),
            ("file", json!({"path": "/srv/e", "state": "directory", "mode": "0700"})),
            ("file", json!({"path": "/srv/none", "state": "absent"})),
        ] {
            assert_eq!(bench.exchanges(module, arguments.clone()).await, 1, "{module} {arguments}");
        }
        assert_eq!(bench.exchanges("copy", json!({"src": "tree", "dest": "/srv"})).await, 2);
        let before = bench.host.exchanges();
        bench.plan("copy", json!({"src": "tree", "dest": "/new", "owner": "mail", "group": "mail"})).await.unwrap();
        assert_eq!(bench.host.exchanges() - before, 4, "a name is asked for once");
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_said() {
        let bench = Bench::new();
        bench.source("files/sealed", "$ANSIBLE_VAULT;1.1;AES256\n00\n").source("files/a", "a");
        let error = bench.fails("copy", json!({"content": "x", "dest": "/no/dir/file"})).await;
        assert_eq!(error, "destination directory `/no/dir` does not exist");
        assert!(bench.fails("copy", json!({"src": "none", "dest": "/etc/x"})).await.contains("no file `none`"));
        assert!(bench.fails("copy", json!({"src": "sealed", "dest": "/etc/x"})).await.contains("ansible-vault"));
        assert!(
            bench.fails("copy", json!({"src": "a", "dest": "/etc/x", "checksum": "00"})).await.contains("checksum")
        );
        assert!(bench.fails("copy", json!({"content": "x", "dest": "/etc"})).await.contains("is a directory"));
        assert!(
            bench.fails("copy", json!({"content": "x", "dest": "/etc/x", "validate": "true"})).await.contains("%s")
        );
        assert!(
            bench
                .fails("copy", json!({"content": "x", "dest": "/etc/x", "owner": "nobody2"}))
                .await
                .contains("no user")
        );
    }

    #[tokio::test]
    async fn a_source_without_end_is_refused() {
        let bench = Bench::new();
        bench.source("files/tree/sub/a", "A");
        std::os::unix::fs::symlink("..", bench.directory.path().join("files/tree/sub/up")).unwrap();
        assert!(bench.fails("copy", json!({"src": "tree", "dest": "/srv"})).await.contains("leads to a directory"));
        bench.twice("copy", json!({"src": "tree", "dest": "/srv", "local_follow": false})).await;
        assert_eq!(bench.host.read("/srv/tree/sub/up/sub/a").unwrap(), "A");
    }

    #[tokio::test]
    async fn a_large_source_is_streamed_from_where_it_is() {
        let bench = Bench::new();
        bench.source("files/big", &"x".repeat(2 * 1024 * 1024));
        bench.twice("copy", json!({"src": "big", "dest": "/srv"})).await;
        assert_eq!(bench.host.read("/srv").unwrap().len(), 2 * 1024 * 1024);
    }
}
