//! `synchronize`: a tree is as another one afterwards, as it was shown, whoever has which; and comes back.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::program::Program;
use crate::sshd::run;

#[test]
fn a_tree_goes_from_one_host_to_another_whole_and_an_undo_brings_back_what_was_there() {
    let program = Program::new();
    let root = program.path("").display().to_string();
    program.file("hosts", "old ansible_connection=local\nnew ansible_connection=local\n");
    program.file("old/a", "one\n").file("old/sub/big", &"x".repeat(3 << 20)).file("old/sub/no.log", "no\n");
    program.file("new/site/a", "other\n").file("new/site/gone/b", "b\n").file("new/site/keep.log", "kept\n");
    std::os::unix::fs::symlink("sub/big", program.path("old/link")).unwrap();
    std::fs::set_permissions(program.path("old/a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    run(std::process::Command::new("touch").args(["-d", "2020-02-02T02:02:02Z"]).arg(program.path("old/sub/big")));
    run(std::process::Command::new("chown").arg("12345:23456").arg(program.path("old/sub/big")));
    let options = "delete: true, rsync_opts: ['--exclude=*.log', '-v']";
    program.file(
        "play.yml",
        &format!(
            "- hosts: new\n  gather_facts: false\n  tasks:\n    - synchronize: {{src: {root}/old/, dest: {root}/new/site, {options}}}\n      delegate_to: old\n      register: it\n    \
             - synchronize: {{src: {root}/new/site/sub, dest: {root}/saved, mode: pull}}\n    - debug: {{var: it.stdout_lines}}\n"
        ),
    );
    std::fs::create_dir(program.path("saved")).unwrap();
    let run = crate::program::done(|flags| program.run(&format!("play -i hosts play.yml {flags}")));
    for line in ["-other\n+one", "-mode: 0644 rw-r--r--", "site/gone/b  absent", "+modified: 2020-02-02T02:02:02Z"] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
    let about = std::fs::metadata(program.path("new/site/sub/big")).unwrap();
    assert_eq!((about.len(), about.uid(), about.gid(), about.mtime()), (3 << 20, 12345, 23456, 1_580_608_922));
    assert_eq!(std::fs::read_link(program.path("new/site/link")).unwrap().to_str(), Some("sub/big"));
    assert_eq!(program.read("new/site/keep.log"), "kept\n");
    assert!(!program.path("new/site/gone").exists() && !program.path("new/site/sub/no.log").exists());
    assert_eq!(std::fs::metadata(program.path("saved/sub/big")).unwrap().len(), 3 << 20);
    program.run("undo last").expect(0);
    assert_eq!((program.read("new/site/a"), program.read("new/site/gone/b")), ("other\n".into(), "b\n".into()));
    assert!(!program.path("new/site/sub").exists() && !program.path("saved/sub").exists());
}
