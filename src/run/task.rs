//! One task on its hosts: who runs it, with which variables, and what becomes of each host.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use crate::change::Secrecy;
use crate::error::{Diagnostic, Diagnostics};
use crate::names::short;
use crate::playbook::keywords::is_template;
use crate::playbook::{Keywords, Role, Section, Step, Task};
use crate::settings;
use crate::template::Failure;
use crate::vars::{Layer, Scope, TaskLayers, Var};
use crate::yaml::Yaml;

use super::doing::Doing;
use super::include::Inclusion;
use super::lanes::Strategy;
use super::play::{Batch, Split, wrong};
use super::{Event, Mode, Subject, TaskKind, Verdict, lock};

/// A host's end of a task.
pub(super) struct Ended {
    pub host: String,
    pub verdict: Verdict,
    pub result: Value,
    pub registered: Option<Var>,
    pub inclusions: Vec<Inclusion>,
}

impl Batch {
    /// Runs a task on hosts and reports on each.
    pub(super) async fn task_on(self: &Arc<Batch>, task: &Arc<Task>, hosts: Vec<String>) -> Result<Split, Diagnostics> {
        let (hosts, left_out) = self.without_role(task, hosts);
        if hosts.is_empty() || (task.section == Section::Tasks && !self.is_selected(task, &hosts)) {
            return Ok(Split { going: self.in_order(hosts, left_out), failed: Vec::new() });
        }
        if task.action == "meta" {
            if task.section == Section::Handlers {
                self.announce(task, &hosts);
            }
            return Box::pin(self.meta(task, self.in_order(hosts, left_out))).await;
        }
        let mut split = self.work_on(task, hosts).await?;
        split.going = self.in_order(split.going, left_out);
        Ok(split)
    }

    /// Runs a task that is selected.
    async fn work_on(self: &Arc<Batch>, task: &Arc<Task>, hosts: Vec<String>) -> Result<Split, Diagnostics> {
        let apart = self.strategy != Strategy::Linear;
        let keywords = [("run_once", &task.run_once), ("any_errors_fatal", &task.keywords.any_errors_fatal)];
        for (name, _) in keywords.into_iter().filter(|(_, node)| apart && node.is_some()) {
            self.send(Event::Warning(without_meaning(name)));
        }
        let once = match &task.run_once {
            _ if apart => false,
            // Ansible does these for the first host, on behalf of all.
            None => matches!(task.action.as_str(), "add_host" | "pause"),
            Some(node) => {
                let scope = self.run.fleet.scope(&hosts[0], &self.layers(&task.keywords, &hosts[0]));
                match self.run.switch(node, &scope) {
                    Err(Failure::Unknown(needs)) if self.run.options.mode == Mode::Check => {
                        let open = hosts.iter().map(|host| (host.clone(), needs.clone())).collect();
                        Box::pin(self.leave_open(task, open)).await;
                        return Ok(Split { going: hosts, failed: Vec::new() });
                    }
                    once => once.map_err(|failure| wrong(failure, node))?,
                }
            }
        };
        self.announce(task, &hosts);
        let targets: Vec<String> = if once { hosts[..1].to_vec() } else { hosts.clone() };
        let facts_for = |host: &String| if once { self.reached() } else { vec![host.clone()] };
        let throttle = self.throttle(task, &hosts)?;
        let turns = throttle.and_then(|at_once| Some(self.lane.as_ref()?.turns(task, at_once)));
        let _turn = match &turns {
            // It is never closed.
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let work = stream::iter(targets.into_iter().map(|host| self.on_host(task, facts_for(&host).into(), host)));
        let mut ended: Vec<Ended> =
            work.buffer_unordered(self.run.options.forks.clamp(1, throttle.unwrap_or(usize::MAX))).collect().await;
        ended.sort_by_key(|end| hosts.iter().position(|host| *host == end.host));
        self.settle(task, hosts, (ended, once)).await
    }

    /// Returns how many hosts may do a task at a time, where it says so.
    fn throttle(&self, task: &Task, hosts: &[String]) -> Result<Option<usize>, Diagnostics> {
        let Some((node, host)) = task.keywords.throttle.as_ref().zip(hosts.first()) else { return Ok(None) };
        let scope = self.run.fleet.scope(host, &self.layers(&task.keywords, host));
        let value = match self.run.templates.render(node, &scope) {
            // A check makes nothing that could be too much at once.
            Err(Failure::Unknown(_)) if self.run.options.mode == Mode::Check => return Ok(None),
            value => value.map_err(|failure| wrong(failure, node))?,
        };
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        let number = number.ok_or_else(|| {
            Diagnostic::new(format!("`throttle` should be a number of hosts, not {value}")).at(&node.place)
        })?;
        Ok((number > 0).then_some(number as usize))
    }

    /// Splits off the hosts that have left the task's role, and those on which an equal listing of it has already run.
    fn without_role(&self, task: &Task, hosts: Vec<String>) -> (Vec<String>, Vec<String>) {
        let Some(role) = task.keywords.role.as_ref().filter(|_| task.section == Section::Tasks) else {
            return (hosts, Vec::new());
        };
        let state = lock(&self.state);
        hosts.into_iter().partition(|host| {
            let is_left = |(left, of): &(String, Arc<Role>)| left == host && role.is_part_of(of);
            if state.left_roles.iter().any(is_left) {
                return false;
            }
            let ran = state.listed.get(&(host.clone(), role.listing.clone()));
            role.again || ran.is_none_or(|first| Arc::ptr_eq(first, role))
        })
    }

    /// Takes note that a role has run on a host, where a task of it was not skipped.
    fn note_role(&self, task: &Task, end: &Ended, hosts: &[String]) {
        let skipped = matches!(end.verdict, Verdict::Skipped | Verdict::Summed { skipped: true, .. });
        let Some(role) = task.keywords.role.as_ref().filter(|_| task.section == Section::Tasks && !skipped) else {
            return;
        };
        let mut state = lock(&self.state);
        for host in hosts {
            state.listed.entry((host.clone(), role.listing.clone())).or_insert_with(|| role.clone());
        }
    }

    /// Returns the hosts of the play that can be reached: what comes of `run_once` is all of theirs.
    fn reached(&self) -> Vec<String> {
        let unreachable = &lock(&self.state).unreachable;
        self.all.iter().filter(|host| !unreachable.contains(*host)).cloned().collect()
    }

    pub(super) fn in_order(&self, hosts: Vec<String>, more: Vec<String>) -> Vec<String> {
        let mut all: Vec<String> = hosts.into_iter().chain(more).collect();
        all.sort_by_key(|host| self.hosts.iter().position(|other| other == host));
        all
    }

    /// Takes over what a task came to: variables, notifications, failures, inclusions.
    async fn settle(
        self: &Arc<Batch>,
        task: &Arc<Task>,
        hosts: Vec<String>,
        (ended, once): (Vec<Ended>, bool),
    ) -> Result<Split, Diagnostics> {
        if let Some(error) = lock(&self.state).wrong.take() {
            return Err(error.into());
        }
        let mut split = Split::default();
        let mut inclusions = Vec::new();
        for end in ended {
            let affected: Vec<String> = if once { hosts.clone() } else { vec![end.host.clone()] };
            let told = if once { self.reached() } else { affected.clone() };
            self.note_role(task, &end, &affected);
            for host in &told {
                if let (Some(name), Some(var)) = (&task.register, &end.registered) {
                    self.run.fleet.register(host, name, var.clone());
                }
            }
            match end.verdict {
                Verdict::Unreachable => lock(&self.state).unreachable.extend(affected),
                Verdict::Failed | Verdict::Summed { failed: true, ignored: false, .. } => {
                    affected.iter().for_each(|host| self.set_failed(host, task, &end.result));
                    split.failed.extend(affected);
                }
                _ => {
                    split.going.extend(affected);
                    inclusions.push((end.host, end.inclusions));
                }
            }
        }
        let fatal = self.is_fatal(task, &hosts)?;
        let unreachable = hosts.len() > split.going.len() + split.failed.len();
        if self.note_failures(&split.failed, fatal)? || (unreachable && fatal) {
            lock(&self.state).aborted = true;
            split.failed.append(&mut split.going);
        }
        if inclusions.iter().any(|(_, list)| !list.is_empty()) {
            let after = self.include(task, std::mem::take(&mut split.going), inclusions).await?;
            split.going = after.going;
            split.failed.extend(after.failed);
        }
        Ok(split)
    }

    /// Says whether a failure of a task on one of these hosts ends the play for all.
    pub(super) fn is_fatal(&self, task: &Task, hosts: &[String]) -> Result<bool, Diagnostics> {
        let node = task.keywords.any_errors_fatal.as_ref().or(self.play.any_errors_fatal.as_ref());
        if self.strategy != Strategy::Linear {
            return Ok(false);
        }
        let Some(node) = node else { return Ok(settings::switch("ANSIBLE_ANY_ERRORS_FATAL", false)) };
        let Some(host) = hosts.first() else { return Ok(false) };
        let scope = self.run.fleet.scope(host, &self.layers(&self.play.keywords, host));
        match self.run.switch(node, &scope) {
            Err(Failure::Unknown(_)) if self.run.options.mode == Mode::Check => Ok(false),
            fatal => fatal.map_err(|failure| wrong(failure, node)),
        }
    }

    /// Says whether tags and `--start-at-task` let a task run.
    fn is_selected(&self, task: &Task, hosts: &[String]) -> bool {
        let mut started = lock(&self.run.progress.started);
        if !*started {
            *started = self.starts_at(task, &hosts[0]);
        }
        *started && self.run.options.tags.selects(&task.keywords.tags)
    }

    /// Says whether `--start-at-task` means this task.
    fn starts_at(&self, task: &Task, host: &str) -> bool {
        let wanted = self.run.options.start_at.as_deref().unwrap_or_default();
        let name = self.name_of(task, host);
        let bare = name.rsplit(" : ").next().unwrap_or(&name);
        let glob = globset::Glob::new(wanted).map(|glob| glob.compile_matcher());
        name == wanted || bare == wanted || glob.is_ok_and(|glob| glob.is_match(&name) || glob.is_match(bare))
    }

    /// Says whether `--start-at-task` means a task of these steps.
    pub(super) fn starts_in(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| step.any(&|task| self.starts_at(task, &self.hosts[0])))
    }

    pub(super) fn announce(&self, task: &Arc<Task>, hosts: &[String]) {
        let place = place_of(task);
        let name = self.name_of(task, &hosts[0]);
        if let Some(plan) = &self.run.plan {
            plan.begin(&name, &place);
        }
        let speaks = speaks(task) || self.is_debug(task, &hosts[0]);
        let hosts = if self.lane.is_some() { self.hosts.len() } else { hosts.len() };
        let written = task.keywords.place.as_ref().unwrap_or(&task.action_place);
        let written = task.keywords.no_log.is_none().then(|| written.clone());
        let kind = if task.section == Section::Handlers { TaskKind::Handler } else { TaskKind::Task };
        let started = Event::TaskStarted { hosts, kind, name, place, speaks, written };
        match &self.lane {
            Some(lane) => lane.begin(task, started),
            None => self.send(started),
        }
    }

    /// Says whether the name of a task's action, a template, comes to `debug`.
    fn is_debug(&self, task: &Task, host: &str) -> bool {
        let scope = || self.run.fleet.scope(host, &self.layers(&task.keywords, host));
        let name = || self.run.templates.render(&Yaml::text_at(task.action.as_str(), &task.action_place), &scope());
        is_template(&task.action) && name().is_ok_and(|name| name.as_str().map(short) == Some("debug"))
    }

    /// Returns a task's name as shown: rendered where it can be, the role in front, else the action.
    pub(super) fn name_of(&self, task: &Task, host: &str) -> String {
        let keywords = &task.keywords;
        let includes = || task.arguments.iter().find(|(key, _)| key.key() == "name").map(|(_, name)| name.key());
        let included = (task.action == "include_role").then(includes).flatten();
        let name = match &keywords.name {
            None => match &included {
                Some(role) => format!("{} : {role}", task.action),
                None => task.action.clone(),
            },
            Some(node) => {
                let scope = self.run.fleet.scope(host, &self.layers(keywords, host));
                match self.run.templates.render(node, &scope) {
                    Ok(Value::String(name)) => name,
                    Ok(other) => other.to_string(),
                    Err(_) => node.as_str().unwrap_or(&task.action).to_string(),
                }
            }
        };
        match &keywords.role {
            // Ansible tells which role is included, and not by which.
            Some(role) if included.is_none() => format!("{} : {name}", role.name),
            _ => name,
        }
    }

    /// Collects the variables a task brings, beside those of the host.
    pub(super) fn layers(&self, keywords: &Keywords, host: &str) -> TaskLayers {
        let mut layers = TaskLayers {
            play_vars: self.play.vars.clone(),
            vars_files: self.vars_files.get(host).cloned().unwrap_or_default(),
            task_vars: keywords.vars.clone(),
            include_params: keywords.include_params.clone(),
            ..TaskLayers::default()
        };
        layers.magic = self.magic();
        for role in &lock(&self.state).exports {
            layers.role_defaults.push(role.defaults.clone());
            layers.role_vars.push(role.vars.clone());
        }
        if let Some(role) = &keywords.role {
            let family = role.parents.iter().chain([role]);
            for member in family {
                layers.role_defaults.push(member.defaults.clone());
                layers.role_vars.push(member.vars.clone());
            }
            layers.role_params = role.params.clone();
            let mut magic = Layer::new();
            let short = if role.name.matches('.').count() >= 2 { role.name.rsplit('.').next() } else { None };
            magic.insert("role_name".into(), Var::Known(short.unwrap_or(&role.name).into()));
            magic.insert("ansible_role_name".into(), Var::Known(role.name.clone().into()));
            let parents: Vec<&str> = role.parents.iter().rev().map(|role| role.name.as_str()).collect();
            magic.insert("ansible_parent_role_names".into(), Var::Known(json!(parents)));
            magic.insert("role_path".into(), Var::Known(absolute(&role.path).display().to_string().into()));
            layers.role_magic = Arc::new(magic);
        }
        layers
    }

    /// The names of all hosts are in it, so it is made once for all of them until one is lost.
    fn magic(&self) -> Arc<Layer> {
        let lost: BTreeSet<String> = {
            let state = lock(&self.state);
            let out = lock(&self.run.progress.out);
            out.iter().chain(&state.failed).chain(&state.unreachable).cloned().collect()
        };
        let mut made = lock(&self.magic);
        match &*made {
            Some((known, layer)) if *known == lost => layer.clone(),
            _ => {
                let layer = Arc::new(self.magic_without(&lost));
                *made = Some((lost, layer.clone()));
                layer
            }
        }
    }

    fn magic_without(&self, lost: &BTreeSet<String>) -> Layer {
        let going: Vec<&String> = self.hosts.iter().filter(|host| !lost.contains(*host)).collect();
        let playing: Vec<&String> = self.all.iter().filter(|host| !lost.contains(*host)).collect();
        let check = self.run.options.mode == Mode::Check;
        let values = [
            ("playbook_dir", json!(absolute(&self.play.directory).display().to_string())),
            ("ansible_play_name", json!(self.play.name)),
            ("ansible_play_hosts", json!(playing)),
            ("play_hosts", json!(going)),
            ("ansible_play_batch", json!(going)),
            ("ansible_play_hosts_all", json!(&*self.all)),
            ("ansible_check_mode", json!(check)),
            ("ansible_diff_mode", json!(true)),
            ("ansible_verbosity", json!(self.run.options.verbosity)),
            ("ansible_run_tags", tags(&self.run.options.tags.only, &["all"])),
            ("ansible_skip_tags", tags(&self.run.options.tags.skip, &[])),
            ("ansible_forks", json!(self.run.options.forks)),
            ("ansible_version", json!({"full": "2.19.0", "major": 2, "minor": 19, "revision": 0, "string": "2.19.0"})),
        ];
        values.into_iter().map(|(name, value)| (name.to_string(), Var::Known(value))).collect()
    }

    /// Runs a task on one host, all its items, and reports.
    async fn on_host(self: &Arc<Batch>, task: &Arc<Task>, facts_for: Arc<[String]>, host: String) -> Ended {
        self.run.progress.left.begin(&host);
        let _slot = match &self.lane {
            Some(lane) => lane.slot().await,
            None => None,
        };
        let doing = Doing { facts_for, ..self.doing(task, &host) };
        match &task.loop_over {
            None => doing.once().await,
            Some(_) => doing.each().await,
        }
    }

    /// Returns a task that is about to be done on a host.
    pub(super) fn doing<'a>(self: &'a Arc<Batch>, task: &'a Arc<Task>, host: &'a str) -> Doing<'a> {
        let layers = self.layers(&task.keywords, host);
        let mut scope = self.scope(host, &layers, &task.keywords);
        scope.for_tasks = task.action == "include_tasks";
        Doing {
            batch: self,
            task,
            host,
            scope,
            layers,
            item: (0, 0),
            nth: (0, 0),
            mode: self.run.options.mode,
            secrecy: Secrecy::Open,
            probe: false,
            show_diff: true,
            forgiven: (false, false),
            omitted: Vec::new(),
            facts_for: [host.to_string()].into(),
            subject: Subject { host: host.into(), delegate: None, item: None },
        }
    }

    /// The scope of a task, with the directories its lookups search.
    pub(super) fn scope(&self, host: &str, layers: &TaskLayers, keywords: &Keywords) -> Scope {
        let mut scope = self.run.fleet.scope(host, layers);
        scope.search = self.search(keywords).into();
        scope
    }

    fn search(&self, keywords: &Keywords) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = Vec::new();
        if let Some(role) = &keywords.role {
            directories.extend(std::iter::once(role).chain(role.parents.iter().rev()).map(|role| role.path.clone()));
        }
        directories.push(keywords.directory.clone());
        directories.push(self.play.directory.clone());
        // Modules, lookups and loops get paths that hold wherever they are used, as from Ansible.
        directories.iter_mut().for_each(|directory| *directory = absolute(directory));
        let mut seen = std::collections::HashSet::new();
        directories.retain(|directory| seen.insert(directory.clone()));
        directories
    }

    pub(super) async fn gather_facts(self: &Arc<Batch>, hosts: Vec<String>) -> Result<Split, Diagnostics> {
        let task = Arc::new(self.facts_task());
        self.work_on(&task, hosts).await
    }

    /// The implicit first task of a play.
    fn facts_task(&self) -> Task {
        let keywords = Keywords {
            name: Some(Yaml::text_at("Gathering Facts", &self.play.place)),
            tags: vec!["always".into()],
            ..(*self.play.keywords).clone()
        };
        self.play.gathering(keywords)
    }
}

/// Says that a keyword does nothing where hosts do not wait for each other.
pub(super) fn without_meaning(keyword: &str) -> String {
    format!("`{keyword}` has no meaning under this strategy: each host does the task by itself")
}

/// Says where a task stands: `FILE:LINE`.
pub(super) fn place_of(task: &Task) -> String {
    let place = task.keywords.place.as_ref().unwrap_or(&task.action_place);
    format!("{}:{}", place.source.path.display(), place.line)
}

/// Says whether a task is there for what it prints: `debug`, or an `assert` with a message of its own.
fn speaks(task: &Task) -> bool {
    let own_message = || task.arguments.iter().any(|(name, _)| name.as_str() == Some("success_msg"));
    task.action == "debug" || (task.action == "assert" && own_message())
}

/// Returns a path of the controller as text that holds wherever a task uses it.
pub(super) fn absolute(path: &std::path::Path) -> PathBuf {
    let current = std::env::current_dir().unwrap_or_default();
    current.join(path).components().collect()
}
/// Tags as the command line gave them.
fn tags(given: &[String], default: &[&str]) -> serde_json::Value {
    if given.is_empty() { json!(default) } else { json!(given) }
}
