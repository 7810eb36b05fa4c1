//! Functions beside the lookups: `cycler`, `dict`, `undef`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::error::Diagnostic;

use super::call::{Call, list, wrong};
use super::fault::raise_undefined;
use super::values::pairs;

/// `dict(a=1)`, `dict(mapping)` or `dict(pairs)`.
pub(super) fn dict(call: &mut Call) -> Result<Value, Error> {
    let mut entries: IndexMap<String, (Value, Value)> = IndexMap::new();
    let given = match call.next("mapping")? {
        Some(mapping) if mapping.kind() == ValueKind::Map => pairs(&mapping)?,
        Some(rows) => {
            let pair = |row: &Value| match list(row)?.as_slice() {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => Err(wrong(format!("`dict` needs pairs, not {row}"))),
            };
            list(&rows)?.iter().map(pair).collect::<Result<_, Error>>()?
        }
        None => Vec::new(),
    };
    let named = call.keywords().into_iter().map(|(name, value)| (Value::from(name), value));
    entries.extend(given.into_iter().chain(named).map(|(key, value)| (key.to_string(), (key, value))));
    Ok(Value::from_pairs(entries.into_values()))
}

/// `cycler('odd', 'even')`: each call of `next` gives the next of its values, and after the last the first.
pub(super) fn cycler(call: &mut Call) -> Result<Value, Error> {
    let values = call.rest();
    match values.is_empty() {
        true => Err(wrong("at least one item has to be provided")),
        false => Ok(Value::from_object(Cycler { values, at: AtomicUsize::new(0) })),
    }
}

#[derive(Debug)]
struct Cycler {
    values: Vec<Value>,
    at: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = self.at.load(Ordering::Relaxed) % self.values.len();
        (key.as_str() == Some("current")).then(|| self.values[at].clone())
    }

    fn call_method(self: &Arc<Self>, _: &mut State, method: &str, _: &[Value]) -> Result<Value, Error> {
        match method {
            "next" => Ok(self.values[self.at.fetch_add(1, Ordering::Relaxed) % self.values.len()].clone()),
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// A variable that somebody has to set: using it is an error with this hint.
pub(super) fn undef(call: &mut Call) -> Result<Value, Error> {
    let hint = call.next_text("hint")?.unwrap_or_else(|| "this variable has to be set".into());
    Ok(Value::from_object(Undef(hint)))
}

/// What `undef()` returns: it may be handed on, not used.
#[derive(Debug)]
struct Undef(String);

impl Object for Undef {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// Refuses to use what `undef()` has returned.
pub(super) fn usable(value: &Value) -> Result<(), Error> {
    match value.downcast_object_ref::<Undef>() {
        Some(Undef(hint)) => {
            let error = Diagnostic::new("this variable is left undefined on purpose").hint(hint.as_str());
            Err(raise_undefined(error.msg(hint.as_str())))
        }
        None => Ok(()),
    }
}
