//! Ansible Vault: text that is encrypted with a password, in the formats 1.1 and 1.2 of `ansible-vault`.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::{self, Secret};
use crate::transport::node::hex;

mod keyring;

pub use keyring::{Key, Keyring, give, given, is_sealed, open};

/// The id of a password that was given without one; texts under it have a header of format 1.1.
pub const DEFAULT_ID: &str = "default";

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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("not a text of ansible-vault: it does not begin with `$ANSIBLE_VAULT;1.1;AES256` or `;1.2;AES256;ID`")]
    Header,
    #[error("the vault text has the unknown version `{0}`: 1.1 and 1.2 are known")]
    Version(String),
    #[error("the vault text has the unknown cipher `{0}`: AES256 is known")]
    Cipher(String),
    #[error("the vault text is damaged: a part of it is missing or is no hexadecimal")]
    Damaged,
    #[error("the vault password is not the one that this was encrypted with, or the text was changed since")]
    Password,
    #[error("this was encrypted with ansible-vault{}, and no password {}", under(.0), if .1.is_empty() { "was given" } else { .1 })]
    NoPassword(String, String),
}

fn under(id: &str) -> String {
    if id.is_empty() { String::new() } else { format!(" under the id `{id}`") }
}

impl VaultError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            VaultError::Header => "encrypt it with `cutover vault encrypt`",
            VaultError::Version(_) | VaultError::Cipher(_) => {
                "decrypt it with the ansible-vault that made it, and encrypt it with `cutover vault encrypt`"
            }
            VaultError::Damaged => "take it from a backup or from version control; every line of it is needed",
            VaultError::Password => "compare the password with the one given to `cutover vault view`",
            VaultError::NoPassword(..) => "`--vault-id ID@FILE`, `--vault-password-file FILE` or `--ask-vault-pass`",
        }
    }
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

/// A value that was sealed, and the secrets that were known then: who unseals it hides the same.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Sealed<T> {
    With { secrets: Vec<String>, value: T },
    Bare(T),
}

/// Encrypts a value as JSON, with a new salt, together with the secrets that must not be shown of it.
pub fn seal(value: &impl Serialize, password: &Secret) -> std::io::Result<String> {
    #[derive(Serialize)]
    struct With<'v, T> {
        secrets: Vec<String>,
        value: &'v T,
    }
    let plain = Zeroizing::new(serde_json::to_vec(&With { secrets: secret::noted(), value })?);
    Ok(encrypt(&plain, password, DEFAULT_ID, &new_salt()?))
}

/// Decrypts what [`seal`] has encrypted; the error says why it cannot.
pub fn unseal<T: DeserializeOwned>(text: &str, password: &Secret) -> Result<T, String> {
    let plain = decrypt(text, password).map_err(|error| error.to_string())?;
    match serde_json::from_slice(&plain).map_err(|error| error.to_string())? {
        Sealed::With { secrets, value } => {
            secrets.iter().for_each(|text| secret::note(text));
            Ok(value)
        }
        Sealed::Bare(value) => Ok(value),
    }
}

/// Returns random bytes, or those of `ANSIBLE_VAULT_ENCRYPT_SALT`, which makes the same text each time.
pub fn new_salt() -> std::io::Result<Vec<u8>> {
    if let Some(salt) = std::env::var("ANSIBLE_VAULT_ENCRYPT_SALT").ok().filter(|salt| !salt.is_empty()) {
        return Ok(salt.into_bytes());
    }
    let mut salt = vec![0; SALT];
    getrandom::fill(&mut salt).map_err(std::io::Error::other)?;
    Ok(salt)
}

/// Encrypts bytes under an id; `salt` is random and never used twice.
pub fn encrypt(plain: &[u8], password: &Secret, id: &str, salt: &[u8]) -> String {
    let keys = Keys::new(password, salt);
    // PKCS#7: padded to whole blocks, with one more where they are whole already.
    let padding = BLOCK - plain.len() % BLOCK;
    let mut bytes = plain.to_vec();
    bytes.resize(plain.len() + padding, padding as u8);
    keys.cipher(&mut bytes);
    let mac = keys.mac(&bytes).finalize().into_bytes();
    let body = hex(format!("{}\n{}\n{}", hex(salt), hex(&mac), hex(&bytes)).as_bytes());
    let mut text = match id {
        DEFAULT_ID => format!("{HEADER}1.1;AES256\n"),
        id => format!("{HEADER}1.2;AES256;{id}\n"),
    };
    for line in body.as_bytes().chunks(WIDTH) {
        text.extend(line.iter().map(|byte| *byte as char));
        text.push('\n');
    }
    text
}

/// Returns the id in a text's header: that of format 1.2, or `default`.
pub fn id_of(text: &str) -> Result<&str, VaultError> {
    let header = text.trim_start().lines().next().unwrap_or_default().trim();
    let parts: Vec<&str> = header.strip_prefix(HEADER).ok_or(VaultError::Header)?.split(';').map(str::trim).collect();
    match parts.as_slice() {
        ["1.1" | "1.2", "AES256"] => Ok(DEFAULT_ID),
        ["1.1", "AES256", _] => Ok(DEFAULT_ID),
        ["1.2", "AES256", id] => Ok(id),
        ["1.1" | "1.2", cipher, ..] if *cipher != "AES256" => Err(VaultError::Cipher(cipher.to_string())),
        [version, ..] if !matches!(*version, "" | "1.1" | "1.2") => Err(VaultError::Version(version.to_string())),
        _ => Err(VaultError::Header),
    }
}

/// Decrypts a text with this password, whatever the id in its header.
pub fn decrypt(text: &str, password: &Secret) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    id_of(text)?;
    let body: String = text.trim().lines().skip(1).map(str::trim).collect();
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
            let text = encrypt(&plain, &password, DEFAULT_ID, &[7; SALT]);
            assert!(text.lines().all(|line| line.len() <= WIDTH) && text.starts_with("$ANSIBLE_VAULT;1.1;AES256\n"));
            assert_eq!(decrypt(&text, &password).unwrap().as_slice(), plain);
        }
    }

    #[test]
    fn a_text_under_an_id_is_of_format_1_2_and_byte_for_byte_that_of_ansible_vault() {
        // `ANSIBLE_VAULT_ENCRYPT_SALT=mysalt ansible-vault encrypt_string --vault-id dev@FILE`, of ansible-core 2.19.
        let theirs = "$ANSIBLE_VAULT;1.2;AES256;dev\n\
            3664373937333631366337340a373539643864643866616662336232323365656632346565656134\n\
            333737353435646430343635343166636435626636626262343263376636663631346133630a6639\n\
            306432613431316636323837343036656436643538346230636664656334\n";
        assert_eq!(encrypt(b"abc", &Secret::new("anders"), "dev", b"mysalt"), theirs);
        assert_eq!(id_of(theirs), Ok("dev"));
    }

    #[test]
    fn what_is_damaged_is_said_to_be() {
        let password = Secret::new("geheim");
        let text = encrypt(b"a secret", &password, DEFAULT_ID, &[7; SALT]);
        assert_eq!(decrypt("$ANSIBLE_VAULT;2.0;AES256\n00", &password), Err(VaultError::Version("2.0".into())));
        assert_eq!(decrypt("$ANSIBLE_VAULT;1.1;AES\n00", &password), Err(VaultError::Cipher("AES".into())));
        assert_eq!(decrypt("", &password), Err(VaultError::Header));
        let cut: String = text.chars().take(text.len() - 5).collect();
        assert!(decrypt(&cut, &password).is_err());
        assert_eq!(decrypt(&text.replace("\n3", "\nz"), &password), Err(VaultError::Damaged));
    }
}
