//! The arguments of one call of a filter, test or function: by position, then by keyword, as in Python.

use std::collections::VecDeque;

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::native::undefined;
use super::values::{as_bool, items, pairs, python_type};

/// A filter, test or function: it takes its arguments in the order of its parameters.
pub(super) type Function = fn(&mut Call) -> Result<Value, Error>;

/// A row of a table of filters, tests or functions.
pub(super) type Row = (&'static str, Function);

/// One call. What a function does not take is an error.
pub(super) struct Call<'a, 'template, 'env> {
    pub state: &'a mut State<'template, 'env>,
    positional: VecDeque<Value>,
    keywords: IndexMap<String, Value>,
}

pub(super) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// What a row is registered as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Filter,
    Test,
    Global,
}

/// Makes a row callable under its own name and as `ansible.builtin.NAME`.
pub(super) fn register(environment: &mut Environment<'static>, role: Role, (name, function): Row) {
    let called = move |state: &mut State, arguments: Rest<ValueOrKwargs>| -> Result<Value, Error> {
        let mut call = Call { state, positional: VecDeque::new(), keywords: IndexMap::new() };
        for argument in arguments.0 {
            let argument = Value::from(argument);
            if argument.is_kwargs() {
                call.keywords = pairs(&argument)?.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            } else {
                call.positional.push_back(argument);
            }
        }
        let result = function(&mut call)?;
        call.finish(name)?;
        Ok(result)
    };
    let qualified = format!("ansible.builtin.{name}");
    match role {
        Role::Filter => {
            environment.add_filter(name, called);
            environment.add_filter(qualified, called);
        }
        Role::Test => {
            environment.add_test(name, called);
            environment.add_test(qualified, called);
        }
        Role::Global => environment.add_function(name, called),
    }
}

impl Call<'_, '_, '_> {
    /// Takes the value that a filter or test is applied to, defined or not.
    pub fn maybe_undefined(&mut self) -> Value {
        self.positional.pop_front().unwrap_or(Value::UNDEFINED)
    }

    /// Takes the value that a filter or test is applied to.
    pub fn value(&mut self) -> Result<Value, Error> {
        let value = self.maybe_undefined();
        if value.is_undefined() { Err(undefined(self.state, &value)) } else { Ok(value) }
    }

    /// Takes the same as text.
    pub fn text(&mut self) -> Result<String, Error> {
        Ok(text(&self.value()?))
    }

    /// Takes the same as a list.
    pub fn list(&mut self) -> Result<Vec<Value>, Error> {
        let value = self.value()?;
        list(&value)
    }

    /// Takes the next parameter.
    pub fn next(&mut self, name: &str) -> Result<Option<Value>, Error> {
        let found = self.positional.pop_front().or_else(|| self.keywords.shift_remove(name));
        match found {
            Some(value) if value.is_undefined() => Err(undefined(self.state, &value)),
            other => Ok(other),
        }
    }

    /// Takes a parameter that can only be given by its name.
    pub fn keyword(&mut self, name: &str) -> Option<Value> {
        self.keywords.shift_remove(name)
    }

    pub fn need(&mut self, name: &str) -> Result<Value, Error> {
        self.next(name)?.ok_or_else(|| wrong(format!("the argument `{name}` is missing")))
    }

    pub fn need_text(&mut self, name: &str) -> Result<String, Error> {
        Ok(text(&self.need(name)?))
    }

    pub fn next_text(&mut self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.next(name)?.filter(|value| !value.is_none()).map(|value| text(&value)))
    }

    pub fn next_flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.next(name)?.is_some_and(|value| as_bool(&value).unwrap_or_else(|| value.is_true())))
    }

    pub fn next_number(&mut self, name: &str) -> Result<Option<i64>, Error> {
        let given = self.next(name)?.filter(|value| !value.is_none());
        given.map(|value| whole(&value)).transpose()
    }

    /// Takes these parameters for a function that knows them by name only.
    pub fn named(&mut self, names: &[&'static str]) -> Result<Kwargs, Error> {
        let mut given = Vec::new();
        for name in names {
            given.extend(self.next(name)?.map(|value| (*name, value)));
        }
        Ok(given.into_iter().collect())
    }

    /// Takes all that is left by position.
    pub fn rest(&mut self) -> Vec<Value> {
        self.positional.drain(..).collect()
    }

    /// Takes all that is left by keyword.
    pub fn keywords(&mut self) -> IndexMap<String, Value> {
        std::mem::take(&mut self.keywords)
    }

    fn finish(&self, name: &str) -> Result<(), Error> {
        match (self.keywords.keys().next(), self.positional.is_empty()) {
            (Some(keyword), _) => Err(wrong(format!("`{name}` has no argument `{keyword}`"))),
            (None, false) => Err(wrong(format!("too many arguments for `{name}`"))),
            (None, true) => Ok(()),
        }
    }
}

/// Returns a value as Python's `str` prints it.
pub(super) fn text(value: &Value) -> String {
    match (value.as_str(), value.as_bytes()) {
        (Some(text), _) => text.into(),
        (None, Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => value.to_string(),
    }
}

pub(super) fn whole(value: &Value) -> Result<i64, Error> {
    let parsed = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => value.as_i64().or_else(|| f64::try_from(value.clone()).ok().map(|float| float as i64)),
    };
    parsed.ok_or_else(|| wrong(format!("`{value}` is not a whole number")))
}

/// Returns what Python iterates over: the items of a list, the keys of a mapping, the characters of a text.
pub(super) fn elements(value: &Value) -> Result<Vec<Value>, Error> {
    match value.as_str() {
        Some(text) => Ok(text.chars().map(|letter| Value::from(letter.to_string())).collect()),
        None if value.kind() == ValueKind::Map => items(value),
        None => list(value),
    }
}

/// Returns the items of a list. Text and mappings are refused, because what was meant cannot be known.
pub(super) fn list(value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items = items(value)?;
            match items.iter().position(Value::is_undefined) {
                Some(index) => {
                    Err(Error::new(ErrorKind::UndefinedError, format!("item {index} of a list is undefined")))
                }
                None => Ok(items),
            }
        }
        _ => Err(wrong(format!("expected a list, not {}", python_type(value)))),
    }
}
