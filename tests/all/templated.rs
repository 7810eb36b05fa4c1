//! What may be a template beside values: names of actions, whole arguments; and what roles of collections are called.

use crate::program::{Printed, Program};

const THREE: &str = "[web]\na\nb\nc\n[all:vars]\nansible_connection=local\n";

fn play(text: &str) -> Printed {
    let program = Program::new();
    program.file("hosts", THREE).file("play.yml", text);
    program.run("play -i hosts -f 1 play.yml")
}

/// The results of debug tasks, in order.
fn said(printed: &Printed) -> Vec<String> {
    let lines = printed.stdout.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix("\"msg\": \"")?.strip_suffix('"').map(str::to_string)).collect()
}

#[test]
fn actions_arguments_and_loops_may_be_templates() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  serial: \"{{ nothing | default(omit) }}\"
  vars: {how: debug, given: {msg: of the mapping}, mapping: {other: 1}}
  tasks:
    - action: \"{{ how }} msg='by a name'\"
    - debug:
      args: \"{{ given }}\"
    - debug: {msg: own}
      args: \"{{ given }}\"
    - debug:
      args: \"{{ omit }}\"
    - set_fact: \"{{ 'x' + '_y' }}={{ how }}\"
    - debug: {msg: \"{{ x_y }}\"}
    - debug: {msg: \"{{ ansible_loop.previtem | default('-') }} {{ ansible_loop.nextitem | default('-') }} {{ ansible_loop.allitems | length }}\"}
      loop: [one, two]
      loop_control: {extended: yes}
    - debug: {msg: \"items {{ ansible_loop.allitems is defined }}\"}
      loop: [one]
      loop_control: {extended: yes, extended_allitems: no}
    - debug: {var: mapping.missing}
      register: shown
    - debug: {msg: \"shown {{ shown['mapping.missing'] is search('is undefined') }}\"}
    - file: \"path={{ playbook_dir }}/x {{ 'state=absent' }}\"
      register: injected
      ignore_errors: yes
    - debug: {msg: \"failed {{ injected is failed }}\"}
    - shell: echo hi {{ line }}
      vars: {line: /srv chdir=/tmp}
      register: line
    - debug: {msg: \"{{ line.stdout }}\"}
    - command: 'true'
      register: tried
      changed_when: false
      failed_when: tried.attempts > 9
      until: tried is changed
      retries: 3
      delay: 0
    - debug: {msg: \"{{ tried.attempts }} {{ tried is failed }}\"}
    - command: echo
      delegate_to: b
      register: delegated
    - debug: {msg: \"{{ ansible_delegated_vars.b.ansible_connection }}\"}
      delegate_to: b
",
    )
    .expect(0);
    let expected = [
        "by a name",
        "of the mapping",
        "own",
        "Hello world!",
        "debug",
        "- two 2",
        "one - 2",
        "items False",
        "shown True",
        "failed True",
        "hi /srv chdir=/tmp",
        "3 True",
        "local",
    ];
    assert_eq!(said(&printed), expected);
}

#[test]
fn roles_of_collections_are_found_and_their_handlers_answer_to_both_names() {
    let program = Program::new();
    program
        .file("hosts", THREE)
        .file(
            "play.yml",
            "- hosts: a
  gather_facts: no
  roles: [ns.col.mail]
  tasks:
    - debug: {msg: task}
      changed_when: true
      notify: ['mail : reload', 'ns.col.mail : topic']
",
        )
        .file(
            "collections/ansible_collections/ns/col/roles/mail/tasks/main.yml",
            "- debug: {msg: \"{{ role_name }} of {{ ansible_role_name }}\"}\n",
        )
        .file(
            "collections/ansible_collections/ns/col/roles/mail/handlers/main.yml",
            "- {name: reload, debug: {msg: reloaded}}\n- {name: other, debug: {msg: told}, listen: topic}\n",
        );
    let printed = program.run("play -i hosts play.yml").expect(0);
    assert_eq!(said(&printed), ["mail of ns.col.mail", "task", "reloaded", "told"]);
}
