//! A sender outside: the texts of its messages, and its side of SMTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Taken,
    /// The connection was lost after its text had gone: it may have been taken, and is sent again.
    Doubtful,
    /// It can be tried again.
    Later(String),
    Refused(String),
}

/// The longest that a server may take for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Returns a text of its own for each number: long and short ones, with lines of dots and in 8 bits.
pub fn body(number: u64) -> Vec<u8> {
    let mut text = format!("This is message {number}.\n.\n..\n").into_bytes();
    for line in 0..number * 7 % 40 {
        text.extend(format!("Line {line} of {number}: the quick brown fox jumps over the lazy dog.\n").as_bytes());
    }
    text.extend(b"Gr\xfc\xdfe\n");
    text
}

pub fn message(id: &str, to: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(
        "From: Sender <sender@outside.example>\nTo: {to}\nSubject: Mail while you move\nMessage-ID: {id}\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n"
    );
    [header.as_bytes(), body].concat()
}

/// Hands a message over, whose text is as it goes over the wire.
pub async fn hand_over(server: SocketAddr, number: u64, to: &str, text: &[u8]) -> Sent {
    let mut given = false;
    match tokio::time::timeout(LIMIT * 2, talk(server, [&envelope(number), to], text, &mut given)).await {
        Ok(Ok(sent)) => sent,
        _ if given => Sent::Doubtful,
        Ok(Err(error)) => Sent::Later(error.to_string()),
        Err(_) => Sent::Later("no answer".into()),
    }
}

/// The sender in a message's envelope, which qmail's log names.
pub fn envelope(number: u64) -> String {
    format!("{number}@outside.example")
}

/// `given` comes to say whether the text has gone without an answer.
async fn talk(server: SocketAddr, [from, to]: [&str; 2], text: &[u8], given: &mut bool) -> io::Result<Sent> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let steps = [
        Vec::new(),
        b"HELO mail.outside.example\r\n".to_vec(),
        format!("MAIL FROM:<{from}>\r\n").into_bytes(),
        format!("RCPT TO:<{to}>\r\n").into_bytes(),
        b"DATA\r\n".to_vec(),
        text.to_vec(),
        b"QUIT\r\n".to_vec(),
    ];
    let mut taken = false;
    for (number, step) in steps.iter().enumerate() {
        *given = number == 5;
        stream.write_all(step).await?;
        let mut line = String::new();
        if tokio::time::timeout(LIMIT, stream.read_line(&mut line)).await?? == 0 && !taken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.as_bytes().first() {
            _ if taken => break,
            Some(b'2' | b'3') => {
                taken = number == 5;
                *given = false;
            }
            Some(b'5') => return Ok(Sent::Refused(line.trim_end().into())),
            _ => return Ok(Sent::Later(line.trim_end().into())),
        }
    }
    Ok(Sent::Taken)
}
