//! A program that gets only a part of its script.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use cutover::transport::local::Local;
use cutover::transport::posix::{Carrier, Channel, Posix};
use cutover::transport::{Address, Command, Stream, Transport as _, TransportError};
use tokio::io::AsyncWrite;

/// This machine as `nobody`, reached so that only the first bytes of what is sent to a program arrive.
struct Short {
    local: Local,
    limit: AtomicUsize,
}

#[async_trait]
impl Carrier for Short {
    async fn start(&self, line: &str) -> Result<Channel, TransportError> {
        let channel = self.local.start(line).await?;
        let stdin = Part { stdin: Some(channel.stdin), left: self.limit.load(Ordering::SeqCst) };
        Ok(Channel { stdin: Box::new(stdin), ..channel })
    }

    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError> {
        self.local.dial(address, limit).await
    }

    async fn terminal(&self, line: &str) -> Result<Channel, TransportError> {
        self.local.terminal(line).await
    }
}

struct Part {
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    left: usize,
}

impl AsyncWrite for Part {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let left = self.left.min(bytes.len());
        let Some(stdin) = self.stdin.as_mut().filter(|_| left > 0) else {
            self.stdin = None;
            return Poll::Ready(Ok(bytes.len()));
        };
        let written = Pin::new(stdin).poll_write(context, &bytes[..left]);
        if let Poll::Ready(Ok(length)) = written {
            self.left -= length;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.as_mut().map_or(Poll::Ready(Ok(())), |stdin| Pin::new(stdin).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

/// What runs here is a part of a command if the program is wrong: so it only prints, and nobody may change anything.
/// (Of `rm -r /srv/old` a part is `rm -r /`.)
#[tokio::test]
async fn a_part_of_a_command_is_never_run() {
    let nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "/bin/sh", "-c"];
    let carrier = Arc::new(Short { local: Local::with_shell(nobody), limit: AtomicUsize::new(usize::MAX) });
    let machine =
        Posix::start(carrier.clone(), None).await.expect("this test needs root and setpriv: `bash tests/run`");
    assert_eq!(machine.identity().user.name, "nobody");
    let mut command = Command::argv(["echo", "all-of-it"]);
    command.timeout = Some(Duration::from_secs(60));
    let mut whole = 0;
    for limit in 0..1000 {
        carrier.limit.store(limit, Ordering::SeqCst);
        let printed = machine.run(&command).await.map(|output| output.text()).unwrap_or_default();
        assert!(["", "all-of-it\n"].contains(&&*printed), "the first {limit} bytes of the script ran: {printed:?}");
        whole += u32::from(!printed.is_empty());
        if whole == 3 {
            return;
        }
    }
    panic!("the whole command never arrives");
}
