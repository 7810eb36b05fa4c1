//! Functions beside the lookups: `dict`, `now`, `undef`.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::error::Diagnostic;

use super::Failure;
use super::call::{Call, list, text, wrong};
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

/// The time: with a format as text, without as something that has `strftime`, `year`, ...
pub(super) fn now(call: &mut Call) -> Result<Value, Error> {
    let utc = call.next_flag("utc")?;
    let format = call.next_text("fmt")?;
    let zone = if utc { jiff::tz::TimeZone::UTC } else { jiff::tz::TimeZone::system() };
    let moment = Moment(jiff::Timestamp::now().to_zoned(zone));
    match format {
        Some(format) => moment.format(&format),
        None => Ok(Value::from_object(moment)),
    }
}

/// What `now()` returns; it is written as Python writes a datetime.
#[derive(Debug)]
struct Moment(jiff::Zoned);

impl Moment {
    fn format(&self, format: &str) -> Result<Value, Error> {
        let written = jiff::fmt::strtime::format(format, &self.0);
        written.map(Value::from).map_err(|error| wrong(format!("the time format `{format}` is wrong: {error}")))
    }
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "year" => self.0.year().into(),
            "month" => self.0.month().into(),
            "day" => self.0.day().into(),
            "hour" => self.0.hour().into(),
            "minute" => self.0.minute().into(),
            "second" => self.0.second().into(),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &mut State, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match (method, arguments) {
            ("strftime", [format]) => self.format(&text(format)),
            ("isoformat", []) => self.format("%Y-%m-%dT%H:%M:%S.%6f"),
            ("date", []) => self.format("%Y-%m-%d"),
            ("timestamp", []) => Ok((self.0.timestamp().as_microsecond() as f64 / 1e6).into()),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S.%6f"))
    }
}

/// A variable that somebody has to set: using it is an error with this hint.
pub(super) fn undef(call: &mut Call) -> Result<Value, Error> {
    let hint = call.next_text("hint")?.unwrap_or_else(|| "this variable has to be set".into());
    Err(raise(Failure::Wrong(Diagnostic::new("this variable is left undefined on purpose").hint(hint))))
}
