//! Lookups of one value in a file of many: INI and CSV.

use indexmap::IndexMap;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use crate::ini::{Ini, Rules};

use super::call::{text, whole, wrong};
use super::filters::pattern;
use super::lookups::{Terms, bytes};
use super::values::{as_bool, items};

/// The settings of one lookup, each with what it is where nobody says.
type Settings = IndexMap<String, Value>;

const INI: &[(&str, &str)] = &[
    ("type", "ini"),
    ("file", "ansible.ini"),
    ("section", "global"),
    ("re", "false"),
    ("encoding", "utf-8"),
    ("default", ""),
    ("case_sensitive", "false"),
    ("allow_no_value", "false"),
    ("allow_none", "false"),
    ("interpolation", "true"),
];

const CSV: &[(&str, &str)] = &[
    ("file", "ansible.csv"),
    ("delimiter", "TAB"),
    ("col", "1"),
    ("keycol", "0"),
    ("encoding", "utf-8"),
    ("default", ""),
];

/// `lookup('ini', 'key section=s file=f.ini')`, or the same as keywords.
pub(super) fn ini(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms.texts() {
        let (key, settings) = inline(&term, settings(&terms.options, INI)?, Keys::First)?;
        let flag = |name: &str| settings.get(name).is_some_and(|value| as_bool(value).unwrap_or(false));
        let file = text(&settings["file"]);
        let content = decoded(&bytes(&terms.need("files", &file)?)?, &text(&settings["encoding"]))?;
        let properties = text(&settings["type"]) == "properties";
        let section = if properties { "java_properties".into() } else { text(&settings["section"]) };
        let rules = Rules {
            case_sensitive: flag("case_sensitive"),
            allow_no_value: flag("allow_no_value") || flag("allow_none"),
            interpolation: flag("interpolation"),
        };
        let named = |why: String| wrong(format!("{why} in '{file}'"));
        let ini = Ini::read(&content, properties.then_some(&section), rules).map_err(named)?;
        if !ini.has(&section) {
            return Err(wrong(format!("No section '{section}' in '{file}'")));
        }
        let keys: Vec<&str> = if flag("re") {
            let regex = pattern::compile(&crate::regex::at_start(&key), false, false)?;
            ini.keys(&section).into_iter().filter(|key| regex.is_match(key).unwrap_or(false)).collect()
        } else {
            vec![&key]
        };
        for key in keys {
            match ini.get(&section, key).map_err(named)? {
                Some(Some(value)) => found.push(value.into()),
                Some(None) => {}
                None => found.extend(default(&settings)?),
            }
        }
    }
    Ok(found)
}

/// `lookup('csvfile', 'key file=f.csv delimiter=, col=1')`, or the same as keywords.
pub(super) fn csv_file(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let given = terms.texts();
    if given.is_empty() {
        return Err(wrong("Search key is required but was not found"));
    }
    let mut found = Vec::new();
    for term in given {
        let (key, settings) = inline(&term, settings(&terms.options, CSV)?, Keys::Joined)?;
        let name = text(&settings["file"]);
        let file = terms.find("files", &name).ok_or_else(|| {
            wrong(format!(
                "No such file or directory: '{name}'\nhint: put it into `files/` of the role or beside the playbook"
            ))
        })?;
        let content = decoded(&bytes(&file)?, &text(&settings["encoding"]))?;
        let delimiter = match text(&settings["delimiter"]).as_str() {
            "TAB" | "\\t" => '\t',
            other => {
                let mut characters = other.chars();
                match (characters.next(), characters.next()) {
                    (Some(delimiter), None) => delimiter,
                    _ => return Err(wrong(format!("\"delimiter\" must be a 1-character string, not `{other}`"))),
                }
            }
        };
        let number = |name: &str| {
            let whole = whole(&settings[name]);
            whole.map_err(|_| wrong(format!("the option `{name}` has an invalid value: `{}`", settings[name])))
        };
        let (column, key_column) = (number("col")?.max(0) as usize, number("keycol")?.max(0) as usize);
        let row = rows(&content, delimiter).into_iter().find(|row| row.get(key_column) == Some(&key));
        match row {
            Some(mut row) if column < row.len() => found.push(row.swap_remove(column).into()),
            Some(_) => return Err(wrong(format!("the row of `{key}` has no column {column}"))),
            None if terms.options.contains_key("default") || !text(&settings["default"]).is_empty() => {
                found.extend(default(&settings)?);
            }
            None => {}
        }
    }
    Ok(found)
}

/// The items of a list that is the default, or the default itself.
fn default(settings: &Settings) -> Result<Vec<Value>, Error> {
    let default = &settings["default"];
    match default.kind() {
        ValueKind::Seq | ValueKind::Iterable => items(default),
        ValueKind::None => Ok(Vec::new()),
        _ => Ok(vec![default.clone()]),
    }
}

/// Puts what is given over what is the default; what the lookup does not know is an error.
fn settings(given: &IndexMap<String, Value>, known: &[(&str, &str)]) -> Result<Settings, Error> {
    let mut settings: Settings =
        known.iter().map(|(name, default)| (name.to_string(), Value::from(*default))).collect();
    for (name, value) in given {
        set(&mut settings, (name, value.clone()))?;
    }
    Ok(settings)
}

fn set(settings: &mut Settings, (name, value): (&str, Value)) -> Result<(), Error> {
    match settings.get_mut(name) {
        Some(setting) => *setting = value,
        None => return Err(wrong(format!("'{name}' is not a valid option"))),
    }
    Ok(())
}

/// Which words of a term are its key.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// The first; words that follow a setting belong to that.
    First,
    /// All that are no settings.
    Joined,
}

/// Takes a term apart: its key, and the settings in it.
fn inline(term: &str, mut settings: Settings, keys: Keys) -> Result<(String, Settings), Error> {
    if !term.contains('=') {
        return Ok((if keys == Keys::First { term.trim() } else { term }.to_string(), settings));
    }
    let mut key: Vec<String> = Vec::new();
    let mut last: Option<String> = None;
    for word in words(term) {
        let (name, value) = match (word.split_once('='), &last) {
            (Some((name, value)), _) => (name.to_string(), unquoted(value)),
            (None, Some(name)) if keys == Keys::First => (name.clone(), format!("{} {word}", settings[name])),
            (None, _) => {
                key.push(word);
                continue;
            }
        };
        set(&mut settings, (&name, unescaped(&value).into()))?;
        last = Some(name);
    }
    if key.is_empty() {
        return Err(wrong(match keys {
            Keys::First => format!("No key to look up was provided as first term within string inline options: {term}"),
            Keys::Joined => "Search key is required but was not found".into(),
        }));
    }
    Ok((key.join(" "), settings))
}

/// Splits at blanks that stand in no quotes; the quotes stay.
fn words(term: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in term.chars() {
        let last = words.len() - 1;
        match (c, quote) {
            (' ' | '\n', None) => words.push(String::new()),
            (c, _) => {
                quote = match quote {
                    Some(open) => (open != c).then_some(open),
                    None => matches!(c, '"' | '\'').then_some(c),
                };
                words[last].push(c);
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn unquoted(value: &str) -> String {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value).into()
}

/// `\t`, `\xHH` and the like, as they may stand in an inline setting.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let hex = after.strip_prefix('x').and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
        (text, rest) = match (hex, after.chars().next()) {
            (Some(byte), _) => (text + &char::from(byte).to_string(), &after[3..]),
            (None, Some('t')) => (text + "\t", &after[1..]),
            (None, Some('n')) => (text + "\n", &after[1..]),
            (None, Some('\\')) => (text + "\\", &after[1..]),
            _ => (text + "\\", after),
        };
    }
    text + rest
}

/// The eight characters in which ISO 8859-15 is not ISO 8859-1.
const LATIN_9: [(u8, char); 8] =
    [(0xa4, '€'), (0xa6, 'Š'), (0xa8, 'š'), (0xb4, 'Ž'), (0xb8, 'ž'), (0xbc, 'Œ'), (0xbd, 'œ'), (0xbe, 'Ÿ')];

/// Reads bytes in an encoding that Python knows by `name`.
fn decoded(bytes: &[u8], name: &str) -> Result<String, Error> {
    let plain: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let latin_9 = |byte: &u8| {
        LATIN_9.iter().find(|(code, _)| code == byte).map_or(char::from(*byte), |(_, character)| *character)
    };
    match plain.as_str() {
        "utf8" | "ascii" | "usascii" => Ok(String::from_utf8_lossy(bytes).into_owned()),
        "utf8sig" => Ok(String::from_utf8_lossy(bytes).trim_start_matches('\u{feff}').into()),
        "latin1" | "iso88591" => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        "latin9" | "iso885915" => Ok(bytes.iter().map(latin_9).collect()),
        _ => Err(wrong(format!("the encoding `{name}` is not supported\nhint: utf-8, iso8859-1 and iso8859-15 are"))),
    }
}

/// Reads the rows of a CSV file; a quoted cell may go over lines.
fn rows(content: &str, delimiter: char) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let (mut quoted, mut fresh) = (false, true);
    let mut characters = content.chars().peekable();
    while let Some(c) = characters.next() {
        let starts = std::mem::take(&mut fresh);
        let Some(row) = rows.last_mut() else { break };
        let last = row.len() - 1;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => row[last].extend(characters.next()),
            '"' if quoted => quoted = false,
            '"' if starts => quoted = true,
            '\r' if !quoted && characters.peek() == Some(&'\n') => fresh = starts,
            '\n' if !quoted => {
                rows.push(vec![String::new()]);
                fresh = true;
            }
            c if c == delimiter && !quoted => {
                row.push(String::new());
                fresh = true;
            }
            c => row[last].push(c),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::table::render;

    #[test]
    fn csv_is_read_as_python_reads_it() {
        let read = rows("a,\"b, c\",d\r\n\"x\"\"y\",\"two\nlines\"\n5\" disk,z\n", ',');
        assert_eq!(read[0], ["a", "b, c", "d"]);
        assert_eq!(read[1], ["x\"y", "two\nlines"]);
        assert_eq!(read[2], ["5\" disk", "z"]);
    }

    #[test]
    fn one_value_is_found_among_many() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(at("a b.csv"), "Smith,Jane,5\nthis file,ok,6\n").unwrap();
        std::fs::write(at("f.ini"), "[s]\nuser = joe\nuser2=ann\nalone\n").unwrap();
        std::fs::write(at("l.ini"), b"[s]\nname = caf\xe9 \xa4\n").unwrap();
        let (csv, ini, latin) = (at("a b.csv"), at("f.ini"), at("l.ini"));
        let rows = [
            (format!("lookup('csvfile', 'Smith', file='{csv}', delimiter=',')"), "Jane"),
            (format!("lookup('csvfile', 'this file file=\"{csv}\" delimiter=, col=2')"), "6"),
            (format!("lookup('csvfile', 'nobody', file='{csv}', delimiter=',', default=['a', 'b'])"), "a,b"),
            (format!("lookup('ini', 'user', section='s', file='{ini}', allow_no_value=true)"), "joe"),
            (format!("lookup('ini', 'user.* section=s re=true allow_none=true file={ini}')"), "joe,ann"),
            (format!("lookup('ini', 'none section=s default=a b allow_none=true file={ini}')"), "a b"),
            (format!("lookup('ini', 'name', section='s', encoding='iso8859-15', file='{latin}')"), "café €"),
        ];
        for (expression, expected) in rows {
            assert_eq!(render(&format!("{{{{ {expression} }}}}")).unwrap(), expected, "{expression}");
        }
        let wrong = [
            (format!("lookup('csvfile', 'file={ini} delimiter=,')"), "Search key is required but was not found"),
            (format!("lookup('csvfile', 'x', file='{csv}', thisarg=1)"), "'thisarg' is not a valid option"),
            (format!("lookup('ini', 'user', section='t', allow_none=true, file='{ini}')"), "No section 't' in"),
            (format!("lookup('ini', 'user', section='s', file='{ini}')"), "line 4 has no `=`: `alone` in"),
        ];
        for (expression, expected) in wrong {
            let error = render(&format!("{{{{ {expression} }}}}")).unwrap_err();
            assert!(error.contains(expected), "{expression}: {error}");
        }
    }
}
