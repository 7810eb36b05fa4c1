//! The mail programs of the lab's hosts, and a third host outside, to which bounces go.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
use super::fill::DOMAINS;
use super::qmail::Home;

/// Where a host takes mail and where its users read it.
#[derive(Clone, Debug)]
pub struct Place {
    pub home: Home,
    pub smtp: SocketAddr,
    /// Nobody reads mail on the host outside.
    pub pop3: Option<SocketAddr>,
}

/// The hosts of a lab.
#[derive(Clone, Debug)]
pub struct Places {
    pub old: Place,
    pub new: Place,
    /// Bounces go there.
    pub outside: Place,
}

/// The mail services of a lab; they end when this is dropped.
pub struct Mail {
    pub places: Places,
    _daemons: Vec<Daemon>,
    /// The new host's qmail-smtpd; nothing while it is stopped.
    smtp_of_new: Option<Daemon>,
}

/// The hosts with the addresses they have in the lab's network; 192.0.2.0/24 exists nowhere else (RFC 5737).
const ADDRESSES: [(&str, &str); 3] = [("old", "192.0.2.10"), ("new", OF_NEW), ("outside", "192.0.2.99")];

/// The new host's address.
pub const OF_NEW: &str = "192.0.2.20";

/// Writes what the host outside goes by: it takes mail for `outside.example`, and keeps it in its queue.
pub fn fill_outside(directory: &Path, program: &Path) -> io::Result<()> {
    let home = home(directory, "outside");
    for part in ["control", "users", "active"] {
        std::fs::create_dir_all(home.path(part))?;
    }
    std::fs::write(home.path("control/me"), "mail.outside.example\n")?;
    std::fs::write(home.path("control/rcpthosts"), "outside.example\n")?;
    std::fs::write(home.path("users/assign"), ".\n")?;
    home.install(program)
}

/// The installation of a host of the lab in `directory`.
pub fn home(directory: &Path, host: &str) -> Home {
    Home::new(directory.join(host).join("var/qmail"))
}

impl Mail {
    /// Starts qmail-smtpd and qmail-pop3d on both hosts, then their qmail-sends, which then know where the others are.
    pub async fn start(directory: &Path) -> io::Result<Mail> {
        let (mut daemons, mut smtp_of_new) = (Vec::new(), None);
        let mut places = Vec::new();
        for (host, _) in ADDRESSES {
            let home = home(directory, host);
            let (daemon, smtp) = listener(&home, ("qmail-smtpd", ANY)).await?;
            match host {
                "new" => smtp_of_new = Some(daemon),
                _ => daemons.push(daemon),
            }
            let mut pop3 = None;
            if host != "outside" {
                let (daemon, address) = listener(&home, ("qmail-pop3d", ANY)).await?;
                daemons.push(daemon);
                pop3 = Some(address);
            }
            places.push(Place { home, smtp, pop3 });
        }
        for (place, (_, own)) in places.iter().zip(ADDRESSES) {
            std::fs::write(place.home.path("active/network"), network(own, &places))?;
        }
        for place in &places[..2] {
            let (daemon, _) = start(&place.home, "qmail-send", &[]).await?;
            daemons.push(daemon);
        }
        let services = places.iter().zip(ADDRESSES).map(|(place, (host, _))| {
            let pop3 = place.pop3.map_or(String::new(), |pop3| format!(", POP3 {pop3}"));
            format!("{host}: SMTP {}{pop3}\n", place.smtp)
        });
        std::fs::write(services_file(directory), services.collect::<String>())?;
        let missing = || io::Error::other("a host is missing");
        let mut places = places.into_iter();
        let mut next = || places.next().ok_or_else(missing);
        let places = Places { old: next()?, new: next()?, outside: next()? };
        Ok(Mail { places, _daemons: daemons, smtp_of_new })
    }

    /// Says where connections from a host to the lab's addresses, and to its own services, really lead.
    pub fn reaches(&self, host: &str) -> Vec<(String, SocketAddr)> {
        let Places { old, new, outside } = &self.places;
        let places = [old, new, outside];
        let own = if host == "old" { old } else { new };
        let smtp = places.iter().zip(ADDRESSES).map(|(place, (_, address))| (format!("{address}:25"), place.smtp));
        let pop3 = own.pop3.map(|pop3| ("127.0.0.1:110".to_string(), pop3));
        smtp.chain([("127.0.0.1:25".to_string(), own.smtp)]).chain(pop3).collect()
    }

    /// Ends the new host's qmail-smtpd: mail for it waits on the old one.
    pub fn stop_new(&mut self) {
        self.smtp_of_new = None;
    }

    /// Starts it again where it was.
    pub async fn start_new(&mut self) -> io::Result<()> {
        let new = &self.places.new;
        let at = new.smtp.to_string();
        self.smtp_of_new = Some(listener(&new.home, ("qmail-smtpd", &at)).await?.0);
        Ok(())
    }
}

/// A free port of this machine.
const ANY: &str = "127.0.0.1:0";

/// Where it is written which ports the hosts listen at.
pub fn services_file(directory: &Path) -> PathBuf {
    directory.join("services")
}

async fn start(home: &Home, name: &str, words: &[&str]) -> io::Result<(Daemon, String)> {
    let log = home.path(&format!("active/{name}.log"));
    Daemon::start(&home.path("bin").join(name), words, &log).await
}

async fn listener(home: &Home, (name, at): (&str, &str)) -> io::Result<(Daemon, SocketAddr)> {
    let (daemon, line) = start(home, name, &[at]).await?;
    let address = line.strip_prefix("listening ").and_then(|address| address.parse().ok());
    Ok((daemon, address.ok_or_else(|| io::Error::other(format!("`{name}` says `{line}`")))?))
}

/// The network as a host sees it: every domain's MX is the old host, for DNS is not what this lab moves.
fn network(own: &str, places: &[Place]) -> String {
    let mut text = format!("own {own}\na old.lab.example 192.0.2.10\na new.lab.example {OF_NEW}\n");
    text += "a mail.outside.example 192.0.2.99\nmx outside.example 10 mail.outside.example\n";
    text.extend(DOMAINS.iter().map(|domain| format!("mx {} 10 old.lab.example\n", domain.0)));
    text.extend(places.iter().zip(ADDRESSES).map(|(place, (_, address))| format!("to {address}:25 {}\n", place.smtp)));
    text
}
