//! The arguments that say who owns a path and who may use it: shared by every module that makes one.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Kind, ModuleError};
use crate::transport::{Links, Node, Owner, Permissions, Want};

use super::flags::Flags;
use super::mode::{Current, Mode};

/// Where the kernel says whether SELinux enforces its policy, if it has one.
const SELINUX: [&str; 2] = ["/sys/fs/selinux/enforce", "/selinux/enforce"];

/// `mode`, `owner`, `group`, and those of the same family.
pub const RIGHTS: &[Argument] = &[
    Argument::new("mode", Kind::Mode, "Permission bits, such as `\"0644\"` or `u=rw,go=r`."),
    Argument::new("owner", Kind::Text, "Name or number of the user that owns it."),
    Argument::new("group", Kind::Text, "Name or number of the group that owns it."),
    Argument::new("attributes", Kind::Text, "Flags of the file system, as chattr takes them: `+i`, `-A`, `=ad`.")
        .alias(&["attr"]),
    Argument::new(
        "selevel",
        Kind::Text,
        "SELinux level. Without effect on a host without SELinux; else the task fails.",
    ),
    Argument::new("serole", Kind::Text, "SELinux role, as `selevel`."),
    Argument::new("setype", Kind::Text, "SELinux type, as `selevel`."),
    Argument::new("seuser", Kind::Text, "SELinux user, as `selevel`."),
    Argument::new(
        "unsafe_writes",
        Kind::Bool,
        "Without effect: a file is always replaced by a rename, and where that cannot be the task fails with nothing written.",
    ),
];

/// Whose a path is to be. What is not asked for stays as it is, or is as for any new path.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rights {
    pub mode: Option<String>,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub attributes: Option<String>,
    #[serde(flatten)]
    context: Context,
    /// What the host said of the two names, asked once for a whole tree; copies of these rights share it.
    #[serde(skip)]
    resolved: Arc<Resolved>,
}

/// What SELinux is to know of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Context {
    selevel: Option<String>,
    serole: Option<String>,
    setype: Option<String>,
    seuser: Option<String>,
}

#[derive(Debug, Default)]
struct Resolved {
    owner: OnceCell<Owner>,
    group: OnceCell<Owner>,
    /// The host has no SELinux that a context would be for.
    context: OnceCell<()>,
}

/// What is to be made where nothing of its kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    File,
    Directory,
    Link,
}

impl Rights {
    /// Says what is wrong with the mode before any host is asked; `preserve` has to be taken out first.
    pub fn check(&self) -> Result<(), Diagnostic> {
        self.mode.as_deref().map_or(Ok(()), |mode| Mode::parse(mode).map(|_| ()))?;
        self.attributes.as_deref().map_or(Ok(()), |flags| Flags::parse(flags).map(|_| ()))
    }

    /// Returns the change of a path's flags, if any are asked for that it has not.
    pub async fn flags(&self, host: &View, path: &str) -> Result<Option<Change>, ModuleError> {
        match self.attributes.as_deref() {
            Some(text) => Flags::parse(text)?.change(host, path).await,
            None => Ok(None),
        }
    }

    /// Returns those of a user's own file.
    pub fn of((user, group): (&str, &str), mode: &str) -> Rights {
        let some = |text: &str| Some(text.to_string());
        Rights { mode: some(mode), owner: some(user), group: some(group), ..Rights::default() }
    }

    /// Returns the same rights with another mode asked for.
    pub fn with_mode(&self, mode: Option<String>) -> Rights {
        Rights { mode, ..self.clone() }
    }

    pub fn is_empty(&self) -> bool {
        self.mode.is_none() && self.owner.is_none() && self.group.is_none() && self.context == Context::default()
    }

    /// Returns the permissions of something new in the directory `parent`.
    ///
    /// As the system makes it: what the umask leaves, the session's user and group; the group of a setgid directory.
    pub async fn fresh(&self, host: &View, new: New, parent: &Node) -> Result<Permissions, ModuleError> {
        let identity = host.identity();
        let mut start = Permissions {
            mode: match new {
                New::File => 0o666 & !identity.umask,
                New::Directory => 0o777 & !identity.umask,
                New::Link => 0o777,
            },
            owner: identity.user.clone(),
            group: identity.group.clone(),
        };
        if let Some(above) = parent.permissions().filter(|above| above.mode & 0o2000 != 0) {
            start.group = above.group.clone();
            if new == New::Directory {
                start.mode |= 0o2000;
            }
        }
        self.over(host, &start, new).await
    }

    /// Returns what a node's own permissions become.
    pub async fn kept(&self, host: &View, node: &Node) -> Result<Option<Permissions>, ModuleError> {
        let new = match node {
            Node::Absent => return Ok(None),
            Node::Directory { .. } => New::Directory,
            Node::Link { .. } => New::Link,
            Node::File { .. } | Node::Special { .. } => New::File,
        };
        match node.permissions() {
            Some(permissions) => self.over(host, permissions, new).await.map(Some),
            None => Ok(None),
        }
    }

    async fn over(&self, host: &View, start: &Permissions, new: New) -> Result<Permissions, ModuleError> {
        if self.context != Context::default() {
            self.resolved.context.get_or_try_init(|| without_selinux(host)).await?;
        }
        let current = Current { mode: start.mode, directory: new == New::Directory, umask: host.identity().umask };
        let mode = match &self.mode {
            // A link's own mode means nothing and cannot be set.
            Some(text) if new != New::Link => Mode::parse(text)?.apply(current),
            _ => start.mode,
        };
        let owner = match &self.owner {
            Some(name) => match known(name, [&start.owner, &host.identity().user]) {
                Some(owner) => owner,
                None => self.resolved.owner.get_or_try_init(|| host.user(name)).await?.clone(),
            },
            None => start.owner.clone(),
        };
        let group = match &self.group {
            Some(name) => match known(name, [&start.group, &host.identity().group]) {
                Some(group) => group,
                None => self.resolved.group.get_or_try_init(|| host.group(name)).await?.clone(),
            },
            None => start.group.clone(),
        };
        Ok(Permissions { mode, owner, group })
    }
}

/// Fails where the host has SELinux: a context is not set here, and not left out in silence.
async fn without_selinux(host: &View) -> Result<(), ModuleError> {
    let paths = SELINUX.map(|path| (path.to_string(), Links::Follow));
    let nodes = host.look_all(&paths, Want::Attributes).await?;
    match nodes.iter().any(Node::exists) {
        true => Err(ModuleError::failed(format!(
            "`{}` has SELinux, and `seuser`, `serole`, `setype` and `selevel` cannot be set there\n\
             hint: leave them out, and set the context with a `command` task that runs chcon or restorecon",
            host.name
        ))),
        false => Ok(()),
    }
}

/// The permissions of a file of the login's own.
pub fn own(host: &View, mode: u32) -> Permissions {
    let identity = host.identity();
    Permissions { mode, owner: identity.user.clone(), group: identity.group.clone() }
}

/// Finds a name among owners already seen, which spares the host a question.
fn known(name: &str, seen: [&Owner; 2]) -> Option<Owner> {
    seen.into_iter().find(|owner| owner.name == name || name.parse() == Ok(owner.id)).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::bench::Bench;
    use super::SELINUX;

    /// A task of each way to rights: a file, a directory, a link and what it leads to, an edit.
    fn tasks() -> [(&'static str, serde_json::Value); 5] {
        [
            ("copy", json!({"content": "x\n", "dest": "/etc/x", "setype": "etc_t"})),
            ("file", json!({"path": "/srv/d/e", "state": "directory", "seuser": "_default"})),
            ("file", json!({"path": "/etc/l", "src": "x", "state": "link", "selevel": "s0"})),
            ("file", json!({"path": "/etc/l", "state": "file", "serole": "object_r"})),
            ("lineinfile", json!({"path": "/etc/x", "line": "y", "setype": "etc_t", "mode": "0600"})),
        ]
    }

    #[tokio::test]
    async fn a_context_is_nothing_to_a_host_without_selinux() {
        let bench = Bench::new();
        for (module, arguments) in tasks() {
            bench.twice(module, arguments).await;
        }
        assert_eq!((bench.host.read("/etc/x").unwrap(), bench.mode("/etc/x")), ("x\ny\n".into(), 0o600));
        assert!(bench.exists("/srv/d/e") && bench.exists("/etc/l"));
    }

    #[tokio::test]
    async fn a_context_fails_where_there_is_selinux_and_before_anything_is_changed() {
        for path in SELINUX {
            let bench = Bench::new();
            for directory in ["/srv", "/etc"] {
                bench.twice("file", json!({"path": directory, "state": "directory"})).await;
            }
            bench.twice("copy", json!({"content": "x\n", "dest": "/etc/x"})).await;
            bench.twice("file", json!({"path": "/etc/l", "src": "x", "state": "link"})).await;
            bench.twice("file", json!({"path": super::super::place::parent(path), "state": "directory"})).await;
            bench.twice("copy", json!({"content": "0", "dest": path})).await;
            for (module, arguments) in tasks() {
                let failed = bench.fails(module, arguments).await;
                assert!(failed.contains("has SELinux") && failed.contains("restorecon"), "{module}: {failed}");
            }
            bench.twice("file", json!({"path": "/etc/x", "state": "absent", "setype": "etc_t"})).await;
        }
    }

    #[tokio::test]
    async fn only_a_context_asks_for_selinux() {
        let copy = |setype| json!({"content": "x\n", "dest": "/etc/x", "setype": setype});
        let without = Bench::new().exchanges("copy", copy(None::<&str>)).await;
        assert_eq!(Bench::new().exchanges("copy", copy(Some("etc_t"))).await, without + 1);
    }
}
