//! Texts in other encodings than UTF-8, under the names that Python has for them: those of one byte a letter.

use std::borrow::Cow;

/// How a text becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    Utf8,
    /// With a byte order mark before it.
    Utf8Sig,
    /// The first so many letters of Unicode: ASCII, and ISO 8859-1.
    First(u32),
    Table(&'static encoding_rs::Encoding),
}

/// Names of what `encoding_rs` takes for Windows' own page of that language.
const LATIN1: &[&str] = &["latin-1", "latin1", "iso-8859-1", "iso8859-1", "8859", "cp819", "l1"];
const ASCII: &[&str] = &["ascii", "us-ascii", "646"];

impl Encoding {
    /// Finds one by its name. `None`: there is none, or it has more than one byte a letter.
    pub fn named(name: &str) -> Option<Encoding> {
        let name = name.to_lowercase().replace(['_', ' '], "-");
        match name.as_str() {
            "utf-8" | "utf8" | "u8" => return Some(Encoding::Utf8),
            "utf-8-sig" => return Some(Encoding::Utf8Sig),
            name if LATIN1.contains(&name) => return Some(Encoding::First(0x100)),
            name if ASCII.contains(&name) => return Some(Encoding::First(0x80)),
            _ => {}
        }
        let label = match name.strip_prefix("latin-") {
            Some(number) => format!("latin{number}"),
            None => name,
        };
        let table = encoding_rs::Encoding::for_label(label.as_bytes()).filter(|table| table.is_single_byte())?;
        // The web has other tables under the names of these.
        let is_other =
            ["8859-9", "8859-11", "latin5", "l5", "tis-620", "8859-1"].iter().any(|end| label.ends_with(end));
        (!is_other).then_some(Encoding::Table(table))
    }

    /// Returns the bytes of a text, or the first letter that has none.
    pub fn bytes(self, text: &str) -> Result<Vec<u8>, char> {
        match self {
            Encoding::Utf8 => Ok(text.into()),
            Encoding::Utf8Sig => Ok([b"\xef\xbb\xbf", text.as_bytes()].concat()),
            Encoding::First(end) => text
                .chars()
                .map(|letter| u8::try_from(u32::from(letter)).ok().filter(|byte| u32::from(*byte) < end).ok_or(letter))
                .collect(),
            Encoding::Table(table) => {
                let whole = table.encode(text);
                match whole {
                    (bytes, _, false) => Ok(Cow::into_owned(bytes)),
                    _ => {
                        Err(text.chars().find(|letter| table.encode(letter.encode_utf8(&mut [0; 4])).2).unwrap_or(' '))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_bytes_that_python_gives_it() {
        for (name, text, bytes) in [
            ("utf-8", "ü€", Ok("ü€".as_bytes().to_vec())),
            ("utf-8-sig", "ü", Ok(b"\xef\xbb\xbf\xc3\xbc".to_vec())),
            ("latin-1", "grün\n", Ok(b"gr\xfcn\n".to_vec())),
            ("ISO_8859_1", "€", Err('€')),
            ("ascii", "grün", Err('ü')),
            ("iso8859-15", "ü€", Ok(b"\xfc\xa4".to_vec())),
            ("latin-2", "ł", Ok(b"\xb3".to_vec())),
            ("cp1252", "ü€", Ok(b"\xfc\x80".to_vec())),
            ("koi8-r", "я", Ok(b"\xd1".to_vec())),
            ("windows-1251", "aüя", Err('ü')),
        ] {
            assert_eq!(Encoding::named(name).unwrap().bytes(text), bytes, "{name}");
        }
        for name in ["utf-16", "shift_jis", "big5", "iso-8859-9", "latin5", "none", ""] {
            assert_eq!(Encoding::named(name), None, "{name}");
        }
    }
}
