//! Servers that say nothing: before the connection, before the keys, before the login, and in the middle of a run.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};

use super::cut::Fault;
use super::{Site, has};
use crate::program::{Printed, Program};

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
        // The rest names what is shown or asked.
        let words = stage.lines().next().unwrap_or_default().split(' ');
        stages.insert(words.take(2).collect::<Vec<_>>().join(" "));
        if stage.starts_with("logging in") {
            break;
        }
    }
    assert_eq!(stages.into_iter().collect::<Vec<_>>(), ["exchanging keys", "logging in"]);
}
