//! What dpkg and apt have noted of a host's packages, through what a check has planned of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

/// A package of a host: as changes of it are named, with `:ARCHITECTURE` only where that is not the host's own.
pub type Name = String;

/// What a package is; its text is what changes show and what [`probe`] prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    /// Removed, its configuration is left (dpkg's `config-files`).
    Configuration(String),
    /// `automatic` as in apt-mark(8): it came along with another one, and goes when nobody needs it.
    Installed {
        version: String,
        automatic: bool,
    },
    /// Neither there nor gone, as dpkg names it, with the version: `unpacked 1.0`.
    Half {
        text: String,
        automatic: bool,
    },
}

/// How the texts of a [`State::Half`] begin (dpkg.1).
const HALVES: [&str; 3] = ["unpacked ", "half-configured ", "half-installed "];

impl State {
    pub fn read(text: &str) -> State {
        if let Some(version) = text.strip_prefix("configuration of ") {
            return State::Configuration(version.into());
        }
        if HALVES.iter().any(|half| text.starts_with(half)) {
            return State::Half { text: text.into(), automatic: false };
        }
        match (text, text.strip_suffix(", automatic")) {
            ("absent" | "", _) => State::Absent,
            (_, Some(version)) => State::Installed { version: version.into(), automatic: true },
            (version, None) => State::Installed { version: version.into(), automatic: false },
        }
    }

    pub fn text(&self) -> String {
        match self {
            State::Absent => "absent".into(),
            State::Configuration(version) => format!("configuration of {version}"),
            State::Installed { version, automatic: true } => format!("{version}, automatic"),
            State::Installed { version, automatic: false } => version.clone(),
            State::Half { text, .. } => text.clone(),
        }
    }

    pub fn version(&self) -> Option<&str> {
        if let State::Installed { version, .. } = self { Some(version) } else { None }
    }

    pub fn is_automatic(&self) -> bool {
        matches!(self, State::Installed { automatic: true, .. } | State::Half { automatic: true, .. })
    }
}

/// Everything that is not absent, by name.
#[derive(Debug, Default)]
pub struct Database {
    /// The host's own architecture, as dpkg names it.
    pub architecture: String,
    /// What is on the host, without what is planned.
    pub packages: BTreeMap<Name, Package>,
    /// What earlier tasks of a check have planned.
    pub planned: BTreeMap<Name, State>,
    /// When apt's lists were last updated, in seconds since 1970 and as `stat` prints it; 0 is never.
    pub lists: (i64, String),
    /// The host's clock, in seconds since 1970.
    pub now: i64,
    /// A package that is neither there nor gone, as which nothing but apt's `--fix-broken` goes on.
    pub half: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Package {
    pub state: State,
    pub architecture: String,
    pub section: String,
    provides: String,
}

const LOOK: &str = r#"export LC_ALL=C PATH="$PATH:/sbin:/usr/sbin"
mark() { printf '\036%s\n' "$1"; }
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  mark others; for tool in dnf5 dnf yum zypper apk pacman pkg pkg_add; do command -v $tool >/dev/null && echo $tool; done
  exit 0
fi
mark architecture; dpkg --print-architecture
mark packages; dpkg-query -W -f '${Package}\t${Architecture}\t${Status}\t${Version}\t${Section}\t${Provides}\n' 2>/dev/null
mark extended; cat /var/lib/apt/extended_states 2>/dev/null
mark interrupted; ls /var/lib/dpkg/updates 2>/dev/null
mark now; date +%s
mark lists; "#;

/// Prints when apt's lists were last updated: seconds since 1970, and the time to the nanosecond.
const STAMP: &str = "stamp() { cd /var/lib/apt && stat -c '%Y %y' lists periodic/update-success-stamp \
    periodic/update-stamp 2>/dev/null | sort -n | tail -n 1; }\n";

impl Database {
    /// Reads it in one exchange. A host without apt is an error that says what it has.
    pub async fn of(host: &View) -> Result<Database, ModuleError> {
        Database::with_halves(host).await?.whole(host)
    }

    /// The same with packages that are neither there nor gone.
    pub async fn with_halves(host: &View) -> Result<Database, ModuleError> {
        Database::look(host).await?.map_err(|without| without.error(host))
    }

    /// Returns it if each package is there or gone.
    pub fn whole(self, host: &View) -> Result<Database, ModuleError> {
        match &self.half {
            Some(half) => Err(ModuleError::failed(format!("`{}`: {half}\n{CONFIGURE}", host.name))),
            None => Ok(self),
        }
    }

    /// Reads it, or says what the host has in its place.
    pub async fn look(host: &View) -> Result<Result<Database, Without>, ModuleError> {
        let output = host.probe(&Command::shell(format!("{STAMP}{LOOK}stamp"))).await?.text();
        let mut database = match Database::read(&output) {
            Ok(database) => database,
            Err(Unusable::Without(others)) => return Ok(Err(Without(others))),
            Err(Unusable::Broken(why)) => return Err(ModuleError::failed(format!("`{}`: {why}", host.name))),
        };
        let planned = host.planned_accounts("package").into_iter();
        database.planned = planned.map(|(name, text)| (name, State::read(&text))).collect();
        Ok(Ok(database))
    }

    fn read(output: &str) -> Result<Database, Unusable> {
        let sections = output.split('\u{1e}').filter_map(|section| section.split_once('\n'));
        let sections: BTreeMap<&str, &str> = sections.collect();
        let section = |name: &str| sections.get(name).copied().unwrap_or("");
        if !sections.contains_key("architecture") {
            let others = section("others").split_whitespace().map(str::to_string);
            return Err(Unusable::Without(others.collect()));
        }
        if section("interrupted").lines().any(|name| name.starts_with(|first: char| first.is_ascii_digit())) {
            return Err(Unusable::Broken(format!("dpkg was interrupted\n{CONFIGURE}")));
        }
        let (seconds, time) = section("lists").trim().split_once(' ').unwrap_or(("0", ""));
        let mut database = Database {
            architecture: section("architecture").trim().into(),
            lists: (seconds.parse().unwrap_or(0), time.into()),
            now: section("now").trim().parse().unwrap_or(0),
            ..Database::default()
        };
        let automatic = automatic(section("extended"), &database.architecture);
        for line in section("packages").lines() {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (name, architecture, status, version) = (next(), next(), next(), next());
            let name = database.name(name, architecture);
            let state = match status.rsplit(' ').next().unwrap_or_default() {
                "not-installed" | "" => continue,
                "config-files" => State::Configuration(version.into()),
                "installed" | "triggers-pending" | "triggers-awaited" => {
                    State::Installed { version: version.into(), automatic: automatic.contains(&name) }
                }
                half => {
                    database.half = Some(format!("package `{name}` is {half}"));
                    State::Half { text: format!("{half} {version}"), automatic: automatic.contains(&name) }
                }
            };
            let (section, provides) = (next().to_string(), next().to_string());
            let architecture = architecture.to_string();
            database.packages.insert(name, Package { state, architecture, section, provides });
        }
        Ok(database)
    }

    /// Returns how a package of an architecture is named.
    pub fn name(&self, name: &str, architecture: &str) -> Name {
        if ["", "all", &self.architecture].contains(&architecture) {
            name.into()
        } else {
            format!("{name}:{architecture}")
        }
    }

    /// Returns what a package is, as planned or as it is.
    pub fn state(&self, name: &str) -> State {
        let real = || self.packages.get(name).map(|package| package.state.clone());
        self.planned.get(name).cloned().or_else(real).unwrap_or(State::Absent)
    }

    /// Returns an installed package that provides `name`.
    pub fn provider(&self, name: &str) -> Option<&Name> {
        let provides = |package: &Package| {
            package.provides.split(", ").any(|one| one.split([' ', ':']).next().is_some_and(|one| one == name))
        };
        let installed = |found: &Name| self.state(found).version().is_some();
        self.packages.iter().find(|(found, package)| provides(package) && installed(found)).map(|(found, _)| found)
    }
}

/// What ends an interrupted or failed run of dpkg's (dpkg.1).
const CONFIGURE: &str =
    "hint: `dpkg --configure -a` on the host, or `apt` with `state: fixed`, ends it, or says what is wrong";

/// A host has no apt, and these.
#[derive(Debug)]
pub struct Without(pub Vec<String>);

impl Without {
    pub fn error(&self, host: &View) -> ModuleError {
        let others = match self.0.is_empty() {
            true => ", and no other package manager that is known".into(),
            false => format!(": it has {}\nhint: use `package`, or `command` with `creates`", self.0.join(", ")),
        };
        ModuleError::failed(format!("`{}` has no apt{others}", host.name))
    }
}

#[derive(Debug, PartialEq)]
enum Unusable {
    /// No apt; what else there is.
    Without(Vec<String>),
    Broken(String),
}

/// Reads the packages of `extended_states` that came along. Stanzas of old apts have no architecture.
fn automatic(text: &str, own: &str) -> BTreeSet<Name> {
    let field = |stanza: &str, key: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ").map(str::to_string))
    };
    let stanzas = text.split("\n\n").filter(|stanza| field(stanza, "Auto-Installed").as_deref() == Some("1"));
    let name = |stanza| {
        let (name, architecture) = (field(stanza, "Package")?, field(stanza, "Architecture").unwrap_or_default());
        let foreign = !["", "all", own].contains(&architecture.as_str());
        Some(if foreign { format!("{name}:{architecture}") } else { name })
    };
    stanzas.filter_map(name).collect()
}

/// Returns the command that prints the state of one package.
pub fn probe(name: &str, own: &str) -> Command {
    let (bare, architecture) = name.split_once(':').unwrap_or((name, own));
    let script = r#"
dpkg-query -W -f '${Architecture} ${Status} ${Version}\n' "$name" 2>/dev/null | {
  text=absent
  while read -r found _ _ status version; do
    [ "$found" = "$architecture" ] || [ "$found" = all ] || continue
    case $status in
      installed | triggers-*) text=$version
        awk -v name="$name" -v architecture="$architecture" '
          $1 == "Package:" { package = $2; own = architecture } $1 == "Architecture:" { own = $2 }
          $0 == "Auto-Installed: 1" && package == name && (own == architecture || own == "all") { found = 1 }
          END { exit !found }' /var/lib/apt/extended_states 2>/dev/null && text="$text, automatic" ;;
      config-files) text="configuration of $version" ;;
      not-installed) ;;
      *) text="$status $version" ;;
    esac
  done
  printf '%s\n' "$text"
}"#;
    Command::shell(format!("name={} architecture={}{script}", quote(bare), quote(architecture)))
}

/// Returns the command that says whether apt's lists were updated since the time that a database has of them.
pub fn probe_of_lists(time: &str) -> Command {
    let script = format!(
        "{STAMP}time=$(stamp); time=${{time#* }}\n\
         if [ \"$time\" = {} ]; then echo \"of ${{time:-never}}\"; else echo updated; fi",
        quote(time)
    );
    Command::shell(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\u{1e}architecture\namd64\n\u{1e}packages\n\
        mawk\tamd64\tinstall ok installed\t1.3.4-3\tutils\tawk\n\
        libc6\tamd64\tinstall ok installed\t2.36-9\tlibs\tlibc6-2.36-9, so\n\
        libc6\ti386\tinstall ok installed\t2.36-8\tlibs\t\n\
        tzdata\tall\thold ok triggers-pending\t2024a\tlocalization\t\n\
        gone\tall\tdeinstall ok config-files\t1:0.9\tmail\tawk\n\
        never\tall\tunknown ok not-installed\t\t\t\n\
        \u{1e}extended\nPackage: libc6\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: tzdata\nArchitecture: amd64\n\
        Auto-Installed: 0\n\nPackage: libc6\nArchitecture: i386\nAuto-Installed: 1\n\
        \u{1e}interrupted\ntmp.i\n\u{1e}now\n1700000100\n\u{1e}lists\n1700000000 2023-11-14 22:13:20.0 +0000\n";

    #[test]
    fn packages_are_read_with_their_architecture_and_why_they_came() {
        let database = Database::read(OUTPUT).unwrap();
        let text = |name: &str| database.state(name).text();
        assert_eq!(text("mawk"), "1.3.4-3");
        assert_eq!((text("libc6"), text("libc6:i386")), ("2.36-9, automatic".into(), "2.36-8, automatic".into()));
        assert_eq!((text("tzdata"), text("gone")), ("2024a".into(), "configuration of 1:0.9".into()));
        assert_eq!((text("never"), text("unheard-of")), ("absent".into(), "absent".into()));
        assert_eq!(database.provider("awk"), Some(&"mawk".to_string()));
        assert_eq!((database.provider("so"), database.provider("editor")), (Some(&"libc6".to_string()), None));
        assert_eq!((database.lists.0, database.now), (1_700_000_000, 1_700_000_100));
        for state in ["absent", "1.2-3", "1.2-3, automatic", "configuration of 1.2-3", "unpacked 1.2-3"] {
            assert_eq!(State::read(state).text(), state);
        }
    }

    #[test]
    fn what_stops_every_change_of_packages_is_said() {
        let read = |output: &str| Database::read(output).unwrap_err();
        let without = |tools: &str| match read(&format!("\u{1e}others\n{tools}")) {
            Unusable::Without(others) => others,
            broken => panic!("{broken:?}"),
        };
        assert_eq!(without("dnf\nyum\n"), ["dnf", "yum"]);
        assert!(without("").is_empty());
        let half = OUTPUT.replace("deinstall ok config-files", "install ok half-configured");
        let half = Database::read(&half).unwrap();
        assert_eq!(half.half.as_deref(), Some("package `gone` is half-configured"));
        assert_eq!(half.state("gone").text(), "half-configured 1:0.9");
        let interrupted = OUTPUT.replace("tmp.i", "0001\ntmp.i");
        assert_eq!(read(&interrupted), Unusable::Broken(format!("dpkg was interrupted\n{CONFIGURE}")));
    }
}
