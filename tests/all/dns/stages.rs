//! The shipped stages of the move that change names, against BIND.

use std::path::Path;

use crate::named::{Named, SECRET, zone};
use crate::program::{Printed, Program, done};
use crate::sshd::wait_for;

const ZONES: [&str; 2] = ["example.com", "example.org"];

fn program(named: &Named, more: &str) -> Program {
    let program = Program::new();
    let virtualdomains: String = ZONES.map(|zone| format!("{zone}:7\n")).concat();
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    program.file(
        "maillog",
        &format!("{stamp} old pop3d: LOGIN, user=ann@example.com, ip=[::ffff:198.51.100.7], port=[5]\n"),
    );
    program.file("qmail/control/virtualdomains", &virtualdomains).file("qmail/control/me", "old.example.net\n");
    program.file(
        "hosts",
        &format!(
            "[old]\nhere ansible_connection=local\n[new]\nthere ansible_connection=local\n[all:vars]\ndns_port={}\nold_address=10.77.0.10\nqmail_dir={}\nlogin_logs={}\n\
             new_address=10.77.0.20:25\nold_mx=old.example.net\nnew_mx=new.example.net\n{more}\n",
            named.port,
            program.path("qmail").display(),
            program.path("maillog").display()
        ),
    );
    program
}

fn stage(program: &Program, name: &str, flags: &str) -> Printed {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/stages").join(name);
    program.run(&format!("play -i hosts {} -e domains={} {flags}", path.display(), ZONES.join(",")))
}

/// Names, times to live, the wait, the switch; each twice, and each as its check has shown.
fn move_names(named: &Named, program: &Program) {
    let does = |name: &str| done(|flags| stage(program, name, flags));
    let each = |name: &str| ZONES.map(|zone| named.short(&format!("{name}.{zone} A")));
    let named_users = does("name.yml").stdout;
    assert!(named_users.contains("ann@example.com: 1 session, the last "), "{named_users}");
    assert_eq!(
        (each("mail"), each("pop")),
        (["10.77.0.10\n"; 2].map(String::from), ["10.77.0.10\n"; 2].map(String::from))
    );
    assert_eq!(named.serial("example.com"), 11);

    let early = stage(program, "switch.yml", "").expect(2);
    assert!(early.stdout.contains("is not switched before its old TTL has run out"), "{}", early.stdout);
    does("ttl.yml");
    for zone in ZONES {
        assert!(!named.records(zone).lines().any(|line| line.starts_with("mail.") && !line.contains(" 900 ")));
        let text = program.read(&format!("dns-times/{zone}"));
        let times: Vec<u64> = text.split_whitespace().map(|time| time.parse().unwrap()).collect();
        assert_eq!(times[1] - times[0], 7500, "the longest of the old ones, and five minutes");
    }
    let early = stage(program, "switch.yml", "").expect(2);
    assert!(early.stdout.contains("is not switched before its old TTL has run out"), "{}", early.stdout);
    assert_eq!(each("mail"), ["10.77.0.10\n"; 2].map(String::from));

    for zone in ZONES {
        program.file(&format!("dns-times/{zone}"), "1000 8200\n");
    }
    does("switch.yml");
    assert_eq!(
        (each("mail"), each("pop")),
        (["10.77.0.20\n"; 2].map(String::from), ["10.77.0.20\n"; 2].map(String::from))
    );
    for zone in ZONES {
        assert_eq!(named.short(&format!("{zone} MX")), "10 new.example.net.\n");
        // Names, times to live, the switch: an update for each.
        assert_eq!(named.serial(zone), 13);
    }
    // What has been switched stays so.
    assert!(stage(program, "name.yml", "").expect(0).stdout.contains("changed=0"));
}

fn text() -> String {
    zone("mail 7200 IN A 10.77.0.10\n@ IN MX 10 old.example.net.\n")
}

#[test]
fn names_are_moved_by_updates_and_not_before_their_time() {
    let zones = ZONES.map(|zone| {
        format!("zone {zone} {{ type primary; file \"{zone}\"; update-policy {{ grant * zonesub ANY; }}; }};\n")
    });
    let text = text();
    let named = Named::start(&zones.concat(), &ZONES.map(|zone| (zone, text.as_str())));
    let program =
        program(&named, &format!("dns_server=127.0.0.1\ndns_key_name=by-hmac-sha256\ndns_key_secret={SECRET}\n"));
    move_names(&named, &program);
}

#[test]
fn names_are_moved_in_master_files_and_not_before_their_time() {
    let zones = ZONES.map(|zone| format!("zone {zone} {{ type primary; file \"{zone}\"; }};\n"));
    let text = text();
    let named = Named::start(&zones.concat(), &ZONES.map(|zone| (zone, text.as_str())));
    let directory = named.path("").display().to_string();
    let rndc = format!(
        "zone_file_dir={}\ndns_rndc='rndc -c {}'\n",
        directory.trim_end_matches('/'),
        named.path("rndc.conf").display()
    );
    let program = program(&named, &rndc);
    move_names(&named, &program);
}

/// Of zones that take updates: their statements, with this in each.
fn updated(more: &str) -> String {
    let zones = ZONES.map(|zone| {
        format!("zone {zone} {{ type primary; file \"{zone}\"; {more} update-policy {{ grant * zonesub ANY; }}; }};\n")
    });
    zones.concat()
}

fn key() -> String {
    format!("dns_server=127.0.0.1\ndns_key_name=by-hmac-sha256\ndns_key_secret={SECRET}\n")
}

#[test]
fn a_domain_without_an_mx_gets_one_and_what_holds_mail_up_is_told_before_the_switch() {
    let text =
        zone("@ 600 IN A 10.77.0.10\nmail 600 IN A 10.77.0.10\nmail IN AAAA 2001:db8::1\npop 600 IN A 10.77.0.10\n");
    let named = Named::start(&updated(""), &ZONES.map(|zone| (zone, text.as_str())));
    let program = program(&named, &key());
    let said = done(|flags| stage(&program, "name.yml", flags)).stdout;
    assert!(said.contains("it has an IPv6 address (AAAA)"), "{said}");
    done(|flags| stage(&program, "ttl.yml", flags));
    for zone in ZONES {
        assert_eq!(named.short(&format!("{zone} MX")), format!("10 mail.{zone}.\n"));
        program.file(&format!("dns-times/{zone}"), "1000 8200\n");
    }
    let refused = stage(&program, "switch.yml", "").expect(2).stdout;
    assert!(refused.contains("it has an IPv6 address (AAAA)") && refused.contains("`dns_accepted`"), "{refused}");
    assert_eq!(named.short("mail.example.com A"), "10.77.0.10\n");
    done(|flags| stage(&program, "switch.yml", &format!("-e dns_accepted=IPv6 {flags}")));
    assert_eq!(named.short("mail.example.com A"), "10.77.0.20\n");
    assert_eq!(named.short("example.com A"), "10.77.0.10\n", "the web site stays where it is");
}

#[test]
fn all_name_servers_of_a_zone_are_asked_before_the_switch() {
    let text = text() + "@ IN NS elsewhere.example.net.\n";
    let named = Named::start(&updated(""), &ZONES.map(|zone| (zone, text.as_str())));
    let program = program(&named, &key());
    let refused = stage(&program, "switch.yml", "").expect(2).stdout;
    assert!(refused.contains("a zone has 2 name servers, of which 1 are asked"), "{refused}");
    let other = Named::start(&updated(""), &ZONES.map(|zone| (zone, text.as_str())));
    let both = format!("-e dns_servers=127.0.0.1,127.0.0.1:{} -e dns_seconds=1", other.port);
    done(|flags| stage(&program, "name.yml", &format!("-e dns_servers=127.0.0.1 {flags}")));
    // The second one does not hear of it: it is no secondary.
    let apart = stage(&program, "ttl.yml", &both).expect(2).stdout;
    assert!(apart.contains("not all name servers have taken the change up"), "{apart}");
}

#[test]
fn a_new_name_server_gets_the_zones_whole_and_becomes_their_primary_when_all_have_the_same() {
    let text = text();
    let files = ZONES.map(|zone| (zone, text.as_str()));
    let (first, second) = (Named::start(&updated("allow-transfer { none; };"), &files), Named::start("", &[]));
    let path = |named: &Named, name: &str| named.path(name).display().to_string();
    let conf = path(&first, "named.conf");
    let more = format!(
        "{}secondary_address=127.0.0.1\nsecondary_name=ns2.example.net\nsecondary_port={}\nsecondary_conf={own}\nsecondary_config={own}\n\
         secondary_dir={}\nsecondary_rndc='rndc -c {}'\ndns_conf={conf}\ndns_config={conf}\ndns_rndc='rndc -c {}'\n\
         promoted_more='update-policy {{ grant * zonesub ANY; }};'\n",
        key(),
        second.port,
        path(&second, "").trim_end_matches('/'),
        path(&second, "rndc.conf"),
        path(&first, "rndc.conf"),
        own = path(&second, "named.conf"),
    );
    let program = program(&first, &more);
    let before = std::fs::read_to_string(&conf).unwrap();
    stage(&program, "secondary.yml", "").expect(0);
    program.run("undo last").expect(0);
    assert_eq!((std::fs::read_to_string(&conf).unwrap(), second.serial("example.com")), (before, 0));

    let does = done(|flags| stage(&program, "secondary.yml", flags)).stdout;
    assert!(does.contains("example.com. NS ns.example.com. ns2.example.net."), "{does}");
    for zone in ZONES {
        assert!(
            second.records(zone).contains(&format!("{zone}. 3600 IN NS ns2.example.net.\n")),
            "{}",
            second.records(zone)
        );
        let all = |named: &Named| {
            let mut lines: Vec<String> = named.records(zone).lines().map(str::to_string).collect();
            lines.sort();
            (lines, named.serial(zone))
        };
        assert_eq!(all(&second), all(&first));
    }
    first.nsupdate("update add told.example.com. 60 A 192.0.2.7");
    assert!(wait_for(|| second.short("told.example.com A") == "192.0.2.7\n"), "it hears of changes");

    let late = Named::start(&updated(""), &files);
    let servers = format!("-e dns_servers=127.0.0.1,127.0.0.1:{} -e dns_seconds=1", late.port);
    let refused = stage(&program, "promotion.yml", &servers).expect(2).stdout;
    assert!(refused.contains("example.com: serials differ: "), "{refused}");
    assert!(!std::fs::read_to_string(path(&second, "named.conf")).unwrap().contains("type master"));

    stage(&program, "promotion.yml", "").expect(0);
    program.run("undo last").expect(0);
    first.nsupdate("update add back.example.com. 60 A 192.0.2.9");
    assert!(wait_for(|| second.short("back.example.com A") == "192.0.2.9\n"), "each is again what it was");

    let does = done(|flags| stage(&program, "promotion.yml", flags)).stdout;
    assert!(does.contains("`dns_server` is 127.0.0.1, `dns_host` there"), "{does}");
    second.nsupdate("update add from-new.example.com. 60 A 192.0.2.8");
    assert!(wait_for(|| first.short("from-new.example.com A") == "192.0.2.8\n"), "the old one is its secondary");
    let refused = stage(&program, "secondary.yml", "").expect(2).stdout;
    assert!(refused.contains("this server is the primary of `example.com`"), "{refused}");
}

#[test]
fn a_new_name_server_gets_the_zones_with_the_key_that_their_primary_asks_for() {
    let text = text();
    let files = ZONES.map(|zone| (zone, text.as_str()));
    let first = Named::start(&updated("allow-transfer { key by-hmac-sha256; };"), &files);
    let second = Named::start("", &[]);
    let path = |name: &str| second.path(name).display().to_string();
    let more = format!(
        "{}secondary_address=127.0.0.1\nsecondary_port={}\nsecondary_conf={own}\nsecondary_config={own}\nsecondary_dir={}\n\
         secondary_rndc='rndc -c {}'\n",
        key(),
        second.port,
        path("").trim_end_matches('/'),
        path("rndc.conf"),
        own = path("named.conf"),
    );
    let refused = stage(&program(&first, &format!("{more}dns_seconds=1\n")), "secondary.yml", "").expect(2).stdout;
    assert!(refused.contains("it does not transfer the zone (REFUSED)"), "{refused}");
    assert_eq!(second.serial("example.com"), 0);

    let keyed = format!("{more}transfer_key_name=by-hmac-sha256\ntransfer_key_secret={SECRET}\n");
    let program = program(&first, &keyed);
    done(|flags| stage(&program, "secondary.yml", flags));
    for zone in ZONES {
        let records = second.records(zone);
        assert!(records.contains(&format!("mail.{zone}. 7200 IN A 10.77.0.10\n")), "{records}");
    }
}
