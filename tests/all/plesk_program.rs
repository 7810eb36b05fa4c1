//! Accounts made by a panel's own program: a stand-in for `plesk bin mail` over a real MariaDB, which writes down how it is called.

use std::os::unix::fs::PermissionsExt as _;

use crate::mariadb::{Mariadb, PSA, PSA_OLD};
use crate::program::{Printed, Program, done};

/// Tables that newer versions have, too.
const MORE: &str = "CREATE TABLE mail_redir (id int AUTO_INCREMENT PRIMARY KEY, mn_id int NOT NULL, address varchar(255) NOT NULL) ENGINE=InnoDB;
CREATE TABLE mail_resp (id int AUTO_INCREMENT PRIMARY KEY, mn_id int NOT NULL, resp_on enum('false','true') NOT NULL DEFAULT 'false',
    keystr varchar(255), subject varchar(255), text text) ENGINE=InnoDB;\n";

const ANSWERS: &str = "INSERT INTO mail_resp (mn_id, resp_on, keystr, subject, text) VALUES
    (1, 'true', '', 'Away: it''s summer', 'I am away.\\n\\nann \\\\o/'), (1, 'true', 'price', 'Prices', 'A list'), (2, 'false', '', 'old', 'old');\n";

struct Pair {
    program: Program,
    old: String,
    new: String,
}

impl Pair {
    fn new() -> Pair {
        let server = Mariadb::get();
        let pair = Pair {
            program: Program::new(),
            old: server.database(&format!("{PSA_OLD}{MORE}{ANSWERS}")),
            new: server.database(&format!("{PSA}{MORE}")),
        };
        let script = include_str!("../corpus/plesk-bin.sh");
        for name in ["mail", "autoresponder", "mail_auth_view"] {
            pair.program.file(&format!("psa/{name}"), script);
            let path = pair.program.path("psa").join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        pair.program.file(
            "psa/settings",
            &format!(
                "client='mariadb --no-defaults --user=root --batch --raw --skip-column-names --socket={}'\ndatabase={}\nmailnames={}\n",
                server.socket(),
                pair.new,
                pair.program.path("mailnames").display()
            ),
        );
        pair.program
            .file("hosts", "old ansible_connection=local\nnew ansible_connection=local\n")
            .file("pw", "vault\n");
        pair.task("");
        pair
    }

    fn task(&self, more: &str) {
        let psa = self.program.path("psa");
        self.program.file(
            "play.yml",
            &format!(
                "- hosts: new\n  gather_facts: no\n  tasks:\n    - plesk_accounts: {{from: old, domains: all, login_unix_socket: {}, \
                 login_user: root, login_password: '', database: {}, from_database: {}, programs: {psa}, mail_auth_view: \
                 {psa}/mail_auth_view, mailnames: {}{more}}}\n      register: taken\n    - debug: {{msg: \"way {{{{ taken.way }}}}\"}}\n",
                Mariadb::get().socket(),
                self.new,
                self.old,
                self.program.path("mailnames").display(),
                psa = psa.display()
            ),
        );
    }

    fn play(&self, flags: &str) -> Printed {
        self.program.run(&format!("play -i hosts play.yml --vault-password-file pw {flags}"))
    }

    fn query(&self, sql: &str) -> String {
        Mariadb::get().query(&format!("USE {};\n{sql}", self.new))
    }

    fn accounts(&self) -> String {
        self.query(
            "SELECT d.name, m.mail_name, m.postbox, IFNULL(a.type, '-'), m.mbox_quota, \
             IFNULL((SELECT GROUP_CONCAT(alias ORDER BY alias) FROM mail_aliases WHERE mn_id = m.id), '-'), \
             IFNULL((SELECT GROUP_CONCAT(address) FROM mail_redir WHERE mn_id = m.id), '-') FROM mail m \
             JOIN domains d ON d.id = m.dom_id LEFT JOIN accounts a ON a.id = m.account_id ORDER BY d.name, m.mail_name",
        )
    }

    /// How the programs were called.
    fn calls(&self) -> String {
        std::fs::read_to_string(self.program.path("psa/argv")).unwrap_or_default()
    }
}

const SECRETS: [&str; 5] = ["b'o", "$1$annsalt", "0123456789abcdef", "it's a secret", "YidvXGI="];

#[test]
fn accounts_are_made_by_the_panels_program_and_no_password_is_in_its_command_line() {
    let pair = Pair::new();
    let run = done(|flags| pair.play(flags));
    assert!(run.stdout.contains("way program"), "{}", run.stdout);
    assert_eq!(
        pair.accounts(),
        "example.com\tann\ttrue\tcrypt\t20971520\tanna,annie\t-\n\
         example.com\tbob\ttrue\tsym\t-1\t-\t-\n\
         example.com\tcarol\tfalse\t-\t-1\t-\tcarol@partner.example\n\
         example.net\tinfo\ttrue\tsym\t-1\tsales\t-\n"
    );
    let password = |name: &str| {
        let id = format!("SELECT account_id FROM mail WHERE mail_name = '{name}'");
        pair.query(&format!("SELECT password FROM accounts WHERE id = ({id})"))
    };
    assert_eq!(password("ann"), "$1$annsalt$0123456789abcdefghijkl\n");
    assert_eq!(password("bob"), "$AES-128-CBC$iv$YidvXGI=\n", "b'o\\b");
    let answer = pair.query("SELECT subject, HEX(text) FROM mail_resp WHERE resp_on = 'true'");
    assert_eq!(answer.split('\t').next(), Some("Away: it's summer"));
    assert_eq!(pair.query("SELECT text FROM mail_resp WHERE resp_on = 'true'"), "I am away.\n\nann \\o/\n");
    let shown = format!("{}{}", run.stdout, run.stderr);
    assert!(shown.contains("-quota: 10485760\n") && shown.contains("+quota: 20971520\n"), "{shown}");
    assert!(shown.contains("+password: crypt hidden:"), "{shown}");
    assert!(shown.contains("(subject `Prices`) does not come over: it is given only to `price`"), "{shown}");
    let calls = pair.calls();
    assert!(
        calls.contains("--create\ncarol@example.com\n") && calls.contains("-passwd\n\n-passwd_type\ncrypt\n"),
        "{calls}"
    );
    for secret in SECRETS {
        assert!(!calls.contains(secret) && !shown.contains(secret), "{secret}:\n{calls}\n{shown}");
    }
    // Nothing left to do: nothing is called.
    let calls = pair.calls();
    assert!(pair.play("").expect(0).stdout.contains(" changed=0 "));
    assert_eq!(pair.calls(), calls);
}

#[test]
fn an_undo_gives_back_what_was_there_and_removes_what_was_made_unless_it_has_mail() {
    let pair = Pair::new();
    let before = pair.accounts();
    pair.play("").expect(0);
    let new = pair.program.path("mailnames/example.net/info/Maildir/new");
    std::fs::write(new.join("1.late"), "mail\n").unwrap();
    let runs = std::fs::read_dir(pair.program.path("state/runs")).unwrap().map(|run| run.unwrap().path());
    let id = runs.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).min().unwrap();
    let undo = format!("undo {} --vault-password-file pw", id.file_stem().unwrap().display());
    let undone = pair.program.run(&undo);
    assert_ne!(undone.status, 0);
    let said = format!("{}{}", undone.stdout, undone.stderr);
    assert!(said.contains("1.late is mail that came since: the account stays"), "{said}");
    assert!(new.join("1.late").exists() && pair.accounts().contains("example.net\tinfo\ttrue"));
    std::fs::remove_file(new.join("1.late")).unwrap();
    pair.program.run(&undo).expect(0);
    assert_eq!(pair.accounts().replace("sym", "plain"), before);
    assert!(!new.exists());
}

#[test]
fn without_a_program_or_where_it_is_not_wanted_the_tables_are_written_and_answers_are_told() {
    let pair = Pair::new();
    pair.task(", way: tables");
    let run = pair.play("").expect(0);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains("way tables") && said.contains("the automatic answer of `ann@example.com` does not come over"),
        "{said}"
    );
    assert_eq!(pair.calls(), "");
    // An older one, which takes passwords in its command line alone.
    pair.program.file("psa/mail", "#!/bin/sh\necho '-rediraddr <addr>'\n");
    pair.task("");
    assert!(pair.play("").expect(0).stdout.contains("way tables"));
    pair.task(", way: program");
    let refused = pair.play("").expect(2);
    assert!(refused.stdout.contains("no program of a panel that takes passwords"), "{}", refused.stdout);
}
