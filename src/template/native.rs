//! Rendering that keeps types: a template that is one expression is that expression's value.

use minijinja::value::{Value, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, Template, UndefinedBehavior, escape_formatter,
};

use super::Syntax;
use super::fault::Broken;
use super::functions::usable;
use super::prepared::Prepared;
use super::shown::{Use, leniently};
use super::values::{items, json, pairs};

/// Returns an environment with Jinja2's own vocabulary and Ansible's settings for templates in playbooks.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(record);
    environment.set_fuel(Some(50_000_000));
    let mut syntax = minijinja::syntax::SyntaxConfig::builder();
    if let Ok(syntax) = syntax.trim_blocks(true).keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    minijinja_contrib::add_to_environment(&mut environment);
    environment
}

/// What a rendering has written so far.
#[derive(Default)]
struct Emitted {
    count: usize,
    last: Value,
}

fn record(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    // The missing `else` of `{{ ',' if more }}` is nothing; any other undefined value is an error that names it.
    if value.is_undefined() {
        return minijinja::value::StringInput::new(state, value).map(|_| ());
    }
    usable(value)?;
    let value = &without_tuples(value)?.unwrap_or_else(|| value.clone());
    let emitted = state.get_or_insert_extension(Emitted::default());
    // Beside other values `None` is nothing, as in Ansible.
    emitted.count += usize::from(!value.is_none());
    if emitted.count == 0 || !value.is_none() {
        emitted.last = value.clone();
    }
    match value.kind() {
        // Ansible writes nothing for `None`.
        ValueKind::None => Ok(()),
        // A container with a value that cannot be rendered is an error and no text.
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            json(value)?;
            escape_formatter(out, state, value)
        }
        ValueKind::Bytes => {
            out.write_str(&String::from_utf8_lossy(value.as_bytes().unwrap_or_default())).map_err(Error::from)
        }
        ValueKind::Number if !value.is_integer() => out.write_str(&printed(value)).map_err(Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// Returns a value with lists in the place of tuples, as which Ansible finishes them; nothing where it has no tuple.
fn without_tuples(value: &Value) -> Result<Option<Value>, Error> {
    let parts = match value.kind() {
        ValueKind::Seq => items(value)?.into_iter().map(|item| (Value::UNDEFINED, item)).collect(),
        ValueKind::Map => pairs(value)?,
        _ => return Ok(None),
    };
    let plain = parts.iter().map(|(_, part)| without_tuples(part)).collect::<Result<Vec<_>, Error>>()?;
    if !value.is_tuple() && plain.iter().all(Option::is_none) {
        return Ok(None);
    }
    let parts = parts.into_iter().zip(plain).map(|((name, part), plain)| (name, plain.unwrap_or(part)));
    Ok(Some(match value.kind() {
        ValueKind::Map => Value::from_pairs(parts),
        _ => parts.map(|(_, part)| part).collect(),
    }))
}

/// Returns a value as Python prints it; a float with an exponent where it is very large or small.
fn printed(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if value.kind() == ValueKind::Number && !value.is_integer() && float.is_finite() => {
            let text = format!("{float:?}");
            match text.split_once('e') {
                None => text,
                Some((digits, exponent)) => {
                    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
                    format!("{digits}e{sign}{exponent:0>2}")
                }
            }
        }
        _ => value.to_string(),
    }
}

/// Returns the engine's own error for using `value`, which names the expression.
pub(super) fn undefined(state: &State, value: &Value) -> Error {
    let used = minijinja::value::StringInput::new(state, value);
    used.err().unwrap_or_else(|| Error::from(ErrorKind::UndefinedError))
}

/// Renders `text`; its one expression's value if it has nothing else, a string otherwise.
pub(super) fn render(environment: &Environment, text: &str, context: Value) -> Result<Value, Broken> {
    render_for(Use::Host, environment, (text, context))
}

/// The same, for the host or to be shown.
pub(super) fn render_for(
    wanted: Use,
    environment: &Environment,
    (text, context): (&str, Value),
) -> Result<Value, Broken> {
    let prepared = Prepared::new(without_last_newline(text), Syntax::Template, environment.syntax());
    let compiled = leniently(&prepared.text, environment.syntax(), wanted);
    let rendered = environment.template_from_str(&compiled).and_then(|template| rendered(&template, context, text));
    rendered.map_err(|error| Broken::new(error, &prepared))
}

/// Renders the template that was made of `text`.
pub(super) fn rendered(template: &Template, context: Value, text: &str) -> Result<Value, Error> {
    let captured = template.render_captured(context)?;
    let (count, last) = captured
        .state()
        .get_extension()
        .map_or((0, Value::UNDEFINED), |emitted: &Emitted| (emitted.count, emitted.last.clone()));
    let output = captured.into_output();
    Ok(match count {
        1 if last.as_str().is_none() && is_written_as(&last, &output) => last,
        0 if output.is_empty() && last.is_none() => last,
        0 if output.is_empty() => output.into(),
        _ => with_newlines_of(text, output).into(),
    })
}

/// Returns what Jinja2 renders of a text: its last newline is left out, and comes again behind, as with Ansible.
pub(super) fn without_last_newline(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// Gives `output` as many newlines at its end as `text` has, where it has fewer.
fn with_newlines_of(text: &str, mut output: String) -> String {
    let newlines = |text: &str| text.len() - text.trim_end_matches('\n').len();
    output.extend(std::iter::repeat_n('\n', newlines(text).saturating_sub(newlines(&output))));
    output
}

fn is_written_as(value: &Value, output: &str) -> bool {
    if value.is_none() { output.is_empty() } else { printed(value) == output }
}

/// Evaluates an expression as it stands in `when:`.
pub(super) fn evaluate(environment: &Environment, text: &str, context: Value) -> Result<Value, Broken> {
    let prepared = Prepared::new(text, Syntax::Expression, environment.syntax());
    let result = environment.compile_expression(&prepared.text).and_then(|expression| expression.eval(context));
    let checked = result.and_then(|value| match value.is_undefined() {
        true => Err(Error::new(ErrorKind::UndefinedError, format!("`{}` is undefined", text.trim()))),
        false => usable(&value).map(|()| value),
    });
    checked.map_err(|error| Broken::new(error, &prepared))
}
