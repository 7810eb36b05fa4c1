//! The law of connections from a machine to a service.

use std::time::Duration;

use cutover::transport::{Address, Stream, TransportError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Machine;
use super::paths::noise;

const LIMIT: Duration = Duration::from_secs(30);

/// One connection: both of its ends.
pub async fn dialled(machine: &Machine) -> (Stream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let (ours, theirs) = tokio::join!(machine.dial(&address, LIMIT), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

pub async fn a_service_is_dialled(machine: &Machine) {
    much_goes_both_ways_and_each_end_is_seen(machine).await;
    what_is_dropped_is_closed(machine).await;
    a_closed_port_is_refused(machine).await;
    a_service_that_does_not_answer_is_given_up(machine).await;
}

async fn much_goes_both_ways_and_each_end_is_seen(machine: &Machine) {
    let (mut ours, mut theirs) = dialled(machine).await;
    theirs.write_all(b"220 hello\r\n").await.unwrap();
    let mut greeting = [0; 11];
    ours.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");

    let much = noise(3_000_000);
    let (mut received, mut returned) = (Vec::new(), Vec::new());
    let service = async {
        theirs.read_to_end(&mut received).await.unwrap();
        // Our end has been seen, and the other direction is still open.
        theirs.write_all(&received).await.unwrap();
        theirs.shutdown().await.unwrap();
    };
    let client = async {
        ours.write_all(&much).await.unwrap();
        ours.shutdown().await.unwrap();
        ours.read_to_end(&mut returned).await.unwrap();
    };
    tokio::join!(service, client);
    assert!(received == much && returned == much);
}

async fn what_is_dropped_is_closed(machine: &Machine) {
    // More than the channels that an SSH server gives to programs.
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(dialled(machine).await);
    }
    for (ours, mut theirs) in all {
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
    let (mut ours, theirs) = dialled(machine).await;
    drop(theirs);
    assert_eq!(ours.read(&mut [0; 1]).await.unwrap(), 0);
}

async fn a_closed_port_is_refused(machine: &Machine) {
    let closed = Address::new("127.0.0.1", crate::sshd::free_port());
    for address in [closed, Address::new("no-such-host.invalid", 53)] {
        let Err(TransportError::Refused(why)) = machine.dial(&address, LIMIT).await else { panic!("{address}") };
        assert!(why.contains(&address.to_string()) && why.contains("no connection"), "{why}");
    }
}

/// A listener that answers nobody, as two wait to be accepted (`listen.2`), and these two.
pub async fn silent() -> (TcpListener, [TcpStream; 2]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let place = listener.local_addr().unwrap();
    let waiting = [TcpStream::connect(place).await.unwrap(), TcpStream::connect(place).await.unwrap()];
    (listener, waiting)
}

pub async fn is_given_up(machine: &Machine, listener: &TcpListener) {
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let limit = Duration::from_millis(200);
    let Err(TransportError::Refused(why)) = machine.dial(&address, limit).await else { panic!("answered") };
    assert!(why.ends_with(&format!("{address}: no answer within 0.2 s")), "{why}");
}

async fn a_service_that_does_not_answer_is_given_up(machine: &Machine) {
    let (listener, _waiting) = silent().await;
    is_given_up(machine, &listener).await;
}
