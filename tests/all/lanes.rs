//! Strategies `free` and `host_pinned`: hosts that do not wait for each other.

use crate::program::{Printed, Program};
use crate::sshd::Sshd;

const HOSTS: &str = "[web]\na\nb\nc\n[all:vars]\nansible_connection=local\n";

fn play(text: &str, flags: &str) -> (Program, Printed) {
    let program = Program::new();
    program.file("hosts", HOSTS).file("play.yml", text);
    let printed = program.run(&format!("play -i hosts play.yml {flags}"));
    (program, printed)
}

/// Host `a` comes to the end of its first task only when `b` is at the end of the play, handlers and all.
const SLOW: &str = "- hosts: web
  gather_facts: no
  strategy: STRATEGY
  tasks:
    - shell: n=0; until [ -e {{ playbook_dir }}/last ]; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.05; done
      when: inventory_hostname == 'a'
    - include_tasks: more.yml
    - block:
        - fail: {msg: only c}
          when: inventory_hostname == 'c'
      rescue:
        - debug: {msg: rescued}
  handlers:
    - name: tell
      copy: {content: x, dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\"}
    - name: last
      file: {path: \"{{ playbook_dir }}/last\", state: touch}
      when: inventory_hostname == 'b'
      listen: tell
";

#[test]
fn a_slow_host_does_not_hold_up_the_others() {
    for strategy in ["free", "host_pinned"] {
        // What is one machine does one thing at a time.
        let (program, sshd) = (Program::new(), Sshd::start(""));
        let variables = format!(
            "ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}",
            sshd.port,
            sshd.target().keys.remove(0).display()
        );
        program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519"));
        program.file("hosts", &format!("[web]\na ansible_connection=local\nb {variables}\nc {variables}\n"));
        program.file("play.yml", &SLOW.replace("STRATEGY", strategy));
        program.file(
            "more.yml",
            "- debug: {msg: \"more of {{ inventory_hostname }}\"}\n  changed_when: true\n  notify: tell\n",
        );
        let printed = program.run("play -i hosts play.yml").expect(0);
        for host in ["a", "b", "c"] {
            assert_eq!(program.read(host), "x");
            assert!(printed.stdout.contains(&format!("more of {host}")), "{}", printed.stdout);
        }
        let order =
            |text: &str| printed.stdout.find(text).unwrap_or_else(|| panic!("no {text} in\n{}", printed.stdout));
        assert!(order("more of b") < order("more of a"), "{}", printed.stdout);
        assert!(printed.stdout.contains("rescued=1"), "{}", printed.stdout);
    }
}

#[test]
fn each_result_stands_below_the_name_of_its_task() {
    let tasks: String = (0..6)
        .map(|n| format!("    - name: task {n}\n      debug: {{msg: \"of {n} on {{{{ inventory_hostname }}}}\"}}\n"))
        .collect();
    let (_program, printed) =
        play(&format!("- hosts: web\n  gather_facts: no\n  strategy: free\n  tasks:\n{tasks}"), "");
    let mut task = String::new();
    let mut seen = 0;
    for line in printed.expect(0).stdout.lines() {
        if let Some(name) = line.strip_prefix("TASK [task ") {
            task = name.split(']').next().unwrap().into();
        }
        if let Some(rest) = line.trim().strip_prefix("\"msg\": \"of ") {
            assert!(rest.starts_with(&format!("{task} ")), "{line} below task {task}");
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

#[test]
fn a_pinned_host_goes_to_its_end_before_the_next_begins() {
    let text = "- hosts: web
  gather_facts: no
  strategy: host_pinned
  tasks:
    - debug: {msg: \"first {{ inventory_hostname }}\"}
    - debug: {msg: \"second {{ inventory_hostname }}\"}
";
    let (_program, printed) = play(text, "-f 1");
    let printed = printed.expect(0);
    let said: Vec<&str> = printed.stdout.lines().filter_map(|line| line.trim().strip_prefix("\"msg\": \"")).collect();
    let expected = ["first a\"", "second a\"", "first b\"", "second b\"", "first c\"", "second c\""];
    assert_eq!(said, expected);
}

#[test]
fn a_plan_of_a_free_play_is_applied_as_it_was_shown() {
    let text = "- hosts: web
  gather_facts: no
  strategy: free
  tasks:
    - copy: {content: \"{{ inventory_hostname }}\", dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\"}
      notify: tell
    - copy: {content: two, dest: \"{{ playbook_dir }}/{{ inventory_hostname }}.2\"}
  handlers:
    - name: tell
      copy: {content: told, dest: \"{{ playbook_dir }}/{{ inventory_hostname }}.h\"}
";
    let program = Program::new();
    program.file("hosts", HOSTS).file("play.yml", text);
    program.run("plan -i hosts play.yml -o made.plan").expect(0);
    program.run("apply made.plan").expect(0);
    for host in ["a", "b", "c"] {
        assert_eq!((program.read(host), program.read(&format!("{host}.h"))), (host.to_string(), "told".to_string()));
    }
    let again = program.run("play -i hosts play.yml").expect(0);
    assert!(!again.stdout.contains("changed: ["), "{}", again.stdout);
}

#[test]
fn a_strategy_that_is_not_there_is_refused() {
    let (_program, printed) = play("- hosts: web\n  strategy: fast\n  tasks: []\n", "");
    assert_ne!(printed.status, 0);
    assert!(printed.stderr.contains("strategy `fast` is not supported"), "{}", printed.stderr);
}

/// Counts itself in a file while it is at work, and how many it found there.
const COUNTED: &str = "
  gather_facts: no
  tasks:
    - shell: echo x >> here; wc -l < here; sleep 0.3; sed -i 1d here
      args: {chdir: \"{{ playbook_dir }}\"}
      throttle: \"{{ at_once }}\"
      register: found
    - debug: {msg: \"found {{ found.stdout }}\"}
";

#[test]
fn no_more_hosts_than_throttle_says_do_a_task_at_a_time() {
    for strategy in ["linear", "free"] {
        // What is one machine does one thing at a time, unless it has several names for its users.
        let (program, sshd) = (Program::new(), Sshd::start(""));
        let host = |name: &str| {
            format!(
                "{name} ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={} {}\n",
                sshd.port,
                sshd.target().keys[0].display(),
                format_args!("ansible_ssh_extra_args='-o ServerAliveInterval={}'", name.len()),
            )
        };
        program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519"));
        program.file("hosts", &["a", "bb", "ccc"].map(host).concat());
        program.file("play.yml", &format!("- hosts: all\n  strategy: {strategy}{COUNTED}"));
        let printed = program.run("play -i hosts play.yml -e at_once=1").expect(0);
        assert_eq!(printed.stdout.matches("found 1").count(), 3, "{}", printed.stdout);
    }
}

#[test]
fn a_failure_is_a_hosts_own_where_hosts_do_not_wait_for_each_other() {
    let (_program, printed) = play(
        "- hosts: web
  gather_facts: no
  strategy: free
  any_errors_fatal: true
  max_fail_percentage: 0
  tasks:
    - fail: {msg: only b}
      when: inventory_hostname == 'b'
    - command: echo after
- hosts: web
  gather_facts: no
  tasks:
    - debug: {msg: \"then {{ inventory_hostname }}\"}
",
        "",
    );
    let printed = printed.expect(2);
    for said in ["then a", "then c", "`any_errors_fatal` has no meaning under this strategy"] {
        assert!(printed.stdout.contains(said), "{}", printed.stdout);
    }
}
