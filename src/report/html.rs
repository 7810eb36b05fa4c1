//! A plan as one HTML page that needs nothing else: it works from a file, without a network, light and dark.

use std::fmt::Write as _;

use super::markdown::html;
use super::review::{self, Block, Kind};
use crate::change::Line;
use crate::run::plan::Plan;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

pub fn page(plan: &Plan) -> String {
    let mut body = String::new();
    let (changes, hosts, open) = (plan.count(), plan.machines().len(), plan.open().count());
    let _ = write!(
        body,
        "<header><h1>Cutover {}</h1><p class=sum><b>{changes}</b> changes on <b>{hosts}</b> hosts, <b>{open}</b> open</p>\
         <p class=made>{}</p></header>",
        html(&plan.head.title()),
        html(&plan.head.origin()),
    );
    dangers(plan, &mut body);
    filters(plan, &mut body);
    summary(plan, &mut body);
    body.push_str("<main>");
    for task in review::tasks(plan) {
        let _ = write!(body, "<section class=task><h2>{} <small>{}</small></h2>", html(task.name), html(task.place));
        task.blocks.iter().for_each(|item| block(item, &mut body));
        body.push_str("</section>");
    }
    body.push_str("<p id=none hidden>Nothing matches.</p></main>");
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\"><title>Cutover plan</title>\
         <style>{STYLE}</style></head><body>{body}<script>{SCRIPT}</script></body></html>\n"
    )
}

fn dangers(plan: &Plan, body: &mut String) {
    let dangers = review::dangers(plan);
    if dangers.is_empty() {
        return;
    }
    let _ = write!(body, "<section class=dangers><h2>{} dangerous</h2><ul>", dangers.len());
    for (danger, hosts) in &dangers {
        let hosts: Vec<String> = hosts.iter().map(|host| host.to_string()).collect();
        let _ = write!(body, "<li>{} <small>{}</small></li>", html(danger), html(&review::named(&hosts)));
    }
    body.push_str("</ul></section>");
}

fn filters(plan: &Plan, body: &mut String) {
    let option = |text: &str| format!("<option>{}</option>", html(text));
    let hosts: String = plan.machines().into_iter().map(option).collect();
    let mut kinds: Vec<Kind> = review::counts(plan).values().flat_map(|counts| counts.kinds.keys().copied()).collect();
    kinds.sort();
    kinds.dedup();
    let kinds: String = kinds.into_iter().map(|kind| option(kind.name())).collect();
    let _ = write!(
        body,
        "<form id=filters><input id=text type=search placeholder=\"domain, path, text\" aria-label=\"text\">\
         <select id=host aria-label=\"host\"><option value=\"\">all hosts</option>{hosts}</select>\
         <select id=kind aria-label=\"kind\"><option value=\"\">all kinds</option>{kinds}</select>\
         <label><input id=dangerous type=checkbox> dangerous</label>\
         <button type=button id=fold>fold all</button><output id=count></output></form>"
    );
}

fn summary(plan: &Plan, body: &mut String) {
    body.push_str("<details class=hosts><summary>by host</summary><table>");
    for (host, counts) in review::counts(plan) {
        let cells: Vec<String> = counts.kinds.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
        let open = if counts.open > 0 { format!("{} open", counts.open) } else { String::new() };
        let _ = write!(body, "<tr><th>{}</th><td>{}</td><td>{open}</td></tr>", html(host), cells.join(", "));
    }
    body.push_str("</table></details>");
}

fn block(block: &Block<'_>, body: &mut String) {
    let mut kinds: Vec<&str> = block.kinds.iter().map(|kind| kind.name()).collect();
    kinds.dedup();
    let lines = || block.diffs.iter().flat_map(|diff| &diff.lines);
    let dangerous = lines().any(|line| review::danger(line).is_some());
    let machines: Vec<&str> = block.hosts.iter().map(|host| machine(host)).collect();
    let _ = write!(
        body,
        "<details open class=block data-hosts=\"{}\" data-kinds=\"{}\"{}>",
        html(&machines.join("\n")),
        html(&kinds.join("\n")),
        if dangerous { " data-dangerous" } else { "" }
    );
    let count = match block.hosts.len() {
        1 => String::new(),
        count => format!("<b>same on {count}:</b> "),
    };
    let badge = if dangerous { " <mark>dangerous</mark>" } else { "" };
    let all = html(&block.hosts.join(", "));
    let user = block.user.as_ref().map(|user| format!(" <small>as {}</small>", html(user))).unwrap_or_default();
    let _ =
        write!(body, "<summary title=\"{all}\">{count}{}{user}{badge}</summary>", html(&review::named(&block.hosts)));
    if let Some(why) = block.open {
        let _ = write!(body, "<p class=open>only a run can decide this: {}</p>", html(why));
    }
    if block.diffs.is_empty() {
        body.push_str("</details>");
        return;
    }
    body.push_str("<pre>");
    for line in lines() {
        let class = match line {
            Line::Header(_) => "h",
            Line::Context(_) => "c",
            Line::Removed(_) => "r",
            Line::Added(_) => "a",
            Line::Warning(_) => "w",
        };
        let _ = write!(body, "<span class={class}>{}</span>", html(&line.text()));
    }
    body.push_str("</pre></details>");
}

/// Returns the machine of a block's `HOST`, `HOST -> MACHINE`, perhaps with an item behind it.
fn machine(host: &str) -> &str {
    let host = host.split_once(" (").map_or(host, |(host, _)| host);
    host.split_once(" -> ").map_or(host, |(_, machine)| machine)
}
