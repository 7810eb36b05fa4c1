//! What a plan was made from: every file that was read, and the machines that answered.

use std::collections::BTreeMap;
use std::fs;

use cutover::transport::Digest;
use serde_json::Value;

use crate::program::Program;
use crate::sshd::{Sshd, make_key};

/// Every way in which a file gets into a plan.
const FILES: &[(&str, &str)] = &[
    ("hosts", "[mail]\nnew ansible_connection=local\n"),
    ("group_vars/mail.yml", "of_group: a group, in a file that is as long as it has to be to have a digest\n"),
    ("host_vars/new/one.yml", "of_host: a host, in a file that is as long as it has to be to have a digest\n"),
    ("more.yml", "of_file: a file, in a file that is as long as it has to be to have a digest\n"),
    ("extra.yml", "of_flag: a flag, in a file that is as long as it has to be to have a digest\n"),
    ("asked.yml", "of_task: a task, in a file that is as long as it has to be to have a digest\n"),
    ("site.yml", "- import_playbook: other.yml\n"),
    (
        "other.yml",
        "- hosts: all
  gather_facts: no
  vars_files: [more.yml]
  roles: [mx]
  tasks:
    - include_tasks: included.yml
    - import_tasks: imported.yml
    - include_vars: asked.yml
",
    ),
    ("included.yml", "- copy: {content: \"{{ lookup('file', 'looked') }}\", dest: \"{{ base }}/a\", mode: '0600'}\n"),
    ("imported.yml", "- script: probe.sh {{ of_group }}\n"),
    ("files/probe.sh", "#!/bin/sh\necho \"a script that is as long as it has to be to have a digest\"\n"),
    ("files/looked", "a text for a lookup that is as long as it has to be to have a digest\n"),
    ("roles/mx/defaults/main.yml", "of_role: a role, in a file that is as long as it has to be for a digest\n"),
    ("roles/mx/meta/main.yml", "dependencies: []\n"),
    ("roles/mx/handlers/main.yml", "- name: note\n  command: \"true\"\n"),
    (
        "roles/mx/tasks/main.yml",
        "- template: {src: conf.j2, dest: \"{{ base }}/b\", mode: '0600'}\n- copy: {src: tree, dest: \"{{ base }}/t\"}\n",
    ),
    ("roles/mx/templates/conf.j2", "{% include 'part.j2' %} {{ of_role }} {{ of_host }} {{ of_flag }} {{ of_file }}\n"),
    ("roles/mx/templates/part.j2", "a part of a template that is as long as it has to be to have a digest\n"),
    ("roles/mx/files/tree/one", "a file of a tree that is as long as it has to be to have a digest\n"),
    ("roles/mx/files/tree/password", "geheim\n"),
];

fn sources(plan: &str) -> BTreeMap<String, Value> {
    let lines = plan.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sources = lines.filter_map(|line| line.get("source").cloned());
    sources.map(|source| (source["path"].as_str().unwrap().to_string(), source)).collect()
}

#[test]
fn a_plan_has_the_digest_of_every_file_that_was_read_and_of_no_short_secret() {
    let program = Program::new();
    for (name, text) in FILES {
        program.file(name, text);
    }
    program.file("unread.yml", "never: read\n");
    fs::create_dir(program.path("base")).unwrap();
    let base = program.path("base").display().to_string();
    program.run(&format!("plan -i hosts site.yml -e base={base} -e @extra.yml -o my.plan")).expect(0);
    let found = sources(&program.read("my.plan"));
    let expected = FILES.iter().map(|(name, text)| (program.path(name).display().to_string(), text));
    for (path, text) in expected.clone() {
        let source = found.get(&path).unwrap_or_else(|| panic!("{path} is not among {found:#?}"));
        let digest = if path.ends_with("password") { Value::Null } else { Digest::of(text.as_bytes()).0.into() };
        assert_eq!((&source["sha256"], &source["size"]), (&digest, &text.len().into()), "{path}");
    }
    assert_eq!(found.len(), expected.count(), "{found:#?}");

    let shown = program.run("show my.plan").expect(0).stdout;
    assert!(shown.contains(" from DIR/site.yml and 19 other files\n"), "{shown}");
    program.file("roles/mx/templates/part.j2", "another\n");
    fs::remove_file(program.path("included.yml")).unwrap();
    let applied = program.run("apply my.plan").expect(0);
    assert_eq!(
        applied.stderr,
        "note: `DIR/roles/mx/templates/part.j2` has changed since; the plan is applied as it was made\n"
    );
}

/// A host over SSH with keys of two kinds, and one of this machine; both get a directory.
fn pair() -> (Sshd, Program) {
    let sshd = Sshd::start("");
    let program = Program::new();
    let key = program.path("key");
    make_key("ed25519", &key);
    sshd.authorize(&key);
    let base = program.path("").display().to_string();
    program.file(
        "hosts",
        &format!(
            "mx ansible_host=127.0.0.1 ansible_port={} ansible_ssh_private_key_file=key base={base}/mx\n\
             new ansible_connection=local base={base}/new\n",
            sshd.port
        ),
    );
    program.file(
        "site.yml",
        "- hosts: all\n  gather_facts: no\n  tasks:\n    - file: {path: \"{{ base }}\", state: directory, mode: '0700'}\n",
    );
    (sshd, program)
}

#[test]
fn a_host_that_answers_with_another_key_is_left_alone_although_it_is_known() {
    let (sshd, program) = pair();
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519"));
    program.run("plan -i hosts site.yml -o my.plan").expect(0);
    let fingerprint = |kind: &str| {
        let key = sshd.known_hosts_line(kind);
        let key = key.split_once(' ').unwrap().1;
        russh::keys::PublicKey::from_openssh(key).unwrap().fingerprint(russh::keys::HashAlg::Sha256).to_string()
    };
    assert!(program.read("my.plan").contains(&format!("\"key\":\"{}\"", fingerprint("ed25519"))));
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("rsa"));
    let applied = program.run("apply my.plan").expect(2);
    let why = format!(
        "\nthe host has another key than the one that was looked at; it is left alone\n  planned \
         from: {}\n  found: {}\n",
        fingerprint("ed25519"),
        fingerprint("rsa")
    );
    assert!(applied.stdout.contains(&why), "{}", applied.stdout);
    assert!(program.path("new").is_dir() && !program.path("mx").exists());
    program.file(".ssh/known_hosts", &(sshd.known_hosts_line("rsa") + &sshd.known_hosts_line("ed25519")));
    program.run("apply my.plan --limit mx").expect(0);
    assert!(program.path("mx").is_dir());
    // What a run has done to a machine is not taken back on another one.
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("rsa"));
    program.run("undo last").expect(2);
    assert!(program.path("mx").is_dir());
}
