//! `extra_opts`: what options for tar and unzip mean here, where nothing is extracted by them.

use crate::modules::ModuleError;

/// What the options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// For the tool that reads the archive.
    pub passed: Vec<String>,
    /// `--no-same-owner`.
    pub own: bool,
    /// `--no-same-permissions`.
    pub masked: bool,
    /// `--same-permissions`.
    pub exact: bool,
    /// `--numeric-owner`.
    pub numeric: bool,
    /// `--touch`: the times of the archive are left out.
    pub touch: bool,
    /// `--keep-old-files` and unzip's `-n`: what is there stays.
    pub keep_old: bool,
    /// `--keep-newer-files`.
    pub keep_newer: bool,
    /// unzip's `-j`: the directories are left out.
    pub flat: bool,
}

/// Options that would make something else of the archive than what is shown.
const REFUSED: &[&str] = &[
    "--one-top-level",
    "--to-command",
    "--directory",
    "-C",
    "--to-stdout",
    "-O",
    "--checkpoint-action",
    "-P",
    "--absolute-names",
    "-U",
    "--unlink-first",
    "--recursive-unlink",
    "--remove-files",
    "--delete",
    "--file",
    "-f",
    "-d",
    "-K",
    "-X",
    "--xattrs",
    "--acls",
    "--selinux",
];

/// Options that change nothing here: what they ask for is so anyway.
const SO_ANYWAY: &[&str] = &[
    "-v",
    "--verbose",
    "-o",
    "-q",
    "-qq",
    "--overwrite",
    "--no-overwrite-dir",
    "--overwrite-dir",
    "--same-owner",
    "--keep-directory-symlink",
    "--delay-directory-restore",
    "--no-delay-directory-restore",
    "--no-xattrs",
    "--no-acls",
    "--no-selinux",
    "--preserve-order",
];

impl Options {
    /// Reads the options; those of unzip if `zip`.
    pub fn read(words: &[String], zip: bool) -> Result<Options, ModuleError> {
        let mut options = Options::default();
        for word in words {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            if REFUSED.contains(&name) || word.starts_with("-C") || zip && word.starts_with("-P") {
                let message =
                    format!("`{word}` in `extra_opts` is not supported: what it writes could not be shown before");
                return Err(ModuleError::failed(message));
            }
            match (name, zip) {
                ("-n", true) => options.keep_old = true,
                ("-j", true) => options.flat = true,
                ("--no-same-owner" | "-o", false) => options.own = true,
                ("--no-same-permissions", false) => options.masked = true,
                ("--same-permissions" | "--preserve-permissions" | "-p", false) => options.exact = true,
                ("--numeric-owner", false) => options.numeric = true,
                ("--touch" | "-m", false) => options.touch = true,
                ("--keep-old-files" | "--skip-old-files" | "-k", false) => options.keep_old = true,
                ("--keep-newer-files", false) => options.keep_newer = true,
                (name, _) if SO_ANYWAY.contains(&name) => {}
                _ => options.passed.push(word.clone()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_about_writing_are_taken_and_those_about_reading_are_passed_on() {
        let words =
            ["--strip-components=1", "--no-same-owner", "--overwrite", "--transform", "s/a/b/"].map(String::from);
        let options = Options::read(&words, false).unwrap();
        assert_eq!(options.passed, ["--strip-components=1", "--transform", "s/a/b/"]);
        assert!(options.own && !options.keep_old);
        let zip = Options::read(&["-o".into(), "-j".into()], true).unwrap();
        assert_eq!((zip.flat, zip.own, zip.passed.len()), (true, false, 0));
        assert!(Options::read(&["--one-top-level=x".into()], false).is_err());
    }
}
