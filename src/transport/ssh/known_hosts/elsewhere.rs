//! Where else a key is known from: in a move, most often the other half of a pair.

use std::path::{Path, PathBuf};

use russh::keys::PublicKey;
use russh::keys::ssh_key::Certificate;

use super::line::{Line, Marker, lines, name_with_port, wildcard};
use super::{Half, Neighbour, text_of};

/// A name for which the files have a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The inventory's name of a host, or else the name in the file.
    pub name: String,
    /// `FILE:LINE`, or the words for a certificate.
    pub place: String,
    pub relation: Relation,
}

/// What the host with the same key is to the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is on this side of the move, and the one that was meant on the other.
    OtherHalf(Half),
    /// Another host of the run.
    Neighbour,
    Stranger,
}

/// Who is meant, and who else there is.
pub struct Question<'a> {
    /// The inventory's name, and the names that the files were searched for.
    pub target: &'a str,
    pub own: &'a [String],
    pub neighbours: &'a [Neighbour],
}

impl Question<'_> {
    /// Searches the files for `key`; a file that can no longer be read has nothing.
    pub async fn key(&self, files: &[PathBuf], key: &PublicKey) -> Vec<Elsewhere> {
        let mut found = Vec::new();
        for file in files {
            let text = text_of(file).await.ok().flatten().unwrap_or_default();
            let same = |line: &Line<'_>| {
                line.marker == Marker::None && line.key().is_some_and(|other| other.key_data() == key.key_data())
            };
            lines(&text).filter(same).for_each(|line| found.extend(self.line(&line, file)));
        }
        found
    }

    /// Returns the neighbours whose names a certificate has.
    pub fn certificate(&self, certificate: &Certificate) -> Vec<Elsewhere> {
        let named = |neighbour: &&Neighbour| {
            let names = [neighbour.name.to_lowercase(), neighbour.address.to_lowercase()];
            let mut patterns = certificate.valid_principals().iter().map(String::as_bytes);
            patterns.any(|pattern| names.iter().any(|name| wildcard(pattern, name.as_bytes())))
        };
        let place = "as its certificate says";
        self.others().filter(named).map(|neighbour| self.neighbour(neighbour, place.into())).collect()
    }

    fn line(&self, line: &Line<'_>, file: &Path) -> Vec<Elsewhere> {
        let place = format!("{}:{}", file.display(), line.number);
        let has = |neighbour: &&Neighbour| {
            let Neighbour { name, address, port, .. } = neighbour;
            let names = [name, address].map(|name| [name_with_port(name, *port), name.to_lowercase()]);
            names.iter().flatten().any(|name| !self.own.contains(name) && line.names.has(name))
        };
        let hosts: Vec<_> =
            self.others().filter(has).map(|neighbour| self.neighbour(neighbour, place.clone())).collect();
        if !hosts.is_empty() {
            return hosts;
        }
        let foreign = line.names.clear().filter(|name| !self.own.iter().any(|own| own.eq_ignore_ascii_case(name)));
        let stranger = |name: &str| Elsewhere { name: name.into(), place: place.clone(), relation: Relation::Stranger };
        foreign.map(stranger).collect()
    }

    fn others(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.iter().filter(|neighbour| neighbour.name != self.target)
    }

    fn neighbour(&self, neighbour: &Neighbour, place: String) -> Elsewhere {
        let own = self.neighbours.iter().find(|other| other.name == self.target).and_then(|own| own.half);
        let relation = match (own, neighbour.half) {
            (Some(own), Some(half)) if own != half => Relation::OtherHalf(half),
            _ => Relation::Neighbour,
        };
        Elsewhere { name: neighbour.name.clone(), place, relation }
    }
}
