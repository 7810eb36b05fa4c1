//! What a path is: absent, a file, a directory, a link; with content and permissions.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::crypt::hex;

use super::Command;

/// A user or group, both ways. `name` is the number where the host knows no name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub id: u32,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The twelve permission bits, such as `0o644`.
    pub mode: u32,
    pub owner: Owner,
    pub group: Owner,
}

/// A SHA-256, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub String);

/// A file's content: always its size; its digest and bytes where they were asked for or are known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Content {
    /// In bytes.
    pub size: u64,
    pub digest: Option<Digest>,
    pub body: Body,
}

/// Where a content's bytes are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Only on the host.
    There,
    /// In memory.
    Here(#[serde(with = "base64_bytes")] Arc<[u8]>),
    /// In a file of the controller, which is streamed when the change is applied.
    File(#[serde(with = "local_path")] PathBuf),
    /// In a file of another host of the run; `change::apply` brings it to the controller first.
    Peer { host: String, path: String },
    /// In a file of the task's own host, for one of the controller; brought here in the same way.
    Own { path: String },
    /// In what a command prints, on the task's own host or, with `here`, on the controller; brought in the same way.
    Printed { by: Box<Command>, here: bool },
    /// Nowhere yet: in a check, only a run gives them, which needs this. Nothing that has it can be saved.
    #[serde(skip)]
    Unknown { needs: Arc<str> },
}

/// What a path is. Equality compares what can be compared: digests if both sides have one, else sizes;
/// times only if both sides ask for one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    Absent,
    File {
        content: Content,
        permissions: Permissions,
        modified: Option<i64>,
    },
    Directory {
        permissions: Permissions,
        modified: Option<i64>,
    },
    /// The target as stored. A link's own mode means nothing.
    Link {
        target: String,
        permissions: Permissions,
    },
    /// A socket, FIFO or device; the letter `ls -l` shows.
    Special {
        letter: char,
        permissions: Permissions,
    },
}

/// One path's difference. `before == after` cannot be built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathChange {
    path: String,
    before: Node,
    after: Node,
    /// A shell command in which `%s` is the temp file; a non-zero status keeps the path as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validate: Option<String>,
    /// The colon-separated field of each line, from 1, that is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_field: Option<usize>,
    /// What it brings about, a line each, for whoever reviews it: the route of each address. Nothing else reads it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    meaning: Vec<String>,
    /// The time of access that it is given too, in seconds since 1970. No node has one, for each reader sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accessed: Option<i64>,
}

/// Files that have a password or its hash in a field of each line, by the ends of their paths: shadow(5), gshadow(5), and
/// the panel's list for POP3.
const SECRET_FIELDS: [(&str, usize); 3] = [("/etc/shadow", 2), ("/etc/gshadow", 2), ("/users/poppasswd", 2)];

impl PathChange {
    /// `path` is absolute. Returns nothing where there is no difference.
    pub fn new(path: impl Into<String>, before: Node, after: Node) -> Option<PathChange> {
        (before != after).then(|| {
            let path = path.into();
            let known = SECRET_FIELDS.iter().find(|(end, _)| path.ends_with(end));
            let secret_field = known.map(|(_, field)| *field);
            PathChange { path, before, after, validate: None, secret_field, meaning: Vec::new(), accessed: None }
        })
    }

    pub fn validated_by(mut self, command: Option<String>) -> PathChange {
        self.validate = command;
        self
    }

    /// Marks a colon-separated field of each line, counted from 1, as one that no diff and no journal may show.
    pub fn with_secret_field(mut self, field: usize) -> PathChange {
        self.secret_field = Some(field);
        self
    }

    /// Says what it brings about, a line each.
    pub fn meaning_that(mut self, lines: Vec<String>) -> PathChange {
        self.meaning = lines;
        self
    }

    /// Gives it a time of access too, in seconds since 1970.
    pub fn accessed_at(mut self, seconds: Option<i64>) -> PathChange {
        self.accessed = seconds;
        self
    }

    pub fn accessed(&self) -> Option<i64> {
        self.accessed
    }

    pub fn meaning(&self) -> &[String] {
        &self.meaning
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the same change with the bytes of the file's content somewhere else.
    pub fn with_body(mut self, new: Body) -> PathChange {
        if let Node::File { content, .. } = &mut self.after {
            content.body = new;
        }
        self
    }

    pub fn before(&self) -> &Node {
        &self.before
    }

    /// Says whether this sets a modification time: one that stays as it is is not asked for.
    pub fn sets_time(&self) -> bool {
        let time = self.after.modified();
        let kept = match (self.before.content(), self.after.content()) {
            (Some(before), Some(after)) => before == after,
            _ => self.before.is_directory() && self.after.is_directory(),
        };
        time.is_some() && !(kept && time == self.before.modified())
    }

    /// Says whether this is about the mode and owner of a file alone.
    pub fn keeps_content(&self) -> bool {
        match (self.before.content(), self.after.content()) {
            (Some(before), Some(after)) => !self.sets_time() && (matches!(after.body, Body::There) || before == after),
            _ => false,
        }
    }

    /// Says whether a path, looked at with its digest, is as this change takes it to be. A time counts where the change
    /// sets one, and where nothing else would tell that a content is another.
    pub fn is_before(&self, found: &Node) -> bool {
        let known = self.before.content().is_some_and(|content| content.digest.is_some());
        match !self.sets_time() && (known || self.before.is_directory()) {
            // Its content stays whatever it is: what goes on being written to is still the same path.
            _ if self.keeps_content() => self.before.permissions() == found.permissions() && found.content().is_some(),
            true => self.before.without_time() == found.without_time(),
            false => self.before == *found,
        }
    }

    /// Returns the change that takes this one back, or why there is none.
    pub fn undone(&self) -> Result<PathChange, String> {
        match &self.before {
            Node::File { content, .. } => {
                let stays = self.after.content() == Some(content);
                if !stays && content.bytes().is_none() {
                    return Err(format!("its old content, {} bytes, was not kept", content.size));
                }
                let whole = |bytes: &[u8]| content.digest.as_ref().is_none_or(|digest| *digest == Digest::of(bytes));
                if !stays && !content.bytes().is_some_and(whole) {
                    return Err("what was kept of its old content is damaged: its digest is another".into());
                }
            }
            Node::Special { .. } if !matches!(self.after, Node::Special { .. }) => {
                return Err("a socket, FIFO or device is not made anew".into());
            }
            _ => {}
        }
        // A directory's time moves with every entry that is made in it.
        let timed = |node: &Node| if node.is_directory() { node.without_time() } else { node.clone() };
        Ok(PathChange {
            path: self.path.clone(),
            before: timed(&self.after),
            after: timed(&self.before),
            validate: None,
            secret_field: self.secret_field,
            meaning: Vec::new(),
            accessed: None,
        })
    }

    pub fn after(&self) -> &Node {
        &self.after
    }

    pub fn validate(&self) -> Option<&str> {
        self.validate.as_deref()
    }

    pub fn secret_field(&self) -> Option<usize> {
        self.secret_field
    }
}

impl Content {
    /// Returns the content for bytes that are here, with their digest.
    pub fn here(bytes: impl Into<Arc<[u8]>>) -> Content {
        let bytes = bytes.into();
        Content { size: bytes.len() as u64, digest: Some(Digest::of(&bytes)), body: Body::Here(bytes) }
    }

    /// Returns the content that only a run gives.
    pub fn unknown(needs: Arc<str>) -> Content {
        Content { size: 0, digest: None, body: Body::Unknown { needs } }
    }

    /// Returns what it takes to know the content, where only a run gives it.
    pub fn needs(&self) -> Option<&Arc<str>> {
        match &self.body {
            Body::Unknown { needs } => Some(needs),
            _ => None,
        }
    }

    pub fn is_unknown(&self) -> bool {
        self.needs().is_some()
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Here(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Content) -> bool {
        match (&self.digest, &other.digest) {
            _ if self.is_unknown() || other.is_unknown() => self.is_unknown() && other.is_unknown(),
            (Some(left), Some(right)) => left == right,
            _ => self.size == other.size,
        }
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        use sha2::Digest as _;
        Digest(hex(&sha2::Sha256::digest(bytes)))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        let same_time = |left: &Option<i64>, right: &Option<i64>| left.is_none() || right.is_none() || left == right;
        match (self, other) {
            (Node::Absent, Node::Absent) => true,
            (
                Node::File { content: a, permissions: b, modified: c },
                Node::File { content: x, permissions: y, modified: z },
            ) => a == x && b == y && same_time(c, z),
            (Node::Directory { permissions: a, modified: b }, Node::Directory { permissions: x, modified: y }) => {
                a == x && same_time(b, y)
            }
            // A link's mode cannot be set; its owner can.
            (Node::Link { target: a, permissions: b }, Node::Link { target: x, permissions: y }) => {
                a == x && b.owner == y.owner && b.group == y.group
            }
            (Node::Special { letter: a, permissions: b }, Node::Special { letter: x, permissions: y }) => {
                a == x && b == y
            }
            _ => false,
        }
    }
}

impl Node {
    pub fn exists(&self) -> bool {
        !matches!(self, Node::Absent)
    }

    pub fn is_directory(&self) -> bool {
        matches!(self, Node::Directory { .. })
    }

    /// Returns the same node with no modification time.
    pub fn without_time(&self) -> Node {
        let mut node = self.clone();
        if let Node::File { modified, .. } | Node::Directory { modified, .. } = &mut node {
            *modified = None;
        }
        node
    }

    pub fn permissions(&self) -> Option<&Permissions> {
        match self {
            Node::Absent => None,
            Node::File { permissions, .. }
            | Node::Directory { permissions, .. }
            | Node::Link { permissions, .. }
            | Node::Special { permissions, .. } => Some(permissions),
        }
    }

    /// Returns the same node with other permissions; an absent one stays absent.
    pub fn with_permissions(mut self, new: Permissions) -> Node {
        match &mut self {
            Node::Absent => {}
            Node::File { permissions, .. }
            | Node::Directory { permissions, .. }
            | Node::Link { permissions, .. }
            | Node::Special { permissions, .. } => *permissions = new,
        }
        self
    }

    pub fn content(&self) -> Option<&Content> {
        match self {
            Node::File { content, .. } => Some(content),
            _ => None,
        }
    }

    /// Returns the modification time, in seconds since 1970, where it is known or asked for.
    pub fn modified(&self) -> Option<i64> {
        match self {
            Node::File { modified, .. } | Node::Directory { modified, .. } => *modified,
            _ => None,
        }
    }

    /// Names the kind as Ansible's `state` does.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Absent => "absent",
            Node::File { .. } => "file",
            Node::Directory { .. } => "directory",
            Node::Link { .. } => "link",
            Node::Special { .. } => "special",
        }
    }
}

/// A path of the controller that need not be UTF-8.
mod local_path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::transport::name::{from_local, to_local};

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&from_local(path))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        String::deserialize(deserializer).map(|text| to_local(&text))
    }
}

mod base64_bytes {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Arc::from).map_err(D::Error::custom)
    }
}
