//! One content that is to be a file of the host: what `copy` and `template` share.

use crate::host::View;
use crate::modules::{Argument, Kind, ModuleError, Planned, Results};
use crate::transport::{Content, Links, Node, Want};

use super::place::{Place, Writing, base_name, join, make_directories};
use super::rights::Rights;
use super::source::sha1_of;

pub const INSTALLING: &[Argument] = &[
    Argument::new("force", Kind::Bool, "Replace a file that differs; without it only a missing one is made.")
        .alias(&["thirsty"]),
    Argument::new("follow", Kind::Bool, "Write through a link at `dest` instead of replacing it."),
];

/// Where one file goes, and how.
pub struct Install<'a> {
    /// A file, or with a slash at its end or if there is one, the directory it is to be in.
    pub dest: &'a str,
    /// The file's name in a directory. `None`: `dest` has to be the file.
    pub name: Option<&'a str>,
    pub links: Links,
    pub force: bool,
    /// For the directories that have to be made.
    pub directories: Rights,
    pub writing: &'a Writing,
}

impl Install<'_> {
    pub async fn plan(&self, host: &View, content: Content) -> Result<Planned, ModuleError> {
        let (place, mut changes) = self.place(host).await?;
        let checksum = sha1_of(&content);
        let results = if place.node.exists() && !self.force {
            Results::from_iter([("msg".to_string(), "file already exists".into())])
        } else {
            let (made, results) = place.write(host, content, self.writing).await?;
            changes.extend(made);
            results
        };
        let mut all = Results::from_iter([("dest".to_string(), place.path.as_str().into())]);
        all.extend(checksum.map(|checksum| ("checksum".to_string(), checksum.into())));
        all.extend(results);
        Ok(Planned::new(changes, all))
    }

    /// Finds the file's own place: one exchange if `dest` is the file or says by its slash that it is not.
    async fn place(&self, host: &View) -> Result<(Place, Vec<crate::change::Change>), ModuleError> {
        let inside = |name: &str| join(&super::place::absolute(host, self.dest), name);
        if self.dest.ends_with('/') {
            let Some(name) = self.name else {
                return Err(ModuleError::failed(format!("`{}` is a directory, and has to be a file", self.dest)));
            };
            let mut place = Place::look(host, &inside(name), self.links, Want::Digest).await?;
            let mut changes = Vec::new();
            if place.parent == Node::Absent {
                (changes, place.parent) = make_directories(host, self.dest, &self.directories).await?;
            }
            return Ok((place, changes));
        }
        let place = Place::look(host, self.dest, Links::Keep, Want::Digest).await?;
        let through = match &place.node {
            Node::Link { .. } => Place::look(host, self.dest, Links::Follow, Want::Digest).await?,
            _ => place.clone(),
        };
        match (&through.node, self.name) {
            (Node::Directory { .. }, Some(name)) => {
                Ok((Place::look(host, &inside(base_name(name)), self.links, Want::Digest).await?, Vec::new()))
            }
            (Node::Directory { .. }, None) => {
                Err(ModuleError::failed(format!("`{}` is a directory, and has to be a file", self.dest)))
            }
            _ if self.links == Links::Follow => Ok((through, Vec::new())),
            _ => Ok((place, Vec::new())),
        }
    }
}
