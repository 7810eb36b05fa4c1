//! A daemon of a lab host, such as its stand-in for qmail-send: it ends with the lab.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// A running daemon, ended when dropped.
pub struct Daemon {
    _child: Child,
}

impl Daemon {
    /// Starts `program` in a process group of its own, so that Ctrl-C in the terminal reaches only Cutover.
    pub fn start(program: &Path) -> io::Result<Daemon> {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Daemon { _child: command.process_group(0).kill_on_drop(true).spawn()? })
    }
}
