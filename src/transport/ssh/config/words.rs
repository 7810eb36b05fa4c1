//! A line of `ssh_config` in words, quotes and escapes resolved, as OpenSSH takes it apart.

/// The characters that separate, and that are dropped at a line's end.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// One word, and the byte of the line at which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub at: usize,
}

/// Takes the next word off `line` from byte `at` on, up to a blank or one `=`; double quotes may enclose it. Returns it
/// and where the rest starts; `None` for a quote that does not end.
pub fn next(line: &str, at: usize) -> Option<(Word, usize)> {
    let text = &line[at..];
    let Some(end) = text.find(|c: char| BLANKS.contains(&c) || c == '"' || c == '=') else {
        return Some((Word { text: text.into(), at }, line.len()));
    };
    let rest = &text[end + 1..];
    if text[end..].starts_with('"') {
        let close = rest.find('"')?;
        let word = Word { text: format!("{}{}", &text[..end], &rest[..close]), at };
        return Some((word, after_blanks(line, at + end + close + 2)));
    }
    let word = Word { text: text[..end].into(), at };
    let start = after_blanks(line, at + end + 1);
    match !text[end..].starts_with('=') && line[start..].starts_with('=') {
        true => Some((word, after_blanks(line, start + 1))),
        false => Some((word, start)),
    }
}

/// Returns where the first character stands that is not blank.
pub fn after_blanks(line: &str, at: usize) -> usize {
    line.len() - line[at..].trim_start_matches(BLANKS).len()
}

/// Splits the rest of a line like a shell's simplest words: both kinds of quotes, and a backslash before a quote, a
/// backslash or (outside of quotes) a space. A `#` that starts a word ends the line. `None`: a quote does not end.
pub fn all(line: &str, at: usize) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut characters = line[at..].char_indices().map(|(offset, c)| (at + offset, c)).peekable();
    while let Some(&(start, c)) = characters.peek() {
        if c == ' ' || c == '\t' {
            characters.next();
            continue;
        }
        if c == '#' {
            break;
        }
        let mut text = String::new();
        let mut quote = None;
        while let Some((_, c)) = characters.next_if(|(_, c)| quote.is_some() || !matches!(c, ' ' | '\t')) {
            let next = characters.peek().map(|(_, next)| *next);
            let escapes = matches!(next, Some('\'' | '"' | '\\')) || (quote.is_none() && next == Some(' '));
            match c {
                '\\' if escapes => text.extend(characters.next().map(|(_, c)| c)),
                '"' | '\'' if quote.is_none() => quote = Some(c),
                c if quote == Some(c) => quote = None,
                c => text.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(Word { text, at: start });
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Option<Vec<String>> {
        all(line, 0).map(|words| words.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn words_are_split_as_openssh_splits_them() {
        let cases: [(&str, &[&str]); 10] = [
            ("a b\tc", &["a", "b", "c"]),
            ("\"a b\" c", &["a b", "c"]),
            ("'a \"b' c", &["a \"b", "c"]),
            ("a\\ b c", &["a b", "c"]),
            ("a\\\"b", &["a\"b"]),
            ("\"a\\ b\"", &["a\\ b"]),
            ("a # b", &["a"]),
            ("a#b", &["a#b"]),
            ("\"\" x", &["", "x"]),
            ("pre\"fix ed\"", &["prefix ed"]),
        ];
        for (line, expected) in cases {
            assert_eq!(texts(line).unwrap(), expected, "{line}");
        }
        assert_eq!(texts("\"a"), None);
        assert_eq!(texts("it's"), None);
    }

    #[test]
    fn a_keyword_ends_at_a_blank_or_one_equals_sign() {
        let cases = [
            ("Port 22", "Port", "22"),
            ("Port=22", "Port", "22"),
            ("Port = 22", "Port", "22"),
            ("Port\t=\t22", "Port", "22"),
            ("Port ==22", "Port", "=22"),
            ("Port", "Port", ""),
            ("\"Port\" 22", "Port", "22"),
        ];
        for (line, keyword, rest) in cases {
            let (word, start) = next(line, 0).unwrap();
            assert_eq!((word.text.as_str(), &line[start..]), (keyword, rest), "{line}");
        }
        assert_eq!(next("\"Port 22", 0), None);
    }
}
