//! A plan as a reviewer reads it: by task, hosts with the same changes together, what is dangerous first.

use std::io::Write;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::Human;
use crate::change::diff::WORLD_READABLE;
use crate::change::{Change, Diff, Line};
use crate::modules::Results;
use crate::run::plan::{Plan, Step};
use crate::run::{Event, Mode, TaskKind, Verdict};
use crate::transport::Node;

/// One task's changes.
pub struct Task<'a> {
    pub name: &'a str,
    /// `FILE:LINE`.
    pub place: &'a str,
    pub blocks: Vec<Block<'a>>,
}

/// The same changes on one or more hosts.
pub struct Block<'a> {
    /// As `HOST`, `HOST -> DELEGATE` or with the loop's item.
    pub hosts: Vec<String>,
    pub kinds: Vec<Kind>,
    pub diffs: Vec<Diff>,
    /// Who does it, and how one becomes that: `root by sudo`.
    pub user: Option<String>,
    /// Why only a run can decide it.
    pub open: Option<&'a str>,
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A path appears, goes, or has another content or kind.
    File,
    /// Only mode, owner, group or time.
    Mode,
    State,
    Command,
    Mail,
    /// Encrypted, and the password was not given.
    Sealed,
}

pub const KINDS: &[(Kind, &str)] = &[
    (Kind::File, "files"),
    (Kind::Mode, "modes"),
    (Kind::State, "states"),
    (Kind::Command, "commands"),
    (Kind::Mail, "mail moves"),
    (Kind::Sealed, "encrypted"),
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
            Change::State(_) => Kind::State,
            Change::Run { .. } => Kind::Command,
            Change::Transfer(_) => Kind::Mail,
        }
    }

    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

fn kinds(step: &Step) -> Vec<Kind> {
    match &step.sealed {
        Some(sealed) => vec![Kind::Sealed; sealed.diffs.len()],
        None => step.changes.iter().map(Kind::of).chain(step.foreseen.iter().map(|_| Kind::File)).collect(),
    }
}

/// Returns the plan by task.
pub fn tasks(plan: &Plan) -> Vec<Task<'_>> {
    let mut tasks: IndexMap<usize, Task> = IndexMap::new();
    for step in &plan.steps {
        let empty = || Task { name: &step.name, place: &step.place, blocks: Vec::new() };
        let blocks = &mut tasks.entry(step.task).or_insert_with(empty).blocks;
        let (diffs, open) = (step.diffs(), step.open.as_deref());
        let user = becomes(plan, step);
        match blocks.iter_mut().find(|block| (&block.diffs, block.open, &block.user) == (&diffs, open, &user)) {
            Some(block) => block.hosts.push(subject(step)),
            None => blocks.push(Block { hosts: vec![subject(step)], kinds: kinds(step), diffs, user, open }),
        }
    }
    tasks.into_values().collect()
}

fn becomes(plan: &Plan, step: &Step) -> Option<String> {
    plan.routes.get(step.route?)?.becomes()
}

fn subject(step: &Step) -> String {
    let item = step.item.as_ref().map(|item| format!(" ({item})")).unwrap_or_default();
    match &step.delegate {
        Some(delegate) => format!("{} -> {delegate}{item}", step.host),
        None => format!("{}{item}", step.host),
    }
}

/// How many changes of each kind there are on a machine, and how many steps are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub kinds: IndexMap<Kind, usize>,
    pub open: usize,
}

/// Counts by machine.
pub fn counts(plan: &Plan) -> IndexMap<&str, Counts> {
    let mut counts: IndexMap<&str, Counts> = IndexMap::new();
    for step in &plan.steps {
        let counts = counts.entry(step.machine()).or_default();
        kinds(step).into_iter().for_each(|kind| *counts.kinds.entry(kind).or_default() += 1);
        counts.open += usize::from(step.open.is_some());
    }
    counts
}

/// Returns what a reviewer must not miss, in which task, and on which machines.
pub fn dangers(plan: &Plan) -> IndexMap<String, Vec<&str>> {
    let mut dangers: IndexMap<String, Vec<&str>> = IndexMap::new();
    for step in &plan.steps {
        for danger in step.diffs().iter().flat_map(|diff| &diff.lines).filter_map(danger) {
            let hosts = dangers.entry(format!("{danger}: {} ({})", step.name, step.place)).or_default();
            if !hosts.contains(&step.machine()) {
                hosts.push(step.machine());
            }
        }
    }
    dangers
}

/// Returns what a line says that a reviewer must not miss.
pub fn danger(line: &Line) -> Option<&str> {
    match line {
        Line::Warning(text) if text != WORLD_READABLE => Some(text),
        _ => None,
    }
}

/// Returns the steps that only a run can decide: why, in which task, and on which hosts.
pub fn open(plan: &Plan) -> Vec<(&Step, &str, Vec<String>)> {
    let mut open: Vec<(&Step, &str, Vec<String>)> = Vec::new();
    for (step, why) in plan.steps.iter().filter_map(|step| Some((step, step.open.as_deref()?))) {
        match open.iter_mut().find(|(known, reason, _)| (known.task, *reason) == (step.task, why)) {
            Some((_, _, hosts)) => hosts.push(subject(step)),
            None => open.push((step, why, vec![subject(step)])),
        }
    }
    open
}

/// Names hosts, all of them where they are few.
pub fn named(hosts: &[String]) -> String {
    const FEW: usize = 5;
    match hosts.len() {
        count if count > FEW => format!("{} and {} more", hosts[..FEW].join(", "), count - FEW),
        _ => hosts.join(", "),
    }
}

/// Prints the plan as the check that it was made by.
pub fn human(plan: &Plan, out: &mut impl Write) -> std::io::Result<()> {
    let mut human = Human::new(&mut *out, Mode::Check, (0, true), None);
    let mut task = 0;
    for step in &plan.steps {
        if step.task != task {
            task = step.task;
            let hosts = plan.steps.iter().filter(|other| other.task == task).count();
            let (name, place) = (step.name.clone(), step.place.clone());
            human.event(&Event::TaskStarted { hosts, kind: TaskKind::Task, name, place, speaks: false })?;
        }
        let (verdict, result) = match &step.open {
            Some(why) => (Verdict::Unknown, Results::from_iter([("msg".to_string(), why.as_str().into())])),
            None => (Verdict::Changed, Results::new()),
        };
        human.event(&Event::Planned { subject: step.subject(), diffs: step.diffs() })?;
        human.event(&Event::Finished { subject: step.subject(), verdict, result })?;
    }
    human.finish().map(drop)
}

/// Returns the plan as one JSON document: what may not be shown is as in a diff, never plain.
pub fn json(plan: &Plan) -> String {
    let text = |diff: Diff| Value::from_iter(diff.lines.iter().map(Line::text));
    let step = |step: &Step| {
        json!({
            "task": step.task, "name": step.name, "place": step.place, "host": step.host, "machine": step.machine(),
            "item": step.item, "open": step.open, "user": becomes(plan, step),
            "kinds": Value::from_iter(kinds(step).into_iter().map(Kind::name)),
            "diffs": Value::from_iter(step.diffs().into_iter().map(text)),
        })
    };
    let document = json!({
        "plan": &plan.head, "changes": plan.count(), "dangers": dangers(plan),
        "steps": Value::from_iter(plan.steps.iter().map(step)),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
