//! qmail-smtpd: takes mail for the domains of `rcpthosts`, reading the control files anew for each connection.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::modules::mail::qmail::{Fate, Tables, contains, decode, encode};

use super::network::Network;
use super::queue::{Envelope, Queue};
use super::{Home, blocking, cdb, message, users};

/// Who is at the other end, as tcpserver's environment says.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub ip: String,
    /// `RELAYCLIENT`: any recipient is taken, with this behind it.
    pub relay: Option<String>,
}

impl Peer {
    pub fn at(address: SocketAddr) -> Peer {
        Peer { ip: address.ip().to_string(), relay: std::env::var("RELAYCLIENT").ok() }
    }

    pub fn of_environment() -> Peer {
        let ip = std::env::var("TCPREMOTEIP").unwrap_or_else(|_| "unknown".into());
        Peer { ip, relay: std::env::var("RELAYCLIENT").ok() }
    }
}

/// What one connection goes by.
struct Rules {
    greeting: String,
    localiphost: String,
    /// `None`: there is no such file, and any domain is taken.
    rcpthosts: Option<String>,
    morercpthosts: Vec<u8>,
    badmailfrom: String,
    badrcptto: String,
    /// Of each of these domains unknown users are refused (Plesk).
    rejectnonexist: String,
    /// 0 is no limit.
    databytes: u64,
    limit: Duration,
    tables: Tables,
    network: Network,
}

impl Rules {
    fn read(home: &Home) -> io::Result<Rules> {
        let text = |name| home.control(name).map(Option::unwrap_or_default);
        Ok(Rules {
            greeting: home.line("smtpgreeting")?,
            localiphost: home.line("localiphost")?,
            rcpthosts: home.control("rcpthosts")?,
            morercpthosts: std::fs::read(home.path("control/morercpthosts.cdb")).unwrap_or_default(),
            badmailfrom: text("badmailfrom")?,
            badrcptto: text("badrcptto")?,
            rejectnonexist: text("rejectnonexist")?,
            databytes: home.number("databytes", 0)?,
            limit: Duration::from_secs(home.number("timeoutsmtpd", 1200)?),
            tables: home.tables()?,
            network: Network::read(home)?,
        })
    }

    /// Says why a sender's mail is refused at its first recipient, as qmail-smtpd does.
    fn refuse_sender(&self, sender: &str) -> Option<&'static str> {
        let domain = message::domain(sender).map(|domain| format!("@{domain}"));
        let bad =
            contains(&self.badmailfrom, sender) || domain.is_some_and(|domain| contains(&self.badmailfrom, &domain));
        (bad && !sender.is_empty()).then_some("553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)")
    }

    /// Says whether mail for this address is taken from anyone (`rcpthosts()`).
    fn takes(&self, recipient: &str) -> bool {
        let Some(rcpthosts) = &self.rcpthosts else { return true };
        let Some(domain) = message::domain(recipient) else { return true };
        let domain = domain.to_ascii_lowercase();
        let starts = [0].into_iter().chain(domain.match_indices('.').map(|(index, _)| index));
        starts
            .map(|start| &domain[start..])
            .any(|part| contains(rcpthosts, part) || cdb::get(&self.morercpthosts, &encode(part)).is_some())
    }

    /// Says why a recipient is refused.
    fn refuse(&self, home: &Home, recipient: &str) -> Option<&'static str> {
        if contains(&self.badrcptto, recipient) {
            return Some("553 sorry, this recipient is in my badrecipientto list (#5.7.1)");
        }
        let domain = message::domain(recipient).unwrap_or_default();
        if !contains(&self.rejectnonexist, domain) {
            return None;
        }
        let unknown = match self.tables.fate(recipient) {
            Fate::Virtual { prepend, .. } => {
                let local = recipient.rsplit_once('@').map_or(recipient, |(local, _)| local);
                !users::is_assigned(home, &format!("{prepend}-{local}"))
            }
            _ => false,
        };
        unknown.then_some("550 sorry, no mailbox here by that name. (#5.1.1)")
    }

    /// Reads the address of a MAIL or RCPT command (`addrparse`); nothing if it has none.
    fn address(&self, argument: &str) -> Option<String> {
        let rest = match argument.split_once('<') {
            Some((_, rest)) => rest.rsplit_once('>').map_or(rest, |(address, _)| address),
            None => argument.split_once(':')?.1.trim_start().split(' ').next()?,
        };
        // A source route goes: `@a.example,@b.example:user@example.com`.
        let rest = if rest.starts_with('@') { rest.split_once(':')?.1 } else { rest };
        let mut address = String::new();
        let mut letters = rest.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => address.extend(letters.next()),
                '"' => {}
                letter => address.push(letter),
            }
        }
        let own = address.rsplit_once('@').filter(|(_, domain)| {
            let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            literal.and_then(|text| text.parse().ok()).is_some_and(|ip| self.network.is_own(ip))
        });
        if let Some((local, _)) = own {
            address = format!("{local}@{}", self.localiphost);
        }
        (address.len() <= 900).then_some(address)
    }
}

/// Serves one connection until its QUIT or end.
pub async fn serve(home: &Home, stream: impl AsyncRead + AsyncWrite + Unpin, peer: &Peer) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let rules = match Rules::read(home) {
        Ok(rules) => rules,
        Err(_) => return stream.write_all(b"421 unable to read controls (#4.3.0)\r\n").await,
    };
    let limit = rules.limit;
    let mut session = Session { home, rules, peer, stream, envelope: None, helo: String::new() };
    session.say(&format!("220 {} ESMTP", session.rules.greeting)).await?;
    loop {
        let mut line = Vec::new();
        let Ok(read) = timeout(limit, session.stream.read_until(b'\n', &mut line)).await else {
            return session.say("451 timeout (#4.4.2)").await;
        };
        if read? == 0 {
            return Ok(());
        }
        let line = decode(&line);
        if !session.command(line.trim_end_matches(['\r', '\n'])).await? {
            return Ok(());
        }
    }
}

struct Session<'a, S> {
    home: &'a Home,
    rules: Rules,
    peer: &'a Peer,
    stream: BufReader<S>,
    /// From MAIL on.
    envelope: Option<Envelope>,
    helo: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(&encode(&format!("{line}\r\n"))).await?;
        self.stream.flush().await
    }

    /// Does one command; says whether another may come.
    async fn command(&mut self, line: &str) -> io::Result<bool> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_lowercase().as_str() {
            "helo" => {
                self.greet(argument);
                self.say(&format!("250 {}", self.rules.greeting)).await?;
            }
            "ehlo" => {
                self.greet(argument);
                self.say(&format!("250-{}\r\n250-PIPELINING\r\n250 8BITMIME", self.rules.greeting)).await?;
            }
            "mail" => match self.rules.address(argument) {
                Some(sender) => {
                    self.envelope = Some(Envelope { sender, recipients: Vec::new() });
                    self.say("250 ok").await?;
                }
                None => self.say("555 syntax error (#5.5.4)").await?,
            },
            "rcpt" => {
                let answer = self.recipient(argument);
                self.say(answer).await?;
            }
            "data" => return self.data().await,
            "rset" => {
                self.envelope = None;
                self.say("250 flushed").await?;
            }
            "noop" => self.say("250 ok").await?,
            "vrfy" => self.say("252 send some mail, i'll try my best").await?,
            "help" => self.say("214 the lab's stand-in for qmail: see docs/lab.md").await?,
            "quit" => {
                self.say(&format!("221 {}", self.rules.greeting)).await?;
                return Ok(false);
            }
            _ => self.say("502 unimplemented (#5.5.1)").await?,
        }
        Ok(true)
    }

    fn greet(&mut self, name: &str) {
        self.envelope = None;
        self.helo = name.into();
    }

    fn recipient(&mut self, argument: &str) -> &'static str {
        let Some(envelope) = &mut self.envelope else { return "503 MAIL first (#5.5.1)" };
        let Some(recipient) = self.rules.address(argument) else { return "555 syntax error (#5.5.4)" };
        if let Some(refusal) = self.rules.refuse_sender(&envelope.sender) {
            return refusal;
        }
        if let Some(relay) = &self.peer.relay {
            envelope.recipients.push(recipient + relay);
            return "250 ok";
        }
        if !self.rules.takes(&recipient) {
            return "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)";
        }
        if let Some(refusal) = self.rules.refuse(self.home, &recipient) {
            return refusal;
        }
        envelope.recipients.push(recipient);
        "250 ok"
    }

    async fn data(&mut self) -> io::Result<bool> {
        let early = match &self.envelope {
            None => Some("503 MAIL first (#5.5.1)"),
            Some(envelope) => envelope.recipients.is_empty().then_some("503 RCPT first (#5.5.1)"),
        };
        if let Some(early) = early {
            self.say(early).await?;
            return Ok(true);
        }
        let envelope = self.envelope.take().unwrap_or_default();
        self.say("354 go ahead").await?;
        let received = format!(
            "Received: from unknown (HELO {}) ({})\n  by {} with SMTP; {}\n",
            self.helo,
            self.peer.ip,
            self.rules.greeting,
            message::date(SystemTime::now())
        );
        let mut text = encode(&received);
        let mut size = 0;
        loop {
            let mut line = Vec::new();
            if timeout(self.rules.limit, self.stream.read_until(b'\n', &mut line)).await?? == 0 {
                return Ok(false);
            }
            let Some(body) = line.strip_suffix(b"\r\n") else {
                self.say("451 See http://pobox.com/~djb/docs/smtplf.html.").await?;
                return Ok(false);
            };
            if body == b"." {
                break;
            }
            let body = body.strip_prefix(b".").unwrap_or(body);
            size += body.len() as u64 + 1;
            if self.rules.databytes == 0 || size <= self.rules.databytes {
                text.extend(body);
                text.push(b'\n');
            }
        }
        let answer = if self.rules.databytes != 0 && size > self.rules.databytes {
            "552 sorry, that message size exceeds my databytes limit (#5.3.4)".into()
        } else if message::hops(&text) > message::MAXHOPS {
            "554 too many hops, this message is looping (#5.4.6)".into()
        } else {
            let queue = Queue::of(self.home);
            match blocking(move || queue.add(&text, &envelope)).await {
                Ok(id) => format!("250 ok {id} qp {}", std::process::id()),
                Err(_) => "451 qq write error or disk full (#4.3.0)".into(),
            }
        };
        self.say(&answer).await?;
        Ok(true)
    }
}

/// Reads what a server says to lines that are all sent at once, for tests.
#[cfg(test)]
async fn talk(home: &Home, peer: &Peer, lines: &str) -> Vec<String> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(&encode(&lines.replace('\n', "\r\n"))).await.unwrap();
    client.shutdown().await.unwrap();
    let _ = serve(home, server, peer).await;
    let mut said = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut said).await.unwrap();
    said.lines().map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::home;
    use super::*;

    const BASE: [(&str, &str); 2] = [("control/me", "me.example\n"), ("active/network", "own 192.0.2.10\n")];

    /// The answer to RCPT with these control files.
    async fn rcpt(files: &[(&str, &str)], relay: Option<&str>, to: &str) -> String {
        let (_directory, home) = home(&[&BASE[..], files].concat());
        let peer = Peer { ip: "192.0.2.1".into(), relay: relay.map(str::to_string) };
        let said = talk(&home, &peer, &format!("HELO x\nMAIL FROM:<a@spam.example>\nRCPT TO:{to}\nQUIT\n")).await;
        said[3].clone()
    }

    #[tokio::test]
    async fn rcpthosts_says_for_whom_mail_is_taken() {
        const LISTED: (&str, &str) = ("control/rcpthosts", "Example.com\n.example.net\n lead.example\n");
        let rows = [
            (&[LISTED][..], None, "<bob@example.COM>", "250"),
            (&[LISTED], None, "<bob@deep.example.com>", "553"),
            (&[LISTED], None, "<bob@a.b.example.net>", "250"),
            (&[LISTED], None, "<bob@example.net>", "553"),
            (&[LISTED], None, "<bob@lead.example>", "553"),
            (&[LISTED], None, "<postmaster>", "250"),
            (&[LISTED], None, "<@relay.example:bob@example.com>", "250"),
            (&[LISTED], None, "<bob@foreign.example>", "553"),
            (&[LISTED], Some(""), "<bob@foreign.example>", "250"),
            // Absent: an open relay. Empty: nothing is taken.
            (&[], None, "<bob@foreign.example>", "250"),
            (&[("control/rcpthosts", "")], None, "<bob@foreign.example>", "553"),
            (&[LISTED, ("control/badmailfrom", "@spam.example\n")], None, "<bob@example.com>", "553"),
            (&[LISTED, ("control/badmailfrom", "other@spam.example\n")], None, "<bob@example.com>", "250"),
            (&[LISTED, ("control/badrcptto", "bob@example.com\n")], None, "<bob@example.com>", "553"),
        ];
        for (files, relay, to, expected) in rows {
            let said = rcpt(files, relay, to).await;
            assert!(said.starts_with(expected), "{files:?} {relay:?} {to}: {said}");
        }
    }

    #[tokio::test]
    async fn morercpthosts_counts_once_qmail_newmrh_has_run_and_only_beside_rcpthosts() {
        let files =
            [BASE[0], ("control/rcpthosts", "x.example\n"), ("control/morercpthosts", "More.example\n.sub.example\n")];
        let (_directory, home) = home(&files);
        let takes = |address: &str| Rules::read(&home).unwrap().takes(address);
        assert!(!takes("bob@more.example"));
        users::newmrh(&home).unwrap();
        assert!(takes("bob@MORE.example") && takes("bob@a.sub.example") && !takes("bob@sub.example"));
    }

    #[tokio::test]
    async fn unknown_users_of_a_domain_in_rejectnonexist_are_refused_in_smtp() {
        let files = [
            ("control/virtualdomains", "example.com:7\nexample.net:8\n"),
            ("control/rejectnonexist", "example.com\n"),
            ("users/assign", "=7-bob:pop:1:1:/m/bob:::\n+7-:pop:1:1:/m:-::\n.\n"),
        ];
        let (_directory, home) = home(&[&BASE[..], &files].concat());
        users::newu(&home).unwrap();
        let rules = Rules::read(&home).unwrap();
        let rows = [("bob@example.com", true), ("nobody@example.com", false), ("nobody@example.net", true)];
        for (to, taken) in rows {
            assert_eq!(rules.refuse(&home, to).is_none(), taken, "{to}");
        }
    }

    #[tokio::test]
    async fn a_message_is_queued_as_it_was_sent_and_a_bad_one_is_not() {
        let (_directory, home) = home(&[&BASE[..], &[("control/databytes", "4000\n")]].concat());
        let queue = Queue::of(&home);
        queue.make().unwrap();
        let send = async |text: &str| {
            let lines = format!(
                "EHLO x\nMAIL FROM:<>\nRCPT TO:<bob@[192.0.2.10]>\nRCPT TO:<\"b c\"@example.com> NOTIFY=NEVER\nDATA\n{text}.\nQUIT\n"
            );
            talk(&home, &Peer { ip: "192.0.2.1".into(), relay: None }, &lines).await[8].clone()
        };
        assert!(send("Subject: x\n\n..dot\n").await.starts_with("250 ok "));
        let id = queue.numbers("todo")[0];
        let envelope = queue.todo(id).unwrap();
        assert_eq!(
            (envelope.sender.as_str(), &envelope.recipients[..]),
            ("", &["bob@me.example".to_string(), "b c@example.com".into()][..])
        );
        let text = String::from_utf8(queue.message(id).unwrap()).unwrap();
        assert!(text.contains("\nReceived: from unknown (HELO x) (192.0.2.1)\n  by me.example with SMTP; "), "{text}");
        assert!(text.ends_with("\nSubject: x\n\n.dot\n"), "{text}");
        assert!(send(&("x".repeat(4000) + "\n")).await.starts_with("552 "));
        let hops = |count: usize| "Received: by x\n".repeat(count) + "\n";
        assert!(send(&hops(100)).await.starts_with("554 too many hops"));
        assert!(send(&hops(99)).await.starts_with("250 "));
        let said = talk(&home, &Peer::default(), "DATA\nMAIL FROM:<a@b>\nDATA\nRCPT TO:<a@b>\nDATA\n").await;
        let codes: Vec<&str> = said.iter().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "503", "250", "503", "250", "354"]);
    }
}
