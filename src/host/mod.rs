//! A host as a module sees it: readable, never writable, with what a check would already have changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::Diagnostic;
use crate::transport::name::to_local;
use crate::transport::{
    Body, Command, Content, Entry, Identity, Links, Machines, Node, Output, Owner, Transport, TransportError, Want,
};

mod pending;

pub use pending::Pending;

/// One host, through what is pending, then through its transport. It has no method that writes.
#[derive(Clone)]
pub struct View {
    pub name: String,
    transport: Arc<dyn Transport>,
    pending: Arc<Mutex<Pending>>,
    controller: Arc<Controller>,
    machines: Arc<dyn Machines>,
    /// Whether a plan with this view is made for the questions that it asks, and not to be carried out.
    pub only_asks: bool,
}

/// What a task may read on the controller: its files and its variables.
pub struct Controller {
    /// Where relative file names are looked up, in order: the role's directories, then the playbook's. All absolute.
    pub search: Vec<PathBuf>,
    /// Renders the text of a template file with the task's variables.
    pub render: Box<Render>,
    pub transport: Arc<dyn Transport>,
}

/// Renders the template `text` that was read from `path`.
pub type Render = dyn Fn(&Path, &str, &TemplateOptions) -> Result<String, Unrendered> + Send + Sync;

/// Why a template gave no text.
#[derive(Clone, Debug)]
pub enum Unrendered {
    Wrong(Diagnostic),
    /// In a check: it needs a result that only a run gives.
    Unknown(Arc<str>),
}

/// Jinja2's own settings, as the `template` module takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateOptions {
    pub trim_blocks: bool,
    pub lstrip_blocks: bool,
    pub block_start: String,
    pub block_end: String,
    pub variable_start: String,
    pub variable_end: String,
    pub comment_start: String,
    pub comment_end: String,
}

impl Default for TemplateOptions {
    fn default() -> TemplateOptions {
        TemplateOptions {
            trim_blocks: true,
            lstrip_blocks: false,
            block_start: "{%".into(),
            block_end: "%}".into(),
            variable_start: "{{".into(),
            variable_end: "}}".into(),
            comment_start: "{#".into(),
            comment_end: "#}".into(),
        }
    }
}

impl Controller {
    /// Finds a file that a task names: absolute, below the home directory (`~/`), or below one of the search directories, there in `kind`
    /// (`files`, `templates`) first and then in the directory itself.
    pub fn find(&self, kind: &str, name: &str) -> Result<PathBuf, Diagnostic> {
        let name = match name.strip_prefix("~/") {
            Some(rest) => Path::new(&self.transport.identity().home).join(to_local(rest)),
            None => to_local(name),
        };
        let mut places = Vec::new();
        for directory in &self.search {
            places.extend([directory.join(kind).join(&name), directory.join(&name)]);
        }
        if name.is_absolute() {
            places = vec![name.clone()];
        }
        places.dedup();
        let found = places.iter().find(|place| place.exists()).cloned();
        found.ok_or_else(|| {
            let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            Diagnostic::new(format!("no file `{}` on the controller", name.display()))
                .hint(format!("looked for {}", looked.join(", ")))
        })
    }
}

impl View {
    pub fn new(
        name: &str,
        transport: Arc<dyn Transport>,
        pending: Arc<Mutex<Pending>>,
        (controller, machines): (Arc<Controller>, Arc<dyn Machines>),
    ) -> View {
        View { name: name.into(), transport, pending, controller, machines, only_asks: false }
    }

    pub fn identity(&self) -> &Identity {
        self.transport.identity()
    }

    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Says whether changes are planned that were not made: a check that looks ahead of the host.
    pub fn plans_ahead(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Looks at one path; a link is looked at itself, not through.
    pub async fn look(&self, path: &str, want: Want) -> Result<Node, TransportError> {
        let nodes = self.look_all(&[(path.to_string(), Links::Keep)], want).await?;
        Ok(nodes.into_iter().next().unwrap_or(Node::Absent))
    }

    /// Looks at many paths in one exchange.
    pub async fn look_all(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        // What is planned, and whether the host has to be asked too.
        let known: Vec<(Option<Node>, bool)> = {
            let pending = self.pending();
            let answer = |(path, links): &(String, Links)| match pending.look(path, *links) {
                None => (None, true),
                // Through a link that is only planned the host would lead to another file.
                Some(node) if matches!(pending.look(path, Links::Keep), Some(Node::Link { .. })) => (Some(node), false),
                Some(node) => {
                    let lacks = lacks(&node, want);
                    (Some(node), lacks)
                }
            };
            paths.iter().map(answer).collect()
        };
        let open: Vec<_> =
            paths.iter().zip(&known).filter(|(_, known)| known.1).map(|(path, _)| path.clone()).collect();
        let mut found = match open.is_empty() {
            true => Vec::new(),
            false => self.transport.look(&open, want).await?,
        }
        .into_iter();
        let answers = known.into_iter().map(|known| match known {
            (None, _) => found.next().unwrap_or(Node::Absent),
            (Some(node), true) => filled(node, found.next()),
            (Some(node), false) => node,
        });
        Ok(answers.collect())
    }

    /// Lists everything below a directory, sorted by path; links are not followed.
    pub async fn list(&self, directory: &str, depth: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        // A binding of its own: the lock has to be free before the host is asked.
        let known = self.pending().look(directory, Links::Keep);
        let entries = match known {
            Some(Node::Absent) => return Ok(Vec::new()),
            _ => self.transport.list(directory, depth).await?,
        };
        Ok(self.pending().overlay(directory, depth, entries))
    }

    /// Resolves a user; one that the host does not have is an error that says so.
    pub async fn user(&self, name: &str) -> Result<Owner, TransportError> {
        let planned = self.pending().account("user", name);
        let found = match planned {
            Some(planned) => planned,
            None => self.transport.user(name).await?,
        };
        found.ok_or_else(|| TransportError::Refused(format!("`{}` has no user `{name}`", self.name)))
    }

    pub async fn group(&self, name: &str) -> Result<Owner, TransportError> {
        let planned = self.pending().account("group", name);
        let found = match planned {
            Some(planned) => planned,
            None => self.transport.group(name).await?,
        };
        found.ok_or_else(|| TransportError::Refused(format!("`{}` has no group `{name}`", self.name)))
    }

    /// Returns what is planned of each `user` or `group`, as `kind` says: its name and its state.
    pub fn planned_accounts(&self, kind: &str) -> Vec<(String, String)> {
        self.pending().accounts(kind)
    }

    /// Runs a command that only reads. The module answers for that.
    pub async fn probe(&self, command: &Command) -> Result<Output, TransportError> {
        self.transport.probe(command).await
    }

    /// Returns a state as pending, or as its probe prints it, without trailing white space.
    pub async fn state(&self, what: &str, probe: &Command) -> Result<String, TransportError> {
        if let Some(state) = self.pending().state(what) {
            return Ok(state);
        }
        Ok(self.transport.probe(probe).await?.text().trim_end().to_string())
    }

    /// Returns another host of the run to read from. Its pending changes are not seen.
    pub async fn peer(&self, host: &str) -> Result<View, TransportError> {
        let transport = self.machines.machine(host).await?;
        let mut view = self.clone();
        view.name = host.into();
        view.transport = transport;
        view.pending = Arc::default();
        Ok(view)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Says whether a planned node is a file whose content stays as it is on the host, and that is asked for.
fn lacks(node: &Node, want: Want) -> bool {
    let stays = |content: &Content| matches!(content.body, Body::There);
    want > Want::Attributes && node.content().is_some_and(stays)
}

/// Gives a planned node the content that the host has for it.
fn filled(mut node: Node, found: Option<Node>) -> Node {
    if let (Node::File { content, .. }, Some(Node::File { content: there, .. })) = (&mut node, found)
        && *content == there
    {
        *content = there;
    }
    node
}
