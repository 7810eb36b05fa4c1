//! The start of a program as another user: on pipes where the method allows it, else on a terminal.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use super::becoming::{Asks, Method, Terminal, wanted_terminal};
use super::dialogue::{Answers, Ear, Ears, Unready, send};
use super::launch::{Start, Started, started};
use super::terminal::{self, OnTerminal};
use super::{Carrier, Channel};
use crate::transport::command::quote;
use crate::transport::{Become, TransportError};

/// How long a method may take to let the user in, or to say why not.
const LIMIT: Duration = Duration::from_secs(30);

/// The user to become, and what is known of how.
pub struct Elevation {
    user: Become,
    method: &'static Method,
    /// The terminal that the method must be started on; what it insists on is found out once.
    terminal: OnceLock<Terminal>,
    limit: Duration,
}

/// Why a program is not running as the other user.
enum Failure {
    Wants(Terminal),
    Error(TransportError),
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Failure {
        Failure::Error(error)
    }
}

impl Elevation {
    /// Refuses a method that is not known.
    pub fn new(user: &Become) -> Result<Elevation, TransportError> {
        let method = Method::of(user)?;
        let terminal = OnceLock::new();
        if user.password.is_some() && !method.asks_stdin {
            let _ = terminal.set(Terminal::Session);
        }
        Ok(Elevation { user: user.clone(), method, terminal, limit: LIMIT })
    }

    pub async fn launch(&self, carrier: &Arc<dyn Carrier>, start: &Start<'_>) -> Result<Started, TransportError> {
        let terminal = match self.terminal.get() {
            Some(terminal) => *terminal,
            None => match self.on_pipes(carrier, start).await {
                Err(Failure::Wants(terminal)) => *self.terminal.get_or_init(|| terminal),
                Err(Failure::Error(error)) => return Err(error),
                Ok(started) => return Ok(started),
            },
        };
        match self.on_terminal(terminal, carrier, start).await {
            Err(Failure::Wants(_)) => {
                let (Become { user, .. }, Method { name, .. }) = (&self.user, self.method);
                Err(TransportError::Refused(format!("`{name}` does not take a terminal for one, to become `{user}`")))
            }
            Err(Failure::Error(error)) => Err(error),
            Ok(started) => Ok(started),
        }
    }

    async fn on_pipes(&self, carrier: &Arc<dyn Carrier>, start: &Start<'_>) -> Result<Started, Failure> {
        let asks = if self.user.password.is_some() { Asks::Stdin } else { Asks::Nobody };
        let prompt = prompt(start);
        let (before, words) = self.method.command(&self.user, asks, (&prompt, &entry(start)))?;
        let line = format!("exec /bin/sh -c {}", quote(&format!("{before}exec {words}")));
        let Channel { mut stdin, stdout, stderr, status } = self.in_time(start.on(carrier, &line)).await?;
        let mut ears = Ears::of(stdout, stderr);
        let mut answers = Answers::new((&self.user, self.method), &prompt, &mut stdin);
        self.pass(&mut ears, start, &mut answers).await?;
        send(&mut stdin, &start.line).await;
        send(&mut stdin, start.first).await;
        let pid = ears.pass(&start.marker(), None).await.map_err(|unready| self.unready(unready, false))?;
        Ok(started(pid, ears, (stdin, status)))
    }

    async fn on_terminal(
        &self,
        terminal: Terminal,
        carrier: &Arc<dyn Carrier>,
        start: &Start<'_>,
    ) -> Result<Started, Failure> {
        let asks = if self.user.password.is_some() { Asks::Terminal } else { Asks::Nobody };
        let prompt = prompt(start);
        let (entry, redirected) = match terminal {
            // `3<&3` looks idle, but ksh hands on a file that it opened itself only where a command names it.
            Terminal::Stdin => (format!("exec <&3 3<&-; {}", entry(start)), "3<&3 >&4 2>&5 4>&- 5>&-"),
            // The two others leave the program they start no other files than these.
            Terminal::Session => (entry(start), "<&3 >&4 2>&5 3<&- 4>&- 5>&-"),
        };
        let (before, words) = self.method.command(&self.user, asks, (&prompt, &entry))?;
        // No `exec`: a terminal that no process has open counts as hung up, and the method has none before it asks.
        let command = format!("{before}{words} {redirected}; exit $?");
        let opening = terminal::start(carrier, start.bulk, |pipes| format!("{}{command}", pipes.open()));
        let OnTerminal { channel, output, mut input } = self.in_time(opening).await.map_err(|error| match error {
            TransportError::Refused(why) => {
                let (Become { user, .. }, Method { name, .. }) = (&self.user, self.method);
                TransportError::Refused(format!("`{name}` wants a terminal to become `{user}`: {why}"))
            }
            other => other,
        })?;
        let Channel { mut stdin, stdout, stderr, status } = channel;
        let mut ears = Ears { terminal: Ear::new(output), ..Ears::of(stdout, stderr) };
        let mut answers = Answers::new((&self.user, self.method), &prompt, &mut input);
        self.pass(&mut ears, start, &mut answers).await?;
        send(&mut stdin, &start.line).await;
        send(&mut stdin, start.first).await;
        let pid = ears.pass(&start.marker(), None).await.map_err(|unready| self.unready(unready, false))?;
        let mut terminal = std::mem::replace(&mut ears.terminal, Ear::new(Box::new(tokio::io::empty()))).into_stream();
        // What is said there later is for nobody, but it must not fill up.
        tokio::spawn(async move { tokio::io::copy(&mut terminal, &mut tokio::io::sink()).await });
        let status = async move {
            let _terminal = input;
            status.await
        };
        Ok(started(pid, ears, (stdin, status.boxed())))
    }

    /// Hears the method out until the other user's shell speaks.
    async fn pass(&self, ears: &mut Ears, start: &Start<'_>, answers: &mut Answers<'_>) -> Result<(), Failure> {
        ears.until = Some(Instant::now() + self.limit);
        let passed = ears.pass(&start.marker(), Some(answers)).await;
        passed.map(drop).map_err(|unready| self.unready(unready, answers.answered.is_some()))
    }

    async fn in_time<T>(&self, starting: impl Future<Output = Result<T, TransportError>>) -> Result<T, TransportError> {
        tokio::time::timeout(self.limit, starting).await.unwrap_or_else(|_| Err(self.silent("")))
    }

    fn unready(&self, unready: Unready, answered: bool) -> Failure {
        // It was never seen that a program repeats what it was told in secret.
        let hide = |said: String| match &self.user.password {
            Some(password) if !password.reveal().is_empty() => said.replace(password.reveal(), "********"),
            _ => said,
        };
        Failure::Error(match unready {
            Unready::Ended(said) => match wanted_terminal(&said).filter(|_| !answered) {
                Some(terminal) => return Failure::Wants(terminal),
                None => TransportError::Refused(self.method.explain(&self.user, answered, &hide(said))),
            },
            Unready::Silent(said) => self.silent(&hide(said)),
            Unready::Asked(message) => TransportError::Refused(hide(message)),
        })
    }

    fn silent(&self, said: &str) -> TransportError {
        let (Become { user, .. }, Method { name, .. }) = (&self.user, self.method);
        let said = if said.is_empty() { "it said nothing".into() } else { format!("it said: {said}") };
        let limit = self.limit.as_secs_f64();
        let why = "timed out waiting for privilege escalation prompt";
        TransportError::Unreachable(format!("{why}: `{name}` did not become `{user}` within {limit} s; {said}"))
    }
}

/// What sudo is told to ask with: words that nothing else says.
fn prompt(start: &Start<'_>) -> String {
    format!("[cutover {}] password: ", start.nonce)
}

/// The script that the method runs. It says that it runs and reads the line, which no list of processes and no log of
/// sudo is to have, from its stdin. There is no `$` in it, because `sudo -i` would have a second shell replace it.
fn entry(start: &Start<'_>) -> String {
    let (nonce, length) = (&start.nonce, start.line.len());
    format!(r#"printf "\036{nonce} 0\n"; printf "\036{nonce} 0\n" >&2; eval "`dd bs=1 count={length} 2>/dev/null`""#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::transport::local::Local;

    /// What becomes of a program that does as the script says where sudo should be.
    async fn refusal(script: &str, password: Option<&str>) -> String {
        refusal_by(("sudo", &[]), script, password).await
    }

    /// The same of a method that asks with one of these words.
    async fn refusal_by((method, prompts): (&str, &[&str]), script: &str, password: Option<&str>) -> String {
        let user = Become {
            method: method.into(),
            user: "root".into(),
            password: password.map(Secret::new),
            flags: None,
            exe: Some(shlex::try_join(["/bin/sh", "-c", script]).unwrap()),
            prompts: prompts.iter().map(|prompt| prompt.to_string()).collect(),
        };
        let elevation = Elevation { limit: Duration::from_millis(500), ..Elevation::new(&user).unwrap() };
        let start = Start { nonce: "1".into(), line: "exit".into(), first: "", bulk: false };
        let carrier: Arc<dyn Carrier> = Arc::new(Local::new());
        elevation.launch(&carrier, &start).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn nothing_is_waited_for_for_ever() {
        let silent = refusal("sleep 300", None).await;
        assert_eq!(
            silent,
            "timed out waiting for privilege escalation prompt: `sudo` did not become `root` within 0.5 s; it said nothing"
        );
        let talking = refusal("echo Touch the key. >&2; sleep 300", Some("x")).await;
        assert_eq!(
            talking,
            "timed out waiting for privilege escalation prompt: `sudo` did not become `root` within 0.5 s; it said: Touch the key."
        );
        // It lets the user in, and the shell does not come.
        let stuck = refusal(r"printf '\0361 0\n'; printf '\0361 0\n' >&2; sleep 300", None).await;
        assert_eq!(
            stuck,
            "timed out waiting for privilege escalation prompt: `sudo` did not become `root` within 0.5 s; it said nothing"
        );
    }

    #[tokio::test]
    async fn only_the_words_that_were_said_ask_for_the_password() {
        let script = r"printf 'Kennwort : ' >&2; read -r word; echo Sorry >&2; exit 1";
        let known = refusal_by(("su", &["kennwort"]), script, Some("x")).await;
        assert_eq!(known, "Incorrect su password: it was not accepted for becoming `root`");
        let script = "printf 'Password: ' >&2; sleep 300";
        let other = refusal_by(("su", &["kennwort"]), script, Some("x")).await;
        assert!(other.ends_with("within 0.5 s; it said: Password:"), "{other}");
    }

    #[tokio::test]
    async fn a_password_that_is_said_again_is_not_shown() {
        let told = refusal(r"printf 'Password: ' >&2; read -r word; echo no: $word >&2; exit 1", Some("p w")).await;
        assert_eq!(told, "cannot become `root` with `sudo`: no: ********");
    }
}
