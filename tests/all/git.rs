//! `git`: a checkout is made, moved and taken back, and a check says to which commit.

use std::path::Path;
use std::process::Command;

use crate::program::{Printed, Program, done};
use crate::sshd::run;

fn git(directory: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=ann", "-c", "user.email=ann@example.com"]).args(words);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    String::from_utf8(run(&mut command).stdout).unwrap().trim().to_string()
}

/// Commits a file in a repository, which is made if need be; returns the hash.
pub fn commit(repository: &Path, name: &str, text: &str) -> String {
    if !repository.join(".git").exists() {
        git(repository, &["init", "-q", "-b", "main"]);
    }
    std::fs::write(repository.join(name), text).unwrap();
    git(repository, &["add", "."]);
    git(repository, &["commit", "-q", "-m", name]);
    git(repository, &["rev-parse", "HEAD"])
}

fn program(task: &str) -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n");
    std::fs::create_dir(program.path("repo")).unwrap();
    set(&program, task);
    program
}

fn set(program: &Program, task: &str) {
    let text = format!("- hosts: a\n  gather_facts: false\n  tasks:\n{task}");
    program.file("play.yml", &text.replace("DIR", &program.path("").display().to_string()));
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts play.yml {flags}"))
}

#[test]
fn a_checkout_is_made_moved_to_what_is_new_and_taken_back() {
    let program = program(
        "    - git: {repo: DIR/repo, dest: DIR/dest, version: main}\n      register: it\n    - debug: {msg: \"{{ it.before }} {{ it.after }}\"}\n",
    );
    let first = commit(&program.path("repo"), "conf", "one\n");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains(&format!("+commit: {first}")), "{}", ran.stdout);
    assert_eq!(
        (program.read("dest/conf"), git(&program.path("dest"), &["branch", "--show-current"])),
        ("one\n".into(), "main".into())
    );
    let second = commit(&program.path("repo"), "conf", "two\n");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains(&format!("{first} {second}")), "{}", ran.stdout);
    assert_eq!(program.read("dest/conf"), "two\n");
    program.run("undo last").expect(0);
    assert_eq!(
        (program.read("dest/conf"), git(&program.path("dest"), &["rev-parse", "HEAD"])),
        ("one\n".into(), first)
    );
    std::fs::remove_dir_all(program.path("dest")).unwrap();
    play(&program, "").expect(0);
    program.run("undo last").expect(0);
    assert!(!program.path("dest").exists());
}

#[test]
fn what_was_changed_by_hand_is_only_thrown_away_by_force() {
    let program = program("    - git: {repo: DIR/repo, dest: DIR/dest}\n");
    commit(&program.path("repo"), "conf", "one\n");
    play(&program, "").expect(0);
    program.file("dest/conf", "mine\n").file("dest/other", "new\n");
    for flags in ["--check", ""] {
        let refused = play(&program, flags).expect(2);
        assert!(refused.stdout.contains("Local modifications exist"), "{}", refused.stdout);
    }
    assert_eq!(program.read("dest/conf"), "mine\n");
    set(&program, "    - git: {repo: DIR/repo, dest: DIR/dest, force: true}\n");
    done(|flags| play(&program, flags));
    assert_eq!((program.read("dest/conf"), program.read("dest/other")), ("one\n".into(), "new\n".into()));
}

#[test]
fn tags_hashes_depth_and_bare_repositories_are_what_they_are_for_git() {
    let program = program(
        "    - git: {repo: 'file://DIR/repo', dest: DIR/tag, version: v1, depth: 1}\n    - git: {repo: 'file://DIR/repo', dest: DIR/bare, bare: true}\n",
    );
    let first = commit(&program.path("repo"), "conf", "one\n");
    git(&program.path("repo"), &["tag", "-a", "-m", "first", "v1"]);
    let second = commit(&program.path("repo"), "conf", "two\n");
    done(|flags| play(&program, flags));
    assert_eq!(git(&program.path("tag"), &["rev-parse", "HEAD"]), first);
    assert_eq!(git(&program.path("tag"), &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(git(&program.path("bare"), &["rev-parse", "main"]), second);
    let third = commit(&program.path("repo"), "conf", "three\n");
    set(
        &program,
        &format!(
            "    - git: {{repo: 'file://DIR/repo', dest: DIR/tag, version: {second}}}\n    - git: {{repo: 'file://DIR/repo', dest: DIR/bare, bare: true}}\n    - git: {{repo: DIR/repo, dest: DIR/tag, update: false}}\n    - git: {{repo: DIR/repo, dest: DIR/none, clone: false}}\n"
        ),
    );
    done(|flags| play(&program, flags));
    assert_eq!(program.read("tag/conf"), "two\n");
    assert_eq!(git(&program.path("bare"), &["rev-parse", "main"]), third);
    assert!(!program.path("none").exists());
    set(&program, "    - git: {repo: DIR/repo, dest: DIR/tag, version: nothing}\n");
    assert!(play(&program, "").expect(2).stdout.contains("has no branch, tag or commit `nothing`"));
}

#[test]
fn behind_a_checkout_of_a_check_its_files_are_unknown() {
    let program = program(
        "    - git: {repo: DIR/repo, dest: DIR/dest}\n    - copy: {src: DIR/dest/conf, dest: DIR/copy, remote_src: true}\n",
    );
    commit(&program.path("repo"), "conf", "one\n");
    let check = play(&program, "--check").expect(0);
    assert!(check.stdout.contains("unknown=1"), "{}", check.stdout);
    play(&program, "").expect(0);
    assert_eq!(program.read("copy"), "one\n");
}
