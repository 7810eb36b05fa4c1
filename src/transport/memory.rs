//! A host that exists in memory only, for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Address, Body, Command, Content, Entry, INLINE_LIMIT, Identity, Links, Machines, Node, Output, Owner, PathChange,
    Permissions, Process, Stream, Transport, TransportError, Want, WriteError,
};

/// How many links a path may lead through (`ELOOP`).
const MAX_LINKS: usize = 40;

/// A file tree, users and groups, a clock, and the commands it knows the answers to.
///
/// A clone is the same host. Paths are canonical keys; every file's content is here.
#[derive(Clone)]
pub struct Memory {
    identity: Identity,
    state: Arc<Mutex<State>>,
}

/// What a service says to what it was sent.
type Service = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

struct State {
    nodes: BTreeMap<String, Node>,
    users: Vec<Owner>,
    groups: Vec<Owner>,
    answers: HashMap<String, Output>,
    commands: Vec<Command>,
    services: HashMap<Address, Service>,
    /// Reading exchanges and writes so far.
    exchanges: usize,
    /// Seconds since 1970; what a write sets as time of modification.
    clock: i64,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// Returns a host with `/`, `/etc`, `/tmp`, `/root` and the users and groups root, daemon, mail and alice; one is root.
    pub fn new() -> Memory {
        Memory::login("root")
    }

    /// Returns the same host with a session of another of its users.
    pub fn login(user: &str) -> Memory {
        let owners: Vec<Owner> = [(0, "root"), (1, "daemon"), (8, "mail"), (1000, "alice")]
            .into_iter()
            .map(|(id, name)| Owner { id, name: name.into() })
            .collect();
        let me = owners.iter().find(|owner| owner.name == user).unwrap_or(&owners[0]).clone();
        let home = if me.id == 0 { "/root".into() } else { format!("/home/{}", me.name) };
        let state = State {
            nodes: BTreeMap::new(),
            users: owners.clone(),
            groups: owners,
            answers: HashMap::new(),
            commands: Vec::new(),
            services: HashMap::new(),
            exchanges: 0,
            clock: 1_700_000_000,
        };
        let identity = Identity { user: me.clone(), group: me, base: home.clone(), home, umask: 0o022 };
        let memory = Memory { identity, state: Arc::new(Mutex::new(state)) };
        for (path, mode) in [("/", 0o755), ("/etc", 0o755), ("/tmp", 0o1777), ("/root", 0o700), ("/home", 0o755)] {
            memory.dir(path, mode);
        }
        memory.dir(&memory.identity.home, 0o700);
        memory
    }

    /// Adds a user and a group of the same name.
    pub fn account(&self, name: &str, id: u32) -> &Memory {
        let owner = Owner { id, name: name.into() };
        let mut state = self.state();
        state.users.push(owner.clone());
        state.groups.push(owner);
        drop(state);
        self
    }

    /// Puts a file there, owned by root, and every missing directory above it.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> &Memory {
        let clock = self.state().clock;
        let content = Content::here(content.as_ref());
        self.put(path, Node::File { content, permissions: roots(mode), modified: Some(clock) })
    }

    pub fn dir(&self, path: &str, mode: u32) -> &Memory {
        let clock = self.state().clock;
        self.put(path, Node::Directory { permissions: roots(mode), modified: Some(clock) })
    }

    pub fn link(&self, path: &str, target: &str) -> &Memory {
        self.put(path, Node::Link { target: target.into(), permissions: roots(0o777) })
    }

    /// Puts any node there, as it is.
    pub fn put(&self, path: &str, node: Node) -> &Memory {
        let mut state = self.state();
        let path = state.resolve(path, Links::Keep).unwrap_or_else(|| path.into());
        let mut above = parent(&path).to_string();
        while !state.nodes.contains_key(&above) && path != "/" {
            let directory = Node::Directory { permissions: roots(0o755), modified: Some(state.clock) };
            state.nodes.insert(above.clone(), directory);
            above = parent(&above).to_string();
        }
        state.nodes.insert(path, node);
        drop(state);
        self
    }

    /// Sets the answer to a command, named as a person would type it.
    pub fn on(&self, command: &str, status: i32, stdout: &str) -> &Memory {
        let output = Output { status, stdout: stdout.into(), ..Output::default() };
        self.state().answers.insert(command.into(), output);
        self
    }

    /// Sets what listens at an address that is dialled from here. `answer` is given nothing at first, for a greeting,
    /// and then each piece that arrives; it says what is sent back.
    pub fn serve(&self, address: Address, answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> &Memory {
        self.state().services.insert(address, Arc::new(answer));
        self
    }

    /// Sets what the next writes put as time of modification.
    pub fn set_clock(&self, seconds: i64) -> &Memory {
        self.state().clock = seconds;
        self
    }

    /// Returns a file's text, through links. `None`: no such file.
    pub fn read(&self, path: &str) -> Option<String> {
        let node = self.node(path, Links::Follow);
        let bytes = node.content().and_then(Content::bytes)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Returns what is at a path, whole.
    pub fn node(&self, path: &str, links: Links) -> Node {
        self.state().node(path, links)
    }

    /// Returns every path with its node, to compare a host before and after.
    pub fn tree(&self) -> BTreeMap<String, Node> {
        self.state().nodes.clone()
    }

    /// Returns the commands run so far.
    pub fn commands(&self) -> Vec<Command> {
        self.state().commands.clone()
    }

    /// Returns how often this host was asked for something that a real one needs a round trip for.
    pub fn exchanges(&self) -> usize {
        self.state().exchanges
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn asked(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.exchanges += 1;
        state
    }
}

fn roots(mode: u32) -> Permissions {
    let root = Owner { id: 0, name: "root".into() };
    Permissions { mode, owner: root.clone(), group: root }
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

impl State {
    fn node(&self, path: &str, links: Links) -> Node {
        self.resolve(path, links).and_then(|path| self.nodes.get(&path)).cloned().unwrap_or(Node::Absent)
    }

    /// Returns the canonical path: links above the last component followed, `.` and `..` taken away. `None`: a loop of links.
    fn resolve(&self, path: &str, links: Links) -> Option<String> {
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_string).collect();
        let mut done = String::new();
        let mut followed = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => done.truncate(done.rfind('/').unwrap_or(0)),
                name => {
                    let here = format!("{done}/{name}");
                    let last = rest.iter().all(|part| part.is_empty());
                    match self.nodes.get(&here) {
                        Some(Node::Link { target, .. }) if !last || links == Links::Follow => {
                            followed += 1;
                            if followed > MAX_LINKS {
                                return None;
                            }
                            if target.starts_with('/') {
                                done.clear();
                            }
                            rest.extend(target.split('/').rev().map(str::to_string));
                        }
                        _ => done = here,
                    }
                }
            }
        }
        Some(if done.is_empty() { "/".into() } else { done })
    }

    fn has_children(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.nodes.range(prefix.clone()..).next().is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// Makes one change, or says why not.
    fn write(&mut self, change: &PathChange) -> Result<(), Refusal> {
        let refused = |why: String| Refusal::Failed(TransportError::Refused(why));
        let path = self
            .resolve(change.path(), Links::Keep)
            .ok_or_else(|| refused("too many levels of symbolic links".into()))?;
        let found = self.nodes.get(&path).cloned().unwrap_or(Node::Absent);
        if !change.is_before(&found) {
            return Err(Refusal::Stale(Box::new(found)));
        }
        if let Some(validate) = change.validate() {
            let output = self.answer(validate).map_err(Refusal::Failed)?;
            if !output.success() {
                return Err(refused(format!("`{validate}` says no: status {}", output.status)));
            }
        }
        let after = match change.after() {
            Node::File { content, permissions, modified } => {
                let kept = matches!(&content.body, Body::There);
                let bytes = match (&content.body, &found) {
                    (Body::Here(bytes), _) => bytes.clone(),
                    (Body::File(path), _) => std::fs::read(path).map_err(|error| refused(error.to_string()))?.into(),
                    (Body::There, Node::File { content: Content { body: Body::Here(bytes), .. }, .. }) => bytes.clone(),
                    (
                        Body::There
                        | Body::Peer { .. }
                        | Body::Own { .. }
                        | Body::Printed { .. }
                        | Body::Unknown { .. },
                        _,
                    ) => {
                        return Err(refused("the content to keep is not there".into()));
                    }
                };
                let before = match &found {
                    Node::File { modified, .. } if kept => *modified,
                    _ => Some(self.clock),
                };
                let modified = modified.or(before);
                Node::File { content: Content::here(bytes), permissions: permissions.clone(), modified }
            }
            Node::Directory { permissions, modified } => {
                let before = match &found {
                    Node::Directory { modified, .. } => *modified,
                    _ => Some(self.clock),
                };
                Node::Directory { permissions: permissions.clone(), modified: modified.or(before) }
            }
            other => other.clone(),
        };
        let stays_directory = matches!(after, Node::Directory { .. });
        if matches!(found, Node::Directory { .. }) && !stays_directory && self.has_children(&path) {
            return Err(refused("directory not empty".into()));
        }
        if !matches!(self.nodes.get(parent(&path)), Some(Node::Directory { .. })) {
            return Err(refused(format!("no directory `{}`", parent(&path))));
        }
        match after {
            Node::Absent => drop(self.nodes.remove(&path)),
            node => drop(self.nodes.insert(path, node)),
        }
        Ok(())
    }

    fn answer(&self, command: &str) -> Result<Output, TransportError> {
        let missing = || TransportError::Refused(format!("this host has no answer for `{command}`"));
        self.answers.get(command).cloned().ok_or_else(missing)
    }
}

enum Refusal {
    Stale(Box<Node>),
    Failed(TransportError),
}

/// Returns of a node what `want` asks for.
fn seen(node: Node, want: Want) -> Node {
    match node {
        Node::File { mut content, permissions, modified } => {
            if want < Want::Digest {
                content.digest = None;
            }
            if want < Want::Content || content.size > INLINE_LIMIT {
                content.body = Body::There;
            }
            Node::File { content, permissions, modified }
        }
        other => other,
    }
}

fn find(owners: &[Owner], name: &str) -> Option<Owner> {
    let by_name = owners.iter().find(|owner| owner.name == name);
    by_name.or_else(|| owners.iter().find(|owner| name.parse() == Ok(owner.id))).cloned()
}

#[async_trait]
impl Transport for Memory {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn look(&self, paths: &[(String, Links)], want: Want) -> Result<Vec<Node>, TransportError> {
        let state = self.asked();
        Ok(paths.iter().map(|(path, links)| seen(state.node(path, *links), want)).collect())
    }

    async fn list(&self, directory: &str, depth: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        let state = self.asked();
        let Some(root) = state.resolve(directory, Links::Keep) else { return Ok(Vec::new()) };
        if !matches!(state.nodes.get(&root), Some(Node::Directory { .. })) {
            return Ok(Vec::new());
        }
        let prefix = format!("{}/", root.trim_end_matches('/'));
        let below = state.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let mut entries: Vec<Entry> = below
            .filter(|(path, _)| **path != "/")
            .map(|(path, node)| (&path[prefix.len()..], node))
            .filter(|(name, _)| depth.is_none_or(|depth| name.matches('/').count() < depth as usize))
            .map(|(name, node)| {
                let path = format!("{}/{name}", directory.trim_end_matches('/'));
                Entry { path, node: seen(node.clone(), Want::Attributes) }
            })
            .collect();
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(entries)
    }

    async fn user(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        Ok(find(&self.asked().users, name))
    }

    async fn group(&self, name: &str) -> Result<Option<Owner>, TransportError> {
        Ok(find(&self.asked().groups, name))
    }

    async fn write(&self, changes: &[PathChange]) -> Result<(), WriteError> {
        let mut state = self.asked();
        for (index, change) in changes.iter().enumerate() {
            let path = change.path().to_string();
            state.write(change).map_err(|refusal| match refusal {
                Refusal::Stale(found) => WriteError::Stale { index, path, found },
                Refusal::Failed(error) => WriteError::Failed { index, path, error },
            })?;
        }
        Ok(())
    }

    async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        let mut state = self.asked();
        state.commands.push(command.clone());
        state.answer(&command.line())
    }

    async fn open(&self, command: &Command) -> Result<Process, TransportError> {
        Err(TransportError::Refused(format!("no process here to run `{}`", command.line())))
    }

    async fn dial(&self, address: &Address, _: Duration) -> Result<Stream, TransportError> {
        let service = self.asked().services.get(address).cloned();
        let service = service.ok_or_else(|| TransportError::Refused(format!("no connection to {address}")))?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let (mut input, mut output) = tokio::io::split(theirs);
            let mut heard = Vec::new();
            while output.write_all(&service(&heard)).await.is_ok() {
                heard.clear();
                match input.read_buf(&mut heard).await {
                    Ok(1..) => {}
                    _ => break,
                }
            }
        });
        let (read, write) = tokio::io::split(ours);
        Ok(tokio::io::join(Box::new(read), Box::new(write)))
    }
}

/// Every other host is this one too.
#[async_trait]
impl Machines for Memory {
    async fn machine(&self, _: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(text: &str) -> Node {
        Node::File { content: Content::here(text.as_bytes()), permissions: roots(0o644), modified: None }
    }

    async fn write(host: &Memory, path: &str, before: Node, after: Node) -> Result<(), WriteError> {
        host.write(&[PathChange::new(path, before, after).unwrap()]).await
    }

    #[tokio::test]
    async fn a_stale_file_is_refused_and_stays() {
        let host = Memory::new();
        host.file("/etc/me", "new", 0o644);
        let error = write(&host, "/etc/me", here("old"), here("mine")).await.unwrap_err();
        assert!(matches!(error, WriteError::Stale { index: 0, .. }), "{error}");
        assert_eq!(host.read("/etc/me").unwrap(), "new");
    }

    #[tokio::test]
    async fn links_are_followed_or_kept_and_always_followed_on_the_way() {
        let host = Memory::new();
        host.file("/srv/real/a", "A", 0o644).link("/srv/d", "real").link("/srv/real/l", "../real/a");
        let asked = [("/srv/d/l".into(), Links::Follow), ("/srv/d/l".into(), Links::Keep)];
        let nodes = host.look(&asked, Want::Content).await.unwrap();
        assert_eq!(nodes[0], host.node("/srv/real/a", Links::Keep));
        assert_eq!(nodes[1].kind(), "link");
        host.link("/srv/x", "y").link("/srv/y", "x");
        assert_eq!(host.node("/srv/x", Links::Follow), Node::Absent);
    }

    #[tokio::test]
    async fn attributes_change_without_content_and_keep_the_time() {
        let host = Memory::new();
        host.file("/etc/me", "text", 0o644).set_clock(5);
        let node = host.look(&[("/etc/me".into(), Links::Keep)], Want::Attributes).await.unwrap().remove(0);
        let after = node.clone().with_permissions(roots(0o600));
        write(&host, "/etc/me", node, after).await.unwrap();
        let Node::File { modified, permissions, .. } = host.node("/etc/me", Links::Keep) else { panic!() };
        assert_eq!((modified, permissions.mode), (Some(1_700_000_000), 0o600));
        assert_eq!(host.read("/etc/me").unwrap(), "text");
    }

    #[tokio::test]
    async fn a_missing_parent_and_a_full_directory_are_refused() {
        let host = Memory::new();
        host.file("/srv/d/a", "", 0o644);
        assert!(write(&host, "/nowhere/f", Node::Absent, here("")).await.is_err());
        let directory = host.node("/srv/d", Links::Keep);
        assert!(write(&host, "/srv/d", directory, Node::Absent).await.is_err());
        assert!(host.node("/srv/d/a", Links::Keep).exists());
    }

    #[tokio::test]
    async fn a_listing_is_sorted_and_as_deep_as_asked() {
        let host = Memory::new();
        host.file("/srv/d/b/c", "", 0o644).file("/srv/d/a", "", 0o644);
        let paths = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>();
        assert_eq!(paths(host.list("/srv/d", Some(1)).await.unwrap()), ["/srv/d/a", "/srv/d/b"]);
        assert_eq!(paths(host.list("/srv/d", None).await.unwrap()), ["/srv/d/a", "/srv/d/b", "/srv/d/b/c"]);
        assert!(host.list("/none", None).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_failed_validation_keeps_the_file() {
        let host = Memory::new();
        host.file("/etc/sudoers", "old", 0o440).on("visudo -cf %s", 1, "");
        let before = host.node("/etc/sudoers", Links::Keep);
        let change = PathChange::new("/etc/sudoers", before, here("bad")).unwrap();
        assert!(host.write(&[change.validated_by(Some("visudo -cf %s".into()))]).await.is_err());
        assert_eq!(host.read("/etc/sudoers").unwrap(), "old");
    }

    #[tokio::test]
    async fn a_service_greets_and_answers_what_it_is_sent() {
        let host = Memory::new();
        let address = Address::new("mx.example", 25);
        host.serve(address.clone(), |heard| match heard {
            b"" => b"220 hi\r\n".to_vec(),
            b"QUIT\r\n" => b"221 bye\r\n".to_vec(),
            _ => b"500 what\r\n".to_vec(),
        });
        let limit = Duration::from_secs(1);
        assert!(host.dial(&Address::new("mx.example", 26), limit).await.is_err());
        let mut stream = host.dial(&address, limit).await.unwrap();
        let mut text = Vec::new();
        stream.read_buf(&mut text).await.unwrap();
        stream.write_all(b"QUIT\r\n").await.unwrap();
        stream.read_buf(&mut text).await.unwrap();
        assert_eq!(text, b"220 hi\r\n221 bye\r\n");
    }
}
