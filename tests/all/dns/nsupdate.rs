//! `nsupdate` against BIND: what the server has before and after, and what it is never sent.

use std::process::Command;

use crate::named::{KEYS, Named, SECRET, zone};
use crate::program::{Printed, Program};
use crate::sshd::Sshd;

const ZONES: &str = "zone example.com { type primary; file \"example.com\"; \
                     update-policy { grant * zonesub ANY; }; };\n\
                     zone open.example { type primary; file \"open.example\"; allow-update { 127.0.0.1; }; };\n\
                     zone static.example { type primary; file \"static.example\"; };\n";

const RECORDS: &str = "mail 7200 IN A 10.77.0.10\npop IN CNAME mail\n@ IN MX 10 mail\n@ IN MX 20 backup.example.net.\n\
                       @ IN TXT \"v=spf1 ip4:10.77.0.10 -all\"\n*.wild IN A 10.77.0.9\n";

fn named() -> Named {
    let text = zone(RECORDS);
    Named::start(ZONES, &[("example.com", &text), ("open.example", &text), ("static.example", &text)])
}

/// A program whose playbook has these tasks for this machine.
fn program(named: &Named, tasks: &str) -> Program {
    let program = Program::new();
    program.file("hosts", "here ansible_connection=local\n");
    write(&program, named, tasks);
    program
}

fn write(program: &Program, named: &Named, tasks: &str) {
    let server = format!("server: {}, port: {}", named.address, named.port);
    let key =
        format!("{server}, key_name: by-hmac-sha256, key_algorithm: hmac-sha256, key_secret: \"{{{{ secret }}}}\"");
    let tasks = tasks.replace("KEY", &key).replace("SERVER", &server);
    program.file("vars.yml", &format!("secret: {SECRET}\n"));
    program
        .file("site.yml", &format!("- hosts: all\n  gather_facts: false\n  vars_files: [vars.yml]\n  tasks:\n{tasks}"));
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts site.yml --diff {flags}"))
}

const SWITCH: &str = "    - nsupdate:
        { zone: example.com, ttl: 900, KEY, records: [
          {record: mail, value: 10.77.0.20, expect: 10.77.0.10},
          {record: imap, value: [10.77.0.20, 10.77.0.21]},
          {record: pop, type: CNAME, value: mail.example.net.},
          {record: '@', type: MX, state: absent},
          {record: '@', type: TXT, value: 'v=spf1 ip4:10.77.0.20 -all', ttl: 60} ] }
";

const SHOWN: &str = "--- records of example.com. at 127.0.0.1 port PORT
+++ records of example.com. at 127.0.0.1 port PORT
-mail.example.com. 7200 IN A 10.77.0.10
+mail.example.com. 900 IN A 10.77.0.20
+imap.example.com. 900 IN A 10.77.0.20
+imap.example.com. 900 IN A 10.77.0.21
-pop.example.com. 3600 IN CNAME mail.example.com.
+pop.example.com. 900 IN CNAME mail.example.net.
! `example.com.` has no MX any more
-example.com. 3600 IN MX 10 mail.example.com.
-example.com. 3600 IN MX 20 backup.example.net.
-example.com. 3600 IN TXT \"v=spf1 ip4:10.77.0.10 -all\"
+example.com. 60 IN TXT \"v=spf1 ip4:10.77.0.20 -all\"
    signed with the key `by-hmac-sha256.`
";

#[test]
fn several_records_are_shown_and_changed_in_one_update_and_then_nothing_is_left() {
    let named = named();
    let program = program(&named, SWITCH);
    let before = named.records("example.com");
    let checked = play(&program, "--check").expect(0);
    assert!(checked.diffs().contains(&SHOWN.replace("PORT", &named.port.to_string())), "{}", checked.stdout);
    assert_eq!((named.records("example.com"), named.serial("example.com")), (before.clone(), 10));

    let made = play(&program, "").expect(0);
    assert_eq!(made.diffs(), checked.diffs());
    assert_eq!(named.short("mail.example.com A"), "10.77.0.20\n");
    assert_eq!(named.short("imap.example.com A").lines().count(), 2);
    assert_eq!(
        (named.short("example.com MX"), named.short("pop.example.com CNAME")),
        (String::new(), "mail.example.net.\n".into())
    );
    // One update: the serial is one more.
    assert_eq!(named.serial("example.com"), 11);

    let again = play(&program, "").expect(0);
    assert!(again.stdout.contains("changed=0"), "{}", again.stdout);
    assert_eq!((again.diffs().trim(), named.serial("example.com")), ("", 11));
    assert_ne!(named.records("example.com"), before);
}

#[test]
fn the_secret_is_nowhere_and_an_undo_with_the_vault_password_sends_the_reverse_update() {
    let named = named();
    let program = program(&named, SWITCH);
    program.file("pw", "vault password\n");
    let before = named.records("example.com");
    program.run("plan -i hosts site.yml -o the.plan --vault-password-file pw").expect(0);
    program.run("apply the.plan --vault-password-file pw").expect(0);
    let after = named.records("example.com");
    assert_ne!(after, before);
    for text in everything(&program) {
        assert!(!text.contains(SECRET));
    }
    program.run("undo last --vault-password-file pw").expect(0);
    assert_eq!(named.records("example.com"), before);
    // A plan is for what it has seen.
    program.run("apply the.plan --vault-password-file pw").expect(0);
    let stale = program.run("apply the.plan --vault-password-file pw");
    assert_ne!(stale.status, 0);
    assert!(stale.stdout.contains("mail.example.com. 7200 IN A 10.77.0.10"), "{}{}", stale.stdout, stale.stderr);
}

/// All files that the program has written, but the variables.
fn everything(program: &Program) -> Vec<String> {
    let mut grep = Command::new("find");
    let found = grep.arg(program.path("")).args(["-type", "f", "-not", "-name", "vars.yml"]).output().unwrap();
    let paths = String::from_utf8(found.stdout).unwrap();
    let texts = paths.lines().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    let texts: Vec<String> = texts.collect();
    assert!(texts.len() > 3);
    texts
}

#[test]
fn a_later_task_of_a_check_sees_what_an_earlier_one_would_have_changed() {
    let named = named();
    let tasks = "    - nsupdate: {zone: open.example, record: mail, value: 10.77.0.20, ttl: 900, SERVER}
    - nsupdate: {zone: open.example, record: mail, ttl: 300, expect: 10.77.0.20, SERVER}
      register: second
    - debug: {msg: \"{{ second.ttl_before }} {{ second.value_before }}\"}
";
    let program = program(&named, tasks);
    let checked = play(&program, "--check").expect(0);
    assert!(
        checked.stdout.contains("-mail.open.example. 900 IN A 10.77.0.20\n+mail.open.example. 300"),
        "{}",
        checked.stdout
    );
    assert!(checked.stdout.contains("900 ['10.77.0.20']"), "{}", checked.stdout);
    assert_eq!(play(&program, "").expect(0).diffs(), checked.diffs());
    assert_eq!(named.records("open.example").matches("mail.open.example. 300 IN A 10.77.0.20").count(), 1);
}

#[test]
fn an_undo_without_a_key_needs_no_password_and_a_plan_is_refused_where_another_hand_was() {
    let named = named();
    let program = program(&named, "    - nsupdate: {record: mail.open.example., value: 10.77.0.20, SERVER}\n");
    let before = named.records("open.example");
    play(&program, "").expect(0);
    program.run("undo last").expect(0);
    assert_eq!(named.records("open.example"), before);

    program.run("plan -i hosts site.yml -o the.plan").expect(0);
    let port = named.port;
    let by_hand = format!("server 127.0.0.1 {port}\nupdate add mail.open.example. 60 A 10.77.0.99\nsend\n");
    std::fs::write(program.path("by-hand"), by_hand).unwrap();
    crate::sshd::run(Command::new("nsupdate").arg("-v").arg(program.path("by-hand")));
    let refused = program.run("apply the.plan");
    assert_eq!(refused.status, 2, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stdout.contains("10.77.0.99"), "{}{}", refused.stdout, refused.stderr);
    assert!(named.short("mail.open.example A").contains("10.77.0.99"));
}

#[test]
fn what_is_not_as_expected_is_not_switched() {
    let named = named();
    let program = program(
        &named,
        "    - nsupdate: {zone: open.example, record: mail, value: 10.77.0.20, expect: 10.77.0.11, SERVER}\n",
    );
    let refused = play(&program, "").expect(2);
    let says = "`mail.open.example.` A is 10.77.0.10, and not 10.77.0.11";
    assert!(refused.stdout.contains(says), "{}", refused.stdout);
    assert_eq!(named.serial("open.example"), 10);
}

#[test]
fn every_algorithm_signs_and_a_wrong_key_is_named() {
    let named = named();
    for (number, key) in (1..).zip(KEYS) {
        let algorithm = key.trim_start_matches("by-");
        let task = format!(
            "    - community.general.nsupdate: {{zone: example.com, record: n{number}, type: TXT, value: x, SERVER, \
             key_name: {key}, key_algorithm: {algorithm}, key_secret: \"{{{{ secret }}}}\"}}\n"
        );
        play(&program(&named, &task), "").expect(0);
        assert_eq!(named.short(&format!("n{number}.example.com TXT")), "\"x\"\n");
    }
    for (key, secret, says) in [("by-hmac-sha256", "d3Jvbmc=", "BADSIG"), ("stranger", SECRET, "BADKEY")] {
        let task = format!(
            "    - nsupdate: {{zone: example.com, record: y, value: 10.0.0.1, SERVER, key_name: {key}, \
             key_algorithm: hmac-sha256, key_secret: {secret}}}\n"
        );
        let refused = play(&program(&named, &task), "").expect(2);
        assert!(refused.stdout.contains(says) && !refused.stdout.contains(secret), "{}", refused.stdout);
    }
    assert_eq!(named.short("y.example.com"), "");
}

#[test]
fn a_server_that_refuses_and_one_that_is_not_the_zones_are_told() {
    let named = named();
    for (task, says) in [
        ("{zone: static.example, record: mail, value: 10.0.0.1, SERVER}", "the server refuses the update: REFUSED"),
        (
            "{zone: other.example, record: mail, value: 10.0.0.1, SERVER}",
            "does not answer for `mail.other.example.` by itself",
        ),
        ("{record: mail.other.example., value: 10.0.0.1, SERVER}", "has no zone for `mail.other.example.`"),
        ("{zone: open.example, record: x.wild, value: 10.0.0.1, SERVER}", "the server says NXRRSET"),
        // What the server leaves out in silence (RFC 2136, 3.4.2.2).
        ("{zone: open.example, record: mail, type: CNAME, value: ns, SERVER}", "should now be"),
    ] {
        let refused = play(&program(&named, &format!("    - nsupdate: {task}\n")), "").expect(2);
        assert!(refused.stdout.contains(says), "{says}\n{}", refused.stdout);
    }
    for (task, says) in [
        ("{zone: open.example, record: mail.open.example, value: 10.0.0.1, SERVER}", "would be"),
        ("{zone: open.example, record: '@', type: MX, value: 10 mail.open.example, SERVER}", "ends with a dot"),
        ("{zone: open.example, record: mail, value: ten, SERVER}", "`ten` is no value of a record of type A"),
        ("{zone: open.example, record: mail, value: 10.0.0.1, protocol: udp, SERVER}", "protocol"),
    ] {
        let refused = play(&program(&named, &format!("    - nsupdate: {task}\n")), "");
        assert!(
            refused.status != 0 && (refused.stdout.clone() + &refused.stderr).contains(says),
            "{says}\n{}{}",
            refused.stdout,
            refused.stderr
        );
    }
    for zone in ["static.example", "open.example"] {
        assert_eq!(named.serial(zone), 10);
    }
}

#[test]
fn the_server_is_reached_from_the_host_over_ssh() {
    let (named, sshd) = (named(), Sshd::start(""));
    let target = sshd.target();
    let program = program(&named, SWITCH);
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519"));
    let line = format!(
        "far ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}\n",
        sshd.port,
        target.keys[0].display()
    );
    program.file("hosts", &line);
    play(&program, "").expect(0);
    assert_eq!(named.short("mail.example.com A"), "10.77.0.20\n");
    assert!(play(&program, "").expect(0).stdout.contains("changed=0"));
}
