//! What is wrong with records for mail: servers that differ, exchangers that are aliases, senders that are not allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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
}

impl Seen {
    pub fn serial(&self) -> Option<u32> {
        let soa = self.records.iter().find(|record| record.kind == "SOA")?;
        soa.value.split(' ').nth(2)?.parse().ok()
    }

    fn set(&self, name: &str, kind: &str) -> Rrset {
        Rrset::among(&self.records, name, kind)
    }
}

/// Returns all problems. `exchanges` are the records of the names that mail goes to; `senders` are addresses.
pub fn all(seen: &[Seen], exchanges: &[Record], senders: &[String]) -> Vec<String> {
    let mut found = Vec::new();
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
        let Some(first) = well.first() else { continue };
        for name in &first.names {
            found.extend(differing(&well, name));
            found.extend(for_mail(first, name, exchanges));
            let allowed = senders.iter().filter_map(|sender| spf(first, name, sender));
            found.extend(allowed);
        }
    }
    found
}

fn dotless(name: &str) -> &str {
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

/// Says whether a domain's SPF (RFC 7208) lets an address send: terms are read in order, and the first that fits decides.
fn spf(seen: &Seen, name: &str, sender: &str) -> Option<String> {
    let text = |value: &String| value.replace("\" \"", "").trim_matches('"').to_string();
    let policies = seen.set(name, "TXT").values;
    let policies: Vec<String> =
        policies.iter().map(text).filter(|text| text == "v=spf1" || text.starts_with("v=spf1 ")).collect();
    let bare = dotless(name);
    let policy = match policies.as_slice() {
        [] => return None,
        [policy] => policy,
        _ => return Some(format!("{bare}: it has several SPF policies, which is as good as a wrong one")),
    };
    let address: IpAddr = sender.parse().ok()?;
    let is = |name: &str, kind: &str| seen.set(name, kind).values.iter().any(|value| *value == sender);
    for term in policy.split_whitespace().skip(1) {
        let (sign, term) = match term.strip_prefix(['+', '-', '~', '?']) {
            Some(rest) => (&term[..1], rest),
            None => ("+", term),
        };
        let (mechanism, of) = term.split_once([':', '=']).unwrap_or((term, ""));
        let target = if of.is_empty() { name.to_string() } else { format!("{}.", dotless(&of.to_lowercase())) };
        let fits = match mechanism.to_lowercase().as_str() {
            "ip4" | "ip6" => within(address, of),
            "a" => is(&target, "A") || is(&target, "AAAA"),
            "mx" => seen
                .set(&target, "MX")
                .values
                .iter()
                .any(|mx| mx.split(' ').nth(1).is_some_and(|exchange| is(exchange, "A") || is(exchange, "AAAA"))),
            "all" => true,
            "include" | "redirect" | "exists" | "ptr" => {
                return Some(format!("{bare}: whether its SPF lets {sender} send depends on `{term}`: look there"));
            }
            _ => false,
        };
        match (fits, sign) {
            (false, _) => {}
            (true, "+" | "?") => return None,
            (true, _) => return Some(format!("{bare}: its SPF does not let {sender} send: `{sign}{term}`")),
        }
    }
    None
}

/// Says whether an address is in a range such as `10.0.0.0/8`, or is the one that stands there.
fn within(address: IpAddr, range: &str) -> bool {
    let (base, length) =
        range.split_once('/').map_or((range, None), |(base, length)| (base, length.parse::<u32>().ok()));
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let Ok(base) = base.parse::<IpAddr>() else { return false };
    let ((one, width), (other, its)) = (bits(address), bits(base));
    let length = length.unwrap_or(width).min(width);
    width == its && (length == 0 || (one ^ other) >> (128 - length) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(server: &str, records: &[(&str, &str, &str)]) -> Seen {
        let records = records.iter().map(|(name, kind, value)| Record {
            name: format!("{name}x.example."),
            ttl: 60,
            kind: (*kind).into(),
            value: (*value).into(),
        });
        let names = vec!["x.example.".into(), "mail.x.example.".into()];
        Seen { server: server.into(), zone: "x.example.".into(), names, lame: None, records: records.collect() }
    }

    const MX: (&str, &str, &str) = ("", "MX", "10 mail.x.example.");
    const MAIL: (&str, &str, &str) = ("mail.", "A", "10.0.0.1");

    #[test]
    fn servers_that_differ_and_lame_ones_are_named() {
        let one = seen("ns1", &[MX, MAIL, ("", "SOA", "ns. root. 7 1 1 1 1")]);
        let other = seen("ns2", &[MX, ("mail.", "A", "10.0.0.2"), ("", "SOA", "ns. root. 6 1 1 1 1")]);
        let lame = Seen { lame: Some("no connection".into()), ..seen("ns3", &[]) };
        assert_eq!(
            all(&[one, other, lame], &[], &[]),
            [
                "x.example: name server `ns3`: no connection",
                "x.example: serials differ: 7 on `ns1`, 6 on `ns2`",
                "mail.x.example: A differs: `ns1` says 10.0.0.1 with TTL 60; `ns2` says 10.0.0.2 with TTL 60",
            ]
        );
    }

    #[test]
    fn what_holds_mail_up_is_named() {
        let said = |records: &[(&str, &str, &str)]| all(&[seen("ns", records)], &[], &[]).join("\n");
        assert_eq!(said(&[MX, MAIL]), "");
        assert!(said(&[MX, ("mail.", "CNAME", "y.x.example.")]).contains("is an alias (CNAME)"));
        assert!(said(&[MX, MAIL, ("mail.", "AAAA", "::1")]).contains("its MX `mail.x.example` has an IPv6 address"));
        assert!(said(&[("", "A", "10.0.0.1")]).contains("it has no MX, so its mail goes to its own address"));
        assert!(said(&[MAIL]).contains("neither MX nor A"));
    }

    #[test]
    fn a_policy_is_read_in_its_order() {
        let refused = |policy: &str| {
            let policy = format!("\"{policy}\"");
            let zone = seen("ns", &[MX, MAIL, ("", "TXT", &policy)]);
            all(&[zone], &[], &["10.0.0.1".into()]).join("\n")
        };
        for policy in [
            "v=spf1 ip4:10.0.0.1 -all",
            "v=spf1 ip4:10.0.0.0/24 -all",
            "v=spf1 mx -all",
            "v=spf1 a:mail.x.example -all",
            "v=spf1 ?all",
            "v=spf1",
            "other",
        ] {
            assert_eq!(refused(policy), "", "{policy}");
        }
        for (policy, says) in [
            ("v=spf1 ip4:10.0.1.0/24 -all", "does not let 10.0.0.1 send: `-all`"),
            ("v=spf1 a ~all", "`~all`"),
            ("v=spf1 -ip4:10.0.0.1 +all", "`-ip4:10.0.0.1`"),
            ("v=spf1 include:other.example -all", "depends on `include:other.example`"),
        ] {
            assert!(refused(policy).contains(says), "{policy}: {}", refused(policy));
        }
    }
}
