//! Lines of control files that are to qmail another thing than they look like (`control.c`, `constmap.c`).

use std::collections::BTreeMap;

use super::super::qmail::{self, FILES, Relay, Shape};
use super::{Found, Role, Side, Weight, quoted};

const BOM: &str = "\u{ef}\u{bb}\u{bf}";

/// Adds what is odd in the control files of one host. What concerns one of `domains` is a problem, but for routes on the
/// old host, which are written anew.
pub fn check(side: &Side, domains: &[String], found: &mut Found) {
    for file in FILES.iter().filter(|file| side.control.contains_key(file.name)) {
        let text = side.text(file.name);
        if file.shape == Shape::Single {
            single(side, file.name, found);
            continue;
        }
        let mut odd: BTreeMap<(bool, &str), Vec<(usize, &str)>> = BTreeMap::new();
        for (number, line) in qmail::numbered(text) {
            if let Some(why) = why_odd((file.name, file.shape), (number, line)) {
                let ours = domains.iter().any(|domain| concerns(line, domain));
                odd.entry((ours, why)).or_default().push((number, line));
            }
        }
        let wins = if file.shape == Shape::Keyed { twice(text) } else { None };
        if let Some((key, first, last)) = wins {
            found.warning(format!(
                "{} lines {first} and {last} say different things of {}, and the last one counts; take the other out",
                side.file(file.name),
                quoted(key)
            ));
        }
        let rewritten = side.role == Role::Old && file.name == "smtproutes";
        for ((ours, why), lines) in odd {
            let more = if lines.len() > 1 { format!(" (and {} lines more)", lines.len() - 1) } else { String::new() };
            let weight = if ours && !rewritten { Weight::Problem } else { Weight::Warning };
            found.say(weight, format!("{}{more}: {why}", side.line(file.name, lines[0])));
        }
    }
}

/// Says what is odd about a line, and what to do.
fn why_odd((file, shape): (&str, Shape), (number, line): (usize, &str)) -> Option<&'static str> {
    let keyed = shape == Shape::Keyed;
    let (key, value) = if keyed { line.split_once(':').unwrap_or((line, "")) } else { (line, "") };
    Some(if line.ends_with('\r') {
        "a carriage return at its end, as editors of Windows write them, which is part of the entry to qmail; take it out \
         (`tr -d '\\r'`)"
    } else if number == 1 && line.starts_with(BOM) {
        "a byte order mark before its first entry, which is part of it to qmail; take it out"
    } else if line.starts_with([' ', '\t']) {
        "a space before it, which is part of the entry to qmail, so that it does not count; take it out"
    } else if keyed && !line.contains(':') {
        "no colon, so that qmail ignores it; write `key:value`, or take it out"
    } else if line.contains(" #") || line.contains("\t#") {
        "a remark behind it, which is part of the entry to qmail; give the remark a line of its own"
    } else if line.contains([' ', '\t']) {
        "a space in it, which is part of the entry to qmail; take it out"
    } else if key.starts_with('*') {
        "a `*`, and qmail has no such pattern; write `.example.com` for all names below example.com, where the file takes suffixes"
    } else if file == "locals" && key.starts_with('.') {
        "a suffix, and `locals` matches whole names only; name the hosts one by one"
    } else if !line.is_ascii() {
        "letters that are not ASCII, which no domain has in mail; write it as `xn--...`"
    } else if file == "smtproutes" && !value.is_empty() && Relay::read(value).is_err() {
        "a relay that qmail-remote cannot reach (an IPv6 address, or no address, name or port); write `domain:IPv4 address`"
    } else {
        return None;
    })
}

/// Says whether a line means a domain, one of its users or a name below it, however oddly it is written.
fn concerns(line: &str, domain: &str) -> bool {
    let bare = line.trim_start_matches(BOM).trim().trim_start_matches(['*', '.']);
    let key = bare.split([':', ' ', '\t', '\r', '#']).next().unwrap_or_default().to_ascii_lowercase();
    key.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with(['@', '.']))
}

/// Returns a key with two values, and the lines of the first and the last of them.
fn twice(text: &str) -> Option<(&str, usize, usize)> {
    let mut seen: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for (number, line) in qmail::numbered(text) {
        let Some((key, value)) = line.split_once(':') else { continue };
        match seen.insert(key.to_ascii_lowercase(), (number, value)) {
            Some((first, other)) if other != value => return Some((key, first, number)),
            _ => {}
        }
    }
    None
}

/// Files of one value that are read as a number (`qmail-control.9`).
const NUMBERS: [&str; 7] = [
    "concurrencylocal",
    "concurrencyremote",
    "databytes",
    "queuelifetime",
    "timeoutconnect",
    "timeoutremote",
    "timeoutsmtpd",
];

fn single(side: &Side, name: &str, found: &mut Found) {
    let line = qmail::first_line(side.text(name));
    let place = side.line(name, (1, line));
    if NUMBERS.contains(&name) && (line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_digit())) {
        let read = match qmail::number(line) {
            Some(number) => format!("qmail reads {number}"),
            None => "qmail takes its default".into(),
        };
        found.warning(format!("{place}, which is no number: {read}; write digits alone, or remove the file"));
    } else if line.contains(['\r', ' ', '\t']) && name != "smtpgreeting" {
        let weight = if name == "me" { Weight::Problem } else { Weight::Warning };
        found.say(
            weight,
            format!("{place}: a space or carriage return in it is part of the value to qmail; take it out"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{one, side};
    use super::*;

    #[test]
    fn a_line_that_is_another_thing_to_qmail_is_named_with_its_number_and_what_to_do() {
        use Role::{New, Old};
        use Weight::{Problem, Warning};
        for (role, file, text, weight, words) in [
            (
                Old,
                "virtualdomains",
                "a.b:1\n example.com:7\n",
                Problem,
                &["line 2", "` example.com:7`", "take it out"][..],
            ),
            (Old, "virtualdomains", "a.b:1\n c.d:7\n", Warning, &["line 2", "` c.d:7`"]),
            (New, "virtualdomains", "\texample.com:7\n", Problem, &["line 1", "`\\texample.com:7`"]),
            (
                New,
                "rcpthosts",
                "a.b\nexample.com\r\n",
                Problem,
                &["`new`: `/q/control/rcpthosts` line 2", "`tr -d '\\r'`"],
            ),
            (Old, "locals", "a.b\r\nc.d\r\ne.f\r\n", Warning, &["line 1", "and 2 lines more"]),
            (New, "rcpthosts", "\u{ef}\u{bb}\u{bf}example.com\n", Problem, &["byte order mark"]),
            (Old, "smtproutes", "example.com\n", Warning, &["no colon"]),
            (
                Old,
                "smtproutes",
                "example.com\t:192.0.2.20\n",
                Warning,
                &["`example.com\\t:192.0.2.20`", "a space in it"],
            ),
            (Old, "smtproutes", "a.b: 192.0.2.20\n", Warning, &["a space in it"]),
            (Old, "smtproutes", "a.b:[2001:db8::1]\n", Warning, &["IPv6"]),
            (New, "smtproutes", "a.b:192.0.2.20:smtp\n", Warning, &["line 1", "port"]),
            (New, "virtualdomains", "example.com:31 # since May\n", Problem, &["a remark"]),
            (New, "rcpthosts", "*.example.com\n", Problem, &["`*.example.com`", ".example.com"]),
            (New, "locals", ".example.com\n", Problem, &["whole names only"]),
            (Old, "rcpthosts", "m\u{fc}ller.example\n", Warning, &["xn--"]),
            (Old, "virtualdomains", "a.b:1\nc.d:2\nA.b:3\n", Warning, &["lines 1 and 3", "last one counts"]),
            (New, "databytes", "10M\n", Warning, &["`10M`", "qmail reads 10"]),
            (Old, "queuelifetime", "a week\n", Warning, &["default"]),
            (New, "me", "new.example\r\n", Problem, &["line 1 has `new.example\\r`"]),
        ] {
            let mut found = Found::default();
            check(&side(role, &[(file, text)]), &["example.com".into()], &mut found);
            one(&found, weight, words);
        }
    }

    #[test]
    fn what_qmail_reads_as_it_is_meant_is_not_odd() {
        let mut found = Found::default();
        let files = [
            ("me", "old.example\n"),
            ("locals", "# ours\n\nold.example \t\nlocalhost"),
            ("rcpthosts", "example.com\n.example.com\nother.org"),
            ("virtualdomains", "bob@example.com:\nExample.com:7\n.d.example:x\n:all\nexample.com:7\n"),
            ("smtproutes", "example.com:\n:192.0.2.9:26\n.x.example:[192.0.2.9]\na.example:mail.b.example\n"),
            ("databytes", "1000\n"),
            ("smtpgreeting", "old.example says hello\n"),
        ];
        check(&side(Role::New, &files), &["example.com".into()], &mut found);
        assert_eq!(found, Found::default());
    }
}
