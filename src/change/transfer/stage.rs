//! The copy of messages to `x` on the new host: streamed, checked against their digests, made durable, renamed.

use std::collections::{BTreeMap, BTreeSet};

use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};

use crate::change::ApplyError;
use crate::transport::name::to_bytes;
use crate::transport::node::hex;
use crate::transport::{Command, Process, Transport, TransportError};

use super::maildir::{Spot, directory};
use super::session::{Packed, Session, Sink};
use super::together::Together;
use super::verbs::Verbs;
use super::{Mailbox, ustar};

/// One file to copy.
#[derive(Clone, Debug)]
pub struct Item {
    /// The index of its mailbox.
    pub mailbox: usize,
    /// Absolute, on the old host.
    pub source: String,
    pub spot: Spot,
    pub size: u64,
    pub modified: u64,
}

/// What one stream carries at most; after each the messages that came are safe from a broken connection.
const BATCH_BYTES: u64 = 64 * 1024 * 1024;
const BATCH_FILES: usize = 2000;

/// How files are read on the old host.
#[derive(Clone, Copy)]
enum Way {
    Archives,
    Files,
}

fn packed(item: &Item) -> Packed {
    let (directory, name) = item.source.rsplit_once('/').unwrap_or(("", &item.source));
    Packed { directory: directory.into(), name: name.into(), size: item.size }
}

/// The two sides of a copy.
pub struct Stage<'a> {
    pub old: &'a mut Session,
    pub machine: &'a dyn Transport,
    pub keeper: Keeper<'a>,
    pub together: &'a Together<'a>,
}

/// What arrived of a batch, in a directory of its own below each mailbox's `x`.
struct Arrived<'a> {
    items: &'a [Item],
    part: String,
    digests: Vec<Option<String>>,
}

impl Stage<'_> {
    /// Copies `items`; those that are gone on the old host by now are passed by. What has arrived is checked and kept while
    /// the next batch is on its way.
    pub async fn copy(&mut self, items: &[Item]) -> Result<(), ApplyError> {
        let Stage { old, machine, keeper, together } = self;
        let (mailboxes, run) = (keeper.mailboxes, keeper.run);
        let mut arrived = None;
        for (number, batch) in batches(items).into_iter().enumerate() {
            if together.has_failed() {
                break;
            }
            let mut stream = Stream { old, machine: *machine, mailboxes, together };
            let part = format!("part-{run}-{number}");
            let (streamed, kept) = tokio::join!(stream.batch(batch, part), keeper.keep(arrived.take()));
            match kept.and(streamed) {
                Ok(batch) => arrived = Some(batch),
                Err(error) => {
                    // Frees a full disk, and there is nothing in it that cannot be copied again.
                    keeper.prune().await?;
                    return Err(error);
                }
            }
        }
        keeper.keep(arrived).await
    }
}

/// Splits what is to be copied into what one stream carries.
fn batches(items: &[Item]) -> Vec<&[Item]> {
    let (mut batches, mut rest) = (Vec::new(), items);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(BATCH_FILES).take_while(|item| {
            bytes += item.size;
            bytes <= BATCH_BYTES
        });
        let (batch, later) = rest.split_at(fits.count().max(1));
        batches.push(batch);
        rest = later;
    }
    batches
}

/// The way from the old host into files of the new one.
struct Stream<'a> {
    old: &'a mut Session,
    machine: &'a dyn Transport,
    mailboxes: &'a [Mailbox],
    together: &'a Together<'a>,
}

impl Stream<'_> {
    /// Copies from archives; where those do not tell everything, file by file.
    async fn batch<'b>(&mut self, items: &'b [Item], part: String) -> Result<Arrived<'b>, ApplyError> {
        if let Some(arrived) = self.copy(items, Way::Archives, part.clone()).await? {
            return Ok(arrived);
        }
        let arrived = self.copy(items, Way::Files, part + "f").await?;
        arrived.ok_or_else(|| ApplyError::Failed("messages could not be read".into()))
    }

    /// Returns nothing if it could not be done in this way.
    async fn copy<'b>(&mut self, items: &'b [Item], way: Way, part: String) -> Result<Option<Arrived<'b>>, ApplyError> {
        let mut tar = self.machine.open(&Command::shell("umask 077; cd / && exec tar -xof -")).await?;
        let stdin = std::mem::replace(&mut tar.stdin, Box::new(tokio::io::sink()));
        let paths = items.iter().map(|item| {
            let x = format!("{}/x", self.mailboxes[item.mailbox].dest);
            format!("{x}/{part}/{}", item.spot.path())
        });
        let mut receiver = Receiver {
            tar,
            stdin: BufWriter::with_capacity(64 * 1024, stdin),
            items,
            paths: paths.collect(),
            hash: sha2::Sha256::new(),
            digests: vec![None; items.len()],
            broken: false,
            copied: (0, 0),
            together: self.together,
        };
        let sent = match way {
            Way::Archives => self.old.unpack(&items.iter().map(packed).collect::<Vec<_>>(), &mut receiver).await,
            Way::Files => {
                let files: Vec<(String, u64)> = items.iter().map(|item| (item.source.clone(), item.size)).collect();
                self.old.send(&files, &mut receiver).await.map(|()| true)
            }
        };
        let (messages, bytes) = receiver.copied;
        let (digests, received) = receiver.finish(sent.is_ok()).await;
        received?;
        if sent? {
            return Ok(Some(Arrived { items, part, digests }));
        }
        self.together.add(-messages, -bytes);
        Ok(None)
    }
}

/// Who looks after what has arrived on the new host.
pub struct Keeper<'a> {
    pub new: &'a mut Session,
    pub mailboxes: &'a [Mailbox],
    /// A path on each of the file systems.
    pub disks: &'a [String],
    /// Names this run's own directories below `x`.
    pub run: &'a str,
    /// The directories of `x` that have messages, each with the index of its mailbox.
    pub taken: BTreeSet<(usize, String)>,
}

impl Keeper<'_> {
    /// Moves what arrived as it was sent to `x`.
    async fn keep(&mut self, arrived: Option<Arrived<'_>>) -> Result<(), ApplyError> {
        let Some(Arrived { items, part, digests }) = arrived else { return Ok(()) };
        let mut by_mailbox: BTreeMap<usize, Vec<(&Item, &str)>> = BTreeMap::new();
        for (item, digest) in items.iter().zip(&digests) {
            if let Some(digest) = digest {
                by_mailbox.entry(item.mailbox).or_default().push((item, digest));
            }
        }
        let found = self.seal(by_mailbox.keys().map(|index| &self.mailboxes[*index]), &part).await?;
        let (mut ledgers, mut renames) = (Verbs::default(), Verbs::default());
        for (index, items) in &by_mailbox {
            let x = format!("{}/x", self.mailboxes[*index].dest);
            let from = format!("{x}/{part}");
            let mut entries = Vec::new();
            for (item, digest) in items {
                let path = format!("{from}/{}", item.spot.path());
                let there = found.get(&path).map(String::as_str);
                if there != Some(*digest) {
                    let there = there.map_or("is missing".into(), |there| format!("has the SHA-256 {there}"));
                    let why = format!("`{path}` should have the SHA-256 {digest} and {there}; it was not kept");
                    return Err(ApplyError::Failed(why));
                }
                entries.push(format!("staged\t{}\t{digest}\t{}", item.spot.key().path(), item.size));
            }
            ledgers.each("append", &[&format!("{x}/ledger")], entries);
            let spots: Vec<&Spot> = items.iter().map(|(item, _)| &item.spot).collect();
            let is_taken = |spot: &&&Spot| self.taken.contains(&(*index, spot.directory()));
            let (some, whole): (Vec<&Spot>, Vec<&Spot>) = spots.iter().partition(is_taken);
            // One rename for all of a directory; its mailbox's first batch has most of them.
            let folders: BTreeSet<(&str, &str)> =
                whole.iter().map(|spot| (spot.folder.as_str(), spot.part.name())).collect();
            for parts in Vec::from_iter(folders).chunk_by(|one, other| one.0 == other.0) {
                let of = |tree: &str| directory(tree, parts[0].0);
                renames.each("adopt", &[&of(&from), &of(&x)], parts.iter().map(|(_, part)| part));
            }
            renames.moves(some, (&from, &x));
            self.taken.extend(spots.iter().map(|spot| (*index, spot.directory())));
        }
        refuse_output(self.new.exchange(ledgers).await?)?;
        renames.each("durable", &[], self.disks);
        self.new.exchange(renames).await?;
        Ok(())
    }

    /// Makes what is in `part` of each mailbox durable and its owner's, and returns its digests by path.
    async fn seal(
        &mut self,
        mailboxes: impl Iterator<Item = &Mailbox>,
        part: &str,
    ) -> Result<BTreeMap<String, String>, ApplyError> {
        let mut by_owner: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for mailbox in mailboxes {
            by_owner.entry(&mailbox.owner).or_default().push(format!("{}/x/{part}", mailbox.dest));
        }
        let mut verbs = Verbs::default();
        for (owner, parts) in &by_owner {
            verbs.each("own-all", &[owner], parts);
        }
        verbs.each("durable", &[], self.disks);
        verbs.each("digests", &[], by_owner.values().flatten());
        read_digests(&self.new.exchange(verbs).await?)
    }

    async fn prune(&mut self) -> Result<(), ApplyError> {
        self.new.ask("prune", self.mailboxes.iter().map(|mailbox| format!("{}/x", mailbox.dest))).await?;
        Ok(())
    }
}

/// An answer that has something to say says what went wrong.
pub fn refuse_output(lines: Vec<String>) -> Result<(), ApplyError> {
    if lines.is_empty() { Ok(()) } else { Err(ApplyError::Failed(lines.join("; "))) }
}

/// Reads the answers of the mover that are digests by path, or else say what went wrong.
fn read_digests(lines: &[String]) -> Result<BTreeMap<String, String>, ApplyError> {
    let digests = lines.iter().map(|line| match read_digest(line) {
        Some((digest, path)) => Ok((path, digest.to_string())),
        None => Err(ApplyError::Failed(line.clone())),
    });
    digests.collect()
}

/// Reads a line of `sha256sum`, whose names with a backslash are escaped and marked by one.
pub fn read_digest(line: &str) -> Option<(&str, String)> {
    let escaped = line.starts_with('\\');
    let (digest, name) = line.strip_prefix('\\').unwrap_or(line).split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let name = if escaped { name.replace("\\\\", "\\") } else { name.into() };
    (digest.len() == 64).then_some((digest, name))
}

/// Feeds a `tar` on the new host.
struct Receiver<'a> {
    tar: Process,
    /// A message is many small writes, and each of them would be a packet.
    stdin: BufWriter<Box<dyn AsyncWrite + Send + Unpin>>,
    items: &'a [Item],
    /// Where each lies until it is whole.
    paths: Vec<String>,
    hash: sha2::Sha256,
    digests: Vec<Option<String>>,
    /// `tar` has stopped reading.
    broken: bool,
    /// Messages and bytes.
    copied: (i64, i64),
    together: &'a Together<'a>,
}

impl Receiver<'_> {
    /// Ends the archive and waits for `tar`; a failure of its own says more than the broken pipe that it left.
    async fn finish(mut self, whole: bool) -> (Vec<Option<String>>, Result<(), TransportError>) {
        if whole {
            // A `tar` that has ended already says why below.
            let _ = self.stdin.write_all(&ustar::END).await;
        }
        let _ = self.stdin.shutdown().await;
        drop(self.stdin);
        let mut output = Vec::new();
        let read = self.tar.stdout.read_to_end(&mut output).await;
        let result = match self.tar.end.await {
            Ok((0, _)) if read.is_ok() => Ok(()),
            // It was not given the whole archive, so that its complaint is not the cause.
            Ok(_) if !whole && !self.broken => Ok(()),
            Ok((127, _)) => Err(TransportError::Refused("the new host has no `tar`; install one".into())),
            Ok((status, stderr)) => {
                let text = String::from_utf8_lossy(&stderr);
                let first = text.lines().next().unwrap_or("no message").to_string();
                Err(TransportError::Refused(format!(
                    "the new host could not store the messages (status {status}): {first}\n\
                     hint: make room or mend it and run it again: nothing is lost, it goes on where it ended"
                )))
            }
            Err(error) => Err(error),
        };
        (self.digests, result)
    }

    fn count(&mut self, messages: i64, bytes: usize) {
        self.copied = (self.copied.0 + messages, self.copied.1 + bytes as i64);
        self.together.add(messages, bytes as i64);
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let written = self.stdin.write_all(bytes).await;
        self.broken = written.is_err();
        written.map_err(|error| TransportError::Refused(format!("the new host stopped taking messages: {error}")))
    }
}

#[async_trait::async_trait]
impl Sink for Receiver<'_> {
    async fn begin(&mut self, index: usize) -> Result<(), TransportError> {
        let item = &self.items[index];
        self.hash = sha2::Sha256::new();
        let path = to_bytes(self.paths[index].trim_start_matches('/'));
        let header = ustar::header(&path, item.size, item.modified);
        self.write(&header).await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.hash.update(bytes);
        self.count(0, bytes.len());
        self.write(bytes).await
    }

    async fn end(&mut self, index: usize) -> Result<(), TransportError> {
        self.digests[index] = Some(hex(&std::mem::take(&mut self.hash).finalize()));
        self.count(1, 0);
        self.write(&ustar::padding(self.items[index].size)).await
    }
}
