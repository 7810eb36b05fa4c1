//! `subelements`: what loops over lists within a list are made of.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::call::{text, wrong};
use super::filters;
use super::lookups::Terms;
use super::values::{items, pairs};

/// Each element with each item of a list in it: `lookup('subelements', LIST, 'a.b', {'skip_missing': true})`.
pub(super) fn subelements(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let given = terms.take();
    let expected = "subelements lookup expects a list of two or three items,";
    let [elements, path, options @ ..] = given.as_slice() else {
        return Err(wrong(format!("{expected} a list and the name of a list in its items")));
    };
    if options.len() > 1 {
        return Err(wrong(format!("{expected} not {}", given.len())));
    }
    if !matches!(elements.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) || path.as_str().is_none() {
        return Err(wrong(format!("{expected} first a dict or a list, second a string pointing to the subkey")));
    }
    if options.iter().any(|options| options.kind() != ValueKind::Map) {
        return Err(wrong("the optional third item must be a dict with flags ('skip_missing')"));
    }
    let skip = options.first().map(|options| options.get_attr("skip_missing")).transpose()?;
    // A list that a task with a condition has not registered.
    if elements.kind() == ValueKind::Map && is_skipped(elements) {
        return Ok(Vec::new());
    }
    let elements = if elements.kind() == ValueKind::Map {
        pairs(elements)?.into_iter().map(|(_, element)| element).collect()
    } else {
        items(elements)?
    };
    // An item of a loop that a condition has left out.
    let is_done = |element: &Value| element.kind() != ValueKind::Map || !is_skipped(element);
    let done: Vec<Value> = elements.into_iter().filter(is_done).collect();
    if let Some(other) = done.iter().find(|element| element.kind() != ValueKind::Map) {
        return Err(wrong(format!("subelements lookup expects a dictionary, got '{}'", text(other))));
    }
    filters::pairs_below(&done.into(), path, skip.is_some_and(|skip| skip.is_true()))
}

fn is_skipped(result: &Value) -> bool {
    result.get_attr("skipped").is_ok_and(|skipped| skipped.is_true())
}
