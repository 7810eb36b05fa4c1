//! Signatures of files in the form of `ssh-keygen -Y sign` (PROTOCOL.sshsig), with keys of files or of an agent.

use std::path::Path;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::{LineEnding, SshSig};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::identity::{KeyFile, Private};
use super::keyring::{Keyring, Locked};
use crate::error::Diagnostic;

mod allowed;

pub use allowed::{AllowedSigners, Demand};

/// What stands before and after one; several may follow each other in one text.
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// One signature; whose it is, is nothing that it can say itself.
#[derive(Clone, Debug)]
pub struct Signature(SshSig);

/// What signs: a private key, or the public one of a key that an agent holds.
pub struct SigningKey<'a> {
    pub path: &'a Path,
    /// The agent's socket (`SSH_AUTH_SOCK`).
    pub agent: Option<&'a Path>,
    /// Who is asked for a passphrase.
    pub keyring: &'a Keyring,
}

impl SigningKey<'_> {
    /// Signs, for one purpose only (`namespace`). Errors say why this key cannot.
    pub async fn sign(&self, namespace: &str, bytes: &[u8]) -> Result<Signature, Diagnostic> {
        let wrong = |why: String| Diagnostic::new(format!("the key `{}` does not sign: {why}", self.path.display()));
        let file = KeyFile::read(self.path).await;
        let key = match &file.private {
            Private::Open(key) => key.clone(),
            not_open => match (self.by_agent(file.public.as_ref(), namespace, bytes).await.map_err(wrong)?, not_open) {
                (Some(signature), _) => return Ok(signature),
                (None, Private::Encrypted(text)) => {
                    let unlocked = self.keyring.unlock(self.path, text).await;
                    unlocked.map_err(|why| self.locked(why))?
                }
                (None, Private::None(why)) => return Err(wrong(why.clone())),
                (None, Private::Open(key)) => key.clone(),
            },
        };
        let signed = SshSig::sign(&*key, namespace, HashAlg::Sha512, bytes);
        signed.map(Signature).map_err(|error| wrong(error.to_string()))
    }

    /// `None`: there is no agent, or it does not hold the key.
    async fn by_agent(
        &self,
        public: Option<&PublicKey>,
        namespace: &str,
        bytes: &[u8],
    ) -> Result<Option<Signature>, String> {
        let (Some(public), Some(socket)) = (public, self.agent) else { return Ok(None) };
        let Ok(mut agent) = AgentClient::connect_uds(socket).await else { return Ok(None) };
        let held = agent.request_identities().await.unwrap_or_default();
        let same = |held: &AgentIdentity| matches!(held, AgentIdentity::PublicKey { key, .. } if key.key_data() == public.key_data());
        if !held.iter().any(same) {
            return Ok(None);
        }
        let text = |error: russh::keys::ssh_key::Error| error.to_string();
        let data = SshSig::signed_data(namespace, HashAlg::Sha512, bytes).map_err(text)?;
        let signed = agent.sign_request_signature(public, Some(HashAlg::Sha512), &data).await;
        let signed = signed.map_err(|error| format!("the agent says: {error}"))?;
        let signature = SshSig::new(public.key_data().clone(), namespace, HashAlg::Sha512, signed).map_err(text)?;
        Ok(Some(Signature(signature)))
    }

    fn locked(&self, why: Locked) -> Diagnostic {
        let key = self.path.display();
        let why = match why {
            Locked::NobodyToAsk => "it is encrypted, and there is no terminal to ask for its passphrase",
            Locked::NoAnswer => "it is encrypted, and no passphrase was given",
            Locked::WrongPassphrase => "it is encrypted, and the passphrase was wrong",
        };
        let error = Diagnostic::new(format!("the key `{key}` does not sign: {why}"));
        error.hint(format!("`ssh-add {key}` hands it to an agent"))
    }
}

impl Signature {
    /// Reads the signatures of a text, one after the other; what stands between them is nobody's.
    pub fn read_all(text: &str) -> Result<Vec<Signature>, String> {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(BEGIN) {
            let cut = || format!("signature {} is cut", found.len() + 1);
            let end = start + rest[start..].find(END).ok_or_else(cut)? + END.len();
            let read = SshSig::from_pem(&rest[start..end]);
            found.push(Signature(read.map_err(|error| format!("signature {}: {error}", found.len() + 1))?));
            rest = &rest[end..];
        }
        Ok(found)
    }

    /// Returns the text, as `ssh-keygen -Y sign` writes it.
    pub fn text(&self) -> Result<String, Diagnostic> {
        let text = self.0.to_pem(LineEnding::LF);
        text.map_err(|error| Diagnostic::new(format!("the signature cannot be written: {error}")))
    }

    /// Names the key that it says to be by: `ssh-ed25519 SHA256:...`.
    pub fn key(&self) -> String {
        let key = self.0.public_key();
        format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
    }

    /// Says why it is not a signature of these bytes, for this purpose, by the key that it names.
    pub fn check(&self, namespace: &str, bytes: &[u8]) -> Result<(), String> {
        if self.0.namespace() != namespace {
            return Err(format!("it is for `{}`, not for `{namespace}`", self.0.namespace()));
        }
        // As `ssh-keygen` does (sshsig.c): SHA-1 says nothing any more.
        if matches!(self.0.algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa) {
            return Err(format!("it is made with `{}`, which nobody trusts any more", self.0.algorithm()));
        }
        let key = PublicKey::new(self.0.public_key().clone(), "");
        key.verify(namespace, bytes, &self.0).map_err(|_| "it is of another content".into())
    }

    /// Says whether another one is by the same key.
    pub fn is_by_the_key_of(&self, other: &Signature) -> bool {
        self.0.public_key() == other.0.public_key()
    }
}
