//! A regular expression and a replacement as Python's `re` reads them.

use fancy_regex::{Captures, Regex, RegexBuilder};

use crate::error::Diagnostic;
use crate::modules::ModuleError;

/// Steps after which a search that goes back and forth is given up.
const BACKTRACK_LIMIT: usize = 1_000_000;

pub struct Pattern(Regex);

/// What `^`, `$` and `.` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The text is one line.
    One,
    /// `^` and `$` match at every line (`re.MULTILINE`).
    Each,
    /// `.` matches a line end too (`re.DOTALL`).
    Across,
}

impl Pattern {
    /// Compiles the value of the argument `name`.
    pub fn new(name: &str, text: &str, lines: Lines) -> Result<Pattern, Diagnostic> {
        let wrong = |why: String| Diagnostic::new(format!("`{name}` is no regular expression: `{text}`")).hint(why);
        let regex = RegexBuilder::new(&crate::regex::translated(text, lines == Lines::Each).map_err(wrong)?)
            .multi_line(lines == Lines::Each)
            .dot_matches_new_line(lines == Lines::Across)
            .backtrack_limit(BACKTRACK_LIMIT)
            .build();
        regex.map(Pattern).map_err(|error| wrong(error.to_string()))
    }

    pub fn is_match(&self, text: &str) -> Result<bool, ModuleError> {
        self.0.is_match(text).map_err(too_hard)
    }

    pub fn captures<'t>(&self, text: &'t str) -> Result<Option<Captures<'t, str>>, ModuleError> {
        self.0.captures(text).map_err(too_hard)
    }

    /// Replaces every match; returns the text and how many there were.
    pub fn replace_all(&self, text: &str, replacement: &str) -> Result<(String, usize), ModuleError> {
        let mut result = String::with_capacity(text.len());
        let (mut end, mut count) = (0, 0);
        for found in self.0.captures_iter(text) {
            let found = found.map_err(too_hard)?;
            let Some(whole) = found.get(0) else { continue };
            result.push_str(&text[end..whole.start()]);
            result.push_str(&expand(replacement, &found)?);
            end = whole.end();
            count += 1;
        }
        result.push_str(&text[end..]);
        Ok((result, count))
    }
}

fn too_hard(error: fancy_regex::Error) -> ModuleError {
    ModuleError::failed(format!("the regular expression cannot be searched for: {error}"))
}

/// Fills in `\1`, `\g<1>`, `\g<name>` and the escapes of Python's `re.sub`; a group that took no part is empty.
pub fn expand(replacement: &str, found: &Captures<'_, str>) -> Result<String, ModuleError> {
    let wrong = |what: &str| ModuleError::failed(format!("bad replacement `{replacement}`: {what}"));
    let group = |name: &str| -> Result<&str, ModuleError> {
        let numbered = name.parse::<usize>().ok().filter(|number| *number < found.len());
        let text = match numbered {
            Some(number) => found.get(number),
            None if name.parse::<usize>().is_ok() => return Err(wrong(&format!("there is no group {name}"))),
            None => found.name(name),
        };
        Ok(text.map_or("", |text| text.as_str()))
    };
    let mut result = String::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(letter) = rest.chars().next() else { return Err(wrong("it ends in a backslash")) };
        let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        if letter == '0' {
            result.push('\0');
            rest = &rest[1..];
        } else if digits > 0 {
            result.push_str(group(&rest[..digits])?);
            rest = &rest[digits..];
        } else if let Some(named) = rest.strip_prefix("g<") {
            let (name, after) = named.split_once('>').ok_or_else(|| wrong("`\\g<` without `>`"))?;
            result.push_str(group(name)?);
            rest = after;
        } else {
            match letter {
                'n' => result.push('\n'),
                't' => result.push('\t'),
                'r' => result.push('\r'),
                'f' => result.push('\u{c}'),
                'v' => result.push('\u{b}'),
                'a' => result.push('\u{7}'),
                'b' => result.push('\u{8}'),
                '\\' => result.push('\\'),
                letter if letter.is_ascii_alphabetic() => return Err(wrong(&format!("unknown escape `\\{letter}`"))),
                other => result.extend(['\\', other]),
            }
            rest = &rest[letter.len_utf8()..];
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// Returns the first escape of a replacement that Python does not know, and its place.
pub fn bad_escape(replacement: &str) -> Option<(char, usize)> {
    let mut letters = replacement.chars().enumerate();
    while let Some((at, letter)) = letters.next() {
        let escaped = if letter == '\\' { letters.next().map(|(_, escaped)| escaped) } else { None };
        if let Some(escaped) = escaped.filter(|c| c.is_ascii_alphabetic() && !"gntrfvab".contains(*c)) {
            return Some((escaped, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, replacement: &str, text: &str) -> (String, usize) {
        Pattern::new("regexp", pattern, Lines::Each).unwrap().replace_all(text, replacement).unwrap()
    }

    #[test]
    fn groups_are_filled_in_by_number_and_name() {
        assert_eq!(replaced(r"^(\w+)=(?P<v>.*)$", r"\g<v>=\1\\", "a=1\nb=2\n"), ("1=a\\\n2=b\\\n".into(), 2));
        assert_eq!(replaced("(a)|(b)", r"[\1\2]\n", "ab"), ("[a]\n[b]\n".into(), 2));
    }

    #[test]
    fn the_very_end_is_meant_by_a_capital_z() {
        assert_eq!(replaced(r"x\Z", "y", "x\nx"), ("x\ny".into(), 1));
        assert_eq!(replaced(r"x\Z", "y", "x\n").1, 0);
    }

    #[test]
    fn an_end_is_also_before_the_last_newline() {
        let ends = |text: &str| Pattern::new("contains", "OK$", Lines::One).unwrap().is_match(text).unwrap();
        assert!(ends("is OK\n") && ends("OK") && !ends("OK\nx\n") && !ends("OK\n\n"));
    }

    #[test]
    fn an_escape_that_python_does_not_know_is_found() {
        assert_eq!(bad_escape(r"\1\g<a>\n\\D"), None);
        assert_eq!(bad_escape(r"\1\D"), Some(('D', 2)));
    }

    #[test]
    fn a_group_that_is_not_there_is_an_error() {
        let pattern = Pattern::new("regexp", "a", Lines::One).unwrap();
        assert!(pattern.replace_all("a", r"\3").is_err());
        assert!(pattern.replace_all("a", r"\q").is_err());
        assert!(Pattern::new("regexp", "(", Lines::One).is_err());
    }
}
