//! A host certificate: what may be wrong with one (OpenSSH's PROTOCOL.certkeys, `ssh-keygen.1`).

use std::fmt;

use jiff::Timestamp;
use russh::keys::ssh_key::Certificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::line::wildcard;
use super::refusal::print;

/// Why a certificate does not vouch for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No `@cert-authority` line for the host has the key that signed it.
    Authority {
        signer: PublicKey,
        known: Vec<String>,
    },
    /// The signature is not that of the key it names.
    Forged,
    /// It is a user's.
    NotOfAHost,
    /// Seconds since 1970.
    NotYet(u64),
    Expired(u64),
    /// The names that it is for.
    Principals(Vec<String>),
    /// The names of options that must be understood, and are not: there are none for hosts.
    Options(Vec<String>),
    /// The authority signed with an algorithm that OpenSSH takes from none (`CASignatureAlgorithms`).
    Algorithm(String),
}

/// Returns the first thing that is wrong with a certificate of a known authority, at a time in seconds since 1970.
pub fn fault(certificate: &Certificate, host: &str, now: u64) -> Option<Fault> {
    // Asked at a time within the period, so that only the signature can be the reason.
    let within = certificate.valid_after();
    let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if certificate.valid_before() > within && certificate.validate_at(within, [&signer]).is_err() {
        return Some(Fault::Forged);
    }
    if certificate.cert_type() != CertType::Host {
        return Some(Fault::NotOfAHost);
    }
    if now < certificate.valid_after() {
        return Some(Fault::NotYet(certificate.valid_after()));
    }
    if now >= certificate.valid_before() {
        return Some(Fault::Expired(certificate.valid_before()));
    }
    // As OpenSSH 10.3: `*` and `?` are wildcards, and a certificate without names is for no host.
    let principals = certificate.valid_principals();
    if !principals.iter().any(|pattern| wildcard(pattern.as_bytes(), host.as_bytes())) {
        return Some(Fault::Principals(principals.to_vec()));
    }
    if !certificate.critical_options().is_empty() {
        return Some(Fault::Options(certificate.critical_options().keys().cloned().collect()));
    }
    match certificate.signature().algorithm() {
        algorithm @ (Algorithm::Rsa { hash: None } | Algorithm::Dsa) => Some(Fault::Algorithm(algorithm.to_string())),
        _ => None,
    }
}

impl Fault {
    /// Returns what is to be done about it.
    pub fn hint(&self, host: &str) -> String {
        match self {
            Fault::Authority { signer, .. } => {
                let key = signer.to_openssh().unwrap_or_default();
                format!(
                    "if this authority signs for `{host}`, add this line:\n@cert-authority {host} {}",
                    key.trim_end()
                )
            }
            Fault::Forged => "somebody may be between you and the host".into(),
            Fault::NotYet(_) => "see whether the clocks are right here and where it was signed".into(),
            Fault::NotOfAHost => format!("sign the host's key with `ssh-keygen -s CA -I ID -h -n {host} KEY.pub`"),
            Fault::Expired(_) | Fault::Principals(_) | Fault::Options(_) | Fault::Algorithm(_) => {
                format!("have the host's key signed again: `ssh-keygen -s CA -I ID -h -n {host} -V +52w KEY.pub`")
            }
        }
    }
}

/// The fragment that follows "its certificate".
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match self {
            Fault::Authority { signer, known } => {
                write!(f, "is signed by {}, which is no authority for this host", print(signer))?;
                if !known.is_empty() {
                    write!(f, "; known is {}", known.join(", "))?;
                }
                Ok(())
            }
            Fault::Forged => f.write_str("is forged: its signature is not that of the key it names"),
            Fault::NotOfAHost => f.write_str("is a user's, not a host's"),
            Fault::NotYet(from) => write!(f, "is not valid before {}", time(*from)),
            Fault::Expired(end) => write!(f, "expired at {}", time(*end)),
            Fault::Principals(names) if names.is_empty() => f.write_str("is for no host: it has no names"),
            Fault::Principals(names) => write!(f, "is for {}", list(names)),
            Fault::Options(names) => write!(f, "has critical options that are not known: {}", list(names)),
            Fault::Algorithm(name) => write!(f, "is signed with `{name}`, which is too weak to vouch for a host"),
        }
    }
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "the end of time".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::ssh_key::private::Ed25519Keypair;

    use super::*;

    fn signed(change: impl FnOnce(&mut Builder)) -> Certificate {
        let pair = |seed| PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
        let host = pair(1).public_key().key_data().clone();
        let mut builder = Builder::new([7; 16], host, 100, 200).unwrap();
        builder.cert_type(CertType::Host).unwrap();
        change(&mut builder);
        builder.sign(&pair(2)).unwrap()
    }

    fn named(builder: &mut Builder) {
        builder.valid_principal("mail").unwrap();
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_before_its_last() {
        let at = |now| fault(&signed(named), "mail", now);
        assert_eq!([at(99), at(100)], [Some(Fault::NotYet(100)), None]);
        assert_eq!([at(199), at(200)], [None, Some(Fault::Expired(200))]);
    }

    #[test]
    fn a_certificate_of_which_one_byte_is_another_is_forged() {
        let bytes = signed(named).to_bytes().unwrap();
        let at = bytes.windows(4).position(|window| window == b"mail").unwrap();
        let mut forged = bytes.clone();
        forged[at] = b'n';
        let [good, forged] = [bytes, forged].map(|bytes| Certificate::from_bytes(&bytes).unwrap());
        assert_eq!(fault(&good, "mail", 150), None);
        assert_eq!(fault(&forged, "nail", 150), Some(Fault::Forged));
    }

    #[test]
    fn names_are_compared_as_they_are_written() {
        let names = |host| {
            fault(
                &signed(|builder| {
                    builder.valid_principal("a.example.com").unwrap();
                    builder.valid_principal("*.b.example.com").unwrap();
                }),
                host,
                150,
            )
        };
        assert_eq!([names("a.example.com"), names("x.b.example.com")], [None, None]);
        let wrong = || Some(Fault::Principals(vec!["a.example.com".into(), "*.b.example.com".into()]));
        assert_eq!([names("b.example.com"), names("xa.example.com")], [wrong(), wrong()]);
    }
}
