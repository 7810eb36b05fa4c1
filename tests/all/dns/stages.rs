//! The shipped stages of the move that change names, against BIND.

use std::path::Path;

use crate::named::{Named, SECRET, zone};
use crate::program::{Printed, Program, done};

const ZONES: [&str; 2] = ["example.com", "example.org"];

fn program(named: &Named, more: &str) -> Program {
    let program = Program::new();
    let virtualdomains: String = ZONES.map(|zone| format!("{zone}:7\n")).concat();
    program.file("qmail/control/virtualdomains", &virtualdomains).file("qmail/control/me", "old.example.net\n");
    program.file(
        "hosts",
        &format!(
            "[old]\nhere ansible_connection=local\n[new]\nthere ansible_connection=local\n[all:vars]\ndns_port={}\nold_address=10.77.0.10\nqmail_dir={}\n\
             new_address=10.77.0.20:25\nold_mx=old.example.net\nnew_mx=new.example.net\n{more}\n",
            named.port,
            program.path("qmail").display()
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
    does("name.yml");
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
