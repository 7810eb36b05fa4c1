//! Messages that move from one host to another, exactly once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::diff::symbolic;
use super::{Line, Secrecy};
use crate::transport::name::shown;

pub mod decide;
mod engine;
pub mod look;
pub mod maildir;
mod publish;
pub mod session;
mod stage;
mod together;
mod uidl;
mod ustar;
pub mod verbs;

pub use engine::run;
pub use uidl::List;

/// Mailboxes that are to be handed over from another host to the task's host.
///
/// What it lists is what was there when it was planned. What is moved is what is there when it is applied: mail goes
/// on arriving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The inventory name of the host that the messages leave.
    pub from: String,
    /// Those with something to do.
    pub mailboxes: Vec<Mailbox>,
    pub drain: Drain,
}

/// How readers are kept from the old mailboxes before the hand-over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// A shell command for the old host that stops new logins; without one, only running sessions are waited for.
    pub command: Option<String>,
    /// How long to wait for sessions to end, in seconds.
    pub timeout: u64,
}

/// One mailbox, and what was left to do for it when it was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mailbox {
    /// The Maildir on the old host.
    pub source: String,
    /// The Maildir on the new host.
    pub dest: String,
    /// `USER:GROUP` of messages and directories on the new host.
    pub owner: String,
    pub folders: Vec<Folder>,
    /// Directories to make, relative to `dest`.
    pub makes: Vec<String>,
    /// Directories of `dest` that belong to somebody else, as `PATH (USER:GROUP)`.
    pub owns: Vec<String>,
    /// Messages whose names the new host has already.
    pub collisions: u64,
    /// Received by an earlier run that did not end, and not shown yet.
    pub received: u64,
    /// Handed over by earlier runs.
    pub handed_over: u64,
    /// A run that did not end left its lock or half-received files, which are removed.
    #[serde(default)]
    pub left: bool,
    /// Where what courier on the old host numbers messages by goes.
    #[serde(default)]
    pub numbers: List,
}

/// The messages of one folder that are still to be moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folder {
    /// `INBOX`, or Maildir++'s name with its dot.
    pub name: String,
    pub messages: u64,
    pub bytes: u64,
    pub unread: u64,
    pub flagged: u64,
    /// Those whose owner or mode differs from what they get.
    pub other_permissions: u64,
    /// The first names, at most three.
    pub names: Vec<String>,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub messages: u64,
    pub bytes: u64,
    /// Of all messages to copy.
    pub total_messages: u64,
    pub total_bytes: u64,
    /// Since the move began.
    pub elapsed: Duration,
}

impl Progress {
    /// Bytes in a second so far.
    pub fn rate(&self) -> u64 {
        (self.bytes as f64 / self.elapsed.as_secs_f64().max(0.001)) as u64
    }

    /// How long the rest takes if it goes on so.
    pub fn left(&self) -> Duration {
        Duration::from_secs((self.total_bytes - self.bytes) / self.rate().max(1))
    }
}

impl Transfer {
    /// Returns nothing where there is nothing to move.
    pub fn new(from: &str, mailboxes: Vec<Mailbox>, drain: Drain) -> Option<Transfer> {
        (!mailboxes.is_empty()).then(|| Transfer { from: from.into(), mailboxes, drain })
    }

    /// Says whether this moves nothing but mailboxes of another transfer, in the same way.
    pub fn is_part_of(&self, other: &Transfer) -> bool {
        let same = |one: &Mailbox, other: &Mailbox| {
            (&one.source, &one.dest, &one.owner) == (&other.source, &other.dest, &other.owner)
        };
        let has = |mailbox: &Mailbox| other.mailboxes.iter().any(|other| same(mailbox, other));
        (&self.from, &self.drain) == (&other.from, &other.drain) && self.mailboxes.iter().all(has)
    }

    /// Returns the number of messages that are to be moved, and their bytes.
    pub fn total(&self) -> (u64, u64) {
        let folders = self.mailboxes.iter().flat_map(|mailbox| &mailbox.folders);
        folders.fold((0, 0), |(messages, bytes), folder| (messages + folder.messages, bytes + folder.bytes))
    }

    /// How the transfer is shown; a hidden one keeps its command to itself.
    pub fn lines(&self, secrecy: Secrecy) -> Vec<Line> {
        let (messages, bytes) = self.total();
        let mut lines = vec![Line::Header(format!(
            "mail from {}: {}, {}, {bytes} bytes",
            self.from,
            count(self.mailboxes.len() as u64, "mailbox", "mailboxes"),
            count(messages, "message", "messages"),
        ))];
        if let Some(command) = &self.drain.command {
            let command = if secrecy == Secrecy::Hidden { "(hidden by no_log)" } else { command };
            lines.push(Line::Added(format!("run on {} before the hand-over: {command}", self.from)));
        }
        for mailbox in &self.mailboxes {
            lines.extend(mailbox.lines(&self.from));
        }
        lines
    }
}

impl Mailbox {
    fn lines(&self, from: &str) -> Vec<Line> {
        let (source, dest) = (shown(&self.source), shown(&self.dest));
        let mut lines = vec![
            Line::Header(format!("--- {from}:{source}")),
            Line::Header(format!("+++ {dest}  -{} 0600 {}", symbolic(0o600), self.owner)),
        ];
        let kept = format!("    originals stay in {from}:{source}/x-out; staging and ledger are in {dest}/x");
        lines.push(Line::Header(kept));
        let makes = self.makes.iter().map(|path| match path.ends_with("/maildirfolder") {
            // An empty file, by which deliveries know a folder (maildir++).
            true => format!("{}  -{} 0600 {}", shown(path), symbolic(0o600), self.owner),
            false => format!("{}/  d{} 0700 {}", shown(path), symbolic(0o700), self.owner),
        });
        lines.extend(makes.map(Line::Added));
        lines.extend(self.owns.iter().map(|path| Line::Removed(format!("{path}: becomes {}", self.owner))));
        for folder in &self.folders {
            let mut text = format!(
                "{}: {}, {} bytes ({} unread, {} flagged)",
                shown(&folder.name),
                count(folder.messages, "message", "messages"),
                folder.bytes,
                folder.unread,
                folder.flagged
            );
            if folder.other_permissions > 0 {
                text.push_str(&format!(", {} with another owner or mode", folder.other_permissions));
            }
            lines.push(Line::Added(text));
            lines.extend(folder.names.iter().map(|name| Line::Added(format!("    {}", shown(name)))));
            let more = folder.messages - folder.names.len() as u64;
            if more > 0 {
                lines.push(Line::Added(format!("    and {more} more")));
            }
        }
        if self.numbers == List::Dovecot {
            let text = format!("courier's unique ids of POP3 go into `{}`", self.numbers.name());
            lines.push(Line::Context(text));
        }
        if self.received > 0 {
            lines.push(Line::Context(format!("{} received by a run that did not end", self.received)));
        }
        if self.left {
            lines.push(Line::Context("what a run that did not end left behind is removed".into()));
        }
        if self.handed_over > 0 {
            lines.push(Line::Context(format!("{} handed over by earlier runs", self.handed_over)));
        }
        if self.collisions > 0 {
            let what = count(self.collisions, "name is", "names are");
            let rest = "taken on the new host: equal content is kept once, other content under a further name";
            lines.push(Line::Warning(format!("{what} {rest}")));
        }
        lines
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_shown_with_counts_permissions_and_first_names() {
        let folder = Folder { name: "INBOX".into(), messages: 4, bytes: 90, unread: 1, ..Folder::default() };
        let folder = Folder { names: vec!["1.a:2,S".into()], other_permissions: 2, ..folder };
        let mailbox = Mailbox {
            source: "/old/Maildir".into(),
            dest: "/new/Maildir".into(),
            owner: "popuser:popuser".into(),
            folders: vec![folder],
            makes: vec![".Sent".into(), ".Sent/maildirfolder".into()],
            owns: Vec::new(),
            collisions: 1,
            received: 0,
            handed_over: 7,
            left: false,
            numbers: List::Dovecot,
        };
        let drain = Drain { command: Some("stop-pop3".into()), timeout: 1 };
        let transfer = Transfer::new("old", vec![mailbox], drain).unwrap();
        let hidden = transfer.lines(Secrecy::Hidden);
        assert!(!hidden.iter().any(|line| line.text().contains("stop-pop3")), "{hidden:?}");
        let text: Vec<String> = transfer.lines(Secrecy::Open).iter().map(Line::text).collect();
        assert_eq!(
            text,
            [
                "mail from old: 1 mailbox, 4 messages, 90 bytes",
                "+run on old before the hand-over: stop-pop3",
                "--- old:/old/Maildir",
                "+++ /new/Maildir  -rw------- 0600 popuser:popuser",
                "    originals stay in old:/old/Maildir/x-out; staging and ledger are in /new/Maildir/x",
                "+.Sent/  drwx------ 0700 popuser:popuser",
                "+.Sent/maildirfolder  -rw------- 0600 popuser:popuser",
                "+INBOX: 4 messages, 90 bytes (1 unread, 0 flagged), 2 with another owner or mode",
                "+    1.a:2,S",
                "+    and 3 more",
                " courier's unique ids of POP3 go into `dovecot-uidlist`",
                " 7 handed over by earlier runs",
                "! 1 name is taken on the new host: equal content is kept once, other content under a further name",
            ]
        );
    }
}
