//! The change that is being made: whoever stops waiting for it leaves word that its end is unknown.

use std::sync::Arc;

use crate::change::{Applied, Change};
use crate::transport::command::quote;
use crate::transport::posix::Posix;
use crate::transport::{Command, Links, Node, Transport as _, TransportError, Want};

use super::event::Uncertain;
use super::{Event, Run};

/// A change between its two entries in the journal. Dropped without an end, the run was told to stop.
pub(super) struct Underway {
    run: Arc<Run>,
    number: u64,
    /// What there is to say of it if nobody sees its end.
    half: Option<Uncertain>,
}

impl Underway {
    /// `number` is the change's in the journal.
    pub fn new(run: Arc<Run>, number: u64, half: Uncertain) -> Underway {
        Underway { run, number, half: Some(half) }
    }

    pub fn done(mut self) -> std::io::Result<()> {
        self.half = None;
        self.run.journal.done(self.number)
    }

    /// A command has run.
    pub fn ran(mut self, applied: &Applied) -> std::io::Result<()> {
        self.half = None;
        self.run.journal.ran(self.number, applied)
    }

    pub fn failed(mut self, why: &str) -> std::io::Result<()> {
        self.half = None;
        self.run.journal.failed(self.number, why)
    }

    /// Nothing was begun: another run has the host.
    pub fn refused(mut self, why: &str) -> std::io::Result<()> {
        self.half = None;
        self.run.journal.refused(self.number, why)
    }

    pub fn uncertain(mut self, why: &str, found: Option<String>) -> std::io::Result<()> {
        let Some(half) = self.half.take() else { return Ok(()) };
        let half = Uncertain { why: why.into(), found, ..half };
        let noted = self.run.journal.uncertain(self.number, why, half.found.as_deref());
        self.run.send(Event::Uncertain(half));
        noted
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(half) = self.half.take() {
            // Whether the journal can be written or not, the summary says it.
            let _ = self.run.journal.uncertain(self.number, &half.why, None);
            self.run.send(Event::Uncertain(half));
        }
    }
}

/// The seconds that a host may take to end what a lost connection has left there, before it is looked at.
const SETTLING: u32 = 5;

/// Says as what a host is found after the loss of the connection to its shell `pid`.
pub(super) async fn look_again(host: &Posix, pid: u32, change: &Change) -> Result<String, TransportError> {
    let path = match change {
        Change::Path { change, .. } => Some(change.path()),
        _ => None,
    };
    if !host.probe(&settled(pid, path)).await?.success() {
        return Ok("found over a new connection: it is still going on".into());
    }
    let (applied, as_before) = match change {
        Change::Path { change, .. } => {
            let want = if change.after().content().is_some() { Want::Digest } else { Want::Attributes };
            let nodes = host.look(&[(change.path().into(), Links::Keep)], want).await?;
            let found = nodes.into_iter().next().unwrap_or(Node::Absent);
            (found == *change.after(), found == *change.before())
        }
        Change::State(state) => {
            let found = host.probe(state.probe()).await?;
            let found = found.text().trim_end().to_string();
            (found == state.after(), found == state.before())
        }
        Change::Records(records) => {
            let found = records.read(host).await?;
            (records.is_after(&found), records.is_before(&found))
        }
        Change::Run { .. } | Change::Transfer(_) => {
            return Ok("found over a new connection: it does not run any more; look at what it does".into());
        }
    };
    Ok(match (applied, as_before) {
        (true, _) => "found over a new connection: it was applied".into(),
        (_, true) => "found over a new connection: it was not applied".into(),
        _ => "found over a new connection: neither as before nor as after".into(),
    })
}

/// Returns a question that is answered with success once a lost shell has ended, and no temp file of ours is left
/// beside a path.
pub(super) fn settled(pid: u32, path: Option<&str>) -> Command {
    let temp = path.and_then(|path| path.trim_end_matches('/').rsplit_once('/'));
    let temp = temp.map_or(String::new(), |(directory, _)| format!("{}/.cutover.*", quote(directory)));
    Command::shell(format!(
        "left() {{\n  kill -s 0 {pid} 2>/dev/null && return 0\n  for temp in {temp}; do [ -e \"$temp\" ] && return 0; done\n  \
         return 1\n}}\nn=0\nwhile left; do\n  [ $n -lt {SETTLING} ] || exit 1\n  sleep 1\n  n=$((n + 1))\ndone"
    ))
}
