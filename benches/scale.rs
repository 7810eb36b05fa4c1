//! One controller and many hosts: time and memory per host for 100, 300 and 1,000 embedded SSH servers.
//!
//! `cargo bench --bench scale` prints a table. The servers run in a process of their own, so that the controller's
//! memory is its own; each host's tasks run in a real `sh`.

// A benchmark that cannot go on ends, and it starts the program under test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cutover::lab::server::{Options, Server, kept_key};

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - file: {path: \"{{ base }}/a\", state: directory, mode: '0755'}
    - copy: {content: \"text\\n\", dest: \"{{ base }}/a/one\", mode: '0644'}
    - copy: {content: \"more text\\n\", dest: \"{{ base }}/a/two\", mode: '0600'}
    - lineinfile: {path: \"{{ base }}/lines\", line: one line, create: yes, mode: '0644'}
    - stat: {path: \"{{ base }}/a/one\"}
";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "serve") {
        return serve(Path::new(&words[2]), words[3].parse().unwrap());
    }
    println!("| hosts | run | seconds | ms per host | peak memory, MiB | KiB per host beyond the first 100 |");
    println!("|---|---|---|---|---|---|");
    let mut base = None;
    for count in [100, 300, 1000] {
        let directory = tempfile::tempdir().unwrap();
        let mut servers = start(directory.path(), count);
        for run in ["first", "converged"] {
            let (time, peak) = play(directory.path());
            let (first_count, first_peak) = *base.get_or_insert((count, peak));
            let more = match count > first_count {
                true => format!("{:.0}", peak.saturating_sub(first_peak) as f64 / (count - first_count) as f64),
                false => "-".into(),
            };
            let seconds = time.as_secs_f64();
            let each = seconds * 1000.0 / count as f64;
            println!("| {count} | {run} | {seconds:.1} | {each:.1} | {} | {more} |", peak / 1024);
        }
        servers.kill().unwrap();
        servers.wait().unwrap();
    }
}

/// Starts the servers and writes their inventory and known hosts.
fn start(directory: &Path, count: usize) -> Child {
    let words = ["serve".to_string(), directory.display().to_string(), count.to_string()];
    let mut child = Command::new(std::env::current_exe().unwrap()).args(words).stdout(Stdio::piped()).spawn().unwrap();
    let (mut inventory, mut known) = (String::new(), String::new());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..count {
        let line = lines.next().unwrap().unwrap();
        let (port, known_line) = line.split_once(' ').unwrap();
        let base = directory.join(format!("h{number}"));
        std::fs::create_dir(&base).unwrap();
        writeln!(inventory, "h{number} ansible_port={port} base={}", base.display()).unwrap();
        writeln!(known, "{known_line}").unwrap();
    }
    write!(
        inventory,
        "[all:vars]\nansible_host=127.0.0.1\nansible_user=mailer\nansible_ssh_private_key_file={0}/id\n\
         ansible_ssh_known_hosts_file={0}/known_hosts\n",
        directory.display()
    )
    .unwrap();
    std::fs::write(directory.join("hosts"), inventory).unwrap();
    std::fs::write(directory.join("known_hosts"), known).unwrap();
    std::fs::write(directory.join("play.yml"), PLAY).unwrap();
    child
}

/// Runs the play; returns its time and its peak memory in KiB (`VmHWM`, `proc.5`).
fn play(directory: &Path) -> (Duration, u64) {
    let begin = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cutover"))
        .args(["play", "-i", "hosts", "play.yml", "--no-diff", "--forks", "1000"])
        .current_dir(directory)
        .env("CUTOVER_STATE_DIR", directory.join("state"))
        .env("HOME", directory)
        .env_remove("SSH_AUTH_SOCK")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(seen.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "the play ended with {status}");
    (begin.elapsed(), peak)
}

/// Serves until it is ended; prints each server's port and known-hosts line.
fn serve(directory: &Path, count: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let key = kept_key(&directory.join("id")).await.unwrap();
        let mut servers = Vec::new();
        for _ in 0..count {
            let options = Options {
                port: 0,
                host_key: directory.join("host_key"),
                user: "mailer".into(),
                keys: vec![key.clone()],
                password: None,
                directory: directory.into(),
                environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()), ("HOME".into(), "/".into())],
                cut_after: None,
                reaches: Vec::new(),
            };
            let server = Server::start(options).await.unwrap();
            println!("{} {}", server.port(), server.known_hosts_line());
            servers.push(server);
        }
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}
