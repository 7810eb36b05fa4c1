//! A setting of a connection as somebody wrote it: in a variable, a keyword, a flag or the environment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use serde_json::Value;

use crate::error::{Diagnostic, Place};
use crate::modules::arguments::boolean;
use crate::template::{Failure, Templates};
use crate::transport::ssh::config::Origin;
use crate::vars::{Scope, Var};
use crate::yaml::Yaml;

/// A text, and who said it.
#[derive(Clone, Debug)]
pub struct Said {
    /// Such as `` `ansible_port` of host `mx` ``.
    pub what: String,
    pub text: String,
    pub place: Option<Place>,
}

// Two that say the same are the same, wherever they stand.
impl PartialEq for Said {
    fn eq(&self, other: &Said) -> bool {
        (&self.what, &self.text) == (&other.what, &other.text)
    }
}

impl Eq for Said {}

impl Hash for Said {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.what, &self.text).hash(state);
    }
}

impl Said {
    pub fn new(what: String, text: String) -> Said {
        Said { what, text, place: None }
    }

    pub fn origin(&self) -> Origin {
        Origin::within(self.what.clone(), self.place.clone())
    }

    pub fn should_be(&self, noun: &str) -> Diagnostic {
        let error = Diagnostic::new(format!("{} should be {noun}, not `{}`", self.what, self.text));
        Diagnostic { place: self.place.clone(), ..error }
    }

    pub fn boolean(&self) -> Result<bool, Diagnostic> {
        boolean(&Value::from(self.text.as_str())).ok_or_else(|| self.should_be("true or false"))
    }
}

/// Where a setting may be said, the strongest first.
#[derive(Default)]
pub struct Sources<'a> {
    /// Of several that are set the last one counts, as in Ansible.
    pub variables: &'a [&'a str],
    /// The keyword's name and what was written.
    pub keyword: (&'a str, Option<&'a Yaml>),
    /// The flag's name and what was given.
    pub flag: (&'a str, Option<&'a str>),
    pub environment: &'a [&'a str],
}

/// Reads settings for one host, rendered.
pub struct Reader<'a> {
    pub templates: &'a Templates,
    pub scope: &'a Scope,
    pub host: &'a str,
    pub environment: &'a BTreeMap<String, String>,
    /// What was read so far, by the strongest of its variables' names; the others and what nobody said have no text.
    pub heard: RefCell<BTreeMap<String, Option<String>>>,
}

impl Reader<'_> {
    /// Returns what the strongest source says.
    pub fn first(&self, sources: &Sources) -> Result<Option<Said>, Failure> {
        let said = self.strongest(sources)?;
        let mut heard = self.heard.borrow_mut();
        heard.extend(sources.variables.iter().map(|name| (name.to_string(), None)));
        if let (Some(name), Some(said)) = (sources.variables.last(), &said) {
            heard.insert(name.to_string(), Some(said.text.clone()));
        }
        drop(heard);
        Ok(said)
    }

    fn strongest(&self, sources: &Sources) -> Result<Option<Said>, Failure> {
        for name in sources.variables.iter().rev() {
            if let Some(said) = self.variable(name)? {
                return Ok(Some(said));
            }
        }
        if let (name, Some(node)) = sources.keyword
            && let Some(text) = as_text(&self.templates.render(node, self.scope)?)
        {
            let what = format!("`{name}` for host `{}`", self.host);
            return Ok(Some(Said { what, text, place: Some(node.place.clone()) }));
        }
        if let (name, Some(text)) = sources.flag {
            return Ok(Some(Said::new(format!("`{name}`"), text.into())));
        }
        let set = |name: &&str| Some(Said::new(format!("`{name}`"), self.environment.get(*name)?.clone()));
        Ok(sources.environment.iter().rev().find_map(set).filter(|said| !said.text.is_empty()))
    }

    fn variable(&self, name: &str) -> Result<Option<Said>, Failure> {
        let (text, place) = match self.scope.get(name) {
            None => return Ok(None),
            Some(Var::Known(value)) => (as_text(value), None),
            Some(Var::Written(node)) => (as_text(&self.templates.render(node, self.scope)?), Some(node.place.clone())),
            Some(Var::Unknown(what)) => return Err(Failure::Unknown(what.clone())),
        };
        let what = || format!("`{name}` of host `{}`", self.host);
        Ok(text.map(|text| Said { what: what(), text, place }))
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
