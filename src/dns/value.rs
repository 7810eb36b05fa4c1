//! The text of names and values: what a person writes, what a server says, and one form to compare them in.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

/// The types whose values are read and written.
pub const TYPES: &[&str] = &["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SRV", "TXT"];

/// The most bytes of one string of a TXT record (RFC 1035, 3.3.14).
const STRING: usize = 255;

/// Returns a name as it is compared: absolute, in lower case. A relative one is below `origin`, as in a zone file.
pub fn absolute(name: &str, origin: &str) -> Result<String, String> {
    let whole = match name {
        "@" => origin.to_string(),
        name if name.ends_with('.') => name.to_string(),
        name if origin == "." => format!("{name}."),
        name => format!("{name}.{origin}"),
    };
    parse(&whole).map(|name| text(&name))
}

/// Returns a value as it is compared and shown: `10 mail` below `example.com.` is `10 mail.example.com.`
pub fn canonical(kind: &str, value: &str, origin: &str) -> Result<String, String> {
    let value = value.trim();
    let wrong = || format!("`{value}` is no value of a record of type {kind}");
    let words: Vec<&str> = value.split_whitespace().collect();
    let named = |numbers: usize| -> Result<String, String> {
        let (name, numbers) = match words.split_last() {
            Some((name, rest)) if rest.len() == numbers => (name, rest),
            _ => return Err(wrong()),
        };
        let numbers: Result<Vec<u16>, _> = numbers.iter().map(|number| number.parse()).collect();
        let numbers = numbers.map_err(|_| wrong())?;
        let words = numbers.iter().map(u16::to_string).chain([absolute(name, origin)?]);
        Ok(words.collect::<Vec<_>>().join(" "))
    };
    match kind {
        "A" => value.parse::<Ipv4Addr>().map(|address| address.to_string()).map_err(|_| wrong()),
        "AAAA" => value.parse::<Ipv6Addr>().map(|address| address.to_string()).map_err(|_| wrong()),
        "CNAME" | "NS" | "PTR" => named(0),
        "MX" => named(1),
        "SRV" => named(3),
        "TXT" => strings(value).map(|strings| quoted(strings.iter().map(Vec::as_slice))).ok_or_else(wrong),
        "CAA" => match RData::try_from_str(RecordType::CAA, value) {
            Ok(RData::CAA(caa)) => Ok(caa.to_string()),
            _ => Err(wrong()),
        },
        _ => Err(format!("records of type `{kind}` are not supported; these are: {}", TYPES.join(", "))),
    }
}

/// Reads a canonical value.
pub fn read(kind: &str, value: &str) -> Result<RData, String> {
    let wrong = || format!("`{value}` is no value of a record of type {kind}");
    let words: Vec<&str> = value.split_whitespace().collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<u16>().ok()).ok_or_else(wrong);
    let name = || words.last().ok_or_else(wrong).and_then(|name| parse(name));
    Ok(match kind {
        "A" => RData::A(A(value.parse().map_err(|_| wrong())?)),
        "AAAA" => RData::AAAA(AAAA(value.parse().map_err(|_| wrong())?)),
        "CNAME" => RData::CNAME(CNAME(name()?)),
        "NS" => RData::NS(NS(name()?)),
        "PTR" => RData::PTR(PTR(name()?)),
        "MX" => RData::MX(MX::new(number(0)?, name()?)),
        "SRV" => RData::SRV(SRV::new(number(0)?, number(1)?, number(2)?, name()?)),
        "TXT" => {
            let strings = strings(value).ok_or_else(wrong)?;
            RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
        }
        _ => RData::try_from_str(kind.parse().map_err(|_| wrong())?, value).map_err(|_| wrong())?,
    })
}

/// Returns the canonical text of a value; nothing for a type that is only passed by.
pub fn written(data: &RData) -> Option<String> {
    Some(match data {
        RData::A(A(address)) => address.to_string(),
        RData::AAAA(AAAA(address)) => address.to_string(),
        RData::CNAME(CNAME(name)) | RData::NS(NS(name)) | RData::PTR(PTR(name)) => text(name),
        RData::MX(mx) => format!("{} {}", mx.preference, text(&mx.exchange)),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, text(&srv.target)),
        RData::TXT(txt) => quoted(txt.txt_data.iter().map(|string| &**string)),
        RData::CAA(caa) => CAA::to_string(caa),
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            text(&soa.mname),
            text(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        _ => return None,
    })
}

pub fn parse(name: &str) -> Result<Name, String> {
    let mut parsed = Name::from_ascii(name).map_err(|error| format!("`{name}` is no name: {error}"))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

pub fn text(name: &Name) -> String {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name.to_ascii()
}

/// Reads the strings of a TXT value (RFC 1035, 5.1). One without quotes is a whole text, cut to strings where it is long.
fn strings(value: &str) -> Option<Vec<Vec<u8>>> {
    if !value.starts_with('"') {
        let bytes = value.as_bytes();
        return Some(match bytes.is_empty() {
            true => vec![Vec::new()],
            false => bytes.chunks(STRING).map(<[u8]>::to_vec).collect(),
        });
    }
    let mut strings = Vec::new();
    let mut rest = value.as_bytes();
    while let [b'"', inner @ ..] = rest {
        let mut string = Vec::new();
        let mut left = inner;
        loop {
            match left {
                [b'"', after @ ..] => {
                    rest = after.trim_ascii_start();
                    break;
                }
                [b'\\', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..] => {
                    let digits = [a, b, c].iter().fold(0, |sum: u32, digit| sum * 10 + u32::from(**digit - b'0'));
                    string.push(u8::try_from(digits).ok()?);
                    left = after;
                }
                [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                    string.push(*byte);
                    left = after;
                }
                [] => return None,
            }
        }
        if string.len() > STRING {
            return None;
        }
        strings.push(string);
    }
    (rest.is_empty() && !strings.is_empty()).then_some(strings)
}

fn quoted<'a>(strings: impl Iterator<Item = &'a [u8]>) -> String {
    let quote = |string: &[u8]| {
        let bytes = string.iter().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", *byte as char),
            b' '..=b'~' => (*byte as char).to_string(),
            byte => format!("\\{byte:03}"),
        });
        format!("\"{}\"", bytes.collect::<String>())
    };
    strings.map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_form_and_is_read_back_from_it() {
        for (kind, given, form) in [
            ("A", "192.0.2.1", "192.0.2.1"),
            ("AAAA", "2001:DB8:0::1", "2001:db8::1"),
            ("CNAME", "Mail", "mail.example.com."),
            ("CNAME", "@", "example.com."),
            ("MX", "010  MAIL.example.net.", "10 mail.example.net."),
            ("SRV", "1 2 143 imap", "1 2 143 imap.example.com."),
            ("TXT", "v=spf1 a:\"x\" -all", r#""v=spf1 a:\"x\" -all""#),
            ("TXT", r#""a\"b" "\195\164;""#, r#""a\"b" "\195\164;""#),
            ("CAA", "0 issue \"ca.example.net\"", "0 issue \"ca.example.net\""),
        ] {
            assert_eq!(canonical(kind, given, "example.com.").as_deref(), Ok(form), "{given}");
            assert_eq!(written(&read(kind, form).unwrap()).as_deref(), Some(form));
        }
        let long = canonical("TXT", &"x".repeat(300), ".").unwrap();
        assert_eq!(long, format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
        assert_eq!(strings("ä").unwrap(), [b"\xc3\xa4"]);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (kind, value) in [
            ("A", "mail"),
            ("A", "1.2.3"),
            ("AAAA", "192.0.2.1"),
            ("MX", "mail"),
            ("MX", "70000 mail"),
            ("CNAME", "a b"),
            ("TXT", "\"open"),
            ("TXT", "\"a\" b"),
            ("NULL", "x"),
        ] {
            assert!(canonical(kind, value, "example.com.").is_err(), "{kind} {value}");
        }
    }
}
