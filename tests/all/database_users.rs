//! Users of a real MariaDB: passwords, plugins and privileges as the server has them then, and what goes back.

use crate::database::Fixture;
use crate::mariadb::Mariadb;
use crate::program::done;

#[test]
fn a_user_gets_a_password_and_exactly_the_privileges_that_are_asked_for() {
    let fixture = Fixture::new("");
    let user = format!("u_{}", fixture.database);
    let task = |more: &str| {
        fixture.tasks(&format!(
            "    - mysql_user: {{login_unix_socket: '{{{{ s }}}}', login_user: root, name: \"u_{{{{ d }}}}\", {more}}}\n"
        ));
    };
    let does = || {
        let check = fixture.play("--check --diff").expect(0).stdout;
        let run = fixture.play("").expect(0).stdout;
        assert!(run.contains("changed=1 "), "{run}");
        let again = fixture.play("").expect(0).stdout;
        assert!(again.contains("changed=0 "), "{again}");
        assert!(!check.contains("geheim") && !run.contains("geheim"), "{check}");
        check
    };
    let may = || {
        let mut lines: Vec<String> = fixture
            .query(&format!("SET SESSION sql_mode = ''; SHOW GRANTS FOR '{user}'@'localhost'"))
            .lines()
            .map(str::to_string)
            .collect();
        lines.remove(0);
        lines.concat()
    };
    let logs_in = |password: &str| {
        let socket = Mariadb::get().socket();
        let mut client = std::process::Command::new("mariadb");
        client.args(["--no-defaults", "--socket", &socket, "--user", &user, &format!("--password={password}")]);
        client.args(["-e", "SELECT 1"]).output().unwrap().status.success()
    };
    let d = fixture.database.clone();
    task("password: geheim, priv: '{{ d }}.*:select,insert/{{ d }}.mail:UPDATE (redir_addr, mbox_quota),GRANT'");
    let shown = does();
    assert!(shown.contains(&format!("+SELECT on `{d}`.*")) && shown.contains("+password: hidden:"), "{shown}");
    assert!(logs_in("geheim") && !logs_in("other"));
    assert!(
        may().contains(&format!("GRANT SELECT, INSERT ON `{d}`.* TO")) && may().contains("WITH GRANT OPTION"),
        "{}",
        may()
    );

    task("password: other, priv: '{{ d }}.*:ALL', append_privs: true");
    does();
    assert!(logs_in("other") && may().contains(&format!("GRANT ALL PRIVILEGES ON `{d}`.* TO")), "{}", may());
    task("password: geheim, update_password: on_create, priv: '{{ d }}.*:DELETE'");
    does();
    assert!(logs_in("other"));
    assert_eq!(may().matches("GRANT ").count(), 1, "{}", may());
    assert!(may().contains(&format!("GRANT DELETE ON `{d}`.* TO")), "{}", may());
    fixture.cutover("undo last").expect(0);
    assert!(
        may().contains(&format!("GRANT ALL PRIVILEGES ON `{d}`.* TO")) && may().contains("UPDATE (`redir_addr`"),
        "{}",
        may()
    );
    task("priv: '{{ d }}.*:ALL', subtract_privs: true");
    does();
    assert!(!may().contains("ALL PRIVILEGES"), "{}", may());
    task("state: absent");
    does();
    assert!(!logs_in("other"));
}

/// What the server says that makes the user of a fixture.
fn account(fixture: &Fixture) -> String {
    fixture.query(&format!("SHOW CREATE USER 'u_{}'@'localhost'", fixture.database))
}

/// A fixture with a task for its user; the login has a password.
fn user(fixture: &Fixture, more: &str) {
    fixture.tasks(&format!(
        "    - mysql_user: {{login_unix_socket: '{{{{ s }}}}', login_user: keeper, login_password: \"it's \\\"a\\\\b\\\" #1\", name: \
         \"u_{{{{ d }}}}\", {more}}}\n"
    ));
}

#[test]
fn a_user_is_let_in_by_a_plugin_whose_hash_nobody_sees() {
    let fixture = Fixture::new("");
    let server = Mariadb::get();
    server.query("INSTALL SONAME 'auth_ed25519'");
    let play = |flags: &str| fixture.play(&format!("{flags} --vault-password-file pw"));
    user(&fixture, "plugin: ed25519, plugin_auth_string: geheim, priv: '{{ d }}.*:SELECT'");
    let made = done(play);
    assert!(made.stdout.contains("+plugin: ed25519") && made.stdout.contains("+password: hidden:"), "{}", made.stdout);
    let logs_in = |password: &str| {
        let mut client = std::process::Command::new("mariadb");
        client.args(["--no-defaults", "--socket", &server.socket(), "--user", &format!("u_{}", fixture.database)]);
        client.arg(format!("--password={password}")).args(["-e", "SELECT 1"]).output().unwrap().status.success()
    };
    assert!(logs_in("geheim") && !logs_in("other"));
    user(&fixture, "plugin: ed25519, plugin_auth_string: other, update_password: on_create");
    assert!(play("").expect(0).stdout.contains(" changed=0 "));
    user(&fixture, "plugin: ed25519, plugin_auth_string: other");
    done(play);
    assert!(logs_in("other") && !logs_in("geheim"));
    let native = "*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29";
    user(&fixture, &format!("plugin: mysql_native_password, plugin_hash_string: '{native}'"));
    let moved = done(play);
    assert!(moved.stdout.contains("-plugin: ed25519\n"), "{}", moved.stdout);
    assert!(logs_in("test") && account(&fixture).contains(native));
    user(&fixture, "plugin: unix_socket");
    done(play);
    assert!(account(&fixture).contains("IDENTIFIED VIA unix_socket"), "{}", account(&fixture));
    // A statement that the server refuses is repeated by it, without its hash.
    user(&fixture, "plugin: ed25519, plugin_auth_string: geheim, priv: 'no_such.*:NO SUCH'");
    let refused = play("").expect(2);
    user(&fixture, "plugin: none_such, plugin_hash_string: 'geheim hash'");
    let unknown = play("").expect(2);
    for text in [&refused, &unknown] {
        assert!(!text.stdout.contains("geheim") && !text.stderr.contains("geheim"), "{}{}", text.stdout, text.stderr);
    }
    fixture.cutover("plan -i hosts play.yml -o p --vault-password-file pw").expect(0);
    let runs = std::fs::read_dir(fixture.program.path("state/runs")).unwrap();
    let journals = runs.map(|run| std::fs::read_to_string(run.unwrap().path()).unwrap()).collect::<String>();
    for secret in ["geheim", "94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29", "#1"] {
        assert!(
            !made.stdout.contains(secret) && !moved.stdout.contains(secret) && !journals.contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn what_a_user_s_connections_must_be_its_limits_and_its_lock_are_set_and_go_back() {
    let fixture = Fixture::new("");
    let play = |flags: &str| fixture.play(&format!("{flags} --vault-password-file pw"));
    user(&fixture, "tls_requires: {SSL: }");
    done(play);
    assert!(account(&fixture).contains(" REQUIRE SSL"), "{}", account(&fixture));
    user(
        &fixture,
        "tls_requires: {subject: '/CN=a on b', ISSUER: \"it's\"}, resource_limits: {MAX_QUERIES_PER_HOUR: 10, \
         max_user_connections: 3}, locked: true, password_expire: interval, password_expire_interval: 90, \
         session_vars: {lock_wait_timeout: 7}, force_context: true",
    );
    let shown = done(play).stdout;
    for line in [
        "-requires: SSL",
        r"+requires: SUBJECT '/CN=a on b' AND ISSUER 'it\'s'",
        "+limits: MAX_QUERIES_PER_HOUR 10 MAX_USER_CONNECTIONS 3",
        "+locked: yes",
        "+expires: after 90 days",
    ] {
        assert!(shown.contains(line), "no `{line}` in\n{shown}");
    }
    let made = account(&fixture);
    for part in [
        "ISSUER 'it''s'",
        "SUBJECT '/CN=a on b'",
        "WITH MAX_QUERIES_PER_HOUR 10 MAX_USER_CONNECTIONS 3",
        "ACCOUNT LOCK",
        "PASSWORD EXPIRE INTERVAL 90 DAY",
    ] {
        assert!(made.contains(part), "no `{part}` in {made}");
    }
    fixture.cutover("undo last --vault-password-file pw").expect(0);
    let back = account(&fixture);
    assert!(back.contains(" REQUIRE SSL") && !back.contains("MAX_") && !back.contains("LOCK"), "{back}");
    user(&fixture, "tls_requires: {}, password_expire: now");
    done(play);
    let ended = account(&fixture);
    assert!(!ended.contains("REQUIRE") && ended.contains("PASSWORD EXPIRE"), "{ended}");
}

#[test]
fn a_user_is_kept_out_of_the_binary_log() {
    let fixture = Fixture::new("");
    let named = format!("u_{}", fixture.database);
    user(&fixture, "sql_log_bin: false, priv: '{{ d }}.*:SELECT'");
    done(|flags| fixture.play(flags));
    assert!(Mariadb::get().logged(&named).is_empty());
    user(&fixture, "priv: '{{ d }}.*:INSERT'");
    done(|flags| fixture.play(flags));
    assert!(!Mariadb::get().logged(&named).is_empty());
    user(&fixture, "host_all: true, state: absent");
    done(|flags| fixture.play(flags));
    user(&fixture, "host_all: true");
    assert!(fixture.play("").expect(2).stdout.contains("host_all parameter cannot be used when adding a user"));
}

#[test]
fn a_new_user_gets_the_password_that_the_others_of_its_name_have() {
    let fixture = Fixture::new("");
    let play = |flags: &str| fixture.play(&format!("{flags} --vault-password-file pw"));
    let kept = |host: &str| {
        let named = format!("User = 'u_{}' AND Host = '{host}'", fixture.database);
        fixture.query(&format!("SELECT plugin, authentication_string FROM mysql.user WHERE {named}"))
    };
    user(&fixture, "password: geheim, update_password: on_new_username");
    done(play);
    user(&fixture, "host: '%', password: other, update_password: on_new_username");
    let made = done(play);
    assert_eq!(kept("%"), kept("localhost"));
    assert!(!made.stdout.contains(kept("%").split('\t').nth(1).unwrap().trim()), "{}", made.stdout);
    // Where they differ, the task's own is for the third.
    user(&fixture, "host: '%', password: other");
    done(play);
    user(&fixture, "host: '192.0.2.%', password: third, update_password: on_new_username");
    done(play);
    assert!(kept("192.0.2.%") != kept("%") && kept("192.0.2.%") != kept("localhost"));
}
