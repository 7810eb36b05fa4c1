//! Users who read by IMAP while their mail moves: they add messages, flag them, file them in folders and delete them, and look
//! each time whether they find what they left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use cutover::lab::fill::PASSWORD;

use session::{Found, Session};

mod session;

/// As users see them; courier has all others below `INBOX`.
const FOLDERS: [&str; 4] = ["INBOX", "Sent", "Archive.2024", "Work"];
/// Where a message that is deleted is.
const NOWHERE: &str = "nowhere";
/// Of messages that a user has added.
const OWN: &str = "own ";

/// Where a user logs in.
#[derive(Clone, Copy)]
pub struct Server {
    pub address: SocketAddr,
    /// What names of folders begin with there.
    pub prefix: &'static str,
}

/// What a user knows of a message.
struct Known {
    /// Where it is, or, while an answer is missing, may be; the last one is where it shall be.
    places: Vec<&'static str>,
    /// Unless an answer is missing.
    flags: Option<BTreeSet<String>>,
}

pub struct User {
    pub login: String,
    /// On the old host and, when that lets nobody in any more, on the new one.
    pub servers: [Server; 2],
    pub on_new: bool,
    messages: BTreeMap<String, Known>,
    visits: [u64; 2],
    turns: u64,
    /// What was done and answered: messages added, flagged, filed and deleted, on either host.
    pub done: [[u64; 2]; 4],
    /// What was not as it was left.
    pub faults: BTreeSet<String>,
}

/// Users at work, each in a thread.
pub struct Users {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<User>>,
}

impl Users {
    pub fn start(users: Vec<User>) -> Users {
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = users.into_iter().map(|mut user| {
            let is_over = is_over.clone();
            std::thread::spawn(move || {
                while !is_over.load(Relaxed) {
                    user.come(false);
                    std::thread::sleep(Duration::from_millis(250));
                }
                user
            })
        });
        Users { threads: threads.collect(), is_over }
    }

    /// They stop, and look once more when all mail has come over.
    pub fn end(self) -> Vec<User> {
        self.is_over.store(true, Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

impl User {
    pub fn new(login: String, servers: [Server; 2]) -> User {
        let (messages, faults) = (BTreeMap::new(), BTreeSet::new());
        User { login, servers, on_new: false, messages, visits: [0; 2], turns: 0, done: [[0; 2]; 4], faults }
    }

    /// Comes once; at the end only to look at all.
    pub fn come(&mut self, is_end: bool) {
        let ended = self.visit(is_end);
        if is_end {
            ended.unwrap_or_else(|error| panic!("{}: {error}", self.login));
        } else if let Err(error) = ended {
            self.on_new |= [io::ErrorKind::PermissionDenied, io::ErrorKind::ConnectionRefused].contains(&error.kind());
        }
    }

    fn visit(&mut self, is_end: bool) -> io::Result<()> {
        let server = self.servers[usize::from(self.on_new)];
        let mut session = Session::open(server, &self.login, PASSWORD)?;
        if self.visits == [0, 0] {
            session.ask(&format!("CREATE \"{}Work\"", server.prefix))?;
        }
        let found = session.list(&FOLDERS)?;
        self.judge(&mut session, &found, is_end)?;
        if !is_end {
            self.work(&mut session, &found)?;
        }
        self.visits[usize::from(self.on_new)] += 1;
        session.ask("LOGOUT").map(drop)
    }

    /// Compares what there is with what was left. Where mail comes over still, what is missing may come.
    fn judge(&mut self, session: &mut Session, found: &Found, is_end: bool) -> io::Result<()> {
        let all_is_here = is_end || !self.on_new;
        for (id, copies) in found {
            let known = self
                .messages
                .entry(id.clone())
                .or_insert_with(|| Known { places: vec![copies[0].folder], flags: Some(copies[0].flags.clone()) });
            // What SMTP doubles the traffic counts.
            if copies.len() > 1 && known.places.len() == 1 && !id.starts_with(OWN) {
                known.flags = None;
                continue;
            }
            let wanted = known.places[known.places.len() - 1];
            let odd = copies.iter().any(|copy| !known.places.contains(&copy.folder));
            if odd || copies.len() > known.places.iter().filter(|place| **place != NOWHERE).count() {
                let places: Vec<_> = copies.iter().map(|copy| copy.folder).collect();
                self.faults.insert(format!("{id} is in {places:?}, and was left in {:?}", known.places));
                continue;
            }
            // A message that was filed when the session broke off: its user takes the first copy away.
            if copies.len() > 1 {
                for copy in copies.iter().filter(|copy| copy.folder != wanted) {
                    session.expunge(copy)?;
                }
            }
            let copy = copies.iter().find(|copy| copy.folder == wanted).unwrap_or(&copies[0]);
            if let Some(flags) = &known.flags
                && *flags != copy.flags
            {
                self.faults.insert(format!("{id} has {:?}, and was left with {flags:?}", copy.flags));
            }
            known.flags = Some(copy.flags.clone());
            if all_is_here && !copy.flags.contains("\\Deleted") {
                known.places = vec![copy.folder];
            }
        }
        if all_is_here {
            for (id, known) in self.messages.iter_mut().filter(|(id, _)| !found.contains_key(*id)) {
                match known.places.contains(&NOWHERE) {
                    true => known.places = vec![NOWHERE],
                    false => drop(self.faults.insert(format!("{id} is lost; it was left in {:?}", known.places))),
                }
            }
        }
        Ok(())
    }

    /// Adds a message, and flags, files and deletes one each.
    fn work(&mut self, session: &mut Session, found: &Found) -> io::Result<()> {
        let turn = self.turns;
        self.turns += 1;
        let is_sure = |known: &Known| {
            known.places.len() == 1 && known.flags.as_ref().is_some_and(|flags| !flags.contains("\\Deleted"))
        };
        let sure = found.iter().filter(|(id, copies)| copies.len() == 1 && is_sure(&self.messages[*id]));
        let sure: Vec<_> = sure.map(|(id, copies)| (id.clone(), copies[0].clone())).collect();
        let own: Vec<_> = sure.iter().filter(|(id, _)| id.starts_with(OWN)).cloned().collect();
        self.add(session, turn)?;
        if sure.len() < 3 {
            return Ok(());
        }
        let at = |step: u64| sure[(turn * step % sure.len() as u64) as usize].clone();
        let (flagged, filed) = (at(7), at(5));
        self.flag(session, &flagged, turn)?;
        if filed.0 != flagged.0 {
            self.file(session, &filed, turn)?;
        }
        match own.first().filter(|(id, _)| turn.is_multiple_of(2) && *id != flagged.0 && *id != filed.0) {
            Some(copy) => self.delete(session, copy),
            None => Ok(()),
        }
    }

    fn add(&mut self, session: &mut Session, turn: u64) -> io::Result<()> {
        let id = format!("{OWN}{turn}");
        let flags = ["", "\\Seen", "\\Flagged \\Seen", "\\Answered"][(turn % 4) as usize];
        let known =
            Known { places: vec![NOWHERE, "INBOX"], flags: Some(flags.split_whitespace().map(String::from).collect()) };
        // Not a Message-ID: this is none of those that the traffic counts.
        let text = format!("Subject: A draft\r\nX-Lab-Id: {id}\r\n\r\nText of {id}\r\n");
        self.messages.insert(id.clone(), known);
        let is_done = session.append("INBOX", flags, &text)?;
        self.settle(&id, 0, if is_done { "INBOX" } else { NOWHERE });
        Ok(())
    }

    fn flag(&mut self, session: &mut Session, (id, copy): &(String, session::Copy), turn: u64) -> io::Result<()> {
        let (sign, flag) =
            [("+", "\\Flagged"), ("+", "\\Answered"), ("-", "\\Flagged"), ("+", "\\Seen")][(turn % 4) as usize];
        let mut flags = copy.flags.clone();
        let _ = if sign == "+" { flags.insert(flag.into()) } else { flags.remove(flag) };
        let Some(known) = self.messages.get_mut(id) else { return Ok(()) };
        known.flags = None;
        session.select(copy.folder)?;
        let is_done = session.ask(&format!("UID STORE {} {sign}FLAGS ({flag})", copy.uid))?.is_ok;
        known.flags = Some(if is_done { flags } else { copy.flags.clone() });
        self.done[1][usize::from(self.on_new)] += u64::from(is_done);
        Ok(())
    }

    fn file(&mut self, session: &mut Session, (id, copy): &(String, session::Copy), turn: u64) -> io::Result<()> {
        let to = FOLDERS[(turn % 4) as usize];
        let Some(known) = self.messages.get_mut(id).filter(|_| to != copy.folder) else { return Ok(()) };
        let flags = known.flags.take();
        known.places = vec![copy.folder, to];
        session.select(copy.folder)?;
        let is_done = session.ask(&format!("UID COPY {} \"{}\"", copy.uid, session.name(to)))?.is_ok;
        if is_done {
            session.expunge(copy)?;
        }
        known.flags = flags;
        self.settle(id, 2, if is_done { to } else { copy.folder });
        Ok(())
    }

    fn delete(&mut self, session: &mut Session, (id, copy): &(String, session::Copy)) -> io::Result<()> {
        let Some(known) = self.messages.get_mut(id) else { return Ok(()) };
        known.places = vec![copy.folder, NOWHERE];
        known.flags = None;
        session.expunge(copy)?;
        self.settle(id, 3, NOWHERE);
        Ok(())
    }

    fn settle(&mut self, id: &str, what: usize, place: &'static str) {
        if let Some(known) = self.messages.get_mut(id) {
            let is_done = known.places.last() == Some(&place);
            known.places = vec![place];
            self.done[what][usize::from(self.on_new)] += u64::from(is_done);
        }
    }
}
