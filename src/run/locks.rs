//! Which run changes a host: one at a time from this controller; another is told whose turn it is.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::lock;

/// Locks by inventory name, held from a run's first change on a host to its end, however it ends (`flock.2`).
///
/// A change is compared with its `before` and then made; of two runs at once, both could find it as it was.
pub struct Locks {
    directory: PathBuf,
    held: Mutex<HashMap<String, File>>,
}

impl Locks {
    /// Keeps the lock files in `directory`, which is made when the first is needed.
    pub fn new(directory: PathBuf) -> Locks {
        Locks { directory, held: Mutex::default() }
    }

    /// Takes the host's lock, or says who has it.
    pub fn hold(&self, host: &str) -> Result<(), String> {
        let mut held = lock(&self.held);
        if held.contains_key(host) {
            return Ok(());
        }
        let path = self.directory.join(format!("{}.lock", host.replace(['/', '\0'], "_")));
        let unusable = |error: std::io::Error| format!("the lock `{}` cannot be used: {error}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(unusable)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unusable)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(unusable)?;
            return Err(format!(
                "another run is changing `{host}` ({})\nhint: wait for its end, and run this again",
                holder.trim_end()
            ));
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(unusable)?;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        writeln!(file, "process {}, since {now}", std::process::id()).map_err(unusable)?;
        held.insert(host.to_string(), file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_has_the_host_until_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (Locks::new(directory.path().into()), Locks::new(directory.path().into()));
        first.hold("old").unwrap();
        first.hold("old").unwrap();
        second.hold("new").unwrap();
        let refused = second.hold("old").unwrap_err();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        second.hold("old").unwrap();
    }
}
