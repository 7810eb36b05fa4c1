//! Filters on numbers, sizes and times.

use minijinja::{Error, Value};

use super::super::call::{Call, Row, text, wrong};

pub(super) const FILTERS: &[Row] = &[
    ("float", |call| {
        let value = call.value()?;
        let default = call.next("default")?.unwrap_or_else(|| 0.0.into());
        Ok(float(&value).map_or(default, Value::from))
    }),
    ("int", int),
    ("human_readable", human_readable),
    ("human_to_bytes", human_to_bytes),
    ("log", log),
    ("pow", |call| {
        let (base, exponent) = (float(&call.value()?)?, float(&call.need("y")?)?);
        Ok(base.powf(exponent).into())
    }),
    ("root", root),
    ("strftime", strftime),
];

const UNITS: [(&str, f64); 8] = [
    ("Y", 1208925819614629174706176.0),
    ("Z", 1180591620717411303424.0),
    ("E", 1152921504606846976.0),
    ("P", 1125899906842624.0),
    ("T", 1099511627776.0),
    ("G", 1073741824.0),
    ("M", 1048576.0),
    ("K", 1024.0),
];

pub(in super::super) fn float(value: &Value) -> Result<f64, Error> {
    let parsed = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    parsed.ok_or_else(|| wrong(format!("`{value}` is not a number")))
}

/// `int(default=0, base=10)`: what is no number is the default.
fn int(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let default = call.next("default")?.unwrap_or_else(|| 0.into());
    let base = call.next_number("base")?.unwrap_or(10);
    if let Some(written) = value.as_str() {
        let written = written.trim().replace('_', "").to_lowercase();
        let prefix = match base {
            2 => "0b",
            8 => "0o",
            16 => "0x",
            _ => "",
        };
        let digits = written.strip_prefix(prefix).unwrap_or(&written);
        if let Ok(number) =
            i128::from_str_radix(digits, u32::try_from(base).ok().filter(|base| (2..=36).contains(base)).unwrap_or(10))
        {
            return Ok(i64::try_from(number).map_or_else(|_| Value::from(number), Value::from));
        }
    }
    match float(&value) {
        Ok(number) if number.is_finite() => Ok((number.trunc() as i64).into()),
        _ if value.is_integer() => Ok(value),
        _ => Ok(default),
    }
}

fn log(call: &mut Call) -> Result<Value, Error> {
    let value = float(&call.value()?)?;
    let base = call.next("base")?.map(|base| float(&base)).transpose()?;
    Ok(match base {
        Some(10.0) => value.log10(),
        Some(base) => value.ln() / base.ln(),
        None => value.ln(),
    }
    .into())
}

fn root(call: &mut Call) -> Result<Value, Error> {
    let value = float(&call.value()?)?;
    let base = call.next("base")?.map_or(Ok(2.0), |base| float(&base))?;
    Ok(if base == 2.0 { value.sqrt() } else { value.powf(1.0 / base) }.into())
}

fn human_readable(call: &mut Call) -> Result<Value, Error> {
    let size = float(&call.value()?)?;
    let bits = call.next_flag("isbits")?;
    let unit = call.next_text("unit")?.map(|unit| unit.to_uppercase());
    let wanted = |(letter, factor): &&(&str, f64)| match &unit {
        Some(unit) => unit.starts_with(letter),
        None => size >= *factor,
    };
    let (letter, factor) = UNITS.iter().find(wanted).copied().unwrap_or(("", 1.0));
    let suffix = match (letter, bits) {
        ("", true) => "bits".to_string(),
        ("", false) => "Bytes".to_string(),
        (letter, true) => format!("{letter}b"),
        (letter, false) => format!("{letter}B"),
    };
    Ok(format!("{:.2} {suffix}", size / factor).into())
}

fn human_to_bytes(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let default = call.next_text("default_unit")?;
    call.next_flag("isbits")?;
    let trimmed = value.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let number: f64 = trimmed[..digits].parse().map_err(|_| wrong(format!("`{value}` is not a size")))?;
    let written = trimmed[digits..].trim();
    let unit = if written.is_empty() { default.unwrap_or_default() } else { written.to_string() }.to_uppercase();
    let letter = unit.trim_end_matches("BYTES").trim_end_matches("BITS").trim_end_matches('B');
    let factor = UNITS.iter().find(|(known, _)| *known == letter).map(|(_, factor)| *factor);
    let factor = if letter.is_empty() { Some(1.0) } else { factor };
    let factor = factor
        .ok_or_else(|| wrong(format!("`{value}` has an unknown unit\nhint: one of B, K, M, G, T, P, E, Z, Y")))?;
    Ok(((number * factor).round() as i64).into())
}

fn strftime(call: &mut Call) -> Result<Value, Error> {
    let format = call.text()?;
    let second = call.next("second")?.filter(|second| !second.is_none());
    let utc = call.next_flag("utc")?;
    let at = match second {
        Some(second) => {
            jiff::Timestamp::from_second(float(&second)? as i64).map_err(|error| wrong(error.to_string()))?
        }
        None => jiff::Timestamp::now(),
    };
    let zone = if utc { jiff::tz::TimeZone::UTC } else { jiff::tz::TimeZone::system() };
    jiff::fmt::strtime::format(&format, &at.to_zoned(zone))
        .map(Value::from)
        .map_err(|error| wrong(format!("the time format {} is wrong: {error}", text(&Value::from(format.as_str())))))
}
