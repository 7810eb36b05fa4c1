//! Rows and queries against a real MariaDB: what is shown, what is in the table afterwards, and what is refused.

use crate::mariadb::{Mariadb, PSA};
use crate::program::{Printed, Program};

/// A playbook on this machine with a database of its own.
pub struct Fixture {
    pub program: Program,
    pub database: String,
}

impl Fixture {
    pub fn new(tasks: &str) -> Fixture {
        let server = Mariadb::get();
        let fixture = Fixture { program: Program::new(), database: server.database(PSA) };
        fixture.program.file("hosts", "new ansible_connection=local\n").file("pw", "vault password\n");
        fixture.tasks(tasks);
        fixture
    }

    pub fn tasks(&self, tasks: &str) {
        let socket = Mariadb::get().socket();
        let play = format!(
            "- hosts: new\n  gather_facts: no\n  vars: {{s: {socket}, d: {}}}\n  tasks:\n{tasks}",
            self.database
        );
        self.program.file("play.yml", &play);
    }

    pub fn play(&self, flags: &str) -> Printed {
        self.program.run(&format!("play -i hosts play.yml {flags}"))
    }

    pub fn cutover(&self, words: &str) -> Printed {
        self.program.run(words)
    }

    pub fn query(&self, sql: &str) -> String {
        Mariadb::get().query(&format!("USE {};\n{sql}", self.database))
    }

    fn dump(&self) -> String {
        Mariadb::get().dump(&self.database)
    }
}

const QUOTA: &str = "
    - mysql_rows:
        login_unix_socket: '{{ s }}'
        login_user: root
        database: '{{ d }}'
        table: mail
        key: [dom_id, mail_name]
        rows:
          - {dom_id: 31, mail_name: ann, mbox_quota: 20971520, redir_addr: it's a \\ `line`}
          - {dom_id: 31, mail_name: carol, postbox: yes, account_id: 6}
";

#[test]
fn rows_are_changed_as_shown_and_a_second_run_changes_nothing_and_undo_brings_all_back() {
    let fixture = Fixture::new(QUOTA);
    let before = fixture.dump();
    let check = fixture.play("--check --diff").expect(0);
    assert_eq!(fixture.dump(), before, "a check has written");
    for line in [
        "--- 2 rows of DB.mail",
        "-row DB.mail dom_id=31 mail_name='ann': redir_addr=NULL mbox_quota=10485760",
        r"+row DB.mail dom_id=31 mail_name='ann': redir_addr='it\'s a \\ `line`' mbox_quota=20971520",
        "-row DB.mail dom_id=31 mail_name='carol': absent",
        "+row DB.mail dom_id=31 mail_name='carol': postbox='true' account_id=6",
    ] {
        assert!(check.stdout.contains(&line.replace("DB", &fixture.database)), "no `{line}` in\n{}", check.stdout);
    }
    let run = fixture.play("--diff").expect(0);
    assert_eq!(check.diffs(), run.diffs());
    let made = fixture.query("SELECT mbox_quota, redir_addr FROM mail WHERE id = 3");
    assert_eq!(made, "20971520\tit's a \\ `line`\n");
    let carol = "SELECT postbox, account_id, mbox_quota, redirect FROM mail WHERE mail_name = 'carol'";
    assert_eq!(fixture.query(carol), "true\t6\t-1\tfalse\n");
    assert!(fixture.play("--diff").expect(0).stdout.contains(" changed=0 "));
    fixture.cutover("undo last").expect(0);
    assert_eq!(fixture.dump(), before);
}

#[test]
fn a_row_that_moved_on_is_refused_and_nothing_of_its_transaction_is_done() {
    let fixture = Fixture::new(QUOTA);
    fixture.cutover("plan -i hosts play.yml -o p").expect(0);
    fixture.query("UPDATE mail SET mbox_quota = 7 WHERE id = 3");
    let before = fixture.dump();
    let applied = fixture.cutover("apply p").expect(2);
    assert!(applied.stdout.contains("mbox_quota=7"), "{}{}", applied.stdout, applied.stderr);
    assert_eq!(fixture.dump(), before);
    // Behind the last look, which the apply takes: the transaction itself compares.
    let plan = fixture.program.read("p");
    let step: serde_json::Value =
        serde_json::from_str(plan.lines().find(|line| line.starts_with("{\"step\"")).unwrap()).unwrap();
    let command = &step["step"]["changes"][0]["state"]["by"][0];
    let bytes = command["stdin"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8);
    fixture.program.file("sql", &String::from_utf8(bytes.collect()).unwrap());
    let script = command["program"]["Shell"]["script"].as_str().unwrap();
    let run = || {
        let sql = std::fs::File::open(fixture.program.path("sql")).unwrap();
        std::process::Command::new("sh").args(["-c", script]).stdin(sql).output().unwrap()
    };
    let output = run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(1), "a row has moved on meanwhile; nothing was done\n"));
    assert_eq!(fixture.dump(), before);
    fixture.query("UPDATE mail SET mbox_quota = 10485760 WHERE id = 3");
    assert!(run().status.success());
    assert!(fixture.play("").expect(0).stdout.contains(" changed=0 "));
}

#[test]
fn what_the_server_makes_of_a_row_is_compared_before_it_is_kept() {
    let fixture = Fixture::new(QUOTA);
    fixture.query("CREATE TRIGGER other BEFORE UPDATE ON mail FOR EACH ROW SET NEW.mbox_quota = NEW.mbox_quota + 1;");
    let before = fixture.dump();
    let run = fixture.play("").expect(2);
    assert!(run.stdout.contains("the server stores other values than these; nothing was done"), "{}", run.stdout);
    assert_eq!(fixture.dump(), before, "a part of the transaction was done");
}

#[test]
fn rows_go_and_come_back_whole() {
    let fixture = Fixture::new(
        "
    - mysql_rows: {login_unix_socket: '{{ s }}', login_user: root, database: '{{ d }}', table: mail, state: absent, rows: [{id: 3}, {id: 99}]}
",
    );
    let before = fixture.dump();
    let check = fixture.play("--check --diff").expect(0);
    assert!(check.stdout.contains("mail_name='ann' perm_id=0 postbox='true'"), "{}", check.stdout);
    assert_eq!(check.diffs(), fixture.play("--diff").expect(0).diffs());
    assert_eq!(fixture.query("SELECT COUNT(*) FROM mail"), "1\n");
    assert!(fixture.play("").expect(0).stdout.contains(" changed=0 "));
    fixture.cutover("undo last").expect(0);
    assert_eq!(fixture.dump(), before);
}

#[test]
fn a_password_is_a_fingerprint_everywhere_but_in_the_row() {
    let tasks = "
    - mysql_rows:
        login_unix_socket: '{{ s }}'
        login_user: keeper
        login_password: \"it's \\\"a\\\\b\\\" #1\"
        database: '{{ d }}'
        table: accounts
        rows: [{id: 5, type: crypt, password: new secret}]
";
    let fixture = Fixture::new(tasks);
    let before = fixture.dump();
    let flags = "--vault-password-file pw";
    let planned = fixture.cutover(&format!("plan -i hosts play.yml -o p {flags}")).expect(0);
    assert!(planned.stdout.contains("password=hidden:"), "{}", planned.stdout);
    let run = fixture.cutover(&format!("apply p {flags}")).expect(0);
    let journal = std::fs::read_dir(fixture.program.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = std::fs::read_to_string(journal).unwrap();
    let printed = [planned.stdout, run.stdout, run.stderr, fixture.program.read("p"), journal];
    for secret in ["new secret", "a secret", "#1", "bmV3IHNlY3JldA"] {
        assert!(printed.iter().all(|text| !text.contains(secret)), "{secret} is shown: {printed:#?}");
    }
    assert_eq!(fixture.query("SELECT type, password FROM accounts WHERE id = 5"), "crypt\tnew secret\n");
    fixture.cutover(&format!("undo last {flags}")).expect(0);
    assert_eq!(fixture.dump(), before);
}

#[test]
fn later_tasks_of_a_check_see_the_rows_that_are_only_planned() {
    let login = "login_unix_socket: '{{ s }}', login_user: root";
    let fixture = Fixture::new(&format!(
        "
    - name: The account
      mysql_rows: {{{login}, database: '{{{{ d }}}}', table: accounts, rows: [{{id: 9, type: plain, password: x}}]}}
    - name: It is crypted
      mysql_rows: {{{login}, database: '{{{{ d }}}}', table: accounts, rows: [{{id: 9, type: crypt}}]}}
    - name: It is as it is
      mysql_rows: {{{login}, database: '{{{{ d }}}}', table: accounts, rows: [{{id: 9, type: crypt, password: x}}]}}
    - name: It goes
      mysql_rows: {{{login}, database: '{{{{ d }}}}', table: accounts, rows: [{{id: 9}}], state: absent}}
    - name: Is it there
      mysql_query: {{{login}, login_db: '{{{{ d }}}}', query: SELECT id FROM accounts WHERE id = 9}}
      register: there
    - name: Who has mail
      mysql_query: {{{login}, login_db: '{{{{ d }}}}', query: SELECT mail_name FROM mail ORDER BY id}}
      register: names
    - debug: {{msg: \"{{{{ names.query_result[0] | map(attribute='mail_name') | join(' ') }}}}\"}}
"
    ));
    let before = fixture.dump();
    let check = fixture.play("--check --diff --vault-password-file pw").expect(0);
    assert!(check.stdout.contains("id=9: type='plain'\n+row"), "{}", check.stdout);
    assert!(check.stdout.contains("unknown: [new]") && check.stdout.contains("ann bob"), "{}", check.stdout);
    let run = fixture.play("--diff --vault-password-file pw").expect(0);
    // What the query says is known after a run only.
    assert_eq!(check.diffs().matches("row ").count(), run.diffs().matches("row ").count());
    assert!(run.stdout.contains(" changed=3 "), "{}", run.stdout);
    assert_eq!(fixture.dump(), before);
    // A plan of the same: what its own changes make is no drift.
    fixture.cutover("plan -i hosts play.yml -o p --vault-password-file pw").expect(0);
    fixture.cutover("apply p --open skip --vault-password-file pw").expect(0);
    assert_eq!(fixture.dump(), before);
}

#[test]
fn every_kind_of_value_is_stored_as_given_and_stays_so() {
    let fixture = Fixture::new(
        r#"
    - mysql_rows:
        login_unix_socket: '{{ s }}'
        login_user: root
        database: '{{ d }}'
        table: kinds
        rows:
          - {"odd `name`": 1, t: "a\\'\"\n\tü 📧 %s ; -- \u0000", l: grün, b: {hex: 00ff27}, n: -1.50, e: TRUE, d: 2024-01-02 03:04:05, x: null, bit: 5}
"#,
    );
    // The server's own modes have no say in how values are quoted.
    let modes = "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES';";
    fixture.query(&format!(
        "{modes} CREATE TABLE kinds (`odd ``name``` int PRIMARY KEY, t text, l varchar(20) CHARACTER SET latin1, b blob, \
         n decimal(6,2), e enum('true','false'), d datetime, x text DEFAULT 'y', bit bit(4)) ENGINE=InnoDB;"
    ));
    let check = fixture.play("--check --diff").expect(0);
    assert_eq!(check.diffs(), fixture.play("--diff").expect(0).diffs());
    let found = fixture.query("SELECT HEX(t), HEX(l), HEX(b), n, e, d, x, bit + 0 FROM kinds");
    let text: String = "a\\'\"\n\tü 📧 %s ; -- \0".bytes().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(found, format!("{text}\t6772FC6E\t00FF27\t-1.50\ttrue\t2024-01-02 03:04:05\tNULL\t5\n"));
    assert!(fixture.play("--diff").expect(0).stdout.contains(" changed=0 "));
    fixture.cutover("undo last").expect(0);
    assert_eq!(fixture.query("SELECT COUNT(*) FROM kinds; SET GLOBAL sql_mode = DEFAULT"), "0\n");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is() {
    let fixture = Fixture::new("");
    fixture.query(
        "CREATE TABLE old (id int PRIMARY KEY, name text) ENGINE=MyISAM; CREATE TABLE free (a int, b int) ENGINE=InnoDB;",
    );
    let before = fixture.dump();
    for (arguments, said) in [
        ("table: mail, rows: [{id: 3, mail_nam: x}]", "did you mean `mail_name`?"),
        ("table: mails, rows: [{id: 3}]", "there is no table `mails`"),
        ("table: old, rows: [{id: 3}]", "kept by MyISAM, which has no transactions"),
        ("table: free, rows: [{a: 3}]", "has no primary key"),
        ("table: mail, key: [dom_id], rows: [{dom_id: 31, redirect: true}]", "is more than one row"),
        ("table: mail, rows: [{id: 3, redirect: maybe}]", "`maybe` is none of false, true"),
        ("table: mail, rows: [{id: 3, mbox_quota: many}]", "`many` for column `mbox_quota` is no number"),
        ("table: mail, rows: [{id: 77, dom_id: 31}]", "needs a value for `mail_name`"),
        ("table: mail, rows: [{id: 3, mail_name: a}, {id: 3, mail_name: b}]", "is named twice"),
        ("table: mail, rows: [{id: 3, mail_name: null}]", "cannot be NULL"),
        ("table: accounts, key: [password], rows: [{password: x}]", "is hidden"),
    ] {
        let tasks =
            "    - mysql_rows: {login_unix_socket: '{{ s }}', login_user: root, database: '{{ d }}', ARGUMENTS}\n";
        fixture.tasks(&tasks.replace("ARGUMENTS", arguments));
        for flags in ["--check", ""] {
            let printed = fixture.play(flags).expect(2);
            assert!(printed.stdout.contains(said), "no `{said}` in\n{}{}", printed.stdout, printed.stderr);
        }
    }
    // What the server stores in another way is not left half-done.
    fixture.tasks(
        "    - mysql_rows: {login_unix_socket: '{{ s }}', login_user: root, database: '{{ d }}', table: domains, rows: [{id: 8, cr_date: 2024-1-2, name: a}]}\n",
    );
    let printed = fixture.play("").expect(2);
    assert!(printed.stdout.contains("stores other values than these; nothing was done"), "{}", printed.stdout);
    assert_eq!(fixture.dump(), before);
}

#[test]
fn a_query_that_writes_waits_for_the_run_and_one_that_reads_is_read_in_a_check() {
    let login = "login_unix_socket: '{{ s }}', login_user: root, login_db: '{{ d }}'";
    let fixture = Fixture::new(&format!(
        "
    - mysql_query:
        {{{login}, query: 'SELECT id, name, cr_date FROM domains WHERE name = %(name)s', named_args: {{name: example.com}}}}
      register: read
    - debug: {{msg: \"{{{{ read.query_result }}}} {{{{ read.rowcount }}}}\"}}
    - mysql_query: {{{login}, single_transaction: true, query: [\"INSERT INTO domains (id, name) VALUES (77, 'x')\", BROKEN]}}
"
    ));
    let before = fixture.dump();
    let check = fixture.play("--check --diff").expect(0);
    assert!(
        check.stdout.contains(r#"[[{"cr_date": null, "id": 31, "name": "example.com"}]] [1]"#)
            || check.stdout.contains("'name': 'example.com'"),
        "{}",
        check.stdout
    );
    assert_eq!(fixture.dump(), before);
    let run = fixture.play("").expect(2);
    assert!(run.stdout.contains("You have an error in your SQL syntax"), "{}", run.stdout);
    assert_eq!(fixture.dump(), before, "one half of a transaction was done");
}

#[test]
fn a_password_comes_from_a_file_of_the_host_and_leaves_nothing_behind() {
    let fixture = Fixture::new("");
    fixture.program.file("shadow", "it's \"a\\b\" #1\nsecond line\n");
    fixture
        .program
        .file("wrong.cnf", "[client]\nuser=nobody\npassword=x\n")
        .file(".my.cnf", "[client]\npassword=wrong\n");
    let shadow = fixture.program.path("shadow").display().to_string();
    let wrong = fixture.program.path("wrong.cnf").display().to_string();
    for (more, status) in [(String::new(), 0), (format!("config_file: {wrong}, "), 0)] {
        fixture.tasks(&format!(
            "    - mysql_query: {{login_unix_socket: '{{{{ s }}}}', login_user: keeper, {more}login_password_file: {shadow}, query: SELECT CURRENT_USER() AS who}}\n"
        ));
        let run = fixture.play("-v").expect(status);
        assert!(run.stdout.contains("keeper@localhost"), "{}", run.stdout);
    }
    fixture.tasks(&format!(
        "    - mysql_query: {{login_unix_socket: '{{{{ s }}}}', config_file: {wrong}, query: SELECT 1}}\n"
    ));
    let run = fixture.play("").expect(2);
    assert!(run.stdout.contains("Access denied for user 'nobody'"), "{}", run.stdout);
}

#[test]
fn a_database_is_made_shown_taken_back_while_it_is_empty_and_goes_with_a_warning() {
    let task = |more: &str| {
        format!(
            "    - mysql_db: {{login_unix_socket: '{{{{ s }}}}', login_user: root, name: \"{{{{ d }}}}' web\", {more}}}\n"
        )
    };
    let fixture = Fixture::new(&task("encoding: utf8mb4, collation: utf8mb4_bin"));
    let name = format!("{}' web", fixture.database);
    let there = || {
        let sql = format!(
            "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{}'",
            name.replace('\'', "''")
        );
        fixture.query(&sql)
    };
    let line = format!("+++ database {name}\n-absent\n+utf8mb4 utf8mb4_bin, 0 tables\n");
    let check = fixture.play("--check --diff").expect(0);
    assert!(check.stdout.contains(&line), "no `{line}` in\n{}", check.stdout);
    assert_eq!(there(), "");
    assert_eq!(fixture.play("--diff").expect(0).diffs(), check.diffs());
    assert_eq!(there(), "utf8mb4_bin\n");
    assert!(fixture.play("").expect(0).stdout.contains(" changed=0 "));
    fixture.query(&format!("CREATE TABLE `{name}`.kept (id INT)"));
    let undone = fixture.cutover("undo last").expect(2);
    assert!(undone.stdout.contains("found: utf8mb4 utf8mb4_bin, 1 tables"), "{}{}", undone.stdout, undone.stderr);
    assert_eq!(there(), "utf8mb4_bin\n");
    fixture.tasks(&task("state: absent"));
    let check = fixture.play("--check --diff").expect(0);
    assert!(check.stdout.contains("goes with all that is in it (utf8mb4 utf8mb4_bin, 1 tables)"), "{}", check.stdout);
    fixture.play("").expect(0);
    assert_eq!(there(), "");
    fixture.tasks(&task("encoding: klingon"));
    assert!(fixture.play("").expect(2).stdout.contains("has no encoding `klingon`"));
}

#[test]
fn a_dump_is_whole_or_not_there_and_comes_back_by_an_import() {
    let fixture = Fixture::new("");
    let (before, target) = (fixture.dump(), fixture.program.path("dump.sql.gz"));
    let task = |more: &str| {
        fixture.tasks(&format!(
            "    - mysql_db: {{login_unix_socket: '{{{{ s }}}}', login_user: root, target: {}, {more}}}\n",
            target.display()
        ));
    };
    task("name: '{{ d }}', state: dump, single_transaction: true");
    fixture.play("--check").expect(0);
    assert!(!target.exists());
    fixture.play("").expect(0);
    fixture.query("DELETE FROM mail");
    assert_ne!(fixture.dump(), before);
    task("name: '{{ d }}', state: import");
    fixture.play("").expect(0);
    assert_eq!(fixture.dump(), before);
    // One that fails leaves what was there, and nothing beside it.
    let whole = std::fs::read(&target).unwrap();
    task("name: no_such_database, state: dump");
    fixture.play("").expect(2);
    assert_eq!(std::fs::read(&target).unwrap(), whole);
    let beside = std::fs::read_dir(target.parent().unwrap()).unwrap();
    let names: Vec<String> = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("dump.sql")).count(), 1, "{names:?}");
    std::fs::write(&target, &whole[..whole.len() / 2]).unwrap();
    task("name: '{{ d }}', state: import");
    fixture.play("").expect(2);
}

#[test]
fn a_server_s_name_is_compared_with_its_certificate_where_that_is_asked_for() {
    let fixture = Fixture::new("");
    let task = |more: &str| {
        fixture.tasks(&format!(
            "    - mysql_query: {{login_unix_socket: '{{{{ s }}}}', login_user: root, query: SELECT 1, check_hostname: {more}}}\n"
        ));
        fixture.play("")
    };
    task("false").expect(0);
    // The tests' server has no certificate.
    let refused = task("true").expect(2);
    assert!(refused.stdout.to_uppercase().contains("SSL"), "{}", refused.stdout);
}

#[test]
fn a_database_is_kept_out_of_the_binary_log_and_its_file_has_the_letters_that_are_asked_for() {
    let fixture = Fixture::new("");
    let d = fixture.database.clone();
    let login = "login_unix_socket: '{{ s }}', login_user: nobody, login_password: wrong, check_implicit_admin: true";
    let task = |more: &str| {
        fixture.tasks(&format!(
            "    - mysql_db: {{{login}, {more}}}\n      register: it\n    - debug: {{var: it.executed_commands}}\n"
        ));
        fixture.play("")
    };
    let ran = task("name: '{{ d }}_quiet', sql_log_bin: false").expect(0);
    assert!(ran.stdout.contains(&format!("CREATE DATABASE `{d}_quiet`")), "{}", ran.stdout);
    task("name: '{{ d }}_told'").expect(0);
    let server = Mariadb::get();
    assert_eq!((server.logged(&format!("{d}_quiet")).len(), server.logged(&format!("{d}_told")).len()), (0, 1));
    fixture.query("CREATE TABLE letters (t text); INSERT INTO letters VALUES ('grün')");
    fixture.tasks(&format!(
        "    - mysql_db: {{{login}, name: '{{{{ d }}}}', state: dump, target: letters.sql, chdir: {}, encoding: latin1, \
         master_data: 2, dump_extra_args: '--skip-extended-insert letters', use_shell: true, unsafe_login_password: true}}\n",
        fixture.program.path("").display()
    ));
    fixture.play("").expect(0);
    let dumped = std::fs::read(fixture.program.path("letters.sql")).unwrap();
    let has = |bytes: &[u8]| dumped.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"gr\xfcn") && has(b"-- CHANGE MASTER TO") && !has(b"`mail`"));
    fixture.tasks(&format!(
        "    - mysql_db: {{{login}, name: '{{{{ d }}}}_quiet', state: import, target: '{}', encoding: latin1, sql_log_bin: false}}\n",
        fixture.program.path("letters.sql").display()
    ));
    fixture.play("").expect(0);
    assert_eq!(fixture.query(&format!("SELECT t FROM {d}_quiet.letters")), "grün\n");
    assert!(server.logged(&format!("{d}_quiet")).is_empty());
}

#[test]
fn only_the_file_of_options_that_is_named_is_read_where_that_is_asked_for() {
    let fixture = Fixture::new("");
    fixture.program.file("own.cnf", "[client]\nuser=keeper\npassword=\"it's \\\"a\\\\b\\\" #1\"\n");
    fixture.tasks(
        "    - mysql_db: {login_unix_socket: '{{ s }}', config_file: ~/own.cnf, restrict_config_file: true, \
         config_overrides_defaults: true, name: '{{ d }}_own'}\n",
    );
    fixture.play("").expect(0);
    assert_eq!(fixture.query(&format!("SHOW DATABASES LIKE '{}_own'", fixture.database)).lines().count(), 1);
}
