//! The header of a run: the hosts whose SSH is weaker than that of others, named before anything is done.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{Event, Login};

/// Hosts by what makes them weaker.
#[derive(Default)]
pub struct Weakened(IndexMap<String, BTreeSet<String>>);

impl Weakened {
    pub fn add(&mut self, host: &str, login: &Login) {
        let Login::Ssh(target) = login else { return };
        for why in target.weaknesses() {
            self.0.entry(why).or_default().insert(host.to_string());
        }
    }

    /// One event for each reason.
    pub fn events(self) -> impl Iterator<Item = Event> {
        self.0.into_iter().map(|(why, hosts)| Event::Weakened { why, hosts: hosts.into_iter().collect() })
    }
}
