//! What a user can show to a host: key files, certificates and an agent's keys, and the order in which they are shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::target::Target;

/// One thing to show, and who can sign for it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// As errors name it.
    pub name: String,
    /// `None`: a file that does not say before it is unlocked.
    pub public: Option<Public>,
    pub signer: Signer,
}

#[derive(Clone, Debug)]
pub enum Public {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

#[derive(Clone, Debug)]
pub enum Signer {
    Agent,
    File(Arc<KeyFile>),
}

/// A private key file as far as it could be read.
#[derive(Debug)]
pub struct KeyFile {
    pub path: PathBuf,
    /// Known of most encrypted files too, from themselves or from `PATH.pub`.
    pub public: Option<PublicKey>,
    pub private: Private,
}

#[derive(Debug)]
pub enum Private {
    Open(Arc<PrivateKey>),
    /// The text of the file.
    Encrypted(Zeroizing<String>),
    /// It cannot sign, so only an agent can use the key, and why.
    None(String),
}

/// The files of a target: keys, and certificates with where they are from.
pub struct Files {
    pub keys: Vec<Arc<KeyFile>>,
    /// The user's own (`CertificateFile`).
    pub certificates: Vec<(PathBuf, Certificate)>,
    /// `KEY-cert.pub` beside a key; only where there are none of the user's own.
    pub beside: Vec<(PathBuf, Certificate)>,
    /// What could not be read, for errors.
    pub unusable: Vec<String>,
}

impl Public {
    pub fn data(&self) -> &KeyData {
        match self {
            Public::Key(key) => key.key_data(),
            Public::Certificate(certificate) => certificate.public_key(),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.data().algorithm()
    }

    fn same(&self, other: &Public) -> bool {
        match (self, other) {
            (Public::Key(one), Public::Key(other)) => one.key_data() == other.key_data(),
            (Public::Certificate(one), Public::Certificate(other)) => one.to_bytes().ok() == other.to_bytes().ok(),
            _ => false,
        }
    }
}

impl Files {
    pub async fn read(target: &Target) -> Files {
        let mut files = Files { keys: Vec::new(), certificates: Vec::new(), beside: Vec::new(), unusable: Vec::new() };
        for path in &target.keys {
            if files.keys.iter().all(|known| known.path != *path) {
                files.keys.push(Arc::new(KeyFile::read(path).await));
            }
        }
        for path in &target.certificates {
            match certificate(path).await {
                Ok(certificate) => files.certificates.push((path.clone(), certificate)),
                Err(reason) => files.unusable.push(format!("certificate `{}` ({reason})", path.display())),
            }
        }
        // `ssh_config.5`, CertificateFile: a key's own is looked for only where none is written.
        if target.certificates.is_empty() {
            for key in &files.keys {
                let path = with_end(&key.path, "-cert.pub");
                match certificate(&path).await {
                    Ok(certificate) => files.beside.push((path, certificate)),
                    Err(_) if !path.exists() => {}
                    Err(reason) => files.unusable.push(format!("certificate `{}` ({reason})", path.display())),
                }
            }
        }
        files
    }

    /// Returns all there is to show, in the order of `ssh`: the user's certificates, the keys of files that the agent has
    /// too, the agent's others, other files. With one difference, because servers count what they are shown
    /// (`MaxAuthTries`): a file that needs no passphrase goes before keys that only the agent knows of.
    pub fn identities(&self, agent: &[AgentIdentity], only_files: bool) -> Vec<Identity> {
        let mut found: Vec<Identity> = Vec::new();
        for (path, certificate) in &self.certificates {
            found.extend(self.certified(path, certificate, agent));
        }
        let (mut in_agent, mut open, mut locked) = (Vec::new(), Vec::new(), Vec::new());
        for file in &self.keys {
            let own = self.beside.iter().filter(|(_, certificate)| file.is(certificate.public_key()));
            let name = format!("key `{}`", file.path.display());
            let public = file.public.clone().map(Public::Key);
            let held = file.public.as_ref().and_then(|public| holds(agent, public.key_data()));
            let of_file = Identity { name, public, signer: Signer::File(file.clone()) };
            let group = match (held, &file.private) {
                (Some(held), _) => {
                    in_agent.push(Identity { name: agent_name(held), signer: Signer::Agent, ..of_file });
                    &mut in_agent
                }
                (None, Private::Open(_)) => {
                    open.push(of_file);
                    &mut open
                }
                (None, Private::Encrypted(_)) => {
                    locked.push(of_file);
                    &mut locked
                }
                (None, Private::None(_)) => continue,
            };
            group.extend(own.filter_map(|(path, certificate)| self.certified(path, certificate, agent)));
        }
        let others = agent.iter().filter(|_| !only_files).map(|held| Identity {
            name: agent_name(held),
            public: Some(match held {
                AgentIdentity::PublicKey { key, .. } => Public::Key(key.clone()),
                AgentIdentity::Certificate { certificate, .. } => Public::Certificate(Box::new(certificate.clone())),
            }),
            signer: Signer::Agent,
        });
        for identity in in_agent.into_iter().chain(open).chain(others).chain(locked) {
            let twin = |other: &Identity| match (&other.public, &identity.public) {
                (Some(one), Some(other)) => one.same(other),
                _ => false,
            };
            if !found.iter().any(twin) {
                found.push(identity);
            }
        }
        found
    }

    /// Returns the files that can sign for nobody, with the reasons, for errors.
    pub fn useless(&self, agent: &[AgentIdentity]) -> Vec<(&Path, &str)> {
        let useless = self.keys.iter().filter_map(|file| match &file.private {
            Private::None(reason) => Some((file, reason)),
            _ => None,
        });
        let held = |file: &KeyFile| file.public.as_ref().is_some_and(|key| holds(agent, key.key_data()).is_some());
        useless.filter(|(file, _)| !held(file)).map(|(file, reason)| (file.path.as_path(), reason.as_str())).collect()
    }

    /// A certificate with whoever has its private key. `None`: nobody has.
    fn certified(&self, path: &Path, certificate: &Certificate, agent: &[AgentIdentity]) -> Option<Identity> {
        let signer = match holds(agent, certificate.public_key()) {
            Some(_) => Signer::Agent,
            None => Signer::File(self.keys.iter().find(|file| file.is(certificate.public_key()))?.clone()),
        };
        let name = format!("certificate `{}`", path.display());
        Some(Identity { name, public: Some(Public::Certificate(Box::new(certificate.clone()))), signer })
    }
}

impl KeyFile {
    pub async fn read(path: &Path) -> KeyFile {
        let beside = public(&with_end(path, ".pub")).await;
        let text = match tokio::fs::read_to_string(path).await.map(Zeroizing::new) {
            Ok(text) => text,
            Err(error) => {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file".to_string(),
                    _ => error.to_string(),
                };
                return KeyFile { path: path.into(), public: beside, private: Private::None(reason) };
            }
        };
        let (own, private) = sort(text);
        KeyFile { path: path.into(), public: own.or(beside), private }
    }

    fn is(&self, key: &KeyData) -> bool {
        self.public.as_ref().is_some_and(|public| public.key_data() == key)
    }
}

/// Says what a key file is.
fn sort(text: Zeroizing<String>) -> (Option<PublicKey>, Private) {
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return (Some(key), Private::None("a public key; its private key is in no agent".into()));
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) if is_hardware(&key.algorithm()) => {
            (Some(key.public_key().clone()), Private::None("a FIDO key, which only an agent can use".into()))
        }
        Ok(key) => (Some(key.public_key().clone()), Private::Open(Arc::new(key))),
        Err(error) => {
            let public = PrivateKey::from_openssh(text.trim()).ok().map(|key| key.public_key().clone());
            let encrypted = text.contains("ENCRYPTED") || public.is_some();
            if let Some(public) = public.as_ref().filter(|public| is_hardware(&public.algorithm())) {
                return (Some(public.clone()), Private::None("a FIDO key, which only an agent can use".into()));
            }
            match foreign(&text) {
                Some(reason) => (public, Private::None(reason)),
                None if encrypted => (public, Private::Encrypted(text)),
                None => (public, Private::None(error.to_string())),
            }
        }
    }
}

fn is_hardware(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::SkEcdsaSha2NistP256 | Algorithm::SkEd25519)
}

/// Names the formats of old OpenSSL that the library does not read.
fn foreign(text: &str) -> Option<String> {
    let convert = "`ssh-keygen -p -f` writes it anew";
    if text.contains("BEGIN DSA PRIVATE KEY") {
        return Some(format!("a DSA key in the old PEM format is not supported; {convert}"));
    }
    let cipher = text.lines().find_map(|line| line.strip_prefix("DEK-Info: ")?.split(',').next());
    let aes = cipher.is_none_or(|cipher| cipher == "AES-128-CBC");
    let rsa = cipher.is_none() || text.contains("BEGIN RSA PRIVATE KEY");
    (!aes || !rsa)
        .then(|| format!("a PEM key encrypted with {} is not supported; {convert}", cipher.unwrap_or_default()))
}

async fn public(path: &Path) -> Option<PublicKey> {
    let text = tokio::fs::read_to_string(path).await.ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

async fn certificate(path: &Path) -> Result<Certificate, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())?;
    let certificate = Certificate::from_openssh(text.trim()).map_err(|error| error.to_string())?;
    if certificate.cert_type().is_host() {
        return Err("it is a host's, not a user's".into());
    }
    Ok(certificate)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Finds the plain key in the agent.
fn holds<'a>(agent: &'a [AgentIdentity], key: &KeyData) -> Option<&'a AgentIdentity> {
    agent.iter().find(|held| matches!(held, AgentIdentity::PublicKey { key: known, .. } if known.key_data() == key))
}

fn agent_name(held: &AgentIdentity) -> String {
    let what = match held {
        AgentIdentity::PublicKey { .. } => "key",
        AgentIdentity::Certificate { .. } => "certificate",
    };
    format!("agent {what} `{}` ({})", held.comment(), held.public_key().fingerprint(HashAlg::Sha256))
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::{LineEnding, private, public};

    use super::*;

    fn reason(text: &str) -> String {
        match sort(Zeroizing::new(text.into())).1 {
            Private::None(reason) => reason,
            Private::Open(_) => "open".into(),
            Private::Encrypted(_) => "encrypted".into(),
        }
    }

    #[test]
    fn a_key_that_only_hardware_has_is_named() {
        let public = public::SkEd25519::from(public::Ed25519PublicKey([7; 32]));
        let key = private::SkEd25519::new(public, 1, vec![1, 2, 3]).expect("a key");
        let key = PrivateKey::new(private::KeypairData::SkEd25519(key), "").expect("a key");
        let text = key.to_openssh(LineEnding::LF).expect("a text");
        assert_eq!(reason(&text), "a FIDO key, which only an agent can use");
    }

    #[test]
    fn old_formats_that_cannot_be_read_are_named() {
        let pem = |kind: &str, cipher: &str| {
            format!(
                "-----BEGIN {kind} PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: {cipher},00\n\nAAAA\n-----END {kind} PRIVATE KEY-----\n"
            )
        };
        assert!(
            reason(&pem("RSA", "DES-EDE3-CBC")).starts_with("a PEM key encrypted with DES-EDE3-CBC is not supported")
        );
        assert!(reason(&pem("EC", "AES-128-CBC")).starts_with("a PEM key encrypted with AES-128-CBC is not supported"));
        assert!(reason("-----BEGIN DSA PRIVATE KEY-----\nAAAA\n").starts_with("a DSA key in the old PEM format"));
        assert_eq!(reason("nothing of the kind"), "Could not read key");
    }
}
