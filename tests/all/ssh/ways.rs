//! The ways to a host: jump hosts, proxy commands, addresses, compression.

use std::sync::Arc;
use std::time::Duration;

use cutover::transport::posix::Carrier as _;
use cutover::transport::ssh::{AddressFamily, Client, Target, Via};

use super::channels::is_alive;
use super::login::who;
use super::{connect, finish, refusal};
use crate::proxy::Proxy;
use crate::sshd::{Account, Agent, Sshd, make_key, wait_for};

fn through(jump: Target, target: Target) -> Target {
    Target { via: Via::Jump(Box::new(jump)), ..target }
}

fn named(name: &str, sshd: &Sshd) -> Target {
    Target { name: name.into(), ..sshd.target() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_jump_hosts_leads_to_the_last() {
    let (outer, inner, host) = (Sshd::start(""), Sshd::start(""), Sshd::start(""));
    let target = through(through(named("outer", &outer), named("inner", &inner)), host.target());
    assert_eq!(who(target).await, "root\n");
    for sshd in [&outer, &inner, &host] {
        assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_behind_a_jump_host_share_its_connection() {
    let (jump, hosts) = (Sshd::start(""), [Sshd::start(""), Sshd::start("")]);
    let client = Arc::new(Client::default());
    let connect = |host: &Sshd| {
        let (client, target) = (client.clone(), through(jump.target(), host.target()));
        async move { client.connect(target).await.unwrap_or_else(|error| panic!("{error}")) }
    };
    let (one, other) = tokio::join!(connect(&hosts[0]), connect(&hosts[1]));
    for ssh in [&one, &other] {
        let streamed = finish(ssh.stream("cat").await.expect("a channel"), b"here".to_vec()).await;
        assert_eq!(streamed.stdout, b"here");
    }
    assert_eq!(jump.log().matches("Accepted publickey").count(), 1, "{}", jump.log());

    // A connection that was lost is made anew.
    jump.kill_sessions();
    assert!(wait_for(|| jump.log().matches("Accepted publickey").count() == 1));
    drop((one, other));
    let again = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Ok(ssh) = client.connect(through(jump.target(), hosts[0].target())).await {
                break ssh;
            }
        }
    });
    let channel = again.await.expect("a connection").start("id -un").await.expect("a channel");
    assert_eq!(finish(channel, Vec::new()).await.stdout, b"root\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_through_a_jump_host_both_ways_at_once() {
    let (jump, host) = (Sshd::start(""), Sshd::start(""));
    let ssh = connect(through(jump.target(), host.target())).await;
    let much: Vec<u8> = (0..8 * 1024 * 1024u32).flat_map(u32::to_le_bytes).collect();
    let (shell, stream) = (ssh.start("cat").await.expect("a channel"), ssh.stream("cat").await.expect("a channel"));
    let both = async { tokio::join!(finish(shell, much.clone()), finish(stream, much.clone())) };
    let (shell, stream) = tokio::time::timeout(Duration::from_secs(300), both).await.expect("no standstill");
    assert!(shell.stdout == much && stream.stdout == much);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_takes_a_password() {
    let (jump, host, account) = (Sshd::start(""), Sshd::start(""), Account::create());
    let login = Target {
        user: account.name.clone(),
        keys: vec![],
        password: Some(account.password.clone()),
        ..named("jump", &jump)
    };
    assert_eq!(who(through(login.clone(), host.target())).await, "root\n");

    let stranger = Target { password: Some(cutover::secret::Secret::new("wrong")), ..login };
    let text = refusal(through(stranger, host.target())).await;
    let start = format!("root@127.0.0.1 port {}: its jump host `jump` failed: {}@127.0.0.1", host.port, account.name);
    assert!(text.starts_with(&start), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_hosts_key_is_checked_too() {
    let (outer, inner, host) = (Sshd::start(""), Sshd::start(""), Sshd::start(""));
    let target = |outer: Target, inner: Target| through(through(outer, inner), host.target());
    for stranger in ["outer", "inner"] {
        let (mut first, mut second) = (named("outer", &outer), named("inner", &inner));
        let wrong = if stranger == "outer" { &mut first } else { &mut second };
        wrong.known_hosts = vec![outer.path("nothing")];
        let text = refusal(target(first, second)).await;
        assert!(text.contains(&format!("its jump host `{stranger}` failed: root@127.0.0.1")), "{text}");
        assert!(text.contains("is not known"), "{text}");
    }
    assert!(!host.log().contains("Accepted"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_jump_host_refuses_is_named_with_its_place() {
    let (jump, closed) = (Sshd::start(""), crate::sshd::free_port());
    let text = refusal(through(jump.target(), Target { port: closed, ..jump.target() })).await;
    let says = format!(
        "root@127.0.0.1 port {closed}: root@127.0.0.1 port {}: to 127.0.0.1 port {closed}: no connection",
        jump.port
    );
    assert_eq!(text, says);

    let shut = Sshd::start("AllowTcpForwarding no");
    let text = refusal(through(shut.target(), jump.target())).await;
    assert!(text.contains("it does not allow that (`AllowTcpForwarding`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_jump_host_is_waited_for_once_by_all() {
    let (host, closed) = (Sshd::start(""), crate::sshd::free_port());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", closed)).await.expect("a port");
    let jump = Target { port: closed, connect_timeout: Duration::from_secs(2), ..host.target() };
    let client = Arc::new(Client::default());
    let connect = || client.connect(through(jump.clone(), host.target()));
    let all = async { futures::future::join_all((0..20).map(|_| connect())).await };
    // One after the other they would take 40 seconds.
    let all = tokio::time::timeout(Duration::from_secs(30), all).await.expect("one wait");
    assert!(all.iter().all(Result::is_err));
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_command_carries_the_connection_and_ends_with_it() {
    let sshd = Sshd::start("");
    let pid = sshd.path("pid");
    let command = format!("sh -c 'echo $$ >{}; exec busybox nc 127.0.0.1 {}'", pid.display(), sshd.port);
    let target = Target { port: 1, address: "no-such-host".into(), via: Via::Command(command), ..sshd.target() };
    let known_hosts = sshd.path("known_hosts_by_name");
    std::fs::write(&known_hosts, format!("[no-such-host]:1 {}", sshd.host_key("ed25519"))).expect("a file");
    let ssh = connect(Target { known_hosts: vec![known_hosts], ..target }).await;
    let channel = ssh.start("id -un").await.expect("a channel");
    assert_eq!(finish(channel, Vec::new()).await.stdout, b"root\n");
    let pid = std::fs::read_to_string(&pid).expect("a number");
    assert!(is_alive(&pid));
    drop(ssh);
    assert!(wait_for(|| !is_alive(&pid)), "{pid} lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_itself_is_a_proxy_command() {
    let (jump, host) = (Sshd::start(""), Sshd::start(""));
    let known = jump.target();
    let command = format!(
        "ssh -F none -o BatchMode=yes -o UserKnownHostsFile={} -i {} -p {} -W 127.0.0.1:{} root@127.0.0.1",
        known.known_hosts[0].display(),
        known.keys[0].display(),
        jump.port,
        host.port
    );
    assert_eq!(who(Target { via: Via::Command(command), ..host.target() }).await, "root\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_command_says_is_in_the_error() {
    let sshd = Sshd::start("");
    let via = |command: &str| Target { via: Via::Command(command.into()), ..sshd.target() };
    let text = refusal(via("sh -c 'echo the bastion is closed >&2; exit 3'")).await;
    assert!(text.ends_with("; its proxy command says: the bastion is closed"), "{text}");
    let text = refusal(via("/no/such/program --with words")).await;
    assert!(text.contains("its proxy command says: ") && text.contains("/no/such/program"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_proxy_command_is_given_up_and_ended() {
    let sshd = Sshd::start("");
    let pid = sshd.path("pid");
    // The child of a child, which would outlive the one that was started.
    let command = format!("sh -c 'echo waiting >&2; sleep 600 & echo $! >{}; wait'", pid.display());
    let limit = Duration::from_secs(2);
    let text = refusal(Target { via: Via::Command(command), connect_timeout: limit, ..sshd.target() }).await;
    assert!(text.contains("no answer within 2 s while exchanging keys; its proxy command says: waiting"), "{text}");
    let pid = std::fs::read_to_string(&pid).expect("a number");
    assert!(wait_for(|| !is_alive(&pid)), "{pid} lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_of_the_wanted_family_are_used() {
    let sshd = Sshd::start("");
    assert_eq!(who(Target { family: AddressFamily::Inet, ..sshd.target() }).await, "root\n");
    let text = refusal(Target { family: AddressFamily::Inet6, ..sshd.target() }).await;
    assert!(text.ends_with("`127.0.0.1` has no IPv6 address (`AddressFamily inet6`)"), "{text}");
    let text = refusal(Target { address: "no-such-host.invalid".into(), ..sshd.target() }).await;
    assert!(text.contains("`no-such-host.invalid` cannot be resolved: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_comes_from_the_address_that_is_bound() {
    let sshd = Sshd::start("");
    assert_eq!(who(Target { bind_address: Some("127.0.0.7".into()), ..sshd.target() }).await, "root\n");
    assert!(sshd.log().contains("Connection from 127.0.0.7 "), "{}", sshd.log());
    let text = refusal(Target { bind_address: Some("192.0.2.1".into()), ..sshd.target() }).await;
    assert!(text.contains("`BindAddress 192.0.2.1`: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_used_where_it_is_asked_for() {
    let sshd = Sshd::start("LogLevel DEBUG");
    let much = b"the same again ".repeat(300_000);
    for (compression, name) in [(false, "compression: none"), (true, "compression: zlib@openssh.com")] {
        let ssh = connect(Target { compression, ..sshd.target() }).await;
        for channel in [ssh.start("cat").await, ssh.stream("cat").await] {
            assert!(finish(channel.expect("a channel"), much.clone()).await.stdout == much, "{name}");
        }
        assert!(sshd.log().contains(name), "{}", sshd.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_given_up_closes_the_way_through_a_jump_host() {
    let jump = Sshd::start("");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let target = Target { port, connect_timeout: Duration::from_secs(2), ..jump.target() };
    let (text, accepted) = tokio::join!(refusal(through(jump.target(), target)), silent.accept());
    assert!(text.ends_with("no answer within 2 s while exchanging keys"), "{text}");
    let (mut stream, _) = accepted.expect("a connection");
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.expect("the end of the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_waits_no_more_often_than_ssh() {
    let sshd = Sshd::start("");
    let (rsa, locked) = (sshd.path("id_rsa"), sshd.path("id_locked"));
    for (kind, key) in [("rsa", &rsa), ("ed25519", &locked)] {
        make_key(kind, key);
        sshd.authorize(key);
    }
    let agent = Agent::start();
    agent.add(&locked);
    let of_agent = Target { keys: vec![], agent: Some(agent.socket.clone()), ..sshd.target() };
    let logins =
        [("a key", sshd.target()), ("RSA", Target { keys: vec![rsa], ..sshd.target() }), ("the agent", of_agent)];
    for (name, target) in logins {
        let proxy = Proxy::to(sshd.port, Duration::from_millis(25));
        let known_hosts = sshd.path("known_hosts_of_proxy");
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {}", proxy.port, sshd.host_key("ed25519")))
            .expect("a file");
        let ssh = connect(Target { port: proxy.port, known_hosts: vec![known_hosts], ..target }).await;
        let connected = proxy.waits();
        let channel = ssh.start("cat").await.expect("a channel");
        assert_eq!(finish(channel, b"here".to_vec()).await.stdout, b"here");
        // Lists of algorithms, key exchange, its end with the service, the key, its signature: 5. Then the channel, its
        // program with the input, the end of that, and the close. `ssh` asks for `none` too.
        assert!(connected <= 5 && proxy.waits() <= 9, "{name}: {connected} and {} waits", proxy.waits());
    }
}
