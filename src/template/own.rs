//! Lists and dicts that a template has made itself, and that its own calls of Python's methods may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::call::{Call, text, whole, wrong};
use super::context::path_of;
use super::values::{items, pairs, python_type};

/// The methods that change what they are called on.
pub(super) const CHANGING: [&str; 11] =
    ["append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"];

#[derive(Debug, Default)]
struct List(Mutex<Vec<Value>>);

#[derive(Debug, Default)]
struct Dict(Mutex<IndexMap<Value, Value>>);

/// Returns a list or a dict as one of the template's own, and any other value as it is.
pub(super) fn own(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let is_own = value.downcast_object_ref::<List>().is_some() || value.downcast_object_ref::<Dict>().is_some();
    Ok(match value.kind() {
        _ if is_own => value,
        ValueKind::Seq | ValueKind::Iterable if !value.is_tuple() => Value::from_object(List(items(&value)?.into())),
        ValueKind::Map => Value::from_object(Dict(Mutex::new(pairs(&value)?.into_iter().collect()))),
        _ => value,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lists and dicts are no keys, as in Python: these could even be the dict itself.
fn is_key(value: &Value) -> bool {
    !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) || value.is_tuple()
}

fn hashable(key: &Value) -> Result<Value, Error> {
    match is_key(key) {
        true => Ok(key.clone()),
        false => Err(wrong(format!("unhashable type: '{}'", python_type(key)))),
    }
}

/// Refuses to put a container into itself, which no text could show.
fn outside<T>(container: &T, part: &Value) -> Result<(), Error> {
    let (list, dict) = (part.downcast_object_ref::<List>(), part.downcast_object_ref::<Dict>());
    let is_itself = list.is_some_and(|list| std::ptr::addr_eq(list, container))
        || dict.is_some_and(|dict| std::ptr::addr_eq(dict, container));
    if is_itself {
        return Err(wrong("a container cannot be put into itself"));
    }
    // What a variable holds was there before, and may have to be rendered to be seen.
    let parts: Vec<Value> = match part.kind() {
        _ if path_of(part).is_some() => Vec::new(),
        ValueKind::Seq => items(part)?,
        ValueKind::Map => pairs(part)?.into_iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    };
    parts.iter().try_for_each(|part| outside(container, part))
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        lock(&self.0).get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(lock(&self.0).len())
    }

    fn call_method(self: &Arc<Self>, _: &mut State, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let argument =
            |index: usize| arguments.get(index).ok_or_else(|| wrong(format!("`{method}` needs an argument")));
        // A place counts from the end where it is negative.
        let place = |at: i64, length: usize| if at < 0 { at + length as i64 } else { at };
        match method {
            "append" => {
                outside(&**self, argument(0)?)?;
                lock(&self.0).push(argument(0)?.clone());
            }
            "extend" => {
                let others = items(argument(0)?)?;
                others.iter().try_for_each(|other| outside(&**self, other))?;
                lock(&self.0).extend(others);
            }
            "insert" => {
                let (at, item) = (whole(argument(0)?)?, argument(1)?.clone());
                outside(&**self, &item)?;
                let mut list = lock(&self.0);
                let at = place(at, list.len()).clamp(0, list.len() as i64);
                list.insert(at as usize, item);
            }
            "pop" => {
                let at = arguments.first().map_or(Ok(-1), whole)?;
                let mut list = lock(&self.0);
                let at = usize::try_from(place(at, list.len())).ok().filter(|at| *at < list.len());
                return at.map(|at| list.remove(at)).ok_or_else(|| wrong("`pop` from a list that has no such item"));
            }
            "remove" => {
                let (items, wanted) = (lock(&self.0).clone(), argument(0)?);
                let at = items.iter().position(|item| item == wanted);
                let at = at.ok_or_else(|| wrong(format!("`{}` is not in the list", text(wanted))))?;
                lock(&self.0).remove(at);
            }
            "sort" => {
                let (_, options): (&[Value], Kwargs) = minijinja::value::from_args(arguments)?;
                let reverse = options.get::<Option<bool>>("reverse")?.unwrap_or(false);
                options.assert_all_used()?;
                lock(&self.0).sort_by(|left, right| if reverse { right.cmp(left) } else { left.cmp(right) });
            }
            "reverse" => lock(&self.0).reverse(),
            "clear" => lock(&self.0).clear(),
            "copy" => return Ok(Value::from_object(List(lock(&self.0).clone().into()))),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        is_key(key).then(|| lock(&self.0).get(key).cloned()).flatten()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(lock(&self.0).keys().cloned().collect())
    }

    fn call_method(self: &Arc<Self>, _: &mut State, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let argument =
            |index: usize| arguments.get(index).ok_or_else(|| wrong(format!("`{method}` needs an argument")));
        match method {
            "update" => {
                let mut new = Vec::new();
                for given in arguments {
                    match given.kind() {
                        ValueKind::Map => new.extend(pairs(given)?),
                        _ => {
                            for pair in items(given)? {
                                new.push((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?));
                            }
                        }
                    }
                }
                for (key, value) in new {
                    outside(&**self, &value)?;
                    let key = hashable(&key)?;
                    lock(&self.0).insert(key, value);
                }
            }
            "setdefault" => {
                let value = arguments.get(1).cloned().unwrap_or(Value::from(()));
                outside(&**self, &value)?;
                let key = hashable(argument(0)?)?;
                return Ok(lock(&self.0).entry(key).or_insert(value).clone());
            }
            "pop" => {
                let key = hashable(argument(0)?)?;
                let found = lock(&self.0).shift_remove(&key);
                let missing = || wrong(format!("`{}` is no key of the dict", text(&arguments[0])));
                return found.or_else(|| arguments.get(1).cloned()).ok_or_else(missing);
            }
            "popitem" => {
                let last = lock(&self.0).pop().map(|(key, value)| Value::from(vec![key, value]));
                return last.ok_or_else(|| wrong("`popitem` from an empty dict"));
            }
            "clear" => lock(&self.0).clear(),
            "copy" => return Ok(Value::from_object(Dict(lock(&self.0).clone().into()))),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}
