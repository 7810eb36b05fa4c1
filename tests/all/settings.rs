//! What `ansible.cfg` and `ANSIBLE_*` say, and how a run is printed where they name a callback.

use serde_json::Value;

use crate::program::{Printed, Program};

const SITE: &str = "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: look\n      debug: {msg: \"{{ lookup('config', 'DEFAULT_FORKS') }}\"}\n    - name: not here\n      ping:\n      when: false\n";

fn program(config: &str) -> Program {
    let program = Program::new();
    program.file("ansible.cfg", config).file("hosts", "mx ansible_connection=local\n").file("site.yml", SITE);
    program
}

fn with(program: &Program, (name, value): (&str, &str), words: &[&str]) -> Printed {
    program.printed(program.command().env(name, value).args(words).output().unwrap())
}

#[test]
fn a_configuration_file_counts_less_than_a_variable_and_a_flag() {
    let program = program("[defaults]\ninventory = hosts\nforks = 7\nfrks = 1\ndisplay_skipped_hosts = no\n");
    let printed = program.run("play site.yml").expect(0);
    assert!(printed.stdout.contains("ok: [mx]") && printed.stdout.contains("\"msg\": 7"), "{}", printed.stdout);
    assert!(!printed.stdout.contains("skipping: [mx]"), "{}", printed.stdout);
    assert!(printed.stderr.contains("nothing is called `frks` in `[defaults]`"), "{}", printed.stderr);
    let printed = with(&program, ("ANSIBLE_FORKS", "9"), &["play", "site.yml"]).expect(0);
    assert!(printed.stdout.contains("\"msg\": 9"), "{}", printed.stdout);
    let printed = program.run("config dump --only-changed").expect(0);
    assert!(
        printed.stdout.contains("DEFAULT_FORKS(") && printed.stdout.contains("ansible.cfg) = 7"),
        "{}",
        printed.stdout
    );
    assert!(!printed.stdout.contains("DEFAULT_TIMEOUT"), "{}", printed.stdout);
    assert!(program.run("config view").expect(0).stdout.contains("forks = 7"));
}

#[test]
fn mappings_of_several_levels_are_merged_where_that_is_asked_for() {
    let program = program("[defaults]\nhash_behaviour = merge\n");
    program
        .file("hosts", "[web]\na ansible_connection=local\n")
        .file("group_vars/all.yml", "m: {x: 1, deep: {a: 1}}\n");
    program.file("group_vars/web.yml", "m: {deep: {b: \"{{ 1 + 1 }}\"}}\n");
    program.file("site.yml", "- hosts: a\n  gather_facts: no\n  vars: {m: {y: 3}}\n  tasks:\n    - debug: {msg: \"x={{ m.x }} a={{ m.deep.a }} b={{ m.deep.b }} y={{ m.y }}\"}\n");
    let merged = program.run("play -i hosts site.yml").expect(0);
    assert!(merged.stdout.contains("x=1 a=1 b=2 y=3"), "{}", merged.stdout);
    program.file("ansible.cfg", "[defaults]\nhash_behaviour = mix\n");
    let printed = program.run("play -i hosts site.yml").expect(1);
    assert!(printed.stderr.contains("`hash_behaviour` is `replace` or `merge`, not `mix`"), "{}", printed.stderr);
}

#[test]
fn a_run_is_printed_as_the_callback_that_is_named() {
    let program = program("");
    let play = ["play", "-i", "hosts", "site.yml"];
    let json = with(&program, ("ANSIBLE_STDOUT_CALLBACK", "ansible.posix.json"), &play).expect(0);
    let read: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(read["plays"][0]["tasks"][0]["hosts"]["mx"]["msg"], 50);
    assert_eq!(read["stats"]["mx"]["skipped"], 1);
    let yaml = with(&program, ("ANSIBLE_STDOUT_CALLBACK", "yaml"), &play).expect(0);
    assert!(yaml.stdout.contains("ok: [mx] =>\n  msg: 50\n"), "{}", yaml.stdout);
    let times = program.run("play -i hosts site.yml --report profile_tasks").expect(0);
    assert!(times.stdout.contains("\nlook -----"), "{}", times.stdout);
    let tree = program.path("tree").display().to_string();
    with(&program, ("ANSIBLE_CALLBACK_TREE_DIR", &tree), &[&play[..], &["--report", "tree"]].concat()).expect(0);
    assert!(program.read("tree/mx").contains("skip"), "{}", program.read("tree/mx"));
}

#[test]
fn shells_and_man_know_the_command_line() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(program.run(&format!("completion {shell}")).expect(0).stdout.contains("hostkeys"), "{shell}");
    }
    program.run("man pages").expect(0);
    assert!(program.read("pages/cutover-play.1").contains("become"));
}

#[test]
fn hosts_that_failed_are_written_down_to_be_tried_again() {
    let program = program("[defaults]\nretry_files_enabled = true\ninventory = hosts\n");
    program.file("hosts", "mx ansible_connection=local\nmy ansible_connection=local\n");
    let fails = "- hosts: all\n  gather_facts: false\n  tasks:\n    - fail:\n      when: inventory_hostname == 'my'\n";
    program.file("site.yml", fails);
    program.run("play site.yml").expect(2);
    assert_eq!(program.read("site.retry"), "my\n");
    let again = program.run("play site.yml --limit @site.retry").expect(2);
    assert!(!again.stdout.contains("[mx]"), "{}", again.stdout);
}

const TWO: &str = "mx ansible_connection=local\nmy ansible_connection=local\n";

#[test]
fn a_configuration_file_hides_results_and_ends_plays() {
    let program = program("[defaults]\ninventory = hosts\nno_log = true\nany_errors_fatal = true\n");
    let site = "- hosts: all
  gather_facts: false
  tasks:
    - debug: {msg: quiet}
    - debug: {msg: loud}
      no_log: false
    - fail:
      when: inventory_hostname == 'my'
    - debug: {msg: later}
      no_log: false
- hosts: all
  gather_facts: false
  any_errors_fatal: false
  tasks: []
";
    program.file("hosts", TWO).file("site.yml", site);
    let printed = program.run("play site.yml").expect(2).stdout;
    assert!(printed.contains("loud") && !printed.contains("quiet") && !printed.contains("later"), "{printed}");
    program.file(
        "site.yml",
        &site.replace("  gather_facts", "  any_errors_fatal: false\n  gather_facts").replacen(
            "  any_errors_fatal: false\n  tasks: []\n",
            "  tasks: []\n",
            1,
        ),
    );
    let printed = program.run("play site.yml").expect(2).stdout;
    assert!(printed.contains("later"), "{printed}");
}

#[test]
fn a_configuration_file_says_where_modules_and_collections_are_and_what_nobody_answers_to() {
    let program = program(
        "[defaults]\ninventory = hosts\nlibrary = own\ncollections_path = kept\nerror_on_missing_handler = no\n",
    );
    let module = "#!/bin/sh\n# WANT_JSON\necho '{\"changed\": true, \"msg\": \"from own\"}'\n";
    program.file("own/hello", module);
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(program.path("own/hello"), std::fs::Permissions::from_mode(0o755)).unwrap();
    program.file("kept/ansible_collections/a/b/roles/c/tasks/main.yml", "- debug: {msg: from kept}\n");
    let site = "- hosts: all\n  gather_facts: false\n  roles: [a.b.c]\n  tasks:\n    - hello:\n      notify: nobody\n      register: said\n    - debug: {var: said.msg}\n";
    program.file("site.yml", site);
    let printed = program.run("play site.yml").expect(0);
    let all = format!("{}{}", printed.stdout, printed.stderr);
    assert!(all.contains("from own") && all.contains("from kept"), "{all}");
}

#[test]
fn callbacks_write_junit_beside_what_is_printed() {
    for (variable, value) in
        [("ANSIBLE_STDOUT_CALLBACK", "junit"), ("ANSIBLE_CALLBACKS_ENABLED", "timer, community.general.junit")]
    {
        let program = program("[defaults]\ninventory = hosts\n");
        let mut command = program.command();
        command.env(variable, value).env("JUNIT_OUTPUT_DIR", program.path("reports")).args(["play", "site.yml"]);
        let printed = program.printed(command.output().unwrap()).expect(0);
        assert!(printed.stdout.contains("ok: [mx]"), "{}", printed.stdout);
        let reports: Vec<_> =
            std::fs::read_dir(program.path("reports")).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [report] = &reports[..] else { panic!("{reports:?}") };
        let text = std::fs::read_to_string(report).unwrap();
        assert!(text.contains("<testsuite name=\"mx\" tests=\"2\"") && text.contains("<skipped"), "{text}");
    }
}
