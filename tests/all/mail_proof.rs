//! Probes of real mail servers, and the stages of proof and window with them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cutover::lab::fill::{DOMAINS, Role, fill};

use crate::program::{Printed, Program};
use crate::sshd::{Sshd, accepts, free_port, wait_for};

/// A server of a Debian package on loopback; ended when dropped.
struct Server {
    port: u16,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(configure: impl Fn(&Path, u16) -> Command) -> Server {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let log = directory.path().join("log");
        for _ in 0..5 {
            let port = free_port();
            let mut command = configure(directory.path(), port);
            let file = fs::File::create(&log).unwrap();
            command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
            let mut child = command.spawn().expect("tests/run installs it");
            if wait_for(|| child.try_wait().unwrap().is_some() || accepts(port)) && accepts(port) {
                return Server { port, child, _directory: directory };
            }
            let _ = child.wait();
        }
        panic!("it does not start: {}", fs::read_to_string(log).unwrap_or_default());
    }

    /// Takes mail for the lab's domains, and none for an address that nobody has.
    fn qpsmtpd() -> Server {
        Server::start(|directory, port| {
            let spool = directory.join("spool");
            fs::create_dir_all(directory.join("config")).unwrap();
            fs::create_dir_all(&spool).unwrap();
            fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).unwrap();
            let lines =
                |prefix: &str| DOMAINS.iter().map(|domain| format!("{prefix}{}\n", domain.0)).collect::<String>();
            for (name, text) in [
                ("me", "new.lab.example\n".to_string()),
                ("rcpthosts", lines("")),
                ("badrcptto", lines("no-such-user-here@")),
                ("plugins", "badrcptto\nrcpt_ok\n".into()),
                ("databytes", "1000000\n".into()),
                ("spool_dir", format!("{}\n", spool.display())),
                ("plugin_dirs", "/usr/share/qpsmtpd/plugins\n".into()),
            ] {
                fs::write(directory.join("config").join(name), text).unwrap();
            }
            let mut command = Command::new("qpsmtpd-forkserver");
            command.args(["-l", "127.0.0.1", "-u", "root", "-p", &port.to_string()]);
            command.env("QPSMTPD_CONFIG", directory.join("config"));
            command
        })
    }

    /// POP3 for one account, `ann` with the password `secret`, who has two messages.
    fn dovecot() -> Server {
        Server::start(|directory, port| {
            let inbox = directory.join("Maildir/new");
            fs::create_dir_all(&inbox).unwrap();
            for name in ["1.a", "2.b"] {
                fs::write(inbox.join(name), "Subject: one\n\nhello\n").unwrap();
            }
            let owner = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(directory.join("Maildir")).status();
            assert!(owner.unwrap().success());
            fs::write(directory.join("users"), "ann:secret\n").unwrap();
            let text = format!(
                "base_dir = {0}/run\nprotocols = pop3\nlisten = 127.0.0.1\nlog_path = {0}/said\nssl = no\n\
                 disable_plaintext_auth = no\npop3_uidl_format = %f\nmail_location = maildir:{0}/Maildir\n\
                 first_valid_uid = 1\nservice pop3-login {{\n  inet_listener pop3 {{\n    port = {port}\n  }}\n  \
                 inet_listener pop3s {{\n    port = 0\n  }}\n}}\n\
                 passdb {{\n  driver = passwd-file\n  args = scheme=plain {0}/users\n}}\n\
                 userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home={0}\n}}\n",
                directory.display()
            );
            fs::write(directory.join("dovecot.conf"), text).unwrap();
            let mut command = Command::new("dovecot");
            command.arg("-F").arg("-c").arg(directory.join("dovecot.conf"));
            command
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked, so that it ends its own children.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn qpsmtpd_and_dovecot_answer_a_probe_over_ssh_and_from_here() {
    let (sshd, smtp, pop3) = (Sshd::start(""), Server::qpsmtpd(), Server::dovecot());
    let program = Program::new();
    let target = sshd.target();
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519"));
    program.file(
        "hosts",
        &format!(
            "far ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}\n\
             here ansible_connection=local\n",
            sshd.port,
            target.keys[0].display()
        ),
    );
    let play = "- hosts: all
  gather_facts: no
  tasks:
    - mail_probe:
        port: SMTP
        accepted: [ann@example.com, info@example.net]
        unknown: no-such-user-here@example.com
        foreign: x@foreign.example
        size: 1000000
      register: answers
    - mail_probe: {port: SMTP, accepted: x@foreign.example, unknown: ann@example.com, size: 1000001}
      register: wrong
    - mail_probe: {protocol: pop3, port: POP, user: ann, password: secret}
      register: login
      no_log: true
    - mail_probe: {protocol: pop3, port: POP, user: ann, password: other}
      register: refused
      no_log: true
    - debug: msg='{{ answers.problems }} {{ answers.size }} {{ wrong.problems | length }} {{ wrong.problems[0] }}'
    - debug: msg='{{ login.messages }} {{ login.uidls }} {{ login.problems }} {{ refused.problems[0] }}'
";
    let play = play.replace("SMTP", &smtp.port.to_string()).replace("POP", &pop3.port.to_string());
    program.file("play.yml", &play);
    let printed = program.run("play -i hosts play.yml -v").expect(0);
    let text = printed.stdout;
    for words in ["[] 1000000 3 127.0.0.1 port", "550 Relaying denied (#5.7.1)", "2 2 [] 127.0.0.1 port"] {
        assert!(text.matches(words).count() >= 2, "both hosts do not say {words:?}:\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

/// Two hosts on this machine whose queues are a directory: what `qmail-inject` is given is in its mailbox at once.
struct Hosts {
    program: Program,
    smtp: Server,
}

impl Hosts {
    fn new() -> Hosts {
        let (program, smtp) = (Program::new(), Server::qpsmtpd());
        fill(&program.path("old"), Role::Old, ("root", "root")).unwrap();
        fill(&program.path("new"), Role::New, ("root", "root")).unwrap();
        let line = |host: &str| {
            let qmail = program.path(&format!("{host}/var/qmail"));
            format!("[{host}]\n{host}-host ansible_connection=local qmail_dir={}\n", qmail.display())
        };
        program.file("hosts", &(line("old") + &line("new")));
        let inject = format!(
            "[ \"$1 $2 $3\" = '-a -f ' ] || exit 100\nshift 3\nmessage=$(cat)\nfor to do\n  \
             box={}/${{to#*@}}/${{to%@*}}/Maildir/new\n  [ -d \"$box\" ] || continue\n  printf '%s\\n' \"$message\" >\"$box/$$.$(basename \"$PWD\").HOST\" || exit 111\ndone",
            program.path("new/var/qmail/mailnames").display()
        );
        let hosts = Hosts { program, smtp };
        for host in ["old", "new"] {
            hosts.script(&format!("{host}/var/qmail/bin/qmail-inject"), &inject.replace("HOST", host));
        }
        hosts
    }

    fn script(&self, name: &str, text: &str) {
        self.program.script(name, text);
    }

    fn stage(&self, name: &str, flags: &str) -> Printed {
        let stage = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/stages").join(name);
        // There is no qmail-send.
        let address = format!("new_address=127.0.0.1:{} -e daemons=false", self.smtp.port);
        self.program.run(&format!("play -i hosts {} -e {address} {flags}", stage.display()))
    }

    fn messages(&self, user: &str) -> Vec<String> {
        let path = self.program.path(&format!("new/var/qmail/mailnames/{user}/Maildir/new"));
        let entries = fs::read_dir(path).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_proof_asks_every_address_and_its_test_messages_come_and_go() {
    let hosts = Hosts::new();
    let ann = "example.com/ann";
    fs::create_dir_all(hosts.program.path("new/var/qmail/mailnames/example.com/ann/Maildir/new")).unwrap();
    hosts.program.file("new/var/qmail/mailnames/example.com/ann/Maildir/new/1.own", "Subject: of her own\n\n");
    let asked = hosts.stage("proof.yml", "").expect(0);
    assert!(asked.stdout.contains("changed=0"), "{}", asked.stdout);
    let check = hosts.stage("proof.yml", "-e proof_to=ann@example.com --check").expect(0);
    assert!(check.stdout.contains("qmail-inject -a -f"), "{}", check.stdout);
    assert_eq!(hosts.messages(ann), ["1.own"]);
    let sent = hosts.stage("proof.yml", "-e proof_to=ann@example.com").expect(0);
    assert!(sent.stdout.contains("-Subject: Test of the mail move: through the old host"), "{}", sent.stdout);
    assert_eq!(hosts.messages(ann), ["1.own"], "exactly the test messages are taken away:\n{}", sent.stdout);
    let nobody = hosts.stage("proof.yml", "-e proof_to=nobody@example.com");
    assert!(nobody.status == 2 && nobody.stdout.contains("nobody has nobody@example.com"), "{}", nobody.stdout);
    hosts.script("old/var/qmail/bin/qmail-inject", "cat >/dev/null");
    let lost = hosts.stage("proof.yml", "-e proof_to=ann@example.com -e proof_seconds=2");
    assert!(lost.status == 2 && lost.stdout.contains("not all test messages came"), "{}", lost.stdout);
    // A host that takes what it must not is told of, and then nothing is sent.
    hosts.program.file("old/var/qmail/control/virtualdomains", "foreign.example:9\n");
    fs::create_dir_all(hosts.program.path("old/var/qmail/mailnames/foreign.example/zoe/Maildir")).unwrap();
    let refused = hosts.stage("proof.yml", "-e proof_to=ann@example.com -e domains=foreign.example");
    assert!(refused.status == 2 && refused.stdout.contains("refuses `zoe@foreign.example`: 550"), "{}", refused.stdout);
    assert_eq!(hosts.messages(ann), ["1.own"]);
}

fn newu(program: &Program, host: &str) {
    let newu = program.path(&format!("state/lab/{host}/var/qmail/bin/qmail-newu"));
    assert!(Command::new(newu).status().unwrap().success());
}

#[test]
fn every_class_of_address_gets_its_message_both_ways_and_backscatter_and_full_mailboxes_are_measured() {
    let program = Program::new();
    program.run("lab up").expect(0);
    let lab = program.path("state/lab").display().to_string();
    let stage = |name: &str, flags: &str| {
        program.run(&format!(
            "play -i {lab}/inventory.yml {lab}/playbooks/stages/{name}.yml -e domains=example.com {flags}"
        ))
    };
    let answered = program.path("answered").display().to_string();
    // As the panel has them: each an account with a directory of its own.
    let qmail = "state/lab/old/var/qmail";
    let mut assign = program.read(&format!("{qmail}/users/assign"));
    let own = assign.lines().find(|line| line.starts_with("=7-ann:")).unwrap().to_string();
    for (name, text) in [
        ("team", "&ann@example.com\n&bob@example.com\n"),
        ("out", "&x@partner.example\n"),
        ("one", "&bob@example.com\n"),
        ("news", "|/usr/bin/ezmlm-send '/var/qmail/lists/news'\n"),
        ("away", "|AUTORESPONDER\n&bob@example.com\n"),
    ] {
        let text = text.replace("AUTORESPONDER", &format!("{}/autoresponder", program.path("").display()));
        program.file(&format!("{qmail}/mailnames/example.com/{name}/.qmail"), &text);
        assign =
            format!("{}\n{assign}", own.replace("/ann:", &format!("/{name}:")).replace("-ann:", &format!("-{name}:")));
    }
    // Another name of Ann's.
    assign = format!("{}\n{assign}", own.replace("-ann:", "-anna:"));
    program.file(&format!("{qmail}/users/assign"), &assign);
    newu(&program, "old");
    program.file("autoresponder", &format!("#!/bin/sh\n[ -z \"$SENDER\" ] || echo \"$SENDER\" >>{answered}\n"));
    fs::set_permissions(program.path("autoresponder"), fs::Permissions::from_mode(0o755)).unwrap();
    // Mail goes nowhere where its addresses are not known yet.
    let refused = stage("forwarding", "").expect(2).stdout;
    assert!(refused.contains("team@example.com") && refused.contains(" changed=0 "), "{refused}");
    // Nor does stored mail leave a domain whose mail still comes to the old host.
    for flags in ["--check", ""] {
        let refused = stage("stored-mail", flags).expect(2).stdout;
        assert!(refused.contains("stages/forwarding.yml comes first") && !refused.contains("---"), "{refused}");
    }
    program.file("pw", "any\n");
    stage("accounts", "--vault-password-file pw").expect(0);
    let runs = program.run("runs").expect(0).stdout;
    let accounts = runs.lines().last().unwrap().split(' ').next().unwrap().to_string();
    stage("forwarding", "").expect(0);
    // Mail counts on the accounts by now.
    let refused = program.run(&format!("undo {accounts} --vault-password-file pw")).expect(1).stderr;
    assert!(refused.contains("mail of `example.com` has been forwarded to the accounts of run"), "{refused}");
    let messages = || {
        let find =
            Command::new("find").arg(program.path("state/lab/new/var/qmail/mailnames/example.com")).output().unwrap();
        let text = String::from_utf8(find.stdout).unwrap();
        text.lines().filter(|line| line.contains("/new/") || line.contains("/cur/")).count()
    };
    let before = messages();
    let proof = stage("proof", "-e proof_to=classes -e proof_seconds=60").expect(0);
    for words in [
        "team@example.com",
        "one@example.com",
        "anna@example.com",
        "away@example.com",
        "postmaster@example.com",
        "list `news@example.com`: a test message would go to its subscribers",
    ] {
        assert!(proof.stdout.contains(words), "{words} is not in\n{}", proof.stdout);
    }
    assert_eq!(messages(), before, "the test messages are taken away");
    assert!(!proof.stdout.contains("item=out@example.com"), "{}", proof.stdout);
    assert!(!Path::new(&answered).exists(), "the autoresponder has answered");

    // Carol's mailbox is full, and qmail's deliverquota bounces.
    let new = "state/lab/new/var/qmail/mailnames/example.com/carol";
    program.file(&format!("{new}/.qmail"), "| true\n| /usr/bin/deliverquota ./Maildir\n");
    program.file(&format!("{new}/Maildir/maildirsize"), "10S\n10 1\n");
    let flags = "-e proof_sender=ann@example.com -e proof_full=carol@example.com -e proof_seconds=60";
    let measured = stage("proof", flags).expect(0);
    for words in ["1 unknown users through the old host 1 bounces came", "it came back as a bounce: raise the quota"] {
        assert!(measured.stdout.contains(words), "{words} is not in\n{}", measured.stdout);
    }
    assert_eq!(messages(), before, "bounces are taken away, too");
    // What nobody has comes to whom a catch-all leads.
    let of_net = |name: &str, flags: &str| {
        program.run(&format!(
            "play -i {lab}/inventory.yml {lab}/playbooks/stages/{name}.yml -e domains=example.net -e {{\"catch_all\":[\"example.net\"]}} {flags}"
        ))
    };
    // The panel does not have such a domain refuse anybody.
    program.file("state/lab/new/var/qmail/control/rejectnonexist", "example.com\n");
    of_net("accounts", "").expect(0);
    of_net("forwarding", "").expect(0);
    let proof = of_net("proof", "-e proof_to=classes -e proof_seconds=60").expect(0);
    assert!(proof.stdout.contains("no-such-user-here@example.net"), "{}", proof.stdout);
    let log = program.read("state/lab/new/var/qmail/active/qmail-send.log");
    assert!(log.contains("to local 8-no-such-user-here@example.net"), "{log}");
    // What holds mail up is said before anything is sent.
    program.file("state/lab/old/var/qmail/control/concurrencyremote", "0\n");
    let held = stage("proof", "-e proof_to=classes").expect(2);
    assert!(held.stdout.contains("old host: `concurrencyremote` is 0: nothing is sent"), "{}", held.stdout);
    program.run("lab down").expect(0);
}

#[test]
fn the_retirement_undoes_the_door_and_the_whitelist_and_leaves_a_record() {
    let hosts = Hosts::new();
    hosts.script("old/var/qmail/bin/qmail-qread", ":");
    hosts.script("old/var/qmail/bin/qmail-qstat", "echo 'messages in queue but not yet preprocessed: 0'");
    let root = hosts.program.path("");
    let root = root.display();
    let flags = format!(
        "-e new_address=192.0.2.20 -e probe=false -e qmail_send=true -e old_address=127.0.0.30 -e whitelist=true -e whitelist_may_relay=true \
         -e qpsmtpd_dir={root}/qpsmtpd -e door_services={root}/service -e door_xinetd={root}/xinetd.d"
    );
    for directory in ["service", "xinetd.d"] {
        fs::create_dir(hosts.program.path(directory)).unwrap();
    }
    hosts.program.file("qpsmtpd/plugins", "whitelist\nrcpt_ok\n").file("new/var/qmail/control/door.rules", ":deny\n");
    hosts.stage("door.yml", &format!("{flags} -e door=daemontools")).expect(0);
    let link = hosts.program.path("service/qmail-smtpd-door");
    assert!(link.symlink_metadata().is_ok() && hosts.program.read("qpsmtpd/whitelisthosts") == "127.0.0.30\n");
    let rules = hosts.program.read("new/var/qmail/control/door.rules");
    assert!(rules.contains("127.0.0.30:allow"), "{rules}");
    // What is not forwarded, and what something waits for, is taken on as before.
    let rcpthosts = hosts.program.read("old/var/qmail/control/rcpthosts");
    for flags in [format!("{flags} --check"), flags.clone()] {
        let refused = hosts.stage("retirement.yml", &format!("{flags} -e domains=example.com")).expect(2).stdout;
        assert!(refused.contains("example.com: this host does not forward to 192.0.2.20 yet"), "{refused}");
    }
    hosts.stage("forwarding.yml", &format!("{flags} -e domains=example.com")).expect(0);
    // Nobody knows here where the MX leads.
    let refused = hosts.stage("retirement.yml", &format!("{flags} -e domains=example.com")).expect(2).stdout;
    assert!(refused.contains("by a name or MX of example.com") && !refused.contains("---"), "{refused}");
    let flags = format!("{flags} -e dns_moved=true");
    hosts.script("old/var/qmail/bin/qmail-qread", "printf '\\tremote\\tann@example.com\\n'");
    for more in ["--check", "-e queue_timeout=2"] {
        let refused = hosts.stage("retirement.yml", &format!("{flags} -e domains=example.com {more}")).expect(2).stdout;
        assert!(refused.contains("is still in the queue") && !refused.contains("---"), "{refused}");
    }
    assert_eq!(hosts.program.read("old/var/qmail/control/rcpthosts"), rcpthosts);
    assert!(!hosts.program.path("old/var/qmail/moved-domains").exists());
    hosts.script("old/var/qmail/bin/qmail-qread", ":");
    hosts.program.file("xinetd.d/smtp-door", "service smtp-door\n{\n    only_from   = 127.0.0.30 127.0.0.31\n}\n");
    let check =
        hosts.stage("retirement.yml", &format!("{flags} -e door=xinetd -e domains=example.com --check")).expect(0);
    let expected = "-    only_from   = 127.0.0.30 127.0.0.31\n+    only_from   = 127.0.0.31\n";
    assert!(check.stdout.contains(expected) && !check.stdout.contains("-service smtp-door"), "{}", check.stdout);
    hosts.program.file("xinetd.d/smtp-door", "service smtp-door\n{\n    only_from   = 127.0.0.30\n}\n");
    let check =
        hosts.stage("retirement.yml", &format!("{flags} -e door=xinetd -e domains=example.com --check")).expect(0);
    assert!(check.stdout.contains("-service smtp-door\n"), "{}", check.stdout);

    let retired =
        hosts.stage("retirement.yml", &format!("{flags} -e door=daemontools -e domains=example.com")).expect(0);
    assert!(link.symlink_metadata().is_err(), "{}", retired.stdout);
    assert!(!hosts.program.read("new/var/qmail/control/door.rules").contains("127.0.0.30"));
    assert_eq!(hosts.program.read("qpsmtpd/whitelisthosts"), "");
    assert!(hosts.program.read("old/var/qmail/moved-domains").starts_with("example.com has moved to new-host"));
    let again = hosts.stage("retirement.yml", &format!("{flags} -e door=daemontools -e domains=example.com")).expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
    // One that was cut off before the route went is gone on with.
    let routes = hosts.program.read("old/var/qmail/control/smtproutes");
    hosts.program.file("old/var/qmail/control/smtproutes", &format!("{routes}example.com:192.0.2.20\n"));
    hosts.stage("retirement.yml", &format!("{flags} -e door=daemontools -e domains=example.com")).expect(0);
    assert_eq!(hosts.program.read("old/var/qmail/control/smtproutes"), routes);

    // It stays retired, and a rollback brings it back whole, under its own number alone.
    let left = hosts.stage("forwarding.yml", &format!("{flags} -e domains=example.com")).expect(0).stdout;
    assert!(left.contains("example.com: retired (") && left.contains(" changed=0 "), "{left}");
    let back = |number: &str| {
        hosts.stage("rollback.yml", &format!("{flags} -e {{\"virtual\":{{\"example.com\":\"{number}\"}}}}"))
    };
    let refused = back("12").expect(2).stdout;
    assert!(refused.contains("users/assign has example.com:7, and not example.com:12"), "{refused}");
    // What nobody said is in users/assign.
    hosts.stage("rollback.yml", &format!("{flags} -e domains=example.com")).expect(0);
    assert_eq!(hosts.program.read("old/var/qmail/moved-domains"), "");
    assert!(hosts.program.read("old/var/qmail/control/rcpthosts").contains("example.com\n"));
    assert!(hosts.program.read("old/var/qmail/control/virtualdomains").contains("example.com:7\n"));
    let again = back("7").expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
}

#[test]
fn the_watch_reads_queue_log_and_drift_of_every_domain() {
    let hosts = Hosts::new();
    hosts.script("old/var/qmail/bin/qmail-qread", "printf '\\tlocal\\t7-ann@example.com\\n'");
    hosts.script("old/var/qmail/bin/qmail-qstat", "echo 'messages in queue but not yet preprocessed: 0'");
    hosts.program.file("current", "@400000006b08ee8a00000000 status: local 0/10 remote 0/20\n");
    let log = hosts.program.path("current");
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let lines = ["bob@example.com>, rip=198.51.100.7", "ann@example.com>, rip=10.77.0.10"];
    let lines =
        lines.map(|line| format!("{stamp} mail dovecot: pop3-login: Login: user=<{line}, lip=10.77.0.20, TLS\n"));
    hosts.program.file("logins", &lines.concat());
    let logins = hosts.program.path("logins");
    let flags = "-e old_address=10.77.0.10 -e proxy_ports=110";
    let flags = format!("-e qmail_logs={} -e login_logs={} {flags} -v", log.display(), logins.display());
    let told = hosts.stage("watch.yml", flags.trim_end_matches(" -v")).expect(0).stdout;
    assert!(
        told.contains("\"example.com: `virtualdomains` line 2 has `example.com:7`: its mail stays here\""),
        "{told}"
    );
    let watched = hosts.stage("watch.yml", &flags).expect(0);
    for words in [
        "bob@example.com: 1 session, the last ",
        "through it, at the new host:\",\n        \"1 user, 1 session since ",
        "\"queued_local\": 1",
        "`virtualdomains` line 2 has `example.com:7`",
        "no route",
        "changed=0",
    ] {
        assert!(watched.stdout.contains(words), "{words} is not in\n{}", watched.stdout);
    }
    let silent = hosts.stage("watch.yml", "-e qmail_logs=/nonexistent/log");
    assert!(silent.status == 2 && silent.stdout.contains("no log of qmail-send"), "{}", silent.stdout);
}
