//! `unarchive`: what is in an archive is on the host afterwards, as it was shown, and goes again.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::program::{Printed, Program, done};
use crate::sshd::run;

/// A program with `files/tree`: names and kinds of all sorts.
fn program(task: &str) -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n").file("vault-password", "geheim\n");
    program.file("files/tree/a file", "one\n").file("files/tree/sub/big", &"x".repeat(3 << 20));
    let tree = program.path("files/tree");
    std::fs::write(tree.join(std::ffi::OsStr::from_bytes(b"caf\xe9[1]*")), "latin\n").unwrap();
    std::fs::set_permissions(tree.join("a file"), std::fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("sub/big", tree.join("link")).unwrap();
    std::fs::hard_link(tree.join("a file"), tree.join("z other name")).unwrap();
    std::fs::create_dir(program.path("dest")).unwrap();
    again(&program, task);
    program
}

fn again(program: &Program, task: &str) {
    let text = format!("- hosts: a\n  gather_facts: false\n  tasks:\n{task}");
    program.file("play.yml", &text.replace("DIR", &program.path("").display().to_string()));
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts play.yml --vault-password-file vault-password {flags}"))
}

fn pack(program: &Program, words: &str) {
    let mut words = words.split(' ');
    run(std::process::Command::new(words.next().unwrap()).args(words).current_dir(program.path("files")));
}

/// Everything below a directory: mode, time in seconds, content or target.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap()) {
        let (path, about) = (entry.path(), entry.path().symlink_metadata().unwrap());
        let name = PathBuf::from(entry.file_name());
        if about.is_dir() {
            found.insert(name.clone(), (about.mode(), 0, Vec::new()));
            found.extend(tree(&path).into_iter().map(|(below, seen)| (name.join(below), seen)));
        } else if about.is_symlink() {
            let target = std::fs::read_link(&path).unwrap().into_os_string().as_bytes().to_vec();
            found.insert(name, (about.mode(), 0, target));
        } else {
            found.insert(name, (about.mode(), about.mtime(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn a_tar_of_any_packing_gives_what_was_packed_and_an_undo_takes_it_away() {
    let task = "    - unarchive: {src: x.tar, dest: DIR/dest, list_files: true}\n      register: it\n    - debug: {msg: \"{{ it.handler }} {{ it.files | length }}\"}\n";
    let program = program(task);
    for (flag, handler) in [
        ("", "TarArchive"),
        ("z", "TgzArchive"),
        ("j", "TarBzipArchive"),
        ("J", "TarXzArchive"),
        (" --zstd", "TarZstdArchive"),
    ] {
        pack(
            &program,
            &format!("tar -cf x.tar {} tree", if flag.len() == 1 { format!("-{flag}") } else { flag.trim().into() })
                .replace("  ", " "),
        );
        let ran = done(|flags| play(&program, flags));
        assert!(ran.stdout.contains(&format!("{handler} 7")), "{}", ran.stdout);
        assert_eq!(tree(&program.path("dest/tree")), tree(&program.path("files/tree")), "{handler}");
        program.run("undo last").expect(0);
        assert_eq!(tree(&program.path("dest")), BTreeMap::new(), "{handler}");
    }
}

#[test]
fn a_zip_gives_what_was_packed_and_a_large_member_of_it_is_not_held_in_the_plan() {
    let program = program("    - unarchive: {src: x.zip, dest: DIR/dest}\n");
    std::fs::set_permissions(program.path("files/tree/a file"), std::fs::Permissions::from_mode(0o750)).unwrap();
    pack(&program, "zip -qry x.zip tree");
    program.run("plan -i hosts play.yml -o p").expect(0);
    assert!(program.read("p").len() < 1 << 20);
    program.run("apply p").expect(0);
    assert_eq!(tree(&program.path("dest/tree")), tree(&program.path("files/tree")));
    let again = play(&program, "").expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
}

#[test]
fn only_what_is_meant_is_unpacked_and_what_is_newer_stays() {
    let program = program(
        "    - unarchive: {src: DIR/files/x.tgz, dest: DIR/dest, remote_src: true, exclude: ['*big', tree/link], keep_newer: true, extra_opts: [--strip-components=1], mode: 'u=rwX,go='}\n",
    );
    program.file("dest/a file", "newer\n");
    // Of one time: what differs in it is a change each time, as it is Ansible's.
    run(std::process::Command::new("touch")
        .arg("-r")
        .arg(program.path("dest/a file"))
        .arg(program.path("files/tree/a file")));
    pack(&program, "tar -czf x.tgz tree");
    done(|flags| play(&program, flags));
    let seen = tree(&program.path("dest"));
    let names: Vec<String> = seen.keys().map(|name| name.to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["a file", "caf\u{fffd}[1]*", "sub", "z other name"]);
    assert_eq!(program.read("dest/a file"), "newer\n");
    assert_eq!(seen[Path::new("sub")].0 & 0o7777, 0o700);
    assert_eq!(seen[Path::new("z other name")].0 & 0o7777, 0o700);
    again(
        &program,
        "    - unarchive: {src: x.tgz, dest: DIR/dest, include: [tree/link], extra_opts: [--strip-components=1]}\n",
    );
    done(|flags| play(&program, flags));
    assert_eq!(std::fs::read_link(program.path("dest/link")).unwrap(), Path::new("sub/big"));
    assert!(!program.path("dest/sub/big").exists());
}

#[test]
fn what_was_there_is_shown_and_comes_back() {
    let program = program("    - unarchive: {src: x.tgz, dest: DIR/dest}\n");
    pack(&program, "tar -czf x.tgz tree");
    program.file("dest/tree/a file", "mine\n");
    let before = tree(&program.path("dest"));
    let ran = done(|flags| play(&program, flags));
    assert!(ran.stdout.contains("-mine\n+one\n"), "{}", ran.stdout);
    program.run("undo last").expect(0);
    let after = tree(&program.path("dest"));
    assert_eq!(
        (after.keys().collect::<Vec<_>>(), program.read("dest/tree/a file")),
        (before.keys().collect(), "mine\n".into())
    );
}

#[test]
fn a_sealed_archive_is_opened_and_nothing_of_it_stays_on_the_controller() {
    let program = program("    - unarchive: {src: x.zip, dest: DIR/dest}\n");
    pack(&program, "zip -qry x.zip tree/sub tree/link");
    program.run("vault encrypt --vault-password-file vault-password files/x.zip").expect(0);
    assert!(program.read("files/x.zip").starts_with("$ANSIBLE_VAULT"));
    std::fs::create_dir(program.path("temp")).unwrap();
    let ran = done(|flags| {
        let mut command = program.command();
        let words = format!("play -i hosts play.yml --vault-password-file vault-password {flags}");
        program.printed(command.env("TMPDIR", program.path("temp")).args(words.split_whitespace()).output().unwrap())
    });
    assert!(ran.stdout.contains("tree/sub/big"), "{}", ran.stdout);
    assert_eq!(std::fs::read(program.path("dest/tree/link")).unwrap().len(), 3 << 20);
    assert_eq!(std::fs::read_dir(program.path("temp")).unwrap().count(), 0);
}

#[test]
fn no_member_leads_out_and_what_is_in_the_way_is_named() {
    let program = program("    - unarchive: {src: x.tar, dest: DIR/dest}\n");
    let refused = |words: &str, why: &str| {
        pack(&program, words);
        for flags in ["--check", ""] {
            let printed = play(&program, flags).expect(2);
            assert!(printed.stdout.contains(why), "{why}:\n{}", printed.stdout);
        }
    };
    refused("zip -q x.tar ../hosts", "leads out of `dest`");
    refused("tar -cPf x.tar --transform s,tree/sub/big,tree/link/big, tree/link tree/sub/big", "something below it");
    std::fs::create_dir_all(program.path("dest/tree/link")).unwrap();
    refused("tar -cf x.tar tree/link", "is a directory and the archive has a link of that name");
    refused("cp tree/link x.tar", "Unable to list files in the archive");
    assert_eq!(tree(&program.path("dest")).len(), 2);
    again(&program, "    - unarchive: {src: x.tar, dest: DIR/dest/none}\n");
    assert!(play(&program, "").expect(2).stdout.contains("must be an existing dir"));
}
