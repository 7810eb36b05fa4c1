//! One task on one host: conditions, retries, time limits, verdicts, and what is registered.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::change::Secrecy;
use crate::error::Diagnostic;
use crate::modules::{self, Results};
use crate::playbook::Task;
use crate::settings;
use crate::template::{Failure, Templates, Use};
use crate::vars::{Layer, Scope, TaskLayers, Var};
use crate::yaml::Yaml;

use super::include::Inclusion;
use super::play::Batch;
use super::task::Ended;
use super::trouble::{EXCEPTION, NO_TRACEBACK, OF_A_CONDITION, Trouble, failure, with_exception};
use super::{Event, Mode, Subject, Verdict, lock, result};

/// One task at work on one host, for one item of its loop or without one.
pub(super) struct Doing<'a> {
    pub batch: &'a Arc<Batch>,
    pub task: &'a Arc<Task>,
    pub host: &'a str,
    pub layers: TaskLayers,
    pub scope: Scope,
    /// The place of the item in its loop, and how many come after it.
    pub item: (usize, usize),
    /// How often the task has come to the host before, and how often with this item.
    pub nth: (usize, usize),
    pub mode: Mode,
    pub secrecy: Secrecy,
    /// The task is a command that only reads.
    pub probe: bool,
    pub show_diff: bool,
    /// `ignore_errors` and `ignore_unreachable`.
    pub forgiven: (bool, bool),
    /// Keywords that come to `omit`, each with what stands above it.
    pub omitted: Vec<(String, Option<Yaml>)>,
    /// The hosts whose facts the task sets: with `run_once` all of the play, as in Ansible.
    pub facts_for: Arc<[String]>,
    pub subject: Subject,
}

/// What an attempt came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub changed: bool,
    pub skipped: bool,
    /// The result is not known in a check: it would come from something that was not run.
    pub unknown: bool,
    /// `changed_when` needs this to say whether something changes.
    pub perhaps: Option<Arc<str>>,
    pub result: Results,
    pub inclusions: Vec<Inclusion>,
}

impl Done {
    /// Says whether it is reported by itself: an inclusion is with the hosts that share it, and what ends the run, which has no
    /// result, as its end.
    pub(super) fn is_told(&self, verdict: Verdict) -> bool {
        self.inclusions.is_empty() && (verdict != Verdict::Failed || !self.result.is_empty())
    }
}

/// How long the end of a command that has passed its own limit may take, with its children that will not be asked.
const TO_END_IT: Duration = Duration::from_secs(15);

/// Arguments of modules that variables give where their tasks do not.
const FROM_VARIABLES: &[(&str, &str, &str)] = &[("package", "use", "ansible_package_use")];

impl<'a> Doing<'a> {
    pub(super) fn templates(&self) -> &Templates {
        &self.batch.run.templates
    }

    /// Reads the switches that decide how the task is done. One that cannot be read fails the task: a `no_log` or
    /// `check_mode` that is taken for `false` would show or change what it must not.
    pub(super) fn set_switches(&mut self) -> Result<(), Failure> {
        let mut keywords = self.task.keywords.clone();
        self.omitted = self.comes_to_omit();
        for (name, outer) in &self.omitted {
            Arc::make_mut(&mut keywords).put(name, outer.clone());
        }
        let read = |node: &Option<Yaml>| node.as_ref().map(|node| self.batch.run.switch(node, &self.scope)).transpose();
        let hidden = read(&keywords.no_log)?.unwrap_or_else(|| settings::switch("ANSIBLE_NO_LOG", false));
        let check = read(&keywords.check_mode)?;
        let show_diff = read(&keywords.diff)?.unwrap_or(true);
        let forgiven =
            (read(&keywords.ignore_errors)?.unwrap_or(false), read(&keywords.ignore_unreachable)?.unwrap_or(false));
        self.probe = read(&self.task.probe)?.unwrap_or(false);
        self.secrecy = if hidden { Secrecy::Hidden } else { Secrecy::Open };
        self.mode = check.map_or(self.batch.run.options.mode, |check| if check { Mode::Check } else { Mode::Apply });
        (self.show_diff, self.forgiven) = (show_diff, forgiven);
        Ok(())
    }

    /// A task without a loop.
    pub(super) async fn once(mut self) -> Ended {
        self.nth.0 = self.count(None);
        let attempt = match self.set_switches() {
            Ok(()) => self.attempt().await,
            Err(failure) => Err(failure.into()),
        };
        let (verdict, done) = self.conclude(attempt.and_then(|done| self.notifying(done)));
        if done.is_told(verdict) {
            self.report(verdict, &done.result);
        }
        let registered = self.registered(&done);
        Ended {
            host: self.host.into(),
            verdict,
            result: Value::Object(with_exception(done.result)),
            registered: Some(registered),
            inclusions: done.inclusions,
        }
    }

    pub(super) fn number(&self, node: &Yaml) -> Result<f64, Trouble> {
        let value = self.templates().render(node, &self.scope)?;
        let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        number.ok_or_else(|| Diagnostic::new(format!("this should be a number, not {value}")).at(&node.place).into())
    }

    /// Says whether every `when` holds.
    pub(super) fn holds(&self) -> Result<bool, Trouble> {
        Ok(self.left_out()?.is_none())
    }

    /// Returns the end of the task if a `when` does not hold.
    pub(super) fn left_out(&self) -> Result<Option<Done>, Trouble> {
        for condition in &self.task.keywords.when {
            if !self.condition(condition, &self.scope)? {
                let mut done = skip("Conditional result was False");
                done.result.insert("false_condition".into(), condition.to_value());
                return Ok(Some(done));
            }
        }
        Ok(None)
    }

    pub(super) fn condition(&self, node: &Yaml, scope: &Scope) -> Result<bool, Trouble> {
        self.templates().condition(node, scope).map_err(|failure| Trouble::from(failure).during(OF_A_CONDITION))
    }

    /// Does the task once, within `timeout`, and applies `changed_when` and `failed_when`.
    pub(super) async fn bounded(&self, attempts: Option<u64>) -> Result<Done, Trouble> {
        let mut seconds = self.task.timeout.as_ref().map(|node| self.number(node)).transpose()?.unwrap_or(0.0);
        let mut keyword = "timeout";
        if let Some(node) = self.task.asynchronous.as_ref().filter(|_| !self.can_go_on()) {
            // What cannot go on by itself is done at once, within the same time.
            let most = self.number(node)?;
            if most > 0.0 && (seconds <= 0.0 || most < seconds) {
                (seconds, keyword) = (most, "async");
            }
        }
        let limit = (seconds > 0.0).then(|| duration(seconds));
        let attempt = match limit {
            None => self.perform(None).await,
            // The command's own limit ends it on the host; the outer one is for everything else.
            Some(limit) => match tokio::time::timeout(limit + TO_END_IT, self.perform(Some(limit))).await {
                Ok(attempt) => attempt,
                Err(_) => {
                    self.let_go().await;
                    Err(Trouble::failed(format!("no end within {seconds} seconds (`{keyword}`)")))
                }
            },
        };
        self.judge(attempt.map(|mut done| {
            done.result.extend(attempts.map(|number| ("attempts".to_string(), number.into())));
            done
        }))
    }

    /// Gives up a shell that still works on what this task has asked for: what comes next would wait for it.
    async fn let_go(&self) {
        let delegate = self.delegate().ok().flatten();
        let host = delegate.as_deref().unwrap_or(self.host);
        let run = &self.batch.run;
        let scope = match &delegate {
            None => self.scope.clone(),
            Some(name) => run.fleet.scope(name, &self.layers),
        };
        if let Ok((login, user)) = run.connections.login(host, &self.task.keywords, &scope)
            && let Some(shell) = run.connections.opened(&login, &user).filter(|shell| shell.machine().is_busy())
        {
            run.connections.forget(&login);
            // Plans ahead that wait behind it hold the shell: it would not end by being let go of.
            // Awaited: the run may be at its end, and what it leaves would go on.
            let _ = tokio::time::timeout(TO_END_IT, shell.machine().stop()).await;
        }
    }

    fn judge(&self, attempt: Result<Done, Trouble>) -> Result<Done, Trouble> {
        let (mut result, mut done) = match attempt {
            Ok(done) if done.skipped => return Ok(done),
            Ok(done) => (done.result.clone(), done),
            Err(Trouble::Failed { message, result }) if self.task.failed_when.is_some() => {
                let result = failure(&message, result);
                (result.clone(), Done { result, ..Done::default() })
            }
            other => return other,
        };
        result.entry("changed").or_insert(done.changed.into());
        let scope = if done.unknown { self.unknown_scope() } else { self.scope_with(&result) };
        if let Some(node) = &self.task.changed_when {
            match self.condition(node, &scope) {
                Ok(changed) => done.changed = changed,
                Err(Trouble::Unknown(needs)) if done.unknown => done.perhaps = Some(needs),
                Err(trouble) => return Err(trouble),
            }
        }
        match &self.task.failed_when {
            None => {}
            Some(node) => match self.condition(node, &scope) {
                Ok(true) => {
                    let message = match result.get("msg").and_then(Value::as_str) {
                        Some(message) => message.to_string(),
                        None => "'failed_when' holds".to_string(),
                    };
                    if self.task.changed_when.is_some() {
                        done.result.insert("changed".into(), done.changed.into());
                    }
                    done.result.insert("failed_when_result".into(), true.into());
                    return Err(Trouble::Failed { message, result: done.result });
                }
                Ok(false) => {
                    if done.result.remove("failed") == Some(Value::Bool(true)) {
                        let drawn = done.result.remove(EXCEPTION).unwrap_or_else(|| NO_TRACEBACK.into());
                        done.result.insert("failed_when_suppressed_exception".into(), drawn);
                    }
                    done.result.insert("failed_when_result".into(), false.into());
                }
                Err(Trouble::Unknown(_)) if done.unknown => {}
                Err(trouble) => return Err(trouble),
            },
        }
        Ok(done)
    }

    /// The scope in which the result has its registered name, as `until` and its like see it.
    pub(super) fn scope_with(&self, result: &Results) -> Scope {
        match &self.task.register {
            None => self.scope.clone(),
            Some(name) => {
                let mut layer = Layer::new();
                layer.insert(name.clone(), Var::Known(Value::Object(result.clone())));
                self.scope.with(layer)
            }
        }
    }

    fn unknown_scope(&self) -> Scope {
        match &self.task.register {
            None => self.scope.clone(),
            Some(name) => {
                let mut layer = Layer::new();
                layer.insert(name.clone(), Var::Unknown(self.unknown_name()));
                self.scope.with(layer)
            }
        }
    }

    /// Names this task's result for "needs ...": what is not known and where it would come from.
    fn unknown_name(&self) -> Arc<str> {
        let name = self.task.register.as_deref().unwrap_or("the result");
        format!("`{name}` from {}", self.named()).into()
    }

    /// Names the task, with its place.
    pub(super) fn named(&self) -> String {
        let place = self.task.keywords.place.as_ref().unwrap_or(&self.task.action_place);
        let task = self.task.keywords.name.as_ref().and_then(|name| name.as_str()).unwrap_or(&self.task.action);
        format!("task `{task}` ({}:{})", place.source.path.display(), place.line)
    }

    async fn perform(&self, limit: Option<Duration>) -> Result<Done, Trouble> {
        let delegated = self.delegated_scope()?;
        let task = match self.resolved()? {
            None if delegated.is_none() => return self.performed(limit).await,
            None => self.task.clone(),
            Some(task) => task,
        };
        let (layers, scope) = (self.layers.clone(), delegated.unwrap_or_else(|| self.scope.clone()));
        let doing = Doing { task: &task, layers, scope, ..*self.same() };
        Box::pin(doing.performed(limit)).await
    }

    async fn performed(&self, limit: Option<Duration>) -> Result<Done, Trouble> {
        let background = self.background()?;
        let done = match entry(self.task) {
            Some(entry) => self.module(entry, limit).await,
            None => self.action().await,
        };
        match (background, done) {
            (Some(_), Ok(mut done)) if !self.can_go_on() && !done.skipped => {
                self.as_if_behind(&mut done);
                Ok(done)
            }
            (_, done) => done,
        }
    }

    /// Renders the task's arguments; its bare text goes to the module's free-form argument.
    pub(super) fn arguments(&self, free_form: Option<&str>) -> Result<Map<String, Value>, Trouble> {
        self.arguments_for(free_form, |_| Use::Host)
    }

    /// The same, each for the use that `wanted` says by its name.
    pub(super) fn arguments_for(
        &self,
        free_form: Option<&str>,
        wanted: impl Fn(&str) -> Use,
    ) -> Result<Map<String, Value>, Trouble> {
        let mut rendered = Map::new();
        for (key, value) in &self.task.arguments {
            let values = self.templates().render_for(wanted(&key.key()), &value.in_list(), &self.scope);
            let values = values.map_err(|failure| Trouble::from(failure).during(&self.of_the_argument(&key.key())))?;
            let Value::Array(values) = values else { continue };
            if let Some(value) = values.into_iter().next() {
                rendered.insert(key.key(), value);
            }
        }
        for (module, name, variable) in FROM_VARIABLES {
            if self.task.action == *module && !rendered.contains_key(*name) && self.scope.get(variable).is_some() {
                let node = Yaml::text_at(format!("{{{{ {variable} }}}}"), &self.task.action_place);
                rendered.insert((*name).into(), self.templates().render(&node, &self.scope)?);
            }
        }
        if let (Some(name), Some(text)) = (free_form, &self.task.free_form) {
            let value = self.templates().render(text, &self.scope);
            let value = match value.map_err(|failure| Trouble::from(failure).during(&self.of_the_argument(name)))? {
                Value::String(text) => text,
                other => other.to_string(),
            };
            // The loader has taken the options out of the line: what a value brings is the command's own.
            let line =
                matches!(self.task.action.as_str(), "command" | "shell" | "script") && !rendered.contains_key("cmd");
            rendered.insert(if line { "cmd" } else { name }.into(), value.into());
        }
        Ok(rendered)
    }

    /// What `msg` says of an argument before what is wrong with it.
    pub(super) fn of_the_argument(&self, name: &str) -> String {
        let action = &self.task.action;
        let dot = if action.contains('.') { "" } else { "ansible.builtin." };
        format!("Finalization of task args for '{dot}{action}' failed: Error while resolving value for '{name}': ")
    }

    /// Turns an attempt into a verdict and the result that is registered.
    pub(super) fn conclude(&self, attempt: Result<Done, Trouble>) -> (Verdict, Done) {
        let (ignore, ignore_unreachable) = self.forgiven;
        let attempt = match attempt {
            // Only a check may leave a task undone because it cannot know yet.
            Err(Trouble::Unknown(what)) if self.batch.run.options.mode == Mode::Apply => {
                Err(Trouble::failed(format!("it needs {what}, which was only checked and not run")))
            }
            attempt => attempt,
        };
        match attempt {
            Ok(done) => {
                let verdict = match (done.skipped, done.changed) {
                    (true, _) => Verdict::Skipped,
                    (_, true) => Verdict::Changed,
                    _ => Verdict::Ok,
                };
                (verdict, done)
            }
            Err(Trouble::Failed { message, result }) => {
                let verdict = if ignore { Verdict::Ignored } else { Verdict::Failed };
                if verdict == Verdict::Failed {
                    // Where the journal cannot be written the next change says so.
                    let _ = self.batch.run.journal.gave_up(&self.work(""));
                }
                let result = failure(&message, result);
                (verdict, Done { result, ..Done::default() })
            }
            Err(Trouble::Unreachable(message)) => {
                let mut result = failure(&message, Results::new());
                result.insert("unreachable".into(), true.into());
                let verdict = if ignore_unreachable { Verdict::Ignored } else { Verdict::Unreachable };
                (verdict, Done { result, ..Done::default() })
            }
            Err(Trouble::Refused(message)) => {
                self.give_up_host();
                (Verdict::Failed, Done { result: failure(&message, Results::new()), ..Done::default() })
            }
            Err(Trouble::Wrong(error)) => {
                lock(&self.batch.state).wrong.get_or_insert(*error);
                (Verdict::Failed, Done::default())
            }
            Err(Trouble::Unknown(needs)) => self.left_open(&needs, Vec::new()),
            Err(Trouble::Open { needs, foreseen }) => self.left_open(&needs, foreseen),
        }
    }

    pub(super) fn registered(&self, done: &Done) -> Var {
        if done.unknown {
            return Var::Unknown(self.unknown_name());
        }
        let mut result = done.result.clone();
        result.entry("changed").or_insert(done.changed.into());
        result.entry("failed").or_insert(false.into());
        Var::Known(Value::Object(with_exception(result)))
    }

    pub(super) fn report(&self, verdict: Verdict, result: &Results) {
        let result = match self.secrecy {
            // Why a host cannot be reached is no secret of the task's; for which item is.
            Secrecy::Hidden if verdict == Verdict::Unreachable => {
                let mut shown = result::printable(result.clone());
                shown.retain(|name, _| ["msg", "unreachable", "changed", "failed"].contains(&name.as_str()));
                shown
            }
            Secrecy::Hidden => result::censored(result),
            Secrecy::Open => result::printable(result.clone()),
        };
        let delegate = self.task.delegate_to.as_ref().and_then(|node| self.templates().render(node, &self.scope).ok());
        let delegate = delegate.and_then(|name| name.as_str().map(str::to_string));
        let subject = Subject { delegate, ..self.subject.clone() };
        self.batch.send(Event::Finished { subject, verdict, result });
    }

    /// Notifies the handlers that the task names, where it changes something.
    pub(super) fn notifying(&self, done: Done) -> Result<Done, Trouble> {
        if done.changed {
            self.notify(done.perhaps.as_ref())?;
        }
        Ok(done)
    }

    /// Notifies the handlers that the task names, for certain or, with what that needs, perhaps.
    pub(super) fn notify(&self, perhaps: Option<&Arc<str>>) -> Result<(), Trouble> {
        for node in &self.task.notify {
            for name in self.topics(node)? {
                let noted = self.batch.notify(self.host, &name, (self.task, perhaps));
                noted.map_err(|error| Trouble::Wrong(Box::new(error.at(&node.place))))?;
            }
        }
        Ok(())
    }

    /// Refuses changes that no handler would follow, where the task notifies one. What cannot be known before them is not asked.
    pub(super) fn are_answered(&self) -> Result<(), Trouble> {
        let asked = self.task.notify.iter().filter(|_| self.task.changed_when.is_none());
        for node in asked {
            for name in self.topics(node).unwrap_or_default() {
                let answering = self.batch.answering(self.host, &name);
                answering.map_err(|error| Trouble::Wrong(Box::new(error.at(&node.place))))?;
            }
        }
        Ok(())
    }

    fn topics(&self, node: &Yaml) -> Result<Vec<String>, Trouble> {
        let names = match self.templates().render(node, &self.scope)? {
            Value::Array(names) => names,
            name => vec![name],
        };
        Ok(names.iter().filter_map(Value::as_str).map(str::to_string).collect())
    }
}

/// Returns the time for a number of seconds as a user wrote it: negative is none, and what is longer than any run
/// (`inf` is a number too) is 30 years.
pub(super) fn duration(seconds: f64) -> Duration {
    // `clamp` would hand on what is not a number; `max` does not.
    #[allow(clippy::manual_clamp)]
    let seconds = seconds.max(0.0).min(1e9);
    Duration::from_secs_f64(seconds)
}

/// Returns the row of a task's module; `None`: it is an action of the runner's.
pub(super) fn entry(task: &Task) -> Option<&'static modules::Entry> {
    match &task.custom {
        Some(_) => Some(&super::custom::ENTRY),
        None => modules::find(&task.action),
    }
}

pub(super) fn skip(reason: &str) -> Done {
    let mut result = Results::new();
    result.insert("changed".into(), false.into());
    result.insert("skipped".into(), true.into());
    result.insert("skip_reason".into(), reason.into());
    Done { skipped: true, result, ..Done::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_seconds_is_a_time() {
        let given = [-1.0, f64::NAN, 1.5, f64::INFINITY, f64::MAX];
        assert_eq!(given.map(|seconds| duration(seconds).as_secs_f64()), [0.0, 0.0, 1.5, 1e9, 1e9]);
    }
}
