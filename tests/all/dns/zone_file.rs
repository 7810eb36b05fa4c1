//! `zone_file` against BIND: the file, the serial that is served, and the secondary that follows it.

use crate::named::{Named, zone};
use crate::program::{Printed, Program};
use crate::sshd::{free_port, wait_for};

const RECORDS: &str = "; for users\nmail 7200 IN A 10.77.0.10\npop IN CNAME mail\n@ IN MX 10 mail\n";

fn program(named: &Named, task: &str) -> Program {
    let program = Program::new();
    let rndc = format!("rndc -c {}", named.path("rndc.conf").display());
    let given = format!("zone: example.com, path: {}, rndc: {rndc}", named.path("example.com").display());
    program.file("hosts", "here ansible_connection=local\n");
    let task = task.replace("ZONE", &given);
    program.file("site.yml", &format!("- hosts: all\n  gather_facts: false\n  tasks:\n    - zone_file: {task}\n"));
    program
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts site.yml --diff {flags}"))
}

fn primary(more: &str) -> Named {
    let zones = format!("zone example.com {{ type primary; file \"example.com\"; {more} }};\n");
    Named::start(&zones, &[("example.com", &zone(RECORDS))])
}

const TASK: &str =
    "{ZONE, ttl: 900, records: [{record: mail, value: 10.77.0.20, expect: 10.77.0.10}, {record: '@', type: MX}]}";

#[test]
fn a_file_is_edited_checked_loaded_and_followed_by_the_secondary() {
    let port = free_port();
    let more = format!("also-notify {{ 127.0.0.1 port {port}; }};");
    let zones = format!("zone example.com {{ type primary; file \"example.com\"; {more} }};\n");
    let named = Named::start(&zones, &[("example.com", &zone(RECORDS))]);
    let zones = format!(
        "zone example.com {{ type secondary; file \"copy\"; primaries {{ 127.0.0.1 port {}; }}; }};\n",
        named.port
    );
    let secondary = Named::at(port, &zones, &[]);
    assert!(wait_for(|| secondary.serial("example.com") == 10));
    let program = program(&named, TASK);
    let before = std::fs::read_to_string(named.path("example.com")).unwrap();

    let checked = play(&program, "--check").expect(0);
    for line in ["-mail 7200 IN A 10.77.0.10", "+mail 900 IN A 10.77.0.20", "--- zone example.com serial", "-10", "+11"]
    {
        assert!(checked.stdout.lines().any(|shown| shown == line), "no {line:?} in {}", checked.stdout);
    }
    assert_eq!(std::fs::read_to_string(named.path("example.com")).unwrap(), before);
    assert_eq!(play(&program, "").expect(0).diffs(), checked.diffs());
    let expected = before
        .replace("hostmaster 10 ", "hostmaster 11 ")
        .replace("mail 7200 IN A 10.77.0.10", "mail 900 IN A 10.77.0.20")
        .replace("IN MX", "IN 900 MX");
    let found = std::fs::read_to_string(named.path("example.com")).unwrap();
    assert_eq!(found, expected);
    assert_eq!((named.serial("example.com"), named.short("mail.example.com A")), (11, "10.77.0.20\n".into()));
    assert!(
        wait_for(|| secondary.short("mail.example.com A") == "10.77.0.20\n"),
        "serial {}",
        secondary.serial("example.com")
    );

    let again = play(&program, "").expect(0);
    assert!(again.stdout.contains("changed=0"), "{}", again.stdout);
    assert_eq!(named.serial("example.com"), 11);
    program.run("undo last").expect(0);
    assert_eq!(std::fs::read_to_string(named.path("example.com")).unwrap(), before);
    assert_eq!(named.short("mail.example.com A"), "10.77.0.10\n");
}

#[test]
fn a_file_that_the_server_would_not_take_is_never_in_its_place() {
    let named = primary("");
    let before = std::fs::read_to_string(named.path("example.com")).unwrap();
    // An alias beside another record (RFC 1034, 3.6.2).
    let refused = play(&program(&named, "{ZONE, record: mail, type: CNAME, value: ns}"), "").expect(2);
    assert!(refused.stdout.contains("named-checkzone"), "{}", refused.stdout);
    assert_eq!(std::fs::read_to_string(named.path("example.com")).unwrap(), before);
    assert_eq!(named.serial("example.com"), 10);
}

#[test]
fn a_dynamic_zone_is_frozen_for_the_edit_and_goes_on_taking_updates() {
    let named = primary("update-policy { grant * zonesub ANY; };");
    let program = program(&named, TASK);
    play(&program, "").expect(0);
    assert_eq!((named.serial("example.com"), named.short("mail.example.com A")), (11, "10.77.0.20\n".into()));
    assert!(play(&program, "").expect(0).stdout.contains("changed=0"));
    named.nsupdate("update add late.example.com. 60 A 10.77.0.99");
    assert_eq!(named.serial("example.com"), 12);

    // What was updated is not in the file yet: an edit of it would take that back.
    program.file(
        "site.yml",
        &program.read("site.yml").replace("10.77.0.20", "10.77.0.30").replace("10.77.0.10", "10.77.0.20"),
    );
    let refused = play(&program, "").expect(2);
    assert!(refused.stdout.contains("`rndc sync example.com` writes them"), "{}", refused.stdout);
    assert_eq!(named.short("late.example.com A"), "10.77.0.99\n");
    let rndc = named.path("rndc.conf");
    crate::sshd::run(std::process::Command::new("rndc").arg("-c").arg(rndc).args(["sync", "-clean", "example.com"]));
    play(&program, "").expect(0);
    assert_eq!(
        (named.short("mail.example.com A"), named.short("late.example.com A")),
        ("10.77.0.30\n".into(), "10.77.0.99\n".into())
    );
    assert_eq!(named.serial("example.com"), 13);
}

#[test]
fn a_file_that_was_edited_by_hand_is_loaded_and_what_is_unexpected_is_refused() {
    let named = primary("");
    let path = named.path("example.com");
    let by_hand = std::fs::read_to_string(&path).unwrap().replace("hostmaster 10 ", "hostmaster 2026112601 ");
    std::fs::write(&path, by_hand.replace("mail 7200 IN A 10.77.0.10", "mail 900 IN A 10.77.0.20")).unwrap();
    play(&program(&named, "{ZONE, record: mail, value: 10.77.0.20, ttl: 900}"), "").expect(0);
    assert_eq!(named.serial("example.com"), 2026112601);
    let refused = play(&program(&named, TASK.replace("10.77.0.20", "10.77.0.30").as_str()), "").expect(2);
    assert!(refused.stdout.contains("is 10.77.0.20, and not 10.77.0.10"), "{}", refused.stdout);
}
