//! Plans: saved, shown, applied exactly or refused, and taken back.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{Printed, Program};
use crate::sshd::{Sshd, make_key, wait_for};

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - name: a directory
      file: {path: \"{{ base }}/etc\", state: directory, mode: '0750'}
    - name: a file in it
      copy: {content: \"one\\n\", dest: \"{{ base }}/etc/conf\", mode: '0640', force: \"{{ fresh }}\"}
      notify: note
    - name: a line of that file
      lineinfile: {path: \"{{ base }}/etc/conf\", line: two}
    - name: a mode
      file: {path: \"{{ base }}/there\", mode: '0600'}
  handlers:
    - name: note
      command: touch {{ base }}/noted
";

/// Two hosts, both directories of this machine.
fn pair(playbook: &str) -> Program {
    let program = Program::new();
    let hosts = ["old", "new"].map(|name| {
        let base = program.path(name);
        fs::create_dir(&base).unwrap();
        fs::write(base.join("there"), "as it was\n").unwrap();
        fs::set_permissions(base.join("there"), fs::Permissions::from_mode(0o644)).unwrap();
        format!("{name} ansible_connection=local base={} fresh=yes\n", base.display())
    });
    program.file("hosts", &hosts.concat()).file("site.yml", playbook);
    program
}

fn mode(program: &Program, name: &str) -> u32 {
    fs::metadata(program.path(name)).unwrap().permissions().mode() & 0o7777
}

fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in\n{text}");
}

fn all(printed: &Printed) -> String {
    format!("{}{}", printed.stdout, printed.stderr)
}

#[test]
fn what_is_planned_is_shown_applied_exactly_and_then_nothing_is_left() {
    let program = pair(PLAY);
    let planned = program.run("plan -i hosts site.yml -o move.plan --exit-code").expect(3);
    has(&planned.stderr, "plan: 10 changes on 2 hosts\nsaved: ");
    assert!(!program.path("new/etc").exists() && mode(&program, "new/there") == 0o644);
    assert_eq!(mode(&program, "move.plan"), 0o600);

    let shown = program.run("show move.plan --exit-code").expect(3);
    // What is the same on both is shown once.
    let lines = |printed: &Printed| -> BTreeSet<String> {
        let lines = printed.stdout.lines().filter(|line| line.starts_with(['+', '-', '@', '!', ' ']));
        lines.map(|line| line.replace("/new", "/old")).collect()
    };
    assert_eq!(lines(&shown), lines(&planned));
    has(&shown.stdout, "old                        : 3 files, 1 mode, 1 command\nnew                        : ");

    // The playbook is not needed any more, and is not what decides.
    program.file("site.yml", "- hosts: all\n  tasks: [{fail: {}}]\n");
    let applied = program.run("apply move.plan").expect(0);
    has(&applied.stderr, "note: `DIR/site.yml` has changed since; the plan is applied as it was made");
    for host in ["old", "new"] {
        assert_eq!(program.read(&format!("{host}/etc/conf")), "one\ntwo\n");
        assert_eq!(mode(&program, &format!("{host}/etc/conf")), 0o640);
        assert_eq!(mode(&program, &format!("{host}/etc")), 0o750);
        assert_eq!(mode(&program, &format!("{host}/there")), 0o600);
        assert!(program.path(&format!("{host}/noted")).exists());
    }
    program.file("site.yml", PLAY);
    let again = program.run("plan -i hosts site.yml --exit-code -e fresh=no").expect(0);
    has(&again.stderr, "plan: nothing to change");
    // A used plan is stale, and it is said by how much.
    has(&program.run("apply move.plan").expect(2).stdout, "    +two\n");
    has(&program.run("apply move.plan").expect(2).stdout, "it is left alone");
}

#[test]
fn a_host_that_has_moved_on_is_left_alone_and_the_others_go_on() {
    let program = pair(PLAY);
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    fs::set_permissions(program.path("old/there"), fs::Permissions::from_mode(0o604)).unwrap();
    let applied = program.run("apply move.plan").expect(2);
    has(&applied.stdout, "\nthe host is no longer as it was when the plan was made");
    has(&applied.stdout, "`DIR/old/there`\n  planned from: -rw-r--r-- 0644 ");
    has(&applied.stdout, "found: -rw----r-- 0604 ");
    has(&applied.stdout, "[WARNING]: not applied: 5 steps on `old`");
    assert!(!program.path("old/etc").exists() && !program.path("old/noted").exists());
    assert_eq!(program.read("new/etc/conf"), "one\ntwo\n");
}

#[test]
fn a_plan_that_was_cut_edited_or_is_newer_is_refused_before_any_host_is_touched() {
    let program = pair(PLAY);
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let text = program.read("move.plan");
    let refused = |plan: String, why: &str| {
        program.file("other.plan", &plan);
        let printed = program.run("apply other.plan").expect(1);
        has(&printed.stderr, why);
        assert!(!program.path("new/etc").exists());
    };
    let lines: Vec<&str> = text.lines().collect();
    refused(lines[..lines.len() - 1].join("\n") + "\n", "the plan ends early: a part of the file is missing");
    refused(text[..text.len() / 2].to_string(), "`other.plan`, line ");
    refused(text.replace("0750", "0777").replace("488", "511"), "its digest does not fit");
    refused(lines[..2].join("\n") + "\n" + &lines[3..].join("\n") + "\n", "its digest does not fit");
    refused(text.replacen("\"format\":1", "\"format\":2", 1), "the plan has format 2, of Cutover ");
    refused(text.clone() + "{}\n", "something stands after the plan's end");
    refused("{}\n".into(), "this is no plan");
    refused(String::new(), "the plan ends early");
    has(&program.run("apply no.plan").expect(1).stderr, "the plan `no.plan` cannot be read");
}

#[test]
fn what_no_log_hides_is_kept_with_the_vault_password_alone() {
    let task = "    - name: a secret\n      copy: {content: \"geheim\\n\", dest: \"{{ base }}/secret\", mode: '0600'}\n      no_log: true\n";
    let program = pair(&format!("- hosts: all\n  gather_facts: no\n  tasks:\n{task}"));
    let refused = program.run("plan -i hosts site.yml -o move.plan").expect(1);
    has(&refused.stderr, "task `a secret` (site.yml:4) changes what may not be shown");
    assert!(!program.path("move.plan").exists());

    program.file("pw", "pass word\n").file("wrong", "another\n");
    program.run("plan -i hosts site.yml -o move.plan --vault-password-file pw").expect(0);
    let saved = program.read("move.plan");
    assert!(!saved.contains("geheim") && !saved.contains("Z2VoZWlt") && saved.contains("$ANSIBLE_VAULT;1.1;AES256"));
    for format in ["human", "markdown", "html", "json"] {
        for password in ["", " --vault-password-file pw"] {
            let shown = program.run(&format!("show move.plan --format {format}{password}")).expect(0).stdout;
            assert!(shown.contains("secret") && !shown.contains("geheim"), "{shown}");
        }
    }
    has(&program.run("apply move.plan").expect(1).stderr, "the changes of `a secret` (site.yml:4) are encrypted");
    let wrong = program.run("apply move.plan --vault-password-file wrong").expect(1);
    has(&wrong.stderr, "the vault password is not the one that this was encrypted with");
    let applied = program.run("apply move.plan --vault-password-file pw").expect(0);
    assert!(!all(&applied).contains("geheim"));
    assert_eq!(program.read("new/secret"), "geheim\n");
}

#[test]
fn what_only_a_run_can_decide_is_open_and_has_to_be_dealt_with() {
    let program = pair(
        "- hosts: new
  gather_facts: no
  tasks:
    - name: ask
      command: echo yes
      register: said
    - name: depends
      file: {path: \"{{ base }}/there\", mode: '0600'}
      when: said.stdout == 'yes'
    - name: judged
      command: touch {{ base }}/judged
      register: touched
      failed_when: touched.rc == 7
    - name: sure
      file: {path: \"{{ base }}\", mode: '0710'}
    - name: at the same path
      file: {path: \"{{ base }}/there\", mode: '0640'}
",
    );
    let planned = program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let why = "needs what task `depends` (site.yml:7) does to `DIR/new/there`";
    has(&planned.stderr, &format!("open: `at the same path` on new (site.yml:16): {why}"));
    has(&planned.stderr, "open: `depends` on new (site.yml:7): needs `said` from task `ask` (site.yml:4)");
    has(&planned.stderr, "open: `judged` on new (site.yml:10): `failed_when` (site.yml:13) needs its result");
    let refused = program.run("apply move.plan").expect(1);
    has(&refused.stderr, "the plan has steps that only a run can decide:\n");
    has(&refused.stderr, "`depends` on new (site.yml:7): needs `said`");
    assert_eq!(mode(&program, "new/there"), 0o644);
    has(&program.run("apply move.plan --open skip --limit nwe").expect(1).stderr, "did you mean `new`?");
    let applied = program.run("apply move.plan --open skip --limit new").expect(0);
    has(&applied.stdout, "unknown: [new] => left open: needs `said`");
    assert_eq!((mode(&program, "new"), mode(&program, "new/there")), (0o710, 0o644));
    assert!(!program.path("new/judged").exists());
}

#[test]
fn a_run_is_listed_told_and_taken_back_and_what_cannot_be_is_named() {
    let program = pair(PLAY);
    program.file("new/etc/conf", "old text\n");
    fs::set_permissions(program.path("new/etc"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(program.path("new/etc/conf"), fs::Permissions::from_mode(0o604)).unwrap();
    program.run("play -i hosts site.yml").expect(0);
    assert_eq!(program.read("new/etc/conf"), "one\ntwo\n");

    let listed = program.run("runs").expect(0).stdout;
    has(&listed, "  ok           10 changes on new, old  site.yml");
    let id = listed.split_whitespace().next().unwrap().to_string();
    let told = program.run(&format!("log {id}")).expect(0).stdout;
    has(&told, "1. `a directory` on `");
    has(&told, "+one");

    let shown = program.run("undo last --check").expect(0);
    has(&shown.stdout, "-two");
    assert_eq!(program.read("new/etc/conf"), "one\ntwo\n");
    let undone = program.run("undo last").expect(0);
    has(&undone.stderr, "not taken back: `new`: `touch DIR/new/noted`\n  what a command has done is not known");
    assert!(!program.path("old/etc").exists());
    assert_eq!(program.read("new/etc/conf"), "old text\n");
    assert_eq!(mode(&program, "new/etc/conf"), 0o604);
    assert_eq!(mode(&program, "new/etc"), 0o755);
    assert_eq!(mode(&program, "new/there"), 0o644);
    let twice = program.run(&format!("undo {id}")).expect(0).stderr;
    has(&twice, "8 changes have been taken back before\n");
    has(&twice, "nothing to take back\n");
    // The undo can be taken back itself, and then there is something to take back again.
    program.run("undo last").expect(0);
    assert_eq!(program.read("new/etc/conf"), "one\ntwo\n");
    program.run(&format!("undo {id}")).expect(0);
    assert_eq!(program.read("new/etc/conf"), "old text\n");
    has(&program.run("undo no-such-run").expect(1).stderr, "`cutover runs --all` lists them");
}

#[test]
fn what_was_hidden_is_taken_back_with_the_vault_password_alone() {
    let tasks = "    - name: a secret\n      copy: {content: \"geheim\\n\", dest: \"{{ base }}/there\"}\n      no_log: true\n    \
                 - name: a hash\n      lineinfile: {path: \"{{ base }}/users/poppasswd\", regexp: '^ann:', line: 'ann:neu:7'}\n";
    let program = pair(&format!("- hosts: new\n  gather_facts: no\n  tasks:\n{tasks}"));
    program.file("new/users/poppasswd", "ann:vorher:7\n").file("pw", "pass word\n").file("wrong", "another\n");
    let without = program.run("play -i hosts site.yml").expect(0);
    let undone = program.run("undo last").expect(0);
    has(&undone.stderr, "its content was hidden, and the run had no vault password to keep it with");
    assert_eq!(
        (program.read("new/there"), program.read("new/users/poppasswd")),
        ("geheim\n".into(), "ann:neu:7\n".into())
    );

    program.file("new/there", "as it was\n").file("new/users/poppasswd", "ann:vorher:7\n");
    let with = program.run("play -i hosts site.yml --vault-password-file pw").expect(0);
    let told = [all(&without), all(&undone), all(&with), all(&program.run("log last").expect(0))].concat();
    let state = fs::read_dir(program.path("state/runs")).unwrap().flatten();
    let kept: String = state.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect();
    for secret in ["geheim", "vorher", "as it was", "Z2VoZWlt", "YW5uOnZvcmhlcjo3"] {
        assert!(!told.contains(secret) && !kept.contains(secret), "{secret}: {told}\n{kept}");
    }
    has(&program.run("undo last").expect(1).stderr, "cannot be read without the vault password");
    has(&program.run("undo last --vault-password-file wrong").expect(1).stderr, "the vault password is not the one");
    let undone = program.run("undo last --vault-password-file pw").expect(0);
    assert!(!all(&undone).contains("vorher") && !all(&undone).contains("as it was"), "{}", all(&undone));
    assert_eq!(
        (program.read("new/there"), program.read("new/users/poppasswd")),
        ("as it was\n".into(), "ann:vorher:7\n".into())
    );
}

#[test]
fn only_a_part_of_a_run_is_taken_back_where_that_is_asked_for() {
    let program = pair(PLAY);
    program.run("play -i hosts site.yml").expect(0);
    program.run_words(&["undo", "last", "--host", "new", "--task", "a mode"]).expect(0);
    assert_eq!((mode(&program, "new/there"), mode(&program, "old/there")), (0o644, 0o600));
    assert_eq!(program.read("new/etc/conf"), "one\ntwo\n");
    // The rest of it can be taken back too, by its own id: the newest run is the undo.
    let listed = program.run("runs").expect(0).stdout;
    let id = listed.split_whitespace().next().unwrap();
    has(&program.run(&format!("undo {id}")).expect(0).stderr, "1 change has been taken back before\n");
    assert_eq!((mode(&program, "new/there"), mode(&program, "old/there")), (0o644, 0o644));
    assert!(!program.path("new/etc").exists() && !program.path("old/etc").exists());
}

#[test]
fn a_run_that_is_to_be_confirmed_makes_what_it_has_shown_or_nothing() {
    let program = pair(PLAY);
    let answering = |answer: &str| {
        let words = ["play", "-i", "hosts", "site.yml", "--confirm"];
        let mut command = program.command();
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        program.printed(child.wait_with_output().unwrap())
    };
    for answer in ["", "y\n", "no\n"] {
        let refused = answering(answer).expect(1);
        has(&refused.stderr, "plan: 10 changes on 2 hosts\napply this? Only `yes` is a yes: nothing was changed");
        assert!(!program.path("new/etc").exists());
    }
    let confirmed = answering("yes\n").expect(0);
    has(&confirmed.stdout, "would change: [new]");
    has(&confirmed.stdout, "changed: [new]");
    assert_eq!(program.read("new/etc/conf"), "one\ntwo\n");
}

#[test]
fn a_plan_reaches_its_hosts_as_the_check_did_and_holds_no_password() {
    let sshd = Sshd::start("");
    let program = Program::new();
    let key = program.path("key");
    make_key("ed25519", &key);
    sshd.authorize(&key);
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519"));
    let base = program.path("base").display().to_string();
    let line =
        |more: &str| format!("mx ansible_host=127.0.0.1 ansible_port={} ansible_password=geheim {more}\n", sshd.port);
    program.file("hosts", &line(""));
    program.file(
        "site.yml",
        &format!(
            "- hosts: all\n  gather_facts: no\n  tasks:\n    - file: {{path: {base}, state: directory, mode: '0700'}}\n"
        ),
    );
    program.run(&format!("plan -i hosts site.yml --private-key {} -o move.plan", key.display())).expect(0);
    assert!(!program.read("move.plan").contains("geheim"));
    // The key was a flag of `plan`, and is the plan's; what the inventory says by now is weaker.
    program.file("hosts", &line("ansible_user=nobody-is-this"));
    let applied = program.run("apply move.plan").expect(0);
    has(&applied.stdout, "changed: [mx]");
    assert_eq!(mode(&program, "base"), 0o700);
}

#[test]
fn a_reviewer_sees_what_is_the_same_on_many_hosts_once_and_what_is_dangerous_first() {
    let program = pair(
        "- hosts: all
  gather_facts: no
  tasks:
    - name: <b>open</b> to all
      file: {path: \"{{ base }}/there\", mode: '0666'}
    - name: the same
      copy: {content: \"``` <script>\\n\", dest: \"{{ base }}/never\", mode: '0644'}
",
    );
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let json: Value = serde_json::from_str(&program.run("show move.plan --format json").expect(0).stdout).unwrap();
    assert_eq!((&json["changes"], json["steps"].as_array().unwrap().len()), (&4.into(), 4));
    assert_eq!(json["dangers"], json!({"becomes world-writable: <b>open</b> to all (site.yml:4)": ["old", "new"]}));

    let human = program.run("show move.plan").expect(0).stdout;
    has(&human, "\n1 dangerous:\n! becomes world-writable: <b>open</b> to all (site.yml:4): old, new\n\nTASK ");
    has(&human, "would change: same for 2 hosts, but for the name: old, new\n");
    has(&human, "old                        : 1 danger, 1 file, 1 mode\n");

    let markdown = program.run("show move.plan --format markdown").expect(0).stdout;
    has(&markdown, "## Cutover plan: 4 changes on 2 hosts");
    has(
        &markdown,
        "### 1 dangerous\n\n- :warning: becomes world-writable: \\<b\\>open\\</b\\> to all (site.yml:4) (old, new)\n",
    );
    has(&markdown, "| host | dangers | files | modes | open |\n|---|---:|---:|---:|---:|\n| old | 1 | 1 | 1 | 0 |");
    has(&markdown, "<summary>same for 2 hosts, but for the name: old, new</summary>\n\n````diff\n");
    has(&markdown, "### \\<b\\>open\\</b\\> to all");

    let html = program.run("show move.plan --format html").expect(0).stdout;
    has(&html, ">same for 2 hosts, but for the name: old, new</summary>");
    has(&html, "&lt;b&gt;open&lt;/b&gt; to all");
    has(&html, "+``` &lt;script&gt;");
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("src="));
}

/// Many small changes of all kinds that can be looked at, on two hosts.
fn long_play() -> String {
    let mut tasks = String::new();
    for number in 0..8 {
        tasks += &format!(
            "    - file: {{path: \"{{{{ base }}}}/d{number}\", state: directory, mode: '0750'}}
    - copy: {{content: \"text {number}\\n\", dest: \"{{{{ base }}}}/d{number}/f\", mode: '0640'}}
    - lineinfile: {{path: \"{{{{ base }}}}/there\", line: line {number}}}
    - file: {{src: d{number}, dest: \"{{{{ base }}}}/l{number}\", state: link}}
"
        );
    }
    format!("- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}")
}

/// Kinds, modes and contents below a directory, without times.
fn everything(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let about = path.symlink_metadata().unwrap();
        let content = if about.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        if about.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let target = fs::read_link(&path).unwrap_or_default();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        found.push(format!("{name} {:o} {} {content:?}", about.permissions().mode(), target.display()));
    }
    found.sort();
    found
}

#[test]
fn an_apply_that_is_killed_at_any_of_a_hundred_moments_goes_on_to_the_same_end() {
    let clean = pair(&long_play());
    clean.run("plan -i hosts site.yml -o move.plan").expect(0);
    clean.run("apply move.plan").expect(0);
    let expected = ["old", "new"].map(|host| everything(&clean.path(host)));

    let mut random = 1u64;
    let (mut kills, mut met) = (0u64, 0u64);
    while kills < 100 {
        let program = pair(&long_play());
        program.run("plan -i hosts site.yml -o move.plan").expect(0);
        let mut words = vec!["apply", "move.plan"];
        let mut here = 0u64;
        loop {
            let mut command = program.command();
            let output = || fs::File::create(program.path("output")).unwrap();
            command.args(&words).stdout(output()).stderr(Stdio::inherit());
            let mut child = command.spawn().unwrap();
            // From before the first look to somewhere among the changes; on a busy machine that is later.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(std::time::Duration::from_millis((random >> 33) % (150 + 10 * here)));
            if let Some(status) = child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "after {kills} kills:\n{}", program.read("output"));
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            here += 1;
            met += u64::from(words[0] == "resume");
            assert!(here < 200, "it never comes to its end");
            // A run that was killed before its first entry has no plan to go on with.
            let begun = fs::read_dir(program.path("state/runs")).is_ok_and(|mut runs| runs.next().is_some());
            words = if begun { vec!["resume", "last"] } else { words };
        }
        for (host, expected) in ["old", "new"].into_iter().zip(&expected) {
            assert_eq!(everything(&program.path(host)), *expected, "{host} after {kills} kills");
        }
        has(&program.run("resume last").expect(0).stderr, "has come to its end: nothing to go on with");
        has(&program.run("plan -i hosts site.yml").expect(0).stderr, "plan: nothing to change");
        assert!(wait_for(|| program.locks().is_empty()), "left: {:?}", program.locks());
    }
    assert!(met > 20, "{met} of {kills} kills met a run that went on");
}

#[test]
fn of_a_command_that_may_have_run_the_user_decides() {
    let program = pair(
        "- hosts: new
  gather_facts: no
  tasks:
    - name: slow
      shell: echo once >>{{ base }}/log; sleep 1
    - name: after
      file: {path: \"{{ base }}/there\", mode: '0600'}
",
    );
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let mut child = program.command().args(["apply", "move.plan"]).stdout(Stdio::null()).spawn().unwrap();
    while !program.path("new/log").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = program.run("resume last").expect(1);
    has(&refused.stderr, "it is not known what became of these:\n");
    has(&refused.stderr, "`new`: `echo once >>DIR/new/log; sleep 1`");
    program.run("resume last --doubtful skip").expect(0);
    assert_eq!((program.read("new/log"), mode(&program, "new/there")), ("once\n".into(), 0o600));
    has(&program.run("runs").expect(0).stdout, "not ended");
}

#[test]
fn a_loop_that_fails_in_the_middle_fails_its_host() {
    let program = pair(
        "- hosts: new
  gather_facts: no
  tasks:
    - name: each
      copy: {content: \"x\\n\", dest: \"{{ base }}/{{ item }}/f\", mode: '0600'}
      loop: [a, b, c]
    - name: after
      file: {path: \"{{ base }}/there\", mode: '0600'}
",
    );
    ["a", "b", "c"].iter().for_each(|name| fs::create_dir(program.path("new").join(name)).unwrap());
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    fs::remove_dir(program.path("new/b")).unwrap();
    let applied = program.run("apply move.plan").expect(2);
    has(&applied.stdout, "failed: [new] (item=b) => {");
    has(&applied.stdout, " failed=1 ");
    assert!(program.path("new/a/f").exists() && !program.path("new/c/f").exists());
    assert_eq!(mode(&program, "new/there"), 0o644);
    has(&program.run("runs").expect(0).stdout, "  failed ");
}

#[test]
fn nothing_comes_after_a_play_all_of_whose_hosts_are_lost() {
    let program = pair(
        "- hosts: new
  gather_facts: no
  tasks:
    - file: {path: \"{{ base }}/there\", mode: '0600'}
- hosts: old
  gather_facts: no
  tasks:
    - copy: {content: \"to new\\n\", dest: \"{{ base }}/route\", mode: '0644'}
",
    );
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    fs::set_permissions(program.path("new/there"), fs::Permissions::from_mode(0o604)).unwrap();
    let applied = program.run("apply move.plan").expect(2);
    has(&applied.stdout, "all hosts of a play are lost: nothing after it is applied");
    assert!(!program.path("old/route").exists());
}

#[test]
fn a_path_that_two_users_change_is_expected_once_and_a_tree_that_has_grown_is_not_removed() {
    let program = pair(
        "- hosts: new
  gather_facts: no
  tasks:
    - file: {path: \"{{ base }}/d\", state: directory, mode: '0755'}
    - copy: {content: \"one\\n\", dest: \"{{ base }}/d/f\", mode: '0666'}
    - file: {path: \"{{ base }}/d/f\", mode: '0644'}
      become: yes
      become_method: su
    - file: {path: \"{{ base }}/tree\", state: absent}
",
    );
    program.file("new/tree/deep/a", "a\n");
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    program.file("new/tree/deep/mail", "came later\n");
    let refused = program.run("apply move.plan").expect(2);
    has(&refused.stdout, "which is to be removed");
    assert!(program.path("new/tree/deep/a").exists() && !program.path("new/d").exists());
    fs::remove_file(program.path("new/tree/deep/mail")).unwrap();
    has(&program.run("show move.plan --format markdown").expect(0).stdout, "<summary>new (as root by su)</summary>");
    has(&program.run("apply move.plan --check").expect(0).stdout, "would change: [new]");
    assert!(!program.path("new/d").exists());
    program.run("apply move.plan").expect(0);
    assert!(mode(&program, "new/d/f") == 0o644 && !program.path("new/tree").exists());
    program.run("undo last").expect(0);
    assert_eq!(program.read("new/tree/deep/a"), "a\n");
    assert!(!program.path("new/d").exists());
}

#[test]
fn what_goes_on_being_written_to_has_its_mode_changed_all_the_same() {
    let program = pair(
        "- hosts: new
  gather_facts: no
  tasks:
    - file: {path: \"{{ base }}/there\", mode: '0640'}
",
    );
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    program.file("new/there", "as it was\nand another line\n");
    program.run("apply move.plan").expect(0);
    assert_eq!(mode(&program, "new/there"), 0o640);
    program.file("new/there", "as it was\nand two\nmore lines\n");
    program.run("undo last").expect(0);
    assert_eq!(mode(&program, "new/there"), 0o644);
    assert_eq!(program.read("new/there"), "as it was\nand two\nmore lines\n");
}

#[test]
fn a_plan_takes_the_place_of_a_file_alone_and_follows_a_link() {
    let program = pair(PLAY);
    let refused = program.run("plan -i hosts site.yml -o /dev/full").expect(1).stderr;
    has(&refused, "the plan `/dev/full` cannot be written: it is there, and is no file");
    program.file("kept/move.plan", "old\n");
    std::os::unix::fs::symlink("kept/move.plan", program.path("link")).unwrap();
    program.run("plan -i hosts site.yml -o link").expect(0);
    assert!(fs::symlink_metadata(program.path("link")).unwrap().is_symlink());
    has(&program.read("kept/move.plan"), "\"plan\"");
}

#[test]
fn where_a_link_leads_is_hidden_as_its_content() {
    let task = "    - file: {src: /geheim, dest: \"{{ base }}/link\", state: link, force: true}\n      no_log: true\n";
    let program = pair(&format!("- hosts: new\n  gather_facts: no\n  tasks:\n{task}"));
    program.file("pw", "pass word\n");
    let planned = program.run("plan -i hosts site.yml -o move.plan --vault-password-file pw").expect(0);
    let shown = program.run("show move.plan").expect(0);
    let applied = program.run("apply move.plan --vault-password-file pw").expect(0);
    let told = [all(&planned), all(&shown), all(&applied), program.read("move.plan"), all(&program.run("log last"))];
    assert!(!told.concat().contains("geheim"), "{}", told.concat());
    assert_eq!(fs::read_link(program.path("new/link")).unwrap().display().to_string(), "/geheim");
}

#[test]
fn each_run_has_temp_files_of_its_own_and_one_that_keeps_to_a_plan_those_of_the_plan() {
    let play = "- hosts: new
  gather_facts: no
  tasks:
    - tempfile: {path: \"{{ base }}\", state: directory}
      register: place
    - copy: {content: \"x\\n\", dest: \"{{ place.path }}/x\"}
    - command: echo {{ place.path }}
      register: said
    - copy: {content: \"{{ said.stdout }}\\n\", dest: \"{{ base }}/said\"}
";
    let program = pair(play);
    let made = || -> BTreeSet<String> {
        let entries = fs::read_dir(program.path("new")).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with("ansible.")).collect()
    };
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let planned = fs::read_to_string(program.path("move.plan")).unwrap();
    program.run("apply move.plan --open run").expect(0);
    let first = made();
    let name = first.first().unwrap().clone();
    assert!(first.len() == 1 && planned.contains(&name), "{first:?}");
    assert!(program.read("new/said").contains(&name));
    fs::remove_dir_all(program.path("new").join(&name)).unwrap();
    program.run("play -i hosts site.yml").expect(0);
    let second = made();
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
}
