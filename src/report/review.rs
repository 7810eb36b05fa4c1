//! A plan as a reviewer reads it: by task, hosts and items with the same changes together, what is dangerous first.

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::change::diff::WORLD_READABLE;
use crate::change::{Diff, Line};
use crate::run::plan::{Plan, Step};

pub mod domains;
mod fold;
mod sums;
mod whom;

use fold::Fold;
pub use sums::{KINDS, Kind, Sum, kinds, sums};
pub use whom::Whom;

/// One task's changes.
pub struct Task<'a> {
    pub name: &'a str,
    /// `FILE:LINE`.
    pub place: &'a str,
    /// The one with the most hosts and items first.
    pub blocks: Vec<Block<'a>>,
}

/// The same changes on one or more hosts, or for one or more items.
pub struct Block<'a> {
    pub whom: Whom,
    /// The machines that are changed, each once.
    pub machines: Vec<&'a str>,
    pub kinds: Vec<Kind>,
    /// Those of the first of them.
    pub diffs: Vec<Diff>,
    /// The others have their own name or item where the first has its.
    pub but_for_names: bool,
    /// Who does it, and how one becomes that: `root by sudo`.
    pub user: Option<String>,
    /// Why only a run can decide it.
    pub open: Option<&'a str>,
    fold: Option<Fold>,
}

impl<'a> Task<'a> {
    /// Says on what its changes are the same and on what they differ, where that is worth a word.
    pub fn differing(&self) -> Option<String> {
        let (first, others) = self.blocks.split_first()?;
        let mut differing = Whom::default();
        others.iter().for_each(|block| differing.extend(&block.whom));
        let worth = first.whom.len() > 1 && !others.is_empty();
        worth.then(|| format!("same for {}; differs for {}", first.whom.count(), differing.short()))
    }

    fn add(&mut self, plan: &'a Plan, step: &'a Step) {
        let (diffs, open, user) = (step.diffs(), step.open.as_deref(), becomes(plan, step));
        let fold = Fold::of(step, &diffs);
        let same =
            |block: &&mut Block| fold.is_some() && (&block.fold, block.open, &block.user) == (&fold, open, &user);
        match self.blocks.iter_mut().find(same) {
            Some(block) => {
                block.but_for_names |= block.diffs != diffs;
                block.whom.add(host(step), step.item.clone());
                if !block.machines.contains(&step.machine()) {
                    block.machines.push(step.machine());
                }
            }
            None => self.blocks.push(Block {
                whom: Whom::of(host(step), step.item.clone()),
                machines: vec![step.machine()],
                kinds: kinds(step),
                diffs,
                but_for_names: false,
                user,
                open,
                fold,
            }),
        }
    }
}

impl Block<'_> {
    /// Says for whom it is: `same for 3 hosts: a, b, c (as root by sudo)`.
    pub fn title(&self, whom: &str) -> String {
        let count = self.whom.count();
        let same = match self.whom.len() {
            1 => String::new(),
            _ if self.but_for_names => format!("same for {count}, but for the name: "),
            _ => format!("same for {count}: "),
        };
        let user = self.user.as_ref().map(|user| format!(" (as {user})")).unwrap_or_default();
        format!("{same}{whom}{user}")
    }

    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.diffs.iter().flat_map(|diff| &diff.lines)
    }
}

/// Returns the plan by task.
pub fn tasks(plan: &Plan) -> Vec<Task<'_>> {
    let mut tasks: IndexMap<usize, Task> = IndexMap::new();
    for step in &plan.steps {
        let empty = || Task { name: &step.name, place: &step.place, blocks: Vec::new() };
        tasks.entry(step.task).or_insert_with(empty).add(plan, step);
    }
    let mut tasks: Vec<Task> = tasks.into_values().collect();
    for task in &mut tasks {
        task.blocks.sort_by_key(|block| std::cmp::Reverse(block.whom.len()));
    }
    tasks
}

fn becomes(plan: &Plan, step: &Step) -> Option<String> {
    plan.routes.get(step.route?)?.becomes()
}

fn host(step: &Step) -> String {
    match &step.delegate {
        Some(delegate) => format!("{} -> {delegate}", step.host),
        None => step.host.clone(),
    }
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

/// Returns the steps that only a run can decide: why, in which task, and for whom.
pub fn open(plan: &Plan) -> Vec<(&Step, &str, Whom)> {
    let mut open: Vec<(&Step, &str, Whom)> = Vec::new();
    for (step, why) in plan.steps.iter().filter_map(|step| Some((step, step.open.as_deref()?))) {
        match open.iter_mut().find(|(known, reason, _)| (known.task, *reason) == (step.task, why)) {
            Some((_, _, whom)) => whom.add(host(step), step.item.clone()),
            None => open.push((step, why, Whom::of(host(step), step.item.clone()))),
        }
    }
    open
}

/// Names hosts, all of them where they are few.
pub fn named(hosts: &[impl AsRef<str>]) -> String {
    const FEW: usize = 5;
    let first = hosts.iter().take(FEW).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    match hosts.len() {
        count if count > FEW => format!("{first} and {} more", count - FEW),
        _ => first,
    }
}

/// Returns the plan as one JSON document: what may not be shown is as in a diff, never plain.
pub fn json(plan: &Plan) -> String {
    let text = |diff: Diff| Value::from(diff.texts());
    let step = |step: &Step| {
        json!({
            "task": step.task, "name": step.name, "place": step.place, "host": step.host, "machine": step.machine(),
            "item": step.item, "open": step.open, "user": becomes(plan, step),
            "kinds": Value::from_iter(kinds(step).into_iter().map(Kind::name)),
            "diffs": Value::from_iter(step.diffs().into_iter().map(text)),
        })
    };
    let sum = |(host, sum): (&str, Sum)| {
        let kinds: serde_json::Map<String, Value> =
            sum.kinds.iter().map(|(kind, count)| (kind.name().to_string(), (*count).into())).collect();
        let value = json!({
            "dangers": sum.dangers, "kinds": kinds, "messages": sum.messages, "bytes": sum.bytes, "open": sum.open,
            "key": sum.key,
        });
        (host.to_string(), value)
    };
    let document = json!({
        "plan": &plan.head, "changes": plan.count(), "dangers": dangers(plan),
        "hosts": sums(plan).into_iter().map(sum).collect::<serde_json::Map<_, _>>(),
        "sources": &plan.sources,
        "steps": Value::from_iter(plan.steps.iter().map(step)),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
