//! Connections from a host to services that it reaches.

use std::sync::Arc;
use std::time::Duration;

use cutover::transport::posix::Posix;
use cutover::transport::ssh::{Target, Via};
use cutover::transport::{Address, TransportError};
use tokio::io::AsyncReadExt as _;

use super::connect;
use crate::sshd::Sshd;
use crate::transport_laws::dial::{dialled, is_given_up, silent};
use crate::transport_laws::{DIAL_LAW, Machine, hold};

async fn machine(target: Target) -> Machine {
    Arc::new(Posix::start(connect(target).await, None).await.expect("a shell"))
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_dialled_over_ssh() {
    let (jump, sshd) = (Sshd::start(""), Sshd::start(""));
    hold(DIAL_LAW, &machine(sshd.target()).await).await;
    hold(DIAL_LAW, &machine(Target { via: Via::Jump(Box::new(jump.target())), ..sshd.target() }).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_waits_for_any_more_is_closed_when_it_is_made() {
    let sshd = Sshd::start("");
    let machine = machine(sshd.target()).await;
    let (listener, waiting) = silent().await;
    is_given_up(&machine, &listener).await;
    drop(waiting);
    for _ in 0..2 {
        listener.accept().await.expect("those that were waiting");
    }
    let mut late = listener.accept().await.expect("the one that sshd goes on making").0;
    assert_eq!(late.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_allows_no_connections_is_named_with_the_way_round() {
    let sshd = Sshd::start("AllowTcpForwarding no");
    let error = machine(sshd.target()).await.dial(&Address::new("192.0.2.1", 53), Duration::from_secs(30)).await;
    let says = format!(
        "root@127.0.0.1 port {}: to 192.0.2.1 port 53: it does not allow that (`AllowTcpForwarding`, `PermitOpen` in its \
         sshd_config)\nhint: the controller may reach it: `delegate_to: localhost`",
        sshd.port
    );
    assert_eq!(error.err(), Some(TransportError::Refused(says)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_host_is_lost_is_cut_and_not_ended() {
    let sshd = Sshd::start("");
    let machine = machine(sshd.target()).await;
    let (mut ours, _theirs) = dialled(&machine).await;
    sshd.kill_sessions();
    assert!(ours.read(&mut [0; 1]).await.is_err());
}
