//! Relays by name that DNS does not have: qmail-remote bounces what they are for at once (#5.1.2).

use std::collections::BTreeMap;

use super::super::names::{Dns, Named};
use super::{Found, Role, Side, Weight};

/// Adds what is wrong with the relays of one host's `smtproutes`. A route of a domain that moves is written anew on the old host, and
/// not used on the new one; what goes everywhere else counts there, for mailboxes that forward.
pub fn check(side: &Side, (named, dns): (&[Named], &BTreeMap<String, Dns>), found: &mut Found) {
    for route in named {
        let place = side.line("smtproutes", (route.number, &route.line));
        let whose = if route.key.is_empty() { "all other domains".into() } else { format!("`{}`", route.key) };
        match dns.get(&route.host) {
            Some(Dns::HasNone) => {
                let all = route.key.is_empty() && side.role == Role::New;
                let text = format!(
                    "{place}: DNS has no address for that name (qmail-remote never reads /etc/hosts), so that mail for {whose} bounces at \
                     once (#5.1.2); write its IPv4 address, or take the line out"
                );
                found.say(if all { Weight::Problem } else { Weight::Warning }, text);
            }
            Some(Dns::Unknown) => found.warning(format!(
                "{place}: no name server of the host's /etc/resolv.conf says whether there is that name; where DNS has no address \
                 for it, mail for {whose} bounces at once (#5.1.2): write its IPv4 address"
            )),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::names::named;
    use super::super::testing::{one, side};
    use super::*;

    #[test]
    fn a_relay_that_dns_does_not_have_is_named_with_its_line_and_one_that_it_has_is_not() {
        let check = |role, text: &str, dns: Dns| {
            let mut found = Found::default();
            let lines = named(text);
            check(&side(role, &[]), (&lines, &[("relay.example".to_string(), dns)].into()), &mut found);
            found
        };
        let (own, all) = ("a.example:10.0.0.1\nb.example:relay.example\n", ":relay.example:2525\n");
        one(
            &check(Role::Old, own, Dns::HasNone),
            Weight::Warning,
            &["`old`", "smtproutes` line 2", "`b.example`", "#5.1.2"],
        );
        one(&check(Role::Old, all, Dns::HasNone), Weight::Warning, &["all other domains"]);
        one(&check(Role::New, all, Dns::HasNone), Weight::Problem, &["`new`", "line 1", "IPv4 address"]);
        one(&check(Role::New, own, Dns::Unknown), Weight::Warning, &["resolv.conf"]);
        assert_eq!(check(Role::New, all, Dns::HasAddress), Found::default());
    }
}
