//! Lines of `users/assign` and `users/poppasswd` that would leave an account behind, or its mail without one (`qmail-users.5`).

use std::collections::{BTreeMap, BTreeSet};

use super::super::assign::{self, Assignment, check_assign};
use super::super::qmail;
use super::{Found, Side};

/// Adds what is found in the two tables of each host.
pub fn check((old, new): (&Side, &Side), domains: &[String], found: &mut Found) {
    assignments((old, new), domains, found);
    if let Some(text) = &new.assign
        && let Err(why) = check_assign(text)
    {
        let file = new.file("assign");
        found.problem(format!(
            "{file}: qmail-newu would refuse it, and no account could be made: {why}; mend it, and run qmail-newu"
        ));
    }
    passwords((old, new), domains, found);
}

fn assignments((old, new): (&Side, &Side), domains: &[String], found: &mut Found) {
    let text = old.assign.as_deref().unwrap_or_default();
    let prefix = |side: &Side, domain: &str| {
        qmail::value(side.text("virtualdomains"), domain).filter(|prefix| !prefix.is_empty()).map(str::to_string)
    };
    // Whose mail has which prefix, and of those that move the prefix on the new host.
    let owners: BTreeMap<String, String> = qmail::keys(old.text("virtualdomains"))
        .filter(|key| !key.contains('@'))
        .filter_map(|key| Some((prefix(old, key)?.to_ascii_lowercase(), key.to_ascii_lowercase())))
        .collect();
    let there: BTreeSet<String> = keys(new.assign.as_deref().unwrap_or_default());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut ended, mut below) = (false, None);
    for (index, line) in text.split('\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let place = || old.line("assign", (index + 1, line.split(':').next().unwrap_or_default()));
        if ended {
            below = below.or(Some(place()));
            continue;
        }
        if line.starts_with('.') {
            ended = true;
            continue;
        }
        let one = match Assignment::read(line) {
            Ok(one) => one,
            Err(why) => {
                found.problem(format!(
                    "{}, and {why}: qmail-newu refuses the file, and its account would stay behind; mend the line",
                    place()
                ));
                continue;
            }
        };
        let key = one.key.to_ascii_lowercase();
        if let Some(first) = seen.get(&key) {
            found.warning(format!("{} a second time: line {first} counts; take this one out", place()));
            continue;
        }
        seen.insert(key.clone(), index + 1);
        let Some((prefix_of, local)) = key[1..].split_once('-') else { continue };
        let Some(owner) = owners.get(prefix_of) else { continue };
        let inside = |domain: &str| {
            let home = format!("{}/{domain}", old.mailnames);
            one.home.strip_prefix(&home).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let same = |domain: &&String| prefix(old, domain).is_some_and(|name| name.eq_ignore_ascii_case(prefix_of));
        match domains.iter().find(same) {
            Some(domain) if !domains.iter().any(|domain| inside(domain)) => {
                let wanted =
                    prefix(new, domain).map(|prefix| format!("{}{prefix}-{local}", &key[..1]).to_ascii_lowercase());
                if wanted.as_ref().is_none_or(|key| !there.contains(key)) {
                    let key = wanted.unwrap_or_else(|| format!("{}N-{local}", &key[..1]));
                    found.problem(format!(
                        "{}: its home `{}` is not in `{}/{domain}`, so that it is not taken over and its mail would bounce; make it \
                         on the new host (`{key}`)",
                        place(),
                        one.home,
                        old.mailnames
                    ));
                }
            }
            Some(_) => {}
            None => {
                if let Some(domain) = domains.iter().find(|domain| inside(domain)) {
                    found.problem(format!(
                        "{}: mail of `{owner}` goes into the mailboxes of `{domain}`, and would be in two places; move both in one run",
                        place()
                    ));
                }
            }
        }
    }
    if let Some(place) = below {
        found.warning(format!(
            "{place}, below the line `.` that ends the file: it does not count; take it out, or put it above"
        ));
    }
    if !ended && !text.is_empty() {
        let file = old.file("assign");
        found.problem(format!(
            "{file} does not end with a line `.`: it may have been cut off; add it, and run qmail-newu"
        ));
    }
}

/// The keys that count, in lower case.
fn keys(text: &str) -> BTreeSet<String> {
    let lines = text.split('\n').take_while(|line| !line.starts_with('.'));
    lines.filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect()
}

/// No hash is ever in a message.
fn passwords((old, new): (&Side, &Side), domains: &[String], found: &mut Found) {
    let text = old.poppasswd.as_deref().unwrap_or_default();
    let here = new.poppasswd.as_deref().unwrap_or_default();
    let mut seen: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    let mut shapes = Vec::new();
    for (number, line) in qmail::numbered(text) {
        let Some((login, rest)) = line.split_once(':') else { continue };
        let address = login.to_ascii_lowercase();
        if !domains.iter().any(|domain| address.ends_with(&format!("@{domain}"))) {
            continue;
        }
        let hash = rest.split(':').next().unwrap_or_default();
        let place = || old.line("poppasswd", (number, login));
        if let Err(why) = assign::check_hash(hash) {
            found.problem(format!(
                "{}, whose hash {why}; set its password anew on the old host, or take the line out",
                place()
            ));
        } else if let Err(why) = assign::with_hash(here, login, hash) {
            shapes.push((login, why));
        }
        match seen.insert(address, (number, hash)) {
            Some((first, other)) if other != hash => {
                found.warning(format!("{} and line {first} too, with another hash; take the wrong one out", place()));
            }
            _ => {}
        }
    }
    if let Some((_, why)) = shapes.first() {
        let odd = qmail::numbered(here).find(|(_, line)| line.split(':').count() != 2);
        let (number, line) = odd.unwrap_or((0, ""));
        let login = line.split(':').next().unwrap_or_default();
        let others = if shapes.len() > 1 {
            format!(", and {} others have none either", shapes.len() - 1)
        } else {
            String::new()
        };
        found.problem(format!(
            "{} and more: {}{others}",
            new.line("poppasswd", (number, login)),
            why.replace("\nhint: ", "; ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{one, side};
    use super::super::{Role, Weight};
    use super::*;

    const ANN: &str = "=7-ann:popuser:110:31:/m/example.com/ann:::\n";

    fn check(assign: &str, more: &[(&str, &str)]) -> Found {
        let mut old = side(Role::Old, &[("virtualdomains", "example.com:7\nother.org:9\n")]);
        let mut new = side(Role::New, &[("virtualdomains", "example.com:31\n")]);
        old.assign = Some(assign.into());
        for (name, text) in more {
            let place = match *name {
                "old poppasswd" => &mut old.poppasswd,
                "new poppasswd" => &mut new.poppasswd,
                _ => &mut new.assign,
            };
            *place = Some(text.to_string());
        }
        let mut found = Found::default();
        super::check((&old, &new), &["example.com".into()], &mut found);
        found
    }

    #[test]
    fn an_account_that_would_stay_behind_is_named_with_its_line() {
        use Weight::{Problem, Warning};
        for (assign, more, weight, words) in [
            (
                format!("{ANN}=7-bob:popuser:110:31:/m/example.com/bob\n.\n"),
                &[][..],
                Problem,
                &["line 2 has `=7-bob`", "4 colons"][..],
            ),
            (format!("{ANN}7-bob:popuser:110:31:/m/b:::\n.\n"), &[], Problem, &["line 2", "neither `=` nor `+`"]),
            (ANN.into(), &[], Problem, &["`old`: `/q/users/assign`", "line `.`"]),
            (
                format!("{ANN}.\n=7-bob:p:1:1:/m/example.com/bob:::\n"),
                &[],
                Warning,
                &["line 3 has `=7-bob`", "below the line `.`"],
            ),
            (format!("{ANN}=7-ANN:p:1:1:/m/example.com/zoe:::\n.\n"), &[], Warning, &["line 2", "line 1 counts"]),
            (
                format!("{ANN}=7-list:list:5:5:/var/lib/list:::\n.\n"),
                &[],
                Problem,
                &["line 2", "`/var/lib/list`", "`=31-list`"],
            ),
            (
                format!("{ANN}=9-bob:p:1:1:/m/example.com/bob:::\n.\n"),
                &[],
                Problem,
                &["line 2", "mail of `other.org`", "move both"],
            ),
            (
                ".\n".into(),
                &[("assign", "=1-x:u:1:1:/h:::\n")],
                Problem,
                &["`new`: `/q/users/assign`", "does not end with a line `.`"],
            ),
            (".\n".into(), &[("assign", "=1-x:u:1:1:/h\n.\n")], Problem, &["`new`", "line 1", "4 colons"]),
            (
                ".\n".into(),
                &[("old poppasswd", "a@b.c:x y\nann@example.com:$AES-128-CBC$x\n")],
                Problem,
                &["line 2 has `ann@example.com`", "key of the host"],
            ),
            (".\n".into(), &[("old poppasswd", "ann@example.com:$1$a$b\r\n")], Problem, &["line 1", "line end"]),
            (
                ".\n".into(),
                &[("old poppasswd", "ann@example.com:$1$a\nAnn@example.com:$1$b\n")],
                Warning,
                &["line 2", "line 1 too"],
            ),
            (
                ".\n".into(),
                &[("old poppasswd", "ann@example.com:$1$a\n"), ("new poppasswd", "x@y.z:$1$b\nroot@local:$1$s:0:0\n")],
                Problem,
                &["`new`: `/q/users/poppasswd` line 2 has `root@local`", "4 fields", "panel make the account"],
            ),
        ] {
            let found = check(&assign, more);
            one(&found, weight, words);
            assert!(!format!("{found:?}").contains("$1$"), "a hash is shown: {found:?}");
        }
    }

    #[test]
    fn what_is_known_on_both_hosts_is_no_trap() {
        let list = format!("{ANN}=7-list:list:5:5:/var/lib/list:::\n+9-:p:1:1:/m/other.org:-::\n.\n");
        assert_eq!(check(&list, &[("assign", "=31-list:list:8:8:/srv/list:::\n.\n")]), Found::default());
        let both = [("old poppasswd", "ann@example.com:$1$a\n"), ("new poppasswd", "ann@example.com:$1$b:0:0\n")];
        assert_eq!(check(&format!("{ANN}.\n"), &both), Found::default());
    }
}
