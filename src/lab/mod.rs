//! Two hosts of its own to try things on: an old and a new mail server on loopback, without root.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod daemon;
pub mod fill;
pub mod mail;
pub mod qmail;
pub mod server;
mod shipped;
pub mod traffic;

use serde_json::json;

use fill::{Role, fill};
use mail::Mail;
use server::{Options, Server};

/// A running pair of hosts, which end when this is dropped. Each has its own directory, which stands for its `/`.
pub struct Lab {
    directory: PathBuf,
    _servers: Vec<Server>,
    mail: Mail,
}

const HOSTS: [&str; 2] = ["old", "new"];
const PID: &str = "serve.pid";

/// Returns the inventory of the lab in `directory`.
pub fn inventory(directory: &Path) -> PathBuf {
    directory.join("inventory.yml")
}

/// Returns the playbook that moves a domain, as shipped.
pub fn playbook(directory: &Path) -> PathBuf {
    directory.join("playbooks/move-domain.yml")
}

/// Writes the hosts' files and the shipped playbooks into `directory`, in place of what is there. `program` is Cutover, which
/// the hosts' mail programs are.
pub fn prepare(directory: &Path, program: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(directory)?;
    for (name, text) in shipped::PLAYBOOKS {
        let path = directory.join("playbooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        std::fs::write(path, text)?;
    }
    let (user, group) = account()?;
    for (host, role) in [("old", Role::Old), ("new", Role::New)] {
        fill(&directory.join(host), role, (&user, &group))?;
        mail::home(directory, host).install(program)?;
    }
    fill::close_logins(&directory.join("old"))?;
    mail::fill_outside(directory, program)
}

/// Returns the process that serves the lab in `directory`, if it is running.
pub fn pid(directory: &Path) -> Option<rustix::process::Pid> {
    let text = std::fs::read_to_string(directory.join(PID)).ok()?;
    let pid = rustix::process::Pid::from_raw(text.trim().parse().ok()?)?;
    rustix::process::test_kill_process(pid).ok().map(|()| pid)
}

/// Ends the process that serves the lab and removes the lab's files.
pub fn end(directory: &Path) -> io::Result<()> {
    if let Some(pid) = pid(directory) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        for _ in 0..100 {
            if self::pid(directory).is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    std::fs::remove_dir_all(directory)
}

impl Lab {
    /// Makes a lab and serves it from this process.
    pub async fn start(directory: &Path, program: &Path) -> io::Result<Lab> {
        prepare(directory, program)?;
        Lab::serve(directory).await
    }

    /// Serves the lab that `directory` holds, and writes its inventory.
    pub async fn serve(directory: &Path) -> io::Result<Lab> {
        let client = server::kept_key(&directory.join("id_ed25519")).await?;
        let mail = Mail::start(directory).await?;
        let mut servers = Vec::new();
        for host in HOSTS {
            let root = directory.join(host);
            let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
            let options = Options {
                port: 0,
                host_key: directory.join(format!("{host}_host_key")),
                user: "lab".into(),
                keys: vec![client.clone()],
                password: None,
                directory: root.clone(),
                environment: vec![("PATH".into(), path), ("HOME".into(), root.display().to_string())],
                cut_after: None,
                reaches: mail.reaches(host),
            };
            servers.push(Server::start(options).await?);
        }
        let known: String = servers.iter().map(|server| server.known_hosts_line() + "\n").collect();
        std::fs::write(directory.join("known_hosts"), known)?;
        std::fs::write(inventory(directory), inventory_text(directory, [servers[0].port(), servers[1].port()])?)?;
        std::fs::write(directory.join(PID), std::process::id().to_string())?;
        Ok(Lab { directory: directory.to_path_buf(), _servers: servers, mail })
    }

    pub fn inventory(&self) -> PathBuf {
        inventory(&self.directory)
    }

    pub fn playbook(&self) -> PathBuf {
        playbook(&self.directory)
    }

    /// The hosts' mail services.
    pub fn mail_mut(&mut self) -> &mut Mail {
        &mut self.mail
    }

    pub fn mail(&self) -> &Mail {
        &self.mail
    }

    /// Serves until this process is told to end.
    pub async fn until_ended(self) -> io::Result<()> {
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        std::fs::remove_file(self.directory.join(PID))
    }
}

/// Returns the lab's inventory: where the two hosts listen, and that their directories stand for `/`.
fn inventory_text(directory: &Path, ports: [u16; 2]) -> io::Result<String> {
    let (user, group) = account()?;
    let path = |name: &str| directory.join(name).display().to_string();
    let host = |name: &str, port: u16| {
        let qmail = path(&format!("{name}/var/qmail"));
        let pid = format!("cat {qmail}/active/qmail-send.pid");
        let vars = json!({ "ansible_port": port, "qmail_dir": qmail, "qmail_send": pid });
        json!({ "hosts": { format!("{name}.lab.example"): vars } })
    };
    let mut old = host("old", ports[0]);
    old["vars"] = json!({
        // Where its own qmail-smtpd is, for a rollback.
        "own_address": "192.0.2.10",
        "qmail_logs": path("old/var/qmail/active/qmail-send.log"),
    });
    let vars = json!({
        "ansible_host": "127.0.0.1",
        "ansible_user": "lab",
        "ansible_ssh_private_key_file": path("id_ed25519"),
        "ansible_ssh_known_hosts_file": path("known_hosts"),
        // The old host's `active/network` says where that really is.
        "new_address": mail::OF_NEW,
        "close_logins": path("old/var/qmail/bin/close-logins") + " {{ mail.domains | join(' ') }}",
        "mail_owner": user,
        "mail_group": group,
    });
    let inventory = json!({ "all": { "vars": vars, "children": { "old": old, "new": host("new", ports[1]) } } });
    let text = serde_yaml::to_string(&inventory).map_err(io::Error::other)?;
    Ok(format!("# The lab's hosts, each with a directory of its own that stands for its `/`.\n{text}"))
}

/// Returns this process's user and group by name: without root, mailboxes can belong to nobody else.
fn account() -> io::Result<(String, String)> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ok((name_of("/etc/passwd", uid)?, name_of("/etc/group", gid)?))
}

/// Returns the name that a number has in a file such as `passwd.5`; the number itself where it has none there.
fn name_of(file: &str, number: u32) -> io::Result<String> {
    let text = std::fs::read_to_string(file)?;
    let number = number.to_string();
    let named = text.lines().find(|line| line.split(':').nth(2) == Some(&number));
    Ok(named.and_then(|line| line.split(':').next()).unwrap_or(&number).to_string())
}
