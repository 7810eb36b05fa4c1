//! What a plan comes to, machine by machine: how many changes of each kind, messages, dangers.

use indexmap::IndexMap;
use indicatif::HumanBytes;

use crate::change::Change;
use crate::run::plan::{Plan, Step};
use crate::transport::Node;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A path appears, goes, or has another content or kind.
    File,
    /// Only mode, owner, group or time.
    Mode,
    Service,
    /// What is made from files: `users/cdb`, the tables that qmail-send holds.
    Table,
    /// Another state that only commands move.
    State,
    Records,
    Command,
    Mail,
    /// Encrypted, and the password was not given.
    Sealed,
}

/// With what one and what several are called.
pub const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::File, "file", "files"),
    (Kind::Mode, "mode", "modes"),
    (Kind::Service, "service", "services"),
    (Kind::Table, "table", "tables"),
    (Kind::State, "state", "states"),
    (Kind::Records, "record set", "record sets"),
    (Kind::Command, "command", "commands"),
    (Kind::Mail, "mail move", "mail moves"),
    (Kind::Sealed, "encrypted", "encrypted"),
];

impl Kind {
    fn of(change: &Change) -> Kind {
        match change {
            Change::Path { change, .. } => match (change.before(), change.after()) {
                (Node::File { content: before, .. }, Node::File { content: after, .. }) if before == after => {
                    Kind::Mode
                }
                (Node::Directory { .. }, Node::Directory { .. }) => Kind::Mode,
                (Node::Link { target: before, .. }, Node::Link { target: after, .. }) if before == after => Kind::Mode,
                _ => Kind::File,
            },
            Change::State(state) if state.what().starts_with("service ") => Kind::Service,
            Change::State(state) if state.is_made_again() => Kind::Table,
            Change::State(_) => Kind::State,
            Change::Records(_) => Kind::Records,
            Change::Run { .. } => Kind::Command,
            Change::Transfer(_) => Kind::Mail,
        }
    }

    /// Returns the name of several.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, _, many)| many)
    }
}

/// Returns what each change of a step is about.
pub fn kinds(step: &Step) -> Vec<Kind> {
    match &step.sealed {
        Some(sealed) => vec![Kind::Sealed; sealed.diffs.len()],
        None => step.changes.iter().map(Kind::of).chain(step.foreseen.iter().map(|_| Kind::File)).collect(),
    }
}

/// What a plan comes to on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum<'a> {
    /// In the order of [`KINDS`].
    pub kinds: Vec<(Kind, usize)>,
    /// That were there to be moved when the plan was made.
    pub messages: u64,
    pub bytes: u64,
    pub open: usize,
    pub dangers: usize,
    /// The fingerprint of its key.
    pub key: Option<&'a str>,
}

impl<'a> Sum<'a> {
    fn add(&mut self, plan: &'a Plan, step: &'a Step) {
        for kind in kinds(step) {
            match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => self.kinds.push((kind, 1)),
            }
        }
        for change in &step.changes {
            if let Change::Transfer(transfer) = change {
                let (messages, bytes) = transfer.total();
                self.messages += messages;
                self.bytes += bytes;
            }
        }
        self.open += usize::from(step.open.is_some());
        self.dangers += step.diffs().iter().flat_map(|diff| &diff.lines).filter_map(super::danger).count();
        let route = step.route.and_then(|route| plan.routes.get(route));
        self.key = self.key.or(route.and_then(|route| route.key.as_deref()));
    }

    /// Returns how many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.kinds.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count)
    }

    /// Returns it in words: `2 dangers, 3 files, 1 service, 12 messages (3.4 MiB)`.
    pub fn text(&self) -> String {
        let number = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let mut parts = Vec::new();
        if self.dangers > 0 {
            parts.push(number(self.dangers, "danger", "dangers"));
        }
        for (kind, one, many) in KINDS {
            match self.count(*kind) {
                0 => {}
                count => parts.push(number(count, one, many)),
            }
        }
        if self.messages > 0 {
            let text = number(self.messages as usize, "message", "messages");
            parts.push(format!("{text} ({})", HumanBytes(self.bytes)));
        }
        if self.open > 0 {
            parts.push(number(self.open, "open step", "open steps"));
        }
        parts.join(", ")
    }
}

/// Returns what the plan comes to, by machine, in the order in which they are first changed.
pub fn sums(plan: &Plan) -> IndexMap<&str, Sum<'_>> {
    let mut sums: IndexMap<&str, Sum> = IndexMap::new();
    for step in &plan.steps {
        sums.entry(step.machine()).or_default().add(plan, step);
    }
    sums.values_mut().for_each(|sum| sum.kinds.sort());
    sums
}
