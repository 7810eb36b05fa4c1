//! Which system a host runs, out of `os-release` or the files that came before it.

/// What Ansible calls a distribution and its family, by the `ID` of `os-release.5`.
const NAMES: &[(&str, &str, &str)] = &[
    ("debian", "Debian", "Debian"),
    ("ubuntu", "Ubuntu", "Debian"),
    ("raspbian", "Debian", "Debian"),
    ("linuxmint", "Linux Mint", "Debian"),
    ("kali", "Kali", "Debian"),
    ("rhel", "RedHat", "RedHat"),
    ("centos", "CentOS", "RedHat"),
    ("fedora", "Fedora", "RedHat"),
    ("rocky", "Rocky", "RedHat"),
    ("almalinux", "AlmaLinux", "RedHat"),
    ("cloudlinux", "CloudLinux", "RedHat"),
    ("ol", "OracleLinux", "RedHat"),
    ("amzn", "Amazon", "RedHat"),
    ("opensuse-leap", "openSUSE Leap", "Suse"),
    ("opensuse-tumbleweed", "openSUSE Tumbleweed", "Suse"),
    ("sles", "SLES", "Suse"),
    ("alpine", "Alpine", "Alpine"),
    ("arch", "Archlinux", "Archlinux"),
    ("gentoo", "Gentoo", "Gentoo"),
];

/// Returns the facts about the distribution. `redhat` and `debian` are the texts of `redhat-release` and `debian_version`.
pub fn facts(os_release: &str, (redhat, debian): (&str, &str), kernel: &str) -> Vec<(&'static str, String)> {
    let field = |name: &str| {
        let lines = os_release.lines().filter_map(|line| line.trim().split_once('='));
        let value = lines.filter(|(key, _)| *key == name).map(|(_, value)| value).last()?;
        Some(shlex::split(value).map_or_else(|| value.into(), |words| words.concat()))
    };
    let debian = debian.lines().next().unwrap_or("").trim();
    let (name, family, version, release) = match field("ID") {
        Some(id) => {
            let known = NAMES.iter().find(|(known, _, _)| *known == id);
            let name = known.map_or_else(|| field("NAME").unwrap_or(id.clone()), |(_, name, _)| name.to_string());
            let like = field("ID_LIKE").unwrap_or_default();
            let related = || NAMES.iter().find(|(known, _, _)| like.split(' ').any(|word| word == *known));
            let family = known.or_else(related).map_or_else(|| name.clone(), |(_, _, family)| family.to_string());
            let mut version = field("VERSION_ID").unwrap_or_default();
            // Debian's os-release has no point release.
            if id == "debian" && debian.starts_with(&format!("{version}.")) {
                version = debian.into();
            }
            (name, family, version, field("VERSION_CODENAME").unwrap_or_default())
        }
        None if !redhat.trim().is_empty() => {
            let (name, version, release) = release_line(redhat);
            (name, "RedHat".into(), version, release)
        }
        None if !debian.is_empty() => ("Debian".into(), "Debian".into(), debian.into(), String::new()),
        None => (kernel.into(), kernel.into(), String::new(), String::new()),
    };
    let major = version.split('.').next().unwrap_or("").to_string();
    vec![
        ("distribution", name),
        ("distribution_version", version),
        ("distribution_major_version", major),
        ("distribution_release", release),
        ("os_family", family),
    ]
}

/// Reads `CentOS release 5.11 (Final)` and `Red Hat Enterprise Linux Server release 6.10 (Santiago)`.
fn release_line(line: &str) -> (String, String, String) {
    let (name, rest) = line.trim().split_once(" release ").unwrap_or((line.trim(), ""));
    let name = if name.starts_with("Red Hat") { "RedHat" } else { name.split(' ').next().unwrap_or(name) };
    let version = rest.split(' ').next().unwrap_or("");
    let release = rest.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
    (name.into(), version.into(), release.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(os_release: &str, redhat: &str, debian: &str) -> String {
        let facts = facts(os_release, (redhat, debian), "Linux");
        facts.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn new_and_old_systems_have_ansibles_names() {
        let debian = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(of(debian, "", "12.5\n"), "Debian|12.5|12|bookworm|Debian");
        assert_eq!(of("ID=\"rocky\"\nVERSION_ID='9.3'\n", "", ""), "Rocky|9.3|9||RedHat");
        assert_eq!(
            of("ID=pop\nNAME=\"Pop!_OS\"\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=22.04\n", "", ""),
            "Pop!_OS|22.04|22||Debian"
        );
        assert_eq!(of("", "CentOS release 5.11 (Final)\n", ""), "CentOS|5.11|5|Final|RedHat");
        assert_eq!(
            of("", "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n", ""),
            "RedHat|6.10|6|Santiago|RedHat"
        );
        assert_eq!(of("", "", "4.0\n"), "Debian|4.0|4||Debian");
        assert_eq!(of("", "", ""), "Linux||||Linux");
    }
}
