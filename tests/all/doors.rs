//! Doors of a mail host, with a real tcpserver, xinetd and qpsmtpd on ports of the loopback interface.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program::{Printed, Program, done};
use crate::sshd::{accepts, free_port, wait_for};

struct Machine {
    program: Program,
    servers: Vec<Child>,
}

impl Machine {
    fn new() -> Machine {
        let program = Program::new();
        program.file("hosts", "here ansible_connection=local\n");
        Machine { program, servers: Vec::new() }
    }

    fn task(&self, task: &str) {
        let task = task.replace("DIR", self.program.path("").to_str().unwrap().trim_end_matches('/'));
        self.program.file("play.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n    - {task}\n"));
    }

    fn play(&self, flags: &str) -> Printed {
        self.program.run(&format!("play -i hosts play.yml {flags}"))
    }

    fn done(&self) -> Printed {
        done(|flags| self.play(flags))
    }

    fn serve(&mut self, command: &mut Command) {
        self.servers.push(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// What a port says to who comes from an address; nothing if it closes, or if nobody is there.
fn greeting(from: &str, port: u16) -> String {
    answers(from, port, "")
}

/// The same of one who says something.
fn answers(from: &str, port: u16, says: &str) -> String {
    let from: IpAddr = from.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(SocketAddr::new("127.0.0.1".parse().unwrap(), port)).await?.into_std()
    });
    let Ok(mut stream) = connected else { return String::new() };
    stream.set_nonblocking(false).unwrap();
    stream.write_all(says.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn a_door_lets_in_the_old_host_alone_and_never_to_relay() {
    let mut machine = Machine::new();
    let port = free_port();
    machine.task("tcp_rules: {file: DIR/door.rules, rules: ['127.0.0.9:allow', ':deny'], state: only}");
    machine.done();
    let cdb = machine.program.path("door.rules.cdb");
    let mut server = Command::new("tcpserver");
    server.args(["-R", "-H", "-l0", "-x"]).arg(&cdb).args(["127.0.0.1", &port.to_string(), "sh", "-c"]);
    server.arg("echo \"220 relay=${RELAYCLIENT-no}\"").env_remove("RELAYCLIENT");
    machine.serve(&mut server);
    assert!(wait_for(|| greeting("127.0.0.9", port) == "220 relay=no\n"));
    // No match by the beginning of an address, as qpsmtpd's whitelisthosts has.
    assert_eq!((greeting("127.0.0.99", port), greeting("127.0.0.1", port)), (String::new(), String::new()));

    machine.task("tcp_rules: {file: DIR/door.rules, rules: ['127.0.0.99:allow']}");
    machine.done();
    assert_eq!(greeting("127.0.0.99", port), "220 relay=no\n", "the next connection reads the new cdb");
    machine.program.run("undo last").expect(0);
    assert_eq!((greeting("127.0.0.99", port), greeting("127.0.0.9", port)), (String::new(), "220 relay=no\n".into()));

    // By hand, without tcprules: the cdb is put right.
    machine.program.file("door.rules", "127.0.0.77:allow\n:deny\n");
    machine.task("tcp_rules: {file: DIR/door.rules, rules: [':deny']}");
    let diffs = machine.done().diffs();
    assert!(diffs.contains("-made from other rules\n+made from the rules as they are\n"), "{diffs}");
    assert!(!greeting("127.0.0.77", port).is_empty() && greeting("127.0.0.9", port).is_empty());

    machine.task("tcp_rules: {file: DIR/door.rules, rules: ['127.0.0.9:allow,RELAYCLIENT=\"\"']}");
    let refused = machine.play("");
    assert_ne!(refused.status, 0);
    assert!((refused.stdout + &refused.stderr).contains("lets its address send mail anywhere"));
}

#[test]
fn ports_of_the_old_host_lead_to_the_new_one_until_that_is_taken_back() {
    let mut machine = Machine::new();
    // The new host: it greets with its own port, twice.
    let new: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let there: Vec<u16> = new.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    for listener in new {
        std::thread::spawn(move || {
            let port = listener.local_addr().unwrap().port();
            for mut connection in listener.incoming().flatten() {
                let _ = connection.write_all(format!("+OK new {port}\r\n").as_bytes());
            }
        });
    }
    let here = [free_port(), free_port()];
    let directory = machine.program.path("xinetd.d");
    std::fs::create_dir(&directory).unwrap();
    machine.program.file("xinetd.conf", &format!("defaults\n{{\n}}\nincludedir {}\n", directory.display()));
    let mut xinetd = Command::new("/usr/sbin/xinetd");
    xinetd.args(["-stayalive", "-dontfork", "-f"]).arg(machine.program.path("xinetd.conf"));
    xinetd.arg("-pidfile").arg(machine.program.path("xinetd.pid"));
    machine.serve(&mut xinetd);
    assert!(wait_for(|| machine.program.path("xinetd.pid").exists()));

    let task = |ports: &str| {
        format!(
            "port_forward: {{to: 127.0.0.1, address: 127.0.0.1, ports: [{ports}], directory: DIR/xinetd.d, pidfile: DIR/xinetd.pid}}"
        )
    };
    let says = |index: usize| greeting("127.0.0.1", here[index]);
    let one = format!("'{}:{}'", here[0], there[0]);
    machine.task(&task(&one));
    let run = machine.done();
    assert!(run.diffs().contains("-has older files\n+has read its files\n"), "{}", run.stdout);
    assert!(wait_for(|| says(0) == format!("+OK new {}\r\n", there[0])));
    assert_eq!(says(1), "");

    let both = format!("'{}:{}', '{}:{}'", here[0], there[1], here[1], there[0]);
    machine.task(&task(&both));
    machine.done();
    assert!(wait_for(|| says(0) == format!("+OK new {}\r\n", there[1])));
    assert!(wait_for(|| says(1) == format!("+OK new {}\r\n", there[0])));

    machine.program.run("undo last").expect(0);
    assert!(wait_for(|| says(0) == format!("+OK new {}\r\n", there[0]) && says(1).is_empty()));
    machine.task("port_forward: {state: absent, directory: DIR/xinetd.d, pidfile: DIR/xinetd.pid}");
    machine.done();
    assert!(wait_for(|| says(0).is_empty()));

    // A port that somebody else has is not promised.
    machine.task(&task(&format!("'{}:{}'", there[0], there[1])));
    let refused = machine.play("--check").expect(2);
    assert!(refused.stdout.contains(&format!("somebody listens at port {}", there[0])), "{}", refused.stdout);
}

#[test]
fn ports_lead_to_the_new_host_by_tcpserver_where_there_is_no_xinetd() {
    let mut machine = Machine::new();
    // The new host says what it is told, and ends the session at QUIT.
    let new = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = new.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in new.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = connection.write_all(b"+OK new\r\n");
                let mut lines = std::io::BufRead::lines(std::io::BufReader::new(connection.try_clone().unwrap()));
                while let Some(Ok(line)) = lines.next() {
                    let _ = connection.write_all(format!("+OK {line}\r\n").as_bytes());
                    if line == "QUIT" {
                        let _ = connection.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                }
            });
        }
    });
    let here = [free_port(), free_port()];
    for directory in ["supervise", "service"] {
        std::fs::create_dir(machine.program.path(directory)).unwrap();
    }
    let mut svscan = Command::new("svscan");
    svscan.arg(machine.program.path("service"));
    machine.serve(&mut svscan);
    let _ended = Supervised(machine.program.path("supervise"), here);

    let task = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(|port| format!("'{port}:{there}'")).collect();
        format!(
            "port_forward: {{by: daemontools, to: 127.0.0.1, address: 127.0.0.1, ports: [{}], supervise: DIR/supervise, services: DIR/service, name: old}}",
            ports.join(", ")
        )
    };
    let says = |index: usize| answers("127.0.0.1", here[index], "STAT\r\nQUIT\r\n");
    machine.task(&task(&here[..1]));
    let check = machine.play("--check --diff").expect(0);
    assert!(!machine.program.path("supervise").join(format!("old-{}", here[0])).exists());
    let run = machine.play("--diff").expect(0);
    assert_eq!(check.diffs(), run.diffs());
    assert!(wait_for(|| says(0) == "+OK new\r\n+OK STAT\r\n+OK QUIT\r\n"));
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));

    // A second port, and the first with another command.
    machine.program.file(&format!("supervise/old-{}/run", here[0]), "#!/bin/sh\nexec sleep 1000\n");
    machine.task(&task(&here));
    let run = machine.done();
    assert!(run.diffs().contains("-runs an older command\n+runs\n"), "{}", run.stdout);
    assert!(wait_for(|| says(0).ends_with("+OK QUIT\r\n") && says(1).ends_with("+OK QUIT\r\n")));

    machine.task(&task(&here[1..]));
    machine.done();
    assert!(says(0).is_empty() && says(1).ends_with("+OK QUIT\r\n"));
    machine.program.run("undo last").expect(0);
    assert!(wait_for(|| says(0).ends_with("+OK QUIT\r\n")));

    machine.task(
        "port_forward: {by: daemontools, state: absent, supervise: DIR/supervise, services: DIR/service, name: old}",
    );
    machine.done();
    assert!(says(0).is_empty() && says(1).is_empty());
    assert!(std::fs::read_dir(machine.program.path("service")).unwrap().next().is_none());

    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = somebody.local_addr().unwrap().port();
    machine.task(&task(&[port]));
    let refused = machine.play("--check").expect(2);
    assert!(refused.stdout.contains(&format!("somebody listens at port {port}")), "{}", refused.stdout);
}

/// Ends the services below a directory when dropped, with their supervisors.
struct Supervised(std::path::PathBuf, [u16; 2]);

impl Drop for Supervised {
    fn drop(&mut self) {
        for port in self.1 {
            let _ = std::fs::remove_file(self.0.with_file_name("service").join(format!("old-{port}")));
            let _ = Command::new("svc").arg("-dx").arg(self.0.join(format!("old-{port}"))).status();
        }
    }
}

#[test]
fn a_whitelisted_host_is_let_in_and_relays_and_so_do_those_whose_address_begins_like_its_own() {
    let mut machine = Machine::new();
    let port = free_port();
    for (name, text) in [
        ("plugins", "whitelist\nbadmailfrom\nrcpt_ok\n"),
        ("badmailfrom", "spam@example.net\n"),
        ("rcpthosts", "example.com\n"),
        ("plugin_dirs", "/usr/share/qpsmtpd/plugins\n"),
        ("loglevel", "3\n"),
    ] {
        machine.program.file(&format!("qpsmtpd/{name}"), text);
    }
    let mut server = Command::new("qpsmtpd-forkserver");
    server.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-u", "root", "-m", "200"]);
    server.env("QPSMTPD_CONFIG", machine.program.path("qpsmtpd")).current_dir(machine.program.path(""));
    machine.serve(&mut server);
    assert!(wait_for(|| accepts(port)));
    let codes = |from: &str| {
        let mail = |sender: &str, recipient: &str| {
            let says = format!("HELO old\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nQUIT\r\n");
            let answers = answers(from, port, &says);
            answers.lines().rev().nth(1).unwrap_or_default()[..3].to_string()
        };
        [mail("a@example.org", "ann@example.com"), mail("a@example.org", "x@foreign.example")]
    };
    assert_eq!(codes("127.0.0.30"), ["250", "550"]);

    machine.task("qpsmtpd_whitelist: {hosts: [127.0.0.30], may_relay: yes, directory: DIR/qpsmtpd}");
    let run = machine.done();
    assert!(!run.stdout.contains("WARNING"), "{}", run.stdout);
    assert_eq!(codes("127.0.0.30"), ["250", "250"], "the trap: it relays");
    assert_eq!(codes("127.0.0.31"), ["250", "550"]);
    machine.program.run("undo last").expect(0);
    assert_eq!(codes("127.0.0.30"), ["250", "550"]);

    let nine = "hosts: [127.0.0.9], directory: DIR/qpsmtpd";
    for (arguments, says) in [
        (format!("{nine}, may_relay: yes"), "also lets in 127.0.0.90 to .99"),
        (format!("{nine}, may_match_more: yes"), "can send mail to any domain"),
        ("hosts: [127.0.0.], may_relay: yes".into(), "`127.0.0.` is no IPv4 address"),
    ] {
        machine.task(&format!("qpsmtpd_whitelist: {{{arguments}}}"));
        let refused = machine.play("");
        assert_ne!(refused.status, 0);
        assert!((refused.stdout + &refused.stderr).contains(says), "{says}");
    }
    machine.task(&format!("qpsmtpd_whitelist: {{{nine}, may_relay: yes, may_match_more: yes}}"));
    machine.done();
    assert_eq!(codes("127.0.0.99"), ["250", "250"], "the trap: it begins like the other one");
}
