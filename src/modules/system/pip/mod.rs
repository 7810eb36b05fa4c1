//! `pip`: packages of Python's, through the host's own pip, with all that comes along.

use async_trait::async_trait;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{absolute, bytes_of, join, parent};
use crate::modules::{Arguments, Entry, Module, ModuleError, Outcome, Planned, Results};
use crate::secret;
use crate::transport::command::quote;
use crate::transport::{Command, Links, Want};
use crate::web::without_login;

mod asked;
mod place;
mod requirement;

use super::run::words;

use asked::{ARGUMENTS, Fields, Wanted, making};
use place::{Found, NONE, Place};
use requirement::{Kind as Named, Requirement, joined};

pub const PIP: Entry = Entry {
    name: "pip",
    summary: "Installs, upgrades and removes packages of Python's with pip; every package that changes is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: The survey's library is there
  pip:
    name: tiny>=1.0
    virtualenv: /var/qmail/survey
    virtualenv_command: python3 -m venv
",
    build,
};

struct Pip {
    named: Vec<Requirement>,
    /// The further words for pip.
    extra: Vec<String>,
    /// The words that make an environment, its directory left out.
    making: Vec<String>,
    fields: Fields,
}

/// What becomes of a package.
struct Move {
    name: String,
    before: String,
    after: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let said = |text: &str| Diagnostic::new(text).msg(text);
    match (&fields.name, &fields.requirements) {
        (None, None) => {
            return Err(Diagnostic::new("`pip` needs `name` or `requirements`")
                .msg("one of the following is required: name, requirements"));
        }
        (Some(_), Some(_)) => {
            return Err(Diagnostic::new("`pip` takes `name` or `requirements`, not both")
                .msg("parameters are mutually exclusive: name|requirements"));
        }
        _ => {}
    }
    if fields.executable.is_some() && fields.virtualenv.is_some() {
        return Err(Diagnostic::new("`pip` takes `executable` or `virtualenv`, not both")
            .msg("parameters are mutually exclusive: executable|virtualenv"));
    }
    let is_octal = |umask: &String| !umask.is_empty() && umask.chars().all(|digit| digit.is_digit(8));
    if !fields.umask.as_ref().is_none_or(is_octal) {
        return Err(said("umask must be an octal integer"));
    }
    if fields.state == Wanted::Latest && fields.version.is_some() {
        return Err(said("version is incompatible with state=latest"));
    }
    let mut named = joined(fields.name.as_deref().unwrap_or_default())
        .iter()
        .map(|text| Requirement::read(text))
        .collect::<Result<Vec<_>, _>>()?;
    match (&fields.version, named.as_mut_slice()) {
        (None, _) | (_, []) => {}
        (Some(_), [_, _, ..]) => {
            return Err(said(
                "'version' argument is ambiguous when installing multiple package distributions. \
                 Please specify version restrictions next to each package in 'name' argument.",
            ));
        }
        (Some(_), [one]) if one.has_versions() => {
            return Err(said(
                "The 'version' argument conflicts with any version specifier provided along with a package name. \
                 Please keep the version specifier, but remove the 'version' argument.",
            ));
        }
        (Some(version), [one]) => *one = one.with_version(version)?,
    }
    let mut extra = fields.extra_args.as_deref().map_or(Ok(Vec::new()), words)?;
    if fields.editable && !extra.iter().any(|word| word == "-e") {
        extra.push("-e".into());
    }
    let texts = named.iter().map(|one| &one.text).chain(&extra);
    for text in texts
        .filter_map(|text| text.find("://").map(|at| &text[text[..at].rfind(['=', ' ', '@']).map_or(0, |at| at + 1)..]))
    {
        if let (_, Some((_, password))) = without_login(text) {
            secret::note(&password);
        }
    }
    let making = making(&fields)?;
    Ok(Box::new(Pip { named, extra, making, fields }))
}

#[async_trait]
impl Module for Pip {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if self.named.is_empty() && self.fields.requirements.is_none() {
            let warnings = vec!["No valid name or requirements file found.".into()];
            return Ok(Planned { warnings, ..Planned::new(Vec::new(), Results::new()) });
        }
        let lines = self.lines(host).await?;
        let (place, is_planned) = self.place(host).await?;
        if place.is_new && host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let would = self.would(&lines);
        let mut found = match is_planned {
            true => Found::default(),
            false => self.look(host, &place, would.as_deref().filter(|_| place.is_new)).await?,
        };
        let moved = self.add_planned(host, &place, &mut found) || is_planned;
        let mut result = self.told(&place, &found);
        let mut moves = self.gone(&lines, &found);
        let is_open = place.is_new
            || match self.fields.state {
                Wanted::Absent => !moves.is_empty(),
                Wanted::Present if self.fields.requirements.is_none() => {
                    self.named.iter().any(|one| !self.is_met(one, (&place, &found)))
                }
                _ => true,
            };
        if !is_open || host.only_asks {
            return Ok(Planned::new(Vec::new(), result));
        }
        if moved {
            return Err(ModuleError::Unknown("what pip does on top of what an earlier task changes".into()));
        }
        if self.fields.state != Wanted::Absent {
            if let (Some(would), false) = (&would, place.is_new) {
                found = Found { packages: found.packages, ..self.look(host, &place, Some(would)).await? };
            }
            if !found.can_tell {
                return self.run(host, (&place, &found), result).await;
            }
            result.insert("stdout".into(), found.said.trim_end().into());
            moves = self.come(&place, &found);
        }
        let (change, warnings) = self.change(host, (&place, &found), &moves).await?;
        Ok(Planned { warnings, ..Planned::new(change.into_iter().collect(), result) })
    }
}

impl Pip {
    /// Returns where the packages are, and whether that is an environment which an earlier task of the check makes.
    async fn place(&self, host: &View) -> Result<(Place, bool), ModuleError> {
        let fields = &self.fields;
        let chdir = fields.chdir.as_deref().map(|path| absolute(host, path));
        let env = fields.virtualenv.as_deref().map(|env| match &chdir {
            Some(chdir) if !env.starts_with(['/', '~', '$']) => join(chdir, env),
            _ => absolute(host, env),
        });
        let planned = env.as_ref().is_some_and(|env| !host.planned_parts(&environment(env)).is_empty());
        let is_new = match &env {
            Some(env) if !planned => !host.look(&format!("{env}/bin/activate"), Want::Attributes).await?.exists(),
            _ => false,
        };
        let place = Place {
            env,
            is_new,
            making: self.making.clone(),
            directory: chdir.unwrap_or_else(|| "/".into()),
            executable: fields.executable.clone(),
            umask: fields.umask.clone(),
            break_system_packages: fields.break_system_packages,
        };
        Ok((place, planned))
    }

    /// Asks what is there, and with `would` what pip would do.
    async fn look(&self, host: &View, place: &Place, would: Option<&[String]>) -> Result<Found, ModuleError> {
        let output = host.probe(&place.look(&self.listed(place), would)).await?;
        let found = Found::read(&output.text());
        let error = output.error_text();
        if output.success() {
            return Ok(found);
        }
        if found.can_tell && error.contains("no such option: --dry-run") {
            return Ok(Found { can_tell: false, ..found });
        }
        if host.plans_ahead() {
            return Err(ModuleError::Unknown("what pip finds by then".into()));
        }
        let message = match found.can_tell {
            true => format!("stdout: {}\n:stderr: {error}", found.said),
            false => error.trim_end().into(),
        };
        let cmd = if found.pip.is_empty() { Vec::new() } else { self.words(&found) };
        Err(ModuleError::Failed { message, result: Results::from_iter([("cmd".to_string(), json!(cmd))]) })
    }

    /// Takes over what earlier tasks of a check do to the packages; says whether they do anything.
    fn add_planned(&self, host: &View, place: &Place, found: &mut Found) -> bool {
        let stem = format!("{} ", place.called(self.target().as_deref()));
        let lines = host.planned_parts_of(&stem).into_iter().filter_map(|part| host.planned_parts(&part).pop());
        let mut moved = false;
        for line in lines {
            let Some((name, version)) = line.split_once(": ") else { continue };
            moved |= found.packages.get(name).map_or(NONE, String::as_str) != version;
            match version {
                NONE => drop(found.packages.remove(name)),
                _ => drop(found.packages.insert(name.into(), version.into())),
            }
        }
        moved
    }

    /// Returns the lines of the file that names packages, and of those that it names in turn.
    async fn lines(&self, host: &View) -> Result<Vec<String>, ModuleError> {
        let chdir = self.fields.chdir.as_deref().map_or_else(|| "/".into(), |path| absolute(host, path));
        let below = |base: &str, file: &str| (!file.contains("://")).then(|| join(base, file));
        let mut open: Vec<String> = self.fields.requirements.iter().filter_map(|file| below(&chdir, file)).collect();
        let (mut read, mut lines) = (Vec::new(), Vec::new());
        while let Some(path) = open.pop() {
            let nodes = host.look_all(&[(path.clone(), Links::Follow)], Want::Content).await?;
            let Some(content) = nodes.first().and_then(|node| node.content()) else { continue };
            if host.is_planned(&path) {
                return Err(ModuleError::Unknown(format!("what is in `{path}` by then").into()));
            }
            let text = String::from_utf8_lossy(&bytes_of(host, &path, content).await?).into_owned();
            for line in text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim()) {
                let nested = ["-r", "--requirement"].iter().find_map(|option| line.strip_prefix(option));
                match nested {
                    Some(file) => open.extend(below(parent(&path), file.trim_start_matches(['=', ' ']))),
                    None if !line.is_empty() && !line.starts_with('#') => lines.push(line.to_string()),
                    None => {}
                }
            }
            read.push(path);
            open.retain(|path| !read.contains(path));
        }
        Ok(lines)
    }

    /// Returns the directory that `--target` names.
    fn target(&self) -> Option<String> {
        let mut words = self.extra.iter();
        while let Some(word) = words.next() {
            if ["-t", "--target"].contains(&word.as_str()) {
                return words.next().cloned();
            }
            if let Some(target) = word.strip_prefix("--target=") {
                return Some(target.into());
            }
        }
        None
    }

    /// Returns the options of `pip list`: what is asked for, and not what others see too.
    fn listed(&self, place: &Place) -> Vec<String> {
        match self.target() {
            Some(target) => vec!["--path".into(), join(&place.directory, &target)],
            None if self.fields.state == Wanted::Absent => vec!["--local".into()],
            None => Vec::new(),
        }
    }

    /// Returns what is named, as pip takes it.
    fn names(&self) -> Vec<String> {
        match &self.fields.requirements {
            Some(file) => vec!["-r".into(), file.clone()],
            None => self.named.iter().map(|one| one.text.clone()).collect(),
        }
    }

    /// Returns the words of the whole command.
    fn words(&self, found: &Found) -> Vec<String> {
        let verb = self.fields.state.words().iter().map(|word| word.to_string());
        found.pip.iter().cloned().chain(verb).chain(self.extra.iter().cloned()).chain(self.names()).collect()
    }

    fn is_in_place(&self) -> bool {
        self.extra.iter().any(|word| ["-e", "--editable"].contains(&word.as_str()))
    }

    /// Returns the words that ask pip what it would do; nothing where it would leave files or does the same each time.
    fn would(&self, lines: &[String]) -> Option<Vec<String>> {
        let elsewhere = |word: &String| ["--prefix", "--root"].iter().any(|option| word.starts_with(option));
        let directory = |line: &String| {
            line.starts_with("-e")
                || line.starts_with("--editable")
                || Requirement::read(line).is_ok_and(|one| one.kind == Named::Directory)
        };
        let directories = self.named.iter().any(|one| one.kind == Named::Directory) || lines.iter().any(directory);
        let cannot = self.is_in_place() || self.extra.iter().any(elsewhere) || directories;
        let verb = match self.fields.state {
            Wanted::Present => ["install", "--dry-run"].as_slice(),
            Wanted::Latest => &["install", "--dry-run", "-U"],
            Wanted::ForceReinstall | Wanted::Absent => return None,
        };
        let verb = verb.iter().map(|word| word.to_string());
        (!cannot).then(|| verb.chain(self.extra.iter().cloned()).chain(self.names()).collect())
    }

    /// Says whether what is named is there as asked, as far as that is known without pip.
    fn is_met(&self, one: &Requirement, (place, found): (&Place, &Found)) -> bool {
        match one.kind {
            Named::Plain => {
                one.name.as_ref().and_then(|name| found.packages.get(name)).is_some_and(|there| one.is_met_by(there))
            }
            Named::Other if !self.is_in_place() => false,
            Named::Other | Named::Directory => is_known(one, (place, found)),
        }
    }

    /// Returns what goes.
    fn gone(&self, lines: &[String], found: &Found) -> Vec<Move> {
        if self.fields.state != Wanted::Absent {
            return Vec::new();
        }
        let read = lines.iter().filter_map(|line| Requirement::read(line).ok());
        let names = self.named.iter().cloned().chain(read).filter_map(|one| one.name);
        let gone = names.filter_map(|name| {
            let before = found.packages.get(&name)?.clone();
            Some(Move { name, before, after: NONE.into() })
        });
        let mut gone: Vec<Move> = gone.collect();
        gone.sort_by(|one, other| one.name.cmp(&other.name));
        gone.dedup_by(|one, other| one.name == other.name);
        gone
    }

    /// Returns what comes, as pip says; what is named first.
    fn come(&self, place: &Place, found: &Found) -> Vec<Move> {
        let before = |name: &String| found.packages.get(name).filter(|_| !place.is_new).map_or(NONE, String::as_str);
        let moves =
            found.would_install().into_iter().map(|(name, after)| Move { before: before(&name).into(), name, after });
        let mut moves: Vec<Move> = moves.filter(|one| one.before != one.after).collect();
        let is_named = |one: &Move| self.named.iter().any(|named| named.name.as_ref() == Some(&one.name));
        moves.sort_by_key(|one| (!is_named(one), one.name.clone()));
        moves
    }

    /// Returns the plan of what only a run can tell of.
    async fn run(
        &self,
        host: &View,
        (place, found): (&Place, &Found),
        result: Results,
    ) -> Result<Planned, ModuleError> {
        let known = self.named.iter().all(|one| is_known(one, (place, found)));
        if self.fields.state == Wanted::Present && self.fields.requirements.is_none() && known {
            return Ok(Planned::new(Vec::new(), result));
        }
        let (made, warnings) = self.change(host, (place, found), &[]).await?;
        let command = place.run(&self.words(found));
        let changes = made.into_iter().chain([Change::Run { command }]).collect();
        Ok(Planned { changes, result: Outcome::Applied(result), warnings })
    }

    /// Returns the change of all packages that one run of pip moves, with the environment that it makes for them.
    async fn change(
        &self,
        host: &View,
        (place, found): (&Place, &Found),
        moves: &[Move],
    ) -> Result<(Option<Change>, Vec<String>), ModuleError> {
        let (target, listed) = (self.target(), self.listed(place));
        let called = place.called(target.as_deref());
        let names: Vec<&str> = moves.iter().map(|one| one.name.as_str()).collect();
        let env = place.env.as_deref().filter(|_| place.is_new);
        let lines = |python: &str, of: fn(&Move) -> &String| -> String {
            let environment = env.map(|_| format!("environment: {python}"));
            let packages = moves.iter().map(|one| format!("{}: {}", one.name, of(one)));
            environment.into_iter().chain(packages).collect::<Vec<_>>().join("\n")
        };
        let texts = (lines(NONE, |one| &one.before), lines(&found.python, |one| &one.after));
        let mut by: Vec<Command> = env.map(|_| place.make()).into_iter().collect();
        if !moves.is_empty() {
            let words = match self.fields.state {
                Wanted::Absent => {
                    let words = ["uninstall", "-y"].into_iter().map(String::from).chain(self.extra.iter().cloned());
                    [found.pip.clone(), words.collect(), names.iter().map(|name| name.to_string()).collect()].concat()
                }
                _ => self.words(found),
            };
            by.push(place.run(&words));
        }
        let (back, warnings) = match env {
            Some(env) => (without(host, env).await?, Vec::new()),
            None => self.back(host, (place, found), moves).await?,
        };
        let parts = env.map(environment).into_iter().chain(names.iter().map(|name| format!("{called} {name}")));
        let paths = place.env.iter().cloned().chain(target.map(|target| join(&place.directory, &target)));
        let probe = place.versions(&found.pip, &listed, &names);
        let change = Change::state(called.clone(), probe, texts, by);
        let change = change.map(|change| change.taken_back(back).in_parts(parts.collect()).with_paths(paths.collect()));
        Ok((change, warnings))
    }

    /// Returns what takes the moves back: what was there before has to be had again.
    async fn back(
        &self,
        host: &View,
        (place, found): (&Place, &Found),
        moves: &[Move],
    ) -> Result<(Back, Vec<String>), ModuleError> {
        let text = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let (came, before): (Vec<&Move>, Vec<&Move>) = moves.iter().partition(|one| one.before == NONE);
        let mut back = Vec::new();
        if !came.is_empty() {
            let names = came.iter().map(|one| one.name.clone()).collect();
            back.push(place.run(&[found.pip.clone(), text(&["uninstall", "-y"]), names].concat()));
        }
        if !before.is_empty() {
            let extra = if self.fields.state == Wanted::Absent { Vec::new() } else { self.extra.clone() };
            let versions: Vec<String> = before.iter().map(|one| format!("{}=={}", one.name, one.before)).collect();
            let words = |verb: &[&str]| [text(verb), extra.clone(), versions.clone()].concat();
            let would = words(&["install", "--dry-run", "--no-deps", "--ignore-installed"]);
            if !host.probe(&place.look(&[], Some(&would))).await?.success() {
                let warning = |one: &&Move| {
                    format!("an undo cannot bring back {} {}: pip does not find it", one.name, one.before)
                };
                return Ok((Back::None, before.iter().map(warning).collect()));
            }
            back.push(place.run(&[found.pip.clone(), words(&["install", "--no-deps"])].concat()));
        }
        Ok((Back::By(back), Vec::new()))
    }

    /// Returns what is known of the task before it is done.
    fn told(&self, place: &Place, found: &Found) -> Results {
        let Fields { name, version, requirements, state, .. } = &self.fields;
        let pairs = [
            ("cmd", json!(self.words(found))),
            ("name", json!(name)),
            ("version", json!(version)),
            ("state", json!(state.name())),
            ("requirements", json!(requirements)),
            ("virtualenv", json!(place.env)),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// Names the state of an environment.
fn environment(env: &str) -> String {
    format!("virtual environment {env}")
}

/// Returns what takes an environment away again.
async fn without(host: &View, env: &str) -> Result<Back, ModuleError> {
    let path = quote(env);
    let script = match host.look(env, Want::Attributes).await? {
        node if !node.exists() => format!("rm -rf -- {path}"),
        _ if host.list(env, Some(1)).await?.is_empty() => {
            format!("cd {path} && find . ! -name . -prune -exec rm -rf -- {{}} +")
        }
        // What is in there besides stays.
        _ => return Ok(Back::None),
    };
    Ok(Back::By(vec![Command::shell(script)]))
}

/// Says whether something is there whose version only pip could tell, by its name or by where it is from.
fn is_known(one: &Requirement, (at, found): (&Place, &Found)) -> bool {
    if let Some(name) = &one.name {
        return found.packages.get(name).is_some_and(|version| one.is_met_by(version));
    }
    let place = |text: &str| text.trim_start_matches("file://").trim_end_matches('/').to_string();
    let text = place(one.text.split('#').next().unwrap_or_default());
    let wanted = if one.kind == Named::Directory { join(&at.directory, &text) } else { text };
    found.frozen.lines().any(|line| line.split([' ', '#']).any(|word| place(word) == wanted))
}
