//! The queue on disk: `mess`, `todo`, `info`, `local`, `remote` and `bounce`, each message under its inode's number.
//!
//! A message is in the queue once its envelope is in `todo`. Nothing is kept elsewhere: whoever opens the queue after a
//! crash finds each recipient done or not done.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};

use crate::modules::mail::qmail::{decode, encode};

use super::{Home, durably, message};

/// Who sent a message, and whom it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    pub sender: String,
    pub recipients: Vec<String>,
}

impl Envelope {
    /// Reads the form in which qmail-queue takes it: `F` and the sender, `T` and each recipient, each with a NUL, and one more.
    pub fn read(bytes: &[u8]) -> io::Result<Envelope> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "bad envelope");
        let text = decode(bytes.strip_suffix(b"\0\0").ok_or_else(bad)?);
        let mut fields = text.split('\0');
        let sender = fields.next().and_then(|field| field.strip_prefix('F')).ok_or_else(bad)?.to_string();
        let recipients = fields.map(|field| field.strip_prefix('T').map(str::to_string)).collect::<Option<Vec<_>>>();
        Ok(Envelope { sender, recipients: recipients.filter(|found| !found.is_empty()).ok_or_else(bad)? })
    }
}

/// The two ways out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Local,
    Remote,
}

impl Channel {
    pub const ALL: [Channel; 2] = [Channel::Local, Channel::Remote];

    pub fn name(self) -> &'static str {
        match self {
            Channel::Local => "local",
            Channel::Remote => "remote",
        }
    }
}

/// A recipient in a channel; `offset` is the place of its mark in the channel's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub offset: u64,
    pub address: String,
    pub done: bool,
}

/// The queue of an installation.
#[derive(Clone, Debug)]
pub struct Queue(PathBuf);

const PARTS: [&str; 8] = ["bounce", "info", "local", "lock", "mess", "pid", "remote", "todo"];

impl Queue {
    pub fn of(home: &Home) -> Queue {
        Queue(home.path("queue"))
    }

    /// Makes the queue's directories, and the fifo that wakes qmail-send.
    pub fn make(&self) -> io::Result<()> {
        for part in PARTS {
            fs::create_dir_all(self.0.join(part))?;
        }
        fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.0.join("lock/sendmutex"))?;
        match rustix::fs::mknodat(rustix::fs::CWD, self.trigger(), FileType::Fifo, Mode::from_raw_mode(0o622), 0) {
            Err(error) if error != rustix::io::Errno::EXIST => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The fifo that qmail-send waits at.
    pub fn trigger(&self) -> PathBuf {
        self.0.join("lock/trigger")
    }

    /// Locks the queue for the one qmail-send; nothing if there is one already.
    pub fn lock(&self) -> io::Result<Option<fs::File>> {
        let mutex = fs::OpenOptions::new().append(true).open(self.0.join("lock/sendmutex"))?;
        match rustix::fs::flock(&mutex, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(mutex)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self, part: &str, id: u64) -> PathBuf {
        self.0.join(part).join(id.to_string())
    }

    /// Takes a message (qmail-queue): on disk, then in `todo`, then qmail-send is woken. Returns its number.
    pub fn add(&self, message: &[u8], envelope: &Envelope) -> io::Result<u64> {
        let (now, pid) = (SystemTime::now(), std::process::id());
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let temp = self.0.join(format!("pid/{pid}.{count}"));
        // What a process with this number left when it was killed.
        absent(&temp)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
        let id = file.metadata()?.ino();
        let (kept, intended) = (self.file("mess", id), self.file("pid", id));
        let taken = (|| {
            let uid = rustix::process::getuid().as_raw();
            writeln!(file, "Received: (qmail {pid} invoked by uid {uid}); {}", message::date(now))?;
            file.write_all(message)?;
            file.sync_all()?;
            fs::rename(&temp, &kept)?;
            let Envelope { sender, recipients } = envelope;
            let recipients: String = recipients.iter().map(|address| format!("T{address}\0")).collect();
            durably(&intended, &encode(&format!("u{uid}\0p{pid}\0F{sender}\0{recipients}")))?;
            fs::rename(&intended, self.file("todo", id))
        })();
        if taken.is_err() {
            [&temp, &kept, &intended].into_iter().try_for_each(|path| absent(path))?;
        }
        taken.map(|()| self.pull())?;
        Ok(id)
    }

    /// Wakes qmail-send, if one waits.
    fn pull(&self) {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(fifo) = rustix::fs::open(self.trigger(), flags, Mode::empty()) {
            let _ = rustix::io::write(fifo, b"\0");
        }
    }

    /// The numbers in one part of the queue, in order.
    pub fn numbers(&self, part: &str) -> Vec<u64> {
        let names = fs::read_dir(self.0.join(part)).into_iter().flatten().flatten();
        let mut numbers: Vec<u64> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Says whether no message waits. `todo` is looked at first: messages go from there to `info`.
    pub fn is_empty(&self) -> bool {
        self.numbers("todo").is_empty() && self.numbers("info").is_empty()
    }

    /// The envelope of a message in `todo`.
    pub fn todo(&self, id: u64) -> io::Result<Envelope> {
        let text = decode(&fs::read(self.file("todo", id))?);
        let mut envelope = Envelope::default();
        for field in text.split('\0') {
            match field.split_at_checked(1) {
                Some(("F", sender)) => envelope.sender = sender.into(),
                Some(("T", address)) => envelope.recipients.push(address.into()),
                _ => {}
            }
        }
        Ok(envelope)
    }

    /// Who put a message of `todo` there, as the log tells it.
    pub fn invoker(&self, id: u64) -> io::Result<String> {
        let text = decode(&fs::read(self.file("todo", id))?);
        let of = |mark: char| text.split('\0').find_map(|field| field.strip_prefix(mark)).unwrap_or("0");
        Ok(format!("qp {} uid {}", of('p'), of('u')))
    }

    /// Puts a message of `todo` into the channels, in which it stays.
    pub fn assort(&self, id: u64, sender: &str, recipients: &[(Channel, String)]) -> io::Result<()> {
        for channel in Channel::ALL {
            let own = recipients.iter().filter(|(of, _)| *of == channel);
            let text: String = own.map(|(_, address)| format!("T{address}\0")).collect();
            let path = self.file(channel.name(), id);
            match text.is_empty() {
                true => absent(&path)?,
                false => durably(&path, &encode(&text))?,
            }
        }
        durably(&self.file("info", id), &encode(&format!("F{sender}\0")))?;
        fs::remove_file(self.file("todo", id))
    }

    pub fn message(&self, id: u64) -> io::Result<Vec<u8>> {
        fs::read(self.file("mess", id))
    }

    pub fn size(&self, id: u64) -> u64 {
        fs::metadata(self.file("mess", id)).map_or(0, |about| about.len())
    }

    /// The sender of a message that is in the channels, and when it came.
    pub fn info(&self, id: u64) -> io::Result<(String, SystemTime)> {
        let path = self.file("info", id);
        let text = decode(&fs::read(&path)?);
        let sender = text.strip_prefix('F').unwrap_or(&text).trim_end_matches('\0');
        Ok((sender.into(), fs::metadata(path)?.modified()?))
    }

    /// The recipients of a message in a channel.
    pub fn recipients(&self, channel: Channel, id: u64) -> io::Result<Vec<Recipient>> {
        let text = match fs::read(self.file(channel.name(), id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => decode(&other?),
        };
        let mut offset = 0;
        let mut found = Vec::new();
        for field in text.split_terminator('\0') {
            if let Some((mark, address)) = field.split_at_checked(1) {
                found.push(Recipient { offset, address: address.into(), done: mark == "D" });
            }
            offset += field.chars().count() as u64 + 1;
        }
        Ok(found)
    }

    /// Marks a recipient as done.
    pub fn done(&self, channel: Channel, id: u64, offset: u64) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(self.file(channel.name(), id))?;
        file.write_all_at(b"D", offset)?;
        file.sync_all()
    }

    pub fn close(&self, channel: Channel, id: u64) -> io::Result<()> {
        absent(&self.file(channel.name(), id))
    }

    /// Notes a failure for the bounce.
    pub fn note(&self, id: u64, text: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.file("bounce", id))?;
        file.write_all(&encode(text))?;
        file.sync_all()
    }

    /// The failures noted so far.
    pub fn noted(&self, id: u64) -> io::Result<Option<String>> {
        match fs::read(self.file("bounce", id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(decode(&other?))),
        }
    }

    /// Removes what is left of a message; the message itself last.
    pub fn remove(&self, id: u64) -> io::Result<()> {
        ["bounce", "info", "mess"].iter().try_for_each(|part| absent(&self.file(part, id)))
    }

    /// What qmail-qread prints: each message that is in the channels, and its recipients.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for id in self.numbers("info") {
            let Ok((sender, birth)) = self.info(id) else { continue };
            text +=
                &format!("{}  #{id}  {}  <{sender}>\n", message::date(birth).replace(" -0000", " GMT"), self.size(id));
            for channel in Channel::ALL {
                for recipient in self.recipients(channel, id).unwrap_or_default() {
                    let done = if recipient.done { "  done" } else { "" };
                    text += &format!("{done}\t{}\t{}\n", channel.name(), recipient.address);
                }
            }
        }
        text
    }

    /// What qmail-qstat prints.
    pub fn counts(&self) -> String {
        let (all, todo) = (self.numbers("mess").len(), self.numbers("todo").len());
        format!("messages in queue: {all}\nmessages in queue but not yet preprocessed: {todo}\n")
    }
}

static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn absent(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns when a message is tried again: `birth + (√age + 10 or 20)²`, in seconds (`nextretry` of qmail-send).
pub fn retry(channel: Channel, birth: u64, now: u64) -> u64 {
    let skip = if channel == Channel::Local { 10 } else { 20 };
    let root = now.saturating_sub(birth).isqrt() + skip;
    birth + root * root
}

#[cfg(test)]
mod tests {
    use super::super::tests::home;
    use super::*;

    #[test]
    fn a_message_is_in_todo_then_in_its_channels_and_then_gone() {
        let (_directory, home) = home(&[]);
        let queue = Queue::of(&home);
        queue.make().unwrap();
        let envelope = Envelope { sender: "a@b.example".into(), recipients: vec!["x@c".into(), "gr\u{fc}n@d".into()] };
        let id = queue.add(b"Subject: x\n\n", &envelope).unwrap();
        assert_eq!(queue.counts(), "messages in queue: 1\nmessages in queue but not yet preprocessed: 1\n");
        assert_eq!((queue.listing(), queue.todo(id).unwrap()), (String::new(), envelope));
        let message = String::from_utf8(queue.message(id).unwrap()).unwrap();
        assert!(message.starts_with("Received: (qmail ") && message.ends_with("\nSubject: x\n\n"), "{message}");

        let recipients = [
            (Channel::Remote, "gr\u{fc}n@d".into()),
            (Channel::Local, "7-x@c".into()),
            (Channel::Remote, "y@d".into()),
        ];
        queue.assort(id, "a@b.example", &recipients).unwrap();
        let remote = queue.recipients(Channel::Remote, id).unwrap();
        assert_eq!(remote.iter().map(|recipient| recipient.offset).collect::<Vec<_>>(), [0, 8]);
        queue.done(Channel::Remote, id, 8).unwrap();
        let listing = queue.listing();
        let lines = format!(
            "  #{id}  {}  <a@b.example>\n\tlocal\t7-x@c\n\tremote\tgr\u{fc}n@d\n  done\tremote\ty@d\n",
            message.len()
        );
        assert!(listing.ends_with(&lines) && listing.contains(" GMT  #"), "{listing}");

        Channel::ALL.iter().for_each(|channel| queue.close(*channel, id).unwrap());
        queue.remove(id).unwrap();
        assert!(queue.is_empty() && queue.listing().is_empty());
    }

    #[test]
    fn only_one_can_hold_the_lock() {
        let (_directory, home) = home(&[]);
        let queue = Queue::of(&home);
        queue.make().unwrap();
        let first = queue.lock().unwrap();
        assert!(first.is_some() && queue.lock().unwrap().is_none());
        drop(first);
        assert!(queue.lock().unwrap().is_some());
    }

    #[test]
    fn a_message_waits_longer_each_time() {
        assert_eq!(retry(Channel::Local, 1000, 1000), 1100);
        assert_eq!(retry(Channel::Local, 1000, 1100), 1400);
        assert_eq!(retry(Channel::Remote, 1000, 1000), 1400);
        assert_eq!(retry(Channel::Remote, 1000, 1400), 2600);
    }
}
