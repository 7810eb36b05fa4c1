//! Hosts that are started anew by a task: a real OpenSSH server loses its sessions and comes back by another boot.

use crate::program::Program;
use crate::sshd::{Sshd, make_key, wait_for};

const TASKS: &str = "
- hosts: new
  gather_facts: false
  tasks:
    - reboot:
        boot_time_command: cat DIR/boot
        reboot_command: echo starting anew >>DIR/asked; STATUS
        test_command: test -e DIR/well
        reboot_timeout: SECONDS
      register: back
    - copy: {content: \"{{ back.rebooted }}\\n\", dest: DIR/made}
";

struct Fixture {
    sshd: Sshd,
    program: Program,
}

impl Fixture {
    fn new(status: &str, seconds: u32) -> Fixture {
        let (sshd, program) = (Sshd::start(""), Program::new());
        let key = program.path("key");
        make_key("ed25519", &key);
        sshd.authorize(&key);
        program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519")).file("boot", "first\n");
        let line = format!(
            "new ansible_host=127.0.0.1 ansible_port={} ansible_ssh_private_key_file={}\n",
            sshd.port,
            key.display()
        );
        let tasks = TASKS.replace("STATUS", status).replace("SECONDS", &seconds.to_string());
        let tasks = tasks.replace("DIR", program.path("").display().to_string().trim_end_matches('/'));
        program.file("hosts", &line).file("play.yml", &tasks);
        Fixture { sshd, program }
    }

    fn is_there(&self, name: &str) -> bool {
        self.program.path(name).exists()
    }
}

#[test]
fn a_host_that_is_started_anew_is_awaited_until_another_boot_is_well() {
    let fixture = Fixture::new("true", 60);
    let check = fixture.program.run("play -i hosts play.yml --check --diff").expect(0);
    assert!(check.stdout.contains("+run: echo starting anew"), "{}", check.stdout);
    assert!(!fixture.is_there("asked"));
    let mut run = fixture.program.command();
    let mut run = run.args(["play", "-i", "hosts", "play.yml"]).spawn().unwrap();
    assert!(wait_for(|| fixture.is_there("asked")));
    // It goes, and is back, but not by another boot; then it is, and is not well.
    fixture.sshd.kill_sessions();
    assert!(wait_for(|| !fixture.sshd.sessions().is_empty()));
    fixture.program.file("boot", "second\n");
    fixture.sshd.kill_sessions();
    assert!(wait_for(|| !fixture.sshd.sessions().is_empty()));
    assert!(run.try_wait().unwrap().is_none() && !fixture.is_there("made"));
    fixture.program.file("well", "");
    assert!(run.wait().unwrap().success());
    assert_eq!(fixture.program.read("made"), "True");
    assert_eq!(fixture.program.read("asked"), "starting anew\n", "it was started anew more than once");
}

#[test]
fn one_that_does_not_come_back_or_does_not_go_fails() {
    let late = Fixture::new("true", 1);
    let said = late.program.run("play -i hosts play.yml").expect(2);
    assert!(said.stdout.contains("Timed out waiting for last boot time check (timeout=1)"), "{}", said.stdout);
    let refused = Fixture::new("echo not allowed >&2; exit 1", 60);
    let said = refused.program.run("play -i hosts play.yml").expect(2);
    assert!(said.stdout.contains("Reboot command failed. Error was: ', not allowed'"), "{}", said.stdout);
    assert!(!refused.is_there("made"));
}

#[test]
fn the_controller_itself_is_not_started_anew() {
    let program = Program::new();
    program
        .file("hosts", "new ansible_connection=local\n")
        .file("play.yml", "- hosts: new\n  gather_facts: false\n  tasks: [reboot: {reboot_command: touch asked}]\n");
    let said = program.run("play -i hosts play.yml").expect(2);
    assert!(said.stdout.contains("would reboot the control node"), "{}", said.stdout);
    assert!(!program.path("asked").exists());
}
