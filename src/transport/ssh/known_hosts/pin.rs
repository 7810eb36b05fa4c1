//! A `known_hosts` file that Cutover writes: the keys that a scan saw, beside the lines that others put there.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::line::{Marker, hashed, lines};
use super::refusal::print;

const HEADER: &str = "# Host keys that `cutover hostkeys scan` saw. One line for each name and key.";

/// The keys that one name shall have.
#[derive(Clone, Debug)]
pub struct Pin {
    /// As a line names the host: `host` or `[host]:port`.
    pub name: String,
    /// The type and the key, as a line has them.
    pub keys: Vec<String>,
}

/// How names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    Clear,
    Hashed,
}

/// A line of the file with a key that the host does not show, or that is revoked there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub name: String,
    pub line: usize,
    /// The kind and fingerprint of its key.
    pub key: String,
    pub revoked: bool,
}

/// Returns the lines that stand against these keys. A pattern is no host's own line and stands against none.
pub fn conflicts(text: &str, pins: &[Pin]) -> Vec<Conflict> {
    let mut found = Vec::new();
    for line in lines(text) {
        let Some(key) = line.key() else { continue };
        let shown = |pin: &&Pin| pin.keys.iter().any(|shown| line.is(shown));
        let against = |pin: &&Pin| match line.marker {
            Marker::None => line.names.has(&pin.name) && !shown(pin),
            Marker::Revoked => line.names.matches(&pin.name) && shown(pin),
            Marker::Authority => false,
        };
        found.extend(pins.iter().filter(against).map(|pin| Conflict {
            name: pin.name.clone(),
            line: line.number,
            key: print(&key),
            revoked: line.marker == Marker::Revoked,
        }));
    }
    found
}

/// Returns the file's new text: each of the pins' names has its keys and no others. What is about other hosts stays, as
/// do comments, patterns and markers.
pub fn merge(text: &str, pins: &[Pin], writing: Writing) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut keys = BTreeSet::new();
    let mut there = BTreeSet::new();
    let parsed: Vec<_> = lines(text).collect();
    for (index, written) in text.lines().enumerate() {
        let line = parsed.iter().find(|line| line.number == index + 1 && line.marker == Marker::None);
        let Some(line) = line.filter(|line| line.key().is_some()) else {
            if written != HEADER {
                kept.push(written);
            }
            continue;
        };
        let own: Vec<&Pin> = pins.iter().filter(|pin| line.names.has(&pin.name)).collect();
        let (right, wrong): (Vec<&Pin>, Vec<&Pin>) =
            own.into_iter().partition(|pin| pin.keys.iter().any(|key| line.is(key)));
        there.extend(
            right.iter().flat_map(|pin| pin.keys.iter().filter(|key| line.is(key)).map(|key| (&pin.name, key))),
        );
        if wrong.is_empty() {
            keys.insert(written.trim().to_owned());
        } else if let Some(rest) = line.without(|name| wrong.iter().any(|pin| pin.name.eq_ignore_ascii_case(name))) {
            keys.insert(rest);
        }
    }
    for pin in pins {
        for key in pin.keys.iter().filter(|key| !there.contains(&(&pin.name, *key))) {
            let name = match writing {
                Writing::Clear => pin.name.clone(),
                Writing::Hashed => hashed(&pin.name, &salt()?),
            };
            keys.insert(format!("{name} {key}"));
        }
    }
    let lines = [HEADER].into_iter().chain(kept).chain(keys.iter().map(String::as_str));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// Puts `text` in place of the file at once or not at all, readable by everybody.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
    // A link stays one.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut temp = tempfile::Builder::new().prefix(".known_hosts.").tempfile_in(&directory)?;
    temp.write_all(text.as_bytes())?;
    temp.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    temp.as_file().sync_all()?;
    temp.persist(&file).map_err(|error| error.error)?;
    std::fs::File::open(directory)?.sync_all()
}

fn salt() -> io::Result<[u8; 20]> {
    let mut salt = [0; 20];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut salt)?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn pin(name: &str, keys: &[&str]) -> Pin {
        Pin { name: name.into(), keys: keys.iter().map(|key| (*key).to_string()).collect() }
    }

    fn merged(text: &str, pins: &[Pin]) -> String {
        merge(text, pins, Writing::Clear).unwrap()
    }

    #[test]
    fn lines_are_sorted_and_a_second_writing_changes_nothing() {
        let pins = [pin("b", &[TWO, ONE]), pin("[a]:2222", &[ONE])];
        let text = merged("", &pins);
        let mut expected = vec![format!("[a]:2222 {ONE}"), format!("b {ONE}"), format!("b {TWO}")];
        expected.sort();
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), expected);
        assert_eq!(merged(&text, &pins), text);
    }

    #[test]
    fn what_is_about_other_hosts_stays() {
        let text = format!("# mine\n@cert-authority * {TWO}\n*.example.com {TWO}\nother {TWO} a comment\n");
        let merged = merged(&text, &[pin("a", &[ONE])]);
        for line in text.lines().chain([format!("a {ONE}").as_str()]) {
            assert!(merged.lines().any(|found| found == line), "no {line} in\n{merged}");
        }
        assert!(conflicts(&text, &[pin("a", &[ONE]), pin("x.example.com", &[ONE])]).is_empty());
    }

    #[test]
    fn another_key_of_the_name_is_a_conflict_and_goes_when_it_is_replaced() {
        let text = format!("# x\na,b {TWO} both\nc {TWO}\n");
        let pins = [pin("a", &[ONE]), pin("c", &[ONE])];
        let found: Vec<_> =
            conflicts(&text, &pins).into_iter().map(|conflict| (conflict.name, conflict.line)).collect();
        assert_eq!(found, [("a".to_string(), 2), ("c".to_string(), 3)]);
        assert_eq!(merged(&text, &pins), format!("{HEADER}\n# x\na {ONE}\nb {TWO}\nc {ONE}\n"));
    }

    #[test]
    fn a_revoked_key_is_a_conflict() {
        let found = conflicts(&format!("@revoked * {ONE}\n"), &[pin("a", &[ONE])]);
        assert!(found.len() == 1 && found[0].revoked);
        assert!(conflicts(&format!("@revoked * {TWO}\n"), &[pin("a", &[ONE])]).is_empty());
    }

    #[test]
    fn a_hashed_name_is_found_again() {
        let pins = [pin("a", &[ONE])];
        let text = merge("", &pins, Writing::Hashed).unwrap();
        assert!(text.contains("\n|1|") && !text.contains("\na "), "{text}");
        assert_eq!(merge(&text, &pins, Writing::Hashed).unwrap(), text);
        assert_eq!(conflicts(&text, &[pin("a", &[TWO])]).len(), 1);
        assert_eq!(merged(&text, &[pin("a", &[TWO])]), format!("{HEADER}\na {TWO}\n"));
    }
}
