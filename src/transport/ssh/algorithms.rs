//! What may be negotiated with a host: the lists of its profile, changed as `ssh_config.5` says.

use std::borrow::Cow;
use std::str::FromStr as _;

use russh::client::GexParams;
use russh::keys::Algorithm;
use russh::{AlgorithmKind, Preferred, cipher, compression, kex, mac};

use super::HostKeyChecking;
use super::target::{Algorithms, Profile, Target, Via};

/// One of the lists of `ssh_config.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Kex,
    HostKeys,
    Ciphers,
    Macs,
    PublicKeys,
}

/// The names that one list may have.
struct Names {
    /// The list's word in `ssh_config.5`.
    option: &'static str,
    /// What every host is offered, best first.
    modern: &'static [&'static str],
    /// What `Profile::Legacy` adds.
    weak: &'static [&'static str],
    /// What OpenSSH has, or had, and the SSH library has not.
    lacking: &'static [&'static str],
}

// In OpenSSH's order, but for the groups 17 and 18: their 6144 and 8192 bits cost a connection most of a second.
static KEX: Names = Names {
    option: "KexAlgorithms",
    modern: &[
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group15-sha512",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group17-sha512",
    ],
    weak: &["diffie-hellman-group-exchange-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"],
    lacking: &[
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "sntrup4591761x25519-sha512@tinyssh.org",
    ],
};

static HOST_KEYS: Names = Names {
    option: "HostKeyAlgorithms",
    modern: &[
        "ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        "rsa-sha2-512-cert-v01@openssh.com",
        "rsa-sha2-256-cert-v01@openssh.com",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ],
    weak: &["ssh-rsa-cert-v01@openssh.com", "ssh-rsa", "ssh-dss"],
    lacking: &[
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-dss-cert-v01@openssh.com",
        "ssh-xmss@openssh.com",
        "ssh-xmss-cert-v01@openssh.com",
    ],
};

// With AES in hardware, GCM moves bulk data up to twice as fast as ChaCha20.
static CIPHERS: Names = Names {
    option: "Ciphers",
    modern: &[
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    ],
    weak: &["aes256-cbc", "aes192-cbc", "aes128-cbc", "3des-cbc"],
    lacking: &[
        "rijndael-cbc@lysator.liu.se",
        "blowfish-cbc",
        "cast128-cbc",
        "arcfour",
        "arcfour128",
        "arcfour256",
        "acss@openssh.org",
    ],
};

static MACS: Names = Names {
    option: "MACs",
    modern: &["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"],
    weak: &["hmac-sha1-etm@openssh.com", "hmac-sha1"],
    lacking: &[
        "umac-64-etm@openssh.com",
        "umac-128-etm@openssh.com",
        "umac-64@openssh.com",
        "umac-128@openssh.com",
        "hmac-sha1-96-etm@openssh.com",
        "hmac-sha1-96",
        "hmac-md5-etm@openssh.com",
        "hmac-md5",
        "hmac-md5-96-etm@openssh.com",
        "hmac-md5-96",
        "hmac-ripemd160-etm@openssh.com",
        "hmac-ripemd160",
        "hmac-ripemd160@openssh.com",
    ],
};

static PUBLIC_KEYS: Names = Names {
    option: "PubkeyAcceptedAlgorithms",
    modern: &[
        "ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "rsa-sha2-512-cert-v01@openssh.com",
        "rsa-sha2-256-cert-v01@openssh.com",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ],
    weak: &["ssh-rsa-cert-v01@openssh.com", "ssh-rsa", "ssh-dss"],
    lacking: &[
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-dss-cert-v01@openssh.com",
        "ssh-xmss@openssh.com",
        "ssh-xmss-cert-v01@openssh.com",
    ],
};

impl List {
    pub const ALL: [List; 5] = [List::Kex, List::HostKeys, List::Ciphers, List::Macs, List::PublicKeys];

    /// The list's word in `ssh_config.5`.
    pub fn option(self) -> &'static str {
        self.names().option
    }

    /// The list that what could not be negotiated comes from. Compression has none: it is never needed.
    pub fn of(kind: &AlgorithmKind) -> Option<List> {
        match kind {
            AlgorithmKind::Kex => Some(List::Kex),
            AlgorithmKind::Key => Some(List::HostKeys),
            AlgorithmKind::Cipher => Some(List::Ciphers),
            AlgorithmKind::Mac => Some(List::Macs),
            AlgorithmKind::Compression => None,
        }
    }

    /// Whether a name is one that only old servers need.
    pub fn is_weak(self, name: &str) -> bool {
        self.names().weak.contains(&name)
    }

    fn names(self) -> &'static Names {
        match self {
            List::Kex => &KEX,
            List::HostKeys => &HOST_KEYS,
            List::Ciphers => &CIPHERS,
            List::Macs => &MACS,
            List::PublicKeys => &PUBLIC_KEYS,
        }
    }

    fn all(self) -> impl Iterator<Item = &'static str> {
        self.names().modern.iter().chain(self.names().weak).copied()
    }

    fn default(self, profile: Profile) -> Vec<&'static str> {
        match profile {
            Profile::Modern => self.names().modern.to_vec(),
            Profile::Legacy => self.all().collect(),
        }
    }
}

impl Algorithms {
    /// Finds the names that do not exist, in all lists: a fragment for each such list.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let wrong: Vec<String> = List::ALL.into_iter().filter_map(|list| self.names(list).err()).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Returns what one list comes to, best first: the written list, or what it makes of the profile's.
    pub fn names(&self, list: List) -> Result<Vec<&'static str>, String> {
        let default = list.default(self.profile);
        let Some(written) = self.written(list) else { return Ok(default) };
        let rest = |mark| written.strip_prefix(mark);
        let names = if let Some(taken) = rest('-') {
            let taken = read(list, taken)?;
            default.into_iter().filter(|name| !taken.contains(name)).collect()
        } else if let Some(added) = rest('+') {
            without_twins(default.into_iter().chain(read(list, added)?))
        } else if let Some(first) = rest('^') {
            without_twins(read(list, first)?.into_iter().chain(default))
        } else {
            read(list, written)?
        };
        if names.is_empty() {
            let lacking = written.split(',').all(|word| list.names().lacking.contains(&word));
            let why = if lacking { "OpenSSH has that, but it is not supported here" } else { "that leaves nothing" };
            return Err(format!("`{} {written}`: {why}", list.option()));
        }
        Ok(names)
    }

    /// Whether the order of host keys is the user's; if not, the keys that are known go first (`ssh_config.5`).
    pub fn orders_host_keys(&self) -> bool {
        self.host_keys.as_ref().is_some_and(|written| !written.starts_with(['+', '-']))
    }

    pub fn written(&self, list: List) -> Option<&str> {
        match list {
            List::Kex => &self.kex,
            List::HostKeys => &self.host_keys,
            List::Ciphers => &self.ciphers,
            List::Macs => &self.macs,
            List::PublicKeys => &self.public_keys,
        }
        .as_deref()
    }

    /// Returns the lists as the library takes them. `known` puts the plain host keys in order.
    pub fn preferred(&self, known: impl Fn(&[Algorithm]) -> Vec<Algorithm>) -> Result<Preferred, String> {
        let keys: Vec<Algorithm> = self.host_keys()?;
        let mut exchanges: Vec<_> = resolved(self.names(List::Kex)?, |name| kex::Name::try_from(name));
        // Not algorithms: they announce that extensions and strict key exchange are understood.
        exchanges.extend([kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT]);
        Ok(Preferred {
            kex: Cow::Owned(exchanges),
            key: Cow::Owned(if self.orders_host_keys() { keys } else { known(&keys) }),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Owned(resolved(self.names(List::Ciphers)?, |name| cipher::Name::try_from(name))),
            mac: Cow::Owned(resolved(self.names(List::Macs)?, |name| mac::Name::try_from(name))),
            compression: Cow::Borrowed(&[compression::NONE, compression::ZLIB_LEGACY, compression::ZLIB]),
        })
    }

    /// Returns the plain host keys that are allowed.
    pub fn host_keys(&self) -> Result<Vec<Algorithm>, String> {
        let names = self.names(List::HostKeys)?.into_iter().filter(|name| !name.contains("-cert-"));
        Ok(resolved(names.collect(), Algorithm::from_str))
    }

    /// Returns the algorithms of the host certificates that are allowed, as the plain ones that they contain.
    pub fn host_certificates(&self) -> Result<Vec<Algorithm>, String> {
        let plain = |name: &str| name.strip_suffix("-cert-v01@openssh.com").map(Algorithm::from_str);
        Ok(self.names(List::HostKeys)?.into_iter().filter_map(plain).flatten().collect())
    }

    /// Returns the sizes of a group to ask for: 2048 bits are what old servers have and can compute in time; for others
    /// 3072 are worth 128 bits (NIST SP 800-57), where the library's 8192 cost 400 ms.
    pub fn group_sizes(&self) -> GexParams {
        let preferred = match self.profile {
            Profile::Modern => 3072,
            Profile::Legacy => 2048,
        };
        GexParams::new(2048, preferred, 8192).unwrap_or_default()
    }
}

impl Target {
    /// Says, for the header of a run, why the connection is weaker than others; the jump hosts on the way count.
    pub fn weaknesses(&self) -> Vec<String> {
        let mut found = match self.algorithms.profile {
            Profile::Legacy => vec!["ssh_profile: legacy".to_string()],
            Profile::Modern => List::ALL.into_iter().filter_map(|list| self.weakness(list)).collect(),
        };
        if self.host_key_checking == HostKeyChecking::Off {
            found.push("host keys are not checked".into());
        }
        if let Via::Jump(jump) = &self.via {
            found.extend(jump.weaknesses().into_iter().map(|why| format!("through `{}`: {why}", jump.name)));
        }
        found
    }

    fn weakness(&self, list: List) -> Option<String> {
        let names = self.algorithms.names(list).unwrap_or_default();
        let weak: Vec<&str> = names.into_iter().filter(|name| list.is_weak(name)).collect();
        (!weak.is_empty()).then(|| format!("{} {}", list.option(), weak.join(",")))
    }
}

/// Returns what written names stand for. Those that OpenSSH has and the library lacks stand for nothing: what is left is
/// a part of what the user allows. Patterns are allowed as `ssh` allows them.
fn read(list: List, written: &str) -> Result<Vec<&'static str>, String> {
    let mut found = Vec::new();
    for word in written.split(',') {
        let before = found.len();
        found.extend(list.all().filter(|name| matches(word, name)));
        let known = found.len() > before || list.names().lacking.contains(&word) || word.contains(['*', '?']);
        if !known {
            return Err(format!("`{word}` in `{}` is not an algorithm that is known", list.option()));
        }
    }
    Ok(without_twins(found))
}

/// `*` is any text and `?` any character (`ssh_config.5`, PATTERNS).
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = &pattern[1..];
            (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
        }
        (Some('?'), Some(one)) => matches(&pattern[1..], &name[one.len_utf8()..]),
        (Some(wanted), Some(one)) if wanted == one => matches(&pattern[wanted.len_utf8()..], &name[one.len_utf8()..]),
        _ => false,
    }
}

fn without_twins<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// Every name of the tables is one of the library's; a test holds that.
fn resolved<T, E>(names: Vec<&str>, resolve: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
    names.into_iter().filter_map(|name| resolve(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn kex(profile: Profile, written: &str) -> Result<String, String> {
        let algorithms = Algorithms { profile, kex: Some(written.into()), ..Algorithms::default() };
        algorithms.names(List::Kex).map(|names| names.join(","))
    }

    #[test]
    fn every_name_is_one_of_the_library() {
        let names = |list: List| list.all().map(str::to_owned).collect::<Vec<_>>();
        assert!(names(List::Kex).iter().all(|name| kex::Name::try_from(name.as_str()).is_ok()));
        assert!(names(List::Ciphers).iter().all(|name| cipher::Name::try_from(name.as_str()).is_ok()));
        assert!(names(List::Macs).iter().all(|name| mac::Name::try_from(name.as_str()).is_ok()));
        for name in [names(List::HostKeys), names(List::PublicKeys)].concat() {
            let end = if name.starts_with("sk-") { "@openssh.com" } else { "" };
            let plain = name.replace("-cert-v01@openssh.com", end);
            let algorithm = Algorithm::from_str(&plain).expect("a name");
            assert!(!matches!(algorithm, Algorithm::Other(_)) && algorithm.as_str() == plain, "{name}");
        }
    }

    #[test]
    fn a_modern_host_is_offered_nothing_weak() {
        let modern = Algorithms::default();
        for list in List::ALL {
            let names = modern.names(list).expect("names");
            assert!(!names.iter().any(|name| list.is_weak(name)), "{names:?}");
            assert!(!names.iter().any(|name| name.contains("sha1") || name.contains("cbc") || name.contains("dss")));
        }
        let preferred = modern.preferred(<[_]>::to_vec).expect("lists");
        assert!(preferred.kex.contains(&kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT));
        assert!(preferred.kex.contains(&kex::EXTENSION_SUPPORT_AS_CLIENT));
        assert!(!preferred.key.contains(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn the_legacy_profile_adds_what_is_weak_behind_what_is_not() {
        let legacy = Algorithms { profile: Profile::Legacy, ..Algorithms::default() };
        for list in List::ALL {
            let (modern, names) = (list.default(Profile::Modern), legacy.names(list).expect("names"));
            assert_eq!(names[..modern.len()], modern);
            assert!(names[modern.len()..].iter().all(|name| list.is_weak(name)) && names.len() > modern.len());
        }
    }

    #[test]
    fn lists_are_added_to_taken_from_and_put_first() {
        let default = List::Kex.default(Profile::Modern).join(",");
        assert_eq!(
            kex(Profile::Modern, "ecdh-sha2-nistp256,curve25519-sha256").as_deref(),
            Ok("ecdh-sha2-nistp256,curve25519-sha256")
        );
        assert_eq!(
            kex(Profile::Modern, "+diffie-hellman-group1-sha1,curve25519-sha256"),
            Ok(format!("{default},diffie-hellman-group1-sha1"))
        );
        assert!(kex(Profile::Modern, "^ecdh-sha2-nistp521").is_ok_and(|names| {
            names.starts_with("ecdh-sha2-nistp521,mlkem") && names.matches("nistp521").count() == 1
        }));
        let without = kex(Profile::Legacy, "-*-sha1,curve*").expect("names");
        assert!(!without.contains("sha1") && !without.contains("curve") && without.contains("ecdh"), "{without}");
        assert!(
            kex(Profile::Modern, "+*group1?-sha1").is_ok_and(|names| names.ends_with(",diffie-hellman-group14-sha1"))
        );
    }

    #[test]
    fn what_only_openssh_has_is_left_out_and_what_nobody_has_is_an_error() {
        assert_eq!(
            kex(Profile::Modern, "sntrup761x25519-sha512,curve25519-sha256").as_deref(),
            Ok("curve25519-sha256")
        );
        assert_eq!(kex(Profile::Modern, "+sntrup761x25519-sha512"), Ok(List::Kex.default(Profile::Modern).join(",")));
        assert!(kex(Profile::Modern, "-sntrup761x25519-sha512").is_ok());
        let only = kex(Profile::Modern, "sntrup761x25519-sha512").expect_err("nothing is left");
        assert_eq!(only, "`KexAlgorithms sntrup761x25519-sha512`: OpenSSH has that, but it is not supported here");
        let unknown = kex(Profile::Modern, "+curve25519-sha265").expect_err("a slip");
        assert_eq!(unknown, "`curve25519-sha265` in `KexAlgorithms` is not an algorithm that is known");
        assert!(kex(Profile::Modern, "none").is_err() && kex(Profile::Modern, "").is_err());
        assert_eq!(kex(Profile::Modern, "-*").expect_err("nothing"), "`KexAlgorithms -*`: that leaves nothing");
    }

    #[test]
    fn all_wrong_lists_are_named_at_once() {
        let wrong = Algorithms { ciphers: Some("des".into()), macs: Some("+md4".into()), ..Algorithms::default() };
        assert_eq!(wrong.check().expect_err("two errors").len(), 2);
        assert_eq!(Algorithms::default().check(), Ok(()));
    }

    #[test]
    fn weaknesses_are_named_with_the_jump_hosts() {
        let mut target = Target::new("old", "root", Path::new("/root"));
        assert!(target.weaknesses().is_empty());
        target.algorithms.ciphers = Some("+aes128-cbc,3des-cbc".into());
        target.algorithms.kex = Some("ecdh-sha2-nistp256".into());
        assert_eq!(target.weaknesses(), ["Ciphers aes128-cbc,3des-cbc"]);
        target.algorithms.profile = Profile::Legacy;
        target.host_key_checking = HostKeyChecking::Off;
        assert_eq!(target.weaknesses(), ["ssh_profile: legacy", "host keys are not checked"]);
        target.host_key_checking = HostKeyChecking::Strict;
        let mut inner = Target::new("inner", "root", Path::new("/root"));
        inner.via = Via::Jump(Box::new(target));
        assert_eq!(inner.weaknesses(), ["through `old`: ssh_profile: legacy"]);
    }
}
