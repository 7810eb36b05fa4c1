//! `file` with `state: link`: a path is a link, and what it leads to is as it should be.

use crate::host::View;
use crate::modules::{ModuleError, Outcome, Planned};
use crate::transport::{Links, Node, Want};

use super::file::{File, planned};
use super::place::{Place, join, parent};
use super::rights::{New, Rights};

/// A link to `src`. `None`: to what it leads to.
pub struct Link<'a> {
    pub file: &'a File,
    pub src: Option<&'a str>,
}

impl Link<'_> {
    pub async fn plan(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        let file = self.file;
        let target = match (self.src, &place.node) {
            (Some(target), _) => target.to_string(),
            (None, Node::Link { target, .. }) => target.clone(),
            (None, _) => return Err(ModuleError::failed("src is required for creating new symlinks")),
        };
        let target = match target.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", host.identity().home),
            _ => target,
        };
        let end = join(parent(&place.path), &target);
        let led = host.look_all(&[(end.clone(), Links::Follow)], Want::Attributes).await?.remove(0);
        if !led.exists() && !file.force && self.src.is_some() {
            return Err(ModuleError::failed(format!(
                "src file does not exist, use 'force=yes' if you really want to create the link: {end}"
            )));
        }
        self.may_replace(host, &place).await?;
        let place = match &place.node {
            // What is replaced is shown, and can be brought back.
            Node::File { .. } => Place::look(host, &place.path, Links::Keep, Want::Content).await?,
            _ => place,
        };
        // Who owns the target is meant, unless links are not to be followed.
        let through = file.links == Links::Follow;
        let rights = if through { Rights::default() } else { file.rights.clone() };
        let permissions = match &place.node {
            Node::Link { .. } => rights.kept(host, &place.node).await?,
            _ => None,
        };
        let permissions = match permissions {
            Some(permissions) => permissions,
            None => {
                place.needs_parent()?;
                rights.fresh(host, New::Link, &place.parent).await?
            }
        };
        let after = Node::Link { target: target.clone(), permissions };
        let mut planned = planned(Vec::from_iter(place.change(after.clone())), &place.path, &after);
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("src".into(), target.into());
        }
        if through && led.exists() && file.sets_rights() {
            let end = Place::look(host, &end, Links::Follow, Want::Attributes).await?;
            let after = file.kept(host, &end.node).await?;
            planned.changes.extend(file.timed(host, &end, after).await?.changes);
        } else if through && !led.exists() {
            planned.warnings.push(
                "Cannot set fs attributes on a non-existent symlink target. follow should be set to False to avoid this."
                    .into(),
            );
        }
        Ok(planned)
    }

    /// Fails where something stands that a link may not take the place of.
    async fn may_replace(&self, host: &View, place: &Place) -> Result<(), ModuleError> {
        let (path, kind) = (&place.path, place.node.kind());
        match &place.node {
            Node::Absent | Node::Link { .. } => Ok(()),
            _ if !self.file.force => {
                Err(ModuleError::failed(format!("refusing to convert from {kind} to symlink for {path}")))
            }
            Node::Directory { .. } if !host.list(path, Some(1)).await?.is_empty() => {
                Err(ModuleError::failed(format!("the directory {path} is not empty, refusing to convert it")))
            }
            _ => Ok(()),
        }
    }
}
