//! The lab's stand-in for qmail as its programs: signals, routes, queues, bounces and logins, judged by what is on disk.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cutover");

/// Waits for what comes soon.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not so after 30 seconds: {what}");
}

/// A program that ends with the test.
struct Running {
    child: Child,
    /// The first line that it printed.
    said: String,
}

impl Running {
    fn start(name: &str, words: &[&str]) -> Running {
        let mut command = Command::new(PROGRAM);
        command.args(["lab", name]).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        Running { child, said: said.trim_end().to_string() }
    }

    fn address(&self) -> &str {
        self.said.strip_prefix("listening ").unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An installation with the mailboxes bob and carol in example.com, which is virtual with the number 7.
pub struct Qmail {
    directory: tempfile::TempDir,
    send: Option<Running>,
    smtp: Running,
}

impl Qmail {
    pub fn start(me: &str) -> Qmail {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let id = |flag: &str| {
            String::from_utf8(Command::new("id").arg(flag).output().unwrap().stdout).unwrap().trim().to_string()
        };
        let who = format!("{}:{}:{}", id("-un"), id("-u"), id("-g"));
        let mut assign = String::new();
        for user in ["bob", "carol"] {
            let home = root.join("mailnames/example.com").join(user);
            for part in ["new", "cur", "tmp"] {
                std::fs::create_dir_all(home.join("Maildir").join(part)).unwrap();
            }
            std::fs::write(home.join(".qmail"), "| true\n| /usr/bin/deliverquota ./Maildir\n").unwrap();
            assign += &format!("=7-{user}:{who}:{}:::\n", home.display());
        }
        assign += &format!("+7-:{who}:{}:-::\n.\n", root.join("mailnames/example.com").display());
        let smtp = {
            for part in ["control", "users", "active"] {
                std::fs::create_dir_all(root.join(part)).unwrap();
            }
            for (file, text) in [
                ("control/me", format!("{me}\n")),
                ("control/locals", String::new()),
                ("control/rcpthosts", "example.com\noutside.example\n".into()),
                ("control/virtualdomains", "example.com:7\n".into()),
                ("users/assign", assign),
                ("users/poppasswd", "bob@example.com:secret\n".into()),
                ("mailnames/example.com/.qmail-default", "|bouncesaying 'not here'\n".into()),
            ] {
                std::fs::write(root.join(file), text).unwrap();
            }
            Running::start("qmail-smtpd", &[&root.display().to_string(), "127.0.0.1:0"])
        };
        let mut qmail = Qmail { directory, send: None, smtp };
        assert!(qmail.run("qmail-newu").0 == 0);
        qmail.network("");
        qmail.restart();
        qmail
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    fn restart(&mut self) {
        self.send = None;
        self.send = Some(Running::start("qmail-send", &[&self.root().display().to_string()]));
    }

    fn signal(&self, name: &str) {
        self.send.as_ref().unwrap().signal(name);
    }

    /// Its status and output.
    fn run(&self, name: &str) -> (i32, String) {
        let output = Command::new(PROGRAM).args(["lab", name]).arg(self.root()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.root().join(file), text).unwrap();
    }

    /// Its own address is 192.0.2.10, and its MX for example.com is itself.
    fn network(&self, more: &str) {
        let own = format!("own 192.0.2.10\nto 192.0.2.10:25 {}\n", self.smtp.address());
        self.write("active/network", &format!("{own}a me.example 192.0.2.10\nmx example.com 10 me.example\n{more}"));
    }

    /// Hands one message over by SMTP; it has to be taken.
    pub fn send(&self, from: &str, to: &str, subject: &str) {
        let mut stream = TcpStream::connect(self.smtp.address()).unwrap();
        let lines = format!("HELO x\nMAIL FROM:<{from}>\nRCPT TO:<{to}>\nDATA\nSubject: {subject}\n\nhello\n.\nQUIT\n");
        stream.write_all(lines.replace('\n', "\r\n").as_bytes()).unwrap();
        let said: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        assert!(said[5].starts_with("250 ok "), "{said:?}");
    }

    /// The messages in a user's `new`.
    fn new_of(&self, user: &str) -> Vec<PathBuf> {
        let new = self.root().join("mailnames/example.com").join(user).join("Maildir/new");
        std::fs::read_dir(new).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn queue(&self) -> String {
        self.run("qmail-qread").1
    }

    pub fn is_idle(&self) -> bool {
        self.run("qmail-qstat").1.starts_with("messages in queue: 0\n")
    }

    /// The one message in the queue that has not been taken from `todo`, as on a host without qmail-send.
    fn only_queued(&self) -> Option<String> {
        let mut found = std::fs::read_dir(self.root().join("queue/mess")).into_iter().flatten();
        let path = found.next()?.unwrap().path();
        Some(String::from_utf8(std::fs::read(path).unwrap()).unwrap())
    }
}

/// A host that keeps what it is sent in its queue.
fn outside() -> Qmail {
    let mut outside = Qmail::start("outside.example");
    outside.send = None;
    outside
}

#[test]
fn a_hup_rereads_the_domains_and_nothing_else_and_routes_need_no_signal() {
    let new = Qmail::start("new.example");
    let old = Qmail::start("me.example");
    old.network(&format!("to 192.0.2.20:25 {}\n", new.smtp.address()));
    old.write("control/smtproutes", "example.com:192.0.2.20\n");
    old.write("control/virtualdomains", "");
    old.send("a@outside.example", "bob@example.com", "before the HUP");
    wait_until("it is delivered here", || old.new_of("bob").len() == 1);

    // Held after a restart only: concurrencyremote is read at the start.
    old.write("control/concurrencyremote", "0\n");
    old.signal("HUP");
    wait_until("the tables are read", || std::fs::read(old.root().join("active/virtualdomains")).unwrap().is_empty());
    old.send("a@outside.example", "bob@example.com", "after the HUP");
    wait_until("it is delivered there", || new.new_of("bob").len() == 1);
    assert_eq!(old.new_of("bob").len(), 1);
    wait_until("both queues are empty", || old.is_idle() && new.is_idle());

    let mut old = old;
    old.restart();
    old.send("a@outside.example", "bob@example.com", "held");
    wait_until("it is in the channel", || old.queue().contains("\tremote\tbob@example.com\n"));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(new.new_of("bob").len(), 1, "a concurrency of 0 holds the channel");
}

#[test]
fn a_message_stays_in_the_channel_it_was_put_into() {
    let old = Qmail::start("me.example");
    let home = old.root().join("mailnames/example.com/bob");
    let set = |mode: &str| assert!(Command::new("chmod").arg(mode).arg(&home).status().unwrap().success());
    // The home is frozen, then the domain goes elsewhere.
    set("+t");
    old.send("a@outside.example", "bob@example.com", "frozen");
    wait_until("it is deferred", || old.queue().contains("\tlocal\t7-bob@example.com\n"));
    old.write("control/smtproutes", "example.com:192.0.2.20\n");
    old.write("control/virtualdomains", "");
    old.signal("HUP");
    set("-t");
    old.signal("ALRM");
    wait_until("it is delivered on the old host", || old.new_of("bob").len() == 1 && old.is_idle());
}

#[test]
fn restoring_the_domain_and_deleting_the_route_bounces_what_waits_and_a_route_to_itself_saves_it() {
    for safely in [false, true] {
        let outside = outside();
        let old = Qmail::start("me.example");
        // Nobody listens at the new host.
        let network = "to 192.0.2.20:25 127.0.0.1:1\na mail.outside.example 192.0.2.99\nmx outside.example 10 mail.outside.example\n";
        old.network(&format!("{network}to 192.0.2.99:25 {}\n", outside.smtp.address()));
        old.write("control/smtproutes", "example.com:192.0.2.20\n");
        old.write("control/virtualdomains", "");
        old.signal("HUP");
        wait_until("the tables are read", || {
            std::fs::read(old.root().join("active/virtualdomains")).unwrap().is_empty()
        });
        old.send("ann@outside.example", "bob@example.com", "waiting");
        wait_until("it is deferred", || old.queue().contains("\tremote\tbob@example.com\n"));

        old.write("control/virtualdomains", "example.com:7\n");
        old.signal("HUP");
        old.write("control/smtproutes", if safely { "example.com:192.0.2.10\n" } else { "" });
        old.signal("ALRM");
        wait_until("the queue is empty", || old.is_idle());
        if safely {
            assert_eq!((old.new_of("bob").len(), outside.only_queued()), (1, None));
            continue;
        }
        assert!(old.new_of("bob").is_empty());
        let bounce = outside.only_queued().expect("no bounce");
        for part in
            ["<bob@example.com>:", "best-preference MX", "(#5.4.6)", "Subject: failure notice", "Subject: waiting"]
        {
            assert!(bounce.contains(part), "{bounce}");
        }
    }
}

#[test]
fn mail_of_an_unknown_user_bounces_to_its_sender_and_a_message_too_old_too() {
    let outside = outside();
    let mut old = Qmail::start("me.example");
    let network = format!("a mail.outside.example 192.0.2.99\nto 192.0.2.99:25 {}\n", outside.smtp.address());
    old.network(&format!("{network}mx outside.example 10 mail.outside.example\n"));
    old.send("ann@outside.example", "nobody@example.com", "to nobody");
    wait_until("it has bounced", || outside.only_queued().is_some());
    let bounce = outside.only_queued().unwrap();
    assert!(bounce.contains("<nobody@example.com>:\nnot here\n"), "{bounce}");
    // The bounce of a bounce goes to the postmaster, who is nobody here, and ends there.
    old.send("", "nobody@example.com", "a bounce");
    wait_until("the queue is empty", || old.is_idle());

    old.write("control/queuelifetime", "0\n");
    old.restart();
    let home = old.root().join("mailnames/example.com/bob");
    assert!(Command::new("chmod").arg("+t").arg(&home).status().unwrap().success());
    old.send("ann@outside.example", "bob@example.com", "too old");
    // At its next try it is older than that.
    wait_until("the queue is empty", || {
        old.signal("ALRM");
        old.is_idle()
    });
    let bounces = std::fs::read_dir(outside.root().join("queue/mess")).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<String> = bounces.map(|path| String::from_utf8(std::fs::read(path).unwrap()).unwrap()).collect();
    assert!(texts.len() == 2 && texts.iter().any(|text| text.contains("in the queue too long")), "{texts:?}");
}

#[test]
fn a_loop_of_two_hosts_ends_in_a_bounce() {
    let [one, two, outside] = ["me.example", "new.example", "outside.example"].map(Qmail::start);
    let mut outside = outside;
    outside.send = None;
    for (host, other) in [(&one, &two), (&two, &one)] {
        let to = format!("to 192.0.2.20:25 {}\nto 192.0.2.99:25 {}\n", other.smtp.address(), outside.smtp.address());
        host.network(&format!("{to}a outside.example 192.0.2.99\n"));
        host.write("control/smtproutes", "example.com:192.0.2.20\n");
        host.write("control/virtualdomains", "");
        host.signal("HUP");
        wait_until("the tables are read", || {
            std::fs::read(host.root().join("active/virtualdomains")).unwrap().is_empty()
        });
    }
    one.send("ann@outside.example", "bob@example.com", "round and round");
    wait_until("it has bounced", || outside.only_queued().is_some());
    assert!(outside.only_queued().unwrap().contains("too many hops"));
}

#[test]
fn a_second_qmail_send_does_not_start_and_a_first_one_ends_when_told() {
    let mut old = Qmail::start("me.example");
    assert_eq!(old.run("qmail-send").0, 111);
    old.signal("TERM");
    let status = old.send.as_mut().unwrap().child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    // What comes meanwhile waits for the next one.
    old.send("a@outside.example", "bob@example.com", "waits");
    assert!(old.new_of("bob").is_empty() && old.run("qmail-qstat").1.contains("not yet preprocessed: 1\n"));
    old.restart();
    wait_until("it is delivered", || old.new_of("bob").len() == 1);
}

#[test]
fn a_forward_goes_on_and_one_to_itself_does_not_loop() {
    let old = Qmail::start("me.example");
    old.write("mailnames/example.com/bob/.qmail", "&carol@example.com\n./Maildir/\n");
    old.write("mailnames/example.com/carol/.qmail", "&carol@example.com\n./Maildir/\n");
    old.send("", "bob@example.com", "forwarded");
    wait_until("both have it", || old.new_of("bob").len() == 1 && old.new_of("carol").len() == 1 && old.is_idle());
    let text = std::fs::read_to_string(&old.new_of("carol")[0]).unwrap();
    assert!(text.contains("Delivered-To: 7-bob@example.com\n"), "{text}");
}

/// Says lines to a listener and returns what it says.
fn talk(address: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(lines.replace('\n', "\r\n").as_bytes()).unwrap();
    let said: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    said.join("\n")
}

#[test]
fn a_session_goes_on_in_its_maildir_when_logins_are_closed_and_the_listener_ends() {
    let old = Qmail::start("me.example");
    let pop3 = Running::start("qmail-pop3d", &[&old.root().display().to_string(), "127.0.0.1:0"]);
    old.send("a@outside.example", "bob@example.com", "to be read");
    wait_until("it is delivered", || old.new_of("bob").len() == 1);
    // What is of this second is not shown yet.
    std::thread::sleep(Duration::from_millis(1100));
    assert!(talk(pop3.address(), "USER bob@example.com\nPASS wrong\n").ends_with("-ERR authorization failed"));

    let mut stream = TcpStream::connect(pop3.address()).unwrap();
    stream.write_all(b"USER bob@example.com\r\nPASS secret\r\nSTAT\r\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let stat = (0..4).map(|_| lines.next().unwrap().unwrap()).last().unwrap();
    assert!(stat.starts_with("+OK 1 "), "{stat}");
    // Whoever waits for the last session finds it by its working directory.
    let maildir = std::fs::canonicalize(old.root().join("mailnames/example.com/bob/Maildir")).unwrap();
    let workers = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == maildir)).count()
    };
    assert_eq!(workers(), 1);
    old.write("active/closed", "example.com\n");
    assert!(talk(pop3.address(), "USER bob@example.com\nPASS secret\n").contains("-ERR [SYS/TEMP]"));
    drop(pop3);
    stream.write_all(b"DELE 1\r\nQUIT\r\n").unwrap();
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), ["+OK ", "+OK "]);
    assert!(old.new_of("bob").is_empty());
    wait_until("the session has ended", || workers() == 0);
}

#[test]
fn a_link_in_bin_is_the_program_and_qmail_inject_queues_what_it_reads() {
    let old = Qmail::start("me.example");
    let link = old.root().join("bin/qmail-inject");
    std::fs::create_dir(old.root().join("bin")).unwrap();
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    let inject = |words: &[&str]| {
        let mut child = Command::new(&link).args(words).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Subject: x\nTo: carol@example.com\n\nhello\n").unwrap();
        child.wait().unwrap().code()
    };
    assert_eq!(inject(&["-a", "-f", "", "bob@example.com"]), Some(0));
    assert_eq!(inject(&[]), Some(0));
    wait_until("both have one", || old.new_of("bob").len() == 1 && old.new_of("carol").len() == 1 && old.is_idle());
    let text = std::fs::read_to_string(&old.new_of("bob")[0]).unwrap();
    assert!(text.contains("\nSubject: x\nTo: carol@example.com\nDate: ") && text.ends_with("\n\nhello\n"), "{text}");
}

#[test]
fn newu_and_newmrh_exit_with_111_where_they_cannot() {
    let old = Qmail::start("me.example");
    let cdb = std::fs::read(old.root().join("users/cdb")).unwrap();
    old.write("users/assign", "=7-bob:u:1:1:/m:::\n");
    assert_eq!(old.run("qmail-newu").0, 111);
    assert_eq!(std::fs::read(old.root().join("users/cdb")).unwrap(), cdb);
    old.write("control/morercpthosts", "more.example\n");
    assert_eq!(old.run("qmail-newmrh").0, 0);
    let said = talk(old.smtp.address(), "MAIL FROM:<>\nRCPT TO:<a@more.example>\nRCPT TO:<a@less.example>\nQUIT\n");
    assert!(said.contains("\n250 ok\n250 ok\n553 "), "{said}");
}
