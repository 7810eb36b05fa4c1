//! A module's task on one host: arguments rendered, the plan shown, its changes journalled and made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::change::{self, Applied, Change, Diff, Secrecy};
use crate::error::Diagnostic;
use crate::host::{Controller, Unrendered, View};
use crate::modules::{Entry, Module, ModuleError, Outcome, Planned, Results};
use crate::playbook::library::Custom;
use crate::template::{Failure, Use};
use crate::transport::{Transport as _, TransportError};
use crate::vars::{Layer, Var};
use crate::yaml::{Data, Yaml};

use super::background::Background;
use super::connections::Peers;
use super::custom::Called;
use super::doing::{Doing, Done, skip};
use super::earlier::Work;
use super::making::{Machine, Making, Unapplied};
use super::task::{absolute, place_of};
use super::trouble::Trouble;
use super::{Event, Mode, Subject, result};

impl Doing<'_> {
    /// Plans a module, shows what it would change, and makes it so.
    pub(super) async fn module(&self, entry: &'static Entry, limit: Option<Duration>) -> Result<Done, Trouble> {
        match self.known_module(entry, limit).await {
            Err(Trouble::Unknown(needs)) if self.batch.run.options.mode == Mode::Check => {
                let foreseen = Box::pin(self.foresee(entry, &needs)).await;
                Err(Trouble::Open { needs, foreseen })
            }
            other => other,
        }
    }

    async fn known_module(&self, entry: &'static Entry, limit: Option<Duration>) -> Result<Done, Trouble> {
        let place = &self.task.action_place;
        let (module, arguments) = match &self.task.custom {
            Some(file) => (Box::new(self.called(file)?) as Box<dyn Module>, entry.arguments(Map::new())?),
            None => {
                let refused = |error: Diagnostic| Trouble::refused(&error.or_at(place));
                let arguments = entry.arguments(self.arguments(entry.free_form)?).map_err(refused)?;
                ((entry.build)(&arguments).map_err(refused)?, arguments)
            }
        };
        if self.is_left_out() {
            let mut done = skip("check mode");
            done.result.insert("msg".into(), "check mode not (yet) supported for this module".into());
            return Ok(done);
        }
        let (mut machine, mut planned) = self.planned(module.as_ref(), limit).await?;
        if self.probe {
            let applied = probed(&machine, &planned).await?;
            return self.done(false, planned.result, Some(applied));
        }
        if self.mode == Mode::Check {
            // What the task's own `check_mode: true` keeps from being made is not made in a run either: nothing to carry on.
            if self.task.keywords.check_mode.is_none() {
                let waits_for = self.carry_on(&machine, &planned.changes);
                if !self.reads_only() {
                    self.forget_what_runs(&machine, &planned.changes, &arguments.read()?);
                }
                self.note_settings(&machine, (entry, &arguments), &planned);
                self.record(&machine, (&planned.changes, waits_for))?;
            }
            let runs = planned.changes.iter().any(|change| matches!(change, Change::Run { .. }));
            let conditional = ["creates", "removes"].iter().any(|name| arguments.get(name).is_some());
            let left_out = LEFT_OUT.iter().find(|(action, _)| *action == self.task.action && !conditional);
            if let (true, Mode::Apply, Some((_, why))) = (runs, self.batch.run.options.mode, left_out) {
                // The task's own `check_mode: true` leaves a command out of which nothing says what it would change, as in Ansible.
                let mut done = skip(why);
                done.result.insert("msg".into(), (*why).into());
                return Ok(done);
            }
            return self.done(!planned.changes.is_empty(), planned.result, None);
        }
        let away = match module.absence() {
            Some(absence) => Some((self.leaving(&machine, &absence).await?, absence)),
            None => None,
        };
        let mut applied = self.apply(&machine, &planned.changes).await;
        if let Some((before, absence)) = &away {
            applied = self.back((absence, before), applied).await;
        }
        if matches!(applied, Err(Unapplied::Stale(_))) && self.shared(&machine).is_none() {
            // Another hand was faster than this task's turn, or its questions were asked early: it is shown anew.
            (machine, planned) = self.planned(module.as_ref(), limit).await?;
            applied = self.apply(&machine, &planned.changes).await;
        } else if matches!(applied, Err(Unapplied::Stale(_)))
            && let Some(shared) = self.shared(&machine)
        {
            // Hosts that share a machine may ask for the same: who comes late takes a turn, and looks again.
            let turn = self.batch.run.turn(&shared);
            let _turn = turn.lock().await;
            for _ in 0..LATE_TRIES {
                (machine, planned) = self.planned(module.as_ref(), limit).await?;
                applied = self.apply(&machine, &planned.changes).await;
                if !matches!(applied, Err(Unapplied::Stale(_))) {
                    break;
                }
            }
        }
        let applied = applied.map_err(|error| match error {
            Unapplied::Stale(message) => Trouble::failed(message),
            Unapplied::Other(trouble) => trouble,
        })?;
        self.note_job(&applied);
        if self.task.custom.is_some() && applied.output.is_some() {
            let done = super::custom::done(applied)?;
            self.note_facts(&done.result)?;
            return Ok(done);
        }
        let (mut changed, mut result) = (!planned.changes.is_empty(), planned.result);
        if let Some(earlier) = &self.batch.run.earlier {
            let work = self.work(&machine.host);
            changed |= earlier.has_changed(&work);
            if let (true, Outcome::Known(known)) = (planned.changes.is_empty(), &result)
                && let Some(ran) = earlier.take_any(&work)
            {
                result = Outcome::Known(result::merged(known.clone(), ran));
            }
        }
        self.done(changed, result, Some(applied))
    }

    /// Says whether the task's own `check_mode: true` leaves it out, as Ansible does where a module knows no check. A check of a whole
    /// run looks at it like at any other.
    fn is_left_out(&self) -> bool {
        self.mode == Mode::Check && self.task.keywords.check_mode.is_some() && self.task.action == "fetch"
    }

    /// Returns the module of the user's, as it is called.
    fn called(&self, file: &Arc<Custom>) -> Result<Called, Trouble> {
        let arguments = self.arguments(None)?;
        let quiet = (self.secrecy == Secrecy::Hidden, self.batch.run.options.verbosity);
        let check = self.mode == Mode::Check;
        Ok(Called { name: self.task.action.clone(), file: file.clone(), arguments, check, quiet })
    }

    /// Names what this task does on a machine.
    pub(super) fn work(&self, machine: &str) -> Work {
        let task = self.task.keywords.name.as_ref().and_then(|name| name.as_str()).unwrap_or(&self.task.action);
        let Subject { host, item, .. } = &self.subject;
        let (task, place) = (task.to_string(), place_of(self.task));
        let nth = self.visit();
        Work { machine: machine.into(), subject: host.clone(), item: item.clone(), nth, task, place }
    }

    /// Says whether an earlier run has changed something here, so that its conditions held.
    pub(super) fn was_at_work(&self) -> bool {
        self.batch.run.earlier.as_ref().is_some_and(|earlier| {
            let machine = self.delegate().ok().flatten().unwrap_or_else(|| self.host.to_string());
            earlier.has_changed(&self.work(&machine))
        })
    }

    /// Names the machine if other hosts of the task may work on it too: one delegated to, or one that several names
    /// of the inventory mean.
    fn shared(&self, machine: &Machine) -> Option<String> {
        let same = |host: &&String| {
            let scope = self.batch.run.fleet.scope(host, &self.layers);
            let login = self.batch.run.connections.login(host, &self.task.keywords, &scope);
            login.is_ok_and(|(login, _)| login == machine.login)
        };
        let mut names = self.batch.hosts.iter().filter(same);
        match (&machine.delegate, names.next(), names.next()) {
            (_, Some(first), Some(_)) => Some(first.clone()),
            (delegate, _, _) => delegate.clone(),
        }
    }

    /// Plans the module on its machine; anew, over a new connection, where the connection is lost. A plan only reads.
    async fn planned(&self, module: &dyn Module, limit: Option<Duration>) -> Result<(Machine, Planned), Trouble> {
        let (mut lost, mut host) = (0, self.host.to_string());
        let patience = module.patience().filter(|_| self.mode == Mode::Apply);
        if let Some(patience) = patience {
            tokio::time::sleep(patience.delay).await;
        }
        let mut machine = self.machine().await;
        loop {
            if let Ok(machine) = &machine {
                host.clone_from(&machine.host);
            }
            let planned = match machine {
                Ok(machine) => self.plan(module, &machine, limit).await.map(|planned| (machine, planned)),
                Err(trouble) => Err(trouble),
            };
            let why = match planned {
                Err(Trouble::Unreachable(_)) if patience.is_some_and(|patience| Instant::now() < patience.until) => {
                    tokio::time::sleep(patience.map_or(BEFORE_AGAIN, |patience| patience.sleep)).await;
                    machine = self.machine().await;
                    continue;
                }
                Err(Trouble::Unreachable(why)) if patience.is_some() => {
                    return Err(Trouble::failed(format!("timed out waiting for the connection: {why}")));
                }
                Err(Trouble::Unreachable(why)) if lost < PLANS_AGAIN => why,
                other => return other,
            };
            // Not a host that was never there.
            if lost == 0 && !self.batch.run.connections.has_lost() {
                return Err(Trouble::Unreachable(why));
            }
            lost += 1;
            let text = format!("`{host}`: the connection was lost, connecting again ({lost} of {PLANS_AGAIN}): {why}");
            self.batch.send(Event::Warning(text));
            tokio::time::sleep(BEFORE_AGAIN).await;
            machine = self.machine().await;
        }
    }

    /// Plans the module and shows what it would change.
    async fn plan(&self, module: &dyn Module, machine: &Machine, limit: Option<Duration>) -> Result<Planned, Trouble> {
        if WAITING.contains(&self.task.action.as_str()) {
            self.batch.run.connections.clock().tick();
        }
        let view = self.view(machine, Use::Host).await?;
        let planned = self.with_questions(machine, module.plan(&view)).await;
        if WAITING.contains(&self.task.action.as_str()) {
            self.batch.run.connections.clock().tick();
        }
        let mut planned = planned.map_err(|error| match error {
            ModuleError::Wrong(diagnostic) => ModuleError::Wrong(diagnostic.or_at(&self.task.action_place)),
            ModuleError::Failed { message, result } => match (view.doubt(), view.may_come()) {
                (Some(needs), _) => ModuleError::Unknown(needs),
                (None, Some(needs)) => ModuleError::Unknown(format!("{needs} ({message})").into()),
                (None, None) => ModuleError::Failed { message, result },
            },
            error => error,
        })?;
        if let Some(needs) = view.doubt() {
            return Err(Trouble::Unknown(needs));
        }
        self.finish_commands(&mut planned, limit)?;
        self.finish_facts(&mut planned);
        result::note_warnings(&mut planned);
        let asked = self.task.keywords.diff.is_some() && self.show_diff;
        result::note_told_difference(&mut planned, asked);
        if asked && self.task.action == "file" {
            result::note_difference(&mut planned);
        }
        if let Some(earlier) = &self.batch.run.earlier {
            let work = self.work(&machine.host);
            planned.changes.retain(|change| !earlier.has_made(&work, change));
            if self.mode == Mode::Apply {
                for found in earlier.found_made(&work, &planned.changes) {
                    let noted = self.batch.run.journal.decided(&found);
                    noted.map_err(|error| Trouble::failed(format!("the journal cannot be written: {error}")))?;
                }
            }
        }
        planned.warnings.iter().for_each(|warning| self.batch.send(Event::Warning(warning.clone())));
        self.show(machine, &planned);
        Ok(planned)
    }

    /// Returns the machine as a module sees it, whose templates are for the host or to be shown.
    pub(super) async fn view(&self, machine: &Machine, wanted: Use) -> Result<View, Trouble> {
        let controller = Arc::new(self.controller(wanted).await?);
        let pendings = self.batch.run.progress.pendings.clone();
        let view = View::new(&machine.host, machine.transport.clone(), pendings, (controller, machine.peers.clone()));
        let mut view = view.with_environment(match wanted {
            Use::Host => self.environment()?,
            Use::Show => self.environment().unwrap_or_default(),
        });
        (view.seed, view.is_check) = (self.batch.run.options.seed.clone(), self.mode == Mode::Check);
        Ok(view)
    }

    fn done(&self, changed: bool, outcome: Outcome, applied: Option<Applied>) -> Result<Done, Trouble> {
        let (mut result, unknown) = match (outcome, applied) {
            (Outcome::Known(mut result), applied) => {
                result.extend(applied.map(|applied| applied.report).unwrap_or_default());
                (result, false)
            }
            (Outcome::Applied(result), Some(applied)) => (result::merged(result, applied), false),
            // A task's own `check_mode: true` asks for what is known without making it.
            (Outcome::Read(read), Some(Applied { output: Some(output), .. } | Applied { said: Some(output), .. })) => {
                (read(&output)?, false)
            }
            (Outcome::Read(_), _) => (Map::new(), self.task.keywords.check_mode.is_none()),
            (Outcome::Applied(result), None) => (result, self.task.keywords.check_mode.is_none()),
        };
        self.note_facts(&result)?;
        let skipped = result.get("skipped").and_then(Value::as_bool).unwrap_or(false);
        // What is not as asked and stays so, for a task that asks for that too, is told as changed, as by Ansible.
        let changed = changed || result.get("changed") == Some(&Value::Bool(true));
        result.insert("changed".into(), changed.into());
        let status = result.get("rc").and_then(Value::as_i64).unwrap_or(0);
        if status != 0 && self.task.failed_when.is_none() && !skipped {
            if result.get("msg").is_some_and(|text| text == "") {
                result.remove("msg");
            }
            return Err(Trouble::Failed { message: "non-zero return code".into(), result });
        }
        Ok(Done { changed, skipped, unknown, result, ..Done::default() })
    }

    /// Takes over the facts that a module has found.
    fn note_facts(&self, result: &Results) -> Result<(), Trouble> {
        if let Some(Value::Object(facts)) = result.get("ansible_facts") {
            for host in self.fact_hosts()? {
                self.batch.run.fleet.add_facts(&host, facts.clone());
                if matches!(self.task.action.as_str(), "setup" | "gather_facts") {
                    self.batch.run.fleet.note_gathered(&host);
                }
            }
        }
        Ok(())
    }

    /// Gives commands the task's environment, and those of the user's its time limit.
    fn finish_commands(&self, planned: &mut Planned, limit: Option<Duration>) -> Result<(), Trouble> {
        let environment = self.environment()?;
        let background = self.background()?.filter(|_| self.can_go_on());
        for change in &mut planned.changes {
            change.add_environment(&environment);
            if let Change::Run { command } = change {
                command.timeout = command.timeout.or(limit);
                match background {
                    Some(Background { limit, poll: None }) => command.detached = Some(limit),
                    Some(Background { limit, .. }) => command.timeout = Some(limit),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Adds the task's environment to `ansible_env`. A variable that needs what is not known yet, as `ansible_env` itself, is
    /// left out, as by Ansible.
    fn finish_facts(&self, planned: &mut Planned) {
        if !matches!(self.task.action.as_str(), "setup" | "gather_facts") {
            return;
        }
        let Outcome::Known(result) = &mut planned.result else { return };
        let known = result.get_mut("ansible_facts").and_then(|facts| facts.get_mut("ansible_env"));
        let Some(known) = known.and_then(Value::as_object_mut) else { return };
        let written = self.task.keywords.environment.iter().filter_map(Yaml::as_map).flatten();
        for (name, node) in written {
            match self.templates().render(node, &self.scope) {
                Ok(Value::Null) | Err(_) => {}
                Ok(value) => drop(known.insert(name.key(), super::action::text_of(&value).into())),
            }
        }
    }

    /// Returns the environment variables that the task gives its commands.
    pub(super) fn environment(&self) -> Result<Vec<(String, String)>, Trouble> {
        let mut environment = Vec::new();
        // `environment: {PATH: "/opt:{{ ansible_env.PATH }}"}` on a play must not stop the task that finds `ansible_env`.
        if matches!(self.task.action.as_str(), "setup" | "gather_facts") {
            return Ok(environment);
        }
        for node in &self.task.keywords.environment {
            let maps = match self.templates().render(node, &self.scope)? {
                Value::Array(maps) => maps,
                map => vec![map],
            };
            for map in maps.iter().filter_map(Value::as_object) {
                for (name, value) in map {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
                    environment.retain(|(known, _): &(String, String)| known != name);
                    environment.push((name.clone(), text));
                }
            }
        }
        Ok(environment)
    }

    /// Says whether the task declares to change nothing.
    pub(super) fn reads_only(&self) -> bool {
        self.probe || self.task.changed_when.as_ref().is_some_and(|node| matches!(*node.data, Data::Bool(false)))
    }

    fn show(&self, machine: &Machine, planned: &Planned) {
        // A command that the task declares to change nothing is no change to be shown.
        let reads_only = self.reads_only();
        let work = self.work(&machine.host);
        let has_run = |change| self.batch.run.earlier.as_ref().is_some_and(|earlier| earlier.has_run(&work, change));
        let shown = planned.changes.iter().filter(|change| !(reads_only && matches!(change, Change::Run { .. })));
        let shown = shown.filter(|change| !has_run(change));
        let diffs: Vec<Diff> = shown.map(|change| change.diff(self.secrecy)).collect();
        if !self.show_diff || diffs.is_empty() {
            return;
        }
        self.batch.send(Event::Planned { subject: machine.subject(&self.subject), diffs });
    }

    /// Makes the changes, in order, each in the journal first.
    async fn apply(&self, machine: &Machine, changes: &[Change]) -> Result<Applied, Unapplied> {
        if !changes.is_empty() {
            self.are_answered()?;
        }
        self.approve(machine, changes)?;
        let run = &self.batch.run;
        let controller = run.connections.controller().await?;
        let work = self.work(&machine.host);
        let route = self.route(&machine.host).map_err(Trouble::from)?;
        let making = Making {
            run,
            machine,
            task: &work.task,
            place: &work.place,
            nth: work.nth,
            secrecy: self.secrecy,
            subject: &self.subject,
            route,
            step: None,
        };
        making.lock(changes).await?;
        let progress = making.progress();
        let reach = making.reach(&*controller, &progress);
        let background = self.background()?;
        let mut last = Applied::default();
        for (index, change) in changes.iter().enumerate() {
            if let Some((ran, other)) = run.earlier.as_ref().and_then(|earlier| earlier.take(&work, change)) {
                if let Some(command) = other {
                    let was = Change::Run { command }.in_short(self.secrecy);
                    let text =
                        format!("`{}` on `{}` has run before as {was}, and is not run again", work.task, machine.host);
                    run.send(Event::Warning(text));
                }
                last = ran;
                continue;
            }
            let applying = async {
                match (background, change) {
                    (Some(background), Change::Run { command }) if background.poll.is_some() && self.can_go_on() => {
                        self.watched(machine, (command, background), reach).await
                    }
                    _ => change::apply(change, reach).await,
                }
            };
            let applying = self.before_questions(machine, (change, changes.len()), applying);
            last = making.make((index, change), applying).await?;
        }
        Ok(last)
    }

    /// Returns the hosts that facts belong to: the task's own, all of them with `run_once`, unless `delegate_facts`
    /// gives them to the delegate.
    pub(super) fn fact_hosts(&self) -> Result<Vec<String>, Trouble> {
        let switch = |node| self.batch.run.switch(node, &self.scope);
        let delegated = self.task.delegate_facts.as_ref().map(switch).transpose()?.unwrap_or(false);
        let delegate = if delegated { self.delegate()? } else { None };
        Ok(delegate.map_or_else(|| self.facts_for.to_vec(), |delegate| vec![delegate]))
    }

    /// Returns the host that `delegate_to` names.
    pub(super) fn delegate(&self) -> Result<Option<String>, Trouble> {
        let Some(node) = &self.task.delegate_to else { return Ok(None) };
        match self.templates().render(node, &self.scope)? {
            Value::String(name) => Ok(Some(name)),
            other => {
                Err(Diagnostic::new(format!("`delegate_to` should be a host, not {other}")).at(&node.place).into())
            }
        }
    }

    /// Returns the machine this task works on: its host, or the one it is delegated to.
    pub(super) async fn machine(&self) -> Result<Machine, Trouble> {
        let run = &self.batch.run;
        let keywords = &self.task.keywords;
        let delegate = self.delegate()?;
        let host = delegate.clone().unwrap_or_else(|| self.host.to_string());
        let scope = match &delegate {
            None => self.scope.clone(),
            Some(name) => run.fleet.scope(name, &self.layers),
        };
        let (login, user) = run.connections.login(&host, keywords, &scope)?;
        let transport =
            run.connections.transport(&login, user.clone()).await.map_err(|error| match (error, &delegate) {
                // A task may go to a host that is only known by its name; where that leads nowhere it was a slip.
                (TransportError::Unreachable(why), Some(name)) if !run.fleet.has_host(name) => {
                    Trouble::Unreachable(format!("{why}\n{}", run.connections.stranger(name)))
                }
                (error, _) => error.into(),
            })?;
        let peers = Arc::new(Peers {
            connections: run.connections.clone(),
            keywords: keywords.clone(),
            layers: self.layers.clone(),
        });
        Ok(Machine { host, delegate, login, user, transport, peers })
    }

    pub(super) async fn controller(&self, wanted: Use) -> Result<Controller, Trouble> {
        let (templates, scope) = (self.batch.run.templates.clone(), self.scope.clone());
        let render = move |path: &std::path::Path, text: &str, options: &crate::host::TemplateOptions| {
            let source = crate::error::Source { path: path.to_path_buf(), text: text.to_string() };
            templates.text(wanted, (&Arc::new(source), options), &scope.over(about_template(path))).map_err(|failure| {
                match failure {
                    Failure::Wrong(diagnostic) => Unrendered::Wrong(diagnostic),
                    Failure::Unknown(what) => Unrendered::Unknown(what),
                }
            })
        };
        Ok(Controller {
            // A shell of the controller starts in its home, and a journal is read anywhere.
            search: self.scope.search.iter().map(|directory| absolute(directory)).collect(),
            render: Box::new(render),
            transport: self.batch.run.connections.controller().await?,
        })
    }
}

/// Runs the command of a plan that is known to read only.
async fn probed(machine: &Machine, planned: &Planned) -> Result<Applied, Trouble> {
    let Some(Change::Run { command }) = planned.changes.last() else { return Ok(Applied::default()) };
    let start = jiff::Zoned::now();
    let output = machine.transport.machine().probe(command).await?;
    Ok(Applied { output: Some(output), times: Some((start, jiff::Zoned::now())), ..Applied::default() })
}

/// The variables that only a template sees; a variable of the user's with the same name wins.
fn about_template(path: &std::path::Path) -> Arc<Layer> {
    let path = path.display().to_string();
    let values = [("ansible_managed", "Ansible managed"), ("template_path", &path), ("template_fullpath", &path)];
    Arc::new(values.into_iter().map(|(name, value)| (name.into(), Var::Known(value.into()))).collect())
}

/// Commands, and what is said of those that are left out.
const LEFT_OUT: &[(&str, &str)] = &[
    ("command", "Command would have run if not in check mode"),
    ("shell", "Command would have run if not in check mode"),
    ("script", "Check mode is not supported for this task."),
    ("raw", "check mode"),
];

/// Modules that wait for what other hands do: what was asked before they were done is not asked about the same host.
pub(super) const WAITING: &[&str] = &["wait_for", "wait_for_connection"];

/// How often a plan is made again because the connection was lost, and how long after that.
const PLANS_AGAIN: usize = 2;
const BEFORE_AGAIN: Duration = Duration::from_secs(1);

/// How often a plan that another host of the task made stale is made anew.
const LATE_TRIES: usize = 3;
