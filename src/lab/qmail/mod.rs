//! A small stand-in for qmail 1.03, driven by the same control files; docs/lab.md says what it does and what it does not.
//!
//! Every path is below one directory, `/var/qmail` or a lab host's. What is not qmail's lies in its `active`: process
//! ids, logs, `network`, and `closed`, the domains whose POP3 logins are refused. Deciding is in pure functions, whose
//! tests are the tables of what qmail does.

use std::io;
use std::path::{Path, PathBuf};

use crate::modules::mail::qmail::{Tables, decode, entry, first_line};

mod bounce;
pub mod cdb;
mod dot_qmail;
pub mod inject;
pub mod listen;
pub mod local;
mod maildir;
mod message;
pub mod network;
pub mod password;
pub mod pop3d;
pub mod queue;
pub mod remote;
pub mod send;
pub mod smtpd;
pub mod users;

/// The programs, by the names under which the binary is linked into `bin`.
pub const PROGRAMS: &[&str] = &[
    "qmail-inject",
    "qmail-newmrh",
    "qmail-newu",
    "qmail-pop3d",
    "qmail-qread",
    "qmail-qstat",
    "qmail-queue",
    "qmail-send",
    "qmail-smtpd",
];

/// What came of one delivery, with the text for the log and the bounce.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    Success(String),
    Deferral(String),
    Failure(String),
}

/// An installation: `/var/qmail`.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    pub fn new(directory: impl Into<PathBuf>) -> Home {
        Home(directory.into())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns a control file's text, each byte one character; nothing if there is no such file.
    pub fn control(&self, name: &str) -> io::Result<Option<String>> {
        match std::fs::read(self.path("control").join(name)) {
            Ok(bytes) => Ok(Some(decode(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the entries of a list file (`control_readfile`); none if there is no such file.
    pub fn list(&self, name: &str) -> io::Result<Vec<String>> {
        let text = self.control(name)?.unwrap_or_default();
        Ok(text.split('\n').filter_map(entry).map(str::to_string).collect())
    }

    /// Returns a file of one value (`control_readline`); `me` if there is no such file, nothing if there is neither.
    pub fn line(&self, name: &str) -> io::Result<String> {
        let text = match self.control(name)? {
            Some(text) => text,
            None => self.control("me")?.unwrap_or_default(),
        };
        Ok(first_line(&text).to_string())
    }

    /// Returns a file of one number (`control_readint`).
    pub fn number(&self, name: &str, default: u64) -> io::Result<u64> {
        let text = self.control(name)?.unwrap_or_default();
        let line = first_line(&text);
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        Ok(line[..digits].parse().unwrap_or(default))
    }

    /// Returns the tables of qmail-send as the files say now.
    pub fn tables(&self) -> io::Result<Tables> {
        Ok(Tables {
            locals: self.control("locals")?,
            me: self.control("me")?.unwrap_or_default(),
            virtualdomains: self.control("virtualdomains")?.unwrap_or_default(),
        })
    }

    /// Links every program of [`PROGRAMS`] to `program`, and makes `users/cdb` and the queue.
    pub fn install(&self, program: &Path) -> io::Result<()> {
        std::fs::create_dir_all(self.path("bin"))?;
        for name in PROGRAMS {
            let link = self.path("bin").join(name);
            match std::fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => std::os::unix::fs::symlink(program, link)?,
            }
        }
        queue::Queue::of(self).make()?;
        users::newu(self)
    }
}

/// Replaces a file by another beside it: whoever opens it sees the old or the new one whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = path.with_extension("tmp");
    durably(&temp, bytes)?;
    std::fs::rename(temp, path)
}

/// Writes a file and waits until the disk has it.
fn durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}

/// Runs what waits for disks where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::mail::qmail::{Fate, contains, value};

    /// A home with control files.
    pub fn home(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let home = Home::new(directory.path());
        (directory, home)
    }

    #[test]
    fn a_list_file_is_read_as_control_c_reads_it() {
        let rows: &[(&str, &str, bool)] = &[
            ("plain", "example.com\n", true),
            ("trailing blanks go", "example.com \t\n", true),
            ("no newline at the end", "a\nexample.com", true),
            ("keys compare in any case", "EXAMPLE.com\n", true),
            ("a leading space stays", " example.com\n", false),
            ("a carriage return stays", "example.com\r\n", false),
            ("a comment", "#example.com\n", false),
            ("an empty file", "", false),
        ];
        for (what, text, expected) in rows {
            let (_directory, home) = home(&[("control/rcpthosts", text)]);
            let text = home.control("rcpthosts").unwrap().unwrap();
            assert_eq!(contains(&text, "example.com"), *expected, "{what}");
        }
        assert_eq!(value("a:1\nstray\nA:2\n", "a"), Some("2"), "the last of a key wins");
    }

    #[test]
    fn a_file_of_one_value_is_its_first_line_and_me_where_it_is_absent() {
        let (_directory, home) =
            home(&[("control/me", "me.example \nnot.this\n"), ("control/concurrencyremote", "0\n")]);
        assert_eq!(home.line("helohost").unwrap(), "me.example");
        assert_eq!(home.number("concurrencyremote", 20).unwrap(), 0);
        assert_eq!(home.number("concurrencylocal", 10).unwrap(), 10);
    }

    #[test]
    fn an_absent_locals_makes_me_local_and_an_empty_one_makes_nothing_local() {
        let files = [("control/me", "me.example\n"), ("control/virtualdomains", "bob@a.example:b\n:all\n")];
        let (directory, home) = home(&files);
        assert_eq!(home.tables().unwrap().fate("x@me.example"), Fate::Local);
        std::fs::write(directory.path().join("control/locals"), "").unwrap();
        let all = Fate::Virtual { key: String::new(), prepend: "all".into() };
        assert_eq!(home.tables().unwrap().fate("x@me.example"), all);
    }
}
