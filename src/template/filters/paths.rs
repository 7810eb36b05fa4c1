//! Filters on paths. Those that look at files look at the controller's.

use std::path::{Component, Path, PathBuf};

use minijinja::{Error, Value};

use super::super::call::{Call, Row, list, text, wrong};

pub(super) const FILTERS: &[Row] = &[
    ("win_basename", |call| Ok(windows(&call.text()?).2.into())),
    ("win_dirname", |call| {
        let path = call.text()?;
        let (drive, directory, _) = windows(&path);
        let bare = directory.trim_end_matches(['\\', '/']);
        Ok(format!("{drive}{}", if bare.is_empty() { directory } else { bare }).into())
    }),
    ("win_splitdrive", |call| {
        let path = call.text()?;
        let (drive, ..) = windows(&path);
        Ok(Value::from(vec![Value::from(drive), Value::from(&path[drive.len()..])]))
    }),
    ("basename", |call| Ok(split_path(&call.text()?).1.into())),
    ("commonpath", common),
    ("dirname", |call| Ok(split_path(&call.text()?).0.into())),
    ("expanduser", |call| Ok(expand_user(&call.text()?).into())),
    ("expandvars", |call| Ok(expand_variables(&call.text()?).into())),
    ("fileglob", |call| Ok(glob(Path::new(&call.text()?))?.into_iter().collect())),
    ("normpath", |call| Ok(normal(&call.text()?).into())),
    ("path_join", join),
    ("realpath", real),
    ("relpath", relative),
    ("splitext", split_extension),
];

/// Returns the head and the tail, as `os.path.split` does.
fn split_path(path: &str) -> (String, String) {
    let cut = path.rfind('/').map_or(0, |at| at + 1);
    let (head, tail) = path.split_at(cut);
    let trimmed = head.trim_end_matches('/');
    (if trimmed.is_empty() { head } else { trimmed }.into(), tail.into())
}

fn expand_user(path: &str) -> String {
    let home = std::env::var("HOME").ok();
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => path.into(),
    }
}

fn expand_variables(path: &str) -> String {
    let mut new = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('$') {
        new.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, remainder) = braced.unwrap_or((&after[..length], &after[length..]));
        match std::env::var(name) {
            Ok(value) => new.push_str(&value),
            Err(_) => new.push_str(&rest[at..rest.len() - remainder.len()]),
        }
        rest = remainder;
    }
    new + rest
}

/// Returns the files that match a glob in the last part of `pattern`, sorted.
pub(in super::super) fn glob(pattern: &Path) -> Result<Vec<String>, Error> {
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Ok(Vec::new()) };
    let name = name.to_string_lossy();
    let matcher = globset::Glob::new(&name).map_err(|error| wrong(format!("the glob `{name}` is wrong: {error}")))?;
    let matcher = matcher.compile_matcher();
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
    let files = entries.flatten().filter(|entry| {
        let entry_name = entry.file_name();
        let hidden = entry_name.to_string_lossy().starts_with('.') && !name.starts_with('.');
        !hidden && matcher.is_match(entry_name) && entry.path().is_file()
    });
    let mut found: Vec<String> = files.map(|entry| entry.path().to_string_lossy().into_owned()).collect();
    found.sort();
    Ok(found)
}

/// Returns the path without `.`, `..` and double slashes, as `os.path.normpath` does.
fn normal(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            _ => parts.push(part),
        }
    }
    match (absolute, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".into(),
        (false, joined) => joined,
    }
}

fn join(call: &mut Call) -> Result<Value, Error> {
    let value = call.value()?;
    let mut parts = match value.as_str() {
        Some(text) => vec![text.to_string()],
        None => list(&value)?.iter().map(text).collect(),
    };
    parts.extend(call.rest().iter().map(text));
    let joined = parts.iter().fold(String::new(), |path, part| match part {
        part if part.starts_with('/') || path.is_empty() => part.clone(),
        part if path.ends_with('/') => format!("{path}{part}"),
        part => format!("{path}/{part}"),
    });
    Ok(joined.into())
}

fn absolute(path: &str) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    PathBuf::from(normal(&here.join(path).to_string_lossy()))
}

fn real(call: &mut Call) -> Result<Value, Error> {
    let path = absolute(&call.text()?);
    // The part that exists is resolved, the rest is taken as it is.
    let existing = path.ancestors().find_map(|parent| Some((parent, parent.canonicalize().ok()?)));
    let resolved = existing.map(|(parent, found)| found.join(path.strip_prefix(parent).unwrap_or(Path::new(""))));
    let resolved = resolved.unwrap_or(path);
    Ok(resolved.to_string_lossy().trim_end_matches('/').to_string().into())
}

fn relative(call: &mut Call) -> Result<Value, Error> {
    let path = absolute(&call.text()?);
    let start = absolute(&call.next_text("start")?.unwrap_or_else(|| ".".into()));
    let (path, start): (Vec<Component>, Vec<Component>) = (path.components().collect(), start.components().collect());
    let shared = path.iter().zip(&start).take_while(|(left, right)| left == right).count();
    let mut relative: PathBuf = start[shared..].iter().map(|_| "..").collect();
    relative.extend(&path[shared..]);
    let shown = relative.to_string_lossy();
    Ok(if shown.is_empty() { ".".into() } else { shown.into_owned().into() })
}

fn common(call: &mut Call) -> Result<Value, Error> {
    let paths: Vec<String> = call.list()?.iter().map(|path| normal(&text(path))).collect();
    let Some(first) = paths.first() else { return Ok("".into()) };
    let mut shared: Vec<&str> = first.split('/').collect();
    for path in &paths {
        let same = shared.iter().zip(path.split('/')).take_while(|(left, right)| *left == right).count();
        shared.truncate(same);
    }
    let joined = shared.join("/");
    Ok(if joined.is_empty() && first.starts_with('/') { "/".into() } else { joined.into() })
}

fn split_extension(call: &mut Call) -> Result<Value, Error> {
    let path = call.text()?;
    let start = path.rfind('/').map_or(0, |at| at + 1);
    let name = &path[start..];
    let visible = name.len() - name.trim_start_matches('.').len();
    let dot = name[visible..].rfind('.').map_or(path.len(), |at| start + visible + at);
    Ok(vec![Value::from(&path[..dot]), Value::from(&path[dot..])].into())
}

/// Takes a Windows path apart: drive, directory, name.
fn windows(path: &str) -> (&str, &str, &str) {
    let separator = |c: char| matches!(c, '\\' | '/');
    let drive = match path.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => 2,
        [b'\\' | b'/', b'\\' | b'/', third, ..] if !separator(char::from(*third)) => {
            let host = path[2..].find(separator).map(|at| at + 2);
            host.and_then(|host| path[host + 1..].find(separator).map(|at| host + 1 + at)).unwrap_or(path.len())
        }
        _ => 0,
    };
    let (drive, rest) = path.split_at(drive);
    let name = rest.rfind(separator).map_or(0, |at| at + 1);
    (drive, &rest[..name], &rest[name..])
}
