//! A run in one line, with failures in full: what a job of cron mails.

use std::collections::BTreeSet;
use std::io::{Result, Write};

use super::{Human, Recap, Reporter};
use crate::run::{Event, Mode, Verdict};

/// Keeps failures until it is known whether a rescue has dealt with them.
pub struct Quiet<W: Write> {
    human: Human<W>,
    mode: Mode,
    /// What runs.
    name: String,
    task: Option<Event>,
    /// Each with the host that it is of, and the task that it is in.
    failures: Vec<(String, Option<Event>, Event)>,
    recap: Recap,
}

impl<W: Write> Quiet<W> {
    pub fn new(out: W, mode: Mode, name: String) -> Quiet<W> {
        let human = Human::new(out, mode, (0, false), None);
        Quiet { human, mode, name, task: None, failures: Vec::new(), recap: Recap::default() }
    }
}

impl<W: Write + Send> Reporter for Quiet<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.recap.add(event);
        match event {
            Event::TaskStarted { .. } => self.task = Some(event.clone()),
            Event::Finished { subject, verdict, .. } if is_failure(*verdict) => {
                self.failures.push((subject.host.clone(), self.task.clone(), event.clone()));
            }
            // What a rescue has taken over, the item's failures too, is no failure of the run.
            Event::Rescued { host } => self.failures.retain(|(other, ..)| other != host),
            Event::Warning(_) | Event::Uncertain(_) | Event::Interrupted(_) => self.human.event(event)?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Recap> {
        let Quiet { mut human, mode, name, failures, recap, .. } = *self;
        let mut shown: Option<Event> = None;
        for (_, task, event) in failures {
            if let Some(task) = task.filter(|task| shown.as_ref().is_none_or(|shown| !is_same(shown, task))) {
                human.event(&task)?;
                shown = Some(task);
            }
            human.event(&event)?;
        }
        human.end(&line(&recap, mode, &name))?;
        Ok(recap)
    }
}

fn is_failure(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Failed | Verdict::Unreachable | Verdict::Summed { failed: true, ignored: false, .. })
}

fn is_same(one: &Event, other: &Event) -> bool {
    match (one, other) {
        (Event::TaskStarted { name, place, .. }, Event::TaskStarted { name: second, place: there, .. }) => {
            (name, place) == (second, there)
        }
        _ => false,
    }
}

/// Says what a run came to: `ok: site.yml: nothing changed on 2 hosts`.
pub fn line(recap: &Recap, mode: Mode, name: &str) -> String {
    let named = |pick: fn(&super::recap::Counts) -> u32| -> BTreeSet<&str> {
        recap.hosts.iter().filter(|(_, counts)| pick(counts) > 0).map(|(host, _)| host.as_str()).collect()
    };
    let list = |hosts: &BTreeSet<&str>| super::review::named(&hosts.iter().copied().collect::<Vec<_>>());
    let (failed, unreachable) = (named(|counts| counts.failed), named(|counts| counts.unreachable));
    let (changed, unknown) = (named(|counts| counts.changed), named(|counts| counts.unknown));
    let tasks: u32 = recap.hosts.values().map(|counts| counts.changed).sum();
    let (would, nothing) = match mode {
        Mode::Check => ("would change", "nothing to change"),
        Mode::Apply => ("changed", "nothing changed"),
    };
    let mut parts = Vec::new();
    if !failed.is_empty() {
        parts.push(format!("failed on {}", list(&failed)));
    }
    if !unreachable.is_empty() {
        parts.push(format!("unreachable: {}", list(&unreachable)));
    }
    parts.push(match tasks {
        0 => nothing.into(),
        1 => format!("1 task {would} {}", list(&changed)),
        count => format!("{count} tasks {would} {}", list(&changed)),
    });
    if !unknown.is_empty() {
        parts.push(format!("not known before a run on {}", list(&unknown)));
    }
    let state = match (failed.is_empty(), unreachable.is_empty(), tasks) {
        (false, ..) => "FAILED",
        (true, false, _) => "UNREACHABLE",
        (true, true, 0) if unknown.is_empty() => "ok",
        _ => would,
    };
    let hosts = recap.hosts.len();
    format!("{state}: {name}: {} ({hosts} host{})", parts.join("; "), if hosts == 1 { "" } else { "s" })
}
