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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::TransportError;
use super::posix::{Carrier, Channel};

mod auth;
mod channel;
mod host_key;
mod known_hosts;
mod link;
mod target;
mod terminal;

pub use known_hosts::HostKeyChecking;
use link::{Link, Program};
pub use target::{AddressFamily, Algorithms, Profile, Target, Via};

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
        self.open(Use::Shells, Program::Piped(line)).await
    }

    async fn stream(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Streams, Program::Piped(line)).await
    }

    async fn terminal(&self, line: &str) -> Result<Channel, TransportError> {
        self.open(Use::Shells, Program::OnTerminal(line)).await
    }
}

impl Ssh {
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
        let link = Link::open(&self.target, purpose).await?;
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
