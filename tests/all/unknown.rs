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
        let expected = ["written", "read", "used", "asked after", "closed", "copied", "searched", "taken away"];
        assert_eq!(open, expected);
        assert!(planned.stderr.lines().filter(|line| line.starts_with("  open: ")).all(|line| line.contains("needs ")));
        // A host is not refused for what an open step has left undone.
        program.run("apply move.plan --open skip").expect(0);
        assert_eq!(program.path("new/conf").exists(), old.is_some());
    }
}

#[test]
fn an_edit_of_what_is_open_is_open_and_so_is_all_that_counts_on_it() {
    let program = host(&format!(
        "{ASK}    - name: written
      copy: {{content: \"a={{{{ said.stdout }}}}\\n\", dest: \"{{{{ base }}}}/conf\"}}
    - name: edited
      lineinfile: {{path: \"{{{{ base }}}}/conf\", line: two}}
    - name: closed
      file: {{path: \"{{{{ base }}}}/conf\", mode: '0600'}}
"
    ));
    let planned = program.run("plan -i hosts site.yml").expect(0);
    let open: Vec<&str> = planned.stderr.lines().filter_map(|line| line.strip_prefix("  open: `")).collect();
    assert!(open.iter().all(|line| line.contains("needs ")), "{open:?}");
    assert_eq!(
        open.iter().map(|line| line.split('`').next().unwrap()).collect::<Vec<_>>(),
        ["written", "edited", "closed"]
    );
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
    has(&program.run("play --check -i hosts site.yml").expect(4).stderr, "probe");
}

#[test]
fn an_account_that_an_earlier_task_would_add_can_own_a_file_in_the_same_check() {
    let program = host(
        "    - {name: user, lineinfile: {path: /etc/passwd, line: 'cutover-mx:x:64242:64243::/:/bin/false'}}
    - {name: group, lineinfile: {path: /etc/group, line: 'cutover-mg:x:64243:'}}
    - name: owned
      copy: {content: x, dest: \"{{ base }}/owned\", owner: cutover-mx, group: cutover-mg}
    - name: by number
      file: {path: \"{{ base }}/owned\", owner: root, group: '64243'}
    - name: nobody's
      copy: {content: x, dest: \"{{ base }}/other\", owner: cutover-nobody}
      ignore_errors: true
",
    );
    let checked = program.run("play --check -i hosts site.yml").expect(0);
    has(&checked.stdout, "+++ DIR/new/owned  -rw-r--r-- 0644 cutover-mx:cutover-mg, 1 bytes");
    has(&checked.stdout, "-owner: cutover-mx\n+owner: root\n");
    has(&checked.stdout, "has no user `cutover-nobody`");
    has(&checked.stdout, "unknown=0");
}

#[test]
fn an_account_that_a_command_may_make_leaves_its_owner_open() {
    let program = host(
        "    - {name: look, command: id root, changed_when: false}
    - {name: wrong, copy: {content: x, dest: \"{{ base }}/a\", owner: cutover-mx}, ignore_errors: true}
    - {name: make, command: useradd cutover-mx}
    - {name: owned, copy: {content: x, dest: \"{{ base }}/a\", owner: cutover-mx}}
",
    );
    let checked = program.run("play --check -i hosts site.yml").expect(0);
    has(&checked.stdout, "has no user `cutover-mx`");
    has(&checked.stdout, "unknown=1");
    let program = host(
        "    - {name: make, command: useradd cutover-mx}
    - {name: owned, copy: {content: x, dest: \"{{ base }}/a\", owner: cutover-mx}}
    - {name: more, shell: groupadd cutover-mg}
    - {name: grouped, file: {path: \"{{ base }}\", group: cutover-mg}}
",
    );
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let owned = "open: `owned` on new (site.yml:5): needs user `cutover-mx`, which task `make` (site.yml:4) may make\n";
    has(&planned.stderr, owned);
    has(&planned.stderr, "needs group `cutover-mg`, which task `more` (site.yml:6) or an earlier command may make\n");
}

#[test]
fn what_is_behind_a_link_that_would_be_made_is_seen_through_it() {
    let program = host(
        "    - {name: v2, file: {path: \"{{ base }}/v2\", state: directory}}
    - {name: conf, copy: {content: \"a\\n\", dest: \"{{ base }}/v2/conf\"}}
    - {name: now, file: {src: v2, dest: \"{{ base }}/now\", state: link}}
    - {name: through, lineinfile: {path: \"{{ base }}/now/conf\", line: b}}
    - {name: there, file: {src: \"{{ base }}/was\", dest: \"{{ base }}/link\", state: link}}
    - {name: read, slurp: {src: \"{{ base }}/link/old\"}, register: old}
    - {name: old, debug: {msg: \"{{ old.content | b64decode }}\"}}
    - {name: list, find: {paths: \"{{ base }}/link\"}, register: found}
    - {name: found, debug: {msg: \"{{ found.files | map(attribute='path') | join(' ') }}\"}}
",
    );
    program.file("new/was/old", "as it was");
    let checked = program.run("play --check -i hosts site.yml").expect(0);
    has(&checked.stdout, " a\n+b\n");
    has(&checked.stdout, "\"as it was\"");
    has(&checked.stdout, "\"DIR/new/link/old\"");
    let run = program.run("play -i hosts site.yml").expect(0);
    assert_eq!(program.read("new/v2/conf"), "a\nb\n");
    has(&run.stdout, "\"DIR/new/link/old\"");
}

#[test]
fn nothing_fails_for_an_unknown_wherever_it_stands() {
    let program = host(
        "    - {name: ask, command: echo yes, register: said}
    - {name: kept, set_fact: {fact: \"{{ said.stdout }}\", sure: known}}
    - {name: used, debug: {msg: \"{{ fact }}\"}}
    - {name: known, debug: {msg: \"still {{ sure }}\"}}
    - {name: perhaps, set_fact: {sure: other}, when: said.rc == 0}
    - {name: now open, debug: {msg: \"{{ sure }}\"}}
    - {name: looped, debug: {msg: \"{{ item }}\"}, loop: \"{{ said.stdout_lines }}\"}
    - {name: some, debug: {msg: \"{{ item }}\"}, loop: [a, \"{{ said.stdout }}\"]}
    - {name: items, debug: {msg: \"{{ item }}\"}, loop: [a, b], when: item == 'a' or said.rc == 0}
    - {name: delegated, command: echo, delegate_to: \"{{ said.stdout }}\"}
    - {name: once, debug: {msg: x}, run_once: \"{{ said.rc == 0 }}\"}
    - {name: vars, include_vars: \"{{ said.stdout }}.yml\"}
    - {name: from them, debug: {msg: \"{{ from_vars }}\"}}
    - {name: file, include_tasks: \"{{ said.stdout }}.yml\"}
    - {name: role, include_role: {name: \"{{ said.stdout }}\"}}
    - {name: hidden, debug: {msg: x}, no_log: \"{{ said.rc == 0 }}\"}
    - {name: retried, command: echo, retries: \"{{ said.rc }}\", until: said.rc == 0}
    - {name: judged, debug: {msg: x}, failed_when: said.rc == 1, changed_when: said.rc == 0}
    - {name: group, group_by: {key: \"{{ said.stdout }}\"}}
    - {name: host, add_host: {name: \"{{ said.stdout }}\"}}
    - {name: asserted, assert: {that: said.rc == 0}}
    - {name: failed, fail: {msg: x}, when: said.rc == 1}
    - name: blocked
      when: said.rc == 0
      block: [{name: in it, debug: {msg: x}}]
      rescue: [{name: rescue, debug: {msg: rescued}}]
      always: [{name: at last, debug: {msg: x}}]
    - {name: become, command: echo, become: \"{{ said.rc == 0 }}\"}
    - {name: environment, command: echo, environment: {A: \"{{ said.stdout }}\"}}
    - {name: timed, command: echo, timeout: \"{{ said.rc }}\"}
    - {name: notified, command: echo, notify: \"{{ said.stdout }}\"}
    - {name: stop, meta: end_play, when: said.rc == 1}
    - {name: after all, debug: {msg: the end}}
",
    );
    let checked = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    for text in ["\"still known\"", "\"the end\"", "failed=0", "rescued=0"] {
        has(&checked.stdout, text);
    }
    for name in ["used", "now open", "from them", "stop"] {
        let open = format!("TASK [{name}] ");
        let after = checked.stdout.split(&open).nth(1).unwrap_or_else(|| panic!("{name}\n{}", checked.stdout));
        has(after.lines().nth(1).unwrap_or_default(), "unknown: [new] => unknown until run: needs `");
    }
}

#[test]
fn tasks_that_set_one_path_to_different_things_are_named_and_edits_that_build_on_each_other_are_not() {
    let program = host(
        "    - {name: one, copy: {content: \"a\\n\", dest: \"{{ base }}/both\", mode: '0644'}}
    - {name: two, template: {src: both.j2, dest: \"{{ base }}/both\"}}
    - {name: open, file: {path: \"{{ base }}/mode\", mode: '0644'}}
    - {name: close, file: {path: \"{{ base }}/mode\", mode: '0600'}}
    - {name: make, file: {path: \"{{ base }}/gone\", state: directory}}
    - {name: take, file: {path: \"{{ base }}/gone\", state: absent}}
    - {name: left, file: {src: a, dest: \"{{ base }}/link\", state: link, force: true}}
    - {name: right, file: {src: b, dest: \"{{ base }}/link\", state: link, force: true}}
    - {name: x, lineinfile: {path: \"{{ base }}/mode\", regexp: '^x=', line: x=1}}
    - {name: y, lineinfile: {path: \"{{ base }}/mode\", regexp: '^x=', line: x=2}}
    - {name: base, copy: {content: \"a\\n\", dest: \"{{ base }}/built\", mode: '0644'}}
    - {name: line, lineinfile: {path: \"{{ base }}/built\", line: b, mode: '0644'}}
    - {name: rights, file: {path: \"{{ base }}/built\", mode: '0644'}}
    - {name: plain, copy: {content: \"p\\n\", dest: \"{{ base }}/plain\"}}
    - {name: closed, file: {path: \"{{ base }}/plain\", mode: '0600'}}
",
    );
    program.file("templates/both.j2", "b\n").file("new/mode", "as it was\n");
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let fights: Vec<&str> = planned.stdout.lines().filter(|line| line.contains("set to different things")).collect();
    let start = |path: &str| {
        format!("[WARNING]: new: `DIR/new/{path}` is set to different things, and each run would change it back: ")
    };
    let expected = [
        "both its content by task `one` (site.yml:4), its content by task `two` (site.yml:5)",
        "mode mode 0644 by task `open` (site.yml:6), mode 0600 by task `close` (site.yml:7)",
        "gone there by task `make` (site.yml:8), absent by task `take` (site.yml:9)",
        "link a link to `a` by task `left` (site.yml:10), a link to `b` by task `right` (site.yml:11)",
        "mode lines of it by task `x` (site.yml:12), lines of it by task `y` (site.yml:13)",
    ];
    let expected = expected.map(|line| line.split_once(' ').map(|(path, rest)| start(path) + rest).unwrap());
    assert_eq!(fights, expected);
    for format in ["human", "markdown", "html", "json"] {
        has(&program.run(&format!("show move.plan --format {format}")).expect(0).stdout, "is set to different things");
    }
    program.run("play -i hosts site.yml").expect(0);
    // Those of them that find it as they want it want it all the same.
    let again = program.run("play --check -i hosts site.yml").expect(0);
    assert_eq!(again.stdout.matches("set to different things").count(), 6, "{}", again.stdout);
    lacks(&again.stdout, "plain` is set");
}
