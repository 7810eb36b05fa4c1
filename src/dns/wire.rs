//! Messages of RFC 1035 and RFC 2136, to and from records as texts.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record as Wire, RecordType};

use super::value::{parse, read, text, written};
use super::{Question, Record, Rrset};

pub fn query(id: u16, question: &Question) -> Result<Message, String> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = question.recursive;
    message.add_query(Query::query(parse(&question.name)?, kind(&question.kind)?));
    Ok(message)
}

/// Makes the message that turns each `before` into its `after`, if all of them are there (RFC 2136, 2.4.2 and 2.4.3).
pub fn update(zone: &str, pairs: &[(Rrset, Rrset)]) -> Result<Message, String> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(parse(zone)?, RecordType::SOA));
    for (before, after) in pairs {
        let (name, kind) = (parse(&before.name)?, kind(&before.kind)?);
        if before.exists() {
            // The exact records, whatever their order and TTL.
            message.add_answers(records(&Rrset { ttl: 0, ..before.clone() })?);
            message.add_authority(bare(&name, kind, DNSClass::ANY));
        } else {
            message.add_answer(bare(&name, kind, DNSClass::NONE));
        }
        message.add_authorities(records(after)?);
    }
    Ok(message)
}

fn bare(name: &Name, kind: RecordType, class: DNSClass) -> Wire {
    let mut record = Wire::update0(name.clone(), 0, kind);
    record.dns_class = class;
    record
}

fn records(rrset: &Rrset) -> Result<Vec<Wire>, String> {
    let name = parse(&rrset.name)?;
    let record = |value: &String| Ok(Wire::from_rdata(name.clone(), rrset.ttl, read(&rrset.kind, value)?));
    rrset.values.iter().map(record).collect()
}

pub fn kind(kind: &str) -> Result<RecordType, String> {
    kind.parse().map_err(|_| format!("no record type `{kind}`"))
}

/// Returns the records whose type is known here.
pub fn known(records: &[Wire]) -> Vec<Record> {
    let known = records.iter().filter_map(|record| {
        let (name, kind) = (text(&record.name), record.record_type().to_string());
        Some(Record { name, ttl: record.ttl, kind, value: written(&record.data)? })
    });
    known.collect()
}

/// Returns the name of a code as `dig` and RFC 2136 have it.
pub fn code(code: ResponseCode) -> String {
    format!("{code:?}").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_asks_for_exactly_what_was_there() {
        let a = |value: &str| Rrset { ttl: 60, values: vec![value.into()], ..Rrset::absent("m.example.", "A") };
        let pairs = [
            (a("192.0.2.1"), a("192.0.2.2")),
            (Rrset::absent("n.example.", "A"), Rrset { name: "n.example.".into(), ..a("192.0.2.3") }),
        ];
        let message = update("example.", &pairs).unwrap();
        let show = |records: &[Wire]| -> Vec<String> {
            records
                .iter()
                .map(|record| format!("{} {} {:?} {:?}", record.name, record.ttl, record.dns_class, record.data))
                .collect()
        };
        assert_eq!(show(&message.answers), ["m.example. 0 IN A(A(192.0.2.1))", "n.example. 0 NONE Update0(A)"]);
        assert_eq!(
            show(&message.authorities),
            ["m.example. 0 ANY Update0(A)", "m.example. 60 IN A(A(192.0.2.2))", "n.example. 60 IN A(A(192.0.2.3))"]
        );
        Message::from_vec(&message.to_vec().unwrap()).unwrap();
    }
}
