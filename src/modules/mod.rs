//! What a task can ask for: one file a module, one table of them all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::{Unrendered, View};
use crate::names;
use crate::transport::{Command, Output, TransportError};

pub mod arguments;
pub mod database;
pub mod files;
pub mod mail;
pub mod net;
pub mod reference;
pub mod system;

pub use arguments::{Argument, Arguments, Kind, State};

/// Every module, by theme. Docs, argument checks and law tests are loops over [`all`].
const MODULES: &[&[&Entry]] = &[database::MODULES, files::MODULES, mail::MODULES, net::MODULES, system::MODULES];

/// Returns every module.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    MODULES.iter().flat_map(|theme| theme.iter().copied())
}

/// A module: typed arguments, and one question it can answer.
#[async_trait]
pub trait Module: Send + Sync {
    /// Returns what must change for `host` to be as asked, in order.
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError>;

    /// Says for how long a host that cannot be reached is awaited; it is not, unless this says so.
    fn patience(&self) -> Option<Patience> {
        None
    }

    /// Says how the host is awaited that its changes take away; they take none away, unless this says so.
    fn absence(&self) -> Option<Absence> {
        None
    }
}

/// How a host that cannot be reached is awaited.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Before the first try.
    pub delay: Duration,
    /// Between two tries.
    pub sleep: Duration,
    pub until: Instant,
}

/// How a host is awaited that goes away.
#[derive(Clone, Debug)]
pub struct Absence {
    /// Before the first look.
    pub delay: Duration,
    /// How long it may take until it is back, and then until it is well.
    pub timeout: Duration,
    /// Prints another text when it is back.
    pub boot: Command,
    /// Succeeds when it is well.
    pub test: Command,
}

/// A row of the table: how a module is called, documented and built.
pub struct Entry {
    pub name: &'static str,
    /// One line, for lists.
    pub summary: &'static str,
    /// Groups of arguments; shared groups stand in several modules.
    pub arguments: &'static [&'static [Argument]],
    /// The argument that a task's bare text goes to: `command: uptime`.
    pub free_form: Option<&'static str>,
    /// A task that runs as it stands, shown in the reference.
    pub example: &'static str,
    /// Builds the module from checked arguments.
    pub build: fn(&Arguments) -> Result<Box<dyn Module>, Diagnostic>,
}

/// What `register:` sees, without `changed`, `failed` and `diff`, which the runner adds.
pub type Results = Map<String, Value>;

/// A result's field with the names of fields that are registered and never printed.
pub const HIDDEN: &str = "_hidden";

/// A result's field with what stands in `diff` where the task asks for one.
pub const DIFFERENCE: &str = "_diff";

/// A module's answer.
pub struct Planned {
    /// Empty means: the host is as asked.
    pub changes: Vec<Change>,
    pub result: Outcome,
    pub warnings: Vec<String>,
}

pub enum Outcome {
    Known(Results),
    /// The last `Change::Run` or `Change::Transfer` decides: unknown in a check. The runner adds what applying it gave to
    /// these: `rc`, `stdout`, `stderr` and their lines, or the transfer's counts.
    Applied(Results),
    /// The last change decides, a `Change::Run` or a state whose command tells of what it has made, and this reads what that printed.
    Read(Reader),
}

/// Reads what a command printed into what `register:` sees.
pub type Reader = Box<dyn Fn(&Output) -> Result<Results, ModuleError> + Send + Sync>;

/// Why a module has no plan.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The host is in a state in which the task cannot be done; `result` is registered beside `msg`.
    #[error("{message}")]
    Failed { message: String, result: Results },
    /// The user's error, found only now: a missing `src`, a template that fails.
    #[error("{0}")]
    Wrong(#[from] Diagnostic),
    /// In a check: it needs a result that only a run gives.
    #[error("unknown until run: needs {0}")]
    Unknown(Arc<str>),
    #[error(transparent)]
    Host(#[from] TransportError),
}

impl From<Unrendered> for ModuleError {
    fn from(unrendered: Unrendered) -> ModuleError {
        match unrendered {
            Unrendered::Wrong(diagnostic) => diagnostic.into(),
            Unrendered::Unknown(what) => ModuleError::Unknown(what),
        }
    }
}

impl ModuleError {
    pub fn failed(message: impl Into<String>) -> ModuleError {
        ModuleError::Failed { message: message.into(), result: Results::new() }
    }
}

impl Planned {
    pub fn new(changes: Vec<Change>, result: Results) -> Planned {
        Planned { changes, result: Outcome::Known(result), warnings: Vec::new() }
    }
}

impl Entry {
    /// Says whether the task is a command of the user's, of which nobody else knows what it does.
    pub fn runs_commands(&self) -> bool {
        ["command", "custom", "raw", "script", "shell"].contains(&self.name)
    }
}

/// Finds a module by its short or its full name (`ansible.builtin.copy`, `community.general.nsupdate`).
pub fn find(name: &str) -> Option<&'static Entry> {
    let short = names::short(name);
    all().find(|entry| entry.name == short)
}
