//! Playbooks over a real OpenSSH server, from the command line: who is let in, who tasks run as, and what is refused.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Printed, Program, WHO};
use crate::sshd::{Account, Sshd, make_key, run};

/// A directory for the program, whose `~/.ssh/known_hosts` knows the server.
fn knowing(sshd: &Sshd) -> Program {
    let program = Program::new();
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519")).file("who.yml", WHO);
    program
}

/// A line of an inventory, for a name of the server.
fn host(sshd: &Sshd, name: &str, variables: &str) -> String {
    format!("{name} ansible_host=127.0.0.1 ansible_port={} {variables}\n", sshd.port)
}

/// A key that the server knows.
fn key(sshd: &Sshd, program: &Program) -> String {
    let path = program.path("key");
    make_key("ed25519", &path);
    sshd.authorize(&path);
    path.display().to_string()
}

/// Runs the program with these lines on its standard input.
fn answering(program: &Program, lines: &str, words: &str) -> Printed {
    let mut command = program.command();
    command.args(words.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    program.printed(child.wait_with_output().unwrap())
}

/// Lets an account become anybody with `sudo`; `tag` is `NOPASSWD:` or nothing.
struct Sudoers(std::path::PathBuf);

impl Sudoers {
    fn grant(account: &Account, tag: &str) -> Sudoers {
        let path = Path::new("/etc/sudoers.d").join(&account.name);
        std::fs::write(&path, format!("{} ALL=(ALL) {tag} ALL\n", account.name)).unwrap();
        run(Command::new("chmod").arg("0440").arg(&path));
        Sudoers(path)
    }
}

impl Drop for Sudoers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn has(printed: &Printed, text: &str) {
    assert!(printed.stdout.contains(text), "no {text:?} in\n{}\n{}", printed.stdout, printed.stderr);
}

#[test]
fn a_password_from_standard_input_logs_in() {
    let (sshd, account) = (Sshd::start("KbdInteractiveAuthentication no"), Account::create());
    let program = knowing(&sshd);
    program.file("hosts", &host(&sshd, "mx", ""));
    let password = format!("{}\n", account.password.reveal());
    let words = format!("play -i hosts who.yml -k -u {}", account.name);
    let printed = answering(&program, &password, &words).expect(0);
    has(&printed, &format!("mx is {}", account.name));

    let refused = answering(&program, "wrong\n", &words).expect(4);
    has(&refused, "fatal: [mx]: UNREACHABLE!");
    has(&refused, "unreachable=1");
    let all = format!("{}{}{}", printed.stdout, refused.stdout, refused.stderr);
    assert!(!all.contains(account.password.reveal()), "{all}");
}

#[test]
fn a_become_password_from_standard_input_becomes_another_user() {
    let (sshd, account, other) = (Sshd::start(""), Account::create(), Account::create());
    let _sudoers = Sudoers::grant(&account, "");
    let program = knowing(&sshd);
    let key = key(&sshd, &program);
    program.file("hosts", &host(&sshd, "mx", ""));
    let password = format!("{}\n", account.password.reveal());
    let words = format!("play -i hosts who.yml --private-key {key} -u {} -b -K", account.name);
    has(&answering(&program, &password, &words).expect(0), "mx is root");
    let words_other = format!("{words} --become-user {}", other.name);
    has(&answering(&program, &password, &words_other).expect(0), &format!("mx is {}", other.name));

    let refused = answering(&program, "wrong\n", &words);
    assert_ne!(refused.status, 0, "{}", refused.stdout);
    has(&refused, "sudo");
}

#[test]
fn an_empty_become_password_means_the_login_password() {
    let (sshd, account) = (Sshd::start("KbdInteractiveAuthentication no"), Account::create());
    let _sudoers = Sudoers::grant(&account, "");
    let program = knowing(&sshd);
    program.file("hosts", &host(&sshd, "mx", ""));
    let words = format!("play -i hosts who.yml -k -K -b -u {}", account.name);
    let lines = format!("{}\n\n", account.password.reveal());
    has(&answering(&program, &lines, &words).expect(0), "mx is root");
}

#[test]
fn passwords_come_from_files_and_from_programs_that_print_them() {
    let (sshd, account) = (Sshd::start("KbdInteractiveAuthentication no"), Account::create());
    let _sudoers = Sudoers::grant(&account, "");
    let program = knowing(&sshd);
    program.file("hosts", &host(&sshd, "mx", ""));
    program.file("kept", &format!("{}\n", account.password.reveal()));
    program.file("prints", "#!/bin/sh\ncat kept\n");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(program.path("prints"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let words =
        format!("play -i hosts who.yml -b -u {} --conn-pass-file kept --become-password-file ./prints", account.name);
    let printed = program.run(&words).expect(0);
    has(&printed, "mx is root");
    assert!(!format!("{}{}", printed.stdout, printed.stderr).contains(account.password.reveal()));
    let missing = program.run(&words.replace("kept", "none")).expect(1);
    assert!(missing.stderr.contains("no password from `none`"), "{}", missing.stderr);
}

#[test]
fn an_unknown_host_key_is_refused_with_the_line_to_add() {
    let sshd = Sshd::start("");
    let program = Program::new();
    let key = key(&sshd, &program);
    program.file("hosts", &host(&sshd, "mx", "ansible_user=root")).file("who.yml", WHO);
    let words = format!("play -i hosts who.yml --private-key {key}");
    let refused = program.run(&words).expect(4);
    has(&refused, "add this line to `DIR/.ssh/known_hosts`");
    let start = format!("[127.0.0.1]:{} ssh-ed25519 ", sshd.port);
    let line = refused.stdout.lines().find(|line| line.starts_with(&start)).expect("a line to add");
    program.file(".ssh/known_hosts", &format!("{line}\n"));
    has(&program.run(&words).expect(0), "mx is root");
}

#[test]
fn connection_variables_come_from_group_vars_and_hosts_run_side_by_side() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let _sudoers = Sudoers::grant(&account, "NOPASSWD:");
    let program = knowing(&sshd);
    let key = key(&sshd, &program);
    program
        .file("hosts", "[mail]\nmx[1:4]\n\n[plain]\nweb\n")
        .file(
            "group_vars/all.yml",
            &format!("ansible_host: 127.0.0.1\nansible_port: {}\nansible_ssh_private_key_file: {key}\n", sshd.port),
        )
        .file("group_vars/mail.yml", &format!("ansible_user: {}\nansible_become: yes\n", account.name))
        .file("group_vars/plain.yml", "login: root\nansible_user: '{{ login }}'\n")
        .file(
            "site.yml",
            "- hosts: all
  tasks:
    - command: id -un
      register: who
    - debug: {msg: \"{{ inventory_hostname }} {{ who.stdout }} {{ ansible_user_id }} {{ ansible_user }}\"}
    - command: id -un
      become: no
      register: plain
    - debug: {msg: \"plain {{ plain.stdout }}\"}
    - copy: {content: \"{{ inventory_hostname }}\\n\", dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\", mode: '0600'}
",
        );
    let printed = program.run("play -i hosts site.yml").expect(0);
    for name in ["mx1", "mx2", "mx3", "mx4"] {
        has(&printed, &format!("{name} root root {}", account.name));
        assert_eq!(program.read(name), format!("{name}\n"));
    }
    has(&printed, "web root root root");
    // `ansible_become` is a variable, and variables win over keywords.
    assert_eq!(printed.stdout.matches("\"plain root\"").count(), 5, "{}", printed.stdout);
    let recap: Vec<&str> = printed.stdout.lines().filter(|line| line.contains(" : ok=")).collect();
    assert!(recap.iter().all(|line| line.contains("ok=6") && line.contains("changed=3")), "{recap:?}");
    assert!(recap.is_sorted(), "{recap:?}");
}

#[test]
fn one_host_that_is_away_does_not_stop_the_others() {
    let sshd = Sshd::start("");
    let program = knowing(&sshd);
    let key = key(&sshd, &program);
    let away = format!("away ansible_host=127.0.0.1 ansible_port={}\n", crate::sshd::free_port());
    program.file("hosts", &(host(&sshd, "here", "") + &away));
    let printed = program.run(&format!("play -i hosts who.yml -u root --private-key {key}")).expect(4);
    has(&printed, "here is root");
    has(&printed, "fatal: [away]: UNREACHABLE!");
    has(&printed, "Connection refused");
}
