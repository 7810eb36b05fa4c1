//! What a look at both sides of a mailbox says before anything is moved: what there is, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Work, decide};
use super::maildir::{self, Message, Scan};
use super::{Folder, List, Mailbox};
use crate::transport::name::shown;

/// Names shown of each folder.
const SHOWN: usize = 3;

/// Returns the mailbox with all that is left to do for it; nothing, if that is nothing.
pub fn preview((source, dest, owner): (&str, &str, &str), old: &Scan, new: &Scan) -> Option<Mailbox> {
    let work = decide(old, new);
    let (makes, owns) = directories(old, new, owner);
    let left = old.left || new.left;
    if work.is_done() && makes.is_empty() && owns.is_empty() && !left {
        return None;
    }
    let owned = |path: &String| match new.directories.get(path) {
        Some(directory) => format!("{path} ({})", directory.owner),
        None => path.clone(),
    };
    Some(Mailbox {
        source: source.into(),
        dest: dest.into(),
        owner: owner.into(),
        folders: folders(old, &work, owner),
        collisions: old.live.keys().chain(new.staged.keys()).filter(|key| new.live.contains_key(key)).count() as u64,
        received: work.publish.len() as u64,
        handed_over: (old.claimed.len() - work.publish.len() - work.restage.len()) as u64,
        owns: owns.iter().map(owned).collect(),
        left,
        makes,
        numbers: List::default(),
    })
}

/// Counts the messages that the old host still owns, by folder.
fn folders(old: &Scan, work: &Work, owner: &str) -> Vec<Folder> {
    let mut folders: BTreeMap<&str, Folder> = BTreeMap::new();
    for (key, message) in old.live.iter().filter(|(key, _)| !work.twice.contains(key)) {
        let folder = folders.entry(&key.folder).or_default();
        folder.messages += 1;
        folder.bytes += message.size;
        folder.unread += u64::from(!message.spot.flags().contains('S'));
        folder.flagged += u64::from(message.spot.flags().contains('F'));
        let is_theirs = old.owners.get(&message.ids).is_some_and(|name| name == owner);
        folder.other_permissions += u64::from(!is_theirs || message.mode != 0o600);
        if folder.names.len() < SHOWN {
            folder.names.push(format!("{}/{}", message.spot.part.name(), message.spot.name));
        }
    }
    let named = |(name, folder): (&str, Folder)| Folder {
        name: if name.is_empty() { "INBOX".into() } else { name.into() },
        ..folder
    };
    folders.into_iter().map(named).collect()
}

/// Returns a warning about messages that stay on the old host because one of their name was handed over.
pub fn twice(source: &str, work: &Work) -> Option<String> {
    let first = work.twice.first()?.path();
    let count = work.twice.len();
    let why = "the name of a message that was handed over already, and are left there; look at them, and rename them";
    Some(format!("{count} messages of `{source}` have {why} to have them moved (the first is `{first}`)"))
}

/// Returns warnings of messages that are moved as they are, and that a reader will not take for what they are. `now` is
/// the new host's time, in seconds since 1970; the keywords of `named` folders mean there what they meant.
pub fn readers(source: &str, old: &Scan, (now, named): (u64, &BTreeSet<String>)) -> Vec<String> {
    type Odd = fn(&Message, u64, &BTreeSet<String>) -> bool;
    const ODD: [(Odd, &str); 3] = [
        (
            |message, _, _| message.spot.size().is_some_and(|size| size != message.size),
            "a size in the name (`,S=`) that is not theirs: dovecot ends the session over it, qmail-pop3d does not care; \
             rename them before the move where dovecot reads them (their POP3 clients download them again)",
        ),
        (
            |message, now, _| message.modified > now,
            "a time in the future: qmail-pop3d hides them until then; `touch` them, or set the clock that wrote them",
        ),
        (
            |message, _, named| has_keywords(message) && !named.contains(&message.spot.folder),
            "keywords (small letters among their flags), whose names stay on the old host (`dovecot-keywords`): a dovecot here \
             takes the letters for keywords of its own",
        ),
    ];
    let told = ODD.iter().filter_map(|(is_odd, why)| {
        let mut odd = old.live.values().filter(|message| is_odd(message, now, named));
        let first = odd.next()?;
        let first = format!("`{source}/{}`", shown(&first.spot.path()));
        Some(match odd.count() {
            0 => format!("{first} has {why}"),
            more => format!("{first} and {more} more have {why}"),
        })
    });
    told.collect()
}

/// Small letters among the flags, whose names are in a file of dovecot's.
pub fn has_keywords(message: &Message) -> bool {
    message.spot.flags().contains(|flag: char| flag.is_ascii_lowercase())
}

/// Says which mailboxes of one host are one directory in truth, whatever links lead to it; given are those directories, each
/// with the path that led to it.
pub fn same(places: &[(String, String)]) -> Option<String> {
    let mut seen = BTreeMap::new();
    places.iter().find_map(|(real, path)| {
        let other = seen.insert(real, path)?;
        Some(format!(
            "`{path}` and `{other}` are one directory, `{}`: its messages can go to one mailbox only; take one of the links away",
            shown(real)
        ))
    })
}

/// Says why a mailbox cannot be moved as it is.
pub fn check((source, dest): (&str, &str), old: &Scan, new: &Scan) -> Result<(), String> {
    if old.path.is_none() {
        let why = if old.denied { "may not be entered" } else { "does not exist" };
        return Err(format!("the Maildir `{source}` on the old host {why}"));
    }
    if new.denied {
        return Err(format!("`{dest}` on the new host is no directory that may be entered"));
    }
    if new.path.is_none() && new.account.is_none() {
        return Err(format!("there is no account for `{dest}` on the new host: make it first"));
    }
    for (scan, path) in [(old, source), (new, dest)] {
        if let Some(part) = scan.split() {
            let why = "is a link or on another file system, so messages cannot be moved by a rename";
            return Err(format!("`{path}/{part}` {why}: a mailbox must be on one file system"));
        }
    }
    if (!old.claimed.is_empty() || old.settled.is_some()) && new.path.is_some() && new.ledger.is_none() {
        let why = "messages were handed over already, but the ledger that says which ones were published is gone";
        return Err(format!("`{dest}/x/ledger`: {why}; put it back, or move `{source}/x-out` out of the way"));
    }
    for (scan, path, part) in [(old, source, "x-out"), (new, dest, "x")] {
        if scan.directories.get(part).is_some_and(|found| !found.letters.starts_with('d')) {
            return Err(format!("`{path}/{part}` is no directory, and the move needs one; move it out of the way"));
        }
    }
    // What a run has received it has noted in the ledger first; anything else may be half a message.
    if let (Some(first), None) = (new.staged.values().next(), &new.ledger) {
        return Err(format!(
            "`{dest}/x/{}` was not put there by a move: there is no ledger beside it; move `{dest}/x` out of the way",
            shown(&first.spot.path())
        ));
    }
    if let Some(name) = old.nested.first() {
        let why = "has messages and is no folder of Maildir++, so that they would stay behind; make it `.Name` in the Maildir";
        return Err(format!("`{source}/{}` {why}", shown(name)));
    }
    if let Some(name) = old.odd.first() {
        let why = "is no regular file, or has a line feed or a tab in its name; move it out of the way";
        return Err(format!("`{source}/{}` {why}", shown(name)));
    }
    Ok(())
}

/// Returns the directories of the new Maildir that are missing, and those that belong to somebody else.
pub fn directories(old: &Scan, new: &Scan, owner: &str) -> (Vec<String>, Vec<String>) {
    let (mut makes, mut owns) = (Vec::new(), Vec::new());
    let mut visit = |path: String| match new.directories.get(&path) {
        None => makes.push(path),
        Some(directory) if directory.owner != owner => owns.push(path),
        Some(_) => {}
    };
    visit(".".into());
    for part in ["new", "cur", "tmp"] {
        visit(part.into());
    }
    for folder in old.folders() {
        visit(folder.into());
        for part in ["new", "cur", "tmp", "maildirfolder"] {
            visit(maildir::directory(folder, part));
        }
    }
    (makes, owns)
}

/// Compares what file systems have left with what each mailbox needs, in bytes and files.
pub fn check_space(lines: &[String], needs: &[(u64, u64)]) -> Result<(), String> {
    // A file takes whole blocks.
    const BLOCK: u64 = 4096;
    for (kind, unit) in [("k ", "KiB"), ("i ", "inodes")] {
        let free: Vec<(u64, &str)> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(kind)?.split_once(' '))
            .filter_map(|(free, system)| Some((free.parse().ok()?, system)))
            .collect();
        // Some file systems count no inodes.
        if free.len() != needs.len() {
            continue;
        }
        let mut wanted: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((free, system), (bytes, files)) in free.iter().zip(needs) {
            let need = if kind == "i " { *files } else { (bytes + files * BLOCK).div_ceil(1024) };
            let entry = wanted.entry(system).or_insert((*free, 0));
            entry.1 += need;
        }
        if let Some((system, (free, need))) = wanted.iter().find(|(_, (free, need))| need > free) {
            return Err(format!(
                "file system `{system}` on the new host has {free} {unit} free, and the messages need {need}; \
                 make room, or move fewer mailboxes at a time"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_system_is_refused_before_anything_is_copied() {
        let lines =
            ["k 10 /dev/a", "k 10 /dev/a", "k 9999 /dev/b", "i 5 /dev/a", "i 5 /dev/a", "i 1 /dev/b"].map(String::from);
        assert_eq!(check_space(&lines, &[(1000, 1), (1000, 0), (90_000, 1)]), Ok(()));
        let error = check_space(&lines, &[(1000, 1), (9000, 1), (0, 0)]).unwrap_err();
        assert!(error.contains("`/dev/a`") && error.contains("10 KiB free"), "{error}");
        let error = check_space(&lines, &[(0, 0), (0, 0), (0, 2)]).unwrap_err();
        assert!(error.contains("1 inodes free"), "{error}");
    }

    #[test]
    fn a_lost_ledger_is_refused_once_messages_were_handed_over() {
        let mut old = Scan { path: Some("/s".into()), ..Scan::default() };
        let new = Scan { path: Some("/d".into()), ..Scan::default() };
        assert_eq!(check(("/s", "/d"), &old, &new), Ok(()));
        let spot = maildir::Spot::parse("new/a").unwrap();
        old.claimed.insert(spot.key(), spot);
        assert!(check(("/s", "/d"), &old, &new).unwrap_err().contains("ledger"));
    }
}
