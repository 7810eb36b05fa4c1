//! Names as hosts hold them, which are bytes, in the program's texts: nothing is lost either way.
//!
//! A byte that is no part of valid UTF-8 is one private-use character, U+10FF00 + the byte. A name that holds such a
//! character itself has it as the bytes of its UTF-8, each in this form: so no two names are one text.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The character of the byte 0x80.
const FIRST: u32 = 0x10FF80;
/// The character of the byte 0xFF.
const LAST: u32 = 0x10FFFF;

/// Returns the text of a name.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match byte_of(letter) {
                Some(_) => text.extend(letter.encode_utf8(&mut [0; 4]).bytes().map(letter_of)),
                None => text.push(letter),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(letter_of));
    }
    text
}

/// Returns the name of a text, or a whole script with the names in it.
pub fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(|letter| byte_of(letter).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match byte_of(letter) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// Returns the text of a name of this machine.
pub fn from_local(name: impl AsRef<OsStr>) -> String {
    from_bytes(name.as_ref().as_bytes())
}

/// Returns a path of this machine.
pub fn to_local(text: &str) -> PathBuf {
    OsStr::from_bytes(&to_bytes(text)).into()
}

/// Returns a name as it may be printed: on one line, and without anything that a terminal would obey.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// Returns a text as it may be printed: its lines and tabs stay, nothing else that a terminal would obey.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'])
}

fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let plain = |letter: char| kept.contains(&letter) || !(is_obeyed(letter) || byte_of(letter).is_some());
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        let _ = match (letter, byte_of(letter)) {
            (letter, None) if plain(letter) => write!(shown, "{letter}"),
            (_, Some(byte)) => write!(shown, "\\x{byte:02x}"),
            ('\n', _) => write!(shown, "\\n"),
            ('\r', _) => write!(shown, "\\r"),
            ('\t', _) => write!(shown, "\\t"),
            (letter @ '\0'..='\x7f', _) => write!(shown, "\\x{:02x}", u32::from(letter)),
            _ => write!(shown, "\\u{{{:x}}}", u32::from(letter)),
        };
    }
    Cow::Owned(shown)
}

/// Control characters, and those that turn the writing around (UAX #9) or end a line.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

fn letter_of(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte & 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte_of(letter: char) -> Option<u8> {
    let number = u32::from(letter);
    (FIRST..=LAST).contains(&number).then(|| 0x80 | (number - FIRST) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_is_lost(bytes: Vec<u8>) {
            let text = from_bytes(&bytes);
            prop_assert_eq!(&*to_bytes(&text), &bytes[..]);
        }

        #[test]
        fn a_name_made_of_what_is_special_here_is_not_lost(pieces in prop::collection::vec(0..6usize, 0..12)) {
            let pieces = pieces.into_iter().map(|piece| {
                [&b"a"[..], b"\xff", b"\xf4", b"\xf4\x8f\xbe\x80", "\u{10ffff}".as_bytes(), "é".as_bytes()][piece]
            });
            let bytes: Vec<u8> = pieces.flatten().copied().collect();
            let text = from_bytes(&bytes);
            prop_assert_eq!(&*to_bytes(&text), &bytes[..]);
        }
    }

    #[test]
    fn valid_utf8_is_itself() {
        let name = "ümläut-日本 \n\u{10ff7f}";
        assert_eq!(from_bytes(name.as_bytes()), name);
        assert!(matches!(to_bytes(name), Cow::Borrowed(_)));
    }

    #[test]
    fn other_bytes_are_one_character_each() {
        assert_eq!(from_bytes(b"caf\xe9"), "caf\u{10ffe9}");
        assert_eq!(from_bytes("\u{10ffe9}".as_bytes()).chars().count(), 4);
        assert_eq!(to_local("caf\u{10ffe9}").as_os_str().as_bytes(), b"caf\xe9");
    }

    #[test]
    fn what_is_shown_is_one_line_that_no_terminal_obeys() {
        assert_eq!(shown(&from_bytes(b"a\xff\n\x1b[31m\x7f")), r"a\xff\n\x1b[31m\x7f");
        assert_eq!(shown("\u{202e}\u{9b}ü \\"), "\\u{202e}\\u{9b}ü \\");
        assert_eq!(printable("a\n\tb\r\n"), "a\n\tb\\r\n");
    }
}
