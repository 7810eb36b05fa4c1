//! A host over SSH; the only place that knows russh.
//!
//! A runner connects once to each host and starts one [`Posix`](super::posix::Posix) on that connection for each user:
//!
//! ```ignore
//! let ssh = ssh::connect(target).await?;
//! let login = Posix::start(ssh.clone(), None).await?;
//! let root = Posix::start(ssh.clone(), Some(&become_root)).await?;
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::TransportError;
use super::posix::{Carrier, Channel};
use crate::secret::Secret;

mod auth;
mod channel;
mod known_hosts;
mod link;

pub use known_hosts::HostKeyChecking;
use link::Link;

/// How to reach one host, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The inventory's name, for errors.
    pub name: String,
    /// A name or an address; what `known_hosts` is searched for.
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Files of private keys, in the order in which they are tried.
    pub keys: Vec<PathBuf>,
    pub password: Option<Secret>,
    /// The agent's socket (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// Every file is read; a new key is written to the first.
    pub known_hosts: Vec<PathBuf>,
    pub host_key_checking: HostKeyChecking,
    /// From the first packet to the end of the login.
    pub connect_timeout: Duration,
    /// After so long a silence the host is asked whether it is there; after three without an answer it is not.
    pub keepalive: Duration,
}

impl Target {
    /// A host at port 22, with the key and known-hosts files that `ssh` reads for a user whose home is `home`.
    pub fn new(name: &str, user: &str, home: &Path) -> Target {
        let ssh = home.join(".ssh");
        Target {
            name: name.into(),
            address: name.into(),
            port: 22,
            user: user.into(),
            keys: ["id_ed25519", "id_ecdsa", "id_rsa"].map(|file| ssh.join(file)).into(),
            password: None,
            agent: None,
            known_hosts: vec![
                ssh.join("known_hosts"),
                ssh.join("known_hosts2"),
                "/etc/ssh/ssh_known_hosts".into(),
                "/etc/ssh/ssh_known_hosts2".into(),
            ],
            host_key_checking: HostKeyChecking::Strict,
            connect_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(15),
        }
    }

    /// `user@address port 22`, as errors name it.
    fn place(&self) -> String {
        format!("{}@{} port {}", self.user, self.address, self.port)
    }
}

/// Connects and logs in.
pub async fn connect(target: Target) -> Result<Arc<Ssh>, TransportError> {
    let ssh = Ssh { target, shells: Pool::default(), streams: Pool::default() };
    let link = Link::open(&ssh.target, Use::Shells).await?;
    ssh.shells.links().push(link);
    Ok(Arc::new(ssh))
}

/// A host that is logged in to. Dropping it and its channels says goodbye to the host.
///
/// Shells share one connection. A second one is made only for bulk streams, and only when there is one: the SSH
/// library hands all channels' data through one task, so a stream whose reader is slow would hold up every shell.
pub struct Ssh {
    target: Target,
    shells: Pool,
    streams: Pool,
}

#[async_trait]
impl Carrier for Ssh {
    async fn start(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Shells, line).await
    }

    async fn stream(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Streams, line).await
    }
}

impl Ssh {
    async fn open(&self, purpose: Use, line: &str) -> Result<Channel, TransportError> {
        let pool = match purpose {
            Use::Shells => &self.shells,
            Use::Streams => &self.streams,
        };
        while let Some(seat) = pool.seat() {
            if let Some(channel) = seat.start(line).await? {
                return Ok(channel);
            }
        }
        let link = Link::open(&self.target, purpose).await?;
        pool.links().push(link.clone());
        let started = match link.seat() {
            Some(seat) => seat.start(line).await?,
            None => None,
        };
        let refused = "allows no session on a new connection; `MaxSessions` in its sshd_config must be 1 or more";
        started.ok_or_else(|| TransportError::Refused(format!("{} {refused}", self.target.place())))
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Several channels, each read at once into memory so that none holds up another.
    Shells,
    /// One channel, read as fast as its consumer reads.
    Streams,
}

/// The connections to one host that serve one purpose.
#[derive(Default)]
struct Pool(Mutex<Vec<Arc<Link>>>);

impl Pool {
    /// Takes a free seat on a living connection. `None`: another connection is needed.
    fn seat(&self) -> Option<link::Seat> {
        let mut links = self.links();
        links.retain(|link| !link.is_closed());
        links.iter().find_map(Link::seat)
    }

    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
