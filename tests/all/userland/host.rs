//! A host with a userland of its own: a real SSH server in a mount namespace, and a directory that both sides see.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cutover::transport::posix::Posix;
use cutover::transport::ssh::{self, Target};
use tempfile::TempDir;

use crate::archive::Archive;
use crate::etc::copy_accounts;
use crate::sshd::{accepts, free_port, make_key, run, wait_for};
use crate::transport_laws::Machine;

/// What is particular about a host.
#[derive(Clone, Copy)]
pub struct Kind {
    pub server: Server,
    /// The program that stands in the place of `/bin/sh`.
    pub sh: Option<&'static str>,
    /// The login shell.
    pub login: &'static str,
    /// Files of the home directory.
    pub home: &'static [(&'static str, &'static str)],
    /// Further lines of `sshd_config`; `DIR` is the host's directory.
    pub sshd: &'static str,
    /// Run by `sh` in the host's mount namespace before the server starts; `$DIR` is the host's directory.
    pub setup: &'static str,
    /// Programs of ours before those on the `PATH`: name and script.
    pub programs: &'static [(&'static str, &'static str)],
    /// The only other programs that there are; none named: all of this machine.
    pub only: &'static [&'static [&'static str]],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    OpenSsh,
    /// In a root directory where busybox is all there is.
    Dropbear,
}

pub const PLAIN: Kind = Kind {
    server: Server::OpenSsh,
    sh: None,
    login: "/bin/sh",
    home: &[],
    sshd: "",
    setup: "",
    programs: &[],
    only: &[],
};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Host {
    pub port: u16,
    pub archive: Archive,
    server: Child,
    directory: TempDir,
}

impl Host {
    pub fn start(kind: &Kind) -> Host {
        let directory = directory();
        let at = |name: &str| directory.path().join(name);
        for name in ["shared", "stand-ins", "tools", "home/.ssh"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in kind.home {
            std::fs::create_dir_all(at("home").join(name).parent().unwrap()).unwrap();
            std::fs::write(at("home").join(name), text).unwrap();
        }
        for (name, script) in kind.programs {
            program(&at("stand-ins").join(name), script);
        }
        make_key("ed25519", &at("key"));
        std::fs::copy(at("key.pub"), at("home/.ssh/authorized_keys")).unwrap();
        // As a whole: a file that another test's `useradd` replaces would fall out of its bind mount.
        // Locks of other tests' `useradd` come and go: of them `cp` complains, and they are not needed.
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(at("etc")).output().unwrap();
        assert!(at("etc/group").exists(), "{copied:?}");
        let passwd = std::fs::read_to_string(at("etc/passwd")).unwrap();
        let home = if kind.server == Server::Dropbear { "/root".into() } else { at("home").display().to_string() };
        let lines = passwd.lines().map(|line| match line.starts_with("root:") {
            true => format!("root:x:0:0:root:{home}:{}\n", kind.login),
            false => format!("{line}\n"),
        });
        std::fs::write(at("etc/passwd"), lines.collect::<String>()).unwrap();
        std::fs::write(at("etc/shells"), format!("{}\n", kind.login)).unwrap();
        std::fs::create_dir(at("accounts")).unwrap();
        copy_accounts(&at("etc"), &at("accounts"));
        let archive = Archive::below(directory.path());
        match kind.server {
            Server::OpenSsh => open_ssh(directory, archive, kind),
            Server::Dropbear => dropbear(directory, archive, kind),
        }
    }

    /// Logs in as root, and knows the host.
    pub fn target(&self) -> Target {
        std::fs::write(self.path("known_hosts"), self.known_hosts_line()).unwrap();
        let mut target = Target::new("host", "root", self.directory.path());
        target.address = "127.0.0.1".into();
        target.port = self.port;
        target.keys = vec![self.path("key")];
        target.known_hosts = vec![self.path("known_hosts")];
        target
    }

    pub async fn machine(&self) -> Machine {
        let ssh = ssh::connect(self.target()).await.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        Arc::new(Posix::start(ssh, None).await.unwrap_or_else(|error| panic!("{error}\n{}", self.log())))
    }

    /// A line of an inventory.
    pub fn inventory_line(&self, name: &str) -> String {
        let key = self.path("key");
        format!(
            "{name} ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}\n",
            self.port,
            key.display()
        )
    }

    pub fn known_hosts_line(&self) -> String {
        let key = std::fs::read_to_string(self.path("host_key.pub")).unwrap();
        let words: Vec<&str> = key.split(' ').take(2).collect();
        format!("[127.0.0.1]:{} {}\n", self.port, words.join(" ").trim())
    }

    /// The directory that is the same on both sides.
    pub fn shared(&self) -> PathBuf {
        self.path("shared")
    }

    /// Puts a program on the host's `PATH`.
    pub fn program(&self, name: &str, script: &str) {
        program(&self.path("stand-ins").join(name), script);
    }

    /// The host's `/etc`, seen from here.
    pub fn etc(&self) -> PathBuf {
        let own = self.path("etc");
        if own.exists() { own } else { self.path("root/etc") }
    }

    /// Takes back what was done to its accounts and with its packages.
    pub fn forget(&self) {
        copy_accounts(&self.path("accounts"), &self.etc());
        self.archive.forget();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Not in `/tmp`, which is another one on some hosts; in memory where programs can be run from there, because every
/// change is flushed to the disk.
fn directory() -> TempDir {
    if let Ok(directory) = tempfile::tempdir_in("/dev/shm") {
        let probe = directory.path().join("probe");
        program(&probe, "exit 0");
        if Command::new(&probe).status().is_ok_and(|status| status.success()) {
            return directory;
        }
    }
    tempfile::tempdir_in("/var/tmp").unwrap()
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts a server in a mount namespace of its own; `script` ends with its `exec`.
fn start(directory: TempDir, archive: Archive, script: impl Fn(u16) -> String) -> Host {
    // Another process may take the port between the question and the start.
    for _ in 0..5 {
        let port = free_port();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut server = Command::new("unshare")
            .args(["--mount", "--uts", "--propagation", "private", "/bin/sh", "-ec", &script(port)])
            .env_clear()
            .env("PATH", PATH)
            .env("DIR", directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("unshare; it is in the package util-linux");
        if wait_for(|| server.try_wait().unwrap().is_some() || accepts(port)) && accepts(port) {
            return Host { port, archive, server, directory };
        }
        let _ = server.wait();
    }
    panic!("no server: {}", std::fs::read_to_string(directory.path().join("log")).unwrap_or_default());
}

fn open_ssh(directory: TempDir, archive: Archive, kind: &Kind) -> Host {
    std::fs::create_dir_all("/run/sshd").expect("sshd's own directory; these tests run as root");
    let dir = directory.path().display().to_string();
    make_key("ed25519", &directory.path().join("host_key"));
    let mut path = format!("{dir}/stand-ins:{PATH}");
    if !kind.only.is_empty() {
        path = format!("{dir}/stand-ins:{dir}/tools");
        for name in kind.only.concat() {
            let found = PATH.split(':').map(|place| Path::new(place).join(name)).find(|path| path.exists());
            symlink(found.unwrap_or_else(|| panic!("no {name} here")), directory.path().join("tools").join(name))
                .unwrap();
        }
    }
    // One line: sshd takes only the first `SetEnv` there is.
    let (set, rest): (Vec<&str>, Vec<&str>) = kind.sshd.lines().partition(|line| line.starts_with("SetEnv "));
    let set: String = set.iter().map(|line| line.replace("SetEnv", "")).collect();
    let configuration = format!("SetEnv PATH={path}{set}\n{}\n", rest.join("\n")).replace("DIR", &dir);
    // Found here, because a shell that takes the place of `/bin/sh` may be a link.
    let sh = kind
        .sh
        .map_or(String::new(), |sh| format!("mount --bind \"$(readlink -f {sh})\" \"$(readlink -f /bin/sh)\"\n"));
    let mounts = archive.mounts();
    start(directory, archive, |port| {
        let text = format!(
            "{configuration}ListenAddress 127.0.0.1\nPort {port}\nHostKey {dir}/host_key\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nAuthorizedKeysFile {dir}/home/.ssh/authorized_keys\n"
        );
        std::fs::write(format!("{dir}/sshd_config"), text).unwrap();
        format!(
            "mount --bind {dir}/etc /etc\n{mounts}{sh}{}\nexec /usr/sbin/sshd -D -e -f {dir}/sshd_config",
            kind.setup
        )
    })
}

fn dropbear(directory: TempDir, archive: Archive, kind: &Kind) -> Host {
    let dir = directory.path().display().to_string();
    let root = directory.path().join("root");
    for name in ["bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "tmp", "var", "root/.ssh"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    let put = |from: &str| {
        let to = root.join(from.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        run(Command::new("cp").arg("-L").arg(from).arg(to));
    };
    put("/bin/busybox");
    put("/usr/sbin/dropbear");
    for word in String::from_utf8(run(Command::new("ldd").arg("/usr/sbin/dropbear")).stdout).unwrap().split_whitespace()
    {
        if word.starts_with('/') {
            put(word);
        }
    }
    run(Command::new("mv").arg(directory.path().join("etc")).arg(root.join("etc")));
    run(Command::new("cp").arg(directory.path().join("home/.ssh/authorized_keys")).arg(root.join("root/.ssh")));
    std::fs::set_permissions(root.join("root"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let key = format!("{dir}/host_key");
    let made = run(Command::new("dropbearkey").args(["-t", "ed25519", "-f", &key])).stdout;
    let public = String::from_utf8(made).unwrap().lines().find(|line| line.starts_with("ssh-")).unwrap().to_string();
    std::fs::write(format!("{key}.pub"), public).unwrap();
    run(Command::new("cp").args([&key, &format!("{dir}/root/host_key")]));
    start(directory, archive, |port| {
        format!(
            "mkdir -p {dir}/root{dir}/shared {dir}/root{dir}/stand-ins\n\
             mount --bind {dir}/shared {dir}/root{dir}/shared\n\
             mount --bind {dir}/stand-ins {dir}/root{dir}/stand-ins\n\
             mount --rbind /dev {dir}/root/dev\nmount -t proc proc {dir}/root/proc\n{}\n\
             chroot {dir}/root /bin/busybox --install -s\n\
             for name in systemctl service hostname sysctl iptables at atq atrm apk pkg; do\n\
             rm -f {dir}/root/bin/$name {dir}/root/sbin/$name {dir}/root/usr/bin/$name {dir}/root/usr/sbin/$name\n\
             ln -s {dir}/stand-ins/$name {dir}/root/usr/bin/$name\ndone\n\
             exec chroot {dir}/root /usr/sbin/dropbear -F -E -r /host_key -p 127.0.0.1:{port}",
            kind.setup
        )
    })
}
