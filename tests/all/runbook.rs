//! The runbook, command by command, on the lab: what it tells an administrator to type does what it says.

use std::path::Path;
use std::process::Command;

use crate::program::{Printed, Program};

/// What the lab has otherwise than the runbook's hosts: what is written, and what stands for it there.
const OTHERWISE: [(&str, &str); 7] = [
    ("inventory/mine.ini", "LAB/inventory.yml"),
    ("playbooks/", "LAB/playbooks/"),
    ("proof_to=test@example.com", "proof_to=ann@example.com"),
    ("proof_sender=test@example.com", "proof_sender=ann@example.com"),
    ("--ask-vault-pass", "--vault-password-file pw"),
    // The lab's inventory has a `close_logins` of its own.
    (" -e '{\"close_logins\": \"svc -d /service/qmail-pop3d\"}'", ""),
    // Nobody is there to answer, and the lab's keys are known.
    ("cutover hostkeys scan -i", "cutover play --list-hosts LAB/playbooks/move-domain.yml -i"),
];

/// Commands that need what the lab's hosts do not have: an xinetd of their own, two name servers.
const NOT_HERE: [&str; 2] = ["stage proxies", "stage promotion"];

/// Returns the runbook's commands, without remarks, in order.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_string());
    let lines = blocks.flat_map(|block| block.lines().map(str::to_string).collect::<Vec<_>>());
    let bare = lines.map(|line| line.split("  #").next().unwrap_or_default().trim_end().to_string());
    bare.filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_command_of_the_runbook_works_on_the_lab_and_brings_a_domain_there_and_to_its_retirement() {
    let program = Program::new();
    program.file("pw", "any of mine\n");
    program.run("lab up").expect(0);
    let lab = program.path("state/lab").display().to_string();
    let path = format!("{}:{}", program.path("bin").display(), std::env::var("PATH").unwrap());
    program.file("bin/none", "");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cutover"), program.path("bin/cutover")).unwrap();
    let commands = commands();
    let function = commands.iter().find(|line| line.starts_with("stage() {")).unwrap().clone();
    let run = |line: &str| -> Printed {
        let mut script = format!("{function}\n{line}");
        for (written, here) in OTHERWISE {
            script = script.replace(written, here);
        }
        let script = script.replace("LAB", &lab);
        let own = program.command();
        let mut command = Command::new("sh");
        command.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", &path).current_dir(program.path("")).args(["-c", &script]);
        program.printed(command.output().unwrap())
    };
    let virtualdomains = || program.read("state/lab/old/var/qmail/control/virtualdomains");
    let smtproutes = || program.read("state/lab/old/var/qmail/control/smtproutes");
    let mut ran = 0;
    for line in commands.iter().filter(|line| !line.starts_with("stage() {")) {
        if NOT_HERE.iter().any(|not| line.starts_with(not)) {
            continue;
        }
        let printed = run(line);
        assert_eq!(printed.status, 0, "{line}\n{}\n{}", printed.stdout, printed.stderr);
        ran += 1;
        if line.starts_with("stage rollback") {
            assert!(virtualdomains().contains("example.com:7\n") && !smtproutes().contains("example.com:"), "{line}");
            run("stage forwarding -e domains=example.com").expect(0);
        }
        if line == "stage forwarding -e domains=example.com" {
            assert!(!virtualdomains().contains("example.com:") && smtproutes().contains("example.com:192.0.2.20\n"));
        }
    }
    assert!(ran > 20, "{ran}");
    let rcpthosts = program.read("state/lab/old/var/qmail/control/rcpthosts");
    assert!(!rcpthosts.contains("example.com") && !smtproutes().contains("example.com:"));
    let moved = program.read("state/lab/old/var/qmail/moved-domains");
    assert_eq!(moved, "example.com has moved to new.lab.example (192.0.2.20)\n");
    program.run("lab down").expect(0);
}
