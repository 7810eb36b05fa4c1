//! Rendering that keeps types: a template that is one expression is that expression's value.

use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, escape_formatter};

use super::Syntax;
use super::fault::Broken;
use super::functions::usable;
use super::prepared::Prepared;
use super::shown::{Use, leniently};
use super::values::json;

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
    let emitted = state.get_or_insert_extension(Emitted::default());
    emitted.count += 1;
    emitted.last = value.clone();
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
        _ => escape_formatter(out, state, value),
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
    let prepared = Prepared::new(text, Syntax::Template, environment.syntax());
    let text = leniently(&prepared.text, environment.syntax(), wanted);
    let rendered = environment.template_from_str(&text).and_then(|template| {
        let captured = template.render_captured(context)?;
        let only = captured.state().get_extension::<Emitted>().filter(|emitted| emitted.count == 1);
        let value = only.map(|emitted| emitted.last.clone());
        let output = captured.into_output();
        // The newline at the end of a block of YAML is no text beside the expression.
        let written = output.strip_suffix('\n').filter(|_| text.ends_with('\n')).unwrap_or(&output);
        let native = value.filter(|value| value.as_str().is_none() && is_written_as(value, written));
        Ok(native.unwrap_or_else(|| Value::from(output)))
    });
    rendered.map_err(|error| Broken::new(error, &prepared))
}

fn is_written_as(value: &Value, output: &str) -> bool {
    if value.is_none() { output.is_empty() } else { value.to_string() == output }
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
