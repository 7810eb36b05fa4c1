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

/// Returns those of the names that changes are about: those of the items, or else those in what is changed.
pub fn named<'a>(domains: &'a BTreeSet<String>, whom: &[String], diffs: &[Diff]) -> BTreeSet<&'a str> {
    let known =
        |text: &str| -> Vec<&'a str> { words(text).filter_map(|word| domains.get(word).map(String::as_str)).collect() };
    let of_items: BTreeSet<&str> = whom.iter().flat_map(|text| known(text)).collect();
    if !of_items.is_empty() {
        return of_items;
    }
    let lines = diffs.iter().flat_map(|diff| &diff.lines).filter(|line| !matches!(line, Line::Context(_)));
    lines.flat_map(|line| known(&line.text())).collect()
}

/// The words that could be host names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let inner = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-');
    text.split(move |character| !inner(character)).map(|word| word.trim_matches('.')).filter(|word| !word.is_empty())
}

/// Says whether a word reads as the name of a domain, and not as an address or a file.
pub(super) fn is_domain(word: &str) -> bool {
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
        assert_eq!(named(&found, &["mx (a.example)".into()], &diffs), BTreeSet::from(["a.example"]));
        assert_eq!(named(&found, &["mx".into()], &diffs), BTreeSet::from(["b.example"]));
        assert!(named(&found, &[], &others).is_empty());
        assert!(named(&found, &["mx (aa.example)".into()], &[]).is_empty());
    }
}
