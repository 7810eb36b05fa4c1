//! The record of a run on the controller: each change before it is made, with what is needed to undo it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::change::{Change, Diff, Secrecy};

/// One JSON object a line: first `{"run": ...}`, then for each change `{"change": ...}` before it is made and
/// `{"done": N}`, `{"failed": N}` or, where nobody saw the end, `{"uncertain": N}` after. The file is readable by its
/// owner only.
pub struct Journal {
    directory: PathBuf,
    playbooks: Vec<String>,
    /// Nothing before the first change of a run that may make none.
    writer: Mutex<Option<Writer>>,
}

struct Writer {
    file: File,
    count: u64,
}

impl Journal {
    /// Starts a journal in `directory`, which is made if it is not there.
    pub fn start(directory: &Path, playbooks: &[String]) -> std::io::Result<Journal> {
        let journal = Journal::when_needed(directory, playbooks);
        journal.with(|_| Ok(()))?;
        Ok(journal)
    }

    /// Returns a journal that is started by the first change: a check makes none but those of tasks that ask for it
    /// with `check_mode: false`.
    pub fn when_needed(directory: &Path, playbooks: &[String]) -> Journal {
        Journal { directory: directory.into(), playbooks: playbooks.to_vec(), writer: Mutex::default() }
    }

    /// Notes a change that is about to be made; the number names it in what is noted after.
    pub fn about_to(&self, host: &str, task: &str, (change, asked): (&Change, Secrecy)) -> std::io::Result<u64> {
        let value = match change.secrecy(asked) {
            Secrecy::Open => serde_json::to_value(change).unwrap_or(Value::Null),
            // Hidden content is in no journal: such a change can be seen and not undone.
            Secrecy::Hidden => json!({ "hidden": lines(&change.diff(asked)) }),
        };
        self.with(|writer| {
            writer.count += 1;
            let number = writer.count;
            writer.write(&json!({ "number": number, "host": host, "task": task, "change": value }))?;
            Ok(number)
        })
    }

    pub fn done(&self, number: u64) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "done": number })))
    }

    pub fn failed(&self, number: u64, why: &str) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "failed": number, "why": why })))
    }

    /// Notes that it is unknown whether a change was applied, and as what the host was found later, if it was looked at.
    pub fn uncertain(&self, number: u64, why: &str, found: Option<&str>) -> std::io::Result<()> {
        self.with(|writer| writer.write(&json!({ "uncertain": number, "why": why, "found": found })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Writer) -> std::io::Result<T>) -> std::io::Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &mut *writer {
            Some(writer) => work(writer),
            none => work(none.insert(Writer::open(&self.directory, &self.playbooks)?)),
        }
    }
}

impl Writer {
    fn open(directory: &Path, playbooks: &[String]) -> std::io::Result<Writer> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let now = jiff::Zoned::now();
        let name = format!("{}-{}.jsonl", now.strftime("%Y%m%dT%H%M%S"), std::process::id());
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(directory.join(name))?;
        let mut writer = Writer { file, count: 0 };
        writer.write(&json!({
            "run": { "format": 1, "version": env!("CARGO_PKG_VERSION"), "started": now.timestamp().to_string(), "playbooks": playbooks }
        }))?;
        Ok(writer)
    }

    fn write(&mut self, value: &Value) -> std::io::Result<()> {
        self.file.write_all(format!("{value}\n").as_bytes())?;
        self.file.sync_data()
    }
}

fn lines(diff: &Diff) -> Vec<String> {
    diff.lines.iter().map(|line| line.text()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Content, Node, Owner, Permissions};

    #[test]
    fn hidden_content_is_not_in_the_journal_and_open_content_can_be_restored() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::start(directory.path(), &["a.yml".into()]).unwrap();
        let root = Owner { id: 0, name: "root".into() };
        let permissions = Permissions { mode: 0o600, owner: root.clone(), group: root };
        let content = |text: &str| Content::here(text.as_bytes());
        let before = Node::File { content: content("geheim1"), permissions: permissions.clone(), modified: None };
        let after = Node::File { content: content("geheim2"), permissions, modified: None };
        let change = Change::path("/x", before, after).unwrap();
        journal.about_to("h", "t", (&change, Secrecy::Hidden)).unwrap();
        let path = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let hidden = std::fs::read_to_string(&path).unwrap();
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode("geheim1");
        assert!(!hidden.contains("geheim") && !hidden.contains(&encoded), "{hidden}");
        journal.about_to("h", "t", (&change, Secrecy::Open)).unwrap();
        let open = std::fs::read_to_string(&path).unwrap();
        let last: Value = serde_json::from_str(open.lines().last().unwrap()).unwrap();
        let restored: Change = serde_json::from_value(last["change"].clone()).unwrap();
        assert_eq!(restored, change);
    }
}
