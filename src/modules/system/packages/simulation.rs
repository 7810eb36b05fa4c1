//! What `apt-get -s` says that it would do, and why it would not.

use std::collections::BTreeMap;

use crate::modules::Results;
use crate::transport::Output;

use super::database::Name;

/// What becomes of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// At this version.
    Installed(String),
    Removed,
    Purged,
}

/// Why apt would do nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its errors, with a hint where there is one.
    pub message: String,
    /// Whether it is for something that its lists do not have.
    pub is_unknown: bool,
}

/// Reads what a simulation printed: lines such as `Inst name [1.0] (2.0 Debian:12 [amd64])`. What is only to be configured is
/// a `Conf` without one.
pub fn read(output: &Output) -> Result<BTreeMap<Name, Fate>, Refusal> {
    if !output.success() {
        return Err(refusal(output));
    }
    let mut fates = BTreeMap::new();
    for line in output.text().lines() {
        let mut words = line.split(' ');
        let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
        let fate = match verb {
            "Inst" | "Conf" => line
                .split_once(" (")
                .and_then(|(_, rest)| rest.split([' ', ')']).next())
                .map(|version| Fate::Installed(version.into())),
            "Remv" => Some(Fate::Removed),
            "Purg" => Some(Fate::Purged),
            _ => None,
        };
        // A purge is told as a removal first.
        if let Some(fate) = fate {
            fates.insert(name.to_string(), fate);
        }
    }
    Ok(fates)
}

/// Pieces of apt's errors, and what to do about them.
const HINTS: [(&str, &str); 6] = [
    ("Unable to locate package", "it may be in the lists after an update: `update_cache: true`"),
    ("has no installation candidate", "name one of the packages that provide it"),
    ("was not found", "`apt-cache madison NAME` on the host lists the versions that its archive has"),
    ("Held packages were changed", "`allow_change_held_packages: true` changes them all the same"),
    ("Packages were downgraded", "`allow_downgrade: true` goes back to an older version"),
    ("Packages need to be removed", "`fail_on_autoremove: false` lets apt remove them"),
];

fn refusal(output: &Output) -> Refusal {
    let (text, errors) = (output.text(), output.error_text());
    let mut told: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("E: ")).collect();
    // What is held or in the way is in lists of their own, indented.
    for title in ["The following held packages will be changed:", "The following packages have unmet dependencies:"] {
        if let Some((_, rest)) = text.split_once(title) {
            told.push(title);
            told.extend(rest.lines().skip(1).take_while(|line| line.starts_with(' ')));
        }
    }
    let message = match told.is_empty() {
        true => format!("apt-get ended with status {}: {}", output.status, errors.trim_end()),
        false => told.join("\n"),
    };
    let missing = errors.lines().find_map(|line| line.strip_prefix("E: Unable to locate package "));
    // As Ansible says it, before what apt says.
    let message =
        missing.map(|name| format!("No package matching '{name}' is available\n")).unwrap_or_default() + &message;
    let hint = HINTS.iter().find(|(piece, _)| message.contains(piece)).map(|(_, hint)| format!("\nhint: {hint}"));
    let is_unknown = HINTS[..3].iter().any(|(piece, _)| message.contains(piece));
    Refusal { message: message + &hint.unwrap_or_default(), is_unknown }
}

/// Returns what apt has said, as `register:` sees it.
pub fn told(output: &Output) -> Results {
    let mut result = Results::new();
    for (name, text) in [("stdout", output.text()), ("stderr", output.error_text())] {
        result.insert(format!("{name}_lines"), text.lines().collect());
        result.insert(name.into(), text.into());
    }
    result
}

/// Returns what apt has said of what changes: what stands between what it has read and the sums.
pub fn prepared(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("Reading state information...")).map_or(0, |at| at + 1);
    let is_sum = |line: &&str| {
        line.split_once(' ').is_some_and(|(count, rest)| count.parse::<u32>().is_ok() && rest.starts_with("upgraded"))
    };
    let end = lines.iter().position(is_sum).map_or(lines.len(), |at| at + 1);
    lines[start.min(end)..end].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output { status, stdout: stdout.into(), stderr: stderr.into(), ..Output::default() }
    }

    #[test]
    fn what_would_be_done_is_read_for_every_package_that_changes() {
        let text = "Reading package lists...\nThe following NEW packages will be installed:\n  two\n\
            Remv three [1.0] [four:amd64 ]\nPurg five [2:1.0]\nInst two (1.5 Debian:12.5/stable [all])\n\
            Inst libc6:i386 [2.36-8] (2.36-9+deb12u4 Debian:12.5/stable [i386]) []\nInst local (2.0 localhost [all])\n\
            Conf two (1.5 Debian:12.5/stable [all])\n";
        let found = read(&output(0, text, "")).unwrap();
        let installed = |version: &str| Fate::Installed(version.into());
        let expected = [
            ("five", Fate::Purged),
            ("libc6:i386", installed("2.36-9+deb12u4")),
            ("local", installed("2.0")),
            ("three", Fate::Removed),
            ("two", installed("1.5")),
        ];
        assert_eq!(found, expected.map(|(name, fate)| (name.to_string(), fate)).into());
    }

    #[test]
    fn why_nothing_would_be_done_is_said_with_what_to_do() {
        let why = |stdout: &str, stderr: &str| read(&output(100, stdout, stderr)).unwrap_err();
        let unknown = why("Reading package lists...\n", "E: Unable to locate package nope\n");
        assert!(
            unknown.is_unknown
                && unknown.message.contains("'nope' is available\nUnable to locate package nope\nhint: ")
        );
        let held = why(
            "The following held packages will be changed:\n  two\n0 upgraded, 0 newly installed\n",
            "E: Held packages were changed and -y was used without --allow-change-held-packages.\n",
        );
        assert!(held.message.contains("will be changed:\n  two\nhint: `allow_change_held_packages"), "{held:?}");
        assert!(!held.is_unknown);
        assert_eq!(why("", "sh: apt-get: killed\n").message, "apt-get ended with status 100: sh: apt-get: killed");
    }

    #[test]
    fn what_apt_prepares_stands_before_its_sums() {
        let text = "Reading package lists...\nReading state information...\nThe following NEW packages will be installed:\n  foo\n\
            0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\nInst foo (1.0 localhost [all])\n";
        let expected = "The following NEW packages will be installed:\n  foo\n0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.";
        assert_eq!(prepared(text), expected);
    }
}
