//! What people get wrong and what goes wrong: each says what, where and what next, and no host is left in between.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cutover::lab::fill::{Role, fill};
use cutover::lab::server::{Options, Server, kept_key};

use crate::program::{Printed, Program};

/// Two filled mail hosts that are directories of this machine.
struct Pair {
    program: Program,
}

impl Pair {
    fn new() -> Pair {
        let program = Program::new();
        let (user, group) = (name_of("-un"), name_of("-gn"));
        fill(&program.path("old"), Role::Old, (&user, &group)).unwrap();
        fill(&program.path("new"), Role::New, (&user, &group)).unwrap();
        let pair = Pair { program };
        pair.inventory("ansible_connection=local", "ansible_connection=local");
        pair
    }

    fn inventory(&self, old: &str, new: &str) {
        let dir = |host: &str| self.qmail(host).display().to_string();
        let (user, group) = (name_of("-un"), name_of("-gn"));
        self.program.file(
            "hosts",
            &format!(
                "[old]\nold {old} qmail_dir={} qmail_send='cat {}/active/qmail-send.pid'\n[new]\nnew {new} qmail_dir={}\n[all:vars]\n\
                 mail_owner={user}\nmail_group={group}\n",
                dir("old"),
                dir("old"),
                dir("new")
            ),
        );
    }

    fn qmail(&self, host: &str) -> PathBuf {
        self.program.path(host).join("var/qmail")
    }

    fn ann(&self, host: &str) -> PathBuf {
        self.qmail(host).join("mailnames/example.com/ann/Maildir")
    }

    /// Writes a play of one host whose tasks are `tasks`, indented by four; OLD and NEW are the installations.
    fn play(&self, host: &str, tasks: &str) {
        let tasks = self.placed(tasks);
        self.program.file("play.yml", &format!("- hosts: {host}\n  gather_facts: false\n  tasks:\n{tasks}"));
    }

    fn placed(&self, text: &str) -> String {
        let dir = |host: &str| self.qmail(host).display().to_string();
        text.replace("OLD", &dir("old")).replace("NEW", &dir("new"))
    }

    /// Writes a play that moves ann's mail.
    fn move_ann(&self, more: &str) {
        self.play(
            "new",
            &format!(
                "    - maildir_move:\n        from: old\n        source: OLD/mailnames/example.com/ann/Maildir\n        \
                 dest: NEW/mailnames/example.com/ann/Maildir\n{more}"
            ),
        );
    }

    fn run(&self, flags: &str) -> Printed {
        self.program.run(&format!("play -i hosts play.yml {flags}"))
    }

    fn trees(&self) -> Tree {
        let mut all = tree(&self.program.path("old"));
        all.extend(tree(&self.program.path("new")));
        all
    }

    /// Runs the play, which has to fail with `status`, say all `parts` and leave both hosts as they were.
    fn refused(&self, flags: &str, status: i32, parts: &[&str]) -> Printed {
        let before = self.trees();
        let printed = self.run(flags).expect(status);
        let said = format!("{}{}", printed.stdout, printed.stderr);
        for part in parts {
            assert!(said.contains(part), "no `{part}` in:\n{said}");
        }
        assert!(before == self.trees(), "a host was changed:\n{said}");
        printed
    }
}

fn name_of(flag: &str) -> String {
    let output = std::process::Command::new("id").arg(flag).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

fn as_root() -> bool {
    name_of("-u") == "0"
}

/// Paths with mode, owner, time and content.
type Tree = BTreeMap<PathBuf, (u32, u32, i64, Vec<u8>)>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let about = path.symlink_metadata().unwrap();
        let content = if about.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        if about.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (about.mode(), about.uid(), about.mtime() * 1_000_000_000 + about.mtime_nsec(), content));
    }
    found
}

/// The messages that readers of a Maildir see: base names with contents. A name that is there twice is an error.
fn messages(maildir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (path, (mode, _, _, content)) in tree(maildir) {
        let name = path.strip_prefix(maildir).unwrap().display().to_string();
        let hidden = ["x/", "x-out/"].iter().any(|part| name.starts_with(part));
        if mode & 0o170000 == 0o100000 && !hidden && (name.contains("new/") || name.contains("cur/")) {
            let base = name.replace("new/", "").replace("cur/", "");
            let base = base.split(':').next().unwrap().to_string();
            assert!(found.insert(base, content).is_none(), "{name} is there twice");
        }
    }
    found
}

#[test]
fn unknown_keys_of_plays_tasks_and_modules_are_shown_at_their_places() {
    let pair = Pair::new();
    pair.program.file(
        "play.yml",
        "- hosts: new\n  gather_fact: false\n  tasks:\n    - file: {path: NEW/x, state: touch}\n      wen: true\n    \
         - copy: {dets: /x, content: y}\n",
    );
    let parts = [
        "`gather_fact`",
        "play.yml:2:3",
        "did you mean `gather_facts`?",
        "`wen`",
        "play.yml:5:7",
        "did you mean `when`?",
        "`dets`",
        "play.yml:6:14",
        "did you mean `dest`?",
    ];
    let printed = pair.refused("", 4, &parts);
    assert_eq!(printed.stdout, "");
}

#[test]
fn bad_yaml_is_shown_at_its_line() {
    for (text, place, what) in [
        ("- hosts: new\n  tasks:\n\t- ping:\n", "play.yml:3:", "tab"),
        ("- hosts: new\n  tasks: []\n  hosts: old\n", "play.yml:3:3", "'hosts'"),
        ("- hosts: new\n  tasks:\n    - ping:\n   - ping:\n", "play.yml:4:", "column"),
        ("- hosts: new\n  tasks:\n    - debug: {msg: \"open}\n", "play.yml:", "quot"),
        ("- hosts: new\n  tasks:\n    - debug:\n        msg: {{ x }}\n", "play.yml:4:", "quot"),
    ] {
        let pair = Pair::new();
        pair.program.file("play.yml", text);
        let printed = pair.refused("", 4, &[place, what]);
        assert!(printed.stdout.is_empty() && printed.stderr.contains("hint:"), "{text}\n{}", printed.stderr);
    }
}

#[test]
fn an_undefined_variable_fails_its_task_at_its_place_before_the_task_changes_anything() {
    let pair = Pair::new();
    pair.play("new", "    - copy:\n        dest: NEW/control/{{ item }}\n        content: \"{{ gretting }}\"\n      vars: {greeting: hello}\n      loop: [me, locals]\n");
    pair.refused("", 2, &["`gretting`", "play.yml:6:", "did you mean `greeting`?"]);
    // In a check just the same.
    pair.refused("--check", 2, &["`gretting`", "play.yml:6:"]);
}

#[test]
fn a_missing_file_is_named_with_where_it_was_looked_for() {
    let pair = Pair::new();
    let printed = pair.program.run("play -i hosts none.yml").expect(1);
    assert!(
        printed.stderr.contains("none.yml") && printed.stderr.contains("there is no such file"),
        "{}",
        printed.stderr
    );
    let printed = pair.program.run("play -i nohosts play.yml").expect(1);
    assert!(printed.stderr.contains("nohosts"), "{}", printed.stderr);
    pair.program
        .file("play.yml", "- hosts: new\n  gather_facts: false\n  roles: [mial]\n")
        .file("roles/mail/tasks/main.yml", "[]\n");
    pair.refused("", 1, &["`mial`", "play.yml:3:", "looked for roles/mial"]);
    pair.play("new", "    - import_tasks: none.yml\n");
    pair.refused("", 1, &["none.yml", "play.yml:4:"]);
    pair.play("new", "    - copy:\n        src: motd\n        dest: NEW/motd\n");
    pair.refused("", 2, &["`motd`", "play.yml:", "files/motd", "hint:"]);
    pair.play("new", "    - template:\n        src: motd.j2\n        dest: NEW/motd\n");
    pair.refused("", 2, &["`motd.j2`", "play.yml:", "templates/motd.j2", "hint:"]);
}

#[test]
fn a_host_that_is_not_in_the_inventory_is_named() {
    let pair = Pair::new();
    pair.play("nwe", "    - ping:\n");
    let printed = pair.run("");
    let said = format!("{}{}", printed.stdout, printed.stderr);
    assert!(said.contains("nwe"), "{said}");
    pair.play("new", "    - ping:\n");
    pair.refused("-l nwe", 1, &["`nwe`", "did you mean `new`?"]);
    pair.play("new", "    - ping:\n      delegate_to: odl\n");
    pair.refused("", 4, &["`odl` is not in the inventory", "did you mean `old`?"]);
    pair.play("new", "    - maildir_move:\n        from: odl\n        source: OLD/mailnames/example.com/ann/Maildir\n        dest: NEW/mailnames/example.com/ann/Maildir\n");
    pair.refused("", 2, &["`odl` is not in the inventory", "did you mean `old`?"]);
    pair.refused("--check", 2, &["`odl`", "inventory"]);
}

#[test]
fn an_unreadable_control_file_is_refused_and_not_taken_for_an_empty_one() {
    let pair = Pair::new();
    let locals = pair.qmail("old").join("control/locals");
    std::fs::set_permissions(&locals, std::fs::Permissions::from_mode(0o000)).unwrap();
    if as_root() {
        // Root reads everything: the task runs as somebody else, who may come as far as the file.
        std::fs::set_permissions(pair.program.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        pair.inventory("ansible_connection=local ansible_become=true ansible_become_user=nobody", "");
    }
    pair.play(
        "old",
        "    - qmail_control:\n        directory: OLD/control\n        file: locals\n        entries: [example.com]\n",
    );
    pair.refused("", 2, &["cannot read `DIR/old/var/qmail/control/locals`", "hint:"]);
    pair.play("old", "    - lineinfile:\n        path: OLD/control/locals\n        line: example.com\n");
    pair.refused("", 2, &["cannot read `DIR/old/var/qmail/control/locals`", "`become: true`"]);
    pair.inventory("ansible_connection=local", "");
    std::fs::remove_file(&locals).unwrap();
    std::fs::create_dir(&locals).unwrap();
    pair.play(
        "old",
        "    - qmail_control:\n        directory: OLD/control\n        file: locals\n        entries: [example.com]\n",
    );
    pair.refused("", 2, &["control/locals` is no regular file but a directory"]);
}

#[test]
fn locals_is_emptied_and_never_deleted() {
    let pair = Pair::new();
    pair.play(
        "old",
        "    - qmail_control:\n        directory: OLD/control\n        file: locals\n        state: absent\n",
    );
    pair.refused("", 2, &["without the file `locals`", "`me` (`old.lab.example`)", "hint:"]);
    pair.refused("--check", 2, &["without the file `locals`"]);
}

#[test]
fn a_route_to_the_old_host_itself_is_refused() {
    let pair = Pair::new();
    for own in ["127.0.0.1", "127.0.0.1:2525", "'[127.0.0.1]'", "old.lab.example", "0.0.0.0"] {
        let task = format!(
            "    - qmail_control:\n        directory: OLD/control\n        file: smtproutes\n        entries:\n          example.com: {own}\n"
        );
        pair.play("old", &task);
        pair.refused("", 2, &["example.com", "itself", "loop", "hint:"]);
    }
}

/// Runs a shell script in a mount namespace of its own, where `$1` is the program; its own first line is its purpose.
fn in_namespace(pair: &Pair, script: &str) {
    let mut command = std::process::Command::new("unshare");
    command.args(if as_root() { &["-m"][..] } else { &["-r", "-m"][..] });
    let output = command
        .args(["sh", "-ec", &pair.placed(script), "sh", env!("CARGO_BIN_EXE_cutover")])
        .current_dir(pair.program.path(""))
        .env("CUTOVER_STATE_DIR", pair.program.path("state"))
        .env("CUTOVER_LOCK_DIR", pair.program.locks_directory())
        .env("HOME", pair.program.path(""))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_mailbox_on_two_file_systems_is_refused_on_either_host() {
    for host in ["OLD", "NEW"] {
        let pair = Pair::new();
        pair.move_ann("");
        let before = pair.trees();
        in_namespace(
            &pair,
            &format!(
                "mount -t tmpfs none {host}/mailnames/example.com/ann/Maildir/new\n\
                 \"$1\" play -i hosts play.yml >said 2>&1 || echo $? >status"
            ),
        );
        let said = pair.program.read("said");
        assert_eq!(pair.program.read("status"), "2\n", "{said}");
        assert!(said.contains("must be on one file system") && said.contains("ann/Maildir"), "{said}");
        assert!(before == pair.trees(), "{said}");
    }
}

#[test]
fn a_disk_without_room_is_refused_before_anything_moves() {
    let pair = Pair::new();
    std::fs::write(pair.ann("old").join("new/1700000000.M1P1.old,S=900000"), vec![b'x'; 900_000]).unwrap();
    pair.move_ann("");
    let before = pair.trees();
    in_namespace(
        &pair,
        "home=NEW/mailnames/example.com/ann\nmount -t tmpfs -o size=500k none $home\nmkdir -p $home/Maildir/new $home/Maildir/cur $home/Maildir/tmp\n\
         \"$1\" play -i hosts play.yml >said 2>&1 || echo $? >status\nfind $home -type f >there",
    );
    let said = pair.program.read("said");
    assert_eq!(pair.program.read("status"), "2\n", "{said}");
    assert!(said.contains("500 KiB free") && said.contains("make room"), "{said}");
    assert_eq!(pair.program.read("there"), "");
    assert!(before == pair.trees(), "{said}");
}

#[test]
fn a_disk_that_fills_up_halfway_fails_the_move_and_the_next_run_completes_it() {
    let pair = Pair::new();
    let expected = messages(&pair.ann("old"));
    let late = ("1700000000.M2P2.old,S=300000".to_string(), vec![b'y'; 300_000]);
    std::fs::write(pair.program.path("late"), &late.1).unwrap();
    // While the last sessions end, a large message still comes, and somebody else fills the new host's disk.
    let drain = format!(
        "        drain: cp {} OLD/mailnames/example.com/ann/Maildir/new/{}; dd if=/dev/zero of=NEW/mailnames/example.com/ann/fill || true\n",
        pair.program.path("late").display(),
        late.0
    );
    pair.move_ann(&drain);
    let play = pair.program.read("play.yml");
    pair.move_ann("");
    std::fs::rename(pair.program.path("play.yml"), pair.program.path("again.yml")).unwrap();
    pair.program.file("play.yml", &play);
    in_namespace(
        &pair,
        "home=NEW/mailnames/example.com/ann\nmount -t tmpfs -o size=2m none $home\nmkdir -p $home/Maildir/new $home/Maildir/cur $home/Maildir/tmp\n\
         \"$1\" play -i hosts play.yml >said 2>&1 || echo $? >status\nrm $home/fill || { cat said; exit 1; }\n\
         \"$1\" play -i hosts again.yml >again 2>&1 || echo $? >failed\n\
         \"$1\" play -i hosts again.yml >third 2>&1 || echo $? >failed\ncp -a $home/Maildir result",
    );
    let said = pair.program.read("said");
    assert_eq!(pair.program.read("status"), "2\n", "{said}");
    assert!(said.contains("o space left") && said.contains("hint:"), "{said}");
    assert!(!pair.program.path("failed").exists(), "{}", pair.program.read("again"));
    let arrived = messages(&pair.program.path("result"));
    let expected: BTreeMap<_, _> = expected.into_iter().chain([late]).collect();
    assert!(arrived == expected, "{:?} of {:?}", arrived.keys(), expected.keys());
    assert!(messages(&pair.ann("old")).is_empty());
    assert!(pair.program.read("third").contains(" changed=0 "), "{}", pair.program.read("third"));
}

/// A host that is reached over SSH: the embedded server, whose connections may break after some bytes.
async fn served(pair: &Pair, name: &str, cut_after: Option<u64>) -> (Server, String) {
    let directory = pair.program.path(name);
    let key = kept_key(&pair.program.path("id")).await.unwrap();
    let options = Options {
        port: 0,
        host_key: pair.program.path("host_key"),
        user: "lab".into(),
        keys: vec![key],
        password: None,
        directory: directory.clone(),
        environment: vec![
            ("PATH".into(), std::env::var("PATH").unwrap()),
            ("HOME".into(), directory.display().to_string()),
        ],
        cut_after,
        reaches: Vec::new(),
    };
    let server = Server::start(options).await.unwrap();
    let known_hosts = pair.program.path("known_hosts");
    std::fs::write(&known_hosts, server.known_hosts_line() + "\n").unwrap();
    let variables = format!(
        "ansible_host=127.0.0.1 ansible_port={} ansible_user=lab ansible_ssh_private_key_file={} ansible_ssh_known_hosts_file={}",
        server.port(),
        pair.program.path("id").display(),
        known_hosts.display()
    );
    (server, variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_while_mail_moves_is_told_and_the_next_run_loses_and_doubles_nothing() {
    for host in ["old", "new"] {
        for cut_after in [100_000, 200_000, 600_000] {
            let pair = Pair::new();
            for number in 0..40 {
                let name = format!("1700000000.M{number}P9.old,S=30000");
                std::fs::write(pair.ann("old").join("new").join(name), vec![b'a' + number % 26; 30_000]).unwrap();
            }
            let expected = messages(&pair.ann("old"));
            pair.move_ann("");
            let inventory = |variables: &str| match host {
                "old" => pair.inventory(variables, "ansible_connection=local"),
                _ => pair.inventory("ansible_connection=local", variables),
            };
            let (server, variables) = served(&pair, host, Some(cut_after)).await;
            inventory(&variables);
            let broken = tokio::task::block_in_place(|| pair.run(""));
            drop(server);
            let said = format!("{}{}", broken.stdout, broken.stderr);
            assert!([2, 4].contains(&broken.status) && said.contains("fatal: [new]"), "{host} {cut_after}: {said}");
            assert!(said.contains("run it again to go on"), "{host} {cut_after}: {said}");
            // Nobody has seen a message twice meanwhile.
            let (left, come) = (messages(&pair.ann("old")), messages(&pair.ann("new")));
            assert!(left.keys().all(|name| !come.contains_key(name)), "{host} {cut_after}");

            let (server, variables) = served(&pair, host, None).await;
            inventory(&variables);
            let second = tokio::task::block_in_place(|| pair.run("")).expect(0);
            assert!(second.stdout.contains(" changed=1 "), "{}", second.stdout);
            assert!(messages(&pair.ann("new")) == expected, "{host} {cut_after}: lost or changed");
            assert!(messages(&pair.ann("old")).is_empty(), "{host} {cut_after}");
            let third = tokio::task::block_in_place(|| pair.run("")).expect(0);
            assert!(third.stdout.contains(" changed=0 "), "{}", third.stdout);
            drop(server);
        }
    }
}

/// The old host's qmail-send, which is ended with the test.
struct QmailSend(std::process::Child);

impl QmailSend {
    fn start(pair: &Pair) -> QmailSend {
        let home = pair.qmail("old");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cutover"));
        let child = command.args(["lab", "qmail-send"]).arg(&home).stdout(std::process::Stdio::null()).spawn().unwrap();
        let running = QmailSend(child);
        let started = || std::fs::read(home.join("active/qmail-send.pid")).is_ok_and(|pid| !pid.is_empty());
        let waited = (0..500).any(|_| {
            started() || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                false
            }
        });
        assert!(waited, "qmail-send does not start");
        running
    }
}

impl Drop for QmailSend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_move_to_the_old_hosts_own_address_is_refused_and_goes_on_with_the_right_one() {
    let pair = Pair::new();
    let _qmail_send = QmailSend::start(&pair);
    let playbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/move-domain.yml");
    let run = |address: &str| {
        let address = format!("new_address={address}");
        // No mail server listens there.
        let words = ["play", "-i", "hosts", &playbook.display().to_string(), "-e", &address, "-e", "probe=false"];
        pair.program.run_words(&words)
    };
    let (old, new) = (tree(&pair.program.path("old")), tree(&pair.program.path("new")));
    let expected = messages(&pair.ann("old"));
    let printed = run("127.0.0.1").expect(2);
    let said = format!("{}{}", printed.stdout, printed.stderr);
    assert!(said.contains("leads to `") && said.contains("itself") && said.contains("hint:"), "{said}");
    assert!(old == tree(&pair.program.path("old")), "the old host was changed:\n{said}");
    assert!(new == tree(&pair.program.path("new")), "the new host was changed:\n{said}");
    run("192.0.2.20").expect(0);
    assert!(messages(&pair.ann("new")) == expected);
    assert!(messages(&pair.ann("old")).is_empty());
}
