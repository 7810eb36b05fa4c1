//! POP3's unique ids as courier numbers them: `courierpop3dsizelist`, whose lines are `NAME SIZE NUMBER:UIDVALIDITY`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::maildir::Spot;

/// The list on the new host that what messages are numbered by is added to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum List {
    /// Courier's own.
    #[default]
    Courier,
    /// Dovecot's list of UIDs, whose field `P` is a unique id for POP3 that goes before `pop3_uidl_format`.
    Dovecot,
}

impl List {
    /// The name of its file in a Maildir.
    pub fn name(self) -> &'static str {
        match self {
            List::Courier => "courierpop3dsizelist",
            List::Dovecot => "dovecot-uidlist",
        }
    }

    /// Returns the line for a message that is to be shown in the inbox as `spot`.
    pub fn line(self, spot: &Spot, Number { size, number, validity }: Number) -> String {
        let name = &spot.name;
        match self {
            // Courier gives each an info suffix.
            List::Courier => {
                let info = if name.contains(':') { "" } else { ":2," };
                format!("{name}{info} {size} {number}:{validity}")
            }
            // Dovecot's UID goes before it. Courier's server says `UID7-1700000000`.
            List::Dovecot => format!("PUID{number}-{validity} :{name}"),
        }
    }
}

/// What courier numbers a message by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// In bytes.
    size: u64,
    number: u64,
    validity: u64,
}

/// Reads lists that stand one after the other: what messages have in the last list that names them, by name up to the colon.
///
/// Those of courier's second version (`/2 NEXT UIDVALIDITY`) and third, whose further field the second does not know.
pub fn numbers(lines: &[String]) -> BTreeMap<&str, Number> {
    let mut found = BTreeMap::new();
    let mut is_numbered = false;
    for line in lines {
        if let Some(header) = line.strip_prefix('/') {
            is_numbered = header.starts_with("2 ") || header.starts_with("3 ");
        } else if is_numbered {
            found.extend(entry(line));
        }
    }
    found
}

fn entry(line: &str) -> Option<(&str, Number)> {
    let mut words = line.rsplitn(3, ' ');
    let (ids, size, name) = (words.next()?, words.next()?, words.next()?);
    let mut ids = ids.split(':');
    let (number, validity) = (ids.next()?.parse().ok()?, ids.next()?.parse().ok()?);
    Some((name.split(':').next()?, Number { size: size.parse().ok()?, number, validity }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_list_that_names_a_message_counts_and_what_is_torn_or_not_numbered_does_not() {
        let text = "\n/2 4 17\n1.a:2,S 10 1:17\n2.b c:2, 20 2:17\n3.d:2, 3\n/1 3\n4.e:2, 9 1:1\n\n/3 9 18\n1.a:2,RS 10 8:18:0\n";
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let number = |size, number, validity| Number { size, number, validity };
        assert_eq!(numbers(&lines), BTreeMap::from([("1.a", number(10, 8, 18)), ("2.b c", number(20, 2, 17))]));
    }

    #[test]
    fn a_line_has_the_name_that_the_server_gives_the_message() {
        let line =
            |list: List, path| list.line(&Spot::parse(path).unwrap(), Number { size: 10, number: 8, validity: 18 });
        assert_eq!(line(List::Courier, "new/1.a"), "1.a:2, 10 8:18");
        assert_eq!(line(List::Courier, "cur/1.a:2,S"), "1.a:2,S 10 8:18");
        assert_eq!(line(List::Dovecot, "new/1.a"), "PUID8-18 :1.a");
        assert_eq!(line(List::Dovecot, "cur/1.a:2,S"), "PUID8-18 :1.a:2,S");
    }
}
