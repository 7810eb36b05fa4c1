//! A network on loopback that fails when it is told to.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A proxy to a port of this machine.
pub struct Cut {
    pub port: u16,
    state: Arc<State>,
}

/// What befalls one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is cut after so many bytes from the client.
    AfterSent(u64),
    /// It is cut after so many bytes from the server.
    AfterHeard(u64),
    /// After so many bytes from the server, no more come, either way.
    SilentAfter(u64),
}

#[derive(Default)]
struct State {
    /// The faults of the connections to come, in order; further ones have none.
    faults: Mutex<VecDeque<Option<Fault>>>,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    refuses: AtomicBool,
    /// Nothing is carried any more.
    frozen: AtomicBool,
    slow: AtomicBool,
    sent: AtomicU64,
    heard: AtomicU64,
}

impl Cut {
    /// Serves until the test's process ends.
    pub fn to(port: u16) -> Cut {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let state = Arc::new(State::default());
        let cut = Cut { port: listener.local_addr().expect("an address").port(), state: state.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                serve(client, server, &state);
            }
        });
        cut
    }

    /// Sets the fault of the next connection, and of those after it if called again.
    pub fn next(&self, fault: Option<Fault>) {
        self.state.faults.lock().expect("a lock").push_back(fault);
    }

    pub fn forget_faults(&self) {
        self.state.faults.lock().expect("a lock").clear();
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.state.open.lock().expect("a lock").drain(..).for_each(|(client, server)| hang_up(&client, &server));
    }

    /// Hangs up on whoever connects from now on.
    pub fn refuse(&self) {
        self.state.refuses.store(true, Ordering::SeqCst);
    }

    /// Carries nothing any more, and says nothing of it.
    pub fn freeze(&self) {
        self.state.frozen.store(true, Ordering::SeqCst);
    }

    /// Carries about 5 MB/s.
    pub fn slow_down(&self) {
        self.state.slow.store(true, Ordering::SeqCst);
    }

    /// Bytes from the clients and to them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.state.sent.load(Ordering::SeqCst), self.state.heard.load(Ordering::SeqCst))
    }
}

fn hang_up(client: &TcpStream, server: &TcpStream) {
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn serve(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let twin = |stream: &TcpStream| stream.try_clone().expect("a socket");
    state.open.lock().expect("a lock").push((twin(&client), twin(&server)));
    let fault = state.faults.lock().expect("a lock").pop_front().flatten();
    let silent = Arc::new(AtomicBool::new(false));
    let ways = [(twin(&client), twin(&server), true), (server, client, false)];
    for (mut from, mut to, up) in ways {
        let (state, silent) = (state.clone(), silent.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            let mut carried = 0;
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let counter = if up { &state.sent } else { &state.heard };
                counter.fetch_add(length as u64, Ordering::SeqCst);
                let limit = match fault {
                    Some(Fault::AfterSent(limit)) if up => limit,
                    Some(Fault::AfterHeard(limit) | Fault::SilentAfter(limit)) if !up => limit,
                    _ => u64::MAX,
                };
                let passes = (length as u64).min(limit - carried) as usize;
                carried += passes as u64;
                if state.slow.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(6));
                }
                if !silent.load(Ordering::SeqCst) && !state.frozen.load(Ordering::SeqCst) {
                    let _ = to.write_all(&buffer[..passes]);
                }
                if carried == limit {
                    match fault {
                        Some(Fault::SilentAfter(_)) => silent.store(true, Ordering::SeqCst),
                        _ => {
                            hang_up(&from, &to);
                            return;
                        }
                    }
                }
            }
            // The other way may have more to carry, but no program here half-closes.
            hang_up(&from, &to);
        });
    }
}
