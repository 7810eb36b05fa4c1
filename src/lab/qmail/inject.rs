//! qmail-inject: queues the message on stdin, with the header lines that it lacks.

use std::io;
use std::time::SystemTime;

use super::queue::{Envelope, Queue};
use super::{Home, blocking, message};
use crate::modules::mail::qmail::{decode, encode};

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `-f`; the empty one is that of bounces.
    pub sender: Option<String>,
    /// Without any the fields To, Cc and Bcc count.
    pub recipients: Vec<String>,
}

/// The names that complete an address, as the control files have them.
struct Names {
    host: String,
    domain: String,
    id: String,
}

impl Names {
    /// Completes an address (`rewritehost`): no host, a host without a dot.
    fn complete(&self, address: &str) -> String {
        match address.rsplit_once('@') {
            None if address.is_empty() => String::new(),
            None => self.complete(&format!("{address}@{}", self.host)),
            Some((_, host)) if host.contains('.') || host.starts_with('[') => address.into(),
            Some(_) => format!("{address}.{}", self.domain),
        }
    }
}

/// Queues the message on stdin.
pub async fn main(home: Home, given: Given) -> io::Result<()> {
    let names =
        Names { host: home.line("defaulthost")?, domain: home.line("defaultdomain")?, id: home.line("idhost")? };
    blocking(move || {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::stdin(), &mut text)?;
        let (text, envelope) = prepare(&names, &given, &decode(&text));
        if envelope.recipients.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no recipients"));
        }
        Queue::of(&home).add(&encode(&text), &envelope).map(|_| ())
    })
    .await
}

/// Returns the message and its envelope.
fn prepare(names: &Names, given: &Given, text: &str) -> (String, Envelope) {
    // A message without a header begins with its empty line.
    let (header, body) = match text.strip_prefix('\n') {
        Some(body) => ("", body),
        None => text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), "")),
    };
    let field = |line: &str, name: &str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let mut recipients: Vec<String> = given.recipients.clone();
    let mut kept = Vec::new();
    let mut in_dropped = false;
    let mut in_recipients = false;
    for line in header.lines() {
        let goes_on = line.starts_with([' ', '\t']);
        if !goes_on {
            in_dropped = ["bcc:", "return-path:", "content-length:"].iter().any(|name| field(line, name));
            in_recipients = given.recipients.is_empty() && ["to:", "cc:", "bcc:"].iter().any(|name| field(line, name));
        }
        if in_recipients {
            let value = if goes_on { line } else { line.split_once(':').map_or("", |(_, value)| value) };
            recipients.extend(addresses(value));
        }
        if !in_dropped {
            kept.push(line.to_string());
        }
    }
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let user = std::env::var("USER").unwrap_or_else(|_| "anonymous".into());
    let own = names.complete(&user);
    let missing = [
        ("date:", format!("Date: {}", message::date(now))),
        (
            "message-id:",
            format!(
                "Message-ID: <{}.{}.{}.qmail@{}>",
                since.as_secs(),
                since.subsec_nanos(),
                std::process::id(),
                names.id
            ),
        ),
        ("from:", format!("From: {own}")),
    ];
    for (name, line) in missing {
        if !kept.iter().any(|kept| field(kept, name)) {
            kept.push(line);
        }
    }
    let sender = names.complete(given.sender.as_deref().unwrap_or(&own));
    let recipients = recipients.iter().map(|address| names.complete(address)).collect();
    (format!("{}\n\n{body}", kept.join("\n")), Envelope { sender, recipients })
}

/// Returns the addresses of a field, with names or without.
fn addresses(value: &str) -> impl Iterator<Item = String> {
    value.split(',').filter_map(|part| {
        let bare = part.split_once('<').map_or(part, |(_, rest)| rest.split('>').next().unwrap_or(rest)).trim();
        (!bare.is_empty()).then(|| bare.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gets_what_it_lacks_and_keeps_what_it_has() {
        let names = Names { host: "h.example".into(), domain: "d.example".into(), id: "i.example".into() };
        let given = Given {
            sender: Some(String::new()),
            recipients: vec!["bob".into(), "ann@there".into(), "c@x.example".into()],
        };
        let (text, envelope) = prepare(
            &names,
            &given,
            "Subject: x\nTo: other@x.example\nBcc: secret@x.example\nMessage-ID: <1@x>\n\nhello\n\nthere\n",
        );
        assert_eq!(
            envelope,
            Envelope {
                sender: String::new(),
                recipients: ["bob@h.example", "ann@there.d.example", "c@x.example"].map(String::from).to_vec()
            }
        );
        assert!(text.starts_with("Subject: x\nTo: other@x.example\nMessage-ID: <1@x>\nDate: "), "{text}");
        assert!(
            text.contains("\nFrom: ") && text.ends_with("\n\nhello\n\nthere\n") && !text.contains("secret"),
            "{text}"
        );
        let (_, envelope) = prepare(&names, &Given::default(), "To: Bob <bob@x.example>,\n ann@x.example\nBcc: c\n\n");
        assert_eq!(envelope.recipients, ["bob@x.example", "ann@x.example", "c@h.example"]);
        let (text, _) = prepare(&names, &given, "\nno header\n");
        assert!(text.starts_with("Date: ") && text.ends_with("\n\nno header\n"), "{text}");
    }
}
