//! A run as programs and mail read it: JSON lines, JUnit, one line.

use std::collections::BTreeSet;
use std::fs;

use quick_xml::events::Event as Xml;
use serde_json::Value;

use crate::program::Program;

const PLAY: &str = "- name: all of it
  hosts: all
  gather_facts: no
  tasks:
    - name: a file
      copy: {content: \"one\\n\", dest: \"{{ base }}/conf\", mode: '0640'}
      notify: note
    - name: a secret
      copy: {content: \"geheim\\n\", dest: \"{{ base }}/secret\", mode: '0600'}
      no_log: yes
    - name: each
      command: printf 'item {{ item }}\\033[31m <&>'
      loop: [a, b]
    - name: not here
      command: 'true'
      when: base == 'nowhere'
    - include_tasks: more.yml
    - name: tried
      block:
        - name: breaks
          command: 'false'
      rescue:
        - debug: {msg: caught}
    - name: no matter
      command: 'false'
      ignore_errors: yes
    - name: only the new one fails
      fail: {msg: this is why}
      when: inventory_hostname == 'new'
  handlers:
    - name: note
      command: touch {{ base }}/noted
- hosts: nobody
  tasks: []
";

fn pair() -> Program {
    let program = Program::new();
    let hosts = ["old", "new"].map(|name| {
        let base = program.path(name);
        fs::create_dir(&base).unwrap();
        format!("{name} ansible_connection=local ansible_password=geheim base={}\n", base.display())
    });
    program.file("hosts", &(hosts.concat() + "[nobody]\n")).file("site.yml", PLAY);
    program.file("more.yml", "- name: included\n  debug: {msg: here}\n");
    program
}

#[test]
fn every_line_of_a_run_for_programs_is_an_event_that_is_documented() {
    let program = pair();
    let checked = program.run("play -i hosts site.yml --check --output json").expect(2);
    let printed = program.run("play -i hosts site.yml --output json").expect(2);
    assert_eq!(printed.stderr, "");
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.md")).unwrap();
    for text in [&checked.stdout, &printed.stdout] {
        assert!(!text.contains("geheim"), "{text}");
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let event = value["event"].as_str().unwrap();
            let row = docs.lines().find(|row| row.starts_with(&format!("| `{event}` |")));
            let row = row.unwrap_or_else(|| panic!("`{event}` is not in docs/events.md"));
            let fields = value.as_object().unwrap().keys().filter(|name| *name != "event" && *name != "time");
            fields.for_each(|name| assert!(row.contains(&format!("`{name}`")), "`{name}` of `{event}` is not told"));
            assert!(value["time"].as_str().unwrap().ends_with('Z'), "{line}");
        }
    }
    let events: Vec<Value> = printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names = events.iter().map(|event| event["event"].as_str().unwrap());
    assert_eq!(names.clone().next(), Some("run"));
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "run", "playbook", "play", "no_hosts", "task", "planned", "finished", "included", "rescued", "recap"
        ])
    );
    let recap = events.last().unwrap();
    assert_eq!((&recap["event"], &recap["exit_code"]), (&"recap".into(), &2.into()));
    assert_eq!((&recap["hosts"]["new"]["failed"], &recap["hosts"]["old"]["failed"]), (&1.into(), &0.into()));
    let verdicts: BTreeSet<&str> = events.iter().filter_map(|event| event["verdict"].as_str()).collect();
    assert_eq!(verdicts, BTreeSet::from(["ok", "changed", "skipped", "failed", "ignored"]));
    assert!(checked.stdout.contains("\"verdict\":\"would_change\""));
    let failed = events.iter().find(|event| event["verdict"] == "failed" && event["result"]["msg"] == "this is why");
    assert_eq!(failed.unwrap()["host"], "new");
    let diff = events.iter().find(|event| event["event"] == "planned").unwrap()["diffs"][0].to_string();
    assert!(diff.contains("\"+one\""), "{diff}");
}

#[test]
fn a_job_of_cron_has_one_line_when_all_is_well_and_failures_in_full_when_not() {
    let program = pair();
    let failed = program.run("play -i hosts site.yml -q").expect(2);
    let text = "\nTASK [only the new one fails] *************************************************\n\
                fatal: [new]: FAILED! => {\"changed\": false, \"msg\": \"this is why\"}\n\
                error: this is why\n --> site.yml:27\n  27     - name: only the new one fails\n\
                FAILED: site.yml: failed on new; 9 tasks changed new, old (2 hosts)\n";
    assert_eq!((failed.stdout.as_str(), failed.stderr.as_str()), (text, ""));

    let play =
        "- hosts: all\n  gather_facts: no\n  tasks:\n    - copy: {content: \"two\\n\", dest: \"{{ base }}/conf\"}\n";
    program.file("well.yml", play);
    let line = |words: &str, status: i32| program.run(words).expect(status).stdout;
    let check = line("play -i hosts well.yml --check --quiet --exit-code", 3);
    assert_eq!(check, "would change: well.yml: 2 tasks would change new, old (2 hosts)\n");
    let run = line("play -i hosts well.yml -q --limit old", 0);
    assert_eq!(run, "changed: well.yml: 1 task changed old (1 host)\n");
    let again = line("play -i hosts well.yml -q --limit old --exit-code", 0);
    assert_eq!(again, "ok: well.yml: nothing changed (1 host)\n");

    program.file("gone", "mx ansible_host=127.0.0.1 ansible_port=1 base=/nowhere\n");
    let gone = line("play -i gone well.yml -q", 4);
    assert!(gone.starts_with("\nTASK [copy] ***") && gone.contains("fatal: [mx]: UNREACHABLE! => "), "{gone}");
    assert!(gone.ends_with("\nUNREACHABLE: well.yml: unreachable: mx; nothing changed (1 host)\n"), "{gone}");
    assert!(program.run("play -i hosts well.yml -q --confirm").expect(1).stderr.contains("cannot be used with"));
}

/// Reads a report: the top element's numbers, and how many elements of each name there are.
fn read(xml: &str) -> (String, Vec<String>) {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let (mut top, mut names) = (String::new(), Vec::new());
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {xml}")) {
            Xml::Start(element) | Xml::Empty(element) => {
                let name = element.name().as_ref().to_string();
                if names.is_empty() {
                    let attributes = element.attributes().map(|attribute| attribute.unwrap());
                    top = attributes.map(|one| format!("{}={} ", one.key.as_ref(), one.value)).collect();
                }
                names.push(name);
            }
            Xml::Eof => return (top, names),
            _ => {}
        }
    }
}

#[test]
fn a_run_and_a_plan_are_read_as_junit_xml() {
    let program = pair();
    program.run("play -i hosts site.yml --junit report.xml").expect(2);
    let xml = program.read("report.xml");
    let (top, names) = read(&xml);
    // Both hosts: a skip, a rescue, an ignored failure; and `new` fails, where `old` skips.
    assert_eq!(top, "name=site.yml tests=21 failures=1 errors=0 skipped=7 ", "{xml}");
    let count = |name: &str| names.iter().filter(|other| *other == name).count();
    assert_eq!((count("testsuite"), count("testcase"), count("failure"), count("skipped")), (2, 21, 1, 7));
    assert!(xml.contains("<failure message=\"this is why\" type=\"failed\">this is why</failure>"), "{xml}");
    assert!(xml.contains("name=\"each (a)\"") && xml.contains("&lt;&amp;&gt;") && !xml.contains('\u{1b}'), "{xml}");
    assert!(!xml.contains("geheim"));

    program.file("site.yml", &PLAY.replace("'0640'", "'0646'").replace("      no_log: yes\n", ""));
    let printed = program.run("plan -i hosts site.yml --limit old -o my.plan --junit check.xml").expect(0);
    assert!(printed.stdout.contains("PLAY RECAP"));
    read(&program.read("check.xml"));
    let shown = program.run("show my.plan --format junit").expect(0).stdout;
    let (top, _) = read(&shown);
    assert!(top.contains(" failures=1 errors=0 "), "{shown}");
    assert!(shown.contains("message=\"becomes world-writable\" type=\"dangerous\""), "{shown}");
    assert!(program.run("play -i hosts site.yml --junit no/where.xml").expect(1).stderr.contains("no report can be"));
}

#[test]
fn the_exit_code_tells_nothing_from_changes_from_failures_from_unreachable_hosts() {
    let program = pair();
    let play = |tasks: &str| format!("- hosts: all\n  gather_facts: no\n  tasks:\n    - {tasks}\n");
    program.file("change.yml", &play("copy: {content: \"x\\n\", dest: \"{{ base }}/x\", mode: '0600'}"));
    program.file("fail.yml", &play("fail: {msg: no}"));
    program.file(
        "unknown.yml",
        &play("shell: echo yes\n      register: said\n    - fail: {msg: no}\n      when: said.stdout == 'no'"),
    );
    program.file("gone", "mx ansible_host=127.0.0.1 ansible_port=1 base=/nowhere\nold ansible_connection=local\n");
    let code = |words: &str| program.run(words).status;
    for (command, change, nothing) in [("play --check", 3, 0), ("plan", 3, 0), ("play", 3, 0)] {
        assert_eq!(code(&format!("{command} -i hosts change.yml --exit-code")), change, "{command}");
        assert_eq!(code(&format!("{command} -i hosts fail.yml --exit-code")), 2, "{command}");
        assert_eq!(code(&format!("{command} -i gone --limit mx change.yml --exit-code")), 4, "{command}");
        // A failure outweighs an unreachable host, as it does for `ansible-playbook`.
        assert_eq!(code(&format!("{command} -i gone -e base=/nowhere change.yml --exit-code")), 2, "{command}");
        if command == "play" {
            assert_eq!(code(&format!("{command} -i hosts change.yml --exit-code")), nothing, "{command}");
        }
    }
    assert_eq!(code("play --check -i hosts change.yml --exit-code"), 0);
    assert_eq!(code("plan -i hosts change.yml -o empty.plan --exit-code"), 0);
    assert_eq!(code("show empty.plan --exit-code"), 0);
    // What a check cannot know may be a change.
    assert_eq!(code("plan -i hosts unknown.yml -o open.plan --exit-code"), 3);
    assert_eq!(code("show open.plan --exit-code"), 3);
    assert_eq!(code("show open.plan"), 0);
}

#[test]
fn a_run_that_has_been_is_told_again_to_any_reporter() {
    let program = pair();
    program.run("play -i hosts site.yml").expect(2);
    let told = program.run("log last --output json --junit log.xml").expect(0).stdout;
    assert!(!told.contains("geheim"), "{told}");
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tasks = events.iter().filter(|event| event["event"] == "task");
    let tasks: Vec<&str> = tasks.map(|event| event["name"].as_str().unwrap()).collect();
    // Commands that fail are in the journal, too: they ran, and may have changed something.
    assert_eq!(tasks, ["a file", "a secret", "each", "breaks", "no matter", "note"]);
    let planned = events.iter().find(|event| event["event"] == "planned").unwrap();
    assert!(planned["diffs"][0].to_string().contains("\"+one\""), "{planned}");
    let recap = events.last().unwrap();
    assert_eq!((&recap["hosts"]["old"]["changed"], &recap["hosts"]["old"]["failed"]), (&6.into(), &0.into()));
    let (top, names) = read(&program.read("log.xml"));
    assert!(top.contains("failures=0 "), "{top}");
    assert_eq!(names.iter().filter(|name| *name == "testcase").count(), 13, "{names:?}");
    let line = program.run("log last -q").expect(0).stdout;
    assert!(
        line.ends_with("tasks changed old, new (2 hosts)\n") || line.ends_with("changed new, old (2 hosts)\n"),
        "{line}"
    );
}

#[test]
fn settings_say_what_of_a_run_is_printed_and_where() {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n").file(
        "play.yml",
        "- hosts: a
  gather_facts: no
  tasks:
    - ping:
    - command: 'true'
      when: false
    - command: 'false'
      ignore_errors: yes
    - debug: {msg: {k: [v]}}
",
    );
    let run = |settings: &[(&str, &str)]| {
        let mut command = program.command();
        command.args("play -i hosts play.yml".split(' ')).envs(settings.iter().copied());
        program.printed(command.output().unwrap()).expect(0)
    };
    let all = run(&[("ANSIBLE_CALLBACK_RESULT_FORMAT", "yaml")]);
    assert!(all.stdout.contains("ok: [a] =>\n    msg:\n      k:\n      - v\n"), "{}", all.stdout);
    assert!(all.stdout.contains("TASK [ping]") && all.stdout.contains("skipping: [a]\n"), "{}", all.stdout);
    // A command that has failed has changed something, for all anybody knows.
    assert!(all.stdout.contains(": ok=3    changed=1 ") && all.stdout.contains(" ignored=1"), "{}", all.stdout);
    let few = run(&[
        ("ANSIBLE_DISPLAY_OK_HOSTS", "no"),
        ("ANSIBLE_DISPLAY_SKIPPED_HOSTS", "no"),
        ("ANSIBLE_DISPLAY_FAILED_STDERR", "yes"),
    ]);
    assert_eq!(few.stdout.matches("TASK [").count(), 1, "{}", few.stdout);
    assert!(!few.stdout.contains("fatal:") && few.stderr.contains("fatal: [a]: FAILED! =>"), "{}", few.stderr);
}
