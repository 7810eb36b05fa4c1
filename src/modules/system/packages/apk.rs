//! `apk`: packages of Alpine's, with all that comes and goes along.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Output};

use super::moves::{self, Move, Ways};

pub const APK: Entry = Entry {
    name: "apk",
    summary: "Installs, upgrades and removes packages with apk; every package that changes is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd is there for the second door for SMTP
  apk:
    name: xinetd
    state: present
",
    build,
};

pub const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::List, "Packages: `name`, `name=version`, `name>version` and their like."),
    Argument::new("state", Kind::Text, "`latest` upgrades what is there. The default is `present`.").choices(&[
        "present",
        "absent",
        "latest",
        "installed",
        "removed",
    ]),
    Argument::new("upgrade", Kind::Bool, "All packages are upgraded."),
    Argument::new("update_cache", Kind::Bool, "The lists of packages are updated first."),
    Argument::new(
        "available",
        Kind::Bool,
        "With `upgrade`, what no repository has any more is replaced, and versions of the list of what is wanted are left out.",
    ),
    Argument::new("no_cache", Kind::Bool, "No list that is kept on the host is used."),
    Argument::new("repository", Kind::List, "Repositories that are asked in the place of the host's own."),
    Argument::new("world", Kind::Path, "The list of what is wanted. The default is `/etc/apk/world`."),
];

/// Those that apt has not.
pub const OWN: &[Argument] = ARGUMENTS.split_at(4).1;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    name: Vec<String>,
    state: Wanted,
    upgrade: bool,
    available: bool,
    update_cache: bool,
    no_cache: bool,
    repository: Vec<String>,
    world: Option<String>,
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
}

pub struct Apk {
    words: Vec<String>,
    fields: Fields,
}

/// What is installed, with `, automatic` where it came along, and which of the words are met.
#[derive(Debug, Default)]
struct Database {
    packages: BTreeMap<String, String>,
    met: Vec<String>,
    /// When its lists were last updated.
    lists: String,
}

const ABSENT: &str = "absent";
const AUTOMATIC: &str = ", automatic";

/// Prints all packages, what is wanted, and which of the words in `$@` are met.
const LOOK: &str = r#"export LC_ALL=C PATH="$PATH:/sbin:/usr/sbin"
mark() { printf '\036%s\n' "$1"; }
command -v apk >/dev/null || exit 0
mark packages; apk info -v 2>/dev/null
mark world; cat "$world" 2>/dev/null
mark met; for word; do if apk info --installed "$word" >/dev/null 2>&1; then echo "$word"; fi; done
mark lists; stat -c '%Y' /var/cache/apk 2>/dev/null
"#;

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(Apk::read(arguments)?))
}

impl Apk {
    /// Reads what is asked for; arguments of others are passed over.
    pub fn read(arguments: &Arguments) -> Result<Apk, Diagnostic> {
        let fields: Fields = arguments.read()?;
        let words = fields.name.iter().flat_map(|word| word.split(',')).map(str::trim).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_string).collect();
        if words.is_empty() && !fields.upgrade && !fields.update_cache {
            return Err(Diagnostic::new("`apk` needs `name`, `update_cache` or `upgrade`")
                .msg("one of the following is required: name, update_cache, upgrade"));
        }
        if !words.is_empty() && fields.upgrade {
            return Err(Diagnostic::new("`apk` takes `name` or `upgrade`, not both")
                .msg("parameters are mutually exclusive: name|upgrade"));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "+-._@=<>~:".contains(c);
        if let Some(word) = words.iter().find(|word| word.starts_with(['-', '!']) || !word.chars().all(is_name)) {
            return Err(Diagnostic::new(format!("`{word}` is no name of a package"))
                .hint("`name`, `name=version`, `name>version`"));
        }
        Ok(Apk { words, fields })
    }

    fn world(&self) -> &str {
        self.fields.world.as_deref().unwrap_or("/etc/apk/world")
    }

    /// Returns a run of apk: `before` are its options, then those of the task.
    fn line(&self, before: &[&str], words: &[&str]) -> String {
        let mut line: Vec<String> = vec!["apk".into()];
        line.extend(before.iter().map(|word| word.to_string()));
        if self.fields.no_cache {
            line.push("--no-cache".into());
        }
        if !self.fields.repository.is_empty() {
            line.extend(["--repositories-file", "/dev/null"].map(str::to_string));
        }
        line.extend(self.fields.repository.iter().flat_map(|one| ["--repository".to_string(), one.clone()]));
        line.extend(words.iter().map(|word| word.to_string()));
        line.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// Returns the words of apk for what is not as asked.
    fn asked(&self, database: &Database) -> Vec<String> {
        let automatic = |word: &str| database.packages.get(bare(word)).is_some_and(|state| state.ends_with(AUTOMATIC));
        let met = |word: &String| database.met.contains(word);
        let asked = |verb: &[&str], words: Vec<&String>| {
            let verb = verb.iter().map(|word| word.to_string());
            if words.is_empty() { Vec::new() } else { verb.chain(words.into_iter().cloned()).collect() }
        };
        let words = self.words.iter();
        match self.fields.state {
            _ if self.fields.upgrade => ["upgrade"]
                .into_iter()
                .chain(self.fields.available.then_some("--available"))
                .map(str::to_string)
                .collect(),
            Wanted::Absent => asked(&["del", "--purge"], words.filter(|word| met(word)).collect()),
            Wanted::Latest => asked(&["add", "--upgrade"], words.collect()),
            Wanted::Present => asked(&["add"], words.filter(|word| !met(word) || automatic(word)).collect()),
        }
    }

    /// Returns the changes that one run of apk makes.
    fn changes(&self, moves: &[Move], asked: &[String], there: &There) -> Vec<Change> {
        let words: Vec<&str> = asked.iter().map(String::as_str).collect();
        let world = self.world().to_string();
        let update: &[&str] = if self.fields.update_cache { &["--update-cache"] } else { &[] };
        let by = vec![quiet(&self.line(update, &words))];
        let can = |one: &Move| can_be_undone(one, there);
        // What came along goes and comes along again; what was wanted from then on is so no more.
        let is_named = |state: &str| state != ABSENT && !state.ends_with(AUTOMATIC);
        let of = |does: &dyn Fn(&Move) -> bool| -> Vec<&str> {
            moves.iter().filter(|one| does(one) && can(one)).map(|one| one.name.as_str()).collect()
        };
        let (come, gone) = (
            of(&|one| is_named(&one.after) && !is_named(&one.before)),
            of(&|one| one.after == ABSENT && is_named(&one.before)),
        );
        let mut back = Vec::new();
        for (verb, words) in [(["del", "--purge"].as_slice(), come), (&["add"], gone)] {
            if !words.is_empty() {
                back.push(quiet(&self.line(&[], &[verb, &words].concat())));
            }
        }
        moves::changes(moves, |name| (format!("package {name}"), probe(name, &world)), Ways { by, back, can: &can })
    }

    /// Returns the change that updates the lists of packages.
    fn update(&self, database: &Database) -> Option<Change> {
        let time = &database.lists;
        let script = format!(
            "time=$(stat -c '%Y' /var/cache/apk 2>/dev/null)\n\
             if [ \"$time\" = {} ]; then echo \"of ${{time:-never}}\"; else echo updated; fi",
            quote(time)
        );
        let text = if time.is_empty() { "of never".into() } else { format!("of {time}") };
        let by = format!("{} && touch /var/cache/apk", self.line(&[], &["update"]));
        let change =
            Change::state("lists of packages", Command::shell(script), (text, "updated".into()), vec![quiet(&by)]);
        change.map(|change| change.taken_back(Back::None))
    }
}

#[async_trait]
impl Module for Apk {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let words: Vec<String> = self.words.iter().map(|word| quote(word)).collect();
        let script = format!("world={}\nset -- {}\n{LOOK}", quote(self.world()), words.join(" "));
        let mut database = read(&host.probe(&Command::shell(script)).await?.text())
            .ok_or_else(|| ModuleError::failed(format!("`{}` has no apk", host.name)))?;
        let moved = planned(host, &mut database);
        let asked = self.asked(&database);
        if asked.is_empty() {
            let only_lists = self.words.is_empty() && self.fields.update_cache;
            let changes: Vec<Change> = only_lists.then(|| self.update(&database)).flatten().into_iter().collect();
            let msg = match (changes.is_empty(), self.fields.state) {
                (false, _) => "updated repository indexes",
                (true, Wanted::Absent) => "package(s) already removed",
                _ => "package(s) already installed",
            };
            return Ok(Planned::new(changes, Results::from_iter([("msg".to_string(), json!(msg))])));
        }
        if host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        if moved {
            return Err(ModuleError::Unknown(
                "what apk does on top of the packages that an earlier task changes".into(),
            ));
        }
        let words: Vec<&str> = asked.iter().map(String::as_str).collect();
        // New lists are read and not kept.
        let fresh: &[&str] = if self.fields.update_cache && !self.fields.no_cache { &["--no-cache"] } else { &[] };
        let output = host.probe(&quiet(&self.line(&[&["--simulate"], fresh].concat(), &words))).await?;
        let steps = steps(&output).map_err(|why| match host.plans_ahead() {
            true => ModuleError::Unknown("the lists of packages as they are by then".into()),
            false => ModuleError::Failed { message: format!("failed: {why}"), result: told(&output) },
        })?;
        let moves = self.moves(&database, &steps);
        let mut result = told(&output);
        let names: Vec<&String> = moves.iter().map(|one| &one.name).collect();
        result.insert("packages".into(), json!(names));
        result.insert("msg".into(), format!("{} package(s)", self.verb()).into());
        let there = self.available(host, &moves).await?;
        let stays = moves.iter().filter(|one| !can_be_undone(one, &there));
        let warnings = stays.map(|one| format!("package `{}`: an undo cannot bring back {}", one.name, one.before));
        let warnings = warnings.collect();
        Ok(Planned { warnings, ..Planned::new(self.changes(&moves, &asked, &there), result) })
    }
}

/// Versions that repositories have, by name.
type There = BTreeSet<(String, String)>;

/// Says whether what a package was can be had again: apk goes to no version that is not the newest.
fn can_be_undone(one: &Move, there: &There) -> bool {
    let version = |state: &str| state.trim_end_matches(AUTOMATIC).to_string();
    let same = version(&one.before) == version(&one.after);
    one.before == ABSENT || same || one.after == ABSENT && there.contains(&(one.name.clone(), version(&one.before)))
}

impl Apk {
    /// Asks which versions repositories have of what goes.
    async fn available(&self, host: &View, moves: &[Move]) -> Result<There, ModuleError> {
        let gone: Vec<&str> = moves.iter().filter(|one| one.after == ABSENT).map(|one| one.name.as_str()).collect();
        if gone.is_empty() {
            return Ok(There::new());
        }
        let output = host.probe(&quiet(&self.line(&[], &[&["policy"], gone.as_slice()].concat()))).await?;
        Ok(policies(&output.text()))
    }

    fn verb(&self) -> &'static str {
        match self.fields.state {
            _ if self.fields.upgrade => "upgraded",
            Wanted::Absent => "removed",
            _ => "installed",
        }
    }

    /// Compares what apk would make of the packages with what they are: what was asked for is wanted from then on.
    fn moves(&self, database: &Database, steps: &[(String, String)]) -> Vec<Move> {
        let is_named = |name: &str| self.words.iter().any(|word| bare(word) == name);
        let state = |name: &str| database.packages.get(name).cloned().unwrap_or_else(|| ABSENT.into());
        let adds = self.fields.state != Wanted::Absent && !self.fields.upgrade;
        let mut moves: Vec<Move> = Vec::new();
        for (name, version) in steps {
            let before = state(name);
            let automatic = if before == ABSENT {
                !is_named(name)
            } else {
                before.ends_with(AUTOMATIC) && !(adds && is_named(name))
            };
            let after = match version.as_str() {
                ABSENT => ABSENT.into(),
                version => format!("{version}{}", if automatic { AUTOMATIC } else { "" }),
            };
            moves.push(Move { name: name.clone(), before, after });
        }
        for name in self.words.iter().map(|word| bare(word)).filter(|_| adds) {
            let before = state(name);
            if let (false, Some(version)) = (moves.iter().any(|one| one.name == name), before.strip_suffix(AUTOMATIC)) {
                moves.push(Move { name: name.into(), after: version.into(), before });
            }
        }
        moves.retain(|one| one.before != one.after);
        moves.sort_by_key(|one| !is_named(&one.name));
        moves
    }
}

/// Reads what `apk policy` prints: the versions that are to be had, and not only installed.
fn policies(text: &str) -> There {
    let (mut there, mut name, mut version) = (There::new(), "", "");
    for line in text.lines() {
        if let Some(one) = line.strip_suffix(" policy:") {
            name = one;
        } else if let Some(one) =
            line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')).filter(|one| !one.starts_with(' '))
        {
            version = one;
        } else if !line.contains("lib/apk/db/installed") && !name.is_empty() {
            there.insert((name.into(), version.into()));
        }
    }
    there
}

/// Returns a run of apk that speaks English.
fn quiet(line: &str) -> Command {
    let mut command = Command::shell(format!("PATH=\"$PATH:/sbin:/usr/sbin\"\n{line}"));
    command.environment = vec![("LC_ALL".into(), "C".into())];
    command
}

/// Takes what is planned for what there is; says whether that is something else.
fn planned(host: &View, database: &mut Database) -> bool {
    let mut moved = false;
    for (name, state) in host.planned_accounts("package") {
        let there = database.packages.get(&name).map_or(ABSENT, String::as_str);
        moved |= there != state;
        database.met.retain(|word| bare(word) != name);
        if state == ABSENT {
            database.packages.remove(&name);
        } else {
            database.met.push(name.clone());
            database.packages.insert(name, state);
        }
    }
    moved
}

/// Returns the name in `name=version`.
fn bare(word: &str) -> &str {
    word.split(['=', '<', '>', '~', '@']).next().unwrap_or(word)
}

fn read(output: &str) -> Option<Database> {
    let sections: BTreeMap<&str, &str> =
        output.split('\u{1e}').filter_map(|section| section.split_once('\n')).collect();
    let section = |name: &str| sections.get(name).copied().unwrap_or("");
    sections.contains_key("packages").then_some(())?;
    let wanted: Vec<&str> = section("world").split_whitespace().map(bare).collect();
    let mut packages = BTreeMap::new();
    // `name-1.0-r0`.
    for line in section("packages").lines() {
        let mut parts = line.trim().rsplitn(3, '-');
        if let (Some(release), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) {
            let automatic = if wanted.contains(&name) { "" } else { AUTOMATIC };
            packages.insert(name.to_string(), format!("{version}-{release}{automatic}"));
        }
    }
    let met = section("met").lines().map(str::to_string).collect();
    Some(Database { packages, met, lists: section("lists").trim().into() })
}

/// Returns the command that prints the state of one package.
fn probe(name: &str, world: &str) -> Command {
    let script = r#"PATH="$PATH:/sbin:/usr/sbin"
command -v apk >/dev/null || { echo 'no apk'; exit; }
version=$(apk info -v 2>/dev/null | while read -r one; do
  rest=${one#"$name"-}
  case $rest in "$one" | *-*-*) ;; *-r*) echo "$rest" ;; esac
done)
if [ -z "$version" ]; then echo absent
elif sed 's/[=<>~@].*//' "$world" 2>/dev/null | grep -qxF -e "$name"; then echo "$version"
else echo "$version, automatic"; fi"#;
    Command::shell(format!("name={} world={}\n{script}", quote(name), quote(world)))
}

/// Reads what `apk --simulate` prints: each package with the version that it has then. An error is what apk says.
fn steps(output: &Output) -> Result<Vec<(String, String)>, String> {
    let text = output.text();
    if !output.success() {
        let said = text + &output.error_text();
        let errors: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("fetch ") && !line.starts_with("OK:")).collect();
        return Err(errors.join("\n"));
    }
    let step = |line: &str| {
        // `(1/2) Upgrading name (1.0-r0 -> 2.0-r0)`.
        let (_, rest) = line.strip_prefix('(')?.split_once(") ")?;
        let mut words = rest.split(' ');
        let (verb, name) = (words.next()?, words.next()?);
        let versions = rest.split_once(" (")?.1.strip_suffix(')')?;
        let version = match verb {
            "Purging" => ABSENT,
            "Installing" | "Reinstalling" => versions,
            "Upgrading" | "Downgrading" | "Replacing" => versions.split(" -> ").last()?,
            _ => return None,
        };
        Some((name.to_string(), version.to_string()))
    };
    Ok(text.lines().filter_map(step).collect())
}

/// Returns what apk has said, as `register:` sees it.
fn told(output: &Output) -> Results {
    Results::from_iter([("stdout".to_string(), output.text().into()), ("stderr".into(), output.error_text().into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As apk-tools 2.14 of Alpine 3.20 prints it.
    const SIMULATED: &str = "fetch https://dl-cdn.alpinelinux.org/alpine/v3.20/main/x86_64/APKINDEX.tar.gz\n\
        (1/4) Installing library (1.5-r0)\n(2/4) Upgrading server (1.0-r0 -> 2.0-r0)\n(3/4) Downgrading tool (2-r0 -> 1-r0)\n\
        (4/4) Purging old (0.1-r3)\nOK: 12 MiB in 20 packages\n";

    fn output(status: i32, text: &str) -> Output {
        Output { status, stdout: text.into(), ..Output::default() }
    }

    #[test]
    fn what_apk_would_do_is_read() {
        let expected = [("library", "1.5-r0"), ("server", "2.0-r0"), ("tool", "1-r0"), ("old", "absent")];
        assert_eq!(
            steps(&output(0, SIMULATED)).unwrap(),
            expected.map(|(name, version)| (name.into(), version.into()))
        );
        let missing = "ERROR: unable to select packages:\n  nope (no such package):\n    required by: world[nope]\n";
        let text = "server policy:\n  1.0-r0:\n    lib/apk/db/installed\n  2.0-r1:\n    https://own/main\n";
        assert_eq!(policies(text), [("server".to_string(), "2.0-r1".to_string())].into());
        assert!(steps(&output(1, missing)).unwrap_err().contains("nope (no such package)"));
    }

    #[test]
    fn what_is_installed_is_read_with_why_it_came() {
        let text = "\u{1e}packages\nserver-1.0-r0\nlibrary-1.5-r0\n\
            \u{1e}world\nserver>1\nalpine-base\n\u{1e}met\nserver\n\u{1e}lists\n17\n";
        let database = read(text).unwrap();
        assert_eq!(database.packages["server"], "1.0-r0");
        assert_eq!((database.packages["library"].as_str(), database.lists.as_str()), ("1.5-r0, automatic", "17"));
        assert!(read("").is_none());
        let apk = |value: serde_json::Value| {
            let entry = crate::modules::find("community.general.apk").unwrap();
            Apk::read(&entry.arguments(value.as_object().unwrap().clone()).unwrap()).unwrap()
        };
        let asked = |value| apk(value).asked(&database).join(" ");
        assert_eq!(asked(json!({"name": "server"})), "");
        assert_eq!(asked(json!({"name": ["server", "library"]})), "add library");
        assert_eq!(asked(json!({"name": "server", "state": "latest"})), "add --upgrade server");
        assert_eq!(asked(json!({"name": "server,none", "state": "absent"})), "del --purge server");
        assert_eq!(asked(json!({"upgrade": true, "available": true})), "upgrade --available");
    }
}
