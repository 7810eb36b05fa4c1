//! Old servers: sshd with nothing but what is weak, and dropbear; what lets one in, and what is said when nothing does.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cutover::transport::posix::Carrier as _;
use cutover::transport::ssh::{Algorithms, Profile, Target};

use super::login::who;
use super::{connect, finish, refusal};
use crate::sshd::{Account, Sshd, free_port, make_key, run, wait_for};

fn legacy() -> Algorithms {
    Algorithms { profile: Profile::Legacy, ..Algorithms::default() }
}

fn exactly(option: &str, list: &str) -> Algorithms {
    let (mut algorithms, list) = (Algorithms::default(), Some(list.to_string()));
    match option {
        "KexAlgorithms" => algorithms.kex = list,
        "HostKeyAlgorithms" => algorithms.host_keys = list,
        "Ciphers" => algorithms.ciphers = list,
        "MACs" => algorithms.macs = list,
        other => panic!("{other}"),
    }
    algorithms
}

/// A server with one algorithm of a kind: the default does not get in and says what would; that gets in.
async fn needs_permission(option: &str, name: &str) {
    // GCM has no use for a MAC.
    let also = if option == "MACs" { "Ciphers aes128-ctr\n" } else { "" };
    let keys = tempfile::tempdir().expect("a directory");
    let dsa = keys.path().join("host_dsa");
    make_key("dsa", &dsa);
    let sshd = Sshd::start(&format!("{also}{option} {name}\nHostKey {}", dsa.display()));
    let mut target = sshd.target();
    let mut lines = sshd.known_hosts_line("ed25519");
    if option == "HostKeyAlgorithms" {
        let dsa = std::fs::read_to_string(dsa.with_extension("pub")).expect("a key");
        lines = format!("{}[127.0.0.1]:{} {dsa}", sshd.known_hosts_line("rsa"), sshd.port);
    }
    target.known_hosts = vec![sshd.path("all_known_hosts")];
    std::fs::write(&target.known_hosts[0], lines).expect("a file");

    let text = refusal(target.clone()).await;
    assert!(text.contains(&format!("the host offers {name}")), "{text}");
    assert!(text.contains("; allowed are "), "{text}");
    let hint = format!(
        "hint: one of these among the variables of `host` allows it: `ssh_profile: legacy` or \
         `ansible_ssh_common_args: '-o {option}=+{name}'`"
    );
    assert!(text.ends_with(&hint), "{text}");

    for algorithms in [legacy(), exactly(option, &format!("+{name}")), exactly(option, name)] {
        let ssh = connect(Target { algorithms, ..target.clone() }).await;
        let much = vec![7; 1 << 20];
        let ended = finish(ssh.start("cat").await.expect("a channel"), much.clone()).await;
        assert!(ended.stdout == much, "{option} {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_old_key_exchange_works_where_it_is_allowed() {
    for name in ["diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"] {
        needs_permission("KexAlgorithms", name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_old_host_key_works_where_it_is_allowed() {
    for name in ["ssh-rsa", "ssh-dss"] {
        needs_permission("HostKeyAlgorithms", name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_old_cipher_works_where_it_is_allowed() {
    for name in ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"] {
        needs_permission("Ciphers", name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_old_mac_works_where_it_is_allowed() {
    for name in ["hmac-sha1", "hmac-sha1-etm@openssh.com"] {
        needs_permission("MACs", name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_nothing_but_old_algorithms_needs_one_line() {
    let sshd = Sshd::start(
        "KexAlgorithms diffie-hellman-group1-sha1\nHostKeyAlgorithms ssh-rsa\nCiphers 3des-cbc\nMACs hmac-sha1\n\
         PubkeyAcceptedAlgorithms +ssh-rsa",
    );
    let mut target = sshd.target();
    std::fs::write(&target.known_hosts[0], sshd.known_hosts_line("rsa")).expect("a file");
    target.algorithms = legacy();
    assert_eq!(who(target).await, "root\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_modern_algorithm_of_sshd_works_by_default() {
    let kex = [
        "curve25519-sha256",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
    ];
    for name in kex {
        assert_eq!(who(Sshd::start(&format!("KexAlgorithms {name}")).target()).await, "root\n", "{name}");
    }
    let ciphers = [
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    ];
    for name in ciphers {
        assert_eq!(who(Sshd::start(&format!("Ciphers {name}")).target()).await, "root\n", "{name}");
    }
    for name in ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"] {
        assert_eq!(who(Sshd::start(&format!("Ciphers aes256-ctr\nMACs {name}")).target()).await, "root\n", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_nothing_that_is_supported_gets_no_false_hope() {
    let sshd = Sshd::start("Ciphers aes128-ctr\nMACs umac-64@openssh.com,hmac-md5");
    for algorithms in [Algorithms::default(), legacy()] {
        let text = refusal(Target { algorithms, ..sshd.target() }).await;
        assert!(
            text.contains("no MAC in common: the host offers umac-64@openssh.com, hmac-md5; allowed are "),
            "{text}"
        );
        assert!(text.ends_with("hint: none of what the host offers is supported, so no setting helps"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_slip_is_an_error_that_names_list_and_name() {
    let sshd = Sshd::start("");
    let text = refusal(Target { algorithms: exactly("Ciphers", "+aes128-cbd"), ..sshd.target() }).await;
    assert!(text.ends_with("`aes128-cbd` in `Ciphers` is not an algorithm that is known"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_2048_bits_is_asked_for_of_an_old_host() {
    for (algorithms, asked) in [(legacy(), "2048 2048 8192"), (Algorithms::default(), "2048 3072 8192")] {
        let sshd = Sshd::start("KexAlgorithms diffie-hellman-group-exchange-sha256\nLogLevel DEBUG3");
        assert_eq!(who(Target { algorithms, ..sshd.target() }).await, "root\n");
        assert!(sshd.log().contains(&format!("got parameters: {asked}")), "{}", sshd.log());
    }
}

/// A dropbear on loopback with keys of its own; ended when dropped.
struct Dropbear {
    port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl Dropbear {
    fn start(kinds: &[&str]) -> Dropbear {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, port) = (|name: &str| directory.path().join(name).display().to_string(), free_port());
        let mut command = Command::new("/usr/sbin/dropbear");
        command.args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-P", &path("pid")]);
        for kind in kinds {
            run(Command::new("dropbearkey").args(["-t", kind, "-f", &path(kind)]));
            command.args(["-r", &path(kind)]);
        }
        let log = std::fs::File::create(path("log")).expect("a file");
        let child = command.stdin(Stdio::null()).stderr(log).spawn();
        let child = child.expect("dropbear; it is in the package dropbear-bin");
        let up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(wait_for(up), "dropbear does not start");
        Dropbear { port, child, directory }
    }

    /// Logs in as the account, whose home has the authorized keys, and knows the host by this kind of key.
    fn target(&self, account: &Account, kind: &str) -> Target {
        let path = |name: &str| self.directory.path().join(name);
        let printed = run(Command::new("dropbearkey").arg("-y").arg("-f").arg(path(kind))).stdout;
        let printed = String::from_utf8(printed).expect("text");
        let line = printed.lines().find(|line| line.contains(" AAAA")).expect("a key");
        std::fs::write(path("known_hosts"), format!("[127.0.0.1]:{} {line}\n", self.port)).expect("a file");
        let mut target = Target::new("dropbear", &account.name, self.directory.path());
        (target.address, target.port) = ("127.0.0.1".into(), self.port);
        (target.keys, target.known_hosts) = (vec![], vec![path("known_hosts")]);
        target
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the holder of the key in as the account, by the file in its home.
fn authorize(account: &Account, key: &std::path::Path) {
    let home = PathBuf::from("/home").join(&account.name);
    let ssh = home.join(".ssh");
    std::fs::create_dir_all(&ssh).expect("a directory");
    let line = std::fs::read_to_string(key.with_extension("pub")).expect("a key");
    let file = ssh.join("authorized_keys");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap_or_default() + &line).expect("a file");
    run(Command::new("chown").args(["-R", &account.name]).arg(&ssh));
    run(Command::new("chmod").args(["-R", "go="]).arg(&ssh));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropbear_lets_in_with_each_kind_of_key_and_with_a_password() {
    let (dropbear, account) = (Dropbear::start(&["ed25519", "ecdsa", "rsa"]), Account::create());
    let name = format!("{}\n", account.name);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = dropbear.directory.path().join(format!("id_{kind}"));
        make_key(kind, &key);
        authorize(&account, &key);
        for host_key in ["ed25519", "ecdsa", "rsa"] {
            let target = Target { keys: vec![key.clone()], ..dropbear.target(&account, host_key) };
            assert_eq!(who(target).await, name, "{kind} {host_key}");
        }
    }
    let password = Some(account.password.clone());
    assert_eq!(who(Target { password, ..dropbear.target(&account, "ed25519") }).await, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropbear_compresses_too() {
    let (dropbear, account) = (Dropbear::start(&["ed25519"]), Account::create());
    let key = dropbear.directory.path().join("id");
    make_key("ed25519", &key);
    authorize(&account, &key);
    let target = Target { keys: vec![key], compression: true, ..dropbear.target(&account, "ed25519") };
    let ssh = connect(target).await;
    let much = b"the same again ".repeat(100_000);
    assert!(finish(ssh.start("cat").await.expect("a channel"), much.clone()).await.stdout == much);
}
