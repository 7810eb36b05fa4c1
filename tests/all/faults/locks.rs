//! Two runs at one host: the second one waits, is told whose turn it is, or takes the lock.

use std::os::unix::fs::symlink;
use std::process::Command;

use rustix::process::Signal;

use super::{Running, Site, has, words};
use crate::sshd::{run, wait_for};

/// A run that has the host until the file `go` is there, and then makes another change.
const LONG: &str =
    "    - shell: echo $$ >>HOST/pids; while [ ! -e HOST/go ]; do sleep 0.1; done\n    - command: touch HOST/next\n";

/// What goes to the host beside its shell: a big file, and a command with a limit.
const BESIDE: &str = "    - copy: {content: \"{{ 'x' * 100000 }}\", dest: HOST/big, mode: '0600'}\n    \
                      - command: touch HOST/limited\n      timeout: 60\n      ignore_errors: true\n";

/// Another controller, with a state directory of its own, that changes the same host.
fn other(site: &Site, flags: &str) -> Running {
    let tasks = format!("    - command: touch {}\n", site.on_host("other").display());
    site.program.file("other.yml", &format!("- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}"));
    let mut command = site.program.command();
    command.env("CUTOVER_STATE_DIR", site.program.path("state2")).env("USER", "ben");
    command.args(["play", "-i", "hosts", "other.yml"]).args(flags.split_whitespace());
    Running::of(command)
}

/// The line of `/proc/PID/stat` that says when a process began.
fn began(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_string()
}

#[test]
fn a_second_controller_is_told_who_has_the_host_or_waits_for_its_end() {
    // Two names of one machine are one host, to the run that has it too.
    let site = Site::new(&["mx", "also-mx"]);
    let running = site.playbook(LONG).start();
    words(&site.on_host("pids"), 2);
    assert_eq!(site.program.locks().len(), 2);
    let refused = other(&site, "").end().expect(2);
    has(&refused, "another run is changing this host: run 20");
    has(&refused, "; its shell there is process ");
    has(&refused, "hint: `--wait-lock SECONDS` waits for its end");
    assert!(!site.on_host("other").exists());
    // A change that was not begun is none that an undo would have to take back.
    let told =
        site.program.command().env("CUTOVER_STATE_DIR", site.program.path("state2")).args(["log", "last"]).output();
    assert!(String::from_utf8(told.unwrap().stdout).unwrap().contains("not begun: another run is changing this host"));

    let waiting = other(&site, "--wait-lock 60");
    waiting.until("waiting for another run that is changing it: run 20");
    assert!(!site.on_host("other").exists());
    std::fs::write(site.on_host("go"), "").unwrap();
    running.end().expect(0);
    waiting.end().expect(0);
    assert!(site.on_host("other").exists());
    site.nothing_is_left();
}

#[test]
fn a_lock_that_is_taken_away_is_journalled_and_the_run_that_had_it_stops_before_its_next_change() {
    let site = Site::new(&["mx"]);
    let running = site.playbook(LONG).start();
    words(&site.on_host("pids"), 1);
    let stolen = other(&site, "--steal-lock").end().expect(0);
    has(&stolen, "[WARNING]: `mx`: the lock was taken from run 20");
    assert!(site.on_host("other").exists());
    let journals = std::fs::read_dir(site.program.path("state2/runs")).unwrap();
    let journal: String = journals.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert!(journal.contains(r#""stolen":"mx""#), "{journal}");
    std::fs::write(site.on_host("go"), "").unwrap();
    has(&running.end().expect(2), "the lock of this host was taken from this run");
    assert!(!site.on_host("next").exists());
    site.nothing_is_left();
}

#[test]
fn what_goes_beside_the_shell_needs_the_lock_too_and_stops_where_that_was_taken_away() {
    let site = Site::new(&["mx"]);
    let running = site.playbook(LONG).start();
    words(&site.on_host("pids"), 1);
    let beside = BESIDE.replace("HOST", &site.on_host("").display().to_string());
    site.program.file("beside.yml", &format!("- hosts: all\n  gather_facts: no\n  tasks:\n{beside}"));
    let mut command = site.program.command();
    command.env("CUTOVER_STATE_DIR", site.program.path("state2")).args(["play", "-i", "hosts", "beside.yml"]);
    has(&Running::of(command).end().expect(2), "another run is changing this host: run 20");
    assert!(!site.on_host("big").exists() && !site.on_host("limited").exists());
    std::fs::write(site.on_host("go"), "").unwrap();
    running.end().expect(0);

    std::fs::remove_file(site.on_host("go")).unwrap();
    std::fs::remove_file(site.on_host("pids")).unwrap();
    let first = LONG.split("    - command").next().unwrap();
    let (big, limited) = BESIDE.split_at(BESIDE.find("    - command").unwrap());
    let running = site.playbook(&format!("{first}{limited}{big}")).start();
    words(&site.on_host("pids"), 1);
    other(&site, "--steal-lock").end().expect(0);
    std::fs::write(site.on_host("go"), "").unwrap();
    has(&running.end().expect(2), "the lock of this host was taken from this run");
    assert!(!site.on_host("limited").exists() && !site.on_host("big").exists());
    site.nothing_is_left();
}

#[test]
fn the_lock_of_a_run_that_was_killed_is_held_by_what_still_goes_on_there_and_by_nothing_after() {
    let site = Site::new(&["mx"]);
    let running = site.playbook(LONG).start();
    let command = words(&site.on_host("pids"), 1).remove(0);
    running.signal(Signal::KILL);
    running.end().expect(-1);
    // What it has begun goes on to its own end.
    has(&other(&site, "").end().expect(2), "another run is changing this host: run 20");
    // Now the shell is killed, too, and cannot take its lock away.
    let lock = std::fs::read_link(&site.program.locks()[0]).unwrap().display().to_string();
    let shell = lock.split(' ').nth(1).unwrap().to_string();
    run(Command::new("kill").args(["-KILL", &shell, &command]));
    assert_eq!(site.program.locks().len(), 1);
    other(&site, "").end().expect(0);
    site.nothing_is_left();
}

#[test]
fn what_changes_nothing_takes_no_lock_and_who_forges_one_is_named() {
    let site = Site::new(&["mx"]);
    site.playbook("    - copy: {content: \"one\\n\", dest: HOST/file, mode: '0644'}\n").run().expect(0);
    assert!(wait_for(|| site.program.locks().is_empty()));
    // A process of somebody who may do nothing else on this host; it writes what a terminal would obey.
    let nobody = Command::new("setpriv")
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
        .args(["sleep", "1000"])
        .spawn();
    let mut nobody = nobody.unwrap();
    let forged = site.program.locks_directory().join(".cutover.lock.forged");
    symlink(format!("token {} {} \x1b[2Jroot", nobody.id(), began(nobody.id())), &forged).unwrap();
    std::os::unix::fs::lchown(&forged, Some(65534), Some(65534)).unwrap();
    site.run().expect(0);
    site.program.run("play -i hosts site.yml --check -D").expect(0);
    let refused = other(&site, "").end().expect(2);
    has(&refused, &format!("its shell there is process {} of `nobody`", nobody.id()));
    assert!(!refused.stdout.contains('\x1b'));
    other(&site, "--steal-lock").end().expect(0);
    nobody.kill().unwrap();
    nobody.wait().unwrap();
    site.nothing_is_left();
}

#[test]
fn a_machine_of_this_controller_is_locked_too_and_what_is_delegated_to_it_is_not() {
    let site = Site::new(&["mx"]);
    site.program.file("hosts", "here ansible_connection=local\n");
    let running = site.playbook(LONG).start();
    words(&site.on_host("pids"), 1);
    has(&other(&site, "").end().expect(2), "another run is changing this host: run 20");
    let tasks = format!("    - command: touch {}\n      delegate_to: localhost\n", site.on_host("delegated").display());
    site.program.file("delegated.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n{tasks}"));
    site.program.run("play -i hosts delegated.yml").expect(0);
    assert!(site.on_host("delegated").exists());
    // The same controller knows it by its own lock.
    site.program.file("third.yml", "- hosts: here\n  gather_facts: no\n  tasks:\n    - command: 'true'\n");
    has(&site.program.run("play -i hosts third.yml").expect(2), "its process here is ");
    std::fs::write(site.on_host("go"), "").unwrap();
    running.end().expect(0);
    site.nothing_is_left();
}
