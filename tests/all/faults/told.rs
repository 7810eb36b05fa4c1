//! A run that is told to end: by Ctrl-C, SIGTERM, SIGHUP, and at once.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Running, Site, has, is_alive, words};
use crate::program::Printed;
use crate::sshd::{run, wait_for};

/// The lines of the run's output after a heading.
fn below(printed: &Printed, heading: &str) -> String {
    let rest = printed.stdout.split(&format!("\n{heading} *")).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no {heading} in\n{}\n{}", printed.stdout, printed.stderr));
    rest.split("\n\n").next().unwrap_or_default().lines().skip(1).map(|line| format!("{line}\n")).collect()
}

fn all_gone(pids: &[String]) {
    assert!(wait_for(|| !pids.iter().any(|pid| is_alive(pid))), "some of {pids:?} live on");
}

#[test]
fn ctrl_c_ends_what_runs_on_all_hosts_and_says_what_is_half_done() {
    let site = Site::new(&["mx1", "mx2", "mx3"]);
    let playbook = "- hosts: mx1,mx2
  gather_facts: no
  tasks:
    - name: a service
      shell: sleep 300 >/dev/null 2>&1 & echo $! >HOST/service-{{ inventory_hostname }}
    - name: long
      shell: (sleep 1000; true) & echo $! $$ >HOST/pids-{{ inventory_hostname }}; wait; touch HOST/ended
    - command: touch HOST/next
- hosts: all
  gather_facts: no
  tasks:
    - command: touch HOST/next
";
    let host = site.program.path("host").display().to_string();
    site.program.file("site.yml", &playbook.replace("HOST", &host));
    let running = site.start();
    let mut pids = words(&site.on_host("pids-mx1"), 2);
    pids.extend(words(&site.on_host("pids-mx2"), 2));
    running.signal(Signal::INT);
    let printed = running.end().expect(130);
    all_gone(&pids);
    assert!(!site.on_host("ended").exists() && !site.on_host("next").exists());
    let half = below(&printed, "UNKNOWN WHETHER APPLIED");
    for name in ["mx1", "mx2"] {
        assert!(half.contains(&format!("half-done: `{name}`: task `long`: `(sleep 1000; true) & echo")), "{half}");
        // What an earlier task has started is a service of the host.
        let service = words(&site.on_host(&format!("service-{name}")), 1).remove(0);
        assert!(is_alive(&service), "{service}");
        run(Command::new("kill").arg(service));
    }
    assert_eq!(half.matches("unknown whether applied").count(), 2, "{half}");
    let left = below(&printed, "INTERRUPTED");
    assert_eq!(left, "not finished: mx1, mx2\nnot begun: mx3\n");
    assert!(printed.stderr.contains("interrupted: "), "{}", printed.stderr);
    assert_eq!(site.journal().matches(r#"{"uncertain":"#).count(), 2, "{}", site.journal());
    site.nothing_is_left();
    // The locks are free.
    site.playbook("    - command: touch HOST/again\n");
    site.run().expect(0);
}

#[test]
fn sigterm_and_sighup_end_a_run_as_ctrl_c_does() {
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let site = Site::new(&["mx"]);
        site.playbook("    - shell: echo $$ >HOST/pids; exec sleep 1000\n");
        let running = site.start();
        let pids = words(&site.on_host("pids"), 1);
        running.signal(signal);
        let printed = running.end().expect(status);
        all_gone(&pids);
        has(&printed, "half-done: `mx`: task `shell`: ");
        site.nothing_is_left();
    }
}

#[test]
fn a_signal_that_the_run_was_started_to_ignore_is_ignored() {
    let site = Site::new(&["mx"]);
    site.playbook("    - shell: echo $$ >HOST/pids; while [ ! -e HOST/go ]; do sleep 0.1; done\n");
    let plain = site.program.command();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(plain.get_program());
    command.args(["play", "-i", "hosts", "site.yml"]).current_dir(site.program.path("")).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let running = Running::of(command);
    words(&site.on_host("pids"), 1);
    running.signal(Signal::HUP);
    std::fs::write(site.on_host("go"), "").unwrap();
    running.end().expect(0);
}

#[test]
fn a_loop_that_writes_a_file_stops_writing() {
    let site = Site::new(&["mx"]);
    site.playbook("    - shell: while :; do echo line >>HOST/log; sleep 0.05; done\n");
    let running = site.start();
    words(&site.on_host("log"), 3);
    running.signal(Signal::INT);
    running.end().expect(130);
    let length = || std::fs::metadata(site.on_host("log")).unwrap().len();
    let before = length();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(length(), before);
    site.nothing_is_left();
}

/// The numbers of the processes with this name among those above a process.
fn programs_above(pid: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pid = pid.to_string();
    while let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        let (before, after) = stat.rsplit_once(") ").unwrap();
        if before.ends_with(&format!("({name}")) {
            found.push(pid);
        }
        pid = after.split(' ').nth(1).unwrap().to_string();
    }
    found
}

#[test]
fn what_another_user_runs_ends_too() {
    let site = Site::new(&["mx"]);
    run(Command::new("chmod").arg("0777").arg(site.program.path("host")));
    // Whoever is not root has to get there.
    run(Command::new("chmod").arg("0755").arg(site.program.path("")));
    site.playbook(
        "    - name: as nobody
      shell: trap '' TERM; sleep 1000 & echo $! $$ >HOST/pids; id -un >HOST/who; wait; sleep 1000
      become: yes
      become_user: nobody
",
    );
    let running = site.start();
    let pids = words(&site.on_host("pids"), 2);
    assert_eq!(words(&site.on_host("who"), 1), ["nobody"]);
    let above = programs_above(&pids[1], "sudo");
    assert!(!above.is_empty(), "no sudo is above {pids:?}");
    running.signal(Signal::INT);
    let printed = running.end().expect(130);
    all_gone(&pids);
    all_gone(&above);
    has(&printed, "half-done: `mx`: task `as nobody`");
    site.nothing_is_left();
}

#[test]
fn a_command_with_a_time_limit_ends_with_all_its_group() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - shell: (sleep 1000; true) & echo $! $$ >HOST/pids; wait; sleep 1000
      timeout: 500
",
    );
    let running = site.start();
    let pids = words(&site.on_host("pids"), 2);
    running.signal(Signal::INT);
    running.end().expect(130);
    all_gone(&pids);
    site.nothing_is_left();
}

/// A big file that is on its way, slowly.
fn uploading(site: &Site) -> Running {
    std::fs::write(site.program.path("big"), vec![7; 64 * 1024 * 1024]).unwrap();
    site.playbook("    - name: big\n      copy: {src: big, dest: HOST/file, mode: '0600'}\n");
    site.network.slow_down();
    let running = site.start();
    assert!(wait_for(|| !site.temp_files().is_empty()), "{}", running.printed());
    running
}

#[test]
fn the_temp_file_of_an_upload_goes_with_ctrl_c() {
    let site = Site::new(&["mx"]);
    let running = uploading(&site);
    running.signal(Signal::INT);
    let printed = running.end().expect(130);
    // At once, not only when the host notices.
    assert_eq!(site.temp_files(), [""; 0]);
    has(&printed, "half-done: `mx`: task `big`: `");
    assert!(!site.on_host("file").exists());
    site.nothing_is_left();
}

#[test]
fn a_run_that_is_killed_leaves_no_temp_file() {
    let site = Site::new(&["mx"]);
    let running = uploading(&site);
    running.signal(Signal::KILL);
    running.end().expect(-1);
    site.nothing_is_left();
    assert!(!site.on_host("file").exists());
}

#[test]
fn a_run_that_is_killed_on_this_machine_leaves_no_temp_file_either() {
    for signal in [Signal::INT, Signal::KILL] {
        let site = Site::new(&["mx"]);
        let script = "    - name: slow
      copy: {content: \"text\\n\", dest: HOST/file, validate: 'touch HOST/validating; sleep 2; true %s'}
      vars: {ansible_connection: local}
";
        site.playbook(script);
        let running = site.start();
        assert!(wait_for(|| site.on_host("validating").exists()), "{}", running.printed());
        running.signal(signal);
        running.end();
        assert!(wait_for(|| site.temp_files().is_empty()), "{signal:?}: {:?}", site.temp_files());
    }
}

#[test]
fn a_second_signal_ends_a_run_at_once_and_a_host_that_cannot_be_reached_is_named() {
    for again in [true, false] {
        let site = Site::new(&["mx"]);
        site.playbook("    - shell: echo $$ >HOST/pids; exec sleep 1000\n");
        let running = site.start();
        let pids = words(&site.on_host("pids"), 1);
        // Nothing on the host can be ended over this.
        site.network.freeze();
        running.signal(Signal::INT);
        if again {
            // Of two signals that come together one may be lost.
            std::thread::sleep(std::time::Duration::from_secs(1));
            running.signal(Signal::INT);
        }
        let printed = running.end().expect(130);
        match again {
            true => assert!(!printed.stdout.contains("INTERRUPTED"), "{}", printed.stdout),
            false => has(&printed, "`mx`: what runs there has not ended in 8 s"),
        }
        assert!(Path::new(&format!("/proc/{}", pids[0])).exists());
        run(Command::new("kill").args(&pids));
    }
}

#[test]
fn a_run_whose_output_is_closed_ends_what_runs_on_its_hosts() {
    let site = Site::new(&["mx1", "mx2"]);
    site.playbook(
        "    - shell: echo $$ >HOST/{{ inventory_hostname }}; while [ ! -e HOST/go-{{ inventory_hostname }} ]; do sleep 0.1; done
",
    );
    let mut command = site.program.command();
    command.args(["play", "-i", "hosts", "site.yml"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pids = words(&site.on_host("mx1"), 1);
    words(&site.on_host("mx2"), 1);
    drop(child.stdout.take());
    // Its end is what cannot be printed.
    std::fs::write(site.on_host("go-mx2"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    all_gone(&pids);
    site.nothing_is_left();
}
