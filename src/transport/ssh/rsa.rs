//! What a host takes RSA signatures with: what it says itself (RFC 8308), or what its version is known to do.

use std::time::Duration;

use russh::client::{Handle, Handler};
use russh::keys::HashAlg;

/// A host that says something says it in one breath with the end of the key exchange; a later word is not waited for.
/// The library would wait for a second.
const BREATH: Duration = Duration::from_millis(50);

/// The hashes of RSA signatures that a host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaHashes {
    /// It said so: this is the best.
    UpTo(Option<HashAlg>),
    /// SHA-2, by its version.
    Modern,
    /// SHA-1 alone, by its version.
    Old,
    Unknown,
}

impl RsaHashes {
    /// Finds out, at once for a host whose version says nothing more is to come.
    pub async fn of<H: Handler>(handle: &Handle<H>, version: &str) -> Result<RsaHashes, String> {
        let by_version = RsaHashes::by_version(version);
        if by_version == RsaHashes::Old {
            return Ok(by_version);
        }
        match tokio::time::timeout(BREATH, handle.best_supported_rsa_hash()).await {
            Ok(Ok(Some(best))) => Ok(RsaHashes::UpTo(best)),
            Ok(Ok(None)) | Err(_) => Ok(by_version),
            Ok(Err(error)) => Err(error.to_string()),
        }
    }

    /// OpenSSH has RSA with SHA-2 since 7.2, dropbear since 2020.79 (their release notes).
    fn by_version(version: &str) -> RsaHashes {
        let software = version.splitn(3, '-').nth(2).unwrap_or_default();
        let numbers = |name: &str, from: (u32, u32)| {
            let rest = software.strip_prefix(name)?;
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
            let version: (u32, u32) = (numbers.next()??, numbers.next()??);
            Some(if version < from { RsaHashes::Old } else { RsaHashes::Modern })
        };
        let known = numbers("OpenSSH_", (7, 2)).or_else(|| numbers("dropbear_", (2020, 79)));
        // Older ones are `dropbear_0.52`.
        known.unwrap_or(RsaHashes::Unknown)
    }

    /// Chooses one of the allowed hashes, best first. `None`: no allowed one is taken.
    pub fn best(self, allowed: &[Option<HashAlg>]) -> Option<Option<HashAlg>> {
        let first = |takes: fn(&Option<HashAlg>) -> bool| allowed.iter().copied().find(takes);
        match self {
            RsaHashes::UpTo(Some(HashAlg::Sha512)) => allowed.first().copied(),
            RsaHashes::UpTo(Some(_)) => first(|hash| *hash != Some(HashAlg::Sha512)),
            RsaHashes::UpTo(None) | RsaHashes::Old => first(Option::is_none),
            RsaHashes::Modern => first(Option::is_some).or_else(|| first(Option::is_none)),
            // As `ssh` has it; a host that does not say so may still know SHA-2.
            RsaHashes::Unknown => first(Option::is_none).or_else(|| first(Option::is_some)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: [Option<HashAlg>; 2] = [Some(HashAlg::Sha512), Some(HashAlg::Sha256)];
    const LEGACY: [Option<HashAlg>; 3] = [Some(HashAlg::Sha512), Some(HashAlg::Sha256), None];

    fn best(version: &str, allowed: &[Option<HashAlg>]) -> Option<Option<HashAlg>> {
        RsaHashes::by_version(version).best(allowed)
    }

    #[test]
    fn an_old_host_takes_sha1_alone() {
        for version in [
            "SSH-2.0-OpenSSH_5.3",
            "SSH-1.99-OpenSSH_4.3p2 Debian-9",
            "SSH-2.0-OpenSSH_7.1",
            "SSH-2.0-dropbear_0.52",
            "SSH-2.0-dropbear_2019.78",
        ] {
            assert_eq!((best(version, &MODERN), best(version, &LEGACY)), (None, Some(None)), "{version}");
        }
    }

    #[test]
    fn a_newer_host_is_shown_sha2_whatever_is_allowed() {
        for version in [
            "SSH-2.0-OpenSSH_7.2",
            "SSH-2.0-OpenSSH_9.2p1 Debian-2",
            "SSH-2.0-OpenSSH_10.0",
            "SSH-2.0-dropbear_2022.83",
        ] {
            assert_eq!(best(version, &MODERN), Some(Some(HashAlg::Sha512)), "{version}");
            assert_eq!(best(version, &LEGACY), Some(Some(HashAlg::Sha512)), "{version}");
        }
    }

    #[test]
    fn an_unknown_host_is_shown_sha1_only_where_that_is_allowed() {
        for version in ["SSH-2.0-Cisco-1.25", "SSH-2.0-", ""] {
            assert_eq!(best(version, &MODERN), Some(Some(HashAlg::Sha512)), "{version}");
            assert_eq!(best(version, &LEGACY), Some(None), "{version}");
        }
    }

    #[test]
    fn what_a_host_says_itself_counts() {
        let said = |best: Option<HashAlg>| RsaHashes::UpTo(best);
        assert_eq!(said(Some(HashAlg::Sha256)).best(&LEGACY), Some(Some(HashAlg::Sha256)));
        assert_eq!(said(Some(HashAlg::Sha512)).best(&[Some(HashAlg::Sha256), None]), Some(Some(HashAlg::Sha256)));
        assert_eq!((said(None).best(&MODERN), said(None).best(&LEGACY)), (None, Some(None)));
    }
}
