//! Quotas that are too small, found before any mail is sent to them; and mail that an undo does not leave alone.

use std::path::PathBuf;

use cutover::lab::fill::{Role, fill};

use crate::program::Program;

fn hosts() -> (Program, [PathBuf; 2]) {
    let program = Program::new();
    let roots = [("old", Role::Old), ("new", Role::New)].map(|(name, role)| {
        fill(&program.path(name), role, ("root", "root")).unwrap();
        program.path(name).join("var/qmail")
    });
    let line = |name: &str| {
        let qmail = program.path(name).join("var/qmail");
        format!("{name} ansible_connection=local qmail_dir={}\n", qmail.display())
    };
    program.file("hosts", &format!("[old]\n{}[new]\n{}", line("old"), line("new")));
    (program, roots)
}

/// The bytes of messages in a Maildir and its folders.
fn stored(maildir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(maildir).unwrap().map(|entry| entry.unwrap().path());
    let size = |path: PathBuf| match path.is_dir() {
        true => stored(&path),
        false if maildir.ends_with("new") || maildir.ends_with("cur") => path.metadata().unwrap().len(),
        false => 0,
    };
    entries.map(size).sum()
}

#[test]
fn preflight_and_accounts_tell_the_mailbox_whose_quota_is_too_small_with_the_numbers() {
    let (program, [old, new]) = hosts();
    let (old, new) = (old.join("mailnames/example.com"), new.join("mailnames/example.com"));
    // ann would have too little here until `accounts`; bob has too little on both.
    let bytes = stored(&old.join("bob/Maildir"));
    assert!(bytes > 10);
    std::fs::write(old.join("ann/Maildir/maildirsize"), "99999999S\n1 1\n").unwrap();
    std::fs::create_dir_all(new.join("ann/Maildir")).unwrap();
    std::fs::write(new.join("ann/Maildir/maildirsize"), "88888888S\n1 1\n").unwrap();
    std::fs::write(old.join("bob/Maildir/maildirsize"), "10S\n1 1\n").unwrap();
    std::fs::write(new.join("bob/Maildir/maildirsize"), "5S\n1 1\n").unwrap();
    std::fs::write(old.join("bob/.qmail"), "| true\n|/old/bin/vacation bob\n").unwrap();
    std::fs::write(new.join("bob/.qmail"), "| true\n| /usr/bin/deliverquota ./Maildir\n").unwrap();
    let stage = |name: &str, flags: &str| {
        let path = format!("{}/playbooks/stages/{name}.yml", env!("CARGO_MANIFEST_DIR"));
        let words =
            "-e mail_owner=root -e mail_group=root -e panel=false -e new_address=192.0.2.20 -e domains=example.com";
        let run = program.run(&format!("play -i hosts {path} {words} {flags}")).expect(0);
        format!("{}{}", run.stdout, run.stderr)
    };
    let smaller = "ann/Maildir`: the quota here is 88888888 bytes, and 99999999 bytes on `old` (`maildirsize`)";
    let over = format!("bob/Maildir`: {bytes} bytes are stored, and its quota is 10 bytes");
    for said in [stage("preflight", ""), stage("accounts", "--check")] {
        for piece in [smaller, &over, "/bob/.qmail` on `old`, line 2: `|/old/bin/vacation bob` does not come over"] {
            assert!(said.contains(piece), "no `{piece}` in\n{said}");
        }
    }
    stage("accounts", "");
    let said = stage("accounts", "");
    assert!(!said.contains(smaller) && said.contains(&over) && said.contains(" changed=0 "), "{said}");
}

#[test]
fn an_undo_does_not_take_attachments_from_mail_that_stays() {
    let (program, [old, new]) = hosts();
    let at = |root: &PathBuf, name: &str| root.join("mailnames/example.com/ann").join(name).display().to_string();
    let pair = |name: &str| format!("{{source: {}, dest: {}}}", at(&old, name), at(&new, name));
    program.file("mail.yml", &format!(
        "- hosts: new\n  gather_facts: no\n  tasks:\n    - name: Messages\n      maildir_move: {{from: old, owner: root, group: root, \
         mailboxes: [{}]}}\n    - name: Attachments\n      attachments_copy: {{from: old, owner: root, group: root, directories: [{}]}}\n",
        pair("Maildir"), pair("@attachments")
    ));
    program.run("play -i hosts mail.yml").expect(0);
    let attachments = || std::fs::read_dir(at(&new, "@attachments")).map_or(0, Iterator::count);
    assert!(attachments() > 0);
    let refused = program.run("undo last").expect(1);
    for piece in ["has handed over mail from `old` to `new`, and that stays", "`--task TEXT`", "stages/rollback.yml"] {
        assert!(refused.stderr.contains(piece), "no `{piece}` in\n{}", refused.stderr);
    }
    assert!(attachments() > 0);
    // By name, somebody may.
    program.run("undo last --task attachments").expect(0);
    assert_eq!(attachments(), 0);
}
