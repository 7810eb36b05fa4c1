//! Ansible's filters, as rows of tables by theme.

use minijinja::{Environment, Error, Value};

use super::call::{Call, Role, Row, wrong};
use super::context::Context;

mod collections;
mod encoding;
mod numbers;
mod paths;
pub(super) mod pattern;
mod sets;
mod text;
mod vault;
mod yaml;

pub(super) use collections::pairs_below;
pub(super) use paths::glob;
pub(super) use sets::rows;

const FILTERS: &[&[Row]] = &[
    text::FILTERS,
    pattern::FILTERS,
    paths::FILTERS,
    collections::FILTERS,
    sets::FILTERS,
    encoding::FILTERS,
    numbers::FILTERS,
    vault::FILTERS,
    ENGINE,
];

/// What [`super::prepared`] spells Python's operators as.
const ENGINE: &[Row] = &[
    ("_embedded", embedded),
    ("_get", get),
    ("_minus", super::moments::minus),
    ("_own", super::own::own),
    ("_percent", percent),
    ("password_hash", super::passwords::password_hash),
    ("to_datetime", super::moments::to_datetime),
];

/// Jinja2's own, which the engine brings.
const JINJA: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "format",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "slice",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "wordcount",
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let ours = FILTERS.iter().flat_map(|theme| theme.iter().map(|(name, _)| *name));
    ours.filter(|name| !name.starts_with('_')).chain(JINJA.iter().copied())
}

pub(super) fn register(environment: &mut Environment<'static>) {
    for row in FILTERS.iter().flat_map(|theme| theme.iter()) {
        super::call::register(environment, Role::Filter, *row);
    }
    for name in JINJA {
        let qualified = format!("ansible.builtin.{name}");
        environment.add_filter(
            qualified,
            |state: &mut minijinja::State, arguments: minijinja::value::Rest<minijinja::value::ValueOrKwargs>| {
                let arguments: Vec<Value> = arguments.0.into_iter().map(Value::from).collect();
                state.apply_filter(name, &arguments)
            },
        );
    }
}

/// An attribute or item of something that may itself be undefined.
fn get(call: &mut Call) -> Result<Value, Error> {
    let parent = call.maybe_undefined();
    let key = call.need("key")?;
    match (parent.is_undefined(), key.as_str()) {
        (true, _) => Ok(Value::UNDEFINED),
        (false, Some(name)) => parent.get_attr(name).or_else(|_| parent.get_item(&key)),
        (false, None) => parent.get_item(&key),
    }
}

/// A string that is a template.
fn embedded(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    Context::of(call.state)?.rendered(&text)
}

fn percent(call: &mut Call) -> Result<Value, Error> {
    let format = call.value()?;
    let given = call.need("value")?;
    let mut arguments = vec![format];
    if given.is_tuple() {
        arguments.extend(super::values::items(&given)?);
    } else {
        arguments.push(given);
    }
    call.state
        .apply_filter("format", &arguments)
        .map_err(|error| wrong(error.detail().unwrap_or("bad `%` format").to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_filter_exists() {
        let templates = super::super::Templates::new();
        for name in names() {
            let known = templates.environment.empty_state().perform_test("filter", &[Value::from(name)]);
            assert!(known.unwrap_or(false), "{name}");
        }
    }
}
