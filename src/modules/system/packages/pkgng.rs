//! `pkgng`: packages of FreeBSD's, with all that comes and goes along.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Output};

use super::moves::{self, Move, Ways};

pub const PKGNG: Entry = Entry {
    name: "pkgng",
    summary: "Installs, upgrades and removes packages with FreeBSD's pkg; every package that changes is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd is there for the second door for SMTP
  pkgng:
    name: xinetd
    state: present
",
    build,
};

pub const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "name",
        Kind::List,
        "Packages by their name or origin, or patterns of names. `*` with `state: latest` is all that is there.",
    )
    .required()
    .alias(&["pkg"]),
    Argument::new("state", Kind::Text, "`latest` upgrades what is there. The default is `present`.")
        .choices(&["present", "latest", "absent"]),
    Argument::new("autoremove", Kind::Bool, "What came along and nobody needs any more goes too."),
    Argument::new("cached", Kind::Bool, "The catalogue is taken as it is."),
    Argument::new(
        "annotation",
        Kind::List,
        "Notes that the packages have: `+key=value` adds one, `:key=value` changes one, `-key` takes one away.",
    ),
    Argument::new("pkgsite", Kind::Text, "The repository that packages come from."),
    Argument::new("rootdir", Kind::Path, "The root directory of the packages."),
    Argument::new("chroot", Kind::Path, "The directory that pkg runs in."),
    Argument::new("jail", Kind::Text, "The jail that pkg runs in."),
    Argument::new("ignore_osver", Kind::Bool, "Packages for another version of the system are taken."),
    Argument::new("use_globs", Kind::Bool, "Names are patterns, too; on unless set."),
];

/// Those that apt has not.
pub const OWN: &[Argument] = ARGUMENTS.split_at(3).1;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    name: Vec<String>,
    state: Wanted,
    cached: bool,
    annotation: Vec<String>,
    pkgsite: Option<String>,
    rootdir: Option<String>,
    chroot: Option<String>,
    jail: Option<String>,
    autoremove: bool,
    ignore_osver: bool,
    use_globs: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    #[default]
    Present,
    Latest,
    Absent,
}

pub struct Pkg {
    words: Vec<String>,
    /// All that is there is upgraded.
    all: bool,
    annotations: Vec<Annotation>,
    fields: Fields,
}

#[derive(Debug, PartialEq)]
struct Annotation {
    does: char,
    key: String,
    value: String,
}

#[derive(Debug, Default)]
struct Database {
    packages: BTreeMap<String, String>,
    met: Vec<String>,
}

const ABSENT: &str = "absent";

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(Pkg::read(arguments)?))
}

impl Pkg {
    /// Reads what is asked for; arguments of others are passed over.
    pub fn read(arguments: &Arguments) -> Result<Pkg, Diagnostic> {
        let fields: Fields = arguments.read()?;
        let each = |texts: &[String]| -> Vec<String> {
            let all = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty());
            all.map(str::to_string).collect()
        };
        let words = each(&fields.name);
        let all = words == ["*"] && fields.state == Wanted::Latest;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "+-._@/*?[]~,>=<".contains(c);
        if let Some(word) =
            words.iter().find(|word| word.starts_with('-') || !word.chars().all(is_name) || *word == "*" && !all)
        {
            return Err(Diagnostic::new(format!("`{word}` is no name of a package")));
        }
        let places = [&fields.rootdir, &fields.chroot, &fields.jail];
        if places.iter().filter(|place| place.is_some()).count() > 1 {
            return Err(Diagnostic::new("`pkgng` takes one of `rootdir`, `chroot` and `jail`")
                .msg("parameters are mutually exclusive: rootdir|chroot|jail"));
        }
        let annotations = each(&fields.annotation).iter().map(|text| annotation(text)).collect::<Result<_, _>>()?;
        Ok(Pkg { words: if all { Vec::new() } else { words }, all, annotations, fields })
    }

    /// Returns a run of pkg that speaks English and asks nothing.
    fn line(&self, words: &[&str]) -> String {
        let Fields { rootdir, chroot, jail, .. } = &self.fields;
        let place = [("--rootdir", rootdir), ("--chroot", chroot), ("--jail", jail)];
        let place = place.into_iter().filter_map(|(flag, place)| Some([flag, place.as_deref()?])).flatten();
        let line: Vec<String> = ["pkg"].into_iter().chain(place).chain(words.iter().copied()).map(quote).collect();
        let ignores = if self.fields.ignore_osver { "IGNORE_OSVERSION=yes " } else { "" };
        format!("{ignores}BATCH=yes LC_ALL=C {}", line.join(" "))
    }

    fn run(&self, words: &[&str]) -> Command {
        Command::shell(format!("PATH=\"$PATH:/usr/local/sbin:/usr/sbin\"\n{}", self.line(words)))
    }

    fn is_pattern(&self) -> bool {
        self.fields.use_globs.unwrap_or(true)
    }

    async fn database(&self, host: &View) -> Result<(Database, bool), ModuleError> {
        let globs: &[&str] = if self.is_pattern() { &["-g"] } else { &[] };
        let words: Vec<String> = self.words.iter().map(|word| quote(word)).collect();
        let script = format!(
            "PATH=\"$PATH:/usr/local/sbin:/usr/sbin\"\ncommand -v pkg >/dev/null || exit 0\nprintf '\\036packages\\n'\n{}\n\
             printf '\\036met\\n'\nset -- {}\nfor word; do if {} \"$word\" >/dev/null 2>&1; then echo \"$word\"; fi; done\n",
            self.line(&["query", "%n %v"]),
            words.join(" "),
            self.line(&[&["info", "-e"], globs].concat()),
        );
        let mut database = read(&host.probe(&Command::shell(script)).await?.text())
            .ok_or_else(|| ModuleError::failed(format!("`{}` has no pkg", host.name)))?;
        let mut moved = false;
        for (name, state) in host.planned_accounts(&self.kind()) {
            moved |= database.packages.get(&name).map_or(ABSENT, String::as_str) != state;
            database.met.retain(|word| *word != name);
            if state == ABSENT {
                database.packages.remove(&name);
            } else {
                database.met.push(name.clone());
                database.packages.insert(name, state);
            }
        }
        Ok((database, moved))
    }

    /// Returns what states of packages are called where they are.
    fn kind(&self) -> String {
        let Fields { rootdir, chroot, jail, .. } = &self.fields;
        match rootdir.as_ref().or(chroot.as_ref()).or(jail.as_ref()) {
            Some(place) => format!("package of {place}"),
            None => "package".into(),
        }
    }

    /// Returns the words of pkg for what is not as asked, with `-n` to simulate and `-y` to do it.
    fn asked(&self, database: &Database) -> Vec<Vec<String>> {
        let met = |word: &&String| database.met.contains(word);
        let (there, missing): (Vec<&String>, Vec<&String>) = self.words.iter().partition(met);
        let globs = self.is_pattern().then(|| "-g".to_string());
        let cached = self.fields.cached.then(|| "-U".to_string());
        let site = self.fields.pkgsite.iter().flat_map(|site| ["-r".to_string(), site.clone()]);
        let from: Vec<String> = globs.clone().into_iter().chain(cached).chain(site).collect();
        let of = |verb: &str, options: &[String], words: &[&String]| -> Vec<String> {
            let verb = [verb.to_string()].into_iter();
            verb.chain(options.iter().cloned()).chain(words.iter().map(|word| word.to_string())).collect()
        };
        let mut asked = Vec::new();
        match self.fields.state {
            _ if self.all => asked.push(of("upgrade", &from[usize::from(globs.is_some())..], &[])),
            Wanted::Absent if !there.is_empty() => {
                asked.push(of("delete", &globs.into_iter().collect::<Vec<_>>(), &there));
            }
            Wanted::Absent => {}
            Wanted::Present | Wanted::Latest => {
                if !missing.is_empty() {
                    asked.push(of("install", &from, &missing));
                }
                if self.fields.state == Wanted::Latest && !there.is_empty() {
                    asked.push(of("upgrade", &from, &there));
                }
            }
        }
        if self.fields.autoremove {
            asked.push(of("autoremove", &[], &[]));
        }
        asked
    }

    /// Returns the changes of what is noted of a package.
    async fn annotated(&self, host: &View, name: &str) -> Result<Vec<Change>, ModuleError> {
        let mut changes = Vec::new();
        for Annotation { does, key, value } in &self.annotations {
            let (what, probe) = (format!("annotation {key} of {name}"), self.run(&["annotate", "-q", "-S", name, key]));
            let found = host.state(&what, &probe).await?;
            let (before, after) = (found.as_str(), if *does == '-' { "" } else { value.as_str() });
            match (does, before.is_empty()) {
                ('+', false) if before != after => {
                    let message = format!(
                        "failed to annotate {name}, changing {before}: package is already annotated {key}={before}"
                    );
                    return Err(ModuleError::failed(message + &format!("\nhint: `:{key}={value}` changes it")));
                }
                (':', true) if !host.plans_ahead() => {
                    return Err(ModuleError::failed(format!(
                        "could not change annotation {key} of {name}: no such annotation"
                    )));
                }
                _ => {}
            }
            let note = |from: &str, to: &str| match (from.is_empty(), to.is_empty()) {
                (_, true) => self.run(&["annotate", "-q", "-y", "-D", name, key]),
                (true, false) => self.run(&["annotate", "-q", "-y", "-A", name, key, to]),
                (false, false) => self.run(&["annotate", "-q", "-y", "-M", name, key, to]),
            };
            let (by, back) = (vec![note(before, after)], vec![note(after, before)]);
            let change = Change::state(what, probe, (before.into(), after.into()), by);
            changes.extend(change.map(|change| change.taken_back(Back::By(back))));
        }
        Ok(changes)
    }

    /// Returns the changes that these runs of pkg make.
    fn changes(&self, moves: &[Move], asked: &[Vec<String>], there: &There) -> Vec<Change> {
        let words = |words: &[String]| -> Command {
            let mut all = vec![words[0].as_str(), "-y"];
            all.extend(words[1..].iter().map(String::as_str));
            self.run(&all)
        };
        let can = |one: &Move| can_be_undone(one, there);
        let of = |does: fn(&Move) -> bool| -> Vec<&str> {
            moves.iter().filter(|one| does(one) && can(one)).map(|one| one.name.as_str()).collect()
        };
        let mut back = Vec::new();
        for (verb, names) in [("delete", of(|one| one.before == ABSENT)), ("install", of(|one| one.after == ABSENT))] {
            if !names.is_empty() {
                back.push(self.run(&[&[verb, "-y"], names.as_slice()].concat()));
            }
        }
        let by = asked.iter().map(|one| words(one)).collect();
        let named = |name: &str| {
            let query = self.line(&["query", "%v", name]);
            let script = format!(
                "PATH=\"$PATH:/usr/local/sbin:/usr/sbin\"\ncommand -v pkg >/dev/null || {{ echo 'no pkg'; exit; }}\n\
                 {query} 2>/dev/null || echo {ABSENT}"
            );
            (format!("{} {name}", self.kind()), Command::shell(script))
        };
        moves::changes(moves, named, Ways { by, back, can: &can })
    }
}

#[async_trait]
impl Module for Pkg {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let (database, moved) = self.database(host).await?;
        let asked = self.asked(&database);
        if host.only_asks && !asked.is_empty() {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        if moved && !asked.is_empty() {
            return Err(ModuleError::Unknown(
                "what pkg does on top of the packages that an earlier task changes".into(),
            ));
        }
        let (mut moves, mut result): (Vec<Move>, Results) = (Vec::new(), Results::new());
        for words in &asked {
            let mut all = vec![words[0].as_str(), "-n"];
            all.extend(words[1..].iter().map(String::as_str));
            let output = host.probe(&self.run(&all)).await?;
            let steps = steps(&output).map_err(|why| match host.plans_ahead() {
                true => ModuleError::Unknown("the catalogue as it is by then".into()),
                false => ModuleError::Failed { message: why, result: told(&output) },
            })?;
            for (name, after) in steps {
                let before = database.packages.get(&name).cloned().unwrap_or_else(|| ABSENT.into());
                moves.retain(|one| one.name != name);
                moves.extend((before != after).then_some(Move { name, before, after }));
            }
            result = told(&output);
        }
        moves.sort_by_key(|one| !self.words.contains(&one.name));
        let there = self.available(host, &moves).await?;
        let stays = moves.iter().filter(|one| !can_be_undone(one, &there));
        let warnings =
            stays.map(|one| format!("package `{}`: an undo cannot bring back {}", one.name, one.before)).collect();
        let mut changes = if moves.is_empty() { Vec::new() } else { self.changes(&moves, &asked, &there) };
        if self.fields.state != Wanted::Absent {
            for word in self.words.iter().filter(|word| !word.contains(['*', '?', '['])) {
                changes.extend(self.annotated(host, word).await?);
            }
        }
        let msg = if changes.is_empty() { "no changes" } else { "package(s) changed" };
        result.insert("msg".into(), msg.into());
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

impl Pkg {
    /// Asks which versions repositories have of what goes.
    async fn available(&self, host: &View, moves: &[Move]) -> Result<There, ModuleError> {
        let gone: Vec<&str> = moves.iter().filter(|one| one.after == ABSENT).map(|one| one.name.as_str()).collect();
        if gone.is_empty() {
            return Ok(There::new());
        }
        let text = host.probe(&self.run(&[&["rquery", "-U", "%n %v"], gone.as_slice()].concat())).await?.text();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Ok(lines.map(|(name, version)| (name.to_string(), version.to_string())).collect())
    }
}

/// Versions that repositories have, by name.
type There = BTreeSet<(String, String)>;

/// Says whether what a package was can be had again: pkg goes to no version that is not the newest.
fn can_be_undone(one: &Move, there: &There) -> bool {
    one.before == ABSENT || one.after == ABSENT && there.contains(&(one.name.clone(), one.before.clone()))
}

fn annotation(text: &str) -> Result<Annotation, Diagnostic> {
    let wrong = || Diagnostic::new(format!("`{text}` is no annotation")).hint("`+key=value`, `:key=value` or `-key`");
    let does = text.chars().next().filter(|does| "+:-".contains(*does)).ok_or_else(wrong)?;
    let (key, value) = text[1..].split_once('=').unwrap_or((&text[1..], ""));
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    match is_key && (does == '-' || !value.is_empty()) {
        true => Ok(Annotation { does, key: key.into(), value: value.into() }),
        false => Err(wrong()),
    }
}

fn read(output: &str) -> Option<Database> {
    let sections: BTreeMap<&str, &str> =
        output.split('\u{1e}').filter_map(|section| section.split_once('\n')).collect();
    let packages = sections.get("packages")?.lines().filter_map(|line| line.split_once(' '));
    let packages = packages.map(|(name, version)| (name.to_string(), version.to_string())).collect();
    let met = sections.get("met").map_or("", |text| text).lines().map(str::to_string).collect();
    Some(Database { packages, met })
}

/// Reads what `pkg -n` prints: each package with the version that it has then. An error is what pkg says.
fn steps(output: &Output) -> Result<Vec<(String, String)>, String> {
    let text = output.text();
    let said = text.clone() + &output.error_text();
    if let Some(line) = said.lines().find(|line| line.starts_with("pkg: ") && !output.success()) {
        return Err(line.into());
    }
    let (mut steps, mut heading) = (Vec::new(), "");
    for line in text.lines() {
        let Some(entry) = line.strip_prefix('\t') else {
            heading = line;
            continue;
        };
        let Some((name, rest)) = entry.split_once(": ") else { continue };
        let versions = rest.split(" [").next().unwrap_or(rest).trim();
        let version = match heading {
            _ if heading.contains("REMOVED") => ABSENT,
            _ if ["INSTALLED", "UPGRADED", "DOWNGRADED"].iter().any(|verb| heading.ends_with(&format!("{verb}:"))) => {
                versions.rsplit(" -> ").next().unwrap_or(versions)
            }
            _ => continue,
        };
        steps.push((name.to_string(), version.to_string()));
    }
    Ok(steps)
}

/// Returns what pkg has said, as `register:` sees it.
fn told(output: &Output) -> Results {
    Results::from_iter([("stdout".to_string(), output.text().into()), ("stderr".into(), output.error_text().into())])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output { status, stdout: stdout.into(), stderr: stderr.into(), ..Output::default() }
    }

    #[test]
    fn what_pkg_would_do_is_read() {
        // pkg 1.20 of FreeBSD 14.
        let text = "Updating FreeBSD repository catalogue...\nFreeBSD repository is up to date.\n\
            The following 4 package(s) will be affected (of 0 checked):\n\nNew packages to be INSTALLED:\n\tlibrary: 1.5 [FreeBSD]\n\n\
            Installed packages to be UPGRADED:\n\tserver: 1.0_1 -> 2.0,1 [FreeBSD]\n\n\
            Installed packages to be REINSTALLED:\n\tother-1.0 [FreeBSD] (options changed)\n\n\
            Installed packages to be REMOVED:\n\told: 0.1\n\nNumber of packages to be removed: 1\n";
        let expected = [("library", "1.5"), ("server", "2.0,1"), ("old", ABSENT)];
        assert_eq!(steps(&output(1, text, "")).unwrap(), expected.map(|(name, version)| (name.into(), version.into())));
        let missing = "pkg: No packages available to install matching 'nope' have been found in the repositories\n";
        assert!(steps(&output(70, "", missing)).unwrap_err().contains("matching 'nope'"));
    }

    #[test]
    fn only_what_is_not_as_asked_is_asked_for() {
        let database = read("\u{1e}packages\nserver 1.0_1\n\u{1e}met\nserver\n").unwrap();
        let built = |value: serde_json::Value| {
            let entry = crate::modules::find("community.general.pkgng").unwrap();
            let arguments = entry.arguments(value.as_object().unwrap().clone()).map_err(|error| error.to_string())?;
            Pkg::read(&arguments).map_err(|error| error.to_string())
        };
        let asked = |value| {
            let all = built(value).unwrap().asked(&database);
            all.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(asked(json!({"name": "server"})), "");
        assert_eq!(
            asked(json!({"name": "server,new", "state": "latest", "cached": true})),
            "install -g -U new, upgrade -g -U server"
        );
        assert_eq!(
            asked(json!({"name": "server", "state": "absent", "autoremove": true})),
            "delete -g server, autoremove"
        );
        assert_eq!(asked(json!({"name": "*", "state": "latest", "pkgsite": "own"})), "upgrade -r own");
        assert_eq!(asked(json!({"name": "new", "use_globs": false})), "install new");
        for value in [
            json!({"name": "-y"}),
            json!({"name": "*"}),
            json!({"name": "a", "annotation": "key"}),
            json!({"name": "a", "rootdir": "/a", "jail": "b"}),
        ] {
            assert!(built(value.clone()).is_err(), "{value}");
        }
        let line =
            built(json!({"name": "a", "jail": "mail", "ignore_osver": true})).unwrap().line(&["install", "-y", "a"]);
        assert_eq!(line, "IGNORE_OSVERSION=yes BATCH=yes LC_ALL=C pkg --jail mail install -y a");
    }
}
