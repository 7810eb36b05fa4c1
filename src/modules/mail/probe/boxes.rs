//! A login by POP3 (RFC 1939) or IMAP (RFC 9051) that counts messages and reads none.

use serde_json::{Value, json};

use super::line::Conversation;

/// The most lines of an answer: a mailbox has one for each message.
const MOST_LINES: usize = 1_000_000;

type Found = [(&'static str, Value); 4];

/// Returns the banner, and with a login how many messages and bytes there are and how many have a UIDL.
pub async fn pop3(conversation: &mut Conversation, login: Option<(&str, &str)>) -> Result<Found, String> {
    let banner = conversation.hear().await?;
    if !banner.starts_with("+OK") {
        return Err(format!("it greets with {banner:?}"));
    }
    let (mut messages, mut bytes, mut uidls) = (Value::Null, Value::Null, Value::Null);
    if let Some((user, password)) = login {
        command(conversation, &format!("USER {user}"), "USER").await?;
        command(conversation, &format!("PASS {password}"), "the login").await?;
        let stat = command(conversation, "STAT", "STAT").await?;
        let mut numbers = stat.split(' ').skip(1).map(|word| word.parse::<u64>().ok());
        (messages, bytes) = (json!(numbers.next().flatten()), json!(numbers.next().flatten()));
        command(conversation, "UIDL", "UIDL").await?;
        let mut count = 0;
        while conversation.hear().await? != "." {
            count += 1;
            if count > MOST_LINES {
                return Err(format!("it lists more than {MOST_LINES} messages"));
            }
        }
        uidls = json!(count);
    }
    if conversation.say(&["QUIT".into()]).await.is_ok() {
        let _ = conversation.hear().await;
    }
    Ok([("banner", json!(banner)), ("messages", messages), ("bytes", bytes), ("uidls", uidls)])
}

async fn command(conversation: &mut Conversation, line: &str, what: &str) -> Result<String, String> {
    conversation.say(&[line.into()]).await?;
    let answer = conversation.hear().await?;
    if answer.starts_with("+OK") { Ok(answer) } else { Err(format!("it answers {what} with {answer:?}")) }
}

/// Returns the banner, and with a login how many messages the INBOX has, and its UIDVALIDITY.
pub async fn imap(conversation: &mut Conversation, login: Option<(&str, &str)>) -> Result<Found, String> {
    let banner = conversation.hear().await?;
    if !banner.starts_with("* OK") {
        return Err(format!("it greets with {banner:?}"));
    }
    let (mut messages, mut validity) = (Value::Null, Value::Null);
    if let Some((user, password)) = login {
        tagged(conversation, &format!("LOGIN {} {}", quoted(user), quoted(password)), "the login").await?;
        let lines = tagged(conversation, "STATUS INBOX (MESSAGES UIDVALIDITY)", "STATUS").await?;
        let number = |name: &str| {
            lines.iter().find_map(|line| {
                let mut words = line.split([' ', '(', ')']).skip_while(|word| !word.eq_ignore_ascii_case(name));
                words.nth(1)?.parse::<u64>().ok()
            })
        };
        (messages, validity) = (json!(number("MESSAGES")), json!(number("UIDVALIDITY")));
    }
    let _ = tagged(conversation, "LOGOUT", "LOGOUT").await;
    Ok([("banner", json!(banner)), ("messages", messages), ("uidvalidity", validity), ("bytes", Value::Null)])
}

/// A quoted string of IMAP; line ends were refused before.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Says a command and returns what comes before its `OK`.
async fn tagged(conversation: &mut Conversation, line: &str, what: &str) -> Result<Vec<String>, String> {
    conversation.say(&[format!("a {line}")]).await?;
    let mut lines = Vec::new();
    while lines.len() < MOST_LINES {
        let answer = conversation.hear().await?;
        match answer.strip_prefix("a ") {
            Some(end) if end.starts_with("OK") => return Ok(lines),
            Some(_) => return Err(format!("it answers {what} with {answer:?}")),
            None => lines.push(answer),
        }
    }
    Err(format!("its answer to {what} has more than {MOST_LINES} lines"))
}
