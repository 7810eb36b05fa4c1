//! What a task names: `name`, `name=version`, `name>=version`, `name:architecture`, `name/release`, or a pattern of names.

use globset::Glob;

use crate::error::Diagnostic;

use super::version;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// With `:ARCHITECTURE` where that is said.
    pub name: String,
    /// A version, or a pattern of versions (`1.2*`).
    pub version: Option<String>,
    /// The version is the least that is wanted.
    pub at_least: bool,
    pub release: Option<String>,
}

impl Request {
    pub fn read(text: &str) -> Result<Request, Diagnostic> {
        let text = text.trim();
        let wrong = |why: &str, hint: &str| Diagnostic::new(format!("`{text}` {why}")).hint(hint);
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version.to_string())),
            None => (text, None),
        };
        let (name, at_least) = name.strip_suffix('>').map_or((name, false), |name| (name, true));
        let (name, release) = match name.split_once('/') {
            Some((name, release)) => (name, Some(release.to_string())),
            None => (name, None),
        };
        let (bare, architecture) = name.split_once(':').unwrap_or((name, "own"));
        let is_word = |word: &str, more: &str| {
            word.starts_with(|first: char| first.is_ascii_alphanumeric())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        // apt-get(8): a `-` behind a name removes it.
        let is_pattern = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "+.-_*?[]!".contains(c));
        let named = if name.contains(WILD) { is_pattern(bare) } else { is_word(bare, "+.-_") };
        let good = named && !bare.ends_with('-') && is_word(architecture, "-");
        let pattern = if at_least { "" } else { "*" };
        let versions = version.as_ref().is_none_or(|version| is_word(version, &format!("+.-~:{pattern}")));
        let releases = release.as_ref().is_none_or(|release| is_word(release, "+.-_=,"));
        match good && versions && releases && !(version.is_some() && release.is_some()) {
            true => Ok(Request { name: name.into(), version, at_least, release }),
            false => Err(wrong(
                "is no name of a package",
                "`name`, `name=version`, `name>=version`, `name:architecture` or `name/release`",
            )),
        }
    }

    /// Says whether an installed version is one that is asked for.
    pub fn is_met_by(&self, version: &str) -> bool {
        if let (true, Some(least)) = (self.at_least, &self.version) {
            return version::compare(version, least).is_ge();
        }
        let pattern = self.version.as_deref().unwrap_or("*");
        pattern == version || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(version))
    }

    /// Says whether it names all packages whose names are alike.
    pub fn is_pattern(&self) -> bool {
        self.name.contains(WILD)
    }

    /// Returns it as it was written: as apt-get takes it, but for a least version.
    pub fn word(&self) -> String {
        match (&self.version, &self.release) {
            (Some(version), _) if self.at_least => format!("{}>={version}", self.name),
            (Some(version), _) => format!("{}={version}", self.name),
            (None, Some(release)) => format!("{}/{release}", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

/// What a pattern of names has, and no name.
const WILD: [char; 5] = ['*', '?', '[', ']', '!'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_no_pattern_and_no_removal() {
        for text in [
            "g++",
            "libc6:i386",
            "ucspi-tcp=1:0.88-6",
            "a=1.2*",
            "a/bookworm-backports",
            "0ad",
            "a>=1.0",
            "lib*",
            "hel?o",
        ] {
            assert_eq!(Request::read(text).unwrap().word(), text);
        }
        for text in [
            "", "-y", "vim-", "a b", "a<=1", "a>=1*", "lib*;", "a=", "a:", "a=1;b", "a/x=1", "$(id)", "../x.deb",
            "./x.deb",
        ] {
            assert!(Request::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_may_be_a_pattern() {
        let met = |text: &str, version: &str| Request::read(text).unwrap().is_met_by(version);
        assert!(met("a", "1.0") && met("a=1.0", "1.0") && met("a=1:1.*", "1:1.2~rc1-3"));
        assert!(!met("a=1.0", "1.0-1") && !met("a=1.1*", "1.0"));
        assert!(met("a>=1.9", "1.10") && met("a>=1.9", "1.9") && !met("a>=1.9", "1.9~rc1"));
    }
}
