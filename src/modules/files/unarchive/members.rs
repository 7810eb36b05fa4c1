//! What the members of an archive make of a directory: changes of paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::change::Change;
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::{Body, Content, INLINE_LIMIT, Links, Node, Owner, Permissions, TransportError, Want};

use super::super::place::{Place, base_name, join, parent};
use super::super::rights::{New, Rights};
use super::listing::{Kind, Member};
use super::options::Options;
use super::tool::{Archive, Format};

/// How an archive is unpacked.
pub struct Members<'a> {
    pub host: &'a View,
    pub archive: &'a Archive,
    pub format: Format,
    pub options: &'a Options,
    pub rights: &'a Rights,
}

/// A path that the archive makes. No member: a directory that is only above others.
struct Target<'a> {
    path: String,
    member: Option<&'a Member>,
}

/// What is to be written into a file, by the name of the member that has it.
type Contents = HashMap<String, Content>;

impl Members<'_> {
    /// Returns the changes, what is above before what is below.
    /// Says beside them whether something differs that is kept as it is.
    pub async fn plan(&self, dest: &Place, listed: &[Member]) -> Result<(Vec<Change>, bool), ModuleError> {
        let targets = self.targets(&dest.path, listed)?;
        let asked: Vec<(String, Links)> = targets
            .iter()
            .map(|target| {
                let directory = target.member.is_none_or(|member| member.kind == Kind::Directory);
                // A link that leads to a directory stays, and what goes into the directory goes through it.
                (target.path.clone(), if directory { Links::Follow } else { Links::Keep })
            })
            .collect();
        let mut nodes = self.host.look_all(&asked, Want::Digest).await?;
        let digests = self.archive.digests(self.format, listed).await?;
        let digests: HashMap<&str, _> = listed
            .iter()
            .map(|member| member.name.as_str())
            .zip(digests)
            .filter(|(_, digest)| digest.is_some())
            .collect();
        let mut contents = Contents::new();
        for member in listed.iter().filter(|member| member.is_file()) {
            let digest = digests.get(member.name.as_str()).cloned().flatten();
            contents.insert(member.name.clone(), self.archive.content(self.format, member, digest));
        }
        self.read(&targets, &nodes, (&mut contents, listed)).await?;
        self.show(&asked, &mut nodes, &targets, &contents).await?;
        let owners = self.owners(listed).await?;
        let linked = self.linked(&targets, &nodes).await?;
        let mut made: HashMap<String, Node> = HashMap::from([(parent(&dest.path).into(), dest.parent.clone())]);
        made.insert(dest.path.clone(), dest.node.clone());
        let (mut changes, mut differs) = (Vec::new(), false);
        for (target, node) in targets.iter().zip(nodes) {
            let above = made.get(parent(&target.path)).cloned().unwrap_or(Node::Absent);
            let place = Place { path: target.path.clone(), node, parent: above };
            let after = match target.member {
                _ if linked.contains(&target.path) => place.node.clone(),
                Some(member) if self.stays(member, &place.node) => {
                    differs |= self.options.keep_newer && place.node.modified() != member.modified;
                    place.node.clone()
                }
                Some(member) => self.after(&place, member, (&contents, &owners)).await?,
                None => self.above(&place).await?,
            };
            made.insert(target.path.clone(), after.clone());
            changes.extend(place.change(after));
        }
        Ok((changes, differs))
    }

    /// Returns what is made, once each: a later member of a name takes the place of an earlier one.
    fn targets<'m>(&self, dest: &str, listed: &'m [Member]) -> Result<Vec<Target<'m>>, ModuleError> {
        let mut members: BTreeMap<String, Option<&Member>> = BTreeMap::new();
        for member in listed {
            if member.leads_out() {
                return Err(ModuleError::failed(format!("`{}` of the archive leads out of `dest`", member.name)));
            }
            let Some(mut place) = member.place() else { continue };
            if self.options.flat {
                if member.kind == Kind::Directory {
                    continue;
                }
                place = base_name(&place).into();
            }
            members.insert(place, Some(member));
        }
        let above: BTreeSet<String> =
            members.keys().flat_map(|place| place.match_indices('/').map(|(at, _)| place[..at].to_string())).collect();
        for place in above {
            match members.get(&place) {
                Some(Some(member)) if member.kind != Kind::Directory => {
                    let message =
                        format!("the archive has `{}` as a {}, and something below it", member.name, noun(member));
                    return Err(ModuleError::failed(message));
                }
                Some(_) => {}
                None => drop(members.insert(place, None)),
            }
        }
        let mut targets: Vec<(String, Option<&Member>)> = members.into_iter().collect();
        // By parts, so that a directory is followed by all that is in it.
        targets.sort_by(|(left, _), (right, _)| left.split('/').cmp(right.split('/')));
        let path = |place: &str| if place.is_empty() { dest.to_string() } else { join(dest, place) };
        Ok(targets.into_iter().map(|(place, member)| Target { path: path(&place), member }).collect())
    }

    /// Brings the contents that differ here, if they are small.
    async fn read(
        &self,
        targets: &[Target<'_>],
        nodes: &[Node],
        (contents, listed): (&mut Contents, &[Member]),
    ) -> Result<(), ModuleError> {
        let mut wanted = BTreeSet::new();
        for (target, node) in targets.iter().zip(nodes) {
            let Some(name) = target.member.and_then(|member| source(member)) else { continue };
            if contents.get(name).is_some_and(|content| node.content() != Some(content)) {
                wanted.insert(name);
            }
        }
        let links = listed.iter().filter(|member| member.kind == Kind::Link(None));
        wanted.extend(links.map(|member| member.name.as_str()));
        let is_read = |member: &&Member| wanted.contains(member.name.as_str()) && self.archive.is_read_now(member);
        let read: Vec<&Member> = listed.iter().filter(is_read).collect();
        if !self.host.only_asks {
            let found = self.archive.contents(self.format, &read).await?;
            for (member, bytes) in read.iter().zip(found) {
                contents.insert(member.name.clone(), Content::here(bytes));
            }
        }
        Ok(())
    }

    /// Brings what differs on the host here, if it is small: what is replaced is shown, and can be brought back.
    async fn show(
        &self,
        asked: &[(String, Links)],
        nodes: &mut [Node],
        targets: &[Target<'_>],
        contents: &Contents,
    ) -> Result<(), ModuleError> {
        let differs = |target: &Target, node: &Node| {
            let new = target.member.and_then(|member| contents.get(source(member)?));
            node.content().is_some_and(|old| old.size <= INLINE_LIMIT && new.is_none_or(|new| new != old))
        };
        let open: Vec<usize> = (0..nodes.len()).filter(|index| differs(&targets[*index], &nodes[*index])).collect();
        if !open.is_empty() {
            let asked: Vec<_> = open.iter().map(|index| asked[*index].clone()).collect();
            let found = self.host.look_all(&asked, Want::Content).await?;
            open.into_iter().zip(found).for_each(|(index, node)| nodes[index] = node);
        }
        Ok(())
    }

    /// Returns the directories that are reached through a link, which stays as it is.
    async fn linked(&self, targets: &[Target<'_>], nodes: &[Node]) -> Result<BTreeSet<String>, ModuleError> {
        let there = targets.iter().zip(nodes);
        let directories: Vec<_> = there
            .filter(|(_, node)| node.is_directory())
            .map(|(target, _)| (target.path.clone(), Links::Keep))
            .collect();
        if directories.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = self.host.look_all(&directories, Want::Attributes).await?;
        let links = directories.into_iter().zip(found).filter(|(_, node)| matches!(node, Node::Link { .. }));
        Ok(links.map(|((path, _), _)| path).collect())
    }

    /// Says whether what is there is kept.
    fn stays(&self, member: &Member, node: &Node) -> bool {
        let newer = node.modified() >= member.modified && node.content().is_some();
        member.kind != Kind::Directory && node.exists() && (self.options.keep_old || self.options.keep_newer && newer)
    }

    /// Returns a directory that no member names: what is there stays but for the rights that are asked for.
    async fn above(&self, place: &Place) -> Result<Node, ModuleError> {
        let permissions = match &place.node {
            Node::Absent => self.rights.fresh(self.host, New::Directory, &place.parent).await?,
            Node::Directory { permissions, .. } => {
                self.rights.kept(self.host, &place.node).await?.unwrap_or_else(|| permissions.clone())
            }
            other => return Err(in_the_way(place, other, "directory")),
        };
        Ok(Node::Directory { permissions, modified: None })
    }

    async fn after(
        &self,
        place: &Place,
        member: &Member,
        (contents, owners): (&Contents, &HashMap<String, Owner>),
    ) -> Result<Node, ModuleError> {
        let new = match member.kind {
            Kind::Directory => New::Directory,
            Kind::Link(_) => New::Link,
            _ => New::File,
        };
        let made = self.permissions(member, (new, place), owners).await?;
        let modified = member.modified.filter(|_| !self.options.touch);
        let content = || source(member).and_then(|name| contents.get(name)).cloned();
        let node = match &member.kind {
            Kind::Directory => Node::Directory { permissions: made, modified: None },
            Kind::Link(Some(target)) => Node::Link { target: target.clone(), permissions: made },
            Kind::Link(None) => {
                let target = contents.get(&member.name).and_then(Content::bytes);
                let target = target.map(crate::transport::name::from_bytes).unwrap_or_default();
                Node::Link { target, permissions: made }
            }
            Kind::File | Kind::Hard(_) => {
                let missing =
                    || ModuleError::failed(format!("the archive does not have what `{}` is a name of", member.name));
                let mut content = content().ok_or_else(missing)?;
                if place.node.content().is_some_and(|old| *old == content) {
                    // The bytes are there already.
                    content.body = Body::There;
                }
                Node::File { content, permissions: made, modified }
            }
            Kind::Special(letter) => {
                let message = format!(
                    "`{}` of the archive is a device, FIFO or socket (`{letter}`), which is not made",
                    member.name
                );
                return Err(ModuleError::failed(message));
            }
        };
        match (&place.node, &node) {
            (Node::Directory { .. }, Node::Directory { .. }) | (Node::Absent, _) => {}
            (Node::Directory { .. } | Node::Special { .. }, _) => {
                return Err(in_the_way(place, &place.node, node.kind()));
            }
            (_, Node::Directory { .. }) => return Err(in_the_way(place, &place.node, "directory")),
            _ => {}
        }
        let permissions = self.rights.kept(self.host, &node).await?;
        Ok(permissions.map_or(node.clone(), |permissions| node.with_permissions(permissions)))
    }

    /// Returns the permissions that the tool would give: exactly the archive's as root, and else what the umask leaves.
    async fn permissions(
        &self,
        member: &Member,
        (new, place): (New, &Place),
        owners: &HashMap<String, Owner>,
    ) -> Result<Permissions, ModuleError> {
        let mut permissions = Rights::default().fresh(self.host, new, &place.parent).await?;
        let identity = self.host.identity();
        let exact = self.format == Format::Zip || self.options.exact || identity.user.id == 0 && !self.options.masked;
        let mode = match (member.mode, new) {
            (_, New::Link) | (None, _) => None,
            (Some(mode), _) if exact => Some(mode),
            (Some(mode), _) => Some(mode & 0o777 & !identity.umask),
        };
        if let (None, Node::File { permissions: old, .. }) = (member.mode, &place.node) {
            permissions.mode = old.mode;
        }
        permissions.mode = mode.unwrap_or(permissions.mode);
        match &member.owners {
            Some((user, group)) if self.keeps_owners() => {
                let named = |kind: char, name: &str| owners.get(&format!("{kind}{name}")).cloned();
                permissions.owner = named('u', user).unwrap_or(permissions.owner);
                permissions.group = named('g', group).unwrap_or(permissions.group);
            }
            _ => {}
        }
        Ok(permissions)
    }

    fn keeps_owners(&self) -> bool {
        self.host.identity().user.id == 0 && !self.options.own
    }

    /// Asks the host for the owners that the archive names: `u` or `g` and the name, and who that is. Of one that the host
    /// does not have the number counts, as with tar.
    async fn owners(&self, listed: &[Member]) -> Result<HashMap<String, Owner>, ModuleError> {
        let mut owners = HashMap::new();
        if !self.keeps_owners() || listed.iter().all(|member| member.owners.is_none()) {
            return Ok(owners);
        }
        let numbers = if self.options.numeric { Some(self.archive.list(true).await?.1) } else { None };
        let mut numbers = numbers;
        for (index, member) in listed.iter().enumerate() {
            let Some((user, group)) = &member.owners else { continue };
            for (kind, name) in [('u', user), ('g', group)] {
                let key = format!("{kind}{name}");
                if owners.contains_key(&key) || self.is_overruled(kind) {
                    continue;
                }
                let found = if self.options.numeric { None } else { self.owner(kind, name).await? };
                if let Some(owner) = found {
                    owners.insert(key, owner);
                    continue;
                }
                if numbers.is_none() {
                    numbers = Some(self.archive.list(true).await?.1);
                }
                let numbered =
                    numbers.as_ref().and_then(|all| all.get(index)).and_then(|member| member.owners.as_ref());
                let number = numbered.map(|(user, group)| if kind == 'u' { user } else { group });
                if let Some(number) = number
                    && let Some(owner) = self.owner(kind, number).await?
                {
                    owners.insert(key, owner);
                }
            }
        }
        Ok(owners)
    }

    /// Says whether the task itself says who owns all.
    fn is_overruled(&self, kind: char) -> bool {
        if kind == 'u' { self.rights.owner.is_some() } else { self.rights.group.is_some() }
    }

    async fn owner(&self, kind: char, name: &str) -> Result<Option<Owner>, ModuleError> {
        let identity = self.host.identity();
        let mine = if kind == 'u' { &identity.user } else { &identity.group };
        if mine.name == name {
            return Ok(Some(mine.clone()));
        }
        let found = if kind == 'u' { self.host.user(name).await } else { self.host.group(name).await };
        match found {
            Ok(owner) => Ok(Some(owner)),
            Err(TransportError::Refused(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the name of the member that has a file's content.
fn source(member: &Member) -> Option<&str> {
    match &member.kind {
        Kind::File => Some(&member.name),
        Kind::Hard(target) => Some(target),
        _ => None,
    }
}

fn noun(member: &Member) -> &'static str {
    match member.kind {
        Kind::Directory => "directory",
        Kind::Link(_) => "link",
        Kind::File | Kind::Hard(_) => "file",
        Kind::Special(_) => "special file",
    }
}

fn in_the_way(place: &Place, there: &Node, wanted: &str) -> ModuleError {
    ModuleError::failed(format!("`{}` is a {} and the archive has a {wanted} of that name", place.path, there.kind()))
}
