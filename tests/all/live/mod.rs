//! The whole move while mail flows, between hosts with the real programs: by the window, killed again and again, with
//! connections that are cut, the new host's mail server gone for a while, and its disk full once.
//!
//! Small here; `benches/live.sh` makes it large.

use std::process::{Command, Stdio};
use std::time::Duration;

use cutover::lab::fill::{Content, Domain};
use cutover::lab::qmail::queue::Queue;
use cutover::lab::traffic::{Plan, Traffic};
use serde_json::json;

use crate::named::SECRET;
use crate::program::{Printed, Program};
use crate::sshd::wait_for;

mod hosts;
mod imap;
mod services;
mod xinetd;

use hosts::in_a_network_of_its_own;
use services::{FEW, Hosts, MANY};

/// How much, and how often.
struct Size {
    domains: &'static [Domain],
    /// In each mailbox.
    stored: usize,
    /// Sent meanwhile, at least.
    messages: u64,
    pause: Duration,
    /// How often the controller is killed, or its connections are.
    kills: u32,
}

const SMALL: Size = Size { domains: FEW, stored: 12, messages: 500, pause: Duration::from_millis(60), kills: 14 };
const LARGE: Size = Size { domains: MANY, stored: 500, messages: 3000, pause: Duration::from_millis(50), kills: 110 };

/// A controller, and the hosts that it works on.
struct Controller<'a> {
    program: Program,
    hosts: &'a Hosts,
}

impl Controller<'_> {
    fn new(hosts: &Hosts) -> Controller<'_> {
        let program = Program::new();
        let id = hosts.network.path("id").display().to_string();
        let known = [&hosts.old, &hosts.new].map(|host| host.known_hosts_line()).concat();
        program.file("known_hosts", &known);
        let inventory = json!({"all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": id,
                "ansible_ssh_known_hosts_file": program.path("known_hosts"),
                "mail_owner": "popuser",
                "old_address": "10.77.0.10",
                "new_address": "10.77.0.20",
                "door": "daemontools",
                "door_services": "/var/service",
                // The debug build is larger than what a real qmail-smtpd is allowed.
                "door_memory": 500_000_000,
                "dns_server": "10.77.0.53",
                "dns_key_name": "mover",
                "dns_key_secret": SECRET,
                "switch_ttl": 1,
                "ttl_margin": 1,
                "proxy_ports": [110, 143, 1110],
                "close_logins": "/var/qmail/bin/close-reading {{ mail.domains | join(' ') }}",
                "qmail_send": "cat /var/qmail/active/qmail-send.pid",
            },
            "children": {
                "old": {"hosts": {"old.lab.example": {
                    "ansible_host": "10.77.0.10", "new_host": "new.lab.example", "own_address": "127.0.0.1",
                    "qmail_logs": "/var/qmail/active/qmail-send.log",
                }}},
                "new": {"hosts": {"new.lab.example": {"ansible_host": "10.77.0.20"}}},
            },
        }});
        program.file("inventory.json", &inventory.to_string());
        Controller { program, hosts }
    }

    fn command(&self, flags: &str) -> Command {
        let playbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks");
        let mut command = self.program.command();
        // Each host has places of its own for locks.
        command.env_remove("CUTOVER_LOCK_DIR");
        command.args(["window", "-i", "inventory.json", "--playbooks", playbooks, "--batch", "2"]);
        command.args(flags.split_whitespace());
        command
    }

    fn window(&self, flags: &str) -> Printed {
        self.program.printed(self.command(flags).output().unwrap())
    }

    /// Runs what is due, and breaks it off at moments that come later and later: the controller is killed, or, every fourth
    /// time, its connections are. Then it comes to its end.
    fn broken(&self, flags: &str, times: u32) {
        for time in 0..times {
            let mut child = self.command(flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(150 + u64::from(time * 379 % 1700)));
            match time % 4 {
                3 => {
                    let host = if time % 8 == 3 { &self.hosts.old } else { &self.hosts.new };
                    host.cut_sessions();
                }
                _ => child.kill().unwrap(),
            }
            child.wait().unwrap();
            // What runs on a host comes to its end before somebody else's turn.
            for host in [&self.hosts.old, &self.hosts.new] {
                assert!(
                    wait_for(|| host.run("ls -A /tmp").matches(".cutover.lock.").count() == 0),
                    "{}",
                    host.run("ls -lA /tmp")
                );
            }
        }
        self.window(flags).expect(0);
    }
}

#[test]
fn four_domains_move_while_mail_flows_and_everything_breaks_and_nothing_is_lost_or_doubled() {
    let name = "live::four_domains_move_while_mail_flows_and_everything_breaks_and_nothing_is_lost_or_doubled";
    in_a_network_of_its_own(name, || {
        let large = std::env::var("CUTOVER_LIVE").is_ok_and(|size| size == "large");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(the_move(&if large { LARGE } else { SMALL }));
    });
}

// What a large run prints is its result.
#[allow(clippy::disallowed_macros)]
async fn the_move(size: &Size) {
    let content = Content { domains: size.domains, stored: size.stored };
    let hosts = Hosts::start(content);
    let places = hosts.places();
    let accounts = hosts.accounts(size.domains);
    let mailboxes = accounts.len();
    let traffic = Traffic::start(&places, Plan { messages: 1_000_000, pause: size.pause, accounts }).unwrap();
    let users = imap::Users::start(hosts.imap_users(size.domains));
    let controller = Controller::new(&hosts);
    // What blocks does so beside the traffic.
    let does = |what: &dyn Fn(&Controller)| tokio::task::block_in_place(|| what(&controller));

    does(&|it| traps_are_named(it));
    // By day, and in the first night.
    does(&|it| drop(it.window("--due --to prepared").expect(0)));
    traffic.until(size.messages / 10).await;
    does(&|it| it.broken("--due --to forwarding", size.kills / 2));
    // The new host takes nothing for a while; what is for it waits.
    does(&|it| it.hosts.stop_smtp_of_new());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!Queue::of(&places.old.home).is_empty(), "{}", tokio::task::block_in_place(|| hosts.logs()));
    does(&|it| {
        it.hosts.start_smtp_of_new();
        it.hosts.open_door_again();
        assert!(wait_for(|| it.hosts.new.answers(25) && it.hosts.new.answers(2525)));
        it.hosts.flush();
    });
    // Its disk is full: what would be moved stays where it is.
    does(&|it| {
        it.hosts.new.run("dd if=/dev/zero of=/var/qmail/full bs=64k 2>/dev/null; dd if=/dev/zero of=/var/qmail/fuller bs=1 2>/dev/null; :");
        let full = it.window("--due --to moved");
        assert_ne!(full.status, 0, "{}{}", full.stdout, it.program.run("status").stdout);
        it.hosts.new.run("rm /var/qmail/full /var/qmail/fuller");
        it.hosts.flush();
    });
    // One domain by itself: users of the others still read on the old host, whose ports stay its own.
    does(&|it| {
        it.window("--due --domains example.com --to moved").expect(0);
        assert_eq!(it.hosts.old.run("ls /etc/xinetd.d"), "");
    });
    does(&|it| it.broken("--due", size.kills - size.kills / 2));
    does(&|it| assert_eq!(it.hosts.old.run("ls /etc/xinetd.d"), "cutover-10-77-0-20-2525\n"));
    traffic.until(size.messages).await;
    // Each night collects what came late, and finds nothing else to do.
    does(&|it| drop(it.window("--due").expect(0)));
    // What was put off while something was broken would wait for minutes.
    for _ in 0..3 {
        does(&|it| it.hosts.flush());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // The traffic counts files, which those who read by IMAP would rename meanwhile.
    let users = tokio::task::block_in_place(|| users.end());
    let report = traffic.end().await.unwrap();
    does(&|it| drop(it.window("--due").expect(0)));
    let status = controller.program.run("status").expect(0).stdout;
    assert!(status.contains("4 domains: 4 draining\n"), "{status}");
    println!("{mailboxes} mailboxes, {} times broken off\n{report}", size.kills);
    assert!(report.is_clean(), "{report}\n{status}\n{}", tokio::task::block_in_place(|| hosts.logs()));
    assert!(
        report.downloads.iter().all(|count| *count > 0),
        "{report}\n{}",
        tokio::task::block_in_place(|| hosts.logs())
    );
    tokio::task::block_in_place(|| all_is_as_imap_left_it(users));
    assert!(report.sent.count >= size.messages);
    assert_eq!(report.stored.count, (mailboxes * size.stored) as u64);
    tokio::task::block_in_place(|| only_its_user_reads(&hosts));
}

/// Preflight asks the name servers that qmail-remote would ask, and looks into the `.qmail` files of others.
fn traps_are_named(controller: &Controller) {
    let old = &controller.hosts.old;
    old.run(
        "rm -f /etc/resolv.conf; echo nameserver 10.77.0.53 >/etc/resolv.conf; cd /var/qmail; mkdir -p alias
         printf 'gone.example:no-such.outside.example\nthere.example:mail.outside.example\n' >>control/smtproutes
         echo /var/qmail/mailnames/example.com/ann/Maildir/ >alias/.qmail-copies",
    );
    let playbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/stages");
    let mut command = controller.program.command();
    command.env_remove("CUTOVER_LOCK_DIR").args(["play", "-i", "inventory.json", "-e", "domains=example.com"]);
    let printed =
        controller.program.printed(command.arg(format!("{playbooks}/preflight.yml")).output().unwrap()).expect(0);
    let said = format!("{}{}", printed.stdout, printed.stderr);
    for words in [
        "control/smtproutes` line 3 has `gone.example:no-such.outside.example`: DNS has no address for that name",
        "alias/.qmail-copies` line 1 has `/var/qmail/mailnames/example.com/ann/Maildir/`, which leads into mailboxes of `example.com`",
    ] {
        assert!(said.contains(words), "no {words} in\n{said}");
    }
    assert!(!said.contains("there.example"), "{said}");
    old.run("rm /var/qmail/alias/.qmail-copies");
}

/// Who reads by IMAP finds every message on the new host once, in its folder, with its flags, and none that was deleted.
#[allow(clippy::disallowed_macros)]
fn all_is_as_imap_left_it(users: Vec<imap::User>) {
    let mut done = [[0; 2]; 4];
    for mut user in users {
        user.come(true);
        assert!(user.on_new && user.faults.is_empty(), "{}: {:#?}", user.login, user.faults);
        for (all, own) in done.iter_mut().flatten().zip(user.done.iter().flatten()) {
            *all += own;
        }
    }
    let [added, flagged, filed, deleted] = done;
    println!(
        "by IMAP on the old host and on the new one: {added:?} added, {flagged:?} flagged, {filed:?} filed, {deleted:?} deleted"
    );
    assert!(done.iter().flatten().all(|count| *count > 0), "{done:?}");
}

/// All messages and directories of the new host's mailboxes are of the user that delivers there, for that user alone.
fn only_its_user_reads(hosts: &Hosts) {
    let odd = hosts.new.run(
        "cd /var/qmail/mailnames && \
         find */*/Maildir \\( -type d -o -path '*/new/*' -o -path '*/cur/*' \\) -perm /077 -exec ls -ld {} + && \
         find */*/Maildir -path '*/x' -prune -o \\( ! -user popuser -o ! -group popuser \\) -exec ls -ld {} +",
    );
    assert_eq!(odd, "");
}
