//! Values against an argument specification, as roles have them in `meta/argument_specs.yml`.

use serde_json::{Map, Value};

use crate::modules::arguments::python_type;
use crate::template::text;

mod convert;
mod rules;

use convert::converted;

/// One mapping of values, and what is said of it.
struct Level<'s> {
    /// The options by name.
    options: &'s Map<String, Value>,
    /// `required_if` and its like stand in here.
    rules: Option<&'s Map<String, Value>>,
    /// The options that this is below.
    path: &'s [String],
}

#[derive(Default)]
struct Found {
    errors: Vec<String>,
    /// Names that no option has, and those that are there.
    unsupported: Vec<(String, Vec<String>)>,
}

/// Returns what is wrong with `values`, in the words of Ansible's validator.
pub(super) fn errors(options: &Map<String, Value>, mut values: Map<String, Value>) -> Vec<String> {
    let mut found = Found::default();
    Level { options, rules: None, path: &[] }.check(&mut values, &mut found);
    let Found { mut errors, mut unsupported } = found;
    if let Some((_, supported)) = unsupported.last() {
        let supported = supported.join(", ");
        unsupported.sort();
        let names: Vec<String> = unsupported.into_iter().map(|(name, _)| name).collect();
        errors.push(format!("{}. Supported parameters include: {supported}.", names.join(", ")));
    }
    errors
}

impl Level<'_> {
    fn check(&self, values: &mut Map<String, Value>, found: &mut Found) {
        self.take_aliases(values);
        self.check_names(values, found);
        let rule = |name| self.rules.and_then(|rules| rules.get(name));
        self.note(rules::mutually_exclusive(rule("mutually_exclusive"), values), found);
        self.set_defaults(values);
        let is_missing =
            |(name, option): &(&String, &Value)| truthy(option.get("required")) && !values.contains_key(*name);
        let mut missing: Vec<&str> = self.options.iter().filter(is_missing).map(|(name, _)| name.as_str()).collect();
        missing.sort();
        let missing = (!missing.is_empty()).then(|| format!("missing required arguments: {}", missing.join(", ")));
        self.note(missing, found);
        self.check_types(values, found);
        self.check_choices(values, found);
        for (name, rule_of) in rules::REQUIRED {
            self.note(rule_of(rule(name), values), found);
        }
        self.check_below(values, found);
    }

    /// Adds an error, and where it was found.
    fn note(&self, error: Option<String>, found: &mut Found) {
        let Some(error) = error else { return };
        found.errors.push(match self.path {
            [] => error,
            path => format!("{error} found in {}", path.join(" -> ")),
        });
    }

    fn take_aliases(&self, values: &mut Map<String, Value>) {
        for (name, option) in self.options {
            for alias in aliases(option) {
                if let Some(value) = values.get(alias).cloned() {
                    values.insert(name.clone(), value);
                }
            }
        }
    }

    fn check_names(&self, values: &Map<String, Value>, found: &mut Found) {
        let is_alias = |name: &str| self.options.values().any(|option| aliases(option).any(|alias| alias == name));
        for name in values.keys().filter(|name| !self.options.contains_key(*name) && !is_alias(name)) {
            let mut supported: Vec<String> = self.options.keys().cloned().collect();
            supported.sort();
            let parts: Vec<&str> = self.path.iter().map(String::as_str).chain([name.as_str()]).collect();
            found.unsupported.push((parts.join("."), supported));
        }
    }

    fn set_defaults(&self, values: &mut Map<String, Value>) {
        for (name, option) in self.options {
            if let Some(default) = option.get("default").filter(|default| !default.is_null()) {
                values.entry(name).or_insert_with(|| default.clone());
            }
        }
    }

    fn check_types(&self, values: &mut Map<String, Value>, found: &mut Found) {
        let place = match self.path {
            [] => String::new(),
            path => format!(" found in '{}'.", path.join(" -> ")),
        };
        for (name, option) in self.options {
            let Some(value) = values.get_mut(name) else { continue };
            let has_default = option.get("default").is_some_and(|default| !default.is_null());
            if value.is_null() && !truthy(option.get("required")) && !has_default {
                continue;
            }
            let wanted = type_of(option);
            match converted(wanted, value) {
                Ok(value_of_type) => *value = value_of_type,
                Err(why) => {
                    let is = python_type(value);
                    found.errors.push(format!(
                        "argument '{name}' is of type {is}{place} and we were unable to convert to {wanted}: {why}"
                    ));
                    continue;
                }
            }
            let Some(wanted_element) = option.get("elements").and_then(Value::as_str) else { continue };
            let Value::Array(elements) = value else {
                found.errors.push(format!(
                    "Invalid type {wanted} for option '{}'{place}, elements value check is supported only with 'list' type",
                    text(value)
                ));
                continue;
            };
            for element in elements {
                match converted(wanted_element, element) {
                    Ok(element_of_type) => *element = element_of_type,
                    Err(why) => {
                        let (is, place) = (python_type(element), place.trim_end_matches('.'));
                        found.errors.push(format!(
                            "Elements value for option '{name}'{place} is of type {is} and we were unable to convert to {wanted_element}: {why}"
                        ));
                    }
                }
            }
        }
    }

    fn check_choices(&self, values: &Map<String, Value>, found: &mut Found) {
        for (name, option) in self.options {
            let (Some(choices), Some(value)) = (option.get("choices"), values.get(name)) else { continue };
            if choices.is_null() {
                continue;
            }
            let Some(choices) = choices.as_array() else {
                let error = format!("internal error: choices for argument {name} are not iterable: {}", text(choices));
                self.note(Some(error), found);
                continue;
            };
            // YAML makes booleans of `yes` and `no`, and the conversion to text `True` and `False`.
            let meant = |choice: &Value| match (choice, value) {
                (Value::Bool(choice), Value::String(value)) => text(&Value::Bool(*choice)) == *value,
                _ => false,
            };
            let joined = |values: &[&Value]| values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", ");
            let all = joined(&choices.iter().collect::<Vec<_>>());
            let error = match value {
                Value::Array(items) => {
                    let others: Vec<&Value> = items.iter().filter(|item| !choices.contains(item)).collect();
                    (!others.is_empty()).then(|| {
                        format!("value of {name} must be one or more of: {all}. Got no match for: {}", joined(&others))
                    })
                }
                _ if choices.contains(value) || choices.iter().any(meant) => None,
                _ => Some(format!("value of {name} must be one of: {all}, got: {}", text(value))),
            };
            self.note(error, found);
        }
    }

    /// Checks mappings that have options of their own.
    fn check_below(&self, values: &mut Map<String, Value>, found: &mut Found) {
        for (name, option) in self.options {
            let Some(Value::Object(options)) = option.get("options") else { continue };
            let is_list = type_of(option) == "list" && option.get("elements").and_then(Value::as_str) == Some("dict");
            if type_of(option) != "dict" && !is_list {
                continue;
            }
            if truthy(option.get("apply_defaults")) && values.get(name).is_none_or(Value::is_null) {
                values.insert(name.clone(), Value::Object(Map::new()));
            }
            let path: Vec<String> = self.path.iter().chain([name]).cloned().collect();
            let below = Level { options, rules: option.as_object(), path: &path };
            let elements = match values.get_mut(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(elements)) => elements.as_mut_slice(),
                Some(value) => std::slice::from_mut(value),
            };
            for element in elements {
                match element {
                    Value::Object(values) => below.check(values, found),
                    _ => found.errors.push(format!("value of '{name}' must be of type dict or list of dicts")),
                }
            }
        }
    }
}

fn aliases(option: &Value) -> impl Iterator<Item = &str> {
    option.get("aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// An option without a type is text.
fn type_of(option: &Value) -> &str {
    option.get("type").and_then(Value::as_str).unwrap_or("str")
}

fn truthy(value: Option<&Value>) -> bool {
    value.and_then(crate::modules::arguments::boolean).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(options: Value, values: Value) -> Vec<String> {
        let (Value::Object(options), Value::Object(values)) = (options, values) else { panic!() };
        errors(&options, values)
    }

    #[test]
    fn values_are_converted_before_they_are_judged() {
        let options = json!({
            "port": {"type": "int", "choices": [25, 587]}, "names": {"type": "list", "elements": "str"},
            "on": {"type": "bool"}, "size": {"type": "bytes"}, "left_out": {"type": "int"}, "map": {"type": "dict"},
        });
        let values = json!({"port": "25", "names": "a,b", "on": "yes", "size": "1K", "map": "a=1, b='2 3'"});
        assert!(found(options.clone(), values).is_empty());
        let values =
            json!({"port": "26", "names": {"a": 1}, "on": "perhaps", "size": "1Q", "left_out": null, "map": "x"});
        assert_eq!(
            found(options, values),
            [
                "argument 'names' is of type dict and we were unable to convert to list: <class 'dict'> cannot be converted to a list",
                "argument 'on' is of type str and we were unable to convert to bool: The value 'perhaps' is not a valid boolean.",
                "argument 'size' is of type str and we were unable to convert to bytes: <class 'str'> cannot be converted to a Byte value",
                "argument 'map' is of type str and we were unable to convert to dict: dictionary requested, could not parse JSON or key=value",
                "value of port must be one of: 25, 587, got: 26",
            ]
        );
    }

    #[test]
    fn what_is_below_has_its_own_options_and_rules() {
        let options = json!({"users": {"type": "list", "elements": "dict", "options": {
            "name": {"required": true, "aliases": ["login"]}, "uid": {"type": "int"}, "state": {"default": "present"},
            "home": {}, "shell": {},
        }, "required_if": [["state", "absent", ["uid"]]], "required_together": [["home", "shell"]],
           "mutually_exclusive": [["uid", "home"]], "required_one_of": [["uid", "home", "shell"]], "required_by": {"uid": "shell"}}});
        let errors = found(
            options,
            json!({"users": [
                {"login": "a", "uid": 1, "shell": "/bin/sh", "home": "/"},
                {"name": "b", "state": "absent", "shell": "/bin/sh", "home": "/"},
                {"uid": "x", "colour": 1},
                {"name": "c"},
                7,
            ]}),
        );
        assert_eq!(
            errors,
            [
                "Elements value for option 'users' is of type int and we were unable to convert to dict: <class 'int'> cannot be converted to a dict",
                "parameters are mutually exclusive: uid|home found in users",
                "state is absent but all of the following are missing: uid found in users",
                "missing required arguments: name found in users",
                "argument 'uid' is of type str found in 'users'. and we were unable to convert to int: \"'x'\" cannot be converted to an int",
                "missing parameter(s) required by 'uid': shell found in users",
                "one of the following is required: uid, home, shell found in users",
                "value of 'users' must be of type dict or list of dicts",
                "users.colour. Supported parameters include: home, name, shell, state, uid.",
            ]
        );
    }

    #[test]
    fn nothing_given_is_wrong_only_where_it_is_required() {
        let options = json!({"a": {"required": true, "type": "int"}, "b": {"type": "bool"}});
        assert_eq!(
            found(options.clone(), json!({"a": null, "b": null})),
            [
                "argument 'a' is of type NoneType and we were unable to convert to int: \"None\" cannot be converted to an int"
            ]
        );
        assert_eq!(found(options, json!({})), ["missing required arguments: a"]);
    }
}
