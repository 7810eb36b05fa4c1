//! What the arguments of a keyword may be, and how they are read.

use super::words::Word;

/// The arguments that a keyword takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One word; the first one counts.
    Text,
    /// One word; all of them count, in order.
    EachText,
    /// Words, or `none` alone; the first line counts.
    Texts,
    /// The rest of the line, as written.
    Command,
    /// The rest of the line: hosts with commas.
    Jump,
    /// `yes` or `no`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    Number,
    /// Such as `30`, `5m` or `1h30m`.
    Time,
    Port,
    /// Names with commas, perhaps with `+`, `-` or `^` in front.
    Algorithms,
    /// Whatever stands there, because it counts for nothing.
    Any,
}

/// What is wrong with the arguments of a line, and the byte at which.
pub struct Wrong {
    pub message: String,
    pub at: usize,
}

impl Shape {
    /// Checks a line's words; `at` is where its arguments start.
    pub fn check(self, keyword: &str, words: &[Word], at: usize) -> Result<(), Wrong> {
        let wrong = |message: String, at: usize| Err(Wrong { message, at });
        if matches!(self, Shape::Any | Shape::Command | Shape::Jump) {
            return Ok(());
        }
        if let Some(empty) = words.iter().find(|word| word.text.is_empty()) {
            return wrong(format!("`{keyword}` has an empty argument"), empty.at);
        }
        if self == Shape::Texts {
            let none = words.iter().find(|word| word.text.eq_ignore_ascii_case("none"));
            return match none {
                Some(none) if words.len() > 1 => wrong(format!("`none` of `{keyword}` should stand alone"), none.at),
                _ => Ok(()),
            };
        }
        let Some(word) = words.first() else {
            return wrong(format!("`{keyword}` has no argument"), at);
        };
        if let Some(extra) = words.get(1) {
            return wrong(format!("`{keyword}` takes one argument, `{}` is one too many", extra.text), extra.at);
        }
        if self.fits(&word.text) {
            return Ok(());
        }
        wrong(format!("`{keyword}` should be {}, not `{}`", self.noun(), word.text), word.at)
    }

    fn fits(self, text: &str) -> bool {
        match self {
            Shape::Flag => flag(text).is_some(),
            Shape::Choice(words) => words.iter().any(|word| word.eq_ignore_ascii_case(text)),
            Shape::Number => text.parse::<u32>().is_ok(),
            Shape::Time => text == "none" || time(text).is_some(),
            Shape::Port => port(text).is_some(),
            Shape::Algorithms => algorithms(text),
            _ => true,
        }
    }

    fn noun(self) -> String {
        match self {
            Shape::Flag => "`yes` or `no`".into(),
            Shape::Choice(words) => format!("one of {}", words.join(", ")),
            Shape::Number => "a number".into(),
            Shape::Time => "a time such as `30` or `5m`".into(),
            Shape::Port => "a port".into(),
            Shape::Algorithms => "names with commas, perhaps after `+`, `-` or `^`".into(),
            _ => "a word".into(),
        }
    }
}

pub fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

/// Reads a port from 1 to 65535.
pub fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().filter(|port| *port > 0) } else { None }
}

/// Reads a time as seconds: numbers, each with a unit or none (`sshd_config.5`, TIME FORMATS).
pub fn time(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().ok()?;
        let (unit, after) = match rest[end..].chars().next() {
            None => (1, end),
            Some(unit) => (seconds(unit)?, end + unit.len_utf8()),
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[after..];
    }
    // More does not fit into what `ssh` counts with.
    (!text.is_empty() && total <= i32::MAX as u64).then_some(total)
}

fn seconds(unit: char) -> Option<u64> {
    match unit.to_ascii_lowercase() {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        'w' => Some(7 * 24 * 3600),
        _ => None,
    }
}

/// Tells whether this is a list of names. Which of them exist is known where connections are made.
fn algorithms(text: &str) -> bool {
    let names = text.strip_prefix(['+', '-', '^']).unwrap_or(text);
    let name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'!');
    names.split(',').all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("30", Some(30)),
            ("5m", Some(300)),
            ("1h30m", Some(5400)),
            ("1H1", Some(3601)),
            ("2w", Some(14 * 24 * 3600)),
            ("", None),
            ("m", None),
            ("5x", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("2147483648", None),
            ("5µ", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn ports_are_numbers_from_1() {
        assert_eq!(port("22"), Some(22));
        for text in ["0", "65536", "+22", "-1", "", "ssh", "22x"] {
            assert_eq!(port(text), None, "{text}");
        }
    }

    #[test]
    fn lists_of_algorithms_are_names_with_commas() {
        assert!(algorithms("+ssh-rsa,ssh-dss") && algorithms("-*cbc*") && algorithms("aes128-ctr"));
        assert!(!algorithms("+") && !algorithms("a,,b") && !algorithms("!a") && !algorithms("a b"));
    }
}
