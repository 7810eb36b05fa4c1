//! Flags of Ansible's programs: what each does, and those that are refused by name.

use serde_json::Value;

use crate::program::Program;

fn program() -> Program {
    let program = Program::new();
    program.file("hosts", "mx ansible_connection=local\nmy ansible_connection=local\n");
    program
}

#[test]
fn an_ad_hoc_task_goes_on_behind_the_connection_and_ends_in_time() {
    let program = program();
    let printed = program.run_words(&["run", "-i", "hosts", "mx", "-B", "30", "-P", "1", "-a", "echo later"]).expect(0);
    assert!(printed.stdout.contains("later"), "{}", printed.stdout);
    let printed = program.run_words(&["run", "-i", "hosts", "mx", "-B", "30", "-P", "0", "-a", "true"]).expect(0);
    assert!(printed.stdout.contains("ansible_job_id"), "{}", printed.stdout);
    let printed = program.run_words(&["run", "-i", "hosts", "mx", "--task-timeout", "1", "-a", "sleep 20"]).expect(2);
    assert!(printed.stdout.contains("no end after 1s"), "{}", printed.stdout);
    assert!(program.run("run -i hosts mx -P 3 -a true").expect(1).stderr.contains("--background"));
}

#[test]
fn an_ad_hoc_task_has_what_stands_beside_a_playbook() {
    let program = program();
    program.file("site/group_vars/all.yml", "told: from beside\n");
    let module = "#!/bin/sh\n# WANT_JSON\necho '{\"msg\": \"from own\"}'\n";
    use std::os::unix::fs::PermissionsExt as _;
    for path in ["site/library/near", "own/far"] {
        program.file(path, module);
        std::fs::set_permissions(program.path(path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let words =
        ["run", "-i", "hosts", "all", "--playbook-dir", "site", "--tree", "results", "-m", "debug", "-a", "var=told"];
    let printed = program.run_words(&words).expect(0);
    assert!(printed.stdout.contains("from beside"), "{}", printed.stdout);
    let result: Value = serde_json::from_str(&program.read("results/my")).unwrap();
    assert_eq!(result["told"], "from beside");
    let near = program.run("run -i hosts mx --playbook-dir site -m near").expect(0);
    let far = program.run("run -i hosts mx -M nowhere:own -m far").expect(0);
    assert!(near.stdout.contains("from own") && far.stdout.contains("from own"), "{}{}", near.stdout, far.stdout);
    program.file("site.yml", "- hosts: mx\n  gather_facts: no\n  tasks:\n    - far:\n");
    program.run("play --inventory-file hosts --module-path own site.yml").expect(0);
}

#[test]
fn what_is_not_here_is_refused_by_its_name() {
    let program = program();
    program.file("site.yml", "- hosts: mx\n  tasks: []\n");
    for (words, flag) in [
        ("play -i hosts --step site.yml", "--step"),
        ("play -i hosts --scp-extra-args=-C site.yml", "--scp-extra-args"),
        ("run -i hosts mx --sftp-extra-args -C -a true", "--sftp-extra-args"),
        ("inventory -i hosts --list --toml", "--toml"),
        ("doc -F", "-F"),
    ] {
        let printed = program.run(words).expect(1);
        let subcommand = words.split(' ').next().unwrap();
        let message = format!("error: `{flag}` is not a flag of `cutover {subcommand}`\n");
        assert!(printed.stderr.starts_with(&message) && printed.stderr.contains("hint: "), "{}", printed.stderr);
    }
}

#[test]
fn modules_are_documented_for_people_editors_and_programs() {
    let program = program();
    let read = |words: &str| program.run(words).expect(0).stdout;
    let both = read("doc copy file");
    assert!(both.contains("## copy") && both.contains("## file"), "{both}");
    let json: Value = serde_json::from_str(&read("doc --json copy")).unwrap();
    assert_eq!(json["copy"]["doc"]["options"]["dest"]["required"], true);
    let action = read("doc debug");
    assert!(action.contains("An action of the runner's own") && action.contains("`verbosity`\n"), "{action}");
    let listed: Value = serde_json::from_str(&read("doc -l -j")).unwrap();
    assert!(listed["copy"].is_string() && listed["debug"].is_string());
    let snippet = read("doc -s ping copy");
    assert!(snippet.contains("\n  copy:\n") && snippet.contains("      dest:  # required; "), "{snippet}");
    program.file(
        "site.yml",
        &format!(
            "- hosts: all\n  tasks:\n{}",
            read("doc -s ping").replace("\n  ", "\n      ").replace("- name", "    - name")
        ),
    );
    program.run("lint site.yml").expect(0);
    assert!(read("doc -t filter -l").contains("\ncombine\n") && read("doc -t lookup -l").contains("\nfile\n"));
    assert!(read("doc -t test -l").contains("\nversion\n"));
    assert!(program.run("doc -t filter combine").expect(1).stderr.contains("only modules are documented"));
}

#[test]
fn settings_are_listed_sampled_and_checked() {
    let program = program();
    program.file("other.cfg", "[defaults]\nforks = 7\n");
    let read = |words: &str| program.run(words).expect(0).stdout;
    let dumped: Value = serde_json::from_str(&read("config dump -c other.cfg --only-changed -f json")).unwrap();
    let expected = serde_json::json!([{"name": "DEFAULT_FORKS", "origin": "other.cfg", "value": "7"}]);
    assert_eq!(dumped, expected);
    assert!(read("config dump -f yaml").contains("- name: DEFAULT_FORKS\n  origin: default\n  value: '50'\n"));
    let listed: Value = serde_json::from_str(&read("config list -f json")).unwrap();
    assert_eq!(listed["DEFAULT_FORKS"]["ini"][0]["key"], "forks");
    assert_eq!(read("config view -c other.cfg"), "[defaults]\nforks = 7\n");
    // What is made by `init` is a file that means what there is without it.
    program.file("made.cfg", &read("config init"));
    assert_eq!(read("config validate -c made.cfg"), "All configurations seem valid!\n");
    let disabled = read("config init --disabled");
    assert!(disabled.contains("[ssh_connection]\n") && disabled.contains("\n;forks=50\n"), "{disabled}");
    assert!(read("config init --format env").contains("\nANSIBLE_FORKS='50'\n"));
    program.file("wrong.cfg", "[defaults]\nfrks = 7\n");
    let printed = program.run("config validate -c wrong.cfg").expect(1);
    assert_eq!(printed.stdout, "`wrong.cfg`: nothing is called `frks` in `[defaults]`\n");
}

#[test]
fn flags_of_verbosity_and_caches_change_nothing_where_all_is_printed() {
    let program = program();
    program.file("pass", "geheim\n").file("text", "secret: 1\n");
    program.run("vault encrypt -v text --vault-password-file pass").expect(0);
    let shown = program.run("vault view text --vault-password-file pass -vv").expect(0);
    assert_eq!(shown.stdout, "secret: 1\n");
    let listed = program.run("inventory -i hosts --list --flush-cache -v").expect(0);
    assert!(listed.stdout.contains("\"mx\""), "{}", listed.stdout);
    program.run("config dump -vvv -t all").expect(0);
    program.run("run -i hosts mx --flush-cache -a true").expect(0);
}
