//! A run as one JSON document at its end, as Ansible's callback `json` prints it.

use std::io::{Result, Write};

use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::{Recap, Reporter};
use crate::run::{Event, Verdict};

/// Keeps plays, tasks and results until the run is over.
pub struct Whole<W: Write> {
    out: W,
    plays: Vec<Value>,
    recap: Recap,
}

impl<W: Write> Whole<W> {
    pub fn new(out: W) -> Whole<W> {
        Whole { out, plays: Vec::new(), recap: Recap::default() }
    }

    fn last_task(&mut self) -> Option<&mut Value> {
        self.plays.last_mut()?.get_mut("tasks")?.as_array_mut()?.last_mut()
    }
}

impl<W: Write + Send> Reporter for Whole<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.recap.add(event);
        match event {
            Event::PlayStarted { name } => self.plays.push(json!({"play": {"name": name}, "tasks": []})),
            Event::TaskStarted { name, place, .. } => {
                let task = json!({"hosts": {}, "task": {"name": name, "path": place}});
                if let Some(Value::Array(tasks)) = self.plays.last_mut().and_then(|play| play.get_mut("tasks")) {
                    tasks.push(task);
                }
            }
            Event::Finished { subject, verdict, result } if subject.item.is_none() => {
                let mut result = result.clone();
                result.entry("changed").or_insert((*verdict == Verdict::Changed).into());
                if *verdict == Verdict::Skipped {
                    result.insert("skipped".into(), true.into());
                }
                if *verdict == Verdict::Unreachable {
                    result.insert("unreachable".into(), true.into());
                }
                if let Some(Value::Object(hosts)) = self.last_task().and_then(|task| task.get_mut("hosts")) {
                    hosts.insert(subject.host.clone(), Value::Object(result));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Recap> {
        let stats: Map<String, Value> = self.recap.hosts.iter().map(|(host, counts)| {
            let counts = json!({
                "ok": counts.ok, "changed": counts.changed, "unreachable": counts.unreachable, "failures": counts.failed,
                "skipped": counts.skipped, "rescued": counts.rescued, "ignored": counts.ignored,
            });
            (host.clone(), counts)
        }).collect();
        let custom: Map<String, Value> =
            self.recap.stats.iter().map(|(name, told)| (name.clone(), Value::Object(told.clone()))).collect();
        let mut whole = json!({"custom_stats": custom, "plays": self.plays, "stats": stats});
        whole.sort_all_objects();
        let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        whole.serialize(&mut serde_json::Serializer::with_formatter(&mut self.out, form))?;
        writeln!(self.out)?;
        self.out.flush()?;
        Ok(self.recap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Subject, TaskKind};

    #[test]
    fn a_run_is_one_document() {
        let mut out = Vec::new();
        let mut whole = Box::new(Whole::new(&mut out));
        let subject = Subject { host: "mx".into(), delegate: None, item: None };
        let started = Event::TaskStarted {
            hosts: 1,
            kind: TaskKind::Task,
            name: "look".into(),
            place: "site.yml:3".into(),
            speaks: false,
            written: None,
        };
        let result = Map::from_iter([("rc".to_string(), json!(0))]);
        for event in [
            Event::PlayStarted { name: "all".into() },
            started,
            Event::Finished { subject, verdict: Verdict::Changed, result },
        ] {
            whole.event(&event).unwrap();
        }
        whole.finish().unwrap();
        let read: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["plays"][0]["tasks"][0]["hosts"]["mx"], json!({"changed": true, "rc": 0}));
        assert_eq!((&read["stats"]["mx"]["changed"], &read["stats"]["mx"]["failures"]), (&json!(1), &json!(0)));
    }
}
