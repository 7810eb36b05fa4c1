//! Ansible Vault: text that is encrypted with a password, in the formats 1.1 and 1.2 of `ansible-vault`.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::transport::node::hex;

/// How every vault text begins.
pub const HEADER: &str = "$ANSIBLE_VAULT;";

/// PBKDF2's rounds, and the lengths in bytes of the salt, of a key and of the counter block.
const ROUNDS: u32 = 10_000;
const SALT: usize = 32;
const KEY: usize = 32;
const BLOCK: usize = 16;

/// The characters of a line of the body.
const WIDTH: usize = 80;

/// Why a vault text gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("not a text of ansible-vault: it does not begin with `$ANSIBLE_VAULT;1.1;AES256` or `;1.2;AES256;ID`")]
    Header,
    #[error("the vault text is damaged: a part of it is missing or is no hexadecimal")]
    Damaged,
    #[error("the vault password is not the one that this was encrypted with")]
    Password,
}

/// Both keys and the first counter block, as the password and the salt make them.
struct Keys(Zeroizing<[u8; 2 * KEY + BLOCK]>);

impl Keys {
    fn new(password: &Secret, salt: &[u8]) -> Keys {
        let mut keys = Zeroizing::new([0; 2 * KEY + BLOCK]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.reveal().as_bytes(), salt, ROUNDS, &mut *keys);
        Keys(keys)
    }

    /// Encrypts or decrypts in place, which with a counter is the same.
    fn cipher(&self, bytes: &mut [u8]) {
        let (key, block) = (&self.0[..KEY], &self.0[2 * KEY..]);
        if let Ok(mut cipher) = Ctr128BE::<Aes256>::new_from_slices(key, block) {
            cipher.apply_keystream(bytes);
        }
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        // Shorter than a block of the digest, a key is filled up with zeros (RFC 2104, section 2).
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        key[..KEY].copy_from_slice(&self.0[KEY..2 * KEY]);
        Hmac::<Sha256>::new(&key).chain_update(bytes)
    }
}

/// Encrypts a value as JSON, with a new salt.
pub fn seal(value: &impl Serialize, password: &Secret) -> std::io::Result<String> {
    let plain = Zeroizing::new(serde_json::to_vec(value)?);
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(std::io::Error::other)?;
    Ok(encrypt(&plain, password, &salt))
}

/// Decrypts what [`seal`] has encrypted; the error says why it cannot.
pub fn unseal<T: DeserializeOwned>(text: &str, password: &Secret) -> Result<T, String> {
    let plain = decrypt(text, password).map_err(|error| error.to_string())?;
    serde_json::from_slice(&plain).map_err(|error| error.to_string())
}

/// Encrypts bytes; `salt` is random and never used twice.
pub fn encrypt(plain: &[u8], password: &Secret, salt: &[u8; SALT]) -> String {
    let keys = Keys::new(password, salt);
    // PKCS#7: padded to whole blocks, with one more where they are whole already.
    let padding = BLOCK - plain.len() % BLOCK;
    let mut bytes = plain.to_vec();
    bytes.resize(plain.len() + padding, padding as u8);
    keys.cipher(&mut bytes);
    let mac = keys.mac(&bytes).finalize().into_bytes();
    let body = hex(format!("{}\n{}\n{}", hex(salt), hex(&mac), hex(&bytes)).as_bytes());
    let mut text = format!("{HEADER}1.1;AES256\n");
    for line in body.as_bytes().chunks(WIDTH) {
        text.extend(line.iter().map(|byte| *byte as char));
        text.push('\n');
    }
    text
}

/// Decrypts a text; a vault id in its header is passed over.
pub fn decrypt(text: &str, password: &Secret) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut lines = text.trim().lines().map(str::trim);
    let header: Vec<&str> =
        lines.next().unwrap_or_default().strip_prefix(HEADER).unwrap_or_default().split(';').collect();
    if !matches!(header.as_slice(), ["1.1", "AES256"] | ["1.2", "AES256", _]) {
        return Err(VaultError::Header);
    }
    let body: String = lines.collect();
    let inner = String::from_utf8(unhex(&body)?).map_err(|_| VaultError::Damaged)?;
    let parts: Vec<&str> = inner.split('\n').collect();
    let [salt, mac, bytes] = parts.as_slice() else { return Err(VaultError::Damaged) };
    let (salt, mac) = (unhex(salt)?, unhex(mac)?);
    let mut bytes = Zeroizing::new(unhex(bytes)?);
    let keys = Keys::new(password, &salt);
    keys.mac(&bytes).verify_slice(&mac).map_err(|_| VaultError::Password)?;
    keys.cipher(&mut bytes);
    let padding = bytes.last().copied().unwrap_or(0) as usize;
    if padding == 0 || padding > BLOCK || padding > bytes.len() {
        return Err(VaultError::Damaged);
    }
    let length = bytes.len() - padding;
    bytes.truncate(length);
    Ok(bytes)
}

fn unhex(text: &str) -> Result<Vec<u8>, VaultError> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8).ok_or(VaultError::Damaged);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Ok(digit(*high)? << 4 | digit(*low)?),
        _ => Err(VaultError::Damaged),
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ansible-vault encrypt_string` of ansible-core 2.19 with the password `geheim`.
    const THEIRS: &str = "$ANSIBLE_VAULT;1.1;AES256\n\
        33376635616637393530633732646330313464346531373833613833666362313037626637613166\n\
        6635376433626262366638396238336430363937303761320a373862623265326231343931613536\n\
        33373763626166383864366333333966373062666535303335353639663839623333323336383462\n\
        6136336630353238340a616663613637623534633537346165313935306163353632623164313735\n\
        3135\n";

    #[test]
    fn what_ansible_vault_encrypts_is_read_and_ours_is_the_same_format() {
        let password = Secret::new("geheim");
        assert_eq!(decrypt(THEIRS, &password).unwrap().as_slice(), b"a secret\n");
        assert_eq!(decrypt(THEIRS, &Secret::new("falsch")), Err(VaultError::Password));
        for length in [0, 1, 15, 16, 17, 5000] {
            let plain = vec![b'x'; length];
            let text = encrypt(&plain, &password, &[7; SALT]);
            assert!(text.lines().all(|line| line.len() <= WIDTH) && text.starts_with("$ANSIBLE_VAULT;1.1;AES256\n"));
            assert_eq!(decrypt(&text, &password).unwrap().as_slice(), plain);
        }
    }

    #[test]
    fn what_is_damaged_is_said_to_be() {
        let password = Secret::new("geheim");
        let text = encrypt(b"a secret", &password, &[7; SALT]);
        assert_eq!(decrypt("$ANSIBLE_VAULT;2.0;AES256\n00", &password), Err(VaultError::Header));
        assert_eq!(decrypt("", &password), Err(VaultError::Header));
        let cut: String = text.chars().take(text.len() - 5).collect();
        assert!(decrypt(&cut, &password).is_err());
        assert_eq!(decrypt(&text.replace("\n3", "\nz"), &password), Err(VaultError::Damaged));
    }
}
