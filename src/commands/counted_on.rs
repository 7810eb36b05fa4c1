//! What mail counts on of a run's changes: what an undo would make bounce.

use std::collections::BTreeSet;

use crate::change::{Change, On};
use crate::error::Diagnostic;
use crate::modules::mail::qmail;
use crate::run::record::{End, Entry, Record, What};
use crate::transport::{Node, PathChange};

/// Refuses an undo of entries that would take a route from mail that may wait for it, or accounts from domains whose mail is forwarded to them,
/// as far as the journals of this controller tell.
pub fn refuse<'a>(
    record: &Record,
    entries: impl Iterator<Item = &'a Entry> + Clone,
    others: &[Record],
) -> Result<(), Diagnostic> {
    let hint = "`stage rollback` (playbooks/stages/rollback.yml) takes domains back without a bounce; `--anyway` does it at once";
    let routes: BTreeSet<String> =
        entries.clone().filter_map(control).flat_map(|change| routes_made(change).0).collect();
    if !routes.is_empty() {
        let domains = routes.into_iter().collect::<Vec<_>>().join("`, `");
        let error = Diagnostic::new(format!(
            "run {} has made the route of `{domains}`: mail that waits for it would bounce (#5.4.6)",
            record.id
        ));
        return Err(error.hint(hint));
    }
    let forwarded = forwarded(record, others);
    let accounts: BTreeSet<String> =
        entries.flat_map(domains_given).filter(|domain| forwarded.contains(domain)).collect();
    if accounts.is_empty() {
        return Ok(());
    }
    let domains = accounts.into_iter().collect::<Vec<_>>().join("`, `");
    let error = Diagnostic::new(format!(
        "mail of `{domains}` has been forwarded to the accounts of run {} since: without them it would bounce",
        record.id
    ));
    Err(error.hint(hint))
}

/// The domains that have got a route since a run, and have it still.
fn forwarded(since: &Record, others: &[Record]) -> BTreeSet<String> {
    let mut later: Vec<&Record> =
        others.iter().filter(|other| other.started > since.started && other.id != since.id).collect();
    later.sort_by(|one, other| one.started.cmp(&other.started));
    let mut forwarded = BTreeSet::new();
    for record in later {
        for change in record.entries.iter().filter_map(control) {
            let (made, taken) = routes_made(change);
            forwarded.extend(made);
            forwarded.retain(|domain| !taken.contains(domain));
        }
    }
    forwarded
}

/// A change of `smtproutes` that was made.
fn control(entry: &Entry) -> Option<&PathChange> {
    match &entry.what {
        What::Change(change) if entry.end == End::Done => match &**change {
            Change::Path { on: On::Host, change } if change.path().ends_with("/control/smtproutes") => Some(change),
            _ => None,
        },
        _ => None,
    }
}

/// The domains that get a route by a change, and those that lose one.
fn routes_made(change: &PathChange) -> (Vec<String>, Vec<String>) {
    let keys = |node: &Node| -> BTreeSet<String> {
        let text = qmail::text(node);
        let routes = qmail::entries(&text).filter_map(|line| line.split_once(':'));
        routes.filter(|(_, relay)| !relay.is_empty()).map(|(domain, _)| domain.to_ascii_lowercase()).collect()
    };
    let (before, after) = (keys(change.before()), keys(change.after()));
    (after.difference(&before).cloned().collect(), before.difference(&after).cloned().collect())
}

/// The domains that a change has given accounts: lines of users/assign and users/poppasswd, and what is done for an address.
fn domains_given(entry: &Entry) -> Vec<String> {
    let What::Change(change) = &entry.what else { return Vec::new() };
    let of = |address: &str| address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    match &**change {
        Change::Path { on: On::Host, change } if change.path().ends_with("/users/assign") => {
            let homes = added(change).into_iter().filter_map(|line| line.split(':').nth(4).map(str::to_string));
            homes.flat_map(|home| home.split('/').map(str::to_ascii_lowercase).collect::<Vec<_>>()).collect()
        }
        Change::Path { on: On::Host, change } if change.path().ends_with("/users/poppasswd") => {
            added(change).iter().filter_map(|line| of(line.split(':').next()?)).collect()
        }
        Change::State(state) => state.what().split(' ').filter_map(of).collect(),
        _ => Vec::new(),
    }
}

/// The lines that are there only after a change.
fn added(change: &PathChange) -> Vec<String> {
    let (before, after) = (qmail::text(change.before()), qmail::text(change.after()));
    let before: BTreeSet<&str> = before.lines().collect();
    after.lines().filter(|line| !before.contains(line)).map(str::to_string).collect()
}
