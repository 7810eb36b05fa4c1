//! Regular expressions as Python's `re` reads them (docs.python.org, library/re), spelt for the engine.
//!
//! What Python refuses is refused: an engine that takes more would find something else than what was meant.

use std::iter::Peekable;
use std::str::CharIndices;

use fancy_regex::{Regex, RegexBuilder};

/// Returns the pattern as the engine is given it; or what is wrong with it, in Python's words. `each_line`: `re.MULTILINE`.
pub fn translated(pattern: &str, each_line: bool) -> Result<String, String> {
    let mut reading = Reading {
        text: pattern,
        letters: pattern.char_indices().peekable(),
        spelt: String::new(),
        before: Before::Nothing,
        open: Vec::new(),
        groups: 0,
        each_line,
        verbose: false,
    };
    reading.flags();
    while let Some((at, letter)) = reading.letters.next() {
        reading.letter(at, letter)?;
    }
    match reading.open.last() {
        Some(at) => Err(format!("missing ), unterminated subpattern at position {}", reading.position(*at))),
        None => Ok(reading.spelt),
    }
}

/// Returns the flags of the whole pattern, `(?im)`, which stand at its start, and the rest.
fn without_flags(pattern: &str) -> (&str, &str) {
    let flags = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')')).map_or("", |(flags, _)| flags);
    match !flags.is_empty() && flags.bytes().all(|flag| b"aimsux".contains(&flag)) {
        true => pattern.split_at(flags.len() + 3),
        false => ("", pattern),
    }
}

/// Returns the pattern that matches where `pattern` does at the start of a text, as `re.match`.
pub fn at_start(pattern: &str) -> String {
    let (flags, rest) = without_flags(pattern);
    format!("{flags}\\A(?:{rest})")
}

/// Compiles a pattern; or says what is wrong with it.
pub fn compiled(pattern: &str, each_line: bool) -> Result<Regex, String> {
    let regex = RegexBuilder::new(&translated(pattern, each_line)?).multi_line(each_line).build();
    regex.map_err(|error| error.to_string())
}

/// What stands before a letter, for a repetition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The start of an alternative, or a place such as `^`.
    Nothing,
    Item,
    Repetition,
}

struct Reading<'p> {
    text: &'p str,
    letters: Peekable<CharIndices<'p>>,
    spelt: String,
    before: Before,
    /// Where the parentheses that are open stand.
    open: Vec<usize>,
    groups: usize,
    each_line: bool,
    verbose: bool,
}

impl Reading<'_> {
    /// Python counts characters.
    fn position(&self, at: usize) -> usize {
        self.text[..at].chars().count()
    }

    fn rest(&mut self) -> &str {
        let at = self.letters.peek().map_or(self.text.len(), |(at, _)| *at);
        &self.text[at..]
    }

    fn skip(&mut self, letters: usize) {
        for _ in 0..letters {
            self.letters.next();
        }
    }

    fn flags(&mut self) {
        let flags = without_flags(self.text).0;
        self.each_line |= flags.contains('m');
        self.verbose |= flags.contains('x');
        // Text is Unicode's, unless the engine is told otherwise.
        let known: String = flags.chars().filter(|flag| "imsx".contains(*flag)).collect();
        if !known.is_empty() {
            self.spelt = format!("(?{known})");
        }
        self.skip(flags.len());
    }

    fn letter(&mut self, at: usize, letter: char) -> Result<(), String> {
        match letter {
            '\\' => return self.escape(at),
            '[' => return self.class(at),
            '(' => return self.group(at),
            ')' => {
                let opened = self.open.pop();
                opened.ok_or_else(|| format!("unbalanced parenthesis at position {}", self.position(at)))?;
                self.before = Before::Item;
            }
            '|' | '^' => self.before = Before::Nothing,
            '$' => {
                self.spelt.push_str(if self.each_line { "$" } else { "(?=\\n?\\z)" });
                self.before = Before::Nothing;
                return Ok(());
            }
            '*' | '+' | '?' => return self.repetition(at, &letter.to_string(), &letter.to_string()),
            '{' => return self.braces(at),
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' if self.verbose => {}
            '#' if self.verbose => {
                let length = self.rest().split('\n').next().unwrap_or_default().chars().count();
                self.skip(length);
                return Ok(());
            }
            _ => self.before = Before::Item,
        }
        self.spelt.push(letter);
        Ok(())
    }

    fn repetition(&mut self, at: usize, written: &str, spelt: &str) -> Result<(), String> {
        let wrong = match self.before {
            Before::Item => None,
            Before::Nothing => Some("nothing to repeat"),
            Before::Repetition => Some("multiple repeat"),
        };
        if let Some(wrong) = wrong {
            return Err(format!("{wrong} at position {}", self.position(at)));
        }
        self.skip(written.chars().count() - 1);
        self.spelt.push_str(spelt);
        // Lazy, or possessive.
        if let Some((_, sign)) = self.letters.next_if(|(_, letter)| matches!(letter, '?' | '+')) {
            self.spelt.push(sign);
        }
        self.before = Before::Repetition;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{,3}` repeat; other braces are letters.
    fn braces(&mut self, at: usize) -> Result<(), String> {
        let bounds = self.text[at + 1..].split_once('}').map(|(bounds, _)| bounds).unwrap_or_default();
        let (least, most) = bounds.split_once(',').unwrap_or((bounds, bounds));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if bounds.is_empty() || !is_number(least) || !is_number(most) {
            self.spelt.push_str("\\{");
            self.before = Before::Item;
            return Ok(());
        }
        let spelt = if least.is_empty() { format!("{{0,{most}}}") } else { format!("{{{bounds}}}") };
        self.repetition(at, &format!("{{{bounds}}}"), &spelt)
    }

    fn escape(&mut self, at: usize) -> Result<(), String> {
        let Some((_, letter)) = self.letters.next() else {
            return Err(format!("bad escape (end of pattern) at position {}", self.position(at)));
        };
        self.before = if matches!(letter, 'A' | 'Z' | 'b' | 'B') { Before::Nothing } else { Before::Item };
        match letter {
            'Z' => self.spelt.push_str("\\z"),
            '1'..='9' => {
                let second = self.letters.next_if(|(_, letter)| letter.is_ascii_digit()).map(|(_, digit)| digit);
                let number: String = [Some(letter), second].into_iter().flatten().collect();
                if number.parse::<usize>().is_ok_and(|number| number > self.groups) {
                    return Err(format!("invalid group reference {number} at position {}", self.position(at) + 1));
                }
                self.spelt.push_str(&format!("(?:\\{number})"));
            }
            '0' => {
                let digits: String =
                    self.rest().chars().take(2).take_while(|digit| ('0'..='7').contains(digit)).collect();
                self.skip(digits.len());
                let code = u32::from_str_radix(&format!("0{digits}"), 8).unwrap_or_default();
                self.spelt.push_str(&format!("\\x{{{code:x}}}"));
            }
            'A' | 'b' | 'B' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' => self.spelt.extend(['\\', letter]),
            _ => self.one(at, letter)?,
        }
        Ok(())
    }

    /// An escape that is one letter, in a class or outside.
    fn one(&mut self, at: usize, letter: char) -> Result<(), String> {
        match letter {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'u' | 'U' => self.spelt.extend(['\\', letter]),
            letter if letter.is_ascii_alphabetic() => {
                return Err(format!("bad escape \\{letter} at position {}", self.position(at)));
            }
            // To the engine these with a backslash are the ends of words.
            '<' | '>' => self.spelt.push(letter),
            letter if letter.is_ascii_punctuation() || letter == ' ' => self.spelt.extend(['\\', letter]),
            letter => self.spelt.push(letter),
        }
        Ok(())
    }

    fn class(&mut self, at: usize) -> Result<(), String> {
        self.before = Before::Item;
        self.spelt.push('[');
        if self.letters.next_if(|(_, letter)| *letter == '^').is_some() {
            self.spelt.push('^');
        }
        let mut first = true;
        while let Some((place, letter)) = self.letters.next() {
            match letter {
                ']' if !first => {
                    self.spelt.push(']');
                    return Ok(());
                }
                '\\' => match self.letters.next() {
                    Some((_, 'b')) => self.spelt.push_str("\\x08"),
                    Some((_, letter @ ('d' | 'D' | 's' | 'S' | 'w' | 'W'))) => self.spelt.extend(['\\', letter]),
                    Some((_, digit @ '0'..='7')) => self.spelt.push_str(&format!("\\x{{{digit}}}")),
                    Some((_, letter)) => self.one(place, letter)?,
                    None => break,
                },
                // Sets within sets are the engine's own.
                '[' | ']' | '&' | '~' => self.spelt.extend(['\\', letter]),
                '-' if self.spelt.ends_with('-') => self.spelt.push_str("\\-"),
                letter => self.spelt.push(letter),
            }
            first = false;
        }
        Err(format!("unterminated character set at position {}", self.position(at)))
    }

    fn group(&mut self, at: usize) -> Result<(), String> {
        self.open.push(at);
        self.before = Before::Nothing;
        let rest = self.rest().to_string();
        let Some(kind) = rest.strip_prefix('?') else {
            self.groups += 1;
            self.spelt.push('(');
            return Ok(());
        };
        let until = |sign: char| kind.split(sign).next().unwrap_or_default().len();
        let flags = kind.len() - kind.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-').len();
        // What of it says which kind of group it is.
        let length = match kind.as_bytes() {
            [b'#', ..] => {
                self.skip(1 + rest[..rest.len() - kind.len() + until(')')].chars().count());
                self.open.pop();
                return Ok(());
            }
            [b'P', b'<', ..] => until('>') + 1,
            [b'P', b'=', ..] => until(')'),
            [b'(', ..] => until(')') + 1,
            [b'<', b'=' | b'!', ..] => 2,
            [b':' | b'=' | b'!' | b'>', ..] => 1,
            kind if flags > 0 && kind.get(flags) == Some(&b':') => flags + 1,
            kind if flags > 0 && kind.get(flags) == Some(&b')') => {
                let position = self.position(at);
                return Err(format!("global flags not at the start of the expression at position {position}"));
            }
            _ => {
                let extension: String = kind.chars().take(if kind.starts_with('<') { 2 } else { 1 }).collect();
                return Err(format!("unknown extension ?{extension} at position {}", self.position(at) + 1));
            }
        };
        let kind = kind.get(..length).unwrap_or(kind);
        self.groups += usize::from(kind.starts_with("P<"));
        self.before = if kind.starts_with("P=") { Before::Item } else { Before::Nothing };
        self.spelt.push_str(&format!("(?{kind}"));
        self.skip(1 + kind.chars().count());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(pattern: &str, text: &str) -> Option<String> {
        let spelt = translated(pattern, false).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let regex = fancy_regex::Regex::new(&spelt).unwrap_or_else(|error| panic!("{spelt}: {error}"));
        regex.find(text).unwrap().map(|found| found.as_str().to_string())
    }

    #[test]
    fn what_python_refuses_is_refused_in_its_words() {
        for (pattern, why) in [
            ("^*:.*", "nothing to repeat at position 1"),
            ("$^*", "nothing to repeat at position 2"),
            ("(*a)", "nothing to repeat at position 1"),
            ("a**", "multiple repeat at position 2"),
            ("a{2}{3}", "multiple repeat at position 4"),
            ("[a", "unterminated character set at position 0"),
            ("(a|b", "missing ), unterminated subpattern at position 0"),
            ("é)", "unbalanced parenthesis at position 1"),
            (r"\h", r"bad escape \h at position 0"),
            (r"\Qa\E", r"bad escape \Q at position 0"),
            (r"[\Z]", r"bad escape \Z at position 1"),
            (r"a\", "bad escape (end of pattern) at position 1"),
            ("(?<n>a)", "unknown extension ?<n at position 1"),
            ("x(?i)y", "global flags not at the start of the expression at position 1"),
            (r"\1", "invalid group reference 1 at position 1"),
            (r"(a)\2", "invalid group reference 2 at position 4"),
        ] {
            assert_eq!(translated(pattern, false), Err(why.to_string()), "{pattern}");
        }
    }

    #[test]
    fn what_it_takes_means_the_same() {
        for (pattern, text, found) in [
            ("x{,3}y", "xxxxy", Some("xxxy")),
            ("a{", "xa{", Some("a{")),
            ("a{1,b}", "a{1,b}", Some("a{1,b}")),
            ("[]a]+", "b]a", Some("]a")),
            ("[^]a]+", "]ab", Some("b")),
            ("[[:alpha:]]", "a:]", Some(":]")),
            ("[a&&b]+", "x&b", Some("&b")),
            (r"[\w.-]+", "!a-b.c!", Some("a-b.c")),
            (r"\<b\>", "a<b>", Some("<b>")),
            (r"a\Z", "a\na", Some("a")),
            ("a$", "ba\n", Some("a")),
            ("(?x) a b # c", "ab", Some("ab")),
            ("(?i)A", "a", Some("a")),
            ("(?au)A", "A", Some("A")),
            ("(?P<n>x)-(?P=n)", "x-x", Some("x-x")),
            (r"(x)\1", "axx", Some("xx")),
            ("(?<!a)b", "ab b", Some("b")),
            ("a(?#note)b", "ab", Some("ab")),
            ("(?:a|b)*?c", "abc", Some("abc")),
            ("(?>a+)b", "aab", Some("aab")),
            ("a++b", "aab", Some("aab")),
            (r"\d+(?=b)", "12b", Some("12")),
            (r"\/\-\ \.", "/- .", Some("/- .")),
            (r"\0|\x41", "A", Some("A")),
            ("(a)?(?(1)b|c)", "ab", Some("ab")),
        ] {
            assert_eq!(finds(pattern, text).as_deref(), found, "{pattern}");
        }
        assert_eq!(translated("a$", true).unwrap(), "a$");
        assert_eq!(finds(&at_start("(?i)b|c"), "Bc").as_deref(), Some("B"));
        assert_eq!(finds(&at_start("b|c"), "ac"), None);
    }
}
