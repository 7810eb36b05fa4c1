//! Facts about network interfaces and addresses, out of `/sys/class/net`, `ip` and `ethtool`.

use std::net::Ipv4Addr;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::seen::base;
use super::{Asks, Collector, Seen};
use crate::modules::system::network::{ADDRESSES, ipv4};

/// `8.8.8.8` and the address of IPv6 are only looked up in the host's own table of routes; nothing is sent there.
const COMMANDS: &str = r#"mark devices; ip -o link show
mark routes; cat /proc/net/route
mark route4; ip -4 route get 8.8.8.8
mark route6; ip -6 route get 2404:6800:400a:800::1012
mark local4; ip -4 route show table local
mark local6; ip -6 route show table local
mark ethtool; if command -v ethtool >/dev/null; then for device in /sys/class/net/*; do
  for what in -k -T; do printf '%s %s\n' "$what" "${device##*/}"; $bound ethtool $what "${device##*/}"; done; done; fi
mark addresses
"#;

pub const NETWORK: Collector = Collector {
    name: "network",
    ids: &["interfaces", "default_ipv4", "default_ipv6", "all_ipv4_addresses", "all_ipv6_addresses"],
    needs: &["distribution", "platform"],
    asks: Asks {
        files: &[
            "/sys/class/net/*/address",
            "/sys/class/net/*/flags",
            "/sys/class/net/*/mtu",
            "/sys/class/net/*/operstate",
            "/sys/class/net/*/speed",
            "/sys/class/net/*/type",
            "/sys/class/net/*/bonding/*",
            "/sys/class/net/*/bonding_slave/perm_hwaddr",
            "/sys/class/net/*/bridge/bridge_id",
            "/sys/class/net/*/bridge/stp_state",
        ],
        links: &["/sys/class/net/*/device", "/sys/class/net/*/device/driver/module"],
        there: &["/sys/class/net/*/bonding", "/sys/class/net/*/bridge", "/sys/class/net/*/brif/*"],
        commands: &[COMMANDS, ADDRESSES],
    },
    read: network,
};

type Interfaces = IndexMap<String, Map<String, Value>>;

fn network(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    let mut interfaces = Interfaces::new();
    for line in seen.section("devices").lines() {
        link(line, &mut interfaces);
    }
    for (path, _) in seen.files("/sys/class/net/", "/address") {
        let name = base(path.trim_end_matches("/address"));
        interfaces.entry(name.into()).or_default().insert("device".into(), name.into());
    }
    for (name, interface) in &mut interfaces {
        kernel(seen, name, interface);
        capabilities(seen, name, interface);
    }
    for line in seen.section("addresses").lines() {
        address(line, &mut interfaces);
    }
    let public: Vec<String> =
        ipv4(seen.section("addresses")).iter().filter(|one| !one.is_loopback()).map(Ipv4Addr::to_string).collect();
    facts.insert("all_ipv4_addresses".into(), json!(public));
    let sixes = interfaces.values().filter_map(|interface| interface.get("ipv6")?.as_array()).flatten();
    let sixes = sixes.filter(|one| one["address"] != "::1").map(|one| one["address"].clone());
    facts.insert("all_ipv6_addresses".into(), sixes.collect());
    let four = route(seen.section("route4")).or_else(|| default_route(seen.section("routes"), &interfaces));
    facts.insert("default_ipv4".into(), default4(four.unwrap_or_default(), &interfaces));
    facts.insert("default_ipv6".into(), default6(route(seen.section("route6")).unwrap_or_default(), &interfaces));
    let reachable = |table: &str| -> Value {
        let mut once: Vec<&str> = Vec::new();
        for line in seen.section(table).lines() {
            let mut words = line.split_whitespace();
            if let (Some("local"), Some(address)) = (words.next(), words.next())
                && !once.contains(&address)
            {
                once.push(address);
            }
        }
        json!(once)
    };
    facts.insert("locally_reachable_ips".into(), json!({ "ipv4": reachable("local4"), "ipv6": reachable("local6") }));
    let name = |name: &str| name.replace(':', "_");
    facts.insert("interfaces".into(), interfaces.keys().map(|key| name(key)).collect());
    for (key, interface) in interfaces {
        facts.insert(name(&key), interface.into());
    }
}

/// Reads a line of `ip -o link`, for hosts that have no `/sys`.
fn link(line: &str, interfaces: &mut Interfaces) {
    let Some((name, rest)) = numbered(line) else { return };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let interface = interfaces.entry(name.into()).or_default();
    interface.insert("device".into(), name.into());
    let flags = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(flags, _)| flags);
    let has = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
    interface.insert("active".into(), has("UP").into());
    interface.insert("promisc".into(), has("PROMISC").into());
    interface.insert("type".into(), if has("LOOPBACK") { "loopback" } else { "ether" }.into());
    if let Some(mtu) = after(&words, "mtu").and_then(|mtu| mtu.parse::<u64>().ok()) {
        interface.insert("mtu".into(), mtu.into());
    }
    if let Some(mac) = after(&words, "link/ether") {
        interface.insert("macaddress".into(), mac.into());
    }
}

/// Adds what the kernel tells of an interface below `/sys/class/net`.
fn kernel(seen: &Seen<'_>, name: &str, interface: &mut Map<String, Value>) {
    let path = format!("/sys/class/net/{name}");
    let file = |name: &str| seen.file(&format!("{path}/{name}"));
    let mut add = |name: &str, value: Value| drop(interface.insert(name.into(), value));
    if let Some(mac) = file("address").filter(|mac| *mac != "00:00:00:00:00:00") {
        add("macaddress", mac.into());
    }
    if let Some(mtu) = file("mtu").and_then(|mtu| mtu.parse::<u64>().ok()) {
        add("mtu", mtu.into());
    }
    if let Some(state) = file("operstate") {
        add("active", (state != "down").into());
    }
    if let Some(module) = seen.link(&format!("{path}/device/driver/module")) {
        add("module", base(module).into());
    }
    // The numbers of the kernel's if_arp.h.
    let kind = file("type").map(|kind| match kind {
        "1" => "ether",
        "32" => "infiniband",
        "512" => "ppp",
        "772" => "loopback",
        "65534" => "tunnel",
        _ => "unknown",
    });
    if let Some(kind) = kind {
        add("type", kind.into());
    }
    if seen.is_there(&format!("{path}/bridge")) {
        add("type", "bridge".into());
        add("interfaces", seen.there(&format!("{path}/brif/")).map(base).collect());
        add("id", file("bridge/bridge_id").unwrap_or("").into());
        add("stp", (file("bridge/stp_state") == Some("1")).into());
    }
    if seen.is_there(&format!("{path}/bonding")) {
        let word = |name: &str| file(name).and_then(|text| text.split_whitespace().next()).unwrap_or("");
        add("type", "bonding".into());
        add("slaves", file("bonding/slaves").unwrap_or("").split_whitespace().collect());
        for name in ["mode", "miimon", "lacp_rate"] {
            add(name, word(&format!("bonding/{name}")).into());
        }
        if let Some(primary) = file("bonding/primary") {
            add("primary", primary.into());
            add("all_slaves_active", (file("bonding/all_slaves_active") == Some("1")).into());
        }
    }
    if let Some(mac) = file("bonding_slave/perm_hwaddr") {
        add("perm_macaddress", mac.into());
    }
    if let Some(device) = seen.link(&format!("{path}/device")) {
        add("pciid", base(device).into());
    }
    if let Some(speed) = file("speed").and_then(|speed| speed.parse::<i64>().ok()) {
        add("speed", speed.into());
    }
    let flags = file("flags").and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
    if let Some(flags) = flags {
        add("promisc", (flags & 0x100 != 0).into());
    }
}

/// Adds what `ethtool` says that an interface can do.
fn capabilities(seen: &Seen<'_>, name: &str, interface: &mut Map<String, Value>) {
    let printed = |what: &str| {
        let start = format!("{what} {name}");
        let mut lines = seen.section("ethtool").lines().skip_while(move |line| *line != start);
        lines.next();
        lines.take_while(|line| !line.starts_with("-k ") && !line.starts_with("-T ")).collect::<Vec<&str>>()
    };
    let features = printed("-k").into_iter().filter_map(|line| line.split_once(": "));
    let features =
        features.map(|(key, value)| (key.trim().replace('-', "_"), value.trim().into())).collect::<Map<_, _>>();
    if !features.is_empty() {
        interface.insert("features".into(), features.into());
    }
    let stamps = printed("-T").join("\n");
    if stamps.is_empty() {
        return;
    }
    let named = |start: &str| -> Value {
        let rests = stamps.split(start).skip(1);
        let words = rests.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(""));
        words.map(str::to_lowercase).collect()
    };
    interface.insert("timestamping".into(), named("SOF_TIMESTAMPING_"));
    interface.insert("hw_timestamp_filters".into(), named("HWTSTAMP_FILTER_"));
    let clock = stamps.split_once("PTP Hardware Clock: ").and_then(|(_, rest)| rest.split_whitespace().next());
    if let Some(index) = clock.and_then(|index| index.parse::<u64>().ok()) {
        interface.insert("phc_index".into(), index.into());
    }
}

/// Reads a line of `ip -o addr`.
fn address(line: &str, interfaces: &mut Interfaces) {
    let Some((name, rest)) = numbered(line) else { return };
    // The first line of what `ip` prints without `-o`; the second is about lifetimes.
    let words: Vec<&str> = rest.split('\\').next().unwrap_or("").split_whitespace().collect();
    let device = interfaces.entry(name.into()).or_default();
    device.entry("device").or_insert(name.into());
    if let Some(mut fact) = after(&words, "inet").and_then(ipv4_fact) {
        fact["broadcast"] = after(&words, "brd").unwrap_or("").into();
        let secondary = words.contains(&"secondary");
        // An address with a label of its own is an interface for itself.
        let label = words.last().filter(|label| label.starts_with(&format!("{name}:"))).copied();
        if secondary || label.is_none() && device.contains_key("ipv4") {
            push(device.entry("ipv4_secondaries"), fact.clone());
        } else if label.is_none() {
            device.insert("ipv4".into(), fact.clone());
        }
        if let Some(label) = label {
            let own = interfaces.entry(label.into()).or_default();
            match secondary || own.contains_key("ipv4") {
                true => push(own.entry("ipv4_secondaries"), fact),
                false => drop(own.insert("ipv4".into(), fact)),
            }
        }
    } else if let Some(word) = after(&words, "inet6") {
        // Of two ends of a tunnel, the prefix is told with the other.
        let prefix =
            word.split_once('/').or_else(|| after(&words, "peer")?.split_once('/')).map_or("128", |(_, bits)| bits);
        let (address, scope) = (word.split('/').next().unwrap_or(word), after(&words, "scope").unwrap_or(""));
        push(device.entry("ipv6"), json!({ "address": address, "prefix": prefix, "scope": scope }));
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
        "prefix": prefix.to_string(),
    }))
}

/// Reads `8.8.8.8 via 10.0.0.1 dev eth0 src 10.0.0.5`, which `ip route get` prints; a route that refuses begins otherwise.
fn route(text: &str) -> Option<Map<String, Value>> {
    let words: Vec<&str> = text.lines().next()?.split_whitespace().collect();
    words.first().filter(|word| word.contains(['.', ':']))?;
    let facts = [("interface", "dev"), ("address", "src"), ("gateway", "via")];
    let facts = facts.into_iter().filter_map(|(name, word)| Some((name.to_string(), after(&words, word)?.into())));
    Some(facts.collect())
}

/// Reads the default route of `/proc/net/route`, whose addresses are in the host's byte order.
fn default_route(routes: &str, interfaces: &Interfaces) -> Option<Map<String, Value>> {
    let rows = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default = rows.filter(|row| row.len() > 7).find(|row| row[1] == "00000000" && row[7] == "00000000")?;
    let mut fact = Map::from_iter([("interface".to_string(), default[0].into())]);
    if let Ok(gateway) = u32::from_str_radix(default[2], 16) {
        fact.insert("gateway".into(), Ipv4Addr::from(gateway.swap_bytes()).to_string().into());
    }
    if let Some(ipv4) = interfaces.get(default[0]).and_then(|interface| interface.get("ipv4")) {
        fact.insert("address".into(), ipv4["address"].clone());
    }
    Some(fact)
}

/// Adds to a route what is known of its address and the interface that has it.
fn default4(mut route: Map<String, Value>, interfaces: &Interfaces) -> Value {
    let mut addresses = interfaces.iter().flat_map(|(name, interface)| {
        let others = interface.get("ipv4_secondaries").and_then(Value::as_array);
        interface.get("ipv4").into_iter().chain(others.into_iter().flatten()).map(move |fact| (name, fact))
    });
    let own = addresses.rfind(|(_, fact)| Some(&fact["address"]) == route.get("address"));
    if let Some((label, Value::Object(fact))) = own {
        route.extend(fact.clone());
        route.insert("alias".into(), label.as_str().into());
        device(&mut route, label, interfaces);
    }
    route.into()
}

fn default6(mut route: Map<String, Value>, interfaces: &Interfaces) -> Value {
    let addresses = interfaces.iter().flat_map(|(name, interface)| {
        let list = interface.get("ipv6").and_then(Value::as_array);
        list.into_iter().flatten().map(move |fact| (name, fact))
    });
    let own = addresses.into_iter().find(|(_, fact)| Some(&fact["address"]) == route.get("address"));
    if let Some((name, Value::Object(fact))) = own {
        route.extend(fact.clone());
        device(&mut route, name, interfaces);
    }
    route.into()
}

/// Adds the facts of the device itself, whose name a label begins with.
fn device(route: &mut Map<String, Value>, label: &str, interfaces: &Interfaces) {
    let Some(interface) = interfaces.get(label.split(':').next().unwrap_or(label)) else { return };
    for name in ["macaddress", "mtu", "type"] {
        route.extend(interface.get(name).map(|value| (name.to_string(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: &str = "\u{1e}devices\n1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue\\    link/loopback 00:00 brd 00:00\n\
        2: eth0@if7: <BROADCAST,UP> mtu 1500 qdisc x\\    link/ether 02:42:0a:00:00:05 brd ff:ff\n";
    const ADDRESSES: &str = "\u{1e}addresses\n1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n\
        2: eth0    inet 10.0.0.5/22 brd 10.0.3.255 scope global eth0\\       valid_lft forever\n\
        2: eth0    inet 10.0.0.6/32 scope global eth0\n2: eth0    inet 10.0.0.7/22 scope global secondary eth0:1\n\
        2: eth0    inet6 fd00::2/64 scope global\n2: eth0    inet6 fe80::1/64 scope link\n";

    fn facts_of(printed: &str) -> Map<String, Value> {
        let mut facts = Map::new();
        network(&Seen::new(printed), &mut facts);
        facts
    }

    #[test]
    fn interfaces_have_their_addresses_and_the_default_route_its_own() {
        let routes = "\u{1e}routes\nIface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                      eth0 0000000A 00000000 0001 0 0 0 00FCFFFF 0 0 0\neth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n";
        let found = facts_of(&format!("{LINKS}{ADDRESSES}{routes}"));
        assert_eq!(found["eth0"]["ipv4_secondaries"][0]["broadcast"], "");
        assert_eq!(found["default_ipv4"]["address"], "10.0.0.5");
        assert_eq!(found["default_ipv4"]["gateway"], "10.0.0.1");
        assert_eq!(found["default_ipv4"]["broadcast"], "10.0.3.255");
        assert_eq!(found["all_ipv4_addresses"], json!(["10.0.0.5", "10.0.0.6", "10.0.0.7"]));
        assert_eq!(found["interfaces"], json!(["lo", "eth0", "eth0_1"]));
        assert_eq!(found["eth0"]["macaddress"], "02:42:0a:00:00:05");
        assert_eq!(found["eth0"]["ipv4_secondaries"][0]["prefix"], "32");
        assert_eq!(found["eth0"]["ipv4_secondaries"][1], found["eth0_1"]["ipv4_secondaries"][0]);
    }

    #[test]
    fn the_way_out_is_what_the_kernel_would_take() {
        let routes = "\u{1e}route4\n8.8.8.8 via 10.0.0.1 dev eth0 src 10.0.0.6 uid 0 \\    cache\n\
                      \u{1e}route6\n2404:6800:400a:800::1012 from :: via fd00::1 dev eth0 src fd00::2 metric 1024 pref medium\n\
                      \u{1e}local4\nlocal 127.0.0.0/8 dev lo proto kernel\nbroadcast 10.0.3.255 dev eth0\nlocal 10.0.0.5 dev eth0\n\
                      \u{1e}local6\nlocal ::1 dev lo\nlocal ::1 dev lo\n";
        let found = facts_of(&format!("{LINKS}{ADDRESSES}{routes}"));
        let four = json!({"interface": "eth0", "address": "10.0.0.6", "gateway": "10.0.0.1", "netmask": "255.255.255.255",
            "network": "10.0.0.6", "prefix": "32", "broadcast": "", "alias": "eth0", "macaddress": "02:42:0a:00:00:05",
            "mtu": 1500, "type": "ether"});
        assert_eq!(found["default_ipv4"], four);
        let six = json!({"interface": "eth0", "address": "fd00::2", "gateway": "fd00::1", "prefix": "64", "scope": "global",
            "macaddress": "02:42:0a:00:00:05", "mtu": 1500, "type": "ether"});
        assert_eq!(found["default_ipv6"], six);
        assert_eq!(found["locally_reachable_ips"], json!({"ipv4": ["127.0.0.0/8", "10.0.0.5"], "ipv6": ["::1"]}));
        let none = facts_of("\u{1e}route6\nunreachable 2404:6800:400a:800::1012 dev lo error -101\n");
        assert_eq!((&none["default_ipv4"], &none["default_ipv6"]), (&json!({}), &json!({})));
    }

    #[test]
    fn the_kernel_tells_kinds_members_and_drivers() {
        let printed = "\u{1e}files\n/sys/class/net/br0/address:02:00:00:00:00:01\n/sys/class/net/br0/type:1\n\
            /sys/class/net/br0/bridge/bridge_id:8000.00\n/sys/class/net/br0/bridge/stp_state:1\n/sys/class/net/br0/flags:0x1103\n\
            /sys/class/net/bond0/address:02:00:00:00:00:02\n/sys/class/net/bond0/bonding/slaves:eth0 eth1\n\
            /sys/class/net/bond0/bonding/mode:active-backup 1\n/sys/class/net/bond0/bonding/primary:eth0\n\
            /sys/class/net/eth0/address:02:00:00:00:00:03\n/sys/class/net/eth0/operstate:down\n/sys/class/net/eth0/speed:-1\n\
            \u{1e}there\n/sys/class/net/br0/bridge\n/sys/class/net/br0/brif/veth1\n/sys/class/net/bond0/bonding\n\
            \u{1e}links\nlrwxrwxrwx 1 r r 0 Nov 27 22:00 /sys/class/net/eth0/device -> ../../../virtio2\n\
            lrwxrwxrwx 1 r r 0 Nov 27 22:00 /sys/class/net/eth0/device/driver/module -> ../../../../module/virtio_net\n\
            \u{1e}ethtool\n-k eth0\nFeatures for eth0:\nrx-checksumming: on [fixed]\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n\
            -T eth0\nTime stamping parameters for eth0:\nCapabilities:\n\tsoftware-transmit (SOF_TIMESTAMPING_TX_SOFTWARE)\n\
            PTP Hardware Clock: 0\nHardware Receive Filter Modes:\n\tnone (HWTSTAMP_FILTER_NONE)\n";
        let found = facts_of(printed);
        assert_eq!((&found["br0"]["type"], &found["br0"]["stp"]), (&json!("bridge"), &json!(true)));
        assert_eq!((&found["br0"]["interfaces"], &found["br0"]["promisc"]), (&json!(["veth1"]), &json!(true)));
        assert_eq!(
            (&found["bond0"]["mode"], &found["bond0"]["slaves"]),
            (&json!("active-backup"), &json!(["eth0", "eth1"]))
        );
        let eth0 = &found["eth0"];
        assert_eq!(
            (&eth0["active"], &eth0["speed"], &eth0["module"]),
            (&json!(false), &json!(-1), &json!("virtio_net"))
        );
        assert_eq!((&eth0["pciid"], &eth0["features"]["tx_checksum_ipv4"]), (&json!("virtio2"), &json!("off [fixed]")));
        assert_eq!((&eth0["timestamping"], &eth0["phc_index"]), (&json!(["tx_software"]), &json!(0)));
        assert_eq!(eth0["hw_timestamp_filters"], json!(["none"]));
        assert!(!found["br0"].as_object().unwrap().contains_key("features"));
    }
}
