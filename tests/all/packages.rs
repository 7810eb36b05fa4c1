//! Packages with a real apt and dpkg: a check that shows all that comes along, one run for it, and the way back.

use crate::archive::Archive;
use crate::etc::Etc;
use crate::program::{Printed, Program, done};

/// This machine with packages of its own: those of a dpkg and an apt, or of an rpm and a dnf.
pub struct Machine {
    pub program: Program,
    pub etc: Etc,
    /// Says which are installed.
    installed: fn(&Archive) -> String,
    _packages: tempfile::TempDir,
}

impl Machine {
    fn new(tasks: &str) -> Machine {
        Machine::of(Archive::installed, tasks)
    }

    pub fn of(installed: fn(&Archive) -> String, tasks: &str) -> Machine {
        let (program, packages) = (Program::new(), tempfile::tempdir().unwrap());
        let etc = Etc::below(&program.path("")).with(Archive::below(packages.path()));
        program.file("hosts", "here ansible_connection=local\n");
        let machine = Machine { program, etc, installed, _packages: packages };
        machine.tasks(tasks);
        machine
    }

    pub fn tasks(&self, tasks: &str) {
        let tasks: String = tasks.lines().map(|task| format!("    - {task}\n")).collect();
        self.program.file("play.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n{tasks}"));
    }

    pub fn archive(&self) -> &Archive {
        self.etc.archive().unwrap()
    }

    pub fn cutover(&self, words: &str) -> Printed {
        let mut command = self.program.command();
        command.args(words.split_whitespace());
        self.program.printed(self.etc.around(&command).output().unwrap())
    }

    pub fn play(&self, flags: &str) -> Printed {
        self.cutover(&format!("play -i hosts play.yml {flags}"))
    }

    /// Checks, runs, sees that both showed the same and that a second run has nothing to do.
    pub fn done(&self) -> Printed {
        let before = (self.installed)(self.archive());
        done(|flags| {
            let printed = self.play(flags);
            if flags.starts_with("--check") {
                assert_eq!((self.installed)(self.archive()), before, "a check has changed packages");
            }
            printed
        })
    }

    fn undone(&self) -> Printed {
        self.cutover("undo last").expect(0)
    }

    fn automatic(&self) -> String {
        self.archive().sh("apt-mark showauto").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_package_brings_its_dependency_in_one_run_of_apt_and_both_go_again() {
    let machine = Machine::new("apt: {name: [server, ucspi-tcp]}");
    let run = machine.done();
    let diffs = run.diffs();
    for line in ["--- package server\n", "+2.0\n", "--- package library\n", "+1.5, automatic\n", "+1:0.88-6\n"] {
        assert!(diffs.contains(line), "{line}{diffs}");
    }
    assert_eq!(diffs.matches("by: apt-get -y ").count(), 1, "{diffs}");
    assert!(diffs.contains(" install server=2.0 ucspi-tcp=1:0.88-6 library=1.5 || "), "{diffs}");
    let archive = machine.archive();
    assert_eq!(archive.installed(), "library 1.5, server 2.0, ucspi-tcp 1:0.88-6");
    assert_eq!(machine.automatic(), "library");
    assert_eq!(std::fs::read_to_string(archive.opt().join("server/version")).unwrap(), "2.0\n");
    let history = std::fs::read_to_string(archive.path("log/apt/history.log")).unwrap();
    assert_eq!(history.matches("Start-Date").count(), 1, "{history}");

    machine.undone();
    assert_eq!((archive.installed().as_str(), archive.opt().read_dir().unwrap().count()), ("", 0));
}

#[test]
fn packages_that_lack_what_they_need_are_put_right() {
    let machine = Machine::new("apt: {name: server, state: fixed}");
    machine
        .archive()
        .sh("cd /tmp && apt-get -q download server && dpkg --unpack server_2.0_*.deb && rm server_2.0_*.deb");
    assert_eq!(machine.archive().sh("apt-get check 2>&1 >/dev/null | grep -c 'fix-broken' || true").trim(), "1");
    let run = machine.done();
    assert!(run.diffs().contains("+1.5, automatic\n"), "{}", run.diffs());
    assert_eq!(machine.archive().installed(), "library 1.5, server 2.0");
    assert_eq!(machine.archive().sh("apt-get check 2>&1 >/dev/null").trim(), "");
}

#[test]
fn each_task_of_a_check_stands_on_the_ones_before_it() {
    let machine = Machine::new(
        "apt: {name: [server=1.*, extra], state: present}\n\
         apt: {name: extra, state: absent, purge: yes}\n\
         package_facts:\n\
         debug: {msg: \"server is {{ ansible_facts.packages.server[0].version }}\"}\n\
         apt: {name: server, state: latest}\n\
         apt: {name: library}\n\
         package_facts:\n\
         debug: {msg: \"library is {{ ansible_facts.packages.library[0].version }}\"}\n\
         apt: {name: rival}\n\
         package_facts:\n\
         debug: {msg: \"server is there: {{ 'server' in ansible_facts.packages }}\"}",
    );
    machine.archive().sh("apt-get -q -y install server=1.0 extra");
    let check = machine.play("--check --diff").expect(0);
    let run = machine.play("--diff").expect(0);
    for (shown, name) in [(&check, "check"), (&run, "run")] {
        for text in ["server is 1.0", "library is 1.5", "server is there: False", "+configuration of 2.0\n"] {
            assert!(shown.stdout.contains(text), "{name}: {text}\n{}", shown.stdout);
        }
    }
    assert_eq!(check.diffs(), run.diffs());
    assert_eq!(machine.archive().installed(), "library 1.5, rival 1.0, server 2.0 config-files");
    assert_eq!(machine.automatic(), "");
}

#[test]
fn an_upgrade_a_removal_and_a_purge_are_taken_back_as_far_as_the_archive_reaches() {
    let machine = Machine::new("apt: {name: server=1.0}");
    let archive = machine.archive();
    machine.done();
    for (task, after, back) in [
        ("apt: {name: server, state: latest}", "library 1.5, server 2.0", "server 1.0"),
        ("apt: {upgrade: full}", "library 1.5, server 2.0", "server 1.0"),
        ("apt: {name: server, state: absent}", "server 1.0 config-files", "server 1.0"),
        ("apt: {name: server, state: absent, purge: yes}", "", "server 1.0"),
    ] {
        machine.tasks(task);
        machine.done();
        assert_eq!(archive.installed(), after, "{task}");
        machine.undone();
        assert_eq!(archive.installed(), back, "{task}");
    }
    // Removed by hand: the configuration that is left goes, and nothing can bring that back.
    archive.sh("apt-get -q -y remove server");
    machine.tasks("apt: {name: server, state: absent}");
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));
    machine.tasks("apt: {name: server, state: absent, purge: yes}");
    let run = machine.done();
    assert!(run.stdout.contains("cannot bring back its state `configuration of 1.0`"), "{}", run.stdout);
    let undone = machine.undone();
    assert!(undone.stderr.contains("not taken back"), "{}{}", undone.stdout, undone.stderr);

    // What the archive has no more stays gone, and that is said before.
    archive.sh("apt-get -q -y install server=1.0");
    archive.sh(&format!("rm {}/server_1.0.deb", archive.path("archive").display()));
    archive.add("more", "1.0", "");
    machine.tasks("apt: {name: server, state: latest, update_cache: yes}");
    let run = machine.done();
    assert!(run.stdout.contains("the archive no longer has 1.0"), "{}", run.stdout);
}

#[test]
fn what_came_along_goes_when_nobody_needs_it() {
    let machine = Machine::new("apt: {name: server}");
    machine.done();
    machine.tasks("apt: {name: server, state: absent, autoremove: yes, purge: yes}");
    let diffs = machine.done().diffs();
    assert!(diffs.contains("--- package library\n+++ package library\n-1.5, automatic\n+absent\n"), "{diffs}");
    assert_eq!(machine.archive().installed(), "");
    machine.undone();
    assert_eq!(
        (machine.archive().installed().as_str(), machine.automatic().as_str()),
        ("library 1.5, server 2.0", "library")
    );
}

#[test]
fn new_lists_are_read_aside_for_a_check_and_in_place_by_the_run() {
    let machine = Machine::new("apt: {name: server, state: latest, update_cache: yes}");
    let archive = machine.archive();
    machine.done();
    archive.add("server", "3.0", "Depends: newcomer\\n");
    archive.add("newcomer", "0.1", "");
    let lists = || {
        std::fs::read_dir(archive.path("apt/lists"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name(), entry.metadata().unwrap().modified().unwrap())
            })
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = lists();
    let check = machine.play("--check --diff").expect(0);
    assert_eq!(lists(), before);
    assert!(check.diffs().contains("+updated\n") && check.diffs().contains("+0.1, automatic\n"), "{}", check.stdout);
    assert_eq!(check.diffs(), machine.play("--diff").expect(0).diffs());
    assert_ne!(lists(), before);
    assert!(archive.installed().contains("newcomer 0.1, server 3.0"));
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));

    // By themselves, as old as asked.
    for (arguments, changes) in [("cache_valid_time: 3600", 0), ("update_cache: yes", 1), ("cache_valid_time: 1", 1)] {
        machine.tasks(&format!("apt: {{{arguments}}}"));
        if changes == 1 {
            archive.sh("touch -d '1 hour ago' /var/lib/apt/lists");
        }
        assert!(machine.play("--check").expect(0).stdout.contains(&format!("would-change={changes} ")), "{arguments}");
        assert!(machine.play("").expect(0).stdout.contains(&format!(" changed={changes} ")), "{arguments}");
    }
}

#[test]
fn a_least_version_a_pattern_of_names_and_a_file_are_what_is_asked_for() {
    let machine = Machine::new("apt: {name: server>=1.0}");
    let archive = machine.archive();
    archive.sh("apt-get -q -y install server=1.0");
    let nothing = machine.play("").expect(0);
    assert!(nothing.stdout.contains(" changed=0 "), "{}", nothing.stdout);
    machine.tasks("apt: {name: server>=1.5}");
    machine.done();
    assert!(archive.installed().contains("server 2.0"));
    machine.tasks("apt: {name: server>=3}");
    assert!(machine.play("").expect(2).stdout.contains("no available installation candidate for server>=3"));
    machine.tasks("apt: {name: server=1.0, state: absent}");
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));
    machine.tasks("apt: {name: 'serv?r', state: absent}");
    machine.done();
    // What it depends on comes from the archive.
    let file = archive.path("archive").join("server_2.0.deb");
    machine.tasks(&format!("apt: {{deb: {}, purge: yes}}", file.display()));
    machine.done();
    assert!(archive.installed().contains("library 1.5, server 2.0"), "{}", archive.installed());
    machine.tasks("apt: {name: nothing-l?ke-it}");
    assert!(machine.play("").expect(2).stdout.contains("No package(s) matching 'nothing-l?ke-it' available"));
}

#[test]
fn what_apt_or_dpkg_cannot_do_is_said_with_what_to_do() {
    let machine = Machine::new("apt: {name: [server, rival]}");
    let archive = machine.archive();
    archive.sh("apt-get -q -y install server=1.0; echo server hold | dpkg --set-selections");
    let before = archive.installed();
    for (task, says) in [
        ("apt: {name: nope}", "Unable to locate package nope\nhint: it may be in the lists after an update"),
        ("apt: {name: server=9}", "Version '9' for 'server' was not found\nhint: `apt-cache madison NAME`"),
        ("apt: {name: [server, rival]}", "rival : Conflicts: server"),
        ("apt: {name: server, state: latest}", "  server\nhint: `allow_change_held_packages: true`"),
        ("apt: {name: server, state: absent}", "  server\nhint: `allow_change_held_packages: true`"),
        (
            "package: {name: rival, state: present, use: zypper}",
            "for the \"zypper\" package manager.\nhint: there are `apt`, `dnf`",
        ),
    ] {
        machine.tasks(task);
        for flags in ["--check", ""] {
            let printed = machine.play(flags);
            assert_ne!(printed.status, 0, "{task}");
            let text = printed.stdout + &printed.stderr;
            let told = text.replace("\n    ", "\n");
            assert!(told.contains(says), "{task}:\n{text}");
        }
    }
    assert_eq!(archive.installed(), before);
    machine.tasks("apt: {name: server, state: latest, allow_change_held_packages: yes}");
    machine.done();
    machine.tasks("apt: {name: server=1.0}");
    archive.sh("echo server install | dpkg --set-selections");
    assert!(machine.play("--check").expect(2).stdout.contains("hint: `allow_downgrade: true`"));
    machine.tasks("apt: {name: server=1.0, allow_downgrade: yes}");
    machine.done();

    // Its script fails: apt says so, and the next task says what is to be done.
    machine.tasks("apt: {name: broken}");
    let failed = machine.play("").expect(2);
    assert!(failed.stdout.contains("Sub-process /usr/bin/dpkg returned an error code"), "{}", failed.stdout);
    let half = machine.play("--check").expect(2);
    assert!(half.stdout.contains("package `broken` is half-configured"), "{}", half.stdout);
    archive.sh("dpkg --purge broken; touch /var/lib/dpkg/updates/0001");
    let interrupted = machine.play("--check").expect(2);
    assert!(interrupted.stdout.contains("dpkg was interrupted"), "{}", interrupted.stdout);
}

#[test]
fn who_holds_the_lock_is_named_after_the_wait() {
    let machine = Machine::new("apt: {name: extra, lock_timeout: 1}");
    let mut holder = std::process::Command::new("python3")
        .args(["-c", "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX); print('held',flush=True); time.sleep(60)"])
        .arg(machine.archive().path("dpkg/lock-frontend"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()), &mut line).unwrap();
    let check = machine.play("--check").expect(0);
    assert!(check.stdout.contains("would-change=1 "), "a check needs no lock: {}", check.stdout);
    let refused = machine.play("");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let text = refused.expect(2).stdout;
    assert!(text.contains(&format!("held by process {}", holder.id())), "{text}");
    machine.done();
}

#[test]
fn what_a_package_would_bring_or_take_is_unknown_in_a_check_and_done_in_a_run() {
    let machine = Machine::new("");
    let own = machine.program.path("own").display().to_string();
    machine.tasks(&format!(
        "apt: {{name: server=1.0}}\n\
         lineinfile: {{path: /opt/server/conf, line: more}}\n\
         stat: {{path: /opt/server/version}}\n\
         copy: {{content: \"own\\n\", dest: {own}, mode: '0600'}}"
    ));
    let check = machine.play("--check").expect(0).stdout;
    for needs in
        ["`/opt/server/conf`, which package `server` may bring", "`/opt/server/version`, which package `server` may"]
    {
        assert!(check.contains(&format!("unknown until run: needs {needs}")), "{check}");
    }
    assert!(check.contains("unknown=2") && check.contains("+++ DIR/own"), "{check}");
    machine.play("").expect(0);
    let conf = machine.archive().opt().join("server/conf");
    assert_eq!(std::fs::read_to_string(&conf).unwrap(), "configured\nmore\n");
    // Here it is known; and when the package goes, what is its own may go with it.
    machine.tasks(
        "lineinfile: {path: /opt/server/conf, line: more still}\n\
         apt: {name: server, state: absent, purge: yes}\n\
         lineinfile: {path: /opt/server/conf, line: gone}",
    );
    let check = machine.play("--check").expect(0).stdout;
    assert!(
        check.contains("+more still") && check.contains("`/opt/server/conf`, which may go with package `server`"),
        "{check}"
    );
    assert!(machine.play("").expect(2).stdout.contains("/opt/server/conf"));
    assert!(!conf.exists());
}

#[test]
fn what_a_source_needs_to_be_built_comes_and_goes_again() {
    let machine = Machine::new("apt: {name: tools, state: build-dep}");
    let archive = machine.archive();
    archive.add("build-essential", "1.0", "");
    let sources = "Package: tools\nBinary: tools\nVersion: 1.0\nArchitecture: any\nFormat: 1.0\nDirectory: .\n\
        Build-Depends: printing, server (>= 1.5), absent [alpha]\nChecksums-Sha256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 tools_1.0.dsc\n\n";
    std::fs::write(archive.path("archive/Sources"), sources).unwrap();
    archive.sh("sed 's/^deb /deb-src /' /etc/apt/sources.list >/tmp/$$ && cat /tmp/$$ >>/etc/apt/sources.list; rm /tmp/$$; apt-get -q update");
    let run = machine.done();
    assert_eq!(archive.installed(), "build-essential 1.0, library 1.5, printer 1.0, server 2.0");
    assert_eq!(machine.automatic(), "library");
    assert!(run.diffs().contains("--- package library\n"), "{}", run.diffs());
    // What apt itself makes of it.
    machine.undone();
    assert_eq!(archive.installed(), "");
    archive.sh("apt-get -q -y build-dep tools");
    assert_eq!(machine.automatic(), "library");
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));

    machine.tasks("apt: {name: nowhere, state: build-dep}");
    let failed = machine.play("").expect(2);
    assert!(failed.stdout.contains("Unable to find a source package for nowhere"), "{}", failed.stdout);
}

#[test]
fn a_package_of_the_web_is_fetched_for_as_long_as_it_is_needed() {
    let machine = Machine::new("");
    let archive = machine.archive();
    archive.add("tool", "1.0", "Depends: library\n");
    let file = archive.path("archive/tool_1.0.deb");
    machine.tasks(&format!("apt: {{deb: 'file://{}'}}", file.display()));
    let run = machine.done();
    assert_eq!(archive.installed(), "library 1.5, tool 1.0");
    assert_eq!(machine.automatic(), "library");
    assert!(run.diffs().contains("--- package tool\n"), "{}", run.diffs());
    machine.undone();
    assert_eq!(archive.installed(), "");

    // Another one than was planned is not installed.
    let vault = "--vault-password-file hosts";
    machine.cutover(&format!("plan -i hosts play.yml -o p {vault}")).expect(0);
    let elsewhere = archive.path("archive/extra_1.0.deb");
    std::fs::copy(elsewhere, &file).unwrap();
    let applied = machine.cutover(&format!("apply p {vault}")).expect(2);
    assert!(applied.stdout.contains("no longer the package that was planned"), "{}", applied.stdout);
    assert_eq!(archive.installed(), "");
    std::fs::remove_file(&file).unwrap();
    let failed = machine.play("").expect(2);
    assert!(failed.stdout.contains("Unable to install package"), "{}", failed.stdout);
}
