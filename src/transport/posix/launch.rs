//! The start of a program on a machine: through `sudo` where asked, up to the point where its streams are its own.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Cursor;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::stop::Programs;
use super::{Carrier, Channel};
use crate::transport::command::quote;
use crate::transport::name::to_bytes;
use crate::transport::{Become, TransportError};

/// Who a program runs as, and over what.
pub struct Session {
    carrier: Arc<dyn Carrier>,
    user: Option<Become>,
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
        if let Some(user) = user.filter(|user| user.method != "sudo") {
            let message = format!("`become_method: {}` is not supported, only `sudo` is", user.method);
            return Err(TransportError::Refused(message));
        }
        Ok(Session { carrier, user: user.cloned(), programs: Programs::default() })
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
        let begin =
            format!(r#"LC_ALL=C; export LC_ALL; printf "\036{nonce} %s\n" $$; printf "\036{nonce} %s\n" $$ >&2"#);
        // `--` is needed by dash and refused by busybox. One line, and no `!`, for a login shell that is a csh.
        let line = format!(
            "B={}; if kill -s 0 -- -$$ 2>/dev/null || kill -s 0 -$$ 2>/dev/null; then :; \
             elif command -v setsid >/dev/null 2>&1; then exec setsid /bin/sh -c \"$B\"; fi; eval \"$B\"",
            quote(&format!("{begin}; {rest}"))
        );
        let sudo = self.user.as_ref().map(|user| Sudo { user, prompt: format!("[cutover {nonce}] password: ") });
        let line = match &sudo {
            Some(sudo) => format!("exec {} /bin/sh -c {}", sudo.words()?, quote(&line)),
            None => format!("exec /bin/sh -c {}", quote(&line)),
        };
        let started = match task {
            Task::Stream(_) => self.carrier.stream(&line).await,
            Task::Shell(_) | Task::Script(_) => self.carrier.start(&line).await,
        };
        let Channel { mut stdin, stdout, stderr, status } = started?;
        if sudo.is_none() {
            send(&mut stdin, &first).await;
        }
        let marker = format!("\x1e{nonce} ");
        let answering = sudo.as_ref().map(|sudo| (sudo, &mut stdin));
        let errors = async {
            match ready(stderr, &marker, answering).await {
                // Not to be waited for with stdout: a sudo that asks again waits for us.
                Err(Unready::Asked(message)) => Err(TransportError::Refused(message)),
                ended_or_ready => Ok(ended_or_ready),
            }
        };
        let (out, err) = tokio::try_join!(async { Ok(ready(stdout, &marker, None).await) }, errors)?;
        match (out, err) {
            (Ok((stdout, _)), Ok((stderr, pid))) => {
                if sudo.is_some() {
                    send(&mut stdin, &first).await;
                }
                Ok(Started { channel: Channel { stdin, stdout, stderr, status }, pid })
            }
            (_, Err(Unready::Ended(said) | Unready::Asked(said)))
            | (Err(Unready::Ended(said) | Unready::Asked(said)), Ok(_)) => {
                let said = String::from_utf8_lossy(said.as_bytes()).trim().to_string();
                match &sudo {
                    Some(sudo) => Err(TransportError::Refused(sudo.explain(&said))),
                    None => Err(TransportError::Unreachable(match said.is_empty() {
                        true => "no `/bin/sh` answered".into(),
                        false => format!("no `/bin/sh` answered: {said}"),
                    })),
                }
            }
        }
    }

    /// Starts a line as the login user's shell reads it, with nothing around it; its output may be read slowly.
    pub async fn raw(&self, line: &str) -> Result<Channel, TransportError> {
        self.carrier.stream(line).await
    }

    /// Says whether programs run as the login user.
    pub fn is_login(&self) -> bool {
        self.user.is_none()
    }
}

/// Writes to a program; one that does not read any more is found out about by its output's end.
async fn send(stdin: &mut (dyn AsyncWrite + Send + Unpin), text: &str) {
    if stdin.write_all(&to_bytes(text)).await.is_ok() {
        let _ = stdin.flush().await;
    }
}

/// Why a stream did not come to its marker.
enum Unready {
    /// What it said before it ended.
    Ended(String),
    /// The error for a question that has no answer here.
    Asked(String),
}

type Input = Box<dyn AsyncWrite + Send + Unpin>;
type Source = Box<dyn AsyncRead + Send + Unpin>;

/// Reads up to the marker and returns the stream from there, and the number that the marker carries.
/// What came before is a login shell's greeting, and sudo's questions.
async fn ready(
    mut stream: Source,
    marker: &str,
    mut sudo: Option<(&Sudo<'_>, &mut Input)>,
) -> Result<(Source, u32), Unready> {
    let mut seen = Vec::new();
    let mut answered = false;
    loop {
        if let Some(at) = find(&seen, marker.as_bytes()) {
            let number = at + marker.len();
            if let Some(length) = seen[number..].iter().position(|byte| *byte == b'\n') {
                let pid = String::from_utf8_lossy(&seen[number..number + length]).parse().unwrap_or_default();
                let rest = seen.split_off(number + length + 1);
                return Ok((Box::new(Cursor::new(rest).chain(stream)), pid));
            }
        } else if let Some((sudo, stdin)) = &mut sudo
            && let Some(at) = find(&seen, sudo.prompt.as_bytes())
        {
            seen.drain(..at + sudo.prompt.len());
            let Some(password) = sudo.user.password.as_ref().filter(|_| !answered) else {
                return Err(Unready::Asked(sudo.wrong(answered)));
            };
            answered = true;
            send(stdin.as_mut(), &format!("{}\n", password.reveal())).await;
            continue;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(length) if length > 0 => seen.extend_from_slice(&chunk[..length]),
            _ => return Err(Unready::Ended(String::from_utf8_lossy(&seen).into_owned())),
        }
    }
}

/// `sudo.8`, told to ask in words that nothing else says.
struct Sudo<'a> {
    user: &'a Become,
    prompt: String,
}

impl Sudo<'_> {
    /// Returns the command up to the program it runs.
    fn words(&self) -> Result<String, TransportError> {
        let flags = self.user.flags.as_deref().unwrap_or("-H -S");
        let flags = shlex::split(flags)
            .ok_or_else(|| TransportError::Refused(format!("`become_flags` cannot be split into words: {flags}")))?;
        let mut words = vec![self.user.exe.clone().unwrap_or_else(|| "sudo".into())];
        words.extend(flags.into_iter().filter(|flag| !["-n", "-S", "--non-interactive", "--stdin"].contains(&&**flag)));
        match self.user.password {
            Some(_) => words.extend(["-S".into(), "-p".into(), self.prompt.clone()]),
            None => words.push("-n".into()),
        }
        words.extend(["-u".into(), self.user.user.clone()]);
        Ok(words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "))
    }

    fn wrong(&self, answered: bool) -> String {
        match answered {
            true => format!("sudo did not accept the password for becoming `{}`", self.user.user),
            false => format!("sudo wants a password to become `{}` and none was given", self.user.user),
        }
    }

    /// Returns the error for a sudo that ended, from what it said.
    fn explain(&self, said: &str) -> String {
        let wants = ["a password is required", "a terminal is required"].iter().any(|words| said.contains(words));
        match (wants, said.is_empty()) {
            (true, _) => self.wrong(false),
            (false, true) => format!("cannot become `{}`: sudo ended without a word", self.user.user),
            (false, false) => format!("cannot become `{}`: {said}", self.user.user),
        }
    }
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
