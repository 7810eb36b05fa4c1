//! What every transport must do, whatever carries it; the far side is read with `std::fs`.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use cutover::transport::local::{Local, local};
use cutover::transport::posix::Posix;
use cutover::transport::{Command, Links, Transport, TransportError, Want};

use crate::stuck::unless_stuck;

mod becoming;
mod commands;
pub mod dial;
mod memory;
pub mod paths;

use commands::*;
use dial::a_service_is_dialled;
use paths::*;

pub type Machine = Arc<dyn Transport>;
pub type Law = for<'a> fn(&'a Machine, &'a Path) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Every law about paths.
pub const PATH_LAWS: &[Law] = &[
    |machine, root| Box::pin(a_look_says_what_is_there(machine, root)),
    |machine, root| Box::pin(a_list_says_what_is_there(machine, root)),
    |machine, root| Box::pin(a_write_makes_exactly_after(machine, root)),
    |machine, root| Box::pin(attributes_change_in_place(machine, root)),
    |machine, root| Box::pin(a_stale_path_is_refused(machine, root)),
    |machine, root| Box::pin(a_failed_validation_leaves_all_as_it_was(machine, root)),
    |machine, root| Box::pin(a_big_content_goes_both_ways(machine, root)),
    |machine, root| Box::pin(kinds_replace_each_other(machine, root)),
    |machine, root| Box::pin(a_thousand_looks_do_not_wait_for_each_other(machine, root)),
];

/// For a shell that reads any bytes, and for one that does not.
pub const NAME_LAW: &[Law] = &[|machine, root| Box::pin(names_of_any_bytes_are_kept(machine, root))];
pub const NAME_REFUSAL: &[Law] = &[|machine, root| Box::pin(names_that_are_no_utf8_are_refused(machine, root))];

/// Every law about commands, for machines that can run some.
pub const COMMAND_LAWS: &[Law] = &[
    |machine, root| Box::pin(a_command_is_run_as_it_says(machine, root)),
    |machine, root| Box::pin(a_command_cannot_change_the_shell(machine, root)),
    |machine, root| Box::pin(a_time_limit_ends_the_children(machine, root)),
    |machine, root| Box::pin(a_stream_flows_both_ways_and_never_hangs(machine, root)),
    |machine, root| Box::pin(accounts_are_found_by_name_and_number(machine, root)),
];

/// The law about connections, for machines with a network in common with this one.
pub const DIAL_LAW: &[Law] = &[|machine, _| Box::pin(a_service_is_dialled(machine))];

/// Holds a machine, whose file system is this one's, to laws; each gets a directory of its own.
pub async fn hold(laws: &[Law], machine: &Machine) {
    hold_in(&std::env::temp_dir(), laws, machine).await;
}

/// The same for a machine that has only `base` in common with this one.
pub async fn hold_in(base: &Path, laws: &[Law], machine: &Machine) {
    for law in laws {
        let root = tempfile::tempdir_in(base).unwrap();
        unless_stuck(law(machine, root.path())).await;
        let left: Vec<_> = everything(root.path()).into_iter().filter(|path| path.contains(".cutover.")).collect();
        assert_eq!(left, Vec::<String>::new(), "no temp file is left");
    }
}

/// This machine, through another shell as the login shell.
async fn through(shell: &[&str]) -> Machine {
    Arc::new(Posix::start(Arc::new(Local::with_shell(shell.iter().copied())), None).await.unwrap())
}

#[tokio::test]
async fn local_keeps_the_laws() {
    let machine = local(None).await.unwrap();
    hold(PATH_LAWS, &machine).await;
    hold(NAME_LAW, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
    hold(DIAL_LAW, &machine).await;
}

#[tokio::test]
async fn a_machine_with_only_busybox_keeps_the_laws() {
    let (_tools, path) = busybox_only();
    let machine = through(&["env", &path, "/bin/sh", "-c"]).await;
    hold(PATH_LAWS, &machine).await;
    hold(NAME_LAW, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

#[tokio::test]
async fn bash_and_busybox_as_the_shell_keep_the_laws() {
    for shell in ["/bin/bash", "/usr/bin/busybox"] {
        // In a mount namespace, because everything here says `/bin/sh`.
        let script = format!("mount --bind {shell} \"$(readlink -f /bin/sh)\" && exec /bin/sh -c \"$0\"");
        let words = ["unshare", "-m", "/bin/sh", "-c", &script];
        let probe = std::process::Command::new(words[0]).args(&words[1..]).arg("true").output();
        let made = probe.is_ok_and(|probe| probe.status.success());
        assert!(made, "this test needs root, bash and busybox: `bash tests/run`");
        let machine = through(&words).await;
        hold(PATH_LAWS, &machine).await;
        hold(COMMAND_LAWS, &machine).await;
    }
}

/// Returns a `PATH=` on which there is nothing but busybox.
fn busybox_only() -> (tempfile::TempDir, String) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("this test needs busybox: `bash tests/run`");
    let directory = tempfile::tempdir().unwrap();
    let install = std::process::Command::new(busybox).args(["--install", "-s"]).arg(directory.path()).status();
    assert!(install.unwrap().success());
    let path = format!("PATH={}", directory.path().display());
    (directory, path)
}

/// Returns a `PATH=` on which the named tools fail as if they were not installed.
fn without(tools: &[&str]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for tool in tools {
        let path = directory.path().join(tool);
        fs::write(&path, "#!/bin/sh\nexit 127\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("PATH={}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    (directory, path)
}

#[tokio::test]
async fn a_machine_without_the_usual_tools_keeps_the_laws() {
    let (_tools, path) = without(&[
        "stat",
        "sha256sum",
        "sha256",
        "shasum",
        "openssl",
        "base64",
        "sync",
        "getent",
        "readlink",
        "setsid",
    ]);
    let machine = through(&["env", &path, "/bin/sh", "-c"]).await;
    hold(PATH_LAWS, &machine).await;
    hold(NAME_LAW, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

/// The group alone is known there.
#[tokio::test]
async fn a_machine_that_cannot_list_its_processes_ends_them_at_a_time_limit() {
    let words = ["unshare", "-m", "/bin/sh", "-c", "mount -t tmpfs none /proc && exec /bin/sh -c \"$0\""];
    let machine = through(&words).await;
    assert!(!machine.run(&Command::shell("test -e /proc/self/stat || ps")).await.unwrap().success());
    hold(&[|machine, root| Box::pin(a_time_limit_ends_the_children(machine, root))], &machine).await;
}

#[tokio::test]
async fn a_shell_that_dies_is_unreachable_and_never_hangs() {
    let machine = local(None).await.unwrap();
    let sleep = Command::shell("sleep 300");
    let killer = Command::shell("kill -s KILL $PPID; sleep 0.1; exit 0");
    let path = [("/".to_string(), Links::Keep)];
    let (first, second, third) =
        tokio::join!(machine.run(&killer), machine.look(&path, Want::Attributes), machine.run(&sleep),);
    assert!(matches!(first, Err(TransportError::Uncertain(_))), "{first:?}");
    assert!(matches!(second, Err(TransportError::Unreachable(_))), "{second:?}");
    assert!(matches!(third, Err(TransportError::Uncertain(_))), "{third:?}");
    let later = machine.look(&path, Want::Attributes).await;
    assert!(matches!(later, Err(TransportError::Unreachable(_))), "{later:?}");
}

#[tokio::test]
async fn a_login_shell_that_is_none_is_unreachable_with_what_it_said() {
    let shell = Local::with_shell(["/bin/sh", "-c", "echo this account is not available; exit 1"]);
    let error = Posix::start(Arc::new(shell), None).await.err().unwrap();
    assert!(matches!(&error, TransportError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_greeting_of_the_login_shell_is_no_answer() {
    let greeting = ["/bin/sh", "-c", "echo Welcome; echo 'have fun' >&2; exec /bin/sh -c \"$0\""];
    let machine = through(&greeting).await;
    assert_eq!(machine.run(&Command::argv(["echo", "hi"])).await.unwrap().text(), "hi\n");
}
