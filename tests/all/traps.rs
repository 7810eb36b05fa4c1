//! The traps of a qmail move, planted on two hosts: preflight finds them before anything is changed, or a stage does what is right.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use cutover::lab::fill::{Role, fill};

use crate::program::{Printed, Program};

/// Two filled hosts that are directories of this machine.
struct Pair {
    program: Program,
    /// Stands for the old host's qmail-send: it is there, and a HUP does nothing to it.
    qmail_send: Child,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(Program::new())
    }

    fn with(program: Program) -> Pair {
        for (name, role) in [("old", Role::Old), ("new", Role::New)] {
            fill(&program.path(name), role, ("root", "root")).unwrap();
        }
        let qmail_send = Command::new("sh").args(["-c", "trap '' HUP; exec sleep 600"]).spawn().unwrap();
        let line = |host: &str| {
            format!("{host} ansible_connection=local qmail_dir={}", program.path(host).join("var/qmail").display())
        };
        let running = format!("qmail_send='echo {}'", qmail_send.id());
        program.file("hosts", &format!("[old]\n{} {running}\n[new]\n{}\n", line("old"), line("new")));
        Pair { program, qmail_send }
    }

    fn path(&self, host: &str, name: &str) -> PathBuf {
        self.program.path(host).join("var/qmail").join(name)
    }

    /// Writes a file, or more lines of one that starts with `+`.
    fn write(&self, host: &str, name: &str, text: &str) {
        let path = self.path(host, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.strip_prefix('+').map_or(text.to_string(), |more| old + more);
        std::fs::write(path, whole).unwrap();
    }

    fn stage(&self, name: &str, flags: &str) -> Printed {
        self.program.run(&words(&format!("stages/{name}.yml"), flags))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.qmail_send.kill();
        let _ = self.qmail_send.wait();
    }
}

/// The words that run a playbook of the product on the pair.
fn words(playbook: &str, flags: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks").join(playbook);
    format!(
        "play -i hosts {} -e new_address=192.0.2.20 -e mail_owner=root -e probe=false -e imap_server=courier {flags}",
        path.display()
    )
}

/// What is planted, and words of what is said of it.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Each is another file or another domain, so that one run finds them all.
const PROBLEMS: [Row; 18] = [
    (
        "old",
        "control/virtualdomains",
        "+ example.org:13\n",
        &["virtualdomains` line 6 has ` example.org:13`", "take it out"],
    ),
    (
        "old",
        "control/virtualdomains",
        "+bob@example.com:x\n",
        &["line 7 has `bob@example.com:x`", "would stay on the old host"],
    ),
    (
        "old",
        "control/virtualdomains",
        "+alias.example:7\n",
        &["different mailboxes", "make one an alias of the other there"],
    ),
    ("old", "control/locals", "+example.com\r\n", &["locals` line 4 has `example.com\\r`", "tr -d"]),
    ("old", "control/concurrencyremote", "0\n", &["concurrencyremote` line 1 has `0`"]),
    ("new", "control/me", "\n", &["`new`: `DIR/new/var/qmail/control/me` is missing or empty"]),
    ("new", "control/locals", "+mail.example\n", &["locals` line 4 has `mail.example`", "mailboxes of `mail.example`"]),
    ("new", "control/rejectnonexist", "+example.net\n", &["rejectnonexist` line 4 has `example.net`", "catch-all"]),
    ("new", "control/badrcptto", "@example.net\n", &["badrcptto` line 1 has `@example.net`"]),
    ("new", "control/databytes", "10M\n", &["at most 10 bytes (`databytes`)"]),
    ("new", "control/smtproutes", "+example.net:192.0.2.10\n", &["a route for `example.net`", "circle"]),
    ("old", "users/assign", "=7-bob:x:1\n.\n", &["assign` line 1 has `=7-bob`", "2 colons"]),
    ("new", "users/assign", "=1-root:root:0:0:/root:::\n", &["`new`: `DIR/new/var/qmail/users/assign`", "line `.`"]),
    ("new", "users/poppasswd", "root@local:$1$x:0:0\n", &["poppasswd` line 1 has `root@local`", "4 fields"]),
    (
        "old",
        "users/poppasswd",
        "+dave@example.org:$AES-128-CBC$x$y\n",
        &["line 9 has `dave@example.org`", "useless on another"],
    ),
    ("old", "mailnames/example.com/bob/.qmail", "./Maildir/\r\n", &["bob/.qmail` line 1 has `./Maildir/\\r`", "tr -d"]),
    ("old", "mailnames/example.com/carol/.qmail", "\n./Maildir/\n", &["carol/.qmail` line 1 is blank"]),
    (
        "old",
        "mailnames/example.net/info/.qmail",
        "./Mailbox\n",
        &["info/.qmail` line 1 has `./Mailbox`", "the mail in it would stay"],
    ),
];

const WARNINGS: [Row; 9] = [
    ("old", "control/smtproutes", "+a.example:[::1]\n", &["smtproutes` line 3 has `a.example:[::1]`", "IPv6"]),
    ("old", "control/smtproutes", "+partner.example:192.0.2.78\n", &["lines 2 and 4", "the last one counts"]),
    ("old", "control/queuelifetime", "60\n", &["queuelifetime` line 1 has `60`", "604800"]),
    ("old", "control/percenthack", "example.com\n", &["percenthack` line 1 has `example.com`"]),
    ("old", "control/doublebouncehost", "example.com\n", &["doublebouncehost` line 1", "own mail"]),
    ("new", "control/badmailfrom", "x@y.example\n", &["badmailfrom` line 1 has `x@y.example`", "bounce"]),
    ("new", "control/smtproutes", "+:old.lab.example\n", &["smtproutes` line 4 has `:old.lab.example`", "circle"]),
    ("old", "control/rcpthosts", "localhost\n", &["rcpthosts` lacks `alias.example`, `example.com`"]),
    ("old", "users/cdb", "", &["users/cdb` is older than `assign`", "run qmail-newu"]),
];

fn tree(root: &Path) -> String {
    let output = Command::new("find").arg(root).args(["-printf", "%p %m %U %T@ %s\n"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn traps_in_files_are_found_by_preflight_with_host_file_and_line_and_hosts_without_have_none() {
    let pair = Pair::new();
    let clean = pair.stage("preflight", "").expect(0);
    let said = format!("{}{}", clean.stdout, clean.stderr);
    assert!(!said.contains("[WARNING]"), "{said}");
    for (host, name, text, _) in PROBLEMS.iter().chain(&WARNINGS) {
        pair.write(host, name, text);
    }
    pair.write("old", "mailnames/example.net/info/Mailbox", "From x\n");
    std::fs::File::options()
        .write(true)
        .open(pair.path("old", "users/cdb"))
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(600))
        .unwrap();
    let before = tree(&pair.program.path(""));
    // The first look by itself does not know the domain that is written oddly.
    let printed = pair.stage("preflight", "").expect(2);
    let said = format!("{}{}", printed.stdout, printed.stderr);
    let missing: Vec<_> =
        PROBLEMS.iter().chain(&WARNINGS).filter(|row| !row.3.iter().all(|word| said.contains(word))).collect();
    assert!(missing.is_empty(), "not found: {missing:#?} in\n{said}");
    assert!(!said.contains("$1$"), "a hash is shown:\n{said}");
    let hosts = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("/var/qmail")).map(String::from).collect()
    };
    assert_eq!(hosts(&before), hosts(&tree(&pair.program.path(""))), "a host was changed");
}

#[test]
fn homes_owners_rights_and_mounts_that_hinder_are_found_by_preflight() {
    let set = |path: PathBuf, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let pair = Pair::new();
    let home = |host: &str, name: &str| pair.path(host, &format!("mailnames/example.com/{name}"));
    set(home("new", "ann"), 0o1700);
    set(home("new", "bob"), 0o777);
    set(home("new", "carol"), 0o770);
    set(home("old", "ann"), 0o1755);
    set(home("old", "bob/.qmail"), 0o755);
    chown(home("new", ".qmail-default"), Some(0), Some(0)).unwrap();
    std::fs::create_dir(pair.path("old", "mailnames/Example.ORG")).unwrap();
    std::fs::rename(pair.path("new", "users/poppasswd"), pair.path("new", "users/elsewhere")).unwrap();
    symlink("elsewhere", pair.path("new", "users/poppasswd")).unwrap();
    let printed = pair.stage("preflight", "").expect(2);
    let said = format!("{}{}", printed.stdout, printed.stderr);
    for words in [
        &["`DIR/new/var/qmail/mailnames/example.com/ann` (mode 1700) has the sticky bit", "`chmod -t`"][..],
        &["example.com/bob` (mode 0777)", "`chmod o-w`"],
        &["example.com/carol` (mode 0770)", "`chmod g-w`"],
        &["`old`: `DIR/old/var/qmail/mailnames/example.com/ann` (mode 1755)"],
        &["bob/.qmail` (mode 0755) has an x bit"],
        &["mailnames/Example.ORG` is not written as the domain is"],
        &["users/poppasswd` is no regular file but a"],
    ] {
        assert!(words.iter().all(|word| said.contains(word)), "no {words:?} in\n{said}");
    }
    // Nobody has that name there.
    let printed = pair.stage("preflight", "-e mail_owner=nobody-here").expect(2);
    let said = format!("{}{}", printed.stdout, printed.stderr);
    assert!(said.contains("has no user `nobody-here`"), "{said}");
}

/// Runs a shell script in a mount namespace of its own, `$1` being the program.
fn in_namespace(pair: &Pair, script: &str) -> Printed {
    let own = pair.program.command();
    let mut command = Command::new("unshare");
    command.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-m", "sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_cutover")]);
    command.current_dir(pair.program.path(""));
    pair.program.printed(command.output().unwrap())
}

#[test]
fn a_file_system_that_is_mounted_read_only_is_found_by_preflight_on_either_host() {
    for (host, directory) in [("new", "mailnames"), ("old", "control"), ("old", "mailnames"), ("new", "users")] {
        let pair = Pair::new();
        let place = pair.path(host, directory).display().to_string();
        let script = format!(
            "mount --bind {place} {place}\nmount -o remount,bind,ro {place}\n\"$1\" {}",
            words("stages/preflight.yml", "")
        );
        let printed = in_namespace(&pair, &script).expect(2);
        let said = format!("{}{}", printed.stdout, printed.stderr);
        let found = said.contains(&format!("`{host}`: `DIR/{host}/var/qmail/{directory}"))
            && said.contains("mounted read-only");
        assert!(found, "{host} {directory}:\n{said}");
    }
}

#[test]
fn a_tmp_where_nothing_runs_and_an_odd_umask_hinder_no_move() {
    let pair = Pair::with(Program::below(Path::new("/var/tmp")));
    let script = format!(
        "mount -t tmpfs -o noexec none /tmp\numask 0\n\"$1\" {}",
        words("move-domain.yml", "-e domains=example.com -e panel=false")
    );
    in_namespace(&pair, &script).expect(0);
    let ann = pair.path("new", "mailnames/example.com/ann/Maildir");
    let messages: Vec<PathBuf> =
        std::fs::read_dir(ann.join("cur")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(messages.len(), 3);
    for path in messages.iter().chain([&ann.join(".Sent/cur"), &pair.path("new", "users/poppasswd")]) {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_qmail_send_that_is_not_there_or_has_not_read_its_files_is_told() {
    let pair = Pair::new();
    let said = |flags: &str, status: i32| {
        let printed = pair.stage("preflight", flags).expect(status);
        format!("{}{}", printed.stdout, printed.stderr)
    };
    let none = said("-e qmail_send=true", 0);
    assert!(none.contains("`old`: qmail-send is not running"), "{none}");
    let mutex = std::fs::File::options().write(true).open(pair.path("old", "queue/lock/sendmutex")).unwrap();
    mutex.set_modified(SystemTime::now() - Duration::from_secs(900)).unwrap();
    let unread = said("", 0);
    assert!(unread.contains("has not read `DIR/old/var/qmail/control/locals`") && unread.contains("HUP"), "{unread}");
    std::fs::remove_file(pair.path("old", "queue/lock/sendmutex")).unwrap();
    assert!(said("", 2).contains("there is no `DIR/old/var/qmail/queue/lock/sendmutex`"));
}

#[test]
fn a_catch_all_of_the_old_host_keeps_no_domain_there_that_is_forwarded() {
    let pair = Pair::new();
    pair.write("old", "control/virtualdomains", "+:all\n");
    let text = std::fs::read_to_string(pair.path("old", "control/virtualdomains")).unwrap();
    let play = |flags: &str| pair.stage("forwarding", &format!("-e domains=example.com {flags}"));
    pair.stage("preflight", "-e domains=example.com").expect(0);
    let run = crate::program::done(play);
    assert!(run.stdout.contains("ann@example.com: local 7-ann -> remote via 192.0.2.20:25"), "{}", run.stdout);
    let now = std::fs::read_to_string(pair.path("old", "control/virtualdomains")).unwrap();
    assert_eq!(now, text.replace("example.com:7\n", "example.com:\n"));
    // Mail that waits would bounce.
    let refused = pair.program.run("undo last").expect(1).stderr;
    assert!(
        refused.contains("has made the route of `example.com`") && refused.contains("`stage rollback`"),
        "{refused}"
    );
    pair.program.run("undo last --check").expect(0);
    pair.program.run("undo last --anyway").expect(0);
}

#[test]
fn a_qmail_file_of_the_new_host_with_an_x_bit_or_for_all_to_write_is_put_right_with_the_accounts() {
    let pair = Pair::new();
    let path = pair.path("new", "mailnames/example.com/ann/.qmail");
    for mode in [0o755, 0o622] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let run = pair.stage("accounts", "-e domains=example.com -e panel=false").expect(0);
        assert!(run.stdout.contains("changed: [old"), "{}", run.stdout);
        let now = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(now, 0o600, "{mode:o}");
    }
    let again = pair.stage("accounts", "-e domains=example.com -e panel=false").expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
}

/// The rows of the table in docs/traps.md: trap, what is done, test.
fn table() -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/traps.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        Some([cells.first()?.to_string(), cells.get(1)?.to_string(), cells.get(2)?.to_string()])
    });
    rows.filter(|row| row[2].starts_with('`')).collect()
}

#[test]
fn every_test_that_the_table_of_traps_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut open = vec![root.join("src"), root.join("tests/all")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(entry).unwrap();
            }
        }
    }
    let rows = table();
    assert!(rows.len() > 60, "{} rows", rows.len());
    for [trap, _, tests] in rows {
        for name in tests.split(", ").map(|name| name.trim_matches('`')) {
            assert!(sources.contains(&format!("fn {name}(")), "there is no test `{name}`, which `{trap}` names");
        }
    }
}
