//! The login: keys, keyboard-interactive and password, in the order of `ssh`.

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::{Error, MethodKind, MethodSet, SendError};
use tokio::net::UnixStream;

use super::algorithms::List;
use super::host_key::Report;
use super::identity::{Files, Identity, KeyFile, Private, Public, Signer};
use super::keyring::{Keyring, Locked};
use super::link::Watcher;
use super::patience::Patience;
use super::rsa::RsaHashes;
use super::target::Target;
use crate::secret::Secret;
use crate::transport::TransportError;

/// How often a server may ask back: a password once, then perhaps a notice.
const ROUNDS: usize = 8;

/// What a login needs beside its target.
pub struct Session<'a> {
    pub handle: &'a mut Handle<Watcher>,
    pub keyring: &'a Keyring,
    pub patience: &'a Patience,
    pub report: &'a Report,
    /// The host's software, as it names itself: `SSH-2.0-OpenSSH_5.3`.
    pub version: String,
}

/// Logs in, or says what was tried.
pub async fn log_in(session: Session<'_>, target: &Target) -> Result<(), TransportError> {
    let mut login =
        Login { session, target, tried: Vec::new(), hints: Vec::new(), methods: None, hashes: None, partly: false };
    let result = login.attempt_all().await;
    match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(login.failure(None)),
        Err(error) => {
            let end = login.end(error).await;
            Err(login.failure(Some(end)))
        }
    }
}

struct Login<'a> {
    session: Session<'a>,
    target: &'a Target,
    /// What the server turned down or could not be used.
    tried: Vec<String>,
    hints: Vec<String>,
    /// What the server says it would still take; nothing is known before its first answer.
    methods: Option<MethodSet>,
    /// What the server takes RSA signatures with, once that was needed.
    hashes: Option<RsaHashes>,
    /// What was tried last was right, but the server wants more.
    partly: bool,
}

/// What is still to be shown or said.
struct Left<'a> {
    identities: std::collections::VecDeque<Identity>,
    /// Shown, and turned down: perhaps because something else has to come first.
    shown: Vec<Identity>,
    prompts: Option<&'a Secret>,
    password: Option<&'a Secret>,
}

impl Login<'_> {
    /// Tries one thing after the other. A server that wants several methods says after each which ones it still wants.
    async fn attempt_all(&mut self) -> Result<bool, Error> {
        let target = self.target;
        let files = Files::read(target).await;
        self.tried.extend(files.unusable.iter().cloned());
        let (mut agent, held) = self.open_agent().await.unzip();
        let held = held.unwrap_or_default();
        let password = target.password.as_ref();
        let identities = files.identities(&held, target.identities_only).into();
        let mut left = Left { identities, shown: Vec::new(), prompts: password, password };
        loop {
            if std::mem::take(&mut self.partly) {
                left.identities.extend(left.shown.drain(..));
            }
            if self.takes(MethodKind::PublicKey)
                && let Some(identity) = left.identities.pop_front()
            {
                if self.attempt_identity(&identity, agent.as_mut(), &held).await? {
                    return Ok(true);
                }
                if !self.partly {
                    left.shown.push(identity);
                }
            } else if self.methods.is_none() {
                // Nothing to show, so ask for what the server takes; some let everybody in.
                let result = self.session.handle.authenticate_none(&target.user).await?;
                if self.turned_down("nothing", result)? {
                    return Ok(true);
                }
            } else if self.takes(MethodKind::KeyboardInteractive)
                && let Some(password) = left.prompts.take()
            {
                if self.attempt_prompts(password).await? {
                    return Ok(true);
                }
            } else if self.takes(MethodKind::Password)
                && let Some(password) = left.password.take()
            {
                self.stage("the password");
                let attempt = self.session.handle.authenticate_password(&target.user, password.reveal());
                let result = attempt.await?;
                if self.turned_down("password", result)? {
                    return Ok(true);
                }
            } else {
                let useless = files.useless(&held);
                let lines = useless.iter().map(|(path, reason)| format!("key `{}` ({reason})", path.display()));
                self.tried.extend(lines);
                return Ok(false);
            }
        }
    }

    /// Connects to the agent and asks for its keys. `None`: there is none, or it does not answer as one.
    async fn open_agent(&mut self) -> Option<(AgentClient<UnixStream>, Vec<AgentIdentity>)> {
        let socket = self.target.agent.as_ref()?;
        Report::set(&self.session.report.stage, format!("asking the agent `{}`", socket.display()));
        let binding = self.session.handle.agent_session_binding().cloned();
        let opened = async {
            let mut agent = AgentClient::connect_uds(socket).await?;
            if let Some(binding) = binding {
                // Keys that are bound to certain hosts need it; an agent that does not know it has none.
                let _ = agent.bind_session(&binding, false).await;
            }
            let held = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, held))
        };
        let opened = opened.await;
        self.stage("keys");
        opened.map_err(|error| self.tried.push(format!("agent `{}` ({error})", socket.display()))).ok()
    }

    async fn attempt_identity(
        &mut self,
        identity: &Identity,
        agent: Option<&mut AgentClient<UnixStream>>,
        held: &[AgentIdentity],
    ) -> Result<bool, Error> {
        self.stage(&identity.name);
        let public = match (&identity.public, &identity.signer) {
            (Some(public), _) => public.clone(),
            // An old file does not say whose it is before it is unlocked.
            (None, Signer::File(file)) => match self.private(file).await {
                Ok(key) => Public::Key(key.public_key().clone()),
                Err(why) => return Ok(self.cannot(identity, why)),
            },
            (None, Signer::Agent) => return Ok(false),
        };
        let hash = match self.hash_for(&public).await {
            Ok(hash) => hash,
            Err(why) => return Ok(self.cannot(identity, Unsigned::Other(why))),
        };
        let by = match (&identity.signer, agent) {
            (Signer::Agent, Some(agent)) => By::Agent(agent, Box::new(plain_or_held(&public, held))),
            (Signer::Agent, None) => return Ok(false),
            (Signer::File(file), _) => By::File(file, self.session.keyring, self.session.patience),
        };
        let (user, handle) = (&self.target.user, &mut *self.session.handle);
        let mut hand = Hand(by);
        let result = match public {
            Public::Key(key) => handle.authenticate_publickey_with(user, key, hash, &mut hand).await,
            Public::Certificate(certificate) => {
                handle.authenticate_certificate_with(user, *certificate, hash, &mut hand).await
            }
        };
        match result {
            Ok(result) => self.turned_down(&identity.name, result),
            Err(Unsigned::Gone) => Err(Error::Disconnect),
            // The server said it would take this one, and waits for the next.
            Err(why) => Ok(self.cannot(identity, why)),
        }
    }

    async fn private(&self, file: &KeyFile) -> Result<std::sync::Arc<PrivateKey>, Unsigned> {
        unlocked(file, self.session.keyring, self.session.patience).await
    }

    /// Answers the first question whose answer is not to be seen with the password. Another one is not about it.
    async fn attempt_prompts(&mut self, password: &Secret) -> Result<bool, Error> {
        self.stage("keyboard-interactive");
        let start = self.session.handle.authenticate_keyboard_interactive_start(&self.target.user, None);
        let (mut answer, mut password, mut unanswered) = (start.await?, Some(password), None);
        for _ in 0..ROUNDS {
            answer = match answer {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                    let name = match unanswered {
                        None => "keyboard-interactive".into(),
                        Some(prompt) => format!("keyboard-interactive (no answer to `{prompt}`)"),
                    };
                    return self.turned_down(&name, AuthResult::Failure { remaining_methods, partial_success });
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let replies = prompts.iter().map(|prompt| {
                        let known = if prompt.echo { None } else { password.take() };
                        if known.is_none() {
                            unanswered = Some(prompt.prompt.trim().to_string());
                        }
                        known.map(|password| password.reveal().to_string()).unwrap_or_default()
                    });
                    let replies = replies.collect();
                    self.session.handle.authenticate_keyboard_interactive_respond(replies).await?
                }
            };
        }
        self.tried.push("keyboard-interactive (too many questions)".into());
        Err(Error::Disconnect)
    }

    /// Says whether the server let us in, and notes what it said if not.
    fn turned_down(&mut self, name: &str, result: AuthResult) -> Result<bool, Error> {
        match result {
            AuthResult::Success => Ok(true),
            AuthResult::Failure { remaining_methods, partial_success } => {
                self.tried.push(if partial_success { format!("{name} (accepted, not enough)") } else { name.into() });
                if self.session.handle.is_closed() {
                    return Err(Error::Disconnect);
                }
                self.methods = Some(remaining_methods);
                self.partly |= partial_success;
                Ok(false)
            }
        }
    }

    /// Notes why something was not shown or signed for.
    fn cannot(&mut self, identity: &Identity, why: Unsigned) -> bool {
        let path = match &identity.signer {
            Signer::File(file) => file.path.display().to_string(),
            Signer::Agent => String::new(),
        };
        let (reason, hint) = match why {
            Unsigned::Locked(Locked::NobodyToAsk) => {
                let hint = format!("`{path}` has a passphrase: `ssh-add {path}` hands it to an agent");
                ("encrypted, and there is no terminal to ask for its passphrase".to_string(), Some(hint))
            }
            Unsigned::Locked(Locked::NoAnswer) => ("encrypted, and no passphrase was given".into(), None),
            Unsigned::Locked(Locked::WrongPassphrase) => ("encrypted, and the passphrase was wrong".into(), None),
            Unsigned::Gone => ("the connection ended".into(), None),
            Unsigned::Other(reason) => (reason, None),
        };
        self.tried.push(format!("{} ({reason})", identity.name));
        self.hints.extend(hint);
        false
    }

    fn takes(&self, method: MethodKind) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(&method))
    }

    /// Finds what to sign with: the hash of an RSA key, nothing for another. The error is why it may not sign at all.
    async fn hash_for(&mut self, public: &Public) -> Result<Option<HashAlg>, String> {
        let accepted = self.target.algorithms.names(List::PublicKeys)?;
        let algorithm = public.algorithm();
        let certificate = matches!(public, Public::Certificate(_));
        let name = |algorithm: &russh::keys::Algorithm| match certificate {
            true => algorithm.to_certificate_type(),
            false => algorithm.to_string(),
        };
        if !matches!(algorithm, russh::keys::Algorithm::Rsa { .. }) {
            let name = name(&algorithm);
            if accepted.contains(&name.as_str()) {
                return Ok(None);
            }
            self.allow(&name);
            return Err(format!("`{name}` is not among `PubkeyAcceptedAlgorithms`"));
        }
        let hashes = match self.hashes {
            Some(hashes) => hashes,
            None => *self.hashes.insert(RsaHashes::of(self.session.handle, &self.session.version).await?),
        };
        let allowed = [Some(HashAlg::Sha512), Some(HashAlg::Sha256), None].map(|hash| {
            let name = name(&russh::keys::Algorithm::Rsa { hash });
            (accepted.iter().position(|accepted| *accepted == name), hash)
        });
        let mut allowed: Vec<_> = allowed.into_iter().filter_map(|(at, hash)| Some((at?, hash))).collect();
        allowed.sort_by_key(|(at, _)| *at);
        let allowed: Vec<_> = allowed.into_iter().map(|(_, hash)| hash).collect();
        if allowed.is_empty() {
            return Err("no RSA signature is among `PubkeyAcceptedAlgorithms`".into());
        }
        hashes.best(&allowed).ok_or_else(|| {
            self.allow("ssh-rsa");
            "the host takes RSA keys with SHA-1 only".to_string()
        })
    }

    fn allow(&mut self, name: &str) {
        if List::PublicKeys.is_weak(name) {
            self.hints.push(format!(
                "one of these among the variables of `{}` allows it: `ssh_profile: legacy` or `ansible_ssh_common_args: \
                 '-o PubkeyAcceptedAlgorithms=+{name}'`",
                self.target.name
            ));
        }
    }

    fn stage(&self, with: &str) {
        Report::set(&self.session.report.stage, format!("logging in with {with}"));
    }

    /// Returns why the connection ended, once that is known.
    async fn end(&mut self, error: Error) -> String {
        if !self.session.handle.is_closed() {
            return error.to_string();
        }
        // It is known when the connection's own task has ended.
        let _ = (&mut *self.session.handle).await;
        let TransportError::Unreachable(text) = self.session.report.lost(&error) else { return error.to_string() };
        text.strip_prefix(&format!("{}: ", self.session.report.place)).unwrap_or(&text).to_string()
    }

    fn failure(&mut self, end: Option<String>) -> TransportError {
        let tried = if self.tried.is_empty() { "nothing".into() } else { self.tried.join(", ") };
        let mut text = format!("{}: not let in; tried: {tried}", self.target.place());
        if let Some(end) = end {
            text += &format!("; then {end}");
            if end.contains("Too many authentication failures") {
                self.hints.push(
                    "name the right key (`ansible_ssh_private_key_file`) and let the agent's others be: \
                                 `IdentitiesOnly yes`"
                        .into(),
                );
            }
        } else if let Some(methods) = &self.methods {
            let names: Vec<&str> = methods.iter().map(Into::into).collect();
            let names = if names.is_empty() { "nothing more".into() } else { names.join(", ") };
            text += &format!("; the host takes: {names}");
            if self.hints.is_empty() {
                self.hints.push(
                    "another user: `ansible_user` or `-u`; another key: `ansible_ssh_private_key_file` or `--private-key`; a \
                     password: `ansible_password` or `-k`"
                        .into(),
                );
            }
        }
        self.hints.dedup();
        for hint in &self.hints {
            text += &format!("\nhint: {hint}");
        }
        TransportError::Unreachable(text)
    }
}

/// Who signs one request.
struct Hand<'a>(By<'a>);

enum By<'a> {
    Agent(&'a mut AgentClient<UnixStream>, Box<AgentIdentity>),
    File(&'a KeyFile, &'a Keyring, &'a Patience),
}

/// Why there is no signature.
enum Unsigned {
    Locked(Locked),
    /// The connection ended.
    Gone,
    Other(String),
}

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Unsigned {
        Unsigned::Gone
    }
}

impl russh::Signer for Hand<'_> {
    type Error = Unsigned;

    /// Called once the server has said that it would take the key, so nobody is asked for a passphrase in vain.
    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        match &mut self.0 {
            By::Agent(agent, identity) => {
                let signed = agent.sign_request(identity, hash, data).await;
                signed.map_err(|error| Unsigned::Other(format!("the agent does not sign: {error}")))
            }
            By::File(file, keyring, patience) => {
                let key = unlocked(file, keyring, patience).await?;
                signed(&key, hash, data).map_err(|error| Unsigned::Other(error.to_string()))
            }
        }
    }
}

async fn unlocked(
    file: &KeyFile,
    keyring: &Keyring,
    patience: &Patience,
) -> Result<std::sync::Arc<PrivateKey>, Unsigned> {
    match &file.private {
        Private::Open(key) => Ok(key.clone()),
        Private::Encrypted(text) => patience.pause(keyring.unlock(&file.path, text)).await.map_err(Unsigned::Locked),
        Private::None(reason) => Err(Unsigned::Other(reason.clone())),
    }
}

/// Appends the signature of `data` to it (RFC 4252, 7).
fn signed(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> russh::keys::ssh_key::Result<Vec<u8>> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(&data)?,
        other => other.try_sign(&data)?,
    };
    Vec::<u8>::try_from(signature)?.encode(&mut data)?;
    Ok(data)
}

/// Returns what the agent knows the key by: a certificate that it does not hold is signed for with its plain key.
fn plain_or_held(public: &Public, held: &[AgentIdentity]) -> AgentIdentity {
    match public {
        Public::Key(key) => key.clone().into(),
        Public::Certificate(certificate) => {
            let same = |held: &&AgentIdentity| matches!(held, AgentIdentity::Certificate { certificate: known, .. } if known == &**certificate);
            let plain = || PublicKey::new(certificate.public_key().clone(), "").into();
            held.iter().find(same).cloned().unwrap_or_else(plain)
        }
    }
}
