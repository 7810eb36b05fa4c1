//! What lets an account of this machine become another: rules of sudo and doas, and other builds of `su`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cutover::secret::Secret;
use cutover::transport::Become;
use tempfile::TempDir;

use crate::sshd::{Account, run};

/// How to become a user, with the method's own program and flags.
pub fn becoming(method: &str, user: &str, password: Option<&Secret>) -> Become {
    Become {
        method: method.into(),
        user: user.into(),
        password: password.cloned(),
        flags: None,
        exe: None,
        prompts: Vec::new(),
    }
}

/// Rules of sudo for one account; removed when dropped.
pub struct Sudoers(PathBuf);

impl Sudoers {
    /// Lets the account become anybody. `tag` is `NOPASSWD:` or nothing, `defaults` are settings for the account alone.
    pub fn grant(account: &Account, tag: &str, defaults: &str) -> Sudoers {
        let name = &account.name;
        let path = Path::new("/etc/sudoers.d").join(name);
        let defaults = if defaults.is_empty() { String::new() } else { format!("Defaults:{name} {defaults}\n") };
        // A rule of its own must never be read half-written: sudo reads the whole directory for everybody.
        let new = Path::new("/etc/sudoers.d").join(format!("{name}.new"));
        std::fs::write(&new, format!("{defaults}{name} ALL=(ALL) {tag} ALL\n"))
            .expect("rules; these tests run as root");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o440)).expect("a mode");
        run(Command::new("visudo").args(["-c", "-q", "-f"]).arg(&new));
        std::fs::rename(&new, &path).expect("rules");
        Sudoers(path)
    }
}

impl Drop for Sudoers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The rules of doas, which has one file for all; the one that was there comes back when dropped.
pub struct Doas {
    before: Option<Vec<u8>>,
    _alone: MutexGuard<'static, ()>,
}

const DOAS: &str = "/etc/doas.conf";

impl Doas {
    pub fn rules(text: &str) -> Doas {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let doas = Doas { before: std::fs::read(DOAS).ok(), _alone: alone };
        std::fs::write(DOAS, format!("{text}\n")).expect("rules; these tests run as root");
        std::fs::set_permissions(DOAS, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        run(Command::new("doas").args(["-C", DOAS]));
        doas
    }
}

impl Drop for Doas {
    fn drop(&mut self) {
        let _ = match &self.before {
            Some(before) => std::fs::write(DOAS, before),
            None => std::fs::remove_file(DOAS),
        };
    }
}

/// A program in a directory that everybody may read.
pub struct Tool {
    pub path: PathBuf,
    _directory: TempDir,
}

impl Tool {
    fn new(name: &str) -> Tool {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        Tool { path: directory.path().join(name), _directory: directory }
    }

    pub fn script(name: &str, text: &str) -> Tool {
        let tool = Tool::new(name);
        std::fs::write(&tool.path, format!("#!/bin/sh\n{text}\n")).expect("a file");
        std::fs::set_permissions(&tool.path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        tool
    }

    /// The `su` of this machine behind the check that the one of shadow begins with (Debian until 9).
    pub fn su_on_a_terminal() -> Tool {
        Tool::script("su", "test -t 0 || { echo 'su: must be run from a terminal' >&2; exit 1; }\nexec /bin/su \"$@\"")
    }

    /// The `su` of busybox, which must own its file.
    pub fn busybox_su() -> Tool {
        let tool = Tool::new("su");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        std::fs::copy(busybox.expect("busybox; `bash tests/run` installs it"), &tool.path).expect("a copy");
        std::fs::set_permissions(&tool.path, std::fs::Permissions::from_mode(0o4755)).expect("a mode");
        tool
    }

    pub fn exe(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }
}
