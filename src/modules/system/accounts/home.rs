//! A home directory as changes of paths: made from a skeleton, moved, removed.

use crate::change::Change;
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::{Body, Content, Entry, Links, Node, Owner, Permissions, Want};

/// The directories above `path`, the outermost first.
fn above(path: &str) -> Vec<String> {
    path.match_indices('/').filter(|(at, _)| *at > 0).map(|(at, _)| path[..at].to_string()).collect()
}

/// Returns everything below a directory with what it holds, what is above before what is below.
async fn tree(host: &View, directory: &str) -> Result<Vec<Entry>, ModuleError> {
    let entries = host.list(directory, None).await?;
    if entries.is_empty() {
        return Ok(entries);
    }
    let paths: Vec<_> = entries.into_iter().map(|entry| (entry.path, Links::Keep)).collect();
    let nodes = host.look_all(&paths, Want::Content).await?;
    Ok(paths.into_iter().zip(nodes).map(|((path, _), node)| Entry { path, node }).collect())
}

/// Whose the copy of a path becomes.
#[derive(Clone, Copy)]
pub enum Owners<'a> {
    Kept,
    Given(&'a Owner, &'a Owner),
}

/// Returns the changes that make `to`, which is not there, a copy of what is below `from`.
async fn copied(host: &View, (from, to): (&str, &str), owners: Owners<'_>) -> Result<Vec<Change>, ModuleError> {
    let mut changes = Vec::new();
    for Entry { path, node } in tree(host, from).await? {
        let Some(old) = node.permissions().cloned() else { continue };
        let (permissions, modified) = match owners {
            Owners::Kept => (old, node.modified()),
            Owners::Given(owner, group) => {
                (Permissions { mode: old.mode, owner: owner.clone(), group: group.clone() }, None)
            }
        };
        let copy = match node {
            Node::Directory { .. } => Node::Directory { permissions, modified: None },
            // A link into the skeleton leads into the home, as useradd has it.
            Node::Link { target, .. } => {
                let inside = target.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'));
                let target = inside.map_or(target.clone(), |rest| format!("{to}{rest}"));
                Node::Link { target, permissions }
            }
            Node::File { content, .. } => {
                let body = match content.body {
                    Body::There => Body::Own { path: path.clone() },
                    here => here,
                };
                Node::File { content: Content { body, ..content }, permissions, modified }
            }
            Node::Special { letter, .. } => {
                let message = format!("`{path}` is a socket, FIFO or device (`{letter}`), which is not copied");
                return Err(ModuleError::failed(message));
            }
            Node::Absent => continue,
        };
        let place = format!("{to}{}", &path[from.len()..]);
        changes.extend(Change::path(place, Node::Absent, copy));
    }
    Ok(changes)
}

/// Returns the changes that make the directories above `path`: of root, and for all to enter.
async fn parents(host: &View, path: &str) -> Result<Vec<Change>, ModuleError> {
    let paths: Vec<_> = above(path).into_iter().map(|path| (path, Links::Follow)).collect();
    let nodes = if paths.is_empty() { Vec::new() } else { host.look_all(&paths, Want::Attributes).await? };
    let root = Owner { id: 0, name: "root".into() };
    let permissions = Permissions { mode: 0o755, owner: root.clone(), group: root };
    let mut changes = Vec::new();
    for ((path, _), node) in paths.into_iter().zip(nodes) {
        match node {
            Node::Directory { .. } => {}
            Node::Absent => {
                let directory = Node::Directory { permissions: permissions.clone(), modified: None };
                changes.extend(Change::path(path, Node::Absent, directory));
            }
            other => return Err(ModuleError::failed(format!("`{path}` is no directory but a {}", other.kind()))),
        }
    }
    Ok(changes)
}

/// Returns the changes that make a home with what is in `skeleton`; none where something is at its path.
pub async fn made(
    host: &View,
    (home, skeleton): (&str, &str),
    permissions: Permissions,
) -> Result<Vec<Change>, ModuleError> {
    if home.is_empty() || host.look(home, Want::Attributes).await?.exists() {
        return Ok(Vec::new());
    }
    let home = home.trim_end_matches('/');
    let mut changes = parents(host, home).await?;
    let owners = Owners::Given(&permissions.owner, &permissions.group);
    let inside = copied(host, (skeleton.trim_end_matches('/'), home), owners).await?;
    let directory = Node::Directory { permissions: permissions.clone(), modified: None };
    changes.extend(Change::path(home, Node::Absent, directory));
    changes.extend(inside);
    Ok(changes)
}

/// Returns the changes that make `to` a copy of the home `from`, and those that remove the old one; none where there is
/// no old one.
pub async fn moved(host: &View, (from, to): (&str, &str)) -> Result<(Vec<Change>, Vec<Change>), ModuleError> {
    let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'));
    let nodes = host.look_all(&[from, to].map(|path| (path.to_string(), Links::Keep)), Want::Attributes).await?;
    let [old, new] = <[Node; 2]>::try_from(nodes).unwrap_or([Node::Absent, Node::Absent]);
    let Node::Directory { permissions, .. } = old else { return Ok((Vec::new(), Vec::new())) };
    if new.exists() {
        return Err(ModuleError::failed(format!("`{to}` is there already: the home `{from}` is not moved over it")));
    }
    if to.starts_with(&format!("{from}/")) {
        return Err(ModuleError::failed(format!("`{to}` is below `{from}`, which is to be moved there")));
    }
    let mut changes = parents(host, to).await?;
    changes.extend(Change::path(to, Node::Absent, Node::Directory { permissions, modified: None }));
    changes.extend(copied(host, (from, to), Owners::Kept).await?);
    Ok((changes, removed(host, from).await?))
}

/// Returns the changes that remove a path and all below it, from below.
pub async fn removed(host: &View, path: &str) -> Result<Vec<Change>, ModuleError> {
    let node = host.look(path, Want::Content).await?;
    let below = if node.is_directory() { tree(host, path).await? } else { Vec::new() };
    let all = below.into_iter().rev().map(|entry| (entry.path, entry.node)).chain([(path.to_string(), node)]);
    Ok(all.filter_map(|(path, node)| Change::path(path, node, Node::Absent)).collect())
}

#[cfg(test)]
mod tests {
    use super::above;

    #[test]
    fn the_directories_above_a_path_are_named_from_the_root_on() {
        assert_eq!(above("/srv/mail/ann"), ["/srv", "/srv/mail"]);
        assert!(above("/ann").is_empty());
    }
}
