//! Real programs to test against: OpenSSH's `sshd`, `ssh-agent` and keys, and accounts of this machine.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cutover::secret::Secret;
use cutover::transport::ssh::Target;
use tempfile::TempDir;

/// An `sshd` on loopback with keys and a configuration of its own; ended when dropped.
pub struct Sshd {
    pub port: u16,
    child: Child,
    directory: TempDir,
}

impl Sshd {
    /// Starts one with ed25519, ecdsa and rsa host keys. `configuration` comes first, so it wins (`sshd_config.5`).
    pub fn start(configuration: &str) -> Sshd {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all("/run/sshd").expect("sshd's own directory; these tests run as root");
        for kind in ["ed25519", "ecdsa", "rsa"] {
            make_key(kind, &directory.path().join(format!("host_{kind}")));
        }
        // Another process may take the port between the question and the start.
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn(&directory, port, configuration);
            if wait_for(|| child.try_wait().expect("a child").is_some() || accepts(port)) && accepts(port) {
                return Sshd { port, child, directory };
            }
            let _ = child.wait();
        }
        panic!("sshd does not start: {}", read(&directory.path().join("log")));
    }

    /// Logs in as root with an ed25519 key, and knows the host.
    pub fn target(&self) -> Target {
        let key = self.path("id_ed25519");
        if !key.exists() {
            make_key("ed25519", &key);
            self.authorize(&key);
        }
        std::fs::write(self.path("known_hosts"), self.known_hosts_line("ed25519")).expect("a file");
        let mut target = Target::new("host", "root", self.directory.path());
        target.address = "127.0.0.1".into();
        target.port = self.port;
        target.keys = vec![key];
        target.known_hosts = vec![self.path("known_hosts")];
        target
    }

    /// Lets whoever has the private key `path` in, as any user.
    pub fn authorize(&self, path: &Path) {
        let line = read(&path.with_extension("pub"));
        std::fs::write(self.path("authorized_keys"), read(&self.path("authorized_keys")) + &line).expect("a file");
    }

    pub fn known_hosts_line(&self, kind: &str) -> String {
        format!("[127.0.0.1]:{} {}", self.port, self.host_key(kind))
    }

    /// The public key as `sshd` shows it: `TYPE BASE64 COMMENT` and a newline.
    pub fn host_key(&self, kind: &str) -> String {
        read(&self.path(&format!("host_{kind}.pub")))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The numbers of the processes that serve root's connections.
    pub fn sessions(&self) -> Vec<String> {
        let of_listener = |stat: &str| {
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).map(str::to_owned);
            parent == Some(self.child.id().to_string())
        };
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let serving = processes.filter(|entry| of_listener(&read(&entry.path().join("stat"))));
        serving.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Kills the processes that serve root's connections, as a crash would. One may have ended by itself meanwhile.
    pub fn kill_sessions(&self) {
        for session in self.sessions() {
            let _ = Command::new("kill").arg("-KILL").arg(session).output();
        }
    }

    pub fn log(&self) -> String {
        read(&self.path("log"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &TempDir, port: u16, configuration: &str) -> Child {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let text = format!(
        "{configuration}\nListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nHostKey {}\nHostKey {}\nPidFile none\n\
         UsePAM no\nStrictModes no\nPermitRootLogin yes\nLogLevel VERBOSE\nAuthorizedKeysFile {}\n",
        path("host_ed25519"),
        path("host_ecdsa"),
        path("host_rsa"),
        path("authorized_keys"),
    );
    std::fs::write(path("sshd_config"), text).expect("a file");
    Command::new("/usr/sbin/sshd")
        .args(["-D", "-f", &path("sshd_config"), "-E", &path("log")])
        .stdin(Stdio::null())
        .spawn()
        .expect("sshd; it is in the package openssh-server")
}

/// An `ssh-agent` of its own; ended when dropped.
pub struct Agent {
    pub socket: PathBuf,
    child: Child,
    _directory: TempDir,
}

impl Agent {
    pub fn start() -> Agent {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("agent");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let child = child.expect("ssh-agent; it is in the package openssh-client");
        let listens = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        assert!(wait_for(listens), "ssh-agent makes no socket");
        Agent { socket, child, _directory: directory }
    }

    /// Hands over a key that has no passphrase.
    pub fn add(&self, key: &Path) {
        run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An unprivileged account of this machine with a password and a home; removed when dropped.
pub struct Account {
    pub name: String,
    pub password: Secret,
}

impl Account {
    pub fn create() -> Account {
        Account::with_shell("/bin/sh")
    }

    /// One that logs in with this shell.
    pub fn with_shell(shell: &str) -> Account {
        Account::add(Account::new_name(), &["--shell", shell])
    }

    /// A second name of root, with a password and a home of its own.
    pub fn superuser() -> Account {
        Account::add(Account::new_name(), &["--shell", "/bin/sh", "--non-unique", "--uid", "0", "--gid", "0"])
    }

    fn new_name() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("cutover{}-{number}", std::process::id())
    }

    fn add(name: String, options: &[&str]) -> Account {
        run(Command::new("useradd").arg("--create-home").args(options).arg(&name));
        let password = format!("p'w \"$x {name}");
        // A hash that the `su` of busybox can check, too.
        let mut child = Command::new("chpasswd")
            .args(["--crypt-method", "SHA512"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("chpasswd");
        let line = format!("{name}:{password}\n");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), line.as_bytes()).expect("a write");
        assert!(child.wait().expect("a child").success());
        Account { name, password: Secret::new(password) }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = Command::new("userdel").args(["--remove", "--force", &self.name]).output();
    }
}

/// Makes a key pair without a passphrase.
pub fn make_key(kind: &str, path: &Path) {
    let bits: &[&str] = if kind == "rsa" { &["-b", "2048"] } else { &[] };
    run(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind]).args(bits).arg("-f").arg(path));
}

pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Asks until the answer is yes; says whether it came to be so.
pub fn wait_for(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// A port that nobody gets by chance, as ports of connections and of listeners at port 0 are got, and no other test.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 10) as u16 * 2_000;
    let ports = std::iter::repeat_with(|| 10_000 + first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000);
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().expect("a port")
}

pub fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// An absent file has no text.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
