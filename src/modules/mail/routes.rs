//! The way of an address through qmail-send and qmail-remote, as control files say, in words.

use std::collections::BTreeSet;

use super::dangers::{ANYBODY, Texts, tables};
use super::qmail::{self, Fate, Relay};

/// Returns `bob@example.com: local 7-bob -> remote via 10.77.0.20:25` for each address whose way is another afterwards.
/// Of each of their domains an address that nobody has is among them.
pub fn changed(addresses: &[String], before: &Texts, after: &Texts) -> Vec<String> {
    let domains: BTreeSet<String> =
        addresses.iter().filter_map(|address| Some(address.rsplit_once('@')?.1.to_ascii_lowercase())).collect();
    let nobody = domains.iter().map(|domain| format!("{ANYBODY}@{domain}"));
    let mut lines = Vec::new();
    for address in addresses.iter().cloned().chain(nobody) {
        let (old, new) = (way(&address, before), way(&address, after));
        if old != new {
            lines.push(format!("{address}: {old} -> {new}"));
        }
    }
    lines
}

/// Returns where qmail would take an address: `local 7-bob`, `remote via 10.77.0.20:25`.
pub fn way(address: &str, texts: &Texts) -> String {
    let (user, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    match tables(texts).fate(address) {
        Fate::Local => format!("local {user}"),
        Fate::Virtual { prepend, .. } => format!("local {prepend}-{user}"),
        Fate::Remote => {
            let value = qmail::route(texts.get("smtproutes").map_or("", String::as_str), domain);
            match value.filter(|value| !value.is_empty()).map(|value| (value, Relay::read(value))) {
                None => "remote via its MX".into(),
                Some((_, Ok(relay))) => format!("remote via {}:{}", relay.host, relay.port),
                Some((value, Err(why))) => format!("remote via `{value}`, which leads nowhere: {why}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&'static str, &str)]) -> Texts {
        pairs.iter().map(|(name, text)| (*name, text.to_string())).collect()
    }

    #[test]
    fn the_way_of_an_address_is_told_in_the_words_of_the_log() {
        let found = texts(&[
            ("me", "old.example\n"),
            ("locals", "old.example\n"),
            ("virtualdomains", "example.com:7\nbob@out.example:\nout.example:8\n"),
            ("smtproutes", "out.example:[10.77.0.20]:2525\nbad.example:::1\n"),
        ]);
        for (address, way) in [
            ("bob@Example.com", "local 7-bob"),
            ("root@old.example", "local root"),
            ("bob@out.example", "remote via 10.77.0.20:2525"),
            ("ann@out.example", "local 8-ann"),
            ("ann@other.org", "remote via its MX"),
        ] {
            assert_eq!(super::way(address, &found), way, "{address}");
        }
        assert!(super::way("a@bad.example", &found).contains("leads nowhere"));
    }

    #[test]
    fn only_what_changes_is_told_and_one_address_of_nobody_for_each_domain() {
        let before =
            texts(&[("locals", ""), ("virtualdomains", "example.com:7\nb.org:8\n"), ("smtproutes", ":10.0.0.2\n")]);
        let after = texts(&[("locals", ""), ("virtualdomains", "b.org:8\n"), ("smtproutes", ":10.0.0.2\n")]);
        let addresses = ["bob@example.com", "a@b.org", "zoe@example.com"].map(String::from);
        let lines = changed(&addresses, &before, &after);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "bob@example.com: local 7-bob -> remote via 10.0.0.2:25");
        assert!(lines[2].starts_with("no-such-user-here@example.com: local 7-"), "{lines:?}");
    }
}
