//! A daemon of a lab host, such as its qmail-send: it ends with the lab.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running daemon, ended when dropped.
pub struct Daemon {
    _child: Child,
}

impl Daemon {
    /// Starts `program` and waits for the line in which it says that it is ready; what it complains about goes to `log`.
    ///
    /// It has a process group of its own, so that Ctrl-C in the terminal reaches only Cutover.
    pub async fn start(program: &Path, words: &[&str], log: &Path) -> io::Result<(Daemon, String)> {
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let reading = async { BufReader::new(stdout).read_line(&mut line).await };
            tokio::time::timeout(Duration::from_secs(20), reading).await??;
        }
        match line.is_empty() {
            true => Err(io::Error::other(format!("`{}` did not start", program.display()))),
            false => Ok((Daemon { _child: child }, line.trim_end().to_string())),
        }
    }
}
