//! Servers that say nothing: before the connection, before the keys, before the login, and in the middle of a run.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;

use super::cut::Fault;
use super::{Site, has, is_alive, words};
use crate::program::{Printed, Program};
use crate::sshd::{run, wait_for};

const WORDS: &str = "play -i hosts site.yml -T 1";
const TASK: &str = "- hosts: all\n  gather_facts: no\n  tasks:\n    - command: echo hello\n";

/// Runs a task against a port.
fn against(port: u16) -> Printed {
    let program = Program::new();
    program.file("hosts", &format!("mx ansible_host=127.0.0.1 ansible_port={port} ansible_user=root\n"));
    program.file("site.yml", TASK);
    program.run(WORDS)
}

#[test]
fn a_host_that_does_not_take_the_connection_is_given_up() {
    // A queue that is full: further connections are neither taken nor refused (`listen.2`).
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let second = std::time::Duration::from_secs(1);
    let taken: Vec<_> = (0..3).map_while(|_| TcpStream::connect_timeout(&address, second).ok()).collect();
    assert!(taken.len() < 3, "the queue is never full");
    let printed = against(address.port()).expect(4);
    has(&printed, "fatal: [mx]: UNREACHABLE!");
    has(&printed, "no answer within 1 s while connecting");
}

#[test]
fn a_server_that_says_nothing_or_only_its_name_is_given_up() {
    for banner in ["", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(banner.as_bytes());
                held.push(stream);
            }
        });
        let printed = against(port).expect(4);
        has(&printed, "fatal: [mx]: UNREACHABLE!");
        has(&printed, "no answer within 1 s while exchanging keys");
    }
}

#[test]
fn a_server_that_falls_silent_at_any_point_of_the_login_is_given_up() {
    let site = Site::new(&["mx"]);
    site.program.file("site.yml", TASK);
    let mut stages = BTreeSet::new();
    // How much a server says before the login differs from one version to the next.
    for heard in [1, 100].into_iter().chain((1000..8000).step_by(150)) {
        site.network.forget_faults();
        site.network.next(Some(Fault::SilentAfter(heard)));
        let printed = site.program.run(WORDS).expect(4);
        let found = printed.stdout.split_once("no answer within 1 s while ");
        let (_, stage) = found.unwrap_or_else(|| panic!("{heard}: {}", printed.stdout));
        let words = stage.split(|letter: char| !letter.is_alphabetic()).take(2);
        stages.insert(words.collect::<Vec<_>>().join(" "));
        if stage.starts_with("logging in") {
            break;
        }
    }
    assert_eq!(stages.into_iter().collect::<Vec<_>>(), ["exchanging keys", "logging in"]);
}

#[test]
fn a_host_that_stops_answering_in_the_middle_of_a_run_is_unreachable_and_the_others_go_on() {
    let (site, other) = (Site::new(&["mx"]), Site::new(&["there"]));
    let alive = " ansible_ssh_common_args='-o ServerAliveInterval=1 -o ServerAliveCountMax=2'";
    let hosts = format!("{}{}\n{}", site.program.read("hosts").trim_end(), alive, other.program.read("hosts"));
    let known = site.program.read(".ssh/known_hosts") + &other.program.read(".ssh/known_hosts");
    site.program.file("hosts", &hosts).file(".ssh/known_hosts", &known);
    site.playbook(
        "    - shell: echo $$ >HOST/{{ inventory_hostname }}; while [ ! -e HOST/go ]; do sleep 0.1; done
    - command: touch HOST/after-{{ inventory_hostname }}
",
    );
    let running = site.start();
    let pids = ["mx", "there"].map(|name| words(&site.on_host(name), 1).remove(0));
    let stopped = Stopped(site.sshd.sessions());
    stopped.0.iter().for_each(|session| drop(run(Command::new("kill").args(["-STOP", session]))));
    running.until("fatal: [mx]: UNREACHABLE!");
    std::fs::write(site.on_host("go"), "").unwrap();
    let printed = running.end().expect(4);
    has(&printed, "half-done: `mx`: task `shell`: ");
    has(&printed, "the host no longer answers");
    assert!(site.on_host("after-there").exists() && !site.on_host("after-mx").exists());
    assert!(wait_for(|| !pids.iter().any(|pid| is_alive(pid))));
}

/// Processes that were stopped; killed when dropped.
struct Stopped(Vec<String>);

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = Command::new("kill").args(["-KILL", pid]).output();
        }
    }
}
