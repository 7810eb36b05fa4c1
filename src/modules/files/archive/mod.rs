//! `archive`: files and directories of the host are packed into one file of it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Content, Links, Node, Want};

use super::place::{Place, Writing, absolute, parent, results_of};
use super::rights::{RIGHTS, Rights};

mod pack;

use pack::{Format, What};

pub const ARCHIVE: Entry = Entry {
    name: "archive",
    summary: "Packs files and directories of the host into one file",
    arguments: &[ARGUMENTS, RIGHTS],
    free_form: None,
    example: "\
- name: What qmail was told before the move is kept
  archive:
    path: /var/qmail/control
    dest: /var/qmail/control-before.tar.gz
    exclusion_patterns: [\"*.lock\"]
    mode: \"0600\"
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "path",
        Kind::List,
        "Files and directories, or patterns of them with `*` and `?`. What is not there is named in `missing`.",
    )
    .required(),
    Argument::new(
        "dest",
        Kind::Path,
        "The archive. One file that is only compressed has one beside it unless set. It is never a member of itself, nor is the \
         entry of the directory that it is in.",
    ),
    Argument::new(
        "format",
        Kind::Text,
        "`gz`, `bz2` and `xz` are tars that are compressed, or one file that is. The default is `gz`.",
    )
    .choices(&["bz2", "gz", "tar", "xz", "zip"]),
    Argument::new("exclude_path", Kind::List, "What is left out of `path`, by its whole name or a pattern of it."),
    Argument::new(
        "exclusion_patterns",
        Kind::List,
        "Patterns of names that are left out of the archive; `*` goes over slashes. The name is that in the archive, or the path.",
    ),
    Argument::new("force_archive", Kind::Bool, "One file becomes an archive too, and is not compressed alone."),
    Argument::new("remove", Kind::Bool, "What was packed is removed then, and directories that are empty by that."),
];

#[derive(Deserialize)]
struct Archive {
    path: Vec<String>,
    dest: Option<String>,
    format: Option<Format>,
    #[serde(default)]
    exclude_path: Vec<String>,
    #[serde(default)]
    exclusion_patterns: Vec<String>,
    #[serde(default)]
    force_archive: bool,
    #[serde(default)]
    remove: bool,
    #[serde(flatten)]
    rights: Rights,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let archive: Archive = arguments.read()?;
    archive.rights.check()?;
    Ok(Box::new(archive))
}

/// What is found on the host, all in order.
struct Sources {
    /// The paths that are asked for, patterns as what they find.
    expanded: Vec<String>,
    excluded: Vec<String>,
    /// Those that are there, and the others.
    there: Vec<String>,
    missing: Vec<String>,
    /// The directory, with a slash, that names in the archive are relative to.
    root: String,
    is_archive: bool,
    /// What goes into the archive, with what it is.
    members: Vec<(String, Node)>,
    /// What is below a source and left out.
    left: BTreeSet<String>,
}

#[async_trait]
impl Module for Archive {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let format = self.format.unwrap_or(Format::Gz);
        let (dest, sources) = self.sources(host, format).await?;
        let place = Place::look(host, &dest, Links::Follow, Want::Digest).await?;
        let writing = Writing { rights: self.rights.clone(), ..Writing::default() };
        let mut changes = Vec::new();
        let mut result = match sources.members.is_empty() {
            // Only who may read it can change.
            true if place.node.exists() => {
                let after =
                    self.rights.kept(host, &place.node).await?.unwrap_or_else(|| super::rights::own(host, 0o600));
                let after = place.node.clone().with_permissions(after);
                changes.extend(place.change(after.clone()));
                results_of(&after)
            }
            true => results_of(&Node::Absent),
            false => {
                if host.only_asks {
                    return Ok(Planned::new(Vec::new(), Results::new()));
                }
                let content = self.content(host, format, &sources).await?;
                let (written, results) = place.write(host, content, &writing).await?;
                changes.extend(written);
                results
            }
        };
        let packed: Vec<&String> = sources.members.iter().map(|(path, _)| path).collect();
        result.extend(Results::from_iter([
            ("archived".to_string(), json!(packed)),
            ("missing".into(), json!(sources.missing)),
            ("arcroot".into(), json!(sources.root)),
            ("dest".into(), json!(dest)),
            ("dest_state".into(), json!(sources.state(&place))),
            ("expanded_paths".into(), json!(sources.expanded)),
            ("expanded_exclude_paths".into(), json!(sources.excluded)),
        ]));
        if self.remove {
            changes.extend(removed(host, &sources).await?);
        }
        Ok(Planned::new(changes, result))
    }
}

impl Archive {
    /// Finds what is to be packed, and where to.
    async fn sources(&self, host: &View, format: Format) -> Result<(String, Sources), ModuleError> {
        let (expanded, has_patterns) = expanded(host, &self.path).await?;
        let (excluded, _) = self::expanded(host, &self.exclude_path).await?;
        let paths: BTreeSet<&String> = expanded.iter().filter(|path| !excluded.contains(path)).collect();
        let Some(first) = paths.first() else {
            return Err(ModuleError::failed("Error, no source paths were found"));
        };
        let ways = |links: Links| paths.iter().map(move |path| (bare(path).to_string(), links));
        let asked: Vec<_> = ways(Links::Keep).chain(ways(Links::Follow)).collect();
        let mut nodes = host.look_all(&asked, Want::Attributes).await?;
        let leads_to = nodes.split_off(paths.len());
        let several = has_patterns || paths.len() > 1 || leads_to.first().is_some_and(Node::is_directory);
        let is_archive = several || self.force_archive || format.always_archives();
        let dest = match &self.dest {
            Some(dest) => absolute(host, dest),
            None if several || self.force_archive => {
                let message = "Error, must specify \"dest\" when archiving multiple files or trees";
                return Err(ModuleError::failed(message));
            }
            None => format!("{}.{}", bare(first), format.name()),
        };
        let inside = |path: &&&String| dest.starts_with(&format!("{}/", bare(path)));
        if self.remove && paths.iter().zip(&leads_to).any(|(path, node)| node.is_directory() && inside(&path)) {
            let message = "Error, created archive can not be contained in source paths when remove=true";
            return Err(ModuleError::failed(message));
        }
        let root = root(&paths.iter().map(|path| path.as_str()).collect::<Vec<_>>());
        let mut sources = Sources {
            there: Vec::new(),
            missing: Vec::new(),
            members: Vec::new(),
            left: BTreeSet::new(),
            excluded: excluded.clone(),
            root,
            is_archive,
            expanded: expanded.clone(),
        };
        for ((path, node), follows) in paths.into_iter().zip(nodes).zip(leads_to) {
            match node {
                Node::Absent => {
                    sources.missing.push(path.clone());
                    continue;
                }
                _ if follows.is_directory() => {
                    let below = host.list(bare(path), None).await?;
                    sources.members.extend(below.into_iter().map(|entry| (entry.path, entry.node)));
                }
                node => sources.members.push((bare(path).into(), node)),
            }
            sources.there.push(bare(path).into());
        }
        self.leave_out(&mut sources, &dest)?;
        Ok((dest, sources))
    }

    /// Takes out what is not packed.
    fn leave_out(&self, sources: &mut Sources, dest: &str) -> Result<(), ModuleError> {
        let patterns =
            self.exclusion_patterns.iter().map(|text| pattern(text, false)).collect::<Result<Vec<_>, _>>()?;
        let root = sources.root.clone();
        let (packed, left) = std::mem::take(&mut sources.members).into_iter().partition(|(path, node)| {
            let name = path.strip_prefix(&root).unwrap_or(path);
            let excluded = patterns.iter().any(|pattern| pattern.is_match(name) || pattern.is_match(path));
            let socket = matches!(node, Node::Special { letter: 's', .. });
            !(excluded || socket || path == dest || path == parent(dest))
        });
        let left: Vec<(String, Node)> = left;
        sources.members = packed;
        sources.left = left.into_iter().map(|(path, _)| path).collect();
        Ok(())
    }

    async fn content(&self, host: &View, format: Format, sources: &Sources) -> Result<Content, ModuleError> {
        if let Some(path) = sources.there.iter().find(|path| host.plans_below(path)) {
            return Err(ModuleError::Unknown(format!("what is below `{path}` by then").into()));
        }
        let names: Vec<String> = sources
            .members
            .iter()
            .map(|(path, _)| path.strip_prefix(&sources.root).unwrap_or(path).to_string())
            .collect();
        match (&sources.members[..], sources.is_archive) {
            ([(path, _)], false) => pack::content(host, format, &What::File(path)).await,
            _ => pack::content(host, format, &What::Names { root: &sources.root, names: &names }).await,
        }
    }
}

impl Sources {
    /// Says what the archive is then, in Ansible's words.
    fn state(&self, place: &Place) -> &'static str {
        match (self.members.is_empty(), self.is_archive) {
            (true, _) if !place.node.exists() => "absent",
            (false, true) if !self.missing.is_empty() => "incomplete",
            (_, true) => "archive",
            (_, false) => "compress",
        }
    }
}

/// Returns the changes that remove what was packed, from below, and directories of which nothing is left.
async fn removed(host: &View, sources: &Sources) -> Result<Vec<Change>, ModuleError> {
    let keeps = |directory: &str| sources.left.iter().any(|path| path.starts_with(&format!("{directory}/")));
    let mut gone: BTreeSet<&String> = sources.members.iter().map(|(path, _)| path).collect();
    // A directory that is asked for is no member itself.
    gone.extend(sources.there.iter());
    let gone: Vec<_> = gone.into_iter().rev().filter(|path| !keeps(path) && !sources.left.contains(*path)).collect();
    let asked: Vec<_> = gone.iter().map(|path| (path.to_string(), Links::Keep)).collect();
    let nodes = host.look_all(&asked, Want::Content).await?;
    let changes =
        gone.into_iter().zip(nodes).filter_map(|(path, node)| Change::path(path.as_str(), node, Node::Absent));
    Ok(changes.collect())
}

/// Returns the paths that are meant, and whether patterns are among them.
async fn expanded(host: &View, paths: &[String]) -> Result<(Vec<String>, bool), ModuleError> {
    let (mut all, mut has_patterns) = (Vec::new(), false);
    for path in paths {
        let slash = if path.len() > 1 && path.ends_with('/') { "/" } else { "" };
        let path = absolute(host, path);
        if !path.contains(WILD) {
            all.push(path + slash);
            continue;
        }
        has_patterns = true;
        let known = path.find(WILD).map_or("", |at| path[..at].rsplit_once('/').map_or("", |(above, _)| above));
        let known = if known.is_empty() { "/" } else { known };
        let depth = path[known.trim_end_matches('/').len()..].matches('/').count();
        let matcher = pattern(&path, true)?;
        let found = host.list(known, u32::try_from(depth).ok()).await?;
        let hidden = |found: &str| {
            found.split('/').zip(path.split('/')).any(|(name, part)| name.starts_with('.') && !part.starts_with('.'))
        };
        all.extend(found.into_iter().map(|entry| entry.path).filter(|path| matcher.is_match(path) && !hidden(path)));
    }
    Ok((all, has_patterns))
}

/// Returns a path without a slash at its end.
fn bare(path: &str) -> &str {
    if path.len() > 1 { path.trim_end_matches('/') } else { path }
}

/// What makes a path a pattern.
const WILD: [char; 2] = ['*', '?'];

/// Reads a pattern as Python's `fnmatch` does, or, by parts of a path, as its `glob`.
fn pattern(text: &str, by_parts: bool) -> Result<GlobMatcher, ModuleError> {
    let text = text.replace('{', "[{]").replace('}', "[}]");
    let glob: Result<Glob, _> = GlobBuilder::new(&text).literal_separator(by_parts).backslash_escape(false).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| ModuleError::failed(error.to_string()))
}

/// Returns the directory, with a slash, that all paths are in.
fn root(paths: &[&str]) -> String {
    let above = |path: &str| path.rsplit_once('/').map_or("", |(above, _)| above).to_string() + "/";
    let mut common = paths.first().map_or("/".to_string(), |path| above(path));
    while !paths.iter().all(|path| path.starts_with(&common)) {
        common = above(common.trim_end_matches('/'));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_what_all_paths_are_in() {
        assert_eq!(root(&["/srv/www"]), "/srv/");
        assert_eq!(root(&["/srv/www/"]), "/srv/www/");
        assert_eq!(root(&["/srv/www/a", "/srv/web/b"]), "/srv/");
        assert_eq!((root(&["/a", "/b/c"]), root(&["/a"])), ("/".into(), "/".into()));
    }

    #[test]
    fn patterns_are_those_of_python() {
        let matches = |text: &str, by_parts, name: &str| pattern(text, by_parts).unwrap().is_match(name);
        assert!(matches("*.log", false, "a/b.log") && !matches("*.log", true, "a/b.log"));
        assert!(matches("/a/[!b]?{x}", true, "/a/cd{x}") && !matches("/a/[!b]?", true, "/a/bd"));
    }
}
