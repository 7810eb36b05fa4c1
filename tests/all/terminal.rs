//! What is asked for on a terminal: passphrases of keys, once a run, and never where there is none.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use crate::program::Program;
use crate::sshd::{Sshd, make_key, run, wait_for};

const PLAY: &str = "- hosts: all\n  gather_facts: no\n  tasks:\n    - command: id -un\n      changed_when: false\n";
const PASSPHRASE: &str = "open sesame";

/// Two names of a server, and an encrypted key that it knows, in a directory for the program.
fn prepared(sshd: &Sshd) -> Program {
    let program = Program::new();
    let key = program.path("key");
    make_key("ed25519", &key);
    sshd.authorize(&key);
    run(Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", PASSPHRASE, "-f"]).arg(&key));
    let host = |name: &str| {
        format!(
            "{name} ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}\n",
            sshd.port,
            key.display()
        )
    };
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519")).file("play.yml", PLAY);
    program.file("hosts", &(host("one") + &host("two")));
    program
}

/// The program on a terminal of its own, and what has been printed there.
struct OnTerminal {
    child: Child,
    printed: std::sync::Arc<std::sync::Mutex<String>>,
}

impl OnTerminal {
    fn start(program: &Program, words: &str) -> OnTerminal {
        let line = format!("{} {words}", env!("CARGO_BIN_EXE_cutover"));
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(program.path(""));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", program.path(""));
        command.env("CUTOVER_STATE_DIR", program.path("state")).env("SHELL", "/bin/sh");
        command.env("CUTOVER_LOCK_DIR", program.locks_directory());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("script; it is in the package bsdutils");
        let printed = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (mut stdout, copy) = (child.stdout.take().unwrap(), printed.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                copy.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        OnTerminal { child, printed }
    }

    fn sees(&self, text: &str) {
        assert!(wait_for(|| self.text().contains(text)), "no {text:?} in {}", self.text());
    }

    fn types(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    fn end(&mut self) -> i32 {
        assert!(wait_for(|| self.child.try_wait().unwrap().is_some()), "it does not end: {}", self.text());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_passphrase_is_asked_for_once_and_not_shown() {
    let sshd = Sshd::start("");
    let program = prepared(&sshd);
    let mut terminal = OnTerminal::start(&program, "play -i hosts play.yml");
    terminal.sees("Enter passphrase for key");
    terminal.types("something else\n");
    terminal.sees("Wrong. Enter passphrase for key");
    terminal.types(&format!("{PASSPHRASE}\n"));
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    let text = terminal.text();
    assert!(text.contains("ok: [one]") && text.contains("ok: [two]"), "{text}");
    assert_eq!(text.matches("Enter passphrase for key").count(), 2, "{text}");
    assert!(!text.contains(PASSPHRASE) && !text.contains("something else"), "{text}");
}

#[test]
fn a_plan_is_signed_with_a_key_whose_passphrase_is_asked_for() {
    let sshd = Sshd::start("");
    let program = prepared(&sshd);
    program.file("none.yml", "- hosts: localhost\n  gather_facts: no\n  tasks: []\n");
    program.run("plan none.yml -o my.plan").expect(0);
    let mut terminal = OnTerminal::start(&program, "sign my.plan --key key");
    terminal.sees("Enter passphrase for key");
    terminal.types(&format!("{PASSPHRASE}\n"));
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    assert!(program.read("my.plan.sig").starts_with("-----BEGIN SSH SIGNATURE-----\n"));
}

#[test]
fn a_question_can_be_interrupted() {
    let sshd = Sshd::start("");
    let program = prepared(&sshd);
    let mut terminal = OnTerminal::start(&program, "play -i hosts play.yml");
    terminal.sees("Enter passphrase for key");
    terminal.types("\u{3}");
    assert_eq!(terminal.end(), 130, "{}", terminal.text());
}

#[test]
fn without_a_terminal_nobody_is_asked_and_the_way_out_is_named() {
    let sshd = Sshd::start("");
    let program = prepared(&sshd);
    let mut command = Command::new("setsid");
    let inner = program.command();
    command.arg("--wait").arg(inner.get_program()).args(["play", "-i", "hosts", "play.yml"]);
    command.env_clear().current_dir(program.path("")).stdin(Stdio::null());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let printed = program.printed(command.output().unwrap()).expect(4);
    assert!(
        printed.stdout.contains("encrypted, and there is no terminal to ask for its passphrase"),
        "{}",
        printed.stdout
    );
    assert!(printed.stdout.contains("`ssh-add DIR/key` hands it to an agent"), "{}", printed.stdout);
}

#[test]
fn the_questions_of_a_play_are_asked_and_what_is_private_is_not_shown() {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n").file(
        "play.yml",
        "- hosts: a
  gather_facts: no
  vars: {greeting: Who}
  vars_prompt:
    - {name: who, prompt: '{{ greeting }}', private: no, default: ann}
    - {name: pin, prompt: Pin, confirm: yes}
    - {name: hash, prompt: Password, encrypt: sha512_crypt, salt: saltsalt}
    - {name: given, prompt: Given}
  tasks:
    - copy: {content: \"{{ who }} {{ pin }} {{ hash }} {{ given }}\", dest: '{{ playbook_dir }}/made', mode: '0600'}
      diff: no
",
    );
    let mut terminal = OnTerminal::start(&program, "play -i hosts play.yml -e given=before");
    terminal.sees("Who [ann]: ");
    terminal.types("\n");
    terminal.sees("Pin: ");
    terminal.types("4711\n");
    terminal.sees("confirm Pin: ");
    terminal.types("4712\n");
    terminal.sees("DO NOT MATCH");
    terminal.types("4711\n");
    assert!(wait_for(|| terminal.text().matches("confirm Pin: ").count() == 2), "{}", terminal.text());
    terminal.types("4711\n");
    terminal.sees("Password: ");
    terminal.types("geheim\n");
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    let text = terminal.text();
    assert!(!text.contains("4711") && !text.contains("geheim") && !text.contains("Given"), "{text}");
    let salt = "rounds=656000$saltsalt";
    let hash = run(Command::new("openssl").args(["passwd", "-6", "-salt", salt, "geheim"])).stdout;
    let hash = String::from_utf8(hash).unwrap();
    assert_eq!(program.read("made"), format!("ann 4711 {} before", hash.trim()));
}
