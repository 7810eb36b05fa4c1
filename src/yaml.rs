//! A YAML 1.1 tree in which every node knows its place, resolved as PyYAML resolves it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Once, OnceLock};

use libyaml_safer::{EventData as Event, Parser, ScalarStyle};
use serde_json::Value;

use crate::error::{Diagnostic, Place, Source};

const MAX_DEPTH: usize = 200;
const MAX_NODES: usize = 5_000_000;

/// One node: what it is, where it stands, and how it was written.
#[derive(Clone, Debug)]
pub struct Yaml {
    pub data: Arc<Data>,
    pub place: Place,
    /// A tag such as `!unsafe` or `!vault`, as written.
    pub tag: Option<Arc<str>>,
    pub style: Style,
}

/// How a scalar was written; it decides where a position inside the text lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Quoted,
    Block,
    Collection,
}

#[derive(Clone, Debug)]
pub enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Yaml>),
    /// In the order written, keys unique, merge keys applied.
    Map(Vec<(Yaml, Yaml)>),
}

impl Yaml {
    /// Returns a plain text node at `place`, for text that did not come from YAML (`-e k=v`, INI).
    pub fn text_at(text: impl Into<String>, place: &Place) -> Yaml {
        Yaml { data: Arc::new(Data::Text(text.into())), place: place.clone(), tag: None, style: Style::Quoted }
    }

    /// Returns a list of this node alone: where it comes to `omit`, nothing is in it.
    pub fn in_list(&self) -> Yaml {
        Yaml { data: Arc::new(Data::List(vec![self.clone()])), ..Yaml::text_at("", &self.place) }
    }

    /// Returns a node of a value that is known: none of its texts is a template.
    pub fn literal(value: &Value, place: &Place) -> Yaml {
        Yaml::of(value, (place, Some("!unsafe".into())))
    }

    /// Returns a node of a value that stands for what was written at `place`, templates and all.
    pub fn written(value: &Value, place: &Place) -> Yaml {
        Yaml::of(value, (place, None))
    }

    fn of(value: &Value, (place, tag): (&Place, Option<Arc<str>>)) -> Yaml {
        let node = |value: &Value| Yaml::of(value, (place, tag.clone()));
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(value) => Data::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Data::Int(whole),
                None => Data::Float(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => Data::Text(text.clone()),
            Value::Array(items) => Data::List(items.iter().map(node).collect()),
            Value::Object(map) => {
                Data::Map(map.iter().map(|(name, value)| (Yaml::text_at(name, place), node(value))).collect())
            }
        };
        Yaml { data: Arc::new(data), tag, ..Yaml::text_at("", place) }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &*self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Yaml]> {
        match &*self.data {
            Data::List(list) => Some(list),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&[(Yaml, Yaml)]> {
        match &*self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(*self.data, Data::Null)
    }

    /// Returns the value under `key`, where this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.as_map()?.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// Returns the value as written, templates and all. Keys that are not text are written as Python prints them.
    pub fn to_value(&self) -> Value {
        match &*self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Int(value) => Value::from(*value),
            Data::Float(value) => Value::from(*value),
            Data::Text(value) => Value::from(value.as_str()),
            Data::List(list) => list.iter().map(Yaml::to_value).collect(),
            Data::Map(map) => map.iter().map(|(key, value)| (key.key(), value.to_value())).collect(),
        }
    }

    /// Returns this node's text as a mapping key.
    pub fn key(&self) -> String {
        match &*self.data {
            Data::Null => "None".into(),
            Data::Bool(true) => "True".into(),
            Data::Bool(false) => "False".into(),
            Data::Int(value) => value.to_string(),
            Data::Float(value) => value.to_string(),
            Data::Text(value) => value.clone(),
            Data::List(_) | Data::Map(_) => self.to_value().to_string(),
        }
    }

    /// Names the kind of node for an error: `a list`, `a mapping`, `text`, ...
    pub fn kind(&self) -> &'static str {
        match &*self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

/// What a key that stands twice in a mapping means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    Error,
    /// The last one counts.
    Last,
    LastWithWarning,
}

static DUPLICATES: OnceLock<Duplicates> = OnceLock::new();

/// Says, for all that this process reads, what a key that stands twice means; an error if nobody says. The first word counts.
pub fn on_duplicates(duplicates: Duplicates) {
    DUPLICATES.get_or_init(|| duplicates);
}

/// Reads every document of `source`.
///
/// Errors carry the place: syntax, duplicate keys, unknown aliases, a nesting deeper than 200.
pub fn load(source: &Arc<Source>) -> Result<Vec<Yaml>, Diagnostic> {
    // libyaml-safer 0.3 panics on a few malformed inputs; a panic there is the input's error, not ours.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !READING.get() {
                usual(panic)
            }
        }));
    });
    let reached = RefCell::new(Place::new(source, 1, 1));
    READING.set(true);
    let read = std::panic::catch_unwind(AssertUnwindSafe(|| read_documents(source, &reached)));
    READING.set(false);
    read.unwrap_or_else(|_| {
        let hint = "check quotes, tags and brackets; a `,` right after a tag needs a space before it";
        Err(Diagnostic::new("bad YAML after this").at(&reached.borrow()).hint(hint))
    })
}

thread_local! {
    /// A panic while this is set belongs to the text being read and is not printed.
    static READING: Cell<bool> = const { Cell::new(false) };
}

fn read_documents(source: &Arc<Source>, reached: &RefCell<Place>) -> Result<Vec<Yaml>, Diagnostic> {
    // Without a final newline the parser panics on some valid files.
    let text = format!("{}\n", source.text);
    let mut bytes = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut reader = Reader { parser, source, reached, anchors: HashMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.next()?.0 {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart { .. } => {
                reader.anchors.clear();
                let (event, place) = reader.next()?;
                documents.push(reader.node(event, place, 0)?);
            }
            _ => {}
        }
    }
}

struct Reader<'r, 't> {
    parser: Parser<&'r mut &'t [u8]>,
    source: &'r Arc<Source>,
    /// Where the last event began.
    reached: &'r RefCell<Place>,
    anchors: HashMap<String, Yaml>,
    nodes: usize,
}

impl Reader<'_, '_> {
    fn next(&mut self) -> Result<(Event, Place), Diagnostic> {
        let event = self.parser.parse().map_err(|error| self.syntax_error(&error))?;
        let mark = event.start_mark;
        let place = Place::new(self.source, mark.line as u32 + 1, mark.column as u32 + 1);
        self.reached.replace(place.clone());
        Ok((event.data, place))
    }

    fn syntax_error(&self, error: &libyaml_safer::Error) -> Diagnostic {
        let diagnostic = Diagnostic::new(format!("bad YAML: {}", error.problem()));
        let Some(mark) = error.problem_mark() else { return diagnostic.at(&Place::new(self.source, 1, 1)) };
        let place = Place::new(self.source, mark.line as u32 + 1, mark.column as u32 + 1);
        let line = self.source.text.lines().nth(mark.line as usize).unwrap_or("");
        let hint = if line.trim_start_matches(' ').starts_with('\t') {
            "YAML is indented with spaces; replace the tab"
        } else if line.contains(": {{") {
            "a value that starts with `{{` needs quotes: `key: \"{{ value }}\"`"
        } else if let Some((column, hint)) = misindented(&self.source.text, mark.line as usize) {
            return diagnostic.at(&Place { column, ..place }).hint(hint);
        } else {
            "compare the indentation and quotes with the lines above"
        };
        diagnostic.at(&place).hint(hint)
    }

    fn node(&mut self, event: Event, place: Place, depth: usize) -> Result<Yaml, Diagnostic> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(format!("nesting deeper than {MAX_DEPTH}")).at(&place));
        }
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::new(format!("more than {MAX_NODES} values in one file")).at(&place));
        }
        let (anchor, tag, data, style) = match event {
            Event::Alias { anchor } => {
                let unknown = || Diagnostic::new(format!("unknown alias `*{anchor}`")).at(&place);
                return self.anchors.get(&anchor).cloned().ok_or_else(unknown);
            }
            Event::Scalar { anchor, tag, value, style, plain_implicit, .. } => {
                let core = matches!(
                    tag.as_deref().and_then(|tag| tag.strip_prefix("tag:yaml.org,2002:")),
                    Some("int" | "float" | "bool" | "null")
                );
                let plain = tag.is_none() && style == ScalarStyle::Plain && plain_implicit;
                let data = if plain || core { resolve(&value) } else { Data::Text(value) };
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    _ => Style::Quoted,
                };
                (anchor, tag, data, style)
            }
            Event::SequenceStart { anchor, tag, .. } => {
                let mut list = Vec::new();
                loop {
                    let (event, place) = self.next()?;
                    if let Event::SequenceEnd = event {
                        break;
                    }
                    list.push(self.node(event, place, depth + 1)?);
                }
                (anchor, tag, Data::List(list), Style::Collection)
            }
            Event::MappingStart { anchor, tag, .. } => (anchor, tag, self.mapping(depth)?, Style::Collection),
            other => return Err(Diagnostic::new(format!("unexpected {other:?}")).at(&place)),
        };
        let node = Yaml { data: Arc::new(data), place, tag: tag.map(Arc::from), style };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Data, Diagnostic> {
        let mut own: Vec<(Yaml, Yaml)> = Vec::new();
        let mut merged: Vec<(Yaml, Yaml)> = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, place) = self.next()?;
            if let Event::MappingEnd = event {
                break;
            }
            let key = self.node(event, place, depth + 1)?;
            if let Data::List(_) | Data::Map(_) = *key.data {
                let message = format!("{} cannot be the key of a mapping", key.kind());
                let hint = "a value that starts with `{{` needs quotes: `key: \"{{ value }}\"`";
                return Err(Diagnostic::new(message).at(&key.place).hint(hint));
            }
            let (event, place) = self.next()?;
            let value = self.node(event, place, depth + 1)?;
            if key.style == Style::Plain && key.as_str() == Some("<<") {
                merged.extend(mappings_to_merge(&value)?);
                continue;
            }
            if let Some(first) = seen.insert(key.key(), key.place.clone()) {
                let duplicates = *DUPLICATES.get().unwrap_or(&Duplicates::Error);
                if duplicates != Duplicates::Error {
                    if duplicates == Duplicates::LastWithWarning {
                        let text = format!("Found duplicate mapping key '{}'.\nOrigin: {}", key.key(), key.place);
                        let _ = writeln!(anstream::stderr(), "[WARNING]: {text}\n");
                    }
                    own.retain(|(known, _)| known.key() != key.key());
                    own.push((key, value));
                    continue;
                }
                let message = format!("Found duplicate mapping key '{}'", key.key());
                let hint = format!("it is already set in line {}; keep one of them", first.line);
                return Err(Diagnostic::new(message).at(&key.place).hint(hint));
            }
            own.push((key, value));
        }
        for (key, value) in merged {
            if let Entry::Vacant(free) = seen.entry(key.key()) {
                free.insert(key.place.clone());
                own.push((key, value));
            }
        }
        Ok(Data::Map(own))
    }
}

/// Returns the column of the key in line `number` (from 0) and a hint, where the key in the line above starts in another column.
fn misindented(text: &str, number: usize) -> Option<(u32, String)> {
    let key_of = |line: &str| {
        let start = line.find(|c| !matches!(c, ' ' | '-'))?;
        let key = line[start..].split_once(':')?.0;
        (!key.starts_with('#')).then(|| (key.to_string(), start as u32 + 1))
    };
    let lines: Vec<&str> = text.lines().take(number + 1).collect();
    let (key, column) = key_of(lines.get(number)?)?;
    let above = lines[..number].iter().rev().find(|line| !line.trim().is_empty())?;
    let (above, other) = key_of(above).filter(|(_, other)| *other != column)?;
    let hint = format!(
        "`{key}` starts in column {column} and `{above}` above it in column {other}; the keys of one mapping start in the same column"
    );
    Some((column, hint))
}

/// Returns the entries that a merge key brings, the ones that win first (YAML 1.1, `tag:yaml.org,2002:merge`).
fn mappings_to_merge(value: &Yaml) -> Result<Vec<(Yaml, Yaml)>, Diagnostic> {
    let wrong = || Diagnostic::new("`<<` needs a mapping or a list of mappings").at(&value.place);
    match &*value.data {
        Data::Map(map) => Ok(map.clone()),
        Data::List(list) => {
            let maps = list.iter().map(|item| item.as_map().ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()?;
            Ok(maps.concat())
        }
        _ => Err(wrong()),
    }
}

/// Resolves a plain scalar as PyYAML's implicit resolver does; dates stay text.
pub fn resolve(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Data::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        _ => {}
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Data::Float(f64::from(sign) * f64::INFINITY);
    }
    if let Some(number) = integer(digits) {
        return Data::Int(i64::from(sign) * number);
    }
    match float(digits) {
        Some(number) => Data::Float(f64::from(sign) * number),
        None => Data::Text(text.into()),
    }
}

/// Reads binary, octal, decimal, hexadecimal and base 60, `_` allowed between digits.
fn integer(digits: &str) -> Option<i64> {
    let radix = |digits: &str, radix: u32| {
        let valid = !digits.is_empty() && digits.chars().all(|c| c == '_' || c.is_digit(radix));
        valid.then(|| i64::from_str_radix(&digits.replace('_', ""), radix).ok()).flatten()
    };
    if digits == "0" {
        return Some(0);
    }
    if let Some(rest) = digits.strip_prefix("0b") {
        return radix(rest, 2);
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return radix(rest, 16);
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return radix(rest, 8);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.contains(':') {
        return base_sixty(digits);
    }
    radix(digits, 10)
}

fn base_sixty(digits: &str) -> Option<i64> {
    let mut parts = digits.split(':');
    let mut number: i64 = parts.next()?.replace('_', "").parse().ok()?;
    for part in parts {
        let valid = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        let part: i64 = valid.then(|| part.parse().ok()).flatten().filter(|part| *part < 60)?;
        number = number.checked_mul(60)?.checked_add(part)?;
    }
    Some(number)
}

/// Reads `1.5`, `1.`, `.5`, `1.0e+3`. As in YAML 1.1 the dot and the exponent's sign are required: `1e3` is text.
fn float(digits: &str) -> Option<f64> {
    let (whole, rest) = digits.split_once('.')?;
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let valid = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let signed = |exponent: &str| {
        exponent.strip_prefix(['+', '-']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let starts = whole.starts_with(|c: char| c.is_ascii_digit())
        || (whole.is_empty() && fraction.starts_with(|c: char| c.is_ascii_digit()));
    if !starts || !valid(whole) || !valid(fraction) || !exponent.is_none_or(signed) {
        return None;
    }
    let text = format!("0{whole}.{fraction}0e{}", exponent.unwrap_or("+0")).replace('_', "");
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        let source = Arc::new(Source { path: "t.yml".into(), text: text.into() });
        load(&source)
            .map(|documents| documents.first().map_or(Value::Null, Yaml::to_value))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn plain_scalars_are_yaml_1_1() {
        let value = read("[yes, off, 0644, 12:30, 1_000, 1e3, 1.5, ~, '0644', 0x1f, 2026-11-23, 08]").unwrap();
        let expected = r#"[true,false,420,750,1000,"1e3",1.5,null,"0644",31,"2026-11-23","08"]"#;
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn merge_keys_do_not_override() {
        let value = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n").unwrap();
        assert_eq!(value["b"].to_string(), r#"{"y":3,"x":1}"#);
    }

    #[test]
    fn a_duplicate_key_names_both_lines() {
        let error = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(error.contains("Found duplicate mapping key 'a'") && error.contains("t.yml:3:1"), "{error}");
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn what_the_parser_cannot_survive_is_the_texts_error() {
        let error = read("a: 1\nb: [!t, x]\n").unwrap_err();
        assert!(error.starts_with("error: bad YAML") && error.contains("t.yml:2:"), "{error}");
    }

    #[test]
    fn a_key_out_of_line_is_named_with_its_column() {
        for (text, place, hint) in [
            ("- name: a\n   copy: b\n", "t.yml:2:4", "`copy` starts in column 4 and `name` above it in column 3"),
            ("a:\n  - name: a\n   copy: b\n", "t.yml:3:4", "`copy` starts in column 4 and `name` above it in column 5"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(place) && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_template_without_quotes_is_no_key() {
        let error = read("msg: {{ name }}\n").unwrap_err();
        assert!(error.contains("a mapping cannot be the key") && error.contains("needs quotes"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn no_text_panics(text in "([a-c\\-:?!&*\\[\\]{}|>'\"%@#,<~ \t\n\u{e9}]|- |: |\n  |&a |\\*a |<<: |--- |!!int ){0,40}") {
            let _ = read(&text);
        }

        #[test]
        fn scalars_resolve_without_panic(text in "[-+0-9._:eEx]{0,24}") {
            resolve(&text);
        }
    }

    #[test]
    fn a_tab_is_named() {
        let error = read("a:\n\tb: 1\n").unwrap_err();
        assert!(error.contains("replace the tab"), "{error}");
    }
}
