//! Values on their way in and out of the engine: JSON, Python's view of them, and `omit`.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Serde, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::{Map, Number, Value as Json};

use super::context::path_of;
use super::functions::usable;

/// `omit`: an argument with this value is as if it had not been written.
#[derive(Debug)]
pub(super) struct Omit;

impl Object for Omit {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<< Omit >>")
    }
}

pub(super) fn is_omit(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// Returns a JSON value as the engine's.
pub(super) fn value(json: &Json) -> Value {
    Value::from(Serde(json))
}

/// Returns a plain value; `omit` is left out of lists and mappings. Undefined and failed values are errors.
pub(super) fn json(value: &Value) -> Result<Json, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Error::new(ErrorKind::UndefinedError, "a value in here is undefined")),
        ValueKind::Invalid => return Err(failed(value)),
        ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => number(value),
        ValueKind::String => Json::String(value.as_str().unwrap_or_default().into()),
        ValueKind::Bytes => Json::String(String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = Vec::new();
            for (index, item) in items(value)?.iter().enumerate() {
                if item.is_undefined() {
                    return Err(undefined_in(value, &format!("[{index}]")));
                }
                if !is_omit(item) {
                    list.push(json(item)?);
                }
            }
            Json::Array(list)
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for (key, item) in pairs(value)? {
                if item.is_undefined() {
                    return Err(undefined_in(value, &format!(".{key}")));
                }
                if !is_omit(&item) {
                    map.insert(key.to_string(), json(&item)?);
                }
            }
            Json::Object(map)
        }
        _ => {
            usable(value)?;
            Json::String(value.to_string())
        }
    })
}

fn undefined_in(container: &Value, part: &str) -> Error {
    let why = match path_of(container) {
        Some(path) => format!("`{path}{part}` is undefined"),
        None => "a value in here is undefined".into(),
    };
    Error::new(ErrorKind::UndefinedError, why)
}

/// Whole numbers beyond 64 bits become text, which loses nothing.
fn number(value: &Value) -> Json {
    if value.is_integer() {
        return match (value.as_i64(), u64::try_from(value.clone())) {
            (Some(number), _) => number.into(),
            (None, Ok(number)) => number.into(),
            _ => value.to_string().into(),
        };
    }
    let float = f64::try_from(value.clone()).ok();
    float.and_then(Number::from_f64).map_or_else(|| value.to_string().into(), Json::Number)
}

/// Returns the error that an invalid value carries; only iteration gives it out.
fn failed(value: &Value) -> Error {
    let error = items(&Value::from(vec![value.clone()])).err();
    error.unwrap_or_else(|| Error::new(ErrorKind::InvalidOperation, value.to_string()))
}

/// Returns the items of a list, or the keys of a mapping.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, Error> {
    value.try_iter()?.checked().collect()
}

/// Returns the entries of a mapping.
pub(super) fn pairs(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if value.kind() != ValueKind::Map {
        let message = format!("expected a mapping, not {}", python_type(value));
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let keys = items(value)?;
    keys.into_iter().map(|key| value.get_item(&key).map(|found| (key, found))).collect()
}

/// Names a value's type as Python does.
pub(super) fn python_type(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Map => "dict",
        _ if value.is_tuple() => "tuple",
        _ => "list",
    }
}

/// Says how a text is read as a boolean by Ansible's `bool` and `truthy(convert_bool=True)`.
pub(super) fn as_bool(value: &Value) -> Option<bool> {
    match value.kind() {
        ValueKind::Bool => Some(value.is_true()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(1.0) => Some(true),
            Ok(0.0) => Some(false),
            _ => None,
        },
        ValueKind::String => match value.as_str().unwrap_or_default().trim().to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
