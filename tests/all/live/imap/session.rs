//! An IMAP session (RFC 3501), as far as a test needs one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::Server;

const LIMIT: Duration = Duration::from_secs(30);

/// One copy of a message in a folder.
#[derive(Clone, Debug)]
pub struct Copy {
    pub folder: &'static str,
    pub uid: u64,
    /// Without `\Recent`, which is the session's.
    pub flags: BTreeSet<String>,
}

/// All copies of each message.
pub type Found = BTreeMap<String, Vec<Copy>>;

/// What a server says to a command.
pub struct Answer {
    pub is_ok: bool,
    /// The lines before its last, with what they announce behind each.
    pub lines: Vec<String>,
}

pub struct Session {
    stream: BufReader<TcpStream>,
    prefix: &'static str,
    commands: u32,
}

impl Session {
    /// Logs in; `PermissionDenied` where the server lets the user in, and then says good-bye.
    pub fn open(server: Server, login: &str, password: &str) -> io::Result<Session> {
        let stream = TcpStream::connect_timeout(&server.address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut session = Session { stream: BufReader::new(stream), prefix: server.prefix, commands: 0 };
        session.line()?;
        match session.ask(&format!("LOGIN {login} {password}"))?.is_ok {
            true => Ok(session),
            false => Err(io::Error::other("the login is refused")),
        }
    }

    /// A folder's name there.
    pub fn name(&self, folder: &str) -> String {
        if folder == "INBOX" { folder.into() } else { format!("{}{folder}", self.prefix) }
    }

    pub fn ask(&mut self, command: &str) -> io::Result<Answer> {
        self.commands += 1;
        let tag = format!("a{}", self.commands);
        self.stream.get_mut().write_all(format!("{tag} {command}\r\n").as_bytes())?;
        self.answer(&tag)
    }

    pub fn select(&mut self, folder: &str) -> io::Result<bool> {
        Ok(self.ask(&format!("SELECT \"{}\"", self.name(folder)))?.is_ok)
    }

    pub fn append(&mut self, folder: &str, flags: &str, text: &str) -> io::Result<bool> {
        self.commands += 1;
        let tag = format!("a{}", self.commands);
        let command = format!("{tag} APPEND \"{}\" ({flags}) {{{}}}\r\n", self.name(folder), text.len());
        self.stream.get_mut().write_all(command.as_bytes())?;
        let line = self.line()?;
        if !line.starts_with('+') {
            return Ok(false);
        }
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        Ok(self.answer(&tag)?.is_ok)
    }

    /// Takes one copy away.
    pub fn expunge(&mut self, copy: &Copy) -> io::Result<()> {
        self.select(copy.folder)?;
        let command = format!("UID STORE {} +FLAGS (\\Deleted)", copy.uid);
        let is_ok = self.ask(&command)?.is_ok && self.ask("EXPUNGE")?.is_ok;
        if is_ok { Ok(()) } else { Err(io::Error::other("a message cannot be taken away")) }
    }

    /// All messages of these folders, as far as they are there.
    pub fn list(&mut self, folders: &[&'static str]) -> io::Result<Found> {
        let mut found = Found::new();
        for folder in folders {
            if !self.select(folder)? {
                continue;
            }
            let fields = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID X-LAB-ID)]";
            let answer = self.ask(&format!("UID FETCH 1:* (UID FLAGS {fields})"))?;
            for line in answer.lines.iter().filter(|line| line.contains(" FETCH (")) {
                if let Some((id, copy)) = read(folder, line) {
                    found.entry(id).or_default().push(copy);
                }
            }
        }
        Ok(found)
    }

    fn answer(&mut self, tag: &str) -> io::Result<Answer> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            match line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                Some(rest) => return Ok(Answer { is_ok: rest.starts_with("OK"), lines }),
                None => lines.push(line),
            }
        }
    }

    /// Reads a line, and the texts of known length in it.
    fn line(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        loop {
            if self.stream.read_until(b'\n', &mut text)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = text.strip_suffix(b"}\r\n").and_then(|text| {
                let start = text.iter().rposition(|byte| *byte == b'{')?;
                std::str::from_utf8(&text[start + 1..]).ok()?.parse::<u64>().ok()
            });
            let Some(length) = length else { break };
            self.stream.by_ref().take(length).read_to_end(&mut text)?;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match text.starts_with("* BYE this mailbox moves") {
            true => Err(io::Error::new(io::ErrorKind::PermissionDenied, text)),
            false => Ok(text),
        }
    }
}

/// Reads a line `* 1 FETCH (UID 7 FLAGS (\Seen) BODY[...] {40}...)`.
fn read(folder: &'static str, line: &str) -> Option<(String, Copy)> {
    let between = |start: &str, end: char| Some(line.split_once(start)?.1.split_once(end)?.0);
    let uid = between("UID ", ' ')?.trim_end_matches(')').parse().ok()?;
    let flags = between("FLAGS (", ')')?.split_whitespace().filter(|flag| *flag != "\\Recent").map(String::from);
    let header = |name: &str| {
        let found = line
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)))?;
        Some(found.1.trim().to_string())
    };
    let id = header("X-Lab-Id").or_else(|| header("Message-ID"))?;
    Some((id, Copy { folder, uid, flags: flags.collect() }))
}
