//! A host's addresses, out of what `ip` or `ifconfig` prints.

use std::net::{IpAddr, Ipv4Addr};

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

/// What a host prints of its network.
pub struct Printed<'t> {
    /// `ip -o link`.
    pub links: &'t str,
    /// [`ADDRESSES`].
    pub addresses: &'t str,
    /// `/proc/net/route`.
    pub routes: &'t str,
    /// A line a bridge: its name, id, whether it speaks STP (1), and its interfaces.
    pub bridges: &'t str,
}

/// Adds the facts about interfaces and addresses.
pub fn facts(printed: &Printed<'_>, facts: &mut Map<String, Value>) {
    let Printed { links, addresses, routes, bridges } = *printed;
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
        if let Some(mut ipv4) = after(&words, "inet").and_then(ipv4_fact) {
            ipv4["broadcast"] = after(&words, "brd").unwrap_or("").into();
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
    for line in bridges.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, id, stp, members @ ..] = &words[..] else { continue };
        let interface = interfaces.entry((*name).into()).or_default();
        interface.insert("type".into(), "bridge".into());
        interface.insert("id".into(), (*id).into());
        interface.insert("stp".into(), (*stp == "1").into());
        interface.insert("interfaces".into(), json!(members));
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

/// Prints every TCP socket of the host, some twice: the kernel gives its tables out a page at a time, and a socket that
/// ends between two pages moves those behind it, so that one reading can miss a socket that was there all the while.
pub const CONNECTIONS: &str =
    "cat /proc/net/tcp /proc/net/tcp6 /proc/net/tcp /proc/net/tcp6 2>/dev/null || netstat -an 2>/dev/null";

/// Prints `port 0019` of each TCP port that somebody listens at; read twice, as [`CONNECTIONS`].
pub const LISTENING: &str = r#"cat /proc/net/tcp /proc/net/tcp6 /proc/net/tcp /proc/net/tcp6 2>/dev/null |
  while read -r _ local _ state _; do [ "$state" != 0A ] || echo "port ${local##*:}"; done"#;

/// The states of a connection in the kernel's order, from 1 (`include/net/tcp_states.h`), in the names of `netstat`.
pub const TCP_STATES: [&str; 11] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

/// One TCP socket, seen from the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Connection {
    pub port: u16,
    pub peer: IpAddr,
    pub state: &'static str,
}

/// Reads what [`CONNECTIONS`] prints, of `/proc` or of `netstat`.
pub fn connections(table: &str) -> Vec<Connection> {
    table.lines().filter_map(|line| of_proc(line).or_else(|| of_netstat(line))).collect()
}

/// Reads `0: 0100007F:0019 00000000:0000 0A ...`; an address is in words of the host's byte order.
fn of_proc(line: &str) -> Option<Connection> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, remote, state) = (words.get(1)?, words.get(2)?, words.get(3)?);
    let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
    let address = remote.split_once(':')?.0;
    let groups = address.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.swap_bytes())
    });
    let peer = match groups.collect::<Option<Vec<u32>>>()?.as_slice() {
        [one] => IpAddr::V4(Ipv4Addr::from(*one)),
        [a, b, c, d] => {
            let bits = [a, b, c, d].iter().fold(0u128, |bits, word| bits << 32 | u128::from(**word));
            // An IPv4 peer of an IPv6 socket is its IPv4 self.
            IpAddr::V6(bits.into()).to_canonical()
        }
        _ => return None,
    };
    let state = usize::from_str_radix(state, 16).ok()?.checked_sub(1)?;
    Some(Connection { port, peer, state: TCP_STATES.get(state)? })
}

/// Reads `tcp 0 0 10.0.0.5:25 10.0.0.9:4711 ESTABLISHED` and BSD's `10.0.0.5.25`.
fn of_netstat(line: &str) -> Option<Connection> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if !words.first()?.starts_with("tcp") {
        return None;
    }
    let split = |word: &'_ str| word.rfind([':', '.']).map(|at| (word[..at].to_string(), word[at + 1..].to_string()));
    let (_, port) = split(words.get(3)?)?;
    let (peer, _) = split(words.get(4)?)?;
    let (word, port) = (words.get(5)?.replace("FIN_WAIT_", "FIN_WAIT"), port.parse().ok()?);
    let state = TCP_STATES.iter().find(|state| **state == word)?;
    let peer = peer.parse::<IpAddr>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.to_canonical());
    Some(Connection { port, peer, state })
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
        let bridges = "br0 8000.00 1 eth0 veth1\n";
        facts(&Printed { links, addresses, routes, bridges }, &mut found);
        assert_eq!(found["br0"]["interfaces"], json!(["eth0", "veth1"]));
        assert_eq!((&found["br0"]["type"], &found["br0"]["stp"]), (&json!("bridge"), &json!(true)));
        assert_eq!(found["eth0"]["ipv4_secondaries"][0]["broadcast"], "");
        assert_eq!(found["default_ipv4"]["address"], "10.0.0.5");
        assert_eq!(found["default_ipv4"]["gateway"], "10.0.0.1");
        assert_eq!(found["default_ipv4"]["broadcast"], "10.0.3.255");
        assert_eq!(found["all_ipv4_addresses"], json!(["10.0.0.5", "10.0.0.6"]));
        assert_eq!(found["interfaces"], json!(["lo", "eth0", "br0"]));
        assert_eq!(found["eth0"]["macaddress"], "02:42:0a:00:00:05");
        assert_eq!(found["eth0"]["ipv4_secondaries"][0]["prefix"], "32");
    }

    #[test]
    fn sockets_of_proc_and_both_netstats_are_read() {
        let peer = |text: &str| text.parse().unwrap();
        let table = "  sl  local_address rem_address   st\n   0: 00000000:0019 00000000:0000 0A 0\n   1: 0A00000A:0019 0900000A:1267 01 0\n\
                     2: 00000000000000000000000000000000:006E 0000000000000000FFFF00000900000A:1267 06 0\n";
        let found = connections(table);
        assert_eq!(found[0], Connection { port: 25, peer: peer("0.0.0.0"), state: "LISTEN" });
        assert_eq!(found[1], Connection { port: 25, peer: peer("10.0.0.9"), state: "ESTABLISHED" });
        assert_eq!(found[2], Connection { port: 110, peer: peer("10.0.0.9"), state: "TIME_WAIT" });
        let table = "Proto Recv-Q Send-Q Local Address Foreign Address State\ntcp 0 0 10.0.0.5:25 10.0.0.9:4711 FIN_WAIT1\n\
                     tcp4 0 0 10.0.0.5.25 10.0.0.9.4711 FIN_WAIT_2\ntcp4 0 0 *.25 *.* LISTEN\n";
        let states: Vec<_> = connections(table).iter().map(|one| (one.port, one.state)).collect();
        assert_eq!(states, [(25, "FIN_WAIT1"), (25, "FIN_WAIT2"), (25, "LISTEN")]);
    }
}
