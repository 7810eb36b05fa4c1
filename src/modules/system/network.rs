//! A host's addresses, out of what `ip` or `ifconfig` prints.

use std::net::Ipv4Addr;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

/// Prints every interface with its addresses, with whichever tool the host has.
pub const ADDRESSES: &str = "ip -o addr show 2>/dev/null || ifconfig -a 2>/dev/null || /sbin/ifconfig -a 2>/dev/null";

/// Returns the IPv4 addresses in the output of [`ADDRESSES`], in order.
pub fn ipv4(text: &str) -> Vec<Ipv4Addr> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = words.windows(2).filter(|pair| pair[0] == "inet").map(|pair| pair[1]);
    // `inet 10.0.0.1/24` (ip), `inet 10.0.0.1` (BSD), `inet addr:10.0.0.1` (old net-tools).
    let bare = after.map(|word| word.trim_start_matches("addr:").split('/').next().unwrap_or(""));
    bare.filter_map(|word| word.parse().ok()).collect()
}

/// Adds the facts about interfaces and addresses, out of `ip -o link`, [`ADDRESSES`] and `/proc/net/route`.
pub fn facts((links, addresses, routes): (&str, &str, &str), facts: &mut Map<String, Value>) {
    let mut interfaces: IndexMap<String, Map<String, Value>> = IndexMap::new();
    for line in links.lines() {
        let Some((name, rest)) = numbered(line) else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let interface = interfaces.entry(name.into()).or_default();
        interface.insert("device".into(), name.into());
        let flags = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(flags, _)| flags);
        interface.insert("active".into(), flags.split(',').any(|flag| flag == "UP").into());
        interface.insert("type".into(), if flags.contains("LOOPBACK") { "loopback" } else { "ether" }.into());
        if let Some(mtu) = after(&words, "mtu").and_then(|mtu| mtu.parse::<u64>().ok()) {
            interface.insert("mtu".into(), mtu.into());
        }
        if let Some(mac) = after(&words, "link/ether") {
            interface.insert("macaddress".into(), mac.into());
        }
    }
    for line in addresses.lines() {
        let Some((name, rest)) = numbered(line) else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let interface = interfaces.entry(name.into()).or_default();
        interface.entry("device").or_insert(name.into());
        if let Some(ipv4) = after(&words, "inet").and_then(ipv4_fact) {
            match interface.get("ipv4") {
                None => drop(interface.insert("ipv4".into(), ipv4)),
                Some(_) => push(interface.entry("ipv4_secondaries"), ipv4),
            }
        }
        if let Some((address, prefix)) = after(&words, "inet6").and_then(|word| word.split_once('/')) {
            let scope = after(&words, "scope").unwrap_or("");
            push(interface.entry("ipv6"), json!({ "address": address, "prefix": prefix, "scope": scope }));
        }
    }
    let public: Vec<String> =
        ipv4(addresses).iter().filter(|one| !one.is_loopback()).map(Ipv4Addr::to_string).collect();
    facts.insert("all_ipv4_addresses".into(), json!(public));
    let sixes = interfaces.values().filter_map(|interface| interface.get("ipv6")?.as_array()).flatten();
    let sixes = sixes.filter(|one| one["address"] != "::1").map(|one| one["address"].clone());
    facts.insert("all_ipv6_addresses".into(), sixes.collect());
    facts.insert("default_ipv4".into(), default_route(routes, &interfaces));
    facts.insert("interfaces".into(), json!(interfaces.keys().collect::<Vec<_>>()));
    for (name, interface) in interfaces {
        facts.insert(name.replace(['-', '.', ':'], "_"), interface.into());
    }
}

/// Splits `2: eth0@if7: rest` and `2: eth0    rest`.
fn numbered(line: &str) -> Option<(&str, &str)> {
    let (number, rest) = line.split_once(": ")?;
    let (name, rest) = rest.split_once([':', ' '])?;
    let name = name.split('@').next()?;
    (number.trim().bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()).then_some((name, rest))
}

fn after<'t>(words: &[&'t str], word: &str) -> Option<&'t str> {
    words.windows(2).find(|pair| pair[0] == word).map(|pair| pair[1])
}

fn push(entry: serde_json::map::Entry<'_>, value: Value) {
    if let Value::Array(list) = entry.or_insert(json!([])) {
        list.push(value);
    }
}

/// Returns what Ansible says of `10.0.0.5/24`.
fn ipv4_fact(word: &str) -> Option<Value> {
    let (address, prefix) = word.split_once('/').unwrap_or((word, "32"));
    let (address, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u32>().ok().filter(|bits| *bits <= 32)?);
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    let bits = u32::from(address);
    Some(json!({
        "address": address.to_string(),
        "netmask": Ipv4Addr::from(mask).to_string(),
        "network": Ipv4Addr::from(bits & mask).to_string(),
        "broadcast": Ipv4Addr::from(bits | !mask).to_string(),
        "prefix": prefix.to_string(),
    }))
}

/// Reads the default route of `/proc/net/route`, whose addresses are in the host's byte order.
fn default_route(routes: &str, interfaces: &IndexMap<String, Map<String, Value>>) -> Value {
    let rows = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default = rows.filter(|row| row.len() > 7).find(|row| row[1] == "00000000" && row[7] == "00000000");
    let Some(row) = default else { return json!({}) };
    let mut fact = match interfaces.get(row[0]).and_then(|interface| interface.get("ipv4")) {
        Some(Value::Object(ipv4)) => ipv4.clone(),
        _ => Map::new(),
    };
    fact.insert("interface".into(), row[0].into());
    if let Ok(gateway) = u32::from_str_radix(row[2], 16) {
        fact.insert("gateway".into(), Ipv4Addr::from(gateway.swap_bytes()).to_string().into());
    }
    fact.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ip_and_both_ifconfigs_are_read() {
        let ip =
            "1: lo    inet 127.0.0.1/8 scope host lo\\ valid_lft forever\n2: eth0    inet 10.0.0.5/24 brd 10.0.0.255\n";
        assert_eq!(ipv4(ip), ["127.0.0.1", "10.0.0.5"].map(|address| address.parse::<Ipv4Addr>().unwrap()));
        let old =
            "eth0  Link encap:Ethernet\n      inet addr:10.0.0.5  Bcast:10.0.0.255\n      inet6 addr: fe80::1/64\n";
        assert_eq!(ipv4(old), [Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(ipv4("em0: flags=8843\n\tinet 10.0.0.5 netmask 0xffffff00\n"), [Ipv4Addr::new(10, 0, 0, 5)]);
    }

    #[test]
    fn interfaces_have_their_addresses_and_the_default_route_its_own() {
        let links = "1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue\\    link/loopback 00:00 brd 00:00\n\
                     2: eth0@if7: <BROADCAST,UP> mtu 1500 qdisc x\\    link/ether 02:42:0a:00:00:05 brd ff:ff\n";
        let addresses = "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 10.0.0.5/22 brd 10.0.3.255 scope global eth0\n\
                         2: eth0    inet 10.0.0.6/32 scope global eth0\n2: eth0    inet6 fe80::1/64 scope link\n";
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                      eth0 0000000A 00000000 0001 0 0 0 00FCFFFF 0 0 0\neth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n";
        let mut found = Map::new();
        facts((links, addresses, routes), &mut found);
        assert_eq!(found["default_ipv4"]["address"], "10.0.0.5");
        assert_eq!(found["default_ipv4"]["gateway"], "10.0.0.1");
        assert_eq!(found["default_ipv4"]["broadcast"], "10.0.3.255");
        assert_eq!(found["all_ipv4_addresses"], json!(["10.0.0.5", "10.0.0.6"]));
        assert_eq!(found["interfaces"], json!(["lo", "eth0"]));
        assert_eq!(found["eth0"]["macaddress"], "02:42:0a:00:00:05");
        assert_eq!(found["eth0"]["ipv4_secondaries"][0]["prefix"], "32");
    }
}
