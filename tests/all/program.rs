//! The built program, run in a directory of its own with nothing of this user's around it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A playbook that says as whom it runs on each host.
pub const WHO: &str = "- hosts: all
  gather_facts: no
  tasks:
    - command: id -un
      register: who
      changed_when: false
    - debug: {msg: \"{{ inventory_hostname }} is {{ who.stdout }}\"}
";

/// A directory with playbooks and inventories, and the program to run in it.
pub struct Program {
    directory: tempfile::TempDir,
    /// Where its hosts keep their locks: all tests' hosts are one machine.
    locks: tempfile::TempDir,
}

/// What a finished program printed.
pub struct Printed {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn new() -> Program {
        Program::below(&std::env::temp_dir())
    }

    /// The same in a directory below `base`.
    pub fn below(base: &Path) -> Program {
        let [directory, locks] = [(); 2].map(|()| tempfile::tempdir_in(base).unwrap());
        // As `/tmp` is.
        std::fs::set_permissions(locks.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        Program { directory, locks }
    }

    /// The locks that its hosts have at the moment.
    pub fn locks(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.locks.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Where they are.
    pub fn locks_directory(&self) -> &Path {
        self.locks.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, its directories too.
    pub fn file(&self, name: &str, text: &str) -> &Program {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Writes a script of a shell that can be run; `DIR` in it is the test's directory.
    pub fn script(&self, name: &str, text: &str) -> &Program {
        let text = text.replace("DIR", self.path("").display().to_string().trim_end_matches('/'));
        self.file(name, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `cutover` with words split at spaces.
    pub fn run(&self, words: &str) -> Printed {
        self.run_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    pub fn run_words(&self, words: &[&str]) -> Printed {
        let output = self.command().args(words).output().unwrap();
        self.printed(output)
    }

    /// What a program that was run by hand printed.
    pub fn printed(&self, output: Output) -> Printed {
        Printed::from(output, self.directory.path())
    }

    /// The program with a clean environment: no inventory, no agent, a home and a state directory of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cutover"));
        command.current_dir(self.directory.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.directory.path());
        command
            .env("CUTOVER_STATE_DIR", self.path("state"))
            .env("CUTOVER_LOCK_DIR", self.locks.path())
            .env("LC_ALL", "C.UTF-8");
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs a script in namespaces of its own, which `flags` of unshare name; `$1` is `cutover`. Returns what it prints.
    pub fn in_namespaces(&self, flags: &str, script: &str) -> String {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-euc", script, "sh", env!("CARGO_BIN_EXE_cutover")]);
        command.current_dir(self.path("")).env("CUTOVER_STATE_DIR", self.path("state"));
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "this test needs root and unshare: {text}");
        text
    }
}

/// Checks, runs, sees that both showed the same and that a second run has nothing to do; returns what the run printed. `play`
/// is given flags.
pub fn done(play: impl Fn(&str) -> Printed) -> Printed {
    let check = play("--check --diff").expect(0);
    let run = play("--diff").expect(0);
    assert_eq!(check.diffs(), run.diffs());
    let again = play("").expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
    run
}

impl Printed {
    /// Takes the output over with the test's own directory written as `DIR`.
    pub fn from(output: Output, directory: &Path) -> Printed {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&directory.display().to_string(), "DIR");
        Printed { status: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The lines of diffs alone: what would change, or what was changed.
    pub fn diffs(&self) -> String {
        let verdicts = [
            "ok: [",
            "changed: [",
            "changing: [",
            "would change: [",
            "skipping: [",
            "fatal: [",
            "FAILED - RETRYING: [",
            "PLAY",
            "TASK",
            "RUNNING",
            "unknown: [",
            "[WARNING]: ",
            // What a task says is nothing that it does.
            "    \"msg\": ",
        ];
        let told = |line: &str| line == "}" || verdicts.iter().any(|verdict| line.starts_with(verdict));
        let lines = self.stdout.lines().filter(|line| !told(line));
        lines.filter(|line| !line.contains(" : ok=")).map(|line| format!("{line}\n")).collect()
    }

    pub fn expect(self, status: i32) -> Printed {
        assert_eq!(self.status, status, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}
