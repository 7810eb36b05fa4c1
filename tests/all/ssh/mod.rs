//! SSH against real OpenSSH servers and the embedded one.

use std::sync::Arc;

use cutover::lab::server::{Options, Server, kept_key};
use cutover::secret::Secret;
use cutover::transport::TransportError;
use cutover::transport::posix::Channel;
use cutover::transport::ssh::{self, Ssh, Target};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::sshd::Sshd;

mod becoming;
mod channels;
mod config;
mod counterfeit;
mod dial;
mod host_certificates;
mod keys;
mod known_hosts;
mod login;
mod old_servers;
mod shell;
mod ways;

/// The embedded server in a directory of its own.
struct Embedded {
    server: Server,
    directory: TempDir,
}

impl Embedded {
    async fn start(change: impl FnOnce(&mut Options)) -> Embedded {
        let directory = tempfile::tempdir().expect("a directory");
        let key = kept_key(&directory.path().join("id")).await.expect("a key");
        let mut options = Options {
            port: 0,
            host_key: directory.path().join("host_key"),
            user: "mailer".into(),
            keys: vec![key],
            password: Some(Secret::new("a password")),
            directory: directory.path().into(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), "/nowhere".into())],
            cut_after: None,
            reaches: Vec::new(),
        };
        change(&mut options);
        Embedded { server: Server::start(options).await.expect("a server"), directory }
    }

    fn target(&self) -> Target {
        let known_hosts = self.directory.path().join("known_hosts");
        std::fs::write(&known_hosts, self.server.known_hosts_line()).expect("a file");
        let mut target = Target::new("embedded", "mailer", self.directory.path());
        target.address = "127.0.0.1".into();
        target.port = self.server.port();
        target.keys = vec![self.directory.path().join("id")];
        target.known_hosts = vec![known_hosts];
        target
    }
}

/// A connection to each kind of server, with its name.
struct Both {
    connections: [(&'static str, Arc<Ssh>); 2],
    _servers: (Sshd, Embedded),
}

impl Both {
    async fn connect() -> Both {
        let (sshd, embedded) = (Sshd::start(""), Embedded::start(|_| {}).await);
        let connections = [("sshd", connect(sshd.target()).await), ("embedded", connect(embedded.target()).await)];
        Both { connections, _servers: (sshd, embedded) }
    }
}

async fn connect(target: Target) -> Arc<Ssh> {
    ssh::connect(target).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The text of the error with which a connection is refused.
async fn refusal(target: Target) -> String {
    match ssh::connect(target).await {
        Ok(_) => panic!("let in"),
        Err(TransportError::Unreachable(text)) => text,
        Err(other) => panic!("{other:?}"),
    }
}

/// What a program left: its end, stdout and stderr.
#[derive(Debug)]
struct Ended {
    status: Result<i32, TransportError>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Feeds a program and reads it at the same time, to its end.
async fn finish(channel: Channel, input: Vec<u8>) -> Ended {
    let Channel { mut stdin, mut stdout, mut stderr, status } = channel;
    let feeding = tokio::spawn(async move {
        // A program that does not read breaks the pipe, as it should.
        let _ = stdin.write_all(&input).await;
        let _ = stdin.shutdown().await;
    });
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let _ = tokio::join!(stdout.read_to_end(&mut output), stderr.read_to_end(&mut errors));
    let ended = Ended { status: status.await, stdout: output, stderr: errors };
    let _ = feeding.await;
    ended
}
