//! Which host certificates are taken: each case is also put to OpenSSH's own `ssh`.

use std::process::Command;

use cutover::transport::TransportError;
use cutover::transport::ssh::{self, Half, HostKeyChecking, Neighbour, Neighbours, Target};

use super::refusal;
use crate::sshd::{Sshd, make_key, run};

/// A server with a certificate, and the authority that signed it.
struct Certified {
    sshd: Sshd,
    authority: tempfile::TempDir,
}

impl Certified {
    /// Signs the host key of `kind` with these flags of `ssh-keygen`, by an authority whose key is of `authority`.
    fn start(kind: &str, authority: &str, flags: &[&str]) -> Certified {
        let directory = tempfile::tempdir().unwrap();
        make_key(authority, &directory.path().join("ca"));
        // The server reads the certificate when it starts, and has its keys only then: another one's keys are signed.
        let key = directory.path().join("host");
        make_key(kind, &key);
        let ca = directory.path().join("ca");
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-I", "the id", "-s"]).arg(&ca).args(flags).arg(key.with_extension("pub"));
        run(&mut sign);
        let certificate = directory.path().join("host-cert.pub");
        let sshd = Sshd::start(&format!("HostKey {}\nHostCertificate {}", key.display(), certificate.display()));
        Certified { sshd, authority: directory }
    }

    fn public(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.authority.path().join(format!("{name}.pub"))).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// A target whose known-hosts file has this text, `CA` and `KEY` standing for the keys and `NAME` for the host.
    fn target(&self, text: &str) -> Target {
        let target = self.sshd.target();
        let name = format!("[127.0.0.1]:{}", self.sshd.port);
        let text = text.replace("CA", &self.public("ca")).replace("KEY", &self.public("host")).replace("NAME", &name);
        std::fs::write(&target.known_hosts[0], text + "\n").unwrap();
        target
    }

    fn fingerprint(&self, name: &str) -> String {
        let file = self.authority.path().join(format!("{name}.pub"));
        let output = run(Command::new("ssh-keygen").arg("-lf").arg(file)).stdout;
        String::from_utf8(output).unwrap().split(' ').nth(1).unwrap().into()
    }
}

/// Whether `ssh` itself logs in.
fn openssh_takes(target: &Target) -> bool {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no"]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", target.known_hosts[0].display()));
    ssh.args(["-o", "StrictHostKeyChecking=yes"]).arg("-i").arg(&target.keys[0]);
    if let Some(alias) = &target.host_key_alias {
        ssh.arg("-o").arg(format!("HostKeyAlias={alias}"));
    }
    ssh.args(["-p", &target.port.to_string(), "root@127.0.0.1", "true"]);
    ssh.output().unwrap().status.success()
}

async fn is_taken(target: Target) -> bool {
    match ssh::connect(target).await {
        Ok(_) => true,
        Err(TransportError::Unreachable(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

const GOOD: &[&str] = &["-h", "-n", "127.0.0.1,mail", "-V", "-1d:+1d"];

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_taken_where_openssh_takes_it() {
    let expired: &[&str] = &["-h", "-n", "127.0.0.1", "-V", "20200101:20200201"];
    let not_yet: &[&str] = &["-h", "-n", "127.0.0.1", "-V", "+1d:+2d"];
    let other: &[&str] = &["-h", "-n", "mail.example.com", "-V", "-1d:+1d"];
    let user: &[&str] = &["-n", "127.0.0.1", "-V", "-1d:+1d"];
    let options: &[&str] = &["-h", "-n", "127.0.0.1", "-O", "critical:x@example.com=1"];
    let cases: &[(&[&str], &str, bool)] = &[
        (GOOD, "@cert-authority * CA", true),
        (GOOD, "@cert-authority NAME CA", true),
        (GOOD, "@cert-authority 127.0.0.1 CA", true),
        (GOOD, "@cert-authority 127.0.0.*,!127.0.0.2 CA", true),
        (GOOD, "@cert-authority !NAME,!127.0.0.1,* CA", false),
        (GOOD, "@cert-authority mail.example.com CA", false),
        (GOOD, "@cert-authority * KEY", false),
        (GOOD, "* CA", false),
        (GOOD, "@revoked * CA\n@cert-authority * CA", false),
        (GOOD, "@cert-authority * CA\n@revoked * KEY", false),
        (GOOD, "@cert-authority * CA\n@revoked * CA\nNAME KEY", false),
        // A certificate that is no use leaves the key, which may be known.
        (GOOD, "@cert-authority * KEY\nNAME KEY", true),
        (expired, "@cert-authority * CA", false),
        (expired, "@cert-authority * CA\nNAME KEY", true),
        (not_yet, "@cert-authority * CA", false),
        (other, "@cert-authority * CA", false),
        (other, "@cert-authority * CA\nNAME KEY", true),
        (user, "@cert-authority * CA", false),
        (options, "@cert-authority * CA", false),
    ];
    let mut servers: Vec<(&[&str], Certified)> = Vec::new();
    for (flags, text, expected) in cases {
        if !servers.iter().any(|(known, _)| known == flags) {
            servers.push((flags, Certified::start("ed25519", "ed25519", flags)));
        }
        let (_, server) = servers.iter().find(|(known, _)| known == flags).unwrap();
        let target = server.target(text);
        assert_eq!(openssh_takes(&target), *expected, "OpenSSH: {flags:?} {text}");
        assert_eq!(is_taken(target).await, *expected, "{flags:?} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_what_a_certificate_must_name() {
    let server = Certified::start("ed25519", "ed25519", &["-h", "-n", "mail", "-V", "-1d:+1d"]);
    for (alias, expected) in [(Some("mail"), true), (Some("other"), false), (None, false)] {
        let target = Target { host_key_alias: alias.map(String::from), ..server.target("@cert-authority * CA") };
        assert_eq!(openssh_takes(&target), expected, "OpenSSH: {alias:?}");
        assert_eq!(is_taken(target).await, expected, "{alias:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_may_be_certified_and_certify() {
    for (kind, authority) in [("rsa", "ed25519"), ("ecdsa", "rsa"), ("ed25519", "ecdsa")] {
        let server = Certified::start(kind, authority, GOOD);
        let target = server.target("@cert-authority * CA");
        assert!(openssh_takes(&target), "OpenSSH: {kind} by {authority}");
        assert!(is_taken(target).await, "{kind} by {authority}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_signs_with_sha1_vouches_for_nobody() {
    let mut flags = GOOD.to_vec();
    flags.extend(["-t", "ssh-rsa"]);
    let server = Certified::start("ed25519", "rsa", &flags);
    let target = server.target("@cert-authority * CA");
    assert!(!openssh_takes(&target));
    let text = refusal(target).await;
    assert!(text.contains("is signed with `ssh-rsa`, which is too weak"), "{text}");
}

/// As OpenSSH 10.3; before it wildcards matched nothing, and no names matched everything.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_certificate_may_be_patterns_and_there_must_be_one() {
    let server = Certified::start("ed25519", "ed25519", &["-h", "-n", "127.0.0.*", "-V", "-1d:+1d"]);
    assert!(is_taken(server.target("@cert-authority * CA")).await);
    let server = Certified::start("ed25519", "ed25519", &["-h", "-V", "-1d:+1d"]);
    let text = refusal(server.target("@cert-authority * CA")).await;
    assert!(text.contains("is for no host: it has no names"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_certificate_says_what_is_wrong_with_it() {
    let text = |flags: &'static [&'static str], known: &'static str| async move {
        let server = Certified::start("ed25519", "ed25519", flags);
        (refusal(server.target(known)).await, server)
    };
    let (expired, server) =
        text(&["-h", "-n", "127.0.0.1", "-V", "20200101000000Z:20200201000000Z"], "@cert-authority * CA").await;
    assert!(expired.contains("its certificate `the id` expired at 2020-02-01 00:00:00 UTC"), "{expired}");
    assert!(expired.contains(&server.fingerprint("host")), "{expired}");
    assert!(expired.contains("ssh-keygen -s CA -I ID -h -n 127.0.0.1"), "{expired}");
    let (early, _) =
        text(&["-h", "-n", "127.0.0.1", "-V", "20990101000000Z:20990201000000Z"], "@cert-authority * CA").await;
    assert!(early.contains("is not valid before 2099-01-01 00:00:00 UTC"), "{early}");
    let (other, _) = text(&["-h", "-n", "a.example.com,b"], "@cert-authority * CA").await;
    assert!(other.contains("is for `a.example.com`, `b`"), "{other}");
    let (user, _) = text(&["-n", "127.0.0.1"], "@cert-authority * CA").await;
    assert!(user.contains("is a user's, not a host's"), "{user}");
    let (options, _) = text(&["-h", "-n", "127.0.0.1", "-O", "critical:x@y=1"], "@cert-authority * CA").await;
    assert!(options.contains("has critical options that are not known: `x@y`"), "{options}");
    let (unknown, server) = text(GOOD, "# one\n@cert-authority * KEY").await;
    let parts = [
        format!("is signed by ED25519 {}, which is no authority for this host", server.fingerprint("ca")),
        format!("known is ED25519 {}", server.fingerprint("host")),
        "known_hosts:2)".into(),
        format!("@cert-authority 127.0.0.1 {}", server.public("ca")),
    ];
    assert!(parts.iter().all(|part| unknown.contains(part)), "{unknown}");
    let (revoked, server) = text(GOOD, "@cert-authority * CA\n@revoked * CA").await;
    assert!(revoked.contains("the authority that signed the host certificate of"), "{revoked}");
    assert!(revoked.contains(&server.fingerprint("ca")) && revoked.contains("known_hosts:2)"), "{revoked}");
    let (inside, server) = text(GOOD, "@cert-authority * CA\n@revoked * KEY").await;
    assert!(inside.contains("is revoked") && inside.contains(&server.fingerprint("host")), "{inside}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_bad_certificate_is_not_learnt() {
    let server = Certified::start("ed25519", "ed25519", &["-h", "-n", "other", "-V", "-1d:+1d"]);
    let mut target = server.target("@cert-authority * CA");
    target.host_key_checking = HostKeyChecking::AcceptNew;
    let before = std::fs::read_to_string(&target.known_hosts[0]).unwrap();
    refusal(target.clone()).await;
    assert_eq!(std::fs::read_to_string(&target.known_hosts[0]).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_other_half_is_told() {
    let server = Certified::start("ed25519", "ed25519", &["-h", "-n", "new.example.com", "-V", "-1d:+1d"]);
    let mut target = server.target("@cert-authority * CA");
    target.name = "old.example.com".into();
    let host = |name: &str, half| Neighbour { name: name.into(), address: name.into(), port: 22, half: Some(half) };
    target.neighbours =
        Neighbours::new(move || vec![host("old.example.com", Half::Old), host("new.example.com", Half::New)]);
    let text = refusal(target).await;
    let part = "this is the key of `new.example.com` (as its certificate says): the address `127.0.0.1` may already point to the new host";
    assert!(text.contains(part), "{text}");
}
