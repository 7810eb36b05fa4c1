//! What happened to each host, in numbers, and the exit code they amount to.

use indexmap::IndexMap;

use crate::run::{Event, Verdict};

/// Counts per host, in the order hosts were first heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recap {
    pub hosts: IndexMap<String, Counts>,
}

/// Ansible's seven numbers, and the tasks that a check could not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u32,
    pub changed: u32,
    pub unreachable: u32,
    pub failed: u32,
    pub skipped: u32,
    pub rescued: u32,
    pub ignored: u32,
    pub unknown: u32,
}

impl Recap {
    pub fn add(&mut self, event: &Event) {
        match event {
            // The sum of a loop counts, its items do not.
            Event::Finished { subject, verdict, .. } if subject.item.is_none() => {
                self.hosts.entry(subject.host.clone()).or_default().add(*verdict);
            }
            Event::Rescued { host } => {
                let counts = self.hosts.entry(host.clone()).or_default();
                counts.rescued += 1;
                counts.failed = counts.failed.saturating_sub(1);
            }
            Event::Included { hosts, .. } => {
                hosts.iter().for_each(|host| self.hosts.entry(host.clone()).or_default().ok += 1);
            }
            _ => {}
        }
    }

    /// 0, 2 where a host failed, 4 where one was unreachable (`ansible-playbook(1)`).
    pub fn exit_code(&self) -> u8 {
        let any = |count: fn(&Counts) -> u32| self.hosts.values().any(|counts| count(counts) > 0);
        match (any(|counts| counts.failed), any(|counts| counts.unreachable)) {
            (true, _) => 2,
            (false, true) => 4,
            (false, false) => 0,
        }
    }
}

impl Recap {
    /// The same, and 3 where all went well and something changed or would change.
    pub fn detailed_exit_code(&self) -> u8 {
        let changed = |counts: &Counts| counts.changed > 0 || counts.unknown > 0;
        match self.exit_code() {
            0 if self.hosts.values().any(changed) => 3,
            code => code,
        }
    }
}

impl Counts {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Ok => self.ok += 1,
            Verdict::Changed => {
                self.ok += 1;
                self.changed += 1;
            }
            Verdict::Skipped => self.skipped += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Ignored => {
                self.ok += 1;
                self.ignored += 1;
            }
            Verdict::Unreachable => self.unreachable += 1,
            Verdict::Unknown => self.unknown += 1,
            Verdict::Summed { skipped: true, .. } => self.skipped += 1,
            Verdict::Summed { failed: true, ignored: false, .. } => self.failed += 1,
            Verdict::Summed { changed, ignored, .. } => {
                self.ok += 1;
                self.changed += u32::from(changed);
                self.ignored += u32::from(ignored);
            }
        }
    }
}
