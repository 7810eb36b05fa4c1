//! The settings that apply to one host: of each keyword the first value, of a few all values.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Diagnostic, Place};

use super::keywords::{self, Keyword};
use super::values::{self, Shape};

/// Where a setting was written: a place in a file, a variable of a host, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub place: Option<Place>,
    /// Such as `` `ansible_port` of host `mx` ``, where it was not a line of a file.
    pub within: Option<Arc<str>>,
}

impl Origin {
    pub fn within(what: String, place: Option<Place>) -> Origin {
        Origin { place, within: Some(what.into()) }
    }

    /// Returns an error about what was written here.
    pub fn wrong(&self, message: impl std::fmt::Display) -> Diagnostic {
        let message = match &self.within {
            Some(within) => format!("{message}, in {within}"),
            None => message.to_string(),
        };
        Diagnostic { place: self.place.clone(), ..Diagnostic::new(message) }
    }
}

/// One line that sets something.
#[derive(Clone, Debug)]
pub struct Setting {
    pub keyword: &'static Keyword,
    /// The arguments; of a command the one text that it is.
    pub words: Vec<String>,
    pub origin: Origin,
}

#[derive(Clone, Debug, Default)]
pub struct Settings(HashMap<&'static str, Vec<Setting>>);

impl Settings {
    /// Takes a setting over unless an earlier one has said it.
    pub fn add(&mut self, setting: &Setting) {
        let keyword = setting.keyword;
        if keyword.name == "ProxyJump" {
            return self.add_jump(setting);
        }
        // To `ssh` a time of `none` is as good as no line.
        if keyword.shape == Shape::Time && setting.words == ["none"] {
            return;
        }
        let known = self.0.entry(keyword.name).or_default();
        let again = known.iter().any(|other| other.words == setting.words);
        if known.is_empty() || (keyword.shape == Shape::EachText && !again) {
            known.push(setting.clone());
        }
    }

    /// Of `ProxyJump` and `ProxyCommand` the one that comes first counts, and `ProxyJump none` says nothing of the
    /// other.
    fn add_jump(&mut self, setting: &Setting) {
        let none = is_none(&setting.words);
        if self.has("ProxyJump") || (!none && self.has("ProxyCommand")) {
            return;
        }
        self.0.insert("ProxyJump", vec![setting.clone()]);
        if let (false, Some(keyword)) = (none, keywords::find("ProxyCommand")) {
            let closed = Setting { keyword, words: vec!["none".into()], origin: setting.origin.clone() };
            self.0.insert("ProxyCommand", vec![closed]);
        }
    }

    /// Sets a keyword whatever was said before.
    pub fn replace(&mut self, setting: Setting) {
        self.0.insert(setting.keyword.name, vec![setting]);
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    pub fn all(&self, name: &str) -> &[Setting] {
        debug_assert!(keywords::find(name).is_some_and(|keyword| keyword.name == name), "{name}");
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.all(name).first()
    }

    /// Returns a keyword's one argument.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|setting| setting.words.first()).map(String::as_str)
    }

    /// Returns a keyword's command or jump hosts, unless there are none.
    pub fn command(&self, name: &str) -> Option<&Setting> {
        self.get(name).filter(|setting| !is_none(&setting.words))
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).and_then(values::flag)
    }

    pub fn port(&self) -> u16 {
        self.text("Port").and_then(values::port).unwrap_or(22)
    }

    /// Returns a time in seconds.
    pub fn time(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(values::time)
    }

    /// Returns all that is set, each keyword once.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.values().filter_map(|settings| settings.first())
    }
}

pub fn is_none(words: &[String]) -> bool {
    matches!(words, [word] if word.eq_ignore_ascii_case("none"))
}
