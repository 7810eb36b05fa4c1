//! `attachments_copy`: the files of Plesk's `@attachments` are copied from another host; nothing is deleted or overwritten.

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Body, Links, Node, Owner, Permissions, Want};

pub const ENTRY: Entry = Entry {
    name: "attachments_copy",
    summary: "Copies directories of attachments from another host; what differs here is kept beside",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: Attachments of autoresponders\n  attachments_copy:\n    from: old\n    owner: popuser\n    group: popuser\n    directories:\n      - source: /var/qmail/mailnames/example.com/ann/@attachments\n        dest: /var/qmail/mailnames/example.com/ann/@attachments\n",
    build: |arguments| Ok(Box::new(arguments.read::<AttachmentsCopy>()?)),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host in the inventory that has the files.").required(),
    Argument::new("directories", Kind::List, "Mappings with `source` and `dest`.").required(),
    Argument::new("owner", Kind::Text, "The user the files belong to here; the connection's unless given."),
    Argument::new("group", Kind::Text, "The group the files belong to here; the connection's unless given."),
];

#[derive(Deserialize)]
struct AttachmentsCopy {
    from: String,
    directories: Vec<Pair>,
    owner: Option<String>,
    group: Option<String>,
}

/// A directory of the other host, and the one here that it is for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    pub source: String,
    pub dest: String,
}

#[async_trait]
impl Module for AttachmentsCopy {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let peer = host.peer(&self.from).await?;
        let (owner, group) = host.owner(self.owner.as_deref(), self.group.as_deref()).await?;
        let lists = self.directories.iter().map(|pair| peer.list(&pair.source, None));
        let lists = futures::future::try_join_all(lists).await?;
        let (mut sources, mut dests) = (Vec::new(), Vec::new());
        for (pair, entries) in self.directories.iter().zip(lists) {
            let (from, to) = (pair.source.trim_end_matches('/'), pair.dest.trim_end_matches('/'));
            sources.push((from.to_string(), Links::Keep));
            dests.push((to.to_string(), Links::Keep));
            for entry in entries {
                dests.push((format!("{to}{}", &entry.path[from.len()..]), Links::Keep));
                sources.push((entry.path, Links::Keep));
            }
        }
        // The name that a file gets if another one has its own already.
        let beside: Vec<_> =
            dests.iter().map(|(path, _)| (format!("{path}.from-{}", self.from), Links::Keep)).collect();
        let all: Vec<_> = dests.iter().chain(&beside).cloned().collect();
        let (theirs, ours) =
            tokio::try_join!(peer.look_all(&sources, Want::Content), host.look_all(&all, Want::Digest))?;
        let mut changes = Vec::new();
        for (index, node) in theirs.into_iter().enumerate() {
            let (path, found) = (&dests[index].0, &ours[index]);
            let (path, found, wanted) =
                match (taken_over(node, (&owner, &group), (&self.from, &sources[index].0)), found) {
                    (None, _) => continue,
                    (Some(Node::Directory { .. }), Node::Directory { .. }) => continue,
                    (Some(wanted), Node::Absent) => (path, found, wanted),
                    (Some(wanted), found) if found.content() == wanted.content() => (path, found, wanted),
                    (Some(wanted), _) => (&beside[index].0, &ours[dests.len() + index], wanted),
                };
            changes.extend(Change::path(path, found.clone(), wanted));
        }
        let mut results = Results::new();
        results.insert("files".into(), changes.len().into());
        Ok(Planned::new(changes, results))
    }
}

/// Returns a node as it is to be here; links and special files are not taken over.
fn taken_over(node: Node, (owner, group): (&Owner, &Owner), (peer, path): (&str, &str)) -> Option<Node> {
    let permissions = |mode| Permissions { mode, owner: owner.clone(), group: group.clone() };
    match node {
        Node::Directory { .. } => Some(Node::Directory { permissions: permissions(0o700), modified: None }),
        Node::File { mut content, modified, .. } => {
            // What is too large to travel with the look is streamed when the change is made.
            if content.bytes().is_none() {
                content.body = Body::Peer { host: peer.into(), path: path.into() };
            }
            Some(Node::File { content, permissions: permissions(0o600), modified })
        }
        _ => None,
    }
}
