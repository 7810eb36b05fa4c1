//! The fleet as one HTML page that needs nothing else: it works from a file, without a network, light and dark.

use super::markdown::html;
use crate::window::State;
use crate::window::table::{Row, sum};

const STYLE: &str = include_str!("html/fleet.css");
const SCRIPT: &str = include_str!("html/fleet.js");

/// Returns the page; `made` says when.
pub fn page(rows: &[Row], made: &str) -> String {
    let states: String = State::ALL
        .into_iter()
        .map(|state| {
            let count = rows.iter().filter(|row| row.state == state).count();
            let name = state.name();
            format!("<button data-state={name} aria-pressed=false><b>{count}</b> {name}</button>")
        })
        .collect();
    let lines: String = rows.iter().map(line).collect();
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\"><title>Cutover: the fleet</title>\
         <style>{STYLE}</style></head><body><header><h1>The fleet</h1><p>{}</p><p class=made>{}</p></header>\
         <div id=filters><input type=search placeholder=\"domain, host, trouble\" aria-label=Filter>{states}\
         <label><input type=checkbox id=trouble> with trouble only</label></div>\
         <table><thead><tr><th>Domain<th>Old → new<th>State<th>Since (UTC)<th class=n>Queue<th class=n>Relayed<th>Next</thead>\
         <tbody>{lines}</tbody></table><script>{SCRIPT}</script></body></html>\n",
        html(&sum(rows)),
        html(made),
    )
}

fn line(row: &Row) -> String {
    let step = State::ALL.iter().position(|state| *state == row.state).unwrap_or(0);
    let trouble: String = row.trouble.iter().map(|text| format!("<p class=trouble>{}</p>", html(text))).collect();
    format!(
        "<tr data-state={0}{1}><td>{2}<td>{3}<td><meter min=0 max=6 value={step} title={0}></meter> {0}<td>{4}\
         <td class=n>{5}<td class=n>{6}<td>{7}{trouble}</tr>",
        row.state.name(),
        if row.trouble.is_empty() { "" } else { " data-trouble" },
        html(&row.domain),
        html(&row.pair.replace("->", "→")),
        html(&row.since),
        html(&row.queued),
        html(&row.relayed),
        html(&row.next),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_hosts_are_no_markup() {
        let row = Row {
            domain: "<script>a</script>".into(),
            pair: "old -> new".into(),
            state: State::Moved,
            since: String::new(),
            queued: "1".into(),
            relayed: "-".into(),
            next: "draining is due".into(),
            trouble: vec!["drift: \"<b>\"".into()],
        };
        let page = page(&[row], "now");
        assert!(!page.contains("<script>a") && page.contains("&lt;script&gt;a") && page.contains("&quot;&lt;b&gt;"));
        assert!(page.contains("data-state=moved data-trouble") && page.contains("<b>1</b> moved"));
    }
}
