//! One difference between a host as it is and as it was asked to be: shown, saved, applied as the same value.

use serde::{Deserialize, Serialize};

use crate::secret;
use crate::transport::{Body, Command, Content, Node, PathChange};

pub mod apply;
mod danger;
pub mod diff;
pub mod records;
pub mod transfer;

pub use apply::{Applied, ApplyError, Reach, apply};
pub use diff::{Diff, Line, Secrecy};
pub use records::RecordsChange;
pub use transfer::Transfer;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A path becomes exactly this node: absent, file, directory, link; content, mode, owner, group, times where asked.
    Path { on: On, change: PathChange },
    /// Something only commands can move: a service, an account, a database built from a file.
    State(StateChange),
    /// Records of a zone become others, in one update of their name server (RFC 2136).
    Records(RecordsChange),
    /// A command with no state to compare: shown as it is, opaque.
    Run { command: Command },
    /// Messages that stream from one host to another at apply time: itemised, counted, resumable.
    Transfer(Transfer),
}

/// Which machine a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    Host,
    /// The machine Cutover runs on (`fetch`).
    Controller,
}

/// `probe` prints the state; `before` and `after` are what it prints, without trailing white space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateChange {
    what: String,
    probe: Command,
    before: String,
    after: String,
    by: Vec<Command>,
    #[serde(default, skip_serializing_if = "Back::is_none")]
    back: Back,
    /// What its commands read is a secret. The texts never are: a probe prints a fingerprint of what may not be shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    /// The names of the lines of both texts, where each is a state of its own that moves with the others or not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    /// Paths that its commands make and take away. What is in them only a run tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    paths: Vec<String>,
}

/// How a state is moved back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Back {
    /// Nobody knows how.
    #[default]
    None,
    By(Vec<Command>),
    /// It is made from other things: when those are back, the same commands make it anew.
    Again,
}

impl Back {
    fn is_none(&self) -> bool {
        *self == Back::None
    }
}

/// What takes a change back.
#[derive(Clone, Debug, PartialEq)]
pub enum Undone {
    Change(Box<Change>),
    /// Commands that make anew what is made from other things, once those are back.
    Again(Vec<Command>),
}

impl StateChange {
    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn probe(&self) -> &Command {
        &self.probe
    }

    pub fn before(&self) -> &str {
        &self.before
    }

    pub fn after(&self) -> &str {
        &self.after
    }

    /// Says whether its commands are given a secret.
    pub fn has_secret_commands(&self) -> bool {
        self.secret
    }

    /// Says whether it is made from other things, whose changes decide what it is before.
    pub fn is_made_again(&self) -> bool {
        self.back == Back::Again
    }

    /// Returns the states that it consists of: the name of each, and its line before and after.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let lines = self.before.lines().zip(self.after.lines());
        self.parts.iter().zip(lines).map(|(name, (before, after))| (name.as_str(), before, after))
    }

    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The commands that move the state, in order; a failing one stops the rest.
    pub fn by(&self) -> &[Command] {
        &self.by
    }
}

impl Change {
    /// Returns the change of a path on the task's host, if there is one.
    pub fn path(path: impl Into<String>, before: Node, after: Node) -> Option<Change> {
        PathChange::new(path, before, after).map(|change| Change::Path { on: On::Host, change })
    }

    /// Marks a colon-separated field of each line of a path's content, counted from 1, as a secret.
    pub fn with_secret_field(self, field: usize) -> Change {
        match self {
            Change::Path { on, change } => Change::Path { on, change: change.with_secret_field(field) },
            other => other,
        }
    }

    /// Says what the change of a path brings about, a line each, shown behind its difference.
    pub fn meaning_that(self, lines: Vec<String>) -> Change {
        match self {
            Change::Path { on, change } => Change::Path { on, change: change.meaning_that(lines) },
            other => other,
        }
    }

    /// Returns how secret this change is where the task asks for `asked`: it may know of a secret itself.
    pub fn secrecy(&self, asked: Secrecy) -> Secrecy {
        match self {
            Change::Path { change, .. } if change.secret_field().is_some() => Secrecy::Hidden,
            Change::State(state) if state.secret => Secrecy::Hidden,
            Change::Records(records) if records.has_key() => Secrecy::Hidden,
            _ if self.holds_secret() => Secrecy::Hidden,
            _ => asked,
        }
    }

    /// Says whether a text that was decrypted stands in it as it is.
    fn holds_secret(&self) -> bool {
        let command = |command: &Command| {
            let environment = serde_json::to_vec(&(&command.program, &command.environment)).unwrap_or_default();
            secret::holds(&environment) || secret::holds(&command.stdin)
        };
        let node = |node: &Node| match node {
            Node::File { content: Content { body: Body::Printed { by, .. }, .. }, .. } => command(by),
            Node::File { content, .. } => content.bytes().is_some_and(secret::holds),
            Node::Link { target, .. } => secret::holds(target.as_bytes()),
            _ => false,
        };
        match self {
            Change::Path { change, .. } => {
                secret::holds(change.path().as_bytes()) || node(change.before()) || node(change.after())
            }
            Change::State(state) => {
                [&state.what, &state.before, &state.after].iter().any(|text| secret::holds(text.as_bytes()))
                    || std::iter::once(&state.probe).chain(&state.by).any(command)
            }
            Change::Records(_) | Change::Transfer(_) => {
                serde_json::to_vec(self).is_ok_and(|bytes| secret::holds(&bytes))
            }
            Change::Run { command: run } => command(run),
        }
    }

    /// Returns the change of a state, if there is one. `what` names it for people and for `Pending`: `service xinetd`.
    pub fn state(
        what: impl Into<String>,
        probe: Command,
        (before, after): (String, String),
        by: Vec<Command>,
    ) -> Option<Change> {
        let what = what.into();
        (before != after).then_some(Change::State(StateChange {
            what,
            probe,
            before,
            after,
            by,
            back: Back::None,
            secret: false,
            parts: Vec::new(),
            paths: Vec::new(),
        }))
    }

    /// Names the lines of a state that is moved as a whole, such as the rows of a transaction: later tasks of a check ask for
    /// each by its name.
    pub fn in_parts(self, parts: Vec<String>) -> Change {
        match self {
            Change::State(state) => Change::State(StateChange { parts, ..state }),
            other => other,
        }
    }

    /// Names the paths that the commands of a state make and take away.
    pub fn with_paths(self, paths: Vec<String>) -> Change {
        match self {
            Change::State(state) => Change::State(StateChange { paths, ..state }),
            other => other,
        }
    }

    /// Says that the commands of a state are given a secret, on stdin: no journal and no plan has them in the open.
    pub fn with_secret_commands(self) -> Change {
        match self {
            Change::State(state) => Change::State(StateChange { secret: true, ..state }),
            other => other,
        }
    }

    /// Gives the commands of this change the environment that the task adds to, before what they have of their own.
    pub fn add_environment(&mut self, environment: &[(String, String)]) {
        let add = |command: &mut Command| drop(command.environment.splice(0..0, environment.iter().cloned()));
        match self {
            Change::Run { command } => add(command),
            Change::State(StateChange { probe, by, back, .. }) => {
                let back = if let Back::By(commands) = back { commands.as_mut_slice() } else { &mut [] };
                std::iter::once(probe).chain(by).chain(back).for_each(add);
            }
            Change::Path { .. } | Change::Records(_) | Change::Transfer(_) => {}
        }
    }

    /// Says how the change of a state is taken back.
    pub fn taken_back(self, back: Back) -> Change {
        match self {
            Change::State(state) => Change::State(StateChange { back, ..state }),
            other => other,
        }
    }

    /// Says whether this, planned again, is the change that was `approved`; `made` gives what this run has made of a path.
    ///
    /// What may go on changing is not compared: the content of a file whose mode alone changes, the state that is made
    /// from others, and the mail of the same mailboxes.
    pub fn is_as_approved<'a>(&self, approved: &Change, made: impl Fn(&str) -> Option<&'a Node>) -> bool {
        match (self, approved) {
            (Change::Path { on, change }, Change::Path { on: approved_on, change: approved }) => {
                let same = (change.path(), change.validate()) == (approved.path(), approved.validate());
                let made =
                    || made(change.path()).is_some_and(|node| node.without_time() == change.before().without_time());
                let after = match approved.keeps_content() && change.keeps_content() {
                    true => approved.after().permissions() == change.after().permissions(),
                    false => approved.after() == change.after(),
                };
                on == approved_on && same && after && (approved.is_before(change.before()) || made())
            }
            (Change::State(state), Change::State(approved)) => {
                let before = approved.is_made_again() || state.before == approved.before;
                before && StateChange { before: approved.before.clone(), ..state.clone() } == *approved
            }
            (Change::Transfer(transfer), Change::Transfer(approved)) => transfer.is_part_of(approved),
            (now, approved) => now == approved,
        }
    }

    /// Says whether another change leaves the same path or state as this one does.
    pub fn comes_to_the_same(&self, other: &Change) -> bool {
        match (self, other) {
            (Change::Path { on, change }, Change::Path { on: other_on, change: other }) => {
                let after = |change: &PathChange| change.after().without_time();
                (on, change.path(), after(change)) == (other_on, other.path(), after(other))
            }
            (Change::Records(records), Change::Records(other)) => records.leaves_the_same(other),
            (Change::State(state), Change::State(other)) => (&state.what, &state.after) == (&other.what, &other.after),
            _ => false,
        }
    }

    /// Returns what takes this change back, or why nothing does.
    pub fn undone(&self) -> Result<Undone, String> {
        match self {
            Change::Path { on, change } => {
                Ok(Undone::Change(Box::new(Change::Path { on: *on, change: change.undone()? })))
            }
            Change::State(StateChange { what, probe, before, after, by, back, secret, parts, paths }) => match back {
                Back::None => Err(format!("nobody knows how {what} is taken back")),
                Back::Again => Ok(Undone::Again(by.clone())),
                Back::By(commands) => Ok(Undone::Change(Box::new(Change::State(StateChange {
                    what: what.clone(),
                    probe: probe.clone(),
                    before: after.clone(),
                    after: before.clone(),
                    by: commands.clone(),
                    back: Back::By(by.clone()),
                    secret: *secret,
                    parts: parts.clone(),
                    paths: paths.clone(),
                })))),
            },
            Change::Records(records) => Ok(Undone::Change(Box::new(Change::Records(records.undone())))),
            Change::Run { .. } => Err("what a command has done is not known".into()),
            Change::Transfer(_) => Err("messages that were handed over may have been read or answered by now".into()),
        }
    }
}
