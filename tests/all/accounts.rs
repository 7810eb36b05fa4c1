//! Users and groups: a check that later tasks build on, passwords that nobody sees, and all of it taken back.

use std::os::unix::fs::MetadataExt as _;

use crate::etc::Etc;
use crate::program::{Printed, Program, done};

const OLD_HASH: &str =
    "$6$oldsalt$Rk1k1kR0ySyRHMoE5y6cGwmIJ0XMzOo6CvQbCgdb9Ndq7U9cZ0s4m9r6C5w8uE1yHhUqH3e0m6X6cZ8iF0n1o.";
const NEW_HASH: &str =
    "$6$newsalt$Zb2qC9w8uE1yHhUqH3e0m6X6cZ8iF0n1oRk1k1kR0ySyRHMoE5y6cGwmIJ0XMzOo6CvQbCgdb9Ndq7U9cZ0s4.";

/// This machine with an `/etc` of its own, and homes below the test's directory.
struct Machine {
    program: Program,
    etc: Etc,
}

impl Machine {
    fn new(tasks: &str) -> Machine {
        let program = Program::new();
        let etc = Etc::below(&program.path(""));
        program.file("hosts", "here ansible_connection=local\n").file("pw", "vault password\n");
        let machine = Machine { program, etc };
        machine.tasks(tasks);
        machine
    }

    fn tasks(&self, tasks: &str) {
        let directory = self.program.path("").display().to_string();
        let tasks = tasks.replace("DIR", directory.trim_end_matches('/'));
        self.program.file("play.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n{tasks}"));
    }

    fn cutover(&self, words: &str) -> Printed {
        let mut command = self.program.command();
        let path = format!("{}:{}", self.program.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).args(words.split_whitespace());
        self.program.printed(self.etc.around(&command).output().unwrap())
    }

    fn play(&self, flags: &str) -> Printed {
        self.cutover(&format!("play -i hosts play.yml {flags}"))
    }

    /// Checks, runs, sees that both showed the same and that a second run has nothing to do.
    fn done(&self) -> Printed {
        done(|flags| self.play(flags))
    }

    fn line(&self, file: &str, name: &str) -> String {
        self.etc.line(file, name).unwrap_or_else(|| panic!("no {name} in {file}"))
    }

    /// The accounts as they are, with nothing of what a password's change leaves (the day of it).
    fn accounts(&self) -> [String; 3] {
        ["passwd", "group", "gshadow"].map(|name| self.etc.read(name))
    }
}

#[test]
fn one_check_adds_a_group_and_users_and_gives_them_files_with_the_numbers_that_the_run_uses() {
    let machine = Machine::new(
        "    - group: {name: boxes}\n\
         \x20   - user: {name: ann, home: DIR/homes/ann, groups: [boxes, mail], comment: 'Ann, of boxes'}\n\
         \x20   - user: {name: bob, home: DIR/homes/bob, group: boxes, shell: /bin/false, expires: 1893456000}\n\
         \x20   - user: {name: daemon2, system: yes, create_home: no, home: /nonexistent}\n\
         \x20   - copy: {content: hello, dest: DIR/homes/ann/hello, owner: ann, group: boxes, mode: '0640'}\n\
         \x20   - file: {path: DIR/homes/bob/.profile, mode: '0600', owner: bob}\n",
    );
    machine.program.file("etc/skel/deep/er", "skeleton\n");
    let before = machine.accounts();
    let run = machine.done();
    let number = |file: &str, name: &str| machine.line(file, name).split(':').nth(2).unwrap().parse::<u32>().unwrap();
    let (ann, bob, boxes) = (number("passwd", "ann"), number("passwd", "bob"), number("group", "boxes"));
    assert_eq!(bob, ann + 1);
    assert!(run.stdout.contains(&format!("+ann:{ann}:{}:Ann, of boxes:", number("group", "ann"))), "{}", run.stdout);
    assert!(machine.line("passwd", "bob").contains(&format!(":{bob}:{boxes}::")));
    assert!(machine.line("passwd", "bob").ends_with(":/bin/false"));
    assert_eq!(machine.line("shadow", "bob").split(':').nth(7), Some("21915"));
    assert!(machine.line("group", "mail").ends_with(":ann") && machine.line("group", "boxes").ends_with(":ann"));
    assert!((100..1000).contains(&number("passwd", "daemon2")));
    let about = |name: &str| std::fs::metadata(machine.program.path(name)).unwrap();
    let owners = |name: &str| (about(name).uid(), about(name).gid(), about(name).mode() & 0o7777);
    assert_eq!(owners("homes/ann/hello"), (ann, boxes, 0o640));
    assert_eq!(owners("homes/ann/deep/er").0, ann);
    assert_eq!(owners("homes/bob"), (bob, boxes, 0o755));
    assert_eq!(owners("homes/bob/.profile").2, 0o600);
    assert_eq!(owners("homes").0, 0);

    machine.cutover("undo last").expect(0);
    assert_eq!(machine.accounts(), before);
    assert!(!machine.program.path("homes").exists());
}

#[test]
fn a_password_is_in_no_output_no_journal_and_no_plan_and_its_undo_brings_the_old_one_back() {
    let machine = Machine::new(&format!(
        "    - user: {{name: ann, password: '{NEW_HASH}'}}\n    - user: {{name: eve, password: '{NEW_HASH}', \
         create_home: no, uid: 2601, password_lock: yes}}\n"
    ));
    let own = machine.program.path("homes").display().to_string();
    machine.etc.sh(&format!("useradd -u 2600 -m -d {own} ann; printf 'ann:%s\n' '{OLD_HASH}' | chpasswd -e"));
    let hash = |name: &str| machine.line("shadow", name).split(':').nth(1).unwrap().to_string();
    let mut shown = String::new();
    let mut told = |printed: Printed| shown += &(printed.stdout + &printed.stderr);
    told(machine.play("--check --diff -vvv").expect(0));
    assert_eq!(hash("ann"), OLD_HASH);

    let unsealed = machine.cutover("plan -i hosts play.yml -o p").expect(1);
    assert!(unsealed.stderr.contains("may not be shown"), "{}", unsealed.stderr);
    let vault = "--vault-password-file pw";
    told(machine.cutover(&format!("plan -i hosts play.yml -o p {vault}")).expect(0));
    told(machine.cutover("show p").expect(0));
    let applied = machine.cutover(&format!("apply p {vault}")).expect(0);
    for line in ["+($6$ ", "-($6$ ", "+!($6$ ", "by: /usr/sbin/chpasswd -e\n"] {
        assert!(applied.stdout.contains(line), "{line}: {}", applied.stdout);
    }
    told(applied);
    assert_eq!((hash("ann"), hash("eve")), (NEW_HASH.into(), format!("!{NEW_HASH}")));
    told(machine.play("-vvv").expect(0));
    told(machine.cutover("log last").expect(0));
    told(machine.cutover(&format!("undo last {vault}")).expect(0));
    assert_eq!(hash("ann"), OLD_HASH);
    assert_eq!(machine.etc.line("passwd", "eve"), None);

    // The hash behind the locks, too.
    for file in std::fs::read_dir(machine.program.path("state/runs")).unwrap().map(|file| file.unwrap().path()) {
        shown += &std::fs::read_to_string(file).unwrap();
    }
    shown += &machine.program.read("p");
    let encoded = |hash: &str| serde_json::to_string(&format!("ann:{hash}\n").into_bytes()).unwrap();
    for hash in [OLD_HASH, NEW_HASH] {
        assert!(!shown.contains(&hash[10..]) && !shown.contains(&encoded(hash)), "{shown}");
    }
}

#[test]
fn passwords_are_compared_locked_and_unlocked() {
    let machine = Machine::new("");
    machine.etc.sh("useradd -M -u 2600 ann");
    let hash = || machine.line("shadow", "ann").split(':').nth(1).unwrap().to_string();
    let des = "ab0123456789.";
    for (arguments, expected) in [
        (format!("password: '{OLD_HASH}'"), OLD_HASH.to_string()),
        (format!("password: '{NEW_HASH}', update_password: on_create"), OLD_HASH.into()),
        ("password_lock: yes".into(), format!("!{OLD_HASH}")),
        (format!("password: '{OLD_HASH}'"), format!("!{OLD_HASH}")),
        ("password_lock: no".into(), OLD_HASH.into()),
        (format!("password: '{des}'"), des.into()),
        ("password: '*'".into(), "*".into()),
        ("password: ''".into(), String::new()),
        (format!("password: '{des}'"), des.into()),
        ("password: '!'".into(), "!".into()),
        // As with Ansible, locks are not compared.
        ("password: ''".into(), "!".into()),
        (format!("password: '{NEW_HASH}', password_lock: yes"), format!("!{NEW_HASH}")),
    ] {
        machine.tasks(&format!("    - user: {{name: ann, create_home: no, {arguments}}}\n"));
        machine.done();
        assert_eq!(hash(), expected, "{arguments}");
    }
    machine.etc.sh("usermod -p '!' ann");
    machine.tasks("    - user: {name: ann, create_home: no, password_lock: no}\n");
    let refused = machine.play("--check").expect(2);
    assert!(refused.stdout.contains("let everybody in"), "{}", refused.stdout);
}

#[test]
fn an_account_is_changed_and_removed_with_its_home_and_comes_back_with_all_of_it() {
    let machine = Machine::new(
        "    - user: {name: ann, comment: Anna, shell: /bin/dash, groups: [audio], home: DIR/new, move_home: yes, \
         expires: -1}\n",
    );
    let own = machine.program.path("old").display().to_string();
    let home = |name: &str| machine.program.path(name);
    machine.etc.sh(&format!(
        "useradd -u 2600 -m -d {own} -c Ann -G mail,games -e 2030-02-28 ann; printf 'ann:%s\n' '{OLD_HASH}' | chpasswd -e"
    ));
    machine
        .etc
        .sh(&format!("echo text >{own}/a; mkdir {own}/d; chmod 700 {own}/d; ln -s a {own}/l; chown -Rh ann:ann {own}"));
    let before = (machine.accounts(), machine.line("shadow", "ann"));
    machine.done();
    let passwd = format!("ann:x:2600:2600:Anna:{}:/bin/dash", home("new").display());
    assert_eq!(machine.line("passwd", "ann"), passwd.replacen(":2600:2600", &numbers(&before.0[0]), 1));
    assert!(machine.line("group", "audio").ends_with("ann") && !machine.line("group", "mail").ends_with("ann"));
    assert_eq!(machine.line("shadow", "ann").split(':').nth(7), Some(""));
    assert!(!home("old").exists());
    assert_eq!(std::fs::read_to_string(home("new/l")).unwrap(), "text\n");
    assert_eq!(std::fs::metadata(home("new/d")).unwrap().mode() & 0o7777, 0o700);
    machine.cutover("undo last").expect(0);
    assert_eq!((machine.accounts(), machine.line("shadow", "ann")), before);
    assert_eq!(std::fs::metadata(home("old/a")).unwrap().uid(), 2600);
    assert!(!home("new").exists());

    machine.tasks("    - user: {name: ann, state: absent, remove: yes}\n");
    let run = machine.play("--check --diff").expect(0);
    assert_eq!(run.diffs(), machine.play("--diff --vault-password-file pw").expect(0).diffs());
    assert_eq!((machine.etc.line("passwd", "ann"), machine.etc.line("group", "ann")), (None, None));
    assert!(!home("old").exists() && !machine.etc.read("group").contains("ann"));
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));
    machine.cutover("undo last --vault-password-file pw").expect(0);
    // Behind all others, where one that goes back comes to be.
    let sorted = |texts: &[String; 3]| {
        texts.clone().map(|text| {
            let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
            lines.sort();
            lines
        })
    };
    assert_eq!(sorted(&machine.accounts()), sorted(&before.0));
    assert_eq!(machine.line("shadow", "ann").split(':').nth(1), Some(OLD_HASH));
    assert_eq!(machine.line("shadow", "ann").split(':').nth(7), Some("21973"));
    assert_eq!(std::fs::metadata(home("old/a")).unwrap().uid(), 2600);
}

/// `:uid:gid` of ann.
fn numbers(passwd: &str) -> String {
    let line = passwd.lines().find(|line| line.starts_with("ann:")).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    format!(":{}:{}", fields[2], fields[3])
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_changed() {
    let machine = Machine::new("");
    machine.etc.sh(
        "useradd -M -u 2600 -U ann; useradd -M -u 2601 -g ann eve; groupadd -g 2700 boxes; useradd -M -u 2602 -d / top",
    );
    let before = machine.accounts();
    for (task, says) in [
        ("user: {name: bob, uid: 2600}", "the number 2600 is that of user `ann`"),
        ("user: {name: bob, group: none}", "`here` has no group `none`"),
        ("user: {name: bob, groups: [mail, none]}", "`here` has no group `none`"),
        ("user: {name: bob, uid_min: 5, uid_max: 5, system: yes}", "no number is left for a user between 5 and 5"),
        ("user: {name: 'a b'}", "`a b` is no name of a user"),
        ("user: {name: '2600'}", "`2600` is no name of a user"),
        ("user: {name: bob, home: relative}", "has to be an absolute path"),
        ("user: {name: bob, comment: 'a:b'}", "cannot have a colon"),
        ("user: {name: bob, create_home: no, generate_ssh_key: yes}", "`/home/bob` is no directory"),
        ("user: {name: top, state: absent, remove: yes}", "is `/`, which is not removed"),
        ("user: {name: root, state: absent}", "user `root` has processes"),
        ("group: {name: ann, state: absent}", "is the primary group of `"),
        ("group: {name: boxes, gid: 8}", "the number 8 is that of group `mail`"),
        ("group: {name: new, gid: 8}", "the number 8 is that of group `mail`"),
    ] {
        machine.tasks(&format!("    - {task}\n"));
        for flags in ["--check", ""] {
            let printed = machine.play(flags);
            assert_ne!(printed.status, 0, "{task}");
            let text = printed.stdout + &printed.stderr;
            assert!(text.contains(says), "{task}:\n{text}");
        }
    }
    assert_eq!(machine.accounts(), before);
}

#[test]
fn groups_are_made_renumbered_and_removed_and_come_back_with_their_members() {
    let machine = Machine::new(
        "    - group: {name: boxes, gid: 2701}\n    - group: {name: old, state: absent}\n    \
         - group: {name: fresh, system: yes}\n    - user: {name: ann, groups: [fresh], append: yes, create_home: no}\n",
    );
    machine.etc.sh("groupadd -g 2700 boxes; groupadd -g 2702 old; useradd -M -u 2600 -G old ann");
    let before = machine.accounts();
    machine.done();
    assert!(machine.line("group", "boxes").contains(":2701:"));
    assert_eq!(machine.etc.line("group", "old"), None);
    assert!(machine.line("group", "fresh").ends_with(":ann"));
    machine.cutover("undo last").expect(0);
    let members = |texts: &[String; 3]| {
        let mut lines: Vec<String> = texts[1].lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(members(&machine.accounts()), members(&before));
}

#[test]
fn only_root_changes_accounts_and_anybody_may_find_them_as_they_are() {
    let machine = Machine::new("    - group: {name: mail}\n    - user: {name: mail, shell: /usr/sbin/nologin}\n");
    let run = |tasks: &str| {
        machine.tasks(tasks);
        let text = machine
            .program
            .read("play.yml")
            .replace("gather_facts: no", "gather_facts: no\n  become: yes\n  become_user: nobody");
        machine.program.file("play.yml", &text);
        machine.play("")
    };
    let printed = run("    - group: {name: mail}\n    - user: {name: mail, create_home: no}\n").expect(0);
    assert!(printed.stdout.contains(" changed=0 "), "{}", printed.stdout);
    let printed = run("    - group: {name: boxes}\n").expect(2);
    assert!(printed.stdout.contains("only root may change accounts"), "{}", printed.stdout);
}

#[test]
fn the_days_of_a_password_are_set_for_old_and_new_users_and_go_back() {
    let machine = Machine::new(
        "    - user: {name: ann, password_expire_max: 90, password_expire_warn: 14}\n    \
         - user: {name: eve, create_home: no, uid: 2601, password_expire_min: 7, password_expire_account_disable: 30}\n",
    );
    machine.etc.sh("useradd -u 2600 -M ann; chage -m 1 -M 60 ann");
    let days = |name: &str| machine.line("shadow", name).split(':').skip(3).take(4).collect::<Vec<_>>().join(":");
    assert_eq!(days("ann"), "1:60:7:");
    let run = machine.done();
    assert!(
        run.stdout.contains("-min 1, max 60, warn 7, inactive -1\n+min 1, max 90, warn 14, inactive -1"),
        "{}",
        run.stdout
    );
    assert_eq!((days("ann"), days("eve")), ("1:90:14:".to_string(), "7:99999:7:30".to_string()));
    machine.cutover("undo last").expect(0);
    assert_eq!((days("ann"), machine.etc.line("passwd", "eve")), ("1:60:7:".to_string(), None));
}

/// What a user's key is, by those who use it.
fn key(machine: &Machine, words: &str) -> String {
    let words = words.replace("DIR", machine.program.path("").display().to_string().trim_end_matches('/'));
    let output = machine.etc.command(&["/bin/sh", "-ec", &words]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn a_user_gets_an_ssh_key_once_and_it_goes_with_an_undo() {
    let machine = Machine::new(
        "    - user: {name: ann, home: DIR/homes/ann, generate_ssh_key: yes, ssh_key_type: ed25519}\n      register: made\n\
         \x20   - stat: {path: DIR/homes/ann/.ssh/id_ed25519.pub}\n      register: public\n\
         \x20   - debug: {msg: '{{ made.ssh_fingerprint }} {{ made.ssh_public_key }} {{ made.ssh_key_file }} {{ public.stat.mode }}'}\n",
    );
    let before = machine.accounts();
    let run = machine.done();
    for line in ["--- SSH key DIR/homes/ann/.ssh/id_ed25519\n", "-absent\n+there\n", "+++ DIR/homes/ann/.ssh"] {
        assert!(run.diffs().contains(line), "{line}: {}", run.diffs());
    }
    let [public, fingerprint, rights] = [
        "cat DIR/homes/ann/.ssh/id_ed25519.pub",
        "ssh-keygen -l -f DIR/homes/ann/.ssh/id_ed25519",
        "cd DIR/homes/ann; stat -c '%a %U %G' .ssh .ssh/id_ed25519 .ssh/id_ed25519.pub; ls -A .ssh",
    ]
    .map(|words| key(&machine, words));
    assert_eq!(rights, "700 ann ann\n600 ann ann\n644 ann ann\nid_ed25519\nid_ed25519.pub");
    let host = key(&machine, "uname -n");
    assert!(
        public.starts_with("ssh-ed25519 ") && public.ends_with(&format!(" ansible-generated on {host}")),
        "{public}"
    );
    let told = format!("{fingerprint} {public} DIR/homes/ann/.ssh/id_ed25519 0644");
    for printed in [run, machine.play("").expect(0)] {
        assert!(printed.stdout.contains(&told), "{told}: {}", printed.stdout);
    }
    // With `force` it is another one each time, and the old one is in no journal.
    machine.tasks(
        "    - user: {name: ann, generate_ssh_key: yes, ssh_key_type: ed25519, force: yes, ssh_key_comment: new}\n",
    );
    let again = machine.play("--diff").expect(0);
    assert!(again.diffs().contains("-there\n+absent\n"), "{}", again.diffs());
    assert!(key(&machine, "cat DIR/homes/ann/.ssh/id_ed25519.pub").ends_with(" new"));
    let undone = machine.cutover("undo last").expect(0);
    assert!(undone.stderr.contains("not taken back"), "{}{}", undone.stdout, undone.stderr);
    assert_eq!(key(&machine, "ls -A DIR/homes/ann/.ssh"), "");

    machine.tasks(
        "    - user: {name: eve, home: DIR/homes/eve, generate_ssh_key: yes, ssh_key_bits: 1024, ssh_key_file: key}\n",
    );
    machine.done();
    assert!(key(&machine, "ssh-keygen -l -f DIR/homes/eve/key").starts_with("1024 "));
    machine.cutover("undo last").expect(0);
    assert!(!machine.program.path("homes/eve").exists() && machine.etc.line("passwd", "eve").is_none());
    assert_eq!(machine.accounts()[0].lines().count(), before[0].lines().count() + 1);
}

#[test]
fn the_passphrase_of_an_ssh_key_is_told_to_ssh_keygen_and_to_nobody_else() {
    let machine = Machine::new(
        "    - user: {name: ann, home: DIR/homes/ann, generate_ssh_key: yes, ssh_key_type: ed25519, ssh_key_passphrase: 'a \\\\n %s $geheim'}\n",
    );
    let secret = "geheim";
    machine.program.script(
        "bin/ssh-keygen",
        "(echo \"$@\"; env; cat /proc/*/cmdline) >>DIR/seen\nexec /usr/bin/ssh-keygen \"$@\"",
    );
    let mut shown = String::new();
    let mut told = |printed: Printed| shown += &(printed.stdout + &printed.stderr);
    told(machine.play("--check --diff -vvv").expect(0));
    told(machine.cutover("plan -i hosts play.yml -o p --vault-password-file pw").expect(0));
    told(machine.cutover("show p").expect(0));
    told(machine.cutover("apply p --vault-password-file pw").expect(0));
    told(machine.play("-vvv").expect(0));
    told(machine.cutover("log last").expect(0));
    let opens =
        |passphrase: &str| key(&machine, &format!("ssh-keygen -y -P '{passphrase}' -f DIR/homes/ann/.ssh/id_ed25519"));
    assert!(opens(r"a \\n %s $geheim").starts_with("ssh-ed25519 ") && opens("").is_empty());
    assert_eq!(key(&machine, "ls -A DIR/homes/ann/.ssh"), "id_ed25519\nid_ed25519.pub");
    for file in std::fs::read_dir(machine.program.path("state/runs")).unwrap().map(|file| file.unwrap().path()) {
        shown += &std::fs::read_to_string(file).unwrap();
    }
    shown += &machine.program.read("p");
    let seen = String::from_utf8_lossy(&std::fs::read(machine.program.path("seen")).unwrap()).into_owned();
    assert!(seen.contains("SSH_ASKPASS_REQUIRE=force") && !seen.contains(secret), "{seen}");
    assert!(!shown.contains(secret), "{shown}");
    machine.cutover("undo last --vault-password-file pw");

    machine.tasks("    - user: {name: ann, generate_ssh_key: yes, ssh_key_passphrase: four}\n");
    assert!(machine.play("").expect(1).stderr.contains("at least five characters"));
}
