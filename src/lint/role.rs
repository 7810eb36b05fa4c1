//! A role by itself: the playbooks that would run all of it.

use std::path::{Path, PathBuf};

use serde_json::json;

/// A role's directory, as it is named on the command line.
pub struct Alone {
    pub name: String,
    /// Where a playbook would stand that has the role in its `roles/`, or beside it.
    pub directory: PathBuf,
    /// Where the role is found.
    pub roles: PathBuf,
    path: PathBuf,
}

/// What makes a directory a role.
const PARTS: &[&str] = &["tasks", "handlers", "defaults", "vars", "meta"];

impl Alone {
    /// Returns the role of a directory; nothing where it is none.
    pub fn new(path: &Path) -> Option<Alone> {
        if !PARTS.iter().any(|part| path.join(part).is_dir()) {
            return None;
        }
        let absolute = std::path::absolute(path).ok()?;
        let name = path.file_name().or(absolute.file_name())?.to_string_lossy().into_owned();
        // `.` and `..` have no name of their own, and are told by where they are.
        let path = if path.file_name().is_some() { path.to_path_buf() } else { absolute };
        let roles = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let beside = if roles.file_name().is_some_and(|name| name == "roles") { roles.parent() } else { None };
        Some(Alone { name, directory: beside.unwrap_or(&roles).to_path_buf(), roles, path })
    }

    /// Returns the path and the text of a playbook that runs the role from its `main`.
    pub fn playbook(&self) -> (PathBuf, String) {
        self.playing(&json!({ "roles": [self.name] }))
    }

    /// Returns playbooks of the other files below `tasks/` that may be begun with: those that are not among `read`.
    pub fn others(&self, read: &[PathBuf]) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(self.path.join("tasks")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        let is_tasks = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
        let unread = files.iter().filter(is_tasks).filter(|path| !read.contains(path));
        let names = unread.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        names
            .map(|file| {
                self.playing(&json!({ "tasks": [{ "import_role": { "name": self.name, "tasks_from": file } }] }))
            })
            .collect()
    }

    fn playing(&self, what: &serde_json::Value) -> (PathBuf, String) {
        let mut play = json!({ "hosts": "all", "name": format!("role {}", self.name) });
        if let (Some(play), Some(what)) = (play.as_object_mut(), what.as_object()) {
            play.extend(what.clone());
        }
        (self.directory.join(format!("role {}", self.name)), json!([play]).to_string())
    }
}
