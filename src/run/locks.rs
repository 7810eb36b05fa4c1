//! Which run changes a host: one at a time, by a lock on this controller and one on the host; another is told whose turn it is.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::transport::Lock;

use super::lock;

/// Locks from a run's first change on a host to its end, however it ends.
///
/// A change is compared with its `before` and then made; of two runs at once, both could find it as it was. The lock on the
/// host (`transport/posix/lock.sh`) stands between controllers; the one here, by inventory name (`flock.2`), also between
/// runs of which one has lost its connection.
pub struct Locks {
    directory: PathBuf,
    /// What there is to say of this run: which it is, whose, and since when.
    text: String,
    on_hosts: Arc<Lock>,
    pub rules: Rules,
    held: Mutex<HashMap<String, Held>>,
}

/// What to do where another run has a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// How long to wait for its end.
    pub wait: Duration,
    /// Whether its lock on the host is removed.
    pub steal: bool,
}

struct Held {
    path: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever has opened it meanwhile sees that it is gone, and makes a new one.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Locks {
    /// Keeps this controller's locks in `directory`, which is made when the first is needed, and those of hosts in the
    /// directory `there` where they have one. `text` says which run this is, and whose.
    pub fn new((directory, there): (PathBuf, &str), text: &str, rules: Rules) -> Locks {
        let since = jiff::Timestamp::now().strftime("since %Y-%m-%d %H:%M:%SZ");
        let text = format!("{text}, {since}");
        Locks { on_hosts: Arc::new(Lock::new(&text, there)), directory, text, rules, held: Mutex::default() }
    }

    /// What a host's shells take before they change it.
    pub fn on_hosts(&self) -> &Arc<Lock> {
        &self.on_hosts
    }

    /// Takes this controller's lock of a host, or says who has it.
    pub fn hold(&self, host: &str) -> Result<(), String> {
        let mut held = lock(&self.held);
        if held.contains_key(host) {
            return Ok(());
        }
        let path = self.directory.join(format!("{}.lock", host.replace(['/', '\0'], "_")));
        let unusable = |error: std::io::Error| format!("the lock `{}` cannot be used: {error}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(unusable)?;
        let mut file = loop {
            let mut file = open(&path).map_err(unusable)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(unusable)?;
                return Err(holder.trim_end().into());
            }
            if is_still_at(&file, &path) {
                break file;
            }
        };
        file.set_len(0).and_then(|()| file.rewind()).map_err(unusable)?;
        writeln!(file, "{}; its process here is {}", self.text, std::process::id()).map_err(unusable)?;
        held.insert(host.to_string(), Held { path, _file: file });
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Says whether a file that was opened by its name still has it: its last holder removes it.
fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(file), Ok(path)) => (file.dev(), file.ino()) == (path.dev(), path.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_has_the_host_until_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let locks = |text| Locks::new((directory.path().into(), ""), text, Rules::default());
        let (first, second) = (locks("run 1"), locks("run 2"));
        first.hold("old").unwrap();
        first.hold("old").unwrap();
        second.hold("new").unwrap();
        let refused = second.hold("old").unwrap_err();
        assert!(refused.starts_with("run 1, since ") && refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        second.hold("old").unwrap();
        drop(second);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
