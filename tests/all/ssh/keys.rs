//! Keys, certificates and agents: what is shown to a host, in which order, and who is asked for a passphrase.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cutover::secret::Secret;
use cutover::transport::ssh::{Algorithms, Ask, Client, Keyring, Profile, Target};
use tokio::net::UnixListener;

use super::login::who;
use super::refusal;
use crate::sshd::{Agent, Sshd, make_key, run};

const PASSPHRASE: &str = "a passphrase";

fn encrypt(key: &Path, format: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-p", "-P", "", "-N", PASSPHRASE, "-m", format, "-f"]);
    run(command.arg(key));
}

/// A key that the server knows, with a passphrase.
fn encrypted(sshd: &Sshd, (kind, format): (&str, &str)) -> PathBuf {
    let key = sshd.path(&format!("id_{kind}_{format}"));
    make_key(kind, &key);
    sshd.authorize(&key);
    encrypt(&key, format);
    key
}

/// A run whose person gives these answers, and how often they were asked.
fn person(answers: &'static [&'static str]) -> (Arc<Client>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = count.clone();
    let ask: Ask = Arc::new(move |prompt: String| {
        assert!(prompt.contains("Enter passphrase for key"), "{prompt}");
        let answer = answers.get(asked.fetch_add(1, Ordering::SeqCst)).map(|answer| Secret::new(*answer));
        Box::pin(async move {
            // As slow as a person is, compared to the time limit of these tests.
            tokio::time::sleep(Duration::from_millis(300)).await;
            answer
        })
    });
    (Arc::new(Client::new(Keyring::new(ask))), count)
}

async fn outcome(client: &Arc<Client>, target: Target) -> Result<(), String> {
    client.connect(target).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_is_asked_for_once_for_all_hosts() {
    let (one, other) = (Sshd::start(""), Sshd::start(""));
    let key = encrypted(&one, ("ed25519", "RFC4716"));
    other.authorize(&key);
    let (client, asked) = person(&[PASSPHRASE]);
    let connect = |sshd: &Sshd| {
        let target = Target { keys: vec![key.clone()], ..sshd.target() };
        let client = client.clone();
        async move { outcome(&client, target).await }
    };
    let both = tokio::join!(connect(&one), connect(&other));
    assert_eq!(both, (Ok(()), Ok(())));
    assert_eq!(connect(&one).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_a_person_takes_is_not_the_hosts() {
    let sshd = Sshd::start("");
    let key = encrypted(&sshd, ("ed25519", "RFC4716"));
    let ask: Ask = Arc::new(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            Some(Secret::new(PASSPHRASE))
        })
    });
    let client = Arc::new(Client::new(Keyring::new(ask)));
    let target = Target { keys: vec![key], connect_timeout: Duration::from_secs(5), ..sshd.target() };
    assert_eq!(outcome(&client, target).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_of_an_encrypted_key_is_opened() {
    let sshd = Sshd::start("");
    let kinds = [
        ("ed25519", "RFC4716"),
        ("ecdsa", "RFC4716"),
        ("rsa", "RFC4716"),
        ("rsa", "PEM"),
        ("rsa", "PKCS8"),
        ("ecdsa", "PKCS8"),
    ];
    for kind in kinds {
        let key = encrypted(&sshd, kind);
        // Old files do not say whose they are.
        std::fs::remove_file(key.with_extension("pub")).expect("a file");
        let (client, asked) = person(&[PASSPHRASE]);
        let target = Target { keys: vec![key], ..sshd.target() };
        assert_eq!(outcome(&client, target).await, Ok(()), "{kind:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_cannot_be_opened_is_named() {
    let sshd = Sshd::start("");
    let key = encrypted(&sshd, ("ecdsa", "PEM"));
    let text = refusal(Target { keys: vec![key.clone()], ..sshd.target() }).await;
    let named =
        format!("key `{}` (a PEM key encrypted with AES-128-CBC is not supported; `ssh-keygen -p -f`", key.display());
    assert!(text.contains(&named), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_is_asked_for_three_times_and_no_more_in_the_run() {
    let sshd = Sshd::start("");
    let target = Target { keys: vec![encrypted(&sshd, ("ed25519", "RFC4716"))], ..sshd.target() };
    let (client, asked) = person(&["no", "not this", "nor that", PASSPHRASE]);
    for _ in 0..2 {
        let text = outcome(&client, target.clone()).await.expect_err("a refusal");
        assert!(text.contains("(encrypted, and the passphrase was wrong)") && !text.contains("nor that"), "{text}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let (client, asked) = person(&["no", PASSPHRASE]);
    assert_eq!(outcome(&client, target.clone()).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let (client, _) = person(&[]);
    let text = outcome(&client, target).await.expect_err("a refusal");
    assert!(text.contains("(encrypted, and no passphrase was given)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_for_a_key_that_the_host_does_not_take() {
    let sshd = Sshd::start("");
    let stranger = sshd.path("stranger");
    make_key("ed25519", &stranger);
    encrypt(&stranger, "RFC4716");
    let (client, asked) = person(&[PASSPHRASE]);
    let text = outcome(&client, Target { keys: vec![stranger], ..sshd.target() }).await.expect_err("a refusal");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_for_a_key_that_the_agent_has() {
    let sshd = Sshd::start("");
    let (agent, key) = (Agent::start(), sshd.path("id_in_agent"));
    make_key("ed25519", &key);
    sshd.authorize(&key);
    agent.add(&key);
    encrypt(&key, "RFC4716");
    let (client, asked) = person(&[PASSPHRASE]);
    let target = Target { keys: vec![key], agent: Some(agent.socket.clone()), ..sshd.target() };
    assert_eq!(outcome(&client, target).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_is_the_last_resort() {
    let sshd = Sshd::start("");
    let (locked, open) = (encrypted(&sshd, ("ed25519", "RFC4716")), sshd.target().keys[0].clone());
    let (client, asked) = person(&[PASSPHRASE]);
    assert_eq!(outcome(&client, Target { keys: vec![locked, open], ..sshd.target() }).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

/// Makes an authority that the server trusts, and signs `key` with it for root. Returns the certificate's path.
fn certify(sshd: &Sshd, key: &Path, validity: &str) -> PathBuf {
    let authority = sshd.path("authority");
    if !authority.exists() {
        make_key("ed25519", &authority);
    }
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-I", "a user", "-n", "root", "-V", validity, "-s"]).arg(&authority);
    run(command.arg(key.with_extension("pub")));
    PathBuf::from(format!("{}-cert.pub", key.display()))
}

/// A server that trusts an authority whose key is made by the first [`certify`].
fn trusting() -> (Sshd, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let trusted = directory.path().join("trusted");
    let sshd = Sshd::start(&format!("TrustedUserCAKeys {}", trusted.display()));
    let authority = sshd.path("authority");
    make_key("ed25519", &authority);
    std::fs::copy(authority.with_extension("pub"), &trusted).expect("a file");
    (sshd, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_beside_its_key_logs_in() {
    let (sshd, _trusted) = trusting();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = sshd.path(&format!("user_{kind}"));
        make_key(kind, &key);
        certify(&sshd, &key, "-1h:+1h");
        assert_eq!(who(Target { keys: vec![key], ..sshd.target() }).await, "root\n", "{kind}");
    }
    assert_eq!(sshd.log().matches("ID a user").count(), 3, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_file_of_its_own_logs_in_and_the_one_beside_is_left() {
    let (sshd, _trusted) = trusting();
    let key = sshd.path("user");
    make_key("ed25519", &key);
    let elsewhere = sshd.path("elsewhere");
    std::fs::rename(certify(&sshd, &key, "-1h:+1h"), &elsewhere).expect("a file");
    certify(&sshd, &key, "-2h:-1h");
    let target = Target { keys: vec![key.clone()], certificates: vec![elsewhere], ..sshd.target() };
    assert_eq!(who(target).await, "root\n");
    assert!(!sshd.log().contains("expired"), "{}", sshd.log());

    // The agent signs for it too, whose key it is.
    let agent = Agent::start();
    std::fs::remove_file(sshd.path("user-cert.pub")).expect("a file");
    agent.add(&key);
    let target = Target {
        keys: vec![],
        certificates: vec![sshd.path("elsewhere")],
        agent: Some(agent.socket.clone()),
        ..sshd.target()
    };
    assert_eq!(who(target).await, "root\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_in_an_agent_logs_in() {
    let (sshd, _trusted) = trusting();
    for kind in ["ed25519", "rsa"] {
        let (agent, key) = (Agent::start(), sshd.path(&format!("agents_{kind}")));
        make_key(kind, &key);
        certify(&sshd, &key, "-1h:+1h");
        // `ssh-add` takes the certificate beside the key too.
        agent.add(&key);
        let target = Target { keys: vec![], agent: Some(agent.socket.clone()), ..sshd.target() };
        assert_eq!(who(target).await, "root\n", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_or_is_a_hosts_is_named() {
    let (sshd, _trusted) = trusting();
    let key = sshd.path("user");
    make_key("ed25519", &key);
    let certificate = certify(&sshd, &key, "-2h:-1h");
    let text = refusal(Target { keys: vec![key.clone()], ..sshd.target() }).await;
    assert!(text.contains(&format!("certificate `{}`", certificate.display())), "{text}");

    run(Command::new("ssh-keygen")
        .args(["-q", "-h", "-I", "a host", "-s"])
        .arg(sshd.path("authority"))
        .arg(key.with_extension("pub")));
    let text = refusal(Target { keys: vec![key], ..sshd.target() }).await;
    assert!(
        text.contains(&format!("certificate `{}` (it is a host's, not a user's)", certificate.display())),
        "{text}"
    );
}

/// An agent with keys that no server knows.
fn agent_of_strangers(sshd: &Sshd) -> Agent {
    let agent = Agent::start();
    for number in 0..8 {
        let key = sshd.path(&format!("stranger{number}"));
        make_key("ed25519", &key);
        agent.add(&key);
    }
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_key_is_shown_before_the_many_of_an_agent() {
    let sshd = Sshd::start("MaxAuthTries 2");
    let agent = agent_of_strangers(&sshd);
    let target = Target { agent: Some(agent.socket.clone()), ..sshd.target() };
    assert_eq!(who(target.clone()).await, "root\n");

    let text = refusal(Target { keys: vec![], ..target }).await;
    assert!(text.contains("Too many authentication failures"), "{text}");
    assert!(text.contains("hint: name the right key (`ansible_ssh_private_key_file`)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_only_leaves_the_agents_other_keys_alone() {
    let sshd = Sshd::start("");
    let (agent, target) = (Agent::start(), sshd.target());
    let (known, other) = (target.keys[0].clone(), sshd.path("other"));
    agent.add(&known);
    make_key("ed25519", &other);
    let target = Target { keys: vec![other], agent: Some(agent.socket.clone()), ..target };
    assert_eq!(who(target.clone()).await, "root\n");
    let only = Target { identities_only: true, ..target };
    assert!(!refusal(only.clone()).await.contains("agent key"), "the agent's key was shown");

    // A key of which only the public half is here is the agent's to use.
    let public = sshd.path("public_half");
    std::fs::copy(known.with_extension("pub"), public.with_extension("pub")).expect("a file");
    assert_eq!(who(Target { keys: vec![public.clone()], ..only.clone() }).await, "root\n");
    assert_eq!(who(Target { keys: vec![public.with_extension("pub")], ..only }).await, "root\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_not_there_is_no_obstacle() {
    let sshd = Sshd::start("");
    let target = Target { agent: Some(sshd.path("no_agent")), ..sshd.target() };
    assert_eq!(who(target.clone()).await, "root\n");
    let text = refusal(Target { keys: vec![], ..target }).await;
    assert!(text.contains(&format!("agent `{}` (No such file", sshd.path("no_agent").display())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_answer_is_named() {
    let sshd = Sshd::start("");
    let socket = sshd.path("silent_agent");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let target = Target { agent: Some(socket.clone()), connect_timeout: Duration::from_secs(3), ..sshd.target() };
    let text = refusal(target).await;
    assert!(text.ends_with(&format!("no answer within 3 s while asking the agent `{}`", socket.display())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_signs_with_what_the_user_allows() {
    for algorithm in ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] {
        let sshd = Sshd::start(&format!("PubkeyAcceptedAlgorithms {algorithm}"));
        let key = sshd.path("id_rsa");
        make_key("rsa", &key);
        sshd.authorize(&key);
        let agent = Agent::start();
        agent.add(&key);
        let allowed = Algorithms { public_keys: Some(algorithm.into()), ..Algorithms::default() };
        let target = Target { keys: vec![key.clone()], algorithms: allowed, ..sshd.target() };
        assert_eq!(who(target.clone()).await, "root\n", "{algorithm}");
        let of_agent = Target { keys: vec![], agent: Some(agent.socket.clone()), ..target.clone() };
        assert_eq!(who(of_agent).await, "root\n", "{algorithm}");

        let none = Algorithms { public_keys: Some("ssh-ed25519".into()), ..Algorithms::default() };
        let text = refusal(Target { algorithms: none, ..target }).await;
        assert!(text.contains(&format!("key `{}` (no RSA signature is among", key.display())), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dsa_key_needs_the_legacy_profile() {
    let sshd = Sshd::start("PubkeyAcceptedAlgorithms +ssh-dss");
    let key = sshd.path("id_dsa");
    make_key("dsa", &key);
    sshd.authorize(&key);
    let target = Target { keys: vec![key.clone()], ..sshd.target() };
    let text = refusal(target.clone()).await;
    assert!(
        text.contains(&format!("key `{}` (`ssh-dss` is not among `PubkeyAcceptedAlgorithms`)", key.display())),
        "{text}"
    );
    let legacy = Algorithms { profile: Profile::Legacy, ..Algorithms::default() };
    assert_eq!(who(Target { algorithms: legacy, ..target }).await, "root\n");
}
