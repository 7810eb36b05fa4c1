//! Rules that tie options of a specification to each other.

use serde_json::{Map, Value};

use crate::template::text;

type Values = Map<String, Value>;

/// A rule: what is written, and the values that it is about. Returns what is wrong.
type Rule = fn(Option<&Value>, &Values) -> Option<String>;

/// The rules about what must be there, in the order in which they are looked at.
pub(super) const REQUIRED: &[(&str, Rule)] = &[
    ("required_together", together),
    ("required_one_of", one_of),
    ("required_if", required_if),
    ("required_by", required_by),
];

pub(super) fn mutually_exclusive(rule: Option<&Value>, values: &Values) -> Option<String> {
    let too_many = groups(rule).into_iter().filter(|group| group.iter().filter(|name| given(values, name)).count() > 1);
    let groups: Vec<String> = too_many.map(|group| group.join("|")).collect();
    (!groups.is_empty()).then(|| format!("parameters are mutually exclusive: {}", groups.join(", ")))
}

fn together(rule: Option<&Value>, values: &Values) -> Option<String> {
    let is_torn = |group: &Vec<&str>| {
        let count = group.iter().filter(|name| given(values, name)).count();
        count > 0 && count < group.len()
    };
    let torn = groups(rule).into_iter().find(is_torn)?;
    Some(format!("parameters are required together: {}", torn.join(", ")))
}

fn one_of(rule: Option<&Value>, values: &Values) -> Option<String> {
    let group = groups(rule).into_iter().find(|group| !group.iter().any(|name| given(values, name)))?;
    Some(format!("one of the following is required: {}", group.join(", ")))
}

/// `[NAME, VALUE, [NAMES]]`, and whether any of the names is enough.
fn required_if(rule: Option<&Value>, values: &Values) -> Option<String> {
    rule?.as_array()?.iter().find_map(|condition| {
        let [name, wanted, names, rest @ ..] = condition.as_array()?.as_slice() else { return None };
        let (name, names) = (name.as_str()?, words(names));
        if values.get(name) != Some(wanted) {
            return None;
        }
        let any = rest.first().is_some_and(|any| any.as_bool() == Some(true));
        let missing: Vec<&str> = names.iter().copied().filter(|name| !given(values, name)).collect();
        let enough = if any { missing.len() < names.len() } else { missing.is_empty() };
        let how = if any { "any" } else { "all" };
        (!enough).then(|| {
            format!("{name} is {} but {how} of the following are missing: {}", text(wanted), missing.join(", "))
        })
    })
}

fn required_by(rule: Option<&Value>, values: &Values) -> Option<String> {
    let has = |name: &str| values.get(name).is_some_and(|value| !value.is_null());
    rule?.as_object()?.iter().filter(|(name, _)| has(name)).find_map(|(name, needed)| {
        let missing: Vec<&str> = words(needed).into_iter().filter(|name| !has(name)).collect();
        (!missing.is_empty()).then(|| format!("missing parameter(s) required by '{name}': {}", missing.join(", ")))
    })
}

fn given(values: &Values, name: &str) -> bool {
    values.contains_key(name)
}

/// Returns the groups of a list of lists; a plain list of names is one group.
fn groups(rule: Option<&Value>) -> Vec<Vec<&str>> {
    match rule.and_then(Value::as_array) {
        None => Vec::new(),
        Some(names) if names.iter().all(Value::is_string) => vec![names.iter().filter_map(Value::as_str).collect()],
        Some(groups) => groups.iter().map(words).collect(),
    }
}

fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(word) => vec![word],
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
