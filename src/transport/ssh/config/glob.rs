//! The files that a pattern of `Include` names (`glob.7`), in the order of their names.

use std::path::PathBuf;

use globset::GlobBuilder;

/// Returns the paths that exist. A name that starts with a dot is found only by a pattern that does.
pub fn find(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match part.contains(['*', '?', '[', '\\']) {
            false => found.into_iter().map(|directory| directory.join(part)).collect(),
            true => found.iter().flat_map(|directory| matching(directory, part)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

fn matching(directory: &std::path::Path, pattern: &str) -> Vec<PathBuf> {
    // Braces are letters to glob(3), and alternatives to the library.
    let pattern = pattern.replace('{', "[{]").replace('}', "[}]");
    let built = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
    let (Ok(glob), Ok(entries)) = (built, std::fs::read_dir(directory)) else { return Vec::new() };
    let glob = glob.compile_matcher();
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.retain(|name| {
        let hidden = name.to_string_lossy().starts_with('.') && !pattern.starts_with('.');
        !hidden && glob.is_match(name)
    });
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_order_without_hidden_ones() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".c.conf", "d.txt", "x{1}.conf"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = find(&format!("{}/{pattern}", directory.path().display()));
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names("*.conf"), ["a.conf", "b.conf", "x{1}.conf"]);
        assert_eq!(names("[ab].conf"), ["a.conf", "b.conf"]);
        assert_eq!(names("x{1}*"), ["x{1}.conf"]);
        assert_eq!(names(".*.conf"), [".c.conf"]);
        assert_eq!(names("absent"), [""; 0]);
        assert_eq!(names("a.conf"), ["a.conf"]);
        assert_eq!(names("[*.conf"), [""; 0]);
    }
}
