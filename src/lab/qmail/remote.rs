//! qmail-remote: one message to one remote address, as `smtproutes` and MX records say.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::modules::mail::qmail::{encode, route};

use super::network::{Exchanger, Lookup, Network};
use super::{Home, Outcome, message};

/// Returns the addresses to try, best first, or what the delivery comes to without a connection.
fn targets(network: &Network, smtproutes: &str, host: &str) -> Result<Vec<SocketAddr>, Outcome> {
    let relay = route(smtproutes, host).filter(|relay| !relay.is_empty());
    let (name, port) = relay.map_or((host, 25), split);
    let found = match relay {
        Some(_) => network
            .addresses(name)
            .map(|found| found.into_iter().map(|address| Exchanger { preference: 0, address }).collect::<Vec<_>>()),
        None => network.exchangers(name),
    };
    let found = found.map_err(|why| match why {
        Lookup::Later => Outcome::Deferral("Sorry, I couldn't find any host by that name. (#4.1.2)".into()),
        Lookup::None => Outcome::Failure(format!("Sorry, I couldn't find any host named {name}. (#5.1.2)")),
    })?;
    if found.is_empty() {
        return Err(Outcome::Deferral("Sorry, I couldn't find any host by that name. (#4.1.2)".into()));
    }
    // A route is obeyed wherever it leads; an MX is used only if it is better than this host.
    let best = found.iter().filter(|mx| relay.is_none() && network.is_own(mx.address)).map(|mx| mx.preference).min();
    let better: Vec<Ipv4Addr> =
        found.iter().filter(|mx| best.is_none_or(|own| mx.preference < own)).map(|mx| mx.address).collect();
    if better.is_empty() {
        let why = "Sorry. Although I'm listed as a best-preference MX or A for that host,\nit isn't in my control/locals \
                   file, so I don't treat it as local. (#5.4.6)";
        return Err(Outcome::Failure(why.into()));
    }
    Ok(better.into_iter().map(|address| SocketAddr::from((address, port))).collect())
}

/// Cuts a route at its first colon; what follows is the port as far as it is a number.
fn split(relay: &str) -> (&str, u16) {
    let Some((host, port)) = relay.split_once(':') else { return (relay, 25) };
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    (host, port[..digits].parse().unwrap_or(0))
}

/// Delivers a message to `recipient`, which is `LOCAL@HOST`.
pub async fn deliver(home: &Home, sender: &str, recipient: &str, text: &[u8]) -> Outcome {
    let settings = (|| {
        let routes = home.control("smtproutes")?.unwrap_or_default();
        let seconds = |name, default| home.number(name, default).map(Duration::from_secs);
        let limits = (seconds("timeoutconnect", 60)?, seconds("timeoutremote", 1200)?);
        Ok::<_, std::io::Error>((Network::read(home)?, routes, home.line("helohost")?, limits))
    })();
    let (mut network, routes, helo, limits) = match settings {
        Ok(settings) => settings,
        Err(error) => return Outcome::Deferral(format!("Unable to read control files: {error}. (#4.3.0)")),
    };
    let host = message::domain(recipient).unwrap_or_default();
    let relay = route(&routes, host).filter(|relay| !relay.is_empty());
    network.learn(relay.map_or(host, |relay| split(relay).0)).await;
    let targets = match targets(&network, &routes, host) {
        Ok(targets) => targets,
        Err(outcome) => return outcome,
    };
    for target in targets {
        let connecting = TcpStream::connect(network.destination(target));
        if let Ok(Ok(stream)) = timeout(limits.0, connecting).await {
            let mut session = Session { stream: BufReader::new(stream), limit: limits.1, critical: false };
            let ended = session.talk(&helo, (sender, recipient), text).await;
            return ended.unwrap_or_else(|_| session.died()).told(target);
        }
    }
    Outcome::Deferral("Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)".into())
}

impl Outcome {
    /// Names the server that said it.
    fn told(self, target: SocketAddr) -> Outcome {
        let ip = target.ip();
        match self {
            Outcome::Success(said) => Outcome::Success(format!("{ip} {said}")),
            Outcome::Deferral(said) => Outcome::Deferral(format!("{ip} {said}")),
            Outcome::Failure(said) => Outcome::Failure(format!("{ip} {said}\nGiving up on {ip}.")),
        }
    }
}

/// A connection to a server.
struct Session {
    stream: BufReader<TcpStream>,
    limit: Duration,
    /// The message is sent and its answer not yet there: whether it was taken is not known (`flagcritical`).
    critical: bool,
}

impl Session {
    fn died(&self) -> Outcome {
        let doubt = if self.critical { " Possible duplicate!" } else { "" };
        Outcome::Deferral(format!("connected but connection died.{doubt} (#4.4.2)"))
    }

    /// Hands the message over; an error means that the connection is lost.
    async fn talk(&mut self, helo: &str, (sender, recipient): (&str, &str), text: &[u8]) -> std::io::Result<Outcome> {
        let (code, said) = self.answer().await?;
        if code != 220 {
            return self.quit(Outcome::Deferral(format!("connected but greeting failed.\n{said}"))).await;
        }
        let (code, said) = self.say(&format!("HELO {helo}")).await?;
        if code != 250 {
            return self.quit(Outcome::Deferral(format!("connected but my name was rejected.\n{said}"))).await;
        }
        let steps = [
            (format!("MAIL FROM:<{sender}>"), "connected but sender was rejected."),
            (format!("RCPT TO:<{recipient}>"), "does not like recipient."),
            ("DATA".into(), "failed on DATA command."),
        ];
        for (line, trouble) in steps {
            let (code, said) = self.say(&line).await?;
            if let Some(outcome) = refused(code, &format!("{trouble}\n{said}")) {
                return self.quit(outcome).await;
            }
        }
        let bytes = blast(text);
        self.write(&bytes[..bytes.len() - 3]).await?;
        self.critical = true;
        self.write(b".\r\n").await?;
        let (code, said) = self.answer().await?;
        self.critical = false;
        let outcome = refused(code, &format!("failed after I sent the message.\n{said}"));
        self.quit(outcome.unwrap_or(Outcome::Success(format!("accepted message.\n{said}")))).await
    }

    /// Says goodbye, if the server still listens.
    async fn quit(&mut self, outcome: Outcome) -> std::io::Result<Outcome> {
        let _ = self.write(b"QUIT\r\n").await;
        Ok(outcome)
    }

    async fn say(&mut self, line: &str) -> std::io::Result<(u16, String)> {
        self.write(&encode(&format!("{line}\r\n"))).await?;
        self.answer().await
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(self.limit, self.stream.write_all(bytes)).await?
    }

    /// Reads an answer of one or more lines.
    async fn answer(&mut self) -> std::io::Result<(u16, String)> {
        let mut said = String::from("Remote host said: ");
        loop {
            let mut line = Vec::new();
            if timeout(self.limit, self.stream.read_until(b'\n', &mut line)).await?? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            said.extend(line.iter().filter(|byte| **byte != b'\r').map(|byte| char::from(*byte)));
            let code = line.get(..3).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
            if line.get(3) != Some(&b'-') {
                return Ok((code.unwrap_or(599), said.trim_end().into()));
            }
        }
    }
}

fn refused(code: u16, why: &str) -> Option<Outcome> {
    match code {
        500.. => Some(Outcome::Failure(why.into())),
        400.. => Some(Outcome::Deferral(why.into())),
        _ => None,
    }
}

/// Returns a message as it goes over the wire: CRLF, dots doubled, a dot at its end.
pub fn blast(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 64);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            bytes.push(b'.');
        }
        bytes.extend(line.strip_suffix(b"\n").unwrap_or(line));
        bytes.extend(b"\r\n");
    }
    bytes.extend(b".\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::tests::home;
    use super::*;

    /// What mail to `user@example.com` comes to: where it goes, or the code of its outcome.
    fn goes(routes: &str, mx_of_example_com: &str) -> String {
        let network = format!(
            "own 192.0.2.10\na old.example 192.0.2.10\na new.example 192.0.2.20\nfail hosts.example\n{mx_of_example_com}\n"
        );
        let (_directory, home) = home(&[("active/network", &network)]);
        let network = Network::read(&home).unwrap();
        let code = |text: &str, mark: &str| {
            format!("{mark} {}", text.rsplit('#').next().unwrap_or_default().trim_end_matches(')'))
        };
        match targets(&network, routes, "example.com") {
            Ok(found) => found.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "),
            Err(Outcome::Deferral(text)) => code(&text, "deferred"),
            Err(Outcome::Failure(text)) => code(&text, "bounced"),
            Err(Outcome::Success(_)) => unreachable!(),
        }
    }

    #[test]
    fn a_route_leads_where_qmail_remote_was_measured_to_go() {
        const OLD: &str = "mx example.com 10 old.example";
        let rows = [
            ("example.com:10.77.0.20\n", "10.77.0.20:25"),
            ("example.com:[10.77.0.20]\n", "10.77.0.20:25"),
            ("example.com:10.77.0.20:25\n", "10.77.0.20:25"),
            ("example.com:[10.77.0.20]:2525\n", "10.77.0.20:2525"),
            ("EXAMPLE.com:10.77.0.20  \t", "10.77.0.20:25"),
            (".com:10.77.0.20\n", "10.77.0.20:25"),
            (":10.77.0.20\n", "10.77.0.20:25"),
            ("example.com:new.example\n", "192.0.2.20:25"),
            (".example.com:10.77.0.20\n", "bounced 5.4.6"),
            ("example.com:\n:10.77.0.20\n", "bounced 5.4.6"),
            (" example.com:10.77.0.20\n", "bounced 5.4.6"),
            ("", "bounced 5.4.6"),
            ("example.com:typo.example\n", "bounced 5.1.2"),
            ("example.com: 10.77.0.20\n", "deferred 4.1.2"),
            ("example.com:10.77.0.20\r\n", "deferred 4.1.2"),
            ("example.com:[::1]\n", "deferred 4.1.2"),
            ("example.com:hosts.example\n", "deferred 4.1.2"),
            // The host itself: no check is made.
            ("example.com:192.0.2.10\n", "192.0.2.10:25"),
        ];
        for (routes, expected) in rows {
            assert_eq!(goes(routes, OLD), expected, "{routes:?}");
        }
    }

    #[test]
    fn only_exchangers_that_are_better_than_this_host_are_used() {
        let rows = [
            ("mx example.com 5 new.example\nmx example.com 10 old.example", "192.0.2.20:25"),
            ("mx example.com 10 new.example\nmx example.com 10 old.example", "bounced 5.4.6"),
            ("mx example.com 20 new.example\nmx example.com 10 old.example", "bounced 5.4.6"),
            ("a example.com 192.0.2.10", "bounced 5.4.6"),
            ("a example.com 192.0.2.30", "192.0.2.30:25"),
            ("mx example.com 10 gone.example", "deferred 4.1.2"),
            ("", "bounced 5.1.2"),
        ];
        for (mx, expected) in rows {
            assert_eq!(goes("", mx), expected, "{mx}");
        }
    }

    #[test]
    fn a_message_goes_over_the_wire_whole() {
        assert_eq!(blast(b"a\n.\n..b\n"), b"a\r\n..\r\n...b\r\n.\r\n");
        assert_eq!(blast(b"no end"), b"no end\r\n.\r\n");
    }
}
