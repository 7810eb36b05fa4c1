//! A task's loop: its items, one after the other, and their sum.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::change::Secrecy;
use crate::error::Diagnostic;
use crate::modules::Results;
use crate::template::{Failure, behind};
use crate::vars::{Layer, Scope, TaskLayers, Var};

use super::doing::{Doing, Done, duration, skip};
use super::task::Ended;
use super::trouble::{Trouble, with_exception};
use super::{Event, Verdict};

impl<'a> Doing<'a> {
    /// A task with a loop: each item in turn, then the sum.
    pub(super) async fn each(mut self) -> Ended {
        self.nth.0 = self.count(None);
        if self.set_switches().is_err() {
            // They may need the item; until one is there, nothing may be shown.
            self.secrecy = Secrecy::Hidden;
        }
        let ended = |verdict, result: Results, registered| Ended {
            host: self.host.into(),
            verdict,
            result: Value::Object(result),
            registered: Some(registered),
            inclusions: Vec::new(),
        };
        let items = match self.items() {
            Ok(items) => items,
            Err(trouble) => {
                // A condition that holds for no item at all makes an undefined list harmless.
                let attempt = self.left_out().ok().flatten().ok_or(trouble);
                let (verdict, done) = self.conclude(attempt);
                self.report(verdict, &done.result);
                let registered = self.registered(&done);
                return ended(verdict, done.result, registered);
            }
        };
        let mut sum = Sum::default();
        let mut inclusions = Vec::new();
        let count = items.len();
        let all: Arc<[Value]> = items.clone().into();
        for (index, item) in items.into_iter().enumerate() {
            let (mut one, switches) = self.with_item((index, &all), item.clone());
            one.nth.1 = one.count(one.subject.item.as_deref());
            if index > 0 {
                one.pause_between().await;
            }
            let attempt = match switches {
                Ok(()) => one.attempt().await,
                Err(failure) => Err(failure.into()),
            };
            let (verdict, mut done) = one.conclude(attempt.and_then(|done| one.notifying(done)));
            let (stop, is_told) = (one.breaks(&done), done.is_told(verdict));
            let loop_var = self.loop_var();
            done.result.insert("ansible_loop_var".into(), loop_var.clone().into());
            done.result.insert(loop_var, item);
            if let Some(name) = self.task.loop_over.as_ref().and_then(|over| over.control.index_var.clone()) {
                done.result.insert("ansible_index_var".into(), name.as_str().into());
                done.result.insert(name, index.into());
            }
            if is_told {
                one.report(verdict, &done.result);
            }
            inclusions.append(&mut done.inclusions);
            sum.add(verdict, done);
            if verdict == Verdict::Unreachable || stop || self.may_go_on().is_err() {
                break;
            }
        }
        let verdict = sum.verdict();
        if count == 0 {
            self.report(Verdict::Skipped, &skip("No items in the list").result);
        } else if inclusions.is_empty() || sum.failed {
            self.batch.send(Event::Finished { subject: self.subject.clone(), verdict, result: Results::new() });
        }
        let unknown = sum.unknown.clone();
        let result = sum.into_result(count == 0);
        let registered = match unknown {
            Some(what) => Var::Unknown(what),
            None => Var::Known(Value::Object(result.clone())),
        };
        Ended { inclusions, ..ended(verdict, result, registered) }
    }

    /// Returns the loop's items.
    pub(super) fn items(&self) -> Result<Vec<Value>, Trouble> {
        let Some(over) = &self.task.loop_over else { return Ok(Vec::new()) };
        let value = match &over.lookup {
            Some(lookup) => self.templates().looked_up(lookup, &over.items, &self.scope)?,
            None => self.templates().render(&over.items, &self.scope)?,
        };
        match value {
            Value::Array(items) => Ok(items),
            other => {
                let message = format!("a loop needs a list, not {other}");
                Err(Diagnostic::new(message).at(&over.items.place).into())
            }
        }
    }

    fn loop_var(&self) -> String {
        let control = self.task.loop_over.as_ref().map(|over| &over.control);
        control.and_then(|control| control.loop_var.clone()).unwrap_or_else(|| "item".into())
    }

    /// Returns the same task at work on one item, and whether its switches could be read.
    pub(super) fn with_item(&self, (index, all): (usize, &[Value]), item: Value) -> (Doing<'a>, Result<(), Failure>) {
        let count = all.len();
        let mut vars = Layer::new();
        let control = self.task.loop_over.as_ref().map(|over| over.control.clone()).unwrap_or_default();
        vars.insert(self.loop_var(), self.written_item(index, &item).unwrap_or_else(|| Var::Known(item.clone())));
        vars.insert("ansible_loop_var".into(), Var::Known(self.loop_var().into()));
        if let Some(name) = &control.index_var {
            vars.insert(name.clone(), Var::Known(index.into()));
            vars.insert("ansible_index_var".into(), Var::Known(name.as_str().into()));
        }
        let extended = control.extended.as_ref().map(|node| self.batch.run.switch(node, &self.scope));
        if matches!(extended, Some(Ok(true))) {
            let mut extended = json!({
                "index": index + 1, "index0": index, "first": index == 0, "last": index + 1 == count,
                "length": count, "revindex": count - index, "revindex0": count - index - 1,
            });
            let neighbours = [("previtem", index.checked_sub(1)), ("nextitem", Some(index + 1))];
            for (name, item) in neighbours.into_iter().filter_map(|(name, at)| Some((name, all.get(at?)?))) {
                extended[name] = item.clone();
            }
            let with_all = control.extended_allitems.as_ref().map(|node| self.batch.run.switch(node, &self.scope));
            if !matches!(with_all, Some(Ok(false))) {
                extended["allitems"] = Value::Array(all.to_vec());
            }
            vars.insert("ansible_loop".into(), Var::Known(extended));
        }
        let mut layers = self.layers.clone();
        layers.loop_vars = Arc::new(vars);
        let mut scope = self.batch.scope(self.host, &layers, &self.task.keywords);
        (scope.only_asks, scope.for_tasks) = (self.scope.only_asks, self.scope.for_tasks);
        let label = match &control.label {
            Some(node) => self.templates().render(node, &scope).unwrap_or(item),
            None => item,
        };
        let mut one = Doing { layers, scope, item: (index, count - index - 1), ..*self.same() };
        let switches = one.set_switches();
        let label = match (one.secrecy, label) {
            (Secrecy::Hidden, _) => "(hidden by no_log)".into(),
            (_, label) => crate::template::text(&label),
        };
        one.subject.item = Some(label);
        (one, switches)
    }

    /// Returns an item that stands as text in the playbook: what was written there may be an expression, as what a host says may
    /// not.
    fn written_item(&self, index: usize, item: &Value) -> Option<Var> {
        let over = self.task.loop_over.as_ref()?;
        let items = over.items.as_str().and_then(|text| behind(text, &self.scope)).unwrap_or(&over.items);
        let node = items.as_list()?.get(index)?;
        let is_item = item.is_string() && node.as_str() == item.as_str();
        is_item.then(|| Var::Written(node.clone()))
    }

    pub(super) fn same(&self) -> Box<Doing<'a>> {
        Box::new(Doing {
            batch: self.batch,
            task: self.task,
            host: self.host,
            layers: TaskLayers::default(),
            scope: Scope::default(),
            item: self.item,
            nth: self.nth,
            mode: self.mode,
            secrecy: self.secrecy,
            probe: self.probe,
            show_diff: self.show_diff,
            forgiven: self.forgiven,
            omitted: self.omitted.clone(),
            facts_for: self.facts_for.clone(),
            subject: self.subject.clone(),
        })
    }

    async fn pause_between(&self) {
        let pause = self.task.loop_over.as_ref().and_then(|over| over.control.pause.as_ref());
        if let Some(seconds) = pause.and_then(|node| self.number(node).ok()) {
            self.batch.run.connections.clock().tick();
            tokio::time::sleep(duration(seconds)).await;
            self.batch.run.connections.clock().tick();
        }
    }

    fn breaks(&self, done: &Done) -> bool {
        let Some(node) = self.task.loop_over.as_ref().and_then(|over| over.control.break_when.as_ref()) else {
            return false;
        };
        self.templates().condition(node, &self.scope_with(&done.result)).unwrap_or(false)
    }
}

/// A loop's results so far.
#[derive(Default)]
struct Sum {
    changed: bool,
    failed: bool,
    ignored: bool,
    unreachable: bool,
    /// At least one item did something.
    done: bool,
    unknown: Option<Arc<str>>,
    results: Vec<Value>,
}

impl Sum {
    fn add(&mut self, verdict: Verdict, done: Done) {
        self.changed |= verdict == Verdict::Changed;
        self.failed |= matches!(verdict, Verdict::Failed | Verdict::Ignored);
        self.ignored |= verdict == Verdict::Ignored;
        self.unreachable |= verdict == Verdict::Unreachable;
        self.done |= verdict != Verdict::Skipped;
        if done.unknown {
            self.unknown.get_or_insert_with(|| "the results of a loop".into());
        }
        let mut result = with_exception(done.result);
        result.entry("changed").or_insert((verdict == Verdict::Changed).into());
        result.entry("failed").or_insert(false.into());
        if verdict == Verdict::Skipped {
            result.insert("skipped".into(), true.into());
        }
        self.results.push(Value::Object(result));
    }

    fn verdict(&self) -> Verdict {
        if self.unreachable {
            return Verdict::Unreachable;
        }
        Verdict::Summed { changed: self.changed, failed: self.failed, ignored: self.ignored, skipped: !self.done }
    }

    fn into_result(self, empty: bool) -> Results {
        let message = if self.failed { "One or more items failed" } else { "All items completed" };
        let mut result = Results::new();
        result.insert("results".into(), Value::Array(self.results));
        result.insert("msg".into(), message.into());
        result.insert("changed".into(), self.changed.into());
        result.insert("failed".into(), self.failed.into());
        if empty || !self.done {
            result.insert("skipped".into(), true.into());
        }
        result
    }
}
