//! The laws of becoming another user, with the real `sudo` where the tests run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use cutover::secret::Secret;
use cutover::transport::local::{Local, local};
use cutover::transport::posix::Posix;
use cutover::transport::{Become, Command, Links, Node, Program, TransportError, Want};
use tokio::io::AsyncReadExt as _;

use crate::elevation::{Tool, becoming};
use crate::sshd::Account;

use super::commands::{a_stream_flows_both_ways_and_never_hangs, gone};
use super::paths::{a_big_content_goes_both_ways, a_write_makes_exactly_after};
use super::{Machine, PATH_LAWS, hold};

fn sudo(user: &str, password: Option<&str>) -> Become {
    Become {
        method: "sudo".into(),
        user: user.into(),
        password: password.map(Secret::new),
        flags: None,
        exe: None,
        prompts: Vec::new(),
    }
}

/// Says whether this process may become anybody.
fn may_become() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/usr/bin/sudo").exists()
}

#[tokio::test]
async fn another_user_keeps_the_laws_and_owns_what_it_makes() {
    assert!(may_become(), "this test needs root and sudo: `bash tests/run`");
    let machine = local(Some(&sudo("nobody", None))).await.unwrap();
    let nobody = machine.identity().user.clone();
    assert_eq!(nobody.name, "nobody");
    for run in 0..2 {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(root.path(), Some(nobody.id), Some(machine.identity().group.id)).unwrap();
        match run {
            0 => a_write_makes_exactly_after(&machine, root.path()).await,
            _ => {
                a_big_content_goes_both_ways(&machine, root.path()).await;
                assert_eq!(fs::metadata(root.path().join("big one")).unwrap().uid(), nobody.id);
            }
        }
    }
    let mut process = machine.open(&Command::argv(["id", "-un"])).await.unwrap();
    let mut name = String::new();
    process.stdout.read_to_string(&mut name).await.unwrap();
    assert_eq!(name, "nobody\n");
    assert_eq!(machine.run(&Command::new(Program::Raw("id -un".into()))).await.unwrap().text(), "nobody\n");
}

#[tokio::test]
async fn a_time_limit_ends_what_another_user_runs() {
    assert!(may_become(), "this test needs root and sudo: `bash tests/run`");
    let machine = local(Some(&sudo("nobody", None))).await.unwrap();
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let pids = root.path().join("pids");
    let mut command = Command::shell(format!("sleep 300 & echo $! $$ >'{}'; wait", pids.display()));
    command.timeout = Some(Duration::from_millis(700));
    assert!(matches!(machine.run(&command).await, Err(TransportError::TimedOut(_))));
    gone(&fs::read_to_string(pids).unwrap()).await;
}

#[tokio::test]
async fn what_the_user_may_not_see_is_refused_not_absent() {
    assert!(may_become(), "this test needs root and sudo: `bash tests/run`");
    let machine = local(Some(&sudo("nobody", None))).await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, "s").unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = (secret.to_str().unwrap().to_string(), Links::Keep);
    let error = machine.look(std::slice::from_ref(&path), Want::Attributes).await.unwrap_err();
    assert!(matches!(&error, TransportError::Refused(why) if why.contains("permission denied")), "{error:?}");
    assert!(matches!(machine.list(root.path().to_str().unwrap(), None).await, Err(TransportError::Refused(_))));
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(machine.look(std::slice::from_ref(&path), Want::Attributes).await.unwrap()[0], Node::File { .. }));
    assert!(matches!(machine.look(&[path], Want::Content).await, Err(TransportError::Refused(_))));
}

/// A login as `nobody`, who may become anybody with the password `secret`; in a mount namespace of its own,
/// so that nothing of it is seen outside.
/// `defaults` are settings of sudo there, and `shell` is what is called `/bin/sh`.
fn nobody_with_a_password(directory: &Path, (defaults, shell): (&str, &str)) -> Arc<Local> {
    assert!(may_become(), "this test needs root and sudo: `bash tests/run`");
    let hash = process::Command::new("openssl").args(["passwd", "-6", "-salt", "salt", "secret"]).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let shadow = fs::read_to_string("/etc/shadow").unwrap();
    let lines = shadow.lines().map(|line| match line.strip_prefix("nobody:") {
        Some(rest) => format!("nobody:{}:{}\n", hash.trim(), rest.split_once(':').unwrap().1),
        None => format!("{line}\n"),
    });
    // All of it: a file that is mounted over by itself is there no more when another test's `useradd` replaces the real one.
    // Other tests' lock files come and go meanwhile, so `cp` may miss one.
    let copied = process::Command::new("cp").args(["-a", "/etc"]).arg(directory).output().unwrap();
    let etc = directory.join("etc");
    assert!(etc.join("passwd").exists() && etc.join("pam.d").exists(), "{copied:?}");
    fs::write(etc.join("shadow"), lines.collect::<String>()).unwrap();
    fs::set_permissions(etc.join("sudoers"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(etc.join("sudoers"), format!("{defaults}\nnobody ALL=(ALL) ALL\n")).unwrap();
    fs::set_permissions(etc.join("sudoers"), fs::Permissions::from_mode(0o440)).unwrap();
    // mksh keeps what it saves as descriptor 10, if whoever runs the tests has not left that open.
    let script = format!(
        "exec 10>&-; mount --bind {}/etc /etc && mkdir -p /run/sudo && mount -t tmpfs none /run/sudo \
         && mount --bind {shell} \"$(readlink -f /bin/sh)\" && exec setpriv --reuid=nobody --regid=nogroup --clear-groups /bin/sh -c \"$0\"",
        directory.display()
    );
    let words = ["unshare", "-m", "/bin/bash", "-c", &script];
    let probe = process::Command::new(words[0]).args(&words[1..]).arg("true").output().unwrap();
    assert!(probe.status.success(), "this test needs root, unshare, setpriv and {shell}: {probe:?}");
    Arc::new(Local::with_shell(words))
}

#[tokio::test]
async fn a_password_is_given_when_asked_for_and_a_wrong_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let login = nobody_with_a_password(directory.path(), ("", "/bin/dash"));
    let plain = Posix::start(login.clone(), None).await.unwrap();
    let machine: Machine = Arc::new(plain);
    assert_eq!(machine.identity().user.name, "nobody");

    let machine: Machine = Arc::new(Posix::start(login.clone(), Some(&sudo("root", Some("secret")))).await.unwrap());
    assert_eq!(machine.identity().user.name, "root");
    let root = tempfile::tempdir().unwrap();
    a_big_content_goes_both_ways(&machine, root.path()).await;

    for (password, says) in [(Some("wrong"), "Incorrect sudo password"), (None, "Missing sudo password")] {
        let error = Posix::start(login.clone(), Some(&sudo("root", password))).await.err().unwrap();
        let TransportError::Refused(why) = &error else { panic!("{error:?}") };
        assert!(why.contains(says) && why.contains("`root`") && !why.contains("wrong"), "{why}");
    }
}

#[tokio::test]
async fn a_user_that_is_not_there_and_an_unknown_method_are_refused() {
    let mut user = sudo("no-such-user", None);
    if may_become() {
        let error = local(Some(&user)).await.err().unwrap();
        assert!(matches!(&error, TransportError::Refused(why) if why.contains("no-such-user")), "{error:?}");
    }
    user.method = "runas".into();
    let error = local(Some(&user)).await.err().unwrap();
    let says = "`become_method: runas` is not supported\nhint: `sudo`, `su` and `doas` are";
    assert_eq!(error, TransportError::Refused(says.into()));
}

#[tokio::test]
async fn a_shell_started_on_a_terminal_keeps_the_laws_whatever_sh_it_is() {
    for shell in ["/bin/dash", "/bin/bash", "/usr/bin/busybox", "/bin/mksh", "/bin/ksh93"] {
        let directory = tempfile::tempdir().unwrap();
        let login = nobody_with_a_password(directory.path(), ("Defaults requiretty", shell));
        let machine: Machine = Arc::new(Posix::start(login, Some(&sudo("root", Some("secret")))).await.unwrap());
        assert_eq!(machine.identity().user.name, "root", "{shell}");
        hold(PATH_LAWS, &machine).await;
        hold(&[|machine, root| Box::pin(a_stream_flows_both_ways_and_never_hangs(machine, root))], &machine).await;
    }
}

#[tokio::test]
async fn su_itself_is_run_and_not_what_busybox_has_in_its_place() {
    let root = Account::superuser();
    let script = "mount --bind /usr/bin/busybox \"$(readlink -f /bin/sh)\" \
                  && exec setpriv --reuid=nobody --regid=nogroup --clear-groups /bin/sh -c \"$0\"";
    let login = Local::with_shell(["unshare", "-m", "/bin/sh", "-c", script]);
    let user = becoming("su", &root.name, Some(&root.password));
    let machine: Machine = Arc::new(Posix::start(Arc::new(login), Some(&user)).await.unwrap());
    assert_eq!(machine.identity().user.id, 0);
}

#[tokio::test]
async fn the_su_of_shadow_gets_a_terminal_as_its_stdin_whatever_sh_it_is() {
    let su = Tool::su_on_a_terminal();
    let root = Account::superuser();
    for shell in ["/bin/dash", "/bin/bash", "/usr/bin/busybox", "/bin/mksh", "/bin/ksh93"] {
        let script = format!(
            "exec 10>&-; mount --bind {shell} \"$(readlink -f /bin/sh)\" \
             && exec setpriv --reuid=nobody --regid=nogroup --clear-groups /bin/sh -c \"$0\""
        );
        let login = Local::with_shell(["unshare", "-m", "/bin/bash", "-c", &script]);
        let user = Become { exe: su.exe(), ..becoming("su", &root.name, Some(&root.password)) };
        let machine: Machine = Arc::new(Posix::start(Arc::new(login), Some(&user)).await.unwrap());
        assert_eq!(machine.identity().user.id, 0, "{shell}");
        hold(&[|machine, root| Box::pin(a_big_content_goes_both_ways(machine, root))], &machine).await;
    }
}
