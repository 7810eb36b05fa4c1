//! Accounts of one panel's database taken over into another's, in a real MariaDB; stand-ins for the panel's own programs.

use std::os::unix::fs::PermissionsExt as _;

use crate::mariadb::{Mariadb, PSA, PSA_OLD};
use crate::program::{Printed, Program};

struct Pair {
    program: Program,
    old: String,
    new: String,
}

impl Pair {
    fn new(task: &str) -> Pair {
        let server = Mariadb::get();
        let pair = Pair { program: Program::new(), old: server.database(PSA_OLD), new: server.database(PSA) };
        pair.program
            .file("hosts", "old ansible_connection=local\nnew ansible_connection=local\n")
            .file("pw", "vault\n");
        let view = pair.program.path("mail_auth_view");
        // Of the closed program nothing is known but what it prints.
        pair.program.file(
            "mail_auth_view",
            "#!/bin/sh\necho '+---------+'\necho '|  address  | flags |  password |'\n\
             echo '| dave@example.com |       | dave'\"'\"'s pass|word |'\necho '| ann@example.com | crypt | x |'\n",
        );
        std::fs::set_permissions(&view, std::fs::Permissions::from_mode(0o755)).unwrap();
        pair.task(task);
        pair
    }

    fn task(&self, task: &str) {
        let play = format!(
            "- hosts: new\n  gather_facts: no\n  vars: {{s: {}, old: {}, new: {}, view: {}}}\n  tasks:\n{task}",
            Mariadb::get().socket(),
            self.old,
            self.new,
            self.program.path("mail_auth_view").display()
        );
        self.program.file("play.yml", &play);
    }

    fn play(&self, flags: &str) -> Printed {
        self.program.run(&format!("play -i hosts play.yml --vault-password-file pw {flags}"))
    }

    fn query(&self, which: &str, sql: &str) -> String {
        Mariadb::get().query(&format!("USE {which};\n{sql}"))
    }

    fn dump(&self) -> String {
        [&self.old, &self.new].map(|name| Mariadb::get().dump(name)).concat()
    }
}

const TAKE: &str = "
    - plesk_accounts: {from: old, domains: all, login_unix_socket: '{{ s }}', login_user: root, login_password: '', database: '{{ new }}', from_database: '{{ old }}', mail_auth_view: '{{ view }}'}
";

const ACCOUNTS: &str = "SELECT d.name, m.mail_name, m.postbox, a.type, a.password, m.mbox_quota, m.redirect, m.redir_addr FROM mail m \
     JOIN domains d ON d.id = m.dom_id LEFT JOIN accounts a ON a.id = m.account_id ORDER BY d.name, m.mail_name";

#[test]
fn accounts_are_taken_over_with_the_new_hosts_own_numbers_and_undo_brings_all_back() {
    let pair = Pair::new(TAKE);
    let before = pair.dump();
    let check = pair.play("--check --diff").expect(0);
    assert_eq!(pair.dump(), before, "a check has written");
    let run = pair.play("--diff").expect(0);
    assert_eq!(check.diffs(), run.diffs());
    for secret in ["b'o", "$1$annsalt", "0123456789abcdef", "it's a secret"] {
        assert!(!run.stdout.contains(secret), "{secret} is shown:\n{}", run.stdout);
    }
    // ann had less room and another password here; bob has more than he had, and keeps it.
    assert_eq!(
        pair.query(&pair.new, ACCOUNTS),
        "example.com\tann\ttrue\tcrypt\t$1$annsalt$0123456789abcdefghijkl\t20971520\tfalse\tNULL\n\
         example.com\tbob\ttrue\tplain\tb'o\\b\t-1\tfalse\tNULL\n\
         example.com\tcarol\tfalse\tNULL\tNULL\t-1\ttrue\tcarol@partner.example\n\
         example.net\tinfo\ttrue\tplain\tinfo\t-1\tfalse\tNULL\n"
    );
    let aliases = "SELECT m.mail_name, a.alias FROM mail_aliases a JOIN mail m ON m.id = a.mn_id ORDER BY 1, 2";
    assert_eq!(pair.query(&pair.new, aliases), "ann\tanna\nann\tannie\ninfo\tsales\n");
    assert!(pair.play("--diff").expect(0).stdout.contains(" changed=0 "));
    pair.program.run("undo last --vault-password-file pw").expect(0);
    assert_eq!(pair.dump(), before);
}

#[test]
fn an_encrypted_password_is_never_copied_but_had_from_old_and_set_anew() {
    let pair = Pair::new(TAKE);
    pair.query(
        &pair.old,
        "INSERT INTO accounts (id, type, password) VALUES (4, 'sym', '$AES-128-CBC$aXY=$Y3Q=');\n\
         INSERT INTO mail (mail_name, postbox, account_id, dom_id) VALUES ('dave', 'true', 4, 7);",
    );
    pair.play("").expect(0);
    let dave =
        "SELECT a.type, a.password FROM mail m JOIN accounts a ON a.id = m.account_id WHERE m.mail_name = 'dave'";
    assert_eq!(pair.query(&pair.new, dave), "plain\tdave's pass|word\n");
    assert!(pair.play("").expect(0).stdout.contains(" changed=0 "));
    // The new panel has encrypted it with its own key meanwhile.
    pair.query(
        &pair.new,
        "UPDATE accounts SET type = 'sym', password = '$AES-128-CBC$bmV3$Y3Q=' WHERE password LIKE 'dave%'",
    );
    assert!(pair.play("").expect(0).stdout.contains(" changed=0 "));
    // One of which old does not tell: nothing at all is done.
    pair.query(
        &pair.old,
        "INSERT INTO accounts (id, type, password) VALUES (5, 'sym', '$AES-128-CBC$aXY=$Y3Q=');\n\
         INSERT INTO mail (mail_name, postbox, account_id, dom_id) VALUES ('eve', 'true', 5, 7);",
    );
    let before = pair.dump();
    let run = pair.play("").expect(2);
    assert!(
        run.stdout.contains("the password of `eve@example.com` is encrypted with the key of `old`"),
        "{}",
        run.stdout
    );
    assert_eq!(pair.dump(), before);
}

#[test]
fn another_version_of_the_tables_is_served_with_the_columns_that_it_has() {
    let pair = Pair::new(TAKE);
    pair.query(
        &pair.new,
        "ALTER TABLE mail DROP COLUMN virusfilter, DROP COLUMN mail_group, ADD COLUMN userId int NOT NULL DEFAULT 0, ADD COLUMN uuid char(36);\n\
         CREATE TABLE mail_redir (id int AUTO_INCREMENT PRIMARY KEY, mn_id int NOT NULL, address varchar(255) NOT NULL) ENGINE=InnoDB;",
    );
    pair.query(
        &pair.old,
        "CREATE TABLE mail_redir (id int AUTO_INCREMENT PRIMARY KEY, mn_id int NOT NULL, address varchar(255) NOT NULL) ENGINE=InnoDB;\n\
         INSERT INTO mail (id, mail_name, mail_group, dom_id) VALUES (9, 'team', 'true', 7);\n\
         INSERT INTO mail_redir (mn_id, address) VALUES (9, 'ann@example.com'), (9, 'x@partner.example');",
    );
    let before = pair.dump();
    let check = pair.play("--check --diff").expect(0);
    assert_eq!(check.diffs(), pair.play("--diff").expect(0).diffs());
    let members = "SELECT m.mail_name, r.address FROM mail_redir r JOIN mail m ON m.id = r.mn_id ORDER BY 2";
    assert_eq!(pair.query(&pair.new, members), "team\tann@example.com\nteam\tx@partner.example\n");
    assert!(pair.play("").expect(0).stdout.contains(" changed=0 "));
    pair.program.run("undo last --vault-password-file pw").expect(0);
    assert_eq!(pair.dump(), before);
    // A column that needs a value is nobody's guess.
    pair.query(&pair.new, "ALTER TABLE mail ADD COLUMN owner int NOT NULL");
    assert!(pair.play("").expect(2).stdout.contains("has a column `owner` that needs a value nobody knows"));
    pair.query(&pair.new, "ALTER TABLE accounts DROP COLUMN type");
    assert!(pair.play("").expect(2).stdout.contains("has no column `type`"));
    pair.query(
        &pair.new,
        "DELETE FROM domains WHERE name = 'example.net'; ALTER TABLE accounts ADD COLUMN type varchar(32)",
    );
    assert!(pair.play("").expect(2).stdout.contains("has no domain `example.net`: make it there first"));
}

#[test]
fn two_tasks_of_one_check_do_not_give_the_same_numbers() {
    let pair = Pair::new(&format!("{}{}", TAKE.replace("all", "example.com"), TAKE.replace("all", "example.net")));
    let check = pair.play("--check --diff").expect(0);
    assert_eq!(check.diffs(), pair.play("--diff").expect(0).diffs());
    assert_eq!(pair.query(&pair.new, ACCOUNTS).lines().count(), 4);
}

#[test]
fn facts_tell_all_but_secrets_and_a_host_without_a_panel_has_none() {
    let pair = Pair::new(
        "
    - plesk_facts: {login_unix_socket: '{{ s }}', login_user: root, login_password: '', database: '{{ old }}', domains: example.com}
      register: panel
    - debug: {var: panel}
    - plesk_facts:
      register: nothing
    - debug: {msg: \"{{ nothing.panel }} {{ nothing.domains }}\"}
",
    );
    let run = pair.play("--check").expect(0);
    for piece in [
        "\"quota\": 20971520",
        "\"password\": \"crypt\"",
        "\"anna\"",
        "\"redirect\": \"carol@partner.example\"",
        "\"id\": 7",
        "False {}",
    ] {
        assert!(run.stdout.contains(piece), "no {piece} in\n{}", run.stdout);
    }
    assert!(!run.stdout.contains("annsalt") && !run.stdout.contains("b'o"), "{}", run.stdout);
}
