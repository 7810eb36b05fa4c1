//! Packages with a real dnf and rpm: a check that shows all that comes along, one run for it, and the way back.

use crate::archive::Archive;
use crate::packages::Machine;
use crate::web::Web;

/// A key of an archive, and its fingerprint.
pub const ARCHIVE_KEY: &str = include_str!("../../src/modules/system/packages/archive_key.txt");
const FINGERPRINT: &str = "069A72BAA9227AEB8DFDA39FB9461B71583FB986";

/// This machine with an rpm and a dnf of its own.
fn machine(tasks: &str) -> Machine {
    Machine::of(Archive::rpms, tasks)
}

fn says(machine: &Machine, task: &str, says: &str) {
    machine.tasks(task);
    let printed = machine.play("");
    let text = printed.stdout + &printed.stderr;
    assert!(printed.status != 0 && text.replace("\n    ", "\n").contains(says), "{task}: {says}\n{text}");
}

#[test]
fn a_package_brings_its_dependency_in_one_run_of_dnf_and_both_go_again() {
    let machine = machine("ansible.builtin.dnf: {name: [server, extra]}");
    let run = machine.done();
    let diffs = run.diffs();
    for line in ["--- package server\n", "+2.0-1\n", "--- package library\n", "+1.5-1\n", "+1:1.0-1\n"] {
        assert!(diffs.contains(line), "{line}{diffs}");
    }
    assert!(diffs.contains(" install extra-1:1.0-1.noarch server-2.0-1.noarch"), "{diffs}");
    let archive = machine.archive();
    assert_eq!(archive.rpms(), "extra 1.0, library 1.5, server 2.0");
    assert_eq!(std::fs::read_to_string(archive.opt().join("server/version")).unwrap(), "2.0\n");
    machine.cutover("undo last").expect(0);
    assert_eq!((archive.rpms().as_str(), archive.opt().read_dir().unwrap().count()), ("", 0));
}

#[test]
fn versions_go_up_and_down_as_asked_and_back_as_far_as_the_repository_reaches() {
    let machine = machine("yum: {name: server-1.0}");
    let archive = machine.archive();
    machine.done();
    for (task, after) in [
        ("dnf: {name: server, state: latest}", "library 1.5, server 2.0"),
        ("dnf5: {name: '*', state: latest}", "library 1.5, server 2.0"),
        ("dnf: {name: 'server >= 1.5'}", "library 1.5, server 2.0"),
        ("dnf: {name: rival, allowerasing: yes}", "rival 1.0"),
        ("dnf: {name: server, state: absent}", ""),
    ] {
        machine.tasks(task);
        machine.done();
        assert_eq!(archive.rpms(), after, "{task}");
        machine.cutover("undo last").expect(0);
        assert_eq!(archive.rpms(), "server 1.0", "{task}");
    }
    for task in ["dnf: {name: server}", "dnf: {name: [server < 2, /opt/server]}", "dnf: {name: none, state: absent}"] {
        machine.tasks(task);
        assert!(machine.play("").expect(0).stdout.contains(" changed=0 "), "{task}");
    }
    // Not back by itself, and what came along goes only where that is asked for.
    archive.sh("dnf -q -y install server-2.0");
    machine.tasks("dnf: {name: server-1.0}");
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));
    machine.tasks("dnf: {name: server-1.0, allow_downgrade: yes}");
    machine.done();
    assert_eq!(archive.rpms(), "library 1.5, server 1.0");
    machine.tasks("dnf: {name: server, state: absent}");
    machine.done();
    assert_eq!(archive.rpms(), "library 1.5");
    machine.tasks("dnf: {autoremove: yes}");
    machine.done();
    assert_eq!(archive.rpms(), "");

    // One may be in the place of another.
    archive.sh(&format!("rpm -i {}/old-1.0-1.noarch.rpm", archive.path("rpms").display()));
    machine.tasks("dnf: {name: '*', state: latest}");
    let diffs = machine.done().diffs();
    assert!(diffs.contains("--- package old\n+++ package old\n-1.0-1\n+absent\n"), "{diffs}");
    machine.cutover("undo last").expect(0);
    assert_eq!(archive.rpms(), "old 1.0");
    machine.tasks("dnf: {name: old, state: absent}");
    machine.done();

    // What the repository has no more stays gone, and that is said before.
    archive.sh("dnf -q -y install server-1.0");
    archive.sh(&format!("rm {}/server-1.0-1.noarch.rpm", archive.path("rpms").display()));
    archive.add_rpm("server", "3.0", "");
    machine.tasks("dnf: {name: server, state: latest, update_cache: yes}");
    let run = machine.done();
    assert!(run.stdout.contains("no repository has 1.0-1"), "{}", run.stdout);
}

#[test]
fn each_task_of_a_check_stands_on_the_ones_before_it() {
    let machine = machine("dnf: {name: server}\ndnf: {name: [library, xinetd]}\ndnf: {name: xinetd}");
    let check = machine.play("--check --diff").expect(0);
    assert!(check.stdout.contains("would-change=2 "), "{}", check.stdout);
    assert_eq!(check.diffs(), machine.play("--diff").expect(0).diffs());
    machine.archive().forget();
    machine.tasks("dnf: {name: server}\ndnf: {name: library, state: absent}");
    let unknown = machine.play("--check").expect(0);
    assert!(unknown.stdout.contains("what dnf does on top of the packages"), "{}", unknown.stdout);
}

#[test]
fn what_dnf_cannot_do_is_said_with_what_to_do_and_what_it_tells_is_ansibles() {
    let machine = machine("dnf: {name: server-1.0}");
    machine.done();
    let before = machine.archive().rpms();
    says(&machine, "dnf: {name: nope}", "No package nope available.");
    says(&machine, "dnf: {name: rival}", "Depsolve Error occurred");
    says(&machine, "dnf: {name: rival}", "hint: `allowerasing: true`");
    says(&machine, "dnf: {name: rival, use_backend: dnf5}", "has no dnf5");
    says(&machine, "dnf: {name: x, conf_file: /none}", "/none");
    assert_eq!(machine.archive().rpms(), before);
    machine.tasks(
        "dnf: {name: [server], state: latest}\n  register: did\n\
         debug: {msg: \"{{ did.results | sort | join(' ') }} {{ did.rc }}\"}\n\
         dnf: {list: installed}\n  register: all\n\
         debug: {msg: \"{{ all.results | map(attribute='envra') | sort | join(' ') }}\"}\n\
         dnf: {list: server}\n  register: all\n\
         debug: {msg: \"{{ all.results | map(attribute='yumstate') | unique | sort | join(' ') }}\"}\n\
         dnf: {list: repos}\n  register: all\n\
         debug: {msg: \"{{ all.results[0].repoid }} {{ all.results[0].state }}\"}\n\
         dnf: {update_cache: yes}\n  register: all\n\
         debug: {msg: \"{{ all.msg }} {{ all.changed }}\"}",
    );
    let text = std::fs::read_to_string(machine.program.path("play.yml"))
        .unwrap()
        .replace("    -   register", "      register");
    machine.program.file("play.yml", &text);
    let run = machine.play("").expect(0).stdout;
    for says in [
        "Installed: library-1.5-1.noarch Installed: server-2.0-1.noarch Removed: server-1.0-1.noarch 0",
        "0:library-1.5-1.noarch 0:server-2.0-1.noarch",
        "available installed",
        "lab enabled",
        "Cache updated False",
    ] {
        assert!(run.contains(says), "{says}\n{run}");
    }
}

#[test]
fn packages_are_downloaded_alone_and_come_from_files_and_into_other_roots() {
    let machine = machine("");
    let directory = machine.program.path("got").display().to_string();
    std::fs::create_dir(&directory).unwrap();
    machine.tasks(&format!("dnf: {{name: server, download_only: yes, download_dir: {directory}}}"));
    machine.done();
    let mut found: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, ["library-1.5-1.noarch.rpm", "server-2.0-1.noarch.rpm"]);
    assert_eq!(machine.archive().rpms(), "");
    machine.tasks(&format!("dnf: {{name: '{directory}/server-2.0-1.noarch.rpm', disable_gpg_check: yes}}"));
    machine.done();
    assert_eq!(machine.archive().rpms(), "library 1.5, server 2.0");
    machine.cutover("undo last").expect(0);
    let root = machine.program.path("root").display().to_string();
    machine.tasks(&format!("dnf: {{name: xinetd, installroot: {root}, releasever: '1'}}"));
    machine.done();
    assert!(std::path::Path::new(&root).join("opt/xinetd/version").exists() && machine.archive().rpms().is_empty());
}

#[test]
fn a_key_is_trusted_once_from_a_file_or_the_web_and_gone_by_its_name() {
    let machine = machine("rpm_key: {key: '{{ playbook_dir }}/archive.asc'}");
    machine.program.file("archive.asc", ARCHIVE_KEY);
    let keys = || machine.archive().sh("rpm -q gpg-pubkey || :").trim().to_string();
    let none = keys();
    let run = machine.done();
    assert!(
        run.diffs().contains(&format!("--- rpm key {FINGERPRINT}\n+++ rpm key {FINGERPRINT}\n-absent\n+trusted\n"))
    );
    assert!(keys().starts_with("gpg-pubkey-583fb986-"), "{}", keys());
    machine.cutover("undo last").expect(0);
    assert_eq!(keys(), none);
    machine.play("").expect(0);
    let there = keys();
    for id in ["583FB986", "0x583fb986", "b9461b71583fb986", FINGERPRINT] {
        machine.tasks(&format!("rpm_key: {{key: '{id}'}}"));
        assert!(machine.play("").expect(0).stdout.contains(" changed=0 "), "{id}");
        machine.tasks(&format!("rpm_key: {{key: '{id}', state: absent}}"));
        machine.done();
        assert_eq!(keys(), none, "{id}");
        machine.cutover("undo last").expect(0);
        assert_eq!(keys(), there, "{id}");
    }
    machine.tasks("rpm_key: {key: '{{ playbook_dir }}/archive.asc', state: absent}");
    machine.done();
    let web = Web::start();
    let url = format!("http://127.0.0.1:{}", web.port);
    let fingerprint = "[069A 72BA A922 7AEB 8DFD  A39F B946 1B71 583F B986]";
    machine.tasks(&format!("rpm_key: {{key: '{url}/archive.asc', fingerprint: {fingerprint}}}"));
    machine.done();
    assert_eq!(keys(), there);
    machine.tasks(
        "rpm_key: {key: '{{ playbook_dir }}/archive.asc', state: absent}\nrpm_key: {key: '583FB986', state: absent}",
    );
    machine.done();
    for (task, words) in [
        ("rpm_key: {key: '583FB986'}".to_string(), "When importing a key, a valid file must be given"),
        ("rpm_key: {key: /none}".into(), "Not a valid key /none"),
        ("rpm_key: {key: /etc/passwd}".into(), "`/etc/passwd` holds no key"),
        (format!("rpm_key: {{key: '{url}/none'}}"), "/none`: HTTP Error 404: Not Here"),
        (format!("rpm_key: {{key: '{url}/plain'}}"), "Not a public key: "),
        (
            "rpm_key: {key: '{{ playbook_dir }}/archive.asc', fingerprint: 00 11}".into(),
            "The specified fingerprint, '{'0011'}', does not match any key fingerprints in",
        ),
    ] {
        says(&machine, &task, words);
    }
    assert_eq!(keys(), none);
}
