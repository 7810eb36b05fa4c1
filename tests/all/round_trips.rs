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
        assert!(printed.stdout.contains(expected), "no {expected:?} in\n{}", printed.stdout);
        assert_eq!(proxy.connections(), 1);
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

/// Numbers that are the same every time, for a test that can be run again (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

/// A random play on two names of one machine, and what each of its `stat` tasks must find.
fn story(numbers: &mut Numbers, directory: &str) -> (String, Vec<String>) {
    let mut text = "- hosts: one, two\n  gather_facts: no\n  tasks:\n".to_string();
    let mut files: [Option<String>; 4] = Default::default();
    let mut found = Vec::new();
    for step in 0..50 {
        let file = numbers.below(4) as usize;
        let path = format!("{directory}/f{file}");
        let actor = if numbers.below(2) == 0 { "one" } else { "two" };
        let mut how = format!("when: inventory_hostname == '{actor}'");
        // The same from the other name's place: the change is made where nobody expects it.
        if numbers.below(4) == 0 {
            how = format!(
                "when: inventory_hostname == '{actor}'\n      delegate_to: '{}'",
                if actor == "one" { "two" } else { "one" }
            );
        }
        let task = match numbers.below(20) {
            0 => {
                files[file] = Some(String::new());
                format!("shell: ': > {path}'")
            }
            1 => {
                files[file] = None;
                format!("command: rm -f {path}")
            }
            2 | 3 => {
                let content = format!("copy {step}");
                files[file] = Some(content.clone());
                format!("copy: {{content: '{content}', dest: '{path}', mode: '0644'}}")
            }
            4 => {
                let old = files[file].clone().unwrap_or_default();
                let end = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
                files[file] = Some(format!("{old}{end}line {step}\n"));
                format!("lineinfile: {{path: '{path}', line: 'line {step}', create: yes, mode: '0644'}}")
            }
            5 => {
                files[file] = None;
                format!("file: {{path: '{path}', state: absent}}")
            }
            _ => {
                let size = files[file].as_ref().map_or("absent".into(), |content| content.len().to_string());
                found.push(format!("step {step} {size}"));
                how += &format!("\n      register: s{step}");
                format!("stat: {{path: '{path}'}}")
            }
        };
        writeln!(text, "    - {task}\n      {how}").unwrap();
        if text.ends_with(&format!("register: s{step}\n")) {
            writeln!(
                text,
                "    - debug: {{msg: \"step {step} {{{{ s{step}.stat.size | default('absent') }}}}\"}}\n      when: inventory_hostname == '{actor}'"
            )
            .unwrap();
        }
    }
    (text, found)
}

#[test]
fn no_early_answer_outlives_a_change_wherever_that_is_made() {
    let far = Far::new();
    let key = far.sshd.path("id_ed25519").display().to_string();
    let port = far.sshd.port;
    let line = |name: &str, address: &str| {
        format!(
            "{name} ansible_host={address} ansible_port={port} ansible_user=root ansible_ssh_private_key_file={key}\n"
        )
    };
    far.program.file("hosts", &(line("one", "127.0.0.1") + &line("two", "localhost")));
    let key = far.sshd.host_key("ed25519");
    far.program.file(".ssh/known_hosts", &format!("[127.0.0.1]:{port} {key}[localhost]:{port} {key}"));
    let mut checked = 0;
    for seed in 1..=6 {
        let directory = far.program.path(&format!("story{seed}"));
        std::fs::create_dir_all(&directory).unwrap();
        let (play, expected) =
            story(&mut Numbers(0x9e37_79b9_7f4a_7c15 ^ (seed << 32)), &directory.display().to_string());
        far.program.file("play.yml", &play);
        let printed = far.program.run("play -i hosts play.yml").expect(0);
        let said: Vec<String> = printed
            .stdout
            .lines()
            .filter_map(|line| Some(line.split_once("\"step ")?.1.trim_end_matches('"')))
            .map(|rest| format!("step {rest}"))
            .collect();
        assert_eq!(said, expected, "seed {seed}:\n{play}\n{}", printed.stdout);
        checked += said.len();
    }
    assert!(checked > 150, "only {checked} looks");
}

/// Runs a play against the server itself, without a network in between.
fn nearby(far: &Far, play: &str) -> crate::program::Printed {
    let port = far.sshd.port;
    far.program.file(".ssh/known_hosts", &far.sshd.known_hosts_line("ed25519")).file("play.yml", play);
    far.program
        .run(&format!("play -i hosts play.yml -e ansible_port={port} -e d={}", far.program.path("host").display()))
}

fn says(printed: &crate::program::Printed, text: &str) {
    assert!(printed.stdout.contains(text), "no {text:?} in\n{}\n{}", printed.stdout, printed.stderr);
}

#[test]
fn what_changes_while_a_run_waits_on_purpose_is_seen_after_it() {
    let far = Far::new();
    std::fs::create_dir_all(far.program.path("host")).unwrap();
    // A link makes a second round of questions, which is asked while the first answer is there.
    let play = "- hosts: far
  gather_facts: no
  tasks:
    - file: {path: '{{ d }}/one', state: directory, mode: '0755'}
    - file: {path: '{{ d }}/two', state: directory, mode: '0700'}
    - file: {src: '{{ d }}/one', dest: '{{ d }}/current', state: link}
    - shell: (sleep 2; ln -sfn {{ d }}/two {{ d }}/current; echo x > {{ d }}/made) </dev/null >/dev/null 2>&1 &
    - pause: {seconds: 4}
    - stat: {path: '{{ d }}/current', follow: yes}
      register: current
    - stat: {path: '{{ d }}/made'}
      register: made
    - debug: {msg: 'mode {{ current.stat.mode }} made {{ made.stat.exists }}'}
    - shell: (sleep 2; rm {{ d }}/made) </dev/null >/dev/null 2>&1 &
    - wait_for: {path: '{{ d }}/made', state: absent, timeout: 30}
    - stat: {path: '{{ d }}/made'}
      register: made
    - debug: {msg: 'then {{ made.stat.exists }}'}
";
    let printed = nearby(&far, play).expect(0);
    says(&printed, "mode 0700 made True");
    says(&printed, "then False");
}

#[test]
fn facts_are_those_after_the_change_before_them() {
    let far = Far::new();
    // Facts have a time limit, so they are asked for on a channel of their own, in no order with the shell.
    let play = "- hosts: far
  gather_facts: no
  tasks:
    - shell: sleep 2; date +%s
      register: changed
    - setup: {gather_subset: ['!all']}
    - debug: {msg: \"after {{ ansible_date_time.epoch | int >= changed.stdout | int }}\"}
";
    says(&nearby(&far, play).expect(0), "after True");
}

#[test]
fn an_answer_that_was_given_up_is_not_taken_for_another_paths() {
    let far = Far::new();
    std::fs::create_dir_all(far.program.path("host")).unwrap();
    let big = std::fs::File::create(far.program.path("host/big")).unwrap();
    big.set_len(600 * 1024 * 1024).unwrap();
    // The digest of the big file is under way when the first play ends.
    let play = "- hosts: far
  gather_facts: no
  tasks:
    - stat: {path: /etc/hostname, get_checksum: no}
    - meta: end_play
    - stat: {path: '{{ d }}/big', checksum_algorithm: sha256}
    - stat: {path: '{{ d }}/nope'}
- hosts: far
  gather_facts: no
  tasks:
    - stat: {path: /etc/passwd}
      register: r
    - stat: {path: '{{ d }}/nope'}
      when: r.stat.exists
      register: nope
    - debug: {msg: 'nope {{ nope.stat.exists }}'}
";
    says(&nearby(&far, play).expect(0), "nope False");
}

#[test]
fn commands_of_lookups_run_once_and_are_seen_on_the_controller() {
    let far = Far::new();
    let play = "- hosts: localhost
  connection: local
  gather_facts: no
  tasks:
    - stat: {path: '{{ d }}/before'}
    - set_fact: {made: \"{{ lookup('pipe', 'touch ' ~ d ~ '/k; echo run >> ' ~ d ~ '/log; echo made') }}\"}
    - stat: {path: '{{ d }}/k'}
      register: k
    - debug: {msg: 'k {{ k.stat.exists }}'}
    - stat: {path: \"{{ lookup('pipe', 'echo run >> ' ~ d ~ '/log; echo /etc') }}\"}
      loop: [1, 2]
      loop_control: {label: \"{{ lookup('pipe', 'echo label >> ' ~ d ~ '/log; echo x') }}\"}
";
    std::fs::create_dir_all(far.program.path("host")).unwrap();
    says(&nearby(&far, play).expect(0), "k True");
    let log = far.program.read("host/log");
    assert_eq!((log.matches("run").count(), log.matches("label").count()), (3, 2), "{log}");
}

#[test]
fn what_another_hand_changes_after_the_question_is_planned_anew() {
    let far = Far::new();
    std::fs::create_dir_all(far.program.path("host")).unwrap();
    std::fs::write(far.program.path("host/conf"), "old\n").unwrap();
    // The template is rendered for as long as nobody writes into the pipe, which no clock of the run counts.
    let pipe = far.program.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (theirs, writer) = (far.program.path("host/conf"), pipe.clone());
    let hand = std::thread::spawn(move || {
        let mut writer = std::fs::File::options().write(true).open(writer).unwrap();
        std::fs::write(theirs, "theirs\n").unwrap();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
    });
    let play = "- hosts: far
  gather_facts: no
  tasks:
    - stat: {path: /etc}
    - stat: {path: /etc/passwd}
    - debug: {msg: \"{{ lookup('file', playbook_dir ~ '/pipe') }}\"}
    - copy: {content: \"ours\\n\", dest: '{{ d }}/conf', mode: '0644'}
";
    let printed = nearby(&far, play).expect(0);
    hand.join().unwrap();
    assert_eq!(far.program.read("host/conf"), "ours\n");
    says(&printed, "-theirs");
}
