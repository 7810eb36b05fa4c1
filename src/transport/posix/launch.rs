//! The start of a program on a machine: as another user where asked, up to the point where its streams are its own.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use super::dialogue::{Ears, Input, Unready, send};
use super::elevation::Elevation;
use super::stop::Programs;
use super::{Carrier, Channel, Ending};
use crate::transport::command::quote;
use crate::transport::name::to_bytes;
use crate::transport::{Become, TransportError};

/// Who a program runs as, and over what.
pub struct Session {
    pub(super) carrier: Arc<dyn Carrier>,
    elevation: Option<Elevation>,
    /// What runs on channels of their own.
    pub programs: Programs,
}

/// What the started `sh` does with its stdin.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Reads commands from it for as long as it is open; these are the first.
    Shell(&'a str),
    /// Takes this script from it and leaves the rest to the script.
    Script(&'a str),
    /// The same, and its output may be read slowly.
    Stream(&'a str),
}

/// A program past its start. Its process group has the number `pid`.
pub struct Started {
    pub channel: Channel,
    pub pid: u32,
}

impl Session {
    /// Refuses a way to become that is not known.
    pub fn new(carrier: Arc<dyn Carrier>, user: Option<&Become>) -> Result<Session, TransportError> {
        let elevation = user.map(Elevation::new).transpose()?;
        Ok(Session { carrier, elevation, programs: Programs::default() })
    }

    /// Starts an `sh` in a process group of its own. Scripts travel on stdin: an argument would be seen by every
    /// user of the host, and stand in sudo's log.
    pub async fn launch(&self, task: Task<'_>) -> Result<Started, TransportError> {
        let nonce = nonce();
        let (rest, first) = match task {
            Task::Shell(script) => ("exec /bin/sh".to_string(), script.to_string()),
            // One byte at a time, because what follows on stdin is not for `dd`. In braces, because a connection that is
            // cut delivers a part: `rm -r /srv/old` must not run as `rm -r /srv`, and an open brace runs as nothing.
            Task::Script(script) | Task::Stream(script) => {
                let whole = format!("{{\n{script}\n}}");
                (format!(r#"eval "$(dd bs=1 count={} 2>/dev/null)""#, to_bytes(&whole).len()), whole)
            }
        };
        let begin = format!(
            r#"LC_ALL=${{c_lc:-C}} SHLVL=2; export LC_ALL SHLVL; unset c_lc; printf "\036{nonce} %s\n" $$; printf "\036{nonce} %s\n" $$ >&2"#
        );
        // A bash that thinks itself the first in an SSH session (`SHLVL`) reads its `.bashrc`, in front of any script.
        // yash takes in only what its locale can read, and only from its start on.
        // `--` is needed by dash and refused by busybox. One line, and no `!`, for a login shell that is a csh.
        let line = format!(
            "B={}; if [ \"$YASH_VERSION\" ]; then c_lc=C.UTF-8 LC_ALL=C.UTF-8; export c_lc LC_ALL; fi; \
             if kill -s 0 -- -$$ 2>/dev/null || kill -s 0 -$$ 2>/dev/null; then [ -z \"$c_lc\" ] || exec /bin/sh -c \"$B\"; \
             elif command -v setsid >/dev/null 2>&1; then exec setsid /bin/sh -c \"$B\"; fi; eval \"$B\"",
            quote(&format!("{begin}; {rest}"))
        );
        let start = Start { nonce, line, first: &first, bulk: matches!(task, Task::Stream(_)) };
        match &self.elevation {
            None => self.as_login(&start).await,
            Some(elevation) => elevation.launch(&self.carrier, &start).await,
        }
    }

    async fn as_login(&self, start: &Start<'_>) -> Result<Started, TransportError> {
        let line = format!("exec /bin/sh -c {}", quote(&start.line));
        let Channel { mut stdin, stdout, stderr, status } = start.on(&self.carrier, &line).await?;
        send(&mut stdin, start.first).await;
        let mut ears = Ears::of(stdout, stderr);
        match ears.pass(&start.marker(), None).await {
            Ok(pid) => Ok(started(pid, ears, (stdin, status))),
            Err(Unready::Ended(said) | Unready::Silent(said) | Unready::Asked(said)) => {
                Err(TransportError::Unreachable(match said.is_empty() {
                    true => "no `/bin/sh` answered".into(),
                    false => format!("no `/bin/sh` answered: {said}"),
                }))
            }
        }
    }

    /// Starts a line as the login user's shell reads it, with nothing around it; its output may be read slowly.
    pub async fn raw(&self, line: &str) -> Result<Channel, TransportError> {
        self.carrier.stream(line).await
    }

    /// Says whether programs run as the login user.
    pub fn is_login(&self) -> bool {
        self.elevation.is_none()
    }
}

/// One start: what runs and what it reads first.
pub struct Start<'a> {
    pub nonce: String,
    /// A script of one line, which says on both streams when it runs; then it reads `first`.
    pub line: String,
    pub first: &'a str,
    /// Whether its output may be read slowly.
    pub bulk: bool,
}

impl Start<'_> {
    /// What both streams begin with, when the program runs.
    pub fn marker(&self) -> String {
        format!("\x1e{} ", self.nonce)
    }

    pub async fn on(&self, carrier: &Arc<dyn Carrier>, line: &str) -> Result<Channel, TransportError> {
        if self.bulk { carrier.stream(line).await } else { carrier.start(line).await }
    }
}

/// Returns a program whose ears have passed the marker, which carried its number.
pub fn started(pid: String, ears: Ears, (stdin, status): (Input, Ending)) -> Started {
    let (stdout, stderr) = (ears.stdout.into_stream(), ears.stderr.into_stream());
    Started { channel: Channel { stdin, stdout, stderr, status }, pid: pid.parse().unwrap_or_default() }
}

/// Returns 128 bits that nobody can guess, in hexadecimal; `RandomState` is keyed by the operating system.
pub fn nonce() -> String {
    let random = RandomState::new();
    let part = |number: u8| {
        let mut hasher = random.build_hasher();
        hasher.write_u8(number);
        hasher.finish()
    };
    format!("{:016x}{:016x}", part(0), part(1))
}

/// Returns where `needle` begins.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, mut from) = (*needle.first()?, 0);
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first).map(|at| from + at) {
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
