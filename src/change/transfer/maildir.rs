//! A Maildir as one look at it found it: messages, what is staged, what was handed over, what is odd.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::verbs::MARK;

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
    /// The numbers of its user and its group.
    pub ids: Ids,
    pub mode: u32,
}

pub type Ids = (u32, u32);

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
    /// The mark of the last move that was whole. There is nothing then that it did not see, and what is there was not listed;
    /// it is so only if the other side has the same mark.
    pub settled: Option<String>,
    /// `USER:GROUP` by number, of those that own messages, where they were asked for.
    pub owners: BTreeMap<Ids, String>,
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

/// Reads the answer to `scan`: one scan for each Maildir, in order. First come lines of each, then lines of all that have their
/// whole paths.
pub fn parse(lines: &[String]) -> Vec<Scan> {
    let mut scans: Vec<Scan> = Vec::new();
    let mut known = HashMap::new();
    let mut last = 0;
    for line in lines {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "m" => {
                last = scans.len();
                known.insert(rest, last);
                scans.push(Scan::default());
            }
            "of" => last = known.get(rest).copied().unwrap_or(last),
            "d" | "f" | "o" | "c" => {
                let words = match kind {
                    "d" => 5,
                    "f" => 6,
                    _ => 1,
                };
                let path = rest.splitn(words, ' ').last().unwrap_or_default();
                if let Some((index, inside)) = inside(&known, path) {
                    scans[index].listed(kind, &rest[..rest.len() - path.len()], inside);
                }
            }
            _ => match line.split_once("/x/ledger:published\t") {
                Some((maildir, key)) if maildir.starts_with('/') => {
                    if let Some(index) = known.get(maildir) {
                        scans[*index].ledger.get_or_insert_default().insert(Key::parse(key));
                    }
                }
                _ => scans.get_mut(last).into_iter().for_each(|scan| scan.read(kind, rest)),
            },
        }
    }
    scans
}

/// Finds the Maildir that a path is in, and the path below it.
fn inside<'p>(maildirs: &HashMap<&str, usize>, path: &'p str) -> Option<(usize, &'p str)> {
    let slashes = path.rmatch_indices('/').map(|(at, _)| at);
    slashes.filter_map(|at| Some((*maildirs.get(&path[..at])?, &path[at + 1..]))).next()
}

impl Scan {
    /// Takes a line of a listing: what is said of a path, and the path.
    fn listed(&mut self, kind: &str, said: &str, path: &str) {
        // Neither would come through the ledger and the lists of the mover.
        if kind != "c" && path.contains(['\t', MARK]) {
            self.odd.push(path.replace("/./", "/"));
            return;
        }
        match kind {
            "d" => self.directories.extend(read_directory(said).map(|directory| (path.into(), directory))),
            "f" => match read_message(said, path) {
                Some((true, message)) => drop(self.staged.insert(message.spot.key(), message)),
                Some((false, message)) => drop(self.live.insert(message.spot.key(), message)),
                None => self.odd.push(path.into()),
            },
            "c" => {
                let spot = path.strip_prefix("x-out/").and_then(Spot::parse);
                self.claimed.extend(spot.map(|spot| (spot.key(), spot)));
            }
            _ => self.odd.push(path.replace("/./", "/")),
        }
    }

    /// Takes a line about the Maildir itself.
    fn read(&mut self, kind: &str, rest: &str) {
        match kind {
            "p" => self.path = Some(rest.into()),
            "denied" => self.denied = true,
            "a" => self.account = read_directory(rest),
            "ledger" => drop(self.ledger.get_or_insert_default()),
            "n" => self.nested.push(rest.into()),
            "left" => self.left = true,
            "settled" => self.settled = Some(rest.into()),
            "q" => self.quota.push(rest.into()),
            "numbered" => self.is_numbered = true,
            "dovecot" => self.is_dovecots = true,
            "u" => self.uidls.push(rest.into()),
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

fn read_directory(said: &str) -> Option<Directory> {
    let mut words = said.split(' ');
    let (device, user, group, letters) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Directory { device: device.into(), owner: format!("{user}:{group}"), letters: letters.into() })
}

/// Returns the message and whether it is staged.
fn read_message(said: &str, path: &str) -> Option<(bool, Message)> {
    let mut words = said.split(' ');
    // Some tell the time with a fraction.
    let (size, modified) = (words.next()?.parse().ok()?, words.next()?.split('.').next()?.parse().ok()?);
    let ids = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let staged = path.strip_prefix("x/");
    let spot = Spot::parse(staged.unwrap_or(path))?;
    let message = Message { spot, size, modified, ids, mode };
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
            "m /a\np /a\nq 10S\nledger\nm /b\na 7 u g drwxr-xr-x /\nm /a/.c\np /a/.c\nd 7 u g drwx------ /a/.\n\
             d 8 u g drwx------ /a/.Sent/cur\nf 3 9 8 9 600 /a/cur/./1.x,S=3:2,FS\nf 4 9 8 9 644 /a/.Sent/cur/./a b:2,S\n\
             f 4 9 8 9 600 /a/.c/cur/./d\nf 4 9 8 9 600 /a/x/.Sent/new/./c\no /a/cur/./l?x\nc /a/x-out/cur/./z:2,\n\
             of /a\nu /2 1 17\nledgers\n/a/x/ledger:published\t.Sent/q",
        ));
        let scan = &scans[0];
        let flagged = &scan.live[&Key { folder: "".into(), base: "1.x,S=3".into() }];
        assert_eq!((flagged.spot.flags(), flagged.size, flagged.ids), ("FS", 3, (8, 9)));
        assert_eq!(scan.live[&Key { folder: ".Sent".into(), base: "a b".into() }].mode, 0o644);
        assert_eq!(scan.staged.len(), 1);
        assert_eq!(scan.claimed.keys().next().unwrap().base, "z");
        assert!(scan.ledger.as_ref().unwrap().contains(&Key { folder: ".Sent".into(), base: "q".into() }));
        assert_eq!((scan.odd.as_slice(), scan.split()), (&["cur/l?x".to_string()][..], Some(".Sent/cur")));
        assert_eq!(scan.folders().into_iter().collect::<Vec<_>>(), [".Sent"]);
        assert_eq!(
            (scan.quota.as_slice(), scan.uidls.as_slice()),
            (&["10S".to_string()][..], &["/2 1 17".to_string()][..])
        );
        assert_eq!((scans[1].path.as_ref(), scans[1].owner()), (None, Some("u:g")));
        assert_eq!((scan.live.len(), scans[2].live.len()), (2, 1));
    }

    #[test]
    fn another_name_keeps_size_and_flags() {
        let spot = Spot::parse("cur/1.M2.host,S=30:2,S").unwrap();
        assert_eq!(spot.renamed("ab").path(), "cur/1.M2.host.ab,S=30:2,S");
        assert_eq!(Spot::parse("new/1.2.host").unwrap().renamed("ab").path(), "new/1.2.host.ab");
    }
}
