//! Playbooks, inventories, templates and vault files that are wrong, one for each way to be: each is refused with what, where
//! and what next, nothing of it runs, and no text like them ends the program.

#[path = "../../benches/fuzz/mutation.rs"]
mod mutation;

use std::sync::Mutex;

use crate::program::Program;

const CASES: &str = include_str!("../corpus/broken/cases.txt");

/// One text and what is said of it.
struct Case {
    kind: &'static str,
    body: &'static str,
    status: i32,
    /// Lines of the output, in order.
    said: Vec<&'static str>,
}

fn cases() -> Vec<Case> {
    let case = |text: &'static str| {
        let (kind, rest) = text.split_once('\n').unwrap();
        let (body, rest) = rest.split_once("----- ").unwrap();
        let (status, said) = rest.split_once('\n').unwrap();
        Case { kind, body, status: status.parse().unwrap(), said: said.lines().collect() }
    };
    CASES.split("===== ").skip(1).map(case).collect()
}

/// What is wrong with how a case is told, if anything.
fn wrong(case: &Case) -> Option<String> {
    let program = Program::new();
    let plays = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ping:\n";
    let (name, site) = match case.kind {
        "template" => {
            let site = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - template: {src: t.j2, dest: out}\n";
            ("t.j2", site)
        }
        "vault" => {
            let site = "- hosts: localhost\n  gather_facts: false\n  vars_files: [v.yml]\n  tasks:\n    - debug: {msg: '{{ a }}'}\n";
            ("v.yml", site)
        }
        "inventory" => ("hosts", plays),
        "inventory-yaml" => ("hosts.yml", plays),
        _ => ("site.yml", case.body),
    };
    program.file("hosts", "localhost ansible_connection=local\n").file("pw", "geheim\n");
    program.file("site.yml", site).file(name, case.body);
    let inventory = if case.kind == "inventory-yaml" { "hosts.yml" } else { "hosts" };
    let printed = program.run(&format!("play -i {inventory} --vault-password-file pw site.yml"));
    let all = format!("{}{}", printed.stdout, printed.stderr);
    let mut lines = all.lines().map(str::trim);
    let missing = case.said.iter().find(|said| !lines.any(|line| line == **said));
    let untouched = case.status != 1 || !printed.stdout.contains("TASK [");
    // What a playbook is made of has an exit code of its own.
    let as_said = printed.status == case.status || (case.status, printed.status) == (1, 4);
    let fine = as_said && missing.is_none() && untouched && !all.contains("panicked");
    let unmade = !program.path("out").exists();
    (!fine || !unmade).then(|| format!("{}\n{}missing {missing:?} in {} {all}", case.kind, case.body, printed.status))
}

#[test]
fn every_way_to_be_wrong_is_told_with_its_place_and_nothing_is_run() {
    let cases = Mutex::new(cases());
    assert!(cases.lock().unwrap().len() >= 150);
    let told = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = { cases.lock().unwrap().pop() } {
                    told.lock().unwrap().extend(wrong(&case));
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

#[test]
fn ten_thousand_texts_that_are_nearly_right_are_read_to_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut readers = mutation::Readers::new(directory.path());
    (0..10_000).for_each(|_| readers.next());
}
