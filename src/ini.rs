//! INI and properties files as Python's `configparser` reads them.

use indexmap::IndexMap;

/// A value; nothing where the key stands alone.
type Section = IndexMap<String, Option<String>>;

/// How a file is read.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    pub case_sensitive: bool,
    /// Whether a key may stand without `=`.
    pub allow_no_value: bool,
    /// Whether `%(name)s` stands for another value.
    pub interpolation: bool,
}

/// A file's sections. What stands in `[DEFAULT]` is in each of them.
pub struct Ini {
    sections: IndexMap<String, Section>,
    rules: Rules,
}

const DEFAULT: &str = "DEFAULT";

/// How deep values may name each other.
const DEPTH: usize = 10;

impl Ini {
    /// Reads a text; lines before the first section are in `before`, or an error where that is not named.
    pub fn read(text: &str, before: Option<&str>, rules: Rules) -> Result<Ini, String> {
        let mut ini = Ini { sections: IndexMap::new(), rules };
        let mut here = before.map(str::to_string);
        let mut key: Option<String> = None;
        ini.sections.extend(before.map(|name| (name.to_string(), Section::new())));
        for (number, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.starts_with(['#', ';']) {
                continue;
            }
            if trimmed.is_empty() {
                continue;
            }
            if line.starts_with(char::is_whitespace)
                && let (Some(section), Some(key)) = (here.as_ref(), &key)
                && let Some(Some(value)) = ini.sections.get_mut(section).and_then(|section| section.get_mut(key))
            {
                value.push('\n');
                value.push_str(trimmed);
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
                if ini.sections.contains_key(name) && name != DEFAULT && Some(name) != before {
                    return Err(format!("section `{name}` stands twice"));
                }
                ini.sections.entry(name.into()).or_default();
                (here, key) = (Some(name.into()), None);
                continue;
            }
            let Some(section) = &here else {
                return Err(format!("line {} stands before any section", number + 1));
            };
            let (name, value) = match trimmed.split_once(['=', ':']) {
                Some((name, value)) => (name.trim_end(), Some(value.trim().to_string())),
                None if rules.allow_no_value => (trimmed, None),
                None => return Err(format!("line {} has no `=`: `{trimmed}`", number + 1)),
            };
            let name = ini.key(name);
            if ini.sections.entry(section.clone()).or_default().insert(name.clone(), value).is_some() {
                return Err(format!("Duplicate option in section `{section}`: `{name}`"));
            }
            key = Some(name);
        }
        Ok(ini)
    }

    /// Returns the names of all sections.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    pub fn has(&self, section: &str) -> bool {
        self.sections.contains_key(section)
    }

    fn key(&self, name: &str) -> String {
        if self.rules.case_sensitive { name.into() } else { name.to_lowercase() }
    }

    /// Returns the keys of a section, its own first.
    pub fn keys(&self, section: &str) -> Vec<&str> {
        let names = [section, DEFAULT].into_iter().filter_map(|name| self.sections.get(name));
        let unique: indexmap::IndexSet<&str> = names.flat_map(Section::keys).map(String::as_str).collect();
        unique.into_iter().collect()
    }

    /// Returns a value: `Some(None)` for a key that stands alone.
    pub fn get(&self, section: &str, key: &str) -> Result<Option<Option<String>>, String> {
        let Some(found) = self.raw(section, &self.key(key)) else { return Ok(None) };
        let Some(value) = found else { return Ok(Some(None)) };
        if self.rules.interpolation {
            self.filled(section, value, DEPTH).map(|value| Some(Some(value)))
        } else {
            Ok(Some(Some(value.clone())))
        }
    }

    fn raw(&self, section: &str, key: &str) -> Option<&Option<String>> {
        [section, DEFAULT].into_iter().find_map(|name| self.sections.get(name)?.get(key))
    }

    fn filled(&self, section: &str, value: &str, depth: usize) -> Result<String, String> {
        let (mut filled, mut rest) = (String::new(), value);
        while let Some((before, after)) = rest.split_once('%') {
            filled.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                filled.push('%');
                rest = after;
                continue;
            }
            let named = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
            let Some((name, after)) = named else {
                return Err(format!("'%' must be followed by '%' or '(', found: '%{after}'"));
            };
            let found = self.raw(section, &self.key(name)).cloned().flatten();
            let found = found.ok_or_else(|| format!("`%({name})s` is not in section `{section}`"))?;
            if depth == 0 {
                return Err(format!("`%({name})s` goes round in circles"));
            }
            filled.push_str(&self.filled(section, &found, depth - 1)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[DEFAULT]\nhome = /home\n[a]\nName: x=y\n; no\ndir = %(home)s/%%\nlong = 1\n  2\n\n[b]\n";

    #[test]
    fn values_are_those_of_configparser() {
        let rules = Rules { interpolation: true, ..Rules::default() };
        let ini = Ini::read(TEXT, None, rules).unwrap();
        let get = |key: &str| ini.get("a", key).unwrap().flatten();
        assert_eq!(get("NAME").as_deref(), Some("x=y"));
        assert_eq!(get("dir").as_deref(), Some("/home/%"));
        assert_eq!(get("long").as_deref(), Some("1\n2"));
        assert_eq!(ini.get("b", "home").unwrap().flatten().as_deref(), Some("/home"));
        assert_eq!(ini.get("b", "name").unwrap(), None);
        assert_eq!(ini.keys("a"), ["name", "dir", "long", "home"]);
    }

    #[test]
    fn what_configparser_refuses_is_refused() {
        let rows = [
            ("a = 1\n", "line 1 stands before any section"),
            ("[a]\nb\n", "line 2 has no `=`: `b`"),
            ("[a]\nb=1\nB=2\n", "Duplicate option in section `a`: `b`"),
            ("[a]\n[a]\n", "section `a` stands twice"),
        ];
        for (text, expected) in rows {
            assert_eq!(Ini::read(text, None, Rules::default()).err().as_deref(), Some(expected));
        }
        let ini = Ini::read("[a]\nb=%x\n", None, Rules { interpolation: true, ..Rules::default() }).unwrap();
        assert!(ini.get("a", "b").unwrap_err().starts_with("'%' must be followed by"));
    }
}
