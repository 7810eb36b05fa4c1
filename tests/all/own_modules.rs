//! Modules of the user's from a `library/`, in every protocol, run where the host is.

use crate::program::Program;

fn program(tasks: &str) -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n");
    program.file("play.yml", &format!("- hosts: a\n  gather_facts: no\n  tasks:\n{tasks}"));
    program
}

#[test]
fn each_protocol_gets_its_arguments_and_gives_its_result() {
    let program = program(
        "    - words: {name: 'two words', flag: yes, dest: '{{ playbook_dir }}/words'}
      register: words
    - asks:
        list: [1, 2]
      register: asks
      environment: {FROM_TASK: given}
    - within: name=x
      register: within
    - assert:
        that:
          - words.msg == 'two words True' and words is changed
          - asks.given.list == [1, 2] and asks.env == 'given' and asks is not changed
          - within.given.name == 'x'
    - broken:
      ignore_errors: yes
      register: broken
    - assert:
        that: [broken is failed, broken.module_stdout == 'no object', broken.rc == 4]
    - include_role: {name: r}
    - debug:
      when: false
    - ns.col.far:
      register: far
    - assert:
        that: far.msg == 'from afar'
",
    );
    program
        .file("library/words.sh", "#!/bin/sh\n. \"$1\"\necho \"$name\" >\"$dest\"\necho noise\nprintf '{\"changed\": true, \"msg\": \"%s %s\"}\\n' \"$name\" \"$flag\"\necho more\n")
        .file("library/asks", "#!/bin/sh\n# WANT_JSON\nprintf '{\"given\": %s, \"env\": \"%s\"}' \"$(cat \"$1\")\" \"$FROM_TASK\"\n")
        .file("library/within.sh", "#!/bin/sh\ncat <<'END'\n{\"given\": <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>}\nEND\n")
        .file("library/broken.sh", "#!/bin/sh\necho no object\nexit 4\n")
        .file("roles/r/library/of_role.sh", "#!/bin/sh\necho '{\"msg\": \"of the role\"}'\n")
        .file("roles/r/tasks/main.yml", "- of_role:\n  register: it\n- assert: {that: it.msg == 'of the role'}\n")
        .file("collections/ansible_collections/ns/col/plugins/modules/far.sh", "#!/bin/sh\necho '{\"msg\": \"from afar\"}'\n");
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(std::fs::read_to_string(program.path("words")).unwrap(), "two words\n");
}

#[test]
fn a_check_runs_only_what_says_that_it_can_be_checked() {
    let program = program(
        "    - unsafe_one: {dest: '{{ playbook_dir }}/unsafe'}
    - safe_one: {dest: '{{ playbook_dir }}/safe'}
      register: safe
    - assert:
        that: [safe is changed, safe.msg == 'looked']
      when: ansible_check_mode
",
    );
    let text = "#!/bin/sh\n. \"$1\"\n[ \"$_ansible_check_mode\" = True ] && { echo '{\"changed\": true, \"msg\": \"looked\"}'; exit; }\ntouch \"$dest\"\necho '{\"changed\": true}'\n";
    program.file("library/unsafe_one.sh", text);
    program.file("library/safe_one.sh", &text.replacen("\n", "\n# supports_check_mode=True\n", 1));
    program.run("play -i hosts play.yml --check").expect(0);
    assert!(!program.path("safe").exists() && !program.path("unsafe").exists());
    program.run("play -i hosts play.yml").expect(0);
    assert!(program.path("safe").exists() && program.path("unsafe").exists());
}

#[test]
fn a_module_that_needs_ansibles_python_is_refused_before_anything_runs() {
    let program = program("    - command: touch ran\n      args: {chdir: '{{ playbook_dir }}'}\n    - new_one:\n");
    program.file("library/new_one.py", "#!/usr/bin/python\nfrom ansible.module_utils.basic import AnsibleModule\n");
    let printed = program.run("play -i hosts play.yml");
    assert!(
        printed.stderr.contains("the module `new_one` needs Ansible's own library of Python"),
        "{}",
        printed.stderr
    );
    assert!(printed.stderr.contains("play.yml:6:7"), "{}", printed.stderr);
    assert!(!program.path("ran").exists());
}
