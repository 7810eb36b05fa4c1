//! Whether hosts may send a domain's mail, as those that get it judge that: SPF, DKIM, DMARC, and what leads back from an address.

use std::net::IpAddr;

use super::problems::{Seen, dotless};
use crate::dns::{Record, Rrset};

/// Who sends.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// Addresses.
    pub senders: Vec<String>,
    /// The names that they greet with; absolute.
    pub greetings: Vec<String>,
    /// The selectors of their keys.
    pub selectors: Vec<String>,
    /// What leads back from the addresses, and where that and the greetings lead; nothing where nobody could be asked.
    pub known: Option<Vec<Record>>,
}

impl Sending {
    /// Returns the names in a zone whose texts say how its mail is vouched for (RFC 7489, 6.1; RFC 6376, 3.6.2.1).
    pub fn policies(&self, zone: &str) -> Vec<String> {
        if self.senders.is_empty() {
            return Vec::new();
        }
        let keys = self.selectors.iter().map(|selector| format!("{}._domainkey.{zone}", selector.to_lowercase()));
        keys.chain([format!("_dmarc.{zone}")]).collect()
    }

    /// Says whether names lead back from the senders, and lead to them: many servers take no mail otherwise.
    pub fn back(&self) -> Vec<String> {
        let Some(known) = &self.known else { return Vec::new() };
        let leads = |name: &str, to: &str| {
            ["A", "AAAA"].iter().any(|kind| Rrset::among(known, name, kind).values.iter().any(|value| value == to))
        };
        let mut found = Vec::new();
        for sender in &self.senders {
            let Some(reverse) = reverse(sender) else { continue };
            let names = Rrset::among(known, &reverse, "PTR").values;
            if names.is_empty() {
                found.push(format!(
                    "{sender}: no name leads back from it (PTR), and many servers take no mail from such"
                ));
            } else if !names.iter().any(|name| leads(name, sender)) {
                let names: Vec<&str> = names.iter().map(|name| dotless(name)).collect();
                found.push(format!(
                    "{sender}: what leads back from it (PTR), `{}`, does not lead to it",
                    names.join("`, `")
                ));
            }
        }
        for name in &self.greetings {
            if !self.senders.iter().any(|sender| leads(name, sender)) {
                let senders = self.senders.join(", ");
                found.push(format!("`{}`, which {senders} greets with (HELO), does not lead there", dotless(name)));
            }
        }
        found
    }

    /// Says what of a name's policies is against the senders.
    pub fn allowed(&self, seen: &Seen, name: &str) -> Vec<String> {
        let mut found: Vec<String> = self.senders.iter().filter_map(|sender| spf(seen, name, sender)).collect();
        if self.senders.is_empty() || name != seen.zone {
            return found;
        }
        let bare = dotless(name);
        for selector in &self.selectors {
            let key = format!("{}._domainkey.{name}", selector.to_lowercase());
            // A key that was taken back has an empty `p`.
            let is_there = |text: &String| tag(text, "p").is_some_and(|key| !key.is_empty());
            if !texts(seen, &key).iter().any(is_there) {
                found.push(format!("{bare}: it has no DKIM key `{}`", dotless(&key)));
            }
        }
        let policies = texts(seen, &format!("_dmarc.{name}"));
        let policy = policies.iter().filter(|text| text.starts_with("v=DMARC1")).find_map(|text| tag(text, "p"));
        let has_spf = texts(seen, name).iter().any(|text| is_spf(text));
        if let Some(strict @ ("reject" | "quarantine")) = policy.as_deref()
            && self.selectors.is_empty()
            && !has_spf
        {
            found.push(format!(
                "{bare}: its DMARC says `{strict}`, and neither SPF nor a DKIM key (`selectors`) vouches for {}",
                self.senders.join(", ")
            ));
        }
        found
    }
}

/// Returns the name that leads back from an address (RFC 1035, 3.5; RFC 3596, 2.5).
pub fn reverse(address: &str) -> Option<String> {
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let digits = address.octets().into_iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            format!("{}ip6.arpa.", digits.collect::<String>())
        }
    })
}

/// Returns the texts of a name, each joined from its strings.
fn texts(seen: &Seen, name: &str) -> Vec<String> {
    let values = seen.set(name, "TXT").values;
    values.iter().map(|value| value.replace("\" \"", "").trim_matches('"').to_string()).collect()
}

/// Returns a tag's value: `p` of `v=DMARC1; p=reject`.
fn tag(text: &str, name: &str) -> Option<String> {
    let tags = text.split(';').filter_map(|tag| tag.split_once('='));
    let mut own = tags.filter(|(tag, _)| tag.trim() == name);
    own.next().map(|(_, value)| value.trim().to_lowercase())
}

fn is_spf(text: &str) -> bool {
    text == "v=spf1" || text.starts_with("v=spf1 ")
}

/// Says whether a domain's SPF (RFC 7208) lets an address send: terms are read in order, and the first that fits decides.
fn spf(seen: &Seen, name: &str, sender: &str) -> Option<String> {
    let policies: Vec<String> = texts(seen, name).into_iter().filter(|text| is_spf(text)).collect();
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
    use super::super::problems::{all, tests::*};
    use super::*;

    fn from(sender: &str) -> Sending {
        Sending { senders: vec![sender.into()], ..Sending::default() }
    }

    #[test]
    fn a_policy_is_read_in_its_order() {
        let refused = |policy: &str| {
            let policy = format!("\"{policy}\"");
            let zone = seen("ns", &[MX, MAIL, ("", "TXT", &policy)]);
            all(&[zone], &[], &from("10.0.0.1")).join("\n")
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

    #[test]
    fn what_leads_back_has_to_lead_there() {
        let record = |name: &str, kind: &str, value: &str| Record {
            name: name.into(),
            ttl: 60,
            kind: kind.into(),
            value: value.into(),
        };
        let said = |known: &[Record]| {
            let greetings = vec!["new.x.example.".to_string()];
            Sending { known: Some(known.to_vec()), greetings, ..from("10.0.0.1") }.back().join("\n")
        };
        let ptr = record("1.0.0.10.in-addr.arpa.", "PTR", "new.x.example.");
        assert_eq!(said(&[ptr.clone(), record("new.x.example.", "A", "10.0.0.1")]), "");
        assert!(said(&[]).contains("10.0.0.1: no name leads back from it (PTR)"));
        let wrong = said(&[ptr, record("new.x.example.", "A", "10.0.0.2")]);
        assert!(
            wrong.contains("`new.x.example`, does not lead to it") && wrong.contains("greets with (HELO)"),
            "{wrong}"
        );
        assert_eq!(from("10.0.0.1").back(), [""; 0], "nobody was asked");
        assert!(reverse("2001:db8::1").unwrap().starts_with("1.0.0.0.") && reverse("x").is_none());
    }

    #[test]
    fn a_strict_policy_needs_somebody_who_vouches() {
        let said = |texts: &[(&str, &str)], selectors: &[&str]| {
            let mut records = vec![MX, MAIL];
            records.extend(texts.iter().map(|(name, text)| (*name, "TXT", *text)));
            let selectors = selectors.iter().map(|name| name.to_string()).collect();
            let sending = Sending { selectors, ..from("10.0.0.1") };
            all(&[seen("ns", &records)], &[], &sending).join("\n")
        };
        let strict = ("_dmarc.", "\"v=DMARC1; p=reject; rua=mailto:a@x.example\"");
        assert!(said(&[strict], &[]).contains("its DMARC says `reject`, and neither SPF nor a DKIM key"));
        assert_eq!(said(&[strict, ("", "\"v=spf1 mx -all\"")], &[]), "");
        assert_eq!(said(&[("_dmarc.", "\"v=DMARC1; p=none\"")], &[]), "");
        assert_eq!(said(&[strict, ("new._domainkey.", "\"v=DKIM1; p=MIGf\" \"MA0G\"")], &["new"]), "");
        assert!(
            said(&[("new._domainkey.", "\"v=DKIM1; p=\"")], &["new"])
                .contains("no DKIM key `new._domainkey.x.example`")
        );
    }
}
