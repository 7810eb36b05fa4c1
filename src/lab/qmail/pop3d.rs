//! qmail-popup, checkpassword and qmail-pop3d: one session on stdin and stdout.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::modules::mail::qmail::{contains, decode};

use super::{Home, password};

/// How long a file of `tmp` may lie there unread.
const STALE: Duration = Duration::from_secs(36 * 3600);

/// One message as a session sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    /// Below the Maildir: `new/NAME` or `cur/NAME:2,S`.
    path: String,
    size: u64,
    is_deleted: bool,
}

impl Message {
    /// The unique id: the name up to its `:`.
    fn uidl(&self) -> &str {
        let name = &self.path[4..];
        name.split(':').next().unwrap_or(name)
    }

    /// Where a QUIT puts it, if it stays: what was in `new` is then in `cur`, read or not.
    fn settled(&self) -> Option<String> {
        self.path.strip_prefix("new/").map(|name| match name.contains(':') {
            true => format!("cur/{name}"),
            false => format!("cur/{name}:2,"),
        })
    }
}

/// Lists `new` and `cur` as qmail-pop3d does once at the login: no dot files, by time of modification, and nothing of
/// this second or later.
fn list(maildir: &Path, now: SystemTime) -> io::Result<Vec<Message>> {
    let mut found = Vec::new();
    for part in ["new", "cur"] {
        for entry in fs::read_dir(maildir.join(part))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(about) = entry.metadata() else { continue };
            if !name.starts_with('.') && about.mtime() < seconds(now) {
                found.push((
                    about.mtime(),
                    Message { path: format!("{part}/{name}"), size: about.len(), is_deleted: false },
                ));
            }
        }
    }
    found.sort_by(|left, right| (left.0, &left.1.path[4..]).cmp(&(right.0, &right.1.path[4..])));
    Ok(found.into_iter().map(|(_, message)| message).collect())
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

/// Unlinks what nobody has read in `tmp` for a day and a half.
fn clean(maildir: &Path, now: SystemTime) {
    for entry in fs::read_dir(maildir.join("tmp")).into_iter().flatten().flatten() {
        let read = entry.metadata().and_then(|about| about.accessed());
        if read.is_ok_and(|read| now.duration_since(read).is_ok_and(|age| age > STALE)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Serves one session: logs in, then as root goes on as the mailbox's user.
pub fn session(home: &Home) -> io::Result<()> {
    let Some((login, maildir)) = log_in(home, &mut stdin()?, &mut io::stdout())? else { return Ok(()) };
    let owner = fs::metadata(&maildir)?;
    if rustix::process::geteuid().is_root() && owner.uid() != 0 {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["lab", "qmail-pop3d"]).arg(home.path("")).args(["--as", &login]);
        command.uid(owner.uid()).gid(owner.gid());
        // No byte of stdin has been read ahead: it is the mailbox's session now.
        return Err(command.as_std_mut().exec());
    }
    enter(home, &login)
}

/// Returns stdin without a buffer: what is not read yet is there for the next program.
fn stdin() -> io::Result<fs::File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Serves the session of one who has logged in.
pub fn enter(home: &Home, login: &str) -> io::Result<()> {
    // No stream of `anstream`, which would take control characters out of messages.
    let (mut input, mut output) = (io::BufReader::new(stdin()?), io::stdout());
    let maildir = maildir(home, login).ok_or(io::ErrorKind::InvalidInput)?;
    // Whoever waits for the last session sees it by its working directory, before it sees that logins are closed.
    std::env::set_current_dir(&maildir)?;
    if is_closed(home, login) {
        return say(&mut output, CLOSED);
    }
    say(&mut output, "+OK ")?;
    Mailbox::open(&maildir)?.serve(&mut input, &mut output)
}

const CLOSED: &str = "-ERR [SYS/TEMP] this mailbox is being moved, try again later";

/// Says whether logins to an address's domain are closed.
fn is_closed(home: &Home, login: &str) -> bool {
    let closed = fs::read(home.path("active/closed")).unwrap_or_default();
    login.rsplit_once('@').is_some_and(|(_, domain)| contains(&decode(&closed), domain))
}

/// Returns the Maildir of `USER@DOMAIN`: `mailnames/DOMAIN/USER/Maildir`.
fn maildir(home: &Home, login: &str) -> Option<PathBuf> {
    let (user, domain) = login.rsplit_once('@')?;
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
    let path = home.path("mailnames").join(domain.to_ascii_lowercase()).join(user.to_ascii_lowercase());
    (plain(user) && plain(domain)).then(|| path.join("Maildir"))
}

/// Asks for user and password; nothing if the session ends before both are right.
fn log_in(home: &Home, input: &mut impl Read, output: &mut impl Write) -> io::Result<Option<(String, PathBuf)>> {
    say(output, &format!("+OK <{}.{}@{}>", std::process::id(), seconds(SystemTime::now()), home.line("me")?))?;
    let mut login = String::new();
    while let Some(line) = unbuffered_line(input)? {
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_lowercase().as_str() {
            "user" if argument.is_empty() => say(output, "-ERR syntax error")?,
            "user" => {
                login = argument.to_string();
                say(output, "+OK ")?;
            }
            "pass" if login.is_empty() => say(output, "-ERR USER first")?,
            "pass" => {
                let known = decode(&fs::read(home.path("users/poppasswd")).unwrap_or_default());
                let maildir = maildir(home, &login).filter(|path| path.is_dir());
                if is_closed(home, &login) {
                    say(output, CLOSED)?;
                    return Ok(None);
                }
                match maildir {
                    Some(maildir) if password::is_right(&known, &login, argument) => return Ok(Some((login, maildir))),
                    _ => say(output, "-ERR authorization failed")?,
                }
                return Ok(None);
            }
            "quit" => {
                say(output, "+OK ")?;
                return Ok(None);
            }
            _ => say(output, "-ERR authorization first")?,
        }
    }
    Ok(None)
}

/// Reads a line byte by byte, so that what follows it is left to the next program.
fn unbuffered_line(input: &mut impl Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while input.read(&mut byte)? == 1 {
        if byte[0] == b'\n' {
            return Ok(Some(decode(&line).trim_end_matches('\r').to_string()));
        }
        line.push(byte[0]);
    }
    Ok(None)
}

fn say(output: &mut impl Write, line: &str) -> io::Result<()> {
    output.write_all(format!("{line}\r\n").as_bytes())?;
    output.flush()
}

/// An open mailbox: the listing of the login, whatever others do since.
struct Mailbox {
    maildir: PathBuf,
    messages: Vec<Message>,
    last: usize,
}

impl Mailbox {
    fn open(maildir: &Path) -> io::Result<Mailbox> {
        let now = SystemTime::now();
        clean(maildir, now);
        Ok(Mailbox { maildir: maildir.into(), messages: list(maildir, now)?, last: 0 })
    }

    fn serve(&mut self, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
        let mut line = Vec::new();
        // Without QUIT nothing is deleted and nothing is moved.
        while input.read_until(b'\n', &mut line)? > 0 {
            let text = decode(&line);
            let (verb, argument) = text.trim_end_matches(['\r', '\n']).split_once(' ').unwrap_or((text.trim_end(), ""));
            let verb = verb.to_ascii_lowercase();
            let answer = self.answer(&verb, argument.trim());
            output.write_all(&answer.unwrap_or_else(|error| format!("-ERR {error}\r\n").into_bytes()))?;
            output.flush()?;
            if verb == "quit" {
                break;
            }
            line.clear();
        }
        Ok(())
    }

    fn answer(&mut self, verb: &str, argument: &str) -> Result<Vec<u8>, &'static str> {
        const OK: &[u8] = b"+OK \r\n";
        match verb {
            "stat" => {
                let left = self.messages.iter().filter(|message| !message.is_deleted);
                let (count, bytes) = left.fold((0, 0), |sum, message| (sum.0 + 1, sum.1 + message.size));
                Ok(format!("+OK {count} {bytes}\r\n").into_bytes())
            }
            "list" => self.listing(argument, |message| message.size.to_string()),
            "uidl" => self.listing(argument, |message| message.uidl().to_string()),
            "retr" => self.text(argument, None),
            "top" => {
                let (number, lines) = argument.split_once(' ').ok_or("syntax error")?;
                self.text(number, Some(lines.trim().parse().map_err(|_| "syntax error")?))
            }
            "dele" => {
                let index = self.index(argument)?;
                self.messages[index].is_deleted = true;
                self.last = self.last.max(index + 1);
                Ok(OK.into())
            }
            "rset" => {
                self.messages.iter_mut().for_each(|message| message.is_deleted = false);
                self.last = 0;
                Ok(OK.into())
            }
            "last" => Ok(format!("+OK {}\r\n", self.last).into_bytes()),
            "noop" => Ok(OK.into()),
            "quit" => self.quit().map(|()| OK.into()),
            _ => Err("unimplemented"),
        }
    }

    fn index(&self, argument: &str) -> Result<usize, &'static str> {
        let number: usize = argument.parse().map_err(|_| "syntax error")?;
        let index = number.checked_sub(1).ok_or("messages are counted from 1")?;
        match self.messages.get(index) {
            None => Err("not that many messages"),
            Some(message) if message.is_deleted => Err("already deleted"),
            Some(_) => Ok(index),
        }
    }

    fn listing(&self, argument: &str, of: impl Fn(&Message) -> String) -> Result<Vec<u8>, &'static str> {
        if !argument.is_empty() {
            let index = self.index(argument)?;
            return Ok(format!("+OK {} {}\r\n", index + 1, of(&self.messages[index])).into_bytes());
        }
        let mut text = "+OK \r\n".to_string();
        for (index, message) in self.messages.iter().enumerate().filter(|(_, message)| !message.is_deleted) {
            text += &format!("{} {}\r\n", index + 1, of(message));
        }
        Ok((text + ".\r\n").into_bytes())
    }

    /// Returns a message, or its header and so many lines of its body.
    fn text(&mut self, argument: &str, lines: Option<usize>) -> Result<Vec<u8>, &'static str> {
        let index = self.index(argument)?;
        let text =
            fs::read(self.maildir.join(&self.messages[index].path)).map_err(|_| "unable to open that message")?;
        self.last = self.last.max(index + 1);
        let mut answer = b"+OK \r\n".to_vec();
        let mut left = None;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match (&mut left, lines) {
                (Some(0), Some(_)) => break,
                (Some(left), Some(_)) => *left -= 1,
                (None, _) if line == b"\n" => left = Some(lines.unwrap_or(0)),
                _ => {}
            }
            if line.starts_with(b".") {
                answer.push(b'.');
            }
            answer.extend(line.strip_suffix(b"\n").unwrap_or(line));
            answer.extend(b"\r\n");
        }
        // As qmail-pop3d: an empty line ends every message.
        answer.extend(b"\r\n.\r\n");
        Ok(answer)
    }

    /// Unlinks what is deleted, and moves whatever else was in `new` to `cur`.
    fn quit(&self) -> Result<(), &'static str> {
        let mut ended = Ok(());
        for message in &self.messages {
            let path = self.maildir.join(&message.path);
            if message.is_deleted {
                if fs::remove_file(path).is_err() {
                    ended = Err("unable to unlink all deleted messages");
                }
            } else if let Some(settled) = message.settled() {
                let _ = fs::rename(path, self.maildir.join(settled));
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::home;
    use super::*;

    /// A Maildir whose files are so many seconds old.
    fn maildir(files: &[(&str, i64)]) -> (tempfile::TempDir, PathBuf) {
        let (directory, _) = home(&[]);
        let path = directory.path().to_path_buf();
        ["new", "cur", "tmp", "x"].iter().for_each(|part| fs::create_dir(path.join(part)).unwrap());
        let now = seconds(SystemTime::now());
        for (name, age) in files {
            fs::write(path.join(name), format!("Subject: {name}\n\nfirst\n.second\n")).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs((now - age) as u64);
            fs::File::options()
                .write(true)
                .open(path.join(name))
                .unwrap()
                .set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))
                .unwrap();
        }
        (directory, path)
    }

    fn say_all(mailbox: &mut Mailbox, lines: &str) -> String {
        let mut output = Vec::new();
        mailbox.serve(&mut io::Cursor::new(lines.replace('\n', "\r\n")), &mut output).unwrap();
        String::from_utf8(output).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn the_listing_is_by_time_without_dot_files_the_future_and_other_directories() {
        let files = [
            ("cur/b:2,S", 50),
            ("new/a", 10),
            ("new/c", 99),
            ("new/.d", 9),
            ("new/future", -60),
            ("new/now", 0),
            ("x/e", 9),
        ];
        let (_directory, path) = maildir(&files);
        let mut mailbox = Mailbox::open(&path).unwrap();
        let said = say_all(&mut mailbox, "UIDL\nUIDL 2\nSTAT\nLIST 3\n");
        assert_eq!(said, "+OK \n1 c\n2 b\n3 a\n.\n+OK 2 b\n+OK 3 94\n+OK 3 30\n");
    }

    #[test]
    fn quit_unlinks_what_is_deleted_and_moves_all_else_from_new_to_cur() {
        let (_directory, path) = maildir(&[("new/a", 90), ("new/b", 80), ("cur/c:2,S", 70)]);
        let mut mailbox = Mailbox::open(&path).unwrap();
        assert_eq!(
            say_all(&mut mailbox, "DELE 1\nRETR 1\nSTAT\nQUIT\n"),
            "+OK \n-ERR already deleted\n+OK 2 64\n+OK \n"
        );
        assert!(!path.join("new/a").exists() && path.join("cur/b:2,").exists() && path.join("cur/c:2,S").exists());
        // Another session has deleted it meanwhile.
        let mut mailbox = Mailbox::open(&path).unwrap();
        fs::remove_file(path.join("cur/b:2,")).unwrap();
        assert_eq!(say_all(&mut mailbox, "DELE 1\nQUIT\n"), "+OK \n-ERR unable to unlink all deleted messages\n");
    }

    #[test]
    fn without_quit_nothing_is_deleted_or_moved() {
        let (_directory, path) = maildir(&[("new/a", 90)]);
        say_all(&mut Mailbox::open(&path).unwrap(), "DELE 1\n");
        assert!(path.join("new/a").exists());
    }

    #[test]
    fn a_message_that_cannot_be_read_is_listed_and_can_be_deleted() {
        let (_directory, path) = maildir(&[("new/a", 90)]);
        let mut mailbox = Mailbox::open(&path).unwrap();
        // For root every file can be read: what cannot be is a directory.
        fs::remove_file(path.join("new/a")).unwrap();
        fs::create_dir(path.join("new/a")).unwrap();
        assert_eq!(say_all(&mut mailbox, "LIST 1\nRETR 1\n"), "+OK 1 30\n-ERR unable to open that message\n");
    }

    #[test]
    fn a_message_is_sent_with_dots_doubled_and_top_has_so_many_lines() {
        let (_directory, path) = maildir(&[("new/a", 90)]);
        let mut mailbox = Mailbox::open(&path).unwrap();
        let said = say_all(&mut mailbox, "RETR 1\nTOP 1 1\nTOP 1 0\nRETR 2\nRETR x\n");
        let whole = "+OK \nSubject: new/a\n\nfirst\n..second\n\n.\n";
        let expected = "+OK \nSubject: new/a\n\nfirst\n\n.\n+OK \nSubject: new/a\n\n\n.\n-ERR not that many messages\n-ERR syntax error\n";
        assert_eq!(said, format!("{whole}{expected}"));
    }

    #[test]
    fn what_nobody_read_in_tmp_for_a_day_and_a_half_goes() {
        let (_directory, path) = maildir(&[("tmp/old", 37 * 3600), ("tmp/young", 35 * 3600)]);
        Mailbox::open(&path).unwrap();
        assert!(!path.join("tmp/old").exists() && path.join("tmp/young").exists());
    }

    #[test]
    fn a_login_needs_the_password_and_an_open_domain() {
        let files = [
            ("control/me", "old.example\n"),
            ("users/poppasswd", "ann@example.com:secret\nbob@example.net:secret\n../x@example.com:secret\n"),
            ("mailnames/example.com/ann/Maildir/maildirsize", ""),
            ("mailnames/example.net/bob/Maildir/maildirsize", ""),
            ("active/closed", "EXAMPLE.net\n"),
        ];
        let (_directory, home) = home(&files);
        let rows = [
            ("USER ann@example.com\r\nPASS secret\r\nSTAT\r\n", "", true),
            ("USER ann@example.com\nPASS wrong\n", "-ERR authorization failed\r\n", false),
            ("USER bob@example.net\nPASS secret\n", "-ERR [SYS/TEMP]", false),
            ("USER ../x@example.com\nPASS secret\n", "-ERR authorization failed\r\n", false),
            ("STAT\nPASS x\nQUIT\n", "-ERR authorization first\r\n-ERR USER first\r\n+OK \r\n", false),
        ];
        for (lines, expected, enters) in rows {
            let (mut input, mut output) = (io::Cursor::new(lines), Vec::new());
            let found = log_in(&home, &mut input, &mut output).unwrap();
            let said = String::from_utf8(output).unwrap();
            assert!(said.contains(expected) && found.is_some() == enters, "{lines}: {said}");
            let rest = &lines[input.position() as usize..];
            assert!(!enters || rest == "STAT\r\n", "the session's own commands are read ahead: {rest}");
        }
    }
}
