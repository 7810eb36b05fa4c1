//! Filters on lists and mappings: combining, reshaping, taking apart.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::super::call::{Call, Row, elements, list, text, wrong};
use super::super::values::{items, pairs, python_type};

pub(super) const FILTERS: &[Row] = &[
    ("combine", combine),
    ("dict2items", dict_to_items),
    ("extract", extract),
    ("flatten", flatten),
    ("groupby", group_by),
    ("items2dict", items_to_dict),
    ("rejectattr", |call| by_attribute(call, false)),
    ("rekey_on_member", rekey),
    ("selectattr", |call| by_attribute(call, true)),
    ("sort", sort),
    ("subelements", subelements),
];

/// Returns the items of which a test of an attribute comes to `wanted`. One that is not there is an error to all tests but
/// those that ask for it, as in ansible-core 2.19.
fn by_attribute(call: &mut Call, wanted: bool) -> Result<Value, Error> {
    let (list, path) = (elements(&call.value()?)?, call.need_text("attribute")?);
    let test = call.next_text("test")?;
    let short = test.as_deref().map(|name| name.strip_prefix("ansible.builtin.").unwrap_or(name));
    let asks = matches!(short, Some("defined" | "undefined"));
    let mut arguments = vec![Value::UNDEFINED];
    arguments.extend(call.rest());
    let keywords = call.keywords();
    if !keywords.is_empty() {
        arguments.push(keywords.into_iter().collect::<Kwargs>().into());
    }
    let mut found = Vec::new();
    for item in list {
        let attribute = attribute(&item, &path)?;
        if attribute.is_undefined() && !asks {
            return Err(without_attribute(&item, &path));
        }
        let holds = match &test {
            None => attribute.is_true(),
            Some(test) => {
                arguments[0] = attribute;
                call.state.perform_test(test, &arguments)?
            }
        };
        if holds == wanted {
            found.push(item);
        }
    }
    Ok(found.into())
}

/// Returns an attribute, or one of an attribute: `a.b.0`.
fn attribute(item: &Value, path: &str) -> Result<Value, Error> {
    path.split('.').try_fold(item.clone(), |value, name| match name.parse::<usize>() {
        _ if value.is_undefined() => Ok(value),
        Ok(index) => value.get_item_by_index(index).or_else(|_| value.get_item(&Value::from(name))),
        Err(_) => value.get_attr(name),
    })
}

fn without_attribute(item: &Value, path: &str) -> Error {
    let message = format!("object of type '{}' has no attribute '{path}'", python_type(item));
    Error::new(ErrorKind::UndefinedError, message)
}

/// Refuses items without an attribute, as ansible-core 2.19 does where it compares them.
fn all_have(items: &[Value], path: &str) -> Result<(), Error> {
    items.iter().try_for_each(|item| match attribute(item, path)?.is_undefined() {
        true => Err(without_attribute(item, path)),
        false => Ok(()),
    })
}

fn sort(call: &mut Call) -> Result<Value, Error> {
    let items = elements(&call.value()?)?;
    let options = call.named(&["reverse", "case_sensitive", "attribute"])?;
    if let Some(paths) = options.peek::<Option<Value>>("attribute")?.filter(|paths| !paths.is_none()) {
        text(&paths).split(',').try_for_each(|path| all_have(&items, path.trim()))?;
    }
    minijinja::filters::sort(call.state, items.into(), options)
}

fn group_by(call: &mut Call) -> Result<Value, Error> {
    let (items, path) = (elements(&call.value()?)?, call.need_text("attribute")?);
    all_have(&items, &path)?;
    let options = call.named(&["default", "case_sensitive"])?;
    minijinja::filters::groupby(items.into(), Some(&path), options)
}

/// What `combine` does where both sides have a list.
#[derive(Clone, Copy)]
enum Lists {
    Replace,
    Keep,
    Append,
    Prepend,
    AppendNew,
    PrependNew,
}

fn combine(call: &mut Call) -> Result<Value, Error> {
    let recursive = call.keyword("recursive").is_some_and(|value| value.is_true());
    let lists = match call.keyword("list_merge").as_ref().map(text).as_deref() {
        None | Some("replace") => Lists::Replace,
        Some("keep") => Lists::Keep,
        Some("append") => Lists::Append,
        Some("prepend") => Lists::Prepend,
        Some("append_rp") => Lists::AppendNew,
        Some("prepend_rp") => Lists::PrependNew,
        Some(other) => return Err(wrong(format!("`combine` has no list_merge `{other}`"))),
    };
    let mut maps = vec![call.value()?];
    maps.extend(call.rest());
    let mut all = Vec::new();
    for map in maps {
        match map.kind() {
            ValueKind::Seq | ValueKind::Iterable => all.extend(items(&map)?),
            _ => all.push(map),
        }
    }
    let mut all = all.into_iter();
    let first = all.next().unwrap_or_else(|| Value::from_pairs(Vec::<(Value, Value)>::new()));
    pairs(&first)?;
    all.try_fold(first, |left, right| merge(&left, &right, recursive, lists))
}

fn merge(left: &Value, right: &Value, recursive: bool, lists: Lists) -> Result<Value, Error> {
    let mut merged: indexmap::IndexMap<String, (Value, Value)> =
        pairs(left)?.into_iter().map(|(key, value)| (key.to_string(), (key, value))).collect();
    for (key, new) in pairs(right)? {
        let name = key.to_string();
        let value = match merged.get(&name) {
            Some((_, old)) if recursive && old.kind() == ValueKind::Map && new.kind() == ValueKind::Map => {
                merge(old, &new, recursive, lists)?
            }
            Some((_, old)) if old.kind() == ValueKind::Seq && new.kind() == ValueKind::Seq => {
                merge_lists(items(old)?, items(&new)?, lists)
            }
            _ => new,
        };
        merged.insert(name, (key, value));
    }
    Ok(Value::from_pairs(merged.into_values()))
}

fn merge_lists(old: Vec<Value>, new: Vec<Value>, lists: Lists) -> Value {
    let without = |list: &[Value], other: &[Value]| -> Vec<Value> {
        list.iter().filter(|item| !other.contains(item)).cloned().collect()
    };
    match lists {
        Lists::Replace => new,
        Lists::Keep => old,
        Lists::Append => [old, new].concat(),
        Lists::Prepend => [new, old].concat(),
        Lists::AppendNew => [without(&old, &new), new].concat(),
        Lists::PrependNew => {
            let kept = without(&old, &new);
            [new, kept].concat()
        }
    }
    .into()
}

fn dict_to_items(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let key_name = call.next_text("key_name")?.unwrap_or_else(|| "key".into());
    let value_name = call.next_text("value_name")?.unwrap_or_else(|| "value".into());
    let entry = |(key, value)| Value::from_pairs([(key_name.clone(), key), (value_name.clone(), value)]);
    Ok(pairs(&value)?.into_iter().map(entry).collect())
}

fn items_to_dict(call: &mut Call) -> Result<Value, Error> {
    let list = call.list()?;
    let key_name = call.next_text("key_name")?.unwrap_or_else(|| "key".into());
    let value_name = call.next_text("value_name")?.unwrap_or_else(|| "value".into());
    let mut entries = Vec::new();
    for item in list {
        let (key, value) = (item.get_attr(&key_name)?, item.get_attr(&value_name)?);
        if key.is_undefined() || value.is_undefined() {
            return Err(wrong(format!("`items2dict` needs `{key_name}` and `{value_name}` in every item, not {item}")));
        }
        entries.push((key, value));
    }
    Ok(Value::from_pairs(entries))
}

fn extract(call: &mut Call) -> Result<Value, Error> {
    let key = call.value()?;
    let container = call.need("container")?;
    let more = match call.next("morekeys")? {
        Some(keys) if matches!(keys.kind(), ValueKind::Seq | ValueKind::Iterable) => items(&keys)?,
        Some(key) if !key.is_none() => vec![key],
        _ => Vec::new(),
    };
    more.iter().try_fold(
        container.get_item(&key)?,
        |found, key| {
            if found.is_undefined() { Ok(found) } else { found.get_item(key) }
        },
    )
}

fn flatten(call: &mut Call) -> Result<Value, Error> {
    let list = call.list()?;
    let levels = call.next_number("levels")?;
    let skip_nulls = call.next("skip_nulls")?.is_none_or(|value| value.is_true());
    let mut flat = Vec::new();
    flatten_into(&mut flat, list, levels, skip_nulls)?;
    Ok(flat.into())
}

fn flatten_into(flat: &mut Vec<Value>, list: Vec<Value>, levels: Option<i64>, skip_nulls: bool) -> Result<(), Error> {
    for item in list {
        if skip_nulls && (item.is_none() || matches!(item.as_str(), Some("None" | "null"))) {
            continue;
        }
        let nested = matches!(item.kind(), ValueKind::Seq | ValueKind::Iterable);
        if nested && levels.is_none_or(|levels| levels >= 1) {
            flatten_into(flat, items(&item)?, levels.map(|levels| levels - 1), skip_nulls)?;
        } else {
            flat.push(item);
        }
    }
    Ok(())
}

fn rekey(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let key = call.need_text("key")?;
    let overwrite = match call.next_text("duplicates")?.as_deref() {
        None | Some("error") => false,
        Some("overwrite") => true,
        Some(other) => return Err(wrong(format!("`rekey_on_member` has no duplicates `{other}`"))),
    };
    let members = match value.kind() {
        ValueKind::Map => pairs(&value)?.into_iter().map(|(_, member)| member).collect(),
        _ => list(&value)?,
    };
    let mut keyed: indexmap::IndexMap<String, Value> = indexmap::IndexMap::new();
    for member in members {
        let found = member.get_attr(&key)?;
        if found.is_undefined() {
            return Err(wrong(format!("the key `{key}` is missing in {member}")));
        }
        if keyed.insert(found.to_string(), member).is_some() && !overwrite {
            return Err(wrong(format!("the key `{key}` is not unique: `{found}` comes twice")));
        }
    }
    Ok(Value::from_pairs(keyed))
}

fn subelements(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let path = call.need("subelements")?;
    let skip_missing = call.next_flag("skip_missing")?;
    pairs_below(&value, &path, skip_missing).map(Value::from)
}

/// Returns each element with each item of the list that `path` names in it.
pub(in super::super) fn pairs_below(value: &Value, path: &Value, skip_missing: bool) -> Result<Vec<Value>, Error> {
    let elements = match value.kind() {
        ValueKind::Map => pairs(value)?.into_iter().map(|(_, element)| element).collect(),
        _ => list(value)?,
    };
    let keys: Vec<String> = match path.as_str() {
        Some(path) => path.split('.').map(Into::into).collect(),
        None => list(path)?.iter().map(text).collect(),
    };
    let mut found = Vec::new();
    'elements: for element in elements {
        let mut inner = element.clone();
        for key in &keys {
            if inner.kind() != ValueKind::Map && skip_missing {
                continue 'elements;
            }
            if inner.kind() != ValueKind::Map {
                return Err(wrong(format!("the key {key} should point to a dictionary, got '{inner}'")));
            }
            inner = inner.get_attr(key)?;
            if inner.is_undefined() && skip_missing {
                continue 'elements;
            }
            if inner.is_undefined() {
                return Err(wrong(format!("could not find '{key}' key in iterated item '{element}'")));
            }
        }
        if !matches!(inner.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(wrong(format!("the key {} should point to a list, got '{inner}'", keys.join("."))));
        }
        found.extend(items(&inner)?.into_iter().map(|item| Value::from(vec![element.clone(), item])));
    }
    Ok(found)
}
