//! What happened to each host, in numbers, and the exit code they amount to.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::run::{Event, Verdict};

/// Counts per host, in the order hosts were first heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recap {
    pub hosts: IndexMap<String, Counts>,
    /// What `set_stats` has told of the run as a whole, by `RUN`, and of hosts.
    pub stats: IndexMap<String, Map<String, Value>>,
    /// What the first failure says, in one line: `HOST: message`.
    pub failure: Option<String>,
}

/// What the statistics of a whole run stand by.
pub const RUN: &str = "_run";

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
    /// How many of `failed` and of `unreachable` `meta: clear_host_errors` has forgotten.
    pub forgotten: (u32, u32),
}

impl Recap {
    pub fn add(&mut self, event: &Event) {
        if let Event::Finished { subject, result, .. } = event
            && let Some(told) = result.get("ansible_stats")
        {
            self.add_stats(&subject.host, told);
        }
        if let Event::Finished { subject, verdict: Verdict::Failed | Verdict::Unreachable, result } = event {
            let message = result.get("msg").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or("failed");
            let line = message.lines().next().unwrap_or_default();
            self.failure.get_or_insert_with(|| format!("{}: {line}", subject.host));
        }
        match event {
            // The sum of a loop counts, its items do not.
            Event::Finished { subject, verdict, result } if subject.item.is_none() => {
                let counts = self.hosts.entry(subject.host.clone()).or_default();
                counts.add(*verdict);
                // What has failed and is ignored may have changed something all the same, as a command has.
                let has_changed = *verdict == Verdict::Ignored && result.get("changed") == Some(&Value::Bool(true));
                counts.changed += u32::from(has_changed);
            }
            Event::Rescued { host } => {
                let counts = self.hosts.entry(host.clone()).or_default();
                counts.rescued += 1;
                counts.failed = counts.failed.saturating_sub(1);
            }
            Event::Meta { skipped: None, word, .. } if word == "clear_host_errors" => {
                self.hosts.values_mut().for_each(|counts| counts.forgotten = (counts.failed, counts.unreachable));
            }
            Event::Included { hosts, .. } => {
                hosts.iter().for_each(|host| self.hosts.entry(host.clone()).or_default().ok += 1);
            }
            _ => {}
        }
    }

    fn add_stats(&mut self, host: &str, told: &Value) {
        let is = |name: &str| told.get(name).and_then(Value::as_bool).unwrap_or(false);
        let known = self.stats.entry(if is("per_host") { host.into() } else { RUN.into() }).or_default();
        for (name, value) in told.get("data").and_then(Value::as_object).into_iter().flatten() {
            match known.get_mut(name).filter(|_| is("aggregate")) {
                Some(before) => aggregate(before, value),
                None => drop(known.insert(name.clone(), value.clone())),
            }
        }
    }

    /// 0, 2 where a host failed, 4 where one was unreachable (`ansible-playbook(1)`).
    pub fn exit_code(&self) -> u8 {
        let any = |lost: fn(&Counts) -> bool| self.hosts.values().any(lost);
        match (any(|counts| counts.failed > counts.forgotten.0), any(|counts| counts.unreachable > counts.forgotten.1))
        {
            (true, _) => 2,
            (false, true) => 4,
            (false, false) => 0,
        }
    }
}

/// Adds to what was told before: maps are merged, numbers summed, lists and texts continued; another type is left out, as by
/// Ansible.
fn aggregate(before: &mut Value, more: &Value) {
    match (before, more) {
        (Value::Object(before), Value::Object(more)) => {
            for (name, value) in more {
                match before.get_mut(name) {
                    Some(Value::Object(known)) if value.is_object() => {
                        let mut inner = Value::Object(std::mem::take(known));
                        aggregate(&mut inner, value);
                        before.insert(name.clone(), inner);
                    }
                    _ => drop(before.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(before), Value::Array(more)) => before.extend(more.iter().cloned()),
        (Value::String(before), Value::String(more)) => before.push_str(more),
        (Value::Number(before), Value::Number(more)) => {
            let whole = before.as_i64().zip(more.as_i64()).and_then(|(one, other)| one.checked_add(other));
            let float = || serde_json::Number::from_f64(before.as_f64()? + more.as_f64()?);
            if let Some(sum) = whole.map(Into::into).or_else(float) {
                *before = sum;
            }
        }
        _ => {}
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statistics_are_added_up_or_replaced() {
        let mut recap = Recap::default();
        let mut told = |data: Value, per_host: bool, aggregate: bool| {
            recap.add_stats("mx", &json!({"data": data, "per_host": per_host, "aggregate": aggregate}));
        };
        told(json!({"n": 1, "list": [1], "map": {"a": {"x": 1}}, "odd": "text"}), false, true);
        told(json!({"n": 2, "list": [2], "map": {"a": {"y": 2}, "b": 1}, "odd": 7}), false, true);
        told(json!({"list": [3]}), false, false);
        told(json!({"n": 1.5}), true, true);
        assert_eq!(
            json!(recap.stats),
            json!({"_run": {"n": 3, "list": [3], "map": {"a": {"x": 1, "y": 2}, "b": 1}, "odd": "text"}, "mx": {"n": 1.5}})
        );
    }
}
