//! Moments and the time between them, as Python's `datetime` and `timedelta` behave in templates.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use minijinja::value::{DynObject, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::call::{Call, text, wrong};

/// What Python's `str` writes of a moment without fractions of a second.
const WRITTEN: &str = "%Y-%m-%d %H:%M:%S";

/// The time: with a format as text, without as something that has `strftime`, `year`, ...
pub(super) fn now(call: &mut Call) -> Result<Value, Error> {
    let utc = call.next_flag("utc")?;
    let format = call.next_text("fmt")?;
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    let moment = Moment(jiff::Timestamp::now().to_zoned(zone));
    match format {
        Some(format) => moment.format(&format),
        None => Ok(Value::from_object(moment)),
    }
}

/// `to_datetime(format='%Y-%m-%d %H:%M:%S')`; what the format does not say is midnight of the first of January 1900.
pub(super) fn to_datetime(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let format = call.next_text("format")?.unwrap_or_else(|| WRITTEN.into());
    let fits = |error: jiff::Error| wrong(format!("time data '{value}' does not match format '{format}': {error}"));
    let read = BrokenDownTime::parse(&format, &value).map_err(fits)?;
    let or = |part: Option<i8>, unsaid| part.unwrap_or(unsaid);
    let date = DateTime::new(
        read.year().unwrap_or(1900),
        or(read.month(), 1),
        or(read.day(), 1),
        or(read.hour(), 0),
        or(read.minute(), 0),
        or(read.second(), 0),
        read.subsec_nanosecond().unwrap_or(0),
    );
    let zone = read.offset().map_or_else(TimeZone::system, TimeZone::fixed);
    let moment = date.and_then(|date| date.to_zoned(zone)).map_err(fits)?;
    Ok(Value::from_object(Moment(moment)))
}

/// Takes one value from another: moments, the time between them, or numbers.
pub(super) fn minus(call: &mut Call) -> Result<Value, Error> {
    let (left, right) = (call.value()?, call.need("right")?);
    let moment = |value: &Value| value.downcast_object_ref::<Moment>().map(|moment| moment.0.datetime());
    let span = |value: &Value| value.downcast_object_ref::<Span>().copied();
    let micros = |span: jiff::SignedDuration| span.as_micros() as i64;
    Ok(match (moment(&left), moment(&right), span(&left), span(&right)) {
        (Some(left), Some(right), ..) => Value::from_object(Span(micros(left.duration_since(right)))),
        (Some(start), _, _, Some(Span(length))) => {
            let earlier = start.checked_sub(jiff::SignedDuration::from_micros(length));
            let earlier = earlier.and_then(|moment| moment.to_zoned(TimeZone::system()));
            Value::from_object(Moment(earlier.map_err(|error| wrong(error.to_string()))?))
        }
        (_, _, Some(Span(left)), Some(Span(right))) => Value::from_object(Span(left - right)),
        _ => {
            let operands = Value::from_pairs([("left", left), ("right", right)]);
            call.state.env().compile_expression("left - right")?.eval(operands)?
        }
    })
}

/// A `datetime`; it is written as Python writes one.
#[derive(Debug)]
struct Moment(Zoned);

impl Moment {
    fn format(&self, format: &str) -> Result<Value, Error> {
        let written = strtime::format(format, &self.0);
        written.map(Value::from).map_err(|error| wrong(format!("the time format `{format}` is wrong: {error}")))
    }

    /// The form of `format`, with the microseconds where there are some.
    fn with_fraction(&self, format: &str) -> String {
        let micros = self.0.subsec_nanosecond() / 1000;
        let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
        format!("{}{fraction}", self.0.strftime(format))
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
            "microsecond" => (self.0.subsec_nanosecond() / 1000).into(),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &mut State, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match (method, arguments) {
            ("strftime", [format]) => self.format(&text(format)),
            ("isoformat", []) => Ok(self.with_fraction("%Y-%m-%dT%H:%M:%S").into()),
            ("date", []) => self.format("%Y-%m-%d"),
            ("time", []) => Ok(self.with_fraction("%H:%M:%S").into()),
            ("weekday", []) => Ok(self.0.weekday().to_monday_zero_offset().into()),
            ("isoweekday", []) => Ok(self.0.weekday().to_monday_one_offset().into()),
            ("timestamp", []) => Ok((self.0.timestamp().as_microsecond() as f64 / 1e6).into()),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Moment>().map(|other| self.0.datetime().cmp(&other.0.datetime()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_fraction(WRITTEN))
    }
}

/// A `timedelta`, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Span(i64);

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Object for Span {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    /// As in Python only `days` is negative.
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "days" => self.0.div_euclid(DAY).into(),
            "seconds" => (self.0.rem_euclid(DAY) / SECOND).into(),
            "microseconds" => self.0.rem_euclid(SECOND).into(),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &mut State, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match (method, arguments) {
            ("total_seconds", []) => Ok((self.0 as f64 / SECOND as f64).into()),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Span>().map(|other| self.0.cmp(&other.0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        if days != 0 {
            write!(f, "{days} day{}, ", if days.abs() == 1 { "" } else { "s" })?;
        }
        let seconds = rest / SECOND;
        write!(f, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        let micros = rest % SECOND;
        if micros == 0 { Ok(()) } else { write!(f, ".{micros:06}") }
    }
}
