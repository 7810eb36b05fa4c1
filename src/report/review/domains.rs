//! The domains that a plan is about, so that a reviewer can look at one of them.

use std::collections::BTreeSet;

use crate::change::{Diff, Line};
use crate::run::plan::Plan;

/// Directories below which each domain has one of its own: Plesk's, and vpopmail's.
const HOMES: &[&str] = &["/qmail/mailnames/", "/vhosts/", "/vpopmail/domains/"];

/// Returns the names: items of loops that read as a domain, and directories of domains in what is changed.
pub fn domains(plan: &Plan) -> BTreeSet<String> {
    plan.steps.iter().flat_map(|step| of(step.item.as_deref(), &step.diffs())).collect()
}

fn of(item: Option<&str>, diffs: &[Diff]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = item.into_iter().flat_map(words).map(str::to_string).collect();
    for text in diffs.iter().flat_map(|diff| &diff.lines).map(Line::text) {
        for home in HOMES {
            found.extend(text.split(home).skip(1).filter_map(|rest| words(rest).next()).map(str::to_string));
        }
    }
    found.retain(|word| is_domain(word));
    found
}

/// Returns those of the names that a step or a block names, whole.
pub fn named<'a>(domains: &'a BTreeSet<String>, hosts: &[String], diffs: &[Diff]) -> BTreeSet<&'a str> {
    let lines = diffs.iter().flat_map(|diff| diff.lines.iter().map(|line| line.text()));
    let mut found = BTreeSet::new();
    for text in hosts.iter().cloned().chain(lines) {
        found.extend(words(&text).filter_map(|word| domains.get(word).map(String::as_str)));
    }
    found
}

/// The words that could be host names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let inner = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-');
    text.split(move |character| !inner(character)).map(|word| word.trim_matches('.')).filter(|word| !word.is_empty())
}

fn is_domain(word: &str) -> bool {
    let Some((rest, top)) = word.rsplit_once('.') else { return false };
    let top = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic()) || top.starts_with("xn--");
    top && rest.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_directories_of_domains_are_named_and_other_names_with_dots_are_not() {
        let diff = Diff { lines: vec![Line::Header("+++ /var/qmail/mailnames/b.example/info/Maildir".into())] };
        let other = Diff { lines: vec![Line::Header("+++ /etc/qmail.conf".into()), Line::Added("c.example:1".into())] };
        let (diffs, others) = ([diff], [other]);
        let found = &of(Some("a.example"), &diffs) | &of(Some("10.0.0.1"), &others);
        assert_eq!(found.iter().collect::<Vec<_>>(), ["a.example", "b.example"]);
        let mut names = named(&found, &["mx (a.example)".into()], &diffs);
        assert!(names.remove("a.example") && names.remove("b.example") && names.is_empty());
        assert!(named(&found, &[], &others).is_empty());
        assert!(named(&found, &["mx (aa.example)".into()], &[]).is_empty());
    }
}
