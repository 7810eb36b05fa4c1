//! `include_vars`: variables of one file, or of the files of a directory.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::Diagnostic;
use crate::modules::Results;
use crate::modules::arguments::boolean;
use crate::vars::{Layer, Var, files};

use super::action::{text_of, words};
use super::doing::{Doing, Done};
use super::trouble::Trouble;

impl Doing<'_> {
    pub(super) fn include_vars(&self, arguments: &Map<String, Value>) -> Result<Done, Trouble> {
        let place = &self.task.action_place;
        let wrong = |message: &str| Diagnostic::new(message).at(place);
        let paths = match (arguments.get("file"), arguments.get("dir")) {
            (Some(_), Some(_)) => return Err(wrong("`include_vars` takes one of `file` and `dir`").into()),
            (Some(file), None) => vec![self.vars_path(&text_of(file))?],
            (None, Some(directory)) => Wanted::new(arguments)?.below(&self.vars_path(&text_of(directory))?)?,
            (None, None) => return Err(wrong("`include_vars` needs `file` or `dir`").into()),
        };
        let mut layer = Layer::new();
        for path in &paths {
            layer.extend(files::read(path)?);
        }
        if let Some(name) = arguments.get("name").map(text_of) {
            let inside: Result<Map<String, Value>, Trouble> = layer
                .into_iter()
                .map(|(name, var)| match var {
                    Var::Written(node) => Ok((name, self.templates().render(&node, &self.scope)?)),
                    Var::Known(value) => Ok((name, value)),
                    Var::Unknown(what) => Err(Trouble::Unknown(what)),
                })
                .collect();
            layer = [(name, Var::Known(Value::Object(inside?)))].into_iter().collect();
        }
        for (name, var) in &layer {
            let place = if let Var::Written(node) = var { &node.place } else { place };
            self.batch.run.warn_reserved(name, place);
        }
        self.fact_hosts()?.iter().for_each(|host| self.batch.run.fleet.include_vars(host, layer.clone()));
        let mut result = Results::new();
        let names = paths.iter().map(|path| Value::from(path.display().to_string())).collect();
        result.insert("ansible_included_var_files".into(), names);
        Ok(Done { result, ..Done::default() })
    }

    /// Finds a file or directory: in `vars/` of the role or playbook, or beside it.
    fn vars_path(&self, name: &str) -> Result<PathBuf, Trouble> {
        let mut places = Vec::new();
        for directory in self.scope.search.iter() {
            places.extend([directory.join("vars").join(name), directory.join(name)]);
        }
        if let Some(path) = places.iter().find(|path| path.exists()) {
            return Ok(path.clone());
        }
        let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        let error = Diagnostic::new(format!("no vars file `{name}`")).at(&self.task.action_place);
        Err(error.hint(format!("looked for {}", looked.join(", "))).into())
    }
}

/// Which files of a directory are read.
struct Wanted {
    /// How many levels down; 0 means all.
    depth: usize,
    extensions: Vec<String>,
    matching: Option<fancy_regex::Regex>,
    ignored: Vec<String>,
    ignore_unknown: bool,
}

impl Wanted {
    fn new(arguments: &Map<String, Value>) -> Result<Wanted, Diagnostic> {
        let pattern = arguments.get("files_matching").map(text_of);
        let compile = |text: String| {
            crate::regex::compiled(&text, false)
                .map_err(|error| Diagnostic::new(format!("`{text}` is not a regular expression: {error}")))
        };
        let extensions = match arguments.get("extensions") {
            None => ["yaml", "yml", "json"].map(String::from).to_vec(),
            given => words(given),
        };
        Ok(Wanted {
            depth: arguments.get("depth").and_then(|depth| text_of(depth).parse().ok()).unwrap_or(0),
            extensions,
            matching: pattern.map(compile).transpose()?,
            ignored: words(arguments.get("ignore_files")),
            ignore_unknown: arguments.get("ignore_unknown_extensions").and_then(boolean).unwrap_or(false),
        })
    }

    /// Returns the files in the order in which they are read: those of a directory by name, then those below it.
    fn below(&self, directory: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
        let mut found = Vec::new();
        let mut level = vec![directory.to_path_buf()];
        let mut depth = 1;
        while !level.is_empty() && (self.depth == 0 || depth <= self.depth) {
            let mut next = Vec::new();
            for directory in level {
                for path in entries(&directory)? {
                    if path.is_dir() {
                        next.push(path);
                    } else if self.takes(&path)? {
                        found.push(path);
                    }
                }
            }
            level = next;
            depth += 1;
        }
        Ok(found)
    }

    fn takes(&self, path: &Path) -> Result<bool, Diagnostic> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if self.ignored.iter().any(|ignored| *ignored == name) {
            return Ok(false);
        }
        if let Some(matching) = &self.matching
            && !matching.is_match(&*name).unwrap_or(false)
        {
            return Ok(false);
        }
        let known = path.extension().is_some_and(|extension| {
            self.extensions.iter().any(|known| extension.to_string_lossy() == known.trim_start_matches('.'))
        });
        if known || self.ignore_unknown {
            return Ok(known);
        }
        let error =
            Diagnostic::new(format!("`{}` does not end in one of {}", path.display(), self.extensions.join(", ")));
        Err(error.hint("leave it out with `ignore_files`, or set `ignore_unknown_extensions: true`"))
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let cannot = |error: std::io::Error| Diagnostic::new(format!("cannot read `{}`: {error}", directory.display()));
    let entries = std::fs::read_dir(directory).map_err(cannot)?;
    let mut paths = entries.map(|entry| Ok(entry.map_err(cannot)?.path())).collect::<Result<Vec<_>, Diagnostic>>()?;
    paths.sort();
    Ok(paths)
}
