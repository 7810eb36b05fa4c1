//! What is wrong with records for mail: servers that differ, exchangers that are aliases, senders that are not allowed.

use std::collections::{BTreeMap, BTreeSet};

use super::sending::Sending;
use crate::dns::{Record, Rrset};

/// What one server says of a zone.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub server: String,
    pub zone: String,
    /// The names that were asked for.
    pub names: Vec<String>,
    /// Why it is of no use.
    pub lame: Option<String>,
    pub records: Vec<Record>,
    /// All lines of the zone, or why it is not transferred; nothing where nobody asked for them.
    pub whole: Option<Result<BTreeSet<String>, String>>,
}

impl Seen {
    pub fn serial(&self) -> Option<u32> {
        let soa = self.records.iter().find(|record| record.kind == "SOA")?;
        soa.value.split(' ').nth(2)?.parse().ok()
    }

    pub fn set(&self, name: &str, kind: &str) -> Rrset {
        Rrset::among(&self.records, name, kind)
    }
}

/// Returns all problems. `exchanges` are the records of the names that mail goes to.
pub fn all(seen: &[Seen], exchanges: &[Record], sending: &Sending) -> Vec<String> {
    let mut found = sending.back();
    let mut zones: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for one in seen {
        zones.entry(&one.zone).or_default().push(one);
    }
    for (zone, servers) in zones {
        for seen in &servers {
            found
                .extend(seen.lame.iter().map(|why| format!("{}: name server `{}`: {why}", dotless(zone), seen.server)));
        }
        let well: Vec<&Seen> = servers.into_iter().filter(|seen| seen.lame.is_none()).collect();
        let serials: BTreeSet<Option<u32>> = well.iter().map(|seen| seen.serial()).collect();
        if serials.len() > 1 {
            let each = well.iter().map(|seen| format!("{} on `{}`", seen.serial().unwrap_or(0), seen.server));
            found.push(format!("{}: serials differ: {}", dotless(zone), each.collect::<Vec<_>>().join(", ")));
        }
        found.extend(transferred(&well, zone));
        let Some(first) = well.first() else { continue };
        for name in &first.names {
            found.extend(differing(&well, name));
            found.extend(for_mail(first, name, exchanges));
            found.extend(sending.allowed(first, name));
        }
    }
    found
}

/// Says where the zones that were transferred differ; the first server is the one that the others are held against.
fn transferred(servers: &[&Seen], zone: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut first: Option<(&str, &BTreeSet<String>)> = None;
    for seen in servers {
        match (&seen.whole, first) {
            (None, _) => {}
            (Some(Err(why)), _) => found.push(format!("{}: {why}", dotless(zone))),
            (Some(Ok(lines)), None) => first = Some((&seen.server, lines)),
            (Some(Ok(lines)), Some((server, others))) => {
                if let Some(line) = others.symmetric_difference(lines).next() {
                    let has = if others.contains(line) { server } else { &seen.server };
                    let count = others.symmetric_difference(lines).count();
                    found.push(format!(
                        "{}: `{server}` and `{}` differ in {count} records; `{has}` alone has `{line}`",
                        dotless(zone),
                        seen.server
                    ));
                }
            }
        }
    }
    found
}

pub fn dotless(name: &str) -> &str {
    name.trim_end_matches('.')
}

/// Says what servers of one zone do not agree about.
fn differing(servers: &[&Seen], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["A", "AAAA", "MX", "CNAME", "TXT"] {
        let sets: BTreeSet<Rrset> = servers.iter().map(|seen| seen.set(name, kind)).collect();
        if sets.len() > 1 {
            let said = |set: Rrset| match set.exists() {
                true => format!("{} with TTL {}", set.values.join(", "), set.ttl),
                false => "nothing".into(),
            };
            let each = servers.iter().map(|seen| format!("`{}` says {}", seen.server, said(seen.set(name, kind))));
            found.push(format!("{}: {kind} differs: {}", dotless(name), each.collect::<Vec<_>>().join("; ")));
        }
    }
    found
}

/// Says what would keep mail for, or to, a name from arriving.
fn for_mail(seen: &Seen, name: &str, exchanges: &[Record]) -> Vec<String> {
    let mut found = Vec::new();
    let bare = dotless(name);
    if seen.set(name, "AAAA").exists() {
        found.push(format!("{bare}: it has an IPv6 address (AAAA), and qmail listens on IPv4 only"));
    }
    for mx in seen.set(name, "MX").values {
        let Some((_, target)) = mx.split_once(' ') else { continue };
        let of = |kind: &str| {
            let own = Rrset::among(exchanges, target, kind);
            if own.exists() { own } else { seen.set(target, kind) }
        };
        if of("CNAME").exists() {
            found.push(format!(
                "{bare}: its MX `{}` is an alias (CNAME), which RFC 2181, 10.3 forbids",
                dotless(target)
            ));
        }
        if of("AAAA").exists() {
            found.push(format!(
                "{bare}: its MX `{}` has an IPv6 address, and qmail listens on IPv4 only",
                dotless(target)
            ));
        }
    }
    if name == seen.zone && !seen.set(name, "MX").exists() {
        found.push(match seen.set(name, "A").exists() {
            true => format!("{bare}: it has no MX, so its mail goes to its own address (A)"),
            false => format!("{bare}: it has neither MX nor A, so nobody can send mail to it"),
        });
    }
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn seen(server: &str, records: &[(&str, &str, &str)]) -> Seen {
        let records = records.iter().map(|(name, kind, value)| Record {
            name: format!("{name}x.example."),
            ttl: 60,
            kind: (*kind).into(),
            value: (*value).into(),
        });
        let names = vec!["x.example.".into(), "mail.x.example.".into()];
        Seen { server: server.into(), zone: "x.example.".into(), names, records: records.collect(), ..Seen::default() }
    }

    pub const MX: (&str, &str, &str) = ("", "MX", "10 mail.x.example.");
    pub const MAIL: (&str, &str, &str) = ("mail.", "A", "10.0.0.1");

    #[test]
    fn servers_that_differ_and_lame_ones_are_named() {
        let one = seen("ns1", &[MX, MAIL, ("", "SOA", "ns. root. 7 1 1 1 1")]);
        let other = seen("ns2", &[MX, ("mail.", "A", "10.0.0.2"), ("", "SOA", "ns. root. 6 1 1 1 1")]);
        let lame = Seen { lame: Some("no connection".into()), ..seen("ns3", &[]) };
        assert_eq!(
            all(&[one, other, lame], &[], &Sending::default()),
            [
                "x.example: name server `ns3`: no connection",
                "x.example: serials differ: 7 on `ns1`, 6 on `ns2`",
                "mail.x.example: A differs: `ns1` says 10.0.0.1 with TTL 60; `ns2` says 10.0.0.2 with TTL 60",
            ]
        );
    }

    #[test]
    fn zones_that_differ_as_a_whole_and_ones_that_are_not_transferred_are_named() {
        let whole = |server: &str, lines: &[&str]| Seen {
            whole: Some(Ok(lines.iter().map(|line| line.to_string()).collect())),
            ..seen(server, &[MX, MAIL])
        };
        let closed =
            Seen { whole: Some(Err("it does not transfer the zone (REFUSED)".into())), ..seen("ns3", &[MX, MAIL]) };
        let said = all(&[whole("ns1", &["a", "b"]), whole("ns2", &["b", "c"]), closed], &[], &Sending::default());
        assert_eq!(
            said,
            [
                "x.example: `ns1` and `ns2` differ in 2 records; `ns1` alone has `a`",
                "x.example: it does not transfer the zone (REFUSED)",
            ]
        );
        assert_eq!(all(&[whole("ns1", &["a"]), whole("ns2", &["a"])], &[], &Sending::default()), [""; 0]);
    }

    #[test]
    fn what_holds_mail_up_is_named() {
        let said = |records: &[(&str, &str, &str)]| all(&[seen("ns", records)], &[], &Sending::default()).join("\n");
        assert_eq!(said(&[MX, MAIL]), "");
        assert!(said(&[MX, ("mail.", "CNAME", "y.x.example.")]).contains("is an alias (CNAME)"));
        assert!(said(&[MX, MAIL, ("mail.", "AAAA", "::1")]).contains("its MX `mail.x.example` has an IPv6 address"));
        assert!(said(&[("", "A", "10.0.0.1")]).contains("it has no MX, so its mail goes to its own address"));
        assert!(said(&[MAIL]).contains("neither MX nor A"));
    }
}
