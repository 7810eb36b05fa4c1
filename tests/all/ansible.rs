//! What Ansible's users rely on without thinking of it, as they write it: each test is one habit.

use crate::program::{Printed, Program};

const HOSTS: &str = "[mail]
mx1
mx2
mx3
[all:vars]
ansible_connection=local
";

fn play(text: &str, words: &str) -> Printed {
    let program = Program::new();
    program.file("hosts", HOSTS).file("play.yml", text);
    program.run(&format!("play -i hosts -f 1 play.yml {words}"))
}

fn has(printed: &Printed, text: &str) {
    assert!(printed.stdout.contains(text), "no {text:?} in\n{}\n{}", printed.stdout, printed.stderr);
}

#[test]
fn a_later_play_runs_on_hosts_and_groups_that_an_earlier_one_made() {
    let text = "- hosts: mx1:mx2
  gather_facts: no
  tasks:
    - add_host: {name: new, groups: [fresh, more], port_x: 25}
    - group_by: {key: 'era_{{ inventory_hostname }}'}
- hosts: fresh:era_mx2:era_mx3
  gather_facts: no
  tasks:
    - debug: {msg: \"{{ inventory_hostname }} {{ port_x | default('none') }}\"}
";
    let printed = play(text, "").expect(0);
    has(&printed, "\"msg\": \"new 25\"");
    has(&printed, "\"msg\": \"mx2 none\"");
    has(&printed, "[WARNING]: `era_mx3` is neither a host nor a group of the inventory");
    // `add_host` acts once for all hosts.
    assert_eq!(printed.stdout.matches("changed: [").count(), 3, "{}", printed.stdout);

    let unknown = play("- hosts: fresh\n  tasks:\n    - add_host: {name: x}\n", "").expect(1);
    assert!(unknown.stderr.contains("`fresh` is neither a host nor a group"), "{}", unknown.stderr);
}

#[test]
fn an_include_is_told_and_counted_once() {
    let program = Program::new();
    program.file("hosts", HOSTS).file("one.yml", "- debug: {msg: \"one {{ item }}\"}\n").file(
        "play.yml",
        "- hosts: mail
  gather_facts: no
  tasks:
    - include_tasks: one.yml
      loop: [{k: a}, b]
    - include_tasks: one.yml
      when: false
",
    );
    let printed = program.run("play -i hosts -f 1 play.yml").expect(0);
    has(&printed, "included: one.yml for mx1, mx2, mx3 => (item={'k': 'a'})\n");
    has(&printed, "included: one.yml for mx1, mx2, mx3 => (item=b)\n");
    let include = printed.stdout.split("TASK [include_tasks]").nth(1).unwrap();
    assert!(!include.split("TASK").next().unwrap().contains("ok: ["), "{}", printed.stdout);
    has(&printed, "mx1                        : ok=4    changed=0    unreachable=0    failed=0    skipped=1 ");
}

#[test]
fn start_at_task_gathers_the_facts_of_its_play_and_of_later_ones() {
    let text = "- hosts: mx1
  tasks:
    - {name: early, debug: {msg: \"early {{ ansible_system }}\"}}
- hosts: mx1
  tasks:
    - {name: before, debug: {msg: before}}
    - {name: here, debug: {msg: \"here {{ ansible_system }}\"}}
- hosts: mx2
  tasks:
    - {name: later, debug: {msg: \"later {{ ansible_system }}\"}}
";
    let printed = play(text, "--start-at-task here").expect(0);
    has(&printed, "here Linux");
    has(&printed, "later Linux");
    assert!(!printed.stdout.contains("early") && !printed.stdout.contains("before"), "{}", printed.stdout);
    assert_eq!(printed.stdout.matches("TASK [Gathering Facts]").count(), 2, "{}", printed.stdout);
}

#[test]
fn a_serial_play_knows_its_batch_and_all_its_hosts() {
    let text = "- hosts: mail
  gather_facts: no
  serial: 2
  tasks:
    - debug: {msg: \"{{ ansible_play_batch | join('+') }} of {{ ansible_play_hosts | join('+') }}\"}
";
    let printed = play(text, "").expect(0);
    has(&printed, "mx1+mx2 of mx1+mx2+mx3");
    has(&printed, "mx3 of mx1+mx2+mx3");
}

#[test]
fn hosts_that_make_the_same_directory_on_one_machine_do_not_disturb_each_other() {
    let program = Program::new();
    program.file("hosts", HOSTS).file(
        "play.yml",
        "- hosts: mail
  gather_facts: no
  tasks:
    - file: {path: '{{ playbook_dir }}/shared/{{ inventory_hostname }}', state: directory, mode: '0755'}
    - copy: {content: same, dest: '{{ playbook_dir }}/shared/same'}
      delegate_to: localhost
",
    );
    program.run("play -i hosts play.yml").expect(0);
    assert!(program.path("shared/mx1").is_dir() && program.path("shared/mx3").is_dir());
    assert_eq!(program.read("shared/same"), "same");
}

#[test]
fn templates_are_marked_as_managed_and_indent_keeps_the_last_line_end() {
    let program = Program::new();
    program
        .file("hosts", HOSTS)
        .file("t.j2", "# {{ ansible_managed }}\nkey:\n{{ list | to_nice_yaml | indent(2, true) }}end\n{{ 'a\\n\\nb' | indent }}\n")
        .file("group_vars/all.yml", "list: [x, y]\n")
        .file("host_vars/mx2.yml", "ansible_managed: by hand\n")
        .file(
            "play.yml",
            "- hosts: mx1:mx2\n  gather_facts: no\n  tasks:\n    - template: {src: t.j2, dest: '{{ playbook_dir }}/{{ inventory_hostname }}'}\n",
        );
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(program.read("mx1"), "# Ansible managed\nkey:\n  - x\n  - y\nend\na\n\n    b\n");
    assert!(program.read("mx2").starts_with("# by hand\n"));
}

#[test]
fn a_check_does_not_fail_at_a_template_that_needs_a_result() {
    let program = Program::new();
    program.file("hosts", HOSTS).file("t.j2", "{{ answer.stdout }}\n").file(
        "play.yml",
        "- hosts: mx1
  gather_facts: no
  tasks:
    - command: echo yes
      register: answer
    - template: {src: t.j2, dest: '{{ playbook_dir }}/out'}
    - debug: {msg: later}
",
    );
    let check = program.run("play -i hosts play.yml --check").expect(0);
    has(&check, "unknown: [mx1] => unknown until run: needs `answer` from task `command` (play.yml:4)");
    has(&check, "later");
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(program.read("out"), "yes\n");
}

#[test]
fn scripts_fetched_files_and_globs_are_found_beside_a_playbook_named_without_a_directory() {
    let program = Program::new();
    program.file("hosts", HOSTS).file("files/run.sh", "#!/bin/sh\necho \"ran $1\"\n").file("files/a.conf", "a\n").file(
        "play.yml",
        "- hosts: mx1
  gather_facts: no
  tasks:
    - script: run.sh it
      register: out
    - debug: {msg: \"{{ out.stdout }}\"}
    - fetch: {src: '{{ playbook_dir }}/files/a.conf', dest: fetched, flat: yes}
    - debug: {msg: \"{{ item }}\"}
      with_fileglob: '*.conf'
",
    );
    let printed = program.run("play -i hosts play.yml").expect(0);
    has(&printed, "\"msg\": \"ran it\"");
    has(&printed, "\"msg\": \"DIR/files/a.conf\"");
    assert_eq!(program.read("fetched"), "a\n");
}

#[test]
fn an_assertion_says_what_it_found() {
    let text = "- hosts: mx1
  gather_facts: no
  tasks:
    - assert: {that: [1 == 1], success_msg: all good}
    - assert: {that: [1 == 1], success_msg: silent, quiet: yes}
    - assert: {that: [1 == 1, 1 == 2], fail_msg: not so}
";
    let printed = play(text, "").expect(2);
    has(&printed, "\"msg\": \"all good\"");
    assert!(!printed.stdout.contains("\"msg\": \"silent\""), "{}", printed.stdout);
    assert_eq!(printed.stdout.matches("ok: [mx1]").count(), 2, "{}", printed.stdout);
    let why = r#"fatal: [mx1]: FAILED! => {
    "assertion": "1 == 2",
    "changed": false,
    "evaluated_to": false,
    "msg": "not so"
}
"#;
    has(&printed, why);
}

#[test]
fn a_retry_is_told() {
    let text = "- hosts: mx1
  gather_facts: no
  tasks:
    - name: settles
      shell: echo x >> tries; wc -l < tries
      args: {chdir: \"{{ playbook_dir }}\"}
      register: tries
      until: tries.stdout | int >= 3
      retries: 5
      delay: 0
";
    let printed = play(text, "").expect(0);
    has(&printed, "FAILED - RETRYING: [mx1]: settles (5 retries left).\n");
    has(&printed, "FAILED - RETRYING: [mx1]: settles (4 retries left).\n");
    assert!(!printed.stdout.contains("(3 retries left)"), "{}", printed.stdout);
}

#[test]
fn delegated_facts_belong_to_the_delegate() {
    let text = "- hosts: mx1
  gather_facts: no
  tasks:
    - set_fact: {mine: 1}
      delegate_to: mx2
    - set_fact: {theirs: 2}
      delegate_to: mx2
      delegate_facts: yes
    - command: echo a 'b c'
      register: out
      changed_when: no
    - debug: {msg: \"{{ mine }} {{ theirs is defined }} {{ hostvars.mx2.theirs }} {{ out.cmd }}\"}
";
    has(&play(text, "").expect(0), "\"msg\": \"1 False 2 ['echo', 'a', 'b c']\"");
}

#[test]
fn a_role_knows_its_parents() {
    let program = Program::new();
    program
        .file("hosts", HOSTS)
        .file("roles/inner/tasks/main.yml", "- debug: {msg: \"{{ role_name }} of {{ ansible_parent_role_names }}\"}\n")
        .file("roles/outer/meta/main.yml", "dependencies: [inner]\n")
        .file("roles/outer/tasks/main.yml", "- include_role: {name: inner}\n")
        .file("play.yml", "- hosts: mx1\n  gather_facts: no\n  roles: [outer]\n");
    let printed = program.run("play -i hosts play.yml").expect(0);
    assert_eq!(printed.stdout.matches("inner of ['outer']").count(), 2, "{}", printed.stdout);
}

#[test]
fn a_play_may_extend_the_path_that_its_facts_tell() {
    let text = "- hosts: mx1
  environment: {PATH: \"/opt/mine:{{ ansible_env.PATH }}\"}
  tasks:
    - command: printenv PATH
      register: path
      changed_when: no
    - debug: {msg: \"{{ path.stdout.split(':')[0] }} {{ path.start < path.end }} {{ path.delta is match('0:00:') }}\"}
";
    has(&play(text, "").expect(0), "\"msg\": \"/opt/mine True True\"");
}

#[test]
fn include_vars_reads_a_directory_in_order() {
    let program = Program::new();
    program
        .file("hosts", HOSTS)
        .file("vars/all/10.yml", "a: 1\nb: 1\n")
        .file("vars/all/20.json", "{\"b\": 2}")
        .file("vars/all/deep/30.yaml", "c: '{{ b + 1 }}'\n")
        .file("vars/all/note.txt", "none\n")
        .file(
            "play.yml",
            "- hosts: mx1
  gather_facts: no
  tasks:
    - include_vars: {dir: all}
      register: refused
      ignore_errors: yes
    - include_vars: {dir: all, depth: 1, ignore_files: [note.txt]}
    - debug: {msg: \"{{ a }}{{ b }} {{ c is defined }}\"}
    - include_vars: {dir: all, ignore_unknown_extensions: yes, name: all}
    - debug: {msg: \"{{ all.a }}{{ all.b }}{{ all.c }}\"}
    - include_vars: {dir: all, files_matching: '^3', name: some}
    - debug: {msg: \"{{ some | dict2items | length }}\"}
",
        );
    let printed = program.run("play -i hosts play.yml").expect(0);
    has(&printed, "`DIR/vars/all/note.txt` does not end in one of yaml, yml, json");
    has(&printed, "\"msg\": \"12 False\"");
    has(&printed, "\"msg\": \"123\"");
    has(&printed, "\"msg\": 1\n");
}

#[test]
fn a_hard_link_is_made_once_and_replaces_only_by_force() {
    use std::os::unix::fs::MetadataExt as _;
    let program = Program::new();
    let text = |force: &str| {
        format!(
            "- hosts: all
  gather_facts: no
  tasks:
    - file: {{path: '{{{{ playbook_dir }}}}/second', src: '{{{{ playbook_dir }}}}/first', state: hard, force: {force}}}
"
        )
    };
    program.file("hosts", "a ansible_connection=local\n").file("first", "one").file("play.yml", &text("no"));
    let inode = |name: &str| std::fs::metadata(program.path(name)).unwrap().ino();
    let check = program.run("play -i hosts play.yml --check").expect(0);
    assert!(check.stdout.contains("would-change=1") && !program.path("second").exists(), "{}", check.stdout);
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(inode("first"), inode("second"));
    assert!(program.run("play -i hosts play.yml").expect(0).stdout.contains("changed=0"));
    std::fs::remove_file(program.path("second")).unwrap();
    program.file("second", "two");
    assert!(program.run("play -i hosts play.yml").expect(2).stdout.contains("file exists at destination"));
    assert_eq!(program.read("second"), "two");
    program.file("play.yml", &text("yes"));
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(inode("first"), inode("second"));
    assert_eq!(
        std::fs::read_dir(program.path("."))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("cutover."))
            .count(),
        0
    );
}
