//! Old hosts on the command line: the error says what would let them in, and a run names whose SSH is weaker.

use crate::program::Program;
use crate::sshd::Sshd;

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - command: id -un
      changed_when: false
";

/// An inventory of names of one server, each with its variables.
fn prepared(sshd: &Sshd, hosts: &[(&str, &str)]) -> Program {
    let program = Program::new();
    let key = sshd.target().keys[0].display().to_string();
    let line = |(name, variables): &(&str, &str)| {
        format!("    {name}: {{ansible_host: 127.0.0.1, ansible_port: {}, {variables}}}\n", sshd.port)
    };
    let vars = format!("  vars: {{ansible_user: root, ansible_ssh_private_key_file: {key}}}\n");
    let hosts: String = hosts.iter().map(line).collect();
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519")).file("play.yml", PLAY);
    program.file("hosts.yml", &format!("all:\n{vars}  hosts:\n{hosts}"));
    program
}

#[test]
fn a_refused_host_is_let_in_by_either_line_of_the_error() {
    let sshd = Sshd::start("KexAlgorithms diffie-hellman-group14-sha1");
    let program = prepared(&sshd, &[("plain", "")]);
    let printed = program.run("play -i hosts.yml play.yml").expect(4);
    assert!(!printed.stdout.contains("weakened SSH"), "{}", printed.stdout);
    assert!(printed.stdout.contains("the host offers diffie-hellman-group14-sha1"), "{}", printed.stdout);
    for line in ["ssh_profile: legacy", "ansible_ssh_common_args: '-o KexAlgorithms=+diffie-hellman-group14-sha1'"] {
        assert!(printed.stdout.contains(line), "{}", printed.stdout);
        let program = prepared(&sshd, &[("old", line)]);
        let printed = program.run("play -i hosts.yml play.yml").expect(0);
        assert!(printed.stdout.contains("ok: [old]"), "{}", printed.stdout);
    }
}

#[test]
fn the_header_names_every_weakened_host_of_the_run_once() {
    let sshd = Sshd::start("");
    let hosts = [
        ("old1", "ssh_profile: legacy"),
        ("new", "ssh_profile: modern"),
        ("old2", "ssh_profile: legacy"),
        ("other", "ansible_ssh_common_args: '-o Ciphers=+3des-cbc'"),
        ("narrow", "ansible_ssh_common_args: '-o Ciphers=aes256-ctr'"),
    ];
    let program = prepared(&sshd, &hosts);
    program.file("play.yml", &PLAY.repeat(2));
    let printed = program.run("play -i hosts.yml play.yml").expect(0);
    let head = "weakened SSH: old1, old2 (ssh_profile: legacy)\nweakened SSH: other (Ciphers 3des-cbc)\n";
    let start = printed.stdout.split_once("PLAY [").unwrap().0;
    assert_eq!(start.trim_start(), format!("{head}\n"), "{}", printed.stdout);
    assert_eq!(printed.stdout.matches("weakened SSH").count(), 2);

    let printed = program.run("play -i hosts.yml play.yml --limit new,other").expect(0);
    assert!(printed.stdout.contains("weakened SSH: other"), "{}", printed.stdout);
    assert!(!printed.stdout.contains("ssh_profile"), "{}", printed.stdout);
}

#[test]
fn a_slip_in_a_list_is_an_error_before_any_host_is_touched() {
    let sshd = Sshd::start("");
    let program = prepared(&sshd, &[("old", "ansible_ssh_common_args: '-o Ciphers=+aes128-cbd'")]);
    let printed = program.run("play -i hosts.yml play.yml").expect(1);
    let text = "`aes128-cbd` in `Ciphers` is not an algorithm that is known (host `old`)";
    assert!(printed.stderr.contains(text), "{}", printed.stderr);
    assert!(!printed.stdout.contains("PLAY ["), "{}", printed.stdout);
}
