//! `subversion`: a checkout is made, moved and taken back by a real svn, and a check says to which revision.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::program::{Printed, Program, done};
use crate::sshd::{run, wait_for};

/// Commits a file to a repository, which is made if need be.
pub fn commit_to(repository: &Path, name: &str, text: &str) {
    if !repository.exists() {
        run(Command::new("svnadmin").arg("create").arg(repository));
    }
    let (url, work) = (format!("file://{}", repository.display()), tempfile::tempdir().unwrap());
    let svn = |words: &[&str]| {
        let settings = work.path().join("settings").display().to_string();
        let mut command = Command::new("svn");
        command.args(["--config-dir", &settings, "--non-interactive", "-q"]).args(words);
        run(command.current_dir(work.path()));
    };
    svn(&["checkout", &url, "copy"]);
    std::fs::write(work.path().join("copy").join(name), text).unwrap();
    svn(&["add", "--force", &format!("copy/{name}")]);
    svn(&["commit", "-m", name, "copy"]);
}

fn program(task: &str) -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n");
    commit_to(&program.path("repo"), "conf", "one\n");
    set(&program, task);
    program
}

fn set(program: &Program, task: &str) {
    let tasks = format!("    - subversion: {{{task}}}\n      register: it\n    - debug: {{var: it}}\n");
    let text = format!("- hosts: a\n  gather_facts: false\n  tasks:\n{tasks}");
    let directory = program.path("").display().to_string();
    program.file("play.yml", &text.replace("DIR", directory.trim_end_matches('/')));
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts play.yml {flags}"))
}

fn refused(program: &Program, task: &str, says: &str) {
    set(program, task);
    for flags in ["--check", ""] {
        let printed = play(program, flags);
        let text = printed.stdout + &printed.stderr;
        assert!(printed.status != 0 && text.contains(says), "{task} {flags}:\n{text}");
    }
}

#[test]
fn a_checkout_is_made_moved_to_what_is_new_and_taken_back() {
    let program = program("repo: 'file://DIR/repo', dest: DIR/dest");
    let ran = done(|flags| play(&program, flags));
    assert!(
        ran.diffs().contains("-absent\n+url: file://DIR/repo\n+revision: 1\n+local changes: no\n"),
        "{}",
        ran.diffs()
    );
    assert_eq!(program.read("dest/conf"), "one\n");
    commit_to(&program.path("repo"), "conf", "two\n");
    let ran = done(|flags| play(&program, flags));
    for told in ["-revision: 1\n+revision: 2\n", "\"Revision: 1\"", "\"Revision: 2\"", "\"URL: file://DIR/repo\""] {
        assert!(ran.stdout.contains(told), "{told}{}", ran.stdout);
    }
    assert_eq!(program.read("dest/conf"), "two\n");
    program.run("undo last").expect(0);
    assert_eq!(program.read("dest/conf"), "one\n");
    set(&program, "repo: 'file://DIR/repo', dest: DIR/dest, revision: 2");
    done(|flags| play(&program, flags));
    set(&program, "repo: 'file://DIR/repo', dest: DIR/dest, revision: 1");
    done(|flags| play(&program, flags));
    assert_eq!(program.read("dest/conf"), "one\n");
    // Nothing of it is left, and no settings of svn's were made on the way.
    std::fs::remove_dir_all(program.path("dest")).unwrap();
    play(&program, "").expect(0);
    program.run("undo last").expect(0);
    assert!(!program.path("dest").exists() && !program.path(".subversion").exists());
}

#[test]
fn what_was_changed_by_hand_is_only_thrown_away_by_force() {
    let program = program("repo: 'file://DIR/repo', dest: DIR/dest");
    play(&program, "").expect(0);
    program.file("dest/conf", "mine\n").file("dest/other", "new\n");
    refused(&program, "repo: 'file://DIR/repo', dest: DIR/dest", "ERROR: modified files exist in the repository.");
    assert_eq!(program.read("dest/conf"), "mine\n");
    set(&program, "repo: 'file://DIR/repo', dest: DIR/dest, force: true");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.diffs().contains("-local changes: yes\n+local changes: no\n"), "{}", ran.diffs());
    assert_eq!((program.read("dest/conf"), program.read("dest/other")), ("one\n".into(), "new\n".into()));
    // A directory of somebody's own is made a checkout where that is asked for.
    program.file("own/conf", "mine\n");
    refused(&program, "repo: 'file://DIR/repo', dest: DIR/own", "folder already exists, but its not a subversion");
    set(&program, "repo: 'file://DIR/repo', dest: DIR/own, in_place: true, force: true");
    done(|flags| play(&program, flags));
    assert_eq!(program.read("own/conf"), "one\n");
}

#[test]
fn exports_urls_and_what_is_not_to_be_made_are_as_asked() {
    let program = program("repo: 'file://DIR/repo', dest: DIR/dest, export: true");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.diffs().contains("-absent\n+url: file://DIR/repo\n+revision: 1\n"), "{}", ran.diffs());
    assert!(program.read("dest/conf") == "one\n" && !program.path("dest/.svn").exists());
    program.run("undo last").expect(0);
    assert!(!program.path("dest").exists());
    program.file("dest/conf", "mine\n").file("dest/other", "new\n");
    refused(&program, "repo: 'file://DIR/repo', dest: DIR/dest, export: true", "exists; please remove the directory");
    set(&program, "repo: 'file://DIR/repo', dest: DIR/dest, export: true, force: true");
    done(|flags| play(&program, flags));
    assert_eq!((program.read("dest/conf"), program.read("dest/other")), ("one\n".into(), "new\n".into()));

    set(&program, "repo: 'file://DIR/repo', checkout: false, update: false");
    assert!(play(&program, "").expect(0).stdout.contains("\"after\": \"Revision: 1\""));
    set(&program, "repo: 'file://DIR/repo', dest: DIR/none, checkout: false");
    assert!(play(&program, "").expect(0).stdout.contains(" changed=0 ") && !program.path("none").exists());
    refused(&program, "repo: 'file://DIR/repo'", "the destination directory must be specified");
    refused(&program, "repo: 'file://DIR/nowhere', dest: DIR/none", "Unable to connect to a repository");
    refused(&program, "repo: 'file://DIR/repo', dest: DIR/none, executable: nosvn", "executable \"nosvn\"");

    // Another directory of the repository.
    let svn = |words: &[&str]| drop(run(Command::new("svn").args(["-q", "--config-dir", "/none"]).args(words)));
    let url = format!("file://{}", program.path("repo").display());
    svn(&["mkdir", "-m", "x", &format!("{url}/a")]);
    svn(&["copy", "-m", "x", &format!("{url}/a"), &format!("{url}/b")]);
    set(&program, "repo: 'file://DIR/repo/a', dest: DIR/part");
    play(&program, "").expect(0);
    set(&program, "repo: 'file://DIR/repo/b', dest: DIR/part, switch: false");
    assert!(play(&program, "").expect(0).stdout.contains(" changed=0 "));
    set(&program, "repo: 'file://DIR/repo/b', dest: DIR/part");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.diffs().contains("-url: file://DIR/repo/a\n+url: file://DIR/repo/b\n"), "{}", ran.diffs());
    set(&program, "repo: 'file://DIR/repo', dest: DIR/part, update: false");
    assert!(play(&program, "").expect(0).stdout.contains(" changed=0 "));
}

/// A server that goes with its test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_password_comes_to_svn_on_its_standard_input_and_is_told_nobody() {
    let program = program("");
    program
        .file("repo/conf/svnserve.conf", "[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\n");
    program.file("repo/conf/passwd", "[users]\nann = back\\slash geheim\n");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("svnserve");
    server.args(["-d", "--foreground", "--listen-host", "127.0.0.1", "--listen-port", &port.to_string(), "-r"]);
    let _served = Served(server.arg(program.path("")).stdin(Stdio::null()).spawn().unwrap());
    assert!(wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
    // What svn is given among its words.
    program.script("svn", "printf '%s\\n' \"$*\" >>DIR/words\nexec /usr/bin/svn \"$@\"");
    let url = format!("svn://127.0.0.1:{port}/repo");
    let task =
        format!("repo: '{url}', dest: DIR/dest, executable: DIR/svn, username: ann, password: 'back\\slash geheim'");
    set(&program, &task);
    let ran = done(|flags| play(&program, &format!("{flags} -vvv")));
    assert_eq!(program.read("dest/conf"), "one\n");
    let words = program.read("words");
    assert!(words.contains("--username ann --password-from-stdin") && !words.contains("geheim"), "{words}");
    assert!(!ran.stdout.contains("geheim"), "{}", ran.stdout);
    for journal in std::fs::read_dir(program.path("state/runs")).unwrap() {
        assert!(!std::fs::read_to_string(journal.unwrap().path()).unwrap().contains("geheim"));
    }
    refused(&program, &task.replace("geheim", "falsch"), "Authentication");
}
