//! Mail that flows while a domain moves: a sender at a steady rate, users who read, and the count at the end.
//!
//! Every message is a token: its Message-ID and the digest of its text are kept here and nowhere else. Some are sent to
//! the old host, as by senders with old DNS, and some to the new one as soon as it knows the address. The first user of
//! a domain downloads and deletes, the second leaves mail on the server, the third reads on the new host alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::fill::{DOMAINS, PASSWORD};
use super::mail::{Mail, Place};
use super::qmail::queue::Queue;
use super::qmail::{remote, users};

mod count;
mod reader;
mod sender;

pub use count::Report;
use count::{Copy, Ledger};
use reader::{Habit, Reader};
use sender::Sent;

/// The longest that a queue may take to become empty, and that a message may wait for a host to take it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is sent, to whom, in what time.
#[derive(Clone, Debug)]
pub struct Plan {
    pub messages: u64,
    pub span: Duration,
    /// None are all of the lab's.
    pub domains: Vec<String>,
}

/// An account that gets mail.
#[derive(Clone, Debug)]
struct Account {
    domain: &'static str,
    name: &'static str,
    /// Its name in `users/cdb` of the new host.
    on_new: String,
    habit: Habit,
}

impl Account {
    fn address(&self) -> String {
        format!("{}@{}", self.name, self.domain)
    }
}

/// What all tasks share.
struct Shared {
    old: Place,
    new: Place,
    outside: Place,
    ledger: Mutex<Ledger>,
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mail that flows.
pub struct Traffic {
    plan: Plan,
    accounts: Arc<Vec<Account>>,
    shared: Arc<Shared>,
    sending: JoinHandle<()>,
    reading: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts to send and to read. What is stored on the old host now is counted too.
    pub fn start(mail: &Mail, plan: Plan) -> io::Result<Traffic> {
        let accounts = Arc::new(accounts(&plan.domains));
        let mut ledger = Ledger::default();
        for copy in files(&mail.old, &accounts)? {
            ledger.expect_stored(copy);
        }
        let shared = Arc::new(Shared {
            old: mail.old.clone(),
            new: mail.new.clone(),
            outside: mail.outside.clone(),
            ledger: Mutex::new(ledger),
            sent: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let reading = accounts.iter().map(|account| tokio::spawn(read(account.clone(), shared.clone()))).collect();
        let sending = tokio::spawn(send(plan.clone(), accounts.clone(), shared.clone()));
        Ok(Traffic { plan, accounts, shared, sending, reading })
    }

    /// Waits until this part of the messages, of 1, has been sent.
    pub async fn until(&self, part: f64) {
        while (self.shared.sent.load(Relaxed) as f64) < self.plan.messages as f64 * part && !self.sending.is_finished()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all is sent and no queue holds a message, then counts.
    pub async fn end(self) -> io::Result<Report> {
        self.sending.await.map_err(io::Error::other)?;
        let start = Instant::now();
        let queues = [Queue::of(&self.shared.old.home), Queue::of(&self.shared.new.home)];
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
        let (new, old) = (files(&self.shared.new, &self.accounts)?, files(&self.shared.old, &self.accounts)?);
        let ledger = self.shared.ledger();
        let mut report = ledger.report(&new, &old);
        report.bounced = Queue::of(&self.shared.outside.home).numbers("todo").len() as u64;
        report.queued = queues.iter().map(|queue| queue.numbers("mess").len() as u64).sum();
        Ok(report)
    }
}

fn accounts(domains: &[String]) -> Vec<Account> {
    let moved = DOMAINS.iter().filter(|domain| domains.is_empty() || domains.iter().any(|name| name == domain.0));
    let of = |(domain, _, id, names): &(&'static str, u32, u32, &'static [&'static str])| {
        let (domain, id) = (*domain, *id);
        names
            .iter()
            .zip([Habit::Delete, Habit::Leave, Habit::OnNew].into_iter().cycle())
            .map(move |(name, habit)| Account { domain, name, on_new: format!("{id}-{name}"), habit })
    };
    moved.flat_map(of).collect()
}

/// Sends every message when it is due, whether earlier ones have been taken or not.
async fn send(plan: Plan, accounts: Arc<Vec<Account>>, shared: Arc<Shared>) {
    let start = Instant::now();
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..plan.messages {
        let due = plan.span.mul_f64(number as f64 / plan.messages as f64);
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        // Every fifth time the accounts shift against the hosts, so that each gets mail by both.
        let Some(account) = accounts.get(((number + number / 5) % accounts.len() as u64) as usize).cloned() else {
            return;
        };
        let shared = shared.clone();
        under_way.spawn(async move { send_one(number, &account, &shared).await });
        while under_way.try_join_next().is_some() {}
        // A sender that is faster than the hosts would only fill its own queue.
        if under_way.len() >= 20 {
            under_way.join_next().await;
        }
    }
    while under_way.join_next().await.is_some() {}
}

async fn send_one(number: u64, account: &Account, shared: &Shared) {
    let id = format!("<{number}.{}@sender.outside.example>", std::process::id());
    let body = sender::body(number);
    shared.ledger().expect_sent(&id, &account.address(), digest(&body));
    shared.sent.fetch_add(1, Relaxed);
    let direct = number % 3 == 2 && users::is_assigned(&shared.new.home, &account.on_new);
    let place = if direct { &shared.new } else { &shared.old };
    let text = sender::message(&id, &account.address(), &body);
    let start = Instant::now();
    let ended = loop {
        match sender::hand_over(place.smtp, &account.address(), &remote::blast(&text)).await {
            Sent::Later(_) if start.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(200)).await,
            ended => break ended,
        }
    };
    let mut ledger = shared.ledger();
    match ended {
        Sent::Taken if direct => ledger.to_new += 1,
        Sent::Taken => ledger.to_old += 1,
        Sent::Later(why) | Sent::Refused(why) => ledger.refused.push(format!("{id} to {}: {why}", account.address())),
    }
}

/// Reads one account's mail again and again until all is over: on the old host as long as it lets its user in.
async fn read(account: Account, shared: Arc<Shared>) {
    let mut reader = Reader::new(account.address(), PASSWORD, account.habit);
    let mut on_new = account.habit == Habit::OnNew;
    loop {
        let last = shared.is_over.load(Relaxed);
        let place = if on_new { &shared.new } else { &shared.old };
        if let Some(address) = place.pop3 {
            let mut copies = Vec::new();
            let ended = reader.visit(address, &mut copies).await;
            {
                let mut ledger = shared.ledger();
                copies.into_iter().for_each(|copy| ledger.download(copy, account.habit, on_new));
            }
            // The old host is closed: the new one is asked from now on.
            on_new |= ended.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        }
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

/// The digest of a text, in hexadecimal.
fn digest(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts by key.
type Tally<K> = BTreeMap<K, u64>;
