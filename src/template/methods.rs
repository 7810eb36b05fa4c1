//! Python's methods of text, lists and dicts, as far as they do not change what they are called on.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::call::{text, whole, wrong};
use super::values::{items, pairs, python_type};

/// Calls `method` where neither the engine nor the value itself knows it.
pub(super) fn call(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let ours = match value.kind() {
        ValueKind::String => of_text(value.as_str().unwrap_or_default(), method, arguments)?,
        ValueKind::Bytes if method == "decode" => Some(text(value).into()),
        ValueKind::Seq | ValueKind::Iterable => of_list(value, method, arguments)?,
        ValueKind::Map => of_dict(value, method, arguments)?,
        _ => None,
    };
    match ours {
        Some(found) => Ok(found),
        None => unknown_method_callback(state, value, method, arguments).map_err(|error| match error.kind() {
            // What an object has under the name may be called, as a macro of an imported template.
            ErrorKind::UnknownMethod if !value.get_attr(method).is_ok_and(|found| !found.is_undefined()) => {
                wrong(format!("{} has no method `{method}`", python_type(value)))
            }
            _ => error,
        }),
    }
}

fn argument(arguments: &[Value], index: usize) -> Result<String, Error> {
    arguments.get(index).map(text).ok_or_else(|| wrong("an argument of this method is missing"))
}

fn of_text(value: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let length = value.chars().count();
    let pad = || -> Result<(usize, char), Error> {
        let width = arguments.first().map_or(Ok(0), whole)?.max(0) as usize;
        let fill = arguments.get(1).and_then(|fill| text(fill).chars().next()).unwrap_or(' ');
        Ok((width.saturating_sub(length), fill))
    };
    let fill = |fill: char, count: usize| fill.to_string().repeat(count);
    Ok(Some(match method {
        "casefold" => value.to_lowercase().into(),
        "swapcase" => value.chars().map(swapped).collect::<String>().into(),
        "removeprefix" => value.strip_prefix(&*argument(arguments, 0)?).unwrap_or(value).into(),
        "removesuffix" => value.strip_suffix(&*argument(arguments, 0)?).unwrap_or(value).into(),
        "ljust" => pad().map(|(count, c)| format!("{value}{}", fill(c, count)))?.into(),
        "rjust" => pad().map(|(count, c)| format!("{}{value}", fill(c, count)))?.into(),
        "center" => {
            let (count, c) = pad()?;
            let left = count / 2 + (count & (length + count) & 1);
            format!("{}{value}{}", fill(c, left), fill(c, count - left)).into()
        }
        "zfill" => {
            let (count, _) = pad()?;
            let (sign, digits) = value.split_at(usize::from(value.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", "0".repeat(count)).into()
        }
        "partition" => {
            let separator = argument(arguments, 0)?;
            let (left, right) = value.split_once(&*separator).unwrap_or((value, ""));
            let found = if value.contains(&*separator) { &*separator } else { "" };
            vec![Value::from(left), found.into(), right.into()].into()
        }
        "rpartition" => {
            let separator = argument(arguments, 0)?;
            let (left, right) = value.rsplit_once(&*separator).unwrap_or(("", value));
            let found = if value.contains(&*separator) { &*separator } else { "" };
            vec![Value::from(left), found.into(), right.into()].into()
        }
        "rsplit" if arguments.len() == 2 => {
            let most = whole(&arguments[1])?;
            let separator = argument(arguments, 0)?;
            let parts = if most < 0 { usize::MAX } else { most as usize + 1 };
            let mut split: Vec<Value> = value.rsplitn(parts, &*separator).map(Value::from).collect();
            split.reverse();
            split.into()
        }
        "rsplit" if arguments.len() == 1 => value.split(&*argument(arguments, 0)?).map(Value::from).collect(),
        "rsplit" => value.split_whitespace().map(Value::from).collect(),
        "index" | "rindex" => {
            let wanted = argument(arguments, 0)?;
            let at = if method == "index" { value.find(&*wanted) } else { value.rfind(&*wanted) };
            let at = at.ok_or_else(|| wrong(format!("`{wanted}` is not in the text")))?;
            value[..at].chars().count().into()
        }
        "expandtabs" => {
            let width = arguments.first().map_or(Ok(8), whole)?.max(0) as usize;
            expand_tabs(value, width).into()
        }
        "encode" => Value::from_bytes(value.as_bytes().to_vec()),
        "isidentifier" => {
            let starts = value.starts_with(|c: char| c.is_alphabetic() || c == '_');
            (starts && value.chars().all(|c| c.is_alphanumeric() || c == '_')).into()
        }
        "isdecimal" => (!value.is_empty() && value.chars().all(|c| c.is_ascii_digit())).into(),
        "istitle" => {
            let words = || value.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
            let titled =
                |word: &str| word.starts_with(char::is_uppercase) && !word.chars().skip(1).any(char::is_uppercase);
            (words().next().is_some() && words().all(titled)).into()
        }
        _ => return Ok(None),
    }))
}

fn swapped(c: char) -> String {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn expand_tabs(value: &str, width: usize) -> String {
    let (mut expanded, mut column) = (String::new(), 0);
    for c in value.chars() {
        match c {
            '\t' if width == 0 => {}
            '\t' => {
                let count = width - column % width;
                expanded.push_str(&" ".repeat(count));
                column += count;
            }
            _ => {
                expanded.push(c);
                column = if c == '\n' { 0 } else { column + 1 };
            }
        }
    }
    expanded
}

fn of_list(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let instead = match method {
        "append" => "`{% set list = list + [item] %}`",
        "extend" => "`{% set list = list + other %}`",
        "insert" => "`list[:n] + [item] + list[n:]`",
        "remove" => "`list | difference([item])`",
        "pop" => "`list[:-1]` and `list | last`",
        "sort" => "`list | sort`",
        "reverse" => "`list | reverse`",
        "clear" => "`[]`",
        _ => "",
    };
    if !instead.is_empty() {
        return Err(wrong(format!(
            "`{method}` would change a list that the template has not made itself\nhint: use {instead}"
        )));
    }
    match method {
        "index" => {
            let wanted = arguments.first().ok_or_else(|| wrong("`index` needs an item"))?;
            let found = items(value)?.iter().position(|item| item == wanted);
            found.map(|at| Some(at.into())).ok_or_else(|| wrong(format!("`{wanted}` is not in the list")))
        }
        "copy" => Ok(Some(value.clone())),
        _ => Ok(None),
    }
}

fn of_dict(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let instead = match method {
        "update" => "`{% set d = d | combine(other) %}`",
        "setdefault" => "`d | combine({key: d[key] | default(value)})`",
        "pop" | "popitem" => "`d | dict2items | rejectattr('key', '==', key) | items2dict`",
        "clear" => "`{}`",
        _ => "",
    };
    if !instead.is_empty() {
        return Err(wrong(format!(
            "`{method}` would change a dict that the template has not made itself\nhint: use {instead}"
        )));
    }
    match (method, arguments) {
        ("copy", _) => Ok(Some(value.clone())),
        // A key may be called as a method is; then the method is still what a call means.
        ("keys", []) => Ok(Some(items(value)?.into())),
        ("values", []) => Ok(Some(pairs(value)?.into_iter().map(|(_, value)| value).collect())),
        ("items", []) => {
            let pair = |(key, value)| Value::from(vec![key, value]);
            Ok(Some(pairs(value)?.into_iter().map(pair).collect()))
        }
        ("get", [key, rest @ ..]) => {
            let found = value.get_item(key)?;
            let default = rest.first().cloned().unwrap_or(Value::from(()));
            Ok(Some(if found.is_undefined() { default } else { found }))
        }
        _ => Ok(None),
    }
}
