//! What rpm has noted of a host's packages, through what a check has planned of them, and the tool that installs them.

use std::collections::BTreeMap;

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

/// What its state is called before its name, in the host's own root and in another one.
pub const KIND: &str = "package";

/// A package, named without its architecture where that is the host's own, or none.
pub type Name = String;

pub const ABSENT: &str = "absent";

#[derive(Debug, Default)]
pub struct Database {
    /// `dnf`, `dnf5`, `yum`, `tdnf` or `microdnf`.
    pub tool: String,
    /// The host's own architecture, as rpm names it.
    pub architecture: String,
    /// Versions by name, with an epoch where there is one: several where several are installed at once.
    pub packages: BTreeMap<Name, String>,
    /// What earlier tasks of a check have planned.
    pub planned: BTreeMap<Name, String>,
    /// The words that are met by what is installed.
    met: Vec<String>,
}

/// What rpm prints of one package: name, version, architecture.
const FORMAT: &str = r"%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH}\n";

/// Prints the tool, the architecture and all packages, and which of the words in `$@` are met.
const LOOK: &str = r#"export LC_ALL=C PATH="$PATH:/sbin:/usr/sbin"
mark() { printf '\036%s\n' "$1"; }
tool=
for one in $tools; do if command -v "$one" >/dev/null; then tool=$one; break; fi; done
if [ -z "$tool" ] || ! command -v rpm >/dev/null; then
  mark others; for one in apt-get zypper apk pacman pkg pkg_add; do command -v $one >/dev/null && echo $one; done
  exit 0
fi
mark tool; echo "$tool"
mark architecture; uname -m
mark packages; rpm $root -qa --queryformat "$format" 2>/dev/null | grep -v '^gpg-pubkey '
mark met
has() {
  case $1 in
    *://*) return 1 ;;
    *.rpm) one=$(rpm -qp --nosignature --queryformat '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}' "$1" 2>/dev/null) && rpm $root -q "$one" ;;
    *[*?[]*) [ -n "$(rpm $root -qa "$1")" ] ;;
    *) rpm $root -q "$1" || rpm $root -q --whatprovides "$1" ;;
  esac >/dev/null 2>&1
}
for word; do if has "$word"; then echo "$word"; fi; done
"#;

/// Which tools there may be, the one that is taken first.
pub const TOOLS: &[&str] = &["dnf5", "dnf", "yum", "tdnf", "microdnf"];

impl Database {
    /// Reads it in one exchange. A host without is an error that says what it has.
    pub async fn of(host: &View, root: &str, tools: &[&str], words: &[String]) -> Result<Database, ModuleError> {
        let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
        let script = format!(
            "tools={} root={} format={}\nset -- {}\n{LOOK}",
            quote(&tools.join(" ")),
            quote(&at(root)),
            quote(FORMAT),
            words.join(" ")
        );
        let output = host.probe(&Command::shell(script)).await?.text();
        let mut database = Database::read(&output).map_err(|others| {
            let wanted = if tools == TOOLS { "dnf".into() } else { tools.join(" or ") };
            ModuleError::failed(format!("`{}` has no {wanted}{others}", host.name))
        })?;
        database.planned = host.planned_accounts(&kind(root)).into_iter().collect();
        Ok(database)
    }

    fn read(output: &str) -> Result<Database, String> {
        let sections = output.split('\u{1e}').filter_map(|section| section.split_once('\n'));
        let sections: BTreeMap<&str, &str> = sections.collect();
        let section = |name: &str| sections.get(name).copied().unwrap_or("");
        if !sections.contains_key("tool") {
            let others = section("others").split_whitespace().collect::<Vec<_>>().join(", ");
            return Err(match others.is_empty() {
                true => ", and no other package manager that is known".into(),
                false => format!(": it has {others}"),
            });
        }
        let mut database = Database {
            tool: section("tool").trim().into(),
            architecture: section("architecture").trim().into(),
            met: section("met").lines().map(str::to_string).collect(),
            ..Database::default()
        };
        for line in section("packages").lines() {
            let mut words = line.split(' ');
            let (Some(name), Some(version), Some(architecture)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let versions = database.packages.entry(name_of(&database.architecture, name, architecture)).or_default();
            *versions = joined(versions, version);
        }
        Ok(database)
    }

    pub fn name(&self, name: &str, architecture: &str) -> Name {
        name_of(&self.architecture, name, architecture)
    }

    /// Returns the versions of a package, as planned or as they are, or `absent`.
    pub fn state(&self, name: &str) -> String {
        let known = self.planned.get(name).or_else(|| self.packages.get(name));
        known.cloned().unwrap_or_else(|| ABSENT.into())
    }

    /// Says whether what is installed is what a word asks for, or is planned under that name.
    pub fn is_met(&self, word: &str) -> bool {
        match self.planned.get(word) {
            Some(state) => state != ABSENT,
            None => self.met.iter().any(|met| met == word),
        }
    }
}

/// Returns what states of packages are called in a root directory.
pub fn kind(root: &str) -> String {
    if root == "/" { KIND.into() } else { format!("package of {root}") }
}

/// Returns how rpm is told of a root directory.
fn at(root: &str) -> String {
    if root == "/" { String::new() } else { format!("--root={root}") }
}

fn name_of(own: &str, name: &str, architecture: &str) -> Name {
    if architecture == "noarch" || architecture == own { name.into() } else { format!("{name}.{architecture}") }
}

/// Adds a version to others, in the order of their text: the same whoever lists them.
pub fn joined(versions: &str, version: &str) -> String {
    let mut all: Vec<&str> =
        versions.split(' ').chain([version]).filter(|one| !one.is_empty() && *one != ABSENT).collect();
    all.sort_unstable();
    all.dedup();
    all.join(" ")
}

/// Returns the command that prints the state of one package.
pub fn probe(root: &str, own: &str, name: &str) -> Command {
    // A name may have a dot in it: what is behind the last one counts where it is an architecture.
    let foreign = name.rsplit_once('.').filter(|(_, end)| ARCHITECTURES.contains(end));
    let (bare, architectures) = match foreign {
        Some((bare, architecture)) => (bare, architecture.to_string()),
        None => (name, format!("noarch|{own}")),
    };
    let script = format!(
        "LC_ALL=C rpm {} -q --queryformat {} {} 2>/dev/null | while read -r name version architecture rest; do\n\
         \x20 case $architecture in {architectures}) [ -n \"$rest\" ] || echo \"$version\" ;; esac\n\
         done | LC_ALL=C sort -u | {{ text=; while read -r version; do text=\"$text $version\"; done; echo \"${{text:- {ABSENT}}}\" | cut -c2-; }}",
        if root == "/" { String::new() } else { quote(&at(root)) },
        quote(FORMAT),
        quote(bare)
    );
    Command::shell(script)
}

/// Architectures that names end with (rpm's own list, without those that no distribution has any more).
const ARCHITECTURES: [&str; 14] = [
    "i386", "i486", "i586", "i686", "x86_64", "aarch64", "armv7hl", "ppc64", "ppc64le", "s390", "s390x", "riscv64",
    "noarch", "src",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_all_their_versions_and_foreign_architectures() {
        let output = "\u{1e}tool\ndnf\n\u{1e}architecture\nx86_64\n\u{1e}packages\nkernel 5.14.0-2 x86_64\nkernel 5.14.0-1 x86_64\n\
            glibc 2.34-1 i686\nglibc 2.34-1 x86_64\nbind 32:9.16-1 noarch\n\u{1e}met\nbind\n/usr/bin/x\n";
        let mut database = Database::read(output).unwrap();
        let state = |name: &str| database.state(name);
        assert_eq!((state("kernel").as_str(), state("bind").as_str()), ("5.14.0-1 5.14.0-2", "32:9.16-1"));
        assert_eq!((state("glibc.i686").as_str(), state("none").as_str()), ("2.34-1", "absent"));
        assert!(database.is_met("bind") && database.is_met("/usr/bin/x") && !database.is_met("none"));
        database.planned.insert("bind".into(), ABSENT.into());
        assert!(!database.is_met("bind"));
    }

    #[test]
    fn a_host_without_says_what_it_has() {
        assert_eq!(Database::read("\u{1e}others\napk\n").unwrap_err(), ": it has apk");
        assert!(Database::read("\u{1e}others\n").unwrap_err().contains("no other package manager"));
    }
}
