//! The keyring of a run: encrypted keys, each unlocked once for all hosts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use russh::keys::PrivateKey;
use tokio::sync::OnceCell;

use crate::secret::Secret;

/// Asks a person for a secret, with a prompt. `None`: there is nobody, or no answer.
pub type Ask = Arc<dyn Fn(String) -> BoxFuture<'static, Option<Secret>> + Send + Sync>;

/// How often a passphrase is asked for (`NumberOfPasswordPrompts`, `ssh_config.5`).
const TRIES: usize = 3;

/// The keys that were unlocked, and how to ask for a passphrase.
#[derive(Default)]
pub struct Keyring {
    /// `None`: nobody can be asked.
    ask: Option<Ask>,
    keys: Mutex<HashMap<PathBuf, Arc<Slot>>>,
    /// A terminal shows one question at a time.
    turn: tokio::sync::Mutex<()>,
}

type Slot = OnceCell<Result<Arc<PrivateKey>, Locked>>;

/// Why a key stays locked, for the rest of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    NobodyToAsk,
    NoAnswer,
    WrongPassphrase,
}

impl Keyring {
    pub fn new(ask: Ask) -> Keyring {
        Keyring { ask: Some(ask), ..Keyring::default() }
    }

    /// Returns the private key of an encrypted file. Who comes while somebody is asked for it waits for that answer.
    pub async fn unlock(&self, path: &Path, text: &str) -> Result<Arc<PrivateKey>, Locked> {
        let slot = self.keys.lock().unwrap_or_else(PoisonError::into_inner).entry(path.into()).or_default().clone();
        slot.get_or_init(|| self.ask_for(path, text)).await.clone()
    }

    async fn ask_for(&self, path: &Path, text: &str) -> Result<Arc<PrivateKey>, Locked> {
        let ask = self.ask.as_ref().ok_or(Locked::NobodyToAsk)?;
        let _turn = self.turn.lock().await;
        for again in 0..TRIES {
            let wrong = if again == 0 { "" } else { "Wrong. " };
            let prompt = format!("{wrong}Enter passphrase for key `{}`: ", path.display());
            let passphrase = ask(prompt).await.filter(|given| !given.reveal().is_empty()).ok_or(Locked::NoAnswer)?;
            if let Some(key) = decrypt(text, passphrase).await {
                return Ok(Arc::new(key));
            }
        }
        Err(Locked::WrongPassphrase)
    }
}

/// The key derivation is meant to cost time, so no other host waits for it.
async fn decrypt(text: &str, passphrase: Secret) -> Option<PrivateKey> {
    let text = zeroize::Zeroizing::new(text.to_string());
    let work = move || russh::keys::decode_secret_key(&text, Some(passphrase.reveal())).ok();
    tokio::task::spawn_blocking(work).await.ok().flatten()
}
