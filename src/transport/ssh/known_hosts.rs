//! The host keys that are known: what `known_hosts` files say of one host, and whether a key fits (`sshd.8`).

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::Certificate;
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Target;
use super::neighbours::{Half, Neighbour, Neighbours};
use certificate::{Fault, fault};
use elsewhere::Question;
use line::{Marker, lines, name_with_port};
use refusal::{line_for, print};

mod certificate;
pub mod elsewhere;
pub mod line;
pub mod pin;
pub mod refusal;

pub use refusal::{Refusal, Revoked, Why};

/// What is done about a host whose key is in no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The inventory's name of the host, and its address.
    target: String,
    address: String,
    /// The host as the files name it: `host`, or `[host]:port` where the port is not 22.
    name: String,
    /// The host as a certificate names it, and as lines do that mean it at any port.
    host: String,
    entries: Vec<Entry>,
    /// A new key would be written to the first.
    files: Vec<PathBuf>,
    neighbours: Neighbours,
}

#[derive(Clone, Debug)]
struct Entry {
    file: PathBuf,
    line: usize,
    marker: Marker,
    /// Names the host with its port. If not, it vouches for an equal key and says nothing against another.
    exact: bool,
    key: PublicKey,
}

impl KnownHosts {
    /// Reads the lines that are about the target in its files. A file that does not exist has none; where nothing is
    /// checked none is read.
    pub async fn of(target: &Target) -> std::io::Result<KnownHosts> {
        let files = match target.host_key_checking {
            HostKeyChecking::Off => Vec::new(),
            HostKeyChecking::Strict | HostKeyChecking::AcceptNew => target.known_hosts.clone(),
        };
        // An alias stands for the host and the port (`HostKeyAlias` in `ssh_config.5`).
        let (host, port) = match &target.host_key_alias {
            Some(alias) => (alias, 22),
            None => (&target.address, target.port),
        };
        let mut known = KnownHosts {
            target: target.name.clone(),
            address: target.address.clone(),
            name: name_with_port(host, port),
            host: host.to_lowercase(),
            entries: Vec::new(),
            files,
            neighbours: target.neighbours.clone(),
        };
        for file in known.files.clone() {
            if let Some(text) = text_of(&file).await? {
                known.add(&text, &file);
            }
        }
        Ok(known)
    }

    /// Takes over the lines of one file that are about the host. Keys that cannot be read are passed over, as OpenSSH
    /// does.
    fn add(&mut self, text: &str, file: &Path) {
        for line in lines(text) {
            let exact = line.names.matches(&self.name);
            if !exact && !line.names.matches(&self.host) {
                continue;
            }
            if let Some(key) = line.key() {
                self.entries.push(Entry { file: file.into(), line: line.number, marker: line.marker, exact, key });
            }
        }
    }

    /// The host as the files name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host key algorithms to ask for: those that are known for this host first, so that a host with
    /// several keys shows the one that can be compared.
    pub fn prefer(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let known = |algorithm: &&Algorithm| {
            self.marked(Marker::None).any(|entry| same_type(&entry.key.algorithm(), algorithm))
        };
        let (first, then): (Vec<_>, Vec<_>) = all.iter().partition(known);
        first.into_iter().chain(then).cloned().collect()
    }

    /// Returns the algorithms with which to ask for a certificate first: all, where an authority is known for the host.
    pub fn certificates(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        if self.marked(Marker::Authority).next().is_some() { all.to_vec() } else { Vec::new() }
    }

    /// Refuses what is revoked, differs from everything known, or belongs to a host that is not known; `now` is in
    /// seconds since 1970.
    ///
    /// A certificate that does not vouch for the host is no worse than no certificate: the key in it, which the host has
    /// proved to have, may be known itself.
    pub async fn check(&self, shown: &PublicKeyOrCertificate, now: u64) -> Result<(), Box<Refusal>> {
        let key = shown.public_key();
        let judged = match shown.certificate() {
            None => self.judge(&key).map_err(|why| (why, None)),
            Some(certificate) => self.judge_certificate(certificate, &key, now),
        };
        let Err((why, fault)) = judged else { return Ok(()) };
        let neighbours = self.neighbours.list();
        let own = [self.name.clone(), self.host.clone()];
        let question = Question { target: &self.target, own: &own, neighbours: &neighbours };
        let mut elsewhere = question.key(&self.files, &key).await;
        if let (Some(Fault::Principals(_)), Some(certificate)) = (fault.as_deref(), shown.certificate()) {
            elsewhere.extend(question.certificate(certificate));
        }
        let identity = shown.certificate().map(|certificate| certificate.key_id().to_owned()).unwrap_or_default();
        Err(Box::new(Refusal {
            why: *why,
            name: self.name.clone(),
            host: self.host.clone(),
            target: self.target.clone(),
            address: self.address.clone(),
            key,
            certificate: fault.map(|fault| (*fault, identity)),
            elsewhere,
        }))
    }

    fn judge(&self, key: &PublicKey) -> Result<(), Box<Why>> {
        if let Some(Entry { file, line, .. }) = self.with_key(Marker::Revoked, key) {
            return Err(Box::new(Why::Revoked { what: Revoked::Key, file: file.clone(), line: *line }));
        }
        if self.with_key(Marker::None, key).is_some() {
            return Ok(());
        }
        // Another type of key is a change too: the known types were asked for first, and the host has none of them.
        let exact = || self.marked(Marker::None).filter(|entry| entry.exact);
        let known =
            exact().find(|entry| same_type(&entry.key.algorithm(), &key.algorithm())).or_else(|| exact().next());
        Err(Box::new(match known {
            Some(Entry { file, line, key: known, .. }) => {
                Why::Changed { known: known.clone(), file: file.clone(), line: *line }
            }
            None => Why::Unknown { file: self.files.first().cloned() },
        }))
    }

    fn judge_certificate(
        &self,
        certificate: &Certificate,
        key: &PublicKey,
        now: u64,
    ) -> Result<(), (Box<Why>, Option<Box<Fault>>)> {
        let signer = PublicKey::new(certificate.signature_key().clone(), "");
        if let Some(Entry { file, line, .. }) = self.with_key(Marker::Revoked, &signer) {
            let what = Revoked::Authority(signer);
            return Err((Box::new(Why::Revoked { what, file: file.clone(), line: *line }), None));
        }
        // The key is judged in any case: one that is revoked does not become better by a certificate.
        let plain = self.judge(key);
        if plain.as_ref().is_err_and(|why| matches!(**why, Why::Revoked { .. })) {
            return plain.map_err(|why| (why, None));
        }
        let fault = match self.with_key(Marker::Authority, &signer) {
            Some(_) => fault(certificate, &self.host, now),
            None => {
                let place = |entry: &Entry| format!("{} ({}:{})", print(&entry.key), entry.file.display(), entry.line);
                Some(Fault::Authority { signer, known: self.marked(Marker::Authority).map(place).collect() })
            }
        };
        match fault {
            None => Ok(()),
            Some(Fault::Forged) => Err((Box::new(Why::Forged), Some(Box::new(Fault::Forged)))),
            Some(fault) => plain.map_err(|why| (why, Some(Box::new(fault)))),
        }
    }

    /// Adds the key to the first file, and to what is known here.
    pub async fn learn(&mut self, key: &PublicKey) -> std::io::Result<()> {
        let Some(file) = self.files.first().cloned() else { return Ok(()) };
        append(&file, &line_for(&self.name, key)).await?;
        self.entries.push(Entry { file, line: 0, marker: Marker::None, exact: true, key: key.clone() });
        Ok(())
    }

    fn marked(&self, marker: Marker) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.marker == marker)
    }

    /// Compares the keys alone; a comment is not part of one.
    fn with_key(&self, marker: Marker, key: &PublicKey) -> Option<&Entry> {
        self.marked(marker).find(|entry| entry.key.key_data() == key.key_data())
    }
}

/// Returns a file's text; nothing where there is no file.
pub async fn text_of(file: &Path) -> std::io::Result<Option<String>> {
    match tokio::fs::read(file).await {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(std::io::Error::new(error.kind(), format!("`{}`: {error}", file.display()))),
    }
}

/// Compares the types of two keys; an RSA key is one whatever hash it signs with.
pub fn same_type(left: &Algorithm, right: &Algorithm) -> bool {
    left == right || matches!((left, right), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
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
    use russh::keys::{EcdsaCurve, HashAlg};

    use super::line::hashed;
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).expect("a key")
    }

    fn known(text: &str, host: &str, port: u16) -> KnownHosts {
        let file = PathBuf::from("known_hosts");
        let mut known = KnownHosts {
            target: host.into(),
            address: host.into(),
            name: name_with_port(host, port),
            host: host.to_lowercase(),
            entries: Vec::new(),
            files: vec![file.clone()],
            neighbours: Neighbours::default(),
        };
        known.add(text, &file);
        known
    }

    fn verdict(text: &str, host: &str, port: u16) -> &'static str {
        match known(text, host, port).judge(&key(ONE)).map_err(|why| *why) {
            Ok(()) => "known",
            Err(Why::Unknown { .. }) => "unknown",
            Err(Why::Changed { .. }) => "changed",
            Err(Why::Revoked { .. }) => "revoked",
            Err(Why::Forged) => "forged",
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
        let line = |name: &str| format!("{} {ONE}\n", hashed(name, &[9; 20]));
        assert_eq!(verdict(&line("mail"), "Mail", 22), "known");
        assert_eq!(verdict(&line("[mail]:2222"), "mail", 2222), "known");
        assert_eq!(verdict(&line("mail"), "mail2", 22), "unknown");
    }

    #[tokio::test]
    async fn a_different_key_is_a_change_with_the_line_of_the_known_one() {
        let text = format!("# first\n\nmail {TWO}\n");
        let refusal = known(&text, "mail", 22).check(&key(ONE).into(), 0).await.expect_err("a refusal").to_string();
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
        assert_eq!(verdict(&format!("[mail]:2222 {ONE}\n@revoked mail {ONE}\n"), "mail", 2222), "revoked");
    }

    #[test]
    fn an_authority_or_an_unreadable_key_has_no_effect() {
        assert_eq!(verdict(&format!("@cert-authority mail {TWO}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("@cert-authority mail {ONE}\n"), "mail", 22), "unknown");
        assert_eq!(verdict(&format!("mail ssh-foo AAAAB3\nmail {ONE}\n"), "mail", 22), "known");
    }

    #[test]
    fn the_types_that_are_known_are_asked_for_first_and_certificates_where_an_authority_is() {
        let all = [Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }, Algorithm::Ed25519];
        assert_eq!(known(&format!("mail {ONE}\n"), "mail", 22).prefer(&all), [all[1].clone(), all[0].clone()]);
        assert_eq!(known("", "mail", 22).prefer(&all), all);
        assert!(known(&format!("mail {ONE}\n"), "mail", 22).certificates(&all).is_empty());
        assert!(known(&format!("@cert-authority mx {ONE}\n"), "mail", 22).certificates(&all).is_empty());
        assert_eq!(known(&format!("@cert-authority * {ONE}\n"), "mail", 22).certificates(&all), all);
    }
}
