//! Ansible's functions and lookups, as rows of a table. Lookups read the controller's files, never a host's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::error::{Diagnostic, Source};
use crate::host::TemplateOptions;
use crate::names::short_lookup;
use crate::secret;
use crate::settings::{self, Kind, SETTINGS, is_true};
use crate::vars::{Scope, Var, files};

use super::Failure;
use super::call::{Call, Role, Row, register as register_row, text, wrong};
use super::chance::Chance;
use super::context::Context;
use super::fault::raise;
use super::filters;
use super::prepared::Prepared;
use super::shown::Use;
use super::values::{Omit, items, pairs};
use super::{elements, found, functions, moments, passwords, tables, url};

/// The functions that call a lookup by its name.
pub(super) const CALLS: [&str; 3] = ["lookup", "query", "q"];

const FUNCTIONS: &[Row] = &[
    ("lookup", lookup),
    ("query", query),
    ("q", query),
    ("now", moments::now),
    ("undef", functions::undef),
    ("cycler", functions::cycler),
    ("dict", functions::dict),
];

/// The engine's functions, and `omit`, which is no function but stands among them.
const ENGINE: &[&str] = &["debug", "joiner", "lipsum", "namespace", "range"];

/// What a lookup is given.
pub(super) struct Terms<'a> {
    terms: Vec<Value>,
    pub options: IndexMap<String, Value>,
    context: &'a Arc<Context>,
}

type Lookup = fn(&mut Terms) -> Result<Vec<Value>, Error>;

const LOOKUPS: &[(&str, Lookup)] = &[
    ("cartesian", nested),
    ("config", config),
    ("csvfile", tables::csv_file),
    ("dict", dict),
    ("env", env),
    ("file", file),
    ("fileglob", file_glob),
    ("first_found", found::first_found),
    ("flattened", |terms| flat(std::mem::take(&mut terms.terms), usize::MAX)),
    ("indexed_items", indexed_items),
    ("ini", tables::ini),
    ("inventory_hostnames", inventory_hostnames),
    ("items", |terms| flat(std::mem::take(&mut terms.terms), 1)),
    ("lines", lines),
    ("list", |terms| Ok(std::mem::take(&mut terms.terms))),
    ("nested", nested),
    ("password", passwords::password),
    ("pipe", pipe),
    ("random_choice", random_choice),
    ("sequence", sequence),
    ("subelements", elements::subelements),
    ("template", template),
    ("together", together),
    ("unvault", unvault),
    ("url", url::url),
    ("varnames", varnames),
    ("vars", vars),
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LOOKUPS.iter().map(|(name, _)| *name)
}

pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name).chain(ENGINE.iter().copied())
}

pub(super) fn register(environment: &mut Environment<'static>) {
    for row in FUNCTIONS {
        register_row(environment, Role::Global, *row);
    }
    environment.add_global("omit", Value::from_object(Omit));
}

/// Lets a template file include and import others: beside itself, then from the search directories.
pub(super) fn load_includes(environment: &mut Environment, source: &Source, scope: &Scope) {
    let mut directories: Vec<PathBuf> = source.path.parent().map(Into::into).into_iter().collect();
    for directory in scope.search.iter() {
        directories.extend([directory.join("templates"), directory.clone()]);
    }
    let config = environment.syntax().clone();
    environment.set_loader(move |name| {
        let path = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
        let Some(path) = path else { return Ok(None) };
        let text = read(&path)?;
        // Jinja2 keeps the last newline of the outermost template only.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(Prepared::new(text, super::Syntax::File, &config).text.into_owned()))
    });
}

/// Runs lookup `name` for `with_NAME`.
pub(super) fn with(name: &str, terms: &Value, context: &Arc<Context>) -> Result<Value, Error> {
    let terms = if short_lookup(name) == "first_found" { found::defined(terms)? } else { terms.clone() };
    let terms = match terms.kind() {
        ValueKind::Seq | ValueKind::Iterable => items(&terms)?,
        _ => vec![terms],
    };
    run(name, Terms { terms, options: IndexMap::new(), context }).map(Value::from)
}

fn run(name: &str, mut terms: Terms) -> Result<Vec<Value>, Error> {
    let short = short_lookup(name);
    if let Some((_, function)) = LOOKUPS.iter().find(|(known, _)| *known == short) {
        return function(&mut terms);
    }
    let diagnostic = Diagnostic::new(format!("unknown lookup `{name}`")).suggest(short, names());
    Err(wrong(match diagnostic.hint {
        Some(hint) => format!("{}\nhint: {hint}", diagnostic.message),
        None => diagnostic.message,
    }))
}

fn called(call: &mut Call, wants_list: bool) -> Result<Value, Error> {
    let name = call.text()?;
    let terms = call.rest();
    let mut options = call.keywords();
    let errors = options.shift_remove("errors").map_or_else(|| "strict".into(), |errors| text(&errors));
    let wants_list = options.shift_remove("wantlist").map_or(wants_list, |flag| flag.is_true());
    let context = Context::of(call.state)?;
    // A default is only used where there is nothing.
    if options.iter().any(|(option, value)| option != "default" && value.is_undefined()) {
        return Err(Error::new(ErrorKind::UndefinedError, "an option of this lookup is undefined"));
    }
    let found = match run(&name, Terms { terms, options, context: &context }) {
        Err(_) if errors != "strict" && wants_list => return Ok(Vec::<Value>::new().into()),
        Err(_) if errors != "strict" => return Ok(Value::from(())),
        other => other?,
    };
    if wants_list {
        return Ok(found.into());
    }
    // One answer is itself, several texts are joined, anything else stays a list.
    match found.as_slice() {
        [] => Ok(found.into()),
        [only] => Ok(only.clone()),
        many if many.iter().all(|item| item.as_str().is_some()) => {
            Ok(many.iter().map(text).collect::<Vec<_>>().join(",").into())
        }
        _ => Ok(found.into()),
    }
}

fn lookup(call: &mut Call) -> Result<Value, Error> {
    called(call, false)
}

fn query(call: &mut Call) -> Result<Value, Error> {
    called(call, true)
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&bytes(path)?).into_owned())
}

/// Reads a file, decrypted where it was encrypted.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = crate::provenance::content(path)
        .map_err(|error| wrong(format!("cannot read `{}`: {error}", path.display())))?;
    files::unsealed(path, bytes).map_err(|error| raise(Failure::Wrong(error)))
}

impl Terms<'_> {
    pub fn texts(&self) -> Vec<String> {
        self.terms.iter().map(text).collect()
    }

    /// Takes the terms as they are.
    pub fn take(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.terms)
    }

    /// Returns a variable as it is stored.
    pub fn variable(&self, name: &str) -> Option<&Var> {
        self.context.scope.get(name)
    }

    /// Returns what a variable is in a template, if it is defined.
    pub fn found(&self, name: &str) -> Option<Value> {
        self.context.value().get_attr(name).ok().filter(|found| !found.is_undefined())
    }

    /// Says whether nothing may be done for what is rendered.
    pub fn only_asks(&self) -> bool {
        self.context.only_asks()
    }

    pub fn option(&mut self, name: &str) -> Option<Value> {
        self.options.shift_remove(name)
    }

    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        self.option(name).map_or(default, |flag| super::values::as_bool(&flag).unwrap_or(flag.is_true()))
    }

    /// Finds a file as a task of the role or play would: below `kind`, then beside.
    pub fn find(&self, kind: &str, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        if path.is_absolute() {
            return path.exists().then(|| path.into());
        }
        let search = self.context.scope.search.iter();
        let candidates = search.flat_map(|directory| [directory.join(kind).join(path), directory.join(path)]);
        candidates.chain([path.into()]).find(|candidate| candidate.exists())
    }

    /// Says whether what is looked up names a file of tasks.
    pub fn for_tasks(&self) -> bool {
        self.context.scope.for_tasks
    }

    pub fn need(&self, kind: &str, name: &str) -> Result<PathBuf, Error> {
        self.find(kind, name).ok_or_else(|| {
            wrong(format!(
                "the file `{name}` is not found\nhint: put it into `{kind}/` of the role or beside the playbook"
            ))
        })
    }
}

/// The environment of this process. A default that is undefined is only used where the variable is not set.
fn env(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let default = terms.option("default").unwrap_or_else(|| "".into());
    let found = |name: String| {
        let name = name.split_whitespace().next().unwrap_or_default();
        std::env::var(name).map_or_else(|_| default.clone(), Value::from)
    };
    Ok(terms.texts().into_iter().map(found).collect())
}

fn file(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let (left, right) = (terms.flag("lstrip", false), terms.flag("rstrip", true));
    let contents = terms.texts().into_iter().map(|name| {
        let content = secret_of(&terms.need("files", &name)?)?;
        let content = if left { content.trim_start() } else { &content };
        Ok(Value::from(if right { content.trim_end() } else { content }))
    });
    contents.collect()
}

/// The content of files, encrypted or not, as it is.
fn unvault(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    terms.texts().into_iter().map(|name| secret_of(&terms.need("files", &name)?).map(Value::from)).collect()
}

/// Reads a file, of which what was encrypted is a secret.
fn secret_of(path: &Path) -> Result<String, Error> {
    let content = read(path)?;
    if secret::is_noted_file(path) {
        secret::note(&content);
    }
    Ok(content)
}

fn file_glob(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for pattern in terms.texts() {
        let path = Path::new(&pattern);
        let directory = path.parent().unwrap_or(Path::new(""));
        let directories: Vec<PathBuf> = if path.is_absolute() {
            vec![directory.into()]
        } else {
            let search = terms.context.scope.search.iter();
            search.flat_map(|base| [base.join("files").join(directory), base.join(directory)]).collect()
        };
        let name = path.file_name().unwrap_or_default();
        let hits = directories.iter().map(|directory| filters::glob(&directory.join(name)));
        let first = hits.collect::<Result<Vec<_>, _>>()?.into_iter().find(|hits| !hits.is_empty());
        found.extend(first.unwrap_or_default().into_iter().map(Value::from));
    }
    Ok(found)
}

/// Takes lists apart, `levels` deep.
fn flat(list: Vec<Value>, levels: usize) -> Result<Vec<Value>, Error> {
    let mut flattened = Vec::new();
    for item in list {
        match item.kind() {
            ValueKind::Seq | ValueKind::Iterable if levels > 0 => flattened.extend(flat(items(&item)?, levels - 1)?),
            _ => flattened.push(item),
        }
    }
    Ok(flattened)
}

fn dict(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in flat(std::mem::take(&mut terms.terms), 1)? {
        found.extend(pairs(&term)?.into_iter().map(|(key, value)| Value::from_pairs([("key", key), ("value", value)])));
    }
    Ok(found)
}

fn indexed_items(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let flattened = flat(std::mem::take(&mut terms.terms), 1)?;
    Ok(flattened.into_iter().enumerate().map(|(index, item)| vec![Value::from(index), item].into()).collect())
}

fn lists_of(terms: &mut Terms) -> Result<Vec<Vec<Value>>, Error> {
    let as_list = |term: Value| match term.kind() {
        ValueKind::Seq | ValueKind::Iterable => items(&term),
        _ => Ok(vec![term]),
    };
    std::mem::take(&mut terms.terms).into_iter().map(as_list).collect()
}

fn nested(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let lists = lists_of(terms)?;
    Ok(filters::rows(&lists)?.into_iter().map(Value::from).collect())
}

fn together(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let lists = lists_of(terms)?;
    let length = lists.iter().map(Vec::len).max().unwrap_or(0);
    let item = |list: &Vec<Value>, index| list.get(index).cloned().unwrap_or(Value::from(()));
    Ok((0..length).map(|index| lists.iter().map(|list| item(list, index)).collect()).collect())
}

/// `start=1 end=5 stride=2 format=%02d`, `1-5/2`, or the same as keywords.
fn sequence(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    let texts = terms.texts();
    let texts = if texts.is_empty() { vec![String::new()] } else { texts };
    for term in texts {
        let mut settings: IndexMap<String, String> = IndexMap::new();
        for name in ["start", "end", "stride", "count", "format"] {
            settings.extend(terms.options.get(name).map(|value| (name.into(), text(value))));
        }
        for (index, part) in term.split_whitespace().enumerate() {
            match part.split_once('=') {
                Some((name, value)) => {
                    settings.insert(name.into(), value.into());
                }
                None if index == 0 => {
                    let (range, format) =
                        part.split_once(':').map_or((part, None), |(range, format)| (range, Some(format)));
                    let (range, stride) =
                        range.split_once('/').map_or((range, None), |(range, stride)| (range, Some(stride)));
                    let (start, end) = range.split_once('-').map_or((None, range), |(start, end)| (Some(start), end));
                    let parts = [("start", start), ("end", Some(end)), ("stride", stride), ("format", format)];
                    settings.extend(parts.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into()))));
                }
                None => return Err(wrong(format!("`sequence` does not know `{part}`"))),
            }
        }
        found.extend(counted(&settings)?);
    }
    Ok(found)
}

fn counted(settings: &IndexMap<String, String>) -> Result<Vec<Value>, Error> {
    let number = |name: &str| {
        settings.get(name).map(|text| {
            let radix = text.strip_prefix("0x").map(|hex| i64::from_str_radix(hex, 16));
            radix.unwrap_or_else(|| text.parse()).map_err(|_| wrong(format!("`{name}={text}` is not a whole number")))
        })
    };
    let start = number("start").transpose()?.unwrap_or(1);
    let stride = number("stride").transpose()?;
    let end = match (number("count").transpose()?, number("end").transpose()?) {
        (Some(0), _) => return Ok(Vec::new()),
        (Some(count), _) => start + (count - 1) * stride.unwrap_or(1),
        (None, Some(end)) => end,
        (None, None) => return Err(wrong("`sequence` needs `end` or `count`")),
    };
    let stride = stride.unwrap_or(if end < start { -1 } else { 1 });
    if stride == 0 {
        return Ok(Vec::new());
    }
    let count = (end - start) / stride + 1;
    if count > 1_000_000 {
        return Err(wrong("`sequence` of more than a million numbers"));
    }
    let format = settings.get("format").map_or("%d", String::as_str);
    let formatted = |index: i64| printf(format, start + index * stride).map(Value::from);
    (0..count.max(0)).map(formatted).collect()
}

/// Writes a number by the one `%` directive of `format`: `%d`, `%x`, `%o`, with `0` and a width.
fn printf(format: &str, number: i64) -> Result<String, Error> {
    let unfit = || wrong(format!("the format `{format}` needs one of `%d`, `%x`, `%o`"));
    let (before, rest) = format.split_once('%').ok_or_else(unfit)?;
    let kind = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(unfit)?;
    let (width, after) = (&rest[..kind], &rest[kind + 1..]);
    let digits = match rest.as_bytes()[kind] {
        b'd' | b'i' | b'u' => number.to_string(),
        b'x' => format!("{number:x}"),
        b'X' => format!("{number:X}"),
        b'o' => format!("{number:o}"),
        _ => return Err(unfit()),
    };
    let columns: usize = width.trim_start_matches('0').parse().unwrap_or(0);
    let fill = if width.starts_with('0') { "0" } else { " " };
    Ok(format!("{before}{}{digits}{after}", fill.repeat(columns.saturating_sub(digits.len()))))
}

/// How many commands lookups have run.
static COMMANDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Notes that a lookup has changed something on this machine.
pub(super) fn note_effect() {
    COMMANDS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

/// Returns how many commands lookups have run on this machine so far: they may change it, and take time.
pub fn commands_run() -> u64 {
    COMMANDS.load(std::sync::atomic::Ordering::SeqCst)
}

fn shell(command: &str, context: &Context) -> Result<String, Error> {
    if context.only_asks() {
        return Err(wrong("a command of a lookup is run when its task is"));
    }
    note_effect();
    // The controller's own shell is what `pipe` and `lines` are for.
    #[allow(clippy::disallowed_methods)]
    let output = std::process::Command::new("sh").args(["-c", command]).output();
    let output = output.map_err(|error| wrong(format!("cannot run `sh`: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(format!("the command of a lookup failed ({}): {}", output.status, said.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn pipe(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    terms.texts().iter().map(|command| Ok(shell(command, terms.context)?.trim_end().into())).collect()
}

fn lines(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for command in terms.texts() {
        found.extend(shell(&command, terms.context)?.lines().map(Value::from));
    }
    Ok(found)
}

fn random_choice(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let count = terms.terms.len();
    let index = Chance::new(None).below(count as u64) as usize;
    Ok(terms.terms.get(index).cloned().into_iter().collect())
}

fn template(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    let mut options = TemplateOptions::default();
    for (name, setting) in [
        ("variable_start_string", &mut options.variable_start),
        ("variable_end_string", &mut options.variable_end),
        ("comment_start_string", &mut options.comment_start),
        ("comment_end_string", &mut options.comment_end),
    ] {
        *setting =
            terms.option(name).filter(|given| !given.is_none()).map_or(std::mem::take(setting), |given| text(&given));
    }
    options.trim_blocks = terms.flag("trim_blocks", true);
    for name in terms.texts() {
        let path = terms.need("templates", &name)?;
        let source = Arc::new(Source { text: read(&path)?, path });
        let templates = super::Templates { environment: terms.context.shared_environment() };
        let mut scope = match terms.options.get("template_vars") {
            Some(extra) => {
                let known = pairs(extra)?
                    .into_iter()
                    .map(|(name, value)| Ok((name.to_string(), Var::Known(super::values::json(&value)?))));
                terms.context.scope.with(known.collect::<Result<_, Error>>()?)
            }
            None => terms.context.scope.clone(),
        }
        .over(Arc::new([("ansible_managed".into(), Var::Known("Ansible managed".into()))].into()));
        scope.only_asks = terms.context.only_asks();
        let text = templates.text(Use::Host, (&source, &options), &scope).map_err(raise)?;
        // As a native template without content.
        found.push(if text.is_empty() { Value::from(()) } else { Value::from(text) });
    }
    Ok(found)
}

/// The hosts of the inventory that a pattern means; none where it means none.
fn inventory_hostnames(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let Some(fleet) = &terms.context.scope.fleet else { return Ok(Vec::new()) };
    let selected = fleet.select(&terms.texts().join(","));
    Ok(selected.map(|selected| selected.hosts.into_iter().map(Value::from).collect()).unwrap_or_default())
}

/// What settings are set to; lists as lists, numbers as numbers.
fn config(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let missing = terms.option("on_missing").map_or_else(|| "error".into(), |missing| text(&missing));
    let origin = terms.flag("show_origin", false);
    let mut found = Vec::new();
    for name in terms.take() {
        let Some(name) = name.as_str() else {
            let kind = super::values::python_type(&name);
            return Err(wrong(format!("Invalid setting identifier, {name} is not a string, its a {kind}")));
        };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            match missing.as_str() {
                "skip" | "warn" => continue,
                _ => {
                    return Err(wrong(format!(
                        "Setting {name} does not exist\nhint: `cutover config list` has them all"
                    )));
                }
            }
        };
        let (value, from) = setting.now();
        let parts = |separator: char| value.split(separator).map(str::trim).filter(|part| !part.is_empty());
        let value = match setting.kind {
            Kind::Switch => is_true(&value).into(),
            Kind::Number => value.trim().parse::<i64>().map_or(Value::from(()), Value::from),
            Kind::List | Kind::PathList => parts(',').map(Value::from).collect(),
            Kind::PathSpec => parts(':').map(Value::from).collect(),
            Kind::Text | Kind::Path if value.is_empty() => Value::from(()),
            Kind::Text | Kind::Path => value.clone().into(),
        };
        let from = match from {
            settings::Origin::Default => "default".to_string(),
            settings::Origin::Environment(variable) => format!("env: {variable}"),
            settings::Origin::File(path) => path.display().to_string(),
        };
        found.push(if origin { Value::from(vec![value, from.into()]) } else { value });
    }
    Ok(found)
}

fn varnames(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for pattern in terms.take() {
        let Some(pattern) = pattern.as_str() else {
            let kind = super::values::python_type(&pattern);
            return Err(wrong(format!("Invalid setting identifier, \"{pattern}\" is not a string, it is a {kind}")));
        };
        let regex = filters::pattern::compile(pattern, false, false).map_err(|error| {
            let why = error.detail().unwrap_or_default().to_string();
            wrong(format!("Unable to use \"{pattern}\" as a search parameter: {why}"))
        })?;
        let names = terms.context.scope.names();
        found.extend(names.into_iter().filter(|name| regex.is_match(*name).unwrap_or(false)).map(Value::from));
    }
    Ok(found)
}

fn vars(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let default = terms.option("default");
    let context = terms.context.value();
    let found = terms.texts().into_iter().map(|name| {
        let found = context.get_attr(&name)?;
        match (found.is_undefined(), &default) {
            (false, _) => Ok(found),
            (true, Some(default)) => Ok(default.clone()),
            (true, None) => Err(wrong(format!("`{name}` is undefined"))),
        }
    });
    found.collect()
}
