//! One running program on a connection: its streams, its end, and the task that moves its bytes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Use;
use super::link::Seat;
use crate::transport::TransportError;
use crate::transport::posix::Channel;

/// Bytes of stdin that wait for the connection.
const INPUT: usize = 64 * 1024;

/// Messages of a bulk stream (32 KiB at most) that wait for their reader.
const STREAM_QUEUE: usize = 64;

/// A shell's output is always taken off the connection: a full queue would hold up every other channel.
const SHELL_QUEUE: usize = Semaphore::MAX_PERMITS;

type Queue = mpsc::Sender<io::Result<Vec<u8>>>;
/// Closed when the last of a program's stdin, stdout and status is dropped.
type Held = mpsc::Sender<Infallible>;

/// Gives the streams of an opened channel on which a program was asked for.
pub fn carry(channel: russh::Channel<Msg>, seat: Seat) -> Channel {
    let capacity = match seat.link.purpose() {
        Use::Shells => SHELL_QUEUE,
        Use::Streams => STREAM_QUEUE,
    };
    let (held, mut abandoned) = mpsc::channel(1);
    let (stdout, output) = mpsc::channel(capacity);
    let (stderr, errors) = mpsc::channel(SHELL_QUEUE);
    let (stdin, input) = tokio::io::duplex(INPUT);
    let (end, status) = oneshot::channel();
    let (mut read, write) = channel.split();
    let write = Arc::new(write);

    // The library's writers are never woken when the program or the connection ends, so this task is aborted then.
    let writer = tokio::spawn(feed(input, write.clone()));
    tokio::spawn(async move {
        let finished = tokio::select! {
            finished = receive(&mut read, stdout, stderr) => Some(finished),
            _ = abandoned.recv() => None,
        };
        writer.abort();
        // First the reader: a message that waits for room in it would keep the connection from sending the close.
        drop(read);
        let _ = write.close().await;
        if let Some(finished) = finished {
            let _ = end.send(finished.unwrap_or_else(|| Err(seat.link.loss())));
        }
    });

    let status_held = held.clone();
    Channel {
        stdin: Box::new(Input { pipe: stdin, _held: held.clone() }),
        stdout: Box::new(Received { queue: output, chunk: io::Cursor::default(), _held: Some(held) }),
        stderr: Box::new(Received { queue: errors, chunk: io::Cursor::default(), _held: None }),
        status: Box::pin(async move {
            let _held = status_held;
            status.await.unwrap_or_else(|_| Err(TransportError::Unreachable("the connection ended".into())))
        }),
    }
}

/// Sends what comes, then the end of stdin.
async fn feed(mut input: DuplexStream, write: Arc<ChannelWriteHalf<Msg>>) {
    let mut buffer = vec![0; INPUT];
    while let Ok(length @ 1..) = input.read(&mut buffer).await {
        if write.data_bytes(buffer[..length].to_vec()).await.is_err() {
            return;
        }
    }
    let _ = write.eof().await;
}

/// Sorts the channel's messages until it is closed. `None`: it ended without a status, so the connection is gone.
async fn receive(read: &mut ChannelReadHalf, stdout: Queue, stderr: Queue) -> Option<Result<i32, TransportError>> {
    let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
    let mut status = None;
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => send(&stdout, Ok(data.to_vec())).await,
            ChannelMsg::ExtendedData { data, ext: 1 } => send(&stderr, Ok(data.to_vec())).await,
            ChannelMsg::ExitStatus { exit_status } => status = Some(Ok(exit_status as i32)),
            ChannelMsg::ExitSignal { signal_name, .. } => status = Some(Ok(128 + number(&signal_name))),
            ChannelMsg::Failure => {
                status = Some(Err(TransportError::Refused("the SSH server runs no commands for this user".into())));
                break;
            }
            ChannelMsg::Eof => (stdout, stderr) = (None, None),
            // Not at the exit status: output may follow it.
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    if status.is_none() {
        // A reader must not take what it got for the whole.
        let cut = || Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection ended"));
        send(&stdout, cut()).await;
        send(&stderr, cut()).await;
    }
    status
}

/// Nobody may be reading any more, which is not an error.
async fn send(queue: &Option<Queue>, message: io::Result<Vec<u8>>) {
    if let Some(queue) = queue {
        let _ = queue.send(message).await;
    }
}

/// The number of a signal that RFC 4254, 6.10 names; 0 for another.
fn number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 0,
    }
}

struct Input {
    pipe: DuplexStream,
    _held: Held,
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}

struct Received {
    queue: mpsc::Receiver<io::Result<Vec<u8>>>,
    chunk: io::Cursor<Vec<u8>>,
    _held: Option<Held>,
}

impl AsyncRead for Received {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.position() == self.chunk.get_ref().len() as u64 {
            match ready!(self.queue.poll_recv(context)) {
                Some(chunk) => self.chunk = io::Cursor::new(chunk?),
                None => return Poll::Ready(Ok(())),
            }
        }
        Pin::new(&mut self.chunk).poll_read(context, buffer)
    }
}
