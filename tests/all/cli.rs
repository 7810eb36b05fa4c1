//! The command line as users see it: exact output, exit codes, and what is on disk afterwards.

use crate::program::Program;

const LOCAL: &str = "[all]\nhost ansible_connection=local\n";

#[test]
fn a_chain_of_tasks_is_checked_then_made_then_left_alone() {
    let program = Program::new();
    program.file("hosts", LOCAL).file("files/motd", "hello\n").file(
        "play.yml",
        "- hosts: all
  gather_facts: no
  tasks:
    - name: a directory
      file: {path: '{{ playbook_dir }}/out', state: directory, mode: '0750'}
    - name: a file in it
      copy: {src: motd, dest: '{{ playbook_dir }}/out/motd', mode: '0600'}
    - name: a line more
      lineinfile: {path: '{{ playbook_dir }}/out/motd', line: goodbye}
",
    );
    let check = program.run("play -i hosts play.yml --check --diff").expect(0);
    assert!(!program.path("out").exists(), "a check has made something");
    assert!(check.stdout.contains("would change: [host]"), "{}", check.stdout);
    assert!(check.stdout.contains("would-change=3"), "{}", check.stdout);

    let run = program.run("play -i hosts play.yml --diff").expect(0);
    assert_eq!(program.read("out/motd"), "hello\ngoodbye\n");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |name: &str| std::fs::metadata(program.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("out"), mode("out/motd")), (0o750, 0o600));
    assert_eq!(check.diffs(), run.diffs());

    let again = program.run("play -i hosts play.yml").expect(0);
    // `copy` would put the file back; the chain is not idempotent by itself, and says so.
    assert!(again.stdout.contains("changed=2"), "{}", again.stdout);
}

#[test]
fn output_is_in_ansibles_form() {
    let program = Program::new();
    program.file("hosts", LOCAL).file(
        "play.yml",
        "- name: greet
  hosts: all
  gather_facts: no
  tasks:
    - name: say it
      debug: {msg: \"hello {{ inventory_hostname }}\"}
    - name: not this time
      debug: {msg: no}
      when: false
    - command: 'true'
      changed_when: false
",
    );
    let printed = program.run("play -i hosts play.yml").expect(0);
    let stars = |title: &str| format!("\n{title} {}\n", "*".repeat(79 - title.len() - 1));
    let expected = [
        stars("PLAY [greet]"),
        stars("TASK [say it]"),
        "ok: [host] => {\n    \"msg\": \"hello host\"\n}\n".into(),
        stars("TASK [not this time]"),
        "skipping: [host]\n".into(),
        stars("TASK [command]"),
        "ok: [host]\n".into(),
        stars("PLAY RECAP"),
        "host                       : ok=2    changed=0    unreachable=0    failed=0    skipped=1    rescued=0    ignored=0\n\n".into(),
    ];
    assert_eq!(printed.stdout, expected.concat());
    assert_eq!(printed.stderr, "");
}

#[test]
fn all_errors_of_a_playbook_are_shown_at_once_and_nothing_runs() {
    let program = Program::new();
    program.file("hosts", LOCAL).file(
        "play.yml",
        "- hosts: all
  tasks:
    - name: first
      file: {path: '{{ playbook_dir }}/made', state: touch}
    - copy: {dst: /x, content: y}
    - name: filters
      debug: {msg: \"{{ 'x' | uper }}\"}
    - teplate: {src: a, dest: b}
",
    );
    let printed = program.run("play -i hosts play.yml").expect(4);
    assert_eq!(printed.stdout, "");
    for part in [
        "unknown argument `dst` for `copy`",
        "play.yml:5:",
        "did you mean `dest`?",
        "`uper`",
        "play.yml:7:",
        "teplate",
        "did you mean `template`?",
    ] {
        assert!(printed.stderr.contains(part), "no {part} in:\n{}", printed.stderr);
    }
    assert!(!program.path("made").exists());
}

#[test]
fn failed_and_unreachable_hosts_have_exit_codes_of_their_own() {
    let program = Program::new();
    program
        .file("hosts", LOCAL)
        .file("fail.yml", "- hosts: all\n  gather_facts: no\n  tasks:\n    - fail: {msg: on purpose}\n");
    let failed = program.run("play -i hosts fail.yml").expect(2);
    assert!(
        failed.stdout.contains("fatal: [host]: FAILED! => {\"changed\": false, \"msg\": \"on purpose\"}\n"),
        "{}",
        failed.stdout
    );
    // Port 1 on loopback: refused at once.
    program
        .file("far", "far ansible_host=127.0.0.1 ansible_port=1\n")
        .file("ping.yml", "- hosts: all\n  gather_facts: no\n  tasks:\n    - ping:\n");
    let unreachable = program.run("play -i far ping.yml").expect(4);
    assert!(unreachable.stdout.contains("fatal: [far]: UNREACHABLE!"), "{}", unreachable.stdout);
}

#[test]
fn a_playbook_that_cannot_be_read_has_the_exit_code_that_ansible_has() {
    let program = Program::new();
    program.file("hosts", LOCAL).file("twice.yml", "- hosts: all\n  vars: {foo: bar, foo: baz}\n  tasks: []\n");
    let read = |how: &str| {
        let mut command = program.command();
        command.args(["play", "-i", "hosts", "twice.yml"]).env("ANSIBLE_DUPLICATE_YAML_DICT_KEY", how);
        program.printed(command.output().unwrap())
    };
    let says = "Found duplicate mapping key 'foo'";
    assert!(read("error").expect(4).stderr.contains(says));
    assert!(read("warn").expect(0).stderr.contains(says));
    assert!(!read("ignore").expect(0).stderr.contains(says));
    program.run("play -i hosts gone.yml").expect(1);
}

#[test]
fn a_run_whose_output_nobody_reads_stops() {
    let program = Program::new();
    let tasks: String =
        (0..40).map(|n| format!("    - shell: sleep 0.05; echo {n} >> {{{{ playbook_dir }}}}/done\n")).collect();
    program.file("hosts", LOCAL).file("play.yml", &format!("- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}"));
    let mut child = program
        .command()
        .args(["play", "-i", "hosts", "play.yml"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The reader goes after the first line, as `| head -1` does.
    let mut first = [0; 8];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let done = std::fs::read_to_string(program.path("done")).unwrap_or_default();
    assert!(done.lines().count() < 20, "the run went on unseen:\n{done}");
}
