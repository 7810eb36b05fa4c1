//! Functions beside the lookups: `dict`, `undef`.

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Error, Value};

use crate::error::Diagnostic;

use super::Failure;
use super::call::{Call, list, wrong};
use super::fault::raise;
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
            Err(raise(Failure::Wrong(error.msg(hint.as_str()))))
        }
        None => Ok(()),
    }
}
