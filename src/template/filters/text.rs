//! Filters on text: quoting, splitting, comments, kinds.

use minijinja::{Error, Value};

use super::super::call::{Call, Row, text, whole, wrong};
use super::super::values::{as_bool, python_type};

pub(super) const FILTERS: &[Row] = &[
    ("bool", bool),
    ("center", center),
    ("comment", comment),
    ("forceescape", |call| call.value()),
    ("indent", indent),
    ("mandatory", mandatory),
    ("pprint", |call| Ok(represented(&call.value()?).into())),
    ("quote", |call| {
        let value = call.value()?;
        Ok(quote(&if value.is_none() { String::new() } else { text(&value) }).into())
    }),
    ("split", split),
    ("ternary", ternary),
    ("truncate", truncate),
    ("type_debug", |call| Ok(python_type(&call.value()?).into())),
    ("wordwrap", wordwrap),
];

fn bool(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    // ansible-core 2.19 takes everything else for false.
    Ok(as_bool(&value).unwrap_or(false).into())
}

fn center(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let width = call.next_number("width")?.unwrap_or(80).max(0) as usize;
    let pad = width.saturating_sub(value.chars().count());
    let left = pad / 2 + (pad & width & 1);
    Ok(format!("{}{value}{}", " ".repeat(left), " ".repeat(pad - left)).into())
}

/// `indent(width=4, first=false, blank=false)`; as in Jinja2, a line end at the end of the text stays.
fn indent(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let width = call.next("width")?;
    let prefix = match width.as_ref().and_then(Value::as_str) {
        Some(prefix) => prefix.to_string(),
        None => " ".repeat(width.map_or(Ok(4), |width| whole(&width))?.max(0) as usize),
    };
    let (first, blank) = (call.next_flag("first")?, call.next_flag("blank")?);
    let lines = value.split('\n').enumerate().map(|(index, line)| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let indented = if index == 0 { first } else { blank || !line.is_empty() };
        format!("{}{line}", if indented { prefix.as_str() } else { "" })
    });
    Ok(lines.collect::<Vec<_>>().join("\n").into())
}

fn mandatory(call: &mut Call) -> Result<Value, Error> {
    let value = call.maybe_undefined();
    let message = call.next_text("msg")?;
    match (value.is_undefined(), message) {
        (false, _) => Ok(value),
        (true, Some(message)) => Err(wrong(message)),
        (true, None) => Err(wrong("a mandatory variable is not defined")),
    }
}

/// Quotes for `sh` as Python's `shlex.quote` does.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', "'\"'\"'"))
    }
}

fn split(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let separator = call.next_text("sep")?;
    let most = call.next_number("maxsplit")?.and_then(|most| usize::try_from(most).ok());
    let parts: Vec<Value> = match (separator.as_deref(), most) {
        (Some(""), _) => return Err(wrong("the separator of `split` is empty")),
        (Some(separator), Some(most)) => value.splitn(most + 1, separator).map(Value::from).collect(),
        (Some(separator), None) => value.split(separator).map(Value::from).collect(),
        (None, None) => value.split_whitespace().map(Value::from).collect(),
        (None, Some(most)) => {
            let mut rest = value.trim_start();
            let mut parts = Vec::new();
            while parts.len() < most
                && let Some(end) = rest.find(char::is_whitespace)
            {
                parts.push(Value::from(&rest[..end]));
                rest = rest[end..].trim_start();
            }
            if !rest.is_empty() {
                parts.push(Value::from(rest));
            }
            parts
        }
    };
    Ok(parts.into())
}

fn ternary(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let (when_true, when_false) = (call.need("true_val")?, call.need("false_val")?);
    let when_none = call.next("none_val")?;
    Ok(match when_none {
        Some(other) if value.is_none() && !other.is_none() => other,
        _ if value.is_true() => when_true,
        _ => when_false,
    })
}

fn comment(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let style = call.next_text("style")?.unwrap_or_else(|| "plain".into());
    let (begin, decoration, end) = match style.as_str() {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        _ => return Err(wrong(format!("`comment` has no style `{style}`"))),
    };
    let mut given =
        |name: &str, default: &str| call.keyword(name).map_or_else(|| default.to_string(), |value| text(&value));
    let decoration = given("decoration", decoration);
    let (begin, end) = (given("beginning", begin), given("end", end));
    let edge = decoration.trim_end().to_string();
    let (prefix, postfix) = (given("prefix", &edge), given("postfix", &edge));
    let newline = given("newline", "\n");
    let count = |text: String| text.parse::<usize>().unwrap_or(1);
    let (before, after) = (count(given("prefix_count", "1")), count(given("postfix_count", "1")));
    let line = |text: &str| if text.is_empty() { String::new() } else { format!("{text}{newline}") };
    let prefix = if prefix == newline { prefix } else { line(&prefix) };
    let decorated = format!("{decoration}{}", value.replace(&newline, &format!("{newline}{decoration}")));
    let decorated = decorated.replace(&format!("{decoration}{newline}"), &format!("{edge}{newline}"));
    let postfix = format!("{newline}{postfix}").repeat(after);
    let end = if end.is_empty() { end } else { format!("{newline}{end}") };
    Ok(format!("{}{}{decorated}{postfix}{end}", line(&begin), prefix.repeat(before)).into())
}

fn truncate(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let options = call.named(&["length", "killwords", "end", "leeway"])?;
    minijinja_contrib::filters::truncate(call.state, &value, options)
}

fn wordwrap(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let options = call.named(&["width", "break_long_words", "wrapstring", "break_on_hyphens"])?;
    minijinja_contrib::filters::wordwrap(&value, options)
}

/// Returns a value as Python's `repr` writes it, and `pprint` the values of Ansible, which it does not break into lines.
fn represented(value: &Value) -> String {
    let listed = Value::from(vec![value.clone()]).to_string();
    listed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&listed).to_string()
}
