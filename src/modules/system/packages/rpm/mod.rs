//! `dnf`: packages of Fedora's, Red Hat's and their like, with all that comes and goes along.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Arguments, Entry, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Output};

mod arguments;
pub mod database;
mod list;
mod simulation;
mod transaction;
mod version;

pub use arguments::{ARGUMENTS, OWN};
use database::{ABSENT, Database, TOOLS};
use simulation::{Does, Step};
use transaction::{KEEP, Tool, Transaction, quiet, whole};

pub const DNF: Entry = Entry {
    name: "dnf",
    summary: "Installs, upgrades and removes packages with dnf or yum; every package that changes is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd is there for the second door for SMTP
  dnf:
    name: xinetd
    state: present
",
    build,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    name: Vec<String>,
    state: Option<Wanted>,
    list: Option<String>,
    allow_downgrade: bool,
    allowerasing: bool,
    autoremove: bool,
    best: Option<bool>,
    nobest: Option<bool>,
    bugfix: bool,
    security: bool,
    cacheonly: bool,
    conf_file: Option<String>,
    disable_excludes: Option<String>,
    disable_gpg_check: bool,
    disable_plugin: Vec<String>,
    enable_plugin: Vec<String>,
    disablerepo: Vec<String>,
    enablerepo: Vec<String>,
    download_dir: Option<String>,
    download_only: bool,
    exclude: Vec<String>,
    install_weak_deps: Option<bool>,
    installroot: Option<String>,
    lock_timeout: Option<u64>,
    releasever: Option<String>,
    skip_broken: bool,
    sslverify: Option<bool>,
    validate_certs: Option<bool>,
    update_cache: bool,
    update_only: bool,
    use_backend: Option<String>,
    #[serde(rename = "use")]
    program: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    #[serde(alias = "installed")]
    Present,
    #[serde(alias = "removed")]
    Absent,
    Latest,
}

pub struct Dnf {
    words: Vec<String>,
    state: Wanted,
    /// All that is there is upgraded.
    all: bool,
    root: String,
    fields: Fields,
}

/// What the tool is asked for.
struct Asked {
    verb: Vec<String>,
    words: Vec<String>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(Dnf::read(arguments)?))
}

impl Dnf {
    /// Reads what is asked for; arguments of others are passed over.
    pub fn read(arguments: &Arguments) -> Result<Dnf, Diagnostic> {
        let fields: Fields = arguments.read()?;
        let said = |text: &str, msg: &str| Err(Diagnostic::new(text).msg(msg));
        let words = fields.name.iter().flat_map(|word| word.split(',')).map(str::trim).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_string).collect();
        let state = fields.state.unwrap_or(if fields.autoremove { Wanted::Absent } else { Wanted::Present });
        if words.is_empty()
            && fields.name.is_empty()
            && fields.list.is_none()
            && !fields.update_cache
            && !fields.autoremove
        {
            return said(
                "`dnf` needs `name`, `list` or `update_cache`",
                "one of the following is required: name, list, update_cache",
            );
        }
        if !words.is_empty() && fields.list.is_some() {
            return said("`dnf` takes `name` or `list`, not both", "parameters are mutually exclusive: name|list");
        }
        if fields.best.is_some() && fields.nobest.is_some() {
            return said("`dnf` takes `best` or `nobest`, not both", "parameters are mutually exclusive: best|nobest");
        }
        if fields.use_backend.is_some() && fields.program.is_some() {
            return said(
                "`use` and `use_backend` of `dnf` are the same",
                "parameters are mutually exclusive: use|use_backend",
            );
        }
        if fields.autoremove && state != Wanted::Absent {
            let text = "Autoremove should be used alone or with state=absent";
            return said(text, text);
        }
        let all = words == ["*"] && state == Wanted::Latest;
        for word in &words {
            if word.starts_with('-') || word.contains(['\n', ';']) || word == "*" && !all {
                let error = Diagnostic::new(format!("`{word}` is no name of a package"));
                return Err(error.hint(
                    "`name`, `name-version`, `name >= version`, `@group`, a file, an URL; `*` for `state: latest`",
                ));
            }
            if state == Wanted::Absent && (word.ends_with(".rpm") || word.contains("://")) {
                let text = "Cannot remove paths -- please specify package name.";
                return said(text, text);
            }
        }
        let root = fields.installroot.clone().unwrap_or_else(|| "/".into());
        Ok(Dnf { words: if all { Vec::new() } else { words }, state, all, root, fields })
    }

    fn tools(&self) -> Vec<&'static str> {
        match self.fields.use_backend.as_deref().or(self.fields.program.as_deref()) {
            Some("dnf4" | "yum4") => vec!["dnf"],
            Some(one) if TOOLS.contains(&one) => TOOLS.iter().copied().filter(|tool| *tool == one).collect(),
            _ => TOOLS.to_vec(),
        }
    }

    fn tool(&self, database: &Database) -> Tool {
        Tool {
            name: database.tool.clone(),
            options: arguments::options(&self.fields),
            patience: self.fields.lock_timeout.unwrap_or(30),
            root: self.root.clone(),
        }
    }

    /// Returns what is not as asked, or what only the tool can tell; nothing where all is.
    fn asked(&self, database: &Database) -> Option<Asked> {
        let fields = &self.fields;
        let asked = |verb: &[&str], words: Vec<String>| {
            let verb = verb.iter().map(|word| word.to_string()).collect();
            (!words.is_empty()).then_some(Asked { verb, words })
        };
        let (met, open): (Vec<String>, Vec<String>) =
            self.words.iter().cloned().partition(|word| is_met(database, word));
        let is_group = |word: &String| word.starts_with('@');
        let patterns = |word: &String| word.contains(['*', '?', '[']);
        match self.state {
            Wanted::Absent if self.words.is_empty() && fields.autoremove => {
                Some(Asked { verb: vec!["autoremove".into()], words: Vec::new() })
            }
            Wanted::Absent => {
                let there = self.words.iter().filter(|word| met.contains(word) || is_group(word)).cloned().collect();
                let keep = if fields.autoremove { "--setopt=clean_requirements_on_remove=True" } else { KEEP };
                asked(&[keep, "remove"], there)
            }
            Wanted::Latest if self.all => Some(Asked { verb: vec!["upgrade".into()], words: Vec::new() }),
            _ if fields.update_only => asked(&["upgrade"], met),
            Wanted::Latest => asked(&["install"], self.words.iter().map(|word| spelled(word)).collect()),
            // A pattern is what the tool makes of it.
            Wanted::Present => {
                let all = self.words.iter().filter(|word| open.contains(word) || patterns(word));
                asked(&["install"], all.map(|word| spelled(word)).collect())
            }
        }
    }

    /// Asks the tool what it would do, on top of what is planned.
    async fn simulate(&self, (host, database): (&View, &Database), asked: &Asked) -> Result<Vec<Step>, ModuleError> {
        let tool = self.tool(database);
        let mut words = planned(database, asked)?;
        words.extend(asked.words.iter().cloned());
        let refresh = self.fields.update_cache.then(|| "--refresh".to_string());
        let verb: Vec<String> =
            ["--assumeno".to_string()].into_iter().chain(refresh).chain(asked.verb.iter().cloned()).collect();
        let output = host.probe(&quiet(&tool.line(&verb, &words))).await?;
        let steps = simulation::read(&output).map_err(|refusal| self.refused(host, refusal, &output))?;
        // What is planned already is no news.
        let is_new = |step: &Step| {
            let name = database.name(&step.name, &step.architecture);
            step.does == Does::Remove || database.planned.get(&name) != Some(&step.version)
        };
        Ok(steps.into_iter().filter(is_new).collect())
    }

    fn refused(&self, host: &View, refusal: String, output: &Output) -> ModuleError {
        // A repository may be one that an earlier task of the check adds.
        if simulation::is_unknown(&refusal) && host.plans_ahead() {
            return ModuleError::Unknown("the lists of packages as they are by then".into());
        }
        let result = Results::from_iter([
            ("rc".to_string(), json!(output.status.max(1))),
            ("results".into(), json!([])),
            (
                "failures".into(),
                json!(refusal.lines().skip(1).filter(|line| !line.starts_with("hint: ")).collect::<Vec<_>>()),
            ),
        ]);
        ModuleError::Failed { message: refusal, result }
    }

    /// Returns what would be done, without going back to an older version where that is not wanted.
    async fn steps(&self, at: (&View, &Database), mut asked: Asked) -> Result<(Asked, Vec<Step>), ModuleError> {
        let mut steps = self.simulate(at, &asked).await?;
        let older = |steps: &[Step]| -> Vec<String> {
            steps.iter().filter(|step| step.does == Does::Downgrade).map(|step| step.name.clone()).collect()
        };
        let names = older(&steps);
        if self.fields.allow_downgrade || names.is_empty() {
            return Ok((asked, steps));
        }
        asked.words.retain(|word| !names.iter().any(|name| word.starts_with(name.as_str())));
        if asked.words.is_empty() {
            return Ok((asked, Vec::new()));
        }
        steps = self.simulate(at, &asked).await?;
        match older(&steps).first() {
            None => Ok((asked, steps)),
            Some(name) => {
                let message = format!(
                    "package `{name}` would have to go back to an older version\nhint: `allow_downgrade: true`"
                );
                Err(ModuleError::failed(message))
            }
        }
    }

    /// Returns the changes by which packages are downloaded, and no more.
    async fn downloaded(
        &self,
        host: &View,
        tool: &Tool,
        (asked, steps): (Asked, Vec<Step>),
    ) -> Result<Planned, ModuleError> {
        let directory = self.fields.download_dir.clone().unwrap_or_else(|| "/var/cache".into());
        let (mut changes, mut told) = (Vec::new(), Vec::new());
        let mut by = vec![tool.run(&asked.verb, &asked.words)];
        for step in steps.iter().filter(|step| step.does != Does::Remove) {
            let version = step.version.split_once(':').map_or(step.version.as_str(), |(_, version)| version);
            let file = format!("{}.rpm", whole(&step.name, version, &step.architecture));
            let find = format!("find {} -name {} -type f 2>/dev/null", quote(&directory), quote(&file));
            let probe = Command::shell(format!("if [ -n \"$({find})\" ]; then echo there; else echo {ABSENT}; fi"));
            let what = format!("downloaded {file}");
            let found = host.state(&what, &probe).await?;
            let change = Change::state(what, probe, (found, "there".into()), std::mem::take(&mut by));
            let back = Command::shell(format!("{find} | while IFS= read -r file; do rm -- \"$file\"; done"));
            match change {
                Some(change) => {
                    told.push(format!("Downloaded: {}", whole(&step.name, &step.version, &step.architecture)));
                    changes.push(change.taken_back(Back::By(vec![back])));
                }
                // The command stands with the first that is not there.
                None if changes.is_empty() => by = vec![tool.run(&asked.verb, &asked.words)],
                None => {}
            }
        }
        Ok(Planned::new(changes, results(told)))
    }
}

#[async_trait]
impl Module for Dnf {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let database = Database::of(
            host,
            &self.root,
            &self.tools(),
            &self.words.iter().map(|word| bare(word)).collect::<Vec<_>>(),
        )
        .await?;
        let tool = self.tool(&database);
        if let Some(what) = &self.fields.list {
            return list::listed(host, &tool, what).await;
        }
        // Repositories are asked when its turn comes.
        if host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let Some(asked) = self.asked(&database) else {
            if self.words.is_empty() && self.fields.update_cache {
                return self.refreshed(host, &tool).await;
            }
            let missing = self.words.iter().filter(|_| self.state == Wanted::Absent);
            return Ok(Planned::new(
                Vec::new(),
                results(missing.map(|word| format!("{word} is not installed")).collect()),
            ));
        };
        let (asked, steps) = self.steps((host, &database), asked).await?;
        if self.fields.download_only {
            return self.downloaded(host, &tool, (asked, steps)).await;
        }
        let transaction = Transaction::new(host, &database, &steps, &tool).await?;
        if transaction.is_empty() {
            return Ok(Planned::new(Vec::new(), results(Vec::new())));
        }
        let words = exact(&asked, &steps);
        let changes = transaction.changes(&database, &tool, (&asked.verb, &words));
        let mut result = results(transaction.results());
        if host.is_check {
            result.insert("msg".into(), "Check mode: No changes made, but would have if not in check mode".into());
        }
        Ok(Planned { warnings: transaction.warnings(), ..Planned::new(changes, result) })
    }
}

impl Dnf {
    /// Reads what repositories have anew. It is a cache, and no state of the host: dnf itself does so when it is old.
    async fn refreshed(&self, host: &View, tool: &Tool) -> Result<Planned, ModuleError> {
        if !host.is_check {
            let line = tool.line(&["-q".into(), "-y".into(), "makecache".into(), "--refresh".into()], &[]);
            let output = host.probe(&quiet(&line)).await?;
            if !output.success() {
                let why = output.error_text();
                return Err(ModuleError::failed(format!("Failed to synchronize repodata: {}", why.trim_end())));
            }
        }
        let mut result = results(Vec::new());
        result.insert("msg".into(), "Cache updated".into());
        Ok(Planned::new(Vec::new(), result))
    }
}

fn results(told: Vec<String>) -> Results {
    let msg = if told.is_empty() { "Nothing to do" } else { "" };
    Results::from_iter([("msg".to_string(), json!(msg)), ("results".into(), json!(told)), ("rc".into(), json!(0))])
}

/// Returns the words that name exactly what the simulation has found, where the tool takes such.
fn exact(asked: &Asked, steps: &[Step]) -> Vec<String> {
    let by_name = |word: &String| !(word.starts_with('@') || word.contains("://") || word.ends_with(".rpm"));
    let verb = asked.verb.last().map_or("", String::as_str);
    if !["install", "remove"].contains(&verb) || !asked.words.iter().all(by_name) {
        return asked.words.clone();
    }
    let own =
        steps.iter().filter(|step| step.is_asked).map(|step| whole(&step.name, &step.version, &step.architecture));
    own.collect()
}

/// Returns what an earlier task of a check would have installed by then, to be installed beside it.
fn planned(database: &Database, asked: &Asked) -> Result<Vec<String>, ModuleError> {
    let moved = database.planned.iter().filter(|(name, state)| database.packages.get(*name) != Some(state));
    let moved: Vec<_> =
        moved.filter(|(name, state)| *state != ABSENT || database.packages.contains_key(*name)).collect();
    let installs = asked.verb.last().is_some_and(|verb| verb == "install");
    if !moved.is_empty() && !installs || moved.iter().any(|(_, state)| *state == ABSENT || state.contains(' ')) {
        let what = "what dnf does on top of the packages that an earlier task changes";
        return Err(ModuleError::Unknown(what.into()));
    }
    Ok(moved.into_iter().map(|(name, state)| format!("{name}-{state}")).collect())
}

/// Splits `name >= version`.
fn compared(word: &str) -> Option<(&str, &str, &str)> {
    let at = word.find(['<', '>', '='])?;
    let end = word.rfind(['<', '>', '='])? + 1;
    Some((word[..at].trim(), &word[at..end], word[end..].trim()))
}

/// Returns what rpm is asked for.
fn bare(word: &str) -> String {
    compared(word).map_or(word, |(name, _, _)| name).to_string()
}

/// Returns a word as dnf takes it.
fn spelled(word: &str) -> String {
    match compared(word) {
        Some((name, "==", version)) => format!("{name} = {version}"),
        Some((name, sign, version)) => format!("{name} {sign} {version}"),
        None => word.into(),
    }
}

/// Says whether what is installed is what a word asks for.
fn is_met(database: &Database, word: &str) -> bool {
    let Some((name, sign, wanted)) = compared(word) else { return database.is_met(word) };
    database.state(name).split(' ').filter(|version| *version != ABSENT).any(|version| {
        let order = version::compare(version, wanted);
        match sign {
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            _ => order.is_eq(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::find;

    fn built(value: serde_json::Value) -> Result<Dnf, String> {
        let entry = find("yum").unwrap();
        let arguments = entry.arguments(value.as_object().unwrap().clone()).map_err(|error| error.to_string())?;
        Dnf::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_any_host_is_asked() {
        for (value, says) in [
            (json!({}), "needs `name`"),
            (json!({"name": "a", "list": "installed"}), "not both"),
            (json!({"name": "a", "best": true, "nobest": true}), "not both"),
            (json!({"name": "a", "autoremove": true, "state": "latest"}), "Autoremove should be used alone"),
            (json!({"name": "a", "use": "dnf", "use_backend": "dnf"}), "are the same"),
            (json!({"name": "-y"}), "is no name of a package"),
            (json!({"name": "*"}), "is no name of a package"),
            (json!({"name": "/tmp/a.rpm", "state": "absent"}), "Cannot remove paths"),
        ] {
            let error = built(value.clone()).err().unwrap_or_else(|| panic!("{value}"));
            assert!(error.contains(says), "{value}: {error}");
        }
        assert!(built(json!({"name": "*", "state": "latest"})).is_ok_and(|dnf| dnf.all));
    }

    #[test]
    fn only_what_is_not_as_asked_is_asked_for() {
        let mut database = Database::default();
        database.packages.insert("server".into(), "1.0-1".into());
        let asked =
            |value| built(value).unwrap().asked(&database).map(|asked| [asked.verb, asked.words].concat().join(" "));
        assert_eq!(asked(json!({"name": "server >= 1.0"})), None);
        assert_eq!(asked(json!({"name": ["server >= 1.5", "a==2"]})).unwrap(), "install server >= 1.5 a = 2");
        assert_eq!(asked(json!({"name": "server", "state": "latest"})).unwrap(), "install server");
        assert_eq!(asked(json!({"name": "*", "state": "latest"})).unwrap(), "upgrade");
        assert_eq!(asked(json!({"autoremove": true})).unwrap(), "autoremove");
        assert_eq!(asked(json!({"name": "none", "state": "absent"})), None);
        database.packages.clear();
        assert_eq!(built(json!({"name": "server", "update_only": true})).unwrap().asked(&database).map(|_| ()), None);
    }
}
