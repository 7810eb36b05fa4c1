//! How long each task took, below what else is printed, as Ansible's callback `profile_tasks` does it.

use std::io::{Result, Write};
use std::time::{Duration, Instant};

use super::{Recap, Reporter};
use crate::run::Event;

/// As many tasks are listed, the slowest first.
const LISTED: usize = 20;

/// Adds times to what `inner` prints.
pub struct Times<W: Write> {
    inner: Box<dyn Reporter>,
    out: W,
    tasks: Vec<(String, Duration)>,
    current: Option<(String, Instant)>,
}

impl<W: Write> Times<W> {
    pub fn new(inner: Box<dyn Reporter>, out: W) -> Times<W> {
        Times { inner, out, tasks: Vec::new(), current: None }
    }

    fn end(&mut self) {
        if let Some((name, start)) = self.current.take() {
            self.tasks.push((name, start.elapsed()));
        }
    }
}

impl<W: Write + Send> Reporter for Times<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        if let Event::TaskStarted { name, .. } = event {
            self.end();
            self.current = Some((name.clone(), Instant::now()));
        }
        self.inner.event(event)
    }

    fn finish(mut self: Box<Self>) -> Result<Recap> {
        self.end();
        let Times { inner, mut out, mut tasks, .. } = *self;
        let recap = inner.finish()?;
        writeln!(out, "\n{}", "=".repeat(79))?;
        out.write_all(table(&mut tasks).as_bytes())?;
        out.flush()?;
        Ok(recap)
    }
}

fn table(tasks: &mut [(String, Duration)]) -> String {
    tasks.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    let line = |(name, took): &(String, Duration)| {
        let seconds = format!("{:.2}s", took.as_secs_f64());
        let dashes = "-".repeat(78_usize.saturating_sub(name.chars().count() + seconds.len()).max(2));
        format!("{name} {dashes} {seconds}\n")
    };
    tasks.iter().take(LISTED).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_task_is_first() {
        let mut tasks = vec![("fast".to_string(), Duration::from_millis(10)), ("slow".into(), Duration::from_secs(2))];
        let table = table(&mut tasks);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("slow ---") && lines[0].ends_with("--- 2.00s"), "{table}");
        assert!(lines[1].ends_with("- 0.01s"));
    }
}
