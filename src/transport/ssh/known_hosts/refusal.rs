//! A refused host key: what was shown, what was expected, whose it is elsewhere, and what to do.

use std::fmt;
use std::path::PathBuf;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::Half;
use super::certificate::Fault;
use super::elsewhere::{Elsewhere, Relation};

/// Why a host key is refused. Its text is what a user reads.
#[derive(Debug)]
pub struct Refusal {
    pub why: Why,
    /// The host as the files name it.
    pub name: String,
    /// The host as a certificate names it: without a port.
    pub host: String,
    /// The inventory's name.
    pub target: String,
    pub address: String,
    pub key: PublicKey,
    /// The certificate that the host showed: what is wrong with it, and what it calls itself.
    pub certificate: Option<(Fault, String)>,
    /// Where else the files know the key from.
    pub elsewhere: Vec<Elsewhere>,
}

#[derive(Debug)]
pub enum Why {
    /// No line is about the host; `file` is where one would be written.
    Unknown {
        file: Option<PathBuf>,
    },
    Changed {
        known: PublicKey,
        file: PathBuf,
        line: usize,
    },
    Revoked {
        what: Revoked,
        file: PathBuf,
        line: usize,
    },
    /// The certificate is such that not even a known key would help.
    Forged,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    Key,
    /// The key of the authority that signed the host's certificate.
    Authority(PublicKey),
}

impl Refusal {
    /// Says whether a policy of taking new hosts may take this one: only if nothing speaks against it.
    pub fn is_new(&self) -> bool {
        matches!(self.why, Why::Unknown { .. }) && self.certificate.is_none() && self.other_half().is_none()
    }

    /// Returns the host of the other side of a move whose key was shown.
    pub fn other_half(&self) -> Option<&Elsewhere> {
        self.elsewhere.iter().find(|found| matches!(found.relation, Relation::OtherHalf(_)))
    }

    fn neighbour(&self) -> Option<&Elsewhere> {
        self.elsewhere.iter().find(|found| found.relation == Relation::Neighbour)
    }

    /// Returns the next step.
    fn hint(&self) -> String {
        let (target, address, name) = (&self.target, &self.address, &self.name);
        match (&self.why, &self.certificate, self.other_half(), self.neighbour()) {
            (Why::Revoked { what: Revoked::Key, .. }, ..) => {
                "whoever has this key may be anybody; give the host a new one".into()
            }
            (Why::Revoked { what: Revoked::Authority(_), .. }, ..) => {
                "whoever has this authority's key may vouch for anybody; have the host's key signed by another".into()
            }
            (Why::Forged, ..) => "somebody may be between you and the host".into(),
            (_, _, Some(other), _) => format!(
                "`getent hosts {address}` shows where it leads; give `{target}` an `ansible_host` that is its own \
                 machine, not that of `{}`; nothing was done on either",
                other.name
            ),
            (_, Some((fault, _)), ..) => fault.hint(&self.host),
            (Why::Unknown { file }, None, None, neighbour) => {
                let file = file.as_ref().map_or("known_hosts".into(), |file| file.display().to_string());
                let first = match neighbour {
                    Some(other) => format!("if `{target}` and `{}` are one machine, ", other.name),
                    None => "compare it with what `ssh-keygen -lf` prints on the host, then ".into(),
                };
                format!("{first}add this line to `{file}`:\n{}", line_for(name, &self.key))
            }
            (Why::Changed { .. }, None, None, Some(other)) => format!(
                "`getent hosts {address}` shows where it leads; `ansible_host` of `{target}` should not be the address \
                 of `{}`",
                other.name
            ),
            (Why::Changed { file, .. }, None, None, None) => format!(
                "somebody may be between you and the host; if the host really has a new key, remove the line with \
                 `ssh-keygen -f {} -R '{name}'`",
                file.display()
            ),
        }
    }

    /// Says whose key it is.
    fn write_elsewhere(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = || self.elsewhere.first();
        let Some(Elsewhere { name, place, relation }) = self.other_half().or_else(|| self.neighbour()).or_else(first)
        else {
            return Ok(());
        };
        let address = &self.address;
        let whose = format!("\nthis is the key of `{name}` ({place})");
        match relation {
            Relation::OtherHalf(Half::New) => {
                write!(f, "{whose}: the address `{address}` may already point to the new host")
            }
            Relation::OtherHalf(Half::Old) => {
                write!(f, "{whose}: the address `{address}` may still point to the old host")
            }
            Relation::Neighbour => {
                write!(f, "{whose}, another host of the inventory: the address `{address}` may lead there")
            }
            Relation::Stranger => write!(f, "\nthe same key is known for `{name}` ({place})"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, shown) = (&self.name, print(&self.key));
        match &self.why {
            Why::Unknown { .. } => write!(f, "the host key of `{name}` is not known: {shown}")?,
            Why::Changed { known, file, line } => write!(
                f,
                "the host key of `{name}` is not the known one: it is {shown}, known is {} ({}:{line})",
                print(known),
                file.display()
            )?,
            Why::Revoked { what: Revoked::Key, file, line } => {
                write!(f, "the host key of `{name}` is revoked: {shown} ({}:{line})", file.display())?;
            }
            Why::Revoked { what: Revoked::Authority(authority), file, line } => write!(
                f,
                "the authority that signed the host certificate of `{name}` is revoked: {} ({}:{line})",
                print(authority),
                file.display()
            )?,
            Why::Forged => write!(f, "the host key of `{name}` is refused: {shown}")?,
        }
        if let Some((fault, identity)) = &self.certificate {
            write!(f, "; its certificate `{identity}` {fault}")?;
        }
        if !matches!(self.why, Why::Revoked { .. } | Why::Forged) {
            self.write_elsewhere(f)?;
        }
        write!(f, "\nhint: {}", self.hint())
    }
}

/// A key as `ssh-keygen -l` names it: its kind and its fingerprint.
pub fn print(key: &PublicKey) -> String {
    format!("{} {}", key_type(key), key.fingerprint(HashAlg::Sha256))
}

/// The type of a key as `ssh-keygen -l` prints it.
pub fn key_type(key: &PublicKey) -> &'static str {
    type_name(&key.algorithm())
}

pub fn type_name(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "ED25519",
        Algorithm::Rsa { .. } => "RSA",
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 | EcdsaCurve::NistP384 | EcdsaCurve::NistP521 } => "ECDSA",
        Algorithm::Dsa => "DSA",
        _ => "key",
    }
}

/// The line that makes `key` the known one of `name`, without its end.
pub fn line_for(name: &str, key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    format!("{name} {}", key.to_openssh().unwrap_or_default().trim_end())
}
