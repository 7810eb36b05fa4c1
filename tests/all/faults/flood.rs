//! Commands that print, read or run without end.

use std::process::Stdio;

use super::{Running, Site, has, is_alive, words};
use crate::sshd::wait_for;

/// The most memory that a process has had, in kB (`proc(5)`).
fn peak(running: &Running) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Tasks after a flood: its result is kept in part, and the shell is as before.
const AFTER: &str = "      register: flood
    - assert:
        that:
          - flood.stdout | length == 16777216
          - flood.stdout_dropped == 1073741824 - 16777216
          - flood.stderr == 'end'
          - flood.rc == 0
    - copy: {content: \"after\\n\", dest: HOST/after}
    - command: echo still here
      register: echo
    - shell: while [ ! -e HOST/go ]; do sleep 0.1; done
    - assert: {that: [\"echo.stdout == 'still here'\"]}
";

fn is_kept_in_part(keywords: &str) {
    let site = Site::new(&["mx"]);
    site.playbook(&format!("    - shell: head -c 1073741824 /dev/zero; echo end >&2\n{keywords}{AFTER}"));
    let running = site.start();
    assert!(
        (0..20).any(|_| wait_for(|| site.on_host("after").exists() || peak(&running).is_none())),
        "{}",
        running.printed().len()
    );
    let peak = peak(&running);
    std::fs::write(site.on_host("go"), "").unwrap();
    let printed = running.end().expect(0);
    has(&printed, "[WARNING]: `mx`: the command printed 1073741824 bytes on stdout; the first 16777216 are kept");
    let peak = peak.expect("a process");
    assert!(peak < 300_000, "it has had {peak} kB");
    site.nothing_is_left();
}

#[test]
fn a_gigabyte_of_output_is_kept_in_part_and_takes_no_memory() {
    is_kept_in_part("");
}

/// It runs on a channel of its own.
#[test]
fn a_gigabyte_of_output_of_a_command_with_a_time_limit_is_kept_in_part_too() {
    is_kept_in_part("      timeout: 1000\n");
}

#[test]
fn a_command_that_does_not_read_its_input_ends_with_its_own_status() {
    let site = Site::new(&["mx"]);
    std::fs::write(site.program.path("input"), vec![b'x'; 10 * 1024 * 1024]).unwrap();
    let mut tasks = String::new();
    for (number, command) in
        ["exit 3", "head -c 10 >/dev/null; exit 3", "exec <&-; sleep 0.3; exit 3"].iter().enumerate()
    {
        tasks += &format!(
            "    - shell: {{cmd: \"{command}\", stdin: \"{{{{ lookup('file', 'input') }}}}\"}}
      register: r{number}
      failed_when: r{number}.rc != 3
"
        );
    }
    tasks += "    - shell: {cmd: \"wc -c >HOST/count\", stdin: \"{{ lookup('file', 'input') }}\", stdin_add_newline: false}\n";
    site.playbook(&tasks);
    site.run().expect(0);
    assert_eq!(words(&site.on_host("count"), 1), ["10485760"]);
    site.nothing_is_left();
}

#[test]
fn a_time_limit_ends_the_whole_group_even_what_ignores_to_be_asked() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - name: hung
      shell: |
        trap '' TERM
        sleep 1000 &
        (trap '' TERM HUP; sleep 1001 & echo $! >>HOST/pids; while :; do sleep 1; done) &
        echo $! $$ >>HOST/pids
        while :; do wait; sleep 1; done
      timeout: 2
      ignore_errors: yes
    - command: touch HOST/after
",
    );
    let printed = site.run().expect(0);
    has(&printed, r#"fatal: [mx]: FAILED! => {"changed": false, "msg": "no end after 2s; it was stopped"}"#);
    let pids = words(&site.on_host("pids"), 3);
    assert!(wait_for(|| !pids.iter().any(|pid| is_alive(pid))), "some of {pids:?} live on");
    assert!(site.on_host("after").exists());
    site.nothing_is_left();
}

#[test]
fn a_task_that_hangs_without_a_command_of_its_own_ends_too_and_the_next_one_is_done() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - name: hung
      copy: {content: \"text\\n\", dest: HOST/file, validate: 'sh -c \"echo $$ >HOST/pids; exec sleep 1000\" %s'}
      timeout: 1
      ignore_errors: yes
    - command: touch HOST/after
",
    );
    let mut command = site.program.command();
    command.args(["play", "-i", "hosts", "site.yml"]).stdin(Stdio::null());
    let printed = Running::of(command).end().expect(0);
    has(&printed, "no end within 1 seconds (`timeout`)");
    has(&printed, "half-done: `mx`: task `hung`: `");
    let pids = words(&site.on_host("pids"), 1);
    assert!(wait_for(|| !pids.iter().any(|pid| is_alive(pid))), "{pids:?} lives on");
    assert!(site.on_host("after").exists() && !site.on_host("file").exists());
    site.nothing_is_left();
}
