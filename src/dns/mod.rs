//! DNS as a client of its servers: records as lines of a zone file, questions and RFC 2136 updates over TCP.

use serde::{Deserialize, Serialize};

mod client;
mod tsig;
mod value;
mod wire;

pub use client::{Answer, Client, Question, Updated};
pub use tsig::{ALGORITHMS, Key};
pub use value::{TYPES, absolute, canonical};

/// All records of one name and type (RFC 2181, 5); without values there are none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rrset {
    /// Absolute, in lower case: `mail.example.com.`
    pub name: String,
    /// `MX`.
    pub kind: String,
    /// Seconds.
    pub ttl: u32,
    /// As [`canonical`] gives them, sorted.
    pub values: Vec<String>,
}

impl Rrset {
    pub fn absent(name: &str, kind: &str) -> Rrset {
        Rrset { name: name.into(), kind: kind.into(), ttl: 0, values: Vec::new() }
    }

    /// Returns the one of `name` and `kind` among records.
    pub fn among(records: &[Record], name: &str, kind: &str) -> Rrset {
        let own = records.iter().filter(|record| record.name == name && record.kind == kind);
        let (ttls, mut values): (Vec<u32>, Vec<String>) = own.map(|record| (record.ttl, record.value.clone())).unzip();
        values.sort();
        values.dedup();
        Rrset { ttl: ttls.into_iter().min().unwrap_or(0), values, ..Rrset::absent(name, kind) }
    }

    pub fn exists(&self) -> bool {
        !self.values.is_empty()
    }

    /// Returns a line for each record: `NAME TTL IN TYPE VALUE`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|value| format!("{} {} IN {} {value}", self.name, self.ttl, self.kind))
    }
}

/// One record as a server gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub ttl: u32,
    pub kind: String,
    pub value: String,
}
