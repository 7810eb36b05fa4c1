//! Facts that are kept from run to run, as Ansible's cache `jsonfile` keeps them: a file of JSON for each host.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

/// The directory of the files.
#[derive(Clone, Debug)]
pub struct Cache {
    pub directory: PathBuf,
    /// What the files' names begin with.
    pub prefix: String,
    /// What is older is not read. `None`: it never is too old.
    pub limit: Option<Duration>,
}

/// The fact that says that all facts of a host were gathered.
pub const GATHERED: &str = "module_setup";

impl Cache {
    fn file(&self, host: &str) -> PathBuf {
        self.directory.join(format!("{}{}", self.prefix, host.replace('/', "_")))
    }

    /// Returns what is kept of a host. What is too old, or cannot be read, is as if it were not there.
    pub fn read(&self, host: &str) -> Map<String, Value> {
        let file = self.file(host);
        let age = std::fs::metadata(&file).and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| self.limit.is_some_and(|limit| age > limit)) {
            return Map::new();
        }
        let text = std::fs::read_to_string(file).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Keeps facts of a host beside those that are kept of it. The file is readable by its owner only, and whole at any time.
    pub fn add(&self, host: &str, facts: Map<String, Value>) -> std::io::Result<()> {
        let mut all = self.read(host);
        all.extend(facts);
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(Value::Object(all).to_string().as_bytes())?;
        file.persist(self.file(host))?;
        Ok(())
    }

    /// Forgets a host.
    pub fn forget(&self, host: &str) {
        // One that was never kept is forgotten already.
        let _ = std::fs::remove_file(self.file(host));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_kept_together_until_they_are_too_old_or_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().into(), prefix: "f_".into(), limit: None };
        let facts = |value: Value| value.as_object().unwrap().clone();
        cache.add("../a", facts(json!({"one": 1}))).unwrap();
        cache.add("../a", facts(json!({"two": 2}))).unwrap();
        assert_eq!(Value::Object(cache.read("../a")), json!({"one": 1, "two": 2}));
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["f_.._a"]);
        assert!(Cache { limit: Some(Duration::ZERO), ..cache.clone() }.read("../a").is_empty());
        cache.forget("../a");
        assert!(cache.read("../a").is_empty());
    }
}
