//! Filters that treat lists as sets or sequences of choices, and chance.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::call::{Call, Row, elements, list, whole, wrong};
use super::super::chance::Chance;

pub(super) const FILTERS: &[Row] = &[
    ("combinations", combinations),
    ("difference", |call| two(call, |left, right| left.into_iter().filter(|item| !right.contains(item)).collect())),
    ("intersect", |call| two(call, |left, right| left.into_iter().filter(|item| right.contains(item)).collect())),
    ("permutations", permutations),
    ("product", product),
    ("random", random),
    ("shuffle", shuffle),
    ("symmetric_difference", |call| two(call, symmetric)),
    ("union", |call| two(call, |left, right| [left, right].concat())),
    ("zip", |call| zip(call, None)),
    ("zip_longest", |call| {
        let fill = call.keyword("fillvalue").unwrap_or(Value::from(()));
        zip(call, Some(fill))
    }),
];

/// Applies a set operation; each item of the result stands once, where it first stood.
fn two(call: &mut Call, operation: fn(Vec<Value>, Vec<Value>) -> Vec<Value>) -> Result<Value, Error> {
    let (left, right) = (elements(&call.value()?)?, elements(&call.need("b")?)?);
    let mut unique: Vec<Value> = Vec::new();
    for item in operation(left, right) {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    Ok(unique.into())
}

fn symmetric(left: Vec<Value>, right: Vec<Value>) -> Vec<Value> {
    let only = |list: &[Value], other: &[Value]| -> Vec<Value> {
        list.iter().filter(|item| !other.contains(item)).cloned().collect()
    };
    [only(&left, &right), only(&right, &left)].concat()
}

fn zip(call: &mut Call, fill: Option<Value>) -> Result<Value, Error> {
    let mut lists = vec![call.list()?];
    for other in call.rest() {
        lists.push(list(&other)?);
    }
    let lengths = lists.iter().map(Vec::len);
    let length = if fill.is_some() { lengths.max() } else { lengths.min() }.unwrap_or(0);
    let fill = fill.unwrap_or_default();
    let row = |index| -> Value { lists.iter().map(|list| list.get(index).unwrap_or(&fill).clone()).collect() };
    Ok((0..length).map(row).collect())
}

/// Returns the indexes of each way to choose `size` of `length`, in lexical order.
fn choices(length: usize, size: usize, ordered: bool) -> Result<Vec<Vec<usize>>, Error> {
    let mut found: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..size {
        let mut longer = Vec::new();
        for choice in &found {
            let start = if ordered { 0 } else { choice.last().map_or(0, |last| last + 1) };
            for index in (start..length).filter(|index| !choice.contains(index)) {
                longer.push([choice.as_slice(), &[index]].concat());
            }
        }
        if longer.len() > 1_000_000 {
            return Err(wrong("more than a million combinations"));
        }
        found = longer;
    }
    Ok(found)
}

fn chosen(list: &[Value], choices: Vec<Vec<usize>>) -> Value {
    let row = |choice: Vec<usize>| -> Value { choice.into_iter().map(|index| list[index].clone()).collect() };
    choices.into_iter().map(row).collect()
}

fn permutations(call: &mut Call) -> Result<Value, Error> {
    let list = call.list()?;
    let size = call.next_number("r")?.map_or(list.len(), |size| size.max(0) as usize);
    Ok(chosen(&list, choices(list.len(), size, true)?))
}

fn combinations(call: &mut Call) -> Result<Value, Error> {
    let list = call.list()?;
    let size = whole(&call.need("r")?)?.max(0) as usize;
    Ok(chosen(&list, choices(list.len(), size, false)?))
}

fn product(call: &mut Call) -> Result<Value, Error> {
    let mut lists = vec![call.list()?];
    for other in call.rest() {
        lists.push(list(&other)?);
    }
    Ok(rows(&lists)?.into_iter().map(Value::from).collect())
}

/// Returns every row that takes one item of each list, the last list turning fastest.
pub(in super::super) fn rows(lists: &[Vec<Value>]) -> Result<Vec<Vec<Value>>, Error> {
    let total = lists.iter().try_fold(1_usize, |total, list| total.checked_mul(list.len()));
    if total.is_none_or(|total| total > 1_000_000) {
        return Err(wrong("more than a million combinations"));
    }
    let start = vec![Vec::new()];
    Ok(lists.iter().fold(start, |rows: Vec<Vec<Value>>, list| {
        let longer = |row: &Vec<Value>| -> Vec<Vec<Value>> {
            list.iter().map(|item| [row.as_slice(), std::slice::from_ref(item)].concat()).collect()
        };
        rows.iter().flat_map(longer).collect()
    }))
}

fn random(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let (start, step) = (call.next_number("start")?, call.next_number("step")?.unwrap_or(1).max(1));
    let seed = call.next("seed")?;
    let mut chance = Chance::new(seed.as_ref());
    if value.kind() == ValueKind::Number {
        let start = start.unwrap_or(0);
        let count = (whole(&value)? - start + step - 1) / step;
        if count <= 0 {
            return Err(wrong("`random` has no number to choose from"));
        }
        return Ok((start + step * chance.below(count as u64) as i64).into());
    }
    let list = list(&value)?;
    let index = chance.below(list.len() as u64) as usize;
    list.get(index).cloned().ok_or_else(|| wrong("`random` has nothing to choose from"))
}

fn shuffle(call: &mut Call) -> Result<Value, Error> {
    let mut list = call.list()?;
    let mut chance = Chance::new(call.next("seed")?.as_ref());
    for last in (1..list.len()).rev() {
        list.swap(last, chance.below(last as u64 + 1) as usize);
    }
    Ok(list.into())
}
