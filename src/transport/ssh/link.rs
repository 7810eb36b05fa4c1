//! One SSH connection: opened within a time limit, its host key checked, its channels counted.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use russh::client::{self, DisconnectReason, Handle};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelOpenFailure, Disconnect, Error, Names, SshId, compression};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::auth::Session;
use super::host_key::{Report, Verifier};
use super::known_hosts::KnownHosts;
use super::line::Line;
use super::patience::Patience;
use super::proxy::{Proxy, Words};
use super::target::Via;
use super::{Client, Target, Use, auth, channel, mismatch, terminal};
use crate::transport::name::to_bytes;
use crate::transport::posix::Channel;
use crate::transport::{Address, TransportError};

/// sshd allows ten sessions on a connection by default (`MaxSessions`, `sshd_config.5`).
const SHELLS: usize = 8;

/// Bytes in flight towards us on a bulk stream: enough for 100 MB/s at 150 ms.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;

pub struct Link {
    handle: Arc<Handle<Watcher>>,
    /// What a server refuses once is taken off for good.
    seats: Arc<Semaphore>,
    purpose: Use,
    report: Arc<Report>,
    /// What its proxy command says.
    words: Option<Words>,
}

impl Link {
    /// Connects and logs in, all within the target's time limit; a jump host has its own before that.
    pub async fn open(client: &Arc<Client>, target: &Target, purpose: Use) -> Result<Arc<Link>, TransportError> {
        let report = Arc::new(Report::new(target.place()));
        let jump = jump(client, target).await?;
        let patience = Patience::default();
        let mut words = None;
        let opening = Opening { target, purpose, report: &report, patience: &patience };
        let opened = patience.limit(target.connect_timeout, opening.run(client, jump, &mut words)).await;
        let failure = match opened {
            Some(Ok(link)) => return Ok(link),
            Some(Err(error)) => error,
            None => TransportError::Unreachable(format!(
                "{}: no answer within {} s while {}",
                report.place,
                target.connect_timeout.as_secs_f64(),
                Report::get(&report.stage).unwrap_or_default()
            )),
        };
        Err(match words {
            Some(mut words) => quoting(failure, words.last().await),
            None => failure,
        })
    }

    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Takes one of the connection's seats, if one is free.
    pub fn seat(self: &Arc<Link>) -> Option<Seat> {
        let permit = self.seats.clone().try_acquire_owned().ok()?;
        Some(Seat { link: self.clone(), permit: Some(permit) })
    }

    /// Connects onwards from the host, as `ssh -W` does. Such channels are not sessions, so they need no seat.
    pub async fn forward(self: &Arc<Link>, address: &Address) -> Result<Channel, NotForwarded> {
        let (link, address) = (self.clone(), address.clone());
        let (opened, channel) = oneshot::channel();
        // A channel that opens when nobody waits for it any more has to be closed, which dropping its streams does.
        tokio::spawn(async move {
            let port = address.port.into();
            let open = link.handle.channel_open_direct_tcpip(address.host, port, "127.0.0.1", 65535).await;
            let carried = open.map(|open| channel::carry(open, Seat { link: link.clone(), permit: None }));
            let _ = opened.send(carried.map_err(|error| match error {
                Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => NotForwarded::Forbidden,
                Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => NotForwarded::Failed,
                other => NotForwarded::Lost(link.report.lost(&other)),
            }));
        });
        channel.await.unwrap_or_else(|_| Err(NotForwarded::Lost(self.loss())))
    }

    /// The host, for errors.
    pub fn place(&self) -> &str {
        &self.report.place
    }

    /// Why the connection is gone.
    pub fn loss(&self) -> TransportError {
        let words = self.words.as_ref().and_then(Words::so_far);
        quoting(self.report.lost(&Error::Disconnect), words)
    }

    /// The fingerprint of the key that the host has answered with.
    pub fn host_key(&self) -> Option<String> {
        Report::get(&self.report.key)
    }

    pub fn purpose(&self) -> Use {
        self.purpose
    }
}

/// Why there is no connection onwards.
#[derive(Debug, thiserror::Error)]
pub enum NotForwarded {
    #[error("it does not allow that (`AllowTcpForwarding`, `PermitOpen` in its sshd_config)")]
    Forbidden,
    /// OpenSSH does not tell a name that is not found from a port that is closed.
    #[error("no connection")]
    Failed,
    /// The connection to the host itself is gone.
    #[error("{0}")]
    Lost(TransportError),
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
    permit: Option<OwnedSemaphorePermit>,
}

/// A line for the login user's shell, and what its streams are.
#[derive(Clone, Copy)]
pub enum Program<'a> {
    Piped(&'a str),
    OnTerminal(&'a str),
}

impl Seat {
    /// Starts a program. `None`: the server allows no further channel on this connection.
    pub async fn start(self, program: Program<'_>) -> Result<Option<Channel>, TransportError> {
        let opened = match self.link.handle.channel_open_session().await {
            Err(Error::ChannelOpenFailure(_)) => {
                if let Some(permit) = self.permit {
                    permit.forget();
                }
                return Ok(None);
            }
            other => other.map_err(|error| self.link.report.lost(&error))?,
        };
        let (opened, line) = match program {
            Program::Piped(line) => (opened, line),
            Program::OnTerminal(line) => {
                let opened = terminal::ask(opened).await.map_err(|error| self.link.report.lost(&error))?;
                let Some(opened) = opened else {
                    return Err(TransportError::Refused("the SSH server gives no terminal".into()));
                };
                (opened, line)
            }
        };
        opened.exec(true, &*to_bytes(line)).await.map_err(|error| self.link.report.lost(&error))?;
        Ok(Some(channel::carry(opened, self)))
    }
}

/// A connection that is being made.
struct Opening<'a> {
    target: &'a Target,
    purpose: Use,
    report: &'a Arc<Report>,
    patience: &'a Patience,
}

impl Opening<'_> {
    async fn run(
        self,
        client: &Client,
        jump: Option<Arc<Link>>,
        words: &mut Option<Words>,
    ) -> Result<Arc<Link>, TransportError> {
        let (target, report) = (self.target, self.report);
        let unreachable =
            |error: &dyn std::fmt::Display| TransportError::Unreachable(format!("{}: {error}", report.place));
        Report::set(&report.stage, "connecting");
        let known = KnownHosts::of(target).await.map_err(|error| unreachable(&error))?;
        let config = config(target, self.purpose, &known).map_err(|error| unreachable(&error))?;
        let mut line = line(target, jump.as_ref(), words).await?;
        let cut = line.cut();

        Report::set(&report.stage, "exchanging keys");
        let version = Arc::new(OnceLock::new());
        let verifier = Verifier { known, checking: target.host_key_checking, report: report.clone() };
        let watcher = Watcher { verifier, version: version.clone() };
        let connected = client::connect_stream(Arc::new(config), line, watcher).await;
        let mut handle = connected.map_err(|error| match &error {
            Error::NoCommonAlgo { kind, ours, theirs } => unreachable(&mismatch::explain(target, kind, (ours, theirs))),
            other => report.lost(other),
        })?;

        let session = Session {
            handle: &mut handle,
            keyring: &client.keyring,
            patience: self.patience,
            report,
            version: version.get().cloned().unwrap_or_default(),
        };
        auth::log_in(session, target).await?;
        cut.keep();
        let seats = match self.purpose {
            Use::Shells => SHELLS,
            Use::Streams => 1,
        };
        Ok(Arc::new(Link {
            handle: Arc::new(handle),
            seats: Arc::new(Semaphore::new(seats)),
            purpose: self.purpose,
            report: report.clone(),
            words: words.take(),
        }))
    }
}

/// Returns the connection to the target's jump host, if it has one.
pub async fn jump(client: &Arc<Client>, target: &Target) -> Result<Option<Arc<Link>>, TransportError> {
    let Via::Jump(jump) = &target.via else { return Ok(None) };
    let failed = |error| {
        TransportError::Unreachable(format!("{}: its jump host `{}` failed: {error}", target.place(), jump.name))
    };
    client.jump(jump).await.map(Some).map_err(failed)
}

/// Opens what carries the connection. `words` becomes what a proxy command says.
pub async fn line(
    target: &Target,
    jump: Option<&Arc<Link>>,
    words: &mut Option<Words>,
) -> Result<Line, TransportError> {
    let unreachable =
        |error: &dyn std::fmt::Display| TransportError::Unreachable(format!("{}: {error}", target.place()));
    match (jump, &target.via) {
        (Some(jump), _) => {
            let address = Address::new(&target.address, target.port);
            let channel = jump.forward(&address).await.map_err(|error| match error {
                NotForwarded::Lost(error) => unreachable(&error),
                why => unreachable(&format!("{}: to {address}: {why}", jump.place())),
            });
            Ok(Line::channel(channel?))
        }
        (None, Via::Command(command)) => {
            let proxy = Proxy::start(command).map_err(|error| unreachable(&format!("`ProxyCommand`: {error}")))?;
            *words = Some(proxy.words());
            Line::proxy(proxy).map_err(|error| unreachable(&error))
        }
        (None, _) => Line::tcp(target).await.map_err(|error| unreachable(&error)),
    }
}

/// What the connection's own task tells: the judge of the host key does most of it.
pub struct Watcher {
    verifier: Verifier,
    /// The host's software.
    version: Arc<OnceLock<String>>,
}

impl client::Handler for Watcher {
    type Error = Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        self.verifier.check_server_key(key).await
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, _: &Names, session: &mut client::Session) -> Result<(), Error> {
        let _ = self.version.set(String::from_utf8_lossy(session.remote_sshid()).into_owned());
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        self.verifier.disconnected(reason).await
    }
}

pub fn config(target: &Target, purpose: Use, known: &KnownHosts) -> Result<client::Config, String> {
    let mut preferred = target.algorithms.preferred(|keys| known.prefer(keys))?;
    preferred.host_key_certificates = Cow::Owned(known.certificates(&target.algorithms.host_certificates()?));
    if target.compression {
        preferred.compression = Cow::Borrowed(&[compression::ZLIB_LEGACY, compression::ZLIB, compression::NONE]);
    }
    let mut config = client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Cutover_", env!("CARGO_PKG_VERSION")))),
        preferred,
        gex: target.algorithms.group_sizes(),
        keepalive_interval: target.keepalive,
        keepalive_max: target.keepalive_max,
        // A long quiet task is not a dead host.
        inactivity_timeout: None,
        ..client::Config::default()
    };
    if purpose == Use::Streams {
        config.window_size = STREAM_WINDOW;
    }
    Ok(config)
}

/// Adds what a proxy command said to the error, before its hints.
pub fn quoting(error: TransportError, words: Option<String>) -> TransportError {
    match (error, words) {
        (TransportError::Unreachable(text), Some(words)) => {
            let (first, hints) =
                text.split_once('\n').map_or((text.as_str(), None), |(first, rest)| (first, Some(rest)));
            let hints = hints.map(|hints| format!("\n{hints}")).unwrap_or_default();
            TransportError::Unreachable(format!("{first}; its proxy command says: {words}{hints}"))
        }
        (error, _) => error,
    }
}
