//! A machine that has a POSIX `sh`: one long-lived shell fed framed scripts, over any carrier of bytes.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Become, TransportError};

/// What carries a shell to a machine: an SSH connection, or this machine's own process table.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Starts `line` as the login user's shell reads it, on a channel of its own.
    async fn start(&self, line: &str) -> Result<Channel, TransportError>;

    /// Starts `line` for bulk data: it goes as fast as its reader reads, without holding up what `start` gave.
    async fn stream(&self, line: &str) -> Result<Channel, TransportError> {
        self.start(line).await
    }
}

/// The three streams of a started program and its end. Dropping it closes the channel and ends the program.
pub struct Channel {
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// The exit status, 128 + the signal's number for a killed program. No status at all is `Unreachable`.
    pub status: BoxFuture<'static, Result<i32, TransportError>>,
}

/// One user's shell on one machine.
pub struct Posix {
    carrier: Arc<dyn Carrier>,
}

impl Posix {
    /// Starts the shell, as `user` if one is to become, and asks the machine once for its identity and tools.
    pub async fn start(carrier: Arc<dyn Carrier>, user: Option<&Become>) -> Result<Posix, TransportError> {
        let _ = user;
        Ok(Posix { carrier })
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        let _ = &self.carrier;
    }
}
