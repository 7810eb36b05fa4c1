//! Playbooks of Ansible's that run unchanged: what they say for other hosts, and the spellings that only Ansible knows.

use crate::program::{Printed, Program};

fn played(files: &[(&str, &str)], flags: &str) -> Printed {
    let program = Program::new();
    program.file("hosts", "here ansible_connection=local\n");
    for (name, text) in files {
        program.file(name, text);
    }
    program.run(&format!("play -i hosts site.yml {flags}"))
}

#[test]
fn a_module_for_other_hosts_is_missed_only_where_it_is_reached() {
    let play = |when: &str| {
        format!(
            "- hosts: all\n  gather_facts: no\n  tasks:\n    - zypper: {{name: x, state: present}}\n      when: {when}\n    - ping:\n"
        )
    };
    let skipped = played(&[("site.yml", &play("false"))], "").expect(0).stdout;
    assert!(skipped.contains("skipping: [here]") && skipped.contains("ok=1"), "{skipped}");
    let reached = played(&[("site.yml", &play("true"))], "").expect(2).stdout;
    assert!(reached.contains("unknown module or keyword `zypper`") && reached.contains("site.yml:4:7"), "{reached}");
    let always = play("true").replace("      when: true\n", "");
    assert!(played(&[("site.yml", &always)], "").expect(4).stderr.contains("unknown module or keyword `zypper`"));
    let typo = play("false").replace("zypper:", "cpoy:");
    assert!(played(&[("site.yml", &typo)], "").expect(4).stderr.contains("did you mean `copy`?"));
}

#[test]
fn a_task_that_may_fail_fails_for_its_arguments_when_it_runs() {
    let play = "- hosts: all\n  gather_facts: no\n  tasks:\n    - slurp:\n      register: one\n      ignore_errors: yes\n    \
        - block:\n        - slurp: {sorce: /x}\n      rescue:\n        - debug: {msg: rescued}\n    - assert: {that: one is failed}\n";
    let run = played(&[("site.yml", play)], "").expect(0).stdout;
    assert!(run.contains("needs the argument `src`") && run.contains("unknown argument `sorce`"), "{run}");
    assert!(run.contains("rescued"), "{run}");
}

#[test]
fn names_and_whole_arguments_may_be_templates() {
    let play = "- hosts: here\n  gather_facts: no\n  strategy: free\n  vars: {new: {name: there, groups: added, ansible_connection: local}}\n  tasks:\n    \
        - set_fact: \"{{ item }}=set\"\n      loop: [a1, a2]\n    - add_host: \"{{ new }}\"\n    \
        - assert: {that: [a1 == 'set', a2 == 'set', \"'there' in groups['added']\"]}\n";
    played(&[("site.yml", play)], "").expect(0);
}

#[test]
fn a_handler_finds_the_tasks_of_its_role_and_is_forced() {
    let files = [
        ("site.yml", "- hosts: all\n  gather_facts: no\n  roles: [r]\n  tasks:\n    - fail:\n"),
        ("roles/r/tasks/main.yml", "- command: \"true\"\n  notify: h\n"),
        ("roles/r/tasks/clean.yml", "- debug: {msg: cleaned-up}\n"),
        ("roles/r/handlers/main.yml", "- name: h\n  include_tasks: clean.yml\n"),
    ];
    assert!(!played(&files, "").expect(2).stdout.contains("cleaned-up"));
    assert!(played(&files, "--force-handlers --flush-cache").expect(2).stdout.contains("cleaned-up"));
}
