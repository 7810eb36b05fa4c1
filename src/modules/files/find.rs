//! `find`: which paths below some directories are as described.

use std::borrow::Cow;
use std::collections::HashMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::regex;
use crate::transport::{self, Content, Links, Node, TransportError, Want};

use super::checksum::{ALGORITHMS, Algorithm};
use super::details::{self, Fields};
use super::mode::{Current, Mode};
use super::pattern::{Lines, Pattern};
use super::place::{Place, absolute, base_name, bytes_of, join, real};
use super::status::status_of;
use super::times::{age, now, size};

pub const FIND: Entry = Entry {
    name: "find",
    summary: "Lists the files below directories that are as described",
    arguments: &[&[
        Argument::new("paths", Kind::List, "The directories.").required().alias(&["name", "path"]),
        Argument::new("patterns", Kind::List, "Names to find, as a shell matches them; all unless given.")
            .alias(&["pattern"]),
        Argument::new("excludes", Kind::List, "Names to leave out, as `patterns`.").alias(&["exclude"]),
        Argument::new(
            "use_regex",
            Kind::Bool,
            "`patterns` and `excludes` are regular expressions for the start of a name.",
        ),
        Argument::new("file_type", Kind::Text, "What to find; `file` unless given.").choices(&[
            "any",
            "directory",
            "file",
            "link",
        ]),
        Argument::new("recurse", Kind::Bool, "Look into directories below."),
        Argument::new("depth", Kind::Int, "How many levels, with `recurse`; all unless given."),
        Argument::new("hidden", Kind::Bool, "Find names that start with a dot too."),
        Argument::new(
            "follow",
            Kind::Bool,
            "With `recurse`, look into the directories that links below lead to, but not again into one that a link is in.",
        ),
        Argument::new(
            "age",
            Kind::Text,
            "Not changed for that long, such as `2d`; with a minus, changed since. By the controller's clock.",
        ),
        Argument::new("age_stamp", Kind::Text, "The time that counts; `mtime` unless given.")
            .choices(&["atime", "ctime", "mtime"]),
        Argument::new("size", Kind::Text, "At least so large, such as `10m`; with a minus, at most."),
        Argument::new("mode", Kind::Mode, "Permission bits that it has; without `exact_mode`, one of them."),
        Argument::new("exact_mode", Kind::Bool, "It has exactly these bits, not also others; on unless set."),
        Argument::new("contains", Kind::Text, "A regular expression for the start of one of a file's lines."),
        Argument::new("read_whole_file", Kind::Bool, "`contains` is searched for in the whole text."),
        Argument::new(
            "encoding",
            Kind::Text,
            "Encoding of the files that `contains` looks into, such as `utf-8` or `iso-8859-1`; where a file has another, \
             the rest of its path is left out. Unless given it is UTF-8, read as well as it can be.",
        ),
        Argument::new("get_checksum", Kind::Bool, "Give the checksums of files."),
        Argument::new("checksum_algorithm", Kind::Text, "Of what kind; `sha1` unless given.")
            .alias(&["checksum", "checksum_algo"])
            .choices(ALGORITHMS),
        Argument::new("limit", Kind::Int, "Stop when so many are found."),
    ]],
    free_form: None,
    example: "- name: Which users have a forwarding of their own?\n  find:\n    paths: /var/qmail/mailnames\n    recurse: true\n    depth: 3\n    hidden: true\n    patterns: .qmail\n  register: forwardings\n",
    build,
};

#[derive(Deserialize)]
struct Written {
    paths: Vec<String>,
    #[serde(default)]
    patterns: Vec<String>,
    #[serde(default)]
    excludes: Vec<String>,
    #[serde(default)]
    use_regex: bool,
    file_type: Option<String>,
    #[serde(default)]
    recurse: bool,
    depth: Option<u32>,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    follow: bool,
    age: Option<String>,
    age_stamp: Option<String>,
    size: Option<String>,
    mode: Option<String>,
    exact_mode: Option<bool>,
    contains: Option<String>,
    #[serde(default)]
    read_whole_file: bool,
    encoding: Option<String>,
    #[serde(default)]
    get_checksum: bool,
    checksum_algorithm: Option<String>,
    limit: Option<usize>,
}

struct Find {
    paths: Vec<String>,
    recurse: bool,
    depth: Option<u32>,
    follow: bool,
    wanted: Wanted,
    /// The time that counts, where it is another than that of modification.
    stamp: Option<String>,
    contains: Option<Pattern>,
    whole: bool,
    encoding: Option<String>,
    checksum: Option<Algorithm>,
    limit: usize,
}

/// What can be told from a listing alone.
struct Wanted {
    patterns: Vec<Pattern>,
    excludes: Vec<Pattern>,
    hidden: bool,
    kind: Option<&'static str>,
    /// In seconds; negative: changed since.
    age: Option<i64>,
    /// In bytes; negative: at most.
    size: Option<i64>,
    mode: Option<(Mode, bool)>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    let names = |name: &str, texts: &[String]| {
        let pattern = |text: &String| {
            let regex = if written.use_regex { regex::at_start(text) } else { shell_pattern(text) };
            Pattern::new(name, &regex, Lines::Across)
        };
        texts.iter().map(pattern).collect::<Result<Vec<_>, _>>()
    };
    let wanted = Wanted {
        patterns: names("patterns", &written.patterns)?,
        excludes: names("excludes", &written.excludes)?,
        hidden: written.hidden,
        kind: match written.file_type.as_deref() {
            Some("any") => None,
            Some("directory") => Some("directory"),
            Some("link") => Some("link"),
            _ => Some("file"),
        },
        age: written.age.as_deref().map(age).transpose()?,
        size: written.size.as_deref().map(size).transpose()?,
        mode: match &written.mode {
            Some(text) => Some((Mode::parse(text)?, written.exact_mode.unwrap_or(true))),
            None => None,
        },
    };
    let contains = written.contains.as_deref().map(|text| match written.read_whole_file {
        true => Pattern::new("contains", text, Lines::One),
        false => Pattern::new("contains", &regex::at_start(text), Lines::One),
    });
    Ok(Box::new(Find {
        paths: written.paths,
        recurse: written.recurse,
        depth: if written.recurse { written.depth } else { Some(1) },
        follow: written.follow && written.recurse,
        wanted,
        stamp: written.age_stamp.filter(|stamp| stamp != "mtime"),
        contains: contains.transpose()?,
        whole: written.read_whole_file,
        encoding: written.encoding,
        checksum: written.get_checksum.then(|| Algorithm::named(written.checksum_algorithm.as_deref())),
        limit: written.limit.unwrap_or(usize::MAX),
    }))
}

#[async_trait]
impl Module for Find {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut found: Vec<(&String, transport::Entry)> = Vec::new();
        let mut skipped = serde_json::Map::new();
        let mut examined = 0;
        for path in &self.paths {
            let place = Place::look(host, path, Links::Follow, Want::Attributes).await?;
            if !matches!(place.node, Node::Directory { .. }) {
                skipped.insert(path.clone(), format!("'{path}' is not a directory").into());
                continue;
            }
            // As Ansible does, one level below the last one that counts is examined too.
            let depth = if self.recurse { self.depth.map(|depth| depth + 1) } else { self.depth };
            let mut entries = listed(host, (&place.path, depth), &mut skipped).await?;
            if self.follow {
                entries = followed(host, (&place.path, depth), entries, &mut skipped).await?;
            }
            examined += entries.len();
            let level = |entry: &transport::Entry| {
                entry.path.get(place.path.trim_end_matches('/').len()..).unwrap_or("").matches('/').count()
            };
            let entries =
                entries.into_iter().filter(|entry| self.depth.is_none_or(|depth| level(entry) <= depth as usize));
            for mut entry in entries {
                if let Some(needs) = entry.node.content().and_then(Content::needs) {
                    return Err(ModuleError::Unknown(needs.clone()));
                }
                if self.wanted.fits(&entry)?
                    && (self.stamp.is_some() || self.wanted.is_aged(entry.node.modified(), now()))
                {
                    // As Ansible does, below the path as it was written, whatever link it is.
                    let below = entry.path.get(place.path.trim_end_matches('/').len()..).unwrap_or("");
                    entry.path = join(&absolute(host, path), below.trim_start_matches('/'));
                    found.push((path, entry));
                }
            }
        }
        let files = self.read(host, found, &mut skipped).await?;
        // What may not be looked into below a path is in `skipped_paths` alone.
        let left_out = self.paths.iter().filter_map(|path| Some((path, skipped.get(path)?.as_str()?)));
        let warnings: Vec<String> =
            left_out.map(|(path, why)| format!("Skipped '{path}' path due to this access issue: {why}")).collect();
        let msg = match warnings.is_empty() {
            true if files.len() == self.limit => "Limit of matches reached",
            true => "All paths examined",
            false => "Not all paths examined, check warnings for details",
        };
        let results = [
            ("matched", files.len().into()),
            ("files", Value::Array(files)),
            ("examined", examined.into()),
            ("skipped_paths", skipped.into()),
            ("msg", msg.into()),
        ];
        let results = Results::from_iter(results.map(|(name, value)| (name.to_string(), value)));
        Ok(Planned { warnings, ..Planned::new(Vec::new(), results) })
    }
}

impl Find {
    /// Describes what was found; where the content counts, all files are looked at in one exchange.
    /// A file with another encoding ends the path that it was found below, which `skipped` has then.
    async fn read(
        &self,
        host: &View,
        mut found: Vec<(&String, transport::Entry)>,
        skipped: &mut serde_json::Map<String, Value>,
    ) -> Result<Vec<Value>, ModuleError> {
        if let Some(stamp) = &self.stamp {
            let told = told(host, found.iter().map(|(_, entry)| entry.path.as_str())).await?;
            let time = |path: &str| told.get(path)?.get(stamp)?.as_f64().map(|seconds| seconds as i64);
            found.retain(|(_, entry)| self.wanted.is_aged(time(&entry.path), now()));
        }
        if self.contains.is_some() || self.checksum.is_some() {
            if self.contains.is_none() {
                found.truncate(self.limit);
            }
            let paths: Vec<_> = found.iter().map(|(_, entry)| (entry.path.clone(), Links::Keep)).collect();
            let want = if self.contains.is_some() {
                Want::Content
            } else {
                self.checksum.map_or(Want::Attributes, Algorithm::wants)
            };
            let nodes = host.look_all(&paths, want).await?;
            found.iter_mut().zip(nodes).for_each(|((_, entry), node)| entry.node = node);
            found.retain(|(_, entry)| entry.node.exists());
        }
        let mut files = Vec::new();
        for (path, entry) in found {
            if files.len() == self.limit {
                break;
            }
            if skipped.contains_key(path) {
                continue;
            }
            let content = entry.node.content();
            if let (Some(pattern), Some(content)) = (&self.contains, content) {
                let bytes = bytes_of(host, &entry.path, content).await?;
                match text_of(&bytes, &entry.path, self.encoding.as_deref()) {
                    Ok(text) if self.contains(&text, pattern)? => {}
                    Ok(_) => continue,
                    Err(why) => {
                        skipped.insert(path.clone(), why.into());
                        continue;
                    }
                }
            } else if self.contains.is_some() {
                continue;
            }
            let mut status = status_of(&entry.path, &entry.node);
            if let (Some(algorithm), Some(content)) = (self.checksum, content) {
                status.insert("checksum".into(), algorithm.checksum(host, &entry.path, content).await?.into());
            }
            files.push(status);
        }
        let name = |status: &Fields| status.get("path").and_then(Value::as_str).unwrap_or("").to_string();
        let names: Vec<String> = files.iter().map(name).collect();
        let mut told = told(host, names.iter().map(String::as_str)).await?;
        files.iter_mut().zip(&names).for_each(|(status, name)| status.extend(told.remove(name).unwrap_or_default()));
        Ok(files.into_iter().map(Value::Object).collect())
    }

    /// Says whether a file's text has what is looked for.
    fn contains(&self, text: &str, pattern: &Pattern) -> Result<bool, ModuleError> {
        if self.whole {
            return pattern.is_match(text);
        }
        for line in text.lines() {
            if pattern.is_match(line)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the numbers and times of paths that are not planned to be something else.
async fn told(host: &View, paths: impl Iterator<Item = &str>) -> Result<HashMap<String, Fields>, ModuleError> {
    let paths: Vec<&str> = paths.filter(|path| !host.is_planned(path)).collect();
    details::numbers(host, &paths, Links::Keep).await
}

/// Lists what is below a directory; where some of it may not be listed, the rest, and `skipped` has why.
async fn listed(
    host: &View,
    (top, depth): (&str, Option<u32>),
    skipped: &mut serde_json::Map<String, Value>,
) -> Result<Vec<transport::Entry>, TransportError> {
    let denied =
        |error: &TransportError| matches!(error, TransportError::Refused(why) if why.contains("ermission denied"));
    match host.list(top, depth).await {
        Err(error) if denied(&error) => {}
        listed => return listed,
    }
    let (mut left, mut found) = (vec![(top.to_string(), 1)], Vec::new());
    while let Some((directory, level)) = left.pop() {
        match host.list(&directory, Some(1)).await {
            Err(error) if denied(&error) => {
                skipped.insert(directory, format!("Permission denied: {error}").into());
            }
            Err(error) => return Err(error),
            Ok(entries) => {
                let below = entries.iter().filter(|entry| matches!(entry.node, Node::Directory { .. }));
                if depth.is_none_or(|depth| level < depth) {
                    left.extend(below.map(|entry| (entry.path.clone(), level + 1)));
                }
                found.extend(entries);
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Adds what is below the directories that links lead to, under the names that the links give it. A link to a directory that it
/// is in itself has no end, and is only named.
async fn followed(
    host: &View,
    (top, depth): (&str, Option<u32>),
    mut entries: Vec<transport::Entry>,
    skipped: &mut serde_json::Map<String, Value>,
) -> Result<Vec<transport::Entry>, ModuleError> {
    let is_in = |path: &str, above: &str| join("/", path).starts_with(&format!("{}/", above.trim_end_matches('/')));
    let level = |path: &str| path[top.trim_end_matches('/').len()..].matches('/').count() as u32;
    let links = |entries: &[transport::Entry], way: &[(String, String)]| {
        let links = entries.iter().filter(|entry| matches!(entry.node, Node::Link { .. }));
        links.map(|entry| (entry.path.clone(), way.to_vec())).collect::<Vec<_>>()
    };
    // Each with the links on its way: where they are, and where they lead.
    let mut left = links(&entries, &[(top.to_string(), real(host, top).await?.trim_end_matches('/').to_string())]);
    while let Some((path, mut way)) = left.pop() {
        let Some(rest) =
            depth.map_or(Some(None), |depth| depth.checked_sub(level(&path)).filter(|rest| *rest > 0).map(Some))
        else {
            continue;
        };
        let place = match Place::look(host, &path, Links::Follow, Want::Attributes).await {
            Ok(place) if place.node.is_directory() => place,
            Ok(_) | Err(ModuleError::Failed { .. } | ModuleError::Host(TransportError::Refused(_))) => continue,
            Err(error) => return Err(error),
        };
        let to = real(host, &place.path).await?;
        let there =
            |(at, to): &(String, String), path: &str| format!("{to}{}", &path[at.trim_end_matches('/').len()..]);
        let ends = way.iter().skip(1).map(|(at, _)| at.as_str()).chain([path.as_str()]);
        if way.iter().zip(ends).any(|(step, end)| is_in(&there(step, end), &to)) {
            continue;
        }
        let mut below = listed(host, (&to, rest), skipped).await?;
        for entry in &mut below {
            entry.path = format!("{path}{}", &entry.path[to.trim_end_matches('/').len()..]);
        }
        way.push((path, to.trim_end_matches('/').to_string()));
        left.extend(links(&below, &way));
        entries.extend(below);
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

/// Returns what the bytes of the file at `path` say in an encoding, or why they say nothing; as well as it can be read
/// where none is asked for.
fn text_of<'b>(bytes: &'b [u8], path: &str, encoding: Option<&str>) -> Result<Cow<'b, str>, String> {
    let Some(name) = encoding else { return Ok(String::from_utf8_lossy(bytes)) };
    let label = name.replace('_', "-");
    let Some(encoding) = encoding_rs::Encoding::for_label(label.as_bytes()) else {
        return Err(format!("unknown encoding: {name}"));
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes);
    text.ok_or_else(|| format!("Failed to read the file {path} due to an encoding error. current encoding: {name}"))
}

impl Wanted {
    /// Says whether it is old enough, or young enough; both times are in seconds since 1970.
    fn is_aged(&self, time: Option<i64>, now: i64) -> bool {
        match (self.age, time) {
            (None, _) => true,
            (Some(age), Some(time)) if age >= 0 => now - time >= age,
            (Some(age), Some(time)) => now - time <= -age,
            // Made by this very run, or a link: its age is not known.
            (Some(age), None) => age < 0,
        }
    }

    /// Says whether an entry is as described, but for its age.
    fn fits(&self, entry: &transport::Entry) -> Result<bool, ModuleError> {
        let name = base_name(&entry.path);
        if name.starts_with('.') && !self.hidden || self.kind.is_some_and(|kind| kind != entry.node.kind()) {
            return Ok(false);
        }
        let mut named = self.patterns.is_empty();
        for pattern in &self.patterns {
            named = named || pattern.is_match(name)?;
        }
        for pattern in &self.excludes {
            named = named && !pattern.is_match(name)?;
        }
        let sized = match (self.size, entry.node.content().map(|content| content.size as i64)) {
            (None, _) => true,
            (Some(size), Some(found)) if size >= 0 => found >= size,
            (Some(size), Some(found)) => found <= -size,
            (Some(_), None) => false,
        };
        let allowed = match (&self.mode, entry.node.permissions()) {
            (Some((mode, exact)), Some(permissions)) => {
                let directory = matches!(entry.node, Node::Directory { .. });
                let bits = mode.apply(Current { mode: 0, directory, umask: 0 });
                if *exact { permissions.mode == bits } else { permissions.mode & bits != 0 }
            }
            _ => true,
        };
        Ok(named && sized && allowed)
    }
}

/// Writes a shell's pattern (`fnmatch.3`, without flags) as a regular expression for a whole name.
fn shell_pattern(text: &str) -> String {
    let mut regex = String::from(r"\A(?:");
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                let rest = letters.as_str();
                // A bracket right after the opening one, or after its `!`, is a member.
                let skip = usize::from(rest.starts_with('!'));
                let end = rest.get(skip + 1..).and_then(|tail| tail.find(']')).map(|at| at + skip + 1);
                match end {
                    Some(end) => {
                        let members = rest[skip..end].replace('\\', r"\\").replace('[', r"\[").replace('^', r"\^");
                        let members = members.replace(']', r"\]").replace("&&", r"&\&");
                        regex.push_str(&format!("[{}{members}]", if skip == 1 { "^" } else { "" }));
                        letters = rest[end + 1..].chars();
                    }
                    None => regex.push_str(r"\["),
                }
            }
            other => {
                if other.is_ascii_punctuation() {
                    regex.push('\\');
                }
                regex.push(other);
            }
        }
    }
    regex + r")\Z"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new("patterns", &shell_pattern(pattern), Lines::Across).unwrap().is_match(name).unwrap()
    }

    #[test]
    fn names_match_as_in_a_shell() {
        assert!(matches("*.qmail", "a.qmail") && !matches("*.qmail", "aqmail") && matches("", ""));
        assert!(matches("[!a-c]?", "dx") && !matches("[!a-c]?", "bx") && matches("[]]", "]"));
        assert!(matches("a{b,c}", "a{b,c}") && matches("x[", "x[") && matches("a-b_c.d", "a-b_c.d"));
        assert!(matches(r"a\b", r"a\b") && !matches("a", "ab"));
    }

    fn paths(results: &Results) -> Vec<&str> {
        results["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
    }

    fn mail() -> Bench {
        let bench = Bench::new();
        bench.host.file("/m/a/.qmail", "&x@y\n", 0o600).file("/m/a/new/1", "From: q\n", 0o640).link("/m/l", "a");
        bench.host.file("/m/top", "x".repeat(2000), 0o644);
        bench
    }

    #[tokio::test]
    async fn only_plain_files_of_the_directory_itself_unless_asked() {
        let bench = mail();
        let results = bench.twice("find", json!({"paths": "/m"})).await;
        assert_eq!(
            (paths(&results), &results["matched"], &results["examined"]),
            (vec!["/m/top"], &json!(1), &json!(3))
        );
        let all =
            bench.twice("find", json!({"paths": ["/m/"], "file_type": "any", "recurse": true, "hidden": true})).await;
        assert_eq!(paths(&all), ["/m/a", "/m/a/.qmail", "/m/a/new", "/m/a/new/1", "/m/l", "/m/top"]);
        bench.host.file("/root/x", "", 0o600);
        assert_eq!(paths(&bench.twice("find", json!({"paths": "$HOME/", "get_checksum": true})).await), ["/root/x"]);
        let two = bench.twice("find", json!({"paths": "/m/l", "recurse": true, "depth": 2, "limit": 1})).await;
        assert_eq!(paths(&two), ["/m/l/new/1"]);
    }

    #[tokio::test]
    async fn links_are_followed_where_that_has_an_end() {
        let bench = mail();
        bench.host.file("/other/b/2", "", 0o600).link("/m/a/new/other", "/other").link("/m/z", "none");
        // Round and round: up its own way, and by way of another link.
        bench.host.link("/m/a/up", "..").link("/other/back", "/m/a").link("/other/b/own", ".");
        let found = |more: serde_json::Value| {
            let mut whole = json!({"paths": "/m", "recurse": true, "follow": true});
            whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            whole
        };
        let results = bench.twice("find", found(json!({}))).await;
        let expected = ["/m/a/new/1", "/m/a/new/other/b/2", "/m/l/new/1", "/m/l/new/other/b/2", "/m/top"];
        assert_eq!(paths(&results), expected);
        let results = bench.twice("find", found(json!({"depth": 3, "patterns": "[12]"}))).await;
        assert_eq!(paths(&results), ["/m/a/new/1", "/m/l/new/1"]);
        let results = bench.twice("find", found(json!({"file_type": "link"}))).await;
        assert!(paths(&results).contains(&"/m/l/new/other/back") && paths(&results).contains(&"/m/a/up"));
        assert_eq!(paths(&bench.twice("find", found(json!({"recurse": false}))).await), ["/m/top"]);
    }

    #[tokio::test]
    async fn content_size_age_mode_and_names_narrow_it() {
        let bench = mail();
        for (arguments, expected) in [
            (json!({"contains": "From"}), vec!["/m/a/new/1"]),
            (json!({"contains": "rom"}), vec![]),
            (json!({"contains": "rom", "read_whole_file": true}), vec!["/m/a/new/1"]),
            (json!({"size": "1k"}), vec!["/m/top"]),
            (json!({"size": "-1k"}), vec!["/m/a/new/1"]),
            (json!({"age": "-1d"}), vec![]),
            (json!({"age": "1d", "excludes": "t*"}), vec!["/m/a/new/1"]),
            (json!({"mode": "0640"}), vec!["/m/a/new/1"]),
            (json!({"patterns": "^t.p,zz", "use_regex": true}), vec!["/m/top"]),
        ] {
            let mut whole = json!({"paths": "/m", "recurse": true});
            whole.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
            assert_eq!(paths(&bench.twice("find", whole).await), expected, "{arguments}");
        }
    }

    #[tokio::test]
    async fn checksums_come_in_one_exchange_and_missing_directories_are_named() {
        let bench = mail();
        let arguments =
            json!({"paths": ["/m", "/none"], "recurse": true, "get_checksum": true, "checksum_algorithm": "sha256"});
        let results = bench.twice("find", arguments.clone()).await;
        assert_eq!(results["skipped_paths"], json!({"/none": "'/none' is not a directory"}));
        assert_eq!(results["files"][0]["checksum"].as_str().unwrap().len(), 64);
        assert_eq!(bench.exchanges("find", arguments).await, 5);
    }
}
