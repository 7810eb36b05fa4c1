//! A machine: what the rest of the program may ask of one, and the nouns of the answers.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

pub mod command;
pub mod local;
pub mod memory;
pub mod name;
pub mod node;
pub mod posix;
pub mod read_ahead;
pub mod ssh;

pub use command::{Become, Command, Output, Program};
pub use node::{Body, Content, Digest, Node, Owner, PathChange, Permissions};
pub use posix::detach;
pub use posix::lock::{Lock, Others};
pub use read_ahead::ReadAhead;

/// How much of a path a reader wants to know. Each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// Type, permissions, size, times.
    Attributes,
    /// And the SHA-256 of a file's content.
    Digest,
    /// And the content itself, if it is at most [`INLINE_LIMIT`] bytes.
    Content,
}

/// The size in bytes up to which a file's content travels with a look, is diffed and is journalled.
pub const INLINE_LIMIT: u64 = 1024 * 1024;

/// Whether a symbolic link at the path itself is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Links {
    Follow,
    Keep,
}

/// One path below a listed directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Absolute.
    pub path: String,
    /// With `Want::Attributes`: a file's content is `Content` without digest and body.
    pub node: Node,
}

/// Where a service listens, as the host that dials it resolves and reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    pub fn new(host: impl Into<String>, port: u16) -> Address {
        Address { host: host.into(), port }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} port {}", self.host, self.port)
    }
}

/// Both directions of a connection. Its end is the end of what can be read; dropping it closes it.
pub type Stream = tokio::io::Join<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>;

/// What a connection found out about its host and user, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: Owner,
    pub group: Owner,
    pub home: String,
    /// Where commands and relative paths start: the home directory, and on this machine where Cutover was started.
    pub base: String,
    /// The umask of the session, such as `0o022`.
    pub umask: u32,
}

/// One user on one machine. Every method is one exchange with it, however many items it is given.
///
/// Reading methods never change the host. Only `write` and `run` can, and only `change::apply` calls them for that.
#[async_trait]
pub trait Transport: Send + Sync {
    fn identity(&self) -> &Identity;

    /// Returns one node for each path, in order. An absent path is `Node::Absent`, not an error.
    async fn look(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError>;

    /// Returns everything below `directory` (not itself), sorted by path, links not followed.
    /// `depth` limits the levels: 1 is the directory's own entries. An absent directory has no entries.
    async fn list(&self, directory: &str, depth: Option<u32>) -> Result<Vec<Entry>, TransportError>;

    /// Resolves a user's name or number to both. `None`: the host has no such user.
    async fn user(&self, name: &str) -> Result<Option<Owner>, TransportError>;

    /// Resolves a group's name or number to both. `None`: the host has no such group.
    async fn group(&self, name: &str) -> Result<Option<Owner>, TransportError>;

    /// Makes the paths what `after` says, in order, each atomically: temp file in the same directory, owner, mode and
    /// times, fsync, rename. Each `before` is compared first. Stops at the first that fails; earlier ones stay made.
    async fn write(&self, changes: &[PathChange]) -> Result<(), WriteError>;

    /// Runs a command to its end. A non-zero status is an `Output`, not an error.
    async fn run(&self, command: &Command) -> Result<Output, TransportError>;

    /// Runs a command that only reads.
    async fn probe(&self, command: &Command) -> Result<Output, TransportError> {
        self.run(command).await
    }

    /// Makes no change from now on without the host's lock: the next one takes it on its way.
    fn guard(&self, _lock: &std::sync::Arc<Lock>) {}

    /// Takes the host's lock now, where it is guarded.
    async fn hold(&self, _others: Others) -> Result<(), TransportError> {
        Ok(())
    }

    /// Starts a command on a channel of its own; bytes flow both ways as the caller reads and writes.
    async fn open(&self, command: &Command) -> Result<Process, TransportError>;

    /// Connects over TCP from the host, as its network has it, within `limit`. No connection is `Refused`.
    /// What is then said decides whether it reads: the caller answers for that.
    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError>;

    /// Reads a file of any size: the process prints it on its stdout.
    async fn read(&self, path: &str) -> Result<Process, TransportError> {
        self.open(&Command::argv(["cat", "--", path])).await
    }
}

/// A running command. Dropping it ends it.
pub struct Process {
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Resolves to the exit status and what came on stderr, after stdout has ended.
    pub end: futures::future::BoxFuture<'static, Result<(i32, Vec<u8>), TransportError>>,
}

/// Why a machine gave no answer. Not a command's failure: that is an `Output`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it ended: the host is `unreachable`.
    #[error("{0}")]
    Unreachable(String),
    /// The connection ended while a change was being made.
    #[error("the connection ended in the middle of a change, unknown whether applied: {0}")]
    Uncertain(String),
    /// The host answered that it cannot do this: permission, full disk, missing tool.
    #[error("{0}")]
    Refused(String),
    /// Another run has the host's lock; nothing was done. Who, a line for each.
    #[error("another run is changing this host: {0}")]
    Held(String),
    /// A command passed its time limit and was ended with all its children.
    #[error("no end after {0:?}; it was stopped")]
    TimedOut(Duration),
    /// In a check: only a run can say. It needs this.
    #[error("unknown until run: needs {0}")]
    Unknown(std::sync::Arc<str>),
}

/// Why there is no connection where nobody has answered.
pub(crate) fn no_answer(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}

/// Why a write stopped, and at which of its changes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The path is no longer what it was when the change was planned. Nothing was done to it.
    #[error("`{}` is no longer as it was", name::shown(.path))]
    Stale { index: usize, path: String, found: Box<Node> },
    #[error("`{}`: {error}", name::shown(.path))]
    Failed { index: usize, path: String, error: TransportError },
}

/// Finds the machine of another host of the run: a change may read or write two of them.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Returns the transport of `host` as its login or become user; the inventory decides.
    async fn machine(&self, host: &str) -> Result<std::sync::Arc<dyn Transport>, TransportError>;
}
