//! The count: which message arrived, which did twice, and which did not.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::Habit;
use super::{Tally, digest};

/// One copy of a message, downloaded or in a Maildir.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// Its Message-ID and whose it is.
    pub id: Id,
    /// The file's name up to its `:`, which is the unique id.
    pub name: String,
    /// Of the text below the header.
    pub digest: String,
}

/// A message for one account.
pub type Id = (String, String);

impl Copy {
    /// Reads a message of `account`; nothing if it has no Message-ID, as a bounce has not.
    pub fn read(account: &str, name: &str, text: &[u8]) -> Option<Copy> {
        let end = text.windows(2).position(|pair| pair == b"\n\n")?;
        let header = String::from_utf8_lossy(&text[..end]).into_owned();
        let found = header.lines().find_map(|line| line.strip_prefix("Message-ID: "))?;
        let name = name.split(':').next().unwrap_or(name).to_string();
        Some(Copy { id: (found.trim_end().into(), account.into()), name, digest: digest(&text[end + 2..]) })
    }
}

/// What was sent and stored, and what was downloaded.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Digests.
    sent: BTreeMap<Id, String>,
    stored: BTreeMap<Id, String>,
    /// How often it was downloaded by one who deleted it.
    taken: Tally<Id>,
    /// How often by one who left it there.
    read: Tally<Id>,
    /// Downloaded with another text than was sent.
    damaged: Vec<Id>,
    pub to_old: u64,
    pub to_new: u64,
    /// Downloads on the old and on the new host.
    downloads: [u64; 2],
    /// Messages that no host took.
    pub refused: Vec<String>,
    /// The numbers of messages of which a connection was lost after their text: SMTP itself may have doubled them.
    doubts: BTreeSet<u64>,
}

/// The end of a move, in numbers of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub sent: Part,
    pub stored: Part,
    pub to_old: u64,
    pub to_new: u64,
    /// Downloads on the old and on the new host.
    pub downloads: [u64; 2],
    /// What the bounces say that the senders got.
    pub bounces: Vec<String>,
    /// Messages that no host took, and why.
    pub refused: Vec<String>,
    /// Messages that wait in a queue.
    pub queued: u64,
    /// Copies of what nobody sent.
    pub strange: u64,
}

/// What became of some messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub count: u64,
    /// With the user or in the user's Maildir on the new host.
    pub arrived: u64,
    /// Neither, and their Message-IDs.
    pub lost: Vec<String>,
    /// More than once.
    pub doubled: Vec<String>,
    /// More than once by SMTP itself, which sends again what it has no answer for (RFC 1047).
    pub by_smtp: Vec<String>,
    /// With another text.
    pub damaged: Vec<String>,
    /// Only in a Maildir of the old host, which nobody reads any more.
    pub behind: Vec<String>,
}

impl Report {
    /// Says whether every message has arrived once, as it was sent.
    pub fn is_clean(&self) -> bool {
        let clean = |part: &Part| {
            part.arrived == part.count && part.doubled.is_empty() && part.damaged.is_empty() && part.behind.is_empty()
        };
        let none = self.bounces.is_empty() && self.refused.is_empty() && self.queued == 0 && self.strange == 0;
        none && clean(&self.sent) && clean(&self.stored)
    }
}

impl Ledger {
    pub fn expect_sent(&mut self, id: &str, account: &str, digest: String) {
        self.sent.insert((id.into(), account.into()), digest);
    }

    /// A connection was lost after the text of this message.
    pub fn doubt(&mut self, number: u64) {
        self.doubts.insert(number);
    }

    /// Does so for each message of which a host's qmail-send logs a `Possible duplicate`.
    pub fn note_doubts(&mut self, log: &str) {
        self.doubts.extend(doubts(log));
    }

    pub fn expect_stored(&mut self, copy: Copy) {
        self.stored.insert(copy.id, copy.digest);
    }

    pub fn download(&mut self, copy: Copy, habit: Habit, on_new: bool) {
        self.downloads[usize::from(on_new)] += 1;
        if self.expected(&copy.id).is_some_and(|digest| *digest != copy.digest) {
            self.damaged.push(copy.id.clone());
        }
        let tally = if habit == Habit::Delete { &mut self.taken } else { &mut self.read };
        *tally.entry(copy.id).or_default() += 1;
    }

    fn expected(&self, id: &Id) -> Option<&String> {
        self.sent.get(id).or_else(|| self.stored.get(id))
    }

    /// Counts, given the copies that are in the Maildirs of both hosts now.
    pub fn report(&self, new: &[Copy], old: &[Copy]) -> Report {
        let tally = |copies: &[Copy]| {
            let mut tally = Tally::new();
            copies.iter().for_each(|copy| *tally.entry(copy.id.clone()).or_default() += 1);
            tally
        };
        let (there, behind) = (tally(new), tally(old));
        let seen = self.taken.keys().chain(self.read.keys()).chain(there.keys()).chain(behind.keys());
        let damaged = |expected: &BTreeMap<Id, String>| {
            let files = new.iter().filter(|copy| expected.get(&copy.id).is_some_and(|digest| *digest != copy.digest));
            let downloads = self.damaged.iter().filter(|id| expected.contains_key(*id));
            files.map(|copy| &copy.id).chain(downloads).map(|id| id.0.clone()).collect()
        };
        let part = |expected: &BTreeMap<Id, String>| {
            let mut part = Part { count: expected.len() as u64, damaged: damaged(expected), ..Part::default() };
            let of = |tally: &Tally<Id>, id: &Id| tally.get(id).copied().unwrap_or(0);
            for id in expected.keys() {
                // What was left on the server counts where it lies; a second download of it is one too many.
                let copies = of(&self.taken, id) + of(&there, id);
                match copies {
                    0 if of(&behind, id) > 0 => part.behind.push(id.0.clone()),
                    0 => part.lost.push(id.0.clone()),
                    _ => part.arrived += 1,
                }
                if copies > 1 || of(&self.read, id) > 1 {
                    let by_smtp = number(&id.0).is_some_and(|number| self.doubts.contains(&number));
                    if by_smtp { &mut part.by_smtp } else { &mut part.doubled }.push(id.0.clone());
                }
            }
            part
        };
        Report {
            sent: part(&self.sent),
            stored: part(&self.stored),
            to_old: self.to_old,
            to_new: self.to_new,
            downloads: self.downloads,
            refused: self.refused.clone(),
            strange: seen.filter(|id| self.expected(id).is_none()).count() as u64,
            ..Report::default()
        }
    }
}

/// The number in a Message-ID of a sender here.
fn number(id: &str) -> Option<u64> {
    id.strip_prefix('<')?.split_once('.')?.0.parse().ok()
}

/// The numbers of the messages that a log of qmail-send calls possibly duplicated; their senders are `NUMBER@outside.example`.
fn doubts(log: &str) -> Vec<u64> {
    let (mut senders, mut deliveries) = (BTreeMap::new(), BTreeMap::new());
    let mut found = Vec::new();
    for line in log.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        // A log may have times before its lines.
        let after = |mark: &[&str]| words.windows(mark.len()).position(|own| own == mark).map(|at| at + mark.len());
        if let Some(at) = after(&["info", "msg"]) {
            let sender = words.iter().position(|word| *word == "from").and_then(|from| words.get(from + 1));
            senders
                .insert(words.get(at).map_or("", |id| id.trim_end_matches(':')), sender.copied().unwrap_or_default());
        } else if let Some(at) = after(&["starting", "delivery"]) {
            let message = words.iter().position(|word| *word == "msg").and_then(|msg| words.get(msg + 1));
            let sender = message.and_then(|message| senders.get(message)).copied().unwrap_or_default();
            deliveries.insert(words.get(at).map_or("", |id| id.trim_end_matches(':')), sender);
        } else if line.contains("Possible_duplicate!")
            && let Some(at) = after(&["delivery"])
        {
            let sender = deliveries.get(words.get(at).map_or("", |id| id.trim_end_matches(':'))).copied();
            found.extend(sender.and_then(|sender| sender.strip_prefix('<')?.split_once('@')?.0.parse::<u64>().ok()));
        }
    }
    found
}

/// The sentence that the lab ends with, and what stands below it.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |part: &Part| {
            let mut text = match part.doubled.len() {
                0 => "none twice".to_string(),
                doubled => format!("{doubled} TWICE"),
            };
            let troubles = [(&part.lost, "LOST"), (&part.damaged, "DAMAGED"), (&part.behind, "LEFT on the old host")];
            for (ids, word) in troubles.iter().filter(|(ids, _)| !ids.is_empty()) {
                text += &format!(", {} {word} ({} ...)", ids.len(), ids.first().map_or("", |id| id.as_str()));
            }
            text
        };
        let bounced = match self.bounces.len() {
            0 => "none bounced".into(),
            count => format!("{count} BOUNCED"),
        };
        let (sent, stored) = (&self.sent, &self.stored);
        writeln!(
            f,
            "{} messages sent during the move: {} arrived, {}, {bounced}",
            grouped(sent.count),
            grouped(sent.arrived),
            told(sent)
        )?;
        writeln!(
            f,
            "{} messages stored before: {} arrived, {}",
            grouped(stored.count),
            grouped(stored.arrived),
            told(stored)
        )?;
        let [old, new] = self.downloads;
        write!(
            f,
            "{} went to the old host and {} straight to the new one; {} were read on the old host and {} on the new one",
            grouped(self.to_old),
            grouped(self.to_new),
            grouped(old),
            grouped(new)
        )?;
        let by_smtp = (sent.by_smtp.len() + stored.by_smtp.len()) as u64;
        if by_smtp > 0 {
            write!(f, "\n{} came twice by SMTP itself: a connection was lost after their text", grouped(by_smtp))?;
        }
        let others = [(self.queued, "WAIT in a queue"), (self.strange, "were sent by NOBODY")];
        for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
            write!(f, "\n{} {what}", grouped(*count))?;
        }
        self.bounces.iter().take(5).try_for_each(|why| write!(f, "\nBOUNCED {why}"))?;
        self.refused.iter().take(5).try_for_each(|why| write!(f, "\nREFUSED {why}"))
    }
}

/// Writes a number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(id: &str, name: &str) -> Copy {
        Copy::read("ann@example.com", name, format!("Subject: x\nMessage-ID: <{id}>\n\ntext of {id}\n").as_bytes())
            .unwrap()
    }

    /// A ledger in which all of these were sent.
    fn ledger(ids: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        for id in ids {
            let copy = copy(id, "");
            ledger.expect_sent(&copy.id.0, &copy.id.1, copy.digest);
        }
        ledger
    }

    #[test]
    fn a_message_has_arrived_where_its_user_has_it_or_finds_it_on_the_new_host() {
        let mut ledger = ledger(&["taken", "left", "unread"]);
        ledger.download(copy("taken", "1"), Habit::Delete, false);
        ledger.download(copy("left", "2"), Habit::Leave, true);
        let report = ledger.report(&[copy("left", "2"), copy("unread", "3")], &[]);
        assert!(report.is_clean(), "{report}");
        assert!(
            report.to_string().starts_with("3 messages sent during the move: 3 arrived, none twice, none bounced\n")
        );
        assert_eq!(report.downloads, [1, 1]);
    }

    #[test]
    fn every_fault_is_told() {
        let texts = |report: &Report| {
            assert!(!report.is_clean());
            report.to_string()
        };
        let report = ledger(&["a", "b"]).report(&[copy("a", "1"), copy("a", "2")], &[]);
        assert!(texts(&report).starts_with("2 messages sent during the move: 1 arrived, 1 TWICE, 1 LOST (<b> ...)"));
        let report = ledger(&["a"]).report(&[], &[copy("a", "1")]);
        assert!(texts(&report).contains("0 arrived, none twice, 1 LEFT on the old host"));
        let mut one = ledger(&["a"]);
        one.download(copy("a", "1"), Habit::Delete, false);
        assert!(texts(&one.report(&[copy("a", "1")], &[])).contains("1 TWICE"), "downloaded, deleted and there again");
        let mut one = ledger(&["a"]);
        one.download(copy("a", "1"), Habit::Leave, false);
        one.download(copy("a", "2"), Habit::Leave, true);
        assert!(texts(&one.report(&[copy("a", "2")], &[])).contains("1 TWICE"), "a second download under another name");
        let mut other = copy("a", "1");
        other.digest = "another".into();
        assert!(texts(&ledger(&["a"]).report(&[other], &[])).contains("1 DAMAGED"));
        assert!(texts(&ledger(&[]).report(&[copy("a", "1")], &[])).contains("1 were sent by NOBODY"));
        let bounces = vec!["<a@example.com>: no".to_string(), String::new()];
        let bounced = Report { bounces, ..ledger(&["a"]).report(&[copy("a", "1")], &[]) };
        assert!(texts(&bounced).contains("1 arrived, none twice, 2 BOUNCED"));
        assert!(texts(&bounced).contains("\nBOUNCED <a@example.com>: no\n"));
    }

    #[test]
    fn what_smtp_itself_may_have_doubled_is_counted_apart() {
        let log = "@4 info msg 77: bytes 5 from <3@outside.example> qp 24 uid 0\n\
            @4 starting delivery 12: msg 77 to remote ann@example.com\n\
            @4 info msg 78: bytes 5 from <4@outside.example> qp 24 uid 0\n\
            @4 starting delivery 13: msg 78 to remote ann@example.com\n\
            @4 delivery 13: success: did\n\
            @4 delivery 12: deferral: 10.0.0.1_connected_but_connection_died._Possible_duplicate!_(#4.4.2)\n";
        assert_eq!(doubts(log), [3]);
        let mut one = ledger(&["3.1@x", "4.1@x"]);
        one.note_doubts(log);
        let copies = ["3.1@x", "4.1@x"].map(|id| [copy(id, "1"), copy(id, "2")]).concat();
        let report = one.report(&copies, &[]);
        assert_eq!((report.sent.by_smtp, report.sent.doubled), (vec!["<3.1@x>".into()], vec!["<4.1@x>".to_string()]));
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 2000, 1_234_567].map(grouped), ["0", "999", "2,000", "1,234,567"]);
    }
}
