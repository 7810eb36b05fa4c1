//! What stands for the network of a host: names, MX records, own addresses and where connections really go.
//!
//! The file `active/network` has lines `a NAME ADDRESS`, `mx DOMAIN PREFERENCE HOST`, `fail NAME` (its servers do not
//! answer), `own ADDRESS`, `to ADDRESS:PORT ADDRESS:PORT` and `dns ADDRESS:PORT`, a server that knows names the other lines
//! do not. Without the file no name is known, and mail to names waits.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::Home;
use crate::dns::{Answer, Client, Question};
use crate::transport::{Address, TransportError};

#[derive(Debug, Default)]
pub struct Network {
    rows: Vec<Vec<String>>,
    is_known: bool,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Servers did not answer, or the name is none.
    Later,
    /// There is no such name.
    None,
}

/// An address that takes mail for a domain; the lowest preference is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchanger {
    pub preference: u32,
    pub address: Ipv4Addr,
}

impl Network {
    pub fn read(home: &Home) -> io::Result<Network> {
        match std::fs::read_to_string(home.path("active/network")) {
            Ok(text) => Ok(Network::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Network::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Network {
        let words = |line: &str| line.split_whitespace().map(str::to_string).collect();
        Network { rows: text.lines().map(words).collect(), is_known: true }
    }

    /// Asks the server of a `dns` line, if there is one, for the exchangers and addresses of a name: they are lines from now on.
    pub async fn learn(&mut self, name: &str) {
        let server = self.rows.iter().find(|row| row.len() == 2 && row[0] == "dns").map(|row| row[1].clone());
        let Some(server) = server.and_then(|server| server.parse().ok()) else { return };
        if name.parse::<Ipv4Addr>().is_ok() || name.starts_with('[') {
            return;
        }
        let learnt = async {
            let found = ask(server, &[name], &["MX", "A"]).await?;
            let exchangers: Vec<String> =
                rows(&found, name, "MX").into_iter().filter_map(|row| row.get(3).cloned()).collect();
            let names: Vec<&str> = exchangers.iter().map(String::as_str).collect();
            let addresses = if names.is_empty() { Vec::new() } else { ask(server, &names, &["A"]).await? };
            let of_names = names.iter().flat_map(|name| rows(&addresses, name, "A"));
            let own = ["MX", "A"].into_iter().flat_map(|kind| rows(&found, name, kind));
            Ok::<_, TransportError>(own.chain(of_names).collect::<Vec<_>>())
        };
        match learnt.await {
            Ok(learnt) => self.rows.extend(learnt),
            Err(_) => self.rows.push(vec!["fail".into(), name.into()]),
        }
    }

    /// Returns the addresses of a name, as `dns_ip` has them: A records, never a hosts file.
    pub fn addresses(&self, name: &str) -> Result<Vec<Ipv4Addr>, Lookup> {
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !self.is_known || name.is_empty() || !name.bytes().all(letters) {
            return Err(Lookup::Later);
        }
        let mut found = Vec::new();
        for row in &self.rows {
            match row.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["a", of, address] if of.eq_ignore_ascii_case(name) => found.extend(address.parse::<Ipv4Addr>().ok()),
                ["fail", of] if of.eq_ignore_ascii_case(name) => return Err(Lookup::Later),
                _ => {}
            }
        }
        if found.is_empty() { Err(Lookup::None) } else { Ok(found) }
    }

    /// Returns the addresses of a domain's exchangers, the best first; of the domain itself where it has no MX.
    pub fn exchangers(&self, domain: &str) -> Result<Vec<Exchanger>, Lookup> {
        let mut found = Vec::new();
        let mut has_mx = false;
        for row in &self.rows {
            let [kind, of, preference, host] = &row[..] else { continue };
            if kind == "mx" && of.eq_ignore_ascii_case(domain) {
                has_mx = true;
                let preference = preference.parse().unwrap_or(0);
                let addresses =
                    self.addresses(host).or_else(|why| if why == Lookup::None { Ok(Vec::new()) } else { Err(why) })?;
                found.extend(addresses.into_iter().map(|address| Exchanger { preference, address }));
            }
        }
        if !has_mx {
            found = self.addresses(domain)?.into_iter().map(|address| Exchanger { preference: 0, address }).collect();
        }
        found.sort();
        Ok(found)
    }

    /// Says whether an address is this host's.
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        let listed = |row: &Vec<String>| row[..] == ["own".to_string(), address.to_string()];
        // Only an address of this host can be bound.
        self.rows.iter().any(listed) || UdpSocket::bind((address, 0)).is_ok()
    }

    /// Returns where a connection to this address really goes.
    pub fn destination(&self, address: SocketAddr) -> SocketAddr {
        let name = address.to_string();
        let row = self.rows.iter().find(|row| row.len() == 3 && row[0] == "to" && row[1] == name);
        row.and_then(|row| row[2].parse().ok()).unwrap_or(address)
    }
}

/// Asks a server for records of each type of each name.
async fn ask(server: SocketAddr, names: &[&str], kinds: &[&str]) -> Result<Vec<Answer>, TransportError> {
    let absolute = |name: &&str| format!("{}.", name.trim_end_matches('.'));
    let questions: Vec<Question> =
        names.iter().flat_map(|name| kinds.iter().map(move |kind| Question::new(&absolute(name), kind))).collect();
    let address = Address::new(server.ip().to_string(), server.port());
    let refused = |error: io::Error| TransportError::Refused(error.to_string());
    let (read, write) = tokio::net::TcpStream::connect(server).await.map_err(refused)?.into_split();
    let stream: crate::transport::Stream = tokio::io::join(Box::new(read), Box::new(write));
    Client::new(stream, &address, None).ask(&questions).await
}

/// The records of one type of a name as lines of the file.
fn rows(answers: &[Answer], name: &str, kind: &str) -> Vec<Vec<String>> {
    let absolute = format!("{}.", name.trim_end_matches('.'));
    let records = answers.iter().flat_map(|answer| &answer.records);
    let own = records.filter(|record| record.kind == kind && record.name.eq_ignore_ascii_case(&absolute));
    let words = own.map(|record| record.value.trim_end_matches('.').split(' ').map(str::to_string));
    words.map(|words| [kind.to_lowercase(), name.into()].into_iter().chain(words).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "own 192.0.2.10\nto 192.0.2.20:25 127.0.0.1:4025\na mail.example 192.0.2.7\na mail.example 192.0.2.8\n\
        mx example.com 20 backup.example\nmx example.com 10 mail.example\na backup.example 192.0.2.9\nfail slow.example\n\
        mx empty.example 10 gone.example\n";

    #[test]
    fn names_and_exchangers_are_those_of_the_table() {
        let network = Network::parse(TEXT);
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(network.addresses("MAIL.example"), Ok(vec![address("192.0.2.7"), address("192.0.2.8")]));
        for literal in ["10.77.0.20", "[10.77.0.20]"] {
            assert_eq!(network.addresses(literal), Ok(vec![address("10.77.0.20")]));
        }
        assert_eq!(network.addresses("gone.example"), Err(Lookup::None));
        for later in ["slow.example", " 10.77.0.20", "10.77.0.20\r", "["] {
            assert_eq!(network.addresses(later), Err(Lookup::Later), "{later:?}");
        }
        assert_eq!(Network::default().addresses("mail.example"), Err(Lookup::Later));
        let found = network.exchangers("example.com").unwrap();
        assert_eq!(found.iter().map(|mx| mx.preference).collect::<Vec<_>>(), [10, 10, 20]);
        assert_eq!(network.exchangers("mail.example").unwrap().len(), 2, "an address without MX is its own exchanger");
        assert_eq!(network.exchangers("empty.example"), Ok(Vec::new()));
    }

    #[test]
    fn own_addresses_and_destinations() {
        let network = Network::parse(TEXT);
        for (address, own) in [("192.0.2.10", true), ("127.0.0.1", true), ("192.0.2.20", false)] {
            assert_eq!(network.is_own(address.parse().unwrap()), own, "{address}");
        }
        let to = |text: &str| network.destination(text.parse().unwrap()).to_string();
        assert_eq!((to("192.0.2.20:25"), to("192.0.2.20:26")), ("127.0.0.1:4025".into(), "192.0.2.20:26".into()));
    }
}
