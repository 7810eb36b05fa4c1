//! What is to be copied: a file or a tree, from the controller or from the host itself.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::ModuleError;
use crate::provenance;
use crate::secret;
use crate::transport::name::{from_local, to_local};
use crate::transport::node::hex;
use crate::transport::{Body, Content, Digest, INLINE_LIMIT, Links, Node, Want};
use crate::vault;

use super::place::{Place, bytes_of};

/// One thing to copy. `name` is relative to the tree's root; empty for the root itself.
#[derive(Clone, Debug)]
pub struct Item {
    pub name: String,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Directory,
    File { content: Content, mode: u32 },
    Link { target: String },
}

/// Reads a file of the controller, or a tree with everything below it, sorted by name.
///
/// `links` decides about links below the root; the root is always followed. A large file is only digested here.
pub fn local(root: &Path, links: Links) -> Result<Vec<Item>, ModuleError> {
    let mut items = Vec::new();
    read_local(root, String::new(), links, &mut items).map_err(|(path, error)| {
        ModuleError::failed(format!("cannot read `{}` on the controller: {error}", path.display()))
    })?;
    Ok(items)
}

/// Says whether a path is a file that is soon read.
pub fn is_small(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() <= INLINE_LIMIT)
}

type Unreadable = (PathBuf, std::io::Error);

fn read_local(path: &Path, name: String, links: Links, items: &mut Vec<Item>) -> Result<(), Unreadable> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| (path.to_path_buf(), error);
    let keep = links == Links::Keep && !name.is_empty();
    let metadata = if keep { std::fs::symlink_metadata(path) } else { std::fs::metadata(path) }.map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() {
        let target = from_local(std::fs::read_link(path).map_err(failed)?);
        items.push(Item { name, what: What::Link { target } });
    } else if metadata.is_dir() {
        if path.is_symlink() && leads_up(path).map_err(failed)? {
            return Err(failed(std::io::Error::other("this link leads to a directory that it is in")));
        }
        items.push(Item { name: name.clone(), what: What::Directory });
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
        let mut names: Vec<_> = entries.iter().map(|entry| from_local(entry.file_name())).collect();
        names.sort();
        for below in names {
            let relative = if name.is_empty() { below.clone() } else { format!("{name}/{below}") };
            read_local(&path.join(to_local(&below)), relative, links, items)?;
        }
    } else {
        let content = read_content(path).map_err(failed)?;
        items.push(Item { name, what: What::File { content, mode } });
    }
    Ok(())
}

/// Says whether a link is below the directory that it leads to: what is below it would have no end.
fn leads_up(link: &Path) -> std::io::Result<bool> {
    let above = link.parent().unwrap_or(link).canonicalize()?;
    Ok(above.starts_with(link.canonicalize()?))
}

/// Returns a controller file's content: here if it is small, else where it is, with its digest.
fn read_content(path: &Path) -> std::io::Result<Content> {
    let size = std::fs::metadata(path)?.len();
    if size <= INLINE_LIMIT {
        return Ok(Content::here(provenance::content(path)?));
    }
    let mut digest = <sha2::Sha256 as sha2::Digest>::new();
    feed(path, |bytes| sha2::Digest::update(&mut digest, bytes))?;
    let digest = Digest(hex(&sha2::Digest::finalize(digest)));
    provenance::large_content(path, size, &digest.0);
    Ok(Content { size, digest: Some(digest), body: Body::File(path.to_path_buf()) })
}

fn feed(path: &Path, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => take(&buffer[..length]),
        }
    }
}

/// Returns the SHA-1 of a content, which Ansible calls `checksum`. `None`: its bytes are not on the controller.
pub fn sha1_of(content: &Content) -> Option<String> {
    let mut digest = <sha1::Sha1 as sha1::Digest>::new();
    match &content.body {
        Body::Here(bytes) => sha1::Digest::update(&mut digest, bytes),
        Body::File(path) => feed(path, |bytes| sha1::Digest::update(&mut digest, bytes)).ok()?,
        Body::There | Body::Peer { .. } | Body::Own { .. } | Body::Printed { .. } | Body::Unknown { .. } => {
            return None;
        }
    }
    Some(hex(&sha1::Digest::finalize(digest)))
}

/// Decrypts what ansible-vault has encrypted of a source, as `decrypt` asks for, and says whether there was any; what was in it is a secret.
pub fn unsealed(items: &mut [Item], source: &str) -> Result<bool, ModuleError> {
    let mut any = false;
    for item in items {
        let What::File { content, .. } = &mut item.what else { continue };
        let Some(text) = content.bytes().filter(|bytes| vault::is_sealed(bytes)) else { continue };
        let name = if item.name.is_empty() { source.to_string() } else { format!("{source}/{}", item.name) };
        let plain = vault::open(&String::from_utf8_lossy(text)).map_err(|error| {
            let hint = format!("{}; `decrypt: false` takes it as it is", error.hint());
            Diagnostic::new(format!("`{name}` cannot be decrypted: {error}")).hint(hint)
        })?;
        if let Ok(text) = std::str::from_utf8(&plain) {
            secret::note(text);
        }
        *content = Content::here(plain.to_vec());
        any = true;
    }
    Ok(any)
}

/// Reads a file of the host, or a tree with everything below it, sorted by name. The root is always followed.
pub async fn remote(host: &View, root: &str, links: Links) -> Result<Vec<Item>, ModuleError> {
    let Place { path: root, node, .. } = Place::look(host, root, Links::Follow, Want::Content).await?;
    let mut items = vec![(root.clone(), node)];
    if let Node::Directory { .. } = items[0].1 {
        let entries = host.list(&root, None).await?;
        let paths: Vec<_> = entries.iter().map(|entry| (entry.path.clone(), links)).collect();
        let nodes = host.look_all(&paths, Want::Content).await?;
        for (entry, node) in entries.into_iter().zip(nodes) {
            if let (Node::Link { .. }, Node::Directory { .. }) = (&entry.node, &node) {
                let message =
                    format!("`{}` is a link to a directory; `local_follow: false` copies it as a link", entry.path);
                return Err(ModuleError::failed(message));
            }
            items.push((entry.path, node));
        }
    }
    let mut found = Vec::new();
    for (path, node) in items {
        let name = path[root.len()..].trim_start_matches('/').to_string();
        let mode = node.permissions().map_or(0, |permissions| permissions.mode);
        let what = match node {
            Node::Directory { .. } => What::Directory,
            Node::Link { target, .. } => What::Link { target },
            Node::File { content, .. } => {
                let content = match content.body {
                    Body::There => Content::here(bytes_of(host, &path, &content).await?),
                    _ => content,
                };
                What::File { content, mode }
            }
            Node::Absent => {
                return Err(ModuleError::failed(format!("source `{path}` not found on the host")));
            }
            Node::Special { letter, .. } => {
                return Err(ModuleError::failed(format!("`{path}` is neither file nor directory but `{letter}`")));
            }
        };
        found.push(Item { name, what });
    }
    Ok(found)
}
