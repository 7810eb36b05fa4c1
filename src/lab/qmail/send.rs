//! qmail-send: takes messages from `todo`, decides once which channel each recipient is in, and delivers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::modules::mail::qmail::{Fate, Tables, encode};

use super::bounce::{self, Names};
use super::queue::{Channel, Envelope, Queue, Recipient, retry};
use super::{Home, Outcome, blocking, local, message, remote};

/// What qmail-send reads when it starts; a HUP changes `tables` alone, and of these not `me`.
struct Settings {
    tables: Tables,
    names: Names,
    envnoathost: String,
    /// Of the channels local and remote; 0 holds one.
    concurrency: [usize; 2],
    /// In seconds.
    queuelifetime: u64,
}

impl Settings {
    fn read(home: &Home) -> io::Result<Settings> {
        let given = |name: &str, default: &str| -> io::Result<String> {
            Ok(match home.control(name)? {
                Some(_) => home.line(name)?,
                None => default.into(),
            })
        };
        let double = format!("{}@{}", given("doublebounceto", "postmaster")?, home.line("doublebouncehost")?);
        let number = |name, default| home.number(name, default).map(|number| number.min(255) as usize);
        Ok(Settings {
            tables: home.tables()?,
            names: Names { from: given("bouncefrom", "MAILER-DAEMON")?, host: home.line("bouncehost")?, double },
            envnoathost: home.line("envnoathost")?,
            concurrency: [number("concurrencylocal", 10)?, number("concurrencyremote", 20)?],
            queuelifetime: home.number("queuelifetime", 604_800)?,
        })
    }

    /// Returns the channel of an address and its name there (`rewrite`).
    fn rewrite(&self, address: &str) -> (Channel, String) {
        let address = match message::domain(address) {
            Some(_) => address.to_string(),
            None => format!("{address}@{}", self.envnoathost),
        };
        match self.tables.fate(&address) {
            Fate::Local => (Channel::Local, address),
            Fate::Virtual { prepend, .. } => (Channel::Local, format!("{prepend}-{address}")),
            Fate::Remote => (Channel::Remote, address),
        }
    }
}

/// A delivery that is ready or under way.
#[derive(Clone, Debug)]
struct Delivery {
    channel: Channel,
    id: u64,
    recipient: Recipient,
    /// The message is older than `queuelifetime`: what is deferred now bounces.
    is_last: bool,
}

/// A message in the channels.
struct Message {
    sender: String,
    /// In seconds since 1970.
    birth: u64,
    /// Deliveries of the present pass through each channel that have not ended.
    open: [usize; 2],
}

struct Send {
    home: Home,
    queue: Queue,
    settings: Settings,
    messages: BTreeMap<u64, Message>,
    /// Times of the next pass, with the message.
    waiting: [BTreeSet<(u64, u64)>; 2],
    ready: [VecDeque<Delivery>; 2],
    running: [usize; 2],
    deliveries: u64,
    /// Something in `todo` could not be taken.
    is_stuck: bool,
    ended: mpsc::UnboundedSender<(Delivery, Outcome)>,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and no delivery is under way.
    Told,
    /// Another one has the queue.
    AlreadyRunning,
}

/// Runs until SIGTERM. SIGHUP rereads locals and virtualdomains; SIGALRM makes all mail due.
pub async fn main(home: Home) -> io::Result<Ended> {
    let queue = Queue::of(&home);
    queue.make()?;
    let Some(_lock) = queue.lock()? else {
        log("alert: cannot start: qmail-send is already running");
        return Ok(Ended::AlreadyRunning);
    };
    // A signal that comes while the tables are read must not end it.
    let [mut hangup, mut alarm, mut terminate, mut interrupt] =
        [SignalKind::hangup(), SignalKind::alarm(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [hangup, alarm, terminate, interrupt] = [&mut hangup, &mut alarm, &mut terminate, &mut interrupt]
        .map(|signal| signal.as_mut().map_err(|error| io::Error::new(error.kind(), error.to_string())));
    let (hangup, alarm, terminate, interrupt) = (hangup?, alarm?, terminate?, interrupt?);
    // Both ends are open here, so that it never reads an end of file.
    let mut trigger = pipe::OpenOptions::new().read_write(true).open_receiver(queue.trigger())?;
    let (ended, mut endings) = mpsc::unbounded_channel();
    let mut send = Send {
        settings: Settings::read(&home)?,
        home: home.clone(),
        queue,
        messages: BTreeMap::new(),
        waiting: Default::default(),
        ready: Default::default(),
        running: [0; 2],
        deliveries: 0,
        is_stuck: false,
        ended,
    };
    send.publish_tables()?;
    send.recover()?;
    std::fs::write(home.path("active/qmail-send.pid"), format!("{}\n", std::process::id()))?;
    super::listen::announce("qmail-send: ready")?;
    let mut told = false;
    let mut pulled = [0; 64];
    while !told || send.running != [0; 2] {
        if !told {
            send.take_todo();
            send.pass();
            send.start();
        }
        let nap = send.nap();
        tokio::select! {
            // The tables first: mail that came after the signal is taken with the new ones.
            biased;
            _ = hangup.recv() => send.reread(),
            _ = alarm.recv() => send.all_due(),
            _ = terminate.recv() => told = true,
            _ = interrupt.recv() => told = true,
            _ = trigger.read(&mut pulled) => {}
            Some((delivery, outcome)) = endings.recv() => send.finish(&delivery, outcome),
            () = tokio::time::sleep(nap) => {}
        }
        while let Ok((delivery, outcome)) = endings.try_recv() {
            send.finish(&delivery, outcome);
        }
    }
    log("status: exiting");
    let _ = std::fs::remove_file(home.path("active/qmail-send.pid"));
    Ok(Ended::Told)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Send {
    /// Finds the messages that an earlier qmail-send left.
    fn recover(&mut self) -> io::Result<()> {
        for id in self.queue.numbers("info") {
            // Its envelope is still in `todo`: it was not assorted to the end.
            if self.queue.todo(id).is_err() {
                self.enter(id)?;
            }
        }
        Ok(())
    }

    /// Takes what is in `todo`; what cannot be taken now, as on a full disk, stays there.
    fn take_todo(&mut self) {
        self.is_stuck = false;
        for id in self.queue.numbers("todo") {
            if let Err(error) = self.take(id) {
                log(&format!("warning: trouble with todo/{id}: {error}"));
                self.is_stuck = true;
            }
        }
    }

    fn take(&mut self, id: u64) -> io::Result<()> {
        let envelope = self.queue.todo(id)?;
        let recipients: Vec<_> = envelope.recipients.iter().map(|address| self.settings.rewrite(address)).collect();
        self.queue.assort(id, &envelope.sender, &recipients)?;
        log(&format!("new msg {id}"));
        log(&format!("info msg {id}: bytes {} from <{}>", self.queue.size(id), envelope.sender));
        self.enter(id)
    }

    /// Takes up a message that is in the channels; it is due at once.
    fn enter(&mut self, id: u64) -> io::Result<()> {
        let (sender, birth) = self.queue.info(id)?;
        let birth = birth.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.messages.insert(id, Message { sender, birth, open: [0; 2] });
        for channel in Channel::ALL {
            self.waiting[channel as usize].insert((0, id));
        }
        Ok(())
    }

    /// Makes the deliveries of what is due ready.
    fn pass(&mut self) {
        let now = now();
        for channel in Channel::ALL {
            while let Some((due, id)) = self.waiting[channel as usize].first().copied().filter(|(due, _)| *due <= now) {
                self.waiting[channel as usize].remove(&(due, id));
                let Some(message) = self.messages.get_mut(&id) else { continue };
                let recipients = self.queue.recipients(channel, id).unwrap_or_else(|error| {
                    log(&format!("alert: unable to read {} of msg {id}: {error}", channel.name()));
                    Vec::new()
                });
                let is_last = now > message.birth + self.settings.queuelifetime;
                for recipient in recipients.into_iter().filter(|recipient| !recipient.done) {
                    message.open[channel as usize] += 1;
                    self.ready[channel as usize].push_back(Delivery { channel, id, recipient, is_last });
                }
                if message.open[channel as usize] == 0 {
                    self.end_pass(channel, id);
                }
            }
        }
    }

    /// Starts what is ready, as far as the concurrency of each channel goes.
    fn start(&mut self) {
        for channel in Channel::ALL {
            let index = channel as usize;
            while self.running[index] < self.settings.concurrency[index] {
                let Some(delivery) = self.ready[index].pop_front() else { break };
                self.running[index] += 1;
                self.deliveries += 1;
                let (id, address) = (delivery.id, &delivery.recipient.address);
                log(&format!("starting delivery {}: msg {id} to {} {address}", self.deliveries, channel.name()));
                let sender = self.messages.get(&id).map(|message| message.sender.clone()).unwrap_or_default();
                let (home, queue, ended) = (self.home.clone(), self.queue.clone(), self.ended.clone());
                let number = self.deliveries;
                tokio::spawn(async move {
                    let outcome = deliver(&home, &queue, &delivery, &sender).await;
                    let (word, text) = match &outcome {
                        Outcome::Success(text) => ("success", text),
                        Outcome::Deferral(text) => ("deferral", text),
                        Outcome::Failure(text) => ("failure", text),
                    };
                    log(&format!("delivery {number}: {word}: {}", text.replace(['\n', ' '], "_")));
                    let _ = ended.send((delivery, outcome));
                });
            }
        }
    }

    /// Notes what came of a delivery.
    fn finish(&mut self, delivery: &Delivery, outcome: Outcome) {
        let Delivery { channel, id, recipient, is_last } = delivery;
        self.running[*channel as usize] -= 1;
        let failure = match outcome {
            Outcome::Success(_) => None,
            Outcome::Failure(why) => Some(why),
            Outcome::Deferral(why) if *is_last => {
                Some(format!("{why}\nI'm not going to try again; this message has been in the queue too long."))
            }
            Outcome::Deferral(_) => return self.close_delivery(*channel, *id),
        };
        let noted = failure.map_or(Ok(()), |why| {
            let address = self.unprepended(&recipient.address, *channel);
            self.queue.note(*id, &bounce::paragraph(&address, &why))
        });
        if let Err(error) = noted.and_then(|()| self.queue.done(*channel, *id, recipient.offset)) {
            log(&format!("warning: trouble marking {}/{id}; message will be delivered twice: {error}", channel.name()));
        }
        self.close_delivery(*channel, *id);
    }

    /// Returns the address that the sender wrote (`stripvdomprepend`).
    fn unprepended(&self, address: &str, channel: Channel) -> String {
        let whole = (channel == Channel::Local).then(|| address.split_once('-')).flatten();
        let is_virtual = |(prepend, rest): &(&str, &str)| matches!(self.settings.tables.fate(rest), Fate::Virtual { prepend: found, .. } if found == *prepend);
        whole.filter(is_virtual).map_or(address, |(_, rest)| rest).to_string()
    }

    fn close_delivery(&mut self, channel: Channel, id: u64) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.open[channel as usize] -= 1;
        if message.open[channel as usize] == 0 {
            self.end_pass(channel, id);
        }
    }

    /// Ends a pass through a channel: what is left waits, and where nothing is left the channel is closed.
    fn end_pass(&mut self, channel: Channel, id: u64) {
        let ended = (|| {
            let left = self.queue.recipients(channel, id)?.iter().any(|recipient| !recipient.done);
            if left {
                let birth = self.messages.get(&id).map_or(0, |message| message.birth);
                self.waiting[channel as usize].insert((retry(channel, birth, now()), id));
                return Ok(());
            }
            self.queue.close(channel, id)?;
            let mut all = Channel::ALL.iter();
            match all.all(|channel| self.queue.recipients(*channel, id).is_ok_and(|left| left.is_empty())) {
                true => self.end_message(id),
                false => Ok(()),
            }
        })();
        if let Err(error) = ended {
            log(&format!("alert: unable to end a pass of msg {id}: {error}"));
        }
    }

    fn end_message(&mut self, id: u64) -> io::Result<()> {
        let Some(message) = self.messages.remove(&id) else { return Ok(()) };
        if let Some(paragraphs) = self.queue.noted(id)? {
            let original = self.queue.message(id)?;
            match bounce::make(&self.settings.names, &message.sender, (&paragraphs, &original)) {
                Some((text, envelope)) => {
                    let bounce = self.queue.add(&text, &envelope)?;
                    log(&format!("bounce msg {id} qp {bounce}"));
                }
                None => log(&format!("triple bounce: discarding bounce/{id}")),
            }
        }
        self.queue.remove(id)?;
        log(&format!("end msg {id}"));
        Ok(())
    }

    fn reread(&mut self) {
        match self.home.tables() {
            Ok(tables) => {
                // `me` stays what it was at the start.
                let me = std::mem::take(&mut self.settings.tables.me);
                self.settings.tables = Tables { me, ..tables };
                log("rereading locals and virtualdomains");
                if let Err(error) = self.publish_tables() {
                    log(&format!("alert: unable to write active tables: {error}"));
                }
            }
            Err(error) => log(&format!("alert: unable to reread controls: {error}")),
        }
    }

    /// Writes the tables in use where a test can see them.
    fn publish_tables(&self) -> io::Result<()> {
        let active = self.home.path("active");
        std::fs::create_dir_all(&active)?;
        let Tables { locals, virtualdomains, .. } = &self.settings.tables;
        super::replace(&active.join("locals"), &encode(locals.as_deref().unwrap_or_default()))?;
        super::replace(&active.join("virtualdomains"), &encode(virtualdomains))
    }

    fn all_due(&mut self) {
        for waiting in &mut self.waiting {
            *waiting = waiting.iter().map(|(_, id)| (0, *id)).collect();
        }
    }

    /// How long nothing is due.
    fn nap(&self) -> Duration {
        if self.is_stuck {
            return Duration::from_secs(2);
        }
        let next = self.waiting.iter().filter_map(|waiting| waiting.first()).map(|(due, _)| *due).min();
        Duration::from_secs(next.map_or(3600, |due| due.saturating_sub(now()).clamp(1, 3600)))
    }
}

async fn deliver(home: &Home, queue: &Queue, delivery: &Delivery, sender: &str) -> Outcome {
    let address = &delivery.recipient.address;
    let (own, id) = (queue.clone(), delivery.id);
    let text = match blocking(move || own.message(id)).await {
        Ok(text) => text,
        Err(error) => return Outcome::Deferral(format!("Unable to read message: {error}. (#4.3.0)")),
    };
    if delivery.channel == Channel::Remote {
        return remote::deliver(home, sender, address, &text).await;
    }
    let delivered = local::deliver(home, address, sender, text.clone()).await;
    if delivered.forwards.is_empty() {
        return delivered.outcome;
    }
    let marked = [message::delivered_to(address), text].concat();
    let envelope = Envelope { sender: sender.into(), recipients: delivered.forwards };
    let queue = queue.clone();
    match blocking(move || queue.add(&marked, &envelope)).await {
        Ok(_) => delivered.outcome,
        Err(error) => Outcome::Deferral(format!("Unable to forward message: {error}. (#4.3.0)")),
    }
}

fn log(line: &str) {
    // A log that nobody can write holds up no mail.
    let _ = io::Write::write_all(&mut io::stderr(), format!("{} {line}\n", stamp(SystemTime::now())).as_bytes());
}

/// Returns a time as `multilog t` stamps a line with it: TAI64N, in hexadecimal behind an `@`.
fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("@{:016x}{:08x}", (1u64 << 62) + 10 + since.as_secs(), since.subsec_nanos())
}
