//! How often a run waits for its host: counts, which no machine's mood changes.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::program::Program;
use crate::proxy::Proxy;
use crate::sshd::Sshd;

/// Long against the time that either side takes to answer, so that what is sent together arrives together.
const DELAY: Duration = Duration::from_millis(25);

/// A host behind a slow network, and the program that knows it.
struct Far {
    sshd: Sshd,
    program: Program,
}

impl Far {
    fn new() -> Far {
        let sshd = Sshd::start("");
        sshd.target();
        let program = Program::new();
        program.file(
            "hosts",
            &format!(
                "far ansible_host=127.0.0.1 ansible_user=root ansible_ssh_private_key_file={}\n",
                sshd.path("id_ed25519").display()
            ),
        );
        Far { sshd, program }
    }

    fn proxy(&self) -> Proxy {
        let proxy = Proxy::to(self.sshd.port, DELAY);
        let line = format!("[127.0.0.1]:{} {}", proxy.port, self.sshd.host_key("ed25519"));
        self.program.file(".ssh/known_hosts", &line);
        proxy
    }

    /// Runs `play.yml` and returns how often it waited.
    fn play(&self, expected: &str) -> u64 {
        let proxy = self.proxy();
        let words = format!("play -i hosts play.yml -e ansible_port={}", proxy.port);
        let printed = self.program.run(&words).expect(0);
        eprintln!("{}", printed.stderr);
        assert!(printed.stdout.contains(expected), "no {expected:?} in\n{}", printed.stdout);
        assert_eq!(proxy.connections(), 1);
        eprintln!("waits {} bytes {:?}", proxy.waits(), proxy.bytes());
        proxy.waits()
    }
}

/// The ten tasks that peers were measured with.
const TEN: &str = "- hosts: far
  gather_facts: no
  vars: {d: DIRECTORY, name: mail}
  tasks:
    - command: 'true'
    - command: echo one
      register: one
    - file: {path: '{{ d }}/dir', state: directory, mode: '0750'}
    - copy: {content: \"hello\\n\", dest: '{{ d }}/dir/hello', mode: '0644'}
    - copy: {src: file.txt, dest: '{{ d }}/dir/file', mode: '0600'}
    - stat: {path: '{{ d }}/dir/hello'}
      register: about
    - lineinfile: {path: '{{ d }}/dir/hello', line: second line}
    - template: {src: a.j2, dest: '{{ d }}/dir/a', mode: '0644'}
    - command: echo two
    - command: cat {{ d }}/dir/a
";

fn ten(far: &Far) {
    let directory = far.program.path("host");
    std::fs::create_dir_all(&directory).unwrap();
    far.program
        .file("play.yml", &TEN.replace("DIRECTORY", &directory.display().to_string()))
        .file("file.txt", "some text\n")
        .file("a.j2", "name {{ name }} {{ one.stdout }}\n");
}

#[test]
fn ten_tasks_wait_seldom() {
    let far = Far::new();
    ten(&far);
    let first = far.play("changed=9");
    assert_eq!(far.program.read("host/dir/hello"), "hello\nsecond line\n");
    assert_eq!(far.program.read("host/dir/a"), "name mail one\n");
    let second = far.play("changed=");
    assert!(first <= 24, "the first run waited {first} times");
    assert!(second <= 17, "the second run waited {second} times");
}

#[test]
fn the_proxy_counts_what_ssh_itself_waits() {
    let far = Far::new();
    let proxy = far.proxy();
    let mut command = Command::new("ssh");
    command.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-p",
        &proxy.port.to_string(),
        "-i",
    ]);
    command.arg(far.sshd.path("id_ed25519"));
    command.arg("-o").arg(format!("UserKnownHostsFile={}", far.program.path(".ssh/known_hosts").display()));
    let mut child = command.args(["root@127.0.0.1", "sh"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"true\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!((9..=11).contains(&proxy.waits()), "ssh waited {} times", proxy.waits());
}

/// Tasks of mixed kinds that find everything as it should be.
fn converged(far: &Far, count: usize) {
    let directory = far.program.path("host");
    std::fs::create_dir_all(&directory).unwrap();
    let mut text = format!("- hosts: far\n  gather_facts: no\n  vars: {{d: {}}}\n  tasks:\n", directory.display());
    for number in 0..count {
        let task = match number % 5 {
            0 => format!("file: {{path: '{{{{ d }}}}/dir{number}', state: directory, mode: '0750'}}"),
            1 => format!("copy: {{content: \"text {number}\\n\", dest: '{{{{ d }}}}/file{number}', mode: '0644'}}"),
            2 => {
                format!("lineinfile: {{path: '{{{{ d }}}}/file{}', line: more, create: yes, mode: '0644'}}", number - 1)
            }
            3 => format!("template: {{src: a.j2, dest: '{{{{ d }}}}/a{number}', mode: '0600'}}"),
            _ => format!("stat: {{path: '{{{{ d }}}}/file{}'}}", number - 3),
        };
        writeln!(text, "    - {task}").unwrap();
    }
    // A line that is added to a copied file would be taken out again by the copy.
    let text = text.replace("lineinfile: {path: '{{ d }}/file", "lineinfile: {path: '{{ d }}/lines");
    far.program.file("play.yml", &text).file("a.j2", "d is {{ d }}\n");
}

#[test]
fn a_converged_run_costs_a_connection_and_not_its_number_of_tasks() {
    let far = Far::new();
    let waits = [50, 200].map(|count| {
        converged(&far, count);
        far.play("changed=");
        far.play("changed=0")
    });
    assert!(waits[0] <= 14, "{waits:?}");
    assert!(waits[1] <= waits[0] + 3, "{waits:?}");
}
