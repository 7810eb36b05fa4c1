//! `archive`: what was packed is in the file as it was shown, the same bytes each time, and what was removed comes back.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::program::{Printed, Program, done};

fn program() -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n");
    program.file("srv/www/index.html", "one\n").file("srv/www/it's a \"name\"", "two\n");
    program.file("srv/www/logs/x.log", "log\n").file("srv/www/sub/deep", &"x".repeat(300_000));
    program.file("srv/other", "other\n");
    symlink("index.html", program.path("srv/www/link")).unwrap();
    std::fs::set_permissions(program.path("srv/www/index.html"), std::fs::Permissions::from_mode(0o640)).unwrap();
    program
}

fn task(program: &Program, arguments: &str) {
    write(program, &format!("    - community.general.archive: {{{arguments}}}\n"));
}

fn write(program: &Program, tasks: &str) {
    let text = format!("- hosts: a\n  gather_facts: false\n  tasks:\n{tasks}");
    program.file("play.yml", &text.replace("DIR", program.path("").display().to_string().trim_end_matches('/')));
}

fn play(program: &Program, flags: &str) -> Printed {
    let path = format!("{}:{}", program.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = program.command();
    command.env("PATH", path).args(format!("play -i hosts play.yml {flags}").split_whitespace());
    program.printed(command.output().unwrap())
}

/// What the task of the playbook registers when it has nothing more to do.
fn did(program: &Program) -> serde_json::Value {
    let text = program.read("play.yml")
        + "      register: did\n    - copy: {content: \"{{ did | to_json }}\", dest: DIR/did}\n";
    write(program, text.split_once("tasks:\n").unwrap().1);
    play(program, "").expect(0);
    serde_json::from_str(&program.read("did")).unwrap()
}

/// The names in an archive, and what the file of one of them has in it.
fn names(program: &Program, list: &str) -> BTreeSet<String> {
    let output = Command::new("sh").args(["-ec", list]).current_dir(program.path("")).output().unwrap();
    assert!(output.status.success(), "{list}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches('/').to_string()).collect()
}

#[test]
fn a_directory_is_packed_in_every_format_with_the_same_bytes_each_time() {
    let program = program();
    for (format, list) in [
        ("gz", "tar -tzf kept"),
        ("bz2", "tar -tjf kept"),
        ("xz", "tar -tJf kept"),
        ("tar", "tar -tf kept"),
        ("zip", "unzip -Z1 kept"),
    ] {
        task(
            &program,
            &format!(
                "path: DIR/srv/www, dest: DIR/kept, format: {format}, mode: '0600', exclusion_patterns: ['*.log']"
            ),
        );
        let run = done(|flags| play(&program, flags));
        assert!(run.diffs().contains("DIR/kept"), "{format}: {}", run.diffs());
        let expected = ["index.html", "it's a \"name\"", "link", "logs", "sub", "sub/deep"];
        let expected: BTreeSet<String> = expected.iter().map(|name| format!("www/{name}")).collect();
        assert_eq!(names(&program, list), expected, "{format}");
        assert_eq!(program.path("kept").metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        program.run("undo last").expect(0);
        assert!(!program.path("kept").exists(), "{format}");
        let did = did(&program);
        std::fs::remove_file(program.path("kept")).unwrap();
        assert_eq!(
            (&did["dest_state"], &did["state"], &did["mode"]),
            (&"archive".into(), &"file".into(), &"0600".into())
        );
        assert_eq!(did["arcroot"], format!("{}/srv/", program.path("").display().to_string().trim_end_matches('/')));
    }
}

#[test]
fn busyboxs_tar_packs_the_same_names() {
    let program = program();
    for name in ["tar", "gzip"] {
        program.file(&format!("bin/{name}"), &format!("#!/bin/sh\nexec busybox {name} \"$@\"\n"));
        let path = program.path(&format!("bin/{name}"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    task(&program, "path: DIR/srv/www/, dest: DIR/kept");
    done(|flags| play(&program, flags));
    let found = names(&program, "tar -tzf kept");
    assert!(found.contains("it's a \"name\"") && found.contains("sub/deep") && found.len() == 7, "{found:?}");
}

#[test]
fn one_file_is_compressed_and_patterns_and_missing_paths_are_told() {
    let program = program();
    task(&program, "path: DIR/srv/www/index.html");
    done(|flags| play(&program, flags));
    assert_eq!(names(&program, "gzip -dc srv/www/index.html.gz"), ["one".to_string()].into());
    assert_eq!(did(&program)["dest_state"], "compress");

    task(&program, "path: ['DIR/srv/*', DIR/none], exclude_path: 'DIR/srv/o*', dest: DIR/kept.zip, format: zip");
    done(|flags| play(&program, flags));
    let found = names(&program, "unzip -Z1 kept.zip");
    assert!(found.contains("srv/www/logs/x.log") && !found.contains("srv/other"), "{found:?}");
    let did = did(&program);
    let at = program.path("none").display().to_string();
    assert_eq!((&did["dest_state"], &did["missing"]), (&"incomplete".into(), &serde_json::json!([at])));

    // A directory that the archive is in changes with it: it is no member.
    task(&program, "path: DIR/srv, dest: DIR/srv/www/own.tgz");
    done(|flags| play(&program, flags));
    for (arguments, says) in [
        ("path: 'DIR/srv/none*', dest: DIR/x", "Error, no source paths were found"),
        ("path: DIR/srv", "Error, must specify \"dest\""),
        ("path: DIR/srv, dest: DIR/srv/x, remove: yes", "can not be contained in source paths"),
        ("path: DIR/srv, dest: DIR/no/x", "does not exist"),
    ] {
        task(&program, arguments);
        let refused = play(&program, "").expect(2);
        assert!(refused.stdout.contains(says), "{says}: {}", refused.stdout);
    }
}

#[test]
fn what_was_packed_is_removed_and_comes_back_and_what_was_left_out_stays() {
    let program = program();
    task(
        &program,
        "path: [DIR/srv/www, DIR/srv/other], dest: DIR/kept.tgz, remove: yes, exclusion_patterns: ['*.log']",
    );
    let run = play(&program, "--diff").expect(0);
    assert!(run.diffs().contains("--- DIR/srv/other  "), "{}", run.diffs());
    assert!(program.path("srv/www/logs/x.log").exists() && !program.path("srv/www/sub").exists());
    assert!(!program.path("srv/other").exists());
    let names = names(&program, "tar -tzf kept.tgz");
    assert!(
        names.contains("www/sub/deep") && names.contains("other") && !names.contains("www/logs/x.log"),
        "{names:?}"
    );
    program.run("undo last").expect(0);
    assert_eq!(program.read("srv/www/sub/deep").len(), 300_000);
    assert!(program.path("srv/other").exists() && !program.path("kept.tgz").exists());
    // And with nothing left, the archive stays as it is.
    task(&program, "path: [DIR/srv/www, DIR/srv/other], dest: DIR/kept.tgz, remove: yes");
    done(|flags| play(&program, flags));
    assert!(!program.path("srv/www").exists());
}

#[test]
fn a_check_knows_what_an_earlier_task_changes_below() {
    let program = program();
    let tasks = "    - copy: {content: new, dest: DIR/srv/www/new}\n    \
        - archive: {path: DIR/srv/www, dest: DIR/kept.tgz}\n    - archive: {path: DIR/srv/other, dest: DIR/other.gz}\n";
    write(&program, tasks);
    let check = play(&program, "--check --diff").expect(0);
    assert!(check.stdout.contains("unknown until run: needs what is below `DIR/srv/www` by then"), "{}", check.stdout);
    assert!(check.stdout.contains("+++ DIR/other.gz"), "{}", check.stdout);
    play(&program, "").expect(0);
    assert!(names(&program, "tar -tzf kept.tgz").contains("www/new"));
}
