//! A plan as Markdown, for a comment on a merge request.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::review::{self, Block, KINDS};
use crate::change::Line;
use crate::provenance::Source;
use crate::run::plan::Plan;

/// More lines than this are folded.
const LONG: usize = 40;

pub fn page(plan: &Plan) -> String {
    let mut text = String::new();
    let (changes, hosts) = (plan.count(), plan.machines().len());
    let _ = writeln!(text, "## Cutover plan: {changes} changes on {hosts} hosts\n");
    let _ = writeln!(text, "{}\n", escaped(&plan.origin()));
    let dangers = review::dangers(plan);
    if !dangers.is_empty() {
        let _ = writeln!(text, "### {} dangerous\n", dangers.len());
        for (danger, hosts) in &dangers {
            let _ = writeln!(text, "- :warning: {} ({})", escaped(danger), review::named(hosts));
        }
        text.push('\n');
    }
    if !plan.head.warnings.is_empty() {
        let _ = writeln!(text, "### Tasks that fight\n");
        plan.head.warnings.iter().for_each(|warning| {
            let _ = writeln!(text, "- {}", escaped(warning));
        });
        text.push('\n');
    }
    let open = review::open(plan);
    if !open.is_empty() {
        let _ = writeln!(text, "### Only a run can decide\n");
        for (step, why, hosts) in open {
            let _ =
                writeln!(text, "- {} (`{}`) on {}: {}", escaped(&step.name), step.place, hosts.short(), escaped(why));
        }
        text.push('\n');
    }
    table(plan, &mut text);
    for task in review::tasks(plan) {
        let _ = writeln!(text, "### {}\n\n`{}`\n", escaped(task.name), task.place);
        if let Some(differing) = task.differing() {
            let _ = writeln!(text, "{}\n", escaped(&differing));
        }
        task.blocks.iter().for_each(|item| block(item, &mut text));
    }
    sources(plan, &mut text);
    text
}

/// One line a host, with a column for each kind that there is.
fn table(plan: &Plan, text: &mut String) {
    let sums = review::sums(plan);
    let columns: Vec<_> = KINDS.iter().filter(|(kind, ..)| sums.values().any(|sum| sum.count(*kind) > 0)).collect();
    if sums.is_empty() {
        return;
    }
    let mail = sums.values().any(|sum| sum.messages > 0);
    let names: String = columns.iter().map(|(_, _, name)| format!(" {name} |")).collect();
    let (head, rule) = if mail { (" messages |", "---:|") } else { ("", "") };
    let _ = writeln!(
        text,
        "| host | dangers |{names}{head} open |\n|---|---:|{}{rule}---:|",
        "---:|".repeat(columns.len())
    );
    for (host, sum) in &sums {
        let cells: String = columns.iter().map(|(kind, ..)| format!(" {} |", sum.count(*kind))).collect();
        let mail = match (mail, sum.messages) {
            (true, 0) => " 0 |".into(),
            (true, messages) => format!(" {messages} ({}) |", HumanBytes(sum.bytes)),
            (false, _) => String::new(),
        };
        let _ = writeln!(text, "| {host} | {} |{cells}{mail} {} |", sum.dangers, sum.open);
    }
    text.push('\n');
}

fn block(block: &Block<'_>, text: &mut String) {
    let lines: Vec<String> = block.lines().map(Line::text).collect();
    // All of them: who approves has to know for which.
    let title = block.title(&block.whom.full());
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

/// What the plan was made from, folded: files with their digests, hosts with their keys.
fn sources(plan: &Plan, text: &mut String) {
    let keys = review::sums(plan).into_iter().filter_map(|(host, sum)| Some((host.to_string(), sum.key?.to_string())));
    let digest = |source: &Source| source.sha256.clone().unwrap_or_else(|| format!("{} bytes", source.size));
    let files = plan.sources.iter().map(|source| (source.path.clone(), digest(source)));
    let rows: Vec<_> = files.chain(keys).collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "<details><summary>made from</summary>\n\n| file or host | SHA-256 or key |\n|---|---|");
    for (name, proof) in rows {
        let _ = writeln!(text, "| {} | `{proof}` |", escaped(&name));
    }
    let _ = writeln!(text, "\n</details>");
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
