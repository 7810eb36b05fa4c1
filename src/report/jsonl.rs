//! A run for programs: one JSON object a line, as docs/events.md says.

use std::io::{Result, Write};

use serde_json::{Map, Value, json};

use super::{Recap, Reporter};
use crate::change::Diff;
use crate::run::{Event, Interrupted, Mode, Subject, TaskKind, Uncertain, Verdict};

/// Grows when a reader of an older one would misread a line.
const FORMAT: u32 = 1;

/// Writes events as they come. A field may be added to any of them, and so may further events.
pub struct JsonLines<W: Write> {
    out: W,
    mode: Mode,
    recap: Recap,
}

impl<W: Write> JsonLines<W> {
    /// Begins with a line that says what runs.
    pub fn new(out: W, mode: Mode, name: &str) -> Result<JsonLines<W>> {
        let mut lines = JsonLines { out, mode, recap: Recap::default() };
        let version = env!("CARGO_PKG_VERSION");
        lines.write("run", json!({"format": FORMAT, "version": version, "mode": word(mode), "name": name}))?;
        Ok(lines)
    }

    fn write(&mut self, event: &str, fields: Value) -> Result<()> {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut line = Map::from_iter([("event".to_string(), event.into()), ("time".to_string(), time.into())]);
        if let Value::Object(fields) = fields {
            line.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

impl<W: Write + Send> Reporter for JsonLines<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.recap.add(event);
        let (name, fields) = told(event, self.mode);
        self.write(name, fields)
    }

    fn finish(mut self: Box<Self>) -> Result<Recap> {
        let recap = std::mem::take(&mut self.recap);
        let hosts = recap.hosts.iter().map(|(host, counts)| {
            let counts = json!({
                "ok": counts.ok, "changed": counts.changed, "unreachable": counts.unreachable, "failed": counts.failed,
                "skipped": counts.skipped, "rescued": counts.rescued, "ignored": counts.ignored,
                "unknown": counts.unknown,
            });
            (host.clone(), counts)
        });
        let hosts: Map<String, Value> = hosts.collect();
        self.write("recap", json!({"hosts": hosts, "exit_code": recap.exit_code()}))?;
        Ok(recap)
    }
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Check => "check",
        Mode::Apply => "apply",
    }
}

/// Returns an event's name and fields.
fn told(event: &Event, mode: Mode) -> (&'static str, Value) {
    match event {
        Event::PlaybookStarted { path, plays } => ("playbook", json!({"path": path, "plays": plays})),
        Event::PlayStarted { name } => ("play", json!({"name": name})),
        Event::Meta { skipped, word, text, .. } => ("meta", json!({"word": word, "text": text, "skipped": skipped})),
        Event::ReservedName { name, place } => {
            ("warning", json!({"text": format!("Found variable using reserved name '{name}'."), "place": place}))
        }
        Event::PlayWithoutHosts => ("no_hosts", json!({})),
        Event::TaskStarted { hosts, kind, name, place, .. } => {
            let kind = if *kind == TaskKind::Handler { "handler" } else { "task" };
            ("task", json!({"kind": kind, "name": name, "place": place, "hosts": hosts}))
        }
        Event::Planned { subject, diffs } => {
            ("planned", of(subject, json!({"diffs": diffs.iter().map(Diff::texts).collect::<Vec<_>>()})))
        }
        Event::Decided { subject, why } => ("decided", of(subject, json!({"why": why}))),
        Event::Progress { subject, progress } => {
            let fields = json!({
                "messages": progress.messages, "bytes": progress.bytes,
                "total_messages": progress.total_messages, "total_bytes": progress.total_bytes,
                "seconds": progress.elapsed.as_secs_f64(),
            });
            ("progress", of(subject, fields))
        }
        Event::Finished { subject, verdict, result } => {
            let summed = matches!(verdict, Verdict::Summed { .. });
            let verdict = verdict_word(*verdict, mode);
            ("finished", of(subject, json!({"verdict": verdict, "loop": summed.then_some(true), "result": result})))
        }
        Event::Retrying { subject, name, left } => ("retrying", of(subject, json!({"name": name, "left": left}))),
        Event::Included { what, item, hosts } => ("included", json!({"what": what, "item": item, "hosts": hosts})),
        Event::Rescued { host } => ("rescued", json!({"host": host})),
        Event::Uncertain(Uncertain { host, task, change, why, found }) => {
            ("uncertain", json!({"host": host, "task": task, "change": change, "why": why, "found": found}))
        }
        Event::Interrupted(Interrupted { unfinished, not_begun, living }) => {
            let living: Vec<Value> = living.iter().map(|(host, what)| json!({"host": host, "what": what})).collect();
            ("interrupted", json!({"unfinished": unfinished, "not_begun": not_begun, "living": living}))
        }
        Event::Warning(text) => ("warning", json!({"text": text})),
        Event::Weakened { why, hosts } => ("weakened", json!({"why": why, "hosts": hosts})),
    }
}

fn of(subject: &Subject, fields: Value) -> Value {
    let mut all = json!({"host": subject.host, "delegate": subject.delegate, "item": subject.item});
    if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
        all.extend(fields);
    }
    all
}

/// Returns the word for an end; that of a loop is the worst of its items'.
fn verdict_word(verdict: Verdict, mode: Mode) -> &'static str {
    let changed = if mode == Mode::Check { "would_change" } else { "changed" };
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Changed => changed,
        Verdict::Skipped | Verdict::Summed { skipped: true, .. } => "skipped",
        Verdict::Ignored | Verdict::Summed { failed: true, ignored: true, .. } => "ignored",
        Verdict::Failed | Verdict::Summed { failed: true, .. } => "failed",
        Verdict::Unreachable => "unreachable",
        Verdict::Unknown => "unknown",
        Verdict::Summed { changed: true, .. } => changed,
        Verdict::Summed { .. } => "ok",
    }
}
