//! A host over SSH; the only place that knows russh.
//!
//! A runner connects once to each host and starts one [`Posix`](super::posix::Posix) on that connection for each user:
//!
//! ```no_run
//! # use cutover::transport::{Become, TransportError, posix::Posix, ssh::{self, Target}};
//! # async fn example(target: Target, root: Become) -> Result<(), TransportError> {
//! let ssh = ssh::connect(target).await?;
//! let login = Posix::start(ssh.clone(), None).await?;
//! let root = Posix::start(ssh.clone(), Some(&root)).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::posix::{Carrier, Channel};
use super::{Address, Stream, TransportError, no_answer};

mod algorithms;
mod auth;
mod channel;
pub mod config;
mod host_key;
mod identity;
mod keyring;
mod known_hosts;
mod line;
mod link;
mod mismatch;
mod neighbours;
mod patience;
mod proxy;
mod rsa;
mod scan;
pub mod signature;
mod target;
mod terminal;

pub use keyring::{Ask, Keyring};
pub use known_hosts::line::{Names, hashed};
pub use known_hosts::{HostKeyChecking, pin};
use link::{Link, NotForwarded, Program};
pub use neighbours::{Half, Neighbour, Neighbours};
pub use scan::{HostKey, Same, Scanned, Status, reason, scan};
pub use target::{AddressFamily, Algorithms, Profile, Target, Via};

/// Connects and logs in, sharing nothing with other connections and asking nobody.
pub async fn connect(target: Target) -> Result<Arc<Ssh>, TransportError> {
    Arc::new(Client::default()).connect(target).await
}

/// What all connections of a run share: unlocked keys, and the connections to jump hosts.
#[derive(Default)]
pub struct Client {
    keyring: Keyring,
    jumps: Mutex<HashMap<Target, Opened>>,
}

/// A connection that is being opened, or open; or why there is none.
type Opened = Shared<BoxFuture<'static, Result<Arc<Link>, TransportError>>>;

impl Client {
    pub fn new(keyring: Keyring) -> Client {
        Client { keyring, ..Client::default() }
    }

    /// Connects and logs in.
    pub async fn connect(self: &Arc<Client>, target: Target) -> Result<Arc<Ssh>, TransportError> {
        let ssh = Ssh { client: self.clone(), target, shells: Pool::default(), streams: Pool::default() };
        let link = Link::open(&ssh.client, &ssh.target, Use::Shells).await?;
        ssh.shells.links().push(link);
        Ok(Arc::new(ssh))
    }

    /// Returns the connection to a jump host. Who comes while it is opened waits for it, and gets the same answer.
    async fn jump(self: &Arc<Client>, target: &Target) -> Result<Arc<Link>, TransportError> {
        let opened = {
            let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
            let lost =
                |opened: &Opened| opened.peek().is_some_and(|link| link.as_ref().map_or(true, |link| link.is_closed()));
            if jumps.get(target).is_some_and(lost) {
                jumps.remove(target);
            }
            jumps.entry(target.clone()).or_insert_with(|| self.opening(target.clone())).clone()
        };
        opened.await
    }

    fn opening(self: &Arc<Client>, target: Target) -> Opened {
        // Weakly: what is kept in the client must not keep the client.
        let client = Arc::downgrade(self);
        let open = async move {
            let client = client.upgrade().ok_or_else(|| TransportError::Unreachable("the run is over".into()))?;
            Link::open(&client, &target, Use::Shells).await
        };
        open.boxed().shared()
    }
}

/// A host that is logged in to. Dropping it and its channels says goodbye to the host.
///
/// Shells share one connection. A second one is made only for bulk streams, and only when there is one: the SSH
/// library hands all channels' data through one task, so a stream whose reader is slow would hold up every shell.
pub struct Ssh {
    client: Arc<Client>,
    target: Target,
    shells: Pool,
    streams: Pool,
}

#[async_trait]
impl Carrier for Ssh {
    async fn start(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Shells, Program::Piped(line)).await
    }

    async fn stream(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Streams, Program::Piped(line)).await
    }

    async fn terminal(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Shells, Program::OnTerminal(line)).await
    }

    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError> {
        let refused = |why: &dyn std::fmt::Display| {
            TransportError::Refused(format!("{}: to {address}: {why}", self.target.place()))
        };
        let hint = "hint: the controller may reach it: `delegate_to: localhost`";
        let dialling = async {
            self.living().await?.forward(address).await.map_err(|error| match error {
                NotForwarded::Lost(error) => error,
                NotForwarded::Forbidden => refused(&format!("{error}\n{hint}")),
                NotForwarded::Failed => refused(&error),
            })
        };
        let dialled = tokio::time::timeout(limit, dialling).await;
        let channel = dialled.unwrap_or_else(|_| Err(refused(&no_answer(limit))))?;
        Ok(tokio::io::join(channel.stdout, channel.stdin))
    }

    fn host_key(&self) -> Option<String> {
        self.shells.links().last().and_then(|link| link.host_key())
    }
}

impl Ssh {
    /// Returns a living connection, whether or not it has a free seat.
    async fn living(&self) -> Result<Arc<Link>, TransportError> {
        let living = self.shells.links().iter().find(|link| !link.is_closed()).cloned();
        match living {
            Some(link) => Ok(link),
            None => {
                let link = Link::open(&self.client, &self.target, Use::Shells).await?;
                self.shells.links().push(link.clone());
                Ok(link)
            }
        }
    }

    async fn open(&self, purpose: Use, program: Program<'_>) -> Result<Channel, TransportError> {
        let pool = match purpose {
            Use::Shells => &self.shells,
            Use::Streams => &self.streams,
        };
        while let Some(seat) = pool.seat() {
            if let Some(channel) = seat.start(program).await? {
                return Ok(channel);
            }
        }
        let link = Link::open(&self.client, &self.target, purpose).await?;
        pool.links().push(link.clone());
        let started = match link.seat() {
            Some(seat) => seat.start(program).await?,
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
