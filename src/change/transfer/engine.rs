//! The hand-over of mailboxes: copy, drain, claim on the old host, publish on the new one; and again until nothing is left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::change::{Applied, ApplyError, Reach};
use crate::transport::{Command, Transport};

use super::decide::{Publish, Work, decide};
use super::look;
use super::maildir::{Scan, Spot, directory};
use super::session::Session;
use super::stage::{Item, Stage, read_digest, refuse_output};
use super::{Drain, Mailbox, Progress, Transfer, uidl};

/// Passes after the drain in which messages are taken over; what still arrives then is left to a later run.
const ROUNDS: usize = 4;
/// Passes after those, in which what was taken over is published.
const LAST_ROUNDS: usize = 3;

/// Courier's list of POP3's unique ids in a Maildir.
const UIDLS: &str = "courierpop3dsizelist";

const CLOSING: Duration = Duration::from_secs(10);

/// Moves what is there now. Ended at any moment, it can be run again: nothing is lost and nothing doubled.
pub async fn run(transfer: &Transfer, reach: Reach<'_>) -> Result<Applied, ApplyError> {
    let machine = reach.machines.machine(&transfer.from).await?;
    let (old, new) =
        tokio::try_join!(Session::start(&transfer.from, machine.as_ref()), Session::start("the new host", reach.host))?;
    let mut engine = Engine {
        old,
        new,
        old_machine: machine.as_ref(),
        new_machine: reach.host,
        mailboxes: &transfer.mailboxes,
        run: format!("{}-{}", std::process::id(), next_run()),
        counts: vec![Counts::default(); transfer.mailboxes.len()],
        warnings: Vec::new(),
        refusals: Vec::new(),
        progress: reach.progress,
    };
    let result = engine.hand_over(&transfer.drain).await;
    let Engine { old, new, counts, warnings, .. } = engine;
    // The locks go with the sessions in any case; waiting for that lets the next run find none. Not for ever: a host
    // that is gone does not answer.
    let closing = async { tokio::try_join!(old.close(), new.close()) };
    let closed = tokio::time::timeout(CLOSING, closing).await;
    result?;
    if let Ok(closed) = closed {
        closed?;
    }
    Ok(Applied { report: report(transfer, &counts, &warnings), ..Applied::default() })
}

/// Tells two runs of one process apart.
fn next_run() -> u64 {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    RUNS.fetch_add(1, Ordering::Relaxed)
}

/// What happened to one mailbox.
#[derive(Clone, Default)]
struct Counts {
    moved: u64,
    bytes: u64,
    gone: u64,
    collisions: u64,
    late: u64,
}

struct Engine<'a> {
    old: Session,
    new: Session,
    old_machine: &'a dyn Transport,
    new_machine: &'a dyn Transport,
    mailboxes: &'a [Mailbox],
    run: String,
    counts: Vec<Counts>,
    warnings: Vec<String>,
    /// What `mv` on the old host said about messages that it did not hand over.
    refusals: Vec<String>,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Engine<'_> {
    async fn hand_over(&mut self, drain: &Drain) -> Result<(), ApplyError> {
        self.lock().await?;
        let (old, new) = self.scan().await?;
        self.make_directories(&old, &new).await?;
        // Again, because a ledger is there now, and what a killed run had half received is gone.
        let (old, new) = self.scan().await?;
        for (index, mailbox) in self.mailboxes.iter().enumerate() {
            look::check((&mailbox.source, &mailbox.dest), &old[index], &new[index]).map_err(ApplyError::Failed)?;
        }
        let work = works(&old, &new);
        self.check_space(&work).await?;
        self.stage(&work).await?;
        self.drain(drain, &old).await?;
        for round in 0..ROUNDS + LAST_ROUNDS {
            let (old, new) = self.scan().await?;
            let mut work = works(&old, &new);
            if round >= ROUNDS {
                work.iter_mut().for_each(Work::close);
            }
            if work.iter().all(Work::is_done) {
                break;
            }
            self.round(&work, (&old, &new)).await?;
        }
        self.verify().await
    }

    async fn lock(&mut self) -> Result<(), ApplyError> {
        // The Maildir itself first, so that it is its owner's and not the lock's.
        let missing: Vec<String> = self.mailboxes.iter().filter(|mailbox| !mailbox.makes.is_empty()).map(own).collect();
        refuse_output(self.new.ask("make", missing).await?)?;
        let old: Vec<String> = self.mailboxes.iter().map(|mailbox| format!("{}/x-out", mailbox.source)).collect();
        let new: Vec<String> = self.mailboxes.iter().map(|mailbox| format!("{}/x", mailbox.dest)).collect();
        let (first, second) = tokio::try_join!(self.old.ask("lock", old), self.new.ask("lock", &new))?;
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

    /// Looks at both sides at once.
    async fn scan(&mut self) -> Result<(Vec<Scan>, Vec<Scan>), ApplyError> {
        let sources: Vec<&str> = self.mailboxes.iter().map(|mailbox| mailbox.source.as_str()).collect();
        let dests: Vec<&str> = self.mailboxes.iter().map(|mailbox| mailbox.dest.as_str()).collect();
        Ok(tokio::try_join!(self.old.scan(&sources), self.new.scan(&dests))?)
    }

    async fn make_directories(&mut self, old: &[Scan], new: &[Scan]) -> Result<(), ApplyError> {
        let (mut on_old, mut on_new) = (Vec::new(), Vec::new());
        for (index, mailbox) in self.mailboxes.iter().enumerate() {
            // Before the first hand-over there is a ledger; without one it could not be told what was published.
            look::check((&mailbox.source, &mailbox.dest), &old[index], &new[index]).map_err(ApplyError::Failed)?;
            on_new.push(format!("f\t-\t{}/x/ledger", mailbox.dest));
            let (makes, owns) = look::directories(&old[index], &new[index], &mailbox.owner);
            on_new.extend(makes.iter().chain(&owns).map(|path| match path.ends_with("/maildirfolder") {
                true => format!("f\t{}\t{}/{path}", mailbox.owner, mailbox.dest),
                false => format!("d\t{}\t{}/{path}", mailbox.owner, mailbox.dest),
            }));
            let folders = std::iter::once("").chain(old[index].folders());
            for path in folders.flat_map(|folder| [directory(folder, "new"), directory(folder, "cur")]) {
                on_old.push(format!("d\t-\t{}/x-out/{path}", mailbox.source));
                on_new.push(format!("d\t-\t{}/x/{path}", mailbox.dest));
            }
        }
        let (first, second) = tokio::try_join!(self.old.ask("make", on_old), self.new.ask("make", on_new))?;
        refuse_output(first)?;
        refuse_output(second)
    }

    async fn check_space(&mut self, work: &[Work]) -> Result<(), ApplyError> {
        let dests: Vec<String> = self.mailboxes.iter().map(|mailbox| mailbox.dest.clone()).collect();
        let lines = self.new.ask("space", dests).await?;
        let needs: Vec<(u64, u64)> = work
            .iter()
            .map(|work| (work.stage.iter().map(|message| message.size).sum(), work.stage.len() as u64))
            .collect();
        look::check_space(&lines, &needs).map_err(ApplyError::Failed)
    }

    async fn stage(&mut self, work: &[Work]) -> Result<(), ApplyError> {
        let mut items = Vec::new();
        for (index, work) in work.iter().enumerate() {
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
        let mut stage = Stage {
            old: &mut self.old,
            new: &mut self.new,
            machine: self.new_machine,
            mailboxes: self.mailboxes,
            run: &self.run,
            progress: self.progress,
        };
        stage.copy(&items).await
    }

    /// Stops logins on the old host and waits until nobody works in the mailboxes.
    async fn drain(&mut self, drain: &Drain, old: &[Scan]) -> Result<(), ApplyError> {
        if let Some(command) = &drain.command {
            let output = self.old_machine.run(&Command::shell(command.clone())).await?;
            if !output.success() {
                let why = output.error_text();
                let why = format!("`{command}` on `{}`: status {}: {}", self.old.host, output.status, why.trim_end());
                return Err(ApplyError::Failed(why));
            }
        }
        let paths: Vec<&str> = old.iter().filter_map(|scan| scan.path.as_deref()).collect();
        let start = Instant::now();
        loop {
            let lines = self.old.ask("processes", NOTHING).await?;
            if lines.iter().any(|line| line == "unknown") {
                self.warnings
                    .push(format!("`{}` has no /proc, so it is unknown whether sessions are open", self.old.host));
                return Ok(());
            }
            let Some((pid, path)) = lines.iter().find_map(|line| inside(line, &paths)) else { return Ok(()) };
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

    async fn round(&mut self, work: &[Work], sides: (&[Scan], &[Scan])) -> Result<(), ApplyError> {
        let mut gone = Vec::new();
        for (index, work) in work.iter().enumerate() {
            self.counts[index].gone += work.drop.len() as u64;
            gone.extend(work.drop.iter().map(|spot| format!("{}/x/{}", self.mailboxes[index].dest, spot.path())));
        }
        if !gone.is_empty() {
            refuse_output(self.new.ask("remove", gone).await?)?;
        }
        self.stage(work).await?;
        let claims = work.iter().zip(self.mailboxes).map(|(work, mailbox)| (&work.claim, mailbox.source.as_str()));
        let moves = claims.flat_map(|(spots, source)| claims_of(spots, source)).collect();
        self.rename(Side::Old, moves).await?;
        self.publish(work, sides).await
    }

    async fn publish(&mut self, work: &[Work], (old, new): (&[Scan], &[Scan])) -> Result<(), ApplyError> {
        for (index, mailbox) in self.mailboxes.iter().enumerate() {
            let publish = &work[index].publish;
            if publish.is_empty() {
                continue;
            }
            let (x, dest) = (format!("{}/x", mailbox.dest), &mailbox.dest);
            let digests = self.collision_digests(publish, dest).await?;
            let (mut plain, mut lines) = (Vec::new(), Vec::new());
            let (numbers, mut numbered) = (uidl::numbers(&old[index].uidls), Vec::new());
            let (mut bytes, mut messages) = new[index].usage();
            for one in publish {
                let from = format!("{x}/{}", one.from.path());
                let digest = |path: &str| digests.get(path).map(String::as_str);
                let number = numbers.get(one.to.key().base.as_str()).filter(|_| one.to.folder.is_empty());
                let mut keep =
                    |to: &Spot| numbered.extend(number.map(|number| format!("w\t{}", uidl::line(to, number))));
                match &one.collision {
                    None if one.from == one.to => {
                        keep(&one.to);
                        plain.push(one.from.clone());
                    }
                    None => {
                        keep(&one.to);
                        lines.push(format!("r\t{from}\t{dest}/{}", one.to.path()));
                    }
                    Some(taken) => {
                        self.counts[index].collisions += 1;
                        let mine = digest(&from).unwrap_or_default().to_string();
                        // Equal: the published one is the message, and the copy below goes with the next round.
                        if digest(&format!("{dest}/{}", taken.path())) == Some(mine.as_str()) && !mine.is_empty() {
                            lines.push(format!("r\t{from}\t{x}/part-{}/{}", self.run, one.from.name));
                        } else {
                            let to = one.to.renamed(mine.get(..8).unwrap_or("moved"));
                            keep(&to);
                            lines.push(format!("r\t{from}\t{dest}/{}", to.path()));
                        }
                    }
                }
                let size = new[index].staged.get(&one.from.key()).map_or(0, |message| message.size);
                self.counts[index].moved += 1;
                self.counts[index].bytes += size;
                (bytes, messages) = (bytes + size, messages + 1);
            }
            // The ledger first: a message that is then not renamed is still in `x`, and so is known to be unpublished.
            let entries = publish.iter().map(|one| format!("published\t{}", one.to.key().path()));
            refuse_output(self.new.ask("append", std::iter::once(format!("{x}/ledger")).chain(entries)).await?)?;
            if !new[index].quota.is_empty() {
                // Before the renames, because after them nothing would be left to say that this is still to be done.
                let line = format!("{}\t{dest}/maildirsize\t{bytes:12} {messages:12}", mailbox.owner);
                refuse_output(self.new.ask_one("quota", &line).await?)?;
            }
            let part = std::iter::once(format!("d\t-\t{x}/part-{}", self.run));
            refuse_output(self.new.ask("make", part).await?)?;
            lines.extend(moves(&plain, (&x, dest)));
            if !numbered.is_empty() {
                let incoming = format!("{x}/part-{}/{UIDLS}", self.run);
                numbered.insert(0, format!("i\t{}\t{incoming}\t{dest}/{UIDLS}", mailbox.owner));
                lines.splice(..0, numbered);
            }
            self.rename(Side::New, lines).await?;
        }
        Ok(())
    }

    /// Renames, and passes on what `mv` said: the next look shows what stayed, and that is the reason.
    async fn rename(&mut self, side: Side, moves: Vec<String>) -> Result<(), ApplyError> {
        if moves.is_empty() {
            return Ok(());
        }
        let session = match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        };
        let said = session.ask("move", moves).await?;
        let said = said.into_iter().filter(|line| !line.contains("No such file or directory"));
        match side {
            Side::Old => self.refusals.extend(said),
            Side::New => self.warnings.extend(said),
        }
        Ok(())
    }

    async fn collision_digests(
        &mut self,
        publish: &[Publish],
        dest: &str,
    ) -> Result<BTreeMap<String, String>, ApplyError> {
        let pairs = publish.iter().filter_map(|one| one.collision.as_ref().map(|taken| (&one.from, taken)));
        let paths: Vec<String> = pairs
            .flat_map(|(from, taken)| [format!("{dest}/x/{}", from.path()), format!("{dest}/{}", taken.path())])
            .collect();
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        let lines = self.new.ask("digest", paths).await?;
        let digests = lines.iter().filter_map(|line| read_digest(line));
        Ok(digests.map(|(digest, path)| (path, digest.to_string())).collect())
    }

    /// Looks once more: everything that was handed over must have been published.
    async fn verify(&mut self) -> Result<(), ApplyError> {
        let (old, new) = self.scan().await?;
        for (index, work) in works(&old, &new).iter().enumerate() {
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
                let why = format!("`{name}` was handed over and is not in `{}` yet: {why}", self.mailboxes[index].dest);
                return Err(ApplyError::Failed(why));
            }
        }
        let x = self.mailboxes.iter().map(|mailbox| format!("{}/x", mailbox.dest)).collect::<Vec<_>>();
        self.new.ask("prune", &x).await?;
        let out = self.mailboxes.iter().map(|mailbox| format!("{}/x-out", mailbox.source)).collect::<Vec<_>>();
        tokio::try_join!(self.old.ask("tidy", &out), self.new.ask("tidy", &x))?;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

const NOTHING: [&str; 0] = [];

fn works(old: &[Scan], new: &[Scan]) -> Vec<Work> {
    old.iter().zip(new).map(|(old, new)| decide(old, new)).collect()
}

/// The line that makes a mailbox's Maildir and gives it to its owner.
fn own(mailbox: &Mailbox) -> String {
    format!("d\t{}\t{}", mailbox.owner, mailbox.dest)
}

/// The lines that hand messages over. What POP3's users know them by is kept first: their next login drops it.
fn claims_of(spots: &[Spot], source: &str) -> Vec<String> {
    let mut lines = moves(spots, (source, &format!("{source}/x-out")));
    if spots.iter().any(|spot| spot.folder.is_empty()) {
        lines.insert(0, format!("k\t{source}/{UIDLS}\t{source}/x-out/{UIDLS}"));
    }
    lines
}

/// The lines that rename messages between two trees that are laid out alike.
fn moves(spots: &[Spot], (from, to): (&str, &str)) -> Vec<String> {
    let mut lines = Vec::new();
    let mut last = None;
    let mut spots: Vec<_> = spots.iter().map(|spot| (spot.directory(), spot)).collect();
    spots.sort_by(|one, other| one.0.cmp(&other.0));
    for (directory, spot) in spots {
        if last.as_ref() != Some(&directory) {
            lines.push(format!("d\t{from}/{directory}\t{to}/{directory}"));
            last = Some(directory);
        }
        lines.push(format!("f\t{}", spot.name));
    }
    lines
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
fn inside<'l>(line: &'l str, maildirs: &[&str]) -> Option<(&'l str, &'l str)> {
    let (pid, path) = line.split_once(' ')?;
    let inside = maildirs.iter().any(|maildir| match path.strip_prefix(maildir) {
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
