//! What is left to do for a mailbox, decided from what the two sides' directories hold.
//!
//! Before the rename to `x-out` the old host owns a message, after it the new one does. `x` holds what the new host
//! has received and not shown yet. The ledger tells one thing that directories cannot: whether a message that is in
//! `x-out` and not in `x` was published (and perhaps deleted by its reader since), or never arrived.

use super::maildir::{Key, Message, Scan, Spot};

/// The steps of one mailbox, each of which can be done in any order of messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// To copy from the old host's `new` and `cur` to `x`.
    pub stage: Vec<Message>,
    /// To copy from `x-out`: handed over, but the copy in `x` was lost. Sizes and times are not known.
    pub restage: Vec<Spot>,
    /// On both sides, the old host's still the reader's: to be handed over.
    pub claim: Vec<Spot>,
    /// Handed over and not shown yet, under the name it had at the hand-over.
    pub publish: Vec<Publish>,
    /// In `x`, but deleted on the old host since.
    pub drop: Vec<Spot>,
    /// Names that the old host has a second time although they were handed over. Nobody but a person makes them.
    pub twice: Vec<Key>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    /// Below `x`.
    pub from: Spot,
    /// In the Maildir.
    pub to: Spot,
    /// The message of the same name that the new host has already.
    pub collision: Option<Spot>,
}

impl Work {
    /// Leaves what the old host still owns to it.
    pub fn close(&mut self) {
        self.stage.clear();
        self.claim.clear();
        self.drop.clear();
    }

    /// Says whether the new host shows what it owns.
    pub fn is_published(&self) -> bool {
        self.restage.is_empty() && self.publish.is_empty()
    }

    /// Says whether both sides are as they shall be.
    pub fn is_done(&self) -> bool {
        self.is_published() && self.stage.is_empty() && self.claim.is_empty() && self.drop.is_empty()
    }
}

/// Returns what is left to do.
pub fn decide(old: &Scan, new: &Scan) -> Work {
    let mut work = Work::default();
    let published = |key: &Key| new.ledger.as_ref().is_some_and(|ledger| ledger.contains(key));
    for (key, spot) in &old.claimed {
        match new.staged.get(key) {
            Some(staged) => work.publish.push(Publish {
                from: staged.spot.clone(),
                to: spot.clone(),
                collision: new.live.get(key).map(|message| message.spot.clone()),
            }),
            None if published(key) => {}
            None => work.restage.push(spot.clone()),
        }
    }
    for (key, message) in &old.live {
        if old.claimed.contains_key(key) {
            work.twice.push(key.clone());
        } else if new.staged.get(key).is_some_and(|staged| staged.size == message.size) {
            work.claim.push(message.spot.clone());
        } else {
            work.stage.push(message.clone());
        }
    }
    for (key, staged) in &new.staged {
        let same = old.live.get(key).is_some_and(|message| message.size == staged.size);
        if !same && !old.claimed.contains_key(key) {
            work.drop.push(staged.spot.clone());
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spot(path: &str) -> Spot {
        Spot::parse(path).unwrap()
    }

    fn message(path: &str) -> Message {
        Message { spot: spot(path), size: 1, modified: 1, owner: "u:g".into(), mode: "600".into() }
    }

    fn scan(live: &[&str], staged: &[&str], claimed: &[&str]) -> Scan {
        let mut scan = Scan { ledger: Some(BTreeSet::new()), ..Scan::default() };
        scan.live.extend(live.iter().map(|path| (spot(path).key(), message(path))));
        scan.staged.extend(staged.iter().map(|path| (spot(path).key(), message(path))));
        scan.claimed.extend(claimed.iter().map(|path| (spot(path).key(), spot(path))));
        scan
    }

    #[test]
    fn a_message_goes_from_stage_to_claim_to_publish_to_nothing() {
        let old = scan(&["new/a"], &[], &[]);
        assert_eq!(decide(&old, &scan(&[], &[], &[])).stage, [message("new/a")]);
        assert_eq!(decide(&old, &scan(&[], &["new/a"], &[])).claim, [spot("new/a")]);
        let old = scan(&[], &[], &["cur/a:2,S"]);
        let work = decide(&old, &scan(&[], &["new/a"], &[]));
        assert_eq!(work.publish, [Publish { from: spot("new/a"), to: spot("cur/a:2,S"), collision: None }]);
        let mut new = scan(&[], &[], &[]);
        new.ledger.as_mut().unwrap().insert(spot("new/a").key());
        assert!(decide(&old, &new).is_done());
    }

    #[test]
    fn a_handed_over_message_that_never_arrived_is_fetched_again() {
        let work = decide(&scan(&[], &[], &["cur/a:2,S"]), &scan(&[], &[], &[]));
        assert_eq!(work.restage, [spot("cur/a:2,S")]);
    }

    #[test]
    fn a_message_deleted_on_old_is_dropped_and_the_same_base_in_two_folders_is_two_messages() {
        let work = decide(&scan(&[".Sent/cur/a:2,S"], &[], &[]), &scan(&[], &["cur/a:2,"], &[]));
        assert_eq!((work.drop, work.stage), (vec![spot("cur/a:2,")], vec![message(".Sent/cur/a:2,S")]));
    }
}
