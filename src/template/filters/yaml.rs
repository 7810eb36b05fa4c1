//! YAML as PyYAML has libyaml write it, so that a YAML 1.1 reader gets the same values back.

use libyaml_safer::{Emitter, Encoding, Error, Event, MappingStyle, ScalarStyle, SequenceStyle};
use serde_json::Value as Json;

use crate::yaml::{Data, resolve};

/// How PyYAML is asked to write.
pub struct Layout {
    pub indent: usize,
    /// Where long texts are folded, in columns; `None`: 80.
    pub width: Option<usize>,
    pub sorted: bool,
    /// Every collection on its own lines (`Some(false)`), all in brackets (`Some(true)`), or those in brackets that hold no others.
    pub flow: Option<bool>,
    pub explicit: (bool, bool),
    /// How every scalar stands: `'`, `"`, `|` or `>`.
    pub style: Option<String>,
}

/// Returns one document, with its final newline.
pub fn dump(json: &Json, layout: &Layout) -> Result<String, Error> {
    let mut written = Vec::new();
    let mut emitter = Emitter::new();
    emitter.set_output_string(&mut written);
    emitter.set_unicode(true);
    emitter.set_indent(i32::try_from(layout.indent).unwrap_or(2));
    emitter.set_width(layout.width.map_or(80, |width| i32::try_from(width).unwrap_or(i32::MAX)));
    emitter.emit(Event::stream_start(Encoding::Utf8))?;
    emitter.emit(Event::document_start(None, &[], !layout.explicit.0))?;
    layout.node(json, &mut emitter)?;
    emitter.emit(Event::document_end(!layout.explicit.1))?;
    emitter.emit(Event::stream_end())?;
    drop(emitter);
    Ok(String::from_utf8_lossy(&written).into_owned())
}

impl Layout {
    fn is_flow(&self, mut items: impl Iterator<Item = Json>) -> bool {
        let is_leaf = |item: Json| !item.is_array() && !item.is_object() && self.style.is_none();
        self.flow.unwrap_or_else(|| items.all(is_leaf))
    }

    fn node(&self, json: &Json, emitter: &mut Emitter) -> Result<(), Error> {
        match json {
            Json::Array(list) => {
                let flow = self.is_flow(list.iter().cloned());
                let style = if flow { SequenceStyle::Flow } else { SequenceStyle::Block };
                emitter.emit(Event::sequence_start(None, None, true, style))?;
                list.iter().try_for_each(|item| self.node(item, emitter))?;
                emitter.emit(Event::sequence_end())
            }
            Json::Object(map) => {
                let flow = self.is_flow(map.values().cloned());
                let style = if flow { MappingStyle::Flow } else { MappingStyle::Block };
                emitter.emit(Event::mapping_start(None, None, true, style))?;
                let mut entries: Vec<_> = map.iter().collect();
                if self.sorted {
                    entries.sort_by_key(|(key, _)| *key);
                }
                for (key, item) in entries {
                    self.scalar(("str", key), emitter)?;
                    self.node(item, emitter)?;
                }
                emitter.emit(Event::mapping_end())
            }
            Json::String(text) => self.scalar(("str", text), emitter),
            Json::Null => self.scalar(("null", "null"), emitter),
            Json::Bool(value) => self.scalar(("bool", if *value { "true" } else { "false" }), emitter),
            Json::Number(number) if number.is_f64() => self.scalar(("float", &float(&number.to_string())), emitter),
            Json::Number(number) => self.scalar(("int", &number.to_string()), emitter),
        }
    }

    fn scalar(&self, (kind, text): (&str, &str), emitter: &mut Emitter) -> Result<(), Error> {
        let is_text = kind == "str";
        let plain =
            !is_text || (matches!(resolve(text), Data::Text(_)) && !is_date(text) && !matches!(text, "<<" | "="));
        let tag = format!("tag:yaml.org,2002:{kind}");
        let style = match self.style.as_deref() {
            Some("'") => ScalarStyle::SingleQuoted,
            Some("\"") => ScalarStyle::DoubleQuoted,
            Some("|") => ScalarStyle::Literal,
            Some(">") => ScalarStyle::Folded,
            _ => ScalarStyle::Any,
        };
        emitter.emit(Event::scalar(None, Some(&tag), text, plain, is_text, style))
    }
}

/// Returns a number as PyYAML writes Python's: `1.0e+20`.
fn float(number: &str) -> String {
    match number.split_once('e') {
        Some((digits, power)) => {
            let digits = if digits.contains('.') { digits.into() } else { format!("{digits}.0") };
            let sign = if power.starts_with('-') { "" } else { "+" };
            format!("{digits}e{sign}{power}")
        }
        None => number.into(),
    }
}

/// YAML 1.1 readers make a date of `2026-1-31`, with a time behind it or not.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[5].is_ascii_digit()
}
