//! Which system a host runs, out of `os-release` or the files that came before it.

use serde_json::{Map, Value};

use super::{Asks, Collector, Seen};

pub const DISTRIBUTION: Collector = Collector {
    name: "distribution",
    ids: &["distribution_version", "distribution_release", "distribution_major_version", "os_family"],
    needs: &[],
    asks: Asks {
        files: &[
            "/etc/SuSE-release",
            "/etc/alpine-release",
            "/etc/altlinux-release",
            "/etc/centos-release",
            "/etc/coreos/update.conf",
            "/etc/debian_version",
            "/etc/lsb-release",
            "/etc/openwrt_release",
            "/etc/oracle-release",
            "/etc/os-release",
            "/etc/redhat-release",
            "/etc/slackware-version",
            "/etc/sourcemage-release",
            "/etc/system-release",
            "/usr/lib/os-release",
        ],
        there: &["/etc/arch-release", "/etc/vmware-release"],
        commands: &["mark system; uname -s"],
        ..Asks::NOTHING
    },
    read: |seen, facts| {
        let text = |path: &str| seen.file(path).unwrap_or("");
        let os_release = seen.file("/etc/os-release").unwrap_or_else(|| text("/usr/lib/os-release"));
        let (redhat, debian) = (text("/etc/redhat-release"), text("/etc/debian_version"));
        for (name, value) in names(os_release, (redhat, debian), seen.line("system", 0)) {
            facts.insert(name.into(), value.into());
        }
        if facts["os_family"] == "RedHat" && text("/etc/centos-release").contains("CentOS Stream") {
            facts.insert("distribution_release".into(), "Stream".into());
        }
        if let Some(minor) = minor(seen, facts) {
            facts.insert("distribution_minor_version".into(), minor.into());
        }
        if let Some((path, variety)) = file(seen) {
            facts.insert("distribution_file_path".into(), path.into());
            facts.insert("distribution_file_variety".into(), variety.into());
            let text = text(path);
            let searched = SEARCHED.iter().find(|(name, searched)| *name == variety && text.contains(searched));
            if let Some((_, searched)) = searched {
                facts.insert("distribution_file_search_string".into(), (*searched).into());
            }
            // Those that are known by being there alone are not read.
            if !EMPTY.iter().any(|(known, _)| *known == path) {
                facts.insert("distribution_file_parsed".into(), true.into());
            }
        }
    },
};

/// Files that say by being there which system it is.
const EMPTY: &[(&str, &str)] = &[("/etc/vmware-release", "VMwareESX"), ("/etc/arch-release", "Archlinux")];

/// What the names of some systems are looked for as.
const SEARCHED: &[(&str, &str)] =
    &[("OracleLinux", "Oracle Linux"), ("RedHat", "Red Hat"), ("Altlinux", "ALT"), ("SMGL", "Source Mage GNU/Linux")];

/// Words of which one is in the file of a system, in Ansible's order; without any, it need only have a text.
const FILES: &[(&str, &str, &[&str])] = &[
    ("/etc/altlinux-release", "Altlinux", &[]),
    ("/etc/oracle-release", "OracleLinux", &[]),
    ("/etc/slackware-version", "Slackware", &["Slackware"]),
    ("/etc/centos-release", "CentOS", &["CentOS Stream", "TencentOS Server"]),
    ("/etc/redhat-release", "RedHat", &[]),
    ("/etc/vmware-release", "VMwareESX", &[]),
    ("/etc/openwrt_release", "OpenWrt", &["OpenWrt"]),
    ("/etc/os-release", "Amazon", &["Amazon"]),
    ("/etc/system-release", "Amazon", &["Amazon"]),
    ("/etc/alpine-release", "Alpine", &[]),
    ("/etc/arch-release", "Archlinux", &[]),
    ("/etc/os-release", "Archlinux", &["Arch Linux"]),
    ("/etc/os-release", "SUSE", &["suse", "Suse", "SuSE", "SUSE"]),
    ("/etc/SuSE-release", "SUSE", &["suse", "Suse", "SuSE", "SUSE"]),
    ("/etc/os-release", "Debian", DEBIANS),
    ("/etc/lsb-release", "Debian", DEBIANS),
    ("/etc/lsb-release", "Mandriva", &["Mandriva"]),
    ("/etc/sourcemage-release", "SMGL", &[]),
    ("/usr/lib/os-release", "ClearLinux", &["Clear Linux"]),
    ("/etc/os-release", "Flatcar", &["ID=flatcar"]),
    ("/etc/os-release", "NA", &[]),
];

const DEBIANS: &[&str] = &[
    "Debian", "Raspbian", "Ubuntu", "SteamOS", "Kali", "Parrot", "Devuan", "Cumulus", "Mint", "UOS", "Uos", "uos",
    "Deepin", "deepin", "LMDE",
];

/// Returns the file that Ansible would know the system by, and which system's file it is.
fn file(seen: &Seen<'_>) -> Option<(&'static str, &'static str)> {
    let fits = |path: &str, words: &[&str]| match seen.file(path) {
        Some(text) => words.is_empty() || words.iter().any(|word| text.contains(word)),
        None => seen.is_there(path) && EMPTY.iter().any(|(empty, _)| *empty == path),
    };
    FILES.iter().find(|(path, _, words)| fits(path, words)).map(|(path, variety, _)| (*path, *variety))
}

/// Returns the second number of the version, of those systems that Ansible tells it of.
fn minor(seen: &Seen<'_>, facts: &Map<String, Value>) -> Option<String> {
    let version = match facts["distribution"].as_str()? {
        "Debian" => seen.file("/etc/debian_version")?,
        "Amazon" => facts["distribution_version"].as_str()?,
        _ => return None,
    };
    let (_, rest) = match (facts["distribution"].as_str()?, version.split_once('.')) {
        ("Amazon", None) => ("", "NA"),
        (_, parts) => parts?,
    };
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    Some(rest[..end].to_string()).filter(|minor| !minor.is_empty())
}

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
fn names(os_release: &str, (redhat, debian): (&str, &str), kernel: &str) -> Vec<(&'static str, String)> {
    let field = |name: &str| {
        let mut lines = os_release.lines().rev().filter_map(|line| line.trim().split_once('='));
        let (_, value) = lines.find(|(key, _)| *key == name)?;
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
        let facts = names(os_release, (redhat, debian), "Linux");
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

    #[test]
    fn the_file_that_a_system_is_known_by_is_told() {
        let of = |printed: &str| {
            let mut facts = Map::new();
            (DISTRIBUTION.read)(&Seen::new(printed), &mut facts);
            let names = ["file_path", "file_variety", "file_search_string", "minor_version", "release"];
            let fact = |name: &str| facts.get(&format!("distribution_{name}")).and_then(Value::as_str).unwrap_or("-");
            names.map(fact).join("|")
        };
        let file = |path: &str, lines: &[&str]| lines.iter().map(|line| format!("{path}:{line}\n")).collect::<String>();
        let debian = file(
            "/etc/os-release",
            &["ID=debian", "NAME=\"Debian GNU/Linux\"", "VERSION_ID=\"12\"", "VERSION_CODENAME=bookworm"],
        );
        let debian = format!("\u{1e}files\n{debian}/etc/debian_version:12.11\n");
        assert_eq!(of(&debian), "/etc/os-release|Debian|-|11|bookworm");
        let rhel = "\u{1e}files\n/etc/os-release:ID=\"rhel\"\n/etc/redhat-release:Red Hat Enterprise Linux release 9.3 (Plow)\n";
        assert_eq!(of(rhel), "/etc/redhat-release|RedHat|Red Hat|-|");
        let stream = "\u{1e}files\n/etc/os-release:ID=\"centos\"\n/etc/centos-release:CentOS Stream release 9\n";
        assert_eq!(of(stream), "/etc/centos-release|CentOS|-|-|Stream");
        let alpine = "\u{1e}files\n/etc/os-release:ID=alpine\n/etc/alpine-release:3.19.0\n";
        assert_eq!(of(alpine), "/etc/alpine-release|Alpine|-|-|");
        let arch = "\u{1e}files\n/etc/os-release:ID=arch\n\u{1e}there\n/etc/arch-release\n";
        assert_eq!(of(arch), "/etc/arch-release|Archlinux|-|-|");
        assert_eq!(of("\u{1e}system\nLinux\n"), "-|-|-|-|");
    }
}
