//! `async`, `poll` and `async_status`: commands that go on behind the connection, looked at where they run.

use std::time::{Duration, Instant};

use crate::program::Program;

fn program(tasks: &str) -> Program {
    let program = Program::new();
    let jobs = program.path("jobs");
    program.file("hosts", "a ansible_connection=local\n").file(
        "play.yml",
        &format!(
            "- hosts: a\n  gather_facts: no\n  environment:\n    ANSIBLE_ASYNC_DIR: {}\n  tasks:\n{tasks}",
            jobs.display()
        ),
    );
    program
}

fn jobs(program: &Program) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(program.path("jobs")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_command_that_is_polled_has_its_result_and_leaves_nothing() {
    let program = program(
        "    - shell: |
        cat; echo err >&2; exit 3
      args: {stdin: 'a secret'}
      async: 30
      poll: 1
      register: job
      failed_when: job.rc != 3
    - assert:
        that:
          - job.stdout == 'a secret' and job.stderr == 'err' and job.rc == 3
          - job.finished == 1 and job.started == 1 and job is finished
          - job.ansible_job_id is match('j[0-9]+[.][0-9]+')
          - job.cmd is defined and job.start is defined and job.delta is defined
",
    );
    program.run("play -i hosts play.yml").expect(0);
    assert_eq!(jobs(&program), [] as [String; 0]);
}

#[test]
fn a_command_that_nobody_waits_for_goes_on_after_the_run_and_can_be_asked_for() {
    let program = program(
        "    - shell: 'while [ ! -e go ]; do sleep 0.1; done; echo gone'
      args: {chdir: '{{ playbook_dir }}'}
      async: 60
      poll: 0
      register: job
    - async_status: {jid: '{{ job.ansible_job_id }}'}
      register: look
    - assert:
        that: [job.finished == 0, job is changed, look is not finished, look.results_file == job.results_file]
    - copy: {content: '{{ job.ansible_job_id }}', dest: '{{ playbook_dir }}/number'}
",
    );
    program.run("play -i hosts play.yml").expect(0);
    let number = std::fs::read_to_string(program.path("number")).unwrap();
    let state = || std::fs::read_to_string(program.path("jobs").join(&number)).unwrap();
    until(|| state().starts_with("running"));
    program.file("go", "");
    until(|| state().starts_with("finished 0"));
    program.file(
        "look.yml",
        &std::fs::read_to_string(program.path("play.yml")).unwrap().split("  tasks:").next().map_or_else(
            String::new,
            |head| {
                format!(
                    "{head}  tasks:
    - async_status: {{jid: '{number}'}}
      register: look
      until: look is finished
    - assert:
        that: [look.stdout == 'gone', look.rc == 0, look is changed]
    - async_status: {{jid: '{number}', mode: cleanup}}
    - async_status: {{jid: '{number}'}}
      register: missing
      failed_when: missing.msg != 'could not find job'
      when: not ansible_check_mode
"
                )
            },
        ),
    );
    program.run("play -i hosts look.yml --check").expect(0);
    assert!(jobs(&program).contains(&number), "a check has removed the job");
    program.run("play -i hosts look.yml").expect(0);
    assert_eq!(jobs(&program), [] as [String; 0]);
}

#[test]
fn a_job_is_ended_with_its_children_when_its_time_is_over() {
    let program = program(
        "    - shell: 'echo $$ >pid; sleep 600; echo never'
      args: {chdir: '{{ playbook_dir }}'}
      async: 1
      poll: 1
",
    );
    let printed = program.run("play -i hosts play.yml").expect(2);
    let message = "async task did not complete within the requested time - 1s";
    assert!(printed.stdout.contains(message), "{}", printed.stdout);
    let pid = std::fs::read_to_string(program.path("pid")).unwrap();
    until(|| !std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn other_modules_run_at_once_and_are_finished_and_a_check_starts_nothing() {
    let program = program(
        "    - file: {path: '{{ playbook_dir }}/made', state: touch}
      async: 30
      poll: 0
      register: job
    - async_status: {jid: '{{ job.ansible_job_id }}'}
      register: look
    - assert:
        that: [job is finished, look is finished, look is changed, look.dest is defined]
    - script: x.sh
      async: 10
      register: refused
      failed_when: \"'does not support async' not in refused.msg\"
    - command: touch ran
      args: {chdir: '{{ playbook_dir }}'}
      async: 30
      poll: 1
",
    );
    program.run("play -i hosts play.yml").expect(0);
    assert!(program.path("made").exists() && program.path("ran").exists());
    for name in ["made", "ran"] {
        std::fs::remove_file(program.path(name)).unwrap();
    }
    let printed = program.run("play -i hosts play.yml --check").expect(0);
    assert!(printed.stdout.contains("run: touch ran"), "{}", printed.stdout);
    assert!(!program.path("made").exists() && !program.path("ran").exists());
}
