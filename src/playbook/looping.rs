//! What a task is repeated for: `loop`, `with_X`, `loop_control`.

use crate::error::Diagnostic;
use crate::names::short_lookup;
use crate::yaml::{Data, Yaml};

use super::keywords::{Kind, LOOP_CONTROL, check_variable, is_template};
use super::reader::Reader;
use super::{Loop, LoopControl};

impl Reader<'_> {
    /// Reads what the task `node` is repeated for.
    pub fn looping(&mut self, node: &Yaml) -> Option<Loop> {
        let map = node.as_map().unwrap_or(&[]);
        let mut found = None;
        for (key, items) in map {
            let name = key.as_str().unwrap_or("");
            let lookup = with_lookup(name);
            if name != "loop" && lookup.is_none() {
                continue;
            }
            if let Some(first) = found.replace(key) {
                let message = format!("a task has one loop, and this one has two: `{}` and `{name}`", first.key());
                self.errors.push(Diagnostic::new(message).at(&key.place));
                return None;
            }
            let checked = match lookup {
                Some(lookup) => self.check_lookup(key, lookup, items),
                None => check_items(key, items),
            };
            self.errors.catch(checked)?;
        }
        let key = found?;
        let lookup = key.as_str().and_then(with_lookup).map(String::from);
        let control = node.get("loop_control").map(|control| self.loop_control(control)).unwrap_or_default();
        Some(Loop { items: node.get(&key.key())?.clone(), lookup, control })
    }

    fn check_lookup(&self, key: &Yaml, lookup: &str, items: &Yaml) -> Result<(), Diagnostic> {
        if items.is_null() {
            return Err(Diagnostic::new(format!("`{}` has no value", key.key())).at(&key.place));
        }
        if self.loader.lookups.is_empty() || self.loader.lookups.contains(&short_lookup(lookup)) {
            return Ok(());
        }
        let unknown = Diagnostic::new(format!("unknown lookup `{lookup}`")).at(&key.place);
        Err(unknown.suggest(lookup, self.loader.lookups.iter().copied()))
    }

    fn loop_control(&mut self, node: &Yaml) -> LoopControl {
        let mut control = LoopControl::default();
        for (key, value) in node.as_map().unwrap_or(&[]) {
            let name = key.key();
            let Some(keyword) = LOOP_CONTROL.iter().find(|keyword| keyword.name == name) else {
                let known = LOOP_CONTROL.iter().map(|keyword| keyword.name);
                let unknown = Diagnostic::new(format!("`{name}` is not a key of `loop_control`")).at(&key.place);
                self.errors.push(unknown.suggest(&name, known));
                continue;
            };
            if self.errors.catch(keyword.check(key, value)).is_none() || value.is_null() {
                continue;
            }
            match keyword.name {
                "loop_var" => control.loop_var = self.variable(value),
                "index_var" => control.index_var = self.variable(value),
                "label" => control.label = Some(value.clone()),
                "pause" => control.pause = Some(value.clone()),
                "extended" => control.extended = Some(value.clone()),
                "extended_allitems" => control.extended_allitems = Some(value.clone()),
                _ => control.break_when = Some(value.clone()),
            }
        }
        control
    }

    /// Returns the name of a variable that the task sets.
    pub fn variable(&mut self, value: &Yaml) -> Option<String> {
        self.errors.catch(check_variable(value)).map(|()| value.key())
    }
}

/// Returns `X` of `with_X`; a keyword of that form would not be a loop.
pub(super) fn with_lookup(name: &str) -> Option<&str> {
    name.strip_prefix("with_").filter(|lookup| !lookup.is_empty() && Kind::Task.find(name).is_none())
}

fn check_items(key: &Yaml, items: &Yaml) -> Result<(), Diagnostic> {
    let wrong = |hint: String| {
        let message = format!("`loop` should be a list or a template of one, not {}", items.kind());
        let place = if items.is_null() { &key.place } else { &items.place };
        Err(Diagnostic::new(message).at(place).hint(hint))
    };
    match &*items.data {
        Data::List(_) => Ok(()),
        Data::Text(text) if is_template(text) => Ok(()),
        Data::Text(text) => wrong(format!("a variable is written `\"{{{{ {text} }}}}\"`")),
        Data::Map(_) => wrong("make it a list with `dict2items`, or use `with_dict`".into()),
        _ => wrong("write one `- item` a line below it".into()),
    }
}
