//! A plan as one HTML page that needs nothing else: it works from a file, without a network, light and dark.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::markdown::html;
use super::review::{self, Block, Kind, Task, domains};
use crate::change::Line;
use crate::run::plan::Plan;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
/// With more blocks than this, those that are dangerous or the first of their task are open at first.
const MANY: usize = 40;

pub fn page(plan: &Plan) -> String {
    let page = Page { plan, tasks: review::tasks(plan), domains: domains::domains(plan) };
    let title = html(&plan.head.title());
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\"><title>Cutover {title}</title>\
         <style>{STYLE}</style></head><body>{}<script>{SCRIPT}</script></body></html>\n",
        page.body(),
    )
}

struct Page<'a> {
    plan: &'a Plan,
    tasks: Vec<Task<'a>>,
    domains: BTreeSet<String>,
}

impl Page<'_> {
    fn body(&self) -> String {
        let mut body = String::new();
        let plan = self.plan;
        let dangers = review::dangers(plan).len();
        let number =
            |count: usize, one: &str, many: &str| format!("<b>{count}</b> {}", if count == 1 { one } else { many });
        let sums = [
            (dangers, number(dangers, "danger", "dangers")),
            (1, number(plan.count(), "change", "changes")),
            (1, number(plan.machines().len(), "host", "hosts")),
            (self.domains.len(), number(self.domains.len(), "domain", "domains")),
            (
                plan.open().count(),
                number(plan.open().count(), "step that only a run can decide", "steps that only a run can decide"),
            ),
        ];
        let sums: Vec<String> = sums.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
        let _ = write!(
            body,
            "<header><h1>Cutover {}</h1><p class=sum>{}</p><p class=made>{}</p></header>",
            html(&plan.head.title()),
            sums.join(" · "),
            html(&plan.origin()),
        );
        self.dangers(&mut body);
        if !self.plan.head.warnings.is_empty() {
            let items = self.plan.head.warnings.iter().map(|warning| format!("<li>{}</li>", html(warning)));
            let _ = write!(
                body,
                "<section class=dangers><h2>Tasks that fight</h2><ul>{}</ul></section>",
                items.collect::<String>()
            );
        }
        self.filters(&mut body);
        body.push_str("<div class=index>");
        self.hosts(&mut body);
        self.by_domain(&mut body);
        self.sources(&mut body);
        body.push_str("</div><main>");
        let many = self.tasks.iter().map(|task| task.blocks.len()).sum::<usize>() > MANY;
        for task in &self.tasks {
            let _ =
                write!(body, "<section class=task><h2>{} <small>{}</small></h2>", html(task.name), html(task.place));
            if let Some(differing) = task.differing() {
                let _ = write!(body, "<p class=differing>{}</p>", html(&differing));
            }
            for (index, item) in task.blocks.iter().enumerate() {
                self.block(item, !many || index == 0, &mut body);
            }
            body.push_str("</section>");
        }
        body.push_str("<p id=none hidden>Nothing matches.</p></main>");
        body
    }

    fn dangers(&self, body: &mut String) {
        let dangers = review::dangers(self.plan);
        if dangers.is_empty() {
            return;
        }
        let _ = write!(body, "<section class=dangers><h2>{} dangerous</h2><ul>", dangers.len());
        for (danger, hosts) in &dangers {
            let _ = write!(body, "<li>{} <small>{}</small></li>", html(danger), html(&review::named(hosts)));
        }
        body.push_str("</ul></section>");
    }

    fn filters(&self, body: &mut String) {
        let options = |names: &mut dyn Iterator<Item = &str>| -> String {
            names.map(|name| format!("<option>{}</option>", html(name))).collect()
        };
        let hosts = options(&mut self.plan.machines().into_iter());
        let domains = options(&mut self.domains.iter().map(String::as_str));
        let mut kinds: Vec<Kind> = self.plan.steps.iter().flat_map(review::kinds).collect();
        kinds.sort();
        kinds.dedup();
        let kinds = options(&mut kinds.into_iter().map(Kind::name));
        let hidden = if self.domains.is_empty() { " hidden" } else { "" };
        let _ = write!(
            body,
            "<form id=filters><input id=text type=search placeholder=\"path, text, task\" aria-label=\"text\">\
             <select id=host aria-label=\"host\"><option value=\"\">all hosts</option>{hosts}</select>\
             <select id=domain aria-label=\"domain\"{hidden}><option value=\"\">all domains</option>{domains}</select>\
             <select id=kind aria-label=\"kind\"><option value=\"\">all kinds</option>{kinds}</select>\
             <label><input id=dangerous type=checkbox> dangerous</label>\
             <button type=button id=fold>fold all</button><output id=count></output></form>"
        );
    }

    fn hosts(&self, body: &mut String) {
        body.push_str("<details class=by><summary>by host</summary><table>");
        for (host, sum) in review::sums(self.plan) {
            let key = sum.key.map(|key| format!("<code>{}</code>", html(key))).unwrap_or_default();
            let host = html(host);
            let _ = write!(
                body,
                "<tr><th><a href=\"#\" data-host=\"{host}\">{host}</a></th><td>{}</td><td>{key}</td></tr>",
                html(&sum.text())
            );
        }
        body.push_str("</table></details>");
    }

    fn by_domain(&self, body: &mut String) {
        let mut blocks: BTreeMap<&str, usize> = BTreeMap::new();
        for block in self.tasks.iter().flat_map(|task| &task.blocks) {
            for domain in self.named(block) {
                *blocks.entry(domain).or_default() += 1;
            }
        }
        if blocks.is_empty() {
            return;
        }
        body.push_str("<details class=by><summary>by domain</summary><ul class=columns>");
        for (domain, count) in blocks {
            let domain = html(domain);
            let _ = write!(body, "<li><a href=\"#\" data-domain=\"{domain}\">{domain}</a> <small>{count}</small></li>");
        }
        body.push_str("</ul></details>");
    }

    fn sources(&self, body: &mut String) {
        if self.plan.sources.is_empty() {
            return;
        }
        body.push_str("<details class=by><summary>made from</summary><table>");
        for source in &self.plan.sources {
            let proof = source.sha256.as_ref().map(|digest| format!("<code>{}</code>", html(digest)));
            let proof = proof.unwrap_or_else(|| format!("{} bytes", source.size));
            let _ = write!(body, "<tr><th>{}</th><td>{proof}</td></tr>", html(&source.path));
        }
        body.push_str("</table></details>");
    }

    fn named(&self, block: &Block<'_>) -> BTreeSet<&str> {
        domains::named(&self.domains, &block.whom.each(), &block.diffs)
    }

    fn block(&self, block: &Block<'_>, open: bool, body: &mut String) {
        let mut kinds: Vec<&str> = block.kinds.iter().map(|kind| kind.name()).collect();
        kinds.dedup();
        let dangerous = block.lines().any(|line| review::danger(line).is_some());
        let domains: Vec<&str> = self.named(block).into_iter().collect();
        let _ = write!(
            body,
            "<details{} class=block data-host=\"{}\" data-domain=\"{}\" data-kind=\"{}\"{}>",
            if open || dangerous { " open" } else { "" },
            html(&block.machines.join("\n")),
            html(&domains.join("\n")),
            html(&kinds.join("\n")),
            if dangerous { " data-dangerous" } else { "" }
        );
        let badge = if dangerous { " <mark>dangerous</mark>" } else { "" };
        let (all, title) = (html(&block.whom.full()), html(&block.title(&block.whom.short())));
        let _ = write!(body, "<summary title=\"{all}\">{title}{badge}</summary>");
        if let Some(why) = block.open {
            let _ = write!(body, "<p class=open>only a run can decide this: {}</p>", html(why));
        }
        if block.whom.short() != block.whom.full() {
            let _ =
                write!(body, "<details class=all><summary>all {}</summary>{all}</details>", html(&block.whom.count()));
        }
        if !block.diffs.is_empty() {
            body.push_str("<pre>");
            for line in block.lines() {
                let class = match line {
                    Line::Header(_) => "h",
                    Line::Context(_) => "c",
                    Line::Removed(_) => "r",
                    Line::Added(_) => "a",
                    Line::Warning(_) => "w",
                };
                let _ = write!(body, "<span class={class}>{}</span>", html(&line.text()));
            }
            body.push_str("</pre>");
        }
        body.push_str("</details>");
    }
}
