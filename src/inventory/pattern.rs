//! A host pattern: `web:&new:!mx1`, `mx*.example.com`, `~mx\d+`, `web[0]`.

use std::net::Ipv6Addr;
use std::path::Path;

use fancy_regex::Regex;
use indexmap::IndexSet;

use crate::error::{Diagnostic, Diagnostics};
use crate::regex;
use crate::vars::files;

use super::{Inventory, LOCALHOST};

/// Splits a pattern at commas, and at colons outside of brackets that are not part of an address.
pub(super) fn split(inventory: &Inventory, pattern: &str) -> Vec<String> {
    let parts = pattern.split(',').map(str::trim).flat_map(|part| {
        let host = part.trim_start_matches(['!', '&']);
        if inventory.hosts.contains_key(host) || host.parse::<Ipv6Addr>().is_ok() {
            vec![part]
        } else {
            at_colons(part)
        }
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// As [`split`], with the patterns of a file's lines in place of `@FILE`.
pub(super) fn split_limit(inventory: &Inventory, limit: &str) -> Result<Vec<String>, Diagnostic> {
    let mut parts = Vec::new();
    for part in limit.split(',').map(str::trim) {
        match part.strip_prefix('@') {
            Some(path) => {
                let source = files::source(Path::new(path))?;
                parts.extend(source.text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
            }
            None => parts.extend(split(inventory, part)),
        }
    }
    Ok(parts)
}

fn at_colons(part: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    part.split(|character| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ':' && depth == 0
    })
    .collect()
}

/// The hosts that a pattern selects, and an error for each plain name in it that is neither host nor group.
#[derive(Debug, Default)]
pub struct Selected {
    pub hosts: Vec<String>,
    pub unmatched: Vec<Diagnostic>,
}

impl Selected {
    /// Returns the hosts if every name was found.
    pub fn strict(self) -> Result<Vec<String>, Diagnostics> {
        let mut errors = Diagnostics::default();
        self.unmatched.into_iter().for_each(|error| errors.push(error));
        errors.or(self.hosts)
    }
}

/// Returns the hosts of the parts: all plain ones, then what `&` leaves, then what `!` leaves.
pub(super) fn select(inventory: &Inventory, parts: &[String]) -> Result<Selected, Diagnostic> {
    let mut unmatched = Vec::new();
    let mut part_hosts = |inventory, part| part_hosts(inventory, part, &mut unmatched);
    let mut hosts: Option<IndexSet<String>> = None;
    for part in parts.iter().filter(|part| !part.starts_with(['&', '!'])) {
        hosts.get_or_insert_default().extend(part_hosts(inventory, part)?);
    }
    let mut hosts = match hosts {
        Some(hosts) => hosts,
        None if parts.is_empty() => {
            return Err(Diagnostic::new("the host pattern is empty").hint("`all` means every host"));
        }
        None => part_hosts(inventory, "all")?,
    };
    for part in parts.iter().filter_map(|part| part.strip_prefix('&')) {
        let common = part_hosts(inventory, part)?;
        hosts.retain(|host| common.contains(host));
    }
    for part in parts.iter().filter_map(|part| part.strip_prefix('!')) {
        let excluded = part_hosts(inventory, part)?;
        hosts.retain(|host| !excluded.contains(host));
    }
    Ok(Selected { hosts: hosts.into_iter().collect(), unmatched })
}

fn part_hosts(
    inventory: &Inventory,
    part: &str,
    unmatched: &mut Vec<Diagnostic>,
) -> Result<IndexSet<String>, Diagnostic> {
    if inventory.hosts.contains_key(part) {
        return Ok([part.to_owned()].into());
    }
    if let Some(range) = inner_range(part) {
        let message = format!("`{part}`: a pattern has no ranges, and `{range}` would mean one character");
        return Err(Diagnostic::new(message).hint(format!("write `*`, or `{}`", range.replacen(':', "-", 1))));
    }
    let (name, subscript) = subscript(part)?;
    let matcher = Matcher::new(name)?;
    let mut hosts = IndexSet::new();
    let mut group_matched = false;
    for group in inventory.groups.keys() {
        if matcher.matches(group)? {
            group_matched = true;
            hosts.extend(inventory.members(group).into_iter().map(str::to_owned));
        }
    }
    // A glob or an expression means hosts too; so does any name with a dot.
    if !group_matched || name.starts_with('~') || name.contains(['.', '?', '*', '[']) {
        for host in inventory.hosts.keys() {
            if matcher.matches(host)? {
                hosts.insert(host.clone());
            }
        }
    }
    if hosts.is_empty() && !group_matched {
        hosts.extend(localhost(inventory, name));
        if hosts.is_empty() && matches!(matcher, Matcher::Name(_)) {
            let known = inventory.hosts.keys().chain(inventory.groups.keys()).map(String::as_str);
            let error = Diagnostic::new(format!("`{name}` is neither a host nor a group of the inventory"));
            unmatched.push(error.suggest(name, known));
        }
    }
    match subscript {
        Some(subscript) => subscript.apply(part, hosts),
        None => Ok(hosts),
    }
}

/// Returns the host that means this machine: under another of its names, or implied.
fn localhost(inventory: &Inventory, name: &str) -> Option<String> {
    if !LOCALHOST.contains(&name) {
        return None;
    }
    let known = LOCALHOST.iter().find(|other| inventory.hosts.contains_key(**other));
    Some((*known.unwrap_or(&name)).into())
}

/// Finds a range such as `[01:50]` that does not end the pattern, where it would be a subscript.
fn inner_range(part: &str) -> Option<&str> {
    if part.starts_with('~') {
        return None;
    }
    let mut rest = part;
    while let Some((_, after)) = rest.split_once('[') {
        let (inner, tail) = after.split_once(']')?;
        let ends = |side: &str| side.len() == 1 || side.bytes().all(|byte| byte.is_ascii_digit());
        let range = inner.split_once(':').is_some_and(|(begin, end)| ends(begin) && ends(end));
        if range && !tail.is_empty() {
            let start = part.len() - after.len() - 1;
            return part.get(start..start + inner.len() + 2);
        }
        rest = tail;
    }
    None
}

/// `[N]`, `[-N]`, `[M:N]` or `[M:]` at the end of a pattern: some of its hosts, both ends included.
#[derive(Clone, Copy)]
enum Subscript {
    One(i64),
    Slice(usize, Option<usize>),
}

fn subscript(part: &str) -> Result<(&str, Option<Subscript>), Diagnostic> {
    if !part.starts_with('~') && part.rsplit_once('[').is_some_and(|(_, after)| !after.contains(']')) {
        let error = Diagnostic::new(format!("the `[` of the host pattern `{part}` has no `]`"));
        return Err(error.hint("some of its hosts are `NAME[0]` or `NAME[1:3]`"));
    }
    let inner = part.strip_suffix(']').filter(|_| !part.starts_with('~')).and_then(|rest| rest.rsplit_once('['));
    let Some((name, inner)) = inner.filter(|(name, _)| !name.is_empty()) else { return Ok((part, None)) };
    if let Ok(index) = inner.parse::<i64>() {
        return Ok((name, Some(Subscript::One(index))));
    }
    let digits = |side: &str| side.bytes().all(|byte| byte.is_ascii_digit());
    match inner.split_once([':', '-']).filter(|(begin, end)| !begin.is_empty() && digits(begin) && digits(end)) {
        Some((begin, end)) if inner.contains(':') => {
            let slice = begin.parse().ok().map(|begin| Subscript::Slice(begin, end.parse().ok()));
            Ok((name, slice))
        }
        Some((begin, end)) => {
            let error =
                Diagnostic::new(format!("`{part}`: a pattern that ends in `[{inner}]` takes some of its hosts"));
            let hint = format!("those are written `{name}[{begin}:{end}]`; for names use `{name}*` or `~{part}$`");
            Err(error.hint(hint))
        }
        None => Ok((part, None)),
    }
}

impl Subscript {
    fn apply(self, part: &str, hosts: IndexSet<String>) -> Result<IndexSet<String>, Diagnostic> {
        let count = hosts.len();
        match self {
            Subscript::Slice(begin, end) => {
                let end = end.map_or(count, |end| end.saturating_add(1).min(count));
                Ok(hosts.into_iter().take(end).skip(begin).collect())
            }
            Subscript::One(_) if count == 0 => Ok(hosts),
            Subscript::One(index) => {
                let at = if index < 0 { count as i64 + index } else { index };
                let host = usize::try_from(at).ok().and_then(|at| hosts.get_index(at).cloned());
                let none = || Diagnostic::new(format!("`{part}` is beyond the {count} hosts of the pattern"));
                Ok([host.ok_or_else(none)?].into())
            }
        }
    }
}

enum Matcher<'p> {
    Name(&'p str),
    Glob(Vec<char>),
    Expression(Box<Regex>),
}

impl Matcher<'_> {
    fn new(pattern: &str) -> Result<Matcher<'_>, Diagnostic> {
        if let Some(expression) = pattern.strip_prefix('~') {
            let wrong = |error: String| Diagnostic::new(format!("`{pattern}` is not a regular expression: {error}"));
            // As Python's `re.match`: from the start, not to the end.
            let regex = regex::translated(expression, false).map_err(wrong)?;
            let regex = Regex::new(&format!("^(?:{regex})")).map_err(|error| wrong(error.to_string()))?;
            return Ok(Matcher::Expression(Box::new(regex)));
        }
        Ok(match pattern.contains(['*', '?', '[']) {
            true => Matcher::Glob(pattern.chars().collect()),
            false => Matcher::Name(pattern),
        })
    }

    fn matches(&self, name: &str) -> Result<bool, Diagnostic> {
        match self {
            Matcher::Name(pattern) => Ok(*pattern == name),
            Matcher::Glob(pattern) => Ok(glob(pattern, &name.chars().collect::<Vec<_>>())),
            Matcher::Expression(regex) => {
                regex.is_match(name).map_err(|error| Diagnostic::new(format!("`~` pattern on `{name}`: {error}")))
            }
        }
    }
}

/// Matches as Python's `fnmatch`: `*`, `?`, `[a-c]`, `[!a-c]`; nothing else is special.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(character) => {
                if let Some(width) = one(&pattern[p..], *character) {
                    (p, t) = (p + width, t + 1);
                    continue;
                }
            }
        }
        match star {
            Some((at, taken)) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            None => return false,
        }
    }
}

/// Matches one character with the start of `pattern`; returns how much of the pattern that took.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', class @ ..] => {
            let negated = class.first() == Some(&'!');
            let start = usize::from(negated);
            // A `]` right at the start stands for itself; without a closing one the `[` does.
            let end = class.iter().enumerate().skip(start + 1).find(|(_, c)| **c == ']').map(|(at, _)| at);
            let Some(end) = end else { return (character == '[').then_some(1) };
            let mut members = &class[start..end];
            let mut found = false;
            while let [first, rest @ ..] = members {
                if let ['-', last, after @ ..] = rest {
                    found |= (*first..=*last).contains(&character);
                    members = after;
                } else {
                    found |= *first == character;
                    members = rest;
                }
            }
            (found != negated).then_some(end + 2)
        }
        [first, ..] => (*first == character).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inventory() -> Inventory {
        let mut inventory = Inventory::default();
        for (host, group) in [
            ("web1", "web"),
            ("web2", "web"),
            ("web3", "web"),
            ("db1.example.com", "db"),
            ("db2.example.com", "db"),
            ("web2", "new"),
            ("db1.example.com", "new"),
        ] {
            inventory.add_host(host, group);
        }
        inventory.add_child("site", "db").unwrap();
        inventory.add_child("site", "web").unwrap();
        inventory.add_group("empty");
        inventory.settle();
        inventory
    }

    fn hosts(pattern: &str) -> String {
        match inventory().select(pattern).map_err(Diagnostics::from).and_then(Selected::strict) {
            Ok(hosts) => hosts.join(" ").replace(".example.com", ""),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn unions_come_first_then_intersections_then_exclusions() {
        assert_eq!(hosts("web:db"), "web1 web2 web3 db1 db2");
        assert_eq!(hosts("db,web1"), "db1 db2 web1");
        assert_eq!(hosts("web1:web"), "web1 web2 web3");
        assert_eq!(hosts("!web1:web:db:&new"), "web2 db1");
        assert_eq!(hosts("&new:!web2"), "db1");
        assert_eq!(hosts("!web"), "db1 db2");
        assert_eq!(hosts("site, !new"), "db2 web1 web3");
    }

    #[test]
    fn globs_and_expressions_match_groups_and_hosts() {
        assert_eq!(hosts("all"), hosts("*"));
        assert_eq!(hosts("*.example.com"), "db1 db2");
        assert_eq!(hosts("web?"), "web1 web2 web3");
        assert_eq!(hosts("web[!12]*"), "web3");
        assert_eq!(hosts("web[12]*"), "web1 web2");
        assert_eq!(hosts(r"~(web|db)[23]"), "web2 web3 db2");
        assert_eq!(hosts("~db"), "db1 db2");
        assert_eq!(hosts("nothing*"), "");
        assert_eq!(hosts("empty"), "");
    }

    #[test]
    fn subscripts_take_some_of_the_hosts() {
        assert_eq!(hosts("web[0]"), "web1");
        assert_eq!(hosts("web[-1]"), "web3");
        assert_eq!(hosts("web[0:1]"), "web1 web2");
        assert_eq!(hosts("web[1:]"), "web2 web3");
        assert_eq!(hosts("w*[2:9]"), "web3");
        assert_eq!(hosts("web[0]:db[-1]"), "web1 db2");
        assert_eq!(hosts("empty[0]"), "");
        assert_eq!(hosts("web[7]"), "error: `web[7]` is beyond the 3 hosts of the pattern");
        assert_eq!(hosts("web[-4]"), "error: `web[-4]` is beyond the 3 hosts of the pattern");
    }

    #[test]
    fn what_ansible_would_misread_is_refused() {
        assert_eq!(
            hosts("db[1:2].example.com"),
            "error: `db[1:2].example.com`: a pattern has no ranges, and `[1:2]` would mean one character\n |\n = hint: write `*`, or `[1-2]`"
        );
        assert_eq!(
            hosts("web[1-3]"),
            "error: `web[1-3]`: a pattern that ends in `[1-3]` takes some of its hosts\n |\n = hint: those are written `web[1:3]`; for names use `web*` or `~web[1-3]$`"
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_nearest_one() {
        let error = "error: `wbe1` is neither a host nor a group of the inventory\n |\n = hint: did you mean `web1`?";
        assert_eq!(hosts("wbe1"), error);
        assert_eq!(hosts("all:!wbe1"), error);
        assert_eq!(hosts(" , "), "error: the host pattern is empty\n |\n = hint: `all` means every host");
        assert!(hosts("~(").starts_with("error: `~(` is not a regular expression"), "{}", hosts("~("));
    }

    #[test]
    fn localhost_is_implied_but_not_one_of_all() {
        assert_eq!(hosts("localhost"), "localhost");
        assert_eq!(hosts("web1:127.0.0.1"), "web1 127.0.0.1");
        assert!(!hosts("all").contains("localhost"));
        let mut known = inventory();
        known.add_host("127.0.0.1", "web");
        assert_eq!(known.select("localhost").unwrap().hosts, ["127.0.0.1"]);
    }

    #[test]
    fn a_limit_reads_patterns_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "web\n\n!web2\n").unwrap();
        let limit = format!("db1.example.com,@{}", file.path().display());
        assert_eq!(inventory().limit(&limit).unwrap(), ["db1.example.com", "web1", "web3"]);
        assert_eq!(inventory().limit("@/nowhere").unwrap_err().to_string(), "error: `/nowhere` does not exist");
    }

    #[test]
    fn an_address_keeps_its_colons() {
        let mut inventory = inventory();
        inventory.add_host("2001:db8::1", "web");
        assert_eq!(inventory.select("2001:db8::1").unwrap().hosts, ["2001:db8::1"]);
        assert_eq!(inventory.select("web,!2001:db8::1").unwrap().hosts.len(), 3);
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in r"[a-cwebd0-3\[\]:,!&~*?.()@ä -]{0,24}") {
            let _ = inventory().select(&pattern);
        }

        #[test]
        fn no_mutation_panics(at in 0_usize..28, length in 0_usize..5, new in r"[\[\]:,!&~*?0-9-]{0,3}") {
            let valid = r"web[0:1]:~d[ab]\d+:&new:!w?b1";
            let (head, rest) = valid.split_at(at);
            let _ = inventory().select(&format!("{head}{new}{}", &rest[length.min(rest.len())..]));
        }

        #[test]
        fn a_star_matches_every_text(text in ".{0,12}") {
            let text: Vec<char> = text.chars().collect();
            prop_assert!(glob(&['*'], &text) && glob(&['*', '*'], &text));
        }
    }
}
