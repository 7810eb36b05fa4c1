//! `cutover lint`: what each rule finds, and that it finds nothing in playbooks that are right.

use std::path::Path;

use crate::program::{Printed, Program};

/// Lints one play of this machine with these lines below it.
fn lint(play: &str) -> Printed {
    let program = Program::new();
    program.file("play.yml", &format!("- hosts: localhost\n  gather_facts: no\n{play}"));
    program.run("lint play.yml")
}

/// Returns what was found, a line each: `grade[rule]: message` and the place.
fn found(printed: &Printed) -> Vec<String> {
    let lines: Vec<&str> = printed.stdout.lines().collect();
    let is_title = |line: &str| line.starts_with("error[") || line.starts_with("warning[");
    let titles = lines.windows(2).filter(|pair| is_title(pair[0]));
    titles.map(|pair| format!("{} @{}", pair[0], pair[1].trim().trim_start_matches("--> "))).collect()
}

#[track_caller]
fn finds(play: &str, expected: &[&str]) {
    let printed = lint(play);
    assert_eq!(found(&printed), expected, "{}{}", printed.stdout, printed.stderr);
    assert_eq!(printed.status, if expected.is_empty() { 0 } else { 2 });
}

#[test]
fn a_finding_has_its_line_and_a_next_step() {
    let printed = lint("  vars: {greeting: hello}\n  tasks:\n    - debug: {msg: \"{{ greting }}\"}\n").expect(2);
    let expected = "error[undefined-variable]: `greting` is defined nowhere
 --> play.yml:5:24
  |
5 |     - debug: {msg: \"{{ greting }}\"}
  |                        ^^^^^^^
  |
  = hint: did you mean `greeting`?

";
    assert_eq!((printed.stdout.as_str(), printed.stderr.as_str()), (expected, "1 error, 0 warnings\n"));
}

#[test]
fn what_a_run_refuses_is_found_all_at_once() {
    finds(
        "  tasks:\n    - coppy: {src: a, dest: /b}\n    - copy: {content: a, dst: /b}\n    - ping:\n      notify: nobody\n",
        &[
            "error[invalid]: unknown module or keyword `coppy` @play.yml:4:7",
            "error[invalid]: `copy` needs the argument `dest` @play.yml:5:7",
            "error[invalid]: unknown argument `dst` for `copy` @play.yml:5:26",
            "error[invalid]: no handler answers to `nobody` @play.yml:7:15",
        ],
    );
}

#[test]
fn a_variable_is_undefined_only_where_nothing_defines_or_spares_it() {
    finds(
        "  vars: {a: \"{{ deep }}\", unread: \"{{ nothing }}\"}
  tasks:
    - debug: {msg: \"{{ a }} {{ b | default(1) }} {{ ansible_facts.x }} {{ inventory_hostname }}\"}
    - debug: {msg: \"{{ c }}\"}
      when: c is defined
    - command: ls
      register: d
      changed_when: d.rc == 9
    - set_fact: {e: 1}
    - debug: {msg: \"{{ e }} {{ item }} {{ lookup('env', 'HOME') }} {{ f }}\"}
      loop: [1]
      ignore_errors: true
    - debug: {msg: \"{{ g }}\"}
      when: \"'g' in vars\"
    - debug: {var: h}
    - block:
        - debug: {msg: \"{{ i }}\"}
      rescue:
        - debug: {msg: \"{{ ansible_failed_result.msg }} {{ j }}\"}
    - debug: {msg: \"{{ k.l }}\"}
      when: given is defined and k is mapping
    - debug: {msg: \"{{ l }}\"}
      when: given is defined
",
        &[
            "error[undefined-variable]: `deep` is defined nowhere @play.yml:3:17",
            "error[undefined-variable]: `j` is defined nowhere @play.yml:21:60",
        ],
    );
    let program = Program::new();
    let play = "- hosts: web\n  tasks:\n    - debug: {msg: \"{{ a }} {{ b }} {{ c }} {{ d }}\"}\n      when: e\n";
    program.file("hosts", "[web]\nh a=1\n").file("group_vars/web.yml", "b: \"{{ f }}\"\n").file("play.yml", play);
    let printed = program.run("lint -i hosts -e c=1 play.yml").expect(2);
    let [d, e, f] = [
        "d` is defined nowhere @play.yml:3:48",
        "e` is defined nowhere @play.yml:4:13",
        "f` is defined nowhere @group_vars/web.yml:1:8",
    ]
    .map(|text| format!("error[undefined-variable]: `{text}"));
    assert_eq!(found(&printed), [f, d, e]);
    // Without the inventory nobody knows, and it says so.
    let printed = program.run("lint play.yml").expect(0);
    let note = "note: undefined variables of play `web` are not looked for: no inventory was given (`-i`)\nnothing was found\n";
    assert_eq!(printed.stderr, note);
}

#[test]
fn what_only_a_run_can_name_may_define_anything() {
    let program = Program::new();
    let play = "- hosts: localhost\n  tasks:\n    - include_vars: \"{{ ansible_os_family }}.yml\"\n    - debug: {msg: \"{{ a }}\"}\n";
    let printed = program.file("play.yml", play).run("lint play.yml").expect(0);
    assert!(printed.stderr.starts_with("note: undefined variables are not looked for: "), "{}", printed.stderr);
}

#[test]
fn tasks_that_are_included_by_name_and_their_templates_are_looked_at() {
    let program = Program::new();
    program
        .file("play.yml", "- hosts: web\n  tasks:\n    - include_tasks: more.yml\n    - include_role: {name: web}\n");
    program.file("more.yml", "- set_fact: {a: 1}\n- debug: {msg: \"{{ a }}{{ b }}\"}\n");
    program.file("roles/web/tasks/main.yml", "- template: {src: x.j2, dest: /x}\n- template: {src: y.j2, dest: /y}\n");
    program.file("roles/web/templates/x.j2", "{% for c in d %}{{ c }}{% endfor %}\n{{ e | nofilter }}\n");
    let printed = program.file("hosts", "[web]\nh\n").run("lint -i hosts play.yml").expect(2);
    let expected = [
        "error[undefined-variable]: `b` is defined nowhere @more.yml:2:27",
        "error[undefined-variable]: `d` is defined nowhere @DIR/roles/web/templates/x.j2:1:13",
        "error[undefined-variable]: `e` is defined nowhere @DIR/roles/web/templates/x.j2:2:4",
        "error[invalid]: unknown filter `nofilter` @DIR/roles/web/templates/x.j2:2:8",
        "error[missing-file]: no file `y.j2` on the controller @roles/web/tasks/main.yml:2:19",
    ];
    let mut printed = found(&printed);
    printed.sort();
    let mut expected = expected.map(String::from);
    expected.sort();
    assert_eq!(printed, expected);
}

#[test]
fn handlers_that_never_run_are_found() {
    finds(
        "  tasks:
    - command: a
      notify: [one, topic]
    - command: b
      changed_when: false
      notify: one
  handlers:
    - {name: one, ping: }
    - {name: two, ping: }
    - {name: three, listen: topic, ping: }
    - {name: one, ping: }
",
        &[
            "warning[idle-notify]: `one` is never notified by this task, which never changes anything @play.yml:8:15",
            "warning[unused-handler]: nothing notifies the handler `two` @play.yml:11:14",
            "warning[duplicate-handler]: another handler is called `one` as well @play.yml:13:14",
        ],
    );
    let open = "  vars: {x: two}\n  tasks:\n    - {ping: , notify: '{{ x }}'}\n  handlers:\n    - {name: two, ping: }\n    - {name: one, ping: }\n";
    finds(open, &[]);
}

#[test]
fn tasks_that_fight_are_found() {
    finds(
        "  tasks:
    - file: {path: /a, state: directory, mode: '0755'}
    - copy: {dest: /a, content: x, mode: 0750}
    - copy: {dest: /b, content: one}
    - copy: {dest: /b, content: two}
    - lineinfile: {path: /c, regexp: '^x', line: x=1}
    - lineinfile: {path: /c, regexp: '^x', line: x=2}
    - lineinfile: {path: /c, line: y}
    - lineinfile: {path: /c, line: y, state: absent}
    - service: {name: d, enabled: true}
    - service: {name: d, enabled: no, state: stopped}
",
        &[
            "warning[fighting-tasks]: the mode of `/a` is set to 0750 here, and to 0755 before @play.yml:5:42",
            "warning[fighting-tasks]: the content of `/b` is another one than before @play.yml:7:33",
            "warning[fighting-tasks]: the line of this `regexp` of `/c` is set to `x=2` here, and to `x=1` before @play.yml:9:50",
            "warning[fighting-tasks]: this line of `/c` is set to absent here, and to present before @play.yml:11:36",
            "warning[fighting-tasks]: enabled of `d` is set to `false` here, and to `true` before @play.yml:13:35",
        ],
    );
    // Of one thing or another, on one host or another, or once after the other on purpose.
    finds(
        "  vars: {x: true}
  tasks:
    - file: {path: /a, state: directory, mode: '0755'}
    - file: {path: /a, state: directory, mode: '0700'}
      when: x
    - file: {path: /a/b, state: directory, mode: '0700'}
    - file: {path: /a, state: absent}
    - file: {path: /a, mode: '0400'}
      delegate_to: other
    - file: {path: '/{{ item }}', mode: '0600'}
      loop: [a]
    - block:
        - ping:
      rescue:
        - file: {path: /a, mode: '0400'}
    - service: {name: d, state: stopped}
    - service: {name: d, state: started}
    - file: {path: /a, mode: 0755}
",
        &[],
    );
}

#[test]
fn what_one_task_shows_is_found() {
    finds(
        "  vars: {tags: x}
  tasks:
    - user: {name: a, password: plain}
    - user: {name: b, password: '!'}
    - user: {name: c, password: plain}
      no_log: true
    - ping:
      when: \"{{ tags }} == 'x'\"
    - set_fact: {range: 1}
",
        &[
            "warning[reserved-name]: variable `tags` has the name of a keyword or of a function of templates @play.yml:3:16",
            "warning[literal-secret]: `password` stands here for everyone to read @play.yml:5:23",
            "warning[templated-condition]: a condition is an expression already, and this one has a template in it @play.yml:10:13",
            "warning[reserved-name]: variable `range` has the name of a keyword or of a function of templates @play.yml:11:18",
        ],
    );
}

#[test]
fn a_password_that_is_found_is_not_printed_once_more() {
    let printed = lint("  tasks:\n    - user: {name: a, password: geheimes}\n").expect(2);
    assert!(
        printed.stdout.contains("password: ********}") && !printed.stdout.contains("geheimes"),
        "{}",
        printed.stdout
    );
}

#[test]
fn a_host_that_the_inventory_lacks_is_found() {
    let program = Program::new();
    program.file("hosts", "h\n").file("play.yml", "- hosts: mial\n  tasks: [{ping: }]\n");
    let printed = program.run("lint -i hosts play.yml").expect(2);
    assert!(found(&printed)[0].starts_with("error[unknown-host]: "), "{}", printed.stdout);
    program.run("lint play.yml").expect(0);
}

#[test]
fn a_directory_is_a_role_all_of_whose_entry_points_are_looked_at() {
    let program = Program::new();
    program.file("roles/web/tasks/main.yml", "- import_tasks: sub.yml\n- import_role: {name: base}\n");
    program.file("roles/web/tasks/sub.yml", "- ping:\n  notify: reload\n");
    program.file("roles/web/tasks/other.yml", "- copy: {dst: /b}\n");
    program.file("roles/web/handlers/main.yml", "- {name: reload, ping: }\n");
    program.file("roles/base/tasks/main.yml", "- user: {name: a, password: b}\n");
    let printed = program.run("lint roles/web").expect(2);
    let expected = [
        "warning[literal-secret]: `password` stands here for everyone to read @roles/base/tasks/main.yml:1:19",
        "error[invalid]: `copy` needs the argument `dest` @roles/web/tasks/other.yml:1:3",
        "error[invalid]: unknown argument `dst` for `copy` @roles/web/tasks/other.yml:1:10",
    ];
    assert_eq!(found(&printed), expected, "{}", printed.stdout);
    assert_eq!(found(&program.run("lint ./roles/web").expect(2)), expected);
    let mut within = program.command();
    let within = program.printed(within.current_dir(program.path("roles/web")).args(["lint", "."]).output().unwrap());
    assert_eq!(found(&within.expect(2)).len(), expected.len());
}

#[test]
fn programs_read_one_document() {
    let program = Program::new();
    program.file(
        "play.yml",
        "- hosts: localhost\n  tasks:\n    - debug: {msg: \"{{ a }}\"}\n    - user: {name: a, password: b}\n",
    );
    let printed = program.run("lint --format json play.yml").expect(2);
    let document: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    let expected = serde_json::json!({"findings": [
        {"rule": "undefined-variable", "grade": "error", "message": "`a` is defined nowhere", "file": "play.yml", "line": 3,
         "column": 24, "hint": "where a run is given it, give it here as well: `-e a=...`"},
        {"rule": "literal-secret", "grade": "warning", "message": "`password` stands here for everyone to read", "file": "play.yml",
         "line": 4, "column": 23,
         "hint": "keep it in a vault (`cutover vault encrypt-string`), and give the task `no_log: true`"},
    ], "notes": []});
    assert_eq!((document, printed.stderr.as_str()), (expected, ""));
}

#[test]
fn what_cannot_be_read_is_no_finding() {
    let program = Program::new();
    program.file("empty/x", "");
    for (words, why) in [
        ("lint none.yml", "cannot read `none.yml`: there is no such file"),
        ("lint empty", "cannot read `empty`: it is a directory and no role"),
        ("lint -i nowhere empty/x", "inventory `nowhere` does not exist"),
    ] {
        let printed = program.run(words).expect(1);
        assert!(printed.stdout.is_empty() && printed.stderr.contains(why), "{}", printed.stderr);
    }
    // A file that can be read, and is no playbook, is one.
    program.run("lint empty/x").expect(2);
}

/// What is found in playbooks that are right, and is so: names that Ansible warns of as well, what is read again after it was
/// set to something else on purpose, and a variable that is the user's to give.
const MEANT: &[&str] = &["reserved-name", "`old_address` is defined nowhere", "corpus/system.yml"];

/// The playbooks of a directory, without files of tasks or variables.
fn playbooks(directory: &str) -> Vec<String> {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = std::fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    let begins =
        |line: &str| line.starts_with("- hosts:") || line.starts_with("  hosts:") || line.contains("import_playbook:");
    let is_playbook = |text: String| text.lines().any(begins);
    paths.retain(|path| path.extension().is_some_and(|end| end == "yml"));
    paths.retain(|path| is_playbook(std::fs::read_to_string(path).unwrap()));
    paths.sort();
    paths.into_iter().map(|path| path.display().to_string()).collect()
}

#[track_caller]
fn finds_nothing(flags: &[&str], paths: &[String]) {
    let words: Vec<&str> =
        ["lint"].into_iter().chain(flags.iter().copied()).chain(paths.iter().map(String::as_str)).collect();
    let printed = Program::new().run_words(&words);
    let found = found(&printed);
    let unexpected: Vec<&String> =
        found.iter().filter(|line| !MEANT.iter().any(|meant| line.contains(meant))).collect();
    assert!(unexpected.is_empty() && [0, 2].contains(&printed.status), "{unexpected:#?}{}", printed.stderr);
}

#[test]
fn playbooks_and_roles_that_are_right_have_no_findings() {
    let shipped = [playbooks("playbooks"), playbooks("playbooks/stages")].concat();
    let inventory = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventory/example.yml").display().to_string();
    finds_nothing(&["-i", &inventory], &shipped);
    let corpus = [playbooks("tests/corpus"), playbooks("tests/corpus/chains")].concat();
    assert!(shipped.len() > 10 && corpus.len() > 80, "{} {}", shipped.len(), corpus.len());
    let given = "root=/x socket=/y database=z old_database=z dns_port=53";
    let hosts = "one,two,old,new,mx,";
    finds_nothing(&["-i", hosts, "-e", given], &corpus);
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/roles");
    let roles = std::fs::read_dir(roles).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    finds_nothing(&[], &roles.collect::<Vec<_>>());
}
