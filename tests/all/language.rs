//! Ansible's language, run: what each keyword makes the runner do.

use crate::program::{Printed, Program};

const THREE: &str = "[web]\na\nb\nc\n[all:vars]\nansible_connection=local\n";

/// Runs one playbook against three local hosts, one at a time so that the output has one order.
fn play(text: &str) -> Printed {
    play_with(text, "")
}

fn play_with(text: &str, flags: &str) -> Printed {
    let program = Program::new();
    program.file("hosts", THREE).file("play.yml", text);
    program.run(&format!("play -i hosts -f 1 play.yml {flags}"))
}

/// The results of debug tasks, in order.
fn said(printed: &Printed) -> Vec<String> {
    let lines = printed.stdout.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix("\"msg\": \"")?.strip_suffix('"').map(str::to_string)).collect()
}

fn counts(printed: &Printed, host: &str) -> String {
    let line = printed.stdout.lines().find(|line| line.starts_with(&format!("{host} ")) && line.contains(" : ok="));
    line.unwrap_or_else(|| panic!("no recap of {host} in\n{}", printed.stdout))
        .split_whitespace()
        .skip(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_rescue_takes_over_and_always_runs() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - block:
        - fail: {msg: broken}
        - debug: {msg: never}
      rescue:
        - debug: {msg: \"rescued {{ ansible_failed_result.msg }}\"}
      always:
        - debug: {msg: always}
    - debug: {msg: after}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["rescued broken", "always", "after"]);
    assert_eq!(counts(&printed, "a"), "ok=3 changed=0 unreachable=0 failed=0 skipped=0 rescued=1 ignored=0");
}

#[test]
fn a_failed_rescue_ends_the_host_after_always() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - block:
        - fail: {msg: one}
      rescue:
        - fail: {msg: two}
      always:
        - debug: {msg: always}
    - debug: {msg: never}
",
    )
    .expect(2);
    assert_eq!(said(&printed), ["always"]);
}

#[test]
fn a_failed_host_leaves_and_the_others_go_on() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  tasks:
    - fail: {msg: only b}
      when: inventory_hostname == 'b'
    - debug: {msg: \"{{ inventory_hostname }}\"}
- hosts: web
  gather_facts: no
  tasks:
    - debug: {msg: \"second {{ inventory_hostname }}\"}
",
    )
    .expect(2);
    assert_eq!(said(&printed), ["a", "c", "second a", "second c"]);
}

#[test]
fn handlers_run_once_in_their_order_at_their_points() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  handlers:
    - name: first
      debug: {msg: first}
    - name: second
      debug: {msg: second}
      listen: topic
  tasks:
    - debug: {msg: one}
      changed_when: true
      notify: [topic, first]
    - debug: {msg: two}
      changed_when: true
      notify: second
    - meta: flush_handlers
    - debug: {msg: three}
    - debug: {msg: four}
      changed_when: true
      notify: first
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["one", "two", "first", "second", "three", "four", "first"]);
}

#[test]
fn an_unknown_handler_fails_the_task() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  handlers: [{name: restart it, debug: {msg: x}}]
  tasks:
    - debug: {msg: one}
      changed_when: true
      notify: restrat it
",
    );
    let all = format!("{}{}", printed.stdout, printed.stderr);
    assert!(printed.status != 0 && all.contains("restrat it") && all.contains("restart it"), "{all}");
}

#[test]
fn serial_plays_batches_one_after_the_other() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  serial: [1, 2]
  tasks:
    - debug: {msg: \"one {{ inventory_hostname }} of {{ ansible_play_batch | length }}\"}
    - debug: {msg: \"two {{ inventory_hostname }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["one a of 1", "two a", "one b of 2", "one c of 2", "two b", "two c"]);
}

#[test]
fn any_errors_fatal_stops_everyone() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  any_errors_fatal: yes
  tasks:
    - fail: {msg: b}
      when: inventory_hostname == 'b'
    - debug: {msg: never}
",
    )
    .expect(2);
    assert!(said(&printed).is_empty());
}

#[test]
fn max_fail_percentage_stops_the_play_when_it_is_passed() {
    let text = |percentage: u32| {
        format!(
            "- hosts: web
  gather_facts: no
  max_fail_percentage: {percentage}
  tasks:
    - fail: {{msg: b}}
      when: inventory_hostname == 'b'
    - debug: {{msg: going on}}
"
        )
    };
    assert_eq!(said(&play(&text(40)).expect(2)), ["going on", "going on"]);
    assert!(said(&play(&text(30)).expect(2)).is_empty());
}

#[test]
fn loops_register_their_items_and_labels_are_shown() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - command: echo {{ item.name }}
      loop: [{name: x, n: 1}, {name: y, n: 2}]
      loop_control: {label: \"{{ item.name }}\", index_var: i}
      register: out
      changed_when: i == 1
    - debug: {msg: \"{{ out.results | map(attribute='stdout') | join(',') }} {{ out.changed }}\"}
    - debug: {msg: \"{{ item }}\"}
      with_items: [[p, q], r]
      when: item != 'q'
",
    )
    .expect(0);
    assert!(
        printed.stdout.contains("ok: [a] => (item=x)") && printed.stdout.contains("changed: [a] => (item=y)"),
        "{}",
        printed.stdout
    );
    assert_eq!(said(&printed), ["x,y True", "p", "r"]);
    assert!(printed.stdout.contains("skipping: [a] => (item=q)"));
}

#[test]
fn until_tries_again_and_failed_when_decides() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - shell: echo x >> {{ playbook_dir }}/tries; wc -l < {{ playbook_dir }}/tries
      register: tries
      until: tries.stdout | int >= 3
      retries: 5
      delay: 0
    - debug: {msg: \"{{ tries.stdout | trim }} {{ tries.attempts }}\"}
    - command: 'false'
      register: result
      failed_when: result.rc == 7
    - command: 'false'
      ignore_errors: yes
      register: bad
    - debug: {msg: \"{{ result.rc }} {{ bad is failed }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["3 3", "1 True"]);
    assert!(printed.stdout.contains("...ignoring"));
}

#[test]
fn delegation_and_run_once_keep_facts_where_they_belong() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  tasks:
    - set_fact: {me: \"{{ inventory_hostname }}\"}
      delegate_to: c
    - command: echo once
      run_once: yes
      register: once
    - debug: {msg: \"{{ me }} {{ once.stdout }} {{ hostvars['b'].me }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["a once b", "b once b", "c once b"]);
    assert!(printed.stdout.contains("[a -> c]"), "{}", printed.stdout);
}

#[test]
fn environment_and_args_reach_commands() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  environment: {OUTER: o, BOTH: outer}
  tasks:
    - shell: echo $OUTER $BOTH $INNER; pwd
      args: {chdir: /tmp}
      environment: {INNER: i, BOTH: inner}
      register: out
    - debug: {msg: \"{{ out.stdout_lines | join(' ') }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["o inner i /tmp"]);
}

#[test]
fn a_timeout_ends_the_task() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - command: sleep 600
      timeout: 1
",
    )
    .expect(2);
    assert!(printed.stdout.contains("FAILED!"), "{}", printed.stdout);
}

#[test]
fn tags_and_start_at_task_select() {
    let text = "- hosts: a
  gather_facts: no
  tasks:
    - {name: one, debug: {msg: one}, tags: x}
    - {name: two, debug: {msg: two}, tags: [y, x]}
    - {name: three, debug: {msg: three}}
    - {name: four, debug: {msg: four}, tags: always}
    - {name: five, debug: {msg: five}, tags: never}
";
    assert_eq!(said(&play_with(text, "-t x").expect(0)), ["one", "two", "four"]);
    assert_eq!(said(&play_with(text, "--skip-tags y").expect(0)), ["one", "three", "four"]);
    assert_eq!(said(&play_with(text, "--start-at-task three").expect(0)), ["three", "four"]);
    let missing = play_with(text, "--start-at-task nine").expect(1);
    assert!(missing.stderr.contains("no task is named `nine`"), "{}", missing.stderr);
    let listed = play_with(text, "--list-tasks").expect(0);
    assert!(listed.stdout.contains("      one\tTAGS: [x]"), "{}", listed.stdout);
}

#[test]
fn no_log_hides_results_and_differences() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - copy: {content: geheimnis, dest: \"{{ playbook_dir }}/s\"}
      no_log: yes
    - command: echo geheimnis
      no_log: yes
      register: out
    - fail: {msg: geheimnis}
      no_log: yes
      ignore_errors: yes
    - debug: {msg: \"length {{ out.stdout | length }}\"}
",
    )
    .expect(0);
    assert!(!format!("{}{}", printed.stdout, printed.stderr).contains("geheimnis"), "{}", printed.stdout);
    assert_eq!(said(&printed), ["length 9"]);
    assert!(printed.stdout.contains(" bytes (hidden)"));
}

#[test]
fn roles_and_includes_bring_their_own_files_and_variables() {
    let program = Program::new();
    program
        .file("hosts", THREE)
        .file("roles/r/defaults/main.yml", "color: default\nsize: small\n")
        .file("roles/r/vars/main.yml", "size: from role vars\n")
        .file("roles/r/templates/t.j2", "{{ color }} {{ size }} {{ role_name }}\n")
        .file("roles/r/handlers/main.yml", "- name: done\n  debug: {msg: handled}\n")
        .file(
            "roles/r/tasks/main.yml",
            "- template: {src: t.j2, dest: '{{ playbook_dir }}/out.{{ color }}'}\n  notify: done\n- include_tasks: more.yml\n  vars: {n: 7}\n",
        )
        .file("roles/r/tasks/more.yml", "- debug: {msg: 'more {{ n }}'}\n")
        .file("extra.yml", "- debug: {msg: 'item {{ item }}'}\n")
        .file(
            "play.yml",
            "- hosts: a
  gather_facts: no
  roles:
    - {role: r, color: red}
  tasks:
    - import_tasks: extra.yml
      vars: {item: static}
    - include_tasks: extra.yml
      loop: [1, 2]
    - include_role: {name: r}
      vars: {color: blue}
",
        );
    let printed = program.run("play -i hosts -f 1 play.yml").expect(0);
    assert_eq!(program.read("out.red"), "red from role vars r\n");
    assert_eq!(program.read("out.blue"), "blue from role vars r\n");
    assert_eq!(said(&printed), ["more 7", "item static", "item 1", "item 2", "more 7", "handled"]);
}

#[test]
fn a_check_says_what_it_cannot_know() {
    let printed = play_with(
        "- hosts: a
  gather_facts: no
  tasks:
    - command: echo yes
      register: answer
    - debug: {msg: \"it is {{ answer.stdout }}\"}
    - debug: {msg: \"not needed\"}
    - debug: {msg: \"conditional\"}
      when: answer.stdout == 'yes'
",
        "--check",
    )
    .expect(0);
    assert_eq!(said(&printed), ["not needed"]);
    assert_eq!(
        printed.stdout.matches("unknown: [a] => unknown until run: needs `answer`").count(),
        2,
        "{}",
        printed.stdout
    );
    assert!(counts(&printed, "a").contains("unknown=2"));
}

#[test]
fn facts_are_gathered_and_variables_files_read() {
    let program = Program::new();
    program
        .file("hosts", THREE)
        .file("group_vars/web.yml", "from_group: g\n")
        .file("host_vars/a.yml", "from_host: h\n")
        .file("vars/extra.yml", "from_file: f\n")
        .file(
            "play.yml",
            "- hosts: a
  vars_files: [vars/extra.yml]
  tasks:
    - debug: {msg: \"{{ from_group }}{{ from_host }}{{ from_file }} {{ ansible_facts.system }} {{ ansible_system }}\"}
",
        );
    let printed = program.run("play -i hosts play.yml").expect(0);
    assert_eq!(said(&printed), ["ghf Linux Linux"]);
}

#[test]
fn a_switch_is_read_as_ansible_does_and_one_that_cannot_be_read_fails_the_task() {
    let text = "- hosts: a
  gather_facts: no
  tasks:
    - command: echo geheimnis
      no_log: \"{{ hide }}\"
    - command: echo {{ item.text }}
      no_log: \"{{ item.hide }}\"
      loop: [{text: geheimnis, hide: true}, {text: public, hide: 'no'}]
    - copy: {content: x, dest: \"{{ playbook_dir }}/never\"}
      check_mode: \"{{ hide }}\"
    - command: echo geheimnis
      no_log: \"{{ hidden_by_nobody }}\"
";
    let program = Program::new();
    program.file("hosts", THREE).file("play.yml", text);
    let printed = program.run("play -i hosts -f 1 -v play.yml -e hide=yes").expect(2);
    // The item's label is the user's own where nothing hides it; a hidden one is not shown.
    assert!(!format!("{}{}", printed.stdout, printed.stderr).contains("geheimnis"), "{}", printed.stdout);
    assert!(printed.stdout.contains("public") && printed.stdout.contains("hidden_by_nobody"), "{}", printed.stdout);
    assert!(!program.path("never").exists());
}

#[test]
fn a_switch_of_check_mode_that_is_text_does_not_make_a_check_write() {
    let text = "- hosts: a
  gather_facts: no
  tasks:
    - copy: {content: x, dest: \"{{ playbook_dir }}/never\"}
      check_mode: \"{{ only }}\"
";
    let program = Program::new();
    program.file("hosts", THREE).file("play.yml", text);
    program.run("play -i hosts -C play.yml -e only=yes").expect(0);
    program.run("play -i hosts -C play.yml").expect(2);
    assert!(!program.path("never").exists() && !program.path("state/runs").exists());
}

#[test]
fn what_a_task_changes_in_a_check_is_in_the_journal() {
    let text = "- hosts: a
  gather_facts: no
  tasks:
    - copy: {content: x, dest: \"{{ playbook_dir }}/made\"}
      check_mode: false
";
    let program = Program::new();
    program.file("hosts", THREE).file("play.yml", text);
    program.run("play -i hosts -C play.yml").expect(0);
    let journal = std::fs::read_dir(program.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = std::fs::read_to_string(journal).unwrap();
    assert!(program.path("made").exists() && journal.contains("/made") && journal.contains("\"done\":1"), "{journal}");
}

#[test]
fn a_run_does_not_pass_over_what_only_a_check_may_leave_unknown() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - command: echo x
      check_mode: true
      register: r
    - debug: {msg: \"{{ r.stdout }}\"}
    - debug: {msg: never}
",
    )
    .expect(2);
    assert_eq!(said(&printed), Vec::<String>::new());
}

#[test]
fn a_batch_that_is_lost_ends_the_run_and_one_that_is_ended_does_not() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  serial: 1
  tasks:
    - fail: {msg: broken}
- hosts: web
  gather_facts: no
  tasks:
    - debug: {msg: never}
",
    )
    .expect(2);
    assert_eq!(said(&printed), Vec::<String>::new());
    let ended = |word: &str| {
        let text = format!(
            "- hosts: web
  gather_facts: no
  serial: 1
  tasks:
    - debug: {{msg: \"{{{{ inventory_hostname }}}}\"}}
    - meta: {word}
    - debug: {{msg: never}}
- hosts: a
  gather_facts: no
  tasks:
    - debug: {{msg: next play}}
"
        );
        said(&play(&text).expect(0))
    };
    assert_eq!(ended("end_batch"), ["a", "b", "c", "next play"]);
    assert_eq!(ended("end_host"), ["a", "b", "c", "next play"]);
    assert_eq!(ended("end_play"), ["a", "next play"]);
}

#[test]
fn facts_of_a_task_that_runs_once_are_everybodys() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  tasks:
    - set_fact: {answer: 42}
      run_once: yes
    - debug: {msg: \"{{ answer }} on {{ inventory_hostname }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["42 on a", "42 on b", "42 on c"]);
}

#[test]
fn a_connection_lost_in_a_command_is_no_failure_to_be_ignored() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - block:
        - shell: kill -9 $PPID
          ignore_errors: true
        - debug: {msg: never}
      rescue:
        - debug: {msg: never}
",
    )
    .expect(4);
    assert_eq!(said(&printed), Vec::<String>::new());
    assert!(printed.stdout.contains("fatal: [a]: UNREACHABLE!"), "{}", printed.stdout);
    let again = play(
        "- hosts: a
  gather_facts: no
  tasks:
    - shell: kill -9 $PPID
      ignore_unreachable: true
    - command: echo back
      register: out
    - debug: {msg: \"{{ out.stdout }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&again), ["back"]);
}

#[test]
fn a_task_in_check_mode_of_its_own_hides_nothing_from_the_next() {
    let program = Program::new();
    program.file("hosts", THREE).file(
        "play.yml",
        "- hosts: a
  gather_facts: no
  tasks:
    - copy: {content: x, dest: \"{{ playbook_dir }}/made\"}
      check_mode: yes
    - copy: {content: x, dest: \"{{ playbook_dir }}/made\"}
",
    );
    let check = program.run("play -i hosts play.yml --check").expect(0);
    assert!(check.stdout.contains("would-change=2"), "{}", check.stdout);
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(program.read("made"), "x");
}

#[test]
fn an_argument_that_is_not_here_may_be_left_out() {
    let program = Program::new();
    program.file("hosts", "h ansible_connection=local\n").file(
        "play.yml",
        "- hosts: h
  gather_facts: no
  tasks:
    - synchronize: {src: '{{ playbook_dir }}/hosts', dest: '{{ playbook_dir }}/made', link_dest: '{{ level | default(omit) }}'}
",
    );
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(program.read("made"), program.read("hosts"));
    let refused = program.run("play -i hosts play.yml -e level=yes").expect(2);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(told.contains("argument `link_dest` of `synchronize` is not supported"), "{told}");
    program.file(
        "play.yml",
        "- hosts: h\n  tasks:\n    - synchronize: {src: hosts, dest: /x, link_dest: '{{ level }}'}\n",
    );
    program.run("play -i hosts play.yml -e level=yes").expect(1);
}

#[test]
fn an_item_that_is_hidden_is_not_shown_by_a_host_that_cannot_be_reached() {
    let program = Program::new();
    program.file("hosts", "gone ansible_host=127.0.0.1 ansible_port=1\n").file(
        "play.yml",
        "- hosts: gone
  gather_facts: no
  tasks:
    - copy: {content: \"{{ item }}\", dest: /nowhere}
      loop: [hidden-item]
      no_log: yes
",
    );
    for flags in ["", "-vvv", "--report json"] {
        let printed = program.run(&format!("play -i hosts play.yml {flags}"));
        assert_eq!(printed.status, 4, "{}", printed.stdout);
        assert!(!format!("{}{}", printed.stdout, printed.stderr).contains("hidden-item"), "{}", printed.stdout);
        assert!(flags.contains("json") || printed.stdout.contains("127.0.0.1"), "{}", printed.stdout);
    }
}

#[test]
fn cleared_errors_let_hosts_go_on_behind_the_block() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  tasks:
    - block:
        - fail: {msg: \"{{ inventory_hostname }}\"}
          any_errors_fatal: yes
      always:
        - meta: clear_host_errors
    - debug: {msg: \"after {{ inventory_hostname }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["after a", "after b", "after c"]);
}

#[test]
fn an_inventory_is_read_again_and_keeps_what_tasks_have_added() {
    let text = "- hosts: web
  gather_facts: no
  tasks:
    - group_by: {key: \"is_{{ inventory_hostname }}\"}
    - copy: {dest: \"{{ playbook_dir }}/hosts\", content: \"[web]\\nb\\nd\\n[all:vars]\\nansible_connection=local\\n\"}
      run_once: yes
    - add_host: {name: added, groups: web}
    - meta: refresh_inventory
- hosts: web
  gather_facts: no
  tasks:
    - debug: {msg: \"{{ ansible_play_hosts | sort | join(' ') }} {{ groups.is_b }} {{ 'is_a' in groups }}\"}
      run_once: yes
";
    assert_eq!(said(&play(text).expect(0)), ["added b d ['b'] False"]);
}

#[test]
fn a_roles_arguments_are_compared_with_what_it_says_of_them() {
    let program = Program::new();
    let spec = "argument_specs:
  main:
    short_description: Serves
    options:
      listen_on: {type: int, required: yes}
      names: {type: list, elements: str, choices: [a, b]}
  other:
    options: {level: {type: int, required: yes}}
";
    program.file("roles/r/meta/argument_specs.yml", spec);
    program.file("roles/r/tasks/main.yml", "- debug: {msg: \"on {{ listen_on | default('none') }}\"}\n");
    program.file("roles/r/tasks/other.yml", "- debug: {msg: other}\n");
    let text = "- hosts: a
  gather_facts: no
  roles: [{role: r, listen_on: '25'}]
  tasks:
    - block:
        - include_role: {name: r}
          vars: {listen_on: x, names: [a, c]}
      rescue:
        - debug: {msg: \"{{ ansible_failed_task.name }}\"}
        - debug: {msg: \"{{ item }}\"}
          loop: \"{{ ansible_failed_result.argument_errors }}\"
    - include_role: {name: r, rolespec_validate: no}
    - import_role: {name: r, tasks_from: other}
";
    program.file("hosts", THREE).file("play.yml", text);
    let printed = program.run("play -i hosts -f 1 play.yml").expect(2);
    let expected = [
        "on 25",
        "Validating arguments against arg spec 'main' - Serves",
        "argument 'listen_on' is of type str and we were unable to convert to int: \\\"'x'\\\" cannot be converted to an int",
        "value of names must be one or more of: a, b. Got no match for: c",
        "on none",
    ];
    assert_eq!(said(&printed), expected);
    assert!(printed.stdout.contains("missing required arguments: level"), "{}", printed.stdout);
}

#[test]
fn an_include_that_is_not_there_fails_where_it_is_come_to() {
    let printed = play(
        "- hosts: web
  gather_facts: no
  tasks:
    - block:
        - include_tasks: gone.yml
          when: inventory_hostname == 'b'
        - include_role: {name: gone}
          when: inventory_hostname == 'c'
        - debug: {msg: \"going on {{ inventory_hostname }}\"}
      rescue:
        - debug: {msg: \"{{ inventory_hostname }} {{ ansible_failed_result.msg.split(':')[0] }}\"}
",
    )
    .expect(0);
    let gone = "Could not find or access 'gone";
    assert_eq!(said(&printed), ["going on a".to_string(), format!("b {gone}.yml'"), format!("c {gone}'")]);
}

#[test]
fn what_an_included_role_sets_is_seen_behind_it_only_where_it_is_public() {
    let program = Program::new();
    program
        .file("roles/r/defaults/main.yml", "d: default\n")
        .file("roles/r/tasks/main.yml", "- debug: {msg: \"in {{ d }}\"}\n");
    let text = "- hosts: a
  gather_facts: no
  tasks:
    - include_role: {name: r}
    - debug: {msg: \"{{ d | default('unseen') }}\"}
    - include_role: {name: r, public: yes}
    - debug: {msg: \"{{ d | default('unseen') }}\"}
";
    program.file("hosts", THREE).file("play.yml", text);
    let printed = program.run("play -i hosts play.yml").expect(0);
    assert_eq!(said(&printed), ["in default", "unseen", "in default", "default"]);
}

#[test]
fn a_keyword_that_comes_to_omit_is_that_of_what_stands_above() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  vars: {left_out: \"{{ omit }}\"}
  tasks:
    - block:
        - command: echo x
          check_mode: \"{{ left_out }}\"
          register: kept
      check_mode: yes
    - debug: {msg: \"skipped: {{ kept is skipped }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["skipped: True"]);
}

#[test]
fn modules_have_defaults() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  module_defaults: {debug: {msg: from the play}, command: {chdir: /usr}}
  tasks:
    - debug:
    - block:
        - debug:
        - debug: {msg: own}
      module_defaults: {ansible.builtin.debug: {msg: \"from the block {{ inventory_hostname }}\"}}
    - command: pwd
      register: where
    - debug: {msg: \"{{ where.stdout }}\"}
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["from the play", "from the block a", "own", "/usr"]);
}

#[test]
fn a_host_may_leave_a_role_and_goes_on_behind_it() {
    let program = Program::new();
    program.file("hosts", THREE);
    program.file(
        "roles/outer/tasks/main.yml",
        "- include_role: {name: inner}\n- debug: {msg: \"outer {{ inventory_hostname }}\"}\n",
    );
    program.file(
        "roles/inner/tasks/main.yml",
        "- meta: end_role
  when: inventory_hostname == 'a'
- include_tasks: more.yml
- debug: {msg: \"inner {{ inventory_hostname }}\"}
",
    );
    program.file("roles/inner/tasks/more.yml", "- debug: {msg: \"more {{ inventory_hostname }}\"}\n");
    program.file(
        "play.yml",
        "- hosts: a:b\n  gather_facts: no\n  roles: [outer]\n  tasks: [{debug: {msg: \"after {{ inventory_hostname }}\"}}]\n",
    );
    let printed = program.run("play -i hosts -f 1 play.yml").expect(0);
    assert_eq!(said(&printed), ["more b", "inner b", "outer a", "outer b", "after a", "after b"]);
    program.file("play.yml", "- hosts: a\n  tasks: [{meta: end_role}]\n");
    let printed = program.run("play -i hosts play.yml").expect(1);
    assert!(printed.stderr.contains("Cannot execute 'end_role' from outside of a role"), "{}", printed.stderr);
}

#[test]
fn with_first_found_passes_over_what_is_undefined_however_deep() {
    let printed = play(
        "- hosts: a
  gather_facts: no
  vars:
    files: [\"{{ missing }}.yml\", \"{{ playbook_dir }}/hosts\"]
  tasks:
    - debug: {msg: \"{{ item | basename }}\"}
      with_first_found:
        - files: \"{{ files }}\"
    - debug: {msg: \"{{ item | basename }}\"}
      with_first_found: [\"{{ missing }}\", \"{{ playbook_dir }}/play.yml\"]
",
    )
    .expect(0);
    assert_eq!(said(&printed), ["hosts", "play.yml"]);
}
