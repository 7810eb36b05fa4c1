//! Services of SysV init, with the real update-rc.d in an `/etc` of the test's own, and of OpenRC, with a stand-in for its programs.

use std::process::Command;

use crate::etc::Etc;
use crate::program::{Printed, Program, done};

/// `service` for one that is a file; what it is told is noted.
const SERVICE: &str = "echo \"service $*\" >>DIR/told\ncase $2 in\n\
    status) if [ -e DIR/running ]; then echo \"$1 is running\"; else echo \"$1 is stopped\"; exit 3; fi ;;\n\
    start) : >DIR/running ;;\nstop) rm -f DIR/running ;;\nesac";

/// The programs of OpenRC, as rc-service(8) and rc-update(8) say.
const RC_SERVICE: &str = "echo \"rc-service $*\" >>DIR/told\ncase $2 in\n\
    sshd) [ $1 = --exists ] ;;\n\
    status) if [ -e DIR/crashed ]; then echo ' * status: crashed'; exit 32; fi; [ -e DIR/running ] || exit 3 ;;\n\
    zap) rm DIR/crashed ;;\n\
    start) [ ! -e DIR/crashed ] && : >DIR/running ;;\nstop) rm -f DIR/running ;;\nrestart | reload) [ -e DIR/running ] ;;\n*) exit 1 ;;\nesac";
const RC_UPDATE: &str = "echo \"rc-update $*\" >>DIR/told\ncase $1 in\n\
    show) [ ! -e DIR/in-$2 ] || echo \"                 sshd | $2\" ;;\n\
    add) : >DIR/in-$3 ;;\ndel) rm DIR/in-$3 ;;\nesac";

/// The program of systemd, as systemctl(1) says; what it is told without being waited for stays in its queue.
const SYSTEMCTL: &str = "echo \"systemctl $*\" >>DIR/told\ncase $* in\n\
    'show -p LoadState proxy') echo LoadState=loaded ;;\n\
    'show -p Id proxy') echo Id=proxy.service ;;\n\
    'show -p ActiveState proxy') if [ -e DIR/running ]; then echo ActiveState=active; else echo ActiveState=inactive; fi ;;\n\
    'list-jobs --no-legend') echo '6 other.service start waiting'; [ ! -e DIR/job ] || echo \"7 proxy.service $(cat DIR/job) running\" ;;\n\
    '--no-block '*' proxy') echo $2 >DIR/job ;;\n\
    '--global is-enabled proxy') if [ -e DIR/global ]; then cat DIR/global; else echo disabled; exit 1; fi ;;\n\
    '--global enable proxy') echo enabled >DIR/global ;;\n\
    '--global mask proxy') echo masked >DIR/global ;;\n\
    '--global disable proxy' | '--global unmask proxy') rm -f DIR/global ;;\n\
    *) exit 1 ;;\nesac";

/// The same for the systemd of a user, who is told where it listens.
const USERS_SYSTEMCTL: &str = "[ \"$1\" = --user ] || exit 1\nshift\ncase $* in\n\
    'show -p LoadState proxy') echo LoadState=loaded; exit ;;\n\
    'show -p NeedDaemonReload proxy') if [ -e DIR/read ]; then echo NeedDaemonReload=no; else echo NeedDaemonReload=yes; fi; exit ;;\n\
    'is-active --quiet proxy') [ -e DIR/running ]; exit ;;\n\
    'is-enabled --quiet proxy') [ -e DIR/enabled ]; exit ;;\n\
    'is-enabled proxy') if [ -e DIR/masked ]; then echo masked; else echo enabled; fi; exit ;;\nesac\n\
    echo \"$(env | sed -n 's/^XDG_RUNTIME_.*=//p') $*\" >>DIR/told\ncase $* in\n\
    'start proxy') : >DIR/running ;;\n'stop proxy') rm DIR/running ;;\n\
    '--force enable proxy') : >DIR/enabled ;;\n'disable proxy') rm DIR/enabled ;;\n\
    'mask proxy') : >DIR/masked ;;\n'unmask proxy') rm DIR/masked ;;\n\
    daemon-reload) : >DIR/read ;;\n*) exit 1 ;;\nesac";

struct Machine {
    program: Program,
    etc: Etc,
}

impl Machine {
    fn new(programs: &[(&str, &str)]) -> Machine {
        let program = Program::new();
        program.file("hosts", "here ansible_connection=local\n");
        for (name, script) in programs {
            program.script(&format!("bin/{name}"), script);
        }
        let etc = Etc::below(&program.path(""));
        Machine { program, etc }
    }

    fn task(&self, task: &str) -> &Machine {
        self.program.file("play.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n    - {task}\n"));
        let _ = std::fs::remove_file(self.program.path("told"));
        self
    }

    fn words(&self, words: &str) -> Command {
        let path = format!("{}:{}", self.program.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = self.program.command();
        command.env("PATH", path).args(words.split_whitespace());
        command
    }

    fn cutover(&self, words: &str) -> Printed {
        self.program.printed(self.etc.around(&self.words(words)).output().unwrap())
    }

    fn play(&self, flags: &str) -> Printed {
        self.cutover(&format!("play -i hosts play.yml {flags}"))
    }

    fn done(&self) -> Printed {
        done(|flags| self.play(flags))
    }

    /// What the programs were told, without what only asks.
    fn told(&self) -> String {
        let text = std::fs::read_to_string(self.program.path("told")).unwrap_or_default();
        let asks = ["status", "--exists", "show", "is-enabled", "list-jobs"];
        text.lines().filter(|line| !asks.iter().any(|word| line.contains(word))).collect::<Vec<_>>().join(", ")
    }

    /// The run levels in which a service starts.
    fn levels(&self, name: &str) -> String {
        let mut levels = self.etc_sh(&format!("ls -d /etc/rc?.d/S[0-9][0-9]{name} 2>/dev/null || :"));
        levels.retain(|letter| letter.is_ascii_digit() || letter == '\n');
        levels.lines().filter_map(|line| line.get(..1)).collect()
    }

    fn etc_sh(&self, script: &str) -> String {
        let output = self.etc.command(&["/bin/sh", "-ec", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn run_levels_of_one_service_are_set_each_by_itself_and_taken_back() {
    let machine = Machine::new(&[("service", SERVICE)]);
    machine.etc_sh(
        "printf '#!/bin/sh\\n### BEGIN INIT INFO\\n# Provides: lab\\n# Required-Start:\\n# Required-Stop:\\n\
         # Default-Start: 2 3 4 5\\n# Default-Stop: 0 1 6\\n### END INIT INFO\\n' >/etc/init.d/lab; chmod 755 /etc/init.d/lab; \
         update-rc.d lab defaults",
    );
    assert_eq!(machine.levels("lab"), "2345");
    let run = machine.task("sysvinit: {name: lab, state: started, enabled: no, runlevels: [2, 5]}").done();
    assert!(
        run.diffs().contains("-stopped, 2 on 5 on (sysvinit)\n+running, 2 off 5 off (sysvinit)\n"),
        "{}",
        run.diffs()
    );
    assert_eq!((machine.levels("lab").as_str(), machine.told().as_str()), ("34", "service lab start"));
    machine.cutover("undo last").expect(0);
    assert_eq!(machine.levels("lab"), "2345");

    // Without levels they are those of the script, and one that has no links gets them.
    machine.etc_sh("rm /etc/rc?.d/*lab");
    machine.task("ansible.builtin.sysvinit: {name: lab, enabled: yes, runlevels: ['3']}").done();
    assert_eq!(machine.levels("lab"), "3");
    machine.task("sysvinit: {name: lab, enabled: no}").done();
    assert_eq!(machine.levels("lab"), "");
}

#[test]
fn what_sysvinit_tells_is_what_it_does() {
    let machine = Machine::new(&[("service", SERVICE)]);
    machine.etc_sh("printf '#!/bin/sh\\n' >/etc/init.d/lab; chmod 755 /etc/init.d/lab");
    let told = "\n      register: did\n    - debug: {msg: \"{{ did.name }} {{ did.status.restarted.changed }} {{ did.status.enabled.changed }}\"}";
    machine.task(&format!("sysvinit: {{name: lab, state: restarted, sleep: 0, arguments: now, daemonize: yes}}{told}"));
    let run = machine.play("").expect(0);
    assert!(run.stdout.contains("lab True False") && run.stdout.contains(" changed=1 "), "{}", run.stdout);
    assert_eq!(machine.told(), "service lab start now");
    machine
        .task(&format!("sysvinit: {{name: lab, state: restarted, sleep: 0, arguments: now}}{told}"))
        .play("")
        .expect(0);
    assert_eq!(machine.told(), "service lab stop now, service lab start now");
    let missing = machine.task("sysvinit: {name: none, state: started}").play("").expect(2);
    assert!(missing.stdout.contains("Could not find the requested service none"), "{}", missing.stdout);
    let wrong = machine.task("sysvinit: {name: lab, enabled: yes, runlevels: [9x]}").play("").expect(1);
    assert!(wrong.stderr.contains("`9x` is no run level"), "{}", wrong.stderr);
}

#[test]
fn openrc_is_found_by_its_programs_and_a_crashed_service_starts_again() {
    let machine = Machine::new(&[("rc-service", RC_SERVICE), ("rc-update", RC_UPDATE)]);
    for (manager, level) in [("openrc", "default"), ("auto", "boot")] {
        let (using, at) = (format!("use: {manager}"), format!("runlevel: {level}"));
        std::fs::write(machine.program.path("crashed"), "").unwrap();
        let run = machine.task(&format!("service: {{name: sshd, state: started, enabled: yes, {using}, {at}}}")).done();
        assert!(run.diffs().contains("-stopped, disabled (openrc)\n+running, enabled (openrc)\n"), "{}", run.diffs());
        let expected = format!("rc-update add sshd {level}, rc-service sshd zap, rc-service sshd start");
        assert_eq!(machine.told(), expected);
        machine.task(&format!("service: {{name: sshd, state: reloaded, {using}}}")).play("").expect(0);
        assert_eq!(machine.told(), "rc-service sshd reload");
        machine.task(&format!("service: {{name: sshd, state: stopped, enabled: no, {using}, {at}}}")).done();
        assert_eq!(machine.told(), format!("rc-update del sshd {level}, rc-service sshd stop"));
        machine.cutover("undo last").expect(0);
        assert!(machine.program.path("running").exists() && machine.program.path(&format!("in-{level}")).exists());
        machine.play("").expect(0);
    }
}

#[test]
fn systemd_is_not_waited_for_and_what_is_in_its_queue_counts_as_done() {
    let machine = Machine::new(&[("systemctl", SYSTEMCTL)]);
    let file = |name: &str| machine.program.path(name);
    let run = machine.task("systemd: {name: proxy, state: started, no_block: yes}").done();
    assert!(run.diffs().contains("-stopped, disabled (systemd)\n+running, disabled (systemd)\n"), "{}", run.diffs());
    assert_eq!(machine.told(), "systemctl --no-block start proxy");
    // What was in the queue is done.
    std::fs::rename(file("job"), file("running")).unwrap();
    assert!(machine.play("").expect(0).stdout.contains(" changed=0 "));
    machine.task("systemd: {name: proxy, state: restarted, no_block: yes}").play("").expect(0);
    assert_eq!(
        (machine.told().as_str(), machine.program.read("job").as_str()),
        ("systemctl --no-block restart proxy", "restart\n")
    );
    machine.task("systemd: {name: proxy, state: stopped, no_block: yes}").done();
    assert_eq!(machine.told(), "systemctl --no-block stop proxy");
    machine.cutover("undo last").expect(0);
    assert_eq!(machine.program.read("job"), "start\n");
}

#[test]
fn a_unit_of_all_users_is_enabled_and_masked_and_runs_nowhere() {
    let machine = Machine::new(&[("systemctl", SYSTEMCTL)]);
    let run = machine.task("systemd: {name: proxy, enabled: yes, scope: global}").done();
    assert!(run.diffs().contains("--- unit proxy of all users\n"), "{}", run.diffs());
    assert_eq!(
        (machine.told().as_str(), machine.program.read("global").as_str()),
        ("systemctl --global enable proxy", "enabled\n")
    );
    machine.task("systemd: {name: proxy, enabled: no, scope: global}").done();
    machine.cutover("undo last").expect(0);
    assert_eq!(machine.program.read("global"), "enabled\n");
    machine.task("systemd: {name: proxy, masked: yes, scope: global}").done();
    assert_eq!(
        (machine.told().as_str(), machine.program.read("global").as_str()),
        ("systemctl --global mask proxy", "masked\n")
    );
    for (task, says) in [
        ("name: none, enabled: yes", "Could not find the requested service none"),
        ("daemon_reload: yes", "in each user's own"),
    ] {
        let failed = machine.task(&format!("systemd: {{{task}, scope: global}}")).play("").expect(2);
        assert!(failed.stdout.contains(says), "{}", failed.stdout);
    }
}

/// The first process of a machine: it is no longer the file that it was started from, until it is told to start itself anew.
const FIRST: &str = "rm DIR/busybox-first\nmount -t tmpfs none /run\nmkdir -p /run/systemd/system\n\
    (\"$@\" >DIR/out 2>&1; echo $? >DIR/status) &\n\
    while [ ! -e DIR/anew ]; do [ ! -e DIR/status ] || exit 0; sleep 0.1; done\n\
    exec /bin/busybox sh -c 'while [ ! -e DIR/status ]; do sleep 0.1; done'";

#[test]
fn systemd_starts_itself_anew_if_a_newer_one_is_there() {
    let machine = Machine::new(&[(
        "systemctl",
        "case $* in\ndaemon-reexec) : >DIR/anew; until readlink /proc/1/exe | grep -q '/bin/busybox$'; do sleep 0.1; done ;;\n*) exit 1 ;;\nesac",
    )]);
    let file = |name: &str| machine.program.path(name);
    machine.task("systemd: {daemon_reexec: yes}");
    let cutover = |flags: &str| {
        for name in ["status", "anew"] {
            let _ = std::fs::remove_file(file(name));
        }
        std::fs::copy("/bin/busybox", file("busybox-first")).unwrap();
        let directory = machine.program.path("").display().to_string();
        let words = machine.words(&format!("play -i hosts play.yml {flags}"));
        let mut command = Command::new("unshare");
        command.env_clear().envs(words.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-m", "-p", "-f", "--kill-child", "--mount-proc"]).arg(file("busybox-first"));
        command.args(["sh", "-c", &FIRST.replace("DIR", directory.trim_end_matches('/')), "first"]);
        command.arg(words.get_program()).args(words.get_args()).current_dir(&directory);
        assert!(command.status().unwrap().success());
        assert_eq!(machine.program.read("status"), "0\n", "{}", machine.program.read("out"));
        machine.program.read("out")
    };
    let check = cutover("--check --diff");
    assert!(check.contains("-older\n+newest\n") && !file("anew").exists(), "{check}");
    let ran = cutover("");
    assert!(ran.contains(" changed=1 ") && file("anew").exists(), "{ran}");
}

#[test]
fn a_unit_of_the_users_own_systemd_is_asked_of_that() {
    let machine = Machine::new(&[("systemctl", USERS_SYSTEMCTL)]);
    let run = machine.task("systemd: {name: proxy, state: started, enabled: yes, force: yes, scope: user}\n      environment: {XDG_RUNTIME_DIR: /run/mine}").done();
    assert!(run.diffs().contains("--- service proxy of user root\n"), "{}", run.diffs());
    assert_eq!(machine.told(), "/run/mine --force enable proxy, /run/mine start proxy");
    machine.task("systemd: {name: proxy, masked: yes, daemon_reload: yes, scope: user}\n      environment: {XDG_RUNTIME_DIR: ''}").done();
    assert_eq!(machine.told(), "/run/user/0 daemon-reload, /run/user/0 mask proxy");
    machine.cutover("undo last").expect(0);
    assert!(!machine.program.path("masked").exists());
    machine.task("systemd: {name: proxy, state: stopped, enabled: no, scope: user}\n      environment: {XDG_RUNTIME_DIR: ''}").done();
    assert!(!machine.program.path("running").exists() && !machine.program.path("enabled").exists());
}
