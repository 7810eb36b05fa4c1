//! `tempfile`: a new file or directory that nobody else has, and where it is.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned};
use crate::transport::{Content, Links, Node, Want};

use super::place::{Place, absolute, base_name, join, results_of};
use super::rights::{New, Rights};

pub const TEMPFILE: Entry = Entry {
    name: "tempfile",
    summary: "Makes a new empty file or directory of a name that is not taken, for its owner alone",
    arguments: &[&[
        Argument::new("state", Kind::Text, "What is made; a file unless given.").choices(&["file", "directory"]),
        Argument::new("path", Kind::Path, "Where it is made; `/tmp` unless given."),
        Argument::new("prefix", Kind::Text, "What its name begins with; `ansible.` unless given."),
        Argument::new("suffix", Kind::Text, "What its name ends with."),
    ]],
    free_form: None,
    example: "- name: A place to put the routes together\n  tempfile:\n    state: directory\n    path: /var/qmail\n    suffix: .routes\n  register: place\n",
    build,
};

/// How many names are looked at in one exchange.
const BATCH: usize = 16;
/// After so many names that are taken the directory is somebody's joke.
const MOST: usize = 1024;

#[derive(Deserialize)]
struct Temporary {
    #[serde(default)]
    state: State,
    path: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    suffix: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    File,
    Directory,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(arguments.read::<Temporary>()?))
}

#[async_trait]
impl Module for Temporary {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let prefix = self.prefix.as_deref().unwrap_or("ansible.");
        for (name, part) in [("prefix", prefix), ("suffix", &self.suffix)] {
            if part.contains('/') {
                return Err(ModuleError::failed(format!("{name} must be a valid file name component, not `{part}`")));
            }
        }
        let directory = absolute(host, self.path.as_deref().unwrap_or("/tmp"));
        let place = self.free(host, &directory, prefix).await?;
        place.needs_parent()?;
        let (new, mode) = match self.state {
            State::File => (New::File, "0600"),
            State::Directory => (New::Directory, "0700"),
        };
        let permissions = Rights::default().with_mode(Some(mode.into())).fresh(host, new, &place.parent).await?;
        let after = match self.state {
            State::File => Node::File { content: Content::here(Vec::new()), permissions, modified: None },
            State::Directory => Node::Directory { permissions, modified: None },
        };
        let mut results = results_of(&after);
        results.insert("path".into(), place.path.as_str().into());
        Ok(Planned::new(Vec::from_iter(place.change(after)), results))
    }
}

impl Temporary {
    /// Returns the first place that is free of those that such a task has on this host in this run.
    ///
    /// The names are a digest's, of the run's seed: tasks that are planned again, a run that keeps to a plan and one that is gone on
    /// with name the same path, and later tasks of a check can use it. Nothing that is there is written to.
    async fn free(&self, host: &View, directory: &str, prefix: &str) -> Result<Place, ModuleError> {
        for start in (0..MOST).step_by(BATCH) {
            let name =
                |number| format!("{prefix}{}{}", letters([&host.seed, &host.name, directory], number), self.suffix);
            let paths = (start..start + BATCH).map(|number| (join(directory, &name(number)), Links::Keep));
            let paths: Vec<_> = paths.collect();
            let nodes = host.look_all(&paths, Want::Attributes).await?;
            let mut both = paths.iter().zip(&nodes);
            if let Some(((path, _), _)) = both.find(|(_, node)| !node.exists()) {
                return Place::look(host, path, Links::Keep, Want::Attributes).await;
            }
        }
        Err(ModuleError::failed(format!("{MOST} names like `{}` are taken in `{directory}`", base_name(prefix))))
    }
}

/// Returns the eight letters of a name.
fn letters(of: [&str; 3], number: usize) -> String {
    let sum = Sha256::digest(format!("{}\0{number}", of.join("\0")));
    URL_SAFE_NO_PAD.encode(sum).to_lowercase().replace('-', "_").chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::letters;
    use crate::modules::files::bench::{Bench, results};

    async fn made(bench: &Bench, arguments: Value) -> String {
        let planned = bench.plan("tempfile", arguments).await.unwrap();
        bench.apply(&planned.changes).await;
        results(planned)["path"].as_str().unwrap().to_string()
    }

    #[tokio::test]
    async fn each_run_makes_another_and_only_its_owner_may_use_it() {
        let bench = Bench::new();
        bench.host.dir("/tmp", 0o1777).dir("/srv", 0o755);
        let first = made(&bench, json!({})).await;
        let second = made(&bench, json!({"state": "directory", "path": "/srv", "suffix": ".test"})).await;
        let third = made(&bench, json!({"state": "directory", "path": "/srv", "suffix": ".test"})).await;
        assert!(first.starts_with("/tmp/ansible.") && first.len() == "/tmp/ansible.".len() + 8, "{first}");
        assert!(second != third && second.ends_with(".test"), "{second} {third}");
        assert_eq!([&first, &second, &third].map(|path| bench.mode(path)), [0o600, 0o700, 0o700]);
        for _ in 0..40 {
            made(&bench, json!({"prefix": ""})).await;
        }
    }

    #[test]
    fn another_run_takes_other_names() {
        let of = |seed| letters([seed, "new", "/tmp"], 0);
        assert!(of("a") == of("a") && of("a") != of("b"), "{}", of("a"));
    }

    #[tokio::test]
    async fn a_check_names_what_the_run_makes_and_goes_on_with_it() {
        let bench = Bench::new();
        bench.host.dir("/tmp", 0o1777);
        let pending = Arc::default();
        let path = |planned| results(planned)["path"].as_str().unwrap().to_string();
        let first = path(bench.plan_after(&pending, "tempfile", json!({"state": "directory"})).await.unwrap());
        let second = path(bench.plan_after(&pending, "tempfile", json!({"state": "directory"})).await.unwrap());
        let copy = json!({"content": "x", "dest": format!("{first}/x")});
        bench.plan_after(&pending, "copy", copy).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(made(&bench, json!({"state": "directory"})).await, first);
    }

    #[tokio::test]
    async fn it_is_made_in_a_directory_that_is_there_and_nowhere_else() {
        let bench = Bench::new();
        let error = bench.fails("tempfile", json!({"path": "/none"})).await;
        assert_eq!(error, "destination directory `/none` does not exist");
        let error = bench.fails("tempfile", json!({"path": "/etc", "prefix": "../x"})).await;
        assert!(error.starts_with("prefix must be a valid file name component"), "{error}");
        let error = bench.fails("tempfile", json!({"path": "/etc", "suffix": "/x"})).await;
        assert!(error.starts_with("suffix must be"), "{error}");
    }
}
