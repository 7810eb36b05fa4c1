//! `dns_facts` against a primary and its secondary.

use serde_json::Value;

use crate::named::{Named, SECRET, zone};
use crate::program::Program;
use crate::sshd::{free_port, wait_for};

fn facts(arguments: &str) -> Value {
    let program = Program::new();
    program.file("hosts", "here ansible_connection=local\n");
    program.file(
        "site.yml",
        &format!(
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - dns_facts: {arguments}\n      register: dns\n    \
         - copy: {{dest: DIR/facts, content: \"{{{{ dns | to_json }}}}\"}}\n"
        )
        .replace("DIR", &program.path("").display().to_string()),
    );
    program.run("play -i hosts site.yml").expect(0);
    serde_json::from_str(&program.read("facts")).unwrap()
}

fn problems(facts: &Value) -> Vec<&str> {
    facts["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect()
}

#[test]
fn every_server_is_asked_and_what_differs_or_holds_mail_up_is_named() {
    let records = "mail 7200 IN A 10.77.0.10\nmail IN AAAA 2001:db8::1\n@ IN MX 10 mail\n\
                   @ IN MX 20 alias\nalias IN CNAME mail\n@ IN TXT \"v=spf1 ip4:10.77.0.10 -all\"\n";
    let zones = "zone example.com { type primary; file \"example.com\"; update-policy { grant * zonesub ANY; }; };\n\
                 zone 0.77.10.in-addr.arpa { type primary; file \"reverse\"; };\n";
    let reverse = zone("10 IN PTR mail.example.com.\n");
    let primary = Named::start(zones, &[("example.com", &zone(records)), ("reverse", &reverse)]);
    let port = primary.port;
    // It is never told of changes, and hears of them in an hour.
    let zones =
        format!("zone example.com {{ type secondary; file \"copy\"; primaries {{ 127.0.0.1 port {port}; }}; }};\n");
    let secondary = Named::start(&zones, &[]);
    assert!(wait_for(|| secondary.serial("example.com") == 10));

    let asked = format!(
        "names: [example.com, mail.example.com], port: {port}, senders: [10.77.0.10, 10.77.0.20], \
         greetings: ns.example.com, selectors: s1"
    );
    // The primary stands in for a resolver: it knows this zone.
    let seen = facts(&format!("{{{asked}, resolver: 127.0.0.1}}"));
    let expected = [
        "example.com: its MX `mail.example.com` has an IPv6 address, and qmail listens on IPv4 only",
        "example.com: its MX `alias.example.com` is an alias (CNAME), which RFC 2181, 10.3 forbids",
        "example.com: its SPF does not let 10.77.0.20 send: `-all`",
        "mail.example.com: it has an IPv6 address (AAAA), and qmail listens on IPv4 only",
        "10.77.0.20: no name leads back from it (PTR), and many servers take no mail from such",
        "`ns.example.com`, which 10.77.0.10, 10.77.0.20 greets with (HELO), does not lead there",
        "example.com: it has no DKIM key `s1._domainkey.example.com`",
    ];
    let found = problems(&seen);
    assert!(expected.iter().all(|problem| found.contains(problem)), "{found:#?}");
    assert!(
        !found.iter().any(|problem| problem.contains("differ")
            || problem.contains("10.77.0.10 send")
            || problem.starts_with("10.77.0.10:")),
        "{found:#?}"
    );
    let zone = &seen["zones"][0];
    assert_eq!(zone["zone"], "example.com.");
    assert_eq!(zone["ns"], serde_json::json!(["ns.example.com."]));
    assert_eq!(zone["servers"][0]["serial"], 10);
    let records = seen["records"].as_array().unwrap();
    let mail = records.iter().find(|record| record["record"] == "mail.example.com." && record["type"] == "A").unwrap();
    assert_eq!((&mail["ttl"], &mail["value"][0]), (&7200.into(), &"10.77.0.10".into()));

    primary.nsupdate("update delete mail.example.com. A\nupdate add mail.example.com. 900 A 10.77.0.20");
    let (second, closed) = (secondary.port, free_port());
    let seen = facts(&format!("{{{asked}, servers: [127.0.0.1, 127.0.0.1:{second}, 127.0.0.1:{closed}]}}"));
    let found = problems(&seen);
    for says in [
        format!("example.com: serials differ: 11 on `127.0.0.1:{port}`, 10 on `127.0.0.1:{second}`"),
        format!(
            "mail.example.com: A differs: `127.0.0.1:{port}` says 10.77.0.20 with TTL 900; `127.0.0.1:{second}` says \
             10.77.0.10 with TTL 7200"
        ),
    ] {
        assert!(found.contains(&says.as_str()), "{found:#?}");
    }
    // As a whole, too: what is asked for by name is the same here, but not the rest.
    primary.nsupdate("update add other.example.com. 900 CAA 0 issue \"ca.example\"");
    let seen = facts(&format!("{{names: example.com, whole: true, servers: [127.0.0.1:{port}, 127.0.0.1:{second}]}}"));
    let whole = problems(&seen).into_iter().find(|problem| problem.contains("differ in")).unwrap_or_default();
    assert!(whole.contains("differ in 5 records; `"), "two SOA, two A, one CAA: {whole}");
    let dead = format!("example.com: name server `127.0.0.1:{closed}`: no connection");
    assert!(found.iter().any(|problem| problem.starts_with(&dead)), "{found:#?}");
}

#[test]
fn a_server_that_has_not_the_zone_is_lame() {
    let records = zone("mail IN A 10.77.0.10\n@ IN MX 10 mail\n");
    let zones = "zone example.com { type primary; file \"example.com\"; };\n";
    let primary = Named::start(zones, &[("example.com", &records)]);
    let other = Named::start("", &[]);
    let seen = facts(&format!(
        "{{names: example.com, port: {}, servers: [127.0.0.1, 127.0.0.1:{}]}}",
        primary.port, other.port
    ));
    let says = format!(
        "example.com: name server `127.0.0.1:{}`: it does not answer for `example.com.` by itself (REFUSED)",
        other.port
    );
    assert_eq!(problems(&seen), [says]);
}

#[test]
fn a_zone_that_only_a_key_transfers_is_compared_with_that_key() {
    // A message for each record: only a chain of signatures proves them.
    let records: String = (0..300).map(|number| format!("name{number} IN A 10.77.0.10\n")).collect();
    let zones = "zone example.com { type primary; file \"example.com\"; allow-transfer { key by-hmac-sha256; }; };\n\
                 server 127.0.0.1 { transfer-format one-answer; };\n";
    let primary = Named::start(zones, &[("example.com", &zone(&records))]);
    let other = Named::start(zones, &[("example.com", &zone(&records.replacen("10.77.0.10", "10.77.0.20", 1)))]);
    let whole = |key: &str| {
        let servers = format!("[127.0.0.1:{}, 127.0.0.1:{}]", primary.port, other.port);
        facts(&format!("{{names: example.com, whole: true, servers: {servers}{key}}}"))
    };
    let key = |name: &str, secret: &str| {
        whole(&format!(", key_name: {name}, key_secret: {secret}, key_algorithm: hmac-sha256"))
    };
    let seen = key("by-hmac-sha256", SECRET);
    let found = problems(&seen);
    assert!(found.iter().any(|problem| problem.contains("differ in 2 records")), "{found:#?}");
    for (seen, says) in [
        (whole(""), "it does not transfer the zone (REFUSED)"),
        (key("by-hmac-sha256", "d3Jvbmc="), "the secret of the key `by-hmac-sha256.` is another (BADSIG)"),
        (key("unheard-of", SECRET), "the server does not know the key `unheard-of.` of this algorithm (BADKEY)"),
    ] {
        let found = problems(&seen);
        assert!(found.iter().any(|problem| problem.contains(says)), "{says}: {found:#?}");
    }
}
