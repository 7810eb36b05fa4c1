//! One SSH connection: opened within a time limit, its host key checked, its channels counted.

use std::borrow::Cow;
use std::net::Shutdown;
use std::sync::Arc;

use russh::client::{self, Handle};
use russh::{Disconnect, Error, Preferred, SshId, cipher, kex};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::host_key::{Report, Verifier};
use super::known_hosts::KnownHosts;
use super::{HostKeyChecking, Target, Use, auth, channel};
use crate::transport::TransportError;
use crate::transport::name::to_bytes;
use crate::transport::posix::Channel;

/// sshd allows ten sessions on a connection by default (`MaxSessions`, `sshd_config.5`).
const SHELLS: usize = 8;

/// Bytes in flight towards us on a bulk stream: enough for 100 MB/s at 150 ms.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;

pub struct Link {
    handle: Arc<Handle<Verifier>>,
    /// What a server refuses once is taken off for good.
    seats: Arc<Semaphore>,
    purpose: Use,
    report: Arc<Report>,
}

impl Link {
    /// Connects and logs in, all within the target's time limit.
    pub async fn open(target: &Target, purpose: Use) -> Result<Arc<Link>, TransportError> {
        let report = Arc::new(Report::new(target.place()));
        let establish = Link::establish(target, purpose, report.clone());
        match tokio::time::timeout(target.connect_timeout, establish).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::Unreachable(format!(
                "{}: no answer within {} s while {}",
                report.place,
                target.connect_timeout.as_secs_f64(),
                Report::get(&report.stage).unwrap_or_default()
            ))),
        }
    }

    async fn establish(target: &Target, purpose: Use, report: Arc<Report>) -> Result<Arc<Link>, TransportError> {
        let unreachable =
            |error: &dyn std::fmt::Display| TransportError::Unreachable(format!("{}: {error}", report.place));
        Report::set(&report.stage, "connecting");
        let files = match target.host_key_checking {
            HostKeyChecking::Off => &[],
            HostKeyChecking::Strict | HostKeyChecking::AcceptNew => target.known_hosts.as_slice(),
        };
        let known = KnownHosts::read(files, &target.address, target.port).await;
        let known = known.map_err(|error| unreachable(&error))?;
        let stream = TcpStream::connect((target.address.as_str(), target.port)).await;
        let stream = stream.map_err(|error| unreachable(&error))?;
        let (stream, hang_up) = HangUp::of(stream).map_err(|error| unreachable(&error))?;

        Report::set(&report.stage, "exchanging keys");
        let config = Arc::new(config(target, purpose, &known));
        let verifier = Verifier { known, checking: target.host_key_checking, report: report.clone() };
        let mut handle = client::connect_stream(config, stream, verifier).await.map_err(|error| report.lost(&error))?;

        Report::set(&report.stage, "logging in");
        auth::log_in(&mut handle, target).await?;
        hang_up.keep();
        let seats = match purpose {
            Use::Shells => SHELLS,
            Use::Streams => 1,
        };
        Ok(Arc::new(Link { handle: Arc::new(handle), seats: Arc::new(Semaphore::new(seats)), purpose, report }))
    }

    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Takes one of the connection's seats, if one is free.
    pub fn seat(self: &Arc<Link>) -> Option<Seat> {
        let permit = self.seats.clone().try_acquire_owned().ok()?;
        Some(Seat { link: self.clone(), permit })
    }

    /// Why the connection is gone.
    pub fn loss(&self) -> TransportError {
        self.report.lost(&Error::Disconnect)
    }

    pub fn purpose(&self) -> Use {
        self.purpose
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle.disconnect(Disconnect::ByApplication, "", "").await });
        }
    }
}

/// The right to one channel of a connection, which it keeps alive.
pub struct Seat {
    pub link: Arc<Link>,
    permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Starts `line`. `None`: the server allows no further channel on this connection.
    pub async fn start(self, line: &str) -> Result<Option<Channel>, TransportError> {
        let opened = match self.link.handle.channel_open_session().await {
            Err(Error::ChannelOpenFailure(_)) => {
                self.permit.forget();
                return Ok(None);
            }
            other => other.map_err(|error| self.link.report.lost(&error))?,
        };
        opened.exec(true, &*to_bytes(line)).await.map_err(|error| self.link.report.lost(&error))?;
        Ok(Some(channel::carry(opened, self)))
    }
}

/// Ends the socket when the wait for a login is given up: the library's own task would wait on it for ever.
struct HangUp(Option<std::net::TcpStream>);

impl HangUp {
    fn of(stream: TcpStream) -> std::io::Result<(TcpStream, HangUp)> {
        // Without it every question waits 40 ms for the host's delayed acknowledgement (Nagle).
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let twin = stream.try_clone()?;
        Ok((TcpStream::from_std(stream)?, HangUp(Some(twin))))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn config(target: &Target, purpose: Use, known: &KnownHosts) -> client::Config {
    let modern = Preferred::DEFAULT;
    // Appliances often have no other kind; the list's last names are not algorithms but announce extensions.
    let nist = [kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521];
    let mut exchanges = modern.kex.to_vec();
    let before = exchanges.iter().position(|name| *name == kex::DH_GEX_SHA256).unwrap_or(0);
    exchanges.splice(before..before, nist);
    // With AES in hardware, GCM moves bulk data up to twice as fast as the library's first choice.
    let mut ciphers = modern.cipher.to_vec();
    ciphers.sort_by_key(|name| *name != cipher::AES_256_GCM);

    let mut config = client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Cutover_", env!("CARGO_PKG_VERSION")))),
        keepalive_interval: target.keepalive,
        keepalive_max: target.keepalive_max,
        // A long quiet task is not a dead host.
        inactivity_timeout: None,
        ..client::Config::default()
    };
    config.preferred.kex = Cow::Owned(exchanges);
    config.preferred.cipher = Cow::Owned(ciphers);
    config.preferred.key = Cow::Owned(known.prefer(&modern.key));
    if purpose == Use::Streams {
        config.window_size = STREAM_WINDOW;
    }
    config
}
