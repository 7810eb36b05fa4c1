//! Which host keys are taken.

use std::process::Command;

use cutover::transport::ssh::{Half, HostKeyChecking, Neighbour, Neighbours, Target};

use super::{connect, refusal};
use crate::sshd::{Sshd, make_key, run};

/// A target whose known-hosts file has this text.
fn knowing(sshd: &Sshd, text: &str) -> Target {
    let target = sshd.target();
    std::fs::write(&target.known_hosts[0], text).expect("a file");
    target
}

/// `SHA256:...` as `ssh-keygen -l` prints it.
fn fingerprint(file: &std::path::Path) -> String {
    let output = run(Command::new("ssh-keygen").arg("-lf").arg(file)).stdout;
    String::from_utf8(output).expect("text").split(' ').nth(1).expect("a fingerprint").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_refused_with_the_line_that_makes_it_known() {
    let sshd = Sshd::start("");
    let text = refusal(knowing(&sshd, "")).await;
    assert!(text.contains(&fingerprint(&sshd.path("host_ed25519.pub"))), "{text}");
    let line = text.lines().last().expect("a line");
    connect(knowing(&sshd, line)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_logs_in_to_an_unknown_host() {
    let sshd = Sshd::start("");
    refusal(knowing(&sshd, "")).await;
    assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
    assert!(!sshd.log().contains("publickey"), "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_host_is_learnt_where_that_is_wanted_and_held_to_its_key() {
    let sshd = Sshd::start("");
    let mut target = knowing(&sshd, "# no newline at the end");
    target.host_key_checking = HostKeyChecking::AcceptNew;
    connect(target.clone()).await;
    target.host_key_checking = HostKeyChecking::Strict;
    connect(target.clone()).await;

    make_key("ed25519", &sshd.path("other"));
    let other = std::fs::read_to_string(sshd.path("other.pub")).expect("a key");
    let mut changed = knowing(&sshd, &format!("[127.0.0.1]:{} {other}", sshd.port));
    changed.host_key_checking = HostKeyChecking::AcceptNew;
    assert!(refusal(changed).await.contains("is not the known one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_written_into_a_directory_that_did_not_exist() {
    let sshd = Sshd::start("");
    let file = sshd.path("home/.ssh/known_hosts");
    let mut target = Target { known_hosts: vec![file.clone()], ..sshd.target() };
    target.host_key_checking = HostKeyChecking::AcceptNew;
    connect(target).await;
    let text = std::fs::read_to_string(file).expect("a file");
    let expected: Vec<_> = sshd.known_hosts_line("ed25519").split(' ').take(3).map(str::to_owned).collect();
    assert_eq!(text.trim_end().split(' ').collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_refused_with_both_fingerprints_and_its_line() {
    let sshd = Sshd::start("");
    make_key("ed25519", &sshd.path("old"));
    let old = std::fs::read_to_string(sshd.path("old.pub")).expect("a key");
    let target = knowing(&sshd, &format!("# a comment\n\n[127.0.0.1]:{} {old}", sshd.port));
    let text = refusal(target.clone()).await;
    assert!(text.contains(&fingerprint(&sshd.path("old.pub"))), "{text}");
    assert!(text.contains(&fingerprint(&sshd.path("host_ed25519.pub"))), "{text}");
    assert!(text.contains(&format!("{}:3", target.known_hosts[0].display())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused() {
    let sshd = Sshd::start("");
    let text = format!("{}@revoked * {}", sshd.known_hosts_line("ed25519"), sshd.host_key("ed25519"));
    assert!(refusal(knowing(&sshd, &text)).await.contains("is revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_hashed_by_ssh_keygen_are_known() {
    let sshd = Sshd::start("");
    let target = knowing(&sshd, &sshd.known_hosts_line("ed25519"));
    run(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&target.known_hosts[0]));
    let text = std::fs::read_to_string(&target.known_hosts[0]).expect("a file");
    assert!(text.starts_with("|1|"), "{text}");
    connect(target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_and_a_name_without_a_port_are_known() {
    let sshd = Sshd::start("");
    connect(knowing(&sshd, &format!("[127.0.0.*]:{} {}", sshd.port, sshd.host_key("ed25519")))).await;
    connect(knowing(&sshd, &format!("127.0.0.1 {}", sshd.host_key("ed25519")))).await;
}

/// Field one of a line, and a name that it is searched for.
const NAMES: &[(&str, &str)] = &[
    ("mail", "mail"),
    ("MAIL", "mail"),
    ("mail.example.com", "mail"),
    ("mail", "mail.example.com"),
    ("other,mail", "mail"),
    (",mail,", "mail"),
    ("mail,!mail", "mail"),
    ("!mail,mail", "mail"),
    ("*,!mail", "mx"),
    ("*.example.com,!mail.example.com", "mail.example.com"),
    ("*.example.com,!mail.example.com", "mx.example.com"),
    ("*.example.com", "example.com"),
    ("*", "mail"),
    ("**", "mail"),
    ("m*l", "mail"),
    ("m*x", "mail"),
    ("ma?l", "mail"),
    ("mai?", "mai"),
    ("[mail]:2222", "[mail]:2222"),
    ("[mail]:2222", "mail"),
    ("[mail]:2223", "[mail]:2222"),
    ("[*]:2222", "[mail]:2222"),
    ("[mail]:*", "[mail]:2222"),
    ("*", "[mail]:2222"),
    ("192.0.2.*", "192.0.2.7"),
    ("2001:db8::1", "2001:db8::1"),
    ("[2001:db8::1]:2222", "[2001:db8::1]:2222"),
    ("|1|broken", "mail"),
    ("|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM=", "mail"),
];

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_where_ssh_keygen_finds_them() {
    let sshd = Sshd::start("");
    let key = sshd.host_key("ed25519");
    let mut cases: Vec<(String, &str)> = NAMES.iter().map(|(field, name)| (format!("{field} {key}"), *name)).collect();
    for (field, name) in [("mail", "mail"), ("mail", "mx"), ("[mail]:2222", "[mail]:2222"), ("[mail]:2222", "mail")] {
        let file = sshd.path("hashed");
        std::fs::write(&file, format!("{field} {key}")).expect("a file");
        run(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file));
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.starts_with("|1|"), "{text}");
        cases.push((text, name));
    }
    let tabs = key.replace(' ', "\t");
    for (line, name) in
        [(format!("  mail   {key}"), "mail"), (format!("\tmail\t{tabs}"), "mail"), (format!("#mail {key}"), "mail")]
    {
        cases.push((line, name));
    }
    let mut found = 0;
    for (line, name) in cases {
        let target = Target { host_key_alias: Some(name.into()), ..knowing(&sshd, &line) };
        let keygen = Command::new("ssh-keygen").args(["-F", name, "-f"]).arg(&target.known_hosts[0]).output();
        let expected = !keygen.expect("ssh-keygen").stdout.is_empty();
        assert_eq!(cutover::transport::ssh::connect(target).await.is_ok(), expected, "`{name}` in {line}");
        found += usize::from(expected);
    }
    assert!(found > 10, "the oracle finds {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_stands_for_the_address_and_the_port() {
    let sshd = Sshd::start("");
    let alias = |text: &str| Target { host_key_alias: Some("Mail".into()), ..knowing(&sshd, text) };
    connect(alias(&format!("mail {}", sshd.host_key("ed25519")))).await;
    let text = refusal(alias(&sshd.known_hosts_line("ed25519"))).await;
    assert!(text.contains("the host key of `mail` is not known"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("mail ssh-ed25519 ")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_another_name_is_told_and_that_of_the_other_half_never_learnt() {
    let sshd = Sshd::start("");
    let key = sshd.host_key("ed25519");
    let text = refusal(knowing(&sshd, &format!("# x\nbackup {key}"))).await;
    assert!(text.contains("the same key is known for `backup` ("), "{text}");

    let hosts = |half| {
        let host =
            |name: &str, address: &str, half| Neighbour { name: name.into(), address: address.into(), port: 22, half };
        Neighbours::new(move || vec![host("host", "127.0.0.1", half), host("mx", "192.0.2.9", Some(Half::New))])
    };
    let line = format!("192.0.2.9 {key}");
    let run_file = |text: &str| knowing(&sshd, text);
    let plain = Target { neighbours: hosts(None), ..run_file(&line) };
    let text = refusal(plain).await;
    assert!(text.contains("this is the key of `mx` ("), "{text}");
    assert!(text.contains("hint: if `host` and `mx` are one machine, add this line"), "{text}");

    let mut half = Target { neighbours: hosts(Some(Half::Old)), ..run_file(&line) };
    half.host_key_checking = HostKeyChecking::AcceptNew;
    // Hashed, too.
    run(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&half.known_hosts[0]));
    let before = std::fs::read_to_string(&half.known_hosts[0]).expect("a file");
    let text = refusal(half.clone()).await;
    assert!(text.contains("this is the key of `mx` ("), "{text}");
    assert!(text.contains("known_hosts:1): the address `127.0.0.1` may already point to the new host"), "{text}");
    assert!(!text.contains("add this line"), "{text}");
    assert_eq!(std::fs::read_to_string(&half.known_hosts[0]).expect("a file"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_key_that_is_known_is_asked_for() {
    let sshd = Sshd::start("");
    for kind in ["rsa", "ecdsa", "ed25519"] {
        connect(knowing(&sshd, &sshd.known_hosts_line(kind))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_key_is_taken_where_checking_is_off() {
    let sshd = Sshd::start("");
    let mut target = knowing(&sshd, "");
    target.host_key_checking = HostKeyChecking::Off;
    connect(target).await;
    assert_eq!(std::fs::read_to_string(sshd.path("known_hosts")).expect("a file"), "");
}
