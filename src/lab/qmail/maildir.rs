//! Deliveries to a Maildir (`maildir.5`), and the quota that deliverquota keeps in its `maildirsize`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Delivers a message: written and synced in `tmp`, linked into `new`, unlinked from `tmp`. Returns its name.
///
/// `host` is the name of this host. The name is `TIME.MmicrosPpidVdeviceIinode.HOST,S=SIZE`.
pub fn deliver(maildir: &Path, message: &[u8], host: &str) -> io::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros, pid) = (now.as_secs(), now.subsec_micros(), std::process::id());
    let temp = loop {
        let temp = maildir.join(format!("tmp/{seconds}.M{micros}P{pid}Q{}.{host}", COUNT.fetch_add(1, Relaxed)));
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp) {
            Ok(file) => break Temp { path: temp, file },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
    };
    (&temp.file).write_all(message)?;
    temp.file.sync_all()?;
    let about = temp.file.metadata()?;
    let (device, inode) = (about.dev(), about.ino());
    let name = format!("{seconds}.M{micros}P{pid}V{device}I{inode}.{host},S={}", message.len());
    fs::hard_link(&temp.path, maildir.join("new").join(&name))?;
    Ok(name)
}

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A file of `tmp`, which is unlinked when this is dropped.
struct Temp {
    path: std::path::PathBuf,
    file: fs::File,
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Says whether a message of so many bytes is within the quota that `maildirsize` has: `BYTESS,COUNTC` in its first line,
/// `bytes count` in each other; 0 is no limit.
pub fn is_within_quota(maildirsize: &str, size: u64) -> bool {
    let mut lines = maildirsize.lines();
    let limit = |unit: char| {
        let mut parts = maildirsize.lines().next().unwrap_or("").split(',');
        parts.find_map(|part| part.trim().strip_suffix(unit)?.parse::<i64>().ok()).unwrap_or(0)
    };
    lines.next();
    let used = lines.filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<i64>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    let (bytes, count) = used.fold((size as i64, 1), |sum, line| (sum.0 + line.0, sum.1 + line.1));
    let fits = |used: i64, limit: i64| limit == 0 || used <= limit;
    fits(bytes, limit('S')) && fits(count, limit('C'))
}

/// Adds a delivered message to `maildirsize`, if there is one.
pub fn count(maildir: &Path, size: u64) -> io::Result<()> {
    match fs::OpenOptions::new().append(true).open(maildir.join("maildirsize")) {
        Ok(mut file) => file.write_all(format!("{size} 1\n").as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_one_file_in_new_whose_name_tells_its_size() {
        let directory = tempfile::tempdir().unwrap();
        ["tmp", "new", "cur"].iter().for_each(|part| fs::create_dir(directory.path().join(part)).unwrap());
        let names: Vec<String> =
            (0..50).map(|_| deliver(directory.path(), b"Subject: x\n\n", "h.example").unwrap()).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), 50);
        assert_eq!(fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
        let path = directory.path().join("new").join(&names[0]);
        let about = fs::metadata(&path).unwrap();
        let place = format!("V{}I{}.h.example,S=12", about.dev(), about.ino());
        assert!(names[0].ends_with(&place) && about.mode() & 0o7777 == 0o600, "{}", names[0]);
        assert_eq!(fs::read(path).unwrap(), b"Subject: x\n\n");
    }

    #[test]
    fn a_quota_counts_bytes_and_messages() {
        let rows = [
            ("1000S,3C\n400 1\n", 600, true),
            ("1000S,3C\n400 1\n", 601, false),
            ("0S,3C\n400 2\n-100 -1\n", 9_000_000, true),
            ("1000S,3C\n   10 3\n", 1, false),
            ("", 5, true),
        ];
        for (text, size, expected) in rows {
            assert_eq!(is_within_quota(text, size), expected, "{text:?} {size}");
        }
    }
}
