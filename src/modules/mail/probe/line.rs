//! A conversation by lines over a connection, each answer within a limit of time and length.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::transport::Stream;

/// The most bytes of a line; RFC 5321 has 512, and servers write more.
const LONGEST: u64 = 8192;

pub struct Conversation {
    stream: BufReader<Stream>,
    limit: Duration,
}

impl Conversation {
    pub fn new(stream: Stream, limit: Duration) -> Conversation {
        Conversation { stream: BufReader::new(stream), limit }
    }

    /// Sends lines, given without their ends, at once.
    pub async fn say(&mut self, lines: &[String]) -> Result<(), String> {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let sending = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        let sent = tokio::time::timeout(self.limit, sending).await;
        let sent = sent.map_err(|_| format!("it took nothing for {} s", self.limit.as_secs()))?;
        sent.map_err(|error| format!("the connection ended: {error}"))
    }

    /// Returns the next line without its end; what is no UTF-8 in it is replaced.
    pub async fn hear(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let limited = &mut (&mut self.stream).take(LONGEST);
        let heard = tokio::time::timeout(self.limit, limited.read_until(b'\n', &mut line)).await;
        let heard = heard.map_err(|_| format!("no answer within {} s", self.limit.as_secs()))?;
        heard.map_err(|error| format!("the connection ended: {error}"))?;
        if line.pop() != Some(b'\n') {
            return Err(match line.len() as u64 + 1 >= LONGEST {
                true => format!("it sends a line of more than {LONGEST} bytes"),
                false => "the server ended the connection".into(),
            });
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}
