//! An SSH server in this process that runs the machine's own `sh` in a directory of its own.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::secret::Secret;

mod command;

/// Who may log in to a server, and what its commands find.
#[derive(Clone, Debug)]
pub struct Options {
    /// On 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The file of the server's private key, made if it is absent.
    pub host_key: PathBuf,
    pub user: String,
    /// Public keys as in `authorized_keys`.
    pub keys: Vec<String>,
    pub password: Option<Secret>,
    /// Where commands start.
    pub directory: PathBuf,
    /// All that commands find in their environment.
    pub environment: Vec<(String, String)>,
    /// Every connection ends after so many bytes, both ways counted together.
    pub cut_after: Option<u64>,
    /// Where connections that clients ask for really lead (`ssh -W`), by `HOST:PORT`; others are refused.
    pub reaches: Vec<(String, SocketAddr)>,
}

/// A running server. Dropping it ends its connections and their commands.
pub struct Server {
    port: u16,
    host_key: PublicKey,
    connections: Connections,
    listening: JoinHandle<()>,
}

impl Server {
    pub async fn start(options: Options) -> io::Result<Server> {
        let private = kept_private_key(&options.host_key).await?;
        let host_key = private.public_key().clone();
        let config = server::Config {
            keys: vec![private],
            nodelay: true,
            // Guessing is not a danger on loopback, and a refused key costs a client nothing.
            auth_rejection_time: Duration::ZERO,
            inactivity_timeout: None,
            ..server::Config::default()
        };
        let keys = options.keys.iter().map(|line| PublicKey::from_openssh(line));
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        let port = listener.local_addr()?.port();
        let connections = Connections::default();
        let account = Arc::new(Account { options, keys });
        let listening = tokio::spawn(listen(listener, Arc::new(config), account, connections.clone()));
        Ok(Server { port, host_key, connections, listening })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The line that makes this server known to `ssh`.
    pub fn known_hosts_line(&self) -> String {
        let key = self.host_key.to_openssh().unwrap_or_default();
        format!("[127.0.0.1]:{} {}", self.port, key.trim_end())
    }

    /// Cuts every connection that is open now, as a broken network does.
    pub fn drop_connections(&self) {
        for connection in self.connections.open().iter().filter_map(Weak::upgrade) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
        self.drop_connections();
    }
}

/// Returns the public line of the ed25519 key that is kept at `path` (mode 0600), which is made if it is absent.
pub async fn kept_key(path: &Path) -> io::Result<String> {
    let key = kept_private_key(path).await?;
    key.public_key().to_openssh().map_err(io::Error::other)
}

async fn kept_private_key(path: &Path) -> io::Result<PrivateKey> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => russh::keys::decode_secret_key(&text, None).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
            let key = key.map_err(io::Error::other)?;
            let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
            let mut file = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await?;
            file.write_all(text.as_bytes()).await?;
            file.flush().await?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

struct Account {
    options: Options,
    keys: Vec<PublicKey>,
}

/// The sockets of the open connections, to be cut.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Vec<Weak<std::net::TcpStream>>>>);

impl Connections {
    fn open(&self) -> MutexGuard<'_, Vec<Weak<std::net::TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, connection: &Arc<std::net::TcpStream>) {
        let mut open = self.open();
        open.retain(|connection| connection.strong_count() > 0);
        open.push(Arc::downgrade(connection));
    }
}

async fn listen(listener: TcpListener, config: Arc<server::Config>, account: Arc<Account>, connections: Connections) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok((stream, twin)) = twins(stream) else { continue };
        let twin = Arc::new(twin);
        connections.add(&twin);
        let stream = Metered { stream, left: account.options.cut_after.map(AtomicU64::new) };
        let host = Host { account: account.clone(), channels: HashMap::new() };
        let config = config.clone();
        tokio::spawn(async move {
            if let Ok(session) = server::run_stream(config, stream, host).await {
                let _ = session.await;
            }
            // The twin would keep the socket open after the session has dropped its own.
            let _ = twin.shutdown(Shutdown::Both);
        });
    }
}

fn twins(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, twin))
}

/// One connection: who logs in, and the channels on which nothing runs yet.
struct Host {
    account: Arc<Account>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Handler for Host {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let mut keys = self.account.keys.iter();
        let known = keys.any(|known| known.key_data() == key.public_key.key_data());
        Ok(if known && user == self.account.options.user { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let known = self.account.options.password.as_ref().is_some_and(|known| known.reveal() == password);
        Ok(if known && user == self.account.options.user { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let asked = format!("{host}:{port}");
        let Some((_, to)) = self.account.options.reaches.iter().find(|(name, _)| *name == asked) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        match TcpStream::connect(to).await {
            Ok(mut stream) => {
                reply.accept().await;
                tokio::spawn(
                    async move { tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut stream).await },
                );
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.remove(&id) else { return session.channel_failure(id) };
        match command::spawn(&self.account.options, line) {
            Ok(child) => {
                session.channel_success(id)?;
                tokio::spawn(command::carry(channel, child, session.handle()));
                Ok(())
            }
            Err(_) => session.channel_failure(id),
        }
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    #[allow(clippy::too_many_arguments)]
    async fn pty_request(
        &mut self,
        id: ChannelId,
        _kind: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}

/// A socket that breaks after so many bytes, if a limit is set.
struct Metered {
    stream: TcpStream,
    left: Option<AtomicU64>,
}

impl Metered {
    fn spend(&self, bytes: usize) -> io::Result<()> {
        let Some(left) = &self.left else { return Ok(()) };
        let now = left.load(Ordering::Relaxed).saturating_sub(bytes as u64);
        left.store(now, Ordering::Relaxed);
        if now == 0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.spend(buffer.filled().len() - before))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.spend(0)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        // The bytes are on their way; the next call fails if they were the last.
        let _ = self.spend(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
