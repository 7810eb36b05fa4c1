//! A plan on a terminal: what is dangerous, then each task with what it changes, then what that comes to on each host.

use std::io::{Result, Write};

use anstyle::AnsiColor;

use super::human::{banner, color, paint};
use super::review::{self, Block};
use crate::run::plan::Plan;

/// Prints the plan.
pub fn print(plan: &Plan, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{}\n{}", plan.head.title(), plan.origin())?;
    let dangers = review::dangers(plan);
    if !dangers.is_empty() {
        writeln!(out, "{}", paint(AnsiColor::Magenta, &format!("\n{} dangerous:", dangers.len())))?;
    }
    for (danger, hosts) in &dangers {
        let text = format!("! {danger}: {}", review::named(hosts));
        writeln!(out, "{}", paint(AnsiColor::Magenta, &text))?;
    }
    for warning in &plan.head.warnings {
        writeln!(out, "{}", paint(AnsiColor::Magenta, &format!("[WARNING]: {warning}")))?;
    }
    for task in review::tasks(plan) {
        banner(out, &format!("TASK [{}]", task.name))?;
        writeln!(out, "task path: {}", task.place)?;
        if let Some(text) = task.differing() {
            writeln!(out, "{}", paint(AnsiColor::Cyan, &text))?;
        }
        task.blocks.iter().try_for_each(|item| block(item, out))?;
    }
    banner(out, "PLAN RECAP")?;
    for (host, sum) in review::sums(plan) {
        let color = if sum.dangers > 0 { AnsiColor::Magenta } else { AnsiColor::Yellow };
        let key = sum.key.map(|key| format!("  {key}")).unwrap_or_default();
        writeln!(out, "{} : {}{key}", paint(color, &format!("{host:<26}")), sum.text())?;
    }
    Ok(())
}

fn block(block: &Block<'_>, out: &mut impl Write) -> Result<()> {
    for line in block.lines() {
        match color(line) {
            Some(color) => writeln!(out, "{}", paint(color, &line.text()))?,
            None => writeln!(out, "{}", line.text())?,
        }
    }
    let title = block.title(&block.whom.short());
    match block.open {
        Some(why) => writeln!(out, "{}", paint(AnsiColor::Magenta, &format!("unknown: {title} => {why}"))),
        None => writeln!(out, "{}", paint(AnsiColor::Yellow, &format!("would change: {title}"))),
    }
}
