//! What the mover is asked, and its answers, in lists that are told apart.

use std::collections::BTreeMap;

use crate::transport::name::{from_bytes, shown, to_bytes};
use crate::transport::{Command, TransportError};

use super::maildir::Spot;

const MOVER: &str = include_str!("mover.sh");

/// Returns the command that answers verbs, for a look without a session.
pub fn command(mut verbs: Verbs) -> Result<Command, TransportError> {
    let mut command = Command::argv(["/bin/sh", "-c", MOVER, "sh"]);
    command.stdin = verbs.bytes()?.into();
    Ok(command)
}

/// Verbs with their lists, which are sent together and answered one after another.
#[derive(Default)]
pub struct Verbs {
    /// Blocks, each behind its length.
    sent: Vec<u8>,
    /// The last of them.
    block: Vec<u8>,
    pub(super) count: usize,
    /// A name that would end its list.
    odd: Option<String>,
}

/// The longest list of a verb, in items and bytes: it becomes the arguments of one program, and old systems take 128 KiB.
const LIST_ITEMS: usize = 400;
const LIST_BYTES: usize = 60_000;

/// Begins a verb and the last line of a block, and is in no item.
pub const MARK: char = '\x1e';

/// The list of a verb that has none.
pub const NOTHING: [&str; 0] = [];

impl Verbs {
    pub fn new(verb: &str, items: impl IntoIterator<Item = impl AsRef<str>>) -> Verbs {
        let mut verbs = Verbs::default();
        verbs.add(verb, items);
        verbs
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a verb and its list.
    pub fn add(&mut self, verb: &str, items: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut list = format!("{MARK}{verb}\n");
        for item in items {
            let item = item.as_ref();
            if item.contains(MARK) {
                self.odd = Some(item.into());
            }
            list.push_str(item);
            list.push('\n');
        }
        let list = to_bytes(&list);
        if self.block.len() + list.len() > LIST_BYTES {
            self.close_block();
        }
        self.block.extend(list.iter());
        self.count += 1;
    }

    fn close_block(&mut self) {
        if !self.block.is_empty() {
            self.block.extend(format!("{MARK}end\n").bytes());
            self.sent.extend(format!("{}\n", self.block.len()).bytes());
            self.sent.append(&mut self.block);
        }
    }

    /// Returns what is sent.
    pub(super) fn bytes(&mut self) -> Result<&[u8], TransportError> {
        self.close_block();
        match &self.odd {
            Some(name) => Err(TransportError::Refused(format!("`{}` has a record separator in its name", shown(name)))),
            None => Ok(&self.sent),
        }
    }

    /// Adds a verb, if there are items for it: `head` and some of them, as often as it takes.
    pub fn each(&mut self, verb: &str, head: &[&str], items: impl IntoIterator<Item = impl AsRef<str>>) {
        let (mut list, mut bytes) = (Vec::new(), 0);
        for item in items {
            if list.len() == LIST_ITEMS || bytes > LIST_BYTES {
                self.add(verb, head.iter().copied().chain(list.iter().map(String::as_str)));
                (list, bytes) = (Vec::new(), 0);
            }
            bytes += item.as_ref().len() + 1;
            list.push(item.as_ref().to_string());
        }
        if !list.is_empty() {
            self.add(verb, head.iter().copied().chain(list.iter().map(String::as_str)));
        }
    }

    /// Adds the renames of messages between two trees that are laid out alike.
    pub fn moves<'s>(&mut self, spots: impl IntoIterator<Item = &'s Spot>, (from, to): (&str, &str)) {
        let mut directories: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for spot in spots {
            directories.entry(spot.directory()).or_default().push(&spot.name);
        }
        for (directory, names) in directories {
            self.each("rename", &[&format!("{from}/{directory}"), &format!("{to}/{directory}")], names);
        }
    }
}

/// Splits the answers to the verbs of [`command`]; `None` if one is missing.
pub fn answers<const N: usize>(stdout: &[u8]) -> Result<[Vec<String>; N], TransportError> {
    let mut answers = vec![Vec::new()];
    for line in stdout.split(|byte| *byte == b'\n') {
        match marker(line)? {
            Marker::Done => answers.push(Vec::new()),
            Marker::Line(line) => answers.last_mut().into_iter().for_each(|answer| answer.push(line.clone())),
        }
    }
    answers.pop();
    answers.try_into().map_err(|_| TransportError::Refused("the mail scan ended early".into()))
}

pub(super) enum Marker {
    Line(String),
    Done,
}

pub(super) fn marker(line: &[u8]) -> Result<Marker, TransportError> {
    match line.strip_prefix(b"\x1e") {
        Some(b"done") => Ok(Marker::Done),
        Some(why) => {
            let why = String::from_utf8_lossy(why);
            Err(TransportError::Refused(why.trim_start_matches("fail ").to_string()))
        }
        None => Ok(Marker::Line(from_bytes(line))),
    }
}
