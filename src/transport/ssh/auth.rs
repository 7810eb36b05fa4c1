//! The login: agent, key files, password and keyboard-interactive, in the order of `ssh`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{Error, MethodKind, MethodSet};
use zeroize::Zeroizing;

use super::Target;
use super::host_key::Verifier;
use crate::secret::Secret;
use crate::transport::TransportError;

/// How often a server may ask back: a password once, then perhaps a notice.
const ROUNDS: usize = 8;

/// Logs in, or says what was tried.
pub async fn log_in(handle: &mut Handle<Verifier>, target: &Target) -> Result<(), TransportError> {
    let mut login = Login { handle, user: &target.user, tried: Vec::new(), hints: Vec::new(), methods: None };
    match login.attempt_all(target).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(login.failure(target, None)),
        Err(error) => Err(login.failure(target, Some(&error))),
    }
}

struct Login<'a> {
    handle: &'a mut Handle<Verifier>,
    user: &'a str,
    /// What the server turned down or could not be used.
    tried: Vec<String>,
    hints: Vec<String>,
    /// What the server says it would still take; nothing is known before its first answer.
    methods: Option<MethodSet>,
}

impl Login<'_> {
    async fn attempt_all(&mut self, target: &Target) -> Result<bool, Error> {
        let files = read_keys(&target.keys).await;
        let mut used = Vec::new();
        if let Some(socket) = &target.agent
            && self.attempt_agent(socket, &files, &mut used).await?
        {
            return Ok(true);
        }
        for file in &files {
            if !file.public.as_ref().is_some_and(|public| has(&used, public)) && self.attempt_file(file).await? {
                return Ok(true);
            }
        }
        if let Some(password) = &target.password {
            return Ok(self.attempt_password(password).await? || self.attempt_prompts(password).await?);
        }
        if self.methods.is_none() {
            // Nothing to show, so ask for what the server takes; some let everybody in.
            let result = self.handle.authenticate_none(self.user).await?;
            return self.turned_down("nothing", result);
        }
        Ok(false)
    }

    /// Offers what the agent holds, first the keys that the user named by their files: a server counts attempts.
    async fn attempt_agent(
        &mut self,
        socket: &Path,
        files: &[KeyFile],
        used: &mut Vec<PublicKey>,
    ) -> Result<bool, Error> {
        let identities = async {
            let mut agent = AgentClient::connect_uds(socket).await?;
            let identities = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, identities))
        };
        let (mut agent, mut identities) = match identities.await {
            Ok(found) => found,
            Err(error) => {
                self.tried.push(format!("agent `{}` ({error})", socket.display()));
                return Ok(false);
            }
        };
        let named: Vec<_> = files.iter().filter_map(|file| file.public.clone()).collect();
        identities.sort_by_key(|identity| !has(&named, &identity.public_key()));
        for identity in identities {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            if !self.takes(MethodKind::PublicKey) {
                break;
            }
            let hash = self.hash_for(&key).await?;
            used.push(key.clone());
            let fingerprint = key.fingerprint(HashAlg::Sha256);
            let name = format!("agent key `{comment}` ({fingerprint})");
            match self.handle.authenticate_publickey_with(self.user, key, hash, &mut agent).await {
                Ok(result) => {
                    if self.turned_down(&name, result)? {
                        return Ok(true);
                    }
                }
                Err(error) => self.tried.push(format!("{name} ({error})")),
            }
        }
        Ok(false)
    }

    async fn attempt_file(&mut self, file: &KeyFile) -> Result<bool, Error> {
        let name = format!("key `{}`", file.path.display());
        let key = match &file.private {
            Ok(key) => key.clone(),
            Err(Unusable::Encrypted) => {
                self.tried.push(format!("{name} (encrypted)"));
                self.hints
                    .push(format!("`{0}` has a passphrase: `ssh-add {0}` hands it to an agent", file.path.display()));
                return Ok(false);
            }
            Err(Unusable::Other(reason)) => {
                self.tried.push(format!("{name} ({reason})"));
                return Ok(false);
            }
        };
        if !self.takes(MethodKind::PublicKey) {
            return Ok(false);
        }
        let hash = self.hash_for(key.public_key()).await?;
        let result = self.handle.authenticate_publickey(self.user, PrivateKeyWithHashAlg::new(key, hash)).await?;
        self.turned_down(&name, result)
    }

    async fn attempt_password(&mut self, password: &Secret) -> Result<bool, Error> {
        if !self.takes(MethodKind::Password) {
            return Ok(false);
        }
        let result = self.handle.authenticate_password(self.user, password.reveal()).await?;
        self.turned_down("password", result)
    }

    /// Answers every question whose answer is not to be seen with the password.
    async fn attempt_prompts(&mut self, password: &Secret) -> Result<bool, Error> {
        if !self.takes(MethodKind::KeyboardInteractive) {
            return Ok(false);
        }
        let mut answer = self.handle.authenticate_keyboard_interactive_start(self.user, None).await?;
        for _ in 0..ROUNDS {
            answer = match answer {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                    let result = AuthResult::Failure { remaining_methods, partial_success };
                    return self.turned_down("keyboard-interactive", result);
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let reply = |echo: bool| if echo { String::new() } else { password.reveal().into() };
                    let replies = prompts.iter().map(|prompt| reply(prompt.echo)).collect();
                    self.handle.authenticate_keyboard_interactive_respond(replies).await?
                }
            };
        }
        self.tried.push("keyboard-interactive (too many questions)".into());
        Ok(false)
    }

    /// Says whether the server let us in, and notes what it said if not.
    fn turned_down(&mut self, name: &str, result: AuthResult) -> Result<bool, Error> {
        match result {
            AuthResult::Success => Ok(true),
            AuthResult::Failure { remaining_methods, partial_success } => {
                self.tried.push(if partial_success { format!("{name} (accepted, not enough)") } else { name.into() });
                if self.handle.is_closed() {
                    return Err(Error::Disconnect);
                }
                self.methods = Some(remaining_methods);
                Ok(false)
            }
        }
    }

    fn takes(&self, method: MethodKind) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(&method))
    }

    /// The hash that an RSA key signs with. Asked only for RSA: a server that does not say costs a second.
    async fn hash_for(&self, key: &PublicKey) -> Result<Option<HashAlg>, Error> {
        if !key.algorithm().is_rsa() {
            return Ok(None);
        }
        Ok(self.handle.best_supported_rsa_hash().await?.flatten())
    }

    fn failure(&self, target: &Target, error: Option<&Error>) -> TransportError {
        let tried = if self.tried.is_empty() { "nothing".into() } else { self.tried.join(", ") };
        let mut text = format!("{}: not let in; tried: {tried}", target.place());
        match (error, &self.methods) {
            (Some(Error::Disconnect), _) => text += "; then the host ended the connection",
            (Some(error), _) => text += &format!("; then {error}"),
            (None, Some(methods)) => {
                let names: Vec<&str> = methods.iter().map(Into::into).collect();
                text += &format!("; the host takes: {}", names.join(", "));
            }
            (None, None) => {}
        }
        for hint in &self.hints {
            text += &format!("\nhint: {hint}");
        }
        TransportError::Unreachable(text)
    }
}

/// One private key file as far as it could be read.
struct KeyFile {
    path: PathBuf,
    /// Known of an encrypted file too.
    public: Option<PublicKey>,
    private: Result<Arc<PrivateKey>, Unusable>,
}

enum Unusable {
    Encrypted,
    Other(String),
}

async fn read_keys(paths: &[PathBuf]) -> Vec<KeyFile> {
    let mut files = Vec::new();
    for path in paths {
        files.push(match tokio::fs::read_to_string(path).await.map(Zeroizing::new) {
            Ok(text) => read_key(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => unusable(path, "no such file"),
            Err(error) => unusable(path, &error.to_string()),
        });
    }
    files
}

fn read_key(path: &Path, text: &str) -> KeyFile {
    match russh::keys::decode_secret_key(text, None) {
        Ok(key) => KeyFile { path: path.into(), public: Some(key.public_key().clone()), private: Ok(Arc::new(key)) },
        Err(russh::keys::Error::KeyIsEncrypted) => {
            let public = PrivateKey::from_openssh(text).ok().map(|key| key.public_key().clone());
            KeyFile { path: path.into(), public, private: Err(Unusable::Encrypted) }
        }
        Err(error) => unusable(path, &error.to_string()),
    }
}

fn unusable(path: &Path, reason: &str) -> KeyFile {
    KeyFile { path: path.into(), public: None, private: Err(Unusable::Other(reason.into())) }
}

/// Compares the keys alone; a comment is not part of one.
fn has(keys: &[PublicKey], key: &PublicKey) -> bool {
    keys.iter().any(|known| known.key_data() == key.key_data())
}
