//! All host keys of a host, seen without logging in: one key exchange for each type of key, as `ssh-keyscan` does.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, DisconnectReason};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Error};

use super::host_key::Report;
use super::known_hosts::elsewhere::Relation;
use super::known_hosts::refusal::{key_type, line_for, type_name};
use super::known_hosts::{KnownHosts, Refusal, Why, same_type};
use super::{Client, HostKeyChecking, Target, Use, link, mismatch};
use crate::transport::TransportError;

/// What a host showed.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The host as `known_hosts` files name it.
    pub name: String,
    pub keys: Vec<HostKey>,
    /// Types that the host offered and then ended the connection for, with what it said.
    pub unseen: Vec<(&'static str, String)>,
}

/// One key of a host, and what the target's `known_hosts` files say of it.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// As `ssh-keygen -l` prints it: `ED25519`.
    pub kind: &'static str,
    pub bits: u32,
    /// `SHA256:...`.
    pub fingerprint: String,
    /// The name of its type and the key, as a line of `known_hosts` has them after the names.
    pub text: String,
    pub status: Status,
    /// Who else has this key.
    pub elsewhere: Option<Same>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Known,
    New,
    /// `FILE:LINE` and the fingerprint of the known key.
    Changed {
        known: String,
        place: String,
    },
    /// `FILE:LINE`.
    Revoked {
        place: String,
    },
}

/// Another name with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Same {
    pub name: String,
    /// `FILE:LINE`, where a file says so.
    pub place: Option<String>,
    /// Whether it is the other half of a pair that is being moved.
    pub other_half: bool,
}

/// Sees every key of the host, one after the other: servers count connections that do not log in.
pub async fn scan(client: &Arc<Client>, target: &Target) -> Result<Scanned, TransportError> {
    // What is known is compared even where a run would not check it.
    let target = &Target { host_key_checking: HostKeyChecking::Strict, ..target.clone() };
    let unreachable =
        |error: &dyn std::fmt::Display| TransportError::Unreachable(format!("{}: {error}", target.place()));
    let known = KnownHosts::of(target).await.map_err(|error| unreachable(&error))?;
    let config = link::config(target, Use::Shells, &known).map_err(|error| unreachable(&error))?;
    let (mut keys, mut unseen) = (Vec::new(), Vec::new());
    let mut types: Vec<Vec<Algorithm>> = Vec::new();
    for algorithm in config.preferred.key.iter() {
        match types.iter_mut().find(|others| same_type(&others[0], algorithm)) {
            Some(others) => others.push(algorithm.clone()),
            None => types.push(vec![algorithm.clone()]),
        }
    }
    let mut offered: Option<Vec<String>> = None;
    for algorithms in types {
        let has = |offered: &Vec<String>| algorithms.iter().any(|algorithm| offered.contains(&algorithm.to_string()));
        if !offered.as_ref().is_none_or(has) {
            continue;
        }
        let kind = type_name(&algorithms[0]);
        match see((client, target), &known, algorithms).await? {
            Seen::Key(key) => keys.push(*key),
            // The host's whole list comes with the first refusal, and saves the others.
            Seen::Offers(names) => offered = Some(names),
            Seen::Nothing(error) => unseen.push((kind, error)),
        }
    }
    if keys.is_empty() {
        // What each type's connection ended with is the host's only answer.
        if let Some((_, error)) = unseen.pop() {
            return Err(error);
        }
        let names = offered.unwrap_or_default().join(", ");
        let text = format!("{}: no host key of a kind that is allowed here; the host has {names}", target.place());
        return Err(TransportError::Unreachable(text));
    }
    let unseen = unseen.into_iter().map(|(kind, error)| (kind, reason(target, &error))).collect();
    Ok(Scanned { name: known.name().into(), keys: compare(&known, keys).await, unseen })
}

enum Seen {
    Key(Box<PublicKey>),
    /// None of the algorithms that were asked for, but these.
    Offers(Vec<String>),
    /// The host was there and ended the connection.
    Nothing(TransportError),
}

/// Exchanges keys once, so that the host proves to have the key that it shows, and leaves.
async fn see(
    (client, target): (&Arc<Client>, &Target),
    known: &KnownHosts,
    algorithms: Vec<Algorithm>,
) -> Result<Seen, TransportError> {
    let report = Arc::new(Report::new(target.place()));
    let jump = link::jump(client, target).await?;
    let mut words = None;
    let work = async {
        let config = link::config(target, Use::Shells, known);
        let mut config = config.map_err(|error| TransportError::Unreachable(format!("{}: {error}", report.place)))?;
        config.preferred.key = Cow::Owned(algorithms);
        config.preferred.host_key_certificates = Cow::Borrowed(&[]);
        let mut line = link::line(target, jump.as_ref(), &mut words).await?;
        // Ends the line with this work: the library's own task would wait on it for ever.
        let _cut = line.cut();
        let shown = Arc::new(Mutex::new(None));
        let onlooker = Onlooker { shown: shown.clone(), report: report.clone() };
        let ended = client::connect_stream(Arc::new(config), line, onlooker).await;
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (shown, ended) {
            (Some(key), _) => Ok(Seen::Key(Box::new(key))),
            (None, Err(Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. })) => Ok(Seen::Offers(theirs)),
            (None, Err(Error::NoCommonAlgo { kind, ours, theirs })) => {
                let why = mismatch::explain(target, &kind, (&ours, &theirs));
                Ok(Seen::Nothing(TransportError::Unreachable(format!("{}: {why}", report.place))))
            }
            (None, ended) => Ok(Seen::Nothing(report.lost(&ended.err().unwrap_or(Error::Disconnect)))),
        }
    };
    let late = || {
        let seconds = target.connect_timeout.as_secs_f64();
        TransportError::Unreachable(format!("{}: no answer within {seconds} s", report.place))
    };
    let seen = tokio::time::timeout(target.connect_timeout, work).await.unwrap_or_else(|_| Err(late()));
    // A proxy command has said its last words once its line is gone.
    match (seen, &mut words) {
        (Ok(Seen::Nothing(error)), Some(words)) => Ok(Seen::Nothing(link::quoting(error, words.last().await))),
        (Err(error), Some(words)) => Err(link::quoting(error, words.last().await)),
        (seen, _) => seen,
    }
}

/// The error's text without the place that a table has in columns of its own.
pub fn reason(target: &Target, error: &TransportError) -> String {
    let (TransportError::Unreachable(text) | TransportError::Refused(text)) = error else { return error.to_string() };
    text.strip_prefix(&format!("{}: ", target.place())).unwrap_or(text).to_owned()
}

/// Keeps the key, and takes none.
struct Onlooker {
    shown: Arc<Mutex<Option<PublicKey>>>,
    report: Arc<Report>,
}

impl client::Handler for Onlooker {
    type Error = Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.public_key());
        Ok(false)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        self.report.ended(reason)
    }
}

async fn compare(known: &KnownHosts, keys: Vec<PublicKey>) -> Vec<HostKey> {
    let mut judged = Vec::new();
    for key in keys {
        let refusal = known.check(&PublicKeyOrCertificate::from(key.clone()), 0).await.err();
        judged.push((key, refusal));
    }
    // A host that still has a known key is not another one because it has further ones.
    let same_host = judged.iter().any(|(_, refusal)| refusal.is_none());
    let mut found: Vec<HostKey> = judged
        .iter()
        .map(|(key, refusal)| HostKey {
            kind: key_type(key),
            bits: bits(key),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            text: line_for("", key).trim_start().to_owned(),
            status: refusal.as_ref().map_or(Status::Known, |refusal| status(refusal, same_host)),
            elsewhere: refusal.as_ref().and_then(|refusal| same(refusal)),
        })
        .collect();
    found.sort_by(|left, right| left.text.cmp(&right.text));
    found
}

fn status(refusal: &Refusal, same_host: bool) -> Status {
    match &refusal.why {
        Why::Changed { known, .. } if same_host && !same_type(&known.algorithm(), &refusal.key.algorithm()) => {
            Status::New
        }
        Why::Unknown { .. } | Why::Forged => Status::New,
        Why::Changed { known, file, line } => Status::Changed {
            known: format!("{} {}", key_type(known), known.fingerprint(HashAlg::Sha256)),
            place: format!("{}:{line}", file.display()),
        },
        Why::Revoked { file, line, .. } => Status::Revoked { place: format!("{}:{line}", file.display()) },
    }
}

fn same(refusal: &Refusal) -> Option<Same> {
    let other_half = refusal.other_half();
    let found = other_half.or_else(|| refusal.elsewhere.iter().find(|found| found.relation != Relation::Stranger))?;
    Some(Same { name: found.name.clone(), place: Some(found.place.clone()), other_half: other_half.is_some() })
}

/// The size of a key as `ssh-keygen -l` prints it.
fn bits(key: &PublicKey) -> u32 {
    match key.key_data() {
        KeyData::Rsa(key) => key.n().as_positive_bytes().map_or(0, significant),
        KeyData::Dsa(key) => key.p().as_positive_bytes().map_or(0, significant),
        KeyData::Ecdsa(key) => match key.curve() {
            russh::keys::EcdsaCurve::NistP256 => 256,
            russh::keys::EcdsaCurve::NistP384 => 384,
            russh::keys::EcdsaCurve::NistP521 => 521,
        },
        _ => 256,
    }
}

fn significant(bytes: &[u8]) -> u32 {
    bytes.first().map_or(0, |first| bytes.len() as u32 * 8 - first.leading_zeros())
}
