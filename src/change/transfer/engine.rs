//! The hand-over of mailboxes: copy, drain, claim on the old host, publish on the new one; and again until nothing is left.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use serde_json::{Map, Value, json};

use crate::change::{Applied, ApplyError, Reach};
use crate::transport::{Command, Transport};

use super::decide::{Work, decide};
use super::look;
use super::maildir::{self, Scan, Spot, directory};
use super::session::Session;
use super::stage::{Item, Keeper, Stage, refuse_output};
use super::together::Together;
use super::verbs::{NOTHING, Verbs};
use super::{Drain, List, Mailbox, Transfer};

/// Passes after the drain in which messages are taken over; what still arrives then is left to a later run.
const ROUNDS: usize = 4;
/// Passes after those, in which what was taken over is published.
const LAST_ROUNDS: usize = 3;

/// Mailboxes are looked at together until they have so many messages, so that no number of them fills the memory.
const GROUP: u64 = 5_000;

/// Mailboxes are moved in so many lanes side by side: while one waits for a host, the other keeps it busy.
const LANES: u64 = 2;
/// A move of fewer messages is not worth another one.
const LANE: u64 = 100;

const CLOSING: Duration = Duration::from_secs(10);

/// Moves what is there now. Ended at any moment, it can be run again: nothing is lost and nothing doubled.
pub async fn run(transfer: &Transfer, reach: Reach<'_>) -> Result<Applied, ApplyError> {
    let machine = reach.machines.machine(&transfer.from).await?;
    let together = Together::new(transfer, reach.progress);
    let machines = (machine.as_ref(), reach.host);
    let lanes = lanes(&transfer.mailboxes).into_iter();
    let lanes = lanes.map(|mailboxes| Engine::start(&transfer.from, machines, mailboxes, &together));
    let mut lanes = try_join_all(lanes).await?;
    let result = hand_over(&mut lanes, &transfer.drain, &together).await;
    let (mut counts, mut warnings, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
    for lane in lanes {
        counts.extend(lane.counts);
        warnings.extend(lane.warnings);
        sessions.extend([lane.old, lane.new]);
    }
    // The locks go with the sessions in any case; waiting for that lets the next run find none. Not for ever: a host
    // that is gone does not answer.
    let closing = try_join_all(sessions.into_iter().map(Session::close));
    let closed = tokio::time::timeout(CLOSING, closing).await;
    result?;
    if let Ok(closed) = closed {
        closed?;
    }
    Ok(Applied { report: report(transfer, &counts, &warnings), ..Applied::default() })
}

/// Nothing is handed over before all lanes have copied what there is, and nobody works in any of the mailboxes.
async fn hand_over(lanes: &mut [Engine<'_>], drain: &Drain, together: &Together<'_>) -> Result<(), ApplyError> {
    together.all(lanes.iter_mut().map(Engine::lock)).await?;
    let paths = together.all(lanes.iter_mut().map(Engine::copy)).await?;
    if let Some(lane) = lanes.first_mut() {
        lane.drain(drain, &paths.concat()).await?;
    }
    together.all(lanes.iter_mut().map(Engine::settle)).await?;
    Ok(())
}

/// Tells two runs of one process apart.
fn next_run() -> u64 {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    RUNS.fetch_add(1, Ordering::Relaxed)
}

/// What happened to one mailbox.
#[derive(Clone, Default)]
pub struct Counts {
    pub moved: u64,
    pub bytes: u64,
    pub gone: u64,
    pub collisions: u64,
    pub late: u64,
}

pub struct Engine<'a> {
    old: Session,
    pub new: Session,
    old_machine: &'a dyn Transport,
    new_machine: &'a dyn Transport,
    pub mailboxes: &'a [Mailbox],
    pub run: String,
    /// Of this move alone.
    mark: String,
    pub counts: Vec<Counts>,
    warnings: Vec<String>,
    /// What `mv` on the old host said about messages that it did not hand over.
    refusals: Vec<String>,
    together: &'a Together<'a>,
}

impl<'a> Engine<'a> {
    async fn start(
        from: &str,
        (old_machine, new_machine): (&'a dyn Transport, &'a dyn Transport),
        mailboxes: &'a [Mailbox],
        together: &'a Together<'a>,
    ) -> Result<Engine<'a>, ApplyError> {
        let sessions = (Session::start(from, old_machine), Session::start("the new host", new_machine));
        let (old, new) = tokio::try_join!(sessions.0, sessions.1)?;
        let run = format!("{}-{}", std::process::id(), next_run());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Engine {
            mark: format!("{run}-{}", now.as_nanos()),
            old,
            new,
            old_machine,
            new_machine,
            mailboxes,
            run,
            counts: vec![Counts::default(); mailboxes.len()],
            warnings: Vec::new(),
            refusals: Vec::new(),
            together,
        })
    }

    async fn copy(&mut self) -> Result<Vec<String>, ApplyError> {
        let mut paths = Vec::new();
        for group in groups(self.mailboxes, GROUP) {
            if self.together.has_failed() {
                break;
            }
            let (old, mut new) = self.scan(&group).await?;
            self.check(&group, &old, &new)?;
            self.make_directories(&group, (&old, &new)).await?;
            for scan in &mut new {
                scan.ledger.get_or_insert_default();
            }
            let work = works(&old, &new);
            self.check_space(&group, &work).await?;
            self.stage(&group, &work, &new).await?;
            paths.extend(old.into_iter().filter_map(|scan| scan.path));
        }
        Ok(paths)
    }

    async fn settle(&mut self) -> Result<(), ApplyError> {
        for group in groups(self.mailboxes, GROUP) {
            if self.together.has_failed() {
                return Ok(());
            }
            self.settle_group(&group).await?;
        }
        let x = self.mailboxes.iter().map(|mailbox| format!("{}/x", mailbox.dest)).collect::<Vec<_>>();
        self.new.ask("prune", &x).await?;
        let out = self.mailboxes.iter().map(|mailbox| format!("{}/x-out", mailbox.source)).collect::<Vec<_>>();
        tokio::try_join!(self.old.ask("tidy", &out), self.new.ask("tidy", &x))?;
        Ok(())
    }

    async fn lock(&mut self) -> Result<(), ApplyError> {
        // The Maildir itself first, so that it is its owner's and not the lock's.
        let mut verbs = Verbs::default();
        for mailbox in self.mailboxes.iter().filter(|mailbox| !mailbox.makes.is_empty()) {
            verbs.add("make", [&mailbox.dest]);
            verbs.add("own", [&mailbox.owner, &mailbox.dest]);
        }
        refuse_output(self.new.exchange(verbs).await?)?;
        let old: Vec<String> = self.mailboxes.iter().map(|mailbox| format!("{}/x-out", mailbox.source)).collect();
        let new: Vec<String> = self.mailboxes.iter().map(|mailbox| format!("{}/x", mailbox.dest)).collect();
        let locking = |paths: &[String]| {
            let mut verbs = Verbs::default();
            verbs.each("make", &[], paths.iter().map(|path| format!("{path}/lock")));
            verbs.each("lock", &[], paths);
            verbs
        };
        let (first, second) = tokio::try_join!(self.old.exchange(locking(&old)), self.new.exchange(locking(&new)))?;
        if let Some(line) = first.first().or(second.first()) {
            let why = match line.strip_prefix("busy ").and_then(|rest| rest.split_once(' ')) {
                Some((pid, path)) => {
                    format!("another run is moving `{path}` (process {pid} there holds the lock); wait for its end")
                }
                None => line.clone(),
            };
            return Err(ApplyError::Failed(why));
        }
        self.new.ask("prune", &new).await?;
        Ok(())
    }

    /// Looks at both sides of a group at once.
    async fn scan(&mut self, group: &Range<usize>) -> Result<(Vec<Scan>, Vec<Scan>), ApplyError> {
        let mailboxes = &self.mailboxes[group.clone()];
        let sources: Vec<&str> = mailboxes.iter().map(|mailbox| mailbox.source.as_str()).collect();
        let dests: Vec<&str> = mailboxes.iter().map(|mailbox| mailbox.dest.as_str()).collect();
        Ok(tokio::try_join!(self.old.scan(&sources), self.new.scan(&dests))?)
    }

    /// Says why a group cannot be moved as it is. Not asked once messages are handed over: those must be shown.
    fn check(&self, group: &Range<usize>, old: &[Scan], new: &[Scan]) -> Result<(), ApplyError> {
        for (mailbox, (old, new)) in self.mailboxes[group.clone()].iter().zip(old.iter().zip(new)) {
            look::check((&mailbox.source, &mailbox.dest), old, new).map_err(ApplyError::Failed)?;
        }
        Ok(())
    }

    async fn make_directories(
        &mut self,
        group: &Range<usize>,
        (old, new): (&[Scan], &[Scan]),
    ) -> Result<(), ApplyError> {
        let (mut on_old, mut on_new) = (Verbs::default(), Verbs::default());
        for (at, mailbox) in self.mailboxes[group.clone()].iter().enumerate() {
            let (source, dest) = (&mailbox.source, &mailbox.dest);
            let (makes, owns) = look::directories(&old[at], &new[at], &mailbox.owner);
            let (files, directories): (Vec<_>, Vec<_>) =
                makes.iter().chain(&owns).partition(|path| path.ends_with("/maildirfolder"));
            let theirs = |paths: &[&String]| paths.iter().map(|path| format!("{dest}/{path}")).collect::<Vec<_>>();
            let (files, directories) = (theirs(&files), theirs(&directories));
            on_new.each("make", &[], &directories);
            on_new.each("touch", &[], &files);
            on_new.each("own", &[&mailbox.owner], directories.iter().chain(&files));
            let folders = std::iter::once("").chain(old[at].folders());
            let parts: Vec<_> =
                folders.flat_map(|folder| [directory(folder, "new"), directory(folder, "cur")]).collect();
            on_old.each("make", &[], parts.iter().map(|path| format!("{source}/x-out/{path}")));
            on_new.each("make", &[], parts.iter().map(|path| format!("{dest}/x/{path}")));
            // Before the first hand-over there is a ledger; without one it could not be told what was published.
            on_new.add("touch", [format!("{dest}/x/ledger")]);
        }
        let (first, second) = tokio::try_join!(self.old.exchange(on_old), self.new.exchange(on_new))?;
        refuse_output(first)?;
        refuse_output(second)
    }

    async fn check_space(&mut self, group: &Range<usize>, work: &[Work]) -> Result<(), ApplyError> {
        let lines = self.new.ask("space", self.mailboxes[group.clone()].iter().map(|mailbox| &mailbox.dest)).await?;
        let needs: Vec<(u64, u64)> = work
            .iter()
            .map(|work| (work.stage.iter().map(|message| message.size).sum(), work.stage.len() as u64))
            .collect();
        look::check_space(&lines, &needs).map_err(ApplyError::Failed)
    }

    async fn stage(&mut self, group: &Range<usize>, work: &[Work], new: &[Scan]) -> Result<(), ApplyError> {
        let mut items = Vec::new();
        for (work, index) in work.iter().zip(group.clone()) {
            let source = &self.mailboxes[index].source;
            items.extend(work.stage.iter().map(|message| Item {
                mailbox: index,
                source: format!("{source}/{}", message.spot.path()),
                spot: message.spot.clone(),
                size: message.size,
                modified: message.modified,
            }));
            let lost: Vec<String> = work.restage.iter().map(|spot| format!("{source}/x-out/{}", spot.path())).collect();
            if !lost.is_empty() {
                let lines = self.old.ask("stat", lost).await?;
                items.extend(work.restage.iter().filter_map(|spot| again(index, source, spot, &lines)));
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        // Files of one directory come in one archive and are renamed by one process.
        items.sort_by_cached_key(|item| (item.mailbox, item.spot.directory()));
        let disks = self.disks(Side::New, group, new);
        let taken = group.clone().zip(new);
        let taken = taken.flat_map(|(index, scan)| scan.staged.values().map(move |one| (index, one.spot.directory())));
        let taken = taken.collect();
        let keeper = Keeper { new: &mut self.new, mailboxes: self.mailboxes, disks: &disks, run: &self.run, taken };
        let mut stage = Stage { old: &mut self.old, machine: self.new_machine, keeper, together: self.together };
        stage.copy(&items).await
    }

    /// Returns a path on each of the file systems of a group, of which there are scans.
    pub fn disks(&self, side: Side, group: &Range<usize>, scans: &[Scan]) -> Vec<String> {
        let mut disks = std::collections::BTreeMap::new();
        for (mailbox, scan) in self.mailboxes[group.clone()].iter().zip(scans) {
            let path = match side {
                Side::Old => &mailbox.source,
                Side::New => &mailbox.dest,
            };
            let directory = scan.directories.get(".").or(scan.account.as_ref());
            disks.insert(directory.map_or(path, |directory| &directory.device), path);
        }
        disks.into_values().cloned().collect()
    }

    /// Stops logins on the old host and waits until nobody works in the mailboxes.
    async fn drain(&mut self, drain: &Drain, paths: &[String]) -> Result<(), ApplyError> {
        if let Some(command) = &drain.command {
            let output = self.old_machine.run(&Command::shell(command.clone())).await?;
            if !output.success() {
                let why = output.error_text();
                let why = format!("`{command}` on `{}`: status {}: {}", self.old.host, output.status, why.trim_end());
                return Err(ApplyError::Failed(why));
            }
        }
        let start = Instant::now();
        loop {
            let lines = self.old.exchange(Verbs::new("processes", NOTHING)).await?;
            if lines.iter().any(|line| line == "unknown") {
                self.warnings
                    .push(format!("`{}` has no /proc, so it is unknown whether sessions are open", self.old.host));
                return Ok(());
            }
            let Some((pid, path)) = lines.iter().find_map(|line| inside(line, paths)) else { return Ok(()) };
            if start.elapsed() > Duration::from_secs(drain.timeout) {
                let why = format!(
                    "process {pid} on `{}` still works in `{path}` after {} seconds; nothing was handed over. \
                     End the session and run it again",
                    self.old.host, drain.timeout
                );
                return Err(ApplyError::Failed(why));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Hands the messages of a group over and shows them, until nothing is left.
    async fn settle_group(&mut self, group: &Range<usize>) -> Result<(), ApplyError> {
        for round in 0..ROUNDS + LAST_ROUNDS {
            let (old, new) = self.scan(group).await?;
            if round == 0 {
                self.check(group, &old, &new)?;
            }
            let mut work = works(&old, &new);
            let is_closing = round >= ROUNDS;
            if work.iter().all(|work| if is_closing { work.is_published() } else { work.is_done() }) {
                return self.finish(group, &work).await;
            }
            if is_closing {
                work.iter_mut().for_each(Work::close);
            }
            self.round(group, work, (old, &new)).await?;
        }
        let (old, new) = self.scan(group).await?;
        self.finish(group, &works(&old, &new)).await
    }

    /// Looks whether all is well, and marks both sides of each mailbox of which nothing is left to do.
    async fn finish(&mut self, group: &Range<usize>, work: &[Work]) -> Result<(), ApplyError> {
        self.verify(group, work)?;
        let done = group.clone().zip(work).filter(|(index, work)| {
            let is_changed = self.counts[*index].moved > 0 || self.mailboxes[*index].left;
            is_changed && work.is_done() && work.twice.is_empty()
        });
        let done: Vec<&Mailbox> = done.map(|(index, _)| &self.mailboxes[index]).collect();
        let (mut new, mut old) = (Verbs::default(), Verbs::default());
        new.each("settle", &[&self.mark], done.iter().map(|mailbox| format!("{}/x", mailbox.dest)));
        old.each("settle", &[&self.mark], done.iter().map(|mailbox| format!("{}/x-out", mailbox.source)));
        refuse_output(self.new.exchange(new).await?)?;
        refuse_output(self.old.exchange(old).await?)
    }

    async fn round(
        &mut self,
        group: &Range<usize>,
        mut work: Vec<Work>,
        (mut old, new): (Vec<Scan>, &[Scan]),
    ) -> Result<(), ApplyError> {
        let (mut gone, mut moves) = (Vec::new(), Verbs::default());
        let handing = group.clone().zip(&work).filter(|(_, work)| !work.claim.is_empty());
        moves.each("remove", &[], handing.map(|(index, _)| format!("{}/x-out/settled", self.mailboxes[index].source)));
        for (work, index) in work.iter().zip(group.clone()) {
            let Mailbox { source, dest, .. } = &self.mailboxes[index];
            self.counts[index].gone += work.drop.len() as u64;
            gone.extend(work.drop.iter().map(|spot| format!("{dest}/x/{}", spot.path())));
            // What POP3's users know them by is kept first: their next login drops it.
            if work.claim.iter().any(|spot| spot.folder.is_empty()) {
                let list = List::Courier.name();
                moves.add("uidls", [format!("{source}/{list}"), format!("{source}/x-out/{list}")]);
            }
            moves.moves(&work.claim, (source, &format!("{source}/x-out")));
        }
        refuse_output(self.new.ask("remove", gone).await?)?;
        self.stage(group, &work, new).await?;
        if !moves.is_empty() {
            let disks = self.disks(Side::Old, group, &old);
            self.rename(Side::Old, moves, disks).await?;
            let sources = self.mailboxes[group.clone()].iter().map(|mailbox| &mailbox.source);
            let claimed = maildir::parse(&self.old.ask("claimed", sources).await?);
            for (scan, claimed) in old.iter_mut().zip(claimed) {
                scan.live.retain(|key, _| !claimed.claimed.contains_key(key));
                (scan.claimed, scan.uidls) = (claimed.claimed, claimed.uidls);
            }
            work = works(&old, new);
        }
        self.publish(group, &work, (&old, new)).await
    }

    /// Renames, and passes on what `mv` said: the next look shows what stayed, and that is the reason.
    pub async fn rename(&mut self, side: Side, mut moves: Verbs, disks: Vec<String>) -> Result<(), ApplyError> {
        moves.each("durable", &[], disks);
        let session = match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        };
        let said = session.exchange(moves).await?;
        let said = said.into_iter().filter(|line| !line.contains("No such file or directory"));
        match side {
            Side::Old => self.refusals.extend(said),
            Side::New => self.warnings.extend(said),
        }
        Ok(())
    }

    /// Everything that was handed over must have been published.
    fn verify(&mut self, group: &Range<usize>, work: &[Work]) -> Result<(), ApplyError> {
        for (work, index) in work.iter().zip(group.clone()) {
            let (mailbox, late) = (&self.mailboxes[index], (work.stage.len() + work.claim.len()) as u64);
            self.counts[index].late = late;
            if let (Some(why), 1..) = (self.refusals.first(), late) {
                let why =
                    format!("{late} messages of `{}` on the old host could not be handed over: {why}", mailbox.source);
                return Err(ApplyError::Failed(why));
            }
            self.warnings.extend(look::twice(&mailbox.source, work));
            let stuck = work.publish.iter().map(|one| one.from.path()).chain(work.restage.iter().map(Spot::path));
            if let Some(name) = stuck.into_iter().next() {
                let why = self.warnings.last().cloned().unwrap_or_else(|| "run it again".into());
                let why = format!("`{name}` was handed over and is not in `{}` yet: {why}", mailbox.dest);
                return Err(ApplyError::Failed(why));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub enum Side {
    Old,
    New,
}

/// Returns the mailboxes of each lane.
fn lanes(mailboxes: &[Mailbox]) -> Vec<&[Mailbox]> {
    let messages: u64 = mailboxes.iter().map(messages).sum();
    let share = messages.div_ceil(LANES).max(LANE);
    groups(mailboxes, share).into_iter().map(|group| &mailboxes[group]).collect()
}

/// Splits mailboxes as soon as some have so many messages together.
fn groups(mailboxes: &[Mailbox], enough: u64) -> Vec<Range<usize>> {
    let (mut groups, mut start, mut sum) = (Vec::new(), 0, 0);
    for (index, mailbox) in mailboxes.iter().enumerate() {
        sum += messages(mailbox);
        if sum >= enough || index + 1 == mailboxes.len() {
            groups.push(start..index + 1);
            (start, sum) = (index + 1, 0);
        }
    }
    groups
}

/// Those that there were when the move was planned.
fn messages(mailbox: &Mailbox) -> u64 {
    mailbox.folders.iter().map(|folder| folder.messages).sum::<u64>() + mailbox.received + mailbox.handed_over
}

fn works(old: &[Scan], new: &[Scan]) -> Vec<Work> {
    old.iter().zip(new).map(|(old, new)| decide(old, new)).collect()
}

/// Returns the item for a message that is to be copied from `x-out`.
fn again(mailbox: usize, source: &str, spot: &Spot, lines: &[String]) -> Option<Item> {
    let path = format!("{source}/x-out/{}", spot.path());
    let line = lines.iter().find(|line| line.ends_with(&path))?;
    let mut words = line.split(' ').skip(1);
    let (size, modified) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Item { mailbox, source: path, spot: spot.clone(), size, modified })
}

/// Returns the process and path of an open file inside one of `maildirs`. A delivery works in `tmp`, and is no session.
fn inside<'l>(line: &'l str, maildirs: &[String]) -> Option<(&'l str, &'l str)> {
    let (pid, path) = line.split_once(' ')?;
    let inside = maildirs.iter().any(|maildir| match path.strip_prefix(maildir.as_str()) {
        Some(rest) => (rest.is_empty() || rest.starts_with('/')) && !rest.starts_with("/tmp/"),
        None => false,
    });
    inside.then_some((pid, path))
}

/// What `register:` sees.
fn report(transfer: &Transfer, counts: &[Counts], warnings: &[String]) -> Map<String, Value> {
    let sum = |field: fn(&Counts) -> u64| counts.iter().map(field).sum::<u64>();
    let mailboxes = transfer.mailboxes.iter().zip(counts).map(|(mailbox, counts)| {
        json!({
            "source": mailbox.source, "dest": mailbox.dest, "moved": counts.moved, "bytes": counts.bytes,
            "late": counts.late, "gone": counts.gone, "collisions": counts.collisions,
        })
    });
    let mut report = Map::new();
    report.insert("mailboxes".into(), mailboxes.collect());
    for (name, field) in [
        ("moved", (|counts| counts.moved) as fn(&Counts) -> u64),
        ("bytes", |counts| counts.bytes),
        ("late", |counts| counts.late),
        ("gone", |counts| counts.gone),
        ("collisions", |counts| counts.collisions),
    ] {
        report.insert(name.into(), sum(field).into());
    }
    report.insert("warnings".into(), warnings.into());
    report
}
