//! What only a run can decide, in checks and plans: said, shown as far as it is known, and never taken for known.

use std::fs;

use crate::program::Program;

/// One host, a directory of this machine, with a playbook of these tasks.
pub fn host(tasks: &str) -> Program {
    let program = Program::new();
    fs::create_dir(program.path("new")).unwrap();
    let base = program.path("new");
    program.file("hosts", &format!("new ansible_connection=local base={}\n", base.display()));
    program.file("site.yml", &format!("- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}"));
    program
}

pub fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in\n{text}");
}

pub fn lacks(text: &str, part: &str) {
    assert!(!text.contains(part), "{part:?} in\n{text}");
}

const ASK: &str = "    - {name: ask, command: echo yes, register: said}\n";

#[test]
fn a_file_with_an_unknown_in_it_is_shown_as_far_as_it_is_known() {
    let program = host(&format!(
        "{ASK}    - name: filled
      template: {{src: conf.j2, dest: \"{{{{ base }}}}/conf\", mode: '0600'}}
    - name: written
      copy: {{content: \"a={{{{ said.stdout | upper }}}}\\n\", dest: \"{{{{ base }}}}/new\", mode: '0640'}}
    - name: a line
      lineinfile: {{path: \"{{{{ base }}}}/lines\", regexp: '^b=', line: 'b={{{{ said.stdout }}}} {{{{ 1 + 1 }}}}'}}
    - name: a block
      blockinfile: {{path: \"{{{{ base }}}}/lines\", block: \"{{{{ 'x' if said.rc == 0 else 'y' }}}}\"}}
"
    ));
    let template =
        "{% for n in [1, 2] %}\n{{ n }}-{{ said.stdout }}-{{- loop.index }}\n{% endfor %}\nend {{ \"a\\\"b\" }}\n";
    program.file("templates/conf.j2", template);
    program.file("new/conf", "1-old-1\nend a\"b\n").file("new/lines", "a\nb=old\n");
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    has(&planned.stdout, "-1-old-1\n+1-(known after apply)-1\n+2-(known after apply)-2\n end a\"b\n");
    has(&planned.stdout, "+++ DIR/new/conf  -rw------- 0600 ");
    has(&planned.stdout, ", (known after apply)\n");
    has(&planned.stdout, "-mode: 0644 rw-r--r--\n+mode: 0600 rw-------\n");
    has(&planned.stdout, "+a=(known after apply)\n");
    has(&planned.stdout, "-b=old\n+b=(known after apply) 2\n");
    has(&planned.stdout, "unknown: [new] => unknown until run: needs `said` from task `ask` (site.yml:4)");
    has(&planned.stdout, "unknown=4");
    has(&planned.stderr, "plan: 1 change on 1 host; 4 steps that only a run can decide");
    for format in ["human", "markdown", "html", "json"] {
        has(&program.run(&format!("show move.plan --format {format}")).expect(0).stdout, "a=(known after apply)");
    }
    // It is there to be read, and nothing that could be made.
    let changes: Vec<String> = program.read("move.plan").lines().map(str::to_string).collect();
    let steps = changes
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_object().cloned());
    for step in steps {
        lacks(&format!("{:?}", step.get("changes")), "(known after apply)");
    }
    program.run("apply move.plan --open skip").expect(0);
    assert_eq!(program.read("new/conf"), "1-old-1\nend a\"b\n");
    assert!(!program.path("new/new").exists());
    program.run("play -i hosts site.yml").expect(0);
    assert_eq!(program.read("new/conf"), "1-yes-1\n2-yes-2\nend a\"b\n");
    assert_eq!(program.read("new/new"), "a=YES\n");
    has(&program.read("new/lines"), "b=yes 2\n");
}

#[test]
fn no_branch_is_chosen_for_an_unknown_and_no_place_is_made_of_it() {
    let program = host(&format!(
        "{ASK}    - name: branch
      template: {{src: branch.j2, dest: \"{{{{ base }}}}/branch\"}}
    - name: looped
      template: {{src: loop.j2, dest: \"{{{{ base }}}}/looped\"}}
    - name: set
      template: {{src: set.j2, dest: \"{{{{ base }}}}/set\"}}
    - name: place
      copy: {{content: x, dest: \"{{{{ base }}}}/{{{{ said.stdout }}}}\"}}
    - name: mode
      copy: {{content: x, dest: \"{{{{ base }}}}/mode\", mode: \"{{{{ said.stdout }}}}\"}}
    - name: wrong
      copy: {{content: '{{{{ said.stdout }}}}{{{{ nothing.here }}}}', dest: \"{{{{ base }}}}/mode\"}}
      ignore_errors: true
"
    ));
    program.file("templates/branch.j2", "{% if said.rc == 0 %}a{% else %}b{% endif %}\n");
    program.file("templates/loop.j2", "{% for line in said.stdout_lines %}{{ line }}{% endfor %}\n");
    program.file("templates/set.j2", "{% set x = said.stdout %}{{ x }}\n");
    let checked = program.run("play --check -i hosts site.yml").expect(0);
    lacks(&checked.stdout, "(known after apply)");
    has(&checked.stdout, "unknown=6");
}

#[test]
fn what_is_open_is_known_to_nobody_after_it_but_for_what_it_is() {
    let program = host(&format!(
        "{ASK}    - name: written
      copy: {{content: \"a={{{{ said.stdout }}}}\\n\", dest: \"{{{{ base }}}}/conf\"}}
    - name: edited
      lineinfile: {{path: \"{{{{ base }}}}/conf\", line: two}}
    - name: read
      slurp: {{src: \"{{{{ base }}}}/conf\"}}
      register: slurped
    - name: used
      debug: {{msg: \"{{{{ slurped.content }}}}\"}}
    - name: asked after
      stat: {{path: \"{{{{ base }}}}/conf\"}}
    - name: closed
      file: {{path: \"{{{{ base }}}}/conf\", mode: '0600'}}
    - name: copied
      copy: {{remote_src: true, src: \"{{{{ base }}}}/conf\", dest: \"{{{{ base }}}}/copy\"}}
    - name: searched
      find: {{paths: \"{{{{ base }}}}\", contains: a}}
    - name: taken away
      file: {{path: \"{{{{ base }}}}/conf\", state: absent}}
    - name: gone
      stat: {{path: \"{{{{ base }}}}/conf\"}}
      register: gone
    - {{name: told, debug: {{msg: \"there {{{{ gone.stat.exists }}}}\"}}}}
"
    ));
    for old in [None, Some("a=old\ntwo\n")] {
        if let Some(text) = old {
            program.file("new/conf", text);
        }
        let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
        has(&planned.stdout, "-mode: 0644 rw-r--r--\n+mode: 0600 rw-------\n");
        has(&planned.stdout, "+++ DIR/new/conf  absent\n");
        has(&planned.stdout, "\"there False\"");
        let open: Vec<&str> =
            planned.stderr.lines().filter_map(|line| line.strip_prefix("  open: `")?.split('`').next()).collect();
        let expected =
            ["written", "edited", "read", "used", "asked after", "closed", "copied", "searched", "taken away"];
        assert_eq!(open, expected);
        assert!(
            planned.stderr.lines().filter(|line| line.starts_with("  open: ")).all(|line| line.contains("needs `"))
        );
        // A host is not refused for what an open step has left undone.
        program.run("apply move.plan --open skip").expect(0);
        assert_eq!(program.path("new/conf").exists(), old.is_some());
    }
}

#[test]
fn a_handler_that_may_be_notified_is_shown_as_open_where_it_would_run() {
    let program = host(&format!(
        "{ASK}    - name: written
      copy: {{content: \"{{{{ said.stdout }}}}\", dest: \"{{{{ base }}}}/conf\"}}
      notify: [restart, skipped, both]
    - {{name: sure, copy: {{content: x, dest: \"{{{{ base }}}}/sure\"}}, notify: both}}
    - name: judged
      command: touch {{{{ base }}}}/judged
      register: touched
      changed_when: touched.rc == 7
      notify: again
    - meta: flush_handlers
    - {{name: after, debug: {{msg: done}}}}
  handlers:
    - {{name: restart, command: \"touch {{{{ base }}}}/restarted\", notify: last, register: restarted}}
    - {{name: skipped, command: exit 1, when: false}}
    - {{name: both, command: \"touch {{{{ base }}}}/both\"}}
    - {{name: again, debug: {{msg: \"{{{{ restarted.rc }}}}\"}}}}
    - {{name: last, copy: {{content: l, dest: \"{{{{ base }}}}/last\"}}}}
"
    ));
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let order = [
        "TASK [judged]",
        "RUNNING HANDLER [restart]",
        "HANDLER [both]",
        "HANDLER [again]",
        "HANDLER [last]",
        "TASK [after]",
    ];
    let places: Vec<usize> =
        order.iter().map(|part| planned.stdout.find(part).unwrap_or_else(|| panic!("{part}"))).collect();
    assert!(places.is_sorted(), "{}", planned.stdout);
    for name in ["restart", "again", "last"] {
        has(&planned.stderr, &format!("  open: `{name}` on new ("));
    }
    lacks(&planned.stderr, "open: `both`");
    lacks(&planned.stderr, "open: `skipped`");
    program.run("apply move.plan --open skip").expect(0);
    assert!(program.path("new/both").exists() && !program.path("new/restarted").exists());
    program.run("play -i hosts site.yml").expect(0);
    assert!(program.path("new/restarted").exists() && program.path("new/last").exists());
}

#[test]
fn a_probe_runs_in_a_check_a_plan_and_a_run_and_is_no_change() {
    let program = host(
        "    - name: look
      shell: echo $0 $MARK >>{{ base }}/ran; cat {{ base }}/there
      environment: {MARK: seen}
      register: seen
      probe: true
      notify: told
    - name: by it
      copy: {content: \"{{ seen.stdout }} {{ seen.rc }}\", dest: \"{{ base }}/copy\"}
      when: seen.stdout == 'here'
    - name: a script
      script: look.sh
      register: scripted
      probe: \"{{ 1 == 1 }}\"
      failed_when: scripted.rc != 3
    - name: not needed
      command: cat {{ base }}/no
      args: {creates: \"{{ base }}/there\"}
      probe: true
    - name: says so
      command: cat {{ base }}/there
      probe: true
      changed_when: true
      notify: told
  handlers:
    - {name: told, copy: {content: t, dest: \"{{ base }}/told\"}}
",
    );
    program.file("new/there", "here\n").file("look.sh", "exit 3\n");
    let checked = program.run("play --check -i hosts site.yml").expect(0);
    has(&checked.stdout, "+here 0\n");
    has(&checked.stdout, "ok: [new]\n\nTASK [by it]");
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    has(&planned.stderr, "plan: 2 changes on 1 host\n");
    lacks(&program.read("move.plan"), "cat ");
    assert_eq!(program.read("new/ran").lines().count(), 2);
    assert!(program.read("new/ran").ends_with(" seen\n"));
    let run = program.run("play -i hosts site.yml").expect(0);
    has(&run.stdout, "ok: [new]\n\nTASK [by it]");
    assert_eq!(program.read("new/copy"), "here 0");
    assert!(program.path("new/told").exists());
    // It is no change, so the journal has none of it.
    let told = program.run("log last").expect(0).stdout;
    lacks(&told, "cat ");
}

#[test]
fn a_probe_that_is_no_command_is_refused_with_its_place() {
    let program = host("    - copy: {content: x, dest: /x}\n      probe: true\n    - debug:\n      probe: yes\n");
    let refused = program.run("play --check -i hosts site.yml").expect(1);
    has(&refused.stderr, "`probe` beside `copy`, which is no command");
    has(&refused.stderr, "--> site.yml:5:14");
    has(&refused.stderr, "`probe` beside `debug`, which is no command");
    let program = host("    - import_tasks: x.yml\n      probe: true\n");
    program.file("x.yml", "[]\n");
    has(&program.run("play --check -i hosts site.yml").expect(1).stderr, "probe");
}
