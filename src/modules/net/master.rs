//! A master file (RFC 1035, 5.1): its records with their places in the text, so that an edit leaves all else as it is.

use std::ops::Range;

use crate::dns::{absolute, canonical};

/// A master file that was read.
#[derive(Debug)]
pub struct Master {
    pub entries: Vec<Entry>,
}

/// One record, with all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the start of its first line to behind the end of its last.
    pub span: Range<usize>,
    /// Absolute, in lower case.
    pub name: String,
    /// As it is written; nothing where the line begins blank and the name is that of the record before.
    pub owner: Option<String>,
    /// The origin at this place, to which relative names belong.
    pub origin: String,
    /// Written, with its place, or of the last `$TTL`; nothing where there is none.
    pub ttl: Option<u32>,
    pub ttl_span: Option<Range<usize>>,
    pub kind: String,
    pub kind_span: Range<usize>,
    /// The words of the value, and their places.
    pub words: Vec<(String, Range<usize>)>,
}

impl Entry {
    /// The value as it is compared; nothing for a type that is only passed by.
    pub fn value(&self) -> Option<String> {
        let words: Vec<String> = self
            .words
            .iter()
            .map(|(word, _)| match self.kind == "TXT" && !word.starts_with('"') {
                true => format!("\"{word}\""),
                false => word.clone(),
            })
            .collect();
        canonical(&self.kind, &words.join(" "), &self.origin).ok()
    }

    pub fn value_span(&self) -> Range<usize> {
        match (self.words.first(), self.words.last()) {
            (Some((_, first)), Some((_, last))) => first.start..last.end,
            _ => self.span.end..self.span.end,
        }
    }
}

/// A word of a line, or what stands between lines.
#[derive(Debug)]
enum Token {
    Word(String, Range<usize>),
    /// The end of a line outside of parentheses.
    End(usize),
    Blank,
}

impl Master {
    /// Reads the file of the zone `origin`. An error names the line.
    pub fn read(text: &str, origin: &str) -> Result<Master, String> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut origin, mut last, mut default): (String, Option<String>, Option<u32>) = (origin.into(), None, None);
        let mut line: Vec<Token> = Vec::new();
        let mut start = 0;
        for token in tokens(text)? {
            let Token::End(end) = token else {
                line.push(token);
                continue;
            };
            let blank = matches!(line.first(), Some(Token::Blank));
            let words: Vec<(String, Range<usize>)> = line
                .drain(..)
                .filter_map(|token| if let Token::Word(word, span) = token { Some((word, span)) } else { None })
                .collect();
            let span = start..end;
            start = end;
            let at = |why: String| format!("line {}: {why}", text[..span.start].matches('\n').count() + 1);
            let Some((first, rest)) = words.split_first() else { continue };
            match first.0.to_uppercase().as_str() {
                "$ORIGIN" if !blank => {
                    let name = rest.first().ok_or_else(|| at("`$ORIGIN` has no name".into()))?;
                    origin = absolute(&name.0, &origin).map_err(at)?;
                    continue;
                }
                "$TTL" if !blank => {
                    default = rest.first().and_then(|(ttl, _)| seconds(ttl));
                    continue;
                }
                "$INCLUDE" if !blank => {
                    return Err(at("it has an `$INCLUDE`, whose records are not seen from here".into()));
                }
                "$GENERATE" if !blank => {
                    return Err(at("it has a `$GENERATE`, whose records are not seen from here".into()));
                }
                directive if !blank && directive.starts_with('$') => continue,
                _ => {}
            }
            let (owner, rest) = match blank {
                true => (None, words.as_slice()),
                false => (Some(first.0.clone()), rest),
            };
            let name = match &owner {
                Some(owner) => absolute(owner, &origin).map_err(at)?,
                None => last.clone().ok_or_else(|| at("the first record has no name".into()))?,
            };
            last = Some(name.clone());
            let (mut ttl, mut ttl_span, mut rest) = (default, None, rest);
            // TTL and class come in either order.
            while let Some(((word, span), behind)) = rest.split_first() {
                match word.to_uppercase().as_str() {
                    "IN" | "CH" | "HS" => {}
                    _ if word.starts_with(|c: char| c.is_ascii_digit()) && seconds(word).is_some() => {
                        (ttl, ttl_span) = (seconds(word), Some(span.clone()));
                    }
                    _ => break,
                }
                rest = behind;
            }
            let Some(((kind, kind_span), words)) = rest.split_first() else {
                return Err(at(format!("`{name}` has no type")));
            };
            let (kind, kind_span, words) = (kind.to_uppercase(), kind_span.clone(), words.to_vec());
            entries.push(Entry { span, name, owner, origin: origin.clone(), ttl, ttl_span, kind, kind_span, words });
        }
        Ok(Master { entries })
    }

    /// The place of the zone's serial, and what it is.
    pub fn serial(&self) -> Result<(Range<usize>, u32), String> {
        let soa = self.entries.iter().find(|entry| entry.kind == "SOA").ok_or("it has no SOA record")?;
        let serial = soa.words.get(2).and_then(|(word, span)| Some((span.clone(), word.parse().ok()?)));
        serial.ok_or_else(|| "its SOA record has no serial".into())
    }

    pub fn of<'a>(&'a self, name: &'a str, kind: &'a str) -> impl Iterator<Item = (usize, &'a Entry)> {
        self.entries.iter().enumerate().filter(move |(_, entry)| entry.name == name && entry.kind == kind)
    }
}

/// Reads a TTL: seconds, or BIND's `1h30m`, `2W`.
pub fn seconds(text: &str) -> Option<u32> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (mut sum, mut number) = (0_u32, None::<u32>);
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match letter.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    (number.is_none() && !text.is_empty()).then_some(sum)
}

/// Cuts a file into words: quotes, escapes, comments and parentheses are as RFC 1035 has them.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at, mut depth, mut fresh) = (Vec::new(), 0, 0_usize, true);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => {
                at += 1;
                if depth == 0 {
                    tokens.push(Token::End(at));
                    fresh = true;
                }
                continue;
            }
            b' ' | b'\t' | b'\r' => {
                if fresh {
                    tokens.push(Token::Blank);
                }
                at += 1;
            }
            b';' => at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at),
            b'(' => (depth, at) = (depth + 1, at + 1),
            b')' => {
                depth = depth.checked_sub(1).ok_or_else(|| format!("line {}: `)` without `(`", line_of(text, at)))?;
                at += 1;
            }
            b'"' => {
                let start = at;
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"' && *byte != b'\n') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if bytes.get(at) != Some(&b'"') {
                    return Err(format!("line {}: a `\"` is not closed", line_of(text, start)));
                }
                at += 1;
                tokens.push(Token::Word(text[start..at].into(), start..at));
            }
            _ => {
                let start = at;
                while bytes.get(at).is_some_and(|byte| !b" \t\r\n;()\"".contains(byte)) {
                    at += if bytes[at] == b'\\' && at + 1 < bytes.len() { 2 } else { 1 };
                }
                while !text.is_char_boundary(at) {
                    at += 1;
                }
                tokens.push(Token::Word(text[start..at].into(), start..at));
            }
        }
        fresh = false;
    }
    if depth > 0 {
        return Err("a `(` is not closed".into());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        tokens.push(Token::End(text.len()));
    }
    Ok(tokens)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "; a zone\n$TTL 1h\n@\tIN SOA ns.example.com. root (\n\t2026112601 ; serial\n\t3600 600 1W 300 )\n\
                        \tNS ns\nns 300 IN A 192.0.2.1\n   IN 60 AAAA 2001:db8::1\n\n$ORIGIN sub.example.com.\n\
                        mail A 192.0.2.2 ; here\n\tTXT \"a;b (c\" d\nx.example.net. MX ( 10\n mail )\n";

    #[test]
    fn records_are_found_with_names_ttls_and_values() {
        let master = Master::read(FILE, "example.com.").unwrap();
        let show = |entry: &Entry| {
            let value = entry.value().unwrap_or_else(|| "?".into());
            format!("{} {} {} {value}", entry.name, entry.ttl.unwrap_or(0), entry.kind)
        };
        let all: Vec<String> = master.entries.iter().map(show).collect();
        assert_eq!(
            all,
            [
                "example.com. 3600 SOA ?",
                "example.com. 3600 NS ns.example.com.",
                "ns.example.com. 300 A 192.0.2.1",
                "ns.example.com. 60 AAAA 2001:db8::1",
                "mail.sub.example.com. 3600 A 192.0.2.2",
                "mail.sub.example.com. 3600 TXT \"a;b (c\" \"d\"",
                "x.example.net. 3600 MX 10 mail.sub.example.com.",
            ]
        );
        let (span, serial) = master.serial().unwrap();
        assert_eq!((&FILE[span], serial), ("2026112601", 2026112601));
        assert_eq!(&FILE[master.entries[6].span.clone()], "x.example.net. MX ( 10\n mail )\n");
    }

    #[test]
    fn ttls_have_units() {
        for (text, value) in [
            ("900", Some(900)),
            ("1h30m", Some(5400)),
            ("2W", Some(1_209_600)),
            ("1x", None),
            ("h", None),
            ("1h5", None),
        ] {
            assert_eq!(seconds(text), value, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        for (text, says) in [
            ("a A 1.2.3.4\nb TXT \"x\n", "line 2: a `\"` is not closed"),
            ("a A ( 1.2.3.4\n", "a `(` is not closed"),
            ("$INCLUDE other\n", "line 1: it has an `$INCLUDE`"),
            ("$GENERATE 1-2 pop$ A 10.0.0.$\n", "line 1: it has a `$GENERATE`"),
            ("\tA 1.2.3.4\n", "line 1: the first record has no name"),
        ] {
            let error = Master::read(text, "example.").unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
