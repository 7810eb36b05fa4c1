//! What a run still has to do, by host: what it says when it is told to end before that.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::lock;

#[derive(Debug, Default)]
pub struct Left(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The hosts that have not come to the end of each play; the first is the one under way.
    plays: Vec<BTreeSet<String>>,
    begun: BTreeSet<String>,
}

impl Left {
    /// Notes the hosts of all plays, as far as they are known.
    pub fn expect(&self, plays: Vec<BTreeSet<String>>) {
        lock(&self.0).plays = plays;
    }

    /// Notes the hosts of the play that begins now.
    pub fn enter(&self, hosts: &[String]) {
        if let Some(play) = lock(&self.0).plays.first_mut() {
            *play = hosts.iter().cloned().collect();
        }
    }

    /// Notes that a task begins on a host.
    pub fn begin(&self, host: &str) {
        let mut state = lock(&self.0);
        if !state.begun.contains(host) {
            state.begun.insert(host.into());
        }
    }

    /// Notes that hosts have come to the end of the play.
    pub fn finish(&self, hosts: &[String]) {
        if let Some(play) = lock(&self.0).plays.first_mut() {
            play.retain(|host| !hosts.contains(host));
        }
    }

    /// Notes that the play has ended.
    pub fn leave(&self) {
        let mut state = lock(&self.0);
        if !state.plays.is_empty() {
            state.plays.remove(0);
        }
    }

    /// Returns the hosts that something is left to do on, those that are `out` not among them: the ones that tasks were
    /// begun on, and the others.
    pub fn hosts(&self, out: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
        let state = lock(&self.0);
        let left: BTreeSet<&String> = state.plays.iter().flatten().filter(|host| !out.contains(*host)).collect();
        left.into_iter().cloned().partition(|host| state.begun.contains(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_left_until_its_last_play_has_ended() {
        let set = |hosts: &[&str]| hosts.iter().map(|host| host.to_string()).collect::<BTreeSet<_>>();
        let names = |hosts: &[&str]| hosts.iter().map(|host| host.to_string()).collect::<Vec<_>>();
        let left = Left::default();
        left.expect(vec![set(&["a", "b", "c"]), set(&["c", "d"])]);
        left.enter(&names(&["a", "b", "c"]));
        assert_eq!(left.hosts(&set(&[])), (names(&[]), names(&["a", "b", "c", "d"])));
        ["a", "b"].iter().for_each(|host| left.begin(host));
        left.finish(&names(&["a"]));
        assert_eq!(left.hosts(&set(&["d"])), (names(&["b"]), names(&["c"])));
        left.begin("c");
        left.leave();
        assert_eq!(left.hosts(&set(&[])), (names(&["c"]), names(&["d"])));
        left.leave();
        assert_eq!(left.hosts(&set(&[])), (names(&[]), names(&[])));
    }
}
