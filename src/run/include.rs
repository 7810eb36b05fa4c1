//! Task files and roles that are included while a play runs.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Diagnostic, Diagnostics};
use crate::modules::arguments::boolean;
use crate::playbook::{RoleFiles, Step, Task, is_missing};
use crate::vars::{Layer, Var};

use super::doing::{Doing, Done};
use super::play::{Batch, Split};
use super::trouble::Trouble;
use super::{Event, Subject, Verdict, lock};

/// One inclusion as one host asked for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Inclusion {
    pub what: What,
    /// The loop's item and its companions: the included tasks see them.
    pub item: Map<String, Value>,
    pub label: Option<String>,
    /// What an included role brings its tasks is seen by all tasks of the play after it.
    pub public: bool,
    /// A plan that guards the run has left the inclusion open, and so what it brings.
    pub open: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A task file, as named.
    Tasks(String),
    Role(String, RoleFiles),
}

impl Batch {
    /// Runs what hosts included: equal inclusions together, in the order of their first appearance.
    pub(super) async fn include(
        self: &Arc<Batch>,
        task: &Task,
        going: Vec<String>,
        wanted: Vec<(String, Vec<Inclusion>)>,
    ) -> Result<Split, Diagnostics> {
        let mut distinct: Vec<(Inclusion, Vec<String>)> = Vec::new();
        for (host, inclusions) in wanted {
            for inclusion in inclusions {
                match distinct.iter_mut().find(|(known, _)| *known == inclusion) {
                    Some((_, hosts)) => hosts.push(host.clone()),
                    None => distinct.push((inclusion, vec![host.clone()])),
                }
            }
        }
        let mut split = Split { going, failed: Vec::new() };
        let mut missing: Vec<String> = Vec::new();
        for (inclusion, hosts) in distinct {
            let hosts: Vec<String> = hosts.into_iter().filter(|host| split.going.contains(host)).collect();
            if hosts.is_empty() {
                continue;
            }
            let what = match &inclusion.what {
                What::Tasks(name) | What::Role(name, _) => name.clone(),
            };
            self.send(Event::Included { what, item: inclusion.label.clone(), hosts: hosts.clone() });
            let steps = match self.load(task, &inclusion, &hosts) {
                Ok(steps) => steps,
                Err(errors) if errors.0.iter().all(is_missing) => {
                    self.fail_missing(task, (&hosts, &inclusion), &errors);
                    missing.extend(hosts.clone());
                    split.going.retain(|host| !hosts.contains(host));
                    continue;
                }
                Err(errors) => return Err(errors),
            };
            let after = self.steps(&steps, hosts.clone()).await?;
            split.going.retain(|host| !hosts.contains(host) || after.going.contains(host));
            split.failed.extend(after.failed);
        }
        if self.note_failures(&missing, self.is_fatal(task, &missing)?)? && !missing.is_empty() {
            missing.append(&mut split.going);
        }
        split.failed.extend(missing);
        Ok(split)
    }

    /// Tells that what hosts include is not there: the task has failed on them.
    fn fail_missing(&self, task: &Task, (hosts, inclusion): (&[String], &Inclusion), errors: &Diagnostics) {
        let (What::Tasks(name) | What::Role(name, _)) = &inclusion.what;
        let text = errors.to_string();
        let message = format!("Could not find or access '{name}': {}", text.trim_start_matches("error: "));
        let result = Map::from_iter([
            ("msg".to_string(), Value::from(message)),
            ("failed".to_string(), true.into()),
            ("changed".to_string(), false.into()),
        ]);
        for host in hosts {
            let subject = Subject { host: host.clone(), delegate: None, item: inclusion.label.clone() };
            self.send(Event::Finished { subject, verdict: Verdict::Failed, result: result.clone() });
            self.set_failed(host, task, &Value::Object(result.clone()));
        }
    }

    fn load(&self, task: &Task, inclusion: &Inclusion, hosts: &[String]) -> Result<Vec<Step>, Diagnostics> {
        let item: Layer =
            inclusion.item.iter().map(|(name, value)| (name.clone(), Var::Known(value.clone()))).collect();
        let loader = &self.run.loader;
        let included = match &inclusion.what {
            What::Tasks(file) => loader.include_tasks(task, file, &item)?,
            What::Role(name, from) => loader.include_role(task, name, from.clone(), &item)?,
        };
        super::verify::steps(&included.steps, &self.run.templates)?;
        if let Some(guard) = self.run.guard.as_ref().filter(|_| inclusion.open) {
            hosts.iter().for_each(|host| guard.bring(host, (&included.steps, &included.handlers)));
        }
        let mut state = lock(&self.state);
        state.handlers.extend(included.handlers);
        state.exports.extend(included.roles.into_iter().filter(|_| inclusion.public));
        Ok(included.steps)
    }
}

impl Doing<'_> {
    /// Decides what an `include_tasks` or `include_role` task includes.
    pub(super) fn inclusion(&self, arguments: &Map<String, Value>) -> Result<Done, Trouble> {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str).map(str::to_string);
        let place = &self.task.action_place;
        let what = if self.task.action == "include_role" {
            let Some(name) = text("name") else {
                return Err(Diagnostic::new("`include_role` needs the argument `name`").at(place).into());
            };
            let from = RoleFiles {
                tasks: text("tasks_from"),
                vars: text("vars_from"),
                defaults: text("defaults_from"),
                handlers: text("handlers_from"),
                once: arguments.get("allow_duplicates").and_then(boolean) == Some(false),
                unvalidated: arguments.get("rolespec_validate").and_then(boolean) == Some(false),
            };
            What::Role(name, from)
        } else {
            let Some(file) = text("file") else {
                return Err(Diagnostic::new("`include_tasks` needs a file name").at(place).into());
            };
            What::Tasks(file)
        };
        let mut item = Map::new();
        for (name, var) in self.layers.loop_vars.iter() {
            match var {
                Var::Known(value) => drop(item.insert(name.clone(), value.clone())),
                Var::Written(node) => drop(item.insert(name.clone(), node.to_value())),
                Var::Unknown(_) => {}
            }
        }
        let public = arguments.get("public").and_then(boolean).unwrap_or(matches!(what, What::Tasks(_)));
        let inclusion = Inclusion { what, item, label: self.subject.item.clone(), public, open: self.brings() };
        Ok(Done { inclusions: vec![inclusion], ..Done::default() })
    }
}
