//! Hosts in namespaces of our own: each with its network interface, processes, `/etc`, `/var`, `/run` and `/tmp`, on a bridge
//! that nothing else is connected to.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::sshd::{make_key, run, wait_for};

/// Set in the process that runs inside.
const INSIDE: &str = "CUTOVER_TEST_NETWORK";

/// Runs `body` in a network and among processes of its own: this test again, by itself, as another process.
pub fn in_a_network_of_its_own(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let ended = Command::new("unshare")
        .args(["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("unshare; it is in the package util-linux");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print!("{}", text(&ended.stdout));
    assert!(ended.status.success(), "{}", text(&ended.stderr));
}

/// The bridge, and this process's place at it, 10.77.0.1.
pub struct Network {
    directory: tempfile::TempDir,
}

impl Network {
    /// Makes it in a directory in memory, which the hosts see as nothing but their own files.
    pub fn new() -> Network {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        sh(&format!(
            "mount -t tmpfs -o mode=755 tmpfs {}\n\
             ip link set lo up\nip link add bridge0 type bridge\nip addr add 10.77.0.1/24 dev bridge0\nip link set bridge0 up",
            directory.path().display()
        ));
        let network = Network { directory };
        std::fs::create_dir(network.path("bin")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_cutover"), network.path("bin/cutover")).unwrap();
        make_key("ed25519", &network.path("id"));
        network
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a host's directories and its ssh server's files; nothing runs yet.
    pub fn host(&self, name: &'static str, last: u8) -> Host {
        let root = self.path(name);
        for part in
            ["etc", "var/lib/cutover", "var/log", "var/qmail", "var/spool", "var/empty", "run/sshd", "tmp", "root"]
        {
            std::fs::create_dir_all(root.join(part)).unwrap();
        }
        // Locks of other tests' `useradd` come and go: of them `cp` complains.
        let _ = Command::new("cp").args(["-a", "/etc/."]).arg(root.join("etc")).output();
        make_key("ed25519", &root.join("etc/lab_host_key"));
        std::fs::create_dir_all(root.join("root/.ssh")).unwrap();
        std::fs::copy(self.path("id.pub"), root.join("root/.ssh/authorized_keys")).unwrap();
        let text = "Port 22\nHostKey /etc/lab_host_key\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
                    MaxStartups 100\nMaxSessions 100\nAuthorizedKeysFile /root/.ssh/authorized_keys\n";
        std::fs::write(root.join("etc/lab_sshd_config"), text).unwrap();
        Host { name, address: format!("10.77.0.{last}"), root, bin: self.path("bin"), init: None }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.directory.path()).output();
    }
}

/// A host; what runs there ends when this is dropped.
pub struct Host {
    pub name: &'static str,
    pub address: String,
    root: PathBuf,
    bin: PathBuf,
    init: Option<Child>,
}

impl Host {
    /// A file of the host, seen from here; of `/etc`, `/var`, `/run`, `/tmp` and `/root`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Adds an account and its group with these numbers.
    pub fn account(&self, name: &str, (uid, gid): (u32, u32)) {
        let add = |file: &str, line: String| {
            let text = std::fs::read_to_string(self.path(file)).unwrap();
            let others = text.lines().filter(|other| !other.starts_with(&format!("{name}:")));
            let others: String = others.map(|other| format!("{other}\n")).collect();
            std::fs::write(self.path(file), others + &line).unwrap();
        };
        add("etc/passwd", format!("{name}:x:{uid}:{gid}::/var/qmail:/bin/false\n"));
        add("etc/group", format!("{name}:x:{gid}:\n"));
    }

    /// Starts it: its network, an ssh server, and what `services` starts in the background.
    pub fn start(&mut self, services: &str) {
        let root = self.root.display();
        let script = format!(
            "mount --bind {bin} {root}/var/lib/cutover\n\
             for part in etc run tmp root var; do mount --rbind {root}/$part /$part; done\n\
             chmod 1777 /tmp; ln -sfn /run /var/run\n\
             mount -t proc proc /proc; hostname {name}\n\
             until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done\n\
             ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up\n\
             /usr/sbin/sshd -D -e -f /etc/lab_sshd_config &\n{services}\n\
             echo up >/run/up\nwhile :; do wait; sleep 0.1; done",
            bin = self.bin.display(),
            name = self.name,
            address = self.address,
        );
        let log = std::fs::File::create(self.path("log")).unwrap();
        let init = Command::new("unshare")
            .args(["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private"])
            .args(["sh", "-c", &script])
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.init = Some(init);
        assert!(wait_for(|| !self.pid().is_empty()), "no process of {}: {}", self.name, self.log());
        sh(&format!(
            "ip link add {name}0 type veth peer name eth0 netns {pid}\nip link set {name}0 master bridge0 up",
            name = self.name,
            pid = self.pid()
        ));
        assert!(wait_for(|| self.path("run/up").exists()), "{} does not start: {}", self.name, self.log());
        // The bridge has to learn who is where before somebody waits for an answer.
        assert!(wait_for(|| self.answers(22)), "{} has no ssh server: {}", self.name, self.log());
    }

    /// The number of its first process here.
    fn pid(&self) -> String {
        let of = self.init.as_ref().map_or(0, Child::id);
        let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
        children.trim().to_string()
    }

    pub fn answers(&self, port: u16) -> bool {
        std::net::TcpStream::connect((self.address.as_str(), port)).is_ok()
    }

    pub fn known_hosts_line(&self) -> String {
        let key = std::fs::read_to_string(self.path("etc/lab_host_key.pub")).unwrap();
        format!("{} {}\n", self.address, key.split(' ').take(2).collect::<Vec<_>>().join(" ").trim())
    }

    /// Runs a script there as root; returns what it prints.
    pub fn run(&self, script: &str) -> String {
        let output = self.command(script).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A script, to be run there.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--net", "--mount", "--uts", "--ipc", "--pid", "sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    }

    /// Kills the ssh sessions, as a network that breaks would end them.
    pub fn cut_sessions(&self) {
        // The listener's name has another form, and it stays.
        self.run("for p in $(pgrep -x sshd); do grep -qz '^sshd: root' /proc/$p/cmdline && kill -KILL $p; done; :");
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(init) = &mut self.init {
            let _ = init.kill();
            let _ = init.wait();
        }
    }
}

/// Runs a script here.
pub fn sh(script: &str) {
    run(Command::new("sh").args(["-ec", script]));
}

/// A copy of a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    sh(&format!("cp -a {}/. {}", from.display(), to.display()));
}
