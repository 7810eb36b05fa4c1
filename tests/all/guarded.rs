//! `apply --open run`: the playbooks are run with the plan as the guard.

use std::fs;

use crate::program::{Printed, Program};
use crate::unknown::{has, host, lacks};

const TASKS: &str = "    - name: ask
      command: cat {{ base }}/answer
      register: said
    - name: filled
      template: {src: conf.j2, dest: \"{{ base }}/conf\"}
      notify: told
    - name: by it
      copy: {content: by it, dest: \"{{ base }}/by\"}
      when: said.stdout == 'yes'
    - name: each
      copy: {content: \"{{ item }}\", dest: \"{{ base }}/{{ item }}\"}
      loop: \"{{ said.stdout_lines }}\"
    - name: more
      include_tasks: more.yml
      when: said.rc == 0
    - name: sure
      copy: {content: sure, dest: \"{{ base }}/sure\"}
  handlers:
    - {name: told, command: \"touch {{ base }}/told\"}
    - {name: brought, command: \"touch {{ base }}/brought\"}
";

/// Two hosts, each a directory of this machine, that are asked the same.
fn pair(tasks: &str) -> Program {
    let program = host(tasks);
    fs::create_dir(program.path("old")).unwrap();
    let line = |name: &str| format!("{name} ansible_connection=local base={}\n", program.path(name).display());
    program.file("hosts", &(line("old") + &line("new")));
    program.file("old/answer", "no\n").file("new/answer", "yes\n");
    program.file("templates/conf.j2", "said {{ said.stdout }}\n");
    program.file("more.yml", "- {name: inner, copy: {content: i, dest: \"{{ base }}/inner\"}, notify: brought}\n");
    program
}

fn apply(program: &Program, more: &str) -> Printed {
    program.run(&format!("apply move.plan --open run{more}"))
}

#[test]
fn what_was_open_is_shown_as_it_is_decided_and_the_rest_is_made_as_approved() {
    let program = pair(TASKS);
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    has(&planned.stdout, "+said (known after apply)");
    let applied = apply(&program, "").expect(0);
    has(&applied.stdout, "decided at apply: [new] => it needs `said` from task `ask` (");
    has(&applied.stdout, "+said yes\n");
    has(&applied.stdout, "decided at apply: [new] => it was brought by an open step");
    for (host, answer) in [("old", "no"), ("new", "yes")] {
        assert_eq!(program.read(&format!("{host}/conf")), format!("said {answer}\n"));
        assert_eq!(program.path(&format!("{host}/by")).exists(), answer == "yes");
        for made in [answer, "inner", "sure", "told", "brought"] {
            assert!(program.path(&format!("{host}/{made}")).exists(), "{host}/{made}\n{}", applied.stdout);
        }
    }
    lacks(&applied.stdout, "decided at apply: [new] => it needs `sure`");
    // As any other run.
    has(&program.run("log last").expect(0).stdout, "+said yes");
    program.run("undo last").expect(0);
    assert!(!program.path("new/conf").exists() && !program.path("new/sure").exists());
}

#[test]
fn a_host_that_has_moved_on_is_left_alone_before_and_in_between() {
    let program = pair(TASKS);
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    program.file("old/sure", "another\n");
    let applied = apply(&program, "").expect(2);
    has(&applied.stdout, "the host is no longer as it was when the plan was made");
    assert!(!program.path("old/conf").exists() && program.read("new/sure") == "sure");

    // A command that was approved, and does what nobody could foresee.
    let program = pair(
        "    - {name: ask, command: \"sh {{ base }}/answer\", register: said}
    - {name: open, copy: {content: \"{{ said.rc }}\", dest: \"{{ base }}/open\"}}
    - block:
        - {name: sure, copy: {content: \"sure\\n\", dest: \"{{ base }}/sure\"}, ignore_errors: true}
      rescue:
        - {name: rescued, copy: {content: r, dest: \"{{ base }}/rescued\"}}
      always:
        - {name: at last, copy: {content: l, dest: \"{{ base }}/last\"}}
    - {name: after, copy: {content: a, dest: \"{{ base }}/after\"}}
",
    );
    program.file("old/answer", "echo odd >$(dirname $0)/sure\n").file("new/answer", "\n");
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let applied = apply(&program, "").expect(2);
    has(&applied.stdout, "\nnot what was approved\n  approved:\n    --- DIR/old/sure  absent\n");
    has(&applied.stdout, "\n  now:\n    --- DIR/old/sure  -rw-");
    has(&applied.stdout, "    -odd\n");
    assert_eq!(program.read("old/sure"), "odd\n");
    for name in ["rescued", "last", "after"] {
        assert!(!program.path(&format!("old/{name}")).exists(), "{name}");
    }
    has(&applied.stdout, "[WARNING]: `old`: approved and not made: `sure` (site.yml:7), `at last` (");
    assert_eq!(program.read("new/after"), "a");
}

#[test]
fn what_the_plan_does_not_have_is_refused_and_so_is_what_it_has_and_is_not_made() {
    let program = pair(
        "    - {name: ask, command: \"echo\", register: said}
    - {name: open, copy: {content: \"{{ said.rc }}\", dest: \"{{ base }}/open\"}}
    - {name: look, stat: {path: \"{{ base }}/flag\"}, register: flag}
    - {name: on, copy: {content: on, dest: \"{{ base }}/on\"}, when: flag.stat.exists}
    - {name: off, copy: {content: off, dest: \"{{ base }}/off\"}, when: not flag.stat.exists}
",
    );
    program.file("old/flag", "");
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    fs::remove_file(program.path("old/flag")).unwrap();
    program.file("new/flag", "");
    let applied = apply(&program, "").expect(2);
    has(&applied.stdout, "\nnot what was approved\n  approved:\n    no change\n  now:\n    --- DIR/new/on");
    has(&applied.stdout, "  now:\n    no change: the task is skipped");
    for name in ["old/on", "old/off", "new/on", "new/off"] {
        assert!(!program.path(name).exists(), "{name}");
    }
    assert_eq!(program.read("new/open"), "0");
}

#[test]
fn the_playbooks_the_variables_and_the_way_to_a_host_are_those_of_the_plan() {
    let program = pair(&TASKS.replace("content: sure", "content: \"{{ word }}\""));
    program.run("plan -i hosts site.yml -o move.plan -e word=one --limit new").expect(0);
    has(&apply(&program, "").expect(1).stderr, "the plan was made with `-e`, and its values are not in it");
    let other = apply(&program, " -e word=two").expect(2);
    has(&other.stdout, "not what was approved");
    has(&other.stdout, "    +one");
    assert!(!program.path("new/sure").exists() && !program.path("old/conf").exists());

    let _ = fs::remove_dir_all(program.path("new"));
    program.file("new/answer", "yes\n");
    program.run("plan -i hosts site.yml -o move.plan -e word=one --limit ne*:!old").expect(0);
    let hosts =
        program.read("hosts").replace("ansible_connection=local", "ansible_connection=local ansible_become=yes");
    program.file("others", &hosts);
    has(
        &apply(&program, " -e word=one -i others").expect(2).stdout,
        "`new` is reached in another way than it was approved",
    );
    assert!(!program.path("new/sure").exists());

    program.file("site.yml", &(program.read("site.yml") + "\n# another\n"));
    program.file("templates/conf.j2", "another\n");
    let refused = apply(&program, " -e word=one").expect(1);
    has(&refused.stderr, "`DIR/site.yml` is not as it was when the plan was made");
    has(&refused.stderr, "`DIR/templates/conf.j2` is not as it was when the plan was made");
}
