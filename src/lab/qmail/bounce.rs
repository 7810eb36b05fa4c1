//! Bounces: what a sender is told of the recipients that failed for good (`qsmhook` of qmail-send).

use std::time::SystemTime;

use crate::modules::mail::qmail::{decode, encode};

use super::message;
use super::queue::Envelope;

/// The names that bounces bear, as read when qmail-send started.
#[derive(Clone, Debug)]
pub struct Names {
    /// `bouncefrom`, `MAILER-DAEMON` unless given.
    pub from: String,
    /// `bouncehost`.
    pub host: String,
    /// `doublebounceto` at `doublebouncehost`.
    pub double: String,
}

/// Returns the text about one failed recipient.
pub fn paragraph(recipient: &str, why: &str) -> String {
    let why: Vec<&str> = why.lines().filter(|line| !line.is_empty()).collect();
    format!("<{}>:\n{}\n\n", recipient.replace('\n', "_"), why.join("\n"))
}

/// Returns the bounce of a message from `sender`, and for whom it is; nothing if it was itself a double bounce.
pub fn make(names: &Names, sender: &str, (paragraphs, original): (&str, &[u8])) -> Option<(Vec<u8>, Envelope)> {
    // A bounce of a bounce goes to the postmaster, and one of that is dropped.
    let (from, to) = match sender {
        "#@[]" => return None,
        "" => ("#@[]", names.double.as_str()),
        sender => ("", sender),
    };
    let greeting = match sender {
        "" => {
            "Hi. This is the qmail-send program. I tried to deliver a bounce message to this address, but the bounce bounced!"
        }
        _ => {
            "Hi. This is the qmail-send program.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\
             This is a permanent error; I've given up. Sorry it didn't work out."
        }
    };
    let text = format!(
        "Date: {}\nFrom: {}@{}\nTo: {to}\nSubject: failure notice\n\n{greeting}\n\n{paragraphs}\
         --- Below this line is a copy of the message.\n\nReturn-Path: <{sender}>\n{}",
        message::date(SystemTime::now()),
        names.from,
        names.host,
        decode(original),
    );
    Some((encode(&text), Envelope { sender: from.into(), recipients: vec![to.into()] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounce_goes_to_the_sender_then_to_the_postmaster_and_then_nowhere() {
        let names =
            Names { from: "MAILER-DAEMON".into(), host: "me.example".into(), double: "postmaster@me.example".into() };
        let failures = paragraph("bob@example.com", "Sorry, no mailbox here by that name. (#5.1.1)\n");
        let (text, envelope) = make(&names, "ann@a.example", (&failures, b"Subject: x\n\n")).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("\n\n<bob@example.com>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below"),
            "{text}"
        );
        assert!(text.contains("\nReturn-Path: <ann@a.example>\nSubject: x\n"));
        assert_eq!(envelope, Envelope { sender: String::new(), recipients: vec!["ann@a.example".into()] });
        let (_, double) = make(&names, "", (&failures, b"")).unwrap();
        assert_eq!(double, Envelope { sender: "#@[]".into(), recipients: vec!["postmaster@me.example".into()] });
        assert!(make(&names, "#@[]", (&failures, b"")).is_none());
    }
}
