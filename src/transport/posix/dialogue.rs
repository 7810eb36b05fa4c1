//! What is said before a started program's own output begins: greetings, which are passed over, and questions for a
//! password, which are answered once.

use std::io::Cursor;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::becoming::Method;
use super::launch::find;
use crate::transport::Become;
use crate::transport::name::{from_bytes, to_bytes};

pub type Input = Box<dyn AsyncWrite + Send + Unpin>;
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// How long a line without an end must stay so to be a question in words that are not known.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the other streams of a program are heard after one has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A stream up to its marker.
pub struct Ear {
    stream: Source,
    heard: Vec<u8>,
    ended: bool,
}

/// Why the streams did not come to their markers.
#[derive(Debug)]
pub enum Unready {
    /// What was said before the program ended.
    Ended(String),
    /// What was said before the time was over.
    Silent(String),
    /// The error for a question that has no answer here.
    Asked(String),
}

impl Ear {
    pub fn new(stream: Source) -> Ear {
        Ear { stream, heard: Vec::new(), ended: false }
    }

    /// Returns the stream from here.
    pub fn into_stream(self) -> Source {
        Box::new(Cursor::new(self.heard).chain(self.stream))
    }

    /// Waits for more, without losing any if it is not waited for to the end.
    async fn hear(&mut self) {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk).await {
            Ok(length) if length > 0 => self.heard.extend_from_slice(&chunk[..length]),
            _ => self.ended = true,
        }
    }

    /// Returns where the marker begins and where its line ends, once it was heard whole.
    fn marker(&self, marker: &str) -> Option<(usize, usize)> {
        let begin = find(&self.heard, marker.as_bytes())?;
        let length = self.heard[begin..].iter().position(|byte| *byte == b'\n')?;
        Some((begin, begin + length))
    }

    /// Takes what was heard up to the marker's line off, and returns what that line carries.
    fn pass(&mut self, marker: &str) -> Option<String> {
        let (begin, end) = self.marker(marker)?;
        let word = from_bytes(&self.heard[begin + marker.len()..end]).trim_end().to_string();
        self.heard.drain(..=end);
        Some(word)
    }

    /// Hears this stream alone up to the marker. Fails with what was said.
    pub async fn pass_alone(&mut self, marker: &str) -> Result<(), String> {
        while self.pass(marker).is_none() {
            if self.ended {
                return Err(self.said());
            }
            self.hear().await;
        }
        Ok(())
    }

    /// Returns what was heard up to the first marker, as text.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.heard).replace('\r', "");
        text.split('\x1e').next().unwrap_or_default().trim().to_string()
    }

    /// Returns the last line, if it has no end.
    fn open_line(&self) -> String {
        let begin = self.heard.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        String::from_utf8_lossy(&self.heard[begin..]).trim().to_string()
    }
}

/// The streams of one program that is being started.
pub struct Ears {
    pub stdout: Ear,
    pub stderr: Ear,
    pub terminal: Ear,
    /// When the wait is given up.
    pub until: Option<Instant>,
}

impl Ears {
    /// Hears two streams, without a terminal and for as long as it takes.
    pub fn of(stdout: Source, stderr: Source) -> Ears {
        let terminal = Ear { ended: true, ..Ear::new(Box::new(tokio::io::empty())) };
        Ears { stdout: Ear::new(stdout), stderr: Ear::new(stderr), terminal, until: None }
    }

    /// Hears both streams up to the marker, answering what `answers` can, and returns what the marker's line carries.
    pub async fn pass(&mut self, marker: &str, mut answers: Option<&mut Answers<'_>>) -> Result<String, Unready> {
        loop {
            let ready = |ear: &Ear| ear.marker(marker).is_some();
            if ready(&self.stdout) && ready(&self.stderr) {
                self.stderr.pass(marker);
                return Ok(self.stdout.pass(marker).unwrap_or_default());
            }
            if self.lost(marker) {
                let _ = tokio::time::timeout(LAST_WORDS, self.hear_out()).await;
                return Err(Unready::Ended(self.said()));
            }
            let mut pause = None;
            if let Some(answers) = answers.as_deref_mut() {
                let mut asked = false;
                for ear in [&mut self.terminal, &mut self.stderr, &mut self.stdout] {
                    if ear.marker(marker).is_none() && !ear.heard.is_empty() {
                        asked |= answers.consider(ear, Heard::Now).await.map_err(Unready::Asked)?;
                        pause = pause.or(looks_asked(&ear.open_line()).then(|| Instant::now() + PAUSE));
                    }
                }
                if asked {
                    continue;
                }
            }
            match self.hear(marker, pause).await {
                Some(()) => {}
                None if self.until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(Unready::Silent(self.said()));
                }
                None => {
                    let Some(answers) = answers.as_deref_mut() else { continue };
                    for ear in [&mut self.terminal, &mut self.stderr, &mut self.stdout] {
                        answers.consider(ear, Heard::LongAgo).await.map_err(Unready::Asked)?;
                    }
                }
            }
        }
    }

    /// Waits for the next bytes. `None`: there were none in time.
    async fn hear(&mut self, marker: &str, pause: Option<Instant>) -> Option<()> {
        let ready = |ear: &Ear| ear.ended || ear.marker(marker).is_some();
        let (stdout, stderr, terminal) = (&mut self.stdout, &mut self.stderr, &mut self.terminal);
        let end = match (pause, self.until) {
            (Some(pause), Some(until)) => Some(pause.min(until)),
            (pause, until) => pause.or(until),
        };
        let timer = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stdout.hear(), if !ready(stdout) => Some(()),
            () = stderr.hear(), if !ready(stderr) => Some(()),
            () = terminal.hear(), if !terminal.ended => Some(()),
            () = timer => None,
        }
    }

    /// Says whether a marker will not come any more.
    fn lost(&self, marker: &str) -> bool {
        [&self.stdout, &self.stderr].iter().any(|ear| ear.ended && ear.marker(marker).is_none())
    }

    async fn hear_out(&mut self) {
        for ear in [&mut self.stdout, &mut self.stderr, &mut self.terminal] {
            while !ear.ended {
                ear.hear().await;
            }
        }
    }

    /// Returns all that was heard, as text.
    fn said(&self) -> String {
        let texts = [&self.stderr, &self.terminal, &self.stdout].map(Ear::said);
        texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Now,
    LongAgo,
}

/// The password, and whether it was given.
pub struct Answers<'a> {
    user: &'a Become,
    method: &'static Method,
    /// What the method was told to ask with.
    prompt: &'a str,
    /// Where an answer goes.
    stdin: &'a mut Input,
    /// The question that was answered.
    pub answered: Option<String>,
}

impl<'a> Answers<'a> {
    pub fn new((user, method): (&'a Become, &'static Method), prompt: &'a str, stdin: &'a mut Input) -> Answers<'a> {
        Answers { user, method, prompt, stdin, answered: None }
    }

    /// Answers the question at the end of what was heard, if there is one; says whether there was. Fails with the message
    /// for one that has no answer.
    async fn consider(&mut self, ear: &mut Ear, when: Heard) -> Result<bool, String> {
        let line = ear.open_line();
        let told = self.method.asks_as_told && find(&ear.heard, self.prompt.as_bytes()).is_some();
        let question = if told { self.prompt } else { line.as_str() };
        let (prompts, is_open) = (&self.user.prompts, self.user.prompts.is_empty());
        let about_password = told || if is_open { asks_password(&line) } else { asks_with(&line, prompts) };
        // Where the words are known, all others are no question.
        let asked = about_password || (is_open && when == Heard::LongAgo && looks_asked(&line));
        if !asked {
            return Ok(false);
        }
        match &self.answered {
            Some(answered) if answered == question => return Err(self.method.wrong(self.user)),
            Some(_) => return Err(self.method.unexpected(self.user, question)),
            // A question in another language can only be about the password, where no other one is known.
            None if !about_password && self.method.asks_as_told => {
                return Err(self.method.unexpected(self.user, question));
            }
            None => {}
        }
        let Some(password) = &self.user.password else { return Err(self.method.wants(self.user)) };
        self.answered = Some(question.to_string());
        ear.heard.clear();
        write(self.stdin, password.reveal().as_bytes()).await;
        write(self.stdin, b"\n").await;
        Ok(true)
    }
}

/// Says whether a line without an end asks for a password in English.
fn asks_password(line: &str) -> bool {
    line.ends_with(':') && line.to_lowercase().contains("password")
}

/// Says whether a line without an end asks with one of these words.
fn asks_with(line: &str, prompts: &[String]) -> bool {
    let bare = |text: &str| text.trim_end_matches([' ', ':', '：']).to_lowercase();
    let line = bare(line);
    prompts.iter().any(|prompt| line.ends_with(&bare(prompt)))
}

/// Says whether a line without an end may be a question.
fn looks_asked(line: &str) -> bool {
    [':', '?', '：'].iter().any(|end| line.ends_with(*end))
}

/// Writes a script to a program.
pub async fn send(stdin: &mut Input, text: &str) {
    write(stdin, &to_bytes(text)).await;
}

/// Writes to a program; one that does not read any more is found out about by its output's end.
async fn write(stdin: &mut Input, bytes: &[u8]) {
    if stdin.write_all(bytes).await.is_ok() {
        let _ = stdin.flush().await;
    }
}
