//! Playbooks that become another user over a real OpenSSH server, from the command line: by each method, once a connection,
//! and without showing the password to anybody.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::elevation::{Doas, Sudoers, Tool};
use crate::program::{Printed, Program, WHO};
use crate::sshd::{Account, Sshd, make_key};

/// The program with a key of a server, and one host that is reached with it as `account`.
fn program(sshd: &Sshd, account: &Account) -> Program {
    let program = Program::new();
    let key = program.path("key");
    make_key("ed25519", &key);
    sshd.authorize(&key);
    let host = format!(
        "mx ansible_host=127.0.0.1 ansible_port={} ansible_user={} ansible_ssh_private_key_file={}\n",
        sshd.port,
        account.name,
        key.display()
    );
    program.file(".ssh/known_hosts", &sshd.known_hosts_line("ed25519")).file("hosts", &host).file("who.yml", WHO);
    program
}

/// Runs the program with a password on its standard input.
fn answering(program: &Program, password: &str, words: &str) -> Printed {
    let mut command = program.command();
    command.args(words.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    program.printed(child.wait_with_output().unwrap())
}

fn has(printed: &Printed, text: &str) {
    assert!(printed.stdout.contains(text), "no {text:?} in\n{}\n{}", printed.stdout, printed.stderr);
}

#[test]
fn each_method_becomes_from_the_command_line_and_from_keywords() {
    let (sshd, account, other) = (Sshd::start(""), Account::create(), Account::create());
    let _sudo = Sudoers::grant(&account, "", "requiretty");
    let _doas = Doas::rules(&format!("permit {}", account.name));
    let program = program(&sshd, &account);
    for (method, password) in [("sudo", &account.password), ("doas", &account.password), ("su", &other.password)] {
        let words = format!("play -i hosts who.yml -b --become-method {method} --become-user {} -K", other.name);
        has(&answering(&program, password.reveal(), &words).expect(0), &format!("mx is {}", other.name));
        let wrong = answering(&program, "wrong", &words).expect(2);
        has(&wrong, &format!("Incorrect {method} password: it was not accepted for becoming `{}`", other.name));
    }
    let keywords = format!("- hosts: all\n  become: yes\n  become_user: {}\n  become_method: su\n", other.name);
    program.file("site.yml", &WHO.replace("- hosts: all\n", &keywords));
    has(&answering(&program, other.password.reveal(), "play -i hosts site.yml -K").expect(0), &other.name);
}

#[test]
fn an_unknown_method_is_refused_where_it_is_written() {
    let program = Program::new();
    program.file("hosts", "here ansible_connection=local\n");
    program.file("site.yml", "- hosts: all\n  become: yes\n  become_method: pbrun\n  tasks: []\n");
    let refused = program.run("play -i hosts site.yml");
    assert_ne!(refused.status, 0);
    let says = "error: `become_method: pbrun` is not supported\n --> site.yml:3:18";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    assert!(refused.stderr.contains("`sudo`, `su` and `doas` are"), "{}", refused.stderr);
}

#[test]
fn many_tasks_become_a_user_once() {
    let (sshd, account, other) = (Sshd::start(""), Account::create(), Account::create());
    let _sudo = Sudoers::grant(&account, "", "");
    let program = program(&sshd, &account);
    let log = sshd.path("calls");
    std::fs::write(&log, "").unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(log.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let sudo = Tool::script("sudo", &format!("printf '%s\\n' \"$*\" >>'{}'\nexec /usr/bin/sudo \"$@\"", log.display()));
    let mut play = format!(
        "- hosts: all\n  gather_facts: no\n  become: yes\n  vars: {{ansible_become_exe: {}}}\n  tasks:\n",
        sudo.path.display()
    );
    for number in 0..20 {
        let user = if number % 2 == 0 { "root" } else { &other.name };
        play += &format!("    - command: id -un\n      become_user: {user}\n");
        play += &format!("    - copy: {{content: \"{number}\", dest: \"/tmp/{}-{user}\"}}\n", account.name);
        play += &format!("      become_user: {user}\n");
    }
    program.file("many.yml", &play);
    let printed = answering(&program, account.password.reveal(), "play -i hosts many.yml -K").expect(0);
    for user in ["root", &other.name] {
        std::fs::remove_file(format!("/tmp/{}-{user}", account.name)).unwrap();
    }
    has(&printed, "ok=");
    let calls = std::fs::read_to_string(&log).unwrap();
    for user in ["root", &other.name] {
        let times = calls.lines().filter(|line| line.contains(&format!(" -u {user} "))).count();
        assert_eq!(times, 1, "{user}:\n{calls}");
    }
    assert_eq!(calls.matches(" -u ").count(), 2, "{calls}");
}

/// Reads the arguments and the environment of every process, over and over.
struct Watch {
    ended: Arc<AtomicBool>,
    reader: std::thread::JoinHandle<Vec<String>>,
}

impl Watch {
    fn for_word(word: &str) -> Watch {
        let (ended, word) = (Arc::new(AtomicBool::new(false)), word.to_string());
        let until = ended.clone();
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !until.load(Ordering::Relaxed) {
                for process in std::fs::read_dir("/proc").unwrap().flatten() {
                    for file in ["cmdline", "environ"] {
                        let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
                        let text = String::from_utf8_lossy(&bytes);
                        if text.contains(&word) && !seen.iter().any(|seen: &String| *seen == text) {
                            seen.push(text.into_owned());
                        }
                    }
                }
            }
            seen
        });
        Watch { ended, reader }
    }

    fn end(self) -> Vec<String> {
        self.ended.store(true, Ordering::Relaxed);
        self.reader.join().unwrap()
    }
}

#[test]
fn a_watch_sees_a_password_that_is_an_argument_or_in_the_environment() {
    let watch = Watch::for_word("an open secret");
    for command in
        [Command::new("sleep").args(["0.5", "#an open secret"]), Command::new("sleep").env("P", "an open secret")]
    {
        let _ = command.arg("0.5").stderr(Stdio::null()).status();
    }
    let mut child = Command::new("sh").args(["-c", "sleep 0.5", "an open secret"]).spawn().unwrap();
    child.wait().unwrap();
    assert!(watch.end().len() >= 2);
}

#[test]
fn a_password_is_seen_nowhere_while_it_is_used() {
    let (sshd, account, other) = (Sshd::start(""), Account::create(), Account::create());
    let log = sshd.path("sudo.log");
    let _sudo = Sudoers::grant(&account, "", &format!("logfile={0}, lecture=always", log.display()));
    let strict = Account::create();
    let _strict = Sudoers::grant(&strict, "", &format!("logfile={0}, requiretty", log.display()));
    let _doas = Doas::rules(&format!("permit {}", account.name));
    let shadow = Tool::su_on_a_terminal();
    let ways = [
        ("sudo", "sudo", &account, &account),
        ("sudo", "sudo", &strict, &strict),
        ("su", "su", &account, &other),
        ("su", &*shadow.exe().unwrap(), &account, &other),
        ("doas", "doas", &account, &account),
    ];
    for (method, exe, login, owner) in ways {
        let program = program(&sshd, login);
        let all = "- hosts: all
  gather_facts: no
  tasks:
    - shell: id -un; env; ps ax -o args; cat; true
      args: {stdin: something}
      register: said
    - debug: {msg: \"{{ said.stdout }} {{ said.stderr }}\"}
    - copy: {content: \"{{ 'x' * 200000 }}\", dest: \"{{ place }}\"}
    - file: {path: \"{{ place }}\", state: absent}
    - command: sleep 0.3
      timeout: 60
";
        program.file("site.yml", all);
        let words = format!(
            "play -i hosts site.yml -vvv --diff -b --become-method {method} --become-user {} -K -e ansible_become_exe={exe} \
             -e place=/tmp/{}-{method}",
            other.name, login.name
        );
        let password = owner.password.reveal();
        let watch = Watch::for_word(password);
        let printed = answering(&program, password, &words).expect(0);
        assert_eq!(watch.end(), Vec::<String>::new(), "{method}");
        let wrong = answering(&program, &format!("{password}?"), &words).expect(2);
        let journals = run_files(&program.path("state"));
        assert!(!journals.is_empty(), "{method}: there is a journal");
        let told = [printed.stdout, printed.stderr, wrong.stdout, wrong.stderr, journals].concat();
        assert!(!told.contains(password), "{method}");
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(&format!("USER={}", other.name)), "{log}");
    for account in [&account, &strict] {
        assert!(!log.contains(account.password.reveal()), "{log}");
    }
}

/// All that stands in the files of a directory.
fn run_files(directory: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => text += &run_files(&entry.path()),
            false => text += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()),
        }
    }
    text
}
