//! The vault passwords of this process, by id, and the opening of texts with them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use zeroize::Zeroizing;

use super::{HEADER, VaultError, decrypt, id_of};
use crate::secret::Secret;

/// A password and the id that it was given under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub password: Secret,
}

/// All of them, in the order given.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    pub keys: Vec<Key>,
    /// Only a password under a text's own id is tried on it (`ANSIBLE_VAULT_ID_MATCH`).
    pub only_own_id: bool,
}

/// What was given, and what has been opened with it: deriving keys takes milliseconds, and a variable is read often.
struct Held {
    keyring: Keyring,
    opened: Option<HashMap<String, Zeroizing<Vec<u8>>>>,
}

static HELD: RwLock<Held> =
    RwLock::new(Held { keyring: Keyring { keys: Vec::new(), only_own_id: false }, opened: None });

/// Gives this process its passwords.
pub fn give(keyring: Keyring) {
    *HELD.write().unwrap_or_else(PoisonError::into_inner) = Held { keyring, opened: None };
}

/// Returns what was given.
pub fn given() -> Keyring {
    HELD.read().unwrap_or_else(PoisonError::into_inner).keyring.clone()
}

/// Says whether bytes are a vault text.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER.as_bytes())
}

/// Decrypts a text with the passwords of this process.
pub fn open(text: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let held = HELD.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = held.opened.as_ref().and_then(|opened| opened.get(text)) {
        return Ok(known.clone());
    }
    let (_, plain) = held.keyring.open(text)?;
    drop(held);
    let mut held = HELD.write().unwrap_or_else(PoisonError::into_inner);
    held.opened.get_or_insert_default().insert(text.into(), plain.clone());
    Ok(plain)
}

impl Keyring {
    /// Decrypts a text, those passwords first that were given under its id; returns the one that fits too.
    pub fn open(&self, text: &str) -> Result<(&Key, Zeroizing<Vec<u8>>), VaultError> {
        let id = id_of(text)?;
        let (own, others): (Vec<&Key>, Vec<&Key>) = self.keys.iter().partition(|key| key.id == id);
        let others = if self.only_own_id { Vec::new() } else { others };
        let mut wrong = None;
        for key in own.into_iter().chain(others) {
            match decrypt(text, &key.password) {
                Ok(plain) => return Ok((key, plain)),
                Err(VaultError::Password) => wrong = Some(VaultError::Password),
                Err(damaged) => return Err(damaged),
            }
        }
        let why = if self.keys.is_empty() { "" } else { "was given under that id" };
        let id = if id == super::DEFAULT_ID { "" } else { id };
        Err(wrong.unwrap_or_else(|| VaultError::NoPassword(id.into(), why.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::encrypt;
    use super::*;

    #[test]
    fn the_password_of_its_id_opens_a_text_and_any_other_only_where_ids_need_not_match() {
        let key = |id: &str, password: &str| Key { id: id.into(), password: Secret::new(password) };
        let keys = vec![key("default", "one"), key("dev", "two")];
        let keyring = Keyring { keys: keys.clone(), only_own_id: false };
        let strict = Keyring { keys, only_own_id: true };
        let text = encrypt(b"x", &Secret::new("one"), "dev", b"salt");
        assert_eq!(keyring.open(&text).unwrap().0.id, "default");
        assert_eq!(strict.open(&text).unwrap_err(), VaultError::Password);
        let text = encrypt(b"x", &Secret::new("one"), "prod", b"salt");
        let error = strict.open(&text).unwrap_err().to_string();
        assert_eq!(
            error,
            "this was encrypted with ansible-vault under the id `prod`, and no password was given under that id"
        );
        let error = Keyring::default().open(&text).unwrap_err().to_string();
        assert!(error.ends_with("and no password was given"), "{error}");
    }
}
