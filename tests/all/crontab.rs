//! A user's crontab, through a real `crontab(1)`: busybox's, with a directory of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::program::{Printed, Program};

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - cron: {name: late mail, minute: '10', hour: '3', job: collect}
    - cron: {name: MAILTO, env: true, job: postmaster@example.com}
    - cron: {name: gone, state: absent}
";

/// Gives a program the crontab of a test's own.
pub fn made_for(program: &Program) {
    fs::create_dir(program.path("tabs")).unwrap();
    let wrapper = format!("#!/bin/sh\nexec busybox crontab -c {} \"$@\"\n", program.path("tabs").display());
    program.file("bin/crontab", &wrapper);
    fs::set_permissions(program.path("bin/crontab"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a command that sees it, and expects that it goes well.
pub fn cutover(program: &Program, words: &str) -> Printed {
    let path = format!("{}:{}", program.path("bin").display(), std::env::var("PATH").unwrap());
    program.printed(program.command().env("PATH", path).args(words.split(' ')).output().unwrap()).expect(0)
}

/// The file with this user's lines.
pub fn tab() -> String {
    let user = std::process::Command::new("id").arg("-un").output().unwrap();
    format!("tabs/{}", String::from_utf8(user.stdout).unwrap().trim())
}

#[test]
fn a_users_crontab_is_checked_set_left_alone_and_taken_back() {
    let program = Program::new();
    made_for(&program);
    program.file("site.yml", PLAY).file("hosts", "here ansible_connection=local\n");
    let tab = tab();
    let before = "0 1 * * * by-hand\n#Ansible: gone\n@daily gone\n";
    program.file(&tab, before);

    let checked = cutover(&program, "play -i hosts site.yml --check");
    assert!(checked.stdout.contains("+MAILTO=\"postmaster@example.com\"\n"), "{}", checked.stdout);
    assert_eq!(program.read(&tab), before);
    let made = cutover(&program, "play -i hosts site.yml");
    assert_eq!(made.diffs(), checked.diffs());
    let after = "MAILTO=\"postmaster@example.com\"\n0 1 * * * by-hand\n#Ansible: late mail\n10 3 * * * collect\n";
    assert_eq!(program.read(&tab), after);
    assert_eq!(cutover(&program, "play -i hosts site.yml").diffs().trim(), "");
    cutover(&program, "undo last");
    assert_eq!(program.read(&tab), before);

    // A first entry makes a crontab, and without it there is none again.
    fs::remove_file(program.path(&tab)).unwrap();
    cutover(&program, "play -i hosts site.yml");
    cutover(&program, "undo last");
    assert!(!program.path(&tab).exists());
}
