//! The header of a run: the hosts whose SSH is weaker than that of others, named before anything is done.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::playbook::{Play, Playbook};
use crate::vars::TaskLayers;

use super::{Event, Login, Run, play};

impl Run {
    /// Says which hosts of the plays have a weakened profile. What cannot be worked out yet is an error later.
    pub(super) fn name_weakened(&self, playbooks: &[Playbook]) {
        let mut found: IndexMap<String, BTreeSet<String>> = IndexMap::new();
        for play in playbooks.iter().flat_map(|playbook| &playbook.plays) {
            let selected = play::hosts(play, self.options.limit.as_deref(), (&self.fleet, &self.templates));
            for host in selected.map(|selected| selected.hosts).unwrap_or_default() {
                for why in self.weaknesses(play, &host) {
                    found.entry(why).or_default().insert(host.clone());
                }
            }
        }
        for (why, hosts) in found {
            self.send(Event::Weakened { why, hosts: hosts.into_iter().collect() });
        }
    }

    fn weaknesses(&self, play: &Play, host: &str) -> Vec<String> {
        let layers = TaskLayers { play_vars: play.vars.clone(), ..TaskLayers::default() };
        let scope = self.fleet.scope(host, &layers);
        match self.connections.login(host, &play.keywords, &scope) {
            Ok((Login::Ssh(target), _)) => target.weaknesses(),
            Ok((Login::Local, _)) | Err(_) => Vec::new(),
        }
    }
}
