//! A host's addresses, out of what `ip` or `ifconfig` prints.

use std::net::{IpAddr, Ipv4Addr};

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
