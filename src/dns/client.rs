//! One connection to a server: many questions in one go, or an update.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::tsig::Proof;
use super::{Key, Record, Rrset, wire};
use crate::transport::{Address, Stream, TransportError};

/// Questions that are under way at once: few enough that a server's answers find room while they are sent.
const AT_ONCE: usize = 100;

/// A server is given this long for each batch of questions, or an update.
pub const LIMIT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Absolute.
    pub name: String,
    pub kind: String,
    /// Whether the server may ask others.
    pub recursive: bool,
}

impl Question {
    /// One that only the server itself is to answer.
    pub fn new(name: &str, kind: &str) -> Question {
        Question { name: name.into(), kind: kind.into(), recursive: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `NOERROR`, `NXDOMAIN`, `REFUSED`.
    pub code: String,
    pub authoritative: bool,
    pub records: Vec<Record>,
    /// Of the zone, where the name has no such records.
    pub authority: Vec<Record>,
}

impl Answer {
    /// Says whether the name, or its records of the type, or their absence, are the server's to tell.
    pub fn is_its_own(&self) -> bool {
        self.authoritative && ["NOERROR", "NXDOMAIN"].contains(&self.code.as_str())
    }
}

/// What a server made of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    Done,
    /// The records are not those that were asked for; the code says how.
    Stale(String),
    Refused(String),
}

/// A connection to one server.
pub struct Client<'a> {
    stream: Stream,
    server: &'a Address,
    key: Option<&'a Key>,
}

impl<'a> Client<'a> {
    pub fn new(stream: Stream, server: &'a Address, key: Option<&'a Key>) -> Client<'a> {
        Client { stream, server, key }
    }

    /// Asks all questions; their answers are in the same order.
    pub async fn ask(&mut self, questions: &[Question]) -> Result<Vec<Answer>, TransportError> {
        let mut answers = Vec::new();
        for batch in questions.chunks(AT_ONCE) {
            let mut messages = Vec::new();
            for (id, question) in (0..).zip(batch) {
                messages.push(wire::query(id, question).map_err(TransportError::Refused)?);
            }
            for message in self.exchange(messages).await.map_err(|trouble| self.refused(&trouble))? {
                answers.push(Answer {
                    code: wire::code(message.metadata.response_code),
                    authoritative: message.metadata.authoritative,
                    records: wire::known(&message.answers),
                    authority: wire::known(&message.authorities),
                });
            }
        }
        Ok(answers)
    }

    /// Returns the sets of `wanted` names and types as the server itself has them.
    pub async fn rrsets(&mut self, wanted: &[(String, String)]) -> Result<Vec<Rrset>, TransportError> {
        let questions: Vec<Question> = wanted.iter().map(|(name, kind)| Question::new(name, kind)).collect();
        let answers = self.ask(&questions).await?;
        let rrsets = wanted.iter().zip(answers).map(|((name, kind), answer)| match answer.is_its_own() {
            true => Ok(Rrset::among(&answer.records, name, kind)),
            false => Err(TransportError::Refused(format!(
                "the name server at {} does not answer for `{name}` by itself ({})",
                self.server, answer.code
            ))),
        });
        rrsets.collect()
    }

    /// Returns all records of a zone as the server transfers them (RFC 5936), a line each, with names in lower case.
    pub async fn transfer(&mut self, zone: &str) -> Result<BTreeSet<String>, TransportError> {
        let message = wire::query(1, &Question::new(zone, "AXFR")).map_err(TransportError::Refused)?;
        let late = || Trouble::Lost(format!("the zone is not there within {} s", LIMIT.as_secs()));
        let all = tokio::time::timeout(LIMIT, self.all_of(message)).await.unwrap_or_else(|_| Err(late()));
        all.map_err(|trouble| self.refused(&trouble))
    }

    async fn all_of(&mut self, message: Message) -> Result<BTreeSet<String>, Trouble> {
        let mut proof = self.send(vec![message]).await?.pop().and_then(|(_, proof)| proof);
        let (mut lines, mut ends, mut proven) = (BTreeSet::new(), 0, true);
        // A transfer begins and ends with the zone's SOA.
        while ends < 2 {
            let (bytes, answer) = self.read().await?;
            if let Some(proof) = &mut proof {
                proven = proof.take(&bytes).map_err(Trouble::Wrong)?;
            }
            match answer.metadata.response_code {
                ResponseCode::NoError if !answer.answers.is_empty() => {}
                ResponseCode::NoError => return Err(Trouble::Wrong("it transfers nothing".into())),
                code => return Err(Trouble::Wrong(format!("it does not transfer the zone ({})", wire::code(code)))),
            }
            for record in &answer.answers {
                let kind = record.record_type().to_string();
                ends += usize::from(kind == "SOA");
                let name = record.name.to_string().to_lowercase();
                lines.insert(format!("{name} {} {kind} {}", record.ttl, record.data));
            }
        }
        match proven {
            true => Ok(lines),
            false => Err(Trouble::Wrong("the end of the zone is not signed".into())),
        }
    }

    async fn read(&mut self) -> Result<(Vec<u8>, Message), Trouble> {
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).await?;
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        self.stream.read_exact(&mut bytes).await?;
        let message = Message::from_vec(&bytes).map_err(|error| Trouble::Wrong(error.to_string()))?;
        Ok((bytes, message))
    }

    /// Turns each first set into the second, all or none, if the server has all of the first ones.
    pub async fn update(&mut self, zone: &str, pairs: &[(Rrset, Rrset)]) -> Result<Updated, TransportError> {
        let message = wire::update(zone, pairs).map_err(TransportError::Refused)?;
        let answer = self.exchange(vec![message]).await.map_err(|trouble| match trouble {
            Trouble::Lost(_) => TransportError::Uncertain(self.named(&trouble)),
            Trouble::Wrong(_) => self.refused(&trouble),
        })?;
        let code = answer.first().map_or(ResponseCode::ServFail, |answer| answer.metadata.response_code);
        let name = wire::code(code);
        Ok(match code {
            ResponseCode::NoError => Updated::Done,
            ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain => {
                Updated::Stale(name)
            }
            _ => Updated::Refused(name),
        })
    }

    /// Sends messages and returns their answers in the same order; a server may answer in another (RFC 7766, 6.2.1.1).
    async fn exchange(&mut self, messages: Vec<Message>) -> Result<Vec<Message>, Trouble> {
        let late = || Trouble::Lost(format!("no answer within {} s", LIMIT.as_secs()));
        tokio::time::timeout(LIMIT, self.talk(messages)).await.unwrap_or_else(|_| Err(late()))
    }

    fn refused(&self, trouble: &Trouble) -> TransportError {
        TransportError::Refused(self.named(trouble))
    }

    fn named(&self, trouble: &Trouble) -> String {
        let (Trouble::Lost(why) | Trouble::Wrong(why)) = trouble;
        format!("the name server at {}: {why}", self.server)
    }

    async fn talk(&mut self, messages: Vec<Message>) -> Result<Vec<Message>, Trouble> {
        let mut sent = self.send(messages).await?;
        let mut answers: Vec<Option<Message>> = sent.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let (bytes, answer) = self.read().await?;
            let place = sent.iter().position(|(id, _)| *id == answer.metadata.id);
            let place = place.ok_or_else(|| Trouble::Wrong("it answers what was not asked".into()))?;
            if let Some(proof) = &mut sent[place].1 {
                proof.take(&bytes).map_err(Trouble::Wrong)?;
            }
            answers[place] = Some(answer);
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends messages, signed where there is a key; returns the number of each, and what is to prove its answer.
    async fn send(&mut self, messages: Vec<Message>) -> Result<Vec<(u16, Option<Proof<'a>>)>, Trouble> {
        let (mut all, mut sent) = (Vec::new(), Vec::new());
        let now = seconds();
        for message in messages {
            let id = message.metadata.id;
            let bytes = message.to_vec().map_err(|error| Trouble::Wrong(error.to_string()))?;
            let (bytes, proof) = match self.key {
                Some(key) => {
                    let (bytes, mac) = key.sign(bytes, now).map_err(Trouble::Wrong)?;
                    (bytes, Some(Proof::new(key, mac, now)))
                }
                None => (bytes, None),
            };
            let length = u16::try_from(bytes.len());
            let length = length.map_err(|_| Trouble::Wrong("more than fits into one message".into()))?;
            all.extend(length.to_be_bytes());
            all.extend(bytes);
            sent.push((id, proof));
        }
        self.stream.write_all(&all).await?;
        self.stream.flush().await?;
        Ok(sent)
    }
}

enum Trouble {
    /// Nobody knows whether the server has heard it.
    Lost(String),
    Wrong(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Lost(error.to_string())
    }
}

/// Seconds since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
