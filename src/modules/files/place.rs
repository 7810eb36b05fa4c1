//! A path of the host that a module wants to make something of: what is there, and the directory around it.

use serde::Deserialize;

use crate::change::{Change, On};
use crate::host::View;
use crate::modules::{Argument, Kind, ModuleError, Results};
use crate::transport::{
    Body, Command, Content, INLINE_LIMIT, Links, Node, PathChange, Permissions, TransportError, Want,
};

use super::rights::{New, Rights};

/// How many links a path may lead through (`ELOOP`).
const MAX_LINKS: usize = 40;

/// The arguments of every module that writes a file's content.
pub const WRITING: &[Argument] = &[
    Argument::new("backup", Kind::Bool, "Keep the file as it was beside it; `backup_file` says where."),
    Argument::new(
        "validate",
        Kind::Text,
        "Command that must accept the new file before it takes its place; `%s` is the file.",
    ),
];

/// How a file's content is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Writing {
    #[serde(flatten)]
    pub rights: Rights,
    #[serde(default)]
    pub backup: bool,
    pub validate: Option<String>,
}

/// A path, absolute and without a link at its end if links were to be followed.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: String,
    pub node: Node,
    pub parent: Node,
}

/// Says of a file that may not be read what Ansible says, and keeps the transport's own reason.
pub fn unreadable(error: ModuleError, path: &str) -> ModuleError {
    match error {
        ModuleError::Host(TransportError::Refused(why)) if why.to_lowercase().contains("permission denied") => {
            ModuleError::failed(format!("File is not readable: {path}: Permission denied\n{why}"))
        }
        other => other,
    }
}

impl Writing {
    /// Says what is wrong with the arguments before any host is asked.
    pub fn check(&self) -> Result<(), crate::error::Diagnostic> {
        self.rights.check()?;
        match &self.validate {
            Some(command) if !command.contains("%s") => {
                let message = format!("`validate` needs `%s` for the new file: `{command}`");
                Err(crate::error::Diagnostic::new(message))
            }
            _ => Ok(()),
        }
    }
}

impl Place {
    /// Looks at `path`; where it is a link to be followed, at what it leads to. One exchange, and one more for each link.
    pub async fn look(host: &View, path: &str, links: Links, want: Want) -> Result<Place, ModuleError> {
        if path.is_empty() {
            // An empty variable must not come to mean the home directory.
            return Err(ModuleError::failed("an empty path"));
        }
        let mut path = absolute(host, path);
        for _ in 0..MAX_LINKS {
            let asked = [(path.clone(), Links::Keep), (parent(&path).to_string(), Links::Follow)];
            let mut nodes = host.look_all(&asked, want).await?.into_iter();
            let (node, above) = (nodes.next().unwrap_or(Node::Absent), nodes.next().unwrap_or(Node::Absent));
            match &node {
                Node::Link { target, .. } if links == Links::Follow => path = join(parent(&path), target),
                _ => return Ok(Place { path, node, parent: above }),
            }
        }
        Err(ModuleError::failed(format!("`{path}`: too many levels of symbolic links")))
    }

    /// Returns the change that makes this the node `after`, if there is one.
    pub fn change(&self, after: Node) -> Option<Change> {
        Change::path(self.path.as_str(), self.node.clone(), after)
    }

    /// Fails where there is no directory to make something in.
    pub fn needs_parent(&self) -> Result<(), ModuleError> {
        match &self.parent {
            Node::Directory { .. } => Ok(()),
            Node::Absent => {
                Err(ModuleError::failed(format!("destination directory `{}` does not exist", parent(&self.path))))
            }
            other => {
                let message = format!("`{}` is no directory but a {}", parent(&self.path), other.kind());
                Err(ModuleError::failed(message))
            }
        }
    }

    /// Returns the changes that make this a file with `content`, and what is there then.
    pub async fn write(
        &self,
        host: &View,
        content: Content,
        writing: &Writing,
    ) -> Result<(Vec<Change>, Results), ModuleError> {
        let (content, permissions, same) = match &self.node {
            Node::File { content: old, .. } => {
                let permissions = writing.rights.kept(host, &self.node).await?;
                let same = *old == content && old.digest.is_some() && content.digest.is_some();
                // The bytes are there already: only who may use them can differ.
                let content = if same { Content { body: Body::There, ..content } } else { content };
                (content, permissions, same)
            }
            Node::Absent | Node::Link { .. } => (content, None, false),
            Node::Directory { .. } | Node::Special { .. } => {
                return Err(ModuleError::failed(format!("`{}` is no file but a {}", self.path, self.node.kind())));
            }
        };
        let permissions = match permissions {
            Some(permissions) => permissions,
            None => {
                self.needs_parent()?;
                writing.rights.fresh(host, New::File, &self.parent).await?
            }
        };
        let after = Node::File { content, permissions, modified: None };
        let before = if same { self.node.clone() } else { self.whole(host).await? };
        let mut results = results_of(&after);
        let mut changes = Vec::new();
        if writing.backup
            && !same
            && let Some((path, change)) = self.backup(host, &before).await?
        {
            results.insert("backup_file".into(), path.into());
            changes.extend(change);
        }
        let change = PathChange::new(self.path.as_str(), before, after);
        let validate = writing.validate.clone().filter(|_| !same);
        changes.extend(change.map(|change| Change::Path { on: On::Host, change: change.validated_by(validate) }));
        changes.extend(writing.rights.flags(host, &self.path).await?);
        Ok((changes, results))
    }

    /// Returns the present node with its content, if it is small: what is replaced is shown, and can be brought back.
    pub async fn whole(&self, host: &View) -> Result<Node, ModuleError> {
        match &self.node {
            Node::File { content, .. } if matches!(content.body, Body::There) && content.size <= INLINE_LIMIT => {
                Ok(host.look(&self.path, Want::Content).await?)
            }
            node => Ok(node.clone()),
        }
    }

    /// Returns where a copy of the present file is kept, and the change that makes it, unless it is there already.
    ///
    /// A part of the digest stands where Ansible's name has the process and the time: a check, the run after it and a
    /// run that was broken off name the same file.
    async fn backup(&self, host: &View, node: &Node) -> Result<Option<(String, Option<Change>)>, ModuleError> {
        let Node::File { content, permissions, .. } = node else { return Ok(None) };
        let kept = Content::here(bytes_of(host, &self.path, content).await?);
        let digest = kept.digest.as_ref().and_then(|digest| digest.0.get(..12)).unwrap_or("");
        let path = format!("{}.{digest}~", self.path);
        let there = host.look(&path, Want::Digest).await?;
        let copy = Node::File { content: kept, permissions: permissions.clone(), modified: None };
        Ok(Some((path.clone(), Change::path(path, there, copy))))
    }
}

/// Returns where a path is without links and `..` on its way and at its end.
pub async fn real(host: &View, path: &str) -> Result<String, ModuleError> {
    let mut path = absolute(host, path);
    for _ in 0..MAX_LINKS {
        let (known, rest) = match path.find("/../").or_else(|| path.strip_suffix("/..").map(str::len)) {
            Some(at) => path.split_at(at),
            None => (path.as_str(), ""),
        };
        let ends = known.match_indices('/').map(|(at, _)| at).skip(1).chain([known.len()]);
        let steps: Vec<(String, Links)> = ends.map(|end| (known[..end].to_string(), Links::Keep)).collect();
        let nodes = host.look_all(&steps, Want::Attributes).await?;
        let link = steps.iter().zip(&nodes).find_map(|((step, _), node)| match node {
            Node::Link { target, .. } => Some((step, target)),
            _ => None,
        });
        path = match link {
            Some((step, target)) => join(parent(step), &format!("{target}{}", &path[step.len()..])),
            None if rest.is_empty() => return Ok(path),
            None => join("/", &format!("{}{}", parent(known), &rest["/..".len()..])),
        };
    }
    Err(ModuleError::failed(format!("`{path}`: too many levels of symbolic links")))
}

/// Returns the changes that make `path` and every missing directory above it, and what `path` is then.
///
/// New directories get `rights`; those that are there stay as they are.
pub async fn make_directories(host: &View, path: &str, rights: &Rights) -> Result<(Vec<Change>, Node), ModuleError> {
    let path = absolute(host, path);
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    let steps: Vec<(String, Links)> = ends.map(|end| (path[..end].to_string(), Links::Follow)).collect();
    let mut above = Node::Absent;
    let mut changes = Vec::new();
    let nodes = host.look_all(&steps, Want::Attributes).await?;
    for ((step, _), node) in steps.into_iter().zip(nodes) {
        above = match node {
            Node::Directory { .. } => node,
            Node::Absent => {
                let permissions = rights.fresh(host, New::Directory, &above).await?;
                let made = Node::Directory { permissions, modified: None };
                changes.extend(Change::path(step, Node::Absent, made.clone()));
                made
            }
            other => {
                return Err(ModuleError::failed(format!("`{step}` is no directory but a {}", other.kind())));
            }
        };
    }
    Ok((changes, above))
}

/// Returns all bytes of a file that was looked at.
pub async fn bytes_of(host: &View, path: &str, content: &Content) -> Result<Vec<u8>, ModuleError> {
    match &content.body {
        Body::Here(bytes) => Ok(bytes.to_vec()),
        Body::File(file) => std::fs::read(file)
            .map_err(|error| ModuleError::failed(format!("cannot read `{}`: {error}", file.display()))),
        Body::Unknown { needs } => Err(ModuleError::Unknown(needs.clone())),
        Body::Printed { by, here } => {
            let machine = if *here { host.here() } else { host.clone() };
            printed(&machine, path, by).await
        }
        Body::There | Body::Peer { .. } | Body::Own { .. } => {
            if host.only_asks {
                return Err(ModuleError::failed("a big file is read when its task is done"));
            }
            printed(host, path, &Command::argv(["cat", "--", path])).await
        }
    }
}

/// Returns what a command prints that reads `path`.
async fn printed(machine: &View, path: &str, by: &Command) -> Result<Vec<u8>, ModuleError> {
    let output = machine.probe(by).await?;
    if !output.success() {
        return Err(ModuleError::failed(format!("cannot read `{path}`: {}", output.error_text().trim_end())));
    }
    Ok(output.stdout)
}

/// Returns what `register:` sees of a node: `state`, `mode`, `owner`, `group`, `uid`, `gid`, `size`.
pub fn results_of(node: &Node) -> Results {
    let mut results = Results::new();
    results.insert("state".into(), node.kind().into());
    if let Some(Permissions { mode, owner, group }) = node.permissions() {
        // As Ansible writes it here, and not in `stat`: `01777`.
        results.insert("mode".into(), format!("0{mode:03o}").into());
        results.insert("owner".into(), owner.name.as_str().into());
        results.insert("group".into(), group.name.as_str().into());
        results.insert("uid".into(), owner.id.into());
        results.insert("gid".into(), group.id.into());
    }
    if let Some(content) = node.content().filter(|content| !content.is_unknown()) {
        results.insert("size".into(), content.size.into());
    }
    results
}

/// Returns an absolute path: `~` and `$HOME` start at the home directory, relative ones at the session's home, or on this machine where Cutover was started. Double and final slashes go.
pub fn absolute(host: &View, path: &str) -> String {
    let home = &host.identity().home;
    let rest = ["~", "$HOME", "${HOME}"].into_iter().find_map(|name| path.strip_prefix(name));
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => join("/", &format!("{home}{rest}")),
        _ => join(&host.identity().base, path),
    }
}

/// Returns the directory of an absolute path; `/` for the root itself.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Returns the last component of a path.
pub fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or("")
}

/// Returns `path` as seen from `directory`, without double slashes, `.` and trailing slashes. `..` stays: links decide it.
pub fn join(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_string() } else { format!("{directory}/{path}") };
    let parts: Vec<&str> = whole.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}
