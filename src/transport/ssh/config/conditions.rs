//! The conditions of `Host` and `Match` blocks.

use crate::error::Diagnostic;

use super::patterns;
use super::settings::Origin;
use super::words;

/// The patterns of a `Host` line, each with whether it takes hosts out.
#[derive(Clone, Debug)]
pub struct HostPatterns(Vec<(bool, String)>);

impl HostPatterns {
    pub fn new(texts: Vec<String>) -> HostPatterns {
        let pattern = |text: String| match text.strip_prefix('!') {
            Some(pattern) => (true, pattern.to_string()),
            None => (false, text),
        };
        HostPatterns(texts.into_iter().map(pattern).collect())
    }

    /// Tells whether one pattern matches and no negated one does.
    pub fn matches(&self, host: &str) -> bool {
        let any =
            |out: bool| self.0.iter().any(|(negated, pattern)| *negated == out && patterns::matches(host, pattern));
        any(false) && !any(true)
    }
}

/// One condition of a `Match` line.
#[derive(Clone, Debug)]
pub struct Criterion {
    pub kind: Kind,
    /// Whether it holds where the plain one does not.
    pub negated: bool,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    All,
    /// `final` or `canonical`: only in a second pass over the files. `final` asks for one.
    Final {
        asks: bool,
    },
    Host(String),
    OriginalHost(String),
    User(String),
    LocalUser(String),
    Tagged(String),
    Exec(String),
    /// `ssh` knows it and it is not there: an error once it decides.
    Unsupported(String),
}

/// A criterion's name, and what it becomes with its argument.
type Named = (&'static str, fn(String) -> Kind);

/// The criteria with an argument that count here; the rest of OpenSSH's are [`Kind::Unsupported`].
const WITH_ARGUMENT: &[Named] = &[
    ("host", Kind::Host),
    ("originalhost", Kind::OriginalHost),
    ("user", Kind::User),
    ("localuser", Kind::LocalUser),
    ("tagged", Kind::Tagged),
    ("exec", Kind::Exec),
    ("localnetwork", |_| Kind::Unsupported("localnetwork".into())),
    ("command", |_| Kind::Unsupported("command".into())),
    ("sessiontype", |_| Kind::Unsupported("sessiontype".into())),
    ("version", |_| Kind::Unsupported("version".into())),
];

/// Reads the conditions of a `Match` line from byte `at` on. `origin` makes a place of a byte.
pub fn criteria(line: &str, mut at: usize, origin: &dyn Fn(usize) -> Origin) -> Result<Vec<Criterion>, Diagnostic> {
    let mut found: Vec<Criterion> = Vec::new();
    let start = at;
    let unended = |at: usize| origin(at).wrong("a quote does not end");
    while at < line.len() {
        let (word, rest) = words::next(line, at).ok_or_else(|| unended(at))?;
        if word.text.is_empty() || word.text.starts_with('#') {
            break;
        }
        let here = origin(word.at);
        let (negated, name) = match word.text.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word.text.as_str()),
        };
        let lower = name.to_ascii_lowercase();
        at = rest;
        let kind = match lower.as_str() {
            "all" => {
                let rest = &line[at..];
                if found.len() > 1 || !(rest.is_empty() || rest.starts_with('#')) {
                    return Err(here.wrong("`all` cannot be combined with other conditions"));
                }
                found.push(Criterion { kind: Kind::All, negated, origin: here });
                return Ok(found);
            }
            "final" | "canonical" => Kind::Final { asks: lower == "final" },
            _ => {
                let known = WITH_ARGUMENT.iter().find(|(known, _)| *known == lower);
                let Some((_, make)) = known else {
                    let known = WITH_ARGUMENT.iter().map(|(known, _)| *known).chain(["all", "final", "canonical"]);
                    let error = here.wrong(format!("`Match` has no condition `{name}`"));
                    return Err(error.suggest(&lower, known));
                };
                let (argument, rest) = words::next(line, at).ok_or_else(|| unended(at))?;
                if argument.text.is_empty() || argument.text.starts_with('#') {
                    return Err(here.wrong(format!("`Match {name}` has no argument")));
                }
                at = rest;
                make(argument.text)
            }
        };
        found.push(Criterion { kind, negated, origin: here });
    }
    match found.is_empty() {
        true => Err(origin(start).wrong("`Match` has no condition")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<(Kind, bool)>, String> {
        let found = criteria(line, 0, &|_| Origin::default()).map_err(|error| error.message)?;
        Ok(found.into_iter().map(|criterion| (criterion.kind, criterion.negated)).collect())
    }

    #[test]
    fn conditions_have_arguments_and_may_be_negated() {
        let found = read("host *.a,!b !user=\"x y\" exec \"test -e '/x y'\" final # end").unwrap();
        let expected = [
            (Kind::Host("*.a,!b".into()), false),
            (Kind::User("x y".into()), true),
            (Kind::Exec("test -e '/x y'".into()), false),
            (Kind::Final { asks: true }, false),
        ];
        assert_eq!(found, expected);
        assert_eq!(read("final all").unwrap()[1], (Kind::All, false));
        assert_eq!(read("!all").unwrap(), [(Kind::All, true)]);
    }

    #[test]
    fn what_is_no_condition_is_named() {
        assert_eq!(read("hots x").unwrap_err(), "`Match` has no condition `hots`");
        assert_eq!(read("host").unwrap_err(), "`Match host` has no argument");
        assert_eq!(read("all host x").unwrap_err(), "`all` cannot be combined with other conditions");
        assert_eq!(read("host x user y all").unwrap_err(), "`all` cannot be combined with other conditions");
        assert_eq!(read("# nothing").unwrap_err(), "`Match` has no condition");
        assert_eq!(read("exec \"x").unwrap_err(), "a quote does not end");
    }

    #[test]
    fn a_negated_host_pattern_takes_out() {
        let patterns = |text: &str| HostPatterns::new(text.split(' ').map(str::to_owned).collect());
        assert!(patterns("mx* !mx2").matches("mx1"));
        assert!(!patterns("mx* !mx2").matches("mx2"));
        assert!(!patterns("!mx2 mx*").matches("mx2"));
        assert!(!patterns("!mx2").matches("mx1"));
        assert!(!patterns("MX1").matches("mx1"));
    }
}
