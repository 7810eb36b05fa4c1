//! qmail-inject: queues a message of this host's own, as `qmail-inject.8` does it for recipients on the command line.

use std::io::{self, Read as _};
use std::time::SystemTime;

use super::queue::{Envelope, Queue};
use super::{Home, message};

/// Reads the message on stdin and queues it; the words are qmail-inject's own.
pub fn main(home: &Home, words: &[String]) -> io::Result<()> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    let host = home.line("defaulthost")?;
    let envelope = envelope(words, &host).map_err(io::Error::other)?;
    let id_host = home.line("idhost")?;
    let text = complete(&text, &envelope.sender, (SystemTime::now(), &id_host));
    Queue::of(home).add(&text, &envelope).map(drop)
}

/// Reads `-a`, `-A`, `-f SENDER` and recipients; addresses without a host get `host`.
fn envelope(words: &[String], host: &str) -> Result<Envelope, String> {
    let (mut sender, mut recipients) = (format!("anonymous@{host}"), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-a" | "-A" => {}
            "-f" => sender = words.next().ok_or("-f needs a sender")?.clone(),
            "--" => recipients.extend(words.by_ref().cloned()),
            option if option.starts_with("-f") => sender = option[2..].into(),
            option if option.starts_with('-') => return Err(format!("the option {option} is not known here")),
            recipient => recipients.push(recipient.into()),
        }
    }
    if recipients.is_empty() {
        return Err("recipients are taken from the command line only".into());
    }
    let whole = |address: String| if address.contains('@') { address } else { format!("{address}@{host}") };
    let sender = if sender.is_empty() { sender } else { whole(sender) };
    Ok(Envelope { sender, recipients: recipients.into_iter().map(whole).collect() })
}

/// Gives a message the fields that it lacks.
fn complete(text: &[u8], sender: &str, (now, host): (SystemTime, &str)) -> Vec<u8> {
    let has = |name: &str| {
        message::header(text)
            .any(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes())))
    };
    let date = message::date(now);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let from = if sender.is_empty() { format!("MAILER-DAEMON@{host}") } else { sender.into() };
    let number = format!("{}.{}.{}", since.as_secs(), since.subsec_nanos(), std::process::id());
    let fields = [("Date:", date.clone()), ("Message-ID:", format!("<{number}.qmail@{host}>")), ("From:", from)];
    let mut whole = format!(
        "Received: (qmail {} invoked by uid {}); {date}\n",
        std::process::id(),
        rustix::process::getuid().as_raw()
    );
    whole.extend(fields.iter().filter(|(name, _)| !has(name)).map(|(name, value)| format!("{name} {value}\n")));
    [whole.as_bytes(), text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn recipients_and_the_sender_are_on_the_command_line() {
        let made = |line: &str| envelope(&words(line), "me.example");
        let of = |sender: &str, recipients: &[&str]| {
            Ok(Envelope { sender: sender.into(), recipients: recipients.iter().map(|name| name.to_string()).collect() })
        };
        assert_eq!(
            made("-a -f ann@a.example bob@b.example root"),
            of("ann@a.example", &["bob@b.example", "root@me.example"])
        );
        assert_eq!(envelope(&[String::from("-f"), String::new(), "bob".into()], "h"), of("", &["bob@h"]));
        assert_eq!(made("-- -odd@a.example"), of("anonymous@me.example", &["-odd@a.example"]));
        assert!(made("-H bob").is_err() && made("-a").is_err());
    }

    #[test]
    fn what_a_message_lacks_is_added_and_what_it_has_stays() {
        let made = |text: &str| {
            String::from_utf8(complete(text.as_bytes(), "", (SystemTime::UNIX_EPOCH, "me.example"))).unwrap()
        };
        let bare = made("Subject: x\n\nbody\n");
        assert!(bare.starts_with("Received: (qmail ") && bare.ends_with("\nSubject: x\n\nbody\n"), "{bare}");
        assert!(bare.contains("\nDate: ") && bare.contains("\nFrom: MAILER-DAEMON@me.example\n"), "{bare}");
        let own = made("message-id: <1@x>\nFrom: a@b\nDate: now\n\n");
        assert_eq!(own.lines().count(), 5, "{own}");
    }
}
