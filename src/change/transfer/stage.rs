//! The copy of messages to `x` on the new host: streamed, checked against their digests, made durable, renamed.

use std::collections::BTreeMap;

use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};

use crate::change::ApplyError;
use crate::transport::name::to_bytes;
use crate::transport::node::hex;
use crate::transport::{Command, Process, Transport, TransportError};

use super::maildir::Spot;
use super::session::{Packed, Session, Sink};
use super::{Mailbox, Progress, ustar};

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
    pub new: &'a mut Session,
    pub machine: &'a dyn Transport,
    pub mailboxes: &'a [Mailbox],
    /// Names this run's own directory below `x`.
    pub run: &'a str,
    pub progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Stage<'_> {
    /// Copies `items`; those that are gone on the old host by now are passed by.
    pub async fn copy(&mut self, items: &[Item]) -> Result<(), ApplyError> {
        let mut progress = Progress {
            total_messages: items.len() as u64,
            total_bytes: items.iter().map(|item| item.size).sum(),
            ..Progress::default()
        };
        let mut rest = items;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(BATCH_FILES).take_while(|item| {
                bytes += item.size;
                bytes <= BATCH_BYTES
            });
            let (batch, later) = rest.split_at(fits.count().max(1));
            self.batch(batch, &mut progress).await?;
            rest = later;
        }
        Ok(())
    }

    /// Copies from archives; where those do not tell everything, file by file.
    async fn batch(&mut self, batch: &[Item], progress: &mut Progress) -> Result<(), ApplyError> {
        let before = *progress;
        if !self.stream(batch, Way::Archives, progress).await? {
            *progress = before;
            self.stream(batch, Way::Files, progress).await?;
        }
        Ok(())
    }

    /// Says whether it was done.
    async fn stream(&mut self, batch: &[Item], way: Way, progress: &mut Progress) -> Result<bool, ApplyError> {
        let mut tar = self.machine.open(&Command::shell("umask 077; cd / && exec tar -xof -")).await?;
        let stdin = std::mem::replace(&mut tar.stdin, Box::new(tokio::io::sink()));
        let mut receiver = Receiver {
            tar,
            stdin: BufWriter::with_capacity(64 * 1024, stdin),
            batch,
            parts: batch.iter().map(|item| self.part(item)).collect(),
            hash: sha2::Sha256::new(),
            digests: vec![None; batch.len()],
            broken: false,
            progress,
            report: self.progress,
        };
        let sent = match way {
            Way::Archives => self.old.unpack(&batch.iter().map(packed).collect::<Vec<_>>(), &mut receiver).await,
            Way::Files => {
                let files: Vec<(String, u64)> = batch.iter().map(|item| (item.source.clone(), item.size)).collect();
                self.old.send(&files, &mut receiver).await.map(|()| true)
            }
        };
        let (digests, received) = receiver.finish(sent.is_ok()).await;
        match received.and(sent) {
            Ok(true) => self.keep(batch, &digests).await.map(|()| true),
            // Frees a full disk, and there is nothing in it that cannot be copied again.
            incomplete => {
                self.new.ask("prune", self.mailboxes.iter().map(|mailbox| format!("{}/x", mailbox.dest))).await?;
                Ok(incomplete?)
            }
        }
    }

    /// Where a file lies until it is whole.
    fn part(&self, item: &Item) -> String {
        format!("{}/x/part-{}/{}", self.mailboxes[item.mailbox].dest, self.run, item.spot.path())
    }

    /// Moves what arrived as it was sent to `x`.
    async fn keep(&mut self, batch: &[Item], digests: &[Option<String>]) -> Result<(), ApplyError> {
        let mut by_mailbox: BTreeMap<usize, Vec<(&Item, &str)>> = BTreeMap::new();
        for (item, digest) in batch.iter().zip(digests) {
            if let Some(digest) = digest {
                by_mailbox.entry(item.mailbox).or_default().push((item, digest));
            }
        }
        let directory = |index: usize| format!("{}/x/part-{}", self.mailboxes[index].dest, self.run);
        let parts = by_mailbox.keys().map(|index| format!("{}\t{}", self.mailboxes[*index].owner, directory(*index)));
        let lines = self.new.ask("seal", parts.collect::<Vec<_>>()).await?;
        let found = read_digests(&lines)?;
        let mut moves = Vec::new();
        for (index, items) in &by_mailbox {
            let (from, dest) = (directory(*index), &self.mailboxes[*index].dest);
            let mut entries = Vec::new();
            let mut last = String::new();
            for (item, digest) in items {
                let path = format!("{from}/{}", item.spot.path());
                let there = found.get(&path).map(String::as_str);
                if there != Some(*digest) {
                    let there = there.map_or("is missing".into(), |there| format!("has the SHA-256 {there}"));
                    let why = format!("`{path}` should have the SHA-256 {digest} and {there}; it was not kept");
                    return Err(ApplyError::Failed(why));
                }
                entries.push(format!("staged\t{}\t{digest}\t{}", item.spot.key().path(), item.size));
                let part = item.spot.directory();
                if part != last {
                    moves.push(format!("d\t{from}/{part}\t{dest}/x/{part}"));
                    last = part;
                }
                moves.push(format!("f\t{}", item.spot.name));
            }
            let ledger = std::iter::once(format!("{dest}/x/ledger")).chain(entries);
            refuse_output(self.new.ask("append", ledger).await?)?;
        }
        self.new.ask("move", moves).await?;
        Ok(())
    }
}

/// An answer that has something to say says what went wrong.
pub fn refuse_output(lines: Vec<String>) -> Result<(), ApplyError> {
    if lines.is_empty() { Ok(()) } else { Err(ApplyError::Failed(lines.join("; "))) }
}

/// Reads the answer to `seal`: digests by path.
fn read_digests(lines: &[String]) -> Result<BTreeMap<String, String>, ApplyError> {
    let mut digests = BTreeMap::new();
    let mut directory = "";
    for line in lines {
        if let Some(path) = line.strip_prefix("m ") {
            directory = path;
        } else if let Some((digest, name)) = read_digest(line) {
            digests.insert(format!("{directory}/{}", name.trim_start_matches("./")), digest.to_string());
        } else {
            return Err(ApplyError::Failed(line.trim_start_matches("! ").into()));
        }
    }
    Ok(digests)
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
    batch: &'a [Item],
    parts: Vec<String>,
    hash: sha2::Sha256,
    digests: Vec<Option<String>>,
    /// `tar` has stopped reading.
    broken: bool,
    progress: &'a mut Progress,
    report: &'a (dyn Fn(Progress) + Send + Sync),
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

    async fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let written = self.stdin.write_all(bytes).await;
        self.broken = written.is_err();
        written.map_err(|error| TransportError::Refused(format!("the new host stopped taking messages: {error}")))
    }
}

#[async_trait::async_trait]
impl Sink for Receiver<'_> {
    async fn begin(&mut self, index: usize) -> Result<(), TransportError> {
        let item = &self.batch[index];
        self.hash = sha2::Sha256::new();
        let path = to_bytes(self.parts[index].trim_start_matches('/'));
        let header = ustar::header(&path, item.size, item.modified);
        self.write(&header).await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.hash.update(bytes);
        self.progress.bytes += bytes.len() as u64;
        (self.report)(*self.progress);
        self.write(bytes).await
    }

    async fn end(&mut self, index: usize) -> Result<(), TransportError> {
        self.digests[index] = Some(hex(&std::mem::take(&mut self.hash).finalize()));
        self.progress.messages += 1;
        (self.report)(*self.progress);
        self.write(&ustar::padding(self.batch[index].size)).await
    }
}
