//! Which paths a synchronization leaves alone: `--exclude` and `--include` as rsync reads them (rsync.1, "Filter rules").

use globset::{GlobBuilder, GlobMatcher};

use crate::error::Diagnostic;

/// Rules in order; the first that a path matches decides.
#[derive(Debug, Default)]
pub struct Filter(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    includes: bool,
    directories_only: bool,
    pattern: GlobMatcher,
}

impl Filter {
    pub fn add(&mut self, includes: bool, pattern: &str) -> Result<(), Diagnostic> {
        let (text, directories_only) = match pattern.strip_suffix('/') {
            Some(text) => (text, true),
            None => (pattern, false),
        };
        if text.is_empty() {
            return Err(Diagnostic::new(format!("`{pattern}` excludes everything or nothing: write `*` or a name")));
        }
        let wrong = |error: globset::Error| {
            Diagnostic::new(format!("`{pattern}` is no pattern of rsync")).hint(error.to_string())
        };
        let glob = GlobBuilder::new(&translated(text))
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build();
        let pattern = glob.map_err(wrong)?.compile_matcher();
        self.0.push(Rule { includes, directories_only, pattern });
        Ok(())
    }

    /// Says whether a path, relative to what is transferred, is left alone. Callers leave alone what is below a directory that is.
    pub fn leaves_out(&self, path: &str, is_directory: bool) -> bool {
        let matches = |rule: &&Rule| (is_directory || !rule.directories_only) && rule.pattern.is_match(path);
        self.0.iter().find(matches).is_some_and(|rule| !rule.includes)
    }
}

/// A pattern with a slash at its start is about the whole path, any other about its end. Braces mean themselves.
fn translated(pattern: &str) -> String {
    let (start, rest) = match pattern.strip_prefix('/') {
        Some(rest) => ("", rest),
        None => ("**/", pattern),
    };
    let (rest, below) = match rest.strip_suffix("/***") {
        Some(rest) => (rest, "{,/**}"),
        None => (rest, ""),
    };
    format!("{start}{}{below}", rest.replace('{', "[{]").replace('}', "[}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_names_ends_and_whole_paths() {
        let leaves = |pattern: &str, path: &str, is_directory: bool| {
            let mut filter = Filter::default();
            filter.add(false, pattern).unwrap();
            filter.leaves_out(path, is_directory)
        };
        for (pattern, path) in [
            (".git", ".git"),
            (".git", "sub/.git"),
            ("*.o", "a/b.o"),
            ("/top", "top"),
            ("sub/x?", "a/sub/x1"),
            ("a/**/z", "a/b/c/z"),
            ("[!a]b", "cb"),
            ("dir/***", "dir"),
            ("dir/***", "dir/a/b"),
            ("a\\*", "a*"),
        ] {
            assert!(leaves(pattern, path, true), "{pattern} {path}");
        }
        for (pattern, path) in [
            (".git", "x.git"),
            ("/top", "sub/top"),
            ("*.o", "b.ox"),
            ("sub/x?", "sub/y/x1"),
            ("[!a]b", "ab"),
            ("a\\*", "ab"),
        ] {
            assert!(!leaves(pattern, path, true), "{pattern} {path}");
        }
        assert!(leaves("logs/", "logs", true) && !leaves("logs/", "logs", false));
    }

    #[test]
    fn the_first_rule_decides() {
        let mut filter = Filter::default();
        filter.add(true, "keep.log").unwrap();
        filter.add(false, "*.log").unwrap();
        assert!(!filter.leaves_out("a/keep.log", false) && filter.leaves_out("a/other.log", false));
        assert!(filter.add(false, "/").is_err());
    }
}
