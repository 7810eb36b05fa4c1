//! One reading of a playbook or an include: what is known so far, and every error found.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics, Place};
use crate::vars::{Layer, Var};
use crate::yaml::Yaml;

use super::files;
use super::keywords::is_template;
use super::load::Loader;
use super::{Include, Keywords, Role, Section, Task};

/// Blocks and imports within each other; deeper is a mistake that no cycle shows.
const MAX_DEPTH: usize = 64;
/// Aliases and repeated imports can blow a few lines up to any number of steps.
const MAX_STEPS: usize = 200_000;

pub(super) struct Reader<'l> {
    pub loader: &'l Loader,
    pub errors: Diagnostics,
    /// The playbook's directory.
    pub directory: PathBuf,
    pub play_vars: Arc<Layer>,
    pub section: Section,
    /// Of the roles found, in their order.
    pub handlers: Vec<Arc<Task>>,
    pub exports: Vec<Arc<Role>>,
    /// Roles of the play that ran under the same conditions already.
    pub roles_done: HashSet<String>,
    /// Includes read ahead for their errors, each once; `None` during the run, where an include is read when it is reached.
    pub ahead: Option<HashSet<String>>,
    pub notices: Notices,
    /// What is read stands behind a `when`, and may be for hosts whose modules are not here.
    pub conditional: bool,
    /// What is read stands behind an include, which the run may never come to.
    pub behind: bool,
    /// The files being read, the outermost first.
    chain: Vec<PathBuf>,
    depth: usize,
    steps: usize,
}

/// Who is notified and who answers; both are complete when a play was read.
#[derive(Default)]
pub(super) struct Notices {
    pub notified: Vec<Yaml>,
    pub handlers: Vec<Arc<Task>>,
    /// Some handlers can be known only during the run.
    pub open: bool,
    /// The tasks whose modules are not here, and that a run may never come to.
    pub absent: Vec<Diagnostic>,
}

impl<'l> Reader<'l> {
    pub fn new(loader: &'l Loader, directory: PathBuf) -> Reader<'l> {
        Reader {
            loader,
            errors: Diagnostics::default(),
            directory,
            play_vars: Arc::default(),
            section: Section::Tasks,
            handlers: Vec::new(),
            exports: Vec::new(),
            roles_done: HashSet::new(),
            ahead: None,
            notices: Notices::default(),
            conditional: false,
            behind: false,
            chain: Vec::new(),
            depth: 0,
            steps: 0,
        }
    }

    /// Returns a reader of the playbook at `path`.
    pub fn start(loader: &'l Loader, path: &Path) -> Reader<'l> {
        Reader { chain: vec![path.into()], ..Reader::new(loader, PathBuf::new()) }
    }

    /// Returns a reader that goes on where `include` stands.
    pub fn resume(loader: &'l Loader, include: &Include) -> Reader<'l> {
        Reader { section: include.section, ..Reader::new(loader, include.directory.clone()) }
    }

    /// Returns a reader for what an include names, read ahead. The include may lead back to itself under a condition, so
    /// the chain of imports starts anew.
    pub fn aside(&mut self, include: &Include) -> Reader<'l> {
        Reader {
            play_vars: self.play_vars.clone(),
            ahead: self.ahead.take(),
            depth: self.depth,
            steps: self.steps,
            conditional: self.conditional,
            behind: true,
            ..Reader::resume(self.loader, include)
        }
    }

    /// Takes over what a reader aside has found, but not the tasks.
    pub fn rejoin(&mut self, aside: Reader<'l>) {
        let Reader { errors, ahead, notices, steps, .. } = aside;
        self.errors.extend(errors);
        self.ahead = ahead;
        self.notices.notified.extend(notices.notified);
        self.notices.handlers.extend(notices.handlers);
        self.notices.open |= notices.open;
        self.notices.absent.extend(notices.absent);
        self.steps = steps;
    }

    /// Runs `read` on the document of a file that is imported at `place`; notes a cycle instead of following it.
    pub fn within<T>(
        &mut self,
        path: &Path,
        place: &Place,
        read: impl FnOnce(&mut Self, Option<Yaml>) -> T,
    ) -> Option<T> {
        let path = normal(path);
        if self.is_cycle(&path, place) {
            return None;
        }
        let document = self.loader.files.document(&path).map_err(|error| error.or_at(place));
        let document = self.errors.catch(document)?;
        self.chain.push(path);
        let value = self.deeper(place, |reader| read(reader, document));
        self.chain.pop();
        value
    }

    /// Runs `read` one level deeper, where that is not too deep.
    pub fn deeper<T>(&mut self, place: &Place, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth == MAX_DEPTH {
            let message = format!("blocks and imports are nested deeper than {MAX_DEPTH}");
            self.errors.push(Diagnostic::new(message).at(place));
            return None;
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        Some(value)
    }

    /// Notes that `path`, imported at `place`, is being read already.
    pub fn is_cycle(&mut self, path: &Path, place: &Place) -> bool {
        if !self.chain.iter().any(|open| open == path) {
            return false;
        }
        let message = format!("`{}` leads back to itself", path.display());
        let chain = self.chain.iter().map(PathBuf::as_path).chain([path]);
        let shown: Vec<String> = chain.map(|path| path.display().to_string()).collect();
        self.errors.push(Diagnostic::new(message).at(place).hint(shown.join(" -> ")));
        true
    }

    /// Counts one step; false once there are too many.
    pub fn count(&mut self, place: &Place) -> bool {
        self.steps += 1;
        if self.steps == MAX_STEPS + 1 {
            self.errors.push(Diagnostic::new(format!("more than {MAX_STEPS} tasks")).at(place));
        }
        self.steps <= MAX_STEPS
    }

    /// Returns text that has to be known before anything runs; `instead` says what to do where it cannot be.
    pub fn fixed(&mut self, node: &Yaml, keywords: &Keywords, instead: &str) -> Option<String> {
        let text = node.key();
        if !is_template(&text) {
            return Some(text);
        }
        let rendered = match &self.loader.render {
            Some(render) => render(node, self.known(keywords)),
            None => Err(Diagnostic::new(format!("`{text}` is not known before the run"))),
        };
        let rendered = rendered.map_err(|error| match error.hint {
            Some(_) => error.or_at(&node.place),
            None => error.or_at(&node.place).hint(instead),
        });
        self.errors.catch(rendered)
    }

    /// Returns the variables that are the same for all hosts, the stronger ones over the weaker ones.
    fn known(&self, keywords: &Keywords) -> Layer {
        let role = keywords.role.as_deref();
        let layers: [Option<&Layer>; 6] = [
            role.map(|role| &*role.defaults),
            Some(&self.play_vars),
            role.map(|role| &*role.vars),
            Some(&keywords.vars),
            role.map(|role| &*role.params),
            Some(&keywords.include_params),
        ];
        let pairs = layers.into_iter().flatten().flatten();
        let mut known: Layer = pairs.map(|(name, value)| (name.clone(), value.clone())).collect();
        let paths = [("playbook_dir", Some(&self.directory)), ("role_path", role.map(|role| &role.path))];
        for (name, path) in paths {
            if let Some(path) = path.and_then(|path| std::path::absolute(path).ok()) {
                known.insert(name.into(), Var::Known(path.to_string_lossy().into()));
            }
        }
        known
    }

    /// Returns every notified name that no handler of the play has, where all of them are known.
    pub fn unanswered(&mut self) -> Vec<Diagnostic> {
        let Notices { notified, handlers, open, .. } = std::mem::take(&mut self.notices);
        let names: HashMap<*const Task, String> = handlers.iter().map(|task| (Arc::as_ptr(task), name(task))).collect();
        if open || self.loader.allows_missing_handlers || names.values().any(|name| is_template(name)) {
            return Vec::new();
        }
        let answers =
            |topic: &str| handlers.iter().any(|handler| handler.answers_to(topic, &names[&Arc::as_ptr(handler)]));
        let unanswered = notified.iter().map(|topic| (topic, topic.key()));
        let unanswered = unanswered.filter(|(_, text)| !is_template(text) && !answers(text)).map(|(topic, text)| {
            let listened = handlers.iter().flat_map(|handler| &handler.listen);
            let known = names.values().chain(listened).map(String::as_str).filter(|name| !name.is_empty());
            Diagnostic::new(format!("no handler answers to `{text}`")).at(&topic.place).suggest(&text, known)
        });
        unanswered.collect()
    }

    /// Returns where a file that a task names is looked for, the nearest first.
    pub fn places_of(&self, file: &str, keywords: &Keywords) -> Vec<PathBuf> {
        // What a handler names may stand among the tasks.
        let kinds: &[&str] = if self.section == Section::Handlers { &["handlers", "tasks"] } else { &["tasks"] };
        let mut directories = vec![keywords.directory.clone()];
        for base in keywords.role.as_ref().map(|role| &role.path).into_iter().chain([&self.directory]) {
            directories.extend(kinds.iter().map(|kind| base.join(kind)));
            directories.push(base.clone());
        }
        directories.iter().map(|directory| normal(&directory.join(file))).collect()
    }

    /// Finds a tasks file that a task names; notes where it was looked for if there is none.
    pub fn tasks_file(&mut self, file: &str, place: &Place, keywords: &Keywords) -> Option<PathBuf> {
        let candidates = self.places_of(file, keywords);
        let found = files::first_file(candidates.iter().cloned());
        if found.is_none() {
            self.errors.push(files::not_found(&format!("`{file}`"), &candidates, place));
        }
        found
    }
}

/// Returns a task's name as written.
fn name(task: &Arc<Task>) -> String {
    task.keywords.name.as_ref().map(Yaml::key).unwrap_or_default()
}

/// Takes `.` and `x/..` out of a path, so that one file has one name in a chain and in errors.
pub(super) fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(result.components().next_back(), Some(Component::Normal(_))) => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}
