//! What IMAP servers keep beside messages: brought over before these by the module, and read again by a mailbox's user alone.

use std::path::PathBuf;

use cutover::lab::fill::{Role, fill};

use crate::program::{Printed, Program, done};

struct Pair {
    program: Program,
    old: PathBuf,
    new: PathBuf,
}

impl Pair {
    fn new(server: &str) -> Pair {
        let program = Program::new();
        for (name, role) in [("old", Role::Old), ("new", Role::New)] {
            fill(&program.path(name), role, ("root", "root")).unwrap();
        }
        let at = |name: &str| program.path(name).join("var/qmail/mailnames/example.com/ann/Maildir");
        let (old, new) = (at("old"), at("new"));
        program.file("hosts", "old ansible_connection=local\nnew ansible_connection=local\n");
        let given = format!(
            "from: old, owner: root, group: root, mailboxes: [{{source: {}, dest: {}}}]",
            old.display(),
            new.display()
        );
        program.file(
            "play.yml",
            &format!("- hosts: new\n  gather_facts: no\n  tasks:\n    - maildir_folders: {{server: {server}, {given}}}\n    - maildir_move: {{{given}}}\n"),
        );
        Pair { program, old, new }
    }

    fn old_has(&self, name: &str, text: &str) {
        let path = self.old.join(name);
        for part in ["new", "cur"].iter().filter(|_| name.starts_with('.')) {
            std::fs::create_dir_all(self.old.join(name.split('/').next().unwrap()).join(part)).unwrap();
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn play(&self, flags: &str) -> Printed {
        self.program.run(&format!("play -i hosts play.yml {flags}"))
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.new.join(name)).ok()
    }
}

#[test]
fn a_dovecot_gets_the_keywords_uids_and_subscriptions_of_another_before_its_messages() {
    let pair = Pair::new("dovecot");
    pair.old_has("subscriptions", "V\t2\n\nWork\nWork\t2024\n");
    pair.old_has(".Work/dovecot-keywords", "0 $Label1\n");
    pair.old_has(".Work/dovecot-uidlist", "3 V1700000000 N2 G0123\n1 :1.a\n");
    pair.old_has(".Work/cur/1.a:2,Sa", "Subject: work\n\n1\n");
    pair.old_has("dovecot-uidlist", "3 V1700000001 N9 G4567\n");
    // Mail has come here already: the inbox has UIDs that its user may know.
    std::fs::create_dir_all(pair.new.join("new")).unwrap();
    std::fs::write(pair.new.join("new/9.here"), "Subject: here\n\n9\n").unwrap();
    let check = pair.play("--check").expect(0);
    done(|flags| pair.play(flags));
    assert!(!format!("{}{}", check.stdout, check.stderr).contains("small letters"), "they come with their names");
    assert_eq!(pair.read("subscriptions").as_deref(), Some("Work\nWork.2024\n"));
    assert_eq!(pair.read(".Work/dovecot-keywords").as_deref(), Some("0 $Label1\n"));
    assert!(pair.read(".Work/dovecot-uidlist").unwrap().ends_with("1 :1.a\n"));
    assert_eq!(pair.read("dovecot-uidlist"), None);
    assert!(pair.new.join(".Work/cur/1.a:2,Sa").exists());
    // From now on it is its user's: what is unsubscribed here is not subscribed again by a later run.
    std::fs::write(pair.new.join("subscriptions"), "Work\n").unwrap();
    assert!(pair.play("").expect(0).stdout.contains(" changed=0 "));
    assert_eq!(pair.read("subscriptions").as_deref(), Some("Work\n"));
}

#[test]
fn from_courier_to_dovecot_subscriptions_come_over_and_keywords_are_told() {
    let pair = Pair::new("dovecot");
    std::fs::remove_file(pair.old.join("subscriptions")).unwrap();
    pair.old_has("courierimapsubscribed", "INBOX\nINBOX.Work\n");
    pair.old_has(".Work/courierimapuiddb", "1 1700000000 2\n1 1.a\n");
    pair.old_has(".Work/courierimapkeywords/:list", "$Label1\n\n1.a:0\n");
    pair.old_has(".Work/cur/1.a:2,S", "Subject: work\n\n1\n");
    let run = pair.play("").expect(0);
    assert_eq!(pair.read("subscriptions").as_deref(), Some("INBOX\nWork\n"));
    assert_eq!((pair.read(".Work/courierimapuiddb"), pair.read("courierimapsubscribed")), (None, None));
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("keywords of 1 folders of `"), "{said}");
}

#[test]
fn a_courier_gets_what_another_has_and_letters_that_mean_two_things_are_told() {
    let pair = Pair::new("courier");
    pair.old_has(".Work/courierimapuiddb", "1 1700000000 2\n1 1.a\n");
    pair.old_has(".Work/courierimapkeywords/:list", "$Label1\n\n1.a:0\n");
    pair.old_has(".Work/cur/1.a:2,S", "Subject: work\n\n1\n");
    done(|flags| pair.play(flags));
    assert!(pair.read(".Work/courierimapuiddb").is_some() && pair.read(".Work/courierimapkeywords/:list").is_some());
    let pair = Pair::new("dovecot");
    pair.old_has("dovecot-keywords", "0 $Label1\n");
    std::fs::write(pair.new.join("dovecot-keywords"), "0 Junk\n").unwrap();
    pair.old_has("cur/2.b:2,Sa", "Subject: 2\n\n2\n");
    let run = pair.play("--check").expect(0);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("has other keywords for letters than `old` has"), "{said}");
    assert!(said.contains("keywords (small letters among their flags)"), "{said}");
    assert_eq!(pair.read("dovecot-keywords").as_deref(), Some("0 Junk\n"));
}
