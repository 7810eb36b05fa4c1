//! Which host keys are taken.

use std::process::Command;

use cutover::transport::ssh::{HostKeyChecking, Target};

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
