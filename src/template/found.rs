//! `first_found`: the first of some files that is there.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::call::{list, text, wrong};
use super::lookups::Terms;
use super::values::{items, pairs, python_type};

/// Where names are looked for below a directory of the search.
const KINDS: [&str; 4] = ["files", "templates", "vars", "tasks"];

/// Files, and the directories they may be in; both may be text with commas.
#[derive(Default)]
struct Search {
    names: Vec<String>,
    skip: bool,
}

/// `lookup('first_found', NAMES, files=..., paths=..., skip=...)`, where a term may be a mapping of the same.
pub(super) fn first_found(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let (files, paths) = (terms.option("files"), terms.option("paths"));
    let mut search =
        Search { skip: terms.flag("skip", false) || terms.option("errors").is_some(), ..Search::default() };
    let given = terms.take();
    if given.is_empty() {
        search.add(split(files.as_ref(), &[',', ';'])?, &split(paths.as_ref(), &[',', ';', ':'])?);
    } else {
        search.terms(&given, paths.as_ref())?;
    }
    // What is included as tasks is not looked for among variables.
    let tasks = terms.for_tasks();
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| !(tasks && *kind == "vars")).collect();
    let found = search.names.iter().find_map(|name| kinds.iter().find_map(|kind| terms.find(kind, name)));
    match found {
        Some(path) => Ok(vec![path.to_string_lossy().into_owned().into()]),
        None if search.skip => Ok(Vec::new()),
        None => {
            let hint = format!("none of these is there: {}", search.names.join(", "));
            Err(wrong(format!("No file was found when using first_found.\nhint: {hint}")))
        }
    }
}

/// Leaves out what is undefined, at any depth: `with_first_found` tries names that cannot be put together last of all,
/// which is never.
pub(super) fn defined(value: &Value) -> Result<Value, Error> {
    Ok(match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let kept = items(value)?.into_iter().filter(|item| !item.is_undefined());
            Value::from(kept.map(|item| defined(&item)).collect::<Result<Vec<_>, _>>()?)
        }
        ValueKind::Map => {
            let kept = pairs(value)?.into_iter().filter(|(_, item)| !item.is_undefined());
            Value::from_pairs(kept.map(|(key, item)| Ok((key, defined(&item)?))).collect::<Result<Vec<_>, Error>>()?)
        }
        _ => value.clone(),
    })
}

impl Search {
    fn terms(&mut self, terms: &[Value], paths: Option<&Value>) -> Result<(), Error> {
        for term in terms {
            match term.kind() {
                ValueKind::Map => {
                    self.skip |= term.get_attr("skip")?.is_true();
                    let (files, own) = (term.get_attr("files")?, term.get_attr("paths")?);
                    let own = if own.is_undefined() { paths } else { Some(&own) };
                    self.add(split(Some(&files), &[',', ';'])?, &split(own, &[',', ';', ':'])?);
                }
                ValueKind::String => self.add(split(Some(term), &[',', ';'])?, &split(paths, &[',', ';', ':'])?),
                ValueKind::Seq | ValueKind::Iterable => self.terms(&items(term)?, paths)?,
                ValueKind::Undefined => return Err(wrong("a name of `first_found` is undefined")),
                _ => {
                    let kind = python_type(term);
                    let message = "Invalid term supplied. A string, dict or list is required";
                    return Err(wrong(format!("{message}, not '{kind}'.")));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, files: Vec<String>, paths: &[String]) {
        if paths.is_empty() {
            self.names.extend(files);
        } else {
            self.names.extend(paths.iter().flat_map(|path| files.iter().map(move |file| format!("{path}/{file}"))));
        }
    }
}

/// Returns names, given as a list or as text with separators.
fn split(given: Option<&Value>, separators: &[char]) -> Result<Vec<String>, Error> {
    let Some(value) = given.filter(|value| !value.is_none() && !value.is_undefined()) else { return Ok(Vec::new()) };
    let parts = |text: &str| -> Vec<String> {
        text.split(separators).map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect()
    };
    match value.as_str() {
        Some(text) => Ok(parts(text)),
        None => Ok(list(value)?.iter().flat_map(|item| parts(&text(item))).collect()),
    }
}
