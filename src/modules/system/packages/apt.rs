//! `apt`: packages of Debian's and its like, with all that comes and goes along.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::absolute;
use crate::modules::{Argument, Arguments, DIFFERENCE, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Output};

use super::database::{Database, Name, State, probe_of_lists};
use super::fetched::{Fetched, package_in};
use super::foreseen::{self, Lists};
use super::named;
use super::request::Request;
use super::retries::{MAX_DELAY, RETRIES, Retries};
use super::selections::SELECTION;
use super::simulation::{self, Fate};
use super::transaction::{Transaction, quiet};

pub const APT: Entry = Entry {
    name: "apt",
    summary: "Installs, upgrades and removes packages with apt; every package that changes is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the tools that the second door for SMTP needs are there
  apt:
    name: [ucspi-tcp, xinetd]
    install_recommends: false
",
    build,
};

const STATE: Argument =
    Argument::new(
        "state",
        Kind::Text,
        "`latest` upgrades what is there; `build-dep` installs what the source packages need to be built; `fixed` also puts right what packages that are there lack. The default is `present`.",
    )
    .choices(&["present", "installed", "absent", "removed", "latest", "build-dep", "fixed"]);

pub const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "name",
        Kind::List,
        "Packages: `name`, `name=version` (also `name=1.2*`), `name>=version`, `name:architecture`, `name/release`, or a pattern \
         of names (`lib*-dev`).",
    )
    .alias(&["package", "pkg"]),
    STATE,
    Argument::new(
        "update_cache",
        Kind::Bool,
        "The lists of packages are updated first. A check reads new ones into a temporary directory.",
    )
    .alias(&["update-cache"]),
    Argument::new("cache_valid_time", Kind::Int, "Lists that are younger, in seconds, are not updated."),
    Argument::new(
        "upgrade",
        Kind::Text,
        "Upgrades all packages: `safe` removes none, `full` may (apt-get dist-upgrade).",
    )
    .choices(&["no", "False", "yes", "True", "safe", "full", "dist"]),
    Argument::new("autoremove", Kind::Bool, "Packages that came along and that nobody needs any more go too."),
    Argument::new("purge", Kind::Bool, "What is removed loses its configuration too."),
    Argument::new("default_release", Kind::Text, "The release that versions come from, as apt-get's `-t`.")
        .alias(&["default-release"]),
    Argument::new(
        "install_recommends",
        Kind::Bool,
        "Whether recommended packages come along. The default is the host's.",
    )
    .alias(&["install-recommends"]),
    Argument::new("only_upgrade", Kind::Bool, "Nothing is installed that is not there."),
    Argument::new(
        "dpkg_options",
        Kind::Text,
        "Options of dpkg, by commas. The default is `force-confdef,force-confold`.",
    ),
    Argument::new("allow_unauthenticated", Kind::Bool, "Packages without a good signature are taken.")
        .alias(&["allow-unauthenticated"]),
    Argument::new("allow_downgrade", Kind::Bool, "`name=version` may be older than what is there.").alias(&[
        "allow-downgrade",
        "allow_downgrades",
        "allow-downgrades",
    ]),
    Argument::new("allow_change_held_packages", Kind::Bool, "Packages on hold are changed too."),
    Argument::new("fail_on_autoremove", Kind::Bool, "It fails where apt would remove a package."),
    Argument::new(
        "lock_timeout",
        Kind::Int,
        "Seconds to wait for who has dpkg's lock (apt 1.9.11 and newer). The default is 60.",
    ),
    Argument::new("force_apt_get", Kind::Bool, "Nothing else is ever used."),
    Argument::new("auto_install_module_deps", Kind::Bool, "Nothing is needed that could be installed."),
    Argument::new(
        "deb",
        Kind::Path,
        "Files of packages that are on the host, by commas, or the URL of one; what they need comes from the archive.",
    ),
    Argument::new(
        "force",
        Kind::Bool,
        "`allow_unauthenticated`, `allow_downgrade` and `allow_change_held_packages` at once.",
    ),
    Argument::new(
        "policy_rc_d",
        Kind::Int,
        "What a `/usr/sbin/policy-rc.d` ends with for as long as apt runs: 101 starts no service of a new package.",
    ),
    Argument::new(
        "autoclean",
        Kind::Bool,
        "Downloaded packages that can no longer be had are removed, where nothing else changes.",
    ),
    Argument::new("clean", Kind::Bool, "All downloaded packages are removed, where nothing else changes."),
    RETRIES,
    MAX_DELAY,
];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    name: Option<Vec<String>>,
    state: Wanted,
    update_cache: Option<bool>,
    cache_valid_time: Option<i64>,
    upgrade: Option<String>,
    autoremove: bool,
    purge: bool,
    default_release: Option<String>,
    install_recommends: Option<bool>,
    only_upgrade: bool,
    dpkg_options: Option<String>,
    allow_unauthenticated: bool,
    allow_downgrade: bool,
    allow_change_held_packages: bool,
    fail_on_autoremove: bool,
    lock_timeout: Option<u32>,
    force: bool,
    autoclean: bool,
    clean: bool,
    deb: Option<String>,
    policy_rc_d: Option<i64>,
    #[serde(flatten)]
    retries: Retries,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    #[default]
    #[serde(alias = "installed")]
    Present,
    #[serde(alias = "removed")]
    Absent,
    Latest,
    #[serde(rename = "build-dep")]
    BuildDep,
    Fixed,
}

pub struct Apt {
    requests: Vec<Request>,
    /// The verb of apt-get that upgrades all, with its options.
    upgrade: Option<&'static [&'static str]>,
    /// The package that `deb` has to be fetched for.
    fetched: Option<Fetched>,
    fields: Fields,
}

/// What apt has to be asked for.
#[derive(Default)]
struct Open {
    /// Words of apt-get install.
    words: Vec<String>,
    /// The packages that are named.
    named: BTreeSet<Name>,
    /// The files that some of them are in.
    files: BTreeMap<Name, String>,
    fetched: Option<Fetched>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(Apt::read(arguments)?))
}

impl Apt {
    /// Reads what is asked for; arguments of others are passed over.
    pub fn read(arguments: &Arguments) -> Result<Apt, Diagnostic> {
        Apt::new(arguments.read()?)
    }

    fn new(fields: Fields) -> Result<Apt, Diagnostic> {
        let all = fields.state == Wanted::Latest && fields.name.iter().flatten().any(|name| name == "*");
        let names = fields.name.iter().flatten().filter(|name| !(name.is_empty() || all && *name == "*"));
        let requests = names.map(|name| Request::read(name)).collect::<Result<Vec<_>, _>>()?;
        let upgrade: Option<&'static [&'static str]> = match fields.upgrade.as_deref() {
            None | Some("no" | "False") if !all => None,
            Some("full" | "dist") => Some(&["dist-upgrade"]),
            _ => Some(&["--with-new-pkgs", "upgrade"]),
        };
        let updates = fields.update_cache == Some(true) || fields.cache_valid_time.is_some();
        let cleans = fields.autoremove || fields.autoclean || fields.clean;
        if fields.name.is_none() && fields.deb.is_none() && upgrade.is_none() && !updates && !cleans {
            return Err(Diagnostic::new("`apt` needs `name`, `deb`, `upgrade`, `update_cache` or `autoremove`")
                .msg("one of the following is required: autoremove, deb, package, update_cache, upgrade"));
        }
        if !requests.is_empty() && all {
            return Err(Diagnostic::new("`apt` takes all packages or some, not both")
                .msg("unable to install additional packages when upgrading all installed packages"));
        }
        if !requests.is_empty() && upgrade.is_some() {
            return Err(Diagnostic::new("`apt` takes `name` or `upgrade`, not both")
                .hint("`state: latest` upgrades the packages that `name` has")
                .msg("parameters are mutually exclusive: deb|package|upgrade"));
        }
        if fields.deb.is_some() && (!requests.is_empty() || upgrade.is_some()) {
            return Err(Diagnostic::new("`apt` takes `deb` alone, without `name` and `upgrade`")
                .msg("parameters are mutually exclusive: deb|package|upgrade"));
        }
        if fields.deb.is_some() && fields.state != Wanted::Present {
            let error = Diagnostic::new("`deb` of `apt` is for `state: present`");
            return Err(error.msg("deb only supports state=present"));
        }
        let url = fields.deb.as_deref().filter(|files| files.contains("://"));
        let fetched = url.map(Fetched::new).transpose()?;
        let safe =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.,=+/".contains(c));
        for (name, value) in [("dpkg_options", &fields.dpkg_options), ("default_release", &fields.default_release)] {
            if value.as_deref().is_some_and(|value| !safe(value) || value.starts_with('-')) {
                return Err(Diagnostic::new(format!("`{name}` has what no option of apt has")));
            }
        }
        Ok(Apt { requests, upgrade, fetched, fields })
    }

    /// Says whether what is named are source packages.
    fn builds(&self) -> bool {
        self.fields.state == Wanted::BuildDep
    }

    /// Returns the options of apt-get for a simulation and for a run.
    fn options(&self) -> Vec<String> {
        let fields = &self.fields;
        let mut words = vec!["-y".to_string(), "-q".into()];
        let mut option = |text: String| words.extend(["-o".into(), text]);
        option(format!("DPkg::Lock::Timeout={}", fields.lock_timeout.unwrap_or(60)));
        for text in fields.dpkg_options.as_deref().unwrap_or("force-confdef,force-confold").split(',') {
            option(format!("Dpkg::Options::=--{text}"));
        }
        if let Some(recommends) = fields.install_recommends {
            option(format!("APT::Install-Recommends={}", if recommends { "yes" } else { "no" }));
        }
        if let Some(release) = &fields.default_release {
            words.extend(["-t".into(), release.clone()]);
        }
        for (asked, flag) in [
            (fields.allow_unauthenticated || fields.force, "--allow-unauthenticated"),
            (fields.allow_downgrade || fields.force, "--allow-downgrades"),
            (fields.allow_change_held_packages || fields.force, "--allow-change-held-packages"),
            (fields.fail_on_autoremove, "--no-remove"),
            (fields.purge, "--purge"),
            (fields.state == Wanted::Fixed, "--fix-broken"),
        ] {
            words.extend(asked.then(|| flag.to_string()));
        }
        words
    }

    /// Returns what is not as asked, or what only apt can tell.
    async fn open(&self, (host, database): (&View, &Database), lists: Lists) -> Result<Open, ModuleError> {
        let mut open = Open::default();
        let files = match &self.fetched {
            Some(fetched) => vec![fetched.file.clone()],
            None => self
                .fields
                .deb
                .iter()
                .flat_map(|files| files.split(','))
                .map(|file| absolute(host, file.trim()))
                .collect(),
        };
        for file in files {
            let (name, version, digest) = package_in(host, &file, self.fetched.as_ref()).await?;
            open.fetched = self.fetched.as_ref().map(|fetched| fetched.seen(digest));
            let name = name.split_once(':').map_or(name.clone(), |(bare, of)| database.name(bare, of));
            if database.state(&name).version() != Some(&version) {
                open.words.push(file.clone());
                open.files.insert(name.clone(), file);
                open.named.insert(name);
            }
        }
        if self.builds() {
            open.words.extend(self.requests.iter().map(Request::word));
            return Ok(open);
        }
        for request in &self.expanded((host, database), lists).await? {
            let name = match request.name.split_once(':') {
                Some((name, architecture)) => database.name(name, architecture),
                None => request.name.clone(),
            };
            let state = database.state(&name);
            if self.fields.state == Wanted::Absent {
                let met = state.version().is_some_and(|version| request.is_met_by(version));
                let goes = met || self.fields.purge && state.version().is_none() && state.text() != "absent";
                if goes {
                    open.words.push(format!("{name}-"));
                    open.named.insert(name);
                }
                continue;
            }
            // apt puts it right by itself; of one that is named it only says that something is missing.
            if matches!(state, State::Half { .. }) && request.version.is_none() {
                open.named.insert(name);
                continue;
            }
            let is_there = state.version().is_some();
            let met = state.version().is_some_and(|version| request.is_met_by(version));
            let provided = !is_there && request.version.is_none() && database.provider(&name).is_some();
            if !is_there && self.fields.only_upgrade || provided && is_virtual(host, &name).await? {
                continue;
            }
            let latest = self.fields.state == Wanted::Latest;
            if request.at_least && (!met || latest) {
                match self.candidate((host, database), &request.name, lists).await? {
                    Some(version) if request.is_met_by(&version) => {
                        open.words.push(format!("{}={version}", request.name))
                    }
                    _ if met => {}
                    _ if host.plans_ahead() => return Err(by_then()),
                    _ => {
                        let word = request.word();
                        return Err(ModuleError::failed(format!("no available installation candidate for {word}")));
                    }
                }
            } else if !met || latest {
                open.words.push(request.word());
            }
            open.named.insert(name);
        }
        Ok(open)
    }

    /// Returns the requests, patterns as the packages that are meant.
    async fn expanded(&self, (host, database): (&View, &Database), lists: Lists) -> Result<Vec<Request>, ModuleError> {
        let mut all = Vec::new();
        for request in &self.requests {
            if !request.is_pattern() {
                all.push(request.clone());
                continue;
            }
            // The letters of a pattern are known to be harmless.
            let script = format!(
                "{}apt-cache $foreseen pkgnames | while IFS= read -r name; do case $name in {}) echo \"$name\" ;; esac; done | sort -u",
                foreseen::script(database, lists),
                request.name
            );
            let names = host.probe(&Command::shell(script)).await?.text();
            if names.trim().is_empty() {
                return Err(match host.plans_ahead() {
                    true => by_then(),
                    false => ModuleError::failed(format!("No package(s) matching '{}' available", request.name)),
                });
            }
            let named = |name: &str| Request { name: name.into(), version: None, at_least: false, release: None };
            all.extend(names.lines().map(named));
        }
        Ok(all)
    }

    /// Returns the version that apt would choose of a package.
    async fn candidate(
        &self,
        (host, database): (&View, &Database),
        name: &str,
        lists: Lists,
    ) -> Result<Option<String>, ModuleError> {
        let release = self.fields.default_release.as_ref();
        let release = release.map(|release| format!("-o APT::Default-Release={}", quote(release))).unwrap_or_default();
        let policy = format!("apt-cache $foreseen {release} policy {}", quote(name));
        let script = format!("{}{policy}", foreseen::script(database, lists));
        Ok(candidate_in(&host.probe(&Command::shell(script)).await?.text()))
    }

    /// Asks apt what it would do, on top of what is planned.
    async fn simulate(
        &self,
        (host, database): (&View, &Database),
        words: &[String],
        lists: Lists,
    ) -> Result<(BTreeMap<Name, Fate>, Output), ModuleError> {
        let autoremove = (self.fields.autoremove && !self.builds()).then(|| "--auto-remove".to_string());
        let verb = if self.builds() { &["build-dep"] } else { self.upgrade.unwrap_or(&["install"]) }
            .iter()
            .map(|word| word.to_string());
        let line = self.options().into_iter().chain(autoremove).chain(verb).chain(words.iter().cloned());
        let line: Vec<String> = line.map(|word| quote(&word)).collect();
        let script = format!("{}apt-get $foreseen -s {}", foreseen::script(database, lists), line.join(" "));
        let script = Command::shell(script);
        let output =
            host.probe(&self.fetched.as_ref().map_or(script.clone(), |fetched| fetched.around(script))).await?;
        match simulation::read(&output) {
            Ok(fates) => Ok((fates, output)),
            // An archive may be one that an earlier task of the check adds.
            Err(refusal) if refusal.is_unknown && host.plans_ahead() => Err(by_then()),
            Err(refusal) => {
                let mut result = simulation::told(&output);
                result.insert("rc".into(), output.status.into());
                Err(ModuleError::Failed { message: refusal.message, result })
            }
        }
    }
}

fn by_then() -> ModuleError {
    ModuleError::Unknown("the lists of packages as they are by then".into())
}

/// Reads what `apt-cache policy` says of the version that would be installed.
fn candidate_in(text: &str) -> Option<String> {
    let candidate = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.filter(|candidate| *candidate != "(none)").map(str::to_string)
}

/// Says whether there is no package of this name, only others that provide it.
async fn is_virtual(host: &View, name: &str) -> Result<bool, ModuleError> {
    let output = host.probe(&Command::shell(format!("LC_ALL=C apt-cache policy {}", quote(name)))).await?;
    Ok(candidate_in(&output.text()).is_none())
}

#[async_trait]
impl Module for Apt {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        self.plan_with(host, Database::with_halves(host).await?).await
    }
}

impl Apt {
    /// The same where it is known what there is.
    pub async fn plan_with(&self, host: &View, database: Database) -> Result<Planned, ModuleError> {
        let database = if self.fields.state == Wanted::Fixed { database } else { database.whole(host)? };
        let updated = !host.planned_accounts("lists").is_empty();
        let due = self.lists_are_due(&database, updated);
        let lists = if due || updated { Lists::New } else { Lists::There };
        if (lists == Lists::New || self.fetched.is_some()) && host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let mut open = self.open((host, &database), lists).await?;
        let everything = self.upgrade.is_some() || self.fields.autoremove || self.fields.state == Wanted::Fixed;
        let (mut fates, mut said) = (BTreeMap::new(), Output::default());
        if !open.words.is_empty() || everything {
            if !host.planned_accounts(SELECTION).is_empty() {
                return Err(ModuleError::Unknown(
                    "what apt does beside the selections that an earlier task sets".into(),
                ));
            }
            (fates, said) = self.simulate((host, &database), &open.words, lists).await?;
            if self.builds() {
                open.named = named::of_sources((host, &database), lists, &self.requests, &fates).await?;
            } else if self.fields.state != Wanted::Absent {
                named::providers((host, &database), &fates, &mut open.named).await?;
            }
        }
        let mut transaction = Transaction::new(host, &database, &fates, &open.named).await?;
        (transaction.files, transaction.policy) = (open.files, self.fields.policy_rc_d);
        transaction.fetched = open.fetched;
        let mut changes = Vec::new();
        let cleans = self.fields.autoclean || self.fields.clean;
        let only_lists = self.requests.is_empty() && !everything;
        if due && (only_lists || !transaction.is_empty()) {
            changes.extend(update(&database, updated, &self.fields.retries.options()));
        }
        let mut result = if fates.is_empty() { Results::new() } else { simulation::told(&said) };
        if !fates.is_empty() {
            result.insert(DIFFERENCE.into(), json!({"prepared": simulation::prepared(&said.text())}));
        }
        result.insert("cache_updated".into(), json!(!changes.is_empty()));
        result.insert("cache_update_time".into(), json!(database.lists.0));
        changes.extend(transaction.changes(&database, &self.options()));
        if cleans && changes.is_empty() {
            changes.extend(self.cleaned(host).await?);
        }
        Ok(Planned { warnings: transaction.warnings(), ..Planned::new(changes, result) })
    }

    /// As Ansible decides it: lists that are older than `cache_valid_time` are updated.
    fn lists_are_due(&self, database: &Database, updated: bool) -> bool {
        let asked = self.fields.update_cache.unwrap_or(self.fields.cache_valid_time.is_some());
        let valid = self.fields.cache_valid_time.unwrap_or(0);
        asked && (valid == 0 || !updated && database.lists.0 + valid < database.now)
    }

    /// Returns the change that removes downloaded packages: all, or those that can no longer be had.
    async fn cleaned(&self, host: &View) -> Result<Option<Change>, ModuleError> {
        let (verb, script) = match self.fields.clean {
            true => ("clean", "ls /var/cache/apt/archives 2>/dev/null | grep -c '\\.deb$'"),
            false => ("autoclean", "apt-get -s autoclean 2>/dev/null | grep -c '^Del '"),
        };
        let (what, probe) = ("downloaded packages", Command::shell(script));
        let found = host.state(what, &probe).await?;
        let by = vec![quiet(Command::argv(["apt-get", "-q", verb].map(str::to_string)))];
        Ok(Change::state(what, probe, (found, "0".into()), by))
    }
}

/// Returns the change that updates the lists of packages; `updated` says that an earlier task of a check has planned it.
pub fn update(database: &Database, updated: bool, options: &[String]) -> Option<Change> {
    let time = &database.lists.1;
    let texts = match (updated, time.is_empty()) {
        (true, _) => ("updated".to_string(), "updated again".to_string()),
        (false, true) => ("of never".into(), "updated".into()),
        (false, false) => (format!("of {time}"), "updated".into()),
    };
    let options: String = options.iter().map(|option| format!(" -o {}", quote(option))).collect();
    // The directory keeps its time where no list is another one.
    let script = format!(
        "apt-get -q -o APT::Update::Error-Mode=any{options} update || {{ echo 'Failed to update apt cache' >&2; exit 100; }}\n\
         touch /var/lib/apt/lists"
    );
    Change::state("lists of packages", probe_of_lists(time), texts, vec![quiet(Command::shell(script))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::find;

    fn built(value: serde_json::Value) -> Result<Apt, String> {
        let entry = find("apt").unwrap();
        let arguments = entry.arguments(value.as_object().unwrap().clone()).map_err(|error| error.to_string())?;
        Apt::new(arguments.read().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_becomes_options_of_apt_get() {
        let apt = built(json!({
            "pkg": "a, b=1", "install-recommends": false, "default_release": "bookworm-backports", "purge": "yes",
            "allow_downgrades": true, "fail_on_autoremove": true, "lock_timeout": 5, "dpkg_options": "force-confnew"
        }));
        let expected = "-y -q -o DPkg::Lock::Timeout=5 -o Dpkg::Options::=--force-confnew -o APT::Install-Recommends=no \
            -t bookworm-backports --allow-downgrades --no-remove --purge";
        assert_eq!(apt.unwrap().options().join(" "), expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_any_host_is_asked() {
        for (value, says) in [
            (json!({}), "needs `name`"),
            (json!({"name": "a", "upgrade": "full"}), "not both"),
            (json!({"name": "a<=1"}), "is no name of a package"),
            (json!({"name": ["*", "a"], "state": "latest"}), "all packages or some"),
            (json!({"name": "a", "state": "mended"}), "cannot be `mended`"),
            (json!({"name": "a", "default_release": "-o X"}), "no option of apt"),
            (json!({"deb": "/a.deb", "name": "a"}), "`deb` alone"),
            (json!({"deb": "http://a/a b.deb"}), "is no URL"),
        ] {
            let error = built(value.clone()).err().unwrap_or_else(|| panic!("{value}"));
            assert!(error.contains(says), "{value}: {error}");
        }
    }

    #[test]
    fn the_candidate_is_what_policy_says() {
        assert_eq!(candidate_in("foo:\n  Installed: 1.0\n  Candidate: 1.1\n").as_deref(), Some("1.1"));
        assert_eq!(candidate_in("foo:\n  Candidate: (none)\n"), None);
    }

    #[test]
    fn an_empty_list_asks_for_nothing() {
        assert!(built(json!({"name": []})).is_ok_and(|apt| apt.requests.is_empty()));
    }

    #[test]
    fn lists_are_updated_when_they_are_older_than_asked() {
        let database = Database { lists: (1000, "then".into()), now: 1600, ..Database::default() };
        let due = |value| built(value).unwrap().lists_are_due(&database, false);
        assert!(due(json!({"update_cache": true})) && due(json!({"cache_valid_time": 599})));
        assert!(!due(json!({"cache_valid_time": 600})) && !due(json!({"name": "a"})));
        assert!(!due(json!({"update_cache": false, "cache_valid_time": 1, "name": "a"})));
    }
}
