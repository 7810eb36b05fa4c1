//! What a task names: a package with what is said of its version, or something that pip alone can read.

use std::sync::LazyLock;

use fancy_regex::Regex;

use crate::error::Diagnostic;

use crate::pep440::{OPERATORS, Specifier};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// As pip takes it.
    pub text: String,
    /// Its name as it is compared, if that is known without pip.
    pub name: Option<String>,
    specifiers: Vec<Specifier>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, and versions.
    Plain,
    /// More than versions decides what is installed: extras, a marker, an archive, a repository.
    Other,
    /// A directory of the host's, where to ask pip of it would leave files.
    Directory,
}

static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let name = r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)";
    Regex::new(&format!(r"^{name}\s*(\[[^\]]*\])?\s*(@.*|\(?(?:(?:===|==|~=|!=|<=|>=|<|>)[^;()]*)?\)?)\s*(;.*)?$")).ok()
});

/// What pip takes for an archive, and not for a directory.
const ARCHIVES: &[&str] = &[".whl", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz"];

/// Returns a name as names are compared (PEP 503).
pub fn normalized(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Puts together what stands between commas: versions of one package, and the extras of one.
pub fn joined(items: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut is_open = false;
    for item in items.iter().flat_map(|item| item.split(',')).map(str::trim).filter(|item| !item.is_empty()) {
        let goes_on = is_open || OPERATORS.iter().any(|operator| item.starts_with(operator));
        match all.last_mut() {
            Some(last) if goes_on => *last += &format!(",{item}"),
            _ => all.push(item.into()),
        }
        is_open = (is_open || item.contains('[')) && !item.contains(']');
    }
    all
}

impl Requirement {
    pub fn read(text: &str) -> Result<Requirement, Diagnostic> {
        let text = text.trim();
        if text.starts_with('-') || text.contains(['\n', '\0']) {
            return Err(Diagnostic::new(format!("`{}` is no name of a package", text.escape_debug()))
                .hint("options of pip stand in `extra_args`"));
        }
        let found = NAMED.as_ref().and_then(|named| named.captures(text).ok().flatten());
        let Some(found) = found else { return Ok(Requirement::other(text)) };
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str().trim());
        let (name, extras, rest, marker) = (part(1), part(2), part(3), part(4));
        if rest.starts_with('@') {
            return Ok(Requirement { name: Some(normalized(name)), ..Requirement::other(text) });
        }
        if is_archive(text) {
            return Ok(Requirement::other(text));
        }
        let rest = rest.trim_start_matches('(').trim_end_matches(')');
        let said = rest.split(',').map(str::trim).filter(|said| !said.is_empty());
        let specifiers: Option<Vec<Specifier>> = said.map(Specifier::read).collect();
        let specifiers = specifiers.ok_or_else(|| {
            Diagnostic::new(format!("`{text}` is no name of a package")).hint("`name`, `name==1.0`, `name>=1.0,<2`")
        })?;
        let versions: Vec<String> = specifiers.iter().map(Specifier::text).collect();
        let marker = if marker.is_empty() { String::new() } else { format!(" {marker}") };
        Ok(Requirement {
            text: format!("{name}{extras}{}{marker}", versions.join(",")),
            name: Some(normalized(name)),
            specifiers,
            kind: if extras.is_empty() && marker.is_empty() { Kind::Plain } else { Kind::Other },
        })
    }

    /// Returns what has no name of its own, but for one that its URL or its file tells.
    fn other(text: &str) -> Requirement {
        let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
        let egg = fragment.split('&').find_map(|part| part.strip_prefix("egg="));
        let file =
            place.rsplit('/').next().filter(|file| file.ends_with(".whl")).and_then(|file| file.split('-').next());
        let name = egg.map(|egg| egg.split('[').next().unwrap_or(egg)).or(file);
        let is_here = place.starts_with("file:") || !place.contains("://");
        let kind = if is_here && !is_archive(place) { Kind::Directory } else { Kind::Other };
        Requirement { text: text.into(), name: name.map(normalized), specifiers: Vec::new(), kind }
    }

    pub fn has_versions(&self) -> bool {
        !self.specifiers.is_empty()
    }

    /// Returns the same in a version: a bare number is the very one.
    pub fn with_version(&self, version: &str) -> Result<Requirement, Diagnostic> {
        let version = version.trim();
        match self.kind {
            Kind::Plain if version.starts_with(|first: char| first.is_ascii_digit()) => {
                Requirement::read(&format!("{}=={version}", self.text))
            }
            Kind::Plain => Requirement::read(&format!("{} {version}", self.text)),
            // pip tells the version of an archive or a repository from what is in it.
            Kind::Other | Kind::Directory => Ok(self.clone()),
        }
    }

    /// Says whether an installed version is one that is asked for.
    pub fn is_met_by(&self, version: &str) -> bool {
        self.specifiers.iter().all(|said| said.is_met_by(version))
    }
}

fn is_archive(text: &str) -> bool {
    ARCHIVES.iter().any(|end| text.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_packages_versions_and_extras() {
        let joined = |items: &[&str]| joined(&items.iter().map(|item| item.to_string()).collect::<Vec<_>>());
        assert_eq!(joined(&["django>1.11.1", "<1.11.3", "six"]), ["django>1.11.1,<1.11.3", "six"]);
        assert_eq!(joined(&["a[x", "y]>1", "!=2", "b"]), ["a[x,y]>1,!=2", "b"]);
        assert_eq!(joined(&["a>1, <2,b", ""]), ["a>1,<2", "b"]);
    }

    #[test]
    fn names_are_compared_without_their_signs_and_the_rest_is_pips() {
        let read = |text: &str| Requirement::read(text).unwrap();
        let django = read("Django_Rest.framework >= 3.1, !=3.2");
        assert_eq!(
            (django.text.as_str(), django.name.as_deref()),
            ("Django_Rest.framework>=3.1,!=3.2", Some("django-rest-framework"))
        );
        assert!(django.is_met_by("3.3") && !django.is_met_by("3.2") && django.has_versions());
        for (text, name, kind) in [
            ("six", Some("six"), Kind::Plain),
            ("celery[redis,x]>=5", Some("celery"), Kind::Other),
            ("six; python_version < '3'", Some("six"), Kind::Other),
            ("six @ https://a.example/six.zip", Some("six"), Kind::Other),
            ("git+https://a.example/x.git@v1#egg=My_App", Some("my-app"), Kind::Other),
            ("git+https://a.example/x.git", None, Kind::Other),
            ("/srv/wheels/tiny_lib-1.0-py3-none-any.whl", Some("tiny-lib"), Kind::Other),
            ("file:///srv/app.tar.gz", None, Kind::Other),
            ("tiny-1.0.tar.gz", None, Kind::Other),
            ("/srv/app", None, Kind::Directory),
            ("file:///srv/app", None, Kind::Directory),
            (".", None, Kind::Directory),
        ] {
            let found = read(text);
            assert_eq!((found.name.as_deref(), found.kind), (name, kind), "{text}");
        }
        assert_eq!(read("six").with_version("1.16").unwrap().text, "six==1.16");
        assert_eq!(read("six").with_version(">=1.0,<2").unwrap().text, "six>=1.0,<2");
        assert_eq!(read("/srv/app").with_version("1.0").unwrap(), read("/srv/app"));
        for text in ["-e x", "--index-url=x", "six>=", "six>=1 2"] {
            assert!(Requirement::read(text).is_err(), "{text}");
        }
    }
}
