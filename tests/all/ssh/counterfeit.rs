//! An SSH server of this process that says and asks what no real one here does: other versions, other questions.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cutover::secret::Secret;
use cutover::transport::ssh::{Algorithms, Profile, Target};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, Handler, PublicKeyOffer, Response, VerifiedPublicKey};
use russh::{MethodKind, MethodSet, SshId};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::refusal;
use crate::sshd::make_key;

/// How it behaves.
#[derive(Clone)]
struct Manners {
    version: &'static str,
    methods: Vec<MethodKind>,
    /// The key algorithms that it knows.
    keys: Vec<Algorithm>,
    /// Each round's question, and whether its answer is shown.
    questions: Vec<(&'static str, bool)>,
    lets_everybody_in: bool,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            version: "SSH-2.0-OpenSSH_9.9",
            methods: vec![MethodKind::PublicKey],
            keys: vec![Algorithm::Ed25519, Algorithm::Rsa { hash: None }],
            questions: Vec::new(),
            lets_everybody_in: false,
        }
    }
}

struct Counterfeit {
    port: u16,
    known_hosts_line: String,
    heard: Arc<Mutex<Vec<String>>>,
    directory: tempfile::TempDir,
    listening: JoinHandle<()>,
}

impl Counterfeit {
    async fn start(manners: Manners) -> Counterfeit {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let public = key.public_key().to_openssh().expect("a line");
        let mut config = server::Config {
            server_id: SshId::Standard(Cow::Borrowed(manners.version)),
            methods: MethodSet::from(&manners.methods[..]),
            keys: vec![key],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        };
        config.preferred.key = Cow::Owned(manners.keys.clone());
        let (config, heard) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
        let visitors = heard.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let host = Host { manners: manners.clone(), heard: visitors.clone(), round: 0 };
                if let Ok(session) = server::run_stream(config.clone(), stream, host).await {
                    tokio::spawn(session);
                }
            }
        });
        let known_hosts_line = format!("[127.0.0.1]:{port} {public}");
        let directory = tempfile::tempdir().expect("a directory");
        Counterfeit { port, known_hosts_line, heard, directory, listening }
    }

    fn target(&self) -> Target {
        let known_hosts = self.directory.path().join("known_hosts");
        std::fs::write(&known_hosts, &self.known_hosts_line).expect("a file");
        let mut target = Target::new("counterfeit", "user", self.directory.path());
        (target.address, target.port) = ("127.0.0.1".into(), self.port);
        (target.keys, target.known_hosts) = (vec![], vec![known_hosts]);
        target
    }

    fn key(&self, kind: &str) -> PathBuf {
        let key = self.directory.path().join(kind);
        make_key(kind, &key);
        key
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("a list").clone()
    }
}

impl Drop for Counterfeit {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Host {
    manners: Manners,
    heard: Arc<Mutex<Vec<String>>>,
    round: usize,
}

impl Host {
    fn note(&self, text: String) {
        self.heard.lock().expect("a list").push(text);
    }
}

impl Handler for Host {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        self.note("none".into());
        Ok(if self.manners.lets_everybody_in { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey_offered(&mut self, _: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        self.note(format!("offered {}", offer.algorithm));
        Ok(if self.manners.keys.contains(offer.algorithm) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.note(format!("signed {}", key.algorithm));
        Ok(Auth::Accept)
    }

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, russh::Error> {
        self.note(format!("password {password}"));
        Ok(Auth::reject())
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if let Some(response) = response {
            for answer in response {
                self.note(format!("answer `{}`", String::from_utf8_lossy(&answer)));
            }
            self.round += 1;
        }
        Ok(match self.manners.questions.get(self.round) {
            Some((question, echo)) => Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![(Cow::Borrowed(*question), *echo)].into(),
            },
            None if self.manners.questions.len() == 1 => Auth::Accept,
            None => Auth::reject(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_host_is_shown_an_rsa_key_with_sha1_only_where_that_is_allowed() {
    let host = Counterfeit::start(Manners { version: "SSH-2.0-OpenSSH_5.3", ..Manners::default() }).await;
    let target = Target { keys: vec![host.key("rsa")], ..host.target() };
    let text = refusal(target.clone()).await;
    assert!(text.contains("(the host takes RSA keys with SHA-1 only)"), "{text}");
    assert!(
        text.contains("hint: one of these among the variables of `counterfeit` allows it: `ssh_profile: legacy`"),
        "{text}"
    );
    assert!(text.contains("'-o PubkeyAcceptedAlgorithms=+ssh-rsa'"), "{text}");
    assert_eq!(host.heard(), ["none"]);

    let legacy = Algorithms { profile: Profile::Legacy, ..Algorithms::default() };
    super::connect(Target { algorithms: legacy, ..target }).await;
    assert_eq!(host.heard()[1..], ["offered ssh-rsa", "signed ssh-rsa"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_host_is_shown_what_it_says_that_it_takes() {
    let sha2 = |hash| vec![Algorithm::Ed25519, Algorithm::Rsa { hash: Some(hash) }];
    for (hash, name) in [(russh::keys::HashAlg::Sha512, "rsa-sha2-512"), (russh::keys::HashAlg::Sha256, "rsa-sha2-256")]
    {
        for profile in [Profile::Modern, Profile::Legacy] {
            let host = Counterfeit::start(Manners { keys: sha2(hash), ..Manners::default() }).await;
            let algorithms = Algorithms { profile, ..Algorithms::default() };
            super::connect(Target { keys: vec![host.key("rsa")], algorithms, ..host.target() }).await;
            assert_eq!(host.heard(), [format!("offered {name}"), format!("signed {name}")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_with_rsa_waits_for_no_clock() {
    let host = Counterfeit::start(Manners { version: "SSH-2.0-OpenSSH_5.3", ..Manners::default() }).await;
    let legacy = Algorithms { profile: Profile::Legacy, ..Algorithms::default() };
    let target = Target { keys: vec![host.key("rsa")], algorithms: legacy, ..host.target() };
    // With a second of waiting in each this would take half a minute more.
    let logins = async {
        for _ in 0..30 {
            super::connect(target.clone()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), logins).await.expect("no waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lets_everybody_in_is_asked_for_nothing() {
    let host = Counterfeit::start(Manners { lets_everybody_in: true, ..Manners::default() }).await;
    super::connect(host.target()).await;
    assert_eq!(host.heard(), ["none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_without_asking_first_what_the_host_takes() {
    let host = Counterfeit::start(Manners::default()).await;
    super::connect(Target { keys: vec![host.key("ed25519")], ..host.target() }).await;
    assert_eq!(host.heard(), ["offered ssh-ed25519", "signed ssh-ed25519"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_answers_the_first_hidden_question_alone() {
    let password = Some(Secret::new("pa55word"));
    let asking = |questions: &[(&'static str, bool)]| Manners {
        methods: vec![MethodKind::KeyboardInteractive],
        questions: questions.to_vec(),
        ..Manners::default()
    };
    let host = Counterfeit::start(asking(&[("Password: ", false)])).await;
    super::connect(Target { password: password.clone(), ..host.target() }).await;
    assert_eq!(host.heard(), ["none", "answer `pa55word`"]);

    let host = Counterfeit::start(asking(&[("Password: ", false), ("One-time code: ", false)])).await;
    let text = refusal(Target { password: password.clone(), ..host.target() }).await;
    assert_eq!(host.heard(), ["none", "answer `pa55word`", "answer ``"]);
    assert!(
        text.contains("keyboard-interactive (no answer to `One-time code:`)") && !text.contains("pa55word"),
        "{text}"
    );

    let host = Counterfeit::start(asking(&[("Favourite colour: ", true), ("really? ", true)])).await;
    let text = refusal(Target { password, ..host.target() }).await;
    assert!(!host.heard().concat().contains("pa55word"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keyboard_interactive_goes_before_the_password_as_in_ssh() {
    let methods = vec![MethodKind::Password, MethodKind::KeyboardInteractive];
    let questions = vec![("Password: ", false), ("Again: ", false)];
    let host = Counterfeit::start(Manners { methods, questions, ..Manners::default() }).await;
    refusal(Target { password: Some(Secret::new("pa55word")), ..host.target() }).await;
    assert_eq!(host.heard(), ["none", "answer `pa55word`", "answer ``", "password pa55word"]);
}
