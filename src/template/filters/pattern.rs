//! Regular expressions as Python's `re` reads them.

use fancy_regex::{Captures, Expander, Regex, RegexBuilder};
use minijinja::{Error, Value};

use super::super::call::{Call, Row, wrong};

pub(super) const FILTERS: &[Row] =
    &[("regex_escape", escape), ("regex_findall", find_all), ("regex_replace", replace), ("regex_search", search)];

/// Compiles a Python pattern.
pub fn compile(pattern: &str, ignore_case: bool, multiline: bool) -> Result<Regex, Error> {
    let wrong = |why: String| wrong(format!("the pattern `{pattern}` is wrong: {why}"));
    let spelt = crate::regex::translated(pattern, multiline).map_err(wrong)?;
    let mut builder = RegexBuilder::new(&spelt);
    builder.case_insensitive(ignore_case).multi_line(multiline).backtrack_limit(1_000_000);
    builder.build().map_err(|error| wrong(error.to_string()))
}

fn failed(error: fancy_regex::Error) -> Error {
    wrong(format!("the pattern gives up: {error}"))
}

fn escape(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let special: &str = match call.next_text("re_type")?.as_deref() {
        None | Some("python") => "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}",
        Some("posix_basic") => ".[]^$*\\",
        Some(other) => return Err(wrong(format!("`regex_escape` has no type `{other}`"))),
    };
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if special.contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Ok(escaped.into())
}

fn replace(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let pattern = call.next_text("pattern")?.unwrap_or_default();
    let replacement = call.next_text("replacement")?.unwrap_or_default();
    let (ignore_case, multiline) = (call.next_flag("ignorecase")?, call.next_flag("multiline")?);
    let count = call.next_number("count")?.unwrap_or(0).max(0) as usize;
    let expected = call.next_number("mandatory_count")?.unwrap_or(0).max(0) as usize;
    let regex = compile(&pattern, ignore_case, multiline)?;
    let replacement = replacement.replace("\\n", "\n").replace("\\t", "\t");
    let expander = Expander::python();
    expander.check(&replacement, &regex).map_err(|error| wrong(format!("the replacement is wrong: {error}")))?;
    let (mut new, mut copied, mut replaced) = (String::new(), 0, 0);
    for captures in regex.captures_iter(value.as_str()) {
        let captures: Captures<'_, str> = captures.map_err(failed)?;
        let Some(whole) = captures.get(0) else { continue };
        if count > 0 && replaced == count {
            break;
        }
        new.push_str(&value[copied..whole.start()]);
        expander.append_expansion(&mut new, &replacement, &captures);
        copied = whole.end();
        replaced += 1;
    }
    if replaced < expected {
        return Err(wrong(format!("`{pattern}` should match {expected} times and matches {replaced} times")));
    }
    new.push_str(&value[copied..]);
    Ok(new.into())
}

fn search(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let pattern = call.need_text("pattern")?;
    let wanted: Vec<String> = call.rest().iter().map(ToString::to_string).collect();
    let (ignore_case, multiline) = (call.next_flag("ignorecase")?, call.next_flag("multiline")?);
    let regex = compile(&pattern, ignore_case, multiline)?;
    let Some(captures) = regex.captures(value.as_str()).map_err(failed)? else { return Ok(Value::from(())) };
    let group = |name: &str| {
        let found = match name.parse() {
            Ok(number) if number < regex.captures_len() => captures.get(number),
            Err(_) if regex.capture_names().flatten().any(|known| known == name) => captures.name(name),
            _ => return Err(wrong(format!("the pattern has no group `{name}`"))),
        };
        Ok(found.map_or(Value::from(()), |found| found.as_str().into()))
    };
    if wanted.is_empty() {
        return group("0");
    }
    let groups = wanted.iter().map(|name| {
        let name = name.strip_prefix("\\g<").and_then(|name| name.strip_suffix('>')).or(name.strip_prefix('\\'));
        group(name.ok_or_else(|| wrong("a group of `regex_search` is written `\\1` or `\\g<name>`"))?)
    });
    Ok(groups.collect::<Result<Vec<_>, _>>()?.into())
}

fn find_all(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let pattern = call.need_text("pattern")?;
    // As in Ansible, `multiline` comes first here.
    let (multiline, ignore_case) = (call.next_flag("multiline")?, call.next_flag("ignorecase")?);
    let regex = compile(&pattern, ignore_case, multiline)?;
    let mut found = Vec::new();
    for captures in regex.captures_iter(value.as_str()) {
        let captures: Captures<'_, str> = captures.map_err(failed)?;
        let group = |number| captures.get(number).map_or("", |found| found.as_str());
        found.push(match regex.captures_len() {
            1 => Value::from(group(0)),
            2 => Value::from(group(1)),
            many => (1..many).map(|number| Value::from(group(number))).collect(),
        });
    }
    Ok(found.into())
}
