//! An `/etc` of a test's own: real tools make accounts in it, and this machine's stay as they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cutover::transport::Transport;
use cutover::transport::local::Local;
use cutover::transport::posix::Posix;

use crate::archive::Archive;

/// What the tools for accounts write.
const FILES: [&str; 6] = ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"];

/// What other examples of modules write there.
const SYSTEM: [&str; 4] = ["hostname", "timezone", "localtime", "adjtime"];

/// A copy of `/etc`, which a program sees in its place.
pub struct Etc {
    path: PathBuf,
    archive: Option<Archive>,
    stand_ins: Option<PathBuf>,
}

impl Etc {
    /// Makes the copy as `etc` in `directory`.
    pub fn below(directory: &Path) -> Etc {
        let path = directory.join("etc");
        // Locks of other tests' `useradd` come and go: of them `cp` complains, and they are not needed.
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(&path).output().unwrap();
        assert!(FILES[..3].iter().all(|name| path.join(name).exists()), "{copied:?}");
        let kept = path.join("fresh");
        std::fs::create_dir(&kept).unwrap();
        copy_accounts(&path, &kept);
        Etc { path, archive: None, stand_ins: None }
    }

    /// Packages of the test's own are seen too.
    pub fn with(self, archive: Archive) -> Etc {
        Etc { archive: Some(archive), ..self }
    }

    /// The programs of a directory are seen in the place of this machine's with the same names.
    pub fn with_programs(self, directory: &Path) -> Etc {
        Etc { stand_ins: Some(directory.to_path_buf()), ..self }
    }

    pub fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// Takes back what was done to the accounts and with packages.
    pub fn forget(&self) {
        copy_accounts(&self.path.join("fresh"), &self.path);
        if let Some(archive) = &self.archive {
            archive.forget();
        }
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// The line of a name in a file of accounts.
    pub fn line(&self, file: &str, name: &str) -> Option<String> {
        let text = self.read(file);
        text.lines().find(|line| line.split(':').next() == Some(name)).map(str::to_string)
    }

    /// Runs a script of root's there.
    pub fn sh(&self, script: &str) {
        let output = self.command(&["/bin/sh", "-ec", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// A command of these words that sees the copy.
    pub fn command(&self, words: &[&str]) -> Command {
        let own = self.shell("\"$0\" \"$@\"");
        let mut command = Command::new(&own[0]);
        command.args(&own[1..]).args(words);
        command
    }

    /// The same program in the same directory and environment, seeing the copy.
    pub fn around(&self, program: &Command) -> Command {
        let mut command = self.command(&[program.get_program().to_str().unwrap()]);
        command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = program.get_current_dir() {
            command.current_dir(directory);
        }
        command.args(program.get_args()).stdin(std::process::Stdio::null());
        command
    }

    pub async fn machine(&self) -> Arc<dyn Transport> {
        let login = Local::with_shell(self.shell("/bin/sh -c \"$0\""));
        Arc::new(Posix::start(Arc::new(login), None).await.unwrap())
    }

    fn shell(&self, then: &str) -> Vec<String> {
        let more = self.archive.as_ref().map_or_else(String::new, Archive::mounts);
        let programs = self.stand_ins.as_ref().map_or_else(String::new, |directory| {
            format!(
                "for file in '{}'/*; do\n  real=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v \"${{file##*/}}\") || continue\n\
                 mount --bind \"$file\" \"$(readlink -f \"$real\")\"\ndone\n",
                directory.display()
            )
        });
        let script = format!("set -e\nmount --bind '{}' /etc\n{more}{programs}exec {then}", self.path.display());
        ["unshare", "--mount", "--uts", "--propagation", "private", "/bin/sh", "-c", &script].map(str::to_string).into()
    }
}

/// Says whether a path is what the tools leave behind beside the files that they change.
pub fn is_left(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == ".pwd.lock" || FILES.iter().any(|file| name.strip_suffix('-') == Some(file))
}

/// Gives `to` the files of accounts that `from` has, and what names the host and its time.
pub fn copy_accounts(from: &Path, to: &Path) {
    for name in SYSTEM {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).symlink_metadata().is_ok() {
            let copied = Command::new("cp").arg("-a").arg(from.join(name)).arg(to.join(name)).status().unwrap();
            assert!(copied.success(), "{name}");
        }
    }
    for name in FILES.iter().filter(|name| from.join(name).exists()) {
        let copied = Command::new("cp").arg("-p").arg(from.join(name)).arg(to.join(name)).status().unwrap();
        assert!(copied.success(), "{name}");
    }
}
