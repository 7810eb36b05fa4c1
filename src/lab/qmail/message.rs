//! What the programs look at in a message and put before it.

use std::time::SystemTime;

/// Hops after which a message is looping (`MAXHOPS` of qmail-smtpd).
pub const MAXHOPS: usize = 100;

/// Returns the lines of the header, without their ends.
pub fn header(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty())
}

/// Returns how many hosts and mailboxes a message has been through.
pub fn hops(message: &[u8]) -> usize {
    let starts = |line: &[u8], name: &str| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    header(message).filter(|line| starts(line, "received:") || starts(line, "delivered-to:")).count()
}

/// Returns an address's part behind its last `@`; nothing if it has none.
pub fn domain(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// Returns a date as qmail writes it (RFC 822, in UTC).
pub fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.strftime("%-d %b %Y %H:%M:%S -0000").to_string())
        .unwrap_or_default()
}

/// The line that marks a delivery to a mailbox; line ends in the address cannot make a second one.
pub fn delivered_to(recipient: &str) -> Vec<u8> {
    crate::modules::mail::qmail::encode(&format!("Delivered-To: {}\n", recipient.replace('\n', "_")))
}

/// The line of the envelope's sender.
pub fn return_path(sender: &str) -> Vec<u8> {
    crate::modules::mail::qmail::encode(&format!("Return-Path: <{}>\n", sender.replace('\n', "_")))
}

/// Says whether a message has been in this mailbox already (`bouncexf`).
pub fn is_looping(message: &[u8], delivered_to: &[u8]) -> bool {
    let line = delivered_to.strip_suffix(b"\n").unwrap_or(delivered_to);
    header(message).any(|found| found == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let message = b"Received: by a\nDELIVERED-TO: b\nSubject: Received: c\n\nReceived: in the text\n";
        assert_eq!(hops(message), 2);
    }

    #[test]
    fn a_loop_is_the_very_line_in_the_header() {
        let line = delivered_to("7-bob@example.com");
        assert!(is_looping(b"Subject: x\nDelivered-To: 7-bob@example.com\n\n", &line));
        assert!(!is_looping(b"Delivered-To: 7-bobby@example.com\n\nDelivered-To: 7-bob@example.com\n", &line));
    }

    #[test]
    fn a_date_is_in_utc() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        assert_eq!(date(time), "14 Nov 2023 22:13:20 -0000");
    }
}
