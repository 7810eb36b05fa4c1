//! One package as a task names it: `name`, `name=version`, `name:architecture`, `name/release`.

use globset::Glob;

use crate::error::Diagnostic;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// With `:ARCHITECTURE` where that is said.
    pub name: String,
    /// A version, or a pattern of versions (`1.2*`).
    pub version: Option<String>,
    pub release: Option<String>,
}

impl Request {
    pub fn read(text: &str) -> Result<Request, Diagnostic> {
        let text = text.trim();
        let wrong = |why: &str, hint: &str| Diagnostic::new(format!("`{text}` {why}")).hint(hint);
        if text.contains(['<', '>']) {
            return Err(wrong("asks for a range of versions", "name one: `name=1.2-3`, or `name=1.2*`"));
        }
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version.to_string())),
            None => (text, None),
        };
        let (name, release) = match name.split_once('/') {
            Some((name, release)) => (name, Some(release.to_string())),
            None => (name, None),
        };
        if name.contains('*') {
            return Err(wrong("is a pattern", "list the packages: a check is to say which they are"));
        }
        let (bare, architecture) = name.split_once(':').unwrap_or((name, "own"));
        let is_word = |word: &str, more: &str| {
            word.starts_with(|first: char| first.is_ascii_alphanumeric())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        // apt-get(8): a `-` behind a name removes it.
        let good = is_word(bare, "+.-_") && !bare.ends_with('-') && is_word(architecture, "-");
        let versions = version.as_ref().is_none_or(|version| is_word(version, "+.-~:*"));
        let releases = release.as_ref().is_none_or(|release| is_word(release, "+.-_=,"));
        match good && versions && releases && !(version.is_some() && release.is_some()) {
            true => Ok(Request { name: name.into(), version, release }),
            false => {
                Err(wrong("is no name of a package", "`name`, `name=version`, `name:architecture` or `name/release`"))
            }
        }
    }

    /// Says whether an installed version is one that is asked for.
    pub fn is_met_by(&self, version: &str) -> bool {
        let pattern = self.version.as_deref().unwrap_or("*");
        pattern == version || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(version))
    }

    /// Returns it as apt-get takes it.
    pub fn word(&self) -> String {
        match (&self.version, &self.release) {
            (Some(version), _) => format!("{}={version}", self.name),
            (None, Some(release)) => format!("{}/{release}", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_no_pattern_and_no_removal() {
        for text in ["g++", "libc6:i386", "ucspi-tcp=1:0.88-6", "a=1.2*", "a/bookworm-backports", "0ad"] {
            assert_eq!(Request::read(text).unwrap().word(), text);
        }
        for text in
            ["", "-y", "vim-", "a b", "a>=1", "lib*", "a=", "a:", "a=1;b", "a/x=1", "$(id)", "../x.deb", "./x.deb"]
        {
            assert!(Request::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_may_be_a_pattern() {
        let met = |text: &str, version: &str| Request::read(text).unwrap().is_met_by(version);
        assert!(met("a", "1.0") && met("a=1.0", "1.0") && met("a=1:1.*", "1:1.2~rc1-3"));
        assert!(!met("a=1.0", "1.0-1") && !met("a=1.1*", "1.0"));
    }
}
