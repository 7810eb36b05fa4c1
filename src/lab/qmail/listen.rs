//! What tcpserver does for qmail-smtpd and qmail-pop3d: one session for each connection, until SIGTERM.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Stdio;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::smtpd::{self, Peer};
use super::{Home, pop3d};

/// Which of the two is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Smtp,
    Pop3,
}

/// Serves connections at `address` until SIGTERM; sessions that are open go on in their processes.
///
/// Prints `listening ADDRESS:PORT`, and writes its process id to `active/qmail-smtpd.pid` or `active/qmail-pop3d.pid`.
pub async fn serve(home: Home, service: Service, address: &str) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(address).await?;
    std::fs::create_dir_all(home.path("active"))?;
    let name = if service == Service::Smtp { "smtpd" } else { "pop3d" };
    let pid = home.path(&format!("active/qmail-{name}.pid"));
    std::fs::write(&pid, format!("{}\n", std::process::id()))?;
    announce(&format!("listening {}", listener.local_addr()?))?;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Too many open files, or a client that has gone already.
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        };
        let _ = stream.set_nodelay(true);
        let home = home.clone();
        tokio::spawn(async move {
            let _ = match service {
                Service::Smtp => smtpd::serve(&home, stream, &Peer::at(peer)).await,
                Service::Pop3 => pop3(&home, stream, peer).await,
            };
        });
    }
    let _ = std::fs::remove_file(pid);
    Ok(())
}

/// A POP3 session is a process of its own, whose working directory is the Maildir: whoever looks sees who works there.
async fn pop3(home: &Home, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let twin = stream.try_clone()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["lab", "qmail-pop3d"])
        .arg(home.path(""))
        .env("TCPREMOTEIP", peer.ip().to_string())
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::from(OwnedFd::from(twin)))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    child.wait().await.map(|_| ())
}

/// Serves the one connection on stdin and stdout, as below tcpserver.
pub async fn serve_one(home: Home, service: Service) -> io::Result<()> {
    match service {
        Service::Pop3 => super::blocking(move || pop3d::session(&home)).await,
        Service::Smtp => {
            let file = |fd: BorrowedFd| fd.try_clone_to_owned().map(|fd| tokio::fs::File::from_std(fd.into()));
            let stream = tokio::io::join(file(io::stdin().as_fd())?, file(io::stdout().as_fd())?);
            smtpd::serve(&home, stream, &Peer::of_environment()).await
        }
    }
}

/// Says on stdout that the program is ready; whoever started it may have gone.
pub fn announce(line: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout();
    let _ = io::Write::write_all(&mut stdout, format!("{line}\n").as_bytes());
    let _ = io::Write::flush(&mut stdout);
    Ok(())
}
