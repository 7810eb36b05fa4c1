//! What the connection's own task decides and learns: whether the host key is the right one, and why it ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::Error;
use russh::client::{self, DisconnectReason};
use russh::keys::{HashAlg, PublicKeyOrCertificate};

use super::HostKeyChecking;
use super::known_hosts::KnownHosts;
use crate::transport::TransportError;

/// Judges the host key, and notes why the connection ended.
pub struct Verifier {
    pub known: KnownHosts,
    pub checking: HostKeyChecking,
    pub report: Arc<Report>,
}

impl client::Handler for Verifier {
    type Error = Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Report::set(&self.report.key, fingerprint(key));
        if self.checking == HostKeyChecking::Off {
            return Ok(true);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let refusal = match self.known.check(key, now).await {
            Ok(()) => return Ok(true),
            Err(refusal) if refusal.is_new() && self.checking == HostKeyChecking::AcceptNew => {
                match self.known.learn(&refusal.key).await {
                    Ok(()) => return Ok(true),
                    Err(error) => format!("cannot write its host key to a known-hosts file: {error}"),
                }
            }
            Err(refusal) => refusal.to_string(),
        };
        Report::set(&self.report.refusal, refusal);
        Ok(false)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        self.report.ended(reason)
    }
}

/// `SHA256:...`; of a certificate that of its key.
fn fingerprint(key: &PublicKeyOrCertificate) -> String {
    let key = match key {
        PublicKeyOrCertificate::PublicKey { key, .. } => key.key_data(),
        PublicKeyOrCertificate::Certificate(certificate) => certificate.public_key(),
    };
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// What the connection's own task tells the ones that wait on it.
#[derive(Default)]
pub struct Report {
    pub place: String,
    /// What is being done, for the error of a time-out.
    pub stage: Mutex<Option<String>>,
    /// The fingerprint of the host's key.
    pub key: Mutex<Option<String>>,
    refusal: Mutex<Option<String>>,
    end: Mutex<Option<String>>,
}

impl Report {
    pub fn new(place: String) -> Report {
        Report { place, ..Report::default() }
    }

    pub fn set(slot: &Mutex<Option<String>>, text: impl Into<String>) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    }

    pub fn get(slot: &Mutex<Option<String>>) -> Option<String> {
        slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why the connection ended.
    pub fn ended(&self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        let (text, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                (format!("the host ended the connection: {}", info.message), Ok(()))
            }
            DisconnectReason::Error(error) => (explain(&error), Err(error)),
        };
        Report::set(&self.end, text);
        result
    }

    /// Returns the error for a connection that failed or ended, with the reason that is known best.
    pub fn lost(&self, error: &Error) -> TransportError {
        let reason = Report::get(&self.refusal).or_else(|| Report::get(&self.end));
        let reason = reason.unwrap_or_else(|| explain(error));
        TransportError::Unreachable(format!("{}: {reason}", self.place))
    }
}

/// Says an error of the library in a user's words, where it has a better one than its own.
fn explain(error: &Error) -> String {
    match error {
        Error::NoCommonAlgo { kind, ours, theirs } => format!(
            "no {kind:?} algorithm in common: the host offers {}; supported are {}",
            theirs.join(", "),
            ours.join(", ")
        ),
        Error::KeepaliveTimeout => "the host no longer answers".into(),
        Error::Disconnect | Error::HUP | Error::SendError | Error::RecvError => "the connection ended".into(),
        other => other.to_string(),
    }
}
