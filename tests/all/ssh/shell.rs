//! The long-lived shell over SSH: as the login user, and as another by `sudo`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use cutover::secret::Secret;
use cutover::transport::posix::Posix;
use cutover::transport::ssh::Target;
use cutover::transport::{
    Become, Body, Command, Content, Links, Node, PathChange, Permissions, Transport, TransportError, Want,
};
use tokio::io::AsyncReadExt;

use super::{Both, connect};
use crate::sshd::{Account, Sshd, run};
use crate::transport_laws::{COMMAND_LAWS, Machine, PATH_LAWS, hold};

/// An account that may become anybody by sudo; the rule is removed when dropped.
struct Sudoer {
    account: Account,
    rule: PathBuf,
}

impl Sudoer {
    fn create(tag: &str) -> Sudoer {
        let account = Account::create();
        let rule = PathBuf::from("/etc/sudoers.d").join(&account.name);
        std::fs::write(&rule, format!("{} ALL=(ALL) {tag} ALL\n", account.name))
            .expect("sudo's rules; these tests run as root");
        std::fs::set_permissions(&rule, std::fs::Permissions::from_mode(0o440)).expect("a mode");
        run(std::process::Command::new("visudo").args(["-c", "-q", "-f"]).arg(&rule));
        Sudoer { account, rule }
    }

    fn target(&self, sshd: &Sshd) -> Target {
        Target { user: self.account.name.clone(), ..sshd.target() }
    }
}

impl Drop for Sudoer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.rule);
    }
}

fn sudo(user: &str, password: Option<Secret>) -> Become {
    Become { method: "sudo".into(), user: user.into(), password, flags: None, exe: None, prompts: Vec::new() }
}

async fn text(host: &Posix, script: &str) -> String {
    let output = host.run(&Command::shell(script)).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(output.success(), "{}", output.error_text());
    output.text().trim_end().into()
}

/// Becomes `user` and says who that is, on both ways in.
async fn become_and_say(target: Target, user: Become) -> Result<String, TransportError> {
    let host = Posix::start(connect(target).await, Some(&user)).await?;
    let said = text(&host, "id -un").await;
    let mut process = host.open(&Command::argv(["id", "-un"])).await?;
    let mut streamed = String::new();
    process.stdout.read_to_string(&mut streamed).await.expect("text");
    assert_eq!(process.end.await?.0, 0);
    assert_eq!((host.identity().user.name.as_str(), streamed.trim_end()), (said.as_str(), said.as_str()));
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_keeps_the_laws() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let host = Posix::start(ssh.clone(), None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        keeps_the_laws(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_with_sudo_keeps_the_laws() {
    let (sshd, user) = (Sshd::start(""), Sudoer::create(""));
    let root = sudo("root", Some(user.account.password.clone()));
    let host = Posix::start(connect(user.target(&sshd)).await, Some(&root)).await.expect("a shell");
    keeps_the_laws(host).await;
}

async fn keeps_the_laws(host: Posix) {
    let machine: Machine = Arc::new(host);
    hold(PATH_LAWS, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn root_becomes_another_user() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    assert_eq!(become_and_say(sshd.target(), sudo(&account.name, None)).await, Ok(account.name.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_becomes_root_without_a_password() {
    let (sshd, user) = (Sshd::start(""), Sudoer::create("NOPASSWD:"));
    assert_eq!(become_and_say(user.target(&sshd), sudo("root", None)).await, Ok("root".into()));
    // One that is not asked for is not in the way.
    let password = Some(user.account.password.clone());
    assert_eq!(become_and_say(user.target(&sshd), sudo("root", password)).await, Ok("root".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_becomes_root_with_a_password() {
    let (sshd, user) = (Sshd::start(""), Sudoer::create(""));
    let password = Some(user.account.password.clone());
    assert_eq!(become_and_say(user.target(&sshd), sudo("root", password)).await, Ok("root".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_become_password_is_refused() {
    let (sshd, user) = (Sshd::start(""), Sudoer::create(""));
    for password in [None, Some(Secret::new("wrong, and secret"))] {
        let refused = become_and_say(user.target(&sshd), sudo("root", password)).await;
        let Err(TransportError::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(!text.contains("wrong, and secret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_as_root_is_on_the_disk() {
    let (sshd, user) = (Sshd::start(""), Sudoer::create("NOPASSWD:"));
    let ssh = connect(user.target(&sshd)).await;
    let (login, root) = tokio::join!(Posix::start(ssh.clone(), None), async {
        Posix::start(ssh.clone(), Some(&sudo("root", None))).await
    });
    let (login, root) = (login.expect("a shell"), root.expect("a shell"));
    let path = sshd.path("file").display().to_string();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let id = root.identity().clone();
    let after = Node::File {
        content: Content { size: bytes.len() as u64, digest: None, body: Body::Here(bytes.clone().into()) },
        permissions: Permissions { mode: 0o640, owner: id.user, group: id.group },
        modified: None,
    };
    let change = PathChange::new(path.clone(), Node::Absent, after.clone()).expect("a change");
    login.write(std::slice::from_ref(&change)).await.expect_err("the directory is root's");
    root.write(&[change]).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(std::fs::read(&path).expect("a file"), bytes);
    let found = std::fs::metadata(&path).expect("a file");
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o640, 0, 0));
    let seen = root.look(&[(path, Links::Keep)], Want::Content).await.expect("a node");
    assert_eq!(seen, [after]);
    // All of it over one connection.
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_does_not_stop_the_shell() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let host = Posix::start(ssh.clone(), None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut process = host.open(&Command::argv(["head", "-c", "67108864", "/dev/zero"])).await.expect("a process");
        for number in 0..20 {
            assert_eq!(text(&host, &format!("echo {number}")).await, number.to_string(), "{name}");
        }
        let mut output = Vec::new();
        process.stdout.read_to_end(&mut output).await.expect("bytes");
        assert_eq!((output.len(), process.end.await.expect("an end").0), (67_108_864, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_under_a_command_is_no_answer() {
    let sshd = Sshd::start("");
    let host = Posix::start(connect(sshd.target()).await, None).await.expect("a shell");
    let started = sshd.path("started");
    let command = Command::shell(format!("echo >'{}'; exec sleep 60", started.display()));
    let (ended, ()) = tokio::join!(host.run(&command), async {
        while !started.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        sshd.kill_sessions();
    });
    // It may have done all or nothing.
    assert!(matches!(ended, Err(TransportError::Uncertain(_))), "{ended:?}");
    let after = host.look(&[("/".into(), Links::Keep)], Want::Attributes).await;
    assert!(matches!(after, Err(TransportError::Unreachable(_))), "{after:?}");
}
