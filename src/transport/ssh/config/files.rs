//! The files of `ssh_config`, each read and parsed once, with the files that they include.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Diagnostic, Diagnostics, Place, Source};

use super::glob;
use super::lines::{self, Include, Line, Read};
use super::local::Local;
use super::settings::Origin;

/// A file's lines.
#[derive(Debug)]
pub struct File {
    pub lines: Vec<Line>,
    /// How many levels of files it includes.
    height: usize,
}

/// Whose file it is: what `~` and relative names of included files mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    User,
    System,
}

/// Whether others may be able to write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Only the user and root.
    Checked,
    Assumed,
}

/// As many levels as OpenSSH reads.
const DEEPEST: usize = 16;

#[derive(Debug, Default)]
pub struct Files(Mutex<HashMap<(PathBuf, Owner), Loaded>>);

/// `None`: there is no such file.
type Loaded = Result<Option<Arc<File>>, Diagnostics>;

impl Files {
    pub fn load(&self, path: &Path, owner: Owner, (local, trust): (&Local, Trust)) -> Loaded {
        let mut loading = Loading { local, owner, known: &mut self.known(), open: Vec::new() };
        loading.load(path, trust)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, Owner), Loaded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Loading<'a> {
    local: &'a Local,
    owner: Owner,
    known: &'a mut HashMap<(PathBuf, Owner), Loaded>,
    /// The files that are being read: each includes the next.
    open: Vec<PathBuf>,
}

impl Loading<'_> {
    fn load(&mut self, path: &Path, trust: Trust) -> Loaded {
        let key = (path.to_path_buf(), self.owner);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let loaded = self.read(path, trust);
        self.known.insert(key, loaded.clone());
        loaded
    }

    fn read(&mut self, path: &Path, trust: Trust) -> Loaded {
        let unreadable = |error: std::io::Error| {
            let message = format!("`{}` cannot be read: {error}", path.display());
            Diagnostics::from(Diagnostic::new(message))
        };
        let opened = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(unreadable(error)),
        };
        if trust == Trust::Checked && !self.local.trusts(&metadata) {
            let message = format!("`{}` may have been written by other users", path.display());
            let hint = "it should be yours or root's, and nobody else should be able to write it; `ssh` refuses it too";
            return Err(Diagnostic::new(message).hint(hint).into());
        }
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.open.push(path.to_path_buf());
        let parsed = self.parse(&Arc::new(Source { path: path.to_path_buf(), text }));
        self.open.pop();
        parsed.map(|file| Some(Arc::new(file)))
    }

    fn parse(&mut self, source: &Arc<Source>) -> Result<File, Diagnostics> {
        let mut errors = Diagnostics::default();
        let mut file = File { lines: Vec::new(), height: 0 };
        for (index, line) in source.text.split('\n').enumerate() {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let origin = |at: usize| {
                let column = line.get(..at).unwrap_or(line).chars().count() + 1;
                let place = Place::new(source, number, u32::try_from(column).unwrap_or(u32::MAX));
                Origin { place: Some(place), within: None }
            };
            match errors.catch(lines::read(line, &origin)).flatten() {
                None => {}
                Some(Read::Done(line)) => file.lines.push(line),
                Some(Read::Include(patterns)) => match self.include(&patterns) {
                    Ok(included) => {
                        file.height = included.iter().map(|included| included.height + 1).fold(file.height, usize::max);
                        file.lines.push(Line::Include(included));
                    }
                    Err(found) => errors.extend(found),
                },
            }
        }
        errors.or(file)
    }

    fn include(&mut self, patterns: &[Include]) -> Result<Vec<Arc<File>>, Diagnostics> {
        let mut found = Vec::new();
        let mut errors = Diagnostics::default();
        for include in patterns {
            let Some(pattern) = errors.catch(self.anchored(include)) else { continue };
            for path in glob::find(&pattern) {
                if self.open.contains(&path) {
                    let message = format!("`{}` includes itself", path.display());
                    errors.push(include.origin.wrong(message));
                    continue;
                }
                match self.load(&path, Trust::Checked) {
                    Ok(Some(file)) if self.open.len() + file.height > DEEPEST => {
                        let message = format!("files include each other over more than {DEEPEST} levels");
                        errors.push(include.origin.wrong(message));
                    }
                    Ok(file) => found.extend(file),
                    Err(wrong) => errors.extend(Diagnostics(
                        wrong
                            .0
                            .into_iter()
                            .map(|error| Diagnostic { place: error.place.or(include.origin.place.clone()), ..error })
                            .collect(),
                    )),
                }
            }
        }
        errors.or(found)
    }

    /// Returns an absolute pattern. A relative one is below `~/.ssh`, in a file of the system below `/etc/ssh`.
    fn anchored(&self, include: &Include) -> Result<String, Diagnostic> {
        let pattern = include.pattern.as_str();
        let wrong = |why: String| include.origin.wrong(why);
        if pattern.starts_with('~') && self.owner == Owner::System {
            return Err(wrong(format!("`Include {pattern}`: there is no `~` in a file of the whole system")));
        }
        let pattern = super::tokens::environment(pattern, self.local).map_err(wrong)?;
        if pattern.starts_with('~') {
            let home = self.local.with_home(&pattern);
            return home.ok_or_else(|| wrong(format!("there is no user for `{pattern}`")));
        }
        if pattern.starts_with('/') {
            return Ok(pattern);
        }
        let below = match self.owner {
            Owner::User => self.local.home.join(".ssh"),
            Owner::System => self.local.system.clone(),
        };
        Ok(format!("{}/{pattern}", below.display()))
    }
}
