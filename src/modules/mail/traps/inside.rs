//! Instructions of others that deliver by path into mailboxes that move: what they bring stays on the old host.

use super::{Found, Side, quoted};
use crate::transport::name::shown;

/// Adds what others than `domains` have in their `.qmail` files, of `lines` as `grep -n` prints them.
pub fn check(side: &Side, (lines, domains): (&[String], &[String]), found: &mut Found) {
    let is_moving = |path: &str| {
        let below = path.strip_prefix(&format!("{}/", side.mailnames)).unwrap_or_default();
        domains.iter().any(|domain| below.split('/').next() == Some(domain))
    };
    for (path, number, line) in lines.iter().filter_map(|text| split(text)) {
        if is_moving(&path) || !line.starts_with(['/', '|']) {
            continue;
        }
        let whose = domains.iter().find(|domain| line.contains(&format!("{}/{domain}/", side.mailnames)));
        let Some(domain) = whose else { continue };
        found.warning(format!(
            "`{}`: `{}` line {number} has {}, which leads into mailboxes of `{domain}`: its mail stays on the old host until stored mail \
             is collected again, and for good when that host is gone; forward to the address instead (`&name@{domain}`)",
            side.host,
            shown(&path),
            quoted(line)
        ));
    }
}

/// Takes `PATH:NUMBER:LINE` apart; the path is as `find DIRECTORY/.` has it.
fn split(text: &str) -> Option<(String, usize, &str)> {
    let (path, rest) = text.split_once(':')?;
    let (number, line) = rest.split_once(':')?;
    Some((path.replacen("/./", "/", 1), number.parse().ok()?, line))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{one, side};
    use super::super::{Role, Weight};
    use super::*;

    #[test]
    fn a_path_into_a_mailbox_that_moves_is_named_where_others_have_it() {
        let check = |line: &str| {
            let mut found = Found::default();
            check(&side(Role::Old, &[]), (&[line.to_string()], &["a.example".to_string()]), &mut found);
            found
        };
        let words = ["`/m/b.example/bob/.qmail` line 2", "`/m/a.example/ann/Maildir/`", "`&name@a.example`"];
        one(&check("/m/./b.example/bob/.qmail:2:/m/a.example/ann/Maildir/"), Weight::Warning, &words);
        let words = ["`/q/alias/.qmail-x` line 1", "deliverquota"];
        one(&check("/q/alias/./.qmail-x:1:| deliverquota /m/a.example/ann/Maildir"), Weight::Warning, &words);
        for line in [
            "/m/./a.example/bob/.qmail:1:/m/a.example/ann/Maildir/",
            "/m/./b.example/bob/.qmail:1:#/m/a.example/ann/Maildir/",
            "/m/./b.example/bob/.qmail:1:/m/a.example.org/ann/Maildir/",
        ] {
            assert_eq!(check(line), Found::default(), "{line}");
        }
    }
}
