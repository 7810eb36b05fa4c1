//! Values and names in SQL, and values as they are shown: for an answer from SQL and for a value that is only planned the same text.

use sha1::Digest as _;

use crate::transport::node::hex;

use super::schema::{Column, Kind};

/// What a column of a row holds: the text of a number, UTF-8, or bytes as they are. Nothing is NULL.
pub type Cell = Option<Vec<u8>>;

/// Quotes a name.
pub fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Writes a cell of a column.
pub fn cell(column: &Column, cell: &Cell) -> String {
    match (cell, &column.kind) {
        (None, _) => "NULL".into(),
        (Some(bytes), Kind::Number) => String::from_utf8_lossy(bytes).into_owned(),
        (Some(bytes), Kind::Bytes) => format!("X'{}'", hex(bytes)),
        (Some(bytes), _) => text(&String::from_utf8_lossy(bytes)),
    }
}

/// Returns a cell as it is shown; a hidden one as its fingerprint, with the host's salt.
pub fn shown(column: &Column, cell: &Cell, salt: &str) -> String {
    let Some(bytes) = cell else { return "NULL".into() };
    match (&column.kind, column.hidden) {
        (_, true) => fingerprint(bytes, salt),
        (Kind::Number, _) => String::from_utf8_lossy(bytes).into_owned(),
        (Kind::Bytes, _) => format!("0x{}", hex(bytes).to_uppercase()),
        _ => text(&String::from_utf8_lossy(bytes)),
    }
}

/// Returns what stands for a text that is not shown.
pub fn fingerprint(bytes: &[u8], salt: &str) -> String {
    let sum = sha1::Sha1::digest([salt.as_bytes(), bytes, salt.as_bytes()].concat());
    format!("hidden:{}", &hex(&sum)[..if salt.is_empty() { UNSALTED } else { FINGERPRINT }])
}

/// Returns the expression that makes the same of an expression on the server. SHA1 is what every version has.
pub fn fingerprinting(plain: &str) -> String {
    format!("CONCAT('hidden:', LEFT(SHA1(CONCAT(@salt, {plain}, @salt)), IF(@salt = '', {UNSALTED}, {FINGERPRINT})))")
}

const FINGERPRINT: usize = 12;
/// Without a salt a word is soon found for a fingerprint: a short one is that of many.
const UNSALTED: usize = 3;

/// Returns the expression that makes the same text on the server. SHA1 is what every version has; the salt keeps it from
/// being guessed at.
pub fn showing(column: &Column, charset: &str) -> String {
    let named = name(&column.name);
    let plain = plain(column, charset);
    match (&column.kind, column.hidden) {
        (_, true) => {
            format!("IF({named} IS NULL, 'NULL', {})", fingerprinting(&plain))
        }
        (Kind::Number, _) => format!("IFNULL({plain}, 'NULL')"),
        (Kind::Bytes, _) => format!("IFNULL(CONCAT('0x', HEX({plain})), 'NULL')"),
        _ => {
            let ends = [("10", "n"), ("13", "r"), ("9", "t")];
            ends.iter().fold(format!("QUOTE({plain})"), |text, (code, letter)| {
                format!("REPLACE({text}, CHAR({code} USING {charset}), '\\\\{letter}')")
            })
        }
    }
}

/// Returns the expression that gives a column's value as a [`Cell`] has it.
pub fn plain(column: &Column, charset: &str) -> String {
    let named = name(&column.name);
    match &column.kind {
        Kind::Number if column.is_bits => format!("CAST({named} + 0 AS CHAR)"),
        Kind::Number => format!("CAST({named} AS CHAR)"),
        Kind::Bytes => named,
        _ => format!("CONVERT({named} USING {charset})"),
    }
}

/// Returns the expression that prints values on one line, in a form that [`cells`] reads.
pub fn printing(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("IFNULL(CONCAT('x', HEX({value})), '-')")).collect();
    format!("CONCAT_WS(' ', {})", values.join(", "))
}

/// Reads what [`printing`] has printed; anything else is nothing.
pub fn cells(line: &str) -> Option<Vec<Cell>> {
    line.split(' ')
        .map(|word| match word.strip_prefix('x') {
            Some(digits) => unhex(digits).map(Some),
            None if word == "-" => Some(None),
            None => None,
        })
        .collect()
}

/// Reads hexadecimal digits.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok())
        .collect()
}

/// The letters that are escaped, as `QUOTE()` and the expressions of [`showing`] have them.
const ESCAPES: [(char, char); 7] =
    [('\\', '\\'), ('\'', '\''), ('\0', '0'), ('\u{1a}', 'Z'), ('\n', 'n'), ('\r', 'r'), ('\t', 't')];

/// Quotes a text, for a session without `NO_BACKSLASH_ESCAPES`.
pub fn text(text: &str) -> String {
    let mut quoted = String::from("'");
    for letter in text.chars() {
        match ESCAPES.iter().find(|(plain, _)| *plain == letter) {
            Some((_, escape)) => quoted.extend(['\\', *escape]),
            None => quoted.push(letter),
        }
    }
    quoted + "'"
}

/// Reads one shown value from the start of a text; returns it and the rest. Of a hidden one nobody knows what it is.
pub fn read_shown(shown: &str) -> Option<(Option<Cell>, &str)> {
    if let Some(quoted) = shown.strip_prefix('\'') {
        let (mut bytes, mut escape) = (String::new(), false);
        for (index, letter) in quoted.char_indices() {
            match letter {
                _ if escape => {
                    escape = false;
                    bytes.push(ESCAPES.iter().find(|(_, code)| *code == letter)?.0);
                }
                '\\' => escape = true,
                '\'' => return Some((Some(Some(bytes.into_bytes())), &quoted[index + 1..])),
                _ => bytes.push(letter),
            }
        }
        return None;
    }
    let end = shown.find(' ').unwrap_or(shown.len());
    let (word, rest) = shown.split_at(end);
    let cell = match word {
        "NULL" => Some(None),
        _ if word.starts_with("hidden:") => None,
        _ => Some(Some(match word.strip_prefix("0x") {
            Some(digits) => unhex(digits)?,
            None => word.as_bytes().to_vec(),
        })),
    };
    Some((cell, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_so_that_it_is_read_back_and_stays_on_its_line() {
        for written in ["", "a b", "it's", "back\\slash", "line\r\nend\t", "nul\0", "gr\u{fc}n \u{1f4e7}", "a=b c='d'"]
        {
            let quoted = text(written);
            assert!(!quoted.contains(['\n', '\r', '\0']), "{quoted}");
            let rest = format!("{quoted} x=1");
            assert_eq!(read_shown(&rest), Some((Some(Some(written.into())), " x=1")), "{quoted}");
        }
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(read_shown("NULL"), Some((Some(None), "")));
        assert_eq!(read_shown("0x00FF y"), Some((Some(Some(vec![0, 255])), " y")));
        assert_eq!(read_shown("hidden:12ab y"), Some((None, " y")));
        assert_eq!(read_shown("'open"), None);
        assert_eq!(cells("x41 - x"), Some(vec![Some(b"A".to_vec()), None, Some(Vec::new())]));
        assert_eq!(cells("x4"), None);
    }
}
