//! YAML as PyYAML writes it, so that a YAML 1.1 reader gets the same values back.

use serde_json::Value as Json;

use crate::yaml::{Data, resolve};

/// How PyYAML is asked to write.
pub struct Layout {
    pub indent: usize,
    pub sorted: bool,
    /// Every collection on its own lines; otherwise those without collections in them stand in brackets.
    pub block: bool,
}

/// Returns one document, with its final newline.
pub fn dump(json: &Json, layout: &Layout) -> String {
    let mut out = String::new();
    layout.node(json, 0, &mut out);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

impl Layout {
    fn is_flow(&self, json: &Json) -> bool {
        let leaf = |item: &Json| !item.is_array() && !item.is_object();
        match json {
            Json::Array(list) => list.is_empty() || !self.block && list.iter().all(leaf),
            Json::Object(map) => map.is_empty() || !self.block && map.values().all(leaf),
            _ => true,
        }
    }

    fn entries<'a>(&self, map: &'a serde_json::Map<String, Json>) -> Vec<(&'a String, &'a Json)> {
        let mut entries: Vec<_> = map.iter().collect();
        if self.sorted {
            entries.sort_by_key(|(key, _)| *key);
        }
        entries
    }

    /// Writes a node whose first line starts where `out` ends; its further lines are indented by `depth`.
    fn node(&self, json: &Json, depth: usize, out: &mut String) {
        match json {
            Json::String(text) => out.push_str(&scalar(text, Some(depth))),
            _ if self.is_flow(json) => self.flow(json, out),
            Json::Array(list) => {
                for (index, item) in list.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&" ".repeat(depth));
                    }
                    out.push('-');
                    out.push_str(&" ".repeat(if self.is_flow(item) { 1 } else { self.indent - 1 }));
                    self.line(item, depth + self.indent, out);
                }
            }
            Json::Object(map) => {
                for (index, (key, item)) in self.entries(map).into_iter().enumerate() {
                    if index > 0 {
                        out.push_str(&" ".repeat(depth));
                    }
                    out.push_str(&scalar(key, None));
                    out.push(':');
                    match item {
                        _ if self.is_flow(item) => {
                            out.push(' ');
                            self.line(item, depth + self.indent, out);
                        }
                        // A list in a mapping is not indented.
                        Json::Array(_) => {
                            out.push('\n');
                            out.push_str(&" ".repeat(depth));
                            self.line(item, depth, out);
                        }
                        _ => {
                            out.push('\n');
                            out.push_str(&" ".repeat(depth + self.indent));
                            self.line(item, depth + self.indent, out);
                        }
                    }
                }
            }
            _ => self.flow(json, out),
        }
    }

    fn line(&self, json: &Json, depth: usize, out: &mut String) {
        self.node(json, depth, out);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    }

    fn flow(&self, json: &Json, out: &mut String) {
        match json {
            Json::Array(list) => {
                out.push('[');
                for (index, item) in list.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    self.flow(item, out);
                }
                out.push(']');
            }
            Json::Object(map) => {
                out.push('{');
                for (index, (key, item)) in self.entries(map).into_iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    out.push_str(&scalar(key, None));
                    out.push_str(": ");
                    self.flow(item, out);
                }
                out.push('}');
            }
            Json::String(text) => out.push_str(&scalar(text, None)),
            other => out.push_str(&other.to_string()),
        }
    }
}

/// Returns a text plain where it reads back as itself, in single quotes where it can, else in double quotes.
/// `depth` is where further lines are indented to; without one (in brackets, as a key) there are none.
fn scalar(text: &str, depth: Option<usize>) -> String {
    let one_line = |c: char| !c.is_control() && c != '\u{feff}';
    let breaks = text.contains('\n') && !text.contains(" \n") && depth.is_some();
    if !text.chars().all(|c| one_line(c) || breaks && c == '\n') {
        let escaped: String = text.chars().map(escape).collect();
        return format!("\"{escaped}\"");
    }
    let plain = !text.is_empty()
        && !breaks
        && matches!(resolve(text), Data::Text(_))
        && !looks_like_a_date(text)
        && !text.starts_with(|c: char| c.is_whitespace() || "-?:,[]{}#&*!|>'\"%@`".contains(c) && !is_word(text))
        && !text.ends_with(|c: char| c.is_whitespace() || c == ':')
        && !text.contains(": ")
        && !text.contains(" #")
        && !(depth.is_none() && text.contains([',', '[', ']', '{', '}', '?', ':']))
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !matches!(text, "<<" | "=");
    if plain {
        return text.into();
    }
    let mut quoted = String::from("'");
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\'' => quoted.push_str("''"),
            '\n' => {
                quoted.push_str("\n\n");
                while characters.next_if_eq(&'\n').is_some() {
                    quoted.push('\n');
                }
                quoted.push_str(&" ".repeat(depth.unwrap_or(0)));
            }
            c => quoted.push(c),
        }
    }
    quoted + "'"
}

/// `-x`, `?x` and `:x` are words; `- x` is a list.
fn is_word(text: &str) -> bool {
    let mut characters = text.chars();
    matches!(characters.next(), Some('-' | '?' | ':')) && characters.next().is_some_and(|c| !c.is_whitespace())
}

/// YAML 1.1 readers make a date of these.
fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[5].is_ascii_digit()
}

fn escape(c: char) -> String {
    match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\r' => "\\r".into(),
        '\0' => "\\0".into(),
        c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
        '\u{feff}' => "\\uFEFF".into(),
        c => c.into(),
    }
}
