//! Arguments that are templates as a whole, defaults of modules, and what is said of arguments that a module does not know.

use crate::program::{Printed, Program};

fn play(text: &str) -> Printed {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n").file("play.yml", text);
    program.run("play -i hosts play.yml")
}

#[test]
fn one_template_may_stand_for_all_arguments() {
    play(
        "- hosts: a
  gather_facts: no
  vars:
    true_that: {that: 1 == 1}
    false_that: {that: [1 == 0]}
    said: {msg: \"{{ 'from a template' }}\"}
    left_out: {msg: \"{{ omit }}\", var: broken}
    broken: \"{{ 1 / 0 }}\"
    right: fine
  tasks:
    - assert: \"{{ true_that }}\"
    - assert: \"{{ false_that }}\"
      register: wrong
      failed_when: wrong is success
    - debug: \"{{ said }}\"
      register: whole
    - debug: {var: right}
      args: \"{{ left_out }}\"
      register: merged
    - debug: \"{{ 'text' }}\"
      register: no_mapping
      ignore_errors: yes
    - assert:
        that:
          - whole.msg == 'from a template'
          - merged.right == 'fine'
          - no_mapping is failed
          - no_mapping.msg is contains 'Finalization of task args'
",
    )
    .expect(0);
}

#[test]
fn what_debug_is_to_show_is_an_expression_that_somebody_wrote() {
    play(
        "- hosts: a
  gather_facts: no
  vars: {k1: v1, name_of_it: k1, mapping: {a: 1}}
  tasks:
    - debug: {var: \"{{ item }}\"}
      loop: [k1, k1 | upper]
      register: items
    - debug: {var: \"{{ name_of_it }}\"}
      register: named
    - debug: {var: \"{{ 'k1' }}\"}
      register: made
      ignore_errors: yes
    - debug: {var: \"{{ mapping }}\"}
      register: no_text
      ignore_errors: yes
    - command: echo k1
      register: told
    - debug: {var: \"{{ told.stdout }}\"}
      register: foreign
      ignore_errors: yes
    - assert:
        that:
          - items.results[0].k1 == 'v1'
          - items.results[1]['k1 | upper'] == 'V1'
          - named.k1 == 'v1'
          - made is failed
          - made.msg is contains 'untrusted template or expression'
          - no_text.msg is contains 'is not a string and conversion is not allowed'
          - foreign.msg is contains 'untrusted template or expression'
",
    )
    .expect(0);
}

#[test]
fn defaults_of_a_module_may_be_a_template_and_are_weaker_than_args() {
    play(
        "- hosts: a
  gather_facts: no
  vars:
    of_debug: {msg: \"from {{ inventory_hostname }}\"}
    given: {msg: given}
  module_defaults: {debug: \"{{ of_debug }}\"}
  tasks:
    - debug:
      register: default
    - debug:
      args: \"{{ given }}\"
      register: args
    - debug: {msg: own}
      register: own
    - debug:
      module_defaults: {debug: {msg: weaker}}
      args: \"{{ given }}\"
      register: stronger
    - assert:
        that:
          - default.msg == 'from a'
          - args.msg == 'given'
          - own.msg == 'own'
          - stronger.msg == 'given'
",
    )
    .expect(0);
}

#[test]
fn what_manages_packages_may_be_a_variable_and_has_its_own_defaults() {
    play(
        "- hosts: a
  gather_facts: no
  tasks:
    - package: {name: dash}
      vars: {ansible_package_use: lola}
      ignore_errors: yes
      register: of_the_variable
    - package: {name: dash, state: present}
      module_defaults: {apt: {state: nonsense, name: x}}
    - package:
      module_defaults: {apt: {name: dash, state: present}}
      register: of_apt
    - assert:
        that:
          - of_the_variable is failed
          - of_the_variable.msg is contains 'Could not find a matching action for the \"lola\" package manager.'
          - of_apt is not changed
",
    )
    .expect(0);
}

#[test]
fn an_unknown_argument_is_named_in_ansibles_words() {
    play(
        "- hosts: a
  gather_facts: no
  tasks:
    - wait_for_connection: {foo: bar}
      register: waiting
      ignore_errors: yes
    - fail: {msg: x, foo: bar, baz: 1}
      register: failing
      ignore_errors: yes
    - debug: {msg: x, foo: bar}
      register: debugging
      ignore_errors: yes
    - ping: {foo: 1, bar: 2}
      register: pinging
      ignore_errors: yes
    - assert:
        that:
          - >-
            waiting.msg == 'Invalid options for wait_for_connection: foo'
          - >-
            failing.msg == 'Invalid options for fail: foo,baz'
          - >-
            debugging.msg == 'Unsupported parameters for (debug) module: foo. Supported parameters include: msg, var, verbosity.'
          - >-
            pinging.msg is contains 'Unsupported parameters for (ping) module: foo, bar.'
",
    )
    .expect(0);
}
