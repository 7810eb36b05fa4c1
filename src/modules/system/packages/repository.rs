//! `apt_repository`: a line that names an archive of packages, in one of apt's lists of sources (sources.list(5)).

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{bare, end_line_before, lines_of};
use crate::modules::files::place::{Place, Writing, bytes_of, join, make_directories, parent};
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, State};
use crate::transport::{Content, Links, Node, Want};

use super::apt::update;
use super::database::Database;
use super::ppa::{Ppa, codename};
use super::retries::{MAX_DELAY, RETRIES, Retries};

pub const APT_REPOSITORY: Entry = Entry {
    name: "apt_repository",
    summary: "Keeps a line of apt's sources, in a file of its own",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the archive of our own packages
  apt_repository:
    repo: deb [signed-by=/etc/apt/keyrings/ours.asc] https://packages.example.com/debian bookworm main
    filename: ours
    update_cache: false
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "repo",
        Kind::Text,
        "The line: `deb ADDRESS SUITE COMPONENT...`, `deb-src` of the same, or `ppa:OWNER/NAME`, an archive of Launchpad's: its key \
         comes from Ubuntu's server of keys, to `trusted.gpg.d`.",
    )
    .required(),
    Argument::new("state", Kind::Text, "Whether it is to be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new(
        "filename",
        Kind::Text,
        "The file below `sources.list.d`, without `.list`; made from the address unless given.",
    ),
    Argument::new("mode", Kind::Mode, "Permission bits of the file that is written; `\"0644\"` unless given."),
    Argument::new(
        "update_cache",
        Kind::Bool,
        "The lists of packages are updated where the line has come or gone; on unless set.",
    )
    .alias(&["update-cache"]),
    Argument::new("directory", Kind::Path, "Where `sources.list` and `sources.list.d` are; `/etc/apt` unless given."),
    Argument::new("validate_certs", Kind::Bool, "A `ppa:` is read from servers with good certificates only."),
    Argument::new("install_python_apt", Kind::Bool, "Nothing is needed that could be installed."),
    Argument::new("codename", Kind::Text, "The release that a `ppa:` is for; the host's unless given."),
    RETRIES,
    MAX_DELAY,
];

#[derive(Deserialize)]
struct Fields {
    repo: String,
    #[serde(default)]
    state: State,
    filename: Option<String>,
    mode: Option<String>,
    update_cache: Option<bool>,
    directory: Option<String>,
    codename: Option<String>,
    #[serde(flatten)]
    retries: Retries,
}

struct Repository {
    fields: Fields,
    archive: Archive,
}

enum Archive {
    Line(String),
    Ppa(Ppa),
}

/// What is to be there or not: a line as it is compared and written, and the file that it comes to.
struct Source {
    line: String,
    file: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if let Some(mode) = &fields.mode {
        Rights::default().with_mode(Some(mode.clone())).check()?;
    }
    let line = source(&fields.repo).map(Archive::Line);
    let Some(archive) = line.or_else(|| Ppa::read(&fields.repo).map(Archive::Ppa)) else {
        return Err(Diagnostic::new(format!("`{}` is no line of a source of packages", fields.repo))
            .hint("`deb [OPTIONS] ADDRESS SUITE COMPONENT...`, or `ppa:OWNER/NAME`"));
    };
    Ok(Box::new(Repository { fields, archive }))
}

/// Returns a source as one line with single spaces, without what is behind `#`, if it is one.
fn source(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split('#').next()?.split_whitespace().collect();
    let is_one = ["deb", "deb-src"].contains(words.first()?) && words.len() >= 3;
    is_one.then(|| words.join(" "))
}

/// Returns the name of a file for a source: the letters of its address, joined by `_`.
fn file_name(line: &str) -> String {
    let bare = match (line.find('['), line.find(']')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 1..]),
        _ => line.to_string(),
    };
    let address = bare.split_whitespace().nth(1).unwrap_or("");
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split_once('@').map_or(address, |(_, rest)| rest);
    let words = address.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_") + ".list"
}

/// A file of sources, as it is and as it is to be.
struct File {
    path: String,
    old: String,
    new: String,
    is_new: bool,
}

impl File {
    /// Says whether the line was all that was in a file that such lines alone are in.
    fn goes(&self) -> bool {
        self.new.is_empty() && !self.old.is_empty() && parent(&self.path).ends_with(".d")
    }
}

#[async_trait]
impl Module for Repository {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let directory = self.fields.directory.as_deref().unwrap_or("/etc/apt");
        let mut files = files(host, directory).await?;
        let source = self.source(host).await?;
        let mut changes = Vec::new();
        match self.fields.state {
            State::Absent => files.iter_mut().for_each(|file| file.new = source.without(&file.old)),
            State::Present if files.iter().any(|file| source.is_in(&file.old)) => {}
            State::Present => {
                if let (Archive::Ppa(ppa), false) = (&self.archive, host.only_asks) {
                    changes.extend(ppa.key(host, directory).await?);
                }
                source.add(&mut files, directory);
            }
        }
        let told = |is_meant: fn(&File) -> bool| -> Value {
            files.iter().filter(|file| is_meant(file)).map(|file| file.path.as_str()).collect::<Vec<_>>().into()
        };
        let added = told(|file| file.is_new && !file.new.is_empty());
        let removed = told(|file| file.goes());
        let rights = Rights::default().with_mode(Some(self.fields.mode.clone().unwrap_or("0644".into())));
        let writing = Writing { rights, ..Writing::default() };
        for file in files.into_iter().filter(|file| file.new != file.old) {
            let mut place = Place::look(host, &file.path, Links::Follow, Want::Content).await?;
            if file.goes() {
                changes.extend(place.change(Node::Absent));
                continue;
            }
            if place.parent == Node::Absent {
                let (made, above) = make_directories(host, parent(&place.path), &Rights::default()).await?;
                changes.extend(made);
                place.parent = above;
            }
            changes.extend(place.write(host, Content::here(file.new.into_bytes()), &writing).await?.0);
        }
        if !changes.is_empty() && self.fields.update_cache.unwrap_or(true) {
            let updated = !host.planned_accounts("lists").is_empty();
            let options = self.fields.retries.options();
            changes.extend::<Option<Change>>(update(&Database::of(host).await?, updated, &options));
        }
        let state = self.fields.state.name();
        let results = json!({
            "repo": self.fields.repo, "state": state, "sources_added": added, "sources_removed": removed,
        });
        Ok(Planned::new(changes, results.as_object().cloned().unwrap_or_default()))
    }
}

/// Reads all files of sources.
async fn files(host: &View, directory: &str) -> Result<Vec<File>, ModuleError> {
    let own = join(directory, "sources.list");
    let listed = host.list(&join(directory, "sources.list.d"), Some(1)).await?;
    let more = listed.into_iter().map(|entry| entry.path).filter(|path| path.ends_with(".list"));
    let paths: Vec<_> = std::iter::once(own).chain(more).map(|path| (path, Links::Follow)).collect();
    let nodes = host.look_all(&paths, Want::Content).await?;
    let mut files = Vec::new();
    for ((path, _), node) in paths.into_iter().zip(nodes) {
        if let Some(content) = node.content() {
            let text = String::from_utf8_lossy(&bytes_of(host, &path, content).await?).into_owned();
            files.push(File { path, old: text.clone(), new: text, is_new: false });
        }
    }
    Ok(files)
}

impl Repository {
    async fn source(&self, host: &View) -> Result<Source, ModuleError> {
        let (line, file) = match (&self.archive, &self.fields.codename) {
            (Archive::Line(line), _) => (line.clone(), file_name(line)),
            (Archive::Ppa(ppa), Some(codename)) => ppa.line(codename),
            (Archive::Ppa(ppa), None) => ppa.line(&codename(host).await?),
        };
        let file = match &self.fields.filename {
            Some(name) if name.ends_with(".list") => name.clone(),
            Some(name) => format!("{name}.list"),
            None => file,
        };
        Ok(Source { line, file })
    }
}

impl Source {
    fn is_in(&self, text: &str) -> bool {
        text.lines().any(|line| source(line).as_ref() == Some(&self.line))
    }

    fn without(&self, text: &str) -> String {
        let lines = lines_of(text);
        lines.into_iter().filter(|line| source(bare(line)).as_ref() != Some(&self.line)).collect()
    }

    /// Adds the line; a file that has it behind `#` is the place for it.
    fn add(&self, files: &mut Vec<File>, directory: &str) {
        for file in files.iter_mut() {
            let mut lines = lines_of(&file.old);
            let off = |line: &String| {
                let behind = bare(line).trim_start().strip_prefix('#');
                behind.and_then(source).as_ref() == Some(&self.line)
            };
            if let Some(at) = lines.iter().position(off) {
                lines[at] = format!("{}\n", self.line);
                file.new = lines.concat();
                return;
            }
        }
        let path = join(&join(directory, "sources.list.d"), &self.file);
        let file = match files.iter().position(|file| file.path == path) {
            Some(at) => &mut files[at],
            None => {
                files.push(File { path, old: String::new(), new: String::new(), is_new: true });
                let last = files.len() - 1;
                &mut files[last]
            }
        };
        let mut lines = lines_of(&file.old);
        let end = lines.len();
        end_line_before(&mut lines, end);
        file.new = lines.concat() + &self.line + "\n";
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_line_comes_once_wherever_it_stands_and_goes_from_everywhere() {
        let bench = Bench::new();
        bench.host.file("/etc/apt/sources.list", "deb  http://deb.debian.org/debian bookworm main # ours\n", 0o644);
        let task = |repo: &str, state: &str| json!({"repo": repo, "state": state, "update_cache": false});
        let there = task("deb http://deb.debian.org/debian   bookworm main", "present");
        assert!(bench.plan("apt_repository", there).await.unwrap().changes.is_empty());
        let new = "deb [arch=amd64] https://u:p@a.example/debian stable main";
        bench.twice("apt_repository", task(new, "present")).await;
        let path = "/etc/apt/sources.list.d/a_example_debian.list";
        assert_eq!((bench.host.read(path).unwrap(), bench.mode(path)), (format!("{new}\n"), 0o644));
        bench.host.file(path, format!("# {new}\n"), 0o600);
        bench.twice("apt_repository", task(new, "present")).await;
        assert_eq!((bench.host.read(path).unwrap(), bench.mode(path)), (format!("{new}\n"), 0o644));
        bench.twice("apt_repository", task(new, "absent")).await;
        assert!(!bench.exists(path) && bench.exists("/etc/apt/sources.list"));
    }

    #[tokio::test]
    async fn what_is_no_source_is_refused() {
        let bench = Bench::new();
        for (repo, says) in [("ppa:a/../b", "no line"), ("deb http://x", "no line of a source"), ("rpm a b", "no line")]
        {
            let error = bench.fails("apt_repository", json!({"repo": repo})).await;
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(file_name("deb file:/tmp/repo/ stable main"), "file_tmp_repo.list");
    }
}
