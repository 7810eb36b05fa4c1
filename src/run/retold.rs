//! A run that has been, told again: the events of its journal's changes, for any reporter.

use indexmap::IndexSet;

use crate::change::{Diff, Line};
use crate::modules::Results;

use super::record::{End, Entry, Record, What};
use super::{Event, Subject, TaskKind, Uncertain, Verdict};

impl Record {
    /// Returns the events of the tasks that changed something, or were about to; the journal has no others.
    pub fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::PlayStarted { name: self.head.playbooks.join(" ") }];
        let of_one_task = |one: &Entry, next: &Entry| (&one.task, &one.place) == (&next.task, &next.place);
        self.entries.chunk_by(of_one_task).for_each(|entries| task(entries, &mut events));
        events
    }
}

/// Tells of one task: host by host, and item by item.
fn task(entries: &[Entry], events: &mut Vec<Event>) {
    let mut subjects: Vec<Subject> = Vec::new();
    for subject in entries.iter().map(Entry::told_of) {
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    let hosts: IndexSet<&str> = subjects.iter().map(|subject| subject.host.as_str()).collect();
    let Some(Entry { task, place, .. }) = entries.first() else { return };
    let (name, place) = (task.clone(), place.clone());
    let (kind, hosts_count, written) = (TaskKind::Task, hosts.len(), None);
    events.push(Event::TaskStarted { hosts: hosts_count, kind, name, place, speaks: false, written });
    for host in hosts {
        let (mut failed, mut items) = (false, false);
        for subject in subjects.iter().filter(|subject| subject.host == host) {
            let own: Vec<&Entry> = entries.iter().filter(|entry| entry.told_of() == *subject).collect();
            let diffs = own.iter().map(|entry| entry.diff()).collect();
            events.push(Event::Planned { subject: subject.clone(), diffs });
            let why = own.iter().find_map(|entry| entry.trouble());
            events.extend(own.iter().filter_map(|entry| entry.uncertain()));
            failed |= why.is_some();
            items |= subject.item.is_some();
            let result: Results = why.iter().map(|why| ("msg".to_string(), why.as_str().into())).collect();
            let verdict = if why.is_some() { Verdict::Failed } else { Verdict::Changed };
            events.push(Event::Finished { subject: subject.clone(), verdict, result });
        }
        if items {
            let subject = Subject { host: host.into(), delegate: None, item: None };
            let verdict = Verdict::Summed { changed: true, failed, ignored: false, skipped: false };
            events.push(Event::Finished { subject, verdict, result: Results::new() });
        }
    }
}

impl Entry {
    fn told_of(&self) -> Subject {
        let delegate = (self.host != self.subject).then(|| self.host.clone());
        Subject { host: self.subject.clone(), delegate, item: self.item.clone() }
    }

    fn diff(&self) -> Diff {
        match &self.what {
            What::Change(change) => change.diff(self.secrecy),
            What::Hidden { lines, .. } => Diff { lines: lines.iter().cloned().map(Line::Header).collect() },
        }
    }

    /// Says why it did not come to its end.
    fn trouble(&self) -> Option<String> {
        match &self.end {
            End::Done => None,
            End::Failed(why) | End::Refused(why) => Some(why.clone()),
            End::Uncertain(why) => Some(format!("unknown whether applied: {why}")),
            End::Unknown => Some("unknown whether applied: the run was killed".into()),
        }
    }

    fn uncertain(&self) -> Option<Event> {
        let why = match &self.end {
            End::Uncertain(why) => why.clone(),
            End::Unknown => "the run was killed".into(),
            End::Done | End::Failed(_) | End::Refused(_) => return None,
        };
        let (host, task, change) = (self.host.clone(), self.task.clone(), self.in_short());
        Some(Event::Uncertain(Uncertain { host, task, change, why, found: None }))
    }
}
