//! POP3's unique ids as courier numbers them: `courierpop3dsizelist`, whose lines are `NAME SIZE NUMBER:UIDVALIDITY`.

use std::collections::BTreeMap;

use super::maildir::Spot;

/// Reads lists that stand one after the other: what messages have in the last list that names them, by name up to the colon.
///
/// Those of courier's second version (`/2 NEXT UIDVALIDITY`) and third, whose further field the second does not know.
pub fn numbers(lines: &[String]) -> BTreeMap<&str, String> {
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

fn entry(line: &str) -> Option<(&str, String)> {
    let mut words = line.rsplitn(3, ' ');
    let (ids, size, name) = (words.next()?, words.next()?, words.next()?);
    let mut ids = ids.split(':');
    let (number, validity) = (ids.next()?.parse::<u64>().ok()?, ids.next()?.parse::<u64>().ok()?);
    Some((name.split(':').next()?, format!("{} {number}:{validity}", size.parse::<u64>().ok()?)))
}

/// Returns the line for a message that is to be shown in the inbox as `spot`. Courier gives each an info suffix.
pub fn line(spot: &Spot, number: &str) -> String {
    let info = if spot.name.contains(':') { "" } else { ":2," };
    format!("{}{info} {number}", spot.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_list_that_names_a_message_counts_and_what_is_torn_or_not_numbered_does_not() {
        let text = "\n/2 4 17\n1.a:2,S 10 1:17\n2.b c:2, 20 2:17\n3.d:2, 3\n/1 3\n4.e:2, 9 1:1\n\n/3 9 18\n1.a:2,RS 10 8:18:0\n";
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let expected = [("1.a", "10 8:18".to_string()), ("2.b c", "20 2:17".into())];
        assert_eq!(numbers(&lines), BTreeMap::from(expected));
    }

    #[test]
    fn a_line_has_the_name_that_courier_gives_the_message() {
        assert_eq!(line(&Spot::parse("new/1.a").unwrap(), "10 8:18"), "1.a:2, 10 8:18");
        assert_eq!(line(&Spot::parse("cur/1.a:2,S").unwrap(), "10 8:18"), "1.a:2,S 10 8:18");
    }
}
