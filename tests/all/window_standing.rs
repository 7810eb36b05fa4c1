//! The window and what is done behind its back: a panel's work is put right, and a person's is not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cutover::lab::fill::{Role, fill};

use crate::program::{Printed, Program};

/// The stages that are the shipped ones; the others do nothing here.
const SHIPPED: [&str; 7] = ["state", "forwarding", "rollback", "here", "pair", "dns", "ask"];
const NOTHING: [&str; 10] =
    ["name", "ttl", "preflight", "accounts", "door", "proof", "switch", "watch", "stored-mail", "verification"];

/// A pair on this machine with the lab's files, one domain of it in the window, and something that has signals for a
/// qmail-send.
struct Pair {
    program: Program,
    send: Child,
}

impl Pair {
    fn new() -> Pair {
        let program = Program::new();
        fill(&program.path("old"), Role::Old, ("root", "root")).unwrap();
        fill(&program.path("new"), Role::New, ("root", "root")).unwrap();
        for (name, text) in
            [("qmail-qread", "true"), ("qmail-qstat", "echo 'messages in queue but not yet preprocessed: 0'")]
        {
            let name = format!("old/var/qmail/bin/{name}");
            program.file(&name, &format!("#!/bin/sh\n{text}\n"));
            fs::set_permissions(program.path(&name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        program.file("old/var/qmail/queue/lock/sendmutex", "");
        let mut sleep = Command::new("sh");
        sleep.args(["-c", "trap : HUP ALRM; while :; do sleep 1; done"]).stdin(Stdio::null());
        let send = sleep.spawn().unwrap();
        let qmail = |host: &str| program.path(&format!("{host}/var/qmail")).display().to_string();
        program.file(
            "fleet.ini",
            &format!(
                "[old]\nold1 qmail_dir={} domains=example.com new_address=192.0.2.20 qmail_send='echo {}'\n[new]\nnew1 qmail_dir={}\n\
                 [all:vars]\nansible_connection=local\nprobe=false\n",
                qmail("old"),
                send.id(),
                qmail("new")
            ),
        );
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/stages");
        for name in SHIPPED {
            let text = fs::read_to_string(shipped.join(format!("{name}.yml"))).unwrap();
            program.file(&format!("playbooks/stages/{name}.yml"), &text);
        }
        for name in NOTHING {
            program.file(&format!("playbooks/stages/{name}.yml"), "- hosts: old\n  gather_facts: no\n  tasks: []\n");
        }
        let pair = Pair { program, send };
        pair.night("--to forwarding").expect(0);
        assert!(pair.is_forwarded());
        pair
    }

    fn night(&self, flags: &str) -> Printed {
        self.program.run(&format!("window -i fleet.ini --due {flags}"))
    }

    fn control(&self, name: &str) -> String {
        self.program.read(&format!("old/var/qmail/control/{name}"))
    }

    fn is_forwarded(&self) -> bool {
        !self.control("virtualdomains").contains("example.com:")
            && self.control("smtproutes").contains("example.com:192")
    }

    /// Adds the line that a panel writes.
    fn make_virtual(&self) {
        let text = self.control("virtualdomains") + "example.com:7\n";
        self.program.file("old/var/qmail/control/virtualdomains", &text);
    }

    fn status(&self) -> String {
        self.program.run("status").expect(0).stdout
    }

    /// Sees that a night holds the domain for a reason, that the next one leaves it alone too, and that it goes on when it is let go.
    fn is_held_until_it_is_let_go(&self, why: &str) {
        let files = || ["virtualdomains", "smtproutes", "locals"].map(|name| self.control(name));
        let before = files();
        let night = self.night("").expect(0).stdout;
        assert!(night.contains("held: example.com: ") && night.contains(why), "{night}");
        assert!(night.contains("and is prepared"), "{night}");
        self.night("").expect(0);
        assert_eq!(files(), before, "what somebody has taken back is not put right");
        assert!(
            self.status().contains("prepared") && self.status().contains(&format!("held: {why}")),
            "{}",
            self.status()
        );
        self.program.run("window hold example.com --release").expect(0);
        self.night("--to forwarding").expect(0);
        assert!(self.is_forwarded());
        let quiet = self.night("--to forwarding").expect(0).stdout;
        assert!(!quiet.contains("held") && self.status().contains("forwarding"), "{quiet}");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.send.kill();
        let _ = self.send.wait();
    }
}

#[test]
fn what_a_panel_does_is_put_right_and_what_undo_takes_back_is_held() {
    let pair = Pair::new();
    pair.make_virtual();
    let night = pair.night("--to forwarding").expect(0).stdout;
    assert!(pair.is_forwarded() && !night.contains("held"), "{night}");
    pair.program.run("undo last").expect(0);
    assert!(!pair.is_forwarded(), "the undo of the repair brings the panel's line back");
    // Times are kept in seconds: what goes on in the same one counts as before the undo.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    pair.is_held_until_it_is_let_go("`cutover undo` has taken it back (run ");
    // A panel's work after all that is put right as before.
    pair.make_virtual();
    let night = pair.night("--to forwarding").expect(0).stdout;
    assert!(pair.is_forwarded() && !night.contains("held"), "{night}");
}

#[test]
fn a_rollback_and_what_somebody_takes_back_by_hand_are_held() {
    let pair = Pair::new();
    let rollback =
        ["play", "-i", "fleet.ini", "playbooks/stages/rollback.yml", "-e", "{\"virtual\": {\"example.com\": \"7\"}}"];
    pair.program.run_words(&rollback).expect(0);
    assert!(
        pair.control("virtualdomains").contains("example.com:7")
            && !pair.control("smtproutes").contains("example.com:")
    );
    assert_eq!(pair.program.read("old/var/qmail/taken-back"), "example.com was taken back\n");
    pair.is_held_until_it_is_let_go("the stage `rollback` has taken it back");
    assert_eq!(pair.program.read("old/var/qmail/taken-back"), "");

    pair.make_virtual();
    let routes = pair.control("smtproutes").replace("example.com:192.0.2.20\n", "");
    pair.program.file("old/var/qmail/control/smtproutes", &routes);
    pair.is_held_until_it_is_let_go("the old host has it as its own again, and no route");
}

#[test]
fn a_domain_that_the_new_host_lost_or_of_which_nothing_is_found_out_is_left_alone() {
    let pair = Pair::new();
    pair.make_virtual();
    let there = pair.program.read("new/var/qmail/control/virtualdomains");
    pair.program.file("new/var/qmail/control/virtualdomains", "other.example:3\n");
    let night = pair.night("").expect(2).stdout;
    assert!(night.contains("failed: example.com: the new host has it no more"), "{night}");
    assert!(!pair.is_forwarded());
    pair.program.file("new/var/qmail/control/virtualdomains", &there);
    fs::rename(pair.program.path("old/var/qmail/bin/qmail-qread"), pair.program.path("away")).unwrap();
    let night = pair.night("").expect(2).stdout;
    assert!(night.contains("1 domain looked at: example.com\n"), "{night}");
    assert!(!pair.is_forwarded());
    fs::rename(pair.program.path("away"), pair.program.path("old/var/qmail/bin/qmail-qread")).unwrap();
    pair.night("--to forwarding").expect(0);
    assert!(pair.is_forwarded());
}
