//! Handlers: what notifies which, and when they run.

use std::sync::Arc;

use serde_json::Value;

use crate::error::{Diagnostic, Diagnostics};
use crate::playbook::{Section, Task};
use crate::settings;
use crate::template::Failure;

use super::play::Batch;
use super::{Event, lock};

/// A notification. Which handlers it means is seen when they run: roles that are included until then may bring others.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    topic: String,
    /// What it needs to be known whether there is one.
    needs: Option<Arc<str>>,
    by: Arc<Task>,
}

impl Batch {
    /// Runs the handlers that `hosts` notified, in the order they are defined, until no new one is notified.
    pub(super) async fn flush_handlers(self: &Arc<Batch>, hosts: Vec<String>) -> Result<Vec<String>, Diagnostics> {
        hosts.iter().for_each(|host| self.take_notices(host));
        let mut going = hosts;
        let mut index = 0;
        loop {
            let next = {
                let mut state = lock(&self.state);
                if index >= state.handlers.len() {
                    break;
                }
                let notified: Vec<String> = going
                    .iter()
                    .filter(|host| state.notified.get_mut(*host).is_some_and(|indices| indices.remove(&index)))
                    .cloned()
                    .collect();
                let perhaps = |host: &String| Some((host.clone(), state.perhaps.get_mut(host)?.remove(&index)?));
                let perhaps: Vec<(String, Arc<str>)> = going.iter().filter_map(perhaps).collect();
                (state.handlers[index].clone(), notified, perhaps)
            };
            let (handler, notified, mut perhaps) = next;
            perhaps.retain(|(host, _)| !notified.contains(host));
            if !notified.is_empty() {
                let after = self.task_on(&handler, notified.clone()).await?;
                going.retain(|host| !notified.contains(host) || after.going.contains(host));
            }
            if !perhaps.is_empty() {
                Box::pin(self.leave_open(&handler, perhaps)).await;
            }
            index += 1;
        }
        self.drop_ended(&mut going);
        Ok(going)
    }

    /// Takes note of a notification by a task, which may be one that only a run can say; an unknown name is an error that suggests
    /// a handler there is. A handler's own counts at once.
    pub(super) fn notify(
        &self,
        host: &str,
        topic: &str,
        (by, needs): (&Arc<Task>, Option<&Arc<str>>),
    ) -> Result<(), Diagnostic> {
        let notice = Notice { topic: topic.into(), needs: needs.cloned(), by: by.clone() };
        let chosen = self.answering(host, topic)?;
        if chosen.is_empty() {
            self.send(Event::Warning(unanswered(topic)));
            return Ok(());
        }
        if by.section == Section::Handlers {
            self.note(host, &notice, chosen);
        } else {
            lock(&self.state).notices.entry(host.to_string()).or_default().push(notice);
        }
        Ok(())
    }

    /// Returns the handlers that answer to a topic, by their indices. That there is none is an error, which suggests one there is,
    /// unless the configuration allows it; that the module of one is not here is an error, too.
    pub(super) fn answering(&self, host: &str, topic: &str) -> Result<Vec<usize>, Diagnostic> {
        let names = self.handler_names(host);
        let chosen = self.meant(&names, topic);
        let absent = |index: &usize| {
            let handler = &lock(&self.state).handlers[*index];
            handler.absent.clone().filter(|_| handler.keywords.when.is_empty())
        };
        if let Some(absent) = chosen.iter().find_map(absent) {
            return Err(absent);
        }
        match chosen.is_empty() && !self.run.loader.allows_missing_handlers {
            true => Err(Diagnostic::new(unanswered(topic)).suggest(topic, names.iter().map(String::as_str))),
            false => Ok(chosen),
        }
    }

    /// Finds the handlers that a host's notifications mean by now.
    fn take_notices(&self, host: &str) {
        let Some(notices) = lock(&self.state).notices.remove(host) else { return };
        let names = self.handler_names(host);
        for notice in notices {
            self.note(host, &notice, self.meant(&names, &notice.topic));
        }
    }

    /// Notes that handlers, by their indices, are to run on a host.
    fn note(&self, host: &str, notice: &Notice, chosen: Vec<usize>) {
        let mut state = lock(&self.state);
        if let Some(guard) = &self.run.guard {
            let tasks: Vec<Arc<Task>> = chosen.iter().map(|index| state.handlers[*index].clone()).collect();
            guard.hand_on((&notice.by, host), &tasks);
        }
        match &notice.needs {
            None => state.notified.entry(host.to_string()).or_default().extend(chosen),
            Some(needs) => {
                let open = state.perhaps.entry(host.to_string()).or_default();
                for index in chosen {
                    open.entry(index).or_insert_with(|| needs.clone());
                }
            }
        }
    }

    /// Returns the handlers that a topic means, by their indices; they are called `names`.
    fn meant(&self, names: &[String], topic: &str) -> Vec<usize> {
        let handlers = lock(&self.state).handlers.clone();
        let answers: Vec<usize> =
            (0..names.len()).filter(|index| handlers[*index].answers_to(topic, &names[*index])).collect();
        // Of several handlers with one name those of the last role or of the play are meant, and the first of them; a topic
        // reaches all that listen.
        let listens = |index: &usize| handlers[*index].listens_to(topic);
        let role = |index: usize| handlers[index].keywords.role.as_ref().map(Arc::as_ptr);
        let last = answers.iter().rfind(|index| !listens(index)).map(|index| role(*index));
        let named = answers.iter().copied().find(|index| !listens(index) && Some(role(*index)) == last);
        let mut listening: Vec<usize> = Vec::new();
        for index in answers.iter().copied().filter(listens).rev() {
            // Of those that have one name, too, the last one is meant.
            let twin = |known: &usize| !names[index].is_empty() && names[*known] == names[index];
            match listening.iter_mut().find(|known| twin(known)) {
                None => listening.push(index),
                Some(known) if role(*known) == role(index) => *known = index,
                Some(_) => {}
            }
        }
        listening.into_iter().chain(named).collect()
    }

    /// Returns the names that all handlers have for a host.
    fn handler_names(&self, host: &str) -> Vec<String> {
        let handlers = lock(&self.state).handlers.clone();
        handlers.iter().enumerate().map(|(index, handler)| self.handler_name((index, handler), host)).collect()
    }

    /// Returns the name that a handler has for a host; none where it cannot be rendered, which is told once.
    fn handler_name(&self, (index, handler): (usize, &Task), host: &str) -> String {
        let Some(name) = &handler.keywords.name else { return String::new() };
        let scope = self.run.fleet.scope(host, &self.layers(&handler.keywords, host));
        match self.run.templates.render(name, &scope) {
            Ok(Value::String(name)) => name,
            Ok(other) => other.to_string(),
            Err(Failure::Unknown(_)) => String::new(),
            Err(Failure::Wrong(error)) => {
                if handler.listen.is_empty() && lock(&self.state).unusable.insert(index) {
                    let text = format!(
                        "Handler '{}' is unusable: nothing listens to it, and its name cannot be rendered: {}",
                        name.key(),
                        error.message
                    );
                    self.send(Event::Warning(text));
                }
                String::new()
            }
        }
    }

    /// Tells, where settings ask for it, on which hosts handlers are run at a point that no task makes.
    pub(super) fn tell_flush(&self, hosts: &[String]) {
        let notified = |host: &&String| {
            let state = lock(&self.state);
            state.notices.contains_key(*host) || state.notified.get(*host).is_some_and(|some| !some.is_empty())
        };
        for host in hosts.iter().filter(|_| settings::switch("ANSIBLE_DEBUG", false)).filter(notified) {
            let text = format!("triggered running handlers for {host}");
            self.send(Event::Meta { skipped: None, word: "flush_handlers".into(), text, verbosity: 0 });
        }
    }
}

/// Says in Ansible's words, by which people look for it, that nobody answers to a notification.
fn unanswered(name: &str) -> String {
    format!(
        "The requested handler '{name}' was not found in either the main handlers list nor in the listening handlers list"
    )
}

/// Says what is wrong in a play, and no error unless the run comes to it.
pub(super) fn warning(error: &Diagnostic, then: &str) -> String {
    let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let hint = error.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{place}{}: {then}{hint}", error.message)
}
