//! A run of playbooks that was killed or has failed goes on: nothing that was done is done again, and nothing is left out.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Printed, Program};
use crate::sshd::wait_for;

/// Files, commands that may run only once, results that later tasks need, conditions that their own work makes false, a
/// rescue, loops and handlers.
const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - stat: {path: DIR/conf}
      register: conf
    - name: only at first
      command: DIR/count first
      when: not conf.stat.exists
      register: first
      notify: after first
    - name: a file
      copy: {content: \"{{ first.stdout | default('counted first') }} {{ word }}\\n\", dest: DIR/conf, mode: '0640'}
      notify: reload
    - name: each
      command: DIR/count item-{{ item }}
      loop: [1, 2, 3]
      notify: reload
    - name: makes its own mark
      shell: DIR/count creates >DIR/mark
      args: {creates: DIR/mark}
      register: mark
      notify: marked
    - block:
        - name: fails
          shell: exit 3
      rescue:
        - command: DIR/count rescue
        - copy: {content: \"{{ ansible_failed_result.rc }}\\n\", dest: DIR/failed, mode: '0600'}
    - meta: flush_handlers
    - lineinfile: {path: DIR/conf, line: more}
      notify: reload
    - command: DIR/count same
    - command: DIR/count same
    - copy: {content: \"{{ first.rc | default(0) }} {{ mark is changed }}\\n\", dest: DIR/results, mode: '0600'}
  handlers:
    - name: reload
      command: DIR/count reload
    - name: after first
      command: DIR/count after-first
    - name: marked
      copy: {content: \"marked\\n\", dest: DIR/marked, mode: '0600'}
";

struct Site(Program);

impl Site {
    fn new(playbook: &str) -> Site {
        let program = Program::new();
        let host = program.path("host").display().to_string();
        program.file("host/count", &format!("#!/bin/sh\necho \"$*\" >>{host}/log\necho \"counted $*\"\n"));
        fs::set_permissions(program.path("host/count"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        program.file("hosts", "mx ansible_connection=local\n").file("site.yml", &playbook.replace("DIR", &host));
        Site(program)
    }

    /// How often each command has run, in the order of the first time.
    fn log(&self) -> Vec<String> {
        fs::read_to_string(self.0.path("host/log")).unwrap_or_default().lines().map(str::to_string).collect()
    }

    fn state(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.0.path("host")).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut found: Vec<_> = entries.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
        found.retain(|(name, _)| name != "count");
        found.sort();
        found
    }

    /// How often the journals have a command as done, or as taken for that.
    fn times_known(&self, word: &str) -> usize {
        let runs = fs::read_dir(self.0.path("state/runs")).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), lines)
        };
        let runs: Vec<(String, Vec<Value>)> = runs.map(read).collect();
        let decided = |run: &str, number: &Value| {
            let mut all = runs.iter().flat_map(|(_, lines)| lines).map(|line| &line["decision"]);
            all.any(|decision| decision["run"] == run && decision["number"] == *number && decision["done"] == true)
        };
        let known = runs.iter().flat_map(|(run, lines)| lines.iter().map(move |line| (run, lines, line)));
        let known = known.filter(|(run, lines, line)| {
            let change = line["change"]["run"].to_string();
            let is_of = change.contains(&format!("count {word}")) || change.contains(&format!("count\",\"{word}\""));
            let number = &line["number"];
            is_of && (lines.iter().any(|line| line["done"] == *number) || decided(run, number))
        });
        known.count()
    }

    fn finish(&self, words: &str) -> Printed {
        self.0.run(words)
    }
}

#[test]
fn a_run_of_playbooks_that_is_killed_at_any_moment_goes_on_to_the_same_end_and_runs_no_command_twice() {
    let start = "play -i hosts site.yml -e word=text";
    let clean = Site::new(PLAY);
    clean.finish(start).expect(0);
    let expected = clean.log();
    assert_eq!(expected.iter().filter(|line| *line == "reload").count(), 2, "{expected:?}");
    let mut random = 7u64;
    let (mut kills, mut doubts) = (0u64, 0);
    while kills < 40 {
        let site = Site::new(PLAY);
        let mut words = start.to_string();
        loop {
            let mut command = site.0.command();
            let output = || fs::File::create(site.0.path("output")).unwrap();
            let child = command.args(words.split(' ')).stdout(output()).stderr(output()).spawn();
            let mut child = child.unwrap();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(40 + (random >> 33) % (250 + kills)));
            if let Some(status) = child.try_wait().unwrap() {
                if status.code() == Some(0) {
                    break;
                }
                // A kill has met a command: the counter tells whether it ran.
                let said = site.0.read("output");
                assert!(said.contains("it is not known what became of these:"), "{said}");
                let ran = said.split("/count ").nth(1).and_then(|rest| rest.split(['`', ';', ' ', '\'']).next());
                let known = ran.map_or(0, |ran| site.times_known(ran));
                let times = site.log().iter().filter(|line| Some(line.as_str()) == ran).count();
                assert!(times == known || times == known + 1, "{said}: {times}, {known} known");
                words = format!("resume last -e word=text --doubtful {}", if times > known { "skip" } else { "run" });
                doubts += 1;
                continue;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            // What it has begun comes to its end first.
            assert!(wait_for(|| site.0.locks().is_empty()));
            let begun = fs::read_dir(site.0.path("state/runs")).is_ok_and(|mut runs| runs.next().is_some());
            words = if begun { "resume last -e word=text".into() } else { start.into() };
        }
        assert_eq!(site.log(), expected, "after {kills} kills");
        assert_eq!(site.state(), clean.state());
        assert!(site.finish("resume last -e word=text").expect(0).stderr.contains("has come to its end"));
    }
    assert!(doubts < kills, "{doubts} of {kills}");
}

#[test]
fn a_host_goes_on_with_the_task_that_it_has_failed_at() {
    let site = Site::new(
        "- hosts: all
  gather_facts: no
  tasks:
    - command: DIR/count one {{ word | length }}
    - shell: DIR/count two; test -e DIR/ok
    - import_tasks: more.yml
",
    );
    site.0.file("more.yml", &format!("- command: {} three\n", site.0.path("host/count").display()));
    site.finish("play -i hosts site.yml -e word=geheim").expect(2);
    fs::write(site.0.path("host/ok"), "").unwrap();
    // Values of `-e` may be secrets, and are not kept.
    let refused = site.finish("resume last").expect(1).stderr;
    assert!(refused.contains("was given `word` with `-e`, and its journal has no values of them"), "{refused}");
    let journal = fs::read_dir(site.0.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    assert!(!fs::read_to_string(&journal).unwrap().contains("geheim"));
    let playbook = site.0.read("site.yml");
    site.0.file("site.yml", &playbook.replace("two", "four"));
    let refused = site.finish("resume last -e word=geheim").expect(1).stderr;
    assert!(refused.contains("`DIR/site.yml` has changed since run "), "{refused}");
    site.0.file("site.yml", &playbook);
    let imported = site.0.read("more.yml");
    site.0.file("more.yml", &imported.replace("three", "four"));
    let refused = site.finish("resume last -e word=geheim").expect(1).stderr;
    assert!(refused.contains("`DIR/more.yml` has changed since run "), "{refused}");
    site.0.file("more.yml", &imported);
    // From any directory.
    let mut command = site.0.command();
    command.current_dir("/").args(["resume", "last", "-e", "word=geheim"]);
    site.0.printed(command.output().unwrap()).expect(0);
    assert_eq!(site.log(), ["one 6", "two", "two", "three"]);
}

#[test]
fn of_a_command_whose_result_was_hidden_the_user_decides() {
    let site = Site::new(
        "- hosts: all
  gather_facts: no
  tasks:
    - name: secret
      shell: DIR/count geheim
      no_log: yes
    - command: test -e DIR/ok
",
    );
    site.finish("play -i hosts site.yml").expect(2);
    fs::write(site.0.path("host/ok"), "").unwrap();
    let refused = site.finish("resume last").expect(1).stderr;
    assert!(refused.contains("(hidden): it has run, and what it printed was not kept") && !refused.contains("geheim"));
    site.finish("resume last --doubtful skip").expect(0);
    assert_eq!(site.log(), ["geheim"]);
}

#[test]
fn what_an_include_brings_again_is_told_apart_and_no_condition_is_taken_for_held_that_was_not() {
    let site = Site::new(
        "- hosts: all
  gather_facts: no
  tasks:
    - include_tasks: each.yml
      loop: [a, b, c]
      loop_control: {loop_var: user}
    - name: stops
      command: test -e DIR/go
",
    );
    let host = site.0.path("host").display().to_string();
    site.0.file(
        "each.yml",
        &"- {command: 'DIR/count all {{ user }}'}\n- {command: 'DIR/count only {{ user }}', when: user == 'a'}\n\
          - {command: 'DIR/count hidden', no_log: true, when: user == 'b'}\n"
            .replace("DIR", &host),
    );
    site.finish("play -i hosts site.yml").expect(2);
    site.0.file("host/go", "");
    site.finish("resume last --doubtful skip").expect(0);
    assert_eq!(site.log(), ["all a", "only a", "all b", "hidden", "all c"]);
}

#[test]
fn a_command_of_an_include_that_has_run_is_not_run_again_because_another_visit_has_failed() {
    let site = Site::new("- hosts: all\n  gather_facts: no\n  tasks:\n    - {include_tasks: each.yml, loop: [a, b]}\n");
    let host = site.0.path("host").display().to_string();
    let each = "- {shell: 'DIR/count {{ item }} && test {{ item }} = a -o -e DIR/go'}\n".replace("DIR", &host);
    site.0.file("each.yml", &each);
    site.finish("play -i hosts site.yml").expect(2);
    site.0.file("host/go", "");
    site.finish("resume last").expect(0);
    assert_eq!(site.log(), ["a", "b", "b"]);
}

#[test]
fn a_file_that_commands_have_edited_since_it_was_made_is_not_made_again() {
    let site = Site::new(
        "- hosts: all
  gather_facts: no
  tasks:
    - copy: {content: \"one\\n\", dest: DIR/conf, mode: '0640'}
    - shell: echo two >>DIR/conf
    - name: stops
      command: test -e DIR/go
    - copy: {content: \"after\\n\", dest: DIR/after, mode: '0640'}
",
    );
    site.finish("play -i hosts site.yml").expect(2);
    site.0.file("host/go", "");
    site.finish("resume last").expect(0);
    assert_eq!((site.0.read("host/conf"), site.0.read("host/after")), ("one\ntwo\n".into(), "after\n".into()));
}

#[test]
fn a_run_that_has_been_gone_on_with_or_taken_back_is_not_gone_on_with_again() {
    let site = Site::new(
        "- hosts: all
  gather_facts: no
  tasks:
    - copy: {content: \"one\\n\", dest: DIR/conf, mode: '0640'}
    - command: DIR/count {{ lookup('pipe', 'date +%N') }}
    - name: stops
      command: test -e DIR/go
",
    );
    site.finish("play -i hosts site.yml").expect(2);
    let runs = site.finish("runs").expect(0).stdout;
    let id = runs.split(' ').next().unwrap().to_string();
    site.finish("undo last").expect(0);
    let refused = site.finish(&format!("resume {id}")).expect(1).stderr;
    assert!(refused.contains("has been taken back, or a part of it, by run"), "{refused}");

    site.finish("play -i hosts site.yml").expect(2);
    let id = site.finish("runs").expect(0).stdout.lines().last().unwrap().split(' ').next().unwrap().to_string();
    let ran = site.log().len();
    site.0.file("host/go", "");
    let resumed = site.finish("resume last").expect(0);
    // Its text is another each time, and it has run all the same.
    assert_eq!(site.log().len(), ran);
    assert!((resumed.stdout.clone() + &resumed.stderr).contains(", and is not run again"), "{}", resumed.stdout);
    let refused = site.finish(&format!("resume {id}")).expect(1).stderr;
    assert!(refused.contains("has been gone on with by run"), "{refused}");
}

/// Goes on twice with a run whose first task wrote a file that its third has added to.
fn what_a_file_has_after_two_resumes(no_log: bool, was_seen: bool) -> String {
    let site = Site::new(&format!(
        "- hosts: all
  gather_facts: no
  tasks:
    - copy: {{content: \"text\\n\", dest: DIR/conf, mode: '0640'}}
      no_log: {no_log}
    - command: test -e DIR/first
    - lineinfile: {{path: DIR/conf, line: more}}
    - command: test -e DIR/second
"
    ));
    site.finish("play -i hosts site.yml").expect(2);
    let journal = fs::read_dir(site.0.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    let told = fs::read_to_string(&journal).unwrap();
    let seen = |line: &&str| was_seen || !line.starts_with("{\"done\":1");
    let kept: String = told.lines().filter(seen).map(|line| format!("{line}\n")).collect();
    assert_eq!(kept == told, was_seen, "{told}");
    fs::write(&journal, kept).unwrap();
    for mark in ["host/first", "host/second"] {
        fs::write(site.0.path(mark), "").unwrap();
        site.finish("resume last").expect(if mark == "host/first" { 2 } else { 0 });
    }
    site.0.read("host/conf")
}

#[test]
fn what_a_later_task_has_added_to_a_file_stays_whoever_saw_the_file_made() {
    for (no_log, was_seen) in [(false, true), (false, false), (true, true), (true, false)] {
        let text = what_a_file_has_after_two_resumes(no_log, was_seen);
        assert_eq!(text, "text\nmore\n", "no_log {no_log}, seen {was_seen}");
    }
}
