//! What `cutover undo` has taken back of a domain's move, by the journals of this controller.

use crate::change::{Change, On};
use crate::modules::mail::qmail;
use crate::run::record::{End, Entry, Record, What};
use crate::window::standing::{Undo, Undone};

/// Returns the newest undo of a domain's forwarding on its old host, and of its names, that was not taken back itself.
pub fn of(records: &[Record], old: &str, domain: &str) -> Undone {
    let mut undone = Undone::default();
    for record in records {
        let at = record.started.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
        let again = record.taken_back(records);
        let undo = || Some(Undo { run: record.id.clone(), at });
        let took_back = |entry: &&Entry| entry.end == End::Done && entry.takes_back() && !again.contains(&entry.number);
        for entry in record.entries.iter().filter(took_back) {
            let What::Change(change) = &entry.what else { continue };
            match &**change {
                Change::Path { on: On::Host, change } if entry.host == old => {
                    let name = change.path().rsplit('/').next().unwrap_or_default();
                    if takes_back(name, domain, [&qmail::text(change.before()), &qmail::text(change.after())]) {
                        undone.forwarding = undo();
                    }
                }
                Change::Records(records) => {
                    let below = |name: &str| {
                        let name = name.trim_end_matches('.').to_ascii_lowercase();
                        name == domain || name.ends_with(&format!(".{domain}"))
                    };
                    let mut sets = records.sets().iter();
                    if sets.any(|(before, after)| below(&before.name) && before.values != after.values) {
                        undone.names = undo();
                    }
                }
                _ => {}
            }
        }
    }
    undone
}

/// Says whether a control file's change makes a domain the host's own again, or takes its route.
fn takes_back(name: &str, domain: &str, [before, after]: [&String; 2]) -> bool {
    let prepend = |text: &str| qmail::value(text, domain).is_some_and(|prepend| !prepend.is_empty());
    match name {
        "virtualdomains" => prepend(after) && !prepend(before),
        "locals" => qmail::contains(after, domain) && !qmail::contains(before, domain),
        "smtproutes" => qmail::value(before, domain).is_some() && qmail::value(after, domain).is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_domain_the_hosts_own_again_takes_it_back() {
        for (name, before, after, expected) in [
            ("virtualdomains", "b.example:8\n", "b.example:8\na.example:7\n", true),
            ("virtualdomains", "a.example:\n", "A.example:7\n", true),
            ("virtualdomains", "a.example:7\n", "a.example:7\nb.example:8\n", false),
            ("locals", "", "a.example\n", true),
            ("locals", "a.example\n", "", false),
            ("smtproutes", "a.example:10.0.0.1\n", "", true),
            ("smtproutes", "a.example:10.0.0.1\n", "a.example:10.0.0.2\n", false),
            ("rcpthosts", "a.example\n", "", false),
        ] {
            assert_eq!(takes_back(name, "a.example", [&before.into(), &after.into()]), expected, "{name} {after:?}");
        }
    }
}
