//! The file of the window: read and written by one run at a time, and never half-written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Window;
use crate::error::Diagnostic;

/// The version of the file's format.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    #[serde(flatten)]
    window: Window,
}

/// A window's file that no other run may change meanwhile.
pub struct Store {
    path: PathBuf,
    /// Its lock (`flock.2`) goes with the process.
    _lock: File,
}

impl Store {
    /// Reads a window without keeping others from it; a file that is not there is a window without domains.
    pub fn read(path: &Path) -> Result<Window, Diagnostic> {
        let wrong = |why: String| Diagnostic::new(format!("the window `{}` {why}", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Window::default()),
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        let format =
            serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|value| value.get("format")?.as_u64());
        if format.is_some_and(|format| format > u64::from(FORMAT)) {
            return Err(wrong("was written by a newer Cutover".into()));
        }
        let written: Written = serde_json::from_str(&text).map_err(|error| {
            wrong(format!("is damaged: {error}"))
                .hint("without it every domain is `planned`; stages that were run change nothing again")
        })?;
        Ok(written.window)
    }

    /// Takes the window for a run, or says who has it.
    pub fn open(path: &Path) -> Result<(Store, Window), Diagnostic> {
        let wrong = |error: std::io::Error| {
            Diagnostic::new(format!("the window `{}` cannot be written: {error}", path.display()))
        };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(beside(path, "lock"))
            .map_err(wrong)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let error =
                Diagnostic::new(format!("another run has the window `{}`: {}", path.display(), holder.trim_end()));
            return Err(error.hint("it does what is due; nothing was begun here"));
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(wrong)?;
        let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
        writeln!(lock, "process {} since {since}", std::process::id()).map_err(wrong)?;
        Ok((Store { path: path.into(), _lock: lock }, Store::read(path)?))
    }

    /// Writes the window: wholly, or not at all.
    pub fn save(&self, window: &Window) -> Result<(), Diagnostic> {
        self.write(window).map_err(|error| {
            Diagnostic::new(format!("the window `{}` cannot be written: {error}", self.path.display()))
        })
    }

    fn write(&self, window: &Window) -> std::io::Result<()> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        let written = Written { format: FORMAT, window: window.clone() };
        serde_json::to_writer_pretty(&mut file, &written)?;
        writeln!(file)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(directory)?.sync_all()
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::{Pair, State};
    use super::*;

    #[test]
    fn a_window_is_read_back_and_has_one_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/window.json");
        let (store, mut window) = Store::open(&path).unwrap();
        window.take_in(&Pair { old: "old".into(), new: "new".into() }, &["a.example".into()], 7).unwrap();
        window.domains[0].reach(State::Prepared, 9);
        store.save(&window).unwrap();
        assert_eq!(Store::read(&path).unwrap(), window);
        let refused = Store::open(&path).err().unwrap().to_string();
        assert!(refused.contains(&format!("process {} since", std::process::id())), "{refused}");
        drop(store);
        assert_eq!(Store::open(&path).unwrap().1, window);
    }

    #[test]
    fn a_damaged_or_newer_window_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("window.json");
        for (text, why) in
            [("{\"format\": 1, \"dom", "is damaged"), ("{\"format\": 2}", "newer Cutover"), ("", "is damaged")]
        {
            std::fs::write(&path, text).unwrap();
            let error = Store::read(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
