//! The last step of a message: from `x` to where readers see it, with what they know it by.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::change::ApplyError;

use super::decide::Work;
use super::engine::{Engine, Side};
use super::maildir::{Scan, Spot};
use super::stage::{read_digest, refuse_output};
use super::uidl;
use super::verbs::{NOTHING, Verbs};

/// What is asked of the new host; all of one kind before the first of the next.
#[derive(Default)]
struct Steps {
    ledgers: Verbs,
    totals: Verbs,
    renames: Verbs,
}

/// What is known of one mailbox.
struct Look<'a> {
    work: &'a Work,
    old: &'a Scan,
    new: &'a Scan,
    /// SHA-256 of messages whose names are taken, and of those that have them, by path.
    digests: &'a BTreeMap<String, String>,
}

impl Engine<'_> {
    /// Shows what was handed over, of a group of mailboxes.
    pub async fn publish(
        &mut self,
        group: &Range<usize>,
        work: &[Work],
        (old, new): (&[Scan], &[Scan]),
    ) -> Result<(), ApplyError> {
        let digests = &self.collision_digests(group, work).await?;
        let mut steps = Steps::default();
        for (at, index) in group.clone().enumerate() {
            let look = Look { work: &work[at], old: &old[at], new: &new[at], digests };
            if !look.work.publish.is_empty() {
                self.steps(index, &look, &mut steps);
            }
        }
        if steps.ledgers.is_empty() {
            return Ok(());
        }
        let Steps { mut ledgers, totals, renames } = steps;
        // The ledger first: a message that is then not renamed is still in `x`, and so is known to be unpublished.
        ledgers.each("durable", &[], self.disks(Side::New, group, new));
        refuse_output(self.new.exchange(ledgers).await?)?;
        // Before the renames, because after them nothing would be left to say that this is still to be done.
        refuse_output(self.new.exchange(totals).await?)?;
        let disks = self.disks(Side::New, group, new);
        self.rename(Side::New, renames, disks).await
    }

    fn steps(&mut self, index: usize, look: &Look, steps: &mut Steps) {
        let mailbox = &self.mailboxes[index];
        let counts = &mut self.counts[index];
        let (dest, x) = (&mailbox.dest, format!("{}/x", mailbox.dest));
        let part = format!("{x}/part-{}", self.run);
        let numbers = uidl::numbers(&look.old.uidls);
        let (mut plain, mut others, mut numbered) = (Vec::new(), Vec::new(), Vec::new());
        let (mut bytes, mut messages) = look.new.usage();
        for one in &look.work.publish {
            let from = format!("{x}/{}", one.from.path());
            let digest = |path: &str| look.digests.get(path).map(String::as_str);
            let number = numbers.get(one.to.key().base.as_str()).filter(|_| one.to.folder.is_empty());
            let mut keep = |to: &Spot| numbered.extend(number.map(|number| mailbox.numbers.line(to, *number)));
            match &one.collision {
                None if one.from == one.to => {
                    keep(&one.to);
                    plain.push(&one.from);
                }
                None => {
                    keep(&one.to);
                    others.push((from, format!("{dest}/{}", one.to.path())));
                }
                Some(taken) => {
                    counts.collisions += 1;
                    let mine = digest(&from).unwrap_or_default().to_string();
                    // Equal: the published one is the message, and the copy below goes with the next round.
                    if digest(&format!("{dest}/{}", taken.path())) == Some(mine.as_str()) && !mine.is_empty() {
                        others.push((from, format!("{part}/{}", one.from.name)));
                    } else {
                        let to = one.to.renamed(mine.get(..8).unwrap_or("moved"));
                        keep(&to);
                        others.push((from, format!("{dest}/{}", to.path())));
                    }
                }
            }
            let size = look.new.staged.get(&one.from.key()).map_or(0, |message| message.size);
            counts.moved += 1;
            counts.bytes += size;
            (bytes, messages) = (bytes + size, messages + 1);
        }
        let entries = look.work.publish.iter().map(|one| format!("published\t{}", one.to.key().path()));
        steps.ledgers.each("append", &[&format!("{x}/ledger")], entries);
        steps.totals.add("make", [&part]);
        if !look.new.quota.is_empty() {
            let total = format!("{bytes:12} {messages:12}");
            steps.totals.add("quota", [&mailbox.owner, &format!("{dest}/maildirsize"), &total]);
        }
        if !numbered.is_empty() {
            let list = mailbox.numbers.name();
            steps.renames.add("incoming", [&mailbox.owner, &format!("{part}/{list}"), &format!("{dest}/{list}")]);
            steps.renames.each("numbers", &[], &numbered);
        }
        for (from, to) in &others {
            steps.renames.add("place", [from, to]);
        }
        steps.renames.moves(plain, (&x, dest));
        if !numbered.is_empty() {
            steps.renames.add("incoming", NOTHING);
        }
    }

    async fn collision_digests(
        &mut self,
        group: &Range<usize>,
        work: &[Work],
    ) -> Result<BTreeMap<String, String>, ApplyError> {
        let mut paths = Vec::new();
        for (work, index) in work.iter().zip(group.clone()) {
            let dest = &self.mailboxes[index].dest;
            let pairs = work.publish.iter().filter_map(|one| one.collision.as_ref().map(|taken| (&one.from, taken)));
            paths.extend(
                pairs.flat_map(|(from, taken)| {
                    [format!("{dest}/x/{}", from.path()), format!("{dest}/{}", taken.path())]
                }),
            );
        }
        let lines = self.new.ask("digest", paths).await?;
        let digests = lines.iter().filter_map(|line| read_digest(line));
        Ok(digests.map(|(digest, path)| (path, digest.to_string())).collect())
    }
}
