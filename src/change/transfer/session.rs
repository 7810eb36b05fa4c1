//! A long-lived `sh` on one side of a move: it holds the locks, and every step of that side happens in it.

use std::collections::BTreeMap;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::transport::name::to_bytes;
use crate::transport::{Process, Transport, TransportError};

use super::maildir::{self, Scan};
use super::ustar;
use super::verbs::{Marker, Verbs, command, marker};

/// How long a shell that has closed its output may take to end.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

pub struct Session {
    pub host: String,
    process: Process,
    reader: BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
}

/// How many Maildirs are looked at by one verb.
const SCANNED: usize = 16;

impl Session {
    pub async fn start(host: &str, transport: &dyn Transport) -> Result<Session, TransportError> {
        let mut process = transport.open(&command(Verbs::default())?).await?;
        let stdout = std::mem::replace(&mut process.stdout, Box::new(tokio::io::empty()));
        Ok(Session { host: host.into(), process, reader: BufReader::with_capacity(64 * 1024, stdout) })
    }

    /// Sends a verb for a list, and returns the lines of its answers; nothing is asked about nothing.
    pub async fn ask(
        &mut self,
        verb: &str,
        items: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<String>, TransportError> {
        let mut verbs = Verbs::default();
        verbs.each(verb, &[], items);
        self.exchange(verbs).await
    }

    /// Sends verbs and returns the lines of all their answers.
    pub async fn exchange(&mut self, mut verbs: Verbs) -> Result<Vec<String>, TransportError> {
        let (count, bytes) = (verbs.count, verbs.bytes()?);
        let Session { process, reader, .. } = self;
        let answer = async {
            let (mut lines, mut left) = (Vec::new(), count);
            while left > 0 {
                match marker(&line(reader).await?)? {
                    Marker::Done => left -= 1,
                    Marker::Line(line) => lines.push(line),
                }
            }
            Ok(lines)
        };
        let write = async {
            process.stdin.write_all(bytes).await.map_err(ended)?;
            process.stdin.flush().await.map_err(ended)
        };
        match tokio::try_join!(write, answer) {
            Ok(((), lines)) => Ok(lines),
            Err(error) => Err(self.last_words(error).await),
        }
    }

    /// Adds what the shell said as it ended, if it has ended.
    async fn last_words(&mut self, error: TransportError) -> TransportError {
        let gone = Box::pin(std::future::ready(Ok((0, Vec::new()))));
        let end = std::mem::replace(&mut self.process.end, gone);
        let said = match tokio::time::timeout(LAST_WORDS, end).await {
            Ok(Ok((status, stderr))) => {
                format!(" (status {status}) {}", String::from_utf8_lossy(&stderr).trim_end())
            }
            _ => String::new(),
        };
        match self.named(error) {
            TransportError::Unreachable(why) => TransportError::Unreachable(why + said.trim_end()),
            TransportError::Uncertain(why) => TransportError::Uncertain(why + said.trim_end()),
            other => other,
        }
    }

    /// Looks at Maildirs, in order.
    pub async fn scan(&mut self, maildirs: &[&str]) -> Result<Vec<Scan>, TransportError> {
        let mut verbs = Verbs::default();
        for part in maildirs.chunks(SCANNED) {
            verbs.add("scan", part);
        }
        let scans = maildir::parse(&self.exchange(verbs).await?);
        match scans.len() == maildirs.len() {
            true => Ok(scans),
            false => Err(TransportError::Refused(format!("`{}`: the mail scan ended early", self.host))),
        }
    }

    /// Reads many files. `sink` is given each one's size and is to take that many bytes from the reader; a file that
    /// is gone is passed by.
    pub async fn send(&mut self, files: &[(String, u64)], sink: &mut dyn Sink) -> Result<(), TransportError> {
        let Session { process: Process { stdin, end, .. }, reader, .. } = self;
        let mut requests = Verbs::default();
        for part in files.chunks(PACK) {
            requests.add("send", part.iter().map(|(path, _)| path));
        }
        let requests = requests.bytes()?;
        let read = async {
            let mut buffer = vec![0; 64 * 1024];
            for (index, (path, size)) in files.iter().enumerate() {
                match line(reader).await?.as_slice() {
                    b"ok" => {
                        sink.begin(index).await?;
                        let mut left = *size as usize;
                        while left > 0 {
                            let limit = left.min(buffer.len());
                            let count = reader.read(&mut buffer[..limit]).await.map_err(ended)?;
                            if count == 0 {
                                return Err(cut(end, path).await);
                            }
                            sink.bytes(&buffer[..count]).await?;
                            left -= count;
                        }
                        if !line(reader).await?.is_empty() {
                            let why = format!("`{path}` changed while it was read; messages never do. Run it again");
                            return Err(TransportError::Refused(why));
                        }
                        sink.end(index).await?;
                    }
                    b"gone" => {}
                    b"denied" => return Err(TransportError::Refused(format!("`{path}` may not be read"))),
                    _ => return Err(TransportError::Refused(format!("unexpected answer for `{path}`"))),
                }
                if (index + 1) % PACK == 0 || index + 1 == files.len() {
                    done(reader).await?;
                }
            }
            Ok(())
        };
        tokio::try_join!(write(stdin, requests), read).map_err(|error| self.named(error))?;
        Ok(())
    }

    /// Reads many files of directories as [`Session::send`] does, from archives; says whether each arrived whole. If not, what
    /// `sink` got is not to be used.
    pub async fn unpack(&mut self, files: &[Packed], sink: &mut dyn Sink) -> Result<bool, TransportError> {
        let mut requests = Verbs::default();
        let groups = files.chunk_by(|one, other| one.directory == other.directory);
        let parts: Vec<&[Packed]> = groups.flat_map(|group| group.chunks(PACK)).collect();
        for part in &parts {
            // No name is taken for an option.
            let names = part.iter().map(|file| format!("./{}", file.name));
            requests.add("pack", std::iter::once(part[0].directory.clone()).chain(names));
        }
        let requests = requests.bytes()?;
        let Session { process: Process { stdin, .. }, reader, .. } = self;
        let read = async {
            let mut archives = Archives { reader, files, next: 0, whole: true };
            for part in &parts {
                archives.one(part.len(), sink).await?;
                done(archives.reader).await?;
            }
            Ok(archives.whole)
        };
        let ((), whole) = tokio::try_join!(write(stdin, requests), read).map_err(|error| self.named(error))?;
        Ok(whole)
    }

    /// Lets the locks go and waits until that has happened.
    pub async fn close(self) -> Result<(), TransportError> {
        let Session { process, mut reader, .. } = self;
        // A pipe ends only when it is dropped.
        drop(process.stdin);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.map_err(ended)?;
        process.end.await?;
        Ok(())
    }

    fn named(&self, error: TransportError) -> TransportError {
        match error {
            TransportError::Unreachable(why) => TransportError::Unreachable(format!("`{}`: {why}", self.host)),
            TransportError::Uncertain(why) => TransportError::Uncertain(format!("`{}`: {why}", self.host)),
            TransportError::Refused(why) => TransportError::Refused(format!("`{}`: {why}", self.host)),
            other => other,
        }
    }
}

/// A file for [`Session::unpack`].
pub struct Packed {
    pub directory: String,
    pub name: String,
    pub size: u64,
}

/// How many files the mover puts into one archive, or sends for one verb.
const PACK: usize = 400;

async fn write(stdin: &mut (impl tokio::io::AsyncWrite + Unpin), requests: &[u8]) -> Result<(), TransportError> {
    // A mover that has ended reads no more; what it said before tells why.
    if stdin.write_all(requests).await.is_ok() {
        let _ = stdin.flush().await;
    }
    Ok(())
}

/// Reads the end of an answer.
async fn done(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Result<(), TransportError> {
    match marker(&line(reader).await?)? {
        Marker::Done => Ok(()),
        Marker::Line(line) => Err(TransportError::Refused(format!("unexpected answer `{line}`"))),
    }
}

/// Archives that come one after another.
struct Archives<'a, R> {
    reader: &'a mut R,
    files: &'a [Packed],
    /// The first file that is in none of those that came.
    next: usize,
    whole: bool,
}

impl<R: tokio::io::AsyncBufRead + Unpin> Archives<'_, R> {
    /// Reads the one with the next `count` files, and the status of its `tar`.
    async fn one(&mut self, count: usize, sink: &mut dyn Sink) -> Result<(), TransportError> {
        let wanted = self.next..self.next + count;
        self.next = wanted.end;
        let files = self.files;
        let by_name = wanted.map(|index| (to_bytes(&files[index].name).into_owned(), index));
        let mut missing: BTreeMap<Vec<u8>, usize> = by_name.collect();
        let mut long_name = None;
        loop {
            match self.reader.fill_buf().await.map_err(ended)? {
                [] => return Err(ended("the connection ended")),
                // What fills up the end of an archive.
                [0, rest @ ..] => {
                    let zeros = 1 + rest.iter().take_while(|byte| **byte == 0).count();
                    self.reader.consume(zeros);
                }
                [b'\n', ..] => break,
                _ => {
                    let mut block = [0; ustar::BLOCK];
                    self.reader.read_exact(&mut block).await.map_err(ended)?;
                    let entry = ustar::read(&block).ok_or_else(|| ended("the archive is damaged"))?;
                    if entry.kind == b'L' {
                        let mut name = vec![0; entry.size.min(1 << 16) as usize];
                        self.reader.read_exact(&mut name).await.map_err(ended)?;
                        self.skip(ustar::padding(entry.size).len() as u64).await?;
                        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                        long_name = Some(name);
                        continue;
                    }
                    let name = long_name.take().unwrap_or(entry.name);
                    let name = name.strip_prefix(b"./").unwrap_or(&name);
                    let index = missing.remove(name).filter(|index| files[*index].size == entry.size);
                    self.whole &= index.is_some() && entry.kind == b'0';
                    match index.filter(|_| self.whole) {
                        Some(index) => self.file(index, sink).await?,
                        None => self.skip(entry.size).await?,
                    }
                    self.skip(ustar::padding(entry.size).len() as u64).await?;
                }
            }
        }
        let (empty, status) = (line(self.reader).await?, line(self.reader).await?);
        self.whole &= empty.is_empty() && status == b"\x1e0" && missing.is_empty();
        Ok(())
    }

    async fn file(&mut self, index: usize, sink: &mut dyn Sink) -> Result<(), TransportError> {
        sink.begin(index).await?;
        let mut left = self.files[index].size as usize;
        while left > 0 {
            let bytes = self.reader.fill_buf().await.map_err(ended)?;
            if bytes.is_empty() {
                return Err(ended("the end came inside a message"));
            }
            let count = left.min(bytes.len());
            sink.bytes(&bytes[..count]).await?;
            self.reader.consume(count);
            left -= count;
        }
        sink.end(index).await
    }

    async fn skip(&mut self, size: u64) -> Result<(), TransportError> {
        let mut left = size as usize;
        while left > 0 {
            let count = self.reader.fill_buf().await.map_err(ended)?.len().min(left);
            if count == 0 {
                return Err(ended("the end came inside a message"));
            }
            self.reader.consume(count);
            left -= count;
        }
        Ok(())
    }
}

/// Takes files as they arrive.
#[async_trait::async_trait]
pub trait Sink: Send {
    async fn begin(&mut self, index: usize) -> Result<(), TransportError>;
    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), TransportError>;
    async fn end(&mut self, index: usize) -> Result<(), TransportError>;
}

/// Returns why a file ended before its size: the mover's own status says that it could not be read further.
async fn cut(end: &mut End, path: &str) -> TransportError {
    match end.as_mut().await {
        // Asked for again when the session is closed.
        Ok((UNREADABLE, said)) => {
            *end = Box::pin(std::future::ready(Ok((UNREADABLE, said))));
            TransportError::Refused(format!("`{path}` cannot be read to its end; the host's disk may be failing"))
        }
        other => {
            *end = Box::pin(std::future::ready(other));
            ended("the end came inside a message")
        }
    }
}

type End = futures::future::BoxFuture<'static, Result<(i32, Vec<u8>), TransportError>>;

/// The status with which the mover ends when a file that it has begun to send gives an error.
const UNREADABLE: i32 = 5;

async fn line(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Result<Vec<u8>, TransportError> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).await.map_err(ended)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        _ => Err(ended("the connection ended")),
    }
}

fn ended(why: impl ToString) -> TransportError {
    TransportError::Uncertain(format!("the move was cut off: {}; run it again to go on", why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::verbs::MARK;
    use super::*;
    use crate::transport::local;

    struct Nowhere;

    #[async_trait::async_trait]
    impl Sink for Nowhere {
        async fn begin(&mut self, _: usize) -> Result<(), TransportError> {
            Ok(())
        }
        async fn bytes(&mut self, _: &[u8]) -> Result<(), TransportError> {
            Ok(())
        }
        async fn end(&mut self, _: usize) -> Result<(), TransportError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_an_error_and_one_that_is_gone_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        // No reader can open a socket, and none can read a directory that it has opened.
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::fs::write(path("file"), "12345").unwrap();
        let machine = local::local(None).await.unwrap();
        for (name, expected) in [("socket", "may not be read"), ("", "cannot be read to its end")] {
            let mut session = Session::start("old", &*machine).await.unwrap();
            let files = [(path("gone"), 3), (path("file"), 5), (path(name), 5), (path("file"), 5)];
            let error = session.send(&files, &mut Nowhere).await.unwrap_err();
            assert!(matches!(&error, TransportError::Refused(why) if why.contains(expected)), "{error:?}");
            let _ = session.close().await;
        }
    }

    /// Keeps what it is given.
    #[derive(Default)]
    struct Kept(BTreeMap<usize, Vec<u8>>);

    #[async_trait::async_trait]
    impl Sink for Kept {
        async fn begin(&mut self, index: usize) -> Result<(), TransportError> {
            assert!(self.0.insert(index, Vec::new()).is_none());
            Ok(())
        }
        async fn bytes(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
            self.0.values_mut().next_back().unwrap().extend(bytes);
            Ok(())
        }
        async fn end(&mut self, _: usize) -> Result<(), TransportError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn archives_have_each_file_whole_under_any_name_or_say_that_they_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let machine = local::local(None).await.unwrap();
        let mut session = Session::start("old", &*machine).await.unwrap();
        let names = ["-rf", "--checkpoint-action=exec=touch bad", "a b\\c:2,S", &"long".repeat(60), "\u{fc}\t'\"$x"];
        let mut files = Vec::new();
        for (number, part) in (0..450).zip(["one", "two"].into_iter().cycle()) {
            let from = directory.path().join(part);
            std::fs::create_dir_all(&from).unwrap();
            let name = format!("{number}{}", names[number % names.len()]);
            let name = if number < 5 { names[number].to_string() } else { name };
            let body = format!("text {number}\n").repeat(number * 7 % 300);
            std::fs::write(from.join(&name), &body).unwrap();
            files.push(Packed { directory: from.display().to_string(), name, size: body.len() as u64 });
        }
        files.sort_by(|one, other| one.directory.cmp(&other.directory));
        let mut kept = Kept::default();
        assert!(session.unpack(&files, &mut kept).await.unwrap());
        for (index, file) in files.iter().enumerate() {
            let there = std::fs::read(std::path::Path::new(&file.directory).join(&file.name)).unwrap();
            assert!(kept.0[&index] == there, "{}", file.name);
        }
        assert!(!directory.path().join("one/bad").exists());
        // Gone, of another size, a second name of another, no file: the session goes on all the same.
        let path = |index: usize| std::path::Path::new(&files[index].directory).join(&files[index].name);
        let broken: [&dyn Fn(); 3] = [
            &|| std::fs::write(path(3), "another text, longer than it was before").unwrap(),
            &|| {
                std::fs::remove_file(path(3)).unwrap();
                std::fs::hard_link(path(4), path(3)).unwrap();
            },
            &|| std::fs::remove_file(path(3)).unwrap(),
        ];
        for break_it in broken {
            break_it();
            assert!(!session.unpack(&files, &mut Kept::default()).await.unwrap());
        }
        assert!(session.unpack(&files[4..], &mut Kept::default()).await.unwrap());
        session.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_list_that_was_cut_off_is_not_done_in_part() {
        let directory = tempfile::tempdir().unwrap();
        let machine = local::local(None).await.unwrap();
        let path = directory.path().display().to_string();
        let inside = format!("{path}/inside");
        std::fs::write(&inside, "").unwrap();
        // A block that is read by the shell, and one that a program reads.
        for before in [0, 30] {
            let mut whole = Verbs::default();
            whole.each("digest", &[], vec![format!("{path}/{:040}", 0); before]);
            whole.add("remove", [&inside]);
            let bytes = whole.bytes().unwrap().to_vec();
            // What misses no more than its last line feed is whole.
            for length in (0..bytes.len() - 1).rev().take(120) {
                let mut cut = command(Verbs::default()).unwrap();
                cut.stdin = bytes[..length].to_vec();
                machine.run(&cut).await.unwrap();
                assert!(std::path::Path::new(&inside).exists(), "{length}");
            }
            machine.run(&command(whole).unwrap()).await.unwrap();
            assert!(directory.path().exists() && !std::path::Path::new(&inside).exists());
            std::fs::write(&inside, "").unwrap();
        }
    }

    #[tokio::test]
    async fn a_name_that_would_end_its_list_is_refused_and_nothing_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let machine = local::local(None).await.unwrap();
        let mut session = Session::start("new", machine.as_ref()).await.unwrap();
        let kept = directory.path().join("kept");
        std::fs::write(&kept, "").unwrap();
        let odd = format!("/nowhere/{MARK}remove\n{}", kept.display());
        let error = session.ask("stat", [kept.to_str().unwrap(), &odd]).await.unwrap_err();
        assert!(error.to_string().contains("record separator"), "{error}");
        assert!(kept.exists());
        session.close().await.unwrap();
    }

    #[tokio::test]
    async fn directories_take_the_places_of_empty_ones_and_leave_alone_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["part/new", "part/cur", "x/new", "x/cur"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["part/new/1", "part/new/2", "part/cur/3", "part/cur/4", "x/cur/.stray", "x/cur/4"] {
            std::fs::write(at(path), path).unwrap();
        }
        let machine = local::local(None).await.unwrap();
        let mut session = Session::start("new", machine.as_ref()).await.unwrap();
        let mut verbs = Verbs::default();
        let trees = ["part", "x"].map(|path| at(path).display().to_string());
        verbs.each("adopt", &[&trees[0], &trees[1]], ["new", "cur"]);
        session.exchange(verbs).await.unwrap();
        session.close().await.unwrap();
        let text = |path: &str| std::fs::read_to_string(at(path)).unwrap_or_default();
        assert_eq!([text("x/new/1"), text("x/new/2"), text("x/cur/3")], ["part/new/1", "part/new/2", "part/cur/3"]);
        assert_eq!([text("x/cur/4"), text("x/cur/.stray")], ["x/cur/4", "x/cur/.stray"]);
        assert_eq!(text("part/cur/4"), "part/cur/4");
        assert!(!at("part/new").exists());
    }

    #[tokio::test]
    async fn of_many_movers_one_at_most_has_the_lock_and_what_a_dead_one_left_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let x = directory.path().join("x").display().to_string();
        let machine = local::local(None).await.unwrap();
        for _ in 0..3 {
            std::fs::create_dir_all(format!("{x}/lock")).unwrap();
            std::fs::write(format!("{x}/lock/999999.1.nowhere"), "").unwrap();
            let mut sessions = Vec::new();
            for _ in 0..6 {
                sessions.push(Session::start("old", &*machine).await.unwrap());
            }
            let answers = sessions.iter_mut().map(|session| session.ask("lock", [&x]));
            let answers = futures::future::try_join_all(answers).await.unwrap();
            let (got, busy): (Vec<_>, Vec<_>) = answers.into_iter().partition(Vec::is_empty);
            assert!(got.len() <= 1, "{} movers have the lock", got.len());
            assert!(busy.iter().all(|lines| lines[0].starts_with("busy ")), "{busy:?}");
            for session in sessions {
                session.close().await.unwrap();
            }
            let mut next = Session::start("old", &*machine).await.unwrap();
            assert_eq!(next.ask("lock", [&x]).await.unwrap(), Vec::<String>::new());
            next.close().await.unwrap();
            assert!(!std::path::Path::new(&x).exists(), "the lock is given back");
        }
    }
}
