//! What a synchronization is told in the words of rsync (rsync.1): which paths it leaves alone, and whose the others become.

use globset::{GlobBuilder, GlobMatcher};

use crate::error::Diagnostic;

use super::mode::Mode;

/// What `rsync_opts` ask for.
#[derive(Debug, Default)]
pub struct Options {
    pub filter: Filter,
    pub owner: Option<String>,
    pub group: Option<String>,
    modes: Vec<(Of, Mode)>,
}

/// What a mode is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    All,
    Directories,
    Files,
}

/// Options of rsync that change nothing of what is transferred, or ask for what is so anyhow.
const WITHOUT_EFFECT: [&str; 18] = [
    "-c",
    "-h",
    "-q",
    "-v",
    "-z",
    "-O",
    "--checksum",
    "--compress",
    "--human-readable",
    "--itemize-changes",
    "--no-motd",
    "--omit-dir-times",
    "--partial",
    "--progress",
    "--quiet",
    "--stats",
    "--verbose",
    "-a",
];

impl Options {
    pub fn read(words: &[String]) -> Result<Options, Diagnostic> {
        let mut options = Options::default();
        let mut words = words.iter().flat_map(|word| word.splitn(2, ' ')).map(str::trim);
        while let Some(word) = words.next() {
            if WITHOUT_EFFECT.contains(&word) {
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let known = matches!(name, "--exclude" | "--include" | "--chown" | "--chmod");
            let Some(value) = value.or_else(|| if known { words.next() } else { None }).filter(|_| known) else {
                let error = Diagnostic::new(format!("`{word}` in `rsync_opts` is nothing that `synchronize` does"));
                return Err(error.hint(
                    "`--exclude`, `--include`, `--chown` and `--chmod` are; for more, run rsync with `command`",
                ));
            };
            let value = value.trim_matches(['\'', '"']);
            match name {
                "--chown" => {
                    let (owner, group) = value.split_once(':').unwrap_or((value, ""));
                    let some = |name: &str| (!name.is_empty()).then(|| name.to_string());
                    (options.owner, options.group) = (some(owner), some(group));
                }
                "--chmod" => {
                    for one in value.split(',') {
                        let (of, text) = match (one.strip_prefix('D'), one.strip_prefix('F')) {
                            (Some(text), _) => (Of::Directories, text),
                            (_, Some(text)) => (Of::Files, text),
                            _ => (Of::All, one),
                        };
                        options.modes.push((of, Mode::parse(text)?));
                    }
                }
                name => options.filter.add(name == "--include", value)?,
            }
        }
        Ok(options)
    }

    /// Returns the modes that a directory or a file gets, in order.
    pub fn modes(&self, directory: bool) -> impl Iterator<Item = &Mode> {
        let meant = move |of: Of| of == Of::All || (of == Of::Directories) == directory;
        self.modes.iter().filter(move |(of, _)| meant(*of)).map(|(_, mode)| mode)
    }
}

/// `--exclude` and `--include`: rules in order; the first that a path matches decides.
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
