//! A value of an INI inventory: a Python literal where it reads as one (`ast.literal_eval`), else text.

use std::sync::Arc;

use crate::error::Place;
use crate::yaml::{Data, Style, Yaml};

const MAX_DEPTH: usize = 100;

/// Reads `text`, which stands at `place`: `True`, `22`, `'22'`, `[1, 2]`, `{'a': None}`; `yes`, `0644` and `a b` are text.
pub(super) fn value(text: &str, place: &Place) -> Yaml {
    let mut reader = Reader { rest: text.trim_start_matches([' ', '\t']), place, depth: 0 };
    match reader.top() {
        Some(node) => node,
        None => Yaml { style: Style::Plain, ..Yaml::text_at(text, place) },
    }
}

struct Reader<'t> {
    rest: &'t str,
    place: &'t Place,
    depth: usize,
}

impl Reader<'_> {
    /// Reads to the end: one value, or several with commas, which are a tuple.
    fn top(&mut self) -> Option<Yaml> {
        let first = self.value()?;
        let mut items = vec![first];
        let mut tuple = false;
        while self.take(",") {
            tuple = true;
            self.skip();
            if self.rest.is_empty() {
                break;
            }
            items.push(self.value()?);
        }
        self.skip();
        let node = if tuple { self.list(items) } else { items.pop()? };
        self.rest.is_empty().then_some(node)
    }

    fn value(&mut self) -> Option<Yaml> {
        self.skip();
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let node = match self.rest.chars().next()? {
            '[' => self.items('[', ']').map(|(items, _)| self.list(items)),
            '(' => self.items('(', ')').and_then(|(mut items, comma)| match (items.len(), comma) {
                (1, false) => items.pop(),
                _ => Some(self.list(items)),
            }),
            '{' => self.braces(),
            '0'..='9' | '.' | '+' | '-' => self.number(),
            _ => self.word_or_text(),
        };
        self.depth -= 1;
        node
    }

    /// Reads the items between two brackets, and whether a comma follows the last.
    fn items(&mut self, open: char, close: char) -> Option<(Vec<Yaml>, bool)> {
        self.rest = self.rest.strip_prefix(open)?;
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            self.skip();
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                return Some((items, comma));
            }
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.value()?);
            comma = self.take(",");
        }
    }

    /// Reads a dictionary or a set; a set becomes a list.
    fn braces(&mut self) -> Option<Yaml> {
        self.rest = self.rest.strip_prefix('{')?;
        let mut pairs: Vec<(Yaml, Yaml)> = Vec::new();
        let mut set: Vec<Yaml> = Vec::new();
        let mut comma = true;
        while !self.take("}") {
            if !comma {
                return None;
            }
            let key = self.value()?;
            if self.take(":") {
                let value = self.value()?;
                pairs.retain(|(earlier, _)| earlier.key() != key.key());
                pairs.push((key, value));
            } else {
                set.push(key);
            }
            comma = self.take(",");
        }
        match (pairs.is_empty(), set.is_empty()) {
            (false, false) => None,
            (true, false) => Some(self.list(set)),
            _ => Some(self.node(Data::Map(pairs), Style::Collection)),
        }
    }

    fn number(&mut self) -> Option<Yaml> {
        let unsigned = self.rest.trim_start_matches(['+', '-']);
        let sign = &self.rest[..self.rest.len() - unsigned.len()];
        let unsigned = if sign.is_empty() { unsigned } else { unsigned.trim_start_matches([' ', '\t']) };
        let mut exponent = false;
        let hexadecimal = unsigned.starts_with("0x") || unsigned.starts_with("0X");
        let end = unsigned.find(|character: char| {
            let part = character.is_ascii_alphanumeric() || "._".contains(character);
            let signed = exponent && "+-".contains(character);
            exponent = matches!(character, 'e' | 'E') && !hexadecimal;
            !part && !signed
        });
        let (digits, rest) = unsigned.split_at(end.unwrap_or(unsigned.len()));
        let negative = match sign {
            "" | "+" => false,
            "-" => true,
            _ => return None,
        };
        let data = match integer(digits) {
            Some(number) => Data::Int(if negative { number.checked_neg()? } else { number }),
            None => Data::Float(if negative { -float(digits)? } else { float(digits)? }),
        };
        self.rest = rest;
        Some(self.node(data, Style::Plain))
    }

    /// Reads `None`, `True`, `False`, or quoted texts, which join when they stand side by side.
    fn word_or_text(&mut self) -> Option<Yaml> {
        for (word, data) in [("None", Data::Null), ("True", Data::Bool(true)), ("False", Data::Bool(false))] {
            let after = self.rest.strip_prefix(word);
            if let Some(rest) = after.filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')) {
                self.rest = rest;
                return Some(self.node(data, Style::Plain));
            }
        }
        let mut text = self.text()?;
        loop {
            self.skip();
            if !self.rest.starts_with(['"', '\'', 'u', 'U', 'r', 'R']) {
                return Some(self.node(Data::Text(text), Style::Quoted));
            }
            text.push_str(&self.text()?);
        }
    }

    fn text(&mut self) -> Option<String> {
        let raw = self.rest.starts_with(['r', 'R']);
        let quoted = self.rest.strip_prefix(['r', 'R', 'u', 'U']).unwrap_or(self.rest);
        let quote = quoted.chars().next().filter(|character| matches!(character, '"' | '\''))?;
        let mut rest = &quoted[1..];
        let mut text = String::new();
        loop {
            let character = rest.chars().next()?;
            rest = &rest[character.len_utf8()..];
            match character {
                _ if character == quote => {
                    self.rest = rest;
                    return Some(text);
                }
                '\\' if raw => {
                    let next = rest.chars().next()?;
                    text.extend([character, next]);
                    rest = &rest[next.len_utf8()..];
                }
                '\\' => rest = escape(rest, &mut text)?,
                _ => text.push(character),
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Skips white space, and a comment at the end.
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('#') {
            self.rest = "";
        }
    }

    fn list(&self, items: Vec<Yaml>) -> Yaml {
        self.node(Data::List(items), Style::Collection)
    }

    fn node(&self, data: Data, style: Style) -> Yaml {
        Yaml { data: Arc::new(data), place: self.place.clone(), tag: None, style }
    }
}

/// Reads what follows a backslash in a Python text into `text`, and returns the rest. An unknown escape stays.
fn escape<'t>(rest: &'t str, text: &mut String) -> Option<&'t str> {
    let letter = rest.chars().next()?;
    let after = &rest[letter.len_utf8()..];
    let hexadecimal = |digits: usize| {
        let number = u32::from_str_radix(after.get(..digits)?, 16).ok()?;
        Some((char::from_u32(number)?, &after[digits..]))
    };
    let (character, rest) = match letter {
        '\\' | '\'' | '"' => (letter, after),
        'a' => ('\u{7}', after),
        'b' => ('\u{8}', after),
        'f' => ('\u{c}', after),
        'n' => ('\n', after),
        'r' => ('\r', after),
        't' => ('\t', after),
        'v' => ('\u{b}', after),
        'x' => hexadecimal(2)?,
        'u' => hexadecimal(4)?,
        'U' => hexadecimal(8)?,
        // A character by its Unicode name; the whole value stays text.
        'N' => return None,
        '0'..='7' => {
            let length = rest.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            (char::from_u32(u32::from_str_radix(&rest[..length], 8).ok()?)?, &rest[length..])
        }
        _ => {
            text.push('\\');
            (letter, after)
        }
    };
    text.push(character);
    Some(rest)
}

/// Reads `10`, `1_000`, `0x1f`, `0o17`, `0b1`. A leading zero makes no number, so `0644` stays text.
fn integer(digits: &str) -> Option<i64> {
    let lower = digits.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            let rest = grouped(rest.strip_prefix('_').unwrap_or(rest), radix)?;
            return i64::from_str_radix(&rest, radix).ok();
        }
    }
    let plain = grouped(digits, 10)?;
    let zeros = plain.bytes().all(|byte| byte == b'0');
    (!plain.starts_with('0') || zeros).then(|| plain.parse().ok()).flatten()
}

/// Reads `1.5`, `1.`, `.5`, `1e3`.
fn float(digits: &str) -> Option<f64> {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let part = |text: &str| if text.is_empty() { Some(String::new()) } else { grouped(text, 10) };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (part(whole)?, part(fraction)?),
        None => (grouped(mantissa, 10).filter(|_| exponent.is_some())?, String::new()),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = match exponent {
        Some(text) => {
            let sign = if text.starts_with('-') { "-" } else { "" };
            format!("{sign}{}", grouped(text.strip_prefix(['+', '-']).unwrap_or(text), 10)?)
        }
        None => "0".into(),
    };
    format!("0{whole}.{fraction}0e{exponent}").parse().ok().filter(|number: &f64| number.is_finite())
}

/// Returns the digits without the single `_` that may stand between two of them.
fn grouped(text: &str, radix: u32) -> Option<String> {
    let groups = text.split('_').all(|group| !group.is_empty() && group.chars().all(|c| c.is_digit(radix)));
    groups.then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::error::Source;

    use super::*;

    fn read(text: &str) -> String {
        let source = Arc::new(Source { path: "hosts".into(), text: text.into() });
        value(text, &Place::new(&source, 1, 1)).to_value().to_string()
    }

    #[test]
    fn literals_have_pythons_types() {
        for (text, expected) in [
            ("22", "22"),
            ("-7", "-7"),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("00", "0"),
            ("1.5", "1.5"),
            ("1e3", "1000.0"),
            ("True", "true"),
            ("None", "null"),
            ("'22'", r#""22""#),
            (r#""a\tb" 'c'"#, r#""a\tbc""#),
            (r"r'\d'", r#""\\d""#),
            ("[1, 'a', [True],]", r#"[1,"a",[true]]"#),
            ("{'a': 1, 'b': {}, 'a': 2}", r#"{"b":{},"a":2}"#),
            ("{'x', 'y'}", r#"["x","y"]"#),
            ("('a', 'b')", r#"["a","b"]"#),
            ("('a')", r#""a""#),
            ("80, 443", "[80,443]"),
            ("5 # five", "5"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn everything_else_is_text_as_written() {
        for text in [
            "yes",
            "true",
            "0644",
            "null",
            "web 1",
            "{{ x }}",
            "1.2.3.4",
            "foo # bar",
            "[1",
            "1 2",
            "--1",
            "1j",
            "Trueish",
            "",
            "'a' b",
            "f('x')",
            "99999999999999999999",
            "1e999",
            "a,b",
            "[a]",
        ] {
            assert_eq!(read(text), serde_json::Value::from(text).to_string(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_text() {
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(read(&deep), format!("{deep:?}"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[-+0-3a-fxoeNTru'"\\\[\](){}:,._ #ä]{0,30}"#) {
            read(&text);
        }
    }
}
