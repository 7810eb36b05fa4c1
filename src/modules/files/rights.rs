//! The arguments that say who owns a path and who may use it: shared by every module that makes one.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Kind, ModuleError};
use crate::transport::{Node, Owner, Permissions};

use super::flags::Flags;
use super::mode::{Current, Mode};

const SELINUX: &str = "SELinux contexts are not managed; set them with a `command` task that runs chcon or restorecon";

/// `mode`, `owner`, `group`, and those of the same family that Cutover does not have.
pub const RIGHTS: &[Argument] = &[
    Argument::new("mode", Kind::Mode, "Permission bits, such as `\"0644\"` or `u=rw,go=r`."),
    Argument::new("owner", Kind::Text, "Name or number of the user that owns it."),
    Argument::new("group", Kind::Text, "Name or number of the group that owns it."),
    Argument::new("attributes", Kind::Text, "Flags of the file system, as chattr takes them: `+i`, `-A`, `=ad`.")
        .alias(&["attr"]),
    Argument::new("selevel", Kind::Text, "SELinux level.").refused(SELINUX),
    Argument::new("serole", Kind::Text, "SELinux role.").refused(SELINUX),
    Argument::new("setype", Kind::Text, "SELinux type.").refused(SELINUX),
    Argument::new("seuser", Kind::Text, "SELinux user.").refused(SELINUX),
    Argument::new("unsafe_writes", Kind::Bool, "Write in place where a rename fails.")
        .refused("every write is atomic; a half-written file is never left behind"),
];

/// Whose a path is to be. What is not asked for stays as it is, or is as for any new path.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rights {
    pub mode: Option<String>,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub attributes: Option<String>,
    /// What the host said of the two names, asked once for a whole tree; copies of these rights share it.
    #[serde(skip)]
    resolved: Arc<Resolved>,
}

#[derive(Debug, Default)]
struct Resolved {
    owner: OnceCell<Owner>,
    group: OnceCell<Owner>,
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
        self.mode.is_none() && self.owner.is_none() && self.group.is_none()
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

/// The permissions of a file of the login's own.
pub fn own(host: &View, mode: u32) -> Permissions {
    let identity = host.identity();
    Permissions { mode, owner: identity.user.clone(), group: identity.group.clone() }
}

/// Finds a name among owners already seen, which spares the host a question.
fn known(name: &str, seen: [&Owner; 2]) -> Option<Owner> {
    seen.into_iter().find(|owner| owner.name == name || name.parse() == Ok(owner.id)).cloned()
}
