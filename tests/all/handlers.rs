//! Handlers: what they include, and when they are told to run.

use crate::program::{Printed, Program};

fn play(program: &Program, text: &str) -> Printed {
    program.file("hosts", "a ansible_connection=local\nb ansible_connection=local\n").file("play.yml", text);
    program.run("play -i hosts -f 1 play.yml")
}

#[test]
fn what_a_handler_includes_is_told_as_handlers_and_is_selected_by_no_tag() {
    let program = Program::new();
    program
        .file("more.yml", "- include_tasks: inner.yml\n  when: inventory_hostname == 'a'\n- name: second\n  debug:\n");
    program.file("inner.yml", "- name: first\n  debug:\n");
    program.file("hosts", "a ansible_connection=local\nb ansible_connection=local\n");
    program.file(
        "play.yml",
        "- hosts: all
  gather_facts: no
  tasks:
    - command: echo x
      notify: more
      tags: chosen
  handlers:
    - name: more
      include_tasks: more.yml
",
    );
    let printed = program.run("play -i hosts -f 1 --tags chosen play.yml").expect(0);
    for name in ["first", "second"] {
        assert!(printed.stdout.contains(&format!("RUNNING HANDLER [{name}]")), "{}", printed.stdout);
        assert!(!printed.stdout.contains(&format!("TASK [{name}]")), "{}", printed.stdout);
    }
}

#[test]
fn a_handler_that_notifies_an_earlier_one_is_followed_by_it_at_the_next_point() {
    let printed = play(
        &Program::new(),
        "- hosts: a
  gather_facts: no
  tasks:
    - command: echo x
      notify: second
  handlers:
    - name: first
      debug: {msg: first ran}
    - name: second
      debug: {msg: second ran}
      changed_when: true
      notify: first
",
    )
    .expect(0);
    let order = |text: &str| printed.stdout.find(text).unwrap_or_else(|| panic!("no {text} in\n{}", printed.stdout));
    assert!(order("second ran") < order("first ran"), "{}", printed.stdout);
}

#[test]
fn a_point_at_which_handlers_run_is_told_of_where_that_is_asked_for() {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n").file("ansible.cfg", "[defaults]\ndebug = true\n");
    program.file(
        "play.yml",
        "- hosts: a
  gather_facts: no
  pre_tasks: [{command: echo x}]
  tasks: [{command: echo x, notify: it}]
  handlers: [{name: it, debug: }]
",
    );
    let printed = program.run("play -i hosts play.yml").expect(0);
    assert_eq!(printed.stdout.matches("META: triggered running handlers for a").count(), 1, "{}", printed.stdout);
}

#[test]
fn a_role_that_is_included_twice_has_its_handler_run_once() {
    let program = Program::new();
    program.file("roles/it/tasks/main.yml", "- command: echo x\n  notify: it\n");
    program.file("roles/it/handlers/main.yml", "- name: it\n  debug: {msg: ran}\n");
    let printed = play(
        &program,
        "- hosts: a
  gather_facts: no
  tasks:
    - include_role: {name: it}
    - include_role: {name: it}
",
    )
    .expect(0);
    assert_eq!(printed.stdout.matches("\"msg\": \"ran\"").count(), 1, "{}", printed.stdout);
}

#[test]
fn a_block_is_no_handler() {
    let block = "- hosts: a\n  tasks: []\n  handlers: [{name: it, block: [{debug: }]}]\n";
    let printed = play(&Program::new(), block).expect(4);
    assert!(printed.stderr.contains("Using a block as a handler is not supported."), "{}", printed.stderr);
    let flush = "- hosts: a\n  tasks: []\n  handlers: [{name: it, meta: flush_handlers}]\n";
    let printed = play(&Program::new(), flush).expect(1);
    assert!(printed.stderr.contains("flush_handlers cannot be used as a handler"), "{}", printed.stderr);
}

#[test]
fn a_change_that_no_handler_would_follow_is_not_made_and_what_changes_nothing_goes_on() {
    let program = Program::new();
    let play = "- hosts: a\n  gather_facts: no\n  tasks:\n    - ping:\n      notify: nobody\n    - copy: {content: x, dest: DIR/it}\n      \
                notify: restrt\n  handlers: [{name: restart, ping: }]\n";
    program.file("hosts", "a ansible_connection=local\n");
    program.file("play.yml", &play.replace("DIR", &program.path("").display().to_string()));
    for flags in ["--check", ""] {
        let ended = program.run(&format!("play -i hosts play.yml {flags}")).expect(1);
        let warned = ended.stdout.split("PLAY [").next().unwrap();
        assert!(
            warned.contains("play.yml:5:15: no handler answers to `nobody`: the run ends where this task would"),
            "{warned}"
        );
        assert!(
            warned.contains("no handler answers to `restrt`") && warned.contains("did you mean `restart`?"),
            "{warned}"
        );
        assert!(ended.stdout.contains("ok: [a]") && !ended.stdout.contains("fatal:"), "{}", ended.stdout);
        assert_eq!(ended.stderr.matches("The requested handler 'restrt' was not found").count(), 1, "{}", ended.stderr);
        assert!(!program.path("it").exists());
    }
    program.file("it", "x");
    program.run("play -i hosts play.yml").expect(0);
}

#[test]
fn a_role_that_may_not_run_twice_is_left_out_where_it_has_run_in_any_way() {
    for (how, listed, runs) in [
        ("include_role", &[false, true, false][..], 2),
        ("import_role", &[false, true, false], 2),
        ("include_role", &[true, false, true], 2),
        ("import_role", &[true, false, true], 2),
    ] {
        let program = Program::new();
        program.file("roles/it/tasks/main.yml", "- debug: {msg: it ran}\n");
        program.file("roles/it/meta/main.yml", "allow_duplicates: true\n");
        let tasks = listed.iter().map(|again| format!("    - {how}: {{name: it, allow_duplicates: {again}}}\n"));
        let play = format!("- hosts: a\n  gather_facts: no\n  tasks:\n{}", tasks.collect::<String>());
        let printed = self::play(&program, &play).expect(0);
        assert_eq!(printed.stdout.matches("\"msg\": \"it ran\"").count(), runs, "{how} {listed:?}: {}", printed.stdout);
    }
}

#[test]
fn a_module_that_is_not_here_is_told_before_the_run_and_fails_only_where_a_run_comes_to_it() {
    let program = Program::new();
    program.file("library/of_python.py", "from ansible.module_utils.basic import AnsibleModule\n");
    program.file("other.yml", "- of_python:\n- expect: {command: x}\n");
    let text = "- hosts: a
  gather_facts: no
  tasks:
    - include_tasks: other.yml
      when: elsewhere | bool
    - file: {path: made, state: touch}
      notify: WHOM
  handlers:
    - name: answers
      debug: {msg: heard}
    - name: installs
      expect: {command: y}
";
    let run = |whom: &str, elsewhere: &str| {
        program.file("hosts", "a ansible_connection=local\n").file("play.yml", &text.replace("WHOM", whom));
        program.run(&format!("play -i hosts -e elsewhere={elsewhere} play.yml"))
    };
    let printed = run("answers", "false").expect(0);
    assert!(printed.stdout.contains("heard"), "{}", printed.stdout);
    for told in [
        "other.yml:1:3: the module `of_python` needs Ansible's own library of Python, which is not here: the task fails where the run comes to it",
        "other.yml:2:3: unknown module or keyword `expect`: the task fails where the run comes to it",
        "play.yml:12:7: unknown module or keyword `expect`: the task fails where the run comes to it",
    ] {
        assert_eq!(printed.stdout.matches(told).count(), 1, "{told}\n{}", printed.stdout);
    }
    let printed = run("answers", "true").expect(1);
    assert!(printed.stderr.contains("needs Ansible's own library of Python"), "{}", printed.stderr);
    // An argument that is not here is the same; one that is misspelt is not.
    let argument = |name: &str| {
        let text = format!(
            "- hosts: a\n  gather_facts: no\n  tasks:\n    - command: echo\n      args: {{{name}: no}}\n      when: false\n"
        );
        program.file("play.yml", &text);
        program.run("play -i hosts play.yml")
    };
    let printed = argument("warn").expect(0);
    assert!(printed.stdout.contains("unknown argument `warn` for `command`: the task fails"), "{}", printed.stdout);
    argument("creats").expect(1);
    // What a handler must follow is not changed where that handler cannot run.
    std::fs::remove_file(program.path("made")).unwrap();
    let printed = run("installs", "false");
    assert!(printed.status != 0 && printed.stdout.contains("unknown module or keyword `expect`"), "{}", printed.stdout);
    assert!(!program.path("made").exists());
    let found = program.run("lint -i hosts play.yml").stdout;
    assert_eq!(found.matches("absent-module").count(), 3, "{found}");
}

#[test]
fn a_role_that_two_others_need_runs_with_the_one_that_runs() {
    let program = Program::new();
    for (role, needs) in [("base", "[]"), ("mail", "[base]"), ("web", "[base]")] {
        program.file(&format!("roles/{role}/meta/main.yml"), &format!("dependencies: {needs}\n"));
        program.file(&format!("roles/{role}/tasks/main.yml"), &format!("- debug: {{msg: 'ran {role}'}}\n"));
    }
    let run = |roles: &str, tags: &str| {
        let text = format!("- hosts: a\n  gather_facts: no\n  roles: {roles}\n");
        let printed = program.file("hosts", "a ansible_connection=local\n").file("play.yml", &text);
        let printed = printed.run(&format!("play -i hosts play.yml {tags}")).expect(0).stdout;
        let ran = |role: &str| printed.matches(&format!("ran {role}")).count();
        [ran("base"), ran("mail"), ran("web")]
    };
    assert_eq!(run("[mail, web]", ""), [1, 1, 1]);
    assert_eq!(run("[{role: mail, when: false}, web]", ""), [1, 0, 1]);
    assert_eq!(run("[{role: mail, tags: m}, {role: web, tags: w}]", "--tags w"), [1, 0, 1]);
    assert_eq!(run("[{role: mail, tags: m}, {role: web, tags: w}]", ""), [1, 1, 1]);
}
