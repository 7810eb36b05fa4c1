//! The laws of running commands and finding accounts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cutover::transport::{Command, Owner, Program, TransportError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Machine;
use super::paths::{account, look, node, noise};

pub async fn a_command_is_run_as_it_says(machine: &Machine, root: &Path) {
    let mut command = Command::shell("printf '%s|' \"$PWD\" \"$ODD\"; cat; printf 'no newline' >&2; exit 7");
    command.directory = Some(root.to_str().unwrap().into());
    command.environment = vec![("ODD".into(), "it's\n$HOME".into())];
    for stdin in [b"in\0put".to_vec(), noise(300_000)] {
        command.stdin = stdin.clone();
        let output = machine.run(&command).await.unwrap();
        assert_eq!(output.status, 7);
        assert_eq!(output.stderr, b"no newline");
        let root = fs::canonicalize(root).unwrap();
        let expected = [format!("{}|it's\n$HOME|", root.display()).as_bytes(), &stdin].concat();
        assert!(output.stdout == expected, "{:?}", String::from_utf8_lossy(&output.stdout[..80]));
    }
    let words = ["printf", "%s,", "a b", "$HOME", "it's", "", "-x", "*", "new\nline"];
    assert_eq!(machine.run(&Command::argv(words)).await.unwrap().text(), "a b,$HOME,it's,,-x,*,new\nline,");
    assert_eq!(machine.run(&Command::argv(["no-such-command-here"])).await.unwrap().status, 127);
    assert_eq!(machine.run(&Command::shell("kill -s KILL $$")).await.unwrap().status, 137);
    assert_eq!(machine.run(&Command::new(Program::Raw("echo raw; exit 3".into()))).await.unwrap().status, 3);
    // Output that looks like an end, and a megabyte of it.
    let output = machine.run(&Command::shell(r"printf '\0361234 0\n'; head -c 1000000 /dev/zero")).await.unwrap();
    assert_eq!(output.stdout.len(), 1_000_008);
    let mut nowhere = Command::argv(["touch", root.join("ran").to_str().unwrap()]);
    nowhere.directory = Some("/no/such/directory".into());
    assert!(matches!(machine.run(&nowhere).await, Err(TransportError::Refused(_))));
    assert!(!root.join("ran").exists());
}

pub async fn a_command_cannot_change_the_shell(machine: &Machine, root: &Path) {
    let (a, b, c) = (
        Command::shell("cat; exec 1>&- 2>&-; cd /; exit 4"),
        Command::shell("trap '' 1 2 15; umask 777; c_look() { :; }; export LC_ALL=x; exit 5"),
        Command::argv(["cat"]),
    );
    let (a, b, c) = tokio::join!(machine.run(&a), machine.run(&b), machine.run(&c));
    assert_eq!((a.unwrap().status, b.unwrap().status, c.unwrap().status), (4, 5, 0));
    assert_eq!(look(machine, root).await, node(root));
    // What is left running does not hold the answer up.
    let output = machine.run(&Command::shell("sleep 300 & echo $!")).await.unwrap();
    let pid = output.text().trim().to_string();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    machine.run(&Command::argv(["kill", &pid])).await.unwrap();
}

pub async fn a_time_limit_ends_the_children(machine: &Machine, root: &Path) {
    let pids = root.join("pids");
    let mut command = Command::shell(format!(
        "sleep 300 & (sleep 301 & echo $! >>'{0}') & echo $! $$ >>'{0}'; wait; sleep 302",
        pids.display()
    ));
    command.timeout = Some(Duration::from_millis(700));
    assert_eq!(machine.run(&command).await, Err(TransportError::TimedOut(Duration::from_millis(700))));
    let pids = fs::read_to_string(pids).unwrap();
    assert!(pids.split_whitespace().count() >= 3, "{pids}");
    gone(&pids).await;
    command = Command::shell("echo in time; exit 2");
    command.timeout = Some(Duration::from_secs(60));
    let output = machine.run(&command).await.unwrap();
    assert_eq!((output.status, output.text().as_str()), (2, "in time\n"));
}

/// Waits for processes to be gone, or zombies that nobody has waited for.
pub async fn gone(pids: &str) {
    let alive = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    };
    while pids.split_whitespace().any(alive) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn a_stream_flows_both_ways_and_never_hangs(machine: &Machine, root: &Path) {
    let bytes = noise(1_000_000);
    let mut process = machine.open(&Command::argv(["cat"])).await.unwrap();
    let writer = async {
        process.stdin.write_all(&bytes).await.unwrap();
        process.stdin.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, result) = tokio::join!(writer, process.stdout.read_to_end(&mut read));
    result.unwrap();
    assert!(read == bytes);
    assert_eq!(process.end.await.unwrap(), (0, Vec::new()));

    // A program that reads nothing: the writer is told, the status is right.
    let mut process = machine.open(&Command::shell("echo why >&2; exit 3")).await.unwrap();
    while process.stdin.write_all(&bytes).await.is_ok() {}
    assert_eq!(process.end.await.unwrap(), (3, b"why\n".to_vec()));

    // Dropped: it ends, and its children.
    let pids = root.join("pids");
    let script = format!("sleep 300 & echo $! $$ >'{0}.new'; mv '{0}.new' '{0}'; wait", pids.display());
    let process = machine.open(&Command::shell(script)).await.unwrap();
    while !pids.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(process);
    gone(&fs::read_to_string(pids).unwrap()).await;
}

pub async fn accounts_are_found_by_name_and_number(machine: &Machine, _: &Path) {
    let root = Some(Owner { id: 0, name: "root".into() });
    assert_eq!(machine.user("root").await.unwrap(), root);
    assert_eq!(machine.user("0").await.unwrap(), root);
    assert_eq!(machine.group("0").await.unwrap(), Some(account("group", 0)));
    assert_eq!(machine.user("no-such-user").await.unwrap(), None);
    assert_eq!(machine.group("no such group").await.unwrap(), None);
    let unknown = Owner { id: 4_000_123, name: "4000123".into() };
    assert_eq!(machine.user("4000123").await.unwrap(), Some(unknown));
}
