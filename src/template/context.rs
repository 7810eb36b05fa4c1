//! A scope as Jinja2 sees it: each variable is rendered when it is read, and not before.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};
use minijinja::{Environment, Error, ErrorKind};

use crate::error::{Diagnostic, Place, Source};
use crate::secret;
use crate::vars::{Fleet, Scope, Var, files};
use crate::vault;
use crate::yaml::{Data, Yaml};

use super::fault::{Fault, Origin, raise};
use super::{Failure, native};

/// The name under which functions find the context; no template can write it.
pub(super) const SELF: &str = "\0context";

/// The variables of one host.
pub(super) struct Context {
    pub scope: Scope,
    /// Empty, or `hostvars['name'].` for another host.
    prefix: String,
    run: Arc<Run>,
}

/// What all contexts of one rendering share.
struct Run {
    environment: Arc<Environment<'static>>,
    /// The variables being rendered, outermost first.
    stack: Mutex<Vec<String>>,
    /// What has been rendered. `None`: it needs something undefined, so it counts as undefined itself.
    done: Mutex<HashMap<String, Option<Value>>>,
    /// Why a variable counts as undefined.
    notes: Mutex<HashMap<String, Diagnostic>>,
    /// As in the scope; for the variables of other hosts too.
    only_asks: bool,
    /// Whether a secret was decrypted for it.
    secret: AtomicBool,
}

/// A shorter text than this, in bytes, that was rendered with a secret is rather a choice by it.
const MADE_OF_SECRET: usize = 8;

impl Context {
    pub fn new(environment: &Arc<Environment<'static>>, scope: &Scope) -> Arc<Context> {
        let run = Run {
            environment: environment.clone(),
            stack: Mutex::default(),
            done: Mutex::default(),
            notes: Mutex::default(),
            only_asks: scope.only_asks,
            secret: AtomicBool::default(),
        };
        Arc::new(Context { scope: scope.clone(), prefix: String::new(), run: Arc::new(run) })
    }

    /// Returns the context of the template that is being rendered.
    pub fn of(state: &minijinja::State) -> Result<Arc<Context>, Error> {
        let found = state.lookup(SELF).and_then(|value| value.downcast_object::<Context>());
        found.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "this function needs a playbook's variables"))
    }

    /// Says whether nothing may be done for what is rendered.
    pub fn only_asks(&self) -> bool {
        self.run.only_asks
    }

    pub fn shared_environment(&self) -> Arc<Environment<'static>> {
        self.run.environment.clone()
    }

    pub fn value(self: &Arc<Context>) -> Value {
        Value::from_dyn_object(self.clone())
    }

    /// Says why the variable at the root of `expression` counts as undefined, where it is set at all.
    pub fn note(&self, expression: &str) -> Option<Diagnostic> {
        let notes = lock(&self.run.notes);
        let within = |path: &str| {
            let rest = expression.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let longest = notes.keys().filter(|path| within(path)).max_by_key(|path| path.len());
        longest.and_then(|path| notes.get(path).cloned())
    }

    /// Renders what was written under `path`: `None` if that needs something undefined.
    pub fn written(self: &Arc<Context>, path: &str, yaml: &Yaml) -> Option<Value> {
        match &*yaml.data {
            Data::Text(text) if is_vault(yaml) => Some(self.decrypted(text, yaml)),
            _ if !has_template(yaml) => Some(Value::from(Serde(yaml.to_value()))),
            Data::Text(text) => self.text(path, text, yaml),
            _ => Some(Value::from_object(Written { context: self.clone(), path: path.into(), yaml: yaml.clone() })),
        }
    }

    /// Decrypts a `!vault` text, which is not rendered: a password may have braces.
    pub fn decrypted(&self, text: &str, yaml: &Yaml) -> Value {
        let fail = |diagnostic| raise(Failure::Wrong(diagnostic)).into();
        let plain = match vault::open(text) {
            Ok(plain) => plain,
            Err(error) => return fail(files::wrong(&error, &yaml.place)),
        };
        let Ok(plain) = std::str::from_utf8(&plain) else {
            let message = "what this `!vault` value was made of is not UTF-8 text";
            return fail(
                Diagnostic::new(message).at(&yaml.place).hint("keep binary content in a vault file, and `copy` it"),
            );
        };
        secret::note(plain);
        self.run.secret.store(true, Ordering::Relaxed);
        // Nothing is escaped here, so that this only marks it, for `is vault_encrypted`.
        Value::from_safe_string(plain.into())
    }

    /// Notes what was made of a secret, such as a digest of it: it is one too.
    pub fn made_of_secret(&self, value: &serde_json::Value) {
        let text = value.as_str().filter(|text| text.len() >= MADE_OF_SECRET && !secret::holds(text.as_bytes()));
        if let Some(text) = text.filter(|_| self.run.secret.load(Ordering::Relaxed)) {
            secret::note(text);
        }
    }

    /// Renders a text that stands in another template.
    pub fn rendered(self: &Arc<Context>, text: &str) -> Result<Value, Error> {
        native::render(&self.run.environment, text, self.value()).map_err(|broken| {
            let place = Place::new(&Arc::new(Source { path: "template".into(), text: text.into() }), 1, 1);
            match Fault::new(&broken, &Origin::Node(&Yaml::text_at(text, &place)), self).failure() {
                Failure::Wrong(diagnostic) => raise(Failure::Wrong(Diagnostic { place: None, ..diagnostic })),
                unknown => raise(unknown),
            }
        })
    }

    fn text(self: &Arc<Context>, path: &str, text: &str, yaml: &Yaml) -> Option<Value> {
        if let Some(done) = lock(&self.run.done).get(path) {
            return done.clone();
        }
        {
            let mut stack = lock(&self.run.stack);
            if let Some(start) = stack.iter().position(|name| name == path) {
                let names: Vec<String> = stack[start..].iter().map(|name| format!("`{name}`")).collect();
                let message = format!("variables refer to each other in a circle: {} -> `{path}`", names.join(" -> "));
                return Some(raise(Failure::Wrong(Diagnostic::new(message).at(&yaml.place))).into());
            }
            stack.push(path.into());
        }
        let rendered = native::render(&self.run.environment, text, self.value());
        lock(&self.run.stack).pop();
        let value = match rendered {
            Ok(value) => Some(value),
            Err(error) => match Fault::new(&error, &Origin::Node(yaml), self) {
                Fault::Undefined(diagnostic) => {
                    lock(&self.run.notes).insert(path.into(), diagnostic);
                    None
                }
                Fault::Other(failure) => Some(raise(failure).into()),
            },
        };
        lock(&self.run.done).insert(path.into(), value.clone());
        value
    }

    fn variable(self: &Arc<Context>, name: &str) -> Option<Value> {
        match (self.scope.get(name), name) {
            (Some(Var::Known(value)), _) => Some(Value::from(Serde(value))),
            (Some(Var::Unknown(what)), _) => Some(raise(Failure::Unknown(what.clone())).into()),
            (Some(Var::Written(yaml)), _) => self.written(&format!("{}{name}", self.prefix), yaml),
            (None, SELF | "vars") => Some(self.value()),
            (None, "hostvars") => {
                let fleet = self.scope.fleet.clone()?;
                Some(Value::from_object(HostVars { fleet, run: self.run.clone() }))
            }
            (None, _) => {
                let needs = self.scope.more.clone()?;
                let engine = self.run.environment.globals().any(|(global, _)| global == name);
                (!engine).then(|| raise(Failure::Unknown(needs)).into())
            }
        }
    }
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.variable(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.variable(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.scope.names().into_iter().map(Value::from).collect())
    }
}

/// A list or mapping whose texts are rendered one by one, when read.
struct Written {
    context: Arc<Context>,
    path: String,
    yaml: Yaml,
}

/// Returns the name of the variable that a list or mapping was written in, with the way to it.
pub(super) fn path_of(value: &Value) -> Option<&str> {
    value.downcast_object_ref::<Written>().map(|written| written.path.as_str())
}

impl Object for Written {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.yaml.as_list().is_some() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match &*self.yaml.data {
            Data::List(list) => {
                let index = key.as_usize()?;
                self.context.written(&format!("{}[{index}]", self.path), list.get(index)?)
            }
            Data::Map(map) => {
                let name = key.to_string();
                let (_, value) = map.iter().find(|(key, _)| key.key() == name)?;
                self.context.written(&format!("{}.{name}", self.path), value)
            }
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &*self.yaml.data {
            Data::List(list) => Enumerator::Seq(list.len()),
            Data::Map(map) => Enumerator::Values(map.iter().map(|(key, _)| Value::from(key.key())).collect()),
            _ => Enumerator::Empty,
        }
    }
}

/// `hostvars`: every host's variables by host name.
struct HostVars {
    fleet: Arc<Fleet>,
    run: Arc<Run>,
}

impl Object for HostVars {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let host = key.as_str()?;
        if !self.fleet.has_host(host) {
            return None;
        }
        let scope = self.fleet.host_scope(host);
        let context = Context { scope, prefix: format!("hostvars['{host}']."), run: self.run.clone() };
        Some(Value::from_object(context))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.fleet.hosts().into_iter().map(Value::from).collect())
    }
}

/// Says whether a node is a text that ansible-vault has encrypted.
pub(super) fn is_vault(yaml: &Yaml) -> bool {
    matches!(yaml.tag.as_deref(), Some("!vault" | "!vault-encrypted"))
}

/// Says whether anything below `yaml` is a template or to be decrypted. `!unsafe` text never is.
pub(super) fn has_template(yaml: &Yaml) -> bool {
    if yaml.tag.as_deref() == Some("!unsafe") {
        return false;
    }
    match &*yaml.data {
        Data::Text(text) => is_template(text) || is_vault(yaml),
        Data::List(list) => list.iter().any(has_template),
        Data::Map(map) => map.iter().any(|(_, value)| has_template(value)),
        _ => false,
    }
}

pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|start| text.contains(start))
}

// Rendering is single-threaded per context; a panic elsewhere leaves nothing half-written here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.prefix)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({})", self.path)
    }
}

impl fmt::Debug for HostVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostVars")
    }
}
