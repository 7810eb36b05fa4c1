//! Lookups of one value in a file of many: INI and CSV.

use indexmap::IndexMap;
use minijinja::{Error, Value};

use super::call::{text, whole};
use super::lookups::{Terms, read};

/// `lookup('ini', 'key section=s file=f.ini')`, or the same as keywords.
pub(super) fn ini(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms.texts() {
        let (key, settings) = key_and_settings(&term, &terms.options);
        let setting = |name: &str, default: &str| settings.get(name).cloned().unwrap_or_else(|| default.into());
        let section = setting("section", "global");
        let text = read(&terms.need("files", &setting("file", "ansible.ini"))?)?;
        let properties = setting("type", "ini") == "properties";
        let mut here = properties;
        let value = text.lines().find_map(|line| {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                here = name == section;
                return None;
            }
            let (name, value) = line.split_once(['=', ':']).filter(|_| here && !line.starts_with(['#', ';']))?;
            name.trim().eq_ignore_ascii_case(&key).then(|| value.trim().to_string())
        });
        found.push(value.unwrap_or_else(|| setting("default", "")).into());
    }
    Ok(found)
}

/// `lookup('csvfile', 'key file=f.csv delimiter=, col=1')`, or the same as keywords.
pub(super) fn csv_file(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms.texts() {
        let (key, settings) = key_and_settings(&term, &terms.options);
        let setting = |name: &str, default: &str| settings.get(name).cloned().unwrap_or_else(|| default.into());
        let text = read(&terms.need("files", &setting("file", "ansible.csv"))?)?;
        let delimiter = match setting("delimiter", "TAB").as_str() {
            "TAB" | "\\t" => '\t',
            other => other.chars().next().unwrap_or('\t'),
        };
        let number =
            |name: &str, default: &str| whole(&setting(name, default).into()).map(|number| number.max(0) as usize);
        let (column, key_column) = (number("col", "1")?, number("keycol", "0")?);
        let row = text.lines().map(|line| cells(line, delimiter)).find(|row| row.get(key_column) == Some(&key));
        let cell = row.and_then(|row| row.into_iter().nth(column));
        found.extend(cell.or_else(|| settings.get("default").cloned()).map(Value::from));
    }
    Ok(found)
}

fn cells(line: &str, delimiter: char) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let last = cells.len() - 1;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => cells[last].extend(characters.next()),
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => cells.push(String::new()),
            c => cells[last].push(c),
        }
    }
    cells
}

fn key_and_settings(term: &str, options: &IndexMap<String, Value>) -> (String, IndexMap<String, String>) {
    let mut settings: IndexMap<String, String> =
        options.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let mut key = Vec::new();
    for part in term.split_whitespace() {
        match part.split_once('=') {
            Some((name, value)) => {
                settings.insert(name.into(), value.into());
            }
            None => key.push(part),
        }
    }
    (key.join(" "), settings)
}
