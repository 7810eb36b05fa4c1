//! Mail that flows while a domain moves: a sender at a steady rate, users who read, and the count at the end.
//!
//! Every message is a token: its Message-ID and the digest of its text are kept here and nowhere else. A third is sent to
//! the old host, as by senders with old DNS, a third to where the MX leads, and a third to the new host as soon as it knows
//! the address. The first user of a domain downloads and deletes, the second leaves mail on the server, the third reads on
//! the new host alone.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::fill::{DOMAINS, Domain, PASSWORD};
use super::mail::{Place, Places};
use super::qmail::network::Network;
use super::qmail::queue::Queue;
use super::qmail::{remote, users};

mod count;
mod reader;
mod sender;

pub use count::Report;
use count::{Copy, Ledger};
pub use reader::Habit;
use reader::Reader;
use sender::Sent;

/// The longest that a queue may take to become empty.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest that a sender waits for a host to take a message; a real one would for days.
const PERSISTENCE: Duration = Duration::from_secs(900);

/// How much is sent, to whom.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At most; nothing is sent any more when the end is waited for.
    pub messages: u64,
    /// From one message to the next.
    pub pause: Duration,
    pub accounts: Vec<Account>,
}

/// An account that gets mail.
#[derive(Clone, Debug)]
pub struct Account {
    pub domain: &'static str,
    pub name: &'static str,
    /// Its name in `users/cdb` of the new host.
    pub on_new: String,
    pub habit: Habit,
    /// Where it reads on the old and on the new host.
    pub pop3: [SocketAddr; 2],
}

impl Account {
    fn address(&self) -> String {
        format!("{}@{}", self.name, self.domain)
    }
}

/// What all tasks share.
struct Shared {
    places: Places,
    ledger: Mutex<Ledger>,
    /// A host is given so many messages at once; what waits to be tried again has none.
    slots: Semaphore,
    sent: AtomicU64,
    /// So many are sent, and then none until it is raised.
    most: AtomicU64,
    /// No message is sent any more.
    is_ending: AtomicBool,
    is_over: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mail that flows.
pub struct Traffic {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    sending: JoinHandle<()>,
    reading: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts to send and to read. What is stored on the old host now is counted too.
    pub fn start(places: &Places, plan: Plan) -> io::Result<Traffic> {
        let plan = Arc::new(plan);
        let mut ledger = Ledger::default();
        for copy in files(&places.old, &plan.accounts)? {
            ledger.expect_stored(copy);
        }
        let shared = Arc::new(Shared {
            places: places.clone(),
            ledger: Mutex::new(ledger),
            slots: Semaphore::new(20),
            sent: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
            is_ending: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let readers = plan.accounts.iter().filter(|account| account.habit != Habit::Other);
        let reading = readers.map(|account| tokio::spawn(read(account.clone(), shared.clone()))).collect();
        let sending = tokio::spawn(send(plan.clone(), shared.clone()));
        Ok(Traffic { plan, shared, sending, reading })
    }

    /// Sends no more than so many, until it is told another number.
    pub fn hold_at(&self, count: u64) {
        self.shared.most.store(count, Relaxed);
    }

    /// Waits until so many messages have been sent.
    pub async fn until(&self, count: u64) {
        while self.shared.sent.load(Relaxed) < count && !self.sending.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends no more, waits until no queue holds a message, then counts.
    pub async fn end(self) -> io::Result<Report> {
        self.shared.is_ending.store(true, Relaxed);
        self.sending.await.map_err(io::Error::other)?;
        let start = Instant::now();
        let Places { old, new, outside } = &self.shared.places;
        let queues = [old, new].map(|place| Queue::of(&place.home));
        // A message goes from one queue to the other: both are empty only if they are so twice.
        let mut quiet = 0;
        while quiet < 2 && start.elapsed() < PATIENCE {
            quiet = if queues.iter().all(Queue::is_empty) { quiet + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.shared.is_over.store(true, Relaxed);
        for reader in self.reading {
            reader.await.map_err(io::Error::other)?;
        }
        let logs = [old, new].map(|place| std::fs::read_to_string(place.home.path("active/qmail-send.log")));
        let mut ledger = self.shared.ledger();
        logs.into_iter().flatten().for_each(|log| ledger.note_doubts(&log));
        let mut report = ledger.report(&files(new, &self.plan.accounts)?, &files(old, &self.plan.accounts)?);
        let bounces = Queue::of(&outside.home);
        let bounces = bounces.numbers("todo").into_iter().filter_map(|id| bounces.message(id).ok());
        report.bounces = bounces.map(|text| reason(&String::from_utf8_lossy(&text))).collect();
        report.queued = queues.iter().map(|queue| queue.numbers("mess").len() as u64).sum();
        Ok(report)
    }
}

/// The accounts of the lab's domains with these names, or of all; nobody reads on a host that has no POP3.
pub fn accounts(domains: &[String], places: &Places) -> Vec<Account> {
    let Some(pop3) = places.old.pop3.zip(places.new.pop3) else { return Vec::new() };
    let moved = DOMAINS.iter().filter(|domain| domains.is_empty() || domains.iter().any(|name| name == domain.0));
    moved.flat_map(|domain| accounts_of(domain, [pop3.0, pop3.1])).collect()
}

/// The accounts of a domain, whose users have each another habit.
pub fn accounts_of((domain, _, id, names): &Domain, pop3: [SocketAddr; 2]) -> Vec<Account> {
    let habits = [Habit::Delete, Habit::Leave, Habit::OnNew].into_iter().cycle();
    let account =
        |(name, habit): (&&'static str, Habit)| Account { domain, name, on_new: format!("{id}-{name}"), habit, pop3 };
    names.iter().zip(habits).map(account).collect()
}

/// Sends every message when it is due, whether earlier ones have been taken or not.
async fn send(plan: Arc<Plan>, shared: Arc<Shared>) {
    let accounts = &plan.accounts;
    let start = Instant::now();
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..plan.messages {
        while number >= shared.most.load(Relaxed) && !shared.is_ending.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if shared.is_ending.load(Relaxed) {
            break;
        }
        let due = plan.pause.mul_f64(number as f64);
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        // Every fifth time the accounts shift against the hosts, so that each gets mail by both.
        let Some(account) = accounts.get(((number + number / 5) % accounts.len() as u64) as usize).cloned() else {
            return;
        };
        let own = shared.clone();
        under_way.spawn(async move { send_one(number, &account, &own).await });
        while under_way.try_join_next().is_some() {}
        // A sender that is faster than the hosts would only fill queues.
        while shared.slots.available_permits() == 0 || waiting(&shared) > MOST_WAITING {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// How many messages are in the hosts' queues.
fn waiting(shared: &Shared) -> usize {
    [&shared.places.old, &shared.places.new].map(|place| Queue::of(&place.home).numbers("mess").len()).iter().sum()
}

/// More than these are not left to the hosts to deliver.
const MOST_WAITING: usize = 64;

async fn send_one(number: u64, account: &Account, shared: &Shared) {
    let id = format!("<{number}.{}@sender.outside.example>", std::process::id());
    let body = sender::body(number);
    shared.ledger().expect_sent(&id, &account.address(), digest(&body));
    shared.sent.fetch_add(1, Relaxed);
    let text = remote::blast(&sender::message(&id, &account.address(), &body));
    let start = Instant::now();
    let (server, ended) = loop {
        let server = server(number, account, &shared.places).await;
        let slot = shared.slots.acquire().await;
        let ended = sender::hand_over(server, number, &account.address(), &text).await;
        drop(slot);
        match ended {
            Sent::Doubtful => shared.ledger().doubt(number),
            Sent::Later(_) if start.elapsed() < PERSISTENCE => {}
            ended => break (server, ended),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let mut ledger = shared.ledger();
    match ended {
        Sent::Taken if server == shared.places.new.smtp => ledger.to_new += 1,
        Sent::Taken | Sent::Doubtful => ledger.to_old += 1,
        Sent::Later(why) | Sent::Refused(why) => ledger.refused.push(format!("{id} to {}: {why}", account.address())),
    }
}

/// Where a sender takes a message at the moment.
async fn server(number: u64, account: &Account, places: &Places) -> SocketAddr {
    if number % 3 == 2 && users::is_assigned(&places.new.home, &account.on_new) {
        return places.new.smtp;
    }
    if number % 3 == 1 {
        let mut network = Network::read(&places.outside.home).unwrap_or_default();
        network.learn(account.domain).await;
        if let Some(best) = network.exchangers(account.domain).unwrap_or_default().first() {
            return network.destination(SocketAddr::from((best.address, 25)));
        }
    }
    places.old.smtp
}

/// Reads one account's mail again and again until all is over: on the old host as long as it lets its user in.
async fn read(account: Account, shared: Arc<Shared>) {
    let mut reader = Reader::new(account.address(), PASSWORD, account.habit);
    let mut on_new = account.habit == Habit::OnNew;
    loop {
        let last = shared.is_over.load(Relaxed);
        let mut copies = Vec::new();
        let ended = reader.visit(account.pop3[usize::from(on_new)], &mut copies).await;
        {
            let mut ledger = shared.ledger();
            copies.into_iter().for_each(|copy| ledger.download(copy, account.habit, on_new));
        }
        // The old host is closed: the new one is asked from now on.
        on_new |= ended.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if last {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Returns the copies in all folders of the accounts, as a user would see them.
fn files(place: &Place, accounts: &[Account]) -> io::Result<Vec<Copy>> {
    let mut found = Vec::new();
    for account in accounts {
        let maildir = place.home.path(&format!("mailnames/{}/{}/Maildir", account.domain, account.name));
        let mut folders = vec![maildir.clone()];
        for entry in std::fs::read_dir(&maildir)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                folders.push(entry.path());
            }
        }
        for part in folders.iter().flat_map(|folder| [folder.join("new"), folder.join("cur")]) {
            for entry in std::fs::read_dir(part).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                found.extend(Copy::read(&account.address(), &name, &std::fs::read(entry.path())?));
            }
        }
    }
    Ok(found)
}

/// What a bounce says of its recipient.
fn reason(bounce: &str) -> String {
    let end = bounce.find("--- Below this line").unwrap_or(bounce.len());
    let start = bounce[..end].find("\n<").map_or(0, |at| at + 1);
    bounce[start..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The digest of a text, in hexadecimal.
fn digest(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts by key.
type Tally<K> = BTreeMap<K, u64>;
