//! The types of a specification, and how values become theirs.

use serde_json::{Map, Value};

use crate::modules::arguments::{boolean, python_type};
use crate::template::text;

/// Returns a value as the type of an option, or why it is none.
pub(super) fn converted(wanted: &str, value: &Value) -> Result<Value, String> {
    let cannot = |what: &str| format!("<class '{}'> cannot be converted to {what}", python_type(value));
    match (wanted, value) {
        ("raw", _) => Ok(value.clone()),
        ("str" | "path", Value::Null) => Ok("".into()),
        ("str" | "path", _) => Ok(text(value).into()),
        ("list", Value::Array(_)) | ("dict", Value::Object(_)) => Ok(value.clone()),
        ("list", Value::String(words)) => Ok(words.split(',').collect()),
        ("list", Value::Number(_) | Value::Bool(_)) => Ok(vec![text(value)].into()),
        ("list", _) => Err(cannot("a list")),
        ("dict", Value::String(words)) => mapping(words),
        ("dict", _) => Err(cannot("a dict")),
        ("bool", Value::Null | Value::Array(_) | Value::Object(_)) => Err(cannot("a bool")),
        ("bool", _) => boolean(value)
            .map(Value::Bool)
            .ok_or_else(|| format!("The value '{}' is not a valid boolean.", text(value))),
        ("int", _) => whole(value).ok_or_else(|| format!("\"{}\" cannot be converted to an int", quoted(value))),
        ("float", _) => decimal(value).map(Value::from).ok_or_else(|| cannot("a float")),
        ("bytes", _) => size(&text(value), ("byte", 'B')).map(Value::from).ok_or_else(|| cannot("a Byte value")),
        ("bits", _) => size(&text(value), ("bit", 'b')).map(Value::from).ok_or_else(|| cannot("a Bit value")),
        ("json" | "jsonarg", Value::String(json)) => Ok(json.trim().into()),
        ("json" | "jsonarg", Value::Array(_) | Value::Object(_)) => Ok(value.to_string().into()),
        ("json" | "jsonarg", _) => Err(cannot("a json string")),
        _ => Err(format!("`{wanted}` is no type of an option")),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => text(other),
    }
}

/// Returns a number without a fraction: `5`, `"5"`, `5.0`.
fn whole(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::Number(number) if !number.is_f64() => Some(value.clone()),
        _ => match text_of_number(value)?.trim().parse::<i64>() {
            Ok(number) => Some(number.into()),
            Err(_) => decimal(value).filter(|number| number.fract() == 0.0).map(|number| (number as i64).into()),
        },
    }
}

fn decimal(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        Value::Number(number) => number.as_f64(),
        _ => text_of_number(value)?.trim().parse().ok(),
    }
}

fn text_of_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns the mapping that a text of JSON or of `key=value` pairs is.
fn mapping(words: &str) -> Result<Value, String> {
    if words.starts_with('{') {
        let read = serde_json::from_str::<Map<String, Value>>(words)
            .or_else(|_| serde_json::from_str(&words.replace('\'', "\"")));
        return read.map(Value::Object).map_err(|_| "unable to evaluate string as dictionary".into());
    }
    if !words.contains('=') {
        return Err("dictionary requested, could not parse JSON or key=value".into());
    }
    let pairs = fields(words.trim());
    let pairs = pairs.iter().map(|field| field.split_once('=').map(|(name, value)| (name.to_string(), value.into())));
    let pairs: Option<Map<String, Value>> = pairs.collect();
    pairs.map(Value::Object).ok_or_else(|| "unable to evaluate string in the \"key=value\" format as dictionary".into())
}

/// Splits at commas and blanks that are not quoted or escaped.
fn fields(words: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let (mut quote, mut escaped) = (None, false);
    for letter in words.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '\'' | '"' if quote.is_none() => {
                quote = Some(letter);
                continue;
            }
            _ if quote == Some(letter) => {
                quote = None;
                continue;
            }
            ',' | ' ' if quote.is_none() => {
                fields.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(field) = fields.last_mut() {
            field.push(letter);
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}

/// Reads a size such as `1.5K`, `10 MB` or `3 megabyte`, in the unit `(name, letter)`.
fn size(written: &str, (name, letter): (&str, char)) -> Option<i64> {
    let written = written.trim_end();
    let end = written.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(written.len());
    let (number, unit) = written.split_at(end);
    let number: f64 = number.parse().ok().filter(|_| number.ends_with(|last: char| last.is_ascii_digit()))?;
    let unit = unit.trim_start();
    let Some(first) = unit.chars().next() else { return Some(number.round() as i64) };
    let prefixes = ["", "kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta"];
    let power = "BKMGTPEZY".find(first.to_ascii_uppercase())?;
    if unit.len() > 1 {
        let short = if power == 0 { letter.to_string() } else { format!("{}{letter}", first.to_ascii_uppercase()) };
        let long = format!("{}{name}", prefixes.get(power)?);
        if unit != short && unit.to_lowercase() != long {
            return None;
        }
    }
    Some((number * 1024_f64.powi(power as i32)).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_their_kind() {
        let bytes = |written| size(written, ("byte", 'B'));
        assert_eq!(["10", "1.5K", "2 MB", "1 kilobyte", "3b"].map(bytes), [10, 1536, 2097152, 1024, 3].map(Some));
        assert_eq!(["2 Mb", "x", "1Q", "1."].map(bytes), [None; 4]);
        assert_eq!(size("2Mb", ("bit", 'b')), Some(2097152));
    }

    #[test]
    fn a_whole_number_may_have_a_fraction_of_nothing() {
        let numbers = [serde_json::json!("5.0"), serde_json::json!(37.0), serde_json::json!("5.5"), Value::Null];
        assert_eq!(
            numbers.map(|value| whole(&value).and_then(|value| value.as_i64())),
            [Some(5), Some(37), None, None]
        );
    }

    #[test]
    fn a_text_may_be_a_mapping() {
        assert_eq!(mapping("a=1, b=\"x y\"").unwrap(), serde_json::json!({"a": "1", "b": "x y"}));
        assert_eq!(mapping("{'a': 1}").unwrap(), serde_json::json!({"a": 1}));
        assert!(mapping("a=1 b").unwrap_err().contains("key=value"));
    }
}
