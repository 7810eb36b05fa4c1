//! A network with latency on loopback, which counts how often a client waits.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A proxy to a port of this machine. Each direction takes `delay`.
pub struct Proxy {
    pub port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    waits: AtomicU64,
}

impl Proxy {
    /// Serves until the test's process ends.
    pub fn to(port: u16, delay: Duration) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let counts = Arc::new(Counts::default());
        let proxy = Proxy { port: listener.local_addr().expect("an address").port(), counts: counts.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                counts.connections.fetch_add(1, Ordering::SeqCst);
                serve(client, server, delay, &counts);
            }
        });
        proxy
    }

    /// How often a client wrote after it had heard from the server: what latency is multiplied by.
    pub fn waits(&self) -> u64 {
        self.counts.waits.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: TcpStream, delay: Duration, counts: &Arc<Counts>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let heard = Arc::new(AtomicBool::new(false));
    let counts = counts.clone();
    let (spoke, hears) = (heard.clone(), heard);
    let twin = |stream: &TcpStream| stream.try_clone().expect("a socket");
    let sent = move || {
        counts.waits.fetch_add(spoke.swap(false, Ordering::SeqCst).into(), Ordering::SeqCst);
    };
    carry((twin(&client), twin(&server)), delay, sent, || ());
    carry((server, client), delay, || (), move || hears.store(true, Ordering::SeqCst));
}

/// Carries one direction: `taken` is told of bytes as they come in, `given` before they go out.
fn carry(
    (mut from, mut to): (TcpStream, TcpStream),
    delay: Duration,
    taken: impl Fn() + Send + 'static,
    given: impl Fn() + Send + 'static,
) {
    let (sender, queue) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            taken();
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in queue {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            given();
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
