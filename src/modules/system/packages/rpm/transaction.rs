//! Packages of rpm's that change together: a state each, and one run of dnf for them all.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::Change;
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

use super::super::moves::{self, Ways};
use super::database::{ABSENT, Database, Name, joined, kind, probe};
use super::simulation::{Does, Step};

/// How the tool is called: itself, its options, and for how many seconds its lock is awaited.
#[derive(Clone, Debug)]
pub struct Tool {
    pub name: String,
    pub options: Vec<String>,
    pub patience: u64,
    pub root: String,
}

impl Tool {
    /// Returns the line that runs it.
    pub fn line(&self, verb: &[String], words: &[String]) -> String {
        let all = std::iter::once(&self.name).chain(&self.options).chain(verb).chain(words);
        all.map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// Returns a run of it, which waits for who has its lock.
    pub fn run(&self, verb: &[String], words: &[String]) -> Command {
        let verb: Vec<String> =
            ["-y".to_string(), "--setopt=exit_on_lock=1".into()].into_iter().chain(verb.iter().cloned()).collect();
        // 200: somebody has the lock (dnf.8).
        quiet(&format!(
            "left={}\nwhile :; do\n  {}\n  status=$?\n  [ $status = 200 ] && [ $left -gt 0 ] || exit $status\n  left=$((left - 1)); sleep 1\ndone",
            self.patience,
            self.line(&verb, words)
        ))
    }
}

/// Returns a script that is to speak English and to ask nothing.
pub fn quiet(script: &str) -> Command {
    let mut command = Command::shell(script);
    // Python's gettext asks LANGUAGE before the others.
    command.environment =
        [("LC_ALL", "C"), ("LANGUAGE", "C"), ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .to_vec();
    command
}

/// What moves, in the order it is shown: what was asked for, then what comes or goes along.
#[derive(Debug, Default)]
pub struct Transaction {
    moves: Vec<Move>,
    /// What repositories have, as rpm names it whole.
    there: BTreeSet<String>,
}

#[derive(Debug, PartialEq)]
struct Move {
    name: Name,
    /// As it is named to dnf, without its version.
    whole: (String, String),
    before: String,
    after: String,
}

impl Transaction {
    /// Compares what the tool would make of the packages with what they are, or are planned to be.
    pub async fn new(
        host: &View,
        database: &Database,
        steps: &[Step],
        tool: &Tool,
    ) -> Result<Transaction, ModuleError> {
        let mut moves: Vec<Move> = Vec::new();
        for step in steps {
            let name = database.name(&step.name, &step.architecture);
            let before = database.state(&name);
            let at = moves.iter().position(|one| one.name == name).unwrap_or_else(|| {
                let whole = (step.name.clone(), step.architecture.clone());
                moves.push(Move { name, whole, before: before.clone(), after: before });
                moves.len() - 1
            });
            let after = std::mem::take(&mut moves[at].after);
            moves[at].after = match step.does {
                Does::Install => joined(&after, &step.version),
                Does::Upgrade | Does::Downgrade | Does::Reinstall => step.version.clone(),
                Does::Remove => {
                    let left: Vec<&str> = after.split(' ').filter(|version| *version != step.version).collect();
                    if left.is_empty() { ABSENT.into() } else { left.join(" ") }
                }
            };
        }
        moves.retain(|one| one.before != one.after);
        let lost: Vec<String> =
            moves.iter().filter(|one| one.before != ABSENT).map(|one| one.whole.0.clone()).collect();
        let there = available(host, tool, &lost).await?;
        Ok(Transaction { moves, there })
    }

    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// Returns the changes, made by one run of the tool.
    pub fn changes(&self, database: &Database, tool: &Tool, (verb, words): (&[String], &[String])) -> Vec<Change> {
        let named =
            |name: &str| (format!("{} {name}", kind(&tool.root)), probe(&tool.root, &database.architecture, name));
        let moves: Vec<moves::Move> = self.moves.iter().map(|one| one.plain()).collect();
        let lost: BTreeSet<&str> =
            self.moves.iter().filter(|one| !self.lost(one).is_empty()).map(|one| one.name.as_str()).collect();
        let can = |one: &moves::Move| !lost.contains(one.name.as_str());
        moves::changes(&moves, named, Ways { by: vec![tool.run(verb, words)], back: self.back(tool), can: &can })
    }

    /// Returns the commands that bring back all that can be: first the versions of before, which may be in the place of what
    /// has come, then what is there beside them goes.
    fn back(&self, tool: &Tool) -> Vec<Command> {
        let (mut come, mut go) = (Vec::new(), Vec::new());
        for one in self.moves.iter().filter(|one| self.lost(one).is_empty()) {
            let missing = |from: &str, to: &str| -> Vec<String> {
                let from: Vec<&str> = from.split(' ').collect();
                to.split(' ')
                    .filter(|version| *version != ABSENT && !from.contains(version))
                    .map(|version| one.whole(version))
                    .collect()
            };
            come.extend(missing(&one.after, &one.before));
            if one.before == ABSENT || one.before.contains(' ') || one.after.contains(' ') {
                go.extend(missing(&one.before, &one.after));
            }
        }
        let mut commands = Vec::new();
        if !come.is_empty() {
            commands.push(tool.run(&["--allowerasing".into(), "install".into()], &come));
        }
        if !go.is_empty() {
            commands.push(tool.run(&[KEEP.into(), "remove".into()], &go));
        }
        commands
    }

    /// Returns the versions of before that no repository has.
    fn lost<'a>(&self, one: &'a Move) -> Vec<&'a str> {
        let after: Vec<&str> = one.after.split(' ').collect();
        let gone = one.before.split(' ').filter(|version| *version != ABSENT && !after.contains(version));
        gone.filter(|version| !self.there.contains(&one.whole(version))).collect()
    }

    /// Returns what is to be said of packages that an undo cannot bring back.
    pub fn warnings(&self) -> Vec<String> {
        let told = self.moves.iter().filter_map(|one| {
            let lost = self.lost(one).join(", ");
            let text = format!("package `{}`: no repository has {lost}, so an undo cannot bring it back", one.name);
            (!lost.is_empty()).then_some(text)
        });
        told.collect()
    }

    /// Returns what `results` has of it, in Ansible's words.
    pub fn results(&self) -> Vec<String> {
        let mut told = Vec::new();
        for one in &self.moves {
            let (before, after): (Vec<&str>, Vec<&str>) =
                (one.before.split(' ').collect(), one.after.split(' ').collect());
            let come = after.iter().filter(|version| **version != ABSENT && !before.contains(version));
            told.extend(come.map(|version| format!("Installed: {}", one.whole(version))));
            let gone = before.iter().filter(|version| **version != ABSENT && !after.contains(version));
            told.extend(gone.map(|version| format!("Removed: {}", one.whole(version))));
        }
        told
    }
}

impl Move {
    fn plain(&self) -> moves::Move {
        moves::Move { name: self.name.clone(), before: self.before.clone(), after: self.after.clone() }
    }

    /// Returns its name with a version and its architecture, as dnf takes it.
    fn whole(&self, version: &str) -> String {
        whole(&self.whole.0, version, &self.whole.1)
    }
}

/// What keeps dnf from removing what nobody needs any more.
pub const KEEP: &str = "--setopt=clean_requirements_on_remove=False";

/// Returns a name with its version and architecture, as dnf takes it.
pub fn whole(name: &str, version: &str, architecture: &str) -> String {
    format!("{name}-{version}.{architecture}")
}

/// Returns the packages of these names that repositories have.
async fn available(host: &View, tool: &Tool, names: &[String]) -> Result<BTreeSet<String>, ModuleError> {
    let names: BTreeMap<&String, ()> = names.iter().map(|name| (name, ())).collect();
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names: Vec<String> = names.into_keys().cloned().collect();
    let format = "--queryformat=%{name}-%{evr}.%{arch}\\n".to_string();
    let query = tool.line(&["-q".into(), "-y".into(), "repoquery".into(), "--available".into(), format], &names);
    // That of yum is a program of its own.
    let script = match tool.name.as_str() {
        "yum" => format!(
            "if yum --help 2>/dev/null | grep -q repoquery; then {query}; else repoquery --show-duplicates --qf '%{{name}}-%{{evr}}.%{{arch}}' {}; fi",
            names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(" ")
        ),
        _ => query,
    };
    let text = host.probe(&quiet(&script)).await?.text();
    Ok(text.lines().map(|line| line.trim().replace("-0:", "-")).filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, before: &str, after: &str) -> Move {
        Move { name: name.into(), whole: (name.into(), "noarch".into()), before: before.into(), after: after.into() }
    }

    fn tool() -> Tool {
        Tool { name: "dnf".into(), options: vec!["--best".into()], patience: 30, root: "/".into() }
    }

    #[test]
    fn one_run_moves_all_and_the_versions_of_before_come_back_first() {
        let moves =
            vec![one("server", "1.0-1", "2.0-1"), one("library", ABSENT, "1.5-1"), one("kernel", "1-1", "1-1 2-1")];
        let transaction = Transaction { moves, there: ["server-1.0-1.noarch".to_string()].into() };
        let changes =
            transaction.changes(&Database::default(), &tool(), (&["install".into()], &["server-2.0-1.noarch".into()]));
        let Change::State(first) = &changes[0] else { panic!() };
        let line = first.by()[0].line();
        assert!(line.contains("dnf --best -y --setopt=exit_on_lock=1 install server-2.0-1.noarch\n"), "{line}");
        let Ok(crate::change::Undone::Change(last)) = changes[2].undone() else { panic!("{changes:?}") };
        let Change::State(last) = *last else { panic!() };
        let back: Vec<String> = last.by().iter().map(Command::line).collect();
        assert!(back[0].contains(" --allowerasing install server-1.0-1.noarch\n"), "{back:?}");
        assert!(back[1].contains(" remove library-1.5-1.noarch kernel-2-1.noarch\n"), "{back:?}");
        assert_eq!(transaction.results()[..2], ["Installed: server-2.0-1.noarch", "Removed: server-1.0-1.noarch"]);
        assert!(transaction.warnings().is_empty());
    }

    #[test]
    fn what_no_repository_has_any_more_is_told_before() {
        let transaction = Transaction { moves: vec![one("server", "1.0-1", ABSENT)], there: BTreeSet::new() };
        assert!(transaction.warnings()[0].contains("no repository has 1.0-1"), "{:?}", transaction.warnings());
        assert!(transaction.changes(&Database::default(), &tool(), (&[], &[]))[0].undone().is_err());
    }
}
