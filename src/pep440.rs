//! Versions of Python packages, and what is said of them: `>=1.0,!=1.3.*` (PEP 440).

use std::cmp::Ordering;
use std::sync::LazyLock;

use fancy_regex::Regex;

/// A version by its parts. One that is not written as PEP 440 has it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    epoch: u64,
    release: Vec<u64>,
    /// `a`, `b` or `rc`, with its number.
    pre: Option<(String, u64)>,
    post: Option<u64>,
    dev: Option<u64>,
    local: Vec<String>,
}

/// What is said of a version: `>=` and `1.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specifier {
    operator: &'static str,
    version: String,
}

/// The longer ones first, as they begin alike.
pub const OPERATORS: &[&str] = &["===", "==", "~=", "!=", "<=", ">=", "<", ">"];

static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pre = r"(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?";
    let post = r"(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?";
    let dev = r"(?:[-_.]?(dev)[-_.]?(\d*))?";
    let local = r"(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?";
    Regex::new(&format!(r"^v?(?:(\d+)!)?(\d+(?:\.\d+)*){pre}{post}{dev}{local}$")).ok()
});

impl Version {
    pub fn read(text: &str) -> Option<Version> {
        let text = text.trim().to_lowercase();
        let found = VERSION.as_ref()?.captures(&text).ok()??;
        let part = |index: usize| found.get(index).map(|part| part.as_str());
        // A letter without a number has a nought.
        let number = |index: usize| part(index).map_or(Some(0), |digits| format!("0{digits}").parse().ok());
        let pre = match part(3) {
            Some("alpha" | "a") => Some(("a".to_string(), number(4)?)),
            Some("beta" | "b") => Some(("b".to_string(), number(4)?)),
            Some(_) => Some(("rc".to_string(), number(4)?)),
            None => None,
        };
        let post = match (part(5), part(6)) {
            (Some(_), _) => Some(number(5)?),
            (None, Some(_)) => Some(number(7)?),
            (None, None) => None,
        };
        Some(Version {
            epoch: number(1)?,
            release: part(2)?.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?,
            pre,
            post,
            dev: if part(8).is_some() { Some(number(9)?) } else { None },
            local: part(10).map_or_else(Vec::new, |local| local.split(['-', '_', '.']).map(String::from).collect()),
        })
    }

    fn without_local(&self) -> Version {
        Version { local: Vec::new(), ..self.clone() }
    }

    fn is_early(&self) -> bool {
        self.pre.is_some() || self.dev.is_some()
    }

    /// Says whether another is the same but for what comes before and after a release.
    fn has_release_of(&self, other: &Version) -> bool {
        (self.epoch, significant(&self.release)) == (other.epoch, significant(&other.release))
    }

    /// Says whether its numbers begin with those of another.
    fn begins_with(&self, other: &Version) -> bool {
        let numbers = self.release.iter().copied().chain(std::iter::repeat(0));
        self.epoch == other.epoch && numbers.zip(&other.release).all(|(number, begins)| number == *begins)
    }
}

/// Noughts at the end mean nothing.
fn significant(release: &[u64]) -> &[u64] {
    let end = release.iter().rposition(|number| *number != 0).map_or(0, |last| last + 1);
    &release[..end]
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        // A development release comes before all others of its kind, and a final one behind those before it.
        let pre = |version: &Version| match (&version.pre, version.post, version.dev) {
            (Some((letters, number)), _, _) => (1, letters.clone(), *number),
            (None, None, Some(_)) => (0, String::new(), 0),
            (None, _, _) => (2, String::new(), 0),
        };
        let dev = |version: &Version| (version.dev.is_none(), version.dev);
        let local = |version: &Version| -> Vec<(Option<u64>, String)> {
            version.local.iter().map(|part| (part.parse().ok(), part.clone())).collect()
        };
        let key = |version: &Version| (pre(version), version.post, dev(version), local(version));
        (self.epoch, significant(&self.release))
            .cmp(&(other.epoch, significant(&other.release)))
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Specifier {
    pub fn read(text: &str) -> Option<Specifier> {
        let text = text.trim();
        let operator = OPERATORS.iter().find(|operator| text.starts_with(**operator))?;
        let version = text[operator.len()..].trim();
        let is_word = !version.is_empty() && !version.contains(char::is_whitespace);
        is_word.then(|| Specifier { operator, version: version.into() })
    }

    /// Says whether a version is one that is asked for. An early one is, too: it is there.
    pub fn is_met_by(&self, version: &str) -> bool {
        if self.operator == "===" {
            return self.version.eq_ignore_ascii_case(version);
        }
        let pattern = self.version.strip_suffix(".*");
        let (Some(found), Some(wanted)) = (Version::read(version), Version::read(pattern.unwrap_or(&self.version)))
        else {
            return false;
        };
        let public = found.without_local();
        let is_same = || match pattern {
            Some(_) => found.begins_with(&wanted),
            None if wanted.local.is_empty() => public.cmp(&wanted).is_eq(),
            None => found.cmp(&wanted).is_eq(),
        };
        match self.operator {
            "==" => is_same(),
            "!=" => !is_same(),
            ">=" => public >= wanted,
            "<=" => public <= wanted,
            "<" => found < wanted && (wanted.is_early() || !found.is_early() || !found.has_release_of(&wanted)),
            ">" => {
                let is_later = found.post.is_some() && wanted.post.is_none() || !found.local.is_empty();
                found > wanted && !(is_later && found.has_release_of(&wanted))
            }
            _ => {
                let mut series = wanted.clone();
                series.release.pop();
                public >= wanted && found.begins_with(&series)
            }
        }
    }

    /// Returns it as pip takes it.
    pub fn text(&self) -> String {
        format!("{}{}", self.operator, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_the_order_of_pep_440() {
        let ordered = [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1!0.1",
        ];
        let read = |text: &str| Version::read(text).unwrap();
        for (index, version) in ordered.iter().enumerate() {
            for (other_index, other) in ordered.iter().enumerate() {
                assert_eq!(read(version).cmp(&read(other)), index.cmp(&other_index), "{version} {other}");
            }
        }
        for (one, other) in [("1.0", "v1"), ("1.0-1", "1.0.post1"), ("1.0ALPHA", "1a0"), ("1.0-preview_3", "1.0c3")] {
            assert!(read(one).cmp(&read(other)).is_eq(), "{one} {other}");
        }
        assert!(["", "1.x", "one", "1..0", "1.0 2"].iter().all(|text| Version::read(text).is_none()));
    }

    #[test]
    fn what_is_said_of_a_version_is_met_or_not() {
        for (said, met, not) in [
            ("==1.1", &["1.1", "1.1.0", "1.1+deb"][..], &["1.1.post1", "1.1a1", "1.10"][..]),
            ("==1.1.*", &["1.1", "1.1.3", "1.1.post1", "1.1a1"], &["1.10", "1", "1!1.1"]),
            ("!= 1.1.*", &["1.2", "1.0"], &["1.1.9"]),
            ("==1.1+deb", &["1.1+deb"], &["1.1"]),
            ("~=2.2", &["2.2", "2.10", "2.2.post3"], &["3.0", "2.1", "2.2rc1"]),
            ("~=1.4.5", &["1.4.5", "1.4.9"], &["1.5", "1.4.4"]),
            (">1.7", &["1.8", "1.7.1"], &["1.7", "1.7.post1", "1.7+local"]),
            (">1.7.post2", &["1.7.post3"], &["1.7.post2"]),
            ("<2.0", &["1.9", "1.9rc1"], &["2.0", "2.0rc1", "2.0.dev3"]),
            (">=1.0", &["1.0+deb", "1.1a1"], &["1.0rc1", "odd"]),
            ("<=1.0", &["1.0+deb", "0.9"], &["1.0.1"]),
            ("===odd", &["ODD"], &["1.0"]),
        ] {
            let said = Specifier::read(said).unwrap();
            assert!(met.iter().all(|version| said.is_met_by(version)), "{said:?} {met:?}");
            assert!(!not.iter().any(|version| said.is_met_by(version)), "{said:?} {not:?}");
        }
        assert!(Specifier::read("1.0").is_none() && Specifier::read(">=").is_none());
    }
}
