//! What programs get and give over a connection, and what is left when it ends.

use std::process::Command;
use std::time::Duration;

use cutover::transport::TransportError;
use cutover::transport::posix::Carrier;
use cutover::transport::ssh::Target;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{Both, Embedded, connect, finish};
use crate::sshd::{Sshd, run, wait_for};

const MUCH: usize = 64 * 1024 * 1024;

/// Bytes in which a lost or swapped block shows.
fn numbers(length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..8192).flat_map(u64::to_le_bytes).collect();
    let mut bytes = block.repeat(length / block.len());
    for (number, block) in bytes.chunks_exact_mut(block.len()).enumerate() {
        block[..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

pub fn is_alive(pid: &str) -> bool {
    // A zombie has ended.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_are_kept_apart_and_the_status_comes_through() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let channel = ssh.start("cat; echo error >&2; exit 7").await.expect("a channel");
        let ended = finish(channel, b"input".to_vec()).await;
        assert_eq!(
            (ended.status, ended.stdout, ended.stderr),
            (Ok(7), b"input".to_vec(), b"error\n".to_vec()),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_has_the_status_a_shell_would_give_it() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let channel = ssh.start("kill -KILL $$").await.expect("a channel");
        assert_eq!(finish(channel, Vec::new()).await.status, Ok(137), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_read_its_input_ends() {
    let much = numbers(MUCH);
    for (name, ssh) in Both::connect().await.connections.iter() {
        for program in ["exit 3", "head -c 10 >/dev/null; exit 3"] {
            for channel in [ssh.start(program).await, ssh.stream(program).await] {
                let ended = finish(channel.expect("a channel"), much.clone()).await;
                assert_eq!(ended.status, Ok(3), "{name}: {program}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_through_both_ways_unharmed() {
    let much = numbers(MUCH);
    for (name, ssh) in Both::connect().await.connections.iter() {
        for channel in [ssh.start("cat").await, ssh.stream("cat").await] {
            let ended = finish(channel.expect("a channel"), much.clone()).await;
            assert_eq!(ended.status, Ok(0), "{name}");
            assert!(ended.stdout == much, "{name}: {} bytes came back", ended.stdout.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_nobody_reads_holds_up_nobody() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let program = format!("head -c {MUCH} /dev/zero; head -c {MUCH} /dev/zero >&2");
        let (unread_shell, unread_stream) = (ssh.start(&program).await, ssh.stream(&program).await);
        for number in 0..20 {
            let channel = ssh.start(&format!("echo {number}")).await.expect("a channel");
            assert_eq!(finish(channel, Vec::new()).await.stdout, format!("{number}\n").into_bytes(), "{name}");
        }
        // And it is all there for a late reader.
        for unread in [unread_shell, unread_stream] {
            let ended = finish(unread.expect("a channel"), Vec::new()).await;
            assert_eq!((ended.status, ended.stdout.len(), ended.stderr.len()), (Ok(0), MUCH, MUCH), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_its_reader() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let directory = tempfile::tempdir().expect("a directory");
        let counter = directory.path().join("counter");
        // Far more than all windows and queues on the way: the counter must stop before the end.
        let script = format!(
            "i=0; while [ $i -lt 1000 ]; do head -c 1048576 /dev/zero; i=$((i+1)); echo $i >'{}'; done",
            counter.display()
        );
        let mut channel = ssh.stream(&script).await.expect("a channel");
        let mut first = [0; 1];
        channel.stdout.read_exact(&mut first).await.expect("a byte");
        let count = || std::fs::read_to_string(&counter).unwrap_or_default();
        let mut before = String::from("nothing yet");
        let stopped = wait_for(|| {
            std::thread::sleep(Duration::from_millis(500));
            let now = count();
            std::mem::replace(&mut before, now.clone()) == now
        });
        assert!(stopped && count().trim() != "1000", "{name}: {}", count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_is_unreachable_and_not_an_end() {
    let sshd = Sshd::start("");
    for stream in [false, true] {
        let ssh = connect(sshd.target()).await;
        let program = "echo up; exec cat";
        let mut channel = if stream { ssh.stream(program).await } else { ssh.start(program).await }.expect("a channel");
        let mut output = BufReader::new(&mut channel.stdout);
        output.read_line(&mut String::new()).await.expect("a line");
        sshd.kill_sessions();
        output.read_to_end(&mut Vec::new()).await.expect_err("an output that was cut is not whole");
        let written = async { while channel.stdin.write_all(&[0; 65536]).await.is_ok() {} };
        written.await;
        assert!(matches!(channel.status.await, Err(TransportError::Unreachable(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_no_longer_answers_is_unreachable() {
    let sshd = Sshd::start("");
    let ssh = connect(Target { keepalive: Some(Duration::from_millis(200)), ..sshd.target() }).await;
    let mut channel = ssh.start("echo $PPID; exec cat").await.expect("a channel");
    let mut pid = String::new();
    BufReader::new(&mut channel.stdout).read_line(&mut pid).await.expect("a line");
    run(Command::new("kill").args(["-STOP", pid.trim()]));
    let status = channel.status.await;
    run(Command::new("kill").args(["-KILL", pid.trim()]));
    let Err(TransportError::Unreachable(text)) = status else { panic!("{status:?}") };
    assert!(text.ends_with("the host no longer answers"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_unreachable_with_its_place() {
    let embedded = Embedded::start(|_| {}).await;
    let ssh = connect(embedded.target()).await;
    let channel = ssh.start("sleep 60").await.expect("a channel");
    embedded.server.drop_connections();
    let ended = finish(channel, numbers(MUCH)).await;
    let Err(TransportError::Unreachable(text)) = ended.status else { panic!("{ended:?}") };
    assert!(text.starts_with(&format!("mailer@127.0.0.1 port {}: ", embedded.server.port())), "{text}");

    // The next program gets a new connection.
    let channel = ssh.start("echo again").await.expect("a channel");
    assert_eq!(finish(channel, Vec::new()).await.stdout, b"again\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_after_some_bytes_loses_the_rest() {
    let embedded = Embedded::start(|options| options.cut_after = Some(1024 * 1024)).await;
    let ssh = connect(embedded.target()).await;
    let channel = ssh.stream("cat").await.expect("a channel");
    let ended = finish(channel, numbers(MUCH)).await;
    assert!(matches!(ended.status, Err(TransportError::Unreachable(_))), "{:?}", ended.status);
    assert!(ended.stdout.len() < 1024 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_one_session_a_connection_runs_several_programs() {
    let sshd = Sshd::start("MaxSessions 1");
    let ssh = connect(sshd.target()).await;
    let mut channels = Vec::new();
    for _ in 0..3 {
        channels.push(ssh.start("cat").await.expect("a channel"));
    }
    for channel in channels {
        assert_eq!(finish(channel, b"here".to_vec()).await.stdout, b"here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_sessions_is_named_as_the_reason() {
    let sshd = Sshd::start("MaxSessions 0");
    let ssh = connect(sshd.target()).await;
    let Err(TransportError::Refused(text)) = ssh.start("true").await else { panic!("a channel") };
    assert!(text.contains("MaxSessions"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_programs_run_at_once() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let mut channels = Vec::new();
        for _ in 0..20 {
            channels.push(ssh.start("cat").await.unwrap_or_else(|error| panic!("{name}: {error}")));
        }
        for channel in channels {
            assert_eq!(finish(channel, b"here".to_vec()).await.stdout, b"here", "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_one_after_the_other_share_one_connection() {
    let sshd = Sshd::start("");
    let ssh = connect(sshd.target()).await;
    for _ in 0..10 {
        assert_eq!(finish(ssh.start("true").await.expect("a channel"), Vec::new()).await.status, Ok(0));
    }
    for _ in 0..5 {
        assert_eq!(finish(ssh.stream("true").await.expect("a channel"), Vec::new()).await.status, Ok(0));
    }
    // One for the programs, one for the streams.
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 2, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_channel_ends_its_program() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let mut channel = ssh.start("echo $$; exec cat").await.expect("a channel");
        let mut pid = String::new();
        BufReader::new(&mut channel.stdout).read_line(&mut pid).await.expect("a line");
        assert!(is_alive(&pid), "{name}");
        drop(channel);
        assert!(wait_for(|| !is_alive(&pid)), "{name}: {pid} lives on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_ends_the_children_of_a_program_too() {
    let embedded = Embedded::start(|_| {}).await;
    let ssh = connect(embedded.target()).await;
    let mut channel = ssh.start("sleep 60 & echo $!; wait").await.expect("a channel");
    let mut pid = String::new();
    BufReader::new(&mut channel.stdout).read_line(&mut pid).await.expect("a line");
    assert!(is_alive(&pid));
    embedded.server.drop_connections();
    assert!(wait_for(|| !is_alive(&pid)), "{pid} lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_leaves_in_the_background_outlives_it() {
    for (name, ssh) in Both::connect().await.connections.iter() {
        let channel = ssh.start("sleep 60 >/dev/null 2>&1 & echo $!").await.expect("a channel");
        let pid = String::from_utf8(finish(channel, Vec::new()).await.stdout).expect("a number");
        // A second program, so that the first one's end has been dealt with on the other side.
        finish(ssh.start("true").await.expect("a channel"), Vec::new()).await;
        assert!(is_alive(&pid), "{name}");
        run(Command::new("kill").arg(pid.trim()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_runs_programs_in_its_own_directory_and_environment() {
    let embedded = Embedded::start(|_| {}).await;
    let ssh = connect(embedded.target()).await;
    let ended = finish(ssh.start("pwd; echo $HOME; env | wc -l").await.expect("a channel"), Vec::new()).await;
    let here = embedded.directory.path().canonicalize().expect("a path");
    // PATH and HOME, and the PWD that the shell adds.
    assert_eq!(String::from_utf8_lossy(&ended.stdout), format!("{}\n/nowhere\n3\n", here.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_told_goodbye() {
    let sshd = Sshd::start("");
    let ssh = connect(sshd.target()).await;
    finish(ssh.start("true").await.expect("a channel"), Vec::new()).await;
    drop(ssh);
    assert!(wait_for(|| sshd.log().contains("Disconnected from user root")), "{}", sshd.log());
}
