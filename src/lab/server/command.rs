//! A command that a client asked for: this machine's `sh`, its bytes and its end.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use russh::server::{self, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};

use super::Options;

/// Starts `line` in a process group of its own.
pub fn spawn(options: &Options, line: &[u8]) -> io::Result<Child> {
    use std::os::unix::ffi::OsStrExt;
    Command::new("/bin/sh")
        .arg("-c")
        .arg(std::ffi::OsStr::from_bytes(line))
        .current_dir(&options.directory)
        .env_clear()
        .envs(options.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// How long a command may go on whose channel has ended: it reads the end of its input, and may clean up.
const LAST_WORK: Duration = Duration::from_secs(3);

/// Moves a command's bytes until it has ended or its channel has, which ends the command.
pub async fn carry(channel: Channel<Msg>, mut child: Child, session: server::Handle) {
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let id = channel.id();
    let (read, write) = channel.split();
    let (chunks, input) = mpsc::unbounded_channel();
    let (closed, close) = oneshot::channel();
    let receiving = tokio::spawn(receive(read, chunks, closed));
    let feeding = tokio::spawn(feed(input, stdin));
    let running = async {
        let (_, _, status) = tokio::join!(send(stdout, &write, None), send(stderr, &write, Some(1)), child.wait());
        status
    };
    let mut running = std::pin::pin!(running);
    tokio::select! {
        status = &mut running => {
            // What it left in the background stays, as with any server.
            group.0 = None;
            report(status, id, &session).await;
            let _ = write.eof().await;
            let _ = write.close().await;
        }
        _ = close => {
            if tokio::time::timeout(LAST_WORK, running).await.is_ok() {
                group.0 = None;
            }
        }
    }
    drop(group);
    feeding.abort();
    receiving.abort();
}

/// Ends a command with all its children, unless they left its process group.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Always takes what comes, because a full queue would stop every channel of the connection; the command reads it when
/// it likes. Says when the client closes the channel or is gone.
async fn receive(mut read: ChannelReadHalf, chunks: mpsc::UnboundedSender<Vec<u8>>, closed: oneshot::Sender<()>) {
    let mut chunks = Some(chunks);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(chunks) = &chunks {
                    let _ = chunks.send(data.to_vec());
                }
            }
            ChannelMsg::Eof => chunks = None,
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    let _ = closed.send(());
}

async fn feed(mut input: mpsc::UnboundedReceiver<Vec<u8>>, stdin: Option<ChildStdin>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(chunk) = input.recv().await {
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

async fn send(from: Option<impl AsyncRead + Unpin>, to: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let chunk = buffer[..length].to_vec();
        let sent = match kind {
            None => to.data_bytes(chunk).await,
            Some(kind) => to.extended_data_bytes(kind, chunk).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn report(status: io::Result<ExitStatus>, id: ChannelId, session: &server::Handle) {
    use std::os::unix::process::ExitStatusExt;
    let Ok(status) = status else { return };
    let _ = match (status.code(), status.signal()) {
        (Some(code), _) => session.exit_status_request(id, code as u32).await,
        (None, Some(signal)) => {
            session.exit_signal_request(id, name(signal), status.core_dumped(), String::new(), String::new()).await
        }
        (None, None) => Ok(()),
    };
}

/// The signals that RFC 4254, 6.10 names.
fn name(signal: i32) -> Sig {
    match signal {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("{other}@cutover")),
    }
}
