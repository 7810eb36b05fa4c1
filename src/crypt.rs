//! Hashes of passwords as crypt(3) makes them and `/etc/shadow` has them: MD5, SHA-256, SHA-512 and bcrypt; and the digests
//! of content.

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::{Digest, Md5};
use sha_crypt::Params;

const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digests, by the names that Python's `hashlib` has for them.
pub const DIGESTS: &[&str] = &[
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512", "blake2b",
    "blake2s",
];

/// Returns the bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the digest of `bytes` in lower-case hexadecimal, by one of the names in [`DIGESTS`].
pub fn digest(name: &str, bytes: &[u8]) -> Option<String> {
    fn of<D: Digest>(bytes: &[u8]) -> Option<String> {
        Some(hex(&D::digest(bytes)))
    }
    match name {
        "md5" => of::<Md5>(bytes),
        "sha1" => of::<sha1::Sha1>(bytes),
        "sha224" => of::<sha2::Sha224>(bytes),
        "sha256" => of::<sha2::Sha256>(bytes),
        "sha384" => of::<sha2::Sha384>(bytes),
        "sha512" => of::<sha2::Sha512>(bytes),
        "sha3_224" => of::<sha3::Sha3_224>(bytes),
        "sha3_256" => of::<sha3::Sha3_256>(bytes),
        "sha3_384" => of::<sha3::Sha3_384>(bytes),
        "sha3_512" => of::<sha3::Sha3_512>(bytes),
        "blake2b" => of::<blake2::Blake2b512>(bytes),
        "blake2s" => of::<blake2::Blake2s256>(bytes),
        _ => None,
    }
}

/// A way to hash a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Md5,
    Bcrypt,
    Sha256,
    Sha512,
}

/// How a password is hashed. What is not said is chosen: a random salt, as many rounds as Ansible takes.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub salt: Option<String>,
    /// Of a random salt, in characters.
    pub salt_size: Option<usize>,
    /// Of bcrypt the power of two.
    pub rounds: Option<u32>,
    /// The version of bcrypt: `2a`, `2b`, `2y`.
    pub ident: Option<String>,
}

impl Scheme {
    /// Returns the scheme that Ansible or passlib calls `name`.
    pub fn named(name: &str) -> Option<Scheme> {
        Some(match name {
            "md5" | "md5_crypt" => Scheme::Md5,
            "blowfish" | "bcrypt" => Scheme::Bcrypt,
            "sha256" | "sha256_crypt" => Scheme::Sha256,
            "sha512" | "sha512_crypt" => Scheme::Sha512,
            _ => return None,
        })
    }

    /// In characters.
    pub fn salt_size(self) -> usize {
        match self {
            Scheme::Md5 => 8,
            Scheme::Bcrypt => 22,
            Scheme::Sha256 | Scheme::Sha512 => 16,
        }
    }

    /// The version that is taken where none is said; of bcrypt alone.
    pub fn ident(self) -> Option<&'static str> {
        (self == Scheme::Bcrypt).then_some("2b")
    }

    /// Hashes a password; the error says which setting does not fit.
    pub fn hash(self, password: &str, settings: &Settings) -> Result<String, String> {
        let salt = match &settings.salt {
            Some(salt) => salt.clone(),
            None => random_salt(settings.salt_size.unwrap_or(self.salt_size())).map_err(|error| error.to_string())?,
        };
        self.accepts(&salt)?;
        match self {
            Scheme::Md5 => Ok(md5_crypt(password, &salt)),
            Scheme::Bcrypt => bcrypt(password, &salt, settings),
            Scheme::Sha256 | Scheme::Sha512 => self.sha(password, &salt, settings.rounds),
        }
    }

    fn accepts(self, salt: &str) -> Result<(), String> {
        let (size, most) = (salt.chars().count(), self.salt_size());
        if let Some(letter) = salt.chars().find(|c| !c.is_ascii() || !LETTERS.contains(&(*c as u8))) {
            return Err(format!("`{letter}` cannot stand in a salt: letters, digits, `.` and `/` can"));
        }
        if self == Scheme::Bcrypt && size != most {
            return Err(format!("a salt of bcrypt has {most} characters, and this one has {size}"));
        }
        if size > most {
            return Err(format!("the salt has {size} characters, and {most} are the most"));
        }
        Ok(())
    }

    fn sha(self, password: &str, salt: &str, rounds: Option<u32>) -> Result<String, String> {
        // The defaults of passlib, which Ansible hashes with; not those of crypt(3).
        let rounds = rounds.unwrap_or(if self == Scheme::Sha256 { 535_000 } else { 656_000 });
        let params = Params::new(rounds).map_err(|_| {
            format!("the rounds are from {} to {}, not {rounds}", Params::ROUNDS_MIN, Params::ROUNDS_MAX)
        })?;
        let said = if rounds == Params::RECOMMENDED_ROUNDS { String::new() } else { format!("rounds={rounds}$") };
        let (password, bytes) = (password.as_bytes(), salt.as_bytes());
        Ok(match self {
            Scheme::Sha256 => {
                let hash = sha_crypt::sha256_crypt(password, bytes, params);
                let rows = (0..10).map(|row| turned([row, row + 10, row + 20], (3 - row % 3) % 3));
                format!(
                    "$5${said}{salt}${}{}",
                    encoded(&hash, rows),
                    letters(u32::from(hash[31]) << 8 | u32::from(hash[30]), 3)
                )
            }
            _ => {
                let hash = sha_crypt::sha512_crypt(password, bytes, params);
                let rows = (0..21).map(|row| turned([row, row + 21, row + 42], row % 3));
                format!("$6${said}{salt}${}{}", encoded(&hash, rows), letters(u32::from(hash[63]), 2))
            }
        })
    }
}

/// Returns a random salt of so many characters.
pub fn random_salt(size: usize) -> std::io::Result<String> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes.into_iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect())
}

/// Returns a password's `$1$` hash, as crypt(3) makes it from MD5. Of a salt 8 characters count.
pub fn md5_crypt(password: &str, salt: &str) -> String {
    let (password, salt) = (password.as_bytes(), &salt.as_bytes()[..salt.len().min(8)]);
    let mut hash = Md5::digest([password, salt, password].concat()).to_vec();
    let mut text = [password, b"$1$", salt].concat();
    for start in (0..password.len()).step_by(16) {
        text.extend(&hash[..(password.len() - start).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        text.push(if bits & 1 == 1 { 0 } else { password[0] });
        bits >>= 1;
    }
    hash = Md5::digest(&text).to_vec();
    for round in 0..1000 {
        let mut text = if round & 1 == 1 { password.to_vec() } else { hash.clone() };
        if round % 3 != 0 {
            text.extend(salt);
        }
        if round % 7 != 0 {
            text.extend(password);
        }
        text.extend(if round & 1 == 1 { &hash[..] } else { password });
        hash = Md5::digest(&text).to_vec();
    }
    let rows = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let last = letters(u32::from(hash[11]), 2);
    format!("$1${}${}{last}", String::from_utf8_lossy(salt), encoded(&hash, rows.into_iter()))
}

fn bcrypt(password: &str, salt: &str, settings: &Settings) -> Result<String, String> {
    let ident = settings.ident.as_deref().unwrap_or("2b");
    if !["2a", "2b", "2y"].contains(&ident) {
        return Err(format!("the ident of bcrypt is `2a`, `2b` or `2y`, not `{ident}`"));
    }
    let rounds = settings.rounds.unwrap_or(12);
    if !(4..=31).contains(&rounds) {
        return Err(format!("the rounds of bcrypt are from 4 to 31, not {rounds}"));
    }
    // 22 characters are 132 bits, of which 128 count.
    let lenient = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    let bytes = GeneralPurpose::new(&BCRYPT, lenient).decode(salt).map_err(|error| error.to_string())?;
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| "a salt of bcrypt has 16 bytes".to_string())?;
    let parts = bcrypt::hash_with_salt(password, rounds, bytes).map_err(|error| error.to_string())?;
    let text = parts.to_string();
    Ok(format!("${ident}${}", text.splitn(3, '$').nth(2).unwrap_or_default()))
}

/// Turns a row of three to the left.
fn turned(mut row: [usize; 3], by: usize) -> [usize; 3] {
    row.rotate_left(by);
    row
}

/// Writes three bytes of a hash after the other as four letters.
fn encoded(hash: &[u8], rows: impl Iterator<Item = [usize; 3]>) -> String {
    let byte = |index: usize| u32::from(hash[index]);
    rows.map(|[high, middle, low]| letters(byte(high) << 16 | byte(middle) << 8 | byte(low), 4)).collect()
}

/// Writes a number in letters, the lowest six bits first.
fn letters(value: u32, count: usize) -> String {
    (0..count).map(|place| char::from(LETTERS[(value >> (6 * place)) as usize & 63])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(scheme: &str, password: &str, settings: Settings) -> Result<String, String> {
        Scheme::named(scheme).unwrap().hash(password, &settings)
    }

    fn salted(salt: &str, rounds: Option<u32>) -> Settings {
        Settings { salt: Some(salt.into()), rounds, ..Settings::default() }
    }

    #[test]
    fn hashes_are_those_of_crypt_3() {
        // Made with `openssl passwd -1`, `-5` and `-6`.
        assert_eq!(md5_crypt("lab", "annsa"), "$1$annsa$Dz8mU5xK468wXPaPBMrJL1");
        assert_eq!(md5_crypt("password", "12345678"), "$1$12345678$o2n/JiO/h5VviOInWJ4OQ/");
        assert_eq!(
            hashed("sha256", "lab", salted("annsa", Some(5000))).unwrap(),
            "$5$annsa$CABxVChBgeg6j6Z4XN5ccQlMVuGT6aDPO4CPQjAT3d4"
        );
        assert_eq!(
            hashed("sha512", "lab", salted("annsa", Some(5000))).unwrap(),
            "$6$annsa$JyTClSd4V.BpF7eGcmoId0IgdgenbyGdu9KzZAZFeS5DK/dfn/fIlEkCemnS1HIq5XUHltcG5Pkmml351YsYw1"
        );
    }

    #[test]
    fn hashes_have_as_many_rounds_as_passlib_gives_them() {
        // From the specification of SHA-crypt (Drepper): key, salt and rounds, and what comes of them.
        let known = "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1";
        let key = "a very much longer text to encrypt.  This one even stretches over morethan one line.";
        assert_eq!(hashed("sha512_crypt", key, salted("anotherlongsalts", Some(1400))).unwrap(), known);
        let plain = hashed("sha512", "x", Settings::default()).unwrap();
        assert!(plain.starts_with("$6$rounds=656000$") && plain.split('$').nth(3).unwrap().len() == 16, "{plain}");
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        let starts = DIGESTS.iter().map(|name| digest(name, b"abc").unwrap()[..8].to_string());
        // RFC 1321, FIPS 180-4, FIPS 202 and RFC 7693, their examples for `abc`.
        let expected = [
            "90015098", "a9993e36", "23097d22", "ba7816bf", "cb00753f", "ddaf35a1", "e642824c", "3a985da7", "ec014982",
            "b751850b", "ba80a53f", "508c5e8c",
        ];
        assert_eq!(starts.collect::<Vec<_>>(), expected);
        assert_eq!(digest("md6", b""), None);
    }

    #[test]
    fn bcrypt_is_that_of_openbsd() {
        // A vector of crypt_blowfish.
        let known = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let settings = Settings {
            salt: Some("CCCCCCCCCCCCCCCCCCCCC.".into()),
            rounds: Some(5),
            ident: Some("2a".into()),
            ..Settings::default()
        };
        assert_eq!(hashed("blowfish", "U*U", settings).unwrap(), known);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let rows = [
            ("sha512", salted("a b", None), "` ` cannot stand in a salt: letters, digits, `.` and `/` can"),
            ("sha512", salted("12345678901234567", None), "the salt has 17 characters, and 16 are the most"),
            ("sha256", salted("a", Some(999)), "the rounds are from 1000 to 999999999, not 999"),
            ("bcrypt", salted("short", None), "a salt of bcrypt has 22 characters, and this one has 5"),
            ("bcrypt", salted("CCCCCCCCCCCCCCCCCCCCC.", Some(3)), "the rounds of bcrypt are from 4 to 31, not 3"),
        ];
        for (scheme, settings, expected) in rows {
            assert_eq!(hashed(scheme, "x", settings).unwrap_err(), expected);
        }
    }
}
