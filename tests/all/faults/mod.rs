//! What networks and people do to a run: cuts, silence, floods and Ctrl-C.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Printed, Program};
use crate::sshd::{Sshd, wait_for};

mod change;
mod cut;
mod flood;
mod locks;
mod look;
mod part;
mod silence;
mod told;

use cut::Cut;

/// A host behind a network that can fail, the program that knows it, and a directory of the host.
struct Site {
    sshd: Sshd,
    network: Cut,
    program: Program,
}

impl Site {
    /// The inventory `hosts` has the one server under these names.
    fn new(names: &[&str]) -> Site {
        let sshd = Sshd::start("");
        let network = Cut::to(sshd.port);
        let program = Program::new();
        let key = sshd.host_key("ed25519");
        let known: String = [network.port, sshd.port].map(|port| format!("[127.0.0.1]:{port} {key}")).concat();
        let login = sshd.target().keys.remove(0);
        let variables = format!(
            "ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}",
            network.port,
            login.display()
        );
        let hosts: String = names.iter().map(|name| format!("{name} {variables}\n")).collect();
        program.file(".ssh/known_hosts", &known).file("hosts", &hosts);
        std::fs::create_dir(program.path("host")).expect("a directory");
        Site { sshd, network, program }
    }

    /// A path in the host's directory.
    fn on_host(&self, name: &str) -> PathBuf {
        self.program.path("host").join(name)
    }

    /// Writes a playbook for all hosts, with `HOST` for the host's directory.
    fn playbook(&self, tasks: &str) -> &Site {
        let tasks = tasks.replace("HOST", &self.program.path("host").display().to_string());
        self.program.file("site.yml", &format!("- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}"));
        self
    }

    fn run(&self) -> Printed {
        self.program.run("play -i hosts site.yml")
    }

    fn start(&self) -> Running {
        let mut command = self.program.command();
        command.args(["play", "-i", "hosts", "site.yml"]);
        Running::of(command)
    }

    /// Waits until nothing of a run is on the host any more, neither a process of a session nor a temp file.
    fn nothing_is_left(&self) {
        assert!(wait_for(|| self.sshd.sessions().is_empty()), "sessions go on: {:?}", self.sshd.sessions());
        assert!(wait_for(|| self.temp_files().is_empty()), "left: {:?}", self.temp_files());
        assert!(wait_for(|| self.program.locks().is_empty()), "left: {:?}", self.program.locks());
    }

    fn temp_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.program.path("host")).expect("a directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".cutover.")).collect()
    }

    /// The entries of the run's journal, one a line.
    fn journal(&self) -> String {
        let entries = std::fs::read_dir(self.program.path("state/runs")).expect("a journal").flatten();
        entries.map(|entry| std::fs::read_to_string(entry.path()).expect("text")).collect()
    }
}

/// A run under way; killed when dropped.
struct Running {
    child: Child,
    /// What it has printed so far.
    stdout: Arc<Mutex<String>>,
}

impl Running {
    fn of(mut command: std::process::Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let stdout = Arc::<Mutex<String>>::default();
        let (sink, mut pipe) = (stdout.clone(), child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                sink.lock().expect("a lock").push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        Running { child, stdout }
    }

    fn printed(&self) -> String {
        self.stdout.lock().expect("a lock").clone()
    }

    /// Waits until it has printed a text.
    fn until(&self, text: &str) {
        assert!(wait_for(|| self.printed().contains(text)), "no {text:?} in {}", self.printed());
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("a process");
    }

    /// Waits for its end, without asserting how long that takes.
    fn end(mut self) -> Printed {
        let status = self.child.wait().expect("a child").code().unwrap_or(-1);
        let mut stderr = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let mut before = None;
        // The reader is a little later than the end.
        while before.as_ref() != Some(&self.printed()) {
            before = Some(self.printed());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Printed { status, stdout: self.printed(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a file that a host's program writes, and returns its words.
fn words(path: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    assert!(wait_for(|| read().split_whitespace().count() >= count), "{} has {:?}", path.display(), read());
    read().split_whitespace().map(String::from).collect()
}

/// Says whether a process runs; a zombie has ended.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn has(printed: &Printed, text: &str) {
    assert!(printed.stdout.contains(text), "no {text:?} in\n{}\n{}", printed.stdout, printed.stderr);
}
