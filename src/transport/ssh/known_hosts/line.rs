//! One line of a `known_hosts` file: whose it is, and which key it vouches for or revokes (`sshd.8`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::PublicKey;
use sha1::Sha1;

/// What a line says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It is the host's.
    None,
    /// It signs certificates of hosts with the line's names (`@cert-authority`).
    Authority,
    /// It must not be trusted, in whichever role (`@revoked`).
    Revoked,
}

/// One line, its key not decoded yet: of most lines the names are all that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// From 1, comments and empty lines counted.
    pub number: usize,
    pub marker: Marker,
    pub names: Names<'a>,
    kind: &'a str,
    data: &'a str,
}

/// Returns the lines of a file's text. Comments and what is not a line are passed over, as OpenSSH does.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty()).peekable();
        let marker = match words.next_if(|word| word.starts_with('@')) {
            None => Marker::None,
            Some("@cert-authority") => Marker::Authority,
            Some("@revoked") => Marker::Revoked,
            Some(_) => return None,
        };
        let (names, kind, data) = (words.next()?, words.next()?, words.next()?);
        (!names.starts_with('#')).then_some(Line { number: index + 1, marker, names: Names(names), kind, data })
    })
}

impl Line<'_> {
    /// Returns the key. `None`: it is of a kind that is not supported, or damaged.
    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::from_openssh(&format!("{} {}", self.kind, self.data)).ok()
    }

    /// Says whether its key is written `TYPE BASE64`.
    pub fn is(&self, key: &str) -> bool {
        key.split_once(' ') == Some((self.kind, self.data))
    }

    /// Returns the line for the names that remain without some, its comment left out; nothing if none do.
    pub fn without(&self, unwanted: impl Fn(&str) -> bool) -> Option<String> {
        let names = if self.names.0.starts_with('|') { "" } else { self.names.0 };
        let rest: Vec<&str> = names.split(',').filter(|name| !name.is_empty() && !unwanted(name)).collect();
        (!rest.is_empty()).then(|| format!("{} {} {}", rest.join(","), self.kind, self.data))
    }
}

/// The first field of a line: patterns with commas between, or one hashed name.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(pub &'a str);

impl<'a> Names<'a> {
    /// Says whether `name`, in lower case, is meant. A matching `!pattern` excludes it, whatever else matches.
    pub fn matches(&self, name: &str) -> bool {
        if let Some(hashed) = self.0.strip_prefix("|1|") {
            return hash_matches(hashed, name).unwrap_or(false);
        }
        let mut named = false;
        for pattern in self.0.split(',') {
            let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
            if wildcard(pattern.to_lowercase().as_bytes(), name.as_bytes()) {
                if negated {
                    return false;
                }
                named = true;
            }
        }
        named
    }

    /// Says whether `name` itself stands here, in clear or hashed, not just a pattern that it fits.
    pub fn has(&self, name: &str) -> bool {
        match self.0.strip_prefix("|1|") {
            Some(hashed) => hash_matches(hashed, name).unwrap_or(false),
            None => self.0.split(',').any(|pattern| pattern.eq_ignore_ascii_case(name)),
        }
    }

    /// Returns the names in clear as they are written; of a hashed name none.
    pub fn clear(&self) -> impl Iterator<Item = &'a str> {
        let names = if self.0.starts_with('|') { "" } else { self.0 };
        names.split(',').filter(|name| !name.is_empty() && !name.starts_with('!'))
    }
}

/// Returns the name by which a host at a port is looked up: `host`, or `[host]:port` where the port is not 22.
pub fn name_with_port(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// Returns `name` as `|1|salt|HMAC-SHA1(salt, name)`, salted with these bytes.
pub fn hashed(name: &str, salt: &[u8; 20]) -> String {
    let hash = Hmac::<Sha1>::new_from_slice(salt).map(|mac| mac.chain_update(name).finalize().into_bytes());
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash.unwrap_or_default()))
}

/// `salt|hash`, both in base64. `None` where it is not of that form.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// Matches `*` and `?`, the only wildcards that `sshd.8` knows here.
pub fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut on) = (0, 0);
    let mut star = None;
    while on < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, on));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[on] => {
                at += 1;
                on += 1;
            }
            _ => {
                let Some((star_at, star_on)) = star else { return false };
                star = Some((star_at, star_on + 1));
                at = star_at + 1;
                on = star_on + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salted_hash_means_its_name_alone() {
        let hashed = hashed("[mail]:2222", &[7; 20]);
        assert!(Names(&hashed).matches("[mail]:2222") && Names(&hashed).has("[mail]:2222"));
        assert!(!Names(&hashed).matches("mail") && Names(&hashed).clear().next().is_none());
    }

    #[test]
    fn a_pattern_fits_a_name_but_does_not_have_it() {
        let names = Names("*.example.com,!x.example.com,Mail");
        assert!(names.matches("a.example.com") && !names.has("a.example.com"));
        assert!(names.matches("mail") && names.has("mail") && !names.matches("x.example.com"));
        assert_eq!(names.clear().collect::<Vec<_>>(), ["*.example.com", "Mail"]);
    }

    #[test]
    fn lines_are_counted_with_comments_and_an_unknown_marker_is_passed_over() {
        let found: Vec<_> = lines("# x y z\n\n@new a b c\n @revoked\ta b c\r\n#a b c\na b\n").collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].number, found[0].marker, found[0].names.0), (4, Marker::Revoked, "a"));
    }
}
