//! The line of bytes that one connection goes over: TCP, a channel of a jump host, or a proxy command.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::proxy::Proxy;
use super::target::{AddressFamily, Target};
use crate::transport::posix::Channel;

/// Both directions of a connection, and what must live as long as it does.
pub struct Line {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    cut: Option<oneshot::Receiver<()>>,
    _proxy: Option<Proxy>,
}

/// Ends the line when the wait for a login is given up: the library's own task would wait on it for ever.
pub struct Cut(oneshot::Sender<()>);

impl Cut {
    /// Leaves the line alone from now on.
    pub fn keep(self) {
        let _ = self.0.send(());
    }
}

impl Line {
    /// Connects to each address of the target's name in turn, as `ssh` does. Each has an equal share of the time that is
    /// left, so that one that does not answer leaves some for the others.
    pub async fn tcp(target: &Target) -> io::Result<Line> {
        each(&addresses(target).await?, target).await
    }

    /// Goes through a channel of a connection to a jump host.
    pub fn channel(channel: Channel) -> Line {
        Line::new(channel.stdout, channel.stdin)
    }

    /// Goes through the standard streams of a command.
    pub fn proxy(mut proxy: Proxy) -> io::Result<Line> {
        let (stdin, stdout) = proxy.streams()?;
        Ok(Line { _proxy: Some(proxy), ..Line::new(Box::new(stdout), Box::new(stdin)) })
    }

    /// Gives the means to end the line from outside.
    pub fn cut(&mut self) -> Cut {
        let (sender, receiver) = oneshot::channel();
        self.cut = Some(receiver);
        Cut(sender)
    }

    fn new(read: Box<dyn AsyncRead + Send + Unpin>, write: Box<dyn AsyncWrite + Send + Unpin>) -> Line {
        Line { read, write, cut: None, _proxy: None }
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(cut) = &mut self.cut else { return Ok(()) };
        match Pin::new(cut).poll(context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.cut = None,
            Poll::Ready(Err(_)) => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.write).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}

/// Resolves the target's name to the addresses of the family that is wanted.
async fn addresses(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let name = target.address.as_str();
    let found = tokio::net::lookup_host((name, target.port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| io::Error::new(error.kind(), format!("`{name}` cannot be resolved: {error}")))?
        .filter(|address| match target.family {
            AddressFamily::Any => true,
            AddressFamily::Inet => address.is_ipv4(),
            AddressFamily::Inet6 => address.is_ipv6(),
        })
        .collect();
    let family = match target.family {
        AddressFamily::Any => "no address",
        AddressFamily::Inet => "no IPv4 address (`AddressFamily inet`)",
        AddressFamily::Inet6 => "no IPv6 address (`AddressFamily inet6`)",
    };
    if found.is_empty() { Err(io::Error::other(format!("`{name}` has {family}"))) } else { Ok(found) }
}

async fn each(addresses: &[SocketAddr], target: &Target) -> io::Result<Line> {
    let end = Instant::now() + target.connect_timeout;
    let mut failed = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let share = end.saturating_duration_since(Instant::now()) / (addresses.len() - at) as u32;
        // The last one has the time limit of the whole login around it, which says what was being done.
        let share = if at + 1 < addresses.len() { share } else { Duration::MAX };
        match tokio::time::timeout(share, reach(*address, target.bind_address.as_deref())).await {
            Ok(Ok(stream)) => {
                // Without it every question waits 40 ms for the host's delayed acknowledgement (Nagle).
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                return Ok(Line::new(Box::new(read), Box::new(write)));
            }
            Ok(Err(error)) => failed.push((address.ip(), error)),
            Err(_) => failed.push((address.ip(), io::ErrorKind::TimedOut.into())),
        }
    }
    Err(all_failed(failed))
}

async fn reach(address: SocketAddr, from: Option<&str>) -> io::Result<tokio::net::TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        let wrong = |why: String| io::Error::other(format!("`BindAddress {from}`: {why}"));
        let local = tokio::net::lookup_host((from, 0)).await.map_err(|error| wrong(error.to_string()))?;
        let mut local = local.filter(|local| local.is_ipv4() == address.is_ipv4());
        let local = local.next().ok_or_else(|| wrong("it is of another family than the host's address".into()))?;
        socket.bind(local).map_err(|error| wrong(error.to_string()))?;
    }
    socket.connect(address).await
}

/// One address needs no telling; of several each is named with its error.
fn all_failed(failed: Vec<(IpAddr, io::Error)>) -> io::Error {
    let mut failed = failed;
    if failed.len() == 1 {
        return failed.remove(0).1;
    }
    let each: Vec<String> = failed.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    io::Error::other(each.join("; "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn each_address_of_a_name_is_tried_until_one_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("an address");
        let closed = |last: u8| SocketAddr::from(([127, 0, 0, last], open.port()));
        let target = Target::new("host", "root", Path::new("/root"));
        let mut line = each(&[closed(8), closed(9), open], &target).await.expect("a connection");
        let (mut accepted, _) = listener.accept().await.expect("a connection");
        line.write_all(b"here").await.expect("a write");
        let mut heard = [0; 4];
        accepted.read_exact(&mut heard).await.expect("four bytes");
        assert_eq!(&heard, b"here");

        let Err(error) = each(&[closed(8), closed(9)], &target).await else { panic!("a connection") };
        let text = error.to_string();
        assert!(text.starts_with("127.0.0.8: ") && text.contains("; 127.0.0.9: "), "{text}");
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        // A listener that accepts nobody, and whose queue is full: it does not answer any more.
        let full = TcpSocket::new_v4().expect("a socket");
        full.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let full = full.listen(1).expect("a listener");
        let nobody = full.local_addr().expect("an address");
        let mut waiting = Vec::new();
        let patience = Duration::from_millis(200);
        while let Ok(stream) = tokio::time::timeout(patience, tokio::net::TcpStream::connect(nobody)).await {
            waiting.push(stream.expect("a connection"));
            assert!(waiting.len() < 100, "the queue is never full");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut target = Target::new("host", "root", Path::new("/root"));
        target.connect_timeout = Duration::from_secs(2);
        each(&[nobody, listener.local_addr().expect("an address")], &target).await.expect("a connection");
    }

    #[tokio::test]
    async fn a_line_that_is_cut_ends_and_one_that_is_kept_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addresses = [listener.local_addr().expect("an address")];
        let target = Target::new("host", "root", Path::new("/root"));
        let mut line = each(&addresses, &target).await.expect("a connection");
        let (mut accepted, _) = listener.accept().await.expect("a connection");
        line.cut().keep();
        accepted.write_all(b"x").await.expect("a write");
        assert_eq!(line.read_u8().await.expect("a byte"), b'x');
        let cut = line.cut();
        let reading = tokio::spawn(async move { line.read_u8().await.map_err(|error| error.kind()) });
        drop(cut);
        assert_eq!(reading.await.expect("a task"), Err(io::ErrorKind::ConnectionAborted));
    }
}
