//! Ansible's tests, as rows of a table. Those that look at files look at the controller's.

use std::cmp::Ordering;
use std::path::Path;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::call::{Call, Role, Row, list, register as register_row, text, wrong};
use super::filters::pattern;
use super::values::{as_bool, items};
use crate::pep440::Version;
use crate::regex;
use crate::vault;

const TESTS: &[Row] = &[
    ("abs", |call| path(call, Path::is_absolute)),
    ("all", |call| Ok(call.list()?.iter().all(Value::is_true).into())),
    ("any", |call| Ok(call.list()?.iter().any(Value::is_true).into())),
    ("callable", |call| Ok((call.value()?.kind() == ValueKind::Plain).into())),
    ("change", |call| flag(call, "changed")),
    ("changed", |call| flag(call, "changed")),
    ("contains", contains),
    ("directory", |call| path(call, Path::is_dir)),
    ("exists", |call| path(call, Path::exists)),
    ("failed", |call| flag(call, "failed")),
    ("failure", |call| flag(call, "failed")),
    ("falsy", |call| truth(call).map(|truth| (!truth).into())),
    ("file", |call| path(call, Path::is_file)),
    ("finished", |call| flag(call, "finished")),
    ("is_abs", |call| path(call, Path::is_absolute)),
    ("is_dir", |call| path(call, Path::is_dir)),
    ("is_file", |call| path(call, Path::is_file)),
    ("is_link", |call| path(call, Path::is_symlink)),
    ("is_mount", |call| path(call, is_mount)),
    ("is_same_file", same_file),
    ("issubset", |call| subset(call, Order::ValueFirst)),
    ("issuperset", |call| subset(call, Order::OtherFirst)),
    ("link", |call| path(call, Path::is_symlink)),
    ("link_exists", |call| path(call, |path| path.symlink_metadata().is_ok())),
    ("match", |call| matches(call, Some(Anchor::Start))),
    ("mount", |call| path(call, is_mount)),
    ("nan", is_nan),
    ("isnan", is_nan),
    ("reachable", |call| not(flag(call, "unreachable"))),
    ("regex", |call| matches(call, None)),
    ("same_file", same_file),
    ("sequence", sequence),
    ("search", |call| matches(call, Some(Anchor::Anywhere))),
    ("skip", |call| flag(call, "skipped")),
    ("skipped", |call| flag(call, "skipped")),
    ("started", |call| flag(call, "started")),
    ("subset", |call| subset(call, Order::ValueFirst)),
    ("succeeded", |call| not(flag(call, "failed"))),
    ("success", |call| not(flag(call, "failed"))),
    ("successful", |call| not(flag(call, "failed"))),
    ("superset", |call| subset(call, Order::OtherFirst)),
    ("timedout", |call| flag(call, "timedout")),
    ("truthy", |call| truth(call).map(Value::from)),
    ("unreachable", |call| flag(call, "unreachable")),
    ("uri", |call| scheme(call, |_, _| true)),
    ("url", |call| scheme(call, |scheme, rest| scheme == "file" || (rest.starts_with("//") && rest.len() > 2))),
    ("urn", |call| scheme(call, |scheme, _| scheme == "urn")),
    ("vault_encrypted", |call| {
        let value = call.value()?;
        Ok((value.is_safe() || vault::is_sealed(text(&value).as_bytes())).into())
    }),
    ("vaulted_file", |call| {
        let text = std::fs::read(call.text()?).unwrap_or_default();
        Ok(vault::is_sealed(&text).into())
    }),
    ("version", version),
    ("version_compare", version),
];

/// Jinja2's own, which the engine brings.
const JINJA: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|(name, _)| *name).chain(JINJA.iter().copied())
}

pub(super) fn register(environment: &mut Environment<'static>) {
    for row in TESTS {
        register_row(environment, Role::Test, *row);
    }
    for name in JINJA.iter().filter(|name| name.starts_with(char::is_alphabetic)) {
        let called = |state: &mut minijinja::State, arguments: minijinja::value::Rest<Value>| {
            state.perform_test(name, &arguments)
        };
        environment.add_test(format!("ansible.builtin.{name}"), called);
    }
}

fn not(answer: Result<Value, Error>) -> Result<Value, Error> {
    answer.map(|answer| (!answer.is_true()).into())
}

/// Looks at a flag of a registered result.
fn flag(call: &mut Call, name: &str) -> Result<Value, Error> {
    let result = call.value()?;
    if result.kind() != ValueKind::Map {
        return Err(wrong(format!(
            "this test needs a task's registered result\nhint: register the task, then test `result is {name}`"
        )));
    }
    let found = result.get_attr(name)?;
    if name == "changed" && found.is_undefined() {
        let results = result.get_attr("results")?;
        let changed = |item: &Value| item.get_attr("changed").is_ok_and(|changed| changed.is_true());
        return Ok((!results.is_undefined() && items(&results)?.iter().any(changed)).into());
    }
    if found.kind() == ValueKind::Number {
        return Ok((found != Value::from(0)).into());
    }
    Ok(found.is_true().into())
}

fn path(call: &mut Call, holds: fn(&Path) -> bool) -> Result<Value, Error> {
    Ok(holds(Path::new(&call.text()?)).into())
}

fn is_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(own), Ok(parent)) = (path.symlink_metadata(), path.join("..").metadata()) else { return false };
    own.is_dir() && (own.dev() != parent.dev() || own.ino() == parent.ino())
}

fn same_file(call: &mut Call) -> Result<Value, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let (left, right) = (std::fs::metadata(call.text()?), std::fs::metadata(call.need_text("path")?));
    Ok(matches!((left, right), (Ok(left), Ok(right)) if left.dev() == right.dev() && left.ino() == right.ino()).into())
}

fn contains(call: &mut Call) -> Result<Value, Error> {
    let (container, item) = (call.value()?, call.need("value")?);
    call.state.perform_test("in", &[item, container]).map(Value::from)
}

/// Which side is asked to be within the other.
#[derive(Clone, Copy)]
enum Order {
    ValueFirst,
    OtherFirst,
}

fn subset(call: &mut Call, order: Order) -> Result<Value, Error> {
    let (value, other) = (call.list()?, list(&call.need("b")?)?);
    let (small, large) = match order {
        Order::ValueFirst => (value, other),
        Order::OtherFirst => (other, value),
    };
    Ok(small.iter().all(|item| large.contains(item)).into())
}

/// Where a pattern must match.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Anywhere,
}

/// `match`, `search`, or, with no anchor of its own, `regex` and its `match_type`.
fn matches(call: &mut Call, anchor: Option<Anchor>) -> Result<Value, Error> {
    let value = call.text()?;
    let pattern = call.next_text("pattern")?.unwrap_or_default();
    let (ignore_case, multiline) = (call.next_flag("ignorecase")?, call.next_flag("multiline")?);
    let kind = if anchor.is_none() { call.next_text("match_type")? } else { None };
    let pattern = match (anchor, kind.as_deref()) {
        (Some(Anchor::Start), _) | (None, Some("match")) => regex::at_start(&pattern),
        (None, Some("fullmatch")) => regex::at_start(&pattern) + "\\Z",
        _ => pattern,
    };
    let regex = pattern::compile(&pattern, ignore_case, multiline)?;
    regex.is_match(value.as_str()).map(Value::from).map_err(|error| wrong(format!("the pattern gives up: {error}")))
}

fn is_nan(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    Ok(f64::try_from(value).is_ok_and(f64::is_nan).into())
}

fn truth(call: &mut Call) -> Result<bool, Error> {
    let value = call.value()?;
    let convert = call.next_flag("convert_bool")?;
    Ok(if convert { as_bool(&value).unwrap_or_else(|| value.is_true()) } else { value.is_true() })
}

fn scheme(call: &mut Call, holds: fn(&str, &str) -> bool) -> Result<Value, Error> {
    let text = call.text()?;
    let schemes = call.next("schemes")?.filter(|schemes| !schemes.is_none());
    let valid = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    // What has no scheme is a path, which is a reference to something, too.
    let (scheme, rest) = text.split_once(':').filter(|(scheme, _)| valid(scheme)).unwrap_or(("", &text));
    let scheme = &scheme.to_ascii_lowercase();
    let allowed = match schemes {
        Some(schemes) => list(&schemes)?.iter().any(|allowed| allowed.as_str() == Some(scheme.as_str())),
        None => true,
    };
    Ok((allowed && holds(scheme, rest)).into())
}

/// Whatever has a length and items by place or name, as in Python: text and mappings, too.
fn sequence(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let is_one = matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Bytes);
    Ok((is_one || value.kind() == ValueKind::Iterable && value.len().is_some()).into())
}

fn version(call: &mut Call) -> Result<Value, Error> {
    let value = call.text()?;
    let other = call.need_text("version")?;
    let operator = call.next_text("operator")?.unwrap_or_else(|| "eq".into());
    let strict = call.next("strict")?;
    let kind = call.next_text("version_type")?;
    if strict.is_some() && kind.is_some() {
        return Err(wrong("`version` takes `strict` or `version_type`, not both"));
    }
    if other.is_empty() {
        return Err(wrong("the version to compare with is empty"));
    }
    if strict.is_some_and(|strict| strict.is_true())
        && let Some(odd) = [&value, &other].into_iter().find(|version| !is_strict(version))
    {
        return Err(wrong(format!("Version comparison failed: invalid version number '{odd}'")));
    }
    let order = match kind.as_deref() {
        Some("semver" | "semantic") => semantic(&value).cmp(&semantic(&other)),
        Some("pep440") => match (Version::read(&value), Version::read(&other)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => return Err(wrong(format!("Version comparison failed: Invalid version: '{value}' or '{other}'"))),
        },
        _ => compare_loosely(&value, &other),
    };
    Ok(match operator.as_str() {
        "==" | "=" | "eq" => order == Ordering::Equal,
        "!=" | "<>" | "ne" => order != Ordering::Equal,
        "<" | "lt" => order == Ordering::Less,
        "<=" | "le" => order != Ordering::Greater,
        ">" | "gt" => order == Ordering::Greater,
        ">=" | "ge" => order != Ordering::Less,
        _ => return Err(wrong(format!("`version` has no operator `{operator}`\nhint: one of ==, !=, <, <=, >, >="))),
    }
    .into())
}

/// `1.2`, `1.2.3` or `1.2b1` (`distutils`' StrictVersion).
fn is_strict(version: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (release, pre) = version.split_once(['a', 'b']).map_or((version, None), |(release, pre)| (release, Some(pre)));
    (2..=3).contains(&release.split('.').count()) && release.split('.').all(number) && pre.is_none_or(number)
}

/// Compares runs of digits as numbers and runs of letters as text, dots apart (`distutils`' LooseVersion).
fn compare_loosely(left: &str, right: &str) -> Ordering {
    let (left, right) = (parts(left), parts(right));
    for pair in left.iter().zip(&right) {
        let order = match (pair.0.parse::<u128>(), pair.1.parse::<u128>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            (Ok(_), Err(_)) => Ordering::Greater,
            (Err(_), Ok(_)) => Ordering::Less,
            (Err(_), Err(_)) => pair.0.cmp(pair.1),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

fn parts(version: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut last = None;
    for c in version.chars() {
        let kind = if c.is_ascii_digit() {
            1
        } else if c.is_ascii_lowercase() {
            2
        } else {
            3
        };
        match parts.last_mut() {
            _ if c == '.' => {}
            Some(part) if last == Some(kind) => part.push(c),
            _ => parts.push(c.into()),
        }
        last = (c != '.').then_some(kind);
    }
    parts
}

/// A release's numbers, then whether it is no pre-release, then the pre-release's parts (semver.org, 11).
fn semantic(version: &str) -> (Vec<u64>, bool, Vec<(bool, u64, String)>) {
    let version = version.split('+').next().unwrap_or_default();
    let (release, pre) = version.split_once('-').unwrap_or((version, ""));
    let numbers = release.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    let identifiers = pre.split('.').filter(|part| !part.is_empty()).map(|part| match part.parse::<u64>() {
        Ok(number) => (false, number, String::new()),
        Err(_) => (true, 0, part.to_string()),
    });
    (numbers, pre.is_empty(), identifiers.collect())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_listed_test_exists() {
        let templates = super::super::Templates::new();
        for name in names() {
            let known = templates.environment.empty_state().perform_test("test", &[Value::from(name)]);
            assert!(known.unwrap_or(false), "{name}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(compare_loosely("1.10", "1.9"), Ordering::Greater);
        assert_eq!(compare_loosely("1.03", "1.3"), Ordering::Equal);
        assert_eq!(compare_loosely("18.0.52", "18.0"), Ordering::Greater);
        assert!(semantic("1.0.0-rc.1") < semantic("1.0.0"));
        let rising = "1.0.dev1 1.0a1.dev1 1.0a1 1.0alpha2 1.0b1 1.0c1 1.0rc2 v1.0 1.0+abc 1.0+5 1.0.post1.dev1 1.0-1 1.0.post2 1.0.1 \
            1.10 1!0.1";
        let rising: Vec<_> = rising.split_whitespace().map(|version| Version::read(version).unwrap()).collect();
        let disorder = rising.windows(2).position(|pair| pair[0] > pair[1]);
        assert_eq!(disorder, None, "{rising:?}");
        let read = Version::read;
        assert_eq!(read("1.0").unwrap().cmp(&read("1.0.0").unwrap()), Ordering::Equal);
        assert_eq!((read("1.0-x"), read("")), (None, None));
    }
}
