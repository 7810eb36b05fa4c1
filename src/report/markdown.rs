//! A plan as Markdown, for a comment on a merge request.

use std::fmt::Write as _;

use super::review::{self, Block, KINDS, Kind};
use crate::change::Line;
use crate::run::plan::Plan;

/// More lines than this are folded.
const LONG: usize = 40;

pub fn page(plan: &Plan) -> String {
    let mut text = String::new();
    let (changes, hosts) = (plan.count(), plan.machines().len());
    let _ = writeln!(text, "## Cutover plan: {changes} changes on {hosts} hosts\n");
    let _ = writeln!(text, "{}\n", escaped(&plan.head.origin()));
    let dangers = review::dangers(plan);
    if !dangers.is_empty() {
        let _ = writeln!(text, "### {} dangerous\n", dangers.len());
        for (danger, hosts) in &dangers {
            let hosts: Vec<String> = hosts.iter().map(|host| host.to_string()).collect();
            let _ = writeln!(text, "- :warning: {} ({})", escaped(danger), review::named(&hosts));
        }
        text.push('\n');
    }
    let open = review::open(plan);
    if !open.is_empty() {
        let _ = writeln!(text, "### Only a run can decide\n");
        for (step, why, hosts) in open {
            let _ = writeln!(
                text,
                "- {} (`{}`) on {}: {}",
                escaped(&step.name),
                step.place,
                review::named(&hosts),
                escaped(why)
            );
        }
        text.push('\n');
    }
    table(plan, &mut text);
    for task in review::tasks(plan) {
        let _ = writeln!(text, "### {}\n\n`{}`\n", escaped(task.name), task.place);
        task.blocks.iter().for_each(|item| block(item, &mut text));
    }
    text
}

/// One line a host, with a column for each kind that there is.
fn table(plan: &Plan, text: &mut String) {
    let counts = review::counts(plan);
    let used = |kind: &Kind| counts.values().any(|host| host.kinds.contains_key(kind));
    let columns: Vec<_> = KINDS.iter().filter(|(kind, _)| used(kind)).collect();
    if counts.is_empty() {
        return;
    }
    let names: String = columns.iter().map(|(_, name)| format!(" {name} |")).collect();
    let _ = writeln!(text, "| host |{names} open |\n|---|{}---:|", "---:|".repeat(columns.len()));
    for (host, counts) in &counts {
        let cell = |kind: &Kind| counts.kinds.get(kind).copied().unwrap_or(0);
        let cells: String = columns.iter().map(|(kind, _)| format!(" {} |", cell(kind))).collect();
        let _ = writeln!(text, "| {host} |{cells} {} |", counts.open);
    }
    text.push('\n');
}

fn block(block: &Block<'_>, text: &mut String) {
    let lines: Vec<String> = block.diffs.iter().flat_map(|diff| diff.lines.iter().map(Line::text)).collect();
    let same = if block.hosts.len() > 1 { format!("same on {} hosts: ", block.hosts.len()) } else { String::new() };
    // All of them: who approves has to know for which.
    let user = block.user.as_ref().map(|user| format!(" (as {user})")).unwrap_or_default();
    let title = format!("{same}{}{user}", block.hosts.join(", "));
    if let Some(why) = block.open {
        let _ = writeln!(text, "**{}**: {}\n", escaped(&title), escaped(why));
    }
    if lines.is_empty() {
        return;
    }
    // A fence that nothing in it can close.
    let longest = lines.iter().map(|line| line.matches('`').count()).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let open = if lines.len() > LONG { "" } else { " open" };
    let _ = writeln!(text, "<details{open}><summary>{}</summary>\n", html(&title));
    let _ = writeln!(text, "{fence}diff\n{}\n{fence}\n\n</details>\n", lines.join("\n"));
}

/// Takes their meaning from the characters that Markdown gives one.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if "\\`*_{}[]<>#|!~".contains(character) {
            escaped.push('\\');
        }
        escaped.push(if character == '\n' { ' ' } else { character });
    }
    escaped
}

/// Takes their meaning from the characters that HTML gives one.
pub fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
