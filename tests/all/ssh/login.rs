//! How one is let in, and what is said when not.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cutover::secret::Secret;
use cutover::transport::posix::Carrier;
use cutover::transport::ssh::Target;
use tokio::net::TcpListener;

use super::{Embedded, connect, finish, refusal};
use crate::sshd::{Account, Agent, Sshd, make_key, run};

/// Says who one is there, over a connection of its own.
pub async fn who(target: Target) -> String {
    let channel = connect(target).await.start("id -un").await.expect("a channel");
    String::from_utf8(finish(channel, Vec::new()).await.stdout).expect("a name")
}

fn encrypt(key: &Path) {
    run(Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "a passphrase", "-f"]).arg(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_file_logs_in() {
    let sshd = Sshd::start("");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = sshd.path(&format!("id_of_{kind}"));
        make_key(kind, &key);
        sshd.authorize(&key);
        assert_eq!(who(Target { keys: vec![key], ..sshd.target() }).await, "root\n", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_in_an_agent_logs_in() {
    let sshd = Sshd::start("");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let agent = Agent::start();
        let key = sshd.path(&format!("id_of_{kind}"));
        make_key(kind, &key);
        sshd.authorize(&key);
        agent.add(&key);
        let target = Target { keys: vec![], agent: Some(agent.socket.clone()), ..sshd.target() };
        assert_eq!(who(target).await, "root\n", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_offers_the_named_key_before_the_server_has_had_enough() {
    let sshd = Sshd::start("MaxAuthTries 2");
    let (agent, target) = (Agent::start(), sshd.target());
    for number in 0..5 {
        let other = sshd.path(&format!("other{number}"));
        make_key("ed25519", &other);
        agent.add(&other);
    }
    agent.add(&target.keys[0]);
    encrypt(&target.keys[0]);
    let named = Target { agent: Some(agent.socket.clone()), ..target.clone() };
    assert_eq!(who(named).await, "root\n");

    let unnamed = refusal(Target { agent: Some(agent.socket.clone()), keys: vec![], ..target }).await;
    assert!(unnamed.contains("the host ended the connection"), "{unnamed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_host_does_not_know_is_named() {
    let sshd = Sshd::start("PasswordAuthentication no");
    let stranger = sshd.path("stranger");
    make_key("ed25519", &stranger);
    let absent = sshd.path("absent");
    let text = refusal(Target { keys: vec![stranger.clone(), absent.clone()], ..sshd.target() }).await;
    assert!(text.contains(&format!("key `{}`", stranger.display())), "{text}");
    assert!(text.contains(&format!("key `{}` (no such file)", absent.display())), "{text}");
    assert!(text.contains("the host takes: publickey"), "{text}");
    assert!(text.contains(&format!("root@127.0.0.1 port {}", sshd.port)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_is_named_with_the_way_out() {
    let sshd = Sshd::start("");
    let target = sshd.target();
    encrypt(&target.keys[0]);
    let text = refusal(target.clone()).await;
    assert!(text.contains(&format!("hint: `{0}` has a passphrase: `ssh-add {0}`", target.keys[0].display())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_logs_in() {
    let (sshd, account) = (Sshd::start("KbdInteractiveAuthentication no"), Account::create());
    let login = |password| Target { user: account.name.clone(), password, keys: vec![], ..sshd.target() };
    assert_eq!(who(login(Some(account.password.clone()))).await, format!("{}\n", account.name));

    let text = refusal(login(Some(Secret::new("something else")))).await;
    assert!(text.contains("tried: nothing, password;"), "{text}");
    assert!(!text.contains("something else"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_answers_the_questions_of_pam() {
    let sshd = Sshd::start("UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes");
    let account = Account::create();
    let login = |password| Target { user: account.name.clone(), password, keys: vec![], ..sshd.target() };
    assert_eq!(who(login(Some(account.password.clone()))).await, format!("{}\n", account.name));

    let text = refusal(login(Some(Secret::new("something else")))).await;
    assert!(text.contains("tried: nothing, keyboard-interactive;"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_wants_key_and_password_gets_both() {
    let sshd = Sshd::start("AuthenticationMethods publickey,password");
    let account = Account::create();
    let login = |password| Target { user: account.name.clone(), password, ..sshd.target() };
    assert_eq!(who(login(Some(account.password.clone()))).await, format!("{}\n", account.name));

    let text = refusal(login(None)).await;
    assert!(text.contains("(accepted, not enough)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_wants_the_key_last_gets_it_last() {
    let account = Account::create();
    let name = format!("{}\n", account.name);
    let ways = ["password,publickey", "publickey,keyboard-interactive", "keyboard-interactive,publickey"];
    for methods in ways {
        let sshd =
            Sshd::start(&format!("UsePAM yes\nKbdInteractiveAuthentication yes\nAuthenticationMethods {methods}"));
        let password = Some(account.password.clone());
        assert_eq!(who(Target { user: account.name.clone(), password, ..sshd.target() }).await, name, "{methods}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_wants_two_keys_gets_two() {
    let sshd = Sshd::start("AuthenticationMethods publickey,publickey");
    let (first, second) = (sshd.target().keys[0].clone(), sshd.path("second"));
    make_key("ed25519", &second);
    sshd.authorize(&second);
    assert_eq!(who(Target { keys: vec![first.clone(), second], ..sshd.target() }).await, "root\n");
    let text = refusal(Target { keys: vec![first], ..sshd.target() }).await;
    assert!(text.contains("(accepted, not enough)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_takes_its_key_its_password_and_nobody_else() {
    let embedded = Embedded::start(|_| {}).await;
    let target = embedded.target();
    connect(target.clone()).await;
    let password = |text: &str| Target { keys: vec![], password: Some(Secret::new(text)), ..target.clone() };
    connect(password("a password")).await;
    refusal(password("another")).await;
    refusal(Target { user: "other".into(), ..password("a password") }).await;
    refusal(Target { user: "other".into(), ..target.clone() }).await;
    make_key("ed25519", &embedded.directory.path().join("stranger"));
    refusal(Target { keys: vec![embedded.directory.path().join("stranger")], ..target.clone() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_keeps_its_host_key() {
    use std::os::unix::fs::PermissionsExt;
    let embedded = Embedded::start(|_| {}).await;
    let key = embedded.directory.path().join("host_key");
    assert_eq!(std::fs::metadata(&key).expect("a file").permissions().mode() & 0o777, 0o600);
    let line = |embedded: &Embedded| embedded.server.known_hosts_line().split_once(' ').expect("words").1.to_owned();
    let again = Embedded::start(|options| options.host_key = key.clone()).await;
    assert_eq!(line(&again), line(&embedded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut target = Target::new("silent", "root", Path::new("/nonexistent"));
    target.address = "127.0.0.1".into();
    target.port = listener.local_addr().expect("an address").port();
    target.connect_timeout = Duration::from_millis(200);
    let (text, accepted) = tokio::join!(refusal(target), listener.accept());
    assert!(text.ends_with("no answer within 0.2 s while exchanging keys"), "{text}");
    // And its socket is closed, not kept by a task that waits for ever.
    let (mut stream, _) = accepted.expect("a connection");
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.expect("the end of the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_an_error_with_its_place() {
    let mut target = Target::new("closed", "root", Path::new("/nonexistent"));
    target.address = "127.0.0.1".into();
    target.port = crate::sshd::free_port();
    let text = refusal(target.clone()).await;
    assert!(text.starts_with(&format!("root@127.0.0.1 port {}: Connection refused", target.port)), "{text}");
}
