//! One SMTP session that asks and sends nothing: no DATA (RFC 5321; PIPELINING RFC 2920, SIZE RFC 1870).

use std::collections::BTreeMap;
use std::fmt;

use super::line::Conversation;

/// Recipients of one transaction: servers take at least 100 (RFC 5321 4.5.3.1.8).
const AT_ONCE: usize = 50;
/// The most lines of one reply.
const MOST_LINES: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// The lines' texts, with spaces between.
    pub text: String,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    pub fn is_for_good(&self) -> bool {
        self.code / 100 == 5
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// What a server has said until the session ended.
#[derive(Debug, Default)]
pub struct Heard {
    pub banner: String,
    /// The keywords of its answer to EHLO, with their parameters.
    pub extensions: Vec<String>,
    pub verdicts: BTreeMap<String, Reply>,
}

impl Heard {
    pub fn offers(&self, keyword: &str) -> bool {
        self.parameters(keyword).is_some()
    }

    /// Returns the most bytes of a message that it says it takes; 0 means that it names no limit.
    pub fn size(&self) -> Option<u64> {
        self.parameters("SIZE").map(|text| text.trim().parse().unwrap_or(0))
    }

    fn parameters(&self, keyword: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| {
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            word.eq_ignore_ascii_case(keyword).then_some(rest)
        })
    }
}

/// Asks for each address whether it would be taken. What was heard before an error stays in `heard`.
pub async fn ask(
    conversation: &mut Conversation,
    (helo, sender): (&str, &str),
    addresses: &[&str],
    heard: &mut Heard,
) -> Result<(), String> {
    let banner = reply(conversation).await?;
    heard.banner = banner.to_string();
    expect(&banner, "greets with")?;
    conversation.say(&[format!("EHLO {helo}")]).await?;
    let lines = reply_lines(conversation).await?;
    match positive(&lines) {
        true => heard.extensions = lines.into_iter().skip(1).map(|(_, text)| text).collect(),
        false => {
            conversation.say(&[format!("HELO {helo}")]).await?;
            expect(&reply(conversation).await?, "answers HELO with")?;
        }
    }
    for some in addresses.chunks(AT_ONCE) {
        conversation.say(&[format!("MAIL FROM:<{sender}>")]).await?;
        expect(&reply(conversation).await?, &format!("answers the sender <{sender}> with"))?;
        let lines: Vec<String> = some.iter().map(|address| format!("RCPT TO:<{address}>")).collect();
        let at_once = if heard.offers("PIPELINING") { AT_ONCE } else { 1 };
        for (lines, some) in lines.chunks(at_once).zip(some.chunks(at_once)) {
            conversation.say(lines).await?;
            for address in some {
                let reply = reply(conversation).await?;
                if reply.code == 421 {
                    return Err(format!("it ends the session at `{address}`: {reply}"));
                }
                heard.verdicts.insert((*address).into(), reply);
            }
        }
        conversation.say(&["RSET".into()]).await?;
        expect(&reply(conversation).await?, "answers RSET with")?;
    }
    // Whether it says goodbye changes nothing of what was heard.
    if conversation.say(&["QUIT".into()]).await.is_ok() {
        let _ = reply(conversation).await;
    }
    Ok(())
}

fn expect(reply: &Reply, verb: &str) -> Result<(), String> {
    if reply.is_positive() { Ok(()) } else { Err(format!("it {verb} {reply}")) }
}

fn positive(lines: &[(u16, String)]) -> bool {
    lines.first().is_some_and(|(code, _)| code / 100 == 2)
}

async fn reply(conversation: &mut Conversation) -> Result<Reply, String> {
    let lines = reply_lines(conversation).await?;
    let code = lines.last().map_or(0, |(code, _)| *code);
    let text = lines.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ");
    Ok(Reply { code, text })
}

/// Reads one reply: lines with `-` behind the code, and one without.
async fn reply_lines(conversation: &mut Conversation) -> Result<Vec<(u16, String)>, String> {
    let mut lines = Vec::new();
    loop {
        let line = conversation.hear().await?;
        let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(code) = code.and_then(|code| code.parse().ok()) else {
            return Err(format!("it says {line:?}, which is no reply of SMTP"));
        };
        lines.push((code, line.get(4..).unwrap_or_default().to_string()));
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(lines);
        }
        if lines.len() >= MOST_LINES {
            return Err(format!("it sends a reply of more than {MOST_LINES} lines"));
        }
    }
}
