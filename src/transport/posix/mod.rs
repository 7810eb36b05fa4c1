//! A machine that has a POSIX `sh`: one long-lived shell fed framed scripts, over any carrier of bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, try_join_all};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::command::KEPT;
use super::{
    Address, Become, Command, Entry, Identity, Links, Node, Output, Owner, PathChange, Process, Program, Stream,
    Transport, TransportError, Want, WriteError, name,
};

mod becoming;
pub mod detach;
mod dialogue;
mod elevation;
mod launch;
pub mod lock;
mod look;
mod run;
mod shell;
mod stop;
mod terminal;
mod tools;
mod write;

use launch::Session;
use lock::{Guard, Lock, Others};
use shell::{Effect, Shell};
use stop::Doomed;
use tools::Tools;

/// What carries a shell to a machine: an SSH connection, or this machine's own process table.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Starts `line` as the login user's shell reads it, on a channel of its own.
    async fn start(&self, line: &str) -> Result<Channel, TransportError>;

    /// Starts `line` for bulk data: it goes as fast as its reader reads, without holding up what `start` gave.
    async fn stream(&self, line: &str) -> Result<Channel, TransportError> {
        self.start(line).await
    }

    /// Starts `line` on a terminal that echoes nothing: `stdout` is all that is printed there, `stderr` is empty.
    async fn terminal(&self, line: &str) -> Result<Channel, TransportError>;

    /// Connects over TCP from the machine, within `limit`.
    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError>;

    /// Where commands and relative paths start there, if not in the home directory.
    fn base(&self) -> Option<String> {
        None
    }

    /// Returns the fingerprint of the key that the machine has proved to have, `SHA256:...`. `None`: it has no need to.
    fn host_key(&self) -> Option<String> {
        None
    }
}

/// The exit status of a program, when it has ended.
pub type Ending = BoxFuture<'static, Result<i32, TransportError>>;

/// The three streams of a started program and its end. Dropping it closes the channel and ends the program.
pub struct Channel {
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// The exit status, 128 + the signal's number for a killed program. No status at all is `Unreachable`.
    pub status: Ending,
}

/// One user's shell on one machine.
pub struct Posix {
    session: Arc<Session>,
    shell: Shell,
    identity: Identity,
    tools: Tools,
}

/// Paths that are looked at by one script; more become several scripts, sent without waiting between them.
const PATHS_AT_ONCE: usize = 256;

impl Posix {
    /// Starts the shell, as `user` if one is to become, and asks the machine once for its identity and tools.
    pub async fn start(carrier: Arc<dyn Carrier>, user: Option<&Become>) -> Result<Posix, TransportError> {
        let session = Arc::new(Session::new(carrier.clone(), user)?);
        let (mut shell, output) =
            Shell::start(&session, &format!("{}\n{}\nc_probe </dev/null", tools::PRELUDE, lock::FUNCTIONS)).await?;
        let (tools, mut identity) = Tools::read(&output)?;
        // Another user may not be allowed in there.
        let base = carrier.base().filter(|_| user.is_none_or(|user| user.user == "root"));
        identity.base = base.unwrap_or(identity.base);
        shell.only_utf8 = tools.only_utf8;
        Ok(Posix { session, shell, identity, tools })
    }

    /// How many questions and changes were handed to the host's shell; they are answered in this order.
    pub fn asked(&self) -> u64 {
        self.shell.asked()
    }

    /// What [`asked`](Posix::asked) was at the last change: an answer to a later question is true until this grows.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shell.changed()
    }

    async fn account(&self, database: &str, name: &str) -> Result<Option<Owner>, TransportError> {
        let output = self.shell.ask(&look::account(database, name), Effect::Reads).await?;
        Ok(look::read_account(name, &output))
    }

    /// Says whether the shell has ended: a new one is needed.
    pub fn is_lost(&self) -> bool {
        self.shell.is_lost()
    }

    /// The number of the shell's process on the host.
    pub fn pid(&self) -> u32 {
        self.shell.pid
    }

    /// Says whether something runs there for this.
    pub fn is_busy(&self) -> bool {
        self.shell.is_busy() || !self.session.programs.are_none()
    }

    /// Ends what runs there for this, as nobody waits for it any more, and the shell with it. Returns the numbers of
    /// processes that cannot be ended.
    pub async fn stop(&self) -> Result<Vec<u32>, TransportError> {
        let mut left = match self.shell.abandon() {
            true => self.session.stop(Doomed::Shell(self.shell.pid, self.shell.removal())).await?,
            false => Vec::new(),
        };
        left.extend(self.session.programs.ended().await);
        Ok(left)
    }

    /// Says whether a command runs on a channel of its own, in no order with what the shell is asked.
    pub fn is_apart(command: &Command) -> bool {
        // A time limit ends a whole process group: the long-lived shell must not be in it.
        command.timeout.is_some() || command.stdin.len() > run::SMALL || matches!(command.program, Program::Raw(_))
    }

    async fn run_with(&self, command: &Command, effect: Effect) -> Result<Output, TransportError> {
        let keep = match effect {
            Effect::Changes => KEPT,
            // What a module asks for it reads whole.
            Effect::Reads => usize::MAX,
        };
        if Posix::is_apart(command) {
            if effect == Effect::Changes {
                // It does not go through the shell, which has the lock or is told that it was taken away.
                self.hold(Others::Respect).await?;
            }
            let output = run::run_apart(&self.session, command, keep).await;
            if effect == Effect::Changes {
                self.shell.note_change();
                return output.map_err(uncertain);
            }
            return output;
        }
        let (script, refusal) = run::script(command, &self.tools)?;
        let output = self.shell.ask_for(&script, effect, keep).await?;
        match output.stdout == refusal.as_bytes() {
            true => Err(run::refused(command)),
            false => Ok(output),
        }
    }

    /// Looks at paths, each in its own way and as far as it is wanted, in one exchange.
    pub async fn look_all(&self, asked: &[(String, Links, Want)]) -> Result<Vec<Node>, TransportError> {
        let ways = [Links::Keep, Links::Follow].into_iter();
        let ways = ways.flat_map(|links| [Want::Attributes, Want::Digest, Want::Content].map(|want| (links, want)));
        let mut questions = Vec::new();
        for (links, want) in ways {
            let alike = asked.iter().filter(|asked| (asked.1, asked.2) == (links, want));
            let paths: Vec<&str> = alike.map(|asked| asked.0.as_str()).collect();
            questions.extend(paths.chunks(PATHS_AT_ONCE).map(|paths| (look::look(paths, links, want), (links, want))));
        }
        // Few paths are one script, and many are several which are sent without waiting between them.
        let scripts = if asked.len() <= PATHS_AT_ONCE { questions.len().max(1) } else { 1 };
        let answers = questions.chunks(scripts).map(|questions| async move {
            let script: Vec<&str> = questions.iter().map(|(question, _)| question.script.as_str()).collect();
            let output = self.shell.ask(&script.join("\n"), Effect::Reads).await?;
            let nodes = questions.iter().map(|(question, way)| Ok((*way, question.nodes(&self.tools, &output)?)));
            nodes.collect::<Result<Vec<_>, TransportError>>()
        });
        let mut found: HashMap<(Links, Want), HashMap<String, Node>> = HashMap::new();
        for (way, nodes) in try_join_all(answers).await?.into_iter().flatten() {
            found.entry(way).or_default().extend(nodes);
        }
        let node = |(path, links, want): &(String, Links, Want)| {
            // The host answers with its own text of a name.
            let own = name::from_bytes(&name::to_bytes(path));
            found.get(&(*links, *want)).and_then(|nodes| nodes.get(&own)).cloned().unwrap_or(Node::Absent)
        };
        Ok(asked.iter().map(node).collect())
    }
}

#[async_trait]
impl Transport for Posix {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn look(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        let asked: Vec<_> = paths.iter().map(|(path, links)| (path.clone(), *links, want)).collect();
        self.look_all(&asked).await
    }

    async fn list(&self, directory: &str, depth: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        let question = look::list(directory, depth);
        let output = self.shell.ask(&question.script, Effect::Reads).await?;
        question.entries(&self.tools, directory, &output)
    }

    async fn user(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        self.account("passwd", name).await
    }

    async fn group(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        self.account("group", name).await
    }

    async fn write(&self, changes: &[PathChange]) -> Result<(), WriteError> {
        self.write_all(changes).await
    }

    async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        self.run_with(command, Effect::Changes).await
    }

    async fn probe(&self, command: &Command) -> Result<Output, TransportError> {
        self.run_with(command, Effect::Reads).await
    }

    fn guard(&self, lock: &Arc<Lock>) {
        self.shell.guard.get_or_init(|| Guard::new(lock.clone()));
    }

    async fn hold(&self, others: Others) -> Result<(), TransportError> {
        match self.shell.guard.get().is_some() {
            true => self.shell.hold(others).await,
            false => Ok(()),
        }
    }

    async fn open(&self, command: &Command) -> Result<Process, TransportError> {
        self.hold(Others::Respect).await?;
        self.shell.note_change();
        run::open(&self.session, command).await
    }

    async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError> {
        self.session.carrier.dial(address, limit).await
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        // Somebody stopped waiting for a command: it must not go on by itself.
        if let (true, Ok(runtime)) = (self.shell.abandon(), tokio::runtime::Handle::try_current()) {
            let (session, doomed) = (self.session.clone(), Doomed::Shell(self.shell.pid, self.shell.removal()));
            runtime.spawn(async move { session.stop(doomed).await });
        }
    }
}

/// Names processes by their numbers.
pub fn processes(pids: &[u32]) -> String {
    let numbers: Vec<String> = pids.iter().map(u32::to_string).collect();
    format!("{} {}", if pids.len() == 1 { "process" } else { "processes" }, numbers.join(", "))
}

/// What was asked for may have been done.
fn uncertain(error: TransportError) -> TransportError {
    match error {
        TransportError::Unreachable(why) => TransportError::Uncertain(why),
        other => other,
    }
}
