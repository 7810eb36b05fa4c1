//! Packages that change together: a state each, and one run of apt-get for them all.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Back, Change};
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

use super::database::{Database, Name, State, probe};
use super::fetched::Fetched;
use super::simulation::Fate;

/// What moves, in the order it is shown: what was asked for, then what comes or goes along.
#[derive(Debug, Default)]
pub struct Transaction {
    moves: Vec<Move>,
    /// Versions that the archive has, by package: what an undo can bring back.
    archive: BTreeSet<(Name, String)>,
    /// Files that packages come from, and not the archive.
    pub files: BTreeMap<Name, String>,
    /// That the one of them is fetched for.
    pub fetched: Option<Fetched>,
    /// What scripts of packages that ask whether they may start a service are told (`policy-rc.d`).
    pub policy: Option<i64>,
}

#[derive(Debug, PartialEq)]
struct Move {
    name: Name,
    before: State,
    after: State,
}

impl Transaction {
    /// Compares what apt would make of the packages with what they are, or are planned to be.
    pub async fn new(
        host: &View,
        database: &Database,
        fates: &BTreeMap<Name, Fate>,
        named: &BTreeSet<Name>,
    ) -> Result<Transaction, ModuleError> {
        let (keeping, archive) = details(host, database, fates).await?;
        let mut moves = Vec::new();
        for name in fates.keys().chain(named).collect::<BTreeSet<_>>() {
            let (before, is_named) = (database.state(name), named.contains(name));
            let after = match (fates.get(name), &before) {
                (Some(Fate::Installed(version)), _) => {
                    let is_new = matches!(before, State::Absent | State::Configuration(_));
                    let automatic = is_new || before.is_automatic();
                    State::Installed { version: version.clone(), automatic: automatic && !is_named }
                }
                (Some(Fate::Removed), State::Installed { .. }) if !database.packages.contains_key(name) => {
                    let what = format!("what is left of package `{name}`, which an earlier task installs");
                    return Err(ModuleError::Unknown(what.into()));
                }
                (Some(Fate::Removed), State::Installed { version, .. }) if keeping.contains(name) => {
                    State::Configuration(version.clone())
                }
                (Some(Fate::Removed | Fate::Purged), _) => State::Absent,
                // A package that is named is one that somebody wants.
                (None, State::Installed { version, automatic }) => {
                    State::Installed { version: version.clone(), automatic: *automatic && !is_named }
                }
                (None, other) => other.clone(),
            };
            if before != after {
                moves.push(Move { name: name.clone(), before, after });
            }
        }
        moves.sort_by_key(|one| !named.contains(&one.name));
        Ok(Transaction { moves, archive, ..Transaction::default() })
    }

    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// Returns the changes; the first has the command for all, and the last that can be taken back has the way back.
    pub fn changes(&self, database: &Database, options: &[String]) -> Vec<Change> {
        let mut by = self.commands((options, &self.files), |one| (&one.before, &one.after), |_| true);
        let back_options = ["--purge".into(), "--allow-downgrades".into()];
        let back_options: Vec<String> = options.iter().cloned().chain(back_options).collect();
        let can = |one: &Move| self.can_be_undone(one);
        let mut back = self.commands((&back_options, &BTreeMap::new()), |one| (&one.after, &one.before), can);
        let last = self.moves.iter().rposition(can);
        let change = |(index, one): (usize, &Move)| {
            let texts = (one.before.text(), one.after.text());
            let own = probe(&one.name, &database.architecture);
            let change = Change::state(format!("package {}", one.name), own, texts, std::mem::take(&mut by))?;
            let back = match can(one) {
                true if Some(index) == last => Back::By(std::mem::take(&mut back)),
                true => Back::By(Vec::new()),
                false => Back::None,
            };
            Some(change.taken_back(back))
        };
        self.moves.iter().enumerate().filter_map(change).collect()
    }

    /// Returns what is to be said of packages that an undo cannot bring back.
    pub fn warnings(&self) -> Vec<String> {
        let stays = self.moves.iter().filter(|one| !self.can_be_undone(one));
        let told = stays.map(|one| match &one.before {
            State::Installed { version, .. } => {
                format!("package `{}`: the archive no longer has {version}, so an undo cannot bring it back", one.name)
            }
            _ => format!("package `{}`: an undo cannot bring back its state `{}`", one.name, one.before.text()),
        });
        told.collect()
    }

    fn can_be_undone(&self, one: &Move) -> bool {
        match (&one.before, one.after.version()) {
            (State::Absent, _) => true,
            (State::Configuration(_) | State::Half { .. }, _) => false,
            (State::Installed { version, .. }, after) => {
                after == Some(version) || self.archive.contains(&(one.name.clone(), version.clone()))
            }
        }
    }

    /// Returns the commands that move all of `which` from one state to the other.
    fn commands(
        &self,
        (options, files): (&[String], &BTreeMap<Name, String>),
        ends: impl Fn(&Move) -> (&State, &State),
        which: impl Fn(&Move) -> bool,
    ) -> Vec<Command> {
        let (mut words, mut manual, mut automatic) = (Vec::new(), Vec::new(), Vec::new());
        for one in self.moves.iter().filter(|one| which(one)) {
            let (from, to) = ends(one);
            match to.version() {
                Some(version) if from.version() != Some(version) => {
                    words.push(files.get(&one.name).cloned().unwrap_or_else(|| format!("{}={version}", one.name)));
                }
                Some(_) => {}
                None => words.push(format!("{}-", one.name)),
            }
            match to {
                // What is named to apt-get becomes manual.
                State::Installed { automatic: true, .. } => automatic.push(one.name.clone()),
                State::Installed { .. } if from.is_automatic() => manual.push(one.name.clone()),
                _ => {}
            }
        }
        let mut commands = Vec::new();
        if !words.is_empty() {
            let install = apt_get(&[options, &["install".into()], &words].concat(), self.policy);
            let fetched = self.fetched.as_ref().filter(|_| !files.is_empty());
            commands.push(fetched.map_or(install.clone(), |fetched| fetched.around(install)));
        }
        for (verb, names) in [("auto", automatic), ("manual", manual)] {
            if !names.is_empty() {
                commands.push(quiet(Command::argv(["apt-mark".to_string(), verb.into()].into_iter().chain(names))));
            }
        }
        commands
    }
}

/// Returns a run of apt-get's. After a failed one, apt says who has the lock if somebody has it.
fn apt_get(words: &[String], policy: Option<i64>) -> Command {
    let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let policy = policy.map(|status| format!("status={status}\n{POLICY}")).unwrap_or_default();
    quiet(Command::shell(format!("{policy}apt-get {} || {{ apt-get -qq check; exit 100; }}", line.join(" "))))
}

/// Puts a `policy-rc.d` that ends with `$status` in the place of the host's own for as long as the script runs.
const POLICY: &str = r#"policy=/usr/sbin/policy-rc.d kept=
back() { rm -f "$policy"; [ -z "$kept" ] || { mv -f "$kept/policy-rc.d" "$policy" && rmdir "$kept"; }; }
if [ -e "$policy" ]; then kept=$(mktemp -d) && mv "$policy" "$kept/policy-rc.d" || exit; fi
trap back EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
printf '#!/bin/sh\nexit %s\n' "$status" >"$policy" && chmod 755 "$policy" || exit
"#;

/// Returns a program of apt's or dpkg's, which is to ask nothing.
pub fn quiet(mut command: Command) -> Command {
    // dpkg wants the directories of root's programs in its path.
    command.environment = [
        ("LC_ALL", "C"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBIAN_PRIORITY", "critical"),
        ("APT_LISTCHANGES_FRONTEND", "none"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .to_vec();
    command
}

/// Returns which of the packages leave configuration when they are removed, and the versions that the archive has of
/// those that change.
async fn details(
    host: &View,
    database: &Database,
    fates: &BTreeMap<Name, Fate>,
) -> Result<(BTreeSet<Name>, BTreeSet<(Name, String)>), ModuleError> {
    let mut script = String::from("export LC_ALL=C\n");
    for (name, package) in fates.keys().filter_map(|name| Some((name, database.packages.get(name)?))) {
        let bare = name.split(':').next().unwrap_or(name);
        // Without either, dpkg forgets a package that it removes (dpkg.1, `config-files`).
        script += &format!("keeps {} {} {}\n", quote(name), quote(bare), quote(&package.architecture));
    }
    let names: Vec<String> = fates.keys().map(|name| quote(name)).collect();
    if names.is_empty() {
        return Ok(Default::default());
    }
    let keeps = "keeps() {\n  for file in \"$2\" \"$2:$3\"; do [ -e \"/var/lib/dpkg/info/$file.postrm\" ] && echo \"keeps $1\"; done\n  \
        [ -z \"$(dpkg-query -W -f '${Conffiles}' \"$2:$3\" 2>/dev/null)\" ] || echo \"keeps $1\"\n}\n";
    let script = format!("{keeps}{script}apt-cache madison {}\n", names.join(" "));
    let text = host.probe(&Command::shell(script)).await?.text();
    let kept = text.lines().filter_map(|line| line.strip_prefix("keeps ")).map(str::to_string).collect();
    let versions = text.lines().filter_map(|line| {
        let mut columns = line.split(" | ").map(str::trim);
        Some((columns.next()?.to_string(), columns.next()?.to_string()))
    });
    Ok((kept, versions.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(moves: &[(&str, &str, &str)], archive: &[(&str, &str)]) -> Transaction {
        let state = State::read;
        let moves = moves.iter().map(|(name, before, after)| Move {
            name: name.to_string(),
            before: state(before),
            after: state(after),
        });
        let archive = archive.iter().map(|(name, version)| (name.to_string(), version.to_string()));
        Transaction { moves: moves.collect(), archive: archive.collect(), ..Transaction::default() }
    }

    fn lines(commands: &[Command]) -> Vec<String> {
        commands.iter().map(Command::line).collect()
    }

    #[test]
    fn one_run_moves_all_and_one_run_moves_all_back() {
        let moves = [
            ("one", "1.0", "2.0"),
            ("two", "absent", "1.5, automatic"),
            ("three", "3.0, automatic", "configuration of 3.0"),
        ];
        let transaction = transaction(&moves, &[("one", "1.0"), ("three", "3.0")]);
        let changes = transaction.changes(&Database::default(), &["-y".into()]);
        let by: Vec<Vec<String>> = changes
            .iter()
            .map(|change| {
                let Change::State(state) = change else { panic!("{change:?}") };
                lines(state.by())
            })
            .collect();
        assert_eq!(
            by[0],
            ["apt-get -y install one=2.0 two=1.5 three- || { apt-get -qq check; exit 100; }", "apt-mark auto two"]
        );
        assert!(by[1].is_empty() && by[2].is_empty());
        let Ok(crate::change::Undone::Change(last)) = changes[2].undone() else { panic!("{changes:?}") };
        let Change::State(last) = *last else { panic!("{last:?}") };
        let expected = "apt-get -y --purge --allow-downgrades install one=1.0 two- three=3.0 \
            || { apt-get -qq check; exit 100; }";
        assert_eq!(lines(last.by()), [expected, "apt-mark auto three"]);
        assert!(transaction.warnings().is_empty());
    }

    #[test]
    fn what_an_undo_cannot_bring_back_is_told() {
        let moves = [("one", "1.0", "2.0"), ("two", "configuration of 1.0", "2.0"), ("three", "1.0, automatic", "1.0")];
        let transaction = transaction(&moves, &[("one", "2.0")]);
        let warnings = transaction.warnings();
        assert!(warnings[0].contains("package `one`: the archive no longer has 1.0"), "{warnings:?}");
        assert!(warnings[1].contains("`configuration of 1.0`") && warnings.len() == 2, "{warnings:?}");
        let changes = transaction.changes(&Database::default(), &[]);
        assert!(changes[0].undone().is_err() && changes[1].undone().is_err() && changes[2].undone().is_ok());
    }
}
