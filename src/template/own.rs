//! Lists and dicts that a template has made itself, and that its own calls of Python's methods may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::call::{Call, text, whole, wrong};
use super::values::{items, pairs};

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

/// Refuses to put a container into itself, which no text could show.
fn outside<T>(container: &T, part: &Value) -> Result<(), Error> {
    let (list, dict) = (part.downcast_object_ref::<List>(), part.downcast_object_ref::<Dict>());
    let is_itself = list.is_some_and(|list| std::ptr::addr_eq(list, container))
        || dict.is_some_and(|dict| std::ptr::addr_eq(dict, container));
    if is_itself {
        return Err(wrong("a container cannot be put into itself"));
    }
    let parts: Vec<Value> = match (list, dict) {
        (Some(list), _) => lock(&list.0).clone(),
        (_, Some(dict)) => lock(&dict.0).values().cloned().collect(),
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
                outside(&**self, argument(1)?)?;
                let mut list = lock(&self.0);
                let at = place(whole(argument(0)?)?, list.len()).clamp(0, list.len() as i64);
                list.insert(at as usize, argument(1)?.clone());
            }
            "pop" => {
                let at = arguments.first().map_or(Ok(-1), whole)?;
                let mut list = lock(&self.0);
                let at = usize::try_from(place(at, list.len())).ok().filter(|at| *at < list.len());
                return at.map(|at| list.remove(at)).ok_or_else(|| wrong("`pop` from a list that has no such item"));
            }
            "remove" => {
                let (mut list, wanted) = (lock(&self.0), argument(0)?);
                let at = list.iter().position(|item| item == wanted);
                list.remove(at.ok_or_else(|| wrong(format!("`{}` is not in the list", text(wanted))))?);
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
        lock(&self.0).get(key).cloned()
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
                new.iter().try_for_each(|(_, value)| outside(&**self, value))?;
                lock(&self.0).extend(new);
            }
            "setdefault" => {
                let value = arguments.get(1).cloned().unwrap_or(Value::from(()));
                outside(&**self, &value)?;
                return Ok(lock(&self.0).entry(argument(0)?.clone()).or_insert(value).clone());
            }
            "pop" => {
                let found = lock(&self.0).shift_remove(argument(0)?);
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
