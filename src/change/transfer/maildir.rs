//! A Maildir as one look at it found it: messages, what is staged, what was handed over, what is odd.

use std::collections::{BTreeMap, BTreeSet};

use super::session::MARK;

/// A message's identity: its folder and its name up to the colon. POP3's UIDL is made from that name, so it never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Empty for the inbox, else Maildir++'s name with its dot: `.Sent`.
    pub folder: String,
    pub base: String,
}

/// Where a message lies, relative to its Maildir, to `x` or to `x-out`, which are laid out alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    pub folder: String,
    pub part: Part,
    /// The whole file name, flags and all.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    New,
    Cur,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub spot: Spot,
    /// In bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: u64,
    /// `USER:GROUP`.
    pub owner: String,
    /// Octal digits, as `stat` prints them.
    pub mode: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub device: String,
    /// `USER:GROUP`.
    pub owner: String,
    /// As `ls -l` prints them, the type's letter first.
    pub letters: String,
}

/// What one side knows of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The Maildir's path with its links resolved; `None`: there is no such directory, or it may not be entered.
    pub path: Option<String>,
    pub denied: bool,
    /// The directory that the Maildir is to be in, where the Maildir itself is missing.
    pub account: Option<Directory>,
    /// By path relative to the Maildir; `.` is the Maildir.
    pub directories: BTreeMap<String, Directory>,
    /// In `new` and `cur`: what a reader sees.
    pub live: BTreeMap<Key, Message>,
    /// In `x`: received whole and durable, not yet to be seen.
    pub staged: BTreeMap<Key, Message>,
    /// In `x-out`: handed over.
    pub claimed: BTreeMap<Key, Spot>,
    /// The keys of which the ledger says that they were about to be published; `None`: there is no ledger.
    pub ledger: Option<BTreeSet<Key>>,
    /// The lines of `maildirsize`.
    pub quota: Vec<String>,
    /// Courier's POP3 server has numbered messages for its unique ids.
    pub is_numbered: bool,
    /// Dovecot has been in the Maildir.
    pub is_dovecots: bool,
    /// The lines of courier's lists of unique ids as they were at each hand-over, one list after the other.
    pub uidls: Vec<String>,
    /// Names among the messages that are no regular files, and names with line feeds and tabs.
    pub odd: Vec<String>,
    /// Directories of messages that are no folders of Maildir++, whose names start with one dot and have no slash.
    pub nested: Vec<String>,
    /// A run that did not end, or has not ended yet, left its lock or half-received files.
    pub left: bool,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::New => "new",
            Part::Cur => "cur",
        }
    }
}

impl Spot {
    /// Reads `new/NAME`, `.Folder/cur/NAME`, with or without the `/./` of `find DIR/.`.
    pub fn parse(path: &str) -> Option<Spot> {
        let (directory, name) = path.rsplit_once('/')?;
        let directory = directory.strip_suffix("/.").unwrap_or(directory);
        let (folder, part) = directory.rsplit_once('/').unwrap_or(("", directory));
        let part = match part {
            "new" => Part::New,
            "cur" => Part::Cur,
            _ => return None,
        };
        Some(Spot { folder: folder.into(), part, name: name.into() })
    }

    pub fn key(&self) -> Key {
        Key { folder: self.folder.clone(), base: self.name.split(':').next().unwrap_or_default().into() }
    }

    /// `new`, `.Sent/cur`.
    pub fn directory(&self) -> String {
        directory(&self.folder, self.part.name())
    }

    pub fn path(&self) -> String {
        format!("{}/{}", self.directory(), self.name)
    }

    /// Returns the flags of the info suffix: `FS` of `:2,FS`.
    pub fn flags(&self) -> &str {
        self.name.split_once(":2,").map_or("", |(_, flags)| flags)
    }

    /// Returns the size that the name says (`,S=SIZE`), in bytes.
    pub fn size(&self) -> Option<u64> {
        let digits = self.name.split(":2,").next()?.split_once(",S=")?.1;
        digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    }

    /// Returns the same place under another, still unique name, for a name that a different message has already.
    /// The size stays where readers look for it.
    pub fn renamed(&self, mark: &str) -> Spot {
        let base = self.key().base;
        let info = &self.name[base.len()..];
        let at = base.find(",S=").unwrap_or(base.len());
        let name = format!("{}.{mark}{}{info}", &base[..at], &base[at..]);
        Spot { name, ..self.clone() }
    }
}

/// Joins a folder and one of its directories.
pub fn directory(folder: &str, part: &str) -> String {
    if folder.is_empty() { part.into() } else { format!("{folder}/{part}") }
}

impl Key {
    /// The form of the ledger: `BASE`, `.Sent/BASE`.
    pub fn path(&self) -> String {
        directory(&self.folder, &self.base)
    }

    fn parse(path: &str) -> Key {
        let (folder, base) = path.rsplit_once('/').unwrap_or(("", path));
        Key { folder: folder.into(), base: base.into() }
    }
}

/// Reads the answer to `scan`: one scan for each Maildir, in order.
pub fn parse(lines: &[String]) -> Vec<Scan> {
    let mut scans: Vec<Scan> = Vec::new();
    for line in lines {
        if line.starts_with("m ") {
            scans.push(Scan::default());
        } else if let Some(scan) = scans.last_mut() {
            scan.read(line);
        }
    }
    scans
}

impl Scan {
    fn read(&mut self, line: &str) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        // Neither would come through the ledger and the lists of the mover.
        if ["d", "f"].contains(&kind) && rest.contains(['\t', MARK]) {
            let path = rest.splitn(if kind == "d" { 5 } else { 6 }, ' ').last().unwrap_or(rest);
            self.odd.push(path.replace("/./", "/"));
            return;
        }
        match kind {
            "p" => self.path = Some(rest.into()),
            "denied" => self.denied = true,
            "a" => self.account = read_directory(rest).map(|(_, directory)| directory),
            "d" => self.directories.extend(read_directory(rest).map(|(path, directory)| (path.into(), directory))),
            "f" => match read_message(rest) {
                Some((true, message)) => drop(self.staged.insert(message.spot.key(), message)),
                Some((false, message)) => drop(self.live.insert(message.spot.key(), message)),
                None => self.odd.push(rest.into()),
            },
            "c" => {
                let spot = rest.strip_prefix("x-out/").and_then(Spot::parse);
                self.claimed.extend(spot.map(|spot| (spot.key(), spot)));
            }
            "ledger" => drop(self.ledger.get_or_insert_default()),
            "l" => drop(self.ledger.get_or_insert_default().insert(Key::parse(rest))),
            "n" => self.nested.push(rest.into()),
            "left" => self.left = true,
            "q" => self.quota.push(rest.into()),
            "numbered" => self.is_numbered = true,
            "dovecot" => self.is_dovecots = true,
            "u" => self.uidls.push(rest.into()),
            "o" => self.odd.push(rest.replace("/./", "/")),
            _ => {}
        }
    }

    /// Returns the folders with messages or directories of their own, the inbox not among them.
    pub fn folders(&self) -> BTreeSet<&str> {
        let paths = self.directories.keys().filter_map(|path| path.strip_suffix("/cur").or(path.strip_suffix("/new")));
        paths.filter(|path| path.starts_with('.')).collect()
    }

    /// Returns whom the Maildir belongs to, or is to belong to.
    pub fn owner(&self) -> Option<&str> {
        self.directories.get(".").or(self.account.as_ref()).map(|directory| directory.owner.as_str())
    }

    /// Names a directory that is a link, or on another file system than the Maildir: a rename from or to it would
    /// not be one.
    pub fn split(&self) -> Option<&str> {
        let device = &self.directories.get(".")?.device;
        let odd = self.directories.iter().find(|(path, directory)| {
            &directory.device != device || (directory.letters.starts_with('l') && path.as_str() != ".")
        });
        odd.map(|(path, _)| path.as_str())
    }

    /// Returns the bytes and number of the messages that count against the quota (Maildir++: all but the trash).
    pub fn usage(&self) -> (u64, u64) {
        let counted = self.live.iter().filter(|(key, _)| !key.folder.starts_with(".Trash"));
        counted.fold((0, 0), |(bytes, count), (_, message)| (bytes + message.size, count + 1))
    }
}

fn read_directory(rest: &str) -> Option<(&str, Directory)> {
    let mut words = rest.splitn(5, ' ');
    let (device, user, group, letters) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let directory = Directory { device: device.into(), owner: format!("{user}:{group}"), letters: letters.into() };
    Some((words.next()?, directory))
}

/// Returns the message and whether it is staged.
fn read_message(rest: &str) -> Option<(bool, Message)> {
    let mut words = rest.splitn(6, ' ');
    let (size, modified) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (user, group, mode, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let staged = path.strip_prefix("x/");
    let spot = Spot::parse(staged.unwrap_or(path))?;
    let message = Message { spot, size, modified, owner: format!("{user}:{group}"), mode: mode.into() };
    Some((staged.is_some(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(String::from).collect()
    }

    #[test]
    fn a_scan_is_read_with_folders_flags_and_odd_names() {
        let scans = parse(&lines(
            "m /a\np /a\nd 7 u g drwx------ .\nd 8 u g drwx------ .Sent/cur\nf 3 9 u g 600 cur/./1.x,S=3:2,FS\n\
             f 4 9 u g 644 .Sent/cur/./a b:2,S\nf 4 9 u g 600 x/.Sent/new/./c\nc x-out/cur/./z:2,\nledger\n\
             l .Sent/q\no cur/./l?x\nq 10S\nm /b\na 7 u g drwxr-xr-x /",
        ));
        let scan = &scans[0];
        let flagged = &scan.live[&Key { folder: "".into(), base: "1.x,S=3".into() }];
        assert_eq!((flagged.spot.flags(), flagged.size, flagged.owner.as_str()), ("FS", 3, "u:g"));
        assert_eq!(scan.live[&Key { folder: ".Sent".into(), base: "a b".into() }].mode, "644");
        assert_eq!(scan.staged.len(), 1);
        assert_eq!(scan.claimed.keys().next().unwrap().base, "z");
        assert!(scan.ledger.as_ref().unwrap().contains(&Key { folder: ".Sent".into(), base: "q".into() }));
        assert_eq!((scan.odd.as_slice(), scan.split()), (&["cur/l?x".to_string()][..], Some(".Sent/cur")));
        assert_eq!(scan.folders().into_iter().collect::<Vec<_>>(), [".Sent"]);
        assert_eq!((scans[1].path.as_ref(), scans[1].owner()), (None, Some("u:g")));
    }

    #[test]
    fn another_name_keeps_size_and_flags() {
        let spot = Spot::parse("cur/1.M2.host,S=30:2,S").unwrap();
        assert_eq!(spot.renamed("ab").path(), "cur/1.M2.host.ab,S=30:2,S");
        assert_eq!(Spot::parse("new/1.2.host").unwrap().renamed("ab").path(), "new/1.2.host.ab");
    }
}
