//! A host as a module sees it: readable, never writable, with what a check would already have changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::change::records::{DIAL, state_name};
use crate::dns::{Client, Key, Rrset};
use crate::error::Diagnostic;
use crate::transport::name::to_local;
use crate::transport::ssh::config::Local;
use crate::transport::{
    Address, Body, Command, Content, Entry, Identity, Links, Machines, Node, Output, Owner, Stream, Transport,
    TransportError, Want,
};

mod packages;
mod pending;

pub use pending::{Pending, Pendings, clean};

use pending::Planned;

/// One host, through what is pending, then through its transport. It has no method that writes.
#[derive(Clone)]
pub struct View {
    pub name: String,
    transport: Arc<dyn Transport>,
    pendings: Arc<Pendings>,
    controller: Arc<Controller>,
    machines: Arc<dyn Machines>,
    /// What the task adds to the environment of all that it runs there.
    environment: Arc<[(String, String)]>,
    /// Why what was read may be something else by then.
    doubt: Arc<Mutex<Option<Arc<str>>>>,
    /// Whether a plan with this view is made for the questions that it asks, and not to be carried out.
    pub only_asks: bool,
    /// Whether the task's changes are only shown.
    pub is_check: bool,
    /// What decides of this run what chance decides else.
    pub seed: Arc<str>,
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
    /// Finds a file that a task names: absolute, below a home directory (`~/`, `~user/`), or below one of the search directories, there in `kind`
    /// (`files`, `templates`) first and then in the directory itself.
    pub fn find(&self, kind: &str, name: &str) -> Result<PathBuf, Diagnostic> {
        let name = match name.strip_prefix("~/") {
            Some(rest) => Path::new(&self.transport.identity().home).join(to_local(rest)),
            // A file may be called so, too.
            None => match name.strip_prefix('~').and_then(|_| Local::current().with_home(name)) {
                Some(path) => to_local(&path),
                None => to_local(name),
            },
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
        pendings: Arc<Pendings>,
        (controller, machines): (Arc<Controller>, Arc<dyn Machines>),
    ) -> View {
        let doubt = Arc::default();
        let (environment, seed) = (Arc::default(), "".into());
        View {
            name: name.into(),
            transport,
            pendings,
            controller,
            machines,
            environment,
            doubt,
            only_asks: false,
            is_check: false,
            seed,
        }
    }

    /// The same with what the task adds to the environment.
    pub fn with_environment(self, environment: Vec<(String, String)>) -> View {
        View { environment: environment.into(), ..self }
    }

    /// Returns a command as the task would have it run here.
    pub fn as_the_task(&self, command: Command) -> Command {
        let environment = self.environment.iter().cloned().chain(command.environment).collect();
        Command { environment, ..command }
    }

    pub fn identity(&self) -> &Identity {
        self.transport.identity()
    }

    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Says whether changes are planned that were not made: a check that looks ahead of the host.
    pub fn plans_ahead(&self) -> bool {
        self.with(|pending| pending.plans_ahead())
    }

    /// Says whether a change of a path that was looked at is planned: the host tells of it what it will not be.
    pub fn is_planned(&self, path: &str) -> bool {
        self.with(|pending| !pending.is_without_paths() && !matches!(pending.look(path, Links::Keep), Planned::Host(_)))
    }

    /// Says whether a change of a path, or of one below it, is planned.
    pub fn plans_below(&self, path: &str) -> bool {
        self.with(|pending| pending.plans_below(path))
    }

    /// Looks at one path; a link is looked at itself, not through.
    pub async fn look(&self, path: &str, want: Want) -> Result<Node, TransportError> {
        let nodes = self.look_all(&[(path.to_string(), Links::Keep)], want).await?;
        Ok(nodes.into_iter().next().unwrap_or(Node::Absent))
    }

    /// Says why, in a check, what was read here may be something else by then: a package that would come may bring
    /// what is not there, or one that would go take it.
    pub fn doubt(&self) -> Option<Arc<str>> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what may make a task possible that is not possible yet: a package that would come.
    pub fn may_come(&self) -> Option<Arc<str>> {
        self.with(|pending| pending.packages().may_bring("what is missing"))
    }

    /// Looks at many paths in one exchange; in a check that has planned something, links on the way may need more.
    pub async fn look_all(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        let nodes = self.look_through(paths, want).await?;
        if self.with(|pending| pending.packages().is_empty()) {
            return Ok(nodes);
        }
        let absent = |node: &Node| matches!(node, Node::Absent);
        let missing = paths.iter().zip(&nodes).filter(|(_, node)| absent(node)).map(|((path, _), _)| path);
        let may_come =
            self.with(|pending| missing.into_iter().find_map(|path| pending.packages().may_bring_path(path)));
        let there = paths.iter().zip(&nodes).filter(|(_, node)| !absent(node)).map(|((path, _), _)| path.as_str());
        self.note_doubt(may_come, &there.collect::<Vec<_>>()).await?;
        Ok(nodes)
    }

    /// Notes why what was read may be something else by then, if anything says so; `there` may go with a package.
    async fn note_doubt(&self, may_come: Option<Arc<str>>, there: &[&str]) -> Result<(), TransportError> {
        let mut doubt = may_come;
        if doubt.is_none()
            && let Some(owners) = self.with(|pending| pending.packages().owners(there))
        {
            let owners = self.transport.probe(&owners).await?.text();
            doubt = self.with(|pending| pending.packages().may_take(&owners));
        }
        let mut noted = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = noted.take().or(doubt);
        Ok(())
    }

    async fn look_through(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        if self.with(|pending| pending.is_without_paths()) {
            return self.transport.look(paths, want).await;
        }
        self.look_for_links(paths).await?;
        // What is planned, and where the host has to be asked too.
        let mut known: Vec<(Option<Node>, Option<String>)> = Vec::new();
        for (path, links) in paths {
            known.push(match self.with(|pending| pending.look(path, *links)) {
                Planned::Unknown(why) => return Err(TransportError::Unknown(why)),
                Planned::Host(real) => (None, Some(real)),
                Planned::Node(node) => {
                    if let (true, Some(needs)) = (want > Want::Attributes, node.content().and_then(Content::needs)) {
                        return Err(TransportError::Unknown(needs.clone()));
                    }
                    let lacks = lacks(&node, want);
                    (Some(node), lacks.then(|| path.clone()))
                }
            });
        }
        let open = paths.iter().zip(&known).filter_map(|((_, links), (_, ask))| Some((ask.clone()?, *links)));
        let open: Vec<_> = open.collect();
        let mut found = match open.is_empty() {
            true => Vec::new(),
            false => self.transport.look(&open, want).await?,
        }
        .into_iter();
        let answers = known.into_iter().map(|(planned, ask)| match (planned, ask) {
            (None, _) => found.next().unwrap_or(Node::Absent),
            (Some(node), Some(_)) => filled(node, found.next()),
            (Some(node), None) => as_asked(node, want),
        });
        Ok(answers.collect())
    }

    /// Lists everything below a directory, sorted by path; links are not followed.
    pub async fn list(&self, directory: &str, depth: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        self.note_doubt(self.with(|pending| pending.packages().may_bring_path(directory)), &[directory]).await?;
        if self.with(|pending| pending.is_without_paths()) {
            return self.transport.list(directory, depth).await;
        }
        self.look_for_links(&[(directory.to_string(), Links::Follow)]).await?;
        let real = match self.with(|pending| (pending.look(directory, Links::Follow), pending.directory(directory))) {
            (Planned::Unknown(why), _) => return Err(TransportError::Unknown(why)),
            (Planned::Node(Node::Absent), _) => return Ok(Vec::new()),
            (_, real) => real,
        };
        let entries = self.transport.list(&real, depth).await?;
        let all = self.with(|pending| pending.overlay((directory, &real), depth, entries));
        let mut all = all.map_err(TransportError::Unknown)?;
        all.iter_mut().for_each(|entry| entry.node = as_asked(entry.node.clone(), Want::Attributes));
        Ok(all)
    }

    /// Looks for the links on the way to paths that are planned, and to these.
    async fn look_for_links(&self, paths: &[(String, Links)]) -> Result<(), TransportError> {
        loop {
            let ways = self.with(|pending| pending.ways(paths));
            if ways.is_empty() {
                return Ok(());
            }
            let asked: Vec<_> = ways.iter().map(|path| (path.clone(), Links::Keep)).collect();
            let nodes = self.transport.look(&asked, Want::Attributes).await?;
            self.with(|pending| ways.into_iter().zip(&nodes).for_each(|(path, node)| pending.learn(path, node)));
        }
    }

    /// Resolves a user; one that the host does not have, and would not have by now, is an error that says so.
    pub async fn user(&self, name: &str) -> Result<Owner, TransportError> {
        match self.planned_account(("user", "/etc/passwd"), name).await? {
            Ok(Some(owner)) => Ok(owner),
            planned => self.account(planned, self.transport.user(name).await?, ("user", name)),
        }
    }

    pub async fn group(&self, name: &str) -> Result<Owner, TransportError> {
        match self.planned_account(("group", "/etc/group"), name).await? {
            Ok(Some(owner)) => Ok(owner),
            planned => self.account(planned, self.transport.group(name).await?, ("group", name)),
        }
    }

    /// Returns a user and a group by name; the connection's own where no name is given.
    pub async fn owner(&self, user: Option<&str>, group: Option<&str>) -> Result<(Owner, Owner), TransportError> {
        let user = match user {
            Some(name) => self.user(name).await?,
            None => self.identity().user.clone(),
        };
        let group = match group {
            Some(name) => self.group(name).await?,
            None => self.identity().group.clone(),
        };
        Ok((user, group))
    }

    async fn planned_account(
        &self,
        (kind, file): (&str, &str),
        name: &str,
    ) -> Result<Result<Option<Owner>, Arc<str>>, TransportError> {
        if let Some(planned) = self.with(|pending| pending.planned_account(kind, name)) {
            let gone = || TransportError::Refused(format!("`{}` would have no {kind} `{name}` by then", self.name));
            return planned.map(|owner| Ok(Some(owner))).ok_or_else(gone);
        }
        self.look_for_links(&[]).await?;
        Ok(self.with(|pending| pending.account(file, name)))
    }

    fn account(
        &self,
        planned: Result<Option<Owner>, Arc<str>>,
        found: Option<Owner>,
        (kind, name): (&str, &str),
    ) -> Result<Owner, TransportError> {
        match (found, planned) {
            (Some(owner), _) => Ok(owner),
            (None, Err(needs)) => Err(TransportError::Unknown(needs)),
            (None, Ok(_)) => Err(match self.with(|pending| pending.may_make(&format!("{kind} `{name}`"))) {
                Some(needs) => TransportError::Unknown(needs),
                None => TransportError::Refused(format!("`{}` has no {kind} `{name}`", self.name)),
            }),
        }
    }

    /// Returns what is planned of each `user` or `group`, as `kind` says: its name and its state.
    pub fn planned_accounts(&self, kind: &str) -> Vec<(String, String)> {
        self.with(|pending| pending.planned_accounts(kind))
    }

    /// Runs a command that only reads. The module answers for that.
    pub async fn probe(&self, command: &Command) -> Result<Output, TransportError> {
        // Most tasks add nothing, and what a command reads may be large.
        match self.environment.is_empty() {
            true => self.transport.probe(command).await,
            false => self.transport.probe(&self.as_the_task(command.clone())).await,
        }
    }

    /// Connects over TCP from the host, within `limit`. The module answers for saying nothing there that changes anything.
    pub async fn dial(&self, address: &Address, limit: Duration) -> Result<Stream, TransportError> {
        self.transport.dial(address, limit).await
    }

    /// Returns a state as pending, or as its probe prints it, without trailing white space.
    pub async fn state(&self, what: &str, probe: &Command) -> Result<String, TransportError> {
        match self.with(|pending| pending.state(what)) {
            Err(why) => Err(TransportError::Unknown(why)),
            Ok(Some(state)) => Ok(state),
            Ok(None) => Ok(self.probe(probe).await?.text().trim_end().to_string()),
        }
    }

    /// Returns sets of records as pending, or as their name server has them. `wanted` are absolute names and types.
    pub async fn records(
        &self,
        (server, key): (&Address, Option<&Key>),
        wanted: &[(String, String)],
    ) -> Result<Vec<Rrset>, TransportError> {
        let planned = |(name, kind): &(String, String)| {
            let host = pending::where_records_are(&self.name, server);
            self.pendings.with(host, |pending| pending.records(&state_name(server, name, kind)))
        };
        let planned: Vec<Option<Rrset>> = wanted.iter().map(planned).collect();
        let open =
            wanted.iter().zip(&planned).filter(|(_, planned)| planned.is_none()).map(|(wanted, _)| wanted.clone());
        let open: Vec<_> = open.collect();
        let mut found = match open.is_empty() {
            true => Vec::new(),
            false => Client::new(self.dial(server, DIAL).await?, server, key).rrsets(&open).await?,
        }
        .into_iter();
        let sets = planned.into_iter().zip(wanted).map(|(planned, (name, kind))| {
            planned.or_else(|| found.next()).unwrap_or_else(|| Rrset::absent(name, kind))
        });
        Ok(sets.collect())
    }

    /// Returns all that is planned of a state that is moved together with others, in order.
    pub fn planned_parts(&self, name: &str) -> Vec<String> {
        self.with(|pending| pending.parts(name))
    }

    /// Returns the names of planned states that are moved together with others, and begin with `prefix`.
    pub fn planned_parts_of(&self, prefix: &str) -> Vec<String> {
        self.with(|pending| pending.parts_of(prefix))
    }

    /// Says whether something is known: an error names what only a run can tell of it.
    pub fn is_known(&self, what: &str) -> Result<(), TransportError> {
        self.with(|pending| pending.state(what)).map(drop).map_err(TransportError::Unknown)
    }

    /// Returns another host of the run to read from.
    pub async fn peer(&self, host: &str) -> Result<View, TransportError> {
        let transport = self.machines.machine(host).await?;
        Ok(View { name: host.into(), transport, environment: Arc::default(), ..self.clone() })
    }

    /// Returns the machine Cutover runs on, as changes of it are planned.
    pub fn here(&self) -> View {
        let transport = self.controller.transport.clone();
        View { name: pending::HERE.into(), transport, environment: Arc::default(), ..self.clone() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pending) -> T) -> T {
        self.pendings.with(&self.name, work)
    }
}

/// Says whether a planned node is a file whose content stays as it is on the host, and that is asked for.
fn lacks(node: &Node, want: Want) -> bool {
    let stays = |content: &Content| matches!(content.body, Body::There);
    want > Want::Attributes && node.content().is_some_and(stays)
}

/// Returns a planned node with as much of its content as the host would tell.
fn as_asked(mut node: Node, want: Want) -> Node {
    if let Node::File { content, .. } = &mut node {
        match (want, &content.body) {
            (_, Body::Unknown { .. }) => {}
            (Want::Attributes, _) => *content = Content { digest: None, body: Body::There, ..content.clone() },
            (Want::Digest, Body::Here(_)) => content.body = Body::There,
            _ => {}
        }
    }
    node
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
