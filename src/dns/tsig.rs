//! Transaction signatures (RFC 8945): what proves an update to its server, and its answer to us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::serialize::binary::BinEncodable as _;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::parse;
use crate::secret::Secret;

/// As `key_algorithm` names them, and as they are called in records (RFC 8945, 6).
pub const ALGORITHMS: &[(&str, &str)] = &[
    ("hmac-md5", "hmac-md5.sig-alg.reg.int."),
    ("HMAC-MD5.SIG-ALG.REG.INT", "hmac-md5.sig-alg.reg.int."),
    ("hmac-sha1", "hmac-sha1."),
    ("hmac-sha224", "hmac-sha224."),
    ("hmac-sha256", "hmac-sha256."),
    ("hmac-sha384", "hmac-sha384."),
    ("hmac-sha512", "hmac-sha512."),
];

/// Seconds that the two clocks may differ (RFC 8945, 10).
const FUDGE: u16 = 300;
const TSIG: u16 = 250;
const ANY: u16 = 255;

/// A key that a server knows too.
///
/// It is serialised with its secret: what holds one is written encrypted only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Absolute, in lower case.
    name: String,
    /// One of [`ALGORITHMS`], as records have it.
    algorithm: String,
    /// Base64.
    #[serde(serialize_with = "reveal", deserialize_with = "hide")]
    secret: Secret,
}

fn reveal<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl Key {
    /// `algorithm` is one of [`ALGORITHMS`], `secret` is base64. An error never quotes the secret.
    pub fn new(name: &str, algorithm: &str, secret: Secret) -> Result<Key, String> {
        let known = ALGORITHMS.iter().find(|(given, _)| *given == algorithm);
        let (_, algorithm) = known.ok_or_else(|| format!("no algorithm `{algorithm}`"))?;
        if STANDARD.decode(secret.reveal().trim()).is_err() {
            return Err(format!("the secret of the key `{name}` is not base64"));
        }
        let name = super::absolute(name, ".")?;
        Ok(Key { name, algorithm: (*algorithm).into(), secret })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self, data: &[u8]) -> Vec<u8> {
        let key = STANDARD.decode(self.secret.reveal().trim()).unwrap_or_default();
        match self.algorithm.as_str() {
            "hmac-md5.sig-alg.reg.int." => hmac::<Hmac<md5::Md5>>(&key, data),
            "hmac-sha1." => hmac::<Hmac<sha1::Sha1>>(&key, data),
            "hmac-sha224." => hmac::<Hmac<sha2::Sha224>>(&key, data),
            "hmac-sha256." => hmac::<Hmac<sha2::Sha256>>(&key, data),
            "hmac-sha384." => hmac::<Hmac<sha2::Sha384>>(&key, data),
            _ => hmac::<Hmac<sha2::Sha512>>(&key, data),
        }
    }

    /// Signs a message at `time`, in seconds since 1970; returns the signature too, which its answer's is made with.
    pub fn sign(&self, message: Vec<u8>, time: u64) -> Result<(Vec<u8>, Vec<u8>), String> {
        let stamp = Stamp { time, fudge: FUDGE, error: 0, other: Vec::new() };
        let mac = self.mac(&[message.as_slice(), &self.variables(&stamp)?].concat());
        let id = [message[0], message[1]];
        let data = [
            &bytes(&self.algorithm)?,
            &stamp.time(),
            &FUDGE.to_be_bytes()[..],
            &length(&mac),
            &mac,
            &id,
            &[0, 0, 0, 0],
        ]
        .concat();
        let mut signed = message;
        let additional = u16::from_be_bytes([signed[10], signed[11]]) + 1;
        signed[10..12].copy_from_slice(&additional.to_be_bytes());
        signed.extend(bytes(&self.name)?);
        signed.extend([TSIG.to_be_bytes(), ANY.to_be_bytes(), [0, 0], [0, 0], length(&data)].concat());
        signed.extend(data);
        Ok((signed, mac))
    }

    /// What of the record is signed too (RFC 8945, 4.3.3).
    fn variables(&self, stamp: &Stamp) -> Result<Vec<u8>, String> {
        Ok([
            &bytes(&self.name)?,
            &ANY.to_be_bytes()[..],
            &[0; 4],
            &bytes(&self.algorithm)?,
            &stamp.time(),
            &stamp.fudge.to_be_bytes(),
            &stamp.error.to_be_bytes(),
            &length(&stamp.other),
            &stamp.other,
        ]
        .concat())
    }
}

/// What proves the messages of one answer: of an update one, of a transfer many, of which some may be unsigned (RFC 8945, 5.3.1).
pub struct Proof<'a> {
    key: &'a Key,
    /// When the request was signed, in seconds since 1970.
    time: u64,
    /// The signature before the next one: at first the request's.
    mac: Vec<u8>,
    /// The messages since that one.
    unsigned: Vec<u8>,
    /// Messages so far.
    count: usize,
}

impl<'a> Proof<'a> {
    /// Of the answer to a message that [`Key::sign`] has signed so, at `time`.
    pub fn new(key: &'a Key, mac: Vec<u8>, time: u64) -> Proof<'a> {
        Proof { key, time, mac, unsigned: Vec::new(), count: 0 }
    }

    /// Takes the next message of the answer; says whether all up to it are proven.
    pub fn take(&mut self, message: &[u8]) -> Result<bool, String> {
        let first = self.count == 0;
        self.count += 1;
        let Some(found) = Found::read(message) else {
            self.unsigned.extend(message);
            return if first { Err("the answer is not signed".into()) } else { Ok(false) };
        };
        let name = &self.key.name;
        match found.stamp.error {
            0 => {}
            16 => return Err(format!("the server says that the secret of the key `{name}` is another (BADSIG)")),
            17 => return Err(format!("the server does not know the key `{name}` of this algorithm (BADKEY)")),
            // Its own time stands behind it, signed (RFC 8945, 5.2.3).
            18 => {
                let there = found.stamp.other.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
                let differ = there.abs_diff(self.time);
                return Err(format!("the server's clock differs from this machine's by {differ} s (BADTIME)"));
            }
            other => return Err(format!("the server refuses the signature: error {other}")),
        }
        let mut bare = message[..found.at].to_vec();
        bare[..2].copy_from_slice(&found.id);
        let additional = u16::from_be_bytes([bare[10], bare[11]]).wrapping_sub(1);
        bare[10..12].copy_from_slice(&additional.to_be_bytes());
        let stamp = match first {
            true => self.key.variables(&found.stamp)?,
            false => [&found.stamp.time()[..], &found.stamp.fudge.to_be_bytes()].concat(),
        };
        let signed = [&length(&self.mac)[..], &self.mac, &self.unsigned, &bare, &stamp].concat();
        // Nobody can try signatures here one byte at a time: a wrong one ends the connection.
        if self.key.mac(&signed) != found.mac {
            return Err(format!("the answer's signature is not that of the key `{name}`"));
        }
        if found.stamp.time.abs_diff(self.time) > u64::from(found.stamp.fudge) {
            return Err("the answer was signed at another time".into());
        }
        self.mac = found.mac;
        self.unsigned.clear();
        Ok(true)
    }
}

struct Stamp {
    time: u64,
    fudge: u16,
    error: u16,
    other: Vec<u8>,
}

impl Stamp {
    /// 48 bits.
    fn time(&self) -> Vec<u8> {
        self.time.to_be_bytes()[2..].to_vec()
    }
}

/// The signature at the end of a message.
struct Found {
    /// Where its record begins.
    at: usize,
    stamp: Stamp,
    mac: Vec<u8>,
    /// The message's number as it was when it was signed.
    id: [u8; 2],
}

impl Found {
    /// `None`: the last record is no signature.
    fn read(message: &[u8]) -> Option<Found> {
        let mut reader = Reader { message, at: 0 };
        let counts: Vec<u16> = (0..6).map(|_| reader.number()).collect::<Option<_>>()?;
        for _ in 0..counts[2] {
            reader.name()?;
            reader.take(4)?;
        }
        let records: usize = counts[3..].iter().map(|count| usize::from(*count)).sum();
        for _ in 1..records {
            reader.name()?;
            reader.take(8)?;
            let length = reader.number()?;
            reader.take(length.into())?;
        }
        let at = reader.at;
        reader.name()?;
        if reader.number()? != TSIG {
            return None;
        }
        reader.take(8)?;
        reader.name()?;
        let time = reader.take(6)?.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let fudge = reader.number()?;
        let mac = reader.counted()?;
        let id = reader.take(2)?.try_into().ok()?;
        let error = reader.number()?;
        let other = reader.counted()?;
        Some(Found { at, stamp: Stamp { time, fudge, error, other }, mac, id })
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn counted(&mut self) -> Option<Vec<u8>> {
        let length = self.number()?;
        Some(self.take(length.into())?.to_vec())
    }

    /// Passes by a name; a pointer ends it (RFC 1035, 4.1.4).
    fn name(&mut self) -> Option<()> {
        loop {
            match self.take(1)?[0] {
                0 => return Some(()),
                pointer if pointer >= 0xc0 => return self.take(1).map(|_| ()),
                length => drop(self.take(length.into())?),
            }
        }
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    match <M as KeyInit>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(data).finalize().into_bytes().to_vec(),
        // HMAC takes keys of any length.
        Err(_) => Vec::new(),
    }
}

fn bytes(name: &str) -> Result<Vec<u8>, String> {
    parse(name)?.to_lowercase().to_bytes().map_err(|error| error.to_string())
}

fn length(bytes: &[u8]) -> [u8; 2] {
    // A message has 64 KiB at most.
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
