//! A time as the `file` module takes it, and spans as `find` takes them.

use jiff::fmt::strtime::BrokenDownTime;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;

/// What a path's time is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Preserve,
    Now,
    /// Seconds since 1970.
    At(i64),
}

impl Time {
    /// Reads `now`, `preserve`, or a time in `format` (`%Y%m%d%H%M.%S` unless given) and the controller's time zone.
    pub fn parse(text: &str, format: Option<&str>) -> Result<Time, Diagnostic> {
        let format = format.unwrap_or("%Y%m%d%H%M.%S");
        match text {
            "preserve" => Ok(Time::Preserve),
            "now" => Ok(Time::Now),
            _ => {
                let wrong = |error: jiff::Error| {
                    Diagnostic::new(format!("`{text}` is no time in the format `{format}`")).hint(error.to_string())
                };
                let time = BrokenDownTime::parse(format, text).and_then(|time| time.to_datetime()).map_err(wrong)?;
                let zoned = time.to_zoned(jiff::tz::TimeZone::system()).map_err(wrong)?;
                Ok(Time::At(zoned.timestamp().as_second()))
            }
        }
    }

    /// Returns the time in seconds since 1970. `None`: as it is.
    pub fn seconds(self) -> Option<i64> {
        match self {
            Time::Preserve => None,
            Time::Now => Some(now()),
            Time::At(seconds) => Some(seconds),
        }
    }
}

/// Prints the time of access of `$1` in seconds since 1970.
const ACCESSED: &str = "stat -c %X -- \"$1\" 2>/dev/null || stat -f %a -- \"$1\" 2>/dev/null || echo unknown";

/// Returns the change of a path's time of access alone.
pub async fn access(host: &View, path: &str, seconds: i64) -> Result<Option<Change>, ModuleError> {
    let what = format!("time of access of {path}");
    let probe = Command::argv(["/bin/sh", "-c", ACCESSED, "sh", path]);
    let before = host.state(&what, &probe).await?;
    let set = |text: &str| {
        let time = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())?;
        let stamp = time.strftime("%Y%m%d%H%M.%S").to_string();
        let command = Command::argv(["touch", "-a", "-c", "-t", stamp.as_str(), "--", path]);
        Some(vec![Command { environment: vec![("TZ".into(), "UTC0".into())], ..command }])
    };
    let (Some(by), back) = (set(&seconds.to_string()), set(&before)) else { return Ok(None) };
    let change = Change::state(what, probe, (before, seconds.to_string()), by);
    Ok(change.map(|change| change.taken_back(back.map_or(Back::None, Back::By))))
}

/// Returns the controller's time in seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Reads a span such as `-2d`, `90`, `1w`: in seconds.
pub fn age(text: &str) -> Result<i64, Diagnostic> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
    number(text, &units)
        .ok_or_else(|| Diagnostic::new(format!("`{text}` is no age")).hint("write a number and s, m, h, d or w: `-2d`"))
}

/// Reads a size such as `10m` or `-1k`: in bytes, by powers of 1024.
pub fn size(text: &str) -> Result<i64, Diagnostic> {
    let units = [("b", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];
    number(text, &units).ok_or_else(|| {
        Diagnostic::new(format!("`{text}` is no size")).hint("write a number and b, k, m, g or t: `10m`")
    })
}

fn number(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let text = text.trim().to_lowercase();
    let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, factor) =
        unit.map_or((text.as_str(), 1), |(unit, factor)| (&text[..text.len() - unit.len()], *factor));
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_its_format() {
        let (dense, iso) =
            (Time::parse("202611230930.15", None), Time::parse("2026-11-23 09:30:15", Some("%Y-%m-%d %H:%M:%S")));
        assert_eq!(dense.unwrap(), iso.unwrap());
        assert!(Time::parse("yesterday", None).is_err());
    }

    #[test]
    fn spans_have_units() {
        assert_eq!((age("-2d").unwrap(), age("90").unwrap(), size("10m").unwrap()), (-172_800, 90, 10_485_760));
        assert!(age("2x").is_err() && size("").is_err());
    }
}
