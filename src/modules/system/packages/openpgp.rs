//! Public keys as OpenPGP has them (RFC 4880): which keys a file holds, and the file without one of them.

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

use crate::transport::node::hex;

/// A public key with its subkeys, names and signatures: the packets of a file from one primary key to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub bytes: Vec<u8>,
    /// The fingerprints of the primary key and of its subkeys, in upper case.
    pub fingerprints: Vec<String>,
}

impl Certificate {
    /// Says whether an identifier, the last 8 or 16 digits of a fingerprint or all of it, is of this key or a subkey.
    pub fn is_called(&self, id: &str) -> bool {
        self.fingerprints.iter().any(|fingerprint| fingerprint.ends_with(id))
    }

    pub fn fingerprint(&self) -> &str {
        self.fingerprints.first().map_or("", String::as_str)
    }
}

/// The tags of packets (RFC 4880, 4.3).
const PUBLIC_KEY: u8 = 6;
const PUBLIC_SUBKEY: u8 = 14;

/// Reads the keys of a file, armored or not; an error says why it is none.
pub fn certificates(file: &[u8]) -> Result<Vec<Certificate>, String> {
    let bytes = if is_armored(file) { unarmored(file)? } else { file.to_vec() };
    if bytes.get(8..12) == Some(b"KBXf") {
        return Err("it is a keybox of GnuPG's, which apt does not read".into());
    }
    let mut found: Vec<Certificate> = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (tag, head, length) = packet(rest).ok_or("it is no file of OpenPGP keys")?;
        let whole = rest.get(..head + length).ok_or("a key in it ends early")?;
        if tag == PUBLIC_KEY {
            found.push(Certificate { bytes: Vec::new(), fingerprints: Vec::new() });
        }
        let certificate = found.last_mut().ok_or("it does not begin with a public key")?;
        certificate.bytes.extend_from_slice(whole);
        if tag == PUBLIC_KEY || tag == PUBLIC_SUBKEY {
            certificate.fingerprints.push(fingerprint(&whole[head..])?);
        }
        rest = &rest[head + length..];
    }
    Ok(found)
}

/// Returns where a server of keys has the one that an identifier names (draft-gallagher-openpgp-hkp, 3.1).
pub fn on_keyserver(server: &str, id: &str) -> String {
    let server = server.trim_end_matches('/');
    let site = match server.split_once("://") {
        Some(("hkps", rest)) => format!("https://{rest}"),
        Some(("hkp", rest)) => with_port(rest),
        Some(_) => server.into(),
        None => with_port(server),
    };
    format!("{site}/pks/lookup?op=get&options=mr&search=0x{id}")
}

/// Returns a server of HKP's at the port that it has by itself.
fn with_port(server: &str) -> String {
    let is_given = server.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
    format!("http://{server}{}", if is_given { "" } else { ":11371" })
}

pub fn is_armored(file: &[u8]) -> bool {
    String::from_utf8_lossy(&file[..file.len().min(4096)]).contains("-----BEGIN PGP PUBLIC KEY BLOCK-----")
}

/// Reads the text form of keys (RFC 4880, 6.2); several blocks may follow each other.
fn unarmored(file: &[u8]) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(file);
    let (mut bytes, mut body, mut is_inside, mut is_head) = (Vec::new(), String::new(), false, false);
    for line in text.lines().map(str::trim) {
        match line {
            "-----BEGIN PGP PUBLIC KEY BLOCK-----" => (is_inside, is_head) = (true, true),
            "-----END PGP PUBLIC KEY BLOCK-----" => {
                let engine = base64::engine::general_purpose::STANDARD;
                bytes.extend(engine.decode(&body).map_err(|_| "its armor is broken")?);
                (is_inside, body) = (false, String::new());
            }
            "" => is_head = false,
            // A head is `Name: value`; what begins with `=` is the checksum.
            _ if is_inside && !line.starts_with('=') && !(is_head && line.contains(": ")) => body += line,
            _ => {}
        }
    }
    if is_inside { Err("its armor has no end".into()) } else { Ok(bytes) }
}

/// Reads a packet's head: its tag, and the lengths of the head and of the body (RFC 4880, 4.2).
fn packet(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let number = |from: usize, count: usize| {
        let part = bytes.get(from..from + count)?;
        Some(part.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let first = *bytes.first()?;
    match first {
        0xC0.. => {
            let tag = first & 0x3F;
            match *bytes.get(1)? {
                short @ 0..192 => Some((tag, 2, usize::from(short))),
                high @ 192..224 => Some((tag, 3, (usize::from(high) - 192) * 256 + number(2, 1)? + 192)),
                255 => Some((tag, 6, number(2, 4)?)),
                // Parts of an unknown length are for data, not for keys.
                _ => None,
            }
        }
        0x80.. => {
            let size = [1, 2, 4].get(usize::from(first & 3)).copied()?;
            Some((first >> 2 & 0xF, 1 + size, number(1, size)?))
        }
        _ => None,
    }
}

/// Returns the fingerprint of a key's packet (RFC 4880, 12.2).
fn fingerprint(body: &[u8]) -> Result<String, String> {
    match body.first() {
        Some(4) => {
            let length = u16::try_from(body.len()).map_err(|_| "a key in it is too long")?;
            let sum = Sha1::digest([&[0x99], &length.to_be_bytes()[..], body].concat());
            Ok(hex(&sum).to_uppercase())
        }
        other => Err(format!("a key in it is of version {}, which is not read", other.copied().unwrap_or(0))),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A key of Ed25519 that was made for this test with GnuPG, and what GnuPG says of it.
    pub const KEY: &str = include_str!("archive_key.txt");
    pub const FINGERPRINT: &str = "069A72BAA9227AEB8DFDA39FB9461B71583FB986";

    #[test]
    fn a_server_of_keys_is_asked_at_its_port() {
        let at = |server: &str| on_keyserver(server, "AB12").replace("/pks/lookup?op=get&options=mr&search=0xAB12", "");
        assert_eq!(at("keys.example"), "http://keys.example:11371");
        assert_eq!(at("hkp://keys.example:80/"), "http://keys.example:80");
        assert_eq!(at("hkps://[::1]:443"), "https://[::1]:443");
        assert_eq!(at("hkp://[::1]"), "http://[::1]:11371");
        assert_eq!(at("https://keys.example/x"), "https://keys.example/x");
    }

    #[test]
    fn a_key_has_the_fingerprint_that_gnupg_tells() {
        let found = certificates(KEY.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fingerprint(), FINGERPRINT);
        assert_eq!(found[0].fingerprints.len(), 2);
        assert!(found[0].is_called(&FINGERPRINT[32..]) && !found[0].is_called("00000000"));
        let twice = [found[0].bytes.clone(), found[0].bytes.clone()].concat();
        assert_eq!(certificates(&twice).unwrap().len(), 2);
        for (wrong, says) in [
            (&b"hello"[..], "no file of OpenPGP keys"),
            (&twice[..twice.len() - 3], "ends early"),
            (
                &b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----\n"[..],
                "armor is broken",
            ),
        ] {
            assert!(certificates(wrong).unwrap_err().contains(says));
        }
    }
}
