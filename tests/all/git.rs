//! `git`: a checkout is made, moved and taken back, and a check says to which commit.

use std::os::unix::fs::PermissionsExt as _;
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

/// Two repositories, of which one has the other as the submodule `lib`; their host's git lets files be fetched for it.
fn with_submodule(task: &str) -> Program {
    let program = program(task);
    program.file(".gitconfig", "[protocol \"file\"]\n\tallow = always\n");
    std::fs::create_dir(program.path("lib")).unwrap();
    commit(&program.path("lib"), "conf", "one\n");
    commit(&program.path("repo"), "conf", "one\n");
    let lib = program.path("lib").display().to_string();
    git(&program.path("repo"), &["-c", "protocol.file.allow=always", "submodule", "-q", "add", &lib, "lib"]);
    git(&program.path("repo"), &["commit", "-q", "-m", "lib"]);
    program
}

#[test]
fn submodules_are_those_of_the_commit_or_the_newest_of_their_branch() {
    let program = with_submodule(
        "    - git: {repo: DIR/repo, dest: DIR/noted}\n    - git: {repo: DIR/repo, dest: DIR/newest, track_submodules: true}\n",
    );
    done(|flags| play(&program, flags));
    let first = git(&program.path("lib"), &["rev-parse", "HEAD"]);
    let second = commit(&program.path("lib"), "conf", "two\n");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains(&format!("-submodule lib: {first} and not {second}")), "{}", ran.stdout);
    assert_eq!([program.read("noted/lib/conf"), program.read("newest/lib/conf")], ["one\n", "two\n"]);
    program.run("undo last").expect(0);
    assert_eq!(program.read("newest/lib/conf"), "one\n");
    // What was changed in one is a change of the checkout.
    program.file("newest/lib/conf", "mine\n");
    assert!(play(&program, "").expect(2).stdout.contains("Local modifications exist"));
    set(&program, "    - git: {repo: DIR/repo, dest: DIR/bare, recursive: false}\n");
    done(|flags| play(&program, flags));
    assert!(!program.path("bare/lib/conf").exists());
    set(
        &program,
        "    - git: {repo: DIR/repo, dest: DIR/bare}\n      register: it\n    - debug: {msg: \"{{ it.submodules_changed | default('none') }}\"}\n",
    );
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains("-submodule lib: absent"), "{}", ran.stdout);
    assert_eq!(program.read("bare/lib/conf"), "one\n");
    program.run("undo last").expect(0);
    assert!(!program.path("bare/lib/conf").exists());
}

#[test]
fn the_repository_is_kept_beside_the_checkout_and_moved_there_and_back() {
    let program = with_submodule("    - git: {repo: DIR/repo, dest: DIR/dest, separate_git_dir: DIR/kept/git}\n");
    let kept = program.path("kept/git").display().to_string();
    done(|flags| play(&program, flags));
    assert_eq!(program.read("dest/.git").trim(), format!("gitdir: {kept}"));
    assert_eq!(program.read("dest/conf"), "one\n");
    program.run("undo last").expect(0);
    assert!(!program.path("dest").exists() && !program.path("kept/git").exists());
    set(&program, "    - git: {repo: DIR/repo, dest: DIR/dest}\n");
    play(&program, "").expect(0);
    set(
        &program,
        "    - git: {repo: DIR/repo, dest: DIR/dest, separate_git_dir: DIR/kept/git, update: false}\n      register: it\n    \
         - debug: {msg: \"from {{ it.git_dir_before | default('') }} to {{ it.git_dir_now | default('') }}.\"}\n",
    );
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains("-git directory: DIR/dest/.git\n+git directory: DIR/kept/git"), "{}", ran.stdout);
    assert!(ran.stdout.contains("from DIR/dest/.git to DIR/kept/git."), "{}", ran.stdout);
    assert_eq!(git(&program.path("dest"), &["status", "--porcelain"]), "");
    assert_eq!(git(&program.path("dest/lib"), &["rev-parse", "--is-inside-work-tree"]), "true");
    program.run("undo last").expect(0);
    assert!(program.path("dest/.git/HEAD").exists() && !program.path("kept/git").exists());
    assert_eq!(git(&program.path("dest"), &["status", "--porcelain"]), "");
    program.file("kept/git/other", "");
    for flags in ["--check", ""] {
        let refused = play(&program, flags).expect(2);
        assert!(refused.stdout.contains("Separate-git-dir path DIR/kept/git already exists."), "{}", refused.stdout);
    }
}

/// The names in an archive.
fn members(program: &Program, name: &str) -> Vec<String> {
    let output = run(Command::new("tar").arg("-tf").arg(program.path(name)));
    String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
}

#[test]
fn an_archive_is_of_the_commit_and_is_packed_again_when_that_moves() {
    let task = "    - git: {repo: DIR/repo, dest: DIR/dest, archive: DIR/tools.tar.gz, archive_prefix: tools/}\n";
    let program = program(task);
    commit(&program.path("repo"), "conf", "one\n");
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains("+archive DIR/tools.tar.gz: of the commit"), "{}", ran.stdout);
    assert_eq!(members(&program, "tools.tar.gz"), ["tools/", "tools/conf"]);
    let first = std::fs::read(program.path("tools.tar.gz")).unwrap();
    commit(&program.path("repo"), "more", "two\n");
    done(|flags| play(&program, flags));
    assert_eq!(members(&program, "tools.tar.gz"), ["tools/", "tools/conf", "tools/more"]);
    program.run("undo last").expect(0);
    assert_eq!(std::fs::read(program.path("tools.tar.gz")).unwrap(), first);
    program.file("tools.tar.gz", "something else");
    set(&program, &task.replace("dest,", "dest, update: false,"));
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains("-archive DIR/tools.tar.gz: another file"), "{}", ran.stdout);
    assert_eq!(std::fs::read(program.path("tools.tar.gz")).unwrap(), first);
    let undone = program.run("undo last");
    let said = undone.stdout + &undone.stderr;
    assert!(said.contains("nobody knows how git DIR/dest is taken back"), "{said}");
    std::fs::remove_file(program.path("tools.tar.gz")).unwrap();
    play(&program, "").expect(0);
    program.run("undo last").expect(0);
    assert!(!program.path("tools.tar.gz").exists() && program.path("dest/conf").exists());
    set(&program, &task.replace("DIR/tools.tar.gz", "DIR/none/tools.zip"));
    assert!(play(&program, "--check").expect(2).stdout.contains("Failed to perform archive operation"));
    let beside = std::fs::read_dir(program.path("")).unwrap();
    let names: Vec<String> = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("tools.tar.gz.")), "{names:?}");
}

#[test]
fn what_git_makes_has_the_umask_that_is_asked_for() {
    let program = program("    - git: {repo: DIR/repo, dest: DIR/dest, umask: '0077', archive: DIR/all.zip}\n");
    commit(&program.path("repo"), "conf", "one\n");
    done(|flags| play(&program, flags));
    let mode = |name: &str| std::fs::metadata(program.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["dest", "dest/conf", "all.zip"].map(mode), [0o700, 0o600, 0o600]);
}

/// A keyring in the home of a test's host.
struct Keyring<'a>(&'a Program);

impl Keyring<'_> {
    fn gpg(&self, words: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.0.path(".gnupg")).args(["--batch", "--passphrase", ""]).args(words);
        String::from_utf8(run(&mut command).stdout).unwrap()
    }

    /// Makes a key for somebody; returns its fingerprint.
    fn key(&self, name: &str) -> String {
        self.0.script("gpg", "exec gpg --homedir DIR/.gnupg \"$@\"");
        std::fs::create_dir_all(self.0.path(".gnupg")).unwrap();
        std::fs::set_permissions(self.0.path(".gnupg"), std::fs::Permissions::from_mode(0o700)).unwrap();
        self.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]);
        let listed = self.gpg(&["--list-keys", "--with-colons", name]);
        listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")?.strip_suffix(':')).unwrap().to_string()
    }

    /// Does something that is signed with a key in the repository; returns its commit.
    fn sign(&self, key: &str, words: &[&str]) -> String {
        let (program, key) =
            (format!("gpg.program={}", self.0.path("gpg").display()), format!("user.signingKey={key}"));
        let repository = self.0.path("repo");
        git(&repository, &[["-c", &program, "-c", &key].as_slice(), words].concat());
        git(&repository, &["rev-parse", "HEAD"])
    }
}

impl Drop for Keyring<'_> {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path(".gnupg")).args(["--kill", "all"]).output();
    }
}

#[test]
fn what_is_not_signed_or_by_somebody_else_is_refused_before_the_checkout_moves() {
    let program = program("    - git: {repo: DIR/repo, dest: DIR/dest, verify_commit: true}\n");
    let keyring = Keyring(&program);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|name| keyring.key(name));
    commit(&program.path("repo"), "conf", "one\n");
    let refused = play(&program, "").expect(2);
    assert!(refused.stdout.contains("Failed to verify GPG signature of commit/tag \"HEAD\""), "{}", refused.stdout);
    assert!(!program.path("dest").exists());
    let amend = ["commit", "-q", "-S", "--amend", "-C", "HEAD"];
    let first = keyring.sign(&ann, &amend);
    done(|flags| play(&program, flags));
    commit(&program.path("repo"), "conf", "two\n");
    let dest = || git(&program.path("dest"), &["rev-parse", "HEAD"]);
    let refused = |said: &str| {
        let refused = play(&program, "").expect(2);
        assert!(refused.stdout.contains(said), "no `{said}` in\n{}", refused.stdout);
    };
    refused("Failed to verify GPG signature");
    assert_eq!((dest(), program.read("dest/conf")), (first.clone(), "one\n".into()));
    let second = keyring.sign(&bob, &amend);
    let task = |more: &str| {
        set(&program, &format!("    - git: {{repo: DIR/repo, dest: DIR/dest, verify_commit: true, {more}}}\n"));
    };
    task(&format!("gpg_whitelist: [\"{} {}\"]", &ann[..20], &ann[20..]));
    refused(&format!("The gpg_allowlist does not include the public key \"{bob}\" for this commit"));
    assert_eq!(dest(), first);
    // By now it is fetched: a check knows it too.
    assert!(play(&program, "--check").expect(2).stdout.contains("gpg_allowlist"));
    task(&format!("gpg_allowlist: [{ann}, {bob}]"));
    done(|flags| play(&program, flags));
    assert_eq!(dest(), second);
    // Of an annotated tag its own signature counts.
    keyring.sign(&ann, &["tag", "-s", "-m", "first", "v1"]);
    commit(&program.path("repo"), "conf", "three\n");
    keyring.sign(&bob, &["tag", "-s", "-m", "second", "v2"]);
    git(&program.path("repo"), &["tag", "-a", "-m", "none", "v3"]);
    task(&format!("version: v2, gpg_allowlist: [{ann}]"));
    refused("does not include the public key");
    task("version: v3");
    refused("Failed to verify GPG signature of commit/tag \"v3\"");
    assert_eq!(dest(), second);
    task(&format!("version: v2, gpg_allowlist: [{bob}]"));
    done(|flags| play(&program, flags));
    assert_eq!(program.read("dest/conf"), "three\n");
    // A key that the host does not know vouches for nothing, and a repository without a checkout stays, too.
    set(&program, "    - git: {repo: DIR/repo, dest: DIR/bare, verify_commit: true, bare: true, version: v2}\n");
    done(|flags| play(&program, flags));
    let heads = git(&program.path("bare"), &["for-each-ref"]);
    commit(&program.path("repo"), "conf", "four\n");
    keyring.sign(&ann, &amend);
    keyring.gpg(&["--yes", "--delete-secret-and-public-key", &ann]);
    set(&program, "    - git: {repo: DIR/repo, dest: DIR/bare, verify_commit: true, bare: true}\n");
    refused("Failed to verify GPG signature");
    assert_eq!(git(&program.path("bare"), &["for-each-ref"]), heads);
}
