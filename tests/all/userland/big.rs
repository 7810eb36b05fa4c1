//! A file that is bigger than the memory that may be used for it.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;

use super::host::{Host, PLAIN};
use crate::program::Program;
use crate::sshd::run;

const SIZE: u64 = 2 << 30;
/// In KiB, for the whole program.
const MOST_MEMORY: u64 = 150 * 1024;

/// A file with a hole of nearly all its size, and with something at both ends and in the middle.
fn make(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    for (place, text) in [(0, "begin\0"), (SIZE / 2 + 7, "\u{ff}middle"), (SIZE - 3, "end")] {
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// The most memory a process has had so far, in KiB (`VmHWM`, `proc.5`). `None`: it is no more.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[test]
fn two_gibibytes_go_to_a_host_and_back_in_little_memory() {
    let host = Host::start(&PLAIN);
    // On the disk: that of the hosts may be in memory.
    let program = Program::below(Path::new("/var/tmp"));
    make(&program.path("big"));
    program.file(".ssh/known_hosts", &host.known_hosts_line()).file("hosts", &host.inventory_line("mx"));
    let far = program.path("far").display().to_string();
    program.file(
        "play.yml",
        &format!(
            "- hosts: mx\n  gather_facts: no\n  tasks:\n    - copy: {{src: big, dest: {far}, mode: '0600'}}\n    \
             - fetch: {{src: {far}, dest: back, flat: yes}}\n"
        ),
    );
    let mut command = program.command();
    // Where a fetched file is kept until it is whole.
    command.env("TMPDIR", program.path(""));
    command.args(["play", "-i", "hosts", "play.yml"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(child.id()).unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success(), "{printed}");
    assert!(printed.contains("changed=2 "), "{printed}");
    for name in ["far", "back"] {
        assert_eq!(std::fs::metadata(program.path(name)).unwrap().len(), SIZE);
        run(std::process::Command::new("cmp").arg(program.path("big")).arg(program.path(name)));
    }
    assert!(most > 0 && most < MOST_MEMORY, "{most} KiB");
}
