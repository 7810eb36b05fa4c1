//! Clean streams for a program that insists on a terminal: the terminal is for its questions, and its data flows through
//! named pipes that have names for as long as it takes to open them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::dialogue::{Ear, Ears, Input, Source, Unready, send};
use super::launch::nonce;
use super::{Carrier, Channel, Ending};
use crate::transport::TransportError;
use crate::transport::command::quote;

/// How long the machine may take to give back what it made.
const CLEANING: Duration = Duration::from_secs(5);

/// A program on a terminal. The channel is its own streams and end; the other two are the terminal's sides.
pub struct OnTerminal {
    pub channel: Channel,
    pub output: Source,
    pub input: Input,
}

/// Starts what `command` makes of redirections: a script of `sh` that begins by opening them.
pub async fn start(
    carrier: &Arc<dyn Carrier>,
    bulk: bool,
    command: impl Fn(&Redirections) -> String,
) -> Result<OnTerminal, TransportError> {
    let nonce = nonce();
    let marker = format!("\x1e{nonce} ");
    let line = format!("exec /bin/sh -c {}", quote(&pipes(&nonce)));
    let Channel { stdin, stdout, stderr, status } =
        if bulk { carrier.stream(&line).await } else { carrier.start(&line).await }?;
    let mut pipes = Pipes(Some((stdin, status)));
    let mut ears = Ears::of(stdout, stderr);
    let directory = match ears.pass(&marker, None).await {
        Ok(directory) => directory,
        Err(Unready::Ended(said) | Unready::Silent(said) | Unready::Asked(said)) => {
            return Err(TransportError::Refused(format!("cannot make named pipes: {said}")));
        }
    };
    let opened = on_terminal(carrier, &command(&Redirections { directory, nonce: &nonce }), &marker).await;
    let ((output, input, status), (mut stdin, pipes)) = match (opened, pipes.0.take()) {
        (Ok(terminal), Some(opened)) => (terminal, opened),
        (Err(error), Some((stdin, status))) => {
            clean((stdin, status)).await;
            return Err(error);
        }
        (_, None) => return Err(TransportError::Unreachable("the connection ended".into())),
    };
    send(&mut stdin, "go\n").await;
    let pipes = Arc::new(Mutex::new(pipes));
    let keep = |ear: Ear| Box::new(Kept { stream: ear.into_stream(), _pipes: pipes.clone() });
    let (stdout, stderr) = (keep(ears.stdout), keep(ears.stderr));
    Ok(OnTerminal { channel: Channel { stdin, stdout, stderr, status }, output, input })
}

/// Where the program's streams are to be had.
pub struct Redirections<'a> {
    directory: String,
    nonce: &'a str,
}

impl Redirections<'_> {
    /// Words that open the three as 3, 4 and 5, and then say so on the terminal.
    pub fn open(&self) -> String {
        let [input, output, errors] = ["i", "o", "e"].map(|name| quote(&format!("{}/{name}", self.directory)));
        format!(r#"exec 3<{input} 4>{output} 5>{errors} && printf "\036{} 0\n" && "#, self.nonce)
    }
}

/// Whatever comes, the directory goes: when this is told to go on and when its stdin ends, whichever is first.
/// No step waits for the other side, because each pipe is opened for both reading and writing until the other side has it.
fn pipes(nonce: &str) -> String {
    let made = r#"mkdir "$D" 2>/dev/null && mkfifo "$D/i" "$D/o" "$D/e" 2>/dev/null"#;
    let places = r#""${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm "$HOME""#;
    // mksh never closes what it saved as 10, the first that an `exec` closes: an end of the pipe of stdin would stay open.
    let first = "exec 9</dev/null; exec 9<&-";
    // The copy of stdin does not hold stdout open, and those of the other two not the program's stdin.
    let copies = r#"cat <&9 >&6 2>/dev/null 6>&- 7<&- 8<&- 9<&- & I=$!; exec 6>&- 9<&- </dev/null; cat <&8 >&2 7<&- 8<&- & E=$!; exec 8<&-; cat <&7; wait $E; kill $I 2>/dev/null"#;
    format!(
        r#"umask 077; trap "exit 1" 1 2 15; for P in {places}; do D=$P/.cutover.{nonce}; if {made}; then break; fi; rm -rf "$D" 2>/dev/null; D=; done; if test -z "$D"; then echo "no place for named pipes in {where_}, or no \`mkfifo\`" >&2; exit 1; fi; trap 'rm -rf "$D"' 0; {first}; exec 3<>"$D/i" 4<>"$D/o" 5<>"$D/e"; printf "\036{nonce} %s\n" "$D"; printf "\036{nonce} 0\n" >&2; read -r G || exit 1; exec 6>"$D/i" 7<"$D/o" 8<"$D/e" 9<&0; rm -rf "$D"; trap - 0; exec 3<&- 4<&- 5<&-; {copies}"#,
        where_ = "/tmp, /var/tmp, /dev/shm and the home directory",
    )
}

/// Starts the program, and waits until it has opened its pipes.
async fn on_terminal(
    carrier: &Arc<dyn Carrier>,
    command: &str,
    marker: &str,
) -> Result<(Source, Input, Ending), TransportError> {
    let line = format!("exec /bin/sh -c {}", quote(command));
    // A terminal has one stream.
    let Channel { stdin, stdout, stderr: _, status } = carrier.terminal(&line).await?;
    let mut terminal = Ear::new(stdout);
    match terminal.pass_alone(marker).await {
        Ok(()) => Ok((terminal.into_stream(), stdin, status)),
        Err(said) => Err(TransportError::Refused(format!("cannot use a terminal: {said}"))),
    }
}

/// The named pipes that nobody has opened yet. Dropped: the machine removes them.
struct Pipes(Option<(Input, Ending)>);

impl Drop for Pipes {
    fn drop(&mut self) {
        if let (Some(pipes), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(clean(pipes));
        }
    }
}

/// Ends the stdin of what made the pipes, and leaves it the time to remove them.
async fn clean((stdin, status): (Input, Ending)) {
    drop(stdin);
    let _ = tokio::time::timeout(CLEANING, status).await;
}

/// A stream that keeps its channel alive: to drop the channel's end would end the copying.
struct Kept {
    stream: Source,
    _pipes: Arc<Mutex<Ending>>,
}

impl AsyncRead for Kept {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}
