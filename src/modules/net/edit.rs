//! Records of a master file set or removed in its text, and its serial made higher.

use std::ops::Range;

use super::master::{Entry, Master};

/// What the records of one name and type are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Absolute, in lower case.
    pub name: String,
    pub kind: String,
    /// As they are compared; nothing: those that are there.
    pub values: Option<Vec<String>>,
    /// Nothing: that of those that are there.
    pub ttl: Option<u32>,
}

/// How serials are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serials {
    /// As the one that is there looks.
    Auto,
    /// `YYYYMMDDNN`.
    Date,
    Counter,
}

/// Pieces of a text and what stands in their place; they do not overlap.
#[derive(Default)]
struct Pieces(Vec<(Range<usize>, String)>);

impl Pieces {
    fn put(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.0.push((span, text.into()));
    }

    fn into_text(mut self, text: &str) -> String {
        self.0.sort_by_key(|(span, _)| (span.start, span.end));
        let (mut made, mut at) = (String::new(), 0);
        for (span, instead) in self.0 {
            made += &text[at..span.start];
            made += &instead;
            at = span.end;
        }
        made + &text[at..]
    }
}

/// Returns the text of the zone `origin` with these records; the serial is left alone.
pub fn set(text: &str, origin: &str, sets: &[Set]) -> Result<String, String> {
    let mut text = text.to_string();
    for set in sets {
        text = set_one(&text, &Master::read(&text, origin)?, set)?;
    }
    Ok(text)
}

fn set_one(text: &str, master: &Master, set: &Set) -> Result<String, String> {
    let found: Vec<(usize, &Entry)> = master.of(&set.name, &set.kind).collect();
    let mut pieces = Pieces::default();
    let wanted = set.values.clone();
    let mut missing: Vec<String> = wanted.clone().unwrap_or_default();
    let (kept, surplus): (Vec<_>, Vec<_>) = found.iter().partition(|(_, entry)| match (&wanted, entry.value()) {
        (None, _) => true,
        (Some(_), Some(value)) => match missing.iter().position(|one| *one == value) {
            Some(at) => {
                missing.remove(at);
                true
            }
            None => false,
        },
        (Some(_), None) => false,
    });
    let mut gone = Vec::new();
    for (index, entry) in surplus {
        match missing.is_empty() {
            true => gone.push(index),
            // One value in the place of another: name, comment and spacing stay.
            false => {
                pieces.put(entry.value_span(), missing.remove(0));
                set_ttl(&mut pieces, entry, set.ttl)?;
            }
        }
    }
    for (_, entry) in kept {
        set_ttl(&mut pieces, entry, set.ttl)?;
    }
    for index in &gone {
        remove(&mut pieces, (master, *index), &gone);
    }
    if !missing.is_empty() {
        let ttl = set.ttl.or(found.first().and_then(|(_, entry)| entry.ttl_span.as_ref().and(entry.ttl)));
        add(&mut pieces, (text, master), (set, ttl, &missing));
    }
    Ok(pieces.into_text(text))
}

fn set_ttl(pieces: &mut Pieces, entry: &Entry, ttl: Option<u32>) -> Result<(), String> {
    let Some(ttl) = ttl.filter(|ttl| entry.ttl != Some(*ttl)) else { return Ok(()) };
    match (&entry.ttl_span, entry.ttl) {
        (Some(span), _) => pieces.put(span.clone(), ttl.to_string()),
        // A TTL here would be that of the records behind it, too (RFC 1035, 5.1).
        (None, None) => return Err("it has no `$TTL`".into()),
        (None, Some(_)) => pieces.put(entry.kind_span.start..entry.kind_span.start, format!("{ttl} ")),
    }
    Ok(())
}

/// Takes a record out. One behind it that has no name of its own gets this one's.
fn remove(pieces: &mut Pieces, (master, index): (&Master, usize), gone: &[usize]) {
    let entry = &master.entries[index];
    pieces.put(entry.span.clone(), "");
    let heir = (index + 1..master.entries.len()).find(|next| !gone.contains(next));
    let between = || master.entries[index + 1..].iter().take_while(|next| next.owner.is_none());
    let Some(heir) = heir.map(|heir| &master.entries[heir]) else { return };
    // A name that stays, before this one, serves too.
    let before = (0..index).rev().find(|earlier| !gone.contains(earlier)).map(|earlier| &master.entries[earlier]);
    let served = before.is_some_and(|before| before.name == entry.name);
    let place = heir.span.start..heir.span.start;
    // Another that goes may have left it its name already.
    let named = pieces.0.iter().any(|(span, _)| *span == place);
    if heir.owner.is_none() && !served && !named && between().any(|next| next == heir) {
        pieces.put(place, entry.name.clone());
    }
}

/// Adds records: behind the last of the same name, or at the end of the file.
fn add(pieces: &mut Pieces, (text, master): (&str, &Master), (set, ttl, values): (&Set, Option<u32>, &[String])) {
    let ttl = ttl.map(|ttl| format!("{ttl} ")).unwrap_or_default();
    let line = |owner: &str, value: &String| format!("{owner}\t{ttl}IN {}\t{value}\n", set.kind);
    let neighbour = master.entries.iter().rev().find(|entry| entry.name == set.name);
    let (at, lines): (usize, String) = match neighbour {
        // The line after it may have no name of its own either.
        Some(entry) => (entry.span.end, values.iter().map(|value| line("", value)).collect()),
        None => (text.len(), values.iter().map(|value| line(&set.name, value)).collect()),
    };
    let ended = at == 0 || text[..at].ends_with('\n');
    pieces.put(at..at, if ended { lines } else { format!("\n{lines}") });
}

/// Returns the text with a higher serial, and the serials before and after. `today` is `YYYYMMDD`.
pub fn bump(text: &str, origin: &str, (serials, today): (Serials, u32)) -> Result<(String, u32, u32), String> {
    let (span, old) = Master::read(text, origin)?.serial()?;
    let new = next(old, serials, today);
    let mut pieces = Pieces::default();
    pieces.put(span, new.to_string());
    Ok((pieces.into_text(text), old, new))
}

/// Returns a serial that is higher than `old` as RFC 1982 counts.
fn next(old: u32, serials: Serials, today: u32) -> u32 {
    let dated = |serial: u32| {
        let (month, day) = (serial / 10_000 % 100, serial / 100 % 100);
        (1990..2100).contains(&(serial / 1_000_000)) && (1..=12).contains(&month) && (1..=31).contains(&day)
    };
    let first = today * 100;
    // Zero has a meaning of its own for some servers.
    let counted = old.checked_add(1).unwrap_or(1);
    match serials {
        Serials::Auto if !dated(old) => counted,
        Serials::Counter => counted,
        _ if is_higher(first, old) => first,
        _ => counted,
    }
}

/// RFC 1982, 3.2.
fn is_higher(new: u32, old: u32) -> bool {
    let distance = new.wrapping_sub(old);
    distance != 0 && distance < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "$TTL 3600\n@ SOA ns root 10 1 1 1 1\n  NS ns\nmail 7200 IN A 10.0.0.1 ; the old one\n\
                        \tTXT x\npop A 10.0.0.1\n; the end\n@ MX 10 mail\n";

    type Asked<'a> = (&'a str, &'a str, Option<&'a [&'a str]>, Option<u32>);

    fn with(sets: &[Asked]) -> String {
        let sets: Vec<Set> = sets
            .iter()
            .map(|(name, kind, values, ttl)| Set {
                name: format!("{name}example."),
                kind: (*kind).into(),
                values: values.map(|values| values.iter().map(|value| (*value).to_string()).collect()),
                ttl: *ttl,
            })
            .collect();
        let made = set(FILE, "example.", &sets).unwrap();
        // What is there already is left alone.
        assert_eq!(set(&made, "example.", &sets).unwrap(), made);
        made
    }

    #[test]
    fn values_and_ttls_change_in_their_places() {
        let made = with(&[
            ("mail.", "A", Some(&["10.0.0.2"]), Some(900)),
            ("pop.", "A", None, Some(900)),
            ("", "MX", Some(&["10 mail.example.net."]), None),
        ]);
        let expected = FILE
            .replace("mail 7200 IN A 10.0.0.1", "mail 900 IN A 10.0.0.2")
            .replace("pop A", "pop 900 A")
            .replace("MX 10 mail", "MX 10 mail.example.net.");
        assert_eq!(made, expected);
    }

    #[test]
    fn what_is_new_stands_with_its_name_and_what_goes_leaves_its_name_to_the_next() {
        let made = with(&[
            ("mail.", "AAAA", Some(&["2001:db8::1"]), Some(60)),
            ("imap.", "CNAME", Some(&["mail.example."]), None),
        ]);
        assert!(made.contains("\tTXT x\n\t60 IN AAAA\t2001:db8::1\npop"), "{made}");
        assert!(made.ends_with("MX 10 mail\nimap.example.\tIN CNAME\tmail.example.\n"), "{made}");
        let made = with(&[("mail.", "A", Some(&[]), None)]);
        assert!(made.contains("NS ns\nmail.example.\tTXT x\npop"), "{made}");
        let made = with(&[("mail.", "A", Some(&[]), None), ("mail.", "TXT", Some(&[]), None)]);
        assert!(made.contains("NS ns\npop A"), "{made}");
        let made = with(&[("pop.", "A", Some(&["10.0.0.1", "10.0.0.2"]), None)]);
        assert!(made.contains("pop A 10.0.0.1\n\tIN A\t10.0.0.2\n; the end"), "{made}");
    }

    #[test]
    fn a_serial_is_always_higher_and_keeps_its_style() {
        for (old, serials, new) in [
            (10, Serials::Auto, 11),
            (2026112501, Serials::Auto, 2026112600),
            (2026112605, Serials::Auto, 2026112606),
            (2027010100, Serials::Auto, 2027010101),
            (10, Serials::Date, 2026112600),
            (2026112501, Serials::Counter, 2026112502),
            (u32::MAX, Serials::Auto, 1),
            (4_294_967_000, Serials::Date, 2026112600),
            (4_100_000_000, Serials::Date, 4_100_000_001),
        ] {
            let made = next(old, serials, 20_261_126);
            // More than half of all numbers behind is ahead.
            assert!(is_higher(made, old), "{old} {made}");
            if old != 4_100_000_000 && old != 4_294_967_000 {
                assert_eq!(made, new, "{old}");
            }
        }
        let (text, old, new) = bump(FILE, "example.", (Serials::Auto, 20_261_126)).unwrap();
        assert_eq!((text, old, new), (FILE.replace("root 10", "root 11"), 10, 11));
    }

    #[test]
    fn a_ttl_that_others_would_inherit_is_not_written() {
        let text = "@ SOA ns root 1 1 1 1 1\na A 10.0.0.1\nb A 10.0.0.2\n";
        let one = Set { name: "a.example.".into(), kind: "A".into(), values: None, ttl: Some(900) };
        assert_eq!(set(text, "example.", &[one]), Err("it has no `$TTL`".into()));
    }
}
