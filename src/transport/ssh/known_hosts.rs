//! The host keys that are known: what `known_hosts` files say of one host, and whether a key fits (`sshd.8`).

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};
use sha1::Sha1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is done about a host whose key is in no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyChecking {
    /// It is refused.
    Strict,
    /// Its key is written to the first file; a key that differs from a known one is refused all the same.
    AcceptNew,
    /// Any key is taken, unseen. Whoever sits between can read and change everything.
    Off,
}

/// What the files say of one host.
#[derive(Clone, Debug)]
pub struct KnownHosts {
    /// The host as the files name it: `host`, or `[host]:port` where the port is not 22.
    name: String,
    entries: Vec<Entry>,
    /// Where a new key would be written.
    file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Entry {
    file: PathBuf,
    line: usize,
    kind: Kind,
    key: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Names the host with its port.
    Exact,
    /// Names the host alone though its port is not 22: vouches for an equal key, says nothing against another.
    Portless,
    Revoked,
}

/// Why a host key is refused.
#[derive(Debug)]
pub enum Refusal {
    Unknown { name: String, key: PublicKey, file: Option<PathBuf> },
    Changed { name: String, key: PublicKey, known: PublicKey, file: PathBuf, line: usize },
    Revoked { name: String, key: PublicKey, file: PathBuf, line: usize },
}

impl KnownHosts {
    /// Reads the lines of `files` that are about this host. A file that does not exist has none.
    pub async fn read(files: &[PathBuf], host: &str, port: u16) -> std::io::Result<KnownHosts> {
        let mut entries = Vec::new();
        for file in files {
            let text = match tokio::fs::read(file).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(std::io::Error::new(error.kind(), format!("`{}`: {error}", file.display()))),
            };
            entries.extend(entries_of(&text, file, host, port));
        }
        Ok(KnownHosts { name: name_with_port(host, port), entries, file: files.first().cloned() })
    }

    /// Returns the host key algorithms to ask for: those that are known for this host first, so that a host with
    /// several keys shows the one that can be compared.
    pub fn prefer(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let known = |algorithm: &&Algorithm| self.keys().any(|entry| same_type(&entry.key.algorithm(), algorithm));
        let (first, then): (Vec<_>, Vec<_>) = all.iter().partition(known);
        first.into_iter().chain(then).cloned().collect()
    }

    /// Refuses a key that is revoked, differs from every known one, or belongs to a host that is not known.
    pub fn check(&self, key: &PublicKey) -> Result<(), Box<Refusal>> {
        let same = |entry: &&Entry| entry.key.key_data() == key.key_data();
        let (name, shown) = (self.name.clone(), key.clone());
        if let Some(entry) = self.entries.iter().filter(|entry| entry.kind == Kind::Revoked).find(same) {
            let (file, line) = (entry.file.clone(), entry.line);
            return Err(Box::new(Refusal::Revoked { name, key: shown, file, line }));
        }
        if self.keys().any(|entry| same(&entry)) {
            return Ok(());
        }
        // Another type of key is a change too: the known types were asked for first, and the host has none of them.
        let exact = || self.keys().filter(|entry| entry.kind == Kind::Exact);
        let known =
            exact().find(|entry| same_type(&entry.key.algorithm(), &key.algorithm())).or_else(|| exact().next());
        Err(Box::new(match known {
            Some(Entry { file, line, key: known, .. }) => {
                Refusal::Changed { name, key: shown, known: known.clone(), file: file.clone(), line: *line }
            }
            None => Refusal::Unknown { name, key: shown, file: self.file.clone() },
        }))
    }

    /// Adds the key to the first file, and to what is known here.
    pub async fn learn(&mut self, key: &PublicKey) -> std::io::Result<()> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        append(&file, &line_for(&self.name, key)).await?;
        self.entries.push(Entry { file, line: 0, kind: Kind::Exact, key: key.clone() });
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.kind != Kind::Revoked)
    }
}

/// The text that a user reads: what was shown, what was expected, and what to do.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print = |key: &PublicKey| format!("{} {}", key_type(key), key.fingerprint(HashAlg::Sha256));
        match self {
            Refusal::Unknown { name, key, file } => {
                write!(f, "the host key of `{name}` is not known: {}", print(key))?;
                let file = file.as_ref().map_or("known_hosts".into(), |file| file.display().to_string());
                write!(
                    f,
                    "\nhint: compare it with what `ssh-keygen -lf` prints on the host, then add this line to `{file}`:\n{}",
                    line_for(name, key)
                )
            }
            Refusal::Changed { name, key, known, file, line } => write!(
                f,
                "the host key of `{name}` is not the known one: it is {}, known is {} ({}:{line})\nhint: somebody may \
                 be between you and the host; if the host really has a new key, remove the line with `ssh-keygen -f \
                 {} -R '{name}'`",
                print(key),
                print(known),
                file.display(),
                file.display()
            ),
            Refusal::Revoked { name, key, file, line } => write!(
                f,
                "the host key of `{name}` is revoked: {} ({}:{line})\nhint: whoever has this key may be anybody; give \
                 the host a new one",
                print(key),
                file.display()
            ),
        }
    }
}

/// Returns the entries of one file that are about the host. Lines that cannot be read are passed over, as OpenSSH
/// does; so are `@cert-authority` lines, which vouch for certificates, not for keys.
fn entries_of(text: &str, file: &Path, host: &str, port: u16) -> Vec<Entry> {
    let (host, name) = (host.to_lowercase(), name_with_port(host, port));
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty()).peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(hosts), Some(kind), Some(data)) = (words.next(), words.next(), words.next()) else { continue };
        let named = if hosts.starts_with('#') {
            continue;
        } else if matches(hosts, &name) {
            Kind::Exact
        } else if name != host && matches(hosts, &host) {
            Kind::Portless
        } else {
            continue;
        };
        let kind = match (marker, PublicKey::from_openssh(&format!("{kind} {data}"))) {
            (None, Ok(key)) => (named, key),
            (Some("@revoked"), Ok(key)) => (Kind::Revoked, key),
            _ => continue,
        };
        entries.push(Entry { file: file.into(), line: index + 1, kind: kind.0, key: kind.1 });
    }
    entries
}

/// Says whether the first field of a line names `name`: a list of patterns in which a matching `!pattern` excludes,
/// or one hashed name.
fn matches(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return hash_matches(hashed, name).unwrap_or(false);
    }
    let mut named = false;
    for pattern in hosts.split(',') {
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

/// `salt|HMAC-SHA1(salt, name)`, both in base64. `None` where it is not of that form.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// Matches `*` and `?`, the only wildcards that `sshd.8` knows here.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
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

fn name_with_port(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// Compares the types of two keys; an RSA key is one whatever hash it signs with.
fn same_type(left: &Algorithm, right: &Algorithm) -> bool {
    left == right || matches!((left, right), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// The type of a key as `ssh-keygen -l` prints it.
fn key_type(key: &PublicKey) -> &'static str {
    match key.algorithm() {
        Algorithm::Ed25519 => "ED25519",
        Algorithm::Rsa { .. } => "RSA",
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 | EcdsaCurve::NistP384 | EcdsaCurve::NistP521 } => "ECDSA",
        Algorithm::Dsa => "DSA",
        _ => "key",
    }
}

fn line_for(name: &str, key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    format!("{name} {}", key.to_openssh().unwrap_or_default().trim_end())
}

/// Appends a line in one write, after ending a last line that has no end.
async fn append(file: &Path, line: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).await?;
    }
    let mut file = tokio::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file).await?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).await?;
    let end = if text.last().is_some_and(|byte| *byte != b'\n') { "\n" } else { "" };
    file.write_all(format!("{end}{line}\n").as_bytes()).await?;
    file.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).expect("a key")
    }

    fn known(text: &str, host: &str, port: u16) -> KnownHosts {
        let file = PathBuf::from("known_hosts");
        KnownHosts { name: name_with_port(host, port), entries: entries_of(text, &file, host, port), file: Some(file) }
    }

    fn verdict(text: &str, host: &str, port: u16) -> &'static str {
        match known(text, host, port).check(&key(ONE)).map_err(|refusal| *refusal) {
            Ok(()) => "known",
            Err(Refusal::Unknown { .. }) => "unknown",
            Err(Refusal::Changed { .. }) => "changed",
            Err(Refusal::Revoked { .. }) => "revoked",
        }
    }

    #[test]
    fn a_host_is_found_however_its_line_is_written() {
        assert_eq!(verdict(&format!("mail {ONE}\n"), "mail", 22), "known");
        assert_eq!(verdict(&format!("mail {ONE}\n"), "MAIL", 22), "known");
        assert_eq!(verdict(&format!("other,mail {ONE} a comment\n"), "mail", 22), "known");
        assert_eq!(verdict(&format!(" \tmail\t{}\r\n", ONE.replace(' ', "\t")), "mail", 22), "known");
        assert_eq!(verdict(&format!("*.example.com {ONE}\n"), "a.example.com", 22), "known");
        assert_eq!(verdict(&format!("mail? {ONE}\n"), "mail1", 22), "known");
        assert_eq!(verdict(&format!("[mail]:2222 {ONE}\n"), "mail", 2222), "known");
        assert_eq!(verdict(&format!("mail {ONE}\n"), "mail", 2222), "known");
    }

    #[test]
    fn a_line_about_another_host_is_not_found() {
        assert_eq!(verdict(&format!("mail2 {ONE}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("*.example.com {ONE}\n"), "example.com", 22), "unknown");
        assert_eq!(verdict(&format!("!mail,* {ONE}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("[mail]:2222 {ONE}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("# mail {ONE}\n#mail {ONE}\n"), "mail", 22), "unknown");
        assert_eq!(verdict("", "mail", 22), "unknown");
    }

    #[test]
    fn a_hashed_name_is_found() {
        let mac = |name: &str| {
            let mut mac = Hmac::<Sha1>::new_from_slice(b"a salt").expect("a key");
            mac.update(name.as_bytes());
            STANDARD.encode(mac.finalize().into_bytes())
        };
        let line = |name: &str| format!("|1|{}|{} {ONE}\n", STANDARD.encode("a salt"), mac(name));
        assert_eq!(verdict(&line("mail"), "Mail", 22), "known");
        assert_eq!(verdict(&line("[mail]:2222"), "mail", 2222), "known");
        assert_eq!(verdict(&line("mail"), "mail2", 22), "unknown");
    }

    #[test]
    fn a_different_key_is_a_change_with_the_line_of_the_known_one() {
        let text = format!("# first\n\nmail {TWO}\n");
        let refusal = known(&text, "mail", 22).check(&key(ONE)).expect_err("a refusal").to_string();
        assert!(refusal.contains("known_hosts:3"), "{refusal}");
        assert!(refusal.contains(&key(ONE).fingerprint(HashAlg::Sha256).to_string()), "{refusal}");
        assert!(refusal.contains(&key(TWO).fingerprint(HashAlg::Sha256).to_string()), "{refusal}");
    }

    #[test]
    fn the_second_of_two_keys_counts() {
        assert_eq!(verdict(&format!("mail {TWO}\nmail {ONE}\n"), "mail", 22), "known");
    }

    #[test]
    fn a_portless_line_with_another_key_says_nothing_of_another_port() {
        assert_eq!(verdict(&format!("mail {TWO}\n"), "mail", 2222), "unknown");
    }

    #[test]
    fn a_revoked_key_is_refused_though_it_is_known() {
        assert_eq!(verdict(&format!("mail {ONE}\n@revoked * {ONE}\n"), "mail", 22), "revoked");
        assert_eq!(verdict(&format!("mail {ONE}\n@revoked * {TWO}\n"), "mail", 22), "known");
    }

    #[test]
    fn an_authority_or_an_unreadable_key_has_no_effect() {
        assert_eq!(verdict(&format!("@cert-authority mail {TWO}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("@cert-authority mail {ONE}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("mail ssh-foo AAAAB3\nmail {ONE}\n"), "mail", 22), "known");
    }

    #[test]
    fn the_types_that_are_known_are_asked_for_first() {
        let all = [Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }, Algorithm::Ed25519];
        assert_eq!(known(&format!("mail {ONE}\n"), "mail", 22).prefer(&all), [all[1].clone(), all[0].clone()]);
        assert_eq!(known("", "mail", 22).prefer(&all), all);
    }
}
