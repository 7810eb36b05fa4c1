//! A text file of a mail host: read whole, each byte a letter, and written as another text.

use crate::change::Change;
use crate::host::View;
use crate::modules::ModuleError;
use crate::modules::files::rights::own;
use crate::transport::{Content, Node};

use super::qmail::{decode, encode};

/// Returns a file's text; nothing for an absent one.
pub fn read(path: &str, node: &Node) -> Result<String, ModuleError> {
    match (node, node.content().and_then(Content::bytes)) {
        (Node::Absent, _) => Ok(String::new()),
        (_, Some(bytes)) => Ok(decode(bytes)),
        (Node::File { .. }, None) => {
            Err(ModuleError::failed(format!("`{path}` cannot be read, or is larger than 1 MiB")))
        }
        (other, None) => Err(ModuleError::failed(format!("`{path}` is no regular file but a {}", other.kind()))),
    }
}

/// Returns the change of a file's text. An existing file keeps its permissions; a new one gets `mode`.
pub fn change(host: &View, (path, node, mode): (&str, Node, u32), (old, new): (&str, &str)) -> Option<Change> {
    if old == new {
        return None;
    }
    let permissions = node.permissions().cloned().unwrap_or_else(|| own(host, mode));
    Change::path(path, node, Node::File { content: Content::here(encode(new)), permissions, modified: None })
}
