//! `cutover hostkeys scan` against real servers, and the runs that its file pins.

use std::process::{Child, Command, Stdio};

use crate::program::{Printed, Program};
use crate::sshd::{Sshd, free_port, make_key, run, wait_for};

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - command: id -un
";

fn host(name: &str, port: u16) -> String {
    format!("{name} ansible_host=127.0.0.1 ansible_port={port} ansible_user=root\n")
}

/// `SHA256:...` as `ssh-keygen -l` prints it.
fn fingerprint(sshd: &Sshd, kind: &str) -> String {
    let output = run(Command::new("ssh-keygen").arg("-lf").arg(sshd.path(&format!("host_{kind}.pub")))).stdout;
    String::from_utf8(output).unwrap().split(' ').nth(1).unwrap().into()
}

/// The rows of a table: every cell but the last is one word.
fn rows(printed: &Printed) -> Vec<Vec<String>> {
    let row = |line: &str| {
        let mut rest = line;
        let mut cells = Vec::new();
        for _ in 0..5 {
            let (cell, after) = rest.split_once(' ').unwrap_or((rest, ""));
            cells.push(cell.to_string());
            rest = after.trim_start();
        }
        cells.push(rest.to_string());
        cells
    };
    printed.stdout.lines().map(row).collect()
}

struct Dropbear {
    port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl Dropbear {
    fn start(kinds: &[&str]) -> Dropbear {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut dropbear = Command::new("dropbear");
        dropbear.args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-P"]).arg(directory.path().join("pid"));
        for kind in kinds {
            let key = directory.path().join(kind);
            run(Command::new("dropbearkey").args(["-t", kind, "-f"]).arg(&key));
            dropbear.arg("-r").arg(&key);
        }
        let child = dropbear.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("dropbear; it is in the package dropbear-bin");
        assert!(wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()), "dropbear does not start");
        Dropbear { port, child, directory }
    }
}

impl Dropbear {
    fn fingerprint(&self, kind: &str) -> String {
        let shown = run(Command::new("dropbearkey").arg("-y").arg("-f").arg(self.directory.path().join(kind))).stdout;
        let shown = String::from_utf8(shown).unwrap();
        let line = shown.lines().find_map(|line| line.strip_prefix("Fingerprint: ")).unwrap();
        line.split(' ').next().unwrap().into()
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_key_of_every_host_is_in_one_table_and_nobody_logs_in() {
    let (sshd, dropbear, away) = (Sshd::start(""), Dropbear::start(&["ed25519", "rsa"]), free_port());
    let program = Program::new();
    program.file("hosts", &(host("mx", sshd.port) + &host("box", dropbear.port) + &host("away", away)));
    let printed = program.run("hostkeys scan -i hosts").expect(4);
    let mut expected = vec![
        ["HOST", "ADDRESS", "TYPE", "BITS", "FINGERPRINT", "STATUS"].map(String::from).to_vec(),
        ["away", &format!("127.0.0.1:{away}"), "-", "-", "-"].map(String::from).to_vec(),
    ];
    let of_box = |kind| ("box", dropbear.port, kind, dropbear.fingerprint(kind));
    let of_mx = |kind| ("mx", sshd.port, kind, fingerprint(&sshd, kind));
    let keys = [of_box("ed25519"), of_box("rsa"), of_mx("ecdsa"), of_mx("ed25519"), of_mx("rsa")];
    expected.extend(keys.map(|(host, port, kind, fingerprint)| {
        let bits = if kind == "rsa" { "2048" } else { "256" };
        let address = format!("127.0.0.1:{port}");
        [host, &address, &kind.to_uppercase(), bits, &fingerprint, "new"].map(String::from).to_vec()
    }));
    let mut found = rows(&printed);
    let reason = found[1].pop().unwrap();
    assert!(reason.starts_with("unreachable: ") && reason.contains("refused"), "{reason}");
    assert_eq!(found, expected, "{}", printed.stdout);
    assert!(!sshd.log().contains("Accepted") && !sshd.log().contains("Failed"), "{}", sshd.log());
    assert!(!printed.stdout.contains('\u{1b}'));
}

/// dropbear offers RSA without having such a key, and ends the connection when it is asked for.
#[test]
fn a_type_that_a_host_offers_and_has_not_leaves_the_others() {
    let dropbear = Dropbear::start(&["ed25519"]);
    let program = Program::new();
    program.file("hosts", &host("box", dropbear.port));
    let printed = program.run("hostkeys scan -i hosts --write pinned").expect(0);
    assert!(printed.stdout.contains(&dropbear.fingerprint("ed25519")), "{}", printed.stdout);
    assert_eq!(program.read("pinned").lines().count(), 2);
}

#[test]
fn the_written_file_is_all_that_a_strict_run_needs_and_a_second_scan_changes_nothing() {
    let sshd = Sshd::start("");
    let key = sshd.path("id");
    make_key("ed25519", &key);
    sshd.authorize(&key);
    let program = Program::new();
    let pinned = "[all:vars]\nansible_ssh_known_hosts_file=pinned\n";
    program.file("hosts", &(host("mx", sshd.port) + pinned)).file("play.yml", PLAY);
    let play = format!("play -i hosts play.yml --private-key {}", key.display());
    program.run(&play).expect(4);
    for flags in ["", " --hash"] {
        let _ = std::fs::remove_file(program.path("pinned"));
        program.run(&format!("hostkeys scan -i hosts --write pinned{flags}")).expect(0);
        let text = program.read("pinned");
        assert!(text.starts_with("# ") && text.lines().count() == 4, "{text}");
        assert_eq!(text.contains(&format!("[127.0.0.1]:{} ssh-ed25519 ", sshd.port)), flags.is_empty(), "{text}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(program.path("pinned")).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o644);
        program.run(&play).expect(0);
        let again = program.run(&format!("hostkeys scan -i hosts --write pinned{flags}")).expect(0);
        assert_eq!(again.stdout.matches(" known\n").count(), 3, "{}", again.stdout);
        assert_eq!(program.read("pinned"), text);
    }
}

#[test]
fn a_changed_key_is_told_and_written_only_when_that_is_asked_for() {
    let sshd = Sshd::start("");
    let program = Program::new();
    make_key("ed25519", &program.path("old"));
    let old = program.read("old.pub");
    let text = format!("# mine\nother {old}[127.0.0.1]:{} {old}", sshd.port);
    program.file("hosts", &host("mx", sshd.port)).file("pinned", &text);
    let refused = program.run("hostkeys scan -i hosts --write pinned").expect(2);
    assert_eq!(program.read("pinned"), text);
    let name = format!("`[127.0.0.1]:{}`: the file has another key, ED25519 SHA256:", sshd.port);
    assert!(refused.stderr.contains(&name) && refused.stderr.contains("(pinned:3)"), "{}", refused.stderr);

    // The same file as the one that runs compare with.
    program.file("hosts", &(host("mx", sshd.port) + "[all:vars]\nansible_ssh_known_hosts_file=pinned\n"));
    let changed = program.run("hostkeys scan -i hosts").expect(2);
    assert!(
        changed.stdout.contains("changed: known is ED25519 SHA256:") && changed.stdout.contains("(pinned:3)"),
        "{}",
        changed.stdout
    );

    program.run("hostkeys scan -i hosts --write pinned --replace").expect(0);
    let new = program.read("pinned");
    assert!(new.contains("# mine\n") && new.contains(&format!("other {old}")), "{new}");
    assert_eq!(new.matches(&format!("[127.0.0.1]:{} ", sshd.port)).count(), 3, "{new}");
    assert_eq!(program.run("hostkeys scan -i hosts").expect(0).stdout.matches(" known\n").count(), 3);
}

#[test]
fn a_revoked_key_is_never_written() {
    let sshd = Sshd::start("");
    let program = Program::new();
    program.file("known", &format!("@revoked * {}", sshd.host_key("rsa")));
    program.file("hosts", &(host("mx", sshd.port) + "[all:vars]\nansible_ssh_known_hosts_file=known\n"));
    let printed = program.run("hostkeys scan -i hosts --write pinned --replace").expect(2);
    assert!(printed.stdout.contains("revoked (known:1)"), "{}", printed.stdout);
    assert!(!program.path("pinned").exists());
}

#[test]
fn a_scan_is_json_too_and_takes_a_pattern() {
    let sshd = Sshd::start("");
    let program = Program::new();
    program.file("hosts", &format!("[a]\n{}[b]\n{}", host("one", sshd.port), host("two", free_port())));
    let printed = program.run("hostkeys scan -i hosts a --format json").expect(0);
    let found: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["host"], "one");
    let shown: Vec<&str> =
        found[0]["keys"].as_array().unwrap().iter().map(|key| key["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(shown, ["ecdsa", "ed25519", "rsa"].map(|kind| fingerprint(&sshd, kind)));
    let none = program.run("hostkeys scan -i hosts nowhere").expect(1);
    assert!(none.stderr.contains("`nowhere`"), "{}", none.stderr);
    assert_eq!(none.stdout, "");
}

/// Two servers whose keys are each known as the other's, as after an address has moved.
fn swapped() -> (Sshd, Sshd, Program) {
    let (old, new) = (Sshd::start(""), Sshd::start(""));
    let program = Program::new();
    let known = format!(
        "# swapped\n[127.0.0.1]:{} {}[127.0.0.1]:{} {}",
        old.port,
        new.host_key("ed25519"),
        new.port,
        old.host_key("ed25519")
    );
    let hosts = format!("[old]\n{}[new]\n{}", host("old.example.com", old.port), host("new.example.com", new.port));
    program.file(".ssh/known_hosts", &known).file("hosts", &hosts).file("play.yml", PLAY);
    (old, new, program)
}

#[test]
fn a_run_says_that_an_address_answers_with_the_other_halfs_key() {
    let (old, new, program) = swapped();
    let printed = program.run("play -i hosts play.yml").expect(4);
    let text = &printed.stdout;
    for part in [
        "this is the key of `new.example.com` (DIR/.ssh/known_hosts:3): the address `127.0.0.1` may already point to the new host",
        "this is the key of `old.example.com` (DIR/.ssh/known_hosts:2): the address `127.0.0.1` may still point to the old host",
        "give `old.example.com` an `ansible_host` that is its own machine, not that of `new.example.com`",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert!(text.contains(&fingerprint(&old, "ed25519")) && text.contains(&fingerprint(&new, "ed25519")), "{text}");
    assert!(!old.log().contains("Accepted") && !new.log().contains("Accepted"));
}

#[test]
fn a_scan_says_it_too_and_does_not_pin_it() {
    let (_old, _new, program) = swapped();
    let printed = program.run("hostkeys scan -i hosts --write pinned").expect(2);
    let text = &printed.stdout;
    assert!(text.contains("same as new.example.com (DIR/.ssh/known_hosts:3), the other half of the move"), "{text}");
    assert!(!program.path("pinned").exists());
}

#[test]
fn a_host_behind_a_jump_host_is_scanned_through_it() {
    // What the inventory says of jump hosts is tested with `ssh_config`; here is what the scan does with a target.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (jump, host) = (Sshd::start(""), Sshd::start(""));
    let mut target = host.target();
    target.via = cutover::transport::ssh::Via::Jump(Box::new(jump.target()));
    let client = std::sync::Arc::default();
    let scanned = runtime.block_on(cutover::transport::ssh::scan(&client, &target)).unwrap();
    let shown: Vec<&str> = scanned.keys.iter().map(|key| key.fingerprint.as_str()).collect();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        assert!(shown.contains(&fingerprint(&host, kind).as_str()), "{kind}: {shown:?}");
    }
    assert_eq!(jump.log().matches("Accepted publickey").count(), 1, "{}", jump.log());
}

#[test]
fn an_old_host_is_scanned_with_its_own_profile_and_without_it_the_line_to_add_is_told() {
    let sshd = Sshd::start(
        "KexAlgorithms diffie-hellman-group1-sha1\nHostKeyAlgorithms ssh-rsa\nCiphers aes128-cbc\nMACs hmac-sha1",
    );
    let program = Program::new();
    program.file("hosts", &host("old", sshd.port));
    let refused = program.run("hostkeys scan -i hosts").expect(4);
    assert!(refused.stdout.contains("the host offers diffie-hellman-group1-sha1"), "{}", refused.stdout);
    assert!(refused.stdout.contains("`ssh_profile: legacy`"), "{}", refused.stdout);
    let seen = program.run("hostkeys scan -i hosts -e ssh_profile=legacy").expect(0);
    let shown = fingerprint(&sshd, "rsa");
    assert!(seen.stdout.contains(&shown) && seen.stdout.contains("new"), "{}", seen.stdout);
}

#[test]
fn what_a_proxy_command_says_is_in_the_reason_why_a_host_is_not_seen() {
    let program = Program::new();
    let arguments = r#"ansible_ssh_common_args="-o ProxyCommand='sh -c \"echo no way through >&2; exit 3\"'""#;
    program.file("hosts", &format!("behind ansible_host=127.0.0.1 {arguments}\n"));
    let printed = program.run("hostkeys scan -i hosts").expect(4);
    assert!(printed.stdout.contains("its proxy command says: no way through"), "{}", printed.stdout);
}
