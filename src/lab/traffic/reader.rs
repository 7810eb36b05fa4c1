//! A user who reads by POP3.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::count::Copy;

/// What a user's program does with mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Downloads and deletes; on the old host as long as it can.
    Delete,
    /// Leaves mail on the server and downloads each unique id once; on the old host as long as it can.
    Leave,
    /// Leaves mail on the server, and knows the new host only.
    OnNew,
    /// Does not read by POP3: what arrives is counted where it lies.
    Other,
}

pub struct Reader {
    login: String,
    password: &'static str,
    habit: Habit,
    /// The unique ids that were downloaded.
    seen: BTreeSet<String>,
}

const LIMIT: Duration = Duration::from_secs(30);

impl Reader {
    pub fn new(login: String, password: &'static str, habit: Habit) -> Reader {
        Reader { login, password, habit, seen: BTreeSet::new() }
    }

    /// Downloads what is new into `copies`, which counts even where the session ends badly; `PermissionDenied` means that
    /// the host does not let the user in at present.
    pub async fn visit(&mut self, server: SocketAddr, copies: &mut Vec<Copy>) -> io::Result<()> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut session = Session { stream: BufReader::new(stream) };
        session.line().await?;
        session.ask(&format!("USER {}", self.login)).await?;
        session.ask(&format!("PASS {}", self.password)).await?;
        session.ask("UIDL").await?;
        let listed = String::from_utf8_lossy(&session.lines().await?).into_owned();
        for (number, uidl) in listed.lines().filter_map(|line| line.split_once(' ')) {
            if self.habit != Habit::Delete && !self.seen.insert(uidl.to_string()) {
                continue;
            }
            session.ask(&format!("RETR {number}")).await?;
            let mut text = session.lines().await?;
            // qmail-pop3d ends every message with an empty line of its own.
            if text.ends_with(b"\n\n") {
                text.pop();
            }
            copies.extend(Copy::read(&self.login, uidl, &text));
            if self.habit == Habit::Delete {
                session.ask(&format!("DELE {number}")).await?;
            }
        }
        session.ask("QUIT").await.map(|_| ())
    }
}

struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    async fn ask(&mut self, command: &str) -> io::Result<String> {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        self.line().await
    }

    /// Reads an answer's first line.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if tokio::time::timeout(LIMIT, self.stream.read_line(&mut line)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.starts_with("+OK") {
            true => Ok(line),
            false if line.contains("SYS/TEMP") => Err(io::Error::new(io::ErrorKind::PermissionDenied, line)),
            false => Err(io::Error::other(line)),
        }
    }

    /// Reads an answer's other lines, to the one with a dot.
    async fn lines(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let mut line = Vec::new();
            if tokio::time::timeout(LIMIT, self.stream.read_until(b'\n', &mut line)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
            if line == b"." {
                return Ok(text);
            }
            text.extend(line.strip_prefix(b".").unwrap_or(line));
            text.push(b'\n');
        }
    }
}
