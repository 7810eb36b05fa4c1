//! The names that a built-in module has: its short one, those of the collections that it is in elsewhere, and second names.

/// The collections whose modules are built in here, and which.
const COLLECTIONS: &[(&str, &[&str])] = &[
    ("ansible.posix.", &["at", "authorized_key", "mount", "synchronize", "sysctl"]),
    ("community.general.", &["apk", "archive", "ini_file", "nsupdate", "pkgng", "timezone"]),
    ("community.mysql.", &["mysql_db", "mysql_query", "mysql_user"]),
];

/// What is the same module under another name.
const SAME: &[(&str, &str)] = &[("dnf5", "dnf"), ("systemd_service", "systemd"), ("yum", "dnf")];

/// Returns the short name of a built-in lookup, and any other name as it is.
pub fn short_lookup(name: &str) -> &str {
    let builtin = name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy."));
    let theirs = || name.strip_prefix("community.general.").filter(|short| *short == "flattened");
    builtin.or_else(theirs).unwrap_or(name)
}

/// Returns the short name of a built-in module, and any other name as it is.
pub fn short(name: &str) -> &str {
    let builtin = name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy."));
    let theirs = || {
        let (prefix, modules) = COLLECTIONS.iter().find(|(prefix, _)| name.starts_with(prefix))?;
        name.strip_prefix(prefix).filter(|short| modules.contains(short))
    };
    let short = builtin.or_else(theirs).unwrap_or(name);
    SAME.iter().find(|(other, _)| *other == short).map_or(short, |(_, first)| first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_the_name_of_its_collection_and_no_other() {
        for (name, expected) in [
            ("ansible.builtin.copy", "copy"),
            ("ansible.posix.mount", "mount"),
            ("community.general.ini_file", "ini_file"),
            ("ansible.builtin.systemd_service", "systemd"),
            ("community.general.copy", "community.general.copy"),
            ("mine.own.mount", "mine.own.mount"),
        ] {
            assert_eq!(short(name), expected);
        }
        let lookups =
            ["ansible.builtin.file", "community.general.flattened", "community.general.file"].map(short_lookup);
        assert_eq!(lookups, ["file", "flattened", "community.general.file"]);
    }
}
