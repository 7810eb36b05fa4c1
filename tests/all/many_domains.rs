//! Many domains of one pair, all of them moved: what a run or a night waits for does not grow with their number.

use std::fmt::Write as _;
use std::time::Duration;

use crate::program::{Printed, Program};
use crate::proxy::Proxy;
use crate::sshd::Sshd;

/// The most that both hosts of a pair together are waited for, whatever the number of domains: in a run of the whole move, and
/// in a night, which is four runs.
const RUN: u64 = 61;
const NIGHT: u64 = 97;

const ALL: usize = 24;

/// With none, requests that are sent together would count as several where one is answered before the next is written.
const LATENCY: Duration = Duration::from_millis(20);

/// An old and a new host behind proxies that count, with so many domains of two mailboxes each.
struct Pair {
    sshd: Sshd,
    program: Program,
}

impl Pair {
    fn new(count: usize) -> Pair {
        let sshd = Sshd::start("");
        sshd.target();
        let program = Program::new();
        let names: Vec<String> = (0..count).map(|number| format!("d{number:03}.example")).collect();
        let lines = |line: &dyn Fn(usize, &str) -> String| {
            names.iter().enumerate().map(|(number, name)| line(number, name)).collect::<String>()
        };
        for (host, first) in [("old", 7), ("new", 500)] {
            let qmail = format!("{host}/var/qmail");
            let write = |name: &str, text: &str| {
                program.file(&format!("{qmail}/{name}"), text);
            };
            write("control/me", &format!("{host}.example\n"));
            write("control/locals", &format!("{host}.example\n"));
            write("control/rcpthosts", &lines(&|_, name| format!("{name}\n")));
            write("control/smtproutes", "");
            write("control/virtualdomains", &lines(&|number, name| format!("{name}:{}\n", first + number)));
            write("queue/lock/sendmutex", "");
            let mut assign = String::new();
            for (number, name) in names.iter().enumerate() {
                for user in ["ann", "bob"] {
                    let home = program.path(&format!("{qmail}/mailnames/{name}/{user}"));
                    writeln!(assign, "={}-{user}:root:0:0:{}:::", first + number, home.display()).unwrap();
                    write(&format!("mailnames/{name}/{user}/.qmail"), "./Maildir/\n");
                    for part in ["new", "cur", "tmp"] {
                        std::fs::create_dir_all(home.join("Maildir").join(part)).unwrap();
                    }
                    if host == "old" {
                        write(&format!("mailnames/{name}/{user}/Maildir/new/1.a"), "Subject: one\n\nhello\n");
                    }
                }
                write(&format!("mailnames/{name}/.qmail-default"), "|bouncesaying no\n");
            }
            write("users/assign", &(assign + ".\n"));
            write("users/poppasswd", "");
            for (name, text) in [
                ("qmail-newu", "cp \"${0%/*}/../users/assign\" \"${0%/*}/../users/cdb\""),
                ("qmail-qread", ":"),
                ("qmail-qstat", "echo 'messages in queue but not yet preprocessed: 0'"),
            ] {
                use std::os::unix::fs::PermissionsExt as _;
                write(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"));
                let path = program.path(&format!("{qmail}/bin/{name}"));
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        program.file("log", "@400000006b08ee8a00000000 status: local 0/10 remote 0/20\n");
        Pair { sshd, program }
    }

    /// Runs words with the inventory behind proxies of their own; returns how often both hosts were waited for.
    fn run(&self, words: &str) -> (Printed, u64) {
        let [old, new] = [(); 2].map(|()| Proxy::to(self.sshd.port, LATENCY));
        let key = self.sshd.host_key("ed25519");
        self.program.file(".ssh/known_hosts", &format!("[127.0.0.1]:{} {key}[127.0.0.1]:{} {key}", old.port, new.port));
        let qmail = |host: &str| self.program.path(&format!("{host}/var/qmail")).display().to_string();
        self.program.file(
            "hosts.ini",
            &format!(
                "[old]\nplesk1 ansible_port={} qmail_dir={} qmail_send=true qmail_logs={}\n[new]\nmail1 ansible_port={} qmail_dir={} \
                 new_address=192.0.2.20 mail_owner=root\n[all:vars]\nansible_host=127.0.0.1\nansible_user=root\n\
                 ansible_ssh_private_key_file={}\nprobe=false\npanel=false\n",
                old.port,
                qmail("old"),
                self.program.path("log").display(),
                new.port,
                qmail("new"),
                self.sshd.path("id_ed25519").display()
            ),
        );
        let playbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks");
        let printed = self.program.run(&words.replace("PLAYBOOKS", playbooks));
        (printed, old.waits() + new.waits())
    }
}

#[test]
fn a_run_and_a_night_with_nothing_left_to_do_wait_no_longer_for_more_domains() {
    let pair = Pair::new(ALL);
    let moving = "play -i hosts.ini PLAYBOOKS/move-domain.yml";
    pair.run(moving).0.expect(0);
    let waits = [ALL / 2, ALL].map(|count| {
        let names = (0..count).map(|number| format!("d{number:03}.example")).collect::<Vec<_>>().join(",");
        let (again, run) = pair.run(&format!("{moving} -e domains={names}"));
        assert!(again.expect(0).stdout.contains(" changed=0 "));
        pair.run(&format!("window set {names} draining -i hosts.ini --playbooks PLAYBOOKS")).0.expect(0);
        let (night, in_night) = pair.run(&format!("window -i hosts.ini --playbooks PLAYBOOKS --due --domains {names}"));
        let night = night.expect(0).stdout;
        assert!(night.matches("nothing changed").count() == 4 && !night.contains("failed"), "{night}");
        [run, in_night]
    });
    for kind in [0, 1] {
        assert!(waits[1][kind] < waits[0][kind] + (ALL / 2) as u64, "{waits:?}");
    }
    assert!(waits[1][0] <= RUN && waits[1][1] <= NIGHT && RUN < 3 * ALL as u64, "{waits:?}");
}
