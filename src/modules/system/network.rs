//! A host's addresses, out of what `ip` or `ifconfig` prints.

use std::net::Ipv4Addr;

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
}
